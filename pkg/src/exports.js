export { ConfigurationError, ResolveError, authenticate, checkConfig, eventTypes, explain, normalise, presets, providers, resolve, sign, source, verify } from "./api.js";
export { fromNode, fromRequest, verifyNode, verifyRequest } from "./requests.js";

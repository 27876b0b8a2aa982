// PHIL's samples, which are the command-line tool's.

export { DATA, EVENT_TYPES, event, prescription, requestId } from "../../pkg/src/cli/samples/phil.js";

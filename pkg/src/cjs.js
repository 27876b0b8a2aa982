// What dist/exports.cjs is bundled from.

export * from "./exports.js";
export { provide } from "./api.js";

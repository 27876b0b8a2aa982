// eVitalRx's samples, which are the command-line tool's.

export { DATA, EVENT_TYPES, PICKUP, event, orderId } from "../../pkg/src/cli/samples/evitalrx.js";

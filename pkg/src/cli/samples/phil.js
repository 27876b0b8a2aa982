// PHIL's callbacks, as a pharmacy sends them to whoever stands in for PHIL's callback API. Source: the callback API's document, and docs.partner-api.phil.us.

import { randomBytes } from "node:crypto";

import { shifted, toJson } from "./values.js";

export const prescription = {
  patient: {
    name: { lastName: "Doe", firstName: "John", middleName: null, prefix: null, suffix: "Jr." },
    dateOfBirth: "1992-03-20",
    gender: "M",
    address: { addressLine1: "1 Main St", addressLine2: null, city: "Seattle", state: "WA", postalCode: "98101", countryCode: "US" },
  },
  prescriber: { name: { lastName: "Roe", firstName: "Jane" }, npi: "1093456789" },
  prescribedNDC: "00093092606",
  sig: "Take 1 tablet by mouth twice daily",
  quantity: "«30.0»",
  daysSupply: 15,
  refillsWritten: 3,
  refillsRemaining: 2,
  writtenDate: "2024-09-01",
  expiryDate: "2025-09-01",
};

/// What each response adds.
export const DATA = {
  RECEIVED: {},
  CONFIRMED: { prescription },
  ERROR: { error: { type: "MISSING_INFO", description: "missing rx daysSupply" } },
};

export const EVENT_TYPES = Object.keys(DATA);

export const requestId = () => randomBytes(11).toString("hex").slice(0, 21);

const SAMPLED_AT = "2024-09-11T13:55:00Z";

const whole = (type, { data = {}, metadata = {} } = {}) => ({
  requestID: "6a742tg3aof9f94t35270",
  metadata: {
    referenceID: "partner_reference_id",
    responseType: type,
    responseID: "partner_response_id",
    responseTimestamp: SAMPLED_AT,
    ...metadata,
  },
  ...DATA[type],
  ...data,
});

/// A callback as bytes. `data` replaces top-level fields, `metadata` those in it. There is no event id.
export function event(type, changes) {
  return { type, body: Buffer.from(toJson(whole(type, changes))) };
}

export const sender = {
  name: "phil",
  events: EVENT_TYPES,
  ids: () => ({ requestID: requestId(), referenceID: `ref_${randomBytes(8).toString("hex")}` }),
  alone: ["ERROR"],
  scenarios: { confirmed: ["RECEIVED", "CONFIRMED"], failed: ["RECEIVED", "ERROR"] },
  sample(type, { ids: { requestID, referenceID }, at }) {
    const metadata = { referenceID, responseID: `resp_${randomBytes(8).toString("hex")}` };
    return { value: shifted(whole(type, { data: { requestID }, metadata }), SAMPLED_AT, at) };
  },
};

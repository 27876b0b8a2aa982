// Osigu, as its documents describe it: the thirteen events. Sources: authorization events, dispensing events, payload reference.

import { randomBytes } from "node:crypto";

import { shifted, toJson } from "./values.js";

const pharmacy = { provider_slug: "pharmacy-x", branch_id: "branch_01HX" };
const patientProducts = [{ product_code: "MED-042", quantity: 30, posology: "1c/8h" }];

/// `data` of each event type. Amounts stand as text between « »: JSON.stringify would change their digits.
export const DATA = {
  "authorization.created": {
    authorization_id: "auth_01HXA",
    authorization_code: "AUTH-2026-001234",
    authorization_request_id: "areq_01HX9KP",
    beneficiary_id: "bnf_01HW8GQ",
    sponsor_slug: "sponsor-sandbox",
    product_type: "MEDICATION",
    products: patientProducts,
    expires_at: "2026-07-25T00:00:00Z",
    sponsor_reference: "SPX-2026-999",
    additional_data: {},
  },
  "authorization.rejected": {
    authorization_request_id: "areq_01HX9KQ",
    beneficiary_id: "bnf_01HW8GQ",
    sponsor_slug: "sponsor-sandbox",
    rejection_reason: "Product not covered by plan GOLD-100",
    sponsor_reference: "SPX-2026-999",
  },
  "authorization.updated": {
    authorization_id: "auth_01HXA",
    authorization_code: "AUTH-2026-001234",
    changes: {
      payment_type: { from: "IN_KIND", to: "TRANSFER" },
      expires_at: { from: "2026-07-25T00:00:00Z", to: "2026-09-25T00:00:00Z" },
    },
    updated_at: "2026-06-30T10:00:00Z",
  },
  "authorization.voided": {
    authorization_id: "auth_01HXA",
    authorization_code: "AUTH-2026-001234",
    voided_at: "2026-06-30T11:00:00Z",
    voided_by: "SPONSOR",
    reason: "Beneficiary coverage terminated",
  },
  "dispensing.started": {
    dispensation_id: "dsp_01HXDN",
    code: "AUTH-2026-001234",
    code_type: "AUTHORIZATION",
    beneficiary_id: "bnf_01HW8GQ",
    sponsor_slug: "sponsor-sandbox",
    pharmacy,
    products: [{ product_code: "MED-042", quantity: 30 }],
    started_at: "2026-06-25T14:20:00Z",
  },
  "dispensing.completed": {
    dispensation_id: "dsp_01HXDN",
    code: "AUTH-2026-001234",
    code_type: "AUTHORIZATION",
    authorization_id: "auth_01HXA",
    prescription_id: null,
    beneficiary_id: "bnf_01HW8GQ",
    sponsor_slug: "sponsor-sandbox",
    pharmacy,
    products: [{ product_code: "MED-042", quantity: 30, unit_price: "«12.50»" }],
    total_amount: "«375.00»",
    currency: "USD",
    dispensed_at: "2026-06-25T14:22:00Z",
  },
  "dispensing.cancelled": {
    dispensation_id: "dsp_01HXDP",
    code: "AUTH-2026-001234",
    cancelled_at: "2026-06-25T14:25:00Z",
    reason: "TIMEOUT",
  },
  "prescription.issued": {
    prescription_id: "rx_01HXB",
    prescription_code: "RX-2026-9182",
    version: "v1",
    patient: { patient_id: "pat_01HX", first_name: "Ana", last_name: "López" },
    doctor: { doctor_id: "doc_01HX", medical_board_registration: "CMP-44120" },
    diagnoses: [{ diagnosis_code: "J45.0" }],
    medications: [{ product_code: "MED-042", quantity: 30, posology: "1c/8h", duration_days: 10 }],
    issued_at: "2026-06-25T14:00:00Z",
  },
  "prescription.email_delivered": {
    prescription_id: "rx_01HXB",
    prescription_code: "RX-2026-9182",
    email: "ana.lopez@example.com",
    delivered_at: "2026-06-25T14:01:00Z",
  },
  "prescription.email_failed": { prescription_id: "rx_01HXB", prescription_code: "RX-2026-9182", email: "ana.lopez@example.com" },
  "settlement.paid": { settlement_id: "stl_01HXC", status: "ACCEPTED", sponsor_slug: "sponsor-sandbox", period: "2026-06" },
  "settlement.rejected": { settlement_id: "stl_01HXD", status: "REJECTED", sponsor_slug: "sponsor-sandbox", period: "2026-06" },
  "settlement.partially_accepted": {
    settlement_id: "stl_01HXE",
    status: "PARTIALLY_ACCEPTED",
    sponsor_slug: "sponsor-sandbox",
    period: "2026-06",
    claims: [{ claim_id: "clm_01HX", authorization_id: "auth_01HXA", status: "ACCEPTED", total_amount: "«375.00»" }],
  },
};

export const EVENT_TYPES = Object.keys(DATA);

export const eventId = () => `evt_${randomBytes(16).toString("hex").toUpperCase().slice(0, 26)}`;

/// When the samples happened.
const SAMPLED_AT = "2026-06-25T14:22:11.789Z";
/// These are of later.
const HAPPENED_AT = { "authorization.updated": "2026-06-30T10:00:01Z", "authorization.voided": "2026-06-30T11:00:01Z", "dispensing.cancelled": "2026-06-25T14:25:01Z" };

/// An event's envelope and data. `data` replaces fields of the type's sample; `envelope` those around it.
const whole = (type, { data = {}, envelope = {} } = {}) => ({
  event_id: eventId(),
  event_type: type,
  created_at: SAMPLED_AT,
  api_version: "2026-01-01",
  environment: "sandbox",
  data: { ...DATA[type], ...data },
  provider: { provider_id: "prv_01HW", provider_slug: "clinic-example" },
  ...envelope,
});

/// An event as bytes, with the ids and times of the documents.
export function event(type, changes) {
  const value = whole(type, changes);
  return { id: value.event_id, type, body: Buffer.from(toJson(value)) };
}

const fresh = () => randomBytes(10).toString("hex").toUpperCase();

/// The ids of one life.
const ids = () => ({
  authorization_id: `auth_${fresh()}`,
  authorization_code: `AUTH-${fresh()}`,
  authorization_request_id: `areq_${fresh()}`,
  dispensation_id: `dsp_${fresh()}`,
  prescription_id: `rx_${fresh()}`,
  prescription_code: `RX-${fresh()}`,
  settlement_id: `stl_${fresh()}`,
  claim_id: `clm_${fresh()}`,
});

const byPrescription = (data, ids) => ({ ...data, code: ids.prescription_code, code_type: "PRESCRIPTION", ...("authorization_id" in data ? { authorization_id: null, prescription_id: ids.prescription_id } : {}) });

/// With an id of this life wherever a sample has one of its own.
function withIds(data, ids) {
  const own = Object.fromEntries(Object.keys(data).filter((name) => name in ids && data[name] !== null).map((name) => [name, ids[name]]));
  const code = "code" in data ? { code: ids.authorization_code } : {};
  const claims = data.claims ? { claims: data.claims.map((claim) => ({ ...claim, claim_id: ids.claim_id, authorization_id: ids.authorization_id })) } : {};
  return { ...data, ...own, ...code, ...claims };
}

export const sender = {
  name: "osigu",
  events: EVENT_TYPES,
  ids,
  /// What begins a life of its own where one of each is sent: it contradicts another of the same life.
  alone: ["dispensing.cancelled", "settlement.rejected", "settlement.partially_accepted"],
  scenarios: {
    authorization: ["authorization.created", "authorization.updated", "authorization.voided"],
    "authorization-rejected": ["authorization.rejected"],
    dispense: ["authorization.created", "dispensing.started", "dispensing.completed"],
    "dispense-cancelled": ["authorization.created", "dispensing.started", "dispensing.cancelled"],
    prescription: ["prescription.issued", "prescription.email_delivered", { event: "dispensing.started", change: byPrescription }, { event: "dispensing.completed", change: byPrescription }],
    settlement: ["authorization.created", "dispensing.started", "dispensing.completed", "settlement.paid"],
  },
  /// An event of a life, as it would be sent at that time.
  sample(type, { ids, at, change = (data) => data }) {
    const value = whole(type);
    const data = shifted(change(withIds(value.data, ids), ids), HAPPENED_AT[type] ?? SAMPLED_AT, at);
    return { value: { ...value, created_at: new Date(at).toISOString(), data } };
  },
};

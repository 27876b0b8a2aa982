// Osigu, as its documents describe it: the thirteen events, and the signature of a request. Sources: the three documents in the senders' seeds.

import { createHmac, randomBytes } from "node:crypto";

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

/// An event as bytes. `data` replaces fields of the type's sample; `envelope` those around it.
export function event(type, { data = {}, envelope = {} } = {}) {
  const value = {
    event_id: eventId(),
    event_type: type,
    created_at: "2026-06-25T14:22:11.789Z",
    api_version: "2026-01-01",
    environment: "sandbox",
    data: { ...DATA[type], ...data },
    provider: { provider_id: "prv_01HW", provider_slug: "clinic-example" },
    ...envelope,
  };
  return { id: value.event_id, type, body: Buffer.from(toJson(value)) };
}

export const toJson = (value) => JSON.stringify(value).replaceAll(/"«([^»]*)»"/g, "$1");

export const seconds = () => Math.floor(Date.now() / 1000);

/// One `v1`.
export const sign = (key, body, t = seconds()) => createHmac("sha256", key).update(`${t}.`).update(body).digest("hex");

/// The header, signed with each of `keys`.
export function signatureHeader(keys, body, t = seconds()) {
  return [`t=${t}`, ...[keys].flat().map((key) => `v1=${sign(key, body, t)}`)].join(",");
}

/// Sends a body as Osigu does.
export async function send(url, body, { key, t, header, headers = {}, signal } = {}) {
  const signature = header === undefined ? signatureHeader(key, body, t) : header;
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...(signature === null ? {} : { "x-osigu-signature": signature }), ...headers },
    body,
    redirect: "manual",
    signal,
  });
  const text = await response.text();
  let answer = {};
  try {
    answer = JSON.parse(text);
  } catch {}
  return { status: response.status, code: answer.code, reason: answer.reason, eventId: answer.event_id, retryAfter: response.headers.get("retry-after"), text };
}

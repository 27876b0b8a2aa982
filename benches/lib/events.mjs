// What is sent in the benches: Osigu's dispensations, each an event of its own.

import { createHmac, randomBytes } from "node:crypto";

/// A dispensation of so many bytes: products are added until it is as long as that, and a comment fills the rest.
export function dispensation(size, { eventId = "evt_01HXEVENT00000001", dispensationId = "dsp_01HXDN" } = {}) {
  const product = (n) => ({ product_code: `MED-${String(n).padStart(6, "0")}`, quantity: 30, unit_price: 12.5, posology: "1 tablet each 8 hours" });
  const event = {
    event_id: eventId,
    event_type: "dispensing.completed",
    created_at: "2026-06-25T14:22:11.789Z",
    api_version: "2026-01-01",
    environment: "sandbox",
    data: { dispensation_id: dispensationId, code: "AUTH-1", code_type: "AUTHORIZATION", beneficiary_id: "bnf_1", products: [], currency: "USD", total_amount: 375.5 },
    provider: { provider_slug: "clinic-a" },
  };
  const length = () => JSON.stringify(event).length;
  for (let n = 0; length() + JSON.stringify(product(n)).length + 1 <= size; n += 1) event.data.products.push(product(n));
  const missing = size - length() - '"note":"",'.length;
  if (missing > 0) event.data.note = "x".repeat(missing);
  return JSON.stringify(event);
}

const EVENT = "evt_00000000000000000000000000000000";
const ENTITY = "dsp_00000000000000000000000000000000";

/// Makes bodies of one size that differ in their ids only.
export function bodies(size) {
  const [before, between, after] = dispensation(size, { eventId: EVENT, dispensationId: ENTITY }).split(/(?:evt|dsp)_0{32}/);
  return () => `${before}evt_${randomBytes(16).toString("hex")}${between}dsp_${randomBytes(16).toString("hex")}${after}`;
}

export function signature(key, body, t = Math.floor(Date.now() / 1000)) {
  return `t=${t},v1=${createHmac("sha256", key).update(`${t}.`).update(body).digest("hex")}`;
}

/// A request as its bytes on the wire.
export function onTheWire(port, body, header) {
  const head = `POST /hooks/osigu HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\nx-osigu-signature: ${header}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`;
  return Buffer.from(head + body);
}

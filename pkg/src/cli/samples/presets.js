// One event of each preset's sender, in the form of its documents. The bodies of Osigu's three other products aren't documented in public: these are made up.

import { randomBytes } from "node:crypto";

const hex = (bytes) => randomBytes(bytes).toString("hex");
const instant = (at) => new Date(at).toISOString();
const seconds = (at) => Math.floor(at / 1000);
const number = () => randomBytes(5).readUIntBE(0, 5);

const ids = () => ({ entity: hex(8) });

const prescriptionFilled = ({ entity }, at) => ({
  type: "prescription.filled",
  timestamp: instant(at),
  data: { prescription_id: `rx_${entity}`, pharmacy_id: "phm_114", product_code: "MED-042", quantity: 30, filled_at: instant(at) },
});

/// Of each: the event's name, and its body. `headers`: what the sender sends besides, unsigned. `id`: the event id that is signed in a header.
const PRESETS = {
  "standard-webhooks": { event: "prescription.filled", body: prescriptionFilled, id: () => `msg_${hex(14)}` },
  "standard-webhooks-v1a": { event: "prescription.filled", body: prescriptionFilled, id: () => `msg_${hex(14)}` },
  svix: { event: "prescription.filled", body: prescriptionFilled, id: () => `msg_${hex(14)}` },
  stripe: {
    event: "payment_intent.succeeded",
    body: ({ entity }, at) => ({
      id: `evt_${hex(12)}`,
      object: "event",
      api_version: "2025-09-30.clover",
      created: seconds(at),
      type: "payment_intent.succeeded",
      livemode: false,
      pending_webhooks: 1,
      request: { id: `req_${hex(7)}`, idempotency_key: null },
      data: { object: { id: `pi_${entity}`, object: "payment_intent", amount: 37500, amount_received: 37500, currency: "usd", status: "succeeded", created: seconds(at), metadata: { order_id: "1234" } } },
    }),
  },
  github: {
    event: "issues.opened",
    body: ({ entity }, at) => ({
      action: "opened",
      issue: { id: number(), number: 1347, title: `Label printer is offline (${entity})`, state: "open", created_at: instant(at), user: { login: "octocat", id: 1 } },
      repository: { id: 1296269, name: "Hello-World", full_name: "octocat/Hello-World", private: false, owner: { login: "octocat", id: 1 } },
      sender: { login: "octocat", id: 1, type: "User" },
    }),
    headers: () => ({ "x-github-event": "issues", "x-github-delivery": crypto.randomUUID(), "x-github-hook-id": "292430182" }),
  },
  shopify: {
    event: "orders/create",
    body: (_, at) => ({
      id: number(),
      admin_graphql_api_id: `gid://shopify/Order/${number()}`,
      created_at: instant(at),
      currency: "USD",
      financial_status: "paid",
      name: "#1234",
      total_price: "375.00",
      line_items: [{ id: number(), title: "Blood pressure monitor", quantity: 1, price: "375.00", sku: "BPM-1" }],
      customer: { id: number(), first_name: "John", last_name: "Doe", email: "john.doe@example.com" },
    }),
    headers: () => ({ "x-shopify-topic": "orders/create", "x-shopify-webhook-id": crypto.randomUUID(), "x-shopify-shop-domain": "pharmacy-example.myshopify.com", "x-shopify-api-version": "2025-10" }),
  },
  slack: {
    event: "app_mention",
    body: (_, at) => ({
      token: "XXYYZZ",
      team_id: "T123ABC456",
      api_app_id: "A123ABC456",
      event: { type: "app_mention", user: "U123ABC456", text: "<@U0LAN0Z89> is the refill queue empty?", ts: `${seconds(at)}.000100`, channel: "C123ABC456", event_ts: `${seconds(at)}.000100` },
      type: "event_callback",
      event_id: `Ev${hex(5).toUpperCase()}`,
      event_time: seconds(at),
    }),
  },
  photon: {
    event: "photon:order:created",
    body: ({ entity }, at) => ({
      id: hex(13).toUpperCase(),
      type: "photon:order:created",
      specversion: "1.0",
      datacontenttype: "application/json",
      time: instant(at),
      subject: `ord_${entity}`,
      source: "org:org_example",
      data: { id: `ord_${entity}`, externalId: "1234", pharmacyId: "phr_example", patient: { id: "pat_example", externalId: "1234" }, fills: [{ id: `fil_${hex(8)}`, prescription: { id: `rx_${hex(8)}`, externalId: "1234" } }], createdAt: instant(at) },
    }),
    headers: (_, at) => ({ "x-photon-timestamp": String(seconds(at)) }),
  },
  "osigu-payer": {
    event: "claim.settled",
    body: ({ entity }, at) => ({ claim_id: entity, authorization_code: `AUTH-${entity.toUpperCase()}`, provider_slug: "pharmacy-x", status: "SETTLED", total_amount: "«375.00»", currency: "USD", settled_at: instant(at) }),
  },
  "osigu-prescription-notifications": {
    event: "prescription.available",
    body: ({ entity }, at) => ({ prescription_id: entity, prescription_code: `RX-${entity.toUpperCase()}`, patient: { first_name: "Ana", last_name: "López" }, status: "AVAILABLE", issued_at: instant(at) }),
  },
  "osigu-dvs": {
    event: "verification.completed",
    body: ({ entity }, at) => ({ verification_id: entity, document_type: "PRESCRIPTION", result: "VERIFIED", verified_at: instant(at) }),
  },
};

export const senders = Object.entries(PRESETS).map(([name, { event, body, headers = () => ({}), id = () => undefined }]) => ({
  name,
  preset: name,
  events: [event],
  ids,
  alone: [],
  scenarios: {},
  sample: (_, { ids, at }) => ({ value: body(ids, at), id: id(), headers: headers(ids, at) }),
}));

// Osigu's dispensations, and the canonical event of each.

import { z } from "zod";

const text = z.string().nullish();
const amount = z.union([z.number(), z.string()]).nullish();
const instant = z.iso.datetime({ offset: true });

const Osigu = z.object({
  event_id: z.string().min(1).max(256),
  event_type: z.enum(["dispensing.started", "dispensing.completed", "dispensing.cancelled"]),
  created_at: instant,
  api_version: z.literal("2026-01-01"),
  environment: z.enum(["sandbox", "production"]),
  data: z.object({
    dispensation_id: z.string().min(1).max(256),
    code: text,
    code_type: text,
    authorization_id: text,
    prescription_id: text,
    beneficiary_id: text,
    sponsor_slug: text,
    pharmacy: z.object({ provider_slug: text, branch_id: text }).nullish(),
    products: z.array(z.object({ product_code: text, quantity: amount, unit_price: amount, posology: text })).nullish(),
    total_amount: amount,
    currency: text,
    started_at: instant.nullish(),
    dispensed_at: instant.nullish(),
    cancelled_at: instant.nullish(),
    reason: text,
  }),
  provider: z.object({ provider_id: text, provider_slug: text }).nullish(),
});

const KINDS = {
  "dispensing.started": { type: "rx.dispense.started", instant: "started_at", rank: 1, state: "in_flight" },
  "dispensing.completed": { type: "rx.dispense.completed", instant: "dispensed_at", rank: 2, state: "redeemed" },
  "dispensing.cancelled": { type: "rx.dispense.cancelled", instant: "cancelled_at", rank: 2, state: "redeemable" },
};

/// Parses and validates; throws.
export const read = (body) => Osigu.parse(JSON.parse(body));
export const kindOf = ({ event_type }) => KINDS[event_type];
export const entityOf = ({ data }) => `dispense/${data.dispensation_id}`;

/// JSON.stringify leaves out what is undefined.
const given = (value) => value ?? undefined;
const digits = (value) => (value === undefined || value === null ? undefined : String(value));
const utc = (time) => new Date(time).toISOString().replace(".000Z", "Z");

const itemOf = ({ product_code, quantity, unit_price, posology }) => ({
  code: given(product_code),
  quantity: digits(quantity),
  unit_price: digits(unit_price),
  directions: given(posology),
});

/// The canonical event as JSON; the sender's own text stands in it as it came.
export function eventOf({ event_id, event_type, created_at, environment, api_version, data, provider }, kind, original, { keyId, sequence, ordering, state }) {
  const { pharmacy, products } = data;
  const event = JSON.stringify({
    specversion: "1.0",
    id: event_id,
    source: "/sources/osigu",
    type: kind.type,
    subject: `dispense/${data.dispensation_id}`,
    time: utc(data[kind.instant] ?? created_at),
    datacontenttype: "application/json",
    dataschema: `urn:rxgate:schema:${kind.type}:1`,
    rxprovider: "osigu",
    rxeventtype: event_type,
    rxenvironment: environment,
    rxapiversion: api_version,
    rxauth: "signature",
    rxkeyid: keyId,
    rxpharmacy: given(pharmacy?.provider_slug),
    rxbranch: given(pharmacy?.branch_id),
    rxemittedat: utc(created_at),
    sequence: String(sequence).padStart(16, "0"),
    rxordering: ordering,
    data: {
      state,
      entity: {
        type: "dispense",
        id: data.dispensation_id,
        code: given(data.code),
        code_type: given(data.code_type),
        authorization_id: given(data.authorization_id),
        prescription_id: given(data.prescription_id),
      },
      patient: data.beneficiary_id ? { id: data.beneficiary_id } : undefined,
      sponsor: data.sponsor_slug ? { slug: data.sponsor_slug } : undefined,
      account: provider ? { id: given(provider.provider_id), slug: given(provider.provider_slug) } : undefined,
      pharmacy: pharmacy ? { provider: given(pharmacy.provider_slug), branch: given(pharmacy.branch_id) } : undefined,
      items: products?.length ? products.map(itemOf) : undefined,
      total: data.total_amount === undefined || data.total_amount === null ? undefined : { amount: digits(data.total_amount), currency: given(data.currency) },
      reason: data.reason ? { code: data.reason } : undefined,
    },
  });
  return `${event.slice(0, -2)},"original":${original}}}`;
}

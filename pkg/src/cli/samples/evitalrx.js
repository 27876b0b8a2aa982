// eVitalRx, as its documents describe it: the ten webhooks of the fulfilment portal. Source: docs.evitalrx.in, "API for fulfillment portal", "Webhooks". The bodies of Accepted,
// Rejected and Shipped are its samples; those of the other seven aren't documented, and are the same flat body.

import { randomBytes } from "node:crypto";

import { shifted, toJson } from "./values.js";

const item = {
  price: 130,
  directions: "0-0-0-0",
  quantity: 100,
  mrp: 130,
  discount: 0,
  batch: "",
  expiry: "01/00",
  gst: "«139.29»",
  gstpercentage: 12,
  amount: 1300,
  size: 10,
  medicine_name: "Dolobest MR 100mg/500mg/250mg Tablet",
  pack_size: "10 Tablets",
  dosage_type: "",
  image: "https://cdn.example/medicines/thumb/default.jpg",
  medicine_id: "LXarWkGm2iSXJ0SVTu2NEg==",
};

const order = {
  id: "buctt+C5QzfVvqdIpKkYnQ==",
  transaction_type: "sales",
  transaction_nature: "accept",
  chemist_id: "9kVNNczng10TbflL7zZEDA==",
  reference_number: 0,
  payment_mode: "Cash",
  payment_date: "2025-01-29 12:19:46",
  delivery_type: "delivery",
  order_number: "OOM6HJQ9BT",
  partner_order_id: "1234",
  bill_no: 0,
  bill_date: "2025-01-29 12:19:46",
  order_status: "accepted",
  reject_reason: "",
  total: "«1300.00»",
  amount: 1300,
  order_by: "",
  draft_order_id: "y1sw0N315wy4+UDhhT5FjA==",
  draft_order_shipping_charge: 30,
  patient_id: "rfojNNab+jNKqxDTYowQSQ==",
  patient_name: "Manav Patel",
  mobile: "7458787853",
  billing_for: "Manav Patel",
  billing_for_mobile: "7458787853",
  doctor_name: "",
  "bill-pdf-url": "https://portal.example/invoice/T09NNkhKUTlCVA==/print/",
  direct_payment_url: "",
  remark: "",
  chemist_code: "C00ER",
  delivery_person_name: "",
  delivery_person_mobile: "",
  tracking_url: "",
  items: [item],
};

const none = "1900-01-01 12:00:00";
const digitized = { chemist_id: "", chemist_code: "", payment_date: none, bill_date: none, "bill-pdf-url": "", doctor_name: "Dr. Asha Rao" };
const billed = {
  reference_number: 396,
  bill_no: 396,
  bill_date: "2025-01-29 12:26:51",
  order_by: "Owner",
  invoice_pdf: "https://cdn.example/invoices/OGMDZPAD45.pdf",
  medicine_refill_reminder_date: "2025-02-05 00:00:00",
  items: [{ ...item, batch: "DB2231", expiry: "12/27", directions: "1-0-1-0", discount: "«2.50»" }],
};
const tracked = { ...billed, tracking_url: "https://portal.example/track/M3hyN0xmYWZySGtPalgzeThWeVlzUT09", delivery_pin: "1628" };
const withRider = { ...tracked, delivery_person_name: "Ravi Kumar", delivery_person_mobile: "9876543210" };

/// What each webhook changes of the flat body.
export const DATA = {
  "digitization-completed": { ...digitized, transaction_nature: "", order_status: "draft" },
  "digitization-rejected": { ...digitized, transaction_nature: "reject", order_status: "rejected", reject_reason: "Prescription not readable", items: [] },
  "order-assigned": { transaction_nature: "", order_status: "assigned", payment_date: none, bill_date: none },
  "order-accepted": {},
  "order-rejected": { transaction_nature: "reject", order_status: "rejected", payment_date: none, bill_date: "2025-01-29 12:23:59", reject_reason: "Other", is_final_rejection: false },
  "order-reassign": { transaction_nature: "", order_status: "assigned", chemist_id: "vUrZeR78iAdoLVZYO6amjA==", chemist_code: "C00F2", payment_date: none, bill_date: none },
  "order-shipped": { ...tracked, transaction_nature: "shipped", order_status: "shipped" },
  "order-picked-up": { ...withRider, transaction_nature: "shipped", order_status: "shipped" },
  "order-delivered": { ...withRider, transaction_nature: "delivered", order_status: "delivered" },
  "order-split": { transaction_nature: "split", order_status: "draft", payment_date: none, bill_date: none },
};

/// What a pickup order has besides.
export const PICKUP = {
  delivery_type: "pickup",
  tracking_url: "",
  chemist_details: {
    chemist_id: "9kVNNczng10TbflL7zZEDA==",
    pharmacy_name: "Shree Ganesh Pharmacy",
    pharmacist_name: "Bhumin Patel",
    contact_no: "7216009775",
    full_address: "4d Square, Visat, Ahmedabad, Gujarat, India, 380005",
    latitude: "23.1027599",
    longitude: "72.5951718",
    zipcode: "380005",
    store_timings: { fullday_working: "yes", timings: [{ id: "OdONoVbisSnjEbkBi/2lAQ==", day_of_week: "monday", working: "yes" }] },
  },
};

export const EVENT_TYPES = Object.keys(DATA);

/// An order's id, with all that base64 may hold.
export const orderId = () => `+/${randomBytes(16).toString("base64").slice(2)}`;

const whole = (type, { data = {}, pickup = false } = {}) => ({ ...order, ...DATA[type], ...(pickup ? PICKUP : {}), ...data });

/// A webhook's body as bytes. `data` replaces fields of its sample. There is no event id.
export function event(type, changes) {
  return { type, body: Buffer.from(toJson(whole(type, changes))) };
}

/// When the samples happened, on the portal's clock.
const SAMPLED_AT = "2025-01-29T12:19:46Z";
const PORTAL_ZONE = 5.5 * 3600_000;

const pickedUp = (value) => ({ ...value, ...PICKUP });
const { chemist_id, chemist_code } = DATA["order-reassign"];
const bySecond = (value) => ({ ...value, chemist_id, chemist_code });

export const sender = {
  name: "evitalrx",
  events: EVENT_TYPES,
  ids: () => ({ id: orderId(), draft_order_id: orderId(), order_number: `OO${randomBytes(4).toString("hex").toUpperCase()}`, partner_order_id: String(randomBytes(4).readUInt32BE()) }),
  alone: ["digitization-rejected", "order-rejected", "order-split"],
  scenarios: {
    delivery: ["digitization-completed", "order-assigned", "order-accepted", "order-shipped", "order-picked-up", "order-delivered"],
    pickup: ["digitization-completed", "order-assigned", "order-accepted", "order-shipped", "order-delivered"].map((event) => ({ event, change: event.startsWith("order") ? pickedUp : undefined })),
    reassigned: [
      "digitization-completed",
      "order-assigned",
      "order-rejected",
      "order-reassign",
      ...["order-accepted", "order-shipped", "order-picked-up", "order-delivered"].map((event) => ({ event, change: bySecond })),
    ],
  },
  sample(type, { ids, at, change = (value) => value }) {
    return { value: shifted(change({ ...whole(type), ...ids }, ids), SAMPLED_AT, at + PORTAL_ZONE), webhook: type };
  },
};

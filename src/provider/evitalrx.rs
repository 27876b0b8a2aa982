//! eVitalRx, the webhooks of its fulfilment portal. Sources: senders.md §2, the document in its seeds, and the pages of docs.evitalrx.in on single webhooks.
//!
//! Its documents leave open, and we decide:
//! - How its requests are authenticated: nothing here rests on it.
//! - Seven of the ten bodies: the same flat body is read for all ten, and all but the order's id is optional.
//! - When an event happened: no field tells. `bill_date` stands in the body before there is a bill, and stays as it is in later events; `payment_date` tells of the payment. So `time` is left out.
//! - Whether an empty text tells anything: it stands for what isn't there yet, so it is left out, as the other values for none are. `original` has them all.
//! - What Split means ("when the order gets re-assigned", "when order split into multiple orders"): it leaves the state as it is.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::{Context, Decoded, Refusal, UNKNOWN_TYPE, Unknown, derived_id, digest};
use crate::auth::Verified;
use crate::entity::{FINALLY_REJECTED, Life, Step};
use crate::event::phi::field::{clinical, contact, free_text, identifier, link, none};
use crate::event::phi::{Class, Field, Policy, Shape};
use crate::event::{
    Attributes, Bill, Data, Document, Entity, Fields, Invalid, Item, Notes, OrderData,
    OrderDelivery, Patient, Payment, Person, Pharmacy, Prescriber, Reason, State, Total,
    UnknownData, decode, fits_attribute, sorted_form,
};
use crate::json::{Raw, Value};
use crate::time::{Timestamp, Zone};

type Text<'a> = Option<Cow<'a, str>>;

/// One of the ten webhooks.
struct Kind {
    /// Its name in a source's path, and `rxeventtype`.
    webhook: &'static str,
    canonical: &'static str,
    /// How far along its round it stands, and the state it leaves the order in. A rejection and a re-assignment begin a round, so they rank first.
    state: Option<(u8, State)>,
}

const fn kind(webhook: &'static str, canonical: &'static str, state: Option<(u8, State)>) -> Kind {
    Kind {
        webhook,
        canonical,
        state,
    }
}

#[rustfmt::skip]
const KINDS: [Kind; 10] = [
    kind("digitization-completed", "rx.order.digitized",             Some((1, State::Digitized))),
    kind("digitization-rejected",  "rx.order.digitization_rejected", Some((2, State::DigitizationRejected))),
    kind("order-assigned",         "rx.order.assigned",              Some((2, State::Assigned))),
    kind("order-accepted",         "rx.order.accepted",              Some((3, State::Accepted))),
    kind("order-rejected",         "rx.order.rejected",              Some((1, State::Rejected))),
    kind("order-reassign",         "rx.order.reassigned",            Some((1, State::Assigned))),
    kind("order-shipped",          "rx.order.shipped",               Some((4, State::Shipped))),
    kind("order-picked-up",        "rx.order.picked_up",             Some((5, State::PickedUp))),
    kind("order-delivered",        "rx.order.delivered",             Some((6, State::Delivered))),
    kind("order-split",            "rx.order.split",                 None),
];

/// The webhooks, and the canonical type of each.
pub(super) fn event_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|kind| (kind.webhook, kind.canonical))
}

/// A word that was seen in a body.
struct Word {
    field: &'static str,
    value: &'static str,
    /// The webhook that it tells of by itself.
    tells: Option<&'static str>,
    /// The webhooks that it may come with.
    goes_with: &'static [&'static str],
}

const fn word(
    field: &'static str,
    value: &'static str,
    tells: Option<&'static str>,
    goes_with: &'static [&'static str],
) -> Word {
    Word {
        field,
        value,
        tells,
        goes_with,
    }
}

const NATURE: &str = "transaction_nature";
const STATUS: &str = "order_status";

/// Only what was seen is here: any other word tells nothing, and contradicts nothing. Three pairs were seen (accept and accepted, reject and rejected, shipped and shipped); for
/// the other webhooks, whose bodies aren't documented, a word goes with those after which an order can be in that state. Split may come at any time.
#[rustfmt::skip]
const WORDS: [Word; 8] = [
    word(NATURE, "accept",   Some("order-accepted"), &["order-accepted", "order-split"]),
    word(NATURE, "reject",   Some("order-rejected"), &["order-rejected", "digitization-rejected", "order-reassign", "order-split"]),
    word(NATURE, "shipped",  Some("order-shipped"),  &["order-shipped", "order-picked-up", "order-split"]),
    word(STATUS, "draft",    None,                   &["digitization-completed", "digitization-rejected", "order-assigned", "order-reassign", "order-split"]),
    word(STATUS, "assigned", Some("order-assigned"), &["digitization-completed", "order-assigned", "order-reassign", "order-split"]),
    word(STATUS, "accepted", Some("order-accepted"), &["order-accepted", "order-split"]),
    word(STATUS, "rejected", Some("order-rejected"), &["order-rejected", "digitization-rejected", "order-reassign", "order-split"]),
    word(STATUS, "shipped",  Some("order-shipped"),  &["order-shipped", "order-picked-up", "order-split"]),
];

/// What a field holds as long as there is nothing to tell.
const NOTHING: [&str; 1] = [""];
const NO_NUMBER: [&str; 2] = ["", "0"];
const NO_DIRECTIONS: [&str; 2] = ["", "0-0-0-0"];
const NO_EXPIRY: [&str; 2] = ["", "01/00"];
/// `1900-01-01 12:00:00`, at whatever hour.
const NO_DATE: &str = "1900-01-01";

/// Fields that may differ between two sendings of one event, each with the reason. Of these only counts whether they hold anything: in doubt two events, never one. Whatever tells
/// of a rider is not among them: shipped without a rider, and then with one, are two events.
const VOLATILE: [(&str, &str); 4] = [
    (
        "chemist_details",
        "what the portal knows of the pharmacy, as it is when it sends: opening hours change on their own",
    ),
    (
        "bill-pdf-url",
        "a link that may be signed anew for each sending",
    ),
    (
        "invoice_pdf",
        "a link that may be signed anew for each sending",
    ),
    (
        "direct_payment_url",
        "a link that may be made anew for each sending",
    ),
];

/// Every field that was seen, with its class, the same for all ten. The pin opens the door to a parcel, so it is a link. `order_by` may be a person.
pub(super) static DOCUMENTED: [Field; 38] = [
    identifier("id"),
    identifier("draft_order_id"),
    identifier("partner_order_id"),
    identifier("order_number"),
    none("transaction_type"),
    none("transaction_nature"),
    none("order_status"),
    none("chemist_id"),
    none("chemist_code"),
    identifier("reference_number"),
    none("payment_mode"),
    none("payment_date"),
    none("delivery_type"),
    identifier("bill_no"),
    none("bill_date"),
    free_text("reject_reason"),
    none("is_final_rejection"),
    none("total"),
    none("amount"),
    none("draft_order_shipping_charge"),
    contact("order_by"),
    identifier("patient_id"),
    contact("patient_name"),
    contact("mobile"),
    contact("billing_for"),
    contact("billing_for_mobile"),
    contact("doctor_name"),
    link("bill-pdf-url"),
    link("invoice_pdf"),
    link("direct_payment_url"),
    free_text("remark"),
    clinical("medicine_refill_reminder_date"),
    contact("delivery_person_name"),
    contact("delivery_person_mobile"),
    link("tracking_url"),
    link("delivery_pin"),
    ("chemist_details", Shape::Object(&CHEMIST)),
    ("items", Shape::List(&Shape::Object(&ITEM))),
];

static CHEMIST: [Field; 9] = [
    none("chemist_id"),
    none("pharmacy_name"),
    contact("pharmacist_name"),
    contact("contact_no"),
    contact("full_address"),
    none("zipcode"),
    none("latitude"),
    none("longitude"),
    ("store_timings", Shape::Any(Class::None)),
];

static ITEM: [Field; 16] = [
    none("price"),
    clinical("directions"),
    clinical("quantity"),
    none("mrp"),
    none("discount"),
    clinical("batch"),
    clinical("expiry"),
    none("gst"),
    none("gstpercentage"),
    none("amount"),
    clinical("size"),
    clinical("medicine_name"),
    clinical("pack_size"),
    clinical("dosage_type"),
    clinical("image"),
    clinical("medicine_id"),
];

/// Reads an event. A refusal names no event id: what it is made of couldn't be read.
pub(super) fn read<'a>(
    verified: &'a Verified<'_>,
    context: Context<'a>,
) -> Result<Decoded<'a>, (Refusal, Option<String>)> {
    read_event(verified, context).map_err(|why| (why, None))
}

fn read_event<'a>(
    verified: &'a Verified<'_>,
    context: Context<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let document = decode(verified).map_err(Refusal::Malformed)?;
    let notes = Notes::of_sent(context.phi);
    let order = Fields::root(&document, &notes);
    let words = [NATURE, STATUS].map(|field| order.text(field));
    let kind = what_happened(&words, context.webhook)?;
    // What is checked, claimed and routed by is read from the document as it was sent.
    let sent = Sheet {
        order: &order,
        zone: context.zone,
        left_by: None,
    };
    let mut content = sent.content(kind, document.raw())?;
    let entity = content.subject.clone();
    let mut step = Step::default();
    let mut chemist = None;
    if let (Some(kind), Data::Order(data)) = (kind, &content.data) {
        step = step_of(kind, data);
        chemist = data.pharmacy.as_ref().and_then(|it| it.id.clone());
    }
    if chemist.as_deref().is_some_and(|id| !fits_attribute(id)) {
        order.note("chemist_id", "string of 1 to 256 printable characters");
        chemist = None;
    }
    // A webhook that we don't know is told by the path alone.
    let webhook = kind.map(|kind| kind.webhook).or(context.webhook);
    let key = base_key(&order, webhook.unwrap_or_default());
    if context.phi.redacts() {
        content = read_redacted(&document, kind, &notes, context)?;
    }
    let canonical = kind.map_or(UNKNOWN_TYPE, |kind| kind.canonical);
    let id: Cow<'_, str> = derived_id("ord_", &key).into();
    let attributes = Attributes {
        id: id.clone(),
        source: format!("/sources/{}", context.source),
        r#type: canonical,
        subject: content.subject,
        time: None,
        datacontenttype: "application/json",
        dataschema: context.phi.variant().urn(canonical),
        rxprovider: "evitalrx",
        rxeventtype: event_type(kind, words, context.webhook),
        rxenvironment: None,
        rxapiversion: None,
        rxauth: context.auth,
        rxkeyid: verified.proof().key.as_str(),
        rxpharmacy: chemist,
        rxbranch: None,
        rxemittedat: None,
        traceparent: context.traceparent,
    };
    let mut data = content.data;
    let notes = notes.take();
    let count = notes.len();
    data.set_notes(notes);
    Ok(Decoded {
        id,
        derived: true,
        entity,
        step,
        withholds: false,
        unknown: kind.is_none().then_some(Unknown::EventType),
        attributes,
        data,
        notes: count,
    })
}

/// By the path, or else by the body's own words. All that tell anything have to agree. A path that names a webhook we don't know is an event we don't know.
fn what_happened(
    [nature, status]: &[Text<'_>; 2],
    webhook: Option<&str>,
) -> Result<Option<&'static Kind>, Refusal> {
    let words = [(NATURE, nature), (STATUS, status)].map(|(field, value)| {
        WORDS
            .iter()
            .find(|word| word.field == field && value.as_deref() == Some(word.value))
    });
    let find = |name: &str| KINDS.iter().find(|kind| kind.webhook == name);
    let (kind, told_by) = if let Some(name) = webhook {
        let Some(kind) = find(name) else {
            return Ok(None);
        };
        (kind, format!("webhook {}", kind.webhook))
    } else {
        let mut words = words.into_iter().flatten();
        let Some((word, name)) = words.find_map(|word| Some((word, word.tells?))) else {
            return Ok(None);
        };
        let Some(kind) = find(name) else {
            return Ok(None);
        };
        (kind, format!("{} {}", word.field, word.value))
    };
    let mut words = words.into_iter().flatten();
    match words.find(|word| !word.goes_with.contains(&kind.webhook)) {
        // Both are words of the tables here.
        Some(Word { field, value, .. }) => Err(Refusal::Contradictory(Invalid {
            path: format!("{told_by}, {field} {value}"),
            problem: "tell of different events",
        })),
        None => Ok(Some(kind)),
    }
}

/// The sender's own word for the event, as far as there is one.
fn event_type<'a>(
    kind: Option<&Kind>,
    words: [Text<'a>; 2],
    webhook: Option<&'a str>,
) -> Cow<'a, str> {
    let is_name = |name: &&str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    match (kind, webhook.filter(is_name)) {
        (Some(kind), _) => kind.webhook.into(),
        (None, Some(webhook)) => webhook.into(),
        (None, None) => {
            let mut words = words.into_iter().flatten();
            words
                .find(|word| fits_attribute(word))
                .unwrap_or_else(|| "unknown".into())
        }
    }
}

/// Its place in the life of the order. The instant isn't told.
fn step_of(kind: &Kind, order: &OrderData<'_>) -> Step {
    let delivery = order.delivery.as_ref().and_then(|it| it.r#type.as_deref());
    let life = match delivery {
        Some("pickup") => Life::OrderPickup,
        _ => Life::OrderDelivery,
    };
    let is_final = kind.webhook == "order-rejected"
        && order.reason.as_ref().and_then(|it| it.r#final) == Some(true);
    let name = if is_final {
        FINALLY_REJECTED
    } else {
        kind.webhook
    };
    let (rank, state) = kind
        .state
        .map_or((0, 0), |(rank, state)| (rank, state as u8));
    Step {
        rank,
        state,
        at: Timestamp::default(),
        life,
        node: life.number(name).unwrap_or(u8::MAX),
        version: 0,
    }
}

/// What tells an event from others, before it is known in which round of its order it came: SHA-256 over the order's id, the event, the pharmacy, and the hash of all other fields
/// by name. The order of fields, white space and escapes make no difference; of [`VOLATILE`] fields only counts whether they are there.
fn base_key(order: &Fields<'_, '_>, event: &str) -> [u8; 32] {
    let form = |value: Value<'_, '_>| {
        let mut bytes = Vec::with_capacity(value.raw().get().len());
        sorted_form(value, &mut bytes);
        bytes
    };
    let rest = order
        .sorted_entries()
        .filter(|(name, _)| !matches!(name.as_ref(), "id" | "chemist_id"));
    let mut hash = Sha256::new();
    for (name, value) in rest {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
        if VOLATILE.iter().any(|(volatile, _)| *volatile == name) {
            let is_there = !matches!(value.raw().get(), "null" | "\"\"");
            hash.update([u8::from(is_there)]);
        } else {
            hash.update(form(value));
        }
    }
    let rest: [u8; 32] = hash.finalize().into();
    let [id, chemist] = ["id", "chemist_id"].map(|name| order.entry(name).map(form));
    digest(
        "evitalrx",
        &[
            id.as_deref(),
            Some(event.as_bytes()),
            chemist.as_deref(),
            Some(&rest),
        ],
    )
}

/// The canonical fields once more, from what `phi` leaves of the document.
fn read_redacted<'a>(
    document: &Document<'_>,
    kind: Option<&Kind>,
    notes: &Notes,
    context: Context<'a>,
) -> Result<Content<'a>, Refusal> {
    let left = context.redact(document.object(), &DOCUMENTED, notes)?;
    // What is wrong with the document was noted when it was read as it was sent.
    let unused = Notes::of_redacted(context.phi);
    let sheet = Sheet {
        order: &Fields::root(&left, &unused),
        zone: context.zone,
        left_by: Some(context.phi),
    };
    let mut content = sheet.content(kind, left.raw())?;
    content.data.set_redacted();
    Ok(content)
}

/// The canonical data, and what it is about.
struct Content<'a> {
    data: Data<'a>,
    /// `order/<id>`.
    subject: Option<String>,
}

/// The flat body, and what has to be known to read it.
struct Sheet<'s, 'a> {
    order: &'s Fields<'s, 'a>,
    zone: Zone,
    /// What the document was redacted by: then the values for none may be pseudonyms of them.
    left_by: Option<&'s Policy>,
}

impl<'a> Sheet<'_, 'a> {
    fn content(&self, kind: Option<&Kind>, original: Raw<'a>) -> Result<Content<'a>, Invalid> {
        if kind.is_none() {
            return Ok(Content {
                data: Data::Unknown(UnknownData {
                    account: None,
                    notes: Vec::new(),
                    redacted: false,
                    original,
                }),
                subject: None,
            });
        }
        let id = self.order.entity_id("id")?;
        let subject = id.as_deref().map(|id| format!("order/{id}"));
        let data = Data::Order(Box::new(self.order_data(id, original)));
        Ok(Content { data, subject })
    }

    fn order_data(&self, id: Text<'a>, original: Raw<'a>) -> OrderData<'a> {
        OrderData {
            entity: Entity {
                r#type: "order".into(),
                id,
                code: self.scalar("order_number", Class::Identifier),
                partner_order_id: self.scalar("partner_order_id", Class::Identifier),
                draft_order_id: self.scalar("draft_order_id", Class::Identifier),
                ..Entity::default()
            },
            patient: self.patient(),
            prescriber: self
                .text("doctor_name", Class::Contact)
                .map(|name| Prescriber {
                    name: Some(name),
                    ..Prescriber::default()
                }),
            pharmacy: self.pharmacy(),
            items: self.items(),
            // "The summation of all item price": what is paid, without shipping. `amount` is the same before the discount.
            total: self.order.decimal("total").map(|amount| Total {
                amount,
                currency: None,
            }),
            delivery: self.delivery(),
            payment: self.payment(),
            bill: self.bill(),
            reason: self.reason(),
            notes: Vec::new(),
            redacted: false,
            original,
        }
    }

    fn patient(&self) -> Option<Patient<'a>> {
        let id = self.scalar("patient_id", Class::Identifier);
        let name = self.text("patient_name", Class::Contact);
        let phone = self.scalar("mobile", Class::Contact);
        let is_there = id.is_some() || name.is_some() || phone.is_some();
        is_there.then(|| Patient {
            id,
            name,
            phone,
            ..Patient::default()
        })
    }

    fn pharmacy(&self) -> Option<Pharmacy<'a>> {
        let id = self.scalar("chemist_id", Class::None);
        let code = self.scalar("chemist_code", Class::None);
        (id.is_some() || code.is_some()).then(|| Pharmacy {
            id,
            code,
            ..Pharmacy::default()
        })
    }

    fn items(&self) -> Vec<Item<'a>> {
        self.order.objects("items", |item| {
            let given = |value, nothing: &[&str]| self.given(value, Class::Clinical, nothing);
            Item {
                code: given(item.scalar("medicine_id"), &NOTHING),
                name: given(item.text("medicine_name"), &NOTHING),
                quantity: item.decimal_of("quantity", Class::Clinical),
                unit_price: item.decimal("price"),
                mrp: item.decimal("mrp"),
                discount: item.decimal("discount"),
                amount: item.decimal("amount"),
                batch: given(item.scalar("batch"), &NOTHING),
                expiry: given(item.text("expiry"), &NO_EXPIRY),
                directions: given(item.text("directions"), &NO_DIRECTIONS),
                ..Item::default()
            }
        })
    }

    fn delivery(&self) -> Option<OrderDelivery<'a>> {
        let r#type = self.text("delivery_type", Class::None);
        let tracking_url = self.text("tracking_url", Class::Link);
        let pin = self.scalar("delivery_pin", Class::Link);
        let name = self.text("delivery_person_name", Class::Contact);
        let phone = self.scalar("delivery_person_mobile", Class::Contact);
        let person = (name.is_some() || phone.is_some()).then_some(Person { name, phone });
        let is_there =
            r#type.is_some() || tracking_url.is_some() || pin.is_some() || person.is_some();
        is_there.then_some(OrderDelivery {
            r#type,
            tracking_url,
            person,
            pin,
        })
    }

    fn payment(&self) -> Option<Payment<'a>> {
        let mode = self.text("payment_mode", Class::None);
        let at = self.moment("payment_date");
        let url = self.text("direct_payment_url", Class::Link);
        let is_there = mode.is_some() || at.is_some() || url.is_some();
        is_there.then_some(Payment { mode, at, url })
    }

    /// Before there is a bill its date tells of something else.
    fn bill(&self) -> Option<Bill<'a>> {
        let number = self.order.scalar("bill_no");
        let number = self.given(number, Class::Identifier, &NO_NUMBER);
        let at = self.moment("bill_date");
        // Where the number was dropped, it isn't known whether there was one: then nothing is said of when.
        let at = at.filter(|_| number.is_some());
        let url = self.text("bill-pdf-url", Class::Link);
        let invoice_url = self.text("invoice_pdf", Class::Link);
        let is_there = number.is_some() || url.is_some() || invoice_url.is_some();
        is_there.then_some(Bill {
            number,
            at,
            url,
            invoice_url,
        })
    }

    fn reason(&self) -> Option<Reason<'a>> {
        let text = self.text("reject_reason", Class::FreeText);
        let r#final = self.order.flag("is_final_rejection");
        (text.is_some() || r#final.is_some()).then_some(Reason {
            text,
            r#final,
            ..Reason::default()
        })
    }

    fn text(&self, field: &str, class: Class) -> Text<'a> {
        self.given(self.order.text(field), class, &NOTHING)
    }

    fn scalar(&self, field: &str, class: Class) -> Text<'a> {
        self.given(self.order.scalar(field), class, &NOTHING)
    }

    fn moment(&self, field: &str) -> Text<'a> {
        let is_none = |text: &str| text.is_empty() || text.starts_with(NO_DATE);
        self.order.moment(field, self.zone, is_none)
    }

    /// A value that isn't one of those for none.
    fn given(&self, value: Text<'a>, class: Class, nothing: &[&str]) -> Text<'a> {
        value.filter(|value| {
            !nothing.iter().any(|none| match self.left_by {
                Some(policy) => policy.stood_for(class, value, none),
                None => value == none,
            })
        })
    }
}

//! The canonical event: one CloudEvents 1.0 event in JSON, whoever sent it.
//!
//! Everything but `sequence`, `rxordering` and `data.state` is known before the claim. So an event is written once, before the claim, as
//! [`Prepared`] pieces, and what the claim adds is put between them.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Note;
use crate::entity::Ordering;
use crate::json::{self, Raw};

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// The version at the end of `dataschema`.
pub const SCHEMA_VERSION: u32 = 1;

type Text<'a> = Option<Cow<'a, str>>;

/// What is known of the event before the claim, besides its data.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Attributes<'a> {
    /// The sender's event id.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    pub id: Cow<'a, str>,
    /// `/sources/<source id>`. With `id` unique.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^/sources/[a-z0-9-]+$")))]
    pub source: String,
    /// `rx.<entity>.<what happened>`.
    pub r#type: &'a str,
    /// `<entity>/<id>`; left out where the id is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub subject: Option<String>,
    /// When it happened: the data's own instant, else when the sender emitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub time: Text<'a>,
    /// Always `application/json`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "application/json")))]
    pub datacontenttype: &'static str,
    /// `urn:rxgate:schema:<type>:<version>`, and what the source's `phi` does: `:drop`, `:pseudonym`, `:mixed`.
    pub dataschema: String,
    /// The kind of sender.
    pub rxprovider: &'static str,
    /// The sender's own event type.
    pub rxeventtype: Cow<'a, str>,
    /// `sandbox` or `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rxenvironment: Text<'a>,
    /// The sender's api version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rxapiversion: Text<'a>,
    /// How the request was authenticated.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["signature", "token", "none"])))]
    pub rxauth: &'static str,
    /// Which key matched; `none` where nothing is proved.
    pub rxkeyid: &'a str,
    /// The pharmacy that the event is attributed to, never the sponsor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rxpharmacy: Text<'a>,
    /// The pharmacy's branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rxbranch: Text<'a>,
    /// When the sender emitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub rxemittedat: Text<'a>,
    /// The trace context of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<&'a str>,
}

/// What the claim adds.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Placement {
    /// CloudEvents' sequence: 16 digits, rising per subject. Left out where no one place gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[0-9]{16}$")))]
    pub sequence: Option<String>,
    /// How the event stands in the order of its entity.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["in_order", "early", "superseded", "out_of_sequence", "late", "unknown"])))]
    pub rxordering: &'static str,
    /// `unknown` where it couldn't be told whether the event was delivered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["unknown"])))]
    pub rxdedupe: Option<&'static str>,
}

/// An entity's state after all that has been claimed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// Authorization: the sponsor approved it.
    Approved = 1,
    /// Authorization or settlement: the sponsor refused it. Order: the pharmacy did, or it was cancelled.
    Rejected = 2,
    /// Authorization: cancelled.
    Voided = 3,
    /// Dispensation: its code can be redeemed (again).
    Redeemable = 4,
    /// Dispensation: a pharmacy has started on the code.
    InFlight = 5,
    /// Dispensation: the code is used.
    Redeemed = 6,
    /// Prescription: issued.
    Issued = 7,
    /// Settlement: paid.
    Paid = 8,
    /// Settlement: some claims were accepted.
    PartiallyAccepted = 9,
    /// Order: its prescription was read.
    Digitized = 10,
    /// Order: its prescription can't be fulfilled.
    DigitizationRejected = 11,
    /// Order: a pharmacy was asked.
    Assigned = 12,
    /// Order: the pharmacy took it.
    Accepted = 13,
    /// Order: ready to be fetched.
    Shipped = 14,
    /// Order: a rider has it.
    PickedUp = 15,
    /// Order: the patient has it.
    Delivered = 16,
    /// Transfer: the pharmacy has the request.
    Received = 17,
    /// Transfer: done.
    Confirmed = 18,
    /// Transfer: refused, or nobody called back.
    Failed = 19,
}

impl State {
    const ALL: [Self; 19] = [
        Self::Approved,
        Self::Rejected,
        Self::Voided,
        Self::Redeemable,
        Self::InFlight,
        Self::Redeemed,
        Self::Issued,
        Self::Paid,
        Self::PartiallyAccepted,
        Self::Digitized,
        Self::DigitizationRejected,
        Self::Assigned,
        Self::Accepted,
        Self::Shipped,
        Self::PickedUp,
        Self::Delivered,
        Self::Received,
        Self::Confirmed,
        Self::Failed,
    ];

    /// The state of a row's code; 0 and codes of a later version are none.
    pub fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == code)
    }
}

/// What the claim decided of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The fence, where there is one.
    pub sequence: Option<u64>,
    /// The entity's state.
    pub state: Option<State>,
    /// How it stands in the order of its entity.
    pub ordering: Ordering,
    /// The round of its entity that it is of, if its id is ours to make: then the id says so from the second round on.
    pub round: u16,
    /// Whether it is known that the event wasn't delivered before.
    pub deduped: bool,
}

/// The data of an event, by entity.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Data<'a> {
    /// `rx.authorization.*`
    Authorization(AuthorizationData<'a>),
    /// `rx.dispense.*`
    Dispense(DispenseData<'a>),
    /// `rx.prescription.*`
    Prescription(PrescriptionData<'a>),
    /// `rx.settlement.*`
    Settlement(SettlementData<'a>),
    /// `rx.unknown`
    Unknown(UnknownData<'a>),
    /// Whatever the settings name.
    Configured(ConfiguredData<'a>),
    /// `rx.order.*`
    Order(Box<OrderData<'a>>),
    /// `rx.transfer.*`
    Transfer(Box<TransferData<'a>>),
    /// `rx.transfer.callback_missing`
    CallbackMissing(CallbackMissingData<'a>),
}

impl Data<'_> {
    /// With what was noted of the document.
    pub(crate) fn set_notes(&mut self, notes: Vec<Note>) {
        match self {
            Self::Authorization(data) => data.notes = notes,
            Self::Dispense(data) => data.notes = notes,
            Self::Prescription(data) => data.notes = notes,
            Self::Settlement(data) => data.notes = notes,
            Self::Unknown(data) => data.notes = notes,
            Self::Configured(data) => data.notes = notes,
            Self::Order(data) => data.notes = notes,
            Self::Transfer(data) => data.notes = notes,
            // There is no document.
            Self::CallbackMissing(_) => {}
        }
    }

    /// Read from what a source's `phi` left of the document.
    pub(crate) fn set_redacted(&mut self) {
        match self {
            Self::Authorization(data) => data.redacted = true,
            Self::Dispense(data) => data.redacted = true,
            Self::Prescription(data) => data.redacted = true,
            Self::Settlement(data) => data.redacted = true,
            Self::Unknown(data) => data.redacted = true,
            Self::Configured(data) => data.redacted = true,
            Self::Order(data) => data.redacted = true,
            Self::Transfer(data) => data.redacted = true,
            Self::CallbackMissing(data) => data.redacted = true,
        }
    }
}

/// A pre-authorization.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct AuthorizationData<'a> {
    /// The authorization, or the request for one.
    pub entity: Entity<'a>,
    /// Who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<Patient<'a>>,
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<Sponsor<'a>>,
    /// Whose integration the event is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account<'a>>,
    /// Such as `MEDICATION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_type: Text<'a>,
    /// What is authorized.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item<'a>>,
    /// Why it was rejected or voided; the text word for word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason<'a>>,
    /// What an update changed, by the sender's field name.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "changes_as_map"
    )]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "std::collections::BTreeMap<String, Change<'a>>")
    )]
    pub changes: Vec<(String, Change<'a>)>,
    /// Until when it can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Text<'a>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// A dispensation at a pharmacy.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct DispenseData<'a> {
    /// The dispensation, with the code that it redeems.
    pub entity: Entity<'a>,
    /// Who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<Patient<'a>>,
    /// Who pays. Several pharmacies share one: don't attribute by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<Sponsor<'a>>,
    /// Whose integration the event is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account<'a>>,
    /// Where it happens: attribute by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<Pharmacy<'a>>,
    /// What is dispensed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item<'a>>,
    /// What it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Total<'a>>,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason<'a>>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// A prescription.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct PrescriptionData<'a> {
    /// The prescription.
    pub entity: Entity<'a>,
    /// Who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<Patient<'a>>,
    /// Who prescribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prescriber: Option<Prescriber<'a>>,
    /// Whose integration the event is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account<'a>>,
    /// What for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnoses: Vec<Diagnosis<'a>>,
    /// What is prescribed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item<'a>>,
    /// The e-mail that told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification: Option<Notification<'a>>,
    /// Why the e-mail failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason<'a>>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// A batch of claims, as the sponsor settled it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct SettlementData<'a> {
    /// The settlement.
    pub entity: Entity<'a>,
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sponsor: Option<Sponsor<'a>>,
    /// Whose integration the event is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account<'a>>,
    /// The sender's word for the batch's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Text<'a>,
    /// The month, such as `2026-06`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Text<'a>,
    /// The claims of the batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<SettlementClaim<'a>>,
    /// What was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Total<'a>>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason<'a>>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// An order at a pharmacy, from digitization to delivery.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct OrderData<'a> {
    /// The order.
    pub entity: Entity<'a>,
    /// Who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<Patient<'a>>,
    /// Who prescribed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prescriber: Option<Prescriber<'a>>,
    /// Which pharmacy has it: attribute by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<Pharmacy<'a>>,
    /// What is ordered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item<'a>>,
    /// What it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Total<'a>>,
    /// How it gets to the patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<OrderDelivery<'a>>,
    /// How it is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment<'a>>,
    /// Its bill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill<'a>>,
    /// Why it was rejected; the text word for word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason<'a>>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// A prescription that is transferred to another pharmacy.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct TransferData<'a> {
    /// The transfer.
    pub entity: Entity<'a>,
    /// Who it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<Patient<'a>>,
    /// What is prescribed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item<'a>>,
    /// When it was prescribed, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_at: Text<'a>,
    /// Until when it can be filled, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Text<'a>,
    /// Why it failed; the text word for word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason<'a>>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// A transfer that nobody called back about in time. The gateway itself says so: there is no `original`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct CallbackMissingData<'a> {
    /// The transfer.
    pub entity: Entity<'a>,
    /// By when a callback was due.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub due_at: Cow<'a, str>,
    /// When the transfer was requested.
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub requested_at: Cow<'a, str>,
    /// Whether the source's `phi` held something back.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
}

/// Authentic, and of a type or api version that this version of rxgate doesn't know.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct UnknownData<'a> {
    /// Whose integration the event is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Account<'a>>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// Of a sender that is configured.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct ConfiguredData<'a> {
    /// What it is about, if the settings say where that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity<'a>>,
    /// What the settings point at, and is of another form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the source's `phi` held something back, here and in `original`.
    #[serde(skip_serializing_if = "is_false")]
    #[cfg_attr(feature = "schema", schemars(extend("const" = true)))]
    pub redacted: bool,
    /// The sender's own payload: untouched, unless it is `redacted`.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "serde_json::Map<String, serde_json::Value>")
    )]
    pub original: Raw<'a>,
}

/// What the event is about.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Entity<'a> {
    /// Such as `authorization`.
    pub r#type: Cow<'a, str>,
    /// The sender's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub id: Text<'a>,
    /// What is shown at the counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub code: Text<'a>,
    /// What kind of code: `AUTHORIZATION` or `PRESCRIPTION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_type: Text<'a>,
    /// The version of a prescription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Text<'a>,
    /// The authorization's request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub authorization_request_id: Text<'a>,
    /// The authorization that a dispensation redeems.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub authorization_id: Text<'a>,
    /// The prescription that a dispensation redeems.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub prescription_id: Text<'a>,
    /// The customer's own id of an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub partner_order_id: Text<'a>,
    /// The order that an order is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub draft_order_id: Text<'a>,
    /// The pharmacy's id of a transferred prescription.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub reference_id: Text<'a>,
    /// The pharmacy's id of its response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub response_id: Text<'a>,
}

/// Who it is for.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Patient<'a> {
    /// The sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub id: Text<'a>,
    /// Given names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub first_name: Text<'a>,
    /// Family names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub last_name: Text<'a>,
    /// Further given names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub middle_name: Text<'a>,
    /// The whole name, where it is one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub name: Text<'a>,
    /// The telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub phone: Text<'a>,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub date_of_birth: Text<'a>,
    /// The sender's code, such as `F`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub gender: Text<'a>,
    /// Where the patient lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address<'a>>,
}

/// Who prescribed.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Prescriber<'a> {
    /// The sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub id: Text<'a>,
    /// The registration with the medical board.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub registration: Text<'a>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub name: Text<'a>,
}

/// Who pays.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Sponsor<'a> {
    /// The sender's short name of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Text<'a>,
    /// The sponsor's own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub reference: Text<'a>,
}

/// Whose integration the event is for (Osigu's `provider`).
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Account<'a> {
    /// The sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Text<'a>,
    /// The sender's short name of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Text<'a>,
}

/// Where it happens.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Pharmacy<'a> {
    /// The pharmacy's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Text<'a>,
    /// The branch's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Text<'a>,
    /// The sender's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Text<'a>,
    /// The sender's short code of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Text<'a>,
}

/// One product.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Item<'a> {
    /// The product's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub code: Text<'a>,
    /// How many: a decimal string with the digits that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub quantity: Text<'a>,
    /// The price of one: a decimal string with the digits that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    pub unit_price: Text<'a>,
    /// How to take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub directions: Text<'a>,
    /// For how many days: a decimal string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub duration_days: Text<'a>,
    /// The product's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub name: Text<'a>,
    /// Its batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub batch: Text<'a>,
    /// Until when it can be used, as it was sent, such as `12/27`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub expiry: Text<'a>,
    /// The maximum retail price of one: a decimal string with the digits that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    pub mrp: Text<'a>,
    /// The discount on it: a decimal string with the digits that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    pub discount: Text<'a>,
    /// What all of them cost: a decimal string with the digits that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    pub amount: Text<'a>,
    /// How many fills were prescribed, the first included: a decimal string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub refills_written: Text<'a>,
    /// How many refills are left: a decimal string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub refills_remaining: Text<'a>,
}

/// What it costs.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Total<'a> {
    /// A decimal string with the digits that were sent.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^-?[0-9]+([.][0-9]+)?$")))]
    pub amount: Cow<'a, str>,
    /// ISO 4217.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Text<'a>,
}

/// Why.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Reason<'a> {
    /// The sender's code, such as `TIMEOUT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Text<'a>,
    /// The sender's words, byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "free_text")))]
    pub text: Text<'a>,
    /// Who decided, such as `SPONSOR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Text<'a>,
    /// Whether that is the last word on an order: `false` if another pharmacy may still be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#final: Option<bool>,
}

/// How an order gets to the patient.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct OrderDelivery<'a> {
    /// `delivery` or `pickup`, or another word of the sender's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Text<'a>,
    /// Where to see how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "link")))]
    pub tracking_url: Text<'a>,
    /// Who brings it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person<'a>>,
    /// What the patient shows for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "link")))]
    pub pin: Text<'a>,
}

/// Somebody.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Person<'a> {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub name: Text<'a>,
    /// The telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub phone: Text<'a>,
}

/// How an order is paid.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Payment<'a> {
    /// The sender's word, such as `Cash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Text<'a>,
    /// When it was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: Text<'a>,
    /// Where it can be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "link")))]
    pub url: Text<'a>,
}

/// An order's bill.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Bill<'a> {
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub number: Text<'a>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: Text<'a>,
    /// Where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "link")))]
    pub url: Text<'a>,
    /// Where the invoice can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "link")))]
    pub invoice_url: Text<'a>,
}

/// A postal address.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Address<'a> {
    /// Street and number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub line1: Text<'a>,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub line2: Text<'a>,
    /// The city.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub city: Text<'a>,
    /// The state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub state: Text<'a>,
    /// The postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub postal_code: Text<'a>,
    /// The country.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub country: Text<'a>,
}

/// One changed field.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Change<'a> {
    /// The value before, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Value>"))]
    pub from: Option<Raw<'a>>,
    /// The value after, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Value>"))]
    pub to: Option<Raw<'a>>,
}

/// What for.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Diagnosis<'a> {
    /// The diagnosis' code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "clinical")))]
    pub code: Text<'a>,
}

/// The e-mail that told of a prescription.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct Notification<'a> {
    /// Always `email`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "email")))]
    pub channel: &'static str,
    /// To whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "contact")))]
    pub address: Text<'a>,
}

/// One claim of a settlement.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub struct SettlementClaim<'a> {
    /// The sender's id of the claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub id: Text<'a>,
    /// The authorization that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-class" = "identifier")))]
    pub authorization_id: Text<'a>,
    /// The sender's word for its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Text<'a>,
    /// What is claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Total<'a>>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn changes_as_map<S: Serializer>(
    changes: &[(String, Change<'_>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(changes.len()))?;
    for (field, change) in changes {
        map.serialize_entry(field, change)?;
    }
    map.end()
}

/// An event, written as far as it is known before the claim.
pub struct Prepared {
    attributes: Vec<u8>,
    /// Where the id ends, without its quote, among the members of `attributes`: it stands first.
    id_end: usize,
    data: Vec<u8>,
    /// How `data` begins if the event has a code that a later event took back: so many bytes of it, and what stands there then.
    without_code: Option<(usize, Vec<u8>)>,
}

impl Prepared {
    /// Writes the event's pieces.
    pub fn new(attributes: &Attributes<'_>, data: &Data<'_>, body_len: usize) -> Self {
        Self {
            attributes: write(attributes, 1024),
            id_end: br#""id":"#.len() + write(&attributes.id, 80).len().saturating_sub(1),
            // Twice the body has room for a list of products, as it was sent and as we write it.
            data: write(data, 2 * body_len + 1024),
            without_code: without_code(data),
        }
    }

    /// The whole event.
    pub fn finish(&self, claimed: Claimed) -> Vec<u8> {
        let placement = Placement {
            sequence: claimed.sequence.map(|number| format!("{number:016}")),
            rxordering: claimed.ordering.name(),
            rxdedupe: (!claimed.deduped).then_some("unknown"),
        };
        let placement = write(&placement, 80);
        let mut event =
            Vec::with_capacity(self.attributes.len() + self.data.len() + placement.len() + 96);
        event.extend_from_slice(br#"{"specversion":"1.0","#);
        let attributes = members(&self.attributes);
        let (id, others) = attributes.split_at(self.id_end.min(attributes.len()));
        event.extend_from_slice(id);
        event.extend_from_slice(round_suffix(claimed.round).as_bytes());
        event.extend_from_slice(others);
        event.push(b',');
        event.extend_from_slice(members(&placement));
        event.extend_from_slice(br#","data":{"#);
        if let Some(state) = claimed.state {
            event.extend_from_slice(br#""state":"#);
            json::write_to(&mut event, &state);
            event.push(b',');
        }
        let mut data = members(&self.data);
        if claimed.ordering == Ordering::Superseded
            && let Some((length, instead)) = &self.without_code
        {
            event.extend_from_slice(instead);
            data = data.get(*length..).unwrap_or_default();
        }
        event.extend_from_slice(data);
        event.extend_from_slice(b"}}");
        event
    }
}

/// What stands at the end of a derived id: nothing in the first round.
pub(crate) fn round_suffix(round: u16) -> String {
    match round {
        0 => String::new(),
        round => format!(".{round}"),
    }
}

/// The entity of an authorization, which stands first in its data, as it is with its code and without: a code that was taken back must not look redeemable.
fn without_code(data: &Data<'_>) -> Option<(usize, Vec<u8>)> {
    let Data::Authorization(data) = data else {
        return None;
    };
    data.entity.code.as_ref()?;
    let bare = Entity {
        code: None,
        ..data.entity.clone()
    };
    let named = |entity: &Entity<'_>| [br#""entity":"#, write(entity, 256).as_slice()].concat();
    Some((named(&data.entity).len(), named(&bare)))
}

fn write<T: Serialize>(value: &T, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    json::write_to(&mut bytes, value);
    // They are held until the claim is granted, by every request under way.
    bytes.shrink_to_fit();
    bytes
}

/// `{"a":1}` without its braces.
fn members(object: &[u8]) -> &[u8] {
    match object {
        [b'{', members @ .., b'}'] => members,
        other => other,
    }
}

//! PHIL, where the gateway stands in for its callback API: a pharmacy that was asked to take over a prescription calls, and says what became of it. Sources: senders.md §3, the
//! document in its seeds, and the pages of docs.partner-api.phil.us on requests, errors and the transfer.
//!
//! Its documents leave open, and we decide:
//! - What a callback's `prescription` holds (`...`): the fields of a transfer request are read there, or beside it if there is none. How some of them are called isn't to be seen in
//!   those pages (refills, dates): names in their manner are read, and what is called otherwise stays in `original`, and counts as patient data.
//! - What a prescriber looks like: kept, and not looked into.
//! - Whether a RECEIVED may come as a callback: it is read like the others.
//! - Whether `requestID` is PHIL's id, as the text has it, or the partner's, as the sample has it: an opaque text.

use std::borrow::Cow;

use serde::Serialize;

use super::{Context, Decoded, Refusal, UNKNOWN_TYPE, Unknown, derived_id, digest};
use crate::auth::Verified;
use crate::entity::{CALLBACK_MISSING, Life, Step};
use crate::event::phi::field::{clinical, contact, free_text, identifier, none};
use crate::event::phi::{Class, Field, Policy, Shape};
use crate::event::{
    Address, Attributes, CallbackMissingData, Data, Document, Entity, Fields, Invalid, Item, Notes,
    Patient, Reason, State, TransferData, UnknownData, decode, sorted_form,
};
use crate::json::{Raw, Value};
use crate::outcome::Outcome;
use crate::parcel;
use crate::time::{Timestamp, to_seconds_text, to_text};

type Text<'a> = Option<Cow<'a, str>>;

/// One of the three responses, or the gateway's own notice.
struct Kind {
    event_type: &'static str,
    canonical: &'static str,
    rank: u8,
    state: State,
}

const fn kind(event_type: &'static str, canonical: &'static str, rank: u8, state: State) -> Kind {
    Kind {
        event_type,
        canonical,
        rank,
        state,
    }
}

/// "This can be returned immediately as a response or asynchronously via the callback API."
#[rustfmt::skip]
const KINDS: [Kind; 3] = [
    kind("RECEIVED",  "rx.transfer.received",  1, State::Received),
    kind("CONFIRMED", "rx.transfer.confirmed", 3, State::Confirmed),
    kind("ERROR",     "rx.transfer.failed",    3, State::Failed),
];

/// "In this scenario, PHIL assumes that the request failed": an assumption, which a late word of the pharmacy's ends. No request can bring it about.
const MISSING: Kind = kind(
    CALLBACK_MISSING,
    "rx.transfer.callback_missing",
    2,
    State::Failed,
);

/// The response types, the gateway's own notice, and the canonical type of each.
pub(super) fn event_types() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = KINDS.iter().chain([&MISSING]);
    kinds.map(|kind| (kind.event_type, kind.canonical))
}

/// Every field that PHIL documents, with its class, the same for all responses.
pub(super) static DOCUMENTED: [Field; 14] = [
    identifier("requestID"),
    ("metadata", Shape::Object(&METADATA)),
    (
        "error",
        Shape::Object(&[none("type"), free_text("description")]),
    ),
    ("prescription", Shape::Object(&PRESCRIPTION)),
    PATIENT,
    PRESCRIBER,
    clinical("prescribedNDC"),
    clinical("sig"),
    clinical("quantity"),
    clinical("daysSupply"),
    clinical("refillsWritten"),
    clinical("refillsRemaining"),
    none("writtenDate"),
    none("expiryDate"),
];

static METADATA: [Field; 7] = [
    identifier("referenceID"),
    identifier("responseID"),
    none("responseType"),
    none("responseTimestamp"),
    none("requestTimestamp"),
    identifier("patientReferenceID"),
    none("retryCount"),
];

static PRESCRIPTION: [Field; 10] = [
    PATIENT,
    PRESCRIBER,
    clinical("prescribedNDC"),
    clinical("sig"),
    clinical("quantity"),
    clinical("daysSupply"),
    clinical("refillsWritten"),
    clinical("refillsRemaining"),
    none("writtenDate"),
    none("expiryDate"),
];

const PATIENT: Field = (
    "patient",
    Shape::Object(&[
        (
            "name",
            Shape::Object(&[
                contact("lastName"),
                contact("firstName"),
                contact("middleName"),
                contact("prefix"),
                contact("suffix"),
            ]),
        ),
        clinical("dateOfBirth"),
        clinical("gender"),
        (
            "address",
            Shape::Object(&[
                contact("addressLine1"),
                contact("addressLine2"),
                contact("city"),
                contact("state"),
                contact("postalCode"),
                contact("countryCode"),
            ]),
        ),
    ]),
);

const PRESCRIBER: Field = ("prescriber", Shape::Any(Class::Contact));

/// Reads a callback. A refusal names no event id: what it is made of couldn't be read.
pub(super) fn read<'a>(
    verified: &'a Verified<'_>,
    context: Context<'a>,
) -> Result<Decoded<'a>, (Refusal, Option<String>)> {
    read_callback(verified, context).map_err(|why| (why, None))
}

fn read_callback<'a>(
    verified: &'a Verified<'_>,
    context: Context<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let document = decode(verified).map_err(Refusal::Malformed)?;
    let notes = Notes::of_sent(context.phi);
    let callback = Fields::root(&document, &notes);
    let request_id = required(&callback, "requestID")?;
    let metadata = callback.required_object("metadata")?;
    let response_type = required(&metadata, "responseType")?;
    let responded = metadata.instant("responseTimestamp");
    let kind = KINDS.iter().find(|kind| kind.event_type == response_type);
    // What is checked, claimed and routed by is read from the document as it was sent.
    let mut content = content(kind, &callback, document.raw())?;
    let response_id = match &content.data {
        Data::Transfer(data) => data.entity.response_id.clone(),
        _ => metadata.scalar("responseID"),
    };
    // Without the partner's id of the response, all that it says tells it from others: in doubt two events, never one.
    let unnamed = response_id.as_deref().is_none_or(str::is_empty);
    let whole = unnamed.then(|| {
        let mut bytes = Vec::with_capacity(document.raw().get().len());
        sorted_form(document.object(), &mut bytes);
        bytes
    });
    let mut parts = vec![
        Some(request_id.as_bytes()),
        Some(response_type.as_bytes()),
        response_id.as_deref().map(str::as_bytes),
    ];
    parts.extend(whole.as_deref().map(Some));
    let key = digest("phil-callback", &parts);
    // Of a type that isn't known nothing is claimed about the transfer, but it is about it.
    let entity = Some(format!("transfer/{request_id}"));
    let at = responded.as_deref().and_then(Timestamp::parse_rfc3339);
    let step = kind.map_or_else(Step::default, |kind| step(kind, at.unwrap_or_default()));
    if context.phi.redacts() {
        content = read_redacted(&document, kind, &notes, context)?;
    }
    let canonical = kind.map_or(UNKNOWN_TYPE, |kind| kind.canonical);
    let id: Cow<'_, str> = derived_id("rxc_", &key).into();
    let attributes = Attributes {
        id: id.clone(),
        source: format!("/sources/{}", context.source),
        r#type: canonical,
        subject: content.subject,
        time: responded.clone(),
        datacontenttype: "application/json",
        dataschema: context.phi.variant().urn(canonical),
        rxprovider: "phil-callback",
        rxeventtype: response_type,
        rxenvironment: None,
        rxapiversion: None,
        rxauth: context.auth,
        rxkeyid: verified.proof().key.as_str(),
        rxpharmacy: None,
        rxbranch: None,
        rxemittedat: responded,
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

/// A required text; an empty one is none. "`requestID` may be empty" in answers, where it says that it couldn't be told.
fn required<'a>(fields: &Fields<'_, 'a>, field: &str) -> Result<Cow<'a, str>, Invalid> {
    if fields
        .value(field)
        .and_then(Value::text)
        .is_some_and(|text| text.is_empty())
    {
        return Err(fields.invalid(field, MISSING_PROBLEM));
    }
    fields.required_id(field)
}

/// As [`Fields`] has it of what isn't there.
const MISSING_PROBLEM: &str = "missing";

fn step(kind: &Kind, at: Timestamp) -> Step {
    Step {
        rank: kind.rank,
        state: kind.state as u8,
        at,
        life: Life::Transfer,
        node: Life::Transfer.number(kind.event_type).unwrap_or(u8::MAX),
        version: 0,
    }
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
    let mut content = content(kind, &Fields::root(&left, &unused), left.raw())?;
    content.data.set_redacted();
    Ok(content)
}

/// The canonical data, and what it is about.
struct Content<'a> {
    data: Data<'a>,
    /// `transfer/<requestID>`.
    subject: Option<String>,
}

fn content<'a>(
    kind: Option<&Kind>,
    callback: &Fields<'_, 'a>,
    original: Raw<'a>,
) -> Result<Content<'a>, Invalid> {
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
    let id = callback.entity_id("requestID")?;
    let subject = id.as_deref().map(|id| format!("transfer/{id}"));
    let metadata = callback.object("metadata");
    let of_metadata = |field| metadata.as_ref().and_then(|fields| fields.scalar(field));
    let nested = callback.object("prescription");
    let rx = nested.as_ref().unwrap_or(callback);
    let error = callback.object("error");
    let data = Data::Transfer(Box::new(TransferData {
        entity: Entity {
            r#type: "transfer".into(),
            id,
            reference_id: of_metadata("referenceID"),
            response_id: of_metadata("responseID"),
            ..Entity::default()
        },
        patient: rx.object("patient").map(|patient| read_patient(&patient)),
        items: item(rx).into_iter().collect(),
        written_at: rx.text("writtenDate"),
        expires_at: rx.text("expiryDate"),
        reason: error.and_then(|error| {
            let (code, text) = (error.text("type"), error.text("description"));
            (code.is_some() || text.is_some()).then(|| Reason {
                code,
                text,
                ..Reason::default()
            })
        }),
        notes: Vec::new(),
        redacted: false,
        original,
    }));
    Ok(Content { data, subject })
}

fn read_patient<'a>(patient: &Fields<'_, 'a>) -> Patient<'a> {
    let name = patient.object("name");
    let part = |field| name.as_ref().and_then(|name| name.text(field));
    Patient {
        first_name: part("firstName"),
        middle_name: part("middleName"),
        last_name: part("lastName"),
        date_of_birth: patient.text("dateOfBirth"),
        gender: patient.text("gender"),
        address: patient.object("address").map(|address| Address {
            line1: address.text("addressLine1"),
            line2: address.text("addressLine2"),
            city: address.text("city"),
            state: address.text("state"),
            postal_code: address.scalar("postalCode"),
            country: address.text("countryCode"),
        }),
        ..Patient::default()
    }
}

/// The one medication of a prescription.
fn item<'a>(rx: &Fields<'_, 'a>) -> Option<Item<'a>> {
    let decimal = |field| rx.decimal_of(field, Class::Clinical);
    let item = Item {
        code: rx.scalar("prescribedNDC"),
        quantity: decimal("quantity"),
        directions: rx.text("sig"),
        duration_days: decimal("daysSupply"),
        refills_written: decimal("refillsWritten"),
        refills_remaining: decimal("refillsRemaining"),
        ..Item::default()
    };
    let fields: [&Text<'a>; 6] = [
        &item.code,
        &item.quantity,
        &item.directions,
        &item.duration_days,
        &item.refills_written,
        &item.refills_remaining,
    ];
    fields.iter().any(|field| field.is_some()).then_some(item)
}

// ── the gateway's own notice ──

/// A transfer that nobody called back about in time.
#[derive(Clone, Copy, Debug)]
pub struct Overdue<'a> {
    /// The source's id.
    pub source: &'a str,
    /// What the source does with patient data.
    pub phi: &'a Policy,
    /// PHIL's id of the request.
    pub request_id: &'a str,
    /// When the transfer was requested.
    pub requested_at: Timestamp,
    /// By when a callback was due.
    pub due_at: Timestamp,
    /// How the expectation was authenticated, as it stands in `rxauth`.
    pub auth: &'static str,
    /// By which key.
    pub key_id: &'a str,
}

/// The notice, as an event like any other: `rx.transfer.callback_missing`, with state `failed`. The same expectation gives the same id.
pub fn callback_missing<'a>(overdue: &Overdue<'a>) -> Decoded<'a> {
    let due = to_text(overdue.due_at);
    let key = digest(
        "phil-callback missing",
        &[Some(overdue.request_id.as_bytes()), Some(due.as_bytes())],
    );
    let id: Cow<'_, str> = derived_id("rxc_", &key).into();
    let shown = overdue
        .phi
        .apply(Class::Identifier, overdue.request_id.into());
    let attributes = Attributes {
        id: id.clone(),
        source: format!("/sources/{}", overdue.source),
        r#type: MISSING.canonical,
        subject: shown.as_deref().map(|id| format!("transfer/{id}")),
        time: Some(due.clone().into()),
        datacontenttype: "application/json",
        dataschema: overdue.phi.variant().urn(MISSING.canonical),
        rxprovider: "phil-callback",
        rxeventtype: CALLBACK_MISSING.into(),
        rxenvironment: None,
        rxapiversion: None,
        rxauth: overdue.auth,
        rxkeyid: overdue.key_id,
        rxpharmacy: None,
        rxbranch: None,
        rxemittedat: None,
        traceparent: None,
    };
    let data = Data::CallbackMissing(CallbackMissingData {
        entity: Entity {
            r#type: "transfer".into(),
            id: shown,
            ..Entity::default()
        },
        due_at: due.into(),
        requested_at: to_text(overdue.requested_at).into(),
        redacted: overdue.phi.redacts(),
    });
    Decoded {
        id,
        derived: true,
        entity: Some(format!("transfer/{}", overdue.request_id)),
        step: step(&MISSING, overdue.due_at),
        withholds: false,
        unknown: None,
        attributes,
        data,
        notes: 0,
    }
}

// ── what the caller is told ──

/// PHIL's types of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// "Missing at least one required field."
    MissingInfo,
    /// "The data does not match the expected value."
    InvalidInfo,
    /// "The prescription is expired": nothing of ours, since prescriptions aren't judged here.
    RxExpired,
    /// "The data fields do not match the expected specifications": the body isn't JSON within the limits.
    SpecMismatch,
    /// "A request has already been submitted": nothing of ours, since a duplicate is a success.
    DuplicateRequest,
    /// "For any other errors."
    Other,
}

impl ErrorType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::MissingInfo,
        Self::InvalidInfo,
        Self::RxExpired,
        Self::SpecMismatch,
        Self::DuplicateRequest,
        Self::Other,
    ];

    /// As PHIL writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingInfo => "MISSING_INFO",
            Self::InvalidInfo => "INVALID_INFO",
            Self::RxExpired => "RX_EXPIRED",
            Self::SpecMismatch => "SPEC_MISMATCH",
            Self::DuplicateRequest => "DUPLICATE_REQUEST",
            Self::Other => "OTHER",
        }
    }
}

/// What an answer repeats of an authentic callback: as much of it as could be read. Not for logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Echo {
    request_id: String,
    reference_id: String,
    response_id: String,
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echo(..)")
    }
}

impl Echo {
    /// Reads what can be read, of whatever callback.
    pub fn read(verified: &Verified<'_>) -> Self {
        let notes = Notes::default();
        let Ok(document) = decode(verified) else {
            return Self::default();
        };
        let callback = Fields::root(&document, &notes);
        let metadata = callback.object("metadata");
        let of_metadata = |field| {
            let value = metadata.as_ref().and_then(|data| data.attribute(field));
            value.unwrap_or_default().into_owned()
        };
        let request_id = callback.attribute("requestID");
        Self {
            request_id: request_id.unwrap_or_default().into_owned(),
            reference_id: of_metadata("referenceID"),
            response_id: of_metadata("responseID"),
        }
    }
}

/// How a callback ended, as far as the answer tells it.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The outcome.
    pub outcome: Outcome,
    /// Why it is a dead letter, if it is one, or is a duplicate of one.
    pub reason: Option<parcel::Reason>,
    /// What is wrong with it.
    pub problem: Option<&'a str>,
    /// Where, by field names that we know.
    pub path: Option<&'a str>,
}

/// An answer in PHIL's form. Its content type is `application/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// What is made of an outcome.
enum Verdict {
    /// "The expected callback has been received and fully processed."
    Success,
    /// "The received callback encountered an error."
    Error {
        kind: ErrorType,
        description: String,
        status: u16,
        /// Whether the answer repeats anything: only what is authentic, and was read, does.
        echoes: bool,
    },
}

/// The answer to a callback, at `at`.
pub fn answer(ended: &Ended<'_>, echo: &Echo, at: Timestamp) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "requestID")]
        request_id: &'a str,
        metadata: Metadata<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Fault<'a>>,
    }
    #[derive(Serialize)]
    struct Metadata<'a> {
        #[serde(rename = "referenceID")]
        reference_id: &'a str,
        #[serde(rename = "responseType")]
        response_type: &'static str,
        #[serde(rename = "responseID")]
        response_id: &'a str,
        #[serde(rename = "responseTimestamp")]
        response_timestamp: String,
    }
    #[derive(Serialize)]
    struct Fault<'a> {
        r#type: &'static str,
        description: &'a str,
    }

    let verdict = verdict(ended);
    let nothing = Echo::default();
    let (status, response_type, echo, error) = match &verdict {
        Verdict::Success => (200, "RX_CALLBACK_SUCCESS", echo, None),
        Verdict::Error {
            kind,
            description,
            status,
            echoes,
        } => {
            let fault = Fault {
                r#type: kind.name(),
                description,
            };
            let echo = if *echoes { echo } else { &nothing };
            (*status, "RX_CALLBACK_ERROR", echo, Some(fault))
        }
    };
    let body = Body {
        request_id: &echo.request_id,
        metadata: Metadata {
            reference_id: &echo.reference_id,
            response_type,
            response_id: &echo.response_id,
            response_timestamp: to_seconds_text(at),
        },
        error,
    };
    Reply {
        status,
        // These are texts: writing them can't fail.
        body: crate::json::to_string(&body),
    }
}

/// A new outcome has to say here what PHIL's form makes of it.
fn verdict(ended: &Ended<'_>) -> Verdict {
    use Outcome as O;
    let other = |description: &str, echoes| Verdict::Error {
        kind: ErrorType::Other,
        description: format!("could not process callback - {description}."),
        status: ended.outcome.spec().status,
        echoes,
    };
    match ended.outcome {
        O::Delivered | O::Enqueued | O::Withheld => Verdict::Success,
        // To the caller the same request has the same end.
        O::Duplicate | O::DeadLettered => match ended.reason {
            Some(reason) => of_reason(reason, ended),
            None if ended.outcome == O::Duplicate => Verdict::Success,
            None => other("it is kept for an operator", true),
        },
        O::DeliveryFailed => other("it could not be handed over", true),
        O::DeliveryTimedOut => other("it could not be handed over in time", true),
        O::PathUnknown | O::SourceUnknown => other("there is nothing at this path", false),
        O::MethodNotAllowed => other("only POST is taken", false),
        O::ContentTypeUnsupported => other("the content type is not taken", false),
        O::BodyTooLarge => other("the body is too large", false),
        O::BodyIncomplete => other("the body ended early", false),
        O::SignatureMissing
        | O::SignatureMalformed
        | O::SignatureMismatch
        | O::AddressNotAllowed
        | O::TimestampOutOfTolerance => other("it is not authorized", false),
        O::InFlight => other("it is being processed already", false),
        O::EnqueueFailed
        | O::DeadLetterFailed
        | O::StoreUnavailable
        | O::ShardsChanged
        | O::SourceMisconfigured
        | O::Overloaded
        | O::InternalError => other("the service is not available", false),
        // Of another sender's form.
        O::ChallengeAnswered => other("there is nothing to challenge", false),
        // Messages end like this, and nobody waits for an answer.
        O::CallbackMet
        | O::DeadLetterKept
        | O::QueueUnknown
        | O::MessageUnreadable
        | O::BodyMissing => other("the service is not available", false),
    }
}

/// A bad request is 400. What was fine, and is kept since it can't be handed over, is 200: the caller can't mend it.
fn of_reason(reason: parcel::Reason, ended: &Ended<'_>) -> Verdict {
    use parcel::Reason as R;
    let error = |kind, status, what: String| Verdict::Error {
        kind,
        description: format!("could not {what}."),
        status,
        echoes: true,
    };
    let path = ended.path.unwrap_or("the callback");
    let problem = ended.problem.unwrap_or("not valid");
    match reason {
        R::BodyMalformed => error(
            ErrorType::SpecMismatch,
            400,
            format!("map callback - the body is not JSON within the limits ({problem})"),
        ),
        R::EventInvalid => {
            let kind = if problem == MISSING_PROBLEM {
                ErrorType::MissingInfo
            } else {
                ErrorType::InvalidInfo
            };
            error(kind, 400, format!("map callback - {path} is {problem}"))
        }
        R::EventContradictory => error(
            ErrorType::InvalidInfo,
            400,
            format!("map callback - {path} {problem}"),
        ),
        R::EnvironmentMismatch => error(
            ErrorType::InvalidInfo,
            400,
            "map callback - it is of another environment".to_owned(),
        ),
        R::ExpectationUnknown => error(
            ErrorType::InvalidInfo,
            400,
            "map callback - no callback is expected for this requestID".to_owned(),
        ),
        R::ProviderMismatch => error(
            ErrorType::InvalidInfo,
            400,
            "map callback - it is of another account".to_owned(),
        ),
        R::WithheldSuperseded => Verdict::Success,
        R::DeliveryRejected | R::AttemptsUsedUp | R::MessageUnreadable => error(
            ErrorType::Other,
            200,
            "process callback - it is kept for an operator".to_owned(),
        ),
    }
}

//! Osigu. Sources: senders.md §1, and the three documents in its seeds.

use std::borrow::Cow;
use std::time::Duration;

use super::{Context, Decoded, Refusal, UNKNOWN_TYPE, Unknown};
use crate::auth::Verified;
use crate::entity::{Life, Step, version_number};
use crate::event::phi::{Class, Field, Shape};
use crate::event::{
    Account, Attributes, AuthorizationData, Change, Data, Diagnosis, DispenseData, Document,
    Entity, Fields, Invalid, Item, Notes, Notification, Patient, Pharmacy, Prescriber,
    PrescriptionData, Reason, SettlementClaim, SettlementData, Sponsor, State, Total, UnknownData,
    decode,
};
use crate::json::{Raw, Value};
use crate::time::Timestamp;

/// "Retries up to 72 h."
pub(super) const RETRY_HORIZON: Duration = Duration::from_secs(72 * 3600);

pub(super) const API_VERSIONS: [&str; 1] = ["2026-01-01"];

type Text<'a> = Option<Cow<'a, str>>;

/// What an event is about.
#[derive(Clone, Copy)]
enum About {
    Authorization,
    Dispense,
    Prescription,
    Settlement,
}

impl About {
    /// The `<entity>` of canonical types and subjects.
    fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Dispense => "dispense",
            Self::Prescription => "prescription",
            Self::Settlement => "settlement",
        }
    }
}

/// One of the thirteen events.
pub(super) struct Kind {
    pub(super) event_type: &'static str,
    pub(super) canonical: &'static str,
    about: About,
    /// The field in `data` that tells when it happened.
    instant: Option<&'static str>,
    /// How far along the entity's life it stands, and the state it leaves the entity in. A later rank decides, whatever the order of arrival.
    state: Option<(u8, State)>,
}

const fn kind(
    event_type: &'static str,
    canonical: &'static str,
    about: About,
    instant: Option<&'static str>,
    state: Option<(u8, State)>,
) -> Kind {
    Kind {
        event_type,
        canonical,
        about,
        instant,
        state,
    }
}

impl Kind {
    /// Its place in the life of its entity: what it says of the state, and where the published sequence has it.
    fn step(&self, emitted: &str, version: u32) -> Step {
        let life = match self.about {
            About::Authorization => Life::Authorization,
            About::Dispense => Life::Dispense,
            About::Prescription => Life::Prescription,
            About::Settlement => Life::Settlement,
        };
        let (rank, state) = self
            .state
            .map_or((0, 0), |(rank, state)| (rank, state as u8));
        Step {
            rank,
            state,
            at: Timestamp::parse_rfc3339(emitted).unwrap_or_default(),
            life,
            node: life.number(self.event_type).unwrap_or(u8::MAX),
            version,
        }
    }
}

#[rustfmt::skip]
pub(super) const KINDS: [Kind; 13] = {
    use About::{Authorization, Dispense, Prescription, Settlement};
    [
        kind("authorization.created",         "rx.authorization.approved",              Authorization, None,                 Some((1, State::Approved))),
        kind("authorization.rejected",        "rx.authorization.rejected",              Authorization, None,                 Some((1, State::Rejected))),
        kind("authorization.updated",         "rx.authorization.updated",               Authorization, Some("updated_at"),   None),
        kind("authorization.voided",          "rx.authorization.voided",                Authorization, Some("voided_at"),    Some((2, State::Voided))),
        kind("dispensing.started",            "rx.dispense.started",                    Dispense,      Some("started_at"),   Some((1, State::InFlight))),
        kind("dispensing.completed",          "rx.dispense.completed",                  Dispense,      Some("dispensed_at"), Some((2, State::Redeemed))),
        kind("dispensing.cancelled",          "rx.dispense.cancelled",                  Dispense,      Some("cancelled_at"), Some((2, State::Redeemable))),
        kind("prescription.issued",           "rx.prescription.issued",                 Prescription,  Some("issued_at"),    Some((1, State::Issued))),
        kind("prescription.email_delivered",  "rx.prescription.notification_delivered", Prescription,  Some("delivered_at"), None),
        kind("prescription.email_failed",     "rx.prescription.notification_failed",    Prescription,  None,                 None),
        kind("settlement.paid",               "rx.settlement.paid",                     Settlement,    None,                 Some((1, State::Paid))),
        kind("settlement.rejected",           "rx.settlement.rejected",                 Settlement,    None,                 Some((1, State::Rejected))),
        kind("settlement.partially_accepted", "rx.settlement.partially_accepted",       Settlement,    None,                 Some((1, State::PartiallyAccepted))),
    ]
};

/// Every field that Osigu documents, with its class. What stands in none of these tables counts as patient data once a source redacts.
///
/// `rejection_reason` is of no class: "do not rewrite the copy". The `reason` of a cancelled dispensation is a code.
mod documented {
    use super::{Class, Field, Shape};
    use crate::event::phi::field::{clinical, contact, free_text, identifier, none};

    const fn envelope(data: &'static [Field]) -> [Field; 7] {
        [
            none("event_id"),
            none("event_type"),
            none("created_at"),
            none("api_version"),
            none("environment"),
            ("data", Shape::Object(data)),
            ("provider", Shape::Object(&PROVIDER)),
        ]
    }

    pub(super) static AUTHORIZATION: [Field; 7] = envelope(&AUTHORIZATION_DATA);
    pub(super) static DISPENSE: [Field; 7] = envelope(&DISPENSE_DATA);
    pub(super) static PRESCRIPTION: [Field; 7] = envelope(&PRESCRIPTION_DATA);
    pub(super) static SETTLEMENT: [Field; 7] = envelope(&SETTLEMENT_DATA);
    /// Of an event type or api version that isn't known.
    pub(super) static UNKNOWN: [Field; 7] = envelope(&[]);

    static PROVIDER: [Field; 2] = [none("provider_id"), none("provider_slug")];
    static PRODUCT: Shape = Shape::Object(&[
        clinical("product_code"),
        clinical("quantity"),
        clinical("posology"),
        clinical("duration_days"),
        none("unit_price"),
    ]);

    static AUTHORIZATION_DATA: [Field; 17] = [
        identifier("authorization_id"),
        identifier("authorization_code"),
        identifier("authorization_request_id"),
        identifier("beneficiary_id"),
        identifier("sponsor_reference"),
        none("sponsor_slug"),
        none("product_type"),
        ("products", Shape::List(&PRODUCT)),
        none("expires_at"),
        none("updated_at"),
        none("voided_at"),
        none("voided_by"),
        none("payment_type"),
        none("rejection_reason"),
        free_text("reason"),
        ("additional_data", Shape::Any(Class::FreeText)),
        ("changes", Shape::Changes(&AUTHORIZATION_DATA)),
    ];

    static DISPENSE_DATA: [Field; 16] = [
        identifier("dispensation_id"),
        identifier("code"),
        identifier("authorization_id"),
        identifier("prescription_id"),
        identifier("beneficiary_id"),
        identifier("sponsor_reference"),
        none("code_type"),
        none("sponsor_slug"),
        (
            "pharmacy",
            Shape::Object(&[none("provider_slug"), none("branch_id")]),
        ),
        ("products", Shape::List(&PRODUCT)),
        none("total_amount"),
        none("currency"),
        none("started_at"),
        none("dispensed_at"),
        none("cancelled_at"),
        none("reason"),
    ];

    static PRESCRIPTION_DATA: [Field; 11] = [
        identifier("prescription_id"),
        identifier("prescription_code"),
        none("version"),
        (
            "patient",
            Shape::Object(&[
                identifier("patient_id"),
                contact("first_name"),
                contact("last_name"),
            ]),
        ),
        (
            "doctor",
            Shape::Object(&[
                identifier("doctor_id"),
                identifier("medical_board_registration"),
            ]),
        ),
        (
            "diagnoses",
            Shape::List(&Shape::Object(&[clinical("diagnosis_code")])),
        ),
        ("medications", Shape::List(&PRODUCT)),
        none("issued_at"),
        contact("email"),
        none("delivered_at"),
        free_text("reason"),
    ];

    static SETTLEMENT_DATA: [Field; 9] = [
        none("settlement_id"),
        none("status"),
        none("sponsor_slug"),
        identifier("sponsor_reference"),
        none("period"),
        (
            "claims",
            Shape::List(&Shape::Object(&[
                identifier("claim_id"),
                identifier("authorization_id"),
                none("status"),
                none("total_amount"),
                none("currency"),
            ])),
        ),
        none("total_amount"),
        none("currency"),
        none("rejection_reason"),
    ];
}

fn documented_of(kind: Option<&Kind>) -> &'static [Field] {
    match kind.map(|kind| kind.about) {
        Some(About::Authorization) => &documented::AUTHORIZATION,
        Some(About::Dispense) => &documented::DISPENSE,
        Some(About::Prescription) => &documented::PRESCRIPTION,
        Some(About::Settlement) => &documented::SETTLEMENT,
        None => &documented::UNKNOWN,
    }
}

/// What Osigu documents of an event type.
pub(super) fn documented(event_type: &str) -> &'static [Field] {
    documented_of(KINDS.iter().find(|kind| kind.event_type == event_type))
}

/// Reads an event. A refusal names the event id as well, if that much could be read.
pub(super) fn read<'a>(
    verified: &'a Verified<'_>,
    context: Context<'a>,
) -> Result<Decoded<'a>, (Refusal, Option<String>)> {
    let document = decode(verified).map_err(|why| (Refusal::Malformed(why), None))?;
    let notes = Notes::of_sent(context.phi);
    let envelope = Fields::root(&document, &notes);
    let id = envelope
        .required_id("event_id")
        .map_err(|why| (Refusal::Invalid(why), None))?;
    read_envelope(&envelope, id.clone(), &notes, &document, verified, context)
        .map_err(|why| (why, Some(id.into_owned())))
}

fn read_envelope<'a>(
    envelope: &Fields<'_, 'a>,
    id: Cow<'a, str>,
    notes: &Notes,
    document: &Document<'a>,
    verified: &'a Verified<'_>,
    context: Context<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let event_type = envelope.required_id("event_type")?;
    let emitted = envelope.required_instant("created_at")?;
    let environment = envelope.required_id("environment")?;
    let data = envelope.required_object("data")?;
    let api_version = envelope.attribute("api_version");
    let account = account(envelope);

    if environment != context.expected.environment.as_str() {
        return Err(Refusal::EnvironmentMismatch);
    }
    if let Some(slug) = &context.expected.provider_slug
        && account.as_ref().and_then(|a| a.slug.as_deref()) != Some(slug)
    {
        return Err(Refusal::ProviderMismatch);
    }

    let kind = KINDS.iter().find(|kind| kind.event_type == event_type);
    let known_version = api_version
        .as_deref()
        .map_or(envelope.value("api_version").is_none(), |version| {
            context.expected.api_versions.iter().any(|v| v == version)
        });
    let (kind, unknown) = match kind {
        None => (None, Some(Unknown::EventType)),
        Some(_) if !known_version => (None, Some(Unknown::ApiVersion)),
        known => (known, None),
    };

    let canonical = kind.map_or(UNKNOWN_TYPE, |kind| kind.canonical);
    let mut attributes = Attributes {
        id: id.clone(),
        source: format!("/sources/{}", context.source),
        r#type: canonical,
        subject: None,
        time: None,
        datacontenttype: "application/json",
        dataschema: context.phi.variant().urn(canonical),
        rxprovider: "osigu",
        rxeventtype: event_type,
        rxenvironment: Some(environment),
        rxapiversion: api_version,
        rxauth: context.auth,
        rxkeyid: verified.proof().key.as_str(),
        rxpharmacy: None,
        rxbranch: None,
        rxemittedat: None,
        traceparent: context.traceparent,
    };
    let mut step = Step::default();
    // What is checked, claimed and routed by is read from the document as it was sent.
    let mut content = read_content(kind, &data, account, document.raw())?;
    let entity = content.subject.clone();
    if let Data::Dispense(DispenseData {
        pharmacy: Some(pharmacy),
        ..
    }) = &content.data
    {
        attributes.rxpharmacy = pharmacy.provider.clone();
        attributes.rxbranch = pharmacy.branch.clone();
    }
    if let Some(kind) = kind {
        attributes.time = kind.instant.and_then(|field| data.instant(field));
        let version = match &content.data {
            Data::Prescription(data) => data.entity.version.as_deref(),
            _ => None,
        };
        step = kind.step(&emitted, version.map_or(0, version_number));
    }
    if context.phi.redacts() {
        content = read_redacted(document, kind, notes, context)?;
    }
    attributes.subject = content.subject;
    attributes.time.get_or_insert_with(|| emitted.clone());
    attributes.rxemittedat = Some(emitted);
    let mut data = content.data;
    let notes = notes.take();
    let count = notes.len();
    data.set_notes(notes);
    Ok(Decoded {
        id,
        derived: false,
        entity,
        step,
        withholds: kind.is_some_and(|kind| kind.event_type == "authorization.created"),
        unknown,
        attributes,
        data,
        notes: count,
    })
}

/// The canonical fields once more, from what `phi` leaves of the document.
fn read_redacted<'a>(
    document: &Document<'_>,
    kind: Option<&Kind>,
    notes: &Notes,
    context: Context<'a>,
) -> Result<Content<'a>, Refusal> {
    let left = context.redact(document.object(), documented_of(kind), notes)?;
    // What is wrong with the document was noted when it was read as it was sent.
    let unused = Notes::of_redacted(context.phi);
    let envelope = Fields::root(&left, &unused);
    let data = envelope.required_object("data")?;
    let account = account(&envelope);
    let mut content = read_content(kind, &data, account, left.raw())?;
    content.data.set_redacted();
    Ok(content)
}

/// The canonical data, and what it is about.
struct Content<'a> {
    data: Data<'a>,
    /// `<entity>/<id>`.
    subject: Option<String>,
}

fn account<'a>(envelope: &Fields<'_, 'a>) -> Option<Account<'a>> {
    envelope.object("provider").map(|provider| Account {
        id: provider.text("provider_id"),
        slug: provider.text("provider_slug"),
    })
}

fn read_content<'a>(
    kind: Option<&Kind>,
    data: &Fields<'_, 'a>,
    account: Option<Account<'a>>,
    original: Raw<'a>,
) -> Result<Content<'a>, Invalid> {
    let Some(kind) = kind else {
        let data = Data::Unknown(UnknownData {
            account,
            notes: Vec::new(),
            redacted: false,
            original,
        });
        let subject = None;
        return Ok(Content { data, subject });
    };
    let entity = entity(kind.about, data)?;
    let id = entity.id.as_deref();
    let subject = id.map(|id| format!("{}/{id}", kind.about.name()));
    let data = read_data(kind, data, entity, account, original);
    Ok(Content { data, subject })
}

fn read_data<'a>(
    kind: &Kind,
    data: &Fields<'_, 'a>,
    entity: Entity<'a>,
    account: Option<Account<'a>>,
    original: Raw<'a>,
) -> Data<'a> {
    match kind.about {
        About::Authorization => Data::Authorization(AuthorizationData {
            entity,
            patient: beneficiary(data),
            sponsor: sponsor(data),
            account,
            product_type: data.text("product_type"),
            items: items(data, "products"),
            reason: authorization_reason(kind, data),
            changes: changes(data),
            expires_at: data.text("expires_at"),
            notes: Vec::new(),
            redacted: false,
            original,
        }),
        About::Dispense => {
            let pharmacy = data.object("pharmacy").map(|pharmacy| Pharmacy {
                provider: pharmacy.attribute("provider_slug"),
                branch: pharmacy.attribute("branch_id"),
                ..Pharmacy::default()
            });
            Data::Dispense(DispenseData {
                entity,
                patient: beneficiary(data),
                sponsor: sponsor(data),
                account,
                pharmacy,
                items: items(data, "products"),
                total: total(data),
                reason: data.text("reason").map(|code| Reason {
                    code: Some(code),
                    ..Reason::default()
                }),
                notes: Vec::new(),
                redacted: false,
                original,
            })
        }
        About::Prescription => Data::Prescription(PrescriptionData {
            entity,
            patient: data.object("patient").map(|patient| Patient {
                id: patient.text("patient_id"),
                first_name: patient.text("first_name"),
                last_name: patient.text("last_name"),
                ..Patient::default()
            }),
            prescriber: data.object("doctor").map(|doctor| Prescriber {
                id: doctor.text("doctor_id"),
                registration: doctor.text("medical_board_registration"),
                ..Prescriber::default()
            }),
            account,
            diagnoses: data.objects("diagnoses", |diagnosis| Diagnosis {
                code: diagnosis.text("diagnosis_code"),
            }),
            items: items(data, "medications"),
            notification: data.text("email").map(|address| Notification {
                channel: "email",
                address: Some(address),
            }),
            reason: data.text("reason").map(reason_text),
            notes: Vec::new(),
            redacted: false,
            original,
        }),
        About::Settlement => Data::Settlement(SettlementData {
            entity,
            sponsor: sponsor(data),
            account,
            status: data.text("status"),
            period: data.text("period"),
            claims: data.objects("claims", |claim| SettlementClaim {
                id: claim.text("claim_id"),
                authorization_id: claim.text("authorization_id"),
                status: claim.text("status"),
                total: total(claim),
            }),
            total: total(data),
            reason: data.text("rejection_reason").map(reason_text),
            notes: Vec::new(),
            redacted: false,
            original,
        }),
    }
}

/// The entity. Its id is the only field in `data` that is required.
fn entity<'a>(about: About, data: &Fields<'_, 'a>) -> Result<Entity<'a>, Invalid> {
    let r#type = Cow::Borrowed(about.name());
    Ok(match about {
        About::Authorization => {
            let request = data.value("authorization_request_id");
            // A rejected request never became an authorization.
            let id_field = match (data.value("authorization_id"), request) {
                (None, Some(_)) => "authorization_request_id",
                _ => "authorization_id",
            };
            Entity {
                r#type,
                id: data.entity_id(id_field)?,
                code: data.text("authorization_code"),
                authorization_request_id: data.text("authorization_request_id"),
                ..Entity::default()
            }
        }
        About::Dispense => Entity {
            r#type,
            id: data.entity_id("dispensation_id")?,
            code: data.text("code"),
            code_type: data.text("code_type"),
            authorization_id: data.text("authorization_id"),
            prescription_id: data.text("prescription_id"),
            ..Entity::default()
        },
        About::Prescription => Entity {
            r#type,
            id: data.entity_id("prescription_id")?,
            code: data.text("prescription_code"),
            version: data.text("version"),
            ..Entity::default()
        },
        About::Settlement => Entity {
            r#type,
            id: data.entity_id("settlement_id")?,
            ..Entity::default()
        },
    })
}

fn beneficiary<'a>(data: &Fields<'_, 'a>) -> Option<Patient<'a>> {
    data.text("beneficiary_id").map(|id| Patient {
        id: Some(id),
        ..Patient::default()
    })
}

fn sponsor<'a>(data: &Fields<'_, 'a>) -> Option<Sponsor<'a>> {
    let slug: Text<'a> = data.text("sponsor_slug");
    let reference: Text<'a> = data.text("sponsor_reference");
    (slug.is_some() || reference.is_some()).then_some(Sponsor { slug, reference })
}

fn items<'a>(data: &Fields<'_, 'a>, field: &str) -> Vec<Item<'a>> {
    data.objects(field, |item| Item {
        code: item.text("product_code"),
        quantity: item.decimal_of("quantity", Class::Clinical),
        unit_price: item.decimal("unit_price"),
        directions: item.text("posology"),
        duration_days: item.decimal_of("duration_days", Class::Clinical),
        ..Item::default()
    })
}

fn total<'a>(data: &Fields<'_, 'a>) -> Option<Total<'a>> {
    data.decimal("total_amount").map(|amount| Total {
        amount,
        currency: data.text("currency"),
    })
}

fn reason_text(text: Cow<'_, str>) -> Reason<'_> {
    Reason {
        text: Some(text),
        ..Reason::default()
    }
}

/// "Do not rewrite the copy": the words go on as they came.
fn authorization_reason<'a>(kind: &Kind, data: &Fields<'_, 'a>) -> Option<Reason<'a>> {
    match kind.event_type {
        "authorization.rejected" => data.text("rejection_reason").map(reason_text),
        "authorization.voided" => {
            let (text, by) = (data.text("reason"), data.text("voided_by"));
            (text.is_some() || by.is_some()).then_some(Reason {
                text,
                by,
                ..Reason::default()
            })
        }
        _ => None,
    }
}

/// A map of field to `{from, to}`, in the order of the sender.
fn changes<'a>(data: &Fields<'_, 'a>) -> Vec<(String, Change<'a>)> {
    let Some(changes) = data.object("changes") else {
        return Vec::new();
    };
    changes.object_entries(|field, change| {
        let [from, to] = ["from", "to"].map(|name| change.entry(name).map(Value::raw));
        (field.to_owned(), Change { from, to })
    })
}

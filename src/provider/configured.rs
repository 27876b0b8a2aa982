//! Any other sender: what is known of it stands in the settings, or in a [preset](super::preset).

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::{Context, Decoded, Refusal, RetryPolicy, UNKNOWN_TYPE, Unknown};
use crate::auth::Verified;
use crate::by_name::ByName;
use crate::bytes::Base64;
use crate::entity::Step;
use crate::event::phi::Class;
use crate::event::{
    Attributes, ConfiguredData, Data, Document, Entity, Invalid, Notes, Pointer, decode,
    fits_attribute,
};
use crate::json::Raw;
use crate::time::{Timestamp, to_text, to_utc};

/// The schema of all types that settings name.
pub const CONFIGURED_SCHEMA: &str = "rx.configured";
/// What `rxeventtype` says where the sender doesn't.
pub const NO_TYPE: &str = "unknown";
/// A longer challenge isn't echoed.
const MAX_CHALLENGE_BYTES: usize = 256;

/// Where something of an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the body.
    Pointer(Pointer),
    /// In the header of the id, which the signature covers.
    SignedId,
    /// In the header of the time, which the signature covers.
    SignedTime,
}

/// What is known of a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// `rxprovider`, and `provider` in the log.
    pub name: &'static str,
    /// What it does with an event that wasn't taken.
    pub retry: RetryPolicy,
    /// Whether it asks who is there, as Slack does.
    pub challenges: bool,
    /// The event id; without one it is made of the body's hash.
    pub id: Option<Place>,
    /// The event type.
    pub event_type: Option<Place>,
    /// The type of all its events.
    pub fixed_type: Option<String>,
    /// When it happened.
    pub time: Option<Place>,
    /// Whether a time that is a number is in milliseconds.
    pub time_in_millis: bool,
    /// What it is about: `<entity>/<id>`, or the id alone.
    pub subject: Option<Place>,
    /// The entity, where the subject is its id alone.
    pub subject_type: Option<String>,
    /// The canonical type of each of its types.
    pub types: ByName<String>,
    /// `sandbox` or `production`, if that is known of the source.
    pub environment: Option<String>,
}

/// Whether a text is of the form `rx.<word>.<word>`.
pub fn is_canonical_type(text: &str) -> bool {
    let mut words = text.split('.');
    words.next() == Some("rx")
        && words.clone().count() == 2
        && words.all(is_word)
        && text.len() <= 64
}

/// A lower-case letter, then letters, digits and `_`.
pub fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(inner)
}

impl Sender {
    /// What it wants to hear before it sends events, if this is such a request. It is authentic: a stranger gets nothing echoed.
    pub fn challenge(&self, verified: &Verified<'_>) -> Option<String> {
        if !self.challenges {
            return None;
        }
        let document = decode(verified).ok()?;
        let text = |name| document.object().get(name)?.text();
        if text("type")? != "url_verification" {
            return None;
        }
        let challenge = text("challenge")?;
        let printable = challenge.bytes().all(|b| b.is_ascii_graphic());
        let fits = (1..=MAX_CHALLENGE_BYTES).contains(&challenge.len());
        (fits && printable).then(|| challenge.into_owned())
    }
}

/// Reads an event. A refusal names the event id as well, if that much could be read.
pub(super) fn read<'a>(
    verified: &'a Verified<'_>,
    sender: &'a Sender,
    context: Context<'a>,
) -> Result<Decoded<'a>, (Refusal, Option<String>)> {
    let document = decode(verified).map_err(|why| (Refusal::Malformed(why), None))?;
    let reader = Reader {
        verified,
        document: &document,
        notes: Notes::of_sent(context.phi),
    };
    let id = match &sender.id {
        Some(place) => reader
            .required(place)
            .map_err(|why| (Refusal::Invalid(why), None))?,
        None => Cow::Owned(id_of(verified.body())),
    };
    read_event(&reader, id.clone(), sender, context).map_err(|why| (why, Some(id.into_owned())))
}

/// An id for an event that has none: the same bytes are the same event.
fn id_of(body: &[u8]) -> String {
    format!("body_{}", Base64::Url.write(&Sha256::digest(body)))
}

struct Reader<'r, 'a> {
    verified: &'a Verified<'a>,
    document: &'r Document<'a>,
    notes: Notes,
}

fn read_event<'a>(
    reader: &Reader<'_, 'a>,
    id: Cow<'a, str>,
    sender: &'a Sender,
    context: Context<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let event_type = match (&sender.fixed_type, &sender.event_type) {
        (Some(fixed), _) => Some(Cow::Borrowed(fixed.as_str())),
        (None, Some(place)) => reader.optional(place, "string of 1 to 256 printable characters"),
        (None, None) => None,
    };
    let event_type = event_type.unwrap_or(Cow::Borrowed(NO_TYPE));
    let canonical = sender.types.get(event_type.as_ref()).map(String::as_str);
    // Where nothing is mapped, nothing is amiss with what isn't.
    let unknown = match canonical {
        None if !sender.types.is_empty() => Some(Unknown::EventType),
        _ => None,
    };
    let schema = canonical.map_or(UNKNOWN_TYPE, |_| CONFIGURED_SCHEMA);
    let proof = reader.verified.proof();
    let sent = reader.entity(sender);
    let entity = sent.as_ref().map(|(kind, id)| format!("{kind}/{id}"));
    let left = |id: Cow<'a, str>| context.phi.apply(Class::Unknown, id);
    let about = sent.map(|(kind, id)| Entity {
        r#type: kind,
        id: left(id),
        ..Entity::default()
    });
    let subject = about
        .as_ref()
        .and_then(|entity| Some(format!("{}/{}", entity.r#type, entity.id.as_deref()?)));
    let attributes = Attributes {
        id,
        source: format!("/sources/{}", context.source),
        r#type: canonical.unwrap_or(UNKNOWN_TYPE),
        subject,
        time: sender
            .time
            .as_ref()
            .and_then(|place| reader.instant(place, sender.time_in_millis)),
        datacontenttype: "application/json",
        dataschema: context.phi.variant().urn(schema),
        rxprovider: sender.name,
        rxeventtype: event_type,
        rxenvironment: sender.environment.as_deref().map(Cow::Borrowed),
        rxapiversion: None,
        rxauth: proof.strength.name(),
        rxkeyid: proof.key.as_str(),
        rxpharmacy: None,
        rxbranch: None,
        rxemittedat: None,
        traceparent: context.traceparent,
    };
    let (original, redacted) = reader.original(context)?;
    let notes = reader.notes.take();
    Ok(Decoded {
        id: attributes.id.clone(),
        derived: false,
        entity,
        step: Step::default(),
        withholds: false,
        unknown,
        notes: notes.len(),
        attributes,
        data: Data::Configured(ConfiguredData {
            entity: about,
            notes,
            redacted,
            original,
        }),
    })
}

impl<'a> Reader<'_, 'a> {
    /// A text or a whole number, as text.
    fn text(&self, place: &Place) -> Option<Cow<'a, str>> {
        match place {
            Place::Pointer(pointer) => {
                let value = pointer.find(self.document.object())?;
                let whole = || value.digits().filter(|digits| is_whole(digits));
                value.text().or_else(|| whole().map(Cow::Borrowed))
            }
            Place::SignedId => self
                .verified
                .proof()
                .signed_id
                .as_deref()
                .map(Cow::Borrowed),
            Place::SignedTime => {
                let at = self.verified.proof().signed_at?;
                Some(Cow::Owned(at.0.to_string()))
            }
        }
    }

    fn required(&self, place: &Place) -> Result<Cow<'a, str>, Invalid> {
        let there = match place {
            Place::Pointer(pointer) => pointer.find(self.document.object()).is_some(),
            Place::SignedId => self.verified.proof().signed_id.is_some(),
            Place::SignedTime => true,
        };
        let problem = match self.text(place) {
            Some(text) if fits_attribute(&text) => return Ok(text),
            Some(_) => "not 1 to 256 printable characters",
            None if there => "not a string or a whole number",
            None => "missing",
        };
        Err(Invalid {
            path: place.name().to_owned(),
            problem,
        })
    }

    /// Absent is nothing; another form than expected is noted.
    fn optional(&self, place: &Place, expected: &'static str) -> Option<Cow<'a, str>> {
        let text = self.text(place).filter(|text| fits_attribute(text));
        if text.is_none()
            && let Place::Pointer(pointer) = place
            && pointer.find(self.document.object()).is_some()
        {
            self.notes.add_to_whole(pointer.as_str(), expected);
        }
        text
    }

    /// An RFC 3339 date-time, or a number of seconds or milliseconds, in UTC.
    fn instant(&self, place: &Place, in_millis: bool) -> Option<Cow<'a, str>> {
        if *place == Place::SignedTime {
            let at = self.verified.proof().signed_at?;
            return Some(Cow::Owned(to_text(at)));
        }
        let expected = "RFC 3339 date-time, or a number";
        let text = self.optional(place, expected)?;
        let at = if is_whole(&text) {
            let number = text.parse::<i64>().ok();
            let factor = if in_millis { 1 } else { 1000 };
            let at = number.and_then(|number| number.checked_mul(factor));
            // Beyond the year 9999 it isn't a date-time of RFC 3339.
            let at = at.filter(|at| (0..253_402_300_800_000).contains(at));
            at.map(|at| Cow::Owned(to_text(Timestamp(at))))
        } else {
            match text {
                Cow::Borrowed(text) => to_utc(text),
                Cow::Owned(text) => to_utc(&text).map(|at| Cow::Owned(at.into_owned())),
            }
        };
        if at.is_none() {
            self.notes.add_to_whole(place.name(), expected);
        }
        at
    }

    /// The kind of entity and its id.
    fn entity(&self, sender: &'a Sender) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let place = sender.subject.as_ref()?;
        let expected = "<entity>/<id>";
        let text = self.optional(place, expected)?;
        if let Some(kind) = &sender.subject_type {
            return Some((Cow::Borrowed(kind.as_str()), text));
        }
        let parts = text.split_once('/');
        let parts = parts.filter(|(kind, id)| is_word(kind) && !id.is_empty());
        if parts.is_none() {
            self.notes.add_to_whole(place.name(), expected);
        }
        let (kind, id) = parts?;
        Some((Cow::Owned(kind.to_owned()), Cow::Owned(id.to_owned())))
    }

    /// The sender's own document, and whether anything of it is held back.
    fn original(&self, context: Context<'a>) -> Result<(Raw<'a>, bool), Refusal> {
        if !context.phi.redacts() {
            return Ok((self.document.raw(), false));
        }
        // No field of it is known.
        let redacted = context.redact(self.document.object(), &[], &self.notes)?;
        Ok((redacted.raw(), true))
    }
}

impl Place {
    /// What is wrong with it is said of this.
    fn name(&self) -> &str {
        match self {
            Self::Pointer(pointer) => pointer.as_str(),
            Self::SignedId => "header of the id",
            Self::SignedTime => "header of the time",
        }
    }
}

/// A number without a fraction or an exponent.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

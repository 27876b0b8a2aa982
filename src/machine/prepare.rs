//! Everything before the claim: pure, and nothing of it is remembered.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::{Facts, Gateway, Goods, Pending, QUEUE_LIFE};
use crate::auth::scheme::Head;
use crate::auth::{Opened, Sealed, SignatureRefusal, Verified};
use crate::bytes::{Reader, hex};
use crate::config::{Config, Destination, Origin, Road, Source, Target};
use crate::delivery::{Format, choose, webhook_id};
use crate::entity::{Condition, EntityKey, EventHash, Fence, Step, body_digest, event_digest};
use crate::event::phi::Scratch;
use crate::event::{Invalid, Prepared, round_suffix};
use crate::expectation::Notice;
use crate::inbound::{Inbound, Received, is_content_type, well_formed_traceparent};
use crate::outcome::Outcome;
use crate::parcel::{Claimed, Label, Parcel, Reason};
use crate::provider::phil::{Echo, callback_missing};
use crate::provider::{Context, Decoded, Provider, Refusal, Unknown};
use crate::record::Record;
use crate::time::Timestamp;

/// What a queue's consumer is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes parcels to their origins.
    Deliver,
    /// Keeps dead letters.
    Keep,
}

/// A frame follows.
const FRAME: u8 = 1;
/// A pointer to a frame in KV follows, sealed itself.
const POINTER: u8 = 2;

/// What a message of ours holds.
pub(crate) enum Unpacked<'a> {
    /// A sealed parcel.
    Frame(&'a [u8]),
    /// The hash of one, which is in KV.
    Pointer([u8; 32]),
    /// Nothing that can be read.
    Nothing,
}

pub(super) fn role(gateway: &Gateway, queue: &str) -> Option<Role> {
    let config = &gateway.config;
    let roles = [
        (config.delivery_queue.as_str(), Role::Deliver),
        (config.dead_letter_queue.as_str(), Role::Keep),
    ];
    let known = roles.into_iter().find(|(name, _)| *name == queue);
    known.map(|(_, role)| role)
}

pub(crate) fn unpack<'a>(gateway: &Gateway, message: &'a [u8]) -> Unpacked<'a> {
    match message.split_first() {
        Some((&FRAME, frame)) => Unpacked::Frame(frame),
        Some((&POINTER, sealed)) => {
            let opened = gateway.open(Sealed::Pointer, sealed);
            let hash = opened.ok().and_then(|opened| {
                let mut reader = Reader::new(opened.bytes());
                let hash = reader.array()?;
                reader.end().map(|()| hash)
            });
            hash.map_or(Unpacked::Nothing, Unpacked::Pointer)
        }
        _ => Unpacked::Nothing,
    }
}

/// What stands in front of a frame in a message.
pub(super) const FRAME_FRONT: &[u8] = &[FRAME];

/// The message that holds a frame itself.
pub(super) fn frame_message(frame: &[u8]) -> Vec<u8> {
    [FRAME_FRONT, frame].concat()
}

/// The message that says where a frame is.
pub(super) fn pointer_message(gateway: &Gateway, hash: &[u8; 32]) -> Option<Vec<u8>> {
    gateway.seal(Sealed::Pointer, &[POINTER], hash)
}

/// The parcel in a frame that is of one of these kinds.
pub(crate) fn open_parcel(
    gateway: &Gateway,
    kinds: &[Sealed],
    frame: &[u8],
) -> Option<(Parcel, Opened)> {
    let mut opened = kinds.iter();
    let opened = opened.find_map(|what| gateway.open(*what, frame).ok())?;
    Some((Parcel::read(&opened)?, opened))
}

pub(super) fn hash_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn is_hash(hash: &[u8; 32], bytes: &[u8]) -> bool {
    hash_of(bytes) == *hash
}

/// Where a large body is in KV. Made of what was sealed, so it says nothing of the event, and no key is ever written twice.
pub(crate) fn body_key(hash: &[u8; 32]) -> String {
    format!("body/{}", hex(hash))
}

/// A request: authenticated, then made into what is claimed.
pub(super) fn request(
    gateway: &Gateway,
    inbound: Inbound<'_>,
    received_at: Timestamp,
    facts: &mut Facts,
    now: Timestamp,
) -> Result<Pending, Outcome> {
    if inbound.received == Received::PathUnknown {
        return Err(Outcome::PathUnknown);
    }
    let config = &gateway.config;
    let source = config.sources.get(inbound.source);
    let source = source.ok_or(Outcome::SourceUnknown)?;
    facts.record.source = Some(inbound.source.to_owned());
    let faulty = config.faulty.get(inbound.source).copied();
    let provider = source.as_ref().map(|source| source.provider).or(faulty);
    facts.phil = (provider == Some(Provider::PhilCallback)).then(Echo::default);
    if let Some(source) = source {
        let scheme = &source.scheme;
        if inbound.path.is_some() && !scheme.reads_path() {
            return Err(Outcome::PathUnknown);
        }
        if !scheme.admits(inbound.path, now) {
            facts.record.problem = Some("path_token_mismatch");
            return Err(Outcome::SourceUnknown);
        }
    }
    if inbound.method != "POST" {
        return Err(Outcome::MethodNotAllowed);
    }
    let source = source.as_ref().ok_or(Outcome::SourceMisconfigured)?;
    let provider = source.provider;
    facts.record.provider = Some(source.name());
    if let Some(wanted) = provider.content_type()
        && !is_content_type(inbound.content_type, wanted)
    {
        return Err(Outcome::ContentTypeUnsupported);
    }
    match inbound.received {
        Received::TooLarge => return Err(Outcome::BodyTooLarge),
        Received::Incomplete => return Err(Outcome::BodyIncomplete),
        Received::Overloaded => return Err(Outcome::Overloaded),
        Received::Complete if inbound.body.len() > source.max_body => {
            return Err(Outcome::BodyTooLarge);
        }
        Received::Complete | Received::PathUnknown => {}
    }
    // Without its signature header the shell doesn't read the body.
    let missing = source.scheme.signature_header().is_some() && inbound.signature.is_none();
    facts.record.body_bytes = (!missing).then(|| inbound.body.len());

    let head = Head {
        method: inbound.method,
        url: inbound.url,
        signature: inbound.signature,
        more: inbound.more,
        path: inbound.path,
        address: inbound.address,
    };
    let verified = source
        .scheme
        .authenticate(head, inbound.body, now)
        .map_err(|refusal| facts.refused(refusal))?;
    if let Some(echo) = &mut facts.phil {
        *echo = Echo::read(&verified);
    }
    let sender = source.expected.sender.as_ref();
    if let Some(challenge) = sender.and_then(|sender| sender.challenge(&verified)) {
        facts.record.key_id = Some(verified.proof().key.as_str().to_owned());
        facts.challenge = Some(challenge);
        return Err(Outcome::ChallengeAnswered);
    }
    let traceparent = inbound
        .traceparent
        .filter(|value| well_formed_traceparent(value));
    let parcel = Parcel {
        source: source.id.clone(),
        received_at,
        proof: verified.proof().clone(),
        headers: owned(source.scheme.to_pass_on(&head)),
        traceparent: traceparent.map(str::to_owned),
        webhook: source.scheme.webhook(inbound.path).map(str::to_owned),
        claimed: None,
        round: None,
        nonce: None,
        label: Label::default(),
        body: verified.body().to_vec(),
    };
    Ok(pend(config, source, &verified, parcel, facts))
}

fn owned(headers: Vec<(&str, &str)>) -> Vec<(String, String)> {
    let headers = headers.into_iter();
    headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A parcel out of our queue.
pub(super) fn message(
    gateway: &Gateway,
    verified: &Verified<'_>,
    parcel: Parcel,
    facts: &mut Facts,
) -> Result<Pending, Outcome> {
    let config = &gateway.config;
    facts.record.source = Some(parcel.source.clone());
    facts.record.body_bytes = Some(parcel.body.len());
    let source = config.sources.get(&parcel.source);
    let source = source.ok_or(Outcome::SourceUnknown)?;
    let source = source.as_ref().ok_or(Outcome::SourceMisconfigured)?;
    facts.record.provider = Some(source.name());
    Ok(pend(config, source, verified, parcel, facts))
}

/// Reads authenticated bytes, and makes of them what is claimed and handed over: an event, or a dead letter.
fn pend(
    config: &Config,
    source: &Source,
    verified: &Verified<'_>,
    mut parcel: Parcel,
    facts: &mut Facts,
) -> Pending {
    facts.record.key_id = Some(verified.proof().key.as_str().to_owned());
    facts.record.skew_seconds = verified.proof().stale_by;
    let is_unclaimed = parcel.label.reason == Some(Reason::ExpectationUnknown);
    parcel.label = Label::default();
    let scratch = Scratch::default();
    let context = Context {
        source: &source.id,
        expected: &source.expected,
        phi: &source.phi,
        scratch: &scratch,
        webhook: parcel.webhook.as_deref(),
        zone: source.zone,
        auth: verified.proof().strength.name(),
        traceparent: parcel.traceparent.as_deref(),
    };
    let notice = parcel.is_notice().then(|| Notice::read(verified.body()));
    let read = match (&notice, source.provider) {
        (None, provider) => provider.read(verified, context),
        (Some(Some(notice)), Provider::PhilCallback) => {
            Ok(callback_missing(&notice.overdue(source, verified)))
        }
        // The source was another one when the notice was sealed.
        (Some(_), _) => Err((Refusal::ProviderMismatch, None)),
    };
    let mut withholds = false;
    let mut base_id = None;
    let (entity, digest, step, goods) = match read {
        Ok(decoded) => {
            let digest = event_digest(&source.id, &decoded.id);
            facts.event_id = Some(decoded.id.to_string());
            facts.record.set_event_type(&decoded.attributes.rxeventtype);
            facts.record.r#type = Some(decoded.attributes.r#type.to_owned());
            facts.record.notes = decoded.notes;
            facts.record.unknown = decoded.unknown.map(|why| match why {
                Unknown::EventType => "event_type",
                Unknown::ApiVersion => "api_version",
            });
            parcel.label.r#type = Some(decoded.attributes.r#type.to_owned());
            parcel.label.webhook_id = Some(webhook_id(&digest));
            // An event without an entity is its own.
            let subject = decoded.entity.as_deref().map_or_else(
                || Cow::Owned(format!("event/{}", decoded.id)),
                Cow::Borrowed,
            );
            let entity = EntityKey::of(&source.id, &subject);
            withholds = decoded.withholds;
            let has_rounds = decoded.derived && decoded.step.life.has_rounds();
            base_id = has_rounds.then(|| decoded.id.to_string());
            let length = verified.body().len();
            let goods = event(config, source, &decoded, length, notice.is_some(), facts);
            (entity, digest, decoded.step, goods)
        }
        Err((refusal, event_id)) => {
            let digest = event_id.as_deref().map(|id| event_digest(&source.id, id));
            parcel.label.webhook_id = digest.as_ref().map(webhook_id);
            facts.event_id = event_id;
            let reason = refused(refusal, &mut parcel.label, &mut facts.record);
            // Not by its id: it may come again under the same one, mended, or after a setting was.
            let digest = body_digest(&source.id, verified.body());
            let entity = entity_of_body(&source.id, &digest);
            (entity, digest, Step::default(), Goods::Letter(reason))
        }
    };
    facts.record.webhook_id.clone_from(&parcel.label.webhook_id);
    let of_event = matches!(goods, Goods::Event(..));
    let (entity, event, fence) = match (parcel.claimed, parcel.nonce) {
        (Some(claimed), _) => (claimed.entity, claimed.event, claimed.fence),
        // What is no event any more was claimed by its bytes when it became a dead letter.
        (None, Some(nonce)) if !(is_unclaimed && of_event) => {
            (entity, EventHash::redelivery(&digest, &nonce.0), Fence(0))
        }
        (None, _) => (entity, EventHash::of(&digest), Fence(0)),
    };
    facts.record.entity = Some(hex(&entity.0));
    // Remembered for longer than any message of it can be in a queue.
    let of_message = facts.message.is_some();
    let window = if of_message {
        source.window.max(QUEUE_LIFE)
    } else {
        source.window
    };
    let condition = match (parcel.nonce, parcel.claimed) {
        // What an operator has redelivered goes on, and what was claimed before was asked then.
        (Some(_), _) => None,
        _ if notice.is_some() && of_event => Some(Condition::StillMissing),
        (None, None) if of_event && source.requires_expectation() => Some(Condition::Expected),
        _ => None,
    };
    let mut pending = Pending {
        dedupe: source.dedupe,
        retries: source.retries,
        entity,
        event,
        base_id,
        fence,
        step,
        condition,
        // What an operator has redelivered goes on, with its mark.
        withholds: source.withhold_superseded && withholds && parcel.nonce.is_none(),
        window,
        goods,
        parcel,
    };
    let known = pending.parcel.round.unwrap_or(0);
    facts.name_round(&mut pending, known);
    pending
}

impl Pending {
    /// It isn't taken, authentic as it is: it becomes a dead letter, claimed by its bytes.
    pub(super) fn refuse(&mut self, reason: Reason) {
        let digest = body_digest(&self.parcel.source, &self.parcel.body);
        self.entity = entity_of_body(&self.parcel.source, &digest);
        self.event = EventHash::of(&digest);
        self.step = Step::default();
        self.goods = Goods::Letter(reason);
    }
}

fn entity_of_body(source: &str, digest: &[u8; 32]) -> EntityKey {
    EntityKey::of(source, &format!("body/{}", hex(digest)))
}

/// Chooses the destination, and writes the event if it is needed now.
fn event(
    config: &Config,
    source: &Source,
    decoded: &Decoded<'_>,
    body_len: usize,
    is_notice: bool,
    facts: &Facts,
) -> Goods {
    let attributes = &decoded.attributes;
    let place = choose(
        &source.routes,
        source.destination,
        attributes.r#type,
        attributes.rxpharmacy.as_deref(),
        attributes.rxbranch.as_deref(),
    );
    let destination = config.destinations.get(place).and_then(Option::as_ref);
    let needed = match destination.map(|Destination { to, .. }| to) {
        Some(Target::Origin(Origin { format, road, .. })) => {
            (*format == Format::Canonical || is_notice)
                && (*road != Road::Queue || facts.message.is_some())
        }
        Some(Target::Queue(_)) => true,
        None => false,
    };
    let prepared = needed.then(|| Prepared::new(attributes, &decoded.data, body_len));
    Goods::Event(place, prepared)
}

/// Why it can't be delivered, and what the label says of it.
fn refused(refusal: Refusal, label: &mut Label, record: &mut Record) -> Reason {
    match refusal {
        Refusal::Malformed(why) => {
            record.problem = Some(why.name());
            label.problem = Some(why.name().to_owned());
            Reason::BodyMalformed
        }
        Refusal::Invalid(Invalid { path, problem }) => {
            record.problem = Some(problem);
            record.path = Some(path.clone());
            label.problem = Some(problem.to_owned());
            label.path = Some(path);
            Reason::EventInvalid
        }
        Refusal::EnvironmentMismatch => Reason::EnvironmentMismatch,
        Refusal::ProviderMismatch => Reason::ProviderMismatch,
        Refusal::Contradictory(Invalid { path, problem }) => {
            record.problem = Some(problem);
            record.path = Some(path.clone());
            label.problem = Some(problem.to_owned());
            label.path = Some(path);
            Reason::EventContradictory
        }
    }
}

impl Facts {
    /// Names the event after its round, if its id is derived: the same words in another round are another event. Says which round the id tells.
    pub(super) fn name_round(&mut self, pending: &mut Pending, round: u16) -> u16 {
        let Some(base) = pending.base_id.as_deref().filter(|_| round > 0) else {
            return 0;
        };
        let id = format!("{base}{}", round_suffix(round));
        let named = webhook_id(&event_digest(&pending.parcel.source, &id));
        self.event_id = Some(id);
        self.record.webhook_id = Some(named.clone());
        pending.parcel.label.webhook_id = Some(named);
        round
    }

    fn refused(&mut self, refusal: SignatureRefusal) -> Outcome {
        match refusal {
            SignatureRefusal::Missing => Outcome::SignatureMissing,
            SignatureRefusal::Malformed => Outcome::SignatureMalformed,
            SignatureRefusal::Mismatch => Outcome::SignatureMismatch,
            SignatureRefusal::AddressNotAllowed => Outcome::AddressNotAllowed,
            SignatureRefusal::NoUsableKey => Outcome::SourceMisconfigured,
            SignatureRefusal::TimestampOutOfTolerance { skew, key } => {
                self.record.skew_seconds = Some(skew);
                self.record.key_id = Some(key.as_str().to_owned());
                Outcome::TimestampOutOfTolerance
            }
        }
    }
}

/// The claim that a parcel carries.
pub(super) fn claimed(entity: EntityKey, event: EventHash, fence: Fence) -> Claimed {
    Claimed {
        entity,
        event,
        fence,
    }
}

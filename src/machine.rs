//! One request's life. It does no I/O and reads no clock: [`Machine::begin`] and [`Machine::resume`] say what to do next.
//!
//! Read top-down: authenticate → decode, validate, normalise → claim → deliver → commit or release → answer.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

use serde::Serialize;

use crate::auth::SignatureRefusal;
use crate::config::{Config, Destination, Source};
use crate::delivery::{Fate, Format, choose, classify, webhook_id};
use crate::effect::{Answer, Delivery, Done, Effect};
use crate::entity::{
    Agreed, Claim, ClaimRequest, EntityKey, EventHash, Fence, LayoutRequest, Objects, Receipt,
    Reply, Request, Step, event_digest,
};
use crate::event::phi::Scratch;
use crate::event::{Claimed, Invalid, Prepared, State as EntityState};
use crate::inbound::{Inbound, Received, is_content_type, well_formed_traceparent};
use crate::outcome::{Level, Outcome};
use crate::provider::{Context, Decoded, Refusal, Unknown};
use crate::record::Record;
use crate::time::{Timestamp, parse_retry_after};

/// From receipt to answer. Osigu hangs up after 10 s.
pub const DEADLINE: Duration = Duration::from_secs(9);
/// Outlives the deadline: no second holder starts while the first may still deliver.
pub const LEASE: Duration = Duration::from_secs(15);
/// The object that keeps the layout.
pub const LAYOUT_OBJECT: &str = "layout-v1";

/// Of the deadline, kept for the commit.
const COMMIT_RESERVE: Duration = Duration::from_secs(1);
/// With less than this left a delivery isn't begun.
const LEAST_DELIVERY: Duration = Duration::from_millis(500);
/// No question to an object waits longer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// An origin's `Retry-After` is passed on up to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What the machines of one isolate share.
#[derive(Debug, Default)]
pub struct Gateway {
    config: Config,
    agreed: Cell<Option<Agreed>>,
}

impl Gateway {
    /// With this configuration.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            agreed: Cell::new(None),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// One request's life.
#[derive(Debug)]
pub struct Machine {
    state: State,
    facts: Facts,
}

#[derive(Debug)]
enum State {
    Agreeing(Box<Pending>),
    Moving(Box<Pending>, Agreed),
    Claiming(Box<Pending>, Agreed),
    Delivering(Lease, usize),
    Committing(Lease, Again),
    Releasing(Outcome, Option<Duration>),
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Possible,
    No,
}

/// What is known so far, for the answer and the log.
#[derive(Debug)]
struct Facts {
    received_at: Timestamp,
    event_id: Option<String>,
    record: Record,
}

/// An event that is ready but for its claim.
struct Pending {
    entity: EntityKey,
    event: EventHash,
    step: Step,
    window: Duration,
    destination: usize,
    payload: Payload,
}

enum Payload {
    Canonical(Prepared),
    Original {
        body: Vec<u8>,
        header: (String, String),
    },
}

/// The right to deliver an event. Not `Clone`: spent by commit or release.
#[derive(Debug)]
struct Lease {
    objects: Objects,
    entity: EntityKey,
    event: EventHash,
    fence: Fence,
    window: Duration,
}

impl Machine {
    /// Takes a request that arrived at `received_at`. Authenticates, decodes, validates and normalises it, and asks for the claim; or answers.
    pub fn begin(
        gateway: &Gateway,
        inbound: Inbound<'_>,
        received_at: Timestamp,
        now: Timestamp,
    ) -> (Self, Effect) {
        let mut facts = Facts {
            received_at,
            event_id: None,
            record: Record::default(),
        };
        match prepare(gateway, inbound, &mut facts, now) {
            Err(outcome) => facts.end(outcome, None, now),
            Ok(pending) => match gateway.agreed.get() {
                Some(agreed) => facts.ask_for_claim(Box::new(pending), agreed, now),
                None => {
                    let request = Request::Layout(LayoutRequest {
                        shards: gateway.config.shards,
                        previous: gateway.config.previous_shards,
                        window: gateway.config.longest_window,
                    });
                    let state = State::Agreeing(Box::new(pending));
                    facts.ask(LAYOUT_OBJECT.to_owned(), request, state, now)
                }
            },
        }
    }

    /// Goes on with what came of the last effect.
    pub fn resume(self, gateway: &Gateway, done: &Done<'_>, now: Timestamp) -> (Self, Effect) {
        let Self { state, mut facts } = self;
        match state {
            State::Agreeing(pending) => match facts.reply(done) {
                Some(Reply::Layout(Ok(agreed))) => {
                    gateway.agreed.set(Some(agreed));
                    facts.ask_for_claim(pending, agreed, now)
                }
                Some(Reply::Layout(Err(refused))) => {
                    facts.record.recorded_shards = Some(refused.recorded);
                    facts.record.wait_seconds = Some(refused.wait.as_secs());
                    facts.end(Outcome::ShardsChanged, None, now)
                }
                _ => facts.end(Outcome::StoreUnavailable, None, now),
            },
            State::Moving(pending, agreed) => match facts.reply(done) {
                Some(Reply::Moved(pages)) => facts.claim(pending, agreed, Some(pages), now),
                Some(Reply::Busy(wait)) => facts.end(Outcome::InFlight, Some(wait), now),
                _ => facts.end(Outcome::StoreUnavailable, None, now),
            },
            State::Claiming(pending, agreed) => match facts.reply(done) {
                Some(Reply::Claim(Claim::Granted { fence, state })) => {
                    facts.record.sequence = Some(fence.0);
                    facts.deliver(gateway, *pending, agreed.objects, fence, state, now)
                }
                Some(Reply::Claim(Claim::Duplicate(_))) => facts.end(Outcome::Duplicate, None, now),
                Some(Reply::Claim(Claim::InFlight { retry_after })) => {
                    facts.end(Outcome::InFlight, Some(retry_after), now)
                }
                Some(Reply::Claim(Claim::Moved)) => {
                    // The number of objects was changed since this isolate asked.
                    gateway.agreed.set(None);
                    facts.end(Outcome::StoreUnavailable, None, now)
                }
                _ => facts.end(Outcome::StoreUnavailable, None, now),
            },
            State::Delivering(lease, destination) => {
                let destination = destination_at(&gateway.config, destination);
                facts.record.destination = destination.map(|d| d.id.clone());
                match done {
                    Done::Answered {
                        status,
                        retry_after,
                    } => {
                        facts.record.origin_status = Some(*status);
                        let retry_after = retry_after
                            .and_then(|value| parse_retry_after(value, now))
                            .map(|span| span.min(MAX_RETRY_AFTER));
                        let permanent = destination.map_or(&[][..], |d| &d.permanent);
                        match classify(*status, permanent) {
                            Fate::Delivered => facts.commit(lease, Again::Possible, now),
                            Fate::Rejected => {
                                facts.release(lease, Outcome::DeliveryRejected, retry_after, now)
                            }
                            Fate::Failed => {
                                facts.release(lease, Outcome::DeliveryFailed, retry_after, now)
                            }
                        }
                    }
                    // The origin may have it: the lease is left to lapse, so that a retry doesn't overlap.
                    Done::TimedOut => facts.end(Outcome::DeliveryTimedOut, Some(LEASE), now),
                    _ => facts.release(lease, Outcome::DeliveryFailed, None, now),
                }
            }
            State::Committing(lease, again) => {
                // Delivered is delivered: whatever comes of the commit is reported, and the answer stands.
                match facts.reply(done) {
                    Some(Reply::Settled(Ok(()))) => {}
                    Some(Reply::Settled(Err(_))) => facts.record.commit = Some("lease_lost"),
                    _ if again == Again::Possible && !facts.left(now).is_zero() => {
                        return facts.commit(lease, Again::No, now);
                    }
                    _ => facts.record.commit = Some("commit_failed"),
                }
                facts.end(Outcome::Delivered, None, now)
            }
            State::Releasing(outcome, retry_after) => {
                match facts.reply(done) {
                    Some(Reply::Settled(Ok(()))) => {}
                    Some(Reply::Settled(Err(_))) => facts.record.release = Some("lease_lost"),
                    _ => facts.record.release = Some("release_failed"),
                }
                facts.end(outcome, retry_after, now)
            }
            State::Ended => facts.end(Outcome::InternalError, None, now),
        }
    }
}

/// Everything before the claim: pure, and nothing of it is remembered.
fn prepare(
    gateway: &Gateway,
    inbound: Inbound<'_>,
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
    if inbound.method != "POST" {
        return Err(Outcome::MethodNotAllowed);
    }
    let source = source.as_ref().ok_or(Outcome::SourceMisconfigured)?;
    let provider = source.provider;
    facts.record.provider = Some(provider.name());
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
    // Without a signature header the shell doesn't read the body.
    facts.record.body_bytes = inbound.signature.map(|_| inbound.body.len());

    let signature = inbound.signature;
    let verified = source
        .scheme
        .authenticate(signature, inbound.body, now)
        .map_err(|refusal| facts.refused(refusal))?;
    facts.record.key_id = Some(verified.proof().key.as_str().to_owned());
    facts.record.skew_seconds = verified.proof().stale_by;

    let scratch = Scratch::default();
    let context = Context {
        source: &source.id,
        expected: &source.expected,
        phi: &source.phi,
        scratch: &scratch,
        traceparent: inbound
            .traceparent
            .filter(|value| well_formed_traceparent(value)),
    };
    let decoded = provider
        .read(&verified, context)
        .map_err(|(refusal, event_id)| facts.undeliverable(refusal, &source.id, event_id))?;
    facts.event_id = Some(decoded.id.to_string());
    facts.record.set_event_type(&decoded.attributes.rxeventtype);
    facts.record.r#type = Some(decoded.attributes.r#type);
    facts.record.notes = decoded.notes;
    facts.record.unknown = decoded.unknown.map(|why| match why {
        Unknown::EventType => "event_type",
        Unknown::ApiVersion => "api_version",
    });
    Ok(pend(
        config,
        source,
        &decoded,
        signature,
        verified.body(),
        facts,
    ))
}

fn pend(
    config: &Config,
    source: &Source,
    decoded: &Decoded<'_>,
    signature: Option<&str>,
    body: &[u8],
    facts: &mut Facts,
) -> Pending {
    let digest = event_digest(&source.id, &decoded.id);
    let attributes = &decoded.attributes;
    // An event without an entity is its own.
    let subject = decoded.entity.as_deref().map_or_else(
        || Cow::Owned(format!("event/{}", decoded.id)),
        Cow::Borrowed,
    );
    let entity = EntityKey::of(&source.id, &subject);
    let destination = choose(
        &source.routes,
        source.destination,
        attributes.r#type,
        attributes.rxpharmacy.as_deref(),
        attributes.rxbranch.as_deref(),
    );
    let format = destination_at(config, destination).map_or(Format::Canonical, |d| d.format);
    let payload = match format {
        Format::Canonical => {
            Payload::Canonical(Prepared::new(attributes, &decoded.data, body.len()))
        }
        Format::Original => Payload::Original {
            body: body.to_vec(),
            header: (
                source.provider.signature_header().to_owned(),
                signature.unwrap_or_default().to_owned(),
            ),
        },
    };
    facts.record.webhook_id = Some(webhook_id(&digest));
    facts.record.entity = Some(hex(&entity.0));
    Pending {
        entity,
        event: EventHash::of(&digest),
        step: decoded.step,
        window: source.window,
        destination,
        payload,
    }
}

impl Facts {
    fn ask_for_claim(
        self,
        pending: Box<Pending>,
        agreed: Agreed,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let Some(previous) = agreed.previous else {
            return self.claim(pending, agreed, None, now);
        };
        let request = Request::Move {
            entity: pending.entity,
            window: pending.window,
        };
        let object = previous.name(pending.entity);
        self.ask(object, request, State::Moving(pending, agreed), now)
    }

    fn claim(
        self,
        pending: Box<Pending>,
        agreed: Agreed,
        moved: Option<Vec<u8>>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let request = Request::Claim {
            entity: pending.entity,
            claim: ClaimRequest {
                event: pending.event,
                step: pending.step,
                lease: LEASE,
                window: pending.window,
            },
            moved,
        };
        let object = agreed.objects.name(pending.entity);
        self.ask(object, request, State::Claiming(pending, agreed), now)
    }

    fn deliver(
        self,
        gateway: &Gateway,
        pending: Pending,
        objects: Objects,
        fence: Fence,
        state: u8,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let lease = Lease {
            objects,
            entity: pending.entity,
            event: pending.event,
            fence,
            window: pending.window,
        };
        let left = self.left(now).saturating_sub(COMMIT_RESERVE);
        let destination = destination_at(&gateway.config, pending.destination);
        let (Some(destination), true) = (destination, left >= LEAST_DELIVERY) else {
            return self.release(lease, Outcome::StoreUnavailable, None, now);
        };
        let claimed = Claimed {
            sequence: Some(fence.0),
            state: EntityState::from_u8(state),
            deduped: true,
        };
        let delivery = delivery(
            destination,
            pending.payload,
            claimed,
            self.record.webhook_id.as_deref().unwrap_or_default(),
            left,
            now,
        );
        let machine = Machine {
            state: State::Delivering(lease, pending.destination),
            facts: self,
        };
        (machine, Effect::Deliver(Box::new(delivery)))
    }

    fn commit(self, lease: Lease, again: Again, now: Timestamp) -> (Machine, Effect) {
        let request = Request::Commit {
            entity: lease.entity,
            event: lease.event,
            fence: lease.fence,
            receipt: Receipt::Delivered,
            window: lease.window,
        };
        let object = lease.objects.name(lease.entity);
        self.ask(object, request, State::Committing(lease, again), now)
    }

    fn release(
        self,
        lease: Lease,
        outcome: Outcome,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let request = Request::Release {
            entity: lease.entity,
            event: lease.event,
            fence: lease.fence,
        };
        let object = lease.objects.name(lease.entity);
        self.ask(object, request, State::Releasing(outcome, retry_after), now)
    }

    fn ask(
        mut self,
        object: String,
        request: Request,
        state: State,
        now: Timestamp,
    ) -> (Machine, Effect) {
        self.record.store_calls += 1;
        let effect = Effect::Ask {
            object,
            request,
            timeout: self.left(now).min(ASK_TIMEOUT),
        };
        let machine = Machine { state, facts: self };
        (machine, effect)
    }

    /// An object's reply; `None` if there is none, or none that this version reads.
    fn reply(&mut self, done: &Done<'_>) -> Option<Reply> {
        let Done::Replied(bytes) = done else {
            return None;
        };
        let (reply, cost) = Reply::unpack(bytes).ok()?;
        self.record.rows_read += usize::try_from(cost.read).unwrap_or(0);
        self.record.rows_written += usize::try_from(cost.written).unwrap_or(0);
        Some(reply)
    }

    fn left(&self, now: Timestamp) -> Duration {
        now.until(self.received_at.after(DEADLINE))
    }

    fn refused(&mut self, refusal: SignatureRefusal) -> Outcome {
        match refusal {
            SignatureRefusal::Missing => Outcome::SignatureMissing,
            SignatureRefusal::Malformed => Outcome::SignatureMalformed,
            SignatureRefusal::Mismatch => Outcome::SignatureMismatch,
            SignatureRefusal::NoUsableKey => Outcome::SourceMisconfigured,
            SignatureRefusal::TimestampOutOfTolerance { skew, key } => {
                self.record.skew_seconds = Some(skew);
                self.record.key_id = Some(key.as_str().to_owned());
                Outcome::TimestampOutOfTolerance
            }
        }
    }

    fn undeliverable(
        &mut self,
        refusal: Refusal,
        source: &str,
        event_id: Option<String>,
    ) -> Outcome {
        let digest = event_id.as_deref().map(|id| event_digest(source, id));
        self.record.webhook_id = digest.as_ref().map(webhook_id);
        self.event_id = event_id;
        match refusal {
            Refusal::Malformed(why) => {
                self.record.problem = Some(why.name());
                Outcome::BodyMalformed
            }
            Refusal::Invalid(Invalid { path, problem }) => {
                self.record.problem = Some(problem);
                self.record.path = Some(path);
                Outcome::EventInvalid
            }
            Refusal::EnvironmentMismatch => Outcome::EnvironmentMismatch,
            Refusal::ProviderMismatch => Outcome::ProviderMismatch,
        }
    }

    fn end(
        mut self,
        outcome: Outcome,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let spec = outcome.spec();
        let mut record = std::mem::take(&mut self.record);
        let alarming = record.unknown.is_some() || record.commit.is_some();
        record.level = if alarming { Level::Error } else { spec.level }.name();
        record.code = spec.code;
        record.status = spec.status;
        record.duration_ms = now.0.saturating_sub(self.received_at.0);
        let retry_after = retry_after.or(spec.retry_after);
        let answer = Answer {
            status: spec.status,
            retry_after: retry_after.map(|span| span.as_millis().div_ceil(1000).max(1) as u64),
            body: answer_body(spec.code, self.event_id.as_deref()),
        };
        let machine = Machine {
            state: State::Ended,
            facts: self,
        };
        (machine, Effect::Answer(Box::new((answer, record))))
    }
}

fn delivery(
    destination: &Destination,
    payload: Payload,
    claimed: Claimed,
    id: &str,
    timeout: Duration,
    now: Timestamp,
) -> Delivery {
    let (body, content_type, original) = match payload {
        Payload::Canonical(prepared) => (
            prepared.finish(claimed),
            "application/cloudevents+json",
            None,
        ),
        Payload::Original { body, header } => (body, "application/json", Some(header)),
    };
    let signature = destination.keys.sign(id, now, &body);
    let ours = [
        ("content-type", content_type),
        ("user-agent", concat!("rxgate/", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", id),
        ("webhook-timestamp", &now.seconds().to_string()),
        ("webhook-signature", &signature),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let fixed = destination.headers.iter();
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Delivery {
        url: destination.url.clone(),
        headers: ours.into_iter().chain(original).chain(fixed).collect(),
        body,
        timeout,
    }
}

fn destination_at(config: &Config, place: usize) -> Option<&Destination> {
    config.destinations.get(place).and_then(Option::as_ref)
}

fn answer_body(code: &str, event_id: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        event_id: Option<&'a str>,
    }
    // Two strings: writing them can't fail.
    serde_json::to_string(&Body { code, event_id }).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("entity", &self.entity)
            .field("event", &self.event)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

//! One request's life, and one message's. No I/O, no clock: [`Machine::begin`], [`Machine::attempt`] and [`Machine::resume`] say what to do next.
//!
//! Read top-down. A request: authenticate → decode, validate, normalise → claim → deliver or enqueue or dead-letter → commit or release → answer. A message of our own
//! queue goes the same way from "decode" on, and ends acknowledged or to be tried again.

pub(crate) mod prepare;
mod steps;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use crate::auth::{Opened, Sealed, Unsealable};
use crate::config::{Config, DELIVERIES, Dedupe, Destination};
use crate::delivery::{Fate, MAX_AGE, MAX_ATTEMPTS, backoff, classify};
use crate::effect::{Done, Effect, Enqueue};
use crate::entity::{
    Agreed, Claim, Condition, EntityKey, EventHash, ExpectReply, Fence, LayoutRequest, Life,
    Objects, Receipt, Reply, Request, Step,
};
use crate::entropy::{Entropy, SEED_BYTES};
use crate::event::{Claimed, Prepared, State as EntityState};
use crate::inbound::Inbound;
use crate::letters::LetterReply;
use crate::outcome::Outcome;
use crate::parcel::{Nonce, Parcel, Reason};
use crate::provider::phil::Echo;
use crate::record::Record;
use crate::time::{Timestamp, parse_retry_after};

use prepare::Role;

/// From receipt to answer. Osigu hangs up after 10 s.
pub const DEADLINE: Duration = Duration::from_secs(9);
/// Outlives the deadline: no second holder starts while the first may still deliver.
pub const LEASE: Duration = Duration::from_secs(15);
/// For one attempt of a message. Nobody waits for it.
pub const MESSAGE_DEADLINE: Duration = Duration::from_secs(30);
/// Outlives that.
pub const MESSAGE_LEASE: Duration = Duration::from_secs(40);
/// The object that keeps the layout.
pub const LAYOUT_OBJECT: &str = "layout-v1";
/// Larger messages travel by reference: the platform takes 128,000 bytes, some of which are its own.
pub const MAX_MESSAGE_BYTES: usize = 120_000;
/// No message of a queue is older: the platform's longest retention, and a day.
pub const QUEUE_LIFE: Duration = Duration::from_secs(15 * 24 * 3600);

/// A message may be in a queue for 14 days, and after that in the dead-letter queue for as long.
const QUEUES_LIFE: Duration = Duration::from_secs(28 * 24 * 3600);
/// Of the deadline, kept for the commit.
const COMMIT_RESERVE: Duration = Duration::from_secs(1);
/// Of the deadline, kept for a queue to take what the origin didn't.
const ENQUEUE_RESERVE: Duration = Duration::from_millis(1500);
/// For a message that is given up, whatever was left of its own time.
const GIVE_UP: Duration = Duration::from_secs(4);
/// With less than this left a delivery isn't begun.
const LEAST_DELIVERY: Duration = Duration::from_millis(500);
/// No question to an object or a queue waits longer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Where KV is all there is.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Where KV is a short cut.
const GLANCE_TIMEOUT: Duration = Duration::from_millis(250);
/// An origin's `Retry-After` is heeded and passed on up to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// KV may go on saying what it said for about a minute after it has forgotten it, so it is made to forget earlier than the object.
const CACHE_LAG: Duration = Duration::from_secs(120);
/// KV keeps nothing for less.
const LEAST_CACHED: Duration = Duration::from_secs(60);
/// An instance remembers so many events that it has put into the edge cache.
const NOTED: usize = 256;

/// What the machines of one isolate share.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    agreed: Cell<Option<Agreed>>,
    entropy: Entropy,
    noted: RefCell<VecDeque<EventHash>>,
}

impl Gateway {
    /// With this configuration. The seed has to be random, and nobody else's.
    pub fn new(config: Config, seed: &[u8; SEED_BYTES]) -> Self {
        Self {
            config,
            agreed: Cell::new(None),
            entropy: Entropy::new(seed),
            noted: RefCell::default(),
        }
    }

    /// What to ask before the first claim: which objects hold the entities.
    pub(crate) fn layout_request(&self) -> Request {
        let config = &self.config;
        let longest = if has_own_queue(self) {
            config.longest_window.max(QUEUE_LIFE)
        } else {
            config.longest_window
        };
        Request::Layout(LayoutRequest {
            shards: config.shards,
            previous: config.previous_shards,
            window: longest,
        })
    }

    /// Which objects hold the entities, if this isolate has asked.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        self.agreed.get()
    }

    /// What came of asking; `None`: it has to be asked again.
    pub(crate) fn agree(&self, agreed: Option<Agreed>) {
        self.agreed.set(agreed);
    }

    /// A frame of our own, as the delivery queue carries it.
    pub(crate) fn seal_delivery(&self, parcel: &Parcel) -> Option<Vec<u8>> {
        self.seal(Sealed::Delivery, prepare::FRAME_FRONT, &parcel.pack())
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Random bytes.
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    fn seal(&self, what: Sealed, front: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.config.seal_keys.as_ref()?;
        keys.seal(what, self.entropy.bytes()?, front, plain)
    }

    /// Beyond a rate limit one line in so many is written; whether this is one.
    pub(crate) fn samples(&self) -> (u16, bool) {
        let sample = self.config.sample.max(1);
        (sample, self.entropy.number().is_multiple_of(sample))
    }

    pub(crate) fn open(&self, what: Sealed, sealed: &[u8]) -> Result<Opened, Unsealable> {
        let keys = self.config.seal_keys.as_ref();
        keys.ok_or(Unsealable::KeyUnknown)?.open(what, sealed)
    }

    /// Whether this instance is the first time at this event.
    fn notes(&self, event: EventHash) -> bool {
        let mut noted = self.noted.borrow_mut();
        if noted.contains(&event) {
            return false;
        }
        if noted.len() >= NOTED {
            noted.pop_front();
        }
        noted.push_back(event);
        true
    }

    fn destination(&self, place: usize) -> Option<&Destination> {
        self.config.destinations.get(place).and_then(Option::as_ref)
    }
}

/// A message of a queue, as the platform hands it over.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The name of its queue.
    pub queue: &'a str,
    /// What was sent.
    pub body: &'a [u8],
    /// Which attempt this is, counted from 1.
    pub attempt: u16,
    /// When it was sent.
    pub sent_at: Timestamp,
}

impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("queue", &self.queue)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("attempt", &self.attempt)
            .field("sent_at", &self.sent_at)
            .finish()
    }
}

/// A dead letter that is to be delivered after all.
pub(crate) struct Redelivery<'a> {
    /// What was in it.
    pub(crate) parcel: Parcel,
    /// The seal that it was in.
    pub(crate) opened: &'a Opened,
    /// Names this redelivery.
    pub(crate) nonce: Nonce,
    /// Whether it is the letter's first.
    pub(crate) is_first: bool,
    /// Whether there is a queue to go by.
    pub(crate) queued: bool,
}

/// One request's life, or one message's.
#[derive(Debug)]
pub struct Machine {
    state: State,
    facts: Facts,
}

#[derive(Debug)]
enum State {
    /// The body of a message, which travels by reference.
    Fetching(Role, [u8; 32]),
    /// What KV knows of the event.
    Looking(Box<Pending>),
    Agreeing(Box<Pending>),
    /// During a change of shards: whether the object before expects it.
    Expecting(Box<Pending>, Agreed),
    Moving(Box<Pending>, Agreed),
    Claiming(Box<Pending>, Agreed),
    Delivering(Hold, usize, Box<Parcel>),
    /// Something large on its way into KV, before its pointer is sent.
    Storing(Box<Shipment>),
    Sending(Box<Shipment>),
    Committing(Hold, Outcome, Receipt, Again),
    Releasing(Outcome, Option<Duration>),
    /// The edge cache is told of a duplicate.
    Noting,
    /// The rate limit is asked whether to log a refusal.
    Limiting(Outcome),
    /// A dead letter on its way into its object.
    Keeping,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Possible,
    No,
}

/// What is known so far, for the end and the log.
struct Facts {
    received_at: Timestamp,
    deadline: Timestamp,
    event_id: Option<String>,
    /// What is echoed, if it is answered in PHIL's form.
    phil: Option<Echo>,
    /// Why it is, or was, a dead letter.
    reason: Option<Reason>,
    /// What a sender that asks who is there wants to hear.
    challenge: Option<String>,
    record: Record,
    /// What it is about, if it is about a message.
    message: Option<Handed>,
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("received_at", &self.received_at)
            .field("deadline", &self.deadline)
            .field("record", &self.record)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// A message in the works.
struct Handed {
    /// `None`: of a queue that isn't ours, or a dead letter that goes without a queue.
    role: Option<Role>,
    attempt: u16,
    sent_at: Timestamp,
    /// The message itself, if it may have to be given up, and until it was.
    raw: Option<Vec<u8>>,
    /// It didn't say in which round of its entity it is, and was claimed in one: nobody else knows which that was.
    learnt_round: bool,
}

impl Handed {
    /// Whether it isn't to be tried again: what is in a queue for too long, is deleted there.
    fn is_exhausted(&self, now: Timestamp) -> bool {
        self.attempt >= MAX_ATTEMPTS || self.sent_at.until(now) >= MAX_AGE
    }
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handed")
            .field("role", &self.role)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Something that is ready but for its claim.
struct Pending {
    dedupe: Dedupe,
    /// Whether the sender is known to send again what isn't taken.
    retries: bool,
    entity: EntityKey,
    event: EventHash,
    /// The id without its round, if the id is derived and its entity has rounds.
    base_id: Option<String>,
    /// Of the request that sent the message.
    fence: Fence,
    step: Step,
    /// On what terms it is claimed, besides its own.
    condition: Option<Condition>,
    /// Whether it is kept from its destination if it turns out to be superseded.
    withholds: bool,
    window: Duration,
    goods: Goods,
    parcel: Parcel,
}

/// What is to be handed over.
enum Goods {
    /// An event, to a destination. It isn't written if its destination doesn't need it.
    Event(usize, Option<Prepared>),
    /// What can't be delivered, to the dead-letter queue.
    Letter(Reason),
}

impl Goods {
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Letter(reason) => Some(*reason),
            Self::Event(..) => None,
        }
    }
}

/// What is held of an event while it is handed over. Not `Clone`: spent by commit or release.
#[derive(Debug)]
enum Hold {
    /// The lease of the entity's object.
    Object {
        objects: Objects,
        entity: EntityKey,
        event: EventHash,
        fence: Fence,
        window: Duration,
    },
    /// Nothing: KV is told afterwards.
    Kv {
        key: String,
        entity: EntityKey,
        event: EventHash,
        window: Duration,
    },
    /// Nothing, and nobody is told.
    Nothing,
}

/// Something on its way to a queue, and how things end after it.
struct Shipment {
    hold: Hold,
    message: Enqueue,
    receipt: Receipt,
    outcome: Outcome,
    otherwise: Otherwise,
    /// A dead letter that has just learnt its round: tried again as the message that it was, it might be of a later one.
    knows: Option<Box<Parcel>>,
}

/// What becomes of the hold if the queue doesn't take it.
#[derive(Clone, Copy, Debug)]
enum Otherwise {
    /// Given back, for the next claim to be granted at once.
    Release(Outcome, Option<Duration>),
    /// Left to lapse: the origin may still be at work.
    Leave(Outcome, Duration),
}

impl Otherwise {
    /// How long a message is held back that takes its place.
    fn delay(&self) -> Duration {
        match self {
            Self::Release(_, wish) => wish.unwrap_or_default().max(backoff(1, 0)),
            Self::Leave(_, lease) => *lease,
        }
    }
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
            deadline: received_at.after(DEADLINE),
            event_id: None,
            phil: None,
            reason: None,
            challenge: None,
            record: Record::default(),
            message: None,
        };
        match prepare::request(gateway, inbound, received_at, &mut facts, now) {
            Err(outcome) => facts.refuse(gateway, outcome, now),
            Ok(pending) => facts.start(gateway, Box::new(pending), now),
        }
    }

    /// Takes a message of one of our own queues.
    pub fn attempt(gateway: &Gateway, message: Message<'_>, now: Timestamp) -> (Self, Effect) {
        let role = prepare::role(gateway, message.queue);
        let mut facts = Facts {
            received_at: now,
            deadline: now.after(MESSAGE_DEADLINE),
            event_id: None,
            phil: None,
            reason: None,
            challenge: None,
            record: Record::default(),
            message: Some(Handed {
                role,
                attempt: message.attempt,
                sent_at: message.sent_at,
                raw: None,
                learnt_round: false,
            }),
        };
        if let Some(handed) = &mut facts.message
            && (role == Some(Role::Keep) || handed.is_exhausted(now))
        {
            handed.raw = Some(message.body.to_vec());
        }
        facts.record.attempt = Some(message.attempt);
        match role {
            None => facts.end(gateway, Outcome::QueueUnknown, None, now),
            Some(role) => match prepare::unpack(gateway, message.body) {
                prepare::Unpacked::Frame(frame) => facts.opened(gateway, role, frame, now),
                prepare::Unpacked::Pointer(hash) => {
                    let key = prepare::body_key(&hash);
                    facts.get(key, ASK_TIMEOUT, State::Fetching(role, hash), now)
                }
                prepare::Unpacked::Nothing => facts.unreadable(gateway, role, None, now),
            },
        }
    }

    /// Sends a dead letter on its way again: by our queue, or to its origin at once. It goes around the claim that made it a dead letter, under a nonce of its own. What was
    /// refused since nobody expected it was never claimed as the event that it is: the first time it is claimed as that, so that it isn't delivered once more if it comes again.
    pub(crate) fn redeliver(
        gateway: &Gateway,
        redelivery: Redelivery<'_>,
        now: Timestamp,
    ) -> (Self, Effect) {
        let Redelivery {
            mut parcel,
            opened,
            nonce,
            is_first,
            queued,
        } = redelivery;
        parcel.nonce = Some(nonce);
        parcel.claimed = None;
        let unclaimed = Some(Reason::ExpectationUnknown);
        let is_unclaimed = is_first && parcel.label.reason == unclaimed;
        parcel.label.reason = unclaimed.filter(|_| is_unclaimed);
        let facts = Facts {
            received_at: now,
            deadline: now.after(DEADLINE),
            event_id: None,
            phil: None,
            reason: None,
            challenge: None,
            record: Record::default(),
            message: Some(Handed {
                role: None,
                attempt: 1,
                sent_at: now,
                raw: None,
                learnt_round: false,
            }),
        };
        if queued {
            let otherwise = Otherwise::Release(Outcome::EnqueueFailed, None);
            let (hold, none) = (Hold::Nothing, Duration::ZERO);
            return facts.enqueue_parcel(gateway, hold, parcel, none, otherwise, now);
        }
        facts.deliver_opened(gateway, parcel, opened, now)
    }

    /// Goes on with what came of the last effect.
    pub fn resume(self, gateway: &Gateway, done: &Done<'_>, now: Timestamp) -> (Self, Effect) {
        let Self { state, mut facts } = self;
        match state {
            State::Fetching(role, hash) => match done {
                Done::Replied(frame) if prepare::is_hash(&hash, frame) => {
                    facts.opened(gateway, role, frame, now)
                }
                // What isn't there may be on its way: KV remembers for a while that it had nothing.
                _ => facts.missing(gateway, role, now),
            },
            State::Looking(pending) => match (done, pending.dedupe) {
                (Done::Replied(_), _) => {
                    facts.reason = pending.goods.reason();
                    facts.end(gateway, Outcome::Duplicate, None, now)
                }
                (_, Dedupe::Exact { .. }) => facts.ask_for_claim(gateway, pending, now),
                (_, Dedupe::Kv) => {
                    let deduped = matches!(done, Done::Absent);
                    facts.go_on_unclaimed(gateway, *pending, deduped, now)
                }
            },
            State::Agreeing(pending) => match facts.reply(done) {
                Some(Reply::Layout(Ok(agreed))) => {
                    gateway.agreed.set(Some(agreed));
                    facts.claim_at(pending, agreed, now)
                }
                Some(Reply::Layout(Err(refused))) => {
                    facts.record.recorded_shards = Some(refused.recorded);
                    facts.record.wait_seconds = Some(refused.wait.as_secs());
                    facts.unclaimed(gateway, *pending, Outcome::ShardsChanged, now)
                }
                _ => facts.unclaimed(gateway, *pending, Outcome::StoreUnavailable, now),
            },
            State::Moving(pending, agreed) => match facts.reply(done) {
                Some(Reply::Moved(pages)) => facts.claim(pending, agreed, Some(pages), now),
                Some(Reply::Busy(wait)) if pending.retries || facts.message.is_some() => {
                    facts.end(gateway, Outcome::InFlight, Some(wait), now)
                }
                // The leases are those of other events, as likely as not.
                Some(Reply::Busy(_)) => facts.unclaimed(gateway, *pending, Outcome::InFlight, now),
                _ => facts.unclaimed(gateway, *pending, Outcome::StoreUnavailable, now),
            },
            State::Claiming(mut pending, agreed) => match facts.reply(done) {
                Some(Reply::Claim(Claim::Granted {
                    fence,
                    event,
                    round,
                    state,
                    ordering,
                })) => {
                    facts.record.sequence = Some(fence.0);
                    facts.record.ordering = Some(ordering.name());
                    let hold = Hold::Object {
                        objects: agreed.objects,
                        entity: pending.entity,
                        event,
                        fence,
                        window: pending.window,
                    };
                    if pending.step.life.has_rounds() {
                        if let Some(handed) = &mut facts.message {
                            handed.learnt_round = pending.parcel.round.is_none();
                        }
                        pending.parcel.round = Some(round);
                    }
                    let claimed = Claimed {
                        sequence: Some(fence.0),
                        // What stands at no place of a life says nothing of it.
                        state: EntityState::from_u8(state)
                            .filter(|_| pending.step.life != Life::None),
                        ordering,
                        round: facts.name_round(&mut pending, round),
                        deduped: true,
                    };
                    facts.hand_over(gateway, *pending, hold, claimed, now)
                }
                Some(Reply::Claim(Claim::Duplicate {
                    remembered, round, ..
                })) => {
                    facts.name_round(&mut pending, round);
                    facts.duplicate(gateway, &pending, remembered, now)
                }
                Some(Reply::Claim(Claim::InFlight { retry_after })) => {
                    facts.end(gateway, Outcome::InFlight, Some(retry_after), now)
                }
                Some(Reply::Claim(Claim::Moved)) => {
                    // The number of objects was changed since this isolate asked.
                    gateway.agreed.set(None);
                    facts.unclaimed(gateway, *pending, Outcome::StoreUnavailable, now)
                }
                Some(Reply::Unmet) => facts.unmet(gateway, pending, agreed, now),
                _ => facts.unclaimed(gateway, *pending, Outcome::StoreUnavailable, now),
            },
            State::Expecting(pending, agreed) => match facts.reply(done) {
                Some(Reply::Expect(ExpectReply::Read { expected, .. })) => {
                    facts.expected(pending, agreed, expected.is_some(), now)
                }
                _ => facts.unclaimed(gateway, *pending, Outcome::StoreUnavailable, now),
            },
            State::Delivering(hold, place, parcel) => {
                facts.delivered(gateway, hold, place, *parcel, done, now)
            }
            State::Storing(shipment) => match done {
                Done::Ok => facts.send(*shipment, now),
                _ => facts.not_shipped(gateway, *shipment, now),
            },
            State::Sending(shipment) => match done {
                Done::Ok => {
                    let Shipment {
                        hold,
                        outcome,
                        receipt,
                        ..
                    } = *shipment;
                    facts.commit(gateway, hold, outcome, receipt, Again::Possible, now)
                }
                _ => facts.not_shipped(gateway, *shipment, now),
            },
            State::Committing(hold, outcome, receipt, again) => {
                // What was handed over, was handed over: whatever comes of the commit is reported, and the answer stands.
                let settled = match (&hold, done) {
                    (Hold::Kv { .. }, Done::Ok) => true,
                    (Hold::Object { .. }, _) => match facts.reply(done) {
                        Some(Reply::Settled(Ok(()))) => true,
                        Some(Reply::Settled(Err(_))) => {
                            facts.record.commit = Some("lease_lost");
                            true
                        }
                        _ => false,
                    },
                    _ => false,
                };
                if !settled && again == Again::Possible && !facts.left(now).is_zero() {
                    return facts.commit(gateway, hold, outcome, receipt, Again::No, now);
                }
                if !settled {
                    facts.record.commit = Some("commit_failed");
                }
                facts.end(gateway, outcome, None, now)
            }
            State::Releasing(outcome, retry_after) => {
                match facts.reply(done) {
                    Some(Reply::Settled(Ok(()))) => {}
                    Some(Reply::Settled(Err(_))) => facts.record.release = Some("lease_lost"),
                    _ => facts.record.release = Some("release_failed"),
                }
                facts.end(gateway, outcome, retry_after, now)
            }
            State::Noting => facts.end(gateway, Outcome::Duplicate, None, now),
            State::Limiting(outcome) => {
                let (sample, is_sample) = gateway.samples();
                let limited = matches!(done, Done::Limited);
                facts.record.sampled = limited.then_some(sample);
                let logged = !limited || is_sample;
                facts.answer(outcome, None, logged, now)
            }
            State::Keeping => match facts.reply(done) {
                Some(Reply::Letters(LetterReply::Kept)) => {
                    facts.end(gateway, Outcome::DeadLetterKept, None, now)
                }
                _ => facts.end(gateway, Outcome::StoreUnavailable, None, now),
            },
            State::Ended => facts.end(gateway, Outcome::InternalError, None, now),
        }
    }
}

impl Facts {
    /// What an origin made of it.
    fn delivered(
        mut self,
        gateway: &Gateway,
        hold: Hold,
        place: usize,
        parcel: Parcel,
        done: &Done<'_>,
        now: Timestamp,
    ) -> (Machine, Effect) {
        let origin = self.origin(gateway, place);
        match done {
            Done::Answered {
                status,
                retry_after,
            } => {
                self.record.origin_status = Some(*status);
                let retry_after = retry_after
                    .and_then(|value| parse_retry_after(value, now))
                    .map(|span| span.min(MAX_RETRY_AFTER));
                let permanent = origin.map_or(&[][..], |origin| &origin.permanent);
                match classify(*status, permanent) {
                    Fate::Delivered => {
                        let (outcome, receipt) = (Outcome::Delivered, Receipt::Delivered);
                        self.commit(gateway, hold, outcome, receipt, Again::Possible, now)
                    }
                    Fate::Rejected => {
                        self.dead_letter(gateway, hold, parcel, Reason::DeliveryRejected, now)
                    }
                    Fate::Failed => self.not_delivered(
                        gateway,
                        hold,
                        place,
                        parcel,
                        Otherwise::Release(Outcome::DeliveryFailed, retry_after),
                        now,
                    ),
                }
            }
            // The origin may have it: the lease is left to lapse, so that the next attempt doesn't overlap.
            Done::TimedOut => {
                let lease = self.lease();
                let otherwise = Otherwise::Leave(Outcome::DeliveryTimedOut, lease);
                self.not_delivered(gateway, hold, place, parcel, otherwise, now)
            }
            _ => {
                let otherwise = Otherwise::Release(Outcome::DeliveryFailed, None);
                self.not_delivered(gateway, hold, place, parcel, otherwise, now)
            }
        }
    }
}

/// Whether what an origin of this gateway doesn't take can be enqueued.
fn has_own_queue(gateway: &Gateway) -> bool {
    gateway.config.bindings.has_queue(DELIVERIES)
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

impl std::fmt::Debug for Shipment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipment")
            .field("hold", &self.hold)
            .field("message", &self.message)
            .field("receipt", &self.receipt)
            .field("outcome", &self.outcome)
            .field("otherwise", &self.otherwise)
            .finish()
    }
}

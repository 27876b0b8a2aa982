//! The sans-I/O core under a seeded, deterministic simulation: one number decides the settings, the events, the schedule, the clock and every fault, so a seed that fails once
//! fails always. `scripts/sim` runs a million; `scripts/sim --seed N` says what happened in one.
//!
//! What is simulated: senders that retry by their published rule or never, that hang up, and that send twice at once; isolates that die between any two steps; objects that fail
//! before or after they saved, or never answer; KV that is stale by a minute; queues that repeat and reorder, and may have what they refused; origins that take a request and never
//! say so; a change of the number of shards. The driver is that of the other native tests.

#![allow(dead_code, reason = "the driver has more than is used here")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "what goes wrong here is a failure of the test"
)]

#[path = "../it/driver.rs"]
mod driver;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use rxgate::config::{Config, DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::webhook_id;
use rxgate::effect::{Effect, Verdict};
use rxgate::entity::{Claim, EntityKey, EventHash, Ordering, event_digest};
use rxgate::machine::Gateway;
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use driver::{
    Ask, Fault, Flight, Look, Origin, Sent, Step, Take, World, answers, bindings, body, secrets,
    set, settings,
};

const CUSTOMERS: &str = "CLINIC_EVENTS";
/// The platform gives up a message after so many tries, and moves it to the dead letters.
const MAX_TRIES: u16 = 101;
/// Nothing fails any more after this.
const FAULTS_END: Duration = Duration::from_secs(6 * 3600);
/// Osigu: "up to 72 hours".
const RETRIES: [u64; 10] = [
    5, 60, 300, 1_800, 7_200, 21_600, 43_200, 43_200, 43_200, 86_400,
];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    /// Once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % most)
    }
}

/// How events get to their destination, and how they are told from duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Direct,
    Fallback,
    Ours,
    Customers,
    Kv,
    Cached,
    /// The sender may never retry.
    NoRetries,
}

const ROADS: [Road; 7] = [
    Road::Direct,
    Road::Fallback,
    Road::Ours,
    Road::Customers,
    Road::Kv,
    Road::Cached,
    Road::NoRetries,
];

fn gateway(road: Road, shards: (u32, Option<u32>), rng: &mut Rng) -> Gateway {
    let mut vars = settings();
    set(&mut vars, "RXGATE.shards", json!(shards.0));
    if let Some(before) = shards.1 {
        set(&mut vars, "RXGATE.previous_shards", json!(before));
    }
    match road {
        Road::Direct | Road::Fallback => {}
        Road::Ours => set(&mut vars, "DESTINATION_ORIGIN.delivery", json!("queue")),
        Road::Customers => vars["DESTINATION_ORIGIN"] = json!({ "queue": CUSTOMERS }),
        Road::Kv => set(&mut vars, "SOURCE_OSIGU.dedupe", json!("kv")),
        Road::Cached => set(&mut vars, "SOURCE_OSIGU.edge_cache", json!(true)),
        Road::NoRetries => set(&mut vars, "SOURCE_OSIGU.retry_policy", json!("unknown")),
    }
    let queues: &[&str] = match road {
        Road::Direct => &[],
        _ => &[DELIVERIES, CUSTOMERS],
    };
    let config = Config::parse(vars.as_object().unwrap(), &secrets(), bindings(queues));
    assert_eq!(config.faults, []);
    let mut seed = [0; 32];
    seed.chunks_mut(8)
        .for_each(|part| part.copy_from_slice(&rng.next().to_be_bytes()));
    Gateway::new(config, &seed)
}

/// One event of one authorization's life.
struct Event {
    kind: &'static str,
    text: String,
    id: String,
    hash: EventHash,
    /// When its sender sends it next, and for the how-manieth time.
    due: Option<Timestamp>,
    sent: usize,
    acknowledged: bool,
    /// A holder that delivered it has said so.
    settled: bool,
    /// Holders that the origin took it from, and that couldn't say so.
    unknown: usize,
}

/// A message of a queue.
#[derive(Clone)]
struct Message {
    sent: Sent,
    due: Timestamp,
    tries: u16,
    /// Somebody has it.
    is_out: bool,
}

#[derive(Clone, Copy)]
enum What {
    Request(usize),
    Message(usize),
}

struct UnderWay {
    what: What,
    flight: Flight,
    since: Timestamp,
    /// How often the origin took it from this holder.
    taken: usize,
    /// Which event that was.
    event: Option<usize>,
    /// Its sender has gone.
    hung_up: bool,
}

struct Sim {
    rng: Rng,
    road: Road,
    world: World,
    events: Vec<Event>,
    messages: BTreeMap<usize, Message>,
    next_message: usize,
    under_way: Vec<UnderWay>,
    enqueued: Vec<String>,
    /// Of each granted claim, in their order: whose, which, the fence, the mark.
    grants: Vec<(EntityKey, EventHash, u64, Ordering, u8)>,
    log: bool,
    steps: usize,
    moved: bool,
    /// Whether senders are impatient and isolates are slow: then holders overlap more often than anything fails.
    is_crowded: bool,
}

impl Sim {
    fn new(seed: u64, log: bool) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED);
        let road = rng.pick(&ROADS);
        let is_crowded = rng.once_in(3);
        let world = World::of(gateway(road, (4, None), &mut rng));
        let kinds = [
            ("authorization.created", r#","authorization_code":"AUTH-1""#),
            ("authorization.updated", ""),
            ("authorization.voided", ""),
        ];
        let mut events = Vec::new();
        for entity in 0..=rng.below(2) {
            for (kind, more) in kinds {
                if rng.once_in(4) {
                    continue;
                }
                let id = format!("evt_{}", events.len());
                let data = format!(r#"{{"authorization_id":"auth_{entity}"{more}}}"#);
                let digest = event_digest("osigu", &id);
                let due = Some(world.now.after(rng.millis(20_000)));
                events.push(Event {
                    kind,
                    text: body(&id, kind, &data),
                    id: webhook_id(&digest),
                    hash: EventHash::of(&digest),
                    due,
                    sent: 0,
                    acknowledged: false,
                    settled: false,
                    unknown: 0,
                });
            }
        }
        Self {
            rng,
            road,
            world,
            events,
            messages: BTreeMap::new(),
            next_message: 0,
            under_way: Vec::new(),
            enqueued: Vec::new(),
            grants: Vec::new(),
            log,
            steps: 0,
            moved: false,
            is_crowded,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.log {
            let at = self.world.now.0 - driver::START.0;
            eprintln!("{at:>9} ms  {}", what());
        }
    }

    fn is_faulty(&self) -> bool {
        self.world.now < driver::START.after(FAULTS_END)
    }

    fn run(&mut self) {
        loop {
            self.steps += 1;
            assert!(self.steps < 20_000, "it never ends");
            let now = self.world.now;
            let due: Vec<usize> = (0..self.events.len())
                .filter(|&n| self.events[n].due.is_some_and(|at| at <= now))
                .collect();
            let messages: Vec<usize> = self
                .messages
                .iter()
                .filter(|(_, message)| !message.is_out && message.due <= now)
                .map(|(&n, _)| n)
                .collect();
            let choices = due.len() + messages.len() + self.under_way.len();
            if choices == 0 {
                let sends = self.events.iter().filter_map(|event| event.due);
                let handed = self.messages.values().filter(|m| !m.is_out).map(|m| m.due);
                let Some(next) = sends.chain(handed).min() else {
                    return;
                };
                self.world.now = next;
                continue;
            }
            if self.is_faulty() {
                self.disturb();
                if self.under_way.is_empty() && due.is_empty() && messages.is_empty() {
                    continue;
                }
            }
            // Deterministic: everything is in the order in which it came.
            let choice = self.rng.below(choices);
            if choice < due.len() {
                self.send(due[choice]);
            } else if choice < due.len() + messages.len() {
                self.hand_over(messages[choice - due.len()]);
            } else {
                let place = choice - due.len() - messages.len();
                if place < self.under_way.len() {
                    self.step(place);
                }
            }
            self.collect();
        }
    }

    /// What happens to everything at once.
    fn disturb(&mut self) {
        let (rarely, spans): (_, &[u64]) = if self.is_crowded {
            (6, &[3, 4_000, 7_000, 16_000, 41_000])
        } else {
            (12, &[3, 200, 1_500, 6_000, 16_000, 45_000])
        };
        if self.rng.once_in(rarely) {
            let span = self.rng.pick(spans);
            self.world.wait(Duration::from_millis(span));
        }
        if !self.under_way.is_empty() && self.rng.once_in(25) {
            let place = self.rng.below(self.under_way.len());
            let performed = self.rng.once_in(2);
            let dead = self.under_way.swap_remove(place);
            self.crash(dead, performed);
        }
        if self.rng.once_in(400) {
            self.say(|| "the isolate dies".to_owned());
            for dead in std::mem::take(&mut self.under_way) {
                self.crash(dead, false);
            }
            let shards = if self.moved { (3, Some(4)) } else { (4, None) };
            self.world.gateway = gateway(self.road, shards, &mut self.rng);
        }
        if !self.moved && self.road != Road::Kv && self.rng.once_in(800) {
            self.say(|| "another number of shards".to_owned());
            self.moved = true;
            self.world.gateway = gateway(self.road, (3, Some(4)), &mut self.rng);
        }
    }

    fn send(&mut self, n: usize) {
        self.say(|| format!("evt_{n} ({}) is sent", self.events[n].kind));
        let text = self.events[n].text.clone();
        let flight = self.world.begin(&text);
        let event = &mut self.events[n];
        event.sent += 1;
        event.due = None;
        let hung_up = self.is_faulty() && self.rng.once_in(20);
        self.fly(What::Request(n), flight, Some(n), hung_up);
        // Impatient senders send it twice.
        let patience = if self.is_crowded { 2 } else { 15 };
        if hung_up || (self.is_faulty() && self.rng.once_in(patience)) {
            self.again(n);
        }
    }

    /// Its sender tries again later, or gives up.
    fn again(&mut self, n: usize) {
        let never = self.road == Road::NoRetries && self.rng.once_in(2);
        let event = &mut self.events[n];
        let delay = RETRIES.get(event.sent.saturating_sub(1)).filter(|_| !never);
        let delay = delay.map(|seconds| Duration::from_secs(*seconds));
        event.due = delay.map(|delay| self.world.now.after(delay));
    }

    fn hand_over(&mut self, n: usize) {
        let message = self.messages.get_mut(&n).unwrap();
        message.tries += 1;
        message.is_out = true;
        let (sent, tries) = (message.sent.clone(), message.tries);
        self.say(|| format!("message {n} of {} is handed over, try {tries}", sent.queue));
        let flight = self.world.begin_attempt(&sent, tries);
        self.fly(What::Message(n), flight, None, false);
    }

    fn fly(&mut self, what: What, flight: Flight, event: Option<usize>, hung_up: bool) {
        let since = self.world.now;
        self.under_way.push(UnderWay {
            what,
            flight,
            since,
            taken: 0,
            event,
            hung_up,
        });
    }

    fn step(&mut self, place: usize) {
        let mut one = self.under_way.swap_remove(place);
        let waited = one.since.until(self.world.now);
        one.flight.shorten(waited);
        let late = timeout(&one.flight.effect) == Some(Duration::ZERO) && waited > Duration::ZERO;
        self.fault(&one.flight.effect, late);
        let delivers = matches!(one.flight.effect, Effect::Deliver(_));
        let (taken, reached) = (self.world.taken.len(), self.world.delivered.len());
        let stepped = self.world.step(one.flight);
        self.forget_faults();
        self.note_grants();
        if delivers && self.world.delivered.len() > reached {
            let delivery = self.world.delivered.last().unwrap();
            let id = driver::header(delivery, "webhook-id").to_owned();
            let n = self.events.iter().position(|event| event.id == id).unwrap();
            one.event = Some(n);
            let was_taken = self.world.taken.len() > taken;
            one.taken += usize::from(was_taken);
            self.say(|| {
                format!(
                    "evt_{n} reaches the origin{}",
                    if was_taken { ", which takes it" } else { "" }
                )
            });
            let settled = self.events[n].settled && self.road != Road::Kv;
            assert!(
                !settled,
                "evt_{n} is delivered again though it was delivered, and known to be"
            );
            self.check_event(n);
        }
        match stepped {
            Step::Next(flight) => self.under_way.push(UnderWay {
                flight,
                since: self.world.now,
                ..one
            }),
            Step::End(end) => {
                let What::Request(n) = one.what else {
                    panic!("a message was answered");
                };
                let status = end.answer.status;
                self.say(|| format!("evt_{n} is answered {status} {}", end.record.code));
                self.holder_ends(
                    one.event,
                    one.taken,
                    end.record.code,
                    end.record.commit.is_some(),
                );
                assert!(
                    matches!(status, 200 | 502..=504),
                    "{status} {}",
                    end.record.code
                );
                assert_ne!(end.record.code, "internal_error");
                if one.hung_up {
                    return;
                }
                if status == 200 {
                    self.events[n].acknowledged = true;
                    self.events[n].due = None;
                } else if !self.events[n].acknowledged && self.events[n].due.is_none() {
                    self.again(n);
                }
            }
            Step::Settled(settled) => {
                let What::Message(n) = one.what else {
                    panic!("a request was settled");
                };
                let code = settled.record.code;
                self.say(|| format!("message {n}: {code}, {:?}", settled.verdict));
                self.holder_ends(one.event, one.taken, code, settled.record.commit.is_some());
                match settled.verdict {
                    Verdict::Ack => {
                        self.messages.remove(&n);
                    }
                    Verdict::Retry(delay) => self.comes_again(n, delay),
                }
            }
        }
    }

    /// A holder has ended: whether it could say that it delivered.
    fn holder_ends(&mut self, event: Option<usize>, taken: usize, code: &str, uncommitted: bool) {
        let Some(n) = event.filter(|_| taken > 0) else {
            return;
        };
        let event = &mut self.events[n];
        if code == "delivered" && !uncommitted {
            event.settled = true;
        } else {
            event.unknown += 1;
        }
    }

    fn comes_again(&mut self, n: usize, delay: Duration) {
        let Some(message) = self.messages.get_mut(&n) else {
            return;
        };
        message.is_out = false;
        message.due = self.world.now.after(delay);
        if message.tries < MAX_TRIES {
            return;
        }
        assert_ne!(
            message.sent.queue, DEAD_LETTERS,
            "a dead letter is given up"
        );
        message.sent.queue = DEAD_LETTERS.to_owned();
        message.sent.at = self.world.now;
        message.tries = 0;
    }

    fn crash(&mut self, mut dead: UnderWay, performed: bool) {
        let ended = matches!(dead.flight.effect, Effect::Answer(_) | Effect::Settle(_));
        let waited = dead.since.until(self.world.now);
        dead.flight.shorten(waited);
        let (taken, reached) = (self.world.taken.len(), self.world.delivered.len());
        if performed && !ended {
            if timeout(&dead.flight.effect) == Some(Duration::ZERO) {
                self.fault(&dead.flight.effect, true);
            }
            self.world.crash_after_performing(dead.flight);
            self.forget_faults();
            self.note_grants();
            if self.world.delivered.len() > reached {
                let delivery = self.world.delivered.last().unwrap();
                let id = driver::header(delivery, "webhook-id");
                dead.event = self.events.iter().position(|event| event.id == id);
                dead.taken += self.world.taken.len() - taken;
                let settled = dead.event.is_some_and(|n| self.events[n].settled);
                assert!(
                    !settled || self.road == Road::Kv,
                    "delivered again, and known to be"
                );
            }
        }
        if let Some(n) = dead.event.filter(|_| dead.taken > 0) {
            self.events[n].unknown += 1;
        }
        match dead.what {
            What::Request(n) => {
                self.say(|| format!("the holder of evt_{n} dies"));
                if !self.events[n].acknowledged && self.events[n].due.is_none() {
                    self.again(n);
                }
            }
            What::Message(n) => {
                self.say(|| format!("the holder of message {n} dies"));
                let delay = self.rng.millis(60_000);
                self.comes_again(n, delay);
            }
        }
    }

    /// What goes wrong with the next effect, if anything does. One that was begun too long ago is not heard of in time, done or not.
    fn fault(&mut self, effect: &Effect, late: bool) {
        let fails = late || (self.is_faulty() && self.rng.once_in(9));
        if !fails {
            return;
        }
        let slow = self.rng.millis(9_000);
        let rng = &mut self.rng;
        match effect {
            Effect::Ask { .. } => {
                let faults = [
                    Ask::Hangs,
                    Ask::Fails(Fault::Before),
                    Ask::Fails(Fault::Between),
                    Ask::Fails(Fault::After),
                    Ask::Garbled,
                    Ask::Replies(slow),
                ];
                let fault = if late { Ask::Hangs } else { rng.pick(&faults) };
                self.world.asks.push_back(fault);
            }
            Effect::Deliver(_) => {
                let faults = [
                    Origin::Hangs,
                    Origin::Unreachable,
                    answers(500),
                    answers(503),
                    answers(429),
                    answers(422),
                    answers(301),
                    Origin::Answers(200, None, slow),
                ];
                // A request that was not begun in time is not begun any more.
                let fault = if late {
                    Origin::Unreachable
                } else {
                    rng.pick(&faults)
                };
                self.world.origin.push_back(fault);
            }
            Effect::Get { .. } => {
                let minute = Duration::from_secs(60);
                let faults = [
                    Look::Fails,
                    Look::Hangs,
                    Look::Stale(minute),
                    Look::Answers(slow),
                ];
                let fault = if late { Look::Hangs } else { rng.pick(&faults) };
                self.world.looks.push_back(fault);
            }
            Effect::Put(_) => {
                let fault = a_take(rng, late, slow);
                self.world.puts.push_back(fault);
            }
            Effect::Enqueue(_) => {
                let fault = a_take(rng, late, slow);
                self.world.sends.push_back(fault);
            }
            Effect::Limit { .. } | Effect::Answer(_) | Effect::Settle(_) => {}
        }
    }

    fn forget_faults(&mut self) {
        self.world.asks.clear();
        self.world.origin.clear();
        self.world.looks.clear();
        self.world.puts.clear();
        self.world.sends.clear();
    }

    /// What was sent is in its queue now. The platform may hand it over twice.
    fn collect(&mut self) {
        for sent in std::mem::take(&mut self.world.queued) {
            if sent.queue == CUSTOMERS {
                let event: Value = serde_json::from_slice(&sent.body).unwrap();
                let id = webhook_id(&event_digest("osigu", event["id"].as_str().unwrap()));
                self.enqueued.push(id);
                continue;
            }
            let copies = if self.is_faulty() && self.rng.once_in(20) {
                2
            } else {
                1
            };
            for _ in 0..copies {
                let message = Message {
                    due: sent.at.after(sent.delay),
                    sent: sent.clone(),
                    tries: 0,
                    is_out: false,
                };
                self.say(|| format!("message {} is in {}", self.next_message, sent.queue));
                self.messages.insert(self.next_message, message);
                self.next_message += 1;
            }
        }
    }

    /// The marks and sequences of a grant are those that the order of the grants makes.
    fn note_grants(&mut self) {
        for (entity, claim) in std::mem::take(&mut self.world.granted) {
            let Claim::Granted {
                fence,
                event,
                state,
                ordering,
                ..
            } = claim
            else {
                continue;
            };
            let Some(kind) = self.kind_of(event) else {
                // A dead letter, claimed by its bytes, or a redelivery.
                continue;
            };
            let mut before = self.grants.iter().filter(|grant| grant.0 == entity);
            let kinds: BTreeSet<&str> = before
                .clone()
                .filter_map(|grant| self.kind_of(grant.1))
                .collect();
            if let Some(last) = before.next_back() {
                assert!(fence.0 > last.2, "a sequence that doesn't rise");
            }
            let has = |kind: &str| kinds.contains(kind);
            let expected = match kind {
                "authorization.voided" if !has("authorization.created") => Ordering::Early,
                "authorization.voided" => Ordering::InOrder,
                _ if has("authorization.voided") => Ordering::Superseded,
                "authorization.updated" if !has("authorization.created") => Ordering::Early,
                _ => Ordering::InOrder,
            };
            assert_eq!(ordering, expected, "{kind} after {kinds:?}");
            self.grants.push((entity, event, fence.0, ordering, state));
        }
    }

    fn kind_of(&self, hash: EventHash) -> Option<&'static str> {
        let mut events = self.events.iter();
        events
            .find(|event| event.hash == hash)
            .map(|event| event.kind)
    }

    /// What has just reached the origin says what its newest grant said.
    fn check_event(&self, n: usize) {
        let delivery = self.world.delivered.last().unwrap();
        let event: Value = serde_json::from_slice(&delivery.body).unwrap();
        let Some(sequence) = event["sequence"].as_str() else {
            assert!(self.road == Road::Kv || event["rxdedupe"] == "unknown");
            return;
        };
        let sequence: u64 = sequence.parse().unwrap();
        let grants = self.grants.iter();
        let mut of_event = grants.filter(|grant| grant.1 == self.events[n].hash);
        let grant = of_event.find(|grant| grant.2 == sequence);
        let (.., ordering, state) = grant.expect("a sequence that nobody was granted");
        assert_eq!(event["rxordering"], ordering.name());
        if *ordering == Ordering::Superseded {
            assert!(
                event["data"]["entity"]["code"].is_null(),
                "a code that was taken back"
            );
        }
        let told = rxgate::event::State::from_u8(*state);
        assert_eq!(event["data"]["state"], json!(told), "evt_{n}");
    }

    /// Nothing is under way any more.
    fn check_end(&self) {
        assert!(self.under_way.is_empty() && self.messages.is_empty());
        let letters = self.world.letters();
        for (n, event) in self.events.iter().enumerate() {
            let taken = self
                .world
                .taken
                .iter()
                .filter(|id| **id == event.id)
                .count();
            let enqueued = self.enqueued.iter().filter(|id| **id == event.id).count();
            let kept = letters
                .iter()
                .any(|l| l.webhook_id.as_ref() == Some(&event.id));
            let safe = taken > 0 || enqueued > 0 || kept;
            assert!(
                safe || !event.acknowledged,
                "evt_{n} was acknowledged and is lost"
            );
            if self.road != Road::Kv {
                assert!(
                    taken <= 1 + event.unknown,
                    "evt_{n} was taken {taken} times, with {} unknown outcomes",
                    event.unknown
                );
            }
        }
    }
}

fn timeout(effect: &Effect) -> Option<Duration> {
    match effect {
        Effect::Ask { timeout, .. } | Effect::Get { timeout, .. } => Some(*timeout),
        Effect::Deliver(delivery) => Some(delivery.timeout),
        Effect::Put(put) => Some(put.timeout),
        Effect::Enqueue(message) => Some(message.timeout),
        Effect::Limit { .. } | Effect::Answer(_) | Effect::Settle(_) => None,
    }
}

fn a_take(rng: &mut Rng, late: bool, slow: Duration) -> Take {
    let performed = rng.once_in(2);
    let faults = [
        Take::Fails(Fault::Before),
        Take::Fails(Fault::After),
        Take::Hangs(performed),
        Take::Takes(slow),
    ];
    if late {
        Take::Hangs(performed)
    } else {
        rng.pick(&faults)
    }
}

/// Runs one seed; what went wrong, if anything did.
fn run(seed: u64, log: bool) -> Result<usize, String> {
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut sim = Sim::new(seed, log);
        sim.run();
        sim.check_end();
        sim.steps
    }));
    ran.map_err(|fault| {
        let text = fault.downcast_ref::<String>().cloned();
        let text = text.or(fault.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_default()
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut one) = (3_000_u64, 0_u64, None);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok());
        match argument.as_str() {
            "--seeds" => seeds = number().expect("--seeds takes a number"),
            "--from" => from = number().expect("--from takes a number"),
            "--seed" => one = Some(number().expect("--seed takes a number")),
            // What `cargo test` passes on is of no meaning here.
            _ => {}
        }
    }
    if let Some(seed) = one {
        let told = run(seed, true);
        println!("seed {seed}: {told:?}");
        std::process::exit(i32::from(told.is_err()));
    }
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers = (0..threads).map(|thread| {
        std::thread::spawn(move || {
            let (mut steps, mut failed) = (0_usize, Vec::new());
            for seed in (from + thread..from + seeds).step_by(usize::try_from(threads).unwrap()) {
                match run(seed, false) {
                    Ok(taken) => steps += taken,
                    Err(why) => failed.push((seed, why)),
                }
                if failed.len() >= 5 {
                    break;
                }
            }
            (steps, failed)
        })
    });
    let workers: Vec<_> = workers.collect();
    let (mut steps, mut failed) = (0, Vec::new());
    for worker in workers {
        let (taken, more) = worker.join().expect("a thread of the simulation died");
        steps += taken;
        failed.extend(more);
    }
    failed.sort();
    let took = began.elapsed().as_secs_f64();
    for (seed, why) in &failed {
        println!("seed {seed} fails: {why}\n  scripts/sim --seed {seed}");
    }
    let passed = seeds - failed.len() as u64;
    println!("simulation: {seeds} seeds from {from}, {steps} steps, {took:.1} s");
    println!("{passed} passed, {} failed", failed.len());
    std::process::exit(i32::from(!failed.is_empty()));
}

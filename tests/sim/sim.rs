//! One run: who goes on next, how far the clock moves, what fails, and what has to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::{MAX_ATTEMPTS, webhook_id};
use rxgate::effect::{Effect, Verdict};
use rxgate::entity::{EventHash, Ordering, Receipt, Request, event_digest};
use rxgate::letters::{Letter, LetterId};
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::Rng;
use crate::driver::{
    self, Ask, End, Fault, Flight, Look, Origin, Performed, Sent, Settled, Step, Take, World,
    answers,
};
use crate::ledger::{About, Held, Known, Ledger};
use crate::scene::{CUSTOMERS, Event, Road, Scene, Sender, is_ours};
use crate::waiting::{Alarms, Asked, Transfer};

/// The platform gives up a message after so many tries, and moves it to the dead letters.
const MAX_TRIES: u16 = 101;
/// Nothing fails any more after this.
pub(crate) const FAULTS_END: Duration = Duration::from_secs(6 * 3600);
/// Osigu: "up to 72 hours".
const RETRIES: [u64; 10] = [
    5, 60, 300, 1_800, 7_200, 21_600, 43_200, 43_200, 43_200, 86_400,
];
/// How long an isolate may be stopped. Leases are of 15 and 40 seconds; what has lapsed may be committed for a minute.
const PAUSES: [u64; 6] = [5, 16, 41, 62, 300, 3_000];

/// A message of a queue.
#[derive(Clone)]
struct Message {
    sent: Sent,
    due: Timestamp,
    tries: u16,
    /// How many of these are of days that weren't simulated.
    skipped: u16,
    /// Somebody has it.
    is_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Request(usize),
    Message(usize),
    /// An operator redelivers this letter, or all of them.
    Operator(Option<LetterId>),
    /// Somebody asks about a transfer.
    Portal(usize, Asked),
    Cron,
}

enum Phase {
    Asks(Flight),
    /// Its effect is performed, and it was stopped before it heard of that.
    Hears(Performed),
}

pub(crate) struct UnderWay {
    pub(crate) what: What,
    phase: Phase,
    since: Timestamp,
    held: Option<Held>,
    /// Its sender has gone.
    hung_up: bool,
    /// It is stopped until then.
    stopped: Option<Timestamp>,
    /// It was stopped before it performed its effect, and goes on with that.
    was_stopped: bool,
    /// It was stopped at all.
    has_slept: bool,
    began: Timestamp,
}

/// How an effect is performed.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    /// It was begun too long ago to be heard of in time.
    is_late: bool,
    /// It is begun only now: its isolate was stopped.
    was_stopped: bool,
}

/// What happened, so that it can be seen that it does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: usize,
    /// Isolates stopped, and what they handed over that was known to be handed over.
    pub(crate) stopped: usize,
    pub(crate) second: usize,
    /// Events of a second round and later ones.
    pub(crate) rounds: usize,
    /// Notices handed over, and those that a callback overtook.
    pub(crate) notices: usize,
    pub(crate) overtaken: usize,
    pub(crate) redelivered: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.stopped += other.stopped;
        self.second += other.second;
        self.rounds += other.rounds;
        self.notices += other.notices;
        self.overtaken += other.overtaken;
        self.redelivered += other.redelivered;
    }
}

pub(crate) struct Sim {
    pub(crate) rng: Rng,
    pub(crate) scene: Scene,
    pub(crate) world: World,
    pub(crate) events: Vec<Event>,
    messages: BTreeMap<usize, Message>,
    next_message: usize,
    pub(crate) under_way: Vec<UnderWay>,
    enqueued: BTreeSet<String>,
    pub(crate) ledger: Ledger,
    /// The `webhook-id` of what somebody was told is safe.
    acknowledged: BTreeSet<String>,
    /// The same without knowing its round.
    unclaimed: BTreeSet<usize>,
    /// The letters of which an operator was told that they are on their way.
    redelivered: BTreeSet<LetterId>,
    /// When the next operator calls, and how many still do.
    operator: Option<Timestamp>,
    operators: usize,
    has_called: bool,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) alarms: Alarms,
    log: bool,
    pub(crate) tally: Tally,
    moved: bool,
    /// Whether senders are impatient and isolates are slow: then holders overlap more often than anything fails.
    is_crowded: bool,
    /// Whether isolates are stopped, and go on.
    is_paused: bool,
}

impl Sim {
    pub(crate) fn new(seed: u64, log: bool) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED);
        let scene = Scene::of(&mut rng);
        let world = World::of(scene.gateway((4, None), &mut rng));
        let events = scene.events(&mut rng);
        let has_operators = rng.once_in(2);
        let operators = if has_operators { 1 + rng.below(5) } else { 0 };
        let mut sim = Self {
            is_crowded: rng.once_in(3),
            is_paused: rng.once_in(3),
            operator: has_operators.then(|| world.now.after(rng.millis(3_600_000))),
            operators,
            has_called: false,
            rng,
            scene,
            world,
            events,
            messages: BTreeMap::new(),
            next_message: 0,
            under_way: Vec::new(),
            enqueued: BTreeSet::new(),
            ledger: Ledger::new(scene.sender),
            acknowledged: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
            redelivered: BTreeSet::new(),
            transfers: Vec::new(),
            alarms: Alarms::default(),
            log,
            tally: Tally::default(),
            moved: false,
        };
        sim.say(|| format!("{scene:?}"));
        if scene.sender == Sender::Phil {
            sim.announce();
        }
        sim
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.log {
            let at = self.world.now.0 - driver::START.0;
            eprintln!("{at:>9} ms  {}", what());
        }
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.world.now < driver::START.after(FAULTS_END)
    }

    pub(crate) fn run(&mut self) {
        loop {
            self.tally.steps += 1;
            assert!(self.tally.steps < 20_000, "it never ends");
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
            let awake: Vec<usize> = (0..self.under_way.len())
                .filter(|&n| self.under_way[n].stopped.is_none_or(|until| until <= now))
                .collect();
            let asks = self.asks_due();
            let rings = self.rings_due();
            let calls = usize::from(self.operator.is_some_and(|at| at <= now));
            let groups = [
                due.len(),
                messages.len(),
                awake.len(),
                asks.len(),
                rings.len(),
                calls,
            ];
            let choices: usize = groups.iter().sum();
            if choices == 0 {
                let sends = self.events.iter().filter_map(|event| event.due);
                let handed = self.messages.values().filter(|m| !m.is_out).map(|m| m.due);
                let stopped = self.under_way.iter().filter_map(|one| one.stopped);
                let waits = self.waits().into_iter().chain(self.operator);
                let Some(next) = sends.chain(handed).chain(stopped).chain(waits).min() else {
                    return;
                };
                self.world.now = next;
                continue;
            }
            let before = self.under_way.len();
            if self.is_faulty() {
                self.disturb();
                if self.under_way.len() != before {
                    continue;
                }
            }
            // Deterministic: everything is in the order in which it came.
            let mut choice = self.rng.below(choices);
            let mut group = 0;
            while choice >= groups[group] {
                choice -= groups[group];
                group += 1;
            }
            match group {
                0 => self.send(due[choice]),
                1 => self.hand_over(messages[choice]),
                2 => self.step(awake[choice]),
                3 => self.ask(asks[choice]),
                4 => self.ring(rings[choice].clone()),
                _ => self.call(),
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
        if self.is_paused && !self.under_way.is_empty() && self.rng.once_in(12) {
            let place = self.rng.below(self.under_way.len());
            self.stop(place);
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
            self.world.gateway = self.scene.gateway(shards, &mut self.rng);
        }
        if !self.moved && self.scene.road != Road::Kv && self.rng.once_in(500) {
            self.say(|| "another number of shards".to_owned());
            self.moved = true;
            self.world.gateway = self.scene.gateway((3, Some(4)), &mut self.rng);
        }
        if self.scene.sender == Sender::Phil && self.rng.once_in(60) {
            self.disturb_alarms();
        }
    }

    fn send(&mut self, n: usize) {
        self.say(|| format!("event {n} ({}) is sent", self.events[n].kind));
        let flight = self.scene.begin(&mut self.world, &self.events[n]);
        let event = &mut self.events[n];
        event.sent += 1;
        event.due = None;
        let hung_up = self.is_faulty() && self.rng.once_in(20);
        self.fly(What::Request(n), flight, hung_up);
        // Impatient senders send it twice.
        let patience = if self.is_crowded { 2 } else { 15 };
        if hung_up || (self.is_faulty() && self.rng.once_in(patience)) {
            self.again(n);
        }
    }

    /// Its sender tries again later, or gives up.
    fn again(&mut self, n: usize) {
        let is_sure =
            !matches!(self.scene.road, Road::NoRetries) && self.scene.sender == Sender::Osigu;
        let never = !is_sure && self.rng.once_in(2);
        let event = &mut self.events[n];
        let delay = RETRIES.get(event.sent.saturating_sub(1)).filter(|_| !never);
        let delay = delay.map(|seconds| Duration::from_secs(*seconds));
        event.due = delay.map(|delay| self.world.now.after(delay));
    }

    fn hand_over(&mut self, n: usize) {
        // Some have been tried for days.
        let is_old = self.is_faulty() && self.rng.once_in(30);
        let message = self.messages.get_mut(&n).unwrap();
        message.tries += 1;
        if is_old {
            let skipped = MAX_ATTEMPTS.saturating_sub(message.tries);
            message.tries += skipped;
            message.skipped += skipped;
        }
        message.is_out = true;
        let (sent, tries) = (message.sent.clone(), message.tries);
        self.say(|| format!("message {n} of {} is handed over, try {tries}", sent.queue));
        let flight = self.world.begin_attempt(&sent, tries);
        self.fly(What::Message(n), flight, false);
    }

    /// An operator has letters redelivered: one, or all that wait.
    fn call(&mut self) {
        self.operators = self.operators.saturating_sub(1);
        let later = Duration::from_secs(1).max(self.rng.millis(7_200_000));
        // Two at once now and then.
        let later = if self.rng.once_in(4) {
            Duration::ZERO
        } else {
            later
        };
        self.operator = (self.operators > 0).then(|| self.world.now.after(later));
        let letters = self.world.letters();
        if letters.is_empty() {
            return;
        }
        self.has_called = true;
        let one = !self.rng.once_in(3);
        let letter = letters[self.rng.below(letters.len())].id;
        let (what, target) = if one {
            (Some(letter), format!("/v1/dead-letters/{letter}/redeliver"))
        } else {
            (None, "/v1/dead-letters/redeliver".to_owned())
        };
        self.say(|| format!("an operator calls {target}"));
        let flight = self.world.begin_call("POST", &target);
        self.fly(What::Operator(what), flight, false);
    }

    pub(crate) fn fly(&mut self, what: What, flight: Flight, hung_up: bool) {
        let since = self.world.now;
        self.under_way.push(UnderWay {
            what,
            phase: Phase::Asks(flight),
            since,
            held: None,
            hung_up,
            stopped: None,
            was_stopped: false,
            has_slept: false,
            began: since,
        });
    }

    /// An isolate is stopped, before it performs an effect or before it hears of it. Whoever waits for it doesn't.
    fn stop(&mut self, place: usize) {
        let mut one = self.under_way.swap_remove(place);
        if one.stopped.is_some() {
            self.under_way.push(one);
            return;
        }
        let manner = self.manner(&mut one);
        if self.rng.once_in(3)
            && let Phase::Asks(flight) = one.phase
        {
            match self.perform(&mut one.held, flight, manner) {
                Ok(mut performed) => {
                    // Of what it wakes up to, the timer may come first.
                    if self.rng.once_in(3) {
                        performed.time_out();
                        if let Some(held) = &mut one.held {
                            held.is_flawed = true;
                        }
                    }
                    one.phase = Phase::Hears(performed);
                }
                Err(ended) => {
                    return self.ended(
                        Ended::of(&one.what, one.held, one.hung_up, one.began),
                        ended,
                    );
                }
            }
        }
        let span = Duration::from_secs(self.rng.pick(&PAUSES));
        self.say(|| format!("{:?} is stopped for {} s", one.what, span.as_secs()));
        self.tally.stopped += 1;
        one.stopped = Some(self.world.now.after(span));
        match one.what {
            What::Request(n) if !one.hung_up => {
                one.hung_up = true;
                if self.events[n].due.is_none() && !self.events[n].acknowledged {
                    self.again(n);
                }
            }
            What::Message(n) if self.rng.once_in(2) => {
                self.comes_again(n, span.min(Duration::from_secs(20)))
            }
            What::Portal(n, asked) => self.asks_again(n, asked),
            _ => {}
        }
        self.under_way.push(one);
    }

    fn manner(&self, one: &mut UnderWay) -> Manner {
        let waited = one.since.until(self.world.now);
        let Phase::Asks(flight) = &mut one.phase else {
            return Manner::default();
        };
        flight.shorten(waited);
        // Of a sender that may not come again, a customer's queue gets it rather twice than never.
        let is_urgent = self.scene.sender != Sender::Osigu
            && matches!(one.what, What::Request(_))
            && matches!(&flight.effect, Effect::Enqueue(message) if message.queue == CUSTOMERS);
        Manner {
            is_late: timeout(&flight.effect) == Some(Duration::ZERO) && waited > Duration::ZERO,
            was_stopped: one.was_stopped || (one.has_slept && is_urgent),
        }
    }

    fn step(&mut self, place: usize) {
        let now = self.world.now;
        let mut one = self.under_way.swap_remove(place);
        if one.stopped.is_some_and(|until| now < until) {
            self.under_way.push(one);
            return;
        }
        if one.stopped.take().is_some() {
            self.say(|| format!("{:?} goes on", one.what));
            one.since = self.world.now;
            one.was_stopped = true;
            one.has_slept = true;
        }
        let manner = self.manner(&mut one);
        let stepped = match one.phase {
            Phase::Hears(performed) => self.world.hear(performed),
            Phase::Asks(flight) => match self.perform(&mut one.held, flight, manner) {
                Ok(performed) => self.world.hear(performed),
                Err(ended) => ended,
            },
        };
        match stepped {
            Step::Next(flight) => self.under_way.push(UnderWay {
                phase: Phase::Asks(flight),
                since: self.world.now,
                was_stopped: false,
                ..one
            }),
            ended => self.ended(
                Ended::of(&one.what, one.held, one.hung_up, one.began),
                ended,
            ),
        }
    }

    fn ended(&mut self, one: Ended, ended: Step) {
        let Ended {
            what,
            held,
            hung_up,
            began,
        } = one;
        self.let_go(held, false);
        match (what, ended) {
            (What::Request(n), Step::End(end)) => self.answered(n, &end, hung_up, began),
            (What::Message(n), Step::Settled(settled)) => self.is_settled(n, &settled),
            (What::Operator(letter), Step::End(end)) => self.is_called(letter, &end),
            (What::Portal(n, asked), Step::End(end)) => self.is_told(n, asked, &end),
            (What::Cron, Step::Settled(settled)) => {
                self.say(|| format!("the cron: {}", settled.record.code));
            }
            (what, other) => panic!("{what:?} ended as {other:?}"),
        }
    }

    fn answered(&mut self, n: usize, end: &End, hung_up: bool, began: Timestamp) {
        let (status, code) = (end.answer.status, end.record.code);
        self.say(|| format!("event {n} is answered {status} {code}"));
        let is_refused = self.scene.is_strict && status == 400;
        assert!(
            matches!(status, 200 | 502..=504) || is_refused,
            "{status} {code}"
        );
        assert_ne!(code, "internal_error");
        if is_refused && code == "dead_lettered" {
            assert!(!self.is_expected(n, began), "refused, and expected");
        }
        if self.scene.sender == Sender::Evitalrx {
            assert_eq!(end.record.kv_reads, 0, "KV knows of no rounds");
        }
        if is_safe(code) {
            let named = end.record.webhook_id.clone();
            let named = named.expect("an event without a name");
            // In which round it comes is known once it is claimed: by our consumer.
            if self.scene.sender == Sender::Evitalrx && end.record.dedupe.is_some() {
                self.unclaimed.insert(self.events[n].words);
            } else {
                self.acknowledged.insert(named);
            }
        } else {
            assert!(status >= 500, "{status} {code}");
        }
        if hung_up {
            return;
        }
        if status < 500 {
            self.events[n].acknowledged = true;
            self.events[n].due = None;
        } else if !self.events[n].acknowledged && self.events[n].due.is_none() {
            self.again(n);
        }
    }

    fn is_settled(&mut self, n: usize, settled: &Settled) {
        let code = settled.record.code;
        self.say(|| format!("message {n}: {code}, {:?}", settled.verdict));
        match settled.verdict {
            Verdict::Ack => {
                self.messages.remove(&n);
                self.tally.overtaken += usize::from(code == "callback_met");
                if is_safe(code)
                    && let Some(named) = &settled.record.webhook_id
                {
                    // What is given up without a claim isn't of a round yet; and of a notice `check_silence` says whether it has to come.
                    let given_up = settled.record.problem.is_some();
                    let mut events = self.events.iter();
                    let of = |event: &&Event| event.webhook_id(self.scene, 0) == *named;
                    match events.find(of) {
                        Some(event) if given_up => {
                            self.unclaimed.insert(event.words);
                        }
                        None if given_up && self.scene.sender == Sender::Phil => {}
                        _ => {
                            self.acknowledged.insert(named.clone());
                        }
                    }
                }
            }
            Verdict::Retry(delay) => self.comes_again(n, delay),
        }
    }

    fn is_called(&mut self, letter: Option<LetterId>, end: &End) {
        let (status, code) = (end.answer.status, end.record.code);
        self.say(|| format!("the operator is answered {status} {code}"));
        match (letter, status) {
            (Some(letter), 202) => {
                self.redelivered.insert(letter);
            }
            (Some(_), 502 | 503) | (None, 503) => {}
            (None, 202) => {
                for id in end.json()["redelivered"].as_array().unwrap() {
                    let id = LetterId::parse(id.as_str().unwrap()).unwrap();
                    self.redelivered.insert(id);
                }
            }
            _ => panic!("a redelivery is answered {status} {code}"),
        }
    }

    /// Performs an effect, and notes what came of it.
    #[expect(clippy::result_large_err, reason = "a handful at a time")]
    fn perform(
        &mut self,
        held: &mut Option<Held>,
        flight: Flight,
        manner: Manner,
    ) -> Result<Performed, Step> {
        let flawed = self.fault(&flight.effect, manner.is_late);
        if flawed
            && let Some(held) = held
            && is_word(&flight.effect)
        {
            held.is_flawed = true;
        }
        let to_origin = matches!(flight.effect, Effect::Deliver(_));
        let to_customer =
            matches!(&flight.effect, Effect::Enqueue(message) if !is_ours(&message.queue));
        let to_letters =
            matches!(&flight.effect, Effect::Enqueue(message) if message.queue == DEAD_LETTERS);
        if to_letters && let Some(held) = held {
            let account = self.ledger.accounts.get_mut(&held.hash).unwrap();
            account.was_given_up = true;
        }
        let wakes = match &flight.effect {
            Effect::Ask {
                object,
                request: Request::Expect(_),
                ..
            } => Some(object.clone()),
            _ => None,
        };
        let at = self.world.now;
        let (taken, reached) = (self.world.taken.len(), self.world.delivered.len());
        let queued = self.world.queued.len();
        let performed = self.world.perform(flight);
        self.forget_faults();
        if let Some(object) = wakes {
            self.wake(&object);
        }
        self.note(held);
        if to_origin && self.world.delivered.len() > reached {
            let delivery = self.world.delivered.last().unwrap();
            let id = driver::header(delivery, "webhook-id").to_owned();
            let body = delivery.body.clone();
            let was_taken = self.world.taken.len() > taken;
            self.say(|| {
                let takes = if was_taken { ", which takes it" } else { "" };
                format!("{} reaches the origin{takes}", self.name(&id))
            });
            self.reaches(held, at, manner, was_taken);
            self.check_told(&body, *held);
        }
        if to_customer && self.world.queued.len() > queued {
            let body = self.world.queued.last().unwrap().body.clone();
            self.say(|| "a customer's queue has it".to_owned());
            let event: Value = serde_json::from_slice(&body).unwrap();
            // What nobody claimed says so.
            if event["rxdedupe"] != "unknown" {
                self.reaches(held, at, manner, true);
                self.check_told(&body, *held);
            }
        }
        performed
    }

    /// It reaches who is to have it.
    fn reaches(&mut self, held: &mut Option<Held>, at: Timestamp, manner: Manner, is_taken: bool) {
        if self.scene.road == Road::Kv {
            return;
        }
        let held = held.as_mut().expect("handed over without a claim");
        let account = self.ledger.accounts.get_mut(&held.hash).unwrap();
        // Whoever was stopped between its claim and its request doesn't know that it is late.
        let is_excused = manner.is_late || manner.was_stopped;
        assert!(at < held.until || is_excused, "handed over without a lease");
        if let Some((_, fence, _)) = account.settled {
            assert!(
                at >= held.until && is_excused,
                "handed over again, and known to be"
            );
            // Who takes only what is higher doesn't take it.
            assert!(held.fence < fence, "a second one with a higher sequence");
            account.second += 1;
        }
        if is_taken {
            held.is_taken = true;
            account.taken += 1;
        }
    }

    /// What objects said.
    fn note(&mut self, held: &mut Option<Held>) {
        for said in std::mem::take(&mut self.world.claims) {
            let (events, scene, transfers) = (&self.events, self.scene, &self.transfers);
            let world = &self.world;
            let granted = self.ledger.claimed(&said, |hash, round| {
                identify(world, scene, events, transfers, hash, round)
            });
            if granted.is_some() && scene.is_strict && scene.sender == Sender::Phil {
                let mut of = transfers.iter().filter(|it| it.entity == said.entity);
                let is_expected = of.all(|transfer| transfer.notices().next().is_some());
                assert!(
                    is_expected || self.has_called,
                    "taken, and nobody expects it"
                );
            }
            if let Some(granted) = granted {
                self.let_go(held.take(), false);
                if self.world.heard {
                    *held = Some(granted);
                }
            }
        }
        for said in std::mem::take(&mut self.world.settled) {
            self.ledger.said(&said, held.as_mut());
        }
    }

    /// A holder is at its end. What it handed over is remembered, unless something kept it from that.
    fn let_go(&mut self, held: Option<Held>, is_dead: bool) {
        let Some(held) = held.filter(|held| held.is_taken && !held.is_committed) else {
            return;
        };
        let account = self.ledger.accounts.get_mut(&held.hash).unwrap();
        account.unknown += 1;
        assert!(
            is_dead || held.is_flawed || held.is_lost,
            "handed over and not remembered, and nothing failed"
        );
    }

    fn comes_again(&mut self, n: usize, delay: Duration) {
        let Some(message) = self.messages.get_mut(&n) else {
            return;
        };
        message.is_out = false;
        message.due = self.world.now.after(delay);
        // It takes the faults of days, too, to use up all that a dead letter has.
        let skipped = if message.sent.queue == DEAD_LETTERS {
            message.skipped
        } else {
            0
        };
        if message.tries - skipped < MAX_TRIES {
            return;
        }
        assert_ne!(
            message.sent.queue, DEAD_LETTERS,
            "a dead letter is given up"
        );
        message.sent.queue = DEAD_LETTERS.to_owned();
        message.sent.at = self.world.now;
        (message.tries, message.skipped) = (0, 0);
    }

    fn crash(&mut self, mut dead: UnderWay, performed: bool) {
        let manner = self.manner(&mut dead);
        if let Phase::Asks(flight) = dead.phase
            && performed
            && dead.stopped.is_none()
            && !matches!(flight.effect, Effect::Answer(_) | Effect::Settle(_))
        {
            let _ = self.perform(&mut dead.held, flight, manner);
        }
        self.let_go(dead.held, true);
        self.say(|| format!("the holder of {:?} dies", dead.what));
        match dead.what {
            What::Request(n) => {
                if !self.events[n].acknowledged && self.events[n].due.is_none() {
                    self.again(n);
                }
            }
            What::Message(n) => {
                let delay = self.rng.millis(60_000);
                self.comes_again(n, delay);
            }
            What::Portal(n, asked) => {
                if dead.stopped.is_none() {
                    self.asks_again(n, asked);
                }
                self.is_gone(n);
            }
            What::Operator(_) | What::Cron => {}
        }
    }

    /// What goes wrong with the next effect, if anything does; whether something does. One that was begun too long ago is not heard of in time, done or not.
    fn fault(&mut self, effect: &Effect, late: bool) -> bool {
        let fails = late || (self.is_faulty() && self.rng.once_in(9));
        if !fails {
            return false;
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
            Effect::Limit { .. } | Effect::Answer(_) | Effect::Settle(_) => return false,
        }
        true
    }

    fn forget_faults(&mut self) {
        self.world.asks.clear();
        self.world.origin.clear();
        self.world.looks.clear();
        self.world.puts.clear();
        self.world.sends.clear();
    }

    /// What was sent is in its queue now. The platform may hand it over twice.
    pub(crate) fn collect(&mut self) {
        for sent in std::mem::take(&mut self.world.queued) {
            if sent.queue == CUSTOMERS {
                let event: Value = serde_json::from_slice(&sent.body).unwrap();
                let source = self.scene.sender.source();
                let id = webhook_id(&event_digest(source, event["id"].as_str().unwrap()));
                self.enqueued.insert(id);
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
                    skipped: 0,
                    is_out: false,
                };
                self.say(|| format!("message {} is in {}", self.next_message, sent.queue));
                self.messages.insert(self.next_message, message);
                self.next_message += 1;
            }
        }
    }

    /// What has just been handed over says what its grant said.
    fn check_told(&self, body: &[u8], held: Option<Held>) {
        let event: Value = serde_json::from_slice(body).unwrap();
        let Some(sequence) = event["sequence"].as_str() else {
            assert!(self.scene.road == Road::Kv || event["rxdedupe"] == "unknown");
            return;
        };
        let held = held.unwrap();
        assert_eq!(sequence.parse(), Ok(held.fence.0));
        let grants = &self.ledger.accounts[&held.hash].grants;
        let grant = grants.iter().find(|grant| grant.0 == held.fence);
        let (_, ordering, state) = grant.expect("a sequence that nobody was granted");
        assert_eq!(event["rxordering"], ordering.name());
        if *ordering == Ordering::Superseded && self.scene.sender == Sender::Osigu {
            assert!(
                event["data"]["entity"]["code"].is_null(),
                "a code that was taken back"
            );
        }
        let told = rxgate::event::State::from_u8(*state);
        assert_eq!(event["data"]["state"], json!(told));
        let named = self.named(event["id"].as_str().unwrap());
        assert_eq!(
            named, self.ledger.accounts[&held.hash].known.webhook_id,
            "another event than was claimed"
        );
    }

    pub(crate) fn is_enqueued(&self, id: &str) -> bool {
        self.enqueued.contains(id)
    }

    fn named(&self, id: &str) -> String {
        webhook_id(&event_digest(self.scene.sender.source(), id))
    }

    /// What an event is called when it is told of.
    fn name(&self, id: &str) -> String {
        let mut accounts = self.ledger.accounts.values();
        let account = accounts.find(|account| account.known.webhook_id == id);
        match account.map(|account| account.known.about) {
            Some(About::Event(n, round)) => {
                let kind = self.events[n].kind;
                format!("event {n} ({kind}), round {round},")
            }
            Some(other) => format!("{other:?}"),
            None => id.to_owned(),
        }
    }

    /// Nothing is under way any more.
    pub(crate) fn check_end(&mut self) {
        assert!(self.under_way.is_empty() && self.messages.is_empty());
        let letters = self.world.letters();
        let kept: BTreeSet<&String> = letters
            .iter()
            .filter_map(|l| l.webhook_id.as_ref())
            .collect();
        let taken: BTreeSet<&String> = self.world.taken.iter().collect();
        let is_safe =
            |id: &String| taken.contains(id) || self.enqueued.contains(id) || kept.contains(id);
        // A message that doesn't know its round is of that in which it is claimed, each time that nobody hears of it.
        let is_safe_otherwise = |id: &String| {
            let mut accounts = self.ledger.accounts.values();
            let account = accounts.find(|account| account.known.webhook_id == *id);
            let Some((About::Event(n, _), true)) =
                account.map(|account| (account.known.about, account.is_guessed))
            else {
                return false;
            };
            (0..=100).any(|round| is_safe(&self.events[n].webhook_id(self.scene, round)))
        };
        for id in &self.acknowledged {
            let in_rounds = self.scene.sender == Sender::Evitalrx;
            let is_safe = is_safe(id) || (in_rounds && is_safe_otherwise(id));
            assert!(is_safe, "{} was acknowledged and is lost", self.name(id));
        }
        for words in &self.unclaimed {
            let ids = (0..=100).map(|round| self.events[*words].webhook_id(self.scene, round));
            let is_there = ids.into_iter().any(|id| is_safe(&id));
            assert!(is_there, "event {words} was acknowledged and is lost");
        }
        if self.scene.road == Road::Kv {
            return;
        }
        for (hash, account) in &self.ledger.accounts {
            self.tally.second += account.second;
            let count = match account.known.about {
                About::Event(_, round) if round > 0 => &mut self.tally.rounds,
                About::Notice(..) if account.taken > 0 => &mut self.tally.notices,
                About::Redelivery(_) if account.taken > 0 => &mut self.tally.redelivered,
                _ => &mut 0,
            };
            *count += 1;
            assert!(
                account.taken <= 1 + account.unknown,
                "handed over {} times, with {} unknown outcomes: {account:?}",
                account.taken,
                account.unknown
            );
            if let Some((Receipt::Delivered | Receipt::Enqueued, ..)) = account.settled
                && account.unknown == 0
                && !account.was_given_up
            {
                let id = LetterId::of(&[account.entity.0, hash.0, [0; 16]].concat());
                let is_it = |letter: &&Letter| letter.id == id && letter.redeliveries == 0;
                let given_up = letters.iter().find(is_it);
                assert!(
                    given_up.is_none(),
                    "handed over, and a dead letter without a claim: {account:?}"
                );
            }
        }
        for letter in &self.redelivered {
            let of = letters.iter().find(|kept| kept.id == *letter).unwrap();
            // What nobody expected is claimed as the event that it is.
            let is_it = |known: &Known| {
                known.about == About::Redelivery(*letter)
                    || (of.code == "expectation_unknown"
                        && Some(&known.webhook_id) == of.webhook_id.as_ref())
            };
            let mut accounts = self.ledger.accounts.values();
            let came = accounts.any(|account| {
                let again = letters
                    .iter()
                    .any(|l| l.id != *letter && l.webhook_id == of.webhook_id);
                is_it(&account.known) && (account.taken > 0 || account.settled.is_some() || again)
            });
            assert!(came, "redelivered, and lost");
        }
        self.check_silence(&letters);
        self.check_receipts();
    }

    /// What was handed over, and is known to be, is a duplicate: whoever came back late has taken nothing away.
    fn check_receipts(&mut self) {
        // By an isolate that has just started, once what runs has lapsed.
        let shards = if self.moved { (3, Some(4)) } else { (4, None) };
        self.world.gateway = self.scene.gateway(shards, &mut self.rng);
        self.world.wait(Duration::from_secs(60));
        for n in 0..self.events.len() {
            let event = &self.events[n];
            let mut accounts = self.ledger.accounts.iter();
            let of_event = |about: About| matches!(about, About::Event(of, _) if of == event.words);
            let last = accounts.rfind(|(_, account)| of_event(account.known.about));
            let Some((&hash, account)) = last else {
                continue;
            };
            let Some((receipt, _, at)) = account.settled else {
                continue;
            };
            let entity = account.entity;
            // In another round it is another event.
            if self.scene.sender == Sender::Evitalrx && self.ledger.last(entity) != Some(hash) {
                continue;
            }
            if at.after(Duration::from_secs(6 * 24 * 3600)) < self.world.now {
                continue;
            }
            let flight = self.scene.begin(&mut self.world, &self.events[n]);
            let end = self.world.finish(flight);
            self.note(&mut None);
            assert_eq!(end.record.code, "duplicate", "after {receipt:?}");
        }
    }
}

/// Of a holder at its end.
struct Ended {
    what: What,
    held: Option<Held>,
    hung_up: bool,
    began: Timestamp,
}

impl Ended {
    fn of(what: &What, held: Option<Held>, hung_up: bool, began: Timestamp) -> Self {
        Self {
            what: *what,
            held,
            hung_up,
            began,
        }
    }
}

/// What the words of an end say of an event: it is safe.
fn is_safe(code: &str) -> bool {
    let safe = [
        "delivered",
        "duplicate",
        "enqueued",
        "dead_lettered",
        "withheld",
    ];
    safe.contains(&code)
}

/// Whether it is what a holder needs to know, or to say, that it handed over.
fn is_word(effect: &Effect) -> bool {
    match effect {
        Effect::Ask { request, .. } => {
            matches!(request, Request::Commit { receipt, .. } if *receipt != Receipt::Queued)
        }
        Effect::Enqueue(message) => !is_ours(&message.queue),
        _ => false,
    }
}

/// What a hash that was claimed is of.
fn identify(
    world: &World,
    scene: Scene,
    events: &[Event],
    transfers: &[Transfer],
    hash: EventHash,
    round: u16,
) -> Option<Known> {
    let in_rounds = scene.sender == Sender::Evitalrx;
    for event in events {
        let of_round = if in_rounds {
            event.hash.in_round(round)
        } else {
            event.hash
        };
        let about = if hash == of_round {
            About::Event(event.words, round)
        } else if hash == event.refused.1 && scene.is_strict {
            About::Refused(event.words)
        } else {
            continue;
        };
        return Some(Known {
            about,
            webhook_id: event.webhook_id(scene, round),
            node: event.node,
            state: event.state,
            words: event.words,
        });
    }
    for (n, transfer) in transfers.iter().enumerate() {
        if let Some((due, digest)) = transfer.notices().find(|(_, it)| EventHash::of(it) == hash) {
            return Some(transfer.known(n, due, &digest));
        }
    }
    for letter in world.letters() {
        let Some(named) = &letter.webhook_id else {
            continue;
        };
        let of_event = events.iter().find_map(|event| {
            let mut rounds = 0..=if in_rounds { round } else { 0 };
            let round = rounds.find(|round| event.webhook_id(scene, *round) == *named);
            round.map(|_| (event.digest, event.node, event.state))
        });
        let of_notice = transfers.iter().find_map(|transfer| {
            let mut notices = transfer.notices();
            let found = notices.find(|(_, digest)| webhook_id(digest) == *named);
            found.map(|(_, digest)| {
                (
                    digest,
                    crate::waiting::missing(),
                    rxgate::event::State::Failed as u8,
                )
            })
        });
        let Some((digest, node, state)) = of_event.or(of_notice) else {
            continue;
        };
        // The first of what nobody expected is claimed as the event that it is.
        let first = u32::from(letter.code == "expectation_unknown");
        for n in first..=letter.redeliveries {
            let of = EventHash::redelivery(&digest, &letter.id.nonce(n).0);
            if of == hash || (in_rounds && of.in_round(round) == hash) {
                // In the end it names the round that it was of, or is of now.
                let in_round = of != hash;
                let named = match events.iter().find(|event| event.digest == digest) {
                    Some(event) if in_round => event.webhook_id(scene, round),
                    _ => named.clone(),
                };
                return Some(Known {
                    about: About::Redelivery(letter.id),
                    webhook_id: named,
                    node,
                    state,
                    words: usize::MAX - usize::from(letter.id.0[0]),
                });
            }
        }
    }
    None
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

/// The queue of notices.
pub(crate) fn notice_message(body: &[u8], at: Timestamp) -> Sent {
    Sent {
        queue: DELIVERIES.to_owned(),
        body: body.to_vec(),
        text: false,
        delay: Duration::ZERO,
        at,
    }
}

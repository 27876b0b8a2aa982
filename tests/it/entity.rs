//! The protocol of an entity's row: claim, lease, fence, commit, release, move, expiry.
//!
//! Random lives of two entities run through [`serve`] on storage that fails, against a model that knows nothing of rows; then what random lives reach too seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rxgate::entity::{
    Agreed, CALLBACK_MISSING, Claim, ClaimRequest, Claimant, Condition, Cost, Entity, EntityKey,
    EventHash, ExpectReply, ExpectRequest, Expected, Fence, LayoutRefused, LayoutRequest,
    LeaseLost, MAX_HEAD_ENTRIES, MAX_LEASED, MAX_PAGES, Objects, Ordering, Page, Receipt, Reply,
    Request, Row, Standing, Step, WireCorrupt, serve,
};
use rxgate::letters::{Count, Filter, Letter, LetterId, LetterReply, LetterRequest};
use rxgate::time::Timestamp;

use crate::driver::{Failure, Fault, Memory, START};

const LEASE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(2 * 24 * 3600);
/// So long after a change of objects a gateway may not have heard of it.
const LINGERING: Duration = Duration::from_secs(24 * 3600);
/// So long after it lapsed a lease can still be committed, if nobody took the event since.
const LATE: Duration = Duration::from_secs(60);

fn entity(n: u8) -> EntityKey {
    EntityKey([n; 16])
}

fn event(n: u32) -> EventHash {
    let mut hash = [0xEE; 16];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    EventHash(hash)
}

fn claim_of(n: u32) -> ClaimRequest {
    ClaimRequest {
        event: event(n),
        round: None,
        claimant: Claimant::Sender,
        step: Step::default(),
        lease: LEASE,
        window: WINDOW,
    }
}

/// One call through the wire forms of both directions, and how many pages it wrote.
fn call(store: &Memory, request: &Request, now: Timestamp) -> (Result<Reply, Failure>, u32) {
    let before = store.written.get();
    let reply = serve(store, &request.pack(), now);
    let written = store.written.get() - before;
    let cost = Cost { read: 7, written };
    if let Ok(reply) = &reply {
        assert_eq!(
            Reply::unpack(&reply.pack(cost)),
            Ok((reply.clone(), cost)),
            "a reply arrives as it was sent"
        );
    }
    (reply, written)
}

fn claim(store: &Memory, claim: ClaimRequest, now: Timestamp) -> (Claim, u32) {
    let request = Request::Claim {
        entity: entity(1),
        claim,
        moved: None,
    };
    match call(store, &request, now) {
        (Ok(Reply::Claim(claim)), written) => (claim, written),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn granted(store: &Memory, n: u32, now: Timestamp) -> Fence {
    match claim(store, claim_of(n), now) {
        (Claim::Granted { fence, .. }, _) => fence,
        other => panic!("{other:?}"),
    }
}

/// What a delivered event is, to whoever asks.
fn duplicate(remembered: Duration) -> Claim {
    Claim::Duplicate {
        receipt: Receipt::Delivered,
        remembered,
        round: 0,
    }
}

fn commit_request(n: u32, fence: Fence) -> Request {
    Request::Commit {
        entity: entity(1),
        event: event(n),
        fence,
        receipt: Receipt::Delivered,
        window: WINDOW,
    }
}

fn release_request(n: u32, fence: Fence) -> Request {
    Request::Release {
        entity: entity(1),
        event: event(n),
        fence,
    }
}

fn settle(store: &Memory, request: &Request, now: Timestamp) -> (Result<(), LeaseLost>, u32) {
    match call(store, request, now) {
        (Ok(Reply::Settled(settled)), written) => (settled, written),
        other => panic!("{other:?}"),
    }
}

/// Claims and commits.
#[track_caller]
fn deliver(store: &Memory, n: u32, now: Timestamp) {
    let fence = granted(store, n, now);
    let (settled, _) = settle(store, &commit_request(n, fence), now);
    assert_eq!(settled, Ok(()), "event {n}");
}

// ── random lives ────────────────────────────────────────────────────────────

#[derive(Clone, Debug)]
enum Op {
    Claim {
        entity: u8,
        event: u32,
        step: Step,
        /// By a gateway that hasn't heard of the change of objects.
        stale: bool,
        /// Whether the reply reaches the claimer, or the claimer is gone.
        heard: bool,
        fault: Option<Fault>,
        move_fault: Option<Fault>,
    },
    /// By the holder of one of the last grants.
    Commit {
        back: usize,
        fault: Option<Fault>,
    },
    Release {
        back: usize,
        fault: Option<Fault>,
    },
    Wait(u64),
    Sweep,
    /// Another number of objects.
    Change,
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        8 => Just(None),
        1 => Just(Some(Fault::Before)),
        1 => Just(Some(Fault::Between)),
        1 => Just(Some(Fault::After)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (0..3_u8, 1..9_u8, 0..4_i64).prop_map(|(rank, state, at)| Step {
        rank,
        state: if rank == 0 { 0 } else { state },
        at: Timestamp(at),
        ..Step::default()
    })
}

fn op() -> impl Strategy<Value = Op> {
    let event = prop_oneof![8 => 0..3_u32, 1 => Just(FILLERS), 1 => Just(FILLERS + 40), 1 => Just(FILLERS + 62)];
    let claim = (
        1..3_u8,
        event,
        step(),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.85),
        fault(),
        fault(),
    )
        .prop_map(
            |(entity, event, step, stale, heard, fault, move_fault)| Op::Claim {
                entity,
                event,
                step,
                stale,
                heard,
                fault,
                move_fault,
            },
        );
    let day = 24 * 3600 * 1000;
    let waits = [
        1,
        1,
        500,
        14_999,
        15_000,
        59_999,
        60_000,
        75_001,
        day - 15_000,
        day - 1,
        day,
        2 * day - 1,
        2 * day,
        2 * day + 15_000,
        3 * day,
    ];
    prop_oneof![
        10 => claim,
        5 => (0..5_usize, fault()).prop_map(|(back, fault)| Op::Commit { back, fault }),
        2 => (0..5_usize, fault()).prop_map(|(back, fault)| Op::Release { back, fault }),
        4 => prop::sample::select(waits.to_vec()).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
        1 => Just(Op::Change),
    ]
}

/// The first of the events that are committed before a life begins.
const FILLERS: u32 = 1000;

/// What the model knows of one event.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    lease: Option<Lease>,
    committed: Option<Committed>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    /// Unknown if the reply was lost on the way.
    fence: Option<Fence>,
    until: Timestamp,
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    fence: Fence,
    until: Timestamp,
}

/// A claim that its holder knows of.
#[derive(Clone, Copy, Debug)]
struct Grant {
    entity: u8,
    event: u32,
    fence: Fence,
    objects: Objects,
}

/// The objects, the model, and the clock.
struct Life {
    now: Timestamp,
    objects: BTreeMap<String, Memory>,
    layout: Memory,
    current: Objects,
    /// The objects before the last change, and until when they are asked.
    before: Option<(Objects, Timestamp)>,
    known: BTreeMap<(u8, u32), Known>,
    /// Entities that a generation handed over.
    handed_over: BTreeSet<(u8, u32)>,
    /// Those of them that it had nothing of: its row says that they are gone, and nothing else.
    had_nothing: BTreeSet<(u8, u32)>,
    top: BTreeMap<u8, Step>,
    highest: BTreeMap<u8, Fence>,
    grants: Vec<Grant>,
    /// Fences that committed at some time.
    spent: BTreeSet<(u8, u32, Fence)>,
    fillers: u32,
}

impl Life {
    fn new(fillers: u32) -> Self {
        let mut life = Self {
            now: START,
            objects: BTreeMap::new(),
            layout: Memory::default(),
            current: Objects {
                generation: 1,
                shards: 4,
            },
            before: None,
            known: BTreeMap::new(),
            handed_over: BTreeSet::new(),
            had_nothing: BTreeSet::new(),
            top: BTreeMap::new(),
            highest: BTreeMap::new(),
            grants: Vec::new(),
            spent: BTreeSet::new(),
            fillers,
        };
        for n in 0..fillers {
            life.claim(1, FILLERS + n, Step::default(), false, true, [None, None]);
            life.commit(0, None);
        }
        life
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Claim {
                entity,
                event,
                step,
                stale,
                heard,
                fault,
                move_fault,
            } => self.claim(entity, event, step, stale, heard, [fault, move_fault]),
            Op::Commit { back, fault } => self.commit(back, fault),
            Op::Release { back, fault } => self.release(back, fault),
            Op::Wait(millis) => self.now = self.now.after(Duration::from_millis(millis)),
            Op::Sweep => self
                .objects
                .values()
                .for_each(|store| store.sweep(self.now)),
            Op::Change => self.change(),
        }
    }

    fn call(
        &mut self,
        objects: Objects,
        key: EntityKey,
        request: &Request,
        fault: Option<Fault>,
    ) -> (Result<Reply, Failure>, u32) {
        let store = self.objects.entry(objects.name(key)).or_default();
        store.fault.set(fault);
        let answer = call(store, request, self.now);
        store.fault.set(None);
        answer
    }

    /// Which objects a gateway that asks now is told.
    fn agreed(&self, shards: u32, previous: Option<u32>) -> Result<Agreed, LayoutRefused> {
        let request = Request::Layout(LayoutRequest {
            shards,
            previous,
            window: WINDOW,
        });
        match call(&self.layout, &request, self.now).0 {
            Ok(Reply::Layout(agreed)) => agreed,
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self) {
        let next = Objects {
            generation: self.current.generation + 1,
            shards: if self.current.shards == 4 { 2 } else { 4 },
        };
        // Ask as things stand first, so that something is recorded.
        let _ = self.asked_before();
        let answer = self.agreed(next.shards, Some(self.current.shards));
        if let Some(until) = self.before.map(|(_, until)| until)
            && self.now < until
        {
            let refused = LayoutRefused {
                recorded: self.current.shards,
                wait: self.now.until(until),
            };
            assert_eq!(answer, Err(refused));
        } else {
            let agreed = Agreed {
                objects: next,
                previous: Some(self.current),
            };
            assert_eq!(answer, Ok(agreed));
            self.before = Some((self.current, self.now.after(LINGERING).after(WINDOW)));
            self.current = next;
        }
    }

    /// The objects that hand over first, as the layout has it and as the model has it.
    fn asked_before(&self) -> Option<Objects> {
        let before = self.before.filter(|(_, until)| self.now < *until);
        let wanted = Agreed {
            objects: self.current,
            previous: before.map(|(objects, _)| objects),
        };
        assert_eq!(self.agreed(self.current.shards, None), Ok(wanted));
        wanted.previous
    }

    /// Whether there may be gateways that haven't heard of the last change.
    fn lingering(&self) -> bool {
        self.before
            .is_some_and(|(_, until)| self.now.after(WINDOW) < until)
    }

    /// Whether these objects have something of the entity.
    fn has_row(&self, objects: Objects, n: u8) -> bool {
        let store = self.objects.get(&objects.name(entity(n)));
        store.is_some_and(|store| store.rows.borrow().contains_key(&(entity(n), 0)))
            && !self.had_nothing.contains(&(n, objects.generation))
    }

    /// The entity comes out of the objects before, if they let it go.
    fn hand_over(&mut self, from: Objects, n: u8, fault: Option<Fault>) -> Option<Vec<u8>> {
        let request = Request::Move {
            entity: entity(n),
            window: WINDOW,
        };
        let had_row = self.has_row(from, n);
        let (reply, written) = self.call(from, entity(n), &request, fault);
        let failed = reply == Err(Failure::Injected);
        assert!(written <= 1, "{written} pages");
        assert!(!failed || fault.is_some());
        if !failed || fault == Some(Fault::After) {
            if !had_row {
                self.had_nothing.insert((n, from.generation));
            }
            self.handed_over.insert((n, from.generation));
            let now = self.now;
            for ((_, _), known) in self.known.iter_mut().filter(|((of, _), _)| *of == n) {
                known.lease = known
                    .lease
                    .filter(|lease| lease.generation != from.generation || now < lease.until);
            }
        }
        let leases = self.known.iter().filter(|((of, _), _)| *of == n);
        let running = leases
            .filter_map(|(_, known)| known.lease)
            .filter(|lease| lease.generation == from.generation && self.now < lease.until)
            .map(|lease| lease.until)
            .max();
        match (reply, running) {
            (Err(Failure::Injected), _) => None,
            (Ok(Reply::Busy(wait)), Some(until)) => {
                assert_eq!(wait, self.now.until(until));
                None
            }
            (Ok(Reply::Moved(pages)), None) => Some(pages),
            other => panic!("{other:?}"),
        }
    }

    fn claim(
        &mut self,
        n: u8,
        of: u32,
        step: Step,
        stale: bool,
        heard: bool,
        [fault, move_fault]: [Option<Fault>; 2],
    ) {
        let previous = self.asked_before();
        let has_row = self.has_row(self.current, n)
            || previous.is_some_and(|objects| self.has_row(objects, n));
        let (objects, previous) = match (stale, previous) {
            (false, previous) => (self.current, previous),
            (true, Some(previous)) if self.lingering() => (previous, None),
            (true, _) => return,
        };
        // What has expired altogether begins anew.
        if !has_row {
            self.top.remove(&n);
        }
        let mut moved = None;
        if let Some(previous) = previous {
            moved = self.hand_over(previous, n, move_fault);
            if moved.is_none() {
                return;
            }
        }
        let request = Request::Claim {
            entity: entity(n),
            claim: ClaimRequest {
                event: event(of),
                round: None,
                claimant: Claimant::Sender,
                step,
                lease: LEASE,
                window: WINDOW,
            },
            moved,
        };
        let (reply, written) = self.call(objects, entity(n), &request, fault);
        let now = self.now;
        let known = self.known.entry((n, of)).or_default();
        let top = self.top.get(&n).copied().unwrap_or_default();
        let decides = step.rank > 0 && (step.rank, step.at) >= (top.rank, top.at);
        let top = if decides { step } else { top };
        let lease = |fence| Lease {
            fence,
            until: now.after(LEASE),
            generation: objects.generation,
        };
        let committed = known.committed.is_some_and(|receipt| now < receipt.until);
        let running = known
            .lease
            .map(|lease| lease.until)
            .filter(|&end| now < end);
        match reply {
            Ok(Reply::Claim(Claim::Moved)) => {
                assert!(self.handed_over.contains(&(n, objects.generation)));
                assert_eq!(written, 0);
            }
            _ if self.handed_over.contains(&(n, objects.generation)) => {
                panic!("{reply:?} from objects that handed the entity over")
            }
            Ok(Reply::Claim(Claim::Duplicate {
                receipt: Receipt::Delivered,
                remembered,
                ..
            })) => {
                assert!(committed, "a duplicate of nothing");
                let until = known.committed.map(|old| now.until(old.until));
                assert_eq!(until, Some(remembered));
                assert_eq!(written, 0);
            }
            _ if committed => panic!("{reply:?} to an event that is committed"),
            Ok(Reply::Claim(Claim::InFlight { retry_after })) => {
                let until = running.expect("in flight with nobody");
                assert_eq!(retry_after, now.until(until));
                assert_eq!(written, 0);
            }
            _ if running.is_some() => panic!("{reply:?} to an event that is held"),
            Ok(Reply::Claim(Claim::Granted { fence, state, .. })) => {
                let spilt = u32::from(self.fillers > 0);
                assert!((1..=1 + spilt).contains(&written), "{written} pages");
                let highest = self.highest.get(&n);
                assert!(highest.is_none_or(|highest| *highest < fence));
                assert!(fence.0 >= u64::try_from(now.0).unwrap());
                assert_eq!(state, top.state);
                known.lease = Some(lease(Some(fence)));
                known.committed = None;
                self.top.insert(n, top);
                self.highest.insert(n, fence);
                if heard {
                    self.grants.push(Grant {
                        entity: n,
                        event: of,
                        fence,
                        objects,
                    });
                }
            }
            Err(Failure::Injected) => {
                assert_ne!(fault, None);
                if fault == Some(Fault::After) {
                    known.lease = Some(lease(None));
                    known.committed = None;
                    self.top.insert(n, top);
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn grant(&self, back: usize) -> Option<Grant> {
        let last = self.grants.len().checked_sub(1)?;
        Some(self.grants[last - back.min(last)])
    }

    /// Whether this grant is the newest on its event, and since when it has lapsed.
    fn holds(&self, grant: &Grant) -> Option<Duration> {
        let lease = self.known[&(grant.entity, grant.event)].lease?;
        (lease.fence == Some(grant.fence)).then(|| lease.until.until(self.now))
    }

    fn commit(&mut self, back: usize, fault: Option<Fault>) {
        let Some(grant) = self.grant(back) else {
            return;
        };
        let request = Request::Commit {
            entity: entity(grant.entity),
            event: event(grant.event),
            fence: grant.fence,
            receipt: Receipt::Delivered,
            window: WINDOW,
        };
        let (reply, written) = self.call(grant.objects, entity(grant.entity), &request, fault);
        let held = self.holds(&grant);
        let until = self.now.after(WINDOW);
        let now = self.now;
        let before = (grant.entity, grant.event, grant.fence);
        let spent = self.spent.contains(&before);
        let known = self
            .known
            .get_mut(&(grant.entity, grant.event))
            .expect("granted");
        let again = known.committed.filter(|old| old.fence == grant.fence);
        match (reply, held, again) {
            (Ok(Reply::Settled(Ok(()))), _, Some(_)) => assert_eq!(written, 0),
            (Ok(Reply::Settled(Err(LeaseLost))), _, Some(old)) => {
                assert!(old.until <= now, "a commit that was made is lost");
                assert_eq!(written, 0);
            }
            (Ok(Reply::Settled(Ok(()))), Some(_), None) => {
                let spilt = u32::from(self.fillers > 0);
                assert!((1..=1 + spilt).contains(&written), "{written} pages");
                self.spent.insert(before);
                known.lease = None;
                known.committed = Some(Committed {
                    fence: grant.fence,
                    until,
                });
            }
            (Ok(Reply::Settled(Err(LeaseLost))), Some(late), None) => {
                assert!(late >= LATE, "a lease is lost to nobody");
                assert_eq!(written, 0);
            }
            (Ok(Reply::Settled(Err(LeaseLost))), None, None) => assert_eq!(written, 0),
            // What ended between two pages is as if nothing had been saved.
            (Err(Failure::Injected), Some(_), None) => {
                if fault == Some(Fault::After) {
                    self.spent.insert(before);
                    known.lease = None;
                    known.committed = Some(Committed {
                        fence: grant.fence,
                        until,
                    });
                }
            }
            // It says again what it did when the commit still counted.
            (Ok(Reply::Settled(Ok(()))), None, None) if spent => assert_eq!(written, 0),
            other => panic!("{other:?} of {grant:?}, {known:?}"),
        }
    }

    fn release(&mut self, back: usize, fault: Option<Fault>) {
        let Some(grant) = self.grant(back) else {
            return;
        };
        let request = Request::Release {
            entity: entity(grant.entity),
            event: event(grant.event),
            fence: grant.fence,
        };
        let (reply, written) = self.call(grant.objects, entity(grant.entity), &request, fault);
        let held = self.holds(&grant);
        let known = self
            .known
            .get_mut(&(grant.entity, grant.event))
            .expect("granted");
        match (reply, held) {
            (Ok(Reply::Settled(Ok(()))), Some(_)) => {
                let spilt = u32::from(self.fillers > 0);
                assert!((1..=1 + spilt).contains(&written), "{written} pages");
                known.lease = None;
            }
            (Ok(Reply::Settled(Err(LeaseLost))), Some(late)) => {
                assert!(late >= LATE, "a lease is lost to nobody");
                assert_eq!(written, 0);
            }
            (Ok(Reply::Settled(Err(LeaseLost))), None) => assert_eq!(written, 0),
            (Err(Failure::Injected), Some(_)) => {
                if fault == Some(Fault::After) {
                    known.lease = None;
                }
            }
            other => panic!("{other:?} of {grant:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_of_entities_keep_to_the_model(
        fillers in prop::sample::select(vec![0_u32, 0, 62, 63, 64]),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut life = Life::new(fillers);
        for op in &ops {
            life.run(op);
        }
    }
}

// ── messages of our queue ───────────────────────────────────────────────────

/// For so long a message may be in a queue.
const LONG: Duration = Duration::from_secs(15 * 24 * 3600);

#[derive(Clone, Debug)]
enum Move {
    Claim {
        event: u32,
        /// By a message; `Some(back)`: that was sent under one of the last grants of its event, `None`: without a claim.
        message: Option<Option<usize>>,
        heard: bool,
        fault: Option<Fault>,
    },
    Commit {
        back: usize,
        receipt: Receipt,
        fault: Option<Fault>,
    },
    Release {
        back: usize,
        fault: Option<Fault>,
    },
    Wait(u64),
    Sweep,
    /// Another number of objects.
    Change,
}

fn some_fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        8 => Just(None),
        1 => Just(Some(Fault::Before)),
        1 => Just(Some(Fault::Between)),
        1 => Just(Some(Fault::After)),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let event = prop_oneof![8 => 0..3_u32, 1 => Just(FILLERS), 1 => Just(FILLERS + 62)];
    let message = prop_oneof![
        2 => Just(None),
        2 => (0..3_usize).prop_map(|back| Some(Some(back))),
        1 => Just(Some(None)),
    ];
    let heard = prop::bool::weighted(0.85);
    let claim = (event, message, heard, some_fault()).prop_map(|(event, message, heard, fault)| {
        Move::Claim {
            event,
            message,
            heard,
            fault,
        }
    });
    let day = 24 * 3600 * 1000;
    let waits = [
        1,
        500,
        14_999,
        15_000,
        60_000,
        75_001,
        day,
        2 * day,
        13 * day,
        15 * day,
        16 * day,
    ];
    prop_oneof![
        10 => claim,
        5 => (0..5_usize, receipt(), some_fault())
            .prop_map(|(back, receipt, fault)| Move::Commit { back, receipt, fault }),
        3 => (0..5_usize, some_fault()).prop_map(|(back, fault)| Move::Release { back, fault }),
        4 => prop::sample::select(waits.to_vec()).prop_map(Move::Wait),
        1 => Just(Move::Sweep),
        1 => Just(Move::Change),
    ]
}

/// Where an event stands, to whoever knows nothing of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stands {
    #[default]
    Free,
    /// A request of the sender's holds it.
    Leased {
        fence: Option<Fence>,
        until: Timestamp,
    },
    /// A message holds it, and it is in our queue.
    Attempting {
        fence: Option<Fence>,
        lapses: Timestamp,
        until: Timestamp,
    },
    /// It is settled. `Queued`: it is in our queue.
    Settled {
        receipt: Receipt,
        fence: Option<Fence>,
        until: Timestamp,
    },
}

impl Stands {
    fn lapsed(self, now: Timestamp) -> Self {
        match self {
            Self::Leased { until, .. } if until <= now => Self::Free,
            Self::Attempting {
                fence,
                lapses,
                until,
            } if lapses <= now => Self::Settled {
                receipt: Receipt::Queued,
                fence,
                until,
            },
            other => other,
        }
    }

    fn runs(self, now: Timestamp) -> bool {
        match self {
            Self::Leased { until, .. } => now < until,
            Self::Attempting { lapses, .. } => now < lapses,
            _ => false,
        }
    }

    /// What a claim gets; `None`: it is granted.
    fn answer(self, claimant: Claimant, now: Timestamp) -> Option<Claim> {
        let duplicate = |receipt, until: Timestamp| {
            let remembered = now.until(until);
            (now < until).then_some(Claim::Duplicate {
                receipt,
                remembered,
                round: 0,
            })
        };
        let in_flight = |until: Timestamp| {
            (now < until).then(|| Claim::InFlight {
                retry_after: now.until(until),
            })
        };
        match (self, claimant) {
            (Self::Free, _) => None,
            (Self::Leased { fence, .. }, Claimant::Message(sent)) if fence == Some(sent) => None,
            (Self::Leased { until, .. }, _) => in_flight(until),
            (Self::Attempting { until, .. }, Claimant::Sender) => duplicate(Receipt::Queued, until),
            (Self::Attempting { lapses, .. }, Claimant::Message(_)) => in_flight(lapses),
            (
                Self::Settled {
                    receipt: Receipt::Queued,
                    ..
                },
                Claimant::Message(_),
            ) => None,
            (Self::Settled { receipt, until, .. }, _) => duplicate(receipt, until),
        }
    }
}

/// A claim that its holder knows of.
#[derive(Clone, Copy, Debug)]
struct Hold {
    event: u32,
    fence: Fence,
    store: usize,
    of_message: bool,
}

struct Queue {
    now: Timestamp,
    stores: Vec<Memory>,
    /// The objects that the state of things is in.
    home: usize,
    /// Whether the newest objects have taken over what there was.
    arrived: bool,
    events: BTreeMap<u32, Stands>,
    holds: Vec<Hold>,
    highest: Fence,
    /// What was settled at some time, by which fence and how. What a message holds is in our queue.
    counted: BTreeSet<(u32, Fence, u8)>,
}

impl Queue {
    fn new(fillers: u32) -> Self {
        let mut queue = Self {
            now: START,
            stores: vec![Memory::default()],
            home: 0,
            arrived: true,
            events: BTreeMap::new(),
            holds: Vec::new(),
            highest: Fence(0),
            counted: BTreeSet::new(),
        };
        for n in 0..fillers {
            queue.claim(FILLERS + n, None, true, None);
            // Every other one waits in the queue, on a page that is full some time.
            let receipt = if n % 2 == 0 {
                Receipt::Queued
            } else {
                Receipt::Delivered
            };
            queue.commit(0, receipt, None);
        }
        queue
    }

    fn run(&mut self, op: &Move) {
        match *op {
            Move::Claim {
                event,
                message,
                heard,
                fault,
            } => {
                let message = message.map(|back| {
                    let mut of_event = self.holds.iter().rev().filter(|hold| hold.event == event);
                    let sent = back.and_then(|back| of_event.nth(back));
                    sent.map_or(Fence(0), |hold| hold.fence)
                });
                self.claim(event, message, heard, fault);
            }
            Move::Commit {
                back,
                receipt,
                fault,
            } => self.commit(back, receipt, fault),
            Move::Release { back, fault } => self.release(back, fault),
            Move::Wait(millis) => self.now = self.now.after(Duration::from_millis(millis)),
            Move::Sweep => self.stores.iter().for_each(|store| store.sweep(self.now)),
            Move::Change if self.arrived => {
                self.stores.push(Memory::default());
                self.arrived = false;
            }
            Move::Change => {}
        }
    }

    fn call(
        &self,
        store: usize,
        request: &Request,
        fault: Option<Fault>,
    ) -> (Result<Reply, Failure>, u32) {
        let store = &self.stores[store];
        store.fault.set(fault);
        let answer = call(store, request, self.now);
        store.fault.set(None);
        answer
    }

    /// The objects before hand over, as they do for each claim; `Err`: leases still run there.
    fn moved(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let Some(before) = self.stores.len().checked_sub(2) else {
            return Ok(None);
        };
        let request = Request::Move {
            entity: entity(1),
            window: LONG,
        };
        let reply = self.call(before, &request, None).0;
        let now = self.now;
        if self.home == before {
            self.events
                .values_mut()
                .for_each(|stands| *stands = stands.lapsed(now));
        }
        let runs = self.home == before && self.events.values().any(|stands| stands.runs(now));
        match reply {
            Ok(Reply::Busy(_)) if runs => Err(()),
            Ok(Reply::Moved(pages)) if !runs => {
                self.home = before + 1;
                Ok(Some(pages))
            }
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, of: u32, message: Option<Fence>, heard: bool, fault: Option<Fault>) {
        let Ok(moved) = self.moved() else {
            return;
        };
        let claimant = message.map_or(Claimant::Sender, Claimant::Message);
        let window = if message.is_some() { LONG } else { WINDOW };
        let claim = ClaimRequest {
            claimant,
            window,
            ..claim_of(of)
        };
        let request = Request::Claim {
            entity: entity(1),
            claim,
            moved,
        };
        let (reply, written) = self.call(self.home, &request, fault);
        let now = self.now;
        let lapses = now.after(LEASE);
        let stands = self.events.entry(of).or_default();
        let granted = |fence| match message {
            None => Stands::Leased {
                fence,
                until: lapses,
            },
            Some(_) => Stands::Attempting {
                fence,
                lapses,
                until: lapses.after(LONG),
            },
        };
        match (stands.answer(claimant, now), reply) {
            (Some(expected), Ok(Reply::Claim(claim))) => {
                assert_eq!((claim, written), (expected, 0), "{stands:?}");
            }
            (None, Ok(Reply::Claim(Claim::Granted { fence, .. }))) => {
                assert!(written > 0 && fence > self.highest);
                *stands = granted(Some(fence));
                if message.is_some() {
                    self.counted.insert((of, fence, Receipt::Queued as u8));
                }
                self.highest = fence;
                self.arrived = true;
                if heard {
                    let of_message = message.is_some();
                    self.holds.push(Hold {
                        event: of,
                        fence,
                        store: self.home,
                        of_message,
                    });
                }
            }
            (None, Err(Failure::Injected)) => {
                if fault == Some(Fault::After) {
                    *stands = granted(None);
                    if message.is_some() {
                        let unknown = Fence(u64::MAX);
                        self.counted.insert((of, unknown, Receipt::Queued as u8));
                    }
                    self.arrived = true;
                }
            }
            other => panic!("{other:?} to {claimant:?}"),
        }
    }

    fn commit(&mut self, back: usize, receipt: Receipt, fault: Option<Fault>) {
        let Some(hold) = self.holds.iter().rev().nth(back).copied() else {
            return;
        };
        // A message isn't sent back to the queue that it is in.
        let receipt = match receipt {
            Receipt::Queued if hold.of_message => Receipt::Delivered,
            other => other,
        };
        let of_queue = hold.of_message || receipt == Receipt::Queued;
        let window = if of_queue { LONG } else { WINDOW };
        let request = Request::Commit {
            entity: entity(1),
            event: event(hold.event),
            fence: hold.fence,
            receipt,
            window,
        };
        let (reply, written) = self.call(hold.store, &request, fault);
        let now = self.now;
        if hold.store != self.home {
            return assert_eq!(written, 0, "{reply:?} after a move");
        }
        let stands = self.events.entry(hold.event).or_default();
        let newest = Some(hold.fence);
        let holds = match *stands {
            Stands::Leased { fence, until } => fence == newest && now < until.after(LATE),
            Stands::Attempting { fence, until, .. } => fence == newest && now < until,
            _ => false,
        };
        // For as long as an attempt said, at least.
        let until = match *stands {
            Stands::Attempting { until, .. } => until.max(now.after(window)),
            _ => now.after(window),
        };
        match reply {
            Ok(Reply::Settled(Ok(()))) if holds => {
                assert!(written > 0);
                self.counted.insert((hold.event, hold.fence, receipt as u8));
                *stands = Stands::Settled {
                    receipt,
                    fence: newest,
                    until,
                };
            }
            Ok(Reply::Settled(Ok(()))) => {
                assert_eq!(written, 0);
                let (same, higher) = match *stands {
                    Stands::Settled {
                        receipt: known,
                        fence,
                        until,
                    } if now < until => (fence == newest && known == receipt, fence != newest),
                    Stands::Attempting { fence, until, .. } if now < until => {
                        (false, fence != newest)
                    }
                    Stands::Leased { until, .. } if now < until => (false, false),
                    // It counted once, or what overtook it did, and its window has ended.
                    _ => (
                        self.counted
                            .contains(&(hold.event, hold.fence, receipt as u8)),
                        self.counted
                            .iter()
                            .any(|(of, fence, _)| *of == hold.event && *fence > hold.fence),
                    ),
                };
                assert!(same || higher && receipt == Receipt::Queued, "{stands:?}");
            }
            Ok(Reply::Settled(Err(LeaseLost))) => {
                assert!(!holds, "a lease is lost to nobody");
                assert_eq!(written, 0);
                let overtaken = match *stands {
                    Stands::Attempting { until, fence, .. }
                    | Stands::Settled { until, fence, .. } => {
                        now < until && fence.is_none_or(|fence| fence > hold.fence)
                    }
                    _ => false,
                };
                assert!(
                    !(overtaken && receipt == Receipt::Queued),
                    "a fault that is none"
                );
            }
            Err(Failure::Injected) => {
                if fault == Some(Fault::After) && holds {
                    self.counted.insert((hold.event, hold.fence, receipt as u8));
                    *stands = Stands::Settled {
                        receipt,
                        fence: newest,
                        until,
                    };
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, back: usize, fault: Option<Fault>) {
        let Some(hold) = self.holds.iter().rev().nth(back).copied() else {
            return;
        };
        let request = release_request(hold.event, hold.fence);
        let (reply, written) = self.call(hold.store, &request, fault);
        if hold.store != self.home {
            return assert_eq!(written, 0, "{reply:?} after a move");
        }
        let now = self.now;
        let stands = self.events.entry(hold.event).or_default();
        let newest = Some(hold.fence);
        let given_back = match *stands {
            Stands::Leased { fence, until } if fence == newest && now < until.after(LATE) => {
                Some(Stands::Free)
            }
            Stands::Attempting { fence, until, .. } if fence == newest && now < until => {
                let receipt = Receipt::Queued;
                Some(Stands::Settled {
                    receipt,
                    fence,
                    until,
                })
            }
            _ => None,
        };
        match (reply, given_back) {
            (Ok(Reply::Settled(Ok(()))), Some(given_back)) => *stands = given_back,
            (Ok(Reply::Settled(Err(LeaseLost))), None) => assert_eq!(written, 0),
            (Err(Failure::Injected), Some(given_back)) => {
                if fault == Some(Fault::After) {
                    *stands = given_back;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_of_queued_events_keep_to_the_model(
        fillers in prop::sample::select(vec![0_u32, 0, 62, 63, 64, 130]),
        ops in prop::collection::vec(moves(), 1..80),
    ) {
        let mut queue = Queue::new(fillers);
        for op in &ops {
            queue.run(op);
        }
    }
}

fn message_claim(n: u32, fence: Fence) -> ClaimRequest {
    ClaimRequest {
        claimant: Claimant::Message(fence),
        window: LONG,
        ..claim_of(n)
    }
}

#[track_caller]
fn granted_to_message(store: &Memory, n: u32, sent: Fence, now: Timestamp) -> Fence {
    match claim(store, message_claim(n, sent), now) {
        (Claim::Granted { fence, .. }, _) => fence,
        other => panic!("{other:?}"),
    }
}

/// Claims for the sender, and commits that it is in our queue.
#[track_caller]
fn enqueue(store: &Memory, n: u32, now: Timestamp) -> Fence {
    let fence = granted(store, n, now);
    assert_eq!(settle(store, &queued_request(n, fence), now).0, Ok(()));
    fence
}

fn queued_request(n: u32, fence: Fence) -> Request {
    Request::Commit {
        entity: entity(1),
        event: event(n),
        fence,
        receipt: Receipt::Queued,
        window: LONG,
    }
}

fn queued(remembered: Duration) -> Claim {
    Claim::Duplicate {
        receipt: Receipt::Queued,
        remembered,
        round: 0,
    }
}

#[test]
fn a_message_that_is_faster_than_the_commit_of_its_request_makes_no_fault_of_it() {
    let store = Memory::default();
    let sent = granted(&store, 1, START);
    let fence = granted_to_message(&store, 1, sent, START);
    assert!(fence > sent);
    assert_eq!(settle(&store, &queued_request(1, sent), START), (Ok(()), 0));
    let delivered = commit_request(1, fence);
    assert_eq!(settle(&store, &delivered, START), (Ok(()), 1));
    assert_eq!(settle(&store, &queued_request(1, sent), START), (Ok(()), 0));
    // Whatever else the request might have to say comes too late.
    assert_eq!(
        settle(&store, &commit_request(1, sent), START),
        (Err(LeaseLost), 0)
    );
    assert_eq!(
        settle(&store, &release_request(1, sent), START),
        (Err(LeaseLost), 0)
    );
    assert_eq!(
        claim(&store, claim_of(1), START),
        (duplicate(LEASE + LONG), 0)
    );
    let again = message_claim(1, sent);
    assert_eq!(claim(&store, again, START), (duplicate(LEASE + LONG), 0));
}

#[test]
fn a_lease_is_taken_over_by_no_message_but_its_own() {
    let store = Memory::default();
    let sent = granted(&store, 1, START);
    let in_flight = Claim::InFlight { retry_after: LEASE };
    for other in [Fence(0), Fence(sent.0 - 1), Fence(sent.0 + 1)] {
        assert_eq!(
            claim(&store, message_claim(1, other), START),
            (in_flight, 0)
        );
    }
    granted_to_message(&store, 1, sent, START);
}

#[test]
fn an_attempt_that_lapses_never_loses_the_receipt() {
    let store = Memory::default();
    let sent = enqueue(&store, 1, START);
    let first = granted_to_message(&store, 1, sent, START);
    for (wait, remembered) in [
        (14_999, LONG + Duration::from_millis(1)),
        (15_000, LONG),
        (3_600_000, LONG - Duration::from_secs(3585)),
    ] {
        let now = START.after(Duration::from_millis(wait));
        store.sweep(now);
        assert_eq!(claim(&store, claim_of(1), now), (queued(remembered), 0));
    }
    let later = START.after(Duration::from_secs(3600));
    let second = granted_to_message(&store, 1, sent, later);
    for late in [commit_request(1, first), release_request(1, first)] {
        assert_eq!(settle(&store, &late, later), (Err(LeaseLost), 0));
    }
    assert_eq!(
        settle(&store, &release_request(1, second), later),
        (Ok(()), 1)
    );
    assert_eq!(claim(&store, claim_of(1), later), (queued(LEASE + LONG), 0));
    // It was given back to messages, and to nobody else.
    let third = granted_to_message(&store, 1, sent, later);
    assert_eq!(
        settle(&store, &commit_request(1, third), later),
        (Ok(()), 1)
    );
}

#[test]
fn a_receipt_is_remembered_for_as_long_as_was_said_while_it_was_attempted() {
    let store = Memory::default();
    let sent = enqueue(&store, 1, START);
    let fence = granted_to_message(&store, 1, sent, START);
    assert_eq!(claim(&store, claim_of(1), START).0, queued(LEASE + LONG));
    let commit = Request::Commit {
        entity: entity(1),
        event: event(1),
        fence,
        receipt: Receipt::Delivered,
        window: LONG,
    };
    assert_eq!(settle(&store, &commit, START), (Ok(()), 1));
    let told = claim(&store, claim_of(1), START).0;
    assert_eq!(told, duplicate(LEASE + LONG));
}

#[test]
fn as_many_attempts_as_there_may_be_leases_lose_no_receipt_when_they_lapse() {
    let store = Memory::default();
    let count = u32::try_from(MAX_LEASED).unwrap();
    for n in 0..count {
        let sent = enqueue(&store, n, START);
        granted_to_message(&store, n, sent, START);
    }
    let in_flight = Claim::InFlight { retry_after: LEASE };
    assert_eq!(claim(&store, claim_of(count), START), (in_flight, 0));
    let lapsed = START.after(LEASE);
    granted(&store, count, lapsed);
    for n in 0..count - 1 {
        assert_eq!(
            claim(&store, claim_of(n), lapsed),
            (queued(LONG), 0),
            "event {n}"
        );
        granted_to_message(&store, n, Fence(0), lapsed);
        let still = claim(&store, claim_of(n), lapsed).0;
        assert_eq!(still, queued(LEASE + LONG), "event {n}");
    }
}

#[test]
fn a_queued_event_on_an_older_page_waits_for_its_message_like_any_other() {
    let store = Memory::default();
    let sent = enqueue(&store, 1, START);
    (100..240).for_each(|n| deliver(&store, n, START));
    assert!(store.rows.borrow().len() > 2);
    assert_eq!(claim(&store, claim_of(1), START), (queued(LONG), 0));
    let fence = granted_to_message(&store, 1, sent, START);
    assert_eq!(claim(&store, claim_of(1), START), (queued(LEASE + LONG), 0));
    assert_eq!(
        settle(&store, &commit_request(1, fence), START),
        (Ok(()), 1)
    );
    (300..440).for_each(|n| deliver(&store, n, START));
    assert_eq!(
        claim(&store, message_claim(1, sent), START),
        (duplicate(LEASE + LONG), 0)
    );
}

#[test]
fn an_attempt_that_lapsed_before_a_move_is_queued_after_it() {
    let (old, new) = (Memory::default(), Memory::default());
    let sent = enqueue(&old, 1, START);
    granted_to_message(&old, 1, sent, START);
    let request = Request::Move {
        entity: entity(1),
        window: LONG,
    };
    assert_eq!(call(&old, &request, START).0, Ok(Reply::Busy(LEASE)));
    let lapsed = START.after(LEASE);
    let (Ok(Reply::Moved(pages)), 1) = call(&old, &request, lapsed) else {
        panic!("not moved")
    };
    let claim = |claim, moved| {
        let request = Request::Claim {
            entity: entity(1),
            claim,
            moved,
        };
        call(&new, &request, lapsed).0
    };
    let told = claim(claim_of(1), Some(pages.clone()));
    assert_eq!(told, Ok(Reply::Claim(queued(LONG))));
    let granted = claim(message_claim(1, sent), Some(pages));
    assert!(
        matches!(granted, Ok(Reply::Claim(Claim::Granted { .. }))),
        "{granted:?}"
    );
    let told = claim(claim_of(1), None);
    assert_eq!(told, Ok(Reply::Claim(queued(LEASE + LONG))));
}

// ── what random lives reach too seldom ──────────────────────────────────────

#[test]
fn an_older_fence_neither_commits_nor_releases() {
    let store = Memory::default();
    let first = granted(&store, 1, START);
    let lapsed = START.after(LEASE);
    let second = granted(&store, 1, lapsed);
    for request in [commit_request(1, first), release_request(1, first)] {
        assert_eq!(settle(&store, &request, lapsed), (Err(LeaseLost), 0));
        let in_flight = Claim::InFlight { retry_after: LEASE };
        assert_eq!(claim(&store, claim_of(1), lapsed), (in_flight, 0));
    }
    for fence in [Fence(0), Fence(second.0 + 1)] {
        let commit = commit_request(1, fence);
        assert_eq!(settle(&store, &commit, lapsed), (Err(LeaseLost), 0));
    }
    assert_eq!(
        settle(&store, &commit_request(1, second), lapsed),
        (Ok(()), 1)
    );
    let duplicate = duplicate(WINDOW);
    assert_eq!(claim(&store, claim_of(1), lapsed), (duplicate, 0));
}

#[test]
fn a_new_event_writes_two_rows_and_a_duplicate_none() {
    let store = Memory::default();
    for n in 0..64 {
        let (answer, written) = claim(&store, claim_of(n), START);
        assert_eq!(written, 1);
        let Claim::Granted { fence, .. } = answer else {
            panic!("{answer:?}")
        };
        let in_flight = Claim::InFlight { retry_after: LEASE };
        assert_eq!(claim(&store, claim_of(n), START), (in_flight, 0));
        assert_eq!(
            settle(&store, &commit_request(n, fence), START),
            (Ok(()), 1)
        );
        // Once more, since the first answer can get lost: no news, no row.
        assert_eq!(
            settle(&store, &commit_request(n, fence), START),
            (Ok(()), 0)
        );
        let lost = (Err(LeaseLost), 0);
        assert_eq!(settle(&store, &release_request(n, fence), START), lost);
        let duplicate = duplicate(WINDOW);
        assert_eq!(claim(&store, claim_of(n), START), (duplicate, 0));
    }
    assert_eq!(store.rows.borrow().len(), 1);
}

#[test]
fn an_event_is_forgotten_when_its_window_ends_and_not_before() {
    let store = Memory::default();
    deliver(&store, 1, START);
    let end = START.after(WINDOW);
    let last = Timestamp(end.0 - 1);
    store.sweep(last);
    let duplicate = duplicate(Duration::from_millis(1));
    assert_eq!(claim(&store, claim_of(1), last), (duplicate, 0));
    granted(&store, 1, end);
}

#[test]
fn a_lease_holds_until_it_ends_and_not_longer() {
    let store = Memory::default();
    granted(&store, 1, START);
    let end = START.after(LEASE);
    let in_flight = Claim::InFlight {
        retry_after: Duration::from_millis(1),
    };
    assert_eq!(
        claim(&store, claim_of(1), Timestamp(end.0 - 1)),
        (in_flight, 0)
    );
    granted(&store, 1, end);
}

#[test]
fn the_sequence_rises_within_a_millisecond_over_releases_and_against_the_clock() {
    let store = Memory::default();
    let now = u64::try_from(START.0).unwrap();
    assert_eq!(granted(&store, 1, START), Fence(now));
    assert_eq!(granted(&store, 2, START), Fence(now + 1));
    let release = release_request(2, Fence(now + 1));
    assert_eq!(settle(&store, &release, START), (Ok(()), 1));
    assert_eq!(granted(&store, 2, START), Fence(now + 2));
    let earlier = Timestamp(START.0 - 60_000);
    assert_eq!(granted(&store, 3, earlier), Fence(now + 3));
    assert_eq!(granted(&store, 4, START.after(LEASE)), Fence(now + 15_000));
    let swept = START.after(WINDOW * 2);
    store.sweep(swept);
    assert_eq!(store.rows.borrow().len(), 0);
    assert_eq!(granted(&store, 1, swept), Fence(now + 4 * 24 * 3_600_000));
}

#[test]
fn the_state_is_that_of_the_highest_rank_and_of_the_latest_at_the_same_rank() {
    let store = Memory::default();
    let state = |n, rank, state, at| {
        let request = ClaimRequest {
            step: Step {
                rank,
                state,
                at: Timestamp(at),
                ..Step::default()
            },
            ..claim_of(n)
        };
        match claim(&store, request, START) {
            (Claim::Granted { state, .. }, 1) => state,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(state(1, 0, 0, 90), 0);
    assert_eq!(state(2, 1, 4, 50), 4);
    assert_eq!(state(3, 1, 5, 40), 4);
    assert_eq!(state(4, 1, 6, 60), 6);
    assert_eq!(state(5, 2, 7, 10), 7);
    assert_eq!(state(6, 1, 4, 99), 7);
    assert_eq!(state(7, 0, 0, 99), 7);
}

#[test]
fn an_entity_has_a_bounded_number_of_pages_and_remembers_what_they_hold() {
    let store = Memory::default();
    let page = u32::try_from(MAX_HEAD_ENTRIES).unwrap() + 1;
    let held = page * MAX_PAGES;
    let count = held + 2 * page + 10;
    (0..count).for_each(|n| deliver(&store, n, START));
    let rows = store.rows.borrow().len();
    assert_eq!(rows, usize::try_from(MAX_PAGES).unwrap() + 1);
    // Two rows an event, and one more for each page.
    assert_eq!(store.written.get(), 2 * count + count / page);
    let largest = store
        .rows
        .borrow()
        .values()
        .map(|(_, packed)| packed.len())
        .max();
    assert_eq!(largest, Some(6 + 33 * 65));
    let duplicate = duplicate(WINDOW);
    for n in [count - 1, count - page, count - held / 2, count - held] {
        assert_eq!(
            claim(&store, claim_of(n), START),
            (duplicate, 0),
            "event {n}"
        );
    }
    // The oldest page was overwritten.
    granted(&store, 0, START);
}

#[test]
fn an_entity_has_a_bounded_number_of_leases() {
    let store = Memory::default();
    let count = u32::try_from(MAX_LEASED).unwrap();
    for n in 0..count {
        granted(&store, n, START.after(Duration::from_millis(n.into())));
    }
    let now = START.after(Duration::from_secs(5));
    let in_flight = Claim::InFlight {
        retry_after: Duration::from_secs(10),
    };
    assert_eq!(claim(&store, claim_of(count), now), (in_flight, 0));
    assert_eq!(
        granted(&store, count, START.after(LEASE)),
        Fence(u64::try_from(START.0).unwrap() + 15_000)
    );
}

#[test]
fn leases_that_nobody_settles_dont_make_the_head_grow() {
    let store = Memory::default();
    for n in 0..2000 {
        let now = START.after(Duration::from_millis(60) * n);
        granted(&store, n, now);
        let longest = store
            .rows
            .borrow()
            .values()
            .map(|(_, packed)| packed.len())
            .max();
        let bound = 46 + 33 * (MAX_LEASED + MAX_HEAD_ENTRIES);
        assert!(longest.unwrap() <= bound, "{longest:?} after {n}");
    }
}

#[test]
fn many_leases_dont_push_what_is_committed_out_of_memory() {
    let store = Memory::default();
    for n in 0..u32::try_from(MAX_HEAD_ENTRIES).unwrap() + 6 {
        granted(&store, 10_000 + n, START);
    }
    let count = 64 * 8;
    for n in 0..count {
        deliver(&store, n, START);
    }
    let duplicate = duplicate(WINDOW);
    for n in 0..count {
        assert_eq!(
            claim(&store, claim_of(n), START),
            (duplicate, 0),
            "event {n}"
        );
    }
    // Pages are filled before the next one is begun: the head and seven more.
    assert_eq!(store.rows.borrow().len(), 8);
}

#[test]
fn an_expired_copy_in_an_older_page_hides_no_newer_commit() {
    let store = Memory::default();
    deliver(&store, 1, START);
    let later = START.after(WINDOW / 2);
    (100..170).for_each(|n| deliver(&store, n, later));
    // Its window has ended, and the page that it stands in lives on for the others' sake.
    let ended = START.after(WINDOW);
    let fence = granted(&store, 1, ended);
    assert_eq!(
        settle(&store, &commit_request(1, fence), ended),
        (Ok(()), 1)
    );
    (200..270).for_each(|n| deliver(&store, n, ended));
    assert_eq!(store.rows.borrow().len(), 3);
    let duplicate = duplicate(WINDOW);
    assert_eq!(claim(&store, claim_of(1), ended), (duplicate, 0));
    assert_eq!(
        settle(&store, &commit_request(1, fence), ended),
        (Ok(()), 0)
    );
}

#[test]
fn a_save_that_ends_between_two_pages_forgets_nothing() {
    let store = Memory::default();
    (0..64).for_each(|n| deliver(&store, n, START));
    let fence = granted(&store, 64, START);
    // The head is full: this commit moves what is committed to a page, and only that page is written.
    store.fault.set(Some(Fault::Between));
    let failed = (Err(Failure::Injected), 1);
    let commit = commit_request(64, fence);
    assert_eq!(call(&store, &commit, START), failed);
    assert_eq!(store.rows.borrow().len(), 2);
    let duplicate = duplicate(WINDOW);
    for n in 0..64 {
        assert_eq!(
            claim(&store, claim_of(n), START),
            (duplicate, 0),
            "event {n}"
        );
    }
    // The holder tries again, and what it wrote the first time is no news to nobody.
    assert_eq!(settle(&store, &commit, START), (Ok(()), 2));
    (65..200).for_each(|n| deliver(&store, n, START));
    for n in 0..200 {
        assert_eq!(
            claim(&store, claim_of(n), START),
            (duplicate, 0),
            "event {n}"
        );
    }
}

#[test]
fn nothing_is_so_of_a_save_that_ended_between_two_pages() {
    let store = Memory::default();
    (0..64).for_each(|n| deliver(&store, n, START));
    let half = |n, now| {
        let fence = granted(&store, n, now);
        store.fault.set(Some(Fault::Between));
        let failed = (Err(Failure::Injected), 1);
        assert_eq!(call(&store, &commit_request(n, fence), now), failed);
        fence
    };
    // Twice, and their holders come back when their leases are long gone.
    let fences = [half(64, START), half(65, START)];
    let later = START.after(LEASE).after(LATE);
    granted(&store, 66, later);
    for (n, fence) in [(64, fences[0]), (65, fences[1])] {
        let lost = settle(&store, &commit_request(n, fence), later);
        assert_eq!(lost, (Err(LeaseLost), 0), "event {n}");
        deliver(&store, n, later);
    }
    // Moved with what is left of it, it is the same.
    let request = Request::Move {
        entity: entity(1),
        window: WINDOW,
    };
    let (Ok(Reply::Moved(pages)), _) = call(&store, &request, later.after(LEASE)) else {
        panic!("nothing is held");
    };
    let other = Memory::default();
    for n in (0..66).rev() {
        let request = Request::Claim {
            entity: entity(1),
            claim: claim_of(n),
            moved: Some(pages.clone()),
        };
        let (reply, _) = call(&other, &request, later.after(LEASE));
        let until = if n < 64 { START } else { later }.after(WINDOW);
        let remembered = later.after(LEASE).until(until);
        assert_eq!(reply, Ok(Reply::Claim(duplicate(remembered))), "event {n}");
    }
}

#[test]
fn pages_of_before_that_have_no_number_of_their_own_are_read() {
    let store = Memory::default();
    (0..70).for_each(|n| deliver(&store, n, START));
    let mut rows = store.rows.borrow_mut();
    let (_, page) = rows.get_mut(&(entity(1), 1)).unwrap();
    // The count without its mark, then the entries.
    *page = [&[page[0] & 0x7f, page[1] & 0x7f], &page[6..]].concat();
    drop(rows);
    for n in 0..70 {
        let answer = (duplicate(WINDOW), 0);
        assert_eq!(claim(&store, claim_of(n), START), answer, "event {n}");
    }
}

#[test]
fn a_row_that_cant_be_read_is_an_error_and_no_answer() {
    let whole = Memory::default();
    (0..70).for_each(|n| deliver(&whole, n, START));
    let rows = whole.rows.borrow().clone();
    assert_eq!(rows.len(), 2);
    let refused = |number: u32, packed: Vec<u8>, why: &str| {
        let store = Memory::default();
        *store.rows.borrow_mut() = rows.clone();
        let mut altered = rows[&(entity(1), number)].clone();
        altered.1 = packed;
        store.rows.borrow_mut().insert((entity(1), number), altered);
        let claim = |n| Request::Claim {
            entity: entity(1),
            claim: claim_of(n),
            moved: None,
        };
        let corrupt = (Err(Failure::RowCorrupt), 0);
        let commit = commit_request(1, Fence(1));
        let moved = Request::Move {
            entity: entity(1),
            window: WINDOW,
        };
        for request in [
            claim(1),
            claim(999),
            commit,
            release_request(1, Fence(1)),
            moved,
        ] {
            assert_eq!(
                call(&store, &request, START),
                corrupt,
                "page {number}: {why}"
            );
        }
    };
    for ((_, number), (_, packed)) in &rows {
        for len in 0..packed.len() {
            refused(*number, packed[..len].to_vec(), "cut short");
        }
        refused(*number, [packed.as_slice(), &[0]].concat(), "too long");
        // The code of what was remembered stands after the count, a page's number and the event's hash.
        let (status, first) = if *number == 0 { (93, 65) } else { (22, 0) };
        let mut altered = packed.clone();
        assert_eq!(altered[status - 16..status], event(first).0);
        altered[status] = 6;
        refused(*number, altered, "a code of a later version");
    }
    let head = &rows[&(entity(1), 0)].1;
    // One of version 3 isn't taken for one before, either.
    for version in [0, 1, 2, 4, 255] {
        let mut altered = head.clone();
        altered[0] = version;
        refused(0, altered, "another version");
    }
}

#[test]
fn pages_that_were_moved_and_cant_be_read_are_an_error() {
    let store = Memory::default();
    for moved in [
        vec![0],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 0, 0, 0, 0, 9, 1],
        vec![0; 8],
    ] {
        let request = Request::Claim {
            entity: entity(1),
            claim: claim_of(1),
            moved: Some(moved),
        };
        let corrupt = (Err(Failure::RowCorrupt), 0);
        assert_eq!(call(&store, &request, START), corrupt);
    }
}

#[test]
fn a_late_commit_after_a_move_is_told_that_the_lease_is_lost() {
    let store = Memory::default();
    let fence = granted(&store, 1, START);
    let request = Request::Move {
        entity: entity(1),
        window: WINDOW,
    };
    assert_eq!(call(&store, &request, START), (Ok(Reply::Busy(LEASE)), 1));
    let lapsed = START.after(LEASE);
    let (reply, written) = call(&store, &request, lapsed);
    assert!(matches!(reply, Ok(Reply::Moved(_))), "{reply:?}");
    assert_eq!(written, 1);
    for late in [commit_request(1, fence), release_request(1, fence)] {
        assert_eq!(settle(&store, &late, lapsed), (Err(LeaseLost), 0));
    }
    assert_eq!(claim(&store, claim_of(1), lapsed), (Claim::Moved, 0));
    // Handed over again, as often as somebody asks.
    assert_eq!(call(&store, &request, lapsed).1, 0);
}

#[test]
fn a_lease_that_lapsed_before_a_move_is_none_after_it_whatever_the_other_objects_clock() {
    let (old, new) = (Memory::default(), Memory::default());
    granted(&old, 1, START);
    let request = Request::Move {
        entity: entity(1),
        window: WINDOW,
    };
    let (Ok(Reply::Moved(pages)), 1) = call(&old, &request, START.after(LEASE)) else {
        panic!("not moved")
    };
    let request = Request::Claim {
        entity: entity(1),
        claim: claim_of(1),
        moved: Some(pages),
    };
    // Its clock is behind: there the lease would run for a second more.
    let behind = START.after(LEASE - Duration::from_secs(1));
    let granted = Claim::Granted {
        fence: Fence(u64::try_from(behind.0).unwrap()),
        event: event(1),
        round: 0,
        state: 0,
        ordering: Ordering::Unknown,
    };
    assert_eq!(call(&new, &request, behind), (Ok(Reply::Claim(granted)), 1));
}

#[test]
fn what_was_committed_before_a_move_is_a_duplicate_after_it() {
    let (old, new) = (Memory::default(), Memory::default());
    (0..130).for_each(|n| deliver(&old, n, START));
    let request = Request::Move {
        entity: entity(1),
        window: WINDOW,
    };
    let (Ok(Reply::Moved(pages)), 1) = call(&old, &request, START) else {
        panic!("not moved")
    };
    let claim = |n, moved: &[u8]| Request::Claim {
        entity: entity(1),
        claim: claim_of(n),
        moved: Some(moved.to_vec()),
    };
    let duplicate = Ok(Reply::Claim(duplicate(WINDOW)));
    for n in 0..130 {
        assert_eq!(
            call(&new, &claim(n, &pages), START),
            (duplicate.clone(), 0),
            "event {n}"
        );
    }
    let (reply, written) = call(&new, &claim(500, &pages), START);
    let Ok(Reply::Claim(Claim::Granted { fence, .. })) = reply else {
        panic!("{reply:?}")
    };
    // The head, and one page for all that was moved.
    assert_eq!(written, 2);
    assert_eq!(fence, Fence(u64::try_from(START.0).unwrap() + 130));
    // What came over once isn't taken a second time.
    let (reply, written) = call(&new, &claim(501, &pages), START);
    assert!(
        matches!(reply, Ok(Reply::Claim(Claim::Granted { .. }))),
        "{reply:?}"
    );
    assert_eq!((written, new.rows.borrow().len()), (1, 2));
    for n in 0..130 {
        assert_eq!(
            call(&new, &claim(n, &[]), START),
            (duplicate.clone(), 0),
            "event {n}"
        );
    }
}

#[test]
fn of_so_many_objects_the_same_one_has_an_entity_in_every_version() {
    let mut key = entity(9);
    key.0[..8].copy_from_slice(&258_u64.to_be_bytes());
    assert_eq!([0, 1, 4, 7].map(|shards| key.shard(shards)), [0, 0, 2, 6]);
}

#[test]
fn the_number_of_objects_is_recorded_once_and_a_change_has_to_be_meant() {
    let store = Memory::default();
    let ask = |shards, previous, now| {
        let request = Request::Layout(LayoutRequest {
            shards,
            previous,
            window: WINDOW,
        });
        match call(&store, &request, now).0 {
            Ok(Reply::Layout(agreed)) => agreed,
            other => panic!("{other:?}"),
        }
    };
    let objects = |generation, shards| Objects { generation, shards };
    let agreed = |objects, previous| Ok(Agreed { objects, previous });
    let refused = |recorded, wait| Err(LayoutRefused { recorded, wait });
    assert_eq!(ask(4, Some(9), START), agreed(objects(1, 4), None));
    assert_eq!(ask(8, None, START), refused(4, Duration::ZERO));
    assert_eq!(ask(8, Some(5), START), refused(4, Duration::ZERO));
    assert_eq!(ask(4, None, START), agreed(objects(1, 4), None));
    let changed = agreed(objects(2, 8), Some(objects(1, 4)));
    assert_eq!(ask(8, Some(4), START), changed);
    // The setting stays as it is: no further change, and the objects before are asked for a window and a day.
    let end = START.after(LINGERING).after(WINDOW);
    let last = Timestamp(end.0 - 1);
    assert_eq!(ask(8, Some(4), last), changed);
    assert_eq!(ask(4, Some(8), last), refused(8, Duration::from_millis(1)));
    assert_eq!(ask(8, Some(4), end), agreed(objects(2, 8), None));
    let back = agreed(objects(3, 4), Some(objects(2, 8)));
    assert_eq!(ask(4, Some(8), end), back);
    assert_eq!(objects(3, 4).name(entity(5)), "entity-v1-3-4-1");
}

#[test]
fn a_recorded_layout_that_cant_be_read_is_an_error() {
    let store = Memory::default();
    let request = Request::Layout(LayoutRequest {
        shards: 4,
        previous: None,
        window: WINDOW,
    });
    assert!(matches!(
        call(&store, &request, START).0,
        Ok(Reply::Layout(Ok(_)))
    ));
    let sound = store.layout.borrow().clone().unwrap();
    let mut later = sound.clone();
    later[0] = 2;
    let mut altered = vec![later, [sound.as_slice(), &[0]].concat()];
    altered.extend((0..sound.len()).map(|len| sound[..len].to_vec()));
    for packed in altered {
        *store.layout.borrow_mut() = Some(packed.clone());
        let corrupt = Err(Failure::RowCorrupt);
        assert_eq!(call(&store, &request, START).0, corrupt, "{packed:?}");
        assert_eq!(*store.layout.borrow(), Some(packed));
    }
}

// ── forms ───────────────────────────────────────────────────────────────────

fn span() -> impl Strategy<Value = Duration> {
    (0..=u64::try_from(i64::MAX).unwrap()).prop_map(Duration::from_millis)
}

fn objects() -> impl Strategy<Value = Objects> {
    (1..=u32::MAX, any::<u32>()).prop_map(|(generation, shards)| Objects { generation, shards })
}

fn receipt() -> impl Strategy<Value = Receipt> {
    prop::sample::select(vec![
        Receipt::Delivered,
        Receipt::Queued,
        Receipt::Enqueued,
        Receipt::DeadLettered,
    ])
}

fn letter() -> impl Strategy<Value = Letter> {
    let text = || prop::option::of("[a-z_.]{1,20}");
    let texts = (
        "[a-z-]{0,9}",
        "[a-z_]{1,20}",
        text(),
        text(),
        text(),
        text(),
    );
    let times = (
        any::<i64>(),
        any::<i64>(),
        any::<i64>(),
        prop::option::of(0..i64::MAX),
    );
    (any::<[u8; 16]>(), texts, times, any::<(u32, u32)>()).prop_map(
        |(id, (source, code, r#type, webhook_id, problem, path), times, (redeliveries, bytes))| {
            let (received_at, kept_at, expires_at, redelivered_at) = times;
            Letter {
                id: LetterId(id),
                source,
                code,
                r#type,
                webhook_id,
                problem,
                path,
                received_at: Timestamp(received_at),
                kept_at: Timestamp(kept_at),
                expires_at: Timestamp(expires_at),
                redelivered_at: redelivered_at.map(Timestamp),
                redeliveries,
                body_bytes: bytes,
            }
        },
    )
}

fn sealed() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn letter_request() -> impl Strategy<Value = LetterRequest> {
    let id = || any::<[u8; 16]>().prop_map(LetterId);
    let text = || prop::option::of("[a-z_]{1,20}");
    let after = prop::option::of((0..i64::MAX, id()));
    prop_oneof![
        (letter(), sealed()).prop_map(|(letter, sealed)| LetterRequest::Keep {
            letter: Box::new(letter),
            sealed
        }),
        (
            text(),
            text(),
            any::<i64>(),
            after,
            any::<bool>(),
            any::<u32>()
        )
            .prop_map(
                |(source, code, since, after, waiting, limit)| LetterRequest::List(Filter {
                    source,
                    code,
                    since: Timestamp(since),
                    after: after.map(|(at, id)| (Timestamp(at), id)),
                    waiting,
                    limit,
                })
            ),
        id().prop_map(LetterRequest::Read),
        id().prop_map(LetterRequest::Remove),
        (id(), any::<u32>()).prop_map(|(id, before)| LetterRequest::Mark(id, before)),
        Just(LetterRequest::Count),
    ]
}

fn letter_reply() -> impl Strategy<Value = LetterReply> {
    let oldest = prop::option::of(0..i64::MAX);
    prop_oneof![
        Just(LetterReply::Kept),
        prop::collection::vec(letter(), 0..4).prop_map(LetterReply::Listed),
        Just(LetterReply::Read(None)),
        (letter(), sealed()).prop_map(|read| LetterReply::Read(Some(read))),
        any::<bool>().prop_map(LetterReply::Done),
        (any::<(u64, u64, u64)>(), oldest).prop_map(|((kept, withheld, waiting), oldest)| {
            LetterReply::Count(Count {
                kept,
                withheld,
                waiting,
                oldest: oldest.map(Timestamp),
            })
        }),
    ]
}

fn life() -> impl Strategy<Value = rxgate::entity::Life> {
    use rxgate::entity::Life::{Authorization, Dispense, None, Prescription, Settlement};
    prop::sample::select(vec![
        None,
        Authorization,
        Dispense,
        Prescription,
        Settlement,
    ])
}

fn ordering() -> impl Strategy<Value = Ordering> {
    use Ordering::{Early, InOrder, Late, OutOfSequence, Superseded, Unknown};
    prop::sample::select(vec![
        Unknown,
        InOrder,
        Early,
        Superseded,
        OutOfSequence,
        Late,
    ])
}

fn request() -> impl Strategy<Value = Request> {
    let ids = || (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u64>());
    let pages = prop::option::of(prop::collection::vec(any::<u8>(), 1..40));
    prop_oneof![
        (any::<u32>(), prop::option::of(1..=u32::MAX), span()).prop_map(
            |(shards, previous, window)| Request::Layout(LayoutRequest {
                shards,
                previous,
                window
            })
        ),
        (
            ids(),
            any::<(u8, u8, i64)>(),
            any::<(u8, u32, Option<u16>)>(),
            life(),
            span(),
            span(),
            pages
        )
            .prop_map(
                |(
                    (entity, event, fence),
                    (rank, state, at),
                    (node, version, round),
                    life,
                    lease,
                    window,
                    moved,
                )| Request::Claim {
                    entity: EntityKey(entity),
                    claim: ClaimRequest {
                        event: EventHash(event),
                        round,
                        claimant: match fence % 3 {
                            0 => Claimant::Sender,
                            _ => Claimant::Message(Fence(fence)),
                        },
                        step: Step {
                            rank,
                            state,
                            at: Timestamp(at),
                            life,
                            node,
                            version,
                        },
                        lease,
                        window,
                    },
                    moved,
                }
            ),
        (ids(), receipt(), span()).prop_map(|((entity, event, fence), receipt, window)| {
            Request::Commit {
                entity: EntityKey(entity),
                event: EventHash(event),
                fence: Fence(fence),
                receipt,
                window,
            }
        }),
        letter_request().prop_map(Request::Letters),
        expect_request().prop_map(Request::Expect),
        (any::<bool>(), any::<bool>(), ids(), span(), pages_moved()).prop_map(
            |(expected, of_message, (entity, event, fence), span, moved)| {
                let condition = if expected {
                    Condition::Expected
                } else {
                    Condition::StillMissing
                };
                let claim = Request::Claim {
                    entity: EntityKey(entity),
                    claim: ClaimRequest {
                        event: EventHash(event),
                        claimant: if of_message {
                            Claimant::Message(Fence(fence))
                        } else {
                            Claimant::Sender
                        },
                        step: Step::default(),
                        round: None,
                        lease: span,
                        window: span,
                    },
                    moved,
                };
                Request::ClaimIf(condition, Box::new(claim))
            }
        ),
        ids().prop_map(|(entity, event, fence)| Request::Release {
            entity: EntityKey(entity),
            event: EventHash(event),
            fence: Fence(fence),
        }),
        (any::<[u8; 16]>(), span()).prop_map(|(entity, window)| Request::Move {
            entity: EntityKey(entity),
            window
        }),
    ]
}

fn pages_moved() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 1..40))
}

fn standing() -> impl Strategy<Value = Standing> {
    prop::sample::select(vec![Standing::Pending, Standing::Met, Standing::Notified])
}

fn expect_request() -> impl Strategy<Value = ExpectRequest> {
    let key = || any::<[u8; 16]>().prop_map(EntityKey);
    let notice = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (key(), standing(), any::<i64>(), span(), notice).prop_map(
            |(key, standing, due, kept, notice)| {
                let due = Timestamp(due);
                let expected = Expected {
                    standing,
                    due,
                    kept,
                    notice,
                };
                ExpectRequest::Register(key, expected)
            }
        ),
        key().prop_map(ExpectRequest::Read),
        key().prop_map(ExpectRequest::Remove),
        Just(ExpectRequest::Overdue),
    ]
}

fn expect_reply() -> impl Strategy<Value = ExpectReply> {
    let stands = || (standing(), any::<i64>().prop_map(Timestamp));
    prop_oneof![
        (stands(), any::<bool>()).prop_map(|((standing, due), added)| ExpectReply::Registered {
            standing,
            due,
            added,
        }),
        (prop::option::of(stands()), any::<bool>()).prop_map(|(expected, called_back)| {
            ExpectReply::Read {
                expected,
                called_back,
            }
        }),
        any::<bool>().prop_map(ExpectReply::Removed),
        any::<u64>().prop_map(ExpectReply::Overdue),
        Just(ExpectReply::Moved),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        expect_reply().prop_map(Reply::Expect),
        Just(Reply::Unmet),
        (objects(), prop::option::of(objects()))
            .prop_map(|(objects, previous)| Reply::Layout(Ok(Agreed { objects, previous }))),
        (any::<u32>(), span())
            .prop_map(|(recorded, wait)| Reply::Layout(Err(LayoutRefused { recorded, wait }))),
        (any::<(u64, [u8; 16], u16, u8)>(), ordering()).prop_map(
            |((fence, event, round, state), ordering)| {
                Reply::Claim(Claim::Granted {
                    fence: Fence(fence),
                    event: EventHash(event),
                    round,
                    state,
                    ordering,
                })
            }
        ),
        span().prop_map(|retry_after| Reply::Claim(Claim::InFlight { retry_after })),
        (receipt(), span(), any::<u16>()).prop_map(|(receipt, remembered, round)| {
            Reply::Claim(Claim::Duplicate {
                receipt,
                remembered,
                round,
            })
        }),
        letter_reply().prop_map(Reply::Letters),
        Just(Reply::Claim(Claim::Moved)),
        Just(Reply::Settled(Ok(()))),
        Just(Reply::Settled(Err(LeaseLost))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Reply::Moved),
        span().prop_map(Reply::Busy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_arrives_as_it_was_sent_whole_or_not_at_all(request in request(), extra in any::<u8>()) {
        let message = request.pack();
        prop_assert_eq!(Request::unpack(&message), Ok(request));
        for len in 0..message.len() {
            prop_assert_eq!(Request::unpack(&message[..len]), Err(WireCorrupt));
        }
        prop_assert_eq!(Request::unpack(&[message.as_slice(), &[extra]].concat()), Err(WireCorrupt));
        for (place, value) in [(0, 0), (0, 2), (1, 0), (1, 10)] {
            let mut altered = message.clone();
            altered[place] = value;
            prop_assert_eq!(Request::unpack(&altered), Err(WireCorrupt));
        }
    }

    #[test]
    fn a_reply_arrives_as_it_was_sent_whole_or_not_at_all(
        reply in reply(), read in any::<u32>(), written in any::<u32>(), extra in any::<u8>(),
    ) {
        let cost = Cost { read, written };
        let message = reply.pack(cost);
        prop_assert_eq!(Reply::unpack(&message), Ok((reply, cost)));
        for len in 0..message.len() {
            prop_assert_eq!(Reply::unpack(&message[..len]), Err(WireCorrupt));
        }
        prop_assert_eq!(Reply::unpack(&[message.as_slice(), &[extra]].concat()), Err(WireCorrupt));
        for (place, value) in [(0, 0), (0, 2), (9, 0), (9, 14)] {
            let mut altered = message.clone();
            altered[place] = value;
            prop_assert_eq!(Reply::unpack(&altered), Err(WireCorrupt));
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        // What is read can be written again; nothing traps.
        if let Ok(request) = Request::unpack(&bytes) {
            prop_assert_eq!(Request::unpack(&request.pack()), Ok(request));
        }
        if let Ok((reply, cost)) = Reply::unpack(&bytes) {
            prop_assert_eq!(Reply::unpack(&reply.pack(cost)), Ok((reply, cost)));
        }
        let _ = Entity::load([Row { number: 0, packed: &bytes }]);
        let _ = Entity::load([Row { number: 1, packed: &bytes }]);
    }

    #[test]
    fn an_entity_is_loaded_as_it_was_saved(
        claims in prop::collection::vec((0..150_u32, step(), any::<bool>(), 0..20_000_u64), 0..200),
    ) {
        let mut entity = Entity::default();
        let mut pages: BTreeMap<u32, Page> = BTreeMap::new();
        let mut now = START;
        for (n, step, commits, wait) in claims {
            now = now.after(Duration::from_millis(wait));
            let request = ClaimRequest { step, ..claim_of(n) };
            let Claim::Granted { fence, .. } = entity.claim(&request, now) else {
                continue;
            };
            if commits {
                let news = entity.commit(event(n), fence, Receipt::Delivered, WINDOW, now);
                prop_assert_eq!(news, Ok(true));
            }
            pages.extend(entity.save().into_iter().map(|page| (page.number, page)));
            let rows = pages.values().map(|page| Row { number: page.number, packed: &page.packed });
            prop_assert_eq!(Entity::load(rows), Ok(entity.clone()));
        }
    }
}

// ── the instant at which something ends ─────────────────────────────────────

#[test]
fn a_lease_can_be_committed_for_less_than_a_minute_after_it_lapsed() {
    let end = START.after(LEASE).after(LATE);
    for (at, settled) in [(Timestamp(end.0 - 1), Ok(true)), (end, Err(LeaseLost))] {
        let mut entity = Entity::default();
        let Claim::Granted { fence, .. } = entity.claim(&claim_of(1), START) else {
            panic!("a new event is granted");
        };
        let done = entity.commit(event(1), fence, Receipt::Delivered, WINDOW, at);
        assert_eq!(done, settled);
    }
}

#[test]
fn a_message_may_claim_as_soon_as_the_lease_of_another_has_lapsed() {
    let store = Memory::default();
    let sent = enqueue(&store, 1, START);
    granted_to_message(&store, 1, sent, START);
    let end = START.after(LEASE);
    let just_before = claim(&store, message_claim(1, sent), Timestamp(end.0 - 1)).0;
    let retry_after = Duration::from_millis(1);
    assert_eq!(just_before, Claim::InFlight { retry_after });
    granted_to_message(&store, 1, sent, end);
}

#[test]
fn our_notice_waits_for_a_last_word_until_its_lease_lapses_and_no_longer() {
    let life = rxgate::entity::Life::Transfer;
    let of = |n, kind: &str| ClaimRequest {
        step: Step {
            life,
            node: life.number(kind).unwrap(),
            ..Step::default()
        },
        ..claim_of(n)
    };
    let mut entity = Entity::default();
    entity.claim(&of(1, "CONFIRMED"), START);
    let end = START.after(LEASE);
    let notice = of(2, CALLBACK_MISSING);
    let retry_after = Duration::from_millis(1);
    assert_eq!(
        entity.claim(&notice, Timestamp(end.0 - 1)),
        Claim::InFlight { retry_after }
    );
    assert!(matches!(entity.claim(&notice, end), Claim::Granted { .. }));
}

#[test]
fn an_event_without_a_rank_says_nothing_of_the_state() {
    let step = Step {
        state: 5,
        at: START,
        ..Step::default()
    };
    let request = ClaimRequest {
        step,
        ..claim_of(1)
    };
    let claim = Entity::default().claim(&request, START);
    assert!(
        matches!(claim, Claim::Granted { state: 0, .. }),
        "{claim:?}"
    );
}

#[test]
fn of_an_event_that_two_objects_know_the_higher_fence_counts_and_others_stay() {
    let done = |entity: &mut Entity, n, receipt, now| {
        let Claim::Granted { fence, .. } = entity.claim(&claim_of(n), now) else {
            panic!("event {n} is granted");
        };
        let done = entity.commit(event(n), fence, receipt, WINDOW, now);
        assert_eq!(done, Ok(true));
    };
    let later = START.after(LEASE);
    let (mut old, mut new) = (Entity::default(), Entity::default());
    done(&mut old, 1, Receipt::Delivered, START);
    done(&mut old, 2, Receipt::Delivered, START);
    done(&mut new, 1, Receipt::DeadLettered, later);
    assert!(!old.is_moved());
    assert!(new.move_away(WINDOW, later));
    assert!(new.is_moved());
    let receipt_of = |entity: &mut Entity, n| match entity.claim(&claim_of(n), later) {
        Claim::Duplicate { receipt, .. } => receipt,
        other => panic!("{other:?}"),
    };
    old.merge(&new, later);
    assert_eq!(receipt_of(&mut old, 1), Receipt::DeadLettered);
    assert_eq!(receipt_of(&mut old, 2), Receipt::Delivered);
}

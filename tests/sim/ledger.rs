//! What objects granted, to whom, and what became of it: the invariants of claims, of marks and of what is handed over.

use std::collections::BTreeMap;
use std::time::Duration;

use rxgate::entity::{
    Claim, ClaimRequest, Claimant, EntityKey, EventHash, Fence, Life, Ordering, Receipt,
};
use rxgate::letters::LetterId;
use rxgate::time::Timestamp;

use crate::driver::{Claimed, Settling};
use crate::scene::Sender;

/// A commit is remembered for so long.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a claim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// An event of a sender's, in this round.
    Event(usize, u16),
    /// The notice that this transfer's callback didn't come by then.
    Notice(usize, Timestamp),
    /// A redelivery of a letter.
    Redelivery(LetterId),
    /// Bytes of an event that wasn't taken.
    Refused(usize),
}

/// What is known of it before its claim.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) about: About,
    pub(crate) webhook_id: String,
    /// Its number in the life of its entity, and the state that it leaves that in.
    pub(crate) node: u8,
    pub(crate) state: u8,
    /// The same words have the same number. A redelivery has one of its own.
    pub(crate) words: usize,
}

/// What was granted under one hash.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) known: Known,
    pub(crate) entity: EntityKey,
    /// Each fence, with the mark and the state that came with it.
    pub(crate) grants: Vec<(Fence, Ordering, u8)>,
    /// The newest lease, while nobody has said what came of it; and whether a message's.
    lease: Option<(Timestamp, bool)>,
    /// Whether it is in our queue.
    is_queued: bool,
    /// Whether a message claimed it that didn't know its round. If that wasn't heard of, it may be of a later round when it comes again.
    pub(crate) is_guessed: bool,
    /// What it ended as, under which fence, and when.
    pub(crate) settled: Option<(Receipt, Fence, Timestamp)>,
    /// How often it was handed over, and how often by holders that couldn't say so.
    pub(crate) taken: usize,
    pub(crate) unknown: usize,
    /// How often by holders that were stopped for longer than their lease, after it was settled.
    pub(crate) second: usize,
    /// Somebody who held it sent it to the dead letters. Whether that was heard of is another question.
    pub(crate) was_given_up: bool,
}

/// What a holder holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) hash: EventHash,
    pub(crate) fence: Fence,
    pub(crate) until: Timestamp,
    /// It was handed over.
    pub(crate) is_taken: bool,
    /// And that is remembered.
    pub(crate) is_committed: bool,
    /// Its commit, or the word of who took it, was made to fail.
    pub(crate) is_flawed: bool,
    /// It came back after its lease, and somebody else had taken the event.
    pub(crate) is_lost: bool,
}

/// How far an entity has come, by the grants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    fence: Option<Fence>,
    seen: u16,
    settled: u16,
    state: u8,
    round: u16,
    /// What was claimed, or told to be a duplicate, without knowing of a round: the node, the words, the hash.
    came: Vec<(u8, usize, EventHash)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    sender: Sender,
    pub(crate) accounts: BTreeMap<EventHash, Account>,
    pub(crate) ways: BTreeMap<EntityKey, Way>,
}

const RECEIVED: u16 = 1 << 0;
const CONFIRMED: u16 = 1 << 1;
const ERROR: u16 = 1 << 2;
const MISSING: u16 = 1 << 3;
/// The last words on a transfer.
pub(crate) const LAST_WORDS: u16 = CONFIRMED | ERROR;

fn bit(node: u8) -> u16 {
    1u16.checked_shl(node.into()).unwrap_or(0)
}

impl Ledger {
    pub(crate) fn new(sender: Sender) -> Self {
        Self {
            sender,
            accounts: BTreeMap::new(),
            ways: BTreeMap::new(),
        }
    }

    /// Whether a last word on a transfer was handed over, and its object knows.
    pub(crate) fn is_met(&self, transfer: EntityKey) -> bool {
        let way = self.ways.get(&transfer);
        way.is_some_and(|way| way.settled & LAST_WORDS != 0)
    }

    /// What came last about an entity with rounds.
    pub(crate) fn last(&self, entity: EntityKey) -> Option<EventHash> {
        let way = self.ways.get(&entity)?;
        way.came.last().map(|(.., hash)| *hash)
    }

    /// What an object said to a claim. A grant gives what its holder holds, if the holder hears of it.
    pub(crate) fn claimed(
        &mut self,
        said: &Claimed,
        identify: impl FnOnce(EventHash, u16) -> Option<Known>,
    ) -> Option<Held> {
        let Claimed {
            at,
            entity,
            request,
            claim,
        } = *said;
        match claim {
            Claim::Granted {
                fence,
                event,
                round,
                state,
                ordering,
            } => {
                self.accounts.entry(event).or_insert_with(|| {
                    let known = identify(event, round);
                    Account {
                        known: known.expect("a claim of something that nobody sent"),
                        entity,
                        grants: Vec::new(),
                        lease: None,
                        is_queued: false,
                        is_guessed: false,
                        settled: None,
                        taken: 0,
                        unknown: 0,
                        second: 0,
                        was_given_up: false,
                    }
                });
                self.granted(said, fence, event, round, state, ordering);
                Some(Held {
                    hash: event,
                    fence,
                    until: at.after(request.lease),
                    is_taken: false,
                    is_committed: false,
                    is_flawed: false,
                    is_lost: false,
                })
            }
            Claim::Duplicate { receipt, round, .. } => {
                let hash = match request.round {
                    None if request.step.life.has_rounds() => request.event.in_round(round),
                    _ => request.event,
                };
                let account = self.accounts.get(&hash);
                let account = account.expect("a duplicate of what nobody claimed");
                let is_so = match receipt {
                    Receipt::Queued => account.is_queued,
                    _ => account.settled.is_some_and(|(of, ..)| of == receipt),
                };
                assert!(is_so, "a duplicate of what nobody handed over: {receipt:?}");
                if request.step.life.has_rounds() && request.round.is_none() {
                    let (node, words) = (account.known.node, account.known.words);
                    self.came(entity, node, words, hash, round);
                }
                None
            }
            Claim::InFlight { .. } | Claim::Moved => None,
        }
    }

    fn granted(
        &mut self,
        said: &Claimed,
        fence: Fence,
        hash: EventHash,
        round: u16,
        state: u8,
        ordering: Ordering,
    ) {
        let Claimed {
            at,
            entity,
            request,
            ..
        } = *said;
        let account = self.accounts.get_mut(&hash).unwrap();
        assert_eq!(account.entity, entity, "claimed in two places");
        let known = account.known.clone();
        let way = self.ways.entry(entity).or_default();
        assert!(
            way.fence.is_none_or(|last| fence > last),
            "a sequence that doesn't rise"
        );
        way.fence = Some(fence);
        if let Some((.., settled)) = account.settled {
            let forgotten = settled.after(WINDOW) <= at;
            assert!(forgotten, "granted again, and known to be handed over");
            account.settled = None;
        }
        if let Some((until, _)) = account.lease {
            let of_message = matches!(request.claimant, Claimant::Message(of) if account.grants.last().is_some_and(|last| last.0 == of));
            assert!(
                until <= at || of_message,
                "granted while somebody else holds it"
            );
        }
        let is_message = matches!(request.claimant, Claimant::Message(_));
        account.is_queued |= is_message;
        account.is_guessed |= is_message && request.round.is_none();
        account.lease = Some((at.after(request.lease), is_message));
        account.grants.push((fence, ordering, state));
        if matches!(known.about, About::Refused(_)) {
            return;
        }
        assert_eq!(request.step.node, known.node, "taken for something else");
        match self.sender {
            Sender::Osigu => self.place_authorization(entity, known.node, ordering),
            Sender::Phil => self.place_transfer(said, &known, state, ordering),
            Sender::Evitalrx => self.place_order(said, &known, hash, round, state, ordering),
        }
        let way = self.ways.get_mut(&entity).unwrap();
        way.seen |= bit(known.node);
        if is_message {
            way.settled |= bit(known.node);
        }
        way.state = state;
    }

    /// The marks are those that the order of the grants makes.
    fn place_authorization(&self, entity: EntityKey, node: u8, ordering: Ordering) {
        let number = |kind| bit(Life::Authorization.number(kind).unwrap());
        let [created, updated, voided] = [
            "authorization.created",
            "authorization.updated",
            "authorization.voided",
        ]
        .map(number);
        let seen = self.ways[&entity].seen;
        let expected = match bit(node) {
            of if of == voided && seen & created == 0 => Ordering::Early,
            of if of == voided => Ordering::InOrder,
            _ if seen & voided != 0 => Ordering::Superseded,
            of if of == updated && seen & created == 0 => Ordering::Early,
            _ => Ordering::InOrder,
        };
        assert_eq!(ordering, expected, "the mark of {node} after {seen:#b}");
    }

    fn place_transfer(&mut self, said: &Claimed, known: &Known, state: u8, ordering: Ordering) {
        let (at, entity) = (said.at, said.entity);
        let of = bit(known.node);
        let way = self.ways.get_mut(&entity).unwrap();
        if let About::Notice(_, due) = known.about {
            assert!(at >= due, "a notice before its time");
            assert_eq!(
                way.settled & LAST_WORDS,
                0,
                "a notice though a callback was handed over"
            );
            let mut others = self.accounts.values().filter(|it| it.entity == entity);
            let held = others.any(|it| {
                let is_last = bit(it.known.node) & LAST_WORDS != 0;
                is_last
                    && it
                        .lease
                        .is_some_and(|(until, message)| !message && at < until)
            });
            assert!(!held, "a notice while a callback is being handed over");
        }
        let before = if of == MISSING {
            way.settled
        } else {
            way.settled | way.seen
        };
        let ended_by = match of {
            RECEIVED | MISSING => LAST_WORDS,
            CONFIRMED => ERROR,
            _ => CONFIRMED,
        };
        let expected = if before & ended_by != 0 {
            Ordering::Superseded
        } else if of != MISSING && before & MISSING != 0 {
            Ordering::Late
        } else {
            Ordering::InOrder
        };
        let (node, seen) = (known.node, way.seen);
        assert_eq!(ordering, expected, "the mark of {node} after {seen:#b}");
        let decides = match of {
            RECEIVED => expected == Ordering::InOrder,
            _ => expected != Ordering::Superseded,
        };
        let told = if decides { known.state } else { way.state };
        assert_eq!(state, told, "the state after {node} and {seen:#b}");
        if of == MISSING && expected == Ordering::InOrder {
            way.seen &= way.settled;
        }
    }

    fn place_order(
        &mut self,
        said: &Claimed,
        known: &Known,
        hash: EventHash,
        round: u16,
        state: u8,
        ordering: Ordering,
    ) {
        let ClaimRequest {
            round: of, event, ..
        } = said.request;
        let is_effective = matches!(ordering, Ordering::InOrder | Ordering::Early);
        let way = &self.ways[&said.entity];
        let aside = known.state == 0;
        if let Some(of) = of {
            assert_eq!((hash, round), (event, of), "tried again as another event");
            let over = of < way.round && !aside;
            assert!(!over || !is_effective, "of a round that is over");
            let may_be = [Some(way.state), (!over).then_some(known.state)];
            assert!(
                may_be.contains(&Some(state)),
                "the state of another round: {state}, not {}",
                way.state
            );
            return;
        }
        assert_eq!(hash, event.in_round(round), "not the event of its round");
        let is_new = self.accounts[&hash].grants.len() == 1;
        let told = if is_effective && !aside {
            known.state
        } else {
            way.state
        };
        assert!(
            state == told || (!is_new && state == way.state),
            "the state after {} is {state}, not {told}",
            known.node
        );
        self.came(said.entity, known.node, known.words, hash, round);
    }

    /// No two events are taken for one, and one isn't taken for two: `words` came, and were found to be of `round`.
    fn came(&mut self, entity: EntityKey, node: u8, words: usize, hash: EventHash, round: u16) {
        let begins = |node: u8| {
            let kinds = [
                "order-rejected",
                rxgate::entity::FINALLY_REJECTED,
                "order-reassign",
            ];
            kinds
                .iter()
                .any(|kind| Life::OrderDelivery.number(kind) == Some(node))
        };
        let way = self.ways.entry(entity).or_default();
        assert!(
            round >= way.round && round <= way.round.saturating_add(1),
            "round {round} after {}",
            way.round
        );
        way.round = round;
        if let Some((_, last, known)) = way.came.last()
            && *last == words
        {
            assert_eq!(*known, hash, "one event is taken for two");
        }
        for (place, (_, before, _)) in way.came.iter().enumerate().filter(|(_, it)| it.2 == hash) {
            assert_eq!(*before, words, "two events are taken for one");
            for (between, ..) in &way.came[place + 1..] {
                let parts = node != *between && (begins(node) || begins(*between));
                assert!(!parts, "an event of another round is taken for a duplicate");
            }
        }
        way.came.push((node, words, hash));
    }

    /// What an object said to a commit or a release, and whose that was.
    pub(crate) fn said(&mut self, said: &Settling, held: Option<&mut Held>) {
        let account = self.accounts.get_mut(&said.event);
        let account = account.expect("a commit of something that nobody claimed");
        let newest = account.grants.last().map(|last| last.0);
        let held = held.filter(|held| (held.hash, held.fence) == (said.event, said.fence));
        let Some(receipt) = said.receipt else {
            assert!(
                !said.is_done || newest == Some(said.fence),
                "released by who doesn't hold it any more"
            );
            if said.is_done {
                account.lease = None;
            }
            return;
        };
        if !said.is_done {
            if let Some(held) = held
                && receipt != Receipt::Queued
            {
                assert!(said.at >= held.until, "a lease that runs was lost");
                held.is_lost = true;
            }
            return;
        }
        if let Some(held) = held {
            held.is_committed |= matches!(receipt, Receipt::Delivered | Receipt::Enqueued);
        }
        let way = self.ways.get_mut(&account.entity).unwrap();
        way.settled |= bit(account.known.node);
        if receipt == Receipt::Queued {
            account.is_queued = true;
            if newest == Some(said.fence) {
                account.lease = None;
            }
            return;
        }
        assert_eq!(
            newest,
            Some(said.fence),
            "committed by who doesn't hold it any more"
        );
        account.lease = None;
        account.settled = Some((receipt, said.fence, said.at));
    }
}

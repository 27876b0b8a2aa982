//! Claim, lease, fence, commit, release: all decisions of the dedupe protocol. No storage, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{EventHash, Life, Ordering, Progress, Step};
use crate::bytes::{Reader, Writer};
use crate::time::Timestamp;

/// The head page holds no more committed entries than this; they move to a page of their own when it would.
pub const MAX_HEAD_ENTRIES: usize = 64;

/// An entity has no more pages than this besides the head. Beyond, the oldest is overwritten: what came that many events ago is forgotten early rather than anything new refused.
pub const MAX_PAGES: u32 = 64;

/// No more leases than this at a time for one entity, running or lapsed; while so many run the next claim waits.
pub const MAX_LEASED: usize = 256;

/// A lapsed lease is kept for so long, for its holder to commit late if nobody has taken the event since.
const LAPSED_KEPT: Duration = Duration::from_secs(60);

/// Version 1 had no progress, version 2 didn't say of a lease what it is for.
const VERSION: u8 = 3;
const MOVED: u8 = 1;
const OVERRULED: u8 = 2;
const HEAD_BYTES: usize = 87;
const ENTRY_BYTES: usize = 34;
/// Set in a page's count of entries: the page's own number follows. Pages of before have none.
const NUMBERED: u16 = 0x8000;

/// Proves that a lease is the newest for its event. Also the event's `sequence`: one number, always rising, see DESIGN.md §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// Who asks for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimant {
    /// A request of the sender's. To it, what waits in our queue is a duplicate: it is safe.
    Sender,
    /// A message of our queue, that was sent under this fence (0: without a claim). What waits in our queue is waiting for it.
    Message(Fence),
}

/// What a claim asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The event; in a life with rounds, before it is known in which it comes.
    pub event: EventHash,
    /// The round that it was claimed in before: then `event` is the one of that round already.
    pub round: Option<u16>,
    /// Who asks.
    pub claimant: Claimant,
    /// Its place in the life of the entity.
    pub step: Step,
    /// How long the claim holds if nothing more is heard.
    pub lease: Duration,
    /// How long a committed event is remembered.
    pub window: Duration,
}

/// What a claim gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Go on, and commit or release with this fence.
    Granted {
        /// The fence, and the event's sequence.
        fence: Fence,
        /// What is remembered: the event of its round.
        event: EventHash,
        /// The round that it is of; 0 in a life without rounds.
        round: u16,
        /// The entity's state after all that has been claimed so far; 0: none.
        state: u8,
        /// How the event stands to all that has been claimed so far.
        ordering: Ordering,
    },
    /// Somebody else holds a lease on the event.
    InFlight {
        /// How long that lease still runs.
        retry_after: Duration,
    },
    /// Committed before.
    Duplicate {
        /// How it ended.
        receipt: Receipt,
        /// For how long this will be the answer.
        remembered: Duration,
        /// The round that it is of; 0 in a life without rounds.
        round: u16,
    },
    /// The entity lives in another object now.
    Moved,
}

/// What a commit remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Receipt {
    /// The origin answered 2xx.
    Delivered = 1,
    /// It is in our own queue: a message of it is still to be delivered.
    Queued = 2,
    /// It is in a customer's queue.
    Enqueued = 3,
    /// It is in the dead-letter queue.
    DeadLettered = 4,
    /// It is in the dead-letter queue, since a later event ends its effect.
    Withheld = 5,
}

impl Receipt {
    const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Queued,
        Self::Enqueued,
        Self::DeadLettered,
        Self::Withheld,
    ];

    pub(super) fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|receipt| *receipt as u8 == code)
    }
}

/// The caller no longer holds the newest lease on the event; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseLost;

/// A stored row isn't of a form that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowCorrupt;

/// One stored row: a page of an entity. Page 0 is the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its number.
    pub number: u32,
    /// When nothing in it counts any more.
    pub expires: Timestamp,
    /// Its content.
    pub packed: Vec<u8>,
}

/// A page as it was loaded.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its number.
    pub number: u32,
    /// Its content.
    pub packed: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// With the event's number in its life.
    Leased(u8),
    Committed(Receipt),
    /// Queued, and a message of it holds a lease until this instant.
    Attempting(Timestamp),
}

/// The stored code of [`Status::Attempting`]; those of receipts are lower.
const ATTEMPTING: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    event: EventHash,
    status: Status,
    fence: Fence,
    /// Leased: when the lease lapses. Otherwise: when the entry is forgotten.
    until: Timestamp,
}

impl Entry {
    /// Whether it may still change: such entries stay in the head.
    fn is_leased(&self) -> bool {
        !matches!(self.status, Status::Committed(_))
    }

    /// Itself without the lease of a message that has lapsed, or was waited for.
    fn settled(&self) -> Self {
        match self.status {
            Status::Attempting(_) => Self {
                status: Status::Committed(Receipt::Queued),
                ..*self
            },
            _ => *self,
        }
    }

    /// When its lease ends, if it has one.
    fn lease(&self) -> Option<Timestamp> {
        match self.status {
            Status::Leased(_) => Some(self.until),
            Status::Attempting(until) => Some(until),
            Status::Committed(_) => None,
        }
    }

    /// What it says to somebody who asks at `now`: `None` if it says nothing any more, or if it was waiting for whoever asks.
    fn says(&self, claimant: Claimant, round: u16, now: Timestamp) -> Option<Claim> {
        let duplicate = |receipt| Claim::Duplicate {
            receipt,
            remembered: now.until(self.until),
            round,
        };
        let in_flight = |until| Claim::InFlight {
            retry_after: now.until(until),
        };
        if self.until <= now {
            return None;
        }
        match (self.status, claimant) {
            (Status::Leased(_), Claimant::Message(fence)) if fence == self.fence => None,
            (Status::Leased(_), _) => Some(in_flight(self.until)),
            (Status::Committed(Receipt::Queued), Claimant::Message(_)) => None,
            (Status::Committed(receipt), _) => Some(duplicate(receipt)),
            (Status::Attempting(_), Claimant::Sender) => Some(duplicate(Receipt::Queued)),
            (Status::Attempting(until), Claimant::Message(_)) => {
                (now < until).then(|| in_flight(until))
            }
        }
    }
}

/// An entity: what its row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    last: u64,
    top: Step,
    progress: Progress,
    moved: bool,
    /// A word of ours has overruled what was claimed before it and not handed over.
    overruled: bool,
    expires: Timestamp,
    /// How many further pages were written; the last one has this number of its own.
    spills: u32,
    head: Vec<Entry>,
    /// Entries of further pages: committed, and never changed again.
    older: Vec<Entry>,
}

impl Entity {
    /// Reads an entity's pages, in any order; no page at all is an entity never heard of.
    pub fn load<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Result<Self, RowCorrupt> {
        let (mut entity, mut pages) = (Self::default(), Vec::new());
        for row in rows {
            if row.number == 0 {
                let mut reader = Reader::new(row.packed);
                entity.read_head(&mut reader).ok_or(RowCorrupt)?;
            } else {
                pages.push(Reader::new(row.packed));
            }
        }
        for mut page in pages {
            entity.read_page(&mut page).ok_or(RowCorrupt)?;
        }
        Ok(entity)
    }

    /// A page that the head doesn't count was left by a save that ended before it came to the head: nothing of it is so.
    fn read_page(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let mut count = reader.u16()?;
        if count & NUMBERED != 0 {
            count ^= NUMBERED;
            if reader.u32()? > self.spills {
                return Some(());
            }
        }
        read_entries(reader, count, VERSION, &mut self.older)
    }

    fn read_head(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let version = reader.u8()?;
        if version == 0 || version > VERSION {
            return None;
        }
        let flags = reader.u8()?;
        self.moved = flags & MOVED != 0;
        self.overruled = flags & OVERRULED != 0;
        self.last = reader.u64()?;
        self.top = Step {
            rank: reader.u8()?,
            state: reader.u8()?,
            at: Timestamp(reader.i64()?),
            ..Step::default()
        };
        if version > 1 {
            self.progress = Progress::read(reader, version > 2)?;
        }
        self.expires = Timestamp(reader.i64()?);
        self.spills = reader.u32()?;
        let count = reader.u16()?;
        read_entries(reader, count, version, &mut self.head)
    }

    /// Takes the event for the caller, unless it is committed or held by somebody else. `Granted` is the only answer after which the entity has to be saved.
    pub fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Claim {
        if self.moved {
            return Claim::Moved;
        }
        self.forget(now);
        let Step {
            rank,
            state,
            at,
            life,
            node,
            version,
        } = request.step;
        let (event, round) = match request.round {
            Some(round) => (request.event, round),
            None if life.has_rounds() => {
                let round = self.progress.round_of(life, node);
                (request.event.in_round(round), round)
            }
            None => (request.event, 0),
        };
        let entry = self.find(event);
        if let Some(said) = entry.and_then(|entry| entry.says(request.claimant, round, now)) {
            return said;
        }
        if life.is_ours(node)
            && let Some(until) = self.may_end(life, node, now)
        {
            // Whether that comes is known when it has been handed over, or hasn't.
            return Claim::InFlight {
                retry_after: now.until(until),
            };
        }
        let is_known = entry.is_some() || request.round.is_some();
        if self.leases(now).count() >= MAX_LEASED {
            let first = self.leases(now).min().unwrap_or(now);
            return Claim::InFlight {
                retry_after: now.until(first),
            };
        }
        if self.head.iter().filter(|entry| entry.is_leased()).count() >= MAX_LEASED {
            self.forget_lapsed(now);
        }
        self.last = self
            .last
            .saturating_add(1)
            .max(u64::try_from(now.0).unwrap_or(0));
        // Of a round an event is once and for all: tried again it begins none, and takes nothing of a later one back.
        let placed = if is_known && life.has_rounds() {
            self.progress.again(life, node, at, version, round)
        } else {
            self.progress.take(life, node, at, version)
        };
        self.overruled |= placed.overrules;
        if placed.begins {
            self.top = Step::default();
        }
        if rank > 0 && placed.decides && request.step.outranks(&self.top) {
            self.top = Step {
                rank,
                state,
                at,
                ..Step::default()
            };
        }
        self.head.retain(|entry| entry.event != event);
        // What stands at no place of a life is nothing to it.
        let node = if life == Life::None { u8::MAX } else { node };
        let lapses = now.after(request.lease);
        let (status, until) = match request.claimant {
            Claimant::Sender => (Status::Leased(node), lapses),
            Claimant::Message(_) => {
                // It is in our queue: handed over, whatever comes of this attempt.
                self.progress.settle(node);
                (Status::Attempting(lapses), lapses.after(request.window))
            }
        };
        self.head.push(Entry {
            event,
            status,
            fence: Fence(self.last),
            until,
        });
        self.expires = self
            .expires
            .max(now.after(request.lease).after(request.window));
        Claim::Granted {
            fence: Fence(self.last),
            event,
            round,
            state: self.top.state,
            ordering: placed.ordering,
        }
    }

    /// Remembers the event for `window`, and says whether that is news. Only the newest lease may; it may even a minute after it lapsed, as long as nobody else has
    /// taken the event since; and it may twice, since the answer to the first time can get lost.
    pub fn commit(
        &mut self,
        event: EventHash,
        fence: Fence,
        receipt: Receipt,
        window: Duration,
        now: Timestamp,
    ) -> Result<bool, LeaseLost> {
        if let Some(entry) = self.find(event) {
            let settled = entry.fence == fence && entry.status == Status::Committed(receipt);
            // The message was faster than the commit of the request that sent it.
            let overtaken = receipt == Receipt::Queued
                && entry.fence > fence
                && !matches!(entry.status, Status::Leased(_));
            if settled || overtaken {
                return Ok(false);
            }
        }
        let entry = self.held(event, fence, now)?;
        // While it was attempted it was said to be remembered a lease longer: the edge cache, and a copy on an older page, go by that.
        let (said, node) = match entry.status {
            Status::Attempting(_) => (entry.until, None),
            Status::Leased(node) => (now, Some(node)),
            Status::Committed(_) => (now, None),
        };
        entry.status = Status::Committed(receipt);
        entry.until = now.after(window).max(said);
        if let Some(node) = node {
            self.progress.settle(node);
        }
        self.expires = self.expires.max(now.after(window));
        Ok(true)
    }

    /// Gives the event back: the next claim is granted at once; to a message only, if it was a message's. The sequence that was given is not given again.
    pub fn release(
        &mut self,
        event: EventHash,
        fence: Fence,
        now: Timestamp,
    ) -> Result<(), LeaseLost> {
        let entry = self.held(event, fence, now)?;
        if let Status::Attempting(_) = entry.status {
            entry.status = Status::Committed(Receipt::Queued);
        } else {
            self.head.retain(|entry| entry.event != event);
        }
        Ok(())
    }

    /// Marks the entity as living elsewhere from now on: every later claim here is [`Claim::Moved`]. Commits and releases of leases that still run count; a lapsed
    /// one is lost, since the entity may be handed over before its holder comes back. Says whether that is news.
    pub fn move_away(&mut self, window: Duration, now: Timestamp) -> bool {
        let before = self.head.clone();
        self.forget_lapsed(now);
        let news = !self.moved || self.head != before;
        self.moved = true;
        self.expires = self.expires.max(now.after(window));
        news
    }

    /// Takes over what another object handed out of this entity. Idempotent. That object waited for its leases: what is committed there is all that counts, and for
    /// the same event the higher fence does.
    pub fn merge(&mut self, other: &Self, now: Timestamp) {
        self.last = self.last.max(other.last);
        self.expires = self.expires.max(other.expires);
        // Of two rounds the later decides the state.
        let (ours, theirs) = (self.progress.round(), other.progress.round());
        if self.overruled {
            self.progress.merge_settled(&other.progress);
        } else {
            if theirs > ours || (theirs == ours && !self.top.outranks(&other.top)) {
                self.top = other.top;
            }
            self.progress.merge(&other.progress);
            self.overruled = other.overruled;
        }
        let ours = self.head.iter().chain(&self.older);
        let mut newest: BTreeMap<EventHash, Fence> = BTreeMap::new();
        for Entry { event, fence, .. } in ours {
            let known = newest.entry(*event).or_insert(*fence);
            *known = (*known).max(*fence);
        }
        let theirs = other.older.iter().chain(&other.head).map(Entry::settled);
        for entry in theirs.filter(|entry| !entry.is_leased() && now < entry.until) {
            let known = newest.insert(entry.event, entry.fence);
            match known {
                Some(fence) if fence >= entry.fence => {
                    newest.insert(entry.event, fence);
                    continue;
                }
                Some(_) => self.head.retain(|ours| ours.event != entry.event),
                None => {}
            }
            self.head.push(entry);
        }
    }

    /// The pages to store, after a change: the head, and a new page if the head was full.
    pub fn save(&mut self) -> Vec<Page> {
        let mut pages = Vec::new();
        let committed = self.head.iter().filter(|entry| !entry.is_leased());
        if committed.count() > MAX_HEAD_ENTRIES {
            let (leased, committed): (Vec<_>, Vec<_>) =
                self.head.drain(..).partition(Entry::is_leased);
            self.head = leased;
            let number = self.spills % MAX_PAGES + 1;
            self.spills = self.spills.saturating_add(1);
            let count = count(&committed);
            let page = Writer::default().u16(count | NUMBERED).u32(self.spills);
            pages.push(Page {
                number,
                expires: committed.iter().map(|e| e.until).max().unwrap_or_default(),
                packed: write_entries(page, count, &committed).done(),
            });
            self.older.extend(committed);
        }
        let head = Writer::with_capacity(HEAD_BYTES + self.head.len() * ENTRY_BYTES)
            .u8(VERSION)
            .u8(flag(self.moved, MOVED) | flag(self.overruled, OVERRULED))
            .u64(self.last)
            .u8(self.top.rank)
            .u8(self.top.state)
            .i64(self.top.at.0);
        let head = self
            .progress
            .write(head)
            .i64(self.expires.0)
            .u32(self.spills)
            .u16(count(&self.head));
        pages.push(Page {
            number: 0,
            expires: self.expires,
            packed: write_entries(head, count(&self.head), &self.head).done(),
        });
        pages
    }

    /// Whether it lives in another object now.
    pub fn is_moved(&self) -> bool {
        self.moved
    }

    /// Whether something was handed over that ends the effect of this event of its life.
    pub fn has_ended(&self, life: Life, number: u8) -> bool {
        self.progress.has_ended(life, number)
    }

    /// When nobody hands over any more what would end the effect of this event of its life; `None` if nobody does now.
    pub fn may_end(&self, life: Life, number: u8, now: Timestamp) -> Option<Timestamp> {
        let ends = |entry: &&Entry| matches!(entry.status, Status::Leased(node) if life.ends(number, node));
        let leased = self.head.iter().filter(ends);
        leased
            .map(|entry| entry.until)
            .filter(|until| now < *until)
            .max()
    }

    /// When the last running lease ends, if there is one.
    pub fn leased(&self, now: Timestamp) -> Option<Timestamp> {
        self.leases(now).max()
    }

    fn leases(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let leases = self.head.iter().filter_map(Entry::lease);
        leases.filter(move |until| now < *until)
    }

    fn find(&self, event: EventHash) -> Option<&Entry> {
        let of_event = |entry: &&Entry| entry.event == event;
        // An event that was claimed again after its entry expired stands in an older page still: the head counts, then the newest.
        self.head.iter().find(of_event).or_else(|| {
            let older = self.older.iter().filter(of_event);
            older.max_by_key(|entry| entry.fence)
        })
    }

    fn held(
        &mut self,
        event: EventHash,
        fence: Fence,
        now: Timestamp,
    ) -> Result<&mut Entry, LeaseLost> {
        self.forget(now);
        self.head
            .iter_mut()
            .find(|e| e.event == event && e.fence == fence && e.is_leased())
            .ok_or(LeaseLost)
    }

    /// Drops leases that have lapsed; what a message held is queued again. Their holders lose them; nothing else does.
    fn forget_lapsed(&mut self, now: Timestamp) {
        for entry in &mut self.head {
            if entry.lease().is_some_and(|until| until <= now) {
                *entry = entry.settled();
            }
        }
        self.head
            .retain(|entry| !matches!(entry.status, Status::Leased(_)) || now < entry.until);
    }

    /// Drops from the head what no longer counts, since the head is about to be written anyway.
    fn forget(&mut self, now: Timestamp) {
        self.head.retain(|entry| {
            now < match entry.status {
                Status::Leased(_) => entry.until.after(LAPSED_KEPT),
                Status::Committed(_) | Status::Attempting(_) => entry.until,
            }
        });
    }
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// Only what is leased is written otherwise by another version, and that stands in the head.
fn read_entries(
    reader: &mut Reader<'_>,
    count: u16,
    version: u8,
    entries: &mut Vec<Entry>,
) -> Option<()> {
    entries.reserve(usize::from(count));
    for _ in 0..count {
        entries.push(Entry {
            event: EventHash(reader.array()?),
            status: match reader.u8()? {
                0 if version < 3 => Status::Leased(u8::MAX),
                0 => Status::Leased(reader.u8()?),
                ATTEMPTING => Status::Attempting(Timestamp(reader.i64()?)),
                code => Status::Committed(Receipt::from_u8(code)?),
            },
            fence: Fence(reader.u64()?),
            until: Timestamp(reader.i64()?),
        });
    }
    reader.end()
}

/// How many of them are written: there are never so many that this matters.
fn count(entries: &[Entry]) -> u16 {
    u16::try_from(entries.len())
        .unwrap_or(u16::MAX)
        .min(NUMBERED - 1)
}

fn write_entries(writer: Writer, count: u16, entries: &[Entry]) -> Writer {
    entries
        .iter()
        .take(usize::from(count))
        .fold(writer, |writer, entry| {
            let writer = writer.raw(&entry.event.0);
            match entry.status {
                Status::Leased(node) => writer.u8(0).u8(node),
                Status::Committed(receipt) => writer.u8(receipt as u8),
                Status::Attempting(until) => writer.u8(ATTEMPTING).i64(until.0),
            }
            .u64(entry.fence.0)
            .i64(entry.until.0)
        })
}

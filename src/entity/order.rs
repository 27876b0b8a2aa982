//! How an event stands in the life of its entity. The senders' published sequences are data here; how far an entity has come is a small value in its row.
//!
//! Nothing of it depends on who claims an event, or how often: an event that is claimed again is told apart anew, by all that has been claimed since.

use crate::bytes::{Reader, Writer};
use crate::time::Timestamp;

/// How an event stands in the order of its entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ordering {
    /// It can't be told.
    #[default]
    Unknown = 0,
    /// As the sender's published sequence has it.
    InOrder = 1,
    /// It came before the event that it follows.
    Early = 2,
    /// It came after one that ends its effect, or after a newer one of its rank.
    Superseded = 3,
    /// The sender's published sequence doesn't have it here.
    OutOfSequence = 4,
    /// It came after the notice that it is missing.
    Late = 5,
}

impl Ordering {
    const ALL: [Self; 6] = [
        Self::Unknown,
        Self::InOrder,
        Self::Early,
        Self::Superseded,
        Self::OutOfSequence,
        Self::Late,
    ];

    /// As it stands in `rxordering`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::InOrder => "in_order",
            Self::Early => "early",
            Self::Superseded => "superseded",
            Self::OutOfSequence => "out_of_sequence",
            Self::Late => "late",
        }
    }

    pub(super) fn from_u8(code: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|ordering| *ordering as u8 == code)
    }
}

/// The lives that are published. Stored rows and messages hold the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// None: nothing can be told.
    #[default]
    None = 0,
    /// Osigu, authorizations: approved or rejected, then perhaps updated, then perhaps voided.
    Authorization = 1,
    /// Osigu, dispensations: started, then completed or cancelled.
    Dispense = 2,
    /// Osigu, prescriptions: issued in rising versions, and told of.
    Prescription = 3,
    /// Osigu, settlements: one outcome.
    Settlement = 4,
    /// eVitalRx, orders that are brought: accepted, shipped, picked up, delivered, once for each pharmacy that is asked.
    OrderDelivery = 5,
    /// eVitalRx, orders that are fetched: the same without a rider.
    OrderPickup = 6,
    /// PHIL, transfers: received, then confirmed or failed, or never heard of again.
    Transfer = 7,
}

impl Life {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Authorization,
        Self::Dispense,
        Self::Prescription,
        Self::Settlement,
        Self::OrderDelivery,
        Self::OrderPickup,
        Self::Transfer,
    ];

    pub(super) fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|life| *life as u8 == code)
    }

    /// Its events, by number.
    pub fn nodes(self) -> &'static [Node] {
        match self {
            Self::None => &[],
            Self::Authorization => &AUTHORIZATION,
            Self::Dispense => &DISPENSE,
            Self::Prescription => &PRESCRIPTION,
            Self::Settlement => &SETTLEMENT,
            Self::OrderDelivery => &ORDER_DELIVERY,
            Self::OrderPickup => &ORDER_PICKUP,
            Self::Transfer => &TRANSFER,
        }
    }

    /// The number of the event of this name.
    pub fn number(self, event_type: &str) -> Option<u8> {
        let mut nodes = self.nodes().iter();
        let place = nodes.position(|node| node.event_type == event_type)?;
        u8::try_from(place).ok()
    }

    /// Whether one event of it ends the effect of another, by their numbers.
    pub fn ends(self, ended: u8, number: u8) -> bool {
        let node = self.nodes().get(usize::from(ended));
        node.is_some_and(|node| node.ended_by & bit(number) != 0)
    }

    /// Whether the event is a word of ours.
    pub fn is_ours(self, number: u8) -> bool {
        let node = self.nodes().get(usize::from(number));
        node.is_some_and(|node| node.is_ours)
    }

    /// Whether its events come in rounds, so that the same event in another round is another event.
    pub fn has_rounds(self) -> bool {
        self.nodes().iter().any(|node| node.counts)
    }
}

/// The set of this node alone; of no node the empty one.
fn bit(number: u8) -> u16 {
    1u16.checked_shl(number.into()).unwrap_or(0)
}

/// No life has more ranks.
const RANKS: usize = 4;

/// One kind of event in a life. Sets of nodes are bits, by the numbers of the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The sender's event type; where one type is two kinds of event, a name of ours for the second.
    pub event_type: &'static str,
    /// How far along the life it stands, from 1. Among events of one rank the newest counts.
    pub rank: u8,
    /// It follows one of these; before any of them it is early.
    pub follows: u16,
    /// Each of these ends its effect.
    pub ended_by: u16,
    /// They do so only once one of these has come; none: always.
    pub ended_once: u16,
    /// After any of these the sender's own sequence doesn't have it; [`EVER`]: nowhere.
    pub never_after: u16,
    /// After any of these it is late.
    pub late_after: u16,
    /// Whether it begins a round.
    pub counts: bool,
    /// Whether it is a word of ours, on what was handed over: what was only claimed before it doesn't count.
    pub is_ours: bool,
}

/// The sender's sequence has it nowhere in this life.
pub const EVER: u16 = u16::MAX;

const fn node(
    event_type: &'static str,
    rank: u8,
    follows: u16,
    ended_by: u16,
    never_after: u16,
) -> Node {
    Node {
        event_type,
        rank,
        follows,
        ended_by,
        ended_once: 0,
        never_after,
        late_after: 0,
        counts: false,
        is_ours: false,
    }
}

/// "If a request goes PENDING_SPONSOR → APPROVED → VOIDED, you'll get authorization.created then authorization.voided". "Under rare race conditions, you may see
/// authorization.voided before authorization.created. Treat this as a NOP". A denied request has no authorization.
#[rustfmt::skip]
const AUTHORIZATION: [Node; 4] = [
    node("authorization.created",  1, 0,    1 << 3, 1 << 1),
    node("authorization.rejected", 1, 0,    1 << 3, 1),
    node("authorization.updated",  2, 1,    1 << 3, 1 << 1),
    node("authorization.voided",   3, 1,    0,      1 << 1),
];

/// "Fires when a STARTED dispensation is voided". A completed one that was never told to have started isn't early: only the last word is sure to be subscribed to.
#[rustfmt::skip]
const DISPENSE: [Node; 3] = [
    node("dispensing.started",   1, 0, 1 << 1 | 1 << 2, 0),
    node("dispensing.completed", 2, 0, 0,               1 << 2),
    node("dispensing.cancelled", 2, 1, 0,               1 << 1),
];

#[rustfmt::skip]
const PRESCRIPTION: [Node; 3] = [
    node("prescription.issued",          1, 0, 0, 0),
    node("prescription.email_delivered", 2, 1, 0, 0),
    node("prescription.email_failed",    2, 1, 0, 0),
];

/// A batch has one of three outcomes.
#[rustfmt::skip]
const SETTLEMENT: [Node; 3] = [
    node("settlement.paid",               1, 0, 0, 1 << 1 | 1 << 2),
    node("settlement.rejected",           1, 0, 0, 1 | 1 << 2),
    node("settlement.partially_accepted", 1, 0, 0, 1 | 1 << 1),
];

// The numbers of the nodes of an order that other nodes look at.
const UNREADABLE: u16 = 1 << 1;
const ASSIGNED: u16 = 1 << 2;
const ACCEPTED: u16 = 1 << 3;
const REJECTED: u16 = 1 << 4;
const FINAL: u16 = 1 << 5;
const REASSIGNED: u16 = 1 << 6;
const SHIPPED: u16 = 1 << 7;
const PICKED_UP: u16 = 1 << 8;
const DELIVERED: u16 = 1 << 9;

/// A rejection that is the last word: `order-rejected` with `is_final_rejection`.
pub const FINALLY_REJECTED: &str = "order-rejected (final)";

/// What is within one round: from one rejection or re-assignment to the next. An order has as many as pharmacies are asked.
///
/// Assigned is "Optional", Digitization "Only Prescription Order", so nothing waits for either. Accepted and Rejected are two words on the same question, and an order can be
/// "cancelled manually" until it is delivered. A rejection that isn't final "means an order can be re-assigned again": what came before it counts no more, and another
/// pharmacy may be assigned, or accept, with or without a Re-Assign in between. A final one means that "the order will not be processed further". Riders don't matter here: at
/// Shipped "it might show no delivery assigned". Split stands at no place: two pages disagree on what it means.
///
/// The instants of these events aren't told, so all ranks are 1.
#[rustfmt::skip]
const ORDER_DELIVERY: [Node; 11] = {
    const BEYOND: u16 = SHIPPED | PICKED_UP | DELIVERED;
    const ANSWERED: u16 = ACCEPTED | REJECTED | FINAL | REASSIGNED | BEYOND;
    [
        node("digitization-completed",     1, 0,                   UNREADABLE | ASSIGNED | ANSWERED,    0),
        node("digitization-rejected",      1, 0,                   0,                                   ASSIGNED | ANSWERED),
        node("order-assigned",             1, 0,                   ACCEPTED | FINAL | BEYOND,           UNREADABLE),
        node("order-accepted",             1, 0,                   FINAL | BEYOND,                      UNREADABLE),
        Node { counts: true, ..
        node("order-rejected",             1, 0,                   FINAL,                               DELIVERED) },
        Node { counts: true, ..
        node(FINALLY_REJECTED,             1, 0,                   0,                                   DELIVERED) },
        // Before its rejection it is early; after the next pharmacy's answer it is too late to count.
        Node { counts: true, ended_once: REJECTED | FINAL | REASSIGNED, ..
        node("order-reassign",             1, REJECTED,            ACCEPTED | FINAL | BEYOND,           UNREADABLE | DELIVERED) },
        node("order-shipped",              1, ACCEPTED,            PICKED_UP | DELIVERED | FINAL,       UNREADABLE),
        node("order-picked-up",            1, SHIPPED,             DELIVERED | FINAL,                   UNREADABLE),
        node("order-delivered",            1, SHIPPED | PICKED_UP, 0,                                   UNREADABLE | FINAL),
        node("order-split",                1, 0,                   0,                                   0),
    ]
};

/// "Pickup Order Sequence": nobody picks it up but the patient. Of the rest it lists fewer than the other sequence; that a pickup order isn't digitized, assigned or re-assigned
/// isn't said, so these stay legal.
const ORDER_PICKUP: [Node; 11] = {
    let [a, b, c, d, e, f, g, h, picked_up, j, k] = ORDER_DELIVERY;
    let never = Node {
        ended_by: 0,
        never_after: EVER,
        ..picked_up
    };
    [a, b, c, d, e, f, g, h, never, j, k]
};

/// The name of the gateway's own notice in the life of a transfer.
pub const CALLBACK_MISSING: &str = "callback_missing";

/// "Partner returns responseType as RECEIVED. After some time, partner calls with responseType as CONFIRMED", or ERROR; "PHIL will wait for 4 hours". The first final word counts, and the
/// first after our notice ends what that assumes. A confirmation that was never told to have been received isn't early: the receipt is the answer to the request, and need not come
/// as a callback.
#[rustfmt::skip]
const TRANSFER: [Node; 4] = {
    const CONFIRMED: u16 = 1 << 1;
    const ERROR: u16 = 1 << 2;
    const MISSING: u16 = 1 << 3;
    [
        Node { late_after: MISSING, ..
        node("RECEIVED",       1, 0, CONFIRMED | ERROR, 0) },
        Node { late_after: MISSING, ..
        node("CONFIRMED",      2, 0, ERROR,             0) },
        Node { late_after: MISSING, ..
        node("ERROR",          2, 0, CONFIRMED,         0) },
        Node { is_ours: true, ..
        node(CALLBACK_MISSING, 3, 0, CONFIRMED | ERROR, 0) },
    ]
};

/// How far an entity has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The nodes that have been claimed; in a life with rounds, in this one.
    seen: u16,
    /// The nodes that have been handed over, in any round: to the origin, a queue, or the dead letters.
    settled: u16,
    /// The newest instant of each rank.
    newest: [Timestamp; RANKS],
    /// The highest version.
    version: u32,
    /// How many rounds have begun.
    round: u16,
    /// The node that was taken in last, counted from 1.
    last: u8,
}

/// How an event stands, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// How it stands in the order of its entity.
    pub ordering: Ordering,
    /// The round that it is of. The same event in another round is another event.
    pub round: u16,
    /// Whether it is a word of ours, after which what was only claimed before counts no more.
    pub overrules: bool,
    /// Whether what was decided of the entity's state before counts no more: it begins a round, or says that nothing was handed over.
    pub begins: bool,
    /// Whether it may decide the entity's state.
    pub decides: bool,
}

impl Progress {
    /// Takes in an event, and says how it stands to all that was taken in before and to itself: taken in twice in a row, it says the same.
    pub fn place(&mut self, life: Life, number: u8, at: Timestamp, version: u32) -> Ordering {
        self.take(life, number, at, version).ordering
    }

    /// The same, with all that follows from it.
    pub fn take(&mut self, life: Life, number: u8, at: Timestamp, version: u32) -> Placed {
        let round = self.round_of(life, number);
        let Some(node) = life.nodes().get(usize::from(number)) else {
            return Placed {
                ordering: Ordering::Unknown,
                round,
                overrules: false,
                begins: false,
                decides: true,
            };
        };
        let before = match (node.is_ours, life.has_rounds()) {
            (true, _) => self.settled,
            (false, true) => self.seen,
            (false, false) => self.seen | self.settled,
        };
        let newest = self.newest.get_mut(usize::from(node.rank));
        let older = match newest {
            Some(newest) => {
                *newest = at.max(*newest);
                // A word of ours isn't older than another of ours: it is of what is waited for now.
                at < *newest && !node.is_ours
            }
            None => false,
        };
        self.version = self.version.max(version);
        let outdated = version != 0 && version < self.version;
        let has_any = |nodes: u16| nodes & before != 0;
        let ended = has_any(node.ended_by) && (node.ended_once == 0 || has_any(node.ended_once));
        let ordering = if ended || older || outdated {
            Ordering::Superseded
        } else if has_any(node.late_after) {
            Ordering::Late
        } else if node.never_after == EVER || has_any(node.never_after) {
            Ordering::OutOfSequence
        } else if node.follows != 0 && !has_any(node.follows) {
            Ordering::Early
        } else {
            Ordering::InOrder
        };
        // A rejection or re-assignment of no effect leaves the round as it is. It is counted all the same: in doubt the same words said again are another event.
        let sound = matches!(ordering, Ordering::InOrder | Ordering::Early);
        let begins = round != self.round && sound;
        if begins {
            // What it follows stays: coming twice, it isn't early the second time.
            self.seen &= node.follows;
        }
        let overrules = node.is_ours && sound;
        if overrules {
            self.seen &= self.settled;
            let overruled = life.nodes().iter().enumerate();
            let overruled = overruled.filter(|(place, _)| {
                u8::try_from(*place).is_ok_and(|place| node.ended_by & bit(place) != 0)
            });
            for (_, of) in overruled {
                if let Some(newest) = self.newest.get_mut(usize::from(of.rank)) {
                    *newest = Timestamp::default();
                }
            }
        }
        if sound || !node.counts {
            self.seen |= bit(number);
        }
        self.round = round;
        self.last = number.saturating_add(1);
        Placed {
            ordering,
            round,
            overrules,
            begins: begins || overrules,
            decides: ordering != Ordering::Superseded
                && (ordering != Ordering::OutOfSequence || !life.has_rounds()),
        }
    }

    /// How an event stands now that was taken in before, as one of `round`. Nothing is taken in: a rejection that is tried again must not begin another round.
    pub fn again(&self, life: Life, number: u8, at: Timestamp, version: u32, round: u16) -> Placed {
        let mut copy = *self;
        copy.last = number.saturating_add(1);
        let placed = copy.take(life, number, at, version);
        // What stands at no place of the sequence is of every round.
        let aside = life
            .nodes()
            .get(usize::from(number))
            .is_none_or(|node| [node.follows, node.ended_by, node.never_after] == [0; 3]);
        let over = round < self.round && life.has_rounds() && !aside;
        let effective = matches!(placed.ordering, Ordering::InOrder | Ordering::Early);
        Placed {
            ordering: if over && effective {
                Ordering::Superseded
            } else {
                placed.ordering
            },
            round,
            overrules: false,
            begins: false,
            decides: placed.decides && !over,
        }
    }

    /// The round that an event is of, if it comes now. One that begins a round, and comes twice in a row, begins one.
    pub fn round_of(&self, life: Life, number: u8) -> u16 {
        let node = life.nodes().get(usize::from(number));
        let begins = node.is_some_and(|node| node.counts);
        if begins && self.last != number.saturating_add(1) {
            self.round.saturating_add(1)
        } else {
            self.round
        }
    }

    /// This event was handed over.
    pub fn settle(&mut self, number: u8) {
        self.settled |= bit(number);
    }

    /// Whether something was handed over that ends the effect of this event.
    pub fn has_ended(&self, life: Life, number: u8) -> bool {
        let node = life.nodes().get(usize::from(number));
        node.is_some_and(|node| self.settled & node.ended_by != 0)
    }

    /// How many rounds have begun.
    pub fn round(&self) -> u16 {
        self.round
    }

    /// Takes over what another object knew of the entity before a word of ours overruled it: only what was handed over counts.
    pub fn merge_settled(&mut self, other: &Self) {
        self.settled |= other.settled;
        self.seen |= other.seen & self.settled;
        self.version = self.version.max(other.version);
    }

    /// Takes over what another object knew of the entity. Of two rounds the later counts.
    pub fn merge(&mut self, other: &Self) {
        let theirs = other.round > self.round || (other.round == self.round && self.last == 0);
        if other.round > self.round {
            self.seen = 0;
        }
        if other.round >= self.round {
            self.seen |= other.seen;
        }
        self.settled |= other.settled;
        if theirs {
            self.round = other.round;
            self.last = other.last;
        }
        self.version = self.version.max(other.version);
        for (ours, theirs) in self.newest.iter_mut().zip(other.newest) {
            *ours = theirs.max(*ours);
        }
    }

    pub(super) fn write(&self, writer: Writer) -> Writer {
        let writer = writer
            .u16(self.seen)
            .u16(self.settled)
            .u32(self.version)
            .u16(self.round)
            .u8(self.last);
        self.newest
            .iter()
            .fold(writer, |writer, at| writer.i64(at.0))
    }

    /// A row that doesn't say what was handed over is taken at its word for all that it has seen.
    pub(super) fn read(reader: &mut Reader<'_>, says_settled: bool) -> Option<Self> {
        let seen = reader.u16()?;
        let settled = if says_settled { reader.u16()? } else { seen };
        let version = reader.u32()?;
        let (round, last) = (reader.u16()?, reader.u8()?);
        let mut newest = [Timestamp::default(); RANKS];
        for at in &mut newest {
            *at = Timestamp(reader.i64()?);
        }
        Some(Self {
            seen,
            settled,
            newest,
            version,
            round,
            last,
        })
    }
}

/// The number of a prescription's version, such as `v1.1`; later ones are higher. 0: it isn't of that form, and isn't compared.
pub fn version_number(text: &str) -> u32 {
    let Some(digits) = text.strip_prefix('v') else {
        return 0;
    };
    let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
    let part = |text: &str| {
        let short = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        short.then(|| text.parse::<u32>().unwrap_or(0))
    };
    part(major)
        .zip(part(minor))
        .map_or(0, |(major, minor)| major * 10_000 + minor)
}

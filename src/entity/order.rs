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
}

impl Life {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Authorization,
        Self::Dispense,
        Self::Prescription,
        Self::Settlement,
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
        }
    }
}

/// No life has more ranks.
const RANKS: usize = 4;

/// One kind of event in a life. Sets of nodes are bits, by the numbers of the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The sender's event type.
    pub event_type: &'static str,
    /// How far along the life it stands, from 1. Among events of one rank the newest counts.
    pub rank: u8,
    /// It follows one of these; before any of them it is early.
    pub follows: u16,
    /// Each of these ends its effect.
    pub ended_by: u16,
    /// After any of these the sender's own sequence doesn't have it.
    pub never_after: u16,
}

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
        never_after,
    }
}

/// "If a request goes PENDING_SPONSOR → APPROVED → VOIDED, you'll get authorization.created then authorization.voided". "Under rare race conditions, you may see
/// authorization.voided before authorization.created. Treat this as a NOP". A denied request has no authorization.
#[rustfmt::skip]
const AUTHORIZATION: [Node; 4] = [
    node("authorization.created",  1, 0,    1 << 3, 1 << 1),
    node("authorization.rejected", 1, 0,    1 << 3, 1 << 0),
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
    node("settlement.rejected",           1, 0, 0, 1 << 0 | 1 << 2),
    node("settlement.partially_accepted", 1, 0, 0, 1 << 0 | 1 << 1),
];

/// How far an entity has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The nodes that have been claimed.
    seen: u16,
    /// The newest instant of each rank.
    newest: [Timestamp; RANKS],
    /// The highest version.
    version: u32,
}

impl Progress {
    /// Takes in an event, and says how it stands to all that was taken in before and to itself: taken in twice, it says the same.
    pub fn place(&mut self, life: Life, number: u8, at: Timestamp, version: u32) -> Ordering {
        let Some(node) = life.nodes().get(usize::from(number)) else {
            return Ordering::Unknown;
        };
        let before = self.seen;
        let newest = self.newest.get_mut(usize::from(node.rank));
        let older = match newest {
            Some(newest) => {
                *newest = at.max(*newest);
                at < *newest
            }
            None => false,
        };
        self.version = self.version.max(version);
        let outdated = version != 0 && version < self.version;
        self.seen |= 1u16.checked_shl(number.into()).unwrap_or(0);
        let has_any = |nodes: u16| nodes & before != 0;
        if has_any(node.ended_by) || older || outdated {
            Ordering::Superseded
        } else if has_any(node.never_after) {
            Ordering::OutOfSequence
        } else if node.follows != 0 && !has_any(node.follows) {
            Ordering::Early
        } else {
            Ordering::InOrder
        }
    }

    /// Takes over what another object knew of the entity.
    pub fn merge(&mut self, other: &Self) {
        self.seen |= other.seen;
        self.version = self.version.max(other.version);
        for (ours, theirs) in self.newest.iter_mut().zip(other.newest) {
            *ours = theirs.max(*ours);
        }
    }

    pub(super) fn write(&self, writer: Writer) -> Writer {
        let writer = writer.u16(self.seen).u32(self.version);
        self.newest
            .iter()
            .fold(writer, |writer, at| writer.i64(at.0))
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (seen, version) = (reader.u16()?, reader.u32()?);
        let mut newest = [Timestamp::default(); RANKS];
        for at in &mut newest {
            *at = Timestamp(reader.i64()?);
        }
        Some(Self {
            seen,
            newest,
            version,
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

//! Callbacks that somebody waits for: one row in the object of the entity that they will be about, so that a callback and its expectation meet in one place.
//!
//! A callback's claim neither reads nor writes that row: whether it came is told by the entity's own row, when the alarm comes or somebody asks.

use std::time::Duration;

use super::serve::{Store, load};
use super::{CALLBACK_MISSING, Entity, EntityKey, Life, WireCorrupt};
use crate::bytes::{Reader, Writer};
use crate::time::Timestamp;

/// So many notices are sent in one go: the platform takes a hundred messages at a time.
pub const MAX_NOTICES: u32 = 100;

/// How an expectation stands. Stored rows hold the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Nothing came yet, and nobody was told.
    Pending = 0,
    /// A callback came.
    Met = 1,
    /// None came in time: the notice is in our queue.
    Notified = 2,
}

impl Standing {
    /// As it stands in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Met => "met",
            Self::Notified => "notified",
        }
    }

    /// Reads the number.
    pub fn from_u8(code: u8) -> Option<Self> {
        let all = [Self::Pending, Self::Met, Self::Notified];
        all.into_iter().find(|standing| *standing as u8 == code)
    }
}

/// What is kept of an expectation, besides its entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How it stands.
    pub standing: Standing,
    /// By when a callback is due.
    pub due: Timestamp,
    /// For how long it is remembered once it doesn't stand out any more.
    pub kept: Duration,
    /// The notice, sealed: a message of our own queue.
    pub notice: Vec<u8>,
}

impl Expected {
    /// When something has to be done about the row: told that it is overdue, or forgotten.
    pub fn at(&self, now: Timestamp) -> Timestamp {
        match self.standing {
            Standing::Pending => self.due,
            Standing::Met | Standing::Notified => now.after(self.kept),
        }
    }
}

/// What came of looking for what is overdue: a page of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notices {
    /// So many were met, and are noted as such.
    pub met: u32,
    /// What is to be sent.
    pub notices: Vec<(EntityKey, Vec<u8>)>,
}

/// What an object can be asked about expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectRequest {
    /// Expect a callback, unless it is expected already.
    Register(EntityKey, Expected),
    /// How does it stand?
    Read(EntityKey),
    /// Expect it no longer.
    Remove(EntityKey),
    /// Does anything stand out that is overdue? Asking wakes the object for it.
    Overdue,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectReply {
    /// To `Register`.
    Registered {
        /// How it stands now.
        standing: Standing,
        /// By when a callback is due.
        due: Timestamp,
        /// Whether it wasn't there before.
        added: bool,
    },
    /// To `Read`.
    Read {
        /// How it stands, and when it is due; `None`: nobody expects anything.
        expected: Option<(Standing, Timestamp)>,
        /// Whether a callback came, as far as this object knows, expected or not.
        called_back: bool,
    },
    /// To `Remove`: whether it was there.
    Removed(bool),
    /// To `Overdue`: how many are.
    Overdue(u64),
    /// The entity lives in another object now.
    Moved,
}

/// On what terms a claim is granted, besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// Somebody expects a callback about the entity.
    Expected = 1,
    /// The event is the notice that nothing came, and nothing did.
    StillMissing = 2,
}

impl Condition {
    pub(super) fn from_u8(code: u8) -> Option<Self> {
        let all = [Self::Expected, Self::StillMissing];
        all.into_iter().find(|condition| *condition as u8 == code)
    }
}

/// Whether the last word on a transfer came, and was handed over: what ends the effect of the notice. What was claimed and given back isn't there.
pub(super) fn called_back(entity: &Entity) -> bool {
    let missing = Life::Transfer.number(CALLBACK_MISSING);
    missing.is_some_and(|number| entity.has_ended(Life::Transfer, number))
}

pub(super) fn serve_expected<S: Store>(
    store: &S,
    request: ExpectRequest,
    now: Timestamp,
) -> Result<ExpectReply, S::Error> {
    Ok(match request {
        ExpectRequest::Register(key, mut expected) => {
            if let Some(Expected { standing, due, .. }) = store.expected(key)? {
                let pending = standing == Standing::Pending;
                let standing = if pending && called_back(&load(store, key)?) {
                    Standing::Met
                } else {
                    standing
                };
                return Ok(ExpectReply::Registered {
                    standing,
                    due,
                    added: false,
                });
            }
            let entity = load(store, key)?;
            if entity.is_moved() {
                return Ok(ExpectReply::Moved);
            }
            if called_back(&entity) {
                expected.standing = Standing::Met;
            }
            store.expect(key, &expected, expected.at(now))?;
            ExpectReply::Registered {
                standing: expected.standing,
                due: expected.due,
                added: true,
            }
        }
        ExpectRequest::Read(key) => ExpectReply::Read {
            expected: store
                .expected(key)?
                .map(|Expected { standing, due, .. }| (standing, due)),
            called_back: called_back(&load(store, key)?),
        },
        ExpectRequest::Remove(key) => ExpectReply::Removed(store.expect_no_longer(key)?),
        ExpectRequest::Overdue => ExpectReply::Overdue(store.count_overdue(now)?),
    })
}

/// The notices to send now, a page of them. What was met meanwhile is noted as such, and isn't among them; the others stay pending until [`notified`], so that a send that
/// fails, or that nobody hears the end of, is done again. A notice that is sent twice is delivered once: its claim sees to that.
pub fn overdue<S: Store>(store: &S, now: Timestamp) -> Result<Notices, S::Error> {
    let (mut met, mut notices) = (0, Vec::new());
    for (key, expected) in store.overdue(now, MAX_NOTICES)? {
        // A row that can't be read mustn't keep the others waiting: the notice's claim will say so.
        let came = load(store, key).is_ok_and(|entity| called_back(&entity));
        if came {
            met += 1;
            let expected = Expected {
                standing: Standing::Met,
                ..expected
            };
            store.expect(key, &expected, expected.at(now))?;
        } else {
            notices.push((key, expected.notice));
        }
    }
    Ok(Notices { met, notices })
}

/// These notices are in our queue.
pub fn notified<S: Store>(store: &S, sent: &Notices, now: Timestamp) -> Result<(), S::Error> {
    for (key, notice) in &sent.notices {
        // It may have been deleted meanwhile, and announced anew: then it has another notice.
        let Some(mut expected) = store.expected(*key)? else {
            continue;
        };
        if expected.standing == Standing::Pending && expected.notice == *notice {
            expected.standing = Standing::Notified;
            store.expect(*key, &expected, expected.at(now))?;
        }
    }
    Ok(())
}

impl ExpectRequest {
    pub(super) fn write(&self, writer: Writer) -> Writer {
        match self {
            Self::Register(key, expected) => writer
                .u8(1)
                .raw(&key.0)
                .u8(expected.standing as u8)
                .i64(expected.due.0)
                .u64(u64::try_from(expected.kept.as_millis()).unwrap_or(u64::MAX))
                .block(&expected.notice),
            Self::Read(key) => writer.u8(2).raw(&key.0),
            Self::Remove(key) => writer.u8(3).raw(&key.0),
            Self::Overdue => writer.u8(4),
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Register(
                EntityKey(reader.array()?),
                Expected {
                    standing: Standing::from_u8(reader.u8()?)?,
                    due: Timestamp(reader.i64()?),
                    kept: super::wire::span(reader)?,
                    notice: reader.block()?.to_vec(),
                },
            ),
            2 => Self::Read(EntityKey(reader.array()?)),
            3 => Self::Remove(EntityKey(reader.array()?)),
            4 => Self::Overdue,
            _ => return None,
        })
    }
}

impl ExpectReply {
    pub(super) fn write(&self, writer: Writer) -> Writer {
        match *self {
            Self::Registered {
                standing,
                due,
                added,
            } => writer
                .u8(1)
                .u8(standing as u8)
                .i64(due.0)
                .u8(u8::from(added)),
            Self::Read {
                expected: None,
                called_back,
            } => writer.u8(2).u8(u8::from(called_back)),
            Self::Read {
                expected: Some((standing, due)),
                called_back,
            } => writer
                .u8(3)
                .u8(u8::from(called_back))
                .u8(standing as u8)
                .i64(due.0),
            Self::Removed(was_there) => writer.u8(4).u8(u8::from(was_there)),
            Self::Overdue(count) => writer.u8(5).u64(count),
            Self::Moved => writer.u8(6),
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Registered {
                standing: Standing::from_u8(reader.u8()?)?,
                due: Timestamp(reader.i64()?),
                added: reader.u8()? == 1,
            },
            2 => Self::Read {
                expected: None,
                called_back: reader.u8()? == 1,
            },
            3 => {
                let called_back = reader.u8()? == 1;
                let standing = Standing::from_u8(reader.u8()?)?;
                Self::Read {
                    expected: Some((standing, Timestamp(reader.i64()?))),
                    called_back,
                }
            }
            4 => Self::Removed(reader.u8()? == 1),
            5 => Self::Overdue(reader.u64()?),
            6 => Self::Moved,
            _ => return None,
        })
    }
}

impl Notices {
    /// For the shell: how many were met, then of each notice the key, the length, the message. The shell hands all of it back once they are sent.
    pub fn pack(&self) -> Vec<u8> {
        let notices = self.notices.iter();
        let writer = Writer::default().u32(self.met);
        let pack =
            |writer: Writer, (key, notice): &(EntityKey, Vec<u8>)| writer.raw(&key.0).block(notice);
        notices.fold(writer, pack).done()
    }

    /// What [`pack`](Self::pack) packed.
    pub fn unpack(packed: &[u8]) -> Result<Self, WireCorrupt> {
        let mut reader = Reader::new(packed);
        let met = reader.u32().ok_or(WireCorrupt)?;
        let mut notices = Vec::new();
        while reader.end().is_none() {
            let key = reader.array().ok_or(WireCorrupt)?;
            let notice = reader.block().ok_or(WireCorrupt)?;
            notices.push((EntityKey(key), notice.to_vec()));
        }
        Ok(Self { met, notices })
    }
}

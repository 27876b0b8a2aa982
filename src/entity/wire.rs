//! The messages between the machine and the entity's object. Versioned: during a deploy the two sides may differ.

use std::time::Duration;

use super::layout::{read_objects, write_objects};
use super::{
    Agreed, Claim, ClaimRequest, Claimant, Condition, EntityKey, EventHash, ExpectReply,
    ExpectRequest, Fence, LayoutRefused, LayoutRequest, LeaseLost, Life, Ordering, Receipt, Step,
};
use crate::bytes::{Reader, Writer};
use crate::letters::{LetterReply, LetterRequest};
use crate::time::Timestamp;

const VERSION: u8 = 1;

/// A message that isn't of a form that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireCorrupt;

/// What an object can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Agree on the number of objects.
    Layout(LayoutRequest),
    /// Take an event.
    Claim {
        /// Its entity.
        entity: EntityKey,
        /// What is asked.
        claim: ClaimRequest,
        /// The entity's pages, as another object's `Moved` reply gave them.
        moved: Option<Vec<u8>>,
    },
    /// Remember an event.
    Commit {
        /// Its entity.
        entity: EntityKey,
        /// The event.
        event: EventHash,
        /// The lease.
        fence: Fence,
        /// How it ended.
        receipt: Receipt,
        /// For how long it is remembered.
        window: Duration,
    },
    /// Give an event back.
    Release {
        /// Its entity.
        entity: EntityKey,
        /// The event.
        event: EventHash,
        /// The lease.
        fence: Fence,
    },
    /// Hand the entity over to another object.
    Move {
        /// The entity.
        entity: EntityKey,
        /// For how long the move is remembered.
        window: Duration,
    },
    /// Something about dead letters.
    Letters(LetterRequest),
    /// Something about callbacks that are waited for.
    Expect(ExpectRequest),
    /// Take an event, if this holds.
    ClaimIf(Condition, Box<Self>),
}

/// The storage operations that a call cost, as the platform bills them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows read.
    pub read: u32,
    /// Rows written.
    pub written: u32,
}

/// What an object answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Layout`.
    Layout(Result<Agreed, LayoutRefused>),
    /// To `Claim`.
    Claim(Claim),
    /// To `Commit` and `Release`.
    Settled(Result<(), LeaseLost>),
    /// To `Move`: the entity's pages. Leases that still run are waited for first.
    Moved(Vec<u8>),
    /// To `Move`: there are leases, the last of which ends so much later.
    Busy(Duration),
    /// To `Letters`.
    Letters(LetterReply),
    /// To `Expect`.
    Expect(ExpectReply),
    /// To `ClaimIf`: it would be granted, but for the condition.
    Unmet,
}

impl Request {
    /// The message.
    pub fn pack(&self) -> Vec<u8> {
        let writer = Writer::with_capacity(80).u8(VERSION);
        match self {
            Self::Layout(layout) => writer
                .u8(1)
                .u32(layout.shards)
                .u32(layout.previous.unwrap_or(0))
                .u64(millis(layout.window)),
            Self::Claim {
                entity,
                claim,
                moved,
            } => match claim.claimant {
                Claimant::Sender => writer.u8(2),
                Claimant::Message(fence) => writer.u8(6).u64(fence.0),
            }
            .raw(&entity.0)
            .raw(&claim.event.0)
            .u8(claim.step.rank)
            .u8(claim.step.state)
            .i64(claim.step.at.0)
            .u8(claim.step.life as u8)
            .u8(claim.step.node)
            .u32(claim.step.version)
            .u32(claim.round.map_or(0, |round| u32::from(round) + 1))
            .u64(millis(claim.lease))
            .u64(millis(claim.window))
            .block(moved.as_deref().unwrap_or_default()),
            Self::Commit {
                entity,
                event,
                fence,
                receipt,
                window,
            } => writer
                .u8(3)
                .raw(&entity.0)
                .raw(&event.0)
                .u64(fence.0)
                .u8(*receipt as u8)
                .u64(millis(*window)),
            Self::Release {
                entity,
                event,
                fence,
            } => writer.u8(4).raw(&entity.0).raw(&event.0).u64(fence.0),
            Self::Move { entity, window } => writer.u8(5).raw(&entity.0).u64(millis(*window)),
            Self::Letters(request) => request.write(writer.u8(7)),
            Self::Expect(request) => request.write(writer.u8(8)),
            Self::ClaimIf(condition, claim) => {
                writer.u8(9).u8(*condition as u8).block(&claim.pack())
            }
        }
        .done()
    }

    /// Reads the message.
    pub fn unpack(bytes: &[u8]) -> Result<Self, WireCorrupt> {
        Self::read(&mut Reader::new(bytes)).ok_or(WireCorrupt)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        if reader.u8()? != VERSION {
            return None;
        }
        let request = match reader.u8()? {
            1 => Self::Layout(LayoutRequest {
                shards: reader.u32()?,
                previous: Some(reader.u32()?).filter(|&n| n > 0),
                window: span(reader)?,
            }),
            2 => Self::read_claim(reader, Claimant::Sender)?,
            3 => Self::Commit {
                entity: EntityKey(reader.array()?),
                event: EventHash(reader.array()?),
                fence: Fence(reader.u64()?),
                receipt: Receipt::from_u8(reader.u8()?)?,
                window: span(reader)?,
            },
            4 => Self::Release {
                entity: EntityKey(reader.array()?),
                event: EventHash(reader.array()?),
                fence: Fence(reader.u64()?),
            },
            5 => Self::Move {
                entity: EntityKey(reader.array()?),
                window: span(reader)?,
            },
            6 => {
                let fence = Fence(reader.u64()?);
                Self::read_claim(reader, Claimant::Message(fence))?
            }
            7 => Self::Letters(LetterRequest::read(reader)?),
            8 => Self::Expect(ExpectRequest::read(reader)?),
            9 => {
                let condition = Condition::from_u8(reader.u8()?)?;
                let mut inner = Reader::new(reader.block()?);
                // Nothing but a claim: what could be nested again has no end.
                let claimant = match (inner.u8()?, inner.u8()?) {
                    (VERSION, 2) => Claimant::Sender,
                    (VERSION, 6) => Claimant::Message(Fence(inner.u64()?)),
                    _ => return None,
                };
                let claim = Self::read_claim(&mut inner, claimant)?;
                inner.end()?;
                Self::ClaimIf(condition, Box::new(claim))
            }
            _ => return None,
        };
        reader.end().map(|()| request)
    }

    fn read_claim(reader: &mut Reader<'_>, claimant: Claimant) -> Option<Self> {
        Some(Self::Claim {
            entity: EntityKey(reader.array()?),
            claim: ClaimRequest {
                event: EventHash(reader.array()?),
                claimant,
                step: Step {
                    rank: reader.u8()?,
                    state: reader.u8()?,
                    at: Timestamp(reader.i64()?),
                    life: Life::from_u8(reader.u8()?)?,
                    node: reader.u8()?,
                    version: reader.u32()?,
                },
                round: match reader.u32()? {
                    0 => None,
                    round => Some(u16::try_from(round - 1).ok()?),
                },
                lease: span(reader)?,
                window: span(reader)?,
            },
            moved: Some(reader.block()?)
                .filter(|block| !block.is_empty())
                .map(<[u8]>::to_vec),
        })
    }
}

impl Reply {
    /// The message, with what the call cost.
    pub fn pack(&self, cost: Cost) -> Vec<u8> {
        let writer = Writer::with_capacity(32)
            .u8(VERSION)
            .u32(cost.read)
            .u32(cost.written);
        match self {
            Self::Layout(Ok(agreed)) => write_objects(
                write_objects(writer.u8(1), Some(agreed.objects)),
                agreed.previous,
            ),
            Self::Layout(Err(refused)) => {
                writer.u8(2).u32(refused.recorded).u64(millis(refused.wait))
            }
            Self::Claim(Claim::Granted {
                fence,
                event,
                round,
                state,
                ordering,
            }) => writer
                .u8(3)
                .u64(fence.0)
                .raw(&event.0)
                .u16(*round)
                .u8(*state)
                .u8(*ordering as u8),
            Self::Claim(Claim::InFlight { retry_after }) => writer.u8(4).u64(millis(*retry_after)),
            Self::Claim(Claim::Duplicate {
                receipt,
                remembered,
                round,
            }) => writer
                .u8(5)
                .u8(*receipt as u8)
                .u64(millis(*remembered))
                .u16(*round),
            Self::Claim(Claim::Moved) => writer.u8(6),
            Self::Settled(Ok(())) => writer.u8(7),
            Self::Settled(Err(LeaseLost)) => writer.u8(8),
            Self::Moved(pages) => writer.u8(9).block(pages),
            Self::Busy(wait) => writer.u8(10).u64(millis(*wait)),
            Self::Letters(reply) => reply.write(writer.u8(11)),
            Self::Expect(reply) => reply.write(writer.u8(12)),
            Self::Unmet => writer.u8(13),
        }
        .done()
    }

    /// Reads the message.
    pub fn unpack(bytes: &[u8]) -> Result<(Self, Cost), WireCorrupt> {
        Self::read(&mut Reader::new(bytes)).ok_or(WireCorrupt)
    }

    fn read(reader: &mut Reader<'_>) -> Option<(Self, Cost)> {
        if reader.u8()? != VERSION {
            return None;
        }
        let cost = Cost {
            read: reader.u32()?,
            written: reader.u32()?,
        };
        let reply = match reader.u8()? {
            1 => Self::Layout(Ok(Agreed {
                objects: read_objects(reader)??,
                previous: read_objects(reader)?,
            })),
            2 => Self::Layout(Err(LayoutRefused {
                recorded: reader.u32()?,
                wait: span(reader)?,
            })),
            3 => Self::Claim(Claim::Granted {
                fence: Fence(reader.u64()?),
                event: EventHash(reader.array()?),
                round: reader.u16()?,
                state: reader.u8()?,
                ordering: Ordering::from_u8(reader.u8()?)?,
            }),
            4 => Self::Claim(Claim::InFlight {
                retry_after: span(reader)?,
            }),
            5 => Self::Claim(Claim::Duplicate {
                receipt: Receipt::from_u8(reader.u8()?)?,
                remembered: span(reader)?,
                round: reader.u16()?,
            }),
            6 => Self::Claim(Claim::Moved),
            7 => Self::Settled(Ok(())),
            8 => Self::Settled(Err(LeaseLost)),
            9 => Self::Moved(reader.block()?.to_vec()),
            10 => Self::Busy(span(reader)?),
            11 => Self::Letters(LetterReply::read(reader)?),
            12 => Self::Expect(ExpectReply::read(reader)?),
            13 => Self::Unmet,
            _ => return None,
        };
        reader.end().map(|()| (reply, cost))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn span(reader: &mut Reader<'_>) -> Option<Duration> {
    // A span beyond what an i64 of milliseconds holds would wrap somewhere later.
    reader
        .u64()
        .filter(|&ms| i64::try_from(ms).is_ok())
        .map(Duration::from_millis)
}

//! What our own queues carry: the sender's request as it was authenticated, and what is known of it. Always sealed.
//!
//! Not the canonical event: that is made anew at each attempt, by the settings of that moment.

use std::ops::Range;

use crate::auth::{KeyId, Opened, Proof, Verified};
use crate::bytes::{Reader, Writer};
use crate::entity::{EntityKey, EventHash, Fence};
use crate::time::Timestamp;

const VERSION: u8 = 1;

/// Why something authentic can't be delivered for good. The code of each is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It isn't JSON within the limits.
    BodyMalformed = 1,
    /// A required field is missing or of the wrong type.
    EventInvalid = 2,
    /// It is of another environment than the source.
    EnvironmentMismatch = 3,
    /// It is of another account than the source's.
    ProviderMismatch = 4,
    /// The origin won't take it, however often it is sent.
    DeliveryRejected = 5,
    /// The origin didn't take it in all of the attempts that there are.
    AttemptsUsedUp = 6,
    /// A message of ours that can't be opened: its key is gone, or it isn't ours.
    MessageUnreadable = 7,
    /// A later event has ended its effect: a code that was taken back isn't to be handed on.
    WithheldSuperseded = 8,
    /// It says of itself that two different things happened.
    EventContradictory = 9,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BodyMalformed,
        Self::EventInvalid,
        Self::EnvironmentMismatch,
        Self::ProviderMismatch,
        Self::DeliveryRejected,
        Self::AttemptsUsedUp,
        Self::MessageUnreadable,
        Self::WithheldSuperseded,
        Self::EventContradictory,
    ];

    /// Its stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::BodyMalformed => "body_malformed",
            Self::EventInvalid => "event_invalid",
            Self::EnvironmentMismatch => "environment_mismatch",
            Self::ProviderMismatch => "provider_mismatch",
            Self::DeliveryRejected => "delivery_rejected",
            Self::AttemptsUsedUp => "attempts_used_up",
            Self::MessageUnreadable => "message_unreadable",
            Self::WithheldSuperseded => "withheld_superseded",
            Self::EventContradictory => "event_contradictory",
        }
    }

    fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == code)
    }
}

/// What names one redelivery, so that a message of it that comes twice isn't delivered twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// What is known of an event besides its bytes: names of ours, hashes, codes. No patient data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Why it is a dead letter.
    pub reason: Option<Reason>,
    /// What is wrong with the body.
    pub problem: Option<String>,
    /// Where, by known field names.
    pub path: Option<String>,
    /// The canonical type, if it could be read.
    pub r#type: Option<String>,
    /// The hash that names the event to the origin, if its id could be read.
    pub webhook_id: Option<String>,
}

/// The claim of a request that was enqueued. It travels along, so that no later change of settings makes two events of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The entity.
    pub entity: EntityKey,
    /// The event.
    pub event: EventHash,
    /// The lease; 0: a source whose events are remembered in KV.
    pub fence: Fence,
}

/// A request on its way through our queues.
#[derive(Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The source's id.
    pub source: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// What authentication learnt.
    pub proof: Proof,
    /// The sender's signature header.
    pub signature: Option<String>,
    /// The trace context, if it was well-formed.
    pub traceparent: Option<String>,
    /// What it was claimed as, and the lease under which it was sent; `None`: it was sent without a claim.
    pub claimed: Option<Claimed>,
    /// Which redelivery it is, if it is one.
    pub nonce: Option<Nonce>,
    /// What is known of it.
    pub label: Label,
    /// The body, as a part of what was opened, or by itself.
    pub body: Vec<u8>,
}

impl Parcel {
    /// The plain form.
    pub fn pack(&self) -> Vec<u8> {
        let Label {
            reason,
            problem,
            path,
            r#type,
            webhook_id,
        } = &self.label;
        Writer::with_capacity(self.body.len() + 512)
            .u8(VERSION)
            .block(self.source.as_bytes())
            .i64(self.received_at.0)
            .block(self.proof.key.as_str().as_bytes())
            .i64(self.proof.signed_at.0)
            .i64(self.proof.stale_by.unwrap_or(i64::MIN))
            .optional(self.signature.as_deref())
            .optional(self.traceparent.as_deref())
            .raw(&self.claimed.map_or([0; 16], |claimed| claimed.entity.0))
            .raw(&self.claimed.map_or([0; 16], |claimed| claimed.event.0))
            .u64(self.claimed.map_or(u64::MAX, |claimed| claimed.fence.0))
            .raw(&self.nonce.map_or([0; 16], |Nonce(bytes)| bytes))
            .u8(reason.map_or(0, |reason| reason as u8))
            .optional(problem.as_deref())
            .optional(path.as_deref())
            .optional(r#type.as_deref())
            .optional(webhook_id.as_deref())
            .block(&self.body)
            .done()
    }

    /// Reads the plain form out of a seal.
    pub fn read(opened: &Opened) -> Option<Self> {
        let mut reader = Reader::new(opened.bytes());
        let reader = &mut reader;
        if reader.u8()? != VERSION {
            return None;
        }
        let parcel = Self {
            source: reader.text()?.to_owned(),
            received_at: Timestamp(reader.i64()?),
            proof: Proof {
                key: KeyId::new(reader.text()?),
                signed_at: Timestamp(reader.i64()?),
                stale_by: Some(reader.i64()?).filter(|&by| by != i64::MIN),
            },
            signature: reader.optional()?,
            traceparent: reader.optional()?,
            claimed: Some(Claimed {
                entity: EntityKey(reader.array()?),
                event: EventHash(reader.array()?),
                fence: Fence(reader.u64()?),
            })
            .filter(|claimed| claimed.fence.0 != u64::MAX),
            nonce: Some(reader.array()?)
                .filter(|bytes| *bytes != [0; 16])
                .map(Nonce),
            label: Label {
                reason: match reader.u8()? {
                    0 => None,
                    code => Some(Reason::from_u8(code)?),
                },
                problem: reader.optional()?,
                path: reader.optional()?,
                r#type: reader.optional()?,
                webhook_id: reader.optional()?,
            },
            body: reader.block()?.to_vec(),
        };
        reader.end().map(|()| parcel)
    }

    /// The body as authenticated bytes: it was before it was sealed, and the seal held.
    pub fn verified<'a>(&self, opened: &'a Opened) -> Option<Verified<'a>> {
        let end = opened.bytes().len();
        let body: Range<usize> = end.checked_sub(self.body.len())?..end;
        Verified::opened(opened, &body, self.proof.clone())
    }
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel")
            .field("source", &self.source)
            .field("claimed", &self.claimed)
            .field("label", &self.label)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

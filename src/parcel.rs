//! What our own queues carry: the sender's request as it was authenticated, and what is known of it. Always sealed.
//!
//! Not the canonical event: that is made anew at each attempt, by the settings of that moment.

use std::ops::Range;

use crate::auth::{KeyId, Opened, Proof, Strength, Verified};
use crate::bytes::{Reader, Writer};
use crate::entity::{EntityKey, EventHash, Fence};
use crate::time::Timestamp;

/// The form of what is packed. Another is put back, for a build that reads it.
const VERSION: u8 = 1;

/// Marks a parcel as a notice of ours, among its headers: no header can be called this, so no request can bring it about.
const NOTICE: &str = ":notice";

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
    /// Nobody expects a callback about it, and the source takes no other.
    ExpectationUnknown = 10,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::BodyMalformed,
        Self::EventInvalid,
        Self::EnvironmentMismatch,
        Self::ProviderMismatch,
        Self::DeliveryRejected,
        Self::AttemptsUsedUp,
        Self::MessageUnreadable,
        Self::WithheldSuperseded,
        Self::EventContradictory,
        Self::ExpectationUnknown,
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
            Self::ExpectationUnknown => "expectation_unknown",
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
    /// The sender's headers that go on with its own bytes, by name.
    pub headers: Vec<(String, String)>,
    /// The trace context, if it was well-formed.
    pub traceparent: Option<String>,
    /// The webhook that the path named.
    pub webhook: Option<String>,
    /// What it was claimed as, and the lease under which it was sent; `None`: it was sent without a claim.
    pub claimed: Option<Claimed>,
    /// In which round of its entity it was claimed, where there are rounds. A redelivery is of the same.
    pub round: Option<u16>,
    /// Which redelivery it is, if it is one.
    pub nonce: Option<Nonce>,
    /// What is known of it.
    pub label: Label,
    /// The body, as a part of what was opened, or by itself.
    pub body: Vec<u8>,
}

impl Parcel {
    /// A notice of ours on its way through our own queue, as a request would be. Nobody sent its body.
    pub fn notice(source: &str, at: Timestamp, proof: Proof, body: Vec<u8>) -> Self {
        Self {
            source: source.to_owned(),
            received_at: at,
            proof,
            headers: vec![(NOTICE.to_owned(), String::new())],
            traceparent: None,
            webhook: None,
            claimed: None,
            round: None,
            nonce: None,
            label: Label::default(),
            body,
        }
    }

    /// Whether it is a notice of ours.
    pub fn is_notice(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == NOTICE)
    }

    /// The plain form.
    pub fn pack(&self) -> Vec<u8> {
        let Label {
            reason,
            problem,
            path,
            r#type,
            webhook_id,
        } = &self.label;
        let proof = &self.proof;
        let head = Writer::with_capacity(self.body.len() + 512)
            .u8(VERSION)
            .block(self.source.as_bytes())
            .i64(self.received_at.0)
            .block(proof.key.as_str().as_bytes())
            .u8(proof.strength as u8)
            .i64(proof.signed_at.map_or(i64::MIN, |at| at.0))
            .optional(proof.signed_id.as_deref())
            .i64(proof.stale_by.unwrap_or(i64::MIN))
            .u8(u8::try_from(self.headers.len()).unwrap_or(u8::MAX));
        let headers = self.headers.iter().take(usize::from(u8::MAX));
        let head = headers.fold(head, |head, (name, value)| {
            head.block(name.as_bytes()).block(value.as_bytes())
        });
        head.optional(self.traceparent.as_deref())
            .optional(self.webhook.as_deref())
            .raw(&self.claimed.map_or([0; 16], |claimed| claimed.entity.0))
            .raw(&self.claimed.map_or([0; 16], |claimed| claimed.event.0))
            .u64(self.claimed.map_or(u64::MAX, |claimed| claimed.fence.0))
            .u32(self.round.map_or(0, |round| u32::from(round) + 1))
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
        let source = reader.text()?.to_owned();
        let received_at = Timestamp(reader.i64()?);
        let known = |number: i64| Some(number).filter(|&number| number != i64::MIN);
        let key = KeyId::new(reader.text()?);
        let mut proof = Proof::of(key, Strength::from_u8(reader.u8()?)?);
        proof.signed_at = known(reader.i64()?).map(Timestamp);
        proof.signed_id = reader.optional()?;
        proof.stale_by = known(reader.i64()?);
        let mut headers = Vec::new();
        for _ in 0..reader.u8()? {
            headers.push((reader.text()?.to_owned(), reader.text()?.to_owned()));
        }
        let parcel = Self {
            source,
            received_at,
            proof,
            headers,
            traceparent: reader.optional()?,
            webhook: reader.optional()?,
            claimed: Some(Claimed {
                entity: EntityKey(reader.array()?),
                event: EventHash(reader.array()?),
                fence: Fence(reader.u64()?),
            })
            .filter(|claimed| claimed.fence.0 != u64::MAX),
            round: match reader.u32()? {
                0 => None,
                round => Some(u16::try_from(round - 1).ok()?),
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{SealKey, SealKeys, Sealed};

    fn opened(plain: &[u8]) -> Opened {
        let key = SealKey::parse(
            KeyId::new("k"),
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        );
        let keys = SealKeys::new(vec![key.unwrap()]).unwrap();
        let sealed = keys.seal(Sealed::Delivery, [7; 12], &[], plain).unwrap();
        keys.open(Sealed::Delivery, &sealed).unwrap()
    }

    fn parcel() -> Parcel {
        let mut proof = Proof::of(KeyId::new("first"), Strength::Signature);
        proof.signed_at = Some(Timestamp(1_795_000_000_000));
        Parcel {
            source: "osigu".to_owned(),
            received_at: Timestamp(1_795_000_001_000),
            proof,
            headers: vec![("x-osigu-signature".to_owned(), "t=1".to_owned())],
            traceparent: None,
            webhook: Some("order-shipped".to_owned()),
            claimed: None,
            round: None,
            nonce: None,
            label: Label::default(),
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn what_was_packed_is_read_with_all_that_was_proved() {
        let mut parcel = parcel();
        parcel.proof.strength = Strength::Token;
        parcel.proof.signed_id = Some("msg_1".to_owned());
        parcel.headers.push(("x-id".to_owned(), "msg_1".to_owned()));
        let times = [None, parcel.proof.signed_at];
        let rounds = [None, Some(0), Some(u16::MAX)];
        for (signed_at, round) in times
            .into_iter()
            .flat_map(|at| rounds.map(|round| (at, round)))
        {
            parcel.proof.signed_at = signed_at;
            parcel.round = round;
            let opened = opened(&parcel.pack());
            let read = Parcel::read(&opened).unwrap();
            assert!(read == parcel);
            let verified = read.verified(&opened).unwrap();
            assert_eq!(verified.proof(), &parcel.proof);
        }
    }
}

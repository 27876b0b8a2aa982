//! What is known of each kind of sender: pure knowledge, no keys, no I/O. A provider reads only what is [`Verified`].

pub mod configured;
mod evitalrx;
mod osigu;
pub mod phil;
pub mod preset;

use std::borrow::Cow;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::auth::{OSIGU_SIGNATURE, Verified};
use crate::bytes::hex;
use crate::entity::Step;
use crate::event::phi::{self, Class, Field, Policy, Scratch, redact};
use crate::event::{Attributes, Data, Document, Invalid, Malformed, Notes};
use crate::json::Value;
use crate::time::Zone;

/// The canonical type of what is authentic and not known.
pub const UNKNOWN_TYPE: &str = "rx.unknown";

/// The kinds of sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// Osigu: authorizations, dispensations, prescriptions, settlements.
    Osigu,
    /// Any other, by its settings.
    Configured,
    /// eVitalRx: orders of its fulfilment portal.
    Evitalrx,
    /// PHIL, where we stand in for its callback API: a pharmacy says what became of a transfer.
    PhilCallback,
}

/// What a sender does with an event that wasn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// It says for how long it tries again.
    Documented {
        /// How long.
        horizon: Duration,
    },
    /// It says nothing of it: nothing may rest on a retry.
    Unknown,
}

/// What a source expects of its events, besides their signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// `sandbox` or `production`.
    pub environment: String,
    /// Only events of this account are meant for us.
    pub provider_slug: Option<String>,
    /// Api versions that are read as if they were known.
    pub api_versions: Vec<String>,
    /// What is known of a sender that is configured.
    pub sender: Option<configured::Sender>,
}

/// What is known of the request around the body.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The source's id.
    pub source: &'a str,
    /// What the source expects.
    pub expected: &'a Expectations,
    /// What the source does with patient data.
    pub phi: &'a Policy,
    /// Owns what that leaves of the document. One for each event.
    pub scratch: &'a Scratch,
    /// The webhook that the path names, if it names one.
    pub webhook: Option<&'a str>,
    /// Where times without a zone were written.
    pub zone: Zone,
    /// How the request was authenticated, as it stands in `rxauth`: `signature`, `token` or `none`.
    pub auth: &'static str,
    /// The trace context, if it is well-formed.
    pub traceparent: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// What `phi` leaves of a document of which these fields are documented.
    fn redact(
        self,
        original: Value<'_, '_>,
        documented: &'static [Field],
        notes: &Notes,
    ) -> Result<Document<'a>, Refusal> {
        let redacted = redact(original, documented, self.phi, self.scratch)
            .ok_or(Refusal::Malformed(Malformed::NotAnObject))?;
        if redacted.cut {
            notes.add_to_whole("original", "at most 65536 values under unknown fields");
        }
        Ok(redacted.document)
    }
}

/// An event as the machine needs it.
pub struct Decoded<'a> {
    /// The sender's event id: dedupe works on it.
    pub id: Cow<'a, str>,
    /// Whether the sender gives none, and `id` is a hash of what tells the event from others.
    pub derived: bool,
    /// `<entity>/<id>` as it was sent, whatever `phi` says: for dedupe, and never to leave the gateway. `None` if it is about no entity that we know.
    pub entity: Option<String>,
    /// Where it stands in the life of its entity.
    pub step: Step,
    /// Whether it hands out something that a later event may have taken back.
    pub withholds: bool,
    /// Why it is `rx.unknown`, if it is.
    pub unknown: Option<Unknown>,
    /// The canonical attributes.
    pub attributes: Attributes<'a>,
    /// The canonical data.
    pub data: Data<'a>,
    /// How many known fields were of another type than documented.
    pub notes: usize,
}

/// Why an authentic event is delivered as `rx.unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// We don't know the event type.
    EventType,
    /// We don't know the api version.
    ApiVersion,
}

/// Why an authentic event can't be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It isn't JSON within the limits.
    Malformed(Malformed),
    /// A required field is missing or of the wrong type.
    Invalid(Invalid),
    /// It is of another environment than the source.
    EnvironmentMismatch,
    /// It is of another account than the source's.
    ProviderMismatch,
    /// It says of itself that two different things happened. The path names where: fields and words of ours, never what somebody wrote.
    Contradictory(Invalid),
}

impl From<Invalid> for Refusal {
    fn from(why: Invalid) -> Self {
        Self::Invalid(why)
    }
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Osigu,
        Self::Evitalrx,
        Self::PhilCallback,
        Self::Configured,
    ];

    /// The name in the configuration, in logs and in `rxprovider`; of a configured one, unless a preset names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Osigu => "osigu",
            Self::Evitalrx => "evitalrx",
            Self::PhilCallback => "phil-callback",
            Self::Configured => "configured",
        }
    }

    /// The one that the settings call so.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// The header that carries the signature, in lower case; `None`: the settings name it.
    pub fn signature_header(self) -> Option<&'static str> {
        match self {
            Self::Osigu => Some(OSIGU_SIGNATURE),
            Self::Evitalrx | Self::PhilCallback | Self::Configured => None,
        }
    }

    /// The content type that the sender documents, if it documents one.
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Osigu => Some("application/json"),
            Self::Configured => None,
            Self::Evitalrx | Self::PhilCallback => None,
        }
    }

    /// What the sender does with an event that wasn't taken.
    pub fn retry_policy(self) -> RetryPolicy {
        match self {
            Self::Osigu => RetryPolicy::Documented {
                horizon: osigu::RETRY_HORIZON,
            },
            Self::Configured => RetryPolicy::Unknown,
            Self::Evitalrx | Self::PhilCallback => RetryPolicy::Unknown,
        }
    }

    /// Api versions that this version of rxgate knows.
    pub fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Osigu => &osigu::API_VERSIONS,
            Self::Configured => &[],
            Self::Evitalrx | Self::PhilCallback => &[],
        }
    }

    /// The event types that this version of rxgate knows, and the canonical type of each.
    pub fn event_types(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let types: Vec<_> = match self {
            Self::Osigu => {
                let kinds = osigu::KINDS.iter();
                kinds
                    .map(|kind| (kind.event_type, kind.canonical))
                    .collect()
            }
            Self::Evitalrx => evitalrx::event_types().collect(),
            Self::PhilCallback => phil::event_types().collect(),
            Self::Configured => Vec::new(),
        };
        types.into_iter()
    }

    /// The names that a source's path may end in, each a webhook that tells what happened; none if the sender has one endpoint for all.
    pub fn webhooks(self) -> Vec<&'static str> {
        match self {
            Self::Evitalrx => evitalrx::event_types()
                .map(|(webhook, _)| webhook)
                .collect(),
            Self::Osigu | Self::PhilCallback | Self::Configured => Vec::new(),
        }
    }

    /// The paths of all values that the sender documents of an event type, each with its class. An event type that isn't known has those of the envelope.
    pub fn classes(self, event_type: &str) -> Vec<(String, Class)> {
        match self {
            Self::Osigu => phi::classes(osigu::documented(event_type)),
            Self::Configured => Vec::new(),
            Self::Evitalrx => phi::classes(&evitalrx::DOCUMENTED),
            Self::PhilCallback => phi::classes(&phil::DOCUMENTED),
        }
    }

    /// Reads, validates and normalises an event.
    pub fn read<'a>(
        self,
        verified: &'a Verified<'_>,
        context: Context<'a>,
    ) -> Result<Decoded<'a>, (Refusal, Option<String>)> {
        match (self, &context.expected.sender) {
            (Self::Osigu, _) => osigu::read(verified, context),
            (Self::Evitalrx, _) => evitalrx::read(verified, context),
            (Self::PhilCallback, _) => phil::read(verified, context),
            (Self::Configured, Some(sender)) => configured::read(verified, sender, context),
            // The configuration makes no such source.
            (Self::Configured, None) => Err((Refusal::ProviderMismatch, None)),
        }
    }
}

/// SHA-256 over `parts`, each with its length before it, so that no two lists of parts run into each other; one that isn't there is told from an empty one.
fn digest(name: &str, parts: &[Option<&[u8]>]) -> [u8; 32] {
    let mut hash = Sha256::new()
        .chain_update(name.as_bytes())
        .chain_update([0]);
    for part in parts {
        match part {
            Some(bytes) => {
                hash.update([1]);
                hash.update((bytes.len() as u64).to_be_bytes());
                hash.update(bytes);
            }
            None => hash.update([0]),
        }
    }
    hash.finalize().into()
}

/// An id made of a digest.
fn derived_id(prefix: &str, digest: &[u8; 32]) -> String {
    format!("{prefix}{}", hex(digest))
}

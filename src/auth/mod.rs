//! Authentication: the only roads to [`Verified`] bytes. One starts at a [`RawBody`] and its signature; the other at what we [sealed](SealKeys) after the first.
//!
//! A source has exactly one scheme, by its provider or its settings. Nothing is sniffed from the request, so a stranger can't pick a weaker one.

mod body;
#[cfg(all(any(feature = "js", feature = "worker"), target_arch = "wasm32"))]
mod host;
mod keyring;
mod mac;
pub mod scheme;
mod seal;
mod timestamped;

use crate::time::Timestamp;
use scheme::{Door, Head, Scheme};

pub use body::{Proof, RawBody, Strength, Verified};
pub use keyring::{Key, KeyFault, KeyId, Keyring, MAX_KEYS, MIN_KEY_BYTES};
pub use mac::{HmacSha256, Mac, Tag};
pub use seal::{
    MAX_SEAL_KEYS, NONCE_BYTES, Opened, SealKey, SealKeyFault, SealKeys, Sealed, Unsealable,
};
pub use timestamped::{MAX_HEADER_BYTES, MAX_SIGNATURES, SignatureRefusal, Stale, TimestampedHmac};

/// How a source's requests are authenticated.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Osigu's own scheme.
    Timestamped(TimestampedHmac),
    /// One that the settings make.
    Configured(Box<Scheme>),
    /// Nothing is signed.
    Unsigned(Box<Door>),
}

/// The header of Osigu's signature.
pub const OSIGU_SIGNATURE: &str = "x-osigu-signature";

impl Authentication {
    /// Checks a request.
    pub fn authenticate<'a>(
        &self,
        head: Head<'_>,
        body: RawBody<'a>,
        now: Timestamp,
    ) -> Result<Verified<'a>, SignatureRefusal> {
        match self {
            Self::Timestamped(scheme) => scheme.authenticate(head.signature, body, now),
            Self::Configured(scheme) => scheme.authenticate(head, body, now),
            Self::Unsigned(door) => door.authenticate(head, body, now),
        }
    }

    /// The header without which a request's body isn't read; `None`: it always is.
    pub fn signature_header(&self) -> Option<&str> {
        match self {
            Self::Timestamped(_) => Some(OSIGU_SIGNATURE),
            Self::Configured(scheme) => scheme.signature_header(),
            Self::Unsigned(door) => door.header(),
        }
    }

    /// The other headers that are read, in order.
    pub fn more_headers(&self) -> impl Iterator<Item = &str> {
        let scheme = match self {
            Self::Timestamped(_) | Self::Unsigned(_) => None,
            Self::Configured(scheme) => Some(scheme),
        };
        scheme.into_iter().flat_map(|scheme| scheme.more_headers())
    }

    /// Whether the URL is read.
    pub fn reads_url(&self) -> bool {
        match self {
            Self::Timestamped(_) | Self::Unsigned(_) => false,
            Self::Configured(scheme) => scheme.reads_url(),
        }
    }

    /// Whether more of the path than the source's name is read.
    pub fn reads_path(&self) -> bool {
        matches!(self, Self::Unsigned(_))
    }

    /// Whether there is such a source, to whoever asks at this path.
    pub fn admits(&self, path: Option<&str>, now: Timestamp) -> bool {
        match self {
            Self::Unsigned(door) => door.admits(path, now),
            _ => true,
        }
    }

    /// Whether anybody may send from this address.
    pub fn allows(&self, address: Option<&str>) -> bool {
        match self {
            Self::Unsigned(door) => door.allows(address),
            _ => true,
        }
    }

    /// What the path says of the event.
    pub fn webhook<'p>(&self, path: Option<&'p str>) -> Option<&'p str> {
        match self {
            Self::Unsigned(door) => door.webhook(path),
            _ => None,
        }
    }

    /// Whether any key may be tried at `now`.
    pub fn any_usable(&self, now: Timestamp) -> bool {
        match self {
            Self::Timestamped(scheme) => scheme.keys.usable(now).next().is_some(),
            Self::Configured(scheme) => scheme.any_usable(now),
            Self::Unsigned(door) => door.any_usable(now),
        }
    }

    /// The headers to pass on with the sender's own bytes, by name: those that prove something, and are no secret themselves.
    pub(crate) fn to_pass_on<'h>(&'h self, head: &Head<'h>) -> Vec<(&'h str, &'h str)> {
        let Self::Configured(scheme) = self else {
            if let Self::Unsigned(_) = self {
                return Vec::new();
            }
            let of_signature = self.signature_header().zip(head.signature);
            return of_signature.into_iter().collect();
        };
        if !scheme.form().algorithm().signs() {
            return Vec::new();
        }
        let of_signature = scheme.signature_header().zip(head.signature);
        let more = scheme.more_headers().zip(head.more).enumerate();
        let more = more.filter(|(place, _)| !scheme.is_secret(*place));
        let more = more.filter_map(|(_, (name, value))| Some((name, (*value)?)));
        of_signature.into_iter().chain(more).collect()
    }
}

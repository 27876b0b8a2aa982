//! Authentication: the only roads to [`Verified`] bytes. One starts at a [`RawBody`] and its signature; the other at what we [sealed](SealKeys) after the first.
//!
//! A source has exactly one scheme, chosen by its provider. Nothing is sniffed from the request, so a stranger can't pick a weaker one.

mod body;
mod keyring;
mod mac;
mod seal;
mod timestamped;

pub use body::{Proof, RawBody, Verified};
pub use keyring::{Key, KeyFault, KeyId, Keyring, MAX_KEYS, MIN_KEY_BYTES};
pub use mac::{HmacSha256, Mac, Tag};
pub use seal::{
    MAX_SEAL_KEYS, NONCE_BYTES, Opened, SealKey, SealKeyFault, SealKeys, Sealed, Unsealable,
};
pub use timestamped::{MAX_HEADER_BYTES, MAX_SIGNATURES, SignatureRefusal, Stale, TimestampedHmac};

//! The keys of a source or destination. Several are a rotation.

use std::fmt;
use std::sync::Arc;

use super::{HmacSha256, Mac, Tag};
use crate::time::Timestamp;

/// A key shorter than this is a fault of configuration.
pub const MIN_KEY_BYTES: usize = 16;

/// The work that a stranger can buy is one HMAC per key: so there are few.
pub const MAX_KEYS: usize = 4;

/// A key's public name, as the operator chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Names a key.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One key: its id, until when it holds, and the keyed hash. The bytes themselves aren't kept.
#[derive(Clone)]
pub struct Key<M = HmacSha256> {
    id: KeyId,
    not_after: Option<Timestamp>,
    mac: M,
}

/// Why a key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFault {
    /// It has no bytes at all.
    Empty,
    /// It has fewer bytes than [`MIN_KEY_BYTES`].
    Short {
        /// How many it has.
        bytes: usize,
    },
    /// The hash doesn't take it.
    Refused,
}

impl<M: Mac> Key<M> {
    /// Makes a key of `bytes`.
    pub fn new(id: KeyId, bytes: &[u8], not_after: Option<Timestamp>) -> Result<Self, KeyFault> {
        match bytes.len() {
            0 => return Err(KeyFault::Empty),
            len if len < MIN_KEY_BYTES => return Err(KeyFault::Short { bytes: len }),
            _ => {}
        }
        let mac = M::new(bytes).ok_or(KeyFault::Refused)?;
        Ok(Self { id, not_after, mac })
    }

    /// The key's name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The tag of `parts` under this key.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        self.mac.tag(parts)
    }
}

impl<M> fmt::Debug for Key<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id.as_str())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// At least one key, at most [`MAX_KEYS`].
#[derive(Clone, Debug)]
pub struct Keyring<M = HmacSha256>(Vec<Key<M>>);

impl<M: Mac> Keyring<M> {
    /// `None` unless there is a key and there are no more than [`MAX_KEYS`].
    pub fn new(keys: Vec<Key<M>>) -> Option<Self> {
        (!keys.is_empty() && keys.len() <= MAX_KEYS).then_some(Self(keys))
    }

    /// The keys that hold at `now`, in the order of the configuration.
    pub fn usable(&self, now: Timestamp) -> impl Iterator<Item = &Key<M>> {
        self.0
            .iter()
            .filter(move |key| key.not_after.is_none_or(|end| now <= end))
    }
}

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
pub struct Key {
    id: KeyId,
    not_after: Option<Timestamp>,
    mac: HmacSha256,
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
}

impl Key {
    /// Makes a key of `bytes`.
    pub fn new(id: KeyId, bytes: &[u8], not_after: Option<Timestamp>) -> Result<Self, KeyFault> {
        let mac = HmacSha256::new(bytes).ok_or(KeyFault::Empty)?;
        match bytes.len() {
            0 => Err(KeyFault::Empty),
            len if len < MIN_KEY_BYTES => Err(KeyFault::Short { bytes: len }),
            _ => Ok(Self { id, not_after, mac }),
        }
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

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id.as_str())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// At least one key, at most [`MAX_KEYS`].
#[derive(Clone, Debug)]
pub struct Keyring(Vec<Key>);

impl Keyring {
    /// `None` unless there is a key and there are no more than [`MAX_KEYS`].
    pub fn new(keys: Vec<Key>) -> Option<Self> {
        (!keys.is_empty() && keys.len() <= MAX_KEYS).then_some(Self(keys))
    }

    /// The keys that hold at `now`, in the order of the configuration.
    pub fn usable(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.0
            .iter()
            .filter(move |key| key.not_after.is_none_or(|end| now <= end))
    }
}

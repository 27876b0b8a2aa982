//! Dead letters: what is kept of an event that couldn't be delivered for good. Metadata in clear (names of ours, hashes, codes), everything else sealed.

mod wire;

pub use wire::{LetterReply, LetterRequest};

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::bytes::Base64;
use crate::parcel::Nonce;
use crate::time::Timestamp;

/// The object that keeps them.
pub const LETTERS_OBJECT: &str = "dead-letters-v1";
/// What was deleted leaves its id for so long: in our two queues a message of it can't be older.
pub const TOMBSTONE: Duration = Duration::from_secs(30 * 24 * 3600);
/// No list is longer.
pub const MAX_LISTED: u32 = 100;

/// Names a letter: made of its sealed bytes, so that a message that comes twice is one letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId(pub [u8; 16]);

impl LetterId {
    /// The id of what is sealed in `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        Self(digest.first_chunk::<16>().copied().unwrap_or_default())
    }

    /// The nonce of the redelivery after `redeliveries` others. The same until that one is known to be on its way, so that asking twice for it isn't two.
    pub fn nonce(self, redeliveries: u32) -> Nonce {
        let hashed = Sha256::new().chain_update(b"redelivery\0");
        let hashed = hashed
            .chain_update(self.0)
            .chain_update(redeliveries.to_be_bytes());
        let digest: [u8; 32] = hashed.finalize().into();
        Nonce(digest.first_chunk::<16>().copied().unwrap_or_default())
    }

    /// Reads the form that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("dl_")?;
        // One form alone: not padded.
        let bytes = Base64::Url
            .read(digits)
            .filter(|_| !digits.ends_with('='))?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dl_{}", Base64::Url.write(&self.0))
    }
}

/// What a list says of a letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// The source's id; empty if it couldn't be opened.
    pub source: String,
    /// Why it is a dead letter.
    pub code: String,
    /// The canonical type, if it could be read.
    pub r#type: Option<String>,
    /// The hash that names the event to the origin, if its id could be read.
    pub webhook_id: Option<String>,
    /// What is wrong with the body.
    pub problem: Option<String>,
    /// Where, by known field names.
    pub path: Option<String>,
    /// When the sender's request was received.
    pub received_at: Timestamp,
    /// When it became a dead letter.
    pub kept_at: Timestamp,
    /// Until when it is kept.
    pub expires_at: Timestamp,
    /// When it was last sent on its way again.
    pub redelivered_at: Option<Timestamp>,
    /// How often it was.
    pub redeliveries: u32,
    /// The size of the body.
    pub body_bytes: u32,
}

/// Which letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this source.
    pub source: Option<String>,
    /// Of this code.
    pub code: Option<String>,
    /// Received at this time or later.
    pub since: Timestamp,
    /// After this one, in the order of a list: by the time of receipt, then by id.
    pub after: Option<(Timestamp, LetterId)>,
    /// Only those that weren't redelivered yet; of what was withheld on purpose only where `code` asks for it.
    pub waiting: bool,
    /// So many at most.
    pub limit: u32,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All that are kept.
    pub kept: u64,
    /// Those that were withheld on purpose.
    pub withheld: u64,
    /// The others, as far as they weren't redelivered.
    pub waiting: u64,
    /// When the oldest of those was received.
    pub oldest: Option<Timestamp>,
}

//! The entity's row: claims, leases, sequence and state of one entity, as a pure value.
//!
//! The Durable Object, the store of the native tests and the property test's subject all do the same: load, apply, save.

mod expected;
mod layout;
mod order;
mod row;
mod serve;
mod wire;

pub use expected::{
    Condition, ExpectReply, ExpectRequest, Expected, MAX_NOTICES, Notices, Standing, notified,
    overdue,
};
pub use layout::{Agreed, Layout, LayoutRefused, LayoutRequest, Objects};
pub use order::{
    CALLBACK_MISSING, EVER, FINALLY_REJECTED, Life, Node, Ordering, Placed, Progress,
    version_number,
};
pub use row::{
    Claim, ClaimRequest, Claimant, Entity, Fence, LeaseLost, MAX_HEAD_ENTRIES, MAX_LEASED,
    MAX_PAGES, Page, Receipt, Row, RowCorrupt,
};
pub use serve::{Store, serve};
pub use wire::{Cost, Reply, Request, WireCorrupt};

use sha2::{Digest, Sha256};

/// Names an entity of a source without saying which: the first 16 bytes of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(pub [u8; 16]);

/// Names an event of a source without saying which: the first 16 bytes of its [`event_digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventHash(pub [u8; 16]);

/// SHA-256(source ‖ 0 ‖ event id): the idempotency key. Our outgoing `webhook-id` is made of it too.
pub fn event_digest(source: &str, event_id: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(source.as_bytes())
        .chain_update([0])
        .chain_update(event_id.as_bytes())
        .finalize()
        .into()
}

/// SHA-256("body" ‖ 0 ‖ source ‖ 0 ‖ SHA-256(body)): the idempotency key of what has no id that could name it. No event id has 32 bytes that are such a hash.
pub fn body_digest(source: &str, body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"body\0")
        .chain_update(source.as_bytes())
        .chain_update([0])
        .chain_update(Sha256::digest(body))
        .finalize()
        .into()
}

impl EventHash {
    /// The hash that the entity's row remembers.
    pub fn of(digest: &[u8; 32]) -> Self {
        Self(first16(digest))
    }

    /// The hash of the event in this round of its entity.
    #[must_use]
    pub fn in_round(self, round: u16) -> Self {
        let digest = Sha256::new()
            .chain_update(b"round\0")
            .chain_update(self.0)
            .chain_update(round.to_be_bytes())
            .finalize();
        Self(first16(&digest.into()))
    }

    /// The hash of one redelivery of the event.
    pub fn redelivery(digest: &[u8; 32], nonce: &[u8; 16]) -> Self {
        let hashed = Sha256::new().chain_update(b"redelivery\0");
        let digest = hashed.chain_update(digest).chain_update(nonce).finalize();
        Self(first16(&digest.into()))
    }
}

impl EntityKey {
    /// The key of `subject` at `source`.
    pub fn of(source: &str, subject: &str) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(b"entity\0")
            .chain_update(source.as_bytes())
            .chain_update([0])
            .chain_update(subject.as_bytes())
            .finalize()
            .into();
        Self(first16(&digest))
    }

    /// Which of `shards` objects holds the entity.
    pub fn shard(self, shards: u32) -> u32 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        let place = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % u64::from(shards.max(1));
        u32::try_from(place).unwrap_or(0)
    }
}

fn first16(digest: &[u8; 32]) -> [u8; 16] {
    let mut head = [0; 16];
    head.copy_from_slice(digest.first_chunk::<16>().unwrap_or(&[0; 16]));
    head
}

/// An event's place in the life of its entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How far along the entity's life the event stands; 0: it says nothing of the state.
    pub rank: u8,
    /// The state that the event leaves the entity in (`State as u8`); 0: none.
    pub state: u8,
    /// When the sender says that it happened.
    pub at: crate::time::Timestamp,
    /// Whose life it is.
    pub life: Life,
    /// Which of that life's events it is.
    pub node: u8,
    /// The version of what it tells of, where there are several; 0: none.
    pub version: u32,
}

impl Step {
    /// Whether this step decides the state over `other`: a higher rank does, and at the same rank a later instant.
    pub fn outranks(&self, other: &Self) -> bool {
        (self.rank, self.at) >= (other.rank, other.at)
    }
}

//! Bytes before and after authentication are different types.

use std::fmt;

use super::{KeyId, Opened};
use crate::time::Timestamp;

/// A body as it was received. Nobody outside of `auth` can read it.
///
/// ```compile_fail
/// let body = rxgate::auth::RawBody::new(b"{}");
/// let _ = body.bytes(); // private
/// ```
pub struct RawBody<'a>(&'a [u8]);

impl<'a> RawBody<'a> {
    /// Wraps the bytes of a request's body.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for RawBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBody({} bytes)", self.0.len())
    }
}

/// Bytes that a key of the source vouches for. Made by authentication only, and not `Clone`.
pub struct Verified<'a> {
    body: &'a [u8],
    proof: Proof,
}

/// What authentication learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key that matched.
    pub key: KeyId,
    /// When the sender says that it signed.
    pub signed_at: Timestamp,
    /// Seconds by which our clock is ahead of `signed_at`, where that is outside of the tolerance and the source accepts it.
    pub stale_by: Option<i64>,
}

impl<'a> Verified<'a> {
    pub(super) fn new(body: RawBody<'a>, proof: Proof) -> Self {
        Self {
            body: body.bytes(),
            proof,
        }
    }

    /// Bytes that were authenticated before, and sealed by us since: `body` has to be a part of `opened`.
    pub(crate) fn opened(
        opened: &'a Opened,
        body: &std::ops::Range<usize>,
        proof: Proof,
    ) -> Option<Self> {
        let body = opened.bytes().get(body.clone())?;
        Some(Self { body, proof })
    }

    /// The authenticated bytes.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What authentication learnt.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }
}

impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({} bytes, {:?})", self.body.len(), self.proof)
    }
}

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
    /// How much it proves.
    pub strength: Strength,
    /// When the sender says that it signed, where the signature covers that.
    pub signed_at: Option<Timestamp>,
    /// The id in a header that the signature covers.
    pub signed_id: Option<String>,
    /// Seconds by which our clock is ahead of `signed_at`, where that is outside of the tolerance and the source accepts it.
    pub stale_by: Option<i64>,
}

/// How much authentication proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Strength {
    /// A key signed these bytes.
    #[default]
    Signature = 0,
    /// Whoever sent them knew a secret.
    Token = 1,
    /// Nothing: the operator takes them from anybody.
    None = 2,
}

impl Strength {
    /// As it stands in `rxauth`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Token => "token",
            Self::None => "none",
        }
    }

    pub(crate) fn from_u8(code: u8) -> Option<Self> {
        let all = [Self::Signature, Self::Token, Self::None];
        all.into_iter().find(|strength| *strength as u8 == code)
    }
}

impl Proof {
    /// That `key` vouches for the body, and for nothing else.
    pub(crate) fn of(key: KeyId, strength: Strength) -> Self {
        Self {
            key,
            strength,
            signed_at: None,
            signed_id: None,
            stale_by: None,
        }
    }
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

//! The seam to a hash: one trait, so that a host's native HMAC can stand in for large bodies.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The result of an HMAC-SHA256. Compared in constant time, never printed.
#[derive(Clone, Copy)]
pub struct Tag(pub(crate) [u8; 32]);

impl Tag {
    /// Whether `other` is the same tag, in constant time.
    pub fn matches(&self, other: &[u8; 32]) -> bool {
        self.0.ct_eq(other).into()
    }

    /// The tag's bytes, to send as our own signature.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// A keyed HMAC-SHA256. It owes: the tag of the parts' concatenation, whatever their number and lengths; no failure; no state kept between calls.
pub trait Mac: Sized {
    /// Keys the hash. `None` only if the implementation refuses the key, which HMAC itself never does.
    fn new(key: &[u8]) -> Option<Self>;

    /// The tag over the concatenation of `parts`.
    fn tag(&self, parts: &[&[u8]]) -> Tag;
}

/// The default: the `hmac` and `sha2` crates. The key's two blocks are hashed once, when it is made. The host of the package or of the Worker may have a faster one, for what is long.
#[derive(Clone)]
pub struct HmacSha256 {
    own: Hmac<Sha256>,
    #[cfg(all(any(feature = "js", feature = "worker"), target_arch = "wasm32"))]
    host: std::rc::Rc<super::host::HostKey>,
}

impl Mac for HmacSha256 {
    fn new(key: &[u8]) -> Option<Self> {
        Some(Self {
            own: Hmac::new_from_slice(key).ok()?,
            #[cfg(all(any(feature = "js", feature = "worker"), target_arch = "wasm32"))]
            host: super::host::HostKey::new(key).into(),
        })
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        #[cfg(all(any(feature = "js", feature = "worker"), target_arch = "wasm32"))]
        if let Some(tag) = self.host.tag(parts) {
            return Tag(tag);
        }
        let mut mac = self.own.clone();
        for part in parts {
            mac.update(part);
        }
        Tag(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for HmacSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSha256(..)")
    }
}

//! `t=<unix seconds>,v1=<hex HMAC-SHA256>[,v1=…]`: Osigu's scheme.
//!
//! Signed are the `t` text exactly as it stands in the header, a `.`, and the raw body. Source: senders.md §1, "Signature".

use std::time::Duration;

use super::scheme::encoding::hex_into;
use super::{HmacSha256, KeyId, Keyring, Mac, Proof, RawBody, Strength, Verified};
use crate::time::Timestamp;

/// A longer header is refused before anything is computed.
pub const MAX_HEADER_BYTES: usize = 4096;

/// A header with more `v1` than this is refused: a rotation needs two.
pub const MAX_SIGNATURES: usize = 8;

/// Eleven digits of seconds last until the year 5138; milliseconds have thirteen.
const MAX_TIMESTAMP_DIGITS: usize = 11;

/// What to do with a request that is authentic and out of tolerance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// Refuse it, with a code of its own.
    #[default]
    Refuse,
    /// Take it if it is not older than this: the sender may not renew `t` on a retry. A time ahead of ours is refused all the same.
    Accept {
        /// How old it may be; the dedupe window has to be longer.
        horizon: Duration,
    },
}

/// The scheme's settings for one source.
#[derive(Clone, Debug)]
pub struct TimestampedHmac<M = HmacSha256> {
    /// The keys, any of which may match.
    pub keys: Keyring<M>,
    /// The clock difference allowed, both ways; a difference of exactly this passes.
    pub tolerance: Duration,
    /// What is done outside of the tolerance.
    pub stale: Stale,
}

/// Why a request isn't taken as the sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureRefusal {
    /// The request comes from an address that isn't the sender's.
    AddressNotAllowed,
    /// There is no signature header.
    Missing,
    /// The header is not of the scheme's form.
    Malformed,
    /// No usable key made any of the signatures.
    Mismatch,
    /// Every key is past its `not_after`: nothing can be told of the request.
    NoUsableKey,
    /// The signature holds, and its time is too far from ours.
    TimestampOutOfTolerance {
        /// Our clock minus the sender's, in seconds.
        skew: i64,
        /// The key that matched.
        key: KeyId,
    },
}

impl<M: Mac> TimestampedHmac<M> {
    /// Checks `header` against `body`: signature first, tolerance second.
    pub fn authenticate<'a>(
        &self,
        header: Option<&str>,
        body: RawBody<'a>,
        now: Timestamp,
    ) -> Result<Verified<'a>, SignatureRefusal> {
        let header = SignatureHeader::parse(header.ok_or(SignatureRefusal::Missing)?)
            .ok_or(SignatureRefusal::Malformed)?;
        let signed = [header.timestamp.as_bytes(), b".", body.bytes()];
        let mut usable = self.keys.usable(now).peekable();
        if usable.peek().is_none() {
            return Err(SignatureRefusal::NoUsableKey);
        }
        let key = usable
            .find(|key| {
                let tag = key.tag(&signed);
                // Every candidate is compared: which of them matched takes no part in the time.
                header
                    .signatures()
                    .fold(false, |matched, candidate| matched | tag.matches(candidate))
            })
            .ok_or(SignatureRefusal::Mismatch)?;
        let skew = now.seconds().saturating_sub(header.seconds);
        let stale = skew.unsigned_abs() > self.tolerance.as_secs();
        let accepted = match self.stale {
            Stale::Refuse => false,
            Stale::Accept { horizon } => {
                skew.is_positive() && skew.unsigned_abs() <= horizon.as_secs()
            }
        };
        if stale && !accepted {
            return Err(SignatureRefusal::TimestampOutOfTolerance {
                skew,
                key: key.id().clone(),
            });
        }
        let mut proof = Proof::of(key.id().clone(), Strength::Signature);
        proof.signed_at = Some(Timestamp(header.seconds.saturating_mul(1000)));
        proof.stale_by = stale.then_some(skew);
        Ok(Verified::new(body, proof))
    }
}

/// The header, taken apart. Elements other than `t` and `v1` are ignored: a later version may add its own.
struct SignatureHeader<'a> {
    /// As it stands in the header: this text is what was signed.
    timestamp: &'a str,
    seconds: i64,
    signatures: [[u8; 32]; MAX_SIGNATURES],
    count: usize,
}

impl<'a> SignatureHeader<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        if header.len() > MAX_HEADER_BYTES {
            return None;
        }
        let mut timestamp = None;
        let mut signatures = [[0; 32]; MAX_SIGNATURES];
        let mut presented = 0_usize;
        let mut count = 0_usize;
        for element in header.split(',') {
            // A proxy may put a space after the comma that joins list elements; inside an element nothing is trimmed.
            match element.trim_start_matches([' ', '\t']).split_once('=') {
                Some(("t", text)) if timestamp.is_none() => timestamp = Some(text),
                Some(("t", _)) => return None,
                Some(("v1", text)) => {
                    presented += 1;
                    if presented > MAX_SIGNATURES {
                        return None;
                    }
                    // One that isn't 64 hex digits can't match; the others still may.
                    if let (Some(slot), Some(bytes)) = (signatures.get_mut(count), decode_hex(text))
                    {
                        *slot = bytes;
                        count += 1;
                    }
                }
                _ => {}
            }
        }
        let timestamp = timestamp?;
        (count > 0).then_some(Self {
            timestamp,
            seconds: parse_seconds(timestamp)?,
            signatures,
            count,
        })
    }

    fn signatures(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.signatures.iter().take(self.count)
    }
}

/// Decimal digits and nothing else: no sign, no space, no exponent, no leading zero.
fn parse_seconds(text: &str) -> Option<i64> {
    let digits = text.as_bytes();
    let decimal = !digits.is_empty()
        && digits.len() <= MAX_TIMESTAMP_DIGITS
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'));
    if decimal { text.parse().ok() } else { None }
}

/// Exactly 64 hex digits.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    (hex_into(text, &mut bytes)? == 32).then_some(bytes)
}

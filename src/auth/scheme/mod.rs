//! Schemes as data: where each part of a signature comes from, what it covers, and the keys. Built once, by the configuration; nothing of a request chooses among them.
//!
//! The order is that of the whole gateway: header budget → header syntax → MAC → tolerance. So only an authentic request learns of the clock.

mod algorithm;
mod door;
pub(super) mod encoding;
mod form;
#[cfg(feature = "js")]
mod sign;
mod template;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use algorithm::{Algorithm, KeyEncoding, KeyProblem, KeyText};
pub use door::{Door, MAX_NETWORKS, MIN_PATH_TOKEN_CHARS, Network};
pub use encoding::Encoding;
pub use form::{Form, FormFault, SETTINGS, Settings};
#[cfg(feature = "js")]
pub use sign::{SignProblem, Signer};
pub use template::{
    MAX_TEMPLATE_BYTES, MAX_TEMPLATE_PARTS, Part, Placeholder, Template, TemplateFault,
};

use super::timestamped::{MAX_HEADER_BYTES, MAX_SIGNATURES, Stale};
use super::{KeyId, MIN_KEY_BYTES, Proof, RawBody, SignatureRefusal, Strength, Verified};
use crate::time::Timestamp;
use algorithm::{Found, Keys, Token};
use template::Values;

/// The headers that a scheme reads besides its signature: time, its copy, id, API key.
pub const MAX_MORE_HEADERS: usize = 4;
/// Ed25519 hashes the body anew for each signature and key, and is some twenty times an HMAC: a rotation needs two.
pub const MAX_ED25519_SIGNATURES: usize = 2;
/// The longest id that a header may carry, as everywhere.
const MAX_ID_BYTES: usize = 256;
/// SHA-512 and Ed25519.
const MAX_SIGNATURE_BYTES: usize = 64;
/// Eleven digits of seconds last until the year 5138; milliseconds have three more.
const MAX_TIMESTAMP_DIGITS: usize = 11;

/// What a scheme reads of a request besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As it was requested; there if the scheme [reads](Scheme::reads_url) it.
    pub url: Option<&'a str>,
    /// The value of the signature header.
    pub signature: Option<&'a str>,
    /// The values of [`Scheme::more_headers`], in that order.
    pub more: &'a [Option<&'a str>],
    /// What stands behind the source's name in the path, as it was requested.
    pub path: Option<&'a str>,
    /// The sender's address, as the platform has it.
    pub address: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn more(&self, place: usize) -> Option<&'a str> {
        self.more.get(place).copied().flatten()
    }

    /// The header budget.
    fn fits(&self) -> bool {
        let more = self.more.iter().copied().flatten();
        let mut all = self.signature.into_iter().chain(self.url).chain(more);
        all.all(|value| value.len() <= MAX_HEADER_BYTES)
    }
}

/// One source's scheme.
#[derive(Clone, Debug)]
pub struct Scheme {
    form: Form,
    keys: Keys,
    /// What has to be presented besides the signature.
    api_key: Option<Token>,
    tolerance: Duration,
    stale: Stale,
}

/// Signatures as presented, decoded: all of the same length.
pub(super) struct Candidates {
    bytes: [[u8; MAX_SIGNATURE_BYTES]; MAX_SIGNATURES],
    count: usize,
    length: usize,
}

impl Candidates {
    fn new(length: usize) -> Self {
        Self {
            bytes: [[0; MAX_SIGNATURE_BYTES]; MAX_SIGNATURES],
            count: 0,
            length,
        }
    }

    fn push(&mut self, signature: [u8; MAX_SIGNATURE_BYTES]) {
        if let Some(slot) = self.bytes.get_mut(self.count) {
            *slot = signature;
            self.count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let taken = self.bytes.iter().take(self.count);
        taken.filter_map(|bytes| bytes.get(..self.length))
    }
}

impl Scheme {
    /// With the keys of a source. The problems are those of the keys at these places.
    pub fn new(
        form: Form,
        keys: &[KeyText<'_>],
        tolerance: Duration,
        stale: Stale,
    ) -> Result<Self, Vec<(usize, KeyProblem)>> {
        let keys = Keys::new(form.algorithm, form.key_encoding, keys)?;
        Ok(Self {
            form,
            keys,
            api_key: None,
            tolerance,
            stale,
        })
    }

    /// With a static text that has to be presented besides the signature.
    pub fn with_api_key(mut self, text: &str) -> Result<Self, KeyProblem> {
        self.api_key = Some(Token::new(text)?);
        Ok(self)
    }

    /// The header without which nothing is read; `None` for a sender that proves nothing.
    pub fn signature_header(&self) -> Option<&str> {
        self.form.header.as_deref()
    }

    /// The other headers that it reads, at most [`MAX_MORE_HEADERS`].
    pub fn more_headers(&self) -> impl Iterator<Item = &str> {
        self.form.more.iter().map(String::as_str)
    }

    /// Whether a header of [`Self::more_headers`] is a secret itself.
    pub fn is_secret(&self, place: usize) -> bool {
        self.form.api_key == Some(place)
    }

    /// Whether the signature covers the URL.
    pub fn reads_url(&self) -> bool {
        self.form.template.covers(Placeholder::Url)
    }

    /// What it is made of.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Whether any key may be tried at `now`.
    pub fn any_usable(&self, now: Timestamp) -> bool {
        self.keys.any_usable(now)
    }

    /// Checks a request.
    pub fn authenticate<'a>(
        &self,
        head: Head<'_>,
        body: RawBody<'a>,
        now: Timestamp,
    ) -> Result<Verified<'a>, SignatureRefusal> {
        let strength = match self.form.algorithm {
            Algorithm::None => {
                return Ok(Verified::new(
                    body,
                    Proof::of(KeyId::new("none"), Strength::None),
                ));
            }
            algorithm if algorithm.signs() => Strength::Signature,
            _ => Strength::Token,
        };
        let value = head.signature.ok_or(SignatureRefusal::Missing)?;
        if !head.fits() {
            return Err(SignatureRefusal::Malformed);
        }
        if let Keys::Token(ring) = &self.keys {
            let presented = self.form.presented(value);
            let presented = presented.ok_or(SignatureRefusal::Malformed)?;
            let key = key_of(ring.find(now, |token| token.is(&presented)))?;
            return Ok(Verified::new(body, Proof::of(key, strength)));
        }
        let parts = self.parts(value, head).ok_or(SignatureRefusal::Malformed)?;
        let values = Values {
            body: body.bytes(),
            timestamp: parts.timestamp,
            id: parts.id.unwrap_or_default(),
            url: head.url.unwrap_or_default(),
            method: head.method,
        };
        let signed = self.form.template.fill(values);
        let key = key_of(self.keys.signer(&signed, &parts.candidates, now))?;
        if let (Some(token), Some(place)) = (&self.api_key, self.form.api_key) {
            let presented = head.more(place).unwrap_or_default();
            if !token.is(presented.as_bytes()) {
                return Err(SignatureRefusal::Mismatch);
            }
        }
        let mut proof = Proof::of(key, strength);
        proof.signed_id = parts.id.map(str::to_owned);
        if let Some(at) = parts.at {
            proof.signed_at = Some(Timestamp(at.saturating_mul(self.form.millis())));
            proof.stale_by = self.check_time(at, &proof.key, now)?;
        }
        Ok(Verified::new(body, proof))
    }

    /// By how many seconds it is too old, if it is and that is accepted.
    fn check_time(
        &self,
        at: i64,
        key: &KeyId,
        now: Timestamp,
    ) -> Result<Option<i64>, SignatureRefusal> {
        // In the sender's own unit: its seconds are compared with our whole seconds.
        let millis = self.form.millis();
        let per_second = 1000 / millis;
        let skew = now.0.div_euclid(millis).saturating_sub(at);
        let within = |span: Duration| {
            let span = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            skew.unsigned_abs() <= span.saturating_mul(per_second).unsigned_abs()
        };
        if within(self.tolerance) {
            return Ok(None);
        }
        let skew_seconds = skew / per_second;
        match self.stale {
            Stale::Accept { horizon } if skew.is_positive() && within(horizon) => {
                Ok(Some(skew_seconds))
            }
            _ => Err(SignatureRefusal::TimestampOutOfTolerance {
                skew: skew_seconds,
                key: key.clone(),
            }),
        }
    }

    /// Takes the headers apart. `None` if they aren't of the scheme's form.
    fn parts<'h>(&self, value: &'h str, head: Head<'h>) -> Option<Parts<'h>> {
        let form = &self.form;
        let mut candidates = Candidates::new(self.keys.signature_bytes());
        let mut element = None;
        match form.separator {
            // A list may hold what we don't know: a later version may add its own.
            Some(separator) => {
                let most = match self.keys {
                    Keys::Ed25519(_) => MAX_ED25519_SIGNATURES,
                    _ => MAX_SIGNATURES,
                };
                let mut presented = 0_usize;
                for text in value.split(separator) {
                    // A proxy may put a space behind the comma that joins list elements.
                    let text = text.trim_start_matches([' ', '\t']);
                    if let form::Clock::Element(prefix) = &form.clock
                        && let Some(text) = text.strip_prefix(prefix.as_str())
                    {
                        if element.is_some() {
                            return None;
                        }
                        element = Some(text);
                    } else if let Some(text) = text.strip_prefix(form.prefix.as_str()) {
                        presented += 1;
                        if presented > most {
                            return None;
                        }
                        // One that isn't of the form can't match; the others still may.
                        if let Some(bytes) = form.encoding.decode(text, candidates.length) {
                            candidates.push(bytes);
                        }
                    }
                }
                if candidates.count == 0 {
                    return None;
                }
            }
            None => {
                let text = value.strip_prefix(form.prefix.as_str())?;
                candidates.push(form.encoding.decode(text, candidates.length)?);
            }
        }
        let timestamp = match &form.clock {
            form::Clock::None => None,
            form::Clock::Header(place) => Some(head.more(*place)?),
            form::Clock::Element(_) => Some(element?),
        };
        let at = match timestamp {
            Some(text) => Some(parse_digits(text, form.max_digits())?),
            None => None,
        };
        if let Some(place) = form.clock_copy
            && head.more(place) != timestamp
        {
            return None;
        }
        let id = match form.id {
            Some(place) => Some(head.more(place).filter(|id| form.takes_id(id))?),
            None => None,
        };
        Some(Parts {
            candidates,
            timestamp: timestamp.unwrap_or_default(),
            at,
            id,
        })
    }
}

/// The headers, taken apart.
struct Parts<'h> {
    candidates: Candidates,
    /// As it stands in its header: this text is what was signed.
    timestamp: &'h str,
    /// In the sender's unit.
    at: Option<i64>,
    id: Option<&'h str>,
}

fn key_of(found: Found) -> Result<KeyId, SignatureRefusal> {
    match found {
        Found::Key(id) => Ok(id),
        Found::Nothing => Err(SignatureRefusal::Mismatch),
        Found::NoUsableKey => Err(SignatureRefusal::NoUsableKey),
    }
}

/// Decimal digits and nothing else: no sign, no space, no exponent, no leading zero.
pub(super) fn parse_digits(text: &str, most: usize) -> Option<i64> {
    let digits = text.as_bytes();
    let decimal = !digits.is_empty()
        && digits.len() <= most
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'));
    if decimal { text.parse().ok() } else { None }
}

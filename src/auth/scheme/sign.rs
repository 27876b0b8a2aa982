//! The sender's side of a scheme: for tests, and for whoever sends by one.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha512;

use super::algorithm::HmacKey;
use super::encoding::decode_hex;
use super::form::Clock;
use super::template::Values;
use super::{Algorithm, Form, KeyProblem};
use crate::auth::{self, HmacSha256, Mac as _};
use crate::bytes::Base64;
use crate::time::Timestamp;

/// What signs, and what it signs besides the body.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The key, as it is configured; of Ed25519 the private one: `whsk_` and base64, base64 or hex, of 32 bytes.
    pub key: &'a str,
    /// What is presented besides the signature.
    pub api_key: Option<&'a str>,
    /// The id.
    pub id: &'a str,
    /// When.
    pub at: Timestamp,
    /// In capitals.
    pub method: &'a str,
    /// Where to, where the signature covers that.
    pub url: Option<&'a str>,
}

impl fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("id", &self.id)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Why it can't be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignProblem {
    /// The key isn't one.
    Key(KeyProblem),
    /// The signature covers the URL, and none was given.
    NoUrl,
    /// The id can't stand in its header, or between its neighbours in what is signed.
    Id,
}

impl fmt::Display for SignProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(KeyProblem::NotAPoint) => {
                f.write_str("key: isn't an Ed25519 private key of 32 bytes")
            }
            Self::Key(problem) => write!(f, "key: {problem}"),
            Self::NoUrl => f.write_str("url: is missing: the signature covers it"),
            Self::Id => {
                f.write_str("id: isn't 1 to 256 printable characters that the scheme can carry")
            }
        }
    }
}

impl Form {
    /// The headers of a request that was signed like this.
    pub fn sign(
        &self,
        signer: &Signer<'_>,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, SignProblem> {
        let mut headers = Vec::new();
        let Some(header) = &self.header else {
            return Ok(headers);
        };
        if !self.algorithm.signs() {
            let value = match self.algorithm {
                Algorithm::Basic => {
                    format!("Basic {}", Base64::Standard.write(signer.key.as_bytes()))
                }
                _ => format!("{}{}", self.prefix, signer.key),
            };
            headers.push((header.clone(), value));
            return Ok(headers);
        }
        let at = signer.at.0.div_euclid(self.millis()).to_string();
        if self.id.is_some() && !self.takes_id(signer.id) {
            return Err(SignProblem::Id);
        }
        if self.template.covers(super::Placeholder::Url) && signer.url.is_none() {
            return Err(SignProblem::NoUrl);
        }
        let signed = self.template.fill(Values {
            body,
            timestamp: &at,
            id: signer.id,
            url: signer.url.unwrap_or_default(),
            method: signer.method,
        });
        let signature = self.encoding.encode(&self.signature(signer.key, &signed)?);
        let mut value = format!("{}{signature}", self.prefix);
        if let (Clock::Element(prefix), Some(separator)) = (&self.clock, self.separator) {
            value = format!("{prefix}{at}{separator}{value}");
        }
        headers.push((header.clone(), value));
        let clock = match self.clock {
            Clock::Header(place) => Some(place),
            Clock::Element(_) | Clock::None => None,
        };
        for (place, name) in self.more.iter().enumerate() {
            let place = Some(place);
            let value = if place == clock || place == self.clock_copy {
                at.as_str()
            } else if place == self.id {
                signer.id
            } else {
                match signer.api_key.filter(|_| place == self.api_key) {
                    Some(key) => key,
                    None => continue,
                }
            };
            headers.push((name.clone(), value.to_owned()));
        }
        Ok(headers)
    }

    fn signature(&self, key: &str, signed: &[&[u8]]) -> Result<Vec<u8>, SignProblem> {
        fn tag<M: Mac + KeyInit + Clone>(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
            Some(HmacKey::<M>::of_any_length(key)?.tag(parts).to_vec())
        }
        if self.algorithm == Algorithm::Ed25519 {
            let key = private_key(key).ok_or(SignProblem::Key(KeyProblem::NotAPoint))?;
            return Ok(key.sign(&signed.concat()).to_bytes().to_vec());
        }
        let key = self.key_encoding.decode(key).map_err(SignProblem::Key)?;
        let tag = match self.algorithm {
            Algorithm::HmacSha1 => tag::<Hmac<Sha1>>(&key, signed),
            Algorithm::HmacSha512 => tag::<Hmac<Sha512>>(&key, signed),
            _ => HmacSha256::new(&key).map(|key| auth::Mac::tag(&key, signed).as_bytes().to_vec()),
        };
        // HMAC takes keys of any length.
        tag.ok_or(SignProblem::Key(KeyProblem::Short { bytes: key.len() }))
    }
}

/// 32 bytes, or the 64 of a pair.
fn private_key(text: &str) -> Option<SigningKey> {
    let text = text.strip_prefix("whsk_").unwrap_or(text);
    let bytes = decode_hex(text).or_else(|| Base64::Standard.read(text))?;
    let seed = match bytes.len() {
        32 | 64 => bytes.first_chunk::<32>()?,
        _ => return None,
    };
    Some(SigningKey::from_bytes(seed))
}

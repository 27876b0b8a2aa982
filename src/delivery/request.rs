//! The request that an origin gets: its form, and our own signature (Standard Webhooks).

use std::fmt::Write;

use crate::auth::{Key, KeyId};
use crate::bytes::Base64;
use crate::time::Timestamp;

/// What the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The canonical event.
    #[default]
    Canonical,
    /// The sender's bytes, with the sender's signature header, so that an existing handler keeps working.
    Original,
}

/// `evt_` + base64url of the event's digest: the same over all attempts, and no id of the sender's.
pub fn webhook_id(digest: &[u8; 32]) -> String {
    format!("evt_{}", Base64::Url.write(digest))
}

/// One key, or two during a rotation.
pub const MAX_SIGNING_KEYS: usize = 2;

/// A key that signs what we send.
#[derive(Clone, Debug)]
pub struct SigningKey(Key);

/// Why a signing key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SigningKeyFault {
    /// It doesn't start with `whsec_`.
    NoPrefix,
    /// What follows isn't base64.
    NotBase64,
    /// It isn't 24 to 64 bytes long.
    Length {
        /// How many it has.
        bytes: usize,
    },
}

impl SigningKey {
    /// Reads `whsec_` + base64 of 24 to 64 bytes, as Standard Webhooks has it.
    pub fn parse(id: KeyId, text: &str) -> Result<Self, SigningKeyFault> {
        let encoded = text
            .strip_prefix("whsec_")
            .ok_or(SigningKeyFault::NoPrefix)?;
        let bytes = Base64::Standard
            .read(encoded)
            .ok_or(SigningKeyFault::NotBase64)?;
        let length = SigningKeyFault::Length { bytes: bytes.len() };
        if !(24..=64).contains(&bytes.len()) {
            return Err(length);
        }
        Key::new(id, &bytes, None).map(Self).map_err(|_| length)
    }
}

/// One key, or two during a rotation: the receiver accepts either signature.
#[derive(Clone, Debug)]
pub struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    /// `None` unless there are 1 to [`MAX_SIGNING_KEYS`].
    pub fn new(keys: Vec<SigningKey>) -> Option<Self> {
        (!keys.is_empty() && keys.len() <= MAX_SIGNING_KEYS).then_some(Self(keys))
    }

    /// The `webhook-signature` of a request.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let signed = format!("{id}.{}.", at.seconds());
        let mut header = String::with_capacity(self.0.len() * 48);
        for SigningKey(key) in &self.0 {
            let tag = key.tag(&[signed.as_bytes(), body]);
            let gap = if header.is_empty() { "" } else { " " };
            // Writing to a String can't fail.
            let _ = write!(header, "{gap}v1,{}", Base64::Standard.write(tag.as_bytes()));
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn the_published_vector_holds() {
        let key = SigningKey::parse(KeyId::new("k"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let keys = SigningKeys::new(vec![key.unwrap()]).unwrap();
        let header = keys.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp(1_614_265_330_000),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_of_the_wrong_form_says_what_is_wrong() {
        let parse = |text| SigningKey::parse(KeyId::new("k"), text).err();
        assert_eq!(parse("MfKQ9r8G"), Some(SigningKeyFault::NoPrefix));
        assert_eq!(parse("whsec_?"), Some(SigningKeyFault::NotBase64));
        assert_eq!(
            parse("whsec_AAAA"),
            Some(SigningKeyFault::Length { bytes: 3 })
        );
        assert_eq!(parse("whsec_"), Some(SigningKeyFault::Length { bytes: 0 }));
    }
}

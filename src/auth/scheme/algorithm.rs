//! Keys, each of one algorithm. A key is made for its algorithm and can't be tried under another: the types don't allow it.

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use hmac::digest::typenum::Unsigned;
use hmac::digest::{KeyInit, Output, OutputSizeUser};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::encoding::decode_hex;
use super::{Candidates, MIN_KEY_BYTES};
use crate::auth::{self, HmacSha256, KeyId, MAX_KEYS};
use crate::bytes::Base64;
use crate::time::Timestamp;

/// How a scheme's requests are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-1: some senders have nothing else, and as an HMAC it holds.
    HmacSha1,
    /// HMAC with SHA-512.
    HmacSha512,
    /// Ed25519, with the sender's public key.
    Ed25519,
    /// A static text in a header: no signature.
    Token,
    /// HTTP Basic: no signature.
    Basic,
    /// Nothing at all.
    None,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::HmacSha256,
        Self::HmacSha1,
        Self::HmacSha512,
        Self::Ed25519,
        Self::Token,
        Self::Basic,
        Self::None,
    ];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha512 => "hmac-sha512",
            Self::Ed25519 => "ed25519",
            Self::Token => "token",
            Self::Basic => "basic",
            Self::None => "none",
        }
    }

    /// Whether it signs what it vouches for.
    pub fn signs(self) -> bool {
        !matches!(self, Self::Token | Self::Basic | Self::None)
    }

    /// The forms in which a key may be written; the first is the default.
    pub(super) fn key_encodings(self) -> &'static [KeyEncoding] {
        use KeyEncoding::{Base64, Hex, Text, Whpk, Whsec};
        match self {
            Self::HmacSha256 | Self::HmacSha1 | Self::HmacSha512 => &[Text, Hex, Base64, Whsec],
            Self::Ed25519 => &[Base64, Hex, Whpk],
            Self::Token | Self::Basic => &[Text],
            Self::None => &[],
        }
    }
}

/// How a key is written in its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// Its bytes are the text's.
    Text,
    /// Hex digits.
    Hex,
    /// Base64, padded.
    Base64,
    /// `whsec_` and base64.
    Whsec,
    /// `whpk_` and base64.
    Whpk,
}

impl KeyEncoding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Text, Self::Hex, Self::Base64, Self::Whsec, Self::Whpk];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Whsec => "whsec",
            Self::Whpk => "whpk",
        }
    }

    pub(super) fn decode(self, text: &str) -> Result<Vec<u8>, KeyProblem> {
        let base64 = |text: &str| Base64::Standard.read(text).ok_or(KeyProblem::NotBase64);
        let after = |prefix| text.strip_prefix(prefix).ok_or(KeyProblem::Prefix(prefix));
        match self {
            Self::Text => Ok(text.as_bytes().to_vec()),
            Self::Hex => decode_hex(text).ok_or(KeyProblem::NotHex),
            Self::Base64 => base64(text),
            Self::Whsec => base64(after("whsec_")?),
            Self::Whpk => base64(after("whpk_")?),
        }
    }
}

/// Why a key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// It isn't hex.
    NotHex,
    /// It isn't base64.
    NotBase64,
    /// It doesn't start with this.
    Prefix(&'static str),
    /// It has fewer bytes than [`MIN_KEY_BYTES`].
    Short {
        /// How many it has.
        bytes: usize,
    },
    /// It isn't a public key of Ed25519: 32 bytes, a point of the curve, and none of the few that any signature fits.
    NotAPoint,
    /// It isn't `user:password`.
    NotUserAndPassword,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHex => f.write_str("isn't hex"),
            Self::NotBase64 => f.write_str("isn't base64"),
            Self::Prefix(prefix) => write!(f, "doesn't start with {prefix}"),
            Self::Short { bytes } => {
                write!(f, "has {bytes} bytes: at least {MIN_KEY_BYTES} are needed")
            }
            Self::NotAPoint => f.write_str("isn't an Ed25519 public key of 32 bytes"),
            Self::NotUserAndPassword => f.write_str("isn't a user name, a colon and a password"),
        }
    }
}

/// A key as it is configured.
#[derive(Clone)]
pub struct KeyText<'a> {
    /// Its name.
    pub id: KeyId,
    /// The last instant at which it is tried.
    pub not_after: Option<Timestamp>,
    /// The secret's value.
    pub text: &'a str,
}

/// What is known of one key: whether it made one of the candidates.
pub(super) trait Verifier: Sized {
    /// How long its signatures are.
    const SIGNATURE_BYTES: usize;

    fn new(key: &[u8]) -> Result<Self, KeyProblem>;

    /// Whether it made any of the candidates over the concatenation of `parts`.
    fn made_any(&self, parts: &[&[u8]], candidates: &Candidates) -> bool;
}

/// An HMAC under one key; the key's two blocks are hashed once.
#[derive(Clone)]
pub(super) struct HmacKey<M>(M);

impl<M: KeyInit> HmacKey<M> {
    /// `None` is never: HMAC takes keys of any length.
    pub(super) fn of_any_length(key: &[u8]) -> Option<Self> {
        M::new_from_slice(key).ok().map(Self)
    }
}

impl<M: Mac + Clone> HmacKey<M> {
    /// Over the concatenation of `parts`.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> Output<M> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes()
    }
}

/// Whether a key has as many bytes as any has to have.
fn check_length(key: &[u8]) -> Result<(), KeyProblem> {
    if key.len() < MIN_KEY_BYTES {
        return Err(KeyProblem::Short { bytes: key.len() });
    }
    Ok(())
}

/// Every candidate is compared: which of them matched takes no part in the time.
fn is_any(tag: &[u8], candidates: &Candidates) -> bool {
    let none = Choice::from(0);
    let made = candidates
        .iter()
        .fold(none, |made, candidate| made | tag.ct_eq(candidate));
    made.into()
}

impl<M: Mac + KeyInit + Clone> Verifier for HmacKey<M> {
    const SIGNATURE_BYTES: usize = <M as OutputSizeUser>::OutputSize::USIZE;

    fn new(key: &[u8]) -> Result<Self, KeyProblem> {
        check_length(key)?;
        Self::of_any_length(key).ok_or(KeyProblem::Short { bytes: key.len() })
    }

    fn made_any(&self, parts: &[&[u8]], candidates: &Candidates) -> bool {
        is_any(&self.tag(parts), candidates)
    }
}

/// The one that the host may make.
impl Verifier for HmacSha256 {
    const SIGNATURE_BYTES: usize = 32;

    fn new(key: &[u8]) -> Result<Self, KeyProblem> {
        check_length(key)?;
        <Self as auth::Mac>::new(key).ok_or(KeyProblem::Short { bytes: key.len() })
    }

    fn made_any(&self, parts: &[&[u8]], candidates: &Candidates) -> bool {
        is_any(auth::Mac::tag(self, parts).as_bytes(), candidates)
    }
}

/// The public key of a sender.
#[derive(Clone)]
pub(super) struct Ed25519Key(VerifyingKey);

impl Verifier for Ed25519Key {
    const SIGNATURE_BYTES: usize = 64;

    fn new(key: &[u8]) -> Result<Self, KeyProblem> {
        let bytes = key.try_into().map_err(|_| KeyProblem::NotAPoint)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyProblem::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyProblem::NotAPoint);
        }
        Ok(Self(key))
    }

    fn made_any(&self, parts: &[&[u8]], candidates: &Candidates) -> bool {
        let message = parts.concat();
        candidates.iter().any(|candidate| {
            Signature::from_slice(candidate)
                .is_ok_and(|signature| self.0.verify_strict(&message, &signature).is_ok())
        })
    }
}

/// A text that has to be presented as it is. Only its hash is kept, and hashes are compared: as long as they differ, nothing tells by how much.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(text: &str) -> Result<Self, KeyProblem> {
        let bytes = text.len();
        if bytes < MIN_KEY_BYTES {
            return Err(KeyProblem::Short { bytes });
        }
        Ok(Self(Sha256::digest(text).into()))
    }

    pub(super) fn is(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.ct_eq(&presented).into()
    }
}

/// One to [`MAX_KEYS`] keys of one kind.
#[derive(Clone)]
pub(super) struct Ring<K>(Vec<Entry<K>>);

#[derive(Clone)]
pub(super) struct Entry<K> {
    id: KeyId,
    not_after: Option<Timestamp>,
    key: K,
}

impl<K> Ring<K> {
    /// The problems are those of the keys at these places.
    pub(super) fn of(
        keys: &[KeyText<'_>],
        make: impl Fn(&str) -> Result<K, KeyProblem>,
    ) -> Result<Self, Vec<(usize, KeyProblem)>> {
        let mut entries = Vec::new();
        let mut problems = Vec::new();
        for (place, text) in keys.iter().take(MAX_KEYS).enumerate() {
            match make(text.text) {
                Ok(key) => entries.push(Entry {
                    id: text.id.clone(),
                    not_after: text.not_after,
                    key,
                }),
                Err(problem) => problems.push((place, problem)),
            }
        }
        if problems.is_empty() {
            Ok(Self(entries))
        } else {
            Err(problems)
        }
    }

    pub(super) fn usable(&self, now: Timestamp) -> impl Iterator<Item = &Entry<K>> {
        let holds = move |entry: &&Entry<K>| entry.not_after.is_none_or(|end| now <= end);
        self.0.iter().filter(holds)
    }

    /// The first usable key for which `matches` holds.
    pub(super) fn find(&self, now: Timestamp, matches: impl Fn(&K) -> bool) -> Found {
        let mut usable = self.usable(now).peekable();
        if usable.peek().is_none() {
            return Found::NoUsableKey;
        }
        usable
            .find(|entry| matches(&entry.key))
            .map_or(Found::Nothing, |entry| Found::Key(entry.id.clone()))
    }
}

/// What came of trying the keys.
pub(super) enum Found {
    Key(KeyId),
    Nothing,
    NoUsableKey,
}

/// The keys of a source that is signed, all of one algorithm.
#[derive(Clone)]
pub(super) enum Keys {
    Sha256(Ring<HmacSha256>),
    Sha1(Ring<HmacKey<Hmac<Sha1>>>),
    Sha512(Ring<HmacKey<Hmac<Sha512>>>),
    Ed25519(Ring<Ed25519Key>),
    Token(Ring<Token>),
    /// Nobody has to prove anything.
    None,
}

impl Keys {
    pub(super) fn new(
        algorithm: Algorithm,
        encoding: KeyEncoding,
        keys: &[KeyText<'_>],
    ) -> Result<Self, Vec<(usize, KeyProblem)>> {
        fn verifiers<K: Verifier>(
            keys: &[KeyText<'_>],
            encoding: KeyEncoding,
        ) -> Result<Ring<K>, Vec<(usize, KeyProblem)>> {
            Ring::of(keys, |text| K::new(&encoding.decode(text)?))
        }
        let basic = |text: &str| match text.split_once(':') {
            Some((user, _)) if !user.is_empty() => Token::new(text),
            _ => Err(KeyProblem::NotUserAndPassword),
        };
        Ok(match algorithm {
            Algorithm::HmacSha256 => Self::Sha256(verifiers(keys, encoding)?),
            Algorithm::HmacSha1 => Self::Sha1(verifiers(keys, encoding)?),
            Algorithm::HmacSha512 => Self::Sha512(verifiers(keys, encoding)?),
            Algorithm::Ed25519 => Self::Ed25519(verifiers(keys, encoding)?),
            Algorithm::Token => Self::Token(Ring::of(keys, Token::new)?),
            Algorithm::Basic => Self::Token(Ring::of(keys, basic)?),
            Algorithm::None => Self::None,
        })
    }

    /// Whether any key may be tried at `now`.
    pub(super) fn any_usable(&self, now: Timestamp) -> bool {
        match self {
            Self::Sha256(ring) => ring.usable(now).next().is_some(),
            Self::Sha1(ring) => ring.usable(now).next().is_some(),
            Self::Sha512(ring) => ring.usable(now).next().is_some(),
            Self::Ed25519(ring) => ring.usable(now).next().is_some(),
            Self::Token(ring) => ring.usable(now).next().is_some(),
            Self::None => true,
        }
    }

    /// How long their signatures are; 0 for what signs nothing.
    pub(super) fn signature_bytes(&self) -> usize {
        fn of<K: Verifier>(_: &Ring<K>) -> usize {
            K::SIGNATURE_BYTES
        }
        match self {
            Self::Sha256(ring) => of(ring),
            Self::Sha1(ring) => of(ring),
            Self::Sha512(ring) => of(ring),
            Self::Ed25519(ring) => of(ring),
            Self::Token(_) | Self::None => 0,
        }
    }

    /// The key that made one of the candidates.
    pub(super) fn signer(&self, parts: &[&[u8]], candidates: &Candidates, now: Timestamp) -> Found {
        match self {
            Self::Sha256(ring) => ring.find(now, |key| key.made_any(parts, candidates)),
            Self::Sha1(ring) => ring.find(now, |key| key.made_any(parts, candidates)),
            Self::Sha512(ring) => ring.find(now, |key| key.made_any(parts, candidates)),
            Self::Ed25519(ring) => ring.find(now, |key| key.made_any(parts, candidates)),
            Self::Token(_) | Self::None => Found::Nothing,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn ids<K>(ring: &Ring<K>) -> Vec<(&str, Option<Timestamp>)> {
            let entries = ring.0.iter();
            entries
                .map(|entry| (entry.id.as_str(), entry.not_after))
                .collect()
        }
        let ids = match self {
            Self::Sha256(ring) => ids(ring),
            Self::Sha1(ring) => ids(ring),
            Self::Sha512(ring) => ids(ring),
            Self::Ed25519(ring) => ids(ring),
            Self::Token(ring) => ids(ring),
            Self::None => Vec::new(),
        };
        f.debug_tuple("Keys").field(&ids).finish()
    }
}

impl<K> fmt::Debug for Ring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|entry| entry.id.as_str());
        f.debug_list().entries(ids).finish()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

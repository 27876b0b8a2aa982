//! What we write for ourselves to read again, in queues and in storage, is sealed: AES-256-GCM, with the key's id in front. Opening a seal is authentication: only a holder
//! of the key can have made it.

use std::fmt;
use std::sync::OnceLock;

use aes_gcm::aead::{Aead, AeadInOut, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

use super::KeyId;
use crate::bytes::{Base64, Reader, Writer};

/// The first key seals; the others are of earlier days, and open.
pub const MAX_SEAL_KEYS: usize = 4;
/// The length of a nonce.
pub const NONCE_BYTES: usize = 12;
/// AES-256.
const KEY_BYTES: usize = 32;
const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// What is sealed. It is part of what the tag covers, so that one thing can't be passed off as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A parcel for the consumer that delivers.
    Delivery,
    /// A parcel for the consumer that keeps dead letters.
    Letter,
    /// Where a parcel is that was too large for a message.
    Pointer,
    /// A canonical event for a customer's queue that was too large for a message.
    Event,
}

impl Sealed {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Delivery => b"rxgate delivery",
            Self::Letter => b"rxgate letter",
            Self::Pointer => b"rxgate pointer",
            Self::Event => b"rxgate event",
        }
    }
}

/// One key.
#[derive(Clone)]
pub struct SealKey {
    id: KeyId,
    key: Zeroizing<[u8; KEY_BYTES]>,
    /// Made when it is first needed: what only reads settings, such as the npm package, then has no cipher in it.
    cipher: OnceLock<Aes256Gcm>,
}

/// Why a key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealKeyFault {
    /// It isn't base64.
    NotBase64,
    /// It isn't 32 bytes long.
    Length {
        /// How many it has.
        bytes: usize,
    },
}

impl SealKey {
    /// Reads base64 of 32 bytes.
    pub fn parse(id: KeyId, text: &str) -> Result<Self, SealKeyFault> {
        let bytes = Base64::Standard.read(text).ok_or(SealKeyFault::NotBase64)?;
        let bytes = Zeroizing::new(bytes);
        let key = bytes.as_slice().try_into();
        let key = key.map_err(|_| SealKeyFault::Length { bytes: bytes.len() })?;
        Ok(Self {
            id,
            key: Zeroizing::new(key),
            cipher: OnceLock::new(),
        })
    }

    fn cipher(&self) -> &Aes256Gcm {
        let make = || Aes256Gcm::new(&(*self.key).into());
        self.cipher.get_or_init(make)
    }

    /// The key's name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("id", &self.id.as_str())
            .finish_non_exhaustive()
    }
}

/// The keys: one, or several during a rotation and for as long as something sealed with an older one is kept.
#[derive(Clone, Debug)]
pub struct SealKeys(Vec<SealKey>);

/// Why something can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsealable {
    /// It isn't of the form.
    Malformed,
    /// There is no key of that name.
    KeyUnknown,
    /// The key didn't make it, or it was changed since.
    Mismatch,
}

/// What was in a seal. Only [`SealKeys::open`] makes one.
pub struct Opened(Vec<u8>);

impl Opened {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} bytes)", self.0.len())
    }
}

impl SealKeys {
    /// `None` unless there are 1 to [`MAX_SEAL_KEYS`].
    pub fn new(keys: Vec<SealKey>) -> Option<Self> {
        (!keys.is_empty() && keys.len() <= MAX_SEAL_KEYS).then_some(Self(keys))
    }

    /// Seals with the first key, behind `front`, which stays in clear. The nonce has to be random: never the same twice under one key.
    pub fn seal(
        &self,
        what: Sealed,
        nonce: [u8; NONCE_BYTES],
        front: &[u8],
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let head = head(&key.id);
        let before = front.len() + head.len() + NONCE_BYTES;
        let room = Writer::with_capacity(before + plain.len() + TAG_BYTES);
        let mut sealed = room.raw(front).raw(&head).raw(&nonce).raw(plain).done();
        let text = sealed.get_mut(before..)?;
        let (nonce, covered) = (Nonce::from(nonce), covered(what, &head));
        let cipher = key.cipher();
        let tag = cipher.encrypt_inout_detached(&nonce, &covered, text.into());
        sealed.extend_from_slice(&tag.ok()?);
        Some(sealed)
    }

    /// Opens, with the key that is named in front.
    pub fn open(&self, what: Sealed, sealed: &[u8]) -> Result<Opened, Unsealable> {
        let (id, nonce, text) = parts(sealed).ok_or(Unsealable::Malformed)?;
        let key = self.0.iter().find(|key| key.id.as_str().as_bytes() == id);
        let key = key.ok_or(Unsealable::KeyUnknown)?;
        let covered = covered(what, &head(&key.id));
        let payload = Payload {
            msg: text,
            aad: &covered,
        };
        let plain = key.cipher().decrypt(&Nonce::from(nonce), payload);
        plain.map(Opened).map_err(|_| Unsealable::Mismatch)
    }
}

/// Version and key id, as they stand in front.
fn head(id: &KeyId) -> Vec<u8> {
    let id = id.as_str().as_bytes();
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    Writer::with_capacity(2 + id.len())
        .u8(VERSION)
        .u8(length)
        .raw(id)
        .done()
}

fn covered(what: Sealed, head: &[u8]) -> Vec<u8> {
    [what.name(), &[0], head].concat()
}

fn parts(sealed: &[u8]) -> Option<(&[u8], [u8; NONCE_BYTES], &[u8])> {
    let mut reader = Reader::new(sealed);
    if reader.u8()? != VERSION {
        return None;
    }
    let length = usize::from(reader.u8()?);
    Some((reader.take(length)?, reader.array()?, reader.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> SealKey {
        SealKey::parse(KeyId::new(id), &Base64::Standard.write(&[byte; 32])).unwrap()
    }

    fn keys(keys: Vec<SealKey>) -> SealKeys {
        SealKeys::new(keys).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_with_the_key_that_sealed_it() {
        let old = keys(vec![key("a", 1)]);
        let sealed = old.seal(Sealed::Letter, [7; 12], b"", b"plain").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"plain"));
        let open = |keys: &SealKeys, what| keys.open(what, &sealed).map(|o| o.bytes().to_vec());
        assert_eq!(open(&old, Sealed::Letter), Ok(b"plain".to_vec()));
        let rotated = keys(vec![key("b", 2), key("a", 1)]);
        assert_eq!(open(&rotated, Sealed::Letter), Ok(b"plain".to_vec()));
        assert_eq!(
            open(&keys(vec![key("b", 2)]), Sealed::Letter),
            Err(Unsealable::KeyUnknown)
        );
        assert_eq!(
            open(&keys(vec![key("a", 9)]), Sealed::Letter),
            Err(Unsealable::Mismatch)
        );
        assert_eq!(open(&old, Sealed::Event), Err(Unsealable::Mismatch));
    }

    #[test]
    fn no_bit_of_it_can_be_changed() {
        let keys = keys(vec![key("a", 1), key("c", 1)]);
        let sealed = keys.seal(Sealed::Letter, [7; 12], b"", b"plain").unwrap();
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[place] ^= 1 << bit;
                assert!(
                    keys.open(Sealed::Letter, &changed).is_err(),
                    "{place} {bit}"
                );
            }
        }
        for length in 0..sealed.len() {
            assert!(keys.open(Sealed::Letter, &sealed[..length]).is_err());
        }
    }

    /// Test case 15 of the GCM specification (McGrew and Viega, 2005): AES-256, no associated data.
    #[test]
    fn the_published_vector_holds() {
        let unhex = |text: &str| -> Vec<u8> {
            let pairs = text.as_bytes().chunks(2);
            pairs
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect()
        };
        let key = unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let plain = unhex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        );
        let expected = unhex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c",
        );
        let key = SealKey::parse(KeyId::new("k"), &Base64::Standard.write(&key)).unwrap();
        let nonce: [u8; 12] = unhex("cafebabefacedbaddecaf888").try_into().unwrap();
        let made = key.cipher().encrypt(&Nonce::from(nonce), plain.as_slice());
        assert_eq!(made.unwrap(), expected);
    }

    #[test]
    fn a_key_of_the_wrong_form_says_what_is_wrong() {
        let parse = |text| SealKey::parse(KeyId::new("k"), text).err();
        assert_eq!(parse("?"), Some(SealKeyFault::NotBase64));
        assert_eq!(parse("AAAA"), Some(SealKeyFault::Length { bytes: 3 }));
    }
}

//! How signatures are written in headers.

use super::MAX_SIGNATURE_BYTES;
use crate::bytes::Base64;

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Hex digits, of either case.
    #[default]
    Hex,
    /// Base64, padded.
    Base64,
    /// Base64 of the alphabet for URLs, padded or not.
    Base64Url,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hex, Self::Base64, Self::Base64Url];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    /// Whether a character may stand in what is written so.
    pub(super) fn writes(self, c: char) -> bool {
        match self {
            Self::Hex => c.is_ascii_hexdigit(),
            Self::Base64 => c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='),
            Self::Base64Url => c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '='),
        }
    }

    /// As a sender writes it.
    #[cfg(feature = "js")]
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => crate::bytes::hex(bytes),
            Self::Base64 => Base64::Standard.write(bytes),
            Self::Base64Url => Base64::Url.write(bytes),
        }
    }

    /// Exactly `bytes` bytes, at the beginning of what is returned.
    pub(super) fn decode(self, text: &str, bytes: usize) -> Option<[u8; MAX_SIGNATURE_BYTES]> {
        let decoded = match self {
            Self::Hex => decode_hex(text),
            Self::Base64 => Base64::Standard.read(text),
            // Senders are of two minds about its padding.
            Self::Base64Url => Base64::Url.read(text),
        }?;
        let mut room = [0; MAX_SIGNATURE_BYTES];
        room.get_mut(..bytes)?
            .copy_from_slice(decoded.get(..bytes)?);
        (decoded.len() == bytes).then_some(room)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// How many bytes were written. `None` if it isn't hex, or there isn't room.
pub(in crate::auth) fn hex_into(text: &str, room: &mut [u8]) -> Option<usize> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > room.len() {
        return None;
    }
    for (byte, [high, low]) in room.iter_mut().zip(pairs) {
        *byte = digit(*high)? * 16 + digit(*low)?;
    }
    Some(pairs.len())
}

/// The bytes of a key.
pub(super) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    let written = hex_into(text, &mut bytes)?;
    (written == bytes.len()).then_some(bytes)
}

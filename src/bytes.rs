//! Small binary forms: the entity's row, and the messages to and from its object.

/// Reads fixed-width big-endian fields; `None` once they run out.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A `u32` length, then so many bytes.
    pub(crate) fn block(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// A block that is UTF-8.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.block()?).ok()
    }

    /// What [`Writer::optional`] wrote.
    pub(crate) fn optional(&mut self) -> Option<Option<String>> {
        let text = self.text()?;
        Some((!text.is_empty()).then(|| text.to_owned()))
    }

    /// `Some(())` if nothing is left over.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The writing side of [`Reader`].
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn i64(self, value: i64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn block(self, bytes: &[u8]) -> Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .raw(bytes)
    }

    /// An empty text is none.
    pub(crate) fn optional(self, text: Option<&str>) -> Self {
        self.block(text.unwrap_or_default().as_bytes())
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// The name of a header, in lower case: a token of RFC 9110 (5.6.2). Not a crate's: theirs bring the table of all names that are known.
pub(crate) fn header_name(text: &str) -> Option<String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let sound = !text.is_empty() && text.len() <= 65_535 && text.bytes().all(is_token);
    sound.then(|| text.to_ascii_lowercase())
}

/// Where `piece` stands first. For short texts: the library's search is for long ones, and three kilobytes of wasm.
pub(crate) fn find(text: &str, piece: &str) -> Option<usize> {
    let last = text.len().checked_sub(piece.len())?;
    (0..=last).find(|&at| text.as_bytes().get(at..at + piece.len()) == Some(piece.as_bytes()))
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15];
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' - 10 + n });
    bytes.iter().flat_map(digits).map(digit).collect()
}

/// The two alphabets of base64 (RFC 4648).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base64 {
    /// The first, padded.
    Standard,
    /// The one for URLs, not padded; it is read with its padding as well.
    Url,
}

impl Base64 {
    pub(crate) fn write(self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for three in bytes.chunks(3) {
            let bits = three.iter().fold(0, |bits, b| bits << 8 | u32::from(*b));
            let bits = bits << (24 - three.len() * 8);
            for place in 0..4 {
                if place <= three.len() {
                    text.push(self.digit((bits >> (18 - place * 6)) as u8 & 63));
                } else if self == Self::Standard {
                    text.push('=');
                }
            }
        }
        text
    }

    /// `None` if it is no base64, or bits that mean nothing aren't zero: there is one text for the same bytes.
    pub(crate) fn read(self, text: &str) -> Option<Vec<u8>> {
        let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
        let digits = text.as_bytes().get(..text.len() - padding)?;
        let missing = match digits.len() % 4 {
            1 => return None,
            more => (4 - more) % 4,
        };
        if padding > missing || (padding < missing && self == Self::Standard) {
            return None;
        }
        let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
        let (mut bits, mut count) = (0_u32, 0);
        for digit in digits {
            bits = bits << 6 | u32::from(self.value(*digit)?);
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        (bits == 0).then_some(bytes)
    }

    /// The last two digits.
    fn last(self) -> [u8; 2] {
        match self {
            Self::Standard => *b"+/",
            Self::Url => *b"-_",
        }
    }

    fn digit(self, value: u8) -> char {
        let [plus, slash] = self.last();
        char::from(match value {
            0..=25 => b'A' + value,
            26..=51 => b'a' - 26 + value,
            52..=61 => value - 52 + b'0',
            62 => plus,
            _ => slash,
        })
    }

    fn value(self, digit: u8) -> Option<u8> {
        let [plus, slash] = self.last();
        Some(match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            _ if digit == plus => 62,
            _ if digit == slash => 63,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::alphabet;
    use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
    use base64::engine::{DecodePaddingMode, GeneralPurpose};
    use proptest::prelude::*;

    use super::Base64;

    /// The vectors of RFC 4648 (10).
    #[test]
    fn the_published_vectors_hold() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Base64::Standard.write(bytes.as_bytes()), text);
            assert_eq!(Base64::Standard.read(text), Some(bytes.into()));
            let bare = text.trim_end_matches('=');
            assert_eq!(Base64::Url.write(bytes.as_bytes()), bare);
            assert_eq!(Base64::Url.read(text), Some(bytes.into()));
            assert_eq!(Base64::Url.read(bare), Some(bytes.into()));
        }
        for wrong in [
            "Zg", "Zg=", "Zh==", "Zm9=", "Zm9v=", "Z", "====", "=", "Zg==Zg==", "Zm 9v", "Zm9-",
        ] {
            assert_eq!(Base64::Standard.read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn base64_is_as_the_crate_has_it(bytes: Vec<u8>, text in "[A-Da-d0-3+/_\\-]{0,9}={0,5}[A=+ ]{0,2}") {
            let url = GeneralPurpose::new(&alphabet::URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
            prop_assert_eq!(Base64::Standard.write(&bytes), STANDARD.encode(&bytes));
            prop_assert_eq!(Base64::Url.write(&bytes), URL_SAFE_NO_PAD.encode(&bytes));
            prop_assert_eq!(Base64::Standard.read(&STANDARD.encode(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(Base64::Url.read(&URL_SAFE_NO_PAD.encode(&bytes)), Some(bytes));
            prop_assert_eq!(Base64::Standard.read(&text), STANDARD.decode(&text).ok(), "{}", text);
            prop_assert_eq!(Base64::Url.read(&text), url.decode(&text).ok(), "{}", text);
        }
    }
}

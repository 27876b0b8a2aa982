//! The body as JSON, within limits.

use crate::auth::Verified;
use crate::json::{Index, Problem, Raw, Value};

pub use crate::json::MAX_DEPTH;

/// Why a body isn't taken as JSON. What isn't an object is that, whatever else it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes aren't UTF-8.
    NotUtf8,
    /// It isn't one JSON value, or the value isn't an object.
    NotAnObject,
    /// An object has the same key twice, at whatever depth: two readers could see two different events.
    DuplicateKey,
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl Malformed {
    /// The stable name of it, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotAnObject => "not_an_object",
            Self::DuplicateKey => "duplicate_key",
            Self::TooDeep => "too_deep",
        }
    }
}

impl From<Problem> for Malformed {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Syntax => Self::NotAnObject,
            Problem::DuplicateKey => Self::DuplicateKey,
            Problem::TooDeep => Self::TooDeep,
        }
    }
}

/// A body that is one JSON object within the limits.
pub struct Document<'a> {
    text: &'a str,
    index: Index,
}

impl<'a> Document<'a> {
    /// Reads a body, or what redaction left of one.
    pub(super) fn read(text: &'a str) -> Result<Self, Malformed> {
        let index = Index::of(text);
        // An array may pass a limit as well.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Malformed::NotAnObject);
        }
        Ok(Self {
            text,
            index: index?,
        })
    }

    /// The object.
    pub fn object(&self) -> Value<'_, 'a> {
        self.index.root(self.text)
    }

    /// The object as it was sent, without the white space around it.
    pub fn raw(&self) -> Raw<'a> {
        self.object().raw()
    }
}

/// Reads an authenticated body. Only a [`Verified`] gets here.
pub fn decode<'a>(verified: &Verified<'a>) -> Result<Document<'a>, Malformed> {
    let text = std::str::from_utf8(verified.body()).map_err(|_| Malformed::NotUtf8)?;
    Document::read(text)
}

/// A form of a value in which the order of members, white space and escapes make no difference, and everything else does: members by name, texts with their length
/// before them, all else as it was sent.
pub(crate) fn sorted_form(value: Value<'_, '_>, out: &mut Vec<u8>) {
    let sized = |kind: u8, bytes: &[u8], out: &mut Vec<u8>| {
        out.push(kind);
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    if value.is_object() {
        out.push(b'{');
        for (name, value) in value.sorted_members() {
            sized(b'n', name.as_bytes(), out);
            sorted_form(value, out);
        }
        out.push(b'}');
    } else if value.is_array() {
        out.push(b'[');
        for value in value.elements() {
            sorted_form(value, out);
        }
        out.push(b']');
    } else if let Some(text) = value.text() {
        sized(b't', text.as_bytes(), out);
    } else {
        sized(b'v', value.raw().get().as_bytes(), out);
    }
}

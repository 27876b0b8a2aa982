//! JSON with limits. The syntax is `serde_json`'s; what it lets through and we don't is here: duplicate keys, depth.
//!
//! Nothing is turned into numbers or a tree: values stay slices of the body, so digits and unknown fields stay as they were sent.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::auth::Verified;

/// Containers may stand in containers this deep. Osigu's events need five.
pub const MAX_DEPTH: u8 = 32;

/// Why a body isn't taken as JSON.
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

/// A JSON object, one level of it: the values are slices of the body.
pub struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// All entries, as they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }
}

/// A body that is one JSON object within the limits.
pub struct Document<'a> {
    /// The object as it was sent, without the white space around it.
    pub raw: &'a RawValue,
    /// Its entries.
    pub object: Object<'a>,
}

impl<'a> Document<'a> {
    /// Reads what redaction left of a document.
    pub(super) fn reread(text: &'a str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let object = object(raw.get())?;
        Some(Self { raw, object })
    }
}

/// Reads an authenticated body. Only a [`Verified`] gets here.
pub fn decode<'a>(verified: &Verified<'a>) -> Result<Document<'a>, Malformed> {
    let text = std::str::from_utf8(verified.body()).map_err(|_| Malformed::NotUtf8)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| Malformed::NotAnObject)?;
    let object = object(raw.get()).ok_or(Malformed::NotAnObject)?;
    check_object(&object, 1)?;
    Ok(Document { raw, object })
}

/// The entries of one object. `None` if `text` is something else.
pub(super) fn object(text: &str) -> Option<Object<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Object::deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(object)
}

/// The elements of one array. `None` if `text` is something else.
pub(super) fn array(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// A form of a value in which the order of members, white space and escapes make no difference, and everything else does: members by name, texts with their length
/// before them, all else as it was sent. Only for what [`decode`] let through: it goes as deep as the value.
pub(crate) fn sorted_form(raw: &RawValue, out: &mut Vec<u8>) {
    let json = raw.get();
    let sized = |kind: u8, bytes: &[u8], out: &mut Vec<u8>| {
        out.push(kind);
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    if json.starts_with('{')
        && let Some(object) = object(json)
    {
        let mut members: Vec<_> = object.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        out.push(b'{');
        for (name, value) in members {
            sized(b'n', name.as_bytes(), out);
            sorted_form(value, out);
        }
        out.push(b'}');
    } else if json.starts_with('[')
        && let Some(elements) = array(json)
    {
        out.push(b'[');
        for value in elements {
            sorted_form(value, out);
        }
        out.push(b']');
    } else if let Some(text) = super::fields::read_text(json) {
        sized(b't', text.as_bytes(), out);
    } else {
        sized(b'v', json.as_bytes(), out);
    }
}

fn check_object(object: &Object<'_>, depth: u8) -> Result<(), Malformed> {
    check_keys(&object.0)?;
    object.0.iter().try_for_each(|(_, raw)| check(raw, depth))
}

fn check(raw: &RawValue, depth: u8) -> Result<(), Malformed> {
    let text = raw.get();
    let first = text.as_bytes().first();
    if !matches!(first, Some(b'{' | b'[')) {
        return Ok(());
    }
    let depth = depth + 1;
    if depth > MAX_DEPTH {
        return Err(Malformed::TooDeep);
    }
    if first == Some(&b'{') {
        check_object(&object(text).ok_or(Malformed::NotAnObject)?, depth)
    } else {
        // Read and dropped element by element: an array of a million zeros costs no memory.
        let mut failure = Ok(());
        let elements = Elements {
            depth,
            failure: &mut failure,
        };
        let read = serde_json::Deserializer::from_str(text).deserialize_seq(elements);
        failure.and(read.map_err(|_| Malformed::NotAnObject))
    }
}

/// Few keys are compared with each other; many are sorted, so that hostile objects don't cost the square of their size.
fn check_keys(entries: &[(Cow<'_, str>, &RawValue)]) -> Result<(), Malformed> {
    let duplicate = if entries.len() <= 24 {
        let mut rest = entries.iter();
        std::iter::from_fn(|| rest.next().map(|entry| (entry, rest.as_slice())))
            .any(|((key, _), rest)| rest.iter().any(|(other, _)| other == key))
    } else {
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair.first() == pair.last())
    };
    if duplicate {
        Err(Malformed::DuplicateKey)
    } else {
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(Entries).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Elements<'f> {
    depth: u8,
    failure: &'f mut Result<(), Malformed>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            if self.failure.is_ok() {
                *self.failure = check(raw, self.depth);
            }
        }
        Ok(())
    }
}

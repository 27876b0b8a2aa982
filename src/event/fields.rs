//! Reading known fields: absent and null are equal, a wrong type in an optional field is noted, one in a required field is an error that names the path.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

use super::decode::Document;
use super::phi::{Action, Actions, Class, Policy, is_pseudonym};
use crate::json::{Members, Value};
use crate::time::Zone;

/// Longer ids are refused: they would travel in attributes and headers.
const MAX_ID_CHARS: usize = 256;

/// A required field that isn't as it has to be. The path is made of field names that we know: it never carries data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Such as `data.dispensation_id`.
    pub path: String,
    /// Such as `missing`.
    pub problem: &'static str,
}

/// A known optional field of another type than documented: left out of the canonical fields, kept in `original`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Note {
    /// Such as `data.products[2].quantity`.
    pub path: String,
    /// What the field should have been.
    pub expected: &'static str,
}

/// A list of a hundred thousand zeros where objects belong would otherwise make an event of many times its size.
pub const MAX_NOTES: usize = 64;

/// A megabyte holds a settlement of seven thousand claims, and three hundred thousand empty objects.
pub const MAX_ELEMENTS: usize = 10_000;

/// Collects notes: the first [`MAX_NOTES`].
#[derive(Debug, Default)]
pub struct Notes {
    list: RefCell<Vec<Note>>,
    /// Names that the sender chose may be patient data: they are noted as `*`.
    hide_names: bool,
    /// What was done with the document that is read; `None` if it is as it was sent.
    redacted: Option<Actions>,
}

impl Notes {
    /// For a document as it was sent, of which `policy` will hold something back or not.
    pub fn of_sent(policy: &Policy) -> Self {
        Self {
            hide_names: policy.redacts(),
            ..Self::default()
        }
    }

    /// For what `policy` left of a document: fields may be gone, and decimals may be pseudonyms.
    pub fn of_redacted(policy: &Policy) -> Self {
        Self {
            hide_names: true,
            redacted: Some(policy.actions()),
            ..Self::default()
        }
    }

    /// A note on the document as a whole.
    pub fn add_to_whole(&self, part: &str, expected: &'static str) {
        self.add(&Path::Root, part, expected);
    }

    fn add(&self, path: &Path<'_>, field: &str, expected: &'static str) {
        let mut notes = self.list.borrow_mut();
        if notes.len() < MAX_NOTES {
            let path = format!("{path}{field}");
            notes.push(Note { path, expected });
        }
    }

    /// What was noted so far.
    pub fn take(&self) -> Vec<Note> {
        self.list.take()
    }
}

/// Where an object stands, from the root: made into text only when something is wrong.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Element(&'p Path<'p>, &'p str, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(parent, name) => write!(f, "{parent}{name}."),
            Self::Element(parent, name, index) => write!(f, "{parent}{name}[{index}]."),
        }
    }
}

/// One object's fields, with its path.
pub struct Fields<'p, 'a> {
    object: Value<'p, 'a>,
    path: Path<'p>,
    notes: &'p Notes,
}

impl<'p, 'a> Fields<'p, 'a> {
    /// The fields of the outermost object.
    pub fn root(document: &'p Document<'a>, notes: &'p Notes) -> Self {
        Self {
            object: document.object(),
            path: Path::Root,
            notes,
        }
    }

    /// The value; absent and null are equal.
    #[inline(always)]
    pub fn value(&self, field: &str) -> Option<Value<'p, 'a>> {
        self.entry(field).filter(|value| !value.is_null())
    }

    /// The value, null included.
    #[inline(always)]
    pub fn entry(&self, field: &str) -> Option<Value<'p, 'a>> {
        self.object.get(field)
    }

    /// An optional string.
    pub fn text(&self, field: &str) -> Option<Cow<'a, str>> {
        self.optional(field, "string", Value::text)
    }

    /// An optional string with something in it that can stand in a CloudEvents attribute.
    pub fn attribute(&self, field: &str) -> Option<Cow<'a, str>> {
        self.optional(field, "string of 1 to 256 printable characters", |raw| {
            raw.text().filter(|text| fits_attribute(text))
        })
    }

    /// An optional decimal, with the digits that were sent: a JSON number, or a string that holds one.
    pub fn decimal(&self, field: &str) -> Option<Cow<'a, str>> {
        self.decimal_of(field, Class::None)
    }

    /// An optional decimal of this class: where its values are pseudonyms, one of those.
    pub fn decimal_of(&self, field: &str, class: Class) -> Option<Cow<'a, str>> {
        let action = self.notes.redacted.map(|actions| actions.of(class));
        self.optional(field, "decimal number", |raw| {
            let text = raw.text().or_else(|| raw.digits().map(Cow::Borrowed))?;
            let sound = match action {
                Some(Action::Pseudonym) => is_pseudonym(&text),
                _ => is_decimal(&text),
            };
            sound.then_some(text)
        })
    }

    /// An optional string or number, as text: the digits of a number are those that were sent.
    pub fn scalar(&self, field: &str) -> Option<Cow<'a, str>> {
        self.optional(field, "string or number", read_scalar)
    }

    /// An optional yes or no: `true`, `1`, or a string of either.
    pub fn flag(&self, field: &str) -> Option<bool> {
        self.optional(field, "boolean", |raw| {
            // A text by what it says, however it is written.
            let text = raw.text().unwrap_or(Cow::Borrowed(raw.raw().get()));
            match text.as_ref() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            }
        })
    }

    /// An optional date-time, in UTC: one without a zone is read in `zone`. What `is_none` takes for none is none.
    pub fn moment(
        &self,
        field: &str,
        zone: Zone,
        is_none: impl Fn(&str) -> bool,
    ) -> Option<Cow<'a, str>> {
        let text = self.value(field).and_then(Value::text);
        if text.is_some_and(|text| is_none(&text)) {
            return None;
        }
        self.optional(field, "date-time", |raw| {
            zone.to_utc(&raw.text()?).map(Cow::Owned)
        })
    }

    /// An optional RFC 3339 date-time, in UTC.
    pub fn instant(&self, field: &str) -> Option<Cow<'a, str>> {
        self.optional(field, "RFC 3339 date-time", read_instant)
    }

    /// An optional object.
    pub fn object<'s>(&'s self, field: &'s str) -> Option<Fields<'s, 'a>> {
        self.optional(field, "object", as_object)
            .map(|object| Fields {
                object,
                path: Path::Field(&self.path, field),
                notes: self.notes,
            })
    }

    /// An optional array of objects, each made into something by `read`. Elements that aren't objects are noted and left out, and so is what comes after [`MAX_ELEMENTS`].
    pub fn objects<T>(&self, field: &str, read: impl Fn(&Fields<'_, 'a>) -> T) -> Vec<T> {
        let array = self.optional(field, "array", |value| value.is_array().then_some(value));
        let Some(array) = array else {
            return Vec::new();
        };
        let count = array.elements().take(MAX_ELEMENTS + 1).count();
        if count > MAX_ELEMENTS {
            self.note(field, "array of at most 10000 elements");
        }
        let mut made = Vec::with_capacity(count.min(MAX_ELEMENTS));
        for (index, value) in (0..MAX_ELEMENTS).zip(array.elements()) {
            let Some(object) = as_object(value) else {
                self.note(&format!("{field}[{index}]"), "object");
                continue;
            };
            made.push(read(&Fields {
                object,
                path: Path::Element(&self.path, field, index),
                notes: self.notes,
            }));
        }
        made
    }

    /// All entries, null included.
    pub fn entries(&self) -> Members<'p, 'a> {
        self.object.members()
    }

    /// All entries by name, null included.
    pub fn sorted_entries(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'p, 'a>)> {
        self.object.sorted_members()
    }

    /// All entries that are objects, each made into something by `read`, in the order they stand in; null is left out, anything else is noted.
    pub fn object_entries<T>(&self, read: impl Fn(&str, &Fields<'_, 'a>) -> T) -> Vec<T> {
        let entries = self.entries().filter(|(_, value)| !value.is_null());
        let made = entries.filter_map(|(field, value)| {
            let object = as_object(value);
            let noted = if self.notes.hide_names { "*" } else { &field };
            if object.is_none() {
                self.note(noted, "object");
            }
            let fields = Fields {
                object: object?,
                path: Path::Field(&self.path, noted),
                notes: self.notes,
            };
            Some(read(&field, &fields))
        });
        made.collect()
    }

    /// Notes that `field` isn't what it should be.
    pub fn note(&self, field: &str, expected: &'static str) {
        self.notes.add(&self.path, field, expected);
    }

    /// A required string.
    pub fn required_text(&self, field: &str) -> Result<Cow<'a, str>, Invalid> {
        self.required(field, "not a string", Value::text)
    }

    /// A required id: a string that can stand in an attribute.
    pub fn required_id(&self, field: &str) -> Result<Cow<'a, str>, Invalid> {
        self.required(field, "not a string", Value::text)
            .and_then(|text| {
                if fits_attribute(&text) {
                    Ok(text)
                } else {
                    Err(self.invalid(field, "not 1 to 256 printable characters"))
                }
            })
    }

    /// The id of the entity, which is required; redaction may have taken it out.
    pub fn entity_id(&self, field: &str) -> Result<Option<Cow<'a, str>>, Invalid> {
        if self.notes.redacted.is_some() {
            return Ok(self.attribute(field));
        }
        self.required_id(field).map(Some)
    }

    /// A required RFC 3339 date-time, in UTC.
    pub fn required_instant(&self, field: &str) -> Result<Cow<'a, str>, Invalid> {
        self.required(field, "not an RFC 3339 date-time", read_instant)
    }

    /// A required object.
    pub fn required_object<'s>(&'s self, field: &'s str) -> Result<Fields<'s, 'a>, Invalid> {
        self.required(field, "not an object", as_object)
            .map(|object| Fields {
                object,
                path: Path::Field(&self.path, field),
                notes: self.notes,
            })
    }

    /// An error about `field`.
    pub fn invalid(&self, field: &str, problem: &'static str) -> Invalid {
        Invalid {
            path: format!("{}{field}", self.path),
            problem,
        }
    }

    fn optional<T>(
        &self,
        field: &str,
        expected: &'static str,
        read: impl FnOnce(Value<'p, 'a>) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.value(field)?);
        if value.is_none() {
            self.note(field, expected);
        }
        value
    }

    fn required<T>(
        &self,
        field: &str,
        problem: &'static str,
        read: impl FnOnce(Value<'p, 'a>) -> Option<T>,
    ) -> Result<T, Invalid> {
        let value = self
            .value(field)
            .ok_or_else(|| self.invalid(field, "missing"))?;
        read(value).ok_or_else(|| self.invalid(field, problem))
    }
}

fn as_object<'i, 'a>(value: Value<'i, 'a>) -> Option<Value<'i, 'a>> {
    value.is_object().then_some(value)
}

fn read_scalar<'a>(value: Value<'_, 'a>) -> Option<Cow<'a, str>> {
    value.digits().map(Cow::Borrowed).or_else(|| value.text())
}

fn read_instant<'a>(value: Value<'_, 'a>) -> Option<Cow<'a, str>> {
    match value.text()? {
        Cow::Borrowed(text) => crate::time::to_utc(text),
        Cow::Owned(text) => crate::time::to_utc(&text).map(|at| Cow::Owned(at.into_owned())),
    }
}

/// Whether a text can stand in a CloudEvents attribute: it has 1 to 256 characters, none of them a control character or one that Unicode says is none.
pub(crate) fn fits_attribute(text: &str) -> bool {
    // Most are short, and ASCII.
    if text.len() <= MAX_ID_CHARS && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return !text.is_empty();
    }
    text.chars().take(MAX_ID_CHARS + 1).count() <= MAX_ID_CHARS
        && !text.chars().any(|c| c.is_control() || is_noncharacter(c))
}

/// U+FDD0 to U+FDEF, and the last two of each plane.
fn is_noncharacter(c: char) -> bool {
    matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe
}

/// `-?digits[.digits]`: no exponent, since then the digits sent aren't the digits meant.
fn is_decimal(text: &str) -> bool {
    let unsigned = match text.as_bytes() {
        [b'-', unsigned @ ..] => unsigned,
        unsigned => unsigned,
    };
    // The digits of the part that is read, before the point or behind it.
    let (mut digits, mut is_whole) = (0, true);
    for byte in unsigned {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' if is_whole && digits > 0 => (digits, is_whole) = (0, false),
            _ => return false,
        }
    }
    digits > 0
}

//! Patient data on its way: of which class each field is, and what a source does with each class.
//!
//! Redaction works on the sender's own JSON, before it is normalised: the canonical fields are then read from what is left, so they can't say more than `original`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use super::decode::Document;
use crate::auth::{HmacSha256, Mac};
use crate::bytes::Base64;
use crate::json::{self, Value};

/// A pseudonym key shorter than this is a fault of configuration: whoever guesses it can try all ids.
pub const MIN_PHI_KEY_BYTES: usize = 32;
/// How many values under unknown fields become pseudonyms in one event; what is over is dropped. A body of 1 MiB can hold half a million numbers, each of which would
/// cost a hash and thirty bytes.
pub const MAX_UNKNOWN_PSEUDONYMS: usize = 65_536;

/// What every pseudonym begins with.
const PREFIX: &str = "psn_";
/// 144 bits: 24 characters of base64url.
const PSEUDONYM_BYTES: usize = 18;
const PSEUDONYM_CHARS: usize = PSEUDONYM_BYTES / 3 * 4;
/// The same as a pattern, for the schemas.
#[cfg(feature = "schema")]
pub(super) const PSEUDONYM_PATTERN: &str = "psn_[A-Za-z0-9_-]{24}";

/// What a field tells of a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing: it goes on as it came.
    None,
    /// Numbers and ids of patients, prescriptions, authorizations, …
    Identifier,
    /// Names, addresses, telephone numbers.
    Contact,
    /// Diagnoses, medications, how to take them.
    Clinical,
    /// Addresses that open a document or take a payment.
    Link,
    /// Anything that somebody may have written into it.
    FreeText,
    /// We don't know the field.
    Unknown,
}

impl Class {
    /// Those that have a setting.
    pub const SET: [Self; 5] = [
        Self::Identifier,
        Self::Contact,
        Self::Clinical,
        Self::Link,
        Self::FreeText,
    ];

    /// The name in the settings and in the schemas; it goes into each pseudonym.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Identifier => "identifier",
            Self::Contact => "contact",
            Self::Clinical => "clinical",
            Self::Link => "link",
            Self::FreeText => "free_text",
            Self::Unknown => "unknown",
        }
    }
}

/// What is done with the values of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// They go on as they came.
    #[default]
    Pass,
    /// They are left out.
    Drop,
    /// Equal values are replaced by equal pseudonyms.
    Pseudonym,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Drop, Self::Pseudonym];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Pseudonym => "pseudonym",
        }
    }
}

/// An action for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    identifier: Action,
    contact: Action,
    clinical: Action,
    link: Action,
    free_text: Action,
}

impl Actions {
    /// The same for all classes.
    pub fn all(action: Action) -> Self {
        Self {
            identifier: action,
            contact: action,
            clinical: action,
            link: action,
            free_text: action,
        }
    }

    /// With another action for `class`; [`Class::None`] and [`Class::Unknown`] have none of their own.
    #[must_use]
    pub fn with(mut self, class: Class, action: Action) -> Self {
        match class {
            Class::Identifier => self.identifier = action,
            Class::Contact => self.contact = action,
            Class::Clinical => self.clinical = action,
            Class::Link => self.link = action,
            Class::FreeText => self.free_text = action,
            Class::None | Class::Unknown => {}
        }
        self
    }

    /// What is done with `class`. What isn't known may be of any class: the strictest action holds.
    pub fn of(self, class: Class) -> Action {
        match class {
            Class::None => Action::Pass,
            Class::Identifier => self.identifier,
            Class::Contact => self.contact,
            Class::Clinical => self.clinical,
            Class::Link => self.link,
            Class::FreeText => self.free_text,
            Class::Unknown if self.any(Action::Drop) => Action::Drop,
            Class::Unknown if self.any(Action::Pseudonym) => Action::Pseudonym,
            Class::Unknown => Action::Pass,
        }
    }

    fn any(self, action: Action) -> bool {
        Class::SET.iter().any(|class| self.of(*class) == action)
    }
}

/// Which of a type's schemas an event keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Nothing is redacted.
    Pass,
    /// Every class is dropped.
    Drop,
    /// Every class is pseudonymised.
    Pseudonym,
    /// Not every class has the same action.
    Mixed,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Drop, Self::Pseudonym, Self::Mixed];

    /// The folder under `schemas/`; none for `pass`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Pass => None,
            Self::Drop => Some("drop"),
            Self::Pseudonym => Some("pseudonym"),
            Self::Mixed => Some("mixed"),
        }
    }

    /// The event's `dataschema`, and the schema's own id.
    pub fn urn(self, canonical_type: &str) -> String {
        let version = super::SCHEMA_VERSION;
        let urn = format!("urn:rxgate:schema:{canonical_type}:{version}");
        match self.name() {
            None => urn,
            Some(name) => format!("{urn}:{name}"),
        }
    }
}

/// What a source does with patient data. The default is that all of it passes.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    actions: Actions,
    key: Option<HmacSha256>,
}

/// Why actions and key don't go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFault {
    /// A class is pseudonymised, and there is no key.
    KeyMissing,
    /// The key has fewer bytes than [`MIN_PHI_KEY_BYTES`].
    KeyShort {
        /// How many it has.
        bytes: usize,
    },
    /// There is a key, and no class is pseudonymised.
    KeyUnused,
}

impl Policy {
    /// A key is needed for pseudonyms, and for nothing else.
    pub fn new(actions: Actions, key: Option<&[u8]>) -> Result<Self, PolicyFault> {
        let key = match (key, actions.any(Action::Pseudonym)) {
            (None, true) => return Err(PolicyFault::KeyMissing),
            (Some(_), false) => return Err(PolicyFault::KeyUnused),
            (Some(key), true) if key.len() < MIN_PHI_KEY_BYTES => {
                return Err(PolicyFault::KeyShort { bytes: key.len() });
            }
            (key, _) => key.and_then(HmacSha256::new),
        };
        Ok(Self { actions, key })
    }

    /// What is done with each class.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// Whether anything is done at all.
    pub fn redacts(&self) -> bool {
        self.variant() != Variant::Pass
    }

    /// Which schemas its events keep to.
    pub fn variant(&self) -> Variant {
        let same = |action| self.actions == Actions::all(action);
        match () {
            () if same(Action::Pass) => Variant::Pass,
            () if same(Action::Drop) => Variant::Drop,
            () if same(Action::Pseudonym) => Variant::Pseudonym,
            () => Variant::Mixed,
        }
    }

    /// What is left of a text that tells what a field of this class would.
    pub(crate) fn apply<'a>(&self, class: Class, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        match self.actions.of(class) {
            Action::Pass => Some(text),
            Action::Drop => None,
            Action::Pseudonym => self.pseudonym(class, text.as_bytes()).map(Cow::Owned),
        }
    }

    /// Whether `left`, which was read from a redacted document, stood there as `sent`.
    pub(crate) fn stood_for(&self, class: Class, left: &str, sent: &str) -> bool {
        self.apply(class, sent.into())
            .is_some_and(|text| text == left)
    }

    /// `psn_` + base64url of the first bytes of HMAC-SHA256(key, class ‖ 0 ‖ value). `None` without a key.
    fn pseudonym(&self, class: Class, value: &[u8]) -> Option<String> {
        let tag = self
            .key
            .as_ref()?
            .tag(&[class.name().as_bytes(), &[0], value]);
        let (head, _) = tag.as_bytes().split_first_chunk::<PSEUDONYM_BYTES>()?;
        let mut text = String::with_capacity(PREFIX.len() + PSEUDONYM_CHARS);
        text.push_str(PREFIX);
        text.push_str(&Base64::Url.write(head));
        Some(text)
    }
}

/// Whether `text` has the form of a pseudonym.
pub(super) fn is_pseudonym(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|rest| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        rest.len() == PSEUDONYM_CHARS && rest.bytes().all(allowed)
    })
}

/// A field of a sender's, and what is documented of it.
pub type Field = (&'static str, Shape);

/// A field whose value is of a class.
pub(crate) mod field {
    use super::{Class, Field, Shape};

    pub(crate) const fn none(name: &'static str) -> Field {
        (name, Shape::Value(Class::None))
    }
    pub(crate) const fn identifier(name: &'static str) -> Field {
        (name, Shape::Value(Class::Identifier))
    }
    pub(crate) const fn contact(name: &'static str) -> Field {
        (name, Shape::Value(Class::Contact))
    }
    pub(crate) const fn clinical(name: &'static str) -> Field {
        (name, Shape::Value(Class::Clinical))
    }
    pub(crate) const fn link(name: &'static str) -> Field {
        (name, Shape::Value(Class::Link))
    }
    pub(crate) const fn free_text(name: &'static str) -> Field {
        (name, Shape::Value(Class::FreeText))
    }
}

/// What a sender documents of a value. A value of another kind counts as unknown, `null` aside.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A string or a number.
    Value(Class),
    /// An object of these fields.
    Object(&'static [Field]),
    /// An array of such values.
    List(&'static Shape),
    /// A map of a field's name to `{from, to}`: each has the shape of the field that it tells of.
    Changes(&'static [Field]),
    /// Anything at all, names included.
    Any(Class),
}

/// What isn't documented.
const UNKNOWN: Shape = Shape::Any(Class::Unknown);

/// The paths of all values that `fields` documents, such as `data.products[].quantity`, each with its class.
pub fn classes(fields: &'static [Field]) -> Vec<(String, Class)> {
    fn walk(path: String, shape: Shape, found: &mut Vec<(String, Class)>) {
        match shape {
            Shape::Value(class) | Shape::Any(class) => found.push((path, class)),
            Shape::Object(fields) => {
                for (name, shape) in fields {
                    walk(format!("{path}.{name}"), *shape, found);
                }
            }
            Shape::List(element) => walk(format!("{path}[]"), *element, found),
            // Their fields have their classes where they stand themselves.
            Shape::Changes(_) => {}
        }
    }
    let mut found = Vec::new();
    for (name, shape) in fields {
        walk((*name).to_owned(), *shape, &mut found);
    }
    found
}

/// Owns the redacted document of one event.
#[derive(Default)]
pub struct Scratch(OnceCell<String>);

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch(..)")
    }
}

/// A document without what the policy holds back.
pub struct Redacted<'s> {
    /// What is left.
    pub document: Document<'s>,
    /// Whether there was more under unknown fields than [`MAX_UNKNOWN_PSEUDONYMS`].
    pub cut: bool,
}

/// Redacts a document as it was sent, of which `fields` are documented. Order, and the bytes of what isn't touched, stay. `None` if `scratch` was used before: it would hold
/// another event.
pub fn redact<'s>(
    original: Value<'_, '_>,
    fields: &'static [Field],
    policy: &Policy,
    scratch: &'s Scratch,
) -> Option<Redacted<'s>> {
    let (text, cut) = write(original, fields, policy);
    scratch.0.set(text).ok()?;
    let document = Document::read(scratch.0.get()?).ok()?;
    Some(Redacted { document, cut })
}

fn write(document: Value<'_, '_>, fields: &'static [Field], policy: &Policy) -> (String, bool) {
    let mut writer = Writer {
        policy,
        out: String::with_capacity(document.raw().get().len()),
        left: MAX_UNKNOWN_PSEUDONYMS,
        cut: false,
    };
    writer.value(document, Shape::Object(fields));
    (writer.out, writer.cut)
}

struct Writer<'p> {
    policy: &'p Policy,
    out: String,
    /// How many more values under unknown fields may become pseudonyms.
    left: usize,
    cut: bool,
}

/// Whether a value was written; if not, what stands around it goes as well.
type Written = bool;

impl Writer<'_> {
    fn value(&mut self, value: Value<'_, '_>, shape: Shape) -> Written {
        let is_flag = value.as_bool().is_some();
        match shape {
            Shape::Any(class) => self.any(value, class),
            _ if value.is_null() => self.copy(value),
            Shape::Value(_) if is_flag => self.copy(value),
            Shape::Value(class) if value.is_text() || value.is_number() => {
                self.scalar(value, class)
            }
            Shape::Object(fields) if value.is_object() => self.object(value, fields),
            Shape::Changes(fields) if value.is_object() => self.changes(value, fields),
            Shape::List(element) if value.is_array() => {
                self.list(value, |writer, value| writer.value(value, *element))
            }
            _ => self.any(value, Class::Unknown),
        }
    }

    /// A value with all that may stand in it.
    fn any(&mut self, value: Value<'_, '_>, class: Class) -> Written {
        match self.policy.actions.of(class) {
            Action::Pass => self.copy(value),
            Action::Drop => false,
            Action::Pseudonym if value.is_object() => self.members(value, |writer, name, value| {
                writer.member(name, value, class)
            }),
            Action::Pseudonym if value.is_array() => {
                self.list(value, |writer, value| writer.any(value, class))
            }
            Action::Pseudonym if value.is_text() || value.is_number() => {
                let pseudonym = with_value(value, |value| self.spend(class, value));
                self.replace(pseudonym)
            }
            Action::Pseudonym => self.copy(value),
        }
    }

    /// A member of an object that isn't documented: it may be a map, keyed by somebody's name.
    fn member(&mut self, name: &str, value: Value<'_, '_>, class: Class) -> Written {
        let name = self.spend(class, name.as_bytes());
        name.is_some_and(|name| {
            self.name(&name);
            self.any(value, class)
        })
    }

    fn object(&mut self, object: Value<'_, '_>, fields: &[Field]) -> Written {
        self.members(object, |writer, name, value| {
            writer.name(name);
            writer.value(value, shape_of(fields, name))
        })
    }

    fn changes(&mut self, changes: Value<'_, '_>, fields: &[Field]) -> Written {
        self.members(changes, |writer, name, value| {
            writer.name(name);
            let shape = shape_of(fields, name);
            // A field that isn't known goes as a whole, where it goes.
            let dropped = matches!(shape, Shape::Any(class) if writer.drops(class));
            !dropped && writer.change(value, shape)
        })
    }

    fn change(&mut self, change: Value<'_, '_>, shape: Shape) -> Written {
        if change.is_null() {
            return self.copy(change);
        }
        if !change.is_object() {
            return self.value(change, UNKNOWN);
        }
        self.members(change, |writer, name, value| {
            if matches!(name, "from" | "to") {
                writer.name(name);
                writer.value(value, shape)
            } else if matches!(shape, Shape::Any(class) if writer.redacts(class)) {
                writer.member(name, value, Class::Unknown)
            } else {
                writer.name(name);
                writer.value(value, UNKNOWN)
            }
        })
    }

    fn scalar(&mut self, value: Value<'_, '_>, class: Class) -> Written {
        match self.policy.actions.of(class) {
            Action::Pass => self.copy(value),
            Action::Drop => false,
            Action::Pseudonym => {
                let pseudonym = with_value(value, |value| self.policy.pseudonym(class, value));
                self.replace(pseudonym)
            }
        }
    }

    /// The members of an object, each by `write`, which begins with the name.
    fn members(
        &mut self,
        object: Value<'_, '_>,
        mut write: impl FnMut(&mut Self, &str, Value<'_, '_>) -> Written,
    ) -> Written {
        self.out.push('{');
        let mut first = true;
        for (name, value) in object.members() {
            first &= !self.item(first, |writer| write(writer, &name, value));
        }
        self.out.push('}');
        true
    }

    /// The elements of an array, each by `write`.
    fn list(
        &mut self,
        array: Value<'_, '_>,
        mut write: impl FnMut(&mut Self, Value<'_, '_>) -> Written,
    ) -> Written {
        self.out.push('[');
        let mut first = true;
        for value in array.elements() {
            first &= !self.item(first, |writer| write(writer, value));
        }
        self.out.push(']');
        true
    }

    /// One of several, with the comma before it; nothing of it stays if it isn't written.
    fn item(&mut self, first: bool, write: impl FnOnce(&mut Self) -> Written) -> Written {
        let before = self.out.len();
        if !first {
            self.out.push(',');
        }
        let written = write(self);
        if !written {
            self.out.truncate(before);
        }
        written
    }

    fn drops(&self, class: Class) -> bool {
        self.policy.actions.of(class) == Action::Drop
    }

    fn redacts(&self, class: Class) -> bool {
        self.policy.actions.of(class) != Action::Pass
    }

    fn copy(&mut self, value: Value<'_, '_>) -> Written {
        self.out.push_str(value.raw().get());
        true
    }

    fn name(&mut self, name: &str) {
        self.out.push_str(&json::to_string(name));
        self.out.push(':');
    }

    /// A pseudonym needs no escapes.
    fn replace(&mut self, pseudonym: Option<String>) -> Written {
        let Some(pseudonym) = pseudonym else {
            return false;
        };
        self.out.push('"');
        self.out.push_str(&pseudonym);
        self.out.push('"');
        true
    }

    /// A pseudonym under an unknown field, while there are any left.
    fn spend(&mut self, class: Class, value: &[u8]) -> Option<String> {
        let Some(left) = self.left.checked_sub(1) else {
            self.cut = true;
            return None;
        };
        self.left = left;
        self.policy.pseudonym(class, value)
    }
}

fn shape_of(fields: &[Field], name: &str) -> Shape {
    fields
        .iter()
        .find(|(field, _)| *field == name)
        .map_or(UNKNOWN, |(_, shape)| *shape)
}

/// The exact value of a string or number: its text, its digits. A string with half a surrogate pair has no text, so it is taken as it stands.
fn with_value<T>(value: Value<'_, '_>, take: impl FnOnce(&[u8]) -> T) -> T {
    match value.text() {
        Some(text) => take(text.as_bytes()),
        None => take(value.raw().get().as_bytes()),
    }
}

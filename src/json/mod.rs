//! JSON in one pass over its bytes: syntax and limits are checked, and a flat index is made of where each value begins and ends. What is read of it later is found by the
//! index; nothing is read twice, nothing is turned into numbers, and values stay slices of the text, so digits and escapes stay as they were sent.

mod scan;
mod write;

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use scan::{Kind, Node};
pub use write::{to_string, to_vec, write_to};

/// Containers may stand in containers this deep. Osigu's events need five.
pub const MAX_DEPTH: u8 = 32;

/// Why a text isn't taken. What isn't JSON is that, whatever else it is; of the limits, the one that is passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It isn't one JSON value.
    Syntax,
    /// An object has the same key twice.
    DuplicateKey,
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// Where the values of a text are. It says nothing without its text.
pub struct Index(Vec<Node>);

impl Index {
    /// Reads a text that is one value.
    pub fn of(text: &str) -> Result<Self, Problem> {
        scan::scan(text).map(Self)
    }

    /// The value of the text that it was made of.
    pub fn root<'i, 'a>(&'i self, text: &'a str) -> Value<'i, 'a> {
        Value::at(text, &self.0, 0)
    }
}

/// A value of a text: a place in its index.
#[derive(Clone, Copy)]
pub struct Value<'i, 'a> {
    text: &'a str,
    nodes: &'i [Node],
    place: usize,
    node: Node,
}

impl<'i, 'a> Value<'i, 'a> {
    #[inline(always)]
    fn at(text: &'a str, nodes: &'i [Node], place: usize) -> Self {
        Self {
            text,
            nodes,
            place,
            // Every place is one of the index; `null` stands for what can't be.
            node: nodes.get(place).copied().unwrap_or(Node::NULL),
        }
    }

    fn next(self) -> usize {
        self.node.next as usize
    }

    /// As it was sent.
    pub fn raw(self) -> Raw<'a> {
        let range = self.node.start as usize..self.node.end as usize;
        Raw(self.text.get(range).unwrap_or("null"))
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.node.kind == Kind::Null
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.node.kind == Kind::Object
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.node.kind == Kind::Array
    }

    /// Whether it is a string.
    pub fn is_text(self) -> bool {
        matches!(self.node.kind, Kind::Text | Kind::Escaped)
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        self.node.kind == Kind::Number
    }

    /// `true` or `false`.
    pub fn as_bool(self) -> Option<bool> {
        match self.node.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// A number, with the digits that were sent.
    pub fn digits(self) -> Option<&'a str> {
        self.is_number().then(|| self.raw().get())
    }

    /// The text of a string. A lone surrogate has no text.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.node.kind {
            Kind::Text => Some(Cow::Borrowed(self.between_quotes())),
            Kind::Escaped => scan::unescape(self.between_quotes()).map(Cow::Owned),
            _ => None,
        }
    }

    #[inline(always)]
    fn between_quotes(self) -> &'a str {
        let range = self.node.start as usize + 1..(self.node.end as usize).saturating_sub(1);
        self.text.get(range).unwrap_or_default()
    }

    /// Whether it is a string of this text.
    #[inline(always)]
    fn is(self, text: &str) -> bool {
        match self.node.kind {
            Kind::Text => scan::is_same(self.between_quotes(), text),
            Kind::Escaped => scan::unescape(self.between_quotes()).is_some_and(|own| own == text),
            _ => false,
        }
    }

    /// The members of an object, as they stand; of anything else, none.
    pub fn members(self) -> Members<'i, 'a> {
        Members(self.inner(Kind::Object))
    }

    /// The members of an object, by name.
    pub fn sorted_members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        let places = self.members().map(|(name, value)| (name, value.place));
        let at = move |(name, place)| (name, Self::at(self.text, self.nodes, place));
        sorted(places.collect()).into_iter().map(at)
    }

    /// The elements of an array, as they stand; of anything else, none.
    pub fn elements(self) -> Elements<'i, 'a> {
        Elements(self.inner(Kind::Array))
    }

    fn inner(self, kind: Kind) -> Inner<'i, 'a> {
        Inner {
            text: self.text,
            nodes: self.nodes,
            place: self.place + 1,
            end: self.inner_end(kind),
        }
    }

    /// The member of an object under this name.
    pub fn get(self, name: &str) -> Option<Self> {
        let (mut key_place, end) = (self.place + 1, self.inner_end(Kind::Object));
        while key_place < end {
            let (key, value) = (self.nodes.get(key_place)?, self.nodes.get(key_place + 1)?);
            // Most keys differ in their length: that costs no look at the text.
            let same_length = (key.end - key.start) as usize == name.len() + 2;
            if (same_length || key.kind == Kind::Escaped)
                && Self::at(self.text, self.nodes, key_place).is(name)
            {
                return Some(Self::at(self.text, self.nodes, key_place + 1));
            }
            key_place = value.next as usize;
        }
        None
    }

    /// Where its content ends in the index; before where it begins, if it is of another kind.
    #[inline(always)]
    fn inner_end(self, kind: Kind) -> usize {
        if self.node.kind == kind {
            self.next()
        } else {
            0
        }
    }
}

/// By name, each with its place. All that is sorted is sorted here, by merging: the library's sort is four kilobytes of wasm for each type.
fn sorted(mut names: Vec<(Cow<'_, str>, usize)>) -> Vec<(Cow<'_, str>, usize)> {
    if names.len() < 2 {
        return names;
    }
    let behind = names.split_off(names.len() / 2);
    let mut merged = Vec::with_capacity(names.len() + behind.len());
    let mut before = sorted(names).into_iter();
    let mut behind = sorted(behind).into_iter().peekable();
    for name in before.by_ref() {
        while let Some(other) = behind.next_if(|(other, _)| *other < name.0) {
            merged.push(other);
        }
        merged.push(name);
    }
    merged.extend(behind);
    merged
}

/// What stands in a container, keys and values in turn.
#[derive(Clone)]
struct Inner<'i, 'a> {
    text: &'a str,
    nodes: &'i [Node],
    place: usize,
    end: usize,
}

impl<'i, 'a> Iterator for Inner<'i, 'a> {
    type Item = Value<'i, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.place >= self.end {
            return None;
        }
        let value = Value::at(self.text, self.nodes, self.place);
        self.place = value.next();
        Some(value)
    }
}

/// The members of an object.
#[derive(Clone)]
pub struct Members<'i, 'a>(Inner<'i, 'a>);

impl<'i, 'a> Iterator for Members<'i, 'a> {
    type Item = (Cow<'a, str>, Value<'i, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // Every key has a text: that was checked.
        let (key, value) = (self.0.next()?, self.0.next()?);
        Some((key.text().unwrap_or_default(), value))
    }
}

/// The elements of an array.
#[derive(Clone)]
pub struct Elements<'i, 'a>(Inner<'i, 'a>);

impl<'i, 'a> Iterator for Elements<'i, 'a> {
    type Item = Value<'i, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// A value as it was sent. It is written as it stands, by our own writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// Its text.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// The digits of a number that was read before.
    pub fn of_number(digits: &'a str) -> Self {
        Self(digits)
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(write::RAW, self.0)
    }
}

#[cfg(test)]
mod tests;

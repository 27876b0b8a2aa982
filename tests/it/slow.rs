//! A slow reader of JSON, by the letter of RFC 8259: what the product says of a body has to be what this one says. The fuzz targets have it as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A value, read by the letter of RFC 8259.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Object(Vec<(Option<String>, Node)>),
    Array(Vec<Node>),
    /// `None`: it has half a surrogate pair.
    Text(Option<String>),
    /// A number, `true`, `false` or `null`, as it was sent.
    Word(String),
}

/// One character after the other, a vector of them, and a level of the stack for each level of the document.
pub(crate) struct Slow<'a> {
    rest: &'a [char],
}

impl Slow<'_> {
    /// `None`: it isn't JSON.
    pub(crate) fn read(text: &str) -> Option<Node> {
        let chars: Vec<char> = text.chars().collect();
        let mut slow = Slow { rest: &chars };
        slow.space();
        let node = slow.value()?;
        slow.space();
        slow.rest.is_empty().then_some(node)
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        wanted(*first).then(|| {
            self.rest = rest;
            *first
        })
    }

    fn eat(&mut self, wanted: char) -> Option<char> {
        self.take(|c| c == wanted)
    }

    fn space(&mut self) {
        while self
            .take(|c| matches!(c, ' ' | '\t' | '\r' | '\n'))
            .is_some()
        {}
    }

    fn value(&mut self) -> Option<Node> {
        if self.eat('{').is_some() {
            let mut members = Vec::new();
            self.list('}', |slow| {
                let name = slow.text()?;
                slow.space();
                slow.eat(':')?;
                slow.space();
                members.push((name, slow.value()?));
                Some(())
            })?;
            return Some(Node::Object(members));
        }
        if self.eat('[').is_some() {
            let mut elements = Vec::new();
            self.list(']', |slow| {
                elements.push(slow.value()?);
                Some(())
            })?;
            return Some(Node::Array(elements));
        }
        if self.rest.first() == Some(&'"') {
            return self.text().map(Node::Text);
        }
        for word in ["true", "false", "null"] {
            let letters: Vec<char> = word.chars().collect();
            if let Some(rest) = self.rest.strip_prefix(letters.as_slice()) {
                self.rest = rest;
                return Some(Node::Word(word.to_owned()));
            }
        }
        self.number().map(Node::Word)
    }

    fn list(&mut self, end: char, mut one: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.space();
        if self.eat(end).is_some() {
            return Some(());
        }
        loop {
            self.space();
            one(self)?;
            self.space();
            if self.eat(end).is_some() {
                return Some(());
            }
            self.eat(',')?;
        }
    }

    fn text(&mut self) -> Option<Option<String>> {
        self.eat('"')?;
        let mut units = Vec::new();
        loop {
            let c = self.take(|c| c >= ' ')?;
            let unescaped = match c {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\\' => match self.take(|_| true)? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let mut unit = 0;
                        for _ in 0..4 {
                            let digit = self.take(|c| c.is_ascii_hexdigit())?;
                            unit = unit * 16 + u16::try_from(digit.to_digit(16)?).ok()?;
                        }
                        units.push(unit);
                        continue;
                    }
                    c @ ('"' | '\\' | '/') => c,
                    _ => return None,
                },
                c => c,
            };
            units.extend_from_slice(unescaped.encode_utf16(&mut [0; 2]));
        }
    }

    fn number(&mut self) -> Option<String> {
        let before = self.rest;
        self.eat('-');
        if self.eat('0').is_none() {
            self.digits()?;
        }
        if self.eat('.').is_some() {
            self.digits()?;
        }
        if self.take(|c| matches!(c, 'e' | 'E')).is_some() {
            self.take(|c| matches!(c, '+' | '-'));
            self.digits()?;
        }
        let read = before.len() - self.rest.len();
        Some(before.iter().take(read).collect())
    }

    fn digits(&mut self) -> Option<()> {
        self.take(|c| c.is_ascii_digit())?;
        while self.take(|c| c.is_ascii_digit()).is_some() {}
        Some(())
    }
}

impl Node {
    /// What is wrong with it, from this level on.
    pub(crate) fn problems(&self, level: usize, found: &mut BTreeSet<&'static str>) {
        if level > 32 && matches!(self, Self::Object(_) | Self::Array(_)) {
            found.insert("too_deep");
        }
        match self {
            Self::Object(members) => {
                let mut names = BTreeSet::new();
                for (name, value) in members {
                    match name {
                        Some(name) if !names.insert(name) => found.insert("duplicate_key"),
                        Some(_) => false,
                        None => found.insert("not_an_object"),
                    };
                    value.problems(level + 1, found);
                }
            }
            Self::Array(elements) => {
                elements.iter().for_each(|e| e.problems(level + 1, found));
            }
            Self::Text(_) | Self::Word(_) => {}
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let found = members.iter().find(|(n, _)| n.as_deref() == Some(name));
        found.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Word(word) if word == "null")
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn decimal(&self) -> Option<&str> {
        let text = match self {
            Self::Word(word) => word,
            _ => self.text()?,
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mut parts = text.strip_prefix('-').unwrap_or(text).split('.');
        let whole = digits(parts.next()?);
        let fraction = parts.next().is_none_or(digits);
        (whole && fraction && parts.next().is_none()).then_some(text)
    }

    /// Without white space, and with the members in the order of their names.
    pub(crate) fn written(&self, out: &mut String) {
        match self {
            Self::Object(members) => {
                let sorted: BTreeMap<_, _> = members.iter().map(|(n, node)| (n, node)).collect();
                out.push('{');
                for (name, node) in sorted {
                    write!(out, "{name:?}:").unwrap();
                    node.written(out);
                    out.push(',');
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for element in elements {
                    element.written(out);
                    out.push(',');
                }
                out.push(']');
            }
            other => write!(out, "{other:?}").unwrap(),
        }
    }
}

/// What may be said of a body; nothing if it is to be read.
pub(crate) fn problems(body: &[u8]) -> (Option<Node>, BTreeSet<&'static str>) {
    let Ok(text) = std::str::from_utf8(body) else {
        return (None, BTreeSet::from(["not_utf8"]));
    };
    match Slow::read(text) {
        Some(node @ Node::Object(_)) => {
            let mut found = BTreeSet::new();
            node.problems(1, &mut found);
            (Some(node), found)
        }
        _ => (None, BTreeSet::from(["not_an_object"])),
    }
}

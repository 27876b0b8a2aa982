//! JSON pointers (RFC 6901), compiled when the settings are read.

use crate::json::Value;

/// A longer pointer is a fault.
pub const MAX_POINTER_BYTES: usize = 256;
/// Each step goes through a level of the document.
pub const MAX_POINTER_STEPS: usize = 8;

/// Where a value is in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    /// Reads `/data/id`. `None` if it isn't a pointer within the limits, or points at the whole document.
    pub fn parse(text: &str) -> Option<Self> {
        let steps = text.strip_prefix('/')?.split('/').map(unescape);
        let steps: Vec<String> = steps.collect::<Option<_>>()?;
        let fits = text.len() <= MAX_POINTER_BYTES && steps.len() <= MAX_POINTER_STEPS;
        fits.then(|| Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// As it was configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it points at; null is nothing.
    pub fn find<'i, 'a>(&self, document: Value<'i, 'a>) -> Option<Value<'i, 'a>> {
        let mut steps = self.steps.iter();
        let found = steps.try_fold(document, |value, step| {
            if value.is_array() {
                value.elements().nth(index(step)?)
            } else {
                value.get(step)
            }
        });
        found.filter(|value| !value.is_null())
    }
}

/// `~1` stands for `/`, `~0` for `~`.
fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

/// Digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|b| b.is_ascii_digit());
    let plain = step == "0" || !step.starts_with('0');
    (digits && plain).then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Index;

    fn find(json: &str, pointer: &str) -> Option<String> {
        let index = Index::of(json).ok()?;
        let found = Pointer::parse(pointer).unwrap().find(index.root(json));
        found.map(|value| value.raw().get().to_owned())
    }

    #[test]
    fn a_pointer_finds_what_rfc_6901_says() {
        // Section 5 of the RFC, and a few that lead nowhere.
        let document = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"x":null}"#;
        for (pointer, found) in [
            ("/foo", Some(r#"["bar","baz"]"#)),
            ("/foo/0", Some(r#""bar""#)),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/e^f", Some("3")),
            ("/g|h", Some("4")),
            ("/i\\j", Some("5")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("/foo/2", None),
            ("/foo/01", None),
            ("/foo/-", None),
            ("/foo/0/x", None),
            ("/x", None),
            ("/y", None),
        ] {
            assert_eq!(find(document, pointer).as_deref(), found, "{pointer}");
        }
    }

    #[test]
    fn what_isnt_a_pointer_is_none() {
        for text in ["", "a", "/a~", "/a~2", "/1/2/3/4/5/6/7/8/9"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
        assert_eq!(Pointer::parse(&format!("/{}", "a".repeat(256))), None);
    }

    proptest! {
        #[test]
        fn no_pointer_panics(text in "(/|~|~0|~1|[0-9]|[a-z]|é|\\PC){0,40}") {
            if let Some(pointer) = Pointer::parse(&text) {
                let document = r#"{"a":{"b":[[0,{"é":1}]]},"0":[1]}"#;
                let _ = pointer.find(Index::of(document).unwrap().root(document));
            }
        }
    }
}

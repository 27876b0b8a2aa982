//! What is signed: literals, and parts of the request. Compiled when the settings are read.

use std::fmt;

/// A longer template is a fault.
pub const MAX_TEMPLATE_BYTES: usize = 256;
/// More parts than five placeholders and the literals around them can't be meant.
pub const MAX_TEMPLATE_PARTS: usize = 11;

/// A part of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The raw body.
    Body,
    /// The time, as it stands in its header.
    Timestamp,
    /// The id, as it stands in its header.
    Id,
    /// The URL as it was requested.
    Url,
    /// The method, in capitals.
    Method,
}

impl Placeholder {
    const ALL: [Self; 5] = [
        Self::Body,
        Self::Timestamp,
        Self::Id,
        Self::Url,
        Self::Method,
    ];

    /// As it stands between braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Timestamp => "timestamp",
            Self::Id => "id",
            Self::Url => "url",
            Self::Method => "method",
        }
    }
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Literal(String),
    /// A part of the request.
    Of(Placeholder),
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// Why a text isn't a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateFault {
    /// Longer than [`MAX_TEMPLATE_BYTES`], or of more than [`MAX_TEMPLATE_PARTS`] parts.
    TooLong,
    /// A brace without its other half, or around something that isn't a placeholder.
    Brace,
    /// The same placeholder twice.
    Twice(Placeholder),
    /// It doesn't cover the body.
    NoBody,
    /// Two placeholders with nothing between them: where one ends and the next begins wouldn't be signed.
    Adjacent(Placeholder, Placeholder),
}

impl fmt::Display for TemplateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "is longer than {MAX_TEMPLATE_BYTES} bytes, or has more than {MAX_TEMPLATE_PARTS} parts"
            ),
            Self::Brace => f.write_str(
                "has a brace that isn't around body, timestamp, id, url or method ({{ and }} stand for braces)",
            ),
            Self::Twice(placeholder) => write!(f, "has {{{}}} twice", placeholder.name()),
            Self::NoBody => f.write_str("doesn't cover {body}"),
            Self::Adjacent(left, right) => write!(
                f,
                "has nothing between {{{}}} and {{{}}}: where one ends isn't signed",
                left.name(),
                right.name()
            ),
        }
    }
}

/// Values for the placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) body: &'a [u8],
    pub(super) timestamp: &'a str,
    pub(super) id: &'a str,
    pub(super) url: &'a str,
    pub(super) method: &'a str,
}

impl Template {
    /// Reads `{timestamp}.{body}` and the like; `{{` and `}}` stand for braces.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateFault::TooLong);
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                literal.push(next);
                rest = after;
            } else if next == '{' {
                let (placeholder, after) = Placeholder::ALL
                    .into_iter()
                    .find_map(|placeholder| {
                        let after = rest.strip_prefix('{')?.strip_prefix(placeholder.name())?;
                        Some((placeholder, after.strip_prefix('}')?))
                    })
                    .ok_or(TemplateFault::Brace)?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                if parts.contains(&Part::Of(placeholder)) {
                    return Err(TemplateFault::Twice(placeholder));
                }
                parts.push(Part::Of(placeholder));
                rest = after;
            } else if next == '}' {
                return Err(TemplateFault::Brace);
            } else {
                literal.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let template = Self(parts);
        template.check()?;
        Ok(template)
    }

    fn check(&self) -> Result<(), TemplateFault> {
        use Placeholder::{Body, Method, Timestamp, Url};
        if self.0.len() > MAX_TEMPLATE_PARTS {
            return Err(TemplateFault::TooLong);
        }
        if !self.covers(Body) {
            return Err(TemplateFault::NoBody);
        }
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        for pair in pairs {
            // A time is digits and the method is one word; a URL ends where a JSON object begins. There nothing can be moved from one to the other.
            if let (Part::Of(left), Part::Of(right)) = pair
                && !matches!((left, right), (Timestamp | Url, Body) | (Method, _))
            {
                return Err(TemplateFault::Adjacent(*left, *right));
            }
        }
        Ok(())
    }

    /// Whether a part of the request is signed.
    pub fn covers(&self, placeholder: Placeholder) -> bool {
        self.0.contains(&Part::Of(placeholder))
    }

    /// The text that stands behind a placeholder: its value may not hold that.
    pub(super) fn after(&self, placeholder: Placeholder) -> Option<&str> {
        let mut parts = self.0.iter();
        parts.find(|part| **part == Part::Of(placeholder))?;
        match parts.next() {
            Some(Part::Literal(text)) => Some(text),
            _ => None,
        }
    }

    /// What is signed, in pieces.
    pub(super) fn fill<'a>(&'a self, values: Values<'a>) -> Vec<&'a [u8]> {
        let parts = self.0.iter().map(|part| match part {
            Part::Literal(text) => text.as_bytes(),
            Part::Of(Placeholder::Body) => values.body,
            Part::Of(Placeholder::Timestamp) => values.timestamp.as_bytes(),
            Part::Of(Placeholder::Id) => values.id.as_bytes(),
            Part::Of(Placeholder::Url) => values.url.as_bytes(),
            Part::Of(Placeholder::Method) => values.method.as_bytes(),
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> String {
        let template = Template::parse(template).unwrap();
        let values = Values {
            body: b"<b>",
            timestamp: "12",
            id: "i",
            url: "https://h/",
            method: "POST",
        };
        String::from_utf8(template.fill(values).concat()).unwrap()
    }

    #[test]
    fn a_template_puts_the_parts_of_a_request_between_its_literals() {
        assert_eq!(filled("{body}"), "<b>");
        assert_eq!(filled("{id}.{timestamp}.{body}"), "i.12.<b>");
        assert_eq!(filled("v0:{timestamp}:{body}"), "v0:12:<b>");
        assert_eq!(
            filled("{method} {url}\n{body}{{é}}"),
            "POST https://h/\n<b>{é}"
        );
        assert_eq!(filled("{url}{body}"), "https://h/<b>");
        assert_eq!(filled("{timestamp}{body}"), "12<b>");
    }

    #[test]
    fn what_isnt_a_template_says_why() {
        use Placeholder::{Body, Id, Timestamp};
        let fault = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(fault(""), TemplateFault::NoBody);
        assert_eq!(fault("{timestamp}"), TemplateFault::NoBody);
        assert_eq!(fault("{body}.{body}"), TemplateFault::Twice(Body));
        assert_eq!(fault("{Body}"), TemplateFault::Brace);
        assert_eq!(fault("{body"), TemplateFault::Brace);
        assert_eq!(fault("body}"), TemplateFault::Brace);
        assert_eq!(fault("{ body }"), TemplateFault::Brace);
        assert_eq!(fault("{id}{body}"), TemplateFault::Adjacent(Id, Body));
        assert_eq!(
            fault("{id}{timestamp}.{body}"),
            TemplateFault::Adjacent(Id, Timestamp)
        );
        assert_eq!(fault(&"x".repeat(257)), TemplateFault::TooLong);
    }

    #[test]
    fn a_template_may_be_as_long_and_have_as_many_parts_as_its_limits_say() {
        let all = "a{method}b{url}c{timestamp}d{id}e{body}f";
        let template = Template::parse(all).unwrap();
        assert_eq!(template.0.len(), MAX_TEMPLATE_PARTS);
        let padding = "x".repeat(MAX_TEMPLATE_BYTES - "{body}".len());
        assert!(Template::parse(&format!("{padding}{{body}}")).is_ok());
        let longer = format!("{padding}x{{body}}");
        assert_eq!(Template::parse(&longer), Err(TemplateFault::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_covers_the_body(text in "([{}]|[{]body[}]|[{]id[}]|[{]url[}]|[{]timestamp[}]|é|\\PC){0,40}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert!(template.covers(Placeholder::Body));
                let values = Values { body: b"\x00body", timestamp: "1", id: "2", url: "3", method: "4" };
                let filled = template.fill(values).concat();
                prop_assert!(filled.windows(5).any(|window| window == b"\x00body"));
            }
        }
    }
}

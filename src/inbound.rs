//! A request as it was received: untrusted.

use crate::auth::RawBody;

/// What the shell hands over.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The `{source}` of the path.
    pub source: &'a str,
    /// What stands behind it in the path, as it was requested.
    pub path: Option<&'a str>,
    /// The sender's address, as the platform has it.
    pub address: Option<&'a str>,
    /// How far receiving got.
    pub received: Received,
    /// The URL as it was requested, where the source's scheme covers it.
    pub url: Option<&'a str>,
    /// The value of the source's signature header.
    pub signature: Option<&'a str>,
    /// The values of the other headers that the source's scheme reads, in its order.
    pub more: &'a [Option<&'a str>],
    /// The `content-type` header.
    pub content_type: Option<&'a str>,
    /// The `traceparent` header.
    pub traceparent: Option<&'a str>,
    /// The body; empty unless `received` is `Complete`.
    pub body: RawBody<'a>,
}

/// How far receiving the body got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Received {
    /// All of it is here.
    Complete = 0,
    /// The path isn't one of ours.
    PathUnknown = 1,
    /// It is larger than the source takes; the rest was not read.
    TooLarge = 2,
    /// It ended early or took too long.
    Incomplete = 3,
    /// There are too many bodies under way.
    Overloaded = 4,
}

impl Received {
    /// The shell's number for it.
    pub fn from_u8(code: u8) -> Option<Self> {
        use Received::{Complete, Incomplete, Overloaded, PathUnknown, TooLarge};
        [Complete, PathUnknown, TooLarge, Incomplete, Overloaded]
            .into_iter()
            .find(|received| *received as u8 == code)
    }
}

/// Whether a `content-type` is `wanted`, whatever its parameters.
pub(crate) fn is_content_type(value: Option<&str>, wanted: &str) -> bool {
    value
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// A `traceparent` of the W3C form: since nobody signed it, nothing else goes through.
pub(crate) fn well_formed_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let hex = |part: &str, len: usize| {
        part.len() == len
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    matches!(parts.as_slice(), [version, trace, parent, flags]
        if hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && *version != "ff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_counts_without_its_parameters() {
        let json = |value| is_content_type(Some(value), "application/json");
        assert!(json("application/json"));
        assert!(json("Application/JSON; charset=utf-8"));
        assert!(!json("application/jsonp"));
        assert!(!json("text/plain; application/json"));
        assert!(!is_content_type(None, "application/json"));
    }

    #[test]
    fn only_a_traceparent_of_its_form_goes_through() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(well_formed_traceparent(good));
        assert!(!well_formed_traceparent("00-Juan López"));
        assert!(!well_formed_traceparent(&good.replace("4bf", "4BF")));
        assert!(!well_formed_traceparent(&format!("{good}-x")));
    }
}

//! Instants as arguments: the core never reads a clock.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads an RFC 3339 date-time of any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|at| Self(at.timestamp_millis()))
    }

    /// Whole Unix seconds, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant `span` later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long until `later`; zero if it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// Rewrites an RFC 3339 date-time in UTC; one that ends in `Z` already keeps its digits.
pub fn to_utc(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    if text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') {
        return Some(text.into());
    }
    Some(
        at.with_timezone(&Utc)
            .to_rfc3339_opts(SecondsFormat::AutoSi, true)
            .into(),
    )
}

/// RFC 3339 in UTC, with milliseconds.
pub fn to_text(at: Timestamp) -> String {
    let date = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
    date.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The span that a `Retry-After` header names: seconds, or an HTTP date seen from `now`.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some(now.until(Timestamp(at.timestamp_millis())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_becomes_utc_and_a_z_keeps_its_digits() {
        assert_eq!(
            to_utc("2026-06-25T14:22:11.780Z").as_deref(),
            Some("2026-06-25T14:22:11.780Z")
        );
        assert_eq!(
            to_utc("2026-06-25T14:22:11-04:00").as_deref(),
            Some("2026-06-25T18:22:11Z")
        );
        assert_eq!(to_utc("2026-06-25"), None);
        assert_eq!(to_utc("yesterday"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp(784_111_777_000); // 1994-11-06T08:49:37Z
        assert_eq!(
            parse_retry_after("120", now),
            Some(Duration::from_secs(120))
        );
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now),
            Some(Duration::from_secs(10))
        );
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:07 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
        assert_eq!(parse_retry_after("", now), None);
    }
}

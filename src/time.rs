//! Instants as arguments: the core never reads a clock.

use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};

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

/// A fraction of a second may have as many digits as there are: a longer date-time is none, since it would stand in attributes.
const MAX_DATE_TIME_BYTES: usize = 64;

/// Rewrites an RFC 3339 date-time in UTC; one that ends in `Z` already keeps its digits. What isn't in one of its years in UTC has no such form.
pub fn to_utc(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    if text.len() > MAX_DATE_TIME_BYTES {
        return None;
    }
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    if text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') {
        return Some(text.into());
    }
    let at = at.with_timezone(&Utc);
    (0..=9999)
        .contains(&at.year())
        .then(|| at.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}

/// Where the clocks stand that write times without a zone: a fixed offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Minutes east of UTC.
    minutes: i16,
}

/// No clock on earth is further from UTC.
const MAX_ZONE_MINUTES: i16 = 14 * 60;

impl Zone {
    /// India: the same all year, so it is an offset like any other.
    pub const KOLKATA: Self = Self { minutes: 330 };

    /// Reads `Asia/Kolkata`, or an offset such as `+05:30`. Other names are refused: most of them are no fixed offset.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "Asia/Kolkata" {
            return Some(Self::KOLKATA);
        }
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let two = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<i16>().ok()).flatten()
        };
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        let offset = hours * 60 + minutes;
        (minutes < 60 && offset <= MAX_ZONE_MINUTES).then_some(Self {
            minutes: sign * offset,
        })
    }

    /// Such as `+05:30`.
    pub fn offset(self) -> String {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        let minutes = self.minutes.unsigned_abs();
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// Rewrites a date-time in UTC: one with a zone of its own by that, `2025-01-29 12:19:46` by this one.
    pub fn to_utc(self, text: &str) -> Option<String> {
        if let Some(at) = to_utc(text) {
            return Some(at.into_owned());
        }
        let (date, time) = text.split_at_checked(10)?;
        let time = time.strip_prefix([' ', 'T'])?;
        to_utc(&format!("{date}T{time}{}", self.offset())).map(std::borrow::Cow::into_owned)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::KOLKATA
    }
}

/// RFC 3339 in UTC, with milliseconds.
pub fn to_text(at: Timestamp) -> String {
    let date = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
    date.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// RFC 3339 in UTC, in whole seconds.
pub fn to_seconds_text(at: Timestamp) -> String {
    let date = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
    date.to_rfc3339_opts(SecondsFormat::Secs, true)
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
    fn what_is_in_no_year_of_four_digits_in_utc_is_no_date_time() {
        for text in [
            "0000-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "9999-12-31T23:59:59.999-00:01",
        ] {
            assert_eq!(to_utc(text), None, "{text}");
        }
        assert_eq!(
            to_utc("9999-12-31T23:59:59+00:00").as_deref(),
            Some("9999-12-31T23:59:59Z")
        );
        assert_eq!(
            to_utc("0000-01-01T00:00:00-00:01").as_deref(),
            Some("0000-01-01T00:01:00Z")
        );
        let zone = Zone::parse("-14:00").unwrap();
        assert_eq!(zone.to_utc("9999-12-31 23:00:00"), None);
    }

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
    fn a_time_without_a_zone_is_read_in_the_one_that_is_given() {
        let kolkata = Zone::default();
        let told = |text| kolkata.to_utc(text);
        for sent in [
            "2025-01-29 12:19:46",
            "2025-01-29T12:19:46",
            "2025-01-29T12:19:46+05:30",
            "2025-01-29T06:49:46Z",
        ] {
            assert_eq!(
                told(sent).as_deref(),
                Some("2025-01-29T06:49:46Z"),
                "{sent}"
            );
        }
        let early = Zone::parse("-03:30").unwrap_or_default();
        let at = early.to_utc("2025-12-31 22:00:00");
        assert_eq!(at.as_deref(), Some("2026-01-01T01:30:00Z"));
        for wrong in [
            "",
            "2025-01-29",
            "2025-01-29 12:19",
            "2025-02-30 12:00:00",
            "29-01-2025 12:19:46",
            "2025-01-29  12:19:46",
            "é025-01-29 12:19:46",
        ] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_zone_is_a_fixed_offset() {
        for (text, offset) in [
            ("Asia/Kolkata", "+05:30"),
            ("+05:30", "+05:30"),
            ("-03:30", "-03:30"),
            ("+00:00", "+00:00"),
            ("+14:00", "+14:00"),
        ] {
            assert_eq!(Zone::parse(text).map(Zone::offset).as_deref(), Some(offset));
        }
        for wrong in [
            "",
            "+",
            "05:30",
            "+5:30",
            "+05:60",
            "+14:01",
            "+0530",
            "UTC",
            "Asia/Calcutta",
            "Europe/Berlin",
            "+05:3\u{663}",
        ] {
            assert_eq!(Zone::parse(wrong), None, "{wrong}");
        }
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

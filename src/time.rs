//! Instants as arguments: the core never reads a clock.

use std::fmt::Write;
use std::time::Duration;

use chrono::DateTime;

/// Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads an RFC 3339 date-time of any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = Moment::parse(text)?;
        Some(Self(at.seconds * 1000 + i64::from(at.nanos / 1_000_000)))
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
    let at = Moment::parse(text)?;
    if text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') {
        return Some(text.into());
    }
    let digits = match at.nanos % SECOND {
        0 => 0,
        nanos if nanos % 1_000_000 == 0 => 3,
        nanos if nanos % 1_000 == 0 => 6,
        _ => 9,
    };
    let (year, ..) = date_of(at.seconds.div_euclid(DAY));
    (0..=9999).contains(&year).then(|| at.text(digits).into())
}

/// Nanoseconds.
const SECOND: u32 = 1_000_000_000;
/// Seconds.
const DAY: i64 = 24 * 3600;

/// A date-time, to what digits it has.
#[derive(Clone, Copy)]
struct Moment {
    /// Unix seconds; those of the one before, in a leap second.
    seconds: i64,
    /// A whole second or more in a leap second.
    nanos: u32,
}

impl Moment {
    /// RFC 3339: `T` and `Z` may be small, and a space may stand for `T`. Digits beyond nanoseconds are left out. As `chrono` reads it, which brings several kilobytes more.
    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |at: usize, len: usize| number(bytes.get(at..at + len)?);
        let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
        if ![(4, b'-'), (7, b'-'), (13, b':'), (16, b':')]
            .into_iter()
            .all(|(at, byte)| is(at, byte))
            || !matches!(bytes.get(10), Some(b'T' | b't' | b' '))
        {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let leap = second == 60;
        let (mut nanos, mut rest) = (u32::from(leap) * SECOND, bytes.get(19..)?);
        if let Some((b'.', behind)) = rest.split_first() {
            let digits = behind.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, behind) = behind.split_at_checked(digits)?;
            let (scaled, scale) = fraction.iter().take(9).fold((0, SECOND), |(n, scale), b| {
                (n * 10 + u32::from(b - b'0'), scale / 10)
            });
            if digits == 0 {
                return None;
            }
            nanos += scaled * scale;
            rest = behind;
        }
        let days = days_of(year, month, day)?;
        let seconds = days * DAY + hour * 3600 + minute * 60 + second - i64::from(leap);
        let seconds = seconds - offset(rest)?;
        Some(Self { seconds, nanos })
    }

    /// RFC 3339 in UTC, with so many digits of the second. A year of other than four digits has its sign.
    fn text(self, digits: u32) -> String {
        let (year, month, day) = date_of(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let second = second % 60 + i64::from(self.nanos / SECOND);
        let mut text = String::with_capacity(32);
        if !(0..=9999).contains(&year) {
            text.push(if year < 0 { '-' } else { '+' });
        }
        put(
            &mut text,
            year.unsigned_abs(),
            if year > 9999 { 5 } else { 4 },
        );
        for (before, part) in [
            ('-', month),
            ('-', day),
            ('T', hour),
            (':', minute),
            (':', second),
        ] {
            text.push(before);
            put(&mut text, part.unsigned_abs(), 2);
        }
        if digits > 0 {
            text.push('.');
            let scale = 10_u32.pow(9_u32.saturating_sub(digits));
            put(
                &mut text,
                (self.nanos % SECOND / scale).into(),
                digits as usize,
            );
        }
        text.push('Z');
        text
    }
}

/// Digits, with zeros before them.
fn put(text: &mut String, number: u64, width: usize) {
    // Writing to a String can't fail.
    let _ = write!(text, "{number:0width$}");
}

/// A number of digits alone.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, b| {
        b.is_ascii_digit()
            .then(|| number * 10 + i64::from(b - b'0'))
    })
}

/// What stands behind the seconds: `Z`, or the seconds east of UTC. The minus may be a typographic one.
fn offset(text: &[u8]) -> Option<i64> {
    if let b"Z" | b"z" = text {
        return Some(0);
    }
    let (sign, rest) = match text {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] | [0xe2, 0x88, 0x92, rest @ ..] => (-1, rest),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = rest else {
        return None;
    };
    let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since 1970-01-01, by the Gregorian calendar. `None` if there is no such day.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    // Years that begin in March end with the day that may be there: the months before it are as long in each.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_month = (month * 153 + 2) / 5;
    Some(before_year + before_month + day - 1 - EPOCH)
}

/// The days from March 1st of the year 0 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// The days of 400 years.
const CYCLE: i64 = 146_097;

/// Year, month and day of days since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    // Every fourth of these years has a day more, but for every hundredth.
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let year = cycle * 400 + year;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
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
    moment(at).text(3)
}

/// RFC 3339 in UTC, in whole seconds.
pub fn to_seconds_text(at: Timestamp) -> String {
    moment(at).text(0)
}

fn moment(at: Timestamp) -> Moment {
    let millis = at.0.rem_euclid(1000);
    Moment {
        seconds: at.seconds(),
        nanos: u32::try_from(millis).unwrap_or_default() * 1_000_000,
    }
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
    use chrono::{Datelike, SecondsFormat, Utc};

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

    /// What `chrono` makes of the same.
    fn of_chrono(text: &str) -> Option<(i64, Option<String>)> {
        let at = DateTime::parse_from_rfc3339(text).ok()?;
        let millis = at.timestamp_millis();
        if text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') {
            return Some((millis, Some(text.to_owned())));
        }
        let at = at.with_timezone(&Utc);
        let in_utc = (0..=9999).contains(&at.year());
        let text = in_utc.then(|| at.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        Some((millis, text))
    }

    fn ours(text: &str) -> Option<(i64, Option<String>)> {
        let at = Timestamp::parse_rfc3339(text)?;
        Some((at.0, to_utc(text).map(std::borrow::Cow::into_owned)))
    }

    proptest::proptest! {
        #[test]
        fn date_times_are_read_as_chrono_reads_them(
            (year, month, day) in (0_u16..=9999, 0_u8..=13, 0_u8..=32),
            (hour, minute, second) in (0_u8..=24, 0_u8..=60, 0_u8..=61),
            fraction in "(\\.[0-9]{0,12})?",
            (between, zone) in ("[Tt \\-]", "[Zz]|[+\\-\u{2212}][0-2][0-9]:?[0-6][0-9]|"),
            (place, with) in (0_usize..40, "[0-9:TZ+. é]?"),
        ) {
            let mut text = format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
            proptest::prop_assert_eq!(ours(&text), of_chrono(&text), "{}", text);
            if text.is_char_boundary(place) && text.is_char_boundary(place + 1) {
                text.replace_range(place..=place, &with);
                proptest::prop_assert_eq!(ours(&text), of_chrono(&text), "{}", text);
            }
        }

        #[test]
        fn every_instant_is_written_as_chrono_writes_it(at in -8_000_000_000_000_000_i64..8_000_000_000_000_000, near in 0_i64..4_000_000_000_000) {
            for at in [at, near] {
                let date = DateTime::from_timestamp_millis(at).unwrap();
                let millis = date.to_rfc3339_opts(SecondsFormat::Millis, true);
                proptest::prop_assert_eq!(to_text(Timestamp(at)), millis);
                let seconds = date.to_rfc3339_opts(SecondsFormat::Secs, true);
                proptest::prop_assert_eq!(to_seconds_text(Timestamp(at)), seconds);
            }
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_the_one_it_was_made_of() {
        for days in days_of(1800, 1, 1).unwrap()..=days_of(2200, 12, 31).unwrap() {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), Some(days));
        }
    }

    #[test]
    fn what_no_clock_says_is_written_all_the_same() {
        for at in [i64::MIN, i64::MAX] {
            assert!(to_text(Timestamp(at)).ends_with('Z'));
        }
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

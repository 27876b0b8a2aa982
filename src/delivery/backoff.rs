//! When a message is tried again, and when no more.

use std::time::Duration;

/// The last attempt. With the least of all delays, 96 attempts span 75 hours.
pub const MAX_ATTEMPTS: u16 = 96;
/// A message that is older isn't tried again: a queue of the platform forgets after four days, unless it was told otherwise.
pub const MAX_AGE: Duration = Duration::from_secs(80 * 3600);
/// No delay is longer.
pub const MAX_DELAY: Duration = Duration::from_secs(3600);

const FIRST_DELAY_MS: u64 = 5000;

/// How long to wait after the attempt of that number failed (1: the first): 5 s, twice as long each time, an hour at most; of that 7/8 to all, by `random`.
pub fn backoff(attempt: u16, random: u16) -> Duration {
    let doublings = u32::from(attempt.max(1) - 1).min(20);
    let full = FIRST_DELAY_MS
        .saturating_mul(1 << doublings)
        .min(u64::try_from(MAX_DELAY.as_millis()).unwrap_or(u64::MAX));
    let spared = full / 8 * u64::from(random) / u64::from(u16::MAX);
    Duration::from_millis(full - spared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_an_hour_and_are_spread_over_an_eighth() {
        let most = |attempt| backoff(attempt, 0).as_secs();
        assert_eq!([1, 2, 3, 9, 10].map(most), [5, 10, 20, 1280, 2560]);
        assert_eq!([11, 12, 96, 1000, u16::MAX].map(most), [3600; 5]);
        assert_eq!(backoff(0, 0), backoff(1, 0));
        for attempt in 1..200 {
            let (least, most) = (backoff(attempt, u16::MAX), backoff(attempt, 0));
            assert!(least >= most * 7 / 8 && least < most, "{attempt}");
            assert!(most <= MAX_DELAY);
        }
    }

    #[test]
    fn the_attempts_span_72_hours_and_end_before_a_queue_forgets() {
        let span = |random| -> Duration { (1..MAX_ATTEMPTS).map(|n| backoff(n, random)).sum() };
        assert!(span(u16::MAX) >= Duration::from_secs(72 * 3600));
        let retention = Duration::from_secs(4 * 24 * 3600);
        assert!(MAX_AGE + MAX_DELAY * 2 < retention);
        assert!(MAX_AGE > Duration::from_secs(72 * 3600));
    }
}

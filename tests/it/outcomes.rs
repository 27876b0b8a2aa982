//! The table from outcome to status, code, level and Retry-After.

use std::collections::BTreeSet;
use std::fmt::Write;

use rxgate::outcome::{Level, Outcome};

/// How far a request had got when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// A destination has the event.
    Destination,
    /// Nobody vouches for it (a time outside of the tolerance included), or it never was a whole request.
    Nothing,
    /// It is safe with the dead letters, and somebody has to look at it.
    DeadLetters,
    /// It is the sender's, or may well be, and no destination has it for sure.
    Limbo,
    /// It is a message of ours, and the sender was answered long ago.
    Message,
    /// The sender itself, which asked for it; there is no event.
    Sender,
}

/// Without a wildcard: a new outcome doesn't compile until somebody has said what it means.
fn reached(outcome: Outcome) -> Reached {
    use Outcome as O;
    match outcome {
        O::Delivered | O::Enqueued | O::Duplicate => Reached::Destination,
        O::DeadLettered | O::Withheld => Reached::DeadLetters,
        O::PathUnknown
        | O::SourceUnknown
        | O::MethodNotAllowed
        | O::ContentTypeUnsupported
        | O::BodyTooLarge
        | O::SignatureMissing
        | O::SignatureMalformed
        | O::SignatureMismatch
        | O::AddressNotAllowed
        | O::TimestampOutOfTolerance => Reached::Nothing,
        O::ChallengeAnswered => Reached::Sender,
        O::InFlight
        | O::DeliveryFailed
        | O::DeliveryTimedOut
        | O::EnqueueFailed
        | O::DeadLetterFailed
        | O::StoreUnavailable
        | O::ShardsChanged
        | O::SourceMisconfigured
        | O::Overloaded
        | O::InternalError
        | O::BodyIncomplete => Reached::Limbo,
        O::CallbackMet
        | O::DeadLetterKept
        | O::QueueUnknown
        | O::MessageUnreadable
        | O::BodyMissing => Reached::Message,
    }
}

#[test]
fn the_table_is_the_one_that_is_kept() {
    let mut table = String::new();
    for outcome in Outcome::ALL {
        let spec = outcome.spec();
        let retry_after = spec
            .retry_after
            .map_or("-".to_owned(), |span| format!("{span:?}"));
        let _ = writeln!(
            table,
            "{:<24} {} {:<27} {:<6} {retry_after}",
            format!("{outcome:?}"),
            spec.status,
            spec.code,
            spec.level.name(),
        );
    }
    insta::assert_snapshot!(table);
}

#[test]
fn all_is_all_and_each_code_is_its_own() {
    let debug: BTreeSet<String> = Outcome::ALL.iter().map(|o| format!("{o:?}")).collect();
    let codes: BTreeSet<&str> = Outcome::ALL.iter().map(|o| o.spec().code).collect();
    assert_eq!(
        (debug.len(), codes.len()),
        (Outcome::ALL.len(), Outcome::ALL.len())
    );
    // `reached` above has an arm for each outcome, and as many as ALL has.
    for outcome in Outcome::ALL {
        let code = outcome.spec().code;
        let snake = |b: u8| b.is_ascii_lowercase() || b == b'_';
        assert!(code.bytes().all(snake) && !code.starts_with('_'), "{code}");
        // The code is the variant's name.
        let camel: String = code
            .split('_')
            .map(|word| {
                let (head, tail) = word.split_at(1);
                head.to_uppercase() + tail
            })
            .collect();
        assert_eq!(camel, format!("{outcome:?}"));
    }
}

#[test]
fn only_what_is_in_safe_hands_is_acknowledged_and_what_it_may_lack_is_a_5xx() {
    for outcome in Outcome::ALL {
        let status = outcome.spec().status;
        let class = match reached(outcome) {
            Reached::Destination | Reached::DeadLetters => 200..=299,
            Reached::Sender => 200..=200,
            Reached::Nothing => 400..=499,
            Reached::Limbo => 500..=599,
            Reached::Message => 0..=0,
        };
        assert!(class.contains(&status), "{outcome:?} answers {status}");
    }
}

#[test]
fn whoever_is_told_to_come_back_is_told_by_a_5xx_and_every_503_says_when() {
    for outcome in Outcome::ALL {
        let spec = outcome.spec();
        if spec.retry_after.is_some() {
            let of_message = reached(outcome) == Reached::Message;
            assert!(spec.status >= 500 || of_message, "{outcome:?}");
        }
        if spec.status == 503 {
            assert!(spec.retry_after.is_some(), "{outcome:?}");
        }
    }
}

#[test]
fn what_somebody_has_to_look_at_is_an_error_in_the_log() {
    for outcome in Outcome::ALL {
        let level = outcome.spec().level;
        match reached(outcome) {
            Reached::Destination | Reached::Sender => {
                assert_eq!(level, Level::Info, "{outcome:?}");
            }
            // Another request holds the event: that is as it should be.
            _ if outcome == Outcome::InFlight => assert_eq!(level, Level::Info),
            // Whose body it was isn't known.
            _ if outcome == Outcome::BodyIncomplete => assert_eq!(level, Level::Warn),
            // That is the good end of it.
            _ if outcome == Outcome::CallbackMet => assert_eq!(level, Level::Info),
            // On purpose, and to be seen all the same.
            _ if outcome == Outcome::Withheld => assert_eq!(level, Level::Warn),
            // Authentic requests that come too late are a clock or a retry gone wrong.
            _ if outcome == Outcome::TimestampOutOfTolerance => assert_eq!(level, Level::Error),
            Reached::Nothing => assert_eq!(level, Level::Warn, "{outcome:?}"),
            Reached::Limbo | Reached::DeadLetters | Reached::Message => {
                assert_eq!(level, Level::Error, "{outcome:?}");
            }
        }
    }
}

#[test]
fn a_message_is_done_with_when_it_is_in_other_hands_and_not_before() {
    use Outcome as O;
    let settled: Vec<Outcome> = Outcome::ALL
        .into_iter()
        .filter(|o| o.is_settled())
        .collect();
    let expected = [
        O::Delivered,
        O::Enqueued,
        O::DeadLettered,
        O::Withheld,
        O::CallbackMet,
        O::Duplicate,
        O::DeadLetterKept,
    ];
    assert_eq!(settled, expected);
}

#[test]
fn only_lines_that_anybody_can_bring_about_are_rationed() {
    for outcome in Outcome::ALL {
        if outcome.is_cheap() {
            let of_stranger = reached(outcome) == Reached::Nothing;
            // Nobody has looked at a signature by then.
            let unread = [
                Outcome::BodyIncomplete,
                Outcome::Overloaded,
                Outcome::SourceMisconfigured,
            ];
            let level = outcome.spec().level;
            if unread.contains(&outcome) {
                assert_ne!(level, Level::Info, "{outcome:?}");
            } else {
                assert!(of_stranger, "{outcome:?}");
                assert_eq!(level, Level::Warn, "{outcome:?}");
            }
        }
    }
    for outcome in [Outcome::Overloaded, Outcome::SourceMisconfigured] {
        assert!(outcome.is_cheap(), "{outcome:?}");
    }
    // Somebody who has the key is no stranger.
    assert!(!Outcome::TimestampOutOfTolerance.is_cheap());
}

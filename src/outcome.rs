//! How a request can end: one table from outcome to status, code and log level.

use std::time::Duration;

/// How serious it is, for whoever reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody's fault, not ours and not the operator's.
    Warn,
    /// Somebody has to do something.
    Error,
}

impl Level {
    /// As it stands in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How one request ended. The code of each is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin has it, and so much is remembered.
    Delivered,
    /// It is in a queue: a customer's, or ours.
    Enqueued,
    /// Authentic, and not deliverable for good: it is in the dead-letter queue.
    DeadLettered,
    /// A later event has ended its effect: it is kept among the dead letters, and not handed on.
    Withheld,
    /// Of a message: the notice that a callback is missing, and one came after all.
    CallbackMet,
    /// It was delivered before.
    Duplicate,
    /// Another request with the same event is under way.
    InFlight,
    /// The sender asked who is there, and its request was authentic.
    ChallengeAnswered,
    /// Not `/hooks/{source}` or `/healthz`.
    PathUnknown,
    /// There is no source of that name.
    SourceUnknown,
    /// Not POST.
    MethodNotAllowed,
    /// The sender documents another content type.
    ContentTypeUnsupported,
    /// The body is larger than the source takes.
    BodyTooLarge,
    /// The body ended early, or took too long.
    BodyIncomplete,
    /// There is no signature header.
    SignatureMissing,
    /// The signature header is not of the scheme's form.
    SignatureMalformed,
    /// No key of the source made the signature.
    SignatureMismatch,
    /// The request comes from an address that isn't the sender's.
    AddressNotAllowed,
    /// The signature holds, and its time is too far from ours.
    TimestampOutOfTolerance,
    /// The origin didn't take it this time.
    DeliveryFailed,
    /// The origin didn't answer in time: it may have it.
    DeliveryTimedOut,
    /// The queue didn't take it.
    EnqueueFailed,
    /// Not deliverable for good, and the dead-letter queue didn't take it.
    DeadLetterFailed,
    /// Whether it was delivered before can't be told now.
    StoreUnavailable,
    /// The number of shards was changed without saying so.
    ShardsChanged,
    /// The source's settings are faulty.
    SourceMisconfigured,
    /// Too many bodies at a time.
    Overloaded,
    /// The gateway itself failed.
    InternalError,
    /// Of a message: the dead letter is kept.
    DeadLetterKept,
    /// Of a message: its queue isn't one of ours.
    QueueUnknown,
    /// Of a message: it can't be opened.
    MessageUnreadable,
    /// Of a message: it travels by reference, and its body isn't there (yet).
    BodyMissing,
}

/// What an outcome looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The HTTP status; 0 for what only messages end as.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// The log level.
    pub level: Level,
    /// `Retry-After`, unless the outcome brings its own.
    pub retry_after: Option<Duration>,
}

const fn spec(status: u16, code: &'static str, level: Level, retry_after: Option<u64>) -> Spec {
    Spec {
        status,
        code,
        level,
        retry_after: match retry_after {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        },
    }
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Delivered,
        Self::Enqueued,
        Self::DeadLettered,
        Self::Withheld,
        Self::CallbackMet,
        Self::Duplicate,
        Self::InFlight,
        Self::ChallengeAnswered,
        Self::PathUnknown,
        Self::SourceUnknown,
        Self::MethodNotAllowed,
        Self::ContentTypeUnsupported,
        Self::BodyTooLarge,
        Self::BodyIncomplete,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureMismatch,
        Self::AddressNotAllowed,
        Self::TimestampOutOfTolerance,
        Self::DeliveryFailed,
        Self::DeliveryTimedOut,
        Self::EnqueueFailed,
        Self::DeadLetterFailed,
        Self::StoreUnavailable,
        Self::ShardsChanged,
        Self::SourceMisconfigured,
        Self::Overloaded,
        Self::InternalError,
        Self::DeadLetterKept,
        Self::QueueUnknown,
        Self::MessageUnreadable,
        Self::BodyMissing,
    ];

    /// The table. What is authentic and not delivered is 5xx, since some senders retry on nothing else; what isn't authentic is 4xx.
    #[rustfmt::skip]
    pub fn spec(self) -> Spec {
        use Level::{Error, Info, Warn};
        match self {
            Self::Delivered               => spec(200, "delivered",                  Info,  None),
            Self::Enqueued                => spec(200, "enqueued",                   Info,  None),
            Self::DeadLettered            => spec(200, "dead_lettered",              Error, None),
            Self::Withheld                => spec(200, "withheld",                   Warn,  None),
            Self::CallbackMet             => spec(0,   "callback_met",               Info,  None),
            Self::Duplicate               => spec(200, "duplicate",                  Info,  None),
            Self::InFlight                => spec(503, "in_flight",                  Info,  Some(5)),
            Self::ChallengeAnswered       => spec(200, "challenge_answered",         Info,  None),
            Self::PathUnknown             => spec(404, "path_unknown",               Warn,  None),
            Self::SourceUnknown           => spec(404, "source_unknown",             Warn,  None),
            Self::MethodNotAllowed        => spec(405, "method_not_allowed",         Warn,  None),
            Self::ContentTypeUnsupported  => spec(415, "content_type_unsupported",   Warn,  None),
            Self::BodyTooLarge            => spec(413, "body_too_large",             Warn,  None),
            Self::BodyIncomplete          => spec(503, "body_incomplete",            Warn,  Some(5)),
            Self::SignatureMissing        => spec(401, "signature_missing",          Warn,  None),
            Self::SignatureMalformed      => spec(401, "signature_malformed",        Warn,  None),
            Self::SignatureMismatch       => spec(401, "signature_mismatch",         Warn,  None),
            Self::AddressNotAllowed       => spec(403, "address_not_allowed",        Warn,  None),
            Self::TimestampOutOfTolerance => spec(401, "timestamp_out_of_tolerance", Error, None),
            Self::DeliveryFailed          => spec(502, "delivery_failed",            Error, None),
            Self::DeliveryTimedOut        => spec(504, "delivery_timed_out",         Error, Some(15)),
            Self::EnqueueFailed           => spec(503, "enqueue_failed",             Error, Some(5)),
            Self::DeadLetterFailed        => spec(503, "dead_letter_failed",         Error, Some(5)),
            Self::StoreUnavailable        => spec(503, "store_unavailable",          Error, Some(5)),
            Self::ShardsChanged           => spec(503, "shards_changed",             Error, Some(60)),
            Self::SourceMisconfigured     => spec(503, "source_misconfigured",       Error, Some(60)),
            Self::Overloaded              => spec(503, "overloaded",                 Error, Some(1)),
            Self::InternalError           => spec(503, "internal_error",             Error, Some(5)),
            Self::DeadLetterKept          => spec(0,   "dead_letter_kept",           Error, None),
            Self::QueueUnknown            => spec(0,   "queue_unknown",              Error, Some(60)),
            Self::MessageUnreadable       => spec(0,   "message_unreadable",         Error, Some(60)),
            Self::BodyMissing             => spec(0,   "body_missing",               Error, Some(60)),
        }
    }

    /// Whether a message that ended like this is done with. Everything else is tried again.
    pub fn is_settled(self) -> bool {
        use Outcome::{
            CallbackMet, DeadLetterKept, DeadLettered, Delivered, Duplicate, Enqueued, Withheld,
        };
        let settled = [
            Delivered,
            Duplicate,
            Enqueued,
            DeadLettered,
            Withheld,
            CallbackMet,
            DeadLetterKept,
        ];
        settled.contains(&self)
    }

    /// Whether anybody at all can bring it about, as often as he likes: such lines are rationed.
    pub fn is_cheap(self) -> bool {
        matches!(
            self,
            Self::PathUnknown
                | Self::SourceUnknown
                | Self::MethodNotAllowed
                | Self::ContentTypeUnsupported
                | Self::BodyTooLarge
                | Self::BodyIncomplete
                | Self::Overloaded
                | Self::SourceMisconfigured
                | Self::SignatureMissing
                | Self::SignatureMalformed
                | Self::SignatureMismatch
                | Self::AddressNotAllowed
        )
    }
}

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
    /// It was delivered before.
    Duplicate,
    /// Another request with the same event is under way.
    InFlight,
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
    /// The signature holds, and its time is too far from ours.
    TimestampOutOfTolerance,
    /// Authentic, and not JSON within the limits.
    BodyMalformed,
    /// Authentic, and a required field is missing or of the wrong type.
    EventInvalid,
    /// Authentic, and of another environment than the source.
    EnvironmentMismatch,
    /// Authentic, and of another account than the source's.
    ProviderMismatch,
    /// The origin won't take it, however often it is sent.
    DeliveryRejected,
    /// The origin didn't take it this time.
    DeliveryFailed,
    /// The origin didn't answer in time: it may have it.
    DeliveryTimedOut,
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
}

/// What an outcome looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The HTTP status.
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
    pub const ALL: [Self; 25] = [
        Self::Delivered,
        Self::Duplicate,
        Self::InFlight,
        Self::PathUnknown,
        Self::SourceUnknown,
        Self::MethodNotAllowed,
        Self::ContentTypeUnsupported,
        Self::BodyTooLarge,
        Self::BodyIncomplete,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureMismatch,
        Self::TimestampOutOfTolerance,
        Self::BodyMalformed,
        Self::EventInvalid,
        Self::EnvironmentMismatch,
        Self::ProviderMismatch,
        Self::DeliveryRejected,
        Self::DeliveryFailed,
        Self::DeliveryTimedOut,
        Self::StoreUnavailable,
        Self::ShardsChanged,
        Self::SourceMisconfigured,
        Self::Overloaded,
        Self::InternalError,
    ];

    /// The table. What is authentic and not delivered is 5xx, since some senders retry on nothing else; what isn't authentic is 4xx.
    #[rustfmt::skip]
    pub fn spec(self) -> Spec {
        use Level::{Error, Info, Warn};
        match self {
            Self::Delivered               => spec(200, "delivered",                  Info,  None),
            Self::Duplicate               => spec(200, "duplicate",                  Info,  None),
            Self::InFlight                => spec(503, "in_flight",                  Info,  Some(5)),
            Self::PathUnknown             => spec(404, "path_unknown",               Warn,  None),
            Self::SourceUnknown           => spec(404, "source_unknown",             Warn,  None),
            Self::MethodNotAllowed        => spec(405, "method_not_allowed",         Warn,  None),
            Self::ContentTypeUnsupported  => spec(415, "content_type_unsupported",   Warn,  None),
            Self::BodyTooLarge            => spec(413, "body_too_large",             Warn,  None),
            Self::BodyIncomplete          => spec(503, "body_incomplete",            Warn,  Some(5)),
            Self::SignatureMissing        => spec(401, "signature_missing",          Warn,  None),
            Self::SignatureMalformed      => spec(401, "signature_malformed",        Warn,  None),
            Self::SignatureMismatch       => spec(401, "signature_mismatch",         Warn,  None),
            Self::TimestampOutOfTolerance => spec(401, "timestamp_out_of_tolerance", Error, None),
            Self::BodyMalformed           => spec(500, "body_malformed",             Error, None),
            Self::EventInvalid            => spec(500, "event_invalid",              Error, None),
            Self::EnvironmentMismatch     => spec(500, "environment_mismatch",       Error, None),
            Self::ProviderMismatch        => spec(500, "provider_mismatch",          Error, None),
            Self::DeliveryRejected        => spec(502, "delivery_rejected",          Error, None),
            Self::DeliveryFailed          => spec(502, "delivery_failed",            Error, None),
            Self::DeliveryTimedOut        => spec(504, "delivery_timed_out",         Error, Some(15)),
            Self::StoreUnavailable        => spec(503, "store_unavailable",          Error, Some(5)),
            Self::ShardsChanged           => spec(503, "shards_changed",             Error, Some(60)),
            Self::SourceMisconfigured     => spec(503, "source_misconfigured",       Error, Some(60)),
            Self::Overloaded              => spec(503, "overloaded",                 Error, Some(1)),
            Self::InternalError           => spec(503, "internal_error",             Error, Some(5)),
        }
    }
}

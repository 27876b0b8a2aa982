//! Senders whose schemes are known: data, each with the document that it is from. Settings may change any of it.

use std::time::Duration;

use super::RetryPolicy;
use crate::auth::scheme::Settings;

/// What is known of a sender by its name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name in the settings, and `rxprovider`.
    pub name: &'static str,
    /// Where it is documented.
    pub source: &'static str,
    /// How it signs.
    pub scheme: Settings<'static>,
    /// Where its events say what.
    pub event: EventSettings<'static>,
    /// What it does with an event that wasn't taken.
    pub retry: RetryPolicy,
    /// Whether it asks who is there before it sends events.
    pub challenges: bool,
}

/// Where an event says what: `/a/pointer`, or `header:<name>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventSettings<'a> {
    /// The event id.
    pub id: Option<&'a str>,
    /// The event type.
    pub r#type: Option<&'a str>,
    /// When it happened.
    pub time: Option<&'a str>,
    /// What it is about.
    pub subject: Option<&'a str>,
}

const NO_EVENT: EventSettings<'static> = EventSettings {
    id: None,
    r#type: None,
    time: None,
    subject: None,
};

const NO_SCHEME: Settings<'static> = Settings {
    algorithm: Some("hmac-sha256"),
    header: None,
    prefix: None,
    separator: None,
    encoding: None,
    signed: None,
    timestamp_header: None,
    timestamp_prefix: None,
    timestamp_unit: None,
    timestamp_copy_header: None,
    id_header: None,
    key_encoding: None,
    api_key_header: None,
};

const fn for_hours(hours: u64) -> RetryPolicy {
    RetryPolicy::Documented {
        horizon: Duration::from_secs(hours * 3600),
    }
}

const STANDARD_WEBHOOKS: Settings<'static> = Settings {
    header: Some("webhook-signature"),
    prefix: Some("v1,"),
    separator: Some(" "),
    encoding: Some("base64"),
    signed: Some("{id}.{timestamp}.{body}"),
    timestamp_header: Some("webhook-timestamp"),
    id_header: Some("webhook-id"),
    key_encoding: Some("whsec"),
    ..NO_SCHEME
};

/// All of them.
pub const PRESETS: [Preset; 11] = [
    Preset {
        name: "standard-webhooks",
        source: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        scheme: STANDARD_WEBHOOKS,
        event: EventSettings {
            id: Some("header:webhook-id"),
            r#type: Some("/type"),
            time: Some("/timestamp"),
            subject: None,
        },
        // It recommends retries over days; whether a sender does that, it doesn't say.
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
    Preset {
        name: "standard-webhooks-v1a",
        source: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        scheme: Settings {
            algorithm: Some("ed25519"),
            prefix: Some("v1a,"),
            key_encoding: Some("whpk"),
            ..STANDARD_WEBHOOKS
        },
        event: EventSettings {
            id: Some("header:webhook-id"),
            r#type: Some("/type"),
            time: Some("/timestamp"),
            subject: None,
        },
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
    Preset {
        name: "svix",
        source: "https://docs.svix.com/receiving/verifying-payloads/how-manual, https://docs.svix.com/retries",
        scheme: Settings {
            header: Some("svix-signature"),
            timestamp_header: Some("svix-timestamp"),
            id_header: Some("svix-id"),
            ..STANDARD_WEBHOOKS
        },
        event: EventSettings {
            id: Some("header:svix-id"),
            r#type: Some("/type"),
            ..NO_EVENT
        },
        // 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h after each other.
        retry: for_hours(28),
        challenges: false,
    },
    Preset {
        name: "stripe",
        source: "https://docs.stripe.com/webhooks",
        scheme: Settings {
            header: Some("stripe-signature"),
            prefix: Some("v1="),
            separator: Some(","),
            signed: Some("{timestamp}.{body}"),
            timestamp_prefix: Some("t="),
            ..NO_SCHEME
        },
        event: EventSettings {
            id: Some("/id"),
            r#type: Some("/type"),
            time: Some("/created"),
            subject: None,
        },
        retry: for_hours(72),
        challenges: false,
    },
    Preset {
        name: "github",
        source: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries, …/handling-failed-webhook-deliveries",
        scheme: Settings {
            header: Some("x-hub-signature-256"),
            prefix: Some("sha256="),
            ..NO_SCHEME
        },
        // X-GitHub-Delivery and X-GitHub-Event aren't signed.
        event: EventSettings {
            r#type: Some("/action"),
            ..NO_EVENT
        },
        // "GitHub does not automatically redeliver failed deliveries."
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
    Preset {
        name: "shopify",
        source: "https://shopify.dev/docs/apps/build/webhooks/verify-deliveries",
        scheme: Settings {
            header: Some("x-shopify-hmac-sha256"),
            encoding: Some("base64"),
            ..NO_SCHEME
        },
        // X-Shopify-Webhook-Id and X-Shopify-Topic aren't signed.
        event: NO_EVENT,
        // Eight times over four hours.
        retry: for_hours(4),
        challenges: false,
    },
    Preset {
        name: "slack",
        source: "https://docs.slack.dev/authentication/verifying-requests-from-slack, https://docs.slack.dev/apis/events-api",
        scheme: Settings {
            header: Some("x-slack-signature"),
            prefix: Some("v0="),
            signed: Some("v0:{timestamp}:{body}"),
            timestamp_header: Some("x-slack-request-timestamp"),
            ..NO_SCHEME
        },
        event: EventSettings {
            id: Some("/event_id"),
            r#type: Some("/event/type"),
            time: Some("/event_time"),
            subject: None,
        },
        // At once, after a minute, after five.
        retry: for_hours(1),
        challenges: true,
    },
    Preset {
        name: "photon",
        source: "https://docs.photon.health/docs/webhook-signature-verification, …/docs/webhooks",
        scheme: Settings {
            header: Some("x-photon-signature"),
            ..NO_SCHEME
        },
        // X-Photon-Timestamp isn't signed.
        event: EventSettings {
            id: Some("/id"),
            r#type: Some("/type"),
            time: Some("/time"),
            subject: None,
        },
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
    Preset {
        name: "osigu-payer",
        source: "https://developers.osigu.com/docs/introduction",
        scheme: Settings {
            header: Some("x-osigu-signature"),
            ..NO_SCHEME
        },
        event: NO_EVENT,
        // It retries up to a limit that isn't named.
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
    Preset {
        name: "osigu-prescription-notifications",
        source: "Osigu's prescription notifications (no public page was found): the names of its two headers",
        scheme: Settings {
            header: Some("x-signature"),
            api_key_header: Some("x-api-key"),
            ..NO_SCHEME
        },
        event: NO_EVENT,
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
    Preset {
        name: "osigu-dvs",
        source: "Osigu's DVS (no public page was found): the names of its two headers, and that the two times have to be the same",
        scheme: Settings {
            header: Some("x-dvs-signature"),
            prefix: Some("v1="),
            separator: Some(","),
            signed: Some("{timestamp}.{body}"),
            timestamp_prefix: Some("t="),
            timestamp_copy_header: Some("x-dvs-signature-timestamp"),
            ..NO_SCHEME
        },
        event: NO_EVENT,
        retry: RetryPolicy::Unknown,
        challenges: false,
    },
];

/// The preset of that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

//! The log record of a request: an allow-list. What isn't a field here can't be logged.
//!
//! No field carries a body, a header, an id of the sender's, or text that a sender chose, but for an event type of the usual form.

use serde::Serialize;

/// One line of the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Record {
    /// `info`, `warn`, `error`.
    pub level: &'static str,
    /// How it ended.
    pub code: &'static str,
    /// What was answered.
    pub status: u16,
    /// From receipt to answer.
    pub duration_ms: i64,
    /// The source, if there is one of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The kind of sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
    /// The size of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<usize>,
    /// The key that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Our clock minus the sender's, in seconds, where it is out of tolerance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew_seconds: Option<i64>,
    /// The sender's event type, if it is of the usual form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The canonical type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<&'static str>,
    /// Why it is `rx.unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<&'static str>,
    /// The hash that names the event to the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// The hash that names the entity in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The event's sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "is_zero")]
    pub notes: usize,
    /// What is wrong with the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
    /// Where, by known field names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it was delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What the origin answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_status: Option<u16>,
    /// What came of the commit, unless it is what should: `commit_failed`, `lease_lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<&'static str>,
    /// What came of the release, unless it is what should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<&'static str>,
    /// The number of shards that is recorded, where the setting contradicts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_shards: Option<u32>,
    /// How long the next change of it has to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    /// Calls to the entity's object.
    #[serde(skip_serializing_if = "is_zero")]
    pub store_calls: usize,
    /// Rows that they read.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_read: usize,
    /// Rows that they wrote.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_written: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Record {
    /// Takes the event type if it looks like one: lower-case words with dots between them.
    pub fn set_event_type(&mut self, text: &str) {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        if text.len() <= 64 && text.split('.').count() <= 3 && text.split('.').all(word) {
            self.event_type = Some(text.to_owned());
        }
    }
}

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
    /// What was answered; not there for messages and the cron.
    #[serde(skip_serializing_if = "is_none")]
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
    pub r#type: Option<String>,
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
    /// How the event stands in the order of its entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<&'static str>,
    /// Known fields of another type than documented.
    #[serde(skip_serializing_if = "is_zero")]
    pub notes: usize,
    /// Why it is a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Which attempt of a message it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u16>,
    /// `unknown`: it may have been delivered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<&'static str>,
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
    /// This line stands for so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<u16>,
    /// The dead letter that an operator's call was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// How many dead letters a call was about, or are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    /// How many of those that are kept were withheld on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<u64>,
    /// How many of the others weren't redelivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// How long ago the oldest of those was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<u64>,
    /// How many expected callbacks are overdue, and nobody was told yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overdue: Option<u64>,
    /// What came of the alert: `sent`, `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<&'static str>,
    /// Calls to objects.
    #[serde(skip_serializing_if = "is_zero")]
    pub store_calls: usize,
    /// Rows that they read.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_read: usize,
    /// Rows that they wrote.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_written: usize,
    /// Reads of KV.
    #[serde(skip_serializing_if = "is_zero")]
    pub kv_reads: usize,
    /// Writes of KV.
    #[serde(skip_serializing_if = "is_zero")]
    pub kv_writes: usize,
    /// Messages sent to queues.
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_sent: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_none(status: &u16) -> bool {
    *status == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Record {
    /// Adds what `other` cost.
    pub fn add_costs(&mut self, other: &Self) {
        self.store_calls += other.store_calls;
        self.rows_read += other.rows_read;
        self.rows_written += other.rows_written;
        self.kv_reads += other.kv_reads;
        self.kv_writes += other.kv_writes;
        self.messages_sent += other.messages_sent;
    }

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

//! What a shell has to be able to do, and how it tells what came of it.

use std::fmt;
use std::time::Duration;

use crate::entity;
use crate::record::Record;

/// What the shell must do next. In the Worker each is one crossing between JavaScript and wasm.
#[must_use]
#[derive(Debug)]
pub enum Effect {
    /// Ask an entity's object: claim, commit, release, move, layout. It owes: [`entity::serve`], durable before it replies.
    Ask {
        /// The object's name.
        object: String,
        /// The question.
        request: entity::Request,
        /// How long to wait.
        timeout: Duration,
    },
    /// POST to an origin. It owes: no redirect followed, the status line only, the connection given up at the timeout.
    Deliver(Box<Delivery>),
    /// Read from KV. It owes: what was put under the key, or that nothing is there; both may be a minute old, or more.
    Get {
        /// The key.
        key: String,
        /// How long to wait.
        timeout: Duration,
    },
    /// Write to KV. It owes: stored when it says so.
    Put(Box<Put>),
    /// Send to a queue. It owes: written to disk when it says so.
    Enqueue(Box<Enqueue>),
    /// Ask a rate limit. It owes: nothing but a guess.
    Limit {
        /// What is counted under.
        key: String,
    },
    /// The end of a request: the sender's answer, and one line of the log, or none.
    Answer(Box<(Answer, Option<Record>)>),
    /// The end of a message, or of the cron: what becomes of it, and one line of the log.
    Settle(Box<(Verdict, Record)>),
}

/// Something to write to KV.
pub struct Put {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// How long it is kept.
    pub kept: Duration,
    /// How long to wait.
    pub timeout: Duration,
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("kept", &self.kept)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A message to send.
#[derive(Clone)]
pub struct Enqueue {
    /// The binding of the queue.
    pub queue: String,
    /// The message.
    pub body: Vec<u8>,
    /// Whether it is text, or bytes.
    pub text: bool,
    /// How long it is held back.
    pub delay: Duration,
    /// How long to wait for the queue's word.
    pub timeout: Duration,
}

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue")
            .field("queue", &self.queue)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("text", &self.text)
            .field("delay", &self.delay)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with.
    Ack,
    /// It is to come again, after so long.
    Retry(Duration),
}

/// A request to an origin. `Debug` shows neither its body nor the values of its headers.
pub struct Delivery {
    /// Where to.
    pub url: String,
    /// With these headers.
    pub headers: Vec<(String, String)>,
    /// And this body.
    pub body: Vec<u8>,
    /// How long to wait.
    pub timeout: Duration,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Delivery")
            .field("url", &self.url)
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What came of an effect.
#[derive(Debug)]
pub enum Done<'a> {
    /// The object's reply; what is in KV.
    Replied(&'a [u8]),
    /// The origin's answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its `Retry-After` header.
        retry_after: Option<&'a str>,
    },
    /// It is done; under the limit.
    Ok,
    /// Nothing is in KV under that key.
    Absent,
    /// Over the limit.
    Limited,
    /// It failed.
    Failed,
    /// It wasn't done in time: it may have happened or not, and may still.
    TimedOut,
}

/// What the sender gets, or an operator. `Debug` doesn't show its body: that may be a dead letter.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `Allow`, where the method is the wrong one.
    pub allow: Option<&'static str>,
    /// A JSON object: the code, and the event id once authenticated.
    pub body: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

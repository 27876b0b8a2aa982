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
    /// The end: the sender's answer, and one line of the log.
    Answer(Box<(Answer, Record)>),
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
    /// The object's reply.
    Replied(&'a [u8]),
    /// The origin's answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its `Retry-After` header.
        retry_after: Option<&'a str>,
    },
    /// It failed.
    Failed,
    /// It wasn't done in time: it may have happened or not, and may still.
    TimedOut,
}

/// What the sender gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// A JSON object: the code, and the event id once authenticated.
    pub body: String,
}

//! Getting an event to a destination: who gets it, how the request looks, what its outcome means.

mod backoff;
mod classify;
mod request;
mod route;
mod target;

pub use backoff::{MAX_AGE, MAX_ATTEMPTS, MAX_DELAY, backoff};
pub use classify::{Fate, PERMANENT_STATUSES, classify};
pub use request::{Format, MAX_SIGNING_KEYS, SigningKey, SigningKeyFault, SigningKeys, webhook_id};
pub use route::{Pattern, Route, choose};
pub use target::{TargetFault, check_target};

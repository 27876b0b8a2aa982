//! rxgate: a webhook gateway for pharmacy systems that runs at the edge.
//!
//! The way of an event: a request comes in as [`inbound::Inbound`] → [`auth`] makes it [`auth::Verified`] → [`provider`] decodes, validates and normalises it into a
//! canonical [`event`] → [`entity`] grants the claim → [`delivery`] gets it to a destination → the claim is committed, or released → [`outcome`] says what the sender is
//! answered. [`machine::Machine`] is that way; it does no I/O. The Worker's shell performs its [`effect`]s.

pub mod auth;
pub mod by_name;
mod bytes;
pub mod config;
pub mod delivery;
pub mod effect;
pub mod entity;
pub mod entropy;
pub mod event;
pub mod expectation;
pub mod inbound;
pub mod letters;
pub mod machine;
pub mod operator;
pub mod outcome;
pub mod parcel;
pub mod provider;
pub mod record;
pub mod time;

pub use rxgate_json as json;

#[cfg(feature = "js")]
pub mod js;
#[cfg(all(feature = "worker", target_arch = "wasm32"))]
mod worker;

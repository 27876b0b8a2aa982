//! The native suites, one binary. A test's name is the sentence that it shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed; the settings for tests don't reach their helpers"
)]

mod auth;
mod configuration;
mod configured;
mod debug_output;
mod decode;
mod driver;
mod entity;
mod evitalrx;
mod expectations;
mod json;
mod kv;
mod letters;
mod lifecycle;
mod operator;
mod order;
mod osigu;
mod outcomes;
mod phi;
mod phil_callback;
mod queue;
mod rounds;
#[cfg(feature = "schema")]
mod schemas;
mod slow;
mod support;
mod types;
mod unsigned;

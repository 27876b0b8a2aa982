//! What is fuzzed, each a function of any bytes, which panics where something doesn't hold. libFuzzer runs them by `fuzz_targets/`; `tests/smoke.rs` runs them on a stable compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a target says what it found"
)]

mod binary;
mod configuration;
mod headers;
mod schemes;
mod senders;
#[allow(dead_code, reason = "the native tests use more of it")]
#[path = "../../tests/it/slow.rs"]
mod slow;
mod source;

pub use binary::binary;
pub use configuration::configuration;
pub use headers::headers;
pub use schemes::schemes;
pub use senders::{configured, evitalrx, osigu, phil_callback};

/// Any bytes.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 8] = [
    ("headers", headers),
    ("schemes", schemes),
    ("configuration", configuration),
    ("osigu", osigu),
    ("evitalrx", evitalrx),
    ("phil_callback", phil_callback),
    ("configured", configured),
    ("binary", binary),
];

/// The longest input. A body's limits are tested elsewhere.
pub const MAX_LEN: usize = 4096;

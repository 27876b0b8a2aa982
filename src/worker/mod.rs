//! The Worker's side of the boundary: the machine's exports, and the Durable Object. Drivers only: what is decided, is decided in the core.

mod edge;
mod entity_object;
#[cfg(feature = "test-hooks")]
mod hooks;

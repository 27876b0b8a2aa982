//! JSON Schemas of the canonical events, generated from the types.

//! From verified bytes to the canonical event.

mod canonical;
mod decode;
mod fields;
pub mod phi;
mod pointer;
#[cfg(feature = "schema")]
pub mod schema;

pub use canonical::{
    Account, Attributes, AuthorizationData, Change, Claimed, ConfiguredData, Data, Diagnosis,
    DispenseData, Entity, Item, Notification, Patient, Pharmacy, Placement, Prepared, Prescriber,
    PrescriptionData, Reason, SCHEMA_VERSION, SettlementClaim, SettlementData, Sponsor, State,
    Total, UnknownData,
};
pub use decode::{Document, MAX_DEPTH, Malformed, Object, decode};
pub use fields::{Fields, Invalid, MAX_ELEMENTS, MAX_NOTES, Note, Notes};
pub(crate) use fields::{fits_attribute, read_text};
pub use pointer::{MAX_POINTER_BYTES, MAX_POINTER_STEPS, Pointer};

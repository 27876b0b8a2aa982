//! From verified bytes to the canonical event.

mod canonical;
mod decode;
mod fields;
pub mod phi;
mod pointer;
#[cfg(feature = "schema")]
pub mod schema;

pub(crate) use canonical::round_suffix;
pub use canonical::{
    Account, Address, Attributes, AuthorizationData, Bill, CallbackMissingData, Change, Claimed,
    ConfiguredData, Data, Diagnosis, DispenseData, Entity, Item, Notification, OrderData,
    OrderDelivery, Patient, Payment, Person, Pharmacy, Placement, Prepared, Prescriber,
    PrescriptionData, Reason, SCHEMA_VERSION, SettlementClaim, SettlementData, Sponsor, State,
    Total, TransferData, UnknownData,
};
pub(crate) use decode::sorted_form;
pub use decode::{Document, MAX_DEPTH, Malformed, decode};
pub(crate) use fields::fits_attribute;
pub use fields::{Fields, Invalid, MAX_ELEMENTS, MAX_NOTES, Note, Notes};
pub use pointer::{MAX_POINTER_BYTES, MAX_POINTER_STEPS, Pointer};

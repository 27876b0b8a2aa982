//! JSON Schemas (2020-12) of the canonical events, generated from the types that write them.
//!
//! What is always written is required, what isn't known is left out and never null, and more may be added to any object: that is no new version.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::State::{
    Accepted, Approved, Assigned, Confirmed, Delivered, DigitizationRejected, Digitized, Failed,
    InFlight, Issued, Paid, PartiallyAccepted, PickedUp, Received, Redeemable, Redeemed, Rejected,
    Shipped, Voided,
};
use super::phi::{PSEUDONYM_PATTERN, Variant};
use super::{
    Attributes, AuthorizationData, CallbackMissingData, ConfiguredData, DispenseData, OrderData,
    Placement, PrescriptionData, SettlementData, State, TransferData, UnknownData,
};
use crate::provider::configured::CONFIGURED_SCHEMA;

/// Says of which class a property is.
const CLASS: &str = "x-class";

/// The canonical types. Each has a schema of its own.
pub const TYPES: [&str; 29] = [
    "rx.authorization.approved",
    "rx.authorization.rejected",
    "rx.authorization.updated",
    "rx.authorization.voided",
    "rx.dispense.started",
    "rx.dispense.completed",
    "rx.dispense.cancelled",
    "rx.prescription.issued",
    "rx.prescription.notification_delivered",
    "rx.prescription.notification_failed",
    "rx.settlement.paid",
    "rx.settlement.rejected",
    "rx.settlement.partially_accepted",
    "rx.unknown",
    CONFIGURED_SCHEMA,
    "rx.order.digitized",
    "rx.order.digitization_rejected",
    "rx.order.assigned",
    "rx.order.accepted",
    "rx.order.rejected",
    "rx.order.reassigned",
    "rx.order.shipped",
    "rx.order.picked_up",
    "rx.order.delivered",
    "rx.order.split",
    "rx.transfer.received",
    "rx.transfer.confirmed",
    "rx.transfer.failed",
    "rx.transfer.callback_missing",
];

/// The schema of a canonical type's whole event, as `variant` of a source's `phi` leaves it; `None` if there is no such type.
pub fn schema(canonical_type: &str, variant: Variant) -> Option<Value> {
    let canonical_type = TYPES.into_iter().find(|known| *known == canonical_type)?;
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let generator = &mut generator;
    let mut event = part::<Attributes<'static>>(generator);
    let placement = part::<Placement>(generator);
    merge(&mut event, "properties", placement.get("properties"));
    merge(&mut event, "required", placement.get("required"));

    let entity = canonical_type.split('.').nth(1).unwrap_or_default();
    let (mut data, states): (_, &[State]) = match entity {
        "authorization" => (
            part::<AuthorizationData<'static>>(generator),
            &[Approved, Rejected, Voided],
        ),
        "dispense" => (
            part::<DispenseData<'static>>(generator),
            &[Redeemable, InFlight, Redeemed],
        ),
        "prescription" => (part::<PrescriptionData<'static>>(generator), &[Issued]),
        "settlement" => (
            part::<SettlementData<'static>>(generator),
            &[Paid, Rejected, PartiallyAccepted],
        ),
        "configured" => (part::<ConfiguredData<'static>>(generator), &[]),
        "order" => (
            part::<OrderData<'static>>(generator),
            &[
                Digitized,
                DigitizationRejected,
                Assigned,
                Accepted,
                Rejected,
                Shipped,
                PickedUp,
                Delivered,
            ],
        ),
        "transfer" if canonical_type == "rx.transfer.callback_missing" => (
            part::<CallbackMissingData<'static>>(generator),
            &[Received, Confirmed, Failed],
        ),
        "transfer" => (
            part::<TransferData<'static>>(generator),
            &[Received, Confirmed, Failed],
        ),
        _ => (part::<UnknownData<'static>>(generator), &[]),
    };
    if !states.is_empty() {
        let state = json!({
            "description": "The entity's state after all that has been claimed so far.",
            "enum": states,
        });
        merge(&mut data, "properties", Some(&json!({ "state": state })));
        let about = json!({ "properties": { "type": { "const": entity } } });
        refine(&mut data, "entity", &about);
        refine(
            &mut event,
            "subject",
            &json!({ "pattern": format!("^{entity}/") }),
        );
        merge(&mut event, "required", Some(&json!(["subject"])));
    }

    let urn = variant.urn(canonical_type);
    if canonical_type == CONFIGURED_SCHEMA {
        // One schema for all types that settings name.
        let word = "[a-z][a-z0-9_]*";
        let of = json!({ "pattern": format!("^rx[.]{word}[.]{word}$") });
        refine(&mut event, "type", &of);
        let about = json!({ "pattern": format!("^{word}/") });
        refine(&mut event, "subject", &about);
    } else {
        refine(&mut event, "type", &json!({ "const": canonical_type }));
    }
    refine(&mut event, "dataschema", &json!({ "const": urn }));
    let framed = json!({ "specversion": { "const": "1.0" }, "data": data });
    merge(&mut event, "properties", Some(&framed));
    merge(
        &mut event,
        "required",
        Some(&json!(["specversion", "data"])),
    );
    event.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    event.insert("$id".to_owned(), json!(urn));
    event.insert("title".to_owned(), json!(canonical_type));
    event.insert(
        "description".to_owned(),
        json!("A CloudEvents 1.0 event in structured mode, as a destination receives it."),
    );
    event.insert(
        "$defs".to_owned(),
        Value::Object(generator.take_definitions(true)),
    );
    let mut event = Value::Object(event);
    never_null(&mut event);
    classify(&mut event, canonical_type, entity);
    redact(&mut event, variant);
    Some(event)
}

/// What the types can't say, since several canonical types share them.
fn classify(event: &mut Value, canonical_type: &str, entity: &str) {
    // Only a `phi` that drops it leaves it out.
    at(event, "/$defs/Entity/required", |required| {
        if let Value::Array(names) = required {
            names.push(json!("id"));
        }
    });
    let settlement = entity == "settlement";
    let unclassed = [
        ("/$defs/Entity/properties/id", settlement),
        ("/properties/subject", settlement),
        // It is the sponsor's `rejection_reason`, which stays as it is.
        (
            "/$defs/Reason/properties/text",
            settlement || canonical_type == "rx.authorization.rejected",
        ),
    ];
    for (pointer, _) in unclassed.into_iter().filter(|(_, unclassed)| *unclassed) {
        at(event, pointer, |property| {
            property
                .as_object_mut()
                .map(|members| members.remove(CLASS));
        });
    }
}

fn at(event: &mut Value, pointer: &str, change: impl FnOnce(&mut Value)) {
    if let Some(value) = event.pointer_mut(pointer) {
        change(value);
    }
}

/// What `variant` makes of the properties that are of a class.
fn redact(event: &mut Value, variant: Variant) {
    redact_below(event, variant);
    at(event, "/properties/data", |data| {
        let Value::Object(data) = data else { return };
        if variant != Variant::Pass {
            merge(data, "required", Some(&json!(["redacted"])));
        } else if let Some(Value::Object(properties)) = data.get_mut("properties") {
            properties.remove("redacted");
        }
    });
}

fn redact_below(schema: &mut Value, variant: Variant) {
    let members = match schema {
        Value::Array(values) => {
            for value in values {
                redact_below(value, variant);
            }
            return;
        }
        Value::Object(members) => members,
        _ => return,
    };
    let mut optional = Vec::new();
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, property) in properties {
            if property.get(CLASS).is_none() {
                continue;
            }
            if matches!(variant, Variant::Drop | Variant::Mixed) {
                optional.push(name.clone());
            }
            match (variant, &mut *property) {
                (Variant::Drop, property) => *property = json!(false),
                (Variant::Pseudonym, Value::Object(of)) => {
                    let pattern = pseudonym(name, of);
                    of.insert("pattern".to_owned(), pattern);
                }
                (Variant::Mixed, Value::Object(of)) if name != "subject" => {
                    let pattern = pseudonym(name, of);
                    if let Some(sent) = of.remove("pattern") {
                        let either = json!([{ "pattern": sent }, { "pattern": pattern }]);
                        of.insert("anyOf".to_owned(), either);
                    }
                }
                _ => {}
            }
        }
    }
    if let Some(Value::Array(required)) = members.get_mut("required") {
        required.retain(|name| !optional.iter().any(|optional| name == optional));
    }
    for value in members.values_mut() {
        redact_below(value, variant);
    }
}

/// A subject names the kind of entity before the id.
fn pseudonym(name: &str, property: &Map<String, Value>) -> Value {
    let before = match property.get("pattern").and_then(Value::as_str) {
        Some(pattern) if name == "subject" => pattern,
        _ => "^",
    };
    json!(format!("{before}{PSEUDONYM_PATTERN}$"))
}

/// The schema of one type, as an object.
fn part<T: JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let schema: Schema = T::json_schema(generator);
    schema.as_object().cloned().unwrap_or_default()
}

/// Adds the members of `more` to the object, or its elements to the array, under `key`.
fn merge(schema: &mut Map<String, Value>, key: &str, more: Option<&Value>) {
    match (schema.get_mut(key), more) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => ours.extend(theirs.clone()),
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => ours.extend(theirs.clone()),
        _ => {}
    }
}

/// Says more of the property `name`.
fn refine(schema: &mut Map<String, Value>, name: &str, more: &Value) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        merge(properties, name, Some(more));
    }
}

/// An `Option` that is `None` isn't written: `null` is no value of it.
fn never_null(schema: &mut Value) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(never_null),
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| *choice != json!({ "type": "null" }));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
            members.values_mut().for_each(never_null);
        }
        _ => {}
    }
}

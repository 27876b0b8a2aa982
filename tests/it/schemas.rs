//! The schemas in the repository are those of the types, and every event that is emitted keeps to its own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jsonschema::Validator;
use rxgate::event::phi::Variant;
use rxgate::event::schema::TYPES;
use rxgate::provider::Provider;
use serde_json::{Value, json};

use crate::driver::{EVENTS, SENDER_SECRET, World, body, inbound, sign};

fn folder(variant: Variant) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas");
    variant
        .name()
        .map_or(folder.clone(), |name| folder.join(name))
}

fn file(canonical_type: &str, variant: Variant) -> PathBuf {
    folder(variant).join(format!("{canonical_type}.json"))
}

/// The schema of a source that lets everything pass.
fn schema(canonical_type: &str) -> Option<Value> {
    rxgate::event::schema::schema(canonical_type, Variant::Pass)
}

fn every_schema() -> impl Iterator<Item = (&'static str, Variant, Value)> {
    TYPES.into_iter().flat_map(|canonical_type| {
        Variant::ALL.map(|variant| {
            let schema = rxgate::event::schema::schema(canonical_type, variant);
            (canonical_type, variant, schema.unwrap())
        })
    })
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap()
}

/// Where an event breaks the schema of its own type, at a source that lets everything pass.
fn faults(event: &Value) -> Vec<String> {
    faults_as(event, Variant::Pass)
}

/// Where an event breaks the schema of its own type.
pub(crate) fn faults_as(event: &Value, variant: Variant) -> Vec<String> {
    let canonical_type = event["type"].as_str().unwrap();
    let schema = rxgate::event::schema::schema(canonical_type, variant).unwrap();
    let validator = validator(&schema);
    let faults = validator.iter_errors(event);
    faults
        .map(|fault| fault.instance_path().to_string())
        .collect()
}

#[test]
fn the_schemas_in_the_repository_are_current() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (canonical_type, variant, generated) in every_schema() {
        let path = file(canonical_type, variant);
        if update {
            let text = serde_json::to_string_pretty(&generated).unwrap() + "\n";
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let stored: Option<Value> = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        assert!(
            stored == Some(generated),
            "{path:?} isn't what the types say. Run: UPDATE_SCHEMAS=1 cargo test --features schema --test it schemas"
        );
    }
    for variant in Variant::ALL {
        let folders = [Variant::Drop, Variant::Pseudonym, Variant::Mixed].map(folder);
        let stored: BTreeSet<PathBuf> = std::fs::read_dir(folder(variant))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| variant != Variant::Pass || !folders.contains(path))
            .collect();
        let files = TYPES.map(|canonical_type| file(canonical_type, variant));
        assert_eq!(stored, files.into(), "nothing else is there");
    }
}

#[test]
fn there_is_a_schema_for_each_canonical_type_of_each_provider() {
    let emitted: BTreeSet<&str> = Provider::ALL
        .into_iter()
        .flat_map(Provider::event_types)
        .map(|(_, canonical_type)| canonical_type)
        .chain(["rx.unknown", "rx.configured"])
        .collect();
    assert_eq!(emitted, TYPES.into());
    assert_eq!(schema("rx.authorization.created"), None);
}

#[test]
fn a_schema_is_sound_and_says_which_type_it_is_of() {
    for (canonical_type, variant, schema) in every_schema() {
        assert!(
            jsonschema::draft202012::meta::is_valid(&schema),
            "{canonical_type}"
        );
        let urn = format!("urn:rxgate:schema:{canonical_type}:1");
        let urn = variant
            .name()
            .map_or(urn.clone(), |name| format!("{urn}:{name}"));
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(schema["$id"], urn.as_str());
        assert_eq!(schema["properties"]["dataschema"]["const"], urn.as_str());
        let of_type = &schema["properties"]["type"];
        if canonical_type == "rx.configured" {
            // Settings name its types.
            assert!(of_type["pattern"].is_string());
        } else {
            assert_eq!(of_type["const"], canonical_type);
        }
        assert_eq!(
            schema["properties"]["specversion"],
            json!({ "const": "1.0" })
        );
        // What isn't known is left out, so null has no place; and anything may be added.
        let text = schema.to_string();
        assert!(!text.contains(r#""null""#), "{canonical_type}");
        assert!(
            !text.contains(r#""additionalProperties":false"#),
            "{canonical_type}"
        );
    }
}

#[test]
fn what_is_always_emitted_is_required() {
    let required = |schema: &Value| -> BTreeSet<String> {
        serde_json::from_value(schema["required"].clone()).unwrap()
    };
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let always = [
        "specversion",
        "id",
        "source",
        "type",
        "datacontenttype",
        "dataschema",
        "rxprovider",
        "rxeventtype",
        "rxauth",
        "rxkeyid",
        "rxordering",
        "data",
    ];
    let unknown = schema("rx.unknown").unwrap();
    assert_eq!(required(&unknown), set(&always));
    assert_eq!(required(&unknown["properties"]["data"]), set(&["original"]));
    for canonical_type in &TYPES[..13] {
        let schema = schema(canonical_type).unwrap();
        let with_subject = [always.as_slice(), &["subject"]].concat();
        assert_eq!(required(&schema), set(&with_subject), "{canonical_type}");
        let data = &schema["properties"]["data"];
        assert_eq!(
            required(data),
            set(&["entity", "original"]),
            "{canonical_type}"
        );
        assert_eq!(required(&schema["$defs"]["Entity"]), set(&["type", "id"]));
    }
}

#[test]
fn what_phi_drops_is_not_required_and_may_not_be_there() {
    let required = |schema: &Value, pointer: &str, name: &str| {
        let names = schema.pointer(pointer).unwrap().as_array().unwrap();
        names.contains(&json!(name))
    };
    for (canonical_type, variant, schema) in every_schema() {
        let data = "/properties/data";
        let redacted = required(&schema, &format!("{data}/required"), "redacted");
        assert_eq!(redacted, variant != Variant::Pass);
        let property = schema.pointer(&format!("{data}/properties/redacted"));
        assert_eq!(property.is_some(), redacted);
        if ["rx.unknown", "rx.configured"].contains(&canonical_type) {
            continue;
        }
        // The id of a settlement tells of no patient.
        let classed = !canonical_type.starts_with("rx.settlement.");
        let optional = classed && matches!(variant, Variant::Drop | Variant::Mixed);
        assert_eq!(required(&schema, "/required", "subject"), !optional);
        assert_eq!(
            required(&schema, "/$defs/Entity/required", "id"),
            !optional,
            "{canonical_type} {variant:?}"
        );
        assert!(required(&schema, "/$defs/Entity/required", "type"));
        let id = &schema["$defs"]["Entity"]["properties"]["id"];
        assert_eq!(*id == json!(false), classed && variant == Variant::Drop);
    }
    let reason = |canonical_type, variant| {
        let schema = rxgate::event::schema::schema(canonical_type, variant).unwrap();
        schema["$defs"]["Reason"]["properties"]["text"].clone()
    };
    assert_eq!(reason("rx.authorization.voided", Variant::Drop), false);
    for rejected in ["rx.authorization.rejected", "rx.settlement.rejected"] {
        for variant in Variant::ALL {
            assert_eq!(reason(rejected, variant)["type"], "string");
            assert_eq!(reason(rejected, variant).get("pattern"), None);
        }
    }
}

#[test]
fn a_state_is_one_of_its_entity() {
    let states = |canonical_type| {
        let schema = schema(canonical_type).unwrap();
        schema["properties"]["data"]["properties"]["state"]["enum"].clone()
    };
    for canonical_type in TYPES {
        let wanted = match canonical_type.split('.').nth(1).unwrap() {
            "authorization" => json!(["approved", "rejected", "voided"]),
            "dispense" => json!(["redeemable", "in_flight", "redeemed"]),
            "prescription" => json!(["issued"]),
            "settlement" => json!(["paid", "rejected", "partially_accepted"]),
            "order" => json!([
                "digitized",
                "digitization_rejected",
                "assigned",
                "accepted",
                "rejected",
                "shipped",
                "picked_up",
                "delivered"
            ]),
            "transfer" => json!(["received", "confirmed", "failed"]),
            _ => Value::Null,
        };
        assert_eq!(states(canonical_type), wanted, "{canonical_type}");
    }
}

#[test]
fn every_event_that_is_emitted_keeps_to_its_schema() {
    let mut emitted = BTreeSet::new();
    for (event_type, least, full) in EVENTS {
        // Each known field of another type than documented.
        let mut wrong: Value = serde_json::from_str(full).unwrap();
        for (field, value) in wrong.as_object_mut().unwrap() {
            let required = [
                "authorization_id",
                "authorization_request_id",
                "dispensation_id",
                "prescription_id",
                "settlement_id",
            ];
            if !required.contains(&field.as_str()) {
                *value = if value.is_array() {
                    json!([1])
                } else {
                    json!([{}])
                };
            }
        }
        let mut world = World::new();
        for (n, data) in [least, full, &wrong.to_string()].into_iter().enumerate() {
            let end = world.send(&body(&format!("evt_{n}"), event_type, data));
            assert_eq!(
                end.summary(),
                (200, "delivered", None),
                "{event_type} {data}"
            );
        }
        let events = world.events();
        assert_eq!(events.len(), 3);
        assert_ne!(events[2]["data"]["notes"], Value::Null, "{event_type}");
        for event in &events {
            assert_eq!(faults(event), [""; 0], "{event:#}");
            emitted.insert(event["type"].as_str().unwrap().to_owned());
        }
    }
    let known: BTreeSet<String> = TYPES[..13].iter().map(|&name| name.to_owned()).collect();
    assert_eq!(emitted, known);
}

#[test]
fn an_unknown_event_keeps_to_the_schema_of_unknown_ones() {
    let mut world = World::new();
    let known = body("evt_1", "dispensing.completed", EVENTS[5].2);
    let bodies = [
        body("evt_2", "dispensing.paused", r#"{"anything":[1,null,{}]}"#),
        known.replace("2026-01-01", "2027-01-01"),
        body("evt_3", "dispensing.paused", "{}")
            .replace(r#""provider":{"#, r#""provider":[],"x":{"#),
    ];
    for body in &bodies {
        assert_eq!(
            world.send(body).summary(),
            (200, "delivered", None),
            "{body}"
        );
    }
    let events = world.events();
    assert_eq!(events.len(), 3);
    for event in &events {
        assert_eq!(event["type"], "rx.unknown");
        assert_eq!(faults(event), [""; 0], "{event:#}");
    }
}

#[test]
fn a_trace_context_and_the_least_envelope_keep_to_the_schema() {
    let mut world = World::new();
    let body = r#"{"event_id":"e","event_type":"settlement.paid","created_at":"2026-06-25T09:22:11.1-05:00","environment":"sandbox","data":{"settlement_id":"s"}}"#;
    let signature = sign(SENDER_SECRET, world.now, body);
    let mut request = inbound(body, &signature);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.traceparent = Some(traceparent);
    let flight = world.begin_with(request, world.now);
    assert_eq!(world.finish(flight).summary(), (200, "delivered", None));
    let events = world.events();
    assert_eq!(events[0]["time"], "2026-06-25T14:22:11.100Z");
    assert_eq!(events[0]["traceparent"], traceparent);
    assert_eq!(faults(&events[0]), [""; 0]);
}

#[test]
fn a_broken_event_breaks_its_schema() {
    let mut world = World::new();
    world.send_event("evt_1", "dispensing.completed");
    let sound = world.events().remove(0);
    assert_eq!(faults(&sound), [""; 0]);
    // More is no fault.
    let mut more = sound.clone();
    more["rxlater"] = json!("x");
    more["data"]["entity"]["later"] = json!({ "x": 1 });
    assert_eq!(faults(&more), [""; 0]);

    for (pointer, value) in [
        ("/specversion", json!("0.3")),
        ("/id", json!("")),
        ("/id", json!(7)),
        ("/source", json!("osigu")),
        ("/subject", json!("authorization/auth_1")),
        ("/time", json!("2026-06-25")),
        ("/datacontenttype", json!("text/plain")),
        (
            "/dataschema",
            json!("urn:rxgate:schema:rx.dispense.completed:2"),
        ),
        ("/rxauth", json!("cookie")),
        ("/rxordering", json!("sometimes")),
        ("/rxkeyid", Value::Null),
        ("/rxpharmacy", Value::Null),
        ("/sequence", json!(1_782_397_332_000_i64)),
        ("/sequence", json!("1782397332000")),
        ("/data", json!([])),
        ("/data/state", json!("voided")),
        ("/data/state", Value::Null),
        ("/data/entity", json!("dsp_1")),
        ("/data/entity/type", json!("authorization")),
        ("/data/entity/id", Value::Null),
        ("/data/patient", Value::Null),
        ("/data/items/0/quantity", json!(30)),
        ("/data/items/0/unit_price", json!("1e1")),
        ("/data/total/amount", json!(375.0)),
        ("/data/total/amount", json!("375,00")),
        ("/data/original", json!("{}")),
    ] {
        let mut broken = sound.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        assert_eq!(faults(&broken), [pointer], "{pointer}");
    }
    for (parent, member) in [
        ("", "specversion"),
        ("", "id"),
        ("", "source"),
        ("", "subject"),
        ("", "datacontenttype"),
        ("", "dataschema"),
        ("", "rxprovider"),
        ("", "rxeventtype"),
        ("", "rxauth"),
        ("", "rxkeyid"),
        ("", "rxordering"),
        ("", "data"),
        ("/data", "entity"),
        ("/data", "original"),
        ("/data/entity", "id"),
        ("/data/entity", "type"),
        ("/data/total", "amount"),
    ] {
        let mut broken = sound.clone();
        let object = broken.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        object.remove(member).unwrap();
        assert_eq!(faults(&broken), [parent], "{parent}/{member}");
    }
    // An event keeps to no schema but its own.
    for other in TYPES
        .iter()
        .filter(|other| **other != "rx.dispense.completed")
    {
        let validator = validator(&schema(other).unwrap());
        let mut paths = validator
            .iter_errors(&sound)
            .map(|fault| fault.instance_path().to_string());
        let wrong = if *other == "rx.configured" {
            "/dataschema"
        } else {
            "/type"
        };
        assert!(paths.any(|path| path == wrong), "{other}");
    }
}

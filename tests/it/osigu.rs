//! Osigu's thirteen events: what is required, what may be anything, and what a destination gets of each.

use std::collections::BTreeSet;
use std::fs;

use rxgate::config::Config;
use rxgate::effect::Effect;
use rxgate::entity::Step;
use rxgate::event::{Invalid, State};
use rxgate::provider::{Expectations, Provider, Refusal, RetryPolicy, Unknown};
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::support::{
    NOW, assert_golden, begin, bindings, body, dead_lettered, event, expectations, fixtures,
    gateway, gateway_of, read_with, refusal, secrets, signed, source_of, vars,
};

/// A case of the fixtures: Osigu's type, ours, the subject, the time, and the state that it leaves its entity in, with the rank.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<(u8, State)>,
);

#[rustfmt::skip]
const CASES: [Case; 15] = [
    ("authorization_created",                "authorization.created",         "rx.authorization.approved",              "authorization/auth_01HXA",    "2026-06-25T14:22:11.789Z", Some((1, State::Approved))),
    ("authorization_rejected",               "authorization.rejected",        "rx.authorization.rejected",              "authorization/areq_01HX9KQ",  "2026-06-25T14:23:00.000Z", Some((1, State::Rejected))),
    ("authorization_updated",                "authorization.updated",         "rx.authorization.updated",               "authorization/auth_01HXA",    "2026-06-30T10:00:00Z",     None),
    ("authorization_voided",                 "authorization.voided",          "rx.authorization.voided",                "authorization/auth_01HXA",    "2026-06-30T11:00:00Z",     Some((2, State::Voided))),
    ("dispensing_started",                   "dispensing.started",            "rx.dispense.started",                    "dispense/dsp_01HXDN",         "2026-06-25T14:20:00Z",     Some((1, State::InFlight))),
    ("dispensing_completed",                 "dispensing.completed",          "rx.dispense.completed",                  "dispense/dsp_01HXDN",         "2026-06-25T14:22:00Z",     Some((2, State::Redeemed))),
    ("dispensing_completed_by_prescription", "dispensing.completed",          "rx.dispense.completed",                  "dispense/dsp_01HXDQ",         "2026-06-25T14:22:00.120Z", Some((2, State::Redeemed))),
    ("dispensing_cancelled",                 "dispensing.cancelled",          "rx.dispense.cancelled",                  "dispense/dsp_01HXDP",         "2026-06-25T14:25:00Z",     Some((2, State::Redeemable))),
    ("prescription_issued",                  "prescription.issued",           "rx.prescription.issued",                 "prescription/rx_01HXB",       "2026-06-25T14:00:00Z",     Some((1, State::Issued))),
    ("prescription_email_delivered",         "prescription.email_delivered",  "rx.prescription.notification_delivered", "prescription/rx_01HXB",       "2026-06-25T14:01:00Z",     None),
    ("prescription_email_failed",            "prescription.email_failed",     "rx.prescription.notification_failed",    "prescription/rx_01HXB",       "2026-06-25T14:01:02.000Z", None),
    ("settlement_paid",                      "settlement.paid",               "rx.settlement.paid",                     "settlement/stl_01HXC",        "2026-07-02T09:00:00.000Z", Some((1, State::Paid))),
    ("settlement_rejected",                  "settlement.rejected",           "rx.settlement.rejected",                 "settlement/stl_01HXD",        "2026-07-02T09:05:00.000Z", Some((1, State::Rejected))),
    ("settlement_partially_accepted",        "settlement.partially_accepted", "rx.settlement.partially_accepted",       "settlement/stl_01HXE",        "2026-07-02T09:10:00.000Z", Some((1, State::PartiallyAccepted))),
    ("unknown_fields",                       "dispensing.completed",          "rx.dispense.completed",                  "dispense/dsp_01HXDR",         "2026-06-25T14:22:00Z",     Some((2, State::Redeemed))),
];

/// Authentic, and of a type or version that nobody here knows.
const UNKNOWN_CASES: [&str; 2] = ["unknown_event_type", "unknown_api_version"];

fn all_cases() -> impl Iterator<Item = &'static str> {
    CASES.into_iter().map(|case| case.0).chain(UNKNOWN_CASES)
}

/// One case of each event type.
fn one_of_each() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut seen = BTreeSet::new();
    CASES
        .into_iter()
        .map(|case| (case.0, case.1))
        .filter(move |(_, event_type)| seen.insert(*event_type))
}

fn value(case: &str) -> Value {
    serde_json::from_slice(&body(case)).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// `data.products[0].quantity` as a JSON pointer.
fn pointer(path: &str) -> String {
    format!(
        "/{}",
        path.replace("].", "/")
            .replace(['.', '['], "/")
            .replace(']', "")
    )
}

/// `value` with something else at `path`; `None` takes the field out.
fn with(mut value: Value, path: &str, new: Option<Value>) -> Value {
    let pointer = pointer(path);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match (value.pointer_mut(parent).unwrap(), new) {
        (Value::Array(items), Some(new)) => items[field.parse::<usize>().unwrap()] = new,
        (Value::Object(fields), Some(new)) => {
            fields.insert(field.to_owned(), new);
        }
        (Value::Object(fields), None) => {
            fields.remove(field);
        }
        (other, _) => panic!("{path} in {other}"),
    }
    value
}

fn invalid(path: &str, problem: &'static str) -> Refusal {
    Refusal::Invalid(Invalid {
        path: path.to_owned(),
        problem,
    })
}

// ── what a destination gets ──

#[test]
fn each_event_becomes_the_canonical_event_that_is_kept_beside_it() {
    for case in all_cases() {
        assert_golden(
            &format!("osigu/{case}/event.json"),
            &event(&body(case)).bytes,
        );
    }
}

#[test]
fn there_is_a_case_for_each_event_and_no_folder_without_a_test() {
    let known: BTreeSet<&str> = Provider::Osigu
        .event_types()
        .map(|(name, _)| name)
        .collect();
    let tested: BTreeSet<&str> = CASES.into_iter().map(|case| case.1).collect();
    assert_eq!((known.len(), &known), (13, &tested));
    let folders: BTreeSet<String> = fs::read_dir(fixtures().join("osigu"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, all_cases().map(str::to_owned).collect());
}

#[test]
fn each_event_has_its_type_subject_time_and_place_in_the_life_of_its_entity() {
    for (case, event_type, canonical, subject, time, state) in CASES {
        let sent = value_of_envelope(case);
        let event = event(&body(case));
        let json = event.json();
        let text = |name: &str| json[name].as_str().unwrap_or("(absent)").to_owned();
        assert_eq!(event.unknown, None, "{case}");
        assert_eq!(text("type"), canonical, "{case}");
        assert_eq!(
            text("dataschema"),
            format!("urn:rxgate:schema:{canonical}:1")
        );
        assert_eq!(text("rxeventtype"), event_type, "{case}");
        assert_eq!(text("subject"), subject, "{case}");
        assert_eq!(text("time"), time, "{case}");
        assert_eq!(text("rxemittedat"), sent.1, "{case}");
        assert_eq!(
            (event.id.as_str(), text("id")),
            (sent.0.as_str(), sent.0.clone()),
            "{case}"
        );
        assert_eq!(text("rxapiversion"), "2026-01-01");
        assert_eq!(text("rxenvironment"), "sandbox");
        assert_eq!(
            (text("source"), text("rxprovider")),
            ("/sources/osigu".to_owned(), "osigu".to_owned())
        );
        assert_eq!(
            (text("rxauth"), text("rxkeyid")),
            ("signature".to_owned(), "first".to_owned())
        );
        let (entity, id) = subject.split_once('/').unwrap();
        assert_eq!(json["data"]["entity"]["type"], entity, "{case}");
        assert_eq!(json["data"]["entity"]["id"], id, "{case}");
        let expected = state.map_or((0, 0), |(rank, state)| (rank, state as u8));
        assert_eq!((event.step.rank, event.step.state), expected, "{case}");
        let at = Timestamp::parse_rfc3339(&sent.1).unwrap();
        assert_eq!(event.step.at, at, "{case}");
        let (life, node) = (event.step.life, usize::from(event.step.node));
        assert_eq!(life.nodes()[node].event_type, text("rxeventtype"), "{case}");
    }
}

/// The event id and `created_at` of a case, without reading what else is in it.
fn value_of_envelope(case: &str) -> (String, String) {
    let text = String::from_utf8(body(case)).unwrap();
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\":")).unwrap();
        rest.split('"').nth(1).unwrap().to_owned()
    };
    (field("event_id"), field("created_at"))
}

#[test]
fn the_original_is_the_senders_body_byte_for_byte() {
    for case in all_cases() {
        let sent = String::from_utf8(body(case)).unwrap();
        assert_eq!(event(sent.as_bytes()).original(), sent.trim(), "{case}");
    }
    let unknown = event(&body("unknown_fields"));
    for kept in [
        r#""points":1e999"#,
        r#""digits":0.1000000000000000055511151231257827021181583404541015625"#,
        r#""tier":"\u00f3ro""#,
        r#""half":"\ud800""#,
        r#""till":[7,[ ]]"#,
        r#""":-0"#,
        r#""delivery_hint":{"attempt":2},"z":[{"a":null}]"#,
    ] {
        assert!(unknown.original().contains(kept), "{kept}");
    }
    assert_eq!(unknown.noted(), [""; 0]);
}

#[test]
fn digits_stay_as_they_were_sent() {
    let json = event(&body("dispensing_completed")).json();
    assert_eq!(
        json["data"]["total"],
        json!({ "amount": "375.00", "currency": "USD" })
    );
    assert_eq!(json["data"]["items"][0]["unit_price"], "12.50");
    assert_eq!(json["data"]["items"][0]["quantity"], "30");
    let json = event(&body("dispensing_completed_by_prescription")).json();
    assert_eq!(json["data"]["total"]["amount"], "2469135780.3969135780");
    assert_eq!(
        json["data"]["items"][1]["unit_price"],
        "1234567890.1234567890"
    );
}

#[test]
fn a_decimal_is_a_number_or_a_text_that_holds_one_and_nothing_with_an_exponent() {
    let amount = |text: &str| {
        let sent = String::from_utf8(body("dispensing_completed")).unwrap();
        let event = event(sent.replace("375.00", text).as_bytes());
        let amount = event.json()["data"]["total"]["amount"]
            .as_str()
            .map(str::to_owned);
        (amount, event.noted())
    };
    for text in [
        "375.00",
        "0",
        "-0",
        "-12.50",
        "0.10",
        "123456789012345678901234567890.0",
    ] {
        assert_eq!(amount(text), (Some(text.to_owned()), vec![]));
        assert_eq!(
            amount(&format!("\"{text}\"")),
            (Some(text.to_owned()), vec![])
        );
    }
    for wrong in [
        "1e3",
        "3.75E2",
        "1e999",
        r#""1e3""#,
        r#""""#,
        r#"".5""#,
        r#""5.""#,
        r#""1,50""#,
        r#""1.2.3""#,
        r#""+1""#,
        r#"" 1""#,
        r#""--1""#,
        r#""NaN""#,
        r#""٣""#,
        "true",
        "[]",
        "{}",
    ] {
        let expected = vec!["data.total_amount: decimal number".to_owned()];
        assert_eq!(amount(wrong), (None, expected), "{wrong}");
    }
}

#[test]
fn names_stay_as_they_were_written() {
    for name in [
        "López",
        "Lo\u{301}pez",
        "  López ",
        "ﬁ",
        "李",
        "O'Neill \"x\" \\ /",
    ] {
        let sent = with(
            value("prescription_issued"),
            "data.patient.last_name",
            Some(name.into()),
        );
        assert_eq!(
            event(&bytes(&sent)).json()["data"]["patient"]["last_name"],
            name
        );
    }
    let sent = String::from_utf8(body("prescription_issued")).unwrap();
    let escaped = sent.replace("López", r"L\u00f3pez");
    let event = event(escaped.as_bytes());
    assert_eq!(event.json()["data"]["patient"]["last_name"], "López");
    assert!(event.original().contains(r"L\u00f3pez"));
}

#[test]
fn the_reason_of_a_rejection_goes_on_word_for_word() {
    let expected = "Producto  no cubierto por el plan \"GOLD-100\" \u{2014} véase el anexo 4/B ";
    let json = event(&body("authorization_rejected")).json();
    assert_eq!(json["data"]["reason"], json!({ "text": expected }));
    for reason in [
        "",
        " ",
        "NO",
        "línea 1\nlínea 2\t",
        "\u{feff}x\u{200b}",
        "a".repeat(20_000).as_str(),
    ] {
        for (case, path) in [
            ("authorization_rejected", "data.rejection_reason"),
            ("settlement_rejected", "data.rejection_reason"),
            ("authorization_voided", "data.reason"),
            ("prescription_email_failed", "data.reason"),
        ] {
            let sent = with(value(case), path, Some(reason.into()));
            assert_eq!(
                event(&bytes(&sent)).json()["data"]["reason"]["text"],
                reason,
                "{case}"
            );
        }
    }
}

#[test]
fn changes_keep_their_order_their_digits_and_their_nulls() {
    let event = event(&body("authorization_updated"));
    let expected = concat!(
        r#""changes":{"payment_type":{"from":"IN_KIND","to":"TRANSFER"},"#,
        r#""expires_at":{"from":"2026-07-25T00:00:00Z","to":"2026-09-25T00:00:00Z"},"#,
        r#""copay":{"from":null,"to":12.50},"#,
        r#""authorized_amount":{"from":375.00,"to":4.0e2}},"#,
    );
    assert!(event.text().contains(expected), "{}", event.text());
    assert_eq!(event.noted(), [""; 0]);
}

#[test]
fn an_event_is_attributed_to_its_pharmacy_and_never_to_the_sponsor() {
    let attributed = |sent: &Value| {
        let json = event(&bytes(sent)).json();
        (json["rxpharmacy"].clone(), json["rxbranch"].clone())
    };
    for case in ["dispensing_started", "dispensing_completed"] {
        let sent = value(case);
        assert_eq!(
            attributed(&sent),
            (json!("pharmacy-x"), json!("branch_01HX")),
            "{case}"
        );
        // The sponsor has no say, and neither has the account.
        for path in ["data.sponsor_slug", "provider.provider_slug"] {
            let other = with(sent.clone(), path, Some("pharmacy-z".into()));
            assert_eq!(attributed(&other), attributed(&sent), "{path}");
        }
        for path in ["data.pharmacy", "data.pharmacy.provider_slug"] {
            let other = with(sent.clone(), path, None);
            assert_eq!(attributed(&other).0, Value::Null, "{path}");
        }
        let other = with(sent, "data.pharmacy.branch_id", None);
        assert_eq!(attributed(&other), (json!("pharmacy-x"), Value::Null));
    }
    let with_sponsor_only = value("authorization_created");
    assert_eq!(attributed(&with_sponsor_only), (Value::Null, Value::Null));
}

#[test]
fn a_rejected_request_is_its_own_entity_and_an_authorization_goes_by_its_own_id() {
    let subject = |sent: &Value| event(&bytes(sent)).json()["subject"].clone();
    let created = value("authorization_created");
    assert_eq!(subject(&created), "authorization/auth_01HXA");
    for absent in [None, Some(Value::Null)] {
        let requested = with(created.clone(), "data.authorization_id", absent);
        assert_eq!(subject(&requested), "authorization/areq_01HX9KP");
    }
}

#[test]
fn the_code_of_a_dispensation_says_what_it_redeems() {
    let entity = |case: &str| event(&body(case)).json()["data"]["entity"].clone();
    let by_authorization = entity("dispensing_completed");
    assert_eq!(by_authorization["code_type"], "AUTHORIZATION");
    assert_eq!(by_authorization["authorization_id"], "auth_01HXA");
    assert_eq!(by_authorization.get("prescription_id"), None);
    let by_prescription = entity("dispensing_completed_by_prescription");
    assert_eq!(by_prescription["code_type"], "PRESCRIPTION");
    assert_eq!(by_prescription["prescription_id"], "rx_01HXB");
    assert_eq!(by_prescription.get("authorization_id"), None);
}

#[test]
fn times_are_told_in_utc_and_never_invented() {
    let time = |dispensed_at: Value| {
        let sent = with(
            value("dispensing_completed"),
            "data.dispensed_at",
            Some(dispensed_at),
        );
        let event = event(&bytes(&sent));
        (
            event.json()["time"].as_str().unwrap().to_owned(),
            event.noted(),
        )
    };
    for (sent, told) in [
        ("2026-06-25T14:22:00Z", "2026-06-25T14:22:00Z"),
        ("2026-06-25T14:22:00.000Z", "2026-06-25T14:22:00.000Z"),
        ("2026-06-25T14:22:00.123456Z", "2026-06-25T14:22:00.123456Z"),
        ("2026-06-25T10:22:00-04:00", "2026-06-25T14:22:00Z"),
        ("2026-06-26T00:22:00+10:00", "2026-06-25T14:22:00Z"),
    ] {
        assert_eq!(time(sent.into()), (told.to_owned(), vec![]), "{sent}");
    }
    // Where it can't be told, it is when the sender emitted the event.
    for wrong in [
        "2026-06-25",
        "2026-06-25T14:22:00",
        "2026-13-25T14:22:00Z",
        "yesterday",
        "",
    ] {
        let expected = vec!["data.dispensed_at: RFC 3339 date-time".to_owned()];
        assert_eq!(
            time(wrong.into()),
            ("2026-06-25T14:22:00.500Z".to_owned(), expected),
            "{wrong}"
        );
    }
}

// ── what is required ──

/// The field of `data` that names the entity.
fn id_field(event_type: &str) -> &'static str {
    match event_type.split('.').next() {
        Some("authorization") => "authorization_id",
        Some("dispensing") => "dispensation_id",
        Some("prescription") => "prescription_id",
        Some("settlement") => "settlement_id",
        _ => panic!("{event_type}"),
    }
}

#[test]
fn nothing_is_required_but_six_fields() {
    for (_, event_type) in one_of_each() {
        let id = id_field(event_type);
        let sent = json!({
            "event_id": "evt_1", "event_type": event_type, "created_at": "2026-06-25T14:22:11.789Z",
            "environment": "sandbox", "data": { id: "x_1" },
        });
        let event = event(&bytes(&sent));
        assert_eq!(
            (event.unknown, event.noted()),
            (None, vec![]),
            "{event_type}"
        );
        let entity = event.json()["data"]["entity"].clone();
        assert_eq!(entity["id"], "x_1", "{event_type}");
        for path in [
            "event_id",
            "event_type",
            "created_at",
            "environment",
            "data",
            &format!("data.{id}"),
        ] {
            for absent in [None, Some(Value::Null)] {
                let sent = with(sent.clone(), path, absent);
                assert_eq!(
                    refusal(&bytes(&sent)),
                    invalid(path, "missing"),
                    "{event_type}"
                );
            }
        }
    }
    let request_only = json!({
        "event_id": "evt_1", "event_type": "authorization.rejected", "created_at": "2026-06-25T14:22:11.789Z",
        "environment": "sandbox", "data": { "authorization_request_id": "areq_1" },
    });
    assert_eq!(
        event(&bytes(&request_only)).json()["subject"],
        "authorization/areq_1"
    );
}

#[test]
fn a_required_field_of_another_type_is_named_by_its_path() {
    let texts = [
        json!(7),
        json!(true),
        json!([]),
        json!({}),
        json!(["evt_1"]),
    ];
    for (case, event_type) in one_of_each() {
        let sent = value(case);
        let id = match event_type {
            "authorization.rejected" => "data.authorization_request_id".to_owned(),
            _ => format!("data.{}", id_field(event_type)),
        };
        for path in ["event_id", "event_type", "environment", &id] {
            for wrong in &texts {
                let sent = with(sent.clone(), path, Some(wrong.clone()));
                assert_eq!(
                    refusal(&bytes(&sent)),
                    invalid(path, "not a string"),
                    "{case} {wrong}"
                );
            }
        }
        let no_times = ["", "2026-06-25", "1782397331", "2026-06-25T14:22:11.789"].map(Value::from);
        for wrong in texts.iter().chain(&no_times) {
            let sent = with(sent.clone(), "created_at", Some(wrong.clone()));
            let expected = invalid("created_at", "not an RFC 3339 date-time");
            assert_eq!(refusal(&bytes(&sent)), expected, "{case} {wrong}");
        }
        for wrong in [json!(7), json!("x"), json!([]), json!([{}])] {
            let sent = with(sent.clone(), "data", Some(wrong.clone()));
            assert_eq!(
                refusal(&bytes(&sent)),
                invalid("data", "not an object"),
                "{case} {wrong}"
            );
        }
    }
}

#[test]
fn an_id_has_one_to_256_printable_characters() {
    let problem = "not 1 to 256 printable characters";
    for path in [
        "event_id",
        "event_type",
        "environment",
        "data.dispensation_id",
    ] {
        let sent = |id: &str| bytes(&with(value("dispensing_completed"), path, Some(id.into())));
        for wrong in [
            "",
            "\0",
            "evt_1\0",
            "evt\n1",
            "evt\t1",
            "\u{7f}",
            "\u{85}",
            &"x".repeat(257),
            &"é".repeat(257),
            &"x".repeat(100_000),
        ] {
            assert_eq!(
                refusal(&sent(wrong)),
                invalid(path, problem),
                "{path} {wrong:.20?}"
            );
        }
    }
    for id in [
        "x",
        " ",
        "evt/../?#%00\"\\",
        &"x".repeat(256),
        &"é".repeat(256),
        &"😀".repeat(256),
    ] {
        let mut sent = with(value("dispensing_completed"), "event_id", Some(id.into()));
        sent = with(sent, "data.dispensation_id", Some(id.into()));
        let json = event(&bytes(&sent)).json();
        assert_eq!(
            (&json["id"], &json["subject"]),
            (&json!(id), &json!(format!("dispense/{id}")))
        );
    }
    // A NUL as a byte, not as an escape, is no JSON.
    let raw = String::from_utf8(body("dispensing_completed")).unwrap();
    let raw = raw.replace("evt_01HXEVENT00000006", "evt\0");
    let expected = Refusal::Malformed(rxgate::event::Malformed::NotAnObject);
    assert_eq!(refusal(raw.as_bytes()), expected);
}

// ── what may be anything ──

const TEXT: &str = "string";
const DECIMAL: &str = "decimal number";
const INSTANT: &str = "RFC 3339 date-time";
const ATTRIBUTE: &str = "string of 1 to 256 printable characters";
const OBJECT: &str = "object";
const ARRAY: &str = "array";

/// Every optional field of every event, and what it should be.
#[rustfmt::skip]
const OPTIONAL: [(&str, &[(&str, &str)]); 13] = [
    ("authorization_created", &[
        ("data.authorization_code", TEXT), ("data.authorization_request_id", TEXT), ("data.beneficiary_id", TEXT), ("data.sponsor_slug", TEXT),
        ("data.product_type", TEXT), ("data.products", ARRAY), ("data.products[0]", OBJECT), ("data.products[0].product_code", TEXT),
        ("data.products[0].quantity", DECIMAL), ("data.products[0].posology", TEXT), ("data.expires_at", TEXT), ("data.sponsor_reference", TEXT),
        ("api_version", ATTRIBUTE), ("provider", OBJECT), ("provider.provider_id", TEXT), ("provider.provider_slug", TEXT),
    ]),
    ("authorization_rejected", &[
        ("data.beneficiary_id", TEXT), ("data.sponsor_slug", TEXT), ("data.rejection_reason", TEXT), ("data.sponsor_reference", TEXT),
    ]),
    ("authorization_updated", &[
        ("data.authorization_code", TEXT), ("data.changes", OBJECT), ("data.changes.payment_type", OBJECT), ("data.updated_at", INSTANT),
    ]),
    ("authorization_voided", &[
        ("data.authorization_code", TEXT), ("data.voided_at", INSTANT), ("data.voided_by", TEXT), ("data.reason", TEXT),
    ]),
    ("dispensing_started", &[
        ("data.code", TEXT), ("data.code_type", TEXT), ("data.beneficiary_id", TEXT), ("data.sponsor_slug", TEXT), ("data.pharmacy", OBJECT),
        ("data.pharmacy.provider_slug", ATTRIBUTE), ("data.pharmacy.branch_id", ATTRIBUTE), ("data.products", ARRAY), ("data.products[0]", OBJECT),
        ("data.products[0].product_code", TEXT), ("data.products[0].quantity", DECIMAL), ("data.started_at", INSTANT),
    ]),
    ("dispensing_completed", &[
        ("data.code", TEXT), ("data.code_type", TEXT), ("data.authorization_id", TEXT), ("data.prescription_id", TEXT), ("data.beneficiary_id", TEXT),
        ("data.sponsor_slug", TEXT), ("data.pharmacy", OBJECT), ("data.pharmacy.provider_slug", ATTRIBUTE), ("data.pharmacy.branch_id", ATTRIBUTE),
        ("data.products", ARRAY), ("data.products[0]", OBJECT), ("data.products[0].product_code", TEXT), ("data.products[0].quantity", DECIMAL),
        ("data.products[0].unit_price", DECIMAL), ("data.total_amount", DECIMAL), ("data.currency", TEXT), ("data.dispensed_at", INSTANT),
    ]),
    ("dispensing_cancelled", &[
        ("data.code", TEXT), ("data.cancelled_at", INSTANT), ("data.reason", TEXT),
    ]),
    ("prescription_issued", &[
        ("data.prescription_code", TEXT), ("data.version", TEXT), ("data.patient", OBJECT), ("data.patient.patient_id", TEXT),
        ("data.patient.first_name", TEXT), ("data.patient.last_name", TEXT), ("data.doctor", OBJECT), ("data.doctor.doctor_id", TEXT),
        ("data.doctor.medical_board_registration", TEXT), ("data.diagnoses", ARRAY), ("data.diagnoses[1]", OBJECT),
        ("data.diagnoses[1].diagnosis_code", TEXT), ("data.medications", ARRAY), ("data.medications[0]", OBJECT),
        ("data.medications[0].product_code", TEXT), ("data.medications[0].quantity", DECIMAL), ("data.medications[0].posology", TEXT),
        ("data.medications[0].duration_days", DECIMAL), ("data.issued_at", INSTANT),
    ]),
    ("prescription_email_delivered", &[
        ("data.prescription_code", TEXT), ("data.email", TEXT), ("data.delivered_at", INSTANT),
    ]),
    ("prescription_email_failed", &[
        ("data.prescription_code", TEXT), ("data.email", TEXT), ("data.reason", TEXT),
    ]),
    ("settlement_paid", &[
        ("data.status", TEXT), ("data.sponsor_slug", TEXT), ("data.period", TEXT), ("data.claims", ARRAY), ("data.claims[1]", OBJECT),
        ("data.claims[1].authorization_id", TEXT), ("data.claims[1].claim_id", TEXT), ("data.claims[1].total_amount", DECIMAL),
        ("data.claims[1].currency", TEXT), ("data.total_amount", DECIMAL), ("data.currency", TEXT),
    ]),
    ("settlement_rejected", &[
        ("data.status", TEXT), ("data.sponsor_slug", TEXT), ("data.period", TEXT), ("data.rejection_reason", TEXT),
    ]),
    ("settlement_partially_accepted", &[
        ("data.status", TEXT), ("data.claims", ARRAY), ("data.claims[0].status", TEXT), ("data.claims[0].total_amount", DECIMAL),
    ]),
];

/// Values of every type but the one expected.
fn wrong(expected: &str) -> Vec<Value> {
    match expected {
        TEXT => vec![json!(7), json!(false), json!([]), json!({})],
        ATTRIBUTE => vec![
            json!(7),
            json!({}),
            json!(""),
            json!("a\u{0}b"),
            json!("x".repeat(257)),
        ],
        DECIMAL => vec![json!(true), json!("many"), json!([30]), json!({})],
        INSTANT => vec![json!(1_782_397_331), json!("yesterday"), json!({})],
        OBJECT => vec![json!(7), json!("x"), json!([])],
        ARRAY => vec![json!(7), json!("x"), json!({ "0": {} })],
        other => panic!("{other}"),
    }
}

#[test]
fn an_optional_field_of_another_type_is_noted_and_the_event_is_delivered_without_it() {
    for (case, fields) in OPTIONAL {
        for &(path, expected) in fields {
            let absent = event(&bytes(&with(value(case), path, Some(Value::Null)))).json();
            for wrong in wrong(expected) {
                let sent = bytes(&with(value(case), path, Some(wrong.clone())));
                let event = event(&sent);
                assert_eq!(
                    event.noted(),
                    [format!("{path}: {expected}")],
                    "{case} {wrong}"
                );
                assert_eq!(event.notes, 1);
                assert_eq!(event.original().as_bytes(), sent, "{case} {path}");
                // An element of a list can't be absent: it is left out.
                if path == "api_version" {
                    // What can't be read isn't known.
                    assert_eq!(event.json()["type"], "rx.unknown", "{wrong}");
                } else if !path.ends_with(']') {
                    let mut json = event.json();
                    json["data"].as_object_mut().unwrap().remove("notes");
                    assert_eq!(json, absent, "{case} {path} {wrong}");
                }
            }
        }
    }
}

#[test]
fn every_field_of_the_cases_is_required_or_listed_as_optional_or_unknown_to_us() {
    /// The paths of all fields in `value`; of a list, those of its elements.
    fn paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = format!("{prefix}{name}");
                    paths(value, &format!("{path}."), into);
                    into.insert(path);
                }
            }
            Value::Array(items) => {
                let prefix = format!("{}[].", prefix.trim_end_matches('.'));
                items.iter().for_each(|item| paths(item, &prefix, into));
            }
            _ => {}
        }
    }
    let listed: BTreeSet<String> = OPTIONAL
        .iter()
        .flat_map(|(_, fields)| fields.iter())
        .map(|(path, _)| path.replace("[0]", "[]").replace("[1]", "[]"))
        .collect();
    let mut unlisted = BTreeSet::new();
    for (case, _) in one_of_each() {
        paths(&value(case), "", &mut unlisted);
    }
    unlisted.retain(|path| !listed.contains(path));
    let expected = [
        // The six.
        "created_at",
        "data",
        "data.authorization_id",
        "data.dispensation_id",
        "data.prescription_id",
        "data.settlement_id",
        "environment",
        "event_id",
        "event_type",
        // Kept, and not looked into: a map of the sender's own names, and what is open.
        "data.additional_data",
        "data.bounce",
        "data.bounce.class",
        "data.bounce.detail",
        "data.changes.authorized_amount",
        "data.changes.authorized_amount.currency",
        "data.changes.authorized_amount.from",
        "data.changes.authorized_amount.to",
        "data.changes.copay",
        "data.changes.copay.from",
        "data.changes.copay.to",
        "data.changes.expires_at",
        "data.changes.expires_at.from",
        "data.changes.expires_at.to",
        "data.changes.payment_type.from",
        "data.changes.payment_type.to",
    ];
    let mut expected: BTreeSet<String> = expected.map(str::to_owned).into();
    // In some events these are optional.
    expected.retain(|path| !listed.contains(path));
    assert_eq!(unlisted, expected);
}

#[test]
fn absent_and_null_are_equal() {
    for (case, fields) in OPTIONAL {
        for &(path, _) in fields.iter().filter(|(path, _)| !path.ends_with(']')) {
            let null = event(&bytes(&with(value(case), path, Some(Value::Null))));
            let absent = event(&bytes(&with(value(case), path, None)));
            assert_eq!(null.json(), absent.json(), "{case} {path}");
            assert_eq!(null.noted(), [""; 0], "{case} {path}");
        }
    }
}

#[test]
fn several_wrong_fields_are_all_noted_with_their_places() {
    let sent = json!({
        "event_id": "evt_1", "event_type": "dispensing.completed", "created_at": "2026-06-25T14:22:11.789Z",
        "environment": "sandbox", "provider": "clinic-example",
        "data": {
            "dispensation_id": "dsp_1", "code": 1, "pharmacy": { "provider_slug": 2 },
            "products": [{ "product_code": "MED-042", "quantity": "thirty" }, 7, { "unit_price": [] }],
            "total_amount": 375, "currency": 840,
        },
    });
    let event = event(&bytes(&sent));
    let noted: BTreeSet<String> = event.noted().into_iter().collect();
    let expected = [
        "data.code: string",
        "data.currency: string",
        "data.pharmacy.provider_slug: string of 1 to 256 printable characters",
        "data.products[0].quantity: decimal number",
        "data.products[1]: object",
        "data.products[2].unit_price: decimal number",
        "provider: object",
    ];
    assert_eq!(noted, expected.map(str::to_owned).into());
    let data = event.json()["data"].clone();
    assert_eq!(data["items"], json!([{ "code": "MED-042" }, {}]));
    assert_eq!(data["total"], json!({ "amount": "375" }));
}

#[test]
fn a_word_that_no_document_lists_passes_as_text() {
    for (case, path, canonical) in [
        (
            "authorization_created",
            "data.product_type",
            "/data/product_type",
        ),
        ("authorization_voided", "data.voided_by", "/data/reason/by"),
        (
            "dispensing_started",
            "data.code_type",
            "/data/entity/code_type",
        ),
        ("dispensing_cancelled", "data.reason", "/data/reason/code"),
        (
            "dispensing_completed",
            "data.currency",
            "/data/total/currency",
        ),
        (
            "prescription_issued",
            "data.version",
            "/data/entity/version",
        ),
        ("settlement_paid", "data.status", "/data/status"),
        ("settlement_paid", "data.period", "/data/period"),
    ] {
        for word in ["", "SOMETHING_NEW", "timeout", "É"] {
            let sent = with(value(case), path, Some(word.into()));
            let event = event(&bytes(&sent));
            assert_eq!(
                event.json().pointer(canonical),
                Some(&json!(word)),
                "{case} {path}"
            );
            assert_eq!(
                (event.unknown, event.noted()),
                (None, vec![]),
                "{case} {path}"
            );
        }
    }
}

// ── what the source checks ──

fn expecting(change: impl FnOnce(&mut Expectations)) -> Expectations {
    let mut expected = expectations();
    change(&mut expected);
    expected
}

#[track_caller]
fn assert_refused(sent: &Value, expected: &Expectations, refusal: &Refusal) {
    let id = sent["event_id"].as_str().unwrap().to_owned();
    let read = read_with(&bytes(sent), expected).map(|event| event.text().to_owned());
    assert_eq!(read, Err((refusal.clone(), Some(id))));
}

#[test]
fn an_event_of_another_environment_is_refused() {
    let production = expecting(|e| e.environment = "production".to_owned());
    for (case, _) in one_of_each() {
        let sent = value(case);
        assert_refused(&sent, &production, &Refusal::EnvironmentMismatch);
        let other = with(sent, "environment", Some("production".into()));
        assert_eq!(
            read_with(&bytes(&other), &production)
                .map(|event| event.notes)
                .ok(),
            Some(0)
        );
        for environment in ["production", "Sandbox", "sandbox ", "staging"] {
            let sent = with(other.clone(), "environment", Some(environment.into()));
            assert_refused(&sent, &expectations(), &Refusal::EnvironmentMismatch);
        }
    }
    // Also if we don't know the event otherwise.
    for case in UNKNOWN_CASES {
        assert_refused(&value(case), &production, &Refusal::EnvironmentMismatch);
    }
}

#[test]
fn an_event_of_another_account_is_refused_where_the_source_names_one() {
    let named = expecting(|e| e.provider_slug = Some("clinic-example".to_owned()));
    let sent = value("dispensing_completed");
    assert!(read_with(&bytes(&sent), &named).is_ok());
    assert!(read_with(&bytes(&value("authorization_created")), &named).is_ok());
    for (path, new) in [
        ("provider", None),
        ("provider", Some(Value::Null)),
        ("provider", Some("clinic-example".into())),
        ("provider.provider_slug", None),
        ("provider.provider_slug", Some("clinic-example-2".into())),
        ("provider.provider_slug", Some("Clinic-Example".into())),
        ("provider.provider_slug", Some(json!(["clinic-example"]))),
    ] {
        let other = with(sent.clone(), path, new);
        assert_refused(&other, &named, &Refusal::ProviderMismatch);
        assert!(read_with(&bytes(&other), &expectations()).is_ok());
    }
    // The pharmacy's slug is another thing.
    let pharmacy = with(
        sent,
        "data.pharmacy.provider_slug",
        Some("clinic-example".into()),
    );
    let pharmacy = with(pharmacy, "provider.provider_slug", Some("other".into()));
    assert_refused(&pharmacy, &named, &Refusal::ProviderMismatch);
}

#[test]
fn an_event_type_that_we_do_not_know_is_delivered_as_unknown() {
    for event_type in [
        "authorization.suspended",
        "authorization",
        "authorization.created.v2",
        "Authorization.Created",
        "authorization.created ",
        "payment.captured",
        "López",
        "*",
    ] {
        let sent = with(
            value("authorization_created"),
            "event_type",
            Some(event_type.into()),
        );
        let event = event(&bytes(&sent));
        assert_eq!(event.unknown, Some(Unknown::EventType), "{event_type}");
        let json = event.json();
        assert_eq!(json["type"], "rx.unknown");
        assert_eq!(json["dataschema"], "urn:rxgate:schema:rx.unknown:1");
        assert_eq!(json["rxeventtype"], event_type);
        assert_eq!((json.get("subject"), json.get("rxpharmacy")), (None, None));
        assert_eq!(json["time"], "2026-06-25T14:22:11.789Z");
        assert_eq!(
            json["data"],
            json!({ "account": { "slug": "clinic-example" } })
        );
        assert_eq!(event.original().as_bytes(), bytes(&sent));
        assert_eq!(event.step, Step::default());
    }
    // Nothing of its data is required.
    let sent = with(value("unknown_event_type"), "data", Some(json!({})));
    assert_eq!(event(&bytes(&sent)).unknown, Some(Unknown::EventType));
}

#[test]
fn an_api_version_that_we_do_not_know_is_delivered_as_unknown_unless_it_is_accepted() {
    for (case, _) in one_of_each() {
        for version in ["2027-01-01", "2026-01-01 ", "2026", "v1"] {
            let sent = bytes(&with(value(case), "api_version", Some(version.into())));
            let unknown = event(&sent);
            assert_eq!(
                unknown.unknown,
                Some(Unknown::ApiVersion),
                "{case} {version}"
            );
            assert_eq!(unknown.json()["type"], "rx.unknown");
            assert_eq!(unknown.json()["rxapiversion"], version);
            let accepting = expecting(|e| e.api_versions.push(version.to_owned()));
            let known = read_with(&sent, &accepting).unwrap();
            assert_eq!(known.unknown, None, "{case} {version}");
            assert_eq!(known.json()["type"], event(&body(case)).json()["type"]);
        }
        for absent in [None, Some(Value::Null)] {
            let event = event(&bytes(&with(value(case), "api_version", absent)));
            assert_eq!((event.unknown, event.noted()), (None, vec![]), "{case}");
        }
    }
    // Its data may have any shape: nothing of it is read.
    assert_eq!(
        event(&body("unknown_api_version")).unknown,
        Some(Unknown::ApiVersion)
    );
}

#[test]
fn accept_api_versions_of_the_configuration_adds_to_those_that_are_known() {
    let mut vars = vars();
    vars["SOURCE_OSIGU"]["accept_api_versions"] = json!(["2027-01-01", "2028-01-01"]);
    let config = Config::parse(&vars, &secrets(), bindings());
    assert_eq!(config.faults, []);
    let source = source_of(&config, "osigu");
    assert_eq!(
        source.expected.api_versions,
        ["2027-01-01", "2028-01-01", "2026-01-01"]
    );
}

#[test]
fn what_is_known_of_osigu_is_what_its_documents_say() {
    let osigu = Provider::Osigu;
    assert_eq!(osigu.name(), "osigu");
    assert_eq!(osigu.signature_header(), Some("x-osigu-signature"));
    assert_eq!(osigu.content_type(), Some("application/json"));
    assert_eq!(osigu.api_versions(), ["2026-01-01"]);
    let horizon = std::time::Duration::from_secs(72 * 3600);
    assert_eq!(osigu.retry_policy(), RetryPolicy::Documented { horizon });
}

// ── what the sender is told ──

#[test]
fn a_refused_event_is_a_dead_letter_that_names_the_event_once_it_is_known_and_nothing_else() {
    let gateway = gateway();
    let told = |sent: &Value| {
        let sent = bytes(sent);
        let (answer, record) = dead_lettered(&gateway, &sent);
        (answer.status, answer.body, record.path, record.problem)
    };
    let sent = value("dispensing_completed");
    let id = "evt_01HXEVENT00000006";
    let of_event = |reason: &str| {
        format!(r#"{{"code":"dead_lettered","reason":"{reason}","event_id":"{id}"}}"#)
    };
    assert_eq!(
        told(&with(
            sent.clone(),
            "data.dispensation_id",
            Some(json!({ "López": 1 }))
        )),
        (
            200,
            of_event("event_invalid"),
            Some("data.dispensation_id".to_owned()),
            Some("not a string")
        )
    );
    assert_eq!(
        told(&with(sent.clone(), "event_id", None)),
        (
            200,
            r#"{"code":"dead_lettered","reason":"event_invalid"}"#.to_owned(),
            Some("event_id".to_owned()),
            Some("missing")
        )
    );
    assert_eq!(
        told(&with(
            sent.clone(),
            "environment",
            Some("production".into())
        )),
        (200, of_event("environment_mismatch"), None, None)
    );
    let mut vars = vars();
    vars["SOURCE_OSIGU"]["provider_slug"] = "another-clinic".into();
    let gateway = gateway_of(&vars);
    let sent = bytes(&sent);
    let (answer, _) = dead_lettered(&gateway, &sent);
    assert_eq!(
        (answer.status, answer.body),
        (200, of_event("provider_mismatch"))
    );
}

#[test]
fn every_case_gets_as_far_as_the_question_to_its_entitys_object() {
    let gateway = gateway();
    for case in all_cases() {
        let sent = body(case);
        let effect = begin(&gateway, Some(&signed(&sent)), &sent, NOW);
        assert!(matches!(effect, Effect::Ask { .. }), "{case}: {effect:?}");
    }
}

//! PHIL's callbacks: what is required, what a destination gets of each, the gateway's own notice, and what the caller is told in PHIL's own form.

use std::collections::BTreeSet;
use std::fs;

use rxgate::auth::RawBody;
use rxgate::entity::Life;
use rxgate::event::phi::{Action, Actions, Class, Policy};
use rxgate::event::{Invalid, Malformed, State};
use rxgate::outcome::Outcome;
use rxgate::parcel::Reason;
use rxgate::provider::phil::{Echo, Ended, ErrorType, Overdue, Reply, answer, callback_missing};
use rxgate::provider::{Provider, Refusal, RetryPolicy, Unknown};
use rxgate::time::{Timestamp, Zone};
use serde_json::{Value, json};

use crate::phi::shows;
use crate::support::{
    Event, NOW, assert_golden, fixture, fixtures, read_unsigned, scheme, signed, written,
};

#[rustfmt::skip]
const CASES: [(&str, &str, &str, State); 5] = [
    ("received",       "RECEIVED",  "rx.transfer.received",  State::Received),
    ("confirmed",      "CONFIRMED", "rx.transfer.confirmed", State::Confirmed),
    ("confirmed_flat", "CONFIRMED", "rx.transfer.confirmed", State::Confirmed),
    ("error",          "ERROR",     "rx.transfer.failed",    State::Failed),
    ("seed_sample",    "CONFIRMED", "rx.transfer.confirmed", State::Confirmed),
];

/// 2024-09-11T12:26:00Z, as in the document's own answer.
const ANSWERED: Timestamp = Timestamp(1_726_057_560_000);

fn body(case: &str) -> Vec<u8> {
    fixture(&format!("phil-callback/{case}/body.json"))
}

fn value(case: &str) -> Value {
    serde_json::from_slice(&body(case)).unwrap()
}

/// `value` with something else at a JSON pointer; `None` takes the field out.
fn with(mut value: Value, pointer: &str, new: Option<Value>) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match new {
        Some(new) => parent.insert(field.to_owned(), new),
        None => parent.remove(field),
    };
    value
}

fn read_as(body: &[u8], phi: &Policy) -> Result<Event, Refusal> {
    match read_unsigned(Provider::PhilCallback, body, None, Zone::default(), phi) {
        Ok((event, derived)) => {
            assert!(derived);
            Ok(event)
        }
        Err((refusal, id)) => {
            assert_eq!(id, None);
            Err(refusal)
        }
    }
}

#[track_caller]
fn event(sent: &Value) -> Event {
    read_as(sent.to_string().as_bytes(), &Policy::default()).unwrap_or_else(|why| panic!("{why:?}"))
}

fn refusal(sent: &[u8]) -> Refusal {
    match read_as(sent, &Policy::default()) {
        Ok(event) => panic!("read: {}", event.text()),
        Err(why) => why,
    }
}

fn policy(action: Action) -> Policy {
    let key = (action == Action::Pseudonym).then_some(&b"phi-key-0123456789-0123456789-01"[..]);
    Policy::new(Actions::all(action), key).unwrap()
}

// ── what a destination gets ──

#[test]
fn each_callback_becomes_the_canonical_event_that_is_kept_beside_it() {
    for case in CASES.map(|case| case.0).into_iter().chain(["unknown"]) {
        let event = read_as(&body(case), &Policy::default()).unwrap();
        assert_golden(&format!("phil-callback/{case}/event.json"), &event.bytes);
        assert_eq!(event.noted(), [""; 0], "{case}");
        assert_eq!(
            event.original().as_bytes(),
            body(case).trim_ascii(),
            "{case}"
        );
    }
    let folders: BTreeSet<String> = fs::read_dir(fixtures().join("phil-callback"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let cases = CASES
        .map(|case| case.0)
        .into_iter()
        .chain(["unknown", "answers"]);
    assert_eq!(folders, cases.map(str::to_owned).collect());
}

#[test]
fn every_field_of_the_fixtures_has_a_class() {
    fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value.as_object() {
            Some(members) => members.iter().for_each(|(name, value)| {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{dot}{name}"), found);
            }),
            None => {
                found.insert(path.to_owned());
            }
        }
    }
    let classes = Provider::PhilCallback.classes("CONFIRMED");
    let known: BTreeSet<&str> = classes.iter().map(|(path, _)| path.as_str()).collect();
    let mut found = BTreeSet::new();
    for (case, ..) in CASES {
        leaves(&value(case), "", &mut found);
    }
    let of_prescriber = |path: &String| path.split('.').any(|name| name == "prescriber");
    let without: Vec<&String> = found
        .iter()
        .filter(|path| !known.contains(path.as_str()) && !of_prescriber(path))
        .collect();
    assert_eq!(without, [""; 0]);
    assert!(found.len() > 20 && found.iter().any(of_prescriber));
    assert!(classes.contains(&("prescription.prescriber".to_owned(), Class::Contact)));
}

#[test]
fn each_response_type_has_its_type_subject_time_and_place_in_the_life_of_its_transfer() {
    for (case, response_type, canonical, state) in CASES {
        let sent = value(case);
        let event = event(&sent);
        let json = event.json();
        assert_eq!(
            (&json["type"], &json["rxeventtype"]),
            (&json!(canonical), &json!(response_type))
        );
        assert_eq!(
            (&json["rxprovider"], &json["rxauth"]),
            (&json!("phil-callback"), &json!("token"))
        );
        let id = sent["requestID"].as_str().unwrap();
        assert_eq!(json["subject"], format!("transfer/{id}"));
        assert_eq!(
            event.entity.as_deref(),
            Some(format!("transfer/{id}").as_str())
        );
        assert_eq!(json["time"], sent["metadata"]["responseTimestamp"]);
        assert_eq!(json["rxemittedat"], sent["metadata"]["responseTimestamp"]);
        assert_eq!(
            json["data"]["entity"]["reference_id"],
            "partner_reference_id"
        );
        assert_eq!(json["data"]["entity"]["response_id"], "partner_response_id");
        assert_eq!(event.step.state, state as u8, "{case}");
        assert_eq!(event.step.life, Life::Transfer);
        assert_eq!(
            event.step.node,
            Life::Transfer.number(response_type).unwrap()
        );
        assert_eq!(
            event.step.at,
            Timestamp::parse_rfc3339("2024-09-11T13:55:00Z").unwrap()
        );
    }
}

#[test]
fn a_prescription_is_read_where_the_callback_has_it_or_beside_it() {
    let nested = event(&value("confirmed")).json()["data"].clone();
    let flat = event(&value("confirmed_flat")).json()["data"].clone();
    for field in ["patient", "items", "written_at", "expires_at"] {
        assert_eq!(nested[field], flat[field], "{field}");
    }
    assert_eq!(
        nested["patient"],
        json!({
            "first_name": "John", "last_name": "Doe", "date_of_birth": "1992-03-20", "gender": "M",
            "address": { "line1": "1 Main St", "city": "Seattle", "state": "WA", "postal_code": "98101", "country": "US" },
        })
    );
    // `30.0` was sent: JSON readers lose that digit, the bytes don't.
    let sent = read_as(&body("confirmed"), &Policy::default()).unwrap();
    assert_eq!(
        sent.json()["data"]["items"],
        json!([{
            "code": "00093092606", "quantity": "30.0", "directions": "Take 1 tablet by mouth twice daily",
            "duration_days": "15", "refills_written": "3", "refills_remaining": "2",
        }])
    );
    let error = event(&value("error")).json()["data"].clone();
    assert_eq!(
        error["reason"],
        json!({ "code": "MISSING_INFO", "text": "missing rx daysSupply" })
    );
    assert_eq!((error.get("items"), error.get("patient")), (None, None));
}

// ── what is required ──

#[test]
fn nothing_is_required_but_request_id_and_response_type() {
    let least = json!({ "requestID": "r", "metadata": { "responseType": "RECEIVED" } });
    let read = event(&least);
    assert_eq!((read.unknown, read.noted()), (None, vec![]));
    assert_eq!(
        (read.json().get("time"), read.json().get("rxemittedat")),
        (None, None)
    );
    let expected = |path: &str, problem| {
        Refusal::Invalid(Invalid {
            path: path.to_owned(),
            problem,
        })
    };
    for (pointer, path) in [
        ("/requestID", "requestID"),
        ("/metadata/responseType", "metadata.responseType"),
    ] {
        for (wrong, problem) in [
            (None, "missing"),
            (Some(Value::Null), "missing"),
            (Some(json!("")), "missing"),
            (Some(json!(7)), "not a string"),
            (Some(json!({})), "not a string"),
            (Some(json!("a\u{1}")), "not 1 to 256 printable characters"),
        ] {
            let sent = with(least.clone(), pointer, wrong);
            assert_eq!(
                refusal(sent.to_string().as_bytes()),
                expected(path, problem),
                "{path}"
            );
        }
    }
    let sent = with(least.clone(), "/metadata", None);
    assert_eq!(
        refusal(sent.to_string().as_bytes()),
        expected("metadata", "missing")
    );
    let sent = with(least, "/metadata", Some(json!("x")));
    assert_eq!(
        refusal(sent.to_string().as_bytes()),
        expected("metadata", "not an object")
    );
    // It stands at the top: in requests it is inside of the metadata.
    let inside = json!({ "metadata": { "requestID": "r", "responseType": "CONFIRMED" } });
    assert_eq!(
        refusal(inside.to_string().as_bytes()),
        expected("requestID", "missing")
    );
    assert_eq!(refusal(b"[]"), Refusal::Malformed(Malformed::NotAnObject));
}

#[test]
fn a_field_of_another_type_is_noted_and_the_event_is_delivered_without_it() {
    let sent = json!({
        "requestID": "r",
        "metadata": { "responseType": "ERROR", "referenceID": [], "responseID": {}, "responseTimestamp": "yesterday" },
        "error": { "type": 7, "description": 8 },
        "prescription": { "patient": { "name": 1, "dateOfBirth": 2, "address": { "city": 3 } }, "quantity": "many", "sig": 4 },
    });
    let event = event(&sent);
    let mut noted = event.noted();
    noted.sort();
    let expected = [
        "error.description: string",
        "error.type: string",
        "metadata.referenceID: string or number",
        "metadata.responseID: string or number",
        "metadata.responseTimestamp: RFC 3339 date-time",
        "prescription.patient.address.city: string",
        "prescription.patient.dateOfBirth: string",
        "prescription.patient.name: object",
        "prescription.quantity: decimal number",
        "prescription.sig: string",
    ];
    assert_eq!(noted, expected);
    assert_eq!(event.json()["type"], "rx.transfer.failed");
}

#[test]
fn a_response_type_that_we_do_not_know_is_delivered_as_unknown() {
    for other in [
        "CANCELLED",
        "confirmed",
        "CONFIRMED ",
        "REJECTED",
        "callback_missing",
        "RX_CALLBACK_SUCCESS",
    ] {
        let sent = with(
            value("confirmed"),
            "/metadata/responseType",
            Some(other.into()),
        );
        let event = event(&sent);
        assert_eq!(event.unknown, Some(Unknown::EventType), "{other}");
        let json = event.json();
        assert_eq!(
            (&json["type"], &json["rxeventtype"]),
            (&json!("rx.unknown"), &json!(other))
        );
        // It is about a transfer, and says nothing of it.
        let entity = Some("transfer/6a742tg3aof9f94t35270");
        assert_eq!(
            (json.get("subject"), event.entity.as_deref()),
            (None, entity)
        );
    }
}

#[test]
fn an_event_is_told_by_request_response_type_and_response() {
    let id = |sent: &Value| event(sent).id;
    let sent = value("confirmed");
    let base = id(&sent);
    assert!(base.strip_prefix("rxc_").is_some_and(|hex| hex.len() == 64));
    // Whatever else it says.
    for (pointer, new) in [
        (
            "/metadata/responseTimestamp",
            Some(json!("2024-09-11T14:00:00Z")),
        ),
        ("/metadata/referenceID", None),
        ("/prescription", None),
    ] {
        assert_eq!(id(&with(sent.clone(), pointer, new)), base, "{pointer}");
    }
    let mut ids = BTreeSet::from([base]);
    for (pointer, new) in [
        ("/requestID", Some(json!("other"))),
        ("/metadata/responseType", Some(json!("ERROR"))),
        ("/metadata/responseID", Some(json!("other"))),
        ("/metadata/responseID", Some(json!(""))),
        ("/metadata/responseID", None),
    ] {
        assert!(
            ids.insert(id(&with(sent.clone(), pointer, new))),
            "{pointer}"
        );
    }
    // Without a response's id all that it says tells: in doubt two events, never one. White space and order don't.
    for none in [None, Some(json!("")), Some(Value::Null)] {
        let unnamed = with(sent.clone(), "/metadata/responseID", none);
        let base = id(&unnamed);
        let error = |text: &str| {
            with(
                unnamed.clone(),
                "/error",
                Some(json!({ "type": "OTHER", "description": text })),
            )
        };
        assert!(id(&error("a")) != id(&error("b")) && id(&error("a")) != base);
        let spaced = serde_json::to_string_pretty(&unnamed).unwrap();
        assert_eq!(
            read_as(spaced.as_bytes(), &Policy::default()).unwrap().id,
            base
        );
    }
    // The three don't run into each other.
    let of = |request: &str, response: &str| {
        id(
            &json!({ "requestID": request, "metadata": { "responseType": "ERROR", "responseID": response } }),
        )
    };
    assert_ne!(of("ab", "c"), of("a", "bc"));
    for action in [Action::Drop, Action::Pseudonym] {
        let event = read_as(&body("confirmed"), &policy(action)).unwrap();
        assert!(ids.contains(&event.id));
    }
}

// ── the gateway's own notice ──

#[test]
fn a_callback_that_is_missing_is_told_with_what_was_expected() {
    let requested_at = Timestamp::parse_rfc3339("2024-09-11T12:12:00Z").unwrap();
    let due_at = requested_at.after(std::time::Duration::from_secs(4 * 3600));
    let notice = |phi: &Policy| {
        let decoded = callback_missing(&Overdue {
            source: "phil",
            phi,
            request_id: "6a742tg3aof9f94t35270",
            requested_at,
            due_at,
            auth: "token",
            key_id: "first",
        });
        assert_eq!(
            decoded.entity.as_deref(),
            Some("transfer/6a742tg3aof9f94t35270")
        );
        let node = Life::Transfer.number("callback_missing").unwrap();
        assert_eq!(
            (decoded.step.node, decoded.step.state),
            (node, State::Failed as u8)
        );
        let event: Value = serde_json::from_slice(&written(&decoded, 0)).unwrap();
        #[cfg(feature = "schema")]
        assert_eq!(crate::schemas::faults_as(&event, phi.variant()), [""; 0]);
        event
    };
    let event = notice(&Policy::default());
    assert_eq!(event["type"], "rx.transfer.callback_missing");
    assert_eq!(event["subject"], "transfer/6a742tg3aof9f94t35270");
    assert_eq!(event["time"], "2024-09-11T16:12:00.000Z");
    assert_eq!(
        event["data"],
        json!({
            "state": "failed",
            "entity": { "type": "transfer", "id": "6a742tg3aof9f94t35270" },
            "due_at": "2024-09-11T16:12:00.000Z",
            "requested_at": "2024-09-11T12:12:00.000Z",
        })
    );
    for action in [Action::Drop, Action::Pseudonym] {
        let redacted = notice(&policy(action));
        assert_eq!(redacted["id"], event["id"]);
        assert!(!redacted.to_string().contains("6a742tg3aof9f94t35270"));
        assert_eq!(redacted["data"]["redacted"], true);
    }
}

// ── patient data ──

#[test]
fn each_class_goes_under_its_own_action_in_the_canonical_fields_and_in_original_alike() {
    let mut sent = json!({ "prescription": { "prescriber": {} } });
    let mut marks = Vec::new();
    for (path, class) in Provider::PhilCallback.classes("CONFIRMED") {
        let text = format!("Mark{:04}ñ", marks.len());
        let number = format!("7310{:04}", marks.len());
        let decimals = [
            "quantity",
            "daysSupply",
            "refillsWritten",
            "refillsRemaining",
        ];
        let field = path.rsplit('.').next().unwrap();
        let nested = path.starts_with("prescription.")
            || path.starts_with("metadata.")
            || path.starts_with("error.");
        if ["responseType", "responseTimestamp"].contains(&field)
            || (!nested && path != "requestID")
        {
            continue;
        }
        let mark = if decimals.contains(&field) {
            number
        } else {
            text
        };
        let mut place = &mut sent;
        for name in path.split('.') {
            if place.is_null() {
                *place = json!({});
            }
            place = &mut place[name];
        }
        *place = if field == "prescriber" {
            json!({ mark.clone(): mark.clone() })
        } else {
            json!(mark)
        };
        marks.push((class, mark));
    }
    sent["metadata"]["responseType"] = json!("ERROR");
    sent["prescription"]["new"] = json!("Mark9999ñ");
    marks.push((Class::Unknown, "Mark9999ñ".to_owned()));
    assert!(marks.len() > 25);
    let bytes = sent.to_string();
    let passed = read_as(bytes.as_bytes(), &Policy::default()).unwrap();
    assert!(marks.iter().all(|(_, mark)| shows(passed.original(), mark)));
    for class in Class::SET {
        for action in [Action::Drop, Action::Pseudonym] {
            let key =
                (action == Action::Pseudonym).then_some(&b"phi-key-0123456789-0123456789-01"[..]);
            let phi = Policy::new(Actions::default().with(class, action), key).unwrap();
            let event = read_as(bytes.as_bytes(), &phi).unwrap();
            for (of, mark) in &marks {
                let held = *of == class || *of == Class::Unknown;
                assert_eq!(
                    shows(event.text(), mark),
                    !held,
                    "{class:?} {action:?} {mark}"
                );
            }
            assert_eq!(
                (event.entity, event.step),
                (passed.entity.clone(), passed.step)
            );
        }
    }
}

#[cfg(feature = "schema")]
#[test]
fn every_event_keeps_to_its_schema_whatever_phi_does() {
    use rxgate::event::phi::Variant;
    let mixed = Policy::new(Actions::default().with(Class::Contact, Action::Drop), None).unwrap();
    let policies = [
        Policy::default(),
        policy(Action::Drop),
        policy(Action::Pseudonym),
        mixed,
    ];
    let least = br#"{"requestID":"r","metadata":{"responseType":"CONFIRMED"}}"#.to_vec();
    for (phi, variant) in policies.iter().zip(Variant::ALL) {
        let cases = CASES.map(|case| body(case.0));
        for sent in cases.into_iter().chain([body("unknown"), least.clone()]) {
            let event = read_as(&sent, phi).unwrap();
            let whole: Value = serde_json::from_slice(&event.bytes).unwrap();
            assert_eq!(
                crate::schemas::faults_as(&whole, variant),
                [""; 0],
                "{variant:?}"
            );
        }
    }
}

// ── what the caller is told ──

fn echo(body: &[u8]) -> Echo {
    let header = signed(body);
    let verified = scheme()
        .authenticate(Some(&header), RawBody::new(body), NOW)
        .unwrap();
    Echo::read(&verified)
}

fn ended(outcome: Outcome) -> Ended<'static> {
    Ended {
        outcome,
        reason: None,
        problem: None,
        path: None,
    }
}

/// The answer to a callback that couldn't be read.
fn told_of(sent: &[u8]) -> Reply {
    let (reason, problem, path) = match refusal(sent) {
        Refusal::Malformed(why) => (Reason::BodyMalformed, why.name(), None),
        Refusal::Invalid(Invalid { path, problem }) => (Reason::EventInvalid, problem, Some(path)),
        other => panic!("{other:?}"),
    };
    let ended = Ended {
        outcome: Outcome::DeadLettered,
        reason: Some(reason),
        problem: Some(problem),
        path: path.as_deref(),
    };
    answer(&ended, &echo(sent), ANSWERED)
}

#[track_caller]
fn assert_answer(name: &str, status: u16, reply: &Reply) {
    assert_eq!(reply.status, status, "{name}");
    assert_golden(
        &format!("phil-callback/answers/{name}.json"),
        reply.body.as_bytes(),
    );
}

#[test]
fn a_callback_that_is_delivered_enqueued_withheld_or_a_duplicate_is_a_success_and_nothing_else_is()
{
    let echo = echo(&body("confirmed"));
    for outcome in Outcome::ALL {
        let reply = answer(&ended(outcome), &echo, ANSWERED);
        let told: Value = serde_json::from_str(&reply.body).unwrap();
        let success = [
            Outcome::Delivered,
            Outcome::Enqueued,
            Outcome::Withheld,
            Outcome::Duplicate,
        ]
        .contains(&outcome);
        let expected = if success {
            "RX_CALLBACK_SUCCESS"
        } else {
            "RX_CALLBACK_ERROR"
        };
        assert_eq!(told["metadata"]["responseType"], expected, "{outcome:?}");
        assert_eq!(told.get("error").is_none(), success, "{outcome:?}");
        assert_eq!(reply.status, outcome.spec().status, "{outcome:?}");
        assert_eq!(
            told["metadata"]["responseTimestamp"],
            "2024-09-11T12:26:00Z"
        );
        if success {
            assert_answer("success", 200, &reply);
        }
    }
}

#[test]
fn what_is_not_authorized_too_large_or_not_available_is_told_in_the_same_form_and_repeats_nothing()
{
    let echo = echo(&body("confirmed"));
    let mut repeated = BTreeSet::new();
    for outcome in Outcome::ALL {
        let reply = answer(&ended(outcome), &echo, ANSWERED);
        let told: Value = serde_json::from_str(&reply.body).unwrap();
        if reply.body.contains("6a742tg3aof9f94t35270") {
            assert!(
                reply.body.contains("partner_reference_id")
                    && reply.body.contains("partner_response_id")
            );
            repeated.insert(outcome.spec().code);
        } else {
            assert_eq!(told["requestID"], "");
            assert_eq!(
                (
                    &told["metadata"]["referenceID"],
                    &told["metadata"]["responseID"]
                ),
                (&json!(""), &json!(""))
            );
            assert_eq!(told["error"]["type"], "OTHER");
        }
    }
    let expected = [
        "delivered",
        "enqueued",
        "withheld",
        "duplicate",
        "dead_lettered",
        "delivery_failed",
        "delivery_timed_out",
    ];
    assert_eq!(repeated, expected.into());
    for (name, status, outcome) in [
        ("unauthorized", 401, Outcome::SignatureMismatch),
        ("too_large", 413, Outcome::BodyTooLarge),
        ("unavailable", 503, Outcome::StoreUnavailable),
        ("in_flight", 503, Outcome::InFlight),
        ("delivery_failed", 502, Outcome::DeliveryFailed),
    ] {
        assert_answer(name, status, &answer(&ended(outcome), &echo, ANSWERED));
    }
}

#[test]
fn a_bad_request_is_400_and_names_the_field() {
    // The document's own: "could not map callback - requestID is missing."
    let missing = with(value("confirmed"), "/requestID", None);
    let reply = told_of(missing.to_string().as_bytes());
    assert_answer("request_id_missing", 400, &reply);
    assert_eq!(
        serde_json::from_str::<Value>(&reply.body).unwrap(),
        json!({
            "requestID": "",
            "metadata": {
                "referenceID": "partner_reference_id",
                "responseType": "RX_CALLBACK_ERROR",
                "responseID": "partner_response_id",
                "responseTimestamp": "2024-09-11T12:26:00Z",
            },
            "error": { "type": "MISSING_INFO", "description": "could not map callback - requestID is missing." },
        })
    );
    let empty = with(value("confirmed"), "/requestID", Some(json!("")));
    assert_eq!(told_of(empty.to_string().as_bytes()), reply);
    for (name, pointer, new) in [
        ("response_type_missing", "/metadata/responseType", None),
        (
            "response_type_invalid",
            "/metadata/responseType",
            Some(json!(["López"])),
        ),
        ("metadata_missing", "/metadata", None),
    ] {
        let sent = with(value("confirmed"), pointer, new);
        assert_answer(name, 400, &told_of(sent.to_string().as_bytes()));
    }
    assert_answer("not_json", 400, &told_of(b"not JSON"));
    let twice = br#"{"requestID":"a","requestID":"b"}"#;
    assert_answer("duplicate_key", 400, &told_of(twice));
}

#[test]
fn each_reason_for_a_dead_letter_has_its_type_and_a_duplicate_of_one_has_the_same() {
    let echo = echo(&body("confirmed"));
    for reason in Reason::ALL {
        let letter = |outcome| Ended {
            outcome,
            reason: Some(reason),
            problem: Some("not a string"),
            path: Some("metadata.responseType"),
        };
        let reply = answer(&letter(Outcome::DeadLettered), &echo, ANSWERED);
        let told: Value = serde_json::from_str(&reply.body).unwrap();
        let expected = match reason {
            Reason::BodyMalformed => (400, json!("SPEC_MISMATCH")),
            Reason::EventInvalid
            | Reason::EventContradictory
            | Reason::ExpectationUnknown
            | Reason::EnvironmentMismatch
            | Reason::ProviderMismatch => (400, json!("INVALID_INFO")),
            Reason::DeliveryRejected | Reason::AttemptsUsedUp | Reason::MessageUnreadable => {
                (200, json!("OTHER"))
            }
            Reason::WithheldSuperseded => (200, Value::Null),
        };
        assert_eq!(
            (reply.status, told["error"]["type"].clone()),
            expected,
            "{reason:?}"
        );
        assert_eq!(
            answer(&letter(Outcome::Duplicate), &echo, ANSWERED),
            reply,
            "{reason:?}"
        );
    }
    let names = ErrorType::ALL.map(ErrorType::name);
    assert_eq!(
        names,
        [
            "MISSING_INFO",
            "INVALID_INFO",
            "RX_EXPIRED",
            "SPEC_MISMATCH",
            "DUPLICATE_REQUEST",
            "OTHER"
        ]
    );
}

#[test]
fn an_answer_repeats_ids_only_and_no_more_than_an_id_may_hold() {
    let long = "x".repeat(257);
    let sent = json!({ "requestID": long, "metadata": { "referenceID": { "a": 1 }, "responseID": "a\u{7}" } });
    assert_eq!(echo(sent.to_string().as_bytes()), Echo::default());
    assert_eq!(echo(b"not JSON"), Echo::default());
    assert_eq!(format!("{:?}", echo(&body("confirmed"))), "Echo(..)");
    let quoted = with(value("confirmed"), "/requestID", Some(json!("a\"}\\López")));
    let reply = answer(
        &ended(Outcome::Delivered),
        &echo(quoted.to_string().as_bytes()),
        ANSWERED,
    );
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(told["requestID"], "a\"}\\López");
}

#[test]
fn what_is_known_of_phil_is_what_its_documents_say() {
    let phil = Provider::PhilCallback;
    assert_eq!(phil.name(), "phil-callback");
    assert_eq!((phil.signature_header(), phil.content_type()), (None, None));
    assert_eq!(phil.retry_policy(), RetryPolicy::Unknown);
    let types: Vec<(&str, &str)> = phil.event_types().collect();
    assert_eq!(
        types,
        [
            ("RECEIVED", "rx.transfer.received"),
            ("CONFIRMED", "rx.transfer.confirmed"),
            ("ERROR", "rx.transfer.failed"),
            ("callback_missing", "rx.transfer.callback_missing"),
        ]
    );
}

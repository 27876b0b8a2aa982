//! Senders that sign nothing: what they have to bring instead, fault by fault, and both of them through the machine.

use std::collections::BTreeMap;

use rxgate::auth::RawBody;
use rxgate::config::Config;
use rxgate::inbound::{Inbound, Received};
use rxgate::machine::Gateway;
use serde_json::{Value, json};

use crate::driver::{Ask, End, Fault, START, Take, World, bindings, secrets, settings};
use crate::support::fixture;

const TOKEN: &str = "path-token-0123456789abcdef";
const PHIL_KEY: &str = "phil-callback-key-0123456789";

fn secrets_of_both() -> BTreeMap<String, String> {
    let more = [
        ("PATH_TOKEN", TOKEN),
        ("PATH_TOKEN_NEXT", "path-token-next-0123456789"),
        ("SHORT_TOKEN", "0123456789"),
        ("SLASH_TOKEN", "path/token/0123456789abcdef"),
        ("PORTAL_KEY", "portal-key-0123456789"),
        ("PORTAL_BASIC", "portal:portal-password-0123"),
        ("PHIL_KEY", PHIL_KEY),
        ("PHIL_KEY_NEXT", "phil-callback-next-0123456789"),
    ];
    let mut all = secrets();
    all.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    all
}

fn evitalrx(more: &Value) -> Value {
    let mut source = json!({
        "provider": "evitalrx", "destination": "origin", "accept_unsigned": true,
        "path_tokens": [{ "id": "path-1", "secret": "PATH_TOKEN" }],
    });
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            source.as_object_mut().unwrap().remove(name);
        } else {
            source[name] = value.clone();
        }
    }
    source
}

fn phil(more: &Value) -> Value {
    let mut source = json!({
        "provider": "phil-callback", "destination": "origin",
        "keys": [{ "id": "phil-1", "secret": "PHIL_KEY" }, { "id": "phil-2", "secret": "PHIL_KEY_NEXT" }],
    });
    for (name, value) in more.as_object().unwrap() {
        source[name] = value.clone();
    }
    source
}

fn config(source: &Value) -> Config {
    let mut settings = settings();
    settings["SOURCE_IT"] = source.clone();
    let queues = bindings(&["DELIVERIES"]);
    Config::parse(settings.as_object().unwrap(), &secrets_of_both(), queues)
}

fn faults(source: &Value) -> Vec<String> {
    config(source)
        .faults
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn world(source: &Value) -> World {
    let config = config(source);
    assert_eq!(config.faults, []);
    World::of(Gateway::new(config, &[9; 32]))
}

#[derive(Clone, Copy, Default)]
struct Brought<'a> {
    path: Option<&'a str>,
    address: Option<&'a str>,
    header: Option<&'a str>,
}

fn send(world: &mut World, body: &str, brought: Brought<'_>) -> End {
    let inbound = Inbound {
        method: "POST",
        source: "it",
        path: brought.path,
        address: brought.address,
        received: Received::Complete,
        url: None,
        signature: brought.header,
        more: &[],
        content_type: Some("text/plain"),
        traceparent: None,
        body: RawBody::new(body.as_bytes()),
    };
    let flight = world.begin_with(inbound, START);
    world.finish(flight)
}

fn at(path: &str) -> Brought<'_> {
    Brought {
        path: Some(path),
        ..Brought::default()
    }
}

fn last(world: &World) -> Value {
    serde_json::from_slice(&world.delivered.last().unwrap().body).unwrap()
}

const ACCEPT: &str = r#"{"id":"buctt+C5QzfVvqdIpKkYnQ==","chemist_id":"chm_1","transaction_nature":"accept","order_status":"accepted","delivery_type":"delivery"}"#;

#[test]
fn a_sender_that_signs_nothing_needs_an_explicit_word_and_at_least_one_condition() {
    assert_eq!(
        faults(&evitalrx(
            &json!({ "accept_unsigned": null, "path_tokens": null })
        )),
        [
            "SOURCE_IT.accept_unsigned: has to be true: this sender signs nothing",
            "SOURCE_IT.path_tokens: is missing: a sender that signs nothing needs path_tokens, header, basic or addresses",
        ]
    );
    let token = |secret| evitalrx(&json!({ "path_tokens": [{ "id": "p", "secret": secret }] }));
    for secret in ["SHORT_TOKEN", "SLASH_TOKEN"] {
        let problem = format!(
            "SOURCE_IT.path_tokens[0].secret: the secret {secret} isn't 22 or more letters, digits, -, ., _ and ~: 128 bits that a path can hold"
        );
        assert!(faults(&token(secret)).contains(&problem), "{secret}");
    }
    assert_eq!(
        faults(&evitalrx(
            &json!({ "addresses": ["203.0.113.1/24", "::1"] })
        )),
        [
            "SOURCE_IT.addresses[0]: isn't an address or a range of them, such as 203.0.113.0/24 or 2001:db8::/32"
        ]
    );
    let header = json!({ "name": "x-portal-key", "keys": [{ "id": "h", "secret": "PORTAL_KEY" }] });
    let basic = json!([{ "id": "b", "secret": "PORTAL_BASIC" }]);
    assert_eq!(
        faults(&evitalrx(&json!({ "header": header, "basic": basic }))),
        ["SOURCE_IT.basic: can't go with header"]
    );
    assert_eq!(
        faults(&evitalrx(&json!({ "zone": "Asia/Calcutta" }))),
        ["SOURCE_IT.zone: isn't Asia/Kolkata or an offset such as +05:30"]
    );
    assert_eq!(
        faults(&evitalrx(
            &json!({ "keys": [{ "id": "k", "secret": "PHIL_KEY" }], "authorization_scheme": "Bearer" })
        )),
        [
            "SOURCE_IT.authorization_scheme: is for provider = \"phil-callback\"",
            "SOURCE_IT.keys: is for provider = \"osigu\"",
        ]
    );
    assert_eq!(
        faults(&phil(
            &json!({ "authorization_scheme": "Bearer x", "path_tokens": [] })
        )),
        [
            "SOURCE_IT.path_tokens: is for provider = \"evitalrx\"",
            "SOURCE_IT.authorization_scheme: isn't a word such as Bearer",
        ]
    );
}

#[test]
fn what_cant_be_retried_needs_a_queue_behind_it() {
    let mut settings = settings();
    settings["SOURCE_IT"] = evitalrx(&json!({}));
    let config = Config::parse(
        settings.as_object().unwrap(),
        &secrets_of_both(),
        bindings(&[]),
    );
    let faults: Vec<String> = config.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("SOURCE_IT.destination: has no queue behind it"));
}

#[test]
fn an_order_has_rounds_so_kv_cannot_remember_it() {
    let of = |source: &Value| -> Vec<String> {
        faults(source)
            .into_iter()
            .filter(|fault| fault.contains("dedupe"))
            .collect()
    };
    assert_eq!(
        of(&evitalrx(&json!({ "dedupe": "kv" }))),
        [
            "SOURCE_IT.dedupe: has to be exact: the same words come again in another round, and only the order's object knows which round it is"
        ]
    );
    assert_eq!(of(&evitalrx(&json!({ "dedupe": "exact" }))), [""; 0]);
    assert_eq!(of(&phil(&json!({ "dedupe": "kv" }))), [""; 0]);
}

#[test]
fn with_its_token_in_the_path_an_order_is_delivered_and_told_by_its_webhook() {
    let mut world = world(&evitalrx(&json!({})));
    let path = format!("{TOKEN}/order-accepted");
    let end = send(&mut world, ACCEPT, at(&path));
    assert_eq!((end.answer.status, end.record.code), (200, "delivered"));
    assert_eq!(end.record.key_id.as_deref(), Some("path-1"));
    let event = last(&world);
    assert_eq!(event["type"], "rx.order.accepted");
    assert_eq!(
        (&event["rxauth"], &event["rxkeyid"]),
        (&json!("token"), &json!("path-1"))
    );
    assert_eq!(event["subject"], "order/buctt+C5QzfVvqdIpKkYnQ==");
    assert_eq!(event["rxordering"], "in_order");
    // Without a webhook in the path the body tells.
    let other = ACCEPT.replace("buctt", "other");
    let end = send(&mut world, &other, at(TOKEN));
    assert_eq!(end.record.code, "delivered");
    // The two disagreeing is an error that names both.
    let end = send(&mut world, ACCEPT, at(&format!("{TOKEN}/order-shipped")));
    assert_eq!((end.answer.status, end.record.code), (200, "dead_lettered"));
    assert_eq!(end.record.reason, Some("event_contradictory"));
    let path = end.record.path.unwrap();
    assert!(
        path.contains("order-shipped") && path.contains("transaction_nature"),
        "{path}"
    );
}

#[test]
fn a_wrong_token_is_answered_as_an_unknown_source_whatever_else_is_brought() {
    let mut world = world(&evitalrx(&json!({})));
    let unknown = Inbound {
        source: "nobody",
        method: "POST",
        path: Some("a/b"),
        address: None,
        received: Received::Complete,
        url: None,
        signature: None,
        more: &[],
        content_type: None,
        traceparent: None,
        body: RawBody::new(b""),
    };
    let flight = world.begin_with(unknown, START);
    let unknown = world.finish(flight).answer;
    let longer = format!("{TOKEN}x");
    let paths = [
        None,
        Some(""),
        Some("order-accepted"),
        Some(longer.as_str()),
        Some(&TOKEN[1..]),
    ];
    for path in paths {
        let brought = Brought {
            path,
            ..Brought::default()
        };
        let end = send(&mut world, ACCEPT, brought);
        assert_eq!(end.answer, unknown, "{path:?}");
        assert_eq!(end.record.problem, Some("path_token_mismatch"));
    }
    assert!(world.delivered.is_empty() && world.asked.is_empty());
}

#[test]
fn all_conditions_have_to_hold() {
    let all = evitalrx(&json!({
        "header": { "name": "x-portal-key", "keys": [{ "id": "portal", "secret": "PORTAL_KEY" }] },
        "addresses": ["203.0.113.0/24", "2001:db8::/32"],
    }));
    let mut world = world(&all);
    let sound = Brought {
        path: Some(TOKEN),
        address: Some("203.0.113.9"),
        header: Some("portal-key-0123456789"),
    };
    let mut code = |brought| {
        let end = send(&mut world, ACCEPT, brought);
        (end.answer.status, end.record.code)
    };
    let none = None;
    assert_eq!(
        code(Brought {
            path: none,
            ..sound
        }),
        (404, "source_unknown")
    );
    for address in [None, Some("203.0.114.9"), Some("::1"), Some("unknown")] {
        assert_eq!(
            code(Brought { address, ..sound }),
            (403, "address_not_allowed")
        );
    }
    assert_eq!(
        code(Brought {
            header: none,
            ..sound
        }),
        (401, "signature_missing")
    );
    let wrong = Some("portal-key-012345678");
    assert_eq!(
        code(Brought {
            header: wrong,
            ..sound
        }),
        (401, "signature_mismatch")
    );
    let v6 = Some("2001:db8::7");
    assert_eq!(
        code(Brought {
            address: v6,
            ..sound
        }),
        (200, "delivered")
    );
}

#[test]
fn an_address_alone_proves_nothing_and_the_event_says_so() {
    let only = evitalrx(&json!({ "path_tokens": null, "addresses": ["203.0.113.0/24"] }));
    let mut world = world(&only);
    let brought = Brought {
        address: Some("203.0.113.1"),
        path: Some("order-accepted"),
        ..Brought::default()
    };
    assert_eq!(send(&mut world, ACCEPT, brought).record.code, "delivered");
    assert_eq!(last(&world)["rxauth"], "none");
}

// ── PHIL ──

fn callback(kind: &str) -> String {
    format!(
        r#"{{"requestID":"req_1","metadata":{{"referenceID":"ref_1","responseType":"{kind}","responseID":"res_1","responseTimestamp":"2024-09-11T13:55:00Z"}}}}"#
    )
}

fn with(header: &str) -> Brought<'_> {
    Brought {
        header: Some(header),
        ..Brought::default()
    }
}

fn answered(end: &End) -> (u16, Value) {
    (
        end.answer.status,
        serde_json::from_str(&end.answer.body).unwrap(),
    )
}

#[test]
fn a_callback_is_answered_in_phils_own_form() {
    let mut world = world(&phil(&json!({})));
    for code in ["delivered", "duplicate"] {
        let end = send(&mut world, &callback("CONFIRMED"), with(PHIL_KEY));
        assert_eq!(end.record.code, code);
        let (status, answer) = answered(&end);
        assert_eq!((status, &answer["requestID"]), (200, &json!("req_1")));
        assert_eq!(answer["metadata"]["responseType"], "RX_CALLBACK_SUCCESS");
        assert_eq!(answer["metadata"]["referenceID"], "ref_1");
        assert_eq!(answer.get("error"), None);
    }
    let event = last(&world);
    assert_eq!(event["type"], "rx.transfer.confirmed");
    assert_eq!(
        (&event["rxauth"], &event["rxkeyid"]),
        (&json!("token"), &json!("phil-1"))
    );
    assert_eq!(event["data"]["state"], "confirmed");
}

#[test]
fn a_callback_without_its_request_id_is_a_bad_request_a_dead_letter_and_the_same_again() {
    let mut world = world(&phil(&json!({})));
    let body = callback("CONFIRMED").replace(r#""requestID":"req_1","#, "");
    for code in ["dead_lettered", "duplicate"] {
        let end = send(&mut world, &body, with(PHIL_KEY));
        assert_eq!((end.record.code, end.record.status), (code, 400));
        // Flagged: an operator finds it in the log by its level, and among the dead letters.
        assert_eq!(end.record.level == "error", code == "dead_lettered");
        let (status, answer) = answered(&end);
        assert_eq!((status, &answer["requestID"]), (400, &json!("")));
        assert_eq!(answer["metadata"]["responseType"], "RX_CALLBACK_ERROR");
        assert_eq!(answer["error"]["type"], "MISSING_INFO");
        assert_eq!(
            answer["error"]["description"],
            "could not map callback - requestID is missing."
        );
    }
}

#[test]
fn the_authorization_is_the_bare_key_or_stands_behind_the_word_that_is_configured() {
    let mut bare = world(&phil(&json!({})));
    let mut behind = world(&phil(&json!({ "authorization_scheme": "Bearer" })));
    let word = format!("Bearer {PHIL_KEY}");
    let next = "phil-callback-next-0123456789";
    assert_eq!(
        send(&mut bare, &callback("ERROR"), with(next))
            .answer
            .status,
        200
    );
    assert_eq!(
        send(&mut behind, &callback("ERROR"), with(&word))
            .answer
            .status,
        200
    );
    for (of_bare, header) in [
        (true, Some(word.as_str())),
        (true, Some("wrong-key-0123456789")),
        (true, None),
        (false, Some(PHIL_KEY)),
    ] {
        let world = if of_bare { &mut bare } else { &mut behind };
        let brought = Brought {
            header,
            ..Brought::default()
        };
        let end = send(world, &callback("CONFIRMED"), brought);
        let (status, answer) = answered(&end);
        assert_eq!((status, &answer["error"]["type"]), (401, &json!("OTHER")));
        assert_eq!(answer["requestID"], "");
        assert_eq!(answer["metadata"]["referenceID"], "");
    }
}

/// The answer that is kept beside the fixtures, with the time of this one.
fn kept_answer(name: &str, told: &Value) -> Value {
    let mut kept: Value =
        serde_json::from_slice(&fixture(&format!("phil-callback/answers/{name}.json"))).unwrap();
    kept["metadata"]["responseTimestamp"] = told["metadata"]["responseTimestamp"].clone();
    kept
}

#[test]
fn what_is_too_large_not_stored_or_of_a_faulty_source_is_answered_in_phils_form_too() {
    let source = phil(&json!({}));
    let inbound = |received| Inbound {
        method: "POST",
        source: "it",
        path: None,
        address: None,
        received,
        url: None,
        signature: Some(PHIL_KEY),
        more: &[],
        content_type: None,
        traceparent: None,
        body: RawBody::new(b""),
    };
    let mut sound = world(&source);
    let flight = sound.begin_with(inbound(Received::TooLarge), START);
    let (status, told) = answered(&sound.finish(flight));
    assert_eq!(status, 413);
    assert_eq!(told, kept_answer("too_large", &told));
    for received in [Received::Overloaded, Received::Incomplete] {
        let flight = sound.begin_with(inbound(received), START);
        let (status, told) = answered(&sound.finish(flight));
        assert!(status == 503 || status == 400, "{status}");
        assert_eq!(told["error"]["type"], "OTHER");
        assert_eq!(told["requestID"], "");
    }
    let mut strange = inbound(Received::Complete);
    strange.path = Some("anything");
    let flight = sound.begin_with(strange, START);
    let (status, told) = answered(&sound.finish(flight));
    assert_eq!((status, &told["error"]["type"]), (404, &json!("OTHER")));

    // The queue stands behind an origin, but not behind a store that fails and a queue that fails.
    let mut failing = world(&source);
    failing.asks = [Ask::Fails(Fault::Before), Ask::Fails(Fault::Before)].into();
    failing.sends = [Take::Fails(Fault::Before)].into();
    let (status, told) = answered(&send(&mut failing, &callback("CONFIRMED"), with(PHIL_KEY)));
    assert_eq!(status, 503);
    assert_eq!(told, kept_answer("unavailable", &told));

    let faulty = config(&phil(&json!({ "dedupe_window_days": 0 })));
    assert_eq!(faulty.faults.len(), 1);
    let mut faulty = World::of(Gateway::new(faulty, &[9; 32]));
    let end = send(&mut faulty, &callback("CONFIRMED"), with(PHIL_KEY));
    assert_eq!(end.record.code, "source_misconfigured");
    let (status, told) = answered(&end);
    assert_eq!(status, 503);
    assert_eq!(told, kept_answer("unavailable", &told));
}

#[test]
fn basic_stands_for_a_signature_and_the_zone_of_the_source_for_a_times() {
    let source = evitalrx(&json!({
        "path_tokens": null, "basic": [{ "id": "b", "secret": "PORTAL_BASIC" }], "zone": "+00:00",
    }));
    let mut world = world(&source);
    let body = ACCEPT.replace(
        r#""delivery_type""#,
        r#""payment_date":"2026-06-25 10:00:00","delivery_type""#,
    );
    // `printf %s portal:portal-password-0123 | base64`, and one letter more.
    for (header, code) in [
        (None, "signature_missing"),
        (
            Some("Basic cG9ydGFsOnBvcnRhbC1wYXNzd29yZC0wMTI0"),
            "signature_mismatch",
        ),
        (
            Some("Bearer cG9ydGFsOnBvcnRhbC1wYXNzd29yZC0wMTIz"),
            "signature_malformed",
        ),
        (
            Some("Basic cG9ydGFsOnBvcnRhbC1wYXNzd29yZC0wMTIz"),
            "delivered",
        ),
    ] {
        let brought = Brought {
            header,
            ..Brought::default()
        };
        assert_eq!(
            send(&mut world, &body, brought).record.code,
            code,
            "{header:?}"
        );
    }
    let event = last(&world);
    assert_eq!(
        (&event["rxauth"], &event["rxkeyid"]),
        (&json!("token"), &json!("b"))
    );
    assert!(
        event["data"].to_string().contains("2026-06-25T10:00:00"),
        "{event}"
    );
}

#[test]
fn a_second_word_on_a_transfer_is_delivered_as_superseded_and_is_a_success() {
    let mut world = world(&phil(&json!({})));
    send(&mut world, &callback("CONFIRMED"), with(PHIL_KEY));
    let end = send(&mut world, &callback("ERROR"), with(PHIL_KEY));
    assert_eq!(end.record.code, "delivered");
    let (status, answer) = answered(&end);
    assert_eq!(
        (status, &answer["metadata"]["responseType"]),
        (200, &json!("RX_CALLBACK_SUCCESS"))
    );
    assert_eq!(last(&world)["rxordering"], "superseded");
}

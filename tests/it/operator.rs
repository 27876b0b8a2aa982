//! The operator's API: who may, what each route says, and what the cron does.

use std::time::Duration;

use rxgate::config::DELIVERIES;
use rxgate::delivery::webhook_id;
use rxgate::effect::Verdict;
use rxgate::entity::event_digest;
use rxgate::letters::{LETTERS_OBJECT, LetterId};
use rxgate::operator::Ending;
use rxgate::outcome::Level;
use serde_json::{Value, json};

use crate::driver::{
    Ask, Fault, Limited, OPERATOR_KEYS, OUR_KEYS, Origin, START, World, answers, bindings, body,
    gateway_with, header, our_signature, set, settings,
};

const TYPE: &str = "dispensing.completed";
const LETTERS: &str = "/v1/dead-letters";
const UNAUTHORIZED: (u16, &str, Option<u64>) = (401, "operator_unauthorized", None);
const UNAVAILABLE: (u16, &str, Option<u64>) = (503, "store_unavailable", None);
const UNKNOWN: (u16, &str, Option<u64>) = (404, "dead_letter_unknown", None);

fn operated() -> Value {
    let mut settings = settings();
    settings["RXGATE"]["operator_keys"] = json!([
        { "id": "ana", "secret": "OPERATOR_KEY_1" },
        { "id": "luis", "secret": "OPERATOR_KEY_2", "not_after": "2026-12-31T00:00:00Z" },
    ]);
    settings
}

fn world() -> World {
    World::bound(&operated(), &[DELIVERIES])
}

/// A world with so many letters, one a second.
fn with_letters(count: u64) -> World {
    let mut world = world();
    for n in 0..count {
        world.send(&body(&format!("evt_{n}"), TYPE, "{}"));
        world.wait(Duration::from_secs(1));
    }
    world.keep_letters();
    world.did.clear();
    world
}

// ── who may ──

#[test]
fn without_keys_there_is_no_api() {
    let mut world = World::new();
    for (method, target) in [
        ("GET", "/healthz"),
        ("GET", LETTERS),
        ("POST", "/v1/dead-letters/redeliver"),
        ("DELETE", "/v1/dead-letters/dl_AAAAAAAAAAAAAAAAAAAAAA"),
    ] {
        let end = world.call(method, target);
        assert_eq!(end.summary(), (404, "path_unknown", None), "{target}");
        assert_eq!(end.answer.body, r#"{"code":"path_unknown"}"#);
    }
    assert!(world.did.is_empty());
}

#[test]
fn whoever_asks_for_an_api_that_there_isnt_is_rationed_in_the_log() {
    let mut limited = bindings(&[]);
    limited.rate_limit = true;
    let mut settings = settings();
    set(&mut settings, "RXGATE.refusal_sample", json!(10_000));
    let mut world = World::of(gateway_with(&settings, limited));
    let end = world.call("GET", LETTERS);
    assert_eq!(end.summary(), (404, "path_unknown", None));
    assert_eq!((end.logged, end.record.sampled), (true, None));
    assert_eq!(world.did, ["limit /operator"]);
    world.limits.extend([Limited::Over; 50]);
    let ends: Vec<_> = (0..50).map(|_| world.call("GET", LETTERS)).collect();
    assert!(ends.iter().all(|end| end.answer.status == 404));
    assert!(ends.iter().filter(|end| end.logged).count() < 5);
}

#[test]
fn only_a_bearer_of_a_key_may() {
    let mut world = world();
    let [first, second] = OPERATOR_KEYS;
    for (presented, id) in [
        (format!("Bearer {first}"), "ana"),
        (format!("bearer {first}"), "ana"),
        (format!("BEARER   {second} "), "luis"),
    ] {
        world.operator = Some(presented);
        let end = world.call("GET", "/healthz");
        assert_eq!(end.summary(), (200, "health_read", None));
        assert_eq!(end.record.key_id.as_deref(), Some(id));
    }
    world.did.clear();
    for presented in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(first.to_owned()),
        Some(format!("Basic {first}")),
        Some(format!("Bearer{first}")),
        Some(format!("Bearer {first}x")),
        Some(format!("Bearer x{first}")),
        Some(format!("Bearer {}", &first[..first.len() - 1])),
        Some(format!("Bearer {}", first.to_uppercase())),
        Some(format!("Bearer {first} {second}")),
        Some(format!("Bearer {first},{second}")),
        Some(format!("Bearer {}", "x".repeat(100_000))),
        Some("Bearer ana".to_owned()),
    ] {
        world.operator = presented.clone();
        for (method, target) in [
            ("GET", "/healthz"),
            ("GET", LETTERS),
            ("GET", "/nowhere"),
            ("PUT", LETTERS),
        ] {
            let end = world.call(method, target);
            assert_eq!(end.summary(), UNAUTHORIZED, "{presented:?}");
            assert_eq!(end.answer.body, r#"{"code":"operator_unauthorized"}"#);
            assert_eq!((end.record.key_id, end.record.level), (None, "warn"));
        }
    }
    assert!(world.did.is_empty());
}

#[test]
fn a_key_that_is_past_its_not_after_is_none() {
    let mut world = world();
    world.operator = Some(format!("Bearer {}", OPERATOR_KEYS[1]));
    assert_eq!(world.call("GET", "/healthz").answer.status, 200);
    world.wait(Duration::from_secs(365 * 24 * 3600));
    assert_eq!(world.call("GET", "/healthz").summary(), UNAUTHORIZED);
    world.operator = Some(format!("Bearer {}", OPERATOR_KEYS[0]));
    assert_eq!(world.call("GET", "/healthz").answer.status, 200);
}

#[test]
fn refusals_beyond_the_rate_limit_are_logged_now_and_then_and_answered_as_ever() {
    let mut limited = bindings(&[]);
    limited.rate_limit = true;
    let mut settings = operated();
    set(&mut settings, "RXGATE.refusal_sample", json!(10_000));
    let mut world = World::of(gateway_with(&settings, limited));
    world.operator = None;
    let bare = |world: &mut World| {
        let end = world.call("GET", LETTERS);
        let answer = (end.answer.status, end.answer.body, end.answer.retry_after);
        assert_eq!(
            answer,
            (401, r#"{"code":"operator_unauthorized"}"#.to_owned(), None)
        );
        (end.logged, end.record.sampled)
    };
    assert_eq!(bare(&mut world), (true, None));
    assert_eq!(world.did, ["limit /operator"]);
    world.limits.extend([Limited::Fails, Limited::Hangs]);
    assert_eq!([bare(&mut world), bare(&mut world)], [(true, None); 2]);
    world.limits.extend([Limited::Over; 50]);
    let logged = (0..50).filter(|_| bare(&mut world).0).count();
    assert!(logged < 5, "{logged}");
    // Whoever has a key isn't counted.
    world.did.clear();
    world.operator = Some(format!("Bearer {}", OPERATOR_KEYS[0]));
    assert_eq!(world.call("GET", "/healthz").answer.status, 200);
    assert!(world.did.is_empty());
}

// ── routes ──

#[test]
fn each_path_takes_its_methods_and_no_others() {
    let id = "dl_AAAAAAAAAAAAAAAAAAAAAA";
    let not_allowed = (405, "method_not_allowed", None);
    let mut world = world();
    for (path, methods) in [
        ("/healthz", &["GET", "HEAD"][..]),
        (LETTERS, &["GET"]),
        ("/v1/dead-letters/redeliver", &["POST"]),
        (&format!("{LETTERS}/{id}"), &["GET", "DELETE"]),
        (&format!("{LETTERS}/{id}/redeliver"), &["POST"]),
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get",
        ] {
            let end = world.call(method, path);
            let found = end.summary();
            let allow = (found == not_allowed).then(|| methods.join(", "));
            assert_eq!(end.answer.allow, allow.as_deref(), "{method} {path}");
            if methods.contains(&method) {
                assert_ne!(found, not_allowed, "{method} {path}");
            } else if path.ends_with("dead-letters/redeliver")
                && ["GET", "DELETE"].contains(&method)
            {
                // As an id, there is none like it.
                assert_eq!(found, UNKNOWN, "{method} {path}");
            } else {
                assert_eq!(found, not_allowed, "{method} {path}");
            }
        }
    }
    for path in [
        "/",
        "",
        "/v1",
        "/v2/dead-letters",
        "/v1/dead-lettersx",
        "/healthz/",
        "/v1/dead-letters/a/b",
        "/v1/dead-letters/a/redeliver/b",
        "/v1/dead-letters/a/b/c/d",
    ] {
        assert_eq!(
            world.call("GET", path).summary(),
            (404, "path_unknown", None),
            "{path}"
        );
    }
    for id in [
        "",
        "x",
        "dl_",
        "dl_AAAA",
        "dl_AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "dl_AAAAAAAAAAAAAAAAAAAAA/",
    ] {
        let path = format!("{LETTERS}/{}", id.trim_end_matches('/'));
        assert_eq!(world.call("GET", &path).summary(), UNKNOWN, "{path}");
    }
}

#[test]
fn health_says_each_fault_to_whoever_has_a_key() {
    let mut world = world();
    let end = world.call("GET", "/healthz");
    assert_eq!(
        end.answer.body,
        r#"{"code":"health_read","status":"ok","faults":[]}"#
    );
    let mut faulty = operated();
    faulty["SOURCE_OSIGU"]["keys"] = json!([]);
    let secrets = crate::driver::secrets();
    let vars = faulty.as_object().unwrap();
    let config = rxgate::config::Config::parse(vars, &secrets, bindings(&[]));
    world.gateway = rxgate::machine::Gateway::new(config, &[3; 32]);
    let json = world.call("GET", "/healthz").json();
    assert_eq!(json["status"], "faulty");
    assert_eq!(
        json["faults"],
        json!(["SOURCE_OSIGU.keys: has 0 keys: 1 to 4 are needed"])
    );
    world.operator = None;
    assert_eq!(
        world.call("GET", "/healthz").json(),
        json!({ "code": "operator_unauthorized" })
    );
}

#[test]
fn what_a_source_holds_back_an_operator_does_not_read_either() {
    for phi in ["drop", "pass"] {
        let mut settings = operated();
        settings["SOURCE_OSIGU"]["phi"] = json!(phi);
        let mut world = World::bound(&settings, &[DELIVERIES]);
        world.send(&body("evt_1", TYPE, r#"{"note":"López"}"#));
        world.keep_letters();
        let id = world.letters()[0].id;
        let read = world.call("GET", &format!("{LETTERS}/{id}")).json();
        let held = phi == "drop";
        assert_eq!(
            (&read["readable"], &read["withheld"]),
            (&json!(true), &json!(held))
        );
        assert_eq!(read.get("body").is_none(), held);
        assert_eq!(read.get("body_base64"), None);
        assert_eq!(read.to_string().contains("López"), !held);
    }
}

#[test]
fn a_letter_is_read_with_the_senders_bytes() {
    let mut world = world();
    let invalid = body("evt_1", TYPE, r#"{"note":"López"}"#);
    world.send(&invalid);
    world.wait(Duration::from_secs(60));
    world.keep_letters();
    let id = world.letters()[0].id;
    let end = world.call("GET", &format!("{LETTERS}/{id}"));
    assert_eq!(end.summary(), (200, "dead_letter_read", None));
    assert_eq!(end.record.dead_letter, Some(id.to_string()));
    let entry = json!({
        "id": id.to_string(), "source": "osigu", "reason": "event_invalid",
        "webhook_id": webhook_id(&event_digest("osigu", "evt_1")),
        "problem": "missing", "path": "data.dispensation_id",
        "received_at": "2026-06-25T14:22:12.000Z", "kept_at": "2026-06-25T14:23:12.000Z",
        "expires_at": "2026-07-25T14:23:12.000Z", "redeliveries": 0, "body_bytes": invalid.len(),
    });
    let mut expected = entry.clone();
    expected["code"] = json!("dead_letter_read");
    expected["readable"] = json!(true);
    expected["withheld"] = json!(false);
    expected["body"] = json!(invalid);
    assert_eq!(end.json(), expected);
    // A list has neither body nor content.
    let listed = world.call("GET", LETTERS).json();
    let expected =
        json!({ "code": "dead_letters_listed", "dead_letters": [entry], "cursor": null });
    assert_eq!(listed, expected);
    // After a redelivery.
    world.call("POST", &format!("{LETTERS}/{id}/redeliver"));
    let read = world.call("GET", &format!("{LETTERS}/{id}")).json();
    assert_eq!(read["redelivered_at"], "2026-06-25T14:23:12.000Z");
    assert_eq!(read["redeliveries"], 1);
}

#[test]
fn bytes_that_are_no_text_are_read_in_base64() {
    use rxgate::auth::RawBody;
    let mut world = world();
    let bytes = b"\xff\xfe{}";
    let signed = [format!("{}.", START.seconds()).as_bytes(), bytes].concat();
    let tag = crate::driver::hmac_sha256(crate::driver::SENDER_SECRET.as_bytes(), &signed);
    let signature = format!("t={},v1={}", START.seconds(), crate::support::hex(&tag));
    let mut inbound = crate::driver::inbound("", &signature);
    inbound.body = RawBody::new(bytes);
    let flight = world.begin_with(inbound, START);
    assert_eq!(world.finish(flight).record.reason, Some("body_malformed"));
    world.keep_letters();
    let json = world
        .call("GET", &format!("{LETTERS}/{}", world.letters()[0].id))
        .json();
    assert_eq!(
        (&json["body_base64"], json.get("body")),
        (&json!("//57fQ=="), None)
    );
}

#[test]
fn a_list_goes_by_the_time_of_receipt_page_by_page() {
    let mut world = with_letters(120);
    let all: Vec<String> = world
        .letters()
        .iter()
        .map(|letter| letter.id.to_string())
        .collect();
    let page = |world: &mut World, target: &str| -> (Vec<String>, Option<String>) {
        let end = world.call("GET", target);
        assert_eq!(end.summary(), (200, "dead_letters_listed", None));
        let json = end.json();
        let ids = json["dead_letters"].as_array().unwrap();
        assert_eq!(end.record.dead_letters, Some(ids.len() as u64));
        let ids = ids
            .iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned());
        (ids.collect(), json["cursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = page(&mut world, LETTERS);
    assert_eq!(first, all[..50]);
    let (second, cursor) = page(&mut world, &format!("{LETTERS}?cursor={}", cursor.unwrap()));
    assert_eq!(second, all[50..100]);
    let (third, cursor) = page(&mut world, &format!("{LETTERS}?cursor={}", cursor.unwrap()));
    assert_eq!((third, cursor), (all[100..].to_vec(), None));
    let (some, cursor) = page(
        &mut world,
        &format!("{LETTERS}?limit=100&since=2026-06-25T14:22:22Z"),
    );
    assert_eq!((some, cursor.is_some()), (all[10..110].to_vec(), true));
    let (none, _) = page(&mut world, &format!("{LETTERS}?code=delivery_rejected"));
    assert_eq!(none, [""; 0]);
    let (all_of_source, _) = page(
        &mut world,
        &format!("{LETTERS}?source=osigu&code=event_invalid&limit=1"),
    );
    assert_eq!(all_of_source, all[..1]);
    world.call("POST", &format!("{LETTERS}/{}/redeliver", all[0]));
    let (waiting, _) = page(&mut world, &format!("{LETTERS}?waiting=true&limit=1"));
    assert_eq!(waiting, all[1..2]);
    let (any, _) = page(&mut world, &format!("{LETTERS}?waiting=false&limit=1"));
    assert_eq!(any, all[..1]);
}

#[test]
fn a_parameter_that_isnt_as_it_should_be_is_named() {
    let mut world = world();
    let whole = "limit: isn't a whole number from 1 to 100";
    let time = "since: isn't an RFC 3339 date-time such as 2026-11-24T09:00:00Z";
    let cursor = "cursor: isn't the cursor of a list";
    let known = "the query has a parameter that isn't known: there are source, code, since, waiting, limit, cursor";
    for (query, problem) in [
        ("limit=0", whole),
        ("limit=101", whole),
        ("limit=-1", whole),
        ("limit=ten", whole),
        ("limit=", "limit: is empty"),
        ("since=yesterday", time),
        ("since=2026-06-25", time),
        ("since=", "since: is empty"),
        ("waiting=1", "waiting: isn't true or false"),
        ("waiting=", "waiting: is empty"),
        ("cursor=", "cursor: is empty"),
        ("source=", "source: is empty"),
        ("code=&source=osigu", "code: is empty"),
        ("cursor=1", cursor),
        ("cursor=1.dl_x", cursor),
        ("cursor=x.dl_AAAAAAAAAAAAAAAAAAAAAA", cursor),
        ("limit=1&limit=2", "limit: stands there twice"),
        ("sauce=osigu", known),
        ("Limit=1", known),
    ] {
        let end = world.call("GET", &format!("{LETTERS}?{query}"));
        assert_eq!(end.summary(), (400, "parameter_invalid", None), "{query}");
        assert_eq!(
            end.json(),
            json!({ "code": "parameter_invalid", "problem": problem }),
            "{query}"
        );
    }
    let known = "the query has a parameter that isn't known: there are source, code, since, cursor";
    for query in ["limit=1", "waiting=true", "all=1"] {
        let end = world.call("POST", &format!("{LETTERS}/redeliver?{query}"));
        assert_eq!(
            end.json(),
            json!({ "code": "parameter_invalid", "problem": known }),
            "{query}"
        );
    }
    // A variable that isn't set redelivers nothing.
    for name in ["source", "code", "since", "cursor"] {
        let end = world.call("POST", &format!("{LETTERS}/redeliver?{name}="));
        assert_eq!(
            end.json(),
            json!({ "code": "parameter_invalid", "problem": format!("{name}: is empty") }),
        );
    }
    assert!(world.did.is_empty());
}

#[test]
fn an_object_that_doesnt_answer_is_said_to_be_unavailable() {
    let id = "dl_AAAAAAAAAAAAAAAAAAAAAA";
    for ask in [Ask::Fails(Fault::Before), Ask::Hangs, Ask::Garbled] {
        for (method, target) in [
            ("GET", LETTERS.to_owned()),
            ("GET", format!("{LETTERS}/{id}")),
            ("DELETE", format!("{LETTERS}/{id}")),
            ("POST", format!("{LETTERS}/{id}/redeliver")),
            ("POST", format!("{LETTERS}/redeliver")),
        ] {
            let mut world = world();
            world.asks.push_back(ask);
            let begun = world.now;
            let end = world.call(method, &target);
            assert_eq!(
                (end.summary(), end.record.level),
                (UNAVAILABLE, "error"),
                "{method} {target}"
            );
            assert!(begun.until(world.now) <= Duration::from_secs(5));
        }
    }
}

#[test]
fn every_ending_has_a_code_and_a_level_of_its_own_kind() {
    let expected = [
        (200, "health_read", Level::Info),
        (200, "dead_letters_listed", Level::Info),
        (200, "dead_letter_read", Level::Info),
        (200, "dead_letter_deleted", Level::Info),
        (202, "dead_letter_redelivered", Level::Info),
        (202, "dead_letters_redelivered", Level::Info),
        (404, "dead_letter_unknown", Level::Warn),
        (409, "dead_letter_unreadable", Level::Error),
        (502, "redelivery_failed", Level::Error),
        (400, "parameter_invalid", Level::Warn),
        (401, "operator_unauthorized", Level::Warn),
        (404, "path_unknown", Level::Warn),
        (405, "method_not_allowed", Level::Warn),
        (503, "store_unavailable", Level::Error),
    ];
    assert_eq!(Ending::ALL.map(Ending::spec), expected);
}

// ── the cron ──

fn alerted() -> Value {
    let mut settings = operated();
    settings["RXGATE"]["alert"] = json!({
        "url": "https://alerts.example/rxgate", "keys": [{ "id": "a", "secret": "OUR_KEY_2" }],
    });
    settings
}

#[test]
fn the_cron_says_how_many_letters_there_are_and_how_old_the_oldest_is() {
    let mut world = with_letters(3);
    world.wait(Duration::from_secs(57));
    let settled = world.tick();
    assert_eq!(settled.summary(), (Verdict::Ack, "dead_letters"));
    let counted = |record: &rxgate::record::Record| {
        (
            record.level,
            record.dead_letters,
            record.waiting,
            record.oldest_age_seconds,
            record.alert,
        )
    };
    assert_eq!(
        counted(&settled.record),
        ("error", Some(3), Some(3), Some(60), None)
    );
    assert_eq!(
        (settled.record.status, world.did.as_slice()),
        (0, &["count".to_owned()][..])
    );
    // Those that are on their way again need nobody.
    world.call("POST", &format!("{LETTERS}/redeliver"));
    let settled = world.tick();
    assert_eq!(
        counted(&settled.record),
        ("info", Some(3), Some(0), None, None)
    );
    world.asks.push_back(Ask::Hangs);
    let settled = world.tick();
    assert_eq!(settled.summary(), (Verdict::Ack, "store_unavailable"));
    assert_eq!(settled.record.level, "error");
    let settled = World::new().tick();
    assert_eq!(
        counted(&settled.record),
        ("info", Some(0), Some(0), None, None)
    );
}

#[test]
fn an_alert_is_signed_and_says_numbers_only_and_a_failure_of_it_is_said() {
    let mut world = with_letters(2);
    world.gateway = gateway_with(&alerted(), bindings(&[DELIVERIES]));
    world.wait(Duration::from_secs(60));
    world.delivered.clear();
    let settled = world.tick();
    assert_eq!(
        (settled.record.alert, settled.record.level),
        (Some("sent"), "error")
    );
    let alert = &world.delivered[0];
    assert_eq!(alert.url, "https://alerts.example/rxgate");
    assert_eq!(
        String::from_utf8_lossy(&alert.body),
        r#"{"code":"dead_letters","dead_letters":2,"waiting":2,"oldest_age_seconds":62}"#
    );
    assert_eq!(
        header(alert, "webhook-signature"),
        our_signature(OUR_KEYS[1], alert)
    );
    assert_eq!(header(alert, "content-type"), "application/json");
    for failure in [
        answers(500),
        answers(301),
        Origin::Unreachable,
        Origin::Hangs,
    ] {
        world.origin.push_back(failure);
        let settled = world.tick();
        assert_eq!(settled.summary(), (Verdict::Ack, "dead_letters"));
        assert_eq!(settled.record.alert, Some("failed"), "{failure:?}");
    }
    // Nothing waits: nobody is woken.
    world.delivered.clear();
    world.call("POST", &format!("{LETTERS}/redeliver"));
    assert_eq!(world.tick().record.alert, None);
    assert_eq!(world.delivered.len(), 0);
}

#[test]
fn the_id_of_a_letter_reads_as_it_is_written() {
    for bytes in [[0; 16], [0xFF; 16], [7; 16]] {
        let id = LetterId(bytes);
        assert_eq!(LetterId::parse(&id.to_string()), Some(id));
        let nonces: std::collections::BTreeSet<_> = (0..100).map(|n| id.nonce(n).0).collect();
        assert_eq!(nonces.len(), 100);
    }
    assert_eq!(LETTERS_OBJECT, "dead-letters-v1");
}

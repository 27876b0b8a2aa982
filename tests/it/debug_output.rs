//! What `Debug` shows of everything that holds a secret or a body: never the secret, never the body.

use std::collections::BTreeSet;
use std::time::Duration;

use insta::assert_debug_snapshot;
use rxgate::auth::{HmacSha256, KeyId, Keyring, Mac, RawBody, Sealed};
use rxgate::config::{Config, DELIVERIES, Target};
use rxgate::delivery::{SigningKey, SigningKeys};
use rxgate::effect::{Delivery, Effect};
use rxgate::machine::{Gateway, Machine, Message};
use rxgate::operator::Call;
use serde_json::{Value, json};

use crate::driver::{
    self, EVENTS, HEADER_SECRET, OPERATOR_KEYS, SENDER_SECRET, Step, World, answers,
};
use crate::support::{KEY, NOW, SEED, bindings, body, key, scheme, secrets, signed, vars};

const OURS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BEARER: &str = "Bearer canary-7f3a";

/// Neither as it is, nor as bytes, hex or base64.
#[track_caller]
fn assert_hidden(shown: &str, secret: &str) {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD.encode(secret);
    let list = format!("{:?}", secret.as_bytes());
    let list = list.trim_matches(['[', ']']);
    for form in [
        secret,
        &crate::support::hex(secret.as_bytes()),
        base64.trim_end_matches('='),
        list,
    ] {
        assert!(!shown.contains(form), "{form} in {shown}");
    }
}

#[test]
fn a_key_shows_its_id_and_until_when_it_holds() {
    assert_debug_snapshot!(key("first", KEY, Some(NOW)));
}

#[test]
fn a_keyring_shows_ids() {
    let keys = vec![
        key("new", "the-key-that-comes-in", None),
        key("old", KEY, Some(NOW)),
    ];
    assert_debug_snapshot!(Keyring::new(keys));
}

#[test]
fn a_hash_and_its_tag_show_nothing() {
    let mac = HmacSha256::new(KEY.as_bytes()).unwrap();
    assert_eq!(format!("{mac:?}"), "HmacSha256(..)");
    assert_eq!(format!("{:?}", mac.tag(&[b"x"])), "Tag(..)");
}

#[test]
fn signing_keys_show_ids() {
    let key = |id| SigningKey::parse(KeyId::new(id), OURS).unwrap();
    assert_debug_snapshot!(SigningKeys::new(vec![key("new"), key("old")]));
}

#[test]
fn a_raw_body_shows_its_length_and_nothing_else() {
    assert_eq!(
        format!("{:?}", RawBody::new("López".as_bytes())),
        "RawBody(6 bytes)"
    );
    assert!(RawBody::new(b"").is_empty());
    assert!(!RawBody::new(b"x").is_empty());
}

#[test]
fn verified_bytes_show_their_length_and_who_vouches() {
    let sent = body("prescription_issued");
    let header = signed(&sent);
    let scheme = scheme();
    let verified = scheme.authenticate(Some(&header), RawBody::new(&sent), NOW);
    assert_debug_snapshot!(verified);
}

fn config() -> Config {
    let mut vars = vars();
    vars["DESTINATION_CLINIC"]["headers"] = json!({ "authorization": "BEARER" });
    let mut secrets = secrets();
    secrets.insert("BEARER".to_owned(), BEARER.to_owned());
    let config = Config::parse(&vars, &secrets, bindings());
    assert_eq!(config.faults, []);
    config
}

#[test]
fn headers_show_their_names() {
    let config = config();
    let Some(Target::Origin(origin)) = config.destinations[0].as_ref().map(|d| &d.to) else {
        panic!("{config:?}")
    };
    assert_eq!(format!("{:?}", origin.headers), r#"["authorization"]"#);
    assert_eq!(
        origin.headers.iter().collect::<Vec<_>>(),
        [("authorization", BEARER)]
    );
}

#[test]
fn a_whole_configuration_shows_no_secret() {
    let config = config();
    assert_debug_snapshot!(config);
    for shown in [
        format!("{config:?}"),
        format!("{:?}", Gateway::new(config, &SEED)),
    ] {
        for secret in [KEY, OURS, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", BEARER] {
            assert_hidden(&shown, secret);
        }
    }
}

#[test]
fn a_delivery_shows_the_names_of_its_headers_and_the_length_of_its_body() {
    let delivery = Delivery {
        url: "https://clinic.example/rxgate".to_owned(),
        headers: vec![("authorization".to_owned(), BEARER.to_owned())],
        body: body("prescription_issued"),
        timeout: Duration::from_secs(8),
    };
    assert_debug_snapshot!(Effect::Deliver(Box::new(delivery)));
}

#[test]
fn a_machine_that_waits_for_its_claim_shows_nothing_of_the_event() {
    let sent = String::from_utf8(body("prescription_issued")).unwrap();
    let header = signed(sent.as_bytes());
    let inbound = rxgate::inbound::Inbound {
        path: None,
        address: None,
        method: "POST",
        source: "osigu",
        received: rxgate::inbound::Received::Complete,
        url: None,
        signature: None,
        more: &[],
        content_type: Some("application/json"),
        traceparent: None,
        body: RawBody::new(sent.as_bytes()),
    };
    let shown = format!("{inbound:?}");
    let inbound = rxgate::inbound::Inbound {
        signature: Some(&header),
        ..inbound
    };
    let (machine, effect) = Machine::begin(&Gateway::new(config(), &SEED), inbound, NOW, NOW);
    assert!(matches!(effect, Effect::Ask { .. }));
    for shown in [shown, format!("{machine:?}"), format!("{effect:?}")] {
        for secret in [
            "López",
            "Ana",
            "pat_01HX",
            "RX-2026-9182",
            "rx_01HXB",
            "J45.0",
            KEY,
            BEARER,
        ] {
            assert_hidden(&shown, secret);
        }
    }
}

// ── queues, dead letters, operators ──

const SECRETS_OF_THE_EVENT: [&str; 5] = ["bnf_1", "AUTH-1", "branch_1", "dsp_1", "evt_1"];

/// No secret of the driver's settings, and nothing of the event.
#[track_caller]
fn assert_quiet(shown: &str) {
    let sealing = ["seal-canary-of-thirty-two-bytes1", driver::SEAL_KEYS[0]];
    let others = [SENDER_SECRET, HEADER_SECRET, OPERATOR_KEYS[0]];
    for secret in sealing
        .into_iter()
        .chain(others)
        .chain(SECRETS_OF_THE_EVENT)
    {
        assert_hidden(shown, secret);
    }
}

fn operated() -> Value {
    let mut settings = driver::settings();
    settings["RXGATE"]["operator_keys"] = json!([{ "id": "ana", "secret": "OPERATOR_KEY_1" }]);
    settings
}

#[test]
fn a_machine_shows_nothing_of_the_event_at_any_step_of_any_way() {
    let mut seen = BTreeSet::new();
    // What is quiet since it says nothing doesn't count.
    let mut shown = vec!["Facts {", "Handed {", "Pending {", "Shipment {"];
    for (first, kv, by_queue) in [
        (answers(500), false, false),
        (answers(422), false, false),
        (answers(200), true, true),
    ] {
        let mut settings = operated();
        if kv {
            settings["SOURCE_OSIGU"]["dedupe"] = json!("kv");
        }
        if by_queue {
            settings["DESTINATION_ORIGIN"]["delivery"] = json!("queue");
        }
        let mut world = World::bound(&settings, &[DELIVERIES]);
        world.origin.push_back(first);
        let large = format!(
            r#"{{"dispensation_id":"dsp_1","code":"AUTH-1","note":"{}"}}"#,
            "x".repeat(130_000)
        );
        for data in [EVENTS[5].2, &large] {
            let mut flights =
                vec![world.begin(&driver::body("evt_1", "dispensing.completed", data))];
            while let Some(flight) = flights.pop() {
                let running = format!("{:?}", flight.running);
                assert_quiet(&running);
                shown.retain(|part| !running.contains(part));
                let effect = format!("{:?}", flight.effect);
                if !matches!(flight.effect, Effect::Answer(_)) {
                    assert_quiet(&effect);
                }
                seen.insert(effect.split([' ', '(', '{']).next().unwrap().to_owned());
                if let Step::Next(next) = world.step(flight) {
                    flights.push(next);
                }
                if flights.is_empty()
                    && let Some(sent) = world.queued.pop()
                {
                    flights.push(world.begin_attempt(&sent, 1));
                }
            }
        }
    }
    assert_eq!(shown, [""; 0]);
    let expected = [
        "Answer", "Ask", "Deliver", "Enqueue", "Get", "Put", "Settle",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
}

#[test]
fn an_operators_call_shows_neither_the_key_nor_the_letter() {
    let mut world = World::bound(&operated(), &[]);
    world.origin.push_back(answers(422));
    world.send_event("evt_1", "dispensing.completed");
    world.keep_letters();
    let id = world.letters()[0].id;
    let authorization = format!("Bearer {}", OPERATOR_KEYS[0]);
    let query = [("source".to_owned(), "osigu".to_owned())];
    let call = Call {
        method: "GET",
        path: "/v1/dead-letters",
        authorization: Some(&authorization),
        query: &query,
    };
    assert_quiet(&format!("{call:?}"));
    for (method, target) in [
        ("GET", format!("/v1/dead-letters/{id}")),
        ("POST", format!("/v1/dead-letters/{id}/redeliver")),
    ] {
        let mut flight = world.begin_call(method, &target);
        loop {
            assert_quiet(&format!("{flight:?}"));
            match world.step(flight) {
                Step::Next(next) => flight = next,
                Step::End(end) => {
                    assert!(end.answer.status < 300);
                    assert_quiet(&format!("{end:?}"));
                    break;
                }
                Step::Settled(settled) => panic!("{settled:?}"),
            }
        }
    }
}

#[test]
fn seal_keys_and_what_they_open_show_ids_and_lengths() {
    let keys = driver::seal_keys();
    assert_eq!(
        format!("{keys:?}"),
        r#"SealKeys([SealKey { id: "seal-1", .. }])"#
    );
    let sealed = keys.seal(Sealed::Letter, [0; 12], b"", b"canary").unwrap();
    let opened = keys.open(Sealed::Letter, &sealed);
    assert_eq!(format!("{opened:?}"), "Ok(Opened(6 bytes))");
    let gateway = driver::gateway(&operated());
    assert_quiet(&format!("{gateway:?}"));
}

#[test]
fn a_message_shows_the_length_of_its_body() {
    let message = Message {
        queue: "rxgate-deliveries",
        body: b"canary-7f3a",
        attempt: 1,
        sent_at: NOW,
    };
    let shown = format!("{message:?}");
    assert_hidden(&shown, "canary-7f3a");
    assert!(shown.contains("11 bytes"), "{shown}");
}

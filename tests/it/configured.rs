//! Any other sender, by its settings: from the faults of those to the event.

use std::collections::BTreeMap;

use rxgate::auth::RawBody;
use rxgate::auth::scheme::Head;
use rxgate::config::{Bindings, Config, Source};
use rxgate::effect::Effect;
use rxgate::entity::Ordering;
use rxgate::event::phi::Scratch;
use rxgate::event::{Claimed, Prepared};
use rxgate::inbound::{Inbound, Received};
use rxgate::machine::{Gateway, Machine};
use rxgate::provider::preset::PRESETS;
use rxgate::provider::{Context, Refusal, RetryPolicy, Unknown};
use rxgate::time::Timestamp;
use serde_json::{Value, json};

const AT: i64 = 1_795_000_000;
const NOW: Timestamp = Timestamp(AT * 1000);

fn secrets() -> BTreeMap<String, String> {
    [
        ("KEY", "sender-key-0123456789abcdef"),
        ("SHORT", "short"),
        ("PHI_KEY", "phi-key-0123456789abcdef-0123456789"),
        ("API_KEY", "api-key-0123456789"),
        ("STANDARD", "whsec_c3RhbmRhcmQtd2ViaG9va3Mta2V5LTAwMDE="),
        (
            "PUBLIC",
            "whpk_6kpsY+KcUgq+9VB7Eydn7V8zMnfXG6NvLJPFkZzqFeY=",
        ),
        ("SEAL_KEY", "cnhnYXRlLXNlYWwta2V5LWZvci10aGUtdGVzdHMtMDE="),
        (
            "SIGNING_KEY",
            "whsec_cnhnYXRlLXNpZ25pbmcta2V5LWZvci10ZXN0cy0wMDE=",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A configuration of one source, which the argument changes.
fn config(source: &Value) -> Config {
    config_with(source, &json!({}))
}

/// `headers` are those that `old` has of its own.
fn config_with(source: &Value, headers: &Value) -> Config {
    let mut of_source = json!({
        "provider": "configured",
        "keys": [{ "id": "first", "secret": "KEY" }],
        "destination": "local",
    });
    for (name, value) in source.as_object().unwrap() {
        match value {
            Value::Null => of_source.as_object_mut().unwrap().remove(name),
            value => of_source
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    let signing = json!([{ "id": "first", "secret": "SIGNING_KEY" }]);
    let vars = json!({
        "RXGATE": { "seal_keys": [{ "id": "first", "secret": "SEAL_KEY" }] },
        "SOURCE_SENDER": of_source,
        "DESTINATION_LOCAL": { "url": "https://origin.example/", "keys": signing },
        "DESTINATION_OLD": { "url": "https://origin.example/", "keys": signing, "format": "original", "headers": headers },
    });
    let bindings = Bindings {
        queues: vec!["DELIVERIES".to_owned(), "DEAD_LETTERS".to_owned()],
        kv: true,
        rate_limit: false,
    };
    Config::parse(vars.as_object().unwrap(), &secrets(), bindings)
}

fn source(settings: &Value) -> Source {
    let mut config = config(settings);
    assert_eq!(config.faults, []);
    config.sources.remove("sender").flatten().unwrap()
}

/// The faults, without the source's name in front.
#[track_caller]
fn faults(settings: &Value, expected: &[&str]) {
    let config = config(settings);
    let found: Vec<String> = config
        .faults
        .iter()
        .map(|fault| fault.to_string().replacen("SOURCE_SENDER.", "", 1))
        .collect();
    assert_eq!(found, expected);
    assert!(config.sources.get("sender").unwrap().is_none());
}

/// The whole event as an origin gets it, or why it doesn't; and why it is `rx.unknown`.
fn event(settings: &Value, body: &str) -> Result<(Value, Option<Unknown>), Refusal> {
    let mut settings = settings.clone();
    if settings.get("scheme").is_none() && settings.get("preset").is_none() {
        settings["scheme"] = json!({ "algorithm": "none" });
        settings["accept_unsigned"] = json!(true);
        settings["keys"] = Value::Null;
    }
    let source = source(&settings);
    let head = Head {
        path: None,
        address: None,
        method: "POST",
        url: None,
        signature: Some("sender-key-0123456789abcdef"),
        more: &[],
    };
    let verified = source
        .scheme
        .authenticate(head, RawBody::new(body.as_bytes()), NOW);
    let verified = verified.unwrap();
    let scratch = Scratch::default();
    let context = Context {
        webhook: None,
        zone: rxgate::time::Zone::default(),
        auth: "signature",
        source: &source.id,
        expected: &source.expected,
        phi: &source.phi,
        scratch: &scratch,
        traceparent: None,
    };
    let decoded = source.provider.read(&verified, context);
    let decoded = decoded.map_err(|(refusal, _)| refusal)?;
    let claimed = Claimed {
        sequence: Some(7),
        state: None,
        ordering: Ordering::Unknown,
        round: 0,
        deduped: true,
    };
    let prepared = Prepared::new(&decoded.attributes, &decoded.data, body.len());
    let event: Value = serde_json::from_slice(&prepared.finish(claimed)).unwrap();
    #[cfg(feature = "schema")]
    assert_keeps_to_its_schema(&event, source.phi.variant());
    Ok((event, decoded.unknown))
}

#[cfg(feature = "schema")]
fn assert_keeps_to_its_schema(event: &Value, variant: rxgate::event::phi::Variant) {
    let name = event["dataschema"].as_str().unwrap().split(':').nth(3);
    let schema = rxgate::event::schema::schema(name.unwrap(), variant).unwrap();
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    let validator = options.build(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(event)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert_eq!(faults, [""; 0], "{event}");
}

fn known(settings: &Value, body: &str) -> Value {
    event(settings, body).unwrap().0
}

// ── settings ──

#[test]
fn every_preset_is_a_sound_source_with_nothing_but_its_keys() {
    for preset in PRESETS {
        let secret = match preset.scheme.key_encoding {
            Some("whsec") => "STANDARD",
            Some("whpk") => "PUBLIC",
            _ => "KEY",
        };
        let mut settings =
            json!({ "preset": preset.name, "keys": [{ "id": "first", "secret": secret }] });
        if preset.scheme.api_key_header.is_some() {
            settings["scheme"] = json!({ "api_key": { "secret": "API_KEY" } });
        }
        let source = source(&settings);
        assert_eq!(source.name(), preset.name);
        assert_eq!(
            source.retries,
            matches!(preset.retry, RetryPolicy::Documented { .. })
        );
    }
}

#[test]
fn settings_change_what_a_preset_says() {
    let source = source(&json!({
        "preset": "stripe",
        "scheme": { "header": "X-Pay-Signature" },
        "event": { "id": "/event/id" },
        "retry_policy": "unknown",
        "tolerance_seconds": 60,
        "environment": "sandbox",
    }));
    assert_eq!(source.scheme.signature_header(), Some("x-pay-signature"));
    assert!(!source.retries);
}

#[test]
fn each_fault_is_named_by_its_path_all_at_once() {
    faults(
        &json!({}),
        &["scheme: is missing: say how the sender signs, or name a preset"],
    );
    faults(
        &json!({ "preset": "strype", "provider_slug": "x" }),
        &[
            "provider_slug: is for provider = \"osigu\"",
            "preset: isn't one of standard-webhooks, standard-webhooks-v1a, svix, stripe, github, shopify, slack, photon, osigu-payer, osigu-prescription-notifications, osigu-dvs",
        ],
    );
    faults(
        &json!({
            "scheme": { "algorithm": "hmac-sha256", "header": "x-sig", "signed": "{body}.{nonce}", "colour": "red" },
            "event": { "id": "data.id", "fixed_type": "a", "type": "/t", "subject_type": "Order" },
            "types": { "a": "rx.order", "b": "order.shipped.now", "c": "rx.order.shipped" },
        }),
        &[
            "scheme.colour: is no setting: there are algorithm, header, prefix, separator, encoding, signed, timestamp_header, timestamp_prefix, timestamp_unit, timestamp_copy_header, id_header, key_encoding, api_key_header, api_key",
            "scheme.signed: has a brace that isn't around body, timestamp, id, url or method ({{ and }} stand for braces)",
            "event.id: isn't a JSON pointer such as /data/id, nor header:<name>",
            "event.fixed_type: can't go with type",
            "event.subject_type: isn't a word of lower-case letters, digits and _",
            "event.subject_type: needs subject",
            "types.a: isn't a canonical type of the form rx.<word>.<word>",
            "types.b: isn't a canonical type of the form rx.<word>.<word>",
        ],
    );
    faults(
        &json!({ "preset": "github", "keys": [{ "id": "a", "secret": "SHORT" }, { "id": "a", "secret": "NONE" }], "tolerance_seconds": 10, "stale": "accept" }),
        &[
            "keys[1].id: is the id of another key",
            "keys[1].secret: isn't the name of a secret that there is",
            "tolerance_seconds: needs a time that the signature covers",
            "stale: needs a time that the signature covers",
            "keys[0].secret: the secret SHORT has 5 bytes: at least 16 are needed",
        ],
    );
    faults(
        &json!({ "preset": "github", "keys": [{ "id": "a", "secret": "SHORT" }] }),
        &["keys[0].secret: the secret SHORT has 5 bytes: at least 16 are needed"],
    );
    faults(
        &json!({ "preset": "standard-webhooks" }),
        &["keys[0].secret: the secret KEY doesn't start with whsec_"],
    );
    faults(
        &json!({ "preset": "osigu-prescription-notifications" }),
        &["scheme.api_key: is missing: { secret = \"…\" }, the key that the sender presents"],
    );
}

#[test]
fn an_id_that_the_signature_doesnt_cover_cant_be_the_key() {
    let problem = "is a header that the signature doesn't cover: anybody could change it";
    for (preset, name, header) in [
        ("github", "id", "X-GitHub-Delivery"),
        ("shopify", "type", "X-Shopify-Topic"),
        ("slack", "id", "X-Slack-Retry-Num"),
        ("stripe", "time", "Date"),
    ] {
        faults(
            &json!({ "preset": preset, "event": { name: format!("header:{header}") } }),
            &[&format!("event.{name}: {problem}")],
        );
    }
    faults(
        &json!({ "scheme": { "algorithm": "token", "header": "x-token" }, "event": { "id": "header:x-token" } }),
        &[&format!("event.id: {problem}")],
    );
    source(&json!({ "preset": "slack", "event": { "time": "header:X-Slack-Request-Timestamp" } }));
}

#[test]
fn nothing_is_taken_unsigned_unless_that_is_said_twice() {
    let none = json!({ "algorithm": "none" });
    faults(
        &json!({ "scheme": none, "keys": null }),
        &["accept_unsigned: has to be true: anybody who knows the URL can send"],
    );
    faults(
        &json!({ "scheme": none, "accept_unsigned": true }),
        &["keys: doesn't go with algorithm = \"none\""],
    );
    faults(
        &json!({ "preset": "github", "accept_unsigned": true }),
        &["accept_unsigned: is for algorithm = \"none\""],
    );
    let source = source(&json!({ "scheme": none, "accept_unsigned": true, "keys": null }));
    assert_eq!(source.scheme.signature_header(), None);
}

#[test]
fn settings_of_one_kind_of_sender_are_faults_at_another() {
    let osigu =
        json!({ "provider": "osigu", "environment": "sandbox", "preset": "github", "types": {} });
    faults(
        &osigu,
        &[
            "preset: is for provider = \"configured\"",
            "types: is for provider = \"configured\"",
        ],
    );
}

#[test]
fn a_sender_with_our_header_names_has_no_destination_of_original_bytes() {
    let keys = json!([{ "id": "first", "secret": "STANDARD" }]);
    faults(
        &json!({ "preset": "standard-webhooks", "keys": keys, "destination": "old" }),
        &[
            "destination: gets the sender's own headers (format = \"original\"), and those of this sender have the names of ours",
        ],
    );
    source(&json!({ "preset": "svix", "keys": keys, "destination": "old" }));
}

#[test]
fn a_header_of_the_senders_and_one_of_the_destinations_are_not_sent_as_one() {
    let of = |scheme: &Value, header: &str| -> Vec<String> {
        let source = json!({ "destination": "old", "scheme": scheme });
        let config = config_with(&source, &json!({ header: "API_KEY" }));
        config.faults.iter().map(ToString::to_string).collect()
    };
    let signed = json!({ "algorithm": "hmac-sha256", "header": "X-Sig" });
    assert_eq!(
        of(&signed, "x-SIG"),
        [
            "SOURCE_SENDER.destination: gets the sender's own headers (format = \"original\"), and has a x-sig of its own in headers"
        ]
    );
    assert_eq!(of(&signed, "x-other"), [""; 0]);
    // A token isn't passed on.
    assert_eq!(
        of(&json!({ "algorithm": "token" }), "authorization"),
        [""; 0]
    );
}

#[test]
fn a_type_that_is_fixed_is_text_and_a_time_is_no_id() {
    let keys = json!([{ "id": "first", "secret": "KEY" }]);
    let scheme = json!({ "algorithm": "hmac-sha256", "header": "X-Sig", "signed": "{timestamp}.{body}", "timestamp_header": "X-Time" });
    let long = "x".repeat(257);
    for fixed in ["a\u{7}", long.as_str()] {
        faults(
            &json!({ "keys": keys, "scheme": scheme, "event": { "fixed_type": fixed } }),
            &["event.fixed_type: isn't text of 1 to 256 printable characters"],
        );
    }
    for name in ["id", "type", "subject"] {
        let fault =
            format!("event.{name}: is the header of the time, which tells no event from another");
        faults(
            &json!({ "keys": keys, "scheme": scheme, "event": { name: "header:x-time" } }),
            &[&fault],
        );
    }
    source(&json!({ "keys": keys, "scheme": scheme, "event": { "time": "header:x-time" } }));
}

#[test]
fn routes_know_the_types_that_are_mapped() {
    let routes = json!([{ "types": ["rx.order.*"], "destination": "local" }]);
    let types = json!({ "order.shipped": "rx.order.shipped" });
    source(&json!({ "preset": "github", "types": types, "routes": routes }));
    faults(
        &json!({ "preset": "github", "routes": routes }),
        &["routes[0].types[0]: matches no canonical type, such as rx.dispense.completed"],
    );
}

// ── events ──

const BODY: &str = r#"{"data":{"id":"evt_1","order":17,"total":375.00},"kind":"order.shipped","at":"2026-06-25T14:22:11-04:00"}"#;

#[test]
fn an_event_is_made_of_what_the_settings_point_at() {
    let settings = json!({
        "environment": "production",
        "event": { "id": "/data/id", "type": "/kind", "time": "/at", "subject": "/data/order", "subject_type": "order" },
        "types": { "order.shipped": "rx.order.shipped" },
    });
    let (event, unknown) = event(&settings, BODY).unwrap();
    assert_eq!(unknown, None);
    let expected = json!({
        "specversion": "1.0",
        "id": "evt_1",
        "source": "/sources/sender",
        "type": "rx.order.shipped",
        "subject": "order/17",
        "time": "2026-06-25T18:22:11Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:rxgate:schema:rx.configured:1",
        "rxprovider": "configured",
        "rxeventtype": "order.shipped",
        "rxenvironment": "production",
        "rxauth": "none",
        "rxkeyid": "none",
        "sequence": "0000000000000007",
        "rxordering": "unknown",
        "data": {
            "entity": { "type": "order", "id": "17" },
            "original": serde_json::from_str::<Value>(BODY).unwrap(),
        },
    });
    assert_eq!(event, expected);
}

#[test]
fn what_isnt_mapped_is_unknown_and_delivered() {
    let types = json!({ "order.lost": "rx.order.lost" });
    let settings = json!({ "event": { "id": "/data/id", "type": "/kind" }, "types": types });
    let (event, unknown) = event(&settings, BODY).unwrap();
    assert_eq!(unknown, Some(Unknown::EventType));
    assert_eq!(event["type"], "rx.unknown");
    assert_eq!(event["dataschema"], "urn:rxgate:schema:rx.unknown:1");
    assert_eq!(event["rxeventtype"], "order.shipped");
    // Where nothing is mapped nothing is amiss.
    let (event, unknown) = self::event(&json!({}), BODY).unwrap();
    assert_eq!(
        (event["type"].as_str(), unknown),
        (Some("rx.unknown"), None)
    );
    assert_eq!(event["rxeventtype"], "unknown");
}

/// The package normalises what was authenticated elsewhere: there no header of the request counts.
#[cfg(feature = "js")]
#[test]
fn an_id_in_a_header_that_nobody_vouches_for_is_missing() {
    use rxgate::js::{PackageSource, Request};

    let table = json!({
        "provider": "configured", "preset": "standard-webhooks", "destination": "package",
        "keys": [{ "id": "first", "secret": "STANDARD" }],
    });
    let source = PackageSource::parse("sender", &table, secrets()).unwrap();
    let head = Head {
        path: None,
        address: None,
        method: "POST",
        url: None,
        signature: None,
        more: &[Some("1795000000"), Some("msg_1")],
    };
    let request = Request {
        head,
        traceparent: None,
        body: BODY.as_bytes(),
        now: NOW,
    };
    let refused = source.normalise(&request).unwrap_err();
    assert_eq!(
        (
            refused.code,
            refused.path.as_deref(),
            refused.problem.as_deref()
        ),
        ("event_invalid", Some("header of the id"), Some("missing"))
    );
}

#[test]
fn without_an_id_the_body_is_the_id() {
    let id = |body: &str| known(&json!({}), body)["id"].clone();
    assert_eq!(id(BODY), "body_yUTPhkBIwgY2tfdO09B5cmifRk6rx45ofhuZM_n4gKg");
    assert_eq!(id(BODY), id(BODY));
    assert_ne!(id(BODY), id(&BODY.replace("375.00", "375.01")));
}

#[test]
fn an_id_that_isnt_there_is_a_dead_letter() {
    let refused = |pointer: &str| match event(&json!({ "event": { "id": pointer } }), BODY) {
        Err(Refusal::Invalid(invalid)) => (invalid.path, invalid.problem),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("/id"), ("/id".to_owned(), "missing"));
    assert_eq!(
        refused("/data"),
        ("/data".to_owned(), "not a string or a whole number")
    );
    assert_eq!(
        refused("/data/total"),
        ("/data/total".to_owned(), "not a string or a whole number")
    );
    let empty = event(&json!({ "event": { "id": "/id" } }), r#"{"id":""}"#);
    assert!(
        matches!(empty, Err(Refusal::Invalid(i)) if i.problem == "not 1 to 256 printable characters")
    );
    assert!(matches!(
        event(&json!({}), "a=1&b=2"),
        Err(Refusal::Malformed(_))
    ));
}

#[test]
fn a_time_is_text_or_a_number_of_the_configured_unit() {
    let time = |unit: &str, at: &str| {
        let settings = json!({ "event": { "time": "/at", "time_unit": unit } });
        known(&settings, &format!(r#"{{"at":{at}}}"#))
    };
    assert_eq!(
        time("seconds", "1795000000")["time"],
        "2026-11-18T11:06:40.000Z"
    );
    assert_eq!(
        time("milliseconds", "1795000000123")["time"],
        "2026-11-18T11:06:40.123Z"
    );
    assert_eq!(
        time("seconds", r#""2026-06-25T14:22:11Z""#)["time"],
        "2026-06-25T14:22:11Z"
    );
    for bad in ["1795000000000000", "-1", "1.5", r#""soon""#, "{}", "1e9"] {
        let event = time("seconds", bad);
        assert_eq!(event.get("time"), None, "{bad}");
        assert_eq!(event["data"]["notes"][0]["path"], "/at", "{bad}");
    }
    assert_eq!(time("seconds", "null")["data"].get("notes"), None);
}

#[test]
fn a_subject_names_its_entity_or_the_settings_do() {
    let subject = |settings: Value, text: &str| {
        let body = format!(r#"{{"about":{text}}}"#);
        known(&json!({ "event": settings }), &body)
    };
    let whole = json!({ "subject": "/about" });
    assert_eq!(
        subject(whole.clone(), r#""order/17/3""#)["subject"],
        "order/17/3"
    );
    for bad in [r#""17""#, r#""Order/17""#, r#""order/""#, "[]"] {
        let event = subject(whole.clone(), bad);
        assert_eq!(event.get("subject"), None, "{bad}");
        assert_eq!(event["data"]["notes"][0]["path"], "/about", "{bad}");
    }
    let typed = json!({ "subject": "/about", "subject_type": "order" });
    assert_eq!(subject(typed, r#""a/b""#)["subject"], "order/a/b");
}

#[test]
fn a_fixed_type_is_that_of_every_event() {
    let settings = json!({ "event": { "fixed_type": "orders/create" }, "types": { "orders/create": "rx.order.created" } });
    let event = known(&settings, BODY);
    assert_eq!(event["type"], "rx.order.created");
    assert_eq!(event["rxeventtype"], "orders/create");
}

#[test]
fn under_phi_no_field_of_it_is_known() {
    let settings = |phi: &str, key: Value| {
        json!({
            "phi": phi,
            "phi_key": key,
            "event": { "id": "/data/id", "type": "/kind", "subject": "/data/order", "subject_type": "order" },
            "types": { "order.shipped": "rx.order.shipped" },
        })
    };
    let dropped = known(&settings("drop", Value::Null), BODY);
    assert_eq!(dropped.get("subject"), None);
    assert_eq!(
        dropped["data"],
        json!({ "entity": { "type": "order" }, "redacted": true, "original": {} })
    );
    assert_eq!(
        dropped["dataschema"],
        "urn:rxgate:schema:rx.configured:1:drop"
    );
    let pseudonyms = known(&settings("pseudonym", json!({ "secret": "PHI_KEY" })), BODY);
    let text = pseudonyms.to_string();
    let id = pseudonyms["data"]["entity"]["id"].as_str().unwrap();
    assert!(id.starts_with("psn_"));
    assert_eq!(pseudonyms["subject"], format!("order/{id}"));
    // The same value has the same pseudonym in `original`.
    assert_eq!(text.matches(id).count(), 3);
    assert!(!text.contains("375"));
}

// ── the machine ──

fn answer(settings: &Value, body: &str, headers: (&str, &str)) -> Value {
    answer_at(settings, body, headers, NOW)
}

fn answer_at(settings: &Value, body: &str, headers: (&str, &str), now: Timestamp) -> Value {
    let config = config(settings);
    assert_eq!(config.faults, []);
    let gateway = Gateway::new(config, &[7; 32]);
    let (signature, time) = headers;
    let inbound = Inbound {
        path: None,
        address: None,
        method: "POST",
        source: "sender",
        received: Received::Complete,
        content_type: None,
        traceparent: None,
        url: None,
        signature: Some(signature),
        more: &[Some(time)],
        body: RawBody::new(body.as_bytes()),
    };
    match Machine::begin(&gateway, inbound, now, now).1 {
        Effect::Answer(end) => {
            let body: Value = serde_json::from_str(&end.0.body).unwrap();
            json!({ "status": end.0.status, "body": body, "log": end.1 })
        }
        other => json!(format!("{other:?}").split(['(', ' ']).next()),
    }
}

/// By Node's crypto, as tests/fixtures/schemes/make.mjs does it.
const CHALLENGE: &str = r#"{"token":"t","challenge":"3eZbrw1aB1","type":"url_verification"}"#;
const CHALLENGE_SIGNATURE: &str =
    "v0=ac93931c84ec8d9b53a011ba0032643cf22136575339ae7d9d429544fb096f1c";

#[test]
fn a_challenge_is_answered_only_after_its_signature_holds() {
    let slack = json!({ "preset": "slack" });
    let time = AT.to_string();
    let answered = answer(&slack, CHALLENGE, (CHALLENGE_SIGNATURE, &time));
    assert_eq!(answered["status"], 200);
    assert_eq!(
        answered["body"],
        json!({ "code": "challenge_answered", "challenge": "3eZbrw1aB1" })
    );
    assert!(!answered["log"].to_string().contains("3eZbrw1aB1"));
    let forged = answer(
        &slack,
        &CHALLENGE.replace("1aB1", "1aB2"),
        (CHALLENGE_SIGNATURE, &time),
    );
    assert_eq!(forged["body"], json!({ "code": "signature_mismatch" }));
    let other_time = (AT - 301).to_string();
    let forged = answer(&slack, CHALLENGE, (CHALLENGE_SIGNATURE, &other_time));
    assert_eq!(forged["body"], json!({ "code": "signature_mismatch" }));
    let later = Timestamp(NOW.0 + 301_000);
    let replayed = answer_at(&slack, CHALLENGE, (CHALLENGE_SIGNATURE, &time), later);
    assert_eq!(
        replayed["body"],
        json!({ "code": "timestamp_out_of_tolerance" })
    );
}

#[test]
fn an_event_of_a_sender_that_asks_nothing_is_claimed_whatever_it_says() {
    let none = json!({ "scheme": { "algorithm": "none" }, "accept_unsigned": true, "keys": null });
    assert_eq!(answer(&none, CHALLENGE, ("", "")), "Ask");
}

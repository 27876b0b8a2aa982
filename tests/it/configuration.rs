//! The configuration: what is read, every fault by its path, and what a fault may stop.

use std::collections::BTreeMap;
use std::time::Duration;

use rxgate::auth::{Authentication, Stale, TimestampedHmac};
use rxgate::config::{
    Bindings, Config, DEFAULT_BODY_BYTES, Dedupe, MAX_BODY_BYTES, MAX_VAR_BYTES, MAX_VARS, Origin,
    Road, Source, Target,
};
use rxgate::delivery::{Format, Pattern, TargetFault, check_target};
use rxgate::machine::Gateway;
use serde_json::{Map, Value, json};

use crate::support::{NOW, SEED, answer, bindings, secrets, signed, source_of, table, vars};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A setting of the source, and what it is set to.
type Change<'a> = (&'a str, Value);

fn parse(vars: &Map<String, Value>) -> Config {
    Config::parse(vars, &secrets(), bindings())
}

/// What a gateway without sources has.
fn only_gateway() -> Map<String, Value> {
    let mut vars = vars();
    vars.retain(|name, _| name == "RXGATE");
    vars
}

fn faults(vars: &Map<String, Value>) -> Vec<String> {
    listed(&parse(vars))
}

fn listed(config: &Config) -> Vec<String> {
    let faults = config.faults.iter().map(ToString::to_string).collect();
    assert_eq!(config.is_sound(), config.faults.is_empty());
    faults
}

/// The least configuration, with some settings of `name` changed; null takes one out.
fn changed(name: &str, changes: &[Change<'_>]) -> Map<String, Value> {
    let mut vars = vars();
    let settings = vars.entry(name).or_insert_with(|| json!({}));
    let settings = settings.as_object_mut().unwrap();
    for (setting, value) in changes {
        if value.is_null() {
            settings.remove(*setting);
        } else {
            settings.insert((*setting).to_owned(), value.clone());
        }
    }
    vars
}

#[track_caller]
fn assert_faults(name: &str, changes: &[Change<'_>], expected: &[&str]) {
    let config = parse(&changed(name, changes));
    assert_eq!(listed(&config), expected, "{changes:?}");
}

/// Osigu's scheme, at a source of Osigu's.
fn scheme(source: &Source) -> &TimestampedHmac {
    match &source.scheme {
        Authentication::Timestamped(scheme) => scheme,
        other => panic!("{other:?}"),
    }
}

// ── what is read ──

#[test]
fn the_least_configuration_is_sound_and_the_rest_has_defaults() {
    let config = parse(&vars());
    assert_eq!(listed(&config), [""; 0]);
    assert_eq!((config.shards, config.previous_shards), (16, None));
    let source = source_of(&config, "osigu");
    assert_eq!(source.id, "osigu");
    assert_eq!(scheme(source).tolerance, Duration::from_secs(300));
    assert_eq!(scheme(source).stale, Stale::Refuse);
    assert_eq!(source.max_body, DEFAULT_BODY_BYTES);
    assert_eq!(DEFAULT_BODY_BYTES, 256 * 1024);
    assert_eq!(source.window, 7 * DAY);
    assert_eq!(source.expected.environment, "sandbox");
    assert_eq!(source.expected.provider_slug, None);
    assert_eq!(source.expected.api_versions, ["2026-01-01"]);
    assert_eq!((source.routes.len(), source.destination), (0, 0));
    assert_eq!(source.dedupe, Dedupe::Exact { edge_cache: false });
    assert_eq!((source.retries, source.accepts_loss), (true, false));
    let destination = config.destinations[0].as_ref().unwrap();
    let origin = origin(&config, 0);
    assert_eq!(
        (destination.id.as_str(), origin.url.as_str()),
        ("clinic", "https://clinic.example/rxgate")
    );
    assert_eq!(origin.format, Format::Canonical);
    assert_eq!(origin.headers.iter().count(), 0);
    assert_eq!(origin.road, Road::Direct);
    assert!(config.seal_keys.is_some());
    assert!(config.operator_keys.is_none() && config.alert.is_none());
    assert_eq!(config.delivery_queue, "rxgate-deliveries");
    assert_eq!(config.dead_letter_queue, "rxgate-dead-letters");
    assert_eq!((config.letters_kept, config.sample), (30 * DAY, 100));
}

#[test]
fn every_setting_is_read() {
    let config = Config::parse(
        &table(&json!({
            "RXGATE": {
                "shards": 64, "previous_shards": 16, "development": true,
                "seal_keys": [{ "id": "first", "secret": "SEAL_KEY" }],
            },
            "SOURCE_OSIGU_2": {
                "provider": "osigu",
                "environment": "production",
                "keys": [
                    { "id": "new", "secret": "OSIGU_KEY" },
                    { "id": "old", "secret": "OSIGU_KEY", "not_after": "2026-06-25T10:00:00-04:00" },
                ],
                "tolerance_seconds": 60,
                "stale": "accept",
                "provider_slug": "clinic-example",
                "accept_api_versions": ["2027-01-01"],
                "max_body_bytes": 1_048_576,
                "dedupe_window_days": 90,
                "destination": "clinic-main",
                "routes": [{
                    "types": ["rx.dispense.*"],
                    "pharmacies": ["pharmacy-x"],
                    "branches": ["branch_01HX"],
                    "destination": "local",
                }],
            },
            "DESTINATION_CLINIC_MAIN": {
                "url": "https://clinic.example/rxgate",
                "format": "original",
                "keys": [{ "id": "new", "secret": "CLINIC_KEY" }, { "id": "old", "secret": "CLINIC_KEY" }],
                "headers": { "Authorization": "CLINIC_BEARER" },
                "permanent_statuses": [404, 410],
            },
            "DESTINATION_LOCAL": {
                "url": "http://127.0.0.1:8788/",
                "format": "canonical",
                "keys": [{ "id": "first", "secret": "CLINIC_KEY" }],
            },
        })),
        &with_secrets(&[("CLINIC_BEARER", "Bearer abc")]),
        bindings(),
    );
    assert_eq!(listed(&config), [""; 0]);
    assert_eq!((config.shards, config.previous_shards), (64, Some(16)));
    let source = source_of(&config, "osigu-2");
    let ids = |now| -> Vec<String> {
        let usable = scheme(source).keys.usable(now);
        usable.map(|key| key.id().as_str().to_owned()).collect()
    };
    assert_eq!(ids(NOW), ["new"]);
    let ten_in_the_west = rxgate::time::Timestamp::parse_rfc3339("2026-06-25T14:00:00Z").unwrap();
    assert_eq!(ids(ten_in_the_west), ["new", "old"]);
    assert_eq!(scheme(source).tolerance, Duration::from_secs(60));
    let horizon = Duration::from_secs(72 * 3600 + 60);
    assert_eq!(scheme(source).stale, Stale::Accept { horizon });
    assert_eq!(
        source.expected.provider_slug.as_deref(),
        Some("clinic-example")
    );
    assert_eq!(source.expected.api_versions, ["2027-01-01", "2026-01-01"]);
    assert_eq!((source.max_body, source.window), (MAX_BODY_BYTES, 90 * DAY));
    assert_eq!(config.longest_window, 90 * DAY);
    let place = |id: &str| {
        let of = |d: &Option<rxgate::config::Destination>| d.as_ref().is_some_and(|d| d.id == id);
        config.destinations.iter().position(of).unwrap()
    };
    assert_eq!(source.destination, place("clinic-main"));
    let [route] = &source.routes[..] else {
        panic!("{:?}", source.routes)
    };
    assert_eq!(route.types, [Pattern::parse("rx.dispense.*").unwrap()]);
    assert_eq!(
        (&route.pharmacies[..], &route.branches[..]),
        (
            &["pharmacy-x".to_owned()][..],
            &["branch_01HX".to_owned()][..]
        )
    );
    assert_eq!(route.destination, place("local"));
    let main = origin(&config, place("clinic-main"));
    assert_eq!(main.format, Format::Original);
    assert_eq!(
        main.headers.iter().collect::<Vec<_>>(),
        [("authorization", "Bearer abc")]
    );
}

/// The origin at that place.
#[track_caller]
fn origin(config: &Config, place: usize) -> &Origin {
    match config.destinations[place].as_ref().map(|d| &d.to) {
        Some(Target::Origin(origin)) => origin,
        other => panic!("{other:?}"),
    }
}

fn with_secrets(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut secrets = secrets();
    secrets.extend(
        more.iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned())),
    );
    secrets
}

// ── faults ──

#[test]
fn every_fault_is_named_by_its_path_and_all_of_them_at_once() {
    let config = Config::parse(
        &table(&json!({
            "RXGATE": { "shards": 0, "previous_shards": "16", "development": "yes", "sharts": 4 },
            "SOURCE_A": "osigu",
            "SOURCE_B": {
                "provider": "stripe",
                "environment": "staging",
                "keys": [{ "id": "", "secret": "SHORT" }, { "secret": "SHORT" }, { "id": "x", "secret": "NOT_THERE" }, "OSIGU_KEY"],
                "tolerance_seconds": 0,
                "stale": "maybe",
                "provider_slug": 7,
                "accept_api_versions": "2027-01-01",
                "max_body_bytes": 1_048_577,
                "dedupe_window_days": 91,
                "destination": "nowhere",
                "routes": [7, { "types": ["RX.*", 7, ""], "pharmacies": [true], "branches": "b", "destination": "elsewhere", "to": 1 }],
                "tolerance": 300,
            },
            "SOURCE_C": {},
            "DESTINATION_D": {
                "url": "http://d.example/",
                "format": "xml",
                "keys": [{ "id": "k", "secret": "SHORT" }, { "id": 7, "secret": "CLINIC_KEY" }, {}],
                "headers": { "webhook-id": "CLINIC_KEY", "x y": "CLINIC_KEY", "x-a": 7, "x-b": "NOT_THERE", "x-c": "MULTILINE" },
                "timeout": 3,
            },
            "DESTINATION_E": {},
            "DESTINATION_": 7,
        })),
        &with_secrets(&[("SHORT", "fifteen bytes.."), ("MULTILINE", "a\nb")]),
        bindings(),
    );
    assert_eq!(
        listed(&config),
        [
            "RXGATE.sharts: is no setting: there are shards, previous_shards, development, seal_keys, operator_keys, delivery_queue, dead_letter_queue, dead_letter_days, alert, refusal_sample",
            "RXGATE.development: isn't true or false",
            "RXGATE.shards: isn't a whole number from 1 to 4096",
            "RXGATE.previous_shards: isn't a whole number from 1 to 4096",
            "RXGATE.seal_keys: is missing",
            "DESTINATION_: its name has to be 1 to 64 letters, digits and _",
            "DESTINATION_: isn't a table",
            "DESTINATION_D.timeout: is no setting: there are url, queue, format, keys, headers, permanent_statuses, delivery, on_origin_failure",
            "DESTINATION_D.url: isn't https (http is for this machine, with RXGATE.development = true)",
            "DESTINATION_D.format: isn't one of canonical, original",
            "DESTINATION_D.keys[0].secret: the secret SHORT doesn't start with whsec_",
            "DESTINATION_D.keys[1].id: isn't a string with something in it",
            "DESTINATION_D.keys[2].id: is missing",
            "DESTINATION_D.keys[2].secret: is missing",
            "DESTINATION_D.keys: has 3 keys: 1 to 2 are needed",
            "DESTINATION_D.headers.webhook-id: is a header that rxgate or the platform sets itself",
            "DESTINATION_D.headers.x y: isn't a header name",
            "DESTINATION_D.headers.x-a: isn't the name of a secret",
            "DESTINATION_D.headers.x-b: isn't the name of a secret that there is",
            "DESTINATION_D.headers.x-c: the secret MULTILINE can't be a header's value",
            "DESTINATION_E.url: is missing",
            "DESTINATION_E.keys: is missing",
            "SOURCE_A: isn't a table",
            "SOURCE_B.tolerance: is no setting: there are provider, environment, keys, tolerance_seconds, stale, provider_slug, accept_api_versions, max_body_bytes, dedupe_window_days, dedupe, edge_cache, retry_policy, accept_loss, withhold_superseded, phi, phi_key, destination, routes, preset, scheme, event, types, accept_unsigned, path_tokens, header, basic, addresses, zone, authorization_scheme, expectation_keys, callback_hours, require_expectation",
            "SOURCE_B.provider: isn't one of osigu, evitalrx, phil-callback, configured",
            "SOURCE_B.environment: isn't one of sandbox, production",
            "SOURCE_B.keys[0].id: isn't a string with something in it",
            "SOURCE_B.keys[1].id: is missing",
            "SOURCE_B.keys[2].secret: isn't the name of a secret that there is",
            "SOURCE_B.keys[3]: isn't a table",
            "SOURCE_B.tolerance_seconds: isn't a whole number from 1 to 86400",
            "SOURCE_B.stale: isn't one of refuse, accept",
            "SOURCE_B.max_body_bytes: isn't a whole number from 1 to 1048576",
            "SOURCE_B.dedupe_window_days: isn't a whole number from 1 to 90",
            "SOURCE_B.accept_api_versions: isn't a list",
            "SOURCE_B.provider_slug: isn't a string with something in it",
            "SOURCE_B.destination: isn't the name of a destination: there are , d, e",
            "SOURCE_B.routes[0]: isn't a table",
            "SOURCE_B.routes[1].to: is no setting: there are types, pharmacies, branches, destination",
            "SOURCE_B.routes[1].types[1]: isn't a string with something in it",
            "SOURCE_B.routes[1].types[2]: isn't a string with something in it",
            "SOURCE_B.routes[1].types[0]: isn't a pattern of canonical types: lower-case letters, _, . and *",
            "SOURCE_B.routes[1].pharmacies[0]: isn't a string with something in it",
            "SOURCE_B.routes[1].branches: isn't a list",
            "SOURCE_B.routes[1].destination: isn't the name of a destination: there are , d, e",
            "SOURCE_C.provider: is missing",
            "SOURCE_C.environment: is missing",
            "SOURCE_C.keys: is missing",
            "SOURCE_C.destination: is missing",
        ]
    );
    assert_eq!(config.sources.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(config.sources.values().all(Option::is_none));
    assert!(config.destinations.iter().all(Option::is_none));
}

#[test]
fn without_a_source_nothing_can_come_in_and_that_is_said() {
    let expected = ["vars: there is no source: add a table SOURCE_<NAME>"];
    assert_eq!(
        listed(&Config::parse(&only_gateway(), &secrets(), bindings())),
        expected
    );
    let mut vars = vars();
    vars.remove("SOURCE_OSIGU");
    vars.insert("SOURCES".to_owned(), json!({}));
    let misspelt = "SOURCES: is no setting: there are RXGATE, SOURCE_<NAME> and DESTINATION_<NAME>";
    assert_eq!(faults(&vars), [misspelt, expected[0]]);
}

#[test]
fn a_setting_that_there_is_not_is_a_fault_and_not_ignored() {
    for (name, setting) in [
        ("SOURCE_OSIGU", "tolerance"),
        ("SOURCE_OSIGU", "Stale"),
        ("SOURCE_OSIGU", "verify"),
        ("DESTINATION_CLINIC", "URL"),
        ("RXGATE", "shard"),
    ] {
        let found = faults(&changed(name, &[(setting, json!(true))]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("{name}.{setting}: is no setting: there are ")),
            "{found:?}"
        );
    }
    let key = json!([{ "id": "first", "secret": "OSIGU_KEY", "notafter": "2026-06-25T00:00:00Z" }]);
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", key)],
        &["SOURCE_OSIGU.keys[0].notafter: is no setting: there are id, secret, not_after"],
    );
}

#[test]
fn two_settings_whose_names_come_to_the_same_are_both_faulty() {
    let mut vars = vars();
    vars.insert("SOURCE_osigu".to_owned(), vars["SOURCE_OSIGU"].clone());
    vars.insert(
        "DESTINATION_Clinic".to_owned(),
        vars["DESTINATION_CLINIC"].clone(),
    );
    let config = parse(&vars);
    assert_eq!(
        listed(&config),
        [
            "DESTINATION_CLINIC: another is called clinic as well",
            "DESTINATION_Clinic: another is called clinic as well",
            "SOURCE_OSIGU: another is called osigu as well",
            "SOURCE_osigu: another is called osigu as well",
        ]
    );
    assert!(config.sources.get("osigu").unwrap().is_none());
    // A source and a destination may share a name.
    vars = self::vars();
    vars.insert(
        "DESTINATION_OSIGU".to_owned(),
        vars["DESTINATION_CLINIC"].clone(),
    );
    assert_eq!(faults(&vars), [""; 0]);
}

#[test]
fn a_name_is_one_to_64_letters_digits_and_underscores() {
    for (name, sound) in [
        ("SOURCE_A", true),
        ("SOURCE_OSIGU_2", true),
        (&format!("SOURCE_{}", "A".repeat(64)), true),
        (&format!("SOURCE_{}", "A".repeat(65)), false),
        ("SOURCE_", false),
        ("SOURCE_LÓPEZ", false),
        ("SOURCE_A.B", false),
        ("SOURCE_A/B", false),
    ] {
        let mut vars = vars();
        let settings = vars.remove("SOURCE_OSIGU").unwrap();
        vars.insert(name.to_owned(), settings);
        let expected = format!("{name}: its name has to be 1 to 64 letters, digits and _");
        let expected = if sound { vec![] } else { vec![expected] };
        assert_eq!(faults(&vars), expected);
    }
}

// ── keys and secrets ──

#[test]
fn an_empty_or_short_key_is_a_fault_and_the_source_stays_shut() {
    for (secret, problem) in [
        ("", "is empty"),
        ("x", "has 1 bytes: at least 16 are needed"),
        ("fifteen bytes..", "has 15 bytes: at least 16 are needed"),
    ] {
        let config = Config::parse(&vars(), &with_secrets(&[("OSIGU_KEY", secret)]), bindings());
        let expected = format!("SOURCE_OSIGU.keys[0].secret: the secret OSIGU_KEY {problem}");
        assert_eq!(listed(&config), [expected]);
        assert!(config.sources.get("osigu").unwrap().is_none());
    }
    let config = Config::parse(
        &vars(),
        &with_secrets(&[("OSIGU_KEY", "sixteen bytes...")]),
        bindings(),
    );
    assert_eq!(listed(&config), [""; 0]);
}

#[test]
fn a_source_has_one_to_four_keys_with_ids_of_their_own() {
    let keys = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({ "id": format!("k{n}"), "secret": "OSIGU_KEY" }))
            .collect()
    };
    for count in [1, 4] {
        assert_faults("SOURCE_OSIGU", &[("keys", keys(count))], &[]);
    }
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", keys(0))],
        &["SOURCE_OSIGU.keys: has 0 keys: 1 to 4 are needed"],
    );
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", keys(5))],
        &["SOURCE_OSIGU.keys: has 5 keys: 1 to 4 are needed"],
    );
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", json!("OSIGU_KEY"))],
        &["SOURCE_OSIGU.keys: isn't a list"],
    );
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", Value::Null)],
        &["SOURCE_OSIGU.keys: is missing"],
    );
    // Also where one of too many is faulty itself.
    let mut five = keys(5);
    five[2]["secret"] = json!("NOT_THERE");
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", five)],
        &[
            "SOURCE_OSIGU.keys[2].secret: isn't the name of a secret that there is",
            "SOURCE_OSIGU.keys: has 5 keys: 1 to 4 are needed",
        ],
    );
    let mut twins = keys(3);
    twins[2]["id"] = json!("k0");
    assert_faults(
        "SOURCE_OSIGU",
        &[("keys", twins)],
        &["SOURCE_OSIGU.keys[2].id: is the id of another key"],
    );
}

#[test]
fn one_faulty_key_shuts_the_source_rather_than_leaving_the_others() {
    let keys =
        json!([{ "id": "new", "secret": "NOT_THERE" }, { "id": "old", "secret": "OSIGU_KEY" }]);
    let config = parse(&changed("SOURCE_OSIGU", &[("keys", keys)]));
    assert!(config.sources.get("osigu").unwrap().is_none());
}

#[test]
fn a_keys_not_after_is_a_date_time() {
    let with = |not_after: Value| {
        let keys = json!([{ "id": "first", "secret": "OSIGU_KEY", "not_after": not_after }]);
        faults(&changed("SOURCE_OSIGU", &[("keys", keys)]))
    };
    assert_eq!(with(json!("2026-06-25T14:22:11Z")), [""; 0]);
    for wrong in ["2026-06-25", "tomorrow", "2026-06-25T14:22:11"] {
        let expected = "SOURCE_OSIGU.keys[0].not_after: isn't an RFC 3339 date-time";
        assert_eq!(with(json!(wrong)), [expected], "{wrong}");
    }
    for wrong in [json!(1_782_397_331), json!(""), Value::Null] {
        let expected = "SOURCE_OSIGU.keys[0].not_after: isn't a string with something in it";
        assert_eq!(with(wrong), [expected]);
    }
}

#[test]
fn a_signing_key_of_another_form_says_what_is_wrong_with_it() {
    for (secret, problem) in [
        ("", "doesn't start with whsec_"),
        (
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "doesn't start with whsec_",
        ),
        ("whsec_!", "isn't base64 after whsec_"),
        ("whsec_", "has 0 bytes: 24 to 64 are needed"),
        ("whsec_AAAA", "has 3 bytes: 24 to 64 are needed"),
    ] {
        let config = Config::parse(
            &vars(),
            &with_secrets(&[("CLINIC_KEY", secret)]),
            bindings(),
        );
        let expected =
            format!("DESTINATION_CLINIC.keys[0].secret: the secret CLINIC_KEY {problem}");
        assert_eq!(listed(&config), [expected]);
        assert!(config.destinations[0].is_none());
    }
    let keys = |count: usize| json!(vec![json!({ "id": "k", "secret": "CLINIC_KEY" }); count]);
    assert_faults("DESTINATION_CLINIC", &[("keys", keys(2))], &[]);
    for count in [0, 3] {
        let expected = format!("DESTINATION_CLINIC.keys: has {count} keys: 1 to 2 are needed");
        assert_faults("DESTINATION_CLINIC", &[("keys", keys(count))], &[&expected]);
    }
}

#[test]
fn a_secret_that_stands_where_its_name_belongs_is_never_shown() {
    for pasted in [
        "osigu-live-key-Zx81",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx",
        "4F9A11C2D07B4E8896AB",
        "JBSWY3DPEHPK3PXP",
        "SIXTEEN_CAPITALS",
        "Bearer abc.def",
        "a\nb",
    ] {
        let mut vars = vars();
        vars["SOURCE_OSIGU"]["keys"][0]["secret"] = json!(pasted);
        vars["DESTINATION_CLINIC"]["keys"][0]["secret"] = json!(pasted);
        vars["DESTINATION_CLINIC"]["headers"] = json!({ "authorization": pasted });
        let config = parse(&vars);
        assert_eq!(
            listed(&config),
            [
                "DESTINATION_CLINIC.keys[0].secret: isn't the name of a secret that there is",
                "DESTINATION_CLINIC.headers.authorization: isn't the name of a secret that there is",
                "SOURCE_OSIGU.keys[0].secret: isn't the name of a secret that there is",
            ]
        );
        assert!(!format!("{config:?}").contains(pasted));
    }
}

#[test]
fn no_fault_carries_the_value_of_a_setting_or_of_a_secret() {
    // One text in the place of every value, of settings and of secrets: it comes up nowhere.
    let canary = "canary-7f3a";
    let setting = || json!(canary);
    let settings = table(&json!({
        "RXGATE": {
            "shards": setting(), "previous_shards": setting(), "development": setting(),
            "seal_keys": [{ "id": setting(), "secret": setting() }, { "id": "k", "secret": "BAD" }],
            "operator_keys": [{ "id": setting(), "secret": setting() }, { "id": "k", "secret": "BAD" }],
            "delivery_queue": setting(), "dead_letter_queue": setting(), "dead_letter_days": setting(),
            "refusal_sample": setting(), "alert": { "url": setting(), "keys": setting() },
        },
        "SOURCE_A": {
            "provider": setting(), "environment": setting(),
            "keys": [{ "id": setting(), "secret": setting(), "not_after": setting() }, { "id": "k", "secret": "BAD" }],
            "tolerance_seconds": setting(), "stale": setting(), "provider_slug": [canary],
            "accept_api_versions": setting(), "max_body_bytes": setting(), "dedupe_window_days": setting(),
            "dedupe": setting(), "edge_cache": setting(), "retry_policy": setting(), "accept_loss": setting(),
            "destination": setting(), "phi": { "contact": setting() }, "phi_key": { "secret": setting() },
            "routes": [{ "types": ["Canary-7f3a"], "pharmacies": setting(), "branches": setting(), "destination": setting() }],
        },
        "SOURCE_B": setting(),
        "DESTINATION_C": {
            "url": format!("https://{canary}:x@c.example/"), "format": setting(),
            "keys": [{ "id": setting(), "secret": setting() }, { "id": "k", "secret": "BAD" }],
            "headers": { "x-a": setting(), "x-b": "BAD_HEADER" },
        },
        "DESTINATION_D": { "url": setting(), "keys": setting(), "headers": setting(), "delivery": setting(), "on_origin_failure": setting() },
        "DESTINATION_E": { "queue": setting(), "url": setting() },
    }));
    let secrets = with_secrets(&[("BAD", canary), ("BAD_HEADER", "canary-7f3a\r\nx: y")]);
    let config = Config::parse(&settings, &secrets, bindings());
    assert_eq!(config.faults.len(), 48, "{:#?}", listed(&config));
    for fault in listed(&config) {
        assert!(!fault.to_ascii_lowercase().contains(canary), "{fault}");
    }
}

// ── what a fault may stop ──

#[test]
fn a_faulty_source_does_not_stop_the_others() {
    let mut vars = vars();
    vars.insert("SOURCE_FAULTY".to_owned(), json!({ "provider": "osigu" }));
    vars.insert(
        "DESTINATION_FAULTY".to_owned(),
        json!({ "url": "http://x.example/" }),
    );
    let mut lost = vars["SOURCE_OSIGU"].clone();
    lost["destination"] = json!("faulty");
    vars.insert("SOURCE_LOST".to_owned(), lost);
    let mut routed = vars["SOURCE_OSIGU"].clone();
    routed["routes"] = json!([{ "types": ["rx.unknown"], "destination": "faulty" }]);
    vars.insert("SOURCE_ROUTED".to_owned(), routed);
    let config = parse(&vars);
    assert!(!config.is_sound());
    let sound: Vec<(&str, bool)> = config
        .sources
        .iter()
        .map(|(id, source)| (id.as_str(), source.is_some()))
        .collect();
    // Where the destination is faulty, so is the source that needs it.
    assert_eq!(
        sound,
        [
            ("faulty", false),
            ("lost", false),
            ("osigu", true),
            ("routed", false)
        ]
    );

    let gateway = Gateway::new(config, &SEED);
    let (answered, _) = answer(&gateway, None, b"{}", NOW);
    assert_eq!(answered.body, r#"{"code":"signature_missing"}"#);
}

#[test]
fn a_faulty_source_answers_503_whatever_it_is_sent() {
    let vars = changed("SOURCE_OSIGU", &[("keys", json!([]))]);
    let gateway = Gateway::new(parse(&vars), &SEED);
    for header in [None, Some("t=1,v1=0"), Some(signed(b"{}").as_str())] {
        let (answer, record) = answer(&gateway, header, b"{}", NOW);
        assert_eq!((answer.status, answer.retry_after), (503, Some(60)));
        assert_eq!(record.code, "source_misconfigured");
    }
}

// ── numbers ──

#[test]
fn a_window_shorter_than_the_senders_retries_is_a_fault() {
    let with = |days: u64, more: &[Change<'_>]| {
        let window = [("dedupe_window_days", json!(days))];
        faults(&changed("SOURCE_OSIGU", &[&window, more].concat()))
    };
    let shorter = |hours: u64| {
        format!(
            "SOURCE_OSIGU.dedupe_window_days: is shorter than the {hours} hours for which the sender's requests stay good"
        )
    };
    // Osigu tries again for 72 h.
    assert_eq!(with(2, &[]), [shorter(72)]);
    assert_eq!(with(3, &[]), [""; 0]);
    // Where stale requests are accepted, the last retry may be followed by a replay within the tolerance.
    let accept = [("stale", json!("accept"))];
    assert_eq!(with(3, &accept), [shorter(73)]);
    assert_eq!(with(4, &accept), [""; 0]);
    // Twice the tolerance comes on top of the retries.
    let wide = [
        ("stale", json!("accept")),
        ("tolerance_seconds", json!(86_400)),
    ];
    assert_eq!(with(4, &wide), [shorter(120)]);
    assert_eq!(with(5, &wide), [""; 0]);
}

#[test]
fn numbers_are_whole_and_within_their_range() {
    for (name, setting, least, most) in [
        ("SOURCE_OSIGU", "tolerance_seconds", 1_u64, 86_400_u64),
        ("SOURCE_OSIGU", "max_body_bytes", 1, 1_048_576),
        ("SOURCE_OSIGU", "dedupe_window_days", 1, 90),
        ("RXGATE", "shards", 1, 4096),
        ("RXGATE", "previous_shards", 1, 4096),
    ] {
        let out = format!("{name}.{setting}: isn't a whole number from {least} to {most}");
        for wrong in [
            json!(least - 1),
            json!(most + 1),
            json!(-1),
            json!(1.5),
            json!(2.0),
            json!(u64::MAX),
            json!("7"),
            json!(true),
            json!([7]),
        ] {
            assert_eq!(
                faults(&changed(name, &[(setting, wrong.clone())])),
                [out.as_str()],
                "{wrong}"
            );
        }
        let allowed = if setting == "dedupe_window_days" {
            3
        } else {
            least
        };
        for right in [allowed, most] {
            assert_eq!(
                faults(&changed(name, &[(setting, json!(right))])),
                [""; 0],
                "{setting} {right}"
            );
        }
    }
    assert_faults(
        "RXGATE",
        &[("shards", json!(32)), ("previous_shards", json!(32))],
        &["RXGATE.previous_shards: is the same as shards: leave it out"],
    );
}

#[test]
fn what_the_platform_would_not_take_is_a_fault() {
    let filled = |more: usize| {
        let mut secrets = secrets();
        secrets.extend((0..more).map(|n| (format!("OTHER_{n}"), n.to_string())));
        listed(&Config::parse(&vars(), &secrets, bindings()))
    };
    // Three variables and three secrets are there already.
    assert_eq!(MAX_VARS, 128);
    assert_eq!(filled(122), [""; 0]);
    assert_eq!(
        filled(123),
        ["vars: more than 128 variables and secrets: the platform takes no more"]
    );

    assert_eq!(MAX_VAR_BYTES, 5120);
    let sized = |bytes: usize| {
        let mut vars = vars();
        // Two of them are the quotes.
        vars.insert("SOURCE_LONG".to_owned(), json!("x".repeat(bytes - 2)));
        faults(&vars)
    };
    let no_table = "SOURCE_LONG: isn't a table";
    assert_eq!(sized(5120), [no_table]);
    assert_eq!(
        sized(5121),
        [
            "SOURCE_LONG: 5121 bytes: the platform takes no more than 5120",
            no_table
        ]
    );
}

// ── destinations ──

#[test]
fn only_https_without_credentials_is_a_destination() {
    use TargetFault::{Credentials, Fragment, NotAUrl, NotHttps};
    for (url, expected) in [
        ("https://clinic.example/rxgate", Ok(())),
        ("https://clinic.example", Ok(())),
        ("HTTPS://CLINIC.EXAMPLE/", Ok(())),
        ("https://clinic.example:8443/a/b?c=d%20@e", Ok(())),
        ("https://192.0.2.1/", Ok(())),
        ("https://[2001:db8::1]/", Ok(())),
        ("http://clinic.example/", Err(NotHttps)),
        ("http://127.0.0.1/", Err(NotHttps)),
        ("ftp://clinic.example/", Err(NotHttps)),
        ("ws://clinic.example/", Err(NotHttps)),
        ("https://user@clinic.example/", Err(Credentials)),
        ("https://user:word@clinic.example/", Err(Credentials)),
        ("https://:@clinic.example/", Err(Credentials)),
        ("https://clinic.example/#a", Err(Fragment)),
        ("https://clinic.example#@other.example/", Err(Fragment)),
        ("", Err(NotAUrl)),
        ("clinic.example", Err(NotAUrl)),
        ("/rxgate", Err(NotAUrl)),
        ("//clinic.example/", Err(NotAUrl)),
        ("https:", Err(NotAUrl)),
        ("https://", Err(NotAUrl)),
        ("https:///rxgate", Err(NotAUrl)),
        ("https:clinic.example", Err(NotAUrl)),
        ("https://clinic example/", Err(NotAUrl)),
        ("https://clinic.example\\@other.example/", Err(NotAUrl)),
        ("https://clinic.example/\n", Err(NotAUrl)),
        ("https://clinic.example/{tenant}", Err(NotAUrl)),
        ("https://clinic.example/?\"", Err(NotAUrl)),
        (" https://clinic.example/", Err(NotAUrl)),
        ("https://clinic.example:port/", Err(NotAUrl)),
        ("https://clinic.example:99999/", Err(NotAUrl)),
        ("https://:443/", Err(NotAUrl)),
        ("javascript:alert(1)", Err(NotAUrl)),
        ("data:text/plain,x", Err(NotAUrl)),
    ] {
        assert_eq!(check_target(url, false), expected, "{url}");
    }
}

#[test]
fn http_is_for_this_machine_and_only_in_development() {
    for url in [
        "http://localhost:8788/",
        "http://LOCALHOST/",
        "http://127.0.0.1/",
        "http://127.9.9.9:1/",
        "http://[::1]:8788/",
    ] {
        assert_eq!(check_target(url, true), Ok(()), "{url}");
        assert_eq!(
            check_target(url, false),
            Err(TargetFault::NotHttps),
            "{url}"
        );
    }
    for url in [
        "http://clinic.example/",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://0.0.0.0/",
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
    ] {
        assert_eq!(check_target(url, true), Err(TargetFault::NotHttps), "{url}");
    }
    let vars = |development: bool| {
        let mut vars = changed(
            "DESTINATION_CLINIC",
            &[("url", json!("http://127.0.0.1:8788/"))],
        );
        vars["RXGATE"]["development"] = json!(development);
        faults(&vars)
    };
    assert_eq!(vars(true), [""; 0]);
    let expected = "DESTINATION_CLINIC.url: isn't https (http is for this machine, with RXGATE.development = true)";
    assert_eq!(vars(false), [expected]);
}

#[test]
fn a_url_that_is_refused_says_why_by_its_path_and_is_not_repeated() {
    for (url, problem) in [
        (
            "https://canary:x@c.example/",
            "carries a user name or password: use headers with a secret",
        ),
        (
            "https://c.example/#canary",
            "carries a fragment, which is never sent",
        ),
        (
            "canary",
            "isn't an absolute URL (what has no place in one is percent-encoded)",
        ),
        (
            "https://c.example/{canary}",
            "isn't an absolute URL (what has no place in one is percent-encoded)",
        ),
    ] {
        let expected = format!("DESTINATION_CLINIC.url: {problem}");
        assert_faults("DESTINATION_CLINIC", &[("url", json!(url))], &[&expected]);
    }
}

#[test]
fn a_static_header_may_not_be_one_of_ours() {
    let with = |name: &str| {
        let vars = changed(
            "DESTINATION_CLINIC",
            &[("headers", json!({ name: "BEARER" }))],
        );
        listed(&Config::parse(
            &vars,
            &with_secrets(&[("BEARER", "Bearer abc")]),
            bindings(),
        ))
    };
    for name in ["authorization", "X-Api-Key", "cf-access-client-secret"] {
        assert_eq!(with(name), [""; 0], "{name}");
    }
    for name in [
        "webhook-id",
        "Webhook-Signature",
        "webhook-timestamp",
        "webhook-anything",
        "Host",
        "content-type",
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "user-agent",
        "content-encoding",
        "TE",
        "upgrade",
        "cf-connecting-ip",
        "cf-worker",
        "X-Osigu-Signature",
    ] {
        let expected = format!(
            "DESTINATION_CLINIC.headers.{name}: is a header that rxgate or the platform sets itself"
        );
        assert_eq!(with(name), [expected]);
    }
    for name in ["", "x y", "x:y", "x\r\ny", "é"] {
        let expected = format!("DESTINATION_CLINIC.headers.{name}: isn't a header name");
        assert_eq!(with(name), [expected]);
    }
    assert_faults(
        "DESTINATION_CLINIC",
        &[("headers", json!(["BEARER"]))],
        &["DESTINATION_CLINIC.headers: isn't a table of header names to secret names"],
    );
}

#[test]
fn a_static_headers_value_is_one_line_with_something_in_it() {
    let with = |value: &str| {
        let vars = changed(
            "DESTINATION_CLINIC",
            &[("headers", json!({ "x-a": "VALUE" }))],
        );
        listed(&Config::parse(
            &vars,
            &with_secrets(&[("VALUE", value)]),
            bindings(),
        ))
    };
    assert_eq!(with("Bearer abc\t=="), [""; 0]);
    for value in ["", " ", "a\nb", "a\r\nx: y", "a\0", "López"] {
        let expected = "DESTINATION_CLINIC.headers.x-a: the secret VALUE can't be a header's value";
        assert_eq!(with(value), [expected], "{value:?}");
    }
}

#[test]
fn a_faulty_gateway_stops_every_source() {
    let config = parse(&changed("RXGATE", &[("shards", json!("8"))]));
    assert_eq!(
        listed(&config),
        ["RXGATE.shards: isn't a whole number from 1 to 4096"]
    );
    assert!(config.sources.values().all(Option::is_none));
}

#[test]
fn a_key_that_begins_or_ends_with_white_space_is_a_fault() {
    for secret in [
        "osigu-key-0123456789\n",
        " osigu-key-0123456789",
        "                ",
    ] {
        assert_eq!(
            listed(&Config::parse(
                &vars(),
                &with_secrets(&[("OSIGU_KEY", secret)]),
                bindings(),
            )),
            ["SOURCE_OSIGU.keys[0].secret: the secret OSIGU_KEY begins or ends with white space"]
        );
    }
}

#[test]
fn a_source_all_of_whose_keys_have_expired_is_a_fault() {
    let keys = json!([{ "id": "old", "secret": "OSIGU_KEY", "not_after": "2020-01-01T00:00:00Z" }]);
    let config = parse(&changed("SOURCE_OSIGU", &[("keys", keys)]));
    assert!(config.is_sound());
    assert_eq!(
        listed(&config.at(NOW)),
        ["SOURCE_OSIGU.keys: are all past their not_after"]
    );
    assert_eq!(listed(&parse(&vars()).at(NOW)), [""; 0]);
}

#[test]
fn a_static_header_stands_once() {
    let headers = json!({ "authorization": "OSIGU_KEY", "Authorization": "OSIGU_KEY" });
    assert_faults(
        "DESTINATION_CLINIC",
        &[("headers", headers)],
        &[
            "DESTINATION_CLINIC.headers.Authorization: stands here twice",
            "DESTINATION_CLINIC.headers.authorization: stands here twice",
        ],
    );
}

#[test]
fn a_route_that_nothing_or_everything_takes_is_a_fault() {
    for (route, expected) in [
        (
            json!({ "types": ["dispensing.*"], "destination": "clinic" }),
            "routes[0].types[0]: matches no canonical type, such as rx.dispense.completed",
        ),
        (
            json!({ "types": [], "destination": "clinic" }),
            "routes[0].types: is empty: nothing would match",
        ),
        (
            json!({ "pharmacies": [], "destination": "clinic" }),
            "routes[0].pharmacies: is empty: nothing would match",
        ),
        (
            json!({ "destination": "clinic" }),
            "routes[0]: has no condition: what no route takes goes to the source's destination",
        ),
    ] {
        assert_faults(
            "SOURCE_OSIGU",
            &[("routes", json!([route]))],
            &[&format!("SOURCE_OSIGU.{expected}")],
        );
    }
    for types in [
        json!(["rx.unknown"]),
        json!(["*"]),
        json!(["rx.dispense.*"]),
    ] {
        let routes = json!([{ "types": types, "destination": "clinic" }]);
        assert_faults("SOURCE_OSIGU", &[("routes", routes)], &[]);
    }
}

#[test]
fn a_permanent_status_is_a_status_that_an_origin_may_fail_with() {
    for wrong in [json!(200), json!(600), json!("410"), json!(-1)] {
        assert_faults(
            "DESTINATION_CLINIC",
            &[("permanent_statuses", json!([wrong]))],
            &["DESTINATION_CLINIC.permanent_statuses[0]: isn't a whole number from 300 to 599"],
        );
    }
    let config = parse(&changed(
        "DESTINATION_CLINIC",
        &[("permanent_statuses", json!([]))],
    ));
    assert_eq!(origin(&config, 0).permanent, [0_u16; 0]);
}

#[test]
fn a_key_id_is_a_plain_name() {
    for id in ["with space", "López", "a/b", &"k".repeat(65)] {
        assert_faults(
            "SOURCE_OSIGU",
            &[("keys", json!([{ "id": id, "secret": "OSIGU_KEY" }]))],
            &["SOURCE_OSIGU.keys[0].id: isn't 1 to 64 letters, digits, -, _ and dots"],
        );
    }
}

// ── queues, dead letters, KV, operators ──

/// The settings of a source or of the gateway, with these queues bound besides the dead letters'.
fn faults_bound(name: &str, changes: &[Change<'_>], queues: &[&str]) -> Vec<String> {
    listed(&bound(&changed(name, changes), queues))
}

fn bound(vars: &Map<String, Value>, queues: &[&str]) -> Config {
    let mut all = bindings();
    all.queues
        .extend(queues.iter().map(|&name| name.to_owned()));
    let more = [("OPERATOR_KEY", "operator-key-of-32-bytes-or-more")];
    Config::parse(vars, &with_secrets(&more), all)
}

#[test]
fn every_setting_of_queues_letters_and_operators_is_read() {
    let seal = |id: &str| json!({ "id": id, "secret": "SEAL_KEY" });
    let operator = |id: &str| json!({ "id": id, "secret": "OPERATOR_KEY" });
    let mut vars = changed(
        "RXGATE",
        &[
            (
                "seal_keys",
                json!([seal("new"), seal("old"), seal("older"), seal("oldest")]),
            ),
            ("operator_keys", json!([operator("ana"), operator("luis")])),
            ("delivery_queue", json!("clinic-deliveries")),
            ("dead_letter_queue", json!("clinic-dead-letters")),
            ("dead_letter_days", json!(365)),
            ("refusal_sample", json!(10_000)),
            (
                "alert",
                json!({ "url": "https://alerts.example/", "keys": [{ "id": "a", "secret": "CLINIC_KEY" }] }),
            ),
        ],
    );
    let source = |name: &str, value: Value| (name.to_owned(), value);
    for (name, value) in [
        source("dedupe", json!("exact")),
        source("edge_cache", json!(true)),
        source("retry_policy", json!("unknown")),
        source("accept_loss", json!(true)),
    ] {
        vars["SOURCE_OSIGU"][name] = value;
    }
    vars.insert(
        "DESTINATION_EVENTS".to_owned(),
        json!({ "queue": "CLINIC_EVENTS" }),
    );
    let config = bound(&vars, &["DELIVERIES", "CLINIC_EVENTS"]);
    assert_eq!(listed(&config), [""; 0]);
    let names = (
        config.delivery_queue.as_str(),
        config.dead_letter_queue.as_str(),
    );
    assert_eq!(names, ("clinic-deliveries", "clinic-dead-letters"));
    assert_eq!((config.letters_kept, config.sample), (365 * DAY, 10_000));
    let keys = config.operator_keys.as_ref().unwrap().usable(NOW);
    let ids: Vec<&str> = keys.map(|key| key.id().as_str()).collect();
    assert_eq!(ids, ["ana", "luis"]);
    assert_eq!(
        config.alert.as_ref().unwrap().url,
        "https://alerts.example/"
    );
    let source = source_of(&config, "osigu");
    assert_eq!(source.dedupe, Dedupe::Exact { edge_cache: true });
    assert_eq!((source.retries, source.accepts_loss), (false, true));
    // Where our own queue is bound it takes what the origin doesn't, unless that is said otherwise.
    assert_eq!(origin(&config, 0).road, Road::DirectThenQueue);
    let queue = config.destinations[1].as_ref().map(|d| &d.to);
    assert!(matches!(queue, Some(Target::Queue(name)) if name == "CLINIC_EVENTS"));
    vars["SOURCE_OSIGU"]["dedupe"] = json!("kv");
    vars["SOURCE_OSIGU"]["edge_cache"] = json!(false);
    let config = bound(&vars, &["DELIVERIES", "CLINIC_EVENTS"]);
    assert_eq!(source_of(&config, "osigu").dedupe, Dedupe::Kv);
}

#[test]
fn the_road_to_an_origin_is_what_two_settings_and_the_bound_queue_say() {
    let needs = |name: &str| {
        vec![format!(
            "DESTINATION_CLINIC.{name}: needs our own queue: bind one under DELIVERIES"
        )]
    };
    let contradiction = vec![
        "DESTINATION_CLINIC.on_origin_failure: is for delivery = \"direct\": from the queue a delivery is tried again anyway".to_owned(),
    ];
    for (delivery, failure, with, without) in [
        (None, None, Ok(Road::DirectThenQueue), Ok(Road::Direct)),
        (
            Some("direct"),
            None,
            Ok(Road::DirectThenQueue),
            Ok(Road::Direct),
        ),
        (
            None,
            Some("sender_retries"),
            Ok(Road::Direct),
            Ok(Road::Direct),
        ),
        (
            Some("direct"),
            Some("sender_retries"),
            Ok(Road::Direct),
            Ok(Road::Direct),
        ),
        (
            None,
            Some("enqueue"),
            Ok(Road::DirectThenQueue),
            Err(needs("on_origin_failure")),
        ),
        (Some("queue"), None, Ok(Road::Queue), Err(needs("delivery"))),
        (
            Some("queue"),
            Some("enqueue"),
            Err(contradiction.clone()),
            Err(contradiction.clone()),
        ),
        (
            Some("queue"),
            Some("sender_retries"),
            Err(contradiction.clone()),
            Err(contradiction.clone()),
        ),
    ] {
        let value = |text: Option<&str>| text.map_or(Value::Null, |text| json!(text));
        let changes = [
            ("delivery", value(delivery)),
            ("on_origin_failure", value(failure)),
        ];
        let vars = changed("DESTINATION_CLINIC", &changes);
        for (queues, expected) in [(&["DELIVERIES"][..], with), (&[], without)] {
            let config = bound(&vars, queues);
            let found = if config.is_sound() {
                Ok(origin(&config, 0).road)
            } else {
                Err(listed(&config))
            };
            assert_eq!(found, expected, "{changes:?} {queues:?}");
        }
    }
    for (setting, choices) in [
        ("delivery", "direct, queue"),
        ("on_origin_failure", "enqueue, sender_retries"),
    ] {
        let expected = format!("DESTINATION_CLINIC.{setting}: isn't one of {choices}");
        assert_eq!(
            faults_bound("DESTINATION_CLINIC", &[(setting, json!("fast"))], &[]),
            [expected]
        );
    }
}

#[test]
fn a_queue_of_a_customer_is_bound_isnt_ours_and_has_no_setting_of_an_origin() {
    let with = |settings: Value| {
        let mut vars = vars();
        vars["DESTINATION_CLINIC"] = settings;
        listed(&bound(&vars, &["DELIVERIES", "CLINIC_EVENTS"]))
    };
    assert_eq!(with(json!({ "queue": "CLINIC_EVENTS" })), [""; 0]);
    for ours in ["DELIVERIES", "DEAD_LETTERS"] {
        let expected = "DESTINATION_CLINIC.queue: is a queue that rxgate consumes itself";
        assert_eq!(with(json!({ "queue": ours })), [expected]);
    }
    for wrong in ["clinic-events", "KV", "CLINIC_KEY"] {
        let expected = "DESTINATION_CLINIC.queue: isn't the binding of a queue that there is";
        assert_eq!(with(json!({ "queue": wrong })), [expected]);
    }
    for wrong in [json!(""), json!(7), json!(["CLINIC_EVENTS"])] {
        let expected = "DESTINATION_CLINIC.queue: isn't a string with something in it";
        assert_eq!(with(json!({ "queue": wrong })), [expected]);
    }
    for (name, value) in [
        ("url", json!("https://clinic.example/")),
        ("format", json!("canonical")),
        ("keys", json!([{ "id": "first", "secret": "CLINIC_KEY" }])),
        ("headers", json!({})),
        ("permanent_statuses", json!([410])),
        ("delivery", json!("queue")),
        ("on_origin_failure", json!("enqueue")),
    ] {
        let expected =
            format!("DESTINATION_CLINIC.{name}: is for an origin, and this destination is a queue");
        assert_eq!(
            with(json!({ "queue": "CLINIC_EVENTS", name: value })),
            [expected]
        );
    }
}

#[test]
fn without_the_dead_letter_queue_or_kv_every_source_stays_shut() {
    let queue = "DEAD_LETTERS: is missing: bind the dead-letter queue under this name";
    let kv = "KV: is missing: bind a KV namespace under this name";
    for (has_queue, has_kv, expected) in [
        (true, true, &[][..]),
        (false, true, &[queue]),
        (true, false, &[kv]),
        (false, false, &[queue, kv]),
    ] {
        let queues = bindings()
            .queues
            .into_iter()
            .filter(|_| has_queue)
            .collect();
        let bindings = Bindings {
            queues,
            kv: has_kv,
            rate_limit: false,
        };
        let config = Config::parse(&vars(), &secrets(), bindings);
        assert_eq!(listed(&config), expected);
        assert_eq!(
            config.sources.get("osigu").unwrap().is_some(),
            expected.is_empty()
        );
    }
}

#[test]
fn a_sender_that_isnt_known_to_retry_needs_a_queue_behind_every_origin() {
    let loses = |path: &str| {
        format!(
            "SOURCE_OSIGU.{path}: has no queue behind it, and the sender isn't known to retry: what the origin doesn't take would be lost. Bind DELIVERIES and leave on_origin_failure at enqueue, or say accept_loss = true"
        )
    };
    let with = |changes: &[Change<'_>], queues: &[&str]| {
        let mut vars = changed("SOURCE_OSIGU", changes);
        vars["SOURCE_OSIGU"]["routes"] = json!([
            { "types": ["rx.unknown"], "destination": "events" },
            { "types": ["rx.dispense.*"], "destination": "sender-retries" },
        ]);
        let origin = vars["DESTINATION_CLINIC"].clone();
        vars.insert("DESTINATION_SENDER_RETRIES".to_owned(), origin);
        vars["DESTINATION_SENDER_RETRIES"]["on_origin_failure"] = json!("sender_retries");
        vars.insert(
            "DESTINATION_EVENTS".to_owned(),
            json!({ "queue": "CLINIC_EVENTS" }),
        );
        let config = bound(&vars, &[&["CLINIC_EVENTS"], queues].concat());
        assert_eq!(
            config.sources.get("osigu").unwrap().is_some(),
            config.is_sound()
        );
        listed(&config)
    };
    let unknown = [("retry_policy", json!("unknown"))];
    assert_eq!(
        with(&unknown, &[]),
        [loses("routes[1].destination"), loses("destination")]
    );
    assert_eq!(
        with(&unknown, &["DELIVERIES"]),
        [loses("routes[1].destination")]
    );
    for accepted in [
        &[
            ("retry_policy", json!("unknown")),
            ("accept_loss", json!(true)),
        ][..],
        &[("retry_policy", json!("documented"))],
        &[],
    ] {
        assert_eq!(with(accepted, &[]), [""; 0], "{accepted:?}");
    }
    for (setting, wrong, problem) in [
        (
            "retry_policy",
            json!("none"),
            "isn't one of documented, unknown",
        ),
        (
            "retry_policy",
            json!(7),
            "isn't a string with something in it",
        ),
        ("accept_loss", json!("yes"), "isn't true or false"),
        ("withhold_superseded", json!("yes"), "isn't true or false"),
        ("edge_cache", json!("yes"), "isn't true or false"),
        ("dedupe", json!("none"), "isn't one of exact, kv"),
    ] {
        assert_faults(
            "SOURCE_OSIGU",
            &[(setting, wrong)],
            &[&format!("SOURCE_OSIGU.{setting}: {problem}")],
        );
    }
    assert_faults(
        "SOURCE_OSIGU",
        &[("dedupe", json!("kv")), ("edge_cache", json!(true))],
        &["SOURCE_OSIGU.edge_cache: is for dedupe = \"exact\": with kv nothing else is asked"],
    );
}

#[test]
fn a_seal_key_is_32_bytes_in_base64_with_an_id_of_its_own() {
    let with = |secret: &str| {
        listed(&Config::parse(
            &vars(),
            &with_secrets(&[("SEAL_KEY", secret)]),
            bindings(),
        ))
    };
    for (secret, problem) in [
        ("not base64!", "isn't base64"),
        ("", "has 0 bytes: 32 are needed"),
        ("AAAA", "has 3 bytes: 32 are needed"),
        (
            "c2VhbC1jYW5hcnktb2YtdGhpcnR5LXR3by1ieXRlczEx",
            "has 33 bytes: 32 are needed",
        ),
    ] {
        assert_eq!(
            with(secret),
            [format!(
                "RXGATE.seal_keys[0].secret: the secret SEAL_KEY {problem}"
            )]
        );
    }
    let newline = "c2VhbC1jYW5hcnktb2YtdGhpcnR5LXR3by1ieXRlczE=\n";
    let expected =
        "RXGATE.seal_keys[0].secret: the secret SEAL_KEY begins or ends with white space";
    assert_eq!(with(newline), [expected]);
    let key = |id: &str| json!({ "id": id, "secret": "SEAL_KEY" });
    let five: Vec<Value> = (0..5).map(|n| key(&format!("k{n}"))).collect();
    for (keys, expected) in [
        (Value::Null, vec!["RXGATE.seal_keys: is missing"]),
        (json!("SEAL_KEY"), vec!["RXGATE.seal_keys: isn't a list"]),
        (
            json!([]),
            vec!["RXGATE.seal_keys: has 0 seal_keys: 1 to 4 are needed"],
        ),
        (
            json!(five),
            vec!["RXGATE.seal_keys: has 5 seal_keys: 1 to 4 are needed"],
        ),
        (
            json!([key("a"), key("a")]),
            vec!["RXGATE.seal_keys[1].id: is the id of another key"],
        ),
        (
            json!([key("a b")]),
            vec!["RXGATE.seal_keys[0].id: isn't 1 to 64 letters, digits, -, _ and dots"],
        ),
        (
            json!([{}]),
            vec![
                "RXGATE.seal_keys[0].id: is missing",
                "RXGATE.seal_keys[0].secret: is missing",
            ],
        ),
        (
            json!([{ "id": "a", "secret": "NOT_THERE", "not_after": "2027-01-01T00:00:00Z" }]),
            vec![
                "RXGATE.seal_keys[0].not_after: is no setting: there are id, secret",
                "RXGATE.seal_keys[0].secret: isn't the name of a secret that there is",
            ],
        ),
    ] {
        let config = parse(&changed("RXGATE", &[("seal_keys", keys)]));
        assert_eq!(listed(&config), expected);
        assert!(config.sources.values().all(Option::is_none));
    }
}

#[test]
fn an_operators_key_has_32_bytes_or_more() {
    let with = |secret: &str, keys: Value| {
        let vars = changed("RXGATE", &[("operator_keys", keys)]);
        listed(&Config::parse(
            &vars,
            &with_secrets(&[("OPERATOR_KEY", secret)]),
            bindings(),
        ))
    };
    let key = |id: &str| json!({ "id": id, "secret": "OPERATOR_KEY" });
    assert_eq!(with(&"k".repeat(32), json!([key("ana")])), [""; 0]);
    let short = "RXGATE.operator_keys[0].secret: the secret OPERATOR_KEY has 31 bytes: at least 32 are needed";
    assert_eq!(with(&"k".repeat(31), json!([key("ana")])), [short]);
    let empty = "RXGATE.operator_keys[0].secret: the secret OPERATOR_KEY is empty";
    assert_eq!(with("", json!([key("ana")])), [empty]);
    let sound = "k".repeat(32);
    let five: Vec<Value> = (0..5).map(|n| key(&format!("k{n}"))).collect();
    for (keys, expected) in [
        (
            json!([]),
            "RXGATE.operator_keys: has 0 operator_keys: 1 to 4 are needed",
        ),
        (
            json!(five),
            "RXGATE.operator_keys: has 5 operator_keys: 1 to 4 are needed",
        ),
        (
            json!([key("a"), key("a")]),
            "RXGATE.operator_keys[1].id: is the id of another key",
        ),
        (json!({}), "RXGATE.operator_keys: isn't a list"),
    ] {
        assert_eq!(with(&sound, keys), [expected]);
    }
}

#[test]
fn names_of_queues_numbers_and_the_alert_are_what_they_should_be() {
    for (setting, least, most) in [
        ("dead_letter_days", 1_u64, 365_u64),
        ("refusal_sample", 1, 10_000),
    ] {
        let out = format!("RXGATE.{setting}: isn't a whole number from {least} to {most}");
        for wrong in [
            json!(least - 1),
            json!(most + 1),
            json!(-1),
            json!(1.5),
            json!("7"),
            json!(true),
        ] {
            assert_faults("RXGATE", &[(setting, wrong)], &[&out]);
        }
        for right in [least, most] {
            assert_faults("RXGATE", &[(setting, json!(right))], &[]);
        }
    }
    for setting in ["delivery_queue", "dead_letter_queue"] {
        for wrong in [json!(""), json!(7)] {
            assert_faults(
                "RXGATE",
                &[(setting, wrong)],
                &[&format!(
                    "RXGATE.{setting}: isn't a string with something in it"
                )],
            );
        }
    }
    let same = "RXGATE.dead_letter_queue: is the delivery queue as well";
    assert_faults(
        "RXGATE",
        &[("dead_letter_queue", json!("rxgate-deliveries"))],
        &[same],
    );
    let keys = || json!([{ "id": "a", "secret": "CLINIC_KEY" }]);
    for (alert, expected) in [
        (
            json!("https://a.example/"),
            vec!["RXGATE.alert: isn't a table"],
        ),
        (
            json!({}),
            vec![
                "RXGATE.alert.url: is missing",
                "RXGATE.alert.keys: is missing",
            ],
        ),
        (
            json!({ "url": "http://a.example/", "keys": keys() }),
            vec![
                "RXGATE.alert.url: isn't https (http is for this machine, with RXGATE.development = true)",
            ],
        ),
        (
            json!({ "url": "https://a.example/", "keys": [{ "id": "a", "secret": "OSIGU_KEY" }] }),
            vec!["RXGATE.alert.keys[0].secret: the secret OSIGU_KEY doesn't start with whsec_"],
        ),
        (
            json!({ "url": "https://a.example/", "keys": keys(), "to": 1 }),
            vec!["RXGATE.alert.to: is no setting: there are url, keys"],
        ),
    ] {
        assert_faults("RXGATE", &[("alert", alert)], &expected);
    }
}

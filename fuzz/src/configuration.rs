//! The settings: any JSON, with faults that say where and repeat nothing.

use std::collections::BTreeMap;

use rxgate::config::{Bindings, Config, DEAD_LETTERS, DELIVERIES, KV};
use rxgate::js::PackageSource;
use rxgate::machine::Gateway;
use serde_json::{Map, Value, json};

use crate::source::{KEY, NOW, WHPK, WHSEC};

/// It stands where a value stands, and may not be repeated.
const MARK: &str = "Zanary-4711";

fn secrets() -> BTreeMap<String, String> {
    [
        ("KEY", KEY),
        ("KEY_2", "fuzz-key-two-0123456789abcdef"),
        ("SHORT", "short-Zanary-1"),
        ("OPERATOR", "operator-Zanary-key-of-32-bytes-12"),
        ("EXPECTATION", "expectation-Zanary-key-of-32-bytes"),
        ("PHI_KEY", "phi-Zanary-key-0123456789-0123456789"),
        ("TOKEN", "path-token-Zanary-0123456789abcdef"),
        ("BASIC", "portal:Zanary-password-0123"),
        ("STANDARD", WHSEC),
        ("PUBLIC", WHPK),
        ("SEAL_KEY", "c2VhbC1jYW5hcnktb2YtdGhpcnR5LXR3by1ieXRlczE="),
        (
            "SIGNING",
            "whsec_Y2FuYXJ5LXNpZ25pbmcta2V5LW51bWJlci1vbmUhISE=",
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Bindings, which value is marked, then the variables as JSON.
pub fn configuration(data: &[u8]) {
    let [bound, marked, json @ ..] = data else {
        return;
    };
    let Ok(Value::Object(mut vars)) = serde_json::from_slice(json) else {
        return;
    };
    match *marked {
        0 => {}
        255 => vars.values_mut().for_each(mark_all),
        place => {
            let (mut left, listed) = (usize::from(place % 128), place >= 128);
            let mut values = vars.values_mut();
            values.all(|value| !mark(value, &mut left, listed));
        }
    }
    let bindings = || Bindings {
        queues: [DEAD_LETTERS, DELIVERIES, "CLINIC_EVENTS"]
            .into_iter()
            .enumerate()
            .filter(|(place, _)| bound & (1 << place) == 0)
            .map(|(_, name)| name.to_owned())
            .collect(),
        kv: bound & 8 == 0,
        rate_limit: bound & 16 == 0,
    };
    let secrets = secrets();
    let config = Config::parse(&vars, &secrets, bindings());
    let shown = format!("{config:?}");
    assert_eq!(
        shown,
        format!("{:?}", Config::parse(&vars, &secrets, bindings()))
    );
    let given = format!("{vars:?}");
    for secret in secrets.values().filter(|s| !given.contains(s.as_str())) {
        assert!(!shown.contains(secret.as_str()), "a secret is shown");
    }
    for fault in &config.faults {
        let text = fault.to_string();
        let names_it = mentions(&Value::Object(vars.clone()), &fault.path);
        assert!(!fault.problem.contains("Zanary") || names_it, "{text}");
        assert!(!fault.problem.is_empty(), "{text}");
        let of_ours = ["vars", DEAD_LETTERS, DELIVERIES, KV].contains(&fault.path.as_str());
        assert!(of_ours || names(&vars, &fault.path), "{text}");
    }
    assert_eq!(config.is_sound(), config.faults.is_empty());
    if config.is_sound() {
        assert!(!config.sources.is_empty());
        assert!(config.sources.values().all(Option::is_some), "{shown}");
        assert!(config.destinations.iter().all(Option::is_some), "{shown}");
        assert!(config.seal_keys.is_some() && (1..=4096).contains(&config.shards));
        for source in config.sources.values().flatten() {
            let places = source.routes.iter().map(|route| route.destination);
            assert!(
                places
                    .chain([source.destination])
                    .all(|at| at < config.destinations.len())
            );
        }
        // Written and read again it is the same.
        let text = serde_json::to_string(&vars).unwrap();
        let vars: Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(
            shown,
            format!("{:?}", Config::parse(&vars, &secrets, bindings()))
        );
        let _ = Gateway::new(Config::parse(&vars, &secrets, bindings()).at(NOW), &[7; 32]);
    }
    for (name, table) in &vars {
        if name.starts_with("SOURCE_") {
            let _ = PackageSource::parse("fuzz", table, secrets.clone());
        }
    }
}

/// Puts the mark in place of the so-and-so-manieth text, or a list of it. Whether that is done.
fn mark(value: &mut Value, left: &mut usize, listed: bool) -> bool {
    match value {
        Value::String(_) if *left == 0 => {
            *value = if listed { json!([MARK]) } else { json!(MARK) };
            true
        }
        Value::String(_) => {
            *left -= 1;
            false
        }
        Value::Array(values) => values.iter_mut().any(|value| mark(value, left, listed)),
        Value::Object(members) => members.values_mut().any(|value| mark(value, left, listed)),
        _ => false,
    }
}

/// Puts it in place of all texts that aren't words, which choose what else is read, or names of secrets.
fn mark_all(value: &mut Value) {
    let is_word = |text: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(inner)
    };
    match value {
        Value::String(text) if !is_word(text) => MARK.clone_into(text),
        Value::Array(values) => values.iter_mut().for_each(mark_all),
        Value::Object(members) => members.values_mut().for_each(mark_all),
        _ => {}
    }
}

/// Whether the mark is a name, which a path may say.
fn mentions(value: &Value, path: &str) -> bool {
    match value {
        Value::Object(members) => {
            path.contains("Zanary")
                || members
                    .iter()
                    .any(|(name, value)| name.contains("Zanary") || mentions(value, path))
        }
        Value::Array(values) => values.iter().any(|value| mentions(value, path)),
        _ => false,
    }
}

/// Whether a path leads somewhere: to what there is, or to a setting that is missing in what there is.
fn names(members: &Map<String, Value>, path: &str) -> bool {
    let missing = |path: &str| {
        !path.is_empty()
            && path.split('.').count() <= 2
            && path
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_[].".contains(&b))
    };
    let found = members.iter().any(|(name, value)| {
        path.strip_prefix(name.as_str())
            .is_some_and(|rest| leads_on(value, rest))
    });
    found || missing(path)
}

fn leads_on(value: &Value, rest: &str) -> bool {
    if rest.is_empty() {
        return true;
    }
    match value {
        Value::Object(members) => rest
            .strip_prefix('.')
            .is_some_and(|rest| names(members, rest)),
        Value::Array(values) => {
            let place = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            place.is_some_and(|(index, rest)| {
                let value = index.parse::<usize>().ok().and_then(|at| values.get(at));
                value.is_some_and(|value| leads_on(value, rest))
            })
        }
        _ => false,
    }
}

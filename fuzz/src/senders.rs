//! Signed bytes to the canonical event, for each kind of sender.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::LocalKey;

use rxgate::event::phi::{Action, Class};
use rxgate::js::{Event, PackageSource, Refused};
use rxgate::provider::Provider;
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::slow::{Node, problems};
use crate::source::{CANARY, KEY, Sent, WHSEC, sound};

/// A source for each way of dealing with patient data: passed on, dropped, replaced, some of each.
type Sources = [PackageSource; 4];

fn sources(table: &Value, key: &str) -> Sources {
    let mixed = json!({ "identifier": "pseudonym", "contact": "drop", "clinical": "pass", "free_text": "drop", "link": "pseudonym" });
    let phis = [json!("pass"), json!("drop"), json!("pseudonym"), mixed];
    phis.map(|phi| {
        let mut table = table.clone();
        let replaces = phi.to_string().contains("pseudonym");
        table["phi"] = phi;
        if replaces {
            table["phi_key"] = json!({ "secret": "phi_key.secret" });
        }
        table["destination"] = json!("package");
        sound("fuzz", &table, key)
    })
}

fn keys() -> Value {
    json!([{ "id": "first", "secret": "keys[0].secret" }])
}

thread_local! {
    static OSIGU: Sources = sources(&json!({ "provider": "osigu", "environment": "sandbox", "keys": keys() }), KEY);
    static PHIL: Sources = sources(&json!({ "provider": "phil-callback", "keys": keys() }), KEY);
    static EVITALRX: Sources = sources(&json!({
        "provider": "evitalrx", "accept_unsigned": true,
        "path_tokens": [{ "id": "first", "secret": "path_tokens[0].secret" }],
    }), KEY);
    static WEBHOOKS: Vec<&'static str> = Provider::Evitalrx.webhooks();
    static CONFIGURED: [Sources; 4] = [
        sources(&json!({ "provider": "configured", "preset": "standard-webhooks", "keys": keys(), "types": { "order.shipped": "rx.order.shipped" }, "event": { "subject": "/subject" } }), WHSEC),
        sources(&json!({ "provider": "configured", "preset": "slack", "keys": keys() }), KEY),
        sources(&json!({
            "provider": "configured", "keys": keys(),
            "scheme": { "algorithm": "hmac-sha512", "header": "X-Sig", "encoding": "base64url" },
            "event": { "id": "/data/0/id", "type": "/data/0/kind~1of", "time": "/at", "time_unit": "milliseconds", "subject": "/data/0/for/0", "subject_type": "order" },
            "types": { "shipped": "rx.order.shipped", "": "rx.order.nothing" }, "environment": "production",
        }), KEY),
        sources(&json!({
            "provider": "configured", "keys": keys(),
            "scheme": { "algorithm": "hmac-sha256", "header": "X-Sig", "timestamp_header": "X-At", "signed": "{timestamp}.{body}" },
            "event": { "fixed_type": "ping", "time": "header:X-At", "subject": "/about" },
        }), KEY),
    ];
}

/// Policy, then the body.
pub fn osigu(data: &[u8]) {
    if let [policy, body @ ..] = data {
        with(&OSIGU, *policy, |source| {
            check(source, Provider::Osigu, None, body);
        });
    }
}

/// Policy, then the body.
pub fn phil_callback(data: &[u8]) {
    if let [policy, body @ ..] = data {
        with(&PHIL, *policy, |source| {
            check(source, Provider::PhilCallback, None, body);
        });
    }
}

/// Policy, webhook, then the body.
pub fn evitalrx(data: &[u8]) {
    if let [policy, webhook, body @ ..] = data {
        WEBHOOKS.with(|webhooks| {
            // Beyond them: one that isn't known.
            let webhook = webhooks.get(usize::from(*webhook) % (webhooks.len() + 1));
            let webhook = webhook.copied().unwrap_or("order-vanished");
            with(&EVITALRX, *policy, |source| {
                check(source, Provider::Evitalrx, Some(webhook), body);
            });
        });
    }
}

/// Policy, which of the sources, then the body.
pub fn configured(data: &[u8]) {
    if let [policy, which, body @ ..] = data {
        CONFIGURED.with(|all| {
            let source = &all[usize::from(*which) % all.len()][usize::from(*policy) % 4];
            check(source, Provider::Configured, None, body);
        });
    }
}

fn with(sources: &'static LocalKey<Sources>, policy: u8, then: impl FnOnce(&PackageSource)) {
    sources.with(|sources| then(&sources[usize::from(policy) % sources.len()]));
}

/// What a refusal may say of a body that is the sender's.
const CODES: [&str; 5] = [
    "body_malformed",
    "event_invalid",
    "event_contradictory",
    "environment_mismatch",
    "challenge_answered",
];

fn check(source: &PackageSource, provider: Provider, webhook: Option<&str>, body: &[u8]) {
    let sent = Sent::sign(source, None, webhook, body).unwrap();
    let verify = |sent: &Sent| sent.with(source, |request| source.verify(request));
    let event = verify(&sent);
    let again = verify(&sent);
    assert_eq!(shown(&event), shown(&again), "not the same the second time");
    let unproved = sent.with(source, |request| source.normalise(request));
    let (node, problems) = told(body);
    match &event {
        Ok(event) => {
            assert_eq!(problems, BTreeSet::new(), "read all the same");
            check_event(source, provider, event, body);
            match unproved {
                Ok(unproved) => {
                    same_but_for_proof(&event.json, &unproved.json);
                    assert_eq!(event.webhook_id, unproved.webhook_id);
                }
                // Nobody vouches for the header that has the id.
                Err(why) => assert_eq!(
                    (why.path.as_deref(), why.problem.as_deref()),
                    (Some("header of the id"), Some("missing"))
                ),
            }
            check_canaries(source, provider, node.as_ref(), event);
            if !source.source().phi.redacts() {
                check_once_more(source, webhook, event, body);
            }
        }
        Err(refused) => {
            assert!(CODES.contains(&refused.code), "{refused:?}");
            let malformed = refused.code == "body_malformed";
            assert_eq!(
                malformed,
                !problems.is_empty(),
                "{refused:?}, not {problems:?}"
            );
            if malformed {
                let why = refused.problem.as_deref().unwrap_or_default();
                assert!(problems.contains(why), "{why}, not {problems:?}");
            }
            let unproved = unproved.err().map(|why| (why.code, why.path));
            let of_header = Some(("event_invalid", Some("header of the id".to_owned())));
            assert!(
                unproved == Some((refused.code, refused.path.clone())) || unproved == of_header,
                "{unproved:?}, not {refused:?}"
            );
            check_refusal(source, refused);
        }
    }
    // What proves nothing of the body takes any.
    if matches!(provider, Provider::Osigu | Provider::Configured) {
        check_changed(source, sent);
    }
}

fn shown(event: &Result<Event, Box<Refused>>) -> String {
    match event {
        Ok(event) => format!(
            "{} {} {:?}",
            String::from_utf8_lossy(&event.json),
            event.webhook_id,
            event.answer
        ),
        Err(refused) => format!("{refused:?}"),
    }
}

/// The slow reader goes down the stack: what is too deep for it is told here.
fn told(body: &[u8]) -> (Option<Node>, BTreeSet<&'static str>) {
    problems(body)
}

/// One byte of the body is another: it isn't the sender's.
fn check_changed(source: &PackageSource, mut sent: Sent) {
    let Some(place) = sent.body.len().checked_sub(1) else {
        return;
    };
    for place in [0, place / 2, place] {
        sent.body[place] ^= 1;
        let refused = sent.with(source, |request| source.verify(request));
        assert_eq!(
            refused.err().map(|why| why.code),
            Some("signature_mismatch")
        );
        sent.body[place] ^= 1;
    }
}

fn text_of(json: &[u8]) -> &str {
    std::str::from_utf8(json).unwrap()
}

/// Ours, and the sender's own document.
fn halves(json: &str) -> (&str, &str) {
    let (ours, rest) = json.split_once(r#""original":"#).unwrap();
    (ours, rest.strip_suffix("}}").unwrap())
}

fn trimmed(body: &[u8]) -> &str {
    text_of(body).trim_matches([' ', '\t', '\r', '\n'])
}

fn same_but_for_proof(proved: &[u8], unproved: &[u8]) {
    let unproved_text = text_of(unproved);
    let mut proved_text = text_of(proved).to_owned();
    for strength in ["signature", "token"] {
        proved_text = proved_text.replacen(
            &format!(r#""rxauth":"{strength}""#),
            r#""rxauth":"none""#,
            1,
        );
    }
    let proved_text = proved_text.replacen(r#""rxkeyid":"first""#, r#""rxkeyid":"none""#, 1);
    if proved_text.contains(r#""time":"2026-06-25T14:22:11.000Z""#) {
        // Of the time that was signed, where there was a signature.
        return;
    }
    assert_eq!(proved_text, unproved_text);
}

fn check_event(source: &PackageSource, provider: Provider, event: &Event, body: &[u8]) {
    let json = text_of(&event.json);
    let (node, wrong) = problems(&event.json);
    // An event stands around the document: two levels more.
    let wrong: BTreeSet<_> = wrong.into_iter().filter(|why| *why != "too_deep").collect();
    assert_eq!(wrong, BTreeSet::new(), "{json}");
    let node = node.unwrap();
    let text = |name: &str| node.member(name).and_then(Node::text);
    let fits = |text: &str| {
        !text.is_empty() && text.chars().count() <= 256 && !text.chars().any(char::is_control)
    };
    for name in [
        "id",
        "source",
        "type",
        "rxprovider",
        "rxeventtype",
        "rxauth",
    ] {
        assert!(text(name).is_some_and(fits), "{name}: {json}");
    }
    for name in ["rxpharmacy", "rxbranch", "rxenvironment", "rxapiversion"] {
        let there = node.member(name).is_some();
        assert!(!there || text(name).is_some_and(fits), "{name}: {json}");
    }
    for name in ["time", "rxemittedat"] {
        if node.member(name).is_some() {
            let at = text(name).unwrap_or_default();
            assert!(is_utc(at), "{name}: {at:?}: {json}");
        }
    }
    assert_eq!(event.key.as_str(), "first");
    let notes = node.member("data").and_then(|data| data.member("notes"));
    if let Some(Node::Array(notes)) = notes {
        assert!(notes.len() <= rxgate::event::MAX_NOTES, "{json}");
    }
    let (_, original) = halves(json);
    // Sixty-four notes, and the names of our fields.
    let (times, plus) = if source.source().phi.redacts() {
        (64, 16 * 1024)
    } else {
        (3, 16 * 1024)
    };
    assert!(
        event.json.len() <= times * body.len() + plus,
        "{} of {}",
        event.json.len(),
        body.len()
    );
    if !source.source().phi.redacts() {
        assert_eq!(original, trimmed(body));
    }
    if let Some(answer) = &event.answer {
        assert_eq!(provider, Provider::PhilCallback);
        assert!(
            serde_json::from_str::<Value>(answer).is_ok_and(|answer| answer.is_object()),
            "{answer}"
        );
    }
}

/// A date-time of RFC 3339 in UTC.
fn is_utc(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range)
            .is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()))
    };
    let fraction = text.get(19..).and_then(|rest| rest.strip_suffix('Z'));
    let fraction = fraction.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('.')
                .is_some_and(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
    });
    digits(0..4)
        && text.get(4..5) == Some("-")
        && digits(5..7)
        && text.get(7..8) == Some("-")
        && digits(8..10)
        && text.get(10..11) == Some("T")
        && digits(11..13)
        && digits(14..16)
        && digits(17..19)
        && fraction
        && Timestamp::parse_rfc3339(text).is_some()
}

/// The `original` of an event, sent again, is the same event.
fn check_once_more(source: &PackageSource, webhook: Option<&str>, event: &Event, body: &[u8]) {
    let (_, original) = halves(text_of(&event.json));
    if original.len() == body.len() {
        return;
    }
    let sent = Sent::sign(source, None, webhook, original.as_bytes()).unwrap();
    let again = sent.with(source, |request| source.verify(request));
    let again = again.unwrap_or_else(|why| panic!("once more: {why:?}"));
    // An id that is made of the bytes tells the two apart.
    if !text_of(&event.json).contains(r#""id":"body_"#) {
        assert_eq!(text_of(&again.json), text_of(&event.json));
    }
}

fn check_refusal(source: &PackageSource, refused: &Refused) {
    let challenge = refused.code == "challenge_answered";
    assert!(refused.authentic, "{refused:?}");
    for text in [&refused.path, &refused.problem].into_iter().flatten() {
        assert!(!text.contains(CANARY), "{refused:?}");
    }
    if let Some(path) = &refused.path {
        let known = |b: u8| b.is_ascii_alphanumeric() || b" _-[].,*/~".contains(&b);
        assert!(path.bytes().all(known) && path.len() <= 256, "{path}");
    }
    if let Some(answer) = &refused.answer {
        assert!(challenge || source.source().provider == Provider::PhilCallback);
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert!(answer.is_object(), "{answer}");
    }
    assert_eq!(
        challenge,
        refused.answer.is_some() && source.source().provider == Provider::Configured
    );
}

/// A value, by its path: `data.products[].quantity`.
fn leaves<'n>(node: &'n Node, path: &str, found: &mut Vec<(String, &'n str)>) {
    match node {
        Node::Object(members) => {
            for (name, value) in members {
                let name = name.as_deref().unwrap_or("?");
                // A name may be somebody's as well.
                found.push((format!("{path}{{}}"), name));
                let dot = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{dot}{name}"), found);
            }
        }
        Node::Array(elements) => {
            for element in elements {
                leaves(element, &format!("{path}[]"), found);
            }
        }
        Node::Text(Some(text)) => found.push((path.to_owned(), text)),
        // It may hold one.
        Node::Text(None) => found.push((path.to_owned(), CANARY)),
        Node::Word(word) => found.push((path.to_owned(), word)),
    }
}

/// Where a class is dropped, no value of it is in the event.
fn check_canaries(source: &PackageSource, provider: Provider, node: Option<&Node>, event: &Event) {
    let phi = &source.source().phi;
    if !phi.redacts() {
        return;
    }
    let node = node.unwrap();
    let of_type = node
        .member("event_type")
        .and_then(Node::text)
        .unwrap_or_default();
    let mut found = Vec::new();
    leaves(node, "", &mut found);
    let marked: Vec<_> = found
        .iter()
        .filter(|(_, text)| text.contains(CANARY))
        .collect();
    if marked.is_empty() {
        return;
    }
    if provider == Provider::Configured {
        // Nothing is known of its fields: what the settings read of them becomes an attribute.
        let (_, original) = halves(text_of(&event.json));
        let gone = phi.actions().of(Class::Unknown) != Action::Pass;
        let of_names = marked.iter().any(|(path, _)| path.ends_with("{}"));
        assert!(
            of_names || !gone || !original.contains(CANARY),
            "{original}"
        );
        return;
    }
    let classes: BTreeMap<String, Class> = provider.classes(of_type).into_iter().collect();
    let passes = |(path, _): &&(String, &str)| {
        // The documented fields of a change are those of the thing that changed.
        if path.starts_with("data.changes") {
            return true;
        }
        // A name stays where its value does, whatever that has become.
        if path.ends_with("{}") {
            return phi.actions().of(Class::Unknown) != Action::Drop;
        }
        // What stands in a value is of the value's class.
        let ends = path.match_indices(['.', '[']).map(|(end, _)| end);
        let mut around = ends
            .chain([path.len()])
            .filter_map(|end| classes.get(&path[..end]));
        let class = around.next_back().copied().unwrap_or(Class::Unknown);
        phi.actions().of(class) == Action::Pass
    };
    if marked.iter().copied().any(|leaf| passes(&leaf)) {
        return;
    }
    let json = text_of(&event.json);
    assert!(!json.contains(CANARY), "{marked:?}: {json}");
}

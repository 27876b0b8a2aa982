//! Patient data: what each class's action does to what a destination gets, canonical and original alike.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rxgate::config::Config;
use rxgate::entity::Ordering;
use rxgate::event::phi::{
    Action, Actions, Class, MAX_UNKNOWN_PSEUDONYMS, MIN_PHI_KEY_BYTES, Policy, PolicyFault, Variant,
};
use rxgate::provider::Provider;
use serde_json::{Map, Value, json};

use crate::driver::{self, EVENTS, World};
use crate::support::{
    Event, KEY, bindings, body, event, expectations, fixtures, read_as, secrets, source_of, table,
    vars,
};

const PHI_KEY: &str = "canary-phi-key-0123456789abcdefghij";

fn policy(actions: Actions) -> Policy {
    let pseudonyms = Class::SET
        .iter()
        .any(|class| actions.of(*class) == Action::Pseudonym);
    Policy::new(actions, pseudonyms.then_some(PHI_KEY.as_bytes())).unwrap()
}

fn all(action: Action) -> Policy {
    policy(Actions::all(action))
}

fn only(class: Class, action: Action) -> Policy {
    policy(Actions::default().with(class, action))
}

/// The event as a source with this `phi` delivers it.
#[track_caller]
fn event_as(body: &[u8], phi: &Policy) -> Event {
    match read_as(body, &expectations(), phi) {
        Ok(event) => event,
        Err(refusal) => panic!("refused: {refusal:?}"),
    }
}

fn original(event: &Event) -> Value {
    serde_json::from_str(event.original()).unwrap()
}

// ── marked events ──

/// A value that stands nowhere else, and the class of the field that holds it.
#[derive(Clone, Debug)]
struct Mark {
    class: Class,
    text: String,
}

#[derive(Default)]
struct Marks(Vec<Mark>);

impl Marks {
    fn text(&mut self, class: Class) -> Value {
        let text = format!("Mark{:04}ñ\"x", self.0.len());
        self.push(class, &text);
        json!(text)
    }

    fn number(&mut self, class: Class) -> Value {
        let text = format!("7310{:04}.25", self.0.len());
        self.push(class, &text);
        serde_json::from_str(&text).unwrap()
    }

    fn push(&mut self, class: Class, text: &str) {
        self.0.push(Mark {
            class,
            text: text.to_owned(),
        });
    }
}

/// Puts `value` at a path such as `data.claims[].claim_id`, into the only element of each list.
fn put(into: &mut Value, path: &str, value: Value) {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let list = head.strip_suffix("[]");
    let slot = &mut into[list.unwrap_or(head)];
    let slot = if list.is_some() {
        if slot.is_null() {
            *slot = json!([{}]);
        }
        &mut slot[0]
    } else {
        slot
    };
    if rest.is_empty() {
        *slot = value;
    } else {
        if slot.is_null() {
            *slot = json!({});
        }
        put(slot, rest, value);
    }
}

/// An event with each documented field, and with unknown ones at every depth; each value is marked.
fn marked(event_type: &str) -> (Vec<u8>, Vec<Mark>) {
    let mut marks = Marks::default();
    let mut sent = json!({
        "event_type": event_type, "created_at": "2026-06-25T14:22:11.789Z",
        "api_version": "2026-01-01", "environment": "sandbox",
    });
    for (path, class) in Provider::Osigu.classes(event_type) {
        let field = path.rsplit('.').next().unwrap();
        let decimal = ["quantity", "duration_days", "unit_price", "total_amount"];
        let value = match field {
            "event_type" | "created_at" | "api_version" | "environment" => continue,
            "additional_data" => json!({
                marks.text(class).as_str().unwrap(): [marks.text(class), marks.number(class)],
            }),
            _ if decimal.contains(&field) => marks.number(class),
            _ => marks.text(class),
        };
        put(&mut sent, &path, value);
    }
    // A field under a field that isn't known is a name as well: it may key a map by patients.
    for place in [
        "new",
        "provider.new",
        "data.new",
        "data.patient.new",
        "data.doctor.new",
        "data.pharmacy.new",
        "data.products[].new",
        "data.claims[].new",
    ] {
        let mut next = || marks.text(Class::Unknown);
        let name = next();
        let value = json!({
            name.as_str().unwrap(): [next(), [[next()]], { "a": { "b": next() } }, true, null],
            "number": marks.number(Class::Unknown),
        });
        put(&mut sent, place, value);
    }
    if event_type == "authorization.updated" {
        for (field, class) in [
            ("authorization_code", Class::Identifier),
            ("expires_at", Class::None),
            ("payment_type", Class::None),
            ("reason", Class::FreeText),
            ("copay", Class::Unknown),
        ] {
            sent["data"]["changes"][field] = json!({
                "from": marks.text(class),
                "to": marks.number(class),
                "by": marks.text(Class::Unknown),
            });
        }
        sent["data"]["changes"]["products"] = json!({
            "from": [{ "product_code": marks.text(Class::Clinical) }],
            "to": [{ "unit_price": marks.number(Class::None), "lot": marks.text(Class::Unknown) }],
        });
    }
    (sent.to_string().into_bytes(), marks.0)
}

/// Whether `mark` shows in `text`, in any of the usual encodings.
pub(crate) fn shows(text: &str, mark: &str) -> bool {
    let bytes = mark.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let json = serde_json::to_string(mark).unwrap();
    let json = json.trim_matches('"');
    let escaped: String = mark
        .chars()
        .map(|c| match c {
            '"' => r#"\""#.to_owned(),
            c if c.is_ascii() => c.to_string(),
            c => format!("\\u{:04x}", c as u32),
        })
        .collect();
    let reversed: String = mark.chars().rev().collect();
    let mut forms = vec![
        mark.to_owned(),
        json.to_owned(),
        escaped.clone(),
        reversed,
        hex,
        percent,
        decimal.join(","),
        // The part of it that every encoding of text leaves alone.
        mark.split('ñ').next().unwrap().to_owned(),
    ];
    // Base64 looks different at each of three places.
    for skipped in 0..3 {
        let tail = &bytes[skipped..];
        let whole = &tail[..tail.len() / 3 * 3];
        forms.push(STANDARD.encode(whole));
        forms.push(URL_SAFE_NO_PAD.encode(whole));
    }
    forms.retain(|form| form.len() > 3);
    let lower = text.to_lowercase();
    forms
        .iter()
        .any(|form| text.contains(form) || lower.contains(&form.to_lowercase()))
}

/// The event's own part, without `original`.
fn canonical(event: &Event) -> String {
    event.json().to_string()
}

fn shown<'m>(text: &str, marks: &'m [Mark]) -> BTreeSet<&'m str> {
    let found = marks.iter().filter(|mark| shows(text, &mark.text));
    found.map(|mark| mark.text.as_str()).collect()
}

fn of(marks: &[Mark], keep: impl Fn(Class) -> bool) -> BTreeSet<&str> {
    let kept = marks.iter().filter(|mark| keep(mark.class));
    kept.map(|mark| mark.text.as_str()).collect()
}

#[test]
fn the_search_finds_every_mark_where_nothing_is_redacted() {
    for (event_type, ..) in EVENTS {
        let (sent, marks) = marked(event_type);
        assert!(marks.len() > 30, "{event_type}");
        let passed = event_as(&sent, &Policy::default());
        assert_eq!(passed.original().as_bytes(), sent, "{event_type}");
        assert_eq!(shown(passed.original(), &marks), of(&marks, |_| true));
        // What `original` has, and the canonical fields haven't, is no proof of them.
        let canonical = shown(&canonical(&passed), &marks);
        assert!(canonical.len() > 3, "{event_type}: {canonical:?}");
        for mark in &marks {
            let text = &mark.text;
            assert!(shows(&STANDARD.encode(text), text));
            assert!(shows(&STANDARD.encode(format!("a{text}")), text));
            assert!(shows(&URL_SAFE_NO_PAD.encode(format!("ab{text}")), text));
            assert!(shows(&crate::support::hex(text.as_bytes()), text));
            assert!(!shows(&text[..text.len() / 2], text));
        }
    }
}

#[test]
fn each_class_goes_under_its_own_action_in_the_canonical_fields_and_in_original_alike() {
    let mut canonical_classes = BTreeSet::new();
    for (event_type, ..) in EVENTS {
        let (sent, marks) = marked(event_type);
        let passed = event_as(&sent, &Policy::default());
        let canonical_marks = shown(&canonical(&passed), &marks);
        for class in Class::SET {
            let held = |other| other == class || other == Class::Unknown;
            for action in [Action::Drop, Action::Pseudonym] {
                let event = event_as(&sent, &only(class, action));
                assert_eq!(
                    shown(event.original(), &marks),
                    of(&marks, |other| !held(other)),
                    "{event_type} {class:?} {action:?}"
                );
                let mine = of(&marks, held);
                let expected: BTreeSet<&str> = canonical_marks.difference(&mine).copied().collect();
                assert_eq!(
                    shown(&canonical(&event), &marks),
                    expected,
                    "{event_type} {class:?} {action:?}"
                );
                if !canonical_marks.is_disjoint(&of(&marks, |other| other == class)) {
                    canonical_classes.insert(class);
                }
                assert_eq!(event.json()["data"]["redacted"], true);
            }
        }
    }
    // Osigu has no link.
    let expected = [
        Class::Identifier,
        Class::Contact,
        Class::Clinical,
        Class::FreeText,
    ];
    assert_eq!(canonical_classes, expected.into());
}

#[test]
fn all_classes_at_once_leave_what_is_of_none() {
    for (event_type, ..) in EVENTS {
        let (sent, marks) = marked(event_type);
        for action in [Action::Drop, Action::Pseudonym] {
            let event = event_as(&sent, &all(action));
            assert_eq!(
                shown(event.text(), &marks),
                of(&marks, |class| class == Class::None),
                "{event_type} {action:?}"
            );
        }
    }
}

#[test]
fn pass_changes_nothing() {
    for (event_type, least, full) in EVENTS {
        for data in [least, full] {
            let sent = driver::body("evt_1", event_type, data);
            let event = event(sent.as_bytes());
            assert_eq!(event.original(), sent);
            assert!(!event.text().contains("redacted"), "{event_type}");
        }
    }
    assert!(!Policy::default().redacts());
    assert!(!all(Action::Pass).redacts());
}

// ── every field has a class ──

/// In the fixtures, and in no document of Osigu's: they stand for fields that may be added.
const UNDOCUMENTED: [&str; 4] = [
    "data.bounce.class",
    "data.bounce.detail",
    "data.changes.authorized_amount",
    "data.changes.copay",
];

fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(elements) => {
            for value in elements {
                leaves(value, &format!("{path}[]"), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn every_field_of_the_fixtures_has_a_class() {
    let mut undocumented = BTreeSet::new();
    for folder in std::fs::read_dir(fixtures().join("osigu")).unwrap() {
        let case = folder.unwrap().file_name().into_string().unwrap();
        if case.starts_with("unknown_") {
            continue;
        }
        let sent: Value = serde_json::from_slice(&body(&case)).unwrap();
        let event_type = sent["event_type"].as_str().unwrap();
        let classes: BTreeMap<String, Class> =
            Provider::Osigu.classes(event_type).into_iter().collect();
        let mut found = BTreeSet::new();
        leaves(&sent, "", &mut found);
        for path in found {
            // A change has the class of the field that it tells of.
            let field = match path.strip_prefix("data.changes.") {
                Some(change) => format!("data.{}", change.split('.').next().unwrap()),
                None => path.clone(),
            };
            if !classes.contains_key(&field) {
                let change = path.strip_prefix("data.changes.").is_some();
                let path = if change {
                    path.split('.').take(3).collect::<Vec<_>>().join(".")
                } else {
                    path
                };
                undocumented.insert(path);
            }
        }
    }
    assert_eq!(undocumented, UNDOCUMENTED.map(str::to_owned).into());
}

#[test]
fn every_field_that_is_read_has_a_class() {
    let source = include_str!("../../src/provider/osigu.rs");
    let mut documented: BTreeSet<String> = EVENTS
        .iter()
        .flat_map(|(event_type, ..)| Provider::Osigu.classes(event_type))
        .flat_map(|(path, _)| {
            let names = path.split('.').map(|name| name.trim_end_matches("[]"));
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    documented.insert("changes".to_owned());
    let mut read = BTreeSet::new();
    for reader in [
        ".text(\"",
        ".decimal(\"",
        ".decimal_of(\"",
        ".attribute(\"",
        ".object(\"",
        ".objects(\"",
        ".raw(\"",
        ".entity_id(\"",
        ".required_id(\"",
        ".required_instant(\"",
        ".required_object(\"",
        "items(data, \"",
    ] {
        for rest in source.split(reader).skip(1) {
            read.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    assert!(read.len() > 40, "{read:?}");
    // Those of a change, which has the class of its field; the instants stand in a table of their own.
    let missing: Vec<&String> = read.difference(&documented).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_classes_are_those_of_the_readme() {
    let readme = include_str!("../../README.md");
    let row = |class: Class| -> BTreeSet<String> {
        let start = format!("| `{}` |", class.name());
        let row = readme.lines().find(|line| line.starts_with(&start));
        let fields = row.unwrap().split('|').nth(2).unwrap();
        let names = fields.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    };
    let mut told: BTreeMap<Class, BTreeSet<String>> = BTreeMap::new();
    for (event_type, ..) in EVENTS {
        for (path, class) in Provider::Osigu.classes(event_type) {
            let name = path.rsplit('.').next().unwrap().to_owned();
            told.entry(class).or_default().insert(name);
        }
    }
    for class in [
        Class::Identifier,
        Class::Contact,
        Class::Clinical,
        Class::FreeText,
    ] {
        assert_eq!(row(class), told[&class], "{class:?}");
    }
    assert_eq!(told.get(&Class::Link), None);
}

// ── pseudonyms ──

#[test]
fn a_pseudonym_is_what_openssl_makes_of_class_and_value() {
    // printf '%s\0%s' CLASS VALUE | openssl dgst -sha256 -hmac KEY -binary | head -c18 | base64 | tr '+/' '-_'
    let sent = String::from_utf8(body("unknown_fields")).unwrap();
    let sent = sent.replace(
        r#""dispensation_id" :"#,
        r#""beneficiary_id":"bnf_01HW8GQ", "dispensation_id" :"#,
    );
    let event = event_as(sent.as_bytes(), &all(Action::Pseudonym));
    let original = original(&event);
    let data = &original["data"];
    assert_eq!(data["beneficiary_id"], "psn_pqba7RE8unTKedcwK1LrLmzU");
    assert_eq!(
        data["products"][0]["quantity"],
        "psn_umuBAjJQclYIxMz8pGHPpm9T"
    );
    // The text that an escape stands for; the digits as sent; half a surrogate pair as it stands, since it has no text.
    let loyalty = &data["loyalty"];
    assert_eq!(
        loyalty["psn_HPuPpttQWjHOWejIzyxrc4Tz"],
        "psn_YmOTy3iua6TXv5u-FSxBXlTz"
    );
    assert!(loyalty.to_string().contains("psn_S0D5BZk2avM3M-ZyfaVhmcz_"));
    assert_eq!(data["products"][0]["half"], "psn_BuyO7qqfxgnqxbser5xgqv0H");
    let json = event.json();
    assert_eq!(json["data"]["patient"]["id"], data["beneficiary_id"]);
    assert_eq!(
        json["data"]["items"][0]["quantity"],
        "psn_umuBAjJQclYIxMz8pGHPpm9T"
    );
    assert_eq!(json["data"]["items"][0]["unit_price"], "12.50");

    let issued = event_as(&body("prescription_issued"), &all(Action::Pseudonym)).json();
    assert_eq!(
        issued["data"]["patient"]["last_name"],
        "psn_kvdqgcnthE21zjhq6dTwbc_6"
    );
    let voided = event_as(&body("authorization_voided"), &all(Action::Pseudonym)).json();
    assert_eq!(
        voided["data"]["reason"],
        json!({ "text": "psn_eLPh-yvx6p6YXU7dVKbndQVb", "by": "SPONSOR" })
    );
}

#[test]
fn equal_values_have_equal_pseudonyms_in_all_events_and_other_keys_make_others() {
    let pseudonyms = all(Action::Pseudonym);
    let created = event_as(&body("authorization_created"), &pseudonyms);
    let voided = event_as(&body("authorization_voided"), &pseudonyms);
    let completed = event_as(&body("dispensing_completed"), &pseudonyms);
    let code = created.json()["data"]["entity"]["code"].clone();
    assert!(code.as_str().unwrap().starts_with("psn_"));
    assert_eq!(original(&created)["data"]["authorization_code"], code);
    assert_eq!(voided.json()["data"]["entity"]["code"], code);
    // What is shown at the counter is the authorization's code.
    assert_eq!(completed.json()["data"]["entity"]["code"], code);
    assert_eq!(original(&completed)["data"]["code"], code);
    assert_eq!(created.json()["subject"], voided.json()["subject"]);
    assert_eq!(
        completed.json()["data"]["entity"]["authorization_id"],
        created.json()["data"]["entity"]["id"]
    );
    // Of whatever setting the other classes are.
    let alone = only(Class::Identifier, Action::Pseudonym);
    let alone = event_as(&body("authorization_created"), &alone).json();
    assert_eq!(alone["data"]["entity"]["code"], code);

    let other = "another-canary-phi-key-0123456789";
    let other = Policy::new(Actions::all(Action::Pseudonym), Some(other.as_bytes())).unwrap();
    let other = event_as(&body("authorization_created"), &other).json();
    assert_ne!(other["data"]["entity"]["code"], code);
}

#[test]
fn a_number_and_the_text_of_its_digits_are_one_value_and_other_digits_are_another() {
    let quantity = |text: &str| {
        let sent = String::from_utf8(body("dispensing_completed")).unwrap();
        let sent = sent.replace(r#""quantity":30"#, &format!(r#""quantity":{text}"#));
        let event = event_as(sent.as_bytes(), &all(Action::Pseudonym));
        event.json()["data"]["items"][0]["quantity"].clone()
    };
    assert_eq!(quantity("30"), quantity(r#""30""#));
    assert_eq!(quantity("30"), quantity(r#""3\u0030""#));
    assert_ne!(quantity("30"), quantity("30.0"));
    assert_eq!(quantity("null"), Value::Null);
}

#[test]
fn a_value_that_looks_like_a_pseudonym_is_no_decimal_where_it_is_none() {
    let forged = "psn_pqba7RE8unTKedcwK1LrLmzU";
    let sent = String::from_utf8(body("dispensing_completed")).unwrap();
    let sent = sent
        .replace("375.00", &format!("\"{forged}\""))
        .replace(r#""quantity":30"#, &format!(r#""quantity":"{forged}""#));
    for phi in [Policy::default(), only(Class::Contact, Action::Pseudonym)] {
        let event = event_as(sent.as_bytes(), &phi);
        assert_eq!(event.json()["data"].get("total"), None);
        assert_eq!(event.json()["data"]["items"][0].get("quantity"), None);
        assert_eq!(event.notes, 2);
    }
    let event = event_as(sent.as_bytes(), &all(Action::Pseudonym));
    assert_eq!(event.json()["data"].get("total"), None);
    assert_ne!(event.json()["data"]["items"][0]["quantity"], forged);
}

// ── what stays ──

#[test]
fn the_reason_of_a_rejection_stays_byte_for_byte() {
    for (case, kept) in [
        (
            "authorization_rejected",
            r#""rejection_reason":"Producto  no cubierto por el plan \"GOLD-100\" \u2014 véase el anexo 4\/B ""#,
        ),
        (
            "settlement_rejected",
            r#""rejection_reason":"Lote fuera de plazo""#,
        ),
    ] {
        let passed = event(&body(case)).json()["data"]["reason"].clone();
        for action in [Action::Drop, Action::Pseudonym] {
            let event = event_as(&body(case), &all(action));
            assert!(event.original().contains(kept), "{case} {action:?}");
            assert_eq!(event.json()["data"]["reason"], passed, "{case} {action:?}");
        }
    }
}

#[test]
fn order_digits_and_escapes_of_what_is_not_touched_stay() {
    let sent = String::from_utf8(body("dispensing_completed_by_prescription")).unwrap();
    let dropped = event_as(sent.as_bytes(), &all(Action::Drop));
    let expected = concat!(
        r#"{"event_id":"evt_01HXEVENT00000007","event_type":"dispensing.completed","created_at":"2026-06-25T14:22:01.000Z","#,
        r#""api_version":"2026-01-01","environment":"sandbox","data":{"code_type":"PRESCRIPTION","authorization_id":null,"#,
        r#""sponsor_slug":"sponsor-sandbox","pharmacy":{"provider_slug":"pharmacy-y","branch_id":"branch_02HX"},"#,
        r#""products":[{"unit_price":0.10},{"unit_price":"1234567890.1234567890"}],"total_amount":2469135780.3969135780,"#,
        r#""currency":"DOP","dispensed_at":"2026-06-25T10:22:00.120-04:00"},"#,
        r#""provider":{"provider_id":"prv_01HWCLINIC","provider_slug":"clinic-example"}}"#,
    );
    // `null` tells nothing, and stays where a value would go.
    assert_eq!(dropped.original(), expected);
    assert_eq!(
        dropped.json()["data"]["total"],
        json!({ "amount": "2469135780.3969135780", "currency": "DOP" })
    );
    assert_eq!(
        dropped.json()["data"]["entity"],
        json!({ "type": "dispense", "code_type": "PRESCRIPTION" })
    );
    assert_eq!(dropped.json().get("subject"), None);
    assert_eq!(dropped.json()["rxpharmacy"], "pharmacy-y");
    assert_eq!(dropped.json()["time"], "2026-06-25T14:22:00.120Z");
}

#[test]
fn a_settlement_keeps_its_subject() {
    for action in [Action::Drop, Action::Pseudonym] {
        let json = event_as(&body("settlement_paid"), &all(action)).json();
        assert_eq!(json["subject"], "settlement/stl_01HXC");
        assert_eq!(json["data"]["entity"]["id"], "stl_01HXC");
    }
}

#[test]
fn an_entity_is_the_same_one_for_dedupe_whatever_is_redacted() {
    for (event_type, _, full) in EVENTS {
        let sent = driver::body("evt_1", event_type, full);
        let passed = event(sent.as_bytes());
        assert_eq!(
            passed.json()["subject"].as_str(),
            passed.entity.as_deref(),
            "{event_type}"
        );
        for action in [Action::Drop, Action::Pseudonym] {
            let event = event_as(sent.as_bytes(), &all(action));
            assert_eq!(event.entity, passed.entity, "{event_type}");
            assert_eq!(event.step, passed.step, "{event_type}");
        }
    }
}

// ── what isn't known ──

#[test]
fn what_is_not_known_gets_the_strictest_action() {
    let pass = Actions::default();
    let both = pass
        .with(Class::Contact, Action::Pseudonym)
        .with(Class::Link, Action::Drop);
    for (actions, expected) in [
        (pass, Action::Pass),
        (pass.with(Class::Link, Action::Pseudonym), Action::Pseudonym),
        (pass.with(Class::FreeText, Action::Drop), Action::Drop),
        (both, Action::Drop),
    ] {
        assert_eq!(actions.of(Class::Unknown), expected);
        assert_eq!(actions.of(Class::None), Action::Pass);
    }
    let mixed = event_as(&body("unknown_fields"), &policy(both));
    assert_eq!(original(&mixed).get("z"), None);
    assert_eq!(
        original(&mixed)["data"]["products"],
        json!([{ "product_code": "MED-042", "quantity": 30, "unit_price": 12.5 }])
    );
}

#[test]
fn under_drop_an_unknown_field_goes_name_and_all_and_under_pseudonym_its_shape_stays() {
    let dropped = event_as(&body("unknown_fields"), &all(Action::Drop));
    assert_eq!(
        original(&dropped)["data"],
        json!({
            "pharmacy": { "provider_slug": "pharmacy-x", "branch_id": "branch_01HX" },
            "products": [{ "unit_price": 12.5 }],
            "total_amount": 375.0, "currency": "USD", "dispensed_at": "2026-06-25T14:22:00Z",
        })
    );
    let replaced = original(&event_as(&body("unknown_fields"), &all(Action::Pseudonym)));
    // `true` and `null` tell nothing by themselves.
    assert_eq!(replaced["data"]["signed_off"], true);
    let z = replaced["z"][0].as_object().unwrap();
    assert!(z.keys().all(|name| name.starts_with("psn_")));
    assert!(z.values().all(Value::is_null));
    let till = &replaced["data"]["pharmacy"]["till"];
    assert!(till[0].as_str().unwrap().starts_with("psn_"));
    assert_eq!(till[1], json!([]));
    assert!(replaced["data"][""].as_str().unwrap().starts_with("psn_"));
}

#[test]
fn a_known_field_of_another_type_counts_as_unknown() {
    let secret = "Ana López";
    for (case, field) in [
        // A code, which would pass.
        ("dispensing_cancelled", "reason"),
        ("authorization_created", "product_type"),
        ("authorization_created", "products"),
        ("authorization_created", "authorization_code"),
        ("authorization_updated", "changes"),
        ("authorization_rejected", "rejection_reason"),
        ("dispensing_completed", "pharmacy"),
        ("settlement_paid", "claims"),
    ] {
        for value in [
            json!([secret]),
            json!([[{ "x": secret }]]),
            json!({ "x": { secret: secret } }),
        ] {
            let mut sent: Value = serde_json::from_slice(&body(case)).unwrap();
            sent["data"][field] = value;
            for action in [Action::Drop, Action::Pseudonym] {
                let event = event_as(sent.to_string().as_bytes(), &all(action));
                assert!(
                    !shows(event.text(), secret),
                    "{case} {field} {action:?}: {}",
                    event.text()
                );
            }
        }
    }
}

#[test]
fn a_note_carries_no_name_that_the_sender_chose() {
    let sent = driver::body(
        "evt_1",
        "authorization.updated",
        r#"{"authorization_id":"auth_1","authorization_code":7,"changes":{"Ana López":"x","y":[1]}}"#,
    );
    let passed = event(sent.as_bytes());
    let expected = [
        "data.authorization_code: string",
        "data.changes.Ana López: object",
        "data.changes.y: object",
    ];
    assert_eq!(passed.noted(), expected);
    let expected = [
        "data.authorization_code: string",
        "data.changes.*: object",
        "data.changes.*: object",
    ];
    for action in [Action::Drop, Action::Pseudonym] {
        let event = event_as(sent.as_bytes(), &all(action));
        assert_eq!(event.noted(), expected);
        assert_eq!(event.notes, 3);
    }
}

#[test]
fn of_an_event_that_is_not_known_everything_in_data_is_unknown() {
    for case in ["unknown_event_type", "unknown_api_version"] {
        let dropped = event_as(&body(case), &only(Class::Link, Action::Drop));
        assert_eq!(original(&dropped)["data"], json!({}), "{case}");
        assert_eq!(dropped.json()["type"], "rx.unknown");
        assert_eq!(dropped.json()["data"]["redacted"], true);
    }
    let replaced = event_as(
        &body("unknown_event_type"),
        &only(Class::Link, Action::Pseudonym),
    );
    let data = original(&replaced)["data"].clone();
    for name in ["authorization_id", "amount", "nombre"] {
        assert!(data[name].as_str().unwrap().starts_with("psn_"), "{name}");
    }
    assert_eq!(
        original(&replaced)["provider"]["provider_slug"],
        "clinic-example"
    );
}

#[test]
fn the_number_of_pseudonyms_under_unknown_fields_is_bounded() {
    let zeros = vec!["0"; MAX_UNKNOWN_PSEUDONYMS + 5].join(",");
    let data = format!(r#"{{"x":[{zeros}],"y":"Ana","dispensation_id":"dsp_1","code":"AUTH-1"}}"#);
    let sent = driver::body("evt_1", "dispensing.cancelled", &data);
    let event = event_as(sent.as_bytes(), &all(Action::Pseudonym));
    let original = original(&event);
    assert_eq!(
        original["data"]["x"].as_array().unwrap().len(),
        MAX_UNKNOWN_PSEUDONYMS
    );
    // What is over goes; known fields don't count.
    assert_eq!(original["data"].get("y"), None);
    assert!(
        event.json()["subject"]
            .as_str()
            .unwrap()
            .starts_with("dispense/psn_")
    );
    assert_eq!(
        event.noted(),
        [format!(
            "original: at most {MAX_UNKNOWN_PSEUDONYMS} values under unknown fields"
        )]
    );
}

/// A value that gives itself away wherever it stands: names and strings by a letter that nothing else has, numbers by their digits.
fn telling(names: &'static str) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        "ñ[a-z\"\\\\ /]{0,6}".prop_map(Value::from),
        (731_000_000_u64..731_999_999).prop_map(Value::from),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(names, inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

fn actions() -> impl Strategy<Value = Actions> {
    let action = prop_oneof![
        Just(Action::Pass),
        Just(Action::Drop),
        Just(Action::Pseudonym)
    ];
    proptest::collection::vec(action, 5).prop_map(|chosen| {
        let pairs = Class::SET.into_iter().zip(chosen);
        pairs.fold(Actions::default(), |actions, (class, action)| {
            actions.with(class, action)
        })
    })
}

fn gives_itself_away(text: &str) -> bool {
    let digits = |at: usize| {
        let rest = &text.as_bytes()[at..];
        rest.iter().take_while(|b| b.is_ascii_digit()).count() >= 9
    };
    text.contains('ñ')
        || text.contains(r"\u00f1")
        || text.match_indices("731").any(|(at, _)| digits(at))
}

proptest! {
    #[test]
    fn nothing_under_an_unknown_field_shows(
        kind in 0..EVENTS.len(),
        actions in actions(),
        unknown in proptest::collection::vec(telling("ñ[a-z]{0,4}"), 7),
    ) {
        prop_assume!(actions != Actions::default());
        let (event_type, _, full) = EVENTS[kind];
        let sent = driver::body("evt_1", event_type, full);
        let mut sent: Value = serde_json::from_str(&sent).unwrap();
        let places = ["new", "provider.new", "data.new", "data.pharmacy.new", "data.products[].new", "data.patient.new", "data.claims[].new"];
        for (place, value) in places.into_iter().zip(unknown) {
            put(&mut sent, place, value);
        }
        let plain = sent.to_string();
        let event = event_as(plain.as_bytes(), &policy(actions));
        prop_assert!(!gives_itself_away(event.text()), "{}", event.text());
        prop_assert!(serde_json::from_str::<Value>(event.text()).is_ok());
    }

    #[test]
    fn nothing_in_a_known_field_of_another_type_shows(
        kind in 0..EVENTS.len(),
        actions in actions(),
        value in telling("[a-z]{1,4}"),
        field in any::<prop::sample::Index>(),
    ) {
        prop_assume!(actions != Actions::default());
        // Of the documented kind it would be of the field's own class.
        prop_assume!(value.is_array() || value.is_object());
        let (event_type, _, full) = EVENTS[kind];
        let sent = driver::body("evt_1", event_type, full);
        let mut sent: Value = serde_json::from_str(&sent).unwrap();
        let data = sent["data"].as_object_mut().unwrap();
        let required = ["authorization_id", "authorization_request_id", "dispensation_id", "prescription_id", "settlement_id"];
        // Free text of any kind is of its own class.
        let fields: Vec<String> = data.keys().filter(|f| !required.contains(&f.as_str()) && *f != "additional_data").cloned().collect();
        if fields.is_empty() {
            return Ok(());
        }
        let field = field.get(&fields).clone();
        data.insert(field, json!([value]));
        let event = event_as(sent.to_string().as_bytes(), &policy(actions));
        prop_assert!(!gives_itself_away(event.text()), "{}", event.text());
    }
}

// ── schemas ──

#[cfg(feature = "schema")]
#[test]
fn every_event_keeps_to_the_schema_of_its_setting() {
    let mixed = Actions::default()
        .with(Class::Identifier, Action::Drop)
        .with(Class::Clinical, Action::Pseudonym);
    let mut policies = vec![
        Policy::default(),
        all(Action::Drop),
        all(Action::Pseudonym),
        policy(mixed),
    ];
    for class in Class::SET {
        policies.extend([only(class, Action::Drop), only(class, Action::Pseudonym)]);
    }
    let mut bodies: Vec<Vec<u8>> = EVENTS
        .iter()
        .flat_map(|(event_type, least, full)| {
            [least, full].map(|data| driver::body("evt_1", event_type, data).into_bytes())
        })
        .collect();
    bodies.extend(EVENTS.map(|(event_type, ..)| marked(event_type).0));
    for folder in std::fs::read_dir(fixtures().join("osigu")).unwrap() {
        bodies.push(body(&folder.unwrap().file_name().into_string().unwrap()));
    }
    for sent in &bodies {
        for phi in &policies {
            let event = event_as(sent, phi);
            let variant = phi.variant();
            // 1e999, which this reader of JSON can't take.
            let text = event.text().replace("1e999", "1");
            let text = text.replace(r"\ud800", "x");
            let json: Value = serde_json::from_str(&text).unwrap();
            let urn = variant.urn(json["type"].as_str().unwrap());
            assert_eq!(json["dataschema"], urn.as_str());
            assert_eq!(
                crate::schemas::faults_as(&json, variant),
                [""; 0],
                "{variant:?} {json:#}"
            );
            if variant == Variant::Pass {
                continue;
            }
            // Without the mark it isn't one of these.
            let mut unmarked = json.clone();
            unmarked["data"].as_object_mut().unwrap().remove("redacted");
            assert_eq!(crate::schemas::faults_as(&unmarked, variant), ["/data"]);
        }
    }
}

#[cfg(feature = "schema")]
#[test]
fn a_schema_catches_a_value_that_should_have_been_redacted() {
    let plain = event(&body("prescription_issued"));
    let mut plain: Value = serde_json::from_str(plain.text()).unwrap();
    plain["data"]["redacted"] = json!(true);
    let faults = |variant: Variant| -> BTreeSet<String> {
        let mut event = plain.clone();
        event["dataschema"] = json!(variant.urn("rx.prescription.issued"));
        crate::schemas::faults_as(&event, variant)
            .into_iter()
            .collect()
    };
    let expected = [
        "/subject",
        "/data/entity/id",
        "/data/entity/code",
        "/data/patient/id",
        "/data/patient/first_name",
        "/data/patient/last_name",
        "/data/prescriber/id",
        "/data/prescriber/registration",
        "/data/diagnoses/0/code",
        "/data/diagnoses/1/code",
        "/data/items/0/code",
        "/data/items/0/quantity",
        "/data/items/0/directions",
        "/data/items/0/duration_days",
    ];
    for variant in [Variant::Drop, Variant::Pseudonym] {
        assert_eq!(
            faults(variant),
            expected.map(str::to_owned).into(),
            "{variant:?}"
        );
    }
    assert_eq!(faults(Variant::Mixed), BTreeSet::new());
}

// ── the settings ──

fn source(settings: &Value) -> Map<String, Value> {
    let mut vars = vars();
    let source = vars["SOURCE_OSIGU"].as_object_mut().unwrap();
    source.extend(table(settings));
    vars
}

fn with_keys() -> BTreeMap<String, String> {
    let mut secrets = secrets();
    secrets.insert("PHI".to_owned(), PHI_KEY.to_owned());
    secrets.insert("SHORT".to_owned(), "k".repeat(MIN_PHI_KEY_BYTES - 1));
    secrets.insert("BLANK".to_owned(), format!("{PHI_KEY}\n"));
    secrets
}

fn parse(settings: &Value) -> Config {
    Config::parse(&source(settings), &with_keys(), bindings())
}

#[track_caller]
fn assert_faults(settings: &Value, expected: &[&str]) {
    let config = parse(settings);
    let faults: Vec<String> = config.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults, expected, "{settings}");
    assert_eq!(
        config.sources.get("osigu").unwrap().is_some(),
        expected.is_empty()
    );
}

#[test]
fn phi_is_one_word_or_one_for_each_class() {
    let actions = |settings: Value| {
        let config = parse(&settings);
        assert_eq!(config.faults, [], "{settings}");
        source_of(&config, "osigu").phi.actions()
    };
    let key = json!({ "secret": "PHI" });
    assert_eq!(actions(json!({})), Actions::default());
    assert_eq!(
        actions(json!({ "phi": "pass" })),
        Actions::all(Action::Pass)
    );
    assert_eq!(
        actions(json!({ "phi": "drop" })),
        Actions::all(Action::Drop)
    );
    assert_eq!(
        actions(json!({ "phi": "pseudonym", "phi_key": key })),
        Actions::all(Action::Pseudonym)
    );
    assert_eq!(actions(json!({ "phi": {} })), Actions::default());
    let each =
        json!({ "identifier": "pseudonym", "contact": "drop", "clinical": "pass", "link": "drop" });
    assert_eq!(
        actions(json!({ "phi": each, "phi_key": key })),
        Actions::default()
            .with(Class::Identifier, Action::Pseudonym)
            .with(Class::Contact, Action::Drop)
            .with(Class::Link, Action::Drop)
    );
    let variant = |settings: Value| {
        let config = parse(&settings);
        source_of(&config, "osigu").phi.variant()
    };
    let every = |action: &str| {
        let pairs = Class::SET.map(|class| (class.name().to_owned(), json!(action)));
        Value::Object(pairs.into_iter().collect())
    };
    assert_eq!(variant(json!({ "phi": every("drop") })), Variant::Drop);
    assert_eq!(variant(json!({ "phi": every("pass") })), Variant::Pass);
    assert_eq!(
        variant(json!({ "phi": { "link": "drop" } })),
        Variant::Mixed
    );
}

#[test]
fn every_fault_of_phi_is_named_by_its_path() {
    let key = |name: &str| json!({ "secret": name });
    let words =
        "SOURCE_OSIGU.phi: isn't one of pass, drop, pseudonym, nor a table of classes to those";
    for value in [
        json!("dorp"),
        json!(7),
        json!(["drop"]),
        json!(""),
        json!(null),
    ] {
        assert_faults(&json!({ "phi": value }), &[words]);
    }
    assert_faults(
        &json!({ "phi": { "identifier": "hash", "contact": 1, "diagnosis": "drop" } }),
        &[
            "SOURCE_OSIGU.phi.diagnosis: is no setting: there are identifier, contact, clinical, link, free_text",
            "SOURCE_OSIGU.phi.identifier: isn't one of pass, drop, pseudonym",
            "SOURCE_OSIGU.phi.contact: isn't a string with something in it",
        ],
    );
    for phi in [json!("pseudonym"), json!({ "link": "pseudonym" })] {
        assert_faults(
            &json!({ "phi": phi }),
            &["SOURCE_OSIGU.phi_key: is missing: pseudonyms are made with it"],
        );
        assert_faults(
            &json!({ "phi": phi, "phi_key": key("SHORT") }),
            &["SOURCE_OSIGU.phi_key.secret: the secret SHORT has 31 bytes: at least 32 are needed"],
        );
    }
    for phi in [json!("pass"), json!("drop"), json!({ "link": "drop" })] {
        assert_faults(
            &json!({ "phi": phi, "phi_key": key("PHI") }),
            &["SOURCE_OSIGU.phi_key: isn't used: phi pseudonymises nothing"],
        );
    }
    for (phi_key, fault) in [
        (json!("PHI"), "SOURCE_OSIGU.phi_key: isn't a table"),
        (json!({}), "SOURCE_OSIGU.phi_key.secret: is missing"),
        (
            key("ELSEWHERE"),
            "SOURCE_OSIGU.phi_key.secret: isn't the name of a secret that there is",
        ),
        (
            key("BLANK"),
            "SOURCE_OSIGU.phi_key.secret: the secret BLANK begins or ends with white space",
        ),
    ] {
        assert_faults(&json!({ "phi": "pseudonym", "phi_key": phi_key }), &[fault]);
    }
    // The sender has its own key: with it, it could undo the pseudonyms.
    assert_faults(
        &json!({ "phi": "pseudonym", "phi_key": key("PHI"), "keys": [{ "id": "k", "secret": "PHI" }] }),
        &[
            "SOURCE_OSIGU.phi_key.secret: the secret PHI is one of the source's keys: pseudonyms need their own",
        ],
    );
    assert!(KEY.len() < MIN_PHI_KEY_BYTES);
}

#[test]
fn phi_and_a_destination_of_the_senders_own_bytes_do_not_go_together() {
    let faults = |phi: &str, format: &str| -> Vec<String> {
        let mut vars = source(&json!({
            "phi": phi,
            "routes": [
                { "types": ["rx.unknown"], "destination": "clinic" },
                { "types": ["rx.dispense.*"], "destination": "other" },
            ],
        }));
        vars["DESTINATION_CLINIC"]["format"] = json!(format);
        let mut other = vars["DESTINATION_CLINIC"].clone();
        other["format"] = json!("canonical");
        // A fault of its own doesn't hide this one.
        other["url"] = json!("nowhere");
        vars.insert("DESTINATION_OTHER".to_owned(), other);
        let config = Config::parse(&vars, &with_keys(), bindings());
        config
            .faults
            .iter()
            .map(|fault| fault.path.clone())
            .collect()
    };
    assert_eq!(faults("pass", "original"), ["DESTINATION_OTHER.url"]);
    assert_eq!(faults("drop", "canonical"), ["DESTINATION_OTHER.url"]);
    assert_eq!(
        faults("drop", "original"),
        [
            "DESTINATION_OTHER.url",
            "SOURCE_OSIGU.destination",
            "SOURCE_OSIGU.routes[0].destination"
        ]
    );
}

#[test]
fn a_policy_takes_a_key_where_it_needs_one() {
    let new = |action, key: Option<&str>| {
        let policy = Policy::new(Actions::all(action), key.map(str::as_bytes));
        policy.map(|policy| policy.redacts())
    };
    assert_eq!(new(Action::Pass, None), Ok(false));
    assert_eq!(new(Action::Drop, None), Ok(true));
    assert_eq!(new(Action::Pseudonym, Some(PHI_KEY)), Ok(true));
    assert_eq!(new(Action::Pseudonym, None), Err(PolicyFault::KeyMissing));
    assert_eq!(
        new(Action::Drop, Some(PHI_KEY)),
        Err(PolicyFault::KeyUnused)
    );
    let short = PolicyFault::KeyShort { bytes: 31 };
    assert_eq!(new(Action::Pseudonym, Some(&PHI_KEY[..31])), Err(short));
    assert_eq!(new(Action::Pseudonym, Some(&PHI_KEY[..32])), Ok(true));
}

#[test]
fn debug_shows_no_pseudonym_key() {
    let config = parse(&json!({ "phi": "pseudonym", "phi_key": { "secret": "PHI" } }));
    assert_eq!(config.faults, []);
    insta::assert_debug_snapshot!(source_of(&config, "osigu").phi);
    assert!(!shows(&format!("{config:?}"), PHI_KEY));
}

// ── the whole way ──

#[test]
fn a_redacted_event_is_claimed_delivered_and_deduped_like_any_other() {
    let mut settings = driver::settings();
    settings["SOURCE_OSIGU"]["phi"] = json!("drop");
    // Voided before created: without an id in the event, the object still knows that they are one.
    let mut world = World::with(&settings);
    world.send_event("evt_1", "authorization.voided");
    let end = world.send_event("evt_2", "authorization.created");
    assert_eq!(end.summary(), (200, "withheld", None));
    settings["SOURCE_OSIGU"]["withhold_superseded"] = json!(false);
    let mut world = World::with(&settings);
    for (id, event_type) in [
        ("evt_1", "authorization.voided"),
        ("evt_2", "authorization.created"),
    ] {
        let end = world.send_event(id, event_type);
        assert_eq!(end.summary(), (200, "delivered", None));
    }
    let again = world.send_event("evt_1", "authorization.voided");
    assert_eq!(again.summary(), (200, "duplicate", None));
    let events = world.events();
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event["data"]["state"], "voided");
        assert_eq!(event["data"]["redacted"], true);
        assert_eq!(event.get("subject"), None);
        assert_eq!(event["data"]["entity"], json!({ "type": "authorization" }));
        for secret in ["auth_1", "AUTH-1", "areq_1", "bnf_1", "SR-1", "Void it"] {
            assert!(!shows(&event.to_string(), secret), "{secret}");
        }
    }
    let [first, second] = [&events[0], &events[1]].map(|event| event["sequence"].as_str().unwrap());
    assert!(first < second);
}

#[test]
fn an_event_that_could_not_be_deduped_says_so_and_has_no_sequence() {
    use rxgate::event::phi::Scratch;
    use rxgate::event::{Claimed, Prepared};

    let sent = body("dispensing_completed");
    let header = crate::support::signed(&sent);
    let scheme = crate::support::scheme();
    let raw = rxgate::auth::RawBody::new(&sent);
    let verified = scheme
        .authenticate(Some(&header), raw, crate::support::NOW)
        .unwrap();
    let (expected, phi, scratch) = (expectations(), Policy::default(), Scratch::default());
    let context = rxgate::provider::Context {
        source: "osigu",
        expected: &expected,
        phi: &phi,
        scratch: &scratch,
        webhook: None,
        zone: rxgate::time::Zone::default(),
        auth: "signature",
        traceparent: None,
    };
    let decoded = Provider::Osigu
        .read(&verified, context)
        .unwrap_or_else(|_| panic!("refused"));
    let prepared = Prepared::new(&decoded.attributes, &decoded.data, sent.len());
    let written = |sequence, deduped| -> Value {
        let state = None;
        let event = prepared.finish(Claimed {
            ordering: Ordering::Unknown,
            sequence,
            state,
            round: 0,
            deduped,
        });
        serde_json::from_slice(&event).unwrap()
    };
    let unknown = written(None, false);
    assert_eq!(
        (unknown.get("sequence"), &unknown["rxdedupe"]),
        (None, &json!("unknown"))
    );
    assert_eq!(unknown["rxordering"], "unknown");
    let known = written(Some(7), true);
    assert_eq!(
        (&known["sequence"], known.get("rxdedupe")),
        (&json!("0000000000000007"), None)
    );
    #[cfg(feature = "schema")]
    for event in [unknown, known] {
        assert_eq!(crate::schemas::faults_as(&event, Variant::Pass), [""; 0]);
    }
}

//! eVitalRx's ten webhooks: what tells which one it is, what is required, what stands for nothing, and what a destination gets of each.

use std::collections::BTreeSet;
use std::fs;

use rxgate::entity::Life;
use rxgate::event::phi::{Action, Actions, Class, Policy};
use rxgate::event::{Invalid, State};
use rxgate::provider::{Provider, Refusal, RetryPolicy, Unknown};
use rxgate::time::{Timestamp, Zone};
use serde_json::{Value, json};

use crate::phi::shows;
use crate::support::{Event, assert_golden, fixture, fixtures, read_unsigned};

/// A case: its folder, the webhook in the path, our type, and the state that it leaves the order in.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    Option<State>,
    Life,
);

#[rustfmt::skip]
const CASES: [Case; 17] = [
    ("digitization-completed",   "digitization-completed", "rx.order.digitized",             Some(State::Digitized),            Life::OrderDelivery),
    ("digitization-rejected",    "digitization-rejected",  "rx.order.digitization_rejected", Some(State::DigitizationRejected), Life::OrderDelivery),
    ("order-assigned",           "order-assigned",         "rx.order.assigned",              Some(State::Assigned),             Life::OrderDelivery),
    ("order-accepted",           "order-accepted",         "rx.order.accepted",              Some(State::Accepted),             Life::OrderDelivery),
    ("order-accepted-pickup",    "order-accepted",         "rx.order.accepted",              Some(State::Accepted),             Life::OrderPickup),
    ("order-rejected",           "order-rejected",         "rx.order.rejected",              Some(State::Rejected),             Life::OrderDelivery),
    ("order-rejected-finally",   "order-rejected",         "rx.order.rejected",              Some(State::Rejected),             Life::OrderDelivery),
    ("order-rejected-pickup",    "order-rejected",         "rx.order.rejected",              Some(State::Rejected),             Life::OrderPickup),
    ("order-reassign",           "order-reassign",         "rx.order.reassigned",            Some(State::Assigned),             Life::OrderDelivery),
    ("order-shipped",            "order-shipped",          "rx.order.shipped",               Some(State::Shipped),              Life::OrderDelivery),
    ("order-shipped-pickup",     "order-shipped",          "rx.order.shipped",               Some(State::Shipped),              Life::OrderPickup),
    ("order-shipped-with-rider", "order-shipped",          "rx.order.shipped",               Some(State::Shipped),              Life::OrderDelivery),
    ("order-picked-up",          "order-picked-up",        "rx.order.picked_up",             Some(State::PickedUp),             Life::OrderDelivery),
    ("order-delivered",          "order-delivered",        "rx.order.delivered",             Some(State::Delivered),            Life::OrderDelivery),
    ("order-delivered-pickup",   "order-delivered",        "rx.order.delivered",             Some(State::Delivered),            Life::OrderPickup),
    ("order-split",              "order-split",            "rx.order.split",                 None,                              Life::OrderDelivery),
    ("strings-for-numbers",      "order-shipped",          "rx.order.shipped",               Some(State::Shipped),              Life::OrderDelivery),
];

fn body(case: &str) -> Vec<u8> {
    fixture(&format!("evitalrx/{case}/body.json"))
}

fn value(case: &str) -> Value {
    serde_json::from_slice(&body(case)).unwrap()
}

/// `value` with other fields; null takes one out.
fn with(mut value: Value, fields: &Value) -> Value {
    for (name, new) in fields.as_object().unwrap() {
        match new {
            Value::Null => value.as_object_mut().unwrap().remove(name),
            new => value
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), new.clone()),
        };
    }
    value
}

fn read_at(body: &[u8], webhook: Option<&str>, phi: &Policy) -> Result<Event, Refusal> {
    match read_unsigned(Provider::Evitalrx, body, webhook, Zone::default(), phi) {
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
fn event(sent: &Value, webhook: Option<&str>) -> Event {
    read_at(sent.to_string().as_bytes(), webhook, &Policy::default())
        .unwrap_or_else(|why| panic!("{why:?}"))
}

fn refusal(sent: &Value, webhook: Option<&str>) -> Refusal {
    match read_at(sent.to_string().as_bytes(), webhook, &Policy::default()) {
        Ok(event) => panic!("read: {}", event.text()),
        Err(why) => why,
    }
}

fn invalid(path: &str, problem: &'static str) -> Invalid {
    Invalid {
        path: path.to_owned(),
        problem,
    }
}

fn policy(action: Action) -> Policy {
    let key = (action == Action::Pseudonym).then_some(&b"phi-key-0123456789-0123456789-01"[..]);
    Policy::new(Actions::all(action), key).unwrap()
}

// ── what a destination gets ──

#[test]
fn each_webhook_becomes_the_canonical_event_that_is_kept_beside_it() {
    for (case, webhook, ..) in CASES {
        let event = read_at(&body(case), Some(webhook), &Policy::default()).unwrap();
        assert_golden(&format!("evitalrx/{case}/event.json"), &event.bytes);
        assert_eq!(event.noted(), [""; 0], "{case}");
    }
    let unknown = read_at(&body("unknown"), None, &Policy::default()).unwrap();
    assert_golden("evitalrx/unknown/event.json", &unknown.bytes);
}

#[test]
fn there_is_a_case_for_each_webhook_and_no_folder_without_a_test() {
    let known: BTreeSet<&str> = Provider::Evitalrx.webhooks().into_iter().collect();
    let tested: BTreeSet<&str> = CASES.iter().map(|case| case.1).collect();
    assert_eq!((known.len(), &known), (10, &tested));
    let folders: BTreeSet<String> = fs::read_dir(fixtures().join("evitalrx"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let cases = CASES.iter().map(|case| case.0).chain(["unknown"]);
    assert_eq!(folders, cases.map(str::to_owned).collect());
}

#[test]
fn each_event_has_its_type_its_subject_its_pharmacy_and_its_place_in_the_life_of_its_order() {
    for (case, webhook, canonical, state, life) in CASES {
        let sent = value(case);
        let event = event(&sent, Some(webhook));
        let json = event.json();
        assert_eq!(json["type"], canonical, "{case}");
        assert_eq!(json["rxeventtype"], webhook, "{case}");
        assert_eq!(json["rxprovider"], "evitalrx");
        assert_eq!(json["rxauth"], "token");
        let subject = format!("order/{}", sent["id"].as_str().unwrap());
        assert_eq!(json["subject"], subject.as_str(), "{case}");
        assert_eq!(event.entity.as_deref(), Some(subject.as_str()), "{case}");
        let chemist = match &sent["chemist_id"] {
            Value::String(id) => json!(id),
            number => json!(number.to_string()),
        };
        let told = json.get("rxpharmacy").cloned().unwrap_or_default();
        assert_eq!(
            told,
            if chemist == "" { Value::Null } else { chemist },
            "{case}"
        );
        let expected = state.map_or(0, |state| state as u8);
        assert_eq!(event.step.state, expected, "{case}");
        assert_eq!(event.step.life, life, "{case}");
        let node = life.nodes()[usize::from(event.step.node)].event_type;
        let expected = if case == "order-rejected-finally" {
            "order-rejected (final)"
        } else {
            webhook
        };
        assert_eq!(node, expected, "{case}");
        // Nothing in it says when it happened, and nothing is invented.
        assert_eq!(
            (json.get("time"), json.get("rxemittedat")),
            (None, None),
            "{case}"
        );
        assert_eq!(event.step.at, Timestamp::default());
        assert_eq!(
            (json.get("rxenvironment"), json.get("rxapiversion")),
            (None, None)
        );
    }
}

#[test]
fn an_order_carries_its_parent_and_the_customers_own_id() {
    let entity = event(&value("order-accepted"), None).json()["data"]["entity"].clone();
    assert_eq!(
        entity,
        json!({
            "type": "order", "id": "buctt+C5QzfVvqdIpKkYnQ==", "code": "OOM6HJQ9BT",
            "partner_order_id": "1234", "draft_order_id": "y1sw0N315wy4+UDhhT5FjA==",
        })
    );
}

#[test]
fn a_rejection_says_whether_it_is_the_last_word_and_its_text_goes_on_word_for_word() {
    let reason =
        |case| event(&value(case), Some("order-rejected")).json()["data"]["reason"].clone();
    assert_eq!(
        reason("order-rejected"),
        json!({ "text": "Other", "final": false })
    );
    let last = "No pharmacy has it  – véase";
    assert_eq!(
        reason("order-rejected-finally"),
        json!({ "text": last, "final": true })
    );
    // Absent, or of another form, it isn't final: in doubt an order goes on.
    for (wrong, is_final) in [
        (Value::Null, false),
        (json!("no"), false),
        (json!(2), false),
        (json!("true"), true),
        (json!(1), true),
        (json!("1"), true),
        (json!("0"), false),
    ] {
        let sent = with(
            value("order-rejected"),
            &json!({ "is_final_rejection": wrong }),
        );
        let event = event(&sent, None);
        let node = event.step.life.nodes()[usize::from(event.step.node)].event_type;
        assert_eq!(node == "order-rejected (final)", is_final, "{wrong}");
    }
    // However it is written: to the id of the event that makes no difference either.
    let plain = value("order-rejected").to_string();
    assert_eq!(plain.matches(r#""is_final_rejection":false"#).count(), 1);
    let ids = [r#""true""#, r#""\u0074rue""#].map(|text| {
        let sent = plain.replace(
            r#""is_final_rejection":false"#,
            &format!(r#""is_final_rejection":{text}"#),
        );
        let event = read_at(sent.as_bytes(), None, &Policy::default()).unwrap();
        let node = event.step.life.nodes()[usize::from(event.step.node)].event_type;
        assert_eq!(node, "order-rejected (final)", "{text}");
        event.id
    });
    assert_eq!(ids[0], ids[1]);
    // It is a word on rejections only.
    let sent = with(
        value("order-accepted"),
        &json!({ "is_final_rejection": true }),
    );
    let accepted = event(&sent, None);
    assert_eq!(
        accepted.step.node,
        Life::OrderDelivery.number("order-accepted").unwrap()
    );
}

#[test]
fn the_original_is_the_senders_body_byte_for_byte_and_digits_stay() {
    for (case, webhook, ..) in CASES {
        let sent = String::from_utf8(body(case)).unwrap();
        let event = read_at(sent.as_bytes(), Some(webhook), &Policy::default()).unwrap();
        assert_eq!(event.original(), sent.trim(), "{case}");
    }
    let shipped = read_at(&body("order-shipped"), None, &Policy::default())
        .unwrap()
        .json();
    assert_eq!(shipped["data"]["total"], json!({ "amount": "1300.00" }));
    assert_eq!(shipped["data"]["items"][0]["discount"], "2.50");
    let texts = read_at(&body("strings-for-numbers"), None, &Policy::default())
        .unwrap()
        .json();
    assert_eq!(texts["data"]["total"]["amount"], "1300.00");
    assert_eq!(texts["data"]["items"][0]["unit_price"], "130.10");
    assert_eq!(texts["data"]["items"][0]["code"], "42");
    assert_eq!(texts["data"]["pharmacy"]["id"], "77");
    assert_eq!(texts["rxpharmacy"], "77");
}

// ── what stands for nothing ──

#[test]
fn what_stands_for_nothing_is_left_out() {
    let json = event(&value("order-accepted"), None).json();
    let data = &json["data"];
    // No bill yet: its number is 0, and its date tells of something else.
    assert_eq!(
        data["bill"],
        json!({ "url": "https://portal.example/invoice/T09NNkhKUTlCVA==/print/" })
    );
    assert_eq!(data["delivery"], json!({ "type": "delivery" }));
    assert_eq!(
        data["payment"],
        json!({ "mode": "Cash", "at": "2025-01-29T06:49:46Z" })
    );
    assert_eq!((data.get("prescriber"), data.get("reason")), (None, None));
    let item = data["items"][0].as_object().unwrap();
    for absent in ["directions", "expiry", "batch"] {
        assert!(!item.contains_key(absent), "{absent}");
    }
    assert_eq!(item["quantity"], "100");
    // Once they are there, they are told.
    let json = event(&value("order-picked-up"), Some("order-picked-up")).json();
    let data = &json["data"];
    assert_eq!(data["bill"]["number"], "396");
    assert_eq!(data["bill"]["at"], "2025-01-29T06:56:51Z");
    assert_eq!(
        data["delivery"]["person"],
        json!({ "name": "Ravi Kumar", "phone": "9876543210" })
    );
    assert_eq!(data["delivery"]["pin"], "1628");
    let item = &data["items"][0];
    assert_eq!(
        (&item["directions"], &item["expiry"], &item["batch"]),
        (&json!("1-0-1-0"), &json!("12/27"), &json!("DB2231"))
    );
    // Also as texts, and where everything is a pseudonym.
    for phi in [Policy::default(), policy(Action::Pseudonym)] {
        for zero in [json!(0), json!("0"), json!("")] {
            let sent = with(
                value("order-accepted"),
                &json!({ "bill_no": zero, "bill-pdf-url": "" }),
            );
            let event = read_at(sent.to_string().as_bytes(), None, &phi).unwrap();
            let data = event.json()["data"].clone();
            assert_eq!(data.get("bill"), None, "{zero}");
            assert_eq!(data["items"][0].get("directions"), None);
            assert_eq!(data.get("prescriber"), None);
        }
    }
}

#[test]
fn a_date_of_1900_is_none_and_a_time_without_a_zone_is_read_in_the_sources() {
    let paid = |at: Value, zone: &str| {
        let sent = with(value("order-accepted"), &json!({ "payment_date": at }));
        let zone = Zone::parse(zone).unwrap();
        let bytes = sent.to_string();
        let (event, _) = read_unsigned(
            Provider::Evitalrx,
            bytes.as_bytes(),
            None,
            zone,
            &Policy::default(),
        )
        .unwrap();
        (
            event.json()["data"]["payment"].get("at").cloned(),
            event.noted(),
        )
    };
    for none in [
        "1900-01-01 12:00:00",
        "1900-01-01 00:00:00",
        "1900-01-01T00:00:00Z",
        "1900-01-01",
        "",
    ] {
        assert_eq!(paid(none.into(), "Asia/Kolkata"), (None, vec![]), "{none}");
    }
    for (sent, zone, told) in [
        (
            "2025-01-29 12:19:46",
            "Asia/Kolkata",
            "2025-01-29T06:49:46Z",
        ),
        ("2025-01-29 12:19:46", "+05:30", "2025-01-29T06:49:46Z"),
        (
            "2025-01-01 00:00:00",
            "Asia/Kolkata",
            "2024-12-31T18:30:00Z",
        ),
        ("2025-01-29 12:19:46", "-05:00", "2025-01-29T17:19:46Z"),
        (
            "2025-01-29T12:19:46.5",
            "+00:00",
            "2025-01-29T12:19:46.500Z",
        ),
        (
            "2025-01-29T12:19:46+01:00",
            "Asia/Kolkata",
            "2025-01-29T11:19:46Z",
        ),
        (
            "2025-01-29T12:19:46Z",
            "Asia/Kolkata",
            "2025-01-29T12:19:46Z",
        ),
    ] {
        assert_eq!(
            paid(sent.into(), zone),
            (Some(told.into()), vec![]),
            "{sent} {zone}"
        );
    }
    for wrong in [
        json!("29-01-2025"),
        json!("2025-13-01 00:00:00"),
        json!(1_738_133_386),
        json!({}),
    ] {
        let expected = vec!["payment_date: date-time".to_owned()];
        assert_eq!(
            paid(wrong.clone(), "Asia/Kolkata"),
            (None, expected),
            "{wrong}"
        );
    }
}

// ── what happened ──

#[test]
fn without_a_webhook_the_body_tells_what_happened() {
    let told = |nature: &str, status: &str| {
        let sent = with(
            value("order-accepted"),
            &json!({ "transaction_nature": nature, "order_status": status }),
        );
        event(&sent, None).json()["type"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (nature, status, canonical) in [
        ("accept", "accepted", "rx.order.accepted"),
        ("reject", "rejected", "rx.order.rejected"),
        ("shipped", "shipped", "rx.order.shipped"),
        ("accept", "", "rx.order.accepted"),
        ("", "accepted", "rx.order.accepted"),
        ("", "rejected", "rx.order.rejected"),
        ("", "shipped", "rx.order.shipped"),
        ("", "assigned", "rx.order.assigned"),
        // Words that nobody has seen tell nothing.
        ("accept", "processing", "rx.order.accepted"),
        ("sold", "accepted", "rx.order.accepted"),
        ("", "", "rx.unknown"),
        ("", "draft", "rx.unknown"),
        ("deliver", "delivered", "rx.unknown"),
        ("Accept", "ACCEPTED", "rx.unknown"),
    ] {
        assert_eq!(told(nature, status), canonical, "{nature} {status}");
    }
}

#[test]
fn a_webhook_and_a_body_that_tell_of_different_events_are_refused_with_both_named() {
    let contradicts = |webhook: Option<&str>, nature: &str, status: &str| {
        let words = json!({ "transaction_nature": nature, "order_status": status });
        match refusal(&with(value("order-accepted"), &words), webhook) {
            Refusal::Contradictory(Invalid { path, problem }) => {
                assert_eq!(problem, "tell of different events");
                path
            }
            other => panic!("{other:?}"),
        }
    };
    for (webhook, nature, status, path) in [
        (
            Some("order-shipped"),
            "accept",
            "accepted",
            "webhook order-shipped, transaction_nature accept",
        ),
        (
            Some("order-accepted"),
            "",
            "shipped",
            "webhook order-accepted, order_status shipped",
        ),
        (
            Some("order-delivered"),
            "shipped",
            "",
            "webhook order-delivered, transaction_nature shipped",
        ),
        (
            Some("order-picked-up"),
            "",
            "assigned",
            "webhook order-picked-up, order_status assigned",
        ),
        (
            Some("digitization-completed"),
            "",
            "accepted",
            "webhook digitization-completed, order_status accepted",
        ),
        (
            Some("order-accepted"),
            "accept",
            "rejected",
            "webhook order-accepted, order_status rejected",
        ),
        (
            None,
            "accept",
            "rejected",
            "transaction_nature accept, order_status rejected",
        ),
        (
            None,
            "reject",
            "shipped",
            "transaction_nature reject, order_status shipped",
        ),
        (
            None,
            "accept",
            "assigned",
            "transaction_nature accept, order_status assigned",
        ),
        (
            None,
            "accept",
            "draft",
            "transaction_nature accept, order_status draft",
        ),
    ] {
        assert_eq!(contradicts(webhook, nature, status), path);
    }
}

#[test]
fn a_webhook_goes_with_the_words_of_a_body_that_an_order_can_have_then() {
    let seen = [
        ("accept", "accepted"),
        ("reject", "rejected"),
        ("shipped", "shipped"),
    ];
    for webhook in Provider::Evitalrx.webhooks() {
        let fits = |nature: &str, status: &str| {
            let words = json!({ "transaction_nature": nature, "order_status": status });
            let sent = with(value("order-accepted"), &words).to_string();
            read_at(sent.as_bytes(), Some(webhook), &Policy::default()).is_ok()
        };
        let expected = match webhook {
            "order-accepted" => vec!["accept"],
            "order-rejected" | "digitization-rejected" | "order-reassign" => vec!["reject"],
            "order-shipped" | "order-picked-up" => vec!["shipped"],
            "order-split" => vec!["accept", "reject", "shipped"],
            _ => vec![],
        };
        let found: Vec<&str> = seen
            .iter()
            .filter(|(n, s)| fits(n, s))
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(found, expected, "{webhook}");
        // What nobody has seen contradicts nothing.
        assert!(
            fits("", "") && fits("delivered", "delivered") && fits("x", "y"),
            "{webhook}"
        );
    }
}

#[test]
fn what_we_do_not_know_is_delivered_as_unknown_and_nothing_of_it_is_required() {
    for (webhook, words, told) in [
        (
            None,
            json!({ "transaction_nature": "return", "order_status": "returned" }),
            "return",
        ),
        (
            None,
            json!({ "transaction_nature": null, "order_status": "returned" }),
            "returned",
        ),
        (
            None,
            json!({ "transaction_nature": null, "order_status": null }),
            "unknown",
        ),
        // A name in the path that we don't know is an event that we don't know, whatever its body says.
        (Some("order-returned"), json!({}), "order-returned"),
        (Some("Order Returned"), json!({}), "accept"),
    ] {
        let sent = with(value("order-accepted"), &words);
        for sent in [sent.clone(), with(sent, &json!({ "id": null }))] {
            let event = event(&sent, webhook);
            let json = event.json();
            assert_eq!(
                (json["type"].as_str(), event.unknown),
                (Some("rx.unknown"), Some(Unknown::EventType))
            );
            assert_eq!(json["rxeventtype"], told);
            assert_eq!(
                (
                    json.get("subject"),
                    json.get("rxpharmacy"),
                    event.entity.as_deref()
                ),
                (None, None, None)
            );
            assert_eq!(event.original(), sent.to_string());
        }
    }
}

// ── what is required ──

#[test]
fn nothing_is_required_but_the_id_of_the_order() {
    for webhook in Provider::Evitalrx.webhooks() {
        let least = json!({ "id": "a+b/c==" });
        let event = event(&least, Some(webhook));
        assert_eq!((event.unknown, event.noted()), (None, vec![]), "{webhook}");
        assert_eq!(event.json()["subject"], "order/a+b/c==");
        assert_eq!(
            event.json()["data"]["entity"],
            json!({ "type": "order", "id": "a+b/c==" })
        );
        for (id, problem) in [
            (Value::Null, "missing"),
            (json!(7), "not a string"),
            (json!([]), "not a string"),
            (json!(""), "not 1 to 256 printable characters"),
            (json!("a\u{0}"), "not 1 to 256 printable characters"),
        ] {
            let sent = json!({ "id": id });
            assert_eq!(
                refusal(&sent, Some(webhook)),
                Refusal::Invalid(invalid("id", problem)),
                "{webhook} {id}"
            );
        }
    }
}

#[test]
fn a_field_of_another_type_is_noted_and_the_event_is_delivered_without_it() {
    let sent = with(
        value("order-shipped"),
        &json!({
            "order_number": [], "patient_name": 7, "mobile": {}, "chemist_id": true, "total": "many", "is_final_rejection": "perhaps",
            "payment_mode": 1, "payment_date": 5, "tracking_url": [], "bill_no": {}, "items": [7, { "quantity": "1e3", "price": {} }],
            "reject_reason": 0,
        }),
    );
    let event = event(&sent, None);
    let mut noted = event.noted();
    noted.sort();
    let expected = [
        "bill_no: string or number",
        "chemist_id: string or number",
        "is_final_rejection: boolean",
        "items[0]: object",
        "items[1].price: decimal number",
        "items[1].quantity: decimal number",
        "mobile: string or number",
        "order_number: string or number",
        "patient_name: string",
        "payment_date: date-time",
        "payment_mode: string",
        "reject_reason: string",
        "total: decimal number",
        "tracking_url: string",
    ];
    assert_eq!(noted, expected);
    assert_eq!(event.json()["data"]["items"], json!([{}]));
    for wrong in ["a\u{0}", &"x".repeat(257)] {
        let sent = with(
            value("order-rejected"),
            &json!({ "chemist_id": wrong, "delivery_type": 1, "is_final_rejection": "x", "order_status": 2 }),
        );
        let event = self::event(&sent, None);
        assert_eq!(event.json().get("rxpharmacy"), None);
        let mut noted = event.noted();
        noted.sort();
        let expected = [
            "chemist_id: string of 1 to 256 printable characters",
            "delivery_type: string",
            "is_final_rejection: boolean",
            "order_status: string",
        ];
        assert_eq!(noted, expected);
    }
}

// ── which events are one ──

fn id(sent: &str, webhook: Option<&str>) -> String {
    let event = read_at(sent.as_bytes(), webhook, &Policy::default()).unwrap();
    assert_eq!(event.json()["id"], event.id.as_str());
    event.id
}

#[test]
fn the_order_of_fields_white_space_and_escapes_make_no_other_event() {
    let sent = r#"{"id":"a/b==","chemist_id":"c","patient_name":"López","items":[{"price":1.0,"quantity":2}],"x":null}"#;
    let same = [
        "{ \"x\" : null,\n\"items\":[ {\"quantity\":2, \"price\":1.0} ],\"patient_name\":\"L\\u00f3pez\",\"chemist_id\":\"c\",\"id\":\"a\\/b==\" }",
    ];
    let webhook = Some("order-accepted");
    let expected = id(sent, webhook);
    assert!(
        expected
            .strip_prefix("ord_")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    );
    for same in same {
        assert_eq!(id(same, webhook), expected, "{same}");
    }
    // Whatever `phi` does: dedupe goes by what was sent.
    for action in [Action::Drop, Action::Pseudonym] {
        let event = read_at(sent.as_bytes(), webhook, &policy(action)).unwrap();
        assert_eq!(event.id, expected);
        assert_eq!(event.entity.as_deref(), Some("order/a/b=="));
    }
    // In doubt two events: digits, types, null, and what we don't know make another.
    for (from, to) in [
        ("1.0", "1.00"),
        (":2", ":\"2\""),
        (r#""x":null"#, r#""x":0"#),
        (r#","x":null"#, ""),
        ("López", "Lopez"),
        (r#""id":"a/b=="#, r#""id":"a/b="#),
        (r#""chemist_id":"c""#, r#""chemist_id":"d""#),
    ] {
        assert!(sent.contains(from), "{from}");
        assert_ne!(
            id(&sent.replace(from, to), webhook),
            expected,
            "{from} → {to}"
        );
    }
    assert_ne!(id(sent, Some("order-shipped")), expected);
}

#[test]
fn an_acceptance_by_another_pharmacy_and_a_rider_who_is_found_are_other_events() {
    let accepted = value("order-accepted");
    let another = with(
        accepted.clone(),
        &json!({ "chemist_id": "vUrZeR78iAdoLVZYO6amjA==" }),
    );
    assert_ne!(
        id(&accepted.to_string(), None),
        id(&another.to_string(), None)
    );
    let shipped = [body("order-shipped"), body("order-shipped-with-rider")];
    let [without, with_rider] = shipped.map(|body| id(std::str::from_utf8(&body).unwrap(), None));
    assert_ne!(without, with_rider);
    // The same words after a rejection have the same id: the round, which the entity knows, is what tells them apart.
    assert_eq!(
        id(&accepted.to_string(), None),
        id(&accepted.to_string(), Some("order-accepted"))
    );
}

#[test]
fn what_may_differ_between_two_sendings_makes_no_other_event_unless_it_was_not_there() {
    let sent = value("order-shipped-pickup");
    let base = id(&sent.to_string(), None);
    for (field, anew) in [
        (
            "bill-pdf-url",
            json!("https://portal.example/invoice/x?signature=2"),
        ),
        ("invoice_pdf", json!("https://cdn.example/2.pdf")),
        ("chemist_details", json!({ "store_timings": {} })),
    ] {
        let other = with(sent.clone(), &json!({ field: anew }));
        assert_eq!(id(&other.to_string(), None), base, "{field}");
        let mut empty = sent.clone();
        empty[field] = json!("");
        assert_ne!(id(&empty.to_string(), None), base, "{field}");
    }
    for (field, anew) in [
        ("tracking_url", json!("https://portal.example/track/2")),
        ("delivery_pin", json!("1629")),
        ("delivery_person_name", json!("Ravi")),
        ("delivery_person_mobile", json!("1")),
        ("remark", json!("x")),
        ("total", json!(1)),
    ] {
        let other = with(sent.clone(), &json!({ field: anew }));
        assert_ne!(id(&other.to_string(), None), base, "{field}");
    }
}

// ── patient data ──

#[test]
fn of_webhooks_that_we_dont_know_each_is_its_own_event() {
    let sent = value("order-accepted");
    let id = |webhook: Option<&str>| event(&sent, webhook).id;
    let of = [
        Some("order-cancelled"),
        Some("order-returned"),
        Some("order-accepted"),
    ]
    .map(id);
    assert_eq!(BTreeSet::from(of.clone()).len(), 3);
    assert_eq!(id(Some("order-cancelled")), of[0]);
    // The body's own words say which it is, so it is the same with and without its name in the path.
    assert_eq!(id(None), of[2]);
}

#[test]
fn every_field_of_the_fixtures_has_a_class() {
    fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let dot = if path.is_empty() { "" } else { "." };
                    leaves(value, &format!("{path}{dot}{name}"), found);
                }
            }
            Value::Array(elements) => elements
                .iter()
                .for_each(|value| leaves(value, &format!("{path}[]"), found)),
            _ => {
                found.insert(path.to_owned());
            }
        }
    }
    let classes = Provider::Evitalrx.classes("order-accepted");
    let known: BTreeSet<&str> = classes.iter().map(|(path, _)| path.as_str()).collect();
    let mut found = BTreeSet::new();
    for (case, ..) in CASES {
        leaves(&value(case), "", &mut found);
    }
    let without: Vec<&String> = found
        .iter()
        .filter(|path| {
            !known.contains(path.as_str()) && !path.starts_with("chemist_details.store_timings.")
        })
        .collect();
    assert_eq!(without, [""; 0]);
    let by_name = |class: Class| -> BTreeSet<&str> {
        let of_class = classes
            .iter()
            .filter(|(path, other)| *other == class && !path.contains('.'));
        of_class.map(|(path, _)| path.as_str()).collect()
    };
    let links = [
        "bill-pdf-url",
        "delivery_pin",
        "direct_payment_url",
        "invoice_pdf",
        "tracking_url",
    ];
    assert_eq!(by_name(Class::Link), links.into());
    assert_eq!(by_name(Class::FreeText), ["reject_reason", "remark"].into());
}

/// A body with a mark in each documented field, and in some that nobody documents.
fn marked() -> (Value, Vec<(Class, String)>) {
    let mut marks = Vec::new();
    let mut sent = json!({ "chemist_details": {}, "items": [{}] });
    for (path, class) in Provider::Evitalrx.classes("order-shipped") {
        let number = format!("7310{:04}", marks.len());
        let text = format!("Mark{:04}ñ", marks.len());
        let decimal = [
            "total",
            "items[].quantity",
            "items[].price",
            "items[].mrp",
            "items[].discount",
            "items[].amount",
        ];
        let mark = if decimal.contains(&path.as_str()) {
            number
        } else {
            text
        };
        match path.split_once('.') {
            Some(("items[]", field)) => sent["items"][0][field] = json!(mark),
            Some((_, field)) => sent["chemist_details"][field] = json!(mark),
            None if [
                "transaction_nature",
                "order_status",
                "delivery_type",
                "is_final_rejection",
                "payment_date",
                "bill_date",
            ]
            .contains(&path.as_str()) =>
            {
                continue;
            }
            None => sent[path.as_str()] = json!(mark),
        }
        marks.push((class, mark));
    }
    for place in ["", "/items/0", "/chemist_details"] {
        let mark = format!("Mark{:04}ñ", marks.len());
        sent.pointer_mut(place).unwrap()["new"] = json!({ mark.clone(): [mark.clone()] });
        marks.push((Class::Unknown, mark));
    }
    (sent, marks)
}

#[test]
fn each_class_goes_under_its_own_action_in_the_canonical_fields_and_in_original_alike() {
    let (sent, marks) = marked();
    let bytes = sent.to_string();
    let webhook = Some("order-picked-up");
    let passed = read_at(bytes.as_bytes(), webhook, &Policy::default()).unwrap();
    assert!(marks.iter().all(|(_, mark)| shows(passed.original(), mark)));
    let canonical = passed.json().to_string();
    assert!(
        marks
            .iter()
            .filter(|(_, mark)| shows(&canonical, mark))
            .count()
            > 25
    );
    for class in Class::SET {
        for action in [Action::Drop, Action::Pseudonym] {
            let key =
                (action == Action::Pseudonym).then_some(&b"phi-key-0123456789-0123456789-01"[..]);
            let phi = Policy::new(Actions::default().with(class, action), key).unwrap();
            let event = read_at(bytes.as_bytes(), webhook, &phi).unwrap();
            for (of, mark) in &marks {
                let held = *of == class || *of == Class::Unknown;
                assert_eq!(
                    shows(event.text(), mark),
                    !held,
                    "{class:?} {action:?} {mark}"
                );
            }
            assert_eq!(event.json()["data"]["redacted"], true);
        }
    }
    for action in [Action::Drop, Action::Pseudonym] {
        let event = read_at(bytes.as_bytes(), webhook, &policy(action)).unwrap();
        let json = event.json();
        assert_eq!(json.get("subject").is_some(), action == Action::Pseudonym);
        // Attribution and order don't depend on it.
        assert_eq!(json["rxpharmacy"], passed.json()["rxpharmacy"]);
        assert_eq!(event.step, passed.step);
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
    let least = json!({ "id": "x" });
    for (phi, variant) in policies.iter().zip(Variant::ALL) {
        assert_eq!(phi.variant(), variant);
        for (case, webhook, ..) in CASES {
            for sent in [body(case), least.to_string().into_bytes(), body("unknown")] {
                let event = read_at(&sent, Some(webhook), phi).unwrap();
                let whole: Value = serde_json::from_slice(&event.bytes).unwrap();
                assert_eq!(
                    crate::schemas::faults_as(&whole, variant),
                    [""; 0],
                    "{case} {variant:?}"
                );
            }
        }
        let event = read_at(&body("unknown"), None, phi).unwrap();
        let whole: Value = serde_json::from_slice(&event.bytes).unwrap();
        assert_eq!(crate::schemas::faults_as(&whole, variant), [""; 0]);
    }
}

#[test]
fn what_is_known_of_evitalrx_is_what_its_documents_say() {
    let evitalrx = Provider::Evitalrx;
    assert_eq!(evitalrx.name(), "evitalrx");
    // It signs nothing, and documents no content type and no retries.
    assert_eq!(
        (evitalrx.signature_header(), evitalrx.content_type()),
        (None, None)
    );
    assert_eq!(evitalrx.retry_policy(), RetryPolicy::Unknown);
    let types: BTreeSet<&str> = evitalrx
        .event_types()
        .map(|(_, canonical)| canonical)
        .collect();
    assert_eq!(types.len(), 10);
    assert!(Provider::Osigu.webhooks().is_empty() && Provider::PhilCallback.webhooks().is_empty());
}

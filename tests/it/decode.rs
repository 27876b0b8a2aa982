//! JSON with limits: what is taken, what is not, and that what is taken stays as it was sent.

use proptest::prelude::*;
use rxgate::auth::RawBody;
use rxgate::event::{MAX_DEPTH, MAX_NOTES, Malformed, decode};
use rxgate::provider::Refusal;

use crate::support::{NOW, dead_lettered, event, gateway, refusal, scheme, signed};

/// The object as it was read: its text, and its keys.
fn read(body: &[u8]) -> Result<(String, Vec<String>), Malformed> {
    let header = signed(body);
    let verified = scheme()
        .authenticate(Some(&header), RawBody::new(body), NOW)
        .unwrap();
    decode(&verified).map(|document| {
        let keys = document.object().members().map(|(key, _)| key.into_owned());
        (document.raw().get().to_owned(), keys.collect())
    })
}

/// It is read, and stays as it was sent.
#[track_caller]
fn assert_kept(body: &str) {
    let kept = read(body.as_bytes()).map(|(raw, _)| raw);
    assert_eq!(kept, Ok(body.trim().to_owned()), "{}", shortened(body));
}

#[track_caller]
fn assert_malformed(body: &[u8], why: Malformed) {
    let text = String::from_utf8_lossy(body);
    let read = read(body).map(|(raw, _)| shortened(&raw));
    assert_eq!(read, Err(why), "{}", shortened(&text));
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

/// A whole event with `field` beside the others of its `data`.
fn with_field(field: &str) -> Vec<u8> {
    format!(
        r#"{{"event_id":"evt_1","event_type":"dispensing.completed","created_at":"2026-06-25T14:22:00.500Z","environment":"sandbox","data":{{"dispensation_id":"dsp_1",{field}}}}}"#
    )
    .into_bytes()
}

// ── what is one JSON object ──

#[test]
fn only_one_object_is_a_body() {
    assert_kept("{}");
    assert_kept(" \r\n\t{ \"a\" : 1 }\n ");
    for other in [
        "",
        " ",
        "[]",
        "[{}]",
        "null",
        "true",
        "1",
        "\"{}\"",
        "{}{}",
        "{} {}",
        "{}x",
        "{},",
        "{}\0",
        "\0{}",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1 // a comment\n}",
        "{\"a\":/**/1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":0x1}",
        "{\"a\":1e}",
        "{\"a\":tru}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\0\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"",
        "{\"a\":[}",
        "{\"a\":[1 2]}",
        "\u{a0}{}",
        "event_id=1",
    ] {
        assert_malformed(other.as_bytes(), Malformed::NotAnObject);
    }
}

#[test]
fn a_byte_order_mark_is_not_dropped() {
    assert_malformed("\u{feff}{}".as_bytes(), Malformed::NotAnObject);
    assert_malformed(b"\xff\xfe{\0}\0", Malformed::NotUtf8);
    // Inside a string it is text like any other.
    assert_kept("{\"a\":\"\u{feff}\"}");
}

#[test]
fn bytes_that_are_not_utf_8_are_not_replaced() {
    for bytes in [
        &b"{\"last_name\":\"L\xf3pez\"}"[..],
        b"{\"a\":\"\xc3\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\xc0\x80\"}",
        b"{\"a\":\"\xf5\x80\x80\x80\"}",
        b"\xff",
    ] {
        assert_malformed(bytes, Malformed::NotUtf8);
    }
}

#[test]
fn what_is_taken_stays_byte_for_byte() {
    assert_kept(r#"{"total_amount":375.00,"unit_price":12.50}"#);
    assert_kept(r#"{"big":1e999,"negative":-1e-999,"zero":-0,"plus":1E+2}"#);
    assert_kept(r#"{"digits":0.1000000000000000055511151231257827021181583404541015625}"#);
    assert_kept(&format!(r#"{{"digits":{}}}"#, "9".repeat(100_000)));
    assert_kept(r#"{"z":1,"a":2,"":3,"nested":{"z":[ 1 , 2 ],"a":null}}"#);
    assert_kept("{\"a\":\"L\\u00f3pez López Lo\u{301}pez \\/ \\ud83d\\ude00 😀 \\u0000\"}");
}

#[test]
fn a_lone_surrogate_is_kept_in_a_field_that_nobody_reads() {
    assert_kept(r#"{"a":"\ud800","b":["\udfff\ud800",{"c":"\ud83d"}]}"#);
    let event = event(&with_field(r#""nickname":"\ud800""#));
    assert!(event.original().contains(r#""nickname":"\ud800""#));
    assert_eq!(event.noted(), [""; 0]);
}

#[test]
fn a_lone_surrogate_in_a_known_field_is_noted_and_in_a_required_one_refused() {
    let event = event(&with_field(r#""currency":"USD","code":"\ud800""#));
    assert_eq!(event.noted(), ["data.code: string"]);
    assert!(event.original().contains(r#""code":"\ud800""#));
    let body = String::from_utf8(with_field(r#""a":1"#)).unwrap();
    let Refusal::Invalid(invalid) = refusal(body.replace("evt_1", r"\ud800").as_bytes()) else {
        panic!("refused for another reason");
    };
    assert_eq!(
        (invalid.path.as_str(), invalid.problem),
        ("event_id", "not a string")
    );
}

#[test]
fn a_key_that_is_no_text_can_not_be_compared_and_is_refused() {
    assert_malformed(br#"{"\ud800":1}"#, Malformed::NotAnObject);
    assert_malformed(br#"{"a":{"\ud800":1}}"#, Malformed::NotAnObject);
}

// ── duplicate keys ──

#[test]
fn a_key_twice_is_refused_at_any_depth() {
    for body in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":null}"#,
        r#"{"":1,"":2}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"{"x":[0,{"y":[[{"a":1,"b":{},"a":2}]]}]}"#,
        r#"{"x":{"a":1},"y":{"a":1,"a":1}}"#,
    ] {
        assert_malformed(body.as_bytes(), Malformed::DuplicateKey);
    }
    assert_kept(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#);
    assert_kept(r#"{"a":1,"A":2,"a ":3,"а":4}"#);
}

#[test]
fn keys_are_compared_as_text_whatever_their_escapes() {
    for body in [
        r#"{"a":1,"\u0061":2}"#,
        r#"{"\u0061":1,"\u0061":2}"#,
        r#"{"x":{"López":1,"L\u00f3pez":2}}"#,
        r#"{"/":1,"\/":2}"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"\n":1,"\u000A":2}"#,
    ] {
        assert_malformed(body.as_bytes(), Malformed::DuplicateKey);
    }
    // Composed and decomposed are two texts.
    assert_kept("{\"ó\":1,\"o\u{301}\":2}");
}

#[test]
fn a_signed_field_can_not_be_told_twice() {
    for (field, again) in [
        (
            r#""event_id":"evt_1""#,
            r#""event_id":"evt_2","event_id":"evt_1""#,
        ),
        (
            r#""event_id":"evt_1""#,
            r#""event_id":"evt_1","event\u005fid":"evt_2""#,
        ),
        (
            r#""dispensation_id":"dsp_1""#,
            r#""dispensation_id":"dsp_1","dispensation_id":"dsp_1""#,
        ),
    ] {
        let body = String::from_utf8(with_field(r#""a":1"#)).unwrap();
        assert!(body.contains(field));
        let body = body.replace(field, again);
        assert_eq!(
            refusal(body.as_bytes()),
            Refusal::Malformed(Malformed::DuplicateKey)
        );
    }
}

#[test]
fn a_duplicate_is_found_among_few_keys_and_among_many() {
    // There are two ways of comparing, by the number of keys: both, and where they meet.
    for count in [2, 23, 24, 25, 26, 1000] {
        for twin in [0, (count - 1) / 2, count - 2] {
            let key = |place: usize| if place == count - 1 { twin } else { place };
            let entries: Vec<String> = (0..count)
                .map(|place| format!(r#""k{}":0"#, key(place)))
                .collect();
            let body = format!("{{{}}}", entries.join(","));
            assert_malformed(body.as_bytes(), Malformed::DuplicateKey);
            assert_kept(&body.replace(&format!(r#""k{twin}":0}}"#), r#""other":0}"#));
        }
    }
}

// ── depth and size ──

fn nested(open: &str, close: &str, containers: usize) -> String {
    format!(
        r#"{{"a":{}0{}}}"#,
        open.repeat(containers),
        close.repeat(containers)
    )
}

#[test]
fn thirty_two_levels_are_read_and_one_more_is_too_deep() {
    assert_eq!(MAX_DEPTH, 32);
    for (open, close) in [("[", "]"), (r#"{"b":"#, "}"), (r#"[{"b":"#, "}]")] {
        let per_level = open.matches(['[', '{']).count();
        // The object around them is the first level.
        let most = (32 - 1) / per_level;
        assert_kept(&nested(open, close, most));
        assert_malformed(nested(open, close, most + 1).as_bytes(), Malformed::TooDeep);
    }
    // A container with nothing in it is a level as well.
    assert_kept(&nested("[", "]", 30).replace('0', "[]"));
    assert_kept(&nested("[", "]", 30).replace('0', "{}"));
    assert_malformed(
        nested("[", "]", 31).replace('0', "[]").as_bytes(),
        Malformed::TooDeep,
    );
    assert_malformed(
        nested("[", "]", 31).replace('0', "{}").as_bytes(),
        Malformed::TooDeep,
    );
    // Brackets in strings are none.
    assert_kept(&nested("[", "]", 31).replace('0', r#""[[{{\"[""#));
}

#[test]
fn a_megabyte_of_brackets_is_too_deep_and_nothing_worse() {
    for (open, close) in [("[", "]"), (r#"{"b":"#, "}")] {
        assert_malformed(nested(open, close, 100_000).as_bytes(), Malformed::TooDeep);
    }
    assert_malformed("[".repeat(1 << 20).as_bytes(), Malformed::NotAnObject);
    assert_malformed(
        format!(r#"{{"a":{}"#, "[".repeat(1 << 20)).as_bytes(),
        Malformed::NotAnObject,
    );
}

#[test]
fn tens_of_thousands_of_keys_are_read_in_reasonable_time() {
    let entries: Vec<String> = (0..80_000).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let body = format!("{{{}}}", entries.join(","));
    let keys = read(body.as_bytes()).map(|(_, keys)| keys.len());
    assert_eq!(keys, Ok(80_000));
    let event = event(&with_field(&entries.join(",")));
    assert!(event.original().ends_with(r#""k79999":79999}}"#));
}

#[test]
fn a_change_of_tens_of_thousands_of_fields_is_read_in_reasonable_time() {
    let changes: Vec<String> = (0..40_000)
        .map(|n| format!(r#""field_{n}":{{"from":{n},"to":0}}"#))
        .collect();
    let body = String::from_utf8(with_field(&format!(
        r#""changes":{{{}}}"#,
        changes.join(",")
    )))
    .unwrap()
    .replace("dispensing.completed", "authorization.updated")
    .replace("dispensation_id", "authorization_id");
    let json = event(body.as_bytes()).json();
    let changes = json["data"]["changes"].as_object().unwrap();
    assert_eq!(changes.len(), 40_000);
    assert_eq!(changes["field_39999"]["from"], 39_999);
}

#[test]
fn long_and_deep_arrays_are_read_without_being_kept() {
    assert_kept(&format!(r#"{{"a":[{}0]}}"#, "0,".repeat(400_000)));
    assert_kept(&format!(r#"{{"a":[{}[]]}}"#, "[[[]]],".repeat(100_000)));
    let twin = format!(r#"{{"a":[{}{{"b":1,"b":2}}]}}"#, "0,".repeat(100_000));
    assert_malformed(twin.as_bytes(), Malformed::DuplicateKey);
}

#[test]
fn a_list_of_wrong_things_makes_a_bounded_number_of_notes() {
    let zeros = format!(r#""products":[{}0]"#, "0,".repeat(100_000));
    let sent = with_field(&zeros);
    let event = event(&sent);
    assert_eq!(MAX_NOTES, 64);
    assert_eq!((event.notes, event.noted().len()), (64, 64));
    assert_eq!(
        event.noted()[0],
        "data.products: array of at most 10000 elements"
    );
    assert_eq!(event.noted()[63], "data.products[62]: object");
    assert!(event.bytes.len() < sent.len() + 8 * 1024);
}

// ── what the sender is told ──

#[test]
fn a_malformed_body_is_a_dead_letter_whose_problem_is_in_the_log() {
    let gateway = gateway();
    for (body, problem) in [
        (&b"\xff"[..], "not_utf8"),
        (b"[]", "not_an_object"),
        (br#"{"a":1,"a":1}"#, "duplicate_key"),
        (nested("[", "]", 32).as_bytes(), "too_deep"),
    ] {
        let (answer, record) = dead_lettered(&gateway, body);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"code":"dead_lettered","reason":"body_malformed"}"#)
        );
        assert_eq!(record.problem, Some(problem));
        assert_eq!(record.path, None);
    }
}

// ── properties ──

/// JSON as text, with every kind of value, and keys that often meet.
fn json() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["a", "b", r"\u0061", "López", ""]);
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "375.00",
        "-0",
        "1e999",
        r#""López""#,
        r#""\ud800""#,
        r#""{[""#,
        "[]",
        "{}",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((key.clone(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("\"{key}\": {value}"))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

/// Whether a key stands twice in any object, told by reading every object into a map.
fn has_twin(text: &str) -> bool {
    struct Twins(bool);

    impl<'de> serde::Deserialize<'de> for Twins {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Twins;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("JSON")
                }
                fn visit_unit<E>(self) -> Result<Twins, E> {
                    Ok(Twins(false))
                }
                fn visit_bool<E>(self, _: bool) -> Result<Twins, E> {
                    Ok(Twins(false))
                }
                fn visit_i64<E>(self, _: i64) -> Result<Twins, E> {
                    Ok(Twins(false))
                }
                fn visit_u64<E>(self, _: u64) -> Result<Twins, E> {
                    Ok(Twins(false))
                }
                fn visit_f64<E>(self, _: f64) -> Result<Twins, E> {
                    Ok(Twins(false))
                }
                fn visit_str<E>(self, _: &str) -> Result<Twins, E> {
                    Ok(Twins(false))
                }
                fn visit_seq<A: serde::de::SeqAccess<'de>>(
                    self,
                    mut seq: A,
                ) -> Result<Twins, A::Error> {
                    let mut found = false;
                    while let Some(Twins(inner)) = seq.next_element()? {
                        found |= inner;
                    }
                    Ok(Twins(found))
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Twins, A::Error> {
                    let mut keys = std::collections::BTreeSet::new();
                    let mut found = false;
                    while let Some((key, Twins(inner))) = map.next_entry::<String, Twins>()? {
                        found |= inner | !keys.insert(key);
                    }
                    Ok(Twins(found))
                }
            }
            d.deserialize_any(Visitor)
        }
    }

    // What this reader can't take is no matter of keys.
    let text = text.replace("1e999", "1").replace(r"\ud800", "x");
    serde_json::from_str::<Twins>(&text).unwrap().0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_whatsoever_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = read(format!("{{\"a\":{text}}}").as_bytes());
    }

    #[test]
    fn an_object_is_taken_if_and_only_if_no_key_stands_twice_and_stays_as_it_was_sent(json in json()) {
        let body = format!("{{\"root\":{json}}}");
        let read = read(body.as_bytes()).map(|(raw, _)| raw);
        if has_twin(&body) {
            prop_assert_eq!(read, Err(Malformed::DuplicateKey));
        } else {
            prop_assert_eq!(read, Ok(body));
        }
    }
}

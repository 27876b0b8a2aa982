use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The tree that the index tells of.
fn tree(value: Value<'_, '_>) -> serde_json::Value {
    if value.is_object() {
        let members = value.members();
        members
            .map(|(key, value)| (key.into_owned(), tree(value)))
            .collect()
    } else if value.is_array() {
        value.elements().map(tree).collect()
    } else if let Some(text) = value.text() {
        json!(text)
    } else {
        serde_json::from_str(value.raw().get()).unwrap()
    }
}

fn read(text: &str) -> Result<serde_json::Value, Problem> {
    Index::of(text).map(|index| tree(index.root(text)))
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(|list| json!(list)),
            prop::collection::btree_map("[a-d\"\\\\é]{0,3}", inner, 0..40)
                .prop_map(|members| json!(members)),
        ]
    })
}

#[test]
fn every_escape_has_its_text() {
    for (written, text) in [
        (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
        (r#""\\\\""#, Some("\\\\")),
        (r#""\\u0041""#, Some("\\u0041")),
        (r#""a\\""#, Some("a\\")),
        (r#""\u0041é\u00e9""#, Some("Aéé")),
        (r#""\ud83d\ude00!""#, Some("😀!")),
        (r#""\ud83d""#, None),
        (r#""\ude00""#, None),
        (r#""\ud83d\ud83d\ude00""#, None),
        (r#""\ud83dx\ude00""#, None),
        (r#""\ud83d\n""#, None),
        (r#""\ud83d\\""#, None),
        (r#""\ude00\ud83d""#, None),
    ] {
        let index = Index::of(written).unwrap();
        let read = index.root(written).text();
        assert_eq!(read.as_deref(), text, "{written}");
        let theirs = serde_json::from_str::<String>(written).ok();
        assert_eq!(read.as_deref(), theirs.as_deref(), "{written}");
    }
}

#[test]
fn the_same_key_is_found_however_it_is_written_and_among_however_many() {
    for keys in [
        r#""a":1,"a":2"#,
        r#""a":1,"\u0061":2"#,
        r#""\u0061":1,"a":2"#,
        r#""":1,"":2"#,
        r#""x":{"y":[],"z":{}},"x":2"#,
    ] {
        assert_eq!(read(&format!("{{{keys}}}")), Err(Problem::DuplicateKey));
        assert_eq!(read(&format!("[[{{{keys}}}]]")), Err(Problem::DuplicateKey));
        let many: String = (0..100)
            .map(|n| format!(r#""k{n}":{{"a":{n}}},"#))
            .collect();
        let among = format!("{{{many}{keys}}}");
        assert_eq!(read(&among), Err(Problem::DuplicateKey), "{among}");
    }
    let other = (0..100).map(|n| format!(r#""{}":{n}"#, "k".repeat(n)));
    let other: Vec<String> = other.collect();
    assert!(read(&format!("{{{}}}", other.join(","))).is_ok());
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_as_it_was(value in any_json()) {
        prop_assert_eq!(read(&serde_json::to_string(&value).unwrap()).unwrap(), value.clone());
        prop_assert_eq!(read(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn what_is_taken_is_what_serde_json_takes(text in r#"([\[\]{},:" \n]|"[ab]"|\\u00|\\|-|[0-9.eE+]|true|null|fals|é){0,24}"#) {
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        match read_kind(&text) {
            Ok(()) => prop_assert!(theirs, "{}", text),
            Err(Problem::Syntax) => {
                // Half a surrogate pair in a key is the one thing that they take.
                prop_assert!(!theirs, "{}", text);
            }
            Err(_) => {}
        }
    }

    #[test]
    fn a_text_is_written_so_that_it_is_read_again(text in any::<String>()) {
        let written = to_string(&text);
        prop_assert_eq!(&written, &serde_json::to_string(&text).unwrap());
        prop_assert_eq!(read(&written).unwrap(), json!(text));
    }

    #[test]
    fn the_end_of_what_is_plain_is_the_first_byte_that_isnt(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>(), Just(b'a'), Just(b'a'), Just(b'a')], 0..40), at in 0_usize..44) {
        let at = at.min(bytes.len());
        let first = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=31));
        prop_assert_eq!(scan::plain_end(&bytes, at), first.map_or(bytes.len(), |n| at + n));
    }
}

fn read_kind(text: &str) -> Result<(), Problem> {
    Index::of(text).map(drop)
}

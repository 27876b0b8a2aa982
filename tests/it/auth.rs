//! Osigu's signature, and every trap of it that receivers have fallen into.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use rxgate::auth::{
    HmacSha256, Key, KeyFault, KeyId, Keyring, MAX_HEADER_BYTES, MAX_KEYS, MAX_SIGNATURES,
    MIN_KEY_BYTES, Mac, Proof, RawBody, SignatureRefusal, Stale, Strength, Tag, TimestampedHmac,
};
use rxgate::time::Timestamp;
use serde_json::Value;

use crate::support::{
    KEY, NOW, T, answer, begin, body, fixture, gateway, hex, key, now_plus, scheme, scheme_of,
    sign, signed, unhex,
};

const BODY: &[u8] = br#"{"total_amount":375.00}"#;

/// What comes of `header` with `BODY` at `NOW`.
fn outcome(scheme: &TimestampedHmac, header: &str) -> Result<Proof, SignatureRefusal> {
    outcome_at(scheme, header, NOW)
}

fn outcome_at(
    scheme: &TimestampedHmac,
    header: &str,
    now: Timestamp,
) -> Result<Proof, SignatureRefusal> {
    of_body(scheme, Some(header), BODY, now)
}

fn of_body(
    scheme: &TimestampedHmac,
    header: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Proof, SignatureRefusal> {
    let verified = scheme.authenticate(header, RawBody::new(body), now)?;
    assert_eq!(verified.body(), body);
    Ok(verified.proof().clone())
}

fn fresh(key: &str) -> Result<Proof, SignatureRefusal> {
    Ok(Proof {
        key: KeyId::new(key),
        strength: Strength::Signature,
        signed_at: Some(NOW),
        signed_id: None,
        stale_by: None,
    })
}

fn out_of_tolerance(skew: i64) -> Result<Proof, SignatureRefusal> {
    Err(SignatureRefusal::TimestampOutOfTolerance {
        skew,
        key: KeyId::new("first"),
    })
}

const MALFORMED: Result<Proof, SignatureRefusal> = Err(SignatureRefusal::Malformed);
const MISMATCH: Result<Proof, SignatureRefusal> = Err(SignatureRefusal::Mismatch);

// ── the hash ──

#[test]
fn the_hash_is_the_one_of_rfc_4231() {
    let vectors: Value = serde_json::from_slice(&fixture("vectors/rfc4231_sha256.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let bytes = |name: &str| unhex(case[name].as_str().unwrap());
        let (data, expected) = (bytes("message"), bytes("signature"));
        let mac = HmacSha256::new(&bytes("key")).unwrap();
        // In one part, in parts of every kind, and with an empty one: the tag is that of the concatenation.
        let (head, tail) = data.split_at(data.len() / 3);
        for parts in [vec![&data[..]], vec![head, b"", tail]] {
            let tag = mac.tag(&parts);
            assert_eq!(
                hex(&tag.as_bytes()[..expected.len()]),
                hex(&expected),
                "case {}",
                case["id"]
            );
        }
    }
}

#[test]
fn signatures_made_by_openssl_verify() {
    let vectors: Value = serde_json::from_slice(&fixture("vectors/osigu_signature.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let (t, v1) = (text("t"), text("v1"));
        let at = Timestamp(t.parse::<i64>().unwrap() * 1000);
        let scheme = scheme_of(vec![key("first", vectors["key"].as_str().unwrap(), None)]);
        let header = format!("t={t},v1={v1}");
        let proof = of_body(&scheme, Some(&header), &body(text("case")), at);
        assert_eq!(proof.map(|proof| proof.signed_at), Ok(Some(at)), "{case}");
    }
}

// ── which signatures count ──

#[test]
fn a_request_signed_now_is_verified_and_says_by_which_key() {
    assert_eq!(outcome(&scheme(), &signed(BODY)), fresh("first"));
}

#[test]
fn a_request_without_the_header_has_no_signature() {
    let refused = of_body(&scheme(), None, BODY, NOW);
    assert_eq!(refused, Err(SignatureRefusal::Missing));
}

#[test]
fn any_of_several_signatures_may_match_at_whatever_place() {
    let good = sign(KEY, T, BODY);
    let other = sign("a-key-that-is-not-configured", T, BODY);
    for place in 0..4 {
        let mut all = [other.as_str(); 4];
        all[place] = &good;
        let header = format!("t={T},v1={}", all.join(",v1="));
        assert_eq!(outcome(&scheme(), &header), fresh("first"), "{place}");
    }
    let header = format!("t={T},v1={other},v1={other}");
    assert_eq!(outcome(&scheme(), &header), MISMATCH);
}

#[test]
fn the_time_may_stand_after_the_signatures_and_unknown_elements_are_passed_over() {
    let v1 = sign(KEY, T, BODY);
    for header in [
        format!("v1={v1},t={T}"),
        format!("t={T},v0={v1},v1={v1},v2=abc"),
        format!("t={T}, v1={v1}"),
        format!("t={T},\tv1={v1}"),
        format!("t={T},,v1={v1},"),
        format!("t={T},flag,v1={v1}"),
    ] {
        assert_eq!(outcome(&scheme(), &header), fresh("first"), "{header}");
    }
}

#[test]
fn the_hex_may_be_in_capitals() {
    let header = format!("t={T},v1={}", sign(KEY, T, BODY).to_uppercase());
    assert_eq!(outcome(&scheme(), &header), fresh("first"));
}

#[test]
fn a_signature_of_another_length_or_alphabet_is_malformed() {
    let good = sign(KEY, T, BODY);
    let base64 = "ckMaTebWjRHWxmlL9NzCwtmE3nREx5cMGCYLhTxFVUU=";
    for v1 in [
        "",
        &good[..63],
        &good[..62],
        &format!("{good}0"),
        &format!("{good}00"),
        &format!("{good}{good}"),
        &format!("0x{good}"),
        &format!("0x{}", &good[2..]),
        &format!(" {good}"),
        &format!("{good} "),
        &format!("\"{good}\""),
        &format!("{}g", &good[..63]),
        &format!("{}é", &good[..62]),
        base64,
    ] {
        assert_eq!(
            outcome(&scheme(), &format!("t={T},v1={v1}")),
            MALFORMED,
            "{v1}"
        );
    }
}

#[test]
fn a_malformed_signature_beside_a_good_one_does_no_harm_and_no_good() {
    let good = sign(KEY, T, BODY);
    let header = format!("t={T},v1=abc,v1={good},v1={good}00");
    assert_eq!(outcome(&scheme(), &header), fresh("first"));
    let other = sign("a-key-that-is-not-configured", T, BODY);
    let header = format!("t={T},v1={},v1={other}", &good[..62]);
    assert_eq!(outcome(&scheme(), &header), MISMATCH);
}

#[test]
fn names_of_elements_are_exact() {
    let v1 = sign(KEY, T, BODY);
    for header in [
        format!("T={T},v1={v1}"),
        format!("t={T},V1={v1}"),
        format!("t={T},v10={v1}"),
        format!("t ={T},v1={v1}"),
        format!("t={T},v1 ={v1}"),
        format!("t={T};v1={v1}"),
        format!("t={T}"),
        format!("v1={v1}"),
        v1.clone(),
        String::new(),
    ] {
        assert_eq!(outcome(&scheme(), &header), MALFORMED, "{header}");
    }
}

// ── the time, as text ──

#[test]
fn a_time_that_is_not_plain_decimal_seconds_is_malformed_however_well_it_is_signed() {
    for t in [
        "",
        "1e9",
        "1.782397331e9",
        "0x6a3d3a13",
        " 1782397331",
        "1782397331 ",
        "+1782397331",
        "-1782397331",
        "1782397331.0",
        "1782397331000",
        "01782397331",
        "1_782_397_331",
        "1782397331\n",
        "１７８２３９７３３１",
        "99999999999999999999",
        "NaN",
    ] {
        let header = format!("t={t},v1={}", sign(KEY, t, BODY));
        assert_eq!(outcome(&scheme(), &header), MALFORMED, "{t:?}");
    }
}

#[test]
fn a_second_time_is_malformed_even_if_it_says_the_same() {
    let v1 = sign(KEY, T, BODY);
    for header in [
        format!("t={T},t={T},v1={v1}"),
        format!("t={T},v1={v1},t={T}"),
        format!("t={T},v1={v1},t=0"),
        format!("t=0,t={T},v1={v1}"),
        format!("t=,t={T},v1={v1}"),
    ] {
        assert_eq!(outcome(&scheme(), &header), MALFORMED, "{header}");
    }
}

#[test]
fn the_text_of_the_time_is_what_is_signed() {
    // A signature over another second, and one over the body alone.
    let other_second = sign(KEY, "1782397332", BODY);
    let mut without_time = hmac_of(KEY, &[BODY]);
    without_time.make_ascii_lowercase();
    let without_dot = hmac_of(KEY, &[T.as_bytes(), BODY]);
    for v1 in [other_second, without_time, without_dot] {
        let header = format!("t={T},v1={v1}");
        assert_eq!(outcome(&scheme(), &header), MISMATCH, "{v1}");
    }
}

fn hmac_of(key: &str, parts: &[&[u8]]) -> String {
    hex(HmacSha256::new(key.as_bytes())
        .unwrap()
        .tag(parts)
        .as_bytes())
}

// ── the body, as bytes ──

#[test]
fn a_json_round_trip_breaks_the_signature() {
    let sent = body("dispensing_completed");
    let header = signed(&sent);
    assert_eq!(
        of_body(&scheme(), Some(&header), &sent, NOW),
        fresh("first")
    );
    let text = String::from_utf8(sent).unwrap();
    assert!(text.contains("375.00"));
    let rewritten = text.replace("375.00", "375");
    let refused = of_body(&scheme(), Some(&header), rewritten.as_bytes(), NOW);
    assert_eq!(refused, MISMATCH);
}

#[test]
fn bytes_are_signed_before_anything_reads_them_as_text() {
    let composed = r#"{"last_name":"López"}"#.as_bytes();
    let decomposed = "{\"last_name\":\"Lo\u{301}pez\"}".as_bytes();
    let escaped = br#"{"last_name":"L\u00f3pez"}"#;
    let with_bom = "\u{feff}{\"last_name\":\"López\"}".as_bytes();
    let latin1 = b"{\"last_name\":\"L\xf3pez\"}";
    let replaced = "{\"last_name\":\"L\u{fffd}pez\"}".as_bytes();
    let with_newline = b"{\"last_name\":\"L\xc3\xb3pez\"}\n";
    let bodies: [&[u8]; 8] = [
        composed,
        decomposed,
        escaped,
        with_bom,
        latin1,
        replaced,
        with_newline,
        b"",
    ];
    // Each verifies as it was signed, byte for byte, and none passes for another.
    for (signed_place, signed_body) in bodies.iter().enumerate() {
        let header = signed(signed_body);
        for (place, body) in bodies.iter().enumerate() {
            let expected = if place == signed_place {
                fresh("first")
            } else {
                MISMATCH
            };
            let actual = of_body(&scheme(), Some(&header), body, NOW);
            assert_eq!(actual, expected, "signed {signed_place}, sent {place}");
        }
    }
}

// ── tolerance ──

#[test]
fn three_hundred_seconds_pass_and_one_more_does_not_on_both_sides() {
    let header = signed(BODY);
    let at = |skew| outcome_at(&scheme(), &header, now_plus(skew));
    for skew in [-300, -1, 0, 1, 300] {
        assert_eq!(at(skew), fresh("first"), "{skew}");
    }
    for skew in [-86_400, -301, 301, 86_400] {
        assert_eq!(at(skew), out_of_tolerance(skew), "{skew}");
    }
}

#[test]
fn the_tolerance_is_the_sources_own() {
    let mut scheme = scheme();
    scheme.tolerance = Duration::from_secs(20);
    let header = signed(BODY);
    assert_eq!(outcome_at(&scheme, &header, now_plus(20)), fresh("first"));
    for skew in [-21, 21] {
        assert_eq!(
            outcome_at(&scheme, &header, now_plus(skew)),
            out_of_tolerance(skew)
        );
    }
}

#[test]
fn a_bad_signature_says_nothing_of_its_time() {
    let other = sign("a-key-that-is-not-configured", T, BODY);
    let header = format!("t={T},v1={other}");
    for skew in [-100_000, 0, 100_000] {
        assert_eq!(
            outcome_at(&scheme(), &header, now_plus(skew)),
            MISMATCH,
            "{skew}"
        );
    }
}

#[test]
fn a_time_at_the_end_of_its_range_is_told_apart_without_overflow() {
    for t in ["0", "99999999999"] {
        let header = format!("t={t},v1={}", sign(KEY, t, BODY));
        let skew = NOW.seconds() - t.parse::<i64>().unwrap();
        assert_eq!(outcome(&scheme(), &header), out_of_tolerance(skew));
        for now in [Timestamp(i64::MIN), Timestamp(i64::MAX)] {
            let skew = now.seconds() - t.parse::<i64>().unwrap();
            assert_eq!(
                outcome_at(&scheme(), &header, now),
                out_of_tolerance(skew),
                "{t} {now:?}"
            );
        }
    }
}

#[test]
fn a_source_that_accepts_stale_requests_takes_them_up_to_the_horizon_and_says_by_how_much() {
    let mut scheme = scheme();
    scheme.stale = Stale::Accept {
        horizon: Duration::from_secs(259_500),
    };
    let header = signed(BODY);
    let at = |skew| outcome_at(&scheme, &header, now_plus(skew));
    let stale = |skew| {
        Ok(Proof {
            key: KeyId::new("first"),
            strength: Strength::Signature,
            signed_at: Some(NOW),
            signed_id: None,
            stale_by: Some(skew),
        })
    };
    assert_eq!(at(300), fresh("first"));
    assert_eq!(at(301), stale(301));
    assert_eq!(at(259_500), stale(259_500));
    assert_eq!(at(259_501), out_of_tolerance(259_501));
    // Only the past is a retry: nobody retries from the future.
    assert_eq!(at(-300), fresh("first"));
    assert_eq!(at(-301), out_of_tolerance(-301));
    // And stale or not, it has to be signed.
    let other = sign("a-key-that-is-not-configured", T, BODY);
    let header = format!("t={T},v1={other}");
    assert_eq!(outcome_at(&scheme, &header, now_plus(301)), MISMATCH);
}

// ── keys ──

#[test]
fn each_key_of_a_rotation_verifies_under_its_own_id() {
    let scheme = scheme_of(vec![
        key("new", "the-key-that-comes-in", None),
        key("old", "the-key-that-goes-out", None),
    ]);
    let (new, old) = (
        sign("the-key-that-comes-in", T, BODY),
        sign("the-key-that-goes-out", T, BODY),
    );
    assert_eq!(outcome(&scheme, &format!("t={T},v1={new}")), fresh("new"));
    assert_eq!(outcome(&scheme, &format!("t={T},v1={old}")), fresh("old"));
    // Where both sign, the first of the configuration is named, whatever their order in the header.
    let header = format!("t={T},v1={old},v1={new}");
    assert_eq!(outcome(&scheme, &header), fresh("new"));
}

#[test]
fn a_key_holds_up_to_and_at_its_not_after() {
    let scheme = scheme_of(vec![
        key("new", "the-key-that-comes-in", None),
        key("old", "the-key-that-goes-out", Some(NOW)),
    ]);
    let header = format!("t={T},v1={}", sign("the-key-that-goes-out", T, BODY));
    assert_eq!(outcome(&scheme, &header), fresh("old"));
    let after = Timestamp(NOW.0 + 1);
    assert_eq!(outcome_at(&scheme, &header, after), MISMATCH);
}

#[test]
fn a_source_whose_keys_have_all_expired_is_faulty_and_no_open_door() {
    let scheme = scheme_of(vec![key("old", KEY, Some(NOW))]);
    let refused = outcome_at(&scheme, &signed(BODY), Timestamp(NOW.0 + 1));
    assert_eq!(refused, Err(SignatureRefusal::NoUsableKey));
}

#[test]
fn an_empty_or_short_key_can_not_be_made() {
    let fault = |bytes: &[u8]| -> Option<KeyFault> {
        Key::<HmacSha256>::new(KeyId::new("k"), bytes, None).err()
    };
    assert_eq!(fault(b""), Some(KeyFault::Empty));
    assert_eq!(fault(b"x"), Some(KeyFault::Short { bytes: 1 }));
    assert_eq!(
        fault(&[b'x'; MIN_KEY_BYTES - 1]),
        Some(KeyFault::Short { bytes: 15 })
    );
    assert_eq!(fault(&[b'x'; MIN_KEY_BYTES]), None);
}

#[test]
fn a_keyring_holds_one_to_four_keys() {
    let ring = |count| Keyring::new(vec![key("k", KEY, None); count]).is_some();
    assert_eq!(MAX_KEYS, 4);
    assert_eq!([0, 1, 4, 5].map(ring), [false, true, true, false]);
}

// ── budgets ──

#[test]
fn a_header_of_four_kibibytes_is_read_and_one_byte_more_is_not() {
    assert_eq!(MAX_HEADER_BYTES, 4096);
    let header = signed(BODY);
    let padded = |bytes: usize| format!("{header},x={}", "y".repeat(bytes - header.len() - 3));
    assert_eq!(padded(4096).len(), 4096);
    assert_eq!(outcome(&scheme(), &padded(4096)), fresh("first"));
    assert_eq!(outcome(&scheme(), &padded(4097)), MALFORMED);
}

#[test]
fn eight_signatures_are_compared_and_a_ninth_is_too_many() {
    assert_eq!(MAX_SIGNATURES, 8);
    let good = sign(KEY, T, BODY);
    let other = sign("a-key-that-is-not-configured", T, BODY);
    let header =
        |others: usize| format!("t={T}{},v1={good}", format!(",v1={other}").repeat(others));
    assert_eq!(outcome(&scheme(), &header(7)), fresh("first"));
    assert_eq!(outcome(&scheme(), &header(8)), MALFORMED);
    // Those that can't match count as well.
    let header = format!("t={T}{},v1={good}", ",v1=abc".repeat(8));
    assert_eq!(outcome(&scheme(), &header), MALFORMED);
}

thread_local! {
    static TAGS: Cell<usize> = const { Cell::new(0) };
    static KEYED: Cell<usize> = const { Cell::new(0) };
}

/// Counts what is asked of the hash.
#[derive(Clone, Debug)]
struct Counting(HmacSha256);

impl Mac for Counting {
    fn new(key: &[u8]) -> Option<Self> {
        KEYED.set(KEYED.get() + 1);
        HmacSha256::new(key).map(Self)
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        TAGS.set(TAGS.get() + 1);
        self.0.tag(parts)
    }
}

#[test]
fn each_hash_is_computed_once_per_key_however_many_signatures_there_are() {
    let keys = ["one", "two", "three", "four"].map(|id| {
        let bytes = format!("{id}-{KEY}");
        Key::<Counting>::new(KeyId::new(id), bytes.as_bytes(), None).unwrap()
    });
    let expired = Key::<Counting>::new(KeyId::new("old"), KEY.as_bytes(), Some(NOW)).unwrap();
    let tags = |keys: Vec<Key<Counting>>, header: &str| {
        let scheme = TimestampedHmac {
            keys: Keyring::new(keys).unwrap(),
            tolerance: Duration::from_secs(300),
            stale: Stale::Refuse,
        };
        let before = TAGS.replace(0);
        assert_eq!(before, 0);
        let now = Timestamp(NOW.0 + 1);
        let by = scheme
            .authenticate(Some(header), RawBody::new(BODY), now)
            .map(|verified| verified.proof().key.as_str().to_owned());
        (by, TAGS.take())
    };
    let other = sign("a-key-that-is-not-configured", T, BODY);
    let eight = format!("t={T}{}", format!(",v1={other}").repeat(8));
    let mismatch = || Err(SignatureRefusal::Mismatch);
    assert_eq!(tags(keys.to_vec(), &eight), (mismatch(), 4));
    assert_eq!(tags(vec![keys[0].clone()], &eight), (mismatch(), 1));
    // It ends with the key that matches, and a key that has expired costs nothing.
    let third = sign(&format!("three-{KEY}"), T, BODY);
    let header = format!("t={T},v1={other},v1={third}");
    assert_eq!(tags(keys.to_vec(), &header), (Ok("three".to_owned()), 3));
    assert_eq!(
        tags(vec![expired.clone(), keys[2].clone()], &header),
        (Ok("three".to_owned()), 1)
    );
    // What isn't of the form costs nothing either.
    for header in [
        format!("t={T},t={T},v1={third}"),
        format!("t={T}{}", format!(",v1={other}").repeat(9)),
        "x".repeat(MAX_HEADER_BYTES + 1),
    ] {
        let refused = Err(SignatureRefusal::Malformed);
        assert_eq!(tags(keys.to_vec(), &header), (refused, 0), "{header}");
    }
    // And no key is hashed again once it is made.
    assert_eq!(KEYED.get(), 5);
}

// ── what the sender is told ──

#[test]
fn each_refusal_has_its_code_and_the_skew_is_in_the_log_only() {
    let gateway = gateway();
    let told = |header: Option<&str>, now| {
        let (answer, record) = answer(&gateway, header, BODY, now);
        (
            answer.status,
            answer.body,
            record.skew_seconds,
            record.key_id,
        )
    };
    let code = |code: &str| format!(r#"{{"code":"{code}"}}"#);
    assert_eq!(
        told(None, NOW),
        (401, code("signature_missing"), None, None)
    );
    assert_eq!(
        told(Some("t=1"), NOW),
        (401, code("signature_malformed"), None, None)
    );
    let other = format!("t=1,v1={}", sign("a-key-that-is-not-configured", "1", BODY));
    assert_eq!(
        told(Some(&other), NOW),
        (401, code("signature_mismatch"), None, None)
    );
    for skew in [-301, 301] {
        assert_eq!(
            told(Some(&signed(BODY)), now_plus(skew)),
            (
                401,
                code("timestamp_out_of_tolerance"),
                Some(skew),
                Some("first".to_owned())
            )
        );
    }
}

#[test]
fn a_source_with_expired_keys_answers_as_a_misconfigured_one() {
    let mut vars = crate::support::vars();
    vars["SOURCE_OSIGU"]["keys"][0]["not_after"] = "2026-06-25T14:22:11Z".into();
    let gateway = crate::support::gateway_of(&vars);
    let sent = body("dispensing_completed");
    let header = signed(&sent);
    assert!(matches!(
        begin(&gateway, Some(&header), &sent, NOW),
        rxgate::effect::Effect::Ask { .. }
    ));
    let (answer, record) = answer(&gateway, Some(&header), &sent, Timestamp(NOW.0 + 1));
    assert_eq!((answer.status, record.code), (503, "source_misconfigured"));
}

// ── properties ──

/// One element of a generated header.
#[derive(Clone, Debug)]
enum Element {
    /// `t` with this text.
    Time(String),
    /// A `v1` over this element's text, by the key or another.
    Signature { over: String, by: &'static str },
    /// Anything else, which has no say.
    Other(String),
}

impl Element {
    fn write(&self) -> String {
        match self {
            Self::Time(text) => format!("t={text}"),
            Self::Signature { over, by } => format!("v1={}", sign(by, over, BODY)),
            Self::Other(text) => text.clone(),
        }
    }
}

fn time_text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(T.to_owned()),
        1 => (NOW.seconds() - 310..NOW.seconds() + 310).prop_map(|t| t.to_string()),
        1 => "[0-9 +.ex-]{0,14}",
    ]
}

fn element() -> impl Strategy<Value = Element> {
    let by = prop_oneof![3 => Just(KEY), 1 => Just("a-key-that-is-not-configured")];
    prop_oneof![
        2 => time_text().prop_map(Element::Time),
        4 => (time_text(), by).prop_map(|(over, by)| Element::Signature { over, by }),
        1 => "[a-su-z0-9]{0,3}=?[0-9a-f]{0,66}"
            .prop_filter("is no v1", |text| !text.starts_with("v1="))
            .prop_map(Element::Other),
    ]
}

/// The rule of senders.md, written down once more: one time in plain decimal, at most eight signatures, one of them by the key over that very text, and a clock
/// difference of at most 300 s.
fn model(elements: &[Element]) -> bool {
    let times: Vec<&String> = elements
        .iter()
        .filter_map(|e| match e {
            Element::Time(text) => Some(text),
            _ => None,
        })
        .collect();
    let [time] = times[..] else { return false };
    let plain = !time.is_empty()
        && time.chars().all(|c| c.is_ascii_digit())
        && (time == "0" || !time.starts_with('0'))
        && time.len() <= 11;
    let signatures: Vec<bool> = elements
        .iter()
        .filter_map(|e| match e {
            Element::Signature { over, by } => Some(over == time && *by == KEY),
            _ => None,
        })
        .collect();
    plain
        && signatures.len() <= 8
        && signatures.contains(&true)
        && (NOW.seconds() - time.parse::<i64>().unwrap()).abs() <= 300
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_whatsoever_makes_the_parser_panic_or_verify(header in any::<String>()) {
        prop_assert!(matches!(
            outcome(&scheme(), &header),
            Err(SignatureRefusal::Malformed | SignatureRefusal::Mismatch)
        ));
    }

    #[test]
    fn no_header_near_the_form_makes_the_parser_panic_or_verify(
        header in "([tv1]{1,2}=[0-9a-fA-F é ]{0,70}[, ]{0,2}){0,12}"
    ) {
        prop_assert!(matches!(
            outcome(&scheme(), &header),
            Err(SignatureRefusal::Malformed | SignatureRefusal::Mismatch)
        ));
    }

    #[test]
    fn a_header_verifies_if_and_only_if_the_model_says_so(
        elements in prop::collection::vec(element(), 0..12)
    ) {
        let header: Vec<String> = elements.iter().map(Element::write).collect();
        let header = header.join(",");
        prop_assert_eq!(outcome(&scheme(), &header).is_ok(), model(&elements), "{}", header);
    }

    #[test]
    fn a_changed_byte_of_the_body_never_verifies(
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut sent = body("dispensing_completed");
        let header = signed(&sent);
        let place = place.index(sent.len());
        sent[place] ^= change;
        prop_assert_eq!(of_body(&scheme(), Some(&header), &sent, NOW), MISMATCH);
    }

    #[test]
    fn a_body_that_lost_or_gained_bytes_never_verifies(
        cut in any::<prop::sample::Index>(),
        more in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let sent = body("dispensing_completed");
        let header = signed(&sent);
        let shorter = &sent[..cut.index(sent.len())];
        prop_assert_eq!(of_body(&scheme(), Some(&header), shorter, NOW), MISMATCH);
        let longer = [&sent[..], &more].concat();
        prop_assert_eq!(of_body(&scheme(), Some(&header), &longer, NOW), MISMATCH);
    }

    #[test]
    fn a_changed_time_never_verifies(t in NOW.seconds() - 300..=NOW.seconds() + 300) {
        prop_assume!(t != NOW.seconds());
        let header = format!("t={t},v1={}", sign(KEY, T, BODY));
        prop_assert_eq!(outcome(&scheme(), &header), MISMATCH);
    }

    #[test]
    fn a_changed_signature_never_verifies(place in 0_usize..32, change in 1_u8..) {
        let mut tag = unhex(&sign(KEY, T, BODY));
        tag[place] ^= change;
        prop_assert_eq!(outcome(&scheme(), &format!("t={T},v1={}", hex(&tag))), MISMATCH);
    }

    #[test]
    fn a_changed_byte_of_the_header_never_verifies_but_for_the_case_of_the_hex(
        place in any::<prop::sample::Index>(),
        by in 0x20_u8..0x7f,
    ) {
        let good = signed(BODY);
        let mut header = good.clone().into_bytes();
        let place = place.index(header.len());
        header[place] = by;
        let header = String::from_utf8(header).unwrap();
        prop_assume!(!header.eq_ignore_ascii_case(&good));
        prop_assert!(matches!(
            outcome(&scheme(), &header),
            Err(SignatureRefusal::Malformed | SignatureRefusal::Mismatch)
        ), "{}", header);
    }
}

use std::time::Duration;

use hmac::Hmac;
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha512;

use super::algorithm::{Ed25519Key, HmacKey, Verifier};
use super::*;
use crate::auth::{Authentication, HmacSha256};
use crate::provider::preset::{PRESETS, preset};

fn cases(json: &'static str) -> Vec<Value> {
    let file: Value = serde_json::from_str(json).unwrap();
    assert!(file["provenance"].is_string());
    file["cases"].as_array().unwrap().clone()
}

// ── published vectors of the algorithms ──

/// Every case of a suite: a key makes the signature if, and only if, the suite says so. A tag that is cut short is never taken.
fn suite<K: Verifier>(json: &'static str, keyed: impl Fn(&[u8]) -> Option<K>, count: usize) {
    let cases = cases(json);
    assert_eq!(cases.len(), count);
    for case in cases {
        let bytes = |name: &str| encoding::decode_hex(case[name].as_str().unwrap()).unwrap();
        let decoded = Encoding::Hex.decode(case["signature"].as_str().unwrap(), K::SIGNATURE_BYTES);
        let mut candidates = Candidates::new(K::SIGNATURE_BYTES);
        if let Some(bytes) = decoded {
            candidates.push(bytes);
        }
        let message = bytes("message");
        let (one, other) = message.split_at(message.len() / 3);
        let made = keyed(&bytes("key")).is_some_and(|key| key.made_any(&[one, other], &candidates));
        let cut_short = bytes("signature").len() != K::SIGNATURE_BYTES;
        assert_eq!(made, case["valid"] == true && !cut_short, "{}", case["id"]);
    }
}

macro_rules! vectors {
    ($($name:ident: $file:literal, $keyed:expr, $count:literal;)*) => {$(
        #[test]
        fn $name() {
            suite(include_str!(concat!("../../../tests/fixtures/vectors/", $file)), $keyed, $count);
        }
    )*};
}

vectors! {
    rfc_2202_holds: "rfc2202_sha1.json", HmacKey::<Hmac<Sha1>>::of_any_length, 7;
    rfc_4231_holds_for_sha_256: "rfc4231_sha256.json", <HmacSha256 as crate::auth::Mac>::new, 7;
    rfc_4231_holds_for_sha_512: "rfc4231_sha512.json", HmacKey::<Hmac<Sha512>>::of_any_length, 6;
    wycheproof_holds_for_hmac_sha_1: "wycheproof_hmac_sha1.json", HmacKey::<Hmac<Sha1>>::of_any_length, 170;
    wycheproof_holds_for_hmac_sha_256: "wycheproof_hmac_sha256.json", <HmacSha256 as crate::auth::Mac>::new, 174;
    wycheproof_holds_for_hmac_sha_512: "wycheproof_hmac_sha512.json", HmacKey::<Hmac<Sha512>>::of_any_length, 174;
    wycheproof_holds_for_ed25519: "wycheproof_ed25519.json", |key: &[u8]| Ed25519Key::new(key).ok(), 151;
}

// ── requests ──

const TOLERANCE: Duration = Duration::from_secs(300);

/// A request, with what authenticates it.
#[derive(Clone)]
struct Sent {
    scheme: Scheme,
    at: i64,
    url: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn form_of(case: &Value) -> Form {
    let mut settings = match case["preset"].as_str() {
        Some(name) => preset(name).unwrap().scheme,
        None => Settings::default(),
    };
    for (name, text) in case["scheme"].as_object().into_iter().flatten() {
        *settings.slot(name).unwrap() = text.as_str();
    }
    settings.compile().unwrap()
}

fn key(text: &str) -> KeyText<'_> {
    KeyText {
        id: KeyId::new("first"),
        not_after: None,
        text,
    }
}

impl Sent {
    fn of(case: &Value) -> Self {
        let keys = [
            key("another-key-0123456789"),
            key(case["key"].as_str().unwrap()),
        ];
        let form = form_of(case);
        let usable = match form.algorithm {
            Algorithm::Ed25519 | Algorithm::Basic => &keys[1..],
            _ if form.key_encoding != KeyEncoding::Text => &keys[1..],
            _ => &keys[..],
        };
        let mut scheme = Scheme::new(form, usable, TOLERANCE, Stale::Refuse).unwrap();
        if let Some(text) = case["api_key"].as_str() {
            scheme = scheme.with_api_key(text).unwrap();
        }
        let headers = case["headers"].as_object().unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
        Self {
            scheme,
            at: case["at"].as_i64().unwrap(),
            url: case["url"].as_str().map(str::to_owned),
            headers: headers.collect(),
            body: case["body"].as_str().unwrap().as_bytes().to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    fn set(&self, name: &str, value: Option<&str>) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(n, _)| n != name);
        if let Some(value) = value {
            changed.headers.push((name.to_owned(), value.to_owned()));
        }
        changed
    }

    fn received(&self, at: i64) -> Result<Proof, SignatureRefusal> {
        let more: Vec<Option<&str>> = self
            .scheme
            .more_headers()
            .map(|name| self.header(name))
            .collect();
        let head = Head {
            path: None,
            address: None,
            method: "POST",
            url: self.url.as_deref().filter(|_| self.scheme.reads_url()),
            signature: self.scheme.signature_header().and_then(|n| self.header(n)),
            more: &more,
        };
        let now = Timestamp(at * 1000);
        let verified = self
            .scheme
            .authenticate(head, RawBody::new(&self.body), now)?;
        assert_eq!(verified.body(), self.body);
        Ok(verified.proof().clone())
    }

    #[track_caller]
    fn refused(&self, refusal: &SignatureRefusal) {
        assert_eq!(self.received(self.at).as_ref(), Err(refusal));
    }
}

fn golden() -> Vec<Value> {
    cases(include_str!("../../../tests/fixtures/schemes/golden.json"))
}

use SignatureRefusal::{Malformed, Mismatch, Missing};

#[test]
fn what_senders_publish_holds() {
    for case in cases(include_str!("../../../tests/fixtures/vectors/senders.json")) {
        let sent = Sent::of(&case);
        sent.received(sent.at).unwrap();
        let mut changed = sent.clone();
        changed.body[0] ^= 1;
        changed.refused(&Mismatch);
    }
}

#[test]
fn each_preset_has_a_published_vector_or_says_that_there_is_none() {
    let json = include_str!("../../../tests/fixtures/vectors/senders.json");
    let file: Value = serde_json::from_str(json).unwrap();
    let none: Vec<&str> = file["none published"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let readme = include_str!("../../../README.md");
    for preset in PRESETS {
        let name = preset.name;
        let published = cases(json).iter().any(|case| case["preset"] == name);
        assert_ne!(published, none.contains(&name), "{name}");
        // README's table says the same, and what can be replayed: what has no time that is signed.
        let row = format!("| `{name}` | ");
        let row = readme.lines().find(|line| line.starts_with(&row)).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        assert_eq!(cells[5].trim() == "none", !published, "{name}: {cells:?}");
        let refused = cells[4].starts_with("refused");
        assert!(refused || cells[4] == "**delivered as new**", "{name}");
        assert_eq!(
            refused,
            preset.scheme.compile().unwrap().has_time(),
            "{name}"
        );
    }
}

#[test]
fn each_preset_has_a_golden_request_and_a_source() {
    for preset in PRESETS {
        let golden = golden();
        assert!(
            golden.iter().any(|case| case["preset"] == preset.name),
            "{}",
            preset.name
        );
        assert!(!preset.source.is_empty());
    }
}

#[test]
fn a_golden_request_is_authentic_and_says_what_it_covers() {
    for case in golden() {
        let sent = Sent::of(&case);
        let proof = sent
            .received(sent.at)
            .unwrap_or_else(|e| panic!("{}: {e:?}", case["name"]));
        assert_eq!(proof.strength.name(), case["strength"], "{}", case["name"]);
        assert_eq!(proof.signed_id.as_deref(), case["signed_id"].as_str());
        let timed = sent.scheme.form().has_time();
        assert_eq!(proof.signed_at, timed.then_some(Timestamp(sent.at * 1000)));
        assert_eq!(proof.stale_by, None);
    }
}

#[test]
fn each_tampering_is_refused_with_its_code() {
    for case in golden() {
        let sent = Sent::of(&case);
        let scheme = &sent.scheme;
        let signature = scheme.signature_header().unwrap();
        let value = sent.header(signature).unwrap().to_owned();
        let set = |value: Option<&str>| sent.set(signature, value);
        set(None).refused(&Missing);
        set(Some(&"x".repeat(MAX_HEADER_BYTES + 1))).refused(&Malformed);
        if !scheme.form().algorithm().signs() {
            let other = format!("{value}x");
            assert!(set(Some(&other)).received(sent.at).is_err());
            continue;
        }
        set(Some("")).refused(&Malformed);
        set(Some("nonsense")).refused(&Malformed);
        let cut = value.trim_end_matches(",v0=00");
        set(Some(&cut[..cut.len() - 4])).refused(&Malformed);

        for place in 0..sent.body.len() {
            let mut changed = sent.clone();
            changed.body[place] ^= 0x20;
            changed.refused(&Mismatch);
        }
        for changed in [&b""[..], b"{}"] {
            let mut sent = sent.clone();
            sent.body = changed.to_vec();
            sent.refused(&Mismatch);
        }
        if scheme.reads_url() {
            let mut changed = sent.clone();
            changed.url = Some("https://hooks.clinic.example/hooks/sender?tenant=8".to_owned());
            changed.refused(&Mismatch);
        }
        if let Some(name) = scheme.form().id_header() {
            sent.set(name, Some("msg_2")).refused(&Mismatch);
            sent.set(name, Some("msg.1")).refused(&Malformed);
            sent.set(name, Some("")).refused(&Malformed);
            sent.set(name, None).refused(&Malformed);
        }
        if let Some(name) = scheme.form().time_header() {
            let time = sent.header(name).unwrap();
            let later = time.replacen('5', "6", 1);
            sent.set(name, Some(&later)).refused(&Mismatch);
            for text in [
                "",
                "soon",
                "1e9",
                "0x10",
                "-1",
                "+1",
                " 1",
                "01",
                "179500000000000",
            ] {
                sent.set(name, Some(text)).refused(&Malformed);
            }
            sent.set(name, None).refused(&Malformed);
        }
        if case["api_key"].is_string() {
            sent.set("x-api-key", Some("api-key-0123456780"))
                .refused(&Mismatch);
            sent.set("x-api-key", None).refused(&Mismatch);
        }
        if scheme.form().has_time() {
            for skew in [-300, 300] {
                sent.received(sent.at + skew).unwrap();
            }
            for skew in [-301, 301] {
                let key = KeyId::new("first");
                let refusal = SignatureRefusal::TimestampOutOfTolerance { skew, key };
                assert_eq!(sent.received(sent.at + skew), Err(refusal));
                // Nobody else learns of the clock.
                let mut forged = sent.clone();
                forged.body[0] ^= 1;
                assert_eq!(forged.received(sent.at + skew), Err(Mismatch));
            }
        } else {
            sent.received(sent.at + 1_000_000_000).unwrap();
        }
    }
}

#[test]
fn the_two_times_of_dvs_have_to_be_the_same() {
    let all = golden();
    let sent = Sent::of(
        all.iter()
            .find(|case| case["preset"] == "osigu-dvs")
            .unwrap(),
    );
    sent.set("x-dvs-signature-timestamp", Some("1795000001"))
        .refused(&Malformed);
    sent.set("x-dvs-signature-timestamp", None)
        .refused(&Malformed);
}

#[test]
fn a_list_takes_several_signatures_and_no_more_than_its_limit() {
    let all = golden();
    let of = |name: &str| Sent::of(all.iter().find(|case| case["preset"] == name).unwrap());
    let stripe = of("stripe");
    let value = stripe.header("stripe-signature").unwrap().to_owned();
    let wrong = format!("v1={}", "0".repeat(64));
    let many = |count: usize, value: &str| format!("{}{value}", format!("{wrong},").repeat(count));
    stripe
        .set("stripe-signature", Some(&many(7, &value)))
        .received(stripe.at)
        .unwrap();
    stripe
        .set("stripe-signature", Some(&many(8, &value)))
        .refused(&Malformed);
    // The right one twice is no less authentic.
    stripe
        .set(
            "stripe-signature",
            Some(&format!("{value},{}", &value[13..])),
        )
        .received(stripe.at)
        .unwrap();
    stripe
        .set("stripe-signature", Some(&value.replace(",v1", ", v1")))
        .received(stripe.at)
        .unwrap();
    stripe
        .set("stripe-signature", Some(&format!("{value},t=1")))
        .refused(&Malformed);
    stripe
        .set("stripe-signature", Some(&value[13..]))
        .refused(&Malformed);
    stripe
        .set("stripe-signature", Some(&wrong))
        .refused(&Malformed);
    stripe
        .set("stripe-signature", Some(&format!("t=1795000000,{wrong}")))
        .refused(&Mismatch);

    let asymmetric = of("standard-webhooks-v1a");
    let name = "webhook-signature";
    let value = asymmetric.header(name).unwrap().to_owned();
    let other = "v1a,AAAA";
    asymmetric
        .set(name, Some(&format!("{other} {value}")))
        .received(asymmetric.at)
        .unwrap();
    asymmetric
        .set(name, Some(&format!("{other} {other} {value}")))
        .refused(&Malformed);
}

#[test]
fn a_key_past_its_end_is_not_tried() {
    let all = golden();
    let case = all.iter().find(|case| case["preset"] == "github").unwrap();
    let mut sent = Sent::of(case);
    let mut text = key(case["key"].as_str().unwrap());
    text.not_after = Some(Timestamp(sent.at * 1000));
    sent.scheme = Scheme::new(form_of(case), &[text], TOLERANCE, Stale::Refuse).unwrap();
    sent.received(sent.at).unwrap();
    assert_eq!(
        sent.received(sent.at + 1),
        Err(SignatureRefusal::NoUsableKey)
    );
    assert!(!sent.scheme.any_usable(Timestamp(sent.at * 1000 + 1)));
}

#[test]
fn a_stale_request_is_taken_where_the_source_says_so_and_never_one_from_ahead() {
    let all = golden();
    for name in ["stripe", "slack"] {
        let case = all.iter().find(|case| case["preset"] == name).unwrap();
        let mut sent = Sent::of(case);
        let keys = [key(case["key"].as_str().unwrap())];
        let horizon = Duration::from_secs(3600);
        let stale = Stale::Accept { horizon };
        sent.scheme = Scheme::new(form_of(case), &keys, TOLERANCE, stale).unwrap();
        assert_eq!(sent.received(sent.at + 3600).unwrap().stale_by, Some(3600));
        assert!(sent.received(sent.at + 3601).is_err());
        assert!(sent.received(sent.at - 301).is_err());
    }
}

#[test]
fn a_sender_that_proves_nothing_is_taken_by_its_strength() {
    let settings = Settings {
        algorithm: Some("none"),
        ..Settings::default()
    };
    let form = settings.compile().unwrap();
    let scheme = Scheme::new(form, &[], TOLERANCE, Stale::Refuse).unwrap();
    assert_eq!(scheme.signature_header(), None);
    let head = Head {
        path: None,
        address: None,
        method: "POST",
        url: None,
        signature: None,
        more: &[],
    };
    let verified = scheme
        .authenticate(head, RawBody::new(b"{}"), Timestamp(0))
        .unwrap();
    assert_eq!(verified.proof().strength, Strength::None);
}

// ── settings ──

#[track_caller]
fn faults(settings: &Value, expected: &[(&str, &str)]) {
    let mut of = Settings::default();
    for (name, text) in settings.as_object().unwrap() {
        *of.slot(name).unwrap() = text.as_str();
    }
    let faults = of.compile().map(|_| ()).unwrap_err();
    let found: Vec<(&str, &str)> = faults
        .iter()
        .map(|f| (f.setting, f.problem.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn each_fault_of_a_form_is_named_all_at_once() {
    use serde_json::json;
    faults(&json!({}), &[("algorithm", "is missing")]);
    faults(
        &json!({"algorithm": "rsa"}),
        &[(
            "algorithm",
            "isn't one of hmac-sha256, hmac-sha1, hmac-sha512, ed25519, token, basic, none",
        )],
    );
    faults(
        &json!({"algorithm": "hmac-sha256", "encoding": "base32", "separator": "ab", "signed": "{body", "key_encoding": "whpk", "timestamp_unit": "days"}),
        &[
            ("header", "is missing"),
            (
                "timestamp_unit",
                "needs timestamp_header or timestamp_prefix",
            ),
            ("timestamp_unit", "isn't one of seconds, milliseconds"),
            (
                "separator",
                "isn't one character that is neither letter nor digit",
            ),
            ("encoding", "isn't one of hex, base64, base64url"),
            ("key_encoding", "isn't one of text, hex, base64, whsec"),
            (
                "signed",
                "has a brace that isn't around body, timestamp, id, url or method ({{ and }} stand for braces)",
            ),
        ],
    );
    faults(
        &json!({"algorithm": "hmac-sha256", "header": "x-sig", "id_header": "x-id", "timestamp_header": "x-sig"}),
        &[
            (
                "timestamp_header",
                "is the header of another setting as well",
            ),
            ("id_header", "isn't covered: signed has no {id}"),
            (
                "timestamp_header",
                "isn't covered: signed has no {timestamp}",
            ),
        ],
    );
    faults(
        &json!({"algorithm": "hmac-sha256", "header": "x sig", "signed": "{id}.{timestamp}.{body}"}),
        &[
            ("header", "isn't the name of a header"),
            ("signed", "covers {id}: that needs id_header"),
            (
                "signed",
                "covers {timestamp}: that needs timestamp_header or timestamp_prefix",
            ),
        ],
    );
    faults(
        &json!({"algorithm": "hmac-sha256", "header": "x-sig", "timestamp_prefix": "t=", "signed": "{timestamp}.{body}"}),
        &[("timestamp_prefix", "needs a separator")],
    );
    faults(
        &json!({"algorithm": "token", "signed": "{body}", "encoding": "hex"}),
        &[
            ("encoding", "doesn't go with algorithm = \"token\""),
            ("signed", "doesn't go with algorithm = \"token\""),
        ],
    );
}

#[test]
fn a_key_that_isnt_one_of_its_algorithm_says_why() {
    let problem = |algorithm: &str, encoding: &str, text: &str| {
        let settings = Settings {
            algorithm: Some(algorithm),
            header: (algorithm != "basic").then_some("x-sig"),
            key_encoding: (!encoding.is_empty()).then_some(encoding),
            ..Settings::default()
        };
        let form = settings.compile().unwrap();
        let scheme = Scheme::new(form, &[key(text)], TOLERANCE, Stale::Refuse);
        scheme.map(|_| ()).unwrap_err()[0].1
    };
    assert_eq!(
        problem("hmac-sha256", "", "short"),
        KeyProblem::Short { bytes: 5 }
    );
    assert_eq!(problem("hmac-sha1", "hex", "0g"), KeyProblem::NotHex);
    assert_eq!(problem("hmac-sha1", "hex", "012"), KeyProblem::NotHex);
    assert_eq!(problem("hmac-sha512", "base64", "?"), KeyProblem::NotBase64);
    assert_eq!(
        problem("hmac-sha256", "whsec", "AAAA"),
        KeyProblem::Prefix("whsec_")
    );
    assert_eq!(
        problem("hmac-sha256", "whsec", "whsec_"),
        KeyProblem::Short { bytes: 0 }
    );
    assert_eq!(
        problem("ed25519", "whpk", "whsec_AAAA"),
        KeyProblem::Prefix("whpk_")
    );
    assert_eq!(problem("ed25519", "", "AAAA"), KeyProblem::NotAPoint);
    // The neutral point: with it, one signature fits every message.
    let neutral = format!("01{}", "00".repeat(31));
    assert_eq!(problem("ed25519", "hex", &neutral), KeyProblem::NotAPoint);
    assert_eq!(
        problem("token", "", "short"),
        KeyProblem::Short { bytes: 5 }
    );
    assert_eq!(
        problem("basic", "", "password-without-user"),
        KeyProblem::NotUserAndPassword
    );
}

#[test]
fn nothing_of_a_key_shows_in_debug() {
    for case in golden() {
        let debug = format!("{:?}", Sent::of(&case).scheme);
        assert!(!debug.contains(case["key"].as_str().unwrap()), "{debug}");
        let has_api_key = case["api_key"].is_string();
        assert_eq!(debug.contains("api_key: Some(Token(..))"), has_api_key);
        assert!(debug.contains("(\"first\", None)"), "{debug}");
    }
    let path = key("a-token-in-a-path-0123456789");
    let door = Door::new(&[path], None, Vec::new()).unwrap().unwrap();
    assert_eq!(
        format!("{door:?}"),
        r#"Door { paths: Some(["first"]), header: None, networks: [] }"#
    );
}

// ── what a source is asked ──

fn preset_of(name: &str) -> Sent {
    let all = golden();
    Sent::of(all.iter().find(|case| case["preset"] == name).unwrap())
}

fn scheme_of(settings: Settings<'_>, keys: &[KeyText<'_>]) -> Scheme {
    let form = settings.compile().unwrap();
    Scheme::new(form, keys, TOLERANCE, Stale::Refuse).unwrap()
}

/// What is passed on of a request, by name.
fn passed_on(sent: &Sent) -> Vec<String> {
    let scheme = &sent.scheme;
    let authentication = Authentication::Configured(Box::new(scheme.clone()));
    let more = authentication.more_headers().map(|n| sent.header(n));
    let more: Vec<Option<&str>> = more.collect();
    let head = Head {
        path: None,
        address: None,
        method: "POST",
        url: None,
        signature: scheme.signature_header().and_then(|n| sent.header(n)),
        more: &more,
    };
    let headers = authentication.to_pass_on(&head);
    for (name, value) in &headers {
        assert_eq!(sent.header(name), Some(*value));
    }
    headers.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn an_origin_gets_the_headers_that_prove_something_and_never_a_secret() {
    let told = |sent: &Sent| {
        sent.scheme
            .form()
            .headers_to_pass_on()
            .map(str::to_owned)
            .collect()
    };
    for (name, headers) in [
        ("github", &["x-hub-signature-256"][..]),
        ("slack", &["x-slack-signature", "x-slack-request-timestamp"]),
        ("osigu-prescription-notifications", &["x-signature"]),
    ] {
        let sent = preset_of(name);
        assert_eq!(passed_on(&sent), headers, "{name}");
        let told: Vec<String> = told(&sent);
        assert_eq!(told, headers, "{name}");
        let has_api_key = name == "osigu-prescription-notifications";
        assert_eq!(sent.scheme.form().has_api_key(), has_api_key);
    }
    for case in golden() {
        let sent = Sent::of(&case);
        if case["strength"] == "token" {
            assert_eq!(passed_on(&sent), [""; 0], "{}", case["name"]);
            let told: Vec<String> = told(&sent);
            assert_eq!(told, [""; 0], "{}", case["name"]);
        }
    }
}

#[test]
fn the_url_is_read_where_the_signature_covers_it_and_nowhere_else() {
    for case in golden() {
        let covers = case["scheme"]["signed"].as_str();
        let covers = covers.is_some_and(|signed| signed.contains("{url}"));
        let scheme = Sent::of(&case).scheme;
        let authentication = Authentication::Configured(Box::new(scheme));
        assert_eq!(authentication.reads_url(), covers, "{}", case["name"]);
    }
}

#[cfg(feature = "js")]
#[test]
fn a_request_that_we_sign_is_authentic_to_us() {
    for case in golden() {
        let mut sent = Sent::of(&case);
        let form = sent.scheme.form().clone();
        // The case has the public key alone. This is its private one, of the script that made it.
        let seed = "07".repeat(32);
        let is_pair = form.algorithm() == Algorithm::Ed25519;
        let api_key = case["api_key"].as_str();
        let signer = Signer {
            key: if is_pair {
                &seed
            } else {
                case["key"].as_str().unwrap()
            },
            api_key,
            id: "msg_1",
            at: Timestamp(sent.at * 1000),
            method: "POST",
            url: sent.url.as_deref(),
        };
        let headers = form.sign(&signer, &sent.body).unwrap();
        let read = form.headers().count();
        assert_eq!(headers.len(), read, "{}", case["name"]);
        let shown = format!("{signer:?}");
        assert_eq!(
            shown,
            "Signer { id: \"msg_1\", at: Timestamp(1795000000000), .. }"
        );
        sent.headers = headers;
        let proof = sent.received(sent.at).unwrap();
        assert_eq!(proof.key, KeyId::new("first"), "{}", case["name"]);
        if form.has_time() {
            assert_eq!(proof.signed_at, Some(Timestamp(sent.at * 1000)));
        }
        let mut changed = sent.clone();
        changed.body.push(b' ');
        let signs = case["strength"] == "signature";
        assert_eq!(changed.received(sent.at).is_err(), signs);
    }
}

#[cfg(feature = "js")]
#[test]
fn a_private_key_is_a_seed_or_a_pair_and_nothing_else() {
    let settings = Settings {
        algorithm: Some("ed25519"),
        header: Some("x-sig"),
        ..Settings::default()
    };
    let form = settings.compile().unwrap();
    let sign = |bytes: usize| {
        let key = "07".repeat(bytes);
        let signer = Signer {
            key: &key,
            api_key: None,
            id: "",
            at: Timestamp(0),
            method: "POST",
            url: None,
        };
        form.sign(&signer, b"{}")
    };
    assert_eq!(sign(64), sign(32));
    assert!(sign(32).is_ok());
    let problem = Err(SignProblem::Key(KeyProblem::NotAPoint));
    assert_eq!(sign(33), problem);
    assert_eq!(sign(16), problem);
}

#[cfg(feature = "js")]
#[test]
fn what_cant_be_signed_says_why() {
    let signer = Signer {
        key: "short",
        api_key: None,
        id: "two words",
        at: Timestamp(0),
        method: "POST",
        url: None,
    };
    let problem = |name: &str| {
        let form = preset_of(name).scheme.form().clone();
        form.sign(&signer, b"{}").unwrap_err().to_string()
    };
    assert_eq!(
        problem("svix"),
        "id: isn't 1 to 256 printable characters that the scheme can carry"
    );
    let settings = Settings {
        algorithm: Some("hmac-sha256"),
        header: Some("x-sig"),
        signed: Some("{url}{body}"),
        ..Settings::default()
    };
    let form = settings.compile().unwrap();
    assert_eq!(
        form.sign(&signer, b"{}").unwrap_err().to_string(),
        "url: is missing: the signature covers it"
    );
}

#[test]
fn a_key_of_sixteen_bytes_is_long_enough() {
    let settings = Settings {
        algorithm: Some("hmac-sha256"),
        header: Some("x-sig"),
        ..Settings::default()
    };
    scheme_of(settings, &[key("0123456789abcdef")]);
}

#[test]
fn an_unsigned_source_is_open_while_all_that_it_asks_for_has_a_key_that_holds() {
    let until = |text, at| KeyText {
        not_after: Some(Timestamp(at)),
        ..key(text)
    };
    let token = "a-token-in-a-path-0123456789";
    let header = |at| {
        let settings = Settings {
            algorithm: Some("token"),
            header: Some("x-token"),
            ..Settings::default()
        };
        scheme_of(settings, &[until("a-token-in-a-header-01234", at)])
    };
    let usable = |path: i64, head: i64, now: i64| {
        let paths = [until(token, path)];
        let door = Door::new(&paths, Some(header(head)), Vec::new());
        let source = Authentication::Unsigned(Box::new(door.unwrap().unwrap()));
        assert_eq!(source.signature_header(), Some("x-token"));
        source.any_usable(Timestamp(now))
    };
    assert!(usable(5, 5, 5));
    assert!(!usable(5, 9, 6));
    assert!(!usable(9, 5, 6));
    assert!(!usable(5, 5, 6));
    let network = Network::parse("203.0.113.0/24").unwrap();
    let door = Door::new(&[], None, vec![network]).unwrap().unwrap();
    let source = Authentication::Unsigned(Box::new(door));
    assert_eq!(source.signature_header(), None);
    assert!(source.any_usable(Timestamp(0)));
    assert!(source.allows(Some("203.0.113.9")));
    assert!(!source.allows(Some("203.0.114.9")));
    assert!(!source.allows(None));
    let signs = Authentication::Configured(Box::new(preset_of("github").scheme));
    assert!(signs.allows(None));
}

#[test]
fn a_keyring_of_each_algorithm_knows_whether_a_key_holds() {
    for case in golden() {
        let mut text = key(case["key"].as_str().unwrap());
        text.not_after = Some(Timestamp(5));
        let scheme = Scheme::new(form_of(&case), &[text], TOLERANCE, Stale::Refuse).unwrap();
        assert!(scheme.any_usable(Timestamp(5)), "{}", case["name"]);
        assert!(!scheme.any_usable(Timestamp(6)), "{}", case["name"]);
    }
}

#[test]
fn a_prefix_has_its_longest_length_and_a_separator_is_one_ascii_character() {
    use super::form::MAX_NAME_BYTES;
    let long = |bytes: usize| "p".repeat(bytes);
    let of = |name: &str, text: &str| {
        let mut settings = Settings {
            algorithm: Some("hmac-sha256"),
            header: Some("x-sig"),
            ..Settings::default()
        };
        *settings.slot(name).unwrap() = Some(text);
        settings.compile().map(|_| ()).is_ok()
    };
    assert!(of("prefix", &long(MAX_NAME_BYTES)));
    assert!(!of("prefix", &long(MAX_NAME_BYTES + 1)));
    assert!(of("separator", ";"));
    for wrong in ["é", "a", "7", ";;", ""] {
        assert!(!of("separator", wrong), "{wrong}");
    }
}

#[test]
fn what_covers_nothing_has_no_settings_of_what_is_covered() {
    for algorithm in ["basic", "none"] {
        let problem = format!("doesn't go with algorithm = \"{algorithm}\"");
        let settings = serde_json::json!({ "algorithm": algorithm, "prefix": "Bearer " });
        faults(&settings, &[("prefix", &problem)]);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_header_makes_it_panic_and_none_is_authentic(header in "(t=|v1=|v1,|v1a,|v0=|sha256=|Basic |[0-9a-f]{64}|[,; =]|\\PC){0,12}", time in "\\PC{0,12}", body in "\\PC{0,20}") {
            for case in golden() {
                let mut sent = Sent::of(&case);
                let name = sent.scheme.signature_header().unwrap().to_owned();
                sent = sent.set(&name, Some(&header));
                if let Some(clock) = sent.scheme.form().time_header().map(str::to_owned) {
                    sent = sent.set(&clock, Some(&time));
                }
                sent.body = body.clone().into_bytes();
                prop_assert!(sent.received(sent.at).is_err());
            }
        }
    }
}

#[test]
fn a_list_whose_elements_can_not_be_told_apart_is_a_fault() {
    use serde_json::{Value, json};
    let list = |more: &[(&str, &str)]| {
        let mut settings = json!({"algorithm": "hmac-sha256", "header": "x-sig", "separator": ","});
        for (name, text) in more {
            settings[name] = json!(text);
        }
        if settings.get("timestamp_prefix").is_some() {
            settings["signed"] = json!("{timestamp}.{body}");
        }
        settings
    };
    let sound = |settings: &Value| {
        let mut of = Settings::default();
        for (name, text) in settings.as_object().unwrap() {
            *of.slot(name).unwrap() = text.as_str();
        }
        assert_eq!(of.compile().map(|_| ()), Ok(()), "{settings}");
    };
    let written = "is a character of base64 as well";
    for separator in ["=", "+", "/"] {
        let settings = list(&[("encoding", "base64"), ("separator", separator)]);
        faults(&settings, &[("separator", written)]);
        sound(&list(&[("encoding", "hex"), ("separator", separator)]));
    }
    let settings = list(&[("encoding", "base64url"), ("separator", "-")]);
    faults(
        &settings,
        &[("separator", "is a character of base64url as well")],
    );
    faults(
        &list(&[("prefix", "v1,"), ("timestamp_prefix", "t,")]),
        &[
            ("prefix", "has the separator in it"),
            ("timestamp_prefix", "has the separator in it"),
        ],
    );
    sound(&list(&[("prefix", "v1,"), ("separator", " ")]));
    faults(
        &list(&[("prefix", " v1=")]),
        &[("prefix", "begins with a space")],
    );
    let both = "may be the beginning of a signature as well";
    // One signature in 256 begins with ae.
    for (prefix, clock) in [("v1=", "v1=ae"), ("v1=", "v"), ("v1=", "v1"), ("", "ae")] {
        let settings = list(&[("prefix", prefix), ("timestamp_prefix", clock)]);
        faults(&settings, &[("timestamp_prefix", both)]);
    }
    let same = "is the prefix of the signatures as well";
    faults(
        &list(&[("timestamp_prefix", "")]),
        &[("timestamp_prefix", same)],
    );
    sound(&list(&[("prefix", "v1="), ("timestamp_prefix", "t=")]));
    sound(&list(&[("prefix", "v1="), ("timestamp_prefix", "v1=t")]));
    sound(&list(&[("encoding", "base64"), ("timestamp_prefix", "t=")]));
    let settings = list(&[("encoding", "base64"), ("timestamp_prefix", "t")]);
    faults(&settings, &[("timestamp_prefix", both)]);
}

#[test]
fn every_setting_has_its_place() {
    for name in SETTINGS {
        let mut settings = Settings::default();
        *settings.slot(name).unwrap() = Some("x");
        assert_ne!(settings, Settings::default(), "{name}");
    }
    assert_eq!(Settings::default().slot("secret"), None);
}

#[cfg(feature = "js")]
#[test]
fn a_door_says_what_it_asks_for() {
    let path = key("a-token-in-a-path-0123456789");
    let door = Door::new(&[path], None, Vec::new()).unwrap().unwrap();
    assert!(door.has_path_tokens() && door.scheme().is_none());
    let settings = Settings {
        algorithm: Some("token"),
        header: Some("x-token"),
        ..Settings::default()
    };
    let header = scheme_of(settings, &[key("a-token-in-a-header-01234")]);
    let door = Door::new(&[], Some(header), Vec::new()).unwrap().unwrap();
    let scheme = door.scheme().unwrap();
    assert!(!door.has_path_tokens());
    assert_eq!(scheme.signature_header(), Some("x-token"));
}

//! Schemes of any settings: what compiles signs, its own signature holds, and no other does.

use arbitrary::{Arbitrary, Unstructured};
use rxgate::auth::scheme::{Form, Head, KeyText, Scheme, Settings, SignProblem, Signer};
use rxgate::auth::{KeyId, RawBody, SignatureRefusal, Stale};
use rxgate::time::Timestamp;
use std::time::Duration;

use crate::source::{KEY, NOW, URL, WHPK, WHSEC, WHSK};

/// The texts of the settings: mostly some that are known, now and then anything.
#[derive(Debug)]
struct Any {
    texts: Vec<Option<String>>,
    id: String,
    at: i64,
    body: Vec<u8>,
}

const KNOWN: [&[&str]; 13] = [
    &[
        "hmac-sha256",
        "hmac-sha1",
        "hmac-sha512",
        "ed25519",
        "token",
        "basic",
        "none",
    ],
    &["X-Sig", "authorization", "x-é", ""],
    &["v1=", "sha256=", "v1,", "", " "],
    &[",", " ", ";", ".", "|", "a", "😀"],
    &["hex", "base64", "base64url"],
    &[
        "{body}",
        "{timestamp}.{body}",
        "{id}.{timestamp}.{body}",
        "{method}{url}{body}",
        "v0:{timestamp}:{body}",
        "{{{id}}}{body}",
        "{timestamp}{body}{{",
        "{url} {id} {body}",
    ],
    &["X-At", "x-sig"],
    &["t=", "v1=", ""],
    &["seconds", "milliseconds"],
    &["X-At-2", "X-At"],
    &["X-Id", "X-Sig"],
    &["text", "hex", "base64", "whsec", "whpk"],
    &["X-Key", "X-Id"],
];

impl<'a> Arbitrary<'a> for Any {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut texts = Vec::new();
        for known in KNOWN {
            texts.push(match u.int_in_range(0..=7)? {
                0..=2 => None,
                7 => Some(String::arbitrary(u)?),
                _ => Some((*u.choose(known)?).to_owned()),
            });
        }
        let id = match u.int_in_range(0..=3)? {
            0 => String::arbitrary(u)?,
            1 => "msg.1|a:b_{c}".to_owned(),
            _ => "msg_1".to_owned(),
        };
        let at = if u.ratio(1, 4)? {
            i64::arbitrary(u)?
        } else {
            NOW.0
        };
        let body = u.bytes(u.len())?.to_vec();
        Ok(Self {
            texts,
            id,
            at,
            body,
        })
    }
}

/// The settings of a scheme, and what it is to sign.
pub fn schemes(data: &[u8]) {
    let Ok(any) = Any::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let mut settings = Settings::default();
    for (name, text) in rxgate::auth::scheme::SETTINGS.iter().zip(&any.texts) {
        *settings.slot(name).unwrap() = text.as_deref();
    }
    let form = match settings.compile() {
        Ok(form) => form,
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(rxgate::auth::scheme::SETTINGS.contains(&fault.setting));
            }
            return;
        }
    };
    assert_eq!(settings.compile().ok().as_ref(), Some(&form));
    let (key, private) = match (settings.algorithm, settings.key_encoding) {
        (Some("ed25519"), Some("whpk")) => (WHPK.to_owned(), WHSK),
        (Some("ed25519"), Some("hex")) => (
            "81ed9a9e2282693da88c346b2e50515016e0625792ead8b1c0e14847aef9c04d".to_owned(),
            WHSK,
        ),
        (Some("ed25519"), _) => (WHPK.replace("whpk_", ""), WHSK),
        (Some("basic"), _) => ("portal:fuzz-password-0123456789".to_owned(), ""),
        (_, Some("hex")) => ("00112233445566778899aabbccddeeff".to_owned(), ""),
        (_, Some("base64")) => (WHSEC.replace("whsec_", ""), ""),
        (_, Some("whsec")) => (WHSEC.to_owned(), ""),
        _ => (KEY.to_owned(), ""),
    };
    let text = KeyText {
        id: KeyId::new("first"),
        not_after: None,
        text: &key,
    };
    let tolerance = Duration::from_secs(300);
    let scheme = Scheme::new(form.clone(), &[text], tolerance, Stale::Refuse);
    let scheme = scheme.unwrap_or_else(|why| panic!("{settings:?}: {why:?}"));
    let private = if private.is_empty() {
        key.as_str()
    } else {
        private
    };
    check(&any, &form, &scheme, private);
}

struct Request {
    signature: Option<String>,
    more: Vec<Option<String>>,
    body: Vec<u8>,
    url: String,
}

fn check(any: &Any, form: &Form, scheme: &Scheme, key: &str) {
    let signer = Signer {
        key,
        api_key: None,
        id: &any.id,
        at: Timestamp(any.at),
        method: "POST",
        url: Some(URL),
    };
    let headers = match form.sign(&signer, &any.body) {
        Ok(headers) => headers,
        Err(problem) => {
            assert_eq!(problem, SignProblem::Id, "{any:?}");
            return;
        }
    };
    let again = form.sign(&signer, &any.body);
    assert_eq!(again.as_ref(), Ok(&headers), "not the same the second time");
    let of = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
    };
    let mut request = Request {
        signature: scheme.signature_header().and_then(of),
        more: scheme.more_headers().map(of).collect(),
        body: any.body.clone(),
        url: URL.to_owned(),
    };
    let verify = |request: &Request, now: Timestamp| {
        let more: Vec<Option<&str>> = request.more.iter().map(Option::as_deref).collect();
        let head = Head {
            method: "POST",
            url: Some(&request.url),
            signature: request.signature.as_deref(),
            more: &more,
            path: None,
            address: None,
        };
        let verified = scheme.authenticate(head, RawBody::new(&request.body), now);
        verified.map(|verified| verified.proof().clone())
    };
    let now = Timestamp(any.at);
    let proof = match verify(&request, now) {
        Ok(proof) => proof,
        // A time that no header of the scheme can hold.
        Err(SignatureRefusal::Malformed) => {
            let unit = if any.texts[8].as_deref() == Some("milliseconds") {
                1
            } else {
                1000
            };
            let digits = any.at.div_euclid(unit).to_string().len();
            let most = if unit == 1 { 14 } else { 11 };
            let fits = any.at >= 0 && digits <= most;
            assert!(form.has_time() && !fits, "{any:?}: {headers:?}");
            return;
        }
        Err(why) => panic!("{why:?}: {any:?}: {headers:?}"),
    };
    if !form.algorithm().signs() {
        return;
    }
    if form.has_time() {
        let unit = if any.texts[8].as_deref() == Some("milliseconds") {
            1
        } else {
            1000
        };
        assert_eq!(
            proof.signed_at,
            Some(Timestamp(any.at.div_euclid(unit) * unit))
        );
    }
    if form.id_header().is_some() {
        // Or the end of the id wouldn't be signed.
        let template = any.texts[5].as_deref().unwrap_or_default();
        let after = template.split_once("{id}").unwrap_or_default().1;
        let literal = after.split(['{', '}']).next().unwrap_or_default();
        let doubled = template.contains("{{") || template.contains("}}");
        assert!(
            doubled || literal.is_empty() || !any.id.contains(literal),
            "{any:?}"
        );
        assert_eq!(proof.signed_id.as_deref(), Some(any.id.as_str()));
    }
    // One byte of the body, of the id, of the time, of the URL is another; or there is one more.
    for place in [0, any.body.len() / 2, any.body.len().saturating_sub(1)] {
        if place < any.body.len() {
            request.body[place] ^= 1;
            assert_eq!(
                verify(&request, now).err(),
                Some(SignatureRefusal::Mismatch),
                "{any:?}"
            );
            request.body[place] ^= 1;
        }
    }
    request.body.push(b'}');
    assert_eq!(
        verify(&request, now).err(),
        Some(SignatureRefusal::Mismatch),
        "{any:?}"
    );
    request.body.pop();
    let names: Vec<String> = scheme.more_headers().map(str::to_owned).collect();
    for (place, name) in names.iter().enumerate() {
        let Some(value) = request.more[place].clone() else {
            continue;
        };
        let last = value.chars().last().unwrap();
        let mut other = value.clone();
        other.pop();
        other.push(if last == '1' { '2' } else { '1' });
        request.more[place] = Some(other);
        let refused = verify(&request, now).err();
        let told = [
            Some(SignatureRefusal::Mismatch),
            Some(SignatureRefusal::Malformed),
        ];
        assert!(told.contains(&refused), "{name}: {refused:?}: {any:?}");
        request.more[place] = Some(value);
    }
    if scheme.reads_url() {
        request.url.push('x');
        assert_eq!(
            verify(&request, now).err(),
            Some(SignatureRefusal::Mismatch),
            "{any:?}"
        );
        request.url.pop();
    }
    assert!(verify(&request, now).is_ok());
    if form.has_time() {
        for skew in [-301_000, 301_000] {
            let late = now.0.checked_add(skew).map(Timestamp);
            let refused = late.and_then(|late| verify(&request, late).err());
            let told = matches!(
                refused,
                None | Some(SignatureRefusal::TimestampOutOfTolerance { .. })
            );
            assert!(
                told && (refused.is_some() || late.is_none()),
                "{refused:?}: {any:?}"
            );
        }
    }
}

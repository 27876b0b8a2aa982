//! What strangers write: signature headers of every scheme, the path, addresses; and the texts that others than the sender's signer may have made.

use std::time::Duration;

use rxgate::auth::scheme::{Network, Template};
use rxgate::auth::{Authentication, KeyId, SealKey, Strength};
use rxgate::delivery::{Pattern, SigningKey, check_target};
use rxgate::event::Pointer;
use rxgate::js::PackageSource;
use rxgate::letters::LetterId;
use rxgate::provider::preset::PRESETS;
use rxgate::time::{Timestamp, Zone, parse_retry_after, to_text, to_utc};
use serde_json::{Value, json};

use crate::source::{KEY, NOW, Sent, WHPK, WHSEC, WHSK, sound};

/// A source, and what signs for it where that isn't its own key.
type Signed = (PackageSource, Option<&'static str>);

fn sources() -> Vec<Signed> {
    let keys = json!([{ "id": "first", "secret": "keys[0].secret" }]);
    let presets = PRESETS.iter().map(|preset| {
        let (key, private) = match preset.scheme.key_encoding {
            Some("whsec") => (WHSEC, None),
            Some("whpk") => (WHPK, Some(WHSK)),
            _ => (KEY, None),
        };
        let mut table = json!({ "provider": "configured", "preset": preset.name, "keys": keys, "destination": "package" });
        if preset.scheme.api_key_header.is_some() {
            table["scheme"] = json!({ "api_key": { "secret": "scheme.api_key.secret" } });
        }
        (sound("fuzz", &table, key), private)
    });
    let own = |more: Value| {
        let mut table = json!({ "destination": "package" });
        table
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        (sound("fuzz", &table, KEY), None)
    };
    let all = [
        own(json!({ "provider": "osigu", "environment": "sandbox", "keys": keys })),
        own(json!({ "provider": "phil-callback", "keys": keys })),
        own(json!({ "provider": "phil-callback", "keys": keys, "authorization_scheme": "Bearer" })),
        own(
            json!({ "provider": "evitalrx", "accept_unsigned": true, "path_tokens": [{ "id": "first", "secret": "path_tokens[0].secret" }] }),
        ),
        own(
            json!({ "provider": "evitalrx", "accept_unsigned": true, "basic": [{ "id": "first", "secret": "basic[0].secret" }] }),
        ),
        own(
            json!({ "provider": "configured", "keys": keys, "event": { "id": "/id" }, "scheme": {
            "algorithm": "hmac-sha1", "header": "X-Sig", "prefix": "s=", "separator": ";", "encoding": "base64url",
            "timestamp_prefix": "at=", "timestamp_unit": "milliseconds", "signed": "{method} {url}\n{timestamp}{body}",
        } }),
        ),
        own(
            json!({ "provider": "configured", "keys": keys, "event": { "id": "header:X-Id" }, "scheme": {
            "algorithm": "hmac-sha512", "header": "X-Sig", "encoding": "base64", "timestamp_header": "X-At", "timestamp_copy_header": "X-At-2", "id_header": "X-Id", "signed": "{id}|{timestamp}|{body}",
        } }),
        ),
    ];
    all.into_iter().chain(presets).collect()
}

thread_local! {
    static SOURCES: Vec<Signed> = sources();
}

/// Which source and what is done, then the headers.
pub fn headers(data: &[u8]) {
    let [which, rest @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    if *which >= 0xF0 {
        return texts(text);
    }
    SOURCES.with(|sources| {
        let (source, key) = &sources[usize::from(which >> 1) % sources.len()];
        if which & 1 == 0 {
            forged(source, text);
        } else {
            changed(source, *key, text);
        }
    });
}

fn vouches_for_bodies(source: &PackageSource) -> bool {
    match &source.source().scheme {
        Authentication::Timestamped(_) => true,
        Authentication::Configured(scheme) => scheme.form().algorithm().signs(),
        Authentication::Unsigned(_) => false,
    }
}

/// Lines of headers and a path that nobody signed: whoever has no key gets nowhere.
fn forged(source: &PackageSource, text: &str) {
    let scheme = &source.source().scheme;
    let names = scheme
        .signature_header()
        .into_iter()
        .chain(scheme.more_headers());
    let (lines, body) = text.split_once("\n\n").unwrap_or((text, "{}"));
    let mut lines = lines.split('\n');
    let path = scheme
        .reads_path()
        .then(|| lines.next().unwrap_or_default().to_owned());
    let mut sent = Sent {
        signed: rxgate::js::Signed {
            headers: Vec::new(),
            path,
        },
        body: body.as_bytes().to_vec(),
    };
    sent.signed.headers = names
        .map(str::to_owned)
        .zip(lines.map(str::to_owned))
        .collect();
    let presented = sent
        .signed
        .headers
        .iter()
        .map(|(_, value)| value.as_str())
        .chain(sent.signed.path.as_deref());
    let knows = presented
        .into_iter()
        .any(|value| value.contains(KEY) || value.contains("cG9ydGFsOm"));
    let result = sent.with(source, |request| {
        let verified = source.authenticate(request);
        verified
            .map(|verified| verified.proof().strength)
            .map_err(|why| why.code)
    });
    match result {
        Ok(Strength::Signature) => panic!("forged: {sent:?}"),
        Ok(_) => assert!(knows, "let in: {sent:?}"),
        Err(code) => {
            let codes = [
                "signature_missing",
                "signature_malformed",
                "signature_mismatch",
                "source_unknown",
            ];
            assert!(codes.contains(&code), "{code}");
            let hint = sent.with(source, |request| source.explain(request));
            assert!(hint.is_none(), "{hint:?} of {sent:?}");
        }
    }
}

/// What authentication learnt.
type Proved = Result<(KeyId, Option<Timestamp>, Option<String>), &'static str>;

/// A sound request with some bytes of its headers changed: it proves what it proved, or nothing.
fn changed(source: &PackageSource, key: Option<&str>, text: &str) {
    let webhook = source
        .source()
        .scheme
        .reads_path()
        .then_some("order-accepted");
    let (edits, body) = text.split_once("\n\n").unwrap_or((text, "{}"));
    let mut sent = Sent::sign(source, key, webhook, body.as_bytes()).unwrap();
    let prove = |sent: &Sent| -> Proved {
        sent.with(source, |request| {
            let verified = source.authenticate(request).map_err(|why| why.code)?;
            let proof = verified.proof();
            Ok((proof.key.clone(), proof.signed_at, proof.signed_id.clone()))
        })
    };
    let before = prove(&sent);
    assert!(before.is_ok(), "{before:?}: {sent:?}");
    let mut edits = edits.chars();
    while let (Some(place), Some(way), Some(new)) = (edits.next(), edits.next(), edits.next()) {
        let count = sent.signed.headers.len() + usize::from(sent.signed.path.is_some());
        let place = place as usize;
        let value = match sent.signed.headers.get_mut(place % count.max(1)) {
            Some((_, value)) => value,
            None => sent.signed.path.as_mut().unwrap(),
        };
        let mut chars: Vec<char> = value.chars().collect();
        let at = (place / count.max(1)) % (chars.len() + 1);
        match way as u32 % 4 {
            0 => chars.insert(at, new),
            1 if at < chars.len() => chars[at] = new,
            2 if at < chars.len() => drop(chars.remove(at)),
            3 => chars.rotate_left(at),
            _ => {}
        }
        *value = chars.into_iter().collect();
    }
    let after = prove(&sent);
    if after.is_ok() {
        assert_eq!(after, before, "{sent:?}");
    }
    // Another body is nobody's, whatever the headers say.
    if vouches_for_bodies(source) {
        sent.body.push(b' ');
        let other = prove(&sent);
        assert!(other.is_err(), "{other:?}: {sent:?}");
    }
}

/// Dates, spans, patterns, pointers, URLs: texts from headers, bodies and settings.
fn texts(text: &str) {
    if let Some(utc) = to_utc(text) {
        let at = Timestamp::parse_rfc3339(text);
        assert!(
            at.is_some() && at == Timestamp::parse_rfc3339(&utc),
            "{text} as {utc}"
        );
        assert_eq!(
            to_utc(&utc).as_deref(),
            Some(utc.as_ref()),
            "{text} as {utc}"
        );
        assert!(utc.ends_with('Z'), "{text} as {utc}");
    }
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        let written = to_text(at);
        let year_of_four = !written.starts_with(['-', '+']);
        assert_eq!(to_utc(text).is_some(), year_of_four, "{text}");
    }
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(zone) = Zone::parse(first) {
        assert_eq!(Zone::parse(&zone.offset()), Some(zone), "{first}");
        if let Some(utc) = zone.to_utc(rest) {
            assert_eq!(
                to_utc(&utc).as_deref(),
                Some(utc.as_str()),
                "{rest} at {first}"
            );
        }
    }
    if let Some(wait) = parse_retry_after(text, NOW) {
        assert!(wait <= Duration::from_secs(u64::MAX));
    }
    if let Some(pattern) = Pattern::parse(first) {
        assert_eq!(
            pattern.matches(rest),
            glob(first.as_bytes(), rest.as_bytes()),
            "{first} {rest}"
        );
    }
    if let Some(pointer) = Pointer::parse(text) {
        assert_eq!(pointer.as_str(), text);
    }
    if check_target(text, false).is_ok() {
        assert!(
            text.get(..8)
                .is_some_and(|s| s.eq_ignore_ascii_case("https://")),
            "{text}"
        );
        assert!(
            !text.contains(['#', '@']) || text.find('@') > text[8..].find(['/', '?']),
            "{text}"
        );
        assert_eq!(check_target(text, true), Ok(()), "{text}");
    }
    if let Some(id) = LetterId::parse(text) {
        assert_eq!(LetterId::parse(&id.to_string()), Some(id));
    }
    let _ = (Network::parse(text), Template::parse(text));
    let _ = (
        SealKey::parse(KeyId::new("k"), text),
        SigningKey::parse(KeyId::new("k"), text),
    );
}

/// A glob, by trying.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Whether the pattern so far matches the text so far, for each length of the latter.
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    for piece in pattern {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = if *piece == b'*' {
                matched[..=end].contains(&true)
            } else {
                end > 0 && matched[end - 1] && text[end - 1] == *piece
            };
        }
        matched = next;
    }
    matched[text.len()]
}

//! What the suites share: a key, a signature by another road than the product's, one source, and the way of an event up to the claim.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rxgate::auth::{Key, KeyId, Keyring, RawBody, Stale, TimestampedHmac};
use rxgate::config::{Bindings, Config, DEAD_LETTERS, Source};
use rxgate::effect::{Answer, Done, Effect};
use rxgate::entity::Ordering;
use rxgate::entity::{Cost, Step, serve};
use rxgate::event::phi::{Policy, Scratch};
use rxgate::event::{Claimed, Prepared, State};
use rxgate::inbound::{Inbound, Received};
use rxgate::machine::{Gateway, Machine};
use rxgate::provider::{Context, Decoded, Expectations, Provider, Refusal, Unknown};
use rxgate::record::Record;
use rxgate::time::{Timestamp, Zone};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::driver::Memory;

/// The key of the tests' source.
pub(crate) const KEY: &str = "osigu-key-of-the-vectors-0001";
/// The second of `NOW`, as a header has it: 2026-06-25T14:22:11Z.
pub(crate) const T: &str = "1782397331";
pub(crate) const NOW: Timestamp = Timestamp(1_782_397_331_000);

/// `NOW`, some seconds later.
pub(crate) fn now_plus(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1000)
}

/// A source whose settings are sound.
#[track_caller]
pub(crate) fn source_of<'a>(config: &'a Config, id: &str) -> &'a Source {
    config.sources.get(id).unwrap().as_ref().unwrap()
}

/// HMAC-SHA256 over `t`, `.` and the body, in lower-case hex.
pub(crate) fn sign(key: &str, t: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The header that Osigu sends with `body` at `NOW`.
pub(crate) fn signed(body: &[u8]) -> String {
    format!("t={T},v1={}", sign(KEY, T, body))
}

pub(crate) fn key(id: &str, bytes: &str, not_after: Option<Timestamp>) -> Key {
    Key::new(KeyId::new(id), bytes.as_bytes(), not_after).unwrap()
}

/// Osigu's scheme with one key, the default tolerance, and stale requests refused.
pub(crate) fn scheme() -> TimestampedHmac {
    scheme_of(vec![key("first", KEY, None)])
}

pub(crate) fn scheme_of(keys: Vec<Key>) -> TimestampedHmac {
    TimestampedHmac {
        keys: Keyring::new(keys).unwrap(),
        tolerance: Duration::from_secs(300),
        stale: Stale::Refuse,
    }
}

/// What a sandbox source without further settings expects.
pub(crate) fn expectations() -> Expectations {
    Expectations {
        environment: "sandbox".to_owned(),
        provider_slug: None,
        api_versions: vec!["2026-01-01".to_owned()],
        sender: None,
    }
}

const ORIGINAL: &str = r#""original":"#;

/// An event as it would be delivered, and what the machine learnt of it.
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) entity: Option<String>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) step: Step,
    pub(crate) unknown: Option<Unknown>,
    pub(crate) notes: usize,
}

impl Event {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The event without its `original`: that may hold what this reader of JSON can't take, such as 1e999.
    pub(crate) fn json(&self) -> Value {
        let (ours, _) = self.text().split_once(ORIGINAL).unwrap();
        serde_json::from_str(&format!("{}}}}}", ours.trim_end_matches(','))).unwrap()
    }

    /// The last member of `data`.
    pub(crate) fn original(&self) -> &str {
        let (_, rest) = self.text().split_once(ORIGINAL).unwrap();
        rest.strip_suffix("}}").unwrap()
    }

    /// The notes, each as `path: expected`.
    pub(crate) fn noted(&self) -> Vec<String> {
        let json = self.json();
        let notes = json["data"]["notes"].as_array().cloned();
        let text = |note: &Value, name: &str| note[name].as_str().unwrap().to_owned();
        notes
            .unwrap_or_default()
            .iter()
            .map(|note| format!("{}: {}", text(note, "path"), text(note, "expected")))
            .collect()
    }
}

/// Authenticates, reads and writes an event, as if its claim were the first of its entity.
pub(crate) fn read_with(
    body: &[u8],
    expected: &Expectations,
) -> Result<Event, (Refusal, Option<String>)> {
    read_as(body, expected, &Policy::default())
}

/// The same at a source with this `phi`.
pub(crate) fn read_as(
    body: &[u8],
    expected: &Expectations,
    phi: &Policy,
) -> Result<Event, (Refusal, Option<String>)> {
    let header = signed(body);
    let verified = scheme()
        .authenticate(Some(&header), RawBody::new(body), NOW)
        .unwrap();
    let scratch = Scratch::default();
    let context = Context {
        source: "osigu",
        expected,
        phi,
        scratch: &scratch,
        webhook: None,
        zone: rxgate::time::Zone::default(),
        auth: "signature",
        traceparent: None,
    };
    let decoded = Provider::Osigu.read(&verified, context)?;
    let claimed = Claimed {
        ordering: Ordering::Unknown,
        sequence: Some(1_782_397_331_000),
        state: State::from_u8(decoded.step.state),
        round: 0,
        deduped: true,
    };
    Ok(Event {
        id: decoded.id.to_string(),
        entity: decoded.entity,
        bytes: Prepared::new(&decoded.attributes, &decoded.data, body.len()).finish(claimed),
        step: decoded.step,
        unknown: decoded.unknown,
        notes: decoded.notes,
    })
}

pub(crate) fn read(body: &[u8]) -> Result<Event, (Refusal, Option<String>)> {
    read_with(body, &expectations())
}

/// The event, which has to be readable.
#[track_caller]
pub(crate) fn event(body: &[u8]) -> Event {
    match read(body) {
        Ok(event) => event,
        Err(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// The refusal, which has to come.
#[track_caller]
pub(crate) fn refusal(body: &[u8]) -> Refusal {
    match read(body) {
        Ok(event) => panic!("read: {}", event.text()),
        Err((refusal, _)) => refusal,
    }
}

/// A configuration of one source `osigu` and one destination `clinic`.
pub(crate) fn vars() -> Map<String, Value> {
    table(&json!({
        "RXGATE": { "seal_keys": [{ "id": "first", "secret": "SEAL_KEY" }] },
        "SOURCE_OSIGU": {
            "provider": "osigu",
            "environment": "sandbox",
            "keys": [{ "id": "first", "secret": "OSIGU_KEY" }],
            "destination": "clinic",
        },
        "DESTINATION_CLINIC": {
            "url": "https://clinic.example/rxgate",
            "keys": [{ "id": "first", "secret": "CLINIC_KEY" }],
        },
    }))
}

pub(crate) fn secrets() -> BTreeMap<String, String> {
    [
        ("OSIGU_KEY", KEY),
        ("CLINIC_KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("SEAL_KEY", "c2VhbC1jYW5hcnktb2YtdGhpcnR5LXR3by1ieXRlczE="),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

pub(crate) fn table(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The least that has to be bound: the dead-letter queue, and KV.
pub(crate) fn bindings() -> Bindings {
    Bindings {
        queues: vec![DEAD_LETTERS.to_owned()],
        kv: true,
        rate_limit: false,
    }
}

pub(crate) const SEED: [u8; 32] = [7; 32];

pub(crate) fn gateway() -> Gateway {
    gateway_of(&vars())
}

#[track_caller]
pub(crate) fn gateway_of(vars: &Map<String, Value>) -> Gateway {
    let config = Config::parse(vars, &secrets(), bindings());
    assert_eq!(config.faults, []);
    Gateway::new(config, &SEED)
}

/// How an authentic request ends that can't be delivered: everything around the machine does what it should.
#[track_caller]
pub(crate) fn dead_lettered(gateway: &Gateway, body: &[u8]) -> (Answer, Record) {
    let header = signed(body);
    let inbound = Inbound {
        path: None,
        address: None,
        method: "POST",
        source: "osigu",
        received: Received::Complete,
        url: None,
        signature: Some(&header),
        more: &[],
        content_type: Some("application/json"),
        traceparent: None,
        body: RawBody::new(body),
    };
    let object = Memory::default();
    let (mut machine, mut effect) = Machine::begin(gateway, inbound, NOW, NOW);
    loop {
        let mut reply = Vec::new();
        let done = match effect {
            Effect::Answer(ended) => {
                let (answer, record) = *ended;
                return (answer, record.unwrap());
            }
            Effect::Ask { request, .. } => {
                let served = serve(&object, &request.pack(), NOW).unwrap();
                reply.extend(served.pack(Cost::default()));
                Done::Replied(&reply)
            }
            Effect::Enqueue(message) => {
                assert_eq!(message.queue, DEAD_LETTERS);
                Done::Ok
            }
            other => panic!("{other:?}"),
        };
        (machine, effect) = machine.resume(gateway, &done, NOW);
    }
}

/// What the machine does first with a request to the source `osigu`.
pub(crate) fn begin(
    gateway: &Gateway,
    header: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Effect {
    let inbound = Inbound {
        path: None,
        address: None,
        method: "POST",
        source: "osigu",
        received: Received::Complete,
        url: None,
        signature: header,
        more: &[],
        content_type: Some("application/json"),
        traceparent: None,
        body: RawBody::new(body),
    };
    Machine::begin(gateway, inbound, now, now).1
}

/// The answer to a request that ends at once.
#[track_caller]
pub(crate) fn answer(
    gateway: &Gateway,
    header: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> (Answer, Record) {
    match begin(gateway, header, body, now) {
        Effect::Answer(ended) => {
            let (answer, record) = *ended;
            (answer, record.unwrap())
        }
        other => panic!("went on with {other:?}"),
    }
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The bytes of a fixture.
#[track_caller]
pub(crate) fn fixture(path: &str) -> Vec<u8> {
    match fs::read(fixtures().join(path)) {
        Ok(bytes) => bytes,
        Err(why) => panic!("tests/fixtures/{path}: {why}"),
    }
}

/// The body of one case of Osigu's.
#[track_caller]
pub(crate) fn body(case: &str) -> Vec<u8> {
    fixture(&format!("osigu/{case}/body.json"))
}

/// Compares with what is kept, to the byte. `UPDATE_GOLDEN=1` rewrites it; a file that isn't there is a failure.
#[track_caller]
pub(crate) fn assert_golden(path: &str, actual: &[u8]) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(fixtures().join(path), actual).unwrap();
    }
    let kept = fixture(path);
    assert_eq!(
        String::from_utf8_lossy(&kept),
        String::from_utf8_lossy(actual),
        "tests/fixtures/{path} (UPDATE_GOLDEN=1 rewrites it)"
    );
    assert_eq!(kept, actual, "tests/fixtures/{path}");
}

/// Reads and writes an event of a sender that has no signature, as if its claim were the first of its entity. How it was authenticated makes no difference to a reader.
pub(crate) fn read_unsigned(
    provider: Provider,
    body: &[u8],
    webhook: Option<&str>,
    zone: Zone,
    phi: &Policy,
) -> Result<(Event, bool), (Refusal, Option<String>)> {
    let header = signed(body);
    let verified = scheme()
        .authenticate(Some(&header), RawBody::new(body), NOW)
        .unwrap();
    let scratch = Scratch::default();
    let expected = expectations();
    let context = Context {
        source: provider.name(),
        expected: &expected,
        phi,
        scratch: &scratch,
        webhook,
        zone,
        auth: "token",
        traceparent: None,
    };
    let decoded = provider.read(&verified, context)?;
    let event = Event {
        id: decoded.id.to_string(),
        bytes: written(&decoded, body.len()),
        entity: decoded.entity,
        step: decoded.step,
        unknown: decoded.unknown,
        notes: decoded.notes,
    };
    Ok((event, decoded.derived))
}

/// An event as it is delivered if its claim is the first of its entity.
pub(crate) fn written(decoded: &Decoded<'_>, body_len: usize) -> Vec<u8> {
    let claimed = Claimed {
        ordering: Ordering::InOrder,
        sequence: Some(1_782_397_331_000),
        state: State::from_u8(decoded.step.state),
        round: 0,
        deduped: true,
    };
    Prepared::new(&decoded.attributes, &decoded.data, body_len).finish(claimed)
}

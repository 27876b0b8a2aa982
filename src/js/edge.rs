//! The package's boundary, as `pkg/core.js` calls it: numbers in, an address out, as the Worker's (DESIGN.md §2).

#![expect(unreachable_pub, reason = "wasm-bindgen exports what is pub")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::prelude::wasm_bindgen;

use super::{Event, PackageSource, Refused, Request};
use crate::auth::Authentication;
use crate::auth::scheme::{Algorithm, Head, MAX_MORE_HEADERS, Signer};
use crate::by_name::ByName;
use crate::config::{Bindings, Config, Fault, MAX_BODY_BYTES, Setting};
use crate::json::to_vec;
use crate::provider::Provider;
use crate::provider::preset::PRESETS;
use crate::time::Timestamp;

/// The head of a request: a few values, one a line.
const HEAD_BYTES: usize = 64 * 1024;
/// A value that isn't there.
const ABSENT: &str = "\0";

thread_local! {
    // One byte more than any source takes: so much of a longer body is enough to refuse it.
    static INPUT: RefCell<Vec<u8>> = RefCell::new(vec![0; HEAD_BYTES + MAX_BODY_BYTES + 1]);
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static EVENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SOURCES: RefCell<Vec<Option<Rc<PackageSource>>>> = const { RefCell::new(Vec::new()) };
}

/// Where heads go; bodies go 64 KiB after it.
#[wasm_bindgen]
pub fn input() -> u32 {
    INPUT.with_borrow_mut(|input| address(input.as_mut_ptr().expose_provenance()))
}

#[derive(Serialize)]
struct Opened<'a> {
    handle: u32,
    id: &'a str,
    provider: &'static str,
    header: Option<&'a str>,
    more: Vec<&'a str>,
    url: bool,
    path: bool,
    max_body: usize,
    /// Whether the signature covers a time.
    timed: bool,
    algorithm: &'static str,
}

#[derive(Serialize)]
struct Faulty {
    faults: Vec<FaultText>,
}

#[derive(Serialize)]
struct FaultText {
    path: String,
    problem: String,
}

fn faulty(faults: Vec<Fault>) -> u32 {
    let faults = faults.into_iter().map(|fault| FaultText {
        path: fault.path,
        problem: fault.problem,
    });
    let faults = faults.collect();
    write(0, &to_vec(&Faulty { faults }), Vec::new())
}

/// Reads a source's settings from the input.
#[wasm_bindgen]
pub fn open(len: u32) -> u32 {
    let settings = read_settings(len);
    let read = settings.as_ref().and_then(|settings| {
        let id = settings.get("id")?.as_str()?;
        Some((id, settings.get("table")?, secrets_of(settings)?))
    });
    let parsed = match read {
        Some((id, table, secrets)) => PackageSource::parse(id, table.clone(), secrets),
        None => Err(unreadable("")),
    };
    let source = match parsed {
        Ok(source) => Rc::new(source),
        Err(faults) => return faulty(faults),
    };
    let handle = SOURCES.with_borrow_mut(|sources| {
        let free = sources.iter().position(Option::is_none);
        let place = free.unwrap_or(sources.len());
        match sources.get_mut(place) {
            Some(slot) => *slot = Some(Rc::clone(&source)),
            None => sources.push(Some(Rc::clone(&source))),
        }
        address(place)
    });
    let scheme = &source.source().scheme;
    let (timed, algorithm) = match scheme {
        Authentication::Timestamped(_) => (true, Algorithm::HmacSha256),
        Authentication::Configured(scheme) => (scheme.form().has_time(), scheme.form().algorithm()),
        Authentication::Unsigned(_) => (false, Algorithm::Token),
    };
    let head = to_vec(&Opened {
        handle,
        id: &source.source().id,
        provider: source.source().name(),
        header: scheme.signature_header(),
        more: scheme.more_headers().collect(),
        url: scheme.reads_url(),
        path: scheme.reads_path(),
        max_body: source.source().max_body,
        timed,
        algorithm: algorithm.name(),
    });
    write(1, &head, Vec::new())
}

/// Forgets a source.
#[wasm_bindgen]
pub fn close(handle: u32) {
    SOURCES.with_borrow_mut(|sources| {
        if let Some(slot) = sources.get_mut(handle as usize) {
            *slot = None;
        }
    });
}

fn source(handle: u32) -> Option<Rc<PackageSource>> {
    SOURCES.with_borrow(|sources| sources.get(handle as usize)?.clone())
}

/// The lines of a head.
struct Lines<'a>(Option<&'a str>);

impl<'a> Lines<'a> {
    fn of(head: &'a [u8]) -> Self {
        Self(Some(std::str::from_utf8(head).unwrap_or_default()))
    }

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        let end = rest.bytes().position(|byte| byte == b'\n');
        let (line, behind) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        self.0 = behind.get(1..);
        Some(line).filter(|&value| value != ABSENT)
    }
}

/// Calls `with` with what the input holds.
fn reading<T>(head_len: u32, body_len: u32, with: impl FnOnce(Lines<'_>, &[u8]) -> T) -> T {
    INPUT.with_borrow(|input| {
        let (head, bodies) = input.split_at_checked(HEAD_BYTES).unwrap_or_default();
        let head = head.get(..head_len as usize).unwrap_or_default();
        let body = bodies.get(..body_len as usize).unwrap_or_default();
        with(Lines::of(head), body)
    })
}

/// The same for a request.
fn with_request<T>(
    head_len: u32,
    body_len: u32,
    now: f64,
    with: impl FnOnce(&Request<'_>) -> T,
) -> T {
    reading(head_len, body_len, |mut lines, body| {
        let (traceparent, method, url) = (lines.next(), lines.next(), lines.next());
        let (path, address, signature) = (lines.next(), lines.next(), lines.next());
        let mut more = [None; MAX_MORE_HEADERS];
        more.fill_with(|| lines.next());
        with(&Request {
            head: Head {
                method: method.unwrap_or_default(),
                url,
                signature,
                more: &more,
                path,
                address,
            },
            traceparent,
            body,
            now: timestamp(now),
        })
    })
}

/// Whether the request in the input is the sender's. Answers 1 with lines: the key, how much it proves, when it was signed; or a refusal.
#[wasm_bindgen]
pub fn authenticate(handle: u32, head_len: u32, body_len: u32, now: f64) -> u32 {
    let Some(source) = source(handle) else {
        return 0;
    };
    with_request(head_len, body_len, now, |request| {
        match source.authenticate(request) {
            Ok(verified) => {
                let proof = verified.proof();
                let signed_at = signed_at(proof.signed_at);
                let lines = [proof.key.as_str(), proof.strength.name(), &signed_at];
                let head = lines.join("\n");
                write(1, head.as_bytes(), Vec::new())
            }
            Err(refused) => refusal(&refused),
        }
    })
}

/// The event of the request in the input. Answers 1 with lines: `webhook-id`, the key, when it was signed, the answer; and the event; or a refusal.
#[wasm_bindgen]
pub fn verify(handle: u32, head_len: u32, body_len: u32, now: f64) -> u32 {
    let Some(source) = source(handle) else {
        return 0;
    };
    with_request(head_len, body_len, now, |request| {
        event(source.verify(request))
    })
}

/// The event of a body that was authenticated elsewhere; as [`verify`].
#[wasm_bindgen]
pub fn normalise(handle: u32, head_len: u32, body_len: u32, now: f64) -> u32 {
    let Some(source) = source(handle) else {
        return 0;
    };
    with_request(head_len, body_len, now, |request| {
        event(source.normalise(request))
    })
}

fn event(checked: Result<Event, Box<Refused>>) -> u32 {
    match checked {
        Ok(event) => {
            let lines = [
                event.webhook_id.as_str(),
                event.key.as_str(),
                &signed_at(event.signed_at),
                event.answer.as_deref().unwrap_or_default(),
            ];
            let head = lines.join("\n");
            write(1, head.as_bytes(), event.json)
        }
        Err(refused) => refusal(&refused),
    }
}

fn signed_at(at: Option<Timestamp>) -> String {
    at.map(|at| at.0.to_string()).unwrap_or_default()
}

fn refusal(refused: &Refused) -> u32 {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Told<'a> {
        code: &'a str,
        status: u16,
        authentic: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        answer: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        skew_seconds: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        webhook_id: Option<&'a str>,
    }
    let told = Told {
        code: refused.code,
        status: refused.status,
        authentic: refused.authentic,
        answer: refused.answer.as_deref(),
        path: refused.path.as_deref(),
        problem: refused.problem.as_deref(),
        skew_seconds: refused.skew,
        key_id: refused.key.as_deref(),
        webhook_id: refused.webhook_id.as_deref(),
    };
    write(0, &to_vec(&told), Vec::new())
}

/// What else can be told of a request that isn't the sender's.
#[wasm_bindgen]
pub fn explain(handle: u32, head_len: u32, body_len: u32, now: f64) -> u32 {
    let Some(source) = source(handle) else {
        return 0;
    };
    with_request(head_len, body_len, now, |request| {
        let hint = source.explain(request).map(super::Hint::name);
        write(1, hint.unwrap_or_default().as_bytes(), Vec::new())
    })
}

/// Signs the body in the input. The head: method, URL, id, key, webhook.
#[wasm_bindgen]
pub fn sign(handle: u32, head_len: u32, body_len: u32, now: f64) -> u32 {
    #[derive(Serialize)]
    struct Told {
        headers: Vec<(String, String)>,
        path: Option<String>,
    }
    #[derive(Serialize)]
    struct Problem {
        problem: String,
    }
    let Some(source) = source(handle) else {
        return 0;
    };
    reading(head_len, body_len, |mut lines, body| {
        let (method, url, id) = (lines.next(), lines.next(), lines.next());
        let (key, webhook) = (lines.next(), lines.next());
        let signer = Signer {
            key: "",
            api_key: None,
            id: id.unwrap_or_default(),
            at: timestamp(now),
            method: method.unwrap_or("POST"),
            url,
        };
        match source.sign(&signer, key, webhook, body) {
            Ok(signed) => {
                let (headers, path) = (signed.headers, signed.path);
                write(1, &to_vec(&Told { headers, path }), Vec::new())
            }
            Err(problem) => write(0, &to_vec(&Problem { problem }), Vec::new()),
        }
    })
}

/// What is wrong with a whole configuration in the input, as the Worker would read it.
#[wasm_bindgen]
pub fn check_config(len: u32, now: f64) -> u32 {
    let environment = read_settings(len);
    let read = environment.as_ref().and_then(|environment| {
        let vars = environment.get("vars")?.as_object()?;
        let bindings = environment.get("bindings")?;
        let flag = |name| bindings.get(name).and_then(Setting::as_bool);
        let queues = bindings.get("queues")?.as_array()?.iter();
        let queues = queues.map(|name| name.as_str().map(str::to_owned));
        let bindings = Bindings {
            queues: queues.collect::<Option<_>>()?,
            kv: flag("kv")?,
            rate_limit: flag("rate_limit")?,
        };
        Some((vars, secrets_of(environment)?, bindings))
    });
    faulty(match read {
        Some((vars, secrets, bindings)) => {
            let config = Config::read(vars, &secrets, bindings);
            config.at(timestamp(now)).faults
        }
        None => unreadable("vars"),
    })
}

/// What the input holds.
fn read_settings(len: u32) -> Option<Setting> {
    INPUT.with_borrow(|input| {
        let json = input.get(..len as usize).unwrap_or_default();
        Setting::read(std::str::from_utf8(json).ok()?)
    })
}

fn secrets_of(settings: &Setting) -> Option<ByName<String>> {
    let mut secrets = ByName::default();
    for (name, value) in settings.get("secrets")?.as_object()?.iter() {
        secrets.insert(name.clone(), value.as_str()?.to_owned());
    }
    Some(secrets)
}

fn unreadable(path: &str) -> Vec<Fault> {
    vec![Fault {
        path: path.to_owned(),
        problem: "can't be read".to_owned(),
    }]
}

/// What there is: the event types of each provider with their canonical types, and the presets.
#[wasm_bindgen]
pub fn lists() -> u32 {
    #[derive(Serialize)]
    struct Lists {
        providers: Vec<&'static str>,
        presets: Vec<&'static str>,
        types: Vec<Type>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Type {
        provider: &'static str,
        event_type: &'static str,
        r#type: &'static str,
    }
    let mut types = Vec::new();
    for provider in Provider::ALL {
        for (event_type, canonical) in provider.event_types() {
            types.push(Type {
                provider: provider.name(),
                event_type,
                r#type: canonical,
            });
        }
    }
    let lists = Lists {
        providers: Provider::ALL.map(Provider::name).to_vec(),
        presets: PRESETS.iter().map(|preset| preset.name).collect(),
        types,
    };
    write(1, &to_vec(&lists), Vec::new())
}

/// One number, the head's length, the event's length and address, the head. What is written is there until the next call.
fn write(ok: u32, head: &[u8], event: Vec<u8>) -> u32 {
    let numbers = [
        ok,
        address(head.len()),
        address(event.len()),
        address(event.as_ptr().expose_provenance()),
    ];
    let mut output = OUTPUT.take();
    output.clear();
    let needed = 16 + head.len();
    if output.capacity() > HEAD_BYTES.max(needed) {
        // A long answer isn't worth its memory once it is gone.
        output = Vec::new();
    }
    output.reserve(needed);
    for number in numbers {
        output.extend_from_slice(&number.to_le_bytes());
    }
    output.extend_from_slice(head);
    let at = address(output.as_ptr().expose_provenance());
    OUTPUT.set(output);
    EVENT.set(event);
    at
}

fn address(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds of a clock")]
fn timestamp(milliseconds: f64) -> Timestamp {
    Timestamp(milliseconds as i64)
}

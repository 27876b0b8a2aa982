//! The machine, as `core.mjs` calls it. Numbers in, an address out: see DESIGN.md §2.
//!
//! One input buffer for head and body, one output buffer. While the machine looks at the input it is borrowed, for reading; a trap retires the instance, with all that it held.

#![expect(unreachable_pub, reason = "wasm-bindgen exports what is pub")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::auth::RawBody;
use crate::auth::scheme::MAX_MORE_HEADERS;
use crate::config::{Bindings, Config, Fault, MAX_BODY_BYTES, Source};
use crate::effect::{Delivery, Done, Effect, Verdict};
use crate::entity::{ExpectRequest, Request};
use crate::entropy::SEED_BYTES;
use crate::expectation::{self, EXPECTATIONS_PATH, Expectation, Watch};
use crate::inbound::{Inbound, Received};
use crate::machine::{Gateway, Machine, Message};
use crate::operator::{Call, Operator};
use crate::time::Timestamp;

/// The head of a request: a few header values, one a line.
const HEAD_BYTES: usize = 64 * 1024;

/// What the output begins with: handle, kind, three numbers, the lengths of text and body.
const FRONT_BYTES: usize = 28;

/// A header that isn't there: no header's value can be this.
const ABSENT: &str = "\0";

thread_local! {
    static INPUT: RefCell<Vec<u8>> = RefCell::new(vec![0; HEAD_BYTES + MAX_BODY_BYTES]);
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static GATEWAY: RefCell<Rc<Gateway>> = RefCell::new(Rc::new(Gateway::new(Config::default(), &[0; SEED_BYTES])));
    static RUNNING: RefCell<BTreeMap<u32, Running>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<u32> = const { Cell::new(1) };
}

/// What waits for an effect.
enum Running {
    Machine(Box<Machine>),
    Operator(Box<Operator>),
    Expectation(Box<Expectation>),
    Watch(Box<Watch>),
}

impl Running {
    fn resume(self, gateway: &Gateway, done: &Done<'_>, now: Timestamp) -> (Self, Effect) {
        match self {
            Self::Machine(machine) => of_machine(machine.resume(gateway, done, now)),
            Self::Operator(operator) => of_operator(operator.resume(gateway, done, now)),
            Self::Expectation(one) => of_expectation(one.resume(gateway, done, now)),
            Self::Watch(watch) => of_watch(watch.resume(gateway, done, now)),
        }
    }
}

fn of_machine((machine, effect): (Machine, Effect)) -> (Running, Effect) {
    (Running::Machine(Box::new(machine)), effect)
}

fn of_operator((operator, effect): (Operator, Effect)) -> (Running, Effect) {
    (Running::Operator(Box::new(operator)), effect)
}

fn of_expectation((expectation, effect): (Expectation, Effect)) -> (Running, Effect) {
    (Running::Expectation(Box::new(expectation)), effect)
}

fn of_watch((watch, effect): (Watch, Effect)) -> (Running, Effect) {
    (Running::Watch(Box::new(watch)), effect)
}

/// Where heads go; bodies go 64 KiB after it.
#[wasm_bindgen]
pub fn input() -> u32 {
    INPUT.with_borrow_mut(|input| address(input.as_mut_ptr().expose_provenance()))
}

/// What `configure` reads.
#[derive(Deserialize)]
struct Environment {
    vars: Map<String, Value>,
    secrets: BTreeMap<String, String>,
    bindings: Bindings,
    /// Random bytes.
    seed: [u8; SEED_BYTES],
}

/// What `configure` answers.
#[derive(Serialize)]
struct Configured<'a> {
    sound: bool,
    /// Whether any source has callbacks to expect.
    expects: bool,
    faults: Vec<String>,
    sources: BTreeMap<&'a str, Reading<'a>>,
}

/// What the shell needs to read of a source's requests.
#[derive(Serialize)]
struct Reading<'a> {
    /// Its signature header; without it the body isn't read. `None`: it always is.
    header: Option<&'a str>,
    /// The other headers that its scheme reads.
    more: Vec<&'a str>,
    /// Whether its scheme covers the URL.
    url: bool,
    path: bool,
    max_body: usize,
}

/// Reads the configuration from the input, and says what the shell has to know of it.
#[wasm_bindgen]
pub fn configure(len: u32, now: f64) -> u32 {
    let environment = INPUT.with_borrow(|input| {
        let json = input.get(..len as usize).unwrap_or_default();
        serde_json::from_slice::<Environment>(json)
    });
    let (config, seed) = match environment {
        Ok(Environment {
            vars,
            secrets,
            bindings,
            seed,
        }) => {
            let config = Config::parse(&vars, &secrets, bindings);
            (config.at(timestamp(now)), seed)
        }
        Err(_) => {
            let config = Config {
                faults: vec![Fault {
                    path: "vars".to_owned(),
                    problem: "can't be read".to_owned(),
                }],
                ..Config::default()
            };
            // Nothing is sealed without a key.
            (config, [0; SEED_BYTES])
        }
    };
    let sources = config.sources.iter().map(|(id, source)| {
        let scheme = source.as_ref().map(|source| &source.scheme);
        let more = scheme.map(|scheme| scheme.more_headers().collect());
        let reading = Reading {
            header: scheme.and_then(|scheme| scheme.signature_header()),
            more: more.unwrap_or_default(),
            url: scheme.is_some_and(|scheme| scheme.reads_url()),
            path: scheme.is_some_and(|scheme| scheme.reads_path()),
            max_body: source.as_ref().map_or(0, |source| source.max_body),
        };
        (id.as_str(), reading)
    });
    let expects = |source: &Source| source.expecting.is_some();
    let head = to_json(&Configured {
        sound: config.is_sound(),
        expects: config.sources.values().flatten().any(expects),
        faults: config.faults.iter().map(Fault::to_string).collect(),
        sources: sources.collect(),
    });
    GATEWAY.set(Rc::new(Gateway::new(config, &seed)));
    write(0, Kind::Configured, [0; 3], &[&head], &[])
}

/// Takes a request: its head from the input, and `body_len` bytes of body 64 KiB after it.
#[wasm_bindgen]
pub fn begin(head_len: u32, body_len: u32, received: u8, received_at: f64, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    // Shared with nobody: JavaScript writes here only between calls.
    let begun = INPUT.with_borrow(|input| {
        let (head, bodies) = input.split_at_checked(HEAD_BYTES).unwrap_or_default();
        let head = head.get(..head_len as usize).unwrap_or_default();
        let body = bodies.get(..body_len as usize).unwrap_or_default();
        let mut lines = std::str::from_utf8(head).unwrap_or_default().split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let (method, source) = (line(), line());
        let mut header = || Some(line()).filter(|&value| value != ABSENT);
        let (content_type, traceparent, url) = (header(), header(), header());
        let (path, address, signature) = (header(), header(), header());
        let mut more = [None; MAX_MORE_HEADERS];
        more.fill_with(header);
        let inbound = Inbound {
            method,
            source,
            received: Received::from_u8(received).unwrap_or(Received::Incomplete),
            content_type,
            traceparent,
            url,
            path,
            address,
            signature,
            more: &more,
            body: RawBody::new(body),
        };
        #[cfg(feature = "test-hooks")]
        super::hooks::trap(inbound.traceparent.unwrap_or_default().as_bytes());
        Machine::begin(&gateway, inbound, timestamp(received_at), timestamp(now))
    });
    keep(next(), of_machine(begun))
}

/// Whether a body is worth reading from whoever asks at this path, from this address: both, and the source, from the input. Asked where a sender signs nothing.
#[wasm_bindgen]
pub fn admits(head_len: u32, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    INPUT.with_borrow(|input| {
        let head = input.get(..head_len as usize).unwrap_or_default();
        let text = std::str::from_utf8(head).unwrap_or_default();
        let mut lines = text.split('\n');
        let source = gateway
            .config()
            .sources
            .get(lines.next().unwrap_or_default());
        let mut line = || lines.next().filter(|&line| line != ABSENT);
        let (path, address) = (line(), line());
        let admits = |source: &Source| {
            source.scheme.admits(path, timestamp(now)) && source.scheme.allows(address)
        };
        u32::from(source.and_then(Option::as_ref).is_some_and(admits))
    })
}

/// Takes a message of a queue: its queue's name from the input, and `body_len` bytes of body 64 KiB after it.
#[wasm_bindgen]
pub fn attempt(head_len: u32, body_len: u32, attempt: u16, sent_at: f64, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    let begun = INPUT.with_borrow(|input| {
        let (head, bodies) = input.split_at_checked(HEAD_BYTES).unwrap_or_default();
        let head = head.get(..head_len as usize).unwrap_or_default();
        let message = Message {
            queue: std::str::from_utf8(head).unwrap_or_default(),
            body: bodies.get(..body_len as usize).unwrap_or_default(),
            attempt,
            sent_at: timestamp(sent_at),
        };
        Machine::attempt(&gateway, message, timestamp(now))
    });
    keep(next(), of_machine(begun))
}

/// What `operate` reads.
#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    authorization: Option<String>,
    query: Vec<(String, String)>,
    /// Only calls about expected callbacks have one.
    body: Option<String>,
    /// What became of it.
    #[serde(default)]
    received: u8,
}

/// Whether a body is worth reading from who has this key: the source and the `authorization` header, from the input.
#[wasm_bindgen]
pub fn admits_call(head_len: u32, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    INPUT.with_borrow(|input| {
        let head = input.get(..head_len as usize).unwrap_or_default();
        let text = std::str::from_utf8(head).unwrap_or_default();
        let (source, authorization) = text.split_once('\n').unwrap_or_default();
        let authorization = Some(authorization);
        u32::from(expectation::admits(
            &gateway,
            source,
            authorization,
            timestamp(now),
        ))
    })
}

/// Takes a call of an operator from the input, or one about callbacks that are waited for.
#[wasm_bindgen]
pub fn operate(len: u32, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    let asked = INPUT.with_borrow(|input| {
        let json = input.get(..len as usize).unwrap_or_default();
        serde_json::from_slice::<Asked>(json)
    });
    let begun = match &asked {
        Ok(asked) => {
            if let Some(source) = asked.path.strip_prefix(EXPECTATIONS_PATH) {
                let call = expectation::Call {
                    method: &asked.method,
                    source,
                    authorization: asked.authorization.as_deref(),
                    query: &asked.query,
                    received: Received::from_u8(asked.received).unwrap_or(Received::Complete),
                    body: asked.body.as_deref(),
                };
                let begun = Expectation::begin(&gateway, call, timestamp(now));
                return keep(next(), of_expectation(begun));
            }
            let call = Call {
                method: &asked.method,
                path: &asked.path,
                authorization: asked.authorization.as_deref(),
                query: &asked.query,
            };
            Operator::begin(&gateway, call, timestamp(now))
        }
        Err(_) => return 0,
    };
    keep(next(), of_operator(begun))
}

/// One turn of the cron.
#[wasm_bindgen]
pub fn tick(now: f64) -> u32 {
    keep(next(), of_operator(Operator::tick(timestamp(now))))
}

/// The cron's turn over expected callbacks.
#[wasm_bindgen]
pub fn watch(now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    keep(next(), of_watch(Watch::begin(&gateway, timestamp(now))))
}

fn next() -> u32 {
    let handle = NEXT.get();
    NEXT.set(handle.wrapping_add(1).max(1));
    handle
}

/// Goes on with what came of the effect that `handle` asked for: 0 replied (`len` bytes in the input), 1 answered (`status`, and `len` bytes of `Retry-After` in the
/// input; 0: none), 2 failed, 3 timed out, 4 done, 5 absent, 6 limited.
#[wasm_bindgen]
pub fn resume(handle: u32, done: u8, status: u16, len: u32, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    let Some(running) = RUNNING.with_borrow_mut(|running| running.remove(&handle)) else {
        return 0;
    };
    let goes_on = INPUT.with_borrow(|input| {
        let bytes = input.get(..len as usize).unwrap_or_default();
        let done = match done {
            0 => Done::Replied(bytes),
            1 => Done::Answered {
                status,
                retry_after: std::str::from_utf8(bytes).ok().filter(|v| !v.is_empty()),
            },
            3 => Done::TimedOut,
            4 => Done::Ok,
            5 => Done::Absent,
            6 => Done::Limited,
            _ => Done::Failed,
        };
        running.resume(&gateway, &done, timestamp(now))
    });
    keep(handle, goes_on)
}

/// Drops a machine that nobody will resume.
#[wasm_bindgen]
pub fn abandon(handle: u32) {
    RUNNING.with_borrow_mut(|running| running.remove(&handle));
}

/// What an effect is, for `core.mjs`, and what its three numbers say: of most the first is how long to wait, in milliseconds.
#[derive(Clone, Copy)]
enum Kind {
    /// Ask the object of that name; whether it has to see to its alarm. The body is the message.
    Ask = 1,
    /// The URL, then names and values of headers, a line each. The body is the body.
    Deliver = 2,
    /// The key.
    Get = 3,
    /// The key; how many seconds it is kept. The body is the value.
    Put = 4,
    /// The queue; its delay in seconds; whether it is text. The body is the message.
    Enqueue = 5,
    /// The key.
    Limit = 6,
    /// The log line. The status; `Retry-After` and 1, or 0; the line's level, and 4 if a line with `Allow` comes first. The body is the answer's.
    Answer = 7,
    /// The log line. 0; 0 if it is done with, else after how many seconds it comes again, and 1; the line's level.
    Settle = 8,
    /// What `configure` answers, as JSON.
    Configured = 9,
}

fn keep(handle: u32, (running, effect): (Running, Effect)) -> u32 {
    let place = match &effect {
        Effect::Ask {
            object,
            request,
            timeout,
        } => {
            let wakes = matches!(
                request,
                Request::Expect(ExpectRequest::Register(..) | ExpectRequest::Overdue)
            );
            let numbers = [millis(*timeout), wakes.into(), 0];
            write(handle, Kind::Ask, numbers, &[object], &request.pack())
        }
        Effect::Deliver(delivery) => {
            let Delivery {
                url,
                headers,
                body,
                timeout,
            } = &**delivery;
            let mut lines = Vec::with_capacity(1 + 4 * headers.len());
            lines.push(url.as_str());
            for (name, value) in headers {
                lines.extend(["\n", name, "\n", value]);
            }
            write(
                handle,
                Kind::Deliver,
                [millis(*timeout), 0, 0],
                &lines,
                body,
            )
        }
        Effect::Get { key, timeout } => {
            write(handle, Kind::Get, [millis(*timeout), 0, 0], &[key], &[])
        }
        Effect::Put(put) => {
            let kept = u32::try_from(put.kept.as_secs()).unwrap_or(u32::MAX);
            let numbers = [millis(put.timeout), kept, 0];
            write(handle, Kind::Put, numbers, &[&put.key], &put.value)
        }
        Effect::Enqueue(message) => {
            let numbers = [
                millis(message.timeout),
                seconds(message.delay),
                message.text.into(),
            ];
            let queue = &message.queue;
            write(handle, Kind::Enqueue, numbers, &[queue], &message.body)
        }
        Effect::Limit { key } => write(handle, Kind::Limit, [0; 3], &[key], &[]),
        Effect::Answer(end) => {
            let (answer, record) = &**end;
            let line = record.as_ref().map(to_json).unwrap_or_default();
            let level = record.as_ref().map_or(0, |record| number_of(record.level));
            let retry_after = answer.retry_after.map_or(0, one_more);
            let (allow, gap) = answer.allow.map_or(("", ""), |allow| (allow, "\n"));
            let flag = if gap.is_empty() { 0 } else { 4 };
            let numbers = [answer.status.into(), retry_after, level | flag];
            let lines = [allow, gap, &line];
            return write(0, Kind::Answer, numbers, &lines, answer.body.as_bytes());
        }
        Effect::Settle(end) => {
            let (verdict, record) = &**end;
            let again = match verdict {
                Verdict::Ack => 0,
                Verdict::Retry(delay) => one_more(seconds(*delay).into()),
            };
            let numbers = [0, again, number_of(record.level)];
            return write(0, Kind::Settle, numbers, &[&to_json(record)], &[]);
        }
    };
    RUNNING.with_borrow_mut(|all| all.insert(handle, running));
    place
}

/// A number that isn't 0, where 0 says that there is none.
fn one_more(number: u64) -> u32 {
    u32::try_from(number.saturating_add(1)).unwrap_or(u32::MAX)
}

/// A level of the log, for `core.mjs`.
fn number_of(level: &str) -> u32 {
    match level {
        "info" => 1,
        "warn" => 2,
        _ => 3,
    }
}

/// Whole seconds, and never less than was meant.
fn seconds(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// Puts handle, kind, numbers, lengths, text and body into the output, and says where it is.
fn write(handle: u32, kind: Kind, [a, b, c]: [u32; 3], text: &[&str], body: &[u8]) -> u32 {
    let mut output = OUTPUT.take();
    output.clear();
    let text_len = text.iter().map(|part| part.len()).sum();
    let needed = FRONT_BYTES + text_len + body.len();
    if output.capacity() > HEAD_BYTES.max(needed) {
        // A large event isn't worth its memory once it is gone.
        output = Vec::new();
    }
    output.reserve(needed);
    let (text_len, body_len) = (length(text_len), length(body.len()));
    for number in [handle, kind as u32, a, b, c, text_len, body_len] {
        output.extend_from_slice(&number.to_le_bytes());
    }
    for part in text {
        output.extend_from_slice(part.as_bytes());
    }
    output.extend_from_slice(body);
    let place = address(output.as_ptr().expose_provenance());
    OUTPUT.set(output);
    place
}

fn to_json<T: Serialize>(value: &T) -> String {
    // Strings and numbers: writing them can't fail.
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Addresses of wasm32 have 32 bits.
pub(super) fn address(pointer: usize) -> u32 {
    u32::try_from(pointer).unwrap_or(0)
}

fn millis(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "milliseconds of Date.now()"
)]
pub(super) fn timestamp(millis: f64) -> Timestamp {
    Timestamp(millis as i64)
}

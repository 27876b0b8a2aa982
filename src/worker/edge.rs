//! The machine, as `core.mjs` calls it. Numbers in, an address out: see DESIGN.md §2.
//!
//! One input buffer for head and body, one output buffer. Borrows are short: none is held while the machine runs, so a trap in it leaves nothing half held.

#![expect(unreachable_pub, reason = "wasm-bindgen exports what is pub")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::auth::RawBody;
use crate::config::{Config, Fault, MAX_BODY_BYTES};
use crate::effect::{Done, Effect};
use crate::inbound::{Inbound, Received};
use crate::machine::{Gateway, Machine};
use crate::time::Timestamp;

/// The head of a request: a few header values, one a line.
const HEAD_BYTES: usize = 64 * 1024;

/// A header that isn't there: no header's value can be this.
const ABSENT: &str = "\0";

thread_local! {
    static INPUT: RefCell<Vec<u8>> = RefCell::new(vec![0; HEAD_BYTES + MAX_BODY_BYTES]);
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static GATEWAY: RefCell<Rc<Gateway>> = RefCell::new(Rc::default());
    static MACHINES: RefCell<BTreeMap<u32, Machine>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<u32> = const { Cell::new(1) };
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
}

/// What `configure` answers.
#[derive(Serialize)]
struct Configured<'a> {
    sound: bool,
    faults: Vec<String>,
    sources: BTreeMap<&'a str, Reading>,
}

/// What the shell needs to read of a source's requests.
#[derive(Serialize)]
struct Reading {
    header: &'static str,
    max_body: usize,
}

/// Reads the configuration from the input, and says what the shell has to know of it.
#[wasm_bindgen]
pub fn configure(len: u32, now: f64) -> u32 {
    let environment = INPUT.with_borrow(|input| {
        let json = input.get(..len as usize).unwrap_or_default();
        serde_json::from_slice::<Environment>(json)
    });
    let config = match environment {
        Ok(Environment { vars, secrets }) => Config::parse(&vars, &secrets).at(timestamp(now)),
        Err(_) => Config {
            faults: vec![Fault {
                path: "vars".to_owned(),
                problem: "can't be read".to_owned(),
            }],
            ..Config::default()
        },
    };
    let sources = config.sources.iter().map(|(id, source)| {
        let reading = Reading {
            header: source
                .as_ref()
                .map_or("", |source| source.provider.signature_header()),
            max_body: source.as_ref().map_or(0, |source| source.max_body),
        };
        (id.as_str(), reading)
    });
    let head = to_json(&Configured {
        sound: config.is_sound(),
        faults: config.faults.iter().map(Fault::to_string).collect(),
        sources: sources.collect(),
    });
    GATEWAY.set(Rc::new(Gateway::new(config)));
    write(0, &head, &[])
}

/// Takes a request: its head from the input, and `body_len` bytes of body 64 KiB after it.
#[wasm_bindgen]
pub fn begin(head_len: u32, body_len: u32, received: u8, received_at: f64, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    // Shared with nobody: JavaScript writes here only between calls.
    let (machine, effect) = INPUT.with_borrow(|input| {
        let (head, bodies) = input.split_at_checked(HEAD_BYTES).unwrap_or_default();
        let head = head.get(..head_len as usize).unwrap_or_default();
        let body = bodies.get(..body_len as usize).unwrap_or_default();
        let mut lines = std::str::from_utf8(head).unwrap_or_default().split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let (method, source) = (line(), line());
        let mut header = || Some(line()).filter(|&value| value != ABSENT);
        let inbound = Inbound {
            method,
            source,
            received: Received::from_u8(received).unwrap_or(Received::Incomplete),
            content_type: header(),
            traceparent: header(),
            signature: header(),
            body: RawBody::new(body),
        };
        #[cfg(feature = "test-hooks")]
        super::hooks::trap(inbound.traceparent.unwrap_or_default().as_bytes());
        Machine::begin(&gateway, inbound, timestamp(received_at), timestamp(now))
    });
    let handle = NEXT.get();
    NEXT.set(handle.wrapping_add(1).max(1));
    keep(handle, machine, effect)
}

/// Goes on with what came of the effect that `handle` asked for: 0 replied (`len` bytes in the input), 1 answered (`status`, and `len` bytes of `Retry-After` in the
/// input; 0: none), 2 failed, 3 timed out.
#[wasm_bindgen]
pub fn resume(handle: u32, done: u8, status: u16, len: u32, now: f64) -> u32 {
    let gateway = GATEWAY.with_borrow(Rc::clone);
    let Some(machine) = MACHINES.with_borrow_mut(|machines| machines.remove(&handle)) else {
        return 0;
    };
    let (machine, effect) = INPUT.with_borrow(|input| {
        let bytes = input.get(..len as usize).unwrap_or_default();
        let done = match done {
            0 => Done::Replied(bytes),
            1 => Done::Answered {
                status,
                retry_after: std::str::from_utf8(bytes).ok().filter(|v| !v.is_empty()),
            },
            3 => Done::TimedOut,
            _ => Done::Failed,
        };
        machine.resume(&gateway, &done, timestamp(now))
    });
    keep(handle, machine, effect)
}

/// Drops a machine that nobody will resume.
#[wasm_bindgen]
pub fn abandon(handle: u32) {
    MACHINES.with_borrow_mut(|machines| machines.remove(&handle));
}

/// An effect, for `core.mjs`.
#[derive(Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Head<'a> {
    Ask {
        object: &'a str,
        timeout: u64,
    },
    Deliver {
        url: &'a str,
        headers: &'a [(String, String)],
        timeout: u64,
    },
    /// The body is the answer's, then the log line's.
    Answer {
        status: u16,
        retry_after: Option<u64>,
        answer_bytes: usize,
        level: &'static str,
    },
}

fn keep(handle: u32, machine: Machine, effect: Effect) -> u32 {
    match effect {
        Effect::Ask {
            object,
            request,
            timeout,
        } => {
            MACHINES.with_borrow_mut(|machines| machines.insert(handle, machine));
            let head = Head::Ask {
                object: &object,
                timeout: millis(timeout),
            };
            write(handle, &to_json(&head), &request.pack())
        }
        Effect::Deliver(delivery) => {
            MACHINES.with_borrow_mut(|machines| machines.insert(handle, machine));
            let head = Head::Deliver {
                url: &delivery.url,
                headers: &delivery.headers,
                timeout: millis(delivery.timeout),
            };
            write(handle, &to_json(&head), &delivery.body)
        }
        Effect::Answer(end) => {
            let (answer, record) = *end;
            let head = Head::Answer {
                status: answer.status,
                retry_after: answer.retry_after,
                answer_bytes: answer.body.len(),
                level: record.level,
            };
            let mut body = answer.body.into_bytes();
            body.extend_from_slice(&to_json(&record));
            write(0, &to_json(&head), &body)
        }
    }
}

/// Puts handle, lengths, head and body into the output, and says where it is.
fn write(handle: u32, head: &[u8], body: &[u8]) -> u32 {
    let mut output = OUTPUT.take();
    output.clear();
    let needed = 12 + head.len() + body.len();
    if output.capacity() > HEAD_BYTES.max(needed) {
        // A large event isn't worth its memory once it is gone.
        output = Vec::new();
    }
    output.reserve(needed);
    for number in [handle, length(head), length(body)] {
        output.extend_from_slice(&number.to_le_bytes());
    }
    output.extend_from_slice(head);
    output.extend_from_slice(body);
    let place = address(output.as_ptr().expose_provenance());
    OUTPUT.set(output);
    place
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // Strings and numbers: writing them can't fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Addresses of wasm32 have 32 bits.
fn address(pointer: usize) -> u32 {
    u32::try_from(pointer).unwrap_or(0)
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "milliseconds of Date.now()"
)]
fn timestamp(millis: f64) -> Timestamp {
    Timestamp(millis as i64)
}

//! The core without wasm, for `benches/inprocess.mjs`, which tells it on stdin what to measure: it takes turns with the others.
//!
//! Lines in: `source <table as JSON>`, `key <secret>`, `signature <header>`, `body <text>`, and `turn <what> <milliseconds>`, which is answered with nanoseconds a call.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::{Duration, Instant, SystemTime};

use rxgate::auth::scheme::Head;
use rxgate::js::{PackageSource, Request};
use rxgate::time::Timestamp;

type Failure = Box<dyn std::error::Error>;

/// Calls between two looks at the clock.
const AT_ONCE: u32 = 8;

fn main() -> Result<(), Failure> {
    let mut secrets = BTreeMap::new();
    let mut table = serde_json::Value::Null;
    let mut source = None;
    let (mut signature, mut body) = (String::new(), String::new());
    for line in stdin().lock().lines() {
        let line = line?;
        let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "key" => drop(secrets.insert("keys[0].secret".to_owned(), rest.to_owned())),
            "source" => {
                table = serde_json::from_str(rest)?;
                source = None;
            }
            "signature" => rest.clone_into(&mut signature),
            "body" => rest.clone_into(&mut body),
            "turn" => {
                if source.is_none() {
                    let parsed = PackageSource::parse("osigu", &table, secrets.clone());
                    source = Some(parsed.map_err(|faults| format!("{faults:?}"))?);
                }
                let source = source.as_ref().ok_or("no source")?;
                let (what, milliseconds) = rest.split_once(' ').ok_or("turn <what> <ms>")?;
                let span = Duration::from_millis(milliseconds.parse()?);
                let request = Request {
                    head: Head {
                        method: "POST",
                        url: None,
                        signature: Some(&signature),
                        more: &[],
                        path: None,
                        address: None,
                    },
                    traceparent: None,
                    body: body.as_bytes(),
                    now: now()?,
                };
                let nanoseconds = match what {
                    "authenticate" => turn(span, || source.authenticate(&request).is_ok()),
                    "verify" => turn(span, || source.verify(&request).is_ok()),
                    "normalise" => turn(span, || source.normalise(&request).is_ok()),
                    _ => return Err("no such call".into()),
                }?;
                let mut out = stdout().lock();
                writeln!(out, "{nanoseconds:.1}")?;
                out.flush()?;
            }
            _ => return Err("no such line".into()),
        }
    }
    Ok(())
}

fn now() -> Result<Timestamp, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp(i64::try_from(since.as_millis())?))
}

/// Nanoseconds a call, over a turn. Each has to succeed.
fn turn(span: Duration, call: impl Fn() -> bool) -> Result<f64, Failure> {
    let mut calls = 0_u32;
    let began = Instant::now();
    while began.elapsed() < span {
        for _ in 0..AT_ONCE {
            if !black_box(&call)() {
                return Err("a call was refused".into());
            }
        }
        calls += AT_ONCE;
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(calls.max(1)))
}

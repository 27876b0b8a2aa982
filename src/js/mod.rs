//! What the npm package does, without its boundary: one source at a time, one request at a time, nothing remembered.

#[cfg(target_arch = "wasm32")]
mod edge;

use std::time::Duration;

use serde::Serialize;

use crate::auth::scheme::{Algorithm, Form, Head, Scheme, Settings, SignProblem, Signer};
use crate::auth::{
    Authentication, HmacSha256, Key, KeyId, OSIGU_SIGNATURE, RawBody, SignatureRefusal, Stale,
    Strength, Verified,
};
use crate::by_name::ByName;
use crate::bytes::hex;
use crate::config::{Config, Fault, MAX_BODY_BYTES, Setting, Source};
use crate::delivery::webhook_id;
use crate::entity::{Ordering, event_digest};
use crate::event::phi::Scratch;
use crate::event::{Claimed, Invalid, Prepared};
use crate::inbound::well_formed_traceparent;
use crate::json;
use crate::outcome::Outcome;
use crate::parcel::Reason;
use crate::provider::phil::{self, Echo, Ended};
use crate::provider::{Context, Provider, Refusal};
use crate::time::Timestamp;

/// A source, and what signs as its sender.
#[derive(Debug)]
pub struct PackageSource {
    source: Source,
    secrets: Secrets,
    /// What a body that was authenticated elsewhere is taken by.
    nobody: Option<Scheme>,
}

/// The secrets of a source, by the names that the package gives them: the paths of their settings. `Debug` shows these.
struct Secrets(ByName<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is read of a request besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What authentication reads.
    pub head: Head<'a>,
    /// The trace context.
    pub traceparent: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// The caller's clock.
    pub now: Timestamp,
}

/// What came of a request that is the sender's.
#[derive(Debug)]
pub struct Event {
    /// The canonical event, as JSON.
    pub json: Vec<u8>,
    /// Names the event, and nothing of it: the same however often it comes. The gateway's `webhook-id`.
    pub webhook_id: String,
    /// The key that vouches for it.
    pub key: KeyId,
    /// When the sender says that it signed.
    pub signed_at: Option<Timestamp>,
    /// What the sender wants to be answered, if it isn't any 2xx.
    pub answer: Option<String>,
}

/// Why there is no event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Stable, in snake case.
    pub code: &'static str,
    /// What to answer.
    pub status: u16,
    /// The body of the answer, where the sender wants one of its own.
    pub answer: Option<String>,
    /// Whether it is the sender's all the same.
    pub authentic: bool,
    /// Where in the body, by field names that are documented.
    pub path: Option<String>,
    /// What is wrong there.
    pub problem: Option<String>,
    /// Our clock minus the sender's, in seconds.
    pub skew: Option<i64>,
    /// The key that matched.
    pub key: Option<String>,
    /// Names the event, if its id could be read.
    pub webhook_id: Option<String>,
}

impl PackageSource {
    /// Reads a source's table, as in `wrangler.toml`, and the secrets that it names.
    pub fn parse(
        id: &str,
        table: impl Into<Setting>,
        secrets: impl Into<ByName<String>>,
    ) -> Result<Self, Vec<Fault>> {
        let secrets = secrets.into();
        let source = Config::source(id, table, &secrets)?;
        let secrets = Secrets(secrets);
        let nobody = Settings {
            algorithm: Some("none"),
            ..Settings::default()
        };
        // Without keys there is nothing that could be wrong with it.
        let nobody = nobody
            .compile()
            .ok()
            .and_then(|form| Scheme::new(form, &[], Duration::ZERO, Stale::Refuse).ok());
        Ok(Self {
            source,
            secrets,
            nobody,
        })
    }

    /// The settings.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the request is the sender's.
    pub fn authenticate<'a>(&self, request: &Request<'a>) -> Result<Verified<'a>, Box<Refused>> {
        let source = &self.source;
        let Request {
            head, body, now, ..
        } = *request;
        // The path first, then the address, then the size, as the gateway has it: who has no token is told nothing else.
        if !source.scheme.admits(head.path, now) {
            let mut refused = self.refused(Outcome::SourceUnknown, request);
            refused.problem = Some("path_token_mismatch".to_owned());
            return Err(refused);
        }
        if !source.scheme.allows(head.address) {
            return Err(self.refused(Outcome::AddressNotAllowed, request));
        }
        if body.len() > source.max_body {
            return Err(self.refused(Outcome::BodyTooLarge, request));
        }
        source
            .scheme
            .authenticate(head, RawBody::new(body), now)
            .map_err(|refusal| match refusal {
                SignatureRefusal::Missing => self.refused(Outcome::SignatureMissing, request),
                SignatureRefusal::Malformed => self.refused(Outcome::SignatureMalformed, request),
                SignatureRefusal::Mismatch => self.refused(Outcome::SignatureMismatch, request),
                SignatureRefusal::AddressNotAllowed => {
                    self.refused(Outcome::AddressNotAllowed, request)
                }
                SignatureRefusal::NoUsableKey => {
                    let mut refused = self.refused(Outcome::SourceMisconfigured, request);
                    refused.problem = Some("keys_expired".to_owned());
                    refused
                }
                SignatureRefusal::TimestampOutOfTolerance { skew, key } => {
                    let mut refused = self.refused(Outcome::TimestampOutOfTolerance, request);
                    refused.authentic = true;
                    refused.skew = Some(skew);
                    refused.key = Some(key.as_str().to_owned());
                    refused
                }
            })
    }

    /// The canonical event of a request that is the sender's.
    pub fn verify(&self, request: &Request<'_>) -> Result<Event, Box<Refused>> {
        let verified = self.authenticate(request)?;
        self.event(&verified, request)
    }

    /// The canonical event of a body that was authenticated elsewhere, or by nobody: `rxauth` is `none`.
    pub fn normalise(&self, request: &Request<'_>) -> Result<Event, Box<Refused>> {
        if request.body.len() > self.source.max_body {
            return Err(self.refused(Outcome::BodyTooLarge, request));
        }
        let verified = self.nobody.as_ref().and_then(|scheme| {
            let body = RawBody::new(request.body);
            scheme.authenticate(request.head, body, request.now).ok()
        });
        match verified {
            Some(verified) => self.event(&verified, request),
            None => Err(self.refused(Outcome::InternalError, request)),
        }
    }

    fn event(&self, verified: &Verified<'_>, request: &Request<'_>) -> Result<Event, Box<Refused>> {
        let source = &self.source;
        let sender = source.expected.sender.as_ref();
        if let Some(challenge) = sender.and_then(|sender| sender.challenge(verified)) {
            let mut refused = self.refused(Outcome::ChallengeAnswered, request);
            refused.authentic = is_proved(verified);
            refused.answer = Some(challenge_answer(&challenge));
            return Err(refused);
        }
        let scratch = Scratch::default();
        let traceparent = request.traceparent;
        let context = Context {
            source: &source.id,
            expected: &source.expected,
            phi: &source.phi,
            scratch: &scratch,
            webhook: source.scheme.webhook(request.head.path),
            zone: source.zone,
            auth: verified.proof().strength.name(),
            traceparent: traceparent.filter(|value| well_formed_traceparent(value)),
        };
        let decoded = match source.provider.read(verified, context) {
            Ok(decoded) => decoded,
            Err((refusal, event_id)) => {
                let digest = event_id.map(|id| event_digest(&source.id, &id));
                let mut refused = Box::new(self.unreadable(refusal, verified, request.now));
                refused.webhook_id = digest.as_ref().map(webhook_id);
                refused.key = Some(verified.proof().key.as_str().to_owned());
                return Err(refused);
            }
        };
        let prepared = Prepared::new(&decoded.attributes, &decoded.data, request.body.len());
        let answer = self.answer(verified, Outcome::Delivered, None, None, request.now);
        Ok(Event {
            json: prepared.finish(Claimed {
                sequence: None,
                state: None,
                ordering: Ordering::Unknown,
                round: 0,
                deduped: false,
            }),
            webhook_id: webhook_id(&event_digest(&source.id, &decoded.id)),
            key: verified.proof().key.clone(),
            signed_at: verified.proof().signed_at,
            answer: answer.map(|(_, body)| body),
        })
    }

    /// It is the sender's, and can't be read as an event.
    fn unreadable(&self, refusal: Refusal, verified: &Verified<'_>, now: Timestamp) -> Refused {
        let (reason, path, problem) = match refusal {
            Refusal::Malformed(why) => (Reason::BodyMalformed, None, Some(why.name())),
            Refusal::Invalid(Invalid { path, problem }) => {
                (Reason::EventInvalid, Some(path), Some(problem))
            }
            Refusal::EnvironmentMismatch => (Reason::EnvironmentMismatch, None, None),
            Refusal::ProviderMismatch => (Reason::ProviderMismatch, None, None),
            Refusal::Contradictory(Invalid { path, problem }) => {
                (Reason::EventContradictory, Some(path), Some(problem))
            }
        };
        let told = path.as_deref().zip(problem);
        let outcome = Outcome::DeadLettered;
        let answer = self.answer(verified, outcome, Some(reason), told, now);
        Refused {
            code: reason.code(),
            status: answer.as_ref().map_or(422, |(status, _)| *status),
            answer: answer.map(|(_, body)| body),
            authentic: is_proved(verified),
            path,
            problem: problem.map(str::to_owned),
            ..Refused::default()
        }
    }

    /// What the sender's own form of an answer is.
    fn answer(
        &self,
        verified: &Verified<'_>,
        outcome: Outcome,
        reason: Option<Reason>,
        told: Option<(&str, &str)>,
        now: Timestamp,
    ) -> Option<(u16, String)> {
        (self.source.provider == Provider::PhilCallback).then(|| {
            let echo = Echo::read(verified);
            phil_answer(outcome, reason, told, &echo, now)
        })
    }

    fn refused(&self, outcome: Outcome, request: &Request<'_>) -> Box<Refused> {
        let spec = outcome.spec();
        let phil = self.source.provider == Provider::PhilCallback;
        let answer = phil.then(|| phil_answer(outcome, None, None, &Echo::default(), request.now));
        Box::new(Refused {
            code: spec.code,
            status: answer.as_ref().map_or(spec.status, |(status, _)| *status),
            answer: answer.map(|(_, body)| body),
            ..Refused::default()
        })
    }

    /// The headers of a request that the sender would send, and what its path would end in, by the first of the source's keys or the one given.
    pub fn sign(
        &self,
        signer: &Signer<'_>,
        key: Option<&str>,
        webhook: Option<&str>,
        body: &[u8],
    ) -> Result<Signed, String> {
        let secret = |path: &str| self.secrets.0.get(path).map(String::as_str);
        let mut signed = Signed::default();
        match &self.source.scheme {
            Authentication::Timestamped(_) => {
                let text = key.or(secret("keys[0].secret")).unwrap_or_default();
                let key: Result<Key<HmacSha256>, _> =
                    Key::new(KeyId::new("signer"), text.as_bytes(), None);
                let key = key.map_err(|_| "key: has less than 16 bytes".to_owned())?;
                let at = signer.at.seconds().to_string();
                let tag = key.tag(&[at.as_bytes(), b".", body]);
                let value = format!("t={at},v1={}", hex(tag.as_bytes()));
                signed.headers.push((OSIGU_SIGNATURE.to_owned(), value));
            }
            Authentication::Configured(scheme) => {
                let first = secret("keys[0].secret").unwrap_or_default();
                let form = scheme.form();
                if key.is_none() && form.algorithm() == Algorithm::Ed25519 {
                    return Err(
                        "key: is missing: a source has the public key, and signing needs the private one"
                            .to_owned(),
                    );
                }
                let api_key = secret("scheme.api_key.secret");
                signed.headers = sign(form, signer, key.unwrap_or(first), api_key, body)?;
            }
            Authentication::Unsigned(door) => {
                if let Some(scheme) = door.scheme() {
                    let paths = ["header.keys[0].secret", "basic[0].secret"];
                    let first = paths.into_iter().find_map(secret).unwrap_or_default();
                    signed.headers = sign(scheme.form(), signer, key.unwrap_or(first), None, body)?;
                }
                let token = secret("path_tokens[0].secret").filter(|_| door.has_path_tokens());
                let parts: Vec<&str> = token.into_iter().chain(webhook).collect();
                signed.path = (!parts.is_empty()).then(|| parts.join("/"));
            }
        }
        Ok(signed)
    }

    /// What can be told of a request that isn't taken for the sender's, besides its code: names of [`Hint`].
    pub fn explain(&self, request: &Request<'_>) -> Option<Hint> {
        let holds = |body: &[u8]| {
            let head = request.head;
            let checked = self
                .source
                .scheme
                .authenticate(head, RawBody::new(body), request.now);
            !matches!(
                checked,
                Err(SignatureRefusal::Mismatch | SignatureRefusal::NoUsableKey)
            )
        };
        // Another time than that of its keys: one that is past its end may have signed it.
        let expired =
            self.source
                .scheme
                .authenticate(request.head, RawBody::new(request.body), Timestamp(0));
        if holds(request.body) {
            return None;
        }
        if !matches!(
            expired,
            Err(SignatureRefusal::Mismatch | SignatureRefusal::NoUsableKey)
        ) {
            return Some(Hint::KeyExpired);
        }
        let changed: [Change; 6] = [
            compact,
            pretty,
            spaced,
            trimmed,
            with_line_end,
            with_unix_lines,
        ];
        let is_changed = |change: &Change| {
            change(request.body).is_some_and(|body| body != request.body && holds(&body))
        };
        changed.iter().any(is_changed).then_some(Hint::BodyChanged)
    }
}

/// Whether a key vouches for it: an address alone, or nothing at all, proves nothing.
fn is_proved(verified: &Verified<'_>) -> bool {
    verified.proof().strength != Strength::None
}

/// What a request would be sent with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What the path ends in, behind the source's name.
    pub path: Option<String>,
}

/// Why a signature doesn't match, where that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The key that made it is past its `not_after`.
    KeyExpired,
    /// It holds over the same JSON, written in another way: the body was parsed and written again, or its white space changed.
    BodyChanged,
}

impl Hint {
    /// As the package has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyExpired => "key_expired",
            Self::BodyChanged => "body_changed",
        }
    }
}

fn sign(
    form: &Form,
    signer: &Signer<'_>,
    key: &str,
    api_key: Option<&str>,
    body: &[u8],
) -> Result<Vec<(String, String)>, String> {
    let signer = Signer {
        key,
        api_key,
        ..*signer
    };
    form.sign(&signer, body)
        .map_err(|problem: SignProblem| problem.to_string())
}

/// What may have become of a body on its way.
type Change = fn(&[u8]) -> Option<Vec<u8>>;

fn compact(body: &[u8]) -> Option<Vec<u8>> {
    rewritten(body, &|_, _| String::new())
}

fn spaced(body: &[u8]) -> Option<Vec<u8>> {
    rewritten(body, &|after, _| {
        let space = if matches!(after, b',' | b':') {
            " "
        } else {
            ""
        };
        space.to_owned()
    })
}

fn pretty(body: &[u8]) -> Option<Vec<u8>> {
    rewritten(body, &|after, depth| match after {
        b':' => " ".to_owned(),
        _ => format!("\n{}", "  ".repeat(depth)),
    })
}

/// The levels that a body may have.
const MOST_DEEP: usize = 128;

/// The same JSON with other white space: `gap` says what stands behind a `{`, `[`, `,` or `:` and before a `}` or `]`, at this depth. An empty object or array has none.
fn rewritten(body: &[u8], gap: &dyn Fn(u8, usize) -> String) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut whole = body.iter().copied().peekable();
    while let Some(byte) = whole.next() {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => {
                in_text = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                while whole.next_if(u8::is_ascii_whitespace).is_some() {}
                if !matches!(whole.peek(), Some(b'}' | b']')) {
                    depth += 1;
                    // What is deeper than any event, or becomes longer than any body, was never sent.
                    if depth > MOST_DEEP || out.len() > MAX_BODY_BYTES {
                        return None;
                    }
                    out.extend_from_slice(gap(byte, depth).as_bytes());
                } else if let Some(end) = whole.next() {
                    out.push(end);
                }
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                out.extend_from_slice(gap(byte, depth).as_bytes());
                out.push(byte);
            }
            b',' | b':' => {
                out.push(byte);
                out.extend_from_slice(gap(byte, depth).as_bytes());
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => out.push(byte),
        }
    }
    Some(out)
}

fn trimmed(body: &[u8]) -> Option<Vec<u8>> {
    Some(body.trim_ascii().to_vec())
}

fn with_line_end(body: &[u8]) -> Option<Vec<u8>> {
    Some([body, b"\n"].concat())
}

fn with_unix_lines(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut whole = body.iter().peekable();
    while let Some(byte) = whole.next() {
        if *byte != b'\r' || whole.peek() != Some(&&b'\n') {
            out.push(*byte);
        }
    }
    Some(out)
}

fn phil_answer(
    outcome: Outcome,
    reason: Option<Reason>,
    told: Option<(&str, &str)>,
    echo: &Echo,
    now: Timestamp,
) -> (u16, String) {
    let ended = Ended {
        outcome,
        reason,
        problem: told.map(|(_, problem)| problem),
        path: told.map(|(path, _)| path),
    };
    let reply = phil::answer(&ended, echo, now);
    (reply.status, reply.body)
}

/// As the gateway answers it.
fn challenge_answer(challenge: &str) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        challenge: &'a str,
    }
    json::to_string(&Answer { challenge })
}

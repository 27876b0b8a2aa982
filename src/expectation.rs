//! Callbacks that somebody waits for: the API by which they are announced, the notice that goes out if none comes, and what the cron does so that no alarm is missed.
//! Decided here, performed by the shell, as a [`Machine`](crate::machine::Machine) is.
//!
//! The notice is sealed when the expectation is registered, as the message of our own queue that it will be: so the object that wakes for it holds no key, and reads nothing.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::{KeyId, Proof, Strength, Verified};
use crate::bytes::hex;
use crate::config::{Expecting, Source};
use crate::effect::{Answer, Done, Effect, Verdict};
use crate::entity::{
    Agreed, EntityKey, ExpectReply, ExpectRequest, Expected, Objects, Reply, Request, Standing,
};
use crate::event::fits_attribute;
use crate::inbound::Received;
use crate::json::{Index, Value};
use crate::machine::{Gateway, LAYOUT_OBJECT};
use crate::operator::authorized;
use crate::outcome::Level;
use crate::parcel::Parcel;
use crate::provider::phil::Overdue;
use crate::record::Record;
use crate::time::{Timestamp, to_text};

/// The path of the API; the source's name follows.
pub const EXPECTATIONS_PATH: &str = "/v1/expectations/";
/// The caller's clock may be ahead of ours by so much.
const TOLERANCE: Duration = Duration::from_secs(300);
/// No call takes longer.
const DEADLINE: Duration = Duration::from_secs(25);
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_SECONDS: u64 = 5;
/// The cron asks so many objects at a time. Where there are more, each turn begins at another one.
const MAX_WATCHED: u32 = 64;

/// A request of whoever waits for callbacks. `Debug` shows neither the key nor what is waited for.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// In capitals.
    pub method: &'a str,
    /// The source's id, out of the path.
    pub source: &'a str,
    /// The `authorization` header.
    pub authorization: Option<&'a str>,
    /// Names and values, decoded.
    pub query: &'a [(String, String)],
    /// What became of the body.
    pub received: Received,
    /// `None`: there is none, or not all of it.
    pub body: Option<&'a str>,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("authorized", &self.authorization.is_some())
            .finish_non_exhaustive()
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A callback is expected from now on.
    Registered,
    /// It was before.
    RegisteredBefore,
    /// The callback came already.
    Met,
    /// How it stands.
    Read,
    /// It is expected no longer.
    Deleted,
    /// Nobody expects it.
    Unknown,
    /// Something of the request isn't as it should be.
    ParameterInvalid,
    /// There is no key, or a wrong one.
    Unauthorized,
    /// No source of that name takes expectations.
    PathUnknown,
    /// Not by this method.
    MethodNotAllowed,
    /// The body is longer than an id and a time.
    BodyTooLarge,
    /// It ended early or took too long.
    BodyIncomplete,
    /// There are too many bodies under way.
    Overloaded,
    /// The source's settings are faulty.
    SourceMisconfigured,
    /// The object doesn't answer.
    StoreUnavailable,
    /// The number of shards was changed without saying so.
    ShardsChanged,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Registered,
        Self::RegisteredBefore,
        Self::Met,
        Self::Read,
        Self::Deleted,
        Self::Unknown,
        Self::ParameterInvalid,
        Self::Unauthorized,
        Self::PathUnknown,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::BodyIncomplete,
        Self::Overloaded,
        Self::SourceMisconfigured,
        Self::StoreUnavailable,
        Self::ShardsChanged,
    ];

    /// Status, code and level.
    #[rustfmt::skip]
    pub fn spec(self) -> (u16, &'static str, Level) {
        use Level::{Error, Info, Warn};
        match self {
            Self::Registered          => (201, "expectation_registered", Info),
            Self::RegisteredBefore    => (200, "expectation_registered", Info),
            Self::Met                 => (200, "expectation_met",        Info),
            Self::Read                => (200, "expectation_read",       Info),
            Self::Deleted             => (200, "expectation_deleted",    Info),
            Self::Unknown             => (404, "expectation_unknown",    Warn),
            Self::ParameterInvalid    => (400, "parameter_invalid",      Warn),
            Self::Unauthorized        => (401, "unauthorized",           Warn),
            Self::PathUnknown         => (404, "path_unknown",           Warn),
            Self::MethodNotAllowed    => (405, "method_not_allowed",     Warn),
            Self::BodyTooLarge        => (413, "body_too_large",         Warn),
            Self::BodyIncomplete      => (503, "body_incomplete",        Warn),
            Self::Overloaded          => (503, "overloaded",             Error),
            Self::SourceMisconfigured => (503, "source_misconfigured",   Error),
            Self::StoreUnavailable    => (503, "store_unavailable",      Error),
            Self::ShardsChanged       => (503, "shards_changed",         Error),
        }
    }
}

/// One call about a callback that is waited for.
#[derive(Debug)]
pub struct Expectation {
    state: State,
    began: Timestamp,
    record: Record,
}

#[derive(Debug)]
enum State {
    Limiting(Ending),
    Agreeing(Work),
    /// During a change of shards: whether the object of now knows of it.
    Looking(Work, Agreed, Objects),
    /// The same of the object before. With the objects that it stands in, if these are the ones of now.
    LookingBack(Work, Agreed, Objects, Option<Objects>),
    /// It is removed from the object of now. A Worker of the version before may have announced it again, to the object before.
    Removing(Work, Objects),
    Asking(Work),
    Ended,
}

/// What is to be done.
struct Work {
    entity: EntityKey,
    what: What,
    /// Whether another object knows of a callback.
    called_back: bool,
    /// Whether another object has forgotten it.
    removed: bool,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("entity", &self.entity)
            .finish_non_exhaustive()
    }
}

enum What {
    Register(Expected),
    Read,
    Remove,
}

/// What the notice will say, as it travels in a parcel.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notice {
    #[serde(rename = "requestID")]
    request_id: String,
    requested_at: String,
    due_at: String,
}

impl Notice {
    /// Reads what [`Expectation`] wrote.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// What there is to say.
    pub(crate) fn overdue<'a>(&'a self, source: &'a Source, by: &'a Verified<'_>) -> Overdue<'a> {
        let at = |text: &str| Timestamp::parse_rfc3339(text).unwrap_or_default();
        Overdue {
            source: &source.id,
            phi: &source.phi,
            request_id: &self.request_id,
            requested_at: at(&self.requested_at),
            due_at: at(&self.due_at),
            auth: by.proof().strength.name(),
            key_id: by.proof().key.as_str(),
        }
    }
}

/// The source of that name, and what it says of expected callbacks. To who has no key, a source without any and one that there isn't are the same.
fn expecting<'g>(
    gateway: &'g Gateway,
    source: &str,
) -> Result<(&'g Source, &'g Expecting), Ending> {
    match gateway.config().sources.get(source) {
        None => Err(Ending::PathUnknown),
        Some(None) => Err(Ending::SourceMisconfigured),
        Some(Some(source)) => {
            let expecting = source.expecting.as_ref().ok_or(Ending::PathUnknown)?;
            Ok((source, expecting))
        }
    }
}

/// Whether a body is worth reading from who has this key.
pub fn admits(
    gateway: &Gateway,
    source: &str,
    authorization: Option<&str>,
    now: Timestamp,
) -> bool {
    expecting(gateway, source)
        .is_ok_and(|(_, expecting)| authorized(expecting.keys.usable(now), authorization).is_some())
}

impl Expectation {
    /// Takes a call.
    pub fn begin(gateway: &Gateway, call: Call<'_>, now: Timestamp) -> (Self, Effect) {
        let mut this = Self {
            state: State::Ended,
            began: now,
            record: Record::default(),
        };
        let refused = match expecting(gateway, call.source) {
            Err(ending) => ending,
            Ok((source, expecting)) => {
                this.record.source = Some(source.id.clone());
                this.record.provider = Some(source.name());
                match authorized(expecting.keys.usable(now), call.authorization) {
                    Some(key) => {
                        return this.authorized(gateway, source, expecting, key, call, now);
                    }
                    None => Ending::Unauthorized,
                }
            }
        };
        if gateway.config().bindings.rate_limit {
            this.state = State::Limiting(refused);
            let key = "/expectations".to_owned();
            return (this, Effect::Limit { key });
        }
        this.end(refused, None, now)
    }

    fn authorized(
        mut self,
        gateway: &Gateway,
        source: &Source,
        expecting: &Expecting,
        key: KeyId,
        call: Call<'_>,
        now: Timestamp,
    ) -> (Self, Effect) {
        self.record.key_id = Some(key.as_str().to_owned());
        let refused = match call.received {
            _ if call.method != "POST" => None,
            Received::TooLarge => Some(Ending::BodyTooLarge),
            Received::Incomplete => Some(Ending::BodyIncomplete),
            Received::Overloaded => Some(Ending::Overloaded),
            Received::Complete | Received::PathUnknown => None,
        };
        if let Some(refused) = refused {
            return self.end(refused, None, now);
        }
        let read = match call.method {
            "POST" => of_body(call, source, now),
            "GET" | "DELETE" => of_query(call.query).map(|id| (id, now)),
            _ => return self.end(Ending::MethodNotAllowed, None, now),
        };
        let (request_id, requested_at) = match read {
            Ok(read) => read,
            Err(problem) => {
                let problem = json_of(&Problem { problem: &problem });
                return self.end(Ending::ParameterInvalid, Some(problem), now);
            }
        };
        let entity = EntityKey::of(&source.id, &format!("transfer/{request_id}"));
        self.record.entity = Some(hex(&entity.0));
        let what = match call.method {
            "GET" => What::Read,
            "DELETE" => What::Remove,
            _ => {
                let due = requested_at.after(expecting.within);
                let body = json_of(&Notice {
                    request_id,
                    requested_at: to_text(requested_at),
                    due_at: to_text(due),
                });
                let proof = Proof::of(key, Strength::Token);
                let parcel = Parcel::notice(&source.id, now, proof, body.into_bytes());
                let Some(notice) = gateway.seal_delivery(&parcel) else {
                    return self.end(Ending::StoreUnavailable, None, now);
                };
                What::Register(Expected {
                    standing: Standing::Pending,
                    due,
                    kept: source.window,
                    notice,
                })
            }
        };
        let work = Work {
            entity,
            what,
            called_back: false,
            removed: false,
        };
        match gateway.agreed() {
            Some(agreed) => self.locate(work, agreed, now),
            None => {
                let request = gateway.layout_request();
                let object = LAYOUT_OBJECT.to_owned();
                self.ask(object, request, State::Agreeing(work), now)
            }
        }
    }

    /// Goes on with what came of the last effect.
    pub fn resume(mut self, gateway: &Gateway, done: &Done<'_>, now: Timestamp) -> (Self, Effect) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let State::Limiting(ending) = state {
            let (sample, is_sample) = gateway.samples();
            let limited = matches!(done, Done::Limited);
            self.record.sampled = limited.then_some(sample);
            return self.finish(ending, None, !limited || is_sample, now);
        }
        let reply = reply(&mut self.record, done);
        match (state, reply) {
            (State::Agreeing(work), Some(Reply::Layout(Ok(agreed)))) => {
                gateway.agree(Some(agreed));
                self.locate(work, agreed, now)
            }
            (State::Agreeing(_), Some(Reply::Layout(Err(refused)))) => {
                self.record.recorded_shards = Some(refused.recorded);
                self.record.wait_seconds = Some(refused.wait.as_secs());
                self.end(Ending::ShardsChanged, None, now)
            }
            (
                State::Looking(mut work, agreed, previous),
                Some(Reply::Expect(ExpectReply::Read {
                    expected,
                    called_back,
                })),
            ) => {
                work.called_back = called_back;
                if expected.is_some() && matches!(work.what, What::Remove) {
                    let object = agreed.objects.name(work.entity);
                    let request = Request::Expect(ExpectRequest::Remove(work.entity));
                    return self.ask(object, request, State::Removing(work, previous), now);
                }
                // Announced anew since the change, it stands here; the object before may know of the callback all the same.
                let stands_here = expected.map(|_| agreed.objects);
                let is_told = expected.is_some_and(|(standing, _)| standing != Standing::Pending);
                if stands_here.is_some() && (is_told || called_back) {
                    return self.operate(work, agreed.objects, now);
                }
                let object = previous.name(work.entity);
                let request = Request::Expect(ExpectRequest::Read(work.entity));
                let state = State::LookingBack(work, agreed, previous, stands_here);
                self.ask(object, request, state, now)
            }
            (
                State::LookingBack(mut work, agreed, previous, stands_here),
                Some(Reply::Expect(ExpectReply::Read {
                    expected,
                    called_back,
                })),
            ) => {
                work.called_back |= called_back;
                // An expectation stays where it was registered: there it is waited for.
                let stands_back = expected.map(|_| previous);
                let objects = stands_here.or(stands_back).unwrap_or(agreed.objects);
                self.operate(work, objects, now)
            }
            (
                State::Removing(mut work, previous),
                Some(Reply::Expect(ExpectReply::Removed(removed))),
            ) => {
                work.removed = removed;
                self.operate(work, previous, now)
            }
            (State::Asking(work), Some(Reply::Expect(reply))) => {
                self.answered(gateway, &work, reply, now)
            }
            _ => self.end(Ending::StoreUnavailable, None, now),
        }
    }

    /// Finds the object where it stands, or is to stand.
    fn locate(self, work: Work, agreed: Agreed, now: Timestamp) -> (Self, Effect) {
        let Some(previous) = agreed.previous else {
            return self.operate(work, agreed.objects, now);
        };
        let object = agreed.objects.name(work.entity);
        let request = Request::Expect(ExpectRequest::Read(work.entity));
        self.ask(object, request, State::Looking(work, agreed, previous), now)
    }

    fn operate(self, work: Work, objects: Objects, now: Timestamp) -> (Self, Effect) {
        let request = match &work.what {
            What::Register(expected) => {
                let mut expected = expected.clone();
                if work.called_back {
                    expected.standing = Standing::Met;
                }
                ExpectRequest::Register(work.entity, expected)
            }
            What::Read => ExpectRequest::Read(work.entity),
            What::Remove => ExpectRequest::Remove(work.entity),
        };
        let object = objects.name(work.entity);
        self.ask(object, Request::Expect(request), State::Asking(work), now)
    }

    fn answered(
        self,
        gateway: &Gateway,
        work: &Work,
        reply: ExpectReply,
        now: Timestamp,
    ) -> (Self, Effect) {
        let stands = |standing: Standing, called_back: bool| {
            if standing == Standing::Pending && (called_back || work.called_back) {
                Standing::Met
            } else {
                standing
            }
        };
        match reply {
            ExpectReply::Registered {
                standing,
                due,
                added,
            } => {
                let standing = stands(standing, false);
                let ending = match (standing, added) {
                    (Standing::Met, _) => Ending::Met,
                    (_, true) => Ending::Registered,
                    (_, false) => Ending::RegisteredBefore,
                };
                self.end(ending, Some(shown(standing, due)), now)
            }
            ExpectReply::Read {
                expected: Some((standing, due)),
                called_back,
            } => {
                let standing = stands(standing, called_back);
                self.end(Ending::Read, Some(shown(standing, due)), now)
            }
            ExpectReply::Removed(removed) if removed || work.removed => {
                self.end(Ending::Deleted, None, now)
            }
            ExpectReply::Removed(_) | ExpectReply::Read { expected: None, .. } => {
                self.end(Ending::Unknown, None, now)
            }
            ExpectReply::Moved => {
                // The number of objects was changed since this isolate asked.
                gateway.agree(None);
                self.end(Ending::StoreUnavailable, None, now)
            }
            ExpectReply::Overdue(_) => self.end(Ending::StoreUnavailable, None, now),
        }
    }

    fn ask(
        mut self,
        object: String,
        request: Request,
        state: State,
        now: Timestamp,
    ) -> (Self, Effect) {
        self.record.store_calls += 1;
        self.state = state;
        let left = now.until(self.began.after(DEADLINE));
        let effect = Effect::Ask {
            object,
            request,
            timeout: ASK_TIMEOUT.min(left.max(Duration::from_secs(1))),
        };
        (self, effect)
    }

    fn end(self, ending: Ending, members: Option<String>, now: Timestamp) -> (Self, Effect) {
        self.finish(ending, members, true, now)
    }

    fn finish(
        mut self,
        ending: Ending,
        members: Option<String>,
        logged: bool,
        now: Timestamp,
    ) -> (Self, Effect) {
        let (status, code, level) = ending.spec();
        let mut record = std::mem::take(&mut self.record);
        record.level = level.name();
        record.code = code;
        record.status = status;
        record.duration_ms = now.0.saturating_sub(self.began.0);
        let rest = members.as_deref().and_then(|json| json.strip_prefix('{'));
        let answer = Answer {
            status,
            retry_after: (status == 503).then_some(RETRY_SECONDS),
            allow: (ending == Ending::MethodNotAllowed).then_some("GET, POST, DELETE"),
            body: match rest {
                Some(rest) => format!(r#"{{"code":"{code}",{rest}"#),
                None => format!(r#"{{"code":"{code}"}}"#),
            },
        };
        self.state = State::Ended;
        let record = logged.then_some(record);
        (self, Effect::Answer(Box::new((answer, record))))
    }
}

/// One turn of the cron: asks the objects whether anything is overdue, which wakes those that slept over it.
#[derive(Debug)]
pub struct Watch {
    waiting: Vec<String>,
    /// Whether the layout is asked for.
    agreeing: bool,
    overdue: u64,
    failed: bool,
    began: Timestamp,
    record: Record,
}

impl Watch {
    /// Begins with it.
    pub fn begin(gateway: &Gateway, now: Timestamp) -> (Self, Effect) {
        let mut this = Self {
            waiting: Vec::new(),
            agreeing: false,
            overdue: 0,
            failed: false,
            began: now,
            record: Record::default(),
        };
        match gateway.agreed() {
            Some(agreed) => {
                this.waiting = watched(gateway, agreed);
                this.next(now)
            }
            None => {
                this.agreeing = true;
                let object = LAYOUT_OBJECT.to_owned();
                this.ask(object, gateway.layout_request())
            }
        }
    }

    /// Goes on with what came of the last effect.
    pub fn resume(mut self, gateway: &Gateway, done: &Done<'_>, now: Timestamp) -> (Self, Effect) {
        let agreeing = std::mem::take(&mut self.agreeing);
        match reply(&mut self.record, done) {
            Some(Reply::Layout(Ok(agreed))) if agreeing => {
                gateway.agree(Some(agreed));
                self.waiting = watched(gateway, agreed);
            }
            Some(Reply::Expect(ExpectReply::Overdue(count))) => {
                self.overdue = self.overdue.saturating_add(count);
            }
            _ => self.failed = true,
        }
        self.next(now)
    }

    fn next(mut self, now: Timestamp) -> (Self, Effect) {
        if now < self.began.after(DEADLINE)
            && let Some(object) = self.waiting.pop()
        {
            return self.ask(object, Request::Expect(ExpectRequest::Overdue));
        }
        let mut record = std::mem::take(&mut self.record);
        let (code, level) = match (self.failed, self.overdue) {
            (true, _) => ("store_unavailable", Level::Error),
            (false, 0) => ("expectations_checked", Level::Info),
            (false, _) => ("expectations_checked", Level::Warn),
        };
        record.code = code;
        record.level = level.name();
        record.overdue = Some(self.overdue);
        record.duration_ms = now.0.saturating_sub(self.began.0);
        (self, Effect::Settle(Box::new((Verdict::Ack, record))))
    }

    fn ask(mut self, object: String, request: Request) -> (Self, Effect) {
        self.record.store_calls += 1;
        let timeout = ASK_TIMEOUT;
        let effect = Effect::Ask {
            object,
            request,
            timeout,
        };
        (self, effect)
    }
}

/// The objects to ask in one turn.
fn watched(gateway: &Gateway, agreed: Agreed) -> Vec<String> {
    let sets = [Some(agreed.objects), agreed.previous];
    let names = sets.into_iter().flatten().flat_map(|objects| {
        let shards = objects.shards.max(1);
        let from = u32::from(gateway.entropy().number());
        let places = (0..shards.min(MAX_WATCHED)).map(move |place| (from + place) % shards);
        places.map(move |place| objects.at(place))
    });
    names.collect()
}

fn reply(record: &mut Record, done: &Done<'_>) -> Option<Reply> {
    let Done::Replied(bytes) = done else {
        return None;
    };
    let (reply, cost) = Reply::unpack(bytes).ok()?;
    record.rows_read += usize::try_from(cost.read).unwrap_or(0);
    record.rows_written += usize::try_from(cost.written).unwrap_or(0);
    Some(reply)
}

/// The id and the time of the request, out of a body. A problem names fields, never what stands in them.
fn of_body(call: Call<'_>, source: &Source, now: Timestamp) -> Result<(String, Timestamp), String> {
    let problem = |text: &str| Err(text.to_owned());
    let Some(body) = call.body else {
        return problem("the body is missing");
    };
    // As a callback is read, so that nothing is announced that two readers take for two things.
    let index = Index::of(body).ok();
    let Some(object) = index.as_ref().map(|index| index.root(body)) else {
        return problem("the body isn't a JSON object");
    };
    if !object.is_object() {
        return problem("the body isn't a JSON object");
    }
    let known = ["requestID", "requested_at"];
    let mut members = object.members();
    if members.any(|(name, _)| !known.contains(&name.as_ref())) {
        return problem(
            "the body has a member that isn't known: there are requestID, requested_at",
        );
    }
    let id = match object.get("requestID").map(Value::text) {
        Some(Some(text)) => text.into_owned(),
        Some(None) => return problem("requestID: isn't a string"),
        None => return problem("requestID: is missing"),
    };
    let id = checked(id)?;
    let requested_at = object.get("requested_at");
    let requested_at = match requested_at.filter(|value| !value.is_null()) {
        None => now,
        Some(value) => match value
            .text()
            .and_then(|text| Timestamp::parse_rfc3339(&text))
        {
            Some(at) => at,
            None => {
                return problem(
                    "requested_at: isn't an RFC 3339 date-time such as 2026-11-24T09:00:00Z",
                );
            }
        },
    };
    if requested_at > now.after(TOLERANCE) {
        return problem("requested_at: is in the future");
    }
    if requested_at.after(source.window) < now {
        return problem("requested_at: is longer ago than callbacks are remembered");
    }
    Ok((id, requested_at))
}

fn of_query(query: &[(String, String)]) -> Result<String, String> {
    match query {
        [(name, id)] if name == "requestID" => checked(id.clone()),
        _ => Err("the query has to be requestID, once, and nothing else".to_owned()),
    }
}

/// As in a callback. A hundred notices have to fit into one call of the platform's.
fn checked(id: String) -> Result<String, String> {
    if fits_attribute(&id) {
        Ok(id)
    } else {
        Err("requestID: isn't 1 to 256 printable characters".to_owned())
    }
}

fn shown(standing: Standing, due: Timestamp) -> String {
    json_of(&Shown {
        state: standing.name(),
        due_at: to_text(due),
    })
}

#[derive(Serialize)]
struct Shown {
    state: &'static str,
    due_at: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    problem: &'a str,
}

fn json_of<T: Serialize>(value: &T) -> String {
    crate::json::to_string(value)
}

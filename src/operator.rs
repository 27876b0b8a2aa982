//! The operator's side: the API over dead letters, the faults of the configuration, and what the cron says. Decided here, performed by the shell, as a [`Machine`] is.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::auth::{Key, KeyId, Sealed};
use crate::bytes::Base64;
use crate::config::{Alert, Config, DELIVERIES, Fault};
use crate::effect::{Answer, Delivery, Done, Effect, Verdict};
use crate::entity::{Reply, Request};
use crate::letters::{
    Count, Filter, LETTERS_OBJECT, Letter, LetterId, LetterReply, LetterRequest, MAX_LISTED,
};
use crate::machine::prepare::{self, Unpacked};
use crate::machine::{Gateway, Machine, Redelivery};
use crate::outcome::Level;
use crate::record::Record;
use crate::time::{Timestamp, to_text};

/// No call of an operator takes longer.
const DEADLINE: Duration = Duration::from_secs(25);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const ALERT_TIMEOUT: Duration = Duration::from_secs(10);
/// So many letters are redelivered by one call: each is some calls to objects and queues.
const BULK: u32 = 25;
const DEFAULT_LISTED: u32 = 50;
const LETTERS_PATH: &str = "/v1/dead-letters";

/// A request of an operator. `Debug` doesn't show the key.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// In capitals.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The `authorization` header.
    pub authorization: Option<&'a str>,
    /// Names and values, decoded.
    pub query: &'a [(String, String)],
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("authorized", &self.authorization.is_some())
            .finish_non_exhaustive()
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What is wrong with the configuration.
    HealthRead,
    /// A list.
    DeadLettersListed,
    /// One letter.
    DeadLetterRead,
    /// One letter is gone.
    DeadLetterDeleted,
    /// One letter is on its way again.
    DeadLetterRedelivered,
    /// Several are.
    DeadLettersRedelivered,
    /// There is none of that id.
    DeadLetterUnknown,
    /// Its key is gone, or it never was ours.
    DeadLetterUnreadable,
    /// It wasn't taken.
    RedeliveryFailed,
    /// A parameter isn't as it should be.
    ParameterInvalid,
    /// There is no key, or a wrong one.
    OperatorUnauthorized,
    /// There is no such path.
    PathUnknown,
    /// Not by this method.
    MethodNotAllowed,
    /// The object doesn't answer.
    StoreUnavailable,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::HealthRead,
        Self::DeadLettersListed,
        Self::DeadLetterRead,
        Self::DeadLetterDeleted,
        Self::DeadLetterRedelivered,
        Self::DeadLettersRedelivered,
        Self::DeadLetterUnknown,
        Self::DeadLetterUnreadable,
        Self::RedeliveryFailed,
        Self::ParameterInvalid,
        Self::OperatorUnauthorized,
        Self::PathUnknown,
        Self::MethodNotAllowed,
        Self::StoreUnavailable,
    ];

    /// Status, code and level.
    #[rustfmt::skip]
    pub fn spec(self) -> (u16, &'static str, Level) {
        use Level::{Error, Info, Warn};
        match self {
            Self::HealthRead             => (200, "health_read",              Info),
            Self::DeadLettersListed      => (200, "dead_letters_listed",      Info),
            Self::DeadLetterRead         => (200, "dead_letter_read",         Info),
            Self::DeadLetterDeleted      => (200, "dead_letter_deleted",      Info),
            Self::DeadLetterRedelivered  => (202, "dead_letter_redelivered",  Info),
            Self::DeadLettersRedelivered => (202, "dead_letters_redelivered", Info),
            Self::DeadLetterUnknown      => (404, "dead_letter_unknown",      Warn),
            Self::DeadLetterUnreadable   => (409, "dead_letter_unreadable",   Error),
            Self::RedeliveryFailed       => (502, "redelivery_failed",        Error),
            Self::ParameterInvalid       => (400, "parameter_invalid",        Warn),
            Self::OperatorUnauthorized   => (401, "operator_unauthorized",    Warn),
            Self::PathUnknown            => (404, "path_unknown",             Warn),
            Self::MethodNotAllowed       => (405, "method_not_allowed",       Warn),
            Self::StoreUnavailable       => (503, "store_unavailable",        Error),
        }
    }
}

/// One call of an operator, or one turn of the cron.
#[derive(Debug)]
pub struct Operator {
    state: State,
    /// The methods of the path.
    allow: Option<&'static str>,
    began: Timestamp,
    record: Record,
}

#[derive(Debug)]
enum State {
    /// A page of so many.
    Listing(u32),
    Reading,
    /// Its content is in KV.
    Fetching(Box<Letter>, [u8; 32]),
    Removing,
    /// What is to be redelivered is listed: so many at most.
    Gathering(u32),
    Redelivering(Bulk, Step),
    Counting,
    Alerting,
    Limiting(Ending),
    Ended,
}

/// Where a letter stands in a list.
type Place = (Timestamp, LetterId);

/// Letters to redeliver, one after the other.
#[derive(Debug, Default)]
struct Bulk {
    /// One, by its id; otherwise several, and what is wrong with one doesn't stop the others.
    single: bool,
    waiting: VecDeque<Place>,
    /// The last one that was tried.
    last: Option<Place>,
    redelivered: Vec<LetterId>,
    failed: Vec<(LetterId, Ending)>,
    /// Whether there may be more than were listed.
    is_full: bool,
}

#[derive(Debug)]
enum Step {
    Reading(LetterId),
    /// Its content is in KV.
    Fetching(LetterId, u32, [u8; 32]),
    /// On its way to the queue, or to its origin.
    Sending(LetterId, u32, Box<Machine>),
    Marking(LetterId),
}

/// Why a call ends at once: how, and what it is about.
struct Refused(Ending, Option<String>);

enum Route {
    Health,
    List(Filter),
    Read(LetterId),
    Remove(LetterId),
    Redeliver(LetterId),
    RedeliverAll(Filter),
}

impl Operator {
    /// Takes a call.
    pub fn begin(gateway: &Gateway, call: Call<'_>, now: Timestamp) -> (Self, Effect) {
        let mut operator = Self::new(now);
        let keys = gateway.config().operator_keys.as_ref();
        let key = keys.and_then(|keys| authorized(keys.usable(now), call.authorization));
        let Some(key) = key else {
            let ending = match keys {
                Some(_) => Ending::OperatorUnauthorized,
                None => Ending::PathUnknown,
            };
            if gateway.config().bindings.rate_limit {
                operator.state = State::Limiting(ending);
                let key = "/operator".to_owned();
                return (operator, Effect::Limit { key });
            }
            return operator.end(ending, None, now);
        };
        operator.record.key_id = Some(key.as_str().to_owned());
        match route(call) {
            Err(Refused(ending, about)) if ending == Ending::MethodNotAllowed => {
                operator.allow = methods(call.path);
                operator.end(ending, about, now)
            }
            Err(Refused(ending, about)) => {
                let about = about.map(|text| json_of(&Problem { problem: &text }));
                operator.end(ending, about, now)
            }
            Ok(Route::Health) => {
                let health = health(gateway.config());
                operator.end(Ending::HealthRead, Some(health), now)
            }
            Ok(Route::List(filter)) => {
                let state = State::Listing(filter.limit);
                operator.ask(LetterRequest::List(filter), state, now)
            }
            Ok(Route::Read(id)) => {
                operator.about(id);
                operator.ask(LetterRequest::Read(id), State::Reading, now)
            }
            Ok(Route::Remove(id)) => {
                operator.about(id);
                operator.ask(LetterRequest::Remove(id), State::Removing, now)
            }
            Ok(Route::Redeliver(id)) => {
                operator.about(id);
                let bulk = Bulk {
                    single: true,
                    waiting: VecDeque::from([(now, id)]),
                    ..Bulk::default()
                };
                operator.next(bulk, now)
            }
            Ok(Route::RedeliverAll(filter)) => {
                let state = State::Gathering(filter.limit);
                operator.ask(LetterRequest::List(filter), state, now)
            }
        }
    }

    /// One turn of the cron: how many dead letters there are, in the log, and to the alert URL.
    pub fn tick(now: Timestamp) -> (Self, Effect) {
        Self::new(now).ask(LetterRequest::Count, State::Counting, now)
    }

    /// Goes on with what came of the last effect.
    pub fn resume(mut self, gateway: &Gateway, done: &Done<'_>, now: Timestamp) -> (Self, Effect) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Limiting(ending) => {
                let (sample, is_sample) = gateway.samples();
                let limited = matches!(done, Done::Limited);
                self.record.sampled = limited.then_some(sample);
                self.finish(ending, None, !limited || is_sample, now)
            }
            State::Listing(limit) => match self.reply(done) {
                Some(LetterReply::Listed(letters)) => {
                    self.record.dead_letters = u64::try_from(letters.len()).ok();
                    let list = json_of(&List {
                        cursor: cursor(&letters, limit),
                        dead_letters: letters.iter().map(Entry::of).collect(),
                    });
                    self.end(Ending::DeadLettersListed, Some(list), now)
                }
                _ => self.end(Ending::StoreUnavailable, None, now),
            },
            State::Reading => match self.reply(done) {
                Some(LetterReply::Read(Some((letter, sealed)))) => {
                    match prepare::unpack(gateway, &sealed) {
                        Unpacked::Pointer(hash) => {
                            let state = State::Fetching(Box::new(letter), hash);
                            self.get(&hash, state, now)
                        }
                        Unpacked::Frame(frame) => self.show(gateway, &letter, Some(frame), now),
                        Unpacked::Nothing => self.show(gateway, &letter, None, now),
                    }
                }
                Some(LetterReply::Read(None)) => self.end(Ending::DeadLetterUnknown, None, now),
                _ => self.end(Ending::StoreUnavailable, None, now),
            },
            State::Fetching(letter, hash) => {
                let frame = fetched(&hash, done);
                self.show(gateway, &letter, frame, now)
            }
            State::Removing => match self.reply(done) {
                Some(LetterReply::Done(true)) => self.end(Ending::DeadLetterDeleted, None, now),
                Some(LetterReply::Done(false)) => self.end(Ending::DeadLetterUnknown, None, now),
                _ => self.end(Ending::StoreUnavailable, None, now),
            },
            State::Gathering(limit) => match self.reply(done) {
                Some(LetterReply::Listed(letters)) => {
                    let place = |letter: &Letter| (letter.received_at, letter.id);
                    let bulk = Bulk {
                        is_full: cursor(&letters, limit).is_some(),
                        waiting: letters.iter().map(place).collect(),
                        ..Bulk::default()
                    };
                    self.next(bulk, now)
                }
                _ => self.end(Ending::StoreUnavailable, None, now),
            },
            State::Redelivering(bulk, step) => self.redelivering(gateway, bulk, step, done, now),
            State::Counting => match self.reply(done) {
                Some(LetterReply::Count(count)) => self.counted(gateway, count, now),
                _ => self.settle("store_unavailable", Level::Error, now),
            },
            State::Alerting => {
                let sent =
                    matches!(done, Done::Answered { status, .. } if (200..300).contains(status));
                self.record.alert = Some(if sent { "sent" } else { "failed" });
                self.settle("dead_letters", Level::Error, now)
            }
            State::Ended => self.end(Ending::StoreUnavailable, None, now),
        }
    }

    fn new(now: Timestamp) -> Self {
        Self {
            state: State::Ended,
            allow: None,
            began: now,
            record: Record::default(),
        }
    }

    fn about(&mut self, id: LetterId) {
        self.record.dead_letter = Some(id.to_string());
    }

    // ── redelivery ──

    fn redelivering(
        mut self,
        gateway: &Gateway,
        mut bulk: Bulk,
        step: Step,
        done: &Done<'_>,
        now: Timestamp,
    ) -> (Self, Effect) {
        match step {
            Step::Reading(id) => match self.reply(done) {
                Some(LetterReply::Read(Some((letter, sealed)))) => {
                    let before = letter.redeliveries;
                    match prepare::unpack(gateway, &sealed) {
                        Unpacked::Pointer(hash) => {
                            let step = Step::Fetching(id, before, hash);
                            self.get(&hash, State::Redelivering(bulk, step), now)
                        }
                        Unpacked::Frame(frame) => {
                            self.redeliver(gateway, bulk, id, before, Some(frame), now)
                        }
                        Unpacked::Nothing => self.redeliver(gateway, bulk, id, before, None, now),
                    }
                }
                Some(LetterReply::Read(None)) => {
                    bulk.failed.push((id, Ending::DeadLetterUnknown));
                    self.next(bulk, now)
                }
                _ => {
                    bulk.failed.push((id, Ending::StoreUnavailable));
                    self.next(bulk, now)
                }
            },
            Step::Fetching(id, before, hash) => {
                let frame = fetched(&hash, done);
                self.redeliver(gateway, bulk, id, before, frame, now)
            }
            Step::Sending(id, before, machine) => {
                let (machine, effect) = machine.resume(gateway, done, now);
                self.sending(bulk, id, before, machine, effect, now)
            }
            Step::Marking(id) => {
                // It is on its way. If that can't be remembered, asking again is the same redelivery.
                if self.reply(done).is_none() {
                    self.record.commit = Some("commit_failed");
                }
                bulk.redelivered.push(id);
                self.next(bulk, now)
            }
        }
    }

    fn redeliver(
        self,
        gateway: &Gateway,
        mut bulk: Bulk,
        id: LetterId,
        before: u32,
        frame: Option<&[u8]>,
        now: Timestamp,
    ) -> (Self, Effect) {
        let opened = frame.and_then(|frame| prepare::open_parcel(gateway, KINDS, frame));
        let Some((parcel, opened)) = opened else {
            bulk.failed.push((id, Ending::DeadLetterUnreadable));
            return self.next(bulk, now);
        };
        let redelivery = Redelivery {
            parcel,
            opened: &opened,
            nonce: id.nonce(before),
            is_first: before == 0,
            queued: gateway.config().bindings.has_queue(DELIVERIES),
        };
        let (machine, effect) = Machine::redeliver(gateway, redelivery, now);
        self.sending(bulk, id, before, machine, effect, now)
    }

    fn sending(
        mut self,
        mut bulk: Bulk,
        id: LetterId,
        before: u32,
        machine: Machine,
        effect: Effect,
        now: Timestamp,
    ) -> (Self, Effect) {
        let Effect::Settle(settled) = effect else {
            self.state = State::Redelivering(bulk, Step::Sending(id, before, Box::new(machine)));
            return (self, effect);
        };
        let (verdict, record) = *settled;
        self.record.add_costs(&record);
        if verdict == Verdict::Ack {
            let mark = LetterRequest::Mark(id, before);
            let state = State::Redelivering(bulk, Step::Marking(id));
            return self.ask(mark, state, now);
        }
        bulk.failed.push((id, Ending::RedeliveryFailed));
        self.next(bulk, now)
    }

    /// The next letter, or the end.
    fn next(mut self, mut bulk: Bulk, now: Timestamp) -> (Self, Effect) {
        let in_time = now < self.began.after(DEADLINE);
        if in_time && let Some(place) = bulk.waiting.pop_front() {
            bulk.last = Some(place);
            let (_, id) = place;
            let state = State::Redelivering(bulk, Step::Reading(id));
            return self.ask(LetterRequest::Read(id), state, now);
        }
        let (count, first) = (bulk.redelivered.len(), bulk.failed.first());
        if bulk.single {
            let ending = first.map_or(Ending::DeadLetterRedelivered, |(_, ending)| *ending);
            return self.end(ending, None, now);
        }
        self.record.dead_letters = u64::try_from(count).ok();
        let failed = bulk.failed.iter().map(|(id, ending)| Failed {
            id: id.to_string(),
            code: ending.spec().1,
        });
        // Out of time, or more of them: a call with the cursor does the rest.
        let more = bulk.is_full || !bulk.waiting.is_empty();
        let done = json_of(&Redelivered {
            redelivered: bulk.redelivered.iter().map(LetterId::to_string).collect(),
            failed: failed.collect(),
            cursor: bulk.last.filter(|_| more).map(cursor_at),
        });
        self.end(Ending::DeadLettersRedelivered, Some(done), now)
    }

    // ── the cron ──

    fn counted(mut self, gateway: &Gateway, count: Count, now: Timestamp) -> (Self, Effect) {
        self.record.dead_letters = Some(count.kept);
        self.record.withheld = Some(count.withheld).filter(|&count| count > 0);
        self.record.waiting = Some(count.waiting);
        let age = count.oldest.map(|oldest| oldest.until(now).as_secs());
        self.record.oldest_age_seconds = age;
        if count.waiting == 0 {
            return self.settle("dead_letters", Level::Info, now);
        }
        let Some(alert) = &gateway.config().alert else {
            return self.settle("dead_letters", Level::Error, now);
        };
        let delivery = alert_delivery(alert, count, age, now);
        self.state = State::Alerting;
        (self, Effect::Deliver(Box::new(delivery)))
    }

    // ── effects and ends ──

    fn ask(mut self, request: LetterRequest, state: State, now: Timestamp) -> (Self, Effect) {
        self.record.store_calls += 1;
        self.state = state;
        let left = now.until(self.began.after(DEADLINE));
        let effect = Effect::Ask {
            object: LETTERS_OBJECT.to_owned(),
            request: Request::Letters(request),
            timeout: ASK_TIMEOUT.min(left.max(Duration::from_secs(1))),
        };
        (self, effect)
    }

    fn get(mut self, hash: &[u8; 32], state: State, now: Timestamp) -> (Self, Effect) {
        self.record.kv_reads += 1;
        self.state = state;
        let key = prepare::body_key(hash);
        let timeout = ASK_TIMEOUT.min(now.until(self.began.after(DEADLINE)));
        (self, Effect::Get { key, timeout })
    }

    fn show(
        self,
        gateway: &Gateway,
        letter: &Letter,
        frame: Option<&[u8]>,
        now: Timestamp,
    ) -> (Self, Effect) {
        let content = content(gateway, letter, frame);
        self.end(Ending::DeadLetterRead, Some(content), now)
    }

    fn reply(&mut self, done: &Done<'_>) -> Option<LetterReply> {
        let Done::Replied(bytes) = done else {
            return None;
        };
        let (reply, cost) = Reply::unpack(bytes).ok()?;
        self.record.rows_read += usize::try_from(cost.read).unwrap_or(0);
        self.record.rows_written += usize::try_from(cost.written).unwrap_or(0);
        match reply {
            Reply::Letters(reply) => Some(reply),
            _ => None,
        }
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
        let mut record = self.log(code, level, now);
        record.status = status;
        let rest = members.as_deref().and_then(|json| json.strip_prefix('{'));
        let body = match rest {
            Some(rest) if rest != "}" => format!(r#"{{"code":"{code}",{rest}"#),
            _ => format!(r#"{{"code":"{code}"}}"#),
        };
        let answer = Answer {
            status,
            retry_after: None,
            allow: self.allow,
            body,
        };
        self.state = State::Ended;
        let record = logged.then_some(record);
        (self, Effect::Answer(Box::new((answer, record))))
    }

    fn settle(mut self, code: &'static str, level: Level, now: Timestamp) -> (Self, Effect) {
        let record = self.log(code, level, now);
        self.state = State::Ended;
        (self, Effect::Settle(Box::new((Verdict::Ack, record))))
    }

    fn log(&mut self, code: &'static str, level: Level, now: Timestamp) -> Record {
        let mut record = std::mem::take(&mut self.record);
        record.level = level.name();
        record.code = code;
        record.duration_ms = now.0.saturating_sub(self.began.0);
        record
    }
}

/// The key that was presented, if it is one of them. Tags are compared, made under what was presented: as long as the tags differ, nothing tells by how much, or at which place.
pub(crate) fn authorized<'k>(
    keys: impl Iterator<Item = &'k Key>,
    authorization: Option<&str>,
) -> Option<KeyId> {
    const TEXT: &[u8] = b"rxgate operator";
    let (scheme, presented) = authorization?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let presented: Key = Key::new(KeyId::new(""), presented.trim().as_bytes(), None).ok()?;
    let presented = presented.tag(&[TEXT]);
    // All of them, whichever it is.
    keys.fold(None, |found, key| {
        let same = key.tag(&[TEXT]).matches(presented.as_bytes());
        found.or(same.then(|| key.id().clone()))
    })
}

fn route(call: Call<'_>) -> Result<Route, Refused> {
    let not_allowed = Err(Refused(Ending::MethodNotAllowed, None));
    let unknown = || Refused(Ending::PathUnknown, None);
    if call.path == "/healthz" {
        return match call.method {
            "GET" | "HEAD" => Ok(Route::Health),
            _ => not_allowed,
        };
    }
    let rest = call.path.strip_prefix(LETTERS_PATH).ok_or_else(unknown)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let id = |text: &str| LetterId::parse(text).ok_or(Refused(Ending::DeadLetterUnknown, None));
    match (parts.as_slice(), call.method) {
        ([""], "GET") => filter(
            call.query,
            DEFAULT_LISTED,
            &["source", "code", "since", "waiting", "limit", "cursor"],
        )
        .map(Route::List),
        (["", "redeliver"], "POST") => {
            let mut filter = filter(call.query, BULK, &["source", "code", "since", "cursor"])?;
            filter.waiting = true;
            Ok(Route::RedeliverAll(filter))
        }
        (["", one], "GET") => Ok(Route::Read(id(one)?)),
        (["", one], "DELETE") => Ok(Route::Remove(id(one)?)),
        (["", one, "redeliver"], "POST") => Ok(Route::Redeliver(id(one)?)),
        ([""] | ["", _] | ["", _, "redeliver"], _) => not_allowed,
        _ => Err(unknown()),
    }
}

/// The methods of a path that there is.
fn methods(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix(LETTERS_PATH).unwrap_or(path);
    match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["", "healthz"] => Some("GET, HEAD"),
        [""] => Some("GET"),
        ["", "redeliver"] | ["", _, "redeliver"] => Some("POST"),
        ["", _] => Some("GET, DELETE"),
        _ => None,
    }
}

fn filter(query: &[(String, String)], limit: u32, known: &[&str]) -> Result<Filter, Refused> {
    let invalid = |name: &str, problem: &str| {
        Refused(Ending::ParameterInvalid, Some(format!("{name}: {problem}")))
    };
    let mut filter = Filter {
        limit,
        since: Timestamp(i64::MIN),
        ..Filter::default()
    };
    for (place, (name, value)) in query.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let problem = format!(
                "the query has a parameter that isn't known: there are {}",
                known.join(", ")
            );
            return Err(Refused(Ending::ParameterInvalid, Some(problem)));
        }
        if query.iter().take(place).any(|(other, _)| other == name) {
            return Err(invalid(name, "stands there twice"));
        }
        match name.as_str() {
            // As a variable that isn't set leaves it: that isn't "all of them".
            _ if value.is_empty() => return Err(invalid(name, "is empty")),
            "source" => filter.source = Some(value.clone()),
            "code" => filter.code = Some(value.clone()),
            "since" => {
                filter.since = Timestamp::parse_rfc3339(value).ok_or_else(|| {
                    invalid(
                        name,
                        "isn't an RFC 3339 date-time such as 2026-11-24T09:00:00Z",
                    )
                })?;
            }
            "waiting" => match value.as_str() {
                "true" => filter.waiting = true,
                "false" => filter.waiting = false,
                _ => return Err(invalid(name, "isn't true or false")),
            },
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..=MAX_LISTED).contains(n));
                filter.limit =
                    number.ok_or_else(|| invalid(name, "isn't a whole number from 1 to 100"))?;
            }
            _ => {
                let parsed = value
                    .split_once('.')
                    .and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), LetterId::parse(id)?)));
                filter.after =
                    Some(parsed.ok_or_else(|| invalid(name, "isn't the cursor of a list"))?);
            }
        }
    }
    Ok(filter)
}

/// Where a list goes on, if it is a full page.
fn cursor(letters: &[Letter], limit: u32) -> Option<String> {
    let length = u32::try_from(letters.len()).unwrap_or(u32::MAX);
    let last = letters.last().filter(|_| length >= limit)?;
    Some(cursor_at((last.received_at, last.id)))
}

fn cursor_at((at, id): Place) -> String {
    format!("{}.{id}", at.0)
}

/// What a letter holds: one that the platform moved is a delivery still.
const KINDS: &[Sealed] = &[Sealed::Letter, Sealed::Delivery];

/// What KV had under the hash.
fn fetched<'d>(hash: &[u8; 32], done: &Done<'d>) -> Option<&'d [u8]> {
    match done {
        Done::Replied(frame) if prepare::is_hash(hash, frame) => Some(*frame),
        _ => None,
    }
}

fn alert_delivery(alert: &Alert, count: Count, age: Option<u64>, now: Timestamp) -> Delivery {
    let body = json_of(&Alarm {
        code: "dead_letters",
        dead_letters: count.kept,
        waiting: count.waiting,
        oldest_age_seconds: age,
    })
    .into_bytes();
    let id = format!("alert_{}", now.0);
    let signature = alert.keys.sign(&id, now, &body);
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", concat!("rxgate/", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", &id),
        ("webhook-timestamp", &now.seconds().to_string()),
        ("webhook-signature", &signature),
    ];
    Delivery {
        url: alert.url.clone(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        body,
        timeout: ALERT_TIMEOUT,
    }
}

fn health(config: &Config) -> String {
    json_of(&Health {
        status: if config.is_sound() { "ok" } else { "faulty" },
        faults: config.faults.iter().map(Fault::to_string).collect(),
    })
}

/// A letter with what the sender sent: as text, or in base64 where it isn't any. Where a source holds patient data back, so does this.
fn content(gateway: &Gateway, letter: &Letter, frame: Option<&[u8]>) -> String {
    let opened = frame.and_then(|frame| prepare::open_parcel(gateway, KINDS, frame));
    let sources = &gateway.config().sources;
    // Not the letter's: one that couldn't be opened when it came has none.
    let source = opened
        .as_ref()
        .and_then(|(parcel, _)| sources.get(&parcel.source));
    let passes = source
        .and_then(Option::as_ref)
        .is_some_and(|source| !source.phi.redacts());
    let body = opened.as_ref().map(|(parcel, _)| parcel.body.as_slice());
    let shown = body.filter(|_| passes);
    let text = shown.and_then(|body| std::str::from_utf8(body).ok());
    json_of(&Content {
        entry: Entry::of(letter),
        readable: body.is_some(),
        withheld: body.is_some() && !passes,
        body_base64: shown
            .filter(|_| text.is_none())
            .map(|body| Base64::Standard.write(body)),
        body: text,
    })
}

fn json_of<T: Serialize>(value: &T) -> String {
    crate::json::to_string(value)
}

#[derive(Serialize)]
struct Problem<'a> {
    problem: &'a str,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct List<'a> {
    dead_letters: Vec<Entry<'a>>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Redelivered {
    redelivered: Vec<String>,
    failed: Vec<Failed>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Failed {
    id: String,
    code: &'static str,
}

#[derive(Serialize)]
struct Alarm {
    code: &'static str,
    dead_letters: u64,
    waiting: u64,
    oldest_age_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    readable: bool,
    withheld: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: String,
    source: &'a str,
    reason: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    received_at: String,
    kept_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    redelivered_at: Option<String>,
    redeliveries: u32,
    body_bytes: u32,
}

impl<'a> Entry<'a> {
    fn of(letter: &'a Letter) -> Self {
        Self {
            id: letter.id.to_string(),
            source: &letter.source,
            reason: &letter.code,
            r#type: letter.r#type.as_deref(),
            webhook_id: letter.webhook_id.as_deref(),
            problem: letter.problem.as_deref(),
            path: letter.path.as_deref(),
            received_at: to_text(letter.received_at),
            kept_at: to_text(letter.kept_at),
            expires_at: to_text(letter.expires_at),
            redelivered_at: letter.redelivered_at.map(to_text),
            redeliveries: letter.redeliveries,
            body_bytes: letter.body_bytes,
        }
    }
}

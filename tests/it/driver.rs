//! A native driver of the machine: in-memory objects, KV and queues that fail on demand, a scripted origin, a clock that is moved by hand.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rxgate::auth::{KeyId, RawBody, SealKey, SealKeys, Sealed};
use rxgate::config::{Bindings, Config, DEAD_LETTERS, DELIVERIES};
use rxgate::effect::{Answer, Delivery, Done, Effect, Enqueue, Put, Verdict};
use rxgate::entity::{
    Claim, ClaimRequest, Cost, EntityKey, EventHash, ExpectRequest, Expected, Fence, Page, Receipt,
    Reply, Request, RowCorrupt, Standing, Store, WireCorrupt, notified, overdue, serve,
};
use rxgate::expectation::{self, EXPECTATIONS_PATH, Expectation, Watch};
use rxgate::inbound::{Inbound, Received};
use rxgate::letters::{Count, Filter, Letter, LetterId, LetterRequest, TOMBSTONE};
use rxgate::machine::{Gateway, Machine, Message};
use rxgate::operator::{Call, Operator};
use rxgate::parcel::Parcel;
use rxgate::record::Record;
use rxgate::time::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

/// 2026-06-25T14:22:12Z
pub(crate) const START: Timestamp = Timestamp(1_782_397_332_000);
/// What signs the sender's requests.
pub(crate) const SENDER_SECRET: &str = "osigu-sandbox-signing-secret-1";
/// What signs ours: "canary-signing-key-number-one!!!" and "…-two!!!", in base64.
pub(crate) const OUR_KEYS: [&str; 2] = [
    "whsec_Y2FuYXJ5LXNpZ25pbmcta2V5LW51bWJlci1vbmUhISE=",
    "whsec_Y2FuYXJ5LXNpZ25pbmcta2V5LW51bWJlci10d28hISE=",
];
/// A static header of the destination.
pub(crate) const HEADER_SECRET: &str = "bearer-canary-token";
/// What seals: "seal-canary-of-thirty-two-bytes1" and "…2", in base64.
pub(crate) const SEAL_KEYS: [&str; 2] = [
    "c2VhbC1jYW5hcnktb2YtdGhpcnR5LXR3by1ieXRlczE=",
    "c2VhbC1jYW5hcnktb2YtdGhpcnR5LXR3by1ieXRlczI=",
];
/// What operators present.
pub(crate) const OPERATOR_KEYS: [&str; 2] = [
    "operator-canary-key-of-32-bytes-1",
    "operator-canary-key-of-32-bytes-2",
];

/// What is presented with expectations.
pub(crate) const EXPECTATION_KEY: &str = "expectation-canary-key-of-32-bytes";

/// Each of the thirteen events: its type, the least data, the data in full.
pub(crate) const EVENTS: [(&str, &str, &str); 13] = [
    (
        "authorization.created",
        r#"{"authorization_id":"auth_1"}"#,
        r#"{"authorization_id":"auth_1","authorization_request_id":"areq_1","authorization_code":"AUTH-1","beneficiary_id":"bnf_1",
            "sponsor_slug":"sponsor-sandbox","sponsor_reference":"SR-1","product_type":"MEDICATION",
            "products":[{"product_code":"MED-042","quantity":30,"unit_price":12.50}],"expires_at":"2026-07-25T00:00:00Z"}"#,
    ),
    (
        "authorization.rejected",
        r#"{"authorization_request_id":"areq_1"}"#,
        r#"{"authorization_request_id":"areq_1","authorization_id":null,"beneficiary_id":"bnf_1","sponsor_slug":"sponsor-sandbox",
            "product_type":"MEDICATION","rejection_reason":"Póliza vencida."}"#,
    ),
    (
        "authorization.updated",
        r#"{"authorization_id":"auth_1"}"#,
        r#"{"authorization_id":"auth_1","authorization_code":"AUTH-1","updated_at":"2026-06-25T10:22:00-04:00",
            "changes":{"expires_at":{"from":"2026-07-25","to":null},"products":{"from":[1.0],"to":{"a":[2.50]}},"note":{}}}"#,
    ),
    (
        "authorization.voided",
        r#"{"authorization_id":"auth_1"}"#,
        r#"{"authorization_id":"auth_1","authorization_code":"AUTH-1","voided_at":"2026-06-25T14:22:00Z","voided_by":"SPONSOR","reason":"Void it"}"#,
    ),
    (
        "dispensing.started",
        r#"{"dispensation_id":"dsp_1"}"#,
        r#"{"dispensation_id":"dsp_1","code":"AUTH-1","code_type":"AUTHORIZATION","beneficiary_id":"bnf_1","sponsor_slug":"sponsor-sandbox",
            "pharmacy":{"provider_slug":"pharmacy-x","branch_id":"branch_1"},"products":[{"product_code":"MED-042","quantity":30}],"started_at":"2026-06-25T14:20:00Z"}"#,
    ),
    (
        "dispensing.completed",
        r#"{"dispensation_id":"dsp_1"}"#,
        r#"{"dispensation_id":"dsp_1","code":"AUTH-1","code_type":"AUTHORIZATION","authorization_id":"auth_1","prescription_id":null,"beneficiary_id":"bnf_1",
            "sponsor_slug":"sponsor-sandbox","pharmacy":{"provider_slug":"pharmacy-x","branch_id":"branch_1"},
            "products":[{"product_code":"MED-042","quantity":30,"unit_price":12.50}],"total_amount":375.00,"currency":"USD","dispensed_at":"2026-06-25T14:22:00Z"}"#,
    ),
    (
        "dispensing.cancelled",
        r#"{"dispensation_id":"dsp_1"}"#,
        r#"{"dispensation_id":"dsp_1","code":"RX-1","code_type":"PRESCRIPTION","prescription_id":"rx_1","cancelled_at":"2026-06-25T14:25:00Z","reason":"TIMEOUT"}"#,
    ),
    (
        "prescription.issued",
        r#"{"prescription_id":"rx_1"}"#,
        r#"{"prescription_id":"rx_1","prescription_code":"RX-1","version":"v1.1","patient":{"patient_id":"pat_1","first_name":"Juan","last_name":"López"},
            "doctor":{"doctor_id":"doc_1","medical_board_registration":"MB-1"},"diagnoses":[{"diagnosis_code":"E11.9"},{}],
            "medications":[{"product_code":"MED-042","quantity":"30","posology":"1-0-1","duration_days":30}],"issued_at":"2026-06-25T14:22:00.5Z"}"#,
    ),
    (
        "prescription.email_delivered",
        r#"{"prescription_id":"rx_1"}"#,
        r#"{"prescription_id":"rx_1","prescription_code":"RX-1","email":"juan@example.com","delivered_at":"2026-06-25T14:22:00Z"}"#,
    ),
    (
        "prescription.email_failed",
        r#"{"prescription_id":"rx_1"}"#,
        r#"{"prescription_id":"rx_1","prescription_code":"RX-1","email":"juan@example.com","reason":"bounced"}"#,
    ),
    (
        "settlement.paid",
        r#"{"settlement_id":"stl_1"}"#,
        r#"{"settlement_id":"stl_1","status":"PAID","sponsor_slug":"sponsor-sandbox","period":"2026-06",
            "claims":[{"claim_id":"clm_1","authorization_id":"auth_1","status":"PAID","total_amount":-375.00,"currency":"DOP"},{}],"total_amount":"1000.10","currency":"DOP"}"#,
    ),
    (
        "settlement.rejected",
        r#"{"settlement_id":"stl_1"}"#,
        r#"{"settlement_id":"stl_1","status":"REJECTED","sponsor_slug":"sponsor-sandbox","period":"2026-06","rejection_reason":"Late"}"#,
    ),
    (
        "settlement.partially_accepted",
        r#"{"settlement_id":"stl_1"}"#,
        r#"{"settlement_id":"stl_1","status":"PARTIALLY_ACCEPTED","period":"2026-06","claims":[{"claim_id":"clm_1"}],"total_amount":10}"#,
    ),
];

/// A body of the sender's.
pub(crate) fn body(event_id: &str, event_type: &str, data: &str) -> String {
    format!(
        r#"{{"event_id":"{event_id}","event_type":"{event_type}","created_at":"2026-06-25T14:22:11.780Z","api_version":"2026-01-01","environment":"sandbox","data":{data},"provider":{{"provider_id":"prv_1","provider_slug":"clinic-a"}}}}"#
    )
}

/// HMAC-SHA256, as the sender and the receiver compute it.
pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The `X-Osigu-Signature` of a body.
pub(crate) fn sign(secret: &str, at: Timestamp, body: &str) -> String {
    use std::fmt::Write;
    let signed = format!("{}.{body}", at.seconds());
    let tag = hmac_sha256(secret.as_bytes(), signed.as_bytes());
    let mut header = format!("t={},v1=", at.seconds());
    for byte in tag {
        write!(header, "{byte:02x}").unwrap();
    }
    header
}

/// What `webhook-signature` should hold for one of [`OUR_KEYS`].
pub(crate) fn our_signature(key: &str, delivery: &Delivery) -> String {
    let key = STANDARD
        .decode(key.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut signed = format!(
        "{}.{}.",
        header(delivery, "webhook-id"),
        header(delivery, "webhook-timestamp")
    )
    .into_bytes();
    signed.extend_from_slice(&delivery.body);
    format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &signed)))
}

/// The only header of that name.
#[track_caller]
pub(crate) fn header<'d>(delivery: &'d Delivery, name: &str) -> &'d str {
    let mut values = delivery.headers.iter().filter(|(n, _)| n == name);
    let (_, value) = values.next().unwrap_or_else(|| panic!("no header {name}"));
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

/// The variables of a gateway with one source and one destination.
pub(crate) fn settings() -> Value {
    json!({
        "RXGATE": { "shards": 4, "seal_keys": [{ "id": "seal-1", "secret": "SEAL_KEY_1" }] },
        "SOURCE_OSIGU": {
            "provider": "osigu", "environment": "sandbox", "destination": "origin",
            "keys": [{ "id": "osigu-1", "secret": "OSIGU_SECRET" }],
        },
        "DESTINATION_ORIGIN": {
            "url": "https://origin.example/hook",
            "keys": [{ "id": "ours-1", "secret": "OUR_KEY_1" }],
            "headers": { "authorization": "ORIGIN_TOKEN" },
        },
    })
}

/// What is bound: the dead-letter queue, KV, and these queues.
pub(crate) fn bindings(queues: &[&str]) -> Bindings {
    let queues = [DEAD_LETTERS].iter().chain(queues);
    Bindings {
        queues: queues.map(|&name| name.to_owned()).collect(),
        kv: true,
        rate_limit: false,
    }
}

/// The secrets that settings may name.
pub(crate) fn secrets() -> BTreeMap<String, String> {
    [
        ("OSIGU_SECRET", SENDER_SECRET),
        ("OUR_KEY_1", OUR_KEYS[0]),
        ("OUR_KEY_2", OUR_KEYS[1]),
        ("ORIGIN_TOKEN", HEADER_SECRET),
        ("SEAL_KEY_1", SEAL_KEYS[0]),
        ("SEAL_KEY_2", SEAL_KEYS[1]),
        ("OPERATOR_KEY_1", OPERATOR_KEYS[0]),
        ("OPERATOR_KEY_2", OPERATOR_KEYS[1]),
        ("EXPECTATION_KEY", EXPECTATION_KEY),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A gateway with these variables, all of which have to be sound, and without a queue of its own.
#[track_caller]
pub(crate) fn gateway(settings: &Value) -> Gateway {
    gateway_with(settings, bindings(&[]))
}

/// A gateway with these variables and bindings. Each has another seed.
#[track_caller]
pub(crate) fn gateway_with(settings: &Value, bindings: Bindings) -> Gateway {
    static SEEDS: AtomicU64 = AtomicU64::new(1);
    let config = Config::parse(settings.as_object().unwrap(), &secrets(), bindings);
    assert_eq!(config.faults, []);
    let mut seed = [0x5E; 32];
    seed[..8].copy_from_slice(&SEEDS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Gateway::new(config, &seed)
}

/// When saving fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Before anything is saved.
    Before,
    /// After all pages but the last.
    Between,
    /// After everything is saved: only the reply is lost.
    After,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The fault that was asked for.
    Injected,
    /// A row isn't readable.
    RowCorrupt,
    /// The message isn't.
    WireCorrupt,
}

impl From<RowCorrupt> for Failure {
    fn from(RowCorrupt: RowCorrupt) -> Self {
        Self::RowCorrupt
    }
}

impl From<WireCorrupt> for Failure {
    fn from(WireCorrupt: WireCorrupt) -> Self {
        Self::WireCorrupt
    }
}

/// When a page expires, and its content.
type StoredPage = (Timestamp, Vec<u8>);

/// When a letter expires, and what is kept; `None`: it was deleted.
type StoredLetter = (Timestamp, Option<(Letter, Vec<u8>)>);

/// One object's storage, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rows: RefCell<BTreeMap<(EntityKey, u32), StoredPage>>,
    pub(crate) layout: RefCell<Option<Vec<u8>>>,
    pub(crate) letters: RefCell<BTreeMap<LetterId, StoredLetter>>,
    /// What is expected, and when there is something to do about it.
    pub(crate) expected: RefCell<BTreeMap<EntityKey, (Timestamp, Expected)>>,
    /// Of letters that were there: when they were redelivered last, and how often.
    redelivered: RefCell<BTreeMap<LetterId, (Option<Timestamp>, u32)>>,
    /// Pages written so far.
    pub(crate) written: Cell<u32>,
    /// The next save fails like this.
    pub(crate) fault: Cell<Option<Fault>>,
    /// A page of notices holds no more than this, if it isn't 0.
    pub(crate) page: Cell<u32>,
}

impl Memory {
    /// Deletes what has expired, as the alarm's walk does.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.rows
            .borrow_mut()
            .retain(|_, (expires, _)| now < *expires);
        self.letters
            .borrow_mut()
            .retain(|_, (expires, _)| now < *expires);
    }

    /// Changes the letters, unless the fault that was asked for comes first.
    fn change_letters<T: Default>(
        &self,
        change: impl FnOnce(&mut BTreeMap<LetterId, StoredLetter>) -> T,
    ) -> Result<T, Failure> {
        let fault = self.fault.take();
        let mut changed = T::default();
        if fault != Some(Fault::Before) {
            changed = change(&mut self.letters.borrow_mut());
            self.written.set(self.written.get() + 1);
        }
        fault.map_or(Ok(changed), |_| Err(Failure::Injected))
    }

    /// The letters that are there at `now`, by the time of their receipt and their id.
    pub(crate) fn kept(&self, now: Timestamp) -> Vec<Letter> {
        let letters = self.letters.borrow();
        let there = letters.values().filter(|(expires, _)| now < *expires);
        let mut letters: Vec<Letter> = there
            .filter_map(|(_, kept)| kept.as_ref().map(|(letter, _)| letter.clone()))
            .collect();
        letters.sort_by_key(|letter| (letter.received_at, letter.id));
        letters
    }
}

impl Store for Memory {
    type Error = Failure;

    fn load(&self, entity: EntityKey) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
        let rows = self.rows.borrow();
        let pages = rows.range((entity, 0)..=(entity, u32::MAX));
        Ok(pages
            .map(|((_, number), (_, packed))| (*number, packed.clone()))
            .collect())
    }

    fn save(&self, entity: EntityKey, pages: &[Page]) -> Result<(), Failure> {
        let fault = self.fault.take();
        let saved = match fault {
            Some(Fault::Before) => &pages[..0],
            Some(Fault::Between) => &pages[..pages.len() - 1],
            Some(Fault::After) | None => pages,
        };
        for page in saved {
            let row = (page.expires, page.packed.clone());
            self.rows.borrow_mut().insert((entity, page.number), row);
            self.written.set(self.written.get() + 1);
        }
        fault.map_or(Ok(()), |_| Err(Failure::Injected))
    }

    fn layout(&self) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.layout.borrow().clone())
    }

    fn record_layout(&self, packed: &[u8]) -> Result<(), Failure> {
        let fault = self.fault.take();
        if fault != Some(Fault::Before) {
            *self.layout.borrow_mut() = Some(packed.to_vec());
        }
        fault.map_or(Ok(()), |_| Err(Failure::Injected))
    }

    fn keep(&self, letter: &Letter, sealed: &[u8]) -> Result<(), Failure> {
        self.change_letters(|letters| {
            let redelivered = self.redelivered.borrow();
            let (since, redeliveries) = match letters.get(&letter.id) {
                Some((_, Some((old, _)))) => (
                    Some(old.redelivered_at.unwrap_or(old.received_at)),
                    old.redeliveries,
                ),
                Some((until, None)) => {
                    let counted = redelivered.get(&letter.id).copied();
                    let (at, times) = counted.unwrap_or_default();
                    let deleted = Timestamp(until.0 - TOMBSTONE.as_millis() as i64);
                    (Some(at.unwrap_or(deleted)), times)
                }
                None => (None, 0),
            };
            if since.is_none_or(|since| letter.received_at > since) {
                // The number goes on: a redelivery of the new one isn't one of the old one.
                let letter = Letter {
                    redeliveries,
                    ..letter.clone()
                };
                let kept = (letter.clone(), sealed.to_vec());
                letters.insert(letter.id, (letter.expires_at, Some(kept)));
            }
        })
    }

    fn list(&self, filter: &Filter, now: Timestamp) -> Result<Vec<Letter>, Failure> {
        let wanted = |one: &Letter| {
            filter.source.as_ref().is_none_or(|s| *s == one.source)
                && filter.code.as_ref().is_none_or(|code| *code == one.code)
                && one.received_at >= filter.since
                && filter
                    .after
                    .is_none_or(|after| (one.received_at, one.id) > after)
                && !(filter.waiting && one.redelivered_at.is_some())
                && !(filter.waiting && filter.code.is_none() && one.code == "withheld_superseded")
        };
        let letters = self.kept(now).into_iter().filter(wanted);
        Ok(letters.take(filter.limit as usize).collect())
    }

    fn letter(&self, id: LetterId, now: Timestamp) -> Result<Option<(Letter, Vec<u8>)>, Failure> {
        let letters = self.letters.borrow();
        let live = letters.get(&id).filter(|(until, _)| now < *until);
        Ok(live.and_then(|(_, kept)| kept.clone()))
    }

    fn remove(&self, id: LetterId, now: Timestamp) -> Result<bool, Failure> {
        self.change_letters(|letters| match letters.get_mut(&id) {
            Some((expires, kept @ Some(_))) if now < *expires => {
                let (letter, _) = kept.take().unwrap();
                let counted = (letter.redelivered_at, letter.redeliveries);
                self.redelivered.borrow_mut().insert(id, counted);
                *expires = now.after(TOMBSTONE);
                true
            }
            _ => false,
        })
    }

    fn mark(&self, id: LetterId, redeliveries: u32, now: Timestamp) -> Result<bool, Failure> {
        self.change_letters(|letters| match letters.get_mut(&id) {
            Some((_, Some((letter, _)))) if letter.redeliveries == redeliveries => {
                letter.redelivered_at = Some(now);
                letter.redeliveries += 1;
                true
            }
            _ => false,
        })
    }

    fn expected(&self, entity: EntityKey) -> Result<Option<Expected>, Failure> {
        let expected = self.expected.borrow();
        Ok(expected.get(&entity).map(|(_, expected)| expected.clone()))
    }

    fn expect(&self, entity: EntityKey, one: &Expected, at: Timestamp) -> Result<(), Failure> {
        let fault = self.fault.take();
        if fault != Some(Fault::Before) {
            let row = (at, one.clone());
            self.expected.borrow_mut().insert(entity, row);
            self.written.set(self.written.get() + 1);
        }
        fault.map_or(Ok(()), |_| Err(Failure::Injected))
    }

    fn expect_no_longer(&self, entity: EntityKey) -> Result<bool, Failure> {
        let fault = self.fault.take();
        let mut expected = self.expected.borrow_mut();
        let was_there = fault != Some(Fault::Before) && expected.remove(&entity).is_some();
        fault.map_or(Ok(was_there), |_| Err(Failure::Injected))
    }

    fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<(EntityKey, Expected)>, Failure> {
        let expected = self.expected.borrow();
        let pending = expected
            .iter()
            .filter(|(_, (at, one))| one.standing == Standing::Pending && *at <= now);
        let mut due: Vec<_> = pending
            .map(|(key, (at, one))| (*at, *key, one.clone()))
            .collect();
        due.sort_by_key(|(at, key, _)| (*at, *key));
        let due = due.into_iter().map(|(_, key, one)| (key, one));
        let limit = match self.page.get() {
            0 => limit,
            page => page.min(limit),
        };
        Ok(due.take(limit as usize).collect())
    }

    fn count_overdue(&self, now: Timestamp) -> Result<u64, Failure> {
        self.overdue(now, u32::MAX).map(|due| due.len() as u64)
    }

    fn count(&self, now: Timestamp) -> Result<Count, Failure> {
        let letters = self.kept(now);
        let is_withheld = |l: &&Letter| l.code == "withheld_superseded";
        let waiting = letters.iter();
        let waiting = waiting.filter(|l| l.redelivered_at.is_none() && !is_withheld(l));
        Ok(Count {
            kept: letters.len() as u64,
            withheld: letters.iter().filter(is_withheld).count() as u64,
            waiting: waiting.clone().count() as u64,
            oldest: waiting.map(|letter| letter.received_at).min(),
        })
    }
}

/// What a call to an object does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    /// It replies, after so long.
    Replies(Duration),
    /// It fails, and saves before that or not.
    Fails(Fault),
    /// No reply comes in time, though the call is served.
    Hangs,
    /// It replies something of another version.
    Garbled,
}

/// What the origin does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// It takes the request and answers, after so long.
    Answers(u16, Option<&'static str>, Duration),
    /// The connection fails before the request is there.
    Unreachable,
    /// It takes the request and never answers.
    Hangs,
}

/// What KV does with a read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// It answers, after so long.
    Answers(Duration),
    /// It answers what was there so long ago.
    Stale(Duration),
    /// It fails, as with 429.
    Fails,
    /// It never answers.
    Hangs,
}

/// What KV or a queue does with what it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Take {
    /// It has it, and says so after so long.
    Takes(Duration),
    /// It refuses, as with 429, and has it or not.
    Fails(Fault),
    /// It never says anything, and has it or not.
    Hangs(bool),
}

impl Take {
    fn has_it(self) -> bool {
        matches!(
            self,
            Self::Takes(_) | Self::Hangs(true) | Self::Fails(Fault::After)
        )
    }
}

/// What the rate limit says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limited {
    Under,
    Over,
    Fails,
    Hangs,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The binding of the queue.
    pub(crate) queue: String,
    pub(crate) body: Vec<u8>,
    pub(crate) text: bool,
    pub(crate) delay: Duration,
    pub(crate) at: Timestamp,
}

/// The name of one of our queues, by its binding.
pub(crate) fn queue_name(binding: &str) -> &'static str {
    match binding {
        DELIVERIES => "rxgate-deliveries",
        DEAD_LETTERS => "rxgate-dead-letters",
        _ => "another-queue",
    }
}

/// The origin answers this at once.
pub(crate) const fn answers(status: u16) -> Origin {
    Origin::Answers(status, None, Duration::ZERO)
}

/// What is under way.
#[derive(Debug)]
pub(crate) enum Running {
    Machine(Machine),
    Operator(Operator),
    Expectation(Expectation),
    Watch(Watch),
}

/// How an alarm goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// To its end.
    Rings,
    /// It ends before anything is sent.
    DiesBefore,
    /// It ends after all is sent, and before that is noted.
    DiesAfter,
}

/// A machine, and what it asks for.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) running: Running,
    pub(crate) effect: Effect,
}

impl Flight {
    /// The effect has been under way for so long already: that much less time is left for it.
    pub(crate) fn shorten(&mut self, span: Duration) {
        let timeout = match &mut self.effect {
            Effect::Ask { timeout, .. } | Effect::Get { timeout, .. } => timeout,
            Effect::Deliver(delivery) => &mut delivery.timeout,
            Effect::Put(put) => &mut put.timeout,
            Effect::Enqueue(message) => &mut message.timeout,
            Effect::Limit { .. } | Effect::Answer(_) | Effect::Settle(_) => return,
        };
        *timeout = timeout.saturating_sub(span);
    }
}

/// How a request or a call ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) answer: Answer,
    /// The line of the log; an empty one if there is none.
    pub(crate) record: Record,
    pub(crate) logged: bool,
}

impl End {
    /// The status, the code and the `Retry-After`.
    pub(crate) fn summary(&self) -> (u16, &'static str, Option<u64>) {
        let Answer {
            status,
            retry_after,
            ..
        } = self.answer;
        (status, self.record.code, retry_after)
    }

    /// The answer's body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.answer.body).unwrap()
    }
}

/// How a message or the cron ended.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) verdict: Verdict,
    pub(crate) record: Record,
}

impl Settled {
    /// What becomes of the message, and the code.
    pub(crate) fn summary(&self) -> (Verdict, &'static str) {
        (self.verdict, self.record.code)
    }

    /// How long until it comes again.
    #[track_caller]
    pub(crate) fn delay(&self) -> Duration {
        match self.verdict {
            Verdict::Retry(delay) => delay,
            Verdict::Ack => panic!("acknowledged: {}", self.record.code),
        }
    }
}

/// What an object said to a claim.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the simulation reads it")]
pub(crate) struct Claimed {
    pub(crate) at: Timestamp,
    pub(crate) entity: EntityKey,
    pub(crate) request: ClaimRequest,
    pub(crate) claim: Claim,
}

/// What an object said to a commit or a release.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the simulation reads it")]
pub(crate) struct Settling {
    pub(crate) at: Timestamp,
    pub(crate) entity: EntityKey,
    pub(crate) event: EventHash,
    pub(crate) fence: Fence,
    /// `None`: a release.
    pub(crate) receipt: Option<Receipt>,
    pub(crate) is_done: bool,
}

/// An effect that is performed, and that the machine hasn't heard of yet.
#[derive(Debug)]
pub(crate) struct Performed {
    running: Running,
    said: Said,
}

impl Performed {
    /// It is heard of too late.
    #[allow(dead_code, reason = "the simulation uses it")]
    pub(crate) fn time_out(&mut self) {
        self.said = Said::Plain(Done::TimedOut);
    }
}

/// What came of an effect.
#[derive(Debug)]
enum Said {
    Replied(Vec<u8>),
    Plain(Done<'static>),
}

/// A step's result.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful at a time")]
pub(crate) enum Step {
    Next(Flight),
    End(Box<End>),
    Settled(Box<Settled>),
}

/// What was put into KV: until when it is kept, and since when it is there.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) value: Vec<u8>,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
}

/// Everything around the machine.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) now: Timestamp,
    pub(crate) objects: BTreeMap<String, Memory>,
    /// What the next calls to objects do; beyond, they reply at once.
    pub(crate) asks: VecDeque<Ask>,
    /// What the origin does with the next requests; beyond, it answers 200 at once.
    pub(crate) origin: VecDeque<Origin>,
    /// What the next reads of KV get; beyond, what is there, at once.
    pub(crate) looks: VecDeque<Look>,
    /// What the next writes of KV do; beyond, they succeed at once.
    pub(crate) puts: VecDeque<Take>,
    /// What queues do with the next messages; beyond, they take them at once.
    pub(crate) sends: VecDeque<Take>,
    /// What the rate limit says next; beyond, that all is well.
    pub(crate) limits: VecDeque<Limited>,
    /// What is in KV.
    pub(crate) kv: BTreeMap<String, Kept>,
    /// What is in the queues.
    pub(crate) queued: Vec<Sent>,
    /// What reached the origin.
    pub(crate) delivered: Vec<Delivery>,
    /// The `webhook-id` of what the origin answered 2xx in time.
    pub(crate) taken: Vec<String>,
    /// What the objects were asked.
    pub(crate) asked: Vec<(String, Request)>,
    /// What objects said to claims, whether anybody heard of it or not.
    pub(crate) claims: Vec<Claimed>,
    /// What they said to commits and releases.
    pub(crate) settled: Vec<Settling>,
    /// Whether the last reply of an object was heard.
    pub(crate) heard: bool,
    /// All effects, in order.
    pub(crate) did: Vec<String>,
    /// Operators present this.
    pub(crate) operator: Option<String>,
}

impl World {
    /// With the usual settings.
    pub(crate) fn new() -> Self {
        Self::with(&settings())
    }

    /// With these settings.
    #[track_caller]
    pub(crate) fn with(settings: &Value) -> Self {
        Self::of(gateway(settings))
    }

    /// With these settings, and these queues besides the dead letters'.
    #[track_caller]
    pub(crate) fn bound(settings: &Value, queues: &[&str]) -> Self {
        Self::of(gateway_with(settings, bindings(queues)))
    }

    /// With this gateway.
    pub(crate) fn of(gateway: Gateway) -> Self {
        Self {
            gateway,
            now: START,
            objects: BTreeMap::new(),
            asks: VecDeque::new(),
            origin: VecDeque::new(),
            looks: VecDeque::new(),
            puts: VecDeque::new(),
            sends: VecDeque::new(),
            limits: VecDeque::new(),
            kv: BTreeMap::new(),
            queued: Vec::new(),
            delivered: Vec::new(),
            taken: Vec::new(),
            asked: Vec::new(),
            claims: Vec::new(),
            settled: Vec::new(),
            heard: false,
            did: Vec::new(),
            operator: Some(format!("Bearer {}", OPERATOR_KEYS[0])),
        }
    }

    /// Moves the clock.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Sends a body, signed now, through to its end.
    pub(crate) fn send(&mut self, body: &str) -> End {
        let flight = self.begin(body);
        self.finish(flight)
    }

    /// Goes on to the end.
    pub(crate) fn finish(&mut self, mut flight: Flight) -> End {
        loop {
            match self.step(flight) {
                Step::Next(next) => flight = next,
                Step::End(end) => return *end,
                Step::Settled(settled) => panic!("settled: {settled:?}"),
            }
        }
    }

    /// Goes on to the end of a message, or of the cron.
    pub(crate) fn settle(&mut self, mut flight: Flight) -> Settled {
        loop {
            match self.step(flight) {
                Step::Next(next) => flight = next,
                Step::Settled(settled) => return *settled,
                Step::End(end) => panic!("answered: {end:?}"),
            }
        }
    }

    /// Takes the oldest message out of a queue, by the queue's binding.
    #[track_caller]
    pub(crate) fn take(&mut self, queue: &str) -> Sent {
        let place = self.queued.iter().position(|sent| sent.queue == queue);
        self.queued
            .remove(place.unwrap_or_else(|| panic!("nothing in {queue}")))
    }

    /// The `webhook-id` of what is in the dead-letter queue.
    pub(crate) fn dead_letters(&self) -> Vec<String> {
        let sent = self.queued.iter().filter(|s| s.queue == DEAD_LETTERS);
        sent.filter_map(|sent| parcel_of(&sent.body).label.webhook_id)
            .collect()
    }

    /// How many messages a queue holds.
    pub(crate) fn waiting(&self, queue: &str) -> usize {
        self.queued
            .iter()
            .filter(|sent| sent.queue == queue)
            .count()
    }

    /// Begins with a message, at its so-and-so-manieth attempt.
    pub(crate) fn begin_attempt(&mut self, sent: &Sent, attempt: u16) -> Flight {
        self.begin_message(queue_name(&sent.queue), &sent.body, attempt, sent.at)
    }

    /// Begins with anything that comes out of a queue.
    pub(crate) fn begin_message(
        &mut self,
        queue: &str,
        body: &[u8],
        attempt: u16,
        sent_at: Timestamp,
    ) -> Flight {
        let message = Message {
            queue,
            body,
            attempt,
            sent_at,
        };
        let (machine, effect) = Machine::attempt(&self.gateway, message, self.now);
        Flight {
            running: Running::Machine(machine),
            effect,
        }
    }

    /// Hands a message over for the first time, to its end.
    pub(crate) fn attempt(&mut self, sent: &Sent) -> Settled {
        self.attempt_nth(sent, 1)
    }

    /// Hands a message over, to its end.
    pub(crate) fn attempt_nth(&mut self, sent: &Sent, attempt: u16) -> Settled {
        let flight = self.begin_attempt(sent, attempt);
        self.settle(flight)
    }

    /// Takes the oldest message out of our queue when its delay is over, and hands it over.
    #[track_caller]
    pub(crate) fn consume(&mut self) -> Settled {
        let sent = self.take(DELIVERIES);
        let due = sent.at.after(sent.delay);
        self.now = self.now.max(due);
        self.attempt(&sent)
    }

    /// Keeps all that is in the dead-letter queue.
    #[track_caller]
    pub(crate) fn keep_letters(&mut self) {
        while self.waiting(DEAD_LETTERS) > 0 {
            let sent = self.take(DEAD_LETTERS);
            let kept = self.attempt(&sent);
            assert_eq!(kept.summary(), (Verdict::Ack, "dead_letter_kept"));
        }
    }

    /// The letters that are kept now.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        let object = self.objects.get(rxgate::letters::LETTERS_OBJECT);
        object.map_or_else(Vec::new, |object| object.kept(self.now))
    }

    /// A call of an operator's, to its end. The query as in a URL, without anything encoded.
    pub(crate) fn call(&mut self, method: &str, target: &str) -> End {
        let flight = self.begin_call(method, target);
        self.finish(flight)
    }

    /// Begins with a call of an operator's.
    pub(crate) fn begin_call(&mut self, method: &str, target: &str) -> Flight {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: Vec<(String, String)> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let call = Call {
            method,
            path,
            authorization: self.operator.as_deref(),
            query: &query,
        };
        let (operator, effect) = Operator::begin(&self.gateway, call, self.now);
        Flight {
            running: Running::Operator(operator),
            effect,
        }
    }

    /// A call about a callback that is waited for, to its end. The query as in a URL, without anything encoded.
    pub(crate) fn expect(
        &mut self,
        method: &str,
        target: &str,
        authorization: Option<&str>,
        body: Option<&str>,
    ) -> End {
        let flight = self.begin_expect(method, target, authorization, body);
        self.finish(flight)
    }

    /// Begins with a call about a callback that is waited for.
    pub(crate) fn begin_expect(
        &mut self,
        method: &str,
        target: &str,
        authorization: Option<&str>,
        body: Option<&str>,
    ) -> Flight {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query: Vec<(String, String)> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let call = expectation::Call {
            method,
            source: path.strip_prefix(EXPECTATIONS_PATH).unwrap(),
            authorization,
            query: &query,
            received: Received::Complete,
            body,
        };
        let (expectation, effect) = Expectation::begin(&self.gateway, call, self.now);
        Flight {
            running: Running::Expectation(expectation),
            effect,
        }
    }

    /// The alarm of each object, as its shell does it: what is due goes into our queue, and what went there is noted. Answers how many messages were sent.
    pub(crate) fn alarms(&mut self, alarm: Alarm) -> usize {
        let mut sent = 0;
        for object in self.objects.values() {
            let due = overdue(object, self.now).unwrap();
            if alarm == Alarm::DiesBefore || due.notices.is_empty() {
                continue;
            }
            sent += due.notices.len();
            for (_, body) in &due.notices {
                self.queued.push(Sent {
                    queue: DELIVERIES.to_owned(),
                    body: body.clone(),
                    text: false,
                    delay: Duration::ZERO,
                    at: self.now,
                });
            }
            if alarm == Alarm::Rings {
                notified(object, &due, self.now).unwrap();
            }
        }
        sent
    }

    /// The cron's other turn, over expected callbacks.
    pub(crate) fn watch(&mut self) -> Settled {
        let flight = self.begin_watch();
        self.settle(flight)
    }

    /// Begins with that.
    pub(crate) fn begin_watch(&mut self) -> Flight {
        let (watch, effect) = Watch::begin(&self.gateway, self.now);
        Flight {
            running: Running::Watch(watch),
            effect,
        }
    }

    /// One turn of the cron.
    pub(crate) fn tick(&mut self) -> Settled {
        let flight = self.begin_tick();
        self.settle(flight)
    }

    /// Begins with that.
    pub(crate) fn begin_tick(&mut self) -> Flight {
        let (operator, effect) = Operator::tick(self.now);
        Flight {
            running: Running::Operator(operator),
            effect,
        }
    }

    /// Sends one of [`EVENTS`] in full.
    pub(crate) fn send_event(&mut self, event_id: &str, event_type: &str) -> End {
        let (_, _, full) = EVENTS
            .iter()
            .find(|(name, ..)| *name == event_type)
            .unwrap();
        self.send(&body(event_id, event_type, full))
    }

    /// Begins with a body, signed now.
    pub(crate) fn begin(&mut self, body: &str) -> Flight {
        let signature = sign(SENDER_SECRET, self.now, body);
        self.begin_with(inbound(body, &signature), self.now)
    }

    /// Begins with a request that arrived at `received_at`.
    pub(crate) fn begin_with(&mut self, inbound: Inbound<'_>, received_at: Timestamp) -> Flight {
        let (machine, effect) = Machine::begin(&self.gateway, inbound, received_at, self.now);
        Flight {
            running: Running::Machine(machine),
            effect,
        }
    }

    /// Performs the effect that the machine asks for, and goes on.
    pub(crate) fn step(&mut self, flight: Flight) -> Step {
        match self.perform(flight) {
            Ok(performed) => self.hear(performed),
            Err(ended) => ended,
        }
    }

    /// Performs the effect that the machine asks for; or it has come to its end.
    #[expect(clippy::result_large_err, reason = "a handful at a time")]
    pub(crate) fn perform(&mut self, flight: Flight) -> Result<Performed, Step> {
        let Flight { running, effect } = flight;
        let said = match effect {
            Effect::Answer(end) => {
                let (answer, record) = *end;
                return Err(Step::End(Box::new(End {
                    answer,
                    logged: record.is_some(),
                    record: record.unwrap_or_default(),
                })));
            }
            Effect::Settle(end) => {
                let (verdict, record) = *end;
                return Err(Step::Settled(Box::new(Settled { verdict, record })));
            }
            Effect::Ask {
                object,
                request,
                timeout,
            } => {
                self.did.push(request_name(&request).to_owned());
                self.ask(object, request, timeout)
            }
            Effect::Deliver(delivery) => {
                self.did.push("deliver".to_owned());
                Said::Plain(self.deliver(*delivery))
            }
            Effect::Get { key, timeout } => {
                self.did.push(format!("get {}", kind_of(&key)));
                self.look(&key, timeout)
            }
            Effect::Put(put) => {
                self.did.push(format!("put {}", kind_of(&put.key)));
                Said::Plain(self.put(*put))
            }
            Effect::Enqueue(message) => {
                self.did.push(format!("send {}", message.queue));
                Said::Plain(self.enqueue(*message))
            }
            Effect::Limit { key } => {
                self.did.push(format!("limit {key}"));
                Said::Plain(match self.limits.pop_front().unwrap_or(Limited::Under) {
                    Limited::Under => Done::Ok,
                    Limited::Over => Done::Limited,
                    Limited::Fails => Done::Failed,
                    Limited::Hangs => Done::TimedOut,
                })
            }
        };
        Ok(Performed { running, said })
    }

    /// Tells the machine what came of its effect, and goes on.
    pub(crate) fn hear(&mut self, performed: Performed) -> Step {
        let Performed { running, said } = performed;
        let done = match &said {
            Said::Replied(reply) => &Done::Replied(reply),
            Said::Plain(done) => done,
        };
        let (running, effect) = match running {
            Running::Machine(machine) => {
                let (machine, effect) = machine.resume(&self.gateway, done, self.now);
                (Running::Machine(machine), effect)
            }
            Running::Operator(operator) => {
                let (operator, effect) = operator.resume(&self.gateway, done, self.now);
                (Running::Operator(operator), effect)
            }
            Running::Expectation(expectation) => {
                let (expectation, effect) = expectation.resume(&self.gateway, done, self.now);
                (Running::Expectation(expectation), effect)
            }
            Running::Watch(watch) => {
                let (watch, effect) = watch.resume(&self.gateway, done, self.now);
                (Running::Watch(watch), effect)
            }
        };
        Step::Next(Flight { running, effect })
    }

    fn look(&mut self, key: &str, timeout: Duration) -> Said {
        let look = self.looks.pop_front();
        let look = look.unwrap_or(Look::Answers(Duration::ZERO));
        let (delay, ago) = match look {
            Look::Answers(delay) => (delay, Duration::ZERO),
            Look::Stale(ago) => (Duration::ZERO, ago),
            Look::Fails => return Said::Plain(Done::Failed),
            Look::Hangs => (Duration::MAX, Duration::ZERO),
        };
        self.now = self.now.after(delay.min(timeout));
        if delay > timeout {
            return Said::Plain(Done::TimedOut);
        }
        let at = Timestamp(self.now.0 - i64::try_from(ago.as_millis()).unwrap());
        match self.kv.get(key) {
            Some(kept) if kept.since <= at && at < kept.until => Said::Replied(kept.value.clone()),
            _ => Said::Plain(Done::Absent),
        }
    }

    fn put(&mut self, put: Put) -> Done<'static> {
        let take = self.puts.pop_front();
        let take = take.unwrap_or(Take::Takes(Duration::ZERO));
        assert!(
            put.kept >= Duration::from_secs(60),
            "KV keeps nothing for less"
        );
        let (done, in_time) = self.taken(take, put.timeout);
        if take.has_it() && in_time {
            let kept = Kept {
                value: put.value,
                since: self.now,
                until: self.now.after(put.kept),
            };
            self.kv.insert(put.key, kept);
        }
        done
    }

    fn enqueue(&mut self, message: Enqueue) -> Done<'static> {
        assert!(message.body.len() < 127_900, "the platform takes no more");
        let take = self.sends.pop_front();
        let take = take.unwrap_or(Take::Takes(Duration::ZERO));
        let (done, _) = self.taken(take, message.timeout);
        // What is given up at the timeout may be there all the same.
        if take.has_it() {
            self.queued.push(Sent {
                queue: message.queue,
                body: message.body,
                text: message.text,
                delay: message.delay,
                at: self.now,
            });
        }
        done
    }

    fn taken(&mut self, take: Take, timeout: Duration) -> (Done<'static>, bool) {
        let delay = match take {
            Take::Takes(delay) => delay,
            Take::Fails(_) => Duration::ZERO,
            Take::Hangs(_) => Duration::MAX,
        };
        self.now = self.now.after(delay.min(timeout));
        match take {
            Take::Fails(_) => (Done::Failed, true),
            _ if delay > timeout => (Done::TimedOut, matches!(take, Take::Hangs(_))),
            _ => (Done::Ok, true),
        }
    }

    /// Performs the effect, and dies before the machine hears of it.
    pub(crate) fn crash_after_performing(&mut self, flight: Flight) {
        let _ = self.step(flight);
    }

    fn ask(&mut self, name: String, request: Request, timeout: Duration) -> Said {
        self.heard = false;
        let ask = self
            .asks
            .pop_front()
            .unwrap_or(Ask::Replies(Duration::ZERO));
        // Through the wire form: what the other side reads is what counts.
        let message = request.pack();
        let heard = Request::unpack(&message).map(|request| request.pack());
        assert_eq!(heard.as_ref(), Ok(&message));
        let object = self.objects.entry(name.clone()).or_default();
        self.asked.push((name, request));
        let delay = match ask {
            Ask::Replies(delay) => delay,
            Ask::Hangs => Duration::MAX,
            Ask::Fails(_) | Ask::Garbled => Duration::ZERO,
        };
        // One that fails after it saved is served, and only not heard of.
        if let Ask::Fails(fault @ (Fault::Before | Fault::Between)) = ask {
            object.fault.set(Some(fault));
        }
        let is_letters = matches!(Request::unpack(&message), Ok(Request::Letters(_)));
        let read = if is_letters { 1 } else { 0 };
        let before = object.written.get();
        let served = serve(object, &message, self.now);
        object.fault.set(None);
        if let (Ok(served), Some((_, request))) = (&served, self.asked.last()) {
            note(
                request,
                served,
                self.now,
                &mut self.claims,
                &mut self.settled,
            );
        }
        let cost = Cost {
            read,
            written: object.written.get() - before,
        };
        self.now = self.now.after(delay.min(timeout));
        if delay > timeout {
            return Said::Plain(Done::TimedOut);
        }
        match (ask, served) {
            (Ask::Fails(_), _) | (_, Err(_)) => Said::Plain(Done::Failed),
            (Ask::Garbled, _) => Said::Replied(vec![9, 9, 9]),
            (_, Ok(served)) => {
                self.heard = true;
                let reply = served.pack(cost);
                assert_eq!(Reply::unpack(&reply), Ok((served, cost)));
                Said::Replied(reply)
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) -> Done<'static> {
        let timeout = delivery.timeout;
        let origin = self.origin.pop_front().unwrap_or(answers(200));
        if let Origin::Answers(200..=299, _, delay) = origin
            && delay <= timeout
        {
            self.taken.push(header(&delivery, "webhook-id").to_owned());
        }
        if !matches!(origin, Origin::Unreachable) {
            self.delivered.push(delivery);
        }
        let delay = match origin {
            Origin::Answers(_, _, delay) => delay,
            Origin::Hangs => Duration::MAX,
            Origin::Unreachable => Duration::ZERO,
        };
        self.now = self.now.after(delay.min(timeout));
        match origin {
            Origin::Unreachable => Done::Failed,
            _ if delay > timeout => Done::TimedOut,
            Origin::Answers(status, retry_after, _) => Done::Answered {
                status,
                retry_after,
            },
            Origin::Hangs => Done::TimedOut,
        }
    }

    /// The events that reached the origin, as JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        let bodies = self.delivered.iter().map(|delivery| &delivery.body);
        bodies
            .map(|body| serde_json::from_slice(body).unwrap())
            .collect()
    }
}

/// A request like the sender's.
pub(crate) fn inbound<'a>(body: &'a str, signature: &'a str) -> Inbound<'a> {
    Inbound {
        path: None,
        address: None,
        method: "POST",
        source: "osigu",
        received: Received::Complete,
        url: None,
        signature: Some(signature),
        more: &[],
        content_type: Some("application/json"),
        traceparent: None,
        body: RawBody::new(body.as_bytes()),
    }
}

/// Notes what was said to claims, commits and releases.
fn note(
    request: &Request,
    reply: &Reply,
    at: Timestamp,
    claims: &mut Vec<Claimed>,
    settled: &mut Vec<Settling>,
) {
    let (entity, event, fence, receipt) = match request {
        Request::ClaimIf(_, request) => return note(request, reply, at, claims, settled),
        Request::Claim { entity, claim, .. } => {
            if let Reply::Claim(said) = reply {
                claims.push(Claimed {
                    at,
                    entity: *entity,
                    request: *claim,
                    claim: *said,
                });
            }
            return;
        }
        Request::Commit {
            entity,
            event,
            fence,
            receipt,
            ..
        } => (*entity, *event, *fence, Some(*receipt)),
        Request::Release {
            entity,
            event,
            fence,
        } => (*entity, *event, *fence, None),
        _ => return,
    };
    settled.push(Settling {
        at,
        entity,
        event,
        fence,
        receipt,
        is_done: matches!(reply, Reply::Settled(Ok(()))),
    });
}

/// What an object is asked.
pub(crate) fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Layout(_) => "layout",
        Request::Claim { .. } => "claim",
        Request::Commit { .. } => "commit",
        Request::Release { .. } => "release",
        Request::Move { .. } => "move",
        Request::Letters(LetterRequest::Keep { .. }) => "keep",
        Request::Letters(LetterRequest::List(_)) => "list",
        Request::Letters(LetterRequest::Read(_)) => "read",
        Request::Letters(LetterRequest::Remove(_)) => "remove",
        Request::Letters(LetterRequest::Mark(..)) => "mark",
        Request::Letters(LetterRequest::Count) => "count",
        Request::Expect(ExpectRequest::Register(..)) => "register",
        Request::Expect(ExpectRequest::Read(_)) => "look",
        Request::Expect(ExpectRequest::Remove(_)) => "forget",
        Request::Expect(ExpectRequest::Overdue) => "overdue",
        Request::ClaimIf(..) => "claim if",
    }
}

/// What kind of key it is: what stands before the hash.
fn kind_of(key: &str) -> &str {
    let (kind, hash) = key.split_once('/').unwrap();
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    assert!(hash.len() >= 32 && hash.bytes().all(is_hex), "{key}");
    kind
}

/// Writes a setting of `settings` by its path, such as `SOURCE_OSIGU.dedupe`.
pub(crate) fn set(settings: &mut Value, path: &str, value: Value) {
    let pointer = format!("/{}", path.replace('.', "/"));
    let (table, name) = pointer.rsplit_once('/').unwrap();
    settings.pointer_mut(table).unwrap()[name] = value;
}

/// What is sealed in a message, with the first of [`SEAL_KEYS`].
#[track_caller]
pub(crate) fn parcel_of(message: &[u8]) -> Parcel {
    let keys = seal_keys();
    let (kind, frame) = message.split_first().unwrap();
    assert_eq!(*kind, 1, "no frame");
    let kinds = [Sealed::Delivery, Sealed::Letter];
    let opened = kinds
        .into_iter()
        .find_map(|what| keys.open(what, frame).ok());
    Parcel::read(&opened.unwrap()).unwrap()
}

/// The first of [`SEAL_KEYS`], as the settings have it.
pub(crate) fn seal_keys() -> SealKeys {
    SealKeys::new(vec![
        SealKey::parse(KeyId::new("seal-1"), SEAL_KEYS[0]).unwrap(),
    ])
    .unwrap()
}

//! A native driver of the machine: in-memory objects that fail on demand, a scripted origin, a clock that is moved by hand.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rxgate::auth::RawBody;
use rxgate::config::Config;
use rxgate::effect::{Answer, Delivery, Done, Effect};
use rxgate::entity::{Cost, EntityKey, Page, Request, RowCorrupt, Store, WireCorrupt, serve};
use rxgate::inbound::{Inbound, Received};
use rxgate::machine::{Gateway, Machine};
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
        "RXGATE": { "shards": 4 },
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

/// A gateway with these variables, all of which have to be sound.
#[track_caller]
pub(crate) fn gateway(settings: &Value) -> Gateway {
    let secrets = [
        ("OSIGU_SECRET", SENDER_SECRET),
        ("OUR_KEY_1", OUR_KEYS[0]),
        ("OUR_KEY_2", OUR_KEYS[1]),
        ("ORIGIN_TOKEN", HEADER_SECRET),
    ];
    let secrets = secrets.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::parse(settings.as_object().unwrap(), &BTreeMap::from(secrets));
    assert_eq!(config.faults, []);
    Gateway::new(config)
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

/// One object's storage, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rows: RefCell<BTreeMap<(EntityKey, u32), StoredPage>>,
    pub(crate) layout: RefCell<Option<Vec<u8>>>,
    /// Pages written so far.
    pub(crate) written: Cell<u32>,
    /// The next save fails like this.
    pub(crate) fault: Cell<Option<Fault>>,
}

impl Memory {
    /// Deletes what has expired, as the alarm's walk does.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.rows
            .borrow_mut()
            .retain(|_, (expires, _)| now < *expires);
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

/// The origin answers this at once.
pub(crate) const fn answers(status: u16) -> Origin {
    Origin::Answers(status, None, Duration::ZERO)
}

/// A machine, and what it asks for.
#[derive(Debug)]
pub(crate) struct Flight {
    machine: Machine,
    effect: Effect,
}

impl Flight {
    /// The effect has been under way for so long already: that much less time is left for it.
    pub(crate) fn shorten(&mut self, span: Duration) {
        let timeout = match &mut self.effect {
            Effect::Ask { timeout, .. } => timeout,
            Effect::Deliver(delivery) => &mut delivery.timeout,
            Effect::Answer(_) => return,
        };
        *timeout = timeout.saturating_sub(span);
    }
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) answer: Answer,
    pub(crate) record: Record,
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
}

/// A step's result.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful at a time")]
pub(crate) enum Step {
    Next(Flight),
    End(Box<End>),
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
    /// What reached the origin.
    pub(crate) delivered: Vec<Delivery>,
    /// The `webhook-id` of what the origin answered 2xx in time.
    pub(crate) taken: Vec<String>,
    /// What the objects were asked.
    pub(crate) asked: Vec<(String, Request)>,
}

impl World {
    /// With the usual settings.
    pub(crate) fn new() -> Self {
        Self::with(&settings())
    }

    /// With these settings.
    pub(crate) fn with(settings: &Value) -> Self {
        Self {
            gateway: gateway(settings),
            now: START,
            objects: BTreeMap::new(),
            asks: VecDeque::new(),
            origin: VecDeque::new(),
            delivered: Vec::new(),
            taken: Vec::new(),
            asked: Vec::new(),
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
            }
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
        Flight { machine, effect }
    }

    /// Performs the effect that the machine asks for, and goes on.
    pub(crate) fn step(&mut self, flight: Flight) -> Step {
        let Flight { machine, effect } = flight;
        let mut reply = Vec::new();
        let done = match effect {
            Effect::Answer(end) => {
                let (answer, record) = *end;
                return Step::End(Box::new(End { answer, record }));
            }
            Effect::Ask {
                object,
                request,
                timeout,
            } => self.ask(object, request, timeout, &mut reply),
            Effect::Deliver(delivery) => self.deliver(*delivery),
        };
        let (machine, effect) = machine.resume(&self.gateway, &done, self.now);
        Step::Next(Flight { machine, effect })
    }

    /// Performs the effect, and dies before the machine hears of it.
    pub(crate) fn crash_after_performing(&mut self, flight: Flight) {
        let _ = self.step(flight);
    }

    fn ask<'r>(
        &mut self,
        name: String,
        request: Request,
        timeout: Duration,
        reply: &'r mut Vec<u8>,
    ) -> Done<'r> {
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
        if let Ask::Fails(fault) = ask {
            object.fault.set(Some(fault));
        }
        let before = object.written.get();
        let served = serve(object, &message, self.now);
        object.fault.set(None);
        let cost = Cost {
            read: 0,
            written: object.written.get() - before,
        };
        self.now = self.now.after(delay.min(timeout));
        if delay > timeout {
            return Done::TimedOut;
        }
        match (ask, served) {
            (Ask::Fails(_), _) | (_, Err(_)) => Done::Failed,
            (Ask::Garbled, _) => Done::Replied(&[9, 9, 9]),
            (_, Ok(served)) => {
                *reply = served.pack(cost);
                Done::Replied(reply)
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
        method: "POST",
        source: "osigu",
        received: Received::Complete,
        signature: Some(signature),
        content_type: Some("application/json"),
        traceparent: None,
        body: RawBody::new(body.as_bytes()),
    }
}

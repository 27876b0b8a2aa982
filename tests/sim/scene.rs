//! What a seed is about: whose events, by which settings, and what is sent.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rxgate::auth::RawBody;
use rxgate::config::{Config, DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::webhook_id;
use rxgate::entity::{EntityKey, EventHash, Life, body_digest, event_digest};
use rxgate::event::State;
use rxgate::inbound::Inbound;
use rxgate::machine::Gateway;
use rxgate::time::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Rng;
use crate::driver::{
    self, EXPECTATION_KEY, Flight, SENDER_SECRET, World, bindings, body, inbound, secrets, set,
    settings,
};

pub(crate) const CUSTOMERS: &str = "CLINIC_EVENTS";
const PATH_TOKEN: &str = "path-token-0123456789abcdef";
const DOOR_KEY: &str = "portal-key-0123456789abcdef";

/// Whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Osigu's authorizations: signed, with ids and documented retries.
    Osigu,
    /// eVitalRx's orders: unsigned, without ids, in rounds.
    Evitalrx,
    /// PHIL's callbacks, which somebody waits for.
    Phil,
}

impl Sender {
    /// The id of its source.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Osigu => "osigu",
            Self::Evitalrx => "orders",
            Self::Phil => "phil",
        }
    }
}

/// How events get to their destination, and how they are told from duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    Direct,
    Fallback,
    Ours,
    Customers,
    Kv,
    Cached,
    /// The sender may never retry.
    NoRetries,
}

const ROADS: [Road; 7] = [
    Road::Direct,
    Road::Fallback,
    Road::Ours,
    Road::Customers,
    Road::Kv,
    Road::Cached,
    Road::NoRetries,
];

/// For senders that document no retries, and want `exact`.
const ROADS_BY_QUEUE: [Road; 4] = [Road::Fallback, Road::Ours, Road::Customers, Road::Cached];

/// Which settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) sender: Sender,
    pub(crate) road: Road,
    /// Orders: a header stands for a signature, and not a token in the path.
    pub(crate) by_header: bool,
    /// Callbacks: only what is expected is taken.
    pub(crate) is_strict: bool,
}

impl Scene {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let senders = [Sender::Osigu, Sender::Osigu, Sender::Evitalrx, Sender::Phil];
        let sender = rng.pick(&senders);
        let road = match sender {
            Sender::Osigu => rng.pick(&ROADS),
            Sender::Evitalrx | Sender::Phil => rng.pick(&ROADS_BY_QUEUE),
        };
        Self {
            sender,
            road,
            by_header: rng.once_in(3),
            is_strict: rng.once_in(3),
        }
    }

    pub(crate) fn gateway(self, shards: (u32, Option<u32>), rng: &mut Rng) -> Gateway {
        let mut vars = settings();
        let operator = json!([{ "id": "op", "secret": "OPERATOR_KEY_1" }]);
        set(&mut vars, "RXGATE.operator_keys", operator);
        set(&mut vars, "RXGATE.shards", json!(shards.0));
        if let Some(before) = shards.1 {
            set(&mut vars, "RXGATE.previous_shards", json!(before));
        }
        let source = match self.sender {
            Sender::Osigu => vars["SOURCE_OSIGU"].clone(),
            Sender::Evitalrx if self.by_header => json!({
                "provider": "evitalrx", "destination": "origin", "accept_unsigned": true,
                "header": { "name": "x-portal-key", "keys": [{ "id": "door", "secret": "DOOR_KEY" }] },
            }),
            Sender::Evitalrx => json!({
                "provider": "evitalrx", "destination": "origin", "accept_unsigned": true,
                "path_tokens": [{ "id": "door", "secret": "PATH_TOKEN" }],
            }),
            Sender::Phil => json!({
                "provider": "phil-callback", "destination": "origin",
                "keys": [{ "id": "pharmacy", "secret": "OSIGU_SECRET" }],
                "expectation_keys": [{ "id": "portal", "secret": "EXPECTATION_KEY" }],
                "require_expectation": self.is_strict,
            }),
        };
        vars.as_object_mut().unwrap().remove("SOURCE_OSIGU");
        let name = format!("SOURCE_{}", self.sender.source().to_uppercase());
        vars[name.as_str()] = source;
        match self.road {
            Road::Direct | Road::Fallback => {}
            Road::Ours => set(&mut vars, "DESTINATION_ORIGIN.delivery", json!("queue")),
            Road::Customers => vars["DESTINATION_ORIGIN"] = json!({ "queue": CUSTOMERS }),
            Road::Kv => set(&mut vars, &format!("{name}.dedupe"), json!("kv")),
            Road::Cached => set(&mut vars, &format!("{name}.edge_cache"), json!(true)),
            Road::NoRetries => set(&mut vars, &format!("{name}.retry_policy"), json!("unknown")),
        }
        let queues: &[&str] = match self.road {
            Road::Direct => &[],
            _ => &[DELIVERIES, CUSTOMERS],
        };
        let mut secrets = secrets();
        for (name, value) in [("PATH_TOKEN", PATH_TOKEN), ("DOOR_KEY", DOOR_KEY)] {
            secrets.insert(name.to_owned(), value.to_owned());
        }
        let config = Config::parse(vars.as_object().unwrap(), &secrets, bindings(queues));
        assert_eq!(config.faults, []);
        let mut seed = [0; 32];
        seed.chunks_mut(8)
            .for_each(|part| part.copy_from_slice(&rng.next().to_be_bytes()));
        Gateway::new(config, &seed)
    }

    /// Sends an event.
    pub(crate) fn begin(self, world: &mut World, event: &Event) -> Flight {
        match self.sender {
            Sender::Osigu => world.begin(&event.text),
            Sender::Phil => {
                let mut request = inbound(&event.text, SENDER_SECRET);
                request.source = self.sender.source();
                world.begin_with(request, world.now)
            }
            Sender::Evitalrx => {
                let path = format!("{PATH_TOKEN}/{}", event.webhook);
                let request = Inbound {
                    source: self.sender.source(),
                    path: (!self.by_header).then_some(path.as_str()),
                    signature: self.by_header.then_some(DOOR_KEY),
                    content_type: None,
                    body: RawBody::new(event.text.as_bytes()),
                    ..inbound("", "")
                };
                world.begin_with(request, world.now)
            }
        }
    }

    /// A call about a callback that is waited for.
    pub(crate) fn expect(self, world: &mut World, method: &str, id: &str) -> Flight {
        let path = "/v1/expectations/phil";
        let key = format!("Bearer {EXPECTATION_KEY}");
        if method == "POST" {
            let body = json!({ "requestID": id }).to_string();
            return world.begin_expect(method, path, Some(&key), Some(&body));
        }
        let target = format!("{path}?requestID={id}");
        world.begin_expect(method, &target, Some(&key), None)
    }

    /// What is sent, and when.
    pub(crate) fn events(self, rng: &mut Rng) -> Vec<Event> {
        let mut events = Vec::new();
        match self.sender {
            Sender::Osigu => {
                for entity in 0..=rng.below(2) {
                    for (kind, more) in AUTHORIZATION {
                        if !rng.once_in(4) {
                            let due = driver::START.after(rng.millis(20_000));
                            let id = format!("evt_{}", events.len());
                            let data = format!(r#"{{"authorization_id":"auth_{entity}"{more}}}"#);
                            let text = body(&id, kind, &data);
                            let node = Life::Authorization.number(kind).unwrap();
                            events.push(Event::new(self, kind, "", text, &id, node, 0, due));
                        }
                    }
                }
            }
            Sender::Evitalrx => {
                // Most of it within minutes, so that it is interleaved; some of it hours later.
                for order in 0..=rng.below(2) {
                    for _ in 0..3 + rng.below(6) {
                        let known = if self.by_header { 7 } else { ORDERS.len() };
                        let (name, webhook, word, more) = ORDERS[rng.below(known)];
                        let span = rng.pick(&[20_000, 20_000, 120_000, 14_400_000]);
                        let due = driver::START.after(rng.millis(span));
                        let text = format!(
                            r#"{{"id":"order_{order}","delivery_type":"delivery"{word}{more}}}"#
                        );
                        events.push(order_event(self, name, webhook, text, due));
                    }
                }
            }
            Sender::Phil => {}
        }
        for n in 0..events.len() {
            let first = events.iter().position(|event| event.id == events[n].id);
            events[n].words = first.unwrap();
        }
        events
    }
}

/// One event that its sender sends, perhaps more than once.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    /// Orders: the last part of the path.
    webhook: &'static str,
    pub(crate) text: String,
    /// The first event of the same bytes: without an id of the sender's they are told apart by their rounds alone.
    pub(crate) words: usize,
    /// Its number in its life, and the state that it leaves its entity in; 0: none.
    pub(crate) node: u8,
    pub(crate) state: u8,
    /// The canonical event's id, without a round.
    pub(crate) id: String,
    pub(crate) digest: [u8; 32],
    pub(crate) hash: EventHash,
    /// What it is claimed as, and where, if it isn't taken for an event.
    pub(crate) refused: (EntityKey, EventHash),
    /// When its sender sends it next, and for the how-manieth time.
    pub(crate) due: Option<Timestamp>,
    pub(crate) sent: usize,
    pub(crate) acknowledged: bool,
}

impl Event {
    #[expect(clippy::too_many_arguments, reason = "what an event is")]
    pub(crate) fn new(
        scene: Scene,
        kind: &'static str,
        webhook: &'static str,
        text: String,
        id: &str,
        node: u8,
        state: u8,
        due: Timestamp,
    ) -> Self {
        let source = scene.sender.source();
        let digest = event_digest(source, id);
        let of_body = body_digest(source, text.as_bytes());
        let hex: String = of_body.iter().map(|byte| format!("{byte:02x}")).collect();
        let entity = EntityKey::of(source, &format!("body/{hex}"));
        Self {
            kind,
            webhook,
            words: 0,
            node,
            state,
            id: id.to_owned(),
            digest,
            hash: EventHash::of(&digest),
            refused: (entity, EventHash::of(&of_body)),
            text,
            due: Some(due),
            sent: 0,
            acknowledged: false,
        }
    }

    /// As the origin knows it.
    pub(crate) fn webhook_id(&self, scene: Scene, round: u16) -> String {
        if round == 0 {
            return webhook_id(&self.digest);
        }
        let id = format!("{}.{round}", self.id);
        webhook_id(&event_digest(scene.sender.source(), &id))
    }
}

const AUTHORIZATION: [(&str, &str); 3] = [
    ("authorization.created", r#","authorization_code":"AUTH-1""#),
    ("authorization.updated", ""),
    ("authorization.voided", ""),
];

const A: &str = r#","chemist_id":"a""#;
const B: &str = r#","chemist_id":"b""#;
const FINAL: &str = r#","chemist_id":"a","is_final_rejection":true"#;
const RIDER: &str = r#","chemist_id":"a","delivery_person_name":"Jay""#;
const ACCEPT: &str = r#","transaction_nature":"accept","order_status":"accepted""#;
const REJECT: &str = r#","transaction_nature":"reject","order_status":"rejected""#;
const SHIP: &str = r#","transaction_nature":"shipped","order_status":"shipped""#;

/// A name of ours, the webhook, the words that tell of it in the body, the rest. The first seven need no path.
#[rustfmt::skip]
const ORDERS: [(&str, &str, &str, &str); 13] = [
    ("accepted by a",       "order-accepted",        ACCEPT, A),
    ("accepted by b",       "order-accepted",        ACCEPT, B),
    ("rejected by a",       "order-rejected",        REJECT, A),
    ("rejected by b",       "order-rejected",        REJECT, B),
    ("finally rejected",    "order-rejected",        REJECT, FINAL),
    ("shipped",             "order-shipped",         SHIP,   A),
    ("shipped with rider",  "order-shipped",         SHIP,   RIDER),
    ("reassigned",          "order-reassign",        "",     B),
    ("assigned",            "order-assigned",        "",     A),
    ("digitized",           "digitization-completed","",     A),
    ("picked up",           "order-picked-up",       "",     A),
    ("delivered",           "order-delivered",       "",     A),
    ("split",               "order-split",           "",     A),
];

fn order_event(
    scene: Scene,
    kind: &'static str,
    webhook: &'static str,
    text: String,
    due: Timestamp,
) -> Event {
    let (number, state) = match webhook {
        "order-accepted" => (webhook, Some(State::Accepted)),
        "order-rejected" if kind == "finally rejected" => {
            (rxgate::entity::FINALLY_REJECTED, Some(State::Rejected))
        }
        "order-rejected" => (webhook, Some(State::Rejected)),
        "order-shipped" => (webhook, Some(State::Shipped)),
        "order-reassign" | "order-assigned" => (webhook, Some(State::Assigned)),
        "digitization-completed" => (webhook, Some(State::Digitized)),
        "order-picked-up" => (webhook, Some(State::PickedUp)),
        "order-delivered" => (webhook, Some(State::Delivered)),
        _ => (webhook, None),
    };
    let node = Life::OrderDelivery.number(number).unwrap();
    let state = state.map_or(0, |state| state as u8);
    let mut event = Event::new(scene, kind, webhook, text, "", node, state, driver::START);
    let id = derived(scene, &event);
    event = Event::new(scene, kind, webhook, event.text, &id, node, state, due);
    event
}

/// One of PHIL's callbacks.
pub(crate) fn callback(scene: Scene, transfer: &str, kind: &'static str, due: Timestamp) -> Event {
    let text = json!({
        "requestID": transfer,
        "metadata": {
            "responseType": kind, "responseID": format!("{transfer}-{kind}"),
            "responseTimestamp": "2026-06-25T14:22:11Z",
        },
    })
    .to_string();
    let state = match kind {
        "RECEIVED" => State::Received,
        "CONFIRMED" => State::Confirmed,
        _ => State::Failed,
    } as u8;
    let node = Life::Transfer.number(kind).unwrap();
    let event = Event::new(scene, kind, "", text, "", node, state, driver::START);
    let id = derived(scene, &event);
    Event::new(scene, kind, "", event.text, &id, node, state, due)
}

thread_local! {
    static DERIVED: RefCell<BTreeMap<(String, String), String>> = RefCell::default();
}

/// The id that an event gets in a world where nothing else happens, without its round.
fn derived(scene: Scene, event: &Event) -> String {
    let key = (event.webhook.to_owned(), event.text.clone());
    if let Some(known) = DERIVED.with_borrow(|derived| derived.get(&key).cloned()) {
        return known;
    }
    let scene = Scene {
        road: Road::Fallback,
        is_strict: false,
        ..scene
    };
    let mut world = World::of(scene.gateway((4, None), &mut Rng(1)));
    let flight = scene.begin(&mut world, event);
    world.finish(flight);
    let told: Value = serde_json::from_slice(&world.delivered[0].body).unwrap();
    let id = told["id"].as_str().unwrap();
    let id = id.split_once('.').map_or(id, |(base, _)| base).to_owned();
    DERIVED.with_borrow_mut(|derived| derived.insert(key, id.clone()));
    id
}

/// The digest of the notice that no callback came by then, as DESIGN.md says what it is made of.
pub(crate) fn notice_digest(transfer: &str, due: &str) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"phil-callback missing\0");
    for part in [transfer, due] {
        hash.update([1]);
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    event_digest("phil", &format!("rxc_{hex}"))
}

/// The queues that are ours.
pub(crate) fn is_ours(queue: &str) -> bool {
    [DELIVERIES, DEAD_LETTERS].contains(&queue)
}

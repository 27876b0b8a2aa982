//! Entities whose events come in rounds: the same words in another round are another event, and whatever is tried again stays what it was.

use std::time::Duration;

use proptest::prelude::*;
use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::webhook_id;
use rxgate::effect::{Delivery, Verdict};
use rxgate::entity::{
    Claim, ClaimRequest, Claimant, Entity, EventHash, Fence, Life, Ordering, Receipt, Row, Step,
    event_digest,
};
use rxgate::event::State;
use rxgate::machine::Gateway;
use rxgate::provider::Provider;
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::driver::{
    Ask, Fault, START, Sent, Take, World, answers, bindings, gateway_with, header, parcel_of, set,
    settings,
};
use crate::support::fixture;

const DELIVERED: (u16, &str, Option<u64>) = (200, "delivered", None);
const ENQUEUED: (u16, &str, Option<u64>) = (200, "enqueued", None);
const DEAD_LETTERED: (u16, &str, Option<u64>) = (200, "dead_lettered", None);
const DUPLICATE: (u16, &str, Option<u64>) = (200, "duplicate", None);

/// A gateway whose one source is of another provider. It is authenticated as Osigu's is: that makes no difference here.
fn gateway_of(provider: Provider, settings: &Value, queues: &[&str]) -> Gateway {
    let parsed = gateway_with(settings, bindings(queues));
    let mut config = parsed.config().clone();
    let source = config.sources.get_mut("osigu").unwrap().as_mut().unwrap();
    source.provider = provider;
    source.retries = false;
    Gateway::new(config, &[0xA5; 32])
}

fn usual() -> Value {
    let mut settings = settings();
    settings["RXGATE"]["operator_keys"] = json!([{ "id": "ana", "secret": "OPERATOR_KEY_1" }]);
    settings
}

/// Orders, with a queue of our own.
fn orders() -> World {
    World::of(gateway_of(Provider::Evitalrx, &usual(), &[DELIVERIES]))
}

/// The bytes of a fixture, from one of two pharmacies.
fn order(case: &str, pharmacy: char) -> String {
    let body = String::from_utf8(fixture(&format!("evitalrx/{case}/body.json"))).unwrap();
    assert!(body.contains("9kVNNczng10TbflL7zZEDA=="));
    body.replace("9kVNNczng10TbflL7zZEDA==", &format!("chemist-{pharmacy}"))
}

fn accepted(pharmacy: char) -> String {
    order("order-accepted", pharmacy)
}

fn rejected(pharmacy: char) -> String {
    order("order-rejected", pharmacy)
}

/// The id of an event that was delivered. The headers name it by that.
#[track_caller]
fn id(delivery: &Delivery) -> String {
    let event: Value = serde_json::from_slice(&delivery.body).unwrap();
    let id = event["id"].as_str().unwrap().to_owned();
    assert_eq!(
        header(delivery, "webhook-id"),
        webhook_id(&event_digest("osigu", &id))
    );
    id
}

/// The same, with the state and the order.
#[track_caller]
fn told(delivery: &Delivery) -> (String, String, String) {
    let event: Value = serde_json::from_slice(&delivery.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        id(delivery),
        text(&event["data"]["state"]),
        text(&event["rxordering"]),
    )
}

fn ids(world: &World) -> Vec<String> {
    world.delivered.iter().map(id).collect()
}

fn base(id: &str) -> &str {
    id.split_once('.').map_or(id, |(base, _)| base)
}

// ── what the customer gets ──

#[test]
fn accepted_rejected_and_accepted_again_in_the_same_words_are_three_events() {
    let mut world = orders();
    let mut seen = Vec::new();
    for body in [accepted('a'), rejected('a'), accepted('a')] {
        let end = world.send(&body);
        assert_eq!(end.summary(), DELIVERED);
        let told = told(world.delivered.last().unwrap());
        assert_eq!(end.json()["event_id"], told.0);
        // At once once more, it is the same event, and is named as that one.
        let webhook_id = end.record.webhook_id.clone();
        assert_eq!(
            webhook_id.as_deref(),
            world.taken.last().map(String::as_str)
        );
        let again = world.send(&body);
        assert_eq!(again.summary(), DUPLICATE);
        assert_eq!(again.json()["event_id"], told.0);
        assert_eq!(again.record.webhook_id, webhook_id);
        seen.push(told);
    }
    let [first, second, third] = seen.try_into().unwrap();
    assert!(first.0.starts_with("ord_") && base(&first.0) == first.0);
    assert_eq!(third.0, format!("{}.1", first.0));
    assert_eq!(second.0, format!("{}.1", base(&second.0)));
    let in_order = |state: &str, told: &(String, String, String)| {
        assert_eq!((told.1.as_str(), told.2.as_str()), (state, "in_order"));
    };
    in_order("accepted", &first);
    in_order("rejected", &second);
    in_order("accepted", &third);
    assert_eq!(world.delivered.len(), 3);
}

#[test]
fn a_rider_who_is_found_makes_another_event_of_the_same_round() {
    let mut world = orders();
    let bodies = [
        "order-accepted",
        "order-shipped",
        "order-shipped-with-rider",
    ];
    for body in bodies.map(|case| order(case, 'a')) {
        assert_eq!(world.send(&body).summary(), DELIVERED);
        assert_eq!(world.send(&body).summary(), DUPLICATE);
    }
    let ids = ids(&world);
    assert!(ids.iter().all(|id| base(id) == id), "{ids:?}");
    assert!(ids[1] != ids[2], "{ids:?}");
}

#[test]
fn a_rejection_twice_in_a_row_is_one_and_after_another_answer_it_is_another() {
    let mut world = orders();
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    assert_eq!(world.send(&rejected('a')).summary(), DUPLICATE);
    assert_eq!(world.send(&accepted('b')).summary(), DELIVERED);
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    let ids = ids(&world);
    assert_eq!(ids[2], format!("{}.2", base(&ids[0])));
    assert_eq!(ids[0], format!("{}.1", base(&ids[0])));
}

#[test]
fn the_round_of_an_event_is_in_its_id_for_a_destination_that_is_a_queue() {
    let mut settings = usual();
    settings["DESTINATION_ORIGIN"] = json!({ "queue": "CLINIC_EVENTS" });
    let gateway = gateway_of(Provider::Evitalrx, &settings, &["CLINIC_EVENTS"]);
    let mut world = World::of(gateway);
    for body in [accepted('a'), rejected('a'), accepted('a')] {
        assert_eq!(world.send(&body).summary(), ENQUEUED);
    }
    let ids: Vec<Value> = (0..3)
        .map(|_| serde_json::from_slice::<Value>(&world.take("CLINIC_EVENTS").body).unwrap())
        .map(|event| event["id"].clone())
        .collect();
    assert_eq!(ids[2], format!("{}.1", ids[0].as_str().unwrap()));
}

#[test]
fn without_an_id_of_our_own_making_an_event_keeps_its_id() {
    let mut world = World::of(gateway_with(&settings(), bindings(&[])));
    world.send_event("evt_1", "dispensing.started");
    world.send_event("evt_2", "dispensing.completed");
    let id =
        |n: usize| serde_json::from_slice::<Value>(&world.delivered[n].body).unwrap()["id"].clone();
    assert_eq!((id(0), id(1)), (json!("evt_1"), json!("evt_2")));
}

// ── tried again ──

#[test]
fn a_rejection_that_is_tried_again_after_other_events_begins_no_round_and_keeps_its_id() {
    let mut world = orders();
    assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
    world.origin.extend([answers(503)]);
    assert_eq!(world.send(&rejected('a')).summary(), ENQUEUED);
    let rejection = world.take(DELIVERIES);
    assert_eq!(parcel_of(&rejection.body).round, Some(1));
    assert_eq!(world.send(&accepted('b')).summary(), DELIVERED);
    // It fails once more, and then it doesn't.
    world.now = rejection.at.after(rejection.delay);
    world.origin.extend([answers(503)]);
    let failed = world.attempt(&rejection);
    world.wait(failed.delay());
    let settled = world.attempt_nth(&rejection, 2);
    assert_eq!(settled.summary(), (Verdict::Ack, "delivered"));
    let told: Vec<_> = world.delivered.iter().map(told).collect();
    let (a, b) = (&told[0].0, &told[2].0);
    assert_ne!(base(a), base(b));
    assert_eq!(b, &format!("{}.1", base(b)));
    for (n, state) in [(1, "rejected"), (3, "accepted"), (4, "accepted")] {
        assert_eq!(told[n].0, told[1].0);
        assert_eq!(
            (told[n].1.as_str(), told[n].2.as_str()),
            (state, "in_order")
        );
    }
    // The second pharmacy's word is of the round that it was of.
    assert_eq!(world.send(&accepted('b')).summary(), DUPLICATE);
    assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
    assert_eq!(ids(&world).last(), Some(&format!("{a}.1")));
}

#[test]
fn an_acceptance_that_is_tried_again_in_a_later_round_is_superseded_and_takes_nothing_back() {
    let mut world = orders();
    world.origin.extend([answers(503)]);
    assert_eq!(world.send(&accepted('a')).summary(), ENQUEUED);
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
    let told: Vec<_> = world.delivered.iter().map(told).collect();
    let last = told.last().unwrap();
    assert_eq!(last.0, told[0].0);
    assert_eq!(
        (last.1.as_str(), last.2.as_str()),
        ("rejected", "superseded")
    );
}

#[test]
fn a_redelivery_keeps_the_id_and_begins_no_round() {
    for last in [accepted('a'), rejected('a')] {
        let mut world = orders();
        assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
        assert_eq!(world.send(&rejected('b')).summary(), DELIVERED);
        world.origin.extend([answers(422)]);
        assert_eq!(world.send(&last).summary(), DEAD_LETTERED);
        let sent = header(world.delivered.last().unwrap(), "webhook-id").to_owned();
        assert_eq!(world.dead_letters().as_slice(), std::slice::from_ref(&sent));
        world.keep_letters();
        let [letter] = &world.letters()[..] else {
            panic!("{:?}", world.letters())
        };
        assert_eq!(letter.webhook_id.as_deref(), Some(sent.as_str()));
        assert_eq!(world.send(&accepted('c')).summary(), DELIVERED);
        // Twice: what was redelivered can fail, and be redelivered again.
        let mut id = letter.id;
        for status in [422, 200] {
            let end = world.call("POST", &format!("/v1/dead-letters/{id}/redeliver"));
            assert_eq!(end.answer.status, 202);
            world.origin.extend([answers(status)]);
            assert_eq!(world.consume().verdict, Verdict::Ack);
            assert_eq!(header(world.delivered.last().unwrap(), "webhook-id"), sent);
            told(world.delivered.last().unwrap());
            world.keep_letters();
            if let Some(newest) = world.letters().iter().find(|l| l.redelivered_at.is_none()) {
                id = newest.id;
            }
        }
        assert_eq!(world.waiting(DEAD_LETTERS), 0);
        assert_eq!(world.send(&accepted('c')).summary(), DUPLICATE);
    }
}

#[test]
fn a_message_without_a_claim_is_of_the_round_of_its_first_attempt() {
    let mut world = orders();
    assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
    world.asks.extend([Ask::Fails(Fault::Before)]);
    assert_eq!(world.send(&rejected('a')).summary(), ENQUEUED);
    let unclaimed = world.take(DELIVERIES);
    assert_eq!(parcel_of(&unclaimed.body).round, None);
    assert_eq!(parcel_of(&unclaimed.body).claimed, None);
    world.now = unclaimed.at.after(unclaimed.delay);
    // It is claimed, and the origin doesn't take it: a message that knows its round takes its place.
    world.origin.extend([answers(503)]);
    assert_eq!(
        world.attempt(&unclaimed).summary(),
        (Verdict::Ack, "enqueued")
    );
    assert_eq!(world.waiting(DELIVERIES), 1);
    assert_eq!(parcel_of(&world.queued.last().unwrap().body).round, Some(1));
    assert_eq!(world.send(&accepted('b')).summary(), DELIVERED);
    assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
    let told: Vec<_> = world.delivered.iter().map(told).collect();
    assert_eq!(told[1].0, told[3].0);
    assert_eq!(told[3].0, format!("{}.1", base(&told[3].0)));
    assert_eq!(told[3].1, "accepted");
    assert_eq!(world.send(&accepted('b')).summary(), DUPLICATE);
}

/// What was sent without a claim has learnt its round, and isn't taken by the queue of the dead letters.
fn learnt_and_not_kept(world: &mut World, body: &str, moved: bool) -> Sent {
    world.asks.extend([Ask::Fails(Fault::Before)]);
    assert_eq!(world.send(body).summary(), ENQUEUED);
    let mut unclaimed = world.take(DELIVERIES);
    assert_eq!(parcel_of(&unclaimed.body).round, None);
    world.now = unclaimed.at.after(unclaimed.delay);
    if moved {
        unclaimed.queue = DEAD_LETTERS.to_owned();
    } else {
        world.origin.extend([answers(422)]);
    }
    world.sends.extend([Take::Fails(Fault::Before)]);
    let settled = world.attempt(&unclaimed);
    // The message that it was is in a queue no more, or comes again.
    if settled.verdict == Verdict::Ack {
        return world.take(DELIVERIES);
    }
    world.wait(settled.delay());
    unclaimed
}

#[test]
fn what_learnt_its_round_and_couldnt_be_kept_begins_no_other() {
    for moved in [false, true] {
        let mut world = orders();
        assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
        let again = learnt_and_not_kept(&mut world, &rejected('a'), moved);
        assert_eq!(world.send(&accepted('b')).summary(), DELIVERED);
        assert_eq!(world.attempt_nth(&again, 2).verdict, Verdict::Ack);
        // The second pharmacy's word is of the round that it was of.
        assert_eq!(world.send(&accepted('b')).summary(), DUPLICATE, "{moved}");
    }
}

#[test]
fn what_learnt_its_round_and_couldnt_be_kept_isnt_taken_for_an_event_of_a_later_one() {
    for moved in [false, true] {
        let mut world = orders();
        assert_eq!(world.send(&rejected('b')).summary(), DELIVERED);
        let again = learnt_and_not_kept(&mut world, &accepted('a'), moved);
        assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
        assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
        let settled = world.attempt_nth(&again, 2);
        assert_eq!(settled.verdict, Verdict::Ack);
        assert_ne!(settled.record.code, "duplicate", "{moved}: it is lost");
    }
}

#[test]
fn a_letter_that_couldnt_be_read_before_is_of_the_round_of_its_first_attempt() {
    let mut world = World::of(gateway_of(Provider::Osigu, &usual(), &[DELIVERIES]));
    assert_eq!(world.send(&accepted('a')).summary(), DEAD_LETTERED);
    world.keep_letters();
    world.gateway = gateway_of(Provider::Evitalrx, &usual(), &[DELIVERIES]);
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    let path = format!("/v1/dead-letters/{}/redeliver", world.letters()[0].id);
    assert_eq!(world.call("POST", &path).answer.status, 202);
    let first = world.take(DELIVERIES);
    world.origin.extend([answers(503)]);
    assert_eq!(world.attempt(&first).summary(), (Verdict::Ack, "enqueued"));
    let second = world.queued.last().unwrap().clone();
    let parcel = parcel_of(&second.body);
    assert_eq!(parcel.round, Some(1));
    assert!(parcel.nonce.is_some() && parcel.claimed.is_some());
    // Whichever of the two comes again, it was delivered.
    assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
    for again in [first, second] {
        assert_eq!(world.attempt(&again).summary(), (Verdict::Ack, "duplicate"));
    }
    let ids = ids(&world);
    assert_eq!(ids[1], ids[2]);
    assert_eq!(ids[1], format!("{}.1", base(&ids[1])));
}

#[test]
fn a_letter_from_before_rounds_were_known_keeps_its_id() {
    let mut settings = usual();
    set(&mut settings, "SOURCE_OSIGU.dedupe", json!("kv"));
    let mut world = World::of(gateway_of(Provider::Evitalrx, &settings, &[DELIVERIES]));
    world.origin.extend([answers(422)]);
    assert_eq!(world.send(&accepted('a')).summary(), DEAD_LETTERED);
    world.keep_letters();
    world.gateway = gateway_of(Provider::Evitalrx, &usual(), &[DELIVERIES]);
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    let path = format!("/v1/dead-letters/{}/redeliver", world.letters()[0].id);
    assert_eq!(world.call("POST", &path).answer.status, 202);
    assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
    assert_eq!(id(&world.delivered[2]), id(&world.delivered[0]));
    let (_, state, ordering) = told(&world.delivered[2]);
    assert_eq!(
        (state.as_str(), ordering.as_str()),
        ("rejected", "superseded")
    );
}

#[test]
fn a_move_between_shards_keeps_rounds() {
    let mut world = orders();
    for body in [accepted('a'), rejected('a'), accepted('a')] {
        assert_eq!(world.send(&body).summary(), DELIVERED);
    }
    world.origin.extend([answers(503)]);
    assert_eq!(world.send(&order("order-shipped", 'a')).summary(), ENQUEUED);
    let mut changed = usual();
    set(&mut changed, "RXGATE.shards", json!(8));
    set(&mut changed, "RXGATE.previous_shards", json!(4));
    world.gateway = gateway_of(Provider::Evitalrx, &changed, &[DELIVERIES]);
    assert_eq!(world.send(&accepted('a')).summary(), DUPLICATE);
    assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
    let told: Vec<_> = world.delivered.iter().map(told).collect();
    let ends: Vec<_> = told
        .iter()
        .map(|told| &told.0[base(&told.0).len()..])
        .collect();
    assert_eq!(ends, ["", ".1", ".1", ".1", ".1", ".2", ".2"]);
    let states: Vec<_> = told.iter().map(|told| told.1.as_str()).collect();
    let (a, r, s) = ("accepted", "rejected", "shipped");
    assert_eq!(states, [a, r, a, s, s, r, a]);
}

#[test]
fn the_edge_cache_is_not_asked_about_what_may_come_again_in_another_round() {
    let mut settings = usual();
    set(&mut settings, "SOURCE_OSIGU.edge_cache", json!(true));
    let mut world = World::of(gateway_of(Provider::Evitalrx, &settings, &[DELIVERIES]));
    for body in [accepted('a'), rejected('a'), accepted('a')] {
        assert_eq!(world.send(&body).summary(), DELIVERED);
        assert_eq!(world.send(&body).summary(), DUPLICATE);
    }
    assert!(world.kv.is_empty());
}

#[test]
fn with_kv_alone_no_round_is_known() {
    let mut settings = usual();
    set(&mut settings, "SOURCE_OSIGU.dedupe", json!("kv"));
    let mut world = World::of(gateway_of(Provider::Evitalrx, &settings, &[DELIVERIES]));
    assert_eq!(world.send(&accepted('a')).summary(), DELIVERED);
    assert_eq!(world.send(&rejected('a')).summary(), DELIVERED);
    assert_eq!(world.send(&accepted('a')).summary(), DUPLICATE);
    let ids = ids(&world);
    assert_eq!(ids, [base(&ids[0]), base(&ids[1])]);
}

// ── transfers ──

#[test]
fn a_second_final_word_on_a_transfer_is_delivered_as_superseded_and_leaves_the_state() {
    let body = |case: &str| {
        String::from_utf8(fixture(&format!("phil-callback/{case}/body.json"))).unwrap()
    };
    for (first, second, state) in [
        ("confirmed", "error", "confirmed"),
        ("error", "confirmed", "failed"),
    ] {
        let mut world = World::of(gateway_of(Provider::PhilCallback, &usual(), &[DELIVERIES]));
        for case in ["received", first, second] {
            assert_eq!(world.send(&body(case)).summary(), DELIVERED);
            assert_eq!(world.send(&body(case)).summary(), DUPLICATE);
        }
        let told: Vec<_> = world.delivered.iter().map(told).collect();
        assert!(told.iter().all(|told| base(&told.0) == told.0));
        let told = told.iter().map(|told| (told.1.as_str(), told.2.as_str()));
        let expected = [
            ("received", "in_order"),
            (state, "in_order"),
            (state, "superseded"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

// ── the entity by itself ──

const LEASE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The words of an event: which it is, and whose.
type Words = (u8, u8);

fn hash(words: Words) -> EventHash {
    EventHash([words.0, words.1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
}

fn asked(words: Words) -> ClaimRequest {
    ClaimRequest {
        event: hash(words),
        round: None,
        claimant: Claimant::Sender,
        step: Step {
            rank: 1,
            state: State::Accepted as u8,
            life: Life::OrderDelivery,
            node: words.0,
            ..Step::default()
        },
        lease: LEASE,
        window: WINDOW,
    }
}

/// A message that is under way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    words: Words,
    event: EventHash,
    round: u16,
    fence: Fence,
}

/// What becomes of an event after its claim.
#[derive(Clone, Copy, Debug)]
enum Then {
    Delivered,
    Queued,
    Released,
    /// Nothing more is heard of it.
    Lapses,
}

#[derive(Clone, Debug)]
enum Happens {
    Sent(Words, Then),
    /// What was sent last comes once more.
    Resent,
    /// A message is tried, and delivered or not.
    Tried(prop::sample::Index, bool),
    /// The entity goes to another object.
    Moved,
}

fn happens() -> impl Strategy<Value = Happens> {
    let then = prop_oneof![
        3 => Just(Then::Delivered),
        3 => Just(Then::Queued),
        1 => Just(Then::Released),
        1 => Just(Then::Lapses),
    ];
    prop_oneof![
        8 => ((0..11_u8, 0..2_u8), then).prop_map(|(words, then)| Happens::Sent(words, then)),
        2 => Just(Happens::Resent),
        3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, done)| Happens::Tried(which, done)),
        1 => Just(Happens::Moved),
    ]
}

fn counts(words: Words) -> bool {
    Life::OrderDelivery.nodes()[usize::from(words.0)].counts
}

/// Whether `between` makes another event of `words` that come again after it.
fn parts(words: Words, between: Words) -> bool {
    words.0 != between.0 && (counts(words) || counts(between))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_two_events_are_ever_taken_for_one(all in prop::collection::vec(happens(), 1..40)) {
        let mut entity = Entity::default();
        let mut now = START;
        let mut sent: Vec<(Words, EventHash)> = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut highest = 0;
        for one in all {
            now = Timestamp(now.0 + 1_000);
            match one {
                Happens::Sent(words, then) => {
                    let round;
                    match entity.claim(&asked(words), now) {
                        Claim::Granted { fence, event, round: of, .. } => {
                            round = of;
                            match then {
                                Then::Delivered => { entity.commit(event, fence, Receipt::Delivered, WINDOW, now).unwrap(); }
                                Then::Queued => {
                                    entity.commit(event, fence, Receipt::Queued, WINDOW, now).unwrap();
                                    waiting.push(Waiting { words, event, round, fence });
                                }
                                Then::Released => entity.release(event, fence, now).unwrap(),
                                Then::Lapses => now = now.after(LEASE),
                            }
                        }
                        Claim::Duplicate { round: of, .. } => round = of,
                        other => panic!("{other:?}"),
                    }
                    let event = hash(words).in_round(round);
                    // Whoever was sent before under this hash, was the same words of the same round.
                    for (place, (before, _)) in sent.iter().enumerate().filter(|(_, (_, known))| *known == event) {
                        prop_assert_eq!(*before, words);
                        for (between, _) in &sent[place + 1..] {
                            prop_assert!(!parts(words, *between), "{:?} is lost after {:?}", words, between);
                        }
                    }
                    prop_assert!(round >= highest && round <= highest + 1);
                    highest = round;
                    sent.push((words, event));
                }
                Happens::Resent => {
                    let Some((words, event)) = sent.last().copied() else { continue };
                    match entity.claim(&asked(words), now) {
                        Claim::Granted { fence, event: known, round, .. } => {
                            prop_assert_eq!((known, round), (event, highest));
                            entity.commit(event, fence, Receipt::Delivered, WINDOW, now).unwrap();
                        }
                        Claim::Duplicate { round, .. } => prop_assert_eq!(round, highest),
                        other => panic!("{other:?}"),
                    }
                }
                Happens::Tried(which, done) => {
                    if waiting.is_empty() { continue }
                    let place = which.index(waiting.len());
                    let Waiting { words, event, round, fence } = waiting[place];
                    let request = ClaimRequest {
                        event,
                        round: Some(round),
                        claimant: Claimant::Message(fence),
                        ..asked(words)
                    };
                    match entity.claim(&request, now) {
                        Claim::Granted { fence, event: known, round: of, ordering, .. } => {
                            prop_assert_eq!((known, of), (event, round));
                            if of < highest {
                                prop_assert!(words.0 == 10 || !matches!(ordering, Ordering::InOrder | Ordering::Early));
                            }
                            if done {
                                entity.commit(event, fence, Receipt::Delivered, WINDOW, now).unwrap();
                                waiting.remove(place);
                            } else {
                                entity.release(event, fence, now).unwrap();
                            }
                        }
                        // The sender's own second try was faster.
                        Claim::Duplicate { receipt, round: of, .. } => {
                            prop_assert_eq!((receipt, of), (Receipt::Delivered, round));
                            waiting.remove(place);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                Happens::Moved => {
                    let pages = entity.save();
                    let old = Entity::load(pages.iter().map(|page| Row { number: page.number, packed: &page.packed })).unwrap();
                    let mut new = Entity::default();
                    new.merge(&old, now);
                    new.merge(&old, now);
                    entity = new;
                }
            }
        }
        // What waits in our queue is known to wait, whatever came after it.
        for Waiting { words, event, round, fence } in waiting {
            let request = ClaimRequest { event, round: Some(round), claimant: Claimant::Message(fence), ..asked(words) };
            let known = entity.claim(&request, now);
            let is_safe = matches!(known, Claim::Granted { .. } | Claim::Duplicate { receipt: Receipt::Delivered, .. });
            prop_assert!(is_safe, "{:?}", known);
        }
    }
}

#[test]
fn of_two_objects_the_later_round_decides_the_state() {
    let claim = |entity: &mut Entity, node: u8, rank, state: State| {
        let request = ClaimRequest {
            step: Step {
                rank,
                state: state as u8,
                ..asked((node, 0)).step
            },
            ..asked((node, 0))
        };
        match entity.claim(&request, START) {
            Claim::Granted {
                fence,
                event,
                state,
                ..
            } => {
                entity
                    .commit(event, fence, Receipt::Delivered, WINDOW, START)
                    .unwrap();
                state
            }
            other => panic!("{other:?}"),
        }
    };
    let (mut old, mut new) = (Entity::default(), Entity::default());
    claim(&mut new, 7, 4, State::Shipped);
    claim(&mut old, 3, 3, State::Accepted);
    let rejected = claim(&mut old, 4, 1, State::Rejected);
    assert_eq!(rejected, State::Rejected as u8);
    new.merge(&old, START);
    // A split says nothing of the state.
    assert_eq!(
        claim(&mut new, 10, 0, State::Shipped),
        State::Rejected as u8
    );
    // Of one round the higher rank does, whichever object has it.
    for shipped_is_ours in [true, false] {
        let (mut ours, mut theirs) = (Entity::default(), Entity::default());
        let (first, second) = if shipped_is_ours {
            (&mut ours, &mut theirs)
        } else {
            (&mut theirs, &mut ours)
        };
        claim(first, 7, 4, State::Shipped);
        claim(second, 3, 3, State::Accepted);
        ours.merge(&theirs, START);
        assert_eq!(
            claim(&mut ours, 10, 0, State::Accepted),
            State::Shipped as u8
        );
    }
}

//! Dead letters: what makes one, that it is kept once, and how it gets on its way again.

use std::time::Duration;

use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::webhook_id;
use rxgate::effect::Verdict;
use rxgate::entity::event_digest;
use rxgate::letters::{LETTERS_OBJECT, Letter, LetterId};
use rxgate::machine::LEASE;
use rxgate::parcel::{Nonce, Reason};
use serde_json::{Value, json};

use crate::driver::{
    Ask, EVENTS, End, Fault, Origin, START, Sent, Take, World, answers, bindings, body,
    gateway_with, header, parcel_of, seal_keys, set, settings,
};

const TYPE: &str = "dispensing.completed";
const CUSTOMERS: &str = "CLINIC_EVENTS";
const DELIVERED: (u16, &str, Option<u64>) = (200, "delivered", None);
const DEAD_LETTERED: (u16, &str, Option<u64>) = (200, "dead_lettered", None);
const DUPLICATE: (u16, &str, Option<u64>) = (200, "duplicate", None);
const REDELIVERED: (u16, &str, Option<u64>) = (202, "dead_letter_redelivered", None);
const FAILED: (u16, &str, Option<u64>) = (502, "redelivery_failed", None);
const KEPT: (Verdict, &str) = (Verdict::Ack, "dead_letter_kept");
const ACK_DELIVERED: (Verdict, &str) = (Verdict::Ack, "delivered");
const ACK_DUPLICATE: (Verdict, &str) = (Verdict::Ack, "duplicate");
const ACK_DEAD_LETTERED: (Verdict, &str) = (Verdict::Ack, "dead_lettered");

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn days(n: u64) -> Duration {
    seconds(n * 24 * 3600)
}

/// The usual settings, with an operator.
fn operated() -> Value {
    let mut settings = settings();
    settings["RXGATE"]["operator_keys"] = json!([{ "id": "ana", "secret": "OPERATOR_KEY_1" }]);
    settings
}

/// A world with our own queue.
fn world() -> World {
    World::bound(&operated(), &[DELIVERIES])
}

/// A world with one letter: an event that its origin rejected.
#[track_caller]
fn with_letter(mut world: World) -> (World, LetterId) {
    world.origin.push_back(answers(422));
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DEAD_LETTERED);
    world.keep_letters();
    forget(&mut world);
    let id = world.letters()[0].id;
    (world, id)
}

/// What was done so far doesn't count.
fn forget(world: &mut World) {
    world.did.clear();
    world.asked.clear();
    world.delivered.clear();
    world.taken.clear();
}

fn redeliver(world: &mut World, id: LetterId) -> End {
    world.call("POST", &format!("/v1/dead-letters/{id}/redeliver"))
}

fn invalid(event_id: &str) -> String {
    body(event_id, TYPE, "{}")
}

// ── what makes one ──

#[test]
fn what_cant_be_read_is_known_by_its_bytes_and_comes_again_mended() {
    let mut world = world();
    assert_eq!(world.send(&invalid("evt_1")).summary(), DEAD_LETTERED);
    let again = world.send(&invalid("evt_1"));
    assert_eq!((again.summary(), again.record.store_calls), (DUPLICATE, 1));
    // Another attempt at it, no better.
    let other = body("evt_1", TYPE, r#"{"dispensation_id":1}"#);
    assert_eq!(world.send(&other).summary(), DEAD_LETTERED);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!(world.send(&invalid("evt_1")).summary(), DUPLICATE);
    assert_eq!(world.waiting(DEAD_LETTERS), 2);
}

#[test]
fn what_was_of_the_wrong_environment_is_delivered_once_the_setting_is_right() {
    for (setting, wrong, reason) in [
        ("environment", "production", "environment_mismatch"),
        ("provider_slug", "clinic-b", "provider_mismatch"),
    ] {
        let mut settings = operated();
        settings["SOURCE_OSIGU"][setting] = json!(wrong);
        let mut world = World::bound(&settings, &[DELIVERIES]);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            (end.summary(), end.record.reason),
            (DEAD_LETTERED, Some(reason))
        );
        assert_eq!(
            world.did,
            ["layout", "claim", "send DEAD_LETTERS", "commit"]
        );
        world.gateway = gateway_with(&operated(), bindings(&[DELIVERIES]));
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
    }
}

#[test]
fn a_letter_says_what_is_known_and_nothing_of_the_senders() {
    let mut world = world();
    world.send("[]");
    world.send(&invalid("evt_1"));
    world.origin.push_back(answers(410));
    world.send_event("evt_2", TYPE);
    world.wait(seconds(90));
    let kept_at = world.now;
    world.keep_letters();
    let letters = world.letters();
    let mut codes: Vec<&str> = letters.iter().map(|letter| letter.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        ["body_malformed", "delivery_rejected", "event_invalid"]
    );
    let of = |code: &str| letters.iter().find(|l| l.code == code).unwrap().clone();
    let common = |letter: &Letter, body: &str| Letter {
        id: letter.id,
        source: "osigu".to_owned(),
        code: letter.code.clone(),
        received_at: START,
        kept_at,
        expires_at: kept_at.after(days(30)),
        body_bytes: u32::try_from(body.len()).unwrap(),
        ..Letter::default()
    };
    let letter = of("body_malformed");
    let problem = Some("not_an_object".to_owned());
    assert_eq!(
        letter,
        Letter {
            problem,
            ..common(&letter, "[]")
        }
    );
    let letter = of("event_invalid");
    let expected = Letter {
        problem: Some("missing".to_owned()),
        path: Some("data.dispensation_id".to_owned()),
        webhook_id: Some(webhook_id(&event_digest("osigu", "evt_1"))),
        ..common(&letter, &invalid("evt_1"))
    };
    assert_eq!(letter, expected);
    let letter = of("delivery_rejected");
    let expected = Letter {
        r#type: Some("rx.dispense.completed".to_owned()),
        webhook_id: Some(webhook_id(&event_digest("osigu", "evt_2"))),
        ..common(&letter, &body("evt_2", TYPE, EVENTS[5].2))
    };
    assert_eq!(letter, expected);
}

#[test]
fn one_event_is_one_letter_however_often_it_was_sent_sealed_and_kept() {
    let mut world = world();
    world.send_event("evt_warm", "settlement.paid");
    let fails = Ask::Fails(Fault::Before);
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), fails, fails]);
    let end = world.send(&invalid("evt_1"));
    assert_eq!(
        (end.summary(), end.record.commit),
        (DEAD_LETTERED, Some("commit_failed"))
    );
    world.wait(LEASE);
    assert_eq!(world.send(&invalid("evt_1")).summary(), DEAD_LETTERED);
    let sent: Vec<Sent> = world.queued.drain(..).collect();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].body, sent[1].body);
    for message in sent.iter().chain(&sent) {
        assert_eq!(world.attempt(message).summary(), KEPT);
    }
    assert_eq!(world.letters().len(), 1);
}

#[test]
fn a_letter_that_isnt_kept_yet_comes_again() {
    for ask in [
        Ask::Fails(Fault::Before),
        Ask::Fails(Fault::After),
        Ask::Hangs,
        Ask::Garbled,
    ] {
        let mut world = world();
        world.send(&invalid("evt_1"));
        let sent = world.take(DEAD_LETTERS);
        world.asks.push_back(ask);
        let settled = world.attempt(&sent);
        assert_eq!(settled.record.code, "store_unavailable", "{ask:?}");
        assert!(settled.delay() >= seconds(5));
        assert_eq!(world.attempt_nth(&sent, 2).summary(), KEPT);
        assert_eq!(world.letters().len(), 1);
    }
}

#[test]
fn what_the_platform_moved_and_what_cant_be_opened_are_kept_too() {
    let mut settings = operated();
    set(&mut settings, "DESTINATION_ORIGIN.delivery", json!("queue"));
    let mut world = World::bound(&settings, &[DELIVERIES]);
    world.send_event("evt_1", TYPE);
    let mut moved = world.take(DELIVERIES);
    moved.queue = DEAD_LETTERS.to_owned();
    assert_eq!(world.attempt(&moved).summary(), KEPT);
    let kept = world.letters();
    assert_eq!(
        (kept[0].code.as_str(), kept[0].source.as_str()),
        ("attempts_used_up", "osigu")
    );
    for body in [b"{}".to_vec(), Vec::new(), moved.body[..80].to_vec()] {
        let settled = world.attempt(&Sent {
            body,
            ..moved.clone()
        });
        assert_eq!(settled.summary(), KEPT);
        assert_eq!(settled.record.reason, Some("message_unreadable"));
        assert_eq!(settled.record.source, None);
    }
    assert_eq!(world.letters().len(), 4);
}

#[test]
fn a_letter_expires_after_its_days() {
    let (mut world, id) = with_letter(world());
    world.wait(days(30) - Duration::from_millis(1));
    assert_eq!(world.letters().len(), 1);
    world.wait(Duration::from_millis(1));
    world.objects[LETTERS_OBJECT].sweep(world.now);
    assert_eq!(world.letters().len(), 0);
    assert_eq!(
        redeliver(&mut world, id).summary(),
        (404, "dead_letter_unknown", None)
    );
}

#[test]
fn a_letter_that_was_deleted_isnt_brought_back_by_a_message_that_comes_late() {
    let mut world = world();
    world.send(&invalid("evt_1"));
    let sent = world.take(DEAD_LETTERS);
    assert_eq!(world.attempt(&sent).summary(), KEPT);
    let id = world.letters()[0].id;
    let target = format!("/v1/dead-letters/{id}");
    assert_eq!(
        world.call("DELETE", &target).summary(),
        (200, "dead_letter_deleted", None)
    );
    for method in ["DELETE", "GET"] {
        assert_eq!(
            world.call(method, &target).summary(),
            (404, "dead_letter_unknown", None)
        );
    }
    assert_eq!(
        redeliver(&mut world, id).summary(),
        (404, "dead_letter_unknown", None)
    );
    world.wait(days(14));
    world.objects[LETTERS_OBJECT].sweep(world.now);
    assert_eq!(world.attempt(&sent).summary(), KEPT);
    assert_eq!(world.letters().len(), 0);
}

// ── on its way again ──

#[test]
fn a_redelivery_goes_around_the_claim_by_our_queue_with_the_same_id_and_a_new_sequence() {
    let (mut world, id) = with_letter(world());
    let end = redeliver(&mut world, id);
    assert_eq!(end.summary(), REDELIVERED);
    assert_eq!(end.answer.body, r#"{"code":"dead_letter_redelivered"}"#);
    assert_eq!(world.did, ["read", "send DELIVERIES", "mark"]);
    assert_eq!((end.record.store_calls, end.record.messages_sent), (2, 1));
    let sent = world.queued[0].clone();
    let parcel = parcel_of(&sent.body);
    assert_eq!((parcel.nonce, parcel.claimed), (Some(id.nonce(0)), None));
    assert_eq!((parcel.label.reason, sent.delay), (None, Duration::ZERO));
    let letter = world.letters()[0].clone();
    assert_eq!(
        (letter.redelivered_at, letter.redeliveries),
        (Some(world.now), 1)
    );
    // To the sender the event is what it was.
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    let settled = world.consume();
    assert_eq!(settled.summary(), ACK_DELIVERED);
    let id_of_event = webhook_id(&event_digest("osigu", "evt_1"));
    assert_eq!(header(&world.delivered[0], "webhook-id"), id_of_event);
    let sequence = settled.record.sequence.unwrap();
    assert_eq!(world.events()[0]["sequence"], format!("{sequence:016}"));
    assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
    assert_eq!(world.delivered.len(), 1);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
}

#[test]
fn asking_twice_for_one_redelivery_is_one_until_it_is_known_to_be_on_its_way() {
    let (mut world, id) = with_letter(world());
    // The mark fails: whoever asks again asks for the same.
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Fails(Fault::Before)]);
    let end = redeliver(&mut world, id);
    assert_eq!(
        (end.summary(), end.record.commit),
        (REDELIVERED, Some("commit_failed"))
    );
    assert_eq!(world.letters()[0].redelivered_at, None);
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    let nonces: Vec<Option<Nonce>> = world
        .queued
        .iter()
        .map(|s| parcel_of(&s.body).nonce)
        .collect();
    assert_eq!(nonces, [Some(id.nonce(0)); 2]);
    assert_eq!(world.consume().summary(), ACK_DELIVERED);
    assert_eq!(world.consume().summary(), ACK_DUPLICATE);
    // Now it is known, and asking again is another one.
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Fails(Fault::After)]);
    assert_eq!(
        redeliver(&mut world, id).record.commit,
        Some("commit_failed")
    );
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    let nonces: Vec<Option<Nonce>> = world
        .queued
        .iter()
        .map(|s| parcel_of(&s.body).nonce)
        .collect();
    assert_eq!(nonces, [Some(id.nonce(1)), Some(id.nonce(2))]);
    assert_eq!(world.letters()[0].redeliveries, 3);
    for _ in 0..2 {
        assert_eq!(world.consume().summary(), ACK_DELIVERED);
    }
    assert_eq!(world.taken.len(), 3);
}

#[test]
fn a_redelivery_that_the_queue_doesnt_take_failed_and_isnt_marked() {
    for take in [
        Take::Fails(Fault::Before),
        Take::Hangs(false),
        Take::Hangs(true),
    ] {
        let (mut world, id) = with_letter(world());
        world.sends.push_back(take);
        assert_eq!(redeliver(&mut world, id).summary(), FAILED, "{take:?}");
        assert_eq!(world.letters()[0].redeliveries, 0);
        assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
        assert_eq!(world.consume().summary(), ACK_DELIVERED);
        if world.waiting(DELIVERIES) > 0 {
            assert_eq!(world.consume().summary(), ACK_DUPLICATE);
        }
        assert_eq!(world.taken.len(), 1);
    }
}

#[test]
fn what_fails_again_is_a_letter_of_its_own() {
    let (mut world, id) = with_letter(world());
    redeliver(&mut world, id);
    world.origin.push_back(answers(422));
    assert_eq!(world.consume().summary(), ACK_DEAD_LETTERED);
    world.keep_letters();
    let letters = world.letters();
    assert_eq!(letters.len(), 2);
    let second = letters
        .iter()
        .find(|letter| letter.id != id)
        .unwrap()
        .clone();
    assert_eq!(second.code, Reason::DeliveryRejected.code());
    assert_eq!(second.webhook_id, letters[0].webhook_id);
    // Which can be sent on its way as well; and so can the first.
    for id in [second.id, id] {
        assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
        assert_eq!(world.consume().summary(), ACK_DELIVERED);
    }
    assert_eq!(world.taken.len(), 2);
}

#[test]
fn what_is_still_invalid_is_a_new_letter_and_what_has_become_valid_is_delivered() {
    let mut world = world();
    world.send(&invalid("evt_1"));
    world.keep_letters();
    let id = world.letters()[0].id;
    redeliver(&mut world, id);
    let sent = world.queued[0].clone();
    let settled = world.consume();
    assert_eq!(settled.summary(), ACK_DEAD_LETTERED);
    assert_eq!(settled.record.reason, Some("event_invalid"));
    assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
    world.keep_letters();
    assert_eq!(world.letters().len(), 2);

    let mut settings = operated();
    settings["SOURCE_OSIGU"]["environment"] = json!("production");
    let mut world = World::bound(&settings, &[DELIVERIES]);
    world.send_event("evt_1", TYPE);
    world.keep_letters();
    let id = world.letters()[0].id;
    world.gateway = gateway_with(&operated(), bindings(&[DELIVERIES]));
    redeliver(&mut world, id);
    assert_eq!(world.consume().summary(), ACK_DELIVERED);
    assert_eq!(world.events()[0]["id"], "evt_1");
}

// ── without our own queue ──

#[test]
fn without_a_queue_a_redelivery_is_delivered_within_the_call() {
    let (mut world, id) = with_letter(World::with(&operated()));
    let end = redeliver(&mut world, id);
    assert_eq!(end.summary(), REDELIVERED);
    assert_eq!(world.did, ["read", "claim", "deliver", "commit", "mark"]);
    assert_eq!(world.taken, [webhook_id(&event_digest("osigu", "evt_1"))]);
    assert_eq!(world.letters()[0].redeliveries, 1);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
}

#[test]
fn without_a_queue_a_redelivery_that_fails_stays_the_letter_it_was() {
    for first in [answers(500), answers(422), Origin::Unreachable] {
        let (mut world, id) = with_letter(World::with(&operated()));
        world.origin.push_back(first);
        assert_eq!(redeliver(&mut world, id).summary(), FAILED, "{first:?}");
        assert_eq!(world.did, ["read", "claim", "deliver", "release"]);
        assert_eq!((world.letters().len(), world.queued.len()), (1, 0));
        assert_eq!(world.letters()[0].redeliveries, 0);
        assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    }
    // It may have it: the next call waits for the lease.
    let (mut world, id) = with_letter(World::with(&operated()));
    world.origin.push_back(Origin::Hangs);
    assert_eq!(redeliver(&mut world, id).summary(), FAILED);
    assert_eq!(redeliver(&mut world, id).summary(), FAILED);
    assert_eq!(world.delivered.len(), 1);
    world.wait(seconds(40));
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    // The store can't tell.
    let (mut world, id) = with_letter(World::with(&operated()));
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Fails(Fault::Before)]);
    assert_eq!(redeliver(&mut world, id).summary(), FAILED);
    assert_eq!(world.delivered.len(), 0);
}

#[test]
fn without_a_queue_what_was_delivered_and_not_marked_isnt_delivered_again() {
    let (mut world, id) = with_letter(World::with(&operated()));
    let replies = Ask::Replies(Duration::ZERO);
    world
        .asks
        .extend([replies, replies, replies, Ask::Fails(Fault::Before)]);
    assert_eq!(
        redeliver(&mut world, id).record.commit,
        Some("commit_failed")
    );
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    assert_eq!(world.taken.len(), 1);
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    assert_eq!(world.taken.len(), 2);
}

#[test]
fn a_letter_goes_where_the_settings_of_the_moment_send_it() {
    let (mut world, id) = with_letter(world());
    let mut settings = operated();
    settings["DESTINATION_ORIGIN"] = json!({ "queue": CUSTOMERS });
    world.gateway = gateway_with(&settings, bindings(&[CUSTOMERS]));
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    let event: Value = serde_json::from_slice(&world.take(CUSTOMERS).body).unwrap();
    assert_eq!(event["id"], "evt_1");
}

// ── several at a time ──

/// A world with so many letters, a second apart, of two kinds in turn.
fn with_letters(count: u64) -> World {
    let mut world = world();
    for n in 0..count {
        if n % 2 == 0 {
            world.send(&invalid(&format!("evt_{n}")));
        } else {
            world.origin.push_back(answers(422));
            world.send_event(&format!("evt_{n}"), TYPE);
        }
        world.wait(seconds(1));
    }
    world.keep_letters();
    forget(&mut world);
    assert_eq!(world.letters().len() as u64, count);
    world
}

const BULK: &str = "/v1/dead-letters/redeliver";

fn names(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect()
}

#[test]
fn a_bulk_call_takes_those_of_a_source_a_code_and_a_time_that_wait_and_25_at_a_time() {
    let mut world = with_letters(30);
    let end = world.call(
        "POST",
        &format!("{BULK}?code=delivery_rejected&since=2026-06-25T14:22:32Z"),
    );
    assert_eq!(end.summary(), (202, "dead_letters_redelivered", None));
    assert_eq!(end.record.dead_letters, Some(5));
    let json = end.json();
    let expected = world.letters().into_iter().skip(20);
    let expected: Vec<String> = expected
        .filter(|letter| letter.code == "delivery_rejected")
        .map(|letter| letter.id.to_string())
        .collect();
    assert_eq!(names(&json["redelivered"]), expected);
    assert_eq!(
        (&json["failed"], &json["cursor"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(
        world.call("POST", &format!("{BULK}?source=another")).json()["redelivered"],
        json!([])
    );
    // All that is left: those that were redelivered aren't among them.
    let first = world.call("POST", BULK).json();
    assert_eq!(names(&first["redelivered"]).len(), 25);
    let cursor = first["cursor"].as_str().unwrap();
    let second = world
        .call("POST", &format!("{BULK}?cursor={cursor}"))
        .json();
    assert_eq!(
        (&second["redelivered"], &second["cursor"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(world.waiting(DELIVERIES), 30);
    assert!(
        world
            .letters()
            .iter()
            .all(|letter| letter.redeliveries == 1)
    );
}

#[test]
fn what_is_wrong_with_one_letter_doesnt_stop_the_others() {
    let mut world = with_letters(6);
    let ids: Vec<LetterId> = world.letters().iter().map(|letter| letter.id).collect();
    // One can't be opened, one is gone in between, one isn't read, one isn't taken.
    {
        let object = &world.objects[LETTERS_OBJECT];
        let mut letters = object.letters.borrow_mut();
        let (_, Some((_, sealed))) = letters.get_mut(&ids[0]).unwrap() else {
            panic!()
        };
        sealed[30] ^= 1;
    }
    let list = world.begin_call("POST", BULK);
    let crate::driver::Step::Next(listed) = world.step(list) else {
        panic!()
    };
    world.objects[LETTERS_OBJECT]
        .letters
        .borrow_mut()
        .remove(&ids[1]);
    let replies = Ask::Replies(Duration::ZERO);
    world
        .asks
        .extend([replies, replies, Ask::Fails(Fault::Before)]);
    world.sends.push_back(Take::Fails(Fault::Before));
    let json = world.finish(listed).json();
    let failed = |place: usize, code: &str| json!({ "id": ids[place].to_string(), "code": code });
    let expected = json!({
        "code": "dead_letters_redelivered",
        "redelivered": [ids[4].to_string(), ids[5].to_string()],
        "failed": [
            failed(0, "dead_letter_unreadable"),
            failed(1, "dead_letter_unknown"),
            failed(2, "store_unavailable"),
            failed(3, "redelivery_failed"),
        ],
        "cursor": null,
    });
    assert_eq!(json, expected);
}

#[test]
fn a_bulk_call_that_runs_out_of_time_says_where_to_go_on() {
    let mut world = with_letters(6);
    let slow = Ask::Replies(Duration::from_millis(4900));
    world.asks.extend([slow; 20]);
    let json = world.call("POST", BULK).json();
    let done = names(&json["redelivered"]).len();
    // The one that was begun at the end is said to have failed.
    let failed = json["failed"].as_array().unwrap();
    assert_eq!((done, failed.len()), (2, 1));
    assert_eq!(failed[0]["code"], "store_unavailable");
    world.asks.clear();
    let cursor = json["cursor"].as_str().unwrap();
    let rest = world
        .call("POST", &format!("{BULK}?cursor={cursor}"))
        .json();
    assert_eq!(names(&rest["redelivered"]).len(), 3);
    let last = world.call("POST", BULK).json();
    assert_eq!(
        names(&last["redelivered"]),
        [failed[0]["id"].as_str().unwrap()]
    );
    assert_eq!(world.waiting(DELIVERIES), 6);
}

#[test]
fn a_letter_whose_key_is_gone_is_unreadable_until_it_is_back() {
    let (mut world, id) = with_letter(world());
    let mut other = operated();
    other["RXGATE"]["seal_keys"] = json!([{ "id": "seal-2", "secret": "SEAL_KEY_2" }]);
    world.gateway = gateway_with(&other, bindings(&[DELIVERIES]));
    assert_eq!(
        redeliver(&mut world, id).summary(),
        (409, "dead_letter_unreadable", None)
    );
    let read = world.call("GET", &format!("/v1/dead-letters/{id}"));
    let json = read.json();
    assert_eq!(
        (read.answer.status, &json["readable"]),
        (200, &json!(false))
    );
    assert_eq!((json.get("body"), json.get("body_base64")), (None, None));
    other["RXGATE"]["seal_keys"] = json!([
        { "id": "seal-2", "secret": "SEAL_KEY_2" }, { "id": "seal-1", "secret": "SEAL_KEY_1" },
    ]);
    world.gateway = gateway_with(&other, bindings(&[DELIVERIES]));
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    assert_eq!(world.consume().summary(), ACK_DELIVERED);
}

#[test]
fn what_was_sealed_for_another_use_is_never_redelivered() {
    use rxgate::auth::Sealed;
    let (mut world, id) = with_letter(world());
    let keys = seal_keys();
    for what in [Sealed::Event, Sealed::Pointer] {
        {
            let object = &world.objects[LETTERS_OBJECT];
            let mut letters = object.letters.borrow_mut();
            let (_, Some((_, sealed))) = letters.get_mut(&id).unwrap() else {
                panic!()
            };
            let kinds = [Sealed::Letter, Sealed::Event];
            let opened = kinds
                .iter()
                .find_map(|what| keys.open(*what, &sealed[1..]).ok())
                .unwrap();
            *sealed = [
                &[1],
                keys.seal(what, [1; 12], &[], opened.bytes())
                    .unwrap()
                    .as_slice(),
            ]
            .concat();
        }
        assert_eq!(
            redeliver(&mut world, id).summary(),
            (409, "dead_letter_unreadable", None)
        );
    }
    assert_eq!(world.queued.len(), 0);
}

//! Dead letters: what makes one, that it is kept once, and how it gets on its way again.

use std::time::Duration;

use rxgate::auth::Sealed;
use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::{MAX_AGE, MAX_ATTEMPTS, webhook_id};
use rxgate::effect::Verdict;
use rxgate::entity::event_digest;
use rxgate::letters::{LETTERS_OBJECT, Letter, LetterId, TOMBSTONE};
use rxgate::machine::{Gateway, LEASE};
use rxgate::parcel::{Nonce, Reason};
use serde_json::{Value, json};

use crate::driver::{
    Ask, EVENTS, End, Fault, Look, Origin, START, Sent, Step, Take, World, answers, bindings, body,
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

/// A world with an event in our own queue, and the message of it.
#[track_caller]
fn queued() -> (Value, World, Sent) {
    let mut settings = operated();
    set(&mut settings, "DESTINATION_ORIGIN.delivery", json!("queue"));
    let mut world = World::bound(&settings, &[DELIVERIES]);
    world.send_event("evt_1", TYPE);
    let sent = world.take(DELIVERIES);
    (settings, world, sent)
}

/// A message that the platform moved to the dead letters.
fn to_letters(sent: Sent) -> Sent {
    Sent {
        queue: DEAD_LETTERS.to_owned(),
        ..sent
    }
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
    let (_, mut world, sent) = queued();
    let moved = to_letters(sent);
    // Claimed first, and then a dead letter as any other.
    assert_eq!(world.attempt(&moved).summary(), ACK_DEAD_LETTERED);
    world.keep_letters();
    let kept = world.letters();
    assert_eq!(
        (kept[0].code.as_str(), kept[0].source.as_str()),
        ("attempts_used_up", "osigu")
    );
    for body in [b"{}".to_vec(), Vec::new(), moved.body[..80].to_vec()] {
        let unreadable = Sent {
            body,
            ..moved.clone()
        };
        // Its key may come back.
        for attempt in [1, MAX_ATTEMPTS - 1] {
            let settled = world.attempt_nth(&unreadable, attempt);
            assert_eq!(settled.record.code, "message_unreadable");
            assert!(settled.delay() >= seconds(60));
        }
        let settled = world.attempt_nth(&unreadable, MAX_ATTEMPTS);
        assert_eq!((settled.summary(), settled.record.rows_read), (KEPT, 1));
        assert_eq!(settled.record.reason, Some("message_unreadable"));
        assert_eq!(settled.record.problem, Some("message_unreadable"));
        assert_eq!(settled.record.source, None);
        let kept = world.letters();
        let kept = kept
            .iter()
            .find(|letter| letter.id == LetterId::of(&unreadable.body));
        let kept = kept.unwrap();
        let length = u32::try_from(unreadable.body.len()).unwrap();
        assert_eq!((kept.received_at, kept.body_bytes), (world.now, length));
    }
    assert_eq!(world.letters().len(), 4);
}

#[test]
fn what_was_delivered_by_another_message_is_no_dead_letter() {
    let (_, mut world, sent) = queued();
    // The one is being delivered, while the other is given up and moved.
    let flight = world.begin_attempt(&sent, 1);
    let Step::Next(flight) = world.step(flight) else {
        panic!("it isn't claimed");
    };
    let given_up = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(given_up.summary(), ACK_DEAD_LETTERED);
    let moved = world.take(DEAD_LETTERS);
    assert_eq!(moved.body, sent.body);
    assert_eq!(world.attempt(&moved).record.code, "in_flight");
    assert_eq!(world.settle(flight).summary(), ACK_DELIVERED);
    assert_eq!(world.attempt_nth(&moved, 2).summary(), ACK_DUPLICATE);
    assert_eq!(world.letters().len(), 0);
}

#[test]
fn a_moved_delivery_is_claimed_first_and_kept_as_it_is_only_if_it_has_no_source() {
    let (mut settings, mut world, sent) = queued();
    let moved = to_letters(sent);
    // While the store can't tell it waits; in the end as a new message.
    for (attempt, end) in [(1, None), (MAX_ATTEMPTS, Some((Verdict::Ack, "enqueued")))] {
        world.asks.push_back(Ask::Fails(Fault::Before));
        let settled = world.attempt_nth(&moved, attempt);
        match end {
            Some(end) => assert_eq!(settled.summary(), end),
            None => assert!(settled.delay() >= Duration::from_millis(4375)),
        }
    }
    assert_eq!(world.take(DEAD_LETTERS).body, moved.body);
    assert_eq!(world.attempt(&moved).summary(), ACK_DEAD_LETTERED);
    assert_eq!(world.attempt(&moved).summary(), ACK_DUPLICATE);
    // To its sender it is what it is to everybody.
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    world.keep_letters();
    assert_eq!(world.letters().len(), 1);
    let settings_now = settings.as_object_mut().unwrap();
    let other = settings_now.remove("SOURCE_OSIGU").unwrap();
    settings_now.insert("SOURCE_OTHER".to_owned(), other);
    world.gateway = gateway_with(&settings, bindings(&[DELIVERIES]));
    assert_eq!(world.attempt(&moved).summary(), KEPT);
    let letters = world.letters();
    let code = letters[0].code.as_str();
    assert_eq!((letters.len(), code), (1, "attempts_used_up"));
}

#[test]
fn a_moved_delivery_waits_for_a_faulty_source_to_be_mended() {
    let mut settings = operated();
    set(&mut settings, "DESTINATION_ORIGIN.delivery", json!("queue"));
    let mut world = World::bound(&settings, &[DELIVERIES]);
    world.send_event("evt_1", TYPE);
    let mut moved = world.take(DELIVERIES);
    // Another message of it is delivered while this one is given up.
    assert_eq!(world.attempt(&moved).summary(), ACK_DELIVERED);
    moved.queue = DEAD_LETTERS.to_owned();
    let faulty = |world: &World| {
        let mut config = world.gateway.config().clone();
        let source = config.sources.get_mut("osigu").unwrap();
        *source = None;
        Gateway::new(config, &[0x5A; 32])
    };
    world.gateway = faulty(&world);
    let settled = world.attempt(&moved);
    assert_eq!(settled.record.code, "source_misconfigured");
    world.wait(settled.delay());
    world.gateway = gateway_with(&settings, bindings(&[DELIVERIES]));
    assert_eq!(world.attempt_nth(&moved, 2).summary(), ACK_DUPLICATE);
    assert_eq!(world.letters().len(), 0);
    // It isn't waited for without end.
    world.gateway = faulty(&world);
    assert_eq!(world.attempt_nth(&moved, MAX_ATTEMPTS).summary(), KEPT);
    assert_eq!(world.letters()[0].code, "attempts_used_up");
}

#[test]
fn a_letter_expires_after_its_days() {
    let (mut world, id) = with_letter(world());
    world.wait(days(30) - Duration::from_millis(1));
    assert_eq!(world.letters().len(), 1);
    world.wait(Duration::from_millis(1));
    // Swept or not, it is gone.
    for _ in 0..2 {
        assert_eq!(world.letters().len(), 0);
        let target = format!("/v1/dead-letters/{id}");
        for (method, target) in [
            ("GET", target.clone()),
            ("DELETE", target.clone()),
            ("POST", format!("{target}/redeliver")),
        ] {
            let unknown = (404, "dead_letter_unknown", None);
            assert_eq!(world.call(method, &target).summary(), unknown, "{method}");
        }
        world.objects[LETTERS_OBJECT].sweep(world.now);
    }
    assert_eq!(world.waiting(DELIVERIES), 0);
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
    assert_eq!(TOMBSTONE, days(30));
    world.wait(TOMBSTONE - Duration::from_millis(1));
    world.objects[LETTERS_OBJECT].sweep(world.now);
    assert_eq!(world.attempt(&sent).summary(), KEPT);
    assert_eq!(world.letters().len(), 0);
    // Its id is free then: no message of our queues is that old.
    world.wait(Duration::from_millis(1));
    world.objects[LETTERS_OBJECT].sweep(world.now);
    assert_eq!(world.attempt(&sent).summary(), KEPT);
    assert_eq!(world.letters().len(), 1);
}

/// The message of a dead letter that another one, of the same event, will be kept beside: its commit is lost.
#[track_caller]
fn uncommitted(world: &mut World) -> Sent {
    let fails = Ask::Fails(Fault::Before);
    let replies = Ask::Replies(Duration::ZERO);
    world.asks.extend([replies, fails, fails]);
    let end = world.send(&invalid("evt_1"));
    assert_eq!(
        (end.summary(), end.record.commit),
        (DEAD_LETTERED, Some("commit_failed"))
    );
    let sent = world.take(DEAD_LETTERS);
    world.wait(LEASE);
    sent
}

#[test]
fn of_two_letters_with_one_id_the_one_that_was_received_later_is_kept_in_whichever_order_they_come()
{
    for late in [false, true] {
        let mut world = world();
        world.send_event("evt_warm", "settlement.paid");
        let first = uncommitted(&mut world);
        let second = uncommitted(&mut world);
        let order = if late {
            [&second, &first]
        } else {
            [&first, &second]
        };
        for sent in order {
            assert_eq!(world.attempt(sent).summary(), KEPT);
        }
        let letters = world.letters();
        assert_eq!(letters.len(), 1);
        let second = parcel_of(&second.body).received_at;
        assert_eq!(letters[0].received_at, second, "{late}");
    }
}

#[test]
fn a_letter_that_comes_after_the_old_one_was_redelivered_waits_again_and_goes_under_a_nonce_of_its_own()
 {
    let mut world = world();
    world.send_event("evt_warm", "settlement.paid");
    let first = uncommitted(&mut world);
    let second = uncommitted(&mut world);
    assert_eq!(world.attempt(&first).summary(), KEPT);
    let id = world.letters()[0].id;
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    // What was received before that is no news, though it comes after it.
    assert_eq!(world.attempt(&second).summary(), KEPT);
    let letter = world.letters()[0].clone();
    assert_eq!(
        (letter.received_at, letter.redelivered_at),
        (START, Some(world.now))
    );
    world.wait(seconds(1));
    let third = uncommitted(&mut world);
    assert_eq!(world.attempt(&third).summary(), KEPT);
    let letter = world.letters()[0].clone();
    assert_eq!(
        letter.received_at,
        parcel_of(&third.body).received_at,
        "it took the place"
    );
    assert_eq!((letter.redelivered_at, letter.redeliveries), (None, 1));
    assert_eq!(redeliver(&mut world, id).summary(), REDELIVERED);
    let queued = world.queued.iter().map(|s| parcel_of(&s.body).nonce);
    let nonces: Vec<Option<Nonce>> = queued.collect();
    assert_eq!(nonces, [Some(id.nonce(0)), Some(id.nonce(1))]);
}

#[test]
fn a_letter_that_was_received_after_the_old_one_was_deleted_is_kept() {
    for redelivered in [false, true] {
        let mut world = world();
        world.send_event("evt_warm", "settlement.paid");
        let first = uncommitted(&mut world);
        assert_eq!(world.attempt(&first).summary(), KEPT);
        let id = world.letters()[0].id;
        if redelivered {
            redeliver(&mut world, id);
        }
        let target = format!("/v1/dead-letters/{id}");
        assert_eq!(
            world.call("DELETE", &target).summary(),
            (200, "dead_letter_deleted", None)
        );
        assert_eq!(world.attempt(&first).summary(), KEPT);
        assert_eq!(world.letters().len(), 0);
        world.wait(seconds(1));
        let second = uncommitted(&mut world);
        assert_eq!(world.attempt(&second).summary(), KEPT);
        let letter = world.letters()[0].clone();
        assert_eq!((letter.id, letter.redelivered_at), (id, None));
        assert_eq!(letter.redeliveries, u32::from(redelivered));
    }
}

// ── what can't be opened yet, or isn't there yet ──

/// A dead letter that is too large for a message, in its queue; and where its content is in KV.
#[track_caller]
fn large_letter(world: &mut World) -> (Sent, String) {
    let note = "x".repeat(130_000);
    let data = format!(r#"{{"dispensation_id":"dsp_1","note":"{note}"}}"#);
    world.origin.push_back(answers(422));
    assert_eq!(
        world.send(&body("evt_1", TYPE, &data)).summary(),
        DEAD_LETTERED
    );
    let sent = world.take(DEAD_LETTERS);
    let key = world.kv.keys().next().unwrap().clone();
    assert!(key.starts_with("body/") && sent.body.len() < 200);
    forget(world);
    (sent, key)
}

#[test]
fn a_letter_whose_body_isnt_there_is_waited_for_and_kept_without_it_in_the_end() {
    let mut world = world();
    let (sent, key) = large_letter(&mut world);
    let body = world.kv.remove(&key).unwrap();
    for attempt in [1, MAX_ATTEMPTS - 1] {
        let settled = world.attempt_nth(&sent, attempt);
        assert_eq!(settled.record.code, "body_missing");
        assert!(settled.delay() >= seconds(60));
    }
    assert_eq!(world.letters().len(), 0);
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), KEPT);
    assert_eq!(settled.record.problem, Some("body_missing"));
    let letter = world.letters()[0].clone();
    assert_eq!(letter.code, "message_unreadable");
    let target = format!("/v1/dead-letters/{}", letter.id);
    // It holds the pointer: what it points to is asked for, and isn't there.
    forget(&mut world);
    assert_eq!(world.call("GET", &target).json()["readable"], false);
    assert_eq!(world.did, ["read", "get body"]);
    assert_eq!(
        redeliver(&mut world, letter.id).summary(),
        (409, "dead_letter_unreadable", None)
    );
    // Something else under its key isn't it.
    let mut other = body.clone();
    other.value[100] ^= 1;
    world.kv.insert(key.clone(), other);
    assert_eq!(world.call("GET", &target).json()["readable"], false);
    for look in [Look::Fails, Look::Hangs] {
        world.looks.push_back(look);
        assert_eq!(
            redeliver(&mut world, letter.id).summary(),
            (409, "dead_letter_unreadable", None)
        );
    }
    // It is there after all.
    world.kv.insert(key, body);
    forget(&mut world);
    let read = world.call("GET", &target);
    assert_eq!((read.answer.status, read.record.kv_reads), (200, 1));
    assert_eq!(read.json()["readable"], true);
    assert_eq!(redeliver(&mut world, letter.id).summary(), REDELIVERED);
    assert_eq!(
        world.did,
        [
            "read",
            "get body",
            "read",
            "get body",
            "put body",
            "send DELIVERIES",
            "mark"
        ]
    );
    assert_eq!(world.consume().summary(), ACK_DELIVERED);
    assert!(world.delivered[0].body.len() > 130_000);
}

#[test]
fn a_letter_that_becomes_too_old_while_its_body_is_asked_for_is_kept_in_that_attempt() {
    let mut world = world();
    let (sent, _) = large_letter(&mut world);
    world.now = sent.at.after(MAX_AGE - Duration::from_millis(1));
    world.looks.push_back(Look::Hangs);
    assert_eq!(world.attempt(&sent).summary(), KEPT);
    assert_eq!(world.letters()[0].code, "message_unreadable");
}

#[test]
fn of_a_letter_in_kv_the_content_is_kept_and_not_the_pointer() {
    let mut world = world();
    let (sent, key) = large_letter(&mut world);
    assert_eq!(world.attempt(&sent).summary(), KEPT);
    world.kv.remove(&key);
    let letter = world.letters()[0].clone();
    assert_eq!(letter.code, "delivery_rejected");
    let read = world.call("GET", &format!("/v1/dead-letters/{}", letter.id));
    assert_eq!(read.json()["readable"], true);
    assert_eq!(world.did, ["get body", "keep", "read"]);
}

#[test]
fn a_body_that_cant_be_opened_is_kept_as_it_was_fetched() {
    let mut world = world();
    let (sent, key) = large_letter(&mut world);
    // The pointer opens and the body doesn't: they were sealed with two keys.
    let mut frame = world.kv.remove(&key).unwrap();
    *frame.value.last_mut().unwrap() ^= 1;
    let hash: [u8; 32] = {
        use sha2::Digest;
        sha2::Sha256::digest(&frame.value).into()
    };
    let key = format!("body/{}", crate::support::hex(&hash));
    let body = frame.value.clone();
    world.kv.insert(key, frame);
    let pointer = seal_keys().seal(Sealed::Pointer, [9; 12], &[2], &hash);
    let sent = Sent {
        body: pointer.unwrap(),
        ..sent
    };
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS - 1);
    assert_eq!(settled.record.code, "message_unreadable");
    assert!(settled.delay() >= seconds(60));
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), KEPT);
    assert_eq!(settled.record.problem, Some("message_unreadable"));
    let id = world.letters()[0].id;
    let letters = world.objects[LETTERS_OBJECT].letters.borrow();
    let (_, Some((_, kept))) = &letters[&id] else {
        panic!()
    };
    assert!(*kept == [&[1], body.as_slice()].concat());
}

#[test]
fn without_any_key_no_letter_is_kept_and_none_is_lost() {
    let mut world = world();
    world.send(&invalid("evt_1"));
    let sent = world.take(DEAD_LETTERS);
    // As after a deployment that lost its settings.
    let vars = json!({ "RXGATE": { "shards": 4 } });
    let secrets = crate::driver::secrets();
    let config =
        rxgate::config::Config::parse(vars.as_object().unwrap(), &secrets, bindings(&[DELIVERIES]));
    assert!(config.seal_keys.is_none());
    let with_keys = std::mem::replace(
        &mut world.gateway,
        rxgate::machine::Gateway::new(config, &[3; 32]),
    );
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS - 1);
    assert_eq!(settled.record.code, "message_unreadable");
    assert!(settled.delay() >= seconds(60));
    // At the end of its attempts it begins anew.
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), (Verdict::Ack, "enqueued"));
    assert_eq!(settled.record.problem, Some("message_unreadable"));
    assert_eq!(world.letters().len(), 0);
    let again = world.take(DEAD_LETTERS);
    assert_eq!(again.body, sent.body);
    world.gateway = with_keys;
    assert_eq!(world.attempt(&again).summary(), KEPT);
    assert_eq!(world.letters()[0].code, "event_invalid");
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

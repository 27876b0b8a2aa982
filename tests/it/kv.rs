//! KV, where it remembers alone, and where it is a short cut: in which order it is asked and told, and what its faults may do.

use std::time::Duration;

use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::effect::Verdict;
use rxgate::machine::LEASE;
use serde_json::{Value, json};

use crate::driver::{
    Ask, EVENTS, Fault, Look, Origin, Step, Take, World, answers, bindings, body, gateway_with,
    set, settings,
};

const TYPE: &str = "dispensing.completed";
const CUSTOMERS: &str = "CLINIC_EVENTS";
const DELIVERED: (u16, &str, Option<u64>) = (200, "delivered", None);
const ENQUEUED: (u16, &str, Option<u64>) = (200, "enqueued", None);
const DUPLICATE: (u16, &str, Option<u64>) = (200, "duplicate", None);
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
const FAULTS: [Look; 2] = [Look::Fails, Look::Hangs];

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

// ── KV alone ──

fn kv() -> Value {
    let mut settings = settings();
    set(&mut settings, "SOURCE_OSIGU.dedupe", json!("kv"));
    settings
}

#[test]
fn kv_is_asked_before_and_told_after_the_event_was_handed_over() {
    let mut world = World::with(&kv());
    let end = world.send_event("evt_1", TYPE);
    assert_eq!((end.summary(), end.record.dedupe), (DELIVERED, None));
    assert_eq!(world.did, ["get seen", "deliver", "put seen"]);
    let costs = (
        end.record.kv_reads,
        end.record.kv_writes,
        end.record.store_calls,
    );
    assert_eq!(costs, (1, 1, 0));
    let (key, kept) = world.kv.iter().next().unwrap();
    assert_eq!(kept.since.until(kept.until), WINDOW);
    assert!(!key.contains("evt_1") && kept.value == b"1");
    // Nobody decides on an order, so none is claimed.
    let event = &world.events()[0];
    assert_eq!(
        (event.get("sequence"), event["data"].get("state")),
        (None, None)
    );
    assert_eq!(event.get("rxdedupe"), None);
    world.did.clear();
    let again = world.send_event("evt_1", TYPE);
    assert_eq!((again.summary(), again.record.kv_writes), (DUPLICATE, 0));
    assert_eq!(world.did, ["get seen"]);
    world.wait(WINDOW);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
}

#[test]
fn what_was_not_handed_over_is_not_remembered() {
    for (first, expected) in [
        (answers(500), (502, "delivery_failed", None)),
        (Origin::Unreachable, (502, "delivery_failed", None)),
        (Origin::Hangs, (504, "delivery_timed_out", Some(15))),
    ] {
        let mut world = World::with(&kv());
        world.origin.push_back(first);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), expected);
        assert_eq!(world.did, ["get seen", "deliver"]);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    }
}

#[test]
fn kv_that_cant_tell_lets_the_event_through_with_a_mark() {
    for look in FAULTS {
        let mut world = World::with(&kv());
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
        let begun = world.now;
        world.looks.push_back(look);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            (end.summary(), end.record.dedupe),
            (DELIVERED, Some("unknown"))
        );
        assert_eq!(world.events()[1]["rxdedupe"], "unknown");
        // No more than a second of the sender's time.
        assert!(begun.until(world.now) <= seconds(1));
    }
    // Slow isn't failing.
    let mut world = World::with(&kv());
    world
        .looks
        .push_back(Look::Answers(Duration::from_millis(999)));
    assert_eq!(world.send_event("evt_1", TYPE).record.dedupe, None);
}

#[test]
fn kv_that_says_what_was_there_a_minute_ago_delivers_twice_and_loses_nothing() {
    let mut world = World::with(&kv());
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
    world.looks.push_back(Look::Stale(seconds(60)));
    world.wait(seconds(30));
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
    world.looks.push_back(Look::Stale(seconds(60)));
    world.wait(seconds(90));
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
}

#[test]
fn delivered_is_delivered_though_kv_doesnt_take_it() {
    for take in [Take::Fails(Fault::Before), Take::Hangs(false)] {
        let mut world = World::with(&kv());
        world.puts.push_back(take);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            (end.summary(), end.record.commit),
            (DELIVERED, None),
            "{take:?}"
        );
        assert_eq!(world.did, ["get seen", "deliver", "put seen", "put seen"]);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        world.puts.extend([take, take]);
        let end = world.send_event("evt_2", TYPE);
        assert_eq!(
            (end.summary(), end.record.commit),
            (DELIVERED, Some("commit_failed"))
        );
        // KV takes a key once a second: that one of two isn't remembered is nobody's fault.
        assert_eq!((end.record.level, end.logged), ("info", true));
        assert_eq!(world.send_event("evt_2", TYPE).summary(), DELIVERED);
    }
}

#[test]
fn a_request_and_its_message_are_remembered_under_keys_of_their_own() {
    for by_queue in [true, false] {
        let mut settings = kv();
        if by_queue {
            set(&mut settings, "DESTINATION_ORIGIN.delivery", json!("queue"));
        }
        let mut world = World::bound(&settings, &[DELIVERIES]);
        if !by_queue {
            world.origin.push_back(answers(500));
        }
        assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
        let (asked, told) = (world.did.remove(0), world.did.pop().unwrap());
        assert_eq!((asked.as_str(), told.as_str()), ("get seen", "put seen"));
        assert_eq!(world.did.pop().unwrap(), "send DELIVERIES");
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        world.did.clear();
        let sent = world.queued[0].clone();
        world.delivered.clear();
        assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
        assert_eq!(world.did, ["get done", "deliver", "put done"]);
        assert_eq!(world.attempt(&sent).summary(), (Verdict::Ack, "duplicate"));
        assert_eq!(world.delivered.len(), 1);
        let done = world
            .kv
            .iter()
            .find(|(key, _)| key.starts_with("done/"))
            .unwrap()
            .1;
        assert_eq!(done.since.until(done.until), seconds(15 * 24 * 3600));
        // Here, too, KV that can't tell lets it through.
        world.looks.push_back(Look::Fails);
        let settled = world.attempt(&sent);
        assert_eq!(
            (settled.summary(), settled.record.dedupe),
            ((Verdict::Ack, "delivered"), Some("unknown"))
        );
    }
}

#[test]
fn a_customers_queue_and_the_dead_letters_are_remembered_like_an_origin() {
    let mut settings = kv();
    settings["DESTINATION_ORIGIN"] = json!({ "queue": CUSTOMERS });
    let mut world = World::bound(&settings, &[CUSTOMERS]);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
    assert_eq!(world.did, ["get seen", "send CLINIC_EVENTS", "put seen"]);
    world.did.clear();
    for expected in ["dead_lettered", "duplicate"] {
        assert_eq!(world.send("{}").record.code, expected);
    }
    assert_eq!(
        world.did,
        ["get seen", "send DEAD_LETTERS", "put seen", "get seen"]
    );
    world.sends.push_back(Take::Fails(Fault::Before));
    assert_eq!(
        world.send("[]").summary(),
        (503, "dead_letter_failed", Some(5))
    );
    assert_eq!(world.send("[]").record.code, "dead_lettered");
    assert_eq!(world.waiting(DEAD_LETTERS), 2);
    world.keep_letters();
    assert_eq!(world.letters().len(), 2);
}

// ── KV as a short cut ──

fn cached() -> Value {
    let mut settings = settings();
    set(&mut settings, "SOURCE_OSIGU.edge_cache", json!(true));
    settings
}

/// One event that is delivered, in a world that knows the layout.
fn delivered() -> World {
    let mut world = World::bound(&cached(), &[DELIVERIES]);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
    assert_eq!(
        world.did,
        ["get dup", "layout", "claim", "deliver", "commit"]
    );
    assert!(world.kv.is_empty(), "only a duplicate is put there");
    world.did.clear();
    world
}

#[test]
fn the_objects_word_is_put_into_kv_once_and_saves_the_call_from_then_on() {
    let mut world = delivered();
    world.wait(seconds(3600));
    let first = world.send_event("evt_1", TYPE);
    assert_eq!((first.summary(), first.record.store_calls), (DUPLICATE, 1));
    assert_eq!(world.did, ["get dup", "claim", "put dup"]);
    let kept = world.kv.values().next().unwrap();
    // Until two minutes before the object forgets.
    assert_eq!(
        kept.since.until(kept.until),
        WINDOW - seconds(3600) - seconds(120)
    );
    world.did.clear();
    let again = world.send_event("evt_1", TYPE);
    assert_eq!((again.summary(), again.record.store_calls), (DUPLICATE, 0));
    assert_eq!((again.record.kv_reads, again.record.kv_writes), (1, 0));
    assert_eq!(world.did, ["get dup"]);
    // This instance has said so; another says it again.
    world.kv.clear();
    world.did.clear();
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!(world.did, ["get dup", "claim"]);
    world.gateway = gateway_with(&cached(), bindings(&[DELIVERIES]));
    world.did.clear();
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!(world.did, ["get dup", "layout", "claim", "put dup"]);
}

#[test]
fn an_instance_knows_of_more_than_the_last_event_what_it_has_put_into_kv() {
    let mut world = delivered();
    assert_eq!(world.send_event("evt_2", TYPE).summary(), DELIVERED);
    for puts in [2, 0] {
        world.kv.clear();
        world.did.clear();
        for id in ["evt_1", "evt_2"] {
            assert_eq!(world.send_event(id, TYPE).summary(), DUPLICATE);
        }
        assert_eq!(
            world.did.iter().filter(|did| *did == "put dup").count(),
            puts
        );
    }
}

#[test]
fn kv_that_fails_hangs_or_is_stale_costs_a_call_and_never_an_event() {
    for look in [Look::Fails, Look::Hangs, Look::Stale(seconds(60))] {
        let mut world = delivered();
        world.send_event("evt_1", TYPE);
        world.did.clear();
        let begun = world.now;
        world.looks.push_back(look);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            (end.summary(), end.record.dedupe),
            (DUPLICATE, None),
            "{look:?}"
        );
        assert_eq!(world.did, ["get dup", "claim"]);
        assert!(begun.until(world.now) <= Duration::from_millis(250));
        // A new event goes its way.
        world.looks.push_back(look);
        let end = world.send_event("evt_2", TYPE);
        assert_eq!((end.summary(), end.record.dedupe), (DELIVERED, None));
        assert!(world.events()[1].get("sequence").is_some());
    }
    for take in [
        Take::Fails(Fault::Before),
        Take::Fails(Fault::After),
        Take::Hangs(false),
    ] {
        let mut world = delivered();
        world.puts.push_back(take);
        assert_eq!(
            world.send_event("evt_1", TYPE).summary(),
            DUPLICATE,
            "{take:?}"
        );
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    }
}

#[test]
fn kv_never_says_duplicate_when_the_object_no_longer_does() {
    let mut world = delivered();
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    // It may say so for a minute after it has forgotten: the object still does.
    world.wait(WINDOW - seconds(61));
    world.looks.extend([Look::Stale(seconds(60)), Look::Fails]);
    for _ in 0..2 {
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    }
    world.wait(seconds(61));
    world.looks.push_back(Look::Stale(seconds(60)));
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DELIVERED);
}

#[test]
fn what_the_object_forgets_soon_isnt_put_into_kv() {
    for (left, puts) in [(181, true), (180, true), (179, false), (1, false)] {
        let mut world = delivered();
        world.wait(WINDOW - seconds(left));
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        assert_eq!(world.did.contains(&"put dup".to_owned()), puts, "{left}");
    }
}

#[test]
fn what_is_in_flight_is_no_duplicate_to_kv_and_what_is_queued_is_one() {
    let mut world = delivered();
    world.origin.push_back(Origin::Hangs);
    world.sends.push_back(Take::Fails(Fault::Before));
    assert_eq!(
        world.send_event("evt_2", TYPE).record.code,
        "delivery_timed_out"
    );
    assert_eq!(world.send_event("evt_2", TYPE).record.code, "in_flight");
    assert!(world.kv.is_empty());
    world.wait(LEASE);
    world.origin.push_back(answers(500));
    assert_eq!(world.send_event("evt_2", TYPE).summary(), ENQUEUED);
    assert_eq!(world.send_event("evt_2", TYPE).summary(), DUPLICATE);
    let kept = world.kv.values().next().unwrap();
    assert_eq!(kept.since.until(kept.until), seconds(15 * 24 * 3600 - 120));
    // A message isn't the sender: it asks the object.
    world.did.clear();
    assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
    assert_eq!(world.did, ["claim", "deliver", "commit"]);
}

#[test]
fn an_attempt_that_is_under_way_is_remembered_no_longer_than_its_receipt_will_be() {
    let mut settings = cached();
    set(&mut settings, "DESTINATION_ORIGIN.delivery", json!("queue"));
    let mut world = World::bound(&settings, &[DELIVERIES]);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
    let sent = world.take(DELIVERIES);
    let flight = world.begin_attempt(&sent, 1);
    let Step::Next(claimed) = world.step(flight) else {
        panic!("ended")
    };
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    let until = world.kv.values().next().unwrap().until;
    assert_eq!(world.settle(claimed).summary(), (Verdict::Ack, "delivered"));
    let forgotten = world.now.after(seconds(15 * 24 * 3600));
    assert!(
        until.until(forgotten) >= seconds(60),
        "a stale KV would outlive the receipt"
    );
}

#[test]
fn dead_letters_ask_no_kv() {
    let mut world = delivered();
    for expected in ["dead_lettered", "duplicate", "duplicate"] {
        assert_eq!(world.send(&body("evt_2", TYPE, "{}")).record.code, expected);
    }
    assert_eq!(
        world.did,
        ["claim", "send DEAD_LETTERS", "commit", "claim", "claim"]
    );
    // A store that can't tell is no reason to believe KV.
    world.asks.push_back(Ask::Fails(Fault::Before));
    let end = world.send(&body("evt_3", TYPE, EVENTS[5].2));
    assert_eq!(end.summary(), (503, "store_unavailable", Some(5)));
}

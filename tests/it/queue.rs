//! Queues: a customer's own, ours behind an origin, what comes of each message, and that nothing is lost on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rxgate::auth::Sealed;
use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::delivery::{MAX_AGE, MAX_ATTEMPTS, MAX_DELAY, webhook_id};
use rxgate::effect::{Effect, Verdict};
use rxgate::entity::{Claimant, Fence, Receipt, Request, event_digest};
use rxgate::machine::{LEASE, MESSAGE_DEADLINE, MESSAGE_LEASE};
use rxgate::parcel::Reason;
use rxgate::record::Record;
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::driver::{
    Ask, EVENTS, Fault, Flight, Look, Origin, Sent, Settled, Step, Take, World, answers, bindings,
    body, gateway_with, header, parcel_of, seal_keys, set, settings,
};

const TYPE: &str = "dispensing.completed";
const CUSTOMERS: &str = "CLINIC_EVENTS";
const DELIVERED: (u16, &str, Option<u64>) = (200, "delivered", None);
const ENQUEUED: (u16, &str, Option<u64>) = (200, "enqueued", None);
const DEAD_LETTERED: (u16, &str, Option<u64>) = (200, "dead_lettered", None);
const DUPLICATE: (u16, &str, Option<u64>) = (200, "duplicate", None);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How events get to their destination.
#[derive(Clone, Copy, Debug)]
enum Road {
    /// Direct, and what fails by our queue.
    Fallback,
    /// By our queue.
    Ours,
    /// Into a customer's queue.
    Customers,
}

fn settings_of(road: Road) -> Value {
    let mut settings = settings();
    match road {
        Road::Fallback => {}
        Road::Ours => set(&mut settings, "DESTINATION_ORIGIN.delivery", json!("queue")),
        Road::Customers => settings["DESTINATION_ORIGIN"] = json!({ "queue": CUSTOMERS }),
    }
    settings
}

/// A world whose isolate has asked for the layout already.
fn warm_with(settings: &Value) -> World {
    let mut world = World::bound(settings, &[DELIVERIES, CUSTOMERS]);
    let end = world.send_event("evt_warm", "settlement.paid");
    assert_eq!(end.answer.status, 200);
    forget(&mut world);
    world
}

/// What was done so far doesn't count.
fn forget(world: &mut World) {
    world.queued.clear();
    world.asked.clear();
    world.did.clear();
    world.delivered.clear();
    world.taken.clear();
}

fn warm(road: Road) -> World {
    warm_with(&settings_of(road))
}

fn cost(record: &Record) -> (usize, usize, usize) {
    (
        record.store_calls,
        record.rows_written,
        record.messages_sent,
    )
}

#[track_caller]
fn next(world: &mut World, flight: Flight) -> Flight {
    match world.step(flight) {
        Step::Next(next) => next,
        other => panic!("ended: {other:?}"),
    }
}

/// One event, sent and enqueued; and its message.
#[track_caller]
fn enqueued(world: &mut World) -> Sent {
    assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
    let sent = world.take(DELIVERIES);
    forget(world);
    world.now = world.now.after(sent.delay);
    sent
}

/// Between 7/8 and all of it.
#[track_caller]
fn assert_about(delay: Duration, full: Duration) {
    assert!(
        delay >= full * 7 / 8 && delay <= full,
        "{delay:?} of {full:?}"
    );
}

const ACK_DELIVERED: (Verdict, &str) = (Verdict::Ack, "delivered");
const ACK_DUPLICATE: (Verdict, &str) = (Verdict::Ack, "duplicate");
const ACK_DEAD_LETTERED: (Verdict, &str) = (Verdict::Ack, "dead_lettered");

// ── the ways, counted ──

#[test]
fn a_new_event_by_our_own_queue_costs_four_calls_four_rows_and_one_message() {
    let mut world = warm(Road::Ours);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!((end.summary(), cost(&end.record)), (ENQUEUED, (2, 2, 1)));
    assert_eq!(end.answer.body, r#"{"code":"enqueued","event_id":"evt_1"}"#);
    let again = world.send_event("evt_1", TYPE);
    assert_eq!(
        (again.summary(), cost(&again.record)),
        (DUPLICATE, (1, 0, 0))
    );
    let settled = world.consume();
    assert_eq!(
        (settled.summary(), cost(&settled.record)),
        (ACK_DELIVERED, (2, 2, 0))
    );
    let did = [
        "claim",
        "send DELIVERIES",
        "commit",
        "claim",
        "claim",
        "deliver",
        "commit",
    ];
    assert_eq!(world.did, did);
    let again = world.send_event("evt_1", TYPE);
    assert_eq!(
        (again.summary(), cost(&again.record)),
        (DUPLICATE, (1, 0, 0))
    );
    assert_eq!(world.delivered.len(), 1);
}

#[test]
fn a_new_event_into_a_customers_queue_costs_two_calls_two_rows_and_one_message() {
    let mut world = warm(Road::Customers);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!((end.summary(), cost(&end.record)), (ENQUEUED, (2, 2, 1)));
    assert_eq!(world.did, ["claim", "send CLINIC_EVENTS", "commit"]);
    let again = world.send_event("evt_1", TYPE);
    assert_eq!(
        (again.summary(), cost(&again.record)),
        (DUPLICATE, (1, 0, 0))
    );
    let sent = world.take(CUSTOMERS);
    assert!(sent.text && sent.delay.is_zero());
    let event: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        (&event["id"], &event["type"]),
        (&json!("evt_1"), &json!("rx.dispense.completed"))
    );
    let sequence = end.record.sequence.unwrap();
    assert_eq!(event["sequence"], format!("{sequence:016}"));
    assert_eq!(event["data"]["state"], "redeemed");
    assert_eq!(event.get("rxdedupe"), None);
    assert!(matches!(
        world.asked[1].1,
        Request::Commit { receipt: Receipt::Enqueued, window, .. } if window == seconds(7 * 24 * 3600)
    ));
}

#[test]
fn who_hears_of_its_claim_when_no_time_is_left_sends_nothing_if_somebody_comes_again() {
    for retries in [true, false] {
        let mut settings = settings_of(Road::Customers);
        if !retries {
            set(&mut settings, "SOURCE_OSIGU.retry_policy", json!("unknown"));
        }
        let mut world = warm_with(&settings);
        let event = body("evt_1", TYPE, "{\"dispensation_id\":\"dsp_1\"}");
        let flight = world.begin(&event);
        let performed = world.perform(flight).unwrap();
        // Its isolate is stopped for longer than the lease. The sender comes again.
        world.wait(LEASE);
        assert_eq!(world.send(&event).summary(), ENQUEUED);
        let Step::Next(flight) = world.hear(performed) else {
            panic!("it ended")
        };
        let end = world.finish(flight);
        if retries {
            assert_eq!(end.summary(), (503, "enqueue_failed", Some(5)));
            assert_eq!(end.record.release, Some("lease_lost"));
            assert_eq!(world.waiting(CUSTOMERS), 1);
        } else {
            // Rather twice than never.
            assert_eq!(world.waiting(CUSTOMERS), 2);
        }
        assert_eq!(world.send(&event).summary(), DUPLICATE);
    }
}

#[test]
fn an_event_in_our_queue_is_remembered_for_longer_than_any_message_of_it_can_be() {
    let mut world = warm(Road::Ours);
    world.send_event("evt_1", TYPE);
    let queued = |request: &Request| match request {
        Request::Commit {
            receipt, window, ..
        } => (*receipt, *window),
        other => panic!("{other:?}"),
    };
    let days = |n: u64| seconds(n * 24 * 3600);
    assert_eq!(queued(&world.asked[1].1), (Receipt::Queued, days(15)));
    world.consume();
    assert_eq!(queued(&world.asked[3].1), (Receipt::Delivered, days(15)));
}

#[test]
fn what_the_origin_fails_to_take_is_enqueued_and_delivered_with_a_higher_sequence() {
    for first in [answers(500), answers(404), Origin::Unreachable] {
        let mut world = warm(Road::Fallback);
        world.origin.push_back(first);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!((end.summary(), cost(&end.record)), (ENQUEUED, (2, 2, 1)));
        assert_eq!(world.did, ["claim", "deliver", "send DELIVERIES", "commit"]);
        let sent = world.queued[0].clone();
        assert!(!sent.text);
        assert_eq!(sent.delay, seconds(5));
        let parcel = parcel_of(&sent.body);
        let claimed = parcel.claimed.unwrap();
        assert_eq!(Some(claimed.fence.0), end.record.sequence);
        assert_eq!(claimed.event.0[..], event_digest("osigu", "evt_1")[..16]);
        assert_eq!((parcel.source.as_str(), parcel.nonce), ("osigu", None));
        assert_eq!(parcel.body, body("evt_1", TYPE, EVENTS[5].2).as_bytes());
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        let before = world.delivered.len();
        let settled = world.consume();
        assert_eq!(
            (settled.summary(), settled.record.attempt),
            (ACK_DELIVERED, Some(1))
        );
        assert!(settled.record.sequence > end.record.sequence);
        assert_eq!(settled.record.webhook_id, end.record.webhook_id);
        let events = world.events();
        let last = events.last().unwrap();
        assert_eq!(
            last["sequence"],
            format!("{:016}", settled.record.sequence.unwrap())
        );
        assert_eq!(world.delivered.len(), before + 1);
        let ids: BTreeSet<&str> = world
            .delivered
            .iter()
            .map(|d| header(d, "webhook-id"))
            .collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    }
}

#[test]
fn an_origins_retry_after_lengthens_the_delay_up_to_an_hour() {
    for (value, delay) in [("2", 5), ("120", 120), ("86400", 3600)] {
        let mut world = warm(Road::Fallback);
        let asks = Origin::Answers(429, Some(value), Duration::ZERO);
        world.origin.push_back(asks);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
        assert_eq!(world.take(DELIVERIES).delay, seconds(delay), "{value}");
    }
}

#[test]
fn what_the_origin_doesnt_answer_to_is_enqueued_until_the_lease_would_have_lapsed() {
    let mut world = warm(Road::Fallback);
    let begun = world.now;
    world.origin.push_back(Origin::Hangs);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
    // The rest of the nine seconds is for the queue and the commit.
    assert_eq!(begun.until(world.now), Duration::from_millis(6500));
    assert!(world.queued[0].delay >= LEASE);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!(world.consume().summary(), ACK_DELIVERED);
    assert_eq!(world.delivered.len(), 2);
}

#[test]
fn what_neither_the_origin_nor_the_queue_takes_is_not_acknowledged() {
    let failed = [
        Take::Fails(Fault::Before),
        Take::Fails(Fault::After),
        Take::Hangs(false),
        Take::Hangs(true),
    ];
    for take in failed {
        for (road, first, expected, wait) in [
            (
                Road::Fallback,
                answers(500),
                (502, "delivery_failed", None),
                0,
            ),
            (
                Road::Fallback,
                Origin::Unreachable,
                (502, "delivery_failed", None),
                0,
            ),
            (
                Road::Fallback,
                Origin::Hangs,
                (504, "delivery_timed_out", Some(15)),
                15,
            ),
            (
                Road::Ours,
                answers(200),
                (503, "enqueue_failed", Some(5)),
                0,
            ),
            (
                Road::Customers,
                answers(200),
                (503, "enqueue_failed", Some(5)),
                0,
            ),
        ] {
            let mut world = warm(road);
            if !matches!(road, Road::Ours | Road::Customers) {
                world.origin.push_back(first);
            }
            world.sends.push_back(take);
            let begun = world.now;
            let end = world.send_event("evt_1", TYPE);
            assert_eq!(end.summary(), expected, "{take:?} {road:?}");
            assert!(begun.until(world.now) <= seconds(9));
            let released = world.did.last().unwrap() == "release";
            assert_eq!(released, wait == 0);
            // The sender comes again, and it is there once; what the queue has after all is a duplicate.
            world.now = world.now.max(begun.after(seconds(wait)));
            let again = world.send_event("evt_1", TYPE).summary();
            if matches!(road, Road::Fallback) {
                assert_eq!(again, DELIVERED, "{take:?} {first:?}");
                assert_eq!(world.taken.len(), 1);
                if world.waiting(DELIVERIES) > 0 {
                    assert_eq!(world.consume().summary(), ACK_DUPLICATE);
                }
                assert_eq!(world.taken.len(), 1);
            } else {
                assert_eq!(again, ENQUEUED);
            }
            if matches!(road, Road::Ours) {
                while world.waiting(DELIVERIES) > 0 {
                    assert_eq!(world.consume().verdict, Verdict::Ack);
                }
                assert_eq!(world.taken.len(), 1);
            }
            assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        }
    }
}

#[test]
fn a_commit_that_is_lost_after_the_message_was_sent_is_reported_and_loses_nothing() {
    for road in [Road::Ours, Road::Customers] {
        let mut world = warm(road);
        let fails = Ask::Fails(Fault::Before);
        world
            .asks
            .extend([Ask::Replies(Duration::ZERO), fails, fails]);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            (end.summary(), end.record.commit),
            (ENQUEUED, Some("commit_failed"))
        );
        assert_eq!(end.record.level, "error");
        if matches!(road, Road::Ours) {
            // The lease of the request still runs, and its own message goes past it.
            let settled = world.consume();
            assert_eq!(settled.summary(), ACK_DELIVERED);
            assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        }
    }
}

#[test]
fn a_message_that_is_faster_than_the_commit_is_delivered_and_the_commit_is_no_fault() {
    let mut world = warm(Road::Ours);
    let flight = world.begin(&body("evt_1", TYPE, EVENTS[5].2));
    let claimed = next(&mut world, flight);
    let sent = next(&mut world, claimed);
    assert_eq!(world.consume().summary(), ACK_DELIVERED);
    let end = world.finish(sent);
    assert_eq!((end.summary(), end.record.commit), (ENQUEUED, None));
    assert_eq!((end.record.level, end.record.rows_written), ("info", 1));
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!(world.delivered.len(), 1);
}

#[test]
fn a_message_that_comes_twice_is_delivered_once() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    // At the same time: one of them waits for the other's lease.
    let flight = world.begin_attempt(&sent, 1);
    let claimed = next(&mut world, flight);
    world.now = world.now.after(seconds(3));
    let other = world.attempt(&sent);
    assert_eq!(other.record.code, "in_flight");
    assert_eq!(other.delay(), MESSAGE_LEASE - seconds(3));
    assert_eq!(world.settle(claimed).summary(), ACK_DELIVERED);
    // Later.
    let again = world.attempt_nth(&sent, 2);
    assert_eq!(
        (again.summary(), cost(&again.record)),
        (ACK_DUPLICATE, (1, 0, 0))
    );
    assert_eq!(world.delivered.len(), 1);
}

#[test]
fn an_event_is_made_anew_from_its_message_by_the_settings_of_that_moment() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    let mut moved = settings_of(Road::Ours);
    set(
        &mut moved,
        "DESTINATION_ORIGIN.url",
        json!("https://new.example/"),
    );
    set(&mut moved, "DESTINATION_ORIGIN.format", json!("original"));
    world.gateway = gateway_with(&moved, bindings(&[DELIVERIES]));
    assert_eq!(world.attempt(&sent).summary(), ACK_DELIVERED);
    let delivery = &world.delivered[0];
    assert_eq!(delivery.url, "https://new.example/");
    assert_eq!(delivery.body, body("evt_1", TYPE, EVENTS[5].2).as_bytes());
    assert!(header(delivery, "x-osigu-signature").starts_with("t="));
    assert_eq!(
        delivery.timeout,
        MESSAGE_DEADLINE - seconds(1) - Duration::from_millis(1500)
    );
}

#[test]
fn what_the_origin_rejects_from_the_queue_is_a_dead_letter() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    world.origin.push_back(answers(422));
    let settled = world.attempt(&sent);
    assert_eq!(settled.summary(), ACK_DEAD_LETTERED);
    assert_eq!(settled.record.reason, Some("delivery_rejected"));
    assert_eq!(settled.record.level, "error");
    assert_eq!(
        world.did,
        ["claim", "deliver", "send DEAD_LETTERS", "commit"]
    );
    let parcel = parcel_of(&world.queued[0].body);
    assert_eq!(parcel.label.reason, Some(Reason::DeliveryRejected));
    assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!((world.delivered.len(), world.waiting(DEAD_LETTERS)), (1, 1));
}

#[test]
fn a_dead_letter_that_isnt_taken_leaves_the_message_where_it_is() {
    for take in [
        Take::Fails(Fault::Before),
        Take::Hangs(false),
        Take::Hangs(true),
    ] {
        let mut world = warm(Road::Ours);
        let sent = enqueued(&mut world);
        world.origin.push_back(answers(422));
        world.sends.push_back(take);
        let settled = world.attempt(&sent);
        assert_eq!(settled.record.code, "dead_letter_failed", "{take:?}");
        assert_about(settled.delay(), seconds(5));
        assert_eq!(
            world.did,
            ["claim", "deliver", "send DEAD_LETTERS", "release"]
        );
        world.now = world.now.after(settled.delay());
        assert_eq!(world.attempt_nth(&sent, 2).summary(), ACK_DELIVERED);
    }
}

// ── retried, and when ──

#[test]
fn a_failed_attempt_is_tried_again_after_a_delay_that_doubles_and_the_lease_is_left_where_it_lapses_sooner()
 {
    for (attempt, full) in [
        (1, 5),
        (2, 10),
        (3, 20),
        (4, 40),
        (5, 80),
        (9, 1280),
        (11, 3600),
        (95, 3600),
    ] {
        let mut world = warm(Road::Ours);
        let sent = enqueued(&mut world);
        world.origin.push_back(answers(503));
        let settled = world.attempt_nth(&sent, attempt);
        assert_eq!(settled.record.code, "delivery_failed");
        assert_eq!(settled.record.attempt, Some(attempt));
        assert_about(settled.delay(), seconds(full));
        let calls = if attempt < 5 {
            &["claim", "deliver", "release"][..]
        } else {
            &["claim", "deliver"]
        };
        assert_eq!(world.did, calls, "{attempt}");
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        world.now = world.now.after(settled.delay());
        assert_eq!(
            world.attempt_nth(&sent, attempt + 1).summary(),
            ACK_DELIVERED
        );
    }
}

#[test]
fn an_origin_that_asks_for_more_time_gets_it_up_to_an_hour() {
    for (value, expected) in [("120", 120), ("86400", 3600)] {
        let mut world = warm(Road::Ours);
        let sent = enqueued(&mut world);
        world
            .origin
            .push_back(Origin::Answers(503, Some(value), Duration::ZERO));
        assert_eq!(world.attempt(&sent).delay(), seconds(expected));
    }
    assert_eq!(MAX_DELAY, seconds(3600));
}

#[test]
fn an_origin_that_doesnt_answer_keeps_the_lease_and_the_next_attempt_comes_after_it() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    world.origin.push_back(Origin::Hangs);
    let settled = world.attempt(&sent);
    assert_eq!(settled.record.code, "delivery_timed_out");
    assert_eq!(settled.delay(), MESSAGE_LEASE);
    assert_eq!(world.did, ["claim", "deliver"]);
    assert_eq!(world.attempt_nth(&sent, 2).record.code, "in_flight");
    world.now = world.now.after(settled.delay());
    assert_eq!(world.attempt_nth(&sent, 2).summary(), ACK_DELIVERED);
}

#[test]
fn whatever_keeps_a_message_from_being_tried_has_it_come_again() {
    type Alter = dyn Fn(&mut World, &mut Sent);
    let retried = |alter: &Alter| -> (Settled, bool) {
        let mut world = warm(Road::Ours);
        let mut sent = enqueued(&mut world);
        alter(&mut world, &mut sent);
        let settled = world.attempt(&sent);
        (settled, world.delivered.is_empty())
    };
    let without = |change: &'static dyn Fn(&mut Value)| {
        move |world: &mut World, _: &mut Sent| {
            let mut settings = settings_of(Road::Ours);
            change(&mut settings);
            let vars = settings.as_object().unwrap();
            let bound = bindings(&[DELIVERIES]);
            let config = rxgate::config::Config::parse(vars, &crate::driver::secrets(), bound);
            world.gateway = rxgate::machine::Gateway::new(config, &[9; 32]);
        }
    };
    let ask = |ask| move |world: &mut World, _: &mut Sent| world.asks.push_back(ask);
    let gone = without(&|settings| {
        settings["SOURCE_OTHER"] = settings["SOURCE_OSIGU"].take();
        settings.as_object_mut().unwrap().remove("SOURCE_OSIGU");
    });
    let faulty = without(&|settings| settings["SOURCE_OSIGU"]["keys"] = json!([]));
    let lost_key = without(&|settings| {
        settings["RXGATE"]["seal_keys"] = json!([{ "id": "seal-2", "secret": "SEAL_KEY_2" }]);
    });
    let other_shards = without(&|settings| settings["RXGATE"]["shards"] = json!(8));
    let table: [(&str, u64, &Alter); 12] = [
        ("store_unavailable", 5, &ask(Ask::Fails(Fault::Before))),
        ("store_unavailable", 5, &ask(Ask::Fails(Fault::After))),
        ("store_unavailable", 5, &ask(Ask::Hangs)),
        ("store_unavailable", 5, &ask(Ask::Garbled)),
        ("source_unknown", 5, &gone),
        ("source_misconfigured", 5, &faulty),
        ("message_unreadable", 5, &lost_key),
        ("shards_changed", 5, &other_shards),
        ("message_unreadable", 5, &|_, sent| sent.body[40] ^= 1),
        ("message_unreadable", 5, &|_, sent| sent.body.clear()),
        ("message_unreadable", 5, &|_, sent| {
            sent.body = b"{}".to_vec()
        }),
        ("queue_unknown", 60, &|_, sent| {
            sent.queue = "OTHER".to_owned()
        }),
    ];
    for (code, full, alter) in table {
        let (settled, nothing) = retried(alter);
        assert_eq!(settled.record.code, code);
        assert_about(settled.delay(), seconds(full));
        assert!(nothing && settled.record.status == 0, "{code}");
    }
}

#[test]
fn a_message_of_a_queue_that_isnt_ours_is_never_given_up() {
    let mut world = warm(Road::Ours);
    let mut sent = enqueued(&mut world);
    sent.queue = "OTHER".to_owned();
    let settled = world.attempt_nth(&sent, 500);
    assert_eq!(settled.record.code, "queue_unknown");
    assert!(settled.delay() >= seconds(60));
    assert_eq!(world.queued.len(), 0);
}

// ── given up ──

#[test]
fn the_last_attempt_makes_a_dead_letter_of_what_the_origin_doesnt_take() {
    let aged = |sent: &Sent| Timestamp(sent.at.0 - i64::try_from(MAX_AGE.as_millis()).unwrap());
    for first in [answers(500), Origin::Unreachable, Origin::Hangs] {
        for old in [false, true] {
            let mut world = warm(Road::Ours);
            let mut sent = enqueued(&mut world);
            world.origin.push_back(first);
            // However long the origin took, there is time for the queue.
            world.sends.push_back(Take::Takes(seconds(1)));
            if old {
                sent.at = aged(&sent);
            }
            let settled = world.attempt_nth(&sent, if old { 3 } else { MAX_ATTEMPTS });
            assert_eq!(settled.summary(), ACK_DEAD_LETTERED, "{first:?} {old}");
            assert_eq!(settled.record.reason, Some("attempts_used_up"));
            assert_eq!(
                world.did,
                ["claim", "deliver", "send DEAD_LETTERS", "commit"]
            );
            assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
            world.keep_letters();
            let letters = world.letters();
            assert_eq!(letters.len(), 1);
            assert_eq!(letters[0].code, "attempts_used_up");
        }
    }
}

#[test]
fn what_cant_even_be_tried_in_all_attempts_is_a_dead_letter_as_it_is() {
    for old in [false, true] {
        let mut world = warm(Road::Ours);
        let mut sent = enqueued(&mut world);
        if old {
            sent.at = Timestamp(sent.at.0 - i64::try_from(MAX_AGE.as_millis()).unwrap());
        }
        let attempt = if old { 1 } else { MAX_ATTEMPTS };
        world.asks.push_back(Ask::Fails(Fault::Before));
        let settled = world.attempt_nth(&sent, attempt);
        assert_eq!(settled.summary(), ACK_DEAD_LETTERED);
        assert_eq!(settled.record.reason, Some("attempts_used_up"));
        assert_eq!(settled.record.problem, Some("store_unavailable"));
        let dead = world.queued[0].clone();
        assert_eq!((dead.body == sent.body, dead.delay), (true, seconds(60)));
        // It is claimed when it comes out there.
        assert_eq!(world.attempt(&dead).summary(), ACK_DEAD_LETTERED);
        world.take(DEAD_LETTERS);
        world.keep_letters();
        let letters = world.letters();
        let letter = &letters[0];
        assert_eq!(
            (letter.code.as_str(), letter.source.as_str()),
            ("attempts_used_up", "osigu")
        );
        assert_eq!(
            letter.webhook_id,
            Some(webhook_id(&event_digest("osigu", "evt_1")))
        );
        // One attempt before, it would have come again.
        sent.at = world.now;
        world.asks.push_back(Ask::Fails(Fault::Before));
        assert_about(
            world.attempt_nth(&sent, MAX_ATTEMPTS - 1).delay(),
            MAX_DELAY,
        );
    }
}

#[test]
fn what_cant_be_given_up_is_tried_on() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    world.asks.push_back(Ask::Fails(Fault::Before));
    world.sends.push_back(Take::Fails(Fault::Before));
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.record.code, "store_unavailable");
    assert_about(settled.delay(), MAX_DELAY);
    assert_eq!(
        world.attempt_nth(&sent, MAX_ATTEMPTS + 1).summary(),
        ACK_DELIVERED
    );
}

#[test]
fn a_message_that_cant_be_opened_to_the_end_is_kept_as_it_is() {
    let mut world = warm(Road::Ours);
    let mut sent = enqueued(&mut world);
    sent.body[30] ^= 1;
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), ACK_DEAD_LETTERED);
    assert_eq!(settled.record.problem, Some("message_unreadable"));
    let letter = world.take(DEAD_LETTERS);
    assert_eq!(letter.body, sent.body);
    // As a dead letter it waits for its key as long again.
    let settled = world.attempt(&letter);
    assert_eq!(settled.record.code, "message_unreadable");
    assert!(settled.delay() >= seconds(60));
    let settled = world.attempt_nth(&letter, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), (Verdict::Ack, "dead_letter_kept"));
    assert_eq!(settled.record.problem, Some("message_unreadable"));
    let letters = world.letters();
    assert_eq!(
        (letters[0].code.as_str(), letters[0].source.as_str()),
        ("message_unreadable", "")
    );
}

#[test]
fn what_is_given_up_has_time_of_its_own_though_the_message_has_none_left() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    // The claim, the origin, the dead-letter queue and the release take all of it.
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Hangs]);
    world.origin.push_back(Origin::Hangs);
    let slow = Take::Takes(Duration::from_millis(2900));
    world.sends.extend([Take::Hangs(false), slow]);
    let begun = world.now;
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), ACK_DEAD_LETTERED);
    assert_eq!(
        world.did,
        [
            "claim",
            "deliver",
            "send DEAD_LETTERS",
            "release",
            "send DEAD_LETTERS"
        ]
    );
    assert_eq!(settled.record.problem, Some("dead_letter_failed"));
    assert_eq!(
        world.delivered[0].timeout,
        Duration::from_millis(27_500),
        "what an origin gets"
    );
    let used = begun.until(world.now);
    assert_eq!(used, MESSAGE_DEADLINE + Duration::from_millis(2900));
    // More than three seconds it doesn't get; then the message stays.
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Hangs]);
    world.origin.push_back(Origin::Hangs);
    world.sends.extend([Take::Hangs(false); 2]);
    let begun = world.now;
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_about(settled.delay(), MAX_DELAY);
    assert_eq!(
        begun.until(world.now),
        MESSAGE_DEADLINE + Duration::from_millis(3000)
    );
}

#[test]
fn a_dead_letter_that_cant_be_kept_starts_anew_and_is_never_forgotten() {
    let mut world = warm(Road::Ours);
    assert_eq!(world.send("{}").summary(), DEAD_LETTERED);
    let sent = world.take(DEAD_LETTERS);
    forget(&mut world);
    let fails = Ask::Fails(Fault::Before);
    world.asks.push_back(fails);
    let settled = world.attempt_nth(&sent, 3);
    assert_eq!(settled.record.code, "store_unavailable");
    assert_about(settled.delay(), seconds(20));
    world.asks.push_back(fails);
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.summary(), (Verdict::Ack, "enqueued"));
    assert_eq!(settled.record.problem, Some("store_unavailable"));
    let again = world.take(DEAD_LETTERS);
    assert_eq!((again.body == sent.body, again.delay), (true, seconds(60)));
    // Both may be there: they are one letter.
    for sent in [again, sent] {
        assert_eq!(
            world.attempt(&sent).summary(),
            (Verdict::Ack, "dead_letter_kept")
        );
    }
    assert_eq!(world.letters().len(), 1);
    // The queue fails as well: the message stays.
    let sent = Sent {
        at: world.now,
        ..enqueued_letter(&mut world)
    };
    world.asks.push_back(fails);
    world.sends.push_back(Take::Hangs(true));
    let settled = world.attempt_nth(&sent, MAX_ATTEMPTS);
    assert_eq!(settled.record.code, "store_unavailable");
    assert_about(settled.delay(), MAX_DELAY);
}

#[track_caller]
fn enqueued_letter(world: &mut World) -> Sent {
    assert_eq!(world.send(r#"{"a":1}"#).summary(), DEAD_LETTERED);
    world.take(DEAD_LETTERS)
}

// ── large events ──

/// An event whose message would be larger than the platform takes.
fn large(event_id: &str) -> String {
    let note = "x".repeat(130_000);
    body(
        event_id,
        TYPE,
        &format!(r#"{{"dispensation_id":"dsp_1","note":"{note}"}}"#),
    )
}

#[test]
fn a_large_event_is_put_into_kv_first_and_a_pointer_to_it_is_sent() {
    let mut world = warm(Road::Ours);
    let end = world.send(&large("evt_1"));
    assert_eq!(end.summary(), ENQUEUED);
    assert_eq!(
        world.did,
        ["claim", "put body", "send DELIVERIES", "commit"]
    );
    assert_eq!((end.record.kv_writes, end.record.messages_sent), (1, 1));
    let (key, kept) = world.kv.iter().next().unwrap();
    assert_eq!(kept.since.until(kept.until), seconds((28 + 30) * 24 * 3600));
    assert!(kept.value.len() > 130_000 && !key.contains("evt"));
    assert!(
        !kept.value.windows(8).any(|w| w == b"xxxxxxxx"),
        "it is sealed"
    );
    let sent = world.queued[0].clone();
    assert!(sent.body.len() < 200 && !sent.text);
    let settled = world.consume();
    assert_eq!(settled.summary(), ACK_DELIVERED);
    assert_eq!(world.did[4..], ["get body", "claim", "deliver", "commit"]);
    assert_eq!(settled.record.kv_reads, 1);
    assert!(world.delivered[0].body.len() > 130_000);
    // The platform may repeat the message: the body stays where it is.
    assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
}

#[test]
fn a_large_event_that_kv_doesnt_take_is_not_acknowledged() {
    for take in [
        Take::Fails(Fault::Before),
        Take::Fails(Fault::After),
        Take::Hangs(false),
        Take::Hangs(true),
    ] {
        for road in [Road::Ours, Road::Customers] {
            let mut world = warm(road);
            world.puts.push_back(take);
            let end = world.send(&large("evt_1"));
            assert_eq!(end.summary(), (503, "enqueue_failed", Some(5)), "{take:?}");
            assert_eq!(world.did, ["claim", "put body", "release"]);
            assert_eq!(world.queued.len(), 0);
            assert_eq!(world.send(&large("evt_1")).summary(), ENQUEUED);
        }
        let mut world = warm(Road::Ours);
        world.puts.push_back(take);
        let invalid = large("evt_1").replace("dispensation_id", "dispensation");
        let end = world.send(&invalid);
        assert_eq!(
            end.summary(),
            (503, "dead_letter_failed", Some(5)),
            "{take:?}"
        );
    }
}

#[test]
fn a_large_event_in_a_customers_queue_is_a_reference_to_a_sealed_event() {
    let mut world = warm(Road::Customers);
    let end = world.send(&large("evt_1"));
    assert_eq!(end.summary(), ENQUEUED);
    assert_eq!(
        world.did,
        ["claim", "put body", "send CLINIC_EVENTS", "commit"]
    );
    let sent = world.take(CUSTOMERS);
    assert!(sent.text);
    let reference: Value = serde_json::from_slice(&sent.body).unwrap();
    let key = reference["key"].as_str().unwrap();
    let hash = key.strip_prefix("body/").unwrap();
    let expected = json!({
        "rxgate": "reference", "namespace": "KV", "key": key, "hash": format!("sha256:{hash}"),
        "webhook_id": end.record.webhook_id,
    });
    assert_eq!(reference, expected);
    let sealed = &world.kv[key].value;
    let opened = seal_keys().open(Sealed::Event, sealed).unwrap();
    let event: Value = serde_json::from_slice(opened.bytes()).unwrap();
    assert_eq!(event["id"], "evt_1");
    for other in [Sealed::Delivery, Sealed::Letter, Sealed::Pointer] {
        assert!(seal_keys().open(other, sealed).is_err());
    }
}

#[test]
fn a_body_that_isnt_there_or_isnt_the_one_is_waited_for_and_never_delivered() {
    let pointer = || {
        let mut world = warm(Road::Ours);
        assert_eq!(world.send(&large("evt_1")).summary(), ENQUEUED);
        let sent = world.take(DELIVERIES);
        forget(&mut world);
        (world, sent)
    };
    let waits = |world: &mut World, sent: &Sent, why: &str| {
        for attempt in [1, 4] {
            let settled = world.attempt_nth(sent, attempt);
            assert_eq!(settled.record.code, "body_missing", "{why}");
            assert!(
                settled.delay() >= seconds(60) && settled.delay() <= seconds(65),
                "{why}"
            );
        }
        assert_eq!((world.delivered.len(), world.asked.len()), (0, 0), "{why}");
    };
    let (mut world, sent) = pointer();
    let kept = std::mem::take(&mut world.kv);
    waits(&mut world, &sent, "missing");
    let (key, sound) = kept.into_iter().next().unwrap();
    let mut other = sound.clone();
    *other.value.last_mut().unwrap() ^= 1;
    world.kv.insert(key.clone(), other);
    waits(&mut world, &sent, "altered");
    world.kv.insert(key, sound);
    for look in [Look::Fails, Look::Hangs, Look::Stale(seconds(60))] {
        world.looks.extend([look, look]);
        waits(&mut world, &sent, "not read");
    }
    assert_eq!(world.attempt(&sent).summary(), ACK_DELIVERED);
}

#[test]
fn only_what_was_sealed_as_a_delivery_is_delivered() {
    let mut world = warm(Road::Ours);
    let sent = enqueued(&mut world);
    let keys = seal_keys();
    let plain = keys.open(Sealed::Delivery, &sent.body[1..]).unwrap();
    let sealed = |what| {
        let frame = keys.seal(what, [3; 12], &[], plain.bytes()).unwrap();
        [&[1], frame.as_slice()].concat()
    };
    let pointing_to = |world: &mut World, frame: &[u8], what| {
        use sha2::Digest;
        let hash = sha2::Sha256::digest(frame);
        let kept = crate::driver::Kept {
            value: frame.to_vec(),
            since: world.now,
            until: world.now.after(seconds(3600)),
        };
        world
            .kv
            .insert(format!("body/{}", crate::support::hex(&hash)), kept);
        [
            &[2],
            keys.seal(what, [4; 12], &[], &hash).unwrap().as_slice(),
        ]
        .concat()
    };
    let mut messages: Vec<Vec<u8>> = [Sealed::Letter, Sealed::Event, Sealed::Pointer]
        .map(sealed)
        .into();
    for what in [Sealed::Letter, Sealed::Event, Sealed::Pointer] {
        let frame = sealed(what)[1..].to_vec();
        messages.push(pointing_to(&mut world, &frame, Sealed::Pointer));
    }
    let frame = sealed(Sealed::Delivery)[1..].to_vec();
    for what in [Sealed::Delivery, Sealed::Letter, Sealed::Event] {
        messages.push(pointing_to(&mut world, &frame, what));
    }
    messages.push([&[3], frame.as_slice()].concat());
    messages.push(frame.clone());
    for body in messages {
        let settled = world.attempt(&Sent {
            body,
            ..sent.clone()
        });
        assert_eq!(settled.record.code, "message_unreadable");
        assert_about(settled.delay(), seconds(5));
    }
    assert_eq!((world.delivered.len(), world.asked.len()), (0, 0));
    // And the two that are as they should be.
    let body = pointing_to(&mut world, &frame, Sealed::Pointer);
    assert_eq!(
        world
            .attempt(&Sent {
                body,
                ..sent.clone()
            })
            .summary(),
        ACK_DELIVERED
    );
    assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
}

#[test]
fn a_seal_opens_as_long_as_its_key_is_there_and_the_first_key_seals() {
    let mut world = warm(Road::Ours);
    let old = enqueued(&mut world);
    let mut rotated = settings_of(Road::Ours);
    rotated["RXGATE"]["seal_keys"] = json!([
        { "id": "seal-2", "secret": "SEAL_KEY_2" }, { "id": "seal-1", "secret": "SEAL_KEY_1" },
    ]);
    world.gateway = gateway_with(&rotated, bindings(&[DELIVERIES]));
    assert_eq!(world.attempt(&old).summary(), ACK_DELIVERED);
    assert_eq!(world.send_event("evt_2", TYPE).summary(), ENQUEUED);
    let new = world.take(DELIVERIES);
    assert!(new.body.windows(6).any(|window| window == b"seal-2"));
    world.gateway = gateway_with(&settings_of(Road::Ours), bindings(&[DELIVERIES]));
    assert_eq!(world.attempt(&new).record.code, "message_unreadable");
    world.gateway = gateway_with(&rotated, bindings(&[DELIVERIES]));
    assert_eq!(world.attempt(&new).summary(), ACK_DELIVERED);
}

// ── senders that aren't known to retry ──

fn unknown(road: Road) -> Value {
    let mut settings = settings_of(road);
    set(&mut settings, "SOURCE_OSIGU.retry_policy", json!("unknown"));
    settings
}

const NO_STORE: [Ask; 3] = [Ask::Fails(Fault::Before), Ask::Hangs, Ask::Garbled];

#[test]
fn without_the_store_an_event_of_a_sender_that_may_not_retry_is_enqueued_and_claimed_later() {
    for road in [Road::Fallback, Road::Ours] {
        for ask in NO_STORE {
            let mut world = warm_with(&unknown(road));
            world.asks.push_back(ask);
            let end = world.send_event("evt_1", TYPE);
            assert_eq!(
                (end.summary(), end.record.dedupe),
                (ENQUEUED, Some("unknown"))
            );
            assert_eq!(end.record.destination.as_deref(), Some("origin"));
            assert_eq!(world.did, ["claim", "send DELIVERIES"]);
            let sent = world.queued[0].clone();
            assert_eq!(parcel_of(&sent.body).claimed, None);
            // What the claim may have left behind has lapsed by then.
            world.wait(LEASE);
            let settled = world.consume();
            assert_eq!(settled.summary(), ACK_DELIVERED, "{ask:?}");
            assert!(matches!(
                &world.asked[1].1,
                Request::Claim { claim, .. } if claim.claimant == Claimant::Message(Fence(0))
            ));
            let event = &world.events()[0];
            assert!(event.get("rxdedupe").is_none() && event.get("sequence").is_some());
            assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
            assert_eq!(world.attempt(&sent).summary(), ACK_DUPLICATE);
        }
    }
}

#[test]
fn a_claim_that_was_granted_unheard_holds_up_the_message_until_it_lapses() {
    let mut world = warm_with(&unknown(Road::Fallback));
    world.asks.push_back(Ask::Fails(Fault::After));
    assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
    let early = world.consume();
    assert_eq!(
        (early.record.code, early.delay()),
        ("in_flight", seconds(10))
    );
    assert_eq!(world.delivered.len(), 0);
}

#[test]
fn a_sender_that_retries_is_asked_to_where_the_store_cant_tell() {
    for road in [Road::Fallback, Road::Ours, Road::Customers] {
        let mut world = warm(road);
        world.asks.push_back(Ask::Fails(Fault::Before));
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(end.summary(), (503, "store_unavailable", Some(5)));
        assert_eq!((end.record.dedupe, world.queued.len()), (None, 0));
    }
}

#[test]
fn a_customers_queue_gets_an_event_that_couldnt_be_deduped_with_a_mark() {
    let mut world = warm_with(&unknown(Road::Customers));
    world.asks.push_back(Ask::Hangs);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(
        (end.summary(), end.record.dedupe),
        (ENQUEUED, Some("unknown"))
    );
    assert_eq!(world.did, ["claim", "send CLINIC_EVENTS"]);
    let event: Value = serde_json::from_slice(&world.take(CUSTOMERS).body).unwrap();
    assert_eq!(event["rxdedupe"], "unknown");
    assert_eq!(
        (event.get("sequence"), event["data"].get("state")),
        (None, None)
    );
}

#[test]
fn without_the_store_what_cant_be_delivered_is_a_dead_letter_all_the_same() {
    for ask in NO_STORE {
        let mut world = warm_with(&unknown(Road::Fallback));
        world.asks.push_back(ask);
        let end = world.send(&body("evt_1", TYPE, "{}"));
        assert_eq!(
            (end.summary(), end.record.reason),
            (DEAD_LETTERED, Some("event_invalid"))
        );
        assert_eq!(end.record.dedupe, Some("unknown"));
        let claimed = parcel_of(&world.queued[0].body).claimed.unwrap();
        assert_eq!(claimed.fence, Fence(0));
        // However often it is sent, it is one letter: the last.
        world.wait(seconds(60));
        for other in [ask, Ask::Fails(Fault::Before)] {
            world.asks.push_back(other);
            let again = world.send(&body("evt_1", TYPE, "{}"));
            assert_eq!(again.summary(), DEAD_LETTERED);
        }
        let last = parcel_of(&world.queued[2].body).received_at;
        // Once the store is back it is claimed, under the same ids.
        assert_eq!(
            world.send(&body("evt_1", TYPE, "{}")).record.code,
            if matches!(ask, Ask::Fails(_)) {
                "dead_lettered"
            } else {
                "in_flight"
            }
        );
        world.keep_letters();
        assert_eq!(world.letters().len(), 1);
        assert!(world.letters()[0].received_at >= last);
    }
}

#[test]
fn whoever_accepts_loss_has_no_queue_to_fall_back_on() {
    let mut settings = unknown(Road::Fallback);
    set(&mut settings, "SOURCE_OSIGU.accept_loss", json!(true));
    let mut world = World::with(&settings);
    world.asks.push_back(Ask::Fails(Fault::Before));
    assert_eq!(
        world.send_event("evt_1", TYPE).summary(),
        (503, "store_unavailable", Some(5))
    );
}

#[test]
fn neither_a_change_of_shards_nor_leases_before_a_move_lose_an_event_of_a_sender_that_may_not_retry()
 {
    let shards = |road: Value, previous: Option<u32>| {
        let mut settings = road;
        settings["RXGATE"]["shards"] = json!(8);
        if let Some(previous) = previous {
            settings["RXGATE"]["previous_shards"] = json!(previous);
        }
        gateway_with(&settings, bindings(&[DELIVERIES]))
    };
    let mut world = warm_with(&unknown(Road::Fallback));
    world.gateway = shards(unknown(Road::Fallback), None);
    assert_eq!(world.send_event("evt_1", TYPE).summary(), ENQUEUED);
    // An event of the same entity is under way in the objects before.
    let mut world = warm_with(&unknown(Road::Fallback));
    let flight = world.begin(&body("evt_1", TYPE, EVENTS[5].2));
    let _claimed = next(&mut world, flight);
    world.gateway = shards(unknown(Road::Fallback), Some(4));
    let end = world.send_event("evt_2", TYPE);
    assert_eq!(end.summary(), ENQUEUED);
    let sent = world.take(DELIVERIES);
    // Where our queue doesn't take it either, the sender is told why.
    world.sends.push_back(Take::Fails(Fault::Before));
    assert_eq!(world.send_event("evt_2", TYPE).record.code, "in_flight");
    assert_eq!(world.attempt(&sent).record.code, "in_flight");
    world.wait(LEASE);
    assert_eq!(world.attempt(&sent).summary(), ACK_DELIVERED);
}

// ── everything at a time, with everything failing now and then ──────────────

#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    /// The platform hands over one of the messages, with so many attempts more than it had.
    Hand(usize, u16),
    /// One of those under way goes on by a step.
    Step(usize),
    /// The isolate of one of them dies, before its effect is performed or after it.
    Crash(usize, bool),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..5_usize).prop_map(Op::Send),
        4 => (0..8_usize, prop::sample::select(vec![1_u16, 1, 1, 1, 40])).prop_map(|(place, more)| Op::Hand(place, more)),
        14 => (0..8_usize).prop_map(Op::Step),
        1 => (0..8_usize, any::<bool>()).prop_map(|(place, performed)| Op::Crash(place, performed)),
        3 => prop::sample::select(vec![1_u64, 700, 2_500, 6_000, 15_000, 40_000, 3_600_000]).prop_map(Op::Wait),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        16 => Just(Ask::Replies(Duration::ZERO)),
        1 => (1..4_000_u64).prop_map(|millis| Ask::Replies(Duration::from_millis(millis))),
        1 => prop::sample::select(vec![Fault::Before, Fault::Between, Fault::After]).prop_map(Ask::Fails),
        1 => Just(Ask::Hangs),
        1 => Just(Ask::Garbled),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        4 => Just(answers(200)),
        2 => prop::sample::select(vec![301_u16, 400, 422, 429, 500, 503]).prop_map(answers),
        1 => (1..9_000_u64).prop_map(|millis| Origin::Answers(204, None, Duration::from_millis(millis))),
        1 => Just(Origin::Unreachable),
        1 => Just(Origin::Hangs),
    ]
}

fn take() -> impl Strategy<Value = Take> {
    prop_oneof![
        6 => Just(Take::Takes(Duration::ZERO)),
        1 => (1..4_000_u64).prop_map(|millis| Take::Takes(Duration::from_millis(millis))),
        1 => prop::sample::select(vec![Fault::Before, Fault::After]).prop_map(Take::Fails),
        1 => any::<bool>().prop_map(Take::Hangs),
    ]
}

fn look() -> impl Strategy<Value = Look> {
    prop_oneof![
        4 => Just(Look::Answers(Duration::ZERO)),
        1 => (1..4_000_u64).prop_map(|millis| Look::Answers(Duration::from_millis(millis))),
        1 => Just(Look::Stale(seconds(60))),
        1 => Just(Look::Fails),
        1 => Just(Look::Hangs),
    ]
}

/// A message in the platform's hands.
#[derive(Clone, Debug)]
struct Held {
    sent: Sent,
    attempts: u16,
    due: Timestamp,
    /// It is done with; a copy may be under way still.
    acknowledged: bool,
}

/// What is under way: an event of the sender's, or a message.
struct UnderWay {
    what: What,
    flight: Flight,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Event(usize),
    Message(usize),
}

/// The world, what the platform holds, and what was seen.
struct Schedule {
    world: World,
    texts: Vec<String>,
    ids: Vec<String>,
    messages: Vec<Held>,
    under_way: Vec<UnderWay>,
    acknowledged: Vec<bool>,
    /// Holders that may have delivered and weren't heard to commit, of any event.
    unsettled: usize,
}

impl Schedule {
    fn new(world: World, last_is_large: bool) -> Self {
        let mut texts: Vec<String> = (0..3)
            .map(|n| body(&format!("evt_{n}"), TYPE, EVENTS[5].2))
            .collect();
        // One that can't be delivered, and one that may be too large for a message.
        texts.push(body("evt_3", TYPE, "{}"));
        texts.push(if last_is_large {
            large("evt_4")
        } else {
            body("evt_4", TYPE, EVENTS[5].2)
        });
        let id = |n| webhook_id(&event_digest("osigu", &format!("evt_{n}")));
        Self {
            acknowledged: vec![false; texts.len()],
            ids: (0..texts.len()).map(id).collect(),
            texts,
            world,
            messages: Vec::new(),
            under_way: Vec::new(),
            unsettled: 0,
        }
    }

    /// The platform takes over what was sent to our queues.
    fn collect(&mut self) {
        let (ours, others) = self
            .world
            .queued
            .drain(..)
            .partition(|sent| sent.queue != CUSTOMERS);
        self.world.queued = others;
        for sent in ours {
            let due = sent.at.after(sent.delay);
            self.messages.push(Held {
                sent,
                attempts: 0,
                due,
                acknowledged: false,
            });
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Wait(millis) => self.world.wait(Duration::from_millis(millis)),
            Op::Send(event) => {
                let flight = self.world.begin(&self.texts[event]);
                let since = self.world.now;
                self.under_way.push(UnderWay {
                    what: What::Event(event),
                    flight,
                    since,
                });
            }
            Op::Hand(place, more) if !self.messages.is_empty() => {
                let place = place % self.messages.len();
                if self.messages[place].due <= self.world.now {
                    self.hand(place, more);
                }
            }
            Op::Crash(place, performed) if !self.under_way.is_empty() => {
                let dead = self.under_way.swap_remove(place % self.under_way.len());
                self.crash(dead, performed);
            }
            Op::Step(place) if !self.under_way.is_empty() => {
                let place = place % self.under_way.len();
                let mut one = self.under_way.swap_remove(place);
                one.flight.shorten(one.since.until(self.world.now));
                let step = self.world.step(one.flight);
                match step {
                    Step::Next(flight) => {
                        let since = self.world.now;
                        self.under_way.push(UnderWay {
                            flight,
                            since,
                            ..one
                        });
                    }
                    Step::End(end) => {
                        let What::Event(event) = one.what else {
                            panic!("{end:?}")
                        };
                        self.unsettled += usize::from(end.record.commit.is_some());
                        match end.answer.status {
                            200 => self.acknowledged[event] = true,
                            502..=504 => assert_ne!(end.record.code, "internal_error"),
                            other => panic!("{other}"),
                        }
                    }
                    Step::Settled(settled) => {
                        let What::Message(place) = one.what else {
                            panic!("{settled:?}")
                        };
                        self.unsettled += usize::from(settled.record.commit.is_some());
                        let message = &mut self.messages[place];
                        match settled.verdict {
                            Verdict::Ack => message.acknowledged = true,
                            Verdict::Retry(delay) => message.due = self.world.now.after(delay),
                        }
                    }
                }
            }
            Op::Hand(..) | Op::Crash(..) | Op::Step(_) => {}
        }
        self.collect();
    }

    fn hand(&mut self, place: usize, more: u16) {
        let message = &mut self.messages[place];
        message.attempts += more;
        let (sent, attempts) = (message.sent.clone(), message.attempts);
        // Until it is heard of again.
        message.due = self.world.now.after(seconds(30));
        let flight = self.world.begin_attempt(&sent, attempts);
        let since = self.world.now;
        self.under_way.push(UnderWay {
            what: What::Message(place),
            flight,
            since,
        });
    }

    fn crash(&mut self, mut dead: UnderWay, performed: bool) {
        self.unsettled += 1;
        dead.flight.shorten(dead.since.until(self.world.now));
        let ended = matches!(dead.flight.effect, Effect::Answer(_) | Effect::Settle(_));
        if performed && !ended {
            self.world.crash_after_performing(dead.flight);
        }
    }

    /// Everything works again; what was under way is gone. The platform hands over what is left until nothing is.
    fn drain(&mut self) {
        let dead: Vec<UnderWay> = self.under_way.drain(..).collect();
        dead.into_iter().for_each(|dead| self.crash(dead, false));
        self.world.asks.clear();
        self.world.origin.clear();
        self.world.sends.clear();
        self.world.puts.clear();
        self.world.looks.clear();
        self.collect();
        self.world.wait(MESSAGE_LEASE);
        for round in 0.. {
            assert!(
                round < 200,
                "a message that never ends: {:?}",
                self.messages
            );
            let waiting = (0..self.messages.len()).filter(|&n| !self.messages[n].acknowledged);
            let Some(place) = waiting.min_by_key(|&n| self.messages[n].due) else {
                return;
            };
            self.world.now = self.world.now.max(self.messages[place].due);
            self.hand(place, 1);
            while !self.under_way.is_empty() {
                self.run(&Op::Step(0));
            }
        }
    }

    fn delivered(&self, event: usize) -> usize {
        let taken = self.world.taken.iter();
        taken.filter(|id| **id == self.ids[event]).count()
    }

    /// Whether it is where it should be: at its origin, in the customer's queue, or with the dead letters.
    fn is_safe(&self, event: usize) -> bool {
        let id = &self.ids[event];
        let in_letters = self
            .world
            .letters()
            .iter()
            .any(|l| l.webhook_id.as_ref() == Some(id));
        let event_id = format!(r#""id":"evt_{event}""#);
        let in_queue = self.world.queued.iter().any(|sent| {
            let text = String::from_utf8_lossy(&sent.body);
            text.contains(&event_id) || text.contains(id.as_str())
        });
        self.delivered(event) > 0 || in_letters || in_queue
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_schedules_of_requests_and_messages_lose_nothing_and_deliver_nothing_twice_that_settled(
        ops in prop::collection::vec(op(), 1..120),
        asks in prop::collection::vec(ask(), 0..80),
        origin in prop::collection::vec(origin(), 0..30),
        sends in prop::collection::vec(take(), 0..20),
        puts in prop::collection::vec(take(), 0..5),
        looks in prop::collection::vec(look(), 0..5),
        road in prop::sample::select(vec![Road::Fallback, Road::Ours, Road::Customers]),
        retries in any::<bool>(),
        is_large in prop::bool::weighted(0.1),
    ) {
        let mut world = warm_with(&if retries { settings_of(road) } else { unknown(road) });
        world.asks.extend(asks);
        world.origin.extend(origin);
        world.sends.extend(sends);
        world.puts.extend(puts);
        world.looks.extend(looks);
        let mut schedule = Schedule::new(world, is_large);
        for op in &ops {
            schedule.run(op);
        }
        schedule.drain();
        for event in 0..schedule.texts.len() {
            prop_assert!(schedule.is_safe(event) || !schedule.acknowledged[event], "event {} is lost", event);
            prop_assert!(schedule.delivered(event) <= 1 + schedule.unsettled, "event {}", event);
        }
        // Whoever wasn't answered comes again.
        for event in 0..schedule.texts.len() {
            let end = schedule.world.send(&schedule.texts[event].clone());
            prop_assert_eq!(end.answer.status, 200);
            schedule.collect();
        }
        schedule.drain();
        for event in 0..schedule.texts.len() {
            prop_assert!(schedule.is_safe(event), "event {} is lost", event);
            prop_assert!(schedule.delivered(event) <= 1 + schedule.unsettled, "event {}", event);
        }
    }
}

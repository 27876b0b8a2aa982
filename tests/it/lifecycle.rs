//! One request's life, driven natively: every fault of origin and store, at every step, and what the sender is told.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rxgate::auth::RawBody;
use rxgate::config::{Config, DEAD_LETTERS};
use rxgate::effect::{Done, Effect};
use rxgate::inbound::{Inbound, Received};
use rxgate::machine::{Gateway, LAYOUT_OBJECT, LEASE, Machine};
use rxgate::outcome::Outcome;
use serde_json::{Value, json};

use crate::driver::{
    Ask, EVENTS, End, Fault, Flight, HEADER_SECRET, Limited, OUR_KEYS, Origin, SENDER_SECRET,
    START, Step, Take, World, answers, bindings, body, gateway, gateway_with, header, inbound,
    our_signature, request_name, settings, sign,
};

const TYPE: &str = "dispensing.completed";
const DELIVERED: (u16, &str, Option<u64>) = (200, "delivered", None);
const DEAD_LETTERED: (u16, &str, Option<u64>) = (200, "dead_lettered", None);
const DUPLICATE: (u16, &str, Option<u64>) = (200, "duplicate", None);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What the objects were asked, by name.
fn asked(world: &World) -> Vec<&'static str> {
    world
        .asked
        .iter()
        .map(|(_, request)| request_name(request))
        .collect()
}

fn cost(end: &End) -> (usize, usize) {
    (end.record.store_calls, end.record.rows_written)
}

/// A world whose isolate has asked for the layout already.
fn warm() -> World {
    let mut world = World::new();
    assert_eq!(
        world.send_event("evt_warm", "settlement.paid").summary(),
        DELIVERED
    );
    world.asked.clear();
    world.delivered.clear();
    world
}

/// The settings after a change from four objects to eight.
fn changed() -> Value {
    let mut changed = settings();
    changed["RXGATE"]["shards"] = json!(8);
    changed["RXGATE"]["previous_shards"] = json!(4);
    changed
}

#[track_caller]
fn next(world: &mut World, flight: Flight) -> Flight {
    match world.step(flight) {
        Step::Next(next) => next,
        Step::End(end) => panic!("ended: {:?}", end.summary()),
        Step::Settled(settled) => panic!("settled: {:?}", settled.summary()),
    }
}

/// The sender's retry, after `wait`, is delivered; and another one is a duplicate.
#[track_caller]
fn ends_well(world: &mut World, event_id: &str, wait: Duration) {
    world.wait(wait);
    assert_eq!(world.send_event(event_id, TYPE).summary(), DELIVERED);
    assert_eq!(world.send_event(event_id, TYPE).summary(), DUPLICATE);
}

#[test]
fn a_new_event_costs_two_calls_and_two_rows_and_a_duplicate_one_call_and_none() {
    let mut world = World::new();
    let first = world.send_event("evt_1", TYPE);
    assert_eq!((first.summary(), cost(&first)), (DELIVERED, (3, 2)));
    assert_eq!(asked(&world), ["layout", "claim", "commit"]);
    assert_eq!(world.asked[0].0, LAYOUT_OBJECT);
    let second = world.send_event("evt_2", TYPE);
    assert_eq!((second.summary(), cost(&second)), (DELIVERED, (2, 2)));
    let again = world.send_event("evt_2", TYPE);
    assert_eq!((again.summary(), cost(&again)), (DUPLICATE, (1, 0)));
    assert_eq!(world.delivered.len(), 2);
}

#[test]
fn the_answer_says_the_code_and_the_event_id() {
    let mut world = warm();
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(
        end.answer.body,
        r#"{"code":"delivered","event_id":"evt_1"}"#
    );
    let end = world.send(&body("evt_2", TYPE, "{}"));
    assert_eq!(
        end.answer.body,
        r#"{"code":"dead_lettered","reason":"event_invalid","event_id":"evt_2"}"#
    );
    assert_eq!(end.record.path.as_deref(), Some("data.dispensation_id"));
}

#[test]
fn an_origin_that_refuses_for_good_makes_a_dead_letter_and_the_retry_is_a_duplicate() {
    for status in [400, 410, 413, 415, 422] {
        let mut world = warm();
        world.origin.push_back(answers(status));
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(end.summary(), DEAD_LETTERED, "{status}");
        assert_eq!(
            end.answer.body,
            r#"{"code":"dead_lettered","reason":"delivery_rejected","event_id":"evt_1"}"#
        );
        assert_eq!(end.record.origin_status, Some(status));
        assert_eq!(asked(&world), ["claim", "commit"]);
        assert_eq!(world.waiting(DEAD_LETTERS), 1);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        assert_eq!((world.delivered.len(), world.taken.len()), (1, 1));
    }
}

#[test]
fn an_origin_that_fails_gives_the_event_back_and_the_retry_is_tried_at_once() {
    for status in [
        301, 302, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504,
    ] {
        let mut world = warm();
        world.origin.push_back(answers(status));
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(end.summary(), (502, "delivery_failed", None), "{status}");
        assert_eq!(asked(&world), ["claim", "release"]);
        ends_well(&mut world, "evt_1", Duration::ZERO);
    }
}

#[test]
fn a_destination_says_which_statuses_are_permanent() {
    let mut settings = settings();
    settings["DESTINATION_ORIGIN"]["permanent_statuses"] = json!([404]);
    let mut world = World::with(&settings);
    world.origin.extend([answers(404), answers(422)]);
    let codes = ["evt_1", "evt_2"].map(|id| world.send_event(id, TYPE).record.code);
    assert_eq!(codes, ["dead_lettered", "delivery_failed"]);
}

#[test]
fn an_origins_retry_after_is_passed_on_up_to_an_hour() {
    for (value, expected) in [
        ("120", Some(120)),
        ("86400", Some(3600)),
        ("Thu, 25 Jun 2026 14:22:42 GMT", Some(30)),
        ("soon", None),
        ("0", Some(1)),
    ] {
        let mut world = warm();
        world
            .origin
            .push_back(Origin::Answers(429, Some(value), Duration::ZERO));
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(end.summary(), (502, "delivery_failed", expected), "{value}");
    }
}

#[test]
fn an_origin_that_cannot_be_reached_gives_the_event_back() {
    let mut world = warm();
    world.origin.push_back(Origin::Unreachable);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(end.summary(), (502, "delivery_failed", None));
    ends_well(&mut world, "evt_1", Duration::ZERO);
    assert_eq!(world.delivered.len(), 1);
}

#[test]
fn an_origin_that_does_not_answer_keeps_the_lease_until_it_lapses() {
    let mut world = warm();
    let begun = world.now;
    world.origin.push_back(Origin::Hangs);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(end.summary(), (504, "delivery_timed_out", Some(15)));
    assert_eq!(asked(&world), ["claim"]);
    // A second of the deadline is the commit's, and one and a half are a queue's, whether there is one or not.
    assert_eq!(begun.until(world.now), Duration::from_millis(6500));
    let early = world.send_event("evt_1", TYPE);
    assert_eq!(early.summary(), (503, "in_flight", Some(9)));
    ends_well(&mut world, "evt_1", seconds(9));
    assert_eq!(world.delivered.len(), 2);
}

#[test]
fn every_attempt_has_the_same_webhook_id_and_a_higher_sequence() {
    let mut world = warm();
    world.origin.extend([answers(500), answers(503)]);
    for _ in 0..3 {
        world.send_event("evt_1", TYPE);
    }
    let ids: BTreeSet<&str> = world
        .delivered
        .iter()
        .map(|delivery| header(delivery, "webhook-id"))
        .collect();
    assert_eq!((world.delivered.len(), ids.len()), (3, 1));
    let events = world.events();
    let sequences: Vec<&str> = events
        .iter()
        .filter_map(|e| e["sequence"].as_str())
        .collect();
    assert!(
        sequences.is_sorted_by(|one, next| one < next),
        "{sequences:?}"
    );
}

#[test]
fn while_an_event_is_under_way_another_with_it_is_told_when_to_come_back() {
    let mut world = warm();
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let flight = world.begin(&text);
    let claimed = next(&mut world, flight);
    assert_eq!(world.send(&text).summary(), (503, "in_flight", Some(15)));
    world.wait(Duration::from_millis(4200));
    assert_eq!(world.send(&text).summary(), (503, "in_flight", Some(11)));
    assert_eq!(world.finish(claimed).summary(), DELIVERED);
    assert_eq!(world.send(&text).summary(), DUPLICATE);
    assert_eq!(world.delivered.len(), 1);
}

#[test]
fn a_holder_that_comes_back_after_its_lease_was_taken_over_commits_nothing() {
    let mut world = warm();
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let flight = world.begin(&text);
    let late = next(&mut world, flight);
    world.wait(LEASE);
    assert_eq!(world.send(&text).summary(), DELIVERED);
    let end = world.finish(late);
    assert_eq!(
        (end.summary(), end.record.commit),
        (DELIVERED, Some("lease_lost"))
    );
    assert_eq!(end.record.level, "error");
    assert_eq!(world.send(&text).summary(), DUPLICATE);
}

#[test]
fn a_claim_that_fails_delivers_nothing_and_the_retry_is_delivered_once() {
    for (ask, wait) in [
        (Ask::Fails(Fault::Before), Duration::ZERO),
        (Ask::Fails(Fault::After), LEASE),
        (Ask::Hangs, LEASE),
        (Ask::Garbled, LEASE),
    ] {
        let mut world = warm();
        world.asks.push_back(ask);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            end.summary(),
            (503, "store_unavailable", Some(5)),
            "{ask:?}"
        );
        assert_eq!(world.delivered.len(), 0);
        ends_well(&mut world, "evt_1", wait);
        assert_eq!(world.delivered.len(), 1);
    }
}

#[test]
fn a_claim_that_was_granted_unheard_is_in_flight_and_never_a_duplicate() {
    let mut world = warm();
    world.asks.push_back(Ask::Fails(Fault::After));
    world.send_event("evt_1", TYPE);
    assert_eq!(
        world.send_event("evt_1", TYPE).summary(),
        (503, "in_flight", Some(15))
    );
}

#[test]
fn a_layout_that_fails_is_asked_for_again() {
    for ask in [
        Ask::Fails(Fault::Before),
        Ask::Fails(Fault::After),
        Ask::Hangs,
        Ask::Garbled,
    ] {
        let mut world = World::new();
        world.asks.push_back(ask);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            end.summary(),
            (503, "store_unavailable", Some(5)),
            "{ask:?}"
        );
        ends_well(&mut world, "evt_1", Duration::ZERO);
    }
}

#[test]
fn a_commit_that_fails_once_is_tried_again() {
    for ask in [
        Ask::Fails(Fault::Before),
        Ask::Fails(Fault::After),
        Ask::Hangs,
        Ask::Garbled,
    ] {
        let mut world = warm();
        world.asks.extend([Ask::Replies(Duration::ZERO), ask]);
        let end = world.send_event("evt_1", TYPE);
        assert_eq!(
            (end.summary(), end.record.commit),
            (DELIVERED, None),
            "{ask:?}"
        );
        assert_eq!(asked(&world), ["claim", "commit", "commit"]);
        assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    }
}

#[test]
fn delivered_is_delivered_though_the_commit_fails_for_good() {
    let mut world = warm();
    let fails = Ask::Fails(Fault::Before);
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), fails, fails]);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(
        (end.summary(), end.record.commit),
        (DELIVERED, Some("commit_failed"))
    );
    assert_eq!(end.record.level, "error");
    ends_well(&mut world, "evt_1", LEASE);
    let ids: BTreeSet<&str> = world
        .delivered
        .iter()
        .map(|d| header(d, "webhook-id"))
        .collect();
    assert_eq!((world.delivered.len(), ids.len()), (2, 1));
}

#[test]
fn a_release_that_fails_is_reported_and_the_lease_lapses() {
    let mut world = warm();
    world.origin.push_back(answers(500));
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Fails(Fault::Before)]);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(end.summary(), (502, "delivery_failed", None));
    assert_eq!(end.record.release, Some("release_failed"));
    assert_eq!(world.send_event("evt_1", TYPE).record.code, "in_flight");
    ends_well(&mut world, "evt_1", LEASE);
}

#[test]
fn a_move_that_fails_delivers_nothing_and_the_retry_is_delivered_once() {
    for ask in [
        Ask::Fails(Fault::Before),
        Ask::Fails(Fault::After),
        Ask::Hangs,
        Ask::Garbled,
    ] {
        let mut world = warm();
        world.gateway = gateway(&changed());
        world.asks.extend([Ask::Replies(Duration::ZERO), ask]);
        let end = world.send_event("evt_1", TYPE);
        let unavailable = (503, "store_unavailable", Some(5));
        assert_eq!(end.summary(), unavailable, "{ask:?}");
        assert_eq!(asked(&world), ["layout", "move"]);
        ends_well(&mut world, "evt_1", Duration::ZERO);
        assert_eq!(world.delivered.len(), 1);
    }
}

#[test]
fn a_delivery_is_begun_with_half_a_second_for_it_and_what_follows_has_two_and_a_half_more() {
    for (late, delivered, timeout) in [(0, 1, 6500), (6_000, 1, 500), (6_001, 0, 0)] {
        let mut world = warm();
        let text = body("evt_1", TYPE, EVENTS[5].2);
        let signature = sign(SENDER_SECRET, world.now, &text);
        let received_at = world.now;
        world.wait(Duration::from_millis(late));
        let flight = world.begin_with(inbound(&text, &signature), received_at);
        let end = world.finish(flight);
        assert_eq!(world.delivered.len(), delivered, "{late}");
        assert_eq!(end.record.code == "delivered", delivered == 1);
        let given = world
            .delivered
            .first()
            .map_or(Duration::ZERO, |d| d.timeout);
        assert_eq!(given, Duration::from_millis(timeout));
    }
}

#[test]
fn without_time_for_it_a_delivery_is_not_begun_and_the_event_is_given_back() {
    let mut world = warm();
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let signature = sign(SENDER_SECRET, world.now, &text);
    let received_at = world.now;
    // Its body took that long to arrive.
    world.wait(Duration::from_millis(7600));
    let flight = world.begin_with(inbound(&text, &signature), received_at);
    let end = world.finish(flight);
    assert_eq!(end.summary(), (503, "store_unavailable", Some(5)));
    assert_eq!(asked(&world), ["claim", "release"]);
    assert_eq!(world.delivered.len(), 0);
    ends_well(&mut world, "evt_1", Duration::ZERO);
}

#[test]
fn all_of_it_is_within_the_deadline_however_slow_each_part() {
    let mut world = World::new();
    let slow = Ask::Replies(Duration::from_millis(2900));
    world.asks.extend([slow, slow, Ask::Hangs, Ask::Hangs]);
    world
        .origin
        .push_back(Origin::Answers(200, None, Duration::from_millis(700)));
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(end.summary(), DELIVERED);
    assert_eq!(end.record.commit, Some("commit_failed"));
    assert_eq!(end.record.level, "error");
    assert_eq!(end.record.duration_ms, 9000);
}

#[test]
fn a_crash_while_an_event_is_given_back_or_moved_loses_nothing() {
    // What the isolate is set to, what its origin does first, and its steps before the answer.
    for (settings, first, steps) in [
        (settings(), answers(500), 4),
        (settings(), Origin::Unreachable, 4),
        (settings(), Origin::Hangs, 3),
        (changed(), answers(200), 5),
        (changed(), answers(422), 6),
    ] {
        for at in 0..steps {
            for performed in [false, true] {
                let mut world = warm();
                world.gateway = gateway(&settings);
                world.origin.push_back(first);
                let mut flight = world.begin(&body("evt_1", TYPE, EVENTS[5].2));
                for _ in 0..at {
                    flight = next(&mut world, flight);
                }
                if performed {
                    world.crash_after_performing(flight);
                }
                world.gateway = gateway(&settings);
                world.origin.clear();
                world.wait(LEASE);
                let taken = at == 4 && world.taken.len() == 2;
                let dead = at == 5 && world.waiting(DEAD_LETTERS) == 1;
                let committed = performed && (taken || dead);
                let retry = world.send_event("evt_1", TYPE).summary();
                let expected = if committed { DUPLICATE } else { DELIVERED };
                assert_eq!(retry, expected, "{first:?}, step {at}, {performed}");
                assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
            }
        }
    }
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    // Layout, claim, delivery, commit; before each is performed, or after it and before the machine hears of it.
    for steps in 0..4 {
        for performed in [false, true] {
            let mut world = World::new();
            let mut flight = world.begin(&body("evt_1", TYPE, EVENTS[5].2));
            for _ in 0..steps {
                flight = next(&mut world, flight);
            }
            if performed {
                world.crash_after_performing(flight);
            }
            // The isolate is gone, and what it knew.
            world.gateway = gateway(&settings());
            world.wait(LEASE);
            let retry = world.send_event("evt_1", TYPE).summary();
            let committed = steps == 3 && performed;
            assert_eq!(retry, if committed { DUPLICATE } else { DELIVERED });
            let before_it = usize::from(steps == 3 || steps == 2 && performed);
            assert_eq!(world.delivered.len(), before_it + usize::from(!committed));
            assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
        }
    }
}

#[test]
fn another_number_of_shards_is_refused_until_it_is_said_to_be_meant() {
    let mut world = warm();
    world.send_event("evt_1", TYPE);
    let old = std::mem::replace(&mut world.gateway, {
        let mut settings = settings();
        settings["RXGATE"]["shards"] = json!(8);
        gateway(&settings)
    });
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(end.summary(), (503, "shards_changed", Some(60)));
    assert_eq!(end.record.recorded_shards, Some(4));

    world.gateway = gateway(&changed());
    world.asked.clear();
    assert_eq!(world.send_event("evt_1", TYPE).summary(), DUPLICATE);
    assert_eq!(asked(&world), ["layout", "move", "claim"]);
    assert_eq!(world.send_event("evt_2", TYPE).summary(), DELIVERED);

    // An isolate of the version before claims nothing of an entity that was moved, and asks for the layout anew.
    world.gateway = old;
    let end = world.send_event("evt_3", TYPE);
    assert_eq!(end.summary(), (503, "store_unavailable", Some(5)));
    let end = world.send_event("evt_3", TYPE);
    assert_eq!(end.summary(), (503, "shards_changed", Some(60)));
    assert_eq!(world.delivered.len(), 2);
}

#[test]
fn a_move_waits_for_the_leases_that_still_run() {
    let mut world = warm();
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let flight = world.begin(&text);
    let claimed = next(&mut world, flight);
    let old = std::mem::replace(&mut world.gateway, gateway(&changed()));
    let end = world.send_event("evt_2", TYPE);
    assert_eq!(end.summary(), (503, "in_flight", Some(15)));
    let new = std::mem::replace(&mut world.gateway, old);
    assert_eq!(world.finish(claimed).summary(), DELIVERED);
    world.gateway = new;
    assert_eq!(world.send(&text).summary(), DUPLICATE);
    ends_well(&mut world, "evt_2", Duration::ZERO);
}

#[test]
fn each_of_the_destinations_keys_signs() {
    let mut settings = settings();
    settings["DESTINATION_ORIGIN"]["keys"] = json!([
        { "id": "next", "secret": "OUR_KEY_2" }, { "id": "first", "secret": "OUR_KEY_1" },
    ]);
    let mut world = World::with(&settings);
    world.send_event("evt_1", TYPE);
    let delivery = &world.delivered[0];
    let expected = [OUR_KEYS[1], OUR_KEYS[0]].map(|key| our_signature(key, delivery));
    assert_eq!(header(delivery, "webhook-signature"), expected.join(" "));
    assert_eq!(
        header(delivery, "content-type"),
        "application/cloudevents+json"
    );
    assert_eq!(header(delivery, "authorization"), HEADER_SECRET);
}

#[test]
fn the_original_format_is_the_senders_bytes_with_the_senders_signature() {
    let mut settings = settings();
    settings["DESTINATION_ORIGIN"]["format"] = json!("original");
    let mut world = World::with(&settings);
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let signature = sign(SENDER_SECRET, world.now, &text);
    assert_eq!(world.send(&text).summary(), DELIVERED);
    let delivery = &world.delivered[0];
    assert_eq!(delivery.body, text.as_bytes());
    assert_eq!(header(delivery, "x-osigu-signature"), signature);
    assert_eq!(header(delivery, "content-type"), "application/json");
    assert_eq!(
        header(delivery, "webhook-signature"),
        our_signature(OUR_KEYS[0], delivery)
    );
}

#[test]
fn the_first_route_that_matches_decides() {
    let mut settings = settings();
    let destination = |name: &str| {
        json!({
            "url": format!("https://{name}.example/"),
            "keys": [{ "id": "ours-1", "secret": "OUR_KEY_1" }],
        })
    };
    settings["DESTINATION_BRANCH"] = destination("branch");
    settings["DESTINATION_CLAIMS"] = destination("claims");
    settings["SOURCE_OSIGU"]["routes"] = json!([
        { "types": ["rx.dispense.*"], "pharmacies": ["pharmacy-x"], "branches": ["branch_1"], "destination": "branch" },
        { "types": ["rx.dispense.*", "rx.settlement.*"], "destination": "claims" },
    ]);
    let mut world = World::with(&settings);
    for (event_type, expected) in [
        ("dispensing.completed", "branch"),
        ("dispensing.cancelled", "claims"),
        ("settlement.paid", "claims"),
        ("authorization.voided", "origin"),
    ] {
        let end = world.send_event(&format!("evt_{event_type}"), event_type);
        assert_eq!(
            end.record.destination.as_deref(),
            Some(expected),
            "{event_type}"
        );
        let url = &world.delivered.last().unwrap().url;
        assert!(
            url.starts_with(&format!("https://{expected}.example/")),
            "{url}"
        );
    }
}

#[test]
fn what_is_not_known_is_delivered_and_an_error_in_the_log() {
    let mut world = warm();
    let end = world.send(&body("evt_1", "dispensing.rescheduled", r#"{"x":1}"#));
    assert_eq!(end.summary(), DELIVERED);
    assert_eq!(
        (end.record.level, end.record.unknown),
        ("error", Some("event_type"))
    );
    assert_eq!(world.events()[0]["type"], "rx.unknown");
}

#[test]
fn no_record_carries_data_an_id_of_the_senders_or_a_secret() {
    let mark = "canary";
    let data = json!({
        "dispensation_id": "canary-dsp", "code": "canary-code", "beneficiary_id": "canary-bnf", "sponsor_slug": "canary-sponsor",
        "pharmacy": { "provider_slug": "canary-pharmacy", "branch_id": ["canary-branch"] }, "reason": "canary-reason", "canary-field": 1,
    });
    let mut world = World::new();
    world.origin.extend([
        answers(500),
        answers(410),
        Origin::Hangs,
        Origin::Unreachable,
    ]);
    let mut seen = BTreeSet::new();
    let mut look = |end: &End| {
        let line = serde_json::to_string(&end.record).unwrap();
        for secret in [mark, SENDER_SECRET, HEADER_SECRET, OUR_KEYS[0]] {
            assert!(!line.contains(secret), "{line}");
        }
        seen.insert(end.record.code);
    };
    for n in 0..6 {
        let end = world.send(&body(&format!("canary-evt-{n}"), TYPE, &data.to_string()));
        look(&end);
    }
    for (event_type, data) in [
        ("canary.Type-1", data.clone()),
        (TYPE, json!({ "dispensation_id": ["canary"] })),
        (TYPE, Value::Null),
    ] {
        let end = world.send(&body("canary-evt-x", event_type, &data.to_string()));
        look(&end);
    }
    let end = world.send(r#"{"canary":1,"canary":2}"#);
    look(&end);
    world.asks.push_back(Ask::Hangs);
    let end = world.send(&body("canary-evt-y", TYPE, &data.to_string()));
    look(&end);
    let text = body("canary-evt-z", TYPE, &data.to_string());
    let mut forged = inbound(&text, "t=1,v1=canary");
    forged.traceparent = Some("canary");
    let flight = world.begin_with(forged, world.now);
    let end = world.finish(flight);
    look(&end);
    assert_eq!(
        seen,
        BTreeSet::from([
            "dead_lettered",
            "delivered",
            "delivery_failed",
            "delivery_timed_out",
            "signature_malformed",
            "store_unavailable",
        ])
    );
}

/// How a request ends that never gets as far as a claim: altered from one that would.
fn ends(alter: impl FnOnce(&mut Inbound<'_>)) -> (u16, &'static str, Option<u64>) {
    let mut world = World::new();
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let signature = sign(SENDER_SECRET, world.now, &text);
    let mut request = inbound(&text, &signature);
    alter(&mut request);
    let flight = world.begin_with(request, world.now);
    let end = world.finish(flight);
    if end.record.code != "delivered" {
        assert_eq!(asked(&world), [""; 0]);
    }
    end.summary()
}

#[test]
fn every_outcome_is_reached_with_its_status_code_and_retry_after() {
    let to_queue = || {
        let mut settings = settings();
        settings["DESTINATION_ORIGIN"] = json!({ "queue": "CLINIC_EVENTS" });
        World::bound(&settings, &["CLINIC_EVENTS"])
    };
    let of = |setting: &str, value: Value, text: &str| {
        let mut settings = settings();
        settings["SOURCE_OSIGU"][setting] = value;
        World::with(&settings).send(text).summary()
    };
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let stale = sign(SENDER_SECRET, START.after(seconds(301)), &text);
    let first_ask = |ask| {
        let mut world = warm();
        world.asks.push_back(ask);
        world.send(&text).summary()
    };
    let origin = |origin| {
        let mut world = warm();
        world.origin.push_back(origin);
        world.send(&text).summary()
    };
    let again = |first: Origin| {
        let mut world = warm();
        world.origin.push_back(first);
        world.send(&text);
        world.send(&text).summary()
    };
    let misconfigured = {
        // Its secrets aren't there.
        let vars = settings();
        let config = Config::parse(
            vars.as_object().unwrap(),
            &Default::default(),
            bindings(&[]),
        );
        World::of(Gateway::new(config, &[7; 32]))
            .send(&text)
            .summary()
    };
    let shards_changed = {
        let mut world = warm();
        let mut eight = settings();
        eight["RXGATE"]["shards"] = json!(8);
        world.gateway = gateway(&eight);
        world.send(&text).summary()
    };
    let resumed_after_its_end = {
        let gateway = gateway(&settings());
        let mut request = inbound("", "");
        request.received = Received::PathUnknown;
        let (ended, _) = Machine::begin(&gateway, request, START, START);
        match ended.resume(&gateway, &Done::Failed, START) {
            (_, Effect::Answer(end)) => {
                let (answer, record) = *end;
                (answer.status, record.unwrap().code, answer.retry_after)
            }
            (_, other) => panic!("{other:?}"),
        }
    };
    let withheld = {
        let mut world = warm();
        world.send_event("evt_1", "authorization.voided");
        world.send_event("evt_2", "authorization.created").summary()
    };
    let table = [
        (ends(|_| {}), (200, "delivered", None)),
        (again(answers(200)), (200, "duplicate", None)),
        (again(Origin::Hangs), (503, "in_flight", Some(9))),
        (withheld, (200, "withheld", None)),
        (
            ends(|r| r.received = Received::PathUnknown),
            (404, "path_unknown", None),
        ),
        (
            ends(|r| r.source = "osigu-2"),
            (404, "source_unknown", None),
        ),
        (
            ends(|r| r.method = "GET"),
            (405, "method_not_allowed", None),
        ),
        (
            ends(|r| r.content_type = Some("text/plain")),
            (415, "content_type_unsupported", None),
        ),
        (
            ends(|r| r.received = Received::TooLarge),
            (413, "body_too_large", None),
        ),
        (
            ends(|r| r.body = RawBody::new(&[b' '; 256 * 1024 + 1])),
            (413, "body_too_large", None),
        ),
        (
            of("max_body_bytes", json!(100), &text),
            (413, "body_too_large", None),
        ),
        (
            of("max_body_bytes", json!(text.len()), &text),
            (200, "delivered", None),
        ),
        (
            ends(|r| r.received = Received::Incomplete),
            (503, "body_incomplete", Some(5)),
        ),
        (
            ends(|r| r.received = Received::Overloaded),
            (503, "overloaded", Some(1)),
        ),
        (
            ends(|r| r.signature = None),
            (401, "signature_missing", None),
        ),
        (
            ends(|r| r.signature = Some("t=1")),
            (401, "signature_malformed", None),
        ),
        (
            ends(|r| r.body = RawBody::new(b"{}")),
            (401, "signature_mismatch", None),
        ),
        (
            {
                let mut world = World::new();
                let flight = world.begin_with(inbound(&text, &stale), START);
                world.finish(flight).summary()
            },
            (401, "timestamp_out_of_tolerance", None),
        ),
        (World::new().send("[]").summary(), DEAD_LETTERED),
        (World::new().send("{}").summary(), DEAD_LETTERED),
        (of("environment", json!("production"), &text), DEAD_LETTERED),
        (of("provider_slug", json!("clinic-b"), &text), DEAD_LETTERED),
        (origin(answers(422)), DEAD_LETTERED),
        (
            {
                let mut world = warm();
                world.sends.push_back(Take::Fails(Fault::Before));
                world.send("[]").summary()
            },
            (503, "dead_letter_failed", Some(5)),
        ),
        (
            {
                let mut world = to_queue();
                world.send(&text).summary()
            },
            (200, "enqueued", None),
        ),
        (
            {
                let mut world = to_queue();
                world.sends.push_back(Take::Fails(Fault::Before));
                world.send(&text).summary()
            },
            (503, "enqueue_failed", Some(5)),
        ),
        (origin(answers(500)), (502, "delivery_failed", None)),
        (origin(Origin::Hangs), (504, "delivery_timed_out", Some(15))),
        (
            first_ask(Ask::Fails(Fault::Before)),
            (503, "store_unavailable", Some(5)),
        ),
        (shards_changed, (503, "shards_changed", Some(60))),
        (misconfigured, (503, "source_misconfigured", Some(60))),
        (resumed_after_its_end, (503, "internal_error", Some(5))),
    ];
    for (reached, expected) in table {
        assert_eq!(reached, expected);
    }
    let reached: BTreeSet<&str> = table.iter().map(|((_, code, _), _)| *code).collect();
    // What only messages end as is reached in `queue` and `letters`, a challenge in `configured`, an address in `unsigned`.
    let all = Outcome::ALL.into_iter();
    let elsewhere = [Outcome::ChallengeAnswered, Outcome::AddressNotAllowed];
    let all = all.filter(|outcome| !elsewhere.contains(outcome));
    let all = all.map(Outcome::spec);
    let all = all.filter(|spec| spec.status > 0).map(|spec| spec.code);
    assert_eq!(reached, all.collect());
}

// ── refusals and the log ──

#[test]
fn a_body_has_its_length_in_the_log_where_it_is_read() {
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let signature = sign(SENDER_SECRET, START, &text);
    let mut world = World::new();
    let mut logged = |signature| {
        let request = Inbound {
            signature,
            ..inbound(&text, "")
        };
        let flight = world.begin_with(request, START);
        world.finish(flight).record.body_bytes
    };
    assert_eq!(logged(Some(&signature)), Some(text.len()));
    // The shell doesn't read the body of a request without its signature.
    assert_eq!(logged(None), None);
}

/// A gateway with a rate limit, that logs one refusal in so many beyond it.
fn limited(sample: u16) -> World {
    let mut settings = settings();
    settings["RXGATE"]["refusal_sample"] = json!(sample);
    let mut bindings = bindings(&[]);
    bindings.rate_limit = true;
    World::of(gateway_with(&settings, bindings))
}

/// Sends something that anybody could.
fn refused(world: &mut World) -> End {
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let flight = world.begin_with(inbound(&text, "t=1,v1=00"), world.now);
    world.finish(flight)
}

#[test]
fn refusals_beyond_the_limit_are_logged_one_in_so_many_and_answered_as_ever() {
    let mut world = limited(10);
    let under = refused(&mut world);
    assert_eq!((under.logged, under.record.sampled), (true, None));
    assert_eq!(under.record.code, "signature_malformed");
    world.limits.extend([Limited::Over; 1000]);
    let mut logged = 0;
    for _ in 0..1000 {
        let end = refused(&mut world);
        assert_eq!(end.answer, under.answer);
        if end.logged {
            logged += 1;
            assert_eq!(
                (end.record.code, end.record.sampled),
                ("signature_malformed", Some(10))
            );
        }
    }
    assert!((60..150).contains(&logged), "{logged} of 1000");
    // With 1, each is.
    let mut world = limited(1);
    world.limits.extend([Limited::Over; 50]);
    assert!((0..50).all(|_| refused(&mut world).record.sampled == Some(1)));
}

#[test]
fn a_limit_that_fails_or_hangs_leaves_the_line_where_it_was() {
    for limit in [Limited::Fails, Limited::Hangs, Limited::Under] {
        let mut world = limited(10_000);
        world.limits.extend([limit; 20]);
        for _ in 0..20 {
            let end = refused(&mut world);
            assert_eq!(
                end.summary(),
                (401, "signature_malformed", None),
                "{limit:?}"
            );
            assert_eq!((end.logged, end.record.sampled), (true, None));
        }
    }
}

#[test]
fn each_source_is_counted_by_itself_and_what_is_none_by_one_name() {
    type Alter = dyn Fn(&mut Inbound<'_>);
    static OVERSIZED: [u8; 256 * 1024 + 1] = [b' '; 256 * 1024 + 1];
    let text = body("evt_1", TYPE, EVENTS[5].2);
    let counted = |alter: &Alter| {
        let mut world = limited(100);
        let mut request = inbound(&text, "t=1,v1=00");
        alter(&mut request);
        let flight = world.begin_with(request, world.now);
        let end = world.finish(flight);
        (end.record.code, world.did.join(" "))
    };
    let table: [(&str, &str, &Alter); 9] = [
        ("path_unknown", "limit /unknown", &|r| {
            r.received = Received::PathUnknown
        }),
        ("source_unknown", "limit /unknown", &|r| r.source = "nobody"),
        ("method_not_allowed", "limit osigu", &|r| r.method = "GET"),
        ("content_type_unsupported", "limit osigu", &|r| {
            r.content_type = None
        }),
        ("body_too_large", "limit osigu", &|r| {
            r.body = RawBody::new(&OVERSIZED)
        }),
        ("body_incomplete", "limit osigu", &|r| {
            r.received = Received::Incomplete
        }),
        ("signature_missing", "limit osigu", &|r| r.signature = None),
        ("signature_malformed", "limit osigu", &|_| {}),
        ("overloaded", "limit osigu", &|r| {
            r.received = Received::Overloaded
        }),
    ];
    for (code, did, alter) in table {
        assert_eq!(counted(alter), (code, did.to_owned()));
    }
}

#[test]
fn a_source_that_isnt_configured_is_counted_too() {
    let vars = settings();
    let mut bound = bindings(&[]);
    bound.rate_limit = true;
    let config = Config::parse(vars.as_object().unwrap(), &Default::default(), bound);
    let mut world = World::of(Gateway::new(config, &[7; 32]));
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(
        (end.record.code, end.logged),
        ("source_misconfigured", true)
    );
    assert_eq!(world.did, ["limit osigu"]);
    let status = end.answer.status;
    world.limits.push_back(Limited::Over);
    let end = world.send_event("evt_1", TYPE);
    assert_eq!(end.answer.status, status);
    assert!(!end.logged || end.record.sampled.is_some());
}

#[test]
fn only_the_wrong_method_is_told_the_right_one() {
    let allowed = |method: &'static str| {
        let mut world = World::new();
        let text = body("evt_1", TYPE, EVENTS[5].2);
        let signature = sign(SENDER_SECRET, world.now, &text);
        let mut request = inbound(&text, &signature);
        request.method = method;
        let flight = world.begin_with(request, world.now);
        let answer = world.finish(flight).answer;
        (answer.status, answer.allow)
    };
    assert_eq!(allowed("POST"), (200, None));
    assert_eq!(allowed("PUT"), (405, Some("POST")));
}

#[test]
fn whoever_has_the_key_is_never_counted() {
    let mut world = limited(100);
    world.origin.extend([answers(500), answers(422)]);
    for text in [
        body("evt_1", TYPE, EVENTS[5].2),
        body("evt_2", TYPE, EVENTS[5].2),
        body("evt_2", TYPE, EVENTS[5].2),
        "[]".to_owned(),
    ] {
        world.send(&text);
    }
    let text = body("evt_3", TYPE, EVENTS[5].2);
    let stale = sign(SENDER_SECRET, START.after(seconds(301)), &text);
    let flight = world.begin_with(inbound(&text, &stale), START);
    assert_eq!(
        world.finish(flight).record.code,
        "timestamp_out_of_tolerance"
    );
    assert!(
        !world.did.iter().any(|did| did.starts_with("limit")),
        "{:?}",
        world.did
    );
    // Where nothing is bound, nothing is asked, and everything is logged.
    let mut world = World::new();
    assert!(refused(&mut world).logged);
    assert!(world.did.is_empty());
}

// ── many at a time, with everything failing now and then ────────────────────

#[derive(Clone, Debug)]
enum Op {
    /// The sender sends an event.
    Send(usize),
    /// One of those under way goes on by a step.
    Step(usize),
    /// The isolate of one of them dies, before its effect is performed or after it.
    Crash(usize, bool),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Op::Send),
        12 => (0..8_usize).prop_map(Op::Step),
        1 => (0..8_usize, any::<bool>()).prop_map(|(place, performed)| Op::Crash(place, performed)),
        2 => prop::sample::select(vec![1_u64, 700, 2_500, 6_000, 15_000]).prop_map(Op::Wait),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        12 => Just(Ask::Replies(Duration::ZERO)),
        1 => (1..4_000_u64).prop_map(|millis| Ask::Replies(Duration::from_millis(millis))),
        1 => prop::sample::select(vec![Fault::Before, Fault::Between, Fault::After]).prop_map(Ask::Fails),
        1 => Just(Ask::Hangs),
        1 => Just(Ask::Garbled),
    ]
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        4 => Just(answers(200)),
        1 => prop::sample::select(vec![301_u16, 400, 422, 429, 500, 503]).prop_map(answers),
        1 => (1..9_000_u64).prop_map(|millis| Origin::Answers(204, None, Duration::from_millis(millis))),
        1 => Just(Origin::Unreachable),
        1 => Just(Origin::Hangs),
    ]
}

fn take() -> impl Strategy<Value = Take> {
    prop_oneof![
        4 => Just(Take::Takes(Duration::ZERO)),
        1 => (1..4_000_u64).prop_map(|millis| Take::Takes(Duration::from_millis(millis))),
        1 => prop::sample::select(vec![Fault::Before, Fault::After]).prop_map(Take::Fails),
        1 => any::<bool>().prop_map(Take::Hangs),
    ]
}

/// A request under way: its event, its next step, and since when.
struct UnderWay {
    event: usize,
    flight: Flight,
    since: rxgate::time::Timestamp,
}

/// What was seen of one event.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Its holders that may have delivered and were not heard to commit.
    unsettled: usize,
    acknowledged: usize,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_schedules_lose_nothing_and_acknowledge_only_what_the_origin_took(
        ops in prop::collection::vec(op(), 1..80),
        asks in prop::collection::vec(ask(), 0..60),
        origin in prop::collection::vec(origin(), 0..20),
        sends in prop::collection::vec(take(), 0..10),
        moves in any::<bool>(),
    ) {
        let mut world = warm();
        if moves {
            world.gateway = gateway(&changed());
        }
        world.taken.clear();
        world.asks.extend(asks);
        world.origin.extend(origin);
        world.sends.extend(sends);
        let texts = [0, 1, 2].map(|n| body(&format!("evt_{n}"), TYPE, EVENTS[5].2));
        let digest = |n| rxgate::entity::event_digest("osigu", &format!("evt_{n}"));
        let ids = [0, 1, 2].map(|n| rxgate::delivery::webhook_id(&digest(n)));
        let taken = |world: &World, event: usize| {
            world.taken.iter().filter(|id| **id == ids[event]).count()
        };
        // With its origin, or with its dead letters.
        let has = |world: &World, event: usize| {
            taken(world, event) > 0 || world.dead_letters().contains(&ids[event])
        };
        let mut seen = [const { Seen { unsettled: 0, acknowledged: 0 } }; 3];
        let mut under_way: Vec<UnderWay> = Vec::new();
        for op in ops {
            match op {
                Op::Send(event) => {
                    let flight = world.begin(&texts[event]);
                    under_way.push(UnderWay { event, flight, since: world.now });
                }
                Op::Wait(millis) => world.wait(Duration::from_millis(millis)),
                Op::Crash(place, performed) if !under_way.is_empty() => {
                    let mut dead = under_way.swap_remove(place % under_way.len());
                    seen[dead.event].unsettled += 1;
                    dead.flight.shorten(dead.since.until(world.now));
                    if performed {
                        world.crash_after_performing(dead.flight);
                    }
                }
                Op::Step(place) if !under_way.is_empty() => {
                    let place = place % under_way.len();
                    let mut one = under_way.swap_remove(place);
                    one.flight.shorten(one.since.until(world.now));
                    match world.step(one.flight) {
                        Step::Next(flight) => under_way.push(UnderWay { flight, since: world.now, ..one }),
                        Step::Settled(settled) => prop_assert!(false, "{:?}", settled),
                        Step::End(end) => {
                            let seen = &mut seen[one.event];
                            match end.answer.status {
                                200 => {
                                    prop_assert!(has(&world, one.event), "{:?}", end.record);
                                    seen.acknowledged += 1;
                                    seen.unsettled += usize::from(end.record.commit.is_some());
                                }
                                502..=504 => prop_assert_ne!(end.record.code, "internal_error"),
                                other => prop_assert!(false, "{}", other),
                            }
                        }
                    }
                }
                Op::Crash(..) | Op::Step(_) => {}
            }
        }
        // Whoever is still under way dies; what failed works again; the sender comes back after the lease.
        for dead in under_way {
            seen[dead.event].unsettled += 1;
        }
        world.asks.clear();
        world.origin.clear();
        world.sends.clear();
        world.wait(LEASE);
        for event in 0..3 {
            let known = seen[event].clone();
            let before = usize::from(has(&world, event));
            let end = world.send(&texts[event]).summary();
            prop_assert!(end == DELIVERED || end == DUPLICATE, "{:?}", end);
            prop_assert!(end == DELIVERED || before > 0, "a duplicate of nothing");
            // Twice only if somebody who delivered it couldn't say so.
            prop_assert!(taken(&world, event) <= 1 + known.unsettled, "{:?}", known);
            prop_assert!(known.acknowledged == 0 || before > 0);
            prop_assert_eq!(world.send(&texts[event]).summary(), DUPLICATE);
        }
    }
}

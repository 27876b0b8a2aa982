//! Callbacks that are waited for: announced, met, missed, late. The clock is moved.

use std::time::Duration;

use rxgate::config::{Config, DELIVERIES};
use rxgate::effect::{Effect, Verdict};
use rxgate::entity::{
    EntityKey, Expected, MAX_NOTICES, Notices, Request, Standing, notified, overdue,
};
use rxgate::expectation::{self, Call, Ending, Expectation};
use rxgate::inbound::Received;
use rxgate::parcel::Reason;
use serde_json::{Value, json};

use crate::driver::{
    Alarm, Ask, EXPECTATION_KEY, End, Fault, Flight, OPERATOR_KEYS, SENDER_SECRET, START, Step,
    Take, World, answers, bindings, gateway_with, inbound, request_name, secrets, set, settings,
};

const PATH: &str = "/v1/expectations/phil";
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const ACK: Verdict = Verdict::Ack;

/// One source of PHIL's callbacks.
fn vars() -> Value {
    let mut vars = settings();
    set(
        &mut vars,
        "RXGATE.operator_keys",
        json!([{ "id": "op", "secret": "OPERATOR_KEY_1" }]),
    );
    let source = json!({
        "provider": "phil-callback", "destination": "origin",
        "keys": [{ "id": "pharmacy", "secret": "OSIGU_SECRET" }],
        "expectation_keys": [{ "id": "portal", "secret": "EXPECTATION_KEY" }],
    });
    vars.as_object_mut().unwrap().remove("SOURCE_OSIGU");
    vars["SOURCE_PHIL"] = source;
    vars
}

fn world() -> World {
    World::bound(&vars(), &[DELIVERIES])
}

fn strict() -> World {
    let mut vars = vars();
    set(&mut vars, "SOURCE_PHIL.require_expectation", json!(true));
    World::bound(&vars, &[DELIVERIES])
}

trait Partner {
    fn callback(&mut self, id: &str, kind: &str) -> End;
    fn begin_callback(&mut self, id: &str, kind: &str) -> Flight;
    fn begin_callback_at(&mut self, id: &str, kind: &str, at: &str) -> Flight;
    fn asks(&mut self, method: &str, query: &str, body: Option<Value>) -> End;
    fn registers(&mut self, id: &str) -> End;
    fn state(&mut self, id: &str) -> String;
    fn types(&self) -> Vec<String>;
}

impl Partner for World {
    /// The pharmacy calls.
    fn callback(&mut self, id: &str, kind: &str) -> End {
        let flight = self.begin_callback(id, kind);
        self.finish(flight)
    }

    fn begin_callback(&mut self, id: &str, kind: &str) -> Flight {
        self.begin_callback_at(id, kind, "2026-06-25T14:22:11Z")
    }

    fn begin_callback_at(&mut self, id: &str, kind: &str, at: &str) -> Flight {
        let body = json!({
            "requestID": id,
            "metadata": { "responseType": kind, "responseID": format!("{id}-{kind}"), "responseTimestamp": at },
        })
        .to_string();
        let mut request = inbound(&body, SENDER_SECRET);
        request.source = "phil";
        self.begin_with(request, self.now)
    }

    fn asks(&mut self, method: &str, query: &str, body: Option<Value>) -> End {
        let key = format!("Bearer {EXPECTATION_KEY}");
        let body = body.map(|body| body.to_string());
        self.expect(
            method,
            &format!("{PATH}{query}"),
            Some(&key),
            body.as_deref(),
        )
    }

    fn registers(&mut self, id: &str) -> End {
        self.asks("POST", "", Some(json!({ "requestID": id })))
    }

    fn state(&mut self, id: &str) -> String {
        let end = self.asks("GET", &format!("?requestID={id}"), None);
        assert_eq!(end.summary().1, "expectation_read");
        end.json()["state"].as_str().unwrap().to_owned()
    }

    /// Of what reached the origin: the type, the mark and the state.
    fn types(&self) -> Vec<String> {
        let told = self.events().into_iter().map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (mark, state) = (text(&event["rxordering"]), text(&event["data"]["state"]));
            format!("{} {mark} {state}", text(&event["type"]))
        });
        told.collect()
    }
}

const MISSED: &str = "rx.transfer.callback_missing in_order failed";

#[test]
fn a_callback_that_comes_in_time_meets_its_expectation_and_nothing_is_told() {
    let mut world = world();
    let end = world.registers("req-1");
    assert_eq!(end.summary(), (201, "expectation_registered", None));
    assert_eq!(
        end.json(),
        json!({ "code": "expectation_registered", "state": "pending", "due_at": "2026-06-25T18:22:12.000Z" })
    );
    assert_eq!(world.state("req-1"), "pending");
    world.wait(HOUR);
    assert_eq!(world.callback("req-1", "RECEIVED").summary().1, "delivered");
    assert_eq!(
        world.state("req-1"),
        "pending",
        "the last word is waited for"
    );
    assert_eq!(
        world.callback("req-1", "CONFIRMED").summary().1,
        "delivered"
    );
    assert_eq!(world.state("req-1"), "met");
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 0);
    assert_eq!(world.state("req-1"), "met");
    assert_eq!(world.watch().record.overdue, Some(0));
}

#[test]
fn one_notice_goes_out_by_the_queue_when_none_came_and_what_comes_later_is_late() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR - Duration::from_millis(1));
    assert_eq!(world.alarms(Alarm::Rings), 0);
    world.wait(Duration::from_millis(1));
    assert_eq!(world.alarms(Alarm::Rings), 1);
    assert_eq!(world.alarms(Alarm::Rings), 0);
    assert_eq!(world.state("req-1"), "notified");
    let settled = world.consume();
    assert_eq!(settled.summary(), (ACK, "delivered"));
    assert_eq!(
        settled.record.r#type.as_deref(),
        Some("rx.transfer.callback_missing")
    );
    assert_eq!(settled.record.key_id.as_deref(), Some("portal"));
    assert_eq!(world.types(), [MISSED]);
    let event = &world.events()[0];
    assert_eq!(event["subject"], "transfer/req-1");
    assert_eq!(event["rxauth"], "token");
    assert_eq!(event["rxkeyid"], "portal");
    assert_eq!(event["data"]["requested_at"], "2026-06-25T14:22:12.000Z");
    assert_eq!(event["data"]["due_at"], "2026-06-25T18:22:12.000Z");
    world.wait(MINUTE);
    assert_eq!(
        world.callback("req-1", "CONFIRMED").summary().1,
        "delivered"
    );
    assert_eq!(world.types()[1], "rx.transfer.confirmed late confirmed");
    assert_eq!(world.state("req-1"), "notified");
}

#[test]
fn a_notice_that_a_callback_overtakes_is_not_delivered() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 1);
    let confirmed = world.callback("req-1", "CONFIRMED");
    assert_eq!(confirmed.summary().1, "delivered");
    assert_eq!(confirmed.record.ordering, Some("in_order"));
    assert_eq!(world.consume().summary(), (ACK, "callback_met"));
    // It leaves no mark.
    let failed = world.callback("req-1", "ERROR");
    assert_eq!(failed.record.ordering, Some("superseded"));
    assert_eq!(world.waiting(DELIVERIES), 0);
}

/// The origin is down, and so is the queue behind it: what came is given back.
fn is_given_back(world: &mut World, id: &str, kind: &str) {
    world.origin.extend([answers(500)]);
    world.sends.extend([Take::Fails(Fault::Before)]);
    let end = world.callback(id, kind);
    assert_eq!(
        (end.answer.status, end.record.code),
        (502, "delivery_failed")
    );
    assert_eq!(end.record.release, None);
}

#[test]
fn a_callback_that_was_given_back_meets_nothing_and_the_notice_goes_out() {
    for kind in ["CONFIRMED", "ERROR"] {
        let mut world = world();
        world.registers("req-1");
        is_given_back(&mut world, "req-1", kind);
        assert_eq!(world.state("req-1"), "pending");
        world.wait(4 * HOUR);
        assert_eq!(world.alarms(Alarm::Rings), 1);
        assert_eq!(world.consume().summary(), (ACK, "delivered"));
        assert_eq!(world.types()[1], MISSED);
        // It comes again at last.
        assert_eq!(world.callback("req-1", kind).summary().1, "delivered");
        let state = if kind == "ERROR" {
            "failed"
        } else {
            "confirmed"
        };
        let told = world.types().pop().unwrap();
        assert!(told.ends_with(&format!("late {state}")), "{told}");
    }
}

#[test]
fn a_callback_that_was_given_back_is_not_there_for_a_registration_after_it() {
    let mut world = world();
    is_given_back(&mut world, "req-1", "CONFIRMED");
    assert_eq!(
        world.registers("req-1").summary(),
        (201, "expectation_registered", None)
    );
    assert_eq!(
        world.callback("req-1", "CONFIRMED").summary().1,
        "delivered"
    );
    assert_eq!(world.registers("req-1").summary().1, "expectation_met");
}

#[test]
fn a_notice_waits_for_a_callback_that_is_being_delivered() {
    for comes_through in [true, false] {
        let mut world = world();
        world.registers("req-1");
        world.wait(4 * HOUR);
        assert_eq!(world.alarms(Alarm::Rings), 1);
        let notice = world.take(DELIVERIES);
        let mut callback = world.begin_callback("req-1", "CONFIRMED");
        while !matches!(callback.effect, Effect::Deliver(_)) {
            callback = match world.step(callback) {
                Step::Next(next) => next,
                other => panic!("{other:?}"),
            };
        }
        let waits = world.attempt_nth(&notice, 1);
        assert_eq!(waits.summary().1, "in_flight");
        if !comes_through {
            world.origin.extend([answers(500)]);
            world.sends.extend([Take::Fails(Fault::Before)]);
        }
        world.finish(callback);
        let settled = world.attempt_nth(&notice, 2).summary();
        let expected = if comes_through {
            (ACK, "callback_met")
        } else {
            (ACK, "delivered")
        };
        assert_eq!(settled, expected);
    }
}

#[test]
fn a_callback_that_waits_in_our_queue_has_come() {
    let mut world = world();
    world.registers("req-1");
    world.origin.extend([answers(500)]);
    assert_eq!(world.callback("req-1", "CONFIRMED").summary().1, "enqueued");
    assert_eq!(world.state("req-1"), "met");
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 0);
}

#[test]
fn after_the_notice_the_first_last_word_counts_and_the_next_is_superseded() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    world.consume();
    for kind in ["CONFIRMED", "ERROR", "RECEIVED"] {
        world.callback("req-1", kind);
    }
    assert_eq!(
        world.types()[1..],
        [
            "rx.transfer.confirmed late confirmed",
            "rx.transfer.failed superseded confirmed",
            "rx.transfer.received superseded confirmed",
        ]
    );
}

/// Another number of shards, while the objects before still count.
fn moved(world: &mut World) {
    let mut vars = vars();
    set(&mut vars, "RXGATE.shards", json!(3));
    set(&mut vars, "RXGATE.previous_shards", json!(4));
    world.gateway = gateway_with(&vars, bindings(&[DELIVERIES]));
}

#[test]
fn what_the_notice_overruled_stays_overruled_during_a_change_of_shards() {
    for is_moved in [false, true] {
        let mut world = world();
        world.registers("req-1");
        is_given_back(&mut world, "req-1", "CONFIRMED");
        if is_moved {
            moved(&mut world);
        }
        world.wait(4 * HOUR);
        assert_eq!(world.alarms(Alarm::Rings), 1);
        assert_eq!(world.consume().summary(), (ACK, "delivered"));
        for kind in ["RECEIVED", "ERROR", "CONFIRMED"] {
            assert_eq!(world.callback("req-1", kind).summary().1, "delivered");
        }
        assert_eq!(
            world.types()[1..],
            [
                MISSED,
                "rx.transfer.received late failed",
                "rx.transfer.failed late failed",
                "rx.transfer.confirmed superseded failed",
            ],
            "{is_moved}"
        );
    }
    let mut world = world();
    world.registers("req-1");
    is_given_back(&mut world, "req-1", "ERROR");
    moved(&mut world);
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    world.consume();
    world.callback("req-1", "CONFIRMED");
    assert_eq!(world.types()[2], "rx.transfer.confirmed late confirmed");
}

#[test]
fn the_age_of_what_was_given_back_does_not_count_after_the_notice() {
    let mut world = world();
    world.registers("req-1");
    world.origin.extend([answers(500)]);
    world.sends.extend([Take::Fails(Fault::Before)]);
    let flight = world.begin_callback_at("req-1", "ERROR", "2026-06-25T15:00:00Z");
    assert_eq!(world.finish(flight).summary().1, "delivery_failed");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    let flight = world.begin_callback_at("req-1", "CONFIRMED", "2026-06-25T14:59:59Z");
    world.finish(flight);
    assert_eq!(world.types()[2], "rx.transfer.confirmed late confirmed");
}

#[test]
fn another_announcement_of_an_earlier_request_has_a_notice_that_counts() {
    let mut world = world();
    let body = |at: &str| Some(json!({ "requestID": "req-1", "requested_at": at }));
    world.asks("POST", "", body("2026-06-25T14:00:00Z"));
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    world.consume();
    world.asks("DELETE", "?requestID=req-1", None);
    world.asks("POST", "", body("2026-06-25T13:00:00Z"));
    assert_eq!(world.alarms(Alarm::Rings), 1);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    assert_eq!(world.types(), [MISSED, MISSED]);
}

#[test]
fn a_redelivered_notice_waits_for_a_callback_that_is_being_delivered_too() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    world.origin.extend([answers(422)]);
    assert_eq!(world.consume().summary(), (ACK, "dead_lettered"));
    world.keep_letters();
    let id = world.letters()[0].id;
    let mut callback = world.begin_callback("req-1", "CONFIRMED");
    while !matches!(callback.effect, Effect::Deliver(_)) {
        callback = match world.step(callback) {
            Step::Next(next) => next,
            other => panic!("{other:?}"),
        };
    }
    world.call("POST", &format!("/v1/dead-letters/{id}/redeliver"));
    let notice = world.take(DELIVERIES);
    assert_eq!(world.attempt_nth(&notice, 1).summary().1, "in_flight");
    world.finish(callback);
    assert_eq!(world.attempt_nth(&notice, 2).summary(), (ACK, "delivered"));
    world.callback("req-1", "RECEIVED");
    // The notice that was tried first counts as given; what came after it is late, and decides.
    assert_eq!(
        world.types()[1..],
        [
            "rx.transfer.confirmed late confirmed",
            "rx.transfer.callback_missing superseded confirmed",
            "rx.transfer.received superseded confirmed",
        ]
    );
}

#[test]
fn a_letter_that_nobody_expected_and_is_no_event_any_more_is_a_dead_letter_again_when_it_is_redelivered()
 {
    let mut world = strict();
    world.callback("req-1", "CONFIRMED");
    world.keep_letters();
    let id = world.letters()[0].id;
    world.call("POST", &format!("/v1/dead-letters/{id}/redeliver"));
    let sent = world.take(DELIVERIES);
    // The source is another one now: what PHIL sends is no event of Osigu's.
    let mut vars = vars();
    vars["SOURCE_PHIL"] = json!({
        "provider": "osigu", "environment": "sandbox", "destination": "origin",
        "keys": [{ "id": "pharmacy", "secret": "OSIGU_SECRET" }],
    });
    world.gateway = gateway_with(&vars, bindings(&[DELIVERIES]));
    let settled = world.attempt_nth(&sent, 1);
    assert_eq!(settled.summary(), (ACK, "dead_lettered"));
    assert_eq!(settled.record.reason, Some("event_invalid"));
}

#[test]
fn a_callback_before_its_registration_meets_it_at_once() {
    let mut world = world();
    world.callback("req-1", "ERROR");
    let end = world.registers("req-1");
    assert_eq!(end.summary(), (200, "expectation_met", None));
    assert_eq!(end.json()["state"], "met");
    assert_eq!(world.registers("req-1").summary().1, "expectation_met");
    world.wait(5 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 0);
}

#[test]
fn registering_again_changes_nothing() {
    let mut world = world();
    world.registers("req-1");
    world.wait(HOUR);
    let again = world.registers("req-1");
    assert_eq!(again.summary(), (200, "expectation_registered", None));
    assert_eq!(again.json()["due_at"], "2026-06-25T18:22:12.000Z");
    assert_eq!(again.record.rows_written, 0);
    world.callback("req-1", "CONFIRMED");
    assert_eq!(world.registers("req-1").summary().1, "expectation_met");
}

#[test]
fn what_was_met_when_it_falls_due_is_counted_and_gets_no_notice() {
    let mut world = world();
    for id in ["req-1", "req-2", "req-3"] {
        world.registers(id);
    }
    world.callback("req-1", "CONFIRMED");
    world.callback("req-2", "ERROR");
    world.wait(4 * HOUR);
    let now = world.now;
    let due = world
        .objects
        .values()
        .map(|object| overdue(object, now).unwrap());
    let due = due.map(|due| (due.met, due.notices.len()));
    let all = due.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert_eq!(all, (2, 1));
}

#[test]
fn what_is_announced_anew_while_its_notice_is_sent_is_waited_for() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    let mut sent = Vec::new();
    for (name, object) in &world.objects {
        let notices = overdue(object, world.now).unwrap();
        if !notices.notices.is_empty() {
            sent.push((name.clone(), notices));
        }
    }
    assert_eq!(sent.len(), 1);
    assert_eq!(
        world.asks("DELETE", "?requestID=req-1", None).summary().0,
        200
    );
    assert_eq!(world.registers("req-1").summary().0, 201);
    let (name, notices) = &sent[0];
    let packed = Notices::unpack(&notices.pack()).unwrap();
    assert_eq!(packed, *notices);
    notified(&world.objects[name], &packed, world.now).unwrap();
    assert_eq!(world.state("req-1"), "pending");
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 1);
}

#[test]
fn what_was_deleted_is_waited_for_no_longer() {
    let mut world = world();
    world.registers("req-1");
    let gone = world.asks("DELETE", "?requestID=req-1", None);
    assert_eq!(gone.summary(), (200, "expectation_deleted", None));
    for method in ["DELETE", "GET"] {
        let end = world.asks(method, "?requestID=req-1", None);
        assert_eq!(end.summary(), (404, "expectation_unknown", None));
    }
    world.wait(5 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 0);
}

#[test]
fn the_time_of_the_request_counts_and_the_hours_are_a_setting() {
    let mut vars = vars();
    set(&mut vars, "SOURCE_PHIL.callback_hours", json!(1));
    let mut world = World::bound(&vars, &[DELIVERIES]);
    let body = json!({ "requestID": "17", "requested_at": "2026-06-25T13:30:00Z" });
    let end = world.asks("POST", "", Some(body));
    assert_eq!(end.json()["due_at"], "2026-06-25T14:30:00.000Z");
    world.wait(8 * MINUTE);
    assert_eq!(world.alarms(Alarm::Rings), 1);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    assert_eq!(world.events()[0]["subject"], "transfer/17");
}

#[test]
fn an_alarm_that_dies_before_or_after_the_send_is_one_delivery_in_the_end() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::DiesBefore), 0);
    assert_eq!(world.state("req-1"), "pending");
    assert_eq!(world.alarms(Alarm::DiesAfter), 1);
    assert_eq!(world.state("req-1"), "pending");
    world.wait(MINUTE);
    assert_eq!(world.alarms(Alarm::Rings), 1);
    assert_eq!(world.state("req-1"), "notified");
    assert_eq!(world.waiting(DELIVERIES), 2);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    assert_eq!(world.consume().summary(), (ACK, "duplicate"));
    assert_eq!(world.types(), [MISSED]);
}

#[test]
fn a_notice_that_the_origin_does_not_take_is_tried_again_and_never_lost() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    let sent = world.take(DELIVERIES);
    world.origin.extend([answers(500)]);
    let failed = world.attempt_nth(&sent, 1);
    assert_eq!(failed.summary().1, "delivery_failed");
    world.wait(failed.delay());
    assert_eq!(world.attempt_nth(&sent, 2).summary(), (ACK, "delivered"));
    let ids: Vec<_> = world.events().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids[0], ids[1], "the same event");
}

#[test]
fn a_notice_that_is_refused_for_good_is_a_dead_letter_and_can_be_redelivered() {
    let mut world = world();
    world.registers("req-1");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    world.origin.extend([answers(422)]);
    assert_eq!(world.consume().summary(), (ACK, "dead_lettered"));
    world.keep_letters();
    let letter = world.letters().remove(0);
    assert_eq!(letter.code, "delivery_rejected");
    assert_eq!(
        letter.r#type.as_deref(),
        Some("rx.transfer.callback_missing")
    );
    let path = format!("/v1/dead-letters/{}/redeliver", letter.id);
    world.operator = Some(format!("Bearer {}", OPERATOR_KEYS[0]));
    assert_eq!(world.call("POST", &path).summary().0, 202);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    assert_eq!(world.events()[1]["type"], "rx.transfer.callback_missing");
}

#[test]
fn a_destination_of_original_bytes_gets_the_notice_as_an_event() {
    let mut vars = vars();
    set(&mut vars, "DESTINATION_ORIGIN.format", json!("original"));
    let mut world = World::bound(&vars, &[DELIVERIES]);
    world.registers("req-1");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    assert_eq!(world.types(), [MISSED]);
    let headers = &world.delivered[0].headers;
    assert!(headers.iter().all(|(name, _)| !name.starts_with(':')));
}

#[test]
fn nobody_without_the_key_learns_or_changes_anything() {
    let mut world = world();
    let wrong = format!("Bearer {SENDER_SECRET}-0123456789-0123456789");
    let operator = format!("Bearer {}", OPERATOR_KEYS[0]);
    for key in [
        None,
        Some("Bearer x"),
        Some(wrong.as_str()),
        Some(&operator),
    ] {
        for (method, query) in [
            ("POST", ""),
            ("GET", "?requestID=a"),
            ("DELETE", "?requestID=a"),
            ("PUT", ""),
        ] {
            let body = (method == "POST").then_some(r#"{"requestID":"a"}"#);
            let end = world.expect(method, &format!("{PATH}{query}"), key, body);
            assert_eq!(end.summary(), (401, "unauthorized", None));
        }
    }
    assert!(world.asked.is_empty());
    // Each source has a key of its own.
    let mut vars = vars();
    vars["SOURCE_PHARMACY"] = vars["SOURCE_PHIL"].clone();
    let own = json!([{ "id": "other", "secret": "OPERATOR_KEY_2" }]);
    set(&mut vars, "SOURCE_PHARMACY.expectation_keys", own);
    let mut both = World::bound(&vars, &[DELIVERIES]);
    let [phil, pharmacy] = [EXPECTATION_KEY, OPERATOR_KEYS[1]].map(|key| format!("Bearer {key}"));
    let other = "/v1/expectations/pharmacy";
    for (path, key, status) in [
        (PATH, &phil, 201),
        (PATH, &pharmacy, 401),
        (other, &phil, 401),
        (other, &pharmacy, 201),
    ] {
        let end = both.expect("POST", path, Some(key), Some(r#"{"requestID":"a"}"#));
        assert_eq!(end.summary().0, status, "{path}");
    }
    let key = format!("Bearer {EXPECTATION_KEY}");
    let end = world.expect("POST", "/v1/expectations/other", Some(&key), None);
    assert_eq!(end.summary(), (404, "path_unknown", None));
    let end = world.asks("PUT", "", None);
    assert_eq!(end.summary(), (405, "method_not_allowed", None));
    assert_eq!(end.answer.allow, Some("GET, POST, DELETE"));
}

#[test]
fn what_is_wrong_with_a_call_is_said_by_the_name_of_the_field() {
    let mut world = world();
    for (body, problem) in [
        (None, "the body is missing"),
        (Some(json!([])), "the body isn't a JSON object"),
        (Some(json!({})), "requestID: is missing"),
        (
            Some(json!({ "requestID": true })),
            "requestID: isn't a string",
        ),
        (
            Some(json!({ "requestID": "" })),
            "requestID: isn't 1 to 256 printable characters",
        ),
        (
            Some(json!({ "requestID": "a".repeat(257) })),
            "requestID: isn't 1 to 256 printable characters",
        ),
        (
            Some(json!({ "requestID": "a", "x": 1 })),
            "the body has a member that isn't known: there are requestID, requested_at",
        ),
        (
            Some(json!({ "requestID": "a", "requested_at": "soon" })),
            "requested_at: isn't an RFC 3339 date-time such as 2026-11-24T09:00:00Z",
        ),
        (
            Some(json!({ "requestID": "a", "requested_at": "2026-06-25T15:00:00Z" })),
            "requested_at: is in the future",
        ),
        (
            Some(json!({ "requestID": "a", "requested_at": "2026-06-01T15:00:00Z" })),
            "requested_at: is longer ago than callbacks are remembered",
        ),
    ] {
        let end = world.asks("POST", "", body);
        assert_eq!(end.summary(), (400, "parameter_invalid", None));
        assert_eq!(end.json()["problem"], problem);
    }
    let key = format!("Bearer {EXPECTATION_KEY}");
    for (body, problem) in [
        // Another reader could wait for the other of them.
        (
            r#"{"requestID":"a","requestID":"b"}"#,
            "the body isn't a JSON object",
        ),
        (
            r#"{"requestID":"a","request\u0049D":"b"}"#,
            "the body isn't a JSON object",
        ),
        (r#"{"requestID":"a\ud800"}"#, "requestID: isn't a string"),
        (
            r#"{"requestID":"a\uffff"}"#,
            "requestID: isn't 1 to 256 printable characters",
        ),
        ("{} {}", "the body isn't a JSON object"),
    ] {
        let end = world.expect("POST", PATH, Some(&key), Some(body));
        assert_eq!(end.summary(), (400, "parameter_invalid", None), "{body}");
        assert_eq!(end.json()["problem"], problem, "{body}");
    }
    for query in ["", "?requestID=", "?id=a", "?requestID=a&requestID=b"] {
        let end = world.asks("GET", query, None);
        assert_eq!(end.summary(), (400, "parameter_invalid", None), "{query}");
    }
    assert!(world.asked.is_empty());
}

#[test]
fn a_body_that_is_not_all_here_is_said_to_be_and_asked_for_again_where_that_helps() {
    let world = world();
    let key = format!("Bearer {EXPECTATION_KEY}");
    let ends = |received: Received, authorization: &str| {
        let call = Call {
            method: "POST",
            source: "phil",
            authorization: Some(authorization),
            query: &[],
            received,
            body: None,
        };
        match Expectation::begin(&world.gateway, call, world.now).1 {
            Effect::Answer(end) => (end.0.status, end.0.body, end.0.retry_after),
            other => panic!("{other:?}"),
        }
    };
    let coded = |status, code: &str, retry| (status, format!(r#"{{"code":"{code}"}}"#), retry);
    for (received, expected) in [
        (Received::Overloaded, coded(503, "overloaded", Some(5))),
        (Received::Incomplete, coded(503, "body_incomplete", Some(5))),
        (Received::TooLarge, coded(413, "body_too_large", None)),
    ] {
        assert_eq!(ends(received, &key), expected);
        assert_eq!(ends(received, "Bearer no").0, 401);
    }
    assert!(
        ends(Received::Complete, &key)
            .1
            .contains("the body is missing")
    );
    let admits = |source: &str, authorization| {
        expectation::admits(&world.gateway, source, authorization, world.now)
    };
    assert!(admits("phil", Some(&key)));
    assert!(!admits("phil", Some("Bearer no")));
    assert!(!admits("phil", None));
    assert!(!admits("other", Some(&key)));
}

#[test]
fn an_object_that_does_not_answer_is_a_503_and_asking_again_is_the_same_registration() {
    let mut world = world();
    world
        .asks
        .extend([Ask::Replies(Duration::ZERO), Ask::Fails(Fault::After)]);
    assert_eq!(
        world.registers("req-1").summary(),
        (503, "store_unavailable", Some(5))
    );
    assert_eq!(world.registers("req-1").summary().0, 200);
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 1);
}

#[test]
fn an_unexpected_callback_is_delivered_unless_the_source_says_otherwise() {
    let mut lenient = world();
    assert_eq!(
        lenient.callback("req-1", "CONFIRMED").summary().1,
        "delivered"
    );
    assert!(!lenient.did.iter().any(|did| did == "claim if"));

    let mut world = strict();
    let refused = world.callback("req-1", "CONFIRMED");
    assert_eq!(refused.summary(), (400, "dead_lettered", None));
    let error = json!({ "type": "INVALID_INFO", "description": "could not map callback - no callback is expected for this requestID." });
    assert_eq!(refused.json()["requestID"], "req-1");
    assert_eq!(refused.json()["error"], error);
    assert!(world.delivered.is_empty());
    // The same bytes again are the same letter, and the same answer.
    let again = world.callback("req-1", "CONFIRMED");
    assert_eq!(again.summary(), (400, "duplicate", None));
    assert_eq!(again.json()["error"], error);
    world.keep_letters();
    assert_eq!(world.letters().len(), 1);
    assert_eq!(world.letters()[0].code, Reason::ExpectationUnknown.code());
    // It left no trace at its entity, and comes through once it is expected.
    assert_eq!(
        world.registers("req-1").summary().1,
        "expectation_registered"
    );
    let taken = world.callback("req-1", "CONFIRMED");
    assert_eq!(taken.summary().1, "delivered");
    assert_eq!(world.state("req-1"), "met");
    // It is delivered already. Who wants it once more has it redelivered once more.
    let id = world.letters()[0].id;
    let redeliver = format!("/v1/dead-letters/{id}/redeliver");
    assert_eq!(world.call("POST", &redeliver).summary().0, 202);
    assert_eq!(world.consume().summary(), (ACK, "duplicate"));
    assert_eq!(world.call("POST", &redeliver).summary().0, 202);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
}

#[test]
fn what_nobody_expected_and_was_redelivered_is_not_delivered_again_when_it_comes_again() {
    let mut world = strict();
    world.callback("req-1", "CONFIRMED");
    world.keep_letters();
    let id = world.letters()[0].id;
    world.call("POST", &format!("/v1/dead-letters/{id}/redeliver"));
    world.origin.extend([answers(500)]);
    let sent = world.take(DELIVERIES);
    assert_eq!(world.attempt_nth(&sent, 1).summary().1, "delivery_failed");
    assert_eq!(world.attempt_nth(&sent, 2).summary(), (ACK, "delivered"));
    assert_eq!(world.registers("req-1").summary().1, "expectation_met");
    assert_eq!(
        world.callback("req-1", "CONFIRMED").summary(),
        (200, "duplicate", None)
    );
}

#[test]
fn what_the_store_cannot_tell_of_is_asked_about_by_our_queue_before_it_goes_to_a_customers() {
    let mut vars = vars();
    set(&mut vars, "SOURCE_PHIL.require_expectation", json!(true));
    set(
        &mut vars,
        "DESTINATION_ORIGIN",
        json!({ "queue": "EVENTS" }),
    );
    for is_expected in [true, false] {
        let mut world = World::bound(&vars, &[DELIVERIES, "EVENTS"]);
        if is_expected {
            world.registers("req-1");
        }
        world.asks.extend([Ask::Fails(Fault::Before)]);
        let end = world.callback("req-1", "CONFIRMED");
        assert_eq!(end.summary(), (200, "enqueued", None));
        assert_eq!((world.waiting(DELIVERIES), world.waiting("EVENTS")), (1, 0));
        let settled = world.consume().summary();
        if is_expected {
            assert_eq!(settled, (ACK, "enqueued"));
            assert_eq!(world.waiting("EVENTS"), 1);
        } else {
            assert_eq!(settled, (ACK, "dead_lettered"));
            assert_eq!(world.waiting("EVENTS"), 0);
        }
    }
}

#[test]
fn with_require_expectation_an_unknown_type_about_an_announced_transfer_comes_through() {
    let mut world = strict();
    world.registers("req-1");
    let end = world.callback("req-1", "SOMETHING_ELSE");
    assert_eq!(end.summary().1, "delivered");
    assert_eq!(world.types(), ["rx.unknown unknown -"]);
    // It says nothing of the transfer, before its last word and after.
    assert_eq!(world.state("req-1"), "pending");
    assert_eq!(
        world.callback("req-1", "CONFIRMED").record.ordering,
        Some("in_order")
    );
    world.callback("req-1", "SOMETHING_MORE");
    assert_eq!(world.types()[2], "rx.unknown unknown -");
}

#[test]
fn with_require_expectation_a_late_callback_is_still_one_that_was_expected() {
    let mut world = strict();
    world.registers("req-1");
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    assert_eq!(world.consume().summary(), (ACK, "delivered"));
    let late = world.callback("req-1", "CONFIRMED");
    assert_eq!(late.record.ordering, Some("late"));
    assert_eq!(
        world.callback("req-1", "CONFIRMED").summary().1,
        "duplicate"
    );
}

#[test]
fn during_a_change_of_shards_an_expectation_is_found_where_it_was_registered() {
    let mut world = strict();
    for id in ["a", "b", "c"] {
        world.registers(id);
    }
    let mut vars = vars();
    set(&mut vars, "SOURCE_PHIL.require_expectation", json!(true));
    set(&mut vars, "RXGATE.shards", json!(3));
    set(&mut vars, "RXGATE.previous_shards", json!(4));
    world.gateway = gateway_with(&vars, bindings(&[DELIVERIES]));
    assert_eq!(world.state("a"), "pending");
    assert_eq!(world.registers("a").summary().0, 200);
    assert_eq!(world.callback("a", "CONFIRMED").summary().1, "delivered");
    assert_eq!(world.state("a"), "met");
    assert_eq!(world.registers("a").summary().1, "expectation_met");
    assert_eq!(
        world.callback("d", "CONFIRMED").summary().1,
        "dead_lettered"
    );
    assert_eq!(world.asks("DELETE", "?requestID=c", None).summary().0, 200);
    assert_eq!(world.registers("e").summary().0, 201);
    world.wait(4 * HOUR);
    assert_eq!(world.watch().record.overdue, Some(3));
    // The object before doesn't know that `a` was called back about: the claim does.
    assert_eq!(world.alarms(Alarm::Rings), 3);
    let mut codes: Vec<_> = (0..3).map(|_| world.consume().record.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["callback_met", "delivered", "delivered"]);
}

#[test]
fn what_a_worker_of_the_version_before_announced_again_is_deleted_with_it() {
    let mut world = world();
    // It has asked for the layout, and goes on by it.
    world.registers("other");
    let mut vars = vars();
    set(&mut vars, "RXGATE.shards", json!(3));
    set(&mut vars, "RXGATE.previous_shards", json!(4));
    let after = gateway_with(&vars, bindings(&[DELIVERIES]));
    let before = std::mem::replace(&mut world.gateway, after);
    assert_eq!(world.registers("req-1").summary().0, 201);
    let after = std::mem::replace(&mut world.gateway, before);
    world.wait(MINUTE);
    assert_eq!(world.registers("req-1").summary().0, 201);
    world.gateway = after;
    let gone = world.asks("DELETE", "?requestID=req-1", None);
    assert_eq!(gone.summary(), (200, "expectation_deleted", None));
    for method in ["DELETE", "GET"] {
        let end = world.asks(method, "?requestID=req-1", None);
        assert_eq!(end.summary(), (404, "expectation_unknown", None));
    }
    world.asks("DELETE", "?requestID=other", None);
    world.wait(5 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 0);
}

#[test]
fn what_is_announced_anew_during_a_change_of_shards_is_met_by_what_came_to_the_object_before() {
    let mut world = world();
    world.registers("req-1");
    let mut callback = world.begin_callback("req-1", "CONFIRMED");
    while !matches!(callback.effect, Effect::Deliver(_)) {
        callback = match world.step(callback) {
            Step::Next(next) => next,
            other => panic!("{other:?}"),
        };
    }
    moved(&mut world);
    let deleted = world.asks("DELETE", "?requestID=req-1", None);
    assert_eq!(deleted.summary().1, "expectation_deleted");
    assert_eq!(world.registers("req-1").summary().0, 201);
    assert_eq!(world.state("req-1"), "pending");
    assert_eq!(world.finish(callback).summary().1, "delivered");
    assert_eq!(world.state("req-1"), "met");
    assert_eq!(world.registers("req-1").summary().1, "expectation_met");
    world.wait(5 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), 1);
    assert_eq!(world.consume().record.code, "callback_met");
}

#[test]
fn the_cron_asks_every_object_and_says_how_many_are_overdue() {
    let mut world = world();
    for n in 0..10 {
        world.registers(&format!("req-{n}"));
    }
    world.asked.clear();
    let settled = world.watch();
    assert_eq!(settled.summary(), (ACK, "expectations_checked"));
    assert_eq!(world.asked.len(), 4);
    world.wait(4 * HOUR);
    let settled = world.watch();
    assert_eq!(
        (settled.record.level, settled.record.overdue),
        ("warn", Some(10))
    );
    world.asks.extend([Ask::Hangs]);
    assert_eq!(world.watch().record.code, "store_unavailable");
}

#[test]
fn notices_go_out_a_page_at_a_time() {
    let mut vars = vars();
    set(&mut vars, "RXGATE.shards", json!(1));
    let mut world = World::bound(&vars, &[DELIVERIES]);
    let many = MAX_NOTICES as usize + 5;
    for n in 0..many {
        world.registers(&format!("req-{n}"));
    }
    world.wait(4 * HOUR);
    assert_eq!(world.alarms(Alarm::Rings), many - 5);
    assert_eq!(world.alarms(Alarm::Rings), 5);
    assert_eq!(world.alarms(Alarm::Rings), 0);
}

#[test]
fn a_callback_costs_the_same_however_many_are_waited_for() {
    let cost = |pending: u32| {
        let mut vars = vars();
        set(&mut vars, "RXGATE.shards", json!(1));
        let mut world = World::bound(&vars, &[DELIVERIES]);
        world.registers("req-1");
        let object = world.objects.get("entity-v1-1-1-0").unwrap();
        for n in 0..pending {
            let key = EntityKey::of("phil", &format!("transfer/{n}"));
            let one = Expected {
                standing: Standing::Pending,
                due: START,
                kept: HOUR,
                notice: vec![0; 200],
            };
            object.expected.borrow_mut().insert(key, (START, one));
        }
        world.did.clear();
        let end = world.callback("req-1", "CONFIRMED");
        let record = end.record;
        (world.did, record.store_calls, record.rows_written)
    };
    let did = ["claim", "deliver", "commit"].map(str::to_owned).to_vec();
    assert_eq!(cost(100), (did.clone(), 2, 2));
    assert_eq!(cost(100_000), (did, 2, 2));
}

#[test]
fn no_object_name_no_log_line_and_no_answer_has_the_id() {
    let mut world = strict();
    let mut seen = Vec::new();
    let id = "canary-request-id";
    for _ in 0..2 {
        let end = world.registers(id);
        seen.push(format!(
            "{:?} {:?} {}",
            end.record, end.answer, end.answer.body
        ));
    }
    world.wait(4 * HOUR);
    world.alarms(Alarm::Rings);
    let sent = world.queued[0].body.clone();
    seen.push(String::from_utf8_lossy(&sent).into_owned());
    seen.push(format!("{:?}", world.consume()));
    for (object, request) in &world.asked {
        let bytes = String::from_utf8_lossy(&request.pack()).into_owned();
        seen.push(format!("{object} {} {bytes}", request_name(request)));
    }
    let end = world.asks("DELETE", &format!("?requestID={id}"), None);
    seen.push(format!("{:?} {}", end.record, end.answer.body));
    assert!(
        world
            .asked
            .iter()
            .any(|(_, r)| matches!(r, Request::Expect(_)))
    );
    for text in seen {
        assert!(!text.contains(id), "{text}");
    }
}

#[test]
fn each_ending_has_a_status_and_its_code_is_said() {
    for ending in Ending::ALL {
        let (status, code, level) = ending.spec();
        assert!((200..600).contains(&status) && !code.is_empty());
        assert_eq!(level.name() == "info", status < 300, "{ending:?}");
    }
}

#[test]
fn the_settings_say_what_is_wrong_with_them() {
    let faults = |change: &dyn Fn(&mut Value), queues: &[&str]| -> Vec<String> {
        let mut vars = vars();
        change(&mut vars);
        let config = Config::parse(vars.as_object().unwrap(), &secrets(), bindings(queues));
        config.faults.iter().map(ToString::to_string).collect()
    };
    let bound: &[&str] = &[DELIVERIES];
    assert_eq!(faults(&|_| {}, bound), Vec::<String>::new());
    let set_to = |name: &'static str, value: Value| {
        move |vars: &mut Value| set(vars, &format!("SOURCE_PHIL.{name}"), value.clone())
    };
    let one = |change: &dyn Fn(&mut Value), queues| faults(change, queues).join("\n");
    let accept = |vars: &mut Value| set(vars, "SOURCE_PHIL.accept_loss", json!(true));
    assert_eq!(
        one(&accept, &[]),
        "SOURCE_PHIL.expectation_keys: needs our own queue, by which the notice goes: bind one under DELIVERIES"
    );
    assert_eq!(
        one(&set_to("callback_hours", json!(0)), bound),
        "SOURCE_PHIL.callback_hours: isn't a whole number from 1 to 720"
    );
    assert_eq!(
        one(&set_to("callback_hours", json!(168)), bound),
        "SOURCE_PHIL.callback_hours: isn't shorter than dedupe_window_days: a callback would be forgotten before it is due"
    );
    assert_eq!(
        one(&set_to("dedupe", json!("kv")), bound),
        "SOURCE_PHIL.expectation_keys: needs dedupe = \"exact\": KV can't tell whether a callback came"
    );
    let key = |secret: &str| json!([{ "id": "portal", "secret": secret }]);
    let shared = |name: &str, other: &str| {
        format!(
            "SOURCE_PHIL.expectation_keys[0].secret: the secret {name} is in {other}, too: who has one of the two keys mustn't have the other"
        )
    };
    assert_eq!(
        one(
            &|vars| {
                set(vars, "SOURCE_PHIL.keys", key("OPERATOR_KEY_2"));
                set(vars, "SOURCE_PHIL.expectation_keys", key("OPERATOR_KEY_2"));
            },
            bound
        ),
        shared("OPERATOR_KEY_2", "SOURCE_PHIL.keys")
    );
    assert_eq!(
        one(&set_to("expectation_keys", key("OPERATOR_KEY_1")), bound),
        shared("OPERATOR_KEY_1", "RXGATE.operator_keys")
    );
    for (at, keys) in [
        (
            "path_tokens",
            json!([{ "id": "t", "secret": "EXPECTATION_KEY" }]),
        ),
        (
            "header",
            json!({ "name": "x-key", "keys": [{ "id": "t", "secret": "EXPECTATION_KEY" }] }),
        ),
    ] {
        let told = one(
            &|vars| {
                vars["SOURCE_OTHER"] = json!({ "provider": "evitalrx", "accept_unsigned": true, "destination": "origin" });
                vars["SOURCE_OTHER"][at] = keys.clone();
            },
            bound,
        );
        let list = if at == "header" { "header.keys" } else { at };
        assert_eq!(
            told,
            shared("EXPECTATION_KEY", &format!("SOURCE_OTHER.{list}"))
        );
    }
    for (list, secret) in [
        ("keys", "OPERATOR_KEY_2"),
        ("expectation_keys", "EXPECTATION_KEY"),
    ] {
        let told = one(
            &|vars| {
                set(vars, "SOURCE_PHIL.expectation_keys", key(secret));
                let mut other = vars["SOURCE_PHIL"].clone();
                other["expectation_keys"] = key("OPERATOR_KEY_1X");
                other[list] = key(secret);
                if list == "keys" {
                    other.as_object_mut().unwrap().remove("expectation_keys");
                }
                vars["SOURCE_OTHER"] = other;
            },
            bound,
        );
        let expected = shared(secret, &format!("SOURCE_OTHER.{list}"));
        assert!(told.lines().any(|line| line == expected), "{told}");
    }
    let short = json!([{ "id": "portal", "secret": "ORIGIN_TOKEN" }]);
    assert_eq!(
        one(&set_to("expectation_keys", short), bound),
        "SOURCE_PHIL.expectation_keys[0].secret: the secret ORIGIN_TOKEN has 19 bytes: at least 32 are needed"
    );
    assert_eq!(
        one(
            &|vars| {
                vars["SOURCE_PHIL"]
                    .as_object_mut()
                    .unwrap()
                    .remove("expectation_keys");
                set(vars, "SOURCE_PHIL.require_expectation", json!(true));
            },
            bound
        ),
        "SOURCE_PHIL.require_expectation: needs expectation_keys: without them nothing is expected"
    );
    assert_eq!(
        one(
            &|vars| {
                set(vars, "SOURCE_PHIL.provider", json!("osigu"));
                set(vars, "SOURCE_PHIL.environment", json!("sandbox"));
            },
            bound
        ),
        "SOURCE_PHIL.expectation_keys: is for provider = \"phil-callback\""
    );
}

//! The order of an entity's events: each life in every interleaving and with duplicates, against rules that are written down here a second time, in words; then through the machine.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rxgate::entity::{
    Claim, ClaimRequest, Claimant, Entity, EventHash, Life, Ordering, Progress, Row, Step,
    version_number,
};
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::driver::{START, World, body, settings};

const LEASE_OF_TESTS: std::time::Duration = std::time::Duration::from_secs(60);

/// One event of a life, as its sender sent it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sent {
    kind: &'static str,
    at: i64,
    version: u32,
}

const fn sent(kind: &'static str, at: i64) -> Sent {
    Sent {
        kind,
        at,
        version: 0,
    }
}

const fn issued(at: i64, version: u32) -> Sent {
    Sent {
        kind: "prescription.issued",
        at,
        version,
    }
}

/// The rules again: what is said of `event` after `before` was claimed.
fn rule(event: Sent, before: &[Sent]) -> Ordering {
    let has = |kind: &str| before.iter().any(|other| other.kind == kind);
    let newer = |kinds: &[&str]| {
        let of_rank = |other: &&Sent| kinds.contains(&other.kind);
        before
            .iter()
            .filter(of_rank)
            .any(|other| other.at > event.at)
    };
    let is_superseded = match event.kind {
        "authorization.created" | "authorization.rejected" => {
            has("authorization.voided")
                || newer(&["authorization.created", "authorization.rejected"])
        }
        "authorization.updated" => has("authorization.voided") || newer(&["authorization.updated"]),
        "dispensing.started" => {
            has("dispensing.completed")
                || has("dispensing.cancelled")
                || newer(&["dispensing.started"])
        }
        "dispensing.completed" | "dispensing.cancelled" => {
            newer(&["dispensing.completed", "dispensing.cancelled"])
        }
        "prescription.issued" => {
            newer(&["prescription.issued"])
                || before.iter().any(|other| other.version > event.version)
        }
        kind => newer(&[kind]),
    };
    let never = match event.kind {
        "authorization.created" | "authorization.updated" | "authorization.voided" => {
            has("authorization.rejected")
        }
        "authorization.rejected" => has("authorization.created"),
        "dispensing.completed" => has("dispensing.cancelled"),
        "dispensing.cancelled" => has("dispensing.completed"),
        _ => false,
    };
    let follows = match event.kind {
        "authorization.updated" | "authorization.voided" => Some("authorization.created"),
        "dispensing.cancelled" => Some("dispensing.started"),
        "prescription.email_delivered" => Some("prescription.issued"),
        _ => None,
    };
    if is_superseded {
        Ordering::Superseded
    } else if never {
        Ordering::OutOfSequence
    } else if follows.is_some_and(|kind| !has(kind)) {
        Ordering::Early
    } else {
        Ordering::InOrder
    }
}

fn number(life: Life, kind: &str) -> u8 {
    let mut nodes = life.nodes().iter();
    let place = nodes.position(|node| node.event_type == kind).unwrap();
    u8::try_from(place).unwrap()
}

fn place(progress: &mut Progress, life: Life, event: Sent) -> Ordering {
    let node = number(life, event.kind);
    progress.place(life, node, Timestamp(event.at), event.version)
}

/// Whole lives, as they happen.
const LIVES: [(Life, &[Sent]); 7] = [
    (
        Life::Authorization,
        &[
            sent("authorization.created", 1),
            sent("authorization.updated", 2),
            sent("authorization.updated", 3),
            sent("authorization.voided", 4),
        ],
    ),
    (
        Life::Authorization,
        &[
            sent("authorization.created", 1),
            sent("authorization.rejected", 2),
            sent("authorization.voided", 3),
        ],
    ),
    (
        Life::Dispense,
        &[
            sent("dispensing.started", 1),
            sent("dispensing.completed", 2),
        ],
    ),
    (
        Life::Dispense,
        &[
            sent("dispensing.started", 1),
            sent("dispensing.cancelled", 2),
            sent("dispensing.completed", 3),
        ],
    ),
    (
        Life::Prescription,
        &[
            issued(1, 10_000),
            sent("prescription.email_delivered", 2),
            issued(3, 10_001),
            issued(4, 20_000),
        ],
    ),
    (
        Life::Prescription,
        // A correction of an old version, sent late.
        &[issued(1, 10_000), issued(2, 20_000), issued(3, 10_001)],
    ),
    (Life::Settlement, &[sent("settlement.paid", 1)]),
];

/// Every order in which each event comes once or twice.
fn interleavings(events: &[Sent]) -> Vec<Vec<Sent>> {
    fn go(left: &mut Vec<(Sent, u8)>, so_far: &mut Vec<Sent>, all: &mut Vec<Vec<Sent>>) {
        if left.iter().all(|(_, times)| *times < 2) {
            // Each has come at least once: the rest are duplicates, which may be missing.
            all.push(so_far.clone());
        }
        for place in 0..left.len() {
            if left[place].1 > 0 {
                left[place].1 -= 1;
                so_far.push(left[place].0);
                go(left, so_far, all);
                so_far.pop();
                left[place].1 += 1;
            }
        }
    }
    let mut all = Vec::new();
    let mut left: Vec<(Sent, u8)> = events.iter().map(|event| (*event, 2)).collect();
    go(&mut left, &mut Vec::new(), &mut all);
    all
}

#[test]
fn every_interleaving_of_a_life_with_duplicates_is_told_apart_as_the_rules_have_it() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (life, events) in LIVES {
        for order in interleavings(events) {
            let mut progress = Progress::default();
            for (place_of, event) in order.iter().enumerate() {
                let before = &order[..place_of];
                let told = place(&mut progress, life, *event);
                assert_eq!(told, rule(*event, before), "{event:?} after {before:?}");
                seen.insert(told.name());
                count += 1;
            }
        }
    }
    assert!(count > 10_000, "{count}");
    let all = ["early", "in_order", "out_of_sequence", "superseded"];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn a_created_never_looks_redeemable_after_its_voided() {
    for (life, events) in LIVES.into_iter().take(1) {
        for order in interleavings(events) {
            let mut progress = Progress::default();
            let mut voided = false;
            for event in order {
                let told = place(&mut progress, life, event);
                if event.kind == "authorization.created" && voided {
                    assert_eq!(told, Ordering::Superseded);
                }
                voided |= event.kind == "authorization.voided";
            }
        }
    }
}

#[test]
fn the_versions_of_a_prescription_are_numbers() {
    let order = ["v1", "v1.1", "v1.2", "v1.10", "v2", "v2.0001", "v10"];
    let numbers = order.map(version_number);
    assert!(numbers.is_sorted() && numbers[0] > 0, "{numbers:?}");
    for other in [
        "", "1", "v", "v1.", "v.1", "v1.1.1", "v-1", "v99999", "latest",
    ] {
        assert_eq!(version_number(other), 0, "{other}");
    }
}

fn progress() -> impl Strategy<Value = (Life, Vec<Sent>)> {
    let life = prop::sample::select(LIVES.to_vec());
    life.prop_flat_map(|(life, events)| {
        let times = prop::collection::vec(0..events.len(), 0..12);
        let pick = move |places: Vec<usize>| (life, places.iter().map(|n| events[*n]).collect());
        times.prop_map(pick)
    })
}

proptest! {
    #[test]
    fn what_two_objects_knew_of_an_entity_is_known_after_a_move((life, events) in progress(), cut in 0..12_usize) {
        let cut = cut.min(events.len());
        let (mut old, mut new, mut one) = (Progress::default(), Progress::default(), Progress::default());
        for event in &events[..cut] {
            place(&mut old, life, *event);
            place(&mut one, life, *event);
        }
        new.merge(&old);
        for event in &events[cut..] {
            prop_assert_eq!(place(&mut new, life, *event), place(&mut one, life, *event));
        }
        prop_assert_eq!(new, one);
    }

    #[test]
    fn an_entity_tells_the_same_from_its_row((life, events) in progress()) {
        let mut progress = Progress::default();
        let mut pages = Vec::new();
        for (n, event) in events.iter().enumerate() {
            let rows = pages.iter().map(|(number, packed): &(u32, Vec<u8>)| Row { number: *number, packed });
            let mut entity = Entity::load(rows).unwrap();
            let request = ClaimRequest {
                event: EventHash([u8::try_from(n).unwrap(); 16]),
                claimant: Claimant::Sender,
                step: Step { life, node: number(life, event.kind), at: Timestamp(event.at), version: event.version, ..Step::default() },
                lease: LEASE_OF_TESTS,
                window: LEASE_OF_TESTS,
            };
            let expected = place(&mut progress, life, *event);
            match entity.claim(&request, START) {
                Claim::Granted { ordering, .. } => prop_assert_eq!(ordering, expected),
                other => prop_assert!(false, "{:?}", other),
            }
            pages = entity.save().into_iter().map(|page| (page.number, page.packed)).collect();
        }
    }
}

// ── through the machine ──

const CREATED: (&str, &str) = (
    "authorization.created",
    r#"{"authorization_id":"auth_1","authorization_code":"AUTH-1","beneficiary_id":"bnf_1"}"#,
);
const VOIDED: (&str, &str) = ("authorization.voided", r#"{"authorization_id":"auth_1"}"#);

fn send(world: &mut World, id: &str, (kind, data): (&str, &str)) -> (u16, &'static str) {
    let end = world.send(&body(id, kind, data));
    (end.answer.status, end.record.code)
}

fn last(world: &World) -> Value {
    serde_json::from_slice(&world.delivered.last().unwrap().body).unwrap()
}

fn delivering() -> World {
    let mut settings = settings();
    settings["SOURCE_OSIGU"]["withhold_superseded"] = json!(false);
    World::with(&settings)
}

#[test]
fn a_voided_before_its_created_is_early_and_the_created_is_withheld() {
    let mut world = World::new();
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(last(&world)["rxordering"], "early");
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "withheld"));
    assert_eq!(world.delivered.len(), 1);
    // It is remembered as such.
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "duplicate"));
    assert_eq!(world.delivered.len(), 1);
}

#[test]
fn a_superseded_created_that_is_not_withheld_says_voided_and_carries_no_code() {
    let mut world = delivering();
    send(&mut world, "evt_v", VOIDED);
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "delivered"));
    let event = last(&world);
    assert_eq!(event["rxordering"], "superseded");
    assert_eq!(event["type"], "rx.authorization.approved");
    assert_eq!(event["data"]["state"], "voided");
    assert_eq!(
        event["data"]["entity"],
        json!({ "type": "authorization", "id": "auth_1" })
    );
    assert_eq!(event["data"]["patient"]["id"], "bnf_1");
}

#[test]
fn in_order_a_created_carries_its_code() {
    let mut world = World::new();
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "delivered"));
    let event = last(&world);
    assert_eq!(event["rxordering"], "in_order");
    assert_eq!(event["data"]["entity"]["code"], "AUTH-1");
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(last(&world)["rxordering"], "in_order");
}

#[test]
fn a_cancelled_dispensation_makes_its_code_redeemable_again() {
    let mut world = World::new();
    let data = r#"{"dispensation_id":"dsp_1","code":"AUTH-1"}"#;
    send(&mut world, "evt_1", ("dispensing.started", data));
    assert_eq!(last(&world)["data"]["state"], "in_flight");
    send(&mut world, "evt_2", ("dispensing.cancelled", data));
    let event = last(&world);
    assert_eq!(
        (&event["rxordering"], &event["data"]["state"]),
        (&json!("in_order"), &json!("redeemable"))
    );
    send(&mut world, "evt_3", ("dispensing.started", data));
    let event = last(&world);
    assert_eq!(
        (&event["rxordering"], &event["data"]["state"]),
        (&json!("superseded"), &json!("redeemable"))
    );
    assert_eq!(event["data"]["entity"]["code"], "AUTH-1");
}

#[test]
fn what_has_no_life_that_is_known_is_unknown() {
    let mut world = World::new();
    send(&mut world, "evt_1", ("dispensing.rescheduled", "{}"));
    assert_eq!(last(&world)["rxordering"], "unknown");
}

//! The order of an entity's events: each life in every interleaving and with duplicates, against rules that are written down here a second time, in words; then through the machine.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rxgate::config::{DEAD_LETTERS, DELIVERIES};
use rxgate::effect::Verdict;
use rxgate::entity::{
    CALLBACK_MISSING, Claim, ClaimRequest, Claimant, Entity, EventHash, FINALLY_REJECTED, Fence,
    Life, Ordering, Placed, Progress, Receipt, Request, Row, Step, version_number,
};
use rxgate::event::State;
use rxgate::letters::LetterId;
use rxgate::machine::LEASE;
use rxgate::time::Timestamp;
use serde_json::{Value, json};

use crate::driver::{
    Ask, Fault, Origin, START, Sent as Message, World, bindings, body, gateway_with, parcel_of,
    settings,
};

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

/// A batch has one of these outcomes.
const SETTLEMENTS: [&str; 3] = [
    "settlement.paid",
    "settlement.rejected",
    "settlement.partially_accepted",
];

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
        "prescription.email_delivered" | "prescription.email_failed" => {
            newer(&["prescription.email_delivered", "prescription.email_failed"])
        }
        _ => newer(&SETTLEMENTS),
    };
    let never = match event.kind {
        "authorization.created" | "authorization.updated" | "authorization.voided" => {
            has("authorization.rejected")
        }
        "authorization.rejected" => has("authorization.created"),
        "dispensing.completed" => has("dispensing.cancelled"),
        "dispensing.cancelled" => has("dispensing.completed"),
        kind if SETTLEMENTS.contains(&kind) => {
            SETTLEMENTS.iter().any(|other| *other != kind && has(other))
        }
        _ => false,
    };
    let follows = match event.kind {
        "authorization.updated" | "authorization.voided" => Some("authorization.created"),
        "dispensing.cancelled" => Some("dispensing.started"),
        "prescription.email_delivered" | "prescription.email_failed" => Some("prescription.issued"),
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
const LIVES: [(Life, &[Sent]); 9] = [
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
    (
        Life::Prescription,
        &[
            issued(1, 10_000),
            sent("prescription.email_failed", 2),
            sent("prescription.email_delivered", 3),
        ],
    ),
    (Life::Settlement, &[sent("settlement.paid", 1)]),
    (
        Life::Settlement,
        // They exclude each other: whichever comes second is out of sequence.
        &[
            sent("settlement.paid", 1),
            sent("settlement.rejected", 2),
            sent("settlement.partially_accepted", 3),
        ],
    ),
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
fn any_two_events_of_a_life_in_a_row_are_told_apart_as_the_rules_have_it() {
    let lives = [
        Life::Authorization,
        Life::Dispense,
        Life::Prescription,
        Life::Settlement,
    ];
    for life in lives {
        for (first, second) in life
            .nodes()
            .iter()
            .flat_map(|a| life.nodes().iter().map(move |b| (a, b)))
        {
            let (first, second) = (sent(first.event_type, 1), sent(second.event_type, 1));
            let mut progress = Progress::default();
            assert_eq!(place(&mut progress, life, first), rule(first, &[]));
            let told = place(&mut progress, life, second);
            assert_eq!(told, rule(second, &[first]), "{first:?}, {second:?}");
        }
    }
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
                round: None,
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

#[test]
fn only_a_prescription_has_a_version_and_one_of_another_type_is_none() {
    let mut world = World::new();
    let mut told = |id: &str, kind: &str, data: &str| {
        let end = world.send(&body(id, kind, data));
        (end.record.ordering, end.record.notes)
    };
    let issued = "prescription.issued";
    let of_version = |version: &str| format!(r#"{{"prescription_id":"rx_1","version":{version}}}"#);
    let in_order = Some("in_order");
    assert_eq!(told("evt_1", issued, &of_version(r#""v2""#)), (in_order, 0));
    let superseded = Some("superseded");
    assert_eq!(
        told("evt_2", issued, &of_version(r#""v1.9""#)),
        (superseded, 0)
    );
    // It can't be compared: that is noted, once.
    assert_eq!(told("evt_3", issued, &of_version("1")), (in_order, 1));
    let other = r#"{"dispensation_id":"dsp_1","version":1}"#;
    assert_eq!(told("evt_4", "dispensing.started", other), (in_order, 0));
}

// ── orders: rounds ──

const DIGITIZED: &str = "digitization-completed";
const UNREADABLE: &str = "digitization-rejected";
const ASSIGNED: &str = "order-assigned";
const ACCEPTED: &str = "order-accepted";
const REJECTED: &str = "order-rejected";
const FINAL: &str = FINALLY_REJECTED;
const REASSIGNED: &str = "order-reassign";
const SHIPPED: &str = "order-shipped";
const PICKED_UP: &str = "order-picked-up";
const BROUGHT: &str = "order-delivered";
const SPLIT: &str = "order-split";

/// The rules of orders again, in words. What is said of `event` in a round in which `round` was said before.
fn order_rule(life: Life, event: &str, round: &[&str]) -> Ordering {
    let has = |kinds: &[&str]| round.iter().any(|kind| kinds.contains(kind));
    let on_its_way = has(&[SHIPPED, PICKED_UP, BROUGHT]);
    let asked = has(&[ASSIGNED, ACCEPTED, REJECTED, FINAL, REASSIGNED]) || on_its_way;
    let another_was_asked = has(&[REJECTED, FINAL, REASSIGNED]);
    match event {
        // Legal anywhere, and says nothing of what comes next.
        SPLIT => Ordering::InOrder,
        DIGITIZED if asked || has(&[UNREADABLE]) => Ordering::Superseded,
        UNREADABLE if asked => Ordering::OutOfSequence,
        // The life has ended, or gone on.
        ASSIGNED if has(&[ACCEPTED, FINAL]) || on_its_way => Ordering::Superseded,
        ACCEPTED if has(&[FINAL]) || on_its_way => Ordering::Superseded,
        SHIPPED if has(&[FINAL, PICKED_UP, BROUGHT]) => Ordering::Superseded,
        // Nobody but the patient picks it up.
        PICKED_UP if life == Life::OrderPickup => Ordering::OutOfSequence,
        PICKED_UP if has(&[FINAL, BROUGHT]) => Ordering::Superseded,
        REJECTED if has(&[FINAL]) => Ordering::Superseded,
        // The next pharmacy has answered already.
        REASSIGNED if another_was_asked && (has(&[ACCEPTED, FINAL]) || on_its_way) => {
            Ordering::Superseded
        }
        // What the patient has, nobody rejects; what is rejected for good, nobody brings.
        REJECTED | FINAL | REASSIGNED if has(&[BROUGHT]) => Ordering::OutOfSequence,
        BROUGHT if has(&[FINAL]) => Ordering::OutOfSequence,
        // What can't be read, no pharmacy gets; it may still be cancelled.
        ASSIGNED | ACCEPTED | REASSIGNED | SHIPPED | PICKED_UP | BROUGHT if has(&[UNREADABLE]) => {
            Ordering::OutOfSequence
        }
        REASSIGNED if !has(&[REJECTED]) => Ordering::Early,
        SHIPPED if !has(&[ACCEPTED]) => Ordering::Early,
        PICKED_UP if !has(&[SHIPPED]) => Ordering::Early,
        BROUGHT if !has(&[SHIPPED, PICKED_UP]) => Ordering::Early,
        _ => Ordering::InOrder,
    }
}

/// What is said of each of `events` in turn, and in which round.
fn order_rules(life: Life, events: &[&'static str]) -> Vec<(Ordering, u16)> {
    let mut round: Vec<&str> = Vec::new();
    let mut rounds = 0;
    let mut last = "";
    let mut told = Vec::new();
    for &event in events {
        let ordering = order_rule(life, event, &round);
        // Each rejection and re-assignment is counted, but for one that comes twice in a row.
        let is_another = [REJECTED, FINAL, REASSIGNED].contains(&event);
        let has_effect = matches!(ordering, Ordering::InOrder | Ordering::Early);
        if is_another && last != event {
            rounds += 1;
            // What came before counts no more, but for the rejection that a re-assignment follows; unless this is of no effect itself.
            if has_effect {
                round.retain(|kind| (event, *kind) == (REASSIGNED, REJECTED));
            }
        }
        if has_effect || !is_another {
            round.push(event);
        }
        last = event;
        told.push((ordering, rounds));
    }
    told
}

fn take(progress: &mut Progress, life: Life, event: &str) -> Placed {
    let number = life.number(event).unwrap();
    progress.take(life, number, Timestamp::default(), 0)
}

fn taken(life: Life, events: &[&'static str]) -> Vec<(Ordering, u16)> {
    let mut progress = Progress::default();
    let placed = events.iter().map(|event| take(&mut progress, life, event));
    placed
        .map(|placed| (placed.ordering, placed.round))
        .collect()
}

/// Plausible lives of orders, as they happen.
const ORDERS: [(Life, &[&str]); 9] = [
    (
        Life::OrderDelivery,
        &[DIGITIZED, ASSIGNED, ACCEPTED, SHIPPED, PICKED_UP, BROUGHT],
    ),
    (
        Life::OrderDelivery,
        &[
            ACCEPTED, REJECTED, REASSIGNED, ACCEPTED, SHIPPED, PICKED_UP, BROUGHT,
        ],
    ),
    (
        Life::OrderDelivery,
        &[ASSIGNED, REJECTED, ASSIGNED, REJECTED, ASSIGNED, FINAL],
    ),
    (Life::OrderDelivery, &[DIGITIZED, UNREADABLE, FINAL]),
    (Life::OrderDelivery, &[ACCEPTED, SHIPPED, PICKED_UP, FINAL]),
    (
        Life::OrderDelivery,
        &[ACCEPTED, REJECTED, ACCEPTED, SPLIT, SHIPPED, BROUGHT],
    ),
    (Life::OrderPickup, &[ACCEPTED, SHIPPED, BROUGHT]),
    (
        Life::OrderPickup,
        &[ACCEPTED, REJECTED, REASSIGNED, ACCEPTED, SHIPPED, BROUGHT],
    ),
    (Life::OrderPickup, &[ACCEPTED, SHIPPED, PICKED_UP, BROUGHT]),
];

/// Every order of `events`, each once.
fn permutations(events: &[&'static str]) -> Vec<Vec<&'static str>> {
    if events.is_empty() {
        return vec![Vec::new()];
    }
    (0..events.len())
        .flat_map(|first| {
            let mut rest = events.to_vec();
            let event = rest.remove(first);
            permutations(&rest).into_iter().map(move |mut order| {
                order.insert(0, event);
                order
            })
        })
        .collect()
}

#[test]
fn every_interleaving_of_an_order_is_told_apart_as_the_rules_have_it() {
    let mut seen = BTreeSet::new();
    for (life, events) in ORDERS {
        for order in permutations(events) {
            let told = taken(life, &order);
            assert_eq!(told, order_rules(life, &order), "{life:?} {order:?}");
            seen.extend(told.iter().map(|(ordering, _)| ordering.name()));
            // Each event twice in a row is told twice the same.
            let twice: Vec<&str> = order.iter().flat_map(|event| [*event; 2]).collect();
            let twice = taken(life, &twice);
            for (place, once) in told.iter().enumerate() {
                assert_eq!(
                    &twice[place * 2..place * 2 + 2],
                    [*once; 2],
                    "{life:?} {order:?}"
                );
            }
        }
    }
    let all = ["early", "in_order", "out_of_sequence", "superseded"];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn an_order_with_duplicates_at_whatever_place_is_told_apart_as_the_rules_have_it() {
    let mut count = 0;
    for (life, events) in ORDERS {
        for from in 0..events.len().saturating_sub(3) {
            let part: Vec<Sent> = events[from..from + 4]
                .iter()
                .map(|kind| sent(kind, 0))
                .collect();
            for order in interleavings(&part) {
                let order: Vec<&str> = order.iter().map(|event| event.kind).collect();
                assert_eq!(
                    taken(life, &order),
                    order_rules(life, &order),
                    "{life:?} {order:?}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 10_000, "{count}");
}

#[test]
fn the_published_sequences_are_in_order() {
    let in_order = |life, events: &[&'static str]| {
        let told = taken(life, events);
        assert!(
            told.iter()
                .all(|(ordering, _)| *ordering == Ordering::InOrder),
            "{told:?}"
        );
    };
    in_order(
        Life::OrderDelivery,
        &[DIGITIZED, ASSIGNED, ACCEPTED, SHIPPED, PICKED_UP, BROUGHT],
    );
    // Assigned and Digitization are optional.
    in_order(
        Life::OrderDelivery,
        &[ACCEPTED, SHIPPED, PICKED_UP, BROUGHT],
    );
    in_order(
        Life::OrderDelivery,
        &[
            ASSIGNED, REJECTED, REASSIGNED, ACCEPTED, SHIPPED, PICKED_UP, BROUGHT,
        ],
    );
    in_order(Life::OrderPickup, &[ACCEPTED, SHIPPED, BROUGHT]);
    in_order(Life::OrderPickup, &[REJECTED]);
    // Rejected until it is delivered, finally or not.
    for rejected in [REJECTED, FINAL] {
        for before in [
            &[][..],
            &[ACCEPTED],
            &[ACCEPTED, SHIPPED],
            &[ACCEPTED, SHIPPED, PICKED_UP],
        ] {
            in_order(Life::OrderDelivery, &[before, &[rejected]].concat());
        }
        let told = taken(Life::OrderPickup, &[ACCEPTED, SHIPPED, BROUGHT, rejected]);
        assert_eq!(told.last().unwrap().0, Ordering::OutOfSequence);
    }
    // Split at any place.
    for (life, events) in ORDERS {
        for place in 0..=events.len() {
            let mut with = events.to_vec();
            with.insert(place, SPLIT);
            assert_eq!(taken(life, &with)[place].0, Ordering::InOrder);
        }
    }
    let told = taken(Life::OrderPickup, &[ACCEPTED, SHIPPED, PICKED_UP]);
    assert_eq!(told.last().unwrap().0, Ordering::OutOfSequence);
}

#[test]
fn an_order_is_accepted_anew_after_a_rejection_and_not_after_a_final_one() {
    let told = taken(
        Life::OrderDelivery,
        &[ACCEPTED, REJECTED, ACCEPTED, REJECTED, REASSIGNED, ACCEPTED],
    );
    assert!(
        told.iter()
            .all(|(ordering, _)| *ordering == Ordering::InOrder),
        "{told:?}"
    );
    // The three acceptances are of three rounds, so they are three events.
    let rounds: Vec<u16> = told.iter().map(|(_, round)| *round).collect();
    assert_eq!(rounds, [0, 1, 1, 2, 3, 3]);
    for after in [
        DIGITIZED, ASSIGNED, ACCEPTED, REASSIGNED, SHIPPED, PICKED_UP, REJECTED,
    ] {
        let told = taken(Life::OrderDelivery, &[ACCEPTED, FINAL, after]);
        assert_eq!(told[2].0, Ordering::Superseded, "{after}");
    }
    let told = taken(Life::OrderDelivery, &[ACCEPTED, FINAL, BROUGHT]);
    assert_eq!(told[2].0, Ordering::OutOfSequence);
}

/// The state as an entity's row has to keep it.
fn states(life: Life, events: &[(&str, u8, State)]) -> Vec<State> {
    let mut progress = Progress::default();
    let mut top = (0, State::Voided);
    let mut told = Vec::new();
    for (event, rank, state) in events {
        let placed = take(&mut progress, life, event);
        progress.settle(number(life, event));
        if placed.begins {
            top = (0, top.1);
        }
        if placed.decides && *rank >= top.0 {
            top = (*rank, *state);
        }
        told.push(top.1);
    }
    told
}

#[test]
fn the_state_of_an_order_is_that_of_its_round() {
    let (assigned, accepted) = (
        (REASSIGNED, 1, State::Assigned),
        (ACCEPTED, 3, State::Accepted),
    );
    let (rejected, shipped) = ((REJECTED, 1, State::Rejected), (SHIPPED, 4, State::Shipped));
    let brought = (BROUGHT, 6, State::Delivered);
    let life = Life::OrderDelivery;
    assert_eq!(
        states(
            life,
            &[
                accepted, shipped, rejected, assigned, accepted, shipped, brought, rejected
            ]
        ),
        [
            State::Accepted,
            State::Shipped,
            State::Rejected,
            State::Assigned,
            State::Accepted,
            State::Shipped,
            State::Delivered,
            State::Delivered,
        ]
    );
    // What comes late takes nothing back.
    assert_eq!(
        states(life, &[rejected, accepted, assigned, shipped, accepted]),
        [
            State::Rejected,
            State::Accepted,
            State::Accepted,
            State::Shipped,
            State::Shipped
        ]
    );
}

#[test]
fn what_the_sequence_doesnt_have_decides_the_state_but_for_that_of_an_order() {
    let refused = [
        ("authorization.created", 1, State::Approved),
        ("authorization.rejected", 1, State::Rejected),
    ];
    assert_eq!(
        states(Life::Authorization, &refused),
        [State::Approved, State::Rejected]
    );
    let unreadable = [
        (UNREADABLE, 2, State::DigitizationRejected),
        (ACCEPTED, 3, State::Accepted),
    ];
    assert_eq!(
        states(Life::OrderDelivery, &unreadable),
        [State::DigitizationRejected; 2]
    );
}

#[test]
fn an_event_that_is_tried_again_begins_no_round_and_one_of_a_round_before_is_superseded() {
    let life = Life::OrderDelivery;
    let mut progress = Progress::default();
    let accepted = take(&mut progress, life, ACCEPTED);
    let rejected = take(&mut progress, life, REJECTED);
    let again = |progress: &Progress, event: &str, of: Placed| {
        let number = life.number(event).unwrap();
        progress.again(life, number, Timestamp::default(), 0, of.round)
    };
    assert_eq!(
        again(&progress, REJECTED, rejected).ordering,
        Ordering::InOrder
    );
    let late = again(&progress, ACCEPTED, accepted);
    assert_eq!(
        (late.ordering, late.round, late.decides),
        (Ordering::Superseded, 0, false)
    );
    let anew = take(&mut progress, life, ACCEPTED);
    assert_eq!((anew.ordering, anew.round), (Ordering::InOrder, 1));
    take(&mut progress, life, SHIPPED);
    let before = progress;
    assert_eq!(
        again(&progress, REJECTED, rejected).ordering,
        Ordering::InOrder
    );
    assert_eq!(progress, before);
    let brought = take(&mut progress, life, BROUGHT);
    assert_eq!(brought.ordering, Ordering::InOrder);
    // Which round an event is of is known before it is taken in.
    for (event, round) in [
        (ACCEPTED, 1),
        (REJECTED, 2),
        (FINAL, 2),
        (REASSIGNED, 2),
        (SPLIT, 1),
    ] {
        assert_eq!(
            progress.round_of(life, life.number(event).unwrap()),
            round,
            "{event}"
        );
    }
    assert!(life.has_rounds() && Life::OrderPickup.has_rounds());
    assert!(!Life::Authorization.has_rounds() && !Life::Transfer.has_rounds());
}

proptest! {
    #[test]
    fn whatever_comes_of_an_order_is_told_apart_as_the_rules_have_it(
        life in prop::sample::select(vec![Life::OrderDelivery, Life::OrderPickup]),
        events in prop::collection::vec(prop::sample::select(vec![DIGITIZED, UNREADABLE, ASSIGNED, ACCEPTED, REJECTED, FINAL, REASSIGNED, SHIPPED, PICKED_UP, BROUGHT, SPLIT]), 0..16),
    ) {
        prop_assert_eq!(taken(life, &events), order_rules(life, &events));
    }
}

// ── transfers ──

fn transfer_rule(event: &str, before: &[&str]) -> Ordering {
    let has = |kind: &str| before.contains(&kind);
    match event {
        "callback_missing" if has("CONFIRMED") || has("ERROR") => Ordering::Superseded,
        "callback_missing" => Ordering::InOrder,
        "RECEIVED" if has("CONFIRMED") || has("ERROR") => Ordering::Superseded,
        // The first final word counts, before the notice and after.
        "CONFIRMED" if has("ERROR") => Ordering::Superseded,
        "ERROR" if has("CONFIRMED") => Ordering::Superseded,
        // The notice was given.
        _ if has("callback_missing") => Ordering::Late,
        _ => Ordering::InOrder,
    }
}

#[test]
fn every_interleaving_of_a_transfer_is_told_apart_as_the_rules_have_it() {
    let life = Life::Transfer;
    let mut seen = BTreeSet::new();
    let all = ["RECEIVED", "CONFIRMED", "ERROR", "callback_missing"];
    for order in interleavings(&all.map(|kind| sent(kind, 0))) {
        let kinds: Vec<&str> = order.iter().map(|event| event.kind).collect();
        let mut progress = Progress::default();
        for (place, kind) in kinds.iter().enumerate() {
            let told = take(&mut progress, life, kind).ordering;
            progress.settle(number(life, kind));
            assert_eq!(
                told,
                transfer_rule(kind, &kinds[..place]),
                "{kinds:?} {place}"
            );
            seen.insert(told.name());
        }
    }
    assert_eq!(seen, BTreeSet::from(["in_order", "late", "superseded"]));
    // An older word of the same kind.
    let mut progress = Progress::default();
    let confirmed = life.number("CONFIRMED").unwrap();
    assert_eq!(
        progress.place(life, confirmed, Timestamp(2), 0),
        Ordering::InOrder
    );
    assert_eq!(
        progress.place(life, confirmed, Timestamp(1), 0),
        Ordering::Superseded
    );
}

#[test]
fn the_first_final_word_on_a_transfer_decides_and_a_late_one_ends_the_assumption() {
    let (received, confirmed) = (
        ("RECEIVED", 1, State::Received),
        ("CONFIRMED", 3, State::Confirmed),
    );
    let (failed, missing) = (
        ("ERROR", 3, State::Failed),
        (CALLBACK_MISSING, 2, State::Failed),
    );
    let told = |events: &[(&str, u8, State)]| *states(Life::Transfer, events).last().unwrap();
    assert_eq!(told(&[received, confirmed, failed]), State::Confirmed);
    assert_eq!(told(&[failed, confirmed]), State::Failed);
    assert_eq!(told(&[received, missing]), State::Failed);
    assert_eq!(told(&[missing, received]), State::Failed);
    assert_eq!(told(&[missing, confirmed]), State::Confirmed);
    assert_eq!(told(&[missing, confirmed, failed]), State::Confirmed);
    assert_eq!(told(&[missing, failed, confirmed]), State::Failed);
    assert_eq!(told(&[missing, confirmed, received]), State::Confirmed);
}

#[test]
fn a_last_word_that_was_given_back_does_not_count_for_the_notice_nor_after_it() {
    let life = Life::Transfer;
    for word in ["CONFIRMED", "ERROR"] {
        let mut progress = Progress::default();
        take(&mut progress, life, word);
        let missing = number(life, CALLBACK_MISSING);
        assert!(!progress.has_ended(life, missing), "{word}");
        let notice = take(&mut progress, life, CALLBACK_MISSING);
        assert_eq!(notice.ordering, Ordering::InOrder, "{word}");
        assert!(notice.begins && notice.decides, "{word}");
        progress.settle(missing);
        for after in ["CONFIRMED", "ERROR", "RECEIVED"] {
            let mut progress = progress;
            let late = take(&mut progress, life, after);
            assert_eq!(late.ordering, Ordering::Late, "{word} {after}");
        }
        // Handed over after all: the first last word it is.
        progress.settle(number(life, word));
        assert!(progress.has_ended(life, missing), "{word}");
        let other = if word == "ERROR" {
            "CONFIRMED"
        } else {
            "ERROR"
        };
        let second = take(&mut progress, life, other);
        assert_eq!(second.ordering, Ordering::Superseded, "{word}");
        assert_eq!(
            take(&mut progress, life, CALLBACK_MISSING).ordering,
            Ordering::Superseded,
            "{word}"
        );
    }
}

#[test]
fn the_notice_overrules_last_words_and_not_what_came_of_a_receipt() {
    let life = Life::Transfer;
    let mut progress = Progress::default();
    let mut received = |at| {
        let told = progress.place(life, number(life, "RECEIVED"), Timestamp(at), 0);
        if at == 9 {
            let missing = number(life, CALLBACK_MISSING);
            let notice = progress.take(life, missing, Timestamp(10), 0);
            assert!(notice.overrules);
        }
        told
    };
    assert_eq!(received(9), Ordering::InOrder);
    assert_eq!(received(5), Ordering::Superseded);
    assert_eq!(received(10), Ordering::Late);
}

#[test]
fn an_entity_that_is_handed_over_again_keeps_what_came_since() {
    let life = Life::Authorization;
    let mut before = Progress::default();
    let created = sent("authorization.created", 1);
    place(&mut before, life, created);
    let mut progress = Progress::default();
    progress.merge(&before);
    place(&mut progress, life, sent("authorization.voided", 2));
    progress.merge(&before);
    assert_eq!(place(&mut progress, life, created), Ordering::Superseded);

    let life = Life::OrderDelivery;
    let mut before = Progress::default();
    take(&mut before, life, "order-rejected");
    let mut progress = Progress::default();
    progress.merge(&before);
    take(&mut progress, life, "order-accepted");
    progress.merge(&before);
    let rejected = number(life, "order-rejected");
    assert_eq!(progress.round_of(life, rejected), 2);
    // Of a round before nothing is taken over, and nothing of this one is lost.
    take(&mut progress, life, "order-rejected");
    take(&mut progress, life, "order-accepted");
    progress.merge(&before);
    let shipped = take(&mut progress, life, "order-shipped");
    assert_eq!((shipped.ordering, shipped.round), (Ordering::InOrder, 2));
}

#[test]
fn after_our_notice_only_what_another_object_handed_over_is_taken_over() {
    let life = Life::Transfer;
    let missing = number(life, CALLBACK_MISSING);
    let mut before = Progress::default();
    take(&mut before, life, "CONFIRMED");
    let mut progress = Progress::default();
    take(&mut progress, life, CALLBACK_MISSING);
    progress.merge_settled(&before);
    assert!(!progress.has_ended(life, missing));
    before.settle(number(life, "CONFIRMED"));
    progress.merge_settled(&before);
    assert!(progress.has_ended(life, missing));
    let again = take(&mut progress, life, "CONFIRMED");
    assert_eq!(again.ordering, Ordering::Late);
    let other = take(&mut progress, life, "ERROR");
    assert_eq!(other.ordering, Ordering::Superseded);
}

#[test]
fn what_another_object_handed_over_is_handed_over() {
    let life = Life::Transfer;
    let mut theirs = Progress::default();
    take(&mut theirs, life, "CONFIRMED");
    theirs.settle(number(life, "CONFIRMED"));
    let mut ours = Progress::default();
    ours.merge(&theirs);
    assert!(ours.has_ended(life, number(life, CALLBACK_MISSING)));
}

// ── rows from before there was an order ──

/// A row as version 1 wrote it: a voided authorization, one event that was delivered and one that is leased.
fn version_1() -> Vec<u8> {
    let mut row = vec![1, 0];
    row.extend(1_782_397_332_005_u64.to_be_bytes());
    row.extend([3, 3]);
    row.extend(1_782_397_331_780_i64.to_be_bytes());
    row.extend(1_783_002_132_000_i64.to_be_bytes());
    row.extend([0, 0, 0, 0]);
    row.extend([0, 2]);
    row.extend([0xAA; 16]);
    row.push(1);
    row.extend(1_782_397_332_004_u64.to_be_bytes());
    row.extend(1_783_002_132_000_i64.to_be_bytes());
    row.extend([0xBB; 16]);
    row.push(0);
    row.extend(1_782_397_332_005_u64.to_be_bytes());
    row.extend(1_782_397_347_000_i64.to_be_bytes());
    row
}

fn claim_of(event: u8, kind: &str) -> ClaimRequest {
    ClaimRequest {
        event: EventHash([event; 16]),
        round: None,
        claimant: Claimant::Sender,
        step: Step {
            life: Life::Authorization,
            node: number(Life::Authorization, kind),
            at: START,
            ..Step::default()
        },
        lease: LEASE_OF_TESTS,
        window: LEASE_OF_TESTS,
    }
}

#[test]
fn a_row_of_version_1_is_read_and_written_as_version_3() {
    let packed = version_1();
    assert_eq!(packed.len(), 44 - 10 + 2 * 33);
    let row = Row {
        number: 0,
        packed: &packed,
    };
    let mut entity = Entity::load([row]).unwrap();
    // Who was remembered is remembered, and who holds a lease holds it.
    let duplicate = entity.claim(&claim_of(0xAA, "authorization.created"), START);
    assert!(
        matches!(
            duplicate,
            Claim::Duplicate {
                receipt: Receipt::Delivered,
                ..
            }
        ),
        "{duplicate:?}"
    );
    let in_flight = entity.claim(&claim_of(0xBB, "authorization.created"), START);
    assert!(matches!(in_flight, Claim::InFlight { .. }), "{in_flight:?}");
    // The number goes on, and the state is what it was; of the order nothing is known yet.
    let granted = entity.claim(&claim_of(0xCC, "authorization.voided"), START);
    let expected = Claim::Granted {
        fence: Fence(1_782_397_332_006),
        event: EventHash([0xCC; 16]),
        round: 0,
        state: 3,
        ordering: Ordering::Early,
    };
    assert_eq!(granted, expected);
    let pages = entity.save();
    assert_eq!(pages[0].packed[0], 3);
    let row = Row {
        number: 0,
        packed: &pages[0].packed,
    };
    let mut entity = Entity::load([row]).unwrap();
    match entity.claim(&claim_of(0xDD, "authorization.created"), START) {
        Claim::Granted { ordering, .. } => assert_eq!(ordering, Ordering::Superseded),
        other => panic!("{other:?}"),
    }
}

/// A row as version 2 wrote it: a transfer that was confirmed, one event that was delivered and one that is leased.
fn version_2() -> Vec<u8> {
    let mut row = vec![2, 0];
    row.extend(1_782_397_332_005_u64.to_be_bytes());
    row.extend([3, 5]);
    row.extend(1_782_397_331_780_i64.to_be_bytes());
    row.extend([0, 2, 0, 0, 0, 0, 0, 0, 2]);
    (0..4).for_each(|_| row.extend(0_i64.to_be_bytes()));
    row.extend(1_783_002_132_000_i64.to_be_bytes());
    row.extend([0, 0, 0, 0]);
    row.extend(&version_1()[version_1().len() - 68..]);
    row
}

#[test]
fn a_row_of_version_2_is_read_and_what_it_has_seen_was_handed_over() {
    let packed = version_2();
    let read = |packed: &[u8]| Entity::load([Row { number: 0, packed }]);
    let mut entity = read(&packed).unwrap();
    let missing = number(Life::Transfer, CALLBACK_MISSING);
    assert!(entity.has_ended(Life::Transfer, missing));
    // Of a lease it doesn't say what for.
    assert_eq!(entity.may_end(Life::Transfer, missing, START), None);
    let in_flight = entity.claim(&claim_of(0xBB, "authorization.created"), START);
    assert!(matches!(in_flight, Claim::InFlight { .. }), "{in_flight:?}");
    let pages = entity.save();
    assert_eq!(pages[0].packed[0], 3);
    assert_eq!(read(&pages[0].packed).unwrap(), entity);
    for len in 0..packed.len() {
        assert!(read(&packed[..len]).is_err(), "{len}");
    }
    assert!(read(&[packed.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_row_of_version_1_that_is_cut_short_or_too_long_is_refused() {
    let whole = version_1();
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    for packed in cut.chain([[whole.as_slice(), &[0]].concat()]) {
        let row = Row {
            number: 0,
            packed: &packed,
        };
        assert!(Entity::load([row]).is_err(), "{}", packed.len());
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

/// The usual settings with our own queue and an operator.
fn operated() -> World {
    let mut settings = settings();
    settings["RXGATE"]["operator_keys"] = json!([{ "id": "ana", "secret": "OPERATOR_KEY_1" }]);
    World::bound(&settings, &[DELIVERIES])
}

/// A created that is withheld, and its message to the dead letters.
#[track_caller]
fn withheld(world: &mut World) -> Message {
    assert_eq!(send(world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(send(world, "evt_c", CREATED), (200, "withheld"));
    let sent = world.queued.last().unwrap().clone();
    assert_eq!(sent.queue, DEAD_LETTERS);
    sent
}

#[test]
fn a_withheld_event_is_a_letter_and_is_told_as_such() {
    let mut world = operated();
    send(&mut world, "evt_v", VOIDED);
    let end = world.send(&body("evt_c", CREATED.0, CREATED.1));
    assert_eq!(end.answer.status, 200);
    assert_eq!(
        end.json(),
        json!({ "code": "withheld", "reason": "withheld_superseded", "event_id": "evt_c" })
    );
    let record = &end.record;
    assert_eq!(
        (record.level, record.reason, record.ordering),
        ("warn", Some("withheld_superseded"), Some("superseded"))
    );
    assert_eq!(record.destination, None);
    let commit = world.asked.last().unwrap().1.clone();
    assert!(
        matches!(
            commit,
            Request::Commit {
                receipt: Receipt::Withheld,
                ..
            }
        ),
        "{commit:?}"
    );
    world.keep_letters();
    let letter = world.letters()[0].clone();
    assert_eq!(letter.code, "withheld_superseded");
    assert_eq!(letter.r#type.as_deref(), Some("rx.authorization.approved"));
}

#[test]
fn each_way_an_event_stands_is_in_its_line_of_the_log() {
    let mut world = World::new();
    let mut ordering = |id: &str, (kind, data): (&str, &str)| {
        let end = world.send(&body(id, kind, data));
        let event = world.delivered.last().unwrap();
        let event: Value = serde_json::from_slice(&event.body).unwrap();
        let ordering = end.record.ordering.unwrap();
        if end.record.code == "delivered" {
            assert_eq!(event["rxordering"], ordering);
        }
        ordering
    };
    let rejected = (
        "authorization.rejected",
        r#"{"authorization_request_id":"areq_1"}"#,
    );
    let updated = ("authorization.updated", VOIDED.1);
    assert_eq!(ordering("evt_1", updated), "early");
    assert_eq!(ordering("evt_2", CREATED), "in_order");
    assert_eq!(ordering("evt_3", VOIDED), "in_order");
    assert_eq!(ordering("evt_4", updated), "superseded");
    assert_eq!(ordering("evt_5", ("dispensing.moved", "{}")), "unknown");
    let paid = ("settlement.paid", r#"{"settlement_id":"stl_1"}"#);
    let refused = ("settlement.rejected", paid.1);
    assert_eq!(ordering("evt_6", paid), "in_order");
    assert_eq!(ordering("evt_7", refused), "out_of_sequence");
    // A denied request has no authorization yet: it is an entity of its own.
    assert_eq!(ordering("evt_8", rejected), "in_order");
}

#[test]
fn a_created_that_hangs_while_its_voided_passes_it_is_withheld_at_its_queue_attempt() {
    let mut world = operated();
    world.origin.push_back(Origin::Hangs);
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "enqueued"));
    assert_eq!(last(&world)["rxordering"], "in_order");
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(last(&world)["rxordering"], "in_order");
    let sent = world.queued[0].clone();
    let settled = world.consume();
    assert_eq!(settled.summary(), (Verdict::Ack, "withheld"));
    assert_eq!(settled.record.ordering, Some("superseded"));
    assert_eq!(world.delivered.len(), 2);
    // The message may come twice, and the sender may send it again.
    assert_eq!(world.attempt(&sent).summary(), (Verdict::Ack, "duplicate"));
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "duplicate"));
    assert_eq!((world.delivered.len(), world.waiting(DEAD_LETTERS)), (2, 1));
    world.keep_letters();
    assert_eq!(world.letters()[0].code, "withheld_superseded");
}

#[test]
fn an_event_that_is_claimed_again_is_told_apart_anew() {
    let mut world = World::new();
    world.origin.push_back(Origin::Hangs);
    assert_eq!(
        send(&mut world, "evt_c", CREATED),
        (504, "delivery_timed_out")
    );
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(send(&mut world, "evt_c", CREATED), (503, "in_flight"));
    world.wait(LEASE);
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "withheld"));
    // And without a later event it says the same as before.
    let mut world = World::new();
    world.origin.push_back(Origin::Unreachable);
    assert_eq!(send(&mut world, "evt_v", VOIDED), (502, "delivery_failed"));
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(last(&world)["rxordering"], "early");
    // A voided that is tried again after its created came is early no longer.
    let mut world = World::new();
    world.origin.push_back(Origin::Unreachable);
    assert_eq!(send(&mut world, "evt_v", VOIDED), (502, "delivery_failed"));
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "withheld"));
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    assert_eq!(last(&world)["rxordering"], "in_order");
}

#[test]
fn a_withheld_letter_that_is_redelivered_is_delivered_with_its_mark_and_without_its_code() {
    for queued in [true, false] {
        let mut world = operated();
        withheld(&mut world);
        world.keep_letters();
        if !queued {
            let mut settings = settings();
            settings["RXGATE"]["operator_keys"] =
                json!([{ "id": "ana", "secret": "OPERATOR_KEY_1" }]);
            world.gateway = gateway_with(&settings, bindings(&[]));
        }
        let id = world.letters()[0].id;
        world.delivered.clear();
        let end = world.call("POST", &format!("/v1/dead-letters/{id}/redeliver"));
        assert_eq!(end.summary(), (202, "dead_letter_redelivered", None));
        if queued {
            assert_eq!(world.consume().summary(), (Verdict::Ack, "delivered"));
        }
        assert_eq!(world.delivered.len(), 1);
        let event = last(&world);
        assert_eq!(event["id"], "evt_c");
        assert_eq!(event["rxordering"], "superseded");
        assert_eq!(event["data"]["state"], "voided");
        assert_eq!(
            event["data"]["entity"],
            json!({ "type": "authorization", "id": "auth_1" })
        );
        assert_eq!(send(&mut world, "evt_c", CREATED), (200, "duplicate"));
    }
}

#[test]
fn a_withheld_event_is_not_acknowledged_before_it_is_in_the_queue_and_its_commit_may_be_lost() {
    let mut world = operated();
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    world
        .sends
        .push_back(crate::driver::Take::Fails(Fault::Before));
    assert_eq!(
        send(&mut world, "evt_c", CREATED),
        (503, "dead_letter_failed")
    );
    // The first commit fails: there is a second.
    let (replies, fails) = (
        Ask::Replies(std::time::Duration::ZERO),
        Ask::Fails(Fault::Before),
    );
    world.asks.extend([replies, fails]);
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "withheld"));
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "duplicate"));
    // Both fail: it is reported, and what is sent again is withheld again, as one letter.
    let mut world = operated();
    assert_eq!(send(&mut world, "evt_v", VOIDED), (200, "delivered"));
    world.asks.extend([replies, fails, fails]);
    let end = world.send(&body("evt_c", CREATED.0, CREATED.1));
    assert_eq!(
        (end.record.code, end.record.commit, end.record.level),
        ("withheld", Some("commit_failed"), "error")
    );
    world.wait(LEASE);
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "withheld"));
    assert_eq!(send(&mut world, "evt_c", CREATED), (200, "duplicate"));
    assert_eq!((world.delivered.len(), world.waiting(DEAD_LETTERS)), (1, 2));
    let claimed = |world: &World, n: usize| {
        let claimed = parcel_of(&world.queued[n].body).claimed.unwrap();
        (claimed.entity, claimed.event)
    };
    assert_eq!(claimed(&world, 0), claimed(&world, 1));
    world.keep_letters();
    assert_eq!(world.letters().len(), 1);
}

#[test]
fn a_message_that_is_withheld_is_not_acknowledged_before_it_is_in_the_queue() {
    let mut world = operated();
    world.origin.push_back(Origin::Hangs);
    send(&mut world, "evt_c", CREATED);
    send(&mut world, "evt_v", VOIDED);
    let sent = world.take(DELIVERIES);
    world.now = world.now.max(sent.at.after(sent.delay));
    world
        .sends
        .push_back(crate::driver::Take::Fails(Fault::Before));
    let settled = world.attempt(&sent);
    assert_eq!(settled.record.code, "dead_letter_failed");
    assert!(!settled.delay().is_zero());
    assert_eq!(
        world.attempt_nth(&sent, 2).summary(),
        (Verdict::Ack, "withheld")
    );
    assert_eq!((world.delivered.len(), world.waiting(DEAD_LETTERS)), (2, 1));
}

#[test]
fn with_kv_alone_nothing_is_told_of_the_order_and_nothing_is_withheld() {
    let mut settings = settings();
    settings["SOURCE_OSIGU"]["dedupe"] = json!("kv");
    let mut world = World::with(&settings);
    for (id, event) in [("evt_v", VOIDED), ("evt_c", CREATED)] {
        let end = world.send(&body(id, event.0, event.1));
        assert_eq!((end.record.code, end.record.ordering), ("delivered", None));
        assert_eq!(last(&world)["rxordering"], "unknown");
    }
    assert_eq!(last(&world)["data"]["entity"]["code"], "AUTH-1");
}

#[test]
fn only_a_created_is_withheld() {
    let mut world = World::new();
    send(&mut world, "evt_v", VOIDED);
    let updated = (
        "authorization.updated",
        r#"{"authorization_id":"auth_1","authorization_code":"AUTH-1"}"#,
    );
    assert_eq!(send(&mut world, "evt_u", updated), (200, "delivered"));
    let event = last(&world);
    assert_eq!(event["rxordering"], "superseded");
    assert_eq!(
        event["data"]["entity"],
        json!({ "type": "authorization", "id": "auth_1" })
    );
    // A created of another authorization is none of its business.
    let other = CREATED.1.replace("auth_1", "auth_2");
    assert_eq!(
        send(&mut world, "evt_o", (CREATED.0, &other)),
        (200, "delivered")
    );
    assert_eq!(last(&world)["rxordering"], "in_order");
}

#[test]
fn what_was_withheld_on_purpose_is_counted_by_itself_and_waits_for_nobody() {
    let mut world = operated();
    withheld(&mut world);
    assert_eq!(
        world.send(&body("evt_x", CREATED.0, "{}")).record.code,
        "dead_lettered"
    );
    world.keep_letters();
    let settled = world.tick();
    let record = &settled.record;
    assert_eq!(
        (record.dead_letters, record.withheld, record.waiting),
        (Some(2), Some(1), Some(1))
    );
    let id_of = |world: &World, code: &str| -> LetterId {
        let letters = world.letters();
        letters.iter().find(|l| l.code == code).unwrap().id
    };
    let held = id_of(&world, "withheld_superseded").to_string();
    let invalid = id_of(&world, "event_invalid").to_string();
    let listed = |world: &mut World, query: &str| -> BTreeSet<String> {
        let json = world
            .call("GET", &format!("/v1/dead-letters{query}"))
            .json();
        let letters = json["dead_letters"].as_array().unwrap().iter();
        letters
            .map(|letter| letter["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let both = BTreeSet::from([held.clone(), invalid.clone()]);
    let one = |id: &String| BTreeSet::from([id.clone()]);
    assert_eq!(listed(&mut world, ""), both);
    assert_eq!(listed(&mut world, "?waiting=true"), one(&invalid));
    let of_code = "?waiting=true&code=withheld_superseded";
    assert_eq!(listed(&mut world, of_code), one(&held));
    // A call for all of them leaves it where it is; a call for its code doesn't.
    let redelivered = |world: &mut World, query: &str| {
        let target = format!("/v1/dead-letters/redeliver{query}");
        world.call("POST", &target).json()["redelivered"].clone()
    };
    assert_eq!(redelivered(&mut world, ""), json!([invalid]));
    let settled = world.tick();
    assert_eq!(
        (
            settled.record.level,
            settled.record.waiting,
            settled.record.withheld
        ),
        ("info", Some(0), Some(1))
    );
    let of_code = "?code=withheld_superseded";
    assert_eq!(redelivered(&mut world, of_code), json!([held]));
}

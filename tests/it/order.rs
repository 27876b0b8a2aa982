//! The order of an entity's events: each life in every interleaving and with duplicates, against rules that are written down here a second time, in words; then through the machine.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rxgate::entity::{
    CALLBACK_MISSING, Claim, ClaimRequest, Claimant, Entity, EventHash, FINALLY_REJECTED, Life,
    Ordering, Placed, Progress, Row, Step, version_number,
};
use rxgate::event::State;
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
    let orders = ORDERS.map(|(life, kinds)| {
        let events: Vec<Sent> = kinds.iter().map(|kind| sent(kind, 0)).collect();
        (life, events)
    });
    let lives = LIVES.map(|(life, events)| (life, events.to_vec()));
    let life = prop::sample::select([lives.to_vec(), orders.to_vec()].concat());
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
        // The notice was given.
        _ if has("callback_missing") => Ordering::Late,
        "RECEIVED" if has("CONFIRMED") || has("ERROR") => Ordering::Superseded,
        // The first final word counts.
        "CONFIRMED" if has("ERROR") => Ordering::Superseded,
        "ERROR" if has("CONFIRMED") => Ordering::Superseded,
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

//! The sans-I/O core under a seeded, deterministic simulation: one number decides the settings, the events, the schedule, the clock and every fault, so a seed that fails once
//! fails always. `scripts/sim` runs a million; `scripts/sim --seed N` says what happened in one.
//!
//! What is simulated: Osigu's authorizations, eVitalRx's orders in rounds, PHIL's callbacks and who waits for them. Senders that retry by their published rule or never, that hang up,
//! and that send twice at once; isolates that die between any two steps, or are stopped for longer than a lease and go on; objects that fail before or after they saved, or never
//! answer; KV that is stale by a minute; queues that repeat and reorder, and may have what they refused; origins that take a request and never say so; alarms that die or are lost;
//! operators who have dead letters redelivered; a change of the number of shards. The driver is that of the other native tests.
//!
//! `scene.rs` has the settings and what is sent, `sim.rs` the schedule and the faults, `waiting.rs` expected callbacks, `ledger.rs` what has to hold of claims.

#![allow(dead_code, reason = "the driver has more than is used here")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "what goes wrong here is a failure of the test"
)]

#[path = "../it/driver.rs"]
mod driver;

mod ledger;
mod scene;
mod sim;
mod waiting;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use sim::{Sim, Tally};

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    /// Once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % most)
    }
}

/// Runs one seed; what went wrong, if anything did.
fn run(seed: u64, log: bool) -> Result<Tally, String> {
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut sim = Sim::new(seed, log);
        sim.run();
        sim.check_end();
        sim.tally
    }));
    ran.map_err(|fault| {
        let text = fault.downcast_ref::<String>().cloned();
        let text = text.or(fault.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_default()
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut one) = (3_000_u64, 0_u64, None);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok());
        match argument.as_str() {
            "--seeds" => seeds = number().expect("--seeds takes a number"),
            "--from" => from = number().expect("--from takes a number"),
            "--seed" => one = Some(number().expect("--seed takes a number")),
            // What `cargo test` passes on is of no meaning here.
            _ => {}
        }
    }
    if let Some(seed) = one {
        let told = run(seed, true);
        println!("seed {seed}: {told:?}");
        std::process::exit(i32::from(told.is_err()));
    }
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers = (0..threads).map(|thread| {
        std::thread::spawn(move || {
            let (mut tally, mut failed) = (Tally::default(), Vec::new());
            for seed in (from + thread..from + seeds).step_by(usize::try_from(threads).unwrap()) {
                match run(seed, false) {
                    Ok(taken) => tally.add(taken),
                    Err(why) => failed.push((seed, why)),
                }
                if failed.len() >= 5 {
                    break;
                }
            }
            (tally, failed)
        })
    });
    let workers: Vec<_> = workers.collect();
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    for worker in workers {
        let (taken, more) = worker.join().expect("a thread of the simulation died");
        tally.add(taken);
        failed.extend(more);
    }
    failed.sort();
    let took = began.elapsed().as_secs_f64();
    for (seed, why) in &failed {
        println!("seed {seed} fails: {why}\n  scripts/sim --seed {seed}");
    }
    let passed = seeds - failed.len() as u64;
    let Tally {
        steps,
        stopped,
        second,
        rounds,
        notices,
        overtaken,
        redelivered,
    } = tally;
    println!("simulation: {seeds} seeds from {from}, {steps} steps, {took:.1} s");
    println!(
        "stopped: {stopped}, of which {second} handed over a second time; events of later rounds: {rounds}"
    );
    println!("notices: {notices}, overtaken: {overtaken}; redelivered: {redelivered}");
    println!("{passed} passed, {} failed", failed.len());
    std::process::exit(i32::from(!failed.is_empty()));
}

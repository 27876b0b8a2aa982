//! The fuzz targets on a stable compiler: each over its committed corpus, then over mutations of it with a fixed seed. Without coverage it finds little that is new; it says whether what was found stays so.
//!
//! `--seconds N` of mutations for each target; `--target NAME`; `--seed N`; `--verbose` writes each input's number before it runs, for what ends the process.

#![allow(
    clippy::disallowed_methods,
    reason = "how long it has run decides when it ends"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rxgate_fuzz::{MAX_LEN, TARGETS, Target};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }
}

const TOKENS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\u0061",
    b"\\ud800",
    b"null",
    b"true",
    b"-0",
    b"1E400",
    b"9007199254740993",
    b"\xff",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"\0",
    b"\n",
    b"=",
    b"CANARY",
    b"{}",
    b"[0]",
];

/// Another input, made of one or two of the corpus.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    if random.below(8) == 0 {
        let other = &corpus[random.below(corpus.len())];
        input.truncate(random.below(input.len() + 1));
        input.extend_from_slice(&other[random.below(other.len() + 1)..]);
    }
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(16)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = u8::try_from(random.below(256)).unwrap(),
            2 => drop(input.drain(at.min(end)..end)),
            3 => {
                let part = input[at.min(end)..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, part);
            }
            _ => {
                let token = TOKENS[random.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
        }
    }
    input.truncate(MAX_LEN);
    input
}

fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs one input. Whether all held.
fn holds(name: &str, target: Target, input: &[u8], what: &str) -> bool {
    if catch_unwind(|| target(input)).is_ok() {
        return true;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("artifacts")
        .join(name);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("smoke");
    fs::write(&path, input).unwrap();
    eprintln!(
        "{name}: {what} is a finding, kept in {}: scripts/fuzz {name} {}",
        path.display(),
        path.display()
    );
    false
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let number =
        |name: &str, default: u64| value(name).map_or(default, |text| text.parse().unwrap());
    let span = Duration::from_secs(number("--seconds", 5));
    let seed = number("--seed", 1);
    let only = value("--target");
    let verbose = arguments.iter().any(|argument| argument == "--verbose");
    let (mut passed, mut failed) = (0, 0);
    for (name, target) in TARGETS {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let corpus = corpus(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("corpus")
                .join(name),
        );
        assert!(!corpus.is_empty(), "{name} has no corpus");
        let kept = corpus.iter().enumerate();
        let mut sound = kept
            .filter(|(place, input)| {
                !holds(name, target, input, &format!("input {place} of the corpus"))
            })
            .count()
            == 0;
        let mut random = Random(seed);
        let (start, mut rounds, mut longest) = (Instant::now(), 0_u64, Duration::ZERO);
        while sound && start.elapsed() < span {
            let input = mutated(&corpus, &mut random);
            if verbose {
                eprintln!("{name} {rounds}");
            }
            let before = Instant::now();
            sound = holds(
                name,
                target,
                &input,
                &format!("mutation {rounds} of seed {seed}"),
            );
            longest = longest.max(before.elapsed());
            rounds += 1;
        }
        println!(
            "{name}: {} of the corpus, {rounds} mutations, the longest {} ms",
            corpus.len(),
            longest.as_millis()
        );
        if sound {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

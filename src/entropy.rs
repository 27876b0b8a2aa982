//! Random bytes without I/O: the shell hands in a seed of the platform's own, once for each instance.

use std::cell::Cell;
use std::fmt;

use crate::auth::{HmacSha256, Mac};

/// The length of a seed.
pub const SEED_BYTES: usize = 32;

/// HMAC-SHA256 of a counter under the seed: as good as random to whoever doesn't have the seed.
pub struct Entropy {
    mac: Option<HmacSha256>,
    count: Cell<u64>,
}

impl Entropy {
    /// From a seed that nobody else has, and that is used once.
    pub fn new(seed: &[u8; SEED_BYTES]) -> Self {
        Self {
            mac: HmacSha256::new(seed),
            count: Cell::new(0),
        }
    }

    /// The next bytes. Never the same twice.
    pub fn next(&self) -> Option<[u8; 32]> {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let mac = self.mac.as_ref()?;
        Some(*mac.tag(&[&count.to_be_bytes()]).as_bytes())
    }

    /// The first of the next bytes.
    pub fn bytes<const N: usize>(&self) -> Option<[u8; N]> {
        self.next()?.first_chunk::<N>().copied()
    }

    /// A number from 0 to 65535.
    pub fn number(&self) -> u16 {
        self.bytes::<2>().map_or(0, u16::from_be_bytes)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_come_twice_and_another_seed_gives_others() {
        let (one, other) = (Entropy::new(&[1; 32]), Entropy::new(&[2; 32]));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(one.next().unwrap()));
            assert!(seen.insert(other.next().unwrap()));
        }
        assert_eq!(format!("{one:?}"), "Entropy(..)");
    }
}

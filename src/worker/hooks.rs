//! What only the test build has: ways to trap. A test looks for [`MARK`] in the production build, and must not find it.

use std::hint::black_box;

const MARK: &str = "rxgate-test-hooks";

/// Traps, if `text` is the mark and a way to.
pub(super) fn trap(text: &[u8]) {
    // Opaque: a comparison with a constant would be compiled to numbers, and there would be nothing to look for.
    let Some(way) = text.strip_prefix(black_box(MARK).as_bytes()) else {
        return;
    };
    match way {
        b":unreachable" => core::arch::wasm32::unreachable(),
        // Rust's own stack, in the memory.
        b":stack" => drop(black_box(dig(1))),
        // The engine's stack of calls: what is thrown is no `WebAssembly.RuntimeError`.
        b":calls" => drop(black_box(call(1))),
        #[expect(clippy::panic, reason = "what must not happen anywhere else")]
        way if way.starts_with(b":panic") => panic!("{}", String::from_utf8_lossy(text)),
        _ => {}
    }
}

fn dig(depth: u64) -> u64 {
    let ballast = black_box([depth; 1024]);
    if depth == u64::MAX {
        return depth;
    }
    dig(depth + 1) + ballast.iter().sum::<u64>()
}

fn call(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    call(depth + 1).rotate_left(1) ^ depth
}

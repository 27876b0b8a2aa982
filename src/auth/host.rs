//! The host's own HMAC-SHA256, where the runtime has one that can be called at once: Node, and Cloudflare's with `node:crypto`. It is several times as fast as ours in wasm, and a call
//! costs some microseconds.
//!
//! The shell keeps the key under a number, reads the parts where they are, and writes the tag where it is told to.

use std::cell::Cell;

use wasm_bindgen::prelude::wasm_bindgen;

/// Below this ours is as fast: a call costs more in the Worker than in Node.
const LEAST_BYTES: usize = if cfg!(feature = "worker") { 4096 } else { 1024 };

#[wasm_bindgen]
extern "C" {
    /// Keeps a key, and says under which number; 0: there is no host that could use it.
    #[wasm_bindgen(js_name = rxgateHostKey)]
    fn host_key(at: u32, length: u32) -> u32;
    /// Forgets it.
    #[wasm_bindgen(js_name = rxgateHostForget)]
    fn host_forget(key: u32);
    /// Writes the tag of the parts, `count` pairs of an address and a length, to `tag`: 32 bytes. Answers 1 if it did.
    #[wasm_bindgen(js_name = rxgateHostTag)]
    fn host_tag(key: u32, parts: u32, count: u32, tag: u32) -> u32;
}

/// A key for the host. It gets it when there is first something long enough: most keys of an operator's never come to that.
pub(super) struct HostKey {
    key: Vec<u8>,
    number: Cell<Option<u32>>,
}

impl HostKey {
    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            key: key.to_vec(),
            number: Cell::new(None),
        }
    }

    /// The number under which the host has it, if there is a host.
    fn number(&self) -> Option<u32> {
        let number = self.number.get().unwrap_or_else(|| {
            host_key(
                address(self.key.as_ptr().expose_provenance()),
                length(&self.key),
            )
        });
        self.number.set(Some(number));
        (number != 0).then_some(number)
    }

    /// The tag of the parts, if they are long enough to be worth a call and the host makes it.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes < LEAST_BYTES {
            return None;
        }
        let key = self.number()?;
        let pairs: Vec<u32> = parts
            .iter()
            .flat_map(|part| [address(part.as_ptr().expose_provenance()), length(part)])
            .collect();
        // Written to by the host: cells, so that nothing is taken for granted about them.
        let tag: Vec<Cell<u8>> = vec![Cell::new(0); 32];
        let made = host_tag(
            key,
            address(pairs.as_ptr().expose_provenance()),
            u32::try_from(parts.len()).unwrap_or(0),
            address(tag.as_ptr().expose_provenance()),
        );
        let mut bytes = [0; 32];
        for (byte, cell) in bytes.iter_mut().zip(&tag) {
            *byte = cell.get();
        }
        (made == 1).then_some(bytes)
    }
}

impl Drop for HostKey {
    fn drop(&mut self) {
        if let Some(number @ 1..) = self.number.get() {
            host_forget(number);
        }
    }
}

fn address(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn length(bytes: &[u8]) -> u32 {
    address(bytes.len())
}

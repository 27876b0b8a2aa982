#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rxgate_fuzz::evitalrx(data));

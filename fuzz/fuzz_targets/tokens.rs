//! Fuzzes [`tokens`](dualstream_fuzz::targets::tokens).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::tokens(data));

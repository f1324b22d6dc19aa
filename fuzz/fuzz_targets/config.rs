//! Fuzzes [`config`](dualstream_fuzz::targets::config).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::config(data));

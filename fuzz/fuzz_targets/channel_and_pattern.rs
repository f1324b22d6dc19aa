//! Fuzzes [`channel_and_pattern`](dualstream_fuzz::targets::channel_and_pattern).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::channel_and_pattern(data));

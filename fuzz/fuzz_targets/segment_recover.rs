//! Fuzzes [`segment_recover`](dualstream_fuzz::targets::segment_recover).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::segment_recover(data));

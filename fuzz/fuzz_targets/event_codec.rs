//! Fuzzes [`event_codec`](dualstream_fuzz::targets::event_codec).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::event_codec(data));

//! Fuzzes [`publish_body`](dualstream_fuzz::targets::publish_body).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::publish_body(data));

//! Fuzzes [`http_head`](dualstream_fuzz::targets::http_head).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::http_head(data));

//! Fuzzes [`sidecar_load`](dualstream_fuzz::targets::sidecar_load).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::sidecar_load(data));

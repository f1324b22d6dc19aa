//! Fuzzes [`session_commands`](dualstream_fuzz::targets::session_commands).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dualstream_fuzz::targets::session_commands(data));

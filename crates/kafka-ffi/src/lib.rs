//! The few calls of librdkafka that its safe Rust API lacks, each wrapped in a safe function that says why it is sound.
//!
//! It is the one crate with `unsafe`, and holds nothing else: no state, no threads, no decisions.

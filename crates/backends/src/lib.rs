//! The log of dualstream on other people's servers: Apache Kafka.
//!
//! It speaks the seams of `dualstream-core` and knows nothing of files, HTTP or the embedded log.
#![forbid(unsafe_code)]

#[cfg(feature = "kafka")]
pub mod kafka;

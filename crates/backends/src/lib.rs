//! The log and the bus of dualstream on other people's servers: Apache Kafka and Redis.
//!
//! It speaks the seams of `dualstream-core` and knows nothing of files, HTTP or the embedded log.
#![forbid(unsafe_code)]

#[cfg(feature = "kafka")]
pub mod kafka;

#[cfg(feature = "redis")]
pub mod redis;

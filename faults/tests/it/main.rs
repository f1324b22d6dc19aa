//! Nodes over real brokers, while those are killed, hang and lose their leaders.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod away;
mod brokers;
mod copy_log;
mod kafka_job;
mod nodes;

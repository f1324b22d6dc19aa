//! Nodes over real brokers, while those are killed, hang and lose their leaders.
//!
//! | fault of the matrix | test |
//! |---|---|
//! | 8, 10, 14, 15 | [`away`] |
//! | 9, 11, 12, 13, 36 | [`brokers`] |
//! | 30, 35, 36, 37, full disks | [`nodes`] |
//! | 31, 35 | [`fleet`] |
//! | 34 | [`clients`]; on the side of the brokers it is 8 and a broker that hangs |
//!
//! 16 is of transactions, which nodes do not make. 33, slow clients, is the gateway's, whatever the log:
//! `crates/gateway/tests/it/websocket_life.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod away;
mod brokers;
mod clients;
mod copy_log;
mod disconnects;
mod fleet;
mod kafka_job;
mod latency;
mod nodes;
mod one_log;
mod redis;
mod redis_job;
mod redis_places;
mod refusals;
mod registry;

//! Nodes over real brokers and a real Redis, while those are killed, hang, lose their leaders and their masters.
//!
//! | fault of the matrix | test |
//! |---|---|
//! | 1 to 4, 6, 7, 36 and 37 with Redis, a Redis that is full or read-only | [`redis`] |
//! | 5, a Cluster whose slots and masters move | [`redis_places`] |
//! | 8, 10, 14, 15 | [`away`] |
//! | 9, 11, 12, 13, 36, forgotten producers | [`brokers`] |
//! | 30, 35, 36, 37, full disks | [`nodes`] |
//! | 12, where the new leader lacks records | [`unclean`] |
//! | 31, 35 | [`fleet`] |
//! | 32 | [`registry`] |
//! | 33, 34 | [`clients`]; 34 on the side of the brokers is 8 and a broker that hangs |
//!
//! Not in the matrix: [`disconnects`], and clients without a WebSocket in [`emulation`].
//!
//! All at once: [`kafka_job`] and [`redis_job`].
//!
//! 16 is of transactions, which nodes do not make. 33 is of clients that read the log; live ones that are slow are the
//! gateway's, whatever the log: `crates/gateway/tests/it/websocket_life.rs`. What may take how long is no test's: [`latency`] measures, and
//! `cargo xtask faults` judges. Without any fault: [`fresh`].

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod away;
mod brokers;
mod clients;
mod copy_log;
mod disconnects;
mod emulation;
mod fleet;
mod fresh;
mod kafka_job;
mod latency;
mod nodes;
mod one_log;
mod redis;
mod redis_job;
mod redis_places;
mod refusals;
mod registry;
mod unclean;

//! The backends against real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bus;
mod cluster;
mod codecs;
mod ffi;
mod following;
mod foreign;
mod interruptions;
mod lives;
mod log_claim;
mod places;
mod presence;
mod publish;
mod ranges;
mod redis_server;
mod registry;
mod rights;
mod running;
mod scripted;
mod secured;
mod sharded;
mod suites;
mod topics;

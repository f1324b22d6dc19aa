//! The nouns, the seams and the two moving parts (publisher and hub) of dualstream.
//!
//! **The log is the truth, the bus is a hint**: [`DualPublisher`](publisher::DualPublisher) appends an event to a
//! [`Log`](log::Log) and, only after the durable ack, announces it on a [`Bus`](bus::Bus); the
//! [`Hub`](hub::Hub) serves every subscriber by reading the log and following its tail.
//!
//! What this crate does not do: no network, no files, no HTTP, no wall clock and no randomness of its own
//! (both come through [`clock`]), and JSON only in the codecs of events and decisions.
#![forbid(unsafe_code)]

pub mod announcement;
pub mod bus;
pub mod channel;
pub mod channels;
pub mod clock;
pub mod conflation;
pub mod decisions;
pub mod error;
pub mod event;
pub mod fan_out;
pub mod filter;
pub mod hidden;
pub mod histogram;
pub mod hub;
pub mod identity;
pub mod log;
pub mod log_id;
pub mod memory;
pub mod mirror;
pub mod namespace;
pub mod partitioner;
pub mod position;
pub mod publisher;
mod queue;
pub mod record;
pub mod registry;
pub mod sources;
mod sync;
pub mod testing;
pub mod time;
pub mod topic;
pub mod topic_admin;
pub mod topics;
pub mod transaction;

pub use error::{Error, ErrorKind, Result};

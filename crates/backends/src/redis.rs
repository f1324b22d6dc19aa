//! Redis as the bus between nodes, and what they know of each other.
//!
//! Everything in Redis is a hint and has a time to live: nothing is lost with it but speed.

mod address;
mod client;
mod commands;
mod fault;
mod log_claim;
mod presence;
mod registry;

pub use address::Address;
pub use client::{Connection, Node};
pub use commands::Commands;
pub use log_claim::LogClaim;
pub use presence::{PRESENT_MAX, Presence, Present, Stats, Time};
pub use registry::RedisRegistry;

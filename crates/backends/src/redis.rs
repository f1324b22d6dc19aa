//! Redis as the bus between nodes, and what they know of each other.
//!
//! ```text
//!  RedisBus ─┬─ publish ───▶ outbox ─▶ publisher   one connection, bounded, behind a breaker
//!            └─ subscribe ─▶ desk ───▶ line        a few connections, each proved by its own probe
//! ```
//! In a sharded Cluster there is all of it for each shard ([`Settings::sharded`]).
//! Everything in Redis is a hint and has a time to live: nothing is lost with it but speed.

mod address;
mod ask;
mod bus;
mod client;
mod commands;
mod condition;
mod counters;
mod desk;
mod dialect;
mod fault;
mod line;
mod log_claim;
mod outbox;
mod pause;
mod permission;
mod presence;
mod publisher;
mod reader;
mod refusals;
mod registry;
mod routes;
mod settings;
mod shards;
mod slots;
mod survey;
mod wants;

pub use address::Address;
pub use bus::{RedisBus, Runner};
pub use client::Connection;
pub use commands::Commands;
pub use counters::Counters;
pub use log_claim::LogClaim;
pub use presence::{PRESENT_MAX, Presence, Present, Stats, Time};
pub use registry::RedisRegistry;
pub use settings::Settings;

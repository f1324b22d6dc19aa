//! Redis as the bus between nodes, and what they know of each other.
//!
//! Everything in Redis is a hint and has a time to live: nothing is lost with it but speed.

mod address;
mod client;
mod fault;

pub use address::Address;
pub use client::{Connection, Node};

//! Load on a running server, from outside: what `dualstream bench` does.
//!
//! ```text
//! Schedule ── turns ──> publishers ── HTTP ──> server ── WebSocket ──> subscribers ──> Tally ──> Report
//! ```
//! Every event carries the time it was *meant* to be sent at; its latency counts from then, so that a server that
//! stalls is not asked less while it does (no coordinated omission). Every subscriber counts what it gets: a report says
//! what is missing. All of it runs on one thread: what is to be measured is the server, and its CPU is its own.
//!
//! It takes no part in deciding what is fast enough: `bench/` of the repository does.

pub mod fan_out;
mod fleet;
mod latencies;
mod load;
mod measured;
pub mod publish;
pub mod publisher;
pub mod replay;
mod report;
mod schedule;
mod server_side;
pub mod subscriber;
mod tally;

pub use load::Load;
pub use report::Report;

//! The simulator: real publisher, hub and log in one deterministic world with faults.
//!
//! ```text
//!            seed ──▶ Plan: sizes, settings, faults
//!                       │
//!  publishers ──▶ DualPublisher ──▶ EmbeddedLog ──▶ MemoryStorage   crash at any step, torn writes, failed syncs
//!       │               └─────────▶ SimBus                          lost, late, doubled, reordered, cut, out
//!       │                              ▼
//!       │        subscribers ◀─────── Hub
//!       ▼               ▼
//!     Checker ◀── what was answered, announced, delivered, read back
//! ```
//! With a shared log there are two or three nodes, as over Kafka:
//!
//! ```text
//!  DualPublisher, Hub ──▶ MirroredLog ──▶ Mirror ──▶ MemoryStorage   loses power and bytes, fills, fails
//!                              └────────▶ Line ──▶ SharedLog         slow, cut, refused, answers lost
//! ```
//! One seed is one run: one thread, paused time, every choice from the seed. The same seed writes the same
//! history, so a failure is replayed by its number.
//!
//! What it does not do: no network, no real disk, no threads. Races between threads are left to other tests.
#![forbid(unsafe_code)]

mod body;
mod checker;
mod clock;
mod cluster;
mod dice;
mod history;
mod node;
mod plan;
mod run;
mod visitor;
mod world;

mod bus;
mod gremlin;
mod listener;
mod panics;
mod publisher;
mod seam;
mod subscriber;
mod upstream;

pub use history::Broken;
pub use run::{Over, Report, run};

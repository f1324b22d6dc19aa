//! What is counted of decisions.

use std::sync::atomic::AtomicU64;

/// Counters of [`Decisions`](super::Decisions): records are counted as this node read them; all grow from zero.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records that decided.
    pub decided: AtomicU64,
    /// Records that came too late, or were never right.
    pub refused: AtomicU64,
    /// Snapshots that say the state.
    pub snapshots: AtomicU64,
    /// Snapshots that said something else than what was known here.
    pub differed: AtomicU64,
    /// Records of a type or version not known here.
    pub unknown: AtomicU64,
    /// Records that are none of ours.
    pub foreign: AtomicU64,
    /// Stretches of the topic that are damaged or went before they were read.
    pub gaps: AtomicU64,
    /// Times that all was read anew, because the topic was not what was read of it.
    pub restarts: AtomicU64,
    /// Orders that nobody took in time, given up for later ones.
    pub orders_lost: AtomicU64,
    /// Errors of the log, each followed by another try.
    pub errors: AtomicU64,
}

//! What is counted of a membership.

use std::sync::atomic::AtomicU64;

/// Counters of [`Membership`](super::Membership).
#[derive(Debug, Default)]
pub struct Counters {
    /// Incarnations begun: one at the start, one more each time the lease was lost or an outcome was unknown.
    pub incarnations: AtomicU64,
    /// Heartbeats that renewed the lease.
    pub heartbeats: AtomicU64,
    /// Calls of the registry that failed.
    pub errors: AtomicU64,
    /// Connections that are not told of because the table is full.
    pub left_out: AtomicU64,
    /// Instances missing in lists because nothing of them could be read.
    pub unread: AtomicU64,
}

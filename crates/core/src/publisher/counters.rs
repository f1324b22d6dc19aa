//! What the publisher counts.

use crate::histogram::Histogram;
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Counters of a publisher since its start; `waiting_bytes` is a gauge.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that were given to the publisher.
    pub events_in: AtomicU64,
    /// Events stored by it.
    pub acked: AtomicU64,
    /// Events that stood in the log already.
    pub duplicates: AtomicU64,
    /// Events that were refused or whose outcome is unknown.
    pub failed: AtomicU64,
    /// Announcements and bus-only messages the bus took.
    pub announced: AtomicU64,
    /// Announcements and bus-only messages the bus did not take.
    pub announcements_lost: AtomicU64,
    /// Bytes that wait for the log now.
    pub waiting_bytes: AtomicUsize,
    /// From the call to the durable ack.
    pub ack_latency: Histogram,
}

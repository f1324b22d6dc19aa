//! What the hub counts.

use crate::histogram::Histogram;
use crate::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize};

/// Counters of a hub since its start. Gauges say so.
#[derive(Debug, Default)]
pub struct Counters {
    /// Items handed to subscriptions.
    pub delivered: AtomicU64,
    /// Subscriptions now (gauge).
    pub subscriptions: AtomicI64,
    /// Topics with a ring now (gauge).
    pub feeds: AtomicI64,
    /// Channels and patterns subscribed on the bus now (gauge).
    pub bus_subscriptions: AtomicI64,
    /// Bytes in all rings now (gauge).
    pub ring_bytes: AtomicUsize,
    /// Bytes of live and bus-only items that wait for their subscribers now (gauge).
    pub inbox_bytes: AtomicUsize,
    /// Times a subscription was overrun by its ring and went back to the log.
    pub ring_overruns: AtomicU64,
    /// Pages read by subscriptions that were behind.
    pub catch_up_reads: AtomicU64,
    /// Messages that came from the bus.
    pub bus_messages: AtomicU64,
    /// Messages the bus says it lost.
    pub bus_lost: AtomicU64,
    /// Messages from the bus that are no announcement of this deployment and were dropped.
    pub bus_rejected: AtomicU64,
    /// Live and bus-only items dropped because a subscriber was slow.
    pub slow_dropped: AtomicU64,
    /// Live and bus-only items that gave way to a later one of their key because a subscriber was slow.
    pub conflated: AtomicU64,
    /// Times a subscription was told that something cannot be had.
    pub unrecoverable: AtomicU64,
    /// From append to delivery. Recorded by whoever writes entries to a socket: the hub has no wall clock.
    pub delivery_latency: Histogram,
}

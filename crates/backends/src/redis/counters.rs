//! What the bus over Redis counts.

use dualstream_core::histogram::Histogram;
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Counters of a bus since its start. Gauges say so.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that Redis took.
    pub published: AtomicU64,
    /// Messages that were not sent: the queue was full, or Redis away.
    pub dropped: AtomicU64,
    /// Messages that were sent and not taken, or nobody knows.
    pub failed: AtomicU64,
    /// Bytes that wait to be published now (gauge).
    pub waiting_bytes: AtomicUsize,
    /// Publishing connections, of one or of each shard, over which nothing is published because Redis is away (gauge).
    pub away: AtomicUsize,
    /// Messages that came from Redis for somebody here.
    pub received: AtomicU64,
    /// Messages that came under a name that is no channel, or for nobody any more.
    pub rejected: AtomicU64,
    /// Channels and patterns that Redis confirmed (gauge).
    pub subscriptions: AtomicUsize,
    /// Subscriptions that were interrupted: a connection was lost, and what came meanwhile with it.
    pub interrupted: AtomicU64,
    /// Channels and patterns that Redis did not let this server subscribe, each time it was asked.
    pub refused: AtomicU64,
    /// Connections made again to publish.
    pub publisher_reconnects: AtomicU64,
    /// Connections made again to subscribe: Redis closed them (as it does when it is ended, or when they read too slowly
    /// for `client-output-buffer-limit`), or they brought nothing any more.
    pub subscriber_reconnects: AtomicU64,
    /// Those of them that brought nothing any more though nobody had closed them.
    pub silences: AtomicU64,
    /// From publishing a probe until it came back.
    pub probe_latency: Histogram,
}

//! What the log counts, for metrics.

use dualstream_core::histogram::Histogram;
use std::sync::atomic::AtomicU64;

/// Counters since the log was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Journal syncs.
    pub fsyncs: AtomicU64,
    /// Rounds: journal frames written.
    pub rounds: AtomicU64,
    /// Commits answered as stored.
    pub commits: AtomicU64,
    /// Records appended.
    pub records: AtomicU64,
    /// Bytes written to the journal.
    pub journal_bytes: AtomicU64,
    /// Records answered as duplicates.
    pub duplicates: AtomicU64,
    /// Checkpoints completed.
    pub checkpoints: AtomicU64,
    /// Stretches of damaged bytes met.
    pub damaged: AtomicU64,
    /// Bytes of all topic stores.
    pub store_bytes: AtomicU64,
    /// Time a journal sync took.
    pub fsync_latency: Histogram,
}

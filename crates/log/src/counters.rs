//! What the log counts, for metrics.

use dualstream_core::histogram::Histogram;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

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
    /// Records left out of a mirror because they repeat an event.
    pub hidden: AtomicU64,
    /// Checkpoints completed.
    pub checkpoints: AtomicU64,
    /// Stretches of damaged bytes met.
    pub damaged: AtomicU64,
    /// Bytes of all topic stores.
    pub store_bytes: AtomicU64,
    /// Time a journal sync took.
    pub fsync_latency: Histogram,
    /// Rounds by the records in them: bucket *i* counts rounds of at most 2^*i* records (and more than 2^(*i*−1)).
    pub records_per_round: [AtomicU64; ROUND_BUCKETS],
}

/// Buckets of [`Counters::records_per_round`]; the last one takes everything larger.
pub const ROUND_BUCKETS: usize = 20;

impl Counters {
    /// Notes a round of so many records.
    pub(crate) fn note_round(&self, records: u64) {
        let bucket = (records.max(1).next_power_of_two().trailing_zeros() as usize).min(ROUND_BUCKETS - 1);
        self.records_per_round[bucket].fetch_add(1, Relaxed);
    }
}

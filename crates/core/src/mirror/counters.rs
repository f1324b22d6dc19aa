//! What a mirror counts.

use std::sync::atomic::AtomicU64;

/// Counters of a mirror; all grow from zero but the gauges.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records taken from upstream into the mirror.
    pub records: AtomicU64,
    /// Records left out because they repeat an event.
    pub hidden: AtomicU64,
    /// Records of other programs that have no channel: no key, or not the header.
    pub unmapped: AtomicU64,
    /// Times a topic was begun anew: its first use, or a mirror too old to go on.
    pub begun: AtomicU64,
    /// Chunks read from upstream because the mirror does not hold them.
    pub range_reads: AtomicU64,
    /// Chunks that were still there.
    pub range_hits: AtomicU64,
    /// Errors of the tail and of upstream's answers, each followed by another try.
    pub errors: AtomicU64,
    /// Records checked against upstream by sampling, and those that differed.
    pub verified: AtomicU64,
    /// Records of the mirror that were not upstream's any more.
    pub differed: AtomicU64,
    /// Reads that gave up on a record that is acknowledged and not yet visible.
    pub not_yet_visible: AtomicU64,
    /// Gauge: topics that are followed now.
    pub hot: AtomicU64,
    /// Gauge: offsets between the mirror and the ends upstream, all partitions together, as last asked.
    pub lag: AtomicU64,
    /// Gauge: offsets that are written upstream and held back by open transactions, as last asked.
    pub held_back: AtomicU64,
}

//! Limits of a mirror.

use std::time::Duration;

/// Settings of a [`MirroredLog`](super::MirroredLog).
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many records before the end of each partition a mirror begins with; what is older comes through ranges. Less
    /// than [`crate::hidden::WINDOW`] makes readers look back upstream for what an event with a caller's id may repeat.
    pub backfill_records: u64,
    /// A topic nobody reads is followed this much longer.
    pub idle: Duration,
    /// How often upstream is asked for the ends of topics that are not followed.
    pub refresh: Duration,
    /// How often records of the mirror are compared with upstream.
    pub verify: Duration,
    /// How long a read waits for what is acknowledged and not yet visible.
    pub visible_max: Duration,
    /// How long a page of history waits for upstream to say where its topic ends, and for the mirror to get there.
    pub fresh_max: Duration,
    /// How far the mirror may be behind, in offsets of a partition, when a repeated event is looked for in it.
    pub behind_max: u64,
    /// Bytes of chunks kept that the mirror does not hold.
    pub range_bytes_max: usize,
    /// Bytes the mirror of one topic may take; its oldest records go first.
    pub topic_bytes_max: Option<u64>,
    /// Topics whose records other programs write.
    pub foreign: Vec<super::Foreign>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            backfill_records: crate::hidden::WINDOW,
            idle: Duration::from_secs(600),
            refresh: Duration::from_secs(1),
            verify: Duration::from_secs(60),
            visible_max: Duration::from_secs(5),
            fresh_max: Duration::from_millis(500),
            behind_max: crate::hidden::WINDOW / 2,
            range_bytes_max: 64 << 20,
            topic_bytes_max: Some(10 << 30),
            foreign: Vec::new(),
        }
    }
}

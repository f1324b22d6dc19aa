//! Limits of the decisions.

use crate::topic::TopicName;
use std::time::Duration;

/// Settings of [`Decisions`](super::Decisions).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is decided; all nodes of a cluster agree on it.
    pub topic: TopicName,
    /// Offsets from one snapshot to the next.
    pub snapshot_every: u64,
    /// How long a proposal waits for its record to be read back.
    pub answer_max: Duration,
    /// Pause before what failed is tried again.
    pub retry: Duration,
    /// Records of one page.
    pub page_records_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            topic: super::topic_name(),
            snapshot_every: 10_000,
            answer_max: Duration::from_secs(30),
            retry: Duration::from_millis(200),
            page_records_max: 1_000,
        }
    }
}

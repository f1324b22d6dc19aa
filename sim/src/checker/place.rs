//! Where records stand, and which sources publish them.

use dualstream_core::partitioner::partition_of;
use dualstream_core::topic::Epoch;
use std::fmt;

/// The two topics of every run: that of the namespace `events`, and that of a second durable namespace.
pub const TOPICS: [&str; 2] = ["events", "rooms"];
/// Partitions of each topic.
pub const PARTITIONS: u32 = 12;
/// Number of sources.
pub const SOURCES: u64 = 1000;

/// Where one record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index in [`TOPICS`].
    pub topic: usize,
    /// Epoch of the topic.
    pub epoch: Epoch,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { topic, epoch, partition, offset } = self;
        write!(f, "{}~{:04x}[{partition}]@{offset}", TOPICS[*topic], epoch.0 & 0xffff)
    }
}

/// One of the thousand sources: users, repositories and rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(pub u64);

impl Source {
    /// Its source type.
    pub fn kind(self) -> &'static str {
        match self.0 % 5 {
            0 | 1 => "user",
            2 | 3 => "repo",
            _ => "rooms",
        }
    }

    /// Its source id.
    pub fn id(self) -> String {
        format!("k{}", self.0)
    }

    /// Index in [`TOPICS`] of the topic its events go to.
    pub fn topic(self) -> usize {
        usize::from(self.0 % 5 == 4)
    }

    /// The partition its events go to.
    pub fn partition(self) -> u32 {
        partition_of(self.id().as_bytes(), PARTITIONS)
    }

    /// Its channel.
    pub fn channel(self) -> String {
        match self.topic() {
            0 => format!("events:{}:{}", self.kind(), self.id()),
            _ => format!("{}:{}", self.kind(), self.id()),
        }
    }
}

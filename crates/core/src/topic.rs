//! A topic: its name, its epoch, and how it keeps its records.

use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Name of a topic: 1–249 of `[a-zA-Z0-9._-]`, as in Apache Kafka. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// `invalid_topic` when the name breaks the rule above or is `.` or `..`.
    pub fn new(name: &str) -> Result<TopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 249 || !name.bytes().all(legal) || name == "." || name == ".." {
            return Err(Error::invalid(
                "invalid_topic",
                "topic",
                "a topic name is 1 to 249 of [a-zA-Z0-9._-]",
            )
            .with_limit(249));
        }
        Ok(TopicName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Internal topics begin with two underscores.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a topic's offsets: it changes when the topic is recreated, repartitioned or truncated, so that a stale
/// position is noticed and never silently misread. Unique over all topics of a deployment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a record's timestamp means (Kafka's `message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampKind {
    /// The append time, never decreasing in a partition. Event topics.
    #[default]
    Append,
    /// What the producer gave: the event time. Stream topics.
    Create,
}

/// How a topic forgets (Kafka's `cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cleanup {
    /// Oldest segments go, by age and size. Event topics.
    #[default]
    Delete,
    /// Only the latest record of a key stays. Table topics.
    Compact,
}

/// How a topic is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// Number of partitions, 1–10,000.
    pub partitions: u32,
    /// Meaning of record timestamps.
    pub timestamp: TimestampKind,
    /// How it forgets.
    pub cleanup: Cleanup,
    /// Records older than this (append time) may go; `None` keeps them.
    pub retention_ms: Option<u64>,
    /// Oldest segments go while the topic is larger; `None` for no bound.
    pub retention_bytes: Option<u64>,
}

/// Default number of partitions of a topic.
pub const PARTITIONS_DEFAULT: u32 = 12;
/// Default retention: seven days.
pub const RETENTION_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;

impl TopicSpec {
    /// An event topic with the defaults: 12 partitions, append time, delete after seven days.
    pub fn events(name: TopicName) -> TopicSpec {
        TopicSpec {
            name,
            partitions: PARTITIONS_DEFAULT,
            timestamp: TimestampKind::Append,
            cleanup: Cleanup::Delete,
            retention_ms: Some(RETENTION_MS_DEFAULT),
            retention_bytes: None,
        }
    }

    /// A compacted table topic that keeps the latest record of each key.
    pub fn table(name: TopicName, partitions: u32) -> TopicSpec {
        TopicSpec { partitions, cleanup: Cleanup::Compact, retention_ms: None, ..TopicSpec::events(name) }
    }
}

/// What a topic is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// How it is kept.
    pub spec: TopicSpec,
    /// Its current epoch.
    pub epoch: Epoch,
    /// Bytes it occupies in the store; `None` where the log does not tell.
    pub bytes: Option<u64>,
    /// Segments of its store; `None` where the log does not tell.
    pub segments: Option<u64>,
}

/// The settings of a topic that can be altered; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicAlteration {
    /// New retention by age; `Some(None)` for no bound.
    pub retention_ms: Option<Option<u64>>,
    /// New retention by size; `Some(None)` for no bound.
    pub retention_bytes: Option<Option<u64>>,
    /// More partitions. Moves keys to other partitions: the topic gets a new epoch, so every position goes stale.
    pub partitions: Option<u32>,
}

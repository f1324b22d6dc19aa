//! What the API says about topics.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The list of topics, each as it came.
#[derive(Debug, Deserialize)]
pub struct Topics<'a> {
    /// By name.
    #[serde(borrow)]
    pub topics: Vec<&'a RawValue>,
}

/// A topic.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// Offsets between start and end.
    pub records: u64,
    /// What it occupies in the store, where the log tells it.
    pub bytes: Option<u64>,
    /// In so many files, where the log counts them.
    pub segments: Option<u64>,
    /// Records older than this may go.
    pub retention_ms: Option<u64>,
    /// The oldest go while it is larger.
    pub retention_bytes: Option<u64>,
    /// How it forgets.
    pub cleanup_policy: String,
    /// What record timestamps are.
    pub timestamp_type: String,
    /// Another one makes its positions stale.
    pub epoch: String,
    /// Namespaces that store into it.
    pub namespaces: Vec<String>,
    /// Its ends; only where one topic is asked for.
    #[serde(default)]
    pub offsets: Vec<Offsets>,
    /// Where a change does not last.
    #[serde(default)]
    pub warning: Option<String>,
    /// Offsets that a trim took.
    #[serde(default)]
    pub trimmed: u64,
}

/// The ends of a partition.
#[derive(Clone, Debug, Deserialize)]
pub struct Offsets {
    /// Its number.
    pub partition: u32,
    /// First offset that can be read.
    pub earliest: u64,
    /// Offset of the next record.
    pub latest: u64,
}

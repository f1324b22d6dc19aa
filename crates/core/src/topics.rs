//! The seam for administering topics.

use crate::Result;
use crate::topic::{TopicAlteration, TopicInfo, TopicName, TopicSpec};
use futures::future::BoxFuture;

/// Creates, describes, alters and deletes topics. Every change is durable when its future resolves; calls may be
/// concurrent and are applied one after the other. Dropping a future may or may not undo nothing: a call that was
/// started can complete.
pub trait Topics: Send + Sync {
    /// Creates a topic with a fresh epoch. An existing one of that name is `Conflict` (`topic_exists`).
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>>;
    /// All topics by name, internal ones (`__…`) included.
    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>>;
    /// One topic; `NotFound` (`unknown_topic`).
    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>>;
    /// Changes exactly what is named.
    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>>;
    /// Deletes a topic with its records.
    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>>;
    /// Moves the start of each partition up to `below[partition]`; records under it are unreadable at once and
    /// their space is freed by whole segments. Offsets past the end are `Invalid`; ones already gone change nothing.
    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>>;
}

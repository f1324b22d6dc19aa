//! The seams of a copy: what is read, and what is written.

use dualstream_core::Result;
use dualstream_core::log::{Appended, Part, Span};
use dualstream_core::mirror::Run;
use dualstream_core::topic::{Epoch, TopicName, TopicSpec};
use futures::future::BoxFuture;
use std::time::Duration;

/// Bytes of a page, about.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// A topic of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which life of its offsets this is.
    pub epoch: Epoch,
    /// How it is kept.
    pub spec: TopicSpec,
    /// First offset per partition.
    pub earliest: Vec<u64>,
    /// Offset after the last record, per partition.
    pub latest: Vec<u64>,
}

/// A log that can be read.
pub trait Source: Send + Sync {
    /// Its topics by name, but for the log's own.
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicName>>>;

    /// A topic as it is now; `NotFound` (`unknown_topic`).
    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Held>>;

    /// Records of a span from its `from` on: at least one if there is one, a page at most. An empty run that does not lead
    /// further means there are none. Damage is an error.
    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span) -> BoxFuture<'a, Result<Run>>;

    /// Whether records may repeat an event that stands before them ([`dualstream_core::hidden`]).
    fn may_repeat(&self) -> bool;
}

/// A log that can be written.
pub trait Target: Source {
    /// Creates a topic.
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>>;

    /// Appends records of one partition in their order, each with an outcome of its own. An error: nothing was tried, or
    /// nothing is known.
    fn append(&self, part: Part) -> BoxFuture<'_, Result<Vec<Appended>>>;

    /// For how long the ends of a topic have to stand before nothing of an interrupted run is on its way any more.
    fn settles_after(&self) -> Duration;
}

//! The seam that lists what sources a log holds.

use crate::Result;
use crate::topic::TopicName;
use futures::future::BoxFuture;

/// Lists the sources of a topic (see [`crate::filter`]). A source is listed as long as the log keeps something of it:
/// at least while one of its records can be read, at most until the space of its last one is freed.
pub trait Sources: Send + Sync {
    /// The first sources of `topic` within `range`, whole (`type:id`), in the order of their bytes; fewer than
    /// [`SourceRange::max`] when there are no more. `NotFound` (`unknown_topic`). Cancel-safe.
    fn sources<'a>(&'a self, topic: &'a TopicName, range: SourceRange)
    -> BoxFuture<'a, Result<Vec<Vec<u8>>>>;
}

/// Which sources to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRange {
    /// What they begin with.
    pub prefix: Vec<u8>,
    /// Only those after this one.
    pub after: Option<Vec<u8>>,
    /// At most so many (≥ 1).
    pub max: usize,
}

impl SourceRange {
    /// Whether a source lies in it.
    pub fn holds(&self, source: &[u8]) -> bool {
        source.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| source > after)
    }

    /// The least name that may lie in it: where a search in order begins.
    pub fn begin(&self) -> &[u8] {
        self.after.as_deref().map_or(&self.prefix[..], |after| after.max(&self.prefix))
    }
}

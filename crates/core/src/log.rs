//! The seam of the durable log.

use crate::filter::Filter;
use crate::record::{NewRecord, Record};
use crate::topic::{Epoch, TopicName};
use crate::{Error, Result};
use futures::future::BoxFuture;
use std::sync::Arc;

/// An append-only, partitioned, durable log with Apache Kafka's semantics: offsets grow, are never reused and never
/// change their record; compaction and control records may leave holes between them.
///
/// *Durability*: a commit that resolves `Ok` survives a power loss. *Visibility*: nobody reads what is not durable.
/// *Order*: commits that are not concurrent are ordered as they were made; the parts of one commit become readable
/// together: whoever has seen one of them finds all of them, in every topic. *Total order*: [`read`](Log::read) returns
/// records of all its partitions in one order that never changes for a given log, so a cursor taken anywhere in it is
/// exact.
pub trait Log: Send + Sync {
    /// Appends all parts or none; over a log that cannot do that (Apache Kafka outside a transaction) every record is
    /// answered by itself, and of the records of one part an earlier one never overtakes a later one.
    ///
    /// Records whose [identity](NewRecord::identity) asks for it are checked against the window in the same step, in
    /// all partitions of their topic: the same event again is not appended but answered [`Appended::Duplicate`], another
    /// body under the same identity [`Appended::Conflict`]; the rest of the commit is appended all the same.
    ///
    /// Errors: `Overloaded`, `Unavailable`, `Full`, `Invalid`, `NotFound`, `Fenced`, `TooLarge`: definitely not
    /// stored. `Unknown`: may or may not be stored. Dropping the future leaves the outcome open (stored whole or not
    /// at all).
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>>;

    /// Reads records of some partitions of one topic, in log order (newest first if [`Read::reverse`]).
    ///
    /// A span of nothing (`from` = `until`) asks only whether there is such a place: a log that is still learning of its
    /// end waits for it. The one record of a span of one offset may have a smaller offset: the position is then an alias
    /// of that record (see [`crate::hidden`]). An empty page whose `next` equals `until`, or the end of the log, means there is nothing there (yet); an empty
    /// page may also only move `next`. `Gone` (`epoch_changed`) when the epoch is not the topic's, `Gone`
    /// (`position_unrecoverable`) when a `from` lies below the start of its partition, `Invalid`
    /// (`position_from_future`) when it lies past the end. Cancel-safe.
    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>>;

    /// Epoch, start and end of a topic; `NotFound` (`unknown_topic`).
    fn bounds(&self, topic: &TopicName) -> Result<Bounds>;

    /// Number of partitions of a topic; fails as [`bounds`](Log::bounds) does. Asked for each publish: worth answering
    /// without making bounds.
    fn partitions(&self, topic: &TopicName) -> Result<u32> {
        self.bounds(topic).map(|bounds| bounds.partitions())
    }

    /// Resolves when some partition's end is past `ends[partition]`, or the topic changed its epoch or is gone.
    /// Cancel-safe.
    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()>;

    /// For each partition the first offset whose append time is `>= time_ms` (its end if none is).
    ///
    /// The end itself is sought with [`i64::MAX`]. Once that resolves, [`bounds`](Log::bounds) hold everything that was
    /// acknowledged, to whomever, before the call: what a page of history ends at. A log that others append to asks first.
    /// Where that takes too long, or fails, they hold all that was acknowledged through this log, and of others what had
    /// come; it is `Unavailable` where what is held here was never all of it. What an open transaction of somebody else holds
    /// back lies past the bounds. Cancel-safe.
    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>>;
}

/// What is appended atomically.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Batches for any topics and partitions. A topic and partition may occur more than once; order is kept.
    pub parts: Vec<Part>,
    /// Commits only while this guard stands.
    pub guard: Option<Guard>,
}

/// Records for one partition, in order.
#[derive(Clone, Debug)]
pub struct Part {
    /// Topic to append to.
    pub topic: TopicName,
    /// Partition of it.
    pub partition: u32,
    /// The records.
    pub records: Vec<NewRecord>,
}

/// The right to commit under a name: a commit that names an epoch other than the current one is `Fenced`.
///
/// Epoch 0 is a name nobody raised yet. A guard is raised by a commit that holds the current epoch and appends a
/// record {key: name, value: new epoch as 8 bytes big-endian} to the topic [`GUARDS_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whom or what it guards: a task, a connector, a singleton.
    pub name: Arc<str>,
    /// The epoch its holder was given.
    pub epoch: u64,
}

/// The compacted internal topic (one partition) that holds the epoch of each guard.
pub const GUARDS_TOPIC: &str = "__guards";

/// Answer to a commit: one entry per part, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// What became of each part.
    pub parts: Vec<PartCommitted>,
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartCommitted {
    /// Epoch of the topic, for positions.
    pub epoch: Epoch,
    /// One entry per record, in order.
    pub records: Vec<Appended>,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Stored at this offset of the part's partition.
    Stored(u64),
    /// The same event is already stored, here; not stored again. Its partition is not the part's when its key moved since,
    /// because the number of partitions was raised.
    Duplicate {
        /// Partition it stands in.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
    /// Another event stands under the same identity, here; not stored.
    Conflict {
        /// Partition it stands in.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
    /// Only by a log whose records are independent of each other, as Apache Kafka outside a transaction: this one was not
    /// stored, or (`Unknown`) may be, whatever became of the others.
    Failed(Error),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Topic to read.
    pub topic: TopicName,
    /// The epoch the offsets belong to.
    pub epoch: Epoch,
    /// Which offsets of which partitions; each partition at most once.
    pub spans: Vec<Span>,
    /// Which records of those.
    pub filter: Filter,
    /// At most so many records (≥ 1).
    pub records_max: usize,
    /// Stops after the record that passes this many bytes of keys and values; one record always fits.
    pub bytes_max: usize,
    /// Newest first.
    pub reverse: bool,
}

impl Read {
    /// Whether nothing is left of its spans.
    pub fn is_over(&self) -> bool {
        self.spans.iter().all(|span| span.from >= span.until)
    }

    /// Leaves in its spans what comes after a page of them.
    pub fn go_on(&mut self, page: &Page) {
        for (span, &next) in self.spans.iter_mut().zip(&page.next) {
            *(if self.reverse { &mut span.until } else { &mut span.from }) = next;
        }
    }
}

/// A range of offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: u32,
    /// First offset wanted.
    pub from: u64,
    /// First offset not wanted; [`u64::MAX`] reads to the end.
    pub until: u64,
}

impl Span {
    /// All partitions of a vector of offsets, up to `until`.
    pub fn all(from: &[u64], until: &[u64]) -> Vec<Span> {
        from.iter()
            .zip(until)
            .zip(0..)
            .map(|((&from, &until), partition)| Span { partition, from, until })
            .collect()
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The records, in log order (or newest first).
    pub records: Vec<Record>,
    /// For each span, in their order, where to go on: the next `from` (or, in reverse, the next `until`). Everything
    /// before it that matches the filter is in this page or an earlier one.
    pub next: Vec<u64>,
    /// Damaged stretches that were passed over, each reported once.
    pub gaps: Vec<Gap>,
}

/// A stretch of offsets whose stored bytes are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Partition it is in.
    pub partition: u32,
    /// First offset lost.
    pub from: u64,
    /// First offset after it.
    pub until: u64,
    /// How many records of the page come before it.
    pub after: usize,
}

/// Start and end of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Epoch of the topic.
    pub epoch: Epoch,
    /// First offset still readable, per partition.
    pub earliest: Vec<u64>,
    /// Offset the next record will get, per partition.
    pub latest: Vec<u64>,
}

impl Bounds {
    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.latest.len() as u32
    }
}

//! The seams of a mirror: the log upstream, and the store on this node.

use crate::log::{Appended, Log, Part, Span};
use crate::record::{NewRecord, Record};
use crate::topic::{Epoch, TopicName, TopicSpec};
use crate::{Error, ErrorKind, Result};
use futures::future::BoxFuture;

/// The log that holds the truth. Its records keep their offsets here; control records, aborted transactions and
/// compaction leave holes between them. Only what is committed is ever seen.
pub trait Upstream: Send + Sync {
    /// Appends records, each with an outcome of its own ([`Appended::Stored`] or [`Appended::Failed`]), one list per part.
    /// Records of one partition are stored in the order of the calls, also across retries. The whole call fails only
    /// when nothing of it was tried: `Overloaded` (the local queue is full), `Unavailable`, `NotFound`. Dropping the
    /// future leaves the outcome open.
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>>;

    /// The topic as it is now; `NotFound` (`unknown_topic`), `Unavailable`. Cancel-safe.
    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Described>>;

    /// Records of one span from its `from` on: at least one if there is one, about `bytes_max` at most. An empty run whose
    /// `next` is the span's `until`, or the end of the partition, means there are none. `Gone`
    /// (`position_unrecoverable`) below the start of the partition, `Unavailable`. Cancel-safe.
    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>>;

    /// For each partition the first offset whose timestamp is `>= time_ms` (its end if none is), and of which topic.
    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Sought>>;

    /// A reader of the tails of any partitions: a mirror has one.
    fn tail(&self) -> Result<Box<dyn Tail>>;
}

/// A topic upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its identity there: another one after it was deleted and created again (KIP-516).
    pub id: u128,
    /// How it is kept there.
    pub spec: TopicSpec,
    /// First offset per partition.
    pub earliest: Vec<u64>,
    /// Last stable offset per partition: everything before it is committed or aborted.
    pub latest: Vec<u64>,
    /// High watermark per partition: what lies between `latest` and it waits for an open transaction.
    pub high: Vec<u64>,
}

/// Offsets that were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Identity of the topic ([`Described::id`]) when it was asked: another one than who asked knew may have the name.
    pub id: u128,
    /// One per partition that the topic has.
    pub offsets: Vec<u64>,
}

/// Where to follow a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: u32,
    /// First offset wanted.
    pub from: u64,
}

/// Reads the tails of partitions, all through one consumer. Bounded in memory: what is not taken is not fetched.
pub trait Tail: Send {
    /// Follows exactly these partitions from now on; places of partitions that are followed already are taken as said,
    /// and runs of before are not handed out any more.
    fn assign(&mut self, places: Vec<Place>) -> BoxFuture<'_, Result<()>>;

    /// What came next, at least one run; runs of one partition follow each other without overlap. Waits while there is
    /// nothing. An error is about one partition or about all: the caller describes the topics and assigns again.
    /// `Gone` (`position_unrecoverable`) when a place lies outside its partition. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Run>>>;
}

/// Records of one partition that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The topic.
    pub topic: TopicName,
    /// Its identity ([`Described::id`]) when the records were read: another one may have the name by then. Of a run that
    /// neither holds records nor passes offsets it says nothing.
    pub id: u128,
    /// The partition.
    pub partition: u32,
    /// The records, by offset; [`Record::append_time_ms`] never decreases in a partition.
    pub records: Vec<Record>,
    /// Everything committed below it, from where the run began, is among the records.
    pub next: u64,
}

impl Run {
    /// Bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.records.iter().map(Record::weight).sum()
    }
}

/// What a store knows of an event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Where the same event or another body under its identity stands ([`Appended::Duplicate`], [`Appended::Conflict`]).
    pub found: Option<Appended>,
    /// Offset in the partition asked for below which everything was looked at.
    pub seen: u64,
}

/// The copy on this node: read as any [`Log`], written by one follower. Nothing of it has to survive; what does is where
/// it was said to stand.
pub trait MirrorStore: Log {
    /// Begins a topic anew, empty, at these offsets; whatever was held of it goes. An existing one with the same epoch
    /// goes as well.
    fn begin<'a>(&'a self, spec: TopicSpec, epoch: Epoch, start: Vec<u64>) -> BoxFuture<'a, Result<()>>;

    /// Appends runs of one topic, in their order, each beginning where its partition ends. Readable when it resolves; what
    /// repeats an event ([`crate::hidden`]) is left out: of what lies below `known_from` in each partition the caller has
    /// seen to that. Gives how many were left out. `Conflict`: `mirror_out_of_step` when a run does not begin at the end
    /// of its partition; `mirror_looks_back` when a record may repeat one from between `known_from` and what is held.
    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        runs: Vec<Run>,
        known_from: Vec<u64>,
    ) -> BoxFuture<'a, Result<u64>>;

    /// Looks events up that are to be appended, each with the partition it goes to.
    fn check<'a>(
        &'a self,
        topic: &'a TopicName,
        events: Vec<(u32, NewRecord)>,
    ) -> BoxFuture<'a, Result<Vec<Checked>>>;

    /// Forgets a topic with everything held of it; one that is not there is forgotten already.
    fn forget<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<()>>;
}

/// Code of what a store is told to hide and cannot know.
pub(super) const LOOKS_BACK: &str = "mirror_looks_back";

/// Says that records to append may repeat what is not held any more: see [`MirrorStore::append`].
pub fn looks_back() -> Error {
    let message = "a record may repeat one that the mirror does not hold any more";
    Error::new(ErrorKind::Conflict, LOOKS_BACK, message)
}

/// Says which life of a topic's offsets this is.
pub trait Epochs: Send + Sync {
    /// The epoch of a topic with this identity and number of partitions, in its present generation. `Unavailable` while
    /// that is not known: a guess would make void positions good again.
    fn epoch(&self, topic: &TopicName, id: u128, partitions: u32) -> Result<Epoch>;

    /// Records that were read of a topic in its epoch `of` are not there any more: the generation after it begins,
    /// everywhere. Nothing is left to do when it began already. It may itself read the log that lost them, so whoever
    /// follows that log does not wait for it.
    fn truncated<'a>(
        &'a self,
        topic: &'a TopicName,
        id: u128,
        partitions: u32,
        of: Epoch,
    ) -> BoxFuture<'a, Result<()>>;
}

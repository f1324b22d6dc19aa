//! The copy of a log that stands elsewhere: the same stores at the same offsets, without a journal.
//!
//! ```text
//!  embedded log   commits ─▶ journal, sync ─▶ stores ─▶ readers        offsets are given here
//!  mirror         runs ─────────────────────▶ stores ─▶ readers        offsets are given upstream
//! ```
//! *What decides stands where the journal stood.* One engine does both; a mirror appends runs at the offsets they have,
//! in place of commits. Nothing is synced but by checkpoints: after a crash the stores are cut to the last one and go on
//! from there, and what is missing comes again.
//!
//! Nothing of it has to survive. A directory that is deleted or damaged is begun anew, also under a running process: its
//! topics are forgotten, and whoever fills it begins them again. So no error of the disk ends it, and none is hidden:
//! readers of what cannot be read are told, as in any log.

mod copier;
mod recovery;

pub(crate) use copier::Copier;
pub(crate) use recovery::recover;

use crate::counters::Counters;
use crate::embedded::EmbeddedLog;
use crate::queue::{Append, Op};
use dualstream_core::log::{Bounds, Commit, Committed, Log, Page, Read};
use dualstream_core::mirror::{Checked, MirrorStore, Run};
use dualstream_core::record::NewRecord;
use dualstream_core::sources::{SourceRange, Sources};
use dualstream_core::topic::{Epoch, TopicInfo, TopicName, TopicSpec};
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

/// A handle of a mirror; cheap to clone. It is read as an [`EmbeddedLog`] is.
#[derive(Clone, Debug)]
pub struct Mirror(EmbeddedLog);

impl Mirror {
    pub(crate) fn new(log: EmbeddedLog) -> Mirror {
        Mirror(log)
    }

    /// Asks the writer to end once everything that waits is appended. Nothing new is taken; reads go on.
    pub fn close(&self) {
        self.0.close();
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        self.0.counters()
    }

    /// Damage met since the start, one line each.
    pub fn damage(&self) -> Vec<String> {
        self.0.damage()
    }

    /// What is held, by name.
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.0.shared.topics().iter().map(|view| view.info()).collect()
    }
}

impl Log for Mirror {
    /// Refused: a mirror takes what its log has stored, and nothing else.
    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Committed>> {
        let message = "this is the copy of a log; what is to be stored goes to the log itself";
        ready(Err(Error::new(ErrorKind::Denied, "mirror_read_only", message))).boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        self.0.read(read)
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        self.0.bounds(topic)
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        self.0.wait(topic, epoch, ends)
    }

    /// For each partition an offset before which nothing was appended at `time_ms` or later. Partitions are copied one
    /// after the other, so later ones may begin too early; the log itself knows exactly.
    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        self.0.seek(topic, time_ms)
    }
}

impl Sources for Mirror {
    fn sources<'a>(
        &'a self,
        topic: &'a TopicName,
        range: SourceRange,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        self.0.sources(topic, range)
    }
}

impl MirrorStore for Mirror {
    fn begin<'a>(&'a self, spec: TopicSpec, epoch: Epoch, start: Vec<u64>) -> BoxFuture<'a, Result<()>> {
        self.0.ask(move |answer| Op::Begin(spec, epoch, start, answer)).boxed()
    }

    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        runs: Vec<Run>,
        known_from: Vec<u64>,
    ) -> BoxFuture<'a, Result<u64>> {
        let (topic, bytes) = (topic.clone(), copier::weight(&runs));
        self.0.ask(move |answer| Op::Append(Append { topic, runs, known_from, bytes, answer })).boxed()
    }

    fn check<'a>(
        &'a self,
        topic: &'a TopicName,
        events: Vec<(u32, NewRecord)>,
    ) -> BoxFuture<'a, Result<Vec<Checked>>> {
        self.0.ask(move |answer| Op::Check(topic.clone(), events, answer)).boxed()
    }

    fn forget<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<()>> {
        self.0.ask(move |answer| Op::Forget(topic.clone(), answer)).boxed()
    }
}

#[cfg(test)]
mod tests;

//! The handle of the embedded log: what the rest of dualstream sees of it.

use crate::counters::Counters;
use crate::index::blocks::Blocks;
use crate::queue::{Op, Pending, Ticket, closed, overloaded, weight};
use crate::reader;
use crate::shared::Shared;
use crate::topic::{Snapshot, TopicView};
use dualstream_core::log::{Bounds, Commit, Committed, Log, Page, Read};
use dualstream_core::sources::{SourceRange, Sources};
use dualstream_core::topic::{Epoch, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A read of at most so many bytes before the end runs on its caller, an async worker: it takes some tens of
/// microseconds, as long as handing it to another thread. What was written last is in the page cache, so no disk is
/// waited for. Longer ones run on blocking threads.
const TAIL_BYTES_MAX: u64 = 64 << 10;

/// A handle of the embedded log; cheap to clone. Reads never wait for the writer.
#[derive(Clone)]
pub struct EmbeddedLog {
    pub(crate) shared: Arc<Shared>,
    wait_max: Duration,
    reads: Reads,
}

/// Where reads of older segments run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// On the caller: storage in memory, nothing blocks.
    Caller,
    /// On tokio's blocking threads: a disk may be waited for.
    Blocking,
}

impl EmbeddedLog {
    pub(crate) fn new(shared: Arc<Shared>, wait_max: Duration, reads: Reads) -> EmbeddedLog {
        EmbeddedLog { shared, wait_max, reads }
    }

    /// Asks the writer to end once everything that waits is committed. Nothing new is taken; reads go on.
    pub fn close(&self) {
        self.shared.queue.end();
    }

    /// Which log it is: a random number that its data directory got when it was made, and keeps.
    pub fn id(&self) -> u64 {
        self.shared.log_id
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Damage met since the start, one line each.
    pub fn damage(&self) -> Vec<String> {
        self.shared.damage()
    }

    fn view(&self, topic: &TopicName) -> Result<Arc<TopicView>> {
        self.shared.topic(topic)
    }

    async fn submit(&self, commit: Commit) -> Result<Committed> {
        let (answer, mut answered) = oneshot::channel();
        let ticket = Ticket::default();
        let bytes = weight(&commit.parts);
        self.shared.queue.push(Op::Commit(Pending { commit, bytes, ticket: ticket.clone(), answer }))?;
        let waited = tokio::time::timeout(self.wait_max, &mut answered).await;
        match waited {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(unanswered())),
            Err(_) if ticket.withdraw() => Err(overloaded("the log did not begin this commit in time")),
            Err(_) => answered.await.unwrap_or_else(|_| Err(unanswered())),
        }
    }

    pub(crate) async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<Result<T>>) -> Op) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(op(answer))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Runs a read where it may run.
    async fn with_snapshot<T: Send + 'static>(
        &self,
        snapshot: Snapshot,
        at_tail: bool,
        read: impl FnOnce(&Snapshot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if at_tail || self.reads == Reads::Caller {
            return read(&snapshot);
        }
        let joined = tokio::task::spawn_blocking(move || read(&snapshot)).await;
        joined.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "read_failed", "reading the log failed").with_source(error))
        })
    }
}

/// The writer ended between taking a commit and answering it.
fn unanswered() -> Error {
    Error::new(
        ErrorKind::Unknown,
        "outcome_unknown",
        "the log ended before it answered; retry with the same id",
    )
}

/// Whether a read can touch nothing but the last [`TAIL_BYTES_MAX`] bytes.
fn is_at_tail(snapshot: &Snapshot, read: &Read) -> bool {
    let Some(active) = snapshot.segments.last() else { return false };
    let is_tail = |blocks: &Blocks| {
        read.spans.iter().all(|span| {
            let partition = span.partition as usize;
            let is_older = active.start.get(partition).is_some_and(|&start| span.from < start);
            let block = blocks.first_block_past(partition, span.from);
            let begins =
                if block < blocks.len() { blocks.block_range(block).start } else { snapshot.end_byte };
            !is_older && snapshot.end_byte.saturating_sub(begins) <= TAIL_BYTES_MAX
        })
    };
    active.read_active(|index| is_tail(&index.blocks)).unwrap_or(false)
}

impl Log for EmbeddedLog {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        self.submit(commit).boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        async move {
            let view = self.view(&read.topic)?;
            let snapshot = view.snapshot();
            let at_tail = is_at_tail(&snapshot, &read);
            let page =
                self.with_snapshot(snapshot, at_tail, move |snapshot| reader::read(snapshot, &read)).await?;
            for gap in &page.gaps {
                self.shared.report_damage(format!(
                    "topic '{}', partition {}: offsets {} to {} are damaged",
                    view.name, gap.partition, gap.from, gap.until
                ));
            }
            Ok(page)
        }
        .boxed()
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        Ok(self.view(topic)?.bounds())
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        async move {
            if let Ok(view) = self.view(topic) {
                view.wait(epoch, ends).await;
            }
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        async move {
            if time_ms == i64::MAX {
                // Later than any record: nothing has to be read.
                return Ok(self.bounds(topic)?.latest);
            }
            let snapshot = self.view(topic)?.snapshot();
            self.with_snapshot(snapshot, false, move |snapshot| reader::seek(snapshot, time_ms)).await
        }
        .boxed()
    }
}

impl Sources for EmbeddedLog {
    fn sources<'a>(
        &'a self,
        topic: &'a TopicName,
        range: SourceRange,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        async move {
            let snapshot = self.view(topic)?.snapshot();
            self.with_snapshot(snapshot, false, move |snapshot| reader::sources(snapshot, &range)).await
        }
        .boxed()
    }
}

impl Topics for EmbeddedLog {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        self.ask(|answer| Op::Create(spec, answer)).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        let all = self.shared.topics().iter().map(|view| view.info()).collect();
        async move { Ok(all) }.boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        let info = self.view(&name).map(|view| view.info());
        async move { info }.boxed()
    }

    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        self.ask(|answer| Op::Alter(name, change, answer)).boxed()
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        self.ask(|answer| Op::Delete(name, answer)).boxed()
    }

    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        self.ask(|answer| Op::Trim(name, below, answer)).boxed()
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStorage, Settings, open};
    use bytes::Bytes;
    use dualstream_core::filter::Filter;
    use dualstream_core::log::{Part, Span};
    use dualstream_core::record::NewRecord;
    use dualstream_core::testing::{ManualClock, SeededEntropy};

    async fn append(log: &EmbeddedLog, topic: &TopicName, partition: u32, count: usize, bytes: usize) {
        let value = Some(Bytes::from(vec![b'x'; bytes]));
        let records = vec![NewRecord { value, ..NewRecord::default() }; count];
        let part = Part { topic: topic.clone(), partition, records };
        log.commit(Commit { parts: vec![part], guard: None }).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_bytes_are_the_tail() {
        let (clock, entropy) = (Arc::new(ManualClock::new(1)), Arc::new(SeededEntropy::new(1)));
        let storage = Arc::new(MemoryStorage::new());
        let (log, writer) = open(Settings::default(), storage, clock, entropy).unwrap();
        let writer = tokio::spawn(writer.drive());
        let topic = TopicName::new("events").unwrap();
        log.create(TopicSpec::events(topic.clone())).await.unwrap();
        let is_tail = |from: Vec<u64>| {
            let snapshot = log.view(&topic).unwrap().snapshot();
            let spans = Span::all(&from, &vec![u64::MAX; from.len()]);
            let (topic, epoch, filter) = (topic.clone(), snapshot.epoch, Filter::All);
            let (records_max, bytes_max) = (1_000, 1 << 20);
            is_at_tail(
                &snapshot,
                &Read { topic, epoch, spans, filter, records_max, bytes_max, reverse: false },
            )
        };
        assert!(is_tail(vec![0; 12]), "an empty topic");
        append(&log, &topic, 3, 40, 1 << 10).await;
        assert!(is_tail(vec![0; 12]), "a little was written");
        let before = log.bounds(&topic).unwrap().latest;
        append(&log, &topic, 5, 2_000, 1 << 10).await;
        assert!(!is_tail(before), "a few blocks, but much was written since");
        let end = log.bounds(&topic).unwrap().latest;
        assert!(is_tail(end.clone()), "nothing is left to read");
        append(&log, &topic, 5, 1, 1 << 10).await;
        assert!(is_tail(end), "level but for one");
        assert!(!is_tail(vec![0; 12]));
        log.close();
        writer.await.unwrap().unwrap();
    }
}

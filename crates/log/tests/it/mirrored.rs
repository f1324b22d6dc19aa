//! A log upstream in memory, read through a real mirror: the suite of a log's readers.

use crate::mirror_rig::MirrorRig;
use crate::rig::{Seeded, small};
use dualstream_core::filter::Filter;
use dualstream_core::log::*;
use dualstream_core::memory::upstream::MemoryUpstream;
use dualstream_core::mirror::{FirstGeneration, MirroredLog, MirroredSources, MirroredTopics, Settings};
use dualstream_core::testing::{self, Backend};
use dualstream_core::topic::{Epoch, TopicName};
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;

/// A log whose commits are answered once they can be read, as the suites expect.
struct Settled(MirroredLog);

impl Log for Settled {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        async move {
            let places: Vec<_> = commit.parts.iter().map(|p| (p.topic.clone(), p.partition)).collect();
            let committed = self.0.commit(commit).await?;
            for ((topic, partition), part) in places.into_iter().zip(&committed.parts) {
                let end = |appended: &Appended| match appended {
                    Appended::Stored(offset) => Some(offset + 1),
                    _ => None,
                };
                let Some(from) = part.records.iter().filter_map(end).max() else { continue };
                let spans = vec![Span { partition, from, until: from }];
                let (epoch, filter) = (part.epoch, Filter::All);
                let read = Read { topic, epoch, spans, filter, records_max: 1, bytes_max: 1, reverse: false };
                self.0.read(read).await?;
            }
            Ok(committed)
        }
        .boxed()
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

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        self.0.seek(topic, time_ms)
    }
}

/// Of the records only the last few of each partition are mirrored, in small segments.
async fn backend() -> Backend {
    let rig = MirrorRig::empty(small(), 11);
    let upstream = MemoryUpstream::new(rig.clock.clone());
    let store = Arc::new(rig.log.clone());
    let settings = Settings { backfill_records: 50, ..Settings::default() };
    let (log, runner) = MirroredLog::new(
        settings,
        Arc::new(upstream.clone()),
        store.clone(),
        Arc::new(FirstGeneration),
        rig.clock.clone(),
        Seeded::new(5),
    );
    let runner = tokio::spawn(runner.run(std::future::pending()));
    let topics = Arc::new(MirroredTopics::new(Arc::new(upstream), log.clone()));
    let sources = Arc::new(MirroredSources::new(log.clone(), store));
    let transactions = Arc::new(NoTransactions);
    let (prefix, damage) = ("check".into(), None);
    let keep = Box::new((rig, runner));
    Backend { log: Arc::new(Settled(log)), topics, sources, transactions, prefix, damage, keep }
}

/// Over Kafka they are another thing.
struct NoTransactions;

impl dualstream_core::transaction::Transactions for NoTransactions {
    fn begin<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn dualstream_core::transaction::Transaction>>> {
        async { Err(Error::new(ErrorKind::Internal, "none", "there are none here")) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn reads_conform() {
    testing::run(testing::READS, backend).await;
}

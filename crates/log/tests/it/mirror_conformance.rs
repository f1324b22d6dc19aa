//! What a mirror holds is read as from any log: the suites of reading, over one that is filled record by record, and over
//! one with holes between them.

use crate::conformance::damage_value;
use crate::mirror_rig::MirrorRig;
use crate::rig::small;
use dualstream_core::clock::Clock;
use dualstream_core::log::{Appended, Bounds, Commit, Committed, Log, Page, PartCommitted, Read};
use dualstream_core::mirror::{MirrorStore, Run};
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::testing::{self, Backend};
use dualstream_core::topic::{Epoch, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::transaction::{Transaction, Transactions};
use dualstream_core::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A follower of a log that exists nowhere else: what is committed stands there as soon as it is here.
struct Filled {
    rig: MirrorRig,
    epochs: AtomicU64,
    /// Offsets from one record to the next.
    stride: u64,
}

fn backend(stride: u64) -> Backend {
    let rig = MirrorRig::empty(small(), 1);
    let (mirror, storage) = (rig.log.clone(), rig.storage.clone());
    let filled = Arc::new(Filled { rig, epochs: AtomicU64::new(1), stride });
    Backend {
        log: filled.clone(),
        topics: filled.clone(),
        sources: Arc::new(mirror),
        transactions: filled,
        prefix: "conformance".into(),
        damage: Some(Box::new(move |_: &_, record: &_| damage_value(&storage, record))),
        keep: Box::new(()),
    }
}

impl Filled {
    async fn append(&self, topic: &TopicName, partition: u32, new: NewRecord) -> Result<Appended> {
        let mirror = &self.rig.log;
        let checked = mirror.check(topic, vec![(partition, new.clone())]).await?.remove(0);
        if let Some(found) = checked.found {
            return Ok(found);
        }
        let (offset, now_ms) = (checked.seen, self.rig.clock.now_ms());
        let NewRecord { key, value, headers, .. } = new;
        let (append_time_ms, timestamp_ms) = (now_ms, now_ms);
        let record = Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers };
        let next = offset + self.stride;
        let run = Run { topic: topic.clone(), id: 0, partition, records: vec![record], next };
        mirror.append(topic, vec![run], Vec::new()).await.map(|_| Appended::Stored(offset))
    }
}

impl Log for Filled {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        async move {
            let mut parts = Vec::new();
            for part in commit.parts {
                let mut records = Vec::new();
                for record in part.records {
                    records.push(self.append(&part.topic, part.partition, record).await?);
                }
                parts.push(PartCommitted { epoch: self.bounds(&part.topic)?.epoch, records });
            }
            Ok(Committed { parts })
        }
        .boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        self.rig.log.read(read)
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        self.rig.log.bounds(topic)
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        self.rig.log.wait(topic, epoch, ends)
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        self.rig.log.seek(topic, time_ms)
    }
}

impl Topics for Filled {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        async move {
            let (name, start) = (spec.name.clone(), vec![0; spec.partitions as usize]);
            let epoch = Epoch(self.epochs.fetch_add(1, Ordering::Relaxed));
            self.rig.log.begin(spec, epoch, start).await?;
            self.describe(name).await
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        async move { Ok(self.rig.log.topics()) }.boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        let found = self.rig.log.topics().into_iter().find(|info| info.spec.name == name);
        async move { Ok(found.expect("a check asks for a topic it created")) }.boxed()
    }

    fn alter(&self, _: TopicName, _: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        unimplemented!("a topic is altered upstream, and begun anew here")
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        async move { self.rig.log.forget(&name).await }.boxed()
    }

    /// Begins the topic anew further up, with what is left of it.
    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        async move {
            let bounds = self.bounds(&name)?;
            if below.iter().zip(&bounds.latest).any(|(below, latest)| below > latest) {
                return Err(Error::invalid("invalid_trim", "below", "past the end"));
            }
            let start: Vec<u64> = below.iter().zip(&bounds.earliest).map(|(a, b)| *a.max(b)).collect();
            let mut kept = self.rig.all(&name).await;
            kept.retain(|record| record.offset >= start[record.partition as usize]);
            let spec = self.describe(name.clone()).await?.spec;
            self.rig.log.begin(spec, bounds.epoch, start).await?;
            let run = |record: Record| {
                let (partition, next) = (record.partition, record.offset + 1);
                Run { topic: name.clone(), id: 0, partition, records: vec![record], next }
            };
            let ends = (0..).zip(&bounds.latest).map(|(partition, &next)| Run {
                topic: name.clone(),
                id: 0,
                partition,
                records: Vec::new(),
                next,
            });
            let runs = kept.into_iter().map(run).chain(ends).collect();
            self.rig.log.append(&name, runs, Vec::new()).await.map(|_| ())
        }
        .boxed()
    }
}

impl Transactions for Filled {
    fn begin<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Box<dyn Transaction>>> {
        unimplemented!("nothing is committed to a mirror")
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_read_as_a_log() {
    testing::run(testing::READS, async || backend(1)).await;
    testing::run(testing::SOURCES, async || backend(1)).await;
    testing::run(testing::DAMAGE, async || backend(1)).await;
}

/// The check of the order counts offsets.
#[tokio::test(start_paused = true)]
async fn holes_change_nothing() {
    for suite in [testing::READS, testing::SOURCES, testing::DAMAGE] {
        for check in suite.iter().filter(|check| check.name != "the_order_never_changes") {
            (check.run)(backend(3)).await;
        }
    }
}

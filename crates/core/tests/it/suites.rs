//! The conformance suites against the model log and the in-memory bus.

use crate::model_log::ModelLog;
use dualstream_core::log::Part;
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::memory::registry::MemoryRegistry;
use dualstream_core::memory::upstream::MemoryUpstream;
use dualstream_core::testing::{
    self, Backend, BusBackend, Damage, Foreign, ManualClock, RegistryBackend, UpstreamBackend,
};
use dualstream_core::topic::TopicName;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use std::sync::Arc;
use std::time::Duration;

async fn backend() -> Backend {
    let log = Arc::new(ModelLog::new(&[]));
    let (topics, sources, transactions) = (log.clone(), log.clone(), log.clone());
    let disk = log.clone();
    let damage: Damage = Box::new(move |topic, record| disk.damage(topic, record.partition, record.offset));
    let (prefix, keep, damage) = ("check".into(), Box::new(()), Some(damage));
    Backend { log, topics, sources, transactions, prefix, damage, keep }
}

#[tokio::test]
async fn log() {
    testing::log(backend).await;
}

#[tokio::test]
async fn topics() {
    testing::topics(backend).await;
}

#[tokio::test]
async fn transactions() {
    testing::transactions(backend).await;
}

#[tokio::test(start_paused = true)]
async fn decisions() {
    testing::decisions(backend).await;
}

#[tokio::test]
async fn bus() {
    testing::bus(async || BusBackend {
        bus: Arc::new(MemoryBus::default()),
        prefix: "check".into(),
        keep: Box::new(()),
    })
    .await;
}

#[tokio::test]
async fn registry() {
    testing::registry(async || {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let registry = Arc::new(MemoryRegistry::new(clock.clone()));
        let pass = move |time: Duration| {
            clock.advance(time.as_millis() as i64);
            ready(()).boxed_local()
        };
        RegistryBackend { registry, pass: Box::new(pass), keep: Box::new(()) }
    })
    .await;
}

#[tokio::test]
async fn upstream() {
    testing::upstream(async || {
        let upstream = MemoryUpstream::new(Arc::new(ManualClock::new(1_000)));
        let (topics, foreign) = (Arc::new(upstream.clone()), Arc::new(Transactions(upstream.clone())));
        let (prefix, keep) = ("check".into(), Box::new(()));
        UpstreamBackend { upstream: Arc::new(upstream), topics, foreign, prefix, keep }
    })
    .await;
}

/// Other programs' transactions: in memory they are seen at once.
struct Transactions(MemoryUpstream);

impl Foreign for Transactions {
    fn transaction(&self, part: Part, is_committed: bool) -> BoxFuture<'_, ()> {
        let count = part.records.len();
        for record in part.records.into_iter().filter(|_| is_committed) {
            self.0.put(&part.topic, part.partition, record);
        }
        self.0.skip(&part.topic, part.partition, if is_committed { 1 } else { count + 1 });
        ready(()).boxed()
    }

    fn hold<'a>(&'a self, topic: &'a TopicName, partition: u32) -> BoxFuture<'a, ()> {
        self.0.open_transaction(topic, partition);
        self.0.skip(topic, partition, 1);
        ready(()).boxed()
    }

    fn release<'a>(&'a self, topic: &'a TopicName, partition: u32) -> BoxFuture<'a, ()> {
        self.0.skip(topic, partition, 1);
        self.0.close_transaction(topic, partition);
        ready(()).boxed()
    }
}

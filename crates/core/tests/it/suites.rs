//! The conformance suites against the model log and the in-memory bus.

use crate::model_log::ModelLog;
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::testing::{self, Backend, BusBackend, Damage};
use std::sync::Arc;

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

#[tokio::test]
async fn bus() {
    testing::bus(async || BusBackend {
        bus: Arc::new(MemoryBus::default()),
        prefix: "check".into(),
        keep: Box::new(()),
    })
    .await;
}

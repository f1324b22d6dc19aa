//! The conformance suites against the model log and the in-memory bus.

use crate::model_log::ModelLog;
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::testing::{self, Backend, BusBackend};
use std::sync::Arc;

async fn backend() -> Backend {
    let log = Arc::new(ModelLog::new(&[]));
    let (topics, sources, transactions) = (log.clone(), log.clone(), log.clone());
    Backend { log, topics, sources, transactions, prefix: "check".into(), keep: Box::new(()) }
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

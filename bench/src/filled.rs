//! A log filled with many events, quickly: synced now and then only.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use dualstream_core::{log::Log, topic::TopicName};
use dualstream_log::{Fsync, Settings};
use tokio::runtime::Runtime;

use crate::{
    embedded::Embedded,
    workload::{Workload, value_bytes},
};

/// Commits in flight: the writer never waits for the next one.
const IN_FLIGHT: usize = 8;

/// What was written.
pub(crate) struct Filled {
    pub topic: TopicName,
    pub events: u64,
    /// Of the encoded events alone.
    pub value_bytes: u64,
}

/// Fills a new log in `dir`, `batch` events a commit, and closes it.
pub(crate) fn fill(
    dir: &Path,
    runtime: &Runtime,
    workload: &mut Workload,
    events: u64,
    batch: usize,
) -> Result<Filled> {
    let settings = Settings { fsync: Fsync::Every(Duration::from_secs(1)), ..Settings::default() };
    let embedded = Embedded::open(dir, settings)?;
    let topic = embedded.create_topics(runtime, 1)?.remove(0);
    let topics = [topic.clone()];
    let mut filled = Filled { topic, events: 0, value_bytes: 0 };
    while filled.events < events {
        let mut waiting = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            let commit = workload.commit(&topics, batch)?;
            let records = commit.parts.iter().flat_map(|part| &part.records);
            filled.value_bytes += records.map(|record| value_bytes(record) as u64).sum::<u64>();
            filled.events += batch as u64;
            let log = embedded.log.clone();
            waiting.push(runtime.spawn(async move { log.commit(commit).await }));
        }
        for one in waiting {
            runtime.block_on(one)?.context("filling the log")?;
        }
    }
    embedded.close()?;
    Ok(filled)
}

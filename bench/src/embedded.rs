//! The embedded log as a server runs it: over files, its writer on a thread of its own.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use dualstream_core::{
    clock::{Clock, Entropy},
    topic::{TopicName, TopicSpec},
    topics::Topics,
};
use dualstream_log::{EmbeddedLog, FileStorage, Settings, open};
use tokio::runtime::Runtime;

pub(crate) const PARTITIONS: u32 = 12;

/// A log and the thread of its writer; closed in order when dropped.
pub(crate) struct Embedded {
    pub log: EmbeddedLog,
    writer: Option<JoinHandle<dualstream_core::Result<()>>>,
}

impl Embedded {
    /// Opens the log in `dir`.
    pub fn open(dir: &Path, settings: Settings) -> Result<Self> {
        let storage = Arc::new(FileStorage::open(dir)?);
        let (log, writer) = open(settings, storage, Arc::new(SystemClock), Arc::new(SplitMix::default()))?;
        let writer = thread::Builder::new().name("log-writer".into()).spawn(move || writer.run())?;
        Ok(Embedded { log, writer: Some(writer) })
    }

    /// Creates topics of events; the first is named `events`, as a server names its own.
    pub fn create_topics(&self, runtime: &Runtime, count: usize) -> Result<Vec<TopicName>> {
        let create = |number| {
            let name = match number {
                0 => TopicName::new("events")?,
                _ => TopicName::new(&format!("events-{number}"))?,
            };
            let spec = TopicSpec { partitions: PARTITIONS, ..TopicSpec::events(name.clone()) };
            runtime.block_on(self.log.create(spec))?;
            Ok(name)
        };
        (0..count).map(create).collect()
    }

    /// Writes what waits, syncs it and ends.
    pub fn close(mut self) -> Result<()> {
        self.log.close();
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let ended = writer.join().map_err(|_| anyhow!("the writer of the log panicked"))?;
        ended.context("the writer of the log failed")
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.log.close();
        if let Some(writer) = self.writer.take() {
            // Whoever wants to know how it ended calls `close`.
            drop(writer.join());
        }
    }
}

/// The time of day.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug, Default)]
pub(crate) struct SplitMix(AtomicU64);

impl SplitMix {
    pub fn below(&self, limit: u64) -> u64 {
        self.next_u64() % limit
    }
}

impl Entropy for SplitMix {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut word = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }
}

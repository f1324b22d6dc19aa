//! The conformance suites of the seams, over the simulated disk with the writer as a task, and over a real directory with
//! the writer on a thread of its own.

use crate::publisher::open_dir;
use crate::rig::{Rig, small};
use dualstream_core::record::Record;
use dualstream_core::testing::{self, Backend, Damage};
use dualstream_log::{Compression, EmbeddedLog, MemoryStorage, Settings, Storage};
use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;

fn backend(log: EmbeddedLog, damage: Option<Damage>, keep: Box<dyn Any + Send>) -> Backend {
    Backend {
        log: Arc::new(log.clone()),
        topics: Arc::new(log.clone()),
        sources: Arc::new(log.clone()),
        transactions: Arc::new(log),
        prefix: "conformance".into(),
        damage,
        keep,
    }
}

/// Large enough for every commit a check makes; segments and journal files are many all the same.
fn settings(compression: Compression) -> Settings {
    Settings { journal_file_bytes: 160 << 20, compression, ..small() }
}

async fn in_memory(compression: Compression) -> Backend {
    let rig = Rig::empty(settings(compression), 1);
    let storage = rig.storage.clone();
    // Where values are compressed nobody knows which bytes are whose.
    let plain = compression == Compression::None;
    let damage = plain.then(|| Box::new(move |_: &_, record: &_| damage_value(&storage, record)) as Damage);
    backend(rig.log.clone(), damage, Box::new(rig))
}

/// Flips a bit of a record's value in every segment that holds it.
pub fn damage_value(storage: &MemoryStorage, record: &Record) {
    let value = record.value.as_deref().unwrap();
    let mut found = 0;
    for dir in storage.list("topics").unwrap() {
        let dir = format!("topics/{dir}");
        for name in storage.list(&dir).unwrap().iter().filter(|name| name.ends_with(".segment")) {
            let flip = |bytes: &mut Vec<u8>| {
                if let Some(at) = bytes.windows(value.len()).position(|window| window == value) {
                    bytes[at] ^= 1;
                    found += 1;
                }
            };
            storage.corrupt(&format!("{dir}/{name}"), flip).unwrap();
        }
    }
    assert_eq!(found, 1, "{record:?}");
}

/// Ends the writer before its directory goes.
struct OnDisk {
    log: EmbeddedLog,
    writer: Option<JoinHandle<dualstream_core::Result<()>>>,
    _dir: tempfile::TempDir,
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.log.close();
        if let Some(writer) = self.writer.take() {
            let ended = writer.join();
            assert!(std::thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
        }
    }
}

async fn on_disk() -> Backend {
    let dir = tempfile::tempdir().unwrap();
    let (log, writer) = open_dir(dir.path(), settings(Compression::None)).unwrap();
    backend(log.clone(), None, Box::new(OnDisk { log, writer: Some(writer), _dir: dir }))
}

#[tokio::test(start_paused = true)]
async fn log_in_memory() {
    testing::log(async || in_memory(Compression::None).await).await;
}

#[tokio::test(start_paused = true)]
async fn log_in_memory_compressed() {
    testing::log(async || in_memory(Compression::Zstd).await).await;
}

#[tokio::test(start_paused = true)]
async fn topics_and_transactions_in_memory() {
    testing::topics(async || in_memory(Compression::None).await).await;
    testing::transactions(async || in_memory(Compression::None).await).await;
}

#[tokio::test]
async fn log_on_disk() {
    testing::log(on_disk).await;
}

#[tokio::test]
async fn topics_and_transactions_on_disk() {
    testing::topics(on_disk).await;
    testing::transactions(on_disk).await;
}

#[tokio::test(start_paused = true)]
async fn decisions_in_memory() {
    testing::decisions(async || in_memory(Compression::None).await).await;
}

#[tokio::test]
async fn decisions_on_disk() {
    testing::decisions(on_disk).await;
}

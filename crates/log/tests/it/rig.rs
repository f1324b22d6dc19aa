//! A log over the simulated disk, driven as a task.

use bytes::Bytes;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::event::{Data, Event};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Commit, Committed, Log, Part, Read, Span};
use dualstream_core::partitioner::partition_of;
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, Result};
use dualstream_log::{EmbeddedLog, MemoryStorage, Settings, Storage, Writer, open};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

pub const PARTITIONS: u32 = 12;

#[derive(Debug, Default)]
pub struct TestClock(pub AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// SplitMix64.
#[derive(Debug)]
pub struct Seeded(pub AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Arc<Seeded> {
        Arc::new(Seeded(AtomicU64::new(seed)))
    }

    pub fn below(&self, n: u64) -> u64 {
        self.next_u64() % n
    }
}

impl Entropy for Seeded {
    fn next_u64(&self) -> u64 {
        let mut z =
            self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A log over the simulated disk, of either kind.
pub struct Driven<L> {
    pub storage: MemoryStorage,
    pub clock: Arc<TestClock>,
    pub entropy: Arc<Seeded>,
    pub settings: Settings,
    pub log: L,
    writer: JoinHandle<Result<()>>,
}

/// One that decides by itself.
pub type Rig = Driven<EmbeddedLog>;

/// What can be driven.
pub trait Opens: Sized {
    fn open(
        settings: Settings,
        storage: MemoryStorage,
        clock: Arc<TestClock>,
        entropy: Arc<Seeded>,
    ) -> Result<(Self, Writer)>;
    fn close(&self);
}

impl Opens for EmbeddedLog {
    fn open(
        settings: Settings,
        storage: MemoryStorage,
        clock: Arc<TestClock>,
        entropy: Arc<Seeded>,
    ) -> Result<(EmbeddedLog, Writer)> {
        open(settings, Arc::new(storage), clock, entropy)
    }

    fn close(&self) {
        self.close();
    }
}

/// Small files, so that a short test rolls, recycles and checkpoints.
pub fn small() -> Settings {
    Settings {
        segment_bytes: 16 << 10,
        journal_file_bytes: 64 << 10,
        checkpoint_bytes: 40 << 10,
        ..Settings::default()
    }
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

impl<L: Opens> Driven<L> {
    /// One without topics.
    pub fn empty(settings: Settings, seed: u64) -> Driven<L> {
        Driven::open(settings, MemoryStorage::new(), Arc::default(), Seeded::new(seed)).unwrap()
    }

    pub fn open(
        settings: Settings,
        storage: MemoryStorage,
        clock: Arc<TestClock>,
        entropy: Arc<Seeded>,
    ) -> Result<Driven<L>> {
        let (log, writer) = L::open(settings.clone(), storage.clone(), clock.clone(), entropy.clone())?;
        let writer = tokio::spawn(writer.drive());
        Ok(Driven { storage, clock, entropy, settings, log, writer })
    }

    /// Ends in order and opens again.
    pub async fn restart(self) -> Driven<L> {
        self.log.close();
        self.writer.await.unwrap().unwrap();
        Driven::open(self.settings, self.storage, self.clock, self.entropy).unwrap()
    }

    /// Loses power and opens again.
    pub fn crash(self) -> Driven<L> {
        self.writer.abort();
        self.storage.crash(&*self.entropy);
        Driven::open(self.settings, self.storage, self.clock, self.entropy).unwrap()
    }

    /// Whether a crash that was armed has happened.
    pub fn storage_is_dead(&self) -> bool {
        self.storage.list("").is_err()
    }

    /// The process dies and another opens; if the power fails meanwhile, opens after that.
    pub fn reopen_or_crash(self) -> Driven<L> {
        self.writer.abort();
        let Driven { storage, clock, entropy, settings, .. } = self;
        match Driven::open(settings.clone(), storage.clone(), clock.clone(), entropy.clone()) {
            Ok(rig) => rig,
            Err(error) => {
                assert!(storage.list("").is_err(), "{error:?}");
                storage.crash(&*entropy);
                Driven::open(settings, storage, clock, entropy).unwrap()
            }
        }
    }

    /// Ends in order and opens again; if the power fails meanwhile, opens after that.
    pub async fn restart_or_crash(self) -> Driven<L> {
        self.log.close();
        let ended = self.writer.await.unwrap();
        if self.storage.list("").is_err() {
            self.storage.crash(&*self.entropy);
        } else {
            ended.unwrap();
            self.storage.crash_at_step(u64::MAX);
        }
        Driven::open(self.settings, self.storage, self.clock, self.entropy).unwrap()
    }

    /// The process dies; the disk stays as it is.
    pub fn kill(&self) {
        self.writer.abort();
    }

    /// Ends in order.
    pub async fn end(self) -> Result<()> {
        self.log.close();
        self.writer.await.unwrap()
    }

    /// Waits for the writer to end by itself.
    pub async fn writer_ended(&mut self) -> Result<()> {
        (&mut self.writer).await.unwrap()
    }

    /// Lets the time of a checkpoint pass, and the writer take it.
    pub async fn checkpoint(&self) {
        tokio::time::advance(self.settings.checkpoint_interval + Duration::from_secs(1)).await;
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
    }

    /// Opens again as the files are, without a crash.
    pub fn reopen(self) -> Result<Driven<L>> {
        self.writer.abort();
        Driven::open(self.settings, self.storage, self.clock, self.entropy)
    }
}

impl Rig {
    pub async fn start(settings: Settings, seed: u64) -> Rig {
        let rig = Rig::open(settings, MemoryStorage::new(), Arc::default(), Seeded::new(seed)).unwrap();
        for name in ["events", "chat"] {
            let spec = TopicSpec { partitions: PARTITIONS, ..TopicSpec::events(topic(name)) };
            rig.log.create(spec).await.unwrap();
        }
        rig
    }

    pub async fn publish(&self, topic: &TopicName, events: &[(u32, &str)]) -> Result<Vec<(u32, Appended)>> {
        let mut parts: Vec<Part> = Vec::new();
        for (source, id) in events {
            let record = event(*source, id, "");
            let partition = partition_of(record.key.as_ref().unwrap(), PARTITIONS);
            parts.push(Part { topic: topic.clone(), partition, records: vec![record] });
        }
        let committed = self.log.commit(Commit { parts: parts.clone(), guard: None }).await?;
        Ok(parts.iter().zip(committed.parts).map(|(p, c)| (p.partition, c.records[0].clone())).collect())
    }

    pub async fn commit(&self, parts: Vec<Part>) -> Result<Committed> {
        self.log.commit(Commit { parts, guard: None }).await
    }

    /// Everything in a topic, in log order.
    pub async fn all(&self, topic: &TopicName) -> Vec<Record> {
        self.read(topic, Filter::All, 1_000, false).await.unwrap()
    }

    pub async fn read(
        &self,
        topic: &TopicName,
        filter: Filter,
        page: usize,
        reverse: bool,
    ) -> Result<Vec<Record>, Error> {
        let bounds = self.log.bounds(topic)?;
        let mut read = Read {
            topic: topic.clone(),
            epoch: bounds.epoch,
            spans: Span::all(&bounds.earliest, &bounds.latest),
            filter,
            records_max: page,
            bytes_max: 1 << 20,
            reverse,
        };
        let mut records = Vec::new();
        while !read.is_over() {
            let page = self.log.read(read.clone()).await?;
            let before = read.spans.clone();
            read.go_on(&page);
            records.extend(page.records);
            assert_ne!(before, read.spans, "a page that does not move reads forever");
        }
        Ok(records)
    }
}

/// An event of source `user:{source}`.
pub fn event(source: u32, id: &str, body: &str) -> NewRecord {
    let event = Event {
        id: Some(id.into()),
        event_type: "test".into(),
        source_type: "user".into(),
        source_id: source.to_string(),
        time: None,
        data: Data::Json(Bytes::from(format!("{{\"body\":\"{body}\"}}"))),
        extensions: Vec::new(),
    };
    let headers = Event::headers("user");
    event.into_record(id, "2026-11-21T00:00:00.000Z", headers).unwrap()
}

pub fn id_of(record: &Record) -> String {
    dualstream_core::event::codec::id_of(record.value.as_ref().unwrap()).unwrap().into_owned()
}

//! A mirror over the simulated disk, driven as a task, and records as they would stand upstream.

use crate::rig::{Driven, Opens, PARTITIONS, Seeded, TestClock, event, topic};
use bytes::Bytes;
use dualstream_core::Result;
use dualstream_core::filter::Filter;
use dualstream_core::hidden::with_seen;
use dualstream_core::log::{Log, Read, Span};
use dualstream_core::mirror::{MirrorStore, Run};
use dualstream_core::record::Record;
use dualstream_core::topic::{Epoch, TopicName, TopicSpec};
use dualstream_log::{MemoryStorage, Mirror, Settings, Writer, open_mirror};
use std::sync::Arc;

/// One that is filled from elsewhere.
pub type MirrorRig = Driven<Mirror>;

impl Opens for Mirror {
    fn open(
        settings: Settings,
        storage: MemoryStorage,
        clock: Arc<TestClock>,
        entropy: Arc<Seeded>,
    ) -> Result<(Mirror, Writer)> {
        open_mirror(settings, Arc::new(storage), clock, entropy)
    }

    fn close(&self) {
        self.close();
    }
}

pub fn spec(name: &str) -> TopicSpec {
    TopicSpec { partitions: PARTITIONS, ..TopicSpec::events(topic(name)) }
}

impl MirrorRig {
    /// A mirror with two topics that begin at 100 in each partition.
    pub async fn start(settings: Settings, seed: u64) -> MirrorRig {
        let rig = MirrorRig::empty(settings, seed);
        for name in ["events", "chat"] {
            rig.log.begin(spec(name), Epoch(7), vec![100; PARTITIONS as usize]).await.unwrap();
        }
        rig
    }

    /// Everything in a topic, in log order.
    pub async fn all(&self, name: &TopicName) -> Vec<Record> {
        self.read(name, Filter::All, 1_000, false).await
    }

    pub async fn read(&self, name: &TopicName, filter: Filter, page: usize, reverse: bool) -> Vec<Record> {
        self.try_read(name, filter, page, reverse).await.unwrap()
    }

    pub async fn try_read(
        &self,
        name: &TopicName,
        filter: Filter,
        page: usize,
        reverse: bool,
    ) -> Result<Vec<Record>> {
        let bounds = self.log.bounds(name)?;
        let mut read = Read {
            topic: name.clone(),
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
            assert_eq!(page.gaps, Vec::new(), "a hole of the log is no damage");
            read.go_on(&page);
            records.extend(page.records);
        }
        Ok(records)
    }

    pub fn end_of(&self, name: &TopicName, partition: u32) -> u64 {
        self.log.bounds(name).unwrap().latest[partition as usize]
    }
}

/// A record as it stands upstream.
pub fn record(partition: u32, offset: u64, source: u32, id: &str) -> Record {
    let new = event(source, id, "");
    Record {
        partition,
        offset,
        append_time_ms: 1_000 + offset as i64 / 10,
        timestamp_ms: 1_000 + offset as i64 / 10,
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

/// The same, of a writer that had looked below `seen`.
pub fn seen(seen: u64, record: Record) -> Record {
    Record { headers: with_seen(&record.headers, seen), ..record }
}

/// A record that is no event.
pub fn plain(partition: u32, offset: u64, value: Option<&'static [u8]>) -> Record {
    let (append_time_ms, timestamp_ms) = (1_000 + offset as i64 / 10, 1_000 + offset as i64 / 10);
    let (key, value) = (None, value.map(Bytes::from_static));
    Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers: Default::default() }
}

pub fn run(name: &str, partition: u32, records: Vec<Record>, next: u64) -> Run {
    Run { topic: topic(name), id: 0, partition, records, next }
}

/// Bytes of each batch of a segment with [`PARTITIONS`] partitions.
pub fn batch_bytes(segment: &[u8]) -> Vec<usize> {
    let mut at = 40 + 8 * PARTITIONS as usize;
    let mut sizes = Vec::new();
    while let Some(length) = segment.get(at..at + 4) {
        sizes.push(4 + u32::from_le_bytes(length.try_into().unwrap()) as usize);
        at += sizes[sizes.len() - 1];
    }
    sizes
}

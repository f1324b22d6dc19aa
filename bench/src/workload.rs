//! Events to publish: of many sources, with ids of their own, padded to one size.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::Bytes;
use dualstream_core::{
    event::{Data, Event},
    log::{Commit, Part},
    partitioner::partition_of,
    record::{Headers, NewRecord},
    topic::TopicName,
};

use crate::embedded::{PARTITIONS, SplitMix};

const SOURCE_TYPES: [&str; 2] = ["repo", "user"];
const TIME: &str = "2026-11-21T08:00:00.000Z";
/// As long as every id.
const ID: &str = "0199a4b2-7c3d-7e5f-0000-000000000000";

/// Makes events, the same in every run.
pub(crate) struct Workload {
    random: SplitMix,
    headers: [Headers; SOURCE_TYPES.len()],
    sources: u64,
    /// Bytes of an encoded event.
    event_bytes: usize,
    made: u64,
}

impl Workload {
    pub fn new(sources: u64, event_bytes: usize) -> Self {
        let headers = SOURCE_TYPES.map(Event::headers);
        Workload { random: SplitMix::default(), headers, sources, event_bytes, made: 0 }
    }

    /// One commit of `count` events, dealt out to the topics and grouped as the publisher does.
    pub fn commit(&mut self, topics: &[TopicName], count: usize) -> Result<Commit> {
        let mut parts: Vec<Part> = Vec::new();
        let mut places = BTreeMap::new();
        for number in 0..count {
            let topic = &topics[number % topics.len()];
            let record = self.record()?;
            let partition = partition_of(record.key.as_deref().unwrap_or_default(), PARTITIONS);
            let place = *places.entry((topic, partition)).or_insert_with(|| {
                parts.push(Part { topic: topic.clone(), partition, records: Vec::new() });
                parts.len() - 1
            });
            parts[place].records.push(record);
        }
        Ok(Commit { parts, guard: None })
    }

    /// As [`commit`](Self::commit), but each partition number occurs in one topic only: as many batches however many
    /// topics.
    pub fn commit_apart(&mut self, topics: &[TopicName], count: usize) -> Result<Commit> {
        let mut commit = self.commit(&topics[..1], count)?;
        for part in &mut commit.parts {
            part.topic = topics[part.partition as usize % topics.len()].clone();
        }
        Ok(commit)
    }

    /// The event that was made as the `number`th: type and id of its source.
    fn source(&self, number: u64) -> (usize, String) {
        ((number % 2) as usize, format!("source/{number:05}"))
    }

    /// The next event, without an id: its publisher makes one.
    pub fn event(&mut self) -> Event {
        self.next().1
    }

    fn record(&mut self) -> Result<NewRecord> {
        let (source_type, event) = self.next();
        let id = format!("0199a4b2-7c3d-7e5f-{:04x}-{:012x}", self.random.below(1 << 16), self.made);
        Ok(event.into_record(&id, TIME, self.headers[source_type].clone())?)
    }

    /// An event of a random source, padded, and the type of its source.
    fn next(&mut self) -> (usize, Event) {
        let (source_type, source_id) = self.source(self.random.below(self.sources));
        self.made += 1;
        let event = |padding: usize| Event {
            event_type: "bench.happened".into(),
            source_type: SOURCE_TYPES[source_type].into(),
            source_id: source_id.clone(),
            data: Data::Json(Bytes::from(format!(
                "{{\"n\":\"{:08}\",\"p\":\"{:x<padding$}\"}}",
                self.made, ""
            ))),
            ..Event::default()
        };
        let bare = dualstream_core::event::codec::encode(&event(0), ID, TIME).len();
        (source_type, event(self.event_bytes.saturating_sub(bare)))
    }
}

/// Bytes of keys and values: what any log has to write.
pub(crate) fn payload_bytes(commit: &Commit) -> usize {
    let bytes = |record: &NewRecord| record.key.as_ref().map_or(0, Bytes::len) + value_bytes(record);
    commit.parts.iter().flat_map(|part| &part.records).map(bytes).sum()
}

/// Bytes of the encoded event.
pub(crate) fn value_bytes(record: &NewRecord) -> usize {
    record.value.as_ref().map_or(0, Bytes::len)
}

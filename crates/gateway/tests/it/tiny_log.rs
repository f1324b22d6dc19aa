//! A log in memory, for tests: twelve partitions, one total order, faults on request.

use dualstream_core::Error;
use dualstream_core::ErrorKind;
use dualstream_core::Result;
use dualstream_core::filter::source_of;
use dualstream_core::identity::{Comparison, compare, of_record};
use dualstream_core::log::{Appended, Bounds, Commit, Committed, Gap, Log, Page, PartCommitted, Read, Span};
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::sources::{SourceRange, Sources};
use dualstream_core::topic::{Epoch, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};

const PARTITIONS: usize = 12;
/// Append time of the first record; each commit is a millisecond later.
pub const FIRST_MS: i64 = 1_700_000_000_000;

pub struct TinyLog {
    state: Mutex<State>,
    gate: Arc<RwLock<()>>,
    commits: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<TopicName, Topic>,
    fault: Option<Error>,
    refused: u64,
}

struct Topic {
    spec: TopicSpec,
    epoch: Epoch,
    records: Vec<Record>,
    start: Vec<u64>,
    end: Vec<u64>,
    /// Indexes of records that cannot be read.
    damaged: Vec<usize>,
    /// How large it is is not told.
    hides_size: bool,
}

impl TinyLog {
    pub fn new() -> TinyLog {
        TinyLog { state: Mutex::default(), gate: Arc::default(), commits: watch::Sender::new(0) }
    }

    /// From now on commits fail with this; `None` mends it.
    pub fn fail_with(&self, fault: Option<Error>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Commits wait as long as this is kept.
    pub fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        self.gate.clone().try_write_owned().unwrap()
    }

    /// Commits that failed on request.
    pub fn refused(&self) -> u64 {
        self.state.lock().unwrap().refused
    }

    /// Forgets every record of a topic that is there now.
    pub fn trim(&self, topic: &TopicName) {
        self.with(topic, |topic| topic.start = topic.end.clone());
    }

    /// Forgets the first `count` records of each partition of a topic.
    pub fn trim_each(&self, topic: &TopicName, count: u64) {
        self.with(topic, |topic| {
            topic.start.iter_mut().zip(&topic.end).for_each(|(start, end)| *start = count.min(*end));
        });
    }

    /// From now on the record of a topic that was stored as that one cannot be read.
    pub fn damage(&self, topic: &TopicName, index: usize) {
        self.with(topic, |topic| topic.damaged.push(index));
    }

    /// As a log elsewhere does.
    pub fn hide_size(&self, topic: &TopicName) {
        self.with(topic, |topic| topic.hides_size = true);
    }

    pub fn count(&self, topic: &TopicName) -> usize {
        self.with(topic, |topic| topic.records.len())
    }

    fn with<T>(&self, name: &TopicName, act: impl FnOnce(&mut Topic) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let number = state.topics.len() as u64;
        let make = || Topic::new(TopicSpec::events(name.clone()), Epoch(0x1000 + number));
        act(state.topics.entry(name.clone()).or_insert_with(make))
    }

    fn apply(&self, commit: Commit) -> Result<Committed> {
        let mut state = self.state.lock().unwrap();
        if let Some(fault) = state.fault.clone() {
            state.refused += 1;
            return Err(fault);
        }
        drop(state);
        let now_ms = FIRST_MS + *self.commits.borrow() as i64;
        let parts = commit.parts.into_iter().map(|part| {
            self.with(&part.topic, |topic| PartCommitted {
                epoch: topic.epoch,
                records: part
                    .records
                    .into_iter()
                    .map(|new| topic.append(part.partition, new, now_ms))
                    .collect(),
            })
        });
        let parts = parts.collect();
        self.commits.send_modify(|count| *count += 1);
        Ok(Committed { parts })
    }
}

impl Topic {
    fn new(spec: TopicSpec, epoch: Epoch) -> Topic {
        let partitions = spec.partitions as usize;
        let (records, damaged, hides_size) = Default::default();
        let (start, end) = (vec![0; partitions], vec![0; partitions]);
        Topic { spec, epoch, records, start, end, damaged, hides_size }
    }

    fn info(&self) -> TopicInfo {
        let bytes = self.records.iter().map(|r| r.value.as_ref().map_or(0, |value| value.len() as u64)).sum();
        let bytes = Some(bytes).filter(|_| !self.hides_size);
        TopicInfo { spec: self.spec.clone(), epoch: self.epoch, bytes, segments: None }
    }

    fn append(&mut self, partition: u32, new: NewRecord, now_ms: i64) -> Appended {
        if let Some(identity) = new.identity.filter(|identity| identity.check) {
            for old in &self.records {
                if of_record(old) == Some(identity.hash) {
                    match compare(old, &new) {
                        Comparison::Same => {
                            return Appended::Duplicate { partition: old.partition, offset: old.offset };
                        }
                        Comparison::OtherBody => {
                            return Appended::Conflict { partition: old.partition, offset: old.offset };
                        }
                        Comparison::OtherIdentity => {}
                    }
                }
            }
        }
        let end = &mut self.end[partition as usize];
        let offset = *end;
        *end += 1;
        self.records.push(Record {
            partition,
            offset,
            append_time_ms: now_ms,
            timestamp_ms: now_ms,
            key: new.key,
            value: new.value,
            headers: new.headers,
        });
        Appended::Stored(offset)
    }

    fn read(&self, read: &Read) -> Result<Page> {
        let gone = |code| Error::new(ErrorKind::Gone, code, "gone");
        if read.epoch != self.epoch {
            return Err(gone("epoch_changed"));
        }
        for span in &read.spans {
            let partition = span.partition as usize;
            if span.from < self.start[partition] {
                return Err(gone("position_unrecoverable"));
            }
            if span.from > self.end[partition] {
                return Err(Error::invalid("position_from_future", "position", "from the future"));
            }
        }
        let mut order: Vec<(usize, &Record)> = self.records.iter().enumerate().collect();
        if read.reverse {
            order.reverse();
        }
        let end = |span: &Span| span.until.min(self.end[span.partition as usize]);
        let mut page = Page {
            next: read.spans.iter().map(|s| if read.reverse { end(s) } else { s.from }).collect(),
            ..Page::default()
        };
        let mut bytes = 0;
        for (at, record) in order {
            let within =
                |s: &Span| s.partition == record.partition && (s.from..s.until).contains(&record.offset);
            let Some(index) = read.spans.iter().position(within) else { continue };
            if self.damaged.contains(&at) {
                let (partition, from) = (record.partition, record.offset);
                page.gaps.push(Gap { after: page.records.len(), partition, from, until: from + 1 });
            } else if read.filter.matches_record(record) {
                if page.records.len() >= read.records_max || bytes > read.bytes_max {
                    return Ok(page);
                }
                bytes += record.value.as_ref().map_or(0, |value| value.len());
                page.records.push(record.clone());
            }
            page.next[index] = if read.reverse { record.offset } else { record.offset + 1 };
        }
        page.next = read.spans.iter().map(|s| if read.reverse { s.from } else { end(s) }).collect();
        Ok(page)
    }
}

impl Log for TinyLog {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        async move {
            let _passed = self.gate.read().await;
            self.apply(commit)
        }
        .boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        async move { self.with(&read.topic.clone(), |topic| topic.read(&read)) }.boxed()
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        Ok(self.with(topic, |topic| Bounds {
            epoch: topic.epoch,
            earliest: topic.start.clone(),
            latest: topic.end.clone(),
        }))
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        async move {
            let mut commits = self.commits.subscribe();
            let is_past = |topic: &mut Topic| {
                topic.epoch != epoch || topic.end.iter().zip(ends).any(|(end, seen)| end > seen)
            };
            while !self.with(topic, is_past) {
                let _ = commits.changed().await;
            }
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        let found = self.with(topic, |topic| {
            let first = |partition: usize| {
                let mut own = topic.records.iter().filter(|r| r.partition as usize == partition);
                own.find(|r| r.append_time_ms >= time_ms).map_or(topic.end[partition], |r| r.offset)
            };
            (0..PARTITIONS).map(first).collect()
        });
        async move { Ok(found) }.boxed()
    }
}

impl Topics for TinyLog {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        async move {
            let mut state = self.state.lock().unwrap();
            if state.topics.contains_key(&spec.name) {
                return Err(Error::new(ErrorKind::Conflict, "topic_exists", "it exists").with_field("topic"));
            }
            let topic = Topic::new(spec.clone(), Epoch(0x2000 + state.topics.len() as u64));
            let info = topic.info();
            state.topics.insert(spec.name, topic);
            Ok(info)
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        async move { Ok(self.state.lock().unwrap().topics.values().map(Topic::info).collect()) }.boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        async move { self.state.lock().unwrap().topics.get(&name).map(Topic::info).ok_or_else(unknown_topic) }
            .boxed()
    }

    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        self.with(&name, |topic| {
            let TopicAlteration { retention_ms, retention_bytes, partitions } = change;
            topic.spec.retention_ms = retention_ms.unwrap_or(topic.spec.retention_ms);
            topic.spec.retention_bytes = retention_bytes.unwrap_or(topic.spec.retention_bytes);
            topic.spec.partitions = partitions.unwrap_or(topic.spec.partitions);
            topic.start.resize(topic.spec.partitions as usize, 0);
            topic.end.resize(topic.spec.partitions as usize, 0);
        });
        self.describe(name)
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        self.state.lock().unwrap().topics.remove(&name);
        async { Ok(()) }.boxed()
    }

    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        self.with(&name, |topic| {
            topic.start.iter_mut().zip(below).for_each(|(start, below)| *start = below.max(*start));
        });
        async { Ok(()) }.boxed()
    }
}

impl Sources for TinyLog {
    fn sources<'a>(
        &'a self,
        topic: &'a TopicName,
        range: SourceRange,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        let found: BTreeSet<Vec<u8>> = self.with(topic, |topic| {
            let sources = topic.records.iter().filter_map(|r| source_of(&r.headers, r.key.as_deref()));
            sources.map(|(kind, id)| [kind, b":", id].concat()).filter(|source| range.holds(source)).collect()
        });
        async move { Ok(found.into_iter().take(range.max).collect()) }.boxed()
    }
}

fn unknown_topic() -> Error {
    Error::new(ErrorKind::NotFound, "unknown_topic", "there is no such topic").with_field("topic")
}

//! A log upstream of a mirror, in memory: for tests and simulation, with the faults that real ones have.
//!
//! Its records keep their offsets, holes stand for control records and aborted transactions, and whatever
//! [`Upstream`] promises holds, unless a test takes it away: [`MemoryUpstream::set_away`], [`MemoryUpstream::truncate`].

use crate::clock::Clock;
use crate::log::{Appended, Part, Span};
use crate::mirror::{Described, Place, Run, Sought, Tail, Upstream};
use crate::record::{NewRecord, Record};
use crate::topic::{Epoch, TimestampKind, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use crate::topics::Topics;
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most records of one run of the tail.
const RUN_RECORDS_MAX: usize = 500;

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct MemoryUpstream {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<TopicName, Topic>,
    created: u128,
    is_away: bool,
    fail_appends: Option<Error>,
    fetches: u64,
}

struct Topic {
    id: u128,
    spec: TopicSpec,
    partitions: Vec<Partition>,
}

#[derive(Clone, Default)]
struct Partition {
    start: u64,
    /// By offset; `None` is a hole.
    slots: Vec<Option<Record>>,
    /// An open transaction begins here.
    open_from: Option<u64>,
}

impl Partition {
    fn end(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Last stable offset.
    fn stable(&self) -> u64 {
        self.open_from.unwrap_or(self.end())
    }
}

impl MemoryUpstream {
    /// A log without topics.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryUpstream {
        let inner = Inner { clock, state: Mutex::default(), grown: Notify::new() };
        MemoryUpstream { inner: Arc::new(inner) }
    }

    /// Appends a record as some other program would.
    pub fn put(&self, topic: &TopicName, partition: u32, record: NewRecord) -> u64 {
        let now = self.inner.clock.now_ms();
        let mut offset = 0;
        self.change(topic, |topic| offset = topic.append(partition, &record, now));
        offset
    }

    /// Makes holes of `count` offsets at the end of a partition, as control records do.
    pub fn skip(&self, topic: &TopicName, partition: u32, count: usize) {
        self.change(topic, |topic| {
            let slots = &mut topic.partitions[partition as usize].slots;
            slots.resize(slots.len() + count, None);
        });
    }

    /// Opens a transaction at the end of a partition: what comes next is not visible before it is closed.
    pub fn open_transaction(&self, topic: &TopicName, partition: u32) {
        self.change(topic, |topic| {
            let partition = &mut topic.partitions[partition as usize];
            partition.open_from = Some(partition.end());
        });
    }

    /// Closes it.
    pub fn close_transaction(&self, topic: &TopicName, partition: u32) {
        self.change(topic, |topic| topic.partitions[partition as usize].open_from = None);
    }

    /// An unclean election loses everything from an offset on.
    pub fn truncate(&self, topic: &TopicName, partition: u32, from: u64) {
        self.change(topic, |topic| topic.partitions[partition as usize].slots.truncate(from as usize));
    }

    /// Nothing answers any more, or all does again.
    pub fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
        self.inner.grown.notify_waiters();
    }

    /// Every record to append fails with this from now on; `None` heals.
    pub fn fail_appends(&self, error: Option<Error>) {
        self.state().fail_appends = error;
    }

    /// Fetches that were asked for so far.
    pub fn fetches(&self) -> u64 {
        self.state().fetches
    }

    fn change(&self, topic: &TopicName, change: impl FnOnce(&mut Topic)) {
        let mut state = self.state();
        if let Some(topic) = state.topics.get_mut(topic) {
            change(topic);
        }
        drop(state);
        self.inner.grown.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn topic(&self, name: &TopicName) -> Result<&Topic> {
        if self.is_away {
            return Err(away());
        }
        let unknown = || {
            Error::new(ErrorKind::NotFound, "unknown_topic", format!("there is no topic '{name}'"))
                .with_field("topic")
        };
        self.topics.get(name).ok_or_else(unknown)
    }
}

impl Topic {
    fn append(&mut self, partition: u32, new: &NewRecord, now_ms: i64) -> u64 {
        let own = &mut self.partitions[partition as usize];
        let offset = own.end();
        let last = own.slots.iter().rev().flatten().next().map_or(i64::MIN, |record| record.append_time_ms);
        let timestamp_ms = match self.spec.timestamp {
            TimestampKind::Append => now_ms,
            TimestampKind::Create => new.timestamp_ms.unwrap_or(now_ms),
        };
        own.slots.push(Some(Record {
            partition,
            offset,
            append_time_ms: timestamp_ms.max(last),
            timestamp_ms,
            key: new.key.clone(),
            value: new.value.clone(),
            headers: new.headers.clone(),
        }));
        offset
    }

    /// Committed records of a span, and where to go on.
    fn run(&self, span: Span, records_max: usize, bytes_max: usize) -> Result<(Vec<Record>, u64)> {
        let Some(partition) = self.partitions.get(span.partition as usize) else {
            return Err(Error::invalid("unknown_partition", "partition", "the topic has no such partition"));
        };
        if span.from < partition.start || span.from > partition.end() {
            let message = "the position lies outside the partition";
            return Err(Error::new(ErrorKind::Gone, "position_unrecoverable", message));
        }
        let until = span.until.min(partition.stable());
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, span.from);
        while next < until && records.len() < records_max && (records.is_empty() || bytes < bytes_max) {
            if let Some(record) = &partition.slots[next as usize] {
                bytes += record.value.as_ref().map_or(0, |value| value.len()) + 100;
                records.push(record.clone());
            }
            next += 1;
        }
        Ok((records, next.max(span.from)))
    }
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "log_unavailable", "the log upstream does not answer")
}

impl Upstream for MemoryUpstream {
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>> {
        let now = self.inner.clock.now_ms();
        let mut state = self.state();
        let answer = parts.iter().try_for_each(|part| state.topic(&part.topic).map(drop)).map(|()| {
            let failed = state.fail_appends.clone();
            let mut append = |part: &Part| -> Vec<Appended> {
                let topic = state.topics.get_mut(&part.topic).expect("it was just looked up");
                let one = |record| match &failed {
                    Some(error) => Appended::Failed(error.clone()),
                    None => Appended::Stored(topic.append(part.partition, record, now)),
                };
                part.records.iter().map(one).collect()
            };
            parts.iter().map(&mut append).collect()
        });
        drop(state);
        self.inner.grown.notify_waiters();
        async move { answer }.boxed()
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Described>> {
        let described = self.state().topic(topic).map(|topic| Described {
            id: topic.id,
            spec: topic.spec.clone(),
            earliest: topic.partitions.iter().map(|p| p.start).collect(),
            latest: topic.partitions.iter().map(Partition::stable).collect(),
            high: topic.partitions.iter().map(Partition::end).collect(),
        });
        async move { described }.boxed()
    }

    fn fetch<'a>(&'a self, name: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>> {
        async move {
            let mut state = self.state();
            state.fetches += 1;
            let topic = state.topic(name)?;
            let (records, next) = topic.run(span, usize::MAX, bytes_max)?;
            Ok(Run { topic: name.clone(), id: topic.id, partition: span.partition, records, next })
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Sought>> {
        let found = self.state().topic(topic).map(|topic| {
            let first = |partition: &Partition| {
                let mut readable = partition.slots.iter().flatten().filter(|r| r.offset >= partition.start);
                readable
                    .find(|record| record.append_time_ms >= time_ms)
                    .map_or(partition.stable(), |r| r.offset)
            };
            Sought { id: topic.id, offsets: topic.partitions.iter().map(first).collect() }
        });
        async move { found }.boxed()
    }

    fn tail(&self) -> Result<Box<dyn Tail>> {
        Ok(Box::new(MemoryTail { upstream: self.clone(), places: Vec::new() }))
    }
}

impl Topic {
    fn info(&self) -> TopicInfo {
        let bytes = self.partitions.iter().map(|partition| partition.slots.len() as u64).sum();
        TopicInfo {
            spec: self.spec.clone(),
            epoch: Epoch(self.id as u64),
            bytes: Some(bytes),
            segments: None,
        }
    }
}

impl MemoryUpstream {
    fn administer<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let done = if state.is_away { Err(away()) } else { act(&mut state) };
        drop(state);
        self.inner.grown.notify_waiters();
        done
    }
}

impl Topics for MemoryUpstream {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        let created = self.administer(|state| {
            if state.topics.contains_key(&spec.name) {
                let message = format!("there is a topic '{}' already", spec.name);
                return Err(Error::new(ErrorKind::Conflict, "topic_exists", message));
            }
            state.created += 1;
            let partitions = vec![Partition::default(); spec.partitions as usize];
            let topic = Topic { id: state.created, spec, partitions };
            let info = topic.info();
            state.topics.insert(info.spec.name.clone(), topic);
            Ok(info)
        });
        async move { created }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        let all = self.administer(|state| Ok(state.topics.values().map(Topic::info).collect()));
        async move { all }.boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        let info = self.administer(|state| state.topic(&name).map(Topic::info));
        async move { info }.boxed()
    }

    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        let altered = self.administer(|state| {
            let partitions = state.topic(&name)?.partitions.len();
            let wanted = change.partitions.map_or(partitions, |wanted| wanted as usize);
            if wanted < partitions {
                let message = "partitions can only be added";
                return Err(Error::invalid("invalid_partitions", "partitions", message));
            }
            let topic = state.topics.get_mut(&name).expect("it was just looked up");
            topic.spec.partitions = wanted as u32;
            topic.partitions.resize_with(wanted, Partition::default);
            topic.spec.retention_ms = change.retention_ms.unwrap_or(topic.spec.retention_ms);
            topic.spec.retention_bytes = change.retention_bytes.unwrap_or(topic.spec.retention_bytes);
            Ok(topic.info())
        });
        async move { altered }.boxed()
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        let deleted = self.administer(|state| {
            state.topic(&name)?;
            state.topics.remove(&name);
            Ok(())
        });
        async move { deleted }.boxed()
    }

    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        let trimmed = self.administer(|state| {
            let ends: Vec<u64> = state.topic(&name)?.partitions.iter().map(Partition::end).collect();
            if below.len() != ends.len() || below.iter().zip(&ends).any(|(below, end)| below > end) {
                return Err(Error::invalid("invalid_trim", "before", "it lies past the end of the topic"));
            }
            let topic = state.topics.get_mut(&name).expect("it was just looked up");
            for (partition, below) in topic.partitions.iter_mut().zip(below) {
                partition.start = below.max(partition.start);
            }
            Ok(())
        });
        async move { trimmed }.boxed()
    }
}

struct MemoryTail {
    upstream: MemoryUpstream,
    places: Vec<Place>,
}

impl MemoryTail {
    fn take(&mut self) -> Result<Vec<Run>> {
        let state = self.upstream.state();
        let mut runs = Vec::new();
        for place in &mut self.places {
            let topic = state.topic(&place.topic)?;
            let span = Span { partition: place.partition, from: place.from, until: u64::MAX };
            let (records, next) = topic.run(span, RUN_RECORDS_MAX, 1 << 20)?;
            if next > place.from {
                place.from = next;
                let (name, partition) = (place.topic.clone(), place.partition);
                runs.push(Run { topic: name, id: topic.id, partition, records, next });
            }
        }
        Ok(runs)
    }
}

impl Tail for MemoryTail {
    fn assign(&mut self, places: Vec<Place>) -> BoxFuture<'_, Result<()>> {
        async move {
            let state = self.upstream.state();
            places.iter().try_for_each(|place| state.topic(&place.topic).map(drop))?;
            drop(state);
            self.places = places;
            Ok(())
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Run>>> {
        async move {
            loop {
                let upstream = self.upstream.clone();
                let grown = upstream.inner.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                let runs = self.take()?;
                if !runs.is_empty() {
                    return Ok(runs);
                }
                grown.await;
            }
        }
        .boxed()
    }
}

impl std::fmt::Debug for MemoryUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryUpstream").finish_non_exhaustive()
    }
}

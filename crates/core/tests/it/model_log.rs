//! A log as simple as it can be: one vector of records in the one order. The model the tests compare with, and a seam
//! to disturb: reads can be delayed, failed and interleaved with appends.

use dualstream_core::filter::{Filter, source_of};
use dualstream_core::hidden::{LeftOut, looked_for_in};
use dualstream_core::identity::is_same_event;
use dualstream_core::identity::{Comparison, compare, of_record};
use dualstream_core::log::*;
use dualstream_core::mirror::{Checked, MirrorStore, Run};
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::sources::{SourceRange, Sources};
use dualstream_core::topic::*;
use dualstream_core::topics::Topics;
use dualstream_core::transaction::{COMMIT_BYTES_MAX, Transaction, Transactions};
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

type Hook = Box<dyn FnMut(&Read) + Send>;

#[derive(Clone)]
pub struct ModelLog {
    state: Arc<Mutex<State>>,
    grown: Arc<Notify>,
    hook: Arc<Mutex<Option<Hook>>>,
}

#[derive(Default)]
struct State {
    now_ms: i64,
    next_epoch: u64,
    topics: BTreeMap<TopicName, Topic>,
    guards: BTreeMap<Arc<str>, u64>,
    fail_commits: Option<Error>,
    fail_next: Option<Error>,
    commits: usize,
}

struct Topic {
    spec: TopicSpec,
    epoch: Epoch,
    records: Vec<Record>,
    earliest: Vec<u64>,
    latest: Vec<u64>,
    damage: Vec<Gap>,
    left_out: LeftOut,
}

impl Topic {
    fn new(spec: TopicSpec, epoch: Epoch) -> Topic {
        let zeros = vec![0; spec.partitions as usize];
        Topic {
            spec,
            epoch,
            records: vec![],
            earliest: zeros.clone(),
            latest: zeros,
            damage: vec![],
            left_out: LeftOut::default(),
        }
    }
}

impl ModelLog {
    pub fn new(topics: &[&str]) -> ModelLog {
        let log = ModelLog {
            state: Arc::new(Mutex::new(State {
                now_ms: 1_700_000_000_000,
                next_epoch: 100,
                ..State::default()
            })),
            grown: Arc::default(),
            hook: Arc::default(),
        };
        for topic in topics {
            log.create_now(TopicSpec::events(TopicName::new(topic).unwrap())).unwrap();
        }
        log
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Runs before each read.
    pub fn on_read(&self, hook: impl FnMut(&Read) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub fn fail_commits(&self, error: Option<Error>) {
        self.lock().fail_commits = error;
    }

    pub fn fail_next(&self, error: Error) {
        self.lock().fail_next = Some(error);
    }

    pub fn heal(&self) {
        self.lock().fail_next = None;
    }

    pub fn commits(&self) -> usize {
        self.lock().commits
    }

    pub fn set_time(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// Damages the record at an offset.
    pub fn damage(&self, topic: &TopicName, partition: u32, offset: u64) {
        let mut state = self.lock();
        let gap = Gap { partition, from: offset, until: offset + 1, after: 0 };
        state.topics.get_mut(topic).unwrap().damage.push(gap);
    }

    /// Nothing is damaged any more.
    pub fn mend(&self) {
        self.lock().topics.values_mut().for_each(|topic| topic.damage.clear());
    }

    /// Leaves a hole in the offsets, as compaction and control records do.
    pub fn skip(&self, topic: &TopicName, partition: u32, offsets: u64) {
        self.lock().topics.get_mut(topic).unwrap().latest[partition as usize] += offsets;
        self.grown.notify_waiters();
    }

    pub fn trim_now(&self, topic: &TopicName, below: &[u64]) {
        let mut state = self.lock();
        let topic = state.topics.get_mut(topic).unwrap();
        for (own, &below) in topic.earliest.iter_mut().zip(below) {
            *own = below.max(*own);
        }
        let earliest = topic.earliest.clone();
        topic.records.retain(|r| r.offset >= earliest[r.partition as usize]);
    }

    pub fn recreate(&self, topic: &TopicName) {
        let mut state = self.lock();
        let spec = state.topics.remove(topic).unwrap().spec;
        drop(state);
        self.create_now(spec).unwrap();
    }

    /// All records of a topic in the one order.
    pub fn all(&self, topic: &TopicName) -> Vec<Record> {
        self.lock().topics[topic].records.clone()
    }

    pub fn create_now(&self, spec: TopicSpec) -> Result<TopicInfo> {
        let mut state = self.lock();
        if state.topics.contains_key(&spec.name) {
            return Err(Error::new(ErrorKind::Conflict, "topic_exists", "it exists"));
        }
        state.next_epoch += 1;
        let topic = Topic::new(spec.clone(), Epoch(state.next_epoch));
        let info = TopicInfo { spec: spec.clone(), epoch: topic.epoch, bytes: Some(0), segments: None };
        state.topics.insert(spec.name, topic);
        drop(state);
        self.grown.notify_waiters();
        Ok(info)
    }

    pub fn commit_now(&self, commit: Commit) -> Result<Committed> {
        let committed = self.lock().commit(commit)?;
        self.grown.notify_waiters();
        Ok(committed)
    }

    fn read_now(&self, read: &Read) -> Result<Page> {
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook(read);
            self.hook.lock().unwrap().get_or_insert(hook);
        }
        self.lock().read(read)
    }
}

fn unknown_topic() -> Error {
    Error::new(ErrorKind::NotFound, "unknown_topic", "there is no such topic")
}

impl State {
    fn topic(&self, name: &TopicName) -> Result<&Topic> {
        self.topics.get(name).ok_or_else(unknown_topic)
    }

    fn commit(&mut self, commit: Commit) -> Result<Committed> {
        self.commits += 1;
        if let Some(error) = self.fail_next.take() {
            return Err(error);
        }
        if let Some(error) = &self.fail_commits {
            return Err(error.clone());
        }
        if let Some(guard) = &commit.guard
            && self.guards.get(&guard.name).copied().unwrap_or(0) != guard.epoch
        {
            return Err(Error::new(ErrorKind::Fenced, "fenced", "a newer owner took over"));
        }
        let bytes: usize = commit.parts.iter().flat_map(|p| &p.records).map(NewRecord::weight).sum();
        if bytes > COMMIT_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "commit_too_large", "too large"));
        }
        for part in &commit.parts {
            if part.partition >= self.topic(&part.topic)?.spec.partitions {
                return Err(Error::invalid("unknown_partition", "partition", "there is no such partition"));
            }
        }
        let parts = commit.parts.into_iter().map(|part| self.append(part)).collect();
        Ok(Committed { parts })
    }

    fn append(&mut self, part: Part) -> PartCommitted {
        let now_ms = self.now_ms;
        if part.topic.as_str() == GUARDS_TOPIC {
            for record in &part.records {
                let name = String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
                let epoch = u64::from_be_bytes(record.value.as_deref().unwrap().try_into().unwrap());
                self.guards.insert(name.into(), epoch);
            }
        }
        let topic = self.topics.get_mut(&part.topic).unwrap();
        let records = part.records.into_iter().map(|r| topic.append(part.partition, r, now_ms)).collect();
        PartCommitted { epoch: topic.epoch, records }
    }

    fn read(&self, read: &Read) -> Result<Page> {
        let topic = self.topic(&read.topic)?;
        if topic.epoch != read.epoch {
            return Err(Error::new(ErrorKind::Gone, "epoch_changed", "another epoch"));
        }
        for span in &read.spans {
            let p = span.partition as usize;
            if span.from < topic.earliest[p] {
                return Err(Error::new(ErrorKind::Gone, "position_unrecoverable", "retention passed it"));
            }
            if span.from > topic.latest[p] {
                return Err(Error::invalid("position_from_future", "position", "past the end"));
            }
        }
        Ok(topic.read(read))
    }
}

impl Topic {
    fn append(&mut self, partition: u32, new: NewRecord, now_ms: i64) -> Appended {
        if let Some(identity) = new.identity.filter(|i| i.check) {
            for stored in self.records.iter().filter(|r| of_record(r) == Some(identity.hash)) {
                match compare(stored, &new) {
                    Comparison::Same => {
                        return Appended::Duplicate { partition: stored.partition, offset: stored.offset };
                    }
                    Comparison::OtherBody => {
                        return Appended::Conflict { partition: stored.partition, offset: stored.offset };
                    }
                    Comparison::OtherIdentity => {}
                }
            }
        }
        let offset = self.latest[partition as usize];
        self.latest[partition as usize] += 1;
        let append_time_ms = self.records.last().map_or(now_ms, |r| r.append_time_ms.max(now_ms));
        let timestamp_ms = match self.spec.timestamp {
            TimestampKind::Append => append_time_ms,
            TimestampKind::Create => new.timestamp_ms.unwrap_or(append_time_ms),
        };
        let (key, value, headers) = (new.key, new.value, new.headers);
        self.records.push(Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers });
        Appended::Stored(offset)
    }

    fn read(&self, read: &Read) -> Page {
        let mut page = Page::default();
        let until = |span: &Span| span.until.min(self.latest[span.partition as usize]);
        let (mut next, mut bytes, mut full): (Vec<u64>, _, _) = match read.reverse {
            false => (read.spans.iter().map(|s| s.from).collect(), 0, false),
            true => (read.spans.iter().map(until).collect(), 0, false),
        };
        let mut visit = |record: &Record| {
            let Some(at) = read.spans.iter().position(|s| s.partition == record.partition) else { return };
            if full || record.offset < read.spans[at].from || record.offset >= until(&read.spans[at]) {
                return;
            }
            let wanted = match (&read.filter, source_of(&record.headers, record.key.as_deref())) {
                (Filter::All, _) => true,
                (filter, _) => filter.matches_record(record),
            };
            let damaged =
                self.damage.iter().find(|g| g.partition == record.partition && g.from == record.offset);
            if let Some(gap) = damaged {
                page.gaps.push(Gap { after: page.records.len(), ..*gap });
            } else if wanted {
                page.records.push(record.clone());
                bytes +=
                    record.key.as_ref().map_or(0, |k| k.len()) + record.value.as_ref().map_or(0, |v| v.len());
            }
            next[at] = if read.reverse { record.offset } else { record.offset + 1 };
            full = page.records.len() >= read.records_max || bytes > read.bytes_max;
        };
        match read.reverse {
            false => self.records.iter().for_each(&mut visit),
            true => self.records.iter().rev().for_each(&mut visit),
        }
        if !full {
            for (next, span) in next.iter_mut().zip(&read.spans) {
                *next = if read.reverse { span.from } else { until(span).max(span.from) };
            }
        }
        page.next = next;
        page
    }
}

impl Log for ModelLog {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        async move { self.commit_now(commit) }.boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        async move { self.read_now(&read) }.boxed()
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        let state = self.lock();
        let topic = state.topic(topic)?;
        Ok(Bounds { epoch: topic.epoch, earliest: topic.earliest.clone(), latest: topic.latest.clone() })
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        async move {
            loop {
                let grown = self.grown.notified();
                let mut grown = std::pin::pin!(grown);
                grown.as_mut().enable();
                match self.bounds(topic) {
                    Ok(b) if b.epoch == epoch && b.latest.iter().zip(ends).all(|(now, end)| now <= end) => {}
                    _ => return,
                }
                grown.await;
            }
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        async move {
            let state = self.lock();
            let topic = state.topic(topic)?;
            let mut offsets = topic.latest.clone();
            for record in topic.records.iter().rev().filter(|r| r.append_time_ms >= time_ms) {
                offsets[record.partition as usize] = record.offset;
            }
            Ok(offsets)
        }
        .boxed()
    }
}

impl Sources for ModelLog {
    fn sources<'a>(
        &'a self,
        topic: &'a TopicName,
        range: SourceRange,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        async move {
            let state = self.lock();
            let whole = |r: &Record| {
                let (source_type, id) = source_of(&r.headers, r.key.as_deref())?;
                Some([source_type, b":", id].concat()).filter(|source| range.holds(source))
            };
            let all: BTreeSet<Vec<u8>> = state.topic(topic)?.records.iter().filter_map(whole).collect();
            Ok(all.into_iter().take(range.max).collect())
        }
        .boxed()
    }
}

impl Topics for ModelLog {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<TopicInfo>> {
        async move { self.create_now(spec) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        let info =
            |t: &Topic| TopicInfo { spec: t.spec.clone(), epoch: t.epoch, bytes: Some(0), segments: None };
        async move { Ok(self.lock().topics.values().map(info).collect()) }.boxed()
    }

    fn describe(&self, name: TopicName) -> BoxFuture<'_, Result<TopicInfo>> {
        let info =
            |t: &Topic| TopicInfo { spec: t.spec.clone(), epoch: t.epoch, bytes: Some(0), segments: None };
        async move { self.lock().topic(&name).map(info) }.boxed()
    }

    fn alter(&self, name: TopicName, change: TopicAlteration) -> BoxFuture<'_, Result<TopicInfo>> {
        async move {
            let mut state = self.lock();
            let fresh = Epoch(state.next_epoch + 1);
            let topic = state.topics.get_mut(&name).ok_or_else(unknown_topic)?;
            topic.spec.retention_ms = change.retention_ms.unwrap_or(topic.spec.retention_ms);
            topic.spec.retention_bytes = change.retention_bytes.unwrap_or(topic.spec.retention_bytes);
            if let Some(partitions) = change.partitions {
                topic.spec.partitions = partitions;
                topic.earliest.resize(partitions as usize, 0);
                topic.latest.resize(partitions as usize, 0);
                topic.epoch = fresh;
            }
            let info =
                TopicInfo { spec: topic.spec.clone(), epoch: topic.epoch, bytes: Some(0), segments: None };
            state.next_epoch += 1;
            drop(state);
            self.grown.notify_waiters();
            Ok(info)
        }
        .boxed()
    }

    fn delete(&self, name: TopicName) -> BoxFuture<'_, Result<()>> {
        async move {
            let removed = self.lock().topics.remove(&name).map(|_| ()).ok_or_else(unknown_topic);
            self.grown.notify_waiters();
            removed
        }
        .boxed()
    }

    fn trim(&self, name: TopicName, below: Vec<u64>) -> BoxFuture<'_, Result<()>> {
        async move {
            let bounds = self.bounds(&name)?;
            if below.len() != bounds.latest.len() || below.iter().zip(&bounds.latest).any(|(b, l)| b > l) {
                return Err(Error::invalid("position_from_future", "below", "past the end"));
            }
            self.trim_now(&name, &below);
            Ok(())
        }
        .boxed()
    }
}

struct ModelTransaction {
    log: ModelLog,
    guard: Guard,
    parts: Vec<Part>,
    bytes: usize,
}

impl Transactions for ModelLog {
    fn begin<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Box<dyn Transaction>>> {
        async move {
            let mut state = self.lock();
            let epoch = state.guards.entry(format!("transaction:{name}").into()).or_insert(0);
            *epoch += 1;
            let guard = Guard { name: format!("transaction:{name}").into(), epoch: *epoch };
            drop(state);
            let transaction = ModelTransaction { log: self.clone(), guard, parts: vec![], bytes: 0 };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        }
        .boxed()
    }
}

impl Transaction for ModelTransaction {
    fn append(&mut self, part: Part) -> Result<()> {
        let bytes = self.bytes + part.records.iter().map(NewRecord::weight).sum::<usize>();
        if bytes > COMMIT_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "transaction_too_large", "too large"));
        }
        self.bytes = bytes;
        self.parts.push(part);
        Ok(())
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<Committed>> {
        async move { self.log.commit_now(Commit { parts: self.parts, guard: Some(self.guard) }) }.boxed()
    }

    fn abort(self: Box<Self>) {}
}

impl MirrorStore for ModelLog {
    fn begin<'a>(&'a self, spec: TopicSpec, epoch: Epoch, start: Vec<u64>) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut state = self.lock();
            if let Some(error) = state.fail_next.take() {
                return Err(error);
            }
            let name = spec.name.clone();
            let topic = Topic { earliest: start.clone(), latest: start, ..Topic::new(spec, epoch) };
            state.topics.insert(name, topic);
            self.grown.notify_waiters();
            Ok(())
        }
        .boxed()
    }

    fn append<'a>(&'a self, topic: &'a TopicName, runs: Vec<Run>, _: Vec<u64>) -> BoxFuture<'a, Result<u64>> {
        async move {
            let mut state = self.lock();
            if let Some(error) = state.fail_next.take() {
                return Err(error);
            }
            let topic = state.topics.get_mut(topic).ok_or_else(unknown_topic)?;
            let mut hidden = 0;
            for run in runs {
                let end = topic.latest[run.partition as usize];
                if run.next < end || run.records.first().is_some_and(|first| first.offset < end) {
                    return Err(Error::new(ErrorKind::Conflict, "mirror_out_of_step", "not at the end"));
                }
                for record in run.records {
                    let range = looked_for_in(&record).unwrap_or(0..0);
                    let is_first = |r: &&Record| r.partition == record.partition && range.contains(&r.offset);
                    let is_shown = topic.records.iter().filter(is_first).any(|r| is_same_event(r, &record));
                    if is_shown || topic.left_out.hides(&record) {
                        hidden += 1;
                        topic.left_out.add(record);
                    } else {
                        topic.records.push(record);
                    }
                }
                topic.latest[run.partition as usize] = run.next;
            }
            drop(state);
            self.grown.notify_waiters();
            Ok(hidden)
        }
        .boxed()
    }

    fn check<'a>(
        &'a self,
        topic: &'a TopicName,
        events: Vec<(u32, NewRecord)>,
    ) -> BoxFuture<'a, Result<Vec<Checked>>> {
        async move {
            let state = self.lock();
            let topic = state.topic(topic)?;
            let check = |(partition, new): (u32, NewRecord)| {
                let found = topic.records.iter().find_map(|stored| match compare(stored, &new) {
                    Comparison::Same => {
                        Some(Appended::Duplicate { partition: stored.partition, offset: stored.offset })
                    }
                    Comparison::OtherBody => {
                        Some(Appended::Conflict { partition: stored.partition, offset: stored.offset })
                    }
                    Comparison::OtherIdentity => None,
                });
                Checked { found, seen: topic.latest[partition as usize] }
            };
            Ok(events.into_iter().map(check).collect())
        }
        .boxed()
    }

    fn forget<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<()>> {
        self.lock().topics.remove(topic);
        self.grown.notify_waiters();
        async { Ok(()) }.boxed()
    }
}

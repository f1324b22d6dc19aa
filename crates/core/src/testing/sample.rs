//! Events, commits and reads for checks.

use super::Backend;
use crate::event::{Data, Event};
use crate::filter::Filter;
use crate::log::{Appended, Bounds, Commit, Committed, Log, Part, Read, Span};
use crate::partitioner::partition_of;
use crate::record::{NewRecord, Record};
use crate::topic::{TopicName, TopicSpec};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Keys of a check's events.
pub(super) const KEYS: usize = 1000;
/// Partitions of a check's topics.
pub(super) const PARTITIONS: u32 = 12;

/// The record of an event with a caller's id.
pub fn event_record(source_type: &str, source_id: &str, id: &str, body: &str) -> NewRecord {
    let event = Event {
        id: Some(id.to_owned()),
        event_type: "check".into(),
        source_type: source_type.into(),
        source_id: source_id.into(),
        data: Data::Json(Bytes::from(format!("{{\"body\":\"{body}\"}}"))),
        ..Event::default()
    };
    event.into_record(id, "2026-01-01T00:00:00Z", Event::headers(source_type)).expect("a small event")
}

/// The n-th event of a check: three source types, [`KEYS`] keys, of which `hot` gets every seventh.
pub(super) fn nth(n: usize) -> NewRecord {
    let source_type = ["repo", "user", "order"][n % 3];
    let key = if n % 7 == 3 { "hot".to_owned() } else { format!("key-{}", n * 31 % KEYS) };
    event_record(source_type, &key, &format!("id-{n}"), &"x".repeat(n % 50))
}

/// A part for the partition of the record's key.
pub fn part(topic: &TopicName, record: NewRecord) -> Part {
    let partition = partition_of(record.key.as_deref().unwrap_or_default(), PARTITIONS);
    Part { topic: topic.clone(), partition, records: vec![record] }
}

/// Parts of several records, one per partition, order kept.
pub(super) fn parts(topic: &TopicName, records: Vec<NewRecord>) -> Vec<Part> {
    let mut by_partition: BTreeMap<u32, Part> = BTreeMap::new();
    for record in records {
        let one = part(topic, record);
        by_partition
            .entry(one.partition)
            .and_modify(|p| p.records.extend_from_slice(&one.records))
            .or_insert(one);
    }
    by_partition.into_values().collect()
}

/// Creates a topic of twelve partitions.
pub(super) async fn create(backend: &Backend, name: &str) -> TopicName {
    let topic = backend.topic(name);
    backend.topics.create(TopicSpec::events(topic.clone())).await.expect("a new topic is created");
    topic
}

/// Commits and expects it to be taken.
pub async fn commit_all(log: &dyn Log, parts: Vec<Part>) -> Committed {
    log.commit(Commit { parts, guard: None }).await.expect("the commit is taken")
}

/// Commits the events `from..until` in commits of 1, 2, 3 … records over all partitions.
pub(super) async fn fill(log: &dyn Log, topic: &TopicName, from: usize, until: usize) {
    let (mut at, mut size) = (from, 1);
    while at < until {
        let end = until.min(at + size);
        let committed = commit_all(log, parts(topic, (at..end).map(nth).collect())).await;
        let stored = |a: &Appended| matches!(a, Appended::Stored(_));
        assert!(committed.parts.iter().flat_map(|p| &p.records).all(stored), "new events are stored");
        (at, size) = (end, size % 40 + 1);
    }
}

/// Bounds that must be there.
pub(super) fn bounds(log: &dyn Log, topic: &TopicName) -> Bounds {
    log.bounds(topic).expect("the topic is there")
}

/// A forward read of everything between two vectors, in pages of `records_max`.
pub(super) async fn read_between(
    log: &dyn Log,
    topic: &TopicName,
    filter: &Filter,
    (from, until): (&[u64], &[u64]),
    (records_max, bytes_max): (usize, usize),
    reverse: bool,
) -> Vec<Record> {
    let epoch = bounds(log, topic).epoch;
    let (topic, filter, spans) = (topic.clone(), filter.clone(), Span::all(from, until));
    let mut read = Read { topic, epoch, spans, filter, records_max, bytes_max, reverse };
    let (mut records, mut idle) = (Vec::new(), 0);
    while !read.is_over() {
        let page = log.read(read.clone()).await.expect("the stretch is readable");
        assert!(page.records.len() <= records_max, "a page has at most records_max records");
        assert_eq!(page.next.len(), read.spans.len(), "one next per span");
        let stays = |(span, &next): (&Span, &u64)| span.from <= next && next <= span.until;
        assert!(read.spans.iter().zip(&page.next).all(stays), "next stays in its span");
        let before = read.spans.clone();
        read.go_on(&page);
        idle = if before == read.spans { idle + 1 } else { 0 };
        assert!(idle < 3, "a page moves on: {before:?}");
        records.extend(page.records);
    }
    records
}

/// All records of a topic in the log's one order.
pub async fn read_all(log: &dyn Log, topic: &TopicName) -> Vec<Record> {
    let bounds = bounds(log, topic);
    let stretch = (&bounds.earliest[..], &bounds.latest[..]);
    read_between(log, topic, &Filter::All, stretch, (1000, 1 << 20), false).await
}

/// Partition and offset of each.
pub(super) fn places(records: &[Record]) -> Vec<(u32, u64)> {
    records.iter().map(|r| (r.partition, r.offset)).collect()
}

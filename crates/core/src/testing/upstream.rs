//! A log that stands elsewhere, as a mirror reads it.

use super::sample::{PARTITIONS, nth, part, parts};
use super::tails::{Follower, places};
use super::{Check, checks};
use crate::ErrorKind;
use crate::log::{Appended, Part, Span};
use crate::mirror::{Sought, Upstream};
use crate::record::{Header, Headers, NewRecord, Record};
use crate::topic::{TopicName, TopicSpec};
use crate::topics::Topics;
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The checks, in reading order.
pub const CHECKS: &[Check<UpstreamBackend>] = checks![UpstreamBackend:
    what_is_appended_is_described_and_fetched,
    records_of_a_partition_stay_in_the_order_of_the_calls,
    odd_records_come_through,
    unknown_topics_are_not_found,
    a_fetch_is_bounded_and_goes_on,
    a_fetch_passes_holes,
    what_is_gone_is_told,
    a_time_is_a_place,
];

/// What the suites [`super::UPSTREAM`] and [`super::TAILS`] run on.
pub struct UpstreamBackend {
    /// The log.
    pub upstream: Arc<dyn Upstream>,
    /// Its topics.
    pub topics: Arc<dyn Topics>,
    /// What others do to it.
    pub foreign: Arc<dyn Foreign>,
    /// What topic names begin with, so that checks can share a server.
    pub prefix: String,
    /// Dropped after the check.
    pub keep: Box<dyn Any + Send>,
}

impl UpstreamBackend {
    /// A topic of twelve partitions.
    pub(super) async fn create(&self, name: &str) -> TopicName {
        let name = TopicName::new(&format!("{}-{name}", self.prefix)).expect("a legal name");
        self.topics.create(TopicSpec::events(name.clone())).await.expect("created");
        name
    }

    /// The `n`-th events, each in the partition of its key.
    pub(super) async fn fill(&self, topic: &TopicName, events: std::ops::Range<usize>) {
        for start in events.clone().step_by(200) {
            let end = events.end.min(start + 200);
            self.append(parts(topic, (start..end).map(nth).collect())).await;
        }
    }

    pub(super) async fn append(&self, parts: Vec<Part>) -> Vec<Vec<u64>> {
        let outcomes = self.upstream.append(parts).await.expect("it is tried");
        let offset = |outcome: &Appended| match outcome {
            Appended::Stored(offset) => *offset,
            other => panic!("not stored: {other:?}"),
        };
        outcomes.iter().map(|records| records.iter().map(offset).collect()).collect()
    }

    /// Takes what is below an offset of one partition.
    pub(super) async fn trim(&self, topic: &TopicName, partition: usize, below: u64) {
        let mut all = self.upstream.describe(topic).await.expect("described").earliest;
        all[partition] = below;
        self.topics.trim(topic.clone(), all).await.expect("trimmed");
    }

    /// Last stable offsets.
    pub(super) async fn latest(&self, topic: &TopicName) -> Vec<u64> {
        self.upstream.describe(topic).await.expect("described").latest
    }
}

/// What programs that know nothing of dualstream do to a log.
pub trait Foreign: Send + Sync {
    /// A transaction with these records in one partition, committed or aborted, and waits until that is seen. Its mark
    /// leaves a hole.
    fn transaction(&self, part: Part, is_committed: bool) -> BoxFuture<'_, ()>;

    /// A transaction with one record in a partition that stays open until it is [released](Foreign::release).
    fn hold<'a>(&'a self, topic: &'a TopicName, partition: u32) -> BoxFuture<'a, ()>;

    /// Aborts the transaction that is held, and waits until that is seen.
    fn release<'a>(&'a self, topic: &'a TopicName, partition: u32) -> BoxFuture<'a, ()>;
}

/// Everything of a span, by as many fetches as it takes.
pub(super) async fn fetch(
    b: &UpstreamBackend,
    topic: &TopicName,
    mut span: Span,
    bytes_max: usize,
) -> Vec<Record> {
    let end = b.latest(topic).await[span.partition as usize].min(span.until);
    let mut records = Vec::new();
    while span.from < end {
        let run = b.upstream.fetch(topic, span, bytes_max).await.expect("the span is there");
        assert_eq!((&run.topic, run.partition), (topic, span.partition));
        assert!(run.records.iter().all(|r| (span.from..span.until).contains(&r.offset)));
        assert!(run.records.is_sorted_by_key(|r| r.offset));
        let behind = run.records.last().map_or(span.from, |record| record.offset + 1);
        assert!(behind <= run.next && run.next <= span.until, "{span:?}: next is exact: {}", run.next);
        assert!(!run.records.is_empty() || run.next >= end, "{span:?}: at least one if there is one");
        records.extend(run.records);
        span.from = run.next;
    }
    records
}

pub(super) fn all_of(partition: u32) -> Span {
    Span { partition, from: 0, until: u64::MAX }
}

/// What a record brings from its producer.
pub(super) fn content(record: &Record) -> (Option<Bytes>, Option<Bytes>, Headers) {
    (record.key.clone(), record.value.clone(), record.headers.clone())
}

fn given(record: &NewRecord) -> (Option<Bytes>, Option<Bytes>, Headers) {
    (record.key.clone(), record.value.clone(), record.headers.clone())
}

pub(super) fn offsets(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.offset).collect()
}

/// Every record is stored once, at the offset that was told, in the partition it was given for.
async fn what_is_appended_is_described_and_fetched(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let empty = b.upstream.describe(&topic).await.expect("described");
    assert_eq!((empty.spec.partitions, &empty.spec.name), (PARTITIONS, &topic));
    assert_eq!((&empty.earliest, &empty.latest, &empty.high), (&vec![0; 12], &vec![0; 12], &vec![0; 12]));
    let mut model: BTreeMap<u32, Vec<NewRecord>> = BTreeMap::new();
    for start in (0..3000).step_by(500) {
        let given = parts(&topic, (start..start + 500).map(nth).collect());
        let stored = b.append(given.clone()).await;
        for (part, stored) in given.into_iter().zip(stored) {
            let before = model.entry(part.partition).or_default();
            let expected = before.len() as u64..;
            assert!(stored.iter().copied().eq(expected.take(part.records.len())), "one after the other");
            before.extend(part.records);
        }
    }
    let full = b.upstream.describe(&topic).await.expect("described");
    let counts: Vec<u64> = (0..PARTITIONS).map(|p| model[&p].len() as u64).collect();
    assert_eq!((full.id, &full.latest, &full.high), (empty.id, &counts, &counts));
    for (partition, model) in model {
        let read = fetch(&b, &topic, all_of(partition), 1 << 20).await;
        assert!(read.iter().map(content).eq(model.iter().map(given)), "as they were given");
        assert!(read.iter().map(|r| r.offset).eq(0..model.len() as u64));
        assert!(read.is_sorted_by_key(|r| r.append_time_ms) && read.iter().all(|r| r.append_time_ms > 0));
    }
}

/// Calls that are under way at the same time do not overtake each other.
async fn records_of_a_partition_stay_in_the_order_of_the_calls(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let one = |n: usize| b.append(vec![part(&topic, nth(n))]);
    join_all((0..2000).map(one)).await;
    for partition in 0..PARTITIONS {
        let read = fetch(&b, &topic, all_of(partition), 1 << 20).await;
        let given = (0..2000).map(|n| part(&topic, nth(n))).filter(|p| p.partition == partition);
        let given: Vec<_> = given.map(|p| p.records[0].value.clone()).collect();
        assert_eq!(read.into_iter().map(|record| record.value).collect::<Vec<_>>(), given);
    }
}

/// Null and empty keys and values, headers that repeat, are null, are no text or are large: as they are.
async fn odd_records_come_through(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let header = |name: &'static str, value| Header { name: Bytes::from_static(name.as_bytes()), value };
    let lists = [
        vec![],
        vec![header("a", bytes(b"1")), header("a", bytes(b"2")), header("a", None)],
        vec![header("", bytes(b"")), header("b", bytes(b"\xff\xfe\0\x80"))],
        vec![header("large", Some(Bytes::from(vec![b'x'; 64 << 10])))],
    ];
    let values = [None, bytes(b""), bytes(b"\0"), bytes(b"\xff not text \xc3\x28")];
    let mut records = Vec::new();
    for key in [None, bytes(b""), bytes(b"\xfe key")] {
        for value in &values {
            for list in &lists {
                let (key, headers) = (key.clone(), Headers::new(list.clone()));
                records.push(NewRecord { key, value: value.clone(), headers, ..NewRecord::default() });
            }
        }
    }
    b.append(vec![Part { topic: topic.clone(), partition: 7, records: records.clone() }]).await;
    let expected: Vec<_> = records.iter().map(given).collect();
    let fetched = fetch(&b, &topic, all_of(7), 1 << 20).await;
    assert_eq!(fetched.iter().map(content).collect::<Vec<_>>(), expected);
    let mut follower = Follower::new(&*b.upstream, places(&topic, &[0; 12])).await;
    follower.until(&topic, &b.latest(&topic).await).await;
    assert_eq!(follower.records(&topic, 7).iter().map(content).collect::<Vec<_>>(), expected);
}

/// Every call that names a topic says so when there is none.
async fn unknown_topics_are_not_found(b: UpstreamBackend) {
    let missing = TopicName::new(&format!("{}-missing", b.prefix)).expect("a legal name");
    let errors = [
        b.upstream.describe(&missing).await.map(drop),
        b.upstream.append(vec![part(&missing, nth(1))]).await.and_then(|mut outcomes| {
            // Or record by record.
            match outcomes.remove(0).remove(0) {
                Appended::Failed(error) => Err(error),
                _ => Ok(()),
            }
        }),
        b.upstream.fetch(&missing, all_of(0), 1000).await.map(drop),
        b.upstream.seek(&missing, 0).await.map(drop),
    ];
    for (call, outcome) in errors.into_iter().enumerate() {
        let error = outcome.expect_err("there is no such topic");
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "unknown_topic"), "call {call}");
    }
}

/// It gives about as much as was asked for, one record at least, and ends where its span does.
async fn a_fetch_is_bounded_and_goes_on(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let large = |n: usize| NewRecord { value: Some(Bytes::from(vec![n as u8; 20_000])), ..nth(n) };
    let records: Vec<NewRecord> = (0..100).map(large).collect();
    b.append(vec![Part { topic: topic.clone(), partition: 5, records }]).await;
    let first = b.upstream.fetch(&topic, all_of(5), 1).await.expect("fetched");
    assert_eq!((first.records.len(), first.next), (1, 1), "one record always fits");
    let some = b.upstream.fetch(&topic, all_of(5), 100_000).await.expect("fetched");
    assert!((2..20).contains(&some.records.len()), "{} records", some.records.len());
    for (from, until) in [(0, 100), (3, 4), (10, 90), (99, 1000), (0, u64::MAX)] {
        let read = fetch(&b, &topic, Span { partition: 5, from, until }, 70_000).await;
        assert!(offsets(&read).into_iter().eq(from..until.min(100)), "{from}..{until}");
    }
    let nothing = b.upstream.fetch(&topic, Span { partition: 5, from: 7, until: 7 }, 1000).await;
    assert_eq!(nothing.map(|run| (run.records.len(), run.next)), Ok((0, 7)));
    let end = b.upstream.fetch(&topic, Span { partition: 5, from: 100, until: 200 }, 1000).await;
    assert_eq!(end.map(|run| (run.records.len(), run.next)), Ok((0, 100)), "the end of the partition");
}

/// Records with the marks of transactions, and what was aborted, between and behind them: the offsets that are there.
pub(super) async fn holes(b: &UpstreamBackend, topic: &TopicName, partition: u32) -> Vec<u64> {
    let mut there = Vec::new();
    let mut end = 0;
    for (count, is_committed) in
        [(3, false), (4, true), (0, true), (5, false), (2, true), (1, false), (7, false)]
    {
        let plain = Part { topic: topic.clone(), partition, records: (0..count).map(nth).collect() };
        if count == 0 {
            let records = (0..6).map(nth).collect();
            there.extend(b.append(vec![Part { records, ..plain }]).await.remove(0));
            end += 6;
            continue;
        }
        b.foreign.transaction(plain, is_committed).await;
        there.extend((end..end + count as u64).filter(|_| is_committed));
        end = b.latest(topic).await[partition as usize];
    }
    there
}

/// From wherever and to wherever, a span with holes gives its records and is over at its end.
async fn a_fetch_passes_holes(b: UpstreamBackend) {
    let topic = b.create("a").await;
    let there = holes(&b, &topic, 3).await;
    let end = b.latest(&topic).await[3];
    assert!(there.len() < end as usize, "there are holes");
    for from in 0..=end {
        for until in [from + 1, from + 4, end, end + 5, u64::MAX] {
            let span = Span { partition: 3, from, until };
            let expected: Vec<u64> = there.iter().copied().filter(|o| (from..until).contains(o)).collect();
            let run = b.upstream.fetch(&topic, span, 1 << 20).await.expect("fetched");
            assert_eq!(offsets(&run.records), expected, "{span:?}");
            assert_eq!(run.next, until.min(end), "{span:?}");
        }
    }
}

/// Below the start of a partition there is nothing to be had.
async fn what_is_gone_is_told(b: UpstreamBackend) {
    let topic = b.create("a").await;
    b.fill(&topic, 0..2000).await;
    b.trim(&topic, 4, 50).await;
    let described = b.upstream.describe(&topic).await.expect("described");
    assert_eq!((described.earliest[4], described.earliest[5]), (50, 0));
    for from in [0, 49] {
        let gone = b.upstream.fetch(&topic, Span { partition: 4, from, until: 60 }, 1000).await;
        let error = gone.expect_err("it was taken");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Gone, "position_unrecoverable"));
    }
    let there = fetch(&b, &topic, Span { partition: 4, from: 50, until: 60 }, 1 << 20).await;
    assert!(offsets(&there).into_iter().eq(50..60));
}

/// The first record of a partition that is not older.
async fn a_time_is_a_place(b: UpstreamBackend) {
    let topic = b.create("a").await;
    b.fill(&topic, 0..1000).await;
    let latest = b.latest(&topic).await;
    let id = b.upstream.describe(&topic).await.expect("described").id;
    for (time_ms, offsets) in [(0, vec![0; 12]), (i64::MAX >> 8, latest.clone()), (i64::MAX, latest)] {
        assert_eq!(b.upstream.seek(&topic, time_ms).await, Ok(Sought { id, offsets }), "{time_ms}");
    }
    let records = fetch(&b, &topic, all_of(2), 1 << 20).await;
    let time_ms = records[records.len() / 2].append_time_ms;
    let first = records.iter().find(|record| record.append_time_ms >= time_ms).map(|record| record.offset);
    assert_eq!(b.upstream.seek(&topic, time_ms).await.expect("found").offsets[2], first.expect("its own"));
}

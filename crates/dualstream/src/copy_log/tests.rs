//! Copies between logs in memory, interrupted and answered badly at every append.

use super::*;
use bytes::Bytes;
use dualstream_core::hidden::with_seen;
use dualstream_core::log::{Appended, Commit, Log, Part, Span};
use dualstream_core::mirror::Run;
use dualstream_core::record::{Header, Headers, NewRecord};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_log::{EmbeddedLog, MemoryStorage, Settings};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

const PARTITIONS: u32 = 12;
const KEYS: usize = 300;

fn name() -> TopicName {
    TopicName::new("orders").unwrap()
}

fn spec() -> TopicSpec {
    TopicSpec { timestamp: TimestampKind::Create, ..TopicSpec::events(name()) }
}

fn log(seed: u64) -> EmbeddedLog {
    let (clock, entropy) = (Arc::new(ManualClock::new(1_000_000)), Arc::new(SeededEntropy::new(seed)));
    let storage = Arc::new(MemoryStorage::new());
    let (log, writer) = dualstream_log::open(Settings::default(), storage, clock, entropy).unwrap();
    tokio::spawn(writer.drive());
    log
}

fn record(n: usize) -> NewRecord {
    let header = |name: &'static str, value: Option<String>| Header {
        name: name.into(),
        value: value.map(Bytes::from),
    };
    NewRecord {
        key: (!n.is_multiple_of(17)).then(|| format!("key-{}", n % KEYS).into()),
        value: (!n.is_multiple_of(13)).then(|| format!("value {n}").into()),
        headers: Headers::new(vec![header("n", Some(n.to_string())), header("null", None)]),
        timestamp_ms: Some(5_000 + n as i64),
        identity: None,
    }
}

async fn append(log: &EmbeddedLog, partition: u32, records: Vec<NewRecord>) {
    let part = Part { topic: name(), partition, records };
    log.commit(Commit { parts: vec![part], guard: None }).await.unwrap();
}

/// A log with so many records over all partitions, the first ones trimmed.
async fn filled(count: usize) -> EmbeddedLog {
    let log = log(1);
    log.create(spec()).await.unwrap();
    for partition in 0..PARTITIONS {
        let own: Vec<_> = (0..count).filter(|n| n % 12 == partition as usize).map(record).collect();
        append(&log, partition, own).await;
    }
    log.trim(name(), vec![3; 12]).await.unwrap();
    log
}

/// What happens at one append.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It is interrupted before anything is stored.
    Before,
    /// It is interrupted when all is stored.
    After,
    /// A part from the beginning is stored, then it is interrupted.
    Between,
    /// A part is stored, and the outcome of all is not known.
    Unknown,
    /// Nothing is stored, which is known.
    Overloaded,
    /// A record is refused, and the ones after it are stored; then it is interrupted.
    Gap,
}

/// A target with one fault.
struct Faulty {
    inner: EmbeddedSide,
    /// Appends until then.
    left: AtomicU32,
    fault: Fault,
}

impl Faulty {
    fn new(log: &EmbeddedLog, left: u32, fault: Fault) -> Faulty {
        Faulty { inner: EmbeddedSide::of(log.clone()), left: AtomicU32::new(left), fault }
    }
}

impl Source for Faulty {
    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicName>>> {
        self.inner.topics()
    }
    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Held>> {
        self.inner.describe(topic)
    }
    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span) -> BoxFuture<'a, Result<Run>> {
        self.inner.fetch(topic, span)
    }
    fn may_repeat(&self) -> bool {
        false
    }
}

impl Target for Faulty {
    fn create(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        self.inner.create(spec)
    }
    fn append(&self, mut part: Part) -> BoxFuture<'_, Result<Vec<Appended>>> {
        async move {
            if self.left.fetch_sub(1, Ordering::Relaxed) != 0 {
                return self.inner.append(part).await;
            }
            let (count, half) = (part.records.len(), part.records.len() / 2);
            match self.fault {
                Fault::Before | Fault::Overloaded => part.records.clear(),
                Fault::After => {}
                Fault::Between | Fault::Unknown => part.records.truncate(half),
                Fault::Gap => drop(part.records.remove(half)),
            }
            if !part.records.is_empty() {
                self.inner.append(part).await?;
            }
            let (kind, code) = match self.fault {
                Fault::Unknown => (ErrorKind::Unknown, "outcome_unknown"),
                Fault::Overloaded => (ErrorKind::Overloaded, "overloaded"),
                _ => (ErrorKind::Closed, "closed"),
            };
            Ok(vec![Appended::Failed(Error::new(kind, code, "the fault")); count])
        }
        .boxed()
    }
    fn settles_after(&self) -> Duration {
        Duration::from_secs(1)
    }
}

async fn run(source: &dyn Source, target: &dyn Target, options: Options) -> Result<Copied> {
    copy(source, target, &name(), options, &|_| ()).await
}

/// Key, value, own headers and timestamp of all records of a partition, read without the code under test.
async fn contents(
    log: &EmbeddedLog,
    partition: u32,
) -> Vec<(Option<Bytes>, Option<Bytes>, Vec<Header>, i64)> {
    let side = EmbeddedSide::of(log.clone());
    let held = side.describe(&name()).await.unwrap();
    let (mut from, until) = (held.earliest[partition as usize], held.latest[partition as usize]);
    let mut all = Vec::new();
    while from < until {
        let run = side.fetch(&name(), Span { partition, from, until }).await.unwrap();
        from = run.next;
        all.extend(run.records.into_iter().map(|record| {
            let own = record.headers.iter().filter(|header| header.name != COPIED_HEADER.as_bytes());
            let own = own.cloned().collect();
            (record.key, record.value, own, record.timestamp_ms)
        }));
    }
    all
}

async fn assert_equal(a: &EmbeddedLog, b: &EmbeddedLog) {
    for partition in 0..PARTITIONS {
        let (a, b) = (contents(a, partition).await, contents(b, partition).await);
        assert!(!a.is_empty());
        assert!(a == b, "partition {partition}: {} and {} records", a.len(), b.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_the_same_and_a_second_run_copies_nothing() {
    let (source, target) = (filled(2_000).await, log(2));
    let (from, to) = (EmbeddedSide::of(source.clone()), EmbeddedSide::of(target.clone()));
    let first = run(&from, &to, Options::default()).await.unwrap();
    assert!(first.is_equal() && first.is_created && first.keeps_timestamps, "{first:?}");
    assert_eq!(first.records, 2_000 - 36);
    assert_ne!(first.epoch, source.bounds(&name()).unwrap().epoch);
    assert_equal(&source, &target).await;
    let again = run(&from, &to, Options::default()).await.unwrap();
    assert_eq!((again.records, again.is_created, again.is_equal()), (0, false, true));
    assert_eq!(again.partitions, first.partitions);
    append(&source, 4, vec![record(1); 5]).await;
    assert_eq!(run(&from, &to, Options::default()).await.unwrap().records, 5);
    assert_equal(&source, &target).await;
}

#[tokio::test(start_paused = true)]
async fn an_interruption_at_any_append_leaves_neither_gap_nor_repeat() {
    let source = filled(1_320).await;
    let from = EmbeddedSide::of(source.clone());
    for fault in [Fault::Before, Fault::After, Fault::Between, Fault::Unknown, Fault::Overloaded] {
        for left in 0..36 {
            let target = log(2);
            let first = run(&from, &Faulty::new(&target, left, fault), Options::default()).await;
            let goes_on = matches!(fault, Fault::Unknown | Fault::Overloaded);
            assert_eq!(first.is_ok(), goes_on, "{fault:?} at {left}: {first:?}");
            // What was interrupted may still be on its way, as with a broker.
            let to = Faulty::new(&target, u32::MAX, fault);
            let second = run(&from, &to, Options::default()).await.unwrap();
            assert!(second.is_equal(), "{fault:?} at {left}: {second:?}");
            assert_equal(&source, &target).await;
            let all = first.map_or(0, |first| first.records) + second.records;
            assert!(!goes_on || all == 1_320 - 36, "{fault:?} at {left}: {all}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_found_and_never_passed() {
    let (source, target) = (filled(1_320).await, log(2));
    let from = EmbeddedSide::of(source);
    run(&from, &Faulty::new(&target, 9, Fault::Gap), Options::default()).await.unwrap_err();
    let error = run(&from, &EmbeddedSide::of(target), Options::default()).await.unwrap_err();
    assert_eq!(error.code(), "copy_gap", "{error}");
    assert!(error.mend().is_some());
}

#[tokio::test(start_paused = true)]
async fn records_of_somebody_else_are_refused_unless_forced() {
    let (source, target) = (filled(600).await, log(2));
    let (from, to) = (EmbeddedSide::of(source.clone()), EmbeddedSide::of(target.clone()));
    target.create(spec()).await.unwrap();
    append(&target, 7, vec![record(1), record(2)]).await;
    let refused = run(&from, &to, Options::default()).await.unwrap_err();
    assert_eq!(refused.code(), "copy_target_taken", "{refused}");
    let force = Options { force: true, ..Options::default() };
    run(&from, &Faulty::new(&target, 8, Fault::Between), force).await.unwrap_err();
    append(&target, 3, vec![record(3)]).await;
    let copied = run(&from, &to, force).await.unwrap();
    assert!(copied.is_equal(), "{copied:?}");
    assert_eq!(copied.partitions.iter().map(|partition| partition.others).sum::<u64>(), 3);
    for partition in (0..12).filter(|partition| ![3, 7].contains(partition)) {
        assert_eq!(contents(&source, partition).await, contents(&target, partition).await);
    }
    assert_eq!(run(&from, &to, force).await.unwrap().records, 0);
}

#[tokio::test(start_paused = true)]
async fn other_partitions_are_refused() {
    let (source, target) = (filled(120).await, log(2));
    target.create(TopicSpec { partitions: 6, ..spec() }).await.unwrap();
    let copied = run(&EmbeddedSide::of(source), &EmbeddedSide::of(target), Options::default()).await;
    let error = copied.unwrap_err();
    assert_eq!(
        (error.code(), error.field(), error.limit()),
        ("copy_partitions_differ", Some("partitions"), Some(12))
    );
    assert!(error.mend().is_some());
}

#[tokio::test(start_paused = true)]
async fn differences_are_named() {
    let (source, target) = (filled(240).await, log(2));
    let (from, to) = (EmbeddedSide::of(source.clone()), EmbeddedSide::of(target.clone()));
    let epoch = source.bounds(&name()).unwrap().epoch;
    run(&from, &to, Options::default()).await.unwrap();
    let only = Options { verify_only: true, ..Options::default() };
    // Partition 2: one is missing; 5: one is there twice; 8: one has another value.
    append(&source, 2, vec![record(0)]).await;
    let read = from.fetch(&name(), Span { partition: 5, from: 3, until: 4 }).await.unwrap().records;
    append(&target, 5, vec![marker::marked(&read[0], epoch)]).await;
    append(&source, 8, vec![record(1)]).await;
    let read = from.fetch(&name(), Span { partition: 8, from: 20, until: 21 }).await.unwrap().records;
    let changed = NewRecord { value: Some("other".into()), ..marker::marked(&read[0], epoch) };
    append(&target, 8, vec![changed]).await;
    let compared = run(&from, &to, only).await.unwrap();
    let found: Vec<_> =
        compared.partitions.iter().filter_map(|one| Some((one.partition, one.first.clone()?))).collect();
    let expected = [(2, 20, What::Missing), (5, 3, What::Extra), (8, 20, What::Value)]
        .map(|(partition, offset, what)| (partition, Difference { offset, what }));
    assert_eq!(found, expected);
    assert_ne!(compared.partitions[2].source, compared.partitions[2].target);
    assert!(!compared.is_equal());
}

#[tokio::test(start_paused = true)]
async fn what_repeats_an_event_is_not_copied() {
    /// A log where repeats may be.
    struct Shared(EmbeddedSide);
    impl Source for Shared {
        fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicName>>> {
            self.0.topics()
        }
        fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Held>> {
            self.0.describe(topic)
        }
        fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span) -> BoxFuture<'a, Result<Run>> {
            self.0.fetch(topic, span)
        }
        fn may_repeat(&self) -> bool {
            true
        }
    }
    let (source, target) = (log(1), log(2));
    source.create(spec()).await.unwrap();
    let event = |id: usize, seen: u64| {
        let value = serde_json::json!({
            "specversion": "1.0", "id": format!("id-{id}"), "source": "/user/octocat", "type": "t",
            "time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "data": null,
        });
        let source_type = Header { name: "source_type".into(), value: Some("user".into()) };
        NewRecord {
            key: Some("octocat".into()),
            value: Some(value.to_string().into()),
            headers: with_seen(&Headers::new(vec![source_type]), seen),
            ..NewRecord::default()
        }
    };
    // The third repeats the first; the fourth looked past the second, so it does not count as a repeat.
    append(&source, 6, vec![event(1, 0), event(2, 0), event(1, 0), event(2, 3)]).await;
    let (from, to) = (Shared(EmbeddedSide::of(source)), EmbeddedSide::of(target.clone()));
    assert!(run(&from, &to, Options::default()).await.unwrap().is_equal());
    let copy = contents(&target, 6).await;
    assert_eq!(copy.len(), 3);
    assert!(
        copy.iter().all(|(_, _, headers, _)| headers.len() == 1),
        "ds-seen is about the source: {copy:?}"
    );
}

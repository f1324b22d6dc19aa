//! A log upstream, read through mirrors on one node or two.

mod following;
mod fresh;
mod lives;

use crate::model_log::ModelLog;
use bytes::Bytes;
use dualstream_core::bus::Health;
use dualstream_core::channel::Target;
use dualstream_core::filter::Filter;
use dualstream_core::hidden;
use dualstream_core::hub::{self, History, Hub, Mode, OnUnrecoverable, Since, Start, Subscribe};
use dualstream_core::identity::Identity;
use dualstream_core::log::*;
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::memory::upstream::MemoryUpstream;
use dualstream_core::mirror::*;
use dualstream_core::namespace::{ChannelFrom, Namespace, Namespaces, Stream};
use dualstream_core::partitioner::partition_of;
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::testing::{ManualClock, SeededEntropy, commit_all, event_record, part, read_all};
use dualstream_core::topic::{Epoch, TopicAlteration, TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const PARTITIONS: u32 = 12;

/// Generations that every node knows at once.
#[derive(Default)]
struct Generations(AtomicU64);

impl Epochs for Generations {
    fn epoch(&self, _: &TopicName, id: u128, partitions: u32) -> Result<Epoch> {
        Ok(Epoch((id as u64) << 40 | u64::from(partitions) << 20 | self.0.load(Relaxed)))
    }

    fn truncated<'a>(&'a self, _: &'a TopicName, _: u128, _: u32, _: Epoch) -> BoxFuture<'a, Result<()>> {
        self.0.fetch_add(1, Relaxed);
        async { Ok(()) }.boxed()
    }
}

struct Cluster {
    clock: Arc<ManualClock>,
    upstream: MemoryUpstream,
    epochs: Arc<Generations>,
}

struct Node {
    upstream: MemoryUpstream,
    log: MirroredLog,
    store: ModelLog,
    task: tokio::task::JoinHandle<()>,
}

fn name(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// Small, so that a short test has something that is not mirrored.
fn settings(backfill_records: u64) -> Settings {
    Settings { backfill_records, ..Settings::default() }
}

impl Cluster {
    fn new() -> Cluster {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        Cluster { upstream: MemoryUpstream::new(clock.clone()), clock, epochs: Arc::default() }
    }

    async fn with_topics() -> Cluster {
        let cluster = Cluster::new();
        for topic in ["events", "chat"] {
            cluster.upstream.create(TopicSpec::events(name(topic))).await.unwrap();
        }
        cluster
    }

    async fn node(&self, settings: Settings) -> Node {
        let store = ModelLog::new(&[]);
        let (log, runner) = MirroredLog::new(
            settings,
            Arc::new(self.upstream.clone()),
            Arc::new(store.clone()),
            self.epochs.clone(),
            self.clock.clone(),
            Arc::new(SeededEntropy::new(3)),
        );
        let task = tokio::spawn(runner.run(std::future::pending()));
        for topic in self.upstream.list().await.unwrap() {
            log.open(&topic.spec.name).await.unwrap();
        }
        Node { upstream: self.upstream.clone(), log, store, task }
    }

    /// Other programs write: every seventh record is followed by holes of a transaction marker and an abort.
    fn fill(&self, topic: &TopicName, from: usize, until: usize) {
        for i in from..until {
            self.clock.advance(1);
            let record = event_record("repo", &format!("key-{}", i * 31 % 1_000), &format!("id-{i}"), "x");
            let partition = partition_of(record.key.as_deref().unwrap(), PARTITIONS);
            self.upstream.put(topic, partition, record);
            if i % 7 == 3 {
                self.upstream.skip(topic, partition, i % 5);
            }
        }
    }
}

impl Node {
    /// Waits until the mirror holds everything up to the end upstream.
    async fn level(&self, topic: &TopicName) {
        loop {
            let bounds = self.log.bounds(topic).unwrap();
            let held = self.store.bounds(topic).ok().filter(|held| held.epoch == bounds.epoch);
            let there = Upstream::describe(&self.upstream, topic).await.unwrap();
            if held.is_some_and(|held| held.latest == there.latest && bounds.latest == there.latest) {
                return;
            }
            let wait = self.log.wait(topic, bounds.epoch, &bounds.latest);
            let _not_grown = tokio::time::timeout(Duration::from_millis(100), wait).await;
        }
    }
}

fn ids(records: &[Record]) -> Vec<(u32, u64)> {
    records.iter().map(|record| (record.partition, record.offset)).collect()
}

fn sorted(mut places: Vec<(u32, u64)>) -> Vec<(u32, u64)> {
    places.sort_unstable();
    places
}

fn checked(mut record: NewRecord) -> NewRecord {
    let identity = record.identity.unwrap();
    record.identity = Some(Identity { check: true, ..identity });
    record
}

async fn upstream_places(cluster: &Cluster, topic: &TopicName) -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    let described = Upstream::describe(&cluster.upstream, topic).await.unwrap();
    for (partition, (&from, &until)) in (0..).zip(described.earliest.iter().zip(&described.latest)) {
        let span = Span { partition, from, until };
        all.extend(ids(&cluster.upstream.fetch(topic, span, usize::MAX).await.unwrap().records));
    }
    sorted(all)
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_whatever_the_mirror_holds() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 8_000);
    for backfill in [0, 10, 1_000, 1_000_000] {
        let node = cluster.node(settings(backfill)).await;
        let cold = read_all(&node.log, &topic).await;
        assert_eq!(sorted(ids(&cold)), upstream_places(&cluster, &topic).await, "cold, {backfill}");
        node.level(&topic).await;
        cluster.fill(&topic, 8_000, 8_500);
        node.level(&topic).await;
        let all = read_all(&node.log, &topic).await;
        assert_eq!(sorted(ids(&all)), upstream_places(&cluster, &topic).await, "hot, {backfill}");
        for partition in 0..PARTITIONS {
            let offsets: Vec<u64> =
                all.iter().filter(|r| r.partition == partition).map(|r| r.offset).collect();
            assert!(offsets.is_sorted(), "partition {partition} in order");
        }
        let begun = node.log.counters().begun.load(Relaxed);
        assert_eq!(begun, 1, "one beginning");
        node.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn newest_first_comes_back_to_the_start() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 8_000);
    let node = cluster.node(settings(300)).await;
    node.level(&topic).await;
    let bounds = node.log.bounds(&topic).unwrap();
    let filter = Filter::prefix("repo:");
    let spans = Span::all(&bounds.earliest, &bounds.latest);
    let mut read = Read {
        topic: topic.clone(),
        epoch: bounds.epoch,
        spans,
        filter,
        records_max: 97,
        bytes_max: 1 << 20,
        reverse: true,
    };
    let mut all = Vec::new();
    while !read.is_over() {
        let page = node.log.read(read.clone()).await.unwrap();
        read.go_on(&page);
        all.extend(ids(&page.records));
    }
    assert_eq!(sorted(all.clone()), upstream_places(&cluster, &topic).await);
    for partition in 0..PARTITIONS {
        let offsets: Vec<u64> =
            all.iter().filter(|place| place.0 == partition).map(|place| place.1).collect();
        assert!(offsets.is_sorted_by(|a, b| a > b), "partition {partition} newest first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_is_read_once_for_all() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 12_000);
    let node = cluster.node(settings(0)).await;
    let alone = cluster.upstream.fetches();
    read_all(&node.log, &topic).await;
    let once = cluster.upstream.fetches() - alone;
    assert!(once > 0);
    let again = cluster.upstream.fetches();
    let readers = (0..50).map(|_| read_all(&node.log, &topic));
    let all = futures::future::join_all(readers).await;
    assert!(all.iter().all(|records| records.len() == all[0].len()));
    assert_eq!(cluster.upstream.fetches(), again, "fifty readers need no fetch");
    assert!(node.log.counters().range_hits.load(Relaxed) > 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_event_on_two_nodes_is_one_everywhere() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 500);
    let (a, b) = (cluster.node(settings(1_000)).await, cluster.node(settings(1_000)).await);
    for i in 0..200 {
        let record = checked(event_record("repo", &format!("key-{i}"), &format!("retry-{i}"), "same"));
        let one = || commit_all(&a.log, vec![part(&topic, record.clone())]);
        let two = || commit_all(&b.log, vec![part(&topic, record.clone())]);
        let (one, two) = futures::join!(one(), two());
        for committed in [one, two] {
            let answer = &committed.parts[0].records[0];
            assert!(matches!(answer, Appended::Stored(_) | Appended::Duplicate { .. }), "{answer:?}");
        }
    }
    let late = cluster.node(settings(0)).await;
    for node in [&a, &b, &late] {
        node.level(&topic).await;
        let all = read_all(&node.log, &topic).await;
        let mut seen: Vec<String> =
            all.iter().filter_map(id_of).filter(|id| id.starts_with("retry-")).collect();
        seen.sort();
        let unique = seen.len();
        seen.dedup();
        assert_eq!((seen.len(), unique), (200, 200), "each once");
    }
    let hidden = a.log.counters().hidden.load(Relaxed);
    assert!(hidden > 0, "some were appended twice");
    assert_eq!(hidden, b.log.counters().hidden.load(Relaxed), "every mirror hides the same");
    // The position of a hidden one stands for the first.
    let shown = ids(&read_all(&a.log, &topic).await);
    let twice =
        upstream_places(&cluster, &topic).await.into_iter().find(|place| !shown.contains(place)).unwrap();
    for node in [&a, &late] {
        let epoch = node.log.bounds(&topic).unwrap().epoch;
        let spans = vec![Span { partition: twice.0, from: twice.1, until: twice.1 + 1 }];
        let read = Read {
            topic: topic.clone(),
            epoch,
            spans,
            filter: Filter::All,
            records_max: 1,
            bytes_max: 1,
            reverse: false,
        };
        let page = node.log.read(read).await.unwrap();
        assert!(page.records[0].offset < twice.1 && shown.contains(&(twice.0, page.records[0].offset)));
    }
}

fn id_of(record: &Record) -> Option<String> {
    dualstream_core::event::codec::id_of(record.value.as_deref()?).map(|id| id.into_owned())
}

#[tokio::test(start_paused = true)]
async fn a_repeat_before_the_mirror_is_hidden_too() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 300);
    let first = event_record("repo", "key-1", "twice", "x");
    let partition = partition_of(b"key-1", PARTITIONS);
    let offset = cluster.upstream.put(&topic, partition, first.clone());
    // A mirror that begins just behind the first sees only the second.
    let node = cluster.node(settings(0)).await;
    node.level(&topic).await;
    let second = NewRecord { headers: hidden::with_seen(&first.headers, offset), ..first };
    let repeated = cluster.upstream.put(&topic, partition, second.clone());
    let blind = NewRecord { headers: hidden::with_seen(&second.headers, repeated + 1), ..second };
    let shown = cluster.upstream.put(&topic, partition, blind);
    node.level(&topic).await;
    let places = ids(&read_all(&node.log, &topic).await);
    assert!(places.contains(&(partition, offset)));
    assert!(!places.contains(&(partition, repeated)), "the mirror hides it");
    assert!(places.contains(&(partition, shown)), "its writer had looked behind both");
    let cold = cluster.node(settings(0)).await;
    assert_eq!(ids(&read_all(&cold.log, &topic).await).len(), places.len(), "and so do ranges");
}

/// The rule is one over the log: a copy that is hidden hides the next one, whoever reads, from wherever it began.
#[tokio::test(start_paused = true)]
async fn a_hidden_copy_hides_the_next() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let write = |id: &str, seen: Option<u64>| {
        let mut record = event_record("repo", "key", id, "x");
        record.headers = seen.map_or(record.headers.clone(), |seen| hidden::with_seen(&record.headers, seen));
        cluster.upstream.put(&topic, 3, record)
    };
    let follows = cluster.node(settings(65_536)).await;
    write("other", None);
    let first = write("it", None);
    follows.level(&topic).await;
    let second = write("it", Some(first));
    follows.level(&topic).await;
    // Begun behind the first copy, and behind both; nobody has seen the third.
    let late = cluster.node(settings(1)).await;
    late.log.wait(&topic, late.log.bounds(&topic).unwrap().epoch, &[u64::MAX; 12]).now_or_never();
    late.level(&topic).await;
    let third = write("it", Some(second));
    let fourth = write("it", Some(third));
    write("last", None);
    follows.level(&topic).await;
    late.level(&topic).await;
    let cold = cluster.node(settings(0)).await;
    for (of, node) in [("follows", &follows), ("late", &late), ("cold", &cold)] {
        let all = read_all(&node.log, &topic).await;
        let shown: Vec<_> = all.iter().map(|record| id_of(record).unwrap()).collect();
        assert_eq!(shown, ["other", "it", "last"], "{of}, the fourth is at {fourth}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_life_of_the_offsets_is_told() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 2_000);
    let node = cluster.node(settings(100)).await;
    node.level(&topic).await;
    let before = node.log.bounds(&topic).unwrap();
    let is_told = async |before: &Bounds| {
        node.log.wait(&topic, before.epoch, &vec![u64::MAX; before.latest.len()]).await;
        let spans = Span::all(&before.latest, &before.latest);
        let (topic, epoch, filter) = (topic.clone(), before.epoch, Filter::All);
        let read = Read { topic, epoch, spans, filter, records_max: 1, bytes_max: 1, reverse: false };
        assert_eq!(node.log.read(read).await.unwrap_err().code(), "epoch_changed");
    };
    cluster
        .upstream
        .alter(topic.clone(), TopicAlteration { partitions: Some(24), ..TopicAlteration::default() })
        .await
        .unwrap();
    is_told(&before).await;
    let wider = node.log.bounds(&topic).unwrap();
    assert_eq!(wider.latest.len(), 24);
    node.level(&topic).await;
    cluster.upstream.delete(topic.clone()).await.unwrap();
    cluster.upstream.create(TopicSpec::events(topic.clone())).await.unwrap();
    is_told(&wider).await;
    cluster.fill(&topic, 0, 100);
    node.level(&topic).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
}

#[tokio::test(start_paused = true)]
async fn records_that_were_lost_upstream_begin_another_generation() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 2_000);
    let node = cluster.node(settings(1_000)).await;
    node.level(&topic).await;
    let before = node.log.bounds(&topic).unwrap();
    for partition in 0..PARTITIONS {
        let end = before.latest[partition as usize];
        cluster.upstream.truncate(&topic, partition, end - 5);
    }
    cluster.fill(&topic, 9_000, 9_500);
    node.log.wait(&topic, before.epoch, &[u64::MAX; 12]).await;
    assert_ne!(node.log.bounds(&topic).unwrap().epoch, before.epoch);
    node.level(&topic).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
}

/// What is left is shorter than what the mirror holds, and nothing is appended: the tail has no place to go on.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_short_is_noticed_while_nobody_writes() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 3_000);
    let node = cluster.node(settings(1_000)).await;
    node.level(&topic).await;
    let before = node.log.bounds(&topic).unwrap();
    for partition in 0..PARTITIONS {
        cluster.upstream.truncate(&topic, partition, before.latest[partition as usize] - 5);
    }
    let ends = [u64::MAX; 12];
    let noticed = node.log.wait(&topic, before.epoch, &ends);
    tokio::time::timeout(Duration::from_secs(600), noticed).await.expect("noticed");
    assert_ne!(node.log.bounds(&topic).unwrap().epoch, before.epoch);
    assert_eq!(cluster.epochs.0.load(Relaxed), 1, "told once");
    node.level(&topic).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
}

#[tokio::test(start_paused = true)]
async fn upstream_goes_and_comes_back() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 500);
    let node = cluster.node(settings(10_000)).await;
    node.level(&topic).await;
    cluster.upstream.set_away(true);
    let held = read_all(&node.log, &topic).await;
    assert_eq!(held.len(), 500, "what is held is served");
    let commit = Commit { parts: vec![part(&topic, event_record("repo", "k", "a", "x"))], guard: None };
    assert_eq!(node.log.commit(commit).await.unwrap_err().kind(), ErrorKind::Unavailable);
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::task::yield_now().await;
    let down = async || {
        while node.log.health() == Health::Up {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    down().await;
    cluster.upstream.set_away(false);
    cluster.fill(&topic, 500, 900);
    node.level(&topic).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
    while node.log.health() != Health::Up {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_begun_anew() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 500);
    let node = cluster.node(settings(10_000)).await;
    node.level(&topic).await;
    node.store.fail_next(Error::new(ErrorKind::Internal, "storage_error", "the files are gone"));
    cluster.fill(&topic, 500, 600);
    node.level(&topic).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
    assert_eq!(node.log.counters().begun.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_long_is_left_alone_and_heals() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let node = cluster.node(settings(10_000)).await;
    cluster.fill(&topic, 0, 500);
    node.level(&topic).await;
    let minutes = 10;
    for minute in 0..minutes {
        for second in 0..60 {
            let from = 500 + (minute * 60 + second) * 2;
            node.store.fail_next(Error::new(ErrorKind::Full, "storage_full", "there is no room"));
            cluster.fill(&topic, from, from + 2);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let read = read_all(&node.log, &topic).await;
            assert!(read.len() + 8 >= from, "it is read upstream, {} of {from}", read.len());
        }
    }
    // It is this node's disk, and nobody looks for it upstream.
    let Health::Down { reason, .. } = node.log.copy_health() else { panic!("it is told") };
    assert!(reason.contains("'events' on this node") && reason.contains("no room"), "{reason}");
    assert_eq!((node.log.health(), node.log.counters().errors.load(Relaxed)), (Health::Up, 0));
    let begun = node.log.counters().begun.load(Relaxed);
    assert!(begun < 40, "{begun} times in {minutes} minutes");
    node.store.heal();
    node.level(&topic).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(node.log.copy_health(), Health::Up);
}

/// As a disk does that cannot be read or written: the error says no more than an upstream that is away.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_not_taken_for_upstream() {
    let cluster = Cluster::new();
    let topic = name("events");
    cluster.upstream.create(TopicSpec::events(topic.clone())).await.unwrap();
    let node = cluster.node(settings(1_000)).await;
    let broken = || Error::new(ErrorKind::Unavailable, "storage_error", "could not create a file");
    node.store.fail_next(broken());
    let wanted = node.log.held(&topic);
    tokio::pin!(wanted);
    while node.log.copy_health() == Health::Up {
        let _not_held = tokio::time::timeout(Duration::from_millis(10), wanted.as_mut()).await;
        assert_eq!((node.log.health(), node.log.counters().errors.load(Relaxed)), (Health::Up, 0));
    }
    wanted.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_elsewhere_is_waited_for() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let node = cluster.node(settings(100)).await;
    let epoch = node.log.bounds(&topic).unwrap().epoch;
    let at = |partition, from| Read {
        topic: topic.clone(),
        epoch,
        spans: vec![Span { partition, from, until: from }],
        filter: Filter::All,
        records_max: 1,
        bytes_max: 1,
        reverse: false,
    };
    assert_eq!(node.log.read(at(3, 7)).await.unwrap_err().code(), "position_from_future");
    cluster.upstream.open_transaction(&topic, 3);
    for i in 0..10 {
        cluster.upstream.put(&topic, 3, event_record("repo", "k", &format!("{i}"), "x"));
    }
    assert_eq!(node.log.read(at(3, 7)).await.unwrap_err().code(), "not_yet_visible");
    let (read, ()) = futures::join!(node.log.read(at(3, 7)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.upstream.close_transaction(&topic, 3);
    });
    read.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_not_followed() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let node = cluster.node(settings(100)).await;
    let made_here = NewRecord { identity: None, ..event_record("repo", "k", "a", "x") };
    commit_all(&node.log, vec![part(&topic, made_here)]).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(node.store.bounds(&topic).is_err(), "publishing needs no mirror");
    read_all(&node.log, &topic).await;
    node.level(&topic).await;
    tokio::time::sleep(Settings::default().idle + Duration::from_secs(2)).await;
    let held = node.store.bounds(&topic).unwrap();
    cluster.fill(&topic, 0, 100);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.store.bounds(&topic).unwrap(), held, "it stands where it was let go");
    let known = node.log.bounds(&topic).unwrap().latest;
    assert!(known > held.latest, "its ends are known all the same");
    node.level(&topic).await;
    assert_eq!(node.log.counters().begun.load(Relaxed), 1, "it goes on where it stood");
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
}

#[tokio::test(start_paused = true)]
async fn a_failed_record_is_answered_by_itself() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let node = cluster.node(settings(100)).await;
    let unknown = Error::new(ErrorKind::Unknown, "outcome_unknown", "no answer");
    cluster.upstream.fail_appends(Some(unknown.clone()));
    let record = |id: &str| checked(event_record("repo", "k", id, "x"));
    let parts = vec![part(&topic, record("a")), part(&topic, record("a")), part(&topic, record("b"))];
    let committed = commit_all(&node.log, parts.clone()).await;
    assert!(committed.parts.iter().all(|part| part.records == [Appended::Failed(unknown.clone())]));
    cluster.upstream.fail_appends(None);
    let committed = commit_all(&node.log, parts).await;
    let partition = partition_of(b"k", PARTITIONS);
    let answers: Vec<&Appended> = committed.parts.iter().map(|part| &part.records[0]).collect();
    assert_eq!(
        answers,
        [&Appended::Stored(0), &Appended::Duplicate { partition, offset: 0 }, &Appended::Stored(1)]
    );
}

#[tokio::test(start_paused = true)]
async fn records_of_other_programs_have_channels() {
    let cluster = Cluster::new();
    let topic = name("orders");
    cluster.upstream.create(TopicSpec::events(topic.clone())).await.unwrap();
    let namespace = Namespace {
        channel_from: Some(ChannelFrom::Key),
        ..crate::world::namespace("orders", Stream::Dual, true)
    };
    let foreign = vec![Foreign::of(&namespace).unwrap()];
    let node = cluster.node(Settings { foreign, ..settings(20) }).await;
    let put = |partition: u32, key: Option<&'static [u8]>, value: Option<&'static [u8]>| {
        let (key, value) = (key.map(Bytes::from_static), value.map(Bytes::from_static));
        cluster.upstream.put(&topic, partition, NewRecord { key, value, ..NewRecord::default() })
    };
    // Whatever partitioner they use, and more than the mirror holds.
    for partition in 0..PARTITIONS {
        for _ in 0..5 {
            put(partition, Some(b"a b"), Some(b"{\"n\":1}"));
            put(partition, Some(b"\xff"), Some(b"\xff\xfe"));
            put(partition, None, Some(b"nobody's"));
            put(partition, Some(b""), None);
            put(partition, Some(b"gone"), None);
        }
    }
    // Nobody follows the topic: its ends are asked for now and then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (log, bus) = (Arc::new(node.log.clone()), Arc::new(MemoryBus::default()));
    let (hub, runner) = Hub::new(hub::Settings::default(), log, bus, Namespaces::new(vec![namespace], None));
    tokio::spawn(runner.run(std::future::pending()));
    for (channel, wanted) in
        [("orders:a%20b", 60), ("orders:%FF", 60), ("orders:gone", 60), ("orders:nobody", 0)]
    {
        let target = Target::parse(channel).unwrap();
        let history = History { target, since: Since::Earliest, limit: 100, reverse: false };
        let page = hub.history(history).await.unwrap();
        assert_eq!(page.entries.len(), wanted, "{channel}");
        assert!(page.entries.iter().all(|entry| &*entry.channel == channel));
    }
    let target = Target::parse("orders:a%20b").unwrap();
    let subscribe = Subscribe {
        targets: vec![target],
        mode: Mode::Reliable,
        start: Start::Latest,
        on_unrecoverable: OnUnrecoverable::Close,
    };
    let mut subscription = hub.subscribe(subscribe).await.unwrap();
    for partition in 0..PARTITIONS {
        put(partition, Some(b"a b"), Some(b"{\"n\":2}"));
    }
    let mut seen = 0;
    while seen < PARTITIONS {
        seen += subscription.next(1 << 20).await.len() as u32;
    }
    assert_eq!(seen, PARTITIONS);
    assert!(node.log.counters().unmapped.load(Relaxed) > 0, "those without a key are counted");
}

#[tokio::test(start_paused = true)]
async fn what_the_mirror_lost_is_read_upstream() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 2_000);
    let node = cluster.node(settings(1_000_000)).await;
    node.level(&topic).await;
    for record in node.store.all(&topic).iter().step_by(100) {
        node.store.damage(&topic, record.partition, record.offset);
    }
    let bounds = node.log.bounds(&topic).unwrap();
    let mut read = Read {
        topic: topic.clone(),
        epoch: bounds.epoch,
        spans: Span::all(&bounds.earliest, &bounds.latest),
        filter: Filter::All,
        records_max: 500,
        bytes_max: 1 << 20,
        reverse: false,
    };
    let mut all = Vec::new();
    while !read.is_over() {
        let page = node.log.read(read.clone()).await.unwrap();
        assert_eq!(page.gaps, [], "nothing of the log is damaged");
        read.go_on(&page);
        all.extend(ids(&page.records));
    }
    assert_eq!(sorted(all), upstream_places(&cluster, &topic).await);
    node.level(&topic).await;
    assert_eq!(node.log.counters().begun.load(Relaxed), 2, "a damaged mirror begins anew");
}

#[tokio::test(start_paused = true)]
async fn ends_that_were_told_never_go_back() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let node = cluster.node(settings(1_000)).await;
    node.level(&topic).await;
    cluster.fill(&topic, 0, 3_000);
    node.level(&topic).await;
    let told = node.log.bounds(&topic).unwrap().latest;
    // Upstream is away, so nobody tells the ends again, and the topic is let go.
    cluster.upstream.set_away(true);
    node.store.forget(&topic).await.unwrap();
    assert_eq!(node.log.bounds(&topic).unwrap().latest, told, "the store is gone");
    cluster.upstream.set_away(false);
    tokio::time::sleep(Settings::default().idle + Duration::from_secs(2)).await;
    assert_eq!(node.log.bounds(&topic).unwrap().latest, told, "nobody follows it");
}

#[tokio::test(start_paused = true)]
async fn a_later_epoch_of_another_node_is_learnt() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 500);
    let (a, b) = (cluster.node(settings(1_000)).await, cluster.node(settings(1_000)).await);
    a.level(&topic).await;
    b.level(&topic).await;
    let raised = TopicAlteration { partitions: Some(24), ..TopicAlteration::default() };
    cluster.upstream.alter(topic.clone(), raised).await.unwrap();
    // One node was just told, and its client comes to the other.
    let later = a.log.open(&topic).await.unwrap();
    assert_ne!(b.log.bounds(&topic).unwrap().epoch, later.epoch, "it does not know yet");
    let spans = Span::all(&later.latest, &later.latest);
    let (topic, epoch, filter) = (topic.clone(), later.epoch, Filter::All);
    let read = Read { topic, epoch, spans, filter, records_max: 1, bytes_max: 1, reverse: false };
    b.log.read(read).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_retry_on_a_node_that_begins_late_is_hidden() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let record = checked(event_record("repo", "key-1", "once", "x"));
    let a = cluster.node(settings(100)).await;
    commit_all(&a.log, vec![part(&topic, record.clone())]).await;
    cluster.fill(&topic, 0, 20_000);
    // Its mirror begins behind the first one.
    let b = cluster.node(settings(100)).await;
    commit_all(&b.log, vec![part(&topic, record)]).await;
    for node in [&a, &b] {
        node.level(&topic).await;
        let all = read_all(&node.log, &topic).await;
        let once = all.iter().filter(|record| id_of(record).as_deref() == Some("once"));
        assert_eq!(once.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_retention_left_is_read_from_its_start() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 6_000);
    let node = cluster.node(settings(10)).await;
    node.level(&topic).await;
    // In the middle of a chunk, and not told yet.
    let below: Vec<u64> = node.log.bounds(&topic).unwrap().latest.iter().map(|end| end / 2).collect();
    cluster.upstream.trim(topic.clone(), below.clone()).await.unwrap();
    let bounds = node.log.bounds(&topic).unwrap();
    assert_eq!(bounds.earliest, vec![0; 12], "the node does not know yet");
    let spans = Span::all(&below, &bounds.latest);
    let (records_max, bytes_max, filter) = (10_000, 64 << 20, Filter::All);
    let (name, epoch) = (topic.clone(), bounds.epoch);
    let mut read = Read { topic: name, epoch, spans, filter, records_max, bytes_max, reverse: false };
    let mut all = Vec::new();
    while !read.is_over() {
        let page = node.log.read(read.clone()).await.unwrap();
        read.go_on(&page);
        all.extend(ids(&page.records));
    }
    assert_eq!(sorted(all), upstream_places(&cluster, &topic).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
}

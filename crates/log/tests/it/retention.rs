//! What is given up: by age, by size, by trimming; and what a reader with an old cursor is told. What an unclean end
//! costs without a sync before the ack: a suffix and the epochs, never part of a commit.

use crate::rig::{PARTITIONS, Rig, event, id_of, small, topic};
use dualstream_core::ErrorKind;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Bounds, Log, Part, Read, Span};
use dualstream_core::topic::{TopicAlteration, TopicName};
use dualstream_core::topics::Topics;
use dualstream_log::{Fsync, Settings};
use std::sync::atomic::Ordering;
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;

/// Publishes `count` events an hour, `hours` long.
async fn fill(rig: &Rig, name: &str, hours: u32, count: u32) {
    for hour in 0..hours {
        for i in 0..count {
            rig.publish(&topic(name), &[(i, &format!("{hour}-{i}"))]).await.unwrap();
        }
        rig.clock.0.fetch_add(HOUR_MS, Ordering::Relaxed);
        rig.checkpoint().await;
    }
}

async fn retention(rig: &Rig, name: &str, ms: Option<u64>, bytes: Option<u64>) {
    let change = TopicAlteration {
        retention_ms: Some(ms),
        retention_bytes: Some(bytes),
        ..TopicAlteration::default()
    };
    rig.log.alter(topic(name), change).await.unwrap();
}

fn read_from(name: &TopicName, bounds: &Bounds, from: &[u64]) -> Read {
    Read {
        topic: name.clone(),
        epoch: bounds.epoch,
        spans: Span::all(from, &bounds.latest),
        filter: Filter::All,
        records_max: 10_000,
        bytes_max: 10 << 20,
        reverse: false,
    }
}

#[tokio::test(start_paused = true)]
async fn by_age() {
    let mut rig = Rig::start(small(), 3).await;
    retention(&rig, "events", Some(5 * HOUR_MS as u64), None).await;
    fill(&rig, "events", 12, 150).await;
    fill(&rig, "chat", 1, 10).await;
    let now = rig.clock.0.load(Ordering::Relaxed);
    let records = rig.all(&topic("events")).await;
    let young = records.iter().filter(|r| r.append_time_ms >= now - 5 * HOUR_MS).count();
    assert_eq!(young, 3 * 150, "records younger than the limit are left");
    assert!(records.len() < 6 * 150, "{} records are left", records.len());
    assert_eq!(rig.all(&topic("chat")).await.len(), 10, "another topic keeps its own");
    let bounds = rig.log.bounds(&topic("events")).unwrap();
    assert!(bounds.earliest.iter().all(|&start| start > 0));
    assert!(rig.log.describe(topic("events")).await.unwrap().bytes.unwrap() < 12 * 150 * 300);
    for again in [false, true] {
        rig = if again { rig.restart().await } else { rig.crash() };
        assert_eq!(rig.log.bounds(&topic("events")).unwrap(), bounds);
        assert_eq!(rig.all(&topic("events")).await, records);
    }
}

#[tokio::test(start_paused = true)]
async fn by_size() {
    let rig = Rig::start(small(), 3).await;
    retention(&rig, "events", None, Some(100 << 10)).await;
    fill(&rig, "events", 10, 150).await;
    let bytes = rig.log.describe(topic("events")).await.unwrap().bytes.unwrap();
    // A segment goes only when the rest is still over the limit, and not before a checkpoint covers it.
    assert!((84 << 10..200 << 10).contains(&bytes), "{bytes} bytes are left");
    let ids: Vec<String> = rig.all(&topic("events")).await.iter().map(id_of).collect();
    assert!(ids.contains(&"9-149".to_string()) && !ids.contains(&"0-0".to_string()));
    assert_eq!(rig.log.damage(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn old_cursors_are_gone() {
    let rig = Rig::start(small(), 3).await;
    let name = topic("events");
    fill(&rig, "events", 2, 100).await;
    let before = rig.log.bounds(&name).unwrap();
    let below: Vec<u64> = before.latest.iter().map(|end| end / 2).collect();
    rig.log.trim(name.clone(), below.clone()).await.unwrap();
    let after = rig.log.bounds(&name).unwrap();
    assert_eq!((&after.earliest, &after.latest, after.epoch), (&below, &before.latest, before.epoch));
    let error = rig.log.read(read_from(&name, &before, &before.earliest)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Gone, "position_unrecoverable"));
    let page = rig.log.read(read_from(&name, &after, &below)).await.unwrap();
    assert_eq!(page.records.len() as u64, after.latest.iter().zip(&below).map(|(e, b)| e - b).sum::<u64>());
    assert!(page.records.iter().all(|r| r.offset >= below[r.partition as usize]));
    let mut past = after.latest.clone();
    past[3] += 1;
    let error = rig.log.trim(name.clone(), past).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "invalid_trim"));
    // Lower than before: nothing changes. And it holds after a crash.
    rig.log.trim(name.clone(), vec![0; PARTITIONS as usize]).await.unwrap();
    let rig = rig.crash();
    assert_eq!(rig.log.bounds(&name).unwrap(), after);
}

/// A read that began before a segment was given up ends as if nothing had happened: at worst it is told `Gone` at the
/// next page.
#[tokio::test(start_paused = true)]
async fn reads_in_flight_go_on() {
    let rig = Rig::start(small(), 3).await;
    let name = topic("events");
    fill(&rig, "events", 3, 200).await;
    let bounds = rig.log.bounds(&name).unwrap();
    let all = rig.all(&name).await;
    let half = Read { records_max: 300, ..read_from(&name, &bounds, &bounds.earliest) };
    let begun = rig.log.read(half.clone());
    rig.log.trim(name.clone(), bounds.latest.clone()).await.unwrap();
    rig.checkpoint().await;
    let error = begun.await.unwrap_err();
    assert_eq!(error.code(), "position_unrecoverable", "a read that was not polled begins now");
    assert_eq!(rig.all(&name).await.len(), 0);
    assert_eq!(all.len(), 600);
    rig.publish(&name, &[(1, "after")]).await.unwrap();
    assert_eq!(rig.all(&name).await.len(), 1);
    let error = rig.log.read(half).await.unwrap_err();
    assert_eq!(error.code(), "position_unrecoverable");
}

/// A trim is durable at once, so what it speaks of must be: a start past the end would swallow what comes there later.
#[tokio::test(start_paused = true)]
async fn a_trim_takes_nothing_that_comes_later() {
    let settings = Settings { fsync: Fsync::Every(Duration::from_secs(3_600)), ..small() };
    let mut rig = Rig::start(settings, 3).await;
    let name = topic("events");
    for i in 0..100 {
        rig.publish(&name, &[(i, "before")]).await.unwrap();
    }
    rig.log.trim(name.clone(), rig.log.bounds(&name).unwrap().latest).await.unwrap();
    rig.kill();
    rig.storage.crash_lose_all();
    rig = rig.reopen().unwrap();
    for i in 0..50 {
        rig.publish(&name, &[(i, "after")]).await.unwrap();
    }
    rig = rig.restart().await;
    assert_eq!(rig.all(&name).await.len(), 50);
}

/// Whoever was told `Gone` is told so for ever: the power fails at every step of giving segments up and removing them.
#[tokio::test(start_paused = true)]
async fn what_is_gone_stays_gone() {
    let name = topic("events");
    let mut moved = 0;
    for step in 0..60 {
        let mut rig = Rig::start(small(), step).await;
        retention(&rig, "events", Some(2 * HOUR_MS as u64), None).await;
        fill(&rig, "events", 2, 150).await;
        let before = rig.log.bounds(&name).unwrap().earliest;
        rig.clock.0.fetch_add(2 * HOUR_MS, Ordering::Relaxed);
        rig.storage.crash_at_step(rig.storage.steps() + step);
        rig.checkpoint().await;
        let told = rig.log.bounds(&name).unwrap();
        moved += usize::from(told.earliest != before);
        for is_lost in [true, false] {
            rig.kill();
            if is_lost {
                rig.storage.crash_lose_all()
            } else {
                rig.storage.crash_keep_all()
            }
            rig = rig.reopen().unwrap();
            let now = rig.log.bounds(&name).unwrap();
            let is_kept = now.earliest.iter().zip(&told.earliest).all(|(now, told)| now >= told);
            assert!(
                is_kept,
                "step {step}: the start moved back from {:?} to {:?}",
                told.earliest, now.earliest
            );
            assert_eq!((now.latest, now.epoch), (told.latest.clone(), told.epoch));
            rig.checkpoint().await;
        }
        assert_eq!(rig.log.damage(), Vec::<String>::new());
    }
    assert!(moved > 5, "retention gave nothing up: the test tests nothing");
}

fn epochs(rig: &Rig) -> Vec<u64> {
    ["events", "chat"].iter().map(|name| rig.log.bounds(&topic(name)).unwrap().epoch.0).collect()
}

#[tokio::test(start_paused = true)]
async fn epochs_stay_when_acks_are_synced() {
    let mut rig = Rig::start(small(), 3).await;
    let before = epochs(&rig);
    for i in 0..6 {
        fill(&rig, "events", 1, 20).await;
        rig = if i % 2 == 0 { rig.crash() } else { rig.restart().await };
        assert_eq!(epochs(&rig), before);
    }
}

#[tokio::test(start_paused = true)]
async fn unsynced_acks_lose_a_suffix_and_the_epochs() {
    let mut lost = 0;
    for seed in 0..80 {
        let settings = Settings { fsync: Fsync::Every(Duration::from_millis(100)), ..small() };
        let mut rig = Rig::start(settings, seed).await;
        let commits = 20 + rig.entropy.below(40) as u32;
        for i in 0..commits {
            commit_of_many_parts(&rig, i).await;
            if rig.entropy.below(10) == 0 {
                tokio::time::advance(Duration::from_millis(110)).await;
            }
        }
        let before = epochs(&rig);
        rig = rig.crash();
        assert!(before.iter().zip(epochs(&rig)).all(|(&a, b)| a != b), "seed {seed}: an epoch stayed");
        assert_eq!(rig.log.damage(), Vec::<String>::new(), "seed {seed}");
        let left = whole_commits(&rig).await;
        assert!(left.iter().copied().eq(0..left.len() as u32), "seed {seed}: {left:?} are left, no prefix");
        lost += commits as usize - left.len();
        commit_of_many_parts(&rig, commits + 1).await;
        let before = epochs(&rig);
        let count = rig.all(&topic("chat")).await.len();
        rig = rig.restart().await;
        assert_eq!(epochs(&rig), before, "seed {seed}: a clean end keeps them");
        assert_eq!(rig.all(&topic("chat")).await.len(), count);
    }
    assert!(lost > 0, "no crash lost anything: the test tests nothing");
}

/// One event into four partitions of each topic, in one commit.
async fn commit_of_many_parts(rig: &Rig, number: u32) {
    let part = |i: u32| Part {
        topic: topic(["events", "chat"][i as usize % 2]),
        partition: (number + i) % PARTITIONS,
        records: vec![event(i, &number.to_string(), "")],
    };
    rig.commit((0..8).map(part).collect()).await.unwrap();
}

/// Numbers of the commits that are there, all of them whole.
async fn whole_commits(rig: &Rig) -> Vec<u32> {
    let mut parts = std::collections::BTreeMap::<u32, u32>::new();
    for name in ["events", "chat"] {
        for record in rig.all(&topic(name)).await {
            *parts.entry(id_of(&record).parse().unwrap()).or_default() += 1;
        }
    }
    assert!(parts.values().all(|&count| count == 8), "part of a commit: {parts:?}");
    parts.into_keys().collect()
}

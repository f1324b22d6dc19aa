//! Sidecars are caches: missing, cut at every length or of another segment they are rebuilt, and every answer that comes
//! from them (filters, seeking by time, known identities) is the same.

use crate::image::{Image, Seen};
use crate::rig::{PARTITIONS, Rig, Seeded, TestClock, event, id_of, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Log, Part};
use dualstream_core::record::Record;
use dualstream_log::{MemoryStorage, Settings, Storage};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const TOPICS: [&str; 2] = ["events", "chat"];

fn settings() -> Settings {
    Settings { segment_bytes: 5 << 10, journal_file_bytes: 128 << 10, ..Settings::default() }
}

/// What a log answers out of its sidecars.
#[derive(Debug, PartialEq)]
struct Answers {
    filtered: Vec<Vec<Record>>,
    sought: Vec<Vec<u64>>,
    known: Vec<Appended>,
}

struct Written {
    image: Image,
    seen: Seen,
    times_ms: Vec<i64>,
    clock_ms: i64,
}

async fn written() -> Written {
    let rig = Rig::start(settings(), 11).await;
    for i in 0..60_u32 {
        let ids = [format!("{i}-a"), format!("{i}-b")];
        let events = [(i % 9, ids[0].as_str()), (i % 4 + 100, ids[1].as_str())];
        rig.publish(&topic(TOPICS[i as usize % 2]), &events).await.unwrap();
        rig.clock.0.fetch_add(1_000, Ordering::Relaxed);
    }
    let seen = Seen::of(&rig, &TOPICS).await;
    let mut times_ms: Vec<i64> = seen.records.values().map(|r| r.append_time_ms).collect();
    times_ms.sort_unstable();
    times_ms.dedup();
    let (storage, clock) = (rig.storage.clone(), rig.clock.clone());
    rig.end().await.unwrap();
    let image = Image::of(&storage);
    assert!(image.ending(".index").len() >= 6, "{:?}", image.0.keys());
    Written { image, seen, times_ms, clock_ms: clock.0.load(Ordering::Relaxed) }
}

impl Written {
    async fn answers(&self, storage: MemoryStorage, what: &str) -> Answers {
        let clock = Arc::new(TestClock(AtomicI64::new(self.clock_ms)));
        let rig = Rig::open(settings(), storage, clock, Seeded::new(1)).expect(what);
        let mut answers = Answers { filtered: Vec::new(), sought: Vec::new(), known: Vec::new() };
        for name in TOPICS {
            let sources = (0..9).chain(100..104).map(|source| Filter::source(format!("user:{source}")));
            for filter in
                sources.chain([Filter::prefix("user:1"), Filter::source("user:nobody"), Filter::All])
            {
                for reverse in [false, true] {
                    let read = rig.read(&topic(name), filter.clone(), 5, reverse).await;
                    answers.filtered.push(read.expect(what));
                }
            }
            for time_ms in self.times_ms.iter().step_by(7) {
                answers.sought.push(rig.log.seek(&topic(name), *time_ms).await.expect(what));
            }
        }
        let part = |((name, partition, _), record): (&(String, u32, u64), &Record)| {
            let source: u32 = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
            Part {
                topic: topic(name),
                partition: *partition,
                records: vec![event(source, &id_of(record), "")],
            }
        };
        let parts: Vec<Part> = self.seen.records.iter().map(part).collect();
        for parts in parts.chunks(100) {
            let committed = rig.commit(parts.to_vec()).await.expect(what);
            answers.known.extend(committed.parts.iter().map(|p| p.records[0].clone()));
        }
        assert_eq!(rig.log.damage(), Vec::<String>::new(), "{what}: a lost cache is no damage");
        rig.end().await.expect(what);
        answers
    }

    /// The answers of an undamaged log, checked against the records themselves.
    async fn right_answers(&self) -> Answers {
        let right = self.answers(self.image.disk(), "untouched").await;
        let duplicates =
            self.seen.records.keys().map(|place| Appended::Duplicate { partition: place.1, offset: place.2 });
        assert!(right.known.iter().cloned().eq(duplicates));
        let all: usize = right.filtered.iter().filter(|r| r.len() == 60).count();
        assert_eq!(all, 4, "everything, both directions, both topics");
        for (at, vector) in right.sought.iter().enumerate() {
            let per_topic = right.sought.len() / 2;
            let (name, time_ms) = (TOPICS[at / per_topic], self.times_ms[at % per_topic * 7]);
            for partition in 0..PARTITIONS {
                let of_partition =
                    self.seen.records.iter().filter(|((t, p, _), _)| t == name && *p == partition);
                let first =
                    of_partition.filter(|(_, r)| r.append_time_ms >= time_ms).map(|(place, _)| place.2).min();
                let end = self.seen.ends[name][partition as usize];
                assert_eq!(
                    vector[partition as usize],
                    first.unwrap_or(end),
                    "{name}/{partition} at {time_ms}"
                );
            }
        }
        right
    }
}

#[tokio::test(start_paused = true)]
async fn missing_sidecars_are_rebuilt() {
    let written = written().await;
    let right = written.right_answers().await;
    let all = written.image.ending(".index");
    for lost in all.iter().map(|path| vec![path.clone()]).chain([all.clone()]) {
        let storage = written.image.disk();
        lost.iter().for_each(|path| storage.remove(path).unwrap());
        let what = format!("without {lost:?}");
        assert_eq!(written.answers(storage.clone(), &what).await, right, "{what}");
        for path in &lost {
            assert_eq!(Image::of(&storage).0[path], written.image.0[path], "{what}: it is rebuilt as it was");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cut_sidecars_are_rebuilt() {
    let written = written().await;
    let right = written.right_answers().await;
    let path = &written.image.ending(".index")[1];
    for length in 0..written.image.0[path].len() {
        let storage = written.image.damaged(path, |bytes| bytes.truncate(length));
        let what = format!("{path} cut to {length} bytes");
        assert_eq!(written.answers(storage, &what).await, right, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn sidecars_of_other_segments_are_rebuilt() {
    let written = written().await;
    let right = written.right_answers().await;
    let all = written.image.ending(".index");
    for path in &all {
        for other in all.iter().filter(|other| *other != path) {
            let foreign = written.image.0[other].clone();
            let storage = written.image.damaged(path, |bytes| *bytes = foreign);
            let what = format!("{other} as {path}");
            assert_eq!(written.answers(storage, &what).await, right, "{what}");
        }
    }
}

/// Two topics whose segments have the same number and the same length, and hold different events.
#[tokio::test(start_paused = true)]
async fn sidecars_of_another_topic_are_rebuilt() {
    let rig = Rig::start(settings(), 11).await;
    for i in 0..60_u32 {
        for (name, source, id) in
            [("events", i % 9, format!("e-{i:02}")), ("chat", 8 - i % 9, format!("c-{i:02}"))]
        {
            rig.publish(&topic(name), &[(source, &id)]).await.unwrap();
        }
    }
    let seen = Seen::of(&rig, &TOPICS).await;
    let (storage, clock) = (rig.storage.clone(), rig.clock.clone());
    rig.end().await.unwrap();
    let mut image = Image::of(&storage);
    let [mine, other] = ["topics/1", "topics/2"].map(|dir| format!("{dir}/{:020}", 0));
    let length = |path: &str| image.0[&format!("{path}.segment")].len();
    assert_eq!(length(&mine), length(&other), "the test tests nothing");
    let foreign = image.0[&format!("{other}.index")].clone();
    image.0.insert(format!("{mine}.index"), foreign);
    let rig = Rig::open(settings(), image.disk(), clock, Seeded::new(9)).unwrap();
    for source in 0..9 {
        let filter = Filter::source(format!("user:{source}"));
        let right: Vec<_> =
            rig.all(&topic("events")).await.into_iter().filter(|r| filter.matches_record(r)).collect();
        assert_eq!(rig.read(&topic("events"), filter, 1_000, false).await.unwrap(), right);
    }
    for ((name, partition, offset), record) in &seen.records {
        let source = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
        let again = rig.publish(&topic(name), &[(source, &id_of(record))]).await.unwrap();
        assert_eq!(again, [(*partition, Appended::Duplicate { partition: *partition, offset: *offset })]);
    }
}

//! A mirror holds what its log holds, at the same offsets.

use crate::mirror_rig::{MirrorRig, plain, record, run, spec};
use crate::rig::{PARTITIONS, small, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Commit, Log};
use dualstream_core::mirror::{MirrorStore, Run};
use dualstream_core::record::{Header, Headers, Record};
use dualstream_core::topic::{Epoch, TimestampKind, TopicSpec};
use std::collections::BTreeMap;

/// Runs over all partitions of a topic with holes of every kind: at their begin, between records, at their end, and runs
/// that are nothing else.
fn runs(rig: &MirrorRig, name: &str, round: u32) -> Vec<Run> {
    let below = |n| rig.entropy.below(n);
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    let mut runs = Vec::new();
    for i in 0..30_u32 {
        let partition = below(u64::from(PARTITIONS)) as u32;
        let end = ends.entry(partition).or_insert_with(|| rig.end_of(&topic(name), partition));
        let mut at = *end + below(3) * below(2);
        let mut records = Vec::new();
        for j in 0..below(12) * below(5) {
            records.push(match below(9) {
                0 => plain(partition, at, None),
                1 => plain(partition, at, Some(b"no event")),
                _ => record(partition, at, below(200) as u32, &format!("{round}-{i}-{j}")),
            });
            at += 1 + below(4) * below(2);
        }
        *end = at.max(*end) + below(3);
        runs.push(run(name, partition, records, *end));
    }
    runs
}

fn by_place(records: impl IntoIterator<Item = Record>) -> BTreeMap<(u32, u64), Record> {
    records.into_iter().map(|record| ((record.partition, record.offset), record)).collect()
}

#[tokio::test(start_paused = true)]
async fn everything_comes_back_at_its_offset() {
    let mut rig = MirrorRig::start(small(), 1).await;
    let mut models = [BTreeMap::new(), BTreeMap::new()];
    for round in 0..40 {
        for (name, model) in ["events", "chat"].iter().zip(&mut models) {
            let runs = runs(&rig, name, round);
            let ends: BTreeMap<u32, u64> = runs.iter().map(|run| (run.partition, run.next)).collect();
            model.extend(by_place(runs.iter().flat_map(|run| run.records.clone())));
            assert_eq!(rig.log.append(&topic(name), runs, Vec::new()).await.unwrap(), 0);
            assert!(ends.iter().all(|(&partition, &end)| rig.end_of(&topic(name), partition) == end));
        }
        if round % 10 == 9 {
            rig = rig.restart().await;
        }
    }
    for (name, model) in ["events", "chat"].iter().zip(&models) {
        let all = rig.all(&topic(name)).await;
        assert!(all.len() > 2_000, "{}", all.len());
        assert_eq!(by_place(all.iter().cloned()), *model);
        for filter in [Filter::prefix("user:"), Filter::prefix("user:7"), Filter::source("user:77")] {
            let wanted: Vec<_> = all.iter().filter(|r| filter.matches_record(r)).cloned().collect();
            assert_eq!(rig.read(&topic(name), filter.clone(), 7, false).await, wanted);
            let mut reverse = rig.read(&topic(name), filter, 7, true).await;
            reverse.reverse();
            assert_eq!(reverse, wanted);
        }
    }
    assert_eq!(rig.log.damage(), Vec::<String>::new());
    assert_eq!(rig.log.bounds(&topic("events")).unwrap().epoch, Epoch(7), "it is given, and kept");
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_step_is_refused_whole() {
    let rig = MirrorRig::start(small(), 1).await;
    let events = topic("events");
    let good = || run("events", 3, vec![record(3, 105, 1, "a")], 110);
    let odd = [
        run("events", 3, vec![record(3, 109, 1, "b")], 120),
        run("events", 3, vec![record(3, 112, 1, "b"), record(3, 112, 1, "c")], 120),
        run("events", 3, vec![record(3, 112, 1, "b")], 112),
        run("events", 3, Vec::new(), 109),
        run("events", 5, vec![record(5, 99, 1, "b")], 120),
        run("chat", 3, vec![record(3, 112, 1, "b")], 120),
    ];
    for odd in odd {
        let error = rig.log.append(&events, vec![good(), odd.clone()], Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), "mirror_out_of_step", "{odd:?}");
        assert_eq!(rig.end_of(&events, 3), 100);
    }
    assert_eq!(rig.log.append(&events, vec![good()], Vec::new()).await.unwrap(), 0);
    let error = rig.log.append(&events, vec![good()], Vec::new()).await.unwrap_err();
    assert_eq!((error.code(), error.limit()), ("mirror_out_of_step", Some(110)));
    let nowhere = run("events", 12, Vec::new(), 1);
    let error = rig.log.append(&events, vec![nowhere], Vec::new()).await.unwrap_err();
    assert_eq!(error.code(), "unknown_partition");
    let error = rig.log.append(&topic("none"), Vec::new(), Vec::new()).await.unwrap_err();
    assert_eq!(error.code(), "unknown_topic");
    let error = rig.log.commit(Commit::default()).await.unwrap_err();
    assert_eq!(error.code(), "mirror_read_only");
}

/// Where the log stamps records, and where they bring times of their own.
#[tokio::test(start_paused = true)]
async fn times_come_back() {
    let rig = MirrorRig::empty(small(), 1);
    let own = TopicSpec { timestamp: TimestampKind::Create, ..spec("own") };
    for spec in [spec("stamped"), own] {
        rig.log.begin(spec, Epoch(1), vec![0; 12]).await.unwrap();
    }
    let times = [(5, 5), (5, 5), (7, 7), (7, 3), (7, 900), (7, 7), (8, 8)];
    let timed = |(offset, &(append_time_ms, timestamp_ms)): (usize, &(i64, i64))| Record {
        append_time_ms,
        timestamp_ms,
        ..record(4, offset as u64, 1, &offset.to_string())
    };
    let records: Vec<Record> = times.iter().enumerate().map(timed).collect();
    for name in ["stamped", "own"] {
        rig.log.append(&topic(name), vec![run(name, 4, records.clone(), 7)], Vec::new()).await.unwrap();
    }
    assert_eq!(rig.all(&topic("stamped")).await, records);
    let found = rig.all(&topic("own")).await;
    let stamps = |records: &[Record]| records.iter().map(|r| r.timestamp_ms).collect::<Vec<_>>();
    assert_eq!(stamps(&found), stamps(&records));
    assert!(found.iter().all(|r| r.append_time_ms == 8), "one batch, appended with its last record");
    // A clock upstream that was set back.
    let late = Record { append_time_ms: 2, timestamp_ms: 1, ..record(4, 7, 1, "late") };
    rig.log.append(&topic("own"), vec![run("own", 4, vec![late], 8)], Vec::new()).await.unwrap();
    let last = rig.all(&topic("own")).await.pop().unwrap();
    assert_eq!((last.append_time_ms, last.timestamp_ms), (8, 1));
}

/// Readers take a batch as a whole: none is larger than elsewhere, whatever makes a record large.
#[tokio::test(start_paused = true)]
async fn batches_are_small() {
    let rig = MirrorRig::start(small(), 1).await;
    let large = |n: u64| {
        let bytes = bytes::Bytes::from(vec![b'x'; 40_000 + n as usize]);
        let headers = Headers::new(vec![Header { name: "h".into(), value: Some(bytes.clone()) }]);
        match n % 2 {
            0 => Record { headers, ..plain(1, 100 + n, None) },
            _ => Record { value: Some(bytes), ..plain(1, 100 + n, None) },
        }
    };
    let records: Vec<Record> = (0..120).map(large).collect();
    let runs = vec![run("events", 1, records.clone(), 220)];
    rig.log.append(&topic("events"), runs, Vec::new()).await.unwrap();
    assert_eq!(rig.all(&topic("events")).await, records);
    let image = crate::image::Image::of(&rig.storage);
    let batches = crate::mirror_rig::batch_bytes(&image.0["topics/1/00000000000000000000.segment"]);
    assert!(batches.len() > 4 && batches.iter().all(|&bytes| bytes < (1 << 20) + 100), "{batches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_begun_anew() {
    let rig = MirrorRig::start(small(), 1).await;
    let events = topic("events");
    rig.log
        .append(&events, vec![run("events", 3, vec![record(3, 100, 1, "a")], 101)], Vec::new())
        .await
        .unwrap();
    let waiting = rig.log.clone();
    let wait = tokio::spawn(async move {
        let ends = waiting.bounds(&topic("events")).unwrap().latest;
        waiting.wait(&topic("events"), Epoch(7), &ends).await;
    });
    tokio::task::yield_now().await;
    let start: Vec<u64> = (0..12).map(|p| p * 10).collect();
    rig.log.begin(spec("events"), Epoch(7), start.clone()).await.unwrap();
    wait.await.unwrap();
    let bounds = rig.log.bounds(&events).unwrap();
    assert_eq!((bounds.epoch, &bounds.earliest, &bounds.latest), (Epoch(7), &start, &start));
    assert_eq!(rig.all(&events).await, Vec::new());
    // Before any checkpoint speaks of it.
    let rig = rig.crash();
    let bounds = rig.log.bounds(&events).unwrap();
    assert_eq!((bounds.epoch, &bounds.earliest, &bounds.latest), (Epoch(7), &start, &start));
    let few = rig.log.begin(spec("events"), Epoch(8), vec![1, 2]).await.unwrap_err();
    assert_eq!(few.code(), "invalid_partitions");
    for _ in 0..2 {
        rig.log.forget(&events).await.unwrap();
        assert_eq!(rig.log.bounds(&events).unwrap_err().code(), "unknown_topic");
    }
    assert_eq!(rig.log.topics().len(), 1);
    rig.checkpoint().await;
    let image = crate::image::Image::of(&rig.storage);
    assert!(image.0.keys().all(|path| !path.starts_with("topics/1/") && !path.starts_with("topics/3/")));
}

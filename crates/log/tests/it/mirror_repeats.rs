//! What repeats an event is left out of a mirror: the rule of `dualstream_core::hidden`, over any number of appends,
//! segments and starts.

use crate::mirror_rig::{MirrorRig, record, run, seen};
use crate::rig::{id_of, small, topic};
use dualstream_core::ErrorKind;
use dualstream_core::hidden::WINDOW;
use dualstream_core::log::Log;
use dualstream_core::mirror::MirrorStore;
use dualstream_core::record::Record;
use dualstream_core::topic::{Epoch, TopicSpec};
use dualstream_log::Settings;
use std::sync::atomic::Ordering::Relaxed;

/// Appends one run to a partition of `events`, after a hole or not; how many records were left out.
async fn append(rig: &MirrorRig, partition: u32, records: Vec<Record>) -> u64 {
    let next = records.last().map_or(0, |record| record.offset + 1);
    rig.log.append(&topic("events"), vec![run("events", partition, records, next)], Vec::new()).await.unwrap()
}

async fn offsets(rig: &MirrorRig) -> Vec<(u32, u64)> {
    let mut found: Vec<_> = rig.all(&topic("events")).await.iter().map(|r| (r.partition, r.offset)).collect();
    found.sort_unstable();
    found
}

#[tokio::test(start_paused = true)]
async fn within_an_append() {
    let rig = MirrorRig::start(small(), 1).await;
    let events = topic("events");
    let another_body = Record { value: Some(body("b", 2)), ..record(3, 107, 1, "b") };
    let runs = vec![
        run("events", 3, vec![record(3, 100, 1, "a"), record(3, 101, 1, "b")], 103),
        run("events", 4, vec![seen(100, record(4, 100, 1, "a")), record(4, 101, 9, "a")], 102),
        run(
            "events",
            3,
            vec![
                seen(100, record(3, 103, 1, "a")),
                seen(101, record(3, 104, 1, "a")),
                record(3, 105, 1, "a"),
                seen(100, record(3, 106, 2, "a")),
                seen(101, another_body),
                seen(108, record(3, 108, 1, "b")),
            ],
            109,
        ),
    ];
    assert_eq!(rig.log.append(&events, runs, Vec::new()).await.unwrap(), 3);
    let kept = [(3, 100), (3, 101), (3, 105), (3, 106), (3, 108), (4, 100), (4, 101)];
    assert_eq!(offsets(&rig).await, kept);
    assert_eq!(rig.end_of(&events, 3), 109);
    assert_eq!(rig.log.counters().hidden.load(Relaxed), 3);
    assert_eq!(rig.log.counters().records.load(Relaxed), 7);
}

fn body(id: &str, n: u32) -> bytes::Bytes {
    crate::rig::event(1, id, &format!("another body {n}")).value.unwrap()
}

/// First copies in the active segment, in sealed ones with and without a sidecar, and in those of before a start.
#[tokio::test(start_paused = true)]
async fn across_segments_and_starts() {
    for (case, restarts) in [(0, false), (1, false), (2, false), (3, true)] {
        let mut rig = MirrorRig::start(small(), 1).await;
        append(&rig, 3, vec![record(3, 100, 1, "first")]).await;
        if case > 0 {
            for i in 0..300_u32 {
                append(&rig, 5, vec![record(5, 100 + u64::from(i), i, &i.to_string())]).await;
            }
            assert!(rig.log.topics()[1].segments.unwrap() > 3, "nothing is sealed");
        }
        if case > 1 {
            rig.checkpoint().await;
        }
        if restarts {
            rig = rig.restart().await;
        }
        assert_eq!(append(&rig, 3, vec![seen(101, record(3, 101, 1, "first"))]).await, 0, "case {case}");
        assert_eq!(append(&rig, 3, vec![seen(100, record(3, 102, 1, "first"))]).await, 1, "case {case}");
        // It was left out, and hides all the same.
        assert_eq!(append(&rig, 3, vec![seen(102, record(3, 103, 1, "first"))]).await, 1, "case {case}");
        assert_eq!(append(&rig, 3, vec![seen(100, record(3, 104, 2, "first"))]).await, 0, "another source");
        assert_eq!(append(&rig, 4, vec![seen(100, record(4, 103, 1, "first"))]).await, 0, "elsewhere");
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_ends() {
    for (hides, after) in [(1, WINDOW), (0, WINDOW + 1)] {
        let rig = MirrorRig::start(small(), 1).await;
        append(&rig, 3, vec![record(3, 500, 1, "a")]).await;
        assert_eq!(append(&rig, 3, vec![seen(0, record(3, 500 + after, 1, "a"))]).await, hides);
    }
}

/// The log is read from long ago: what is older than the window of those who publish now still counts.
#[tokio::test(start_paused = true)]
async fn age_does_not_matter() {
    let settings = Settings { dedup_window_ms: 1_000, dedup_ids_max: 1, ..small() };
    let rig = MirrorRig::start(settings, 1).await;
    rig.clock.0.store(1_000_000, Relaxed);
    append(&rig, 3, vec![record(3, 100, 1, "first")]).await;
    for i in 0..300_u32 {
        append(&rig, 5, vec![record(5, 100 + u64::from(i), i, &i.to_string())]).await;
    }
    rig.checkpoint().await;
    rig.checkpoint().await;
    assert_eq!(append(&rig, 3, vec![seen(100, record(3, 101, 1, "first"))]).await, 1);
    let mut found = rig.all(&topic("events")).await;
    found.retain(|record| record.partition == 3);
    assert_eq!(found.iter().map(id_of).collect::<Vec<_>>(), ["first"]);
}

/// Records of one append are looked at also when its runs are many and of several partitions.
#[tokio::test(start_paused = true)]
async fn in_any_cut() {
    let all: Vec<Record> = (0..600_u64)
        .map(|n| {
            let (source, id) = (n as u32 % 7, format!("{}", n % 5));
            let new = record(n as u32 % 3, 100 + n / 3, source, &id);
            if n % 4 == 0 { new } else { seen((100 + n / 3).saturating_sub(n % 50), new) }
        })
        .collect();
    let mut outcomes = Vec::new();
    for cut in [1, 7, 40, 600] {
        let rig = MirrorRig::start(small(), 1).await;
        let mut hidden = 0;
        for chunk in all.chunks(cut) {
            let of = |p: u32| chunk.iter().filter(move |r| r.partition == p).cloned().collect::<Vec<_>>();
            let runs = (0..3).map(|p| (p, of(p))).filter(|(_, records)| !records.is_empty());
            let runs = runs.map(|(p, records)| {
                let next = records[records.len() - 1].offset + 1;
                run("events", p, records, next)
            });
            hidden += rig.log.append(&topic("events"), runs.collect(), vec![u64::MAX; 12]).await.unwrap();
        }
        outcomes.push((hidden, offsets(&rig).await));
    }
    assert!(outcomes[0].0 > 50 && outcomes[0].1.len() > 50, "{}", outcomes[0].0);
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
}

/// Retention of the copy takes the first of its kind, which stands upstream all the same: whoever appends has to look there.
#[tokio::test(start_paused = true)]
async fn what_the_copy_gave_up_is_not_taken_for_nothing() {
    let rig = MirrorRig::start(small(), 1).await;
    let events = topic("events");
    let bounded = TopicSpec { retention_bytes: Some(60 << 10), ..TopicSpec::events(events.clone()) };
    rig.log.begin(bounded, Epoch(7), vec![100; 12]).await.unwrap();
    append(&rig, 3, vec![record(3, 100, 1, "first")]).await;
    let mut next = 101;
    while rig.log.bounds(&events).unwrap().earliest[3] == 100 {
        append(&rig, 3, vec![record(3, next, next as u32, &next.to_string())]).await;
        next += 1;
        if next.is_multiple_of(200) {
            rig.checkpoint().await;
        }
    }
    let begin = rig.log.bounds(&events).unwrap().earliest[3];
    let again = |at: u64| vec![run("events", 3, vec![seen(100, record(3, at, 1, "first"))], at + 1)];
    for known_from in [Vec::new(), vec![100; 12]] {
        let error = rig.log.append(&events, again(next), known_from).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "mirror_looks_back"));
    }
    assert_eq!(rig.end_of(&events, 3), next, "nothing of it was appended");
    // What looks back no further than that, and what was looked for by its bringer.
    let near = vec![run("events", 3, vec![seen(begin, record(3, next, 1, "other"))], next + 1)];
    assert_eq!(rig.log.append(&events, near, Vec::new()).await.unwrap(), 0);
    rig.log.append(&events, again(next + 1), vec![next + 1; 12]).await.unwrap();
}

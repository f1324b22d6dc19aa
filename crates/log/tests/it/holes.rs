//! A reader of one channel is told of damage that may have been its own, also when the index was built after it.

use crate::rig::{PARTITIONS, Rig, event, id_of, small, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Gap, Log, Part, Read, Span};
use dualstream_core::partitioner::partition_of;
use dualstream_core::topic::{TopicAlteration, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_log::{Settings, Storage, repair, verify};
use std::collections::BTreeSet;

/// Ids of a source's records, and the gaps told in its partition.
async fn read_source(rig: &Rig, source: u32) -> (BTreeSet<String>, Vec<Gap>) {
    let events = topic("events");
    let bounds = rig.log.bounds(&events).unwrap();
    let partition = partition_of(source.to_string().as_bytes(), PARTITIONS);
    let p = partition as usize;
    let mut span = Span { partition, from: bounds.earliest[p], until: bounds.latest[p] };
    let (mut ids, mut gaps) = (BTreeSet::new(), Vec::new());
    while span.from < span.until {
        let read = Read {
            topic: events.clone(),
            epoch: bounds.epoch,
            spans: vec![span],
            filter: Filter::source(format!("user:{source}")),
            records_max: 3,
            bytes_max: 1 << 20,
            reverse: false,
        };
        let page = rig.log.read(read).await.unwrap();
        ids.extend(page.records.iter().map(id_of));
        gaps.extend(page.gaps);
        span.from = page.next[0];
    }
    (ids, gaps)
}

#[tokio::test(start_paused = true)]
async fn damage_is_told_to_every_source_it_may_have_hit() {
    let mut rig = Rig::start(small(), 3).await;
    for i in 0..400_u32 {
        let id = i.to_string();
        rig.publish(&topic("events"), &[(i % 200, &id)]).await.unwrap();
    }
    rig = rig.restart().await;
    let mut before = Vec::new();
    for source in 0..200 {
        before.push(read_source(&rig, source).await.0);
    }
    let segment = "topics/1/00000000000000000000.segment";
    rig.storage.corrupt(segment, |bytes| bytes[9_000] ^= 1).unwrap();
    rig.storage.remove("topics/1/00000000000000000000.index").unwrap();
    rig = rig.reopen().unwrap();
    let mut lost = 0;
    for (source, before) in (0..).zip(&before) {
        let (after, gaps) = read_source(&rig, source).await;
        assert!(after.is_subset(before));
        lost += before.len() - after.len();
        assert!(after == *before || !gaps.is_empty(), "user:{source} lost records and was not told");
    }
    assert!(lost > 0, "the flipped byte lies in a batch");
}

/// A segment that was begun before partitions were added, and has lost its header: its batches begin earlier than those
/// of a segment of today.
#[tokio::test(start_paused = true)]
async fn a_lost_header_of_fewer_partitions_costs_no_record() {
    for is_active in [false, true] {
        let mut rig = Rig::start(small(), 3).await;
        for i in 0..30_u32 {
            rig.publish(&topic("events"), &[(i, &i.to_string())]).await.unwrap();
        }
        rig.checkpoint().await;
        if is_active {
            // The process dies before a checkpoint speaks of the new partitions.
            rig.storage.crash_at_step(rig.storage.steps() + 7);
        }
        let before = rig.all(&topic("events")).await;
        let change = TopicAlteration { partitions: Some(60), ..TopicAlteration::default() };
        let altered = rig.log.alter(topic("events"), change).await;
        assert_eq!(altered.is_err(), is_active);
        if !is_active {
            rig = rig.restart().await;
        }
        rig.kill();
        rig.storage.crash_keep_all();
        let segment = "topics/1/00000000000000000000.segment";
        rig.storage.corrupt(segment, |bytes| bytes[20] ^= 1).unwrap();
        let _there_is_none_of_an_active_one = rig.storage.remove("topics/1/00000000000000000000.index");
        let report = verify(&rig.storage, |_| {}).unwrap();
        assert!(report.findings.iter().all(|finding| !finding.loses_records), "{report:?}");
        rig = rig.reopen().unwrap();
        assert_eq!(rig.log.bounds(&topic("events")).unwrap().partitions(), 60);
        assert_eq!(rig.all(&topic("events")).await, before);
        let damage = rig.log.damage();
        assert!(damage.iter().all(|line| line.contains("header")), "{damage:?}");
    }
}

/// A rebuilt checkpoint knows no more where a compaction left holes: in tables they are expected, in event topics not.
#[tokio::test(start_paused = true)]
async fn a_repaired_table_is_not_taken_for_damaged() {
    let settings = Settings { checkpoint_bytes: 1 << 30, journal_file_bytes: 1 << 20, ..small() };
    let mut rig = Rig::start(settings, 3).await;
    rig.log.create(TopicSpec::table(topic("table"), PARTITIONS)).await.unwrap();
    for i in 0..600_u32 {
        let record = event(i % 20, &i.to_string(), &"x".repeat(40));
        rig.commit(vec![Part { topic: topic("table"), partition: i % 20 % 12, records: vec![record] }])
            .await
            .unwrap();
    }
    rig.checkpoint().await;
    rig.checkpoint().await;
    let before = rig.all(&topic("table")).await;
    assert!(before.len() < 300, "nothing was compacted: the test tests nothing");
    let epoch = rig.log.bounds(&topic("table")).unwrap().epoch;
    rig = rig.restart().await;
    rig.kill();
    rig.storage.crash_keep_all();
    rig.storage.corrupt("checkpoint", |bytes| bytes[20] ^= 1).unwrap();
    repair(&rig.storage).unwrap();
    rig = rig.reopen().unwrap();
    assert_ne!(
        rig.log.bounds(&topic("table")).unwrap().epoch,
        epoch,
        "nobody knows whether acks were synced"
    );
    assert_eq!(rig.all(&topic("table")).await, before);
    assert_eq!(rig.log.damage(), Vec::<String>::new());
}

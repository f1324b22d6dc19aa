//! Compaction of table topics: the latest record of each key stays at its offset, also after a power loss at any step.

use crate::rig::{PARTITIONS, Rig, small, topic};
use bytes::Bytes;
use dualstream_core::log::{Appended, Part};
use dualstream_core::partitioner::partition_of;
use dualstream_core::record::NewRecord;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_log::Storage;
use dualstream_log::storage::Mode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Latest acknowledged record of each key: partition, offset, value.
type Table = BTreeMap<String, (u32, u64, Option<String>)>;

async fn put(rig: &Rig, table: &mut Table, key: String, value: Option<String>) -> bool {
    let partition = partition_of(key.as_bytes(), PARTITIONS);
    let record = NewRecord {
        key: Some(Bytes::from(key.clone())),
        value: value.clone().map(Bytes::from),
        ..NewRecord::default()
    };
    let part = Part { topic: topic("table"), partition, records: vec![record] };
    let Ok(committed) = rig.commit(vec![part]).await else { return false };
    let Appended::Stored(offset) = committed.parts[0].records[0] else { panic!("no identity, no duplicate") };
    table.insert(key, (partition, offset, value));
    true
}

/// Checks that the latest of each key is there, in place; returns how many records there are in all.
async fn check(rig: &Rig, table: &Table) -> usize {
    let mut latest = Table::new();
    let records = rig.all(&topic("table")).await;
    for record in &records {
        let text = |b: &Bytes| String::from_utf8(b.to_vec()).unwrap();
        let key = text(record.key.as_ref().unwrap());
        latest.insert(key, (record.partition, record.offset, record.value.as_ref().map(text)));
    }
    for (key, wanted) in table {
        let found = latest.get(key).expect("a key is lost");
        // What was not acknowledged may have come after it.
        assert!(found == wanted || found.1 > wanted.1, "{key}: {found:?}, wanted {wanted:?}");
    }
    assert_eq!(rig.log.damage(), Vec::<String>::new(), "holes are no damage");
    records.len()
}

async fn start(seed: u64) -> Rig {
    let rig = Rig::start(small(), seed).await;
    rig.log.create(TopicSpec::table(topic("table"), PARTITIONS)).await.unwrap();
    rig
}

#[tokio::test(start_paused = true)]
async fn only_the_latest_of_each_key_stays() {
    let mut rig = start(1).await;
    let mut table = Table::new();
    for i in 0..3_000 {
        let value = (i % 17 != 0).then(|| format!("value-{i}"));
        assert!(put(&rig, &mut table, format!("key-{}", i * 7 % 100), value).await);
    }
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(put(&rig, &mut table, "tick".into(), Some("now".into())).await);
    }
    rig = rig.restart().await;
    let left = check(&rig, &table).await;
    assert!(left < 700, "{left} of 3,004 records are left");
}

#[tokio::test(start_paused = true)]
async fn power_loss_while_compacting() {
    for seed in 0..60 {
        let mut rig = start(seed).await;
        let mut table = Table::new();
        for round in 0..4 {
            let steps = rig.storage.steps();
            rig.storage.crash_at_step(steps + 300 + rig.entropy.below(700));
            for i in 0..600 {
                if i % 100 == 99 {
                    tokio::time::advance(Duration::from_secs(11)).await;
                }
                let key = format!("key-{}", rig.entropy.below(60));
                if !put(&rig, &mut table, key, Some(format!("{round}-{i}"))).await {
                    break;
                }
            }
            rig.storage.crash_at_step(u64::MAX);
            rig = rig.crash();
            assert!(rig.storage.list("").is_ok());
            check(&rig, &table).await;
        }
    }
}

/// What a compaction that was cut short, and a reader who came late, leave behind.
#[tokio::test(start_paused = true)]
async fn a_topic_is_deleted_with_whatever_is_in_its_directory() {
    let rig = start(1).await;
    let id = rig.storage.list("topics").unwrap().pop().unwrap();
    for name in ["00000000000000000000.segment.new", "00000000000000000007.index"] {
        rig.storage.open(&format!("topics/{id}/{name}"), Mode::Write).unwrap();
    }
    rig.log.delete(topic("table")).await.unwrap();
    rig.checkpoint().await;
    assert!(!rig.storage.list("topics").unwrap().contains(&id));
    rig.publish(&topic("events"), &[(1, "goes on")]).await.unwrap();
}

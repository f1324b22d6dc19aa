//! Compaction of table topics: the latest record of each key stays at its offset, also after a power loss at any step.

use crate::rig::{PARTITIONS, Rig, event, small, topic};
use bytes::Bytes;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Log, Part, Read, Span};
use dualstream_core::partitioner::partition_of;
use dualstream_core::record::NewRecord;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_log::storage::{Fault, Mode, Op};
use dualstream_log::{Compression, Settings, Storage, verify};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
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
    start_with(small(), seed).await
}

/// A log that compacts only when a test lets the time of a checkpoint pass, and not the first time.
async fn start_slow(seed: u64) -> Rig {
    start_with(Settings { checkpoint_bytes: 1 << 30, journal_file_bytes: 1 << 20, ..small() }, seed).await
}

async fn start_with(settings: Settings, seed: u64) -> Rig {
    let rig = Rig::start(settings, seed).await;
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

/// Puts each of 60 keys ten times: several sealed segments.
async fn fill(rig: &Rig) -> Table {
    let mut table = Table::new();
    for i in 0..600 {
        assert!(put(rig, &mut table, format!("key-{}", i % 60), Some(format!("{i:>40}"))).await);
    }
    table
}

/// Path of the table's first segment.
fn first_segment(rig: &Rig) -> String {
    let id = rig.storage.list("topics").unwrap().pop().unwrap();
    format!("topics/{id}/{:020}.segment", 0)
}

/// How many records of the table there are, and how many offsets a reader is told are damaged.
async fn records_and_gaps(rig: &Rig) -> (usize, u64) {
    let bounds = rig.log.bounds(&topic("table")).unwrap();
    let read = Read {
        topic: topic("table"),
        epoch: bounds.epoch,
        spans: Span::all(&bounds.earliest, &bounds.latest),
        filter: Filter::All,
        records_max: 10_000,
        bytes_max: 10 << 20,
        reverse: false,
    };
    let page = rig.log.read(read).await.unwrap();
    (page.records.len(), page.gaps.iter().map(|gap| gap.until - gap.from).sum())
}

/// A compaction that found no space changed nothing: damage in what it did not rewrite is told as before.
#[tokio::test(start_paused = true)]
async fn a_compaction_that_fails_hides_no_damage() {
    let mut failed = 0;
    for nth in 1..6 {
        let rig = start_slow(nth).await;
        fill(&rig).await;
        rig.checkpoint().await;
        let before = rig.storage.open(&first_segment(&rig), Mode::Read).unwrap().len().unwrap();
        rig.storage.fail_next(Op::Rename, nth, Fault::Enospc);
        rig.checkpoint().await;
        let path = first_segment(&rig);
        if rig.storage.open(&path, Mode::Read).unwrap().len().unwrap() < before {
            continue;
        }
        failed += 1;
        rig.storage.corrupt(&path, |bytes| bytes[600] ^= 1).unwrap();
        let (_, gaps) = records_and_gaps(&rig).await;
        assert!(gaps > 0, "rename {nth} failed, then damage was passed over untold");
    }
    assert!(failed > 0, "no compaction failed: the test tests nothing");
}

/// What is damaged stays where it is, for `verify` and whoever has a better tool.
#[tokio::test(start_paused = true)]
async fn a_damaged_segment_is_not_compacted() {
    let rig = start_slow(1).await;
    let table = fill(&rig).await;
    let path = first_segment(&rig);
    rig.checkpoint().await;
    rig.storage.corrupt(&path, |bytes| bytes[600] ^= 1).unwrap();
    rig.checkpoint().await;
    assert!(records_and_gaps(&rig).await.0 < 400, "the others are compacted");
    rig.publish(&topic("events"), &[(1, "goes on")]).await.unwrap();
    let rig = rig.restart().await;
    let report = verify(&rig.storage, |_| {}).unwrap();
    assert!(report.findings.iter().any(|f| f.path == path && f.loses_records), "{report:?}");
    check(&rig, &table).await;
}

/// What a compaction took is not known any more: nobody is pointed to a place that holds nothing.
#[tokio::test(start_paused = true)]
async fn identities_follow_a_compaction() {
    let mut rig = start_slow(1).await;
    let part = |i: u32| Part {
        topic: topic("table"),
        partition: i % 3,
        records: vec![event(i % 3, &i.to_string(), &"x".repeat(100))],
    };
    for i in 0..400 {
        rig.commit(vec![part(i)]).await.unwrap();
    }
    rig.checkpoint().await;
    rig.checkpoint().await;
    assert!(rig.all(&topic("table")).await.len() < 200, "nothing was compacted: the test tests nothing");
    for again in [false, true] {
        for i in [0, 1, 30, 31, 398, 399] {
            let answer = rig.commit(vec![part(i)]).await.unwrap().parts[0].records[0].clone();
            let Appended::Duplicate { offset, .. } = answer else { continue };
            let found = rig.all(&topic("table")).await;
            let is_it = |r: &&dualstream_core::record::Record| (r.partition, r.offset) == (i % 3, offset);
            let record = found.iter().find(is_it).expect("a duplicate stands where it is said to stand");
            assert_eq!(crate::rig::id_of(record), i.to_string());
        }
        if !again {
            rig = rig.restart().await;
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

/// Many records of a partition in one batch, so that it is worth compressing.
async fn put_many(rig: &Rig, records: impl Iterator<Item = (String, Option<String>)>) {
    let bytes = |text: String| Bytes::from(text.into_bytes());
    let record = |(key, value): (String, Option<String>)| NewRecord {
        key: Some(bytes(key)),
        value: value.map(bytes),
        ..NewRecord::default()
    };
    let part = Part { topic: topic("table"), partition: 3, records: records.map(record).collect() };
    rig.commit(vec![part]).await.unwrap();
}

fn table_bytes(rig: &Rig) -> u64 {
    let id = rig.storage.list("topics").unwrap().pop().unwrap();
    let files = rig.storage.list(&format!("topics/{id}")).unwrap();
    let segments = files.iter().filter(|name| name.ends_with(".segment"));
    segments
        .map(|name| rig.storage.open(&format!("topics/{id}/{name}"), Mode::Read).unwrap().len().unwrap())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn tables_of_compressed_batches_shrink() {
    let rig = start_with(Settings { compression: Compression::Zstd, ..small() }, 5).await;
    for round in 0..200 {
        // Half of a batch stays for ever, the others come again.
        let keys = (0..50)
            .map(|key| if key % 2 == 0 { format!("kept-{key}-{round}") } else { format!("key-{key}") });
        put_many(&rig, keys.map(|key| (key, Some("word ".repeat(20) + &round.to_string())))).await;
    }
    let before = table_bytes(&rig);
    for round in 0..4 {
        put_many(&rig, std::iter::once((format!("tick-{round}"), Some("now".into())))).await;
        rig.checkpoint().await;
    }
    let after = table_bytes(&rig);
    assert!(after < before, "{before} bytes became {after}");
    assert_eq!(rig.log.damage(), Vec::<String>::new());
}

/// A tombstone may go only when no older record of its key can be left before it.
#[tokio::test(start_paused = true)]
async fn a_deleted_key_stays_deleted_where_a_segment_is_damaged() {
    let rig = start_slow(6).await;
    fill(&rig).await;
    for key in 0..60 {
        let partition = partition_of(format!("key-{key}").as_bytes(), PARTITIONS);
        let record = NewRecord { key: Some(Bytes::from(format!("key-{key}"))), ..NewRecord::default() };
        rig.commit(vec![Part { topic: topic("table"), partition, records: vec![record] }]).await.unwrap();
    }
    rig.storage.corrupt(&first_segment(&rig), |bytes| bytes[5_000] ^= 1).unwrap();
    rig.clock.0.fetch_add(2 * 24 * 3600 * 1000, Ordering::Relaxed);
    let mut fresh = Table::new();
    for i in 0..600 {
        assert!(put(&rig, &mut fresh, format!("other-{}", i % 60), Some(format!("{i:>40}"))).await);
    }
    rig.checkpoint().await;
    rig.checkpoint().await;
    let mut table = BTreeMap::new();
    let records = rig.all(&topic("table")).await;
    for record in &records {
        table.insert(record.key.clone().unwrap(), record.value.is_some());
    }
    assert!(records.len() < 1_000, "{} records: it was compacted", records.len());
    let back: Vec<_> =
        table.iter().filter(|(key, is_there)| key.starts_with(b"key-") && **is_there).collect();
    assert!(back.is_empty(), "deleted keys are back: {back:?}");
}

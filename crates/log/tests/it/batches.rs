//! A commit much larger than a batch, and records that are much less than theirs.

use crate::rig::{Rig, id_of, small, topic};
use bytes::Bytes;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Log, Read, Span};
use dualstream_log::Settings;

/// Longer than a batch with records of some hundred bytes.
const EVENTS: u32 = 20_000;

/// Sizes of the batches in a segment.
fn batches(segment: &[u8]) -> Vec<usize> {
    let mut at = u32::from_le_bytes(segment[8..12].try_into().unwrap()) as usize;
    let mut sizes = Vec::new();
    while at + 4 <= segment.len() {
        let size = u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize + 4;
        if size == 4 {
            break;
        }
        sizes.push(size);
        at += size;
    }
    sizes
}

#[tokio::test(start_paused = true)]
async fn a_large_commit_is_many_batches_and_every_event_is_found_again() {
    let settings = Settings { segment_bytes: 64 << 20, journal_file_bytes: 64 << 20, ..small() };
    let mut rig = Rig::start(settings, 1).await;
    let events = topic("events");
    let ids: Vec<String> = (0..EVENTS).map(|i| format!("{i}-{}", "x".repeat(100))).collect();
    let all: Vec<(u32, &str)> = ids.iter().map(|id| (7, id.as_str())).collect();
    rig.publish(&events, &all).await.unwrap();
    for reopened in [false, true] {
        if reopened {
            rig = rig.crash();
        }
        let found: Vec<String> = rig.all(&events).await.iter().map(id_of).collect();
        assert!(found == ids, "{} of {EVENTS}, reopened: {reopened}", found.len());
        for at in [0, 5_000, EVENTS as usize - 1] {
            let again = rig.publish(&events, &[(7, &ids[at])]).await.unwrap();
            assert_eq!(again[0].1, Appended::Duplicate { partition: again[0].0, offset: at as u64 });
        }
    }
    let mut sizes = Vec::new();
    rig.storage.corrupt("topics/1/00000000000000000000.segment", |bytes| sizes = batches(bytes)).unwrap();
    assert!(sizes.len() > 3, "{sizes:?}");
    assert!(sizes.iter().all(|&size| size <= (1 << 20) + 1024), "{sizes:?}");
}

/// A page of one channel must not hold, for each of its events, the block that the event was read in.
#[tokio::test(start_paused = true)]
async fn a_few_records_of_many_are_in_memory_of_their_own() {
    let settings = Settings { segment_bytes: 64 << 20, journal_file_bytes: 64 << 20, ..small() };
    let rig = Rig::start(settings, 1).await;
    let events = topic("events");
    for round in 0..20 {
        let ids: Vec<String> = (0..100).map(|i| format!("{round}-{i}-{}", "x".repeat(300))).collect();
        let many: Vec<(u32, &str)> = (0..).zip(ids.iter().map(String::as_str)).collect();
        rig.publish(&events, &many).await.unwrap();
    }
    let bounds = rig.log.bounds(&events).unwrap();
    for (filter, count, are_own) in [(Filter::source("user:7"), 20, true), (Filter::All, 2_000, false)] {
        let read = Read {
            topic: events.clone(),
            epoch: bounds.epoch,
            spans: Span::all(&bounds.earliest, &bounds.latest),
            filter,
            records_max: 10_000,
            bytes_max: 64 << 20,
            reverse: false,
        };
        let records = rig.log.read(read).await.unwrap().records;
        assert_eq!(records.len(), count);
        let is_own = |value: Option<Bytes>| value.unwrap().try_into_mut().is_ok();
        let own = records.into_iter().filter_map(|record| is_own(record.value).then_some(())).count();
        assert_eq!(own > 0, are_own, "{own} of {count}");
        assert!(own == 0 || own == count, "{own} of {count}");
    }
}

/// Thousands of clients come back and read the same stretch, each for its channel.
#[tokio::test(start_paused = true)]
async fn a_block_is_read_once_for_all_channels_unless_it_is_damaged() {
    let segment = "topics/1/00000000000000000000.segment";
    let rig =
        Rig::start(Settings { segment_bytes: 64 << 20, journal_file_bytes: 64 << 20, ..small() }, 1).await;
    let events = topic("events");
    for round in 0..200 {
        let ids: Vec<String> = (0..40).map(|i| format!("{round}-{i}-{}", "x".repeat(100))).collect();
        let many: Vec<(u32, &str)> = (0..).zip(ids.iter().map(String::as_str)).collect();
        rig.publish(&events, &many).await.unwrap();
    }
    let flip =
        || rig.storage.corrupt(segment, |bytes| (200..500_000).step_by(100).for_each(|at| bytes[at] ^= 1));
    let of = async |source: u32| {
        let bounds = rig.log.bounds(&events).unwrap();
        let read = Read {
            topic: events.clone(),
            epoch: bounds.epoch,
            spans: Span::all(&bounds.earliest, &bounds.latest),
            filter: Filter::source(format!("user:{source}")),
            records_max: 10_000,
            bytes_max: 64 << 20,
            reverse: false,
        };
        let page = rig.log.read(read).await.unwrap();
        (page.records.len(), page.gaps.len())
    };
    flip().unwrap();
    let (damaged, gaps) = of(1).await;
    assert!(damaged < 200 && gaps > 0, "{damaged} records, {gaps} gaps");
    flip().unwrap();
    assert_eq!(of(1).await, (200, 0), "what was damaged is looked at again");
    flip().unwrap();
    for source in 0..40 {
        assert_eq!(of(source).await, (200, 0), "source {source}: read once, for all");
    }
}

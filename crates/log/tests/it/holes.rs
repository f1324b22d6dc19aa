//! A reader of one channel is told of damage that may have been its own, also when the index was built after it.

use crate::rig::{PARTITIONS, Rig, id_of, small, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Gap, Log, Read, Span};
use dualstream_core::partitioner::partition_of;
use dualstream_log::Storage;
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

//! Ids whose hashes are equal, as somebody may make them on purpose.

use crate::rig::{PARTITIONS, Rig, event, small, topic};
use dualstream_core::identity::Identity;
use dualstream_core::log::{Appended, Part};
use dualstream_core::partitioner::partition_of;
use dualstream_core::{ErrorKind, Result};
use std::sync::atomic::Ordering;

/// Publishes one event; its id is told to have the same hash as all others.
async fn publish(rig: &Rig, n: usize) -> Result<Appended> {
    let mut record = event(n as u32 % 3, &format!("id-{n}"), "");
    record.identity = Some(Identity { hash: 7 << 40, check: true, time_given: false });
    let partition = partition_of(record.key.as_ref().unwrap(), PARTITIONS);
    let part = Part { topic: topic("events"), partition, records: vec![record] };
    rig.commit(vec![part]).await.map(|committed| committed.parts[0].records[0].clone())
}

#[tokio::test(start_paused = true)]
async fn equal_hashes_cost_a_bounded_number_of_reads_and_never_an_event() {
    let rig = Rig::start(small(), 1).await;
    let mut stored = Vec::new();
    for n in 0..64 {
        stored.push(publish(&rig, n).await.unwrap());
        assert!(matches!(stored[n], Appended::Stored(_)), "{n}");
    }
    for (n, first) in stored.iter().enumerate() {
        let again = publish(&rig, n).await.unwrap();
        assert!(!matches!(again, Appended::Stored(_)), "{n} stands at {first:?} and was stored again");
    }
    let error = publish(&rig, 64).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "id_overused"));
    assert!(!matches!(publish(&rig, 0).await.unwrap(), Appended::Stored(_)), "the others are still known");
    rig.publish(&topic("events"), &[(1, "another")]).await.unwrap();
}

/// The same id comes again once a window, and is a new event each time.
#[tokio::test(start_paused = true)]
async fn an_id_of_before_the_window_counts_for_nothing() {
    let rig = Rig::start(small(), 2).await;
    for day in 0..70 {
        let stored = rig.publish(&topic("events"), &[(1, "daily"), (1, "daily")]).await.unwrap();
        assert!(matches!(stored[0].1, Appended::Stored(_)), "day {day}: {stored:?}");
        assert!(matches!(stored[1].1, Appended::Duplicate { .. }), "day {day}: {stored:?}");
        rig.clock.0.fetch_add(rig.settings.dedup_window_ms as i64 + 1_000, Ordering::Relaxed);
    }
}

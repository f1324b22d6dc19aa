//! Acknowledged records survive; nothing is there twice; offsets keep their records. Against a power loss at any step.

use crate::rig::{Rig, id_of, small, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::Appended;
use dualstream_log::Storage;
use std::collections::BTreeMap;

/// What was acknowledged: (topic, partition, offset) → id.
type Model = BTreeMap<(String, u32, u64), String>;

async fn check(rig: &Rig, acked: &Model, seen: &mut Model) {
    for name in ["events", "chat"] {
        let mut ids = BTreeMap::new();
        for record in rig.all(&topic(name)).await {
            let place = (name.to_string(), record.partition, record.offset);
            let id = id_of(&record);
            assert_eq!(ids.insert(id.clone(), place.clone()), None, "{id} is stored twice");
            assert_eq!(acked.get(&place).unwrap_or(&id), &id, "another record at {place:?}");
            if let Some(before) = seen.insert(place.clone(), id.clone()) {
                assert_eq!(before, id, "{place:?} changed its record");
            }
        }
        for (place, id) in acked.iter().filter(|(p, _)| p.0 == name) {
            assert_eq!(ids.get(id), Some(place), "acknowledged {id} is lost or moved");
        }
    }
}

/// One run: publishes in batches over both topics, loses power at a random step or ends in order, again and again.
async fn run(seed: u64) {
    let mut rig = Rig::start(small(), seed).await;
    let (mut acked, mut seen) = (Model::new(), Model::new());
    let mut next = 0;
    for round in 0..6 {
        let crash_in = 1 + rig.entropy.below(250);
        rig.storage.crash_at_step(rig.storage.steps() + crash_in);
        for _ in 0..30 {
            let topic = topic(["events", "chat"][rig.entropy.below(2) as usize]);
            let ids: Vec<String> = (0..=rig.entropy.below(20))
                .map(|_| {
                    // Some are sent again: from before the crash, or a moment ago.
                    next += 1;
                    let id = if rig.entropy.below(5) == 0 { rig.entropy.below(next) } else { next };
                    format!("{}-{id}", topic.as_str())
                })
                .collect();
            let source = |id: &str| id.bytes().map(u32::from).sum::<u32>() % 1_000;
            let events: Vec<(u32, &str)> = ids.iter().map(|id| (source(id), id.as_str())).collect();
            let Ok(placed) = rig.publish(&topic, &events).await else { break };
            for ((_, id), (partition, appended)) in events.iter().zip(placed) {
                let (Appended::Stored(offset) | Appended::Duplicate { offset, .. }) = appended else {
                    panic!("{id}: {appended:?}");
                };
                let before = acked.insert((topic.to_string(), partition, offset), id.to_string());
                assert!(before.is_none_or(|b| b == **id));
            }
        }
        rig.storage.crash_at_step(u64::MAX);
        // The disk may be gone already, and the log only finds out when it writes.
        let alive = rig.storage.list("").is_ok();
        rig = if round % 3 == 2 && alive && rig.publish(&topic("chat"), &[(0, "chat-end")]).await.is_ok() {
            rig.restart().await
        } else {
            rig.crash()
        };
        assert_eq!(rig.log.damage(), Vec::<String>::new(), "a power loss is no damage");
        check(&rig, &acked, &mut seen).await;
    }
}

#[tokio::test(start_paused = true)]
async fn power_loss_at_random_steps() {
    for seed in 0..150 {
        println!("seed {seed}");
        run(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn filters_pages_and_directions_agree() {
    let rig = Rig::start(small(), 7).await;
    for i in 0..600_u32 {
        let ids: Vec<String> = (0..7).map(|j| format!("{i}-{j}")).collect();
        let events: Vec<(u32, &str)> =
            ids.iter().enumerate().map(|(j, id)| ((i * 31 + j as u32 * 7) % 1_000, id.as_str())).collect();
        rig.publish(&topic("events"), &events).await.unwrap();
    }
    let all = rig.all(&topic("events")).await;
    assert_eq!(all.len(), 4_200);
    let filters = [
        Filter::All,
        Filter::prefix("user:"),
        Filter::prefix(""),
        Filter::prefix("user:7"),
        Filter::source("user:77"),
        Filter::source("user:no"),
        Filter::source("user:500").union(Filter::source("user:3")),
    ];
    for filter in filters {
        let wanted: Vec<_> = all.iter().filter(|r| filter.matches_record(r)).cloned().collect();
        for page in [1, 3, 100, 10_000] {
            if page == 1 && wanted.len() > 500 {
                continue;
            }
            assert_eq!(
                rig.read(&topic("events"), filter.clone(), page, false).await.unwrap(),
                wanted,
                "{filter:?} {page}"
            );
            let mut back = rig.read(&topic("events"), filter.clone(), page, true).await.unwrap();
            back.reverse();
            assert_eq!(back, wanted, "{filter:?} {page} in reverse");
        }
    }
}

/// It is that of the data directory, and of no other.
#[tokio::test]
async fn a_log_keeps_its_id() {
    let rig = Rig::start(small(), 1).await;
    let id = rig.log.id();
    let rig = rig.crash();
    assert_eq!(rig.log.id(), id);
    let rig = rig.restart().await;
    assert_eq!(rig.log.id(), id);
    assert_ne!(Rig::start(small(), 2).await.log.id(), id);
}

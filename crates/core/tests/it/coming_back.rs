//! Many who come back to one place at once: what the second one reads is for all others too, and each gets exactly its
//! own part.

use crate::world::*;
use dualstream_core::hub::*;
use dualstream_core::log::Log;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// A place after `seen` events of `target`, as a client holds it.
async fn place(world: &World, target: &str, seen: usize) -> Start {
    let mut subscription = world.subscribe(&[target], Start::Earliest).await;
    let items = drain(&mut subscription, 1 << 20).await;
    resume(&tokens(&items)[seen - 1])
}

fn count_reads(world: &World) -> Arc<AtomicUsize> {
    let reads = Arc::<AtomicUsize>::default();
    let own = reads.clone();
    // The feed of the ring reads from where it stands, which is past everything here.
    world.log.on_read(move |read| {
        own.fetch_add(usize::from(read.spans.iter().any(|span| span.until != u64::MAX)), SeqCst);
    });
    reads
}

#[tokio::test(start_paused = true)]
async fn many_share_what_was_read() {
    for target in ["events:*", "events:repo:*", "events:repo:k7"] {
        let world = World::new();
        world.publish(0, 900).await;
        let start = place(&world, target, 20).await;
        let reads = count_reads(&world);
        let mut first = None::<Vec<Item>>;
        for number in 0..50 {
            let mut subscription = world.subscribe(&[target], start.clone()).await;
            let items = drain(&mut subscription, 2_000).await;
            assert_eq!(positions(&items), world.model("events", target)[20..], "{target}");
            if number == 0 {
                continue;
            }
            let first = first.get_or_insert_with(|| items.clone());
            for (a, b) in first.iter().zip(&items) {
                let (Item::Event { entry, .. }, Item::Event { entry: other, .. }) = (a, b) else {
                    panic!("not events");
                };
                assert!(Arc::ptr_eq(entry, other), "made once for all");
            }
        }
        let once = reads.load(SeqCst);
        assert!(once > 1, "several pages");
        let mut alone = world.subscribe(&[target], place(&world, target, 21).await).await;
        let before = reads.load(SeqCst);
        drain(&mut alone, 2_000).await;
        let of_one = reads.load(SeqCst) - before;
        assert!(once <= 2 * (of_one + 1), "{target}: {once} reads for fifty, {of_one} for one");
    }
}

#[tokio::test(start_paused = true)]
async fn each_gets_its_own_part_while_more_is_published() {
    for target in ["events:*", "events:repo:*", "events:repo:k7"] {
        for bytes_max in [1, 700, 1 << 20] {
            let world = World::new();
            world.publish(0, 300).await;
            let start = place(&world, target, 5).await;
            let mut subscriptions = Vec::new();
            for round in 1..12 {
                // Joined here, read when the next one has joined: ends and readings differ.
                subscriptions.push((world.subscribe(&[target], start.clone()).await, Vec::new()));
                for (subscription, items) in subscriptions.iter_mut().rev().skip(1).step_by(2) {
                    items.extend(drain(subscription, bytes_max).await);
                }
                world.publish(round * 1_000, round * 3).await;
            }
            let model = world.model("events", target);
            for (at, (mut subscription, mut items)) in subscriptions.into_iter().enumerate() {
                items.extend(drain(&mut subscription, bytes_max).await);
                assert_eq!(positions(&items), model[5..], "{target} {bytes_max} {at}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_log_no_longer_keeps_is_not_told_from_memory() {
    let world = World::new();
    world.publish(0, 600).await;
    let start = place(&world, "events:*", 10).await;
    let mut late = world.subscribe(&["events:*"], start.clone()).await;
    for _ in 0..3 {
        let mut early = world.subscribe(&["events:*"], start.clone()).await;
        assert_eq!(positions(&drain(&mut early, 1 << 20).await), world.model("events", "events:*")[10..]);
    }
    let latest = world.log.bounds(&topic("events")).unwrap().latest;
    world.log.trim_now(&topic("events"), &latest);
    let items = drain(&mut late, 1 << 20).await;
    assert!(matches!(items[..], [Item::Unrecoverable { reason: "retention", .. }]), "{items:?}");
}

#[tokio::test(start_paused = true)]
async fn damage_is_told_to_each_until_it_is_mended() {
    let world = World::new();
    world.publish(0, 200).await;
    let start = place(&world, "events:*", 1).await;
    let hurt = world.model("events", "events:*")[50];
    world.log.damage(&topic("events"), hurt.partition, hurt.offset);
    for _ in 0..4 {
        let mut subscription = world.subscribe(&["events:*"], start.clone()).await;
        let items = drain(&mut subscription, 1 << 20).await;
        let told = items.iter().filter(|item| matches!(item, Item::Unrecoverable { reason: "damage", .. }));
        assert_eq!(told.count(), 1);
    }
    world.log.mend();
    let mut subscription = world.subscribe(&["events:*"], start).await;
    assert_eq!(positions(&drain(&mut subscription, 1 << 20).await), world.model("events", "events:*")[1..]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_is_there_already() {
    for target in ["events:*", "events:repo:k7"] {
        for bytes_max in [1, 700, 1 << 20] {
            let world = World::new();
            world.publish(0, 200).await;
            let mut subscription = world.subscribe(&[target], Start::Earliest).await;
            let mut items = Vec::new();
            for round in 1..4 {
                let model = world.model("events", target);
                while items.len() < model.len() {
                    // The clock stands still unless everybody waits.
                    let next =
                        tokio::time::timeout(std::time::Duration::from_secs(1), subscription.next(bytes_max));
                    items.extend(next.await.expect("there is more"));
                }
                assert_eq!(positions(&items), model, "{target} {bytes_max}");
                world.publish(round * 1_000, 100).await;
            }
        }
    }
}

//! Reliable subscriptions: joining, following, being overrun, sharing.

use crate::world::*;
use dualstream_core::channel::Target;
use dualstream_core::hub::{self, *};
use dualstream_core::log::Log;
use futures::FutureExt;
use futures::task::ArcWake;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Context;
use std::time::Duration;

const TARGETS: [&[&str]; 5] = [
    &["events:*"],
    &["events:repo:*"],
    &["events:repo:k7"],
    &["events:repo:*", "events:repo:k7", "events:user:k14", "events:repo:k21"],
    &["events:repo:k7", "events:user:k14"],
];

fn wanted(world: &World, targets: &[&str]) -> Vec<dualstream_core::position::Position> {
    let any: BTreeSet<_> = targets.iter().flat_map(|t| world.model("events", t)).collect();
    world.model("events", "events:*").into_iter().filter(|p| any.contains(p)).collect()
}

/// Events arrive before each of the first reads, whatever that read is for.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_while_joining() {
    for targets in TARGETS {
        for interleaved in 0..8 {
            for bytes_max in [1, 4000, 1 << 20] {
                let world = World::new();
                world.publish(0, 200).await;
                let (publisher, mut reads) = (world.publisher.clone(), 0);
                world.log.on_read(move |_| {
                    reads += 1;
                    if reads <= interleaved {
                        let more = (1000 * reads..1000 * reads + 3 * reads).map(event).collect();
                        publisher.publish(more).now_or_never().unwrap();
                    }
                });
                let mut subscription = world.subscribe(targets, Start::Earliest).await;
                let mut items = drain(&mut subscription, bytes_max).await;
                world.publish(9000, 50).await;
                items.extend(drain(&mut subscription, bytes_max).await);
                assert_eq!(
                    positions(&items),
                    wanted(&world, targets),
                    "{targets:?} {interleaved} {bytes_max}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn latest_begins_where_the_log_ended() {
    for targets in TARGETS {
        let world = World::new();
        // A ring that has not read the tail yet when the second subscription is made.
        let _early = world.subscribe(&["events:*"], Start::Latest).await;
        world.publish(0, 100).await;
        let mut subscription = world.subscribe(targets, Start::Latest).await;
        let before = wanted(&world, targets).len();
        world.publish(100, 300).await;
        let items = drain(&mut subscription, 1000).await;
        assert_eq!(positions(&items), wanted(&world, targets)[before..], "{targets:?}");
        // Also the tokens hold nothing from before.
        for (at, token) in tokens(&items).iter().enumerate().step_by(13) {
            let mut again = world.subscribe(targets, resume(token)).await;
            let rest = positions(&drain(&mut again, 1 << 20).await);
            assert_eq!(rest, wanted(&world, targets)[before + at + 1..], "{targets:?} after {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn overrun_goes_back_to_the_log() {
    for ring_bytes_max in [0, 3000, 40_000] {
        for targets in TARGETS {
            let settings = hub::Settings { ring_bytes_max, ..hub::Settings::default() };
            let world = World::with(settings, None);
            let mut subscription = world.subscribe(targets, Start::Latest).await;
            assert!(drain(&mut subscription, 100).await.is_empty());
            let mut items = Vec::new();
            for round in 0..30 {
                world.publish(round * 100, 100).await;
                tokio::task::yield_now().await;
                items.extend(subscription.next(200).now_or_never().unwrap_or_default());
            }
            items.extend(drain(&mut subscription, 200).await);
            assert_eq!(positions(&items), wanted(&world, targets), "{targets:?} {ring_bytes_max}");
            assert!(world.hub.counters().ring_bytes.load(SeqCst) <= ring_bytes_max);
            if ring_bytes_max == 0 {
                assert!(world.hub.counters().ring_overruns.load(SeqCst) > 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn followers_share_entries_tokens_and_frames() {
    let world = World::new();
    let mut subscriptions = Vec::new();
    for _ in 0..50 {
        let mut subscription = world.subscribe(&["events:*"], Start::Latest).await;
        assert!(drain(&mut subscription, 100).await.is_empty());
        subscriptions.push(subscription);
    }
    world.publish(0, 400).await;
    let (mut first, mut made) = (None::<Vec<Item>>, 0);
    for subscription in &mut subscriptions {
        let items = drain(subscription, 1 << 20).await;
        let first = first.get_or_insert_with(|| items.clone());
        assert_eq!(items.len(), wanted(&world, &["events:*"]).len());
        for (a, b) in first.iter().zip(&items) {
            let (Item::Event { entry, resume }, Item::Event { entry: other, resume: token }) = (a, b) else {
                panic!("not events");
            };
            assert!(Arc::ptr_eq(entry, other) && Arc::ptr_eq(resume, token));
            entry.frame(Slot::Sse, |_| {
                made += 1;
                "frame".into()
            });
        }
    }
    assert_eq!(made, wanted(&world, &["events:*"]).len(), "each frame was encoded once");
}

struct Count(AtomicUsize);

impl ArcWake for Count {
    fn wake_by_ref(this: &Arc<Count>) {
        this.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn only_those_who_want_an_entry_are_woken() {
    let world = World::new();
    let mut own = world.subscribe(&["events:repo:k7"], Start::Latest).await;
    let mut other = world.subscribe(&["events:repo:k21"], Start::Latest).await;
    let mut all = world.subscribe(&["events:user:*"], Start::Latest).await;
    for subscription in [&mut own, &mut other, &mut all] {
        assert!(drain(subscription, 100).await.is_empty());
    }
    let counts: Vec<_> = (0..3).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
    let mut nexts = [own.next(100).boxed(), other.next(100).boxed(), all.next(100).boxed()];
    for (next, count) in nexts.iter_mut().zip(&counts) {
        let waker = futures::task::waker(count.clone());
        assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let mut only = event(0);
    only.source_id = "k7".into();
    world.publisher.publish(vec![only]).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let woken: Vec<_> = counts.iter().map(|c| c.0.load(SeqCst)).collect();
    assert_eq!(woken, [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn entries_nobody_wants_are_not_made() {
    let world = World::new();
    let mut one = world.subscribe(&["events:repo:k21"], Start::Latest).await;
    assert!(drain(&mut one, 100).await.is_empty());
    world.publish(0, 1000).await;
    assert!(!drain(&mut one, 1 << 20).await.is_empty());
    let bytes = world.hub.counters().ring_bytes.load(SeqCst);
    assert!(bytes < 1000 * 64, "{bytes} bytes for a handful of entries");
}

#[tokio::test(start_paused = true)]
async fn feeds_end_after_the_linger_and_begin_again() {
    let world = World::new();
    let subscription = world.subscribe(&["events:*", "chat:*"], Start::Latest).await;
    let live = world.live(&["events:repo:*"]).await;
    tokio::task::yield_now().await;
    let counters = world.hub.counters();
    let gauges = || {
        let load = |gauge: &std::sync::atomic::AtomicI64| gauge.load(SeqCst);
        (load(&counters.feeds), load(&counters.bus_subscriptions), load(&counters.subscriptions))
    };
    assert_eq!(gauges(), (2, 1, 2));
    drop((subscription, live));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(gauges(), (2, 1, 0));
    let mut back = world.subscribe(&["chat:*"], Start::Latest).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((gauges(), world.bus.subscriptions()), ((1, 0, 1), 0));
    world.publish(0, 30).await;
    assert_eq!(drain(&mut back, 1 << 20).await.len(), 10);
    drop(back);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((gauges(), counters.ring_bytes.load(SeqCst)), ((0, 0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn holes_between_offsets_are_passed() {
    for targets in TARGETS {
        let world = World::new();
        let mut subscription = world.subscribe(targets, Start::Earliest).await;
        let mut items = Vec::new();
        for round in 0..6 {
            world.publish(round * 60, 60).await;
            (0..12).for_each(|partition| world.log.skip(&topic("events"), partition, 3));
            items.extend(drain(&mut subscription, 1000).await);
        }
        assert_eq!(positions(&items), wanted(&world, targets));
        // The cursor of a level subscription lies behind the holes, so it cannot be passed by retention.
        let latest = world.log.bounds(&topic("events")).unwrap().latest;
        world.log.trim_now(&topic("events"), &latest);
        let mut again = world.subscribe(targets, resume(&subscription.resume())).await;
        assert!(drain(&mut again, 1000).await.is_empty(), "{targets:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn several_topics_are_served_in_turn() {
    let world = World::new();
    world.publish(0, 900).await;
    let mut subscription = world.subscribe(&["chat:*", "events:*"], Start::Earliest).await;
    let items = drain(&mut subscription, 500).await;
    for (name, target) in [("chat", "chat:*"), ("events", "events:*")] {
        let epoch = world.epoch(name);
        let own: Vec<_> = positions(&items).into_iter().filter(|p| p.epoch == epoch).collect();
        assert_eq!(own, world.model(name, target));
    }
    // Neither waits until the other is done.
    let chat = world.epoch("chat");
    let first_chat = positions(&items).iter().position(|p| p.epoch == chat).unwrap();
    let last_chat = positions(&items).iter().rposition(|p| p.epoch == chat).unwrap();
    assert!(first_chat < 50 && last_chat > 500, "{first_chat} {last_chat}");
}

#[tokio::test(start_paused = true)]
async fn history_pages_equal_the_model() {
    let world = World::new();
    world.publish(0, 700).await;
    for target in ["events:*", "events:repo:*", "events:repo:k7"] {
        let model = world.model("events", target);
        for limit in [1, 2, 7, 100, 1000] {
            for reverse in [false, true] {
                let mut seen = Vec::new();
                let mut since = if reverse { Since::Latest } else { Since::Earliest };
                loop {
                    let request = History { target: Target::parse(target).unwrap(), since, limit, reverse };
                    let page = world.hub.history(request).await.unwrap();
                    assert!(page.entries.len() <= limit);
                    seen.extend(page.entries.iter().map(|e| e.position));
                    let Some(next) = page.next else { break };
                    since = Since::At(next.to_string().parse().unwrap());
                }
                if reverse {
                    seen.reverse();
                }
                assert_eq!(seen, model, "{target} {limit} {reverse}");
            }
        }
    }
    let on_the_bus =
        History { target: Target::parse("ai:x").unwrap(), since: Since::Earliest, limit: 1, reverse: false };
    assert_eq!(world.hub.history(on_the_bus).await.unwrap_err().code(), "not_stored");
}

#[tokio::test(start_paused = true)]
async fn events_by_position() {
    let world = World::new();
    world.publish(0, 60).await;
    for record in world.log.all(&topic("events")) {
        let epoch = world.epoch("events");
        let position =
            dualstream_core::position::Position { epoch, partition: record.partition, offset: record.offset };
        let entry = world.hub.event(position).await.unwrap();
        assert_eq!(&*entry.channel, format!("events:{}", source(&record)));
        let past = dualstream_core::position::Position { offset: 1 << 40, ..position };
        assert_eq!(world.hub.event(past).await.unwrap_err().code(), "event_not_found");
    }
    let latest = world.log.bounds(&topic("events")).unwrap().latest;
    let gone = world.model("events", "events:*")[0];
    world.log.trim_now(&topic("events"), &latest);
    assert_eq!(world.hub.event(gone).await.unwrap_err().code(), "position_unrecoverable");
    world.log.recreate(&topic("events"));
    assert_eq!(world.hub.event(gone).await.unwrap_err().code(), "position_unrecoverable");
}

#[tokio::test(start_paused = true)]
async fn closing_ends_subscriptions() {
    let world = World::new();
    let (hub, runner) = Hub::new(
        hub::Settings::default(),
        Arc::new(world.log.clone()),
        Arc::new(world.bus.clone()),
        namespaces(),
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(runner.run(async move {
        let _ = stopped.await;
    }));
    let request = Subscribe {
        targets: parse(&["events:*"]),
        mode: Mode::Reliable,
        start: Start::Latest,
        on_unrecoverable: OnUnrecoverable::Latest,
    };
    let mut subscription = hub.subscribe(request.clone()).await.unwrap();
    let waiting = tokio::spawn(async move { subscription.next(100).await.len() });
    tokio::task::yield_now().await;
    stop.send(()).unwrap();
    assert_eq!(waiting.await.unwrap(), 0);
    running.await.unwrap();
    let refused = hub.subscribe(request).await.err().unwrap();
    assert_eq!(refused.code(), "closed");
}

/// A block that was read may be a thousand times as large as the one entry of it that somebody wants.
#[tokio::test(start_paused = true)]
async fn the_ring_keeps_entries_and_not_what_they_were_read_from() {
    let world = World::new();
    let mut subscription = world.subscribe(&["events:repo:k7"], Start::Latest).await;
    assert!(drain(&mut subscription, 1 << 20).await.is_empty());
    world.publish(0, 200).await;
    let items = drain(&mut subscription, 1 << 20).await;
    assert_eq!(positions(&items), wanted(&world, &["events:repo:k7"]));
    let stored = world.log.all(&topic("events"));
    for item in items {
        let Item::Event { entry, .. } = item else { panic!("{item:?}") };
        let own = entry.record();
        let read = stored.iter().find(|r| (r.partition, r.offset) == (own.partition, own.offset)).unwrap();
        assert_eq!(own, read);
        let at = |bytes: &Option<bytes::Bytes>| bytes.as_ref().unwrap().as_ptr();
        assert_ne!((at(&own.key), at(&own.value)), (at(&read.key), at(&read.value)));
        assert!(!own.headers.is_same_list(&read.headers));
    }
}

//! Live subscriptions and bus-only channels: the bus is a hint.

use crate::world::*;
use bytes::Bytes;
use dualstream_core::Result;
use dualstream_core::announcement::Announcement;
use dualstream_core::bus::*;
use dualstream_core::channel::{Channel, Target};
use dualstream_core::clock::Entropy;
use dualstream_core::hub::{self, *};
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::position::Position;
use dualstream_core::testing::SeededEntropy;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

/// Loses, doubles, keeps back and reorders what is published.
struct BadBus {
    good: MemoryBus,
    dice: SeededEntropy,
    kept: Mutex<Vec<Message>>,
}

impl Bus for BadBus {
    fn publish(&self, messages: Vec<Message>) -> usize {
        let mut kept = self.kept.lock().unwrap();
        for message in messages {
            match self.dice.next_u64() % 4 {
                0 => {}
                1 => kept.push(message),
                2 => {
                    self.good.publish(vec![message.clone(), message]);
                }
                _ => {
                    self.good.publish(vec![message]);
                }
            }
            if self.dice.next_u64().is_multiple_of(8) && !kept.is_empty() {
                let at = self.dice.next_u64() as usize % kept.len();
                self.good.publish(vec![kept.swap_remove(at)]);
            }
        }
        0
    }

    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
        self.good.subscribe(target)
    }

    fn health(&self) -> Health {
        Health::Up
    }
}

/// Knows channels alone.
struct Exact(MemoryBus);

impl Bus for Exact {
    fn publish(&self, messages: Vec<Message>) -> usize {
        self.0.publish(messages)
    }

    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
        assert!(matches!(target, Target::Channel(_)), "it was not asked for {target}");
        self.0.subscribe(target)
    }

    fn health(&self) -> Health {
        Health::Up
    }

    fn has_patterns(&self) -> bool {
        false
    }
}

fn announced(items: &[Item]) -> Vec<Position> {
    let position = |item: &Item| match item {
        Item::Announcement(live) => {
            Announcement::parse(&live.payload).unwrap().position.parse::<Position>().unwrap()
        }
        other => panic!("{other:?}"),
    };
    items.iter().map(position).collect()
}

#[tokio::test(start_paused = true)]
async fn each_position_once_whatever_the_bus_does() {
    for seed in 0..40 {
        let world = World::new();
        let bad = BadBus { good: world.bus.clone(), dice: SeededEntropy::new(seed), kept: Mutex::default() };
        let other = dualstream_core::publisher::DualPublisher::new(
            Default::default(),
            Arc::new(world.log.clone()),
            Arc::new(bad),
            namespaces(),
            Arc::new(dualstream_core::testing::ManualClock::new(0)),
            Arc::new(SeededEntropy::new(seed)),
        );
        other.publish((5000..5100).map(event).collect()).await;
        let before: Vec<_> = world.model("events", "events:*");
        let mut subscription = world.live(&["events:*", "events:repo:k7"]).await;
        let mut items = drain(&mut subscription, 700).await;
        for round in 0..20 {
            other.publish((round * 50..round * 50 + 50).map(event).collect()).await;
            if round % 3 == 0 {
                items.extend(drain(&mut subscription, 700).await);
            }
        }
        items.extend(drain(&mut subscription, 700).await);
        let mut seen = announced(&items);
        seen.sort();
        let mut wanted = world.model("events", "events:*")[before.len()..].to_vec();
        wanted.sort();
        assert_eq!(seen, wanted, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn live_without_a_feed_hears_the_bus_alone() {
    let world = World::new();
    let mut subscription = world.live(&["huge:x"]).await;
    assert_eq!(world.hub.counters().feeds.load(SeqCst), 0);
    for _ in 0..5 {
        world.publisher.send(&Channel::new("huge:x").unwrap(), Bytes::from_static(b"1")).await.unwrap();
    }
    let position = world.model("huge", "huge:x")[2];
    let again = Announcement {
        id: "x".into(),
        event_type: "t".into(),
        source_id: "x".into(),
        position: position.to_string().into(),
    };
    world.bus.publish(vec![Message { channel: Channel::new("huge:x").unwrap(), payload: again.encode() }]);
    let items = drain(&mut subscription, 1 << 20).await;
    assert_eq!(announced(&items), world.model("huge", "huge:x"));
}

#[tokio::test(start_paused = true)]
async fn forged_places_hide_nothing_on_the_bus_alone() {
    let world = World::new();
    let mut subscription = world.live(&["huge:x"]).await;
    let channel = Channel::new("huge:x").unwrap();
    let send = async || world.publisher.send(&channel, Bytes::from_static(b"1")).await.unwrap();
    send().await;
    let Position { epoch, partition, offset } = world.model("huge", "huge:x")[0];
    // Far away, and exactly where the next events will stand.
    for ahead in (1..10).chain([5_000, 1 << 60, u64::MAX - offset]) {
        let position = Position { epoch, partition, offset: offset + ahead }.to_string().into();
        let (id, event_type, source_id) = ("x".into(), "t".into(), "x".into());
        let payload = Announcement { id, event_type, source_id, position }.encode();
        world.bus.publish(vec![Message { channel: channel.clone(), payload }]);
    }
    drain(&mut subscription, 1 << 20).await;
    for _ in 0..5 {
        send().await;
    }
    let heard = announced(&drain(&mut subscription, 1 << 20).await);
    assert_eq!(heard, world.model("huge", "huge:x")[1..]);
}

#[tokio::test(start_paused = true)]
async fn live_of_a_log_only_namespace_comes_from_the_ring() {
    let world = World::new();
    let mut subscription = world.live(&["audit:x"]).await;
    assert!(drain(&mut subscription, 100).await.is_empty());
    world.publisher.send(&Channel::new("audit:x").unwrap(), Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(world.bus.subscriptions(), 0);
    assert_eq!(announced(&drain(&mut subscription, 100).await), world.model("audit", "audit:x"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_announcement_is_dropped_and_counted() {
    let world = World::new();
    let mut subscription = world.live(&["events:repo:k7"]).await;
    tokio::task::yield_now().await;
    let epoch = world.epoch("events");
    let stale = Position { epoch: world.epoch("chat"), partition: 0, offset: 0 };
    let nowhere = Position { epoch, partition: 12, offset: 0 };
    let far = Position { epoch, partition: 4, offset: 1 << 60 };
    let fake = |position: Position| {
        let position = position.to_string().into();
        Announcement { id: "x".into(), event_type: "t".into(), source_id: "k7".into(), position }.encode()
    };
    let channel = Channel::new("events:repo:k7").unwrap();
    for payload in [Bytes::from_static(b"garbage"), fake(stale), fake(nowhere), fake(far)] {
        world.bus.publish(vec![Message { channel: channel.clone(), payload }]);
    }
    assert!(drain(&mut subscription, 100).await.is_empty());
    assert_eq!(world.hub.counters().bus_rejected.load(SeqCst), 3);
    // The forged far offset hides nothing.
    world.publish(0, 999).await;
    let mut seen = announced(&drain(&mut subscription, 1 << 20).await);
    seen.sort();
    assert_eq!(seen, world.model("events", "events:repo:k7"));
}

#[tokio::test(start_paused = true)]
async fn bus_only_channels() {
    let world = World::new();
    let targets = ["ai:stream:1", "ai:*", "events:repo:k7"];
    let mut mixed = world.subscribe(&targets, Start::Latest).await;
    let channel = Channel::new("ai:stream:1").unwrap();
    for n in 0..5 {
        let sent = world.publisher.send(&channel, Bytes::from(format!("{{\"n\":{n}}}"))).await.unwrap();
        assert_eq!(sent, None);
    }
    world.publish(0, 2).await;
    let mut one = event(0);
    one.source_id = "k7".into();
    world.publisher.publish(vec![one]).await;
    let items = drain(&mut mixed, 1 << 20).await;
    let messages = items.iter().filter_map(|i| match i {
        Item::Message(live) => Some((live.channel.to_string(), live.payload.clone())),
        _ => None,
    });
    let wanted = (0..5).map(|n| ("ai:stream:1".to_string(), Bytes::from(format!("{{\"n\":{n}}}"))));
    assert!(messages.eq(wanted), "each once, in order: {items:?}");
    assert_eq!(items.len(), 6, "and the event: {items:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_is_told_what_it_lost() {
    let world = World::with(hub::Settings::default(), None);
    let mut slow = world.live(&["ai:x"]).await;
    let mut fast = world.live(&["ai:x"]).await;
    let (channel, payload) = (Channel::new("ai:x").unwrap(), Bytes::from(vec![b'1'; 200 << 10]));
    let mut got = 0;
    for _ in 0..10 {
        world.publisher.send(&channel, payload.clone()).await.unwrap();
        got += drain(&mut fast, 1 << 20).await.len();
    }
    assert_eq!(got, 10);
    let items = drain(&mut slow, 10 << 20).await;
    let Some(Item::Lost(lost)) = items.last() else { panic!("nothing lost") };
    assert_eq!(items.len() as u64 - 1 + lost, 10);
    assert!(*lost >= 4);
}

#[tokio::test(start_paused = true)]
async fn past_the_bound_of_all_inboxes_the_largest_is_dropped() {
    let settings = hub::Settings { inboxes_bytes_max: 500 << 10, ..hub::Settings::default() };
    let world = World::with(settings, None);
    let mut slow = world.live(&["ai:x"]).await;
    let mut late = world.live(&["ai:*"]).await;
    let (channel, payload) = (Channel::new("ai:x").unwrap(), Bytes::from(vec![b'1'; 100 << 10]));
    world.publisher.send(&channel, payload.clone()).await.unwrap();
    drain(&mut late, 1 << 20).await;
    for _ in 0..2 {
        world.publisher.send(&channel, payload.clone()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let items = drain(&mut slow, 1 << 20).await;
    assert!(matches!(items[..], [Item::Lost(3)]), "{items:?}");
    assert!(matches!(drain(&mut late, 1 << 20).await[..], [Item::Message(_), Item::Message(_)]));
    let counters = world.hub.counters();
    assert_eq!((counters.slow_dropped.load(SeqCst), counters.inbox_bytes.load(SeqCst)), (3, 0));
    world.publisher.send(&channel, payload.clone()).await.unwrap();
    assert!(matches!(drain(&mut slow, 1 << 20).await[..], [Item::Message(_)]));
    world.publisher.send(&channel, payload).await.unwrap();
    while counters.inbox_bytes.load(SeqCst) < 200 << 10 {
        tokio::task::yield_now().await;
    }
    drop((slow, late));
    assert_eq!(counters.inbox_bytes.load(SeqCst), 0, "what nobody fetches is not counted for ever");
}

/// Patterns of what is stored come from the ring; others are refused, and channels are as ever.
#[tokio::test(start_paused = true)]
async fn a_bus_without_patterns_is_not_asked_for_any() {
    let world = World::new();
    let (log, bus) = (Arc::new(world.log.clone()), Arc::new(Exact(world.bus.clone())));
    let (hub, runner) = Hub::new(hub::Settings::default(), log, bus, namespaces());
    tokio::spawn(runner.run(std::future::pending()));
    let live = async |targets: &[&str]| {
        hub.subscribe(Subscribe {
            targets: parse(targets),
            mode: Mode::Live,
            start: Start::Latest,
            on_unrecoverable: OnUnrecoverable::Latest,
        })
        .await
    };
    let mut stored = live(&["events:repo:*"]).await.unwrap();
    let mut tokens = live(&["ai:x"]).await.unwrap();
    for (alone, targets) in [("ai:*", &["ai:*"][..]), ("huge:*", &["events:repo:*", "huge:*"])] {
        let refused = live(targets).await.err().unwrap();
        assert_eq!(refused.code(), "bus_without_patterns");
        assert!(refused.message().contains(alone), "{refused}");
    }
    world.publish(0, 999).await;
    let seen = announced(&drain(&mut stored, 1 << 20).await);
    assert_eq!(seen, world.model("events", "events:repo:*"));
    world.publisher.send(&Channel::new("ai:x").unwrap(), Bytes::from_static(b"1")).await.unwrap();
    assert!(matches!(drain(&mut tokens, 1 << 20).await[..], [Item::Message(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_bus_holds_nobody_up() {
    struct Hanging;
    impl Bus for Hanging {
        fn publish(&self, _: Vec<Message>) -> usize {
            0
        }
        fn subscribe(&self, _: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
            Box::pin(std::future::pending())
        }
        fn health(&self) -> Health {
            Health::Down { since_ms: 0, reason: "hangs".into() }
        }
    }
    let world = World::with(hub::Settings::default(), Some(Arc::new(Hanging)));
    let log = Arc::new(world.log.clone());
    let (hub, runner) = Hub::new(hub::Settings::default(), log, Arc::new(Hanging), namespaces());
    tokio::spawn(runner.run(std::future::pending()));
    let request = Subscribe {
        targets: parse(&["events:repo:k7", "ai:x"]),
        mode: Mode::Live,
        start: Start::Latest,
        on_unrecoverable: OnUnrecoverable::Latest,
    };
    let mut subscription = hub.subscribe(request).await.unwrap();
    world.publish(0, 999).await;
    let seen = announced(&drain(&mut subscription, 1 << 20).await);
    assert_eq!(seen, world.model("events", "events:repo:k7"));
    assert!(world.publisher.counters().announcements_lost.load(SeqCst) > 0);
}

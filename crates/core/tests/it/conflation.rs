//! Slow live subscribers of namespaces that conflate: the latest of each key, in order, in bounded memory.

use crate::world::*;
use bytes::Bytes;
use dualstream_core::bus::{Bus, Message};
use dualstream_core::channel::Channel;
use dualstream_core::hub::{self, *};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

const QUEUE_BYTES_MAX: usize = 64 << 10;

fn world() -> World {
    World::with(hub::Settings { inbox_bytes_max: QUEUE_BYTES_MAX, ..hub::Settings::default() }, None)
}

/// Version `version` of one of `widgets` widgets, for the board `board:{n % 3}`.
fn update(version: usize, widgets: usize) -> Message {
    let channel = Channel::new(&format!("board:{}", version % 3)).unwrap();
    let widget = version % widgets;
    Message { channel, payload: format!(r#"{{"widgetId":"w{widget}","dataVersion":{version}}}"#).into() }
}

/// `(channel, widget, version)` of each.
fn updates(items: &[Item]) -> Vec<(String, String, u64)> {
    let read = |item: &Item| match item {
        Item::Message(live) => {
            let json: serde_json::Value = serde_json::from_slice(&live.payload).unwrap();
            let widget = json["widgetId"].as_str().unwrap().to_owned();
            (live.channel.to_string(), widget, json["dataVersion"].as_u64().unwrap())
        }
        other => panic!("{other:?}"),
    };
    items.iter().map(read).collect()
}

/// Publishes versions, and lets the hub take each hundred of them.
async fn publish(world: &World, versions: std::ops::Range<usize>, widgets: usize) {
    for version in versions {
        world.bus.publish(vec![update(version, widgets)]);
        if version % 100 == 0 {
            settle().await;
        }
    }
    settle().await;
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn last_of_each(all: &[(String, String, u64)]) -> BTreeMap<(String, String), u64> {
    all.iter().map(|(channel, widget, version)| ((channel.clone(), widget.clone()), *version)).collect()
}

fn rises_in_each_channel(all: &[(String, String, u64)]) -> bool {
    let mut last = BTreeMap::new();
    all.iter()
        .all(|(channel, _, version)| last.insert(channel, version).is_none_or(|before| before < version))
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_gets_the_latest_of_each_key_in_order() {
    let world = world();
    let (mut slow, mut fast) = (world.live(&["board:*"]).await, world.live(&["board:*"]).await);
    let (mut seen, mut bytes_max) = (Vec::new(), 0);
    for hundred in 0..50 {
        publish(&world, hundred * 100..hundred * 100 + 100, 20).await;
        seen.extend(updates(&drain(&mut fast, 1 << 20).await));
        bytes_max = bytes_max.max(world.hub.counters().inbox_bytes.load(SeqCst));
    }
    assert_eq!(seen.len(), 5_000, "a healthy one gets all");
    assert!(bytes_max <= QUEUE_BYTES_MAX, "{bytes_max}");
    let conflated = world.hub.counters().conflated.load(SeqCst);
    let late = updates(&drain(&mut slow, 1 << 20).await);
    assert_eq!(late.len() as u64 + conflated, 5_000, "each is handed out or counted");
    assert!(late.len() < 1_000, "{}", late.len());
    assert_eq!(last_of_each(&late), last_of_each(&seen));
    assert!(rises_in_each_channel(&late));
    let counters = world.hub.counters();
    assert_eq!((counters.slow_dropped.load(SeqCst), counters.inbox_bytes.load(SeqCst)), (0, 0));
    publish(&world, 5_000..5_010, 20).await;
    assert_eq!(drain(&mut slow, 1 << 20).await.len(), 10, "and goes on");
}

#[tokio::test(start_paused = true)]
async fn under_its_bound_nothing_is_conflated() {
    let world = world();
    let mut slow = world.live(&["board:*"]).await;
    publish(&world, 0..100, 1).await;
    assert_eq!(drain(&mut slow, 1 << 20).await.len(), 100);
    assert_eq!(world.hub.counters().conflated.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn more_keys_than_fit_are_lost_and_told() {
    let world = world();
    let mut slow = world.live(&["board:*"]).await;
    publish(&world, 0..3_000, 3_000).await;
    let items = drain(&mut slow, 1 << 20).await;
    let Some(Item::Lost(lost)) = items.last() else { panic!("nothing lost") };
    assert_eq!(items.len() as u64 - 1 + lost, 3_000);
    assert_eq!(world.hub.counters().slow_dropped.load(SeqCst), *lost);
}

#[tokio::test(start_paused = true)]
async fn the_subscriptions_of_a_client_share_one_bound() {
    let world = world();
    let allowance = world.hub.allowance();
    let mut subscriptions = Vec::new();
    for target in ["board:0", "board:1", "board:2", "ai:x"] {
        let request = Subscribe {
            targets: parse(&[target]),
            mode: Mode::Live,
            start: Start::Latest,
            on_unrecoverable: OnUnrecoverable::Latest,
        };
        subscriptions.push(world.hub.subscribe_within(&allowance, request).await.unwrap());
    }
    let mut peak = 0;
    for hundred in 0..30 {
        publish(&world, hundred * 100..hundred * 100 + 100, 4).await;
        peak = peak.max(allowance.bytes());
        if hundred < 2 {
            // One queue fills, then another: what is superseded in the first makes room for the second.
            drain(&mut subscriptions[1], 1 << 20).await;
        }
    }
    assert!(peak <= QUEUE_BYTES_MAX && peak > QUEUE_BYTES_MAX / 2, "{peak}");
    let channel = Channel::new("ai:x").unwrap();
    world.bus.publish(vec![Message { channel, payload: Bytes::from(vec![b'1'; QUEUE_BYTES_MAX / 2]) }]);
    settle().await;
    assert!(matches!(drain(&mut subscriptions[3], 1 << 20).await[..], [Item::Message(_)]), "there was room");
    for subscription in &mut subscriptions {
        drain(subscription, 1 << 20).await;
    }
    assert_eq!((allowance.bytes(), world.hub.counters().slow_dropped.load(SeqCst)), (0, 0));
    publish(&world, 3_000..3_010, 4).await;
    drop(subscriptions);
    settle().await;
    assert_eq!((allowance.bytes(), world.hub.counters().inbox_bytes.load(SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn past_the_budget_of_the_node_the_superseded_go_before_a_queue_is_dropped() {
    let settings = hub::Settings { inboxes_bytes_max: 32 << 10, ..hub::Settings::default() };
    let world = World::with(settings, None);
    let mut slow = world.live(&["board:*"]).await;
    let mut other = world.live(&["ai:x"]).await;
    let channel = Channel::new("ai:x").unwrap();
    world.bus.publish(vec![Message { channel, payload: Bytes::from(vec![b'1'; 8 << 10]) }]);
    publish(&world, 0..1_000, 10).await;
    let late = updates(&drain(&mut slow, 1 << 20).await);
    assert!(late.len() < 500 && last_of_each(&late).len() == 30, "{}", late.len());
    assert!(matches!(drain(&mut other, 1 << 20).await[..], [Item::Message(_)]));
    assert_eq!(world.hub.counters().slow_dropped.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_brings_is_conflated_with_what_the_bus_brought() {
    let world = world();
    let (mut slow, mut fast) = (world.live(&["desk:*"]).await, world.live(&["desk:*"]).await);
    let mut seen = Vec::new();
    for number in 0..3_000 {
        let channel = Channel::new(&format!("desk:k{}", number % 10)).unwrap();
        world.publisher.send(&channel, Bytes::from(number.to_string())).await.unwrap();
        if number % 50 == 0 {
            seen.extend(announced(&drain(&mut fast, 1 << 20).await));
        }
    }
    seen.extend(announced(&drain(&mut fast, 1 << 20).await));
    assert_eq!(seen.len(), 3_000);
    let late = announced(&drain(&mut slow, 1 << 20).await);
    assert!(late.len() < 1_000, "{}", late.len());
    let last = |all: &[(Arc<str>, u64)]| all.iter().cloned().collect::<BTreeMap<_, _>>();
    assert_eq!(last(&late), last(&seen), "the latest of each channel comes last");
    let once: std::collections::BTreeSet<_> = late.iter().collect();
    assert_eq!(once.len(), late.len(), "each at most once");
    assert_eq!(world.hub.counters().inbox_bytes.load(SeqCst), 0);
}

/// Channel and offset of each.
fn announced(items: &[Item]) -> Vec<(Arc<str>, u64)> {
    let read = |item: &Item| match item {
        Item::Announcement(live) => {
            let announcement = dualstream_core::announcement::Announcement::parse(&live.payload).unwrap();
            let position = announcement.position.parse::<dualstream_core::position::Position>().unwrap();
            (live.channel.clone(), position.offset)
        }
        other => panic!("{other:?}"),
    };
    items.iter().map(read).collect()
}

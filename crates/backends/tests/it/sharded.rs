//! The bus over sharded Pub/Sub of a real Redis Cluster.

use crate::running::{Running, conforms, message, next, settings, until_heard};
use crate::scripted::node_that_moves;
use dualstream_backends::redis::{RedisBus, Settings};
use dualstream_core::bus::{Bus, Delivery};
use dualstream_core::channel::Target;
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_services::Redis;
use dualstream_services::proxy::Flow;
use dualstream_services::redis::{Cluster, Setup};
use futures::FutureExt;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

fn at(cluster: &Cluster) -> Settings {
    let hosts: Vec<String> = cluster.servers.iter().map(|server| server.endpoint().to_string()).collect();
    Settings { sharded: true, ..settings(&format!("redis+cluster://{}", hosts.join(","))) }
}

/// How many subscribe each channel at a server.
fn subscribers(server: &Redis, channels: &[&str]) -> Vec<i64> {
    let asked = [&["PUBSUB", "SHARDNUMSUB"], channels].concat();
    let answer = server.command(&asked).unwrap();
    answer.array().unwrap().iter().skip(1).step_by(2).map(|count| count.integer().unwrap()).collect()
}

/// How many connections subscribe at a server.
fn connections(server: &Redis) -> usize {
    let listed = server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap();
    listed.text().unwrap().lines().count()
}

fn is_told(stream: &mut BoxStream<'static, Delivery>) -> Option<Delivery> {
    stream.next().now_or_never().flatten()
}

/// Each channel is at the master of its slot alone, over one connection for each shard.
#[tokio::test(flavor = "multi_thread")]
async fn shards_are_one_bus() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Setup::new().proxied().start_cluster(dir.path(), false).unwrap();
    conforms(|| at(&cluster)).await;
    let with = |probe_interval| Settings { probe_interval, prefix: "own:".into(), ..at(&cluster) };
    // Nothing is asked but what somebody doubts.
    let running = Running::start(with(Duration::from_hours(1)));
    running.until_up().await;
    let names: Vec<String> = (0..50).map(|n| format!("chat:{n}")).collect();
    let mut streams = futures::future::join_all(names.iter().map(|name| running.subscribe(name))).await;
    let refused = running.bus.subscribe(Target::parse("chat:*").unwrap()).await;
    assert_eq!(refused.err().unwrap().code(), "bus_without_patterns");
    let on_redis: Vec<String> = names.iter().map(|name| format!("own:{name}")).collect();
    let owners: Vec<usize> =
        on_redis.iter().map(|name| cluster.owner(cluster.slot(name).unwrap()).unwrap()).collect();
    for (name, owner) in on_redis.iter().zip(&owners) {
        assert_eq!(subscribers(&cluster.servers[*owner], &[name]), [1]);
        cluster.servers[*owner].command(&["SPUBLISH", name, "of others"]).unwrap();
    }
    running.bus.publish(names.iter().map(|name| message(name, "own")).collect());
    for (stream, name) in streams.iter_mut().zip(&names) {
        for payload in ["of others", "own"] {
            assert_eq!(next(stream).await, message(name, payload));
        }
    }
    // Buses of before may not be gone yet.
    while cluster.servers.iter().any(|server| connections(server) > 1) {
        tokio::task::yield_now().await;
    }
    a_slot_that_moves_is_followed(&cluster, &running, &names, &mut streams).await;
    many_come_and_go_while_their_slot_moves(&cluster, &running).await;
    let running = Running::start(with(Duration::from_millis(500)));
    silence_in_one_shard_is_noticed(&cluster, &running, &names).await;
}

/// Whoever subscribed in a slot that moves is told, and nobody else.
async fn a_slot_that_moves_is_followed(
    cluster: &Cluster,
    running: &Running,
    names: &[String],
    streams: &mut [BoxStream<'static, Delivery>],
) {
    for (place, to) in [(7, 1), (7, 2), (8, 0)] {
        let name = format!("own:{}", names[place]);
        let slot = cluster.slot(&name).unwrap();
        let from = cluster.owner(slot).unwrap();
        let to = if from == to { (to + 1) % 3 } else { to };
        cluster.move_slot(slot, to).unwrap();
        assert_eq!(streams[place].next().await, Some(Delivery::Lost(0)));
        let counts = [from, to].map(|server| subscribers(&cluster.servers[server], &[&name]));
        assert_eq!(counts, [[0], [1]]);
        until_heard(running, &mut streams[place], &names[place]).await;
    }
    let others = streams.iter_mut().enumerate().filter(|(place, _)| ![7, 8].contains(place));
    for (place, stream) in others {
        assert_eq!(is_told(stream), None, "{place}");
    }
    assert_eq!(running.bus.counters().interrupted.load(Relaxed), 3);
    assert_eq!(running.bus.counters().subscriber_reconnects.load(Relaxed), 0);
}

/// Each shard is proved by itself.
async fn silence_in_one_shard_is_noticed(cluster: &Cluster, running: &Running, names: &[String]) {
    running.until_up().await;
    let owner = |name: &String| cluster.owner(cluster.slot(&format!("own:{name}")).unwrap()).unwrap();
    let silent = owner(&names[0]);
    let other = names.iter().find(|name| owner(name) != silent).unwrap();
    let [mut stream, mut other_stream] = [running.subscribe(&names[0]).await, running.subscribe(other).await];
    let proxy = cluster.servers[silent].proxy.as_ref().unwrap();
    proxy.responses(Flow::Dropped);
    running.until_down().await;
    until_heard(running, &mut other_stream, other).await;
    proxy.heal();
    running.until_up().await;
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    until_heard(running, &mut stream, &names[0]).await;
    assert_eq!(is_told(&mut other_stream), None, "its shard was well");
}

/// What Redis gives up by itself looks like an answer: whoever subscribes meanwhile is subscribed all the same.
async fn many_come_and_go_while_their_slot_moves(cluster: &Cluster, running: &Running) {
    let names: Vec<String> = (0..100).map(|n| format!("chat:{{moving}}{n}")).collect();
    let subscribe = |bus: RedisBus, names: Vec<String>| async move {
        let targets = names.iter().map(|name| bus.subscribe(Target::parse(name).unwrap()));
        futures::future::try_join_all(targets.collect::<Vec<_>>()).await.unwrap()
    };
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let (bus, all) = (running.bus.clone(), names.clone());
    let coming_and_going = tokio::spawn(async move {
        let mut rounds = 0;
        let mut kept = subscribe(bus.clone(), all[..50].to_vec()).await;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            kept.extend(subscribe(bus.clone(), all[50..].to_vec()).await);
            kept.truncate(50);
            rounds += 1;
        }
        (rounds, kept)
    });
    let slot = cluster.slot("own:chat:{moving}").unwrap();
    let first = cluster.owner(slot).unwrap();
    for step in 1..=12 {
        cluster.move_slot(slot, (first + step) % 3).unwrap();
    }
    drop(stop);
    let (rounds, mut streams) = coming_and_going.await.unwrap();
    assert!(rounds > 1);
    streams.extend(subscribe(running.bus.clone(), names[50..].to_vec()).await);
    for (stream, name) in streams.iter_mut().zip(&names) {
        until_heard(running, stream, name).await;
    }
    let on_redis: Vec<String> = names.iter().map(|name| format!("own:{name}")).collect();
    let asked: Vec<&str> = on_redis.iter().map(String::as_str).collect();
    assert_eq!(subscribers(&cluster.servers[first], &asked), [1; 100], "back where it was");
}

/// What is given up unasked, just when something else is asked for, is taken for no answer to that.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_told_apart_are_not_believed() {
    let running = Running::start(node_that_moves("chat:lost", "chat:asked"));
    let mut lost = running.subscribe("chat:lost").await;
    let mut asked = running.subscribe("chat:asked").await;
    assert_eq!(lost.next().await, Some(Delivery::Lost(0)));
    until_heard(&running, &mut lost, "chat:lost").await;
    until_heard(&running, &mut asked, "chat:asked").await;
    assert_eq!(running.bus.counters().interrupted.load(Relaxed), 1);
    assert_eq!(running.bus.counters().subscriber_reconnects.load(Relaxed), 1);
}

/// What has no shards is refused by name: at once, or by what Redis says.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_shards_is_refused() {
    for address in ["redis://127.0.0.1", "redis+sentinel://127.0.0.1/m"] {
        let sharded = Settings { sharded: true, ..settings(address) };
        let bus = RedisBus::new(sharded, Arc::new(ManualClock::new(0)), Arc::new(SeededEntropy::new(1)));
        assert_eq!(bus.err().unwrap().code(), "redis_not_sharded");
    }
    let dir = tempfile::tempdir().unwrap();
    // As before 7.0.
    let old = Setup::new().setting("cluster-enabled", "yes").setting("rename-command", "SSUBSCRIBE \"\"");
    let redis = old.start(dir.path()).unwrap();
    let sharded = Settings { sharded: true, ..settings(&format!("redis+cluster://{}", redis.endpoint())) };
    let running = Running::start(sharded);
    let reason = running.until_down().await;
    assert!(reason.contains("nobody knows who serves the slots"), "{reason}");
    redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    let why = |reason: &str| reason.contains("no sharded Pub/Sub") && reason.contains("bus.sharded");
    running.bus.watch().wait_for(|health| why(&format!("{health:?}"))).await.unwrap();
}

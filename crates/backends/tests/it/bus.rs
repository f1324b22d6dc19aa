//! The bus over a real Redis: what it promises while Redis is well.

use crate::running::{Running, at, conforms, message, next, server};
use dualstream_backends::redis::{RedisBus, Settings};
use dualstream_core::bus::Bus;
use dualstream_core::channel::Target;
use dualstream_core::testing::{ManualClock, SeededEntropy};
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_bus() {
    let (redis, _dir) = server();
    conforms(|| at(redis.endpoint())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_prefix_it_is_a_bus_of_its_own() {
    let (redis, _dir) = server();
    let with = |prefix: &str| Settings { prefix: prefix.into(), ..at(redis.endpoint()) };
    conforms(|| with("one:")).await;
    let (one, two) = (Running::start(with("one:")), Running::start(with("two:")));
    let mut streams = [one.subscribe("chat:*").await, two.subscribe("chat:*").await];
    one.publish("chat:a", "1");
    two.publish("chat:a", "2");
    for (stream, payload) in streams.iter_mut().zip(["1", "2"]) {
        assert_eq!(next(stream).await, message("chat:a", payload));
    }
    let error = RedisBus::new(with("a*"), Arc::new(ManualClock::new(0)), Arc::new(SeededEntropy::new(1)));
    assert_eq!(error.err().unwrap().code(), "invalid_redis_prefix");
}

/// What another program sees, and what one of any other language may send.
#[tokio::test(flavor = "multi_thread")]
async fn on_redis_names_and_payloads_are_what_they_are() {
    let (redis, _dir) = server();
    let running = Running::start(at(redis.endpoint()));
    running.until_up().await;
    let mut foreign = redis.client().unwrap();
    foreign.send(&["SUBSCRIBE", "events:repo:owner/name"]).unwrap();
    foreign.read().unwrap();
    let payload = r#"{"id":"1","type":"push","source_id":"owner/name","position":"x"}"#;
    running.publish("events:repo:owner/name", payload);
    let pushed = foreign.read().unwrap();
    let words: Vec<_> = pushed.array().unwrap().iter().map(|word| word.text().unwrap()).collect();
    assert_eq!(words, ["message", "events:repo:owner/name", payload]);
    let mut tokens = running.subscribe("ai:*").await;
    for (channel, payload) in
        [("ai:stream:1", "{\"token\":\"a\"}"), ("ai:a b", "no channel"), ("ai:stream:1", "no JSON\n")]
    {
        redis.command(&["PUBLISH", channel, payload]).unwrap();
    }
    assert_eq!(next(&mut tokens).await, message("ai:stream:1", "{\"token\":\"a\"}"));
    assert_eq!(next(&mut tokens).await, message("ai:stream:1", "no JSON\n"), "any bytes, as they came");
    assert_eq!(running.bus.counters().rejected.load(Relaxed), 1);
}

/// A channel that a pattern matches too, subscribed both ways: each subscriber gets each message once.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_channel_and_by_pattern_comes_once_to_each() {
    let (redis, _dir) = server();
    let running = Running::start(at(redis.endpoint()));
    let mut streams = Vec::new();
    for target in ["chat:a", "chat:*", "chat:a", "chat:*"] {
        streams.push(running.subscribe(target).await);
    }
    for n in 0..100 {
        running.publish("chat:a", n.to_string());
    }
    for stream in &mut streams {
        for n in 0..100 {
            assert_eq!(next(stream).await, message("chat:a", n.to_string()));
        }
    }
    // Counted after it was handed over.
    let received = || running.bus.counters().received.load(Relaxed);
    while received() < 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(received(), 200, "Redis sends it once for each");
}

/// Many channels, patterns among them: all are subscribed, and given up when nobody wants them.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_channels_come_and_go() {
    const CHANNELS: usize = 3_000;
    let (redis, _dir) = server();
    let running = Running::start(at(redis.endpoint()));
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("chat:{n}")).collect();
    let targets = names.iter().map(String::as_str).chain(["user:*"]);
    let mut streams = futures::future::join_all(targets.map(|name| running.subscribe(name))).await;
    assert_eq!(running.bus.confirmed(), CHANNELS + 1);
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(redis.subscribers(&asked).unwrap(), vec![1; CHANNELS]);
    running.bus.publish(names.iter().map(|name| message(name, name.clone())).collect());
    for (stream, name) in streams.iter_mut().zip(&names) {
        assert_eq!(next(stream).await, message(name, name.clone()));
    }
    drop(streams);
    while redis.subscribers(&asked).unwrap().iter().sum::<i64>() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.bus.confirmed(), 0);
}

/// What waits is published before the end.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_publishes_what_waits() {
    let (redis, _dir) = server();
    let (running, other) = (Running::start(at(redis.endpoint())), Running::start(at(redis.endpoint())));
    let mut stream = other.subscribe("chat:a").await;
    running.until_up().await;
    let mut own = running.subscribe("chat:b").await;
    running.bus.publish((0..5_000).map(|n| message("chat:a", n.to_string())).collect());
    let bus = running.bus.clone();
    running.end().await;
    for n in 0..5_000 {
        assert_eq!(next(&mut stream).await, message("chat:a", n.to_string()));
    }
    assert_eq!(own.next().await, None);
    assert_eq!(bus.publish(vec![message("chat:a", "x")]), 0);
    assert_eq!(bus.subscribe(Target::parse("chat:a").unwrap()).await.err().unwrap().code(), "bus_closed");
}

/// Who waits for Redis when the bus ends is told so.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_nobody_who_subscribes() {
    let (mut redis, _dir) = server();
    redis.process.kill().unwrap();
    let running = Running::start(at(redis.endpoint()));
    let bus = running.bus.clone();
    let mut waiting = bus.subscribe(Target::parse("chat:a").unwrap());
    assert!(futures::poll!(&mut waiting).is_pending());
    running.end().await;
    assert_eq!(waiting.await.err().unwrap().code(), "bus_closed");
}

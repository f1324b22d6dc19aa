//! The bus over a real Redis that is ended, hangs, evicts or says nothing.

use crate::running::{Running, at, message, next, server, until_heard};
use dualstream_backends::redis::{Address, Settings};
use dualstream_core::bus::{Bus, Delivery};
use dualstream_core::channel::Target;
use dualstream_services::proxy::Flow;
use dualstream_services::redis::Setup;
use futures::StreamExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// `kill -9` and a start: everything is subscribed again, and everybody told that something may be missing.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_everything_is_subscribed_again() {
    const CHANNELS: usize = 1_000;
    let (mut redis, _dir) = server();
    let running = Running::start(at(redis.endpoint()));
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("chat:{n}")).collect();
    let mut streams = futures::future::join_all(names.iter().map(|name| running.subscribe(name))).await;
    let mut pattern = running.subscribe("chat:*").await;
    redis.process.kill().unwrap();
    let reason = running.until_down().await;
    assert!(reason.contains("connection refused") || reason.contains("was lost"), "{reason}");
    running.until_shut("chat:1").await;
    redis.restart().unwrap();
    running.until_up().await;
    for stream in streams.iter_mut().chain([&mut pattern]) {
        assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    }
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(redis.subscribers(&asked).unwrap(), vec![1; CHANNELS]);
    running.publish("chat:999", "after");
    assert_eq!(next(&mut streams[999]).await, message("chat:999", "after"));
    assert_eq!(next(&mut pattern).await, message("chat:999", "after"));
    let counters = running.bus.counters();
    assert_eq!(counters.interrupted.load(Relaxed), CHANNELS as u64 + 1);
    assert!(counters.dropped.load(Relaxed) >= 1 && counters.away.load(Relaxed) == 0);
}

/// A Redis that was never there: nobody waits but who subscribes, and all is well once it comes.
#[tokio::test(flavor = "multi_thread")]
async fn redis_may_come_late() {
    let (mut redis, _dir) = server();
    redis.process.kill().unwrap();
    let running = Running::start(at(redis.endpoint()));
    let reason = running.until_down().await;
    assert!(reason.contains(&redis.endpoint().to_string()), "{reason}");
    running.until_shut("chat:a").await;
    let mut waiting = running.bus.subscribe(Target::parse("chat:a").unwrap());
    assert!(futures::poll!(&mut waiting).is_pending());
    redis.restart().unwrap();
    let mut stream = waiting.await.unwrap();
    running.until_up().await;
    running.publish("chat:a", "2");
    assert_eq!(
        stream.next().await,
        Some(Delivery::Message(message("chat:a", "2"))),
        "nothing was interrupted"
    );
}

/// A hung Redis takes connections and answers nothing: it is away within its deadlines, and nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_redis_is_away_until_it_goes_on() {
    let (redis, _dir) = server();
    let quick = Settings {
        deadline: Duration::from_millis(100),
        probe_interval: Duration::from_millis(200),
        ..at(redis.endpoint())
    };
    let running = Running::start(quick);
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    redis.process.pause().unwrap();
    let reason = running.until_down().await;
    assert!(reason.contains("no answer in time") || reason.contains("does not come back"), "{reason}");
    running.until_shut("chat:a").await;
    redis.process.resume().unwrap();
    running.until_up().await;
    until_heard(&running, &mut stream, "chat:a").await;
}

/// Whoever ends a connection to the server's hurt: it is made again, and everybody told.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_is_made_again() {
    let (redis, _dir) = server();
    let running = Running::start(at(redis.endpoint()));
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).unwrap();
    while running.bus.counters().publisher_reconnects.load(Relaxed) == 0 {
        running.publish("chat:a", "into the void");
        tokio::task::yield_now().await;
    }
    until_heard(&running, &mut stream, "chat:a").await;
    let counters = running.bus.counters();
    assert_eq!(counters.subscriber_reconnects.load(Relaxed), 2);
    running.until_up().await;
}

/// A connection over which nothing is published is missed as soon as it ends, and not when something is.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_publishing_connection_is_made_again_at_once() {
    let (redis, _dir) = server();
    let running =
        Running::start(Settings { probe_interval: Duration::from_hours(1), ..at(redis.endpoint()) });
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    // Behind the probes of the beginning.
    until_heard(&running, &mut stream, "chat:a").await;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).unwrap();
    while running.bus.counters().publisher_reconnects.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    running.publish("chat:a", "first");
    assert_eq!(next(&mut stream).await, message("chat:a", "first"), "nothing is lost");
    assert_eq!(running.bus.counters().failed.load(Relaxed), 0);
}

/// Redis ends a connection that does not read what it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_connection_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().proxied().start(dir.path()).unwrap();
    redis.configure("client-output-buffer-limit", "pubsub 65536 0 0").unwrap();
    let slow = Settings {
        subscribe_at: Some(Address::parse(&format!("redis://{}", redis.endpoint())).unwrap()),
        ..at(redis.inner)
    };
    let running = Running::start(slow);
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    let proxy = redis.proxy.as_ref().unwrap();
    proxy.responses(Flow::Held);
    let large = "x".repeat(64 << 10);
    while redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap().text().unwrap().lines().count() == 2 {
        running.publish("chat:a", large.clone());
        tokio::task::yield_now().await;
    }
    proxy.heal();
    while running.bus.counters().interrupted.load(Relaxed) == 0 {
        stream.next().await;
    }
    until_heard(&running, &mut stream, "chat:a").await;
}

/// The network swallows what comes from Redis to those who subscribe, and nobody closes anything.
#[tokio::test(flavor = "multi_thread")]
async fn silence_at_the_subscriber_alone_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().proxied().start(dir.path()).unwrap();
    let settings = Settings {
        subscribe_at: Some(Address::parse(&format!("redis://{}", redis.endpoint())).unwrap()),
        probe_interval: Duration::from_millis(300),
        ..at(redis.inner)
    };
    let running = Running::start(settings);
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    let proxy = redis.proxy.as_ref().unwrap();
    for flow in [Flow::Dropped, Flow::Held] {
        proxy.responses(flow);
        let reason = running.until_down().await;
        assert!(reason.contains("subscribing"), "{reason}");
        assert_eq!(running.publish("chat:a", "lost"), 1, "publishing goes on");
        proxy.heal();
        running.until_up().await;
        while stream.next().await != Some(Delivery::Lost(0)) {}
        until_heard(&running, &mut stream, "chat:a").await;
    }
    assert!(running.bus.counters().silences.load(Relaxed) >= 2);
}

/// The network swallows what is published, and what comes from Redis to those who subscribe does come.
#[tokio::test(flavor = "multi_thread")]
async fn silence_at_the_publisher_alone_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().proxied().start(dir.path()).unwrap();
    let settings = Settings {
        subscribe_at: Some(Address::parse(&format!("redis://{}", redis.inner)).unwrap()),
        deadline: Duration::from_millis(100),
        probe_interval: Duration::from_millis(300),
        ..at(redis.endpoint())
    };
    let running = Running::start(settings);
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    redis.proxy.as_ref().unwrap().requests(Flow::Dropped);
    let reason = running.until_down().await;
    assert!(reason.contains("publishing"), "{reason}");
    running.until_shut("chat:a").await;
    redis.command(&["PUBLISH", "chat:a", "of others"]).unwrap();
    assert_eq!(next(&mut stream).await, message("chat:a", "of others"));
    redis.proxy.as_ref().unwrap().heal();
    running.until_up().await;
    running.publish("chat:a", "after");
    assert_eq!(next(&mut stream).await, message("chat:a", "after"));
    assert_eq!(running.bus.counters().interrupted.load(Relaxed), 0, "nobody was told of anything");
}

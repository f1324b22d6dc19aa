//! The bus over a real Redis: what it promises, and what it does when Redis is ended, hangs, evicts or says nothing.

use dualstream_backends::redis::{Address, RedisBus, Settings};
use dualstream_core::bus::{Bus, Delivery, Health, Message};
use dualstream_core::channel::{Channel, Target};
use dualstream_core::testing::{self, BusBackend, ManualClock, SeededEntropy};
use dualstream_services::Redis;
use dualstream_services::proxy::Flow;
use dualstream_services::redis::{Sentinel, Setup};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A bus with its runner, ended with the value.
pub(crate) struct Running {
    pub(crate) bus: RedisBus,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(settings: Settings) -> Running {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let entropy = Arc::new(SeededEntropy::new(SEEDS.fetch_add(1, Relaxed)));
        let (bus, runner) = RedisBus::new(settings, Arc::new(ManualClock::new(0)), entropy).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(runner.run(async {
            let _ = stopped.await;
        }));
        Running { bus, stop, task }
    }

    /// Publishes what waits, and ends.
    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    pub(crate) async fn until_up(&self) {
        self.bus.watch().wait_for(|health| *health == Health::Up).await.unwrap();
    }

    /// Why it is away, once that is known.
    pub(crate) async fn until_down(&self) -> String {
        let told = |health: &Health| match health {
            Health::Down { reason, .. } if !reason.contains("not reached yet") => Some(reason.clone()),
            _ => None,
        };
        let mut health = self.bus.watch();
        let health = health.wait_for(|health| told(health).is_some()).await.unwrap();
        told(&health).unwrap()
    }

    /// Publishes until nothing is taken any more: the publishing connection knows too that Redis is away.
    pub(crate) async fn until_shut(&self, channel: &str) {
        while self.publish(channel, "lost") > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn subscribe(&self, target: &str) -> BoxStream<'static, Delivery> {
        self.bus.subscribe(Target::parse(target).unwrap()).await.unwrap()
    }

    pub(crate) fn publish(&self, channel: &str, payload: impl Into<bytes::Bytes>) -> usize {
        self.bus.publish(vec![message(channel, payload)])
    }
}

pub(crate) fn message(channel: &str, payload: impl Into<bytes::Bytes>) -> Message {
    Message { channel: Channel::new(channel).unwrap(), payload: payload.into() }
}

/// Patient with a busy machine.
pub(crate) fn settings(address: &str) -> Settings {
    let address = Address::parse(address).unwrap();
    let queue_bytes_max = 64 << 20;
    Settings { deadline: Duration::from_secs(5), queue_bytes_max, ..Settings::new(address) }
}

pub(crate) fn at(address: SocketAddr) -> Settings {
    settings(&format!("redis://{address}"))
}

pub(crate) fn server() -> (Redis, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Redis::start(dir.path(), false).unwrap(), dir)
}

/// The next message, whatever was lost before it.
pub(crate) async fn next(stream: &mut BoxStream<'static, Delivery>) -> Message {
    loop {
        match stream.next().await.expect("the bus is open") {
            Delivery::Message(message) => return message,
            Delivery::Lost(_) => {}
        }
    }
}

/// Publishes again and again until it comes: what is published while connections are made again may be lost.
async fn until_heard(running: &Running, stream: &mut BoxStream<'static, Delivery>, channel: &str) {
    let heard = async |stream: &mut _| while next(stream).await.payload != "heard" {};
    loop {
        running.publish(channel, "heard");
        if tokio::time::timeout(Duration::from_millis(500), heard(stream)).await.is_ok() {
            return;
        }
    }
}

async fn conforms(settings: impl Fn() -> Settings) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    testing::bus(async || {
        let running = Running::start(settings());
        running.until_up().await;
        let prefix = format!("check-{}", NEXT.fetch_add(1, Relaxed));
        BusBackend { bus: Arc::new(running.bus.clone()), prefix, keep: Box::new(running) }
    })
    .await;
}

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
    assert_eq!(running.bus.counters().received.load(Relaxed), 200, "Redis sends it once for each");
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
    assert!(counters.dropped.load(Relaxed) >= 1 && !counters.is_away.load(Relaxed));
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

/// A user who may do what the guide says is enough; one who may do less is told what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn users_need_the_rights_of_the_guide_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().start(dir.path()).unwrap();
    let rights = "on >pa:ss resetchannels &events:* &chat:* &dualstream:* -@all +ping +publish +subscribe +psubscribe \
                  +unsubscribe +punsubscribe";
    redis
        .command(&[&["ACL", "SETUSER", "app"], &rights.split(' ').collect::<Vec<_>>()[..]].concat())
        .unwrap();
    let running = Running::start(settings(&format!("redis://app:pa%3Ass@{}", redis.endpoint())));
    running.until_up().await;
    let mut stream = running.subscribe("chat:*").await;
    running.publish("secret:a", "may not");
    running.publish("chat:a", "may");
    assert_eq!(next(&mut stream).await, message("chat:a", "may"));
    // The answer comes on another connection than the message.
    while running.bus.counters().failed.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let both = ["chat:b", "secret:b"].map(|target| running.bus.subscribe(Target::parse(target).unwrap()));
    let [may, may_not] = futures::future::join_all(both).await.try_into().ok().unwrap();
    let error = may_not.err().unwrap();
    assert_eq!(error.code(), "redis_denied");
    assert!(error.message().contains("NOPERM") && may.is_ok(), "{error}");
    let wrong = Running::start(settings(&format!("redis://app:wrong@{}", redis.endpoint())));
    let reason = wrong.until_down().await;
    assert!(reason.contains("WRONGPASS") && !reason.contains("pa:ss"), "{reason}");
}

fn sentinel_at(sentinel: &Sentinel) -> Settings {
    let hosts: Vec<String> = sentinel.addresses().iter().map(ToString::to_string).collect();
    settings(&format!("redis+sentinel://{}/{}", hosts.join(","), Sentinel::MASTER))
}

/// The master fails: Sentinel names another one, and everything goes on there.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sentinel = Setup::new().start_sentinel(dir.path(), 3).unwrap();
    let running = Running::start(sentinel_at(&sentinel));
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    let master = sentinel.master().unwrap().unwrap();
    sentinel.servers[master].process.kill().unwrap();
    running.until_down().await;
    sentinel.until_master_is_not(master).unwrap();
    running.until_up().await;
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    until_heard(&running, &mut stream, "chat:a").await;
}

/// The master is taken away without a word: it answers as ever, and nobody else is there any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_detached_master_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let sentinel = Setup::new().start_sentinel(dir.path(), 3).unwrap();
    let probe_interval = Duration::from_millis(500);
    let running = Running::start(Settings { probe_interval, ..sentinel_at(&sentinel) });
    running.until_up().await;
    let mut stream = running.subscribe("chat:a").await;
    let new = sentinel.detach().unwrap();
    assert_eq!(stream.next().await, Some(Delivery::Lost(0)));
    assert_eq!(sentinel.servers[new].subscribers(&["chat:a"]).unwrap(), [1]);
    let mut others = sentinel.servers[new].client().unwrap();
    others.send(&["SUBSCRIBE", "chat:b"]).unwrap();
    others.read().unwrap();
    while sentinel.servers[new].command(&["PUBLISH", "chat:a", "of others"]).unwrap().integer().unwrap() == 0
    {
    }
    assert_eq!(next(&mut stream).await, message("chat:a", "of others"));
    // The publishing connection follows.
    while running.bus.counters().publisher_reconnects.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    running.publish("chat:b", "after");
    assert_eq!(others.read().unwrap().array().unwrap()[2].text().unwrap(), "after");
}

/// Any node of a Cluster brings what is published on any other; one that dies is left for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_one_bus() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Setup::new().start_cluster(dir.path(), false).unwrap();
    let hosts: Vec<String> = cluster.servers.iter().map(|server| server.endpoint().to_string()).collect();
    let at = || settings(&format!("redis+cluster://{}", hosts.join(",")));
    conforms(at).await;
    let running = Running::start(Settings { probe_interval: Duration::from_millis(500), ..at() });
    running.until_up().await;
    let names: Vec<String> = (0..50).map(|n| format!("chat:{n}")).collect();
    let mut streams = futures::future::join_all(names.iter().map(|name| running.subscribe(name))).await;
    for (server, name) in cluster.servers.iter().cycle().zip(&names) {
        server.command(&["PUBLISH", name, "1"]).unwrap();
    }
    for (stream, name) in streams.iter_mut().zip(&names) {
        assert_eq!(next(stream).await, message(name, "1"));
    }
    // That which publishes, so none of what is subscribed is lost.
    cluster.servers[0].process.kill().unwrap();
    while running.bus.counters().publisher_reconnects.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    running.until_up().await;
    running.bus.publish(names.iter().map(|name| message(name, "2")).collect());
    for (stream, name) in streams.iter_mut().zip(&names) {
        assert_eq!(next(stream).await, message(name, "2"));
    }
}

/// With TLS it is a bus for whoever trusts the server's certificate; others are told why not.
#[cfg(feature = "redis-tls")]
#[tokio::test(flavor = "multi_thread")]
async fn tls_lets_in_who_trusts_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().tls().user("app", "secret1").start(dir.path()).unwrap();
    let roots = std::fs::read(redis.authority().unwrap().certificate()).unwrap();
    let with = |address: Address| Settings { address, ..settings("redis://127.0.0.1") };
    let address =
        Address::parse(&format!("rediss://app@{}", redis.endpoint())).unwrap().with_password("secret1");
    conforms(|| with(address.clone().with_root_certificates(roots.clone()))).await;
    let stranger = Running::start(with(address));
    let reason = stranger.until_down().await;
    assert!(reason.contains("certificate"), "{reason}");
}

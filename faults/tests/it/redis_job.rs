//! The main job with Redis: three brokers, Redis with Sentinels, three nodes behind nginx.
//!
//! Events are published through node `a` while event streams, SDKs and listeners hang on all nodes, through the balancer.
//! Redis is killed, stopped, emptied, restarted and failed over; a broker is killed; node `b` is killed, and node `c`
//! stopped for a while. Everybody who reads ends with every acknowledged event exactly once and in order, and no publish
//! fails.
//!
//! `FAULTS_STOPPED_SECONDS` sets how long node `c` is stopped.

use dualstream_checker::Start;
use dualstream_faults::stage::until_metric;
use dualstream_faults::{Fleet, Listener, Load, fleet};
use dualstream_services::balancer::Kind;
use dualstream_services::redis::{Sentinel, Setup};
use std::time::{Duration, Instant};

const STOPPED_SECONDS_DEFAULT: u64 = 5;
/// Streams through the balancer, which sends each to the node with the fewest.
const READERS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_whatever_becomes_of_redis_and_nodes() {
    let alone = "namespaces.other-job.live_feed=false";
    let mut fleet = Fleet::set("job", Kind::Nginx, &[alone], Some((Setup::new(), 3))).await.unwrap();
    open(&mut fleet).await;
    let load = Load::start(&fleet.recorder, &fleet.topics, &[fleet.nodes[0].address]);
    load.more(200).await.unwrap();
    fleet.until_healed().await.unwrap();
    for node in &fleet.nodes {
        until_metric(node, "dualstream_event_streams", |open| open > 0.0).await.unwrap();
    }
    break_redis(&mut fleet, &load).await;
    break_the_rest(&mut fleet, &load).await;
    fleet.until_healed().await.unwrap();
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "no publish fails: {outcomes:?}");
    fleet.judge(load).await.unwrap();
}

/// Readers, SDKs and listeners, all through the balancer.
async fn open(fleet: &mut Fleet) {
    let (front, topics) = (fleet.front(), fleet.topics.clone());
    let other = format!("{}:*", topics.other);
    for number in 0..READERS {
        fleet.audience.read_whole(&format!("reader-{number}"), Start::Latest, &front).await.unwrap();
        let place = front[0].clone();
        let name = format!("sdk-{number}");
        fleet.audience.browse(&name, &topics.events, "events:*", "made:*", place).await.unwrap();
    }
    fleet
        .audience
        .read("single", &topics.events, "events:made:1-7", "made:1-7", Start::Latest, front.clone())
        .await
        .unwrap();
    // What is published on node `a` comes to these by the bus alone.
    for node in [1, 2] {
        let (name, place, channels) = (format!("bus-{node}"), fleet.nodes[node].place(), [other.clone()]);
        let listener = Listener::start(&fleet.recorder, &name, &topics.other, &channels, vec![place]);
        fleet.audience.listeners.push(listener.await.unwrap());
    }
    for (name, source_type, channel) in [
        ("ring", "made", "events:made:*"),
        ("bus", topics.other.as_str(), other.as_str()),
        ("tokens", "tokens", fleet::TOKENS),
    ] {
        let channels = [channel.to_owned()];
        let listener = Listener::start(&fleet.recorder, name, source_type, &channels, front.clone());
        fleet.audience.listeners.push(listener.await.unwrap());
    }
}

/// Whatever can become of it; each time it is waited for that all is as before.
async fn break_redis(fleet: &mut Fleet, load: &Load) {
    type Break = fn(&mut Sentinel, usize);
    let breaks: [(&str, Break); 5] = [
        ("redis is killed", |redis, master| {
            redis.servers[master].process.kill().unwrap();
            redis.until_master_is_not(master).unwrap();
            redis.servers[master].restart().unwrap();
        }),
        ("redis is stopped", |redis, master| {
            redis.servers[master].process.pause().unwrap();
            redis.until_master_is_not(master).unwrap();
            redis.servers[master].process.resume().unwrap();
        }),
        ("redis is emptied", |redis, master| {
            redis.servers[master].command(&["FLUSHALL"]).unwrap();
        }),
        ("redis restarts", |redis, master| {
            redis.servers[master].process.kill().unwrap();
            redis.servers[master].restart().unwrap();
        }),
        ("redis is failed over", |redis, _| {
            redis.fail_over().unwrap();
        }),
    ];
    for (name, broken) in breaks {
        let redis = fleet.redis.as_mut().unwrap();
        redis.until_watched().unwrap();
        let master = redis.master().unwrap().unwrap();
        let fault = fleet.recorder.bus_fault(name);
        broken(redis, master);
        load.more(100).await.unwrap();
        fleet.until_healed().await.unwrap();
        fault.ends();
    }
}

/// A broker, a node that dies, and one that hangs.
async fn break_the_rest(fleet: &mut Fleet, load: &Load) {
    let fault = fleet.recorder.fault("broker 3 is killed");
    fleet.cluster.brokers[2].process.kill().unwrap();
    load.more(200).await.unwrap();
    fleet.cluster.restart(2).unwrap();
    fault.ends();

    let fault = fleet.recorder.fault("node b is killed");
    fleet.kill(1).unwrap();
    load.more(200).await.unwrap();
    fleet.restart(1).await.unwrap();
    fault.ends();

    let text = std::env::var("FAULTS_STOPPED_SECONDS").ok();
    let seconds = text.map_or(STOPPED_SECONDS_DEFAULT, |text| text.parse().unwrap());
    let fault = fleet.recorder.fault("node c is stopped");
    fleet.nodes[2].pause().unwrap();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(seconds) {
        load.more(20).await.unwrap();
    }
    fleet.nodes[2].resume().unwrap();
    fault.ends();
    load.more(200).await.unwrap();
}

//! Faults of brokers and of the way to them, by their number in the matrix: 9, 11, 12 and 13, brokers that hang, and
//! brokers that have forgotten the producer.
//!
//! Both nodes publish and read all the time; whatever happens, the history must be clean.

use dualstream_checker::Start;
use dualstream_faults::Stage;
use dualstream_services::proxy::Flow;
use serde_json::json;
use std::time::{Duration, Instant};

/// Brokers forget a producer within this time.
const FORGOTTEN_MAX: Duration = Duration::from_secs(60);

/// 9: one of three brokers is killed. Publishers notice nothing but a pause, and the order stands.
#[tokio::test(flavor = "multi_thread")]
async fn f09_one_broker_of_three_is_killed() {
    let mut stage = Stage::set("f09", &[]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let fault = stage.recorder.fault("broker 3 is killed");
    stage.cluster.brokers[2].process.kill().unwrap();
    load.more(400).await.unwrap();
    stage.cluster.restart(2).unwrap();
    fault.ends();
    load.more(200).await.unwrap();
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "the client tries again by itself: {outcomes:?}");
    stage.judge(load).await.unwrap();
}

/// 9, and 36: a broker hangs with its connections open, as a half-open one would; others take over what it led, and it
/// comes back believing that it leads. Readers begin with the oldest event all the while, and cross the seam.
#[tokio::test(flavor = "multi_thread")]
async fn f09_a_broker_hangs_and_wakes() {
    let mut stage = Stage::set("f09h", &[]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let fault = stage.recorder.fault("broker 1 hangs");
    stage.cluster.brokers[0].process.pause().unwrap();
    let events = stage.topics.events.clone();
    for number in 0..6 {
        load.more(100).await.unwrap();
        let nodes = vec![if number % 2 == 0 { stage.a.place() } else { stage.b.place() }];
        let name = format!("seam-{number}");
        stage.audience.read(&name, &events, "events:made:*", "made:*", Start::Earliest, nodes).await.unwrap();
    }
    stage.cluster.brokers[0].process.resume().unwrap();
    stage.cluster.until_ready().unwrap();
    fault.ends();
    load.more(200).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 11: brokers are far away and answer slowly. It takes longer, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn f11_brokers_are_slow() {
    let stage = Stage::set("f11", &[]).await.unwrap();
    let load = stage.load();
    load.more(100).await.unwrap();
    let fault = stage.recorder.fault("brokers are slow");
    for proxy in stage.cluster.proxies() {
        proxy.requests(Flow::Slow { bytes_per_s: 64 << 10 });
        proxy.responses(Flow::Delayed(Duration::from_millis(300)));
    }
    load.more(400).await.unwrap();
    stage.cluster.proxies().for_each(|proxy| proxy.heal());
    fault.ends();
    load.more(200).await.unwrap();
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "slow is not broken: {outcomes:?}");
    stage.judge(load).await.unwrap();
}

/// 12: all leaders move, twice, while it is published: no event doubled, none out of order.
#[tokio::test(flavor = "multi_thread")]
async fn f12_leaders_move() {
    let stage = Stage::set("f12", &[]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    for round in 0..2 {
        let fault = stage.recorder.fault(&format!("leaders move, round {round}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let moved = [&stage.topics.events, &stage.topics.other].into_iter().flat_map(|topic| {
            (0..12).map(move |partition| {
                let replicas = [0, 1, 2].map(|at| (partition + round + at) % 3 + 1);
                json!({"topic": topic, "partition": partition, "replicas": replicas})
            })
        });
        let plan = json!({"version": 1, "partitions": moved.collect::<Vec<_>>()});
        std::fs::write(file.path(), plan.to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        let order = ["--reassignment-json-file", path, "--execute"];
        stage.cluster.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", &order).unwrap();
        let elect = ["--election-type", "PREFERRED", "--all-topic-partitions"];
        stage.cluster.tool("org.apache.kafka.tools.LeaderElectionCommand", &elect).unwrap();
        load.more(200).await.unwrap();
        fault.ends();
    }
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "the client finds the leaders: {outcomes:?}");
    stage.judge(load).await.unwrap();
}

/// 13: two of three brokers are gone, so too few replicas are in sync: nothing is acknowledged, and what is said of it
/// is true. They come back: all goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn f13_too_few_replicas() {
    let mut stage = Stage::set("f13", &["kafka.delivery.timeout.ms=3000"]).await.unwrap();
    let load = stage.load();
    load.more(200).await.unwrap();
    let fault = stage.recorder.fault("two brokers are killed");
    stage.cluster.brokers[0].process.kill().unwrap();
    stage.cluster.brokers[1].process.kill().unwrap();
    load.until(|outcomes| outcomes.failed + outcomes.unknown >= 100).await.unwrap();
    stage.cluster.restart_ended().unwrap();
    fault.ends();
    load.more(300).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// Nodes publish nothing for so long that the brokers forget their producers, and with them which number comes next. What
/// is published then is stored once and in order, and the caller notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_forget_producers_that_rest() {
    const PRODUCERS: &str = "org.apache.kafka.tools.TransactionsCommand";
    let stage = Stage::set("forget", &[]).await.unwrap();
    let all = ["--entity-type", "brokers", "--entity-default", "--alter"];
    let change = |what: [&str; 2]| {
        stage.cluster.tool("kafka.admin.ConfigCommand", &[&all[..], &what].concat()).unwrap();
    };
    let load = stage.load();
    load.more(200).await.unwrap();
    let known = || {
        let of = ["describe-producers", "--topic", &stage.topics.events, "--partition", "0"];
        stage.cluster.tool(PRODUCERS, &of).unwrap().lines().count() - 1
    };
    assert!(known() > 0, "a partition knows who writes it");
    let fault = stage.recorder.fault("the brokers forget the producers");
    load.rest();
    change(["--add-config", "producer.id.expiration.ms=500"]);
    let since = Instant::now();
    while known() > 0 {
        assert!(since.elapsed() < FORGOTTEN_MAX, "the brokers forget nobody");
    }
    change(["--delete-config", "producer.id.expiration.ms"]);
    fault.ends();
    load.go_on();
    load.more(300).await.unwrap();
    let outcomes = load.outcomes();
    assert_eq!((outcomes.failed, outcomes.unknown), (0, 0), "nobody is told of it: {outcomes:?}");
    stage.judge(load).await.unwrap();
}

//! Faults of one Redis server and of the way to it, by their number in the matrix: 1 to 4, 6 and 7, and a server that is
//! full or takes no commands. And what becomes of readers meanwhile: 36 and 37.
//!
//! Whatever happens, no publish fails, readers of the log get everything once and in order, and announcements come by
//! the ring; when it is over, every channel has its subscribers again and messages come by Redis, without anybody's help.

use crate::nodes::first_id;
use dualstream_checker::Start;
use dualstream_faults::http::Connection;
use dualstream_faults::{BusStage, Load};
use dualstream_services::Redis;
use dualstream_services::proxy::{Flow, Then};
use dualstream_services::redis::Setup;
use std::time::Duration;

/// How long a proxy may take to see what it waits for.
const SEEN_MAX: Duration = Duration::from_secs(30);

async fn set(name: &str) -> (BusStage<Redis>, Load) {
    set_as(name, Setup::new().proxied()).await
}

async fn set_as(name: &str, setup: Setup) -> (BusStage<Redis>, Load) {
    let stage = BusStage::set(name, &[], |dir| setup.start(dir)).await.unwrap();
    let load = stage.load();
    load.more(100).await.unwrap();
    (stage, load)
}

/// 1: nobody is there when the node starts. It serves, says that it is degraded, and finds Redis when that comes.
#[tokio::test(flavor = "multi_thread")]
async fn f01_it_is_away_at_the_start() {
    let start = |dir: &std::path::Path| {
        let mut redis = Redis::start(dir, false)?;
        redis.process.kill()?;
        Ok(redis)
    };
    let mut stage = BusStage::set_quietly("f01", &[], start).await.unwrap();
    let fault = stage.recorder.bus_fault("redis is not there");
    let said = stage.node.until_bus_is("down").await.unwrap();
    assert!(said["bus"]["reason"].is_string() && said["bus"]["since"].is_string(), "{said}");
    stage.open().await.unwrap();
    // What was published before would be waited for in vain.
    let load = stage.load();
    load.more(200).await.unwrap();
    stage.ring().more(10).await.unwrap();
    stage.redis.restart().unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    load.more(100).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 2: it dies in the middle of a publish: the connection is reset after some bytes, and then it is killed. The log alone
/// decides what a publish is told.
#[tokio::test(flavor = "multi_thread")]
async fn f02_it_dies_in_the_middle_of_a_publish() {
    let (mut stage, load) = set("f02").await;
    let fault = stage.recorder.bus_fault("redis dies");
    for bytes in [1, 700, 5_000] {
        let resets = stage.redis.proxy.as_ref().unwrap().counts().resets;
        let proxy = stage.redis.proxy.as_ref().unwrap();
        proxy.requests(Flow::CutAfter { bytes, then: Then::Reset });
        proxy.until(SEEN_MAX, "the reset", |counts| counts.resets > resets).unwrap();
        load.more(50).await.unwrap();
    }
    stage.redis.process.kill().unwrap();
    stage.node.until_bus_is("down").await.unwrap();
    load.more(200).await.unwrap();
    stage.ring().more(10).await.unwrap();
    stage.redis.restart().unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    stage.judge(load).await.unwrap();
}

/// 3: it hangs and its connections stay open: stopped by a signal, and paused by a command.
#[tokio::test(flavor = "multi_thread")]
async fn f03_it_hangs() {
    let (mut stage, load) = set("f03").await;
    let fault = stage.recorder.bus_fault("redis is stopped");
    stage.redis.process.pause().unwrap();
    stage.node.until_bus_is("down").await.unwrap();
    load.more(300).await.unwrap();
    stage.ring().more(10).await.unwrap();
    stage.redis.process.resume().unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    let fault = stage.recorder.bus_fault("redis is paused");
    // It takes no command until then, not even to go on.
    stage.redis.command(&["CLIENT", "PAUSE", "6000", "ALL"]).unwrap();
    stage.node.until_bus_is("down").await.unwrap();
    load.more(100).await.unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    stage.judge(load).await.unwrap();
}

/// 4: it restarts empty, is emptied, and kills the connections of subscribers: all channels are subscribed again.
#[tokio::test(flavor = "multi_thread")]
async fn f04_it_restarts_and_forgets() {
    let (mut stage, load) = set("f04").await;
    let fault = stage.recorder.bus_fault("redis restarts");
    stage.redis.process.kill().unwrap();
    stage.redis.restart().unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    let fault = stage.recorder.bus_fault("redis is emptied");
    stage.redis.command(&["FLUSHALL"]).unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    for killed in ["pubsub", "normal"] {
        let fault = stage.recorder.bus_fault(&format!("{killed} connections are killed"));
        let count = stage.redis.command(&["CLIENT", "KILL", "TYPE", killed]).unwrap().integer().unwrap();
        assert!(count > 0, "the node has {killed} connections");
        stage.until_healed().await.unwrap();
        fault.ends();
    }
    stage.judge(load).await.unwrap();
}

/// 6: what a subscriber connection has not read yet is more than Redis keeps for it, so it hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn f06_it_evicts_the_subscriber() {
    let (mut stage, load) = set("f06").await;
    stage.redis.configure("client-output-buffer-limit", "pubsub 64kb 32kb 1").unwrap();
    let fault = stage.recorder.bus_fault("redis evicts the subscriber");
    let proxy = stage.redis.proxy.as_ref().unwrap();
    proxy.responses(Flow::Held);
    let payload = format!("{{\"pad\":\"{}\"}}", "x".repeat(64 << 10));
    let mut said = 0;
    // More than the buffers of the sockets on the way.
    while stage.say(&payload).is_ok() {
        said += 1;
        assert!(said < 10_000, "it is not evicted");
    }
    proxy.heal();
    stage.until_healed().await.unwrap();
    fault.ends();
    load.more(100).await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 7: the network swallows what the node sends, what Redis sends, or both, and no connection ends. The node notices by
/// itself, and heals.
#[tokio::test(flavor = "multi_thread")]
async fn f07_the_network_is_silent() {
    let (mut stage, load) = set("f07").await;
    for (name, requests, responses) in [
        ("both ways", Flow::Dropped, Flow::Dropped),
        ("to redis", Flow::Dropped, Flow::Open),
        ("from redis", Flow::Open, Flow::Dropped),
    ] {
        let fault = stage.recorder.bus_fault(&format!("the network is silent {name}"));
        let proxy = stage.redis.proxy.as_ref().unwrap();
        proxy.requests(requests);
        proxy.responses(responses);
        stage.node.until_bus_is("down").await.unwrap();
        load.more(100).await.unwrap();
        stage.ring().more(10).await.unwrap();
        stage.redis.proxy.as_ref().unwrap().heal();
        stage.until_healed().await.unwrap();
        fault.ends();
    }
    // Connections that are open are lost without a word, new ones pass: the publisher is back at once, and who only
    // listens must notice.
    let fault = stage.recorder.bus_fault("open connections are stranded");
    assert!(stage.redis.proxy.as_ref().unwrap().strand() > 1, "the node has connections");
    stage.until_something_is_heard().await.unwrap();
    stage.redis.proxy.as_ref().unwrap().reset();
    stage.until_healed().await.unwrap();
    fault.ends();
    stage.judge(load).await.unwrap();
}

/// It is full, and then a replica that takes no writes. Messages are no writes: they come through all the while.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_full_and_it_is_read_only() {
    let (mut stage, load) = set_as("full", Setup::new()).await;
    let fault = stage.recorder.bus_fault("redis is full");
    stage.redis.configure("maxmemory", "1").unwrap();
    let refused = format!("{:#}", stage.redis.command(&["SET", "key", "value"]).unwrap_err());
    assert!(refused.contains("OOM"), "{refused}");
    load.more(200).await.unwrap();
    stage.until_healed().await.unwrap();
    stage.redis.configure("maxmemory", "0").unwrap();
    fault.ends();
    let dir = tempfile::tempdir().unwrap();
    let master = Redis::start(dir.path(), false).unwrap();
    let (host, port) = (master.address.ip().to_string(), master.address.port().to_string());
    let fault = stage.recorder.bus_fault("redis is a replica");
    stage.redis.command(&["REPLICAOF", &host, &port]).unwrap();
    let refused = format!("{:#}", stage.redis.command(&["SET", "key", "value"]).unwrap_err());
    assert!(refused.contains("READONLY"), "{refused}");
    load.more(200).await.unwrap();
    stage.until_healed().await.unwrap();
    stage.redis.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    stage.judge(load).await.unwrap();
}

/// 36: readers begin with the oldest event while it is published and announced, while Redis hangs, and while it is dead:
/// each crosses from the log into the live stream without a gap, and without anything twice.
#[tokio::test(flavor = "multi_thread")]
async fn f36_readers_cross_the_seam_with_redis() {
    let (mut stage, load) = set("f36").await;
    let node = stage.node.place();
    for (number, state) in ["well", "hangs", "is dead", "is back"].into_iter().enumerate() {
        let fault = (number > 0).then(|| stage.recorder.bus_fault(&format!("redis {state}")));
        match state {
            "hangs" => stage.redis.process.pause().unwrap(),
            "is dead" => stage.redis.process.kill().unwrap(),
            "is back" => stage.redis.restart().unwrap(),
            _ => {}
        }
        for reader in 0..3 {
            load.more(30).await.unwrap();
            let name = format!("seam-{number}-{reader}");
            let (channel, key) = [("events:*", "made:*"), ("events:made:1-7", "made:1-7")][reader % 2];
            stage
                .audience
                .read(&name, "events", channel, key, Start::Earliest, vec![node.clone()])
                .await
                .unwrap();
        }
        if let Some(fault) = fault {
            fault.ends();
        }
    }
    stage.until_healed().await.unwrap();
    stage.judge(load).await.unwrap();
}

/// 37: what a reader that was away still needs is trimmed while Redis is dead. It is told so, and goes on where there is
/// something; and who was level notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn f37_retention_deletes_what_a_reader_needs_with_redis() {
    let (mut stage, load) = set("f37").await;
    let address = stage.node.address;
    let resume = async |id: Option<&str>, query: &str| {
        let path = format!("/v1/stream?channel=events:*{query}");
        Connection::open(address).await.unwrap().stream(&path, id).await.unwrap().into_body()
    };
    let id = first_id(&mut resume(None, "&since=latest").await, "id:").await;
    let mut level = resume(None, "&since=latest").await;
    load.more(200).await.unwrap();
    let fault = stage.recorder.bus_fault("redis is dead, and records are trimmed");
    stage.redis.process.kill().unwrap();
    stage.recorder.recreated("events");
    let trim = br#"{"before":"latest"}"#.as_slice().into();
    let answer = Connection::open(address).await.unwrap().post("/v1/topics/events/trim", trim).await.unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    let mut back = resume(Some(&id), "&on_unrecoverable=earliest").await;
    let told = first_id(&mut back, "data:").await;
    assert!(told.contains(r#""reason":"retention""#), "{told}");
    let event = first_id(&mut back, "data:").await;
    assert!(event.contains(r#""position""#), "it goes on: {event}");
    stage.redis.restart().unwrap();
    stage.until_healed().await.unwrap();
    fault.ends();
    let mut page = String::new();
    while !page.contains("unrecoverable") && page.len() < 1 << 12 {
        page += &first_id(&mut level, "data:").await;
    }
    assert!(!page.contains("unrecoverable"), "who was level lost nothing");
    load.stop().await.unwrap();
}

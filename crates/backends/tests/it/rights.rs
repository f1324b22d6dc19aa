//! The bus for a user of Redis who may do little: what is enough, and what is told of what is not.

use crate::redis_server::rights_of_the_guide;
use crate::running::{Running, message, next, settings};
use dualstream_backends::redis::Settings;
use dualstream_core::bus::Bus;
use dualstream_core::channel::Target;
use dualstream_services::Redis;
use dualstream_services::redis::Setup;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tempfile::TempDir;

/// A Redis with a user `app` who has the rights of the guide.
fn guarded() -> (Redis, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().start(dir.path()).unwrap();
    grant(&redis, &rights_of_the_guide("+publish").join(" "));
    grant(&redis, ">pa:ss");
    (redis, dir)
}

fn grant(redis: &Redis, rights: &str) {
    redis
        .command(&[&["ACL", "SETUSER", "app"], &rights.split(' ').collect::<Vec<_>>()[..]].concat())
        .unwrap();
}

fn as_app(redis: &Redis) -> Settings {
    settings(&format!("redis://app:pa%3Ass@{}", redis.endpoint()))
}

/// A user who may do what the guide says is enough; one who may do less is told what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn users_need_the_rights_of_the_guide_and_no_more() {
    let (redis, _dir) = guarded();
    let running = Running::start(as_app(&redis));
    running.until_up().await;
    let mut stream = running.subscribe("ai:*").await;
    running.publish("secret:a", "may not");
    running.publish("ai:a", "may");
    assert_eq!(next(&mut stream).await, message("ai:a", "may"));
    // The answer comes on another connection than the message.
    while running.bus.counters().failed.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let both = ["ai:b", "secret:b"].map(|target| running.bus.subscribe(Target::parse(target).unwrap()));
    let [may, may_not] = futures::future::join_all(both).await.try_into().ok().unwrap();
    let error = may_not.err().unwrap();
    assert_eq!(error.code(), "redis_denied");
    assert!(error.message().contains("NOPERM") && may.is_ok(), "{error}");
    let wrong = Running::start(settings(&format!("redis://app:wrong@{}", redis.endpoint())));
    let reason = wrong.until_down().await;
    assert!(reason.contains("WRONGPASS") && !reason.contains("pa:ss"), "{reason}");
}

/// While nothing can be published the bus is away, says why, and asks no more often than it proves itself.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_has_no_bus_until_it_may() {
    let (redis, _dir) = guarded();
    let probe_interval = Duration::from_secs(1);
    let running = Running::start(Settings { probe_interval, connections: 1, ..as_app(&redis) });
    running.until_up().await;
    grant(&redis, "-publish");
    let reason = running.until_down().await;
    assert!(reason.contains("publishing") && reason.contains("NOPERM"), "{reason}");
    running.publish("ai:a", "may not");
    while running.bus.counters().failed.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.bus.counters().failed.load(Relaxed), 1, "a probe is no message");
    assert_eq!(running.bus.counters().silences.load(Relaxed), 0);
    grant(&redis, "+publish");
    running.until_up().await;
}

/// A Cluster of one: sharded Pub/Sub has words of its own.
#[tokio::test(flavor = "multi_thread")]
async fn users_need_the_rights_of_the_guide_for_shards() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Setup::new().setting("cluster-enabled", "yes").start(dir.path()).unwrap();
    redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    for word in ["+publish", "+cluster|slots"] {
        grant(&redis, &rights_of_the_guide(word).join(" "));
    }
    grant(&redis, ">password");
    let sharded = || Settings {
        sharded: true,
        probe_interval: Duration::from_millis(200),
        ..settings(&format!("redis+cluster://app:password@{}", redis.endpoint()))
    };
    let reason = Running::start(sharded()).until_down().await;
    assert!(reason.contains("NOPERM") && reason.contains("cluster|info"), "{reason}");
    grant(&redis, &rights_of_the_guide("+spublish").join(" "));
    let running = Running::start(sharded());
    running.until_up().await;
    let mut stream = running.subscribe("ai:a").await;
    running.publish("ai:a", "may");
    assert_eq!(next(&mut stream).await, message("ai:a", "may"));
    let error = running.bus.subscribe(Target::parse("secret:a").unwrap()).await.err().unwrap();
    assert!(error.code() == "redis_denied" && error.message().contains("NOPERM"), "{error}");
    drop(stream);
    let heard =
        || redis.command(&["PUBSUB", "SHARDNUMSUB", "ai:a"]).unwrap().array().unwrap()[1].integer().unwrap();
    while heard() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.bus.counters().subscriber_reconnects.load(Relaxed), 0);
    grant(&redis, "-spublish");
    let reason = running.until_down().await;
    assert!(reason.contains("publishing") && reason.contains("NOPERM"), "{reason}");
}

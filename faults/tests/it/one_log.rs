//! One log under one prefix of Redis: a second embedded log does not start, unless nobody can say so.

use dualstream_faults::Node;
use dualstream_services::Redis;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything is to be said within this time.
const SAID_MAX: Duration = Duration::from_secs(60);

fn redis_of(redis: &Redis) -> Vec<String> {
    vec!["--redis".into(), format!("redis://{}", redis.address)]
}

fn start(dir: &Path, name: &str, redis: &Redis) -> Node {
    Node::start(dir, name, &redis_of(redis)).unwrap()
}

/// What a node says of the prefix, once it is in this state. It is ready all the while.
async fn until_prefix_is(node: &Node, status: &str) -> Value {
    let since = Instant::now();
    loop {
        let (code, said) = node.health().await.unwrap();
        assert_eq!(code, 200, "{said}");
        if said["prefix"]["status"] == status {
            return said;
        }
        assert!(since.elapsed() < SAID_MAX, "{}: the prefix is not {status}: {said}", node.name);
        tokio::task::yield_now().await;
    }
}

/// It is told which setting mends it. With another prefix it starts, and the first starts again at once after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_embedded_log_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&dir.path().join("redis"), false).unwrap();
    let mut first = start(dir.path(), "first", &redis);
    until_prefix_is(&first, "up").await;
    let url = format!("redis://{}", redis.address);
    let (code, said) = Node::refused(dir.path(), &["--redis", &url]).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("bus.prefix") && said.contains("another log"), "{said}");
    let other = [redis_of(&redis), vec!["--set".into(), "bus.prefix=other:".into()]].concat();
    let other = Node::start(dir.path(), "other", &other).unwrap();
    until_prefix_is(&other, "up").await;
    first.kill().unwrap();
    first.restart().unwrap();
    until_prefix_is(&first, "up").await;
    first.terminate().unwrap();
    assert_eq!(first.ended().await.unwrap(), Some(0));
    // It gave up its claim.
    until_prefix_is(&start(dir.path(), "second", &redis), "up").await;
}

/// While Redis is away both start; when it is there, the prefix is one's, and the other one says so and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_is_found_later_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(&dir.path().join("redis"), false).unwrap();
    redis.process.kill().unwrap();
    let nodes = [start(dir.path(), "first", &redis), start(dir.path(), "second", &redis)];
    for node in &nodes {
        until_prefix_is(node, "down").await;
    }
    redis.restart().unwrap();
    let since = Instant::now();
    let (owner, other) = loop {
        let (_, first) = nodes[0].health().await.unwrap();
        let (_, second) = nodes[1].health().await.unwrap();
        match (&first["prefix"]["status"], &second["prefix"]["status"]) {
            (up, _) if up == "up" => break (&nodes[0], &nodes[1]),
            (_, up) if up == "up" => break (&nodes[1], &nodes[0]),
            _ => assert!(since.elapsed() < SAID_MAX, "nobody has the prefix: {first} {second}"),
        }
    };
    let since = Instant::now();
    loop {
        let said = until_prefix_is(other, "down").await;
        if said["prefix"]["reason"].as_str().is_some_and(|reason| reason.contains("another log")) {
            assert_eq!(said["status"], "degraded", "{said}");
            break;
        }
        assert!(since.elapsed() < SAID_MAX, "{said}");
    }
    until_prefix_is(owner, "up").await;
    let log = std::fs::read_to_string(other.log()).unwrap();
    assert!(log.contains("log_conflict"), "{log}");
}

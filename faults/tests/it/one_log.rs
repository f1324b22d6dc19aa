//! One log under one prefix of Redis: a second embedded log does not start, unless nobody can say so.

use dualstream_faults::Node;
use dualstream_faults::stage::until;
use dualstream_services::Redis;
use serde_json::Value;
use std::path::Path;

fn redis_of(redis: &Redis) -> Vec<String> {
    vec!["--redis".into(), format!("redis://{}", redis.address)]
}

fn start(dir: &Path, name: &str, redis: &Redis) -> Node {
    Node::start(dir, name, &redis_of(redis)).unwrap()
}

/// What a node says, once the prefix is as wanted. It is ready all the while.
async fn until_prefix(node: &Node, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = None;
    let asked = until(node, what, async || {
        let (code, said) = node.health().await.unwrap();
        assert_eq!(code, 200, "{said}");
        last = Some(said.clone());
        is_wanted(&said["prefix"]).then_some(said)
    })
    .await;
    asked.unwrap_or_else(|error| panic!("{error:#}: {last:?}"))
}

async fn until_prefix_is(node: &Node, status: &str) -> Value {
    until_prefix(node, &format!("the prefix is {status}"), |prefix| prefix["status"] == status).await
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
    let is_up = async |node: &Node| node.health().await.unwrap().1["prefix"]["status"] == "up";
    let owner = until(&nodes[0], "somebody has the prefix", async || match is_up(&nodes[0]).await {
        true => Some(0),
        false => is_up(&nodes[1]).await.then_some(1),
    })
    .await
    .unwrap();
    let (owner, other) = (&nodes[owner], &nodes[1 - owner]);
    let is_told = |prefix: &Value| {
        let reason = prefix["reason"].as_str();
        prefix["status"] == "down" && reason.is_some_and(|reason| reason.contains("another log"))
    };
    let said = until_prefix(other, "the conflict is told", is_told).await;
    assert_eq!(said["status"], "degraded", "{said}");
    until_prefix_is(owner, "up").await;
    let log = std::fs::read_to_string(other.log()).unwrap();
    assert!(log.contains("log_conflict"), "{log}");
}

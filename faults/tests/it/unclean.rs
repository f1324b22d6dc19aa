//! Unclean elections: a topic that lets a replica lead which lacks acknowledged records loses them, and others stand at
//! their offsets then. Whoever read them is told, and no position ever names another event.

use anyhow::Result;
use dualstream_core::position::Position;
use dualstream_faults::http::Connection;
use dualstream_faults::stage::{until, until_metric};
use dualstream_faults::stream::Stream;
use dualstream_faults::{Node, Stage};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
/// More in each partition than is lost.
const OTHERS: usize = 1_200;

/// Events by position, as anybody was shown them.
type Shown = BTreeMap<Position, String>;

/// Both nodes sleep while it happens, so they meet a log that goes on past where they stood.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "brokers are given up after nine seconds, twice: cargo xtask faults"]
async fn no_position_names_another_event_after_an_unclean_election() {
    let mut stage = Stage::set("unclean", &[]).await.unwrap();
    let load = stage.load();
    load.more(150).await.unwrap();
    let witnesses = [Witness::start(stage.a.address), Witness::start(stage.b.address)];
    let topic = stage.topics.events.clone();
    two_replicas_may_lose(&stage, &topic);

    let fault = stage.recorder.fault("the second replica is gone, then the first, and the second leads");
    stage.cluster.brokers[1].process.kill().unwrap();
    load.more(250).await.unwrap();
    load.rest();
    for node in [&stage.a, &stage.b] {
        until_metric(node, "dualstream_publish_queued_bytes", |bytes| bytes == 0.0).await.unwrap();
    }
    let before = shown(&stage.a).await;
    for (node, witness) in [(&stage.a, &witnesses[0]), (&stage.b, &witnesses[1])] {
        witness.until(node, "all was read", |seen| seen.events.len() >= before.len()).await;
        node.pause().unwrap();
    }
    stage.cluster.brokers[0].process.kill().unwrap();
    stage.cluster.restart(1).unwrap();
    write_others(&stage, &topic);
    for node in [&stage.a, &stage.b] {
        node.resume().unwrap();
    }
    for (node, witness) in [(&stage.a, &witnesses[0]), (&stage.b, &witnesses[1])] {
        let has_all = |seen: &Seen| seen.told.is_some() && seen.others() == OTHERS;
        witness.until(node, "it is told, and all that is new comes", has_all).await;
    }
    stage.cluster.restart_ended().unwrap();
    fault.ends();
    load.go_on();
    load.more(100).await.unwrap();
    load.stop().await.unwrap();
    let after = shown(&stage.a).await;
    assert_eq!(after, shown(&stage.b).await);

    let places = |shown: &Shown| -> BTreeMap<(u32, u64), String> {
        shown.iter().map(|(at, id)| ((at.partition, at.offset), id.clone())).collect()
    };
    let now = places(&after);
    let then = places(&before);
    let gone = then.values().filter(|id| !now.values().any(|now| now == *id)).count();
    let replaced = then.iter().filter(|(at, id)| now.get(at).is_some_and(|now| now != *id)).count();
    assert!(
        gone >= 100 && replaced >= 100,
        "of {} events {gone} were lost and {replaced} replaced: nothing was tried",
        then.len()
    );
    for witness in &witnesses {
        let seen = witness.seen.lock().unwrap().clone();
        assert_eq!(seen.told.as_deref(), Some("epoch"), "{seen:?}");
        assert_eq!(seen.twice, Vec::<String>::new(), "a position named two events");
        for (at, id) in before.iter().chain(&after) {
            assert!(
                seen.events.get(at).is_none_or(|seen| seen == id),
                "{at} is {id} in a page, and in a stream not"
            );
        }
    }
    for node in [&stage.a, &stage.b] {
        are_void(node, before.keys()).await;
    }
}

/// All partitions on two brokers, the first of which leads, and one of them is enough.
fn two_replicas_may_lose(stage: &Stage, topic: &str) {
    let of_topic = ["--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config"];
    let set = [&of_topic[..], &["min.insync.replicas=1,unclean.leader.election.enable=true"]].concat();
    stage.cluster.tool("kafka.admin.ConfigCommand", &set).unwrap();
    let moved = (0..12).map(|partition| json!({"topic": topic, "partition": partition, "replicas": [1, 2]}));
    let plan = json!({"version": 1, "partitions": moved.collect::<Vec<_>>()});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plan.to_string()).unwrap();
    let order = ["--reassignment-json-file", file.path().to_str().unwrap(), "--execute"];
    stage.cluster.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", &order).unwrap();
    let elect = ["--election-type", "PREFERRED", "--all-topic-partitions"];
    stage.cluster.tool("org.apache.kafka.tools.LeaderElectionCommand", &elect).unwrap();
    let described = stage.cluster.tool(TOPICS, &["--describe", "--topic", topic]).unwrap();
    assert_eq!(described.matches("Leader: 1\tReplicas: 1,2\t").count(), 12, "{described}");
}

/// Events of another program: nodes that sleep write nothing.
fn write_others(stage: &Stage, topic: &str) {
    let record = |number: usize| {
        let key = format!("9-{}", number % 240);
        let event = json!({
            "specversion": "1.0", "id": format!("other-{number}"), "source": format!("/made/{key}"), "type": "t",
            "time": "2026-11-21T12:00:00Z", "datacontenttype": "application/json", "data": number,
        });
        format!("content-type:application/cloudevents+json,source_type:made\t{key}\t{event}\n")
    };
    let records: String = (0..OTHERS).map(record).collect();
    let parse = ["--topic", topic, "--property", "parse.headers=true", "--property", "parse.key=true"];
    stage.cluster.tool_fed("org.apache.kafka.tools.ConsoleProducer", &parse, &records).unwrap();
}

/// Everything, page by page.
async fn shown(node: &Node) -> Shown {
    let mut connection = Connection::open(node.address).await.unwrap();
    let (mut shown, mut since) = (Shown::new(), Some("earliest".to_owned()));
    while let Some(from) = since {
        let path = format!("/v1/channels/events:*/events?since={from}&limit=1000");
        let page: Value = serde_json::from_slice(connection.get(&path).await.unwrap().body()).unwrap();
        shown.extend(page["events"].as_array().unwrap().iter().map(placed));
        since = page["next"].as_str().map(str::to_owned);
    }
    shown
}

fn placed(event: &Value) -> (Position, String) {
    let text = |field: &str| event[field].as_str().unwrap();
    (text("position").parse().unwrap(), text("id").to_owned())
}

/// Old positions are good for nothing any more, least of all for another event.
async fn are_void(node: &Node, positions: impl Iterator<Item = &Position>) {
    let mut connection = Connection::open(node.address).await.unwrap();
    for position in positions {
        let response = connection.get(&format!("/v1/events/{position}")).await.unwrap();
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(response.status(), 410, "{position} on {}: {answer}", node.name);
    }
}

/// Reads everything from the beginning, comes back after whatever ends its stream, and goes on where it is told to.
struct Witness {
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    events: Shown,
    /// The reason.
    told: Option<String>,
    /// Positions that named another event before.
    twice: Vec<String>,
}

impl Seen {
    fn others(&self) -> usize {
        self.events.values().filter(|id| id.starts_with("other-")).count()
    }
}

impl Witness {
    fn start(node: SocketAddr) -> Witness {
        let seen = Arc::<Mutex<Seen>>::default();
        let task = tokio::spawn(watch(node, seen.clone()));
        Witness { seen, task }
    }

    async fn until(&self, node: &Node, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let asked = until(node, what, async || is_so(&self.seen.lock().unwrap()).then_some(())).await;
        asked.unwrap_or_else(|error| panic!("{error:#}: {:?}", self.seen.lock().unwrap().told));
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(node: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let mut last_id = None;
    loop {
        // Whatever ended it, it comes back.
        let _ = follow(node, &seen, &mut last_id).await;
        tokio::task::yield_now().await;
    }
}

async fn follow(node: SocketAddr, seen: &Mutex<Seen>, last_id: &mut Option<String>) -> Result<()> {
    let path = "/v1/stream?channel=events:*&since=earliest&on_unrecoverable=earliest";
    let mut stream = Stream::open(node, path, last_id.as_deref()).await?;
    while let Some(block) = stream.next().await? {
        if let Some(id) = block.field("id") {
            *last_id = Some(id.to_owned());
        }
        let Some(data) = block.field("data") else { continue };
        let data: Value = serde_json::from_str(data)?;
        let mut seen = seen.lock().unwrap();
        if block.field("event") == Some("unrecoverable") {
            seen.told = data["reason"].as_str().map(str::to_owned);
            continue;
        }
        let (at, id) = placed(&data);
        if let Some(before) = seen.events.insert(at, id.clone()).filter(|before| *before != id) {
            seen.twice.push(format!("{at}: {before}, {id}"));
        }
    }
    Ok(())
}

//! The main job over Kafka: two nodes, three brokers, no Redis.
//!
//! Everything is published through both nodes at once while a broker is killed and comes back, a node is killed and comes
//! back, and leaders move. Readers on both nodes, of patterns and single channels, end with every acknowledged event
//! exactly once and in order; both histories say the same; and a plain Kafka consumer sees CloudEvents.
//!
//! `FAULTS_EVENTS` sets how many events there are: a million takes some minutes.

use dualstream_checker::{Recorder, Rules, Start, value_crc};
use dualstream_faults::history::read_all;
use dualstream_faults::{Cluster, Event, Node, Publisher, Reader, Sdk, Way};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

const GITHUB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/github-events.ndjson");
const EVENTS_DEFAULT: usize = 20_000;
const BATCH: usize = 100;
const BATCH_BYTES: usize = 512 << 10;
const KEYS: usize = 1_000;

/// The events of the file, then generated ones over two topics.
fn events(count: usize) -> Vec<Event> {
    let text = std::fs::read_to_string(GITHUB).unwrap_or_else(|error| {
        panic!("this test publishes the events in {GITHUB}, and cannot read it: {error}")
    });
    let github = text.lines().enumerate().map(|(i, line)| {
        let event: Value = serde_json::from_str(line).unwrap();
        let source = |name: &str| event[name].as_str().unwrap().to_owned();
        Event {
            topic: "events".into(),
            id: format!("github-{i}"),
            source: (source("source_type"), source("source_id")),
            data: event["data"].clone(),
        }
    });
    let made = (0..count).map(|i| {
        let (topic, source_type) = if i % 5 == 0 { ("chat", "chat") } else { ("events", "made") };
        let source = (source_type.to_owned(), format!("key-{}", i * 31 % KEYS));
        Event {
            topic: topic.into(),
            id: format!("made-{i}"),
            source,
            data: json!({"n": i, "pad": "x".repeat(i % 200)}),
        }
    });
    github.chain(made).collect()
}

/// Runs of events of at most so many events and bytes.
fn batches(events: &[Event]) -> impl Iterator<Item = &[Event]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |event: &&Event| {
            bytes += event.data.to_string().len() + 300;
            bytes < BATCH_BYTES
        };
        let count = rest.iter().take(BATCH).take_while(fits).count().max(1).min(rest.len());
        let (batch, left) = rest.split_at(count);
        rest = left;
        (!batch.is_empty()).then_some(batch)
    })
}

fn node_args(kafka: &Cluster) -> Vec<String> {
    let set = ["--kafka", &kafka.bootstrap(), "--set", "namespaces.chat.stream=dual"];
    set.map(String::from).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_while_brokers_and_nodes_die() {
    let count = std::env::var("FAULTS_EVENTS").map_or(EVENTS_DEFAULT, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut kafka = Cluster::get().await.unwrap();
    let args = node_args(&kafka);
    let a = Node::start(dir.path(), "a", &args).unwrap();
    let mut b = Node::start(dir.path(), "b", &args).unwrap();
    let recorder = Recorder::new();
    recorder.node_up("a");
    recorder.node_up("b");
    let (at_a, at_b) = (("a".to_owned(), a.address), ("b".to_owned(), b.address));

    let mut readers = Vec::new();
    for (name, nodes) in [("a", vec![at_a.clone()]), ("b", vec![at_b.clone()]), ("ab", vec![at_b, at_a])] {
        for (topic, pattern, key) in [("events", "events:*", "*"), ("chat", "chat:*", "chat:*")] {
            let name = format!("{name}-{topic}");
            readers.push((
                topic,
                Reader::start(Start::Latest, &recorder, &name, topic, pattern, key, nodes.clone())
                    .await
                    .unwrap(),
            ));
        }
    }
    let single = ("b".to_owned(), b.address);
    let single = Reader::start(
        Start::Latest,
        &recorder,
        "single",
        "events",
        "events:made:key-31",
        "made:key-31",
        vec![single],
    );
    let mut single = single.await.unwrap();

    let on_a = Sdk::start(Way::default(), &recorder, "sdk-a", "events", "events:*", "*", ("a", a.address));
    let on_b = Sdk::start(
        Way::default(),
        &recorder,
        "sdk-b",
        "events",
        "events:made:key-62",
        "made:key-62",
        ("b", b.address),
    );
    let (mut on_a, mut on_b) = (on_a.await.unwrap(), on_b.await.unwrap());

    let events = Arc::new(events(count));
    let (published, progress) = watch::channel(0);
    let published = Arc::new(published);
    let publishers: Vec<_> = (0..4)
        .map(|number: usize| {
            let mut nodes = vec![a.address, b.address];
            nodes.rotate_left(number % 2);
            let process = recorder.process(&format!("publisher-{number}"));
            let (events, published) = (events.clone(), published.clone());
            tokio::spawn(async move {
                let mut publisher = Publisher::new(process, nodes);
                // Each has keys of its own: what one is told before the next is sent is in order.
                let own: Vec<Event> = events
                    .iter()
                    .filter(|event| value_crc(event.key().as_bytes()) as usize % 4 == number)
                    .cloned()
                    .collect();
                for batch in batches(&own) {
                    publisher.publish(batch).await.unwrap();
                    published.send_modify(|published| *published += batch.len());
                }
            })
        })
        .collect();
    let reached = async |share: usize| {
        let wanted = events.len() * share / 100;
        progress
            .clone()
            .wait_for(|published| *published >= wanted)
            .await
            .expect("the publishers are at work");
    };

    drop(published);
    reached(15).await;
    let fault = recorder.fault("broker 2 is killed");
    kafka.brokers[1].process.kill().unwrap();
    reached(35).await;
    kafka.restart(1).unwrap();
    fault.ends();

    reached(50).await;
    let fault = recorder.fault("node b is killed");
    recorder.node_down("b");
    b.kill().unwrap();
    reached(60).await;
    b.restart().unwrap();
    recorder.node_up("b");
    fault.ends();

    reached(75).await;
    let fault = recorder.fault("leaders move");
    let elect = ["--election-type", "PREFERRED", "--all-topic-partitions"];
    kafka.tool("org.apache.kafka.tools.LeaderElectionCommand", &elect).unwrap();
    fault.ends();

    for publisher in publishers {
        publisher.await.unwrap();
    }
    for (topic, reader) in &mut readers {
        let wanted = events.iter().filter(|event| event.topic == *topic).count();
        reader.until(wanted).await.unwrap();
    }
    single.until(events.iter().filter(|event| event.key() == "made:key-31").count()).await.unwrap();
    on_a.until(events.iter().filter(|event| event.topic == "events").count()).await.unwrap();
    on_b.until(events.iter().filter(|event| event.key() == "made:key-62").count()).await.unwrap();
    for node in [&a, &b] {
        for topic in ["events", "chat"] {
            read_all(&recorder, node, topic, topic).await.unwrap();
        }
    }
    let report = recorder.expect_clean(&Rules::default(), Path::new("kafka-job.jsonl"));
    assert_eq!(report.totals.acknowledged, events.len());

    let consume = ["--topic", "events", "--from-beginning", "--max-messages", "50"];
    let printed = kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &consume).unwrap();
    let plain: Vec<Value> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(plain.len(), 50, "{printed}");
    assert!(
        plain.iter().all(|event| event["specversion"] == "1.0" && event["source"].is_string()),
        "{printed}"
    );
}

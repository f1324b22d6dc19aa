//! `dualstream copy-log` over a real broker, killed again and again: to Kafka and back.

use dualstream_core::position::Position;
use dualstream_faults::{Node, node};
use dualstream_services::Kafka;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const EVENTS: usize = 24_000;
const KEYS: usize = 1_000;

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(node::program().unwrap());
    command.args(["--output", "json"]).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Lines of a run that must succeed.
fn lines(args: &[&str]) -> Vec<Value> {
    let output = program(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Records of a copy so far.
fn copied(from: &str, to: &str) -> u64 {
    // It fails, as both sides are not the same, and tells of the topics that are there.
    let output = program(&["copy-log", "--from", from, "--to", to, "--verify"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let topics = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let records = |topic: Value| -> u64 {
        let partitions = topic["partitions"].as_array().unwrap();
        partitions.iter().map(|partition| partition["target"]["records"].as_u64().unwrap()).sum()
    };
    topics.map(records).sum()
}

/// Copies, killed after a while that grows until a run comes to its end. Gives the lines of that, and how many records
/// were there after each death.
fn copy_under_fire(from: &str, to: &str) -> (Vec<Value>, Vec<u64>) {
    let (mut patience, mut deaths) = (Duration::from_millis(900), Vec::new());
    while deaths.len() < 40 {
        let mut child = program(&["copy-log", "--from", from, "--to", to]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            // Nobody listens to one that was killed.
            let _ = sender.send(text);
        });
        let Ok(text) = ended.recv_timeout(patience) else {
            child.kill().unwrap();
            child.wait().unwrap();
            deaths.push(copied(from, to));
            patience = patience * 6 / 5;
            continue;
        };
        assert!(child.wait().unwrap().success(), "{text}");
        return (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), deaths);
    }
    panic!("no run came to its end");
}

/// The events of each partition of a topic, without what is of the log they stand in.
fn contents(node: &Node, channels: &str) -> BTreeMap<u32, Vec<Value>> {
    let server = format!("http://{}", node.address);
    let mut contents = BTreeMap::<u32, Vec<Value>>::new();
    for mut event in lines(&["--server", &server, "replay", channels]) {
        let position: Position = event["position"].as_str().unwrap().parse().unwrap();
        let members = event.as_object_mut().unwrap();
        members.remove("position");
        members.remove("appended");
        contents.entry(position.partition).or_default().push(event);
    }
    contents
}

fn publish(node: &Node, dir: &Path) {
    let mut text = String::new();
    for n in 0..EVENTS {
        let source_type = if n % 4 == 0 { "chat" } else { "made" };
        let event = json!({
            "id": format!("id-{n}"), "type": "t", "source_type": source_type, "source_id": format!("key-{}", n * 31 % KEYS),
            "data": {"n": n, "pad": "x".repeat(n % 2_000)},
        });
        writeln!(text, "{event}").unwrap();
    }
    let file = dir.join("events.ndjson");
    std::fs::write(&file, text).unwrap();
    let server = format!("http://{}", node.address);
    let told = lines(&["--server", &server, "publish", file.to_str().unwrap()]);
    assert_eq!(told[0]["stored"], EVENTS);
}

#[test]
fn topics_go_to_kafka_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = Kafka::start(&dir.path().join("kafka"), 1, false).unwrap();
    let args = ["--set", "namespaces.chat.stream=dual"].map(String::from);
    let mut node = Node::start(dir.path(), "embedded", &args).unwrap();
    publish(&node, dir.path());
    let before = ["events:*", "chat:*"].map(|channels| contents(&node, channels));
    node.kill().unwrap();

    let path = |name: &str| dir.path().join(name).join("data").to_str().unwrap().to_owned();
    let (embedded, restored) = (path("embedded"), path("restored"));
    let kafka = format!("kafka://{}", kafka.bootstrap());
    for (from, to) in [(&embedded, &kafka), (&kafka, &restored)] {
        let (told, deaths) = copy_under_fire(from, to);
        let is_between = |&records: &u64| 0 < records && records < EVENTS as u64;
        assert!(
            deaths.is_sorted() && deaths.iter().any(is_between),
            "it was never killed midway: {deaths:?}"
        );
        let names: Vec<_> = told.iter().map(|topic| topic["topic"].as_str().unwrap()).collect();
        assert_eq!(names, ["chat", "events"]);
        for (topic, records) in told.iter().zip([EVENTS / 4, EVENTS * 3 / 4]) {
            let partitions = topic["partitions"].as_array().unwrap();
            assert_eq!((partitions.len(), &topic["equal"]), (12, &json!(true)));
            let sum: u64 = partitions.iter().map(|one| one["target"]["records"].as_u64().unwrap()).sum();
            assert_eq!(sum, records as u64, "{topic}");
        }
        let again = lines(&["copy-log", "--from", from, "--to", to, "--verify"]);
        assert!(again.iter().all(|topic| topic["equal"] == true && topic["copied"] == 0), "{again:?}");
    }

    let node = Node::start(dir.path(), "restored", &args).unwrap();
    let after = ["events:*", "chat:*"].map(|channels| contents(&node, channels));
    assert!(before.iter().all(|topic| topic.len() == 12));
    assert!(before == after, "the contents differ");
}

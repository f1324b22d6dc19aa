//! `dualstream topic` against a real server.

use crate::program::{Outcome, dualstream, run};
use crate::server::{Lines, Server};
use serde_json::{Value, json};
use std::process::Child;

struct World {
    folder: tempfile::TempDir,
    server: Server,
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder.path().join("data"));
        World { folder, server }
    }

    fn human(&self, args: &[&str]) -> Outcome {
        run(["--server", &self.server.url()].iter().chain(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut lines = self.server.client(args).json_lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// Stores events of `sources` sources.
    fn publish(&self, count: usize, sources: usize) -> Outcome {
        let line = |n| {
            format!(
                "{{\"id\":\"i{n}\",\"type\":\"t\",\"source_type\":\"s\",\"source_id\":\"k{}\",\"data\":{n}}}\n",
                n % sources
            )
        };
        let path = self.folder.path().join("events.ndjson");
        std::fs::write(&path, (0..count).map(line).collect::<String>()).unwrap();
        self.human(&["publish", path.to_str().unwrap()])
    }
}

#[test]
fn a_topic_is_made_shown_changed_and_deleted() {
    let mut world = World::start();
    let made =
        world.human(&["topic", "create", "orders", "--partitions", "3", "--retention", "30d"]).succeeded();
    assert_eq!(made, "created orders: 3 partitions, retention 30d, cleanup delete\n");
    world
        .human(&["topic", "create", "prices", "--cleanup-policy", "compact", "--retention-bytes", "10GiB"])
        .succeeded();
    let list = world.human(&["topic", "list"]).succeeded();
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..2], ["TOPIC", "PARTITIONS"]);
    assert_eq!((rows[1][0], rows[1].last()), ("events", Some(&"events")));
    assert_eq!(rows[2][..3], ["orders", "3", "0"]);
    assert!(list.lines().nth(3).unwrap().contains("at most 10GiB"), "{list}");
    assert_eq!(world.human(&["topic", "list", "--names"]).succeeded(), "events\norders\nprices\n");
    let lines = world.server.client(&["topic", "list", "--internal"]).json_lines();
    assert_eq!((lines.len(), &lines[2]["cleanup_policy"]), (3, &json!("compact")), "{lines:?}");
    assert!(!list.contains('\u{1b}'), "colours are for terminals");

    let altered =
        world.human(&["topic", "alter", "orders", "--retention", "none", "--partitions", "24"]).succeeded();
    assert_eq!(altered, "altered orders: 24 partitions, retention none, cleanup delete\n");
    let before = world.json(&["topic", "describe", "orders"]);
    assert_eq!((&before["retention_ms"], &before["partitions"]), (&Value::Null, &json!(24)));
    // What was altered is still so after a crash.
    let data = world.folder.path().join("data");
    world.server.kill();
    world.server = Server::start(&data);
    let after = world.json(&["topic", "describe", "orders"]);
    assert_eq!((&after["retention_ms"], &after["offsets"]), (&Value::Null, &before["offsets"]));

    let asked = world.human(&["topic", "delete", "orders"]);
    assert_eq!(asked.code, Some(1), "nobody is there to answer: {asked:?}");
    assert!(asked.err.contains("--yes"), "{asked:?}");
    let deleted = world.json(&["topic", "delete", "orders", "--yes"]);
    assert_eq!(deleted, json!({"deleted": "orders", "records": 0}));
    let gone = world.human(&["topic", "describe", "orders"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.err.contains("there is no topic 'orders' (unknown_topic, status 404)"), "{gone:?}");
}

#[test]
fn names_are_completed_from_the_server() {
    let world = World::start();
    for topic in ["orders", "order-lines", "prices"] {
        world.human(&["topic", "create", topic]).succeeded();
    }
    let zsh = run(["completions", "zsh"]).succeeded();
    assert!(zsh.starts_with("#compdef dualstream\n") && zsh.contains("Its name:_dualstream_topics"));
    let program = env!("CARGO_BIN_EXE_dualstream");
    let mut script = run(["completions", "bash"]).succeeded();
    script += r#"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _dualstream_and_topics "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}""#;
    let complete = |words: &[&str]| {
        let mut bash = std::process::Command::new("bash");
        bash.env("DUALSTREAM_SERVER", world.server.url()).args(["-c", &script, "bash", program]).args(words);
        String::from_utf8(bash.output().unwrap().stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["topic", "describe", "or"]), "order-lines orders");
    assert_eq!(complete(&["--output", "json", "topic", "delete", ""]), "events order-lines orders prices");
    assert_eq!(complete(&["topic", "delete", "--y"]), "--yes");
    assert_eq!(complete(&["topic", "des"]), "describe");
}

#[test]
fn partitions_are_drawn_and_their_number_is_kept_unless_forced() {
    let world = World::start();
    world.publish(600, 90).succeeded();
    let shown = world.human(&["topic", "describe", "events"]).succeeded();
    assert!(
        shown.contains("  records         600\n") && shown.contains("  namespaces      events\n"),
        "{shown}"
    );
    let bars: Vec<usize> =
        shown.lines().map(|line| line.matches('█').count()).filter(|&count| count > 0).collect();
    assert_eq!((bars.len(), bars.iter().max()), (12, Some(&32)), "{shown}");
    let refused = world.human(&["topic", "alter", "events", "--partitions", "24"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("keyed_topic") && refused.err.contains("\nhelp: force it"), "{refused:?}");
    let forced = world.server.client(&["topic", "alter", "events", "--partitions", "24", "--force"]);
    assert_eq!(forced.json_lines()[0]["partitions"], 24);
    let warned = world.human(&["topic", "alter", "events", "--retention", "1d"]);
    assert!(warned.code == Some(0) && warned.err.contains("warning: a namespace stores"), "{warned:?}");
    // Every record is still there, at its old offset.
    assert_eq!(world.server.client(&["replay", "events:*"]).json_lines().len(), 600);
}

#[test]
fn what_is_trimmed_is_gone_also_after_a_crash() {
    let mut world = World::start();
    world.publish(600, 90).succeeded();
    let events = world.server.client(&["replay", "events:s:k7"]).json_lines();
    let kept = events[3]["position"].as_str().unwrap();
    let absent = world.human(&["topic", "trim", "absent", "--before", kept]);
    assert!(absent.code == Some(1) && absent.err.contains("unknown_topic"), "not asked: {absent:?}");
    let asked = world.human(&["topic", "trim", "events", "--before", kept]);
    assert!(asked.code == Some(1) && asked.err.contains("--yes"), "{asked:?}");
    let trimmed = world.human(&["topic", "trim", "events", "--before", kept, "--yes"]).succeeded();
    assert!(trimmed.starts_with("trimmed events: ") && trimmed.ends_with(" left\n"), "{trimmed}");
    let left = || world.server.client(&["replay", "events:s:k7"]).json_lines();
    assert_eq!(left(), events[3..]);
    let data = world.folder.path().join("data");
    let all = world.json(&["topic", "trim", "events", "--before", "latest", "--yes"]);
    assert_eq!((&all["records"], all["trimmed"].as_u64().unwrap() > 500), (&json!(0), true));
    world.server.kill();
    world.server = Server::start(&data);
    assert_eq!(world.json(&["topic", "describe", "events"])["records"], 0);
    let wrong = world.human(&["topic", "trim", "events", "--before", "yesterday", "--yes"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("before"), "{wrong:?}");
}

/// A `subscribe` that is ended with the value.
struct Follower {
    child: Child,
    out: Lines,
    err: Lines,
}

impl Follower {
    fn start(world: &World, channel: &str) -> Follower {
        let url = world.server.url();
        let args = ["--server", &url, "--output", "json", "subscribe", channel, "--since", "earliest"];
        let mut child = dualstream().args(args).spawn().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Follower { child, out, err }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_events_of_a_deleted_topic_are_told_to_be_gone() {
    let world = World::start();
    world.publish(60, 9).succeeded();
    let mut follower = Follower::start(&world, "events:*");
    (0..60).for_each(|_| drop(follower.out.until("\"data\"")));
    let refused = world.human(&["topic", "delete", "events"]);
    assert!(refused.code == Some(1) && refused.err.contains("namespace 'events'"), "{refused:?}");
    world.human(&["topic", "delete", "events", "--yes", "--force"]).succeeded();
    let nowhere = world.publish(1, 1);
    assert!(nowhere.code == Some(1) && nowhere.err.contains("unknown_topic"), "{nowhere:?}");
    world.human(&["topic", "create", "events"]).succeeded();
    let told = follower.err.until("can no longer be had");
    assert!(told.contains("epoch"), "{told}");
    // The same events again are new: they went with the topic.
    assert!(world.publish(3, 1).succeeded().starts_with("stored 3,"));
    follower.out.until("\"data\":2,");
    let channels = world.human(&["replay", "events:*"]).succeeded();
    assert_eq!(channels.lines().count(), 3, "{channels}");
}

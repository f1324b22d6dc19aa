//! The client commands against a real server.

use crate::feed::Feed;
use crate::program::{Outcome, dualstream, finish, run};
use crate::server::{Lines, Server};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

struct World {
    folder: TempDir,
    server: Server,
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&folder.path().join("data"));
        World { folder, server }
    }

    fn file(&self, text: &str) -> String {
        let path = self.folder.path().join("events.ndjson");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn json(&self, args: &[&str]) -> Outcome {
        self.server.client(args)
    }

    fn human(&self, args: &[&str]) -> Outcome {
        run(["--server", &self.server.url()].iter().chain(args))
    }
}

fn line(source: &str, data: impl std::fmt::Display) -> String {
    format!("{{\"type\":\"t\",\"source_type\":\"s\",\"source_id\":\"{source}\",\"data\":{data}}}\n")
}

fn summary(stored: u64, duplicates: u64, failed: u64, unsent: u64) -> Value {
    json!({"stored": stored, "duplicates": duplicates, "failed": failed, "unsent": unsent})
}

#[test]
fn one_event_from_flags() {
    let world = World::start();
    let flags = ["publish", "--type", "greeting", "--source-type", "user", "--source-id", "octocat"];
    let more = ["--id", "one", "--time", "2026-11-21T08:00:00Z", "--data", "{\"text\":\"hi\"}"];
    let args = [&flags[..], &more[..]].concat();
    let receipt = &world.json(&args).json_lines()[0];
    assert_eq!((&receipt["id"], &receipt["channel"]), (&"one".into(), &"events:user:octocat".into()));
    let people = world.human(&args).succeeded();
    let position = receipt["position"].as_str().unwrap();
    assert_eq!(people, format!("was stored before  events:user:octocat  one  position {position}\n"));
    let made = &world.json(&flags).json_lines()[0];
    assert_eq!(made["id"].as_str().map(str::len), Some(36), "a UUID: {made}");
    let events = world.json(&["replay", "events:user:octocat"]).json_lines();
    assert_eq!(events[0]["data"], json!({"text": "hi"}));
    assert_eq!(events[0]["time"], "2026-11-21T08:00:00Z");
    assert_eq!(events[1]["data"], Value::Null);
    let other = [&flags[..], &["--id", "one", "--data", "2"]].concat();
    let conflict = world.human(&other);
    assert_eq!(conflict.code, Some(1));
    assert!(conflict.err.contains("id_conflict") && conflict.err.contains("id one"), "{conflict:?}");
}

#[test]
fn a_file_again_stores_nothing_twice() {
    let world = World::start();
    // Equal lines are different events.
    let file = world.file(&[line("a", 1), line("b", 2), line("a", 1), "\n".into(), line("a", 3)].concat());
    assert_eq!(world.json(&["publish", &file]).json_lines()[0], summary(4, 0, 0, 0));
    assert_eq!(world.json(&["publish", &file]).json_lines()[0], summary(0, 4, 0, 0));
    assert_eq!(world.human(&["publish", &file]).succeeded(), "stored 0, duplicates 4, failed 0\n");
    let longer = world.file(&[fs::read_to_string(&file).unwrap(), line("a", 1)].concat());
    assert_eq!(world.json(&["publish", &longer]).json_lines()[0], summary(1, 4, 0, 0));
    let of_a: Vec<Value> = world
        .json(&["replay", "events:s:a"])
        .json_lines()
        .iter()
        .map(|event| event["data"].clone())
        .collect();
    assert_eq!(of_a, [1, 1, 3, 1]);
}

#[test]
fn a_pipe_is_published_as_it_comes() {
    let world = World::start();
    let mut subscriber = Subscriber::start(&world, &["events:s:*", "--count", "2"]);
    let mut command = dualstream();
    command.args(["--server", &world.server.url(), "--output", "json", "publish", "-"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    for number in [1, 2] {
        std::io::Write::write_all(&mut pipe, line("a", number).as_bytes()).unwrap();
        subscriber.lines.until(&format!("\"data\":{number}"));
    }
    drop(pipe);
    assert_eq!(finish(child).json_lines()[0], summary(2, 0, 0, 0));
    assert_eq!(finish(subscriber.child).code, Some(0));
    let events = world.json(&["replay", "events:*"]).json_lines();
    assert!(events.iter().all(|event| event["id"].as_str().unwrap().len() == 36), "UUIDs: {events:?}");
}

#[test]
fn cloudevents_are_lines_too() {
    let world = World::start();
    let cloud =
        r#"{"specversion":"1.0","type":"t","source":"/s/cloud","id":"c1","data":{"a":1},"subject":"x"}"#;
    let no_id = r#"{"specversion":"1.0","type":"t","source":"/s/cloud","data":2}"#;
    let file = world.file(&format!("{}{cloud}\n{no_id}\n{}", line("plain", 1), line("plain", 2)));
    assert_eq!(world.json(&["publish", &file]).json_lines()[0], summary(4, 0, 0, 0));
    assert_eq!(world.json(&["publish", &file]).json_lines()[0], summary(0, 4, 0, 0));
    let events = world.json(&["replay", "events:s:cloud"]).json_lines();
    assert_eq!(
        (&events[0]["id"], &events[0]["data"], &events[1]["data"]),
        (&"c1".into(), &json!({"a": 1}), &2.into())
    );
}

#[test]
fn a_bad_cloudevent_stops_no_other() {
    let world = World::start();
    let cloud = |id: &str, source: &str, data: u64| {
        format!(
            "{{\"specversion\":\"1.0\",\"type\":\"t\",\"source\":\"{source}\",\"id\":\"{id}\",\"data\":{data}}}\n"
        )
    };
    world.json(&["publish", &world.file(&cloud("1", "/s/cloud", 1))]).succeeded();
    let lines = [
        cloud("1", "/s/cloud", 1),
        cloud("2", "nowhere", 2),
        cloud("3", "/s/cloud", 3),
        cloud("1", "/s/cloud", 4),
        cloud("5", "/S!/cloud", 5),
        cloud("6", "/s/cloud", 6),
    ];
    let outcome = world.json(&["publish", &world.file(&lines.concat())]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap(), summary(2, 1, 3, 0), "{outcome:?}");
    for told in ["line 2: ", "line 4: ", "line 5: ", "id_conflict"] {
        assert!(outcome.err.contains(told), "{told:?} is not in {outcome:?}");
    }
    let data = world.json(&["replay", "events:s:cloud"]).json_lines();
    assert_eq!(data.iter().map(|event| event["data"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3, 6]);
}

#[test]
fn a_bad_line_is_told_by_its_number_and_stops_no_other() {
    let world = World::start();
    let bad = ["not json\n", "{\"type\":\"t\"}\n", "[]\n", "{\"id\":null}\n"];
    let file = world.file(&[&line("a", 1), bad[0], bad[1], "\n", &line("a", 2), bad[2], bad[3]].concat());
    let outcome = world.json(&["publish", &file]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap(), summary(2, 0, 4, 0));
    let told: Vec<&str> = outcome.err.lines().filter_map(|line| line.split(':').next()).collect();
    let mut numbers: Vec<&str> = told.iter().filter_map(|text| text.strip_prefix("line ")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["2", "3", "6", "7"], "{outcome:?}");
    assert!(outcome.err.contains("error: 4 lines were not stored"), "{outcome:?}");
    assert_eq!(world.json(&["replay", "events:*"]).json_lines().len(), 2);
}

#[test]
fn a_publisher_that_gives_up_counts_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    let lines: String = (0..1234).map(|number| line("a", number)).collect();
    fs::write(&file, format!("{lines}not json\n")).unwrap();
    // Nobody listens there: the port was just given back.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    let args = ["--server", &url, "publish", "--patience", "0"];
    let file = file.to_str().unwrap();
    let outcome = run(["--output", "json"].iter().chain(&args).chain(&[file]));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap(), summary(0, 0, 500, 735));
    let people = run(args.iter().chain(&[file]));
    assert_eq!(people.out, "stored 0, duplicates 0, failed 500, not sent 735\n");
    assert!(people.err.contains("gave up: lines 1 to 500 are not known to be stored"), "{people:?}");
    // Of a pipe nobody knows how much more there is.
    let mut child = dualstream().args(args).arg("-").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut pipe, line("a", 1).as_bytes()).unwrap();
    crate::program::wait(&mut child);
    drop(pipe);
    assert_eq!(finish(child).out, "stored 0, duplicates 0, failed 1, not sent: the rest of the input\n");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let outcome = run(["publish", "no/such/file"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("cannot open no/such/file"), "{outcome:?}");
}

/// A running `subscribe`.
struct Subscriber {
    child: std::process::Child,
    lines: Lines,
}

impl Subscriber {
    /// Starts it and waits until the server has its subscription.
    fn start(world: &World, args: &[&str]) -> Subscriber {
        let before = subscriptions(world);
        let mut command = dualstream();
        command.args(["--server", &world.server.url(), "--output", "json", "subscribe"]).args(args);
        let mut child = command.spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        while subscriptions(world) <= before {
            std::thread::yield_now();
        }
        Subscriber { child, lines }
    }
}

/// How many subscriptions the server has, from its metrics.
fn subscriptions(world: &World) -> u64 {
    let mut socket = std::net::TcpStream::connect(world.server.address).unwrap();
    std::io::Write::write_all(
        &mut socket,
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let mut page = String::new();
    std::io::Read::read_to_string(&mut socket, &mut page).unwrap();
    let metric = page.lines().find_map(|line| line.strip_prefix("dualstream_subscriptions "));
    metric.unwrap_or_else(|| panic!("{page}")).trim().parse().unwrap()
}

#[test]
fn subscribe_follows_and_begins_where_it_is_told() {
    let world = World::start();
    let mut now = Subscriber::start(&world, &["events:s:a", "events:s:b", "--reliable"]);
    let file = world.file(&[line("a", 1), line("b", 2), line("c", 3), line("a", 4)].concat());
    world.json(&["publish", &file]).succeeded();
    now.lines.until("\"data\":1");
    now.lines.until("\"data\":4");
    now.child.kill().unwrap();
    now.child.wait().unwrap();
    let data = |args: &[&str]| -> Vec<u64> {
        let events = world.json(args).json_lines();
        let mut data: Vec<u64> = events.iter().map(|event| event["data"].as_u64().unwrap()).collect();
        data.sort_unstable();
        data
    };
    assert_eq!(data(&["subscribe", "events:*", "--since", "earliest", "--count", "4"]), [1, 2, 3, 4]);
    assert_eq!(data(&["subscribe", "events:s:a", "--recent", "1", "--count", "1"]), [4]);
    let events = world.json(&["replay", "events:s:a"]).json_lines();
    let first = events[0]["position"].as_str().unwrap();
    assert_eq!(data(&["subscribe", "events:s:a", "--since", first, "--count", "1"]), [4]);
    let people = world.human(&["subscribe", "events:s:b", "--since", "earliest", "--count", "1"]).succeeded();
    assert!(people.contains("  s:b  t  ") && people.ends_with("  2\n"), "{people}");
}

/// `unrecoverable` is what a stream says itself when events are lost; an event may be called so too.
#[test]
fn an_event_may_have_the_type_unrecoverable() {
    let world = World::start();
    let lost = line("a", 1).replace("\"t\"", "\"unrecoverable\"");
    assert!(lost.contains("unrecoverable"), "{lost}");
    world.json(&["publish", &world.file(&lost)]).succeeded();
    for args in
        [&["subscribe", "events:s:a", "--since", "earliest", "--count", "1"][..], &["replay", "events:s:a"]]
    {
        let outcome = world.json(args);
        assert!(!outcome.err.contains("no longer"), "{outcome:?}");
        let events = outcome.json_lines();
        assert_eq!(
            (events.len(), &events[0]["type"], &events[0]["data"]),
            (1, &"unrecoverable".into(), &1.into())
        );
    }
    let mut live = Subscriber::start(&world, &["events:s:b", "--live", "--count", "1"]);
    world.json(&["publish", &world.file(&lost.replace("\"a\"", "\"b\""))]).succeeded();
    live.lines.until("\"type\":\"unrecoverable\"");
    assert_eq!(finish(live.child).code, Some(0));
}

/// A server that tells of fewer events than it was sent leaves their outcome open, and whoever publishes is told.
#[test]
fn an_answer_that_leaves_events_out_is_no_success() {
    let cloud = r#"{"specversion":"1.0","id":"1","type":"t","source":"/s/a"}"#.to_owned() + "\n";
    for (lines, answer) in [
        (cloud.repeat(2), r#"[{"status":201}]"#),
        (cloud.clone(), r#"[{"status":201},{"status":201}]"#),
        ([line("a", 1), line("a", 2)].concat(), r#"{"stored":1,"duplicates":0,"failures":[]}"#),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
            let mut request = [0; 4 << 10];
            assert!(std::io::Read::read(&mut socket, &mut request).unwrap() > 0);
            std::io::Write::write_all(&mut socket, head.as_bytes()).unwrap();
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.ndjson");
        std::fs::write(&file, lines).unwrap();
        let outcome = run(["--server", &url, "publish", file.to_str().unwrap()]);
        server.join().unwrap();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.err.contains("is not understood: it tells of"), "{outcome:?}");
        assert!(outcome.err.contains("not known to be stored"), "{outcome:?}");
    }
}

#[test]
fn subscribe_live_prints_announcements() {
    let world = World::start();
    let mut live = Subscriber::start(&world, &["events:s:a", "--live", "--count", "1"]);
    world.json(&["publish", &world.file(&line("a", 1))]).succeeded();
    let announcement: Value = serde_json::from_str(&live.lines.until("position")).unwrap();
    assert_eq!((&announcement["source_id"], &announcement["data"]), (&"a".into(), &Value::Null));
    assert_eq!(finish(live.child).code, Some(0));
}

#[test]
fn subscribe_says_why_it_cannot() {
    let world = World::start();
    for (args, told) in [
        (&["subscribe", "nowhere:x"][..], "unknown_channel"),
        (&["subscribe", "events:*", "--since", "whenever"], "since"),
        (&["replay", "events:s:a*b*"], "channel"),
    ] {
        let outcome = world.human(args);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.err.starts_with("error: ") && outcome.err.contains(told), "{outcome:?}");
    }
}

#[test]
fn replay_prints_what_there_is_and_ends() {
    let world = World::start();
    let many: String = (0..700).map(|number| line(&format!("s{}", number % 20), number)).collect();
    world.json(&["publish", &world.file(&many)]).succeeded();
    let events = world.json(&["replay", "events:*"]).json_lines();
    let mut data: Vec<u64> = events.iter().map(|event| event["data"].as_u64().unwrap()).collect();
    data.sort_unstable();
    assert_eq!(data, (0..700).collect::<Vec<_>>());
    let one = world.json(&["replay", "events:s:s3"]).json_lines();
    assert_eq!(
        one.iter().map(|event| event["data"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..35).map(|i| 20 * i + 3).collect::<Vec<_>>()
    );
    let (second, fourth) = (one[1]["position"].as_str().unwrap(), one[3]["position"].as_str().unwrap());
    let some = world.json(&["replay", "events:s:s3", "--since", second, "--until", fourth]).json_lines();
    assert_eq!(some, one[2..4]);
    assert_eq!(world.json(&["replay", "events:s:s3", "--since", "latest"]).succeeded(), "");
    let people = world.human(&["replay", "events:s:s3"]).succeeded();
    assert_eq!(people.lines().count(), 35);
    assert!(people.lines().next().unwrap().contains("  s:s3  t  "), "{people}");
}

#[test]
fn a_reader_that_goes_away_ends_a_replay_quietly() {
    let world = World::start();
    let many: String = (0..700).map(|number| line("a", number)).collect();
    world.json(&["publish", &world.file(&many)]).succeeded();
    for command in [&["replay", "events:*"][..], &["subscribe", "events:*", "--since", "earliest"]] {
        let mut child = dualstream().args(["--server", &world.server.url()]).args(command).spawn().unwrap();
        drop(child.stdout.take());
        let outcome = finish(child);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{command:?}");
    }
}

#[test]
fn a_named_pipe_gets_ids_like_a_file() {
    let world = World::start();
    let file = world.file(&[line("a", 1), line("a", 1)].concat());
    let feed = Feed::start(&world.server.url());
    feed.give(&[line("a", 1).trim_end().to_owned(), line("a", 1).trim_end().to_owned()]);
    assert_eq!(feed.finish().json_lines()[0], summary(2, 0, 0, 0));
    assert_eq!(world.json(&["publish", &file]).json_lines()[0], summary(0, 2, 0, 0));
}

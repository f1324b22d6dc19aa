//! The main job: whatever is published arrives at a browser exactly once and in order, while the server is killed under
//! it. Publisher and reader know nothing of the kills: one tries again with the same ids, the other resumes after the
//! last id it saw.
//!
//! What is in flight at a kill is said at each test. The process is killed, not the machine: that what was answered is
//! on the disk, not just in its cache, is the simulator's to show.

use crate::browser;
use crate::event_source::EventSource;
use crate::feed::Feed;
use crate::program::{dualstream, finish};
use crate::server::Server;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tempfile::TempDir;

const FILE: &str = browser::EVENTS;
const EVENTS: usize = 273;

/// The events of the file.
fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(FILE).unwrap_or_else(|error| {
        panic!("this test publishes the events in {FILE}, and cannot read it: {error}")
    });
    let lines: Vec<String> = text.lines().map(String::from).collect();
    assert_eq!(lines.len(), EVENTS);
    lines
}

/// A server that is killed again and again, and a browser.
struct Job {
    data: TempDir,
    server: Option<Server>,
    browser: EventSource,
    seen: Vec<Value>,
}

impl Job {
    fn start() -> Job {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path());
        let browser = EventSource::open(server.address, "/v1/stream?channel=events:*");
        Job { data, server: Some(server), browser, seen: Vec::new() }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Reads until so many events came.
    fn read_until(&mut self, count: usize) {
        while self.seen.len() < count {
            let message = self.browser.next().expect("the server runs");
            self.take(&message.event, &message.data);
        }
    }

    fn take(&mut self, event: &str, data: &str) {
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["type"], event, "{data}");
        self.seen.push(value);
    }

    /// A crash after which the browser is back as soon as the server is.
    fn crash(&mut self, loses_rest: bool) {
        self.crash_without_browser(loses_rest);
        self.browser.connect();
    }

    /// `kill -9`, and a new server on the same port and directory. `loses_rest`: what was on its way to the browser at
    /// the kill is lost, as with the machine that sent it.
    fn crash_without_browser(&mut self, loses_rest: bool) {
        let server = self.server.take().unwrap();
        let address = server.address;
        server.kill();
        if loses_rest {
            self.browser.disconnect();
        }
        while let Some(message) = self.browser.next() {
            self.take(&message.event, &message.data);
        }
        self.server = Some(Server::start_with(self.data.path(), &address.to_string(), &[]));
    }

    /// Everything arrived exactly once, in order, and the history says the same.
    fn check(mut self, lines: &[String]) {
        let again = self.server().client(&["publish", FILE]).json_lines();
        assert_eq!(
            again[0],
            serde_json::json!({"stored": 0, "duplicates": EVENTS, "failed": 0, "unsent": 0})
        );
        self.read_until(EVENTS);
        let history = self.server().client(&["replay", "events:*"]).json_lines();
        self.read_end_of_every_source();
        let wanted = by_source(lines.iter().map(|line| serde_json::from_str(line).unwrap()));
        assert_eq!(by_source(self.seen.iter().cloned()), wanted, "what the browser saw");
        assert_eq!(by_source(history.iter().cloned()), wanted, "what the history says");
        assert_eq!(ids(&self.seen), ids(&history));
        assert_eq!((ids(&self.seen).len(), self.seen.len(), history.len()), (EVENTS, EVENTS, EVENTS));
    }

    /// One more event for each source, which comes after all others of it: nothing is still on its way.
    fn read_end_of_every_source(&mut self) {
        let sources: BTreeSet<(String, String)> = self.seen.iter().map(source).collect();
        let feed = Feed::start(&self.server().url());
        for (source_type, source_id) in &sources {
            let end = serde_json::json!({
                "type": "end", "source_type": source_type, "source_id": source_id, "data": null
            });
            feed.give(&[end.to_string()]);
        }
        feed.finish().succeeded();
        let before = self.seen.len();
        self.read_until(before + sources.len());
        let ends = self.seen.split_off(before);
        assert!(ends.iter().all(|event| event["type"] == "end"), "{ends:#?}");
    }
}

fn source(event: &Value) -> (String, String) {
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    (text("source_type"), text("source_id"))
}

/// Types and contents of each source, in order.
fn by_source(events: impl Iterator<Item = Value>) -> BTreeMap<(String, String), Vec<(Value, Value)>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        found.entry(source(&event)).or_default().push((event["type"].clone(), event["data"].clone()));
    }
    found
}

fn ids(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Everything a publisher was given became one stored event; what it asked again for is a duplicate.
fn check_summary(summary: &Value) {
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!((count("stored") + count("duplicates"), count("failed")), (EVENTS as u64, 0), "{summary}");
}

/// The whole file at once, in requests of half a MiB. At the kill any part of it may be under way, and late ones may meet
/// a publisher that is done: nothing holds it back.
#[test]
fn the_server_is_killed_while_a_file_is_published() {
    let lines = lines();
    for after in [0, 1, 29, 137, 240, 272] {
        let mut job = Job::start();
        let url = job.server().url();
        let publisher =
            dualstream().args(["--server", &url, "--output", "json", "publish", FILE]).spawn().unwrap();
        job.read_until(after);
        job.crash(after % 2 == 1);
        check_summary(&finish(publisher).json_lines()[0]);
        job.check(&lines);
    }
}

/// Line by line, so that the kill is certainly in the middle: the events before it have arrived, at most their answers
/// are under way, and the publisher finds the server gone for all that follow. The browser comes back when the publisher
/// is done.
#[test]
fn the_server_is_killed_between_lines() {
    let lines = lines();
    for after in [1, 58, 136, 201, 272] {
        let mut job = Job::start();
        let feed = Feed::start(&job.server().url());
        feed.give(&lines[..after]);
        job.read_until(after);
        job.crash_without_browser(false);
        assert_eq!(job.seen.len(), after, "nothing more was given to the publisher");
        feed.give(&lines[after..]);
        check_summary(&feed.finish().json_lines()[0]);
        job.browser.connect();
        job.read_until(EVENTS);
        job.check(&lines);
    }
}

/// Twenty kills, each while the next thirteen lines are on their way; every other one also loses what was sent to the
/// browser and not read.
#[test]
fn the_server_is_killed_twenty_times() {
    let lines = lines();
    let mut job = Job::start();
    let feed = Feed::start(&job.server().url());
    let (pieces, rest) = lines.split_at(20 * 13);
    for (kill, piece) in pieces.chunks(13).enumerate() {
        feed.give(piece);
        job.read_until(13 * kill + 1 + kill * 5 % 12);
        job.crash(kill % 2 == 1);
    }
    feed.give(rest);
    job.read_until(EVENTS);
    check_summary(&feed.finish().json_lines()[0]);
    job.check(&lines);
}

/// Everything at once, in a real browser: the page, an `EventSource`, and the public SDK on a pattern and on a channel. The
/// server is killed twice, and the network of the SDK on the pattern is cut: first nothing passes, and nobody is told; then
/// its connections end and new ones lead nowhere; then it is mended. `crates/gateway/tests/js/main_job.mjs` is the test.
#[test]
fn everyone_sees_everything_once_while_the_server_is_killed_and_a_network_is_cut() {
    browser::run("main_job.mjs");
}

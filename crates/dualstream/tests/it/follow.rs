//! `dualstream subscribe` over servers that come and go.

use crate::program::{PATIENCE, dualstream, finish, run, signal, wait};
use crate::server::{Lines, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;

/// An address nobody listens on.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

struct Follower {
    child: Child,
    out: Lines,
    err: Lines,
    events: Vec<Value>,
}

impl Follower {
    fn start(servers: &[&str], args: &[&str]) -> Follower {
        let mut command = dualstream();
        command.args(["--output", "json", "subscribe"]).args(args);
        for address in servers {
            command.args(["--server", &format!("http://{address}")]);
        }
        let mut child = command.spawn().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Follower { child, out, err, events: Vec::new() }
    }

    /// Waits until so many events were printed in all.
    fn until(&mut self, count: usize) {
        while self.events.len() < count {
            self.events.push(serde_json::from_str(&self.out.until("")).unwrap());
        }
    }

    /// Ends it as Ctrl-C does; its last word.
    fn interrupt(mut self) -> (Vec<Value>, String) {
        signal(self.child.id(), "INT");
        let word = self.err.until("stopped after");
        assert_eq!(wait(&mut self.child).code(), Some(0));
        let rest = self.out.rest();
        self.events.extend(rest.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        (self.events, word)
    }
}

/// Publishes the events `from..until` of fifty sources.
fn publish(folder: &Path, server: &Server, from: usize, until: usize) {
    let line = |n| {
        let source = n * 7 % 50;
        format!(
            "{{\"id\":\"i{n}\",\"type\":\"t\",\"source_type\":\"s\",\"source_id\":\"k{source}\",\"data\":{n}}}\n"
        )
    };
    let path = folder.join("events.ndjson");
    std::fs::write(&path, (from..until).map(line).collect::<String>()).unwrap();
    run(["--server", &server.url(), "publish", path.to_str().unwrap()]).succeeded();
}

#[test]
fn the_next_server_goes_on_where_the_last_one_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let addresses = [free_address(), free_address()];
    let [first, second] = [addresses[0].as_str(), addresses[1].as_str()];
    let mut server = Server::start_with(&data, second, &[]);
    publish(folder.path(), &server, 0, 2_000);
    let mut follower = Follower::start(&[first, second], &["events:*", "--since", "earliest"]);
    follower.err.until("not connected yet");
    follower.err.until(&format!("connected to http://{second}"));
    let mut published = 2_000;
    for round in 0..4 {
        // Killed while it sends.
        follower.until(published - 1_200);
        server.kill();
        follower.err.until("connection lost");
        let listen = [first, second][round % 2];
        server = Server::start_with(&data, listen, &[]);
        publish(folder.path(), &server, published, published + 1_500);
        published += 1_500;
        let found = follower.err.until(&format!("connected to http://{listen}"));
        assert!(found.contains("going on after the last event"), "{found}");
    }
    follower.until(published);
    let (events, word) = follower.interrupt();
    assert!(word.contains(&format!("stopped after {},000 events", published / 1000)), "{word}");

    // Every event once, those of a source in order.
    let mut by_source: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in &events {
        let source = event["source_id"].as_str().unwrap();
        by_source.entry(source).or_default().push(event["data"].as_u64().unwrap());
    }
    assert_eq!((events.len(), by_source.len()), (published, 50));
    for (source, data) in by_source {
        let expected: Vec<u64> =
            (0..published as u64).filter(|n| format!("k{}", n * 7 % 50) == source).collect();
        assert_eq!(data, expected, "{source}");
    }

    // The last word is where to go on.
    let token = word.split("--since ").nth(1).unwrap().trim();
    publish(folder.path(), &server, published, published + 3);
    let args = ["subscribe", "events:*", "--since", token, "--count", "3"];
    let mut rest: Vec<u64> =
        server.client(&args).json_lines().iter().map(|event| event["data"].as_u64().unwrap()).collect();
    rest.sort_unstable();
    let published = published as u64;
    assert_eq!(rest, [published, published + 1, published + 2]);
}

#[test]
fn without_any_server_it_gives_up_and_says_why() {
    let servers = [free_address(), free_address()];
    let [one, two] = servers.each_ref().map(|address| format!("http://{address}"));
    let args = ["subscribe", "events:*", "--patience", "1", "--server", &one, "--server", &two];
    let outcome = run(args);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.err.contains("trying 2 servers in turn") && outcome.err.contains("\nerror: no answer from")
    );
    let several = run(["topic", "list", "--server", &one, "--server", &two]);
    assert_eq!(several.code, Some(2), "{several:?}");
    assert!(several.err.contains("only `subscribe` takes several servers"), "{several:?}");
    // In the environment they are for `subscribe`; the others ask the first.
    let listed = format!("{one},{two}");
    let several = dualstream().env("DUALSTREAM_SERVER", listed).args(["topic", "list"]).spawn().unwrap();
    let several = finish(several);
    let told = format!("no answer from {one}");
    assert!(several.code == Some(1) && several.err.contains(&told), "{several:?}");
}

#[test]
fn an_interrupt_ends_it_also_while_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    publish(folder.path(), &server, 0, 5_000);
    let args = ["--server", &server.url(), "subscribe", "events:*", "--since", "earliest"];
    let mut child = dualstream().args(args).spawn().unwrap();
    // Nobody reads more than the beginning: it stops in the middle of a write, and the second signal is the way out.
    let mut held = child.stdout.take().unwrap();
    held.read_exact(&mut [0; 10]).unwrap();
    let begin = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "it does not end");
        signal(child.id(), "INT");
        std::thread::yield_now();
    }
    assert!(matches!(child.wait().unwrap().code(), Some(0 | 130)));
    drop(held);
}

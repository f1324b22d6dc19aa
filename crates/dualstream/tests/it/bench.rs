//! `dualstream bench` against a real server: what it counts is exact.

use crate::program::{PATIENCE, dualstream, finish, run, signal};
use crate::server::{Lines, Server};
use serde_json::Value;
use std::time::Instant;

fn start() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    (folder, server)
}

fn bench(server: &Server, args: &str) -> Value {
    let args: Vec<&str> = ["bench"].into_iter().chain(args.split(' ')).collect();
    server.client(&args).json_lines().remove(0)
}

/// What `/metrics` says of a counter.
fn metric(server: &Server, name: &str) -> u64 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

#[test]
fn every_event_reaches_every_subscriber_and_is_counted_once() {
    let (_folder, server) = start();
    for args in [
        "fan-out --subscribers 40 --channels 1 --duration 300ms --warm-up 100ms --in-flight 8",
        "fan-out --subscribers 48 --channels 24 --duration 300ms --warm-up 0s --rate 500 --connections 8",
    ] {
        let report = bench(&server, args);
        let (channels, subscribers) =
            (report["channels"].as_u64().unwrap(), report["subscribers"].as_u64().unwrap());
        let published = report["published_in_all"].as_u64().unwrap();
        let fan = subscribers / channels;
        assert!(published > 0, "{report}");
        assert_eq!(report["delivered_in_all"], published * fan, "{report}");
        for none in ["missing", "wrong", "failed", "connections_lost"] {
            assert_eq!(report[none], 0, "{none}: {report}");
        }
        let latency = &report["latency_us"];
        let at = |name: &str| latency[name].as_f64().unwrap();
        assert!(at("p50") > 0.0 && at("p50") <= at("p99") && at("p99") <= at("max"), "{report}");
        assert!(latency["count"].as_u64().unwrap() <= published * fan, "{report}");
    }
    // Exactly what was counted is in the log.
    let acked = metric(&server, "dualstream_events_acked_total ");
    let report = bench(&server, "publish --duration 200ms --warm-up 0s --connections 4");
    let published = report["published_in_all"].as_u64().unwrap();
    assert_eq!(metric(&server, "dualstream_events_acked_total ") - acked, published, "{report}");
}

#[test]
fn batches_are_counted_by_their_events() {
    let (_folder, server) = start();
    let report =
        bench(&server, "publish --batch 50 --rate 5000 --duration 300ms --warm-up 100ms --connections 2");
    let published = report["published_in_all"].as_u64().unwrap();
    assert!(published > 0 && published.is_multiple_of(50), "{report}");
    assert_eq!(metric(&server, "dualstream_events_acked_total "), published);
    assert_eq!((&report["failed"], &report["rate"]), (&0.into(), &5000.0.into()), "{report}");
}

#[test]
fn who_comes_back_recovers_everything_once() {
    let (_folder, server) = start();
    let filled = bench(&server, "replay --id again --clients 30 --channels 3 --events 7 --fill-only");
    assert_eq!(filled["delivered"], 0, "{filled}");
    assert_eq!(metric(&server, "dualstream_events_acked_total "), 21);
    for _ in 0..2 {
        let report = bench(&server, "replay --id again --clients 30 --channels 3 --events 7");
        assert_eq!(
            (&report["delivered"], &report["missing"], &report["wrong"]),
            (&210.into(), &0.into(), &0.into())
        );
    }
    assert_eq!(metric(&server, "dualstream_events_acked_total "), 21, "nothing is stored twice");
    // The last request that fills is of fewer events than the others.
    let report = bench(&server, "replay --clients 7 --channels 7 --events 100");
    assert_eq!(
        (&report["delivered"], &report["missing"], &report["wrong"]),
        (&700.into(), &0.into(), &0.into())
    );
    assert_eq!(metric(&server, "dualstream_events_acked_total "), 721, "no more than was asked for");
    // More than a reply to a recovery holds: the rest follows it.
    let report = bench(&server, "replay --clients 2 --channels 1 --events 1000 --size 400");
    assert_eq!(
        (&report["delivered"], &report["missing"], &report["wrong"]),
        (&2000.into(), &0.into(), &0.into())
    );
}

#[test]
fn a_server_of_its_own_and_a_picture_for_people() {
    let args = "bench fan-out --embedded --subscribers 10 --duration 200ms --warm-up 0s";
    let told = run(args.split(' ')).succeeded();
    for wanted in
        ["fan-out\n", "deliveries", "per CPU second", "latency from the intended send time", "█", "p99.9"]
    {
        assert!(told.contains(wanted), "{wanted:?} is not in {told}");
    }
}

#[test]
fn an_interrupt_prints_what_there_is() {
    let (_folder, server) = start();
    let mut command = dualstream();
    command.args(["--server", &server.url(), "--output", "json", "bench", "fan-out", "--subscribers", "5"]);
    let child = command.args(["--duration", "1h", "--warm-up", "0s"]).spawn().unwrap();
    let mut follow = dualstream();
    follow.args(["--server", &server.url(), "subscribe", "events:bench:*", "--count", "3"]);
    let mut seen = follow.spawn().unwrap();
    Lines::of(seen.stdout.take().unwrap()).until("bench");
    signal(child.id(), "INT");
    let report = finish(child).json_lines().remove(0);
    assert_eq!((&report["missing"], &report["wrong"]), (&0.into(), &0.into()), "{report}");
    assert!(
        report["published_in_all"].as_u64().unwrap() > 0 && report["seconds"].as_f64().unwrap() < 3_000.0
    );
    let _ = seen.kill();
    let _ = seen.wait();
}

/// Waits for what `find` gives.
fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        match find() {
            Some(found) => return found,
            None => assert!(begin.elapsed() < PATIENCE, "{what}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn no_signal_leaves_a_server_behind() {
    for (name, hangs, codes) in [("TERM", false, [0, 1]), ("INT", true, [130; 2]), ("TERM", true, [143; 2])] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = dualstream();
        command.env("TMPDIR", folder.path());
        command.args(["bench", "publish", "--embedded", "--duration", "1h", "--warm-up", "0s"]);
        let mut child = command.spawn().unwrap();
        // It measures when it is connected to its server.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let sockets = || {
            let files = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
            let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
            links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
        };
        until("it does not connect", || (sockets() > 30).then_some(()));
        let server: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        if hangs {
            // What it costs is asked of a server that does not answer: only the second signal ends that.
            signal(server, "STOP");
        }
        signal(child.id(), name);
        let ended = until("it does not end", || {
            let ended = child.try_wait().unwrap();
            if hangs && ended.is_none() {
                signal(child.id(), name);
            }
            ended
        });
        assert!(codes.contains(&ended.code().unwrap()), "{name} {hangs}: {ended}");
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "its directory went with it");
        assert!(!std::path::Path::new(&format!("/proc/{server}")).exists(), "its server went with it");
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (args, told) in [
        ("fan-out --subscribers 10 --channels 3", "no multiple"),
        ("publish --batch 10000 --size 500000", "bytes in one request"),
        ("publish --batch 2 --namespace chat", "namespace events"),
        ("publish --duration 200ms --warm-up 0s --server http://127.0.0.1:1", "no answer"),
        ("fan-out --server http://127.0.0.1:1", "subscriber 1 of 200"),
    ] {
        let outcome = run(["bench"].into_iter().chain(args.split(' ')));
        assert_eq!(outcome.code, Some(1), "{args}: {outcome:?}");
        assert!(outcome.err.contains(told), "{told:?} is not in {outcome:?}");
    }
    for args in [
        "fan-out --rate 0",
        "publish --size 5",
        "replay --events 0",
        "publish --duration 5",
        "replay --fill-only",
    ] {
        assert_eq!(run(["bench"].into_iter().chain(args.split(' '))).code, Some(2), "{args}");
    }
}

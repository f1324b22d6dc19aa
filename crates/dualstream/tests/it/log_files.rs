//! `dualstream log` on the files a real server left.

use crate::program::{Outcome, run};
use crate::server::{ANY, Server};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;

const EVENTS: usize = 50;

/// A data directory with events, and nobody who serves it.
fn directory() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let file = folder.path().join("events.ndjson");
    fs::write(&file, (0..EVENTS).map(|n| event_line(n, n % 7)).collect::<String>()).unwrap();
    server.client(&["publish", file.to_str().unwrap()]).succeeded();
    fs::remove_file(file).unwrap();
    server.stop();
    folder
}

fn event_line(n: usize, source: usize) -> String {
    let source = format!("source-{source}");
    let event = serde_json::json!({
        "id": format!("event-{n}"), "type": "t", "source_type": "s", "source_id": source, "data": n,
    });
    format!("{event}\n")
}

fn log(command: &str, dir: &Path, more: &[&str]) -> Outcome {
    let dir = dir.to_str().unwrap();
    run(["--output", "json", "log", command, "--data-dir", dir].iter().chain(more))
}

fn replayed(dir: &Path) -> usize {
    let server = Server::start(dir);
    let events = server.client(&["replay", "events:*"]).json_lines().len();
    server.stop();
    events
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let without_owner = files(dir).into_iter().filter(|path| !path.ends_with("lock"));
    without_owner.map(|path| (path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_sound_directory_is_verified_and_nothing_is_changed() {
    let folder = directory();
    let before = contents(folder.path());
    let report = &log("verify", folder.path(), &[]).json_lines()[0];
    assert_eq!((&report["sound"], &report["records"]), (&true.into(), &EVENTS.into()), "{report}");
    let people = run(["log", "verify", "--data-dir", folder.path().to_str().unwrap()]).succeeded();
    assert!(people.contains("50 records"), "{people}");
    assert_eq!(log("repair", folder.path(), &[]).json_lines()[0]["done"], serde_json::json!([]));
    assert!(contents(folder.path()) == before);
    assert_eq!(replayed(folder.path()), EVENTS);
}

#[test]
fn a_backup_is_a_directory_to_serve() {
    let (folder, target) = (directory(), tempfile::tempdir().unwrap());
    let copy = target.path().join("copy");
    let report = &log("backup", folder.path(), &[copy.to_str().unwrap()]).json_lines()[0];
    assert!(report["bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(log("verify", &copy, &[]).json_lines()[0]["records"], EVENTS);
    assert_eq!(replayed(&copy), EVENTS);
    let again = log("backup", folder.path(), &[copy.to_str().unwrap()]);
    assert_eq!(again.code, Some(1), "a backup does not write over another: {again:?}");
    assert_eq!(replayed(folder.path()), EVENTS);
}

/// Flips a bit of an event; the segment it is in, and what that holds now.
fn damage(dir: &Path) -> (PathBuf, Vec<u8>) {
    let segments = files(dir).into_iter().filter(|path| {
        path.strip_prefix(dir).unwrap().starts_with("topics") && fs::metadata(path).unwrap().len() > 4096
    });
    let segment = segments.max_by_key(|path| fs::metadata(path).unwrap().len()).expect("a segment");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"source").expect("events are stored as they are");
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    (segment, bytes)
}

#[test]
fn a_replay_tells_what_is_damaged() {
    let folder = directory();
    damage(folder.path());
    let server = Server::start(folder.path());
    let replay = server.client(&["replay", "events:*"]);
    server.stop();
    assert!(replay.err.contains("damaged: ") && replay.err.contains("cannot be read"), "{replay:?}");
    assert!(replay.json_lines().len() < EVENTS);
}

#[test]
fn a_server_goes_on_while_it_is_copied() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let small = ["--set", "log.segment_bytes=1MiB", "--set", "log.checkpoint_interval=1s"];
    let server = Server::start_with(folder.path(), ANY, &small);
    let url = server.url();
    let (acked, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = target.path().join("events.ndjson");
            while !ended.load(Ordering::Relaxed) {
                let from = acked.load(Ordering::Relaxed);
                fs::write(&file, (from..from + 200).map(|n| event_line(n, n)).collect::<String>()).unwrap();
                run(["--server", &url, "publish", file.to_str().unwrap()]).succeeded();
                acked.fetch_add(200, Ordering::Relaxed);
            }
        });
        let _end = End(&ended);
        for number in 0..5 {
            let begun = acked.load(Ordering::Relaxed);
            let copy = target.path().join(format!("copy-{number}"));
            let report = &log("backup", folder.path(), &[copy.to_str().unwrap()]).json_lines()[0];
            assert_eq!(report["copy"]["sound"], true, "{report}");
            let copied = Server::start(&copy);
            let events = copied.client(&["replay", "events:*"]).json_lines();
            copied.stop();
            let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), events.len(), "something is there twice");
            assert!((0..begun).all(|n| ids.contains(&*format!("event-{n}"))), "of {begun} something is lost");
        }
    });
    server.stop();
}

/// Tells the other thread to end, also when a check has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flipped_byte_is_found_and_told() {
    let folder = directory();
    let (segment, bytes) = damage(folder.path());
    let verify = log("verify", folder.path(), &[]);
    assert_eq!(verify.code, Some(1), "{verify:?}");
    let report: serde_json::Value = serde_json::from_str(verify.out.trim_end()).unwrap();
    assert_eq!(report["sound"], false);
    let name = segment.file_name().unwrap().to_str().unwrap();
    let finding = &report["findings"][0];
    assert!(finding["path"].as_str().unwrap().contains(name), "{report}");
    let people = run(["log", "verify", "--data-dir", folder.path().to_str().unwrap()]);
    assert!(people.out.contains(name), "{people:?}");
    assert_eq!(fs::read(&segment).unwrap(), bytes, "verify changes nothing");
}

#[test]
fn a_damaged_index_is_mended() {
    let folder = directory();
    let checkpoint = folder.path().join("checkpoint");
    let mut bytes = fs::read(&checkpoint).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&checkpoint, &bytes).unwrap();
    let verify = log("verify", folder.path(), &[]);
    assert!(verify.out.contains("checkpoint"), "{verify:?}");
    let repair = &log("repair", folder.path(), &[]).json_lines()[0];
    assert!(!repair["done"].as_array().unwrap().is_empty(), "{repair}");
    assert_eq!(log("verify", folder.path(), &[]).json_lines()[0]["sound"], true);
    assert_eq!(replayed(folder.path()), EVENTS);
}

#[test]
fn no_directory_is_made_by_looking_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let copy = folder.path().join("copy");
    for (command, more) in [("verify", None), ("repair", None), ("backup", copy.to_str())] {
        let outcome = log(command, &none, more.as_slice());
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.err.contains(none.to_str().unwrap()) && outcome.err.contains("--data-dir"),
            "{outcome:?}"
        );
    }
    assert!(!none.exists());
}

//! Servers that do not start: what is told, and the exit code.

use crate::program::{dualstream, finish, run};
use crate::server::{ANY, Server};
use std::fs;
use std::path::Path;

/// Starts a server that must fail; its error.
#[track_caller]
fn refused(data_dir: &Path, listen: &str, code: i32) -> String {
    let mut command = dualstream();
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(data_dir);
    let outcome = finish(command.spawn().unwrap());
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert_eq!(outcome.out, "");
    outcome.err
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_directory_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let first = Server::start(&dir);
    has(&refused(&dir, ANY, 1), &["error:", &dir.display().to_string()]);
    let verify = run(["log", "verify", "--data-dir", dir.to_str().unwrap()]);
    assert_eq!(verify.code, Some(1), "{verify:?}");
    has(&verify.err, &[&dir.display().to_string()]);
    // The one that has it is not disturbed.
    assert_eq!(first.client(&["replay", "events:*"]).succeeded(), "");
    // A lock is never stale.
    first.kill();
    Server::start(&dir).stop();
}

#[test]
fn a_port_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::start(&folder.path().join("a"));
    let listen = first.address.to_string();
    let second = folder.path().join("b");
    has(&refused(&second, &listen, 1), &["error:", &listen, "--listen", "in use"]);
    assert!(!second.join("catalog").exists(), "a log that is not served is not opened");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    has(&refused(&file, ANY, 1), &["error:", &file.display().to_string()]);
    let below = file.join("data");
    has(&refused(&below, ANY, 1), &["error:", &below.display().to_string()]);
}

#[test]
fn a_newer_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path()).stop();
    let catalog = folder.path().join("catalog");
    let text = fs::read_to_string(&catalog).unwrap();
    let newer = text.replacen("dualstream-log 2", "dualstream-log 3", 1);
    assert_ne!(text, newer);
    fs::write(&catalog, &newer).unwrap();
    let error = refused(folder.path(), ANY, 1);
    has(&error, &[&folder.path().display().to_string(), "--data-dir", "format 3", "newer dualstream"]);
    assert_eq!(fs::read_to_string(&catalog).unwrap(), newer);
}

/// What was opened is closed in order: without sync before the ack the next start would begin new epochs else.
#[test]
fn a_topic_that_cannot_be_created_is_named_and_the_log_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    Server::start(folder.path()).stop();
    // In the way of the next catalog.
    fs::create_dir_all(folder.path().join("catalog.new/in-the-way")).unwrap();
    let mut command = dualstream();
    command.args(["serve", "--listen", ANY, "--set", "log.topic=other", "--data-dir"]).arg(folder.path());
    let outcome = finish(command.spawn().unwrap());
    assert_ne!(outcome.code, Some(0));
    has(&outcome.err, &["cannot create topic 'other'"]);
    let checkpoint = fs::read(folder.path().join("checkpoint")).unwrap();
    assert_eq!(checkpoint[12], 1, "the mark of an end in order");
}

#[test]
fn only_this_machine_is_served() {
    let folder = tempfile::tempdir().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8000"] {
        let error = refused(&folder.path().join("data"), listen, 78);
        has(&error, &["--listen: `listen` is", "no authentication"]);
    }
    assert!(!folder.path().join("data").exists(), "nothing is opened before the settings are checked");
}

#[test]
fn the_start_says_how_full_the_disk_is_and_that_nobody_authenticates() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    has(&server.until_logged("data directory"), &[&folder.path().display().to_string(), "iB of", "are free"]);
    server.until_logged("development mode");
}

#[test]
fn people_get_a_line_to_paste() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = dualstream();
    command.args(["serve", "--listen", ANY, "--data-dir"]).arg(folder.path());
    let mut child = command.spawn().unwrap();
    let mut lines = crate::server::Lines::of(child.stdout.take().unwrap());
    let url = lines.until("serves http://127.0.0.1:").split_whitespace().last().unwrap().to_owned();
    lines.until("data directory");
    let paste = lines.until("curl -s ");
    let curl = paste.split_once("curl ").unwrap().1;
    let answer = std::process::Command::new("sh").args(["-c", &format!("curl {curl}")]).output().unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(receipt["channel"], "events:user:octocat", "{url}");
    child.kill().unwrap();
    child.wait().unwrap();
}

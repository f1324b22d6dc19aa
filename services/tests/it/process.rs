//! Programs that do not become a server.

use dualstream_services::process::{Launch, Process};
use std::path::Path;
use std::time::Duration;

fn sh(dir: &Path, script: &str) -> Launch {
    Launch {
        name: "the script".into(),
        program: "sh".into(),
        args: ["-c", script].map(Into::into).to_vec(),
        log: dir.join("log"),
        is_detached: false,
    }
}

#[test]
fn one_that_ends_by_itself_is_told_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(sh(dir.path(), "echo no such port; exit 1")).unwrap();
    let error = process.until(Duration::from_secs(60), "serves", || false).unwrap_err().to_string();
    assert!(error.contains("the script ended by itself") && error.contains("no such port"), "{error}");
}

#[test]
fn one_that_is_never_ready_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(sh(dir.path(), "echo starting; exec tail -f /dev/null")).unwrap();
    let error = process.until(Duration::from_millis(300), "serves", || false).unwrap_err().to_string();
    assert!(error.contains("the script serves not within 300ms"), "{error}");
    process.stop().unwrap();
    assert_eq!(process.id(), None);
}

#[test]
fn a_missing_program_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch { program: "no-such-program".into(), ..sh(dir.path(), "") };
    let error = format!("{:#}", Process::start(launch).unwrap_err());
    assert!(error.contains("the script") && error.contains("no-such-program"), "{error}");
}

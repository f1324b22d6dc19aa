//! Histories in files, and the program that judges them.

use crate::story::{Story, rules, story};
use dualstream_checker::{History, Operation, judge};
use std::path::Path;
use std::process::{Command, Output};

fn check(file: &Path, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_dualstream-checker");
    Command::new(program).arg("check").arg(file).args(args).output().unwrap()
}

#[test]
fn a_history_is_the_same_after_writing_and_reading() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.jsonl");
    let history = story(1_000).history();
    history.write(&file).unwrap();
    let read = History::read(&file).unwrap();
    assert!(history.operations().eq(read.operations()));
    assert_eq!(judge(&read, &rules()), judge(&history, &rules()));
}

#[test]
fn the_program_says_clean_broken_or_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.jsonl");
    let mut story = story(500);
    story.history().write(&file).unwrap();
    let clean = check(&file, &[]);
    assert_eq!(clean.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&clean.stdout).contains("every promise was kept"));

    story.append(1, Operation::Gauge { node: "a", gauge: "clients", value: 3 });
    story.history().write(&file).unwrap();
    let broken = check(&file, &["--code", "unavailable"]);
    assert_eq!(broken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&broken.stdout).into_owned();
    let expected = "leak (I11 no leak): gauge clients of a is 3 when all is over\n";
    let line = format!("{}  {{\"at_us\":", story.steps.len());
    assert!(said.contains(expected) && said.contains(&line) && said.contains("unlisted_code"), "{said}");

    std::fs::write(&file, "{\"at_us\":1,\"op\":{\"node_up\":{\"node\":\"a\"}}}\n{\"at_us\":0,").unwrap();
    let unreadable = check(&file, &[]);
    assert_eq!(unreadable.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unreadable.stderr).contains("line 2"));
}

#[test]
fn a_file_is_read_as_it_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history.jsonl");
    let line = r#"{"at_us":1200,"op":{"invoke":{"process":"p\"1","id":"e1","key":"gh:x","topic":"events","crc":5}}}"#;
    std::fs::write(&file, line).unwrap();
    let history = History::read(&file).unwrap();
    let expected =
        Operation::Invoke { process: "p\"1", id: "e1", key: "gh:x", topic: "events", crc: 5, batch: None };
    assert!(history.operations().eq([(1200, expected)]));
    history.write(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{line}\n"));
    assert!(Story::default().history().is_empty());
}

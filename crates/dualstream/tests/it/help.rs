//! What the command line says of itself, and what it refuses.

use crate::program::{dualstream, finish, run};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// Every command, found by following the help, as its words.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(words) = found.get(next).cloned() {
        next += 1;
        let help = run(words.iter().map(String::as_str).chain(["--help"])).succeeded();
        let list = help.split_once("\nCommands:\n").and_then(|(_, rest)| rest.split("\n\n").next());
        let names = list.unwrap_or_default().lines().filter_map(|line| {
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
            name.split_whitespace().next().filter(|name| *name != "help")
        });
        found.extend(names.map(|name| words.iter().cloned().chain([name.to_owned()]).collect()));
    }
    found
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = commands();
    for name in [&["serve"][..], &["publish"], &["replay"], &["log", "repair"], &["config", "schema"]] {
        assert!(commands.iter().any(|words| words == name), "{name:?} is not in {commands:?}");
    }
    for words in commands {
        let help = run(words.iter().map(String::as_str).chain(["--help"])).succeeded();
        let example = help.split_once("\nExample").map(|(_, rest)| rest).unwrap_or_default();
        let line = format!("dualstream {}", words.join(" "));
        assert!(example.contains(line.trim_end()), "no example in the help of {words:?}");
    }
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    for (args, told) in [
        (&["serve", "--lisen", "x"][..], "--listen"),
        (&["serve", "stray"], "stray"),
        (&["serve", "--set", "listen"], "NAME=VALUE"),
        (&["pubish"], "publish"),
        (&["publish"], "FILE"),
        (&["publish", "f", "--type", "t"], "cannot be used with"),
        (&["publish", "--type", "t"], "--source-type"),
        (&["publish", "--type", "t", "--source-type", "s", "--source-id", "i", "--data", "{"], "not JSON"),
        (&["subscribe"], "CHANNEL"),
        (&["subscribe", "c", "--live", "--reliable"], "cannot be used with"),
        (&["subscribe", "c", "--live", "--since", "latest"], "cannot be used with"),
        (&["subscribe", "c", "--recent", "301"], "301"),
        (&["subscribe", "c", "--count", "0"], "0"),
        (&["--server", "https://x", "replay", "c"], "https is not supported"),
        (&["--output", "xml", "replay", "c"], "human"),
        (&["completions", "dos"], "bash"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2), "{args:?}: {outcome:?}");
        assert!(outcome.err.contains(told), "{args:?}: {told:?} is not in {}", outcome.err);
        assert_eq!(outcome.out, "");
    }
}

#[test]
fn no_arguments_show_the_help() {
    let outcome = run::<&str>([]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.err.contains("Commands:"), "{outcome:?}");
}

#[test]
fn arguments_that_are_not_utf8_are_no_surprise() {
    let strange = OsStr::from_bytes(b"a\xffb");
    for (args, code) in [
        (&["publish"][..], 1),
        (&["config", "check"], 78),
        (&["serve", "--config"], 78),
        (&["log", "verify", "--data-dir"], 1),
        (&["replay"], 2),
        (&["subscribe"], 2),
        (&["serve", "--listen"], 2),
        (&["serve", "--set"], 2),
        (&[], 2),
    ] {
        let outcome = run(args.iter().map(OsStr::new).chain([strange]));
        assert_eq!(outcome.code, Some(code), "{args:?}: {outcome:?}");
        assert!(!outcome.err.contains("panicked"), "{outcome:?}");
    }
    let mut command = dualstream();
    command.args(["config", "check"]).env("DUALSTREAM_LOG_TOPIC", strange).env(strange, "x");
    let outcome = finish(command.spawn().unwrap());
    assert_eq!(outcome.code, Some(78), "{outcome:?}");
    assert!(outcome.err.contains("the value of `log.topic` is not UTF-8"), "{outcome:?}");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(["completions", shell]).succeeded();
        assert!(script.contains("dualstream") && script.contains("subscribe"), "{shell}: {script}");
    }
    // The one that is surely here reads its script.
    let script = run(["completions", "bash"]).succeeded();
    let bash = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
    assert!(bash.status.success(), "{bash:?}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    for args in [&["config", "default"][..], &["config", "doc"], &["completions", "bash"], &["--help"]] {
        let mut child = dualstream().args(args).spawn().unwrap();
        drop(child.stdout.take());
        let outcome = finish(child);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{args:?}");
    }
}

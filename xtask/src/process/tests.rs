//! Programs that end well, badly, and not at all.

use super::*;

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(200)
}

#[test]
fn a_failing_program_is_named_with_its_exit_code() {
    let error = run(&mut sh("exit 3")).unwrap_err().to_string();
    assert!(error.contains("sh -c exit 3") && error.contains('3'), "{error}");
}

#[test]
fn a_hanging_program_is_stopped_with_its_children() {
    let started = Instant::now();
    let status = status_until(&mut sh("tail -f /dev/null & wait"), soon()).unwrap();
    assert_eq!(status, None);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_program_that_ends_in_time_keeps_its_status() {
    let status = status_until(&mut sh("exit 1"), Instant::now() + Duration::from_secs(60)).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(1));
}

#[test]
fn a_missing_program_does_not_succeed() {
    assert!(!succeeds(&mut Command::new("no-such-program-anywhere")).unwrap());
    assert!(succeeds(&mut sh("true")).unwrap());
}

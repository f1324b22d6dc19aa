//! Runs the program to its end.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A test that waits longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a run of the program left.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// The output of a run that must have succeeded.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// Its lines, each as JSON.
    #[track_caller]
    pub fn json_lines(self) -> Vec<serde_json::Value> {
        self.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The program, in an environment that says nothing to it.
pub fn dualstream() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dualstream"));
    let ours = |name: &OsStr| name.as_encoded_bytes().starts_with(b"DUALSTREAM_") || name == "RUST_LOG";
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with arguments.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome {
    finish(dualstream().args(args).spawn().unwrap())
}

/// Waits for a child's end and collects what it wrote.
pub fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits for a child's end; one that does not end is killed and fails the test.
pub fn wait(child: &mut Child) -> ExitStatus {
    let id = child.id();
    let (ended, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let hangs = watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            signal(id, "KILL");
        }
        hangs
    });
    let status = child.wait().unwrap();
    drop(ended);
    assert!(!watchdog.join().unwrap(), "the program did not end by itself");
    status
}

/// Sends a signal by its name.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &process.to_string()]).status();
    assert!(sent.unwrap().success(), "no signal {name} to {process}");
}

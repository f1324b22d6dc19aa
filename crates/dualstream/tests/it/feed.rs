//! `dualstream publish` reading a pipe that the test fills when it wants to.

use crate::program::{Outcome, dualstream, finish};
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A running `publish`, and its input.
pub struct Feed {
    child: Child,
    lines: Sender<String>,
    writer: JoinHandle<()>,
}

impl Feed {
    /// Starts it; `/dev/stdin` is a file by name, so lines get the ids they would get from the file.
    pub fn start(url: &str) -> Feed {
        let mut child = dualstream()
            .args(["--server", url, "--output", "json", "publish", "/dev/stdin"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let (lines, waiting) = channel::<String>();
        let writer = std::thread::spawn(move || {
            for line in waiting {
                pipe.write_all(line.as_bytes()).unwrap();
                pipe.write_all(b"\n").unwrap();
            }
        });
        Feed { child, lines, writer }
    }

    /// Gives it lines, without waiting for it to read them.
    pub fn give(&self, lines: &[String]) {
        lines.iter().for_each(|line| self.lines.send(line.clone()).unwrap());
    }

    /// Ends its input and waits for its end.
    pub fn finish(self) -> Outcome {
        drop(self.lines);
        let outcome = finish(self.child);
        self.writer.join().unwrap();
        outcome
    }
}

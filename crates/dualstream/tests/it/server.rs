//! A server as a child process.

use crate::program::{PATIENCE, dualstream, run, signal, wait};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

/// Any free port.
pub const ANY: &str = "127.0.0.1:0";

/// A server that takes connections; killed with the value.
pub struct Server {
    child: Child,
    log: Lines,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(data_dir: &Path) -> Server {
        Server::start_with(data_dir, ANY, &[])
    }

    pub fn start_with(data_dir: &Path, listen: &str, more: &[&str]) -> Server {
        let mut command = dualstream();
        command
            .args(["--output", "json", "serve", "--listen", listen, "--data-dir"])
            .arg(data_dir)
            .args(more);
        let mut child = command.spawn().unwrap();
        let mut log = Lines::of(child.stderr.take().unwrap());
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        if first.is_empty() {
            panic!("no server: {}", log.rest());
        }
        let greeting: serde_json::Value = serde_json::from_str(&first).unwrap();
        let address = greeting["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Server { child, log, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        wait(&mut self.child);
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.exit_code(), Some(0));
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for a line of its log.
    pub fn until_logged(&mut self, needle: &str) -> String {
        self.log.until(needle)
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }

    /// What a client command prints.
    pub fn client(&self, args: &[&str]) -> crate::program::Outcome {
        run(["--server", &self.url(), "--output", "json"].iter().chain(args))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a stream, as they come.
pub struct Lines {
    lines: Receiver<String>,
}

impl Lines {
    pub fn of(stream: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Lines { lines }
    }

    /// Waits for a line with `needle`.
    #[track_caller]
    pub fn until(&mut self, needle: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(needle) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {needle:?} ({error}) after {seen:#?}"),
            }
        }
    }

    /// Everything to the end of the stream.
    pub fn rest(&mut self) -> String {
        std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect::<Vec<_>>().join("\n")
    }
}

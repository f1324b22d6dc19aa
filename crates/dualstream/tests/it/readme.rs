//! The commands of the README, as they are written there, against the program: the first event, a file of events, and a
//! stream that goes on after the server was killed.

use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const README: &str = include_str!("../../../../README.md");
const PROGRAM: &str = env!("CARGO_BIN_EXE_dualstream");

/// The server as `cargo run --release -- serve` starts it, but on a port that is free.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(dir: &Path) -> Server {
        let mut child = Command::new(PROGRAM)
            .args(["--output", "json", "serve", "--listen", "127.0.0.1:0"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        let greeting: Value = serde_json::from_str(&greeting).unwrap();
        Server { child, url: greeting["url"].as_str().unwrap().to_owned() }
    }

    /// `kill -9`, as dropping it does.
    fn kill(self) {
        drop(self);
    }

    /// A command of the README, for this server and this program.
    fn command(&self, text: &str, dir: &Path) -> Command {
        let text =
            text.replace("http://127.0.0.1:8000", &self.url).replace("cargo run --release --", PROGRAM);
        let mut command = Command::new("sh");
        // A server that says nothing must not keep the tests for ever.
        std::fs::write(dir.join(".curlrc"), "max-time = 60\nsilent\n").unwrap();
        command.args(["-ec", &text]).current_dir(dir).stdout(Stdio::piped());
        command.env("CURL_HOME", dir).env("DUALSTREAM_SERVER", &self.url);
        command
    }

    fn output(&self, text: &str, dir: &Path) -> String {
        let output = self.command(text, dir).output().unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn follow(&self, text: &str, dir: &Path) -> Stream {
        // The shell becomes curl, so that killing the child ends the stream.
        let mut child = self.command(&format!("exec {text}"), dir).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stream = Stream { child, lines, last_id: String::new() };
        while stream.last_id.is_empty() {
            stream.line();
        }
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An event stream that `curl` follows.
struct Stream {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last_id: String,
}

impl Stream {
    fn line(&mut self) -> String {
        let line = self.lines.next().expect("the stream goes on").unwrap();
        if let Some(id) = line.strip_prefix("id: ") {
            self.last_id = id.to_owned();
        }
        line
    }

    fn event(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The blocks of shell commands, in order.
fn blocks() -> Vec<&'static str> {
    let blocks = README.split("```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap()).collect()
}

#[test]
fn a_minute_to_the_first_event() {
    let [serve, stream, publish, file, read, resume, ..] = blocks()[..] else { panic!("blocks are missing") };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    assert_eq!(serve, "cargo run --release -- serve");
    let server = Server::start(dir);
    let mut followed = server.follow(stream, dir);

    let receipt: Value = serde_json::from_str(&server.output(publish, dir)).unwrap();
    let first = followed.event();
    assert_eq!((&first["position"], &first["data"]["text"]), (&receipt["position"], &"hello".into()));
    assert!(server.output(file, dir).contains("stored 3, duplicates 0"));
    for name in ["push", "star", "login"] {
        assert_eq!(followed.event()["type"], name);
    }
    assert!(
        server.output(file, dir).contains("stored 0, duplicates 3"),
        "the file again stores nothing twice"
    );
    let (replay, subscribe) = read.split_once('\n').unwrap();
    for command in [replay, &format!("{subscribe} --count 2")] {
        let lines = server.output(command, dir);
        assert!(lines.lines().count() == 2 && lines.contains("star"), "{command}: {lines}");
    }

    let (last_id, before) = (followed.last_id.clone(), first["id"].clone());
    server.kill();
    drop(followed);
    let server = Server::start(dir);
    let meanwhile: Value = serde_json::from_str(&server.output(publish, dir)).unwrap();
    assert_ne!(meanwhile["id"], before);
    let mut resumed = server.follow(&resume.replace("PASTE-THE-LAST-ID-HERE", &last_id), dir);
    assert_eq!(resumed.event()["id"], meanwhile["id"], "exactly what came meanwhile");
    server.kill();
}

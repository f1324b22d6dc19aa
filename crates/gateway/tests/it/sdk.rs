//! The public JavaScript SDK against this gateway: what users run in their browsers.
//!
//! Needs `node` and `npm`; the SDK (pinned in `tests/js/package-lock.json`) is installed on the first run.

use crate::server::Server;
use crate::tiny_log::TinyLog;
use crate::wire::{Wire, event, post};
use dualstream_core::hub;
use dualstream_gateway::Settings;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub const PATTERN: &str = "events:*";
pub const CHANNEL: &str = "events:repo:key-7";
const KEYS: u64 = 31;

/// A program that follows [`PATTERN`] and [`CHANNEL`] with an SDK.
pub struct Follower {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// Starts it; it ends after the publication whose number is `last` came on both.
    pub fn start(mut program: Command, address: &str, last: u64) -> Follower {
        let url = format!("ws://{address}/connection/websocket");
        program.args([&url, PATTERN, CHANNEL, &last.to_string()]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = program.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { _child: child, lines }
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line());
        Some(serde_json::from_str(&line.await.expect("the SDK hangs").unwrap()?).unwrap())
    }

    pub async fn until_subscribed(&mut self, seen: &mut Vec<Value>) {
        let mut missing = vec![PATTERN, CHANNEL];
        while !missing.is_empty() {
            let line = self.next().await.expect("the SDK goes on");
            missing.retain(|name| line["at"] != "subscribed" || line["name"] != *name);
            seen.push(line);
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js")
}

/// Installs the SDK unless it is there.
async fn install() {
    if directory().join("node_modules/centrifuge/package.json").exists() {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(directory());
    let done = npm.output().await;
    let done = done.expect("this test needs node 18 and npm: `cargo xtask test` installs them on Debian");
    assert!(done.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&done.stderr));
}

fn node() -> Command {
    let mut node = Command::new("node");
    node.arg("follow.mjs").current_dir(directory());
    node
}

pub async fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    let lines: String = numbers.map(|n| event(&format!("key-{}", n % KEYS), &n.to_string()) + "\n").collect();
    let mut wire = Wire::connect(server.address).await;
    let kind = "Content-Type: application/x-ndjson\r\n";
    assert_eq!(wire.ask(post("/v1/events", kind, lines)).await.json()["failed"], 0);
}

#[tokio::test]
async fn the_sdk_recovers_over_restarts_exactly_once_and_in_order() {
    install().await;
    let log = Arc::new(TinyLog::new());
    let settings = Settings { drain: Duration::from_millis(1), ..Settings::default() };
    let start = async |listen: &str| {
        Server::over(log.clone(), settings.clone(), hub::Settings::default(), listen).await
    };
    let mut server = start("127.0.0.1:0").await;
    let address = server.address.to_string();
    let last = KEYS * 60 + 7;
    let mut sdk = Follower::start(node(), &address, last);
    let mut seen = Vec::new();
    sdk.until_subscribed(&mut seen).await;
    for round in 0..3 {
        let first = round * 620;
        publish(&server, first..first + 300).await;
        server.stop();
        (&mut server.task).await.unwrap();
        server = start(&address).await;
        publish(&server, first + 300..first + 620).await;
        sdk.until_subscribed(&mut seen).await;
    }
    publish(&server, 1860..last).await;
    // Events of one batch have no order among them but that of their keys: the last one comes alone.
    publish(&server, last..last + 1).await;
    while let Some(line) = sdk.next().await {
        seen.push(line);
    }
    let of = |at: &str| seen.iter().filter(|line| line["at"] == at).collect::<Vec<_>>();
    assert!(of("error").is_empty() && of("unsubscribed").is_empty(), "{seen:?}");
    assert!(
        of("connecting").iter().skip(1).all(|line| line["code"] == 3001 || line["code"] == 1),
        "{seen:?}"
    );
    let returns: Vec<_> = of("subscribed").into_iter().filter(|line| line["wasRecovering"] == true).collect();
    assert!(returns.len() >= 6 && returns.iter().all(|line| line["recovered"] == true), "{returns:?}");
    for name in [PATTERN, CHANNEL] {
        let own: Vec<_> = of("publication").into_iter().filter(|line| line["name"] == name).collect();
        assert!(own.windows(2).all(|pair| pair[0]["offset"].as_u64() < pair[1]["offset"].as_u64()));
        for key in 0..KEYS {
            let found = own.iter().filter(|line| line["key"] == json!(format!("key-{key}")));
            let found: Vec<u64> = found.map(|line| line["number"].as_u64().unwrap()).collect();
            let is_wanted = name == PATTERN || key == 7;
            let wanted = (0..=last).filter(|n| is_wanted && n % KEYS == key);
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{name} key-{key}");
        }
    }
}

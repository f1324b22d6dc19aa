//! The public JavaScript SDK against this gateway: what users run in their browsers.
//!
//! Needs `node` and `npm`; the SDK (pinned in `tests/js/package-lock.json`) is installed on the first run.

use crate::nodes::Cluster;
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
use tokio::sync::OnceCell;

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
    pub fn start(mut program: Command, url: &str, last: u64) -> Follower {
        program.args([url, PATTERN, CHANNEL, &last.to_string()]);
        Follower::run(program)
    }

    fn run(mut program: Command) -> Follower {
        program.stdout(Stdio::piped()).kill_on_drop(true);
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

/// Installs the SDK unless it is there: once, however many tests ask for it.
async fn install() {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(install_now).await;
}

async fn install_now() {
    // What was added last: an older installation lacks it.
    if directory().join("node_modules/eventsource/package.json").exists() {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(directory());
    let done = npm.output().await;
    let done = done.expect("this test needs node 18 and npm: `cargo xtask test` installs them on Debian");
    assert!(done.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&done.stderr));
}

fn node(script: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(script).current_dir(directory());
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
    follow("ws", "websocket", 3).await;
}

#[tokio::test]
async fn the_sdk_recovers_over_restarts_without_a_websocket() {
    tokio::join!(follow("http", "http_stream", 1), follow("http", "sse", 1));
}

/// Follows over so many restarts: nothing is missing, nothing comes twice.
async fn follow(scheme: &str, transport: &str, rounds: u64) {
    install().await;
    let log = Arc::new(TinyLog::new());
    let settings = Settings { drain: Duration::from_millis(1), ..Settings::default() };
    let start = async |listen: &str| {
        Server::over(log.clone(), settings.clone(), hub::Settings::default(), listen).await
    };
    let mut server = start("127.0.0.1:0").await;
    let address = server.address.to_string();
    let last = KEYS * 20 * rounds + 7;
    let url = format!("{scheme}://{address}/connection/{transport}");
    let mut sdk = Follower::start(node("follow.mjs"), &url, last);
    let mut seen = Vec::new();
    sdk.until_subscribed(&mut seen).await;
    for round in 0..rounds {
        let first = round * 620;
        publish(&server, first..first + 300).await;
        server.stop();
        (&mut server.task).await.unwrap();
        server = start(&address).await;
        publish(&server, first + 300..first + 620).await;
        sdk.until_subscribed(&mut seen).await;
    }
    publish(&server, 620 * rounds..last).await;
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
    assert!(
        returns.len() as u64 >= 2 * rounds && returns.iter().all(|line| line["recovered"] == true),
        "{returns:?}"
    );
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

#[tokio::test]
async fn the_sdk_publishes_and_leaves_without_a_websocket() {
    let server = Server::start().await;
    tokio::join!(talk(&server, "http_stream", &server), talk(&server, "sse", &server));
}

/// The stream is of one node, and its requests reach another.
#[tokio::test]
async fn the_sdk_speaks_through_another_node() {
    let cluster = Cluster::new();
    let (first, second) = (cluster.node(1).await, cluster.node(2).await);
    cluster.until_all_know(&[&first, &second]).await;
    tokio::join!(talk(&first, "http_stream", &second), talk(&second, "sse", &first));
}

async fn talk(server: &Server, transport: &str, door: &Server) {
    install().await;
    let mut program = node("talk.mjs");
    program.arg(format!("http://{}/connection/{transport}", server.address));
    program.arg(format!("http://{}", door.address));
    let mut sdk = Follower::run(program);
    let mut seen = Vec::new();
    while let Some(line) = sdk.next().await {
        seen.push(line);
        // One that cannot go on tries for ever.
        let count = |at: &str| seen.iter().filter(|line| line["at"] == at).count();
        assert_eq!((count("connecting"), count("error")), (1, 0), "{seen:?}");
    }
    let of = |at: &str| seen.iter().filter(|line| line["at"] == at).collect::<Vec<_>>();
    assert_eq!(of("end").len(), 1, "{seen:?}");
    assert_eq!(of("connected"), [&json!({"at": "connected", "transport": transport})]);
    let found: Vec<_> =
        of("publication").into_iter().map(|line| line["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(found, (0..14).collect::<Vec<_>>(), "{transport}");
    assert_eq!(of("history")[0]["data"], json!([{"n": 13}, {"n": 12}, {"n": 11}]));
    assert_eq!(of("refused")[0]["code"], 108);
}

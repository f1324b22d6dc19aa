//! The public SDK of browsers as a reader: a process of its own, which comes back as it always does.

use crate::reader::Sighting;
use anyhow::{Context, Result, bail, ensure};
use dualstream_checker::{Chain, Recorder, Start};
use serde_json::value::RawValue;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use tokio::sync::watch;

/// Scripts and what they import; shared with the tests of the gateway.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/gateway/tests/js");
const NEEDS: &str = "this test needs node 18 and npm: `cargo xtask test` installs them on Debian";

const WEBSOCKET: &str = "websocket";

/// How the SDK comes to a node.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Its name for that.
    pub transport: &'static str,
    /// What takes its requests where there is no WebSocket, if not what has its stream.
    pub door: Option<SocketAddr>,
}

impl Default for Way {
    fn default() -> Way {
        Way { transport: WEBSOCKET, door: None }
    }
}

/// One SDK client on one channel or pattern of a node.
pub struct Sdk {
    child: Child,
    seen: watch::Receiver<Seen>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    is_subscribed: bool,
    count: usize,
    lost: Option<String>,
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    lost: Option<String>,
    subscribed: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

impl Sdk {
    /// Subscribes to a channel, and waits until it is confirmed.
    ///
    /// # Errors
    /// When it is not.
    pub async fn start(
        way: Way,
        recorder: &Recorder,
        name: &str,
        topic: &str,
        channel: &str,
        key: &str,
        (node, address): (&str, SocketAddr),
    ) -> Result<Sdk> {
        install()?;
        let mut command = Command::new("node");
        let scheme = if way.transport == WEBSOCKET { "ws" } else { "http" };
        let url = format!("{scheme}://{address}/connection/{}", way.transport);
        command.args(["tail.mjs", &url, channel]).current_dir(SCRIPTS);
        command.envs(way.door.map(|door| ("DOOR", format!("http://{door}"))));
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context(NEEDS)?;
        let output = child.stdout.take().context("it has an output")?;
        let (told, mut seen) = watch::channel(Seen::default());
        let (recorder, name) = (recorder.clone(), name.to_owned());
        let (node, topic, key) = (node.to_owned(), topic.to_owned(), key.to_owned());
        std::thread::spawn(move || {
            let mut chain: Option<Chain> = None;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Line<'_>>(&line) else { continue };
                match (&chain, line.subscribed.is_some()) {
                    (None, true) => {
                        chain = Some(recorder.subscribe(&name, &node, Some(&topic), &key, Start::Latest));
                    }
                    (Some(chain), true) => chain.resumed(&node),
                    _ => {}
                }
                let is_event = line.event.is_some();
                if let (Some(event), Some(chain)) = (line.event, &chain)
                    && let Ok(sighting) = Sighting::parse(event.get())
                {
                    sighting.record(chain);
                }
                told.send_modify(|seen| {
                    seen.is_subscribed |= line.subscribed.is_some();
                    seen.count += usize::from(is_event);
                    seen.lost = line.lost.or(seen.lost.take());
                });
            }
        });
        seen.wait_for(|seen| seen.is_subscribed || seen.lost.is_some()).await?;
        let sdk = Sdk { child, seen };
        sdk.check()?;
        Ok(sdk)
    }

    /// Waits until it got so many events.
    ///
    /// # Errors
    /// When it ended, or was told that something is lost.
    pub async fn until(&mut self, count: usize) -> Result<()> {
        self.seen.wait_for(|seen| seen.count >= count || seen.lost.is_some()).await?;
        self.check()
    }

    /// Fails when it was told that something is lost.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.seen.borrow().lost {
            Some(lost) => bail!("the SDK says: {lost}"),
            None => Ok(()),
        }
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs what the script imports unless it is there.
fn install() -> Result<()> {
    static INSTALLED: Once = Once::new();
    let mut outcome = Ok(());
    INSTALLED.call_once(|| outcome = npm());
    outcome
}

fn npm() -> Result<()> {
    let modules = Path::new(SCRIPTS).join("node_modules");
    if ["centrifuge", "ws", "eventsource"].iter().all(|name| modules.join(name).exists()) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(SCRIPTS);
    let done = npm.output().context(NEEDS)?;
    ensure!(done.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

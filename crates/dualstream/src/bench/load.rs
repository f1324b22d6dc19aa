//! What every kind of load shares: which server, for how long, and how it is stopped early.

use super::tally::Tally;
use crate::client::Server;
use crate::progress::Progress;
use anyhow::Context;
use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(100);

/// How long what is on its way is waited for once a run was stopped, while none comes.
const STOPPED_PATIENCE: Duration = Duration::from_secs(2);

/// A run's surroundings.
pub struct Load {
    pub server: Server,
    pub warm_up: Duration,
    pub duration: Duration,
    pub stop: Stop,
    /// The server that was started for it, if one was.
    _embedded: Option<Embedded>,
}

impl Load {
    /// Load on `server`, or on one that is started for it.
    ///
    /// # Errors
    /// A server cannot be started.
    pub fn new(
        server: Server,
        embedded: bool,
        warm_up: Duration,
        duration: Duration,
    ) -> anyhow::Result<Load> {
        let embedded = if embedded { Some(Embedded::start()?) } else { None };
        let server = embedded.as_ref().and_then(|embedded| embedded.server.clone()).unwrap_or(server);
        Ok(Load { server, warm_up, duration, stop: Stop::listen(), _embedded: embedded })
    }

    /// Lets `time` pass and shows how far the run is. Ends early when it was stopped.
    pub async fn pass(&self, time: Duration, tally: &Tally, progress: &Progress) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.stop.is_told() {
            let before = tally.delivered.get() + tally.published.get();
            let step = end.min(Instant::now() + SHOWN_EVERY);
            tokio::select! {
                () = tokio::time::sleep_until(step) => {}
                () = self.stop.told() => {}
            }
            progress.advance(tally.delivered.get() + tally.published.get() - before, tally.published.get());
        }
    }

    /// Waits until `is_done`, but not longer than `patience` while nothing is counted: also after it was stopped, what is
    /// on its way still comes.
    pub async fn settle(&self, tally: &Tally, patience: Duration, is_done: impl Fn() -> bool) {
        let patience = if self.stop.is_told() { patience.min(STOPPED_PATIENCE) } else { patience };
        while !is_done() && tokio::time::timeout(patience, tally.moved()).await.is_ok() {}
    }
}

/// Told by Ctrl-C: what was measured so far is the result. A second one ends the program.
#[derive(Clone)]
pub struct Stop(Rc<(Cell<bool>, Notify)>);

impl Stop {
    fn listen() -> Stop {
        let stop = Stop(Rc::default());
        let own = stop.clone();
        tokio::task::spawn_local(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if own.0.0.replace(true) {
                    std::process::exit(130);
                }
                own.0.1.notify_waiters();
            }
        });
        stop
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.0.0.get()
    }

    /// Resolves when it is told.
    pub async fn told(&self) {
        if !self.is_told() {
            self.0.1.notified().await;
        }
    }
}

/// This program as a server on an empty directory; both go with the value.
struct Embedded {
    process: Child,
    directory: PathBuf,
    server: Option<Server>,
}

impl Embedded {
    fn start() -> anyhow::Result<Embedded> {
        let directory = std::env::temp_dir().join(format!("dualstream-bench-{}", std::process::id()));
        fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut process = Command::new(program)
            .args(["--output", "json", "serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&directory)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A Ctrl-C of the terminal is for this program alone: it still asks the server what it cost.
            .process_group(0)
            .spawn()
            .context("cannot start a server")?;
        let greeting = process.stdout.take().map(greeting);
        let mut embedded = Embedded { process, directory, server: None };
        embedded.server = greeting.transpose()?;
        Ok(embedded)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // It may have ended already; a directory that stays is a few files in a temporary place.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The address a server says it serves.
fn greeting(out: impl Read) -> anyhow::Result<Server> {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let greeting: serde_json::Value =
        serde_json::from_str(&line).context("the server that was started does not serve")?;
    greeting["url"].as_str().unwrap_or_default().parse().map_err(anyhow::Error::msg)
}

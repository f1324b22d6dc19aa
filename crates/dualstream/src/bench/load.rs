//! What every kind of load shares: which server, for how long, and how it is stopped early.

use super::tally::Tally;
use crate::client::Server;
use crate::progress::Progress;
use anyhow::{Context, bail};
use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
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
    _embedded: Rc<Started>,
}

/// Where a server that was started is held: it ends with this, or with the second signal.
type Started = RefCell<Option<Embedded>>;

impl Load {
    /// Load on `server`, or on one that is started for it.
    ///
    /// # Errors
    /// A server cannot be started.
    pub async fn new(
        server: Server,
        embedded: bool,
        warm_up: Duration,
        duration: Duration,
    ) -> anyhow::Result<Load> {
        let started: Rc<Started> = Rc::default();
        // Before the server is started, which no signal is to leave behind.
        let stop = Stop::listen(&started)?;
        let mut load = Load { server, warm_up, duration, stop, _embedded: started.clone() };
        if embedded {
            let (embedded, out) = Embedded::start()?;
            *started.borrow_mut() = Some(embedded);
            let greeting = async { tokio::task::spawn_blocking(move || greeting(out)).await? };
            load.server = load.unless_stopped(greeting).await?;
        }
        Ok(load)
    }

    /// Does what nothing can be measured without.
    ///
    /// # Errors
    /// Its own, or that it was stopped before it was done.
    pub async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.stop.told() => bail!("stopped before anything was measured"),
        }
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

/// Told by SIGINT or SIGTERM: what was measured so far is the result. A second one ends the program, with the code a
/// shell gives to that signal.
#[derive(Clone)]
pub struct Stop(Rc<(Cell<bool>, Notify)>);

impl Stop {
    fn listen(started: &Rc<Started>) -> anyhow::Result<Stop> {
        let context = "cannot listen for signals";
        let mut interrupt = signal(SignalKind::interrupt()).context(context)?;
        let mut terminate = signal(SignalKind::terminate()).context(context)?;
        let stop = Stop(Rc::default());
        let (own, started) = (stop.clone(), Rc::downgrade(started));
        tokio::task::spawn_local(async move {
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                if own.0.0.replace(true) {
                    // Nothing else drops it any more.
                    drop(started.upgrade().and_then(|started| started.take()));
                    std::process::exit(code);
                }
                own.0.1.notify_waiters();
            }
        });
        Ok(stop)
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
}

impl Embedded {
    /// Starts it; what it writes begins with its greeting.
    fn start() -> anyhow::Result<(Embedded, ChildStdout)> {
        let directory = std::env::temp_dir().join(format!("dualstream-bench-{}", std::process::id()));
        fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let spawned = Command::new(program)
            .args(["--output", "json", "serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&directory)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A Ctrl-C of the terminal is for this program alone: it still asks the server what it cost.
            .process_group(0)
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                let _ = fs::remove_dir(&directory);
                return Err(error).context("cannot start a server");
            }
        };
        let out = process.stdout.take().expect("its output was asked for");
        Ok((Embedded { process, directory }, out))
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

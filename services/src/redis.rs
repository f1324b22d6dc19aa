//! Redis, keeping nothing on disk: one server, a master with replicas watched by Sentinels, or a cluster.

mod client;
mod cluster;
mod sentinel;
mod setup;

pub use client::{Client, Value};
pub use cluster::Cluster;
pub use sentinel::Sentinel;
pub use setup::{Setup, User};

use crate::process::{Launch, Process};
use crate::proxy::Proxy;
use crate::tls::Authority;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A server answers after 50 ms on a quiet machine; a cluster agrees after some seconds.
const READY_MAX: Duration = Duration::from_secs(60);
/// One that does not answer so soon hangs.
const PING_MAX: Duration = Duration::from_secs(2);
/// A command of a test may wait for a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A Redis server, or a Sentinel.
#[derive(Debug)]
pub struct Redis {
    /// Where it serves clients, also after a restart: with TLS if it has that.
    pub address: SocketAddr,
    /// Where it serves [`Redis::command`]: plain, never through a proxy.
    pub inner: SocketAddr,
    /// What clients reach it through, if it is [`proxied`](Setup::proxied).
    pub proxy: Option<Proxy>,
    /// The process.
    pub process: Process,
    user: Option<User>,
    authority: Option<Authority>,
}

impl Redis {
    /// Starts one with its files in `dir`, and waits until it answers. A [`Setup`] starts others.
    pub fn start(dir: &Path, is_detached: bool) -> Result<Redis> {
        Setup::new().detached(is_detached).start(dir)
    }

    /// Where clients connect: its proxy, if it has one.
    pub fn endpoint(&self) -> SocketAddr {
        self.proxy.as_ref().map_or(self.address, Proxy::address)
    }

    /// Who signed its certificate, if it has TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    fn has_tls(&self) -> bool {
        self.authority.is_some()
    }

    /// Waits until it answers.
    pub fn until_ready(&mut self) -> Result<()> {
        let address = self.inner;
        self.process.until(READY_MAX, "answers", || is_alive(address))
    }

    /// Starts it again after its end, and waits until it answers. It has forgotten everything; one of a Sentinel's or a
    /// cluster's knows its place.
    pub fn restart(&mut self) -> Result<()> {
        self.process.restart()?;
        self.until_ready()
    }

    /// A connection past the proxy, let in.
    pub fn client(&self) -> Result<Client> {
        let mut client = Client::connect(self.inner, ANSWER_MAX)?;
        if let Some(User { name, password }) = &self.user {
            client.command(&["AUTH", name, password])?;
        }
        Ok(client)
    }

    /// One command on a connection of its own, past the proxy: its answer.
    pub fn command(&self, words: &[&str]) -> Result<Value> {
        self.client()?.command(words)
    }

    /// Sets a setting while it runs.
    pub fn configure(&self, name: &str, value: &str) -> Result<()> {
        self.command(&["CONFIG", "SET", name, value]).map(drop)
    }

    /// How many connections subscribe to each of these channels; patterns are not counted.
    pub fn subscribers(&self, channels: &[&str]) -> Result<Vec<i64>> {
        let answer = self.command(&[&["PUBSUB", "NUMSUB"], channels].concat())?;
        answer.array()?.chunks_exact(2).map(|pair| pair[1].integer()).collect()
    }

    /// All channels that somebody subscribes to, in the order of their names.
    pub fn channels(&self) -> Result<Vec<String>> {
        let answer = self.command(&["PUBSUB", "CHANNELS"])?;
        let names = answer.array()?.iter().map(|name| Ok(name.text()?.to_owned()));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// A line of `INFO`, without its name.
    pub fn info(&self, name: &str) -> Result<String> {
        let page = self.command(&["INFO", "all"])?;
        let line = page.text()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("INFO has no {name}"))?.to_owned())
    }
}

/// Asks a server whether it is there.
pub fn ping(address: SocketAddr) -> Result<()> {
    let answer = Client::connect(address, PING_MAX)?.command(&["PING"])?;
    ensure!(answer == Value::Text("PONG".into()), "{address} is no Redis server");
    Ok(())
}

/// Whether a server answers, be it that a password is needed.
pub(crate) fn is_alive(address: SocketAddr) -> bool {
    ping(address).map_or_else(|error| format!("{error:#}").contains("NOAUTH"), |()| true)
}

/// Waits until something is so, or says that it was not.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        let answered = is_so();
        if let Ok(true) = answered {
            return Ok(());
        }
        if Instant::now() >= deadline {
            answered.with_context(|| format!("{what}: not within {READY_MAX:?}"))?;
            anyhow::bail!("{what}: not within {READY_MAX:?}");
        }
        std::thread::sleep(POLL);
    }
}

/// Runs the program with a file of settings.
fn run(name: &str, file: &Path, args: &[&str], is_detached: bool) -> Result<Process> {
    let launch = Launch {
        name: format!("redis-server ({name})"),
        program: "redis-server".into(),
        args: std::iter::once(file.into()).chain(args.iter().map(Into::into)).collect(),
        log: file.with_extension("log"),
        is_detached,
    };
    Process::start(launch).context("Redis is the Debian package redis-server")
}

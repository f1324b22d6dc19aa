//! A master and its replicas, watched by Sentinels that make a replica the master when it is gone.

use super::setup::{Setup, Tls, User};
use super::{Redis, until};
use crate::ports;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Beside the master.
const REPLICAS: usize = 2;
/// A master that is silent for so long is gone.
const DOWN_AFTER_MS: u32 = 1_000;
/// A failover that takes longer is tried again.
const FAILOVER_MAX_MS: u32 = 3_000;

/// The servers and who watches them.
#[derive(Debug)]
pub struct Sentinel {
    /// The servers of data; the first is the master at the start.
    pub servers: Vec<Redis>,
    /// The Sentinels. They ask for no password.
    pub sentinels: Vec<Redis>,
}

impl Sentinel {
    /// What the Sentinels call the master.
    pub const MASTER: &str = "dualstream";

    pub(super) fn try_start(setup: &Setup, dir: &Path, sentinels: usize) -> Result<Sentinel> {
        let announce = |address: SocketAddr| {
            format!("replica-announce-ip 127.0.0.1\nreplica-announce-port {}\n", address.port())
        };
        // The link goes through a proxy that a test may close: it must not be taken for a dead one too slowly.
        let settings = "repl-timeout 5\nrepl-ping-replica-period 1\nrepl-diskless-sync-delay 0\n";
        let tls = setup.secured(dir)?;
        let master = setup.server(dir, "redis-1", tls.as_ref(), |own| announce(own.announced) + settings)?;
        let mut servers = vec![master];
        for number in 2..=REPLICAS + 1 {
            let of = servers[0].endpoint();
            let more = |own: &super::setup::Addresses| {
                let replica = format!("replicaof {} {}\n", of.ip(), of.port());
                announce(own.announced) + settings + &replica
            };
            servers.push(setup.server(dir, &format!("redis-{number}"), tls.as_ref(), more)?);
        }
        servers.iter_mut().try_for_each(Redis::until_ready)?;
        until("the replicas follow", || {
            let links = servers[1..].iter().map(|replica| replica.info("master_link_status"));
            Ok(links.collect::<Result<Vec<_>>>()?.iter().all(|link| link == "up"))
        })?;
        let mut sentinel = Sentinel { servers, sentinels: Vec::new() };
        for number in 1..=sentinels {
            sentinel.watch(setup, dir, number, sentinels / 2 + 1, tls.as_ref())?;
        }
        sentinel.until_watched()?;
        Ok(sentinel)
    }

    /// Starts a Sentinel.
    fn watch(
        &mut self,
        setup: &Setup,
        dir: &Path,
        number: usize,
        quorum: usize,
        tls: Option<&Tls>,
    ) -> Result<()> {
        let free = ports::free(2)?;
        let (address, inner) = (free[0], free[usize::from(tls.is_some())]);
        let name = format!("sentinel-{number}");
        let own = dir.join(&name);
        fs::create_dir_all(&own)?;
        let (master, of) = (Sentinel::MASTER, self.servers[0].endpoint());
        let mut text = format!("bind 127.0.0.1\nport {}\ndir {}\n", inner.port(), own.display());
        if let Some(tls) = tls {
            write!(text, "tls-port {}\n{}", address.port(), tls.settings)?;
        }
        writeln!(text, "sentinel monitor {master} {} {} {quorum}", of.ip(), of.port())?;
        writeln!(text, "sentinel down-after-milliseconds {master} {DOWN_AFTER_MS}")?;
        writeln!(text, "sentinel failover-timeout {master} {FAILOVER_MAX_MS}")?;
        if let Some(User { name, password }) = &setup.user {
            writeln!(text, "sentinel auth-user {master} {name}\nsentinel auth-pass {master} {password}")?;
        }
        let file = own.join("sentinel.conf");
        fs::write(&file, text)?;
        let process = super::run(&name, &file, &["--sentinel"], setup.is_detached)?;
        let (proxy, user, authority) = (None, None, None);
        let mut server = Redis { address, inner, proxy, process, user, authority };
        server.until_ready()?;
        self.sentinels.push(server);
        Ok(())
    }

    /// Waits until every Sentinel that runs knows the other ones and both replicas of the master.
    pub fn until_watched(&self) -> Result<()> {
        until("the Sentinels know all servers", || {
            for sentinel in self.running() {
                let master = sentinel.command(&["SENTINEL", "MASTER", Sentinel::MASTER])?;
                let count = |name: &str| -> Result<usize> { Ok(master.field(name)?.parse()?) };
                let others = self.sentinels.len() - 1;
                if count("num-slaves")? < REPLICAS || count("num-other-sentinels")? < others {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Where clients find the Sentinels.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|sentinel| sentinel.address).collect()
    }

    /// Which of the servers all Sentinels that run call the master; none while they do not agree.
    pub fn master(&self) -> Result<Option<usize>> {
        let mut named = Vec::new();
        for sentinel in self.running() {
            let answer = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinel::MASTER])?;
            let [host, port] = answer.array()? else { return Ok(None) };
            named.push(SocketAddr::new(host.text()?.parse()?, port.text()?.parse()?));
        }
        let first = *named.first().context("no Sentinel runs")?;
        let is_agreed = named.iter().all(|name| *name == first);
        Ok(self.servers.iter().position(|server| is_agreed && server.endpoint() == first))
    }

    /// Waits until another server than `before` is the master, for the Sentinels and by its own word: which.
    pub fn until_master_is_not(&self, before: usize) -> Result<usize> {
        let mut found = None;
        until("another master", || {
            found = self.master()?.filter(|master| *master != before);
            let Some(master) = found else { return Ok(false) };
            Ok(self.servers[master].info("role")? == "master")
        })?;
        found.context("it was found")
    }

    /// Has the Sentinels make another server the master, though this one works, and waits for it: which.
    pub fn fail_over(&self) -> Result<usize> {
        let before = self.master()?.context("the Sentinels do not agree on the master")?;
        let first = self.running().next().context("no Sentinel runs")?;
        until("a failover that begins", || {
            if self.master()? != Some(before) {
                return Ok(true);
            }
            match first.command(&["SENTINEL", "FAILOVER", Sentinel::MASTER]) {
                Ok(_) => Ok(true),
                // One of their own is under way, or no replica is good enough yet.
                Err(error)
                    if ["INPROG", "NOGOODSLAVE"].iter().any(|word| format!("{error:#}").contains(word)) =>
                {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })?;
        self.until_master_is_not(before)
    }

    /// Takes the master away from its clients without a word: another server is the master from now on, and the Sentinels
    /// have forgotten this one, which goes on as a master of nobody, with all its connections open. Which is the new one.
    pub fn detach(&self) -> Result<usize> {
        let before = self.master()?.context("the Sentinels do not agree on the master")?;
        let others: Vec<usize> = (0..self.servers.len()).filter(|server| *server != before).collect();
        let [new, rest @ ..] = &others[..] else { anyhow::bail!("there is no other server") };
        self.servers[*new].command(&["REPLICAOF", "NO", "ONE"])?;
        let address = self.servers[*new].endpoint();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let quorum = (self.sentinels.len() / 2 + 1).to_string();
        for sentinel in self.running() {
            sentinel.command(&["SENTINEL", "REMOVE", Sentinel::MASTER])?;
            sentinel.command(&["SENTINEL", "MONITOR", Sentinel::MASTER, &host, &port, &quorum])?;
            let down_after = DOWN_AFTER_MS.to_string();
            let setting = ["SENTINEL", "SET", Sentinel::MASTER, "down-after-milliseconds", &down_after];
            sentinel.command(&setting)?;
        }
        for replica in rest {
            self.servers[*replica].command(&["REPLICAOF", &host, &port])?;
        }
        ensure!(self.master()? == Some(*new), "the Sentinels do not agree on the new master");
        Ok(*new)
    }

    fn running(&self) -> impl Iterator<Item = &Redis> {
        self.sentinels.iter().filter(|sentinel| sentinel.process.id().is_some())
    }
}

//! Servers that stay when the program that started them ends: `cargo xtask services up`, `status` and `down`.
//!
//! ```text
//! DIR/NAME/running    one line for each process: its id, when it was started, its address, what it is
//! DIR/NAME/…          the servers' own files and logs
//! ```
//! A process id may have been given to another program since. So only a process that was started at the same moment is
//! taken for ours.

use crate::process::send;
use crate::redis::Setup;
use crate::{Kafka, Redis, kafka, redis};
use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server may take to end before it is killed.
const DOWN_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Something that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// One Kafka broker.
    Kafka,
    /// Three Kafka brokers.
    Kafka3,
    /// One Redis server.
    Redis,
    /// A Redis master with two replicas, and three Sentinels.
    Sentinel,
    /// A Redis cluster of three masters with a replica each.
    Cluster,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] =
        [Service::Kafka, Service::Kafka3, Service::Redis, Service::Sentinel, Service::Cluster];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Service::Kafka => "kafka",
            Service::Kafka3 => "kafka3",
            Service::Redis => "redis",
            Service::Sentinel => "sentinel",
            Service::Cluster => "cluster",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Whether a server of it answers.
    fn answers(self, address: SocketAddr) -> bool {
        match self {
            Service::Kafka | Service::Kafka3 => kafka::brokers_known(address).is_ok(),
            Service::Redis | Service::Sentinel | Service::Cluster => redis::ping(address).is_ok(),
        }
    }
}

/// A server in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub id: u32,
    /// When that was started, in clock ticks since the machine was.
    pub started: u64,
    /// Where it serves.
    pub address: SocketAddr,
    /// What it is among the servers of its service: one word.
    pub role: String,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Up,
    /// Its process is there and does not answer.
    Hangs,
    /// Its process is gone.
    Gone,
}

/// The servers under one directory.
#[derive(Clone, Debug)]
pub struct Background {
    dir: PathBuf,
}

impl Background {
    /// Those under `dir`, which need not exist.
    pub fn of(dir: &Path) -> Background {
        Background { dir: dir.to_owned() }
    }

    /// Starts a service, waits until it answers, and leaves it.
    pub fn up(&self, service: Service) -> Result<Vec<Running>> {
        let found = self.running(service)?;
        let alive = found.iter().filter(|server| server.is_there()).count();
        ensure!(alive == 0, "{} is up already: take it down first", service.name());
        let dir = self.files(service);
        let started = match service {
            Service::Kafka => kafka(&dir, 1)?,
            Service::Kafka3 => kafka(&dir, 3)?,
            Service::Redis => vec![left("server", Setup::new().detached(true).start(&dir)?)],
            Service::Sentinel => sentinel(&dir)?,
            Service::Cluster => cluster(&dir)?,
        };
        let started = started
            .into_iter()
            .map(|(id, address, role)| {
                let id = id.context("it ended by itself")?;
                let started = started_at(id).context("it ended by itself")?;
                Ok(Running { id, started, address, role: role.to_owned() })
            })
            .collect::<Result<Vec<_>>>()?;
        let line =
            |Running { id, started, address, role }: &Running| format!("{id} {started} {address} {role}\n");
        let lines: String = started.iter().map(line).collect();
        fs::write(self.list(service), lines)?;
        Ok(started)
    }

    /// How the servers of a service are; none when it was not started.
    pub fn status(&self, service: Service) -> Result<Vec<(Running, State)>> {
        let state = |server: &Running| match server.is_there() {
            false => State::Gone,
            true if service.answers(server.address) => State::Up,
            true => State::Hangs,
        };
        let states = self.running(service)?.into_iter().map(|server| {
            let state = state(&server);
            (server, state)
        });
        Ok(states.collect())
    }

    /// Ends a service and removes its files; how many processes were ended.
    pub fn down(&self, service: Service) -> Result<usize> {
        let mut running = self.running(service)?;
        running.retain(Running::is_there);
        // All at once: a controller without the others waits for them before it ends.
        for server in &running {
            signal(server, Signal::TERM)?;
            // One that was stopped by a signal takes the other only now.
            signal(server, Signal::CONT)?;
        }
        let deadline = Instant::now() + DOWN_MAX;
        while running.iter().any(Running::is_there) {
            if Instant::now() >= deadline {
                running
                    .iter()
                    .filter(|server| server.is_there())
                    .try_for_each(|server| signal(server, Signal::KILL))?;
            }
            std::thread::sleep(POLL);
        }
        let dir = self.files(service);
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        Ok(running.len())
    }

    /// Where its files and logs are.
    pub fn files(&self, service: Service) -> PathBuf {
        self.dir.join(service.name())
    }

    fn list(&self, service: Service) -> PathBuf {
        self.files(service).join("running")
    }

    fn running(&self, service: Service) -> Result<Vec<Running>> {
        let list = self.list(service);
        let text = match fs::read_to_string(&list) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        text.lines()
            .map(|line| parse(line).with_context(|| format!("{} is damaged", list.display())))
            .collect()
    }
}

impl Running {
    fn is_there(&self) -> bool {
        started_at(self.id) == Some(self.started)
    }
}

/// Sends a signal, unless it has ended since it was looked at.
fn signal(server: &Running, signal: Signal) -> Result<()> {
    match send(server.id, signal) {
        Err(error) if error.downcast_ref() == Some(&Errno::SRCH) => Ok(()),
        sent => sent,
    }
}

/// When a process was started that has not ended: fields 3 and 22 of its `stat` (proc_pid_stat(5)).
fn started_at(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !has_ended)?.parse().ok()
}

/// A process that stays, where it serves, and what it is.
type Left = (Option<u32>, SocketAddr, &'static str);

fn kafka(dir: &Path, brokers: usize) -> Result<Vec<Left>> {
    let cluster = Kafka::start(dir, brokers, true)?;
    let brokers = cluster.brokers.into_iter();
    Ok(brokers.map(|broker| (broker.process.leave(), broker.address, "broker")).collect())
}

fn sentinel(dir: &Path) -> Result<Vec<Left>> {
    const SENTINELS: usize = 3;
    let started = Setup::new().detached(true).start_sentinel(dir, SENTINELS)?;
    let sentinels = started.sentinels.into_iter().map(|server| left("sentinel", server));
    Ok(sentinels.chain(started.servers.into_iter().map(|server| left("server", server))).collect())
}

fn cluster(dir: &Path) -> Result<Vec<Left>> {
    let started = Setup::new().detached(true).start_cluster(dir, true)?;
    Ok(started.servers.into_iter().map(|server| left("server", server)).collect())
}

fn left(role: &'static str, server: Redis) -> Left {
    (server.process.leave(), server.address, role)
}

fn parse(line: &str) -> Option<Running> {
    let mut words = line.split(' ');
    let (id, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Running { id, started, address: words.next()?.parse().ok()?, role: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_takes_any_signal() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let address = ([127, 0, 0, 1], 1).into();
        let ended = Running { id: child.id(), started: 0, address, role: "server".into() };
        assert!(send(ended.id, Signal::CONT).is_err(), "there is nobody to take it");
        signal(&ended, Signal::CONT).unwrap();
    }
}

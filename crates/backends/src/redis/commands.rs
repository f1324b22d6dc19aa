//! Scripts on Redis, over a connection that is made again after it was lost.
//!
//! Every operation is one `EVAL` of a short script: nothing has to be loaded before, and nothing is missing after a
//! restart, a failover or a moved slot. Nothing is tried again: what to do after an error is the caller's to say. An
//! operation takes [`Commands::deadline`] at the most, and where it has to connect two seconds more for each host of the
//! address, up to ten.

use super::address::{Address, Kind};
use super::client::{CONNECT_MAX, Connection};
use super::fault;
use dualstream_core::{Error, ErrorKind, Result};
use redis::{Cmd, FromRedisValue};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// So long after it failed, connecting is not tried again, but the failure told again: many callers at once do not make
/// many connections to what is away.
const CONNECT_AGAIN: Duration = Duration::from_millis(200);

/// Connecting to one after the other of the hosts of an address ends at the latest after this.
const CONNECTS_MAX: Duration = Duration::from_secs(10);

/// How long a connection to a master is used before Sentinel is asked again who that is: one that was replaced may go on
/// serving whoever is still connected. Where nobody can say so, it is used on.
const MASTER_AGE_MAX: Duration = Duration::from_secs(60);

/// What registry, claims and presence run their scripts with. All their keys begin with one prefix.
pub struct Commands {
    address: Address,
    prefix: Box<str>,
    deadline: Duration,
    age_max: Option<Duration>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<(Connection, Instant)>,
    /// Which connection it is: what failed on one before says nothing about this one.
    number: u64,
    failed: Option<(Instant, Error)>,
}

impl Commands {
    /// Connects when the first script runs.
    pub fn new(address: Address, prefix: &str, deadline: Duration) -> Commands {
        let age_max = matches!(address.kind, Kind::Sentinel { .. }).then_some(MASTER_AGE_MAX);
        Commands { address, prefix: prefix.into(), deadline, age_max, link: Mutex::default() }
    }

    /// Uses no connection for longer than this, if there is another.
    pub fn with_age_max(mut self, age_max: Duration) -> Commands {
        self.age_max = Some(age_max);
        self
    }

    /// How long a script may take, its way there and back included.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A key's whole name.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a script; `call` was made by [`script`].
    pub(super) async fn run<T: FromRedisValue>(&self, call: Cmd) -> Result<T> {
        let (mut connection, number) = self.connection().await?;
        let error = match timeout(self.deadline, call.query_async(&mut connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            // Something else stands there: the connection is as good as before.
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => {
                return Err(fault::at(&self.address, &error));
            }
            Ok(Err(error)) => fault::at(&self.address, &error),
            Err(_) => self.too_late(),
        };
        self.forget(number);
        Err(error)
    }

    /// There was no answer in time.
    pub(super) fn too_late(&self) -> Error {
        let message = format!("Redis at {}: no answer in time", self.address);
        Error::new(ErrorKind::Unavailable, "redis_unavailable", message)
    }

    async fn connection(&self) -> Result<(Connection, u64)> {
        {
            let link = self.link();
            let is_old = |made: &Instant| self.age_max.is_some_and(|max| made.elapsed() >= max);
            match (&link.connection, &link.failed) {
                (Some((connection, made)), _) if !is_old(made) => {
                    return Ok((connection.clone(), link.number));
                }
                (_, Some((at, error))) if at.elapsed() < CONNECT_AGAIN => return Err(error.clone()),
                _ => {}
            }
        }
        // Not under the lock: who comes meanwhile makes one of its own, and the last one stays.
        let connect = self.address.connect(self.deadline);
        let made = timeout(self.connect_max(), connect).await.unwrap_or_else(|_| {
            let message = format!("Redis at {}: no connection in time", self.address);
            Err(Error::new(ErrorKind::Unavailable, "redis_unavailable", message))
        });
        let mut link = self.link();
        match made {
            Ok(connection) => {
                link.number += 1;
                link.connection = Some((connection.clone(), Instant::now()));
                Ok((connection, link.number))
            }
            Err(error) => match &mut link.connection {
                // It is old, and yet all there is: it answered until now.
                Some((connection, made)) => {
                    *made = Instant::now();
                    Ok((connection.clone(), link.number))
                }
                None => {
                    link.failed = Some((Instant::now(), error.clone()));
                    Err(error)
                }
            },
        }
    }

    /// Some of the hosts may say nothing.
    fn connect_max(&self) -> Duration {
        let hosts = u32::try_from(self.address.hosts.len()).unwrap_or(u32::MAX);
        CONNECT_MAX.saturating_mul(hosts.saturating_mul(2)).min(CONNECTS_MAX)
    }

    /// A late answer, a server that is no master any more, a lost connection: none of them is worth telling apart.
    fn forget(&self, number: u64) {
        let mut link = self.link();
        if link.number == number {
            link.connection = None;
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands")
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A call of a script over keys of one slot; its arguments are to be added.
pub(super) fn script(text: &str, keys: &[&str]) -> Cmd {
    let mut call = redis::cmd("EVAL");
    call.arg(text).arg(keys.len()).arg(keys);
    call
}

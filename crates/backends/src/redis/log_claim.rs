//! One log under one prefix: which log the nodes announce that share a prefix in Redis.
//!
//! ```text
//! {prefix}log   string   embedded 5f0c…   or   kafka <cluster id> <topic>;   expires with the lease
//! ```
//! Announcements name positions of one log. Several nodes of one Kafka cluster and topic share the claim; an embedded
//! log is one node, and a second one with the same prefix is refused. The claim goes by the log, not by the process: a
//! node that crashed starts again at once. (A copy of a data directory is, here, the same log.)
//!
//! While Redis is away nobody can say who claims the prefix: nodes go on, and the conflict is told when it is back.

use super::commands::{Commands, script};
use dualstream_core::bus::Health;
use dualstream_core::clock::{Clock, Entropy, spread};
use dualstream_core::log_id::LogId;
use dualstream_core::registry::{HEARTBEAT, LEASE};
use dualstream_core::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// After an error it is tried again so soon, give or take half.
const RETRY: Duration = Duration::from_secs(2);

/// What a message shows of another's claim.
const SHOWN_CHARS_MAX: usize = 200;

/// The log that claims it, where that is another one.
const TAKE: &str = "\
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false";

/// Whether it was there to give up.
const GIVE_UP: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// A node's claim that a prefix is its log's.
pub struct LogClaim {
    commands: Arc<Commands>,
    log: LogId,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

/// Whether it holds.
struct State {
    health: Health,
    /// The word of the error, of which there is one line in the log.
    code: Option<&'static str>,
}

impl LogClaim {
    /// A claim that is not made yet.
    pub fn new(
        commands: Arc<Commands>,
        log: LogId,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> LogClaim {
        let reason = "no claim was made yet".to_owned();
        let health = Health::Down { since_ms: clock.now_ms(), reason };
        let state = Mutex::new(State { health, code: Some("") });
        LogClaim { commands, log, clock, entropy, state }
    }

    /// Claims the prefix, or renews the claim.
    ///
    /// # Errors
    /// `log_conflict` when another log claims it; `redis_unavailable`, `redis_denied` when nobody knows.
    pub async fn take(&self) -> Result<()> {
        let taken = self.try_take().await;
        self.note(taken.as_ref().err());
        taken
    }

    /// Keeps the claim until `shutdown` resolves; an embedded log's is given up then, so that another may take its place.
    pub async fn keep(&self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.renew() => {}
        }
        if let LogId::Embedded(_) = self.log {
            let mut call = script(GIVE_UP, &[&self.key()]);
            call.arg(self.log.to_string());
            // Where it fails, the lease ends by itself.
            let _: Result<i64> = self.commands.run(call).await;
        }
    }

    /// Whether the prefix is this log's, as far as is known.
    pub fn health(&self) -> Health {
        self.state().health.clone()
    }

    /// A claim that could not be made, also the one at the start, is tried again sooner.
    async fn renew(&self) {
        let pause = |is_made| match is_made {
            true => spread(HEARTBEAT, 0.1, &*self.entropy),
            false => spread(RETRY, 0.5, &*self.entropy),
        };
        let mut wait = pause(self.health() == Health::Up);
        loop {
            tokio::time::sleep(wait).await;
            wait = pause(self.take().await.is_ok());
        }
    }

    async fn try_take(&self) -> Result<()> {
        let mut call = script(TAKE, &[&self.key()]);
        call.arg(self.log.to_string()).arg(LEASE.as_secs() * 1000);
        match self.commands.run::<Option<String>>(call).await? {
            None => Ok(()),
            Some(other) => Err(self.conflict(&other)),
        }
    }

    fn conflict(&self, other: &str) -> Error {
        // Anybody may have written it.
        let other: String = other.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        let message = format!(
            "in Redis the prefix '{}' (bus.prefix) belongs to another log ({other}) than this node's ({}): nodes share one only \
             when they share a Kafka cluster and topic",
            self.commands.prefix(),
            self.log
        );
        Error::new(ErrorKind::Conflict, "log_conflict", message)
            .with_field("bus.prefix")
            .with_mend("set bus.prefix to a word of its own for each log, or wait two minutes when no node serves the other one any more")
    }

    /// One line of the log for each change.
    fn note(&self, error: Option<&Error>) {
        let mut state = self.state();
        let code = error.map(Error::code);
        let since_ms = match &state.health {
            Health::Down { since_ms, .. } if state.code == code => *since_ms,
            _ => self.clock.now_ms(),
        };
        let is_new = state.code != code;
        state.code = code;
        state.health = match error {
            Some(error) => Health::Down { since_ms, reason: error.message().to_owned() },
            None => Health::Up,
        };
        match error {
            _ if !is_new => {}
            Some(error) if error.kind() == ErrorKind::Conflict => {
                tracing::error!(code, "{error}");
            }
            Some(error) => {
                tracing::warn!(code, "which log this prefix of Redis belongs to is not known: {error}")
            }
            None => tracing::info!(log = %self.log, "the prefix in Redis is this log's"),
        }
    }

    fn key(&self) -> String {
        self.commands.key("log")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LogClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogClaim")
            .field("log", &self.log)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

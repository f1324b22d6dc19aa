//! Asks Redis for what the desk of a connection wants, as it changes.
//!
//! Changes go in rounds: all commands of a round are answered before the next, so no answer can be taken for a later
//! one. Classic Pub/Sub takes many names in a command. Sharded takes those of one slot, so each name is a command; and
//! there Redis gives up by itself what moves to another server, in the very words of an answer
//! (<https://github.com/valkey-io/valkey/issues/1066>): at the end of a batch stands a command with an answer of its own,
//! and when it is another one that stands there, nobody knows which answer was whose, and the connection is given up.

use super::counters::Counters;
use super::desk::Desk;
use super::dialect::Dialect;
use super::fault;
use super::wants::Changes;
use dualstream_core::channel::Target;
use futures::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, RedisResult, Value};
use std::sync::atomic::Ordering::Relaxed;

/// Most channels or patterns of one batch.
const BATCH_MAX: usize = 512;
/// What ends the answers to a batch.
const END: &str = "end";
const GIVE_UP: &str = "SUNSUBSCRIBE";

/// Who asks over one connection.
pub(super) struct Asker<'a> {
    pub desk: &'a Desk,
    pub counters: &'a Counters,
    pub prefix: &'a str,
    pub dialect: &'a Dialect,
    pub connection: &'a MultiplexedConnection,
}

impl Asker<'_> {
    /// Asks for what is wanted and gives up what is not; ends when the connection is of no use: why.
    pub async fn keep(&self) -> String {
        loop {
            let changes = self.desk.changes().await;
            let asked = match self.dialect {
                Dialect::Classic => self.round(changes).await.map_err(|error| fault::reason(&error)),
                Dialect::Sharded { .. } => self.sharded_round(changes).await,
            };
            if let Err(reason) = asked {
                return reason;
            }
        }
    }

    async fn round(&self, changes: Changes) -> RedisResult<()> {
        let given_up = split(&changes.unsubscribe).map(|batch| self.unsubscribe(batch));
        let given_up = join_all(given_up.collect::<Vec<_>>());
        let asked = split(&changes.subscribe).map(|batch| self.subscribe_all(batch));
        let asked = join_all(asked.collect::<Vec<_>>());
        let (given_up, asked) = futures::join!(given_up, asked);
        given_up.into_iter().chain(asked).collect()
    }

    /// When Redis refuses a batch it does not say because of which: then they are asked for one by one.
    async fn subscribe_all(&self, batch: &[Target]) -> RedisResult<()> {
        match self.subscribe(batch).await {
            Err(error) if fault::is_refusal(&error) => {}
            other => return other,
        }
        for target in batch {
            match self.subscribe(std::slice::from_ref(target)).await {
                Err(error) if fault::is_refusal(&error) => self.refused(target, &error),
                other => other?,
            }
        }
        Ok(())
    }

    fn refused(&self, target: &Target, error: &RedisError) {
        // A name that was refused tells what is wrong; thousands would tell no more.
        if self.desk.wants().refuse(target, &fault::at(self.dialect.subscribe(), error)) == 1 {
            let reason = fault::reason(error);
            tracing::warn!(%target, reason, "Redis does not let this server subscribe; what else it refuses is counted");
        }
        self.counters.refused.fetch_add(1, Relaxed);
    }

    async fn subscribe(&self, batch: &[Target]) -> RedisResult<()> {
        let (names, mut connection) = (self.names(batch), self.connection.clone());
        match batch {
            [Target::Pattern(_), ..] => connection.psubscribe(names).await,
            _ => connection.subscribe(names).await,
        }
    }

    async fn unsubscribe(&self, batch: &[Target]) -> RedisResult<()> {
        let (names, mut connection) = (self.names(batch), self.connection.clone());
        match batch {
            [Target::Pattern(_), ..] => connection.punsubscribe(names).await,
            _ => connection.unsubscribe(names).await,
        }
    }

    /// Their names on Redis. There is nothing to escape: neither channels nor prefixes hold what a pattern of Redis
    /// gives a meaning, and a pattern is a prefix and `*` there too.
    fn names(&self, targets: &[Target]) -> Vec<String> {
        targets.iter().map(|target| [self.prefix, target.as_str()].concat()).collect()
    }

    async fn sharded_round(&self, changes: Changes) -> Result<(), String> {
        let given_up = changes.unsubscribe.iter().map(|target| (GIVE_UP, target));
        let asked = changes.subscribe.iter().map(|target| (self.dialect.subscribe(), target));
        let commands: Vec<_> = given_up.chain(asked).collect();
        let batches = commands.chunks(BATCH_MAX).map(|batch| self.sharded_batch(batch));
        join_all(batches.collect::<Vec<_>>()).await.into_iter().collect()
    }

    async fn sharded_batch(&self, commands: &[(&str, &Target)]) -> Result<(), String> {
        let mut pipeline = Pipeline::with_capacity(commands.len() + 1);
        for (word, target) in commands {
            pipeline.cmd(word).arg([self.prefix, target.as_str()].concat());
        }
        pipeline.cmd("PING").arg(END);
        let (mut connection, count) = (self.connection.clone(), pipeline.len());
        let answers = connection.req_packed_commands(&pipeline, 0, count).await;
        let answers = answers.map_err(|error| fault::reason(&error))?;
        let Some((Value::BulkString(_), answers)) = answers.split_last() else {
            return Err(
                "a slot moved while it was asked for something: nobody knows which answer was whose".into()
            );
        };
        commands.iter().zip(answers).try_for_each(|((word, target), answer)| match answer {
            Value::ServerError(error) if *word != GIVE_UP => {
                self.not_subscribed(target, &error.clone().into())
            }
            // What is not there any more is given up.
            _ => Ok(()),
        })
    }

    fn not_subscribed(&self, target: &Target, error: &RedisError) -> Result<(), String> {
        if fault::is_elsewhere(error) {
            self.desk.wants().stray(target);
            self.dialect.doubt();
        } else if fault::is_refusal(error) {
            self.refused(target, error);
        } else {
            return Err(self.dialect.reason(error));
        }
        Ok(())
    }
}

/// In batches of one kind each.
fn split(targets: &[Target]) -> impl Iterator<Item = &[Target]> {
    let is_pattern = |target: &Target| matches!(target, Target::Pattern(_));
    targets.chunk_by(move |a, b| is_pattern(a) == is_pattern(b)).flat_map(|same| same.chunks(BATCH_MAX))
}

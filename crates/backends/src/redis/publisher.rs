//! Publishes what waits, over one connection.
//!
//! ```text
//!  publish ─▶ Outbox ─ batches, a few unanswered at a time ─▶ PUBLISH … ─▶ Redis
//!                ▲ shut while Redis is away            no answer in time ─▶ connect again
//! ```
//! Whoever publishes never waits for any of this. Order is kept. Nothing is sent twice: what was sent on a connection
//! that was lost is counted as failed. A connection that is lost is made again at once, and what waits is kept for it;
//! only when that fails is Redis away, and the outbox shut until it is back.

use super::client::Node;
use super::condition::{Condition, Part};
use super::counters::Counters;
use super::outbox::{Outbox, Outgoing};
use super::pause::Pause;
use super::{Settings, fault};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Pipeline, RedisResult, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Most messages and most bytes of one batch. A few batches must be answered within the deadline, also over a slow network.
const BATCH_MESSAGES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 32 << 10;
/// Most batches that are sent and not answered.
const BATCHES_MAX: usize = 4;

/// The publishing half of the bus.
pub(super) struct Publisher {
    pub settings: Arc<Settings>,
    pub outbox: Arc<Outbox>,
    pub condition: Arc<Condition>,
    pub counters: Arc<Counters>,
    /// Somebody knows that the connection leads to the wrong server.
    pub move_on: Arc<Notify>,
    pub pause: Pause,
}

/// A batch on its way.
struct Batch {
    pipeline: Pipeline,
    messages: u64,
    probes: Vec<oneshot::Sender<()>>,
}

/// Why a connection is not used any more.
enum Ended {
    /// It failed; whether it had brought anything before.
    Lost { reason: String, was_useful: bool },
    /// It leads to the wrong server.
    MoveOn,
    /// Nothing waits, and nothing will.
    Closed,
}

impl Publisher {
    /// Publishes until the outbox is closed and empty, or closed and Redis away.
    pub async fn run(mut self) {
        let mut is_trusted = true;
        let mut connections = 0_u64;
        loop {
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.settings.deadline));
            let ended = match self.settings.address.connect_node(config, 0).await {
                Ok(node) => {
                    self.counters.publisher_reconnects.fetch_add(u64::from(connections > 0), Relaxed);
                    connections += 1;
                    self.outbox.open();
                    let begun = Instant::now();
                    let mut ended = self.over(node, is_trusted).await;
                    if let Ended::Lost { was_useful, .. } = &mut ended {
                        *was_useful &= self.pause.is_spared(begun.elapsed());
                    }
                    ended
                }
                Err(error) => Ended::Lost { reason: error.message().to_owned(), was_useful: false },
            };
            match ended {
                Ended::Closed => return,
                Ended::Lost { .. } if self.outbox.is_closed() => return self.outbox.shut(),
                Ended::MoveOn | Ended::Lost { was_useful: true, .. } => is_trusted = true,
                Ended::Lost { reason, was_useful: false } => {
                    is_trusted = false;
                    self.away(&reason).await;
                }
            }
        }
    }

    /// Waits for the next try; what is published meanwhile is dropped.
    async fn away(&mut self, reason: &str) {
        self.outbox.shut();
        self.condition.down(Part::Publishing, reason);
        tokio::select! {
            biased;
            () = self.outbox.closed() => {}
            () = tokio::time::sleep(self.pause.next()) => {}
        }
    }

    /// Publishes over one connection. One that is not trusted is up once it brought something.
    async fn over(&mut self, node: Node, is_trusted: bool) -> Ended {
        let mut flying = FuturesUnordered::new();
        // What was sent and not answered yet, for it is lost with the connection.
        let (mut unanswered, mut was_useful, mut is_refused) = (0, false, false);
        let mut leaving = None;
        if is_trusted {
            self.condition.up(Part::Publishing);
        }
        loop {
            let takes = leaving.is_none() && flying.len() < BATCHES_MAX;
            tokio::select! {
                biased;
                Some((batch, answer)) = flying.next() => {
                    let batch: Batch = batch;
                    unanswered -= batch.messages;
                    if let Err(reason) = self.settle(batch, answer, &mut is_refused) {
                        self.counters.failed.fetch_add(unanswered, Relaxed);
                        return Ended::Lost { reason: format!("Redis at {}: {reason}", node.place), was_useful };
                    }
                    was_useful = true;
                    self.condition.up(Part::Publishing);
                }
                () = self.move_on.notified(), if leaving.is_none() => leaving = Some(Ended::MoveOn),
                more = self.outbox.wait(), if takes => match more {
                    true => {
                        let batch = Batch::new(self.outbox.take(BATCH_MESSAGES_MAX, BATCH_BYTES_MAX), &self.settings.prefix);
                        unanswered += batch.messages;
                        flying.push(batch.send(node.connection.clone()));
                    }
                    false => leaving = Some(Ended::Closed),
                },
            }
            if flying.is_empty()
                && let Some(ended) = leaving
            {
                return ended;
            }
        }
    }

    /// Counts what became of a batch; an error when the connection is of no use any more.
    fn settle(
        &self,
        batch: Batch,
        answer: RedisResult<Vec<Value>>,
        is_refused: &mut bool,
    ) -> Result<(), String> {
        let answers = answer.inspect_err(|_| {
            self.counters.failed.fetch_add(batch.messages, Relaxed);
        });
        let answers = answers.map_err(|error| fault::reason(&error))?;
        let errors = answers.into_iter().filter_map(|answer| match answer {
            Value::ServerError(error) => Some(redis::RedisError::from(error)),
            _ => None,
        });
        let errors: Vec<_> = errors.collect();
        let failed = batch.messages.min(errors.len() as u64);
        self.counters.failed.fetch_add(failed, Relaxed);
        self.counters.published.fetch_add(batch.messages - failed, Relaxed);
        match errors.first() {
            None => {
                for probe in batch.probes {
                    // Who asked has gone with its connection.
                    let _ = probe.send(());
                }
                Ok(())
            }
            Some(error) if fault::is_refusal(error) => {
                if !std::mem::replace(is_refused, true) {
                    tracing::warn!(reason = fault::reason(error), "Redis does not let this server publish");
                }
                Ok(())
            }
            Some(error) => Err(fault::reason(error)),
        }
    }
}

impl Batch {
    fn new(items: Vec<Outgoing>, prefix: &str) -> Batch {
        let mut batch =
            Batch { pipeline: Pipeline::with_capacity(items.len()), messages: 0, probes: Vec::new() };
        for item in items {
            let publish = batch.pipeline.cmd("PUBLISH");
            match item {
                Outgoing::Message(message) if prefix.is_empty() => {
                    publish.arg(message.channel.as_str()).arg(&message.payload[..]);
                    batch.messages += 1;
                }
                Outgoing::Message(message) => {
                    publish.arg([prefix, message.channel.as_str()].concat()).arg(&message.payload[..]);
                    batch.messages += 1;
                }
                Outgoing::Probe(name, payload, sent) => {
                    publish.arg(&*name).arg(&payload[..]);
                    batch.probes.push(sent);
                }
            }
        }
        batch
    }

    /// Sends it, and waits for all answers.
    async fn send(self, mut connection: MultiplexedConnection) -> (Batch, RedisResult<Vec<Value>>) {
        let count = self.pipeline.len();
        let answer = connection.req_packed_commands(&self.pipeline, 0, count).await;
        (self, answer)
    }
}

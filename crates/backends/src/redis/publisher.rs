//! Publishes what waits, over one connection.
//!
//! ```text
//!  publish ─▶ Outbox ─ batches, a few unanswered at a time ─▶ PUBLISH … ─▶ Redis
//!                ▲ shut while Redis is away            no answer in time ─▶ connect again
//! ```
//! Whoever publishes never waits for any of this. Order is kept. Nothing is sent twice: what was sent on a connection
//! that was lost is counted as failed. A connection that is lost is made again at once, and what waits is kept for it;
//! only when that fails is Redis away, and the outbox shut until it is back. A Redis that does not let this server publish
//! is down too, but nothing is gained by another connection.

use super::client::Node;
use super::condition::{Condition, Part};
use super::counters::Counters;
use super::dialect::Dialect;
use super::outbox::{Outbox, Outgoing};
use super::pause::Pause;
use super::permission::{Permission, Subject};
use super::{Address, Settings, fault};
use dualstream_core::bus::Message;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Pipeline, PushInfo, PushKind, RedisResult, Value};
use std::convert::Infallible;
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
    pub part: Part,
    pub dialect: Dialect,
    pub address: Address,
    pub settings: Arc<Settings>,
    pub outbox: Arc<Outbox>,
    pub condition: Arc<Condition>,
    pub counters: Arc<Counters>,
    /// Somebody knows that the connection leads to the wrong server.
    pub move_on: Arc<Notify>,
    pub pause: Pause,
    pub permission: Permission,
}

/// A batch on its way.
struct Batch {
    pipeline: Pipeline,
    messages: u64,
    items: Vec<Item>,
}

/// Who waits for an answer to one command of a batch.
enum Item {
    Message,
    Probe(oneshot::Sender<bool>),
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
        // Which of the hosts is asked first.
        let (mut connections, mut first) = (0_u64, 0_usize);
        loop {
            let gone = Arc::new(Notify::new());
            let config = AsyncConnectionConfig::new()
                .set_response_timeout(Some(self.settings.deadline))
                .set_push_sender(ends(gone.clone()));
            let ended = match self.address.connect_node(config, first).await {
                Ok(node) => {
                    self.counters.publisher_reconnects.fetch_add(u64::from(connections > 0), Relaxed);
                    connections += 1;
                    self.outbox.open();
                    let begun = Instant::now();
                    let mut ended = self.over(node, is_trusted, &gone).await;
                    // It may be cut off, or hang: the next one leads elsewhere where there is another.
                    first = first.wrapping_add(1);
                    if let Ended::Lost { was_useful: was_useful @ true, .. } = &mut ended {
                        *was_useful = self.pause.is_spared(begun.elapsed());
                    } else if matches!(ended, Ended::MoveOn) {
                        self.pause.is_spared(begun.elapsed());
                    }
                    ended
                }
                Err(error) => Ended::Lost { reason: error.message().to_owned(), was_useful: false },
            };
            self.dialect.doubt();
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
        self.condition.down(self.part, reason);
        tokio::select! {
            biased;
            () = self.outbox.closed() => {}
            () = tokio::time::sleep(self.pause.next()) => {}
        }
    }

    /// Publishes over one connection. One that is not trusted is up once it brought something.
    async fn over(&mut self, node: Node, is_trusted: bool, gone: &Notify) -> Ended {
        let mut flying = FuturesUnordered::new();
        // What was sent and not answered yet, for it is lost with the connection.
        let (mut unanswered, mut was_useful, mut is_refused) = (0, false, false);
        let mut leaving = None;
        if is_trusted && self.permission.denied().is_none() {
            self.condition.up(self.part);
        }
        loop {
            let takes = leaving.is_none() && flying.len() < BATCHES_MAX;
            tokio::select! {
                biased;
                Some((batch, answer)) = flying.next() => {
                    let batch: Batch = batch;
                    unanswered -= batch.messages;
                    match self.settle(batch, answer, &mut is_refused) {
                        Ok(is_taken) => self.tell(&node.place, is_taken),
                        Err(reason) => {
                            self.counters.failed.fetch_add(unanswered, Relaxed);
                            return Ended::Lost { reason: format!("Redis at {}: {reason}", node.place), was_useful };
                        }
                    }
                    was_useful = true;
                }
                // What is on its way is answered, with an error at the least.
                () = gone.notified(), if flying.is_empty() => {
                    let reason = format!("Redis at {}: the connection was lost", node.place);
                    return Ended::Lost { reason, was_useful: true };
                }
                () = self.move_on.notified(), if leaving.is_none() => leaving = Some(Ended::MoveOn),
                more = self.outbox.wait(), if takes => match more {
                    true => {
                        let items = self.outbox.take(BATCH_MESSAGES_MAX, BATCH_BYTES_MAX);
                        let batch = Batch::new(items, self.dialect.publish(), &self.settings.prefix);
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

    /// Up when something was taken, down when nothing may be published.
    fn tell(&self, place: &str, is_taken: bool) {
        match self.permission.denied() {
            Some(reason) => {
                let reason = format!("Redis at {place} does not let this server publish: {reason}");
                self.condition.down(self.part, &reason);
            }
            None if is_taken => self.condition.up(self.part),
            None => {}
        }
    }

    /// Counts what became of a batch, and tells each probe what became of it; whether anything was taken. An error when
    /// the connection is of no use any more.
    fn settle(
        &mut self,
        batch: Batch,
        answer: RedisResult<Vec<Value>>,
        is_refused: &mut bool,
    ) -> Result<bool, String> {
        let answers = match answer {
            Ok(answers) => answers,
            Err(error) => {
                self.counters.failed.fetch_add(batch.messages, Relaxed);
                return Err(fault::reason(&error));
            }
        };
        let (mut taken, mut is_taken, mut wrong) = (0, false, None);
        for (item, answer) in batch.items.into_iter().zip(answers) {
            let subject = item.subject();
            match answer {
                Value::ServerError(error) => {
                    let error = redis::RedisError::from(error);
                    if fault::is_refusal(&error) {
                        self.refused(subject, &fault::reason(&error), is_refused);
                        item.tell(false);
                    } else if fault::is_elsewhere(&error) {
                        // Nothing is sent twice, and what is old by then is of no use there.
                        self.dialect.doubt();
                        item.tell(false);
                    } else {
                        wrong.get_or_insert_with(|| self.dialect.reason(&error));
                    }
                }
                _ => {
                    is_taken = true;
                    taken += u64::from(subject == Subject::Message);
                    self.permission.taken(subject);
                    item.tell(true);
                }
            }
        }
        self.counters.published.fetch_add(taken, Relaxed);
        self.counters.failed.fetch_add(batch.messages - taken, Relaxed);
        wrong.map_or(Ok(is_taken), Err)
    }

    fn refused(&mut self, subject: Subject, reason: &str, was_told: &mut bool) {
        self.permission.refused(subject, reason);
        // A refused probe is told of by the condition.
        if subject == Subject::Message && !std::mem::replace(was_told, true) {
            tracing::warn!(reason, "Redis does not let this server publish to a channel");
        }
    }
}

/// Tells of the end of a connection, also of one over which nothing is sent.
fn ends(gone: Arc<Notify>) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
    move |push| {
        if push.kind == PushKind::Disconnection {
            gone.notify_one();
        }
        Ok(())
    }
}

impl Item {
    fn subject(&self) -> Subject {
        match self {
            Item::Message => Subject::Message,
            Item::Probe(_) => Subject::Probe,
        }
    }

    fn tell(self, is_taken: bool) {
        if let Item::Probe(sent) = self {
            // Who asked may have gone with its connection.
            let _ = sent.send(is_taken);
        }
    }
}

impl Batch {
    fn new(items: Vec<Outgoing>, word: &str, prefix: &str) -> Batch {
        let mut batch =
            Batch { pipeline: Pipeline::with_capacity(items.len()), messages: 0, items: Vec::new() };
        for item in items {
            let publish = batch.pipeline.cmd(word);
            batch.items.push(match item {
                Outgoing::Message(Message { channel, payload }) => {
                    match prefix {
                        "" => publish.arg(channel.as_str()),
                        _ => publish.arg([prefix, channel.as_str()].concat()),
                    };
                    publish.arg(&payload[..]);
                    batch.messages += 1;
                    Item::Message
                }
                Outgoing::Probe(name, payload, sent) => {
                    publish.arg(&*name).arg(&payload[..]);
                    Item::Probe(sent)
                }
            });
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

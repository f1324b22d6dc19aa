//! One subscribing connection: brings what its desk wants, proves that it does, and comes back when it is lost.
//!
//! ```text
//!  connect ─▶ SUBSCRIBE its probe ─▶ SUBSCRIBE what is wanted, in batches ─▶ … what changes
//!     ▲                                 │ every probe_interval: the publishing connection PUBLISHes the probe
//!     └──── lost, or no echo ◀──────────┘
//! ```
//! A server that nobody replicates to any more answers every PING; only the echo tells.

use super::ask::Asker;
use super::client::{CONNECT_MAX, Node};
use super::condition::{Condition, Part};
use super::counters::Counters;
use super::desk::Desk;
use super::dialect::Dialect;
use super::outbox::Outbox;
use super::pause::Pause;
use super::reader::Reader;
use super::{Address, Settings};
use dualstream_core::fan_out::FanOut;
use redis::{AsyncConnectionConfig, PushInfo, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

/// How soon a probe is tried again that could not be published.
const RETRY: Duration = Duration::from_millis(100);

/// A subscribing connection.
pub(super) struct Line {
    /// Which of those of its lane, which begin at different hosts.
    pub number: usize,
    pub part: Part,
    pub dialect: Dialect,
    pub address: Address,
    pub settings: Arc<Settings>,
    pub desk: Arc<Desk>,
    pub fan_out: FanOut,
    pub outbox: Arc<Outbox>,
    pub condition: Arc<Condition>,
    pub counters: Arc<Counters>,
    /// Told when what is published does not come back: it may be the publishing connection that leads elsewhere.
    pub move_on: Arc<Notify>,
    /// The channel of its probe.
    pub probe: Arc<str>,
    pub pause: Pause,
}

/// Why a connection is not used any more.
struct Lost {
    reason: String,
    /// Nobody closed it, and it brought nothing.
    is_silent: bool,
    /// It is worth a try at once.
    was_useful: bool,
}

impl Line {
    /// Brings what is wanted, for ever.
    pub async fn run(mut self) -> Infallible {
        let (mut is_trusted, mut connections) = (true, 0_u64);
        // Another node of a Cluster than the one that publishes: so the echo proves that they are connected.
        let mut first = self.number + 1;
        loop {
            let reader = Arc::new(self.reader());
            let lost = match self.connect(&reader, first).await {
                Ok(node) => {
                    let begun = Instant::now();
                    self.counters.subscriber_reconnects.fetch_add(u64::from(connections > 0), Relaxed);
                    connections += 1;
                    let mut lost = self.over(&node, &reader, is_trusted).await;
                    self.interrupt(&reader);
                    lost.was_useful = lost.was_useful && self.pause.is_spared(begun.elapsed());
                    // What is silent may be cut off from the others.
                    first = first.wrapping_add(usize::from(lost.is_silent));
                    lost
                }
                Err(reason) => Lost { reason, is_silent: false, was_useful: false },
            };
            self.counters.silences.fetch_add(u64::from(lost.is_silent), Relaxed);
            is_trusted = lost.was_useful && !lost.is_silent;
            self.dialect.doubt();
            if !lost.was_useful {
                self.condition.down(self.part, &lost.reason);
                sleep(self.pause.next()).await;
            }
        }
    }

    fn reader(&self) -> Reader {
        Reader {
            desk: self.desk.clone(),
            dialect: self.dialect.clone(),
            fan_out: self.fan_out.clone(),
            counters: self.counters.clone(),
            prefix: self.settings.prefix.clone(),
            probe: self.probe.clone(),
            echo: watch::Sender::new(0),
            is_gone: watch::Sender::new(false),
            was_useful: AtomicBool::new(false),
        }
    }

    /// Connects and subscribes the probe: what may not even do that says so at once.
    async fn connect(&self, reader: &Arc<Reader>, first: usize) -> Result<Node, String> {
        let reading = reader.clone();
        let take = move |push: PushInfo| -> Result<(), Infallible> {
            reading.take(push);
            Ok(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(take).set_response_timeout(None);
        let connected = self.address.connect_node(config, first).await;
        let mut node = connected.map_err(|error| error.message().to_owned())?;
        let at = |reason: String| format!("Redis at {}: {reason}", node.place);
        // In RESP3 a name that is subscribed is one answer, classic or sharded.
        let subscribe = redis::cmd(self.dialect.subscribe()).arg(&*self.probe).to_owned();
        match timeout(CONNECT_MAX, subscribe.query_async::<Value>(&mut node.connection)).await {
            Ok(Ok(_)) => Ok(node),
            Ok(Err(error)) => Err(at(self.dialect.reason(&error))),
            Err(_) => Err(at("no answer in time".to_owned())),
        }
    }

    /// Uses a connection for as long as it is of use. One that is not trusted is up once its probe came back.
    async fn over(&mut self, node: &Node, reader: &Reader, is_trusted: bool) -> Lost {
        reader.was_useful.store(false, Relaxed);
        if is_trusted {
            self.condition.up(self.part);
        }
        let (desk, counters, settings) = (self.desk.clone(), self.counters.clone(), self.settings.clone());
        let dialect = self.dialect.clone();
        let (prefix, connection) = (&*settings.prefix, &node.connection);
        let asker = Asker { desk: &desk, counters: &counters, prefix, dialect: &dialect, connection };
        let mut is_gone = reader.is_gone.subscribe();
        let mut is_silent = false;
        let reason = tokio::select! {
            biased;
            // The sender is the reader, which is borrowed here.
            _ = is_gone.wait_for(|is_gone| *is_gone) => "the connection was lost".to_owned(),
            reason = asker.keep() => reason,
            reason = self.prove(&node.place, reader) => {
                is_silent = true;
                reason
            }
        };
        let reason = format!("Redis at {}: {reason}", node.place);
        // One that is silent from the first is no better the next moment.
        let was_useful = if is_silent { *reader.echo.borrow() > 0 } else { reader.was_useful.load(Relaxed) };
        Lost { reason, is_silent, was_useful }
    }

    /// Publishes a probe again and again; ends when one does not come back.
    async fn prove(&mut self, place: &str, reader: &Reader) -> String {
        let interval = self.settings.probe_interval;
        let mut echo = reader.echo.subscribe();
        for number in 1_u64.. {
            let (sent, was_sent) = oneshot::channel();
            let begin = Instant::now();
            self.outbox.probe(self.probe.clone(), number.to_string().into(), sent);
            // While nothing can be published nothing is proved.
            let Ok(is_taken) = was_sent.await else {
                sleep(RETRY).await;
                self.outbox.opened().await;
                continue;
            };
            if is_taken {
                if timeout(interval / 2, echo.wait_for(|last| *last >= number)).await.is_err() {
                    self.move_on.notify_one();
                    return "what is published does not come back".to_owned();
                }
                self.counters.probe_latency.record(begin.elapsed());
                self.condition.up(self.part);
            }
            sleep(interval).await;
            if !self.address.is_still_at(place).await {
                self.move_on.notify_one();
                return "Sentinel names another master".to_owned();
            }
        }
        unreachable!("numbers of 64 bits do not end")
    }

    /// The connection is gone: what it brought is to be asked for anew.
    fn interrupt(&self, reader: &Reader) {
        let mut wants = self.desk.wants();
        reader.is_gone.send_replace(true);
        let interrupted = wants.interrupt();
        self.counters.interrupted.fetch_add(interrupted as u64, Relaxed);
    }
}

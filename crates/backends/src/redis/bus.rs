//! The bus over Redis Pub/Sub.
//!
//! ```text
//!  publish ─▶ Outbox ─▶ Publisher ───▶ Redis ───▶ Line 1..n ─▶ Reader ─▶ FanOut ─▶ subscribers here
//!                                        ▲            ▲
//!                                        └ SUBSCRIBE ─┴── Desk: what they want
//! ```
//! Guarantees what [`Bus`] does: nobody waits for Redis but who subscribes, and nothing is kept. A channel is always on
//! the same of a few connections, and subscribed there once, however many want it here.

use super::Settings;
use super::condition::{Condition, Part};
use super::counters::Counters;
use super::desk::Desk;
use super::line::Line;
use super::outbox::Outbox;
use super::pause::Pause;
use super::permission::Permission;
use super::publisher::Publisher;
use dualstream_core::Result;
use dualstream_core::bus::{Bus, Delivery, Health, Message};
use dualstream_core::channel::Target;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::fan_out::{self, FanOut};
use dualstream_core::{Error, ErrorKind};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, Stream};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Longest time to publish what waits when the server ends.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// A [`Bus`] over Redis. Cheap to clone: clones are the same bus.
#[derive(Clone)]
pub struct RedisBus {
    fan_out: FanOut,
    desks: Arc<[Arc<Desk>]>,
    outbox: Arc<Outbox>,
    condition: Arc<Condition>,
    counters: Arc<Counters>,
}

/// Does the work of a bus.
pub struct Runner {
    bus: RedisBus,
    publisher: Publisher,
    lines: Vec<Line>,
}

impl RedisBus {
    /// A bus that connects once its runner runs, whether Redis is there or not.
    ///
    /// # Errors
    /// `invalid_redis_prefix`.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(RedisBus, Runner)> {
        Settings::check_prefix(&settings.prefix)?;
        let settings = Arc::new(settings);
        let count = settings.connections.max(1);
        let parts = (0..count).map(Part::Subscribing).chain([Part::Publishing]);
        let counters = Arc::new(Counters::default());
        let bus = RedisBus {
            fan_out: FanOut::new(settings.subscriber_bytes_max),
            desks: (0..count).map(|_| Arc::default()).collect(),
            outbox: Arc::new(Outbox::new(settings.queue_bytes_max, counters.clone())),
            condition: Arc::new(Condition::new(settings.address.to_string(), parts, clock)),
            counters,
        };
        let move_on = Arc::new(Notify::new());
        let publisher = Publisher {
            settings: settings.clone(),
            outbox: bus.outbox.clone(),
            condition: bus.condition.clone(),
            counters: bus.counters.clone(),
            move_on: move_on.clone(),
            pause: Pause::new(entropy.clone()),
            permission: Permission::default(),
        };
        let line = |number| Line {
            number,
            settings: settings.clone(),
            desk: bus.desks[number].clone(),
            fan_out: bus.fan_out.clone(),
            outbox: bus.outbox.clone(),
            condition: bus.condition.clone(),
            counters: bus.counters.clone(),
            move_on: move_on.clone(),
            probe: format!("{}dualstream:probe:{:016x}", settings.prefix, entropy.next_u64()).into(),
            pause: Pause::new(entropy.clone()),
        };
        let lines = (0..count).map(line).collect();
        Ok((bus.clone(), Runner { bus, publisher, lines }))
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many channels and patterns Redis confirmed and brings now.
    pub fn confirmed(&self) -> usize {
        self.desks.iter().map(|desk| desk.wants().confirmed()).sum()
    }

    /// How many messages were dropped because somebody here read too slowly.
    pub fn slow_dropped(&self) -> u64 {
        self.fan_out.dropped()
    }

    /// Its health, as it changes.
    pub fn watch(&self) -> watch::Receiver<Health> {
        self.condition.watch()
    }

    fn join(&self, target: Target) -> Result<(Subscription, tokio::sync::oneshot::Receiver<Result<()>>)> {
        let deliveries = self.fan_out.join(target.clone())?;
        let desk = self.desk(&target).clone();
        let confirmed = desk.join(&target);
        Ok((Subscription { deliveries, desk, target }, confirmed))
    }

    /// That of the connection which brings the target.
    fn desk(&self, target: &Target) -> &Arc<Desk> {
        let mut hasher = DefaultHasher::new();
        target.as_str().hash(&mut hasher);
        let count = self.desks.len() as u64;
        &self.desks[usize::try_from(hasher.finish() % count).expect("less than there are desks")]
    }
}

impl Bus for RedisBus {
    fn publish(&self, messages: Vec<Message>) -> usize {
        self.outbox.push(messages)
    }

    /// Waits while Redis is away: whoever does not want to, drops it.
    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
        let joined = self.join(target);
        async move {
            let (subscription, confirmed) = joined?;
            confirmed.await.map_err(|_| closed())??;
            Ok(Box::pin(subscription) as BoxStream<'static, Delivery>)
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.condition.now()
    }
}

impl Runner {
    /// Works until `shutdown` resolves, then publishes what waits, for at most a second, and ends all subscriptions.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Runner { bus, publisher, lines } = self;
        let mut publisher = pin!(publisher.run());
        let lines = join_all(lines.into_iter().map(Line::run));
        tokio::select! {
            biased;
            () = shutdown => {}
            // Neither ends before it is told to.
            () = &mut publisher => return,
            _ = lines => return,
        }
        bus.outbox.close();
        bus.fan_out.close();
        bus.desks.iter().for_each(|desk| desk.close());
        let flushed = tokio::time::timeout(FLUSH_MAX, publisher).await;
        if flushed.is_err() {
            tracing::debug!("what waited for Redis is lost: it did not take it in time");
        }
    }
}

/// What one subscriber gets. Dropping it leaves.
struct Subscription {
    deliveries: fan_out::Subscription,
    desk: Arc<Desk>,
    target: Target,
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        Pin::new(&mut self.deliveries).poll_next(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.desk.leave(&self.target);
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "bus_closed", "the bus was shut down")
}

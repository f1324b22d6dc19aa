//! The bus over Redis Pub/Sub.
//!
//! ```text
//!  publish ─▶ Outbox ─▶ Publisher ───▶ Redis ───▶ Line 1..n ─▶ Reader ─▶ FanOut ─▶ subscribers here
//!                                        ▲            ▲
//!                                        └ SUBSCRIBE ─┴── Desk: what they want
//! ```
//! Guarantees what [`Bus`] does: nobody waits for Redis but who subscribes, and nothing is kept. A channel is always on
//! the same of a few connections, and subscribed there once, however many want it here. In a sharded Cluster there is all
//! of this for each shard, and no patterns.

use super::Settings;
use super::condition::{Condition, Part};
use super::counters::Counters;
use super::desk::Desk;
use super::dialect::Dialect;
use super::line::Line;
use super::outbox::Outbox;
use super::pause::Pause;
use super::permission::Permission;
use super::publisher::Publisher;
use super::routes::{Lane, Routes};
use super::shards::Shards;
use dualstream_core::Result;
use dualstream_core::bus::{self, Bus, Delivery, Health, Message};
use dualstream_core::channel::Target;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::fan_out::{self, FanOut};
use dualstream_core::{Error, ErrorKind};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, Stream};
use std::pin::Pin;
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
    routes: Arc<Routes>,
    condition: Arc<Condition>,
    counters: Arc<Counters>,
    is_sharded: bool,
}

/// Does the work of a bus.
pub struct Runner {
    bus: RedisBus,
    work: BoxFuture<'static, ()>,
}

impl RedisBus {
    /// A bus that connects once its runner runs, whether Redis is there or not.
    ///
    /// # Errors
    /// `invalid_redis_prefix`, `redis_not_sharded`.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(RedisBus, Runner)> {
        settings.check()?;
        Ok(match settings.sharded {
            true => RedisBus::sharded(Arc::new(settings), clock, entropy),
            false => RedisBus::classic(Arc::new(settings), clock, entropy),
        })
    }

    fn classic(
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> (RedisBus, Runner) {
        let count = settings.connections.max(1);
        let parts = (0..count).map(|number| Part::Subscribing(0, number)).chain([Part::Publishing(0)]);
        let counters = Arc::new(Counters::default());
        let condition = Arc::new(Condition::new(settings.address.to_string(), parts, clock));
        let outbox = Arc::new(Outbox::new(settings.queue_bytes_max, counters.clone()));
        let desks: Vec<Arc<Desk>> = (0..count).map(|_| Arc::default()).collect();
        let lane = Lane { outbox: outbox.clone(), desks: desks.clone(), shard: None };
        let routes = Arc::new(Routes::one(lane, counters.clone()));
        let fan_out = FanOut::new(settings.subscriber_bytes_max);
        let bus = RedisBus { fan_out, routes, condition, counters, is_sharded: false };
        let move_on = Arc::new(Notify::new());
        let publisher = Publisher {
            part: Part::Publishing(0),
            dialect: Dialect::Classic,
            address: settings.address.clone(),
            settings: settings.clone(),
            outbox: outbox.clone(),
            condition: bus.condition.clone(),
            counters: bus.counters.clone(),
            move_on: move_on.clone(),
            pause: Pause::new(entropy.clone()),
            permission: Permission::default(),
        };
        let line = |(number, desk)| Line {
            number,
            part: Part::Subscribing(0, number),
            dialect: Dialect::Classic,
            address: settings.subscribe_at.clone().unwrap_or_else(|| settings.address.clone()),
            settings: settings.clone(),
            desk,
            fan_out: bus.fan_out.clone(),
            outbox: outbox.clone(),
            condition: bus.condition.clone(),
            counters: bus.counters.clone(),
            move_on: move_on.clone(),
            probe: settings.probe(&*entropy).into(),
            pause: Pause::new(entropy.clone()),
        };
        let lines: Vec<Line> = desks.into_iter().enumerate().map(line).collect();
        let work = async move {
            tokio::select! {
                biased;
                () = publisher.run() => {}
                // None of them ends.
                _ = join_all(lines.into_iter().map(Line::run)) => {}
            }
        };
        (bus.clone(), Runner { bus, work: work.boxed() })
    }

    fn sharded(
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> (RedisBus, Runner) {
        let counters = Arc::new(Counters::default());
        let condition = Arc::new(Condition::new(settings.address.to_string(), [Part::Slots], clock));
        let outbox = Arc::new(Outbox::new(settings.queue_bytes_max, counters.clone()));
        let nowhere = Lane { outbox, desks: vec![Arc::default()], shard: None };
        let routes = Arc::new(Routes::sharded(nowhere, &settings.prefix, counters.clone()));
        let fan_out = FanOut::new(settings.subscriber_bytes_max);
        let bus = RedisBus { fan_out, routes, condition, counters, is_sharded: true };
        let work = Shards {
            settings,
            routes: bus.routes.clone(),
            fan_out: bus.fan_out.clone(),
            condition: bus.condition.clone(),
            counters: bus.counters.clone(),
            entropy,
        };
        (bus.clone(), Runner { bus, work: work.run().boxed() })
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many channels and patterns Redis confirmed and brings now.
    pub fn confirmed(&self) -> usize {
        self.routes.confirmed()
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
        if self.is_sharded && matches!(target, Target::Pattern(_)) {
            return Err(bus::no_patterns(&target));
        }
        let deliveries = self.fan_out.join(target.clone())?;
        let confirmed = self.routes.join(&target);
        Ok((Subscription { deliveries, routes: self.routes.clone(), target }, confirmed))
    }
}

impl Bus for RedisBus {
    fn publish(&self, messages: Vec<Message>) -> usize {
        self.routes.push(messages)
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

    fn has_patterns(&self) -> bool {
        !self.is_sharded
    }
}

impl Runner {
    /// Works until `shutdown` resolves, then publishes what waits, for at most a second, and ends all subscriptions.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Runner { bus, mut work } = self;
        tokio::select! {
            biased;
            () = shutdown => {}
            // It does not end before it is told to.
            () = &mut work => return,
        }
        bus.fan_out.close();
        bus.routes.close();
        let flushed = tokio::time::timeout(FLUSH_MAX, work).await;
        if flushed.is_err() {
            tracing::debug!("what waited for Redis is lost: it did not take it in time");
        }
    }
}

/// What one subscriber gets. Dropping it leaves.
struct Subscription {
    deliveries: fan_out::Subscription,
    routes: Arc<Routes>,
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
        self.routes.leave(&self.target);
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "bus_closed", "the bus was shut down")
}

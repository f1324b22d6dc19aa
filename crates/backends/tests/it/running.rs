//! A bus over Redis with its runner, and what tests do with it.

use dualstream_backends::redis::{Address, RedisBus, Settings};
use dualstream_core::bus::{Bus, Delivery, Health, Message};
use dualstream_core::channel::{Channel, Target};
use dualstream_core::testing::{self, BusBackend, ManualClock, SeededEntropy};
use dualstream_services::Redis;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A bus with its runner, ended with the value.
pub(crate) struct Running {
    pub(crate) bus: RedisBus,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(settings: Settings) -> Running {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let entropy = Arc::new(SeededEntropy::new(SEEDS.fetch_add(1, Relaxed)));
        let (bus, runner) = RedisBus::new(settings, Arc::new(ManualClock::new(0)), entropy).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(runner.run(async {
            let _ = stopped.await;
        }));
        Running { bus, stop, task }
    }

    /// Publishes what waits, and ends.
    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    pub(crate) async fn until_up(&self) {
        self.bus.watch().wait_for(|health| *health == Health::Up).await.unwrap();
    }

    /// Why it is away, once that is known.
    pub(crate) async fn until_down(&self) -> String {
        let told = |health: &Health| match health {
            Health::Down { reason, .. } if !reason.contains("not reached yet") => Some(reason.clone()),
            _ => None,
        };
        let mut health = self.bus.watch();
        let health = health.wait_for(|health| told(health).is_some()).await.unwrap();
        told(&health).unwrap()
    }

    /// Publishes until nothing is taken any more: the publishing connection knows too that Redis is away.
    pub(crate) async fn until_shut(&self, channel: &str) {
        while self.publish(channel, "lost") > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn subscribe(&self, target: &str) -> BoxStream<'static, Delivery> {
        self.bus.subscribe(Target::parse(target).unwrap()).await.unwrap()
    }

    pub(crate) fn publish(&self, channel: &str, payload: impl Into<bytes::Bytes>) -> usize {
        self.bus.publish(vec![message(channel, payload)])
    }
}

pub(crate) fn message(channel: &str, payload: impl Into<bytes::Bytes>) -> Message {
    Message { channel: Channel::new(channel).unwrap(), payload: payload.into() }
}

/// Patient with a busy machine.
pub(crate) fn settings(address: &str) -> Settings {
    let address = Address::parse(address).unwrap();
    let queue_bytes_max = 64 << 20;
    Settings { deadline: Duration::from_secs(5), queue_bytes_max, ..Settings::new(address) }
}

pub(crate) fn at(address: SocketAddr) -> Settings {
    settings(&format!("redis://{address}"))
}

pub(crate) fn server() -> (Redis, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Redis::start(dir.path(), false).unwrap(), dir)
}

/// The next message, whatever was lost before it.
pub(crate) async fn next(stream: &mut BoxStream<'static, Delivery>) -> Message {
    loop {
        match stream.next().await.expect("the bus is open") {
            Delivery::Message(message) => return message,
            Delivery::Lost(_) => {}
        }
    }
}

/// Publishes again and again until it comes: what is published while connections are made again may be lost.
pub(crate) async fn until_heard(running: &Running, stream: &mut BoxStream<'static, Delivery>, channel: &str) {
    let heard = async |stream: &mut _| while next(stream).await.payload != "heard" {};
    loop {
        running.publish(channel, "heard");
        if tokio::time::timeout(Duration::from_millis(500), heard(stream)).await.is_ok() {
            return;
        }
    }
}

/// Whether it is all that a bus is.
pub(crate) async fn conforms(settings: impl Fn() -> Settings) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    testing::bus(async || {
        let running = Running::start(settings());
        running.until_up().await;
        let prefix = format!("check-{}", NEXT.fetch_add(1, Relaxed));
        BusBackend { bus: Arc::new(running.bus.clone()), prefix, keep: Box::new(running) }
    })
    .await;
}

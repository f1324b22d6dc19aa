//! A hub over the model log and the in-process bus, its runner a task, for one schedule.

use crate::model_log::ModelLog;
use bytes::Bytes;
use dualstream_core::channel::{Channel, Target};
use dualstream_core::conflation::ConflateKey;
use dualstream_core::hub::{self, Hub, Item, Mode, OnUnrecoverable, Start, Subscribe, Subscription};
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::namespace::{Namespace, Namespaces, SlowClient, Stream};
use dualstream_core::publisher::{self, DualPublisher};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::TopicName;
use shuttle::current::{me, set_label_for_task};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What waits for a linger is labelled so, and nothing else.
#[derive(Clone, Debug)]
struct Background;

pub struct World {
    pub bus: MemoryBus,
    pub publisher: DualPublisher,
    pub hub: Hub,
    runner: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl World {
    pub fn new(settings: hub::Settings) -> World {
        tokio::time::clear_triggers();
        let (log, bus) = (ModelLog::new(&["events", "chat"]), MemoryBus::default());
        let publisher = DualPublisher::new(
            publisher::Settings::default(),
            Arc::new(log.clone()),
            Arc::new(bus.clone()),
            namespaces(),
            Arc::new(ManualClock::new(1_700_000_000_000)),
            Arc::new(SeededEntropy::new(7)),
        );
        let (hub, runner) = Hub::new(settings, Arc::new(log.clone()), Arc::new(bus.clone()), namespaces());
        let (stop, stopped) = oneshot::channel::<()>();
        let runner = tokio::spawn(async move {
            set_label_for_task(me(), Background);
            runner.run(async { drop(stopped.await) }).await;
        });
        World { bus, publisher, hub, runner, stop }
    }

    pub async fn subscribe(&self, target: &str, mode: Mode) -> Subscription {
        self.hub.subscribe(request(target, mode)).await.expect("the hub is open")
    }

    /// Sends a message, or stores it where the channel is durable.
    pub async fn send(&self, channel: &str, data: String) {
        send(&self.publisher, channel, data).await;
    }

    /// All went: what was shared goes too, and nothing is left of what was counted.
    pub async fn end(self) {
        let_linger_pass();
        assert_eq!(self.hub.counters().subscriptions.load(SeqCst), 0, "subscriptions");
        // The last who holds a ring or a bus subscription is its job. What never goes runs into the limit of steps.
        while !self.is_at_rest() {
            tokio::task::yield_now().await;
        }
        self.close().await;
    }

    fn is_at_rest(&self) -> bool {
        let counters = self.hub.counters();
        let shared = counters.bus_subscriptions.load(SeqCst) + counters.feeds.load(SeqCst);
        let bytes = counters.ring_bytes.load(SeqCst) + counters.inbox_bytes.load(SeqCst);
        shared == 0 && bytes == 0 && self.bus.subscriptions() == 0
    }

    /// Ends the hub, whoever uses it.
    pub async fn close(self) {
        drop(self.stop);
        self.runner.await.expect("the runner does not panic");
    }
}

pub async fn send(publisher: &DualPublisher, channel: &str, data: String) {
    let channel = Channel::new(channel).expect("a legal channel");
    publisher.send(&channel, Bytes::from(data)).await.expect("the log takes it");
}

pub fn request(target: &str, mode: Mode) -> Subscribe {
    Subscribe {
        targets: vec![Target::parse(target).expect("a legal target")],
        mode,
        start: Start::Latest,
        on_unrecoverable: OnUnrecoverable::Latest,
    }
}

/// From now on whatever lingers has lingered for long enough.
pub fn let_linger_pass() {
    tokio::time::trigger_timeouts(|labels| labels.get::<Background>().is_some());
}

/// Pulls until an item holds `text`; the items before it.
pub async fn until(subscription: &mut Subscription, text: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let items = subscription.next(1 << 20).await;
        assert!(!items.is_empty(), "ended before {text}");
        for item in items {
            seen.push(shown(&item));
            if seen.last().is_some_and(|last| last.contains(text)) {
                return seen;
            }
        }
    }
}

/// The payload of an item, or how many were lost.
pub fn shown(item: &Item) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match item {
        Item::Event { entry, .. } => text(&entry.wire.json),
        Item::Announcement(live) | Item::Message(live) => text(&live.payload),
        Item::Lost(count) => format!("lost {count}"),
        Item::Unrecoverable { reason, .. } => panic!("unrecoverable: {reason}"),
    }
}

/// Waits for all of them.
pub async fn all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("a task does not panic");
    }
}

pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

fn namespaces() -> Namespaces {
    let key = ConflateKey::new("/k").expect("a legal pointer");
    let conflate = SlowClient::Conflate(key);
    let list = vec![
        namespace("chat", Stream::Dual, SlowClient::Disconnect),
        namespace("ai", Stream::Bus, SlowClient::Disconnect),
        namespace("board", Stream::Bus, conflate),
    ];
    Namespaces::new(list, None)
}

fn namespace(name: &str, stream: Stream, slow_client: SlowClient) -> Namespace {
    let topic = TopicName::new(name).expect("a legal name");
    Namespace { name: name.into(), stream, topic, slow_client, live_feed: true, channel_from: None }
}

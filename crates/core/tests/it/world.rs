//! A whole deployment in one process: model log, in-memory bus, publisher, hub.

use crate::model_log::ModelLog;
use bytes::Bytes;
use dualstream_core::bus::Bus;
use dualstream_core::channel::Target;
use dualstream_core::conflation::ConflateKey;
use dualstream_core::event::{Data, Event};
use dualstream_core::filter::source_of;
use dualstream_core::hub::{self, *};
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::namespace::*;
use dualstream_core::position::{Position, Resume};
use dualstream_core::publisher::{self, DualPublisher};
use dualstream_core::record::Record;
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::TopicName;
use futures::FutureExt;
use std::sync::Arc;

pub struct World {
    pub log: ModelLog,
    pub bus: MemoryBus,
    pub publisher: DualPublisher,
    pub hub: Hub,
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub fn namespace(name: &str, stream: Stream, live_feed: bool) -> Namespace {
    let slow_client = SlowClient::Disconnect;
    Namespace { name: name.into(), stream, topic: topic(name), slow_client, live_feed, channel_from: None }
}

fn conflating(name: &str, stream: Stream, pointer: &str) -> Namespace {
    let slow_client = SlowClient::Conflate(ConflateKey::new(pointer).unwrap());
    Namespace { slow_client, ..namespace(name, stream, true) }
}

pub fn namespaces() -> Namespaces {
    let list = vec![
        namespace("chat", Stream::Dual, true),
        namespace("audit", Stream::Log, true),
        namespace("huge", Stream::Dual, false),
        namespace("ai", Stream::Bus, true),
        conflating("board", Stream::Bus, "/widgetId"),
        conflating("desk", Stream::Dual, ""),
    ];
    Namespaces::new(list, None)
}

impl World {
    pub fn new() -> World {
        World::with(hub::Settings::default(), None)
    }

    /// The bus the publisher announces on and the hub listens to may differ: what is between them is the test's.
    pub fn with(settings: hub::Settings, announce_on: Option<Arc<dyn Bus>>) -> World {
        let (log, bus) = (ModelLog::new(&["events", "chat", "audit", "huge", "desk"]), MemoryBus::default());
        let announce_on = announce_on.unwrap_or_else(|| Arc::new(bus.clone()));
        let publisher = DualPublisher::new(
            publisher::Settings::default(),
            Arc::new(log.clone()),
            announce_on,
            namespaces(),
            Arc::new(ManualClock::new(1_700_000_000_000)),
            Arc::new(SeededEntropy::new(7)),
        );
        let (hub, runner) = Hub::new(settings, Arc::new(log.clone()), Arc::new(bus.clone()), namespaces());
        tokio::spawn(runner.run(std::future::pending()));
        World { log, bus, publisher, hub }
    }

    /// Stores `count` events of many sources: `repo:k0` … and `user:k0` ….
    pub async fn publish(&self, from: usize, count: usize) {
        let results = self.publisher.publish((from..from + count).map(event).collect()).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    pub async fn subscribe(&self, targets: &[&str], start: Start) -> Subscription {
        self.subscribe_with(targets, start, Mode::Reliable, OnUnrecoverable::Latest).await
    }

    pub async fn live(&self, targets: &[&str]) -> Subscription {
        self.subscribe_with(targets, Start::Latest, Mode::Live, OnUnrecoverable::Latest).await
    }

    pub async fn subscribe_with(
        &self,
        targets: &[&str],
        start: Start,
        mode: Mode,
        on_unrecoverable: OnUnrecoverable,
    ) -> Subscription {
        self.hub
            .subscribe(Subscribe { targets: parse(targets), mode, start, on_unrecoverable })
            .await
            .unwrap()
    }

    /// Positions of all records of a topic that a target wants, in the one order.
    pub fn model(&self, topic_name: &str, target: &str) -> Vec<Position> {
        let namespaces = namespaces();
        let filter = namespaces.of(target).unwrap().filter(&Target::parse(target).unwrap());
        let epoch = self.epoch(topic_name);
        let records = self.log.all(&topic(topic_name));
        let wanted = records.iter().filter(|r| filter.matches_record(r));
        wanted.map(|r| Position { epoch, partition: r.partition, offset: r.offset }).collect()
    }

    pub fn epoch(&self, topic_name: &str) -> dualstream_core::topic::Epoch {
        use dualstream_core::log::Log;
        self.log.bounds(&topic(topic_name)).unwrap().epoch
    }
}

pub fn parse(targets: &[&str]) -> Vec<Target> {
    targets.iter().map(|t| Target::parse(t).unwrap()).collect()
}

/// The n-th event: three source types, a thousand keys, of which k7 gets every fifth.
pub fn event(n: usize) -> Event {
    let key = if n / 3 % 5 == 1 { 7 } else { n / 3 * 7 % 1000 };
    Event {
        event_type: "test".into(),
        source_type: ["repo", "user", "chat"][n % 3].into(),
        source_id: format!("k{key}"),
        data: Data::Json(Bytes::from(format!("{{\"n\":{n}}}"))),
        ..Event::default()
    }
}

pub fn source(record: &Record) -> String {
    let (t, id) = source_of(&record.headers, record.key.as_deref()).unwrap();
    format!("{}:{}", String::from_utf8_lossy(t), String::from_utf8_lossy(id))
}

/// Everything there is now, a few bytes at a time.
pub async fn drain(subscription: &mut Subscription, bytes_max: usize) -> Vec<Item> {
    let mut items = Vec::new();
    let mut quiet = 0;
    while quiet < 20 {
        match subscription.next(bytes_max).now_or_never() {
            Some(more) if more.is_empty() => return items,
            Some(more) => {
                items.extend(more);
                quiet = 0;
            }
            None => {
                quiet += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    items
}

pub fn positions(items: &[Item]) -> Vec<Position> {
    let position = |item: &Item| match item {
        Item::Event { entry, .. } => entry.position,
        other => panic!("not an event: {other:?}"),
    };
    items.iter().map(position).collect()
}

pub fn tokens(items: &[Item]) -> Vec<Arc<str>> {
    let token = |item: &Item| match item {
        Item::Event { resume, .. } => resume.clone(),
        other => panic!("not an event: {other:?}"),
    };
    items.iter().map(token).collect()
}

pub fn resume(token: &str) -> Start {
    Start::Resume(token.parse::<Resume>().unwrap())
}

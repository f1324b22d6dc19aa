//! The publisher: outcomes, order, announcements, bounded memory.

use crate::model_log::ModelLog;
use crate::world::*;
use bytes::Bytes;
use dualstream_core::announcement::Announcement;
use dualstream_core::bus::{Bus, Delivery};
use dualstream_core::channel::{Channel, Target};
use dualstream_core::event::codec;
use dualstream_core::event::{Data, Event};
use dualstream_core::log::*;
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::publisher::{DualPublisher, Settings};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::{Epoch, TopicName};
use dualstream_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

#[tokio::test(start_paused = true)]
async fn one_commit_for_all_in_order() {
    let world = World::new();
    let results = world.publisher.publish((0..1000).map(event).collect()).await;
    assert_eq!(world.log.commits(), 1);
    let mut last = BTreeMap::new();
    for (n, result) in results.iter().enumerate() {
        let receipt = result.as_ref().unwrap();
        let event = event(n);
        let stored = world.hub.event(receipt.position).await.unwrap();
        assert_eq!(stored.wire.id, receipt.id);
        assert!(String::from_utf8_lossy(&stored.wire.json).contains(&format!("{{\"n\":{n}}}")));
        assert_eq!(*stored.channel, receipt.channel);
        let before = last.insert(event.source_id.clone() + &event.source_type, receipt.position.offset);
        assert!(before.is_none_or(|b| b < receipt.position.offset));
    }
    let counters = world.publisher.counters();
    assert_eq!((counters.acked.load(SeqCst), counters.waiting_bytes.load(SeqCst)), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn large_batches_are_split_and_stay_in_order() {
    let world = World::new();
    let large = |n| Event { data: Data::Json(format!("\"{}\"", "x".repeat(50_000)).into()), ..event(n) };
    let results = world.publisher.publish((0..300).map(|n| large(n * 3 % 30)).collect()).await;
    assert!(world.log.commits() > 1);
    let mut last = BTreeMap::new();
    for (n, result) in results.iter().enumerate() {
        let offset = result.as_ref().unwrap().position.offset;
        assert!(last.insert(n % 10, offset).is_none_or(|before| before < offset));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_overtakes_a_part_that_failed() {
    for (kind, rest) in [(ErrorKind::Unknown, ErrorKind::Unavailable), (ErrorKind::Full, ErrorKind::Full)] {
        let world = World::new();
        world.log.fail_next(Error::new(kind, "code", "no"));
        let large = |n| Event { data: Data::Json(format!("\"{}\"", "x".repeat(50_000)).into()), ..event(n) };
        let results = world.publisher.publish((0..300).map(large).collect()).await;
        let kinds: Vec<_> = results.iter().map(|r| r.as_ref().unwrap_err().error.kind()).collect();
        let tried = kinds.iter().take_while(|k| **k == kind).count();
        assert!(tried > 50 && kinds[tried..].iter().all(|k| *k == rest), "{kinds:?}");
        assert_eq!((world.log.commits(), world.log.all(&topic("events")).len()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_events_keep_nobody_back() {
    let world = World::new();
    let mut events: Vec<_> = (0..4).map(event).collect();
    events[1].source_type = "Not Legal".into();
    events[2].data = Data::Json(Bytes::from(vec![b'1'; 1 << 20]));
    events[2].id = Some("big".into());
    let results = world.publisher.publish(events).await;
    assert!(results[0].is_ok() && results[3].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().error.code(), "invalid_source_type");
    let failure = results[2].as_ref().unwrap_err();
    assert_eq!((failure.error.code(), failure.id.as_deref()), ("event_too_large", Some("big")));
}

#[tokio::test(start_paused = true)]
async fn the_same_id_again() {
    let world = World::new();
    let with_id = |n: usize| Event { id: Some("same".into()), ..event(n) };
    let other = Event { data: Data::Json("2".into()), ..with_id(0) };
    let results = world.publisher.publish(vec![with_id(0), with_id(0), other, with_id(1)]).await;
    let first = results[0].as_ref().unwrap();
    let again = results[1].as_ref().unwrap();
    assert!(!first.duplicate && again.duplicate && first.position == again.position);
    let failure = results[2].as_ref().unwrap_err();
    assert_eq!((failure.error.kind(), failure.error.code()), (ErrorKind::Conflict, "id_conflict"));
    assert!(!results[3].as_ref().unwrap().duplicate, "another source");
}

#[tokio::test(start_paused = true)]
async fn only_what_was_newly_stored_is_announced() {
    let world = World::new();
    let mut deliveries = world.bus.subscribe(Target::parse("events:repo:*").unwrap()).await.unwrap();
    let mut audits = world.bus.subscribe(Target::parse("audit:*").unwrap()).await.unwrap();
    let same = Event { id: Some("same".into()), ..event(0) };
    let audit = Event { source_type: "audit".into(), ..event(0) };
    let results = world.publisher.publish(vec![same.clone(), same, audit]).await;
    let receipt = results[0].as_ref().unwrap();
    let Some(Some(Delivery::Message(message))) = deliveries.next().now_or_never() else {
        panic!("announced")
    };
    assert_eq!(message.channel.as_str(), receipt.channel);
    let announcement = Announcement::parse(&message.payload).unwrap();
    assert_eq!((&*announcement.id, &*announcement.position), ("same", &*receipt.position.to_string()));
    assert!(deliveries.next().now_or_never().is_none() && audits.next().now_or_never().is_none());
    assert_eq!(world.publisher.counters().announced.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_log_reach_every_event() {
    let world = World::new();
    let mut deliveries = world.bus.subscribe(Target::parse("events:*").unwrap()).await.unwrap();
    for kind in [ErrorKind::Overloaded, ErrorKind::Unavailable, ErrorKind::Full, ErrorKind::Unknown] {
        world.log.fail_commits(Some(Error::new(kind, "code", "no")));
        for result in world.publisher.publish((0..5).map(event).collect()).await {
            let failure = result.unwrap_err();
            assert_eq!(failure.error.kind(), kind);
            assert!(failure.id.is_some(), "also an id made here is named");
        }
    }
    world.bus.close();
    world.log.fail_commits(None);
    assert!(deliveries.next().now_or_never().flatten().is_none(), "nothing that failed was announced");
    world.publish(0, 5).await;
    assert_eq!(world.publisher.counters().announcements_lost.load(SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn messages_on_channels() {
    let world = World::new();
    for (channel, stored_on) in [("events:repo:a/b", "events:repo:a/b"), ("chat:room", "chat:room")] {
        let sent =
            world.publisher.send(&Channel::new(channel).unwrap(), "[1]".into()).await.unwrap().unwrap();
        assert_eq!(sent.channel, stored_on);
        let entry = world.hub.event(sent.position).await.unwrap();
        let stored = codec::parse(entry.record().value.as_deref().unwrap()).unwrap();
        assert_eq!((&*stored.event_type, stored.data.unwrap().get()), ("message", "[1]"));
    }
    for (channel, code) in [
        ("nope:x", "unknown_channel"),
        ("events:repo", "invalid_channel"),
        ("events:chat:room", "invalid_channel"),
    ] {
        let failure = world.publisher.send(&Channel::new(channel).unwrap(), "1".into()).await.unwrap_err();
        assert_eq!(failure.error.code(), code, "{channel}");
    }
}

/// A log that answers nothing.
struct Stuck(ModelLog);

impl Log for Stuck {
    fn commit(&self, _: Commit) -> BoxFuture<'_, Result<Committed>> {
        Box::pin(std::future::pending())
    }
    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        self.0.read(read)
    }
    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        self.0.bounds(topic)
    }
    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        self.0.wait(topic, epoch, ends)
    }
    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        self.0.seek(topic, time_ms)
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_bytes_are_bounded_and_a_stuck_log_is_unknown() {
    let publisher = DualPublisher::new(
        Settings { waiting_bytes_max: 2000, ..Settings::default() },
        Arc::new(Stuck(ModelLog::new(&["events", "chat"]))),
        Arc::new(MemoryBus::default()),
        namespaces(),
        Arc::new(ManualClock::new(0)),
        Arc::new(SeededEntropy::new(1)),
    );
    let large = Event { data: Data::Json(format!("\"{}\"", "x".repeat(5000)).into()), ..event(0) };
    let mut waiting = publisher.publish(vec![large]).boxed();
    assert!(futures::poll!(&mut waiting).is_pending(), "an empty buffer takes any one call");
    let refused = publisher.publish(vec![event(1)]).now_or_never().expect("fails at once");
    assert_eq!(refused[0].as_ref().unwrap_err().error.kind(), ErrorKind::Overloaded);
    assert!(publisher.counters().waiting_bytes.load(SeqCst) > 5000);
    let result = waiting.await.remove(0).unwrap_err();
    assert_eq!((result.error.kind(), result.error.code()), (ErrorKind::Unknown, "outcome_unknown"));
    assert_eq!(publisher.counters().waiting_bytes.load(SeqCst), 0);
    let mut dropped = publisher.publish(vec![event(1)]).boxed();
    assert!(futures::poll!(&mut dropped).is_pending());
    drop(dropped);
    let counters = publisher.counters();
    assert_eq!(counters.waiting_bytes.load(SeqCst), 0, "a caller that went away holds no room");
    let failed = counters.failed.load(SeqCst);
    assert_eq!(
        (counters.events_in.load(SeqCst), failed),
        (3, 3),
        "it is counted as one who was told nothing"
    );
}

//! What the hub, its runner and its subscriptions share: the rings and bus subscriptions that are in use.

use super::counters::Counters;
use super::entry::Entry;
use super::feed;
use super::inbox::Inbox;
use super::ring::Ring;
use super::tap::Tap;
use super::{Settings, closed};
use crate::Result;
use crate::bus::Bus;
use crate::channel::{Channel, Target};
use crate::filter::source_of;
use crate::log::Log;
use crate::namespace::{Namespace, Namespaces};
use crate::position::Position;
use crate::record::Record;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use crate::sync::{Mutex, MutexGuard};
use crate::topic::{Epoch, TopicName};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// Work for the runner: a feed or a bus subscription. One per topic and per target in use, so never many.
pub(super) type Job = BoxFuture<'static, ()>;

pub(super) struct Shared {
    pub settings: Settings,
    pub log: Arc<dyn Log>,
    pub bus: Arc<dyn Bus>,
    pub namespaces: Namespaces,
    pub counters: Arc<Counters>,
    jobs: UnboundedSender<Job>,
    next_id: AtomicU64,
    closed: AtomicBool,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    rings: BTreeMap<TopicName, Arc<Ring>>,
    taps: BTreeMap<Target, Arc<Tap>>,
    subscriptions: BTreeMap<u64, Arc<Inbox>>,
    /// How many subscriptions name a channel.
    named: BTreeMap<Channel, u64>,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        log: Arc<dyn Log>,
        bus: Arc<dyn Bus>,
        namespaces: Namespaces,
        jobs: UnboundedSender<Job>,
    ) -> Shared {
        let (counters, next_id, closed, used) = Default::default();
        Shared { settings, log, bus, namespaces, counters, jobs, next_id, closed, used }
    }

    /// Registers a subscription of some targets, which is woken when the hub is closed.
    ///
    /// # Errors
    /// `Closed` after shutdown.
    pub(super) fn enter(&self, inbox: &Arc<Inbox>, targets: &[Target]) -> Result<u64> {
        let mut used = self.used();
        if self.is_closed() {
            return Err(closed());
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        used.subscriptions.insert(id, inbox.clone());
        for channel in channels(targets) {
            *used.named.entry(channel.clone()).or_default() += 1;
        }
        self.counters.subscriptions.fetch_add(1, Relaxed);
        Ok(id)
    }

    /// Undoes [`Shared::enter`].
    pub(super) fn exit(&self, id: u64, targets: &[Target]) {
        let mut used = self.used();
        if used.subscriptions.remove(&id).is_none() {
            return;
        }
        for channel in channels(targets) {
            if let Some(count) = used.named.get_mut(channel) {
                *count -= 1;
                if *count == 0 {
                    used.named.remove(channel);
                }
            }
        }
        self.counters.subscriptions.fetch_sub(1, Relaxed);
    }

    /// The first channels that subscriptions name, and how many do, in order: those that begin with `prefix`, after
    /// `after`.
    pub(super) fn named(&self, prefix: &str, after: Option<&str>, max: usize) -> Vec<(String, u64)> {
        let begin = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let used = self.used();
        let wanted = used.named.range::<str, _>((begin, Bound::Unbounded));
        let wanted = wanted.take_while(|(channel, _)| channel.as_str().starts_with(prefix));
        wanted.take(max).map(|(channel, &count)| (channel.as_str().to_owned(), count)).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Ends everything: subscriptions deliver no more.
    pub(super) fn close(&self) {
        let used = self.used();
        self.closed.store(true, SeqCst);
        let inboxes: Vec<_> = used.subscriptions.values().cloned().collect();
        drop(used);
        inboxes.iter().for_each(|inbox| inbox.wake());
    }

    /// The ring of a topic with one user more. A new one begins at the end of the log.
    pub(super) fn ring(self: &Arc<Self>, topic: &TopicName) -> Arc<Ring> {
        let mut used = self.used();
        if let Some(ring) = used.rings.get(topic) {
            ring.usage.join();
            return ring.clone();
        }
        let ring = Arc::new(Ring::new(topic.clone(), self.counters.clone(), self.settings.ring_bytes_max));
        feed::open(self, &ring);
        ring.usage.join();
        used.rings.insert(topic.clone(), ring.clone());
        self.counters.feeds.fetch_add(1, Relaxed);
        // It fails only after the runner is gone, when nothing is delivered any more.
        let _ = self.jobs.send(feed::run(self.clone(), ring.clone()).boxed());
        ring
    }

    /// Gives up a ring nobody uses; false if somebody came back.
    pub(super) fn retire_ring(&self, ring: &Ring) -> bool {
        let mut used = self.used();
        let retired = !ring.usage.is_used() && used.rings.remove(&ring.topic).is_some();
        self.counters.feeds.fetch_sub(i64::from(retired), Relaxed);
        retired
    }

    /// The bus subscription of a target with one user more.
    pub(super) fn tap(self: &Arc<Self>, target: &Target, namespace: &Arc<Namespace>) -> Arc<Tap> {
        let mut used = self.used();
        if let Some(tap) = used.taps.get(target) {
            tap.usage.join();
            return tap.clone();
        }
        let tap = Arc::new(Tap::new(target.clone(), namespace.clone()));
        tap.usage.join();
        used.taps.insert(target.clone(), tap.clone());
        self.counters.bus_subscriptions.fetch_add(1, Relaxed);
        let _ = self.jobs.send(tap.clone().run(self.clone()).boxed());
        tap
    }

    /// Gives up a bus subscription nobody uses; false if somebody came back.
    pub(super) fn retire_tap(&self, tap: &Tap) -> bool {
        let mut used = self.used();
        let retired = !tap.usage.is_used() && used.taps.remove(&tap.target).is_some();
        self.counters.bus_subscriptions.fetch_sub(i64::from(retired), Relaxed);
        retired
    }

    /// Drops the oldest entries of the largest rings until all rings together are within their bound.
    pub(super) fn keep_budget(&self) {
        while self.counters.ring_bytes.load(Relaxed) > self.settings.ring_bytes_max {
            let largest = self.used().rings.values().max_by_key(|r| r.bytes()).cloned();
            if !largest.is_some_and(|ring| ring.evict()) {
                return;
            }
        }
    }

    /// Drops the largest inboxes until all together are within their bound; of one that conflates first what is
    /// superseded.
    pub(super) fn keep_inboxes(&self) {
        while self.counters.inbox_bytes.load(Relaxed) > self.settings.inboxes_bytes_max {
            let largest = self.used().subscriptions.values().max_by_key(|inbox| inbox.bytes()).cloned();
            if largest.as_ref().is_some_and(|inbox| inbox.conflate()) {
                continue;
            }
            let Some(count) = largest.and_then(|inbox| inbox.shed()) else { return };
            self.counters.slow_dropped.fetch_add(count, Relaxed);
        }
    }

    /// The entry of a record that was read.
    pub(super) fn entry(&self, topic: &TopicName, epoch: Epoch, record: Record) -> Arc<Entry> {
        let position = Position { epoch, partition: record.partition, offset: record.offset };
        let channel = self.channel_of(topic, &record);
        Arc::new(Entry::new(position, channel, record))
    }

    /// The channel of a record of `topic`; empty for one that has no source.
    pub(super) fn channel_of(&self, topic: &TopicName, record: &Record) -> Arc<str> {
        let Some((source_type, source_id)) = source_of(&record.headers, record.key.as_deref()) else {
            return "".into();
        };
        let source_type = String::from_utf8_lossy(source_type);
        let source_id = String::from_utf8_lossy(source_id);
        self.namespaces.channel_in(topic, &source_type, &source_id).into()
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn channels(targets: &[Target]) -> impl Iterator<Item = &Channel> {
    targets.iter().filter_map(|target| match target {
        Target::Channel(channel) => Some(channel),
        Target::Pattern(_) => None,
    })
}

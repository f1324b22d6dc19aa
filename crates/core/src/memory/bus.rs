//! The bus inside one process.
//!
//! Guarantees what [`Bus`] does: nothing blocks, nothing is kept. Each subscriber has a queue bounded in bytes; what
//! does not fit is dropped and reported to it as [`Delivery::Lost`]. It reaches no other process.

use crate::Result;
use crate::bus::{Bus, Delivery, Health, Message};
use crate::channel::Target;
use crate::queue::{LossyQueue, Queued};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, Stream};
use futures::task::AtomicWaker;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

/// Most bytes that wait for one subscriber.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// What a queued message costs beside its payload.
const MESSAGE_OVERHEAD: usize = 64;

/// An in-process [`Bus`]. Cheap to clone: clones are the same bus.
#[derive(Clone)]
pub struct MemoryBus {
    inner: Arc<Inner>,
}

struct Inner {
    queue_bytes_max: usize,
    next_id: AtomicU64,
    routes: Mutex<Routes>,
}

/// Who gets what. Prefixes end with `:`, so only those of a channel's `:` are looked up, never all.
#[derive(Default)]
struct Routes {
    closed: bool,
    exact: BTreeMap<String, BTreeMap<u64, Arc<Subscriber>>>,
    prefix: BTreeMap<String, BTreeMap<u64, Arc<Subscriber>>>,
}

struct Subscriber {
    waker: AtomicWaker,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    queue: LossyQueue<Message>,
    closed: bool,
}

impl Default for MemoryBus {
    fn default() -> MemoryBus {
        MemoryBus::new(QUEUE_BYTES_MAX)
    }
}

impl MemoryBus {
    /// A bus whose subscribers may each lag by `queue_bytes_max` bytes.
    pub fn new(queue_bytes_max: usize) -> MemoryBus {
        let inner = Inner { queue_bytes_max, next_id: AtomicU64::new(0), routes: Mutex::default() };
        MemoryBus { inner: Arc::new(inner) }
    }

    /// Ends all subscriptions; later messages are dropped and later subscriptions refused.
    pub fn close(&self) {
        let mut routes = self.inner.routes();
        routes.closed = true;
        let Routes { exact, prefix, .. } = std::mem::take(&mut *routes);
        routes.closed = true;
        drop(routes);
        for subscriber in exact.values().chain(prefix.values()).flat_map(BTreeMap::values) {
            subscriber.inbox().closed = true;
            subscriber.waker.wake();
        }
    }

    /// How many channels and patterns have a subscriber.
    pub fn subscriptions(&self) -> usize {
        let routes = self.inner.routes();
        routes.exact.len() + routes.prefix.len()
    }
}

impl Bus for MemoryBus {
    fn publish(&self, messages: Vec<Message>) -> usize {
        let routes = self.inner.routes();
        if routes.closed {
            return 0;
        }
        for message in &messages {
            routes.deliver(message);
        }
        messages.len()
    }

    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
        let subscription = self.inner.join(target);
        async move { Ok(Box::pin(subscription?) as BoxStream<'static, Delivery>) }.boxed()
    }

    fn health(&self) -> Health {
        Health::Up
    }
}

impl Inner {
    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, target: Target) -> Result<Subscription> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let subscriber = Arc::new(Subscriber {
            waker: AtomicWaker::new(),
            inbox: Mutex::new(Inbox { queue: LossyQueue::new(self.queue_bytes_max), closed: false }),
        });
        let mut routes = self.routes();
        if routes.closed {
            return Err(Error::new(ErrorKind::Closed, "bus_closed", "the bus was shut down"));
        }
        let (map, key) = routes.map(&target);
        map.entry(key.to_owned()).or_default().insert(id, subscriber.clone());
        drop(routes);
        Ok(Subscription { bus: self.clone(), id, target, subscriber })
    }
}

impl Routes {
    fn map<'a, 't>(
        &'a mut self,
        target: &'t Target,
    ) -> (&'a mut BTreeMap<String, BTreeMap<u64, Arc<Subscriber>>>, &'t str) {
        match target {
            Target::Channel(channel) => (&mut self.exact, channel.as_str()),
            Target::Pattern(pattern) => (&mut self.prefix, pattern.prefix()),
        }
    }

    fn deliver(&self, message: &Message) {
        let channel = message.channel.as_str();
        let prefixes = channel.match_indices(':').filter(|(at, _)| at + 1 < channel.len());
        let matching = prefixes.filter_map(|(at, _)| self.prefix.get(&channel[..=at]));
        for subscribers in self.exact.get(channel).into_iter().chain(matching) {
            subscribers.values().for_each(|s| s.take(message));
        }
    }
}

impl Subscriber {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, message: &Message) {
        let weight = message.payload.len() + message.channel.as_str().len() + MESSAGE_OVERHEAD;
        self.inbox().queue.push(message.clone(), weight);
        self.waker.wake();
    }
}

struct Subscription {
    bus: Arc<Inner>,
    id: u64,
    target: Target,
    subscriber: Arc<Subscriber>,
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.subscriber.waker.register(cx.waker());
        let mut inbox = self.subscriber.inbox();
        match inbox.queue.pop() {
            Some(Queued::Item(message)) => Poll::Ready(Some(Delivery::Message(message))),
            Some(Queued::Lost(count)) => Poll::Ready(Some(Delivery::Lost(count))),
            None if inbox.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut routes = self.bus.routes();
        let (map, key) = routes.map(&self.target);
        if let Some(subscribers) = map.get_mut(key) {
            subscribers.remove(&self.id);
            if subscribers.is_empty() {
                map.remove(key);
            }
        }
    }
}

//! Who on this node gets what of a bus: subscribers by channel and by pattern, each with a queue bounded in bytes.
//!
//! ```text
//! message ─┬▶ channel "chat:1" ─▶ queue of each subscriber ─▶ Subscription
//!          └▶ pattern "chat:*" ─▶ …
//! ```
//! Nothing blocks and nothing is kept: what does not fit into a queue is dropped and told as [`Delivery::Lost`]. A
//! subscriber named one target, so a message that a server sends once per target reaches each subscriber once.

use crate::bus::{Delivery, Message};
use crate::channel::{Channel, Target};
use crate::queue::{LossyQueue, Queued};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::stream::Stream;
use futures::task::AtomicWaker;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

/// Most bytes that wait for one subscriber, where nothing else is set.
pub const QUEUE_BYTES_MAX: usize = 4 << 20;
/// What a queued message costs beside its payload.
const MESSAGE_OVERHEAD: usize = 64;

/// The subscribers of a bus on this node. Cheap to clone: clones are the same.
#[derive(Clone)]
pub struct FanOut {
    inner: Arc<Inner>,
}

struct Inner {
    queue_bytes_max: usize,
    next_id: AtomicU64,
    dropped: AtomicU64,
    routes: Mutex<Routes>,
}

/// Who gets what. Prefixes end with `:`, so only those of a channel's `:` are looked up, never all.
#[derive(Default)]
struct Routes {
    closed: bool,
    exact: BTreeMap<Channel, Subscribers>,
    prefix: BTreeMap<String, Subscribers>,
}

type Subscribers = BTreeMap<u64, Arc<Subscriber>>;

struct Subscriber {
    waker: AtomicWaker,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    queue: LossyQueue<Message>,
    closed: bool,
}

/// What one subscriber gets: never ends before the bus is closed. Dropping it leaves.
pub struct Subscription {
    fan_out: Arc<Inner>,
    id: u64,
    target: Target,
    subscriber: Arc<Subscriber>,
}

impl FanOut {
    /// Nobody yet; each subscriber may lag by `queue_bytes_max` bytes.
    pub fn new(queue_bytes_max: usize) -> FanOut {
        let (next_id, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        FanOut { inner: Arc::new(Inner { queue_bytes_max, next_id, dropped, routes: Mutex::default() }) }
    }

    /// A subscriber more: it gets what comes from now on.
    ///
    /// # Errors
    /// `bus_closed`.
    pub fn join(&self, target: Target) -> Result<Subscription> {
        self.inner.join(target)
    }

    /// Each to everybody whose channel it is or whose pattern matches. How many were taken: none once it is closed.
    pub fn deliver(&self, messages: &[Message]) -> usize {
        let routes = self.inner.routes();
        if routes.closed {
            return 0;
        }
        let dropped = messages.iter().map(|message| routes.deliver(message)).sum();
        self.inner.dropped.fetch_add(dropped, Relaxed);
        messages.len()
    }

    /// To those who named exactly this channel; false when there are none.
    pub fn deliver_to_channel(&self, channel: &str, payload: Bytes) -> bool {
        let routes = self.inner.routes();
        let Some((channel, subscribers)) = routes.exact.get_key_value(channel) else { return false };
        let dropped = hand_out(subscribers, &Message { channel: channel.clone(), payload });
        self.inner.dropped.fetch_add(dropped, Relaxed);
        true
    }

    /// To those who named exactly the pattern with this prefix; false when there are none.
    pub fn deliver_to_prefix(&self, prefix: &str, message: &Message) -> bool {
        let routes = self.inner.routes();
        let Some(subscribers) = routes.prefix.get(prefix) else { return false };
        self.inner.dropped.fetch_add(hand_out(subscribers, message), Relaxed);
        true
    }

    /// Tells those who named exactly this target that nobody knows what they missed.
    pub fn interrupted(&self, target: &Target) {
        let routes = self.inner.routes();
        for subscriber in routes.of(target).into_iter().flat_map(BTreeMap::values) {
            subscriber.inbox().queue.lose(0);
            subscriber.waker.wake();
        }
    }

    /// Ends all subscriptions, once their queues are empty; later messages are dropped and later subscriptions refused.
    pub fn close(&self) {
        let mut routes = self.inner.routes();
        let Routes { exact, prefix, .. } = std::mem::take(&mut *routes);
        routes.closed = true;
        drop(routes);
        for subscriber in exact.values().chain(prefix.values()).flat_map(BTreeMap::values) {
            subscriber.inbox().closed = true;
            subscriber.waker.wake();
        }
    }

    /// How many channels and patterns have a subscriber.
    pub fn targets(&self) -> usize {
        let routes = self.inner.routes();
        routes.exact.len() + routes.prefix.len()
    }

    /// How many messages were dropped because a subscriber was slow.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Relaxed)
    }
}

/// How many of them had no room for it.
fn hand_out(subscribers: &Subscribers, message: &Message) -> u64 {
    subscribers.values().map(|subscriber| u64::from(!subscriber.take(message))).sum()
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
        let subscribers = match &target {
            Target::Channel(channel) => routes.exact.entry(channel.clone()).or_default(),
            Target::Pattern(pattern) => routes.prefix.entry(pattern.prefix().to_owned()).or_default(),
        };
        subscribers.insert(id, subscriber.clone());
        drop(routes);
        Ok(Subscription { fan_out: self.clone(), id, target, subscriber })
    }
}

impl Routes {
    /// How many had no room for it.
    fn deliver(&self, message: &Message) -> u64 {
        let channel = message.channel.as_str();
        let prefixes = channel.match_indices(':').filter(|(at, _)| at + 1 < channel.len());
        let matching = prefixes.filter_map(|(at, _)| self.prefix.get(&channel[..=at]));
        self.exact.get(channel).into_iter().chain(matching).map(|all| hand_out(all, message)).sum()
    }

    fn of(&self, target: &Target) -> Option<&Subscribers> {
        match target {
            Target::Channel(channel) => self.exact.get(channel),
            Target::Pattern(pattern) => self.prefix.get(pattern.prefix()),
        }
    }

    fn leave(&mut self, target: &Target, id: u64) {
        match target {
            Target::Channel(channel) => leave(&mut self.exact, channel.as_str(), id),
            Target::Pattern(pattern) => leave(&mut self.prefix, pattern.prefix(), id),
        }
    }
}

fn leave<K: Ord + std::borrow::Borrow<str>>(map: &mut BTreeMap<K, Subscribers>, key: &str, id: u64) {
    if let Some(subscribers) = map.get_mut(key) {
        subscribers.remove(&id);
        if subscribers.is_empty() {
            map.remove(key);
        }
    }
}

impl Subscriber {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, message: &Message) -> bool {
        let weight = message.payload.len() + message.channel.as_str().len() + MESSAGE_OVERHEAD;
        let taken = self.inbox().queue.push(message.clone(), weight);
        self.waker.wake();
        taken
    }
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
        self.fan_out.routes().leave(&self.target, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn message(channel: &str) -> Message {
        Message { channel: Channel::new(channel).unwrap(), payload: Bytes::from_static(b"1") }
    }

    fn waiting(subscription: &mut Subscription) -> Vec<Delivery> {
        std::iter::from_fn(|| subscription.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn what_comes_for_a_target_reaches_those_who_named_it_alone() {
        let fan_out = FanOut::new(1 << 20);
        let mut joined = ["a:x", "a:*", "a:b:*"].map(|t| fan_out.join(Target::parse(t).unwrap()).unwrap());
        let sent = message("a:b:x");
        assert!(fan_out.deliver_to_prefix("a:", &sent) && !fan_out.deliver_to_prefix("b:", &sent));
        assert!(fan_out.deliver_to_channel("a:x", sent.payload.clone()));
        assert!(!fan_out.deliver_to_channel("a:b:x", sent.payload.clone()));
        fan_out.interrupted(&Target::parse("a:b:*").unwrap());
        let got = joined.each_mut().map(waiting);
        let wanted = [Delivery::Message(message("a:x")), Delivery::Message(sent), Delivery::Lost(0)];
        assert_eq!(got, wanted.map(|delivery| vec![delivery]));
    }

    #[test]
    fn what_a_slow_subscriber_lost_is_counted_and_told_with_the_interruption() {
        let fan_out = FanOut::new(1);
        let mut slow = fan_out.join(Target::parse("a:*").unwrap()).unwrap();
        assert_eq!(fan_out.deliver(&[message("a:x"), message("a:x"), message("a:x")]), 3);
        fan_out.interrupted(&Target::parse("a:*").unwrap());
        assert_eq!(fan_out.dropped(), 2);
        assert_eq!(waiting(&mut slow), [Delivery::Message(message("a:x")), Delivery::Lost(2)]);
        drop(slow);
        assert_eq!(fan_out.targets(), 0);
    }
}

//! What came for one subscription and was not fetched yet: bounded in bytes, and only for hints.
//!
//! Past the bound of its client what is superseded goes first, where the namespace conflates; what then has no room is
//! dropped, and the subscription told.

use super::allowance::Allowance;
use super::backlog::{Backlog, Key};
use super::counters::Counters;
use super::live::Live;
use crate::position::Position;
use crate::queue::Queued;
use crate::sync::{Mutex, MutexGuard};
use crate::topic::TopicName;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

/// What a queued item costs beside its payload.
const ITEM_BYTES: usize = 128;
/// What its place among the keys costs beside the key.
const KEY_BYTES: usize = 128;

/// A live item on its way, made once for all subscribers.
#[derive(Debug)]
pub(super) struct Incoming {
    pub live: Arc<Live>,
    pub origin: Origin,
    /// What it is conflated by, where its namespace conflates.
    pub key: Option<Arc<str>>,
}

/// Where a live item came from.
#[derive(Debug)]
pub(super) enum Origin {
    /// A bus-only channel.
    Message,
    /// The bus, which announced what is stored there.
    Announced(TopicName, Position),
    /// The bus, which announced a place past the end of the topic as this node knows it: not yet here, or made up.
    Ahead(TopicName),
    /// The log.
    Log,
}

/// An item and the target (its place in the request) it came for.
pub(super) type Received = (usize, Arc<Incoming>);

/// The inbox of one subscription.
#[derive(Debug)]
pub(super) struct Inbox {
    backlog: Mutex<Backlog<Received>>,
    waker: Arc<Notify>,
    allowance: Arc<Allowance>,
    /// Its bytes count towards those of all inboxes.
    counters: Arc<Counters>,
}

impl Incoming {
    fn weight(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len() + KEY_BYTES);
        self.live.payload.len() + ITEM_BYTES + key
    }

    /// What it is told from others by in the inbox of a subscription. A message comes once for each target that
    /// matches, and counts for the first alone; an announcement goes by its position, whatever it came for.
    fn key(&self, target: usize) -> Option<Key> {
        let place = match self.origin {
            Origin::Message => target,
            Origin::Announced(..) | Origin::Ahead(_) | Origin::Log => usize::MAX,
        };
        self.key.clone().map(|key| (place, key))
    }
}

impl Inbox {
    pub(super) fn new(waker: Arc<Notify>, allowance: Arc<Allowance>, counters: Arc<Counters>) -> Arc<Inbox> {
        let inbox = Inbox { backlog: Mutex::default(), waker, allowance, counters };
        let inbox = Arc::new(inbox);
        inbox.allowance.join(&inbox);
        inbox
    }

    /// Takes an item; false when it was dropped because the subscriber is slow.
    pub(super) fn push(&self, target: usize, item: &Arc<Incoming>) -> bool {
        let (weight, key) = (item.weight(), item.key(target));
        let taken = self.allowance.take(weight) || {
            if let Some(key) = &key {
                self.backlog().supersede(key);
            }
            self.allowance.conflate();
            self.allowance.take(weight)
        };
        let mut backlog = self.backlog();
        match taken {
            true => {
                backlog.push((target, item.clone()), weight, key);
                self.counters.inbox_bytes.fetch_add(weight, Relaxed);
            }
            false => backlog.lose(),
        }
        drop(backlog);
        self.waker.notify_one();
        taken
    }

    /// Takes what the subscription itself read from the log. It is in no hurry, so there is always room for it.
    pub(super) fn put(&self, item: Incoming) {
        let (weight, key) = (item.weight(), item.key(0));
        self.allowance.take_anyway(weight);
        self.counters.inbox_bytes.fetch_add(weight, Relaxed);
        self.backlog().push((0, Arc::new(item)), weight, key);
    }

    /// Whether more waits for the client than may, also after what is superseded is gone.
    pub(super) fn is_full(&self) -> bool {
        self.allowance.is_passed() && {
            self.allowance.conflate();
            self.allowance.is_passed()
        }
    }

    /// The oldest item or gap.
    pub(super) fn pop(&self) -> Option<Queued<Received>> {
        self.shrink(Backlog::pop)
    }

    /// Bytes that wait in it.
    pub(super) fn bytes(&self) -> usize {
        self.backlog().bytes()
    }

    /// Drops what is superseded; whether that was anything.
    pub(super) fn conflate(&self) -> bool {
        let count = self.shrink(Backlog::conflate);
        self.counters.conflated.fetch_add(count, Relaxed);
        count > 0
    }

    /// Drops all that waits and leaves a gap; how many items that were, `None` if nothing waits.
    pub(super) fn shed(&self) -> Option<u64> {
        let (bytes, count) = self.shrink(|backlog| (backlog.bytes(), backlog.shed()));
        self.waker.notify_one();
        (bytes > 0).then_some(count)
    }

    /// Lets the subscription look again.
    pub(super) fn wake(&self) {
        self.waker.notify_one();
    }

    /// Takes something out, and gives its bytes back.
    fn shrink<T>(&self, take: impl FnOnce(&mut Backlog<Received>) -> T) -> T {
        let mut backlog = self.backlog();
        let before = backlog.bytes();
        let taken = take(&mut backlog);
        let bytes = before - backlog.bytes();
        self.counters.inbox_bytes.fetch_sub(bytes, Relaxed);
        self.allowance.give_back(bytes);
        taken
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog<Received>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let bytes = self.bytes();
        self.counters.inbox_bytes.fetch_sub(bytes, Relaxed);
        self.allowance.give_back(bytes);
    }
}

//! What came from the bus for one subscription and was not fetched yet: bounded in bytes, and only for hints.

use super::counters::Counters;
use super::live::Live;
use crate::position::Position;
use crate::queue::{LossyQueue, Queued};
use crate::topic::TopicName;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most bytes that wait for one subscription; an empty inbox takes any one item.
const INBOX_BYTES_MAX: usize = 1 << 20;
/// What a queued item costs beside its payload.
const ITEM_BYTES: usize = 128;

/// A message of the bus, read once for all subscribers.
#[derive(Debug)]
pub(super) struct BusItem {
    pub live: Arc<Live>,
    /// What it announces; `None` on a bus-only channel.
    pub announced: Option<(TopicName, Position)>,
}

/// An item and the target (its place in the request) it came for.
pub(super) type Received = (usize, Arc<BusItem>);

/// The inbox of one subscription.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<LossyQueue<Received>>,
    waker: Arc<Notify>,
    /// Its bytes count towards those of all inboxes.
    counters: Arc<Counters>,
}

impl Inbox {
    pub(super) fn new(waker: Arc<Notify>, counters: Arc<Counters>) -> Inbox {
        Inbox { queue: Mutex::new(LossyQueue::new(INBOX_BYTES_MAX)), waker, counters }
    }

    /// Takes an item; false when it was dropped because the subscriber is slow.
    pub(super) fn push(&self, target: usize, item: &Arc<BusItem>) -> bool {
        let weight = item.live.payload.len() + ITEM_BYTES;
        let mut queue = self.queue();
        let taken = queue.push((target, item.clone()), weight);
        if taken {
            self.counters.inbox_bytes.fetch_add(weight, Relaxed);
        }
        drop(queue);
        self.waker.notify_one();
        taken
    }

    /// The oldest item or gap.
    pub(super) fn pop(&self) -> Option<Queued<Received>> {
        let mut queue = self.queue();
        let before = queue.bytes();
        let oldest = queue.pop();
        self.counters.inbox_bytes.fetch_sub(before - queue.bytes(), Relaxed);
        oldest
    }

    /// Bytes that wait in it.
    pub(super) fn bytes(&self) -> usize {
        self.queue().bytes()
    }

    /// Drops all that waits and leaves a gap; how many items that were, `None` if nothing waits.
    pub(super) fn shed(&self) -> Option<u64> {
        let mut queue = self.queue();
        let bytes = queue.bytes();
        let count = queue.shed();
        self.counters.inbox_bytes.fetch_sub(bytes, Relaxed);
        drop(queue);
        self.waker.notify_one();
        (bytes > 0).then_some(count)
    }

    /// Lets the subscription look again.
    pub(super) fn wake(&self) {
        self.waker.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, LossyQueue<Received>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.counters.inbox_bytes.fetch_sub(self.bytes(), Relaxed);
    }
}

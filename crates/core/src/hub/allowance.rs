//! How much live and bus-only items may wait for one client, over all its subscriptions.

use super::inbox::Inbox;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};
use std::sync::{Arc, PoisonError, Weak};

/// The bytes that may wait for one client. All its subscriptions share it.
#[derive(Debug)]
pub struct Allowance {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The inboxes that share it.
    inboxes: Mutex<Vec<Weak<Inbox>>>,
}

impl Allowance {
    pub(super) fn new(bytes_max: usize) -> Arc<Allowance> {
        Arc::new(Allowance { bytes: AtomicUsize::new(0), bytes_max, inboxes: Mutex::default() })
    }

    /// Bytes that wait for the client.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Whether more waits than may.
    pub(super) fn is_passed(&self) -> bool {
        self.bytes() > self.bytes_max
    }

    pub(super) fn join(&self, inbox: &Arc<Inbox>) {
        let mut inboxes = self.inboxes();
        inboxes.retain(|inbox| inbox.strong_count() > 0);
        inboxes.push(Arc::downgrade(inbox));
    }

    /// Takes room for an item: it is there if nothing waits, or while the bound is not passed with it.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let taken = |waiting: usize| {
            let with = waiting.saturating_add(bytes);
            (waiting == 0 || with <= self.bytes_max).then_some(with)
        };
        self.bytes.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }

    /// Takes room whether it is there or not.
    pub(super) fn take_anyway(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// Makes room: what is superseded in any queue of the client goes.
    pub(super) fn conflate(&self) {
        let inboxes: Vec<_> = self.inboxes().iter().filter_map(Weak::upgrade).collect();
        inboxes.iter().for_each(|inbox| {
            inbox.conflate();
        });
    }

    fn inboxes(&self) -> MutexGuard<'_, Vec<Weak<Inbox>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

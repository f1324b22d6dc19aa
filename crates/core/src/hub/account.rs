//! What the entries of a ring weigh, also what is made of them after they came into it.
//!
//! ```text
//! Meter    the bytes of one ring, and of all rings of the node          over the bound: wakes the ring's feed
//!   ▲ add, close
//! Account  of one entry: open while a ring holds it, closed from then on
//! ```
//! An entry that left its ring lives on until its last subscriber has written it; its bytes are that subscriber's.

use super::counters::Counters;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::Arc;
use tokio::sync::Notify;

/// What a piece of memory of its own costs beside its bytes: the allocator's part, and what counts its owners.
pub(super) const PIECE_BYTES: usize = 48;

/// Counts the bytes of one ring.
#[derive(Debug)]
pub(super) struct Meter {
    bytes: AtomicUsize,
    counters: Arc<Counters>,
    /// Bound of all rings together.
    bytes_max: usize,
    over: Notify,
}

impl Meter {
    pub(super) fn new(counters: Arc<Counters>, bytes_max: usize) -> Meter {
        Meter { bytes: AtomicUsize::new(0), counters, bytes_max, over: Notify::new() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
        if self.counters.ring_bytes.fetch_add(bytes, Relaxed) + bytes > self.bytes_max {
            self.over.notify_one();
        }
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
        self.counters.ring_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Resolves when something was added while all rings together were over their bound.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}

/// What one entry weighs. Without a meter nobody asks.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Bytes that were added, and [`CLOSED`].
    counted: AtomicUsize,
    meter: Option<Arc<Meter>>,
}

const CLOSED: usize = 1 << (usize::BITS - 1);

impl Account {
    /// An account of an entry that a ring holds.
    pub(super) fn open(meter: &Arc<Meter>) -> Account {
        Account { counted: AtomicUsize::new(0), meter: Some(meter.clone()) }
    }

    /// Another one beside it, for what is shared apart from the entry.
    pub(super) fn beside(&self) -> Account {
        Account { counted: AtomicUsize::new(0), meter: self.meter.clone() }
    }

    pub(super) fn add(&self, bytes: usize) {
        let Some(meter) = &self.meter else { return };
        // Before it can be closed with it: the meter never counts down what it has not counted up.
        meter.add(bytes);
        if self.counted.fetch_add(bytes, SeqCst) & CLOSED != 0 {
            meter.sub(bytes);
        }
    }

    /// The ring holds it no longer.
    pub(super) fn close(&self) {
        let Some(meter) = &self.meter else { return };
        let before = self.counted.fetch_or(CLOSED, SeqCst);
        if before & CLOSED == 0 {
            meter.sub(before);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.counted.load(SeqCst) & CLOSED != 0
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_after_the_end_counts_for_nothing() {
        let counters = Arc::new(Counters::default());
        let meter = Arc::new(Meter::new(counters.clone(), 100));
        let (one, other) = (Account::open(&meter), Account::open(&meter));
        one.add(30);
        other.add(50);
        one.close();
        one.add(1_000);
        one.close();
        assert_eq!((meter.bytes(), counters.ring_bytes.load(Relaxed)), (50, 50));
        let beside = other.beside();
        beside.add(7);
        assert_eq!(meter.bytes(), 57);
        drop(other);
        drop(beside);
        assert_eq!((meter.bytes(), counters.ring_bytes.load(Relaxed)), (0, 0));
    }
}

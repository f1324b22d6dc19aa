//! What was counted in a run: shared by its publishers and subscribers, all on one thread.

use super::latencies::Latencies;
use std::cell::{Cell, RefCell};
use std::time::Instant;
use tokio::sync::Notify;

/// Counts and latencies of one run.
pub struct Tally {
    begun: Instant,
    /// How many deliveries one event makes.
    fan: u64,
    /// What was meant for before this is warm-up, in nanoseconds.
    measured_from_ns: Cell<u64>,
    /// Events whose publish was answered.
    pub published: Cell<u64>,
    /// Events the server refused, or of unknown outcome.
    pub failed: Cell<u64>,
    /// Deliveries to all subscribers.
    pub delivered: Cell<u64>,
    /// From the intended send time.
    pub latencies: RefCell<Latencies>,
    /// What went wrong first.
    pub first_failure: RefCell<Option<String>>,
    /// Subscribers whose connection ended.
    pub lost: Cell<u64>,
    changed: Notify,
}

impl Tally {
    /// Nothing yet; every event is to make `fan` deliveries. Nothing is measured before [`Tally::measure`].
    pub fn new(fan: u64) -> Tally {
        Tally {
            begun: Instant::now(),
            fan,
            measured_from_ns: Cell::new(u64::MAX),
            published: Cell::default(),
            failed: Cell::default(),
            delivered: Cell::default(),
            latencies: RefCell::default(),
            first_failure: RefCell::default(),
            lost: Cell::default(),
            changed: Notify::new(),
        }
    }

    /// Nanoseconds since the beginning.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Latencies are kept from now on.
    pub fn measure(&self) {
        self.measured_from_ns.set(self.now_ns());
    }

    /// Keeps the latency of what was meant for `at_ns` and is there `now_ns`, unless it is warm-up.
    pub fn note(&self, at_ns: u64, now_ns: u64) {
        if at_ns >= self.measured_from_ns.get() {
            self.latencies.borrow_mut().record(now_ns.saturating_sub(at_ns));
        }
    }

    /// So many more were delivered.
    pub fn deliver(&self, count: u64) {
        self.delivered.set(self.delivered.get() + count);
        self.wake();
    }

    /// A publish was answered.
    pub fn publish(&self, outcome: Result<u64, String>) {
        match outcome {
            Ok(count) => self.published.set(self.published.get() + count),
            Err(reason) => {
                self.failed.set(self.failed.get() + 1);
                self.first_failure.borrow_mut().get_or_insert(reason);
            }
        }
        self.wake();
    }

    /// The connection of a subscriber ended.
    pub fn lose(&self, reason: String) {
        self.lost.set(self.lost.get() + 1);
        self.first_failure.borrow_mut().get_or_insert(reason);
        self.wake();
    }

    /// Of `begun` events, how many are not everywhere yet. Without subscribers, how many are not answered.
    pub fn in_flight(&self, begun: u64) -> u64 {
        let done = match self.fan {
            0 => self.published.get(),
            fan => self.delivered.get() / fan,
        };
        begun.saturating_sub(done + self.failed.get())
    }

    /// Whether the answer to a publish is the end of an event's way.
    pub fn has_no_subscribers(&self) -> bool {
        self.fan == 0
    }

    /// Resolves when something was counted.
    pub async fn moved(&self) {
        self.changed.notified().await;
    }

    /// Lets all who wait look again.
    pub fn wake(&self) {
        self.changed.notify_waiters();
    }
}

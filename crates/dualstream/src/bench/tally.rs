//! What was counted in a run: shared by its publishers and subscribers, all on one thread.

use super::latencies::Latencies;
use crate::client::events::Summary;
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

/// What became of the events of one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Those that are stored.
    pub published: u64,
    /// Those that are not, or perhaps not.
    pub failed: u64,
    /// What was said of the first of these.
    pub failure: Option<String>,
}

impl Outcome {
    /// All of them failed.
    pub fn failed(count: u64, reason: String) -> Outcome {
        Outcome { published: 0, failed: count, failure: Some(reason) }
    }

    /// As the answer to `count` events says. It lists a limited number of failures: those that it does not count as
    /// stored have failed.
    pub fn of(summary: &Summary, count: u64) -> Outcome {
        let published = summary.stored + summary.duplicates;
        let failed = count.saturating_sub(published);
        let told = summary.failures.first().map(|failure| failure.message.clone());
        let failure = told.or_else(|| (failed > 0).then(|| "the answer does not tell of every event".into()));
        Outcome { published, failed, failure }
    }
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
    pub fn publish(&self, outcome: Outcome) {
        self.published.set(self.published.get() + outcome.published);
        self.failed.set(self.failed.get() + outcome.failed);
        if let Some(reason) = outcome.failure {
            self.first_failure.borrow_mut().get_or_insert(reason);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_request_are_counted_each() {
        let answer = r#"{"stored":6,"duplicates":1,"failed":3,"failures":[{"line":2,"status":400,"code":"c","message":"m"}]}"#;
        let summary = serde_json::from_str(answer).unwrap();
        let tally = Tally::new(0);
        tally.publish(Outcome::of(&summary, 10));
        tally.publish(Outcome::failed(5, "later".into()));
        assert_eq!((tally.published.get(), tally.failed.get()), (7, 8));
        assert_eq!(tally.first_failure.take().as_deref(), Some("m"));
    }
}

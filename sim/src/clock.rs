//! Wall-clock time of a simulated machine: it follows the paused time of the run, and jumps when told to.

use dualstream_core::clock::Clock;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use tokio::time::Instant;

/// Where the clock begins, ms since 1970.
const START_MS: i64 = 1_790_000_000_000;

/// A clock that can be set wrong.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
    jumped_ms: AtomicI64,
    /// The latest time ever shown: what stamps may be compared with.
    latest_ms: AtomicI64,
}

impl SimClock {
    /// A clock that begins now. Needs a runtime.
    pub fn start() -> SimClock {
        SimClock { began: Instant::now(), jumped_ms: AtomicI64::new(0), latest_ms: AtomicI64::new(START_MS) }
    }

    /// Sets it forward, or back when negative.
    pub fn jump(&self, ms: i64) {
        self.jumped_ms.fetch_add(ms, Relaxed);
    }

    /// The latest time it ever showed.
    pub fn latest_ms(&self) -> i64 {
        self.latest_ms.load(Relaxed)
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now = START_MS + passed + self.jumped_ms.load(Relaxed);
        self.latest_ms.fetch_max(now, Relaxed);
        now
    }
}

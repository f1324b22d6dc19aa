//! Whether records of one topic are stored, as far as the producer has seen.

use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long no call is tried after one was, and after one failed.
const TRY_PAUSE: Duration = Duration::from_secs(10);

/// ```text
///            a record has waited its whole time, nothing of the topic was stored since, and brokers answer
///  storing ─────────────────────────────────────────────────────────────────────────────────────────────▶ stalled:
///          ◀──────────────────────────────────────────────────────────────────────── what is for it fails at once,
///                     that one is stored, or refused by a broker                           but one call in 10 s
/// ```
#[derive(Debug)]
pub(super) struct Progress {
    name: TopicName,
    clock: Arc<Clock>,
    /// When a record was stored last, or it was first appended to.
    stored_ms: AtomicU64,
    /// Since when something waits and nothing was decided on; 0 when nothing does.
    waits_ms: AtomicU64,
    is_stalled: AtomicBool,
    stall: Mutex<Stall>,
}

/// Brokers answer, and store nothing of it: it has no leaders, or too few brokers that keep it, or they hang.
#[derive(Debug, Default)]
struct Stall {
    /// No call is tried before.
    next_try: Option<Instant>,
    /// What was found out about it, and when.
    why: Option<(String, u64)>,
}

impl Progress {
    pub(super) fn new(name: TopicName, clock: Arc<Clock>) -> Progress {
        let stored_ms = AtomicU64::new(clock.move_on());
        let (waits_ms, is_stalled) = (AtomicU64::new(0), AtomicBool::new(false));
        Progress { name, clock, stored_ms, waits_ms, is_stalled, stall: Mutex::default() }
    }

    pub(super) fn name(&self) -> &TopicName {
        &self.name
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Records are about to wait for brokers.
    pub(super) fn say_waits(&self) {
        if self.waits_ms.load(Ordering::Relaxed) == 0 {
            self.waits_ms.store(self.clock.last_ms().max(1), Ordering::Relaxed);
        }
    }

    /// Whether nothing waits, or something was decided on within that time.
    pub(super) fn flows_off(&self, time: Duration) -> bool {
        let since = self.waits_ms.load(Ordering::Relaxed);
        since == 0 || u128::from(self.clock.move_on().saturating_sub(since)) < time.as_millis()
    }

    pub(super) fn say_stored(&self) {
        self.stored_ms.store(self.clock.last_ms(), Ordering::Relaxed);
        self.say_decided();
    }

    /// Brokers decided on a record, one way or the other.
    pub(super) fn say_decided(&self) {
        if self.waits_ms.load(Ordering::Relaxed) != 0 {
            self.waits_ms.store(0, Ordering::Relaxed);
        }
        if self.is_stalled() && self.is_stalled.swap(false, Ordering::Relaxed) {
            *self.stall() = Stall::default();
            tracing::info!(topic = %self.name, "kafka: brokers decide on records again");
        }
    }

    /// A record waited its whole time. Of one that was tried while nothing was stored that means: not yet.
    pub(super) fn say_timed_out(&self) {
        if self.is_stalled() {
            self.stall().next_try = Some(Instant::now() + TRY_PAUSE);
        }
    }

    /// Whether something of it was stored within that time, nearly: deliveries are taken a little later.
    pub(super) fn stores_within(&self, time: Duration) -> bool {
        let since = self.clock.move_on().saturating_sub(self.stored_ms.load(Ordering::Relaxed));
        u128::from(since) < time.mul_f32(0.9).as_millis()
    }

    /// Nothing is stored although brokers answer. A call is tried after a pause, or at once.
    pub(super) fn set_stalled(&self, with_pause: bool) {
        if self.is_stalled.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut stall = self.stall();
        stall.next_try = with_pause.then(|| Instant::now() + TRY_PAUSE);
        // Of a time before something was stored it is another reason.
        stall.why.take_if(|(_, found_ms)| *found_ms < self.stored_ms.load(Ordering::Relaxed));
        drop(stall);
        tracing::error!(
            "kafka: {}; one call after the other is tried until one is",
            self.stalled().message()
        );
    }

    /// Lets a call pass unless nothing is stored; then one in each pause.
    pub(super) fn admit(&self) -> Result<(), Error> {
        if !self.is_stalled() {
            return Ok(());
        }
        let now = Instant::now();
        let mut stall = self.stall();
        if stall.next_try.is_some_and(|next| now < next) {
            drop(stall);
            return Err(self.stalled());
        }
        stall.next_try = Some(now + TRY_PAUSE);
        Ok(())
    }

    /// The pause is over.
    #[cfg(test)]
    pub(super) fn try_now(&self) {
        self.stall().next_try = None;
    }

    /// What was found out about records that wait in vain.
    pub(super) fn explain(&self, why: &str) {
        self.stall().why = Some((why.to_owned(), self.clock.move_on()));
    }

    fn stalled(&self) -> Error {
        let why = self.stall().why.clone();
        let why =
            why.as_ref().map_or("brokers that have to keep its records may hang or be away", |(why, _)| why);
        let message = format!("Kafka answers, and stores nothing of '{}': {why}", self.name);
        Error::new(ErrorKind::Unavailable, "log_unavailable", message).with_field("topic")
    }

    fn stall(&self) -> MutexGuard<'_, Stall> {
        self.stall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that is cheap to read for every record: it stands until it is moved on.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    ms: AtomicU64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { start: Instant::now(), ms: AtomicU64::new(0) }
    }
}

impl Clock {
    /// Since its start, as of when it was moved on last.
    fn last_ms(&self) -> u64 {
        self.ms.load(Ordering::Relaxed)
    }

    /// Moves it to now, which it gives.
    pub(super) fn move_on(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ms.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

//! When which event is to be sent.
//!
//! Paced (open loop): event n is meant for `n / rate` after the start, whatever became of those before it. A thread of
//! its own keeps that time: the timers of the runtime have steps of a millisecond. Without a rate (closed loop) an event
//! is due as soon as fewer than `in_flight_max` are on their way.

use super::tally::Tally;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The pacing thread looks no more often.
const STEP_MIN: Duration = Duration::from_micros(250);

/// Hands out turns to publishers.
pub struct Schedule {
    tally: Rc<Tally>,
    pace: Pace,
    next: Cell<u64>,
    events_max: u64,
    is_over: Cell<bool>,
}

/// An event to send: its number, and when it is meant to be sent, in nanoseconds of the tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub number: u64,
    pub at_ns: u64,
}

enum Pace {
    Open(Pacer),
    Closed { in_flight_max: u64 },
}

impl Schedule {
    /// `rate` events per second from now on, or as fast as `in_flight_max` allows; `events_max` at most.
    pub fn new(tally: &Rc<Tally>, rate: Option<f64>, in_flight_max: u64, events_max: u64) -> Schedule {
        let pace = match rate {
            Some(rate) => Pace::Open(Pacer::start(rate, tally.now_ns())),
            None => Pace::Closed { in_flight_max },
        };
        Schedule { tally: tally.clone(), pace, next: Cell::new(0), events_max, is_over: Cell::new(false) }
    }

    /// The next turn, when it is due; `None` when it is over.
    pub async fn turn(&self) -> Option<Turn> {
        loop {
            let number = self.next.get();
            if self.is_over.get() || number >= self.events_max {
                self.wake();
                return None;
            }
            match &self.pace {
                Pace::Open(pacer) if number < pacer.shared.due.load(SeqCst) => {
                    self.next.set(number + 1);
                    // More may have become due than were woken for.
                    pacer.shared.changed.notify_one();
                    return Some(Turn { number, at_ns: pacer.meant_ns(number) });
                }
                Pace::Open(pacer) => pacer.shared.changed.notified().await,
                Pace::Closed { in_flight_max } if self.tally.in_flight(number) < *in_flight_max => {
                    self.next.set(number + 1);
                    return Some(Turn { number, at_ns: self.tally.now_ns() });
                }
                Pace::Closed { .. } => self.tally.moved().await,
            }
        }
    }

    /// No more turns.
    pub fn end(&self) {
        self.is_over.set(true);
        self.wake();
    }

    fn wake(&self) {
        match &self.pace {
            Pace::Open(pacer) => pacer.shared.changed.notify_waiters(),
            Pace::Closed { .. } => {}
        }
        self.tally.wake();
    }
}

/// Counts events due, by the clock.
struct Pacer {
    interval_ns: f64,
    begun_ns: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    due: AtomicU64,
    changed: Notify,
    is_over: AtomicBool,
}

impl Pacer {
    fn start(rate: f64, begun_ns: u64) -> Pacer {
        let (shared, begun) = (Arc::<Shared>::default(), Instant::now());
        let (own, interval) = (shared.clone(), Duration::from_secs_f64(1.0 / rate));
        let run = move || {
            while !own.is_over.load(SeqCst) {
                let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
                if own.due.swap(due, SeqCst) != due {
                    own.changed.notify_one();
                }
                let next = interval.mul_f64(due as f64);
                std::thread::sleep(next.saturating_sub(begun.elapsed()).max(STEP_MIN.min(interval)));
            }
        };
        let thread = std::thread::Builder::new().name("pacer".into()).spawn(run);
        let thread = Some(thread.expect("a benchmark that cannot start a thread has nothing to go on with"));
        Pacer { interval_ns: 1e9 / rate, begun_ns, shared, thread }
    }

    fn meant_ns(&self, number: u64) -> u64 {
        self.begun_ns + (number as f64 * self.interval_ns) as u64
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            // It sleeps for one interval at most; it cannot panic.
            let _ = thread.join();
        }
    }
}

//! Whether Redis can be used now, and one line in the log when that changes.
//!
//! ```text
//! connecting ─ all parts up ─▶ up ⇄ down, since when and why
//!      └────── a part failed ───────▲
//! ```
//! A part is a publishing connection or one that subscribes: one lane of them, or in a sharded Cluster one for each
//! shard, which come and go. A part that comes back at once after it was lost changes
//! nothing: the counters tell of it.

use dualstream_core::bus::Health;
use dualstream_core::clock::Clock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A connection of the bus, by the number of its lane, and among the subscribing ones of a lane its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// That by which a Cluster says who serves what.
    Slots,
    Publishing(usize),
    Subscribing(usize, usize),
}

/// Whether all parts work.
pub(super) struct Condition {
    place: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    told: watch::Sender<Health>,
}

#[derive(Default)]
struct State {
    /// The parts that are not up, each with what is wrong; no word before the first try.
    wrong: BTreeMap<Part, Option<String>>,
}

impl Condition {
    /// Nothing is connected yet. `place` names Redis in the log.
    pub fn new(place: String, parts: impl IntoIterator<Item = Part>, clock: Arc<dyn Clock>) -> Condition {
        let state = State { wrong: parts.into_iter().map(|part| (part, None)).collect() };
        let reason = format!("Redis at {place} was not reached yet");
        let (told, _) = watch::channel(Health::Down { since_ms: clock.now_ms(), reason });
        Condition { place, clock, state: Mutex::new(state), told }
    }

    /// There is a part more; nothing is known of it yet.
    pub fn add(&self, part: Part) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wrong.insert(part, None);
    }

    /// A part works, or is needed no more.
    pub fn up(&self, part: Part) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.wrong.remove(&part).is_none() || !state.wrong.is_empty() {
            return;
        }
        if let Health::Down { since_ms, .. } = self.told.send_replace(Health::Up) {
            let away_ms = self.clock.now_ms() - since_ms;
            tracing::info!(redis = %self.place, away_ms, "the bus is up");
        }
    }

    pub fn down(&self, part: Part, reason: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_known = state.wrong.values().any(Option::is_some);
        state.wrong.insert(part, Some(reason.to_owned()));
        if was_known {
            return;
        }
        let since_ms = match &*self.told.borrow() {
            Health::Up => self.clock.now_ms(),
            Health::Down { since_ms, .. } => *since_ms,
        };
        tracing::warn!(redis = %self.place, %part, reason, "the bus is away: events are stored and served without it, only later");
        self.told.send_replace(Health::Down { since_ms, reason: format!("{part}: {reason}") });
    }

    pub fn now(&self) -> Health {
        self.told.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Health> {
        self.told.subscribe()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Slots => f.write_str("asking who serves which slots"),
            Part::Publishing(_) => f.write_str("publishing"),
            Part::Subscribing(_, number) => write!(f, "subscribing (connection {})", number + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::testing::ManualClock;

    #[test]
    fn it_is_up_when_all_parts_are_and_tells_the_first_reason() {
        let parts = [Part::Publishing(0), Part::Subscribing(0, 0)];
        let clock = Arc::new(ManualClock::new(5));
        let condition = Condition::new("redis://a".into(), parts, clock.clone());
        let down = |since_ms, reason: &str| Health::Down { since_ms, reason: reason.into() };
        assert_eq!(condition.now(), down(5, "Redis at redis://a was not reached yet"));
        condition.up(Part::Publishing(0));
        clock.advance(1);
        condition.down(Part::Subscribing(0, 0), "refused");
        assert_eq!(condition.now(), down(5, "subscribing (connection 1): refused"));
        condition.up(Part::Subscribing(0, 0));
        assert_eq!(condition.now(), Health::Up);
        clock.advance(1);
        condition.down(Part::Subscribing(0, 0), "first");
        condition.down(Part::Publishing(0), "second");
        condition.down(Part::Subscribing(0, 0), "third");
        assert_eq!(condition.now(), down(7, "subscribing (connection 1): first"));
        condition.up(Part::Subscribing(0, 0));
        assert_ne!(condition.now(), Health::Up);
        condition.up(Part::Publishing(0));
        assert_eq!(condition.now(), Health::Up);
    }
}

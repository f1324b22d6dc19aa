//! A topic upstream as this node knows it.
//!
//! ```text
//!           read, wait                nobody for a while
//!   cold ───────────────▶ hot ───────────────────────────▶ cold
//!   ends: as last asked        ends: what the mirror holds, and never less than when it became hot
//! ```

use super::fresh::Lookups;
use super::seam::Described;
use crate::log::Bounds;
use crate::topic::{Epoch, TopicName, TopicSpec};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Readers who know of more than this node have it asked upstream at most this often.
const RENEWAL_PAUSE: Duration = Duration::from_millis(100);

/// One topic.
pub(super) struct Topic {
    pub name: TopicName,
    state: Mutex<State>,
    /// Changes whenever the state did.
    pub changed: Notify,
    /// Of where it ends.
    pub lookups: Lookups,
    /// Of what it is, for those who know of more than is known here.
    pub renewals: Lookups,
    is_hot: AtomicBool,
    /// Those who wait for records of it.
    waiting: AtomicUsize,
}

/// What is known of it.
#[derive(Clone)]
pub(super) struct State {
    pub epoch: Epoch,
    /// Its identity upstream.
    pub id: u128,
    pub spec: TopicSpec,
    pub earliest: Vec<u64>,
    /// Ends that were told or acknowledged: nothing committed below them may be left out of a read.
    pub latest: Vec<u64>,
    /// Highest end that is known to exist, committed or not.
    pub high: Vec<u64>,
    /// Ends of what this node appended.
    pub own: Vec<u64>,
    /// The mirror had everything that was there, once since it was begun.
    pub was_level: bool,
    /// Offsets that open transactions held back when it was described.
    pub held_back: u64,
    /// When somebody last read it.
    wanted_at: Option<Instant>,
    /// It is not upstream any more; when it is back that is a new life.
    is_gone: bool,
}

impl Topic {
    pub fn new(name: TopicName, epoch: Epoch, described: Described) -> Topic {
        let state = Mutex::new(State::of(epoch, described));
        let (lookups, renewals) = (Lookups::new(Duration::ZERO), Lookups::new(RENEWAL_PAUSE));
        let (changed, is_hot, waiting) = Default::default();
        Topic { name, state, changed, lookups, renewals, is_hot, waiting }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is known.
    pub fn bounds(&self) -> Bounds {
        self.bounds_with(None)
    }

    /// As it is known, once the mirror holds this of it. What was told once stays: ends never go back within one life.
    pub fn bounds_with(&self, held: Option<&Bounds>) -> Bounds {
        let mut state = self.state();
        if let Some(held) = held.filter(|held| held.epoch == state.epoch) {
            raise(&mut state.latest, &held.latest);
        }
        Bounds { epoch: state.epoch, earliest: state.earliest.clone(), latest: state.latest.clone() }
    }

    pub fn epoch(&self) -> Epoch {
        self.state().epoch
    }

    /// Somebody reads: true when it was not followed and has to be now.
    pub fn want(&self) -> bool {
        self.state().wanted_at = Some(Instant::now());
        !self.is_hot.load(Ordering::Acquire)
    }

    pub fn is_hot(&self) -> bool {
        self.is_hot.load(Ordering::Acquire)
    }

    pub fn set_hot(&self, is_hot: bool) {
        self.is_hot.store(is_hot, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether somebody wants it, or did within `idle`.
    pub fn is_wanted(&self, idle: Duration) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
            || self.state().wanted_at.is_some_and(|at| at.elapsed() < idle)
    }

    /// Keeps it wanted as long as the guard lives.
    pub fn waiter(&self) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiter(self)
    }

    /// Takes over what upstream says now. Ends never go back within one life, and those of a topic that is followed come
    /// from the mirror.
    pub fn update(&self, epoch: Epoch, described: Described) {
        let (is_hot, mut state) = (self.is_hot(), self.state());
        let mut now = State::of(epoch, described);
        now.wanted_at = state.wanted_at;
        if state.epoch == epoch && !state.is_gone {
            if is_hot {
                now.latest.clone_from(&now.earliest);
            }
            raise(&mut now.earliest, &state.earliest);
            raise(&mut now.high, &state.high);
            raise(&mut now.latest, &state.latest);
            raise(&mut now.own, &state.own);
            now.was_level = state.was_level;
        }
        *state = now;
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn is_gone(&self) -> bool {
        self.state().is_gone
    }

    /// It is not upstream any more; true when it was until now.
    pub fn set_gone(&self) -> bool {
        let was_gone = std::mem::replace(&mut self.state().is_gone, true);
        self.lookups.clear();
        self.renewals.clear();
        self.changed.notify_waiters();
        !was_gone
    }

    /// An append to a partition was acknowledged up to `end`: it exists. It can be read, too, unless an open transaction
    /// holds it back; of a topic that is followed the mirror will tell. An answer to another life says nothing.
    pub fn acknowledged(&self, epoch: Epoch, partition: u32, end: u64) {
        let (is_hot, mut state) = (self.is_hot(), self.state());
        if state.epoch != epoch {
            return;
        }
        let is_stable = state.held_back == 0 && !is_hot;
        let State { high, own, .. } = &mut *state;
        for ends in [high, own] {
            if let Some(known) = ends.get_mut(partition as usize) {
                *known = end.max(*known);
            }
        }
        if let Some(latest) = state.latest.get_mut(partition as usize).filter(|_| is_stable) {
            *latest = end.max(*latest);
        }
    }
}

impl Topic {
    /// Upstream ends there: told from now on, whether the mirror has it or not.
    pub fn tell(&self, epoch: Epoch, ends: &[u64]) {
        let mut state = self.state();
        if state.epoch == epoch {
            raise(&mut state.latest, ends);
            raise(&mut state.high, ends);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether the mirror has had everything since it was begun, or has to get there first.
    pub fn set_level(&self, was_level: bool) {
        self.state().was_level = was_level;
    }

    /// Whether these bounds may be shown for all there is while upstream cannot be asked.
    pub fn is_enough(&self, bounds: &Bounds) -> bool {
        let state = self.state();
        state.was_level && state.own.iter().zip(&bounds.latest).all(|(own, latest)| own <= latest)
    }
}

impl State {
    fn of(epoch: Epoch, described: Described) -> State {
        let held_back = distance(&described.latest, &described.high);
        let Described { id, spec, earliest, latest, high } = described;
        let (own, was_level) = (vec![0; latest.len()], false);
        let (wanted_at, is_gone) = (None, false);
        State { epoch, id, spec, earliest, latest, high, own, was_level, held_back, wanted_at, is_gone }
    }
}

/// Somebody who waits for records of a topic.
pub(super) struct Waiter<'a>(&'a Topic);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // Idle time counts from the end of the wait.
        self.0.state().wanted_at = Some(Instant::now());
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Offsets between two vectors, all partitions together.
pub(super) fn distance(from: &[u64], to: &[u64]) -> u64 {
    from.iter().zip(to).map(|(from, to)| to.saturating_sub(*from)).sum()
}

fn raise(offsets: &mut [u64], to: &[u64]) {
    offsets.iter_mut().zip(to).for_each(|(offset, &to)| *offset = to.max(*offset));
}

//! Who wants which entries of a ring: a map from source to slot, so that nobody scans subscriptions.
//!
//! ```text
//! entry of source repo:o/r ─┬▶ exact  "repo:o/r" ─▶ slot: indices of its entries in the ring, its subscribers
//!                           └▶ prefix "" , "repo:" ─▶ slot …            (prefixes end at a ':' or are empty)
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// What a slot is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    /// One source.
    Exact(Box<[u8]>),
    /// All sources that begin with this.
    Prefix(Box<[u8]>),
}

/// The subscribers of a slot by subscription.
pub(super) type Wakers = Arc<BTreeMap<u64, Arc<Notify>>>;

/// The entries of a ring that one source or prefix matches.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Ring indices of matching entries, ascending. Complete since the slot exists and the last eviction.
    pub indices: VecDeque<u64>,
    /// Matching entries before this index may have left the ring.
    pub evicted_before: u64,
    wakers: Wakers,
    /// Index of the first entry of the push that touched it last.
    touched: Option<u64>,
}

/// All slots of a ring. The maps are never iterated where the order could show.
#[derive(Debug, Default)]
pub(super) struct WakeMap {
    exact: HashMap<Box<[u8]>, Slot>,
    prefix: HashMap<Box<[u8]>, Slot>,
}

impl WakeMap {
    /// Adds a subscriber to a slot.
    pub(super) fn join(&mut self, key: &Key, id: u64, waker: &Arc<Notify>) {
        let slot = match key {
            Key::Exact(source) => self.exact.entry(source.clone()).or_default(),
            Key::Prefix(prefix) => self.prefix.entry(prefix.clone()).or_default(),
        };
        Arc::make_mut(&mut slot.wakers).insert(id, waker.clone());
    }

    /// Takes a subscriber from a slot; the slot goes with its last one.
    pub(super) fn leave(&mut self, key: &Key, id: u64) {
        let (map, key) = match key {
            Key::Exact(source) => (&mut self.exact, source),
            Key::Prefix(prefix) => (&mut self.prefix, prefix),
        };
        if let Some(slot) = map.get_mut(key) {
            let wakers = Arc::make_mut(&mut slot.wakers);
            wakers.remove(&id);
            if wakers.is_empty() {
                map.remove(key);
            }
        }
    }

    /// A slot somebody joined.
    pub(super) fn get(&self, key: &Key) -> Option<&Slot> {
        match key {
            Key::Exact(source) => self.exact.get(source),
            Key::Prefix(prefix) => self.prefix.get(prefix),
        }
    }

    /// Whether somebody wants entries of `source`.
    pub(super) fn wants(&self, source: &[u8]) -> bool {
        self.exact.contains_key(source)
            || (!self.prefix.is_empty() && prefixes(source).any(|p| self.prefix.contains_key(p)))
    }

    /// Notes an entry in all slots that match; the subscribers of each slot are put into `wake` once per `push`. How
    /// many slots that are.
    pub(super) fn add(&mut self, source: &[u8], index: u64, push: u64, wake: &mut Vec<Wakers>) -> usize {
        let mut slots = 0;
        self.each(source, |slot| {
            slots += 1;
            slot.indices.push_back(index);
            if slot.touched.replace(push) != Some(push) {
                wake.push(slot.wakers.clone());
            }
        });
        slots
    }

    /// Forgets an entry that left the ring.
    pub(super) fn evict(&mut self, source: &[u8], index: u64) {
        self.each(source, |slot| {
            if slot.indices.front() == Some(&index) {
                slot.indices.pop_front();
                slot.evicted_before = index + 1;
            }
        });
    }

    fn each(&mut self, source: &[u8], mut visit: impl FnMut(&mut Slot)) {
        if let Some(slot) = self.exact.get_mut(source) {
            visit(slot);
        }
        if !self.prefix.is_empty() {
            for prefix in prefixes(source) {
                if let Some(slot) = self.prefix.get_mut(prefix) {
                    visit(slot);
                }
            }
        }
    }
}

/// The prefixes of a source that a pattern can stand for.
fn prefixes(source: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = source.iter().enumerate().filter(|(_, b)| **b == b':').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).map(|end| &source[..end])
}

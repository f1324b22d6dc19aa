//! What waits for a subscription that is slow, in the order of its arrival, as data: no locks, no bound of its own.
//!
//! ```text
//! a1 b1 a2 c1 a3      a1, a2 are superseded: a later item has their key
//!  └──────┴─ go when the queue is conflated ─▶  b1 c1 a3
//! ```
//! Only for hints: whatever must not be lost is read from the log and never queued.

use crate::queue::Queued;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What items are conflated by: where they go, and their key there.
pub(super) type Key = (usize, Arc<str>);

/// A queue whose items may supersede each other.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    /// By their arrival.
    items: BTreeMap<u64, Waiting<T>>,
    arrivals: u64,
    bytes: usize,
    /// The last item of each key.
    latest: BTreeMap<Key, u64>,
    /// Items with a key that are not the last of it.
    superseded: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: Queued<T>,
    weight: usize,
    key: Option<Key>,
}

impl<T> Default for Backlog<T> {
    fn default() -> Backlog<T> {
        let (items, arrivals, bytes, latest, superseded) = Default::default();
        Backlog { items, arrivals, bytes, latest, superseded }
    }
}

impl<T> Backlog<T> {
    /// Bytes that wait in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells that an item of that key comes: those before it are superseded.
    pub(super) fn supersede(&mut self, key: &Key) {
        if let Some(before) = self.latest.remove(key) {
            self.superseded.insert(before);
        }
    }

    /// Takes an item of `weight` bytes. With a key it supersedes those before it.
    pub(super) fn push(&mut self, item: T, weight: usize, key: Option<Key>) {
        if let Some(key) = &key {
            self.supersede(key);
            self.latest.insert(key.clone(), self.arrivals);
        }
        self.append(Waiting { item: Queued::Item(item), weight, key });
    }

    /// Notes that an item was dropped here.
    pub(super) fn lose(&mut self) {
        match self.items.last_entry().as_mut().map(|last| &mut last.get_mut().item) {
            Some(Queued::Lost(count)) => *count += 1,
            _ => self.append(Waiting { item: Queued::Lost(1), weight: 0, key: None }),
        }
    }

    /// Drops what is superseded; how many items that were.
    pub(super) fn conflate(&mut self) -> u64 {
        let superseded = std::mem::take(&mut self.superseded);
        for arrival in &superseded {
            self.bytes -= self.items.remove(arrival).map_or(0, |dropped| dropped.weight);
        }
        superseded.len() as u64
    }

    /// The oldest item or gap.
    pub(super) fn pop(&mut self) -> Option<Queued<T>> {
        let (arrival, Waiting { item, weight, key }) = self.items.pop_first()?;
        self.bytes -= weight;
        if !self.superseded.remove(&arrival)
            && let Some(key) = key
        {
            self.latest.remove(&key);
        }
        Some(item)
    }

    /// Drops everything; one gap stands for all of it. How many items were dropped now.
    pub(super) fn shed(&mut self) -> u64 {
        let (mut shed, mut lost) = (0, 0);
        for waiting in std::mem::take(&mut self.items).into_values() {
            match waiting.item {
                Queued::Item(_) => shed += 1,
                Queued::Lost(count) => lost += count,
            }
        }
        self.bytes = 0;
        self.latest.clear();
        self.superseded.clear();
        if shed + lost > 0 {
            self.append(Waiting { item: Queued::Lost(shed + lost), weight: 0, key: None });
        }
        shed
    }

    fn append(&mut self, waiting: Waiting<T>) {
        self.bytes += waiting.weight;
        self.items.insert(self.arrivals, waiting);
        self.arrivals += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest<T>(backlog: &mut Backlog<T>) -> Vec<Queued<T>> {
        std::iter::from_fn(|| backlog.pop()).collect()
    }

    fn key(name: &str) -> Option<Key> {
        Some((0, name.into()))
    }

    #[test]
    fn a_gap_stands_where_items_were_dropped() {
        let mut backlog = Backlog::default();
        backlog.push('a', 1, None);
        backlog.lose();
        backlog.lose();
        backlog.push('b', 2, None);
        backlog.lose();
        assert_eq!(backlog.bytes(), 3);
        let wanted = [Queued::Item('a'), Queued::Lost(2), Queued::Item('b'), Queued::Lost(1)];
        assert_eq!(rest(&mut backlog), wanted);
    }

    #[test]
    fn what_is_shed_is_one_gap() {
        let mut backlog = Backlog::default();
        for item in ['a', 'b'] {
            backlog.push(item, 1, key("k"));
        }
        backlog.lose();
        assert_eq!(backlog.shed(), 2);
        assert_eq!((backlog.bytes(), backlog.pop(), backlog.pop()), (0, Some(Queued::Lost(3)), None));
        assert_eq!((backlog.shed(), backlog.pop()), (0, None));
        backlog.push('c', 1, key("k"));
        assert_eq!((backlog.conflate(), backlog.pop()), (0, Some(Queued::Item('c'))));
    }

    #[test]
    fn the_last_of_each_key_stays_in_order() {
        let mut backlog = Backlog::default();
        for (item, name) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c"), ("a3", "a")] {
            backlog.push(item, 10, key(name));
        }
        backlog.push("none", 10, None);
        backlog.push("elsewhere", 10, Some((1, "a".into())));
        assert_eq!(backlog.pop(), Some(Queued::Item("a1")));
        assert_eq!((backlog.conflate(), backlog.conflate(), backlog.bytes()), (1, 0, 50));
        let wanted = ["b1", "c1", "a3", "none", "elsewhere"].map(Queued::Item);
        assert_eq!(rest(&mut backlog), wanted);
        assert!(backlog.latest.is_empty() && backlog.superseded.is_empty());
    }

    #[test]
    fn agrees_with_a_naive_queue() {
        let (mut backlog, mut naive, mut random) = (Backlog::default(), Vec::new(), 1u64);
        for number in 0..50_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = random >> 20 & 7;
            match random >> 60 {
                0 => {
                    backlog.conflate();
                    let last = |(n, k): &(u64, u64)| !naive.iter().any(|(m, l)| l == k && m > n);
                    // Key 0 stands for none.
                    naive = naive.iter().filter(|item| item.1 == 0 || last(item)).copied().collect();
                }
                1..6 => {
                    let popped = (!naive.is_empty()).then(|| Queued::Item(naive.remove(0).0));
                    assert_eq!(backlog.pop(), popped);
                }
                _ => {
                    backlog.push(number, 1, (name > 0).then(|| (0, name.to_string().into())));
                    naive.push((number, name));
                }
            }
            assert_eq!(backlog.bytes(), naive.len());
        }
    }
}

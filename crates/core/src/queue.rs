//! A queue bounded in bytes that drops what does not fit and remembers where.
//!
//! For hints only: whatever must not be lost is read from the log and never queued.

use std::collections::VecDeque;

/// A queue whose reader may be slow. Not synchronised.
#[derive(Debug)]
pub(crate) struct LossyQueue<T> {
    items: VecDeque<(Queued<T>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

/// What comes out of a [`LossyQueue`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Queued<T> {
    /// An item.
    Item(T),
    /// So many items were dropped here.
    Lost(u64),
}

impl<T> LossyQueue<T> {
    /// An empty queue of at most `bytes_max` bytes, or one item of any size.
    pub(crate) fn new(bytes_max: usize) -> LossyQueue<T> {
        LossyQueue { items: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Takes an item of `weight` bytes; false when it was dropped instead.
    pub(crate) fn push(&mut self, item: T, weight: usize) -> bool {
        if self.bytes > 0 && self.bytes + weight > self.bytes_max {
            self.lose(1);
            return false;
        }
        self.items.push_back((Queued::Item(item), weight));
        self.bytes += weight;
        true
    }

    /// Notes that `count` items are missing here.
    pub(crate) fn lose(&mut self, count: u64) {
        match self.items.back_mut() {
            Some((Queued::Lost(lost), _)) => *lost += count,
            _ => self.items.push_back((Queued::Lost(count), 0)),
        }
    }

    /// The oldest item or gap.
    pub(crate) fn pop(&mut self) -> Option<Queued<T>> {
        let (item, weight) = self.items.pop_front()?;
        self.bytes -= weight;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stands_where_items_were_dropped() {
        let mut queue = LossyQueue::new(10);
        assert!(queue.push('a', 50), "an empty queue takes any one item");
        assert!(!queue.push('b', 1) && !queue.push('c', 1));
        assert_eq!(queue.pop(), Some(Queued::Item('a')));
        assert!(queue.push('d', 4) && queue.push('e', 6) && !queue.push('f', 1));
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [Queued::Lost(2), Queued::Item('d'), Queued::Item('e'), Queued::Lost(1)]);
    }
}

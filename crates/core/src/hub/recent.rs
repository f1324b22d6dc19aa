//! Which positions passed lately, where no cursor says what lies behind: a set that forgets the oldest.
//!
//! It holds positions and nothing derived from them: whatever the bus says, one message takes one place, and cannot
//! make others seem old.

use crate::position::Position;
use std::collections::{BTreeSet, VecDeque};

/// Positions it remembers.
const POSITIONS_MAX: usize = 1024;

/// The positions that passed last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: BTreeSet<Position>,
    /// The same, oldest first.
    order: VecDeque<Position>,
}

impl Recent {
    /// Whether a position may pass: it does so once while it is remembered.
    pub(super) fn pass(&mut self, position: Position) -> bool {
        if !self.known.insert(position) {
            return false;
        }
        self.order.push_back(position);
        if self.order.len() > POSITIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Epoch;

    #[test]
    fn each_passes_once_and_the_oldest_are_forgotten() {
        let at = |offset| Position { epoch: Epoch(1), partition: 3, offset };
        let mut recent = Recent::default();
        let first = POSITIONS_MAX as u64;
        assert!(recent.pass(at(u64::MAX)) && (0..first).all(|offset| recent.pass(at(offset))));
        assert!(!(0..first).any(|offset| recent.pass(at(offset))));
        assert!(recent.pass(at(u64::MAX)), "forgotten by now");
        assert_eq!((recent.known.len(), recent.order.len()), (POSITIONS_MAX, POSITIONS_MAX));
    }
}

//! What a chain was told it has: marks of progress, each with the offsets below which everything was given.

use crate::operation::Place;
use std::collections::BTreeMap;

/// The marks of one stretch.
#[derive(Default)]
pub(super) struct Bookmarks {
    /// By epoch and partition: offsets that only grow, each with where it was told first.
    told: BTreeMap<(u64, u32), Vec<(u64, usize)>>,
}

impl Bookmarks {
    pub(super) fn add(&mut self, epoch: u64, next: &[u64], at: usize) {
        for (partition, &next) in (0..).zip(next) {
            let told = self.told.entry((epoch, partition)).or_default();
            if told.last().is_none_or(|(last, _)| *last < next) {
                told.push((next, at));
            }
        }
    }

    /// Where the chain was told first that it has what stands at this place.
    pub(super) fn passed(&self, place: Place) -> Option<usize> {
        let told = self.told.get(&(place.epoch, place.partition))?;
        told.get(told.partition_point(|(next, _)| *next <= place.offset)).map(|(_, at)| *at)
    }
}

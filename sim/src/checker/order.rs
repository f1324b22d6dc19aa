//! The one order of a topic's records in one epoch, as whoever reads it from the start finds it.

use super::Verdict;
use super::place::TOPICS;
use crate::history::Broken;
use std::collections::{BTreeMap, BTreeSet};

/// A record in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Which event it is.
    pub n: u64,
    /// When it was appended.
    pub append_time_ms: i64,
}

/// All records of a topic that were ever read in one epoch, oldest first; also those that retention took since.
#[derive(Clone, Debug, Default)]
pub struct Order {
    records: Vec<Stored>,
    index: BTreeMap<(u32, u64), usize>,
    of: BTreeMap<u64, (u32, u64)>,
    ends: BTreeMap<u32, (u64, i64)>,
    /// Places whose damage was reported.
    pub(super) gone: BTreeSet<(u32, u64)>,
}

impl Order {
    /// The records, oldest first.
    pub fn records(&self) -> &[Stored] {
        &self.records
    }

    /// Where a place comes in the order.
    pub fn index(&self, partition: u32, offset: u64) -> Option<usize> {
        self.index.get(&(partition, offset)).copied()
    }

    /// Partition and offset of an event.
    pub fn place_of(&self, n: u64) -> Option<(u32, u64)> {
        self.of.get(&n).copied()
    }

    /// The records that are neither trimmed nor damaged.
    pub fn kept<'a>(&'a self, earliest: &'a [u64]) -> impl Iterator<Item = &'a Stored> {
        self.records.iter().filter(|r| {
            r.offset >= earliest.get(r.partition as usize).copied().unwrap_or(0)
                && !self.gone.contains(&(r.partition, r.offset))
        })
    }

    /// Adds the next record. `earliest` is the start of each partition.
    pub(super) fn push(&mut self, stored: Stored, earliest: &[u64], topic: usize) -> Verdict {
        let Stored { partition, offset, n, append_time_ms } = stored;
        let name = TOPICS[topic];
        let about = || vec![format!("#{n}"), format!("[{partition}]@{offset}")];
        let start = earliest.get(partition as usize).copied().unwrap_or(0);
        let (end, time) = self.ends.get(&partition).copied().unwrap_or((start.min(offset), i64::MIN));
        let passed = (end..offset).all(|o| self.gone.contains(&(partition, o)) || o < start);
        if offset < end || !passed {
            let what = format!("after {name}[{partition}]@{end} comes @{offset}");
            return Err(Broken::new("offsets are dense", what, about()));
        }
        if append_time_ms < time {
            let what = format!("{name}[{partition}]@{offset} was appended at {append_time_ms}, after {time}");
            return Err(Broken::new("append times never decrease", what, about()));
        }
        if let Some(&(p, o)) = self.of.get(&n)
            && earliest.get(p as usize).is_none_or(|&e| o >= e)
            && !self.gone.contains(&(p, o))
        {
            let what = format!("#{n} stands at {name}[{p}]@{o} and [{partition}]@{offset}");
            return Err(Broken::new("stored once", what, about()));
        }
        self.index.insert((partition, offset), self.records.len());
        self.of.insert(n, (partition, offset));
        self.ends.insert(partition, (offset + 1, append_time_ms));
        self.records.push(stored);
        Ok(())
    }
}

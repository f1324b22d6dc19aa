//! Records that were left out of a copy because they repeat an event: they hide later ones all the same, and are not
//! there to be found.

use super::{WINDOW, looked_for_in};
use crate::identity;
use crate::record::Record;
use std::collections::BTreeMap;

/// Bytes of them that are remembered; the oldest go first.
const BYTES_MAX: usize = 8 << 20;

/// What was left out of the copy of one topic, as far back as the rule reaches.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// By offset and partition.
    records: BTreeMap<(u64, u32), Record>,
    bytes: usize,
}

impl LeftOut {
    /// Whether one of them hides a record.
    pub fn hides(&self, record: &Record) -> bool {
        if self.records.is_empty() {
            return false;
        }
        let Some(range) = looked_for_in(record) else { return false };
        let mut earlier = self.records.range((range.start, 0)..(range.end, 0)).map(|(_, earlier)| earlier);
        earlier.any(|one| one.partition == record.partition && identity::is_same_event(one, record))
    }

    /// Remembers a record that was left out, and forgets what nothing behind it looks back to.
    pub fn add(&mut self, record: Record) {
        let (partition, reach) = (record.partition, record.offset.saturating_sub(WINDOW));
        // It may come again.
        self.forget((record.offset, partition));
        self.bytes += record.weight();
        self.records.insert((record.offset, partition), record);
        let over: Vec<_> = self.records.range(..(reach, 0)).map(|(key, _)| *key).collect();
        over.iter().filter(|key| key.1 == partition).for_each(|key| self.forget(*key));
        while self.bytes > BYTES_MAX
            && let Some((&oldest, _)) = self.records.first_key_value()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: (u64, u32)) {
        self.bytes -= self.records.remove(&key).map_or(0, |record| record.weight());
    }
}

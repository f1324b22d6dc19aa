//! What a round appends to one partition: batches of bounded size, in order.

use crate::batch::Builder;
use dualstream_core::record::NewRecord;

/// A batch is closed before the record that would take it past this many bytes; a larger record has one of its own.
///
/// Readers take a block as a whole, and a block ends with a batch: whoever wants one record reads, checks and keeps up
/// to so much for it. A batch of a MiB costs as little per record as one of 32 MiB: its header is 72 bytes.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// The batches of one partition while a round is built.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    closed: Vec<Builder>,
    /// Keeps its capacity from round to round.
    open: Builder,
    records: u64,
}

impl Batches {
    /// Number of records.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Adds a record at the next offset; see [`Builder::push`].
    pub fn push(&mut self, record: &NewRecord, timestamp_ms: Option<i64>) {
        if !self.open.is_empty() && self.open.bytes() + record.weight() > BATCH_BYTES {
            self.closed.push(std::mem::take(&mut self.open));
        }
        self.open.push(record, timestamp_ms);
        self.records += 1;
    }

    /// The batches to finish, in order.
    pub fn each(&mut self) -> impl Iterator<Item = &mut Builder> {
        self.closed.iter_mut().chain(Some(&mut self.open)).filter(|builder| !builder.is_empty())
    }

    /// Forgets the records.
    pub fn clear(&mut self) {
        self.closed.clear();
        self.open.clear();
        self.records = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Compression, Stamp};
    use bytes::Bytes;

    fn record(bytes: usize) -> NewRecord {
        NewRecord { value: Some(Bytes::from(vec![b'x'; bytes])), ..NewRecord::default() }
    }

    fn stamp() -> Stamp {
        Stamp { topic_id: 1, partition: 2, base_offset: 3, sequence: 4, append_time_ms: 5 }
    }

    #[test]
    fn a_batch_is_closed_in_time_and_a_larger_record_stands_alone() {
        let mut batches = Batches::default();
        let large = 3 * BATCH_BYTES;
        let sizes =
            [[300; 10_000].as_slice(), &[large], &[1], &[BATCH_BYTES / 2; 5], &[large, large]].concat();
        sizes.iter().for_each(|&size| batches.push(&record(size), None));
        assert_eq!(batches.records(), sizes.len() as u64);
        let mut counts = Vec::new();
        for builder in batches.each() {
            let mut out = Vec::new();
            let head = builder.finish(&mut out, stamp(), None, Compression::None);
            assert!(head.bytes <= BATCH_BYTES + 1024 || head.count == 1, "{head:?}");
            counts.push(head.count);
        }
        assert_eq!(counts.iter().sum::<u32>() as usize, sizes.len());
        assert!(counts[0] > 2_000, "none is closed early: {counts:?}");
        batches.clear();
        assert_eq!((batches.records(), batches.each().count()), (0, 0));
    }
}

//! The checkpoint: how far the stores are synced, so that older journal files are free. Written only after every
//! store it speaks of was synced; replaced in one step.
//!
//! ```text
//! u64 magic "DSCKP002"  u32 crc32c of the rest  u8 clean  u8 fsync always  u16 0
//! u64 sequence  u64 generation  i64 last append time
//! u32 topics, then each: u32 id, u32 partitions, u64 segment, u64 byte, next offset of each partition,
//!                        holes-below of each partition, start of each partition
//! ```
//! In format 1 (`DSCKP001`) there are no starts: they follow from the segments that are there.

use crate::batch::crc32c;
use crate::replace::{load, replace};
use crate::storage::Storage;
use dualstream_core::{Error, ErrorKind, Result};
use std::io;

const PATH: &str = "checkpoint";
const MAGIC: u64 = u64::from_le_bytes(*b"DSCKP002");
const MAGIC_1: u64 = u64::from_le_bytes(*b"DSCKP001");

/// How far everything is synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The process ended in order after it.
    pub clean: bool,
    /// Commits were synced before their ack.
    pub fsync_always: bool,
    /// Every round up to this one is in synced stores.
    pub sequence: u64,
    /// Highest journal generation used.
    pub generation: u64,
    /// Append time of the last round.
    pub append_time_ms: i64,
    /// Where each store stands.
    pub stores: Vec<StoreMark>,
}

/// Where one store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreMark {
    pub topic_id: u32,
    /// Its active segment.
    pub segment: u64,
    /// Bytes of that segment that are synced.
    pub byte: u64,
    /// Next offset per partition.
    pub next: Vec<u64>,
    /// Below these offsets compaction may have left holes.
    pub holes_below: Vec<u64>,
    /// Below these offsets retention gave records up, whether or not their files are still there.
    pub start: Vec<u64>,
}

impl Checkpoint {
    /// The stored checkpoint; `None` in a fresh directory.
    ///
    /// # Errors
    /// `checkpoint_damaged`, `storage_error`.
    pub fn load(storage: &dyn Storage) -> Result<Option<Checkpoint>> {
        let bytes = load(storage, PATH).map_err(|e| crate::error::storage("read the checkpoint", e))?;
        bytes.map(|bytes| parse(&bytes).ok_or_else(damaged)).transpose()
    }

    /// Replaces the stored checkpoint. Everything it speaks of must be synced.
    pub fn store(&self, storage: &dyn Storage) -> io::Result<()> {
        replace(storage, PATH, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 12];
        out.extend_from_slice(&[u8::from(self.clean), u8::from(self.fsync_always), 0, 0]);
        for number in [self.sequence, self.generation, self.append_time_ms as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(self.stores.len() as u32).to_le_bytes());
        for store in &self.stores {
            out.extend_from_slice(&store.topic_id.to_le_bytes());
            out.extend_from_slice(&(store.next.len() as u32).to_le_bytes());
            let vectors = [&[store.segment, store.byte], &store.next[..], &store.holes_below, &store.start];
            for number in vectors.into_iter().flatten() {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let crc = crc32c(&out[12..]);
        out[..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "checkpoint_damaged",
        "the file 'checkpoint' in the data directory is damaged; run 'dualstream log repair'",
    )
}

fn parse(bytes: &[u8]) -> Option<Checkpoint> {
    let mut rest = Reader(bytes);
    let magic = rest.u64()?;
    let sound = [MAGIC, MAGIC_1].contains(&magic) && rest.u32()? == crc32c(bytes.get(12..)?);
    sound.then_some(())?;
    let flags = rest.u32()?.to_le_bytes();
    let mut checkpoint = Checkpoint {
        clean: flags[0] == 1,
        fsync_always: flags[1] == 1,
        sequence: rest.u64()?,
        generation: rest.u64()?,
        append_time_ms: rest.u64()? as i64,
        stores: Vec::new(),
    };
    for _ in 0..rest.u32()? {
        let (topic_id, partitions) = (rest.u32()?, rest.u32()? as usize);
        checkpoint.stores.push(StoreMark {
            topic_id,
            segment: rest.u64()?,
            byte: rest.u64()?,
            next: rest.u64s(partitions)?,
            holes_below: rest.u64s(partitions)?,
            start: if magic == MAGIC { rest.u64s(partitions)? } else { vec![0; partitions] },
        });
    }
    rest.0.is_empty().then_some(checkpoint)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*head))
    }

    fn u64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*head))
    }

    fn u64s(&mut self, count: usize) -> Option<Vec<u64>> {
        if count > self.0.len() / 8 {
            return None;
        }
        (0..count).map(|_| self.u64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_damage() {
        let store = |topic_id| StoreMark {
            topic_id,
            segment: 3,
            byte: 4_096,
            next: (0..12).collect(),
            holes_below: vec![0; 12],
            start: (100..112).collect(),
        };
        let checkpoint = Checkpoint {
            clean: true,
            fsync_always: false,
            sequence: 9,
            generation: 4,
            append_time_ms: -1,
            stores: vec![store(1), store(2)],
        };
        let bytes = checkpoint.encode();
        assert_eq!(parse(&bytes).unwrap(), checkpoint);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_none(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|cut| parse(&bytes[..cut]).is_none()));
    }
}

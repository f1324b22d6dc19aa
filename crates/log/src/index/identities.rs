//! From the hash of an event's identity to the record that may be it.
//!
//! ```text
//! sealed: one u64 for each event, sorted:   high 40 bits of the hash │ ordinal of the record in the segment, 24 bits
//! ```
//! 8 bytes an event on disk, and 10 bits in memory while the segment is inside the dedup window ([`Filter`]). Two
//! identities may share 40 bits: a candidate is no more than a record to compare.

use super::Damaged;
use crate::storage::File;
use std::hash::{BuildHasher, Hasher};
use std::io;

/// Records a segment may hold: so many ordinals can be written down. It is sealed when it has as many.
pub(crate) const RECORDS_MAX: usize = 1 << ORDINAL_BITS;
const ORDINAL_BITS: u32 = 24;
const KEY_BITS: u32 = 64 - ORDINAL_BITS;
const ENTRY_BYTES: usize = 8;

/// Sorted entries of the records whose identity hashes to these values, in the order of the records; 0 stands for a
/// record that is no event.
pub(crate) fn encode(hashes: &[u64]) -> Vec<u8> {
    debug_assert!(hashes.len() <= RECORDS_MAX, "the segment was not sealed in time");
    let events = hashes.iter().enumerate().take(RECORDS_MAX).filter(|(_, hash)| **hash != 0);
    let mut entries: Vec<u64> =
        events.map(|(ordinal, &hash)| key(hash) << ORDINAL_BITS | ordinal as u64).collect();
    entries.sort_unstable();
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// Most records with equal hashes that are looked at for one event. Two are rarer than failing disks, but ids with
/// equal hashes can be made, and each would cost all later ones a read.
pub(crate) const EQUAL_HASHES_MAX: usize = 64;

/// Ordinals of the records that may have this identity hash, ascending: binary search in a file that holds `count`
/// entries from byte `offset` on. Hashes are spread evenly, so the first guess nearly always hits: one read of a few KiB.
///
/// # Errors
/// When the file cannot be read, or ends early.
pub(crate) fn search(file: &dyn File, offset: u64, count: u64, hash: u64) -> io::Result<Vec<u32>> {
    let entries = Entries { file, offset, count };
    let key = key(hash);
    let mut found = Vec::new();
    let mut at = entries.lower_bound(key)?;
    while at < count {
        let window = entries.read(at, RUN_ENTRIES.min(count - at))?;
        let same = window.iter().take_while(|&&entry| entry >> ORDINAL_BITS == key);
        let before = found.len();
        found.extend(same.map(|&entry| (entry & (RECORDS_MAX as u64 - 1)) as u32));
        if found.len() - before < window.len() {
            break;
        }
        at += window.len() as u64;
    }
    Ok(found)
}

/// Entries read at a time once the first is found: there is one as a rule.
const RUN_ENTRIES: u64 = 16;

/// Bits of a hash that an entry keeps.
fn key(hash: u64) -> u64 {
    hash >> ORDINAL_BITS
}

struct Entries<'a> {
    file: &'a dyn File,
    offset: u64,
    count: u64,
}

impl Entries<'_> {
    /// Index of the first entry whose key is `key` or higher.
    fn lower_bound(&self, key: u64) -> io::Result<u64> {
        // Half a window is four standard deviations of where an evenly spread key stands.
        let half = 2 * self.count.isqrt() + 32;
        let (mut low, mut high) = (0, self.count);
        let mut guess = ((u128::from(key) * u128::from(self.count)) >> KEY_BITS) as u64;
        while low < high {
            let first = guess.saturating_sub(half).max(low);
            let last = guess.saturating_add(half).min(high);
            let window = self.read(first, last - first)?;
            let below = window.partition_point(|entry| entry >> ORDINAL_BITS < key) as u64;
            if below == 0 {
                high = first;
            } else if first + below == last {
                low = last;
            } else {
                return Ok(first + below);
            }
            guess = low + (high - low) / 2;
        }
        Ok(low)
    }

    fn read(&self, first: u64, count: u64) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; count as usize * ENTRY_BYTES];
        let filled = self.file.read_at(&mut bytes, self.offset + first * ENTRY_BYTES as u64)?;
        if filled < bytes.len() {
            return Err(Damaged.into());
        }
        Ok(entries(&bytes).collect())
    }
}

fn entries(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> {
    bytes.chunks_exact(ENTRY_BYTES).map(|e| u64::from_le_bytes(e.try_into().expect("a chunk is one entry")))
}

/// Which hashes certainly are not among the entries: a blocked Bloom filter (Putze, Sanders and Singler, 2007), 10 bits
/// and 6 probes for each entry, all in one cache line. Measured: one hash in 105 that is not there is let through.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: Vec<[u64; LINE_WORDS]>,
}

const LINE_WORDS: usize = 8;
const LINE_BITS: usize = 512;
const BITS_PER_ENTRY: usize = 10;
const PROBES: u32 = 6;

impl Filter {
    /// The filter of an encoded section.
    ///
    /// # Errors
    /// If the bytes are no sorted entries.
    pub fn of_section(bytes: &[u8]) -> Result<Filter, Damaged> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) || !entries(bytes).is_sorted_by(|a, b| a < b) {
            return Err(Damaged);
        }
        let entries = entries(bytes);
        let lines = (entries.len() * BITS_PER_ENTRY).div_ceil(LINE_BITS);
        let mut filter = Filter { lines: vec![[0; LINE_WORDS]; lines] };
        for entry in entries {
            let (line, bits) = place(filter.lines.len(), entry >> ORDINAL_BITS);
            bits.for_each(|(word, bit)| filter.lines[line][word] |= bit);
        }
        Ok(filter)
    }

    /// False when no entry has this hash.
    pub fn may_contain(&self, hash: u64) -> bool {
        if self.lines.is_empty() {
            return false;
        }
        let (line, mut bits) = place(self.lines.len(), key(hash));
        bits.all(|(word, bit)| self.lines[line][word] & bit != 0)
    }
}

/// The line of a key, and its bits there.
fn place(lines: usize, key: u64) -> (usize, impl Iterator<Item = (usize, u64)>) {
    let line = (u128::from(key) * lines as u128) >> KEY_BITS;
    // Keys of one line share their high bits: mix before taking bits from them.
    let mixed = (key ^ key >> 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let probes = (1..=PROBES).map(move |i| {
        let bit = (mixed >> (64 - 9 * i)) as usize % LINE_BITS;
        (bit / 64, 1 << (bit % 64))
    });
    (line as usize, probes)
}

/// For maps in memory whose keys are hashes already. Anybody can find ids whose hashes share bits, but not without the
/// seed ones that share a place in such a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashBuilder {
    seed: u64,
}

impl HashBuilder {
    /// The seed is the process's own and decides nothing that shows.
    pub fn new(seed: u64) -> HashBuilder {
        HashBuilder { seed }
    }
}

impl BuildHasher for HashBuilder {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(self.seed)
    }
}

/// See [`HashBuilder`].
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn write_u64(&mut self, hash: u64) {
        // Both halves of the product, so that every bit of the hash and of the seed reaches every bit.
        let product = u128::from(self.0 ^ hash) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only for completeness: a key of such a map is a u64.
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;

//! Ids for lines that have none, so that a line can be sent again without being stored twice.
//!
//! From a file the id is a function of the file: the 128-bit XXH3 of the line's bytes (without its line end) and of
//! the line's occurrence number, as 32 hexadecimal digits. Publishing the file again, after a crash or by mistake,
//! gives every line the id it had. From standard input, which cannot be read again, it is a UUIDv7 (RFC 9562).

use dualstream::core::clock::{Clock, Entropy};
use dualstream::system::{SystemClock, SystemEntropy};
use std::collections::HashMap;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// Distinct lines whose occurrences are counted exactly, in about 64 MiB.
const COUNTED_MAX: usize = 1 << 21;
/// Counters shared by the lines beyond; sharing skips numbers, which harms no one.
const SHARED: u64 = 1 << 16;

/// Gives ids to lines.
pub enum LineIds {
    /// By content and occurrence.
    OfFile {
        /// By hash of the line, how often it was seen.
        seen: HashMap<u64, u64>,
    },
    /// Fresh ones.
    Fresh(SystemEntropy),
}

impl LineIds {
    /// For lines of a file.
    pub fn of_file() -> LineIds {
        LineIds::OfFile { seen: HashMap::new() }
    }

    /// For lines that come only once.
    pub fn fresh() -> LineIds {
        LineIds::Fresh(SystemEntropy::default())
    }

    /// The id of the next line.
    pub fn next(&mut self, line: &[u8]) -> String {
        match self {
            LineIds::OfFile { seen } => format!("{:032x}", hash(line, occurrence(seen, line))),
            LineIds::Fresh(entropy) => uuid_v7(SystemClock.now_ms(), entropy),
        }
    }
}

/// How many equal lines came before.
fn occurrence(seen: &mut HashMap<u64, u64>, line: &[u8]) -> u64 {
    let own = xxh3_64(line);
    let key = if seen.len() < COUNTED_MAX || seen.contains_key(&own) { own } else { own % SHARED };
    let count = seen.entry(key).or_default();
    *count += 1;
    *count - 1
}

/// XXH3-128 of the line and its occurrence number as 8 bytes, little-endian.
fn hash(line: &[u8], occurrence: u64) -> u128 {
    let mut state = Xxh3Default::new();
    state.update(line);
    state.update(&occurrence.to_le_bytes());
    state.digest128()
}

/// A UUID, version 7: 48 bits of time in ms, 74 random bits.
pub fn uuid_v7(now_ms: i64, entropy: &dyn Entropy) -> String {
    let (high, low) = (entropy.next_u64(), entropy.next_u64());
    let time = now_ms as u64 & 0xffff_ffff_ffff;
    let variant = 0x8000 | (low >> 48 & 0x3fff);
    format!(
        "{:08x}-{:04x}-7{:03x}-{variant:04x}-{:012x}",
        time >> 16,
        time & 0xffff,
        high & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_file_are_stable_and_tell_equal_lines_apart() {
        let ids = |lines: &[&str]| {
            let mut ids = LineIds::of_file();
            lines.iter().map(|line| ids.next(line.as_bytes())).collect::<Vec<_>>()
        };
        let first = ids(&["{\"a\":1}", "{\"a\":2}", "{\"a\":1}"]);
        assert_eq!(first, ids(&["{\"a\":1}", "{\"a\":2}", "{\"a\":1}"]));
        assert_ne!(first[0], first[2]);
        // Pinned: a change would store every file again that was published before it.
        assert_eq!(first[0], "fb23661560c3fdbd2e89556944c78a52");
    }

    #[test]
    fn uuids_carry_version_variant_and_time() {
        let id = uuid_v7(0x0123_4567_89ab, &SystemEntropy::default());
        assert_eq!((id.len(), &id[..15]), (36, "01234567-89ab-7"));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }
}

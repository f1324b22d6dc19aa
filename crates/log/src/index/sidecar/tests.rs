//! Tests of the index of sidecar against naive models and damaged bytes.

use super::*;
use crate::storage::{MemoryStorage, Mode, Storage};
use proptest::prelude::*;
use std::sync::Arc;

const STAMP: Stamp = Stamp { topic: 3, segment: 7, covered_bytes: 1 << 26, mapping: 0xfeed };

fn stored(bytes: &[u8]) -> Arc<dyn File> {
    let file = MemoryStorage::new().open("f", Mode::Write).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn sample() -> Vec<u8> {
    encode(
        STAMP,
        &[(Kind::Blocks, vec![1; 300]), (Kind::Sources, Vec::new()), (Kind::Identities, vec![3; 8])],
    )
}

#[test]
fn sections_are_read_one_by_one() {
    let file = stored(&sample());
    let sidecar = Sidecar::open(&*file).unwrap();
    assert_eq!(sidecar.stamp(), STAMP);
    assert_eq!(sidecar.read(&*file, Kind::Identities).unwrap(), [3; 8]);
    assert_eq!(sidecar.read(&*file, Kind::Blocks).unwrap(), [1; 300]);
    assert_eq!(sidecar.read(&*file, Kind::Sources).unwrap(), [0; 0]);
    assert_eq!(sidecar.range(Kind::Blocks).unwrap().start, (FIXED_BYTES + 3 * ENTRY_BYTES) as u64);
    let without = stored(&encode(STAMP, &[(Kind::Blocks, vec![])]));
    assert_eq!(Sidecar::open(&*without).unwrap().range(Kind::Sources), Err(Damaged));
}

/// What a whole read of a file with all three sections says.
fn read_all(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let file = stored(bytes);
    let sidecar = Sidecar::open(&*file)?;
    [Kind::Blocks, Kind::Sources, Kind::Identities].iter().map(|&kind| sidecar.read(&*file, kind)).collect()
}

#[test]
fn every_bit_is_covered() {
    let good = sample();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert_eq!(read_all(&bad).unwrap_err().kind(), io::ErrorKind::InvalidData, "byte {at}");
        assert!(!is_sound(&bad), "byte {at}");
        assert_eq!(read_all(&good[..at]).unwrap_err().kind(), io::ErrorKind::InvalidData, "cut at {at}");
    }
    assert!(is_sound(&good));
}

#[test]
fn a_section_outside_the_file_is_refused_though_the_header_is_whole() {
    for (offset, length) in [(0u64, u64::MAX), (u64::MAX, 2), (1 << 40, 1)] {
        let mut bytes = encode(STAMP, &[(Kind::Blocks, vec![1; 10])]);
        bytes[FIXED_BYTES + 8..FIXED_BYTES + 16].copy_from_slice(&offset.to_le_bytes());
        bytes[FIXED_BYTES + 16..FIXED_BYTES + 24].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c(&bytes[12..FIXED_BYTES + ENTRY_BYTES]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Sidecar::open(&*stored(&bytes)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
        if magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        }
        let _ = read_all(&bytes);
        let _ = is_sound(&bytes);
    }
}

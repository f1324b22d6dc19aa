//! Tests of the index of identities against naive models and damaged bytes.

use super::*;
use crate::storage::{MemoryStorage, Mode, Storage};
use proptest::prelude::*;
use std::sync::Arc;

/// SplitMix64: hashes are spread evenly.
fn spread(n: u64) -> u64 {
    let z = (n.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn stored(section: &[u8], offset: u64) -> Arc<dyn File> {
    let file = MemoryStorage::new().open("f", Mode::Write).unwrap();
    file.write_at(section, offset).unwrap();
    file
}

/// All ordinals whose hash shares 40 bits with `hash`.
fn naive(hashes: &[u64], hash: u64) -> Vec<u32> {
    let same = hashes.iter().enumerate().filter(|(_, h)| **h != 0 && **h >> 24 == hash >> 24);
    same.map(|(ordinal, _)| ordinal as u32).collect()
}

#[test]
fn finds_every_identity_among_many() {
    let hashes: Vec<u64> = (0..50_000).map(|n| if n % 10 == 0 { 0 } else { spread(n) }).collect();
    let section = encode(&hashes);
    assert_eq!(section.len(), 45_000 * 8);
    let file = stored(&section, 100);
    let filter = Filter::of_section(&section).unwrap();
    for (ordinal, &hash) in hashes.iter().enumerate().filter(|(_, h)| **h != 0) {
        assert!(filter.may_contain(hash));
        assert!(search(&*file, 100, 45_000, hash).unwrap().contains(&(ordinal as u32)));
    }
}

#[test]
fn the_filter_lets_few_others_through() {
    let section = encode(&(0..100_000).map(spread).collect::<Vec<_>>());
    let filter = Filter::of_section(&section).unwrap();
    let through = (100_000..300_000).filter(|&n| filter.may_contain(spread(n))).count();
    println!("{:.2} % of others", through as f64 / 2_000.0);
    assert!(through < 4_000, "{through} of 200,000");
    assert!(filter.lines.len() * 64 * 8 <= 100_000 * 10 + 512);
}

#[test]
fn hashes_that_are_not_spread_are_found_all_the_same() {
    let all_alike = vec![7u64 << 24; 5_000];
    let crowded: Vec<u64> = (0..9_000).map(|n| (1 << 63) + (n << 24)).collect();
    let with_ends: Vec<u64> =
        [1 << 24, u64::MAX].into_iter().chain((0..3_000).map(|n| (5 + n % 3) << 24)).collect();
    for hashes in [all_alike, crowded, with_ends] {
        let section = encode(&hashes);
        let file = stored(&section, 0);
        let absent = [1, 4 << 24, 6 << 24, 8 << 24, 1 << 63, (1 << 63) + (9_000 << 24), u64::MAX - (1 << 24)];
        for hash in hashes.iter().step_by(97).chain(&absent).chain(&[u64::MAX]) {
            assert_eq!(search(&*file, 0, hashes.len() as u64, *hash).unwrap(), naive(&hashes, *hash));
        }
    }
}

proptest! {
    #[test]
    fn search_agrees_with_a_scan(
        hashes in proptest::collection::vec((0u64..40, 0u64..3).prop_map(|(high, low)| high << 58 | low << 24), 0..400),
        wanted in (0u64..40, 0u64..3).prop_map(|(high, low)| high << 58 | low << 24),
    ) {
        let section = encode(&hashes);
        let count = section.len() as u64 / 8;
        let found = search(&*stored(&section, 3), 3, count, wanted).unwrap();
        prop_assert_eq!(&found, &naive(&hashes, wanted));
        let filter = Filter::of_section(&section).unwrap();
        prop_assert!(found.is_empty() || filter.may_contain(wanted));
    }

    #[test]
    fn any_bytes_are_a_filter_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), hash in any::<u64>()) {
        if let Ok(filter) = Filter::of_section(&bytes) {
            filter.may_contain(hash);
        }
        // Entries in no order at all: anything may be found, but the search ends.
        let _ = search(&*stored(&bytes, 0), 0, bytes.len() as u64 / 8, hash);
    }
}

#[test]
fn what_is_not_there_is_damage() {
    let section = encode(&[1 << 40, 2 << 40]);
    assert_eq!(Filter::of_section(&section[..15]).unwrap_err(), Damaged);
    let swapped = [&section[8..], &section[..8]].concat();
    assert_eq!(Filter::of_section(&swapped).unwrap_err(), Damaged);
    let error = search(&*stored(&section, 0), 0, 3, 1 << 40).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let empty = Filter::of_section(&[]).unwrap();
    assert!(!empty.may_contain(5));
    assert_eq!(search(&*stored(&[], 0), 0, 0, 5).unwrap(), [0; 0]);
}

//! Tests of the index of blocks against naive models and damaged bytes.

use super::*;
use crate::batch::HEADER_BYTES;
use proptest::prelude::*;

const PARTITIONS: usize = 12;

struct Batch {
    at: u64,
    head: Head,
}

/// The head of a batch of `bytes` bytes in all.
fn head(
    partition: usize,
    base_offset: u64,
    next_offset: u64,
    count: u32,
    time_ms: i64,
    bytes: usize,
) -> Head {
    let mut raw = vec![0; HEADER_BYTES];
    raw[..4].copy_from_slice(&(bytes as u32 - 4).to_le_bytes());
    raw[8] = 1;
    raw[16..20].copy_from_slice(&(partition as u32).to_le_bytes());
    raw[20..24].copy_from_slice(&count.to_le_bytes());
    raw[24..32].copy_from_slice(&base_offset.to_le_bytes());
    raw[32..40].copy_from_slice(&next_offset.to_le_bytes());
    raw[48..56].copy_from_slice(&time_ms.to_le_bytes());
    Head::parse(&raw).unwrap()
}

/// Blocks of batches that follow each other; each is (partition, records, hole behind them, bytes, ms later).
fn build(shapes: &[(usize, u32, u64, usize, i64)]) -> (Blocks, Vec<Batch>) {
    let mut next: Vec<u64> = (0..PARTITIONS as u64).map(|p| p * 1000).collect();
    let mut blocks = Blocks::new(next.clone(), 136);
    let (mut at, mut time_ms) = (136, 1_700_000_000_000);
    let mut batches = Vec::new();
    for &(partition, count, hole, bytes, later) in shapes {
        time_ms += later;
        let base = next[partition];
        next[partition] += u64::from(count) + hole;
        let head = head(partition, base, next[partition], count, time_ms, bytes);
        blocks.push_batch(at, &head);
        batches.push(Batch { at, head });
        at += bytes as u64;
    }
    (blocks, batches)
}

fn shapes() -> impl Strategy<Value = Vec<(usize, u32, u64, usize, i64)>> {
    let shape = (0..PARTITIONS, 0u32..40, 0u64..3, HEADER_BYTES..20_000, 0i64..50);
    proptest::collection::vec(shape, 0..120)
}

/// The block a batch is in, found the slow way.
fn block_of(blocks: &Blocks, at: u64) -> usize {
    (0..blocks.len()).find(|&b| blocks.block_range(b).contains(&at)).unwrap()
}

proptest! {
    #[test]
    fn queries_agree_with_a_walk_over_the_batches(shapes in shapes(), partition in 0..PARTITIONS, ahead in 0u64..1500) {
        let (blocks, batches) = build(&shapes);
        let offset = partition as u64 * 1000 + ahead;
        let past = batches.iter().find(|b| b.head.partition as usize == partition && b.head.next_offset > offset);
        prop_assert_eq!(blocks.first_block_past(partition, offset), past.map_or(blocks.len(), |b| block_of(&blocks, b.at)));

        let ms = 1_700_000_000_000 + ahead as i64;
        let at_time = batches.iter().find(|b| b.head.append_time_ms >= ms);
        prop_assert_eq!(blocks.first_block_at_time(ms), at_time.map(|b| block_of(&blocks, b.at)));

        let records: u64 = batches.iter().map(|b| u64::from(b.head.count)).sum();
        prop_assert_eq!(blocks.records(), records);
        prop_assert_eq!(blocks.block_of_ordinal(records), None);
        let mut ordinal = 0;
        for batch in &batches {
            for _ in 0..batch.head.count {
                let block = blocks.block_of_ordinal(ordinal).unwrap();
                prop_assert_eq!(block, block_of(&blocks, batch.at));
                prop_assert!(blocks.first_ordinal(block) <= ordinal);
                ordinal += 1;
            }
        }
    }

    #[test]
    fn blocks_are_contiguous_and_vectors_are_what_came_before(shapes in shapes()) {
        let (blocks, batches) = build(&shapes);
        let mut end = 136;
        for block in 0..blocks.len() {
            let range = blocks.block_range(block);
            prop_assert_eq!(range.start, end);
            end = range.end;
            let full = range.end - range.start;
            prop_assert!(full < BLOCK_BYTES + 20_000);
            prop_assert!(full >= BLOCK_BYTES || block + 1 == blocks.len());
            let mut vector: Vec<u64> = (0..PARTITIONS as u64).map(|p| p * 1000).collect();
            for batch in batches.iter().filter(|b| b.at < range.start) {
                vector[batch.head.partition as usize] = batch.head.next_offset;
            }
            prop_assert_eq!(blocks.start_vector(block), &vector[..]);
        }
        let last = batches.last().map_or(136, |b| b.at + b.head.bytes as u64);
        prop_assert_eq!(end, if blocks.len() == 0 { 136 } else { last });
    }

    #[test]
    fn what_is_encoded_is_decoded(shapes in shapes()) {
        let (blocks, _) = build(&shapes);
        let bytes = blocks.encode();
        prop_assert_eq!(Blocks::decode(&bytes).unwrap(), blocks);
        for cut in [0, bytes.len() / 2, bytes.len() - 1] {
            prop_assert_eq!(Blocks::decode(&bytes[..cut]), Err(Damaged));
        }
        prop_assert_eq!(Blocks::decode(&[&bytes[..], &[0]].concat()), Err(Damaged));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(blocks) = Blocks::decode(&bytes) {
            prop_assert!(blocks.len() <= bytes.len());
        }
    }

    #[test]
    fn changed_bytes_are_decoded_or_refused(shapes in shapes(), at in any::<usize>(), with in any::<u8>()) {
        let mut bytes = build(&shapes).0.encode();
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = Blocks::decode(&bytes);
    }
}

#[test]
fn offsets_at_the_edges_of_blocks_are_found_exactly() {
    let (blocks, _) = build(&[(3, 2, 0, 40_000, 0), (3, 2, 1, 40_000, 0), (5, 1, 0, 40_000, 0)]);
    let past = |offset: u64| blocks.first_block_past(3, 3_000 + offset);
    assert_eq!([0, 1, 2, 3, 4, 5].map(past), [0, 0, 1, 1, 1, 3]);
    assert_eq!((blocks.first_block_past(5, 5_000), blocks.first_block_past(5, 5_001)), (2, 3));
}

#[test]
fn a_count_no_input_can_hold_is_refused_before_anything_is_allocated() {
    let mut bytes = Vec::new();
    for huge in [u64::MAX, u64::MAX / 2, 1 << 40] {
        bytes.clear();
        varint::put(&mut bytes, 12);
        varint::put(&mut bytes, huge);
        bytes.extend_from_slice(&[0; 200]);
        assert_eq!(Blocks::decode(&bytes), Err(Damaged));
        bytes.clear();
        varint::put(&mut bytes, huge);
        varint::put(&mut bytes, 1);
        bytes.extend_from_slice(&[0; 200]);
        assert_eq!(Blocks::decode(&bytes), Err(Damaged));
    }
}

#[test]
fn a_gap_of_damaged_bytes_belongs_to_the_block_before_it() {
    let mut blocks = Blocks::new(vec![0], 48);
    blocks.push_batch(100, &head(0, 0, 1, 1, 5, 40_000));
    blocks.push_batch(50_000, &head(0, 1, 2, 1, 4, 100));
    assert_eq!((blocks.block_range(0), blocks.block_range(1)), (48..50_000, 50_000..50_100));
    assert_eq!((blocks.append_time_max(), blocks.first_block_at_time(5)), (5, Some(0)));
}

#[test]
fn a_block_takes_at_most_thirty_bytes() {
    // 64 MiB of 300-byte records, 4 to a batch.
    let batches = (64 << 20) / 1200;
    let shapes: Vec<_> =
        (0..batches).map(|i| (i * 7 % PARTITIONS, 4, 0, 1200, i64::from(i % 3 == 0))).collect();
    let (blocks, _) = build(&shapes);
    let (bytes, records) = (blocks.encode().len(), blocks.records() as usize);
    println!("{} bytes a block, {:.3} a record", bytes / blocks.len(), bytes as f64 / records as f64);
    assert!(bytes <= 30 * blocks.len());
}

//! Blocks of segments that were read lately, for whoever reads beside: when a server starts again, thousands of clients go
//! through the same stretch of the log, each for the few records of its channel. So a block is read and checked once.
//!
//! It holds only blocks that are whole and cannot change any more. It is a cache, bounded in bytes: nothing is lost with
//! it, and what a segment that is gone left in it goes like everything else.

use crate::reader::block::Block;
use crate::segment::Segment;
use bytes::BytesMut;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Most bytes of blocks that are kept.
const BYTES_MAX: usize = 32 << 20;

/// The blocks that are kept.
#[derive(Default)]
pub(crate) struct BlockCache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    places: HashMap<Key, usize>,
    slots: Vec<Slot>,
    bytes: usize,
    turn: u64,
}

/// A segment by its place in memory, which is not given away while a slot remembers it, and a block of it.
type Key = (usize, u32);

struct Slot {
    key: Key,
    _segment: Weak<Segment>,
    block: Arc<Block>,
}

impl BlockCache {
    /// A block of a segment, if it is kept.
    pub fn get(&self, segment: &Arc<Segment>, number: u32) -> Option<Arc<Block>> {
        let kept = self.kept();
        let place = kept.places.get(&key(segment, number))?;
        Some(kept.slots[*place].block.clone())
    }

    /// Keeps a block; memory that nobody uses any more, if others had to go.
    pub fn keep(&self, segment: &Arc<Segment>, number: u32, block: Arc<Block>) -> Option<BytesMut> {
        let mut kept = self.kept();
        let key = key(segment, number);
        if kept.places.contains_key(&key) {
            return None;
        }
        kept.bytes += block.bytes.len();
        let place = kept.slots.len();
        kept.places.insert(key, place);
        kept.slots.push(Slot { key, _segment: Arc::downgrade(segment), block });
        let mut free = None;
        while kept.bytes > BYTES_MAX && kept.slots.len() > 1 {
            free = kept.drop_one();
        }
        drop(kept);
        Arc::into_inner(free?)?.bytes.try_into_mut().ok()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Any but the one that came last. Not the oldest: clients go through a stretch one after the other, and where it is
    /// larger than what is kept, each would find gone what it is about to ask for.
    fn drop_one(&mut self) -> Option<Arc<Block>> {
        self.turn = self.turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let others = self.slots.len() - 1;
        let place = ((u128::from(mixed(self.turn)) * others as u128) >> 64) as usize;
        let slot = self.slots.swap_remove(place);
        self.places.remove(&slot.key);
        self.places.insert(self.slots[place].key, place);
        self.bytes -= slot.block.bytes.len();
        Some(slot.block)
    }
}

fn key(segment: &Arc<Segment>, number: u32) -> Key {
    (Arc::as_ptr(segment).addr(), number)
}

/// Spreads what counts up (Stafford's mix 13).
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Header;
    use crate::storage::{MemoryStorage, Mode, Storage};
    use bytes::Bytes;

    const SIZE: usize = 1 << 20;
    const ROOM: u32 = (BYTES_MAX / SIZE) as u32;

    fn segment() -> Arc<Segment> {
        let file = MemoryStorage::new().open("segment", Mode::Write).unwrap();
        let header = Header { topic_id: 1, number: 0, sequence: 0, start: vec![0; 12] };
        Arc::new(Segment::active(header, file, 1))
    }

    fn block() -> Arc<Block> {
        Arc::new(Block::new(Bytes::from(vec![0; SIZE]), 1, 12))
    }

    #[test]
    fn what_is_kept_is_bounded_and_memory_is_given_back() {
        let (cache, segment) = (BlockCache::default(), segment());
        for number in 0..ROOM {
            assert_eq!(cache.keep(&segment, number, block()), None, "{number}");
        }
        assert!((0..ROOM).all(|number| cache.get(&segment, number).is_some()));
        for number in ROOM..3 * ROOM {
            let free = cache.keep(&segment, number, block()).expect("one had to go");
            assert_eq!(free.len(), SIZE);
            assert!(cache.get(&segment, number).is_some(), "the last one stays");
        }
        let found = (0..3 * ROOM).filter(|number| cache.get(&segment, *number).is_some()).count();
        assert_eq!(found, ROOM as usize);
        assert!((0..ROOM).any(|number| cache.get(&segment, number).is_some()), "not the oldest go first");
    }

    #[test]
    fn who_reads_a_block_goes_on_when_it_has_to_go() {
        let (cache, segment) = (BlockCache::default(), segment());
        cache.keep(&segment, 0, block());
        let read = cache.get(&segment, 0).unwrap();
        let mut number = 0;
        while cache.get(&segment, 0).is_some() {
            number += 1;
            cache.keep(&segment, number, block());
        }
        assert_eq!(read.bytes.len(), SIZE);
    }

    #[test]
    fn a_segment_is_not_taken_for_one_that_is_gone() {
        let cache = BlockCache::default();
        for _ in 0..100 {
            let segment = segment();
            assert!(cache.get(&segment, 7).is_none());
            cache.keep(&segment, 7, block());
        }
    }
}

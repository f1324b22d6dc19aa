//! One block, taken apart: its whole batches in log order, and what is missing before, between and behind them.
//! The batches are found, and their checksums compared, once for all who read it ([`Block`]).
//!
//! Readers of both directions see the same pieces, so what one tells of damage the other tells too. It decides
//! nothing: whether what is missing was damaged or compacted away, and who wants to know, is for the reader.

use super::next_batch;
use crate::batch::Head;
use bytes::Bytes;
use std::ops::Range;

/// The bytes of a block, checked.
pub(crate) struct Block {
    pub bytes: Bytes,
    /// Its whole batches, and where each begins.
    batches: Vec<(Head, usize)>,
    /// There is nothing but batches in it.
    is_sound: bool,
}

impl Block {
    pub fn new(bytes: Bytes, topic_id: u32, partitions: usize) -> Block {
        let (mut at, mut end, mut batches) = (0, 0, Vec::new());
        let mut is_sound = true;
        while let Some(head) = next_batch(&bytes, &mut at, topic_id, partitions) {
            is_sound &= at == end;
            batches.push((head, at));
            at += head.bytes;
            end = at;
        }
        is_sound &= end == bytes.len();
        Block { bytes, batches, is_sound }
    }

    /// The heads of its batches.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Head> {
        self.batches.iter().map(|(head, _)| head)
    }

    /// Whether it may be kept for others: damage is looked at again by each.
    pub(super) fn is_sound(&self) -> bool {
        self.is_sound
    }
}

/// A stretch of a segment to read.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Number of the block in its segment.
    pub index: u32,
    pub bytes: Range<u64>,
    /// Next offset of each partition where it begins.
    pub start: Vec<u64>,
    /// And where it ends, as far as readers may see.
    pub end: Vec<u64>,
    /// Nothing will be added to it.
    pub is_full: bool,
}

/// A part of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    /// A whole batch, and where in the block it begins.
    Batch { head: Head, at: usize },
    /// Offsets that belong here and are not here.
    Missing { partition: usize, from: u64, until: u64 },
}

impl Piece {
    pub(super) fn partition(&self) -> usize {
        match self {
            Piece::Batch { head, .. } => head.partition as usize,
            Piece::Missing { partition, .. } => *partition,
        }
    }

    /// Its first offset.
    pub(super) fn from(&self) -> u64 {
        match self {
            Piece::Batch { head, .. } => head.base_offset,
            Piece::Missing { from, .. } => *from,
        }
    }

    /// The first offset after it.
    pub(super) fn until(&self) -> u64 {
        match self {
            Piece::Batch { head, .. } => head.next_offset,
            Piece::Missing { until, .. } => *until,
        }
    }
}

/// The pieces of a block, first to last. In each partition one begins where the one before it ends.
pub(super) struct Pieces<'a> {
    batches: std::slice::Iter<'a, (Head, usize)>,
    /// Next offset of each partition.
    vector: Vec<u64>,
    end: &'a [u64],
    /// A batch that comes behind the missing offsets that were told last.
    held: Option<Piece>,
    /// The first partition whose end was not looked at.
    ended: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(block: &'a Block, planned: &'a Planned) -> Pieces<'a> {
        let (vector, end) = (planned.start.clone(), &planned.end[..]);
        Pieces { batches: block.batches.iter(), vector, end, held: None, ended: 0 }
    }

    fn next_batch(&mut self) -> Option<Piece> {
        self.batches.next().map(|&(head, at)| Piece::Batch { head, at })
    }

    /// Moves up to `until` in a partition; what is missing before it, if anything is.
    fn advance(&mut self, partition: usize, until: u64) -> Option<Piece> {
        let own = &mut self.vector[partition];
        let from = std::mem::replace(own, until.max(*own));
        (from < until).then_some(Piece::Missing { partition, from, until })
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if let Some(batch) = self.held.take().or_else(|| self.next_batch()) {
            let missing = self.advance(batch.partition(), batch.from());
            if missing.is_some() {
                self.held = Some(batch);
                return missing;
            }
            self.advance(batch.partition(), batch.until());
            return Some(batch);
        }
        while self.ended < self.end.len() {
            let partition = self.ended;
            self.ended += 1;
            let missing = self.advance(partition, self.end[partition]);
            if missing.is_some() {
                return missing;
            }
        }
        None
    }
}

//! Records of several partitions in one order: by append time, then partition, then offset.

use super::seam::Run;
use crate::filter::Filter;
use crate::log::{Page, Read};
use crate::record::Record;
use std::sync::Arc;

/// What was read of one span.
pub(super) struct Piece {
    /// Where reading begins: the first offset, or in reverse the one after the last.
    pub begin: u64,
    /// Where it goes on once everything here is taken.
    pub end: u64,
    /// Nothing of the part is behind it.
    pub is_whole: bool,
    /// One behind the other.
    pub runs: Vec<Arc<Run>>,
}

impl Piece {
    /// Nothing, of a span that goes on at `at`.
    pub fn none(at: u64) -> Piece {
        Piece { begin: at, end: at, is_whole: true, runs: Vec::new() }
    }
}

/// A page of one piece for each span. It ends where a piece does that has more behind it: what follows there may come
/// before what others hold.
pub(super) fn page(read: &Read, pieces: &[Piece]) -> Page {
    let mut sides: Vec<Side<'_>> =
        pieces.iter().map(|piece| Side::new(piece, &read.filter, read.reverse)).collect();
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < read.records_max && (records.is_empty() || bytes < read.bytes_max) {
        if sides.iter().any(|side| side.head().is_none() && !side.piece.is_whole) {
            break;
        }
        let heads = sides.iter().enumerate().filter_map(|(i, side)| Some((side.head()?, i)));
        let order = |(record, _): &(&Record, usize)| (record.append_time_ms, record.partition, record.offset);
        let next = if read.reverse { heads.max_by_key(order) } else { heads.min_by_key(order) };
        let Some((record, i)) = next else { break };
        let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
        bytes += length(&record.key) + length(&record.value);
        records.push(record.clone());
        sides[i].taken += 1;
    }
    let next = sides.iter().map(|side| side.next(read.reverse)).collect();
    Page { records, next, gaps: Vec::new() }
}

/// One piece, and how much of it is taken.
struct Side<'a> {
    piece: &'a Piece,
    /// What matches, in reading order.
    records: Vec<&'a Record>,
    taken: usize,
}

impl<'a> Side<'a> {
    fn new(piece: &'a Piece, filter: &Filter, reverse: bool) -> Side<'a> {
        let all = piece.runs.iter().flat_map(|run| &run.records);
        let (from, until) = if reverse { (piece.end, piece.begin) } else { (piece.begin, piece.end) };
        let inside = all.filter(|r| r.offset >= from && r.offset < until && filter.matches_record(r));
        let mut records: Vec<&Record> = inside.collect();
        if reverse {
            records.reverse();
        }
        Side { piece, records, taken: 0 }
    }

    fn head(&self) -> Option<&'a Record> {
        self.records.get(self.taken).copied()
    }

    fn next(&self, reverse: bool) -> u64 {
        if self.taken == self.records.len() {
            return self.piece.end;
        }
        match self.taken.checked_sub(1).map(|last| self.records[last].offset) {
            Some(last) if reverse => last,
            Some(last) => last + 1,
            None => self.piece.begin,
        }
    }
}

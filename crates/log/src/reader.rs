//! Reading a topic store: from a vector of offsets, through a filter, in log order or newest first.
//!
//! A read finds its first block by the offsets, walks candidate blocks only (the sidecar says which hold wanted
//! sources), and carries a *vector*: the next offset of every partition at the place it has reached. So a read that
//! stops anywhere hands back exactly where it stands in all partitions, also in those it skipped over. Forwards and
//! backwards are one walk over the same pieces: what is damaged is told alike.

pub(crate) mod block;

use crate::batch::{HEADER_BYTES, Head, Records};
use crate::segment::Segment;
use crate::topic::Snapshot;
use block::{Block, Piece, Pieces, Planned};
use bytes::{Bytes, BytesMut};
use dualstream_core::filter::{Filter, SOURCE_TYPE_HEADER};
use dualstream_core::log::{Gap, Page, Read, Span};
use dualstream_core::record::{Headers, Record};
use dualstream_core::sources::SourceRange;
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Records that are less than this share of their block get memory of their own, and the block's is used again.
const SPARSE: usize = 4;
/// Blocks planned at a time.
const PLAN_BLOCKS: usize = 8;

/// One partition of a read.
#[derive(Clone, Copy, Debug)]
struct Lane {
    partition: usize,
    from: u64,
    until: u64,
}

/// Reads a page.
///
/// # Errors
/// As [`Log::read`](dualstream_core::log::Log::read), and `storage_error`.
pub(crate) fn read(snapshot: &Snapshot, read: &Read) -> Result<Page> {
    let walk = Walk::new(snapshot, read)?;
    if walk.lanes.iter().all(|lane| lane.from >= lane.until) {
        return Ok(walk.finish_at_end());
    }
    walk.walk()
}

/// For each partition the first offset appended at `time_ms` or later.
///
/// # Errors
/// `storage_error`.
pub(crate) fn seek(snapshot: &Snapshot, time_ms: i64) -> Result<Vec<u64>> {
    let topic = snapshot.topic();
    for (s, segment) in snapshot.segments.iter().enumerate() {
        let index = segment.index(&topic).map_err(storage_error)?;
        let Some(block) = index.blocks().first_block_at_time(time_ms) else { continue };
        drop(index);
        let block = block as u32;
        let Some(planned) = plan(snapshot, s, None, block..block + 1, false)?.pop() else { continue };
        let block = fetch(segment, &planned, BytesMut::new(), snapshot)?;
        let mut vector = planned.start.clone();
        for head in block.heads() {
            if head.append_time_ms >= time_ms {
                return Ok(clamp_all(vector, snapshot));
            }
            vector[head.partition as usize] = head.next_offset;
        }
    }
    Ok(snapshot.ends.clone())
}

/// The first sources of a topic within a range, over all its segments.
///
/// # Errors
/// `storage_error`.
pub(crate) fn sources(snapshot: &Snapshot, range: &SourceRange) -> Result<Vec<Vec<u8>>> {
    let mut names = BTreeSet::new();
    for segment in snapshot.segments.iter() {
        segment.index(&snapshot.topic()).map_err(storage_error)?.add_names(range, &mut names);
    }
    Ok(names.into_iter().collect())
}

fn clamp_all(vector: Vec<u64>, snapshot: &Snapshot) -> Vec<u64> {
    let bounds = snapshot.start.iter().zip(&snapshot.ends);
    vector.into_iter().zip(bounds).map(|(v, (&start, &end))| v.clamp(start, end)).collect()
}

/// The next whole batch at or after `at`, which is moved to it; `None` when no more follow. Damaged bytes are passed
/// over: whoever reads notices the offsets that are missing.
pub(crate) fn next_batch(bytes: &[u8], at: &mut usize, topic_id: u32, partitions: usize) -> Option<Head> {
    let is_ours = |h: &Head| h.topic_id == topic_id && (h.partition as usize) < partitions;
    let mut tried = *at;
    while tried + HEADER_BYTES <= bytes.len() {
        // The cheap test first: searching damaged bytes must not compute a CRC at every byte.
        if Head::parse(&bytes[tried..]).filter(is_ours).is_some()
            && let Some(head) = Head::check(&bytes[tried..])
        {
            *at = tried;
            return Some(head);
        }
        tried += 1;
    }
    None
}

pub(crate) fn storage_error(error: std::io::Error) -> Error {
    crate::error::storage("read the log", error)
}

/// Reads a block into `buffer` if it is large enough.
fn fetch(segment: &Segment, planned: &Planned, mut buffer: BytesMut, snapshot: &Snapshot) -> Result<Block> {
    let length = (planned.bytes.end - planned.bytes.start) as usize;
    match buffer.capacity() < length {
        true => buffer = BytesMut::zeroed(length),
        false => buffer.resize(length, 0),
    }
    let filled = segment.file.read_at(&mut buffer, planned.bytes.start).map_err(storage_error)?;
    buffer.truncate(filled);
    Ok(Block::new(buffer.freeze(), snapshot.id, snapshot.ends.len()))
}

/// A vector of a segment that was begun with fewer partitions: the ones added since have nothing before it.
fn widened(vector: &[u64], snapshot: &Snapshot) -> Vec<u64> {
    let mut vector = vector.to_vec();
    vector.resize(snapshot.ends.len(), 0);
    vector
}

/// Some of the blocks `range` of segment `s`, all of them if `wanted` is `None`: the first ones, or in reverse the last
/// ones first.
fn plan(
    snapshot: &Snapshot,
    s: usize,
    wanted: Option<&[u32]>,
    range: std::ops::Range<u32>,
    reverse: bool,
) -> Result<Vec<Planned>> {
    let index = snapshot.segments[s].index(&snapshot.topic()).map_err(storage_error)?;
    let (blocks, end_byte) = (index.blocks(), snapshot.end_of(s));
    let until = range.end.min(blocks.count_before(end_byte) as u32);
    let planned = |i: u32| {
        let bytes = blocks.block_range(i as usize);
        let end = widened(blocks.end_vector_of(i as usize), snapshot);
        Planned {
            index: i,
            bytes: bytes.start..bytes.end.min(end_byte),
            start: widened(blocks.start_vector(i as usize), snapshot),
            end: end.iter().zip(&snapshot.ends).map(|(&end, &visible)| end.min(visible)).collect(),
            is_full: (i as usize) + 1 < blocks.len() && bytes.end <= end_byte,
        }
    };
    let numbers: Vec<u32> = match wanted {
        None => some_of(range.start..until, reverse),
        Some(list) => {
            let inside = |bound: u32| list.partition_point(|&i| i < bound);
            let (from, until) = (inside(range.start), inside(until));
            some_of(list[from.min(until)..until].iter().copied(), reverse)
        }
    };
    Ok(numbers.into_iter().map(planned).collect())
}

fn some_of(numbers: impl DoubleEndedIterator<Item = u32>, reverse: bool) -> Vec<u32> {
    match reverse {
        false => numbers.take(PLAN_BLOCKS).collect(),
        true => numbers.rev().take(PLAN_BLOCKS).collect(),
    }
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    read: &'a Read,
    lanes: Vec<Lane>,
    /// Lane of each partition.
    lane_of: Vec<Option<u32>>,
    page: Page,
    bytes: usize,
    /// What the next block is read into: that of the last one unless records keep it.
    buffer: BytesMut,
    /// Headers in memory of their own, of the last record that has such.
    own_headers: Headers,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot, read: &'a Read) -> Result<Walk<'a>> {
        if snapshot.epoch != read.epoch {
            return Err(epoch_changed());
        }
        let mut lane_of = vec![None; snapshot.ends.len()];
        let mut lanes = Vec::with_capacity(read.spans.len());
        for span in &read.spans {
            let lane = check_span(snapshot, span)?;
            lane_of[lane.partition] = Some(lanes.len() as u32);
            lanes.push(lane);
        }
        let (page, buffer, own_headers) = (Page::default(), BytesMut::new(), Headers::default());
        Ok(Walk { snapshot, read, lanes, lane_of, page, bytes: 0, buffer, own_headers })
    }

    /// Where it goes on: everything was read.
    fn finish_at_end(mut self) -> Page {
        let reverse = self.read.reverse;
        let end = |l: &Lane| if reverse { l.from.min(l.until) } else { l.until.max(l.from) };
        self.page.next = self.lanes.iter().map(end).collect();
        self.page
    }

    fn finish_at(mut self, vector: &[u64]) -> Page {
        let clamp = |l: &Lane| vector[l.partition].min(l.until).max(l.from);
        self.page.next = self.lanes.iter().map(clamp).collect();
        self.page
    }

    /// Segment and block where the walk begins: those of the first offset wanted of the lane where it comes first, or
    /// in reverse of the last offset wanted of the lane where it comes last.
    fn locate(&self) -> Result<(usize, u32)> {
        let reverse = self.read.reverse;
        let mut found: Option<(usize, u32)> = None;
        for lane in self.lanes.iter().filter(|l| l.from < l.until) {
            let offset = if reverse { lane.until - 1 } else { lane.from };
            let segments = &self.snapshot.segments;
            let after = segments
                .partition_point(|s| s.start.get(lane.partition).is_none_or(|&start| start <= offset));
            let s = after.saturating_sub(1);
            let index = segments[s].index(&self.snapshot.topic()).map_err(storage_error)?;
            let block = index.blocks().first_block_past(lane.partition, offset);
            let place = (s, block.min(index.blocks().len().saturating_sub(1)) as u32);
            found = Some(match found {
                None => place,
                Some(other) if reverse => other.max(place),
                Some(other) => other.min(place),
            });
        }
        Ok(found.unwrap_or_default())
    }

    /// Reads on until the page is full or everything was read. Both directions meet the same pieces in the same places.
    fn walk(mut self) -> Result<Page> {
        let reverse = self.read.reverse;
        let (mut s, block) = self.locate()?;
        let mut range = if reverse { 0..block + 1 } else { block..u32::MAX };
        loop {
            if reverse {
                self.note_lost_end(s)?;
            }
            let wanted = self.wanted(s)?;
            loop {
                let planned = plan(self.snapshot, s, wanted.as_deref(), range.clone(), reverse)?;
                let Some(last) = planned.last() else { break };
                range = if reverse { range.start..last.index } else { last.index + 1..range.end };
                for planned in &planned {
                    if self.is_past(planned) {
                        return Ok(self.finish_at_end());
                    }
                    if let Some(vector) = self.take_block(s, planned, wanted.is_some())? {
                        return Ok(self.finish_at(&vector));
                    }
                }
            }
            if !reverse {
                self.note_lost_end(s)?;
            }
            let next = if reverse { s.checked_sub(1) } else { Some(s + 1) };
            match next.filter(|&next| next < self.snapshot.segments.len()) {
                Some(next) => (s, range) = (next, 0..u32::MAX),
                None => return Ok(self.finish_at_end()),
            }
        }
    }

    /// Whether nothing wanted stands in a block or beyond it.
    fn is_past(&self, planned: &Planned) -> bool {
        self.lanes.iter().all(|l| match self.read.reverse {
            false => planned.start[l.partition] >= l.until,
            true => planned.end[l.partition] <= l.from,
        })
    }

    /// Notes what a segment lost at its end: the next one begins further on than its batches go.
    fn note_lost_end(&mut self, s: usize) -> Result<()> {
        let (segments, ends) = (&self.snapshot.segments, &self.snapshot.ends);
        let next = segments.get(s + 1).map_or(ends, |next| &next.start);
        let end = segments[s].index(&self.snapshot.topic()).map_err(storage_error)?;
        let end = end.blocks().end_vector().to_vec();
        for (partition, (&at, &next)) in end.iter().zip(next).enumerate() {
            self.note_gap(partition, at, next);
        }
        Ok(())
    }

    fn wanted(&self, s: usize) -> Result<Option<Vec<u32>>> {
        let index = self.snapshot.segments[s].index(&self.snapshot.topic()).map_err(storage_error)?;
        Ok(index.wanted(&self.read.filter))
    }

    /// Notes offsets `from..until` of a partition as damaged, as far as they are wanted and no hole is expected there.
    fn note_gap(&mut self, partition: usize, from: u64, until: u64) {
        let Some(lane) = self.lane_of[partition].map(|l| self.lanes[l as usize]) else { return };
        let from = from.max(lane.from).max(self.snapshot.holes_below[partition]);
        let until = until.min(lane.until);
        if from < until {
            let after = self.page.records.len();
            self.page.gaps.push(Gap { partition: partition as u32, from, until, after });
        }
    }

    /// Takes what is wanted of a block; the vector where it stopped when the page is full.
    fn take_block(&mut self, s: usize, planned: &Planned, is_sparse: bool) -> Result<Option<Vec<u64>>> {
        let (snapshot, segment) = (self.snapshot, &self.snapshot.segments[s]);
        let cache = &snapshot.topic().cache.blocks;
        let kept = cache.get(segment, planned.index);
        let is_kept = kept.is_some();
        let block = match kept {
            Some(block) => block,
            None => Arc::new(fetch(segment, planned, std::mem::take(&mut self.buffer), snapshot)?),
        };
        let (records, weight) = (self.page.records.len(), self.bytes);
        let pieces = Pieces::new(&block, planned);
        let stop = match self.read.reverse {
            false => self.take_pieces(&block.bytes, pieces, planned.start.clone()),
            true => {
                let pieces: Vec<Piece> = pieces.collect();
                self.take_pieces(&block.bytes, pieces.into_iter().rev(), planned.end.clone())
            }
        };
        if (self.bytes - weight) * SPARSE < block.bytes.len() {
            self.detach(records);
        }
        // Others come for other sources, or the next page for the rest.
        let is_wanted_again = planned.is_full && block.is_sound() && (is_sparse || stop.is_some());
        if !is_kept && is_wanted_again {
            self.buffer = cache.keep(segment, planned.index, block).unwrap_or_default();
        } else if !is_kept {
            let own = Arc::into_inner(block).and_then(|block| block.bytes.try_into_mut().ok());
            self.buffer = own.unwrap_or_default();
        }
        Ok(stop)
    }

    /// Gives memory of their own to the records from `first` on.
    fn detach(&mut self, first: usize) {
        for record in self.page.records.split_off(first) {
            if self.own_headers != record.headers {
                self.own_headers = record.headers.detached();
            }
            self.page.records.push(record.detached(self.own_headers.clone()));
        }
    }

    fn take_pieces(
        &mut self,
        bytes: &Bytes,
        pieces: impl Iterator<Item = Piece>,
        mut vector: Vec<u64>,
    ) -> Option<Vec<u64>> {
        for piece in pieces {
            let partition = piece.partition();
            let stop = match piece {
                Piece::Batch { head, at } => self.take_batch(head, bytes, at),
                Piece::Missing { from, until, .. } => {
                    self.note_gap(partition, from, until);
                    None
                }
            };
            vector[partition] = stop.unwrap_or(if self.read.reverse { piece.from() } else { piece.until() });
            if stop.is_some() {
                return Some(vector);
            }
        }
        None
    }

    /// Takes the wanted records of a batch; where its partition goes on when the page is full.
    fn take_batch(&mut self, head: Head, bytes: &Bytes, at: usize) -> Option<u64> {
        let lane = self.lane_of[head.partition as usize].map(|l| self.lanes[l as usize]);
        let lane = lane.filter(|l| head.next_offset > l.from && head.base_offset < l.until)?;
        let Some(mut records) = Records::open(head, &bytes.slice(at..at + head.bytes)) else {
            // Its bytes are what was written, and still make no sense: as lost as damaged ones, and told alike.
            self.note_gap(head.partition as usize, head.base_offset, head.next_offset);
            return None;
        };
        let mut later = Vec::new();
        while let Some(raw) = records.next_raw().filter(|raw| raw.offset < lane.until) {
            if raw.offset < lane.from || !wants(&self.read.filter, &records, &raw) {
                continue;
            }
            if self.read.reverse {
                later.push(raw);
            } else if self.take(records.record(&raw)) {
                return Some(raw.offset + 1);
            }
        }
        let mut newest_first = later.iter().rev();
        newest_first.find(|raw| self.take(records.record(raw))).map(|raw| raw.offset)
    }

    /// Takes a record; whether the page is full.
    fn take(&mut self, record: Record) -> bool {
        self.bytes += weight(&record);
        self.page.records.push(record);
        self.page.records.len() >= self.read.records_max || self.bytes >= self.read.bytes_max
    }
}

fn check_span(snapshot: &Snapshot, span: &Span) -> Result<Lane> {
    let partition = span.partition as usize;
    let Some((&start, &end)) = snapshot.start.get(partition).zip(snapshot.ends.get(partition)) else {
        return Err(Error::invalid("unknown_partition", "partition", "the topic has no such partition"));
    };
    if span.from < start {
        return Err(Error::new(
            ErrorKind::Gone,
            "position_unrecoverable",
            "the records at this position are no longer kept",
        ));
    }
    if span.from > end {
        return Err(Error::invalid(
            "position_from_future",
            "position",
            "the position lies past the end of its partition",
        ));
    }
    Ok(Lane { partition, from: span.from.max(start), until: span.until.min(end) })
}

pub(crate) fn epoch_changed() -> Error {
    Error::new(
        ErrorKind::Gone,
        "epoch_changed",
        "the topic was recreated, repartitioned or truncated since this position was given out",
    )
}

fn wants(filter: &Filter, records: &Records, raw: &crate::batch::Raw) -> bool {
    if *filter == Filter::All {
        return true;
    }
    let (Some(source_type), Some(key)) = (records.sets()[raw.set].get(SOURCE_TYPE_HEADER), raw.key) else {
        return false;
    };
    filter.matches(source_type, records.slice(key))
}

fn weight(record: &Record) -> usize {
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len)
}

//! Reading a topic store: from a vector of offsets, through a filter, in log order or newest first.
//!
//! A read finds its first block by the offsets, walks candidate blocks only (the sidecar says which hold wanted
//! sources), and carries a *vector*: the next offset of every partition at the place it has reached. So a read that
//! stops anywhere hands back exactly where it stands in all partitions, also in those it skipped over.

use crate::batch::{HEADER_BYTES, Head, Records};
use crate::segment::{Planned, Segment};
use crate::topic::Snapshot;
use bytes::Bytes;
use dualstream_core::filter::{Filter, SOURCE_TYPE_HEADER};
use dualstream_core::log::{Gap, Page, Read, Span};
use dualstream_core::record::Record;
use dualstream_core::sources::SourceRange;
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::BTreeSet;

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
        return Ok(walk.finish_at_end(read.reverse));
    }
    match read.reverse {
        false => walk.forward(),
        true => walk.backward(),
    }
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
        let Some(planned) = plan(snapshot, s, &None, block as u32, 1)?.pop() else { continue };
        let bytes = fetch(segment, &planned)?;
        let mut vector = planned.start.clone();
        let mut at = 0;
        while let Some(head) = next_batch(&bytes, &mut at, snapshot.id, vector.len()) {
            if head.append_time_ms >= time_ms {
                return Ok(clamp_all(vector, snapshot));
            }
            vector[head.partition as usize] = head.next_offset;
            at += head.bytes;
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

fn fetch(segment: &Segment, planned: &Planned) -> Result<Bytes> {
    let length = (planned.bytes.end - planned.bytes.start) as usize;
    let mut bytes = vec![0; length];
    let filled = segment.file.read_at(&mut bytes, planned.bytes.start).map_err(storage_error)?;
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// A vector of a segment that was begun with fewer partitions: the ones added since have nothing before it.
fn widened(vector: &[u64], snapshot: &Snapshot) -> Vec<u64> {
    let mut vector = vector.to_vec();
    vector.resize(snapshot.ends.len(), 0);
    vector
}

/// Up to `max` blocks of segment `s`, from block `from` on, that may hold wanted records.
fn plan(
    snapshot: &Snapshot,
    s: usize,
    wanted: &Option<Vec<u32>>,
    from: u32,
    max: usize,
) -> Result<Vec<Planned>> {
    let index = snapshot.segments[s].index(&snapshot.topic()).map_err(storage_error)?;
    let blocks = index.blocks();
    let planned = |i: u32| {
        let mut bytes = blocks.block_range(i as usize);
        bytes.end = bytes.end.min(snapshot.end_of(s));
        (bytes.start < bytes.end).then(|| Planned {
            index: i,
            bytes,
            start: widened(blocks.start_vector(i as usize), snapshot),
        })
    };
    Ok(match wanted {
        None => (from..blocks.len() as u32).take(max).map_while(planned).collect(),
        Some(list) => {
            let first = list.partition_point(|&i| i < from);
            list[first..].iter().take(max).map_while(|&i| planned(i)).collect()
        }
    })
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    read: &'a Read,
    lanes: Vec<Lane>,
    /// Lane of each partition.
    lane_of: Vec<Option<u32>>,
    page: Page,
    bytes: usize,
}

/// Whether a walk goes on.
#[derive(PartialEq)]
enum Step {
    More,
    Full,
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
        Ok(Walk { snapshot, read, lanes, lane_of, page: Page::default(), bytes: 0 })
    }

    fn finish_at_end(mut self, reverse: bool) -> Page {
        self.page.next = self
            .lanes
            .iter()
            .map(|l| if reverse { l.from.min(l.until) } else { l.until.max(l.from) })
            .collect();
        self.page
    }

    fn finish_at(mut self, vector: &[u64]) -> Page {
        let clamp = |l: &Lane| vector[l.partition].min(l.until).max(l.from);
        self.page.next = self.lanes.iter().map(clamp).collect();
        self.page
    }

    /// Segment and block that hold offset `offset_of(lane)` of the lane, for the lane where they come first or last.
    fn locate(&self, offset_of: impl Fn(&Lane) -> u64, last: bool) -> Result<(usize, u32)> {
        let mut found: Option<(usize, u32)> = None;
        for lane in self.lanes.iter().filter(|l| l.from < l.until) {
            let offset = offset_of(lane);
            let segments = &self.snapshot.segments;
            let after = segments
                .partition_point(|s| s.start.get(lane.partition).is_none_or(|&start| start <= offset));
            let s = after.saturating_sub(1);
            let index = segments[s].index(&self.snapshot.topic()).map_err(storage_error)?;
            let block = index.blocks().first_block_past(lane.partition, offset);
            let place = (s, block.min(index.blocks().len().saturating_sub(1)) as u32);
            found = Some(match found {
                None => place,
                Some(other) if last => other.max(place),
                Some(other) => other.min(place),
            });
        }
        Ok(found.unwrap_or_default())
    }

    fn forward(mut self) -> Result<Page> {
        let (first, mut block) = self.locate(|lane| lane.from, false)?;
        for s in first..self.snapshot.segments.len() {
            let wanted = self.wanted(s)?;
            loop {
                let planned = plan(self.snapshot, s, &wanted, block, PLAN_BLOCKS)?;
                let Some(last) = planned.last() else { break };
                block = last.index + 1;
                for planned in &planned {
                    if self.lanes.iter().all(|l| planned.start[l.partition] >= l.until) {
                        return Ok(self.finish_at_end(false));
                    }
                    let mut vector = planned.start.clone();
                    let bytes = fetch(&self.snapshot.segments[s], planned)?;
                    if self.walk_forward(&bytes, &mut vector)? == Step::Full {
                        return Ok(self.finish_at(&vector));
                    }
                    let end = self.end_vector(s, planned.index)?;
                    for (partition, (&at, &end)) in vector.iter().zip(&end).enumerate() {
                        self.note_gap(partition, at, end);
                    }
                }
            }
            self.note_lost_end(s)?;
            block = 0;
        }
        Ok(self.finish_at_end(false))
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

    /// Next offsets where a block ends, as far as readers may see.
    fn end_vector(&self, s: usize, block: u32) -> Result<Vec<u64>> {
        let index = self.snapshot.segments[s].index(&self.snapshot.topic()).map_err(storage_error)?;
        let blocks = index.blocks();
        let next = block as usize + 1;
        let end = if next < blocks.len() { blocks.start_vector(next) } else { blocks.end_vector() };
        Ok(widened(end, self.snapshot).iter().zip(&self.snapshot.ends).map(|(&a, &b)| a.min(b)).collect())
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

    fn walk_forward(&mut self, bytes: &Bytes, vector: &mut [u64]) -> Result<Step> {
        let mut at = 0;
        while let Some(head) = next_batch(bytes, &mut at, self.snapshot.id, vector.len()) {
            let partition = head.partition as usize;
            let lane = self.lane_of[partition].map(|l| self.lanes[l as usize]);
            if let Some(lane) = lane.filter(|l| head.next_offset > l.from && head.base_offset < l.until) {
                self.note_gap(partition, vector[partition], head.base_offset);
                let batch = bytes.slice(at..at + head.bytes);
                if let Some(stop) = self.take_forward(head, &batch, &lane) {
                    vector[partition] = stop;
                    return Ok(Step::Full);
                }
            }
            vector[partition] = vector[partition].max(head.next_offset);
            at += head.bytes;
        }
        Ok(Step::More)
    }

    /// Takes the wanted records of a batch; the offset after the last one when the page is full.
    fn take_forward(&mut self, head: Head, batch: &Bytes, lane: &Lane) -> Option<u64> {
        let Some(mut records) = Records::open(head, batch) else {
            // Its bytes are what was written, and still make no sense: as lost as damaged ones, and told alike.
            self.note_gap(head.partition as usize, head.base_offset, head.next_offset);
            return None;
        };
        while let Some(raw) = records.next_raw() {
            if raw.offset < lane.from {
                continue;
            }
            if raw.offset >= lane.until {
                break;
            }
            if !wants(&self.read.filter, &records, &raw) {
                continue;
            }
            let record = records.record(&raw);
            self.bytes += weight(&record);
            self.page.records.push(record);
            if self.page.records.len() >= self.read.records_max || self.bytes >= self.read.bytes_max {
                return Some(raw.offset + 1);
            }
        }
        None
    }

    fn backward(mut self) -> Result<Page> {
        let (last, block) = self.locate(|lane| lane.until - 1, true)?;
        let mut until_block = block + 1;
        for s in (0..=last).rev() {
            let wanted = self.wanted(s)?;
            let blocks = self.snapshot.segments[s]
                .index(&self.snapshot.topic())
                .map_err(storage_error)?
                .blocks()
                .len();
            let all: Vec<u32> = match wanted {
                Some(list) => list,
                None => (0..blocks as u32).collect(),
            };
            for &block in all.iter().rev().filter(|&&b| b < until_block) {
                let Some(planned) = plan(self.snapshot, s, &None, block, 1)?.pop() else { continue };
                let end = self.end_vector(s, block)?;
                if self.lanes.iter().all(|l| end[l.partition] <= l.from) {
                    return Ok(self.finish_at_end(true));
                }
                let bytes = fetch(&self.snapshot.segments[s], &planned)?;
                if let Some(vector) = self.take_backward(&bytes, planned.start) {
                    return Ok(self.finish_at(&vector));
                }
            }
            until_block = u32::MAX;
        }
        Ok(self.finish_at_end(true))
    }

    /// Takes the wanted records of a block, newest first; the vector at the last one taken when the page is full.
    fn take_backward(&mut self, bytes: &Bytes, mut vector: Vec<u64>) -> Option<Vec<u64>> {
        let mut found: Vec<(Vec<u64>, Vec<Record>)> = Vec::new();
        let mut at = 0;
        while let Some(head) = next_batch(bytes, &mut at, self.snapshot.id, vector.len()) {
            let partition = head.partition as usize;
            let lane = self.lane_of[partition].map(|l| self.lanes[l as usize]);
            if let Some(lane) = lane.filter(|l| head.next_offset > l.from && head.base_offset < l.until)
                && let Some(mut records) = Records::open(head, &bytes.slice(at..at + head.bytes))
            {
                let mut taken = Vec::new();
                while let Some(raw) = records.next_raw() {
                    let inside = raw.offset >= lane.from && raw.offset < lane.until;
                    if inside && wants(&self.read.filter, &records, &raw) {
                        taken.push(records.record(&raw));
                    }
                }
                found.push((vector.clone(), taken));
            }
            vector[partition] = vector[partition].max(head.next_offset);
            at += head.bytes;
        }
        for (mut vector, taken) in found.into_iter().rev() {
            for record in taken.into_iter().rev() {
                let place = (record.partition as usize, record.offset);
                self.bytes += weight(&record);
                self.page.records.push(record);
                if self.page.records.len() >= self.read.records_max || self.bytes >= self.read.bytes_max {
                    vector[place.0] = place.1;
                    return Some(vector);
                }
            }
        }
        None
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

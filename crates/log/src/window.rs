//! The dedup window of a topic: which event identities stand in the log, and where.
//!
//! Recent segments keep a map in memory; a segment whose sidecar is written keeps a filter in memory and its sorted
//! hashes on disk. A hit is always verified against the record, so a collision of hashes costs a read, never an event.

use crate::batch::{Head, Records};
use crate::index::identities::{EQUAL_HASHES_MAX, Filter, HashBuilder};
use crate::reader::{next_batch, storage_error};
use crate::segment::{Segment, Topic};
use crate::sidecar_cache::load_identities;
use crate::storage::File;
use dualstream_core::identity;
use dualstream_core::record::Record;
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Identity hash → ordinals of the records in their segment.
pub(crate) struct Map {
    newest: HashMap<u64, u32, HashBuilder>,
    /// Of hashes that came more than once, the others, oldest first.
    earlier: BTreeMap<u64, Vec<u32>>,
    /// Records of the segment that are in it.
    records: usize,
}

impl Map {
    pub fn new(seed: u64) -> Map {
        let newest = HashMap::with_hasher(HashBuilder::new(seed));
        Map { newest, earlier: BTreeMap::new(), records: 0 }
    }

    /// Adds the records of the segment that are new.
    pub fn extend(&mut self, hashes: &[u64]) {
        self.newest.reserve(hashes.len() - self.records);
        for (ordinal, &hash) in hashes.iter().enumerate().skip(self.records).filter(|(_, h)| **h != 0) {
            if let Some(before) = self.newest.insert(hash, ordinal as u32) {
                self.earlier.entry(hash).or_default().push(before);
            }
        }
        self.records = hashes.len();
    }

    /// Newest first.
    pub fn get(&self, hash: u64) -> Vec<u32> {
        let earlier = self.earlier.get(&hash).into_iter().flatten().rev();
        self.newest.get(&hash).into_iter().chain(earlier).copied().take(EQUAL_HASHES_MAX + 1).collect()
    }
}

/// The identities of one topic.
pub(crate) struct Window {
    /// Segments inside the window, oldest first; the last one is active. In a mirror older ones stand before them.
    segments: Vec<Member>,
    /// Number of the segment the window begins with.
    first: u64,
}

struct Member {
    segment: Arc<Segment>,
    identities: Identities,
}

enum Identities {
    /// The sidecar is not written yet. The map is made when somebody looks: a topic fed with ids that need no look
    /// never pays for it.
    InMemory { map: Option<Map> },
    /// Not looked at since the start, or since the sidecar was written.
    OnDisk,
    /// Filter in memory, hashes in the sidecar.
    Filtered { filter: Filter, sidecar: Arc<dyn File>, offset: u64, count: u64 },
}

impl Window {
    /// A window over the sealed segments of a topic, oldest first, and its active one.
    pub fn new(sealed: &[Arc<Segment>], active: Arc<Segment>) -> Window {
        let member =
            |segment: &Arc<Segment>| Member { segment: segment.clone(), identities: Identities::OnDisk };
        let mut window = Window { segments: sealed.iter().map(member).collect(), first: 0 };
        window.roll(active);
        window
    }

    /// The active segment was sealed; another one grows now.
    pub fn roll(&mut self, active: Arc<Segment>) {
        let identities = Identities::InMemory { map: None };
        self.segments.push(Member { segment: active, identities });
    }

    /// The sidecar of a segment is on disk.
    pub fn sidecar_written(&mut self, number: u64) {
        if let Some(sealed) = self.segments.iter_mut().find(|s| s.segment.number == number) {
            sealed.identities = Identities::OnDisk;
        }
    }

    /// A compaction put a segment in the place of the one with its number.
    pub fn replace(&mut self, segment: Arc<Segment>) {
        if let Some(member) = self.segments.iter_mut().find(|s| s.segment.number == segment.number) {
            *member = Member { segment, identities: Identities::OnDisk };
        }
    }

    /// Forgets segments before `oldest`, those last appended to before `time_ms`, and those more than `records_max`
    /// records back; with `keeps_older` only the first: the others are left out of the window, and
    /// [`repeats`](Window::repeats) still looks into them.
    pub fn forget(&mut self, oldest: u64, time_ms: i64, records_max: u64, keeps_older: bool) {
        let mut newer = 0;
        let mut keep = self.segments.len();
        for (i, sealed) in self.segments.iter().enumerate().rev() {
            // A segment that was not measured yet is kept: forgetting too late costs memory only. One that is still
            // empty has no time yet.
            let extent = sealed.segment.extent().filter(|extent| extent.records > 0);
            let (records, newest_ms) = extent.map_or((0, i64::MAX), |e| (e.records, e.newest_ms));
            if newer > records_max || sealed.segment.number < oldest || newest_ms < time_ms {
                break;
            }
            newer += records;
            keep = i;
        }
        let last = self.segments.len() - 1;
        let (gone, inside) = self.segments.split_at_mut(keep.min(last));
        self.first = inside[0].segment.number;
        gone.iter_mut().for_each(Member::give_memory_back);
        let gone = gone.iter().filter(|member| !keeps_older || member.segment.number < oldest).count();
        self.segments.drain(..gone);
    }

    /// Records whose identity has this hash, newest first, until `take` breaks with what was found, or with nothing
    /// where no older one matters.
    ///
    /// # Errors
    /// `storage_error`; `id_overused` when [`EQUAL_HASHES_MAX`] other events have it.
    pub fn find<T>(
        &mut self,
        topic: &Topic<'_>,
        hash: u64,
        mut take: impl FnMut(&Record) -> ControlFlow<Option<T>>,
    ) -> Result<Option<T>> {
        let mut looked = 0;
        let first = self.first;
        for sealed in self.segments.iter_mut().rev().take_while(|member| member.segment.number >= first) {
            for ordinal in sealed.candidates(topic, hash)? {
                looked += 1;
                if looked > EQUAL_HASHES_MAX {
                    return Err(overused());
                }
                if let Some(record) = record_at(topic, &sealed.segment, ordinal, hash)?
                    && let ControlFlow::Break(found) = take(&record)
                {
                    return Ok(found);
                }
            }
        }
        // One more of them would be one more than is looked at.
        if looked < EQUAL_HASHES_MAX { Ok(None) } else { Err(overused()) }
    }

    /// Whether a record for which `is_it` holds, with this hash of its identity, stands in `range` of `partition`.
    ///
    /// # Errors
    /// `storage_error`.
    pub fn repeats(
        &mut self,
        topic: &Topic<'_>,
        hash: u64,
        partition: u32,
        range: Range<u64>,
        is_it: impl Fn(&Record) -> bool,
    ) -> Result<bool> {
        let mut looked = 0;
        for member in self.segments.iter_mut().rev() {
            let mut candidates = member.candidates(topic, hash)?;
            candidates.sort_unstable();
            for ordinal in candidates.into_iter().rev() {
                looked += 1;
                let found = record_at(topic, &member.segment, ordinal, hash)?;
                let stands = |r: &Record| r.partition == partition && range.contains(&r.offset) && is_it(r);
                if found.is_some_and(|record| stands(&record)) {
                    return Ok(true);
                }
                if looked >= EQUAL_HASHES_MAX {
                    // Only of ids that were made for it: theirs are delivered again.
                    return Ok(false);
                }
            }
            let begins = member.segment.start.get(partition as usize).copied().unwrap_or(0);
            if begins <= range.start {
                break;
            }
        }
        Ok(false)
    }
}

impl Member {
    /// What lies outside of the window is rarely looked into.
    fn give_memory_back(&mut self) {
        self.identities = match self.identities {
            Identities::InMemory { .. } => Identities::InMemory { map: None },
            Identities::OnDisk | Identities::Filtered { .. } => Identities::OnDisk,
        };
    }

    fn candidates(&mut self, topic: &Topic<'_>, hash: u64) -> Result<Vec<u32>> {
        if let Identities::InMemory { map } = &mut self.identities {
            let map = map.get_or_insert_with(|| Map::new(topic.cache.seed));
            match self.segment.read_active(|index| map.extend(&index.hashes)) {
                Some(()) => return Ok(map.get(hash)),
                // Its sidecar was written a moment ago.
                None => self.identities = Identities::OnDisk,
            }
        }
        if let Identities::OnDisk = self.identities {
            let loaded = load_identities(topic, &self.segment).map_err(storage_error)?;
            self.identities = Identities::Filtered {
                filter: loaded.filter,
                sidecar: loaded.sidecar,
                offset: loaded.offset,
                count: loaded.count,
            };
        }
        match &self.identities {
            Identities::Filtered { filter, sidecar, offset, count } => match filter.may_contain(hash) {
                true => {
                    crate::index::identities::search(&**sidecar, *offset, *count, hash).map_err(storage_error)
                }
                false => Ok(Vec::new()),
            },
            Identities::InMemory { .. } | Identities::OnDisk => Ok(Vec::new()),
        }
    }
}

/// Storing it without having looked at all of them might store it twice.
fn overused() -> Error {
    let message =
        "too many other events have an id with the same hash; nothing was stored, choose another id";
    Error::new(ErrorKind::Conflict, "id_overused", message)
        .with_field("id")
        .with_limit(EQUAL_HASHES_MAX as u64)
}

/// The record with that ordinal and identity hash in a segment; `None` where it is damaged.
fn record_at(topic: &Topic<'_>, segment: &Segment, ordinal: u32, hash: u64) -> Result<Option<Record>> {
    let (range, first) = {
        let index = segment.index(topic).map_err(storage_error)?;
        let blocks = index.blocks();
        let Some(block) = blocks.block_of_ordinal(u64::from(ordinal)) else { return Ok(None) };
        (blocks.block_range(block), blocks.first_ordinal(block))
    };
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let filled = segment.file.read_at(&mut bytes, range.start).map_err(storage_error)?;
    bytes.truncate(filled);
    let bytes = bytes::Bytes::from(bytes);
    let (mut at, mut whole_to, mut seen) = (0, 0, first);
    while let Some(head) = next_batch(&bytes, &mut at, topic.id, segment.start.len()) {
        let batch = bytes.slice(at..at + head.bytes);
        let end = seen + u64::from(head.count);
        if at > whole_to {
            // Behind damage ordinals cannot be counted: the rest of the block is searched.
            if let Some(record) =
                record_of(head, &batch, |_, record| identity::of_record(record) == Some(hash))
            {
                return Ok(Some(record));
            }
        } else {
            if u64::from(ordinal) < end {
                return Ok(record_of(head, &batch, |nth, _| seen + nth == u64::from(ordinal)));
            }
            whole_to = at + head.bytes;
        }
        seen = end;
        at += head.bytes;
    }
    Ok(None)
}

/// The first record of a batch that `is_it` says is the one, given its number in the batch.
fn record_of(head: Head, batch: &bytes::Bytes, is_it: impl Fn(u64, &Record) -> bool) -> Option<Record> {
    let mut records = Records::open(head, batch)?;
    let mut nth = 0;
    while let Some(raw) = records.next_raw() {
        let record = records.record(&raw);
        if is_it(nth, &record) {
            return Some(record);
        }
        nth += 1;
    }
    None
}

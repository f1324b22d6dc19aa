//! A segment file of a topic store: batches of all partitions interleaved in commit order.
//!
//! ```text
//!  0 u64 magic "DSSEG001"     8 u32 header length   12 u32 crc32c of the header from 16 on
//! 16 u32 topic id            20 u32 partitions      24 u64 segment number   32 u64 sequence of the round that began it
//! 40 u64 … start vector: for each partition the next offset where the segment begins
//! then batches
//! ```

use crate::batch::{Head, Records, crc32c};
use crate::index::blocks::Blocks;
use crate::index::sources::SourcesBuilder;
use crate::reader::next_batch;
use crate::sidecar_cache::{self, Sealed, SidecarCache};
use crate::storage::{File, Storage};
use bytes::Bytes;
use dualstream_core::filter::{Filter, SOURCE_TYPE_HEADER};
use dualstream_core::identity;
use dualstream_core::sources::SourceRange;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, Weak};

const MAGIC: u64 = u64::from_le_bytes(*b"DSSEG001");

/// A segment, as readers and the writer share it.
pub(crate) struct Segment {
    pub number: u64,
    /// Next offset of each partition where it begins.
    pub start: Vec<u64>,
    /// Bytes of its header: where the first batch is.
    pub header_bytes: u64,
    pub file: Arc<dyn File>,
    index: RwLock<Index>,
    /// Of a sealed segment, once it is known.
    extent: OnceLock<Extent>,
}

/// What retention and the dedup window ask of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub records: u64,
    /// Append time of its newest record.
    pub newest_ms: i64,
}

impl Extent {
    fn of(blocks: &Blocks) -> Extent {
        Extent { records: blocks.records(), newest_ms: blocks.append_time_max() }
    }
}

/// Where the index of a segment is.
pub(crate) enum Index {
    Active(Box<Active>),
    /// Its sidecar is on disk; loaded when wanted, owned by the cache.
    Sealed(Weak<Sealed>),
}

/// The index of a segment that still grows, or whose sidecar is not written yet.
pub(crate) struct Active {
    pub blocks: Blocks,
    pub sources: SourcesBuilder,
    /// Identity hash of each record in order; 0 for a record that is no event.
    pub hashes: Vec<u64>,
    /// Blocks before or in which offsets are missing that no batch covers, ascending.
    pub gaps: Vec<u32>,
}

/// The fixed header of a segment file.
pub(crate) struct Header {
    pub topic_id: u32,
    pub number: u64,
    pub sequence: u64,
    pub start: Vec<u64>,
}

impl Header {
    /// Bytes of the header for so many partitions.
    pub fn bytes(partitions: usize) -> u64 {
        40 + 8 * partitions as u64
    }

    /// Partitions that a segment began with whose header is lost; `partitions` is what its topic has now. It may have begun
    /// with fewer: then its batches begin earlier.
    pub fn partitions_before(segment: &[u8], topic_id: u32, partitions: usize) -> usize {
        let none = Header::bytes(0) as usize;
        let mut at = none;
        next_batch(segment, &mut at, topic_id, partitions)
            .map_or(partitions, |_| partitions.min((at - none) / 8))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 16];
        out.extend_from_slice(&self.topic_id.to_le_bytes());
        out.extend_from_slice(&(self.start.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        self.start.iter().for_each(|o| out.extend_from_slice(&o.to_le_bytes()));
        let length = out.len() as u32;
        let crc = crc32c(&out[16..]);
        out[..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&length.to_le_bytes());
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` if it is damaged.
    pub fn read(file: &dyn File) -> io::Result<Option<Header>> {
        let mut fixed = [0; 40];
        if file.read_at(&mut fixed, 0)? < fixed.len() {
            return Ok(None);
        }
        let partitions = u32::from_le_bytes([fixed[20], fixed[21], fixed[22], fixed[23]]) as usize;
        if partitions > 10_000 {
            return Ok(None);
        }
        let mut bytes = vec![0; Header::bytes(partitions) as usize];
        let whole = file.read_at(&mut bytes, 0)? == bytes.len();
        Ok(if whole { Header::parse(&bytes) } else { None })
    }

    fn parse(bytes: &[u8]) -> Option<Header> {
        let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let sound =
            u64_at(0)? == MAGIC && u32_at(8)? as usize == bytes.len() && u32_at(12)? == crc32c(&bytes[16..]);
        let start = (0..u32_at(20)? as usize).map(|p| u64_at(40 + 8 * p)).collect::<Option<_>>()?;
        sound.then_some(())?;
        Some(Header { topic_id: u32_at(16)?, number: u64_at(24)?, sequence: u64_at(32)?, start })
    }
}

impl Active {
    pub fn new(start: Vec<u64>, first_byte: u64, seed: u64) -> Active {
        Active {
            blocks: Blocks::new(start, first_byte),
            sources: SourcesBuilder::new(seed),
            hashes: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Indexes a checked batch that stands at byte `at`. `hashes` are the identity hashes of its records, if they are
    /// known; else they are read from the records.
    pub fn push(&mut self, at: u64, head: &Head, batch: &Bytes, hashes: Option<&[u64]>) {
        let is_behind_gap = head.base_offset > self.blocks.end_vector()[head.partition as usize];
        self.blocks.push_batch(at, head);
        let block = (self.blocks.len() - 1) as u32;
        if is_behind_gap && self.gaps.last() != Some(&block) {
            self.gaps.push(block);
        }
        let until = self.hashes.len() + head.count as usize;
        if let Some(mut records) = Records::open(*head, batch) {
            let types: Vec<Option<Bytes>> =
                records.sets().iter().map(|set| set.get(SOURCE_TYPE_HEADER).cloned()).collect();
            while let Some(raw) = records.next_raw() {
                let source = types[raw.set].as_deref().zip(raw.key.map(|range| records.slice(range)));
                if let Some((source_type, source_id)) = source {
                    self.sources.add(source_type, source_id, block);
                }
                if hashes.is_none() {
                    let value = raw.value.map(|range| records.slice(range));
                    self.hashes.push(hash_of(source, value));
                }
            }
        }
        self.hashes.extend_from_slice(hashes.unwrap_or_default());
        // The ordinals of what follows do not depend on whether this batch could be read.
        self.hashes.resize(until, 0);
    }
}

/// Identity hash of an event; 0 for a record that is none.
fn hash_of(source: Option<(&[u8], &[u8])>, value: Option<&[u8]>) -> u64 {
    let id = value.and_then(dualstream_core::event::codec::id_of);
    source
        .zip(id)
        .map_or(0, |((source_type, source_id), id)| identity::hash(source_type, source_id, id.as_bytes()))
}

impl Segment {
    /// A segment that grows. The seed is for its index.
    pub fn active(header: Header, file: Arc<dyn File>, seed: u64) -> Segment {
        let active = Active::new(header.start.clone(), Header::bytes(header.start.len()), seed);
        Segment::new(header, file, Index::Active(Box::new(active)))
    }

    /// A segment whose sidecar is on disk.
    pub fn sealed(header: Header, file: Arc<dyn File>) -> Segment {
        Segment::new(header, file, Index::Sealed(Weak::new()))
    }

    fn new(header: Header, file: Arc<dyn File>, index: Index) -> Segment {
        let header_bytes = Header::bytes(header.start.len());
        let index = RwLock::new(index);
        let extent = OnceLock::new();
        Segment { number: header.number, start: header.start, header_bytes, file, index, extent }
    }

    /// From now on its sidecar is read from disk.
    pub fn seal(&self) {
        let mut index = self.index.write().expect("no holder of this lock panics");
        if let Index::Active(active) = &*index {
            self.extent.get_or_init(|| Extent::of(&active.blocks));
        }
        *index = Index::Sealed(Weak::new());
    }

    /// What is in it, without reading anything; `None` for a sealed one that nobody looked at since the start.
    pub fn extent(&self) -> Option<Extent> {
        self.read_active(|active| Extent::of(&active.blocks)).or_else(|| self.extent.get().copied())
    }

    /// Makes its extent known. Reads its sidecar, or builds it again: not for the writer.
    pub fn measure(&self, topic: &Topic<'_>) -> io::Result<()> {
        if self.extent().is_none() {
            let blocks = sidecar_cache::load_blocks(topic, self)?;
            self.extent.get_or_init(|| Extent::of(&blocks));
        }
        Ok(())
    }

    /// Changes the index of a segment that grows; `None` once it is sealed.
    pub fn with_active<T>(&self, change: impl FnOnce(&mut Active) -> T) -> Option<T> {
        match &mut *self.index.write().expect("no holder of this lock panics") {
            Index::Active(active) => Some(change(active)),
            Index::Sealed(_) => None,
        }
    }

    /// Looks at the index of a segment that grows, or whose sidecar is not written yet; `None` once it is sealed.
    pub fn read_active<T>(&self, look: impl FnOnce(&Active) -> T) -> Option<T> {
        match &*self.index.read().expect("no holder of this lock panics") {
            Index::Active(active) => Some(look(active)),
            Index::Sealed(_) => None,
        }
    }

    /// Its index: the live one, or the sidecar's.
    pub fn index<'a>(&'a self, topic: &Topic<'_>) -> io::Result<Indexed<'a>> {
        {
            let guard = self.index.read().expect("no holder of this lock panics");
            match &*guard {
                Index::Active(_) => return Ok(Indexed::Active(guard)),
                Index::Sealed(loaded) => {
                    if let Some(sealed) = loaded.upgrade() {
                        return Ok(Indexed::Sealed(sealed));
                    }
                }
            }
        }
        let sealed = Arc::new(Sealed::load(topic, self)?);
        self.extent.get_or_init(|| Extent::of(&sealed.blocks));
        topic.cache.keep(sealed.clone());
        if let Index::Sealed(loaded) = &mut *self.index.write().expect("no holder of this lock panics") {
            *loaded = Arc::downgrade(&sealed);
        }
        Ok(Indexed::Sealed(sealed))
    }
}

/// What loading a sidecar needs to know of the topic.
pub(crate) struct Topic<'a> {
    pub storage: &'a dyn Storage,
    pub dir: &'a str,
    pub id: u32,
    pub cache: &'a SidecarCache,
}

/// The index of a segment, borrowed.
pub(crate) enum Indexed<'a> {
    Active(RwLockReadGuard<'a, Index>),
    Sealed(Arc<Sealed>),
}

impl Indexed<'_> {
    /// Its blocks.
    pub fn blocks(&self) -> &Blocks {
        match self {
            Indexed::Active(guard) => match &**guard {
                Index::Active(active) => &active.blocks,
                Index::Sealed(_) => unreachable!("the guard is taken only of an active index and held"),
            },
            Indexed::Sealed(sealed) => &sealed.blocks,
        }
    }

    /// The blocks in which something may be lost.
    fn gaps(&self) -> Cow<'_, [u32]> {
        match self {
            Indexed::Active(guard) => match &**guard {
                Index::Active(active) => Cow::Borrowed(&active.gaps),
                Index::Sealed(_) => unreachable!("the guard is taken only of an active index and held"),
            },
            Indexed::Sealed(sealed) => match &sealed.gaps {
                Some(gaps) => Cow::Borrowed(gaps),
                // Of a sidecar that does not say.
                None => Cow::Owned(sealed.blocks.with_holes()),
            },
        }
    }

    /// Adds the first names of its sources within `range`, of which there are never more than wanted.
    pub fn add_names(&self, range: &SourceRange, names: &mut BTreeSet<Vec<u8>>) {
        match self {
            Indexed::Active(guard) => match &**guard {
                Index::Active(active) => active.sources.add_names(range, names),
                Index::Sealed(_) => unreachable!("the guard is taken only of an active index and held"),
            },
            Indexed::Sealed(sealed) => sealed.sources.add_names(range, names),
        }
    }

    /// Numbers of the blocks that may hold wanted records, ascending; `None` for all blocks.
    pub fn wanted(&self, filter: &Filter) -> Option<Vec<u32>> {
        // Every source begins with the empty prefix: nothing is gained by asking for each.
        let has_empty = |prefixes: &Vec<String>| prefixes.iter().any(String::is_empty);
        match filter {
            Filter::All => return None,
            Filter::Sources { prefixes, .. } if has_empty(prefixes) => return None,
            Filter::Sources { .. } => {}
        }
        let mut blocks = match self {
            Indexed::Active(guard) => match &**guard {
                Index::Active(active) => active.sources.blocks(filter),
                Index::Sealed(_) => unreachable!("the guard is taken only of an active index and held"),
            },
            Indexed::Sealed(sealed) => sealed.sources.blocks(filter),
        };
        // An index that was built after the damage knows nothing of the sources of what is lost: everybody looks.
        let gaps = self.gaps();
        if !gaps.is_empty() {
            blocks.extend_from_slice(&gaps);
            blocks.sort_unstable();
            blocks.dedup();
        }
        Some(blocks)
    }
}

/// File name of a segment.
pub(crate) fn segment_path(dir: &str, number: u64) -> String {
    format!("{dir}/{number:020}.segment")
}

/// File name of a segment's sidecar.
pub(crate) fn sidecar_path(dir: &str, number: u64) -> String {
    format!("{dir}/{number:020}.index")
}

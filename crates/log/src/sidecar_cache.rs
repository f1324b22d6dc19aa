//! Sidecars of sealed segments: written when a segment is sealed, loaded when wanted, built again when damaged. Loaded
//! ones are kept while they fit a bound in bytes, those loaded first go first.

use crate::block_cache::BlockCache;
use crate::index::Damaged;
use crate::index::blocks::Blocks;
use crate::index::identities::{self, Filter};
use crate::index::sidecar::{self, Kind, Sidecar, Stamp};
use crate::index::sources::SealedSources;
use crate::journal::read_all;
use crate::reader::next_batch;
use crate::segment::{Active, Segment, Topic, sidecar_path};
use crate::storage::{File, Mode, Storage, open_if_there};
use crate::varint;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

/// How records are mapped to sources: header `source_type` and key. A sidecar of another mapping is built again.
const MAPPING: u32 = 1;

/// The indexes of a sealed segment that readers use.
pub(crate) struct Sealed {
    pub blocks: Blocks,
    pub sources: SealedSources,
    /// As [`Active::gaps`]; `None` where its sidecar does not say.
    pub gaps: Option<Vec<u32>>,
    /// Bytes of its sidecar: about what it takes in memory.
    bytes: usize,
}

/// The loaded ones.
pub(crate) struct SidecarCache {
    /// For every index that is built in memory.
    pub seed: u64,
    /// Beside them, blocks of the segments themselves.
    pub blocks: BlockCache,
    bytes_max: usize,
    loaded: Mutex<Loaded>,
    /// One is built and stored at a time: each may read a whole segment, and they are written under one name.
    building: Mutex<()>,
}

#[derive(Default)]
struct Loaded {
    kept: VecDeque<Arc<Sealed>>,
    bytes: usize,
}

/// Where the identities of a segment are.
pub(crate) struct LoadedIdentities {
    pub filter: Filter,
    pub sidecar: Arc<dyn File>,
    pub offset: u64,
    pub count: u64,
}

impl SidecarCache {
    pub fn new(bytes_max: usize, seed: u64) -> SidecarCache {
        let (blocks, loaded, building) = (BlockCache::default(), Mutex::default(), Mutex::default());
        SidecarCache { seed, blocks, bytes_max, loaded, building }
    }

    /// Keeps one loaded as long as it fits.
    pub fn keep(&self, sealed: Arc<Sealed>) {
        let mut loaded = self.loaded.lock().expect("no holder of this lock panics");
        loaded.bytes += sealed.bytes;
        loaded.kept.push_back(sealed);
        while loaded.bytes > self.bytes_max && loaded.kept.len() > 1 {
            loaded.bytes -= loaded.kept.pop_front().map_or(0, |s| s.bytes);
        }
    }
}

impl Sealed {
    /// Loads the sidecar of a segment, or builds it again.
    pub fn load(topic: &Topic<'_>, segment: &Segment) -> io::Result<Sealed> {
        let (file, sidecar) = open(topic, segment)?;
        let blocks = Blocks::decode(&sidecar.read(&*file, Kind::Blocks)?)?;
        let bytes = sidecar.read(&*file, Kind::Sources)?;
        let size = bytes.len() + blocks.len() * 8 * (segment.start.len() + 3);
        let gaps = sidecar.has(Kind::Gaps).then(|| sidecar.read(&*file, Kind::Gaps)).transpose()?;
        let gaps = gaps.map(|bytes| decode_gaps(&bytes).ok_or(Damaged)).transpose()?;
        Ok(Sealed { blocks, sources: SealedSources::decode(bytes)?, gaps, bytes: size })
    }
}

/// Loads the blocks of a segment only, past the cache.
pub(crate) fn load_blocks(topic: &Topic<'_>, segment: &Segment) -> io::Result<Blocks> {
    let (file, sidecar) = open(topic, segment)?;
    Ok(Blocks::decode(&sidecar.read(&*file, Kind::Blocks)?)?)
}

/// Finds the identities of a segment.
pub(crate) fn load_identities(topic: &Topic<'_>, segment: &Segment) -> io::Result<LoadedIdentities> {
    let (sidecar_file, sidecar) = open(topic, segment)?;
    let range = sidecar.range(Kind::Identities)?;
    let filter = Filter::of_section(&sidecar.read(&*sidecar_file, Kind::Identities)?)?;
    let count = (range.end - range.start) / 8;
    Ok(LoadedIdentities { filter, sidecar: sidecar_file, offset: range.start, count })
}

/// Opens a sidecar whose every section is whole; builds it again if it is not.
fn open(topic: &Topic<'_>, segment: &Segment) -> io::Result<(Arc<dyn File>, Sidecar)> {
    if let Some(found) = try_open(topic, segment)? {
        return Ok(found);
    }
    let _one = topic.cache.building.lock().expect("no holder of this lock panics");
    if let Some(found) = try_open(topic, segment)? {
        return Ok(found);
    }
    let path = sidecar_path(topic.dir, segment.number);
    tracing::info!(path, "the sidecar is missing or damaged; building it again from its segment");
    let bytes = Bytes::from(read_all(&*segment.file)?);
    let mut active = Active::new(segment.start.clone(), segment.header_bytes, topic.cache.seed);
    let mut at = segment.header_bytes as usize;
    while let Some(head) = next_batch(&bytes, &mut at, topic.id, segment.start.len()) {
        active.push(at as u64, &head, &bytes.slice(at..at + head.bytes), None);
        at += head.bytes;
    }
    store(topic.storage, &path, &encode(topic, segment, &active)?)?;
    try_open(topic, segment)?.ok_or_else(|| io::Error::other("the sidecar cannot be read back"))
}

fn try_open(topic: &Topic<'_>, segment: &Segment) -> io::Result<Option<(Arc<dyn File>, Sidecar)>> {
    let path = sidecar_path(topic.dir, segment.number);
    let Some(file) = open_if_there(topic.storage, &path)? else { return Ok(None) };
    let damaged = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
    let sidecar = match Sidecar::open(&*file) {
        Err(error) if damaged(&error) => return Ok(None),
        sidecar => sidecar?,
    };
    if sidecar.stamp() != stamp(topic, segment)? {
        return Ok(None);
    }
    let gaps = Some(Kind::Gaps).filter(|&kind| sidecar.has(kind));
    for kind in [Kind::Blocks, Kind::Sources, Kind::Identities].into_iter().chain(gaps) {
        match sidecar.read(&*file, kind) {
            Err(error) if damaged(&error) => return Ok(None),
            section => drop(section?),
        }
    }
    Ok(Some((file, sidecar)))
}

fn stamp(topic: &Topic<'_>, segment: &Segment) -> io::Result<Stamp> {
    let covered_bytes = segment.file.len()?;
    Ok(Stamp { topic: topic.id, segment: segment.number, covered_bytes, mapping: MAPPING })
}

fn encode(topic: &Topic<'_>, segment: &Segment, active: &Active) -> io::Result<Vec<u8>> {
    let sections = [
        (Kind::Blocks, active.blocks.encode()),
        (Kind::Sources, active.sources.encode()),
        (Kind::Identities, identities::encode(&active.hashes)),
        (Kind::Gaps, encode_gaps(&active.gaps)),
    ];
    Ok(sidecar::encode(stamp(topic, segment)?, &sections))
}

/// Block numbers as varints, each less the one before.
fn encode_gaps(gaps: &[u32]) -> Vec<u8> {
    let (mut out, mut before) = (Vec::new(), 0);
    for &block in gaps {
        varint::put(&mut out, u64::from(block - before));
        before = block;
    }
    out
}

fn decode_gaps(bytes: &[u8]) -> Option<Vec<u32>> {
    let (mut at, mut before, mut gaps) = (0, 0u32, Vec::new());
    while at < bytes.len() {
        before = before.checked_add(u32::try_from(varint::take(bytes, &mut at)?).ok()?)?;
        gaps.push(before);
    }
    Some(gaps)
}

/// Writes the sidecar of a segment that was sealed and still has its index in memory.
pub(crate) fn write(topic: &Topic<'_>, segment: &Segment) -> io::Result<()> {
    let Some(bytes) = segment.read_active(|active| encode(topic, segment, active)) else { return Ok(()) };
    let _one = topic.cache.building.lock().expect("no holder of this lock panics");
    store(topic.storage, &sidecar_path(topic.dir, segment.number), &bytes?)
}

/// Puts a sidecar in its place in one step: whoever has the one of before open goes on reading that. Its bytes are synced
/// before it gets its name, so that a power loss costs no rebuild; the name is not, as a lost one costs no more than that.
fn store(storage: &dyn Storage, path: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{path}.new");
    let file = storage.open(&fresh, Mode::Write)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    storage.rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn gaps_round_trip() {
        for gaps in [vec![], vec![0], vec![3, 4, 900, u32::MAX]] {
            let bytes = encode_gaps(&gaps);
            assert_eq!(decode_gaps(&bytes), Some(gaps));
        }
        assert_eq!(decode_gaps(&[0x80]), None);
    }

    /// Whoever found the places of its sections goes on reading what it opened.
    #[test]
    fn an_open_sidecar_stays_as_it_was() {
        let storage = MemoryStorage::new();
        store(&storage, "a.index", b"of before").unwrap();
        let open = storage.open("a.index", Mode::Read).unwrap();
        store(&storage, "a.index", b"of now").unwrap();
        assert_eq!(read_all(&*open).unwrap(), b"of before");
        assert_eq!(read_all(&*storage.open("a.index", Mode::Read).unwrap()).unwrap(), b"of now");
        assert_eq!(storage.list("").unwrap(), ["a.index"]);
    }
}

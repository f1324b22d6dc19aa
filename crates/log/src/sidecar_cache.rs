//! Sidecars of sealed segments: written when a segment is sealed, loaded when wanted, built again when damaged. Loaded
//! ones are kept while they fit a bound in bytes, those loaded first go first.

use crate::index::blocks::Blocks;
use crate::index::identities::{self, Filter};
use crate::index::sidecar::{self, Kind, Sidecar, Stamp};
use crate::index::sources::SealedSources;
use crate::journal::read_all;
use crate::reader::next_batch;
use crate::segment::{Active, Segment, Topic, sidecar_path};
use crate::storage::{File, Mode, Storage};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

/// How records are mapped to sources: header `source_type` and key. A sidecar of another mapping is built again.
const MAPPING: u64 = 1;

/// The indexes of a sealed segment that readers use.
pub(crate) struct Sealed {
    pub blocks: Blocks,
    pub sources: SealedSources,
    /// Bytes of its sidecar: about what it takes in memory.
    bytes: usize,
}

/// The loaded ones.
pub(crate) struct SidecarCache {
    /// For every index that is built in memory.
    pub seed: u64,
    bytes_max: usize,
    loaded: Mutex<Loaded>,
    /// One rebuild at a time: each reads a whole segment.
    rebuilding: Mutex<()>,
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
        SidecarCache { seed, bytes_max, loaded: Mutex::default(), rebuilding: Mutex::default() }
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
        Ok(Sealed { blocks, sources: SealedSources::decode(bytes)?, bytes: size })
    }
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
    let _one = topic.cache.rebuilding.lock().expect("no holder of this lock panics");
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
    store(topic.storage, &path, &encode(segment, &active)?)?;
    try_open(topic, segment)?.ok_or_else(|| io::Error::other("the sidecar cannot be read back"))
}

fn try_open(topic: &Topic<'_>, segment: &Segment) -> io::Result<Option<(Arc<dyn File>, Sidecar)>> {
    let path = sidecar_path(topic.dir, segment.number);
    let file = match topic.storage.open(&path, Mode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let damaged = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
    let sidecar = match Sidecar::open(&*file) {
        Err(error) if damaged(&error) => return Ok(None),
        sidecar => sidecar?,
    };
    if sidecar.stamp() != stamp(segment)? {
        return Ok(None);
    }
    for kind in [Kind::Blocks, Kind::Sources, Kind::Identities] {
        match sidecar.read(&*file, kind) {
            Err(error) if damaged(&error) => return Ok(None),
            section => drop(section?),
        }
    }
    Ok(Some((file, sidecar)))
}

fn stamp(segment: &Segment) -> io::Result<Stamp> {
    Ok(Stamp { segment: segment.number, covered_bytes: segment.file.len()?, mapping: MAPPING })
}

fn encode(segment: &Segment, active: &Active) -> io::Result<Vec<u8>> {
    let sections = [
        (Kind::Blocks, active.blocks.encode()),
        (Kind::Sources, active.sources.encode()),
        (Kind::Identities, identities::encode(&active.hashes)),
    ];
    Ok(sidecar::encode(stamp(segment)?, &sections))
}

/// Writes the sidecar of a segment that was sealed and still has its index in memory.
pub(crate) fn write(storage: &dyn Storage, dir: &str, segment: &Segment) -> io::Result<()> {
    match segment.read_active(|active| encode(segment, active)) {
        Some(bytes) => store(storage, &sidecar_path(dir, segment.number), &bytes?),
        None => Ok(()),
    }
}

fn store(storage: &dyn Storage, path: &str, bytes: &[u8]) -> io::Result<()> {
    let file = storage.open(path, Mode::Write)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    file.sync()
}

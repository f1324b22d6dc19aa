//! Copying a log, whether a server has it open or not. Nothing of it is locked, stopped or written.
//!
//! ```text
//! pass:   checkpoint K ─▶ stores, up to K's bytes ─▶ E = last frame of the journal ─▶ its frames up to E
//!            ▲                                                       │ a frame of (K, E] is not there any more
//!            └────────── again, copying only what is new ────────────┘
//! then:   K as the copy's checkpoint, and last the catalog, without which nothing is taken for a log
//! ```
//! The copy is the log as it was after commit round E: stores at a checkpoint, and the journal from there up to E. Everything
//! that was acknowledged before the copying began is in it, because it was in a file then. What the server does
//! meanwhile decides the order:
//!
//! - *It writes.* Bytes below K's marks are final. Everything up to E was written before the journal is copied, and is
//!   cut off there. A journal file is recycled only after a newer checkpoint: then a frame is missing, and the next
//!   pass begins at that checkpoint.
//! - *Retention* removes the oldest segments first, so they are copied newest first: what vanishes is at the end.
//! - *Compaction* replaces segments by shorter ones, the oldest first, and drops a record because of a later one. Newest
//!   first, no segment is copied from before a compaction of which a newer one already shows the effect; and E is
//!   found after the stores are copied, so the later record is there.
//! - *Topics* of frames up to E are in the catalog that is read after E was found.
//!
//! Not for a directory that is damaged: what cannot be read whole is an error here.

use crate::catalog::{Catalog, Entry, Kind};
use crate::checkpoint::{Checkpoint, StoreMark};
use crate::index::sidecar;
use crate::journal::{self, FILES, FRAME_HEADER_BYTES, Frame};
use crate::recovery::segment_numbers;
use crate::replace::load;
use crate::segment::{Header, segment_path, sidecar_path};
use crate::storage::{File, Mode, Storage, open_if_there, remove_if_there};
use crate::store::raise;
use crate::topic::{self, dir};
use dualstream_core::topic::Cleanup;
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Bytes copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A log that is written faster than it is copied is given up after so many passes.
const PASSES_MAX: u32 = 16;

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Bytes written to the copy, repeated ones included.
    pub bytes: u64,
    /// How often the log was looked at: once more each time it had moved on too far.
    pub passes: u32,
    /// The last commit round of the log that is in the copy.
    pub last_round: u64,
}

/// How far the copying is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file that is copied, relative to the data directory.
    pub path: &'a str,
    /// Bytes copied so far.
    pub bytes: u64,
    /// What they will be in the end, unless the log moves on.
    pub bytes_total: u64,
}

/// Copies a log into an empty directory, durably. The source is only read, and may be written by a server meanwhile. A
/// copy that is opened begins new epochs: positions of the original are noticed, never misread.
///
/// # Errors
/// `backup_not_empty`, `backup_overtaken`, `backup_source_damaged`, `catalog_missing`, `catalog_damaged`,
/// `checkpoint_damaged`, `storage_error`, `storage_full`.
pub fn backup(from: &dyn Storage, to: &dyn Storage, progress: impl FnMut(Progress<'_>)) -> Result<Backup> {
    if Catalog::load_any(to)?.is_some() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "backup_not_empty",
            "the target directory holds a log already",
        ));
    }
    let mut copy =
        Copy { from, to, progress, segments: BTreeMap::new(), bytes: 0, bytes_total: 0, passes: 0 };
    while copy.passes < PASSES_MAX {
        copy.passes += 1;
        if let Some(moment) = copy.pass()? {
            copy.finish(&moment)?;
            return Ok(Backup { bytes: copy.bytes, passes: copy.passes, last_round: moment.last_round });
        }
    }
    Err(Error::new(
        ErrorKind::Overloaded,
        "backup_overtaken",
        format!(
            "the log is written faster than it is copied: its journal was recycled in each of {PASSES_MAX} passes; \
             copy to a faster disk, or when less is published"
        ),
    ))
}

/// The log as the copy will have it.
struct Moment {
    catalog: Catalog,
    checkpoint: Checkpoint,
    /// The last round of the journal that was copied.
    last_round: u64,
}

struct Copy<'a, P> {
    from: &'a dyn Storage,
    to: &'a dyn Storage,
    progress: P,
    /// Length of each sealed segment that was copied, by topic and number.
    segments: BTreeMap<(u32, u64), u64>,
    bytes: u64,
    bytes_total: u64,
    passes: u32,
}

/// The journal as it was copied.
#[derive(Default)]
struct Copied {
    /// Highest generation of each frame that is whole, by sequence.
    generations: BTreeMap<u64, u64>,
    /// Next offset by topic and partition.
    ends: BTreeMap<(u32, u32), u64>,
}

impl<P: FnMut(Progress<'_>)> Copy<'_, P> {
    /// Copies what has changed since the last pass; `None` when the log has moved on too far meanwhile.
    fn pass(&mut self) -> Result<Option<Moment>> {
        let failed = |e: io::Error| crate::error::storage("copy the data directory", e);
        let checkpoint = Checkpoint::load(self.from)?.unwrap_or_default();
        let catalog = self.catalog()?;
        self.bytes_total = self.bytes + self.bytes_to_copy(&catalog, &checkpoint).map_err(failed)?;
        self.to.create_dir(topic::DIR).map_err(failed)?;
        self.to.create_dir(journal::DIR).map_err(failed)?;
        let stores = self.copy_stores(catalog.topics.iter(), &checkpoint)?;
        let last_round = self.last_round(&catalog, &checkpoint).map_err(failed)?;
        let copied = self.copy_journal(&catalog, &checkpoint, last_round).map_err(failed)?;
        if let Some(missing) = copied.first_missing(checkpoint.sequence, last_round) {
            return match Checkpoint::load(self.from)?.unwrap_or_default() == checkpoint {
                true => Err(damaged(missing)),
                false => Ok(None),
            };
        }
        let mut now = self.catalog()?;
        let left: Vec<_> = now.topics.iter().filter(|(id, _)| !stores.contains(id)).collect();
        if self.copy_stores(left.iter().copied(), &checkpoint)?.len() < left.len() {
            return Ok(None);
        }
        let newer = Checkpoint::load(self.from)?.unwrap_or_default();
        let Some(checkpoint) = at_the_end(&checkpoint, &newer) else { return Ok(None) };
        cut_trims(&mut now, &checkpoint, &copied.ends);
        Ok(Some(Moment { catalog: now, checkpoint, last_round }))
    }

    fn catalog(&self) -> Result<Catalog> {
        Catalog::load(self.from, Kind::Log)?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "catalog_missing",
                "there is no log here: the file 'catalog' is missing",
            )
        })
    }

    fn bytes_to_copy(&self, catalog: &Catalog, checkpoint: &Checkpoint) -> io::Result<u64> {
        let length = |path: &str| open_if_there(self.from, path)?.map_or(Ok(0), |file| file.len());
        let mut bytes: u64 = (0..FILES).map(|file| length(&journal::path(file))).sum::<io::Result<u64>>()?;
        for &id in catalog.topics.keys() {
            let mark = checkpoint.stores.iter().find(|mark| mark.topic_id == id);
            bytes += mark.map_or(0, |mark| mark.byte);
            for number in segment_numbers(self.from, &dir(id))? {
                let is_new = !self.segments.contains_key(&(id, number));
                if is_new && mark.is_some_and(|mark| number < mark.segment) {
                    bytes += length(&segment_path(&dir(id), number))?;
                }
            }
        }
        Ok(bytes)
    }

    /// Copies stores up to the checkpoint's marks, so that nothing else is in the copy: which, since the log may have moved
    /// on too far for some.
    fn copy_stores<'t>(
        &mut self,
        topics: impl Iterator<Item = (&'t u32, &'t Entry)>,
        checkpoint: &Checkpoint,
    ) -> Result<BTreeSet<u32>> {
        let failed = |e: io::Error| crate::error::storage("copy the data directory", e);
        // Tables first: the next checkpoint lets a compaction at the segment in which this one stands.
        let mut topics: Vec<_> = topics.collect();
        topics.sort_by_key(|(_, entry)| entry.spec.cleanup != Cleanup::Compact);
        let mut actives = BTreeMap::new();
        for (&id, entry) in topics {
            let mark = checkpoint.stores.iter().find(|mark| mark.topic_id == id);
            let copied = self.copy_active(id, entry, mark).map_err(failed)?;
            let is_table = entry.spec.cleanup == Cleanup::Compact;
            if let Some(number) = copied
                && (!is_table || self.active_of(id)? == mark.map(|mark| mark.segment))
            {
                actives.insert(id, number);
            }
        }
        for (&id, &active) in &actives {
            self.copy_sealed_of(id, active).map_err(failed)?;
        }
        Ok(actives.into_keys().collect())
    }

    fn active_of(&self, id: u32) -> Result<Option<u64>> {
        let checkpoint = Checkpoint::load(self.from)?.unwrap_or_default();
        Ok(checkpoint.stores.iter().find(|mark| mark.topic_id == id).map(|mark| mark.segment))
    }

    /// Copies the segment in which the checkpoint stands: its number, or `None` if it is gone. Of a topic that is newer
    /// than the checkpoint only the beginning is copied: all its records are in the journal.
    fn copy_active(&mut self, id: u32, entry: &Entry, mark: Option<&StoreMark>) -> io::Result<Option<u64>> {
        let number = mark.map_or(0, |mark| mark.segment);
        let path = segment_path(&dir(id), number);
        let Some(source) = open_if_there(self.from, &path)? else { return Ok(None) };
        let bytes = match mark {
            Some(mark) => mark.byte,
            None => {
                let header = Header::read(&*source)?;
                Header::bytes(header.map_or(entry.spec.partitions as usize, |header| header.start.len()))
            }
        };
        self.to.create_dir(&dir(id))?;
        self.copy_file(&path, &*source, bytes)?;
        self.segments.remove(&(id, number));
        Ok(Some(number))
    }

    /// Copies the segments before the active one, the newest first, and removes what was copied of others.
    fn copy_sealed_of(&mut self, id: u32, active: u64) -> io::Result<()> {
        let mut kept = BTreeSet::from([active]);
        let lowest = segment_numbers(self.from, &dir(id))?.first().copied().unwrap_or(active);
        for number in (lowest..active).rev() {
            if self.copy_sealed(id, number)? {
                kept.insert(number);
            }
        }
        self.forget_others(id, &kept)?;
        self.to.sync_dir(&dir(id))
    }

    /// Copies a sealed segment and its sidecar, unless they are there already; `false` when the log has no such segment
    /// any more. One whose length is the same is the same: compaction makes shorter ones, and nothing else changes them.
    fn copy_sealed(&mut self, id: u32, number: u64) -> io::Result<bool> {
        let path = segment_path(&dir(id), number);
        let Some(source) = open_if_there(self.from, &path)? else { return Ok(false) };
        let length = source.len()?;
        if self.segments.get(&(id, number)) == Some(&length) {
            return Ok(true);
        }
        self.copy_file(&path, &*source, length)?;
        self.segments.insert((id, number), length);
        self.copy_sidecar(&sidecar_path(&dir(id), number))?;
        Ok(true)
    }

    /// A sidecar may be written at this moment. One that is not whole is left out: it is built again when it is needed.
    fn copy_sidecar(&mut self, path: &str) -> io::Result<()> {
        let Some(bytes) = load(self.from, path)?.filter(|bytes| sidecar::is_sound(bytes)) else {
            return remove_if_there(self.to, path);
        };
        let target = self.to.open(path, Mode::Write)?;
        target.truncate(0)?;
        target.write_at(&bytes, 0)?;
        self.tell(path, bytes.len());
        target.sync()
    }

    /// Removes what else is in the directory of a topic: what retention has given up since it was copied.
    fn forget_others(&mut self, id: u32, kept: &BTreeSet<u64>) -> io::Result<()> {
        let dir = dir(id);
        let names: BTreeSet<String> = kept
            .iter()
            .flat_map(|&number| [segment_path(&dir, number), sidecar_path(&dir, number)])
            .collect();
        for name in self.to.list(&dir)? {
            let path = format!("{dir}/{name}");
            if !names.contains(&path) {
                self.to.remove(&path)?;
            }
        }
        self.segments.retain(|&(topic, number), _| topic != id || kept.contains(&number));
        Ok(())
    }

    /// The last round that is whole in the journal.
    fn last_round(&self, catalog: &Catalog, checkpoint: &Checkpoint) -> io::Result<u64> {
        let mut last = checkpoint.sequence;
        for file in 0..FILES {
            let frames = journal::scan(self.from, file, catalog.log_id)?.frames;
            let found = frames.iter().filter(|frame| is_between(frame, checkpoint, u64::MAX));
            last = found.map(|frame| frame.head.sequence).fold(last, u64::max);
        }
        Ok(last)
    }

    /// Copies the journal after the checkpoint up to round `last`; each file ends behind its last frame of those.
    fn copy_journal(&mut self, catalog: &Catalog, checkpoint: &Checkpoint, last: u64) -> io::Result<Copied> {
        let mut copied = Copied::default();
        for file in 0..FILES {
            let scan = journal::scan(self.from, file, catalog.log_id)?;
            let mut end = 0;
            for frame in scan.frames.iter().filter(|frame| is_between(frame, checkpoint, last)) {
                end = end_of(frame).unwrap_or(end);
                copied.note(frame);
            }
            let path = journal::path(file);
            let target = self.to.open(&path, Mode::Write)?;
            target.truncate(0)?;
            target.write_at(&scan.bytes[..end], 0)?;
            self.tell(&path, end);
            target.sync()?;
        }
        self.to.sync_dir(journal::DIR)?;
        Ok(copied)
    }

    fn copy_file(&mut self, path: &str, source: &dyn File, bytes: u64) -> io::Result<()> {
        let target = self.to.open(path, Mode::Write)?;
        target.truncate(0)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < bytes {
            let wanted = chunk.len().min(usize::try_from(bytes - at).unwrap_or(usize::MAX));
            match source.read_at(&mut chunk[..wanted], at)? {
                0 => break,
                count => {
                    target.write_at(&chunk[..count], at)?;
                    at += count as u64;
                    self.tell(path, count);
                }
            }
        }
        target.sync()
    }

    fn tell(&mut self, path: &str, bytes: usize) {
        self.bytes += bytes as u64;
        (self.progress)(Progress { path, bytes: self.bytes, bytes_total: self.bytes_total.max(self.bytes) });
    }

    /// Removes what was copied of topics that were deleted meanwhile.
    fn forget_topics(&self, catalog: &Catalog) -> io::Result<()> {
        let kept: BTreeSet<String> = catalog.topics.keys().map(|&id| dir(id)).collect();
        for name in self.to.list(topic::DIR)? {
            let dir = format!("{}/{name}", topic::DIR);
            if !kept.contains(&dir) {
                for name in self.to.list(&dir)? {
                    self.to.remove(&format!("{dir}/{name}"))?;
                }
                self.to.remove(&dir)?;
            }
        }
        Ok(())
    }

    /// Makes the copy a log.
    fn finish(&mut self, moment: &Moment) -> Result<()> {
        let failed = |e: io::Error| crate::error::storage("copy the data directory", e);
        let sync = || {
            self.forget_topics(&moment.catalog)?;
            self.to.sync_dir(topic::DIR)?;
            self.to.sync_dir("")?;
            moment.checkpoint.store(self.to)
        };
        sync().map_err(failed)?;
        moment.catalog.store(self.to)
    }
}

impl Copied {
    fn note(&mut self, frame: &Frame) {
        let generation = self.generations.entry(frame.head.sequence).or_default();
        *generation = frame.head.generation.max(*generation);
        for (batch, _) in &frame.batches {
            let end = self.ends.entry((batch.topic_id, batch.partition)).or_default();
            *end = batch.next_offset.max(*end);
        }
    }

    /// The first round after `from` and up to `to` that is not there. One of an older generation than the round before
    /// it is none: the server was started anew meanwhile, and wrote another one in its place.
    fn first_missing(&self, from: u64, to: u64) -> Option<u64> {
        let mut newest = 0;
        (from + 1..=to).find(|sequence| match self.generations.get(sequence) {
            Some(&generation) if generation >= newest => {
                newest = generation;
                false
            }
            _ => true,
        })
    }
}

/// Whether a frame is to be replayed after the checkpoint, up to round `last`.
fn is_between(frame: &Frame, checkpoint: &Checkpoint, last: u64) -> bool {
    let is_new = frame.head.generation >= checkpoint.generation && frame.head.sequence > checkpoint.sequence;
    frame.whole && is_new && frame.head.sequence <= last
}

/// Where a whole frame ends in its file.
fn end_of(frame: &Frame) -> Option<usize> {
    let first = frame.batches.first().map(|(_, range)| range.start)?;
    Some(first - FRAME_HEADER_BYTES + frame.head.frame_bytes())
}

/// The copy's checkpoint: where the stores were copied to, with what compaction and retention have decided until now.
/// `None` when retention has gone past it.
fn at_the_end(copied: &Checkpoint, now: &Checkpoint) -> Option<Checkpoint> {
    // The original goes on and gives offsets away that the copy will give away, too: a copy that is opened begins new
    // epochs, as after any end that may have lost records.
    let mut checkpoint = Checkpoint { clean: false, fsync_always: false, ..copied.clone() };
    for newer in &now.stores {
        let mark = checkpoint.stores.iter_mut().find(|mark| mark.topic_id == newer.topic_id);
        let stored = mark.as_deref().map_or(&[][..], |mark| &mark.next);
        let is_past =
            |(partition, &start): (usize, &u64)| start > stored.get(partition).copied().unwrap_or(0);
        if newer.start.iter().enumerate().any(is_past) {
            return None;
        }
        let Some(mark) = mark else { continue };
        raise(&mut mark.start, &newer.start);
        // Only sealed segments are compacted: there are no holes past what was copied.
        let holes: Vec<u64> =
            newer.holes_below.iter().zip(&mark.next).map(|(h, next)| *h.min(next)).collect();
        raise(&mut mark.holes_below, &holes);
    }
    Some(checkpoint)
}

/// Takes trims back to what is in the copy: a start past an end would swallow what comes there.
fn cut_trims(catalog: &mut Catalog, checkpoint: &Checkpoint, ends: &BTreeMap<(u32, u32), u64>) {
    for (&id, entry) in &mut catalog.topics {
        let mark = checkpoint.stores.iter().find(|mark| mark.topic_id == id);
        for (partition, trimmed) in entry.trimmed.iter_mut().enumerate() {
            let stored = mark.and_then(|mark| mark.next.get(partition)).copied().unwrap_or(0);
            let replayed = ends.get(&(id, partition as u32)).copied().unwrap_or(0);
            *trimmed = stored.max(replayed).min(*trimmed);
        }
    }
}

fn damaged(sequence: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "backup_source_damaged",
        format!(
            "round {sequence} of the journal is damaged and no checkpoint covers it: start the server, which mends what \
             it can, or look with 'dualstream log verify'"
        ),
    )
}

//! The journal: what makes every commit durable, and what recovery replays.
//!
//! Four files, written once and then recycled. A frame is one round of commits:
//! ```text
//!  0 u32 magic
//!  4 u32 crc32c       of bytes 8–63
//!  8 u64 generation   of the file: raised each time it is begun anew, so old bytes never look new
//! 16 u64 sequence     of the round, +1 each
//! 24 u64 durable      highest sequence known synced when this was written
//! 32 i64 append time, ms
//! 40 u32 body length
//! 44 u32 batches
//! 48 u64 log id      random, so that bytes a client sent are never taken for a frame
//! 56 u64 reserved, 0
//! 64 batches, each with the frame's sequence and a CRC of its own; then zeros up to a multiple of 8
//! ```
//! A frame is whole iff its header and every batch check out. A frame that is not is a torn tail, unless a later
//! frame knows it was synced: then it is damage.

use crate::batch::{HEADER_BYTES as BATCH_HEADER_BYTES, Head, crc32c};
use crate::storage::{File, Mode, Storage, open_if_there};
use std::io;
use std::sync::Arc;

/// Number of journal files.
pub(crate) const FILES: usize = 4;
/// Bytes of a frame before its batches.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;
/// Bytes a journal file has at first; it doubles up to its full size.
pub(crate) const FILE_BYTES_MIN: u64 = 1 << 20;
const MAGIC: u32 = 0x4a53_4431; // "1DSJ"
const ALIGN: usize = 8;

/// Directory of the journal files.
pub(crate) const DIR: &str = "journal";

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub generation: u64,
    pub sequence: u64,
    pub durable: u64,
    pub append_time_ms: i64,
    pub body_bytes: u32,
    pub batches: u32,
    pub log_id: u64,
}

impl FrameHead {
    /// Bytes the frame takes in its file.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.body_bytes as usize)
    }

    fn put(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable.to_le_bytes());
        out[32..40].copy_from_slice(&self.append_time_ms.to_le_bytes());
        out[40..44].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[44..48].copy_from_slice(&self.batches.to_le_bytes());
        out[48..56].copy_from_slice(&self.log_id.to_le_bytes());
        let crc = crc32c(&out[8..FRAME_HEADER_BYTES]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    fn parse(bytes: &[u8]) -> Option<FrameHead> {
        let head: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        (u32_at(0) == MAGIC && u32_at(4) == crc32c(&head[8..])).then(|| FrameHead {
            generation: u64_at(8),
            sequence: u64_at(16),
            durable: u64_at(24),
            append_time_ms: u64_at(32) as i64,
            body_bytes: u32_at(40),
            batches: u32_at(44),
            log_id: u64_at(48),
        })
    }
}

/// Bytes a frame with such a body takes.
pub(crate) fn frame_bytes(body: usize) -> usize {
    (FRAME_HEADER_BYTES + body).next_multiple_of(ALIGN)
}

/// The journal while it is written.
pub(crate) struct Journal {
    storage: Arc<dyn Storage>,
    files: Vec<JournalFile>,
    current: usize,
    /// Where the next frame goes in the current file.
    position: u64,
    generation: u64,
    /// Sequence of the last frame written.
    sequence: u64,
    /// Highest sequence known synced.
    durable: u64,
    file_bytes_max: u64,
    log_id: u64,
}

struct JournalFile {
    file: Arc<dyn File>,
    /// Bytes it has room for.
    capacity: u64,
    /// Highest sequence in it; the file is free once a checkpoint covers it.
    last_sequence: u64,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The next file still holds frames no checkpoint covers: wait for one.
    NoFreeFile,
    /// The frame is not in the journal, and will not be.
    NotWritten(io::Error),
    /// It may or may not be there.
    Unknown(io::Error),
}

impl AppendError {
    /// What the storage said.
    fn cause(self) -> io::Error {
        match self {
            AppendError::NoFreeFile => io::ErrorKind::StorageFull.into(),
            AppendError::NotWritten(error) | AppendError::Unknown(error) => error,
        }
    }
}

impl Journal {
    /// Opens the journal for writing after recovery: a new generation begins in a file that is free.
    pub fn create(
        storage: Arc<dyn Storage>,
        sequence: u64,
        generation: u64,
        log_id: u64,
        file_bytes_max: u64,
    ) -> io::Result<Journal> {
        storage.create_dir(DIR)?;
        storage.sync_dir("")?;
        let mut files = Vec::new();
        for i in 0..FILES {
            let file = storage.open(&path(i), Mode::Write)?;
            // What is replayed from it now may have been written, but not synced, by a process that died.
            file.sync()?;
            let capacity = file.len()?;
            files.push(JournalFile { file, capacity, last_sequence: 0 });
        }
        let mut journal = Journal {
            storage,
            files,
            current: 0,
            position: 0,
            generation: generation + 1,
            sequence,
            durable: sequence,
            file_bytes_max,
            log_id,
        };
        journal.grow(0, FILE_BYTES_MIN.min(file_bytes_max)).map_err(AppendError::cause)?;
        journal.storage.sync_dir(DIR)?;
        Ok(journal)
    }

    /// Sequence of the last frame written.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Generation of the file that is written.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Largest body a frame may have.
    pub fn body_bytes_max(&self) -> usize {
        usize::try_from(self.file_bytes_max).unwrap_or(usize::MAX) - FRAME_HEADER_BYTES - ALIGN
    }

    /// Makes room for a frame with such a body, in the current file or in the next free one. `checkpoint` is the
    /// sequence the last completed checkpoint covers.
    pub fn reserve(&mut self, body: usize, checkpoint: u64) -> Result<(), AppendError> {
        let end = self.position + frame_bytes(body) as u64;
        if end <= self.files[self.current].capacity {
            return Ok(());
        }
        if end <= self.file_bytes_max {
            return self.grow(self.current, end);
        }
        let next = (self.current + 1) % FILES;
        if self.files[next].last_sequence > checkpoint {
            return Err(AppendError::NoFreeFile);
        }
        self.grow(next, frame_bytes(body) as u64)?;
        if self.durable < self.sequence {
            // Only the current file is synced from here on.
            self.sync().map_err(AppendError::Unknown)?;
        }
        self.current = next;
        self.position = 0;
        self.generation += 1;
        Ok(())
    }

    /// Doubles a file's size until it has room for `bytes`. New room is filled with zeroes, so that later writes change
    /// no metadata: a sync of a file that was written before takes about half as long.
    fn grow(&mut self, index: usize, bytes: u64) -> Result<(), AppendError> {
        let file = &mut self.files[index];
        let mut capacity = file.capacity.max(FILE_BYTES_MIN.min(self.file_bytes_max));
        while capacity < bytes {
            capacity = (capacity * 2).min(self.file_bytes_max.max(bytes));
        }
        if capacity > file.capacity {
            file.file.allocate(capacity).map_err(AppendError::NotWritten)?;
            let zeroes = vec![0; FILE_BYTES_MIN as usize];
            while file.capacity < capacity {
                let count = (capacity - file.capacity).min(FILE_BYTES_MIN);
                let zeroes = &zeroes[..count as usize];
                file.file.write_at(zeroes, file.capacity).map_err(AppendError::NotWritten)?;
                file.capacity += count;
            }
            // Frames without a sync may stand in the file already: its failure is as final as any other's.
            file.file.sync().map_err(AppendError::Unknown)?;
        }
        Ok(())
    }

    /// Writes one frame: `frame` holds [`FRAME_HEADER_BYTES`] of room and then the body. Room must be reserved.
    pub fn append(
        &mut self,
        frame: &mut Vec<u8>,
        append_time_ms: i64,
        batches: u32,
    ) -> Result<(), AppendError> {
        let body = frame.len() - FRAME_HEADER_BYTES;
        frame.resize(frame_bytes(body), 0);
        let head = FrameHead {
            generation: self.generation,
            sequence: self.sequence + 1,
            durable: self.durable,
            append_time_ms,
            body_bytes: body as u32,
            batches,
            log_id: self.log_id,
        };
        head.put(&mut frame[..FRAME_HEADER_BYTES]);
        let file = &self.files[self.current].file;
        if let Err(error) = file.write_at(frame, self.position) {
            // Cut the frame back, so that what was refused cannot be found by a recovery, not even after a power loss.
            let cut = file.write_at(&[0; FRAME_HEADER_BYTES], self.position).and_then(|()| file.sync());
            return Err(match cut {
                Ok(()) => AppendError::NotWritten(error),
                Err(_) => AppendError::Unknown(error),
            });
        }
        self.sequence += 1;
        self.position += frame.len() as u64;
        self.files[self.current].last_sequence = self.sequence;
        Ok(())
    }

    /// Makes every frame written so far durable. An error is final: it is never tried again.
    pub fn sync(&mut self) -> io::Result<()> {
        self.files[self.current].file.sync()?;
        self.durable = self.sequence;
        Ok(())
    }

    /// Share of the journal that no checkpoint covers, in bytes.
    pub fn is_half_full(&self, checkpoint: u64) -> bool {
        let busy = self.files.iter().filter(|f| f.last_sequence > checkpoint).count();
        busy > FILES / 2
    }
}

/// Path of a journal file.
pub(crate) fn path(index: usize) -> String {
    format!("{DIR}/{index}.journal")
}

/// One frame as found by a scan.
pub(crate) struct Frame {
    pub head: FrameHead,
    /// The batches that check out, in order: range in the file's bytes.
    pub batches: Vec<(Head, std::ops::Range<usize>)>,
    /// Whether all of them do.
    pub whole: bool,
}

/// What is in one journal file from some place on: frames of one generation, in order, and whether bytes that are no
/// frame lie between them.
pub(crate) struct Scan {
    pub bytes: Vec<u8>,
    pub frames: Vec<Frame>,
}

/// The journal files that may hold frames behind `checkpoint`, the sequence the last checkpoint covers.
///
/// A file is left out only on proof: the first frame of a later generation is whole and follows directly on something the
/// checkpoint covers, so nothing of an earlier one is above that. What is left out is 64 MiB that need not be read.
pub(crate) fn files_behind(storage: &dyn Storage, checkpoint: u64, log_id: u64) -> io::Result<Vec<usize>> {
    let firsts =
        (0..FILES).map(|index| first_head(storage, index, log_id)).collect::<io::Result<Vec<_>>>()?;
    let begins_covered = |head: &&FrameHead| head.sequence <= checkpoint + 1;
    let newest = firsts.iter().flatten().filter(begins_covered).map(|head| head.generation).max();
    let is_before = |index: &usize| firsts[*index].is_some_and(|head| Some(head.generation) < newest);
    Ok((0..FILES).filter(|index| !is_before(index)).collect())
}

/// Head of the frame a journal file begins with: its generation is the newest in the file.
fn first_head(storage: &dyn Storage, index: usize, log_id: u64) -> io::Result<Option<FrameHead>> {
    let Some(file) = open_if_there(storage, &path(index))? else { return Ok(None) };
    let mut bytes = [0; FRAME_HEADER_BYTES];
    let whole = file.read_at(&mut bytes, 0)? == bytes.len();
    Ok(FrameHead::parse(&bytes).filter(|head| whole && head.log_id == log_id))
}

/// Reads a journal file and finds its frames. The generation is that of its newest frame; frames of older
/// generations are leftovers and are not listed.
pub(crate) fn scan(storage: &dyn Storage, index: usize, log_id: u64) -> io::Result<Scan> {
    let file = open_if_there(storage, &path(index))?;
    let bytes = file.map(|file| read_all(&*file)).transpose()?.unwrap_or_default();
    let frames = find_frames(&bytes, log_id);
    Ok(Scan { bytes, frames })
}

/// Reads a whole file.
pub(crate) fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn find_frames(bytes: &[u8], log_id: u64) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at + FRAME_HEADER_BYTES <= bytes.len() {
        match FrameHead::parse(&bytes[at..]) {
            Some(head) if head.log_id == log_id && is_newer(frames.last(), &head) => {
                if frames.last().is_some_and(|last| last.head.generation < head.generation) {
                    // What came before was read from bytes a newer frame should have replaced: leftovers.
                    frames.clear();
                }
                let frame = read_frame(bytes, at, head);
                at += if frame.whole { head.frame_bytes() } else { ALIGN };
                frames.push(frame);
            }
            _ => at += ALIGN,
        }
    }
    frames
}

fn is_newer(last: Option<&Frame>, head: &FrameHead) -> bool {
    last.is_none_or(|last| {
        head.generation > last.head.generation
            || (head.generation == last.head.generation && head.sequence > last.head.sequence)
    })
}

fn read_frame(bytes: &[u8], at: usize, head: FrameHead) -> Frame {
    let from = at + FRAME_HEADER_BYTES;
    let end = bytes.len().min(from + head.body_bytes as usize);
    let mut batches = Vec::new();
    let mut next = from;
    while next + BATCH_HEADER_BYTES <= end {
        let Some(batch) = Head::check(&bytes[next..end]).filter(|b| b.sequence == head.sequence) else {
            // The length may be the damaged part; look for the next batch of this frame byte by byte.
            next += 1;
            continue;
        };
        batches.push((batch, next..next + batch.bytes));
        next += batch.bytes;
    }
    let covered: usize = batches.iter().map(|(_, range)| range.len()).sum();
    let whole = covered == head.body_bytes as usize && batches.len() == head.batches as usize;
    Frame { head, batches, whole }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const FILE_BYTES: u64 = 1 << 16;

    /// A journal with `frames` frames of 10 KiB, six to a file, all covered as soon as they are written.
    fn written(frames: u64) -> (Arc<MemoryStorage>, Journal) {
        let storage = Arc::new(MemoryStorage::new());
        let mut journal = Journal::create(storage.clone(), 0, 0, 7, FILE_BYTES).unwrap();
        for sequence in 1..=frames {
            let body = 10 << 10;
            journal.reserve(body, sequence - 1).unwrap();
            journal.append(&mut vec![1; FRAME_HEADER_BYTES + body], 0, 0).unwrap();
            journal.sync().unwrap();
        }
        (storage, journal)
    }

    #[test]
    fn only_files_that_may_hold_more_are_read() {
        let (storage, journal) = written(40);
        // Files 0 to 3 hold 25–30, 31–36, 37–40 and 19–24.
        assert_eq!(journal.sequence(), 40);
        let behind = |checkpoint| files_behind(&*storage, checkpoint, 7).unwrap();
        assert_eq!(behind(40), [2]);
        assert_eq!(behind(36), [2]);
        assert_eq!(behind(35), [1, 2]);
        assert_eq!(behind(30), [1, 2]);
        assert_eq!(behind(24), [0, 1, 2]);
        assert_eq!(behind(23), [0, 1, 2, 3]);
        assert_eq!(behind(0), [0, 1, 2, 3]);
    }

    #[test]
    fn a_file_whose_head_is_damaged_is_read_and_proves_nothing() {
        let (storage, _) = written(40);
        for file in 0..FILES {
            storage.corrupt(&path(file), |bytes| bytes[20] ^= 1).unwrap();
        }
        assert_eq!(files_behind(&*storage, 40, 7).unwrap(), [0, 1, 2, 3]);
        let (storage, _) = written(40);
        storage.corrupt(&path(0), |bytes| bytes[20] ^= 1).unwrap();
        assert_eq!(files_behind(&*storage, 40, 7).unwrap(), [0, 2]);
    }
}

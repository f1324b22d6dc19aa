//! A ring of files written once, then overwritten for ever: their blocks are allocated and initialised, so a sync
//! has no metadata to commit.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use rustix::fs::{Advice, OFlags, fadvise};

use super::{
    MIB,
    frame::{Frame, PAGE_BYTES},
};
use crate::rounds::Variant;

pub(crate) const FILE_BYTES: u64 = 64 * MIB;

/// Variants share a ring, but start in different places: else each would find its pages in the processor's cache, just
/// written by the one before. The step is odd in pages and wanders over all files.
static START: AtomicU64 = AtomicU64::new(0);
const START_STEP_BYTES: u64 = 5_003 * PAGE_BYTES as u64;

/// How a written frame reaches the disk.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sync {
    /// `pwrite`, then `fdatasync`.
    Data,
    /// One `pwrite` with `O_DSYNC`.
    Dsync,
    /// One `pwrite` with `O_DSYNC | O_DIRECT`.
    Direct,
}

/// Where a frame starts and ends.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Layout {
    /// At the byte after the frame before.
    Packed,
    /// At a page, filled up with zeros to the next.
    WholePages,
}

pub(crate) struct Recycled {
    files: Vec<File>,
    sync: Sync,
    layout: Layout,
    /// Drop the files from the page cache before each block, as when the ring is larger than the memory left for it.
    cold: bool,
    file: usize,
    offset: u64,
}

impl Recycled {
    /// Writes the `count` files of a ring in `dir`.
    pub fn create(dir: &Path, count: usize) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        for number in 0..count {
            write_noise(&File::create(dir.join(number.to_string()))?)?;
        }
        File::open(dir)?.sync_all()?;
        Ok(())
    }

    pub fn open(dir: &Path, count: usize, sync: Sync, layout: Layout) -> Result<Self> {
        let flags = match sync {
            Sync::Data => OFlags::empty(),
            Sync::Dsync => OFlags::DSYNC,
            Sync::Direct => OFlags::DSYNC | OFlags::DIRECT,
        };
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(i32::try_from(flags.bits())?);
        let files =
            (0..count).map(|number| options.open(dir.join(number.to_string()))).collect::<Result<_, _>>()?;
        let offset = START.fetch_add(START_STEP_BYTES, Ordering::Relaxed) % FILE_BYTES;
        Ok(Recycled { files, sync, layout, cold: false, file: offset as usize / PAGE_BYTES % count, offset })
    }

    pub fn cold(self) -> Self {
        Recycled { cold: true, ..self }
    }

    pub fn append(&mut self, frame: &Frame) -> Result<()> {
        let bytes = match self.layout {
            Layout::Packed => frame.bytes(),
            Layout::WholePages => frame.whole_pages(),
        };
        if self.offset + bytes.len() as u64 > FILE_BYTES {
            self.file = (self.file + 1) % self.files.len();
            self.offset = 0;
        }
        let file = &self.files[self.file];
        file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        if self.sync == Sync::Data {
            file.sync_data()?;
        }
        Ok(())
    }
}

impl Variant for Recycled {
    fn prepare(&mut self, _rounds: usize, _bytes: u64) -> Result<()> {
        if self.cold {
            self.files.iter().try_for_each(|file| fadvise(file, 0, None, Advice::DontNeed))?;
        }
        Ok(())
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.append(frame)
    }
}

/// Fills a file to its full size and syncs it, contents and metadata.
pub(crate) fn write_noise(file: &File) -> Result<()> {
    let chunk = vec![0xA5; MIB as usize];
    for offset in (0..FILE_BYTES).step_by(chunk.len()) {
        file.write_all_at(&chunk, offset)?;
    }
    Ok(file.sync_all()?)
}

//! Topic stores: a file per topic, space reserved in steps ahead of the bytes.

use std::{fs::File, num::NonZero, os::unix::fs::FileExt, path::Path, path::PathBuf, sync::Arc};

use anyhow::Result;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

use super::{
    MIB,
    frame::{Frame, PAGE_BYTES},
};

const SEGMENT_BYTES: u64 = 256 * MIB;
pub(crate) const STEP_BYTES: u64 = 8 * MIB;

pub(crate) struct Stores {
    stores: Vec<Store>,
    /// Bytes held back per store until a write is worth its system call.
    buffer_bytes: usize,
}

struct Store {
    path: PathBuf,
    file: Arc<File>,
    offset: u64,
    reserved: u64,
    step: u64,
    buffer: Vec<u8>,
}

impl Stores {
    pub fn create(dir: &Path, count: usize, step: u64) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let stores = (0..count)
            .map(|number| {
                let path = dir.join(number.to_string());
                let file = Arc::new(File::create(&path)?);
                Ok(Store { path, file, offset: 0, reserved: 0, step, buffer: Vec::new() })
            })
            .collect::<Result<_>>()?;
        Ok(Stores { stores, buffer_bytes: 0 })
    }

    pub fn buffered(self, buffer_bytes: usize) -> Self {
        Stores { buffer_bytes, ..self }
    }

    /// Before `bytes` more in all: full segments are replaced by new ones.
    pub fn prepare(&mut self, bytes: u64) -> Result<()> {
        for store in &mut self.stores {
            if store.offset + bytes > SEGMENT_BYTES {
                std::fs::remove_file(&store.path)?;
                store.file = Arc::new(File::create(&store.path)?);
                (store.offset, store.reserved) = (0, 0);
            }
        }
        Ok(())
    }

    /// Copies a frame's parts, one to each store; page cache only.
    pub fn copy(&mut self, frame: &Frame) -> Result<()> {
        let parts = frame.parts(self.stores.len());
        self.stores.iter_mut().zip(parts).try_for_each(|(store, part)| store.append(part, self.buffer_bytes))
    }

    pub fn flush(&mut self) -> Result<()> {
        self.stores.iter_mut().try_for_each(Store::flush)
    }

    pub fn sync(&self) -> Result<()> {
        Ok(self.stores.iter().try_for_each(|store| store.file.sync_data())?)
    }

    /// Syncs, then gives the pages back, so that the next block is served from memory used before. The last page of
    /// each file stays, as it would: it is about to be filled up.
    pub fn settle(&self) -> Result<()> {
        self.sync()?;
        for store in &self.stores {
            let whole_pages = store.offset - store.offset % PAGE_BYTES as u64;
            if let Some(len) = NonZero::new(whole_pages) {
                fadvise(&*store.file, 0, Some(len), Advice::DontNeed)?;
            }
        }
        Ok(())
    }

    /// For a sync on another thread: each file, and where it ends.
    pub fn files(&self) -> Vec<(Arc<File>, u64)> {
        self.stores.iter().map(|store| (Arc::clone(&store.file), store.offset)).collect()
    }
}

impl Store {
    fn append(&mut self, bytes: &[u8], buffer_bytes: usize) -> Result<()> {
        if self.buffer.len() + bytes.len() <= buffer_bytes {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        if bytes.len() < buffer_bytes {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.offset + bytes.len() as u64;
        if self.step > 0 && end > self.reserved {
            fallocate(&*self.file, FallocateFlags::KEEP_SIZE, self.reserved, self.step)?;
            self.reserved += self.step;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.offset = end;
        Ok(())
    }
}

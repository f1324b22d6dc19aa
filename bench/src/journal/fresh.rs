//! One file that has not been written before, made in different ways: what a log without recycling appends to.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use anyhow::Result;
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    frame::Frame,
    recycled::{FILE_BYTES, write_noise},
};
use crate::rounds::Variant;

#[derive(Clone, Copy)]
pub(crate) enum Made {
    /// Nothing allocated: every round makes the file longer.
    Empty,
    /// Full size by `fallocate`: allocated, not initialised.
    Allocated,
    /// Full size, written through once.
    Filled,
}

pub(crate) struct Fresh {
    path: PathBuf,
    made: Made,
    file: File,
    offset: u64,
}

impl Fresh {
    pub fn create(path: PathBuf, made: Made) -> Result<Self> {
        let file = create(&path, made)?;
        Ok(Fresh { path, made, file, offset: 0 })
    }
}

impl Variant for Fresh {
    fn prepare(&mut self, _rounds: usize, bytes: u64) -> Result<()> {
        if self.offset + bytes > FILE_BYTES {
            std::fs::remove_file(&self.path)?;
            self.file = create(&self.path, self.made)?;
            self.offset = 0;
        }
        Ok(())
    }

    fn round(&mut self, frame: &Arc<Frame>) -> Result<()> {
        self.file.write_all_at(frame.bytes(), self.offset)?;
        self.offset += frame.bytes().len() as u64;
        Ok(self.file.sync_data()?)
    }
}

fn create(path: &PathBuf, made: Made) -> Result<File> {
    let file = File::create(path)?;
    match made {
        Made::Empty => {}
        Made::Allocated => fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?,
        Made::Filled => write_noise(&file)?,
    }
    file.sync_all()?;
    Ok(file)
}

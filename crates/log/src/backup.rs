//! Copying a data directory that no server has open.

use crate::catalog::Catalog;
use crate::checkpoint::Checkpoint;
use crate::journal::{self, FILES};
use crate::storage::{Mode, Storage};
use crate::topic::dir;
use dualstream_core::{Error, ErrorKind, Result};
use std::io;

/// Bytes copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Copies a log into an empty directory, durably: the stores with their checkpoint, the journal, and last the catalog,
/// without which nothing is taken for a log. A copy that is opened begins new epochs: positions of the original are
/// noticed, never misread. `progress` is told of every file and its length before it is copied.
/// Returns the bytes copied.
///
/// # Errors
/// `backup_not_empty`, `catalog_missing`, `storage_error`, `storage_full`.
pub fn backup(from: &dyn Storage, to: &dyn Storage, mut progress: impl FnMut(&str, u64)) -> Result<u64> {
    let failed = |e: io::Error| crate::error::storage("copy the data directory", e);
    let catalog = Catalog::load(from)?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "catalog_missing",
            "there is no log here: the file 'catalog' is missing",
        )
    })?;
    if Catalog::load(to)?.is_some() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "backup_not_empty",
            "the target directory holds a log already",
        ));
    }
    let mut bytes = 0;
    let mut copy_all = || -> io::Result<()> {
        to.create_dir(crate::topic::DIR)?;
        to.create_dir(journal::DIR)?;
        for &id in catalog.topics.keys() {
            to.create_dir(&dir(id))?;
            for name in from.list(&dir(id))? {
                bytes += copy(from, to, &format!("{}/{name}", dir(id)), &mut progress)?;
            }
            to.sync_dir(&dir(id))?;
        }
        for file in 0..FILES {
            bytes += copy(from, to, &journal::path(file), &mut progress)?;
        }
        to.sync_dir(crate::topic::DIR)?;
        to.sync_dir(journal::DIR)?;
        to.sync_dir("")
    };
    copy_all().map_err(failed)?;
    // The original may go on after this and give offsets away that the copy will give away again: a copy that is opened
    // begins new epochs, as after any end that may have lost records.
    let checkpoint = Checkpoint::load(from)?.unwrap_or_default();
    Checkpoint { clean: false, fsync_always: false, ..checkpoint }.store(to).map_err(failed)?;
    catalog.store(to)?;
    Ok(bytes)
}

fn copy(
    from: &dyn Storage,
    to: &dyn Storage,
    path: &str,
    progress: &mut impl FnMut(&str, u64),
) -> io::Result<u64> {
    let source = match from.open(path, Mode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        source => source?,
    };
    let length = source.len()?;
    progress(path, length);
    let target = to.open(path, Mode::Write)?;
    target.truncate(0)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        match source.read_at(&mut chunk, at)? {
            0 => break,
            count => {
                target.write_at(&chunk[..count], at)?;
                at += count as u64;
            }
        }
    }
    target.sync()?;
    Ok(at)
}

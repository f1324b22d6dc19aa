//! Replacing a small file in one step: write beside it, sync, rename, sync the directory.

use crate::error::sync_failed;
use crate::journal::read_all;
use crate::storage::{Mode, Storage, open_if_there};
use std::io;

/// Makes `path` (in the root directory) hold exactly `bytes`, durably; a crash leaves the old content or the new.
pub(crate) fn replace(storage: &dyn Storage, path: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{path}.new");
    let file = storage.open(&fresh, Mode::Write)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    file.sync().map_err(sync_failed)?;
    storage.rename(&fresh, path)?;
    storage.sync_dir("").map_err(sync_failed)
}

/// Content of a small file; `None` when it is not there.
pub(crate) fn load(storage: &dyn Storage, path: &str) -> io::Result<Option<Vec<u8>>> {
    open_if_there(storage, path)?.map(|file| read_all(&*file)).transpose()
}

//! Where the log's bytes are: a directory tree of files, behind a seam so that a simulation can own the disk.
//!
//! Two implementations: [`FileStorage`] is a directory of the operating system, [`MemoryStorage`] is a simulated disk
//! that forgets what was not synced, tears writes and fails on demand; without faults it is the in-memory backend.
//!
//! Calls block; they are made by the log's own thread and by readers that expect a page-cache hit. Nothing is cached,
//! buffered or retried here: a failed [`File::sync`] in particular is final for the caller, since the operating system
//! may have dropped the bytes and would report success the next time.

mod disk;
mod memory;

pub use disk::FileStorage;
pub use memory::{Crashed, Fault, MemoryStorage, Op};

use std::io;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It must exist; only reads are allowed.
    Read,
    /// Reads and writes; created empty when missing, its content is kept.
    Write,
}

/// A directory tree of files. Paths are relative to its root, `/`-separated, without `.` and `..`; the root is `""`.
///
/// *Durability*: entries of a directory (files and directories created, renamed, removed) survive a crash once
/// [`sync_dir`](Storage::sync_dir) of that directory returned; the bytes of a file once [`File::sync`] returned. Both
/// are needed for a new file. *Concurrency*: all calls may be made from any thread. Errors of kind
/// [`NotFound`](io::ErrorKind::NotFound) and [`StorageFull`](io::ErrorKind::StorageFull) are told apart by callers.
pub trait Storage: Send + Sync {
    /// Opens a file. `NotFound` when it is missing and the mode is [`Mode::Read`], or its directory is missing.
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>>;
    /// Names in a directory, sorted; empty when there is no such directory.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Creates a directory and its parents; no error when it is there. Durable after `sync_dir` of the parents.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// Renames a file, replacing what has the new name, in one step; or a directory, to a name that is free. Durable after `sync_dir` of both directories.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file or an empty directory. Handles that are open stay readable and writable.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Bytes that may still be written, and bytes there are in all.
    fn free_bytes(&self) -> io::Result<(u64, u64)>;
    /// Whether calls may wait for a device, so that reads belong on a thread that may block.
    fn blocks(&self) -> bool {
        true
    }
}

/// An open file. Handles are independent of the name: a renamed or removed file stays readable through them.
pub trait File: Send + Sync {
    /// Fills `buf` from position `at`; the count is short only at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at position `at`, or fails with any part of them written. Extends the file; a gap reads
    /// as zeroes.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes content and length durable (`fdatasync`). After an error nothing is known of what was written since the
    /// last success, and another call may succeed although bytes are lost: never retry.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends (with zeroes) to `len` bytes. Space reserved past `len` may be given back.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Reserves space for the bytes below `up_to` without changing [`len`](File::len): later writes there do not fail
    /// for want of space. No more than a hint where the file system cannot.
    fn allocate(&self, up_to: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Opens a file to read; `None` when there is none.
pub(crate) fn open_if_there(storage: &dyn Storage, path: &str) -> io::Result<Option<Arc<dyn File>>> {
    match storage.open(path, Mode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// Removes a file, or an empty directory, that may be gone already.
pub(crate) fn remove_if_there(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The parts of a path; an error when it could lead out of the tree.
fn parts(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    match parts.iter().any(|p| matches!(*p, "" | "." | "..") || p.contains(['\0', '\\'])) {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{path}` is no path inside the storage"),
        )),
        false => Ok(parts),
    }
}

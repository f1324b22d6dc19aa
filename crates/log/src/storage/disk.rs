//! A directory of the operating system, owned by one process.
//!
//! The owner is who holds the advisory lock (`flock`) of the file `lock` in it; the kernel releases it when the
//! process ends in whatever way, so a lock is never stale. Network file systems without `flock` are refused.

use super::{File, Mode, Storage, parts};
use dualstream_core::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, fstatvfs};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK_NAME: &str = "lock";
const LOCK_BYTES_MAX: u64 = 256;

/// A data directory of the operating system, locked for this process as long as the value lives, or only read.
#[derive(Debug)]
pub struct FileStorage {
    root: PathBuf,
    /// Its `flock` is the ownership of the directory. The directory itself where it is only read.
    lock: fs::File,
    is_read_only: bool,
}

impl FileStorage {
    /// Creates the directory when it is missing (for its owner only) and takes its lock.
    ///
    /// Errors: `data_dir_locked` when another process has it, `data_dir_not_writable` when it cannot be created,
    /// written or locked.
    pub fn open(dir: &Path) -> Result<FileStorage> {
        create_durably(dir).map_err(|e| not_writable(dir, e))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(LOCK_NAME))
            .map_err(|e| not_writable(dir, e))?;
        match uninterrupted(|| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(locked(dir, &mut lock)),
            Err(e) => return Err(not_writable(dir, e)),
        }
        write_owner(&lock).map_err(|e| not_writable(dir, e))?;
        Ok(FileStorage { root: dir.to_owned(), lock, is_read_only: false })
    }

    /// A directory that may be another process's: nothing is made, locked or written in it. What is read may change at
    /// any moment.
    ///
    /// Errors: `data_dir_not_readable`.
    pub fn read_only(dir: &Path) -> Result<FileStorage> {
        let handle = fs::read_dir(dir).and_then(|_| fs::File::open(dir)).map_err(|e| not_readable(dir, e))?;
        Ok(FileStorage { root: dir.to_owned(), lock: handle, is_read_only: true })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    /// A path to change something at.
    fn path_to_write(&self, path: &str) -> io::Result<PathBuf> {
        match self.is_read_only {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => self.path(path),
        }
    }

    fn path(&self, path: &str) -> io::Result<PathBuf> {
        let mut full = self.root.clone();
        full.extend(parts(path)?);
        Ok(full)
    }
}

impl Storage for FileStorage {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let write = mode == Mode::Write;
        let path = if write { self.path_to_write(path)? } else { self.path(path)? };
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .create(write)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(dir)?) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            // The log writes UTF-8 names only: another name is somebody else's file.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.path_to_write(dir)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path_to_write(from)?, self.path_to_write(to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path_to_write(path)?;
        match fs::symlink_metadata(&path)?.is_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::File::open(self.path(dir)?)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<(u64, u64)> {
        let stat = fstatvfs(&self.lock)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        // Loops over short writes and interruptions.
        self.0.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync; F_FULLFSYNC on macOS, where less would stop at the drive's cache.
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, up_to: u64) -> io::Result<()> {
        allocate(&self.0, up_to)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(target_os = "linux")]
fn allocate(file: &fs::File, up_to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    if up_to == 0 {
        return Ok(());
    }
    match uninterrupted(|| fallocate(file, FallocateFlags::KEEP_SIZE, 0, up_to)) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => Ok(()),
        result => result,
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &fs::File, _up_to: u64) -> io::Result<()> {
    Ok(())
}

fn uninterrupted(mut call: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    rustix::io::retry_on_intr(&mut call).map_err(io::Error::from)
}

/// Creates `dir` and its parents, and makes the new entries durable.
fn create_durably(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for created in missing {
        let parent = created.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Tells the next one who comes whose the lock is. Only for people: the lock itself is the kernel's.
fn write_owner(lock: &fs::File) -> io::Result<()> {
    let owner = format!("pid {}\nboot {}\n", std::process::id(), boot_id());
    lock.set_len(0)?;
    lock.write_all_at(owner.as_bytes(), 0)
}

/// Which boot of which machine this is; `unknown` where the system does not say.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if id.trim().is_empty() { "unknown".to_owned() } else { id.trim().to_owned() }
}

fn locked(dir: &Path, lock: &mut fs::File) -> Error {
    let mut owner = String::new();
    let read = lock.take(LOCK_BYTES_MAX).read_to_string(&mut owner);
    let field = |name: &str| owner.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let who = match (read, field("pid "), field("boot ")) {
        (Ok(_), Some(pid), Some(boot)) if boot == boot_id() => format!("process {pid}"),
        (Ok(_), Some(pid), Some(_)) => format!("process {pid} of another machine or container"),
        _ => "another process".to_owned(),
    };
    let message = format!(
        "the data directory {} is in use by {who}; stop it, or choose another directory with --data-dir",
        dir.display()
    );
    Error::new(ErrorKind::Unavailable, "data_dir_locked", message).with_field("data_dir")
}

fn not_writable(dir: &Path, cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Denied,
    };
    let message = format!(
        "the data directory {} cannot be created, written or locked; give this user write access to it on a local \
         file system, or choose another directory with --data-dir",
        dir.display()
    );
    Error::new(kind, "data_dir_not_writable", message).with_field("data_dir").with_source(cause)
}

fn not_readable(dir: &Path, cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        _ => ErrorKind::Denied,
    };
    let message = format!(
        "the data directory {} cannot be read; name another one with --data-dir, or run this as its owner",
        dir.display()
    );
    Error::new(kind, "data_dir_not_readable", message).with_field("data_dir").with_source(cause)
}

#[cfg(test)]
mod tests;

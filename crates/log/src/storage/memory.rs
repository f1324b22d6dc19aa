//! A simulated disk in memory: it forgets what was not synced, tears writes, fills up and fails on demand. Without
//! faults it is the in-memory backend.
//!
//! ```text
//!  File::write_at ──▶ live bytes ──sync──▶ durable bytes        per file
//!  create, rename ──▶ live names ──sync_dir──▶ durable names    per directory
//!                         │ crash(entropy)
//!                         ▼
//!   durable + any of the unsynced: each write kept, lost or torn between 512-byte sectors; of each directory's
//!   changes a prefix. A later write may survive an earlier one, so this covers reordering, too.
//! ```
//!
//! It is meaner than real file systems where they differ: a rename between two directories is two independent
//! changes, and a file whose directory was not synced is gone however often it was synced itself. A failed `sync`
//! behaves as in Linux: what it should have written still reads back, is taken for clean, is lost in a crash, and the
//! next `sync` succeeds. The space of a removed file is free at once.
//!
//! Deterministic: the same calls and the same entropy leave the same bytes. Time does not exist here.

mod content;
mod directory;
mod faults;

use super::{File, Mode, Storage, parts};
use content::Content;
use directory::Tree;
use dualstream_core::clock::Entropy;
pub use faults::{Crashed, Fault, Op};
use faults::{Faults, Verdict};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk without a set capacity says it holds.
const CAPACITY_BYTES_DEFAULT: u64 = 1 << 50;

/// A simulated disk. Cloning makes another handle of the same disk.
#[derive(Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    tree: Tree,
    faults: Faults,
    /// Counts crashes; handles of an earlier one are dead.
    generation: u64,
    capacity: Option<u64>,
}

impl MemoryStorage {
    /// An empty disk.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// Power fails and comes back: whatever was not synced is kept, lost or torn as `entropy` says. Handles opened
    /// before fail from now on; a crash that was pending is over.
    pub fn crash(&self, entropy: &dyn Entropy) {
        self.restart(Survival::Chance(entropy));
    }

    /// Power fails and everything that was not synced is lost.
    pub fn crash_lose_all(&self) {
        self.restart(Survival::Nothing);
    }

    /// The process dies, the machine does not: everything written survives (but not what a failed sync dropped).
    pub fn crash_keep_all(&self) {
        self.restart(Survival::Everything);
    }

    fn restart(&self, survival: Survival<'_>) {
        let mut disk = self.disk();
        disk.generation += 1;
        disk.faults.recovered();
        disk.tree.crash(survival);
    }

    /// Makes the `nth` call of `op` from now (1 is the next) fail with `fault`. Faults add up.
    pub fn fail_next(&self, op: Op, nth: u64, fault: Fault) {
        self.disk().faults.add(op, nth, fault);
    }

    /// Crashes in the step that brings [`steps`](MemoryStorage::steps) to `step`: that call and all later ones fail
    /// with [`Crashed`] until one of the crash methods is called.
    pub fn crash_at_step(&self, step: u64) {
        self.disk().faults.crash_at(step);
    }

    /// Steps taken so far: calls that may change the disk (not reads, lists and opens of what exists).
    pub fn steps(&self) -> u64 {
        self.disk().faults.steps()
    }

    /// Bytes that fit on the disk; more fails with `StorageFull`. `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Changes the stored bytes of a file as a bad disk would. What was not synced before counts as synced.
    pub fn corrupt(&self, path: &str, damage: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let file = self.disk().tree.file(&parts(path)?)?;
        lock(&file).corrupt(damage);
        Ok(())
    }

    /// The bytes of a file that no crash can take; `None` when its name is not durable.
    pub fn synced(&self, path: &str) -> Option<Vec<u8>> {
        let file = self.disk().tree.synced_file(&parts(path).ok()?)?;
        let bytes = lock(&file).synced();
        Some(bytes)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.0)
    }

    /// Counts a step that changes names, and does it unless a fault says otherwise.
    fn change<T>(&self, op: Op, act: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk();
        match disk.faults.step(op)? {
            Verdict::Go => act(&mut disk),
            Verdict::Fail(error) | Verdict::Short(_, error) => Err(error),
            Verdict::Crash => {
                // It may have been on its way to the disk already: crash() decides.
                let _ = act(&mut disk);
                Err(Crashed.into())
            }
        }
    }
}

/// What outlives a crash of what was not synced.
#[derive(Clone, Copy)]
enum Survival<'a> {
    Nothing,
    Everything,
    Chance(&'a dyn Entropy),
}

impl Disk {
    /// Bytes that may still be written.
    fn free(&self) -> u64 {
        match self.capacity {
            Some(capacity) => capacity.saturating_sub(self.tree.space()),
            None => u64::MAX,
        }
    }
}

/// Refuses `more` bytes when they do not fit.
fn reserve(free: u64, more: u64) -> io::Result<()> {
    match more <= free {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")),
    }
}

impl Storage for MemoryStorage {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let parts = parts(path)?;
        let (file, generation) = {
            let mut disk = self.disk();
            disk.faults.look(Op::Open)?;
            (disk.tree.file(&parts), disk.generation)
        };
        let file = match file {
            Err(e) if e.kind() == io::ErrorKind::NotFound && mode == Mode::Write => {
                self.change(Op::Create, |disk| disk.tree.create_file(&parts))?
            }
            file => file?,
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), file, generation, mode }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.faults.look(Op::List)?;
        match disk.tree.names(&parts(dir)?) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names,
        }
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let parts = parts(dir)?;
        self.change(Op::CreateDir, |disk| disk.tree.create_directory(&parts))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (parts(from)?, parts(to)?);
        self.change(Op::Rename, |disk| disk.tree.rename(&from, &to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let parts = parts(path)?;
        self.change(Op::Remove, |disk| disk.tree.remove(&parts))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let parts = parts(dir)?;
        let mut disk = self.disk();
        match disk.faults.step(Op::SyncDir)? {
            Verdict::Go => disk.tree.sync(&parts),
            Verdict::Crash => Err(Crashed.into()),
            Verdict::Fail(error) | Verdict::Short(_, error) => {
                disk.tree.sync_failed(&parts)?;
                Err(error)
            }
        }
    }

    fn free_bytes(&self) -> io::Result<(u64, u64)> {
        let mut disk = self.disk();
        disk.faults.look(Op::FreeBytes)?;
        let total = disk.capacity.unwrap_or(CAPACITY_BYTES_DEFAULT);
        Ok((total.saturating_sub(disk.tree.space()), total))
    }

    fn blocks(&self) -> bool {
        false
    }
}

struct MemoryFile {
    disk: MemoryStorage,
    file: Arc<Mutex<Content>>,
    generation: u64,
    mode: Mode,
}

impl MemoryFile {
    /// The disk, unless it crashed since this handle was opened.
    fn live(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.disk();
        match disk.generation == self.generation {
            true => Ok(disk),
            false => Err(Crashed.into()),
        }
    }

    /// Counts a step that changes this file; `act` is given the free space and what the faults say.
    fn change(
        &self,
        op: Op,
        act: impl FnOnce(u64, &mut Content, Verdict) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut disk = self.live()?;
        if self.mode == Mode::Read {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file was opened for reading"));
        }
        let verdict = disk.faults.step(op)?;
        // Counted first: it locks every file.
        let free = disk.free();
        act(free, &mut lock(&self.file), verdict)
    }
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.live()?.faults.look(Op::Read)?;
        Ok(lock(&self.file).read(buf, at))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.change(Op::Write, |free, content, verdict| match verdict {
            Verdict::Fail(error) => Err(error),
            Verdict::Short(n, error) => {
                let part = &bytes[..bytes.len().min(n)];
                reserve(free, content.growth(at + part.len() as u64))?;
                content.write(part, at);
                Err(error)
            }
            Verdict::Go => {
                reserve(free, content.growth(at + bytes.len() as u64))?;
                content.write(bytes, at);
                Ok(())
            }
            Verdict::Crash => {
                content.write(bytes, at);
                Err(Crashed.into())
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change(Op::Sync, |_, content, verdict| match verdict {
            Verdict::Go => {
                content.sync();
                Ok(())
            }
            Verdict::Crash => Err(Crashed.into()),
            Verdict::Fail(error) | Verdict::Short(_, error) => {
                content.sync_failed();
                Err(error)
            }
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Op::Truncate, |free, content, verdict| match verdict {
            Verdict::Fail(error) | Verdict::Short(_, error) => Err(error),
            Verdict::Go => {
                reserve(free, content.growth(len))?;
                content.truncate(len);
                Ok(())
            }
            Verdict::Crash => {
                content.truncate(len);
                Err(Crashed.into())
            }
        })
    }

    fn allocate(&self, up_to: u64) -> io::Result<()> {
        self.change(Op::Allocate, |free, content, verdict| match verdict {
            Verdict::Fail(error) | Verdict::Short(_, error) => Err(error),
            Verdict::Crash => Err(Crashed.into()),
            Verdict::Go => {
                reserve(free, content.growth(up_to))?;
                content.allocate(up_to);
                Ok(())
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.live()?.faults.look(Op::Len)?;
        Ok(lock(&self.file).len())
    }
}

/// A simulated disk outlives a test thread that panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Evenly one of `0..n` (as even as tests need); 0 when `n` is 0.
fn below(entropy: &dyn Entropy, n: u64) -> u64 {
    if n == 0 { 0 } else { entropy.next_u64() % n }
}

#[cfg(test)]
mod tests;

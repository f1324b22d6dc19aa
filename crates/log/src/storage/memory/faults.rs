//! Which calls of the simulated disk fail, and how.

use std::{fmt, io};

/// A kind of call to count and to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Opening a file, new or not.
    Open,
    /// The making of a new file in an open.
    Create,
    /// `list`.
    List,
    /// `create_dir`.
    CreateDir,
    /// `rename`.
    Rename,
    /// `remove`.
    Remove,
    /// `sync_dir`.
    SyncDir,
    /// `free_bytes`.
    FreeBytes,
    /// `read_at`.
    Read,
    /// `write_at`.
    Write,
    /// `sync`.
    Sync,
    /// `truncate`.
    Truncate,
    /// `allocate`.
    Allocate,
    /// `len`.
    Len,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error; nothing is done (a failed sync drops what it should have written).
    Eio,
    /// No space; nothing is done.
    Enospc,
    /// Only so many bytes of a write are written, then an error.
    ShortWrite(usize),
    /// The machine stops in the middle of the call.
    Crash,
}

/// What every call of a crashed disk fails with, inside an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

impl Crashed {
    /// Whether this is why a call failed.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|e| e.is::<Crashed>())
    }
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated disk has crashed")
    }
}

impl std::error::Error for Crashed {}

impl From<Crashed> for io::Error {
    fn from(crashed: Crashed) -> io::Error {
        io::Error::other(crashed)
    }
}

/// What to do with a call that changes the disk.
pub(super) enum Verdict {
    Go,
    Fail(io::Error),
    /// Write so many bytes, then fail.
    Short(usize, io::Error),
    /// Do it without making it durable, then fail with [`Crashed`].
    Crash,
}

/// The faults to come.
#[derive(Default)]
pub(super) struct Faults {
    steps: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Calls still to come until the fault, counting the one that fails.
    waiting: Vec<(Op, u64, Fault)>,
}

impl Faults {
    pub(super) fn add(&mut self, op: Op, nth: u64, fault: Fault) {
        self.waiting.push((op, nth.max(1), fault));
    }

    pub(super) fn crash_at(&mut self, step: u64) {
        self.crash_at = Some(step);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The machine was started again. Faults that did not happen yet are kept, the crash is over.
    pub(super) fn recovered(&mut self) {
        self.crashed = false;
        self.crash_at = None;
    }

    /// A call that changes nothing.
    pub(super) fn look(&mut self, op: Op) -> io::Result<()> {
        self.check_alive()?;
        match self.due(op) {
            None => Ok(()),
            Some(Fault::Crash) => {
                self.crashed = true;
                Err(Crashed.into())
            }
            Some(fault) => Err(error(fault)),
        }
    }

    /// A call that may change the disk.
    pub(super) fn step(&mut self, op: Op) -> io::Result<Verdict> {
        self.check_alive()?;
        self.steps += 1;
        let fault = match self.crash_at == Some(self.steps) {
            true => Some(Fault::Crash),
            false => self.due(op),
        };
        Ok(match fault {
            None => Verdict::Go,
            Some(Fault::Crash) => {
                self.crashed = true;
                Verdict::Crash
            }
            Some(Fault::ShortWrite(n)) => Verdict::Short(n, error(Fault::ShortWrite(n))),
            Some(fault) => Verdict::Fail(error(fault)),
        })
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.crashed { Err(Crashed.into()) } else { Ok(()) }
    }

    /// Counts down the faults of `op`; one that falls due is taken.
    fn due(&mut self, op: Op) -> Option<Fault> {
        let mut due = None;
        for (_, left, fault) in self.waiting.iter_mut().filter(|w| w.0 == op) {
            *left -= 1;
            if *left == 0 {
                due = due.or(Some(*fault));
            }
        }
        self.waiting.retain(|w| w.1 > 0);
        due
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Enospc => io::Error::new(io::ErrorKind::StorageFull, "injected: no space"),
        Fault::ShortWrite(_) => io::Error::new(io::ErrorKind::WriteZero, "injected: short write"),
        Fault::Eio | Fault::Crash => io::Error::other("injected: input/output error"),
    }
}

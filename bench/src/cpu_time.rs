//! CPU time this process has used, all threads, user and system. What kernel threads do for it (writeback,
//! the file system's own journal) is not in it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(crate) fn cpu_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// CPU time the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("CPU time is never negative")
}

//! CPU time this process has used, all threads, user and system. What kernel threads do for it (writeback,
//! the file system's own journal) is not in it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(crate) fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).expect("a process never has negative CPU time")
}

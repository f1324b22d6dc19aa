//! What the process itself costs, where the operating system tells (Linux): processor time and memory.

use super::Page;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::fs;

/// Clock ticks of `/proc/PID/stat`: `USER_HZ`, 100 on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Of this process; nothing elsewhere than on Linux.
#[derive(Debug)]
pub(super) struct OfProcess;

impl Collector for OfProcess {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        if let Some(seconds) = cpu_seconds() {
            let help = "Processor time of all threads, in user and system mode";
            page.seconds("process_cpu_seconds", help, seconds)?;
        }
        match resident_bytes() {
            Some(bytes) => page.gauge("process_resident_memory_bytes", "Resident memory", bytes),
            None => Ok(()),
        }
    }
}

/// Processor time of this process in seconds, user and system, where the operating system tells.
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses and may hold spaces; fields 14 and 15 are the times.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().ok());
    Some(times.sum::<Option<f64>>()? / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kib.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()? * 1024)
}

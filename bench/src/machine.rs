//! The machine a result was taken on: without it a number means little.

use std::{fmt, fs, path::Path, thread};

use anyhow::{Context, Result};

pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    file_system: String,
}

impl Machine {
    /// Describes this machine, and the file system that `dir` is on.
    pub fn describe(dir: &Path) -> Result<Self> {
        let memory_kib: u64 = field("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").parse()?;
        Ok(Machine {
            cpu: field("/proc/cpuinfo", "model name")?,
            cores: thread::available_parallelism()?.get(),
            memory_gib: memory_kib.div_ceil(1024 * 1024),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(dir)?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_gib, kernel, file_system } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}, {file_system}")
    }
}

fn field(path: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .with_context(|| format!("{path} has no {name}"))
}

/// Type, source and options of the mount that holds `dir`, from `proc_pid_mountinfo(5)`.
fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let (_, description) = mounts
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            let mut kind = kind.split(' ');
            let (kind, source, options) = (kind.next()?, kind.next()?, kind.next()?);
            dir.starts_with(point).then(|| (point.len(), format!("{kind} on {source} ({options})")))
        })
        .max_by_key(|(length, _)| *length)
        .context("no mount holds the directory")?;
    Ok(description)
}

//! Memory as a machine has it that has run for a while.

use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Instant};

use anyhow::Result;

use crate::report;

const MIB: u64 = 1024 * 1024;
const WARM_MIB: u64 = 2048;

/// Takes pages from the kernel and gives them back, by way of a file in `dir`. A virtual machine's host backs a page
/// when it is first touched, at several µs each; a machine that has run for a while has been through that, and the page
/// cache only reuses pages.
pub(crate) fn warm_memory(dir: &Path) -> Result<()> {
    let path = dir.join("warm");
    let file = File::create(&path)?;
    let chunk = vec![1; MIB as usize];
    let start = Instant::now();
    (0..WARM_MIB).try_for_each(|number| file.write_all_at(&chunk, number * MIB))?;
    let us_per_mib = start.elapsed().as_micros() as u64 / WARM_MIB;
    report::print(&format!("memory warmed, {us_per_mib} µs/MiB\n"))?;
    Ok(std::fs::remove_file(path)?)
}

//! How many bytes does an event take on the disk beside itself?

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use anyhow::Result;
use tokio::runtime;

use crate::{
    Settings,
    filled::fill,
    http::{Connection, get},
    replay::files,
    report::{Report, Table},
    server::Server,
    workload::Workload,
};

const SOURCES: [u64; 3] = [1_000, 5_000, 100_000];
const EVENT_BYTES: usize = 300;
const EVENTS: u64 = 1_000_000;
const BATCH: usize = 100;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let rows = SOURCES.into_iter().map(|sources| store(settings, sources)).collect::<Result<_>>()?;
    Ok(Report(vec![
        idle(settings)?,
        Table {
            title: format!(
                "Events of {EVENT_BYTES} B over 12 partitions, {BATCH} a commit; sealed segments only; ratio to the encoded events"
            ),
            header: vec![
                "sources",
                "events",
                "bytes/event",
                "store bytes/event",
                "ratio",
                "sidecar bytes/event",
                "allocated bytes/event, all files",
            ],
            rows,
        },
    ]))
}

/// A server that nobody has used yet.
fn idle(settings: &Settings) -> Result<Table> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let server = Server::start(&settings.server, &dir.path().join("data"))?;
    Connection::open(server.address)?.send(&get("/health/ready"))?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let (all, own) = server.memory()?;
    let cpu = server.cpu_time()?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    let idle_cpu = server.cpu_time()? - cpu;
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
    let program = std::fs::metadata(&settings.server)?.len();
    Ok(Table {
        title: "A fresh server that does nothing".into(),
        header: vec!["RSS MiB", "of it not files", "program MiB", "CPU ms in 5 s"],
        rows: vec![vec![mib(all), mib(own), mib(program), idle_cpu.as_millis().to_string()]],
    })
}

fn store(settings: &Settings, sources: u64) -> Result<Vec<String>> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let filled = fill(dir.path(), &runtime, &mut Workload::new(sources, EVENT_BYTES), EVENTS, BATCH)?;
    let segments = files(dir.path(), "segment")?;
    let sidecars = files(dir.path(), "index")?;
    let stored = total(&segments, fs::Metadata::len)? as f64 / filled.events as f64;
    // The newest segment has no sidecar yet: its events do not count.
    let sealed: Vec<PathBuf> = sidecars.iter().map(|path| path.with_extension("segment")).collect();
    let indexed = filled.events as f64 * total(&sealed, fs::Metadata::len)? as f64
        / total(&segments, fs::Metadata::len)? as f64;
    let value = filled.value_bytes as f64 / filled.events as f64;
    let allocated = total(&segments, |m| m.blocks() * 512)? + total(&sidecars, |m| m.blocks() * 512)?;
    Ok(vec![
        sources.to_string(),
        filled.events.to_string(),
        format!("{value:.0}"),
        format!("{stored:.1}"),
        format!("{:.3}", stored / value),
        format!("{:.1}", total(&sidecars, fs::Metadata::len)? as f64 / indexed),
        format!("{:.1}", allocated as f64 / filled.events as f64),
    ])
}

fn total(paths: &[PathBuf], size: impl Fn(&fs::Metadata) -> u64) -> Result<u64> {
    paths.iter().map(|path| Ok(size(&fs::metadata(path)?))).sum()
}

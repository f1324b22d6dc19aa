//! How fast is a whole topic read back, against reading its files?

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use dualstream_core::{
    filter::Filter,
    log::{Log, Read, Span},
    topic::TopicName,
};
use dualstream_log::Settings as LogSettings;
use tokio::runtime::{self, Runtime};

use crate::{
    Settings,
    cpu_time::cpu_time,
    embedded::Embedded,
    filled::{Filled, fill},
    http::{Connection, get},
    report::{Report, Table},
    samples::Samples,
    server::Server,
    warm::warm_memory,
    workload::Workload,
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 256;
const EVENTS: u64 = 2_000_000;
/// How many events a commit holds: the size of batches a reader meets follows from it.
const COMMITS: [usize; 2] = [100, 1_000];
const PAGE_BYTES: usize = 1 << 20;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let mut tables = Vec::new();
    for batch in COMMITS {
        tables.extend(replay(settings, batch)?);
    }
    Ok(Report(tables))
}

fn replay(settings: &Settings, batch: usize) -> Result<[Table; 2]> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let log_dir = dir.path().join("log");
    let filled = fill(&log_dir, &runtime, &mut Workload::new(SOURCES, EVENT_BYTES), EVENTS, batch)?;
    let embedded = Embedded::open(&log_dir, LogSettings::default())?;
    let files = segments(&log_dir)?;
    let mut rows =
        [Row::new("files read, 1 MiB at a time", filled.events), Row::new("one reader", filled.events)];
    let begun = Instant::now();
    for cycle in 0.. {
        rows[0].measure(cycle > 0, || read_files(&files).map(|()| filled.events))?;
        rows[1].measure(cycle > 0, || read_all(&runtime, &embedded, &filled.topic))?;
        if cycle > 0 && begun.elapsed() > settings.time_per_table {
            break;
        }
    }
    let limit = rows[0].passes.median_us();
    embedded.close()?;
    let table = Table {
        title: format!(
            "Replay of {} x {EVENT_BYTES} B over 12 partitions, committed {batch} at a time, pages of 1 MiB, files in the page cache",
            filled.events
        ),
        header: vec!["variant", "records/s, median", "MB/s", "CPU µs/record", "of the first", "passes"],
        rows: rows.iter().map(|row| row.cells(limit, filled.value_bytes)).collect(),
    };
    Ok([table, over_http(settings, &log_dir, &filled)?])
}

/// One client of event streams reads the same log from its beginning.
fn over_http(settings: &Settings, log_dir: &Path, filled: &Filled) -> Result<Table> {
    let server = Server::start(&settings.server, log_dir)?;
    let mut passes = Samples::default();
    let mut server_cpu = Duration::ZERO;
    let mut bytes = 0;
    let begun = Instant::now();
    while passes.len() == 0 || begun.elapsed() < settings.time_per_table {
        let (cpu, start) = (server.cpu_time()?, Instant::now());
        bytes = read_stream(&server, filled.events)?;
        passes.push(start.elapsed());
        server_cpu += server.cpu_time()? - cpu;
    }
    server.stop()?;
    let read = passes.len() as f64 * filled.events as f64;
    Ok(Table {
        title: format!("The same {} events as Server-Sent Events over HTTP, one client", filled.events),
        header: vec!["events/s, median", "MB/s on the wire", "server CPU µs/event", "passes"],
        rows: vec![vec![
            format!("{:.0}", filled.events as f64 * 1e6 / passes.median_us()),
            format!("{:.0}", bytes as f64 / passes.median_us()),
            format!("{:.2}", server_cpu.as_secs_f64() * 1e6 / read),
            passes.len().to_string(),
        ]],
    })
}

/// Reads until so many events have come; bytes read.
fn read_stream(server: &Server, events: u64) -> Result<u64> {
    const DATA: &[u8] = b"\ndata: ";
    let finder = memchr::memmem::Finder::new(DATA);
    let mut connection = Connection::open(server.address)?;
    connection.send(&get("/v1/channels/events:*/stream?since=earliest"))?;
    let (mut bytes, mut seen) = (0, 0);
    // The end of what was read may be the beginning of the mark.
    let mut carry = Vec::new();
    while seen < events {
        let read = connection.more()?;
        bytes += read.len() as u64;
        let head = read.len().min(DATA.len() - 1);
        carry.extend_from_slice(&read[..head]);
        seen += u64::from(finder.find(&carry).is_some()) + finder.find_iter(read).count() as u64;
        carry.extend_from_slice(&read[head..][read.len().saturating_sub(2 * head)..]);
        carry.drain(..carry.len().saturating_sub(DATA.len() - 1));
    }
    anyhow::ensure!(seen == events, "{seen} events instead of {events}");
    Ok(bytes)
}

struct Row {
    name: &'static str,
    events: u64,
    passes: Samples,
    cpu: Duration,
}

impl Row {
    fn new(name: &'static str, events: u64) -> Self {
        Row { name, events, passes: Samples::default(), cpu: Duration::ZERO }
    }

    fn measure(&mut self, counts: bool, pass: impl FnOnce() -> Result<u64>) -> Result<()> {
        let (cpu, start) = (cpu_time(), Instant::now());
        let read = pass()?;
        anyhow::ensure!(read == self.events, "{} gave {read} of {} events", self.name, self.events);
        if counts {
            self.passes.push(start.elapsed());
            self.cpu += cpu_time() - cpu;
        }
        Ok(())
    }

    fn cells(&self, limit_us: f64, value_bytes: u64) -> Vec<String> {
        let median = self.passes.median_us();
        let cpu = self.cpu.as_secs_f64() * 1e6 / self.passes.len() as f64 / self.events as f64;
        vec![
            self.name.into(),
            format!("{:.0}", self.events as f64 * 1e6 / median),
            format!("{:.0}", value_bytes as f64 / median),
            format!("{cpu:.3}"),
            format!("{:.2}", limit_us / median),
            self.passes.len().to_string(),
        ]
    }
}

fn read_all(runtime: &Runtime, embedded: &Embedded, topic: &TopicName) -> Result<u64> {
    let bounds = embedded.log.bounds(topic)?;
    let log = embedded.log.clone();
    let mut read = Read {
        topic: topic.clone(),
        epoch: bounds.epoch,
        spans: Span::all(&bounds.earliest, &bounds.latest),
        filter: Filter::All,
        records_max: usize::MAX,
        bytes_max: PAGE_BYTES,
        reverse: false,
    };
    // As a task, as every reader is: from the main thread each page would wake another worker.
    runtime.block_on(runtime.spawn(async move {
        let mut events = 0;
        while !read.is_over() {
            let page = log.read(read.clone()).await?;
            events += page.records.len() as u64;
            read.go_on(&page);
        }
        Ok(events)
    }))?
}

/// Segment files of all topics below `dir`.
pub(crate) fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    files(dir, "segment")
}

/// Files below `dir` whose names end in `extension`.
pub(crate) fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path, extension)?),
            false if path.extension().is_some_and(|e| e == extension) => found.push(path),
            false => {}
        }
    }
    found.sort();
    Ok(found)
}

fn read_files(paths: &[PathBuf]) -> Result<()> {
    let mut page = vec![0; PAGE_BYTES];
    for path in paths {
        let file = File::open(path)?;
        let mut at = 0;
        loop {
            match file.read_at(&mut page, at)? {
                0 => break,
                read => at += read as u64,
            }
        }
    }
    Ok(())
}

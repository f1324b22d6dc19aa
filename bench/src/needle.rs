//! How soon is a large log there, and how soon are the last events of one channel among thousands found in it?

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use tokio::runtime;

use crate::{
    Settings,
    filled::fill,
    http::{Connection, get, request},
    replay::files,
    report::{self, Report, Table},
    server::Server,
    workload::Workload,
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 300;
const BATCH: usize = 100;
const LIMIT: usize = 100;
const CHANNELS: [&str; 3] =
    ["events:repo:source%2F00042", "events:user:source%2F02501", "events:user:source%2F04999"];
const FREE_BYTES_MIN: u64 = 20 << 30;
const STARTS: usize = 3;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let free = rustix::fs::statvfs(&settings.dir)?;
    ensure!(free.f_bavail * free.f_frsize >= FREE_BYTES_MIN, "less than 20 GiB are free for the log");
    let dir = settings.dir.join("needle");
    let data = dir.join("data");
    if !data.exists() {
        std::fs::create_dir_all(&dir)?;
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let begun = Instant::now();
        fill(&data, &runtime, &mut Workload::new(SOURCES, EVENT_BYTES), settings.needle_events, BATCH)?;
        report::print(&format!("filled in {:.0} s\n", begun.elapsed().as_secs_f64()))?;
    }
    let mut rows = Vec::new();
    for _ in 0..STARTS {
        rows.push(visit(settings, &data, "closed in order, files cold", true, false)?);
        rows.push(visit(settings, &data, "closed in order, files in the page cache", false, true)?);
        rows.push(visit(settings, &data, "killed while publishing", false, false)?);
    }
    rows.sort();
    if !settings.keep {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(Report(vec![Table {
        title: format!(
            "The last {LIMIT} events of one channel of {SOURCES} in a log of {} x {EVENT_BYTES} B, over HTTP, right after the start",
            settings.needle_events
        ),
        header: vec![
            "last end",
            "listening after ms",
            "first channel ms",
            "second ms",
            "third ms",
            "first again ms",
            "RSS MiB",
        ],
        rows,
    }]))
}

/// Starts a server, asks it, and ends it: by `kill -9` while it is published to, or in order.
fn visit(settings: &Settings, data: &Path, name: &str, cold: bool, kill: bool) -> Result<Vec<String>> {
    if cold {
        for extension in ["segment", "index", "journal"] {
            for path in files(data, extension)? {
                let file = File::open(path)?;
                file.sync_data()?;
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
        }
    }
    let server = Server::start(&settings.server, data)?;
    let mut connection = Connection::open(server.address)?;
    let mut row = vec![name.to_owned(), ms(server.started)];
    for channel in CHANNELS.iter().chain(&CHANNELS[..1]) {
        let path = format!("/v1/channels/{channel}/events?since=latest&reverse=true&limit={LIMIT}");
        let begun = Instant::now();
        connection.send(&get(&path))?;
        let found = memchr::memmem::find_iter(connection.answer()?, b"\"source_type\":").count();
        row.push(ms(begun.elapsed()));
        ensure!(found == LIMIT, "{found} events instead of {LIMIT}");
    }
    row.push(format!("{:.0}", server.memory()?.0 as f64 / (1 << 20) as f64));
    if kill {
        publish(&mut connection)?;
        server.kill()?;
    } else {
        server.stop()?;
    }
    Ok(row)
}

/// Leaves so much in the journal that no checkpoint covers, and a request without an answer.
fn publish(connection: &mut Connection) -> Result<()> {
    let line = format!(
        "{{\"type\":\"t\",\"source_type\":\"repo\",\"source_id\":\"source/00042\",\"data\":\"{:x<200}\"}}\n",
        ""
    );
    let body = line.repeat(1_000);
    let request = request("POST", "/v1/events", "application/x-ndjson", body.as_bytes());
    for _ in 0..300 {
        connection.send(&request)?;
        connection.answer().context("publishing before the kill")?;
    }
    connection.send(&request)
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

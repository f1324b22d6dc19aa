//! How long does a page of channels take where there are many, and what does it cost the server?

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::runtime;

use crate::{
    Settings,
    filled::fill,
    http::{Connection, get},
    report::{Report, Table},
    samples::Samples,
    server::Server,
    workload::Workload,
};

const SOURCES: u64 = 100_000;
const EVENTS: u64 = 1_000_000;
const EVENT_BYTES: usize = 300;
const BATCH: usize = 100;
const ROUNDS: usize = 100;
/// What a question is, and how it is asked.
const QUESTIONS: [(&str, &str); 5] = [
    ("the first 100", "limit=100"),
    ("the first 1,000", "limit=1000"),
    ("100 in the middle", "limit=100&after=events:repo:source/49999"),
    ("what a person typed, 40 of them", "limit=40&prefix=events:user:source/7"),
    ("nothing begins so", "limit=100&prefix=events:none"),
];

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = settings.dir.join("channels");
    let data = dir.join("data");
    std::fs::create_dir_all(&dir)?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    fill(&data, &runtime, &mut Workload::new(SOURCES, EVENT_BYTES), EVENTS, BATCH)?;
    let server = Server::start(&settings.server, &data)?;
    let mut connection = Connection::open(server.address)?;
    let mut rows = Vec::new();
    for (name, query) in QUESTIONS {
        rows.push(ask(&server, &mut connection, name, &get(&format!("/v1/channels?{query}")))?);
    }
    rows.push(all(&server, &mut connection)?);
    server.stop()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(Report(vec![Table {
        title: format!(
            "Pages of GET /v1/channels over {SOURCES} channels in a log of {EVENTS} x {EVENT_BYTES} B, right after the start"
        ),
        header: vec!["asked for", "bytes", "first ms", "median ms", "p99 ms", "server CPU ms"],
        rows,
    }]))
}

fn ask(server: &Server, connection: &mut Connection, name: &str, request: &[u8]) -> Result<Vec<String>> {
    let (mut first, mut bytes, mut samples) = (Duration::ZERO, 0, Samples::default());
    let before = server.cpu_time()?;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        connection.send(request)?;
        bytes = connection.answer()?.len();
        match round {
            0 => first = begun.elapsed(),
            _ => samples.push(begun.elapsed()),
        }
    }
    let cpu = (server.cpu_time()? - before) / ROUNDS as u32;
    Ok(vec![
        name.to_owned(),
        bytes.to_string(),
        ms(first),
        format!("{:.1}", samples.median_us() / 1e3),
        format!("{:.1}", samples.p99_us() / 1e3),
        ms(cpu),
    ])
}

/// Every channel, page after page.
fn all(server: &Server, connection: &mut Connection) -> Result<Vec<String>> {
    let (begun, before) = (Instant::now(), server.cpu_time()?);
    let (mut after, mut bytes, mut count, mut pages) = (String::new(), 0, 0, 0);
    loop {
        connection.send(&get(&format!("/v1/channels?limit=1000{after}")))?;
        let page = std::str::from_utf8(connection.answer()?)?;
        (bytes, count, pages) = (bytes + page.len(), count + page.matches("\"channel\":").count(), pages + 1);
        let next = page.rsplit_once("\"next\":\"").and_then(|(_, next)| next.strip_suffix("\"}"));
        let Some(next) = next else { break };
        after = format!("&after={next}");
    }
    ensure!(count as u64 > SOURCES * 9 / 10, "{count} channels");
    let (name, empty) = (format!("all {count} in {pages} pages"), "");
    let (time, cpu) = (ms(begun.elapsed()), ms(server.cpu_time()? - before));
    Ok(vec![name, bytes.to_string(), time, empty.to_owned(), empty.to_owned(), cpu])
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

//! How many published events does a second of the server's processor time take, over HTTP?
//!
//! Every event is synced before its answer. The clients are in this process and lean; beside the server stands the least
//! any server could do: read a request, write an answer of the same size, and nothing else.

use std::{
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    Settings,
    cpu_time::{cpu_time, thread_cpu_time},
    http::{Connection, request},
    report::{Report, Table},
    server::Server,
    warm::warm_memory,
};

const SOURCES: usize = 5_000;
const EVENT_BYTES: usize = 256;
/// Requests made beforehand, per client: then they are sent again, with other ids.
const REQUESTS: usize = 512;
const BLOCK: Duration = Duration::from_millis(1_500);

/// A way to publish.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// Threads, and connections of each.
    threads: usize,
    connections: usize,
    /// Events in a request; 1 is a JSON object, more are NDJSON.
    events: usize,
    /// Whether events carry ids of their own, which are looked for in the log.
    ids: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "NDJSON of 100", threads: 1, connections: 4, events: 100, ids: false },
    Way { name: "NDJSON of 100, own ids", threads: 1, connections: 4, events: 100, ids: true },
    Way { name: "NDJSON of 1,000", threads: 1, connections: 4, events: 1_000, ids: false },
    Way { name: "single events", threads: 1, connections: 256, events: 1, ids: false },
    Way { name: "single events, own ids", threads: 1, connections: 256, events: 1, ids: true },
];

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let server = Server::start(&settings.server, &dir.path().join("data"))?;
    let mut measured = Vec::new();
    for way in WAYS {
        measured.push(measure(&server, way, settings.time_per_table)?);
    }
    server.stop()?;
    Ok(Report(vec![Table {
        title: format!(
            "Events of {EVENT_BYTES} B as JSON published over HTTP to `{}`, synced; floor: a loop that only reads the requests and writes the answers",
            name(&settings.server)
        ),
        header: vec![
            "requests",
            "connections",
            "events/s",
            "events/CPU second",
            "µs CPU/event",
            "floor µs CPU/event",
            "median µs",
            "p99 µs",
            "client µs CPU/event",
        ],
        rows: measured,
    }]))
}

fn name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn measure(server: &Server, way: Way, time: Duration) -> Result<Vec<String>> {
    let mut load = Load::new(way);
    let mut total = Block::default();
    let mut floor = Block::default();
    load.run(server.address, Duration::from_millis(500))?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let before = server.cpu_time()?;
        let block = load.run(server.address, BLOCK)?;
        total.add(block, server.cpu_time()? - before);
        let answer = load.answer.clone();
        let bare = Floor::start(answer, load.requests[0].0.len())?;
        let block = load.run(bare.address, BLOCK / 3)?;
        floor.add(block, bare.stop()?);
    }
    let events = total.events as f64;
    Ok(vec![
        way.name.into(),
        (way.threads * way.connections).to_string(),
        format!("{:.0}", events / total.elapsed.as_secs_f64()),
        format!("{:.0}", events / total.server_cpu.as_secs_f64()),
        format!("{:.2}", total.server_cpu.as_secs_f64() * 1e6 / events),
        format!("{:.2}", floor.server_cpu.as_secs_f64() * 1e6 / floor.events as f64),
        format!("{:.0}", total.latency.median_us()),
        format!("{:.0}", total.latency.p99_us()),
        format!("{:.2}", total.client_cpu.as_secs_f64() * 1e6 / events),
    ])
}

#[derive(Default)]
struct Block {
    events: u64,
    elapsed: Duration,
    server_cpu: Duration,
    client_cpu: Duration,
    latency: crate::samples::Samples,
}

impl Block {
    fn add(&mut self, block: Block, server_cpu: Duration) {
        self.events += block.events;
        self.elapsed += block.elapsed;
        self.client_cpu += block.client_cpu;
        self.server_cpu += server_cpu;
        self.latency.extend(block.latency);
    }
}

/// Requests, and where their ids stand.
struct Load {
    way: Way,
    requests: Vec<(Vec<u8>, Vec<usize>)>,
    sent: u64,
    /// The last answer, whole: what the floor answers.
    answer: Vec<u8>,
}

const ID_DIGITS: usize = 12;

impl Load {
    fn new(way: Way) -> Self {
        let requests = (0..REQUESTS).map(|number| Load::request(way, number)).collect();
        Load { way, requests, sent: 0, answer: Vec::new() }
    }

    fn request(way: Way, number: usize) -> (Vec<u8>, Vec<usize>) {
        const MARK: &str = "000000000000";
        // Another one for each way, as they share a log.
        let prefix = format!("of-{}-", way.events);
        let mut body = String::new();
        for event in 0..way.events {
            // Steps of a large prime visit the sources evenly, neighbours far apart.
            let source = (number * way.events + event) * 7_919 % SOURCES;
            let id = if way.ids { format!("\"id\":\"{prefix}{MARK}\",") } else { String::new() };
            let kind = ["repo", "user"][source % 2];
            let start = body.len();
            body += &format!(
                "{{{id}\"type\":\"bench.happened\",\"source_type\":\"{kind}\",\"source_id\":\"source/{source:05}\",\"data\":{{\"n\":{event},\"p\":\""
            );
            let padding = EVENT_BYTES.saturating_sub(body.len() - start + 3);
            body += &format!("{:x<padding$}\"}}}}", "");
            if way.events > 1 {
                body.push('\n');
            }
        }
        let content_type = if way.events > 1 { "application/x-ndjson" } else { "application/json" };
        let bytes = request("POST", "/v1/events", content_type, body.as_bytes());
        let ids = memchr::memmem::find_iter(&bytes, format!("{prefix}{MARK}").as_bytes())
            .map(|at| at + prefix.len())
            .collect();
        (bytes, ids)
    }

    /// Keeps one request on its way on every connection until the time is over.
    fn run(&mut self, address: SocketAddr, time: Duration) -> Result<Block> {
        let mut connections: Vec<Connection> =
            (0..self.way.connections).map(|_| Connection::open(address)).collect::<Result<_>>()?;
        let mut sent_at = vec![Instant::now(); connections.len()];
        let mut block = Block::default();
        let (cpu, start) = (cpu_time(), Instant::now());
        for (connection, at) in connections.iter_mut().zip(&mut sent_at) {
            *at = Instant::now();
            connection.send(self.next())?;
        }
        let mut is_over = false;
        while !is_over {
            is_over = start.elapsed() > time;
            for (connection, at) in connections.iter_mut().zip(&mut sent_at) {
                let body = connection.answer()?;
                check(self.way, body)?;
                self.answer = connection.whole().to_vec();
                block.events += self.way.events as u64;
                let now = Instant::now();
                block.latency.push(now - *at);
                if !is_over {
                    *at = now;
                    connection.send(self.next())?;
                }
            }
        }
        block.elapsed = start.elapsed();
        block.client_cpu = cpu_time() - cpu;
        Ok(block)
    }

    fn next(&mut self) -> &[u8] {
        let number = self.sent as usize % self.requests.len();
        let (bytes, ids) = &mut self.requests[number];
        for (event, &at) in ids.iter().enumerate() {
            let mut id = self.sent * self.way.events as u64 + event as u64;
            for digit in bytes[at..at + ID_DIGITS].iter_mut().rev() {
                *digit = b'0' + (id % 10) as u8;
                id /= 10;
            }
        }
        self.sent += 1;
        &self.requests[number].0
    }
}

/// A summary of NDJSON must say that all were stored.
fn check(way: Way, body: &[u8]) -> Result<()> {
    if way.events == 1 {
        return Ok(());
    }
    let wanted = format!("{{\"stored\":{},", way.events);
    ensure!(body.starts_with(wanted.as_bytes()), "not all stored: {}", String::from_utf8_lossy(body));
    Ok(())
}

/// The least a server does.
struct Floor {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: thread::JoinHandle<Result<Duration>>,
}

impl Floor {
    fn start(answer: Vec<u8>, request_bytes: usize) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let answer = std::sync::Arc::new(answer);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, answer.clone(), request_bytes));
                    }
                });
                // The other end is dropped when the benchmark failed: then this ends as well.
                drop(stopped.await);
                Ok(thread_cpu_time())
            })
        });
        Ok(Floor { address, stop, thread })
    }

    fn stop(self) -> Result<Duration> {
        drop(self.stop);
        self.thread.join().ok().context("the floor panicked")?
    }
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    answer: std::sync::Arc<Vec<u8>>,
    request_bytes: usize,
) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 << 10];
    let mut open = 0;
    stream.set_nodelay(true)?;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        open += read;
        // All requests of a load have one size.
        if open >= request_bytes {
            open = 0;
            stream.write_all(&answer).await?;
        }
    }
}

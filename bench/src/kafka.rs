//! Servers over Kafka, from outside: how late are reliable deliveries and announcements, and how soon is one channel among
//! many found?

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dualstream_backends::kafka::{KafkaUpstream, Settings as KafkaSettings};
use dualstream_core::{mirror::Upstream, topic::TopicName};
use dualstream_services::{Kafka, Redis};
use tokio::{runtime, task::JoinSet};

use crate::{
    Settings, fan_out,
    http::{Connection, get},
    replay::files,
    report::{self, Report, Table},
    samples::Samples,
    server::Server,
    warm::warm_memory,
    workload::Workload,
};

const TOPIC: &str = "events";
const EVENT_BYTES: usize = 300;
const BATCH: usize = 1_000;
const IN_FLIGHT: usize = 8;
const CHANNELS: u64 = 100_000;
/// Channels that are asked for, apart from each other.
const ASKED: u64 = 200;
const LIMIT: usize = 50;
const LEVEL_MAX: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);
const FREE_BYTES_MIN: u64 = 20 << 30;

/// `delivery`: one broker, one server and its clients share the machine.
pub(crate) fn run_delivery(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let (_kafka, server) = start(settings, dir.path(), &[])?;
    // A broker that was just started compiles itself for some seconds; what waited then is late for long.
    let load = "fan-out --subscribers 2000 --channels 2000 --connections 64 --rate 5000 --warm-up 20s";
    let rows = fan_out::latencies(
        settings,
        &server,
        "2,000 channels, 1 subscriber each, 5,000 events/s",
        load,
        &[("p50", Duration::from_millis(5)), ("p99", Duration::from_millis(20))],
    )?;
    server.stop()?;
    let title = "Events of 256 B of data published over HTTP one by one, stored by a broker on the same machine, to reliable subscribers over WebSocket; latency from the intended send time";
    Ok(Report(vec![fan_out::table(title, rows)]))
}

/// `live`: two nodes over one broker and one Redis, and their clients, share the machine.
pub(crate) fn run_live(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let redis = Redis::start(&dir.path().join("redis"), false)?;
    let redis = format!("redis://{}", redis.endpoint());
    let (kafka, publish_at) = start(settings, dir.path(), &["--redis", &redis])?;
    let both = ["--kafka", &kafka.bootstrap(), "--redis", &redis];
    let listen_at = Server::start_with(&settings.server, &dir.path().join("other"), &both)?;
    let wanted = [("p50", Duration::from_millis(1)), ("p99", Duration::from_millis(5))];
    let rows = fan_out::live(settings, &publish_at, &listen_at, &wanted)?;
    publish_at.stop()?;
    listen_at.stop()?;
    let title = "Events of 256 B of data published over HTTP at one node, stored by a broker on the same machine, announced over Redis to a WebSocket of another node; latency from the intended send time";
    Ok(Report(vec![fan_out::table(title, rows)]))
}

/// `channel`: the events of one channel among those of all others.
pub(crate) fn run_channel(settings: &Settings) -> Result<Report> {
    let free = rustix::fs::statvfs(&settings.dir)?;
    ensure!(free.f_bavail * free.f_frsize >= FREE_BYTES_MIN, "less than 20 GiB are free for two logs");
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let backfill = format!("log.mirror_backfill={}", settings.needle_events);
    let more = ["--set", &backfill, "--set", "log.mirror_bytes_max=16GiB"];
    let (kafka, server) = start(settings, dir.path(), &more)?;
    // Whoever reads makes the server follow.
    ask(&mut Connection::open(server.address)?, 0, 0)?;
    let begun = Instant::now();
    let sent = fill(&kafka, settings.needle_events)?;
    report::print(&format!("sent in {:.0} s\n", begun.elapsed().as_secs_f64()))?;
    // The server ends a connection on which nothing is said for long.
    let mut connection = Connection::open(server.address)?;
    while copied(&mut connection)? < sent {
        ensure!(begun.elapsed() < LEVEL_MAX, "the mirror does not come to the end");
        ask(&mut connection, 0, 0)?;
        thread::sleep(POLL);
    }
    report::print(&format!("mirrored in {:.0} s\n", begun.elapsed().as_secs_f64()))?;
    let (mut times, mut found) = (Samples::default(), 0);
    for number in 0..ASKED {
        let begun = Instant::now();
        found += ask(&mut connection, number * (CHANNELS / ASKED), LIMIT)?;
        times.push(begun.elapsed());
    }
    let rss = server.memory()?.0 as f64 / f64::from(1 << 20);
    server.stop()?;
    let bytes = |extension: &str| -> Result<f64> {
        let files = files(&dir.path().join("data"), extension)?;
        let sizes: Vec<u64> = files.iter().map(|path| Ok(path.metadata()?.len())).collect::<Result<_>>()?;
        Ok(sizes.iter().sum::<u64>() as f64 / sent as f64)
    };
    Ok(Report(vec![Table {
        title: format!(
            "History of one channel of {CHANNELS}, {LIMIT} events a page, among {sent} x {EVENT_BYTES} B that were mirrored from Kafka; {ASKED} channels asked for once each"
        ),
        header: vec![
            "events found",
            "median ms",
            "p99 ms",
            "max ms",
            "wanted",
            "index bytes/record",
            "segment bytes/record",
            "RSS MiB",
        ],
        rows: vec![vec![
            found.to_string(),
            format!("{:.1}", times.median_us() / 1e3),
            format!("{:.1}", times.p99_us() / 1e3),
            format!("{:.1}", times.max_us() / 1e3),
            "< 100 ms".into(),
            format!("{:.1}", bytes("index")?),
            format!("{:.1}", bytes("segment")?),
            format!("{rss:.0}"),
        ]],
    }]))
}

/// A broker and a server over it.
fn start(settings: &Settings, dir: &Path, more: &[&str]) -> Result<(Kafka, Server)> {
    let kafka = Kafka::start(&dir.join("kafka"), 1, false)?;
    let bootstrap = kafka.bootstrap();
    let arguments: Vec<&str> = ["--kafka", &bootstrap].into_iter().chain(more.iter().copied()).collect();
    let server = Server::start_with(&settings.server, &dir.join("data"), &arguments)?;
    Ok((kafka, server))
}

/// Sends so many events to the topic; how many there are.
fn fill(kafka: &Kafka, events: u64) -> Result<u64> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let topic = [TopicName::new(TOPIC)?];
    let mut workload = Workload::new(CHANNELS, EVENT_BYTES);
    runtime.block_on(async {
        let client = KafkaSettings::new(&kafka.bootstrap(), Default::default())?;
        let upstream = std::sync::Arc::new(KafkaUpstream::new(client)?);
        let (mut sent, mut under_way) = (0, JoinSet::new());
        while sent < events {
            let parts = workload.commit(&topic, BATCH)?.parts;
            sent += BATCH as u64;
            let upstream = upstream.clone();
            under_way.spawn(async move { upstream.append(parts).await.map(drop) });
            if under_way.len() >= IN_FLIGHT
                && let Some(done) = under_way.join_next().await
            {
                done??;
            }
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(sent)
    })
}

/// Asks for the last events of a channel; how many came.
fn ask(connection: &mut Connection, number: u64, limit: usize) -> Result<usize> {
    let source_type = ["repo", "user"][(number % 2) as usize];
    let path = format!(
        "/v1/channels/events:{source_type}:source%2F{number:05}/events?since=latest&reverse=true&limit={}",
        limit.max(1)
    );
    connection.send(&get(&path))?;
    Ok(memchr::memmem::find_iter(connection.answer()?, b"\"source_type\":").count())
}

/// Records the server has copied.
fn copied(connection: &mut Connection) -> Result<u64> {
    const NAME: &str = "\ndualstream_mirror_records_total ";
    connection.send(&get("/metrics"))?;
    let page = std::str::from_utf8(connection.answer()?)?;
    let at = page.find(NAME).context("the server has no mirror")? + NAME.len();
    let text = page[at..].lines().next().unwrap_or_default();
    Ok(text.parse::<f64>()? as u64)
}

//! How well do many callers of one record each share a sync?

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::Result;
use dualstream_core::{log::Log, topic::TopicName};
use tokio::runtime::{self, Runtime};

use crate::{
    Settings,
    append::frame,
    cpu_time::cpu_time,
    embedded::Embedded,
    journal::recycled::{Layout, Recycled, Sync},
    report::{Report, Table},
    samples::Samples,
    warm::warm_memory,
    workload::Workload,
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 256;
const CALLERS: [usize; 3] = [1, 32, 256];
const ROUND: Duration = Duration::from_millis(500);
const LIMIT_ROUNDS: usize = 50;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let embedded = Embedded::open(&dir.path().join("log"), dualstream_log::Settings::default())?;
    let topic = embedded.create_topics(&runtime, 1)?.remove(0);
    Recycled::create(&dir.path().join("ring"), 1)?;
    let mut bare = Recycled::open(&dir.path().join("ring"), 1, Sync::Data, Layout::Packed)?;
    let mut measured: Vec<Callers> = CALLERS.map(Callers::new).into();
    let begun = Instant::now();
    for cycle in 0.. {
        for callers in &mut measured {
            callers.round(&runtime, &embedded, &topic, &mut bare, cycle > 0)?;
        }
        if cycle > 0 && begun.elapsed() > settings.time_per_table {
            break;
        }
    }
    Ok(Report(vec![Table {
        title: format!(
            "Concurrent callers of one record of {EVENT_BYTES} B, synced; limit: as many records in one write and sync of a recycled file"
        ),
        header: vec![
            "callers",
            "records/sync",
            "of callers",
            "records/s",
            "of limit",
            "median µs",
            "p99 µs",
            "CPU µs/record",
        ],
        rows: measured.iter().map(Callers::row).collect(),
    }]))
}

struct Callers {
    count: usize,
    records: u64,
    syncs: u64,
    elapsed: Duration,
    cpu: Duration,
    latency: Samples,
    /// A write and sync of as many records as there are callers.
    limit: Samples,
}

impl Callers {
    fn new(count: usize) -> Self {
        Callers {
            count,
            records: 0,
            syncs: 0,
            elapsed: Duration::ZERO,
            cpu: Duration::ZERO,
            latency: Samples::default(),
            limit: Samples::default(),
        }
    }

    fn round(
        &mut self,
        runtime: &Runtime,
        embedded: &Embedded,
        topic: &TopicName,
        bare: &mut Recycled,
        counts: bool,
    ) -> Result<()> {
        let counters = embedded.log.counters();
        let load = || (counters.records.load(Ordering::Relaxed), counters.fsyncs.load(Ordering::Relaxed));
        let (before, cpu, start) = (load(), cpu_time(), Instant::now());
        let tasks: Vec<_> = (0..self.count)
            .map(|_| runtime.spawn(call(embedded.log.clone(), topic.clone(), start + ROUND)))
            .collect();
        let latencies = tasks.into_iter().map(|task| runtime.block_on(task)?).collect::<Result<Vec<_>>>()?;
        if counts {
            let after = load();
            self.records += after.0 - before.0;
            self.syncs += after.1 - before.1;
            self.elapsed += start.elapsed();
            self.cpu += cpu_time() - cpu;
            latencies.into_iter().flatten().for_each(|latency| self.latency.push(latency));
            let frame = frame(self.count)?;
            for _ in 0..LIMIT_ROUNDS {
                let start = Instant::now();
                bare.append(&frame)?;
                self.limit.push(start.elapsed());
            }
        }
        Ok(())
    }

    fn row(&self) -> Vec<String> {
        let per_sync = self.records as f64 / self.syncs as f64;
        let per_second = self.records as f64 / self.elapsed.as_secs_f64();
        let limit = self.count as f64 * 1e6 / self.limit.median_us();
        vec![
            self.count.to_string(),
            format!("{per_sync:.1}"),
            format!("{:.2}", per_sync / self.count as f64),
            format!("{per_second:.0}"),
            format!("{:.2}", per_second / limit),
            format!("{:.0}", self.latency.median_us()),
            format!("{:.0}", self.latency.p99_us()),
            format!("{:.2}", self.cpu.as_secs_f64() * 1e6 / self.records as f64),
        ]
    }
}

/// One caller: its next commit begins when the one before is answered. Commits are made here, as a publisher would.
async fn call(log: dualstream_log::EmbeddedLog, topic: TopicName, until: Instant) -> Result<Vec<Duration>> {
    let mut workload = Workload::new(SOURCES, EVENT_BYTES);
    let topics = [topic];
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let commit = workload.commit(&topics, 1)?;
        let start = Instant::now();
        log.commit(commit).await?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

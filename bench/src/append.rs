//! What does one caller wait for a commit, against a bare file that is written and synced? And what does it cost to
//! spread a commit over topics?

use std::{
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, Result};
use dualstream_core::{
    log::{Commit, Log},
    topic::TopicName,
};
use tokio::runtime::{self, Runtime};

use crate::{
    Settings,
    embedded::Embedded,
    journal::{
        frame::Frame,
        fresh::{Fresh, Made},
        recycled::{Layout, Recycled, Sync},
    },
    report::{Report, Table},
    rounds::{Measured, Variant, interleave, table},
    warm::warm_memory,
    workload::{Workload, payload_bytes},
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 256;
const EVENTS: usize = 100;
const TOPICS: usize = 5;
const BLOCK_ROUNDS: usize = 200;

type Variants = Vec<(String, Box<dyn Variant>)>;

/// `append`: one topic, one caller.
pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let dir = dir.path();
    warm_memory(dir)?;
    let mut variants = bare(dir)?;
    let runtime = Rc::new(caller()?);
    let embedded = Rc::new(Embedded::open(&dir.join("log"), dualstream_log::Settings::default())?);
    let topics = embedded.create_topics(&runtime, 1)?;
    variants
        .push(("embedded log".into(), Box::new(Appending::new(&embedded, &runtime, topics, Spread::Dealt))));
    let measured = interleave(variants, &frame(EVENTS)?, BLOCK_ROUNDS, settings.time_per_table)?;
    let title = format!(
        "Commits of {EVENTS} x {EVENT_BYTES} B over 12 partitions, one caller, synced; ratio to the fresh file"
    );
    Ok(Report(vec![with_records(table(title, &measured), &measured), sizes(&embedded)]))
}

/// `topics`: the same commit over several topics.
pub(crate) fn run_topics(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    warm_memory(dir.path())?;
    let runtime = Rc::new(caller()?);
    let embedded = Rc::new(Embedded::open(&dir.path().join("log"), dualstream_log::Settings::default())?);
    let topics = embedded.create_topics(&runtime, TOPICS + 1)?;
    let (one, many) = topics.split_at(1);
    let appending = |topics: &[TopicName], spread| -> Box<dyn Variant> {
        Box::new(Appending::new(&embedded, &runtime, topics.to_vec(), spread))
    };
    let variants: Variants = vec![
        ("1 topic, 12 batches".into(), appending(one, Spread::Dealt)),
        (format!("{TOPICS} topics, 12 batches"), appending(many, Spread::Apart)),
        (format!("{TOPICS} topics, up to {} batches", 12 * TOPICS), appending(many, Spread::Dealt)),
    ];
    let measured = interleave(variants, &frame(EVENTS)?, BLOCK_ROUNDS, settings.time_per_table)?;
    let title = format!("Commits of {EVENTS} x {EVENT_BYTES} B, one caller, synced; ratio to one topic");
    Ok(Report(vec![with_records(table(title, &measured), &measured)]))
}

/// The limits: what the disk does with as many bytes.
pub(crate) fn bare(dir: &Path) -> Result<Variants> {
    Recycled::create(&dir.join("ring"), 1)?;
    let recycled = Recycled::open(&dir.join("ring"), 1, Sync::Data, Layout::Packed)?;
    Ok(vec![
        (
            "bare file, fresh, preallocated".into(),
            Box::new(Fresh::create(dir.join("fresh"), Made::Allocated)?),
        ),
        ("bare file, recycled".into(), Box::new(recycled)),
    ])
}

/// As many bytes as the keys and values of a commit.
pub(crate) fn frame(events: usize) -> Result<Arc<Frame>> {
    let topic = TopicName::new("bench")?;
    let commit = Workload::new(SOURCES, EVENT_BYTES).commit(&[topic], events)?;
    Ok(Arc::new(Frame::with_payload(payload_bytes(&commit))))
}

fn caller() -> Result<Runtime> {
    Ok(runtime::Builder::new_current_thread().enable_time().build()?)
}

fn with_records(mut table: Table, measured: &[Measured]) -> Table {
    table.header.push("CPU µs/record");
    for (row, one) in table.rows.iter_mut().zip(measured) {
        row.push(format!("{:.3}", one.cpu_us_per_round() / EVENTS as f64));
    }
    table
}

fn sizes(embedded: &Embedded) -> Table {
    let counters = embedded.log.counters();
    let rounds = counters.rounds.load(Ordering::Relaxed).max(1);
    let frame = counters.journal_bytes.load(Ordering::Relaxed) / rounds;
    let per_sync = counters.records.load(Ordering::Relaxed) as f64
        / counters.fsyncs.load(Ordering::Relaxed).max(1) as f64;
    Table {
        title: "What the embedded log wrote".into(),
        header: vec!["rounds", "frame bytes, mean", "records/sync", "checkpoints"],
        rows: vec![vec![
            rounds.to_string(),
            frame.to_string(),
            format!("{per_sync:.1}"),
            counters.checkpoints.load(Ordering::Relaxed).to_string(),
        ]],
    }
}

/// How a commit is spread over topics.
#[derive(Clone, Copy)]
enum Spread {
    Dealt,
    Apart,
}

/// Commits made beforehand: making them is the publisher's work.
struct Appending {
    embedded: Rc<Embedded>,
    runtime: Rc<Runtime>,
    workload: Workload,
    topics: Vec<TopicName>,
    spread: Spread,
    ready: Vec<Commit>,
}

impl Appending {
    fn new(embedded: &Rc<Embedded>, runtime: &Rc<Runtime>, topics: Vec<TopicName>, spread: Spread) -> Self {
        Appending {
            embedded: Rc::clone(embedded),
            runtime: Rc::clone(runtime),
            workload: Workload::new(SOURCES, EVENT_BYTES),
            topics,
            spread,
            ready: Vec::new(),
        }
    }
}

impl Variant for Appending {
    fn prepare(&mut self, rounds: usize, _bytes: u64) -> Result<()> {
        while self.ready.len() < rounds {
            self.ready.push(match self.spread {
                Spread::Dealt => self.workload.commit(&self.topics, EVENTS)?,
                Spread::Apart => self.workload.commit_apart(&self.topics, EVENTS)?,
            });
        }
        Ok(())
    }

    fn round(&mut self, _frame: &Arc<Frame>) -> Result<()> {
        let commit = self.ready.pop().context("a block has as many rounds as it was prepared for")?;
        self.runtime.block_on(self.embedded.log.commit(commit))?;
        Ok(())
    }
}

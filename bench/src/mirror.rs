//! How fast can a follower fill a mirror, against commits of the same records to a log of one's own?

use std::{path::Path, rc::Rc, sync::Arc, thread, thread::JoinHandle, time::Duration};

use anyhow::{Context, Result, anyhow};
use dualstream_core::{
    event::Event,
    hidden::with_seen,
    log::{Commit, Log, Part},
    mirror::{MirrorStore, Run},
    record::{NewRecord, Record},
    topic::{Epoch, TopicName, TopicSpec},
};
use dualstream_log::{FileStorage, Fsync, Mirror, open_mirror};
use tokio::runtime::{self, Runtime};

use crate::{
    Settings,
    append::frame,
    embedded::{Embedded, PARTITIONS, SplitMix, SystemClock},
    journal::frame::Frame,
    report::Report,
    rounds::{Measured, Variant, interleave, table},
    warm::warm_memory,
    workload::Workload,
};

const SOURCES: u64 = 5_000;
const EVENT_BYTES: usize = 300;
const RECORDS: usize = 1_000;
const BLOCK_ROUNDS: usize = 30;
/// More is not left on the disk.
const KEPT_BYTES: u64 = 1 << 30;

/// `mirror`: runs of one partition each, as a consumer of Kafka hands them over.
pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let dir = dir.path();
    warm_memory(dir)?;
    let runtime = Rc::new(runtime::Builder::new_current_thread().enable_time().build()?);
    let mut variants: Vec<(String, Box<dyn Variant>)> = Vec::new();
    let fsyncs = [("log, synced", Fsync::Always), ("log, fsync=1s", Fsync::Every(Duration::from_secs(1)))];
    for (name, fsync) in fsyncs {
        let settings = dualstream_log::Settings { fsync, ..dualstream_log::Settings::default() };
        let log = Embedded::open(&dir.join(name), settings)?;
        let topic = log.create_topics(&runtime, 1)?.remove(0);
        variants.push((name.into(), Box::new(Committing::new(log, Rc::clone(&runtime), topic))));
    }
    let shapes = [
        ("mirror", Shape::Plain),
        ("mirror, ids of callers", Shape::Seen),
        ("mirror, a time for each record", Shape::Times),
    ];
    for (name, shape) in shapes {
        let following = Following::open(&dir.join(name), Rc::clone(&runtime), shape)?;
        variants.push((name.into(), Box::new(following)));
    }
    let measured = interleave(variants, &frame(1)?, BLOCK_ROUNDS, settings.time_per_table)?;
    let title =
        format!("{RECORDS} x {EVENT_BYTES} B to one partition of 12 at a time, one caller; ratio to the log");
    let mut table = table(title, &measured);
    table.header.extend(["CPU µs/record", "records/s"]);
    for (row, one) in table.rows.iter_mut().zip(&measured) {
        row.extend(per_record(one));
    }
    Ok(Report(vec![table]))
}

fn per_record(one: &Measured) -> [String; 2] {
    let cpu = one.cpu_us_per_round() / RECORDS as f64;
    [format!("{cpu:.3}"), format!("{:.0}", RECORDS as f64 * 1e6 / one.mean_us())]
}

fn records(workload: &mut Workload, topic: &TopicName) -> Result<Vec<NewRecord>> {
    let commit = workload.commit(std::slice::from_ref(topic), RECORDS)?;
    Ok(commit.parts.into_iter().flat_map(|part| part.records).collect())
}

/// Commits made beforehand.
struct Committing {
    log: Embedded,
    runtime: Rc<Runtime>,
    topic: TopicName,
    workload: Workload,
    made: u32,
    ready: Vec<Commit>,
}

impl Committing {
    fn new(log: Embedded, runtime: Rc<Runtime>, topic: TopicName) -> Self {
        let workload = Workload::new(SOURCES, EVENT_BYTES);
        Committing { log, runtime, topic, workload, made: 0, ready: Vec::new() }
    }
}

impl Variant for Committing {
    fn prepare(&mut self, rounds: usize, _bytes: u64) -> Result<()> {
        while self.ready.len() < rounds {
            let records = records(&mut self.workload, &self.topic)?;
            let partition = self.made % PARTITIONS;
            let part = Part { topic: self.topic.clone(), partition, records };
            self.ready.push(Commit { parts: vec![part], guard: None });
            self.made += 1;
        }
        Ok(())
    }

    fn round(&mut self, _frame: &Arc<Frame>) -> Result<()> {
        let commit = self.ready.pop().context("a block has as many rounds as it was prepared for")?;
        self.runtime.block_on(self.log.log.commit(commit))?;
        Ok(())
    }
}

/// What the records of a mirror are like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Appended in batches, with ids that their writer made.
    Plain,
    /// With ids of callers: each says how far its writer had looked.
    Seen,
    /// Appended one by one.
    Times,
}

/// A mirror, the thread of its writer, and runs made beforehand.
struct Following {
    mirror: Mirror,
    writer: Option<JoinHandle<dualstream_core::Result<()>>>,
    runtime: Rc<Runtime>,
    topic: TopicName,
    shape: Shape,
    workload: Workload,
    ends: [u64; PARTITIONS as usize],
    made: u32,
    ready: Vec<Run>,
}

impl Following {
    fn open(dir: &Path, runtime: Rc<Runtime>, shape: Shape) -> Result<Self> {
        let storage = Arc::new(FileStorage::open(dir)?);
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SplitMix::default()));
        let (mirror, writer) = open_mirror(dualstream_log::Settings::default(), storage, clock, entropy)?;
        let writer = thread::Builder::new().name("mirror-writer".into()).spawn(move || writer.run())?;
        let topic = TopicName::new("events")?;
        let kept = TopicSpec { retention_bytes: Some(KEPT_BYTES), ..TopicSpec::events(topic.clone()) };
        runtime.block_on(mirror.begin(kept, Epoch(1), vec![0; PARTITIONS as usize]))?;
        let (writer, workload) = (Some(writer), Workload::new(SOURCES, EVENT_BYTES));
        let (ends, made, ready) = ([0; PARTITIONS as usize], 0, Vec::new());
        Ok(Following { mirror, writer, runtime, topic, shape, workload, ends, made, ready })
    }

    /// The next run, its headers in memory of their own as a consumer has them.
    fn run(&mut self) -> Result<Run> {
        let partition = self.made % PARTITIONS;
        let end = &mut self.ends[partition as usize];
        let now_ms = 1_790_000_000_000 + i64::from(self.made);
        let shape = self.shape;
        let record = |(offset, new): (u64, NewRecord)| {
            let own = |value: &bytes::Bytes| Event::headers(&String::from_utf8_lossy(value));
            let headers = new.headers.get("source_type").map(own).unwrap_or_default();
            let time_ms = if shape == Shape::Times { now_ms + offset as i64 } else { now_ms };
            let seen = (shape == Shape::Seen).then(|| with_seen(&headers, offset.saturating_sub(40)));
            Record {
                partition,
                offset,
                append_time_ms: time_ms,
                timestamp_ms: time_ms,
                key: new.key,
                value: new.value,
                headers: seen.unwrap_or(headers),
            }
        };
        let records = records(&mut self.workload, &self.topic)?;
        let records: Vec<Record> = (*end..).zip(records).map(record).collect();
        *end += records.len() as u64;
        self.made += 1;
        Ok(Run { topic: self.topic.clone(), id: 0, partition, next: *end, records })
    }
}

impl Variant for Following {
    fn prepare(&mut self, rounds: usize, _bytes: u64) -> Result<()> {
        self.ready = (0..rounds).map(|_| self.run()).collect::<Result<_>>()?;
        self.ready.reverse();
        Ok(())
    }

    fn round(&mut self, _frame: &Arc<Frame>) -> Result<()> {
        let run = self.ready.pop().context("a block has as many rounds as it was prepared for")?;
        self.runtime.block_on(self.mirror.append(&self.topic, vec![run], vec![0; PARTITIONS as usize]))?;
        Ok(())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.mirror.close();
        if let Some(writer) = self.writer.take() {
            // It failed in a round, if it did.
            drop(writer.join().map_err(|_| anyhow!("the writer panicked")));
        }
    }
}

//! A process of its own that publishes until it is killed: this test program, started again with an environment
//! variable. It prints a line for every acknowledged commit, after the acknowledgement.

use crate::rig::{PARTITIONS, Seeded, event, id_of, topic};
use bytes::Bytes;
use dualstream_core::clock::Clock;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Appended, Commit, Log, Part, Read, Span};
use dualstream_core::partitioner::partition_of;
use dualstream_core::record::NewRecord;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_log::{EmbeddedLog, FileStorage, Settings, open};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const DIR_VARIABLE: &str = "DUALSTREAM_TEST_PUBLISH_INTO";
const ROUND_VARIABLE: &str = "DUALSTREAM_TEST_ROUND";
const JOURNAL_VARIABLE: &str = "DUALSTREAM_TEST_JOURNAL_BYTES";
/// They keep everything.
pub const TOPICS: [&str; 2] = ["events", "chat"];
/// It gives up its oldest records all the time.
pub const RECENT: &str = "recent";
/// It is compacted all the time: the number of the last commit by caller and slot.
pub const TABLE: &str = "table";
/// Keys of each caller in the table.
pub const SLOTS: u32 = 20;

/// The clock of the machine.
#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "a real process has a real clock")]
    fn now_ms(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_millis() as i64
    }
}

pub fn settings() -> Settings {
    Settings {
        segment_bytes: 256 << 10,
        journal_file_bytes: 256 << 10,
        checkpoint_bytes: 300 << 10,
        checkpoint_interval: Duration::from_millis(200),
        free_bytes_min: 0,
        ..Settings::default()
    }
}

/// Opens a directory, its writer on a thread of its own.
pub fn open_dir(
    dir: &Path,
    settings: Settings,
) -> dualstream_core::Result<(EmbeddedLog, JoinHandle<dualstream_core::Result<()>>)> {
    let storage = FileStorage::open(dir)?;
    let seed = Seeded::new(u64::from(std::process::id()) << 20 | SystemClock.now_ms() as u64);
    let (log, writer) = open(settings, Arc::new(storage), Arc::new(SystemClock), seed)?;
    let thread = std::thread::spawn(move || writer.run());
    Ok((log, thread))
}

/// Topic, partition, offset of each acknowledged event by its id.
pub type Acked = BTreeMap<String, (String, u32, u64)>;

/// The process.
pub struct Publisher {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Publisher {
    pub fn start(dir: &Path, round: u32) -> Publisher {
        Publisher::start_with(dir, round, settings().journal_file_bytes)
    }

    pub fn start_with(dir: &Path, round: u32, journal_file_bytes: u64) -> Publisher {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["publisher::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR_VARIABLE, dir)
            .env(ROUND_VARIABLE, round.to_string())
            .env(JOURNAL_VARIABLE, journal_file_bytes.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Publisher { child, lines }
    }

    /// Notes acknowledgements until there are `count` more, or the process has ended.
    pub fn note(&mut self, acked: &mut Acked, count: usize) -> usize {
        let mut noted = 0;
        while noted < count {
            let Some(Ok(line)) = self.lines.next() else { break };
            let Some(ack) = line.strip_prefix("ack ") else { continue };
            let words: Vec<&str> = ack.split(' ').collect();
            let place = (words[1].to_string(), words[2].parse().unwrap(), words[3].parse().unwrap());
            assert_eq!(acked.insert(words[0].to_string(), place), None, "{line} again");
            noted += 1;
        }
        noted
    }

    /// SIGKILL; what it had printed is noted.
    pub fn kill(mut self, acked: &mut Acked) {
        self.child.kill().unwrap();
        self.note(acked, usize::MAX);
        self.child.wait().unwrap();
    }

    /// Waits for it to end by itself; what it had printed is noted.
    pub fn wait(mut self, acked: &mut Acked) {
        self.note(acked, usize::MAX);
        self.child.wait().unwrap();
    }
}

impl Drop for Publisher {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the process that publishes.
#[test]
#[ignore = "started by other tests as a process of its own"]
fn child() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else { return };
    let round = std::env::var(ROUND_VARIABLE).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(publish(Path::new(&dir), &round));
}

/// Publishes until something fails: commits of a few events over two topics, several at once.
async fn publish(dir: &Path, round: &str) {
    let journal_file_bytes = std::env::var(JOURNAL_VARIABLE).unwrap().parse().unwrap();
    let (log, _writer) = open_dir(dir, Settings { journal_file_bytes, ..settings() }).unwrap();
    let kept = TOPICS.map(|name| TopicSpec::events(topic(name)));
    let recent = TopicSpec { retention_bytes: Some(300 << 10), ..TopicSpec::events(topic(RECENT)) };
    for spec in kept.into_iter().chain([recent, TopicSpec::table(topic(TABLE), PARTITIONS)]) {
        // It may be there from an earlier round.
        let _ = log.create(spec).await;
    }
    let callers = (0..4_u32).map(|caller| {
        let (log, round) = (log.clone(), round.to_string());
        async move {
            for number in 0.. {
                if !commit(&log, &round, caller, number).await {
                    return;
                }
            }
        }
    });
    futures::future::join_all(callers).await;
}

async fn commit(log: &EmbeddedLog, round: &str, caller: u32, number: u32) -> bool {
    let mut ids = Vec::new();
    let mut parts = Vec::new();
    for i in 0..3 {
        let id = format!("{round}-{caller}-{number}-{i}");
        let record = event((number * 31 + caller * 7 + i) % 1_000, &id, &"x".repeat(number as usize % 300));
        let partition = partition_of(record.key.as_ref().unwrap(), PARTITIONS);
        let name = TOPICS[i as usize % 2];
        parts.push(Part { topic: topic(name), partition, records: vec![record] });
        ids.push((id, name, partition));
    }
    let recent = event(number % 1_000, &format!("{round}-{caller}-{number}"), &"y".repeat(200));
    let partition = partition_of(recent.key.as_ref().unwrap(), PARTITIONS);
    parts.push(Part { topic: topic(RECENT), partition, records: vec![recent] });
    parts.push(change(caller, number));
    let Ok(committed) = log.commit(Commit { parts, guard: None }).await else { return false };
    let mut out = std::io::stdout().lock();
    for ((id, name, partition), part) in ids.iter().zip(&committed.parts) {
        let Appended::Stored(offset) = part.records[0] else { panic!("{id} is new") };
        writeln!(out, "ack {id} {name} {partition} {offset}").unwrap();
    }
    out.flush().unwrap();
    true
}

fn change(caller: u32, number: u32) -> Part {
    let key = format!("{caller}-{}", number % SLOTS);
    let partition = partition_of(key.as_bytes(), PARTITIONS);
    let record = NewRecord {
        key: Some(Bytes::from(key)),
        value: Some(Bytes::from(format!("{number:0300}"))),
        ..NewRecord::default()
    };
    Part { topic: topic(TABLE), partition, records: vec![record] }
}

/// Opens the directory, and checks that everything acknowledged is there once, at its offset, and that offsets keep
/// their events from one start to the next. Returns how many events there are.
pub fn check(dir: &Path, acked: &Acked, seen: &mut BTreeMap<(String, u32, u64), String>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (log, writer) = open_dir(dir, settings()).unwrap();
        assert_eq!(log.damage(), Vec::<String>::new());
        let mut found = Acked::new();
        for name in TOPICS {
            for record in read_all(&log, name).await {
                let place = (name.to_string(), record.partition, record.offset);
                let id = id_of(&record);
                assert_eq!(found.insert(id.clone(), place.clone()), None, "{id} is stored twice");
                let before = seen.insert(place.clone(), id.clone());
                assert!(before.is_none_or(|before| before == id), "{place:?} changed its record");
            }
        }
        for (id, place) in acked {
            assert_eq!(found.get(id), Some(place), "acknowledged {id} is lost or moved");
        }
        log.close();
        writer.join().unwrap().unwrap();
        found.len()
    })
}

pub async fn read_all(log: &EmbeddedLog, name: &str) -> Vec<dualstream_core::record::Record> {
    let Ok(bounds) = log.bounds(&topic(name)) else { return Vec::new() };
    let mut read = Read {
        topic: topic(name),
        epoch: bounds.epoch,
        spans: Span::all(&bounds.earliest, &bounds.latest),
        filter: Filter::All,
        records_max: 10_000,
        bytes_max: 8 << 20,
        reverse: false,
    };
    let mut records = Vec::new();
    while !read.is_over() {
        let page = log.read(read.clone()).await.unwrap();
        read.go_on(&page);
        records.extend(page.records);
    }
    records
}

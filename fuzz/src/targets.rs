//! What each fuzz target does with its bytes: a plain function that panics when something is wrong.

#[path = "targets/http_head.rs"]
mod http_head;
#[path = "targets/publish_body.rs"]
mod publish_body;
#[path = "targets/session.rs"]
mod session;

use bytes::Bytes;
use dualstream::settings::Settings as ServerSettings;
use dualstream_core::channel::{Channel, Pattern, Target};
use dualstream_core::event::codec;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Commit, Log, Part, Read, Span};
use dualstream_core::position::{Cursor, Position, Resume};
use dualstream_core::record::{Header, Headers, NewRecord, Record};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_log::storage::Mode;
use dualstream_log::{EmbeddedLog, MemoryStorage, Settings, Storage};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

pub use http_head::http_head;
pub use publish_body::publish_body;
pub use session::session_commands;

/// A target and its name.
pub type Entry = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Entry; 9] = [
    ("segment_recover", segment_recover),
    ("sidecar_load", sidecar_load),
    ("event_codec", event_codec),
    ("channel_and_pattern", channel_and_pattern),
    ("tokens", tokens),
    ("config", config),
    ("session_commands", session_commands),
    ("http_head", http_head),
    ("publish_body", publish_body),
];

/// Bytes of a change that a CRC-32C never misses.
const BURST_BYTES: usize = 3;

/// Any file of a data directory replaced by, or overwritten with, the bytes: it is refused or served, never a panic.
/// After a change so small that no checksum can miss it nothing is served that was not written.
pub fn segment_recover(data: &[u8]) {
    let original = original();
    let paths: Vec<&String> = original.files.keys().collect();
    let Some(change) = Change::parse(data, &paths) else { return };
    let disk = change.disk(original);
    let Some(records) = serve(disk) else { return };
    if change.is_noticed() {
        for (place, record) in records {
            assert_eq!(original.records.get(&place), Some(&record), "{place:?}");
        }
    }
}

/// A sidecar replaced by, or overwritten with, the bytes: never a panic, and after a change that no checksum can miss
/// every record is served.
pub fn sidecar_load(data: &[u8]) {
    let original = original();
    let paths: Vec<&String> = original.files.keys().filter(|path| path.ends_with(".index")).collect();
    let Some(change) = Change::parse(data, &paths) else { return };
    let disk = change.disk(original);
    let records = serve(disk);
    if change.is_noticed() {
        assert!(records.as_ref() == Some(&original.records), "a sidecar is only a cache");
    }
}

/// A stored value of any program: the id found without parsing is the one found by parsing.
pub fn event_codec(data: &[u8]) {
    let quick = codec::id_of(data);
    if let (Some(quick), Some(event)) = (&quick, codec::parse(data)) {
        assert_eq!(*quick, event.id);
    }
    let record = Record {
        partition: 0,
        offset: 0,
        append_time_ms: 0,
        timestamp_ms: 0,
        key: None,
        value: Some(Bytes::copy_from_slice(data)),
        headers: Headers::default(),
    };
    let position = Position { epoch: dualstream_core::topic::Epoch(1), partition: 0, offset: 0 };
    let wire = codec::wire(&record, &position);
    assert!(!wire.json.contains(&b'\n') && !wire.json.contains(&b'\r'), "one line");
    let json: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(&wire.json);
    assert!(json.is_ok(), "{json:?}");
}

/// Two names, a line each: what is taken as a channel or a pattern reads back as itself, and matching is what it says.
pub fn channel_and_pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let (channel, pattern) = (Channel::new(first), Pattern::new(second));
    if let Ok(channel) = &channel {
        assert_eq!(channel.as_str(), first);
        assert!(!first.contains(['*', '\n', ' ', '?', '[', ']', '\\']) && first.len() <= 255);
        assert!(matches!(Target::parse(first), Ok(Target::Channel(own)) if own == *channel));
    }
    if let Ok(pattern) = &pattern {
        assert_eq!(pattern.as_str(), second);
        assert!(matches!(Target::parse(second), Ok(Target::Pattern(own)) if own == *pattern));
        let prefix = second.strip_suffix('*').expect("a pattern ends with its star");
        let naive = first.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        assert_eq!(pattern.matches(first), naive);
        assert!(Channel::new(second).is_err(), "no name is both");
    }
}

/// A token from a client: one that is taken has exactly one text.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
        assert_eq!(text.parse::<Cursor>().ok(), Some(position.after()));
    } else if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
    if let Ok(resume) = text.parse::<Resume>() {
        let again = resume.to_string();
        assert_eq!(again.parse::<Resume>().ok(), Some(resume));
    }
}

/// A settings file: refused with reasons, or taken.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ServerSettings::parse("fuzz.toml", text) {
        Ok(settings) => drop(settings.namespaces()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

/// Topic, partition, offset.
type Place = (String, u32, u64);

/// A small log: its files, and what is in it.
struct Original {
    files: BTreeMap<String, Vec<u8>>,
    records: BTreeMap<Place, Record>,
}

/// A change to one file.
struct Change<'a> {
    path: &'a str,
    /// Where the bytes go; `None` replaces the file.
    at: Option<usize>,
    bytes: &'a [u8],
}

impl<'a> Change<'a> {
    /// One byte for the file, one for the mode, two for the place, then what is written.
    fn parse(data: &'a [u8], paths: &[&'a String]) -> Option<Change<'a>> {
        let (&[file, mode, low, high], bytes) = data.split_first_chunk::<4>()?;
        let path = paths[file as usize % paths.len()];
        let at = (mode % 4 != 0).then_some(usize::from(u16::from_le_bytes([low, high])));
        let bytes = if mode % 4 == 1 { &bytes[..bytes.len().min(BURST_BYTES)] } else { bytes };
        Some(Change { path, at, bytes })
    }

    fn is_noticed(&self) -> bool {
        self.at.is_some() && self.bytes.len() <= BURST_BYTES
    }

    fn disk(&self, original: &Original) -> MemoryStorage {
        let storage = MemoryStorage::new();
        for (path, bytes) in &original.files {
            if let Some((dir, _)) = path.rsplit_once('/') {
                storage.create_dir(dir).expect("a simulated disk without faults");
            }
            let file = storage.open(path, Mode::Write).expect("a simulated disk without faults");
            file.write_at(bytes, 0).expect("a simulated disk without faults");
        }
        let damage = |file: &mut Vec<u8>| match self.at {
            None => *file = self.bytes.to_vec(),
            Some(at) => {
                let at = at % file.len().max(1);
                let end = file.len().min(at + self.bytes.len());
                file[at..end].copy_from_slice(&self.bytes[..end - at]);
            }
        };
        storage.corrupt(self.path, damage).expect("the file is there");
        storage
    }
}

fn settings() -> Settings {
    Settings { segment_bytes: 2 << 10, journal_file_bytes: 16 << 10, ..Settings::default() }
}

fn topics() -> [TopicName; 2] {
    ["events", "chat"].map(|name| TopicName::new(name).expect("a legal name"))
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime of one thread")
}

/// Opens a disk and reads everything, with and without a filter; `None` when it is refused.
fn serve(disk: MemoryStorage) -> Option<BTreeMap<Place, Record>> {
    let clock = Arc::new(ManualClock::new(10_000));
    let opened = dualstream_log::open(settings(), Arc::new(disk), clock, Arc::new(SeededEntropy::new(7)));
    let (log, _writer) = opened.ok()?;
    runtime().block_on(async {
        let mut records = BTreeMap::new();
        for topic in topics().iter().filter(|topic| log.bounds(topic).is_ok()) {
            for filter in [Filter::source("user:3"), Filter::prefix("user:"), Filter::All] {
                for reverse in [true, false] {
                    records.extend(read_all(&log, topic, &filter, reverse).await);
                }
            }
            let _ = log.seek(topic, 1_500).await;
        }
        Some(records)
    })
}

async fn read_all(
    log: &EmbeddedLog,
    topic: &TopicName,
    filter: &Filter,
    reverse: bool,
) -> Vec<(Place, Record)> {
    let bounds = log.bounds(topic).expect("the topic is there");
    let mut read = Read {
        topic: topic.clone(),
        epoch: bounds.epoch,
        spans: Span::all(&bounds.earliest, &bounds.latest),
        filter: filter.clone(),
        records_max: 5,
        bytes_max: 1 << 20,
        reverse,
    };
    let mut records = Vec::new();
    while !read.is_over() {
        let Ok(page) = log.read(read.clone()).await else { break };
        let before = read.spans.clone();
        read.go_on(&page);
        let placed = page.records.into_iter().map(|r| ((topic.to_string(), r.partition, r.offset), r));
        records.extend(placed);
        assert_ne!(before, read.spans, "a page that does not move reads forever");
    }
    records
}

/// Written once: sealed segments with sidecars, a checkpoint, and commits that are in the journal only.
fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let disk = MemoryStorage::new();
        runtime().block_on(async {
            fill(&disk, 0..40, true).await;
            fill(&disk, 40..46, false).await;
        });
        disk.crash_lose_all();
        let mut files = BTreeMap::new();
        collect(&disk, "", &mut files);
        let unchanged = Change { path: "catalog", at: Some(0), bytes: &[] };
        let mut original = Original { files, records: BTreeMap::new() };
        original.records = serve(unchanged.disk(&original)).expect("an undamaged log opens");
        assert_eq!(original.records.len(), 46);
        assert!(original.files.keys().any(|path| path.ends_with(".index")));
        original
    })
}

async fn fill(disk: &MemoryStorage, numbers: std::ops::Range<u32>, close: bool) {
    let clock = Arc::new(ManualClock::new(1_000 + i64::from(numbers.start)));
    let entropy = Arc::new(SeededEntropy::new(1 + u64::from(numbers.start)));
    let (log, writer) = dualstream_log::open(settings(), Arc::new(disk.clone()), clock, entropy)
        .expect("an empty disk opens");
    let writer = async { writer.drive().await.expect("a simulated disk without faults") };
    let work = async {
        for topic in topics() {
            // It is there from the first time.
            let _ = log.create(TopicSpec::events(topic)).await;
        }
        for number in numbers {
            log.commit(commit(number)).await.expect("a commit to a log without faults");
        }
        if close {
            log.close();
        }
    };
    match close {
        true => drop(tokio::join!(writer, work)),
        false => tokio::select! { () = work => {}, () = writer => {} },
    }
}

fn commit(number: u32) -> Commit {
    let header = Header { name: "source_type".into(), value: Some("user".into()) };
    let record = NewRecord {
        key: Some((number % 5).to_string().into()),
        value: Some(format!("{{\"id\":\"{number}\",\"text\":\"{}\"}}", "x".repeat(200)).into()),
        headers: Headers::new(vec![header]),
        ..NewRecord::default()
    };
    let topic = topics()[number as usize % 2].clone();
    Commit { parts: vec![Part { topic, partition: number % 12, records: vec![record] }], guard: None }
}

fn collect(disk: &MemoryStorage, dir: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for name in disk.list(dir).expect("a simulated disk without faults") {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        match disk.open(&path, Mode::Read) {
            Ok(file) => {
                let mut bytes = vec![0; file.len().expect("a simulated disk without faults") as usize];
                file.read_at(&mut bytes, 0).expect("a simulated disk without faults");
                files.insert(path, bytes);
            }
            Err(_) => collect(disk, &path, files),
        }
    }
}

//! A backup while the log is written: between any two reads of it the writer goes on, rolls, takes checkpoints, recycles
//! its journal, gives up and compacts segments, and topics come and go. The copy is the log as it was at one moment.

use crate::rig::{PARTITIONS, Rig, Seeded, event, id_of, small, topic};
use bytes::Bytes;
use dualstream_core::log::{Appended, Log, Part};
use dualstream_core::partitioner::partition_of;
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::topic::{TopicAlteration, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_log::storage::{File, Mode};
use dualstream_log::{MemoryStorage, Settings, Storage, backup, verify};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;

const HOUR_MS: i64 = 3_600_000;

/// A log, and everything that was ever acknowledged in it.
struct World {
    runtime: Runtime,
    rig: Rig,
    entropy: Arc<Seeded>,
    /// Steps between two looks at the log: one in so many sixteenths of them.
    haste: u64,
    /// Place of the event of each step, in the topic that keeps everything.
    chat: Vec<(u32, u64)>,
    /// Step and id by place, in the topic that gives up its oldest.
    events: BTreeMap<(u32, u64), (usize, String)>,
    /// Change of each step: key and value.
    table: Vec<(String, Option<String>)>,
    /// Events of topics that come and go: topic, step.
    extra: BTreeSet<(String, usize)>,
    extras: usize,
    /// A backup has copied something.
    copied: Arc<AtomicBool>,
}

/// Ids are remembered for longer than the clock runs: only what was given up may come again.
fn settings() -> Settings {
    Settings { dedup_window_ms: 20 * 365 * 24 * HOUR_MS as u64, ..small() }
}

/// A journal that is not recycled so soon.
fn large_journal() -> Settings {
    Settings { journal_file_bytes: 1 << 20, ..settings() }
}

impl World {
    fn start(settings: Settings, seed: u64, haste: u64) -> World {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let rig = runtime.block_on(async {
            let rig = Rig::start(settings, seed).await;
            let small =
                TopicAlteration { retention_bytes: Some(Some(60 << 10)), ..TopicAlteration::default() };
            rig.log.alter(topic("events"), small).await.unwrap();
            let all = TopicAlteration { retention_ms: Some(None), ..TopicAlteration::default() };
            rig.log.alter(topic("chat"), all).await.unwrap();
            rig.log.create(TopicSpec::table(topic("table"), PARTITIONS)).await.unwrap();
            rig
        });
        let mut world = World {
            runtime,
            rig,
            entropy: Seeded::new(seed ^ 0x5eed),
            haste,
            chat: Vec::new(),
            events: BTreeMap::new(),
            table: Vec::new(),
            extra: BTreeSet::new(),
            extras: 0,
            copied: Arc::default(),
        };
        world.come();
        world
    }

    /// A topic comes.
    fn come(&mut self) {
        self.extras += 1;
        let name = topic(&self.extra_name());
        let spec = TopicSpec { partitions: PARTITIONS, retention_ms: None, ..TopicSpec::events(name) };
        self.runtime.block_on(self.rig.log.create(spec)).unwrap();
    }

    fn extra_name(&self) -> String {
        format!("extra-{}", self.extras)
    }

    fn steps(&mut self, count: u64) {
        for _ in 0..count {
            self.step();
        }
    }

    /// One commit over all topics, and now and then what an operator or the time does.
    fn step(&mut self) {
        let step = self.chat.len();
        let below = |n| self.entropy.below(n);
        let change =
            (format!("key-{}", below(40)), (below(9) > 0).then(|| format!("value-{step}-{:300}", "")));
        // Ids come again: some are still remembered, some were given up.
        let id = format!("event-{}", below(400));
        let source = partition_of(id.as_bytes(), 97);
        let parts = vec![
            of_event("chat", event(step as u32 % 50, &format!("chat-{step}"), "")),
            of_event("events", event(source, &id, "")),
            of_change(&change),
            of_event(&self.extra_name(), event(7, &format!("extra-{step}"), "")),
        ];
        let committed = self.runtime.block_on(self.rig.commit(parts.clone())).unwrap();
        let place = |part: usize| (parts[part].partition, committed.parts[part].records[0].clone());
        let (partition, Appended::Stored(offset)) = place(0) else { panic!("its id is new") };
        self.chat.push((partition, offset));
        if let (partition, Appended::Stored(offset)) = place(1) {
            self.events.insert((partition, offset), (step, id));
        }
        self.table.push(change);
        self.extra.insert((self.extra_name(), step));
        self.now_and_then();
    }

    fn now_and_then(&mut self) {
        match self.entropy.below(400) {
            0..30 => self.runtime.block_on(self.rig.checkpoint()),
            30..40 => {
                self.rig.clock.0.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
            }
            40..44 => self.trim(),
            44 => {
                self.runtime.block_on(self.rig.log.delete(topic(&self.extra_name()))).unwrap();
                self.come();
            }
            45 if self.extras < 4 => self.come(),
            46 => self.raise(),
            _ => {}
        }
    }

    fn trim(&mut self) {
        let bounds = self.rig.log.bounds(&topic("events")).unwrap();
        let below = bounds.earliest.iter().zip(&bounds.latest);
        let below = below.map(|(&from, &until)| from + self.entropy.below(until - from + 1)).collect();
        self.runtime.block_on(self.rig.log.trim(topic("events"), below)).unwrap();
    }

    fn raise(&mut self) {
        let name = topic(&self.extra_name());
        let partitions = self.runtime.block_on(self.rig.log.describe(name.clone())).unwrap().spec.partitions;
        let more = TopicAlteration { partitions: Some(partitions + 1), ..TopicAlteration::default() };
        self.runtime.block_on(self.rig.log.alter(name, more)).unwrap();
    }

    /// Opens a copy and compares it with what was acknowledged; `begun` is how much of it was before the backup.
    fn check(&self, copy: &MemoryStorage, begun: usize) {
        let report = verify(copy, |_| {}).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let rig = {
            let _in_the_runtime = self.runtime.enter();
            let clock = Arc::new(crate::rig::TestClock(self.rig.clock.0.load(Ordering::Relaxed).into()));
            Rig::open(settings(), copy.clone(), clock, Seeded::new(77)).unwrap()
        };
        let epoch = |rig: &Rig| rig.log.bounds(&topic("chat")).unwrap().epoch;
        assert_ne!(epoch(&rig), epoch(&self.rig), "places of the one are places of the other");
        let moment = self.check_chat(&rig);
        assert!(moment >= begun, "{begun} commits were acknowledged before, {moment} are there");
        self.check_events(&rig, moment);
        self.check_table(&rig, moment);
        self.check_extras(&rig, moment);
        assert_eq!(rig.log.damage(), Vec::<String>::new());
        self.check_that_it_goes_on(rig);
    }

    fn read(&self, rig: &Rig, name: &str) -> Vec<Record> {
        self.runtime.block_on(rig.all(&topic(name)))
    }

    /// Every event up to some moment is there, at its place: how many.
    fn check_chat(&self, rig: &Rig) -> usize {
        let records = self.read(rig, "chat");
        let found: BTreeMap<String, (u32, u64)> =
            records.iter().map(|r| (id_of(r), (r.partition, r.offset))).collect();
        assert_eq!(found.len(), records.len(), "something is there twice");
        for (step, place) in self.chat[..records.len()].iter().enumerate() {
            assert_eq!(found.get(&format!("chat-{step}")), Some(place), "of {} commits", records.len());
        }
        records.len()
    }

    /// What retention kept is there, once.
    fn check_events(&self, rig: &Rig, moment: usize) {
        let mut ids = BTreeSet::new();
        let mut found = BTreeSet::new();
        for record in self.read(rig, "events") {
            let place = (record.partition, record.offset);
            let (step, id) = &self.events[&place];
            assert!(*step < moment && *id == id_of(&record), "{place:?}");
            assert!(ids.insert(id.clone()), "{id} is there twice");
            found.insert(place);
        }
        let kept = self.rig.log.bounds(&topic("events")).unwrap().earliest;
        for (place, (step, id)) in &self.events {
            let must = *step < moment && place.1 >= kept[place.0 as usize];
            assert!(!must || found.contains(place), "{id} at {place:?} is lost");
        }
    }

    /// The table is what its changes up to the moment made of it.
    fn check_table(&self, rig: &Rig, moment: usize) {
        let mut wanted = BTreeMap::new();
        for (key, value) in &self.table[..moment] {
            wanted.insert(key.clone(), value.clone());
        }
        wanted.retain(|_, value| value.is_some());
        let mut found = BTreeMap::new();
        for record in self.read(rig, "table") {
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            found.insert(text(record.key.as_ref().unwrap()), record.value.as_ref().map(text));
        }
        found.retain(|_, value| value.is_some());
        assert_eq!(found, wanted);
    }

    fn check_extras(&self, rig: &Rig, moment: usize) {
        for info in self.runtime.block_on(rig.log.list()).unwrap() {
            let name = info.spec.name.as_str();
            if name.starts_with("extra-") {
                let found: BTreeSet<String> = self.read(rig, name).iter().map(id_of).collect();
                let events = self.extra.iter().filter(|(topic, step)| topic == name && *step < moment);
                let wanted: BTreeSet<String> = events.map(|(_, step)| format!("extra-{step}")).collect();
                assert_eq!(found, wanted, "{name}");
            }
        }
    }

    /// What is published into the copy stays in it.
    fn check_that_it_goes_on(&self, rig: Rig) {
        let before = self.read(&rig, "events").len();
        let ids: Vec<String> = (0..60).map(|i| format!("later-{i}")).collect();
        for (source, id) in ids.iter().enumerate() {
            self.runtime.block_on(rig.publish(&topic("events"), &[(source as u32, id)])).unwrap();
        }
        let rig = self.runtime.block_on(rig.restart());
        let later: Vec<String> = self.read(&rig, "events")[before..].iter().map(id_of).collect();
        assert_eq!(later.iter().collect::<BTreeSet<_>>(), ids.iter().collect());
    }
}

fn of_event(name: &str, record: NewRecord) -> Part {
    let partition = partition_of(record.key.as_ref().unwrap(), PARTITIONS);
    Part { topic: topic(name), partition, records: vec![record] }
}

fn of_change((key, value): &(String, Option<String>)) -> Part {
    let record = NewRecord {
        key: Some(Bytes::from(key.clone())),
        value: value.clone().map(Bytes::from),
        ..NewRecord::default()
    };
    Part { topic: topic("table"), partition: partition_of(key.as_bytes(), PARTITIONS), records: vec![record] }
}

/// What happens to a log before something is opened, listed (its path) or read (no path).
type Happens = dyn FnMut(&mut World, Option<&str>) + Send;

/// The disk of a log to which something happens whenever it is looked at. It cannot be written through this.
#[derive(Clone)]
struct Watched {
    disk: MemoryStorage,
    world: Arc<Mutex<World>>,
    happens: Arc<Mutex<Happens>>,
}

impl Watched {
    fn new(world: World, happens: impl FnMut(&mut World, Option<&str>) + Send + 'static) -> Watched {
        let disk = world.rig.storage.clone();
        Watched { disk, world: Arc::new(Mutex::new(world)), happens: Arc::new(Mutex::new(happens)) }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn go_on(&self, path: Option<&str>) {
        (self.happens.lock().unwrap())(&mut self.world(), path);
    }
}

impl Storage for Watched {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        assert_eq!(mode, Mode::Read, "{path}");
        self.go_on(Some(path));
        Ok(Arc::new(WatchedFile { file: self.disk.open(path, mode)?, storage: self.clone() }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.go_on(Some(dir));
        self.disk.list(dir)
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn free_bytes(&self) -> io::Result<(u64, u64)> {
        self.disk.free_bytes()
    }
}

struct WatchedFile {
    file: Arc<dyn File>,
    storage: Watched,
}

/// Reads at most this much in one piece, with the log going on in between.
const PIECE_BYTES: usize = 8 << 10;

impl File for WatchedFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        for piece in buf.chunks_mut(PIECE_BYTES) {
            self.storage.go_on(None);
            let count = self.file.read_at(piece, at + done as u64)?;
            done += count;
            if count < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn sync(&self) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        panic!("the source is only read")
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[test]
fn a_copy_of_a_log_that_is_written_is_the_log_at_one_moment() {
    let (mut passes, mut overtaken) = (0, 0);
    for seed in 0..8 {
        let haste = [0, 3, 6, 10][seed as usize % 4];
        let world = World::start(if seed % 3 == 0 { large_journal() } else { settings() }, seed, haste);
        let source = Watched::new(world, |world, _| {
            let is_time = world.entropy.below(16) < world.haste;
            world.steps(is_time.into());
        });
        source.world().steps(400);
        for _ in 0..2 {
            let copy = MemoryStorage::new();
            let begun = source.world().chat.len();
            match backup(&source, &copy, |_| {}) {
                Ok(done) => {
                    passes += done.passes - 1;
                    source.world().check(&copy, begun);
                }
                Err(error) => {
                    assert_eq!(error.code(), "backup_overtaken", "seed {seed}: {error}");
                    assert!(haste >= 6, "seed {seed}");
                    overtaken += 1;
                }
            }
        }
    }
    println!("16 backups, {passes} passes more than in a quiet log, {overtaken} given up");
    assert!(passes > 0, "no backup was overtaken once: this proves little");
    assert!(overtaken < 5, "{overtaken} of 16 backups were given up");
}

/// The directories of the topics "chat" and "table": they are created in this order, after another one.
const CHAT: &str = "topics/2";
const TABLE: &str = "topics/3";

impl World {
    /// Values of 40 keys, or that they are gone; then other keys.
    fn table(&mut self, is_there: bool, segments: usize) {
        for key in 0..40 {
            self.change(format!("key-{key}"), is_there.then(|| format!("value-{key}")));
        }
        self.fill(segments);
    }

    /// Other keys until so many more segments are sealed.
    fn fill(&mut self, segments: usize) {
        let wanted = self.rig.storage.list(TABLE).unwrap().len() + segments;
        while self.rig.storage.list(TABLE).unwrap().len() < wanted {
            self.change(format!("other-{}", self.table.len() % 9), Some(format!("{:900}", "")));
        }
    }

    fn change(&mut self, key: String, value: Option<String>) {
        let step = self.chat.len();
        let chat = of_event("chat", event(1, &format!("chat-{step}"), ""));
        let change = (key, value);
        let parts = vec![chat, of_change(&change)];
        let committed = self.runtime.block_on(self.rig.commit(parts.clone())).unwrap();
        let Appended::Stored(offset) = committed.parts[0].records[0] else { panic!("its id is new") };
        self.chat.push((parts[0].partition, offset));
        self.table.push(change);
    }

    fn days_pass(&mut self) {
        self.rig.clock.0.fetch_add(50 * HOUR_MS, Ordering::Relaxed);
    }

    fn checkpoints(&mut self, count: usize) {
        (0..count).for_each(|_| self.runtime.block_on(self.rig.checkpoint()));
    }
}

fn without_checkpoints() -> Settings {
    Settings { checkpoint_bytes: u64::MAX, ..large_journal() }
}

fn is_segment_of_table(path: Option<&str>) -> bool {
    path.is_some_and(|path| path.starts_with(TABLE) && path.ends_with(".segment"))
}

/// Values and their tombstones go in one compaction. The copy is past the newest segments when it happens: were the
/// oldest copied first, the values would be back.
#[test]
fn a_table_is_compacted_between_two_of_its_segments() {
    let mut world = World::start(without_checkpoints(), 1, 0);
    world.table(true, 3);
    world.table(false, 3);
    world.checkpoints(1);
    let begun = world.chat.len();
    let mut opened = 0;
    let source = Watched::new(world, move |world, path| {
        opened += usize::from(is_segment_of_table(path));
        if opened == 10 {
            // Opened to be measured: each of seven. Then the active one, the newest sealed one, and now the next.
            opened += 1;
            world.days_pass();
            world.checkpoints(2);
        }
    });
    let before = source.disk.open(&format!("{TABLE}/00000000000000000000.segment"), Mode::Read).unwrap();
    let copy = MemoryStorage::new();
    assert_eq!(backup(&source, &copy, |_| {}).unwrap().passes, 1);
    let after = source.disk.open(&format!("{TABLE}/00000000000000000000.segment"), Mode::Read).unwrap();
    assert!(after.len().unwrap() < before.len().unwrap(), "it was not compacted");
    source.world().check(&copy, begun);
}

/// A segment that was copied in an earlier pass is compacted before the next one.
#[test]
fn a_table_is_compacted_between_two_passes() {
    let mut world = World::start(Settings { journal_file_bytes: 64 << 10, ..without_checkpoints() }, 1, 0);
    world.table(true, 3);
    world.checkpoints(1);
    let begun = world.chat.len();
    let mut happened = false;
    let source = Watched::new(world, move |world, path| {
        let is_journal = path == Some("journal/0.journal");
        let is_copied = world.copied.load(Ordering::Relaxed);
        if is_journal && is_copied && !std::mem::replace(&mut happened, true) {
            world.table(false, 4);
            for _ in 0..4 {
                world.checkpoints(2);
                world.days_pass();
                world.fill(4);
            }
        }
    });
    let copied = source.world().copied.clone();
    let copy = MemoryStorage::new();
    let done = backup(&source, &copy, |_| copied.store(true, Ordering::Relaxed)).unwrap();
    assert!(done.passes > 1, "the journal was not recycled");
    source.world().check(&copy, begun);
}

/// A sidecar that is being written, or damaged, is left out: it can be built again.
#[test]
fn a_damaged_sidecar_is_not_copied() {
    let mut world = World::start(settings(), 1, 0);
    world.steps(300);
    let disk = world.rig.storage.clone();
    let mut sidecars = disk.list(CHAT).unwrap().into_iter().filter(|name| name.ends_with(".index"));
    let path = format!("{CHAT}/{}", sidecars.next_back().expect("segments were sealed"));
    disk.open(&path, Mode::Write).unwrap().write_at(b"??", 50).unwrap();
    let copy = MemoryStorage::new();
    backup(&disk, &copy, |_| {}).unwrap();
    assert!(copy.open(&path, Mode::Read).is_err());
    world.check(&copy, world.chat.len());
}

#[test]
fn a_damaged_journal_is_told() {
    let mut world = World::start(without_checkpoints(), 1, 0);
    world.table(true, 0);
    let disk = world.rig.storage.clone();
    disk.open("journal/0.journal", Mode::Write).unwrap().write_at(b"??", 100).unwrap();
    let error = backup(&disk, &MemoryStorage::new(), |_| {}).unwrap_err();
    assert_eq!(error.code(), "backup_source_damaged");
}

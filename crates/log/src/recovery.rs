//! Opening a data directory: cut the stores to the checkpoint, replay the journal, tell of damage, begin anew.
//!
//! ```text
//! catalog ─▶ checkpoint ─▶ stores, cut ─▶ journal frames after it, in order ─▶ stores ─▶ new checkpoint
//! ```
//! A frame that is not whole is a torn tail and ends the replay, unless some frame knows it was synced, or a store has
//! something of it or of a later one (it got there only after the sync): then it is damage; what is whole of it is
//! replayed, the rest is looked for in the stores before they are cut, and what is found nowhere is reported. Offsets of
//! what is lost may be given out again, so every topic begins a new epoch then.

use crate::batch::{HEADER_BYTES, Head};
use crate::catalog::{Catalog, Entry, FORMAT_VERSION, Kind};
use crate::checkpoint::{Checkpoint, StoreMark};
use crate::engine::{Engine, Round};
use crate::guards::Guards;
use crate::journal::{self, Frame, Journal, read_all};
use crate::mirror::Copier;
use crate::reader::next_batch;
use crate::segment::{Header, Segment, segment_path, sidecar_path};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::sidecar_cache::SidecarCache;
use crate::storage::{File, Mode, Storage, open_if_there, remove_if_there};
use crate::store::{Placed, Store, raise};
use crate::topic::{self, State, TopicView, dir};
use crate::upkeep::Occasion;
use crate::window::Window;
use bytes::Bytes;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::filter::Filter;
use dualstream_core::log::{GUARDS_TOPIC, Read, Span};
use dualstream_core::topic::{Epoch, TopicName};
use dualstream_core::{Error, ErrorKind, Result};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Batches of frames that are damaged, found in the stores: by sequence.
type Rescued = BTreeMap<u64, Vec<(Head, Bytes)>>;

/// What is to be replayed, in order.
struct Replay {
    frames: Vec<Replayed>,
    sequence: u64,
    generation: u64,
    append_time_ms: i64,
    /// Sequences that are damaged or missing although they were synced.
    damaged: BTreeSet<u64>,
}

struct Replayed {
    sequence: u64,
    bytes: Bytes,
    batches: Vec<(Head, Range<usize>)>,
    /// Batches it should have; `None` when its header is lost.
    expected: Option<usize>,
}

/// Opens a data directory.
pub(crate) fn recover(
    settings: Settings,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Engine> {
    let failed = |e| crate::error::storage("open the data directory", e);
    storage.create_dir(topic::DIR).map_err(failed)?;
    storage.create_dir(journal::DIR).map_err(failed)?;
    storage.sync_dir("").map_err(failed)?;
    let mut catalog = load_catalog(&*storage, &*entropy)?;
    let checkpoint = Checkpoint::load(&*storage)?.unwrap_or_default();
    renew_epochs(&mut catalog, &checkpoint, &*storage, &*entropy)?;
    let replay = plan(&*storage, &catalog, &checkpoint)?;
    let journal = Journal::create(
        storage.clone(),
        replay.sequence,
        replay.generation,
        catalog.log_id,
        settings.journal_file_bytes,
    )
    .map_err(failed)?;
    let mut engine = Engine::new(settings, storage, clock, entropy, catalog, Some(journal));
    engine.append_time_ms = checkpoint.append_time_ms.max(replay.append_time_ms);
    let rescued = engine.open_stores(&checkpoint, &replay.damaged).map_err(failed)?;
    let is_lost = engine.replay(replay, rescued).map_err(failed)?;
    if is_lost {
        engine.begin_epochs()?;
    }
    engine.restore_guards()?;
    engine.take_leftovers().map_err(failed)?;
    engine.first_checkpoint().map_err(failed)?;
    Ok(engine)
}

fn load_catalog(storage: &dyn Storage, entropy: &dyn Entropy) -> Result<Catalog> {
    if let Some(mut catalog) = Catalog::load(storage, Kind::Log)? {
        if catalog.format < FORMAT_VERSION {
            // Before anything is written that a program of the old format would take for damage.
            tracing::info!(
                from = catalog.format,
                to = FORMAT_VERSION,
                "the data directory gets a newer format"
            );
            catalog.store(storage)?;
            catalog.format = FORMAT_VERSION;
        }
        return Ok(catalog);
    }
    let journal =
        storage.list(journal::DIR).map_err(|e| crate::error::storage("open the data directory", e))?;
    let topics = storage.list(topic::DIR).map_err(|e| crate::error::storage("open the data directory", e))?;
    if !journal.is_empty() || !topics.is_empty() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "catalog_missing",
            "the data directory holds a log but no file 'catalog'; restore it from a backup",
        ));
    }
    let catalog = Catalog::new(Kind::Log, entropy.next_u64());
    catalog.store(storage)?;
    Ok(catalog)
}

/// Without sync before the ack an unclean end may have lost acknowledged records: their offsets will be given out
/// again, so no position of before may be taken for one of now.
fn renew_epochs(
    catalog: &mut Catalog,
    checkpoint: &Checkpoint,
    storage: &dyn Storage,
    entropy: &dyn Entropy,
) -> Result<()> {
    if checkpoint.clean || checkpoint.fsync_always || catalog.topics.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        "the log was not closed in order with fsync 'always', or is a backup: every topic begins a new epoch"
    );
    catalog.topics.values_mut().for_each(|entry| entry.epoch = Epoch(entropy.next_u64()));
    catalog.store(storage)
}

fn plan(storage: &dyn Storage, catalog: &Catalog, checkpoint: &Checkpoint) -> Result<Replay> {
    let failed = |e| crate::error::storage("read the journal", e);
    let mut found: Vec<(Frame, Bytes)> = Vec::new();
    for file in journal::files_behind(storage, checkpoint.sequence, catalog.log_id).map_err(failed)? {
        let scan = journal::scan(storage, file, catalog.log_id).map_err(failed)?;
        let bytes = Bytes::from(scan.bytes);
        found.extend(scan.frames.into_iter().map(|frame| (frame, bytes.clone())));
    }
    let generation =
        found.iter().map(|(f, _)| f.head.generation).max().unwrap_or(0).max(checkpoint.generation);
    found
        .retain(|(f, _)| f.head.generation >= checkpoint.generation && f.head.sequence > checkpoint.sequence);
    // A frame of an older generation than one before it was torn, and written anew after a restart.
    found.sort_by_key(|(f, _)| (f.head.sequence, Reverse(f.head.generation)));
    let mut newest = 0;
    found.retain(|(f, _)| {
        newest = newest.max(f.head.generation);
        f.head.generation == newest
    });
    let durable = found.iter().map(|(f, _)| f.head.durable).max().unwrap_or(0);
    let stored =
        stored(storage, catalog, checkpoint).map_err(|e| crate::error::storage("read the stores", e))?;
    Ok(chain(found, checkpoint.sequence, durable.max(stored), generation))
}

/// Highest sequence the stores know synced: with sync before the ack a batch is copied into its store only after that.
fn stored(storage: &dyn Storage, catalog: &Catalog, checkpoint: &Checkpoint) -> std::io::Result<u64> {
    let mut highest = 0;
    if checkpoint.fsync_always {
        for (&id, entry) in &catalog.topics {
            let mark = mark_of(storage, checkpoint, id, entry)?;
            each_behind(storage, &mark, |head, _| highest = head.sequence.max(highest))?;
        }
    }
    Ok(highest)
}

pub(crate) fn mark_of(
    storage: &dyn Storage,
    checkpoint: &Checkpoint,
    id: u32,
    entry: &Entry,
) -> std::io::Result<StoreMark> {
    match checkpoint.stores.iter().find(|s| s.topic_id == id) {
        Some(mark) => Ok(mark.clone()),
        None => first_mark(storage, id, entry),
    }
}

/// The frames that follow each other from `sequence` on, up to the torn tail.
fn chain(found: Vec<(Frame, Bytes)>, mut sequence: u64, durable: u64, generation: u64) -> Replay {
    let mut frames = Vec::new();
    let mut damaged = BTreeSet::new();
    let mut append_time_ms = i64::MIN;
    for (frame, bytes) in found {
        let next = sequence + 1;
        let torn =
            (frame.head.sequence > next && next > durable) || (!frame.whole && frame.head.sequence > durable);
        if torn || frame.head.sequence < next {
            break;
        }
        for missing in next..frame.head.sequence {
            damaged.insert(missing);
            frames.push(Replayed::missing(missing));
        }
        sequence = frame.head.sequence;
        append_time_ms = append_time_ms.max(frame.head.append_time_ms);
        if !frame.whole {
            damaged.insert(sequence);
        }
        let expected = Some(frame.head.batches as usize);
        frames.push(Replayed { sequence, bytes, batches: frame.batches, expected });
    }
    for missing in sequence + 1..=durable {
        damaged.insert(missing);
        frames.push(Replayed::missing(missing));
        sequence = missing;
    }
    Replay { frames, sequence, generation, append_time_ms, damaged }
}

impl Replayed {
    /// A frame of which nothing is left in the journal.
    fn missing(sequence: u64) -> Replayed {
        Replayed { sequence, bytes: Bytes::new(), batches: Vec::new(), expected: None }
    }
}

impl Engine {
    /// An engine without stores.
    pub fn new(
        settings: Settings,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        catalog: Catalog,
        journal: Option<Journal>,
    ) -> Engine {
        let shared = Arc::new(Shared::new(catalog.log_id, settings.queue_bytes_max));
        let cache = Arc::new(SidecarCache::new(settings.sidecar_cache_bytes_max, entropy.next_u64()));
        Engine {
            settings,
            storage,
            clock,
            entropy,
            shared,
            stores: BTreeMap::new(),
            ids: HashMap::new(),
            journal,
            guards: Guards::default(),
            append_time_ms: i64::MIN,
            checkpointed: 0,
            bytes_since_checkpoint: 0,
            unsynced: false,
            failed: None,
            removals: Vec::new(),
            cache,
            written_bytes: 0,
            next_space_check: 0,
            is_disk_full: false,
            is_disk_warned: false,
            buffer: Vec::new(),
            catalog,
            round: Round::default(),
            copier: Copier::default(),
        }
    }

    fn open_stores(&mut self, checkpoint: &Checkpoint, damaged: &BTreeSet<u64>) -> std::io::Result<Rescued> {
        let mut rescued = Rescued::new();
        for (id, entry) in self.catalog.topics.clone() {
            let mark = mark_of(&*self.storage, checkpoint, id, &entry)?;
            if !damaged.is_empty() {
                each_behind(&*self.storage, &mark, |head, batch| {
                    if damaged.contains(&head.sequence) {
                        rescued.entry(head.sequence).or_default().push((head, batch));
                    }
                })?;
            }
            let mut store = self.open_store(id, &entry, mark)?;
            // Partitions were added after the checkpoint: their records need a segment that knows them.
            store.roll_if_narrow(checkpoint.sequence)?;
            self.add(store);
        }
        Ok(rescued)
    }

    pub fn open_store(&self, id: u32, entry: &Entry, mut mark: StoreMark) -> std::io::Result<Store> {
        // The number of partitions may have been raised after the checkpoint.
        mark.next.resize(entry.spec.partitions as usize, 0);
        mark.holes_below.resize(entry.spec.partitions as usize, 0);
        mark.start.resize(entry.spec.partitions as usize, 0);
        let mut segments = self.open_sealed(&mark)?;
        let active = self.open_active(&mut mark, segments.last())?;
        let window = Window::new(&segments, active.clone());
        let sealed_bytes = segments.iter().map(|s| s.file.len()).sum::<std::io::Result<u64>>()?;
        segments.push(active.clone());
        let mut start = entry.trimmed.clone();
        for gone in [&segments[0].start, &mark.start] {
            raise(&mut start, gone);
        }
        // A trim may speak of records that are only replayed now, or lost with a damaged journal; a start is never past
        // an end.
        start.iter_mut().zip(&mark.next).for_each(|(start, &end)| *start = end.min(*start));
        let state = State {
            epoch: entry.epoch,
            spec: entry.spec.clone(),
            segments: Arc::new(segments),
            start,
            ends: mark.next.clone(),
            end_byte: mark.byte,
            holes_below: mark.holes_below.clone(),
            bytes: sealed_bytes + mark.byte,
        };
        let name = entry.spec.name.clone();
        let view = TopicView::new(id, name, state, self.storage.clone(), self.cache.clone());
        Ok(Store::new(id, entry, Arc::new(view), self.storage.clone(), window, active, mark))
    }

    /// Opens the segments before the checkpoint's active one; removes what was written after it.
    fn open_sealed(&self, mark: &StoreMark) -> std::io::Result<Vec<Arc<Segment>>> {
        let dir = dir(mark.topic_id);
        let mut sealed: Vec<Arc<Segment>> = Vec::new();
        for number in segment_numbers(&*self.storage, &dir)? {
            if number >= mark.segment {
                remove_if_there(&*self.storage, &sidecar_path(&dir, number))?;
            }
            if number > mark.segment {
                remove_if_there(&*self.storage, &segment_path(&dir, number))?;
            }
            if number < mark.segment {
                let file = self.storage.open(&segment_path(&dir, number), Mode::Read)?;
                let header =
                    Header::read(&*file)?.filter(|h| h.number == number && h.topic_id == mark.topic_id);
                let header = match header {
                    Some(header) => header,
                    None => {
                        let path = segment_path(&dir, number);
                        self.shared.report_damage(format!("{path}: the header is damaged"));
                        self.header_after(mark, sealed.last(), number, &*file)?
                    }
                };
                sealed.push(Arc::new(Segment::sealed(header, file)));
            }
        }
        Ok(sealed)
    }

    /// The header of a segment that lost its own: it begins where the one before it ends.
    fn header_after(
        &self,
        mark: &StoreMark,
        before: Option<&Arc<Segment>>,
        number: u64,
        file: &dyn File,
    ) -> std::io::Result<Header> {
        let topic_id = mark.topic_id;
        let dir = dir(topic_id);
        let topic =
            crate::segment::Topic { storage: &*self.storage, dir: &dir, id: topic_id, cache: &self.cache };
        let start = before.map(|segment| {
            segment
                .index(&topic)
                .map_or_else(|_| segment.start.clone(), |index| index.blocks().end_vector().to_vec())
        });
        let mut start = start.unwrap_or_default();
        start.resize(Header::partitions_before(&read_all(file)?, topic_id, mark.next.len()), 0);
        Ok(Header { topic_id, number, sequence: 0, start })
    }

    /// Opens the checkpoint's active segment, cut to where the checkpoint says, and indexes it.
    fn open_active(
        &self,
        mark: &mut StoreMark,
        before: Option<&Arc<Segment>>,
    ) -> std::io::Result<Arc<Segment>> {
        let dir = dir(mark.topic_id);
        let path = segment_path(&dir, mark.segment);
        let file = self.storage.open(&path, Mode::Write)?;
        let header = match Header::read(&*file)?
            .filter(|h| h.number == mark.segment && h.topic_id == mark.topic_id)
        {
            Some(header) => header,
            None => {
                self.shared.report_damage(format!("{path}: the header is damaged or the file is missing"));
                let header = self.header_after(mark, before, mark.segment, &*file)?;
                let bytes = Header::bytes(header.start.len());
                if mark.byte <= bytes || file.len()? < bytes {
                    file.write_at(&header.encode(), 0)?;
                    mark.byte = mark.byte.max(bytes);
                }
                header
            }
        };
        let length = file.len()?;
        if length < mark.byte {
            self.shared.report_damage(format!("{path}: {} bytes are missing at its end", mark.byte - length));
            mark.byte = length;
        }
        file.truncate(mark.byte)?;
        let segment = Segment::active(header, file.clone(), self.cache.seed);
        let bytes = Bytes::from(read_all(&*file)?);
        segment.with_active(|index| {
            let mut at = segment.header_bytes as usize;
            let mut end = at;
            while let Some(head) = next_batch(&bytes, &mut at, mark.topic_id, mark.next.len()) {
                self.report_hole(&path, end, at);
                index.push(at as u64, &head, &bytes.slice(at..at + head.bytes), None);
                at += head.bytes;
                end = at;
            }
            self.report_hole(&path, end, bytes.len());
        });
        Ok(Arc::new(segment))
    }

    fn report_hole(&self, path: &str, from: usize, until: usize) {
        if from < until {
            self.shared.report_damage(format!("{path}: bytes {from} to {until} are damaged"));
        }
    }

    /// Replays the journal into the stores; whether something of it is lost.
    fn replay(&mut self, replay: Replay, mut rescued: Rescued) -> std::io::Result<bool> {
        let segment_bytes = self.settings.segment_bytes;
        let mut is_lost = false;
        for frame in replay.frames {
            let mut batches: Vec<(Head, Bytes)> =
                frame.batches.iter().map(|(head, range)| (*head, frame.bytes.slice(range.clone()))).collect();
            if replay.damaged.contains(&frame.sequence) {
                let rescued = rescued.remove(&frame.sequence).unwrap_or_default();
                is_lost |= !self.mend(&mut batches, rescued, &frame);
            }
            for (head, bytes) in batches {
                // A topic that was deleted since has no store any more.
                let Some(store) = self.stores.get_mut(&head.topic_id) else { continue };
                let next = store.next.get(head.partition as usize).copied();
                if next.is_none_or(|next| head.next_offset <= next) {
                    continue;
                }
                store.reserve(head.bytes as u64, u64::from(head.count), frame.sequence, segment_bytes)?;
                store.append(&bytes, &[Placed { head, range: 0..head.bytes, hashes: None }])?;
                Store::publish_all(std::iter::once(&*store));
            }
        }
        self.restore_trims();
        Ok(is_lost)
    }

    /// Trims again what the replay brought back.
    fn restore_trims(&self) {
        for (id, entry) in &self.catalog.topics {
            let Some(store) = self.stores.get(id) else { continue };
            store.view.publish(|state| {
                for ((start, &trimmed), &end) in state.start.iter_mut().zip(&entry.trimmed).zip(&state.ends) {
                    *start = trimmed.min(end).max(*start);
                }
            });
        }
    }

    /// Offsets of what was lost may be given out again: no position of before may be taken for one of now.
    fn begin_epochs(&mut self) -> Result<()> {
        tracing::warn!("records are lost: every topic begins a new epoch");
        let mut catalog = self.catalog.clone();
        for (id, entry) in &mut catalog.topics {
            entry.epoch = Epoch(self.entropy.next_u64());
            // What was trimmed may be lost: a start past the end would swallow what comes there.
            let next = &self.stores[id].next;
            entry.trimmed.iter_mut().zip(next).for_each(|(trimmed, &end)| *trimmed = end.min(*trimmed));
        }
        catalog.store(&*self.storage)?;
        for (id, entry) in &catalog.topics {
            self.stores[id].view.publish(|state| state.epoch = entry.epoch);
        }
        self.catalog = catalog;
        Ok(())
    }

    /// Completes a damaged frame with what the stores still had of it; whether nothing of it is lost.
    fn mend(&self, batches: &mut Vec<(Head, Bytes)>, rescued: Vec<(Head, Bytes)>, frame: &Replayed) -> bool {
        for (head, bytes) in rescued {
            let known = |(b, _): &(Head, Bytes)| (b.topic_id, b.partition, b.base_offset);
            if !batches.iter().any(|b| known(b) == (head.topic_id, head.partition, head.base_offset)) {
                batches.push((head, bytes));
            }
        }
        batches.sort_by_key(|(head, _)| (head.topic_id, head.partition, head.base_offset));
        let found = batches.len();
        let whole = frame.expected.is_some_and(|expected| expected == found);
        let sequence = frame.sequence;
        self.shared.report_damage(match (whole, frame.expected) {
            (true, _) => {
                format!("journal: frame {sequence} is damaged; everything of it was found in the stores")
            }
            (false, Some(expected)) => {
                format!("journal: frame {sequence} is damaged; {found} of its {expected} batches were found")
            }
            (false, None) => format!(
                "journal: frame {sequence} is damaged; {found} batches of it were found in the stores"
            ),
        });
        whole
    }

    /// Has removed, by the first checkpoint, what no catalog names.
    pub fn take_leftovers(&mut self) -> std::io::Result<()> {
        let found = crate::leftovers::find(&*self.storage, &self.catalog)?;
        for path in &found.removable {
            tracing::warn!(path, "left by a crash, named by no catalog: removed");
        }
        self.removals.extend(found.removable);
        for id in found.foreign {
            // Under its number it would be taken for a deleted topic's once the catalog has given that number away.
            let (path, aside) = (dir(id), crate::leftovers::free_name(&*self.storage, id)?);
            self.storage.rename(&path, &aside)?;
            self.storage.sync_dir(topic::DIR)?;
            self.shared.report_damage(format!(
                "{path}: a store with records that the catalog does not know; set aside as {aside}"
            ));
        }
        // A new topic must not be given files that are left.
        let above = found.left.into_iter().map(|id| id.saturating_add(1)).max();
        self.catalog.next_topic_id = self.catalog.next_topic_id.max(above.unwrap_or(0));
        Ok(())
    }

    fn restore_guards(&mut self) -> Result<()> {
        let Some(name) = TopicName::new(GUARDS_TOPIC).ok().filter(|name| self.ids.contains_key(name)) else {
            return Ok(());
        };
        let snapshot = self.shared.topic(&name)?.snapshot();
        let mut read = Read {
            topic: name,
            epoch: snapshot.epoch,
            spans: Span::all(&snapshot.start, &snapshot.ends),
            filter: Filter::All,
            records_max: 10_000,
            bytes_max: 1 << 20,
            reverse: false,
        };
        while !read.is_over() {
            let page = crate::reader::read(&snapshot, &read)?;
            for record in &page.records {
                self.guards.restore(record.key.as_deref(), record.value.as_deref());
            }
            read.go_on(&page);
        }
        Ok(())
    }

    pub fn first_checkpoint(&mut self) -> std::io::Result<()> {
        for store in self.stores.values_mut() {
            store.mark_dirty();
        }
        let Some(job) = self.checkpoint_job(Occasion::Opened)? else {
            // A fresh directory: from the first commit on it must say whether acks are synced.
            return self.checkpoint(false).store(&*self.storage);
        };
        match self.checkpoint_done_or_error(job.run()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn checkpoint_done_or_error(&mut self, mut outcome: crate::job::Outcome) -> Option<std::io::Error> {
        let error = outcome.error.take();
        self.checkpoint_done(outcome);
        error
    }
}

/// Where a topic stands that was created after the checkpoint: at its beginning, which in a mirror is not 0.
fn first_mark(storage: &dyn Storage, id: u32, entry: &Entry) -> std::io::Result<StoreMark> {
    let partitions = entry.spec.partitions as usize;
    let file = open_if_there(storage, &segment_path(&dir(id), 0))?;
    let header = file.map(|file| Header::read(&*file)).transpose()?.flatten();
    let header = header.filter(|h| h.topic_id == id && h.number == 0);
    let mut next = header.map_or_else(|| vec![0; partitions], |h| h.start);
    // Its first segment may have begun with fewer partitions than it has now.
    let byte = Header::bytes(next.len());
    next.resize(partitions, 0);
    let holes_below = vec![0; partitions];
    Ok(StoreMark { topic_id: id, segment: 0, byte, start: next.clone(), next, holes_below })
}

/// Numbers of the segments of a store, ascending.
pub(crate) fn segment_numbers(storage: &dyn Storage, dir: &str) -> std::io::Result<Vec<u64>> {
    let names = storage.list(dir)?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|n| n.strip_suffix(".segment")).filter_map(|n| n.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Calls `visit` with every whole batch behind the checkpoint's place in a store.
fn each_behind(
    storage: &dyn Storage,
    mark: &StoreMark,
    mut visit: impl FnMut(Head, Bytes),
) -> std::io::Result<()> {
    let dir = dir(mark.topic_id);
    for number in segment_numbers(storage, &dir)?.into_iter().filter(|&n| n >= mark.segment) {
        let file: Arc<dyn File> = storage.open(&segment_path(&dir, number), Mode::Read)?;
        let bytes = Bytes::from(read_all(&*file)?);
        // Another segment may have begun with fewer partitions than there are now: its first batch is looked for.
        let mut at = if number == mark.segment { mark.byte } else { Header::bytes(0) } as usize;
        while at + HEADER_BYTES <= bytes.len() {
            let Some(head) = next_batch(&bytes, &mut at, mark.topic_id, mark.next.len()) else { break };
            visit(head, bytes.slice(at..at + head.bytes));
            at += head.bytes;
        }
    }
    Ok(())
}

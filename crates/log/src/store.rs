//! A topic store as its writer sees it: the active segment, what is not synced yet, the next offsets.

use crate::batch::Head;
use crate::batches::Batches;
use crate::catalog::Entry;
use crate::checkpoint::StoreMark;
use crate::error::sync_failed;
use crate::index::identities::RECORDS_MAX;
use crate::segment::{Header, Segment, segment_path};
use crate::storage::{Mode, Storage};
use crate::topic::{DIR, State, TopicView, dir};
use crate::window::Window;
use bytes::Bytes;
use dualstream_core::hidden::LeftOut;
use dualstream_core::topic::{Cleanup, TopicSpec};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Space is reserved ahead of the writer in steps of this.
const RESERVE_STEP: u64 = 8 << 20;

/// A batch to append.
pub(crate) struct Placed {
    pub head: Head,
    /// Where its bytes are.
    pub range: Range<usize>,
    /// Identity hashes of its records, if they are known without parsing them.
    pub hashes: Option<Vec<u64>>,
}

/// The writer's side of a topic.
pub(crate) struct Store {
    pub id: u32,
    pub spec: TopicSpec,
    pub view: Arc<TopicView>,
    pub window: Window,
    /// Next offset per partition.
    pub next: Vec<u64>,
    /// What repeats an event and was therefore not appended, as far as this process knows.
    pub left_out: LeftOut,
    /// Append time of the last batch of each partition, as far as this process knows.
    pub appended_ms: Vec<i64>,
    /// The segment the last completed checkpoint found active: older ones may be deleted or rewritten.
    pub checkpointed_segment: u64,
    /// Retention gave up what is below, and the segments before that number: the next checkpoint says so, and only then
    /// readers are told and files removed. Else a crash in between would bring back what was said to be gone.
    pub start: Vec<u64>,
    pub first_kept: u64,
    /// Segments before this number were compacted.
    compacted_below: u64,
    /// A compaction is under way that may leave holes below these offsets.
    compacting: Vec<u64>,
    /// One per partition: records of the round being built.
    pub round: Vec<Batches>,
    storage: Arc<dyn Storage>,
    active: Arc<Segment>,
    position: u64,
    reserved: u64,
    /// Sealed since the last checkpoint: to be synced and given a sidecar.
    unsynced: Vec<Arc<Segment>>,
    dirty: bool,
    directory_dirty: bool,
}

impl Store {
    /// The writer's side of a topic whose active segment is `active`, written up to `position`.
    pub fn new(
        id: u32,
        entry: &Entry,
        view: Arc<TopicView>,
        storage: Arc<dyn Storage>,
        window: Window,
        active: Arc<Segment>,
        mark: StoreMark,
    ) -> Store {
        Store {
            left_out: LeftOut::default(),
            id,
            spec: entry.spec.clone(),
            view,
            window,
            round: mark.next.iter().map(|_| Batches::default()).collect(),
            appended_ms: vec![i64::MIN; mark.next.len()],
            next: mark.next,
            checkpointed_segment: mark.segment,
            start: mark.start,
            first_kept: 0,
            compacted_below: 0,
            compacting: Vec::new(),
            storage,
            active,
            position: mark.byte,
            reserved: mark.byte,
            unsynced: Vec::new(),
            dirty: false,
            directory_dirty: false,
        }
    }

    /// Creates the files of a new topic that begins at these offsets, durably.
    pub fn create_files(
        storage: &dyn Storage,
        id: u32,
        start: Vec<u64>,
        seed: u64,
    ) -> io::Result<Arc<Segment>> {
        storage.create_dir(&dir(id))?;
        let segment = create_segment(storage, id, 0, 0, start, seed)?;
        segment.file.sync().map_err(sync_failed)?;
        storage.sync_dir(&dir(id)).map_err(sync_failed)?;
        storage.sync_dir(DIR).map_err(sync_failed)?;
        Ok(Arc::new(segment))
    }

    /// Makes sure that `bytes` more can be written: seals the active segment when it is full and reserves the space.
    /// Nothing readers see changes in what they read.
    pub fn reserve(&mut self, bytes: u64, records: u64, sequence: u64, segment_bytes: u64) -> io::Result<()> {
        let held = self.active.read_active(|index| index.hashes.len() as u64).unwrap_or(0);
        let full = self.position + bytes > segment_bytes || held + records > RECORDS_MAX as u64;
        if full && held > 0 {
            self.roll(sequence)?;
        }
        let end = self.position + bytes;
        if end > self.reserved {
            let target = end.next_multiple_of(RESERVE_STEP.min(segment_bytes)).max(end);
            self.active.file.allocate(target)?;
            self.reserved = target;
        }
        Ok(())
    }

    /// Begins another segment when the active one was begun with fewer partitions.
    pub fn roll_if_narrow(&mut self, sequence: u64) -> io::Result<()> {
        if self.active.start.len() < self.next.len() { self.roll(sequence) } else { Ok(()) }
    }

    /// Seals the active segment and begins the next one.
    pub fn roll(&mut self, sequence: u64) -> io::Result<()> {
        let number = self.active.number + 1;
        let seed = self.view.topic().cache.seed;
        let start = self.next.clone();
        let next = Arc::new(create_segment(&*self.storage, self.id, number, sequence, start, seed)?);
        self.window.roll(next.clone());
        self.unsynced.push(std::mem::replace(&mut self.active, next.clone()));
        self.position = next.header_bytes;
        self.reserved = self.position;
        self.directory_dirty = true;
        self.dirty = true;
        self.view.publish(|state| {
            let mut segments = state.segments.to_vec();
            segments.push(next.clone());
            state.segments = Arc::new(segments);
            state.end_byte = next.header_bytes;
        });
        Ok(())
    }

    /// Writes batches that stand one behind the other in `bytes`, and indexes them. Readers do not see them yet.
    pub fn append(&mut self, bytes: &Bytes, batches: &[Placed]) -> io::Result<()> {
        let Some(first) = batches.first().map(|batch| batch.range.start) else { return Ok(()) };
        let end = batches.last().map_or(first, |batch| batch.range.end);
        self.active.file.write_at(&bytes[first..end], self.position)?;
        let position = self.position;
        self.active.with_active(|index| {
            for Placed { head, range, hashes } in batches {
                let at = position + (range.start - first) as u64;
                index.push(at, head, &bytes.slice(range.clone()), hashes.as_deref());
            }
        });
        for Placed { head, .. } in batches {
            let next = &mut self.next[head.partition as usize];
            *next = head.next_offset.max(*next);
            self.appended_ms[head.partition as usize] = head.append_time_ms;
        }
        self.position += (end - first) as u64;
        self.dirty = true;
        Ok(())
    }

    /// Lets readers see everything appended to some stores, in one step.
    pub fn publish_all<'a>(stores: impl Iterator<Item = &'a Store>) {
        let change = |store: &'a Store| {
            let change = |state: &mut State| {
                state.ends.clone_from(&store.next);
                state.bytes += store.position.saturating_sub(state.end_byte);
                state.end_byte = store.position;
            };
            (&*store.view, change)
        };
        TopicView::publish_all(stores.map(change).collect());
    }

    /// What must be synced before a checkpoint may speak of this store: files, and whether the directory too. Sealed
    /// segments among them get a sidecar.
    pub fn take_unsynced(&mut self) -> Unsynced {
        let mut files = Vec::new();
        if std::mem::take(&mut self.dirty) {
            files.push(self.active.clone());
        }
        let sealed = std::mem::take(&mut self.unsynced);
        Unsynced {
            view: self.view.clone(),
            active: files,
            sealed,
            directory: std::mem::take(&mut self.directory_dirty),
        }
    }

    /// Where the store stands, for a checkpoint. It expects the holes there are, and those a compaction is about to make.
    pub fn mark(&self) -> StoreMark {
        let mut holes_below = self.view.state().holes_below;
        raise(&mut holes_below, &self.compacting);
        StoreMark {
            topic_id: self.id,
            segment: self.active.number,
            byte: self.position,
            next: self.next.clone(),
            holes_below,
            start: self.start.clone(),
        }
    }

    /// What is in its files may not be synced, whoever wrote it.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
        self.directory_dirty = true;
    }

    /// Decides whether a table topic is to be compacted: the number of the first segment to leave alone. Segments are
    /// compacted once as many bytes are new as were compacted before.
    ///
    /// Holes are expected in three places, each told no more than it must be, so that damage is not taken for them:
    /// the checkpoint of the job says all that the compaction may rewrite, before it begins; readers are told of each
    /// segment as it is put in place of the old one; and what the next checkpoint says is what readers were told. So a
    /// compaction that finds no space hides damage in nothing it did not rewrite. After a crash in the middle nobody
    /// knows how far it came: everything it might have rewritten counts as such, until it is compacted again, which the
    /// first checkpoint after the start does.
    pub fn begin_compaction(&mut self) -> Option<u64> {
        if self.spec.cleanup != Cleanup::Compact {
            return None;
        }
        let state = self.view.state();
        let covered: Vec<_> =
            state.segments.iter().filter(|s| s.number < self.checkpointed_segment).collect();
        let bytes = |compacted: bool| -> u64 {
            let same = covered.iter().filter(|s| (s.number < self.compacted_below) == compacted);
            same.map(|s| s.file.len().unwrap_or(0)).sum()
        };
        let fresh = bytes(false);
        if fresh == 0 || fresh < bytes(true) {
            return None;
        }
        let through = self.checkpointed_segment;
        let first_left = state.segments.iter().find(|s| s.number >= through)?;
        self.compacting.clone_from(&first_left.start);
        Some(through)
    }

    /// No compaction is under way any more; which segments the last one was through with, if it was.
    pub fn end_compaction(&mut self, through: Option<u64>) {
        self.compacting.clear();
        self.compacted_below = through.unwrap_or(self.compacted_below);
    }

    /// Whether anything was written since the last checkpoint.
    pub fn is_dirty(&self) -> bool {
        self.dirty || !self.unsynced.is_empty()
    }

    /// Raises the number of partitions: they begin empty in a segment of their own.
    pub fn add_partitions(&mut self, partitions: u32, sequence: u64) -> io::Result<()> {
        let count = partitions as usize;
        self.next.resize(count, 0);
        self.appended_ms.resize(count, i64::MIN);
        self.start.resize(count, 0);
        self.round.resize_with(count, Batches::default);
        self.spec.partitions = partitions;
        self.roll(sequence)
    }
}

/// What a store has to sync.
pub(crate) struct Unsynced {
    pub view: Arc<TopicView>,
    pub active: Vec<Arc<Segment>>,
    pub sealed: Vec<Arc<Segment>>,
    pub directory: bool,
}

/// Raises each offset to the one beside it.
pub(crate) fn raise(offsets: &mut [u64], to: &[u64]) {
    offsets.iter_mut().zip(to).for_each(|(offset, &to)| *offset = to.max(*offset));
}

fn create_segment(
    storage: &dyn Storage,
    topic_id: u32,
    number: u64,
    sequence: u64,
    start: Vec<u64>,
    seed: u64,
) -> io::Result<Segment> {
    let file = storage.open(&segment_path(&dir(topic_id), number), Mode::Write)?;
    let header = Header { topic_id, number, sequence, start };
    file.truncate(0)?;
    file.write_at(&header.encode(), 0)?;
    Ok(Segment::active(header, file, seed))
}

//! The writer's mind: what a round of commits becomes. Single-threaded; it owns journal, stores and catalog. In a mirror
//! there is no journal and no commit: its stores are appended to by [`mirror`](crate::mirror), the rest is the same.
//!
//! ```text
//! round(commits)  check guards, topics, identities; give offsets      nothing written yet
//!   journal       one frame, one sync                                 decided
//!   stores        copy each topic's batches, index them
//!   publish       move the watermark, wake readers
//!   answer
//! ```

use crate::batch::Stamp;
use crate::batches::Batches;
use crate::catalog::Catalog;
use crate::guards::Guards;
use crate::journal::{AppendError, FRAME_HEADER_BYTES, Journal};
use crate::mirror::Copier;
use crate::queue::Pending;
use crate::settings::{Fsync, Settings};
use crate::shared::Shared;
use crate::sidecar_cache::SidecarCache;
use crate::storage::Storage;
use crate::store::{Placed, Store};
use bytes::Bytes;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::identity::{Comparison, compare};
use dualstream_core::log::{Appended, Commit, Committed, PartCommitted};
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::topic::{TimestampKind, TopicName};
use dualstream_core::transaction::COMMIT_BYTES_MAX;
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// Everything the writer owns.
pub(crate) struct Engine {
    pub settings: Settings,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub shared: Arc<Shared>,
    pub catalog: Catalog,
    /// By topic id.
    pub stores: BTreeMap<u32, Store>,
    pub ids: HashMap<TopicName, u32>,
    /// `None` in a mirror: what decides stands elsewhere.
    pub journal: Option<Journal>,
    pub guards: Guards,
    /// Append time of the last round: never decreases.
    pub append_time_ms: i64,
    /// Sequence the last completed checkpoint covers.
    pub checkpointed: u64,
    /// Bytes written to the journal since the last checkpoint began.
    pub bytes_since_checkpoint: u64,
    /// Frames were written that are not synced (only with [`Fsync::Every`]).
    pub unsynced: bool,
    /// Set by a failed sync: the log is read-only from then on.
    pub failed: Option<Error>,
    /// Files no reader finds any more, to be removed after the next checkpoint.
    pub removals: Vec<String>,
    pub cache: Arc<SidecarCache>,
    /// Bytes written, and at how many the free space is looked at next.
    pub written_bytes: u64,
    pub next_space_check: u64,
    pub is_disk_full: bool,
    pub is_disk_warned: bool,
    /// Memory of the last frame.
    pub buffer: Vec<u8>,
    pub round: Round,
    /// What appends to a mirror are built with.
    pub copier: Copier,
}

/// The memory of a larger frame is given back.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// The free space is looked at after this many bytes.
const SPACE_CHECK_BYTES: u64 = 1 << 20;

/// The round being built.
#[derive(Default)]
pub(crate) struct Round {
    /// Events of this round by topic and identity hash: a second one of the same identity is a duplicate.
    pending: HashMap<(u32, u64), Vec<PendingEvent>>,
    /// Topics with records in it, in order of their ids.
    touched: BTreeMap<u32, u64>,
    bytes: usize,
    duplicates: u64,
}

struct PendingEvent {
    record: NewRecord,
    partition: u32,
    offset: u64,
}

/// A frame ready to be written: the batches of each topic stand together.
struct Frame {
    bytes: Vec<u8>,
    topics: Vec<(u32, Vec<Placed>)>,
    batches: u32,
}

/// Why a round ended early.
pub(crate) enum Stop {
    /// The journal has no free file: take a checkpoint, then do the round again.
    NeedsCheckpoint(Vec<Pending>),
}

impl Engine {
    /// Commits what waits in one frame and answers everyone.
    pub fn commit(&mut self, waiting: Vec<Pending>) -> std::result::Result<(), Stop> {
        if let Some(error) = self.failed.clone() {
            waiting.into_iter().for_each(|p| drop(p.answer.send(Err(error.clone()))));
            return Ok(());
        }
        if let Some(error) = self.check_space() {
            waiting.into_iter().for_each(|p| drop(p.answer.send(Err(error.clone()))));
            return Ok(());
        }
        self.append_time_ms = self.append_time_ms.max(self.clock.now_ms());
        let mut admitted = Vec::with_capacity(waiting.len());
        for pending in waiting {
            match self.admit(&pending.commit) {
                Ok(committed) => admitted.push((pending, committed)),
                Err(error) => drop(pending.answer.send(Err(error))),
            }
        }
        let duplicates = self.round.duplicates;
        let written = self.write_round();
        self.guards.settle(written.is_ok());
        self.clear_round();
        match written {
            Ok(records) => {
                let counters = &self.shared.counters;
                counters.commits.fetch_add(admitted.len() as u64, Relaxed);
                counters.records.fetch_add(records, Relaxed);
                if records > 0 {
                    counters.note_round(records);
                }
                counters.duplicates.fetch_add(duplicates, Relaxed);
                admitted
                    .into_iter()
                    .for_each(|(pending, committed)| drop(pending.answer.send(Ok(committed))));
                Ok(())
            }
            Err(AppendError::NoFreeFile) => {
                Err(Stop::NeedsCheckpoint(admitted.into_iter().map(|(p, _)| p).collect()))
            }
            Err(AppendError::NotWritten(error)) => {
                let error = crate::error::storage("write to the log; nothing was stored", error);
                admitted.into_iter().for_each(|(pending, _)| drop(pending.answer.send(Err(error.clone()))));
                Ok(())
            }
            Err(AppendError::Unknown(error)) => {
                let unknown = self.fail(error);
                admitted.into_iter().for_each(|(pending, _)| drop(pending.answer.send(Err(unknown.clone()))));
                Ok(())
            }
        }
    }

    /// Refuses commits while the disk is nearly full, so that checkpoints and other programs still have room. Looks
    /// again after every MiB written, and at every commit while it is full.
    pub fn check_space(&mut self) -> Option<Error> {
        if self.written_bytes < self.next_space_check && !self.is_disk_full {
            return None;
        }
        self.next_space_check = self.written_bytes + SPACE_CHECK_BYTES;
        let (free, total) = self.storage.free_bytes().ok()?;
        let was_full = std::mem::replace(&mut self.is_disk_full, free < self.settings.free_bytes_min);
        if self.is_disk_full && !was_full {
            tracing::error!(
                free,
                total,
                "the disk is nearly full; publishing stops until there is space again"
            );
        } else if was_full && !self.is_disk_full {
            tracing::info!(free, total, "the disk has space again; publishing goes on");
        } else if free < total / 5 && !std::mem::replace(&mut self.is_disk_warned, true) {
            tracing::warn!(free, total, "the disk is more than 80 % full");
        }
        self.is_disk_full.then(|| {
            let limit = self.settings.free_bytes_min;
            Error::new(
                ErrorKind::Full,
                "storage_full",
                format!("{free} bytes are free on the log's disk, {limit} are kept free; nothing was stored"),
            )
            .with_limit(limit)
        })
    }

    /// Nothing is written any more; what waits has an unknown outcome. (A mirror is emptied and goes on.)
    pub fn fail(&mut self, error: std::io::Error) -> Error {
        if self.is_mirror() {
            return self.empty(error);
        }
        let error = Arc::new(error);
        let with =
            |kind, code, message: &'static str| Error::new(kind, code, message).with_source(error.clone());
        tracing::error!(%error, "the log could not be synced; it is read-only until the next start");
        let later = with(
            ErrorKind::Unavailable,
            "log_unavailable",
            "the log failed to sync its disk and takes nothing until it is started again; nothing was stored",
        );
        self.shared.queue.fail(&later);
        self.failed = Some(later);
        with(ErrorKind::Unknown, "outcome_unknown", "the log failed to sync its disk; retry with the same id")
    }

    /// Checks a commit and adds it to the round. An error leaves the round as it was.
    fn admit(&mut self, commit: &Commit) -> Result<Committed> {
        self.check(commit)?;
        let mut known = Vec::new();
        for part in &commit.parts {
            let id = self.ids[&part.topic];
            for record in &part.records {
                known.push(self.known(id, record)?);
            }
        }
        let mut known = known.into_iter();
        let mut parts = Vec::with_capacity(commit.parts.len());
        for part in &commit.parts {
            let id = self.ids[&part.topic];
            let place = |record| match known.next().flatten() {
                Some(appended) => appended,
                None => self.place(id, part.partition as usize, record),
            };
            let records: Vec<Appended> = part.records.iter().map(place).collect();
            parts.push(PartCommitted { epoch: self.catalog.topics[&id].epoch, records });
        }
        let duplicates =
            parts.iter().flat_map(|p| &p.records).filter(|r| matches!(r, Appended::Duplicate { .. }));
        self.round.duplicates += duplicates.count() as u64;
        self.guards.stage(commit);
        Ok(Committed { parts })
    }

    fn check(&self, commit: &Commit) -> Result<()> {
        let limit = self.round_bytes_max();
        let bytes = crate::queue::weight(&commit.parts);
        if bytes > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "commit_too_large",
                format!("the commit is {bytes} bytes; the limit is {limit}"),
            )
            .with_limit(limit as u64));
        }
        if let Some(guard) = &commit.guard {
            self.guards.check(guard)?;
        }
        Guards::check_records(commit)?;
        for part in &commit.parts {
            let id = self.ids.get(&part.topic).ok_or_else(|| crate::error::unknown_topic(&part.topic))?;
            let partitions = self.stores[id].next.len();
            if part.partition as usize >= partitions {
                return Err(Error::invalid(
                    "unknown_partition",
                    "partition",
                    format!("'{}' has {partitions} partitions", part.topic),
                ));
            }
        }
        Ok(())
    }

    /// Gives a record its offset in the round, or finds that it repeats an event of the round.
    fn place(&mut self, id: u32, partition: usize, record: &NewRecord) -> Appended {
        let checked = record.identity.filter(|i| i.check).map(|i| (id, i.hash));
        for earlier in checked.and_then(|key| self.round.pending.get(&key)).into_iter().flatten() {
            let stored = as_stored(earlier);
            if let Some(found) = judge(&stored, record) {
                return found;
            }
        }
        let store = self.stores.get_mut(&id).expect("every topic of the catalog has a store");
        let batches = &mut store.round[partition];
        let offset = store.next[partition] + batches.records();
        let own_time = (store.spec.timestamp == TimestampKind::Create)
            .then(|| record.timestamp_ms.unwrap_or(self.append_time_ms));
        batches.push(record, own_time);
        *self.round.touched.entry(id).or_default() += 1;
        self.round.bytes += record.weight();
        if let Some(key) = checked {
            self.round.pending.entry(key).or_default().push(PendingEvent {
                record: record.clone(),
                partition: partition as u32,
                offset,
            });
        }
        Appended::Stored(offset)
    }

    /// Most bytes of commits that are taken for one round. Also with large journal files: a round may be one batch, and no
    /// reader takes one of any size.
    pub fn round_bytes_max(&self) -> usize {
        let fits = self.journal.as_ref().map_or(usize::MAX, |journal| journal.body_bytes_max() / 2);
        COMMIT_BYTES_MAX.min(fits)
    }

    /// Sequence of the last round; 0 in a mirror, which has none.
    pub fn sequence(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::sequence)
    }

    /// Whether what decides stands elsewhere.
    pub fn is_mirror(&self) -> bool {
        self.journal.is_none()
    }

    fn journal(&mut self) -> std::result::Result<&mut Journal, AppendError> {
        let none = || AppendError::NotWritten(std::io::Error::other("a mirror has no journal"));
        self.journal.as_mut().ok_or_else(none)
    }

    /// Where the same event, or another body under its identity, stands; of before the partitions were raised maybe in
    /// another partition than its key has now.
    pub fn known(&mut self, id: u32, record: &NewRecord) -> Result<Option<Appended>> {
        let Some(identity) = record.identity.filter(|i| i.check) else { return Ok(None) };
        let Some(store) = self.stores.get_mut(&id) else { return Ok(None) };
        let oldest_ms = self.append_time_ms.saturating_sub_unsigned(self.settings.dedup_window_ms);
        let view = store.view.clone();
        store.window.find(&view.topic(), identity.hash, |stored| {
            if stored.append_time_ms < oldest_ms {
                return ControlFlow::Break(None);
            }
            let is_visible = stored.offset >= view.start_of(stored.partition);
            match judge(stored, record).filter(|_| is_visible) {
                Some(found) => ControlFlow::Break(Some(found)),
                None => ControlFlow::Continue(()),
            }
        })
    }

    /// Writes the round; number of records written.
    fn write_round(&mut self) -> std::result::Result<u64, AppendError> {
        if self.round.touched.is_empty() {
            return Ok(0);
        }
        let mut frame = self.build();
        let body = frame.bytes.len() - FRAME_HEADER_BYTES;
        let checkpointed = self.checkpointed;
        self.journal()?.reserve(body, checkpointed)?;
        let sequence = self.sequence() + 1;
        for (id, batches) in &frame.topics {
            let bytes: usize = batches.iter().map(|batch| batch.range.len()).sum();
            let records = batches.iter().map(|batch| u64::from(batch.head.count)).sum();
            if let Some(store) = self.stores.get_mut(id) {
                store
                    .reserve(bytes as u64, records, sequence, self.settings.segment_bytes)
                    .map_err(AppendError::NotWritten)?;
            }
        }
        let append_time_ms = self.append_time_ms;
        self.journal()?.append(&mut frame.bytes, append_time_ms, frame.batches)?;
        self.bytes_since_checkpoint += frame.bytes.len() as u64;
        self.written_bytes += frame.bytes.len() as u64;
        self.shared.counters.rounds.fetch_add(1, Relaxed);
        self.shared.counters.journal_bytes.fetch_add(frame.bytes.len() as u64, Relaxed);
        match self.settings.fsync {
            Fsync::Always => self.sync().map_err(AppendError::Unknown)?,
            Fsync::Every(_) => self.unsynced = true,
        }
        let bytes = Bytes::from(frame.bytes);
        let mut records = 0;
        for (id, batches) in &frame.topics {
            records += batches.iter().map(|batch| u64::from(batch.head.count)).sum::<u64>();
            if let Some(store) = self.stores.get_mut(id) {
                // Decided and durable, but not readable before the next start: as bad as a failed sync.
                store.append(&bytes, batches).map_err(AppendError::Unknown)?;
            }
        }
        Store::publish_all(frame.topics.iter().filter_map(|(id, _)| self.stores.get(id)));
        self.keep_buffer(bytes);
        Ok(records)
    }

    /// Keeps the memory of a frame for the next one: fresh pages cost more than what is done in them.
    pub fn keep_buffer(&mut self, frame: Bytes) {
        if frame.len() <= BUFFER_BYTES_MAX
            && let Ok(buffer) = frame.try_into_mut()
        {
            self.buffer = buffer.into();
            self.buffer.clear();
        }
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) -> std::io::Result<()> {
        let begun = Instant::now();
        if let Some(journal) = &mut self.journal {
            journal.sync()?;
        }
        self.unsynced = false;
        self.shared.counters.fsyncs.fetch_add(1, Relaxed);
        self.shared.counters.fsync_latency.record(Instant::now() - begun);
        Ok(())
    }

    fn build(&mut self) -> Frame {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.reserve(FRAME_HEADER_BYTES + self.round.bytes * 9 / 8 + 4096);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        let mut frame = Frame { bytes, topics: Vec::with_capacity(self.round.touched.len()), batches: 0 };
        let sequence = self.sequence() + 1;
        for &id in self.round.touched.keys() {
            let Some(store) = self.stores.get_mut(&id) else { continue };
            let mut batches = Vec::new();
            for (partition, round) in store.round.iter_mut().enumerate() {
                let mut base_offset = store.next[partition];
                for builder in round.each() {
                    let start = frame.bytes.len();
                    let stamp = Stamp {
                        topic_id: id,
                        partition: partition as u32,
                        base_offset,
                        sequence,
                        append_time_ms: self.append_time_ms,
                    };
                    let hashes = Some(builder.take_hashes());
                    let head = builder.finish(&mut frame.bytes, stamp, None, self.settings.compression);
                    base_offset = head.next_offset;
                    batches.push(Placed { head, range: start..frame.bytes.len(), hashes });
                }
            }
            frame.batches += batches.len() as u32;
            frame.topics.push((id, batches));
        }
        frame
    }

    fn clear_round(&mut self) {
        for id in self.round.touched.keys() {
            if let Some(store) = self.stores.get_mut(id) {
                store.round.iter_mut().for_each(Batches::clear);
            }
        }
        self.round.pending.clear();
        self.round.touched.clear();
        self.round.bytes = 0;
        self.round.duplicates = 0;
    }
}

/// What a stored event says of one to append.
fn judge(stored: &Record, new: &NewRecord) -> Option<Appended> {
    let &Record { partition, offset, .. } = stored;
    match compare(stored, new) {
        Comparison::Same => Some(Appended::Duplicate { partition, offset }),
        Comparison::OtherBody => Some(Appended::Conflict { partition, offset }),
        Comparison::OtherIdentity => None,
    }
}

/// An event of the same round, as it will be stored.
fn as_stored(PendingEvent { record, partition, offset }: &PendingEvent) -> Record {
    Record {
        partition: *partition,
        offset: *offset,
        append_time_ms: 0,
        timestamp_ms: 0,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}

//! How runs of a log that stands elsewhere become batches: at their offsets, without a gap between them, and without the
//! records that repeat an event.

use crate::batch::{Builder, Compression, Stamp, bytes_of};
use crate::batches::BATCH_BYTES;
use crate::engine::Engine;
use crate::store::{Placed, Store};
use crate::window::Map;
use bytes::Bytes;
use dualstream_core::log::Appended;
use dualstream_core::mirror::{Checked, Run, looks_back};
use dualstream_core::record::{NewRecord, Record};
use dualstream_core::topic::{TimestampKind, TopicName};
use dualstream_core::{Error, ErrorKind, Result, hidden, identity};
use std::sync::atomic::Ordering::Relaxed;

/// The memory of appends, kept from one to the next.
#[derive(Default)]
pub(crate) struct Copier {
    builder: Builder,
    /// Identity hashes of the records in `builder`.
    hashes: Vec<u64>,
}

/// What runs became.
struct Copied {
    batches: Vec<Placed>,
    hidden: Vec<Record>,
}

/// Bytes that runs count for in the queue.
pub(super) fn weight(runs: &[Run]) -> usize {
    runs.iter().flat_map(|run| &run.records).map(|record| size_of::<Record>() + payload(record)).sum()
}

fn payload(record: &Record) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    length(&record.key) + length(&record.value) + bytes_of(&record.headers)
}

impl Engine {
    /// Appends runs to a topic, all of them or none, and shows them to readers; how many records were left out.
    ///
    /// # Errors
    /// `unknown_topic`, `unknown_partition`, `mirror_out_of_step`, `mirror_looks_back`, errors of the storage.
    pub fn copy(&mut self, name: &TopicName, runs: &[Run], known_from: &[u64]) -> Result<u64> {
        let copied = self.try_copy(name, runs, known_from);
        self.doubt_files(&copied);
        copied
    }

    fn try_copy(&mut self, name: &TopicName, runs: &[Run], known_from: &[u64]) -> Result<u64> {
        if let Some(error) = self.check_space() {
            return Err(error);
        }
        let id = self.id_of(name)?;
        let store = self.stores.get_mut(&id).ok_or_else(|| crate::error::unknown_topic(name))?;
        check_runs(name, &store.next, runs)?;
        check_reach(&store.view.state().segments[0].start, runs, known_from)?;
        let mut bytes = std::mem::take(&mut self.buffer);
        let Copied { batches, hidden } =
            self.copier.encode(store, runs, self.settings.compression, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let records = batches.iter().map(|batch| u64::from(batch.head.count)).sum();
        let failed = |error| crate::error::storage("write to the mirror", error);
        store.reserve(bytes.len() as u64, records, 0, self.settings.segment_bytes).map_err(failed)?;
        store.append(&bytes, &batches).map_err(failed)?;
        Store::publish_all(std::iter::once(&*store));
        self.bytes_since_checkpoint += bytes.len() as u64;
        self.written_bytes += bytes.len() as u64;
        self.shared.counters.records.fetch_add(records, Relaxed);
        self.shared.counters.hidden.fetch_add(hidden.len() as u64, Relaxed);
        drop(batches);
        let count = hidden.len() as u64;
        hidden.into_iter().for_each(|record| store.left_out.add(record));
        self.keep_buffer(bytes);
        Ok(count)
    }

    /// Looks events up that are to be appended upstream, each with the partition it goes to.
    ///
    /// # Errors
    /// `unknown_topic`, `unknown_partition`, `storage_error`.
    pub fn check_events(&mut self, name: &TopicName, events: &[(u32, NewRecord)]) -> Result<Vec<Checked>> {
        let checked = self.try_check(name, events);
        self.doubt_files(&checked);
        checked
    }

    fn try_check(&mut self, name: &TopicName, events: &[(u32, NewRecord)]) -> Result<Vec<Checked>> {
        let id = self.id_of(name)?;
        self.append_time_ms = self.append_time_ms.max(self.clock.now_ms());
        let check = |(partition, record): &(u32, NewRecord)| {
            let seen = self.stores[&id].next.get(*partition as usize).copied();
            let seen = seen.ok_or_else(|| unknown_partition(name))?;
            let found = match self.known(id, record) {
                // It is about this event alone.
                Err(error) if error.kind() == ErrorKind::Conflict => Some(Appended::Failed(error)),
                found => found?,
            };
            Ok(Checked { found, seen })
        };
        events.iter().map(check).collect()
    }
}

/// Whether runs begin where their partitions end, or after that, and their records follow each other.
fn check_runs(name: &TopicName, next: &[u64], runs: &[Run]) -> Result<()> {
    let mut ends = next.to_vec();
    for run in runs {
        let end = ends.get_mut(run.partition as usize).ok_or_else(|| unknown_partition(name))?;
        for offset in run.records.iter().map(|record| record.offset) {
            if offset < *end {
                return Err(out_of_step(run, *end));
            }
            *end = offset.saturating_add(1);
        }
        if run.next < *end || run.topic != *name {
            return Err(out_of_step(run, *end));
        }
        *end = run.next;
    }
    Ok(())
}

fn unknown_partition(name: &TopicName) -> Error {
    Error::invalid("unknown_partition", "partition", format!("'{name}' has no such partition"))
}

/// Whether what the records may repeat is held, or known to whoever appends them. The window forgets with the segments.
fn check_reach(begins: &[u64], runs: &[Run], known_from: &[u64]) -> Result<()> {
    for run in runs {
        let of = |offsets: &[u64]| offsets.get(run.partition as usize).copied().unwrap_or(0);
        let (begin, known_from) = (of(begins), of(known_from));
        let reaches = |record| hidden::looked_for_in(record).is_some_and(|range| range.start < begin);
        if known_from < begin && run.records.iter().any(reaches) {
            return Err(looks_back());
        }
    }
    Ok(())
}

fn out_of_step(run: &Run, end: u64) -> Error {
    let (topic, partition) = (&run.topic, run.partition);
    let message = format!("'{topic}'/{partition} goes on at {end} here; nothing was appended");
    Error::new(ErrorKind::Conflict, "mirror_out_of_step", message).with_limit(end)
}

impl Copier {
    /// Puts the batches of runs into `out`, in order. In each partition one begins where the one before it ended, so that
    /// no hole of the log is taken for damage.
    fn encode(
        &mut self,
        store: &mut Store,
        runs: &[Run],
        compression: Compression,
        out: &mut Vec<u8>,
    ) -> Result<Copied> {
        // What an append that failed has left.
        self.builder.clear();
        self.hashes.clear();
        let mut ends: Vec<(u64, i64)> =
            store.next.iter().copied().zip(store.appended_ms.iter().copied()).collect();
        let mut earlier = Earlier::new(runs, store.view.topic().cache.seed);
        let mut batching = Batching { copier: self, out, compression, batches: Vec::new() };
        for run in runs {
            let own_end = &mut ends[run.partition as usize];
            let mut batch = Batch::of(store, run.partition, *own_end);
            earlier.begins.push(earlier.hashes.len());
            for record in &run.records {
                let hash = identity::of_record(record).unwrap_or(0);
                let is_hidden = earlier.hides(store, run.partition, record, hash)?;
                // What is left out hides others as well.
                earlier.hashes.push(hash);
                if is_hidden {
                    earlier.hidden.push(record.clone());
                } else {
                    batching.push(&mut batch, record, hash);
                }
            }
            if run.next > batch.stamp.base_offset {
                batching.finish(&mut batch, Some(run.next));
            }
            *own_end = (run.next, batch.stamp.append_time_ms);
        }
        Ok(Copied { batches: batching.batches, hidden: earlier.hidden })
    }
}

/// The batch that is built.
struct Batch {
    stamp: Stamp,
    /// Records bring times of their own, of which the append time is the latest so far.
    is_create: bool,
    own_time: bool,
}

impl Batch {
    fn of(store: &Store, partition: u32, (base_offset, append_time_ms): (u64, i64)) -> Batch {
        let is_create = store.spec.timestamp == TimestampKind::Create;
        let stamp = Stamp { topic_id: store.id, partition, base_offset, sequence: 0, append_time_ms };
        Batch { stamp, is_create, own_time: is_create }
    }
}

/// Builds batches one after the other.
struct Batching<'a> {
    copier: &'a mut Copier,
    out: &'a mut Vec<u8>,
    compression: Compression,
    batches: Vec<Placed>,
}

impl Batching<'_> {
    fn push(&mut self, batch: &mut Batch, record: &Record, hash: u64) {
        // On topics that stamp records themselves there may be some of before they did.
        let own_time = batch.is_create || record.timestamp_ms != record.append_time_ms;
        let builder = &self.copier.builder;
        if !builder.is_empty() {
            let fits = builder.bytes() + payload(record) <= BATCH_BYTES;
            let is_same_time = batch.is_create || record.append_time_ms == batch.stamp.append_time_ms;
            if !(fits && is_same_time && own_time == batch.own_time) {
                self.finish(batch, None);
            }
        }
        batch.own_time = own_time;
        let before_ms = if batch.is_create { batch.stamp.append_time_ms } else { i64::MIN };
        batch.stamp.append_time_ms = record.append_time_ms.max(before_ms);
        self.copier.builder.push_at(batch.stamp.base_offset, record, own_time);
        self.copier.hashes.push(hash);
    }

    /// Ends a batch; the next one begins at `next`, or behind its last record.
    fn finish(&mut self, batch: &mut Batch, next: Option<u64>) {
        let start = self.out.len();
        let head = self.copier.builder.finish(self.out, batch.stamp, next, self.compression);
        batch.stamp.base_offset = head.next_offset;
        let hashes = Some(self.copier.hashes.as_slice().into());
        self.copier.hashes.clear();
        self.batches.push(Placed { head, range: start..self.out.len(), hashes });
    }
}

/// The records of one append so far: a later one of them may repeat an earlier one.
struct Earlier<'a> {
    runs: &'a [Run],
    /// Of each run, how many records were before it.
    begins: Vec<usize>,
    /// Identity hash of each record; 0 for one that is no event.
    hashes: Vec<u64>,
    /// Made when somebody looks.
    map: Map,
    hidden: Vec<Record>,
}

impl<'a> Earlier<'a> {
    fn new(runs: &'a [Run], seed: u64) -> Earlier<'a> {
        let records = runs.iter().map(|run| run.records.len()).sum();
        let (begins, hashes) = (Vec::with_capacity(runs.len()), Vec::with_capacity(records));
        Earlier { runs, begins, hashes, map: Map::new(seed), hidden: Vec::new() }
    }

    /// Whether a record is hidden by one of before it, which may itself have been left out.
    fn hides(&mut self, store: &mut Store, partition: u32, record: &Record, hash: u64) -> Result<bool> {
        let Some(range) = hidden::looked_for_in(record).filter(|_| hash != 0) else { return Ok(false) };
        self.map.extend(&self.hashes);
        for ordinal in self.map.get(hash) {
            let (of, earlier) = self.record(ordinal as usize);
            let stands = of == partition && range.contains(&earlier.offset);
            if stands && identity::is_same_event(earlier, record) {
                return Ok(true);
            }
        }
        if store.left_out.hides(record) {
            return Ok(true);
        }
        let is_it = |earlier: &Record| identity::is_same_event(earlier, record);
        let view = store.view.clone();
        store.window.repeats(&view.topic(), hash, partition, range, is_it)
    }

    fn record(&self, ordinal: usize) -> (u32, &Record) {
        let run = self.begins.partition_point(|&begin| begin <= ordinal) - 1;
        (self.runs[run].partition, &self.runs[run].records[ordinal - self.begins[run]])
    }
}

//! Upkeep: checkpoints and retention. Decisions are made here by the writer; the slow part is a [`Job`].

use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::job::{Job, Outcome, Step};
use crate::journal::Journal;
use crate::segment::{Segment, segment_path, sidecar_path};
use crate::settings::Fsync;
use crate::store::Store;
use crate::topic::State;
use dualstream_core::Error;
use dualstream_core::topic::Cleanup;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

/// Most segments of a topic that one job measures: each may be a sidecar to build again.
const MEASURED_MAX: usize = 64;

/// When a checkpoint is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Before the log is open.
    Opened,
    Running,
    /// The process ends in order after it.
    Closed,
}

impl Engine {
    /// Whether enough was written since the last checkpoint.
    pub fn wants_checkpoint(&self) -> bool {
        self.bytes_since_checkpoint >= self.settings.checkpoint_bytes
            || self.journal.as_ref().is_some_and(|journal| journal.is_half_full(self.checkpointed))
    }

    /// The job that brings a checkpoint to the disk; `None` when nothing changed since the last one.
    ///
    /// # Errors
    /// A failed sync of the journal (only without sync before the ack).
    pub fn checkpoint_job(&mut self, occasion: Occasion) -> io::Result<Option<Job>> {
        let files = std::mem::take(&mut self.removals);
        let clean = occasion == Occasion::Closed;
        let tables: Vec<Step> = match occasion {
            Occasion::Running => self.begin_compactions().into_iter().chain(self.measures()).collect(),
            // Nobody waits for that before the log is open, or closed.
            Occasion::Opened | Occasion::Closed => Vec::new(),
        };
        let dirty = self.stores.values().any(Store::is_dirty) || self.sequence() > self.checkpointed;
        if !dirty && !clean && files.is_empty() && tables.is_empty() {
            return Ok(None);
        }
        if self.unsynced {
            // The stores must never be ahead of the journal on the disk.
            self.sync()?;
        }
        self.bytes_since_checkpoint = 0;
        let mut steps = VecDeque::new();
        let mut directories = Vec::new();
        for store in self.stores.values_mut() {
            let unsynced = store.take_unsynced();
            for segment in unsynced.sealed {
                steps.push_back(Step::Sync(segment.clone()));
                steps.push_back(Step::Sidecar(unsynced.view.clone(), segment));
            }
            steps.extend(unsynced.active.into_iter().map(Step::Sync));
            if unsynced.directory {
                directories.push(Step::SyncDir(unsynced.view.dir.clone()));
            }
        }
        steps.extend(directories);
        steps.push_back(Step::Checkpoint(self.checkpoint(clean)));
        steps.extend(self.stores.values().filter_map(to_hide));
        steps.extend(files.into_iter().map(Step::Remove));
        steps.extend(tables);
        Ok(Some(Job::new(self.storage.clone(), steps)))
    }

    fn begin_compactions(&mut self) -> Vec<Step> {
        if self.is_mirror() {
            // It holds what its log holds, within its bounds: what was compacted there does not come.
            return Vec::new();
        }
        let now_ms = self.append_time_ms.max(self.clock.now_ms());
        let begin = |store: &mut Store| {
            store.begin_compaction().map(|through| Step::Compact(store.view.clone(), through, now_ms))
        };
        self.stores.values_mut().filter_map(begin).collect()
    }

    /// The segments retention and the dedup windows have to know of next: the oldest and the newest of each topic.
    fn measures(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for store in self.stores.values() {
            let state = store.view.state();
            let unknown: Vec<_> = state.segments.iter().filter(|s| s.extent().is_none()).collect();
            let rest = unknown.len().saturating_sub(MEASURED_MAX / 2).max(MEASURED_MAX / 2);
            let wanted = unknown.iter().take(MEASURED_MAX / 2).chain(unknown.iter().skip(rest));
            steps.extend(wanted.map(|&s| Step::Measure(store.view.clone(), s.clone())));
        }
        steps
    }

    /// Where everything stands now.
    pub fn checkpoint(&self, clean: bool) -> Checkpoint {
        Checkpoint {
            clean,
            fsync_always: self.settings.fsync == Fsync::Always,
            sequence: self.sequence(),
            generation: self.journal.as_ref().map_or(0, Journal::generation),
            append_time_ms: self.append_time_ms,
            stores: self.stores.values().map(Store::mark).collect(),
        }
    }

    /// Takes over what a job did. An error is answered to the commits that waited for it; one other than a full disk
    /// ends the log.
    pub fn checkpoint_done(&mut self, outcome: Outcome) -> Option<Error> {
        for (topic, number) in outcome.sidecars {
            if let Some(store) = self.stores.get_mut(&topic) {
                store.window.sidecar_written(number);
            }
        }
        for (topic, segment) in outcome.replaced {
            if let Some(store) = self.stores.get_mut(&topic) {
                store.window.replace(segment);
            }
        }
        for store in self.stores.values_mut() {
            let done = outcome.compacted.iter().find(|(topic, _)| *topic == store.id);
            store.end_compaction(done.map(|(_, through)| *through));
        }
        if let Some(checkpoint) = outcome.checkpoint {
            self.checkpointed = checkpoint.sequence;
            self.shared.counters.checkpoints.fetch_add(1, Relaxed);
            for mark in checkpoint.stores {
                if let Some(store) = self.stores.get_mut(&mark.topic_id) {
                    store.checkpointed_segment = mark.segment;
                }
            }
        }
        // Oldest first, always: a file that is left while later ones go would come back as a hole.
        self.removals.splice(..0, outcome.unremoved);
        let error = outcome.error?;
        if error.kind() == io::ErrorKind::StorageFull {
            tracing::warn!(%error, "no space for a checkpoint; trying again later");
            return Some(crate::error::storage("take a checkpoint; nothing was stored", error));
        }
        Some(self.fail(error))
    }

    /// Gives up what retention allows: whole sealed segments, oldest first, that the last checkpoint covers. Readers are
    /// told once the next checkpoint says so.
    pub fn retain(&mut self) {
        let now = self.append_time_ms.max(self.clock.now_ms());
        let is_mirror = self.is_mirror();
        let mut bytes = 0;
        for store in self.stores.values_mut() {
            let state = store.view.state();
            let keeps_latest = store.spec.cleanup == Cleanup::Compact && !is_mirror;
            let gone = expired(store, &state, now, keeps_latest);
            self.removals.extend(give_up(store, &state, gone));
            let oldest_ms = now.saturating_sub_unsigned(self.settings.dedup_window_ms);
            let records_max = self.settings.dedup_ids_max.saturating_mul(store.next.len() as u64);
            store.window.forget(state.segments[0].number, oldest_ms, records_max, is_mirror);
            bytes += state.bytes;
        }
        self.shared.counters.store_bytes.store(bytes, Relaxed);
    }
}

/// How many of the oldest segments may go.
fn expired(store: &Store, state: &State, now_ms: i64, keeps_latest: bool) -> usize {
    let covered = |segment: &Segment| segment.number < store.checkpointed_segment;
    let mut bytes = state.bytes;
    let mut gone = 0;
    for (segment, next) in state.segments.iter().zip(state.segments.iter().skip(1)) {
        let trimmed = next.start.iter().zip(&state.start).all(|(next, start)| next <= start);
        let by_size = store.spec.retention_bytes.is_some_and(|limit| bytes > limit);
        let by_age = store.spec.retention_ms.is_some_and(|limit| {
            let oldest_ms = now_ms.saturating_sub_unsigned(limit);
            segment.extent().is_some_and(|extent| extent.newest_ms < oldest_ms)
        });
        let retained = keeps_latest || !(by_size || by_age);
        if !covered(segment) || (retained && !trimmed) {
            break;
        }
        bytes = bytes.saturating_sub(segment.file.len().unwrap_or(0));
        gone += 1;
    }
    gone
}

/// What of a store was given up and is not hidden yet.
fn to_hide(store: &Store) -> Option<Step> {
    let hidden = store.view.state().segments[0].number >= store.first_kept;
    (!hidden).then(|| Step::Hide(store.view.clone(), store.first_kept))
}

/// Gives up the oldest `count` segments; the files to remove, oldest first.
fn give_up(store: &mut Store, state: &State, count: usize) -> Vec<String> {
    let (old, kept) = state.segments.split_at(count);
    let first = &kept[0];
    let fresh = old.iter().filter(|s| s.number >= store.first_kept);
    let dir = &store.view.dir;
    let files = fresh.flat_map(|s| [sidecar_path(dir, s.number), segment_path(dir, s.number)]).collect();
    if first.number > store.first_kept && count > 0 {
        store.first_kept = first.number;
        store.start.iter_mut().zip(&first.start).for_each(|(start, &first)| *start = first.max(*start));
    }
    files
}

#[cfg(test)]
mod tests;

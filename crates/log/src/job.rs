//! A checkpoint job: everything that must reach the disk, in order, away from the writer.
//!
//! ```text
//! sync sealed segments, write and sync their sidecars ─▶ sync active segments ─▶ sync directories
//!      ─▶ replace the checkpoint ─▶ hide, then remove, what retention gave up ─▶ compact tables
//!      ─▶ measure segments that are not known yet
//! ```
//! The steps are data, so that a thread runs them in production and a simulation one at a time.

use crate::checkpoint::Checkpoint;
use crate::compaction;
use crate::error::{is_sync_failed, sync_failed};
use crate::leftovers::is_own;
use crate::segment::{Segment, sidecar_path};
use crate::sidecar_cache;
use crate::storage::{Storage, remove_if_there};
use crate::topic::TopicView;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What is left to do, and what it amounts to.
pub(crate) struct Job {
    storage: Arc<dyn Storage>,
    steps: VecDeque<Step>,
    outcome: Outcome,
}

/// One call of the storage, or little more.
pub(crate) enum Step {
    /// Makes a segment's bytes durable.
    Sync(Arc<Segment>),
    /// Writes the sidecar of a sealed segment.
    Sidecar(Arc<TopicView>, Arc<Segment>),
    /// Makes a directory durable.
    SyncDir(String),
    /// Replaces the checkpoint.
    Checkpoint(Checkpoint),
    /// Hides the segments before that number from readers.
    Hide(Arc<TopicView>, u64),
    /// Removes a file or a directory, if it is there.
    Remove(String),
    /// Compacts the segments of a table topic before that number; the time is now, in ms since 1970.
    Compact(Arc<TopicView>, u64, i64),
    /// Looks up how many records a sealed segment holds, and how old the newest is.
    Measure(Arc<TopicView>, Arc<Segment>),
}

/// What a job amounts to.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The error that ended it.
    pub error: Option<io::Error>,
    /// The checkpoint it wrote.
    pub checkpoint: Option<Checkpoint>,
    /// Topic and number of segments whose sidecar is on disk now.
    pub sidecars: Vec<(u32, u64)>,
    /// Topic and segments that a compaction put in place of others.
    pub replaced: Vec<(u32, Arc<Segment>)>,
    /// Topic and first segment left alone of each compaction that is done.
    pub compacted: Vec<(u32, u64)>,
    /// Files still to be removed, in order.
    pub unremoved: Vec<String>,
}

impl Job {
    pub fn new(storage: Arc<dyn Storage>, steps: VecDeque<Step>) -> Job {
        Job { storage, steps, outcome: Outcome::default() }
    }

    /// Does the next step; the outcome when none is left or one failed.
    pub fn step(&mut self) -> Option<Outcome> {
        let Some(step) = self.steps.pop_front() else { return Some(std::mem::take(&mut self.outcome)) };
        match self.run_step(step) {
            Ok(()) => None,
            Err(error) => {
                self.outcome.error = Some(error);
                let removal = |step| if let Step::Remove(path) = step { Some(path) } else { None };
                self.outcome.unremoved.extend(self.steps.drain(..).filter_map(removal));
                Some(std::mem::take(&mut self.outcome))
            }
        }
    }

    /// Does everything.
    pub fn run(mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.step() {
                return outcome;
            }
        }
    }

    fn run_step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Sync(segment) => segment.file.sync().map_err(sync_failed),
            Step::Sidecar(view, segment) => {
                // A sidecar is a cache: without it the segment is scanned.
                match sidecar_cache::write(&view.topic(), &segment) {
                    Ok(()) => {
                        segment.seal();
                        self.outcome.sidecars.push((view.id, segment.number));
                    }
                    Err(error) => {
                        let path = sidecar_path(&view.dir, segment.number);
                        tracing::warn!(path, %error, "could not write a sidecar; the segment's index stays in memory");
                    }
                }
                Ok(())
            }
            Step::SyncDir(dir) => self.storage.sync_dir(&dir).map_err(sync_failed),
            Step::Checkpoint(checkpoint) => {
                checkpoint.store(&*self.storage)?;
                self.outcome.checkpoint = Some(checkpoint);
                Ok(())
            }
            Step::Compact(view, through, now_ms) => {
                let replaced = |segment| self.outcome.replaced.push((view.id, segment));
                match compaction::compact(&*self.storage, &view, through, now_ms, replaced) {
                    Ok(done) => {
                        self.outcome.compacted.push((view.id, through));
                        tracing::info!(topic = %view.name, done.bytes_before, done.bytes_after, "compacted");
                        Ok(())
                    }
                    Err(error) if is_sync_failed(&error) => Err(error),
                    // Every segment is either as it was or replaced whole: nothing is lost but space.
                    Err(error) => {
                        tracing::warn!(topic = %view.name, %error, "could not be compacted; trying again later");
                        Ok(())
                    }
                }
            }
            Step::Hide(view, first_kept) => {
                view.hide_before(first_kept);
                Ok(())
            }
            Step::Measure(view, segment) => {
                if let Err(error) = segment.measure(&view.topic()) {
                    // It is kept until it can be read: retention and the window come too late, nothing is lost.
                    tracing::debug!(topic = %view.name, segment = segment.number, %error, "not measured");
                }
                Ok(())
            }
            Step::Remove(path) => {
                // Oldest first, always: behind one that cannot be removed all are left.
                if !self.outcome.unremoved.is_empty() {
                    self.outcome.unremoved.push(path);
                } else if let Err(error) = remove(&*self.storage, &path) {
                    tracing::warn!(path, %error, "could not be removed; trying again later");
                    self.outcome.unremoved.push(path);
                }
                Ok(())
            }
        }
    }
}

/// Removes a file, or a directory with what was left in it: a rewritten segment of a compaction that was cut short, a
/// sidecar built again for a reader who came late.
fn remove(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match remove_if_there(storage, path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        done => return done,
    }
    let (own, strange): (Vec<_>, Vec<_>) = storage.list(path)?.into_iter().partition(|name| is_own(name));
    for name in own {
        storage.remove(&format!("{path}/{name}"))?;
    }
    if strange.is_empty() {
        return storage.remove(path);
    }
    tracing::warn!(path, ?strange, "the directory holds files that are not the log's: left");
    Ok(())
}

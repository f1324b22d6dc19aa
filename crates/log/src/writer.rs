//! The writer's loop: takes what waits, a round at a time, and keeps checkpoints going beside it.

use crate::engine::{Engine, Stop};
use crate::job::{Job, Outcome};
use crate::queue::{Append, Op, Pending, Queue};
use crate::settings::Fsync;
use crate::shared::Shared;
use crate::upkeep::Occasion;
use dualstream_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A round waits this long at most for callers that were answered a moment ago to come back.
const GATHER_MAX: Duration = Duration::from_micros(200);

/// After a checkpoint that found no space another one is tried this much later, unless a commit waits for it.
const RETRY: Duration = Duration::from_secs(1);

/// Owns the data directory. It must be driven, by [`run`](Writer::run) on a thread of its own or by
/// [`drive`](Writer::drive) as a task; without it no commit is answered.
pub struct Writer {
    pub(crate) engine: Engine,
    /// A checkpoint is on its way.
    busy: bool,
    /// With [`drive`](Writer::drive): the checkpoint's remaining steps.
    job: Option<Job>,
    next_tick: Instant,
    next_sync: Instant,
    next_try: Instant,
    /// Commits in the last round: so many callers may come back at once.
    last_round: usize,
    /// Waiting for a journal file to become free.
    held: Vec<Pending>,
    _closer: Closer,
}

impl Writer {
    pub(crate) fn new(engine: Engine) -> Writer {
        let now = Instant::now();
        let next_tick = now + engine.settings.checkpoint_interval;
        let _closer = Closer(engine.shared.clone());
        Writer {
            engine,
            busy: false,
            job: None,
            next_tick,
            next_sync: now,
            next_try: now,
            last_round: 0,
            held: Vec::new(),
            _closer,
        }
    }

    /// Drives the log until it is closed, blocking; for a thread of its own. Checkpoints run on another thread.
    ///
    /// # Errors
    /// The failure that made the log read-only (a failed sync).
    pub fn run(mut self) -> Result<()> {
        loop {
            self.gather();
            let ops = self.take();
            if ops.is_empty() && self.is_over() {
                return self.finish();
            }
            self.turn(ops);
            if let Some(job) = self.job.take() {
                let shared = self.engine.shared.clone();
                let spawned = std::thread::Builder::new()
                    .name("log-checkpoint".into())
                    .spawn(move || shared.queue.job_done(job.run()));
                if let Err(error) = spawned {
                    let outcome = Outcome { error: Some(error), ..Outcome::default() };
                    self.engine.shared.queue.job_done(outcome);
                }
            }
        }
    }

    /// Drives the log until it is closed, as a task: every step of a checkpoint is one turn, so a simulation can stop
    /// between any two.
    ///
    /// # Errors
    /// As [`run`](Writer::run).
    pub async fn drive(mut self) -> Result<()> {
        loop {
            let ops = self.take();
            if ops.is_empty() && self.is_over() && self.job.is_none() {
                return self.finish();
            }
            if ops.is_empty() && self.job.is_none() {
                let shared = self.engine.shared.clone();
                tokio::select! {
                    biased;
                    () = shared.queue.wait() => {}
                    () = tokio::time::sleep_until(self.deadline()) => {}
                }
            }
            self.turn(ops);
            if let Some(mut job) = self.job.take() {
                match job.step() {
                    Some(outcome) => self.engine.shared.queue.job_done(outcome),
                    None => self.job = Some(job),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn queue(&self) -> &Queue {
        &self.engine.shared.queue
    }

    fn deadline(&self) -> Instant {
        if self.engine.unsynced { self.next_sync.min(self.next_tick) } else { self.next_tick }
    }

    /// Waits for something to do. After a round of many, waits a moment for those callers to come back: otherwise they
    /// split into two groups that take turns, each round half as large as it could be.
    fn gather(&self) {
        let queue = self.queue();
        let timeout = self.deadline().saturating_duration_since(Instant::now());
        if self.engine.failed.is_some() {
            // Nothing comes any more, and whoever waits is to hear of it now.
            return;
        }
        // Of a queue that is ending and empty, nothing but the outcome of a checkpoint can come.
        let is_last = self.busy && queue.is_ending() && queue.len() == 0;
        if is_last || !self.held.is_empty() {
            return queue.wait_done_blocking(timeout);
        }
        queue.wait_blocking(1, timeout);
        let expected = self.last_round;
        if expected > 1 && queue.len() < expected {
            queue.wait_blocking(expected, GATHER_MAX);
        }
    }

    fn take(&mut self) -> Vec<Op> {
        if self.held.is_empty() {
            return self.queue().take(self.engine.round_bytes_max());
        }
        // A round waits for a checkpoint: only its outcome matters now.
        self.queue().take_done().into_iter().collect()
    }

    fn is_over(&self) -> bool {
        self.engine.failed.is_some() || (self.queue().is_ending() && self.held.is_empty() && !self.busy)
    }

    fn turn(&mut self, ops: Vec<Op>) {
        let mut commits = std::mem::take(&mut self.held);
        for op in ops {
            match op {
                Op::Commit(pending) => {
                    if pending.ticket.take() {
                        commits.push(pending);
                    }
                }
                Op::Create(spec, answer) => drop(answer.send(self.engine.create(spec))),
                Op::Alter(name, change, answer) => drop(answer.send(self.engine.alter(&name, &change))),
                Op::Delete(name, answer) => drop(answer.send(self.engine.delete(&name))),
                Op::Trim(name, below, answer) => drop(answer.send(self.engine.trim(&name, &below))),
                Op::Begin(spec, epoch, start, answer) => {
                    drop(answer.send(self.engine.begin(spec, epoch, start)))
                }
                Op::Append(append) => {
                    let Append { topic, runs, known_from, answer, .. } = append;
                    drop(answer.send(self.engine.copy(&topic, &runs, &known_from)));
                }
                Op::Check(name, events, answer) => {
                    drop(answer.send(self.engine.check_events(&name, &events)))
                }
                Op::Forget(name, answer) => drop(answer.send(self.engine.forget(&name))),
                Op::Done(outcome) => {
                    self.busy = false;
                    if let Some(error) = self.engine.checkpoint_done(outcome) {
                        self.next_try = Instant::now() + RETRY;
                        commits.drain(..).for_each(|p| drop(p.answer.send(Err(error.clone()))));
                    }
                }
            }
        }
        if !commits.is_empty() {
            self.commit(commits);
        }
        self.tick();
    }

    fn commit(&mut self, commits: Vec<Pending>) {
        self.last_round = commits.len();
        if let Err(Stop::NeedsCheckpoint(commits)) = self.engine.commit(commits) {
            self.held = commits;
            self.begin_checkpoint();
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if let Fsync::Every(period) = self.engine.settings.fsync
            && self.engine.unsynced
            && now >= self.next_sync
        {
            self.next_sync = now + period;
            if let Err(error) = self.engine.sync() {
                self.engine.fail(error);
            }
        }
        let due = now >= self.next_tick;
        let full = now >= self.next_try && self.engine.wants_checkpoint();
        if due {
            self.next_tick = now + self.engine.settings.checkpoint_interval;
            self.engine.look_for_files();
        }
        // A mirror that catches up writes many times its bound between two ticks.
        if due || (full && self.engine.is_mirror()) {
            self.engine.retain();
        }
        if due || full {
            self.begin_checkpoint();
        }
    }

    fn begin_checkpoint(&mut self) {
        if self.busy || self.engine.failed.is_some() {
            return;
        }
        match self.engine.checkpoint_job(Occasion::Running) {
            Ok(Some(job)) => {
                self.busy = true;
                self.job = Some(job);
            }
            Ok(None) => {}
            Err(error) => drop(self.engine.fail(error)),
        }
    }

    /// The last act: a checkpoint that says the log was closed in order.
    fn finish(mut self) -> Result<()> {
        if let Some(error) = self.engine.failed {
            self.held.into_iter().for_each(|p| drop(p.answer.send(Err(error.clone()))));
            return Err(error);
        }
        let failed = |error| {
            Error::new(ErrorKind::Internal, "close_failed", "the log could not be closed in order")
                .with_source(error)
        };
        if self.engine.unsynced {
            self.engine.sync().map_err(failed)?;
        }
        let job = self.engine.checkpoint_job(Occasion::Closed).map_err(failed)?;
        match job.map(Job::run).unwrap_or_default().error {
            Some(error) => Err(failed(error)),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("sequence", &self.engine.sequence()).finish_non_exhaustive()
    }
}

/// Tells whoever still waits that nobody will answer.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.queue.fail(&crate::queue::closed());
    }
}

//! What waits for the writer: commits and administration, in the order they came, bounded in bytes.

use crate::job::Outcome;
use dualstream_core::log::{Commit, Committed, Part};
use dualstream_core::mirror::{Checked, Run};
use dualstream_core::record::NewRecord;
use dualstream_core::topic::{Epoch, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Something the writer is asked to do.
pub(crate) enum Op {
    Commit(Pending),
    Create(TopicSpec, oneshot::Sender<Result<TopicInfo>>),
    Alter(TopicName, TopicAlteration, oneshot::Sender<Result<TopicInfo>>),
    Delete(TopicName, oneshot::Sender<Result<()>>),
    Trim(TopicName, Vec<u64>, oneshot::Sender<Result<()>>),
    /// Of a mirror only, as the three after it.
    Begin(TopicSpec, Epoch, Vec<u64>, oneshot::Sender<Result<()>>),
    Append(Append),
    Check(TopicName, Vec<(u32, NewRecord)>, oneshot::Sender<Result<Vec<Checked>>>),
    Forget(TopicName, oneshot::Sender<Result<()>>),
    /// A checkpoint job ended.
    Done(Outcome),
}

/// A commit that waits.
pub(crate) struct Pending {
    pub commit: Commit,
    pub bytes: usize,
    pub ticket: Ticket,
    pub answer: oneshot::Sender<Result<Committed>>,
}

/// Runs for a mirror that wait.
pub(crate) struct Append {
    pub topic: TopicName,
    pub runs: Vec<Run>,
    pub known_from: Vec<u64>,
    pub bytes: usize,
    pub answer: oneshot::Sender<Result<u64>>,
}

/// Whether a commit may still be taken back. Shared by the caller and the writer.
#[derive(Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// The writer begins it; false if the caller took it back.
    pub fn take(&self) -> bool {
        self.0.compare_exchange(WAITING, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The caller takes it back; false if the writer has begun it.
    pub fn withdraw(&self) -> bool {
        self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Bytes a commit counts for.
pub(crate) fn weight(parts: &[Part]) -> usize {
    parts.iter().map(|p| 64 + p.records.iter().map(|r| r.weight() + 32).sum::<usize>()).sum()
}

/// The queue.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// For a writer on a thread of its own.
    arrived: Condvar,
    /// For a writer that is a task.
    notify: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    ops: VecDeque<Op>,
    bytes: usize,
    /// Set once: nothing new is taken, for this reason.
    closed: Option<Error>,
    /// The owner asked to end in order.
    ending: bool,
    /// So many ops wake the writer's thread; 0 while it does not wait.
    waited_for: usize,
}

impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue { state: Mutex::default(), arrived: Condvar::new(), notify: Notify::new(), bytes_max }
    }

    /// Adds an op at the end.
    ///
    /// # Errors
    /// `overloaded` when the queue is full, else what it was closed with.
    pub fn push(&self, op: Op) -> Result<()> {
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        let bytes = op.bytes();
        if bytes > 0 && state.bytes > 0 && state.bytes + bytes > self.bytes_max {
            return Err(overloaded("the log's queue is full").with_limit(self.bytes_max as u64));
        }
        state.bytes += bytes;
        state.ops.push_back(op);
        let enough = state.waited_for > 0 && state.ops.len() >= state.waited_for;
        drop(state);
        if enough {
            self.arrived.notify_all();
        }
        self.notify.notify_one();
        Ok(())
    }

    /// Hands the outcome of a job to the writer, also while the queue is closed to others.
    pub fn job_done(&self, outcome: Outcome) {
        self.lock().ops.push_front(Op::Done(outcome));
        self.wake();
    }

    /// Takes ops from the front: one that is no commit alone, or commits of up to `bytes_max` together (at least one).
    pub fn take(&self, bytes_max: usize) -> Vec<Op> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(op) = state.ops.front() {
            match op {
                Op::Commit(pending) if taken.is_empty() || bytes + pending.bytes <= bytes_max => {
                    bytes += pending.bytes
                }
                Op::Commit(_) => break,
                _ if !taken.is_empty() => break,
                _ => {
                    bytes += op.bytes();
                    taken.extend(state.ops.pop_front());
                    break;
                }
            }
            taken.extend(state.ops.pop_front());
        }
        state.bytes -= bytes;
        taken
    }

    /// Takes the outcome of a job, if it waits.
    pub fn take_done(&self) -> Option<Op> {
        let mut state = self.lock();
        let is_done = matches!(state.ops.front(), Some(Op::Done(_)));
        if is_done { state.ops.pop_front() } else { None }
    }

    /// Number of ops that wait.
    pub fn len(&self) -> usize {
        self.lock().ops.len()
    }

    /// Blocks until at least `count` ops wait, the queue is ending, or the time is over.
    pub fn wait_blocking(&self, count: usize, timeout: Duration) {
        let mut state = self.lock();
        // A push that does not bring enough wakes nobody: a wake-up for every commit costs more than the commit.
        state.waited_for = count;
        let short = |state: &mut State| state.ops.len() < count && !state.ending;
        let waited = self.arrived.wait_timeout_while(state, timeout, short);
        waited.expect("no holder of this lock panics").0.waited_for = 0;
    }

    /// Blocks until the outcome of a job waits, or the time is over.
    pub fn wait_done_blocking(&self, timeout: Duration) {
        let state = self.lock();
        let short = |state: &mut State| !matches!(state.ops.front(), Some(Op::Done(_)));
        drop(self.arrived.wait_timeout_while(state, timeout, short).expect("no holder of this lock panics"));
    }

    /// Resolves when something was pushed or the queue is ending.
    pub async fn wait(&self) {
        loop {
            let notified = self.notify.notified();
            {
                let state = self.lock();
                if !state.ops.is_empty() || state.ending {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Asks the writer to end once everything that waits is done; nothing new is taken.
    pub fn end(&self) {
        let mut state = self.lock();
        state.ending = true;
        state.closed.get_or_insert_with(closed);
        drop(state);
        self.wake();
    }

    /// Whether the writer was asked to end.
    pub fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Refuses everything from now on with `error`, and everything that waits too.
    pub fn fail(&self, error: &Error) {
        let ops: Vec<Op> = {
            let mut state = self.lock();
            state.closed.get_or_insert_with(|| error.clone());
            state.bytes = 0;
            state.ops.drain(..).collect()
        };
        for op in ops {
            op.refuse(error.clone());
        }
    }

    fn wake(&self) {
        self.arrived.notify_all();
        self.notify.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Op {
    /// Bytes it counts for.
    fn bytes(&self) -> usize {
        match self {
            Op::Commit(pending) => pending.bytes,
            Op::Append(append) => append.bytes,
            _ => 0,
        }
    }

    fn refuse(self, error: Error) {
        // Whoever asked may be gone; then nobody needs the answer.
        match self {
            Op::Commit(pending) => drop(pending.answer.send(Err(error))),
            Op::Create(_, answer) | Op::Alter(_, _, answer) => drop(answer.send(Err(error))),
            Op::Delete(_, answer) | Op::Trim(_, _, answer) => drop(answer.send(Err(error))),
            Op::Begin(_, _, _, answer) | Op::Forget(_, answer) => drop(answer.send(Err(error))),
            Op::Append(append) => drop(append.answer.send(Err(error))),
            Op::Check(_, _, answer) => drop(answer.send(Err(error))),
            Op::Done(_) => {}
        }
    }
}

/// Nothing was stored; retry later.
pub(crate) fn overloaded(message: &'static str) -> Error {
    Error::new(ErrorKind::Overloaded, "overloaded", message)
}

/// The log was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "log_closed", "the log was closed")
}

//! What was read and not taken yet, bounded in bytes, and the order to read something else.

use super::closed;
use dualstream_core::Result;
use dualstream_core::mirror::{Place, Run};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// The reader stands still while more than this waits.
const BYTES_MAX: usize = 8 << 20;

/// Between the thread that reads and the task that takes.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    state: Mutex<State>,
    /// Told when the reader may go on: there is room, an order, or the end.
    go_on: Condvar,
    /// Told when there is something to take.
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// Of all items.
    bytes: usize,
    order: Option<Order>,
    is_closed: bool,
}

/// What was read of one partition.
#[derive(Debug)]
pub(crate) struct Item {
    /// Records, or what is wrong.
    pub(crate) outcome: Result<Run>,
    /// What it takes in memory.
    pub(crate) bytes: usize,
}

/// What is to be read from now on.
#[derive(Debug)]
pub(super) struct Order {
    /// All places.
    pub(super) places: Vec<Place>,
    /// Told when nothing else is read any more.
    pub(super) done: oneshot::Sender<Result<()>>,
}

/// What the reader does next.
#[derive(Debug)]
pub(super) enum Step {
    /// It reads what it follows.
    Read,
    /// It follows other places.
    Order(Order),
    /// It ends.
    End,
}

impl Shelf {
    /// Takes back all that was not taken, and says what is wanted instead. The answer never comes if the reader has ended.
    pub(super) fn order(&self, places: Vec<Place>) -> oneshot::Receiver<Result<()>> {
        let (done, told) = oneshot::channel();
        let mut state = self.lock();
        state.items.clear();
        state.bytes = 0;
        state.order = Some(Order { places, done }).filter(|_| !state.is_closed);
        self.go_on.notify_one();
        told
    }

    /// The runs up to the next error, or the error; waits for one of them.
    pub(super) async fn take(&self) -> Result<Vec<Run>> {
        loop {
            let filled = self.filled.notified();
            if let Some(taken) = self.taken() {
                return taken;
            }
            filled.await;
        }
    }

    fn taken(&self) -> Option<Result<Vec<Run>>> {
        let mut state = self.lock();
        let mut runs = Vec::new();
        while let Some(item) = state.items.pop_front_if(|item| runs.is_empty() || item.outcome.is_ok()) {
            state.bytes -= item.bytes;
            self.go_on.notify_one();
            match item.outcome {
                Ok(run) => runs.push(run),
                Err(error) => return Some(Err(error)),
            }
        }
        if runs.is_empty() { state.is_closed.then(|| Err(closed())) } else { Some(Ok(runs)) }
    }

    /// Waits until there is something to do.
    pub(super) fn step(&self) -> Step {
        let must_wait = |s: &mut State| s.bytes >= BYTES_MAX && s.order.is_none() && !s.is_closed;
        let waited = self.go_on.wait_while(self.lock(), must_wait);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        match state.order.take() {
            _ if state.is_closed => Step::End,
            Some(order) => Step::Order(order),
            None => Step::Read,
        }
    }

    /// Adds what was read, unless something else was ordered since.
    pub(super) fn put(&self, items: Vec<Item>) {
        let mut state = self.lock();
        if state.order.is_none() && !items.is_empty() {
            state.bytes += items.iter().map(|item| item.bytes).sum::<usize>();
            state.items.extend(items);
            self.filled.notify_one();
        }
    }

    /// Nothing is read or taken any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.go_on.notify_one();
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

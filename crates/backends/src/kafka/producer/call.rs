//! One call of `append`, from the record that is tried first to the one that is answered last.

use super::backlog::Reserved;
use dualstream_core::log::Appended;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What is known of the records of a call.
#[derive(Debug)]
struct Call(Mutex<State>);

#[derive(Debug)]
struct State {
    outcomes: Vec<Option<Appended>>,
    left: usize,
    waker: Option<Waker>,
    /// `None` once all are answered.
    reserved: Option<Reserved>,
}

/// Goes with one record through librdkafka, and says what became of it.
#[derive(Debug)]
pub(super) struct Ticket {
    call: Arc<Call>,
    index: usize,
}

/// The outcomes of a call when all are there: one list per part.
#[derive(Debug)]
pub(crate) struct Answers {
    call: Arc<Call>,
    records_of: Vec<usize>,
}

impl Answers {
    /// Of parts with so many records each.
    pub(super) fn new(records_of: Vec<usize>, reserved: Reserved) -> Answers {
        let left = records_of.iter().sum();
        let outcomes = vec![None; left];
        let reserved = (left > 0).then_some(reserved);
        Answers {
            call: Arc::new(Call(Mutex::new(State { outcomes, left, waker: None, reserved }))),
            records_of,
        }
    }

    /// For the record of that number, all parts counted together. Each is asked for once.
    pub(super) fn ticket(&self, index: usize) -> Box<Ticket> {
        Box::new(Ticket { call: self.call.clone(), index })
    }
}

impl Ticket {
    /// The record is answered.
    pub(super) fn answer(self, outcome: Appended) {
        let mut state = self.call.state();
        state.outcomes[self.index] = Some(outcome);
        state.left -= 1;
        if state.left == 0 {
            let (waker, reserved) = (state.waker.take(), state.reserved.take());
            drop(state);
            drop(reserved);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Answers {
    type Output = Vec<Vec<Appended>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.call.state();
        if state.left > 0 {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut outcomes = std::mem::take(&mut state.outcomes).into_iter().flatten();
        Poll::Ready(self.records_of.iter().map(|&count| outcomes.by_ref().take(count).collect()).collect())
    }
}

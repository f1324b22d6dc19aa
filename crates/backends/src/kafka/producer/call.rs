//! One call of `append`, from the record that is tried first to the one that is answered last.

use super::backlog::Reserved;
use super::progress::Progress;
use crate::kafka::outcome;
use dualstream_core::log::Appended;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// What is known of the records of a call.
#[derive(Debug)]
struct Call {
    /// Where the records of each part end, and what was seen of its topic.
    parts: Vec<(usize, Arc<Progress>)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    outcomes: Vec<Option<Appended>>,
    left: usize,
    waker: Option<Waker>,
    /// `None` once all are answered.
    reserved: Option<Reserved>,
}

/// Goes with one record through librdkafka, and says what became of it. Dropped, it says that this is not known.
#[derive(Debug)]
pub(super) struct Ticket {
    /// `None` once it has answered.
    call: Option<Arc<Call>>,
    index: usize,
}

/// The calls that a client has: one that ends may keep tickets for ever.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    calls: Vec<Weak<Call>>,
    /// Those that are over are thrown out when there are so many.
    sweep_at: usize,
}

/// So few are not looked through.
const CALLS_MIN: usize = 1_000;

/// The outcomes of a call when all are there: one list per part.
#[derive(Debug)]
pub(crate) struct Answers {
    call: Arc<Call>,
}

impl Answers {
    /// Of parts with so many records each, of these topics.
    pub(super) fn new(
        records_of: impl Iterator<Item = (usize, Arc<Progress>)>,
        reserved: Reserved,
    ) -> Answers {
        let mut left = 0;
        let until = |(records, topic)| {
            left += records;
            (left, topic)
        };
        let parts = records_of.map(until).collect();
        let outcomes = vec![None; left];
        let reserved = (left > 0).then_some(reserved);
        let state = Mutex::new(State { outcomes, left, waker: None, reserved });
        Answers { call: Arc::new(Call { parts, state }) }
    }

    /// For the record of that number, all parts counted together. Each is asked for once.
    pub(super) fn ticket(&self, index: usize) -> Box<Ticket> {
        Box::new(Ticket { call: Some(self.call.clone()), index })
    }
}

impl Ticket {
    /// What was seen of the topic of the record, until it is answered.
    pub(super) fn topic(&self) -> Option<&Arc<Progress>> {
        let parts = &self.call.as_ref()?.parts;
        let part = parts.partition_point(|(until, _)| *until <= self.index);
        parts.get(part).map(|(_, topic)| topic)
    }

    /// The record is answered.
    pub(super) fn answer(mut self, outcome: Appended) {
        if let Some(call) = self.call.take() {
            call.answer(self.index, outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.answer(self.index, Appended::Failed(outcome::unknown(None)));
        }
    }
}

impl Calls {
    /// A call whose tickets are about to be given away.
    pub(super) fn add(&self, answers: &Answers) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.calls.len() >= known.sweep_at.max(CALLS_MIN) {
            known.calls.retain(|call| call.upgrade().is_some_and(|call| call.state().left > 0));
            known.sweep_at = known.calls.len() * 2;
        }
        known.calls.push(Arc::downgrade(&answers.call));
    }

    /// Of what is not answered now it will never be known.
    pub(super) fn give_up(&self) {
        let known = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for call in known.calls.iter().filter_map(Weak::upgrade) {
            let count = call.state().outcomes.len();
            for index in 0..count {
                call.answer(index, Appended::Failed(outcome::unknown(None)));
            }
        }
    }
}

impl Call {
    /// The first answer counts.
    fn answer(&self, index: usize, outcome: Appended) {
        let mut state = self.state();
        // All were answered, and taken, when there is no place for it.
        let Some(place @ None) = state.outcomes.get_mut(index) else { return };
        *place = Some(outcome);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut from = 0;
        let of_part = |&(until, _): &(usize, Arc<Progress>)| {
            let count = until - std::mem::replace(&mut from, until);
            outcomes.by_ref().take(count).collect()
        };
        Poll::Ready(self.call.parts.iter().map(of_part).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::backlog::Backlog;
    use super::*;
    use dualstream_core::topic::TopicName;
    use futures::FutureExt;

    fn of_one_topic<const N: usize>(records_of: [usize; N], reserved: Reserved) -> Answers {
        let topic = Arc::new(Progress::new(TopicName::new("t").unwrap(), Arc::default()));
        Answers::new(records_of.into_iter().map(|records| (records, topic.clone())), reserved)
    }

    fn is_unknown(appended: &Appended) -> bool {
        matches!(appended, Appended::Failed(error) if error.code() == "outcome_unknown")
    }

    #[test]
    fn a_ticket_that_is_dropped_says_that_nothing_is_known() {
        let backlog = Backlog::new(12, 1000);
        let answers = of_one_topic([2, 1], backlog.reserve(3, 1000).unwrap());
        let (first, second, third) = (answers.ticket(0), answers.ticket(1), answers.ticket(2));
        first.answer(Appended::Stored(7));
        drop(second);
        assert!(backlog.reserve(1, 1).is_none());
        drop(third);
        let outcomes = answers.now_or_never().expect("all are answered");
        assert_eq!(outcomes[0][0], Appended::Stored(7));
        assert!(is_unknown(&outcomes[0][1]) && is_unknown(&outcomes[1][0]), "{outcomes:?}");
        assert!(backlog.reserve(12, 1000).is_some(), "the place is given back");
    }

    #[test]
    fn a_ticket_knows_its_topic() {
        let topic = |name: &str| Arc::new(Progress::new(TopicName::new(name).unwrap(), Arc::default()));
        let parts = [(2, topic("a")), (0, topic("none")), (1, topic("b"))];
        let answers = Answers::new(parts.into_iter(), Backlog::new(12, 1000).reserve(3, 0).unwrap());
        let name = |index| answers.ticket(index).topic().map(|topic| topic.name().to_string());
        assert_eq!([0, 1, 2, 3].map(name), [Some("a".into()), Some("a".into()), Some("b".into()), None]);
    }

    #[test]
    fn calls_are_given_up_with_their_client() {
        let (backlog, calls) = (Backlog::new(100_000, 1000), Calls::default());
        for _ in 0..5 * CALLS_MIN {
            let over = of_one_topic([1], backlog.reserve(1, 0).unwrap());
            calls.add(&over);
            over.ticket(0).answer(Appended::Stored(0));
        }
        assert!(calls.0.lock().unwrap().calls.len() <= CALLS_MIN, "those that are over are not kept");
        let answers = of_one_topic([2], backlog.reserve(2, 1000).unwrap());
        calls.add(&answers);
        answers.ticket(0).answer(Appended::Stored(7));
        let kept = answers.ticket(1);
        calls.give_up();
        assert!(backlog.reserve(1, 1000).is_some(), "the place is given back");
        let outcomes = answers.now_or_never().expect("all are answered");
        assert_eq!(outcomes[0][0], Appended::Stored(7));
        assert!(is_unknown(&outcomes[0][1]));
        // Too late.
        kept.answer(Appended::Stored(8));
    }
}

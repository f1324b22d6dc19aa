//! One call of `append`, from the record that is tried first to the one that is answered last.

use super::backlog::Reserved;
use super::progress::Progress;
use crate::kafka::outcome;
use dualstream_core::log::Appended;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    outcomes: Vec<Option<Outcome>>,
    left: usize,
    waker: Option<Waker>,
    /// `None` once all are answered.
    reserved: Option<Reserved>,
}

/// What became of a record. There are many under way, and hardly any is not stored: small for those.
#[derive(Debug)]
enum Outcome {
    Stored(u64),
    Other(Box<Appended>),
}

/// Goes with one record through librdkafka: the slot of its call, and the number of the record in it. A number takes no
/// memory that one thread would have to give back to another, and may be lost with the client.
pub(super) type Ticket = usize;

/// Bits of a ticket that are the number of the record.
const RECORD_BITS: u32 = 32;
const _: () = assert!(usize::BITS == 2 * RECORD_BITS, "a ticket holds two numbers");

/// The calls that a client has, each in its slot until the last of its records is answered. A client that ends may keep
/// tickets for ever: they are good for nothing once its calls are given up.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Slots>);

/// No more than there were calls under way at once.
#[derive(Debug, Default)]
struct Slots {
    calls: Vec<Option<Arc<Call>>>,
    free: Vec<usize>,
}

/// The outcomes of a call when all are there: one list per part.
#[derive(Debug)]
pub(crate) struct Answers {
    call: Arc<Call>,
}

/// Who waits for a call that is answered, and what it held.
struct Answered {
    waker: Option<Waker>,
    reserved: Option<Reserved>,
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
        let outcomes = (0..left).map(|_| None).collect();
        let reserved = (left > 0).then_some(reserved);
        let state = Mutex::new(State { outcomes, left, waker: None, reserved });
        Answers { call: Arc::new(Call { parts, state }) }
    }
}

impl Calls {
    /// Takes a call, and gives the tickets of its records, all parts counted together. Each of them is answered once.
    pub(super) fn add(&self, answers: &Answers) -> impl Iterator<Item = Ticket> + use<> {
        let records = answers.call.state().left;
        let mut slots = self.slots();
        let slot = match slots.free.pop() {
            // One without records is answered already.
            _ if records == 0 => 0,
            Some(free) => free,
            None => {
                slots.calls.push(None);
                slots.calls.len() - 1
            }
        };
        if records > 0 {
            slots.calls[slot] = Some(answers.call.clone());
        }
        let first = slot << RECORD_BITS;
        first..first + records
    }

    /// A record is answered. `note` is told first of which topic it is.
    pub(super) fn answer(&self, ticket: Ticket, outcome: Appended, note: impl FnOnce(&Arc<Progress>)) {
        let (slot, record) = (ticket >> RECORD_BITS, ticket & ((1 << RECORD_BITS) - 1));
        let mut slots = self.slots();
        let Some(Some(call)) = slots.calls.get(slot) else { return };
        if let Some(topic) = call.topic(record) {
            note(topic);
        }
        if let Some(answered) = call.answer(record, outcome) {
            let call = slots.calls[slot].take();
            slots.free.push(slot);
            drop(slots);
            drop(call);
            answered.tell();
        }
    }

    /// Of what is not answered now it will never be known.
    pub(super) fn give_up(&self) {
        let calls = std::mem::take(&mut *self.slots()).calls;
        for call in calls.into_iter().flatten() {
            let records = call.state().outcomes.len();
            for record in 0..records {
                if let Some(answered) = call.answer(record, Appended::Failed(outcome::unknown(None))) {
                    answered.tell();
                }
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// What was seen of the topic of a record.
    fn topic(&self, record: usize) -> Option<&Arc<Progress>> {
        let part = self.parts.partition_point(|(until, _)| *until <= record);
        self.parts.get(part).map(|(_, topic)| topic)
    }

    /// The first answer to a record counts. Gives who waits for it with the last one.
    fn answer(&self, record: usize, outcome: Appended) -> Option<Answered> {
        let mut state = self.state();
        let place = state.outcomes.get_mut(record).filter(|place| place.is_none())?;
        *place = Some(match outcome {
            Appended::Stored(offset) => Outcome::Stored(offset),
            other => Outcome::Other(Box::new(other)),
        });
        state.left -= 1;
        let State { left, waker, reserved, .. } = &mut *state;
        (*left == 0).then(|| Answered { waker: waker.take(), reserved: reserved.take() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answered {
    fn tell(self) {
        drop(self.reserved);
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}

impl Outcome {
    fn into_appended(self) -> Appended {
        match self {
            Outcome::Stored(offset) => Appended::Stored(offset),
            Outcome::Other(other) => *other,
        }
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
        let outcomes = std::mem::take(&mut state.outcomes);
        let mut outcomes = outcomes.into_iter().flatten().map(Outcome::into_appended);
        let mut from = 0;
        let of_part = |&(until, _): &(usize, Arc<Progress>)| {
            let count = until - std::mem::replace(&mut from, until);
            let mut of_part = Vec::with_capacity(count);
            of_part.extend(outcomes.by_ref().take(count));
            of_part
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

    /// Takes a call; its tickets.
    fn taken(calls: &Calls, answers: &Answers) -> Vec<Ticket> {
        calls.add(answers).collect()
    }

    #[test]
    fn a_call_is_answered_with_its_last_record() {
        let (backlog, calls) = (Backlog::new(12, 1000), Calls::default());
        let answers = of_one_topic([2, 1], backlog.reserve(3, 1000, || true).unwrap());
        let tickets = taken(&calls, &answers);
        for (ticket, offset) in [(tickets[2], 5), (tickets[0], 7)] {
            calls.answer(ticket, Appended::Stored(offset), |_| {});
        }
        calls.answer(tickets[0], Appended::Stored(8), |_| {});
        assert!(backlog.reserve(1, 1, || true).is_none());
        calls.answer(tickets[1], Appended::Failed(outcome::unknown(None)), |_| {});
        let outcomes = answers.now_or_never().expect("all are answered");
        assert_eq!((&outcomes[0][0], &outcomes[1][0]), (&Appended::Stored(7), &Appended::Stored(5)));
        assert!(is_unknown(&outcomes[0][1]), "{outcomes:?}");
        assert!(backlog.reserve(12, 1000, || true).is_some(), "the place is given back");
    }

    #[test]
    fn a_call_without_records_is_answered_at_once() {
        let (backlog, calls) = (Backlog::new(12, 1000), Calls::default());
        let answers = of_one_topic([0, 0], backlog.reserve(0, 0, || true).unwrap());
        assert!(taken(&calls, &answers).is_empty());
        assert_eq!(answers.now_or_never(), Some(vec![Vec::new(), Vec::new()]));
        let other = of_one_topic([1], backlog.reserve(1, 0, || true).unwrap());
        let tickets = taken(&calls, &other);
        calls.answer(tickets[0], Appended::Stored(1), |_| {});
        assert_eq!(other.now_or_never(), Some(vec![vec![Appended::Stored(1)]]));
    }

    #[test]
    fn a_ticket_knows_its_topic() {
        let topic = |name: &str| Arc::new(Progress::new(TopicName::new(name).unwrap(), Arc::default()));
        let (calls, parts) = (Calls::default(), [(2, topic("a")), (0, topic("none")), (1, topic("b"))]);
        let answers = Answers::new(parts.into_iter(), Backlog::new(12, 1000).reserve(3, 0, || true).unwrap());
        let mut names = Vec::new();
        for ticket in calls.add(&answers) {
            calls.answer(ticket, Appended::Stored(0), |topic| names.push(topic.name().to_string()));
        }
        assert_eq!(names, ["a", "a", "b"]);
    }

    #[test]
    fn calls_are_given_up_with_their_client() {
        let (backlog, calls) = (Backlog::new(100_000, 1000), Calls::default());
        let over = |count: usize| {
            let answers: Vec<_> =
                (0..count).map(|_| of_one_topic([1], backlog.reserve(1, 0, || true).unwrap())).collect();
            let tickets: Vec<_> = answers.iter().flat_map(|answers| calls.add(answers)).collect();
            for (at, &ticket) in tickets.iter().enumerate() {
                calls.answer(ticket, Appended::Stored(at as u64), |_| {});
            }
            for (at, answers) in answers.into_iter().enumerate() {
                assert_eq!(answers.now_or_never(), Some(vec![vec![Appended::Stored(at as u64)]]));
            }
        };
        [3, 10, 1, 10].into_iter().for_each(over);
        assert_eq!(calls.slots().calls.len(), 10, "as many slots as calls at once");
        assert!(calls.slots().calls.iter().all(Option::is_none), "those that are over are not kept");
        let answers = of_one_topic([2], backlog.reserve(2, 1000, || true).unwrap());
        let tickets = taken(&calls, &answers);
        calls.answer(tickets[0], Appended::Stored(7), |_| {});
        calls.give_up();
        assert!(backlog.reserve(1, 1000, || true).is_some(), "the place is given back");
        // Too late.
        calls.answer(tickets[1], Appended::Stored(8), |_| panic!("the call is over"));
        let outcomes = answers.now_or_never().expect("all are answered");
        assert_eq!(outcomes[0][0], Appended::Stored(7));
        assert!(is_unknown(&outcomes[0][1]));
    }
}

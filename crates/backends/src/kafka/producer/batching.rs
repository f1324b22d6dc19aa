//! How large the batches of the producer may be, so that brokers take them.
//!
//! A broker refuses a whole batch that is larger than its topic takes (`max.message.bytes`), with records in it that are
//! small. To send those again would put them behind later ones of their keys. So batches are as small as the smallest
//! topic wants them that is written to, whatever topic they go to; a record that is larger by itself is refused alone.
//! Topics that are only read do not count.

use dualstream_core::topic::TopicName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What librdkafka gathers unless it is set, or a topic takes less.
const BYTES_DEFAULT: u64 = 1_000_000;
/// What a broker counts to a batch beside what librdkafka does.
const MARGIN: u64 = 128;
/// How long who learns of a smaller topic waits for the producer to go by it.
const CHANGE_MAX: Duration = Duration::from_secs(5);
/// More topics than a cluster has take little: then those that are only read are forgotten.
const TOPICS_MAX: usize = 100_000;

/// What topics take, and what the client of the producer was made with.
#[derive(Debug)]
pub(crate) struct Batching {
    given: u64,
    known: Mutex<Known>,
    made: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    /// The bytes of a batch of topics that take less than what is given.
    little: BTreeMap<TopicName, u64>,
    /// Topics that were appended to.
    written: BTreeSet<TopicName>,
}

impl Batching {
    /// With the property `batch.size`, if it is given.
    pub(super) fn new(given: Option<u64>) -> Batching {
        let given = given.unwrap_or(BYTES_DEFAULT);
        Batching { given, known: Mutex::default(), made: watch::Sender::new(given) }
    }

    /// A topic takes batches of this size. If it is written to this returns once the producer makes no larger ones, or a
    /// while later.
    pub(crate) async fn fit(&self, topic: &TopicName, topic_bytes_max: u64) {
        let bytes = topic_bytes_max.saturating_sub(MARGIN).max(1);
        if !self.learn(topic, bytes) {
            return;
        }
        let mut made = self.made.subscribe();
        // It never comes if the producer has ended, and then nobody needs it.
        let _ = tokio::time::timeout(CHANGE_MAX, made.wait_for(|made| *made <= bytes)).await;
    }

    /// There is no such topic any more.
    pub(crate) fn forget(&self, topic: &TopicName) {
        let mut known = self.known();
        known.little.remove(topic);
        known.written.remove(topic);
    }

    /// Whether a topic that takes so little is written to.
    fn learn(&self, topic: &TopicName, bytes: u64) -> bool {
        let mut known = self.known();
        let known = &mut *known;
        if bytes >= self.given {
            known.little.remove(topic);
            return false;
        }
        if known.little.len() >= TOPICS_MAX {
            known.little.retain(|topic, _| known.written.contains(topic));
        }
        known.little.insert(topic.clone(), bytes);
        known.written.contains(topic)
    }

    /// A topic is about to be appended to: whether it takes what the client there is makes.
    pub(super) fn admits(&self, topic: &TopicName) -> bool {
        let mut known = self.known();
        if !known.written.contains(topic) {
            known.written.insert(topic.clone());
        }
        known.little.get(topic).is_none_or(|bytes| *self.made.borrow() <= *bytes)
    }

    /// What a client is to be made with.
    pub(super) fn wanted(&self) -> u64 {
        let known = self.known();
        let little = known.little.iter().filter(|(topic, _)| known.written.contains(*topic));
        little.map(|(_, bytes)| *bytes).min().unwrap_or(self.given)
    }

    /// Whether the client there is makes larger ones. That it could make larger ones than it does is no reason to replace it.
    pub(super) fn is_due(&self) -> bool {
        self.wanted() < *self.made.borrow()
    }

    /// The client there is was made with this.
    pub(super) fn note(&self, bytes: u64) {
        self.made.send_replace(bytes);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn name(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    #[tokio::test]
    async fn topics_that_are_only_read_do_not_count() {
        let (batching, read, written) = (Batching::new(None), name("read"), name("written"));
        assert!(batching.admits(&written));
        batching.fit(&read, 1_000).now_or_never().expect("nothing has to change");
        assert!(!batching.is_due() && batching.admits(&written));
        // Its first record comes when the client makes batches that are too large.
        assert!(!batching.admits(&read) && batching.is_due());
        batching.note(batching.wanted());
        assert!(!batching.is_due() && batching.admits(&read));
        assert!(batching.fit(&written, 500).now_or_never().is_none(), "waits for the client");
        assert_eq!((batching.wanted(), batching.is_due()), (500 - MARGIN, true));
    }

    #[test]
    fn the_smallest_counts_as_long_as_it_is_there() {
        let batching = Batching::new(Some(100_000));
        for (topic, bytes) in [("a", 1_000), ("b", 2_000), ("c", 3_000)] {
            assert!(batching.admits(&name(topic)));
            assert!(!batching.learn(&name("other"), bytes) && batching.learn(&name(topic), bytes));
        }
        assert_eq!(batching.wanted(), 1_000);
        batching.note(1_000);
        batching.forget(&name("a"));
        assert!(!batching.is_due(), "waits for the next replacement");
        assert_eq!(batching.wanted(), 2_000);
        batching.learn(&name("b"), 4_000);
        assert_eq!(batching.wanted(), 3_000);
        batching.learn(&name("b"), 100_000);
        batching.learn(&name("c"), 200_000);
        assert_eq!(batching.wanted(), 100_000);
    }
}

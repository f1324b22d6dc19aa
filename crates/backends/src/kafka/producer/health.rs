//! Whether brokers answer, and which topics they store, as far as the producer has seen.

use super::progress::{Clock, Progress};
use crate::kafka::outcome;
use dualstream_core::log::Part;
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// ```text
///              a record has waited its whole time, nothing of any topic was stored since, and no broker answers
///  reachable ───────────────────────────────────────────────────────────────────▶ away: calls fail at once
///            ◀───────────────────────────────────────────────────────────────────
///                        a broker answers when it is asked, once a second
/// ```
/// A topic of which alone nothing is stored is a matter of [`Progress`].
#[derive(Debug, Default)]
pub(crate) struct Health {
    is_away: AtomicBool,
    clock: Arc<Clock>,
    topics: Mutex<Topics>,
    doubts: Mutex<Doubts>,
    /// What the client said last of its connections.
    reason: Mutex<Option<(Code, String)>>,
}

/// Topics that were appended to.
#[derive(Debug, Default)]
struct Topics {
    known: BTreeMap<TopicName, Arc<Progress>>,
    /// Those nobody needs are thrown out when there are so many.
    sweep_at: usize,
}

/// So few are not looked through.
const TOPICS_MIN: usize = 1_000;

/// Topics brokers are to be asked about.
#[derive(Debug, Default)]
struct Doubts {
    timed_out: BTreeMap<TopicName, Arc<Progress>>,
    refused: BTreeSet<TopicName>,
}

/// Why brokers are to be asked about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A record of it waited its whole time in vain.
    TimedOut,
    /// The client holds it for missing or forbidden, and would do so for minutes.
    Refused,
}

impl Doubt {
    pub(super) fn of(code: Code) -> Option<Doubt> {
        match code {
            Code::MessageTimedOut => Some(Doubt::TimedOut),
            Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed => Some(Doubt::Refused),
            _ => None,
        }
    }
}

impl Health {
    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Gives what it was before.
    pub(super) fn set_away(&self, is_away: bool) -> bool {
        self.is_away.swap(is_away, Ordering::Relaxed)
    }

    /// The time by which topics note when something of them was stored; whoever takes deliveries moves it.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What was seen of the topic of each part.
    pub(super) fn topics_of(&self, parts: &[Part]) -> Vec<Arc<Progress>> {
        let mut topics = lock(&self.topics);
        let mut of: Vec<Arc<Progress>> = Vec::with_capacity(parts.len());
        for part in parts {
            let known = match of.last() {
                Some(last) if *last.name() == part.topic => last.clone(),
                _ => topics.get(&part.topic, &self.clock),
            };
            of.push(known);
        }
        of
    }

    /// Whether something of any topic was stored within that time.
    pub(super) fn stores_within(&self, time: Duration) -> bool {
        lock(&self.topics).known.values().any(|topic| topic.stores_within(time))
    }

    /// What was found out about records of a topic that wait in vain.
    pub(crate) fn explain(&self, topic: &TopicName, why: &str) {
        if let Some(known) = lock(&self.topics).known.get(topic) {
            known.explain(why);
        }
    }

    pub(super) fn say_doubt(&self, topic: &Arc<Progress>, doubt: Doubt) {
        let mut doubts = lock(&self.doubts);
        match doubt {
            Doubt::TimedOut if doubts.timed_out.contains_key(topic.name()) => {}
            Doubt::TimedOut => drop(doubts.timed_out.insert(topic.name().clone(), topic.clone())),
            Doubt::Refused if doubts.refused.contains(topic.name()) => {}
            Doubt::Refused => drop(doubts.refused.insert(topic.name().clone())),
        }
    }

    /// Topics of which records waited their whole time since it was asked last.
    pub(super) fn take_timed_out(&self) -> Vec<Arc<Progress>> {
        std::mem::take(&mut lock(&self.doubts).timed_out).into_values().collect()
    }

    /// Topics that the client held for missing or forbidden since it was asked last.
    pub(super) fn take_refused(&self) -> BTreeSet<TopicName> {
        std::mem::take(&mut lock(&self.doubts).refused)
    }

    /// An error of a connection; that all of them are down says less than why.
    pub(super) fn say(&self, code: Code, reason: &str) {
        if code != Code::AllBrokersDown {
            *lock(&self.reason) = Some((code, reason.to_owned()));
        }
    }

    /// Brokers answer again.
    pub(super) fn forget_reason(&self) {
        *lock(&self.reason) = None;
    }

    /// No broker answers: what is known of why, with the setting to look at.
    pub(crate) fn unreachable(&self) -> Error {
        let message = match &*lock(&self.reason) {
            Some((code, reason)) => {
                format!("no broker of Kafka answers ({reason}): {}", outcome::setting_of(*code, reason))
            }
            None => format!("no broker of Kafka answers: {}", outcome::setting_of(Code::AllBrokersDown, "")),
        };
        Error::new(ErrorKind::Unavailable, "log_unavailable", message)
    }
}

impl Topics {
    fn get(&mut self, name: &TopicName, clock: &Arc<Clock>) -> Arc<Progress> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at.max(TOPICS_MIN) {
            self.known.retain(|_, topic| topic.is_stalled() || Arc::strong_count(topic) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let fresh = Arc::new(Progress::new(name.clone(), clock.clone()));
        self.known.insert(name.clone(), fresh.clone());
        fresh
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_nobody_needs_are_not_kept() {
        let health = Health::default();
        let part = |number: usize| Part {
            topic: TopicName::new(&format!("t-{number}")).unwrap(),
            partition: 0,
            records: Vec::new(),
        };
        let kept = health.topics_of(&[part(0), part(0), part(1)]);
        assert!(Arc::ptr_eq(&kept[0], &kept[1]) && !Arc::ptr_eq(&kept[1], &kept[2]));
        health.topics_of(&[part(2)])[0].set_stalled(true);
        for number in 3..5 * TOPICS_MIN {
            health.topics_of(&[part(number)]);
        }
        assert!(lock(&health.topics).known.len() <= TOPICS_MIN);
        assert!(Arc::ptr_eq(&health.topics_of(&[part(1)])[0], &kept[2]), "a call has it");
        assert!(health.topics_of(&[part(2)])[0].is_stalled());
    }
}

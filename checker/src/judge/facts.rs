//! What was published: each event with its attempts, and each source (topic and key) with its events.

use super::findings::{About, Findings};
use crate::anomaly::Kind;
use crate::channel::Channel;
use crate::history::History;
use crate::names::Name;
use crate::operation::{Blame, Operation, Place};
use std::collections::{BTreeMap, HashMap};

/// Everything published.
pub(super) struct Facts {
    /// By the number of the id; a name that is no id was never sent.
    pub(super) events: Vec<Event>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) sources: Vec<Source>,
    pub(super) acks: Vec<Ack>,
    by_key: BTreeMap<Box<str>, Vec<usize>>,
}

/// An event.
#[derive(Clone, Default)]
pub(super) struct Event {
    /// Index into the sources.
    pub(super) source: usize,
    /// When it was sent first.
    pub(super) sent: usize,
    /// When it was acknowledged first.
    pub(super) acked: Option<usize>,
    last_attempt: Option<usize>,
    pub(super) attempts: u32,
}

/// One publish of an event.
pub(super) struct Attempt {
    pub(super) event: Name,
    pub(super) process: Name,
    pub(super) crc: u32,
    pub(super) batch: Option<u32>,
    pub(super) sent: usize,
    pub(super) outcome: Outcome,
    /// The attempt of the same event before this.
    previous: Option<usize>,
}

/// What came of it, and where that is recorded.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    None,
    Ok { at: usize },
    Fail { at: usize, code: Name, blame: Blame },
    Info { at: usize, code: Name },
}

/// A key of a topic.
pub(super) struct Source {
    pub(super) topic: Name,
    pub(super) key: Name,
    /// Its events in the order in which they were sent first.
    pub(super) events: Vec<Name>,
}

/// An acknowledgement.
pub(super) struct Ack {
    pub(super) event: Name,
    pub(super) place: Place,
    pub(super) at: usize,
}

impl Event {
    pub(super) fn was_sent(&self) -> bool {
        self.last_attempt.is_some()
    }
}

impl Facts {
    pub(super) fn gather(history: &History, findings: &mut Findings) -> Facts {
        let mut gathering = Gathering {
            history,
            findings,
            facts: Facts {
                events: vec![Event::default(); history.names.len()],
                attempts: Vec::new(),
                sources: Vec::new(),
                acks: Vec::new(),
                by_key: BTreeMap::new(),
            },
            source_of: HashMap::new(),
            open: HashMap::new(),
        };
        for (at, step) in history.steps.iter().enumerate() {
            gathering.take(at, &step.operation);
        }
        gathering.unanswered();
        gathering.facts
    }

    pub(super) fn event(&self, id: Name) -> &Event {
        &self.events[id.index()]
    }

    pub(super) fn source(&self, id: Name) -> &Source {
        &self.sources[self.event(id).source]
    }

    /// Its attempts, the last first.
    pub(super) fn attempts(&self, id: Name) -> impl Iterator<Item = &Attempt> {
        let last = self.event(id).last_attempt;
        std::iter::successors(last, |&index| self.attempts[index].previous).map(|index| &self.attempts[index])
    }

    /// Whether every attempt certainly failed.
    pub(super) fn is_refused(&self, id: Name) -> bool {
        self.attempts(id).all(|attempt| matches!(attempt.outcome, Outcome::Fail { .. }))
    }

    /// The sources a subscription wants, of one topic or of any.
    pub(super) fn wanted(&self, channel: Channel<'_>, topic: Option<Name>) -> Vec<usize> {
        let is_wanted = |&index: &usize| topic.is_none_or(|topic| self.sources[index].topic == topic);
        match channel {
            Channel::One(key) => {
                self.by_key.get(key).into_iter().flatten().copied().filter(is_wanted).collect()
            }
            Channel::Beginning(beginning) => {
                let from = (std::ops::Bound::Included(beginning), std::ops::Bound::Unbounded);
                let keys = self.by_key.range::<str, _>(from);
                let keys = keys.take_while(|(key, _)| key.starts_with(beginning));
                keys.flat_map(|(_, sources)| sources).copied().filter(is_wanted).collect()
            }
        }
    }
}

struct Gathering<'a> {
    history: &'a History,
    findings: &'a mut Findings,
    facts: Facts,
    source_of: HashMap<(Name, Name), usize>,
    /// Attempts without an outcome, by process and id.
    open: HashMap<(Name, Name), usize>,
}

impl Gathering<'_> {
    fn take(&mut self, at: usize, operation: &Operation<Name>) {
        match *operation {
            Operation::Invoke { process, id, key, topic, crc, batch } => {
                self.invoke(
                    at,
                    (topic, key),
                    Attempt {
                        event: id,
                        process,
                        crc,
                        batch,
                        sent: at,
                        outcome: Outcome::None,
                        previous: None,
                    },
                );
            }
            Operation::Ok { process, id, place } => self.acked(at, process, id, place),
            Operation::Fail { process, id, code, blame } => {
                self.ends(at, process, id, Outcome::Fail { at, code, blame });
            }
            Operation::Info { process, id, code } => {
                self.ends(at, process, id, Outcome::Info { at, code });
            }
            _ => {}
        }
    }

    fn invoke(&mut self, at: usize, (topic, key): (Name, Name), attempt: Attempt) {
        let (history, id) = (self.history, attempt.event);
        let source = self.source(topic, key);
        let event = &mut self.facts.events[id.index()];
        if event.was_sent() && event.source != source {
            let id = history.text(id);
            return self
                .findings
                .malformed(at, || format!("event {id} is published with another key or topic"));
        }
        let index = self.facts.attempts.len();
        if self.open.insert((attempt.process, id), index).is_some() {
            let id = history.text(id);
            let what = || format!("event {id} is sent again by a process that has no outcome of it yet");
            self.findings.malformed(at, what);
        }
        if !event.was_sent() {
            (event.source, event.sent) = (source, at);
            self.facts.sources[source].events.push(id);
        }
        event.attempts += 1;
        let previous = event.last_attempt.replace(index);
        self.facts.attempts.push(Attempt { previous, ..attempt });
    }

    fn source(&mut self, topic: Name, key: Name) -> usize {
        let (sources, by_key) = (&mut self.facts.sources, &mut self.facts.by_key);
        *self.source_of.entry((topic, key)).or_insert_with(|| {
            sources.push(Source { topic, key, events: Vec::new() });
            by_key.entry(self.history.text(key).into()).or_default().push(sources.len() - 1);
            sources.len() - 1
        })
    }

    fn acked(&mut self, at: usize, process: Name, id: Name, place: Place) {
        if self.ends(at, process, id, Outcome::Ok { at }) {
            self.facts.events[id.index()].acked.get_or_insert(at);
            self.facts.acks.push(Ack { event: id, place, at });
        }
    }

    fn ends(&mut self, at: usize, process: Name, id: Name, outcome: Outcome) -> bool {
        match self.open.remove(&(process, id)) {
            Some(index) => {
                self.facts.attempts[index].outcome = outcome;
                true
            }
            None => {
                let (process, id) = (self.history.text(process), self.history.text(id));
                let what =
                    || format!("process {process} has an outcome of event {id}, which it did not send");
                self.findings.malformed(at, what);
                false
            }
        }
    }

    fn unanswered(&mut self) {
        for attempt in self.facts.attempts.iter() {
            if matches!(attempt.outcome, Outcome::None) {
                let event = attempt.event;
                let about = About { events: vec![event], at: vec![attempt.sent], chain: None };
                self.findings.add(Kind::Unanswered, about, || {
                    let (process, id) = (self.history.text(attempt.process), self.history.text(event));
                    format!("process {process} never had an answer to its publish of event {id}")
                });
            }
        }
    }
}

//! What is decided: a fold over the records of the topic, the same on every node that read as far.
//!
//! ```text
//! record ─▶ not ours, or of a newer version ─▶ passed over
//!       ├─▶ proposal ─▶ valid now? ─ yes ─▶ decided      the first in log order wins
//!       │                          └ no ──▶ refused
//!       └─▶ snapshot ─▶ of its own offset? ─ yes ─▶ the state is what it says
//! ```
//! A snapshot names the offset it is meant for. Stands it there, then nothing came between the state it says and itself,
//! so it is the state of everything before it: whoever begins there knows as much as whoever began at the start. What is
//! ordered by a record is done by those who read it, and is no state. No clock, no I/O.

use super::Disconnect;
use super::codec::{self, Parsed};
use super::decision::{Decision, ProposalId, Refusal};
use crate::record::Record;
use crate::topic::TopicName;
use std::collections::BTreeMap;

/// Most topics (by name and identity) that have a generation: a snapshot of them all fits into one record.
pub const GENERATIONS_MAX: usize = 2_048;

/// What is decided by everything before an offset.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    next: u64,
    snapshot: Option<u64>,
    is_whole: bool,
    held: Held,
}

/// What a snapshot says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    /// Those past generation 0, by name and identity of the topic.
    pub generations: BTreeMap<(TopicName, u128), u64>,
    /// What newer versions hold.
    pub others: BTreeMap<String, serde_json::Value>,
}

/// What a record did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The proposal it carries, where it is one of ours.
    pub id: Option<ProposalId>,
    /// What became of it.
    pub verdict: Verdict,
    /// What is to be done now, once.
    pub order: Option<Disconnect>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It decided.
    Decided,
    /// It came too late, or was never right.
    Refused(Refusal),
    /// It is a snapshot, and the state is what it says.
    Snapshot {
        /// The snapshot before it that was known here.
        before: Option<u64>,
        /// It says something else than what was known here: a fault of whoever wrote it.
        differs: bool,
    },
    /// Its type or version is not known here: another version decides something by it.
    Unknown,
    /// It is none of ours.
    Foreign,
}

impl State {
    /// Nothing read yet; `from` is the first offset to read. Past 0 what was decided before is unknown until a snapshot.
    pub fn new(from: u64) -> State {
        State { next: from, snapshot: None, is_whole: from == 0, held: Held::default() }
    }

    /// The offset up to which it was read.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Where the last snapshot stands.
    pub fn snapshot(&self) -> Option<u64> {
        self.snapshot
    }

    /// Whether every record before it is taken in. One of another version, a damaged one or one that retention took
    /// makes it false until the next snapshot; such a state is never said in a snapshot.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The present generation of a topic with this identity.
    pub fn generation(&self, topic: &TopicName, topic_id: u128) -> u64 {
        self.held.generations.get(&(topic.clone(), topic_id)).copied().unwrap_or(0)
    }

    /// All generations past 0, by name and identity of the topic.
    pub fn generations(&self) -> impl Iterator<Item = (&TopicName, u128, u64)> {
        self.held.generations.iter().map(|((topic, id), generation)| (topic, *id, *generation))
    }

    /// Whether what is proposed was decided before, by whomever. Once true it stays so. Of an order nothing is known.
    pub fn has(&self, decision: &Decision) -> bool {
        match decision {
            Decision::Generation { topic, topic_id, from } => self.generation(topic, *topic_id) > *from,
            Decision::Disconnect(_) => false,
        }
    }

    /// Takes in the next record.
    pub fn apply(&mut self, record: &Record) -> Applied {
        self.pass_to(record.offset.saturating_add(1));
        let parsed = codec::parse(record.value.as_deref());
        let mut order = None;
        let (id, verdict) = match parsed {
            Parsed::Proposal(id, Decision::Disconnect(ordered)) => {
                order = Some(ordered);
                (Some(id), Verdict::Decided)
            }
            Parsed::Proposal(id, Decision::Generation { topic, topic_id, from }) => {
                (Some(id), self.begin_generation(topic, topic_id, from))
            }
            Parsed::Snapshot { id, at, held } => (Some(id), self.restore(record.offset, at, held)),
            Parsed::Unknown(id) => {
                self.is_whole = false;
                (Some(id), Verdict::Unknown)
            }
            Parsed::Foreign => (None, Verdict::Foreign),
        };
        Applied { id, verdict, order }
    }

    /// Nothing (more) stands before `next`.
    pub fn pass_to(&mut self, next: u64) {
        self.next = next.max(self.next);
    }

    /// Some records could not be read.
    pub fn pass_gap(&mut self) {
        self.is_whole = false;
    }

    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Whether it is time for a snapshot, when there is one for every so many offsets.
    pub(super) fn wants_snapshot(&self, every: u64) -> bool {
        self.is_whole && self.next - self.snapshot.map_or(0, |at| at + 1) >= every
    }

    #[cfg(test)]
    pub(super) fn holding(next: u64, held: Held) -> State {
        State { held, ..State::new(next) }
    }

    fn begin_generation(&mut self, topic: TopicName, topic_id: u128, from: u64) -> Verdict {
        let present = self.generation(&topic, topic_id);
        if present != from {
            return Verdict::Refused(Refusal::NotPresent { present });
        }
        let has_room = from > 0 || self.held.generations.len() < GENERATIONS_MAX;
        let Some(generation) = from.checked_add(1).filter(|_| has_room) else {
            return Verdict::Refused(Refusal::Full);
        };
        self.held.generations.insert((topic, topic_id), generation);
        Verdict::Decided
    }

    fn restore(&mut self, offset: u64, at: u64, held: Held) -> Verdict {
        if at != offset {
            return Verdict::Refused(Refusal::NotItsOffset);
        }
        if held.generations.len() > GENERATIONS_MAX {
            return Verdict::Refused(Refusal::Full);
        }
        let differs = self.is_whole && self.held != held;
        let before = self.snapshot.replace(offset);
        (self.held, self.is_whole) = (held, true);
        Verdict::Snapshot { before, differs }
    }
}

/// Whether a record is a snapshot to begin at.
pub(super) fn is_snapshot(record: &Record) -> bool {
    matches!(State::new(record.offset).apply(record).verdict, Verdict::Snapshot { .. })
}

#[cfg(test)]
mod tests;

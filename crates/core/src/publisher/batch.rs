//! The events of one publish, sorted into the parts of commits.
//!
//! ```text
//! events  0:a 1:b 2:a 3:c …      a, b, c: topic and partition
//! group   parts [a: 0, 2] [b: 1] [c: 3]      one commit, at most a few MiB
//! ```
//! Events of one source are in one partition, so in one part of a group in their order, and groups are committed one
//! after the other.

use super::preparation::{Place, Prepared};
use crate::announcement::Unplaced;
use crate::bus::Message;
use crate::channel::Channel;
use crate::log::{Appended, Part, PartCommitted};
use crate::position::Position;
use crate::publisher::{Failure, Receipt};
use crate::topic::TopicName;
use crate::{Error, ErrorKind, Result};

/// A group is closed once it passes this many bytes.
const GROUP_BYTES: usize = 4 << 20;
/// How many partitions a topic has, unless it was created otherwise: so many parts share the events of a call.
const PARTITIONS_USUAL: usize = 12;
/// Most records that a part has room for before they come: there may be many parts.
const ROOM_MAX: usize = 64;

/// The answers to a call, each at the place of its event. They take memory once there is one, so not while the log is
/// waited for.
pub(super) struct Answers {
    answers: Vec<Option<Result<Receipt, Failure>>>,
    events: usize,
}

/// The events of a call that are stored if the log takes them.
pub(super) struct Batch {
    groups: Vec<Group>,
    /// The parts of the last group by place, sorted.
    parts: Vec<(Place, usize)>,
    bytes: usize,
    /// Parts that a group will have, and records of each, more or less.
    room: (usize, usize),
}

/// What is committed together.
pub(super) struct Group {
    pub parts: Vec<Part>,
    /// Those of each part.
    events: Vec<PartEvents>,
    bytes: usize,
}

/// What is left to know of the events of a part, in the order of its records.
struct PartEvents {
    topic: TopicName,
    partition: u32,
    events: Vec<Placed>,
}

/// What is left to know of an event once its record is in a part.
struct Placed {
    /// Its place in the call.
    index: usize,
    id: String,
    channel: String,
    /// `None` if nothing is announced of it.
    announcement: Option<Unplaced>,
}

impl Batch {
    /// For the events of a call of so many.
    pub(super) fn new(events: usize) -> Batch {
        let room = (events.min(PARTITIONS_USUAL), events.div_ceil(PARTITIONS_USUAL).min(ROOM_MAX));
        Batch { groups: Vec::with_capacity(1), parts: Vec::with_capacity(room.0), bytes: 0, room }
    }

    /// Puts an event of `topic` into the last group, or into one more.
    pub(super) fn add(&mut self, index: usize, event: Prepared, topic: &TopicName) {
        if self.groups.last().is_none_or(|g| g.bytes >= GROUP_BYTES) {
            self.groups.push(Group::new(self.room.0));
            self.parts.clear();
        }
        let group = self.groups.last_mut().expect("a group was pushed if there was none");
        let Prepared { id, channel, announcement, place, record } = event;
        let part = match self.parts.binary_search_by_key(&place, |(known, _)| *known) {
            Ok(at) => self.parts[at].1,
            Err(at) => {
                self.parts.insert(at, (place, group.parts.len()));
                group.begin_part(topic, place.partition, self.room.1);
                group.parts.len() - 1
            }
        };
        let weight = record.weight();
        group.bytes += weight;
        self.bytes += weight;
        group.parts[part].records.push(record);
        group.events[part].events.push(Placed { index, id, channel, announcement });
    }

    /// What its records weigh.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its groups, in order.
    pub(super) fn into_groups(self) -> Vec<Group> {
        self.groups
    }
}

impl Answers {
    /// For a call of so many events.
    pub(super) fn new(events: usize) -> Answers {
        Answers { answers: Vec::new(), events }
    }

    /// Answers the event at that place.
    pub(super) fn put(&mut self, index: usize, answer: Result<Receipt, Failure>) {
        if self.answers.is_empty() {
            self.answers.resize_with(self.events, || None);
        }
        self.answers[index] = Some(answer);
    }

    /// Those that are there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Result<Receipt, Failure>> {
        self.answers.iter().flatten()
    }

    /// All of them.
    pub(super) fn into_all(self) -> Vec<Result<Receipt, Failure>> {
        let expected = |answer: Option<_>| answer.expect("every event was refused, stored or failed");
        self.answers.into_iter().map(expected).collect()
    }
}

impl Group {
    fn new(parts: usize) -> Group {
        Group { parts: Vec::with_capacity(parts), events: Vec::with_capacity(parts), bytes: 0 }
    }

    fn begin_part(&mut self, topic: &TopicName, partition: u32, records: usize) {
        let (topic, own) = (topic.clone(), topic.clone());
        self.parts.push(Part { topic, partition, records: Vec::with_capacity(records) });
        self.events.push(PartEvents { topic: own, partition, events: Vec::with_capacity(records) });
    }

    /// Takes the parts to commit them.
    pub(super) fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    /// Answers every event, and adds the announcements of what was newly stored.
    pub(super) fn answer(
        self,
        committed: Vec<PartCommitted>,
        answers: &mut Answers,
        announcements: &mut Vec<Message>,
    ) {
        announcements.reserve(self.events.iter().map(|part| part.events.len()).sum());
        for (part, PartEvents { topic, partition, events }) in committed.into_iter().zip(self.events) {
            for (appended, mut event) in part.records.into_iter().zip(events) {
                let at = |partition, offset| Position { epoch: part.epoch, partition, offset };
                let answer = match appended {
                    Appended::Stored(offset) => {
                        announcements.extend(event.announcement(at(partition, offset)));
                        Ok((at(partition, offset), false))
                    }
                    Appended::Duplicate { partition, offset } => Ok((at(partition, offset), true)),
                    Appended::Conflict { .. } => Err(conflict()),
                    Appended::Failed(error) => Err(error),
                };
                answers.put(event.index, event.answer(&topic, answer));
            }
        }
    }

    /// The same error for every event.
    pub(super) fn fail(self, error: &Error, answers: &mut Answers) {
        for event in self.events.into_iter().flat_map(|part| part.events) {
            answers.put(event.index, Err(Failure { id: Some(event.id), error: error.clone() }));
        }
    }
}

impl Placed {
    /// Its announcement, once it is known where it stands.
    fn announcement(&mut self, position: Position) -> Option<Message> {
        let payload = self.announcement.take()?.at(position);
        Some(Message { channel: Channel::new(&self.channel).ok()?, payload })
    }

    fn answer(self, topic: &TopicName, answer: Result<(Position, bool)>) -> Result<Receipt, Failure> {
        match answer {
            Ok((position, duplicate)) => {
                let topic = topic.clone();
                Ok(Receipt { id: self.id, position, topic, channel: self.channel, duplicate })
            }
            Err(error) => Err(Failure { id: Some(self.id), error }),
        }
    }
}

fn conflict() -> Error {
    Error::new(ErrorKind::Conflict, "id_conflict", "another event with this id is stored for this source")
        .with_field("id")
}

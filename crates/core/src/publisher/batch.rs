//! The events of one publish, sorted into the parts of commits.
//!
//! ```text
//! events  0:a 1:b 2:a 3:c …      a, b, c: topic and partition
//! group   parts [a: 0, 2] [b: 1] [c: 3]      one commit, at most a few MiB
//! ```
//! Events of one source are in one partition, so in one part of a group in their order, and groups are committed one
//! after the other.

use crate::announcement::Announcement;
use crate::bus::Message;
use crate::channel::Channel;
use crate::log::{Appended, Part, PartCommitted};
use crate::namespace::Namespace;
use crate::position::Position;
use crate::publisher::{Failure, Receipt};
use crate::record::NewRecord;
use crate::topic::TopicName;
use crate::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group is closed once it passes this many bytes.
const GROUP_BYTES: usize = 4 << 20;

/// An event that is checked, encoded and placed.
pub(super) struct Prepared {
    /// Its place in the call.
    pub index: usize,
    pub id: String,
    pub event_type: String,
    pub source_id: String,
    pub channel: String,
    pub namespace: Arc<Namespace>,
    pub partition: u32,
    pub record: NewRecord,
}

/// What is committed together.
#[derive(Default)]
pub(super) struct Group {
    pub parts: Vec<Part>,
    /// The event of each record of each part.
    events: Vec<Vec<Placed>>,
    bytes: usize,
}

/// What is left to know of an event once its record is in a part.
struct Placed {
    index: usize,
    id: String,
    event_type: String,
    source_id: String,
    channel: String,
    namespace: Arc<Namespace>,
}

/// Sorts events into groups.
pub(super) fn group(prepared: Vec<Prepared>) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut places = BTreeMap::new();
    for event in prepared {
        if groups.last().is_none_or(|g: &Group| g.bytes >= GROUP_BYTES) {
            groups.push(Group::default());
            places.clear();
        }
        let group = groups.last_mut().expect("a group was pushed if there was none");
        group.add(event, &mut places);
    }
    groups
}

impl Group {
    fn add(&mut self, event: Prepared, places: &mut BTreeMap<(TopicName, u32), usize>) {
        let Prepared { index, id, event_type, source_id, channel, namespace, partition, record } = event;
        let place = *places.entry((namespace.topic.clone(), partition)).or_insert_with(|| {
            self.parts.push(Part { topic: namespace.topic.clone(), partition, records: Vec::new() });
            self.events.push(Vec::new());
            self.parts.len() - 1
        });
        self.bytes += record.weight();
        self.parts[place].records.push(record);
        self.events[place].push(Placed { index, id, event_type, source_id, channel, namespace });
    }

    /// Takes the parts to commit them.
    pub(super) fn take_parts(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    /// One result per event, with its place in the call, and the announcements of what was newly stored.
    pub(super) fn answer(
        self,
        committed: Vec<PartCommitted>,
        partitions: &[u32],
        announcements: &mut Vec<Message>,
    ) -> Vec<(usize, Result<Receipt, Failure>)> {
        let mut results = Vec::new();
        for ((part, events), &partition) in committed.into_iter().zip(self.events).zip(partitions) {
            for (appended, event) in part.records.into_iter().zip(events) {
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
                results.push((event.index, event.answer(answer)));
            }
        }
        results
    }

    /// The same error for every event.
    pub(super) fn fail(self, error: &Error) -> Vec<(usize, Result<Receipt, Failure>)> {
        let failed = |event: Placed| (event.index, Err(Failure { id: Some(event.id), error: error.clone() }));
        self.events.into_iter().flatten().map(failed).collect()
    }
}

impl Placed {
    fn announcement(&self, position: Position) -> Option<Message> {
        if !self.namespace.is_announced() {
            return None;
        }
        let payload = Announcement {
            id: Cow::Borrowed(&self.id),
            event_type: Cow::Borrowed(&self.event_type),
            source_id: Cow::Borrowed(&self.source_id),
            position: Cow::Owned(position.to_string()),
        };
        Some(Message { channel: Channel::new(&self.channel).ok()?, payload: payload.encode() })
    }

    fn answer(self, answer: crate::Result<(Position, bool)>) -> Result<Receipt, Failure> {
        match answer {
            Ok((position, duplicate)) => {
                let topic = self.namespace.topic.clone();
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

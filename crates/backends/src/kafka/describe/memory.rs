//! Which topics were seen, so that what a broker says who is behind the others is not believed at once.

use dualstream_core::topic::TopicName;
use dualstream_kafka_ffi::TopicDescription;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More topics than a cluster has: then it begins anew.
const TOPICS_MAX: usize = 100_000;

/// What was seen last of each topic.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<TopicName, Seen>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Is {
        id: u128,
        partitions: usize,
    },
    /// This server deleted it.
    Gone {
        id: u128,
    },
}

impl Memory {
    /// Whether an answer goes with what was seen.
    pub(super) fn agrees(&self, name: &TopicName, now: Option<&TopicDescription>) -> bool {
        match (self.seen().get(name), now) {
            (None | Some(Seen::Gone { .. }), None) => true,
            (None, Some(_)) => true,
            (Some(Seen::Is { .. }), None) => false,
            (Some(Seen::Is { id, partitions }), Some(now)) => {
                *id == now.id && now.partitions.len() >= *partitions
            }
            (Some(Seen::Gone { id }), Some(now)) => *id != now.id,
        }
    }

    /// Whether an answer is of a topic that this server has deleted.
    pub(super) fn is_of_before(&self, name: &TopicName, now: Option<&TopicDescription>) -> bool {
        matches!((self.seen().get(name), now), (Some(Seen::Gone { id }), Some(now)) if *id == now.id)
    }

    /// An answer that is believed.
    pub(super) fn note(&self, name: &TopicName, now: Option<&TopicDescription>) {
        let mut seen = self.seen();
        match now {
            Some(now) => {
                if seen.len() >= TOPICS_MAX {
                    seen.clear();
                }
                seen.insert(name.clone(), Seen::Is { id: now.id, partitions: now.partitions.len() });
            }
            None if matches!(seen.get(name), Some(Seen::Is { .. })) => drop(seen.remove(name)),
            None => {}
        }
    }

    /// This server is about to delete a topic.
    pub(crate) fn forget(&self, name: &TopicName) {
        if let Some(seen) = self.seen().get_mut(name)
            && let Seen::Is { id, .. } = *seen
        {
            *seen = Seen::Gone { id };
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<TopicName, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_kafka_ffi::PartitionDescription;

    fn topic(id: u128, partitions: usize) -> TopicDescription {
        let one =
            |partition| PartitionDescription { partition, leader: None, replicas: vec![], in_sync: vec![] };
        let partitions = (0..).take(partitions).map(one).collect();
        TopicDescription { name: "t".into(), id, partitions }
    }

    #[test]
    fn what_a_broker_that_is_behind_says_is_doubted() {
        let (memory, name) = (Memory::default(), TopicName::new("t").unwrap());
        assert!(memory.agrees(&name, None) && memory.agrees(&name, Some(&topic(1, 12))));
        memory.note(&name, Some(&topic(1, 12)));
        assert!(memory.agrees(&name, Some(&topic(1, 12))) && memory.agrees(&name, Some(&topic(1, 24))));
        for doubtful in [None, Some(topic(2, 12)), Some(topic(1, 11))] {
            assert!(!memory.agrees(&name, doubtful.as_ref()), "{doubtful:?}");
        }
        memory.forget(&name);
        assert!(memory.agrees(&name, None) && memory.agrees(&name, Some(&topic(2, 1))));
        assert!(
            !memory.agrees(&name, Some(&topic(1, 12))) && memory.is_of_before(&name, Some(&topic(1, 12)))
        );
        // It stays in doubt until another one is there.
        memory.note(&name, None);
        assert!(memory.is_of_before(&name, Some(&topic(1, 12))));
        memory.note(&name, Some(&topic(2, 12)));
        assert!(!memory.is_of_before(&name, Some(&topic(1, 12))));
    }
}

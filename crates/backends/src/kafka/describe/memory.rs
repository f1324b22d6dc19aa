//! Which topics were seen, so that what a broker says who is behind the others is not believed at once.

use dualstream_core::topic::TopicName;
use dualstream_kafka_ffi::TopicDescription;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More topics than a cluster has: then it begins anew.
const TOPICS_MAX: usize = 100_000;

/// What was seen last of each topic.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<TopicName, Seen>>);

/// Topics that had the name before whose ids are remembered.
const FORMER_MAX: usize = 8;

/// The topic of a name.
#[derive(Debug, Default)]
struct Seen {
    /// Identity and partitions, of one that was deleted too.
    last: Option<(u128, usize)>,
    is_there: bool,
    /// The brokers that keep it.
    brokers: BTreeSet<i32>,
    /// Others that had the name before, the latest last: an id that is gone never comes back.
    former: Vec<u128>,
}

impl Seen {
    fn is_of_before(&self, now: &TopicDescription) -> bool {
        // A topic never loses partitions.
        let has_fewer = |(id, partitions)| id == now.id && now.partitions.len() < partitions;
        self.former.contains(&now.id) || self.last.is_some_and(has_fewer)
    }

    fn replace(&mut self, id: u128) {
        if self.former.len() >= FORMER_MAX {
            self.former.remove(0);
        }
        self.former.push(id);
    }
}

impl Memory {
    /// Whether an answer goes with what was seen.
    pub(super) fn agrees(&self, name: &TopicName, now: Option<&TopicDescription>) -> bool {
        match (self.seen().get(name), now) {
            (None, _) => true,
            (Some(seen), None) => !seen.is_there,
            (Some(seen), Some(now)) => {
                let is_another = seen.is_there && seen.last.is_some_and(|(id, _)| id != now.id);
                !is_another && !seen.is_of_before(now)
            }
        }
    }

    /// Whether an answer was true only before what was seen: of a topic that was deleted or replaced, or with fewer
    /// partitions than it has.
    pub(super) fn is_of_before(&self, name: &TopicName, now: Option<&TopicDescription>) -> bool {
        matches!((self.seen().get(name), now), (Some(seen), Some(now)) if seen.is_of_before(now))
    }

    /// An answer that is believed.
    pub(super) fn note(&self, name: &TopicName, now: Option<&TopicDescription>) {
        let mut seen = self.seen();
        let Some(now) = now else {
            if let Some(seen) = seen.get_mut(name) {
                seen.is_there = false;
            }
            return;
        };
        if seen.len() >= TOPICS_MAX {
            seen.clear();
        }
        let seen = seen.entry(name.clone()).or_default();
        if let Some((id, _)) = seen.last
            && id != now.id
            && !seen.former.contains(&id)
        {
            seen.replace(id);
        }
        (seen.last, seen.is_there) = (Some((now.id, now.partitions.len())), true);
        seen.brokers = now.partitions.iter().flat_map(|one| one.replicas.iter().copied()).collect();
    }

    /// The number of partitions of a topic that was there when it was last asked for.
    pub(super) fn partitions(&self, name: &TopicName) -> Option<u32> {
        let seen = self.seen();
        let (_, count) = seen.get(name).filter(|seen| seen.is_there)?.last?;
        u32::try_from(count).ok()
    }

    /// The brokers that keep a topic, as it was when it was last asked for.
    pub(super) fn brokers(&self, name: &TopicName) -> BTreeSet<i32> {
        self.seen().get(name).map(|seen| seen.brokers.clone()).unwrap_or_default()
    }

    /// This server has deleted a topic.
    pub(crate) fn forget(&self, name: &TopicName) {
        if let Some(seen) = self.seen().get_mut(name)
            && let Some((id, _)) = seen.last
            && std::mem::take(&mut seen.is_there)
        {
            seen.replace(id);
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
        // It is never believed again, nor when another one is there.
        memory.note(&name, None);
        assert!(memory.is_of_before(&name, Some(&topic(1, 12))));
        memory.note(&name, Some(&topic(2, 12)));
        assert!(memory.is_of_before(&name, Some(&topic(1, 12))));
    }

    #[test]
    fn what_was_replaced_is_never_believed_again() {
        let (memory, name) = (Memory::default(), TopicName::new("t").unwrap());
        memory.note(&name, Some(&topic(1, 12)));
        assert!(memory.is_of_before(&name, Some(&topic(1, 11))), "fewer partitions");
        assert!(!memory.is_of_before(&name, None) && !memory.is_of_before(&name, Some(&topic(2, 1))));
        // Deleted and made again by others.
        memory.note(&name, None);
        assert!(memory.agrees(&name, Some(&topic(1, 12))), "a broker that knew less than the others");
        assert!(memory.is_of_before(&name, Some(&topic(1, 11))));
        memory.note(&name, Some(&topic(2, 6)));
        memory.note(&name, None);
        assert!(
            memory.is_of_before(&name, Some(&topic(1, 12))) && !memory.agrees(&name, Some(&topic(1, 12)))
        );
        assert!(memory.agrees(&name, Some(&topic(2, 6))));
        for id in 3..100 {
            memory.note(&name, Some(&topic(id, 6)));
            assert!(memory.is_of_before(&name, Some(&topic(id - 1, 6))));
        }
        assert_eq!(memory.seen()[&name].former.len(), FORMER_MAX);
    }
}

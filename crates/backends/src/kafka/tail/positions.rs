//! Where each partition that is followed is. A decision over messages, without a client.

use super::super::fault;
use super::super::records::{offset, records};
use super::shelf::Item;
use super::source::Ids;
use dualstream_core::mirror::{Place, Run};
use dualstream_core::topic::TopicName;
use dualstream_kafka_ffi::Message;
use rdkafka::error::RDKafkaErrorCode;

/// Most ends of runs of a partition whose append time is remembered.
const TIMES_MAX: usize = 64;

/// The partitions that are followed.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    /// By topic and partition.
    all: Vec<Position>,
}

/// Where one is.
#[derive(Debug)]
struct Position {
    topic: TopicName,
    partition: u32,
    /// Everything below it was handed out.
    next: u64,
    /// The latest append time so far.
    time_ms: i64,
    /// The latest append time below an offset, where runs ended: who goes back to such an end goes on with it.
    times: Vec<(u64, i64)>,
    /// What comes after an error is not handed out: something may be missing before it.
    has_failed: bool,
    /// Nothing was behind it when its end was last told.
    is_at_end: bool,
}

impl Positions {
    /// Follows exactly these places: which partitions are to be left and which are to be taken up. One that is there
    /// already is neither.
    pub(crate) fn follow(&mut self, places: Vec<Place>) -> (Vec<Place>, Vec<Place>) {
        let mut wanted: Vec<Position> = places.into_iter().map(Position::at).collect();
        wanted.sort_by(|a, b| a.key().cmp(&b.key()));
        // The last word on a partition counts.
        wanted.reverse();
        wanted.dedup_by(|a, b| a.key() == b.key());
        wanted.reverse();
        let (mut left, mut taken) = (Vec::new(), Vec::new());
        for old in &self.all {
            let stays = find(&wanted, old.key()).is_some_and(|at| old.is_at(wanted[at].next));
            if !stays {
                left.push(old.place());
            }
        }
        for new in &mut wanted {
            let old = find(&self.all, new.key()).map(|at| &self.all[at]);
            if !old.is_some_and(|old| old.is_at(new.next)) {
                taken.push(new.place());
            }
            if let Some(old) = old {
                new.keep_times_of(old);
            }
        }
        self.all = wanted;
        (left, taken)
    }

    /// What a batch brings, runs first.
    pub(crate) fn sort<'a>(&mut self, batch: impl Iterator<Item = Message<'a>>, ids: &Ids) -> Vec<Item> {
        let mut piles: Vec<(usize, Pile<'a>)> = Vec::new();
        let mut errors = Vec::new();
        let mut last = None;
        for message in batch {
            let key = (message.topic(), message.partition());
            let pile = match last {
                Some((before, pile)) if before == key => pile,
                _ => {
                    let Some(at) = self.find(key) else {
                        self.elsewhere(&message);
                        continue;
                    };
                    let open = piles.iter().position(|(of, _)| *of == at);
                    open.unwrap_or_else(|| {
                        piles.push((at, Pile::default()));
                        piles.len() - 1
                    })
                }
            };
            last = Some((key, pile));
            let (at, pile) = &mut piles[pile];
            errors.extend(self.all[*at].see(message, pile));
        }
        let runs = piles.into_iter().filter_map(|(at, pile)| self.all[at].run(&pile, ids));
        let mut items: Vec<Item> = runs.collect();
        items.extend(errors);
        items
    }

    /// Names that other topics have now: what comes is not what was to be followed.
    pub(crate) fn replaced(&mut self, names: &[String]) -> Vec<Item> {
        let is_replaced = |position: &&mut Position| {
            !position.has_failed && names.iter().any(|name| *name == position.topic.as_str())
        };
        let fail = |position: &mut Position| position.fail(RDKafkaErrorCode::UnknownTopicId);
        self.all.iter_mut().filter(is_replaced).map(fail).collect()
    }

    /// Whether nothing was behind any of them when it was last told.
    pub(crate) fn are_at_end(&self) -> bool {
        self.all.iter().all(|position| position.is_at_end)
    }

    fn find(&self, (topic, partition): (&str, i32)) -> Option<usize> {
        find(&self.all, (topic, u32::try_from(partition).ok()?))
    }

    /// A message of no partition that is followed.
    fn elsewhere(&self, message: &Message<'_>) {
        if let Some(error) = message.error() {
            tracing::warn!(%error, topic = message.topic(), partition = message.partition(), "kafka consumer");
        }
    }
}

fn find(all: &[Position], key: (&str, u32)) -> Option<usize> {
    all.binary_search_by(|position| position.key().cmp(&key)).ok()
}

/// What a batch holds of one partition.
#[derive(Default)]
struct Pile<'a> {
    messages: Vec<Message<'a>>,
    has_moved: bool,
}

impl Position {
    fn at(place: Place) -> Position {
        let Place { topic, partition, from } = place;
        let (next, times) = (from, Vec::new());
        Position { topic, partition, next, time_ms: 0, times, has_failed: false, is_at_end: false }
    }

    /// What is known of the append times below this place: no more than what is read again from here on.
    fn keep_times_of(&mut self, old: &Position) {
        self.times = old.times.iter().copied().filter(|(end, _)| *end <= self.next).collect();
        self.time_ms = self.times.last().map_or(0, |(_, time_ms)| *time_ms);
    }

    /// The latest append time was moved by what is below `next`.
    fn note_time(&mut self) {
        if self.times.last().is_none_or(|(_, time_ms)| *time_ms < self.time_ms) {
            if self.times.len() >= TIMES_MAX {
                // The further back, the fewer.
                let mut is_kept = false;
                self.times.retain(|_| {
                    is_kept = !is_kept;
                    is_kept
                });
            }
            self.times.push((self.next, self.time_ms));
        }
    }

    fn key(&self) -> (&str, u32) {
        (self.topic.as_str(), self.partition)
    }

    fn place(&self) -> Place {
        Place { topic: self.topic.clone(), partition: self.partition, from: self.next }
    }

    fn is_at(&self, offset: u64) -> bool {
        self.next == offset && !self.has_failed
    }

    /// Takes a message in.
    fn see<'a>(&mut self, message: Message<'a>, pile: &mut Pile<'a>) -> Option<Item> {
        if self.has_failed {
            return None;
        }
        match message.error() {
            // What was fetched twice is not handed out twice.
            None if offset(&message) >= self.next => {
                self.next = offset(&message) + 1;
                self.is_at_end = false;
                pile.messages.push(message);
            }
            None => {}
            // The end is told behind what makes no record: the marks of transactions, what they took back.
            Some(RDKafkaErrorCode::PartitionEOF) => {
                self.is_at_end = true;
                if offset(&message) <= self.next {
                    return None;
                }
                self.next = offset(&message);
            }
            // Of a place of before: librdkafka says it late, and of no assignment in particular.
            Some(RDKafkaErrorCode::AutoOffsetReset)
                if message.offset() >= 0 && offset(&message) < self.next =>
            {
                return None;
            }
            Some(code) => return Some(self.fail(code)),
        }
        pile.has_moved = true;
        None
    }

    fn fail(&mut self, code: RDKafkaErrorCode) -> Item {
        self.has_failed = true;
        Item { outcome: Err(fault::of_partition(code, &self.topic, self.partition)), bytes: 0 }
    }

    fn run(&mut self, pile: &Pile<'_>, ids: &Ids) -> Option<Item> {
        let (records, bytes) = records(self.partition, &pile.messages, &mut self.time_ms);
        self.note_time();
        let (topic, partition, next) = (self.topic.clone(), self.partition, self.next);
        let run = Run { id: ids.of(topic.as_str()), topic, partition, records, next };
        pile.has_moved.then_some(Item { outcome: Ok(run), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: u32, from: u64) -> Place {
        Place { topic: TopicName::new("t").unwrap(), partition, from }
    }

    /// A run up to `next` was handed out, with records up to that time.
    fn hand_out(positions: &mut Positions, partition: i32, next: u64, time_ms: i64) {
        let at = positions.find(("t", partition)).unwrap();
        let position = &mut positions.all[at];
        (position.next, position.time_ms) = (next, time_ms.max(position.time_ms));
        position.note_time();
    }

    fn times(positions: &Positions) -> Vec<i64> {
        positions.all.iter().map(|position| position.time_ms).collect()
    }

    #[test]
    fn append_times_are_kept_over_another_assignment() {
        let mut positions = Positions::default();
        positions.follow((0..12).map(|partition| place(partition, 0)).collect());
        for (next, time_ms) in [(10, 100), (20, 90), (30, 300)] {
            (0..12).for_each(|partition| hand_out(&mut positions, partition, next, time_ms));
        }
        positions.all[4].has_failed = true;
        let from = |partition| [30, 20, 19, 9, 30, 35].get(partition as usize).copied().unwrap_or(30);
        let (left, taken) = positions.follow((0..12).map(|at| place(at, from(at))).collect());
        let moved: Vec<u32> = taken.iter().map(|place| place.partition).collect();
        assert_eq!((moved, left.len()), (vec![1, 2, 3, 4, 5], 5));
        // What is read again from before the end of a run is not later than it was.
        assert_eq!(times(&positions)[..6], [300, 100, 100, 0, 300, 300]);
        assert_eq!(times(&positions)[6..], [300; 6]);
    }

    #[test]
    fn many_runs_leave_few_times() {
        let mut positions = Positions::default();
        positions.follow(vec![place(3, 0)]);
        for run in 1..10_000 {
            hand_out(&mut positions, 3, run, i64::try_from(run).unwrap());
        }
        assert!(positions.all[0].times.len() <= TIMES_MAX);
        positions.follow(vec![place(3, 9_998)]);
        assert_eq!(times(&positions), [9_998]);
        positions.follow(vec![place(3, 5_000)]);
        assert!((1..=5_000).contains(&times(&positions)[0]), "never later than it was");
    }
}

//! Where each partition that is followed is. A decision over messages, without a client.

use super::super::fault;
use super::super::records::{offset, records};
use super::shelf::Item;
use dualstream_core::mirror::{Place, Run};
use dualstream_core::topic::TopicName;
use dualstream_kafka_ffi::Message;
use rdkafka::error::RDKafkaErrorCode;

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
            match find(&self.all, new.key()).map(|at| &self.all[at]) {
                Some(old) if old.is_at(new.next) => new.time_ms = old.time_ms,
                _ => taken.push(new.place()),
            }
        }
        self.all = wanted;
        (left, taken)
    }

    /// What a batch brings, runs first.
    pub(crate) fn sort<'a>(&mut self, batch: impl Iterator<Item = Message<'a>>) -> Vec<Item> {
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
        let runs = piles.into_iter().filter_map(|(at, pile)| self.all[at].run(&pile));
        let mut items: Vec<Item> = runs.collect();
        items.extend(errors);
        items
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
        Position { topic, partition, next: from, time_ms: 0, has_failed: false, is_at_end: false }
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
            Some(code) => {
                self.has_failed = true;
                let outcome = Err(fault::of_partition(code, &self.topic, self.partition));
                return Some(Item { outcome, bytes: 0 });
            }
        }
        pile.has_moved = true;
        None
    }

    fn run(&mut self, pile: &Pile<'_>) -> Option<Item> {
        let (records, bytes) = records(self.partition, &pile.messages, &mut self.time_ms);
        let run = Run { topic: self.topic.clone(), partition: self.partition, records, next: self.next };
        pile.has_moved.then_some(Item { outcome: Ok(run), bytes })
    }
}

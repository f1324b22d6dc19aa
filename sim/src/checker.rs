//! The checker: what the run was promised, against what it saw.
//!
//! ```text
//!  publishers ──sent, answered──▶ facts   (each event of the workload: could be stored, must be stored, where)
//!  readers ─────seen────────────▶ orders  (each topic and epoch: the one order of its records)
//!  bus ─────────announced───────▶ facts
//!  subscribers ─steps───────────▶ chains  (judged against the orders when the run is over)
//! ```
//! What was acknowledged, announced or delivered is durable, so all three must survive every crash. Pure: it does no
//! I/O and knows no clock; each check is seen to fail in its own tests.

mod atomic;
mod chain;
mod fact;
mod live;
mod order;
mod place;
mod sources;
mod survival;

pub use chain::{Chain, Start, Step};
pub use fact::{Fact, Outcome};
pub use order::{Order, Stored};
pub use place::{PARTITIONS, Place, SOURCES, Source, TOPICS};
pub use survival::FullRead;

use crate::body;
use crate::history::Broken;
use dualstream_core::event::codec;
use dualstream_core::filter::source_of;
use dualstream_core::log::Bounds;
use dualstream_core::record::Record;
use dualstream_core::topic::Epoch;
use std::collections::{BTreeMap, BTreeSet};

/// What a check says.
pub type Verdict<T = ()> = Result<T, Broken>;

/// Everything known about a run.
pub struct Checker {
    /// Acks come after the sync: nothing acknowledged may be lost, and no epoch may change.
    fsync_always: bool,
    facts: Vec<Fact>,
    calls: Vec<atomic::Call>,
    /// The publish in which an event was sent first, if it was one of events never sent before.
    first_call: BTreeMap<u64, usize>,
    topics: [TopicLog; 2],
    topic_of: BTreeMap<Epoch, usize>,
    /// Which event stands at each place that anybody ever saw.
    values: BTreeMap<Place, u64>,
    /// Events whose stored bytes were damaged on purpose.
    damaged: BTreeSet<u64>,
    /// Places of repeated events, which nobody is shown, and where the first of each stands.
    aliases: BTreeMap<Place, Place>,
    /// Readers of different nodes find partitions side by side in different ways: only each by itself has one order.
    by_partition: bool,
    chains: Vec<Chain>,
    /// Announcements that live subscribers heard: id and channel.
    heard: BTreeMap<Place, (String, String)>,
}

/// What is known about one topic.
#[derive(Default)]
struct TopicLog {
    epoch: Option<Epoch>,
    orders: BTreeMap<Epoch, Order>,
    /// Start of each partition as last seen.
    earliest: Vec<u64>,
    /// Places that were announced: whatever stands there is durable.
    announced: BTreeSet<Place>,
}

impl Checker {
    /// A checker that knows nothing yet.
    pub fn new(fsync_always: bool, by_partition: bool) -> Checker {
        Checker {
            fsync_always,
            by_partition,
            aliases: BTreeMap::new(),
            facts: Vec::new(),
            calls: Vec::new(),
            first_call: BTreeMap::new(),
            topics: Default::default(),
            topic_of: BTreeMap::new(),
            values: BTreeMap::new(),
            damaged: BTreeSet::new(),
            chains: Vec::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Number of events made so far.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The topic whose epoch this is or was.
    pub fn topic_of(&self, epoch: Epoch) -> Option<usize> {
        self.topic_of.get(&epoch).copied()
    }

    /// The current epoch of a topic and the order of its records, once it was read.
    pub fn order(&self, topic: usize) -> Option<&Order> {
        let log = &self.topics[topic];
        log.orders.get(&log.epoch?)
    }

    /// Whether a place is below the start of its partition as last seen.
    pub fn is_trimmed(&self, place: &Place) -> bool {
        self.topics[place.topic].earliest.get(place.partition as usize).is_some_and(|&e| place.offset < e)
    }

    /// The start of a topic may have moved. Within an epoch it never moves back, whatever happens to the power: somebody
    /// may have been told that what is below is gone.
    pub fn trimmed(&mut self, topic: usize, bounds: &Bounds) -> Verdict {
        let log = &mut self.topics[topic];
        let known = std::mem::replace(&mut log.earliest, bounds.earliest.clone());
        let is_same = log.epoch == Some(bounds.epoch);
        let back = known.iter().zip(&bounds.earliest).position(|(known, now)| now < known);
        match back.filter(|_| is_same) {
            None => Ok(()),
            Some(p) => {
                let (name, now) = (TOPICS[topic], bounds.earliest[p]);
                let what = format!("the start of {name}[{p}] moved back from {} to {now}", known[p]);
                Err(Broken::new("what is gone stays gone", what, vec![format!("{name}[{p}]")]))
            }
        }
    }

    /// Stored bytes of this event were damaged on purpose: its batch may be gone, if that is said.
    pub fn damaged(&mut self, n: u64) {
        self.damaged.insert(n);
    }

    /// Somebody read a record: it must be one of ours, byte for byte, possible, and the only one at its place.
    /// Returns which event it is.
    pub fn saw(&mut self, topic: usize, epoch: Epoch, record: &Record) -> Verdict<u64> {
        let place = Place { topic, epoch, partition: record.partition, offset: record.offset };
        let n = self.identify(&place, record)?;
        self.stands(n, place)?;
        Ok(n)
    }

    /// A record that was read by the log's own order: the next one of its topic.
    pub fn follows(&mut self, topic: usize, epoch: Epoch, record: &Record) -> Verdict {
        let n = self.saw(topic, epoch, record)?;
        let (partition, offset) = (record.partition, record.offset);
        let stored = Stored { partition, offset, n, append_time_ms: record.append_time_ms };
        let log = &mut self.topics[topic];
        let order = log.orders.entry(epoch).or_default();
        order.push(stored, &log.earliest, topic)?;
        self.check_rival(topic, n)
    }

    /// A topic is there, with its one epoch.
    pub fn opened(&mut self, topic: usize, epoch: Epoch) {
        self.topics[topic].epoch = Some(epoch);
        self.topic_of.insert(epoch, topic);
    }

    /// A record was appended to a log that several nodes write. Of an event that was sent through two of them the first
    /// counts, and the others are hidden.
    pub fn appended(&mut self, topic: usize, epoch: Epoch, record: &Record) -> Verdict {
        let place = Place { topic, epoch, partition: record.partition, offset: record.offset };
        let n = self.identify(&place, record)?;
        let Some((partition, offset)) = self.order(topic).and_then(|order| order.place_of(n)) else {
            return self.follows(topic, epoch, record);
        };
        self.aliases.insert(place, Place { partition, offset, ..place });
        let order = self.topics[topic].orders.entry(epoch).or_default();
        order.gone.insert((place.partition, place.offset));
        Ok(())
    }

    /// Everything that was answered, announced or delivered stands in the log.
    pub fn check_stands(&self) -> Verdict {
        let epochs = self.topics.iter().map(|log| log.epoch).enumerate();
        epochs.into_iter().try_for_each(|(topic, epoch)| match epoch {
            Some(epoch) => self.check_kept(topic, epoch),
            None => Ok(()),
        })
    }

    /// The bus was handed an announcement: the event must stand where it says, and from now on must survive.
    pub fn announced(&mut self, place: Place, id: &str, ends: &[u64]) -> Verdict {
        if ends.get(place.partition as usize).is_none_or(|&end| place.offset >= end) {
            let what = format!("{id} was announced at {place}, which nobody can read yet (end {ends:?})");
            return Err(Broken::new("ack before announcement", what, vec![place.to_string()]));
        }
        self.topics[place.topic].announced.insert(place);
        Ok(())
    }

    fn identify(&self, place: &Place, record: &Record) -> Verdict<u64> {
        let about = || vec![place.to_string()];
        let invented = |what: String| Broken::new("nothing invented", what, about());
        let value = record.value.as_deref().unwrap_or_default();
        let event = codec::parse(value).ok_or_else(|| invented(format!("{place} holds no event")))?;
        let data = event.data.map_or("", |d| d.get());
        let n = body::number(data).ok_or_else(|| invented(format!("{place} holds `{data}`")))?;
        let fact =
            self.facts.get(n as usize).ok_or_else(|| invented(format!("{place} holds #{n}, never sent")))?;
        let source = source_of(&record.headers, record.key.as_deref());
        let right = source == Some((fact.source.kind().as_bytes(), fact.source.id().as_bytes()))
            && fact.source.topic() == place.topic
            && fact.source.partition() == place.partition
            && data.as_bytes() == body::body(n, fact.bytes)
            && fact.id.as_deref().is_none_or(|id| id == event.id);
        if !right {
            return Err(invented(format!(
                "{place} holds #{n} with another source, id or body than was sent"
            )));
        }
        Ok(n)
    }

    /// Event `n` stands at `place`: nothing else may, and it nowhere else.
    fn stands(&mut self, n: u64, place: Place) -> Verdict {
        let about = vec![format!("#{n}"), place.to_string()];
        if let Some(&other) = self.values.get(&place)
            && other != n
        {
            let what = format!("{place} held #{other} and now #{n}");
            return Err(Broken::new("one value per offset", what, about));
        }
        self.values.insert(place, n);
        if self.facts[n as usize].is_impossible() {
            let what = format!("{place} holds #{n}, whose publish was refused as definitely not stored");
            return Err(Broken::new("refused means not stored", what, about));
        }
        if let Some(first) = self.facts[n as usize].place
            && first != place
            && first.epoch == place.epoch
            && !self.is_trimmed(&first)
            && !self.is_trimmed(&place)
            && !self.damaged.contains(&n)
        {
            let what = format!("#{n} stands at {first} and at {place}");
            return Err(Broken::new("stored once", what, about));
        }
        let old = self.is_trimmed(&place);
        let fact = &mut self.facts[n as usize];
        let first = fact.place.filter(|first| first.epoch == place.epoch && *first != place);
        fact.again |= first.is_some();
        if first.is_none() || !old {
            fact.place = Some(place);
        }
        Ok(())
    }

    /// Two bodies under one identity may not both stand.
    fn check_rival(&self, topic: usize, n: u64) -> Verdict {
        let Some(base) = self.facts[n as usize].rival_of else { return Ok(()) };
        let Some(place) = self.order(topic).and_then(|order| order.place_of(base)) else { return Ok(()) };
        let earliest = self.topics[topic].earliest.get(place.0 as usize).copied().unwrap_or(0);
        if place.1 < earliest || self.damaged.contains(&base) {
            return Ok(());
        }
        let what = format!("#{n} was stored under the id of #{base}");
        Err(Broken::new("stored once", what, vec![format!("#{n}"), format!("#{base}")]))
    }
}

#[cfg(test)]
mod tests;

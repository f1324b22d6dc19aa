//! What full reads and subscribers saw: which event at which place.

use super::facts::{Facts, Outcome};
use super::findings::{About, Findings};
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use crate::operation::{Item, Operation, Place};
use std::collections::{BTreeMap, HashMap};

/// Everything seen.
pub(super) struct Sightings<'h> {
    pub(super) reads: Vec<FullRead<'h>>,
    holders: HashMap<(Name, Place), Holder>,
    /// By the number of the id: where it stands, in the first epoch it was seen in.
    places: Vec<Option<Place>>,
    /// In further epochs.
    more_places: BTreeMap<Name, Vec<Place>>,
    /// By the number of the id: when it was seen first.
    seen: Vec<Option<usize>>,
}

/// A read of a topic.
pub(super) struct FullRead<'h> {
    pub(super) name: Name,
    pub(super) node: Name,
    pub(super) topic: Name,
    pub(super) epoch: u64,
    pub(super) earliest: &'h [u64],
    pub(super) begins: usize,
    /// Known when it came to the end.
    pub(super) latest: Option<&'h [u64]>,
    met: Vec<bool>,
    /// The last place met in each partition.
    last: BTreeMap<u32, (u64, usize)>,
}

/// Who stands at a place, and who saw it first.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) event: Name,
    crc: Option<u32>,
    pub(super) at: usize,
}

impl<'h> FullRead<'h> {
    pub(super) fn met(&self, event: Name) -> bool {
        self.met[event.index()]
    }
}

impl<'h> Sightings<'h> {
    /// Also checks that what was seen was published, and is the same for all who look.
    pub(super) fn gather(history: &'h History, facts: &Facts, findings: &mut Findings) -> Sightings<'h> {
        let names = history.names.len();
        let mut gathering = Gathering {
            history,
            facts,
            findings,
            sightings: Sightings {
                reads: Vec::new(),
                holders: HashMap::new(),
                places: vec![None; names],
                more_places: BTreeMap::new(),
                seen: vec![None; names],
            },
            read_of: HashMap::new(),
        };
        // What full reads saw is taken for true first: a subscriber who saw something else is the odd one.
        for (at, step) in history.steps.iter().enumerate() {
            gathering.read(at, &step.operation);
        }
        for (at, step) in history.steps.iter().enumerate() {
            if let Operation::Deliver { item, .. } = &step.operation
                && facts.event(item.id).was_sent()
            {
                gathering.sees(at, facts.source(item.id).topic, item);
            } else if let Operation::Deliver { item, .. } = &step.operation {
                gathering.phantom(at, item.id);
            }
        }
        gathering.sightings
    }

    pub(super) fn holder(&self, topic: Name, place: Place) -> Option<Holder> {
        self.holders.get(&(topic, place)).copied()
    }

    /// Where it stands in an epoch.
    pub(super) fn place_in(&self, event: Name, epoch: u64) -> Option<Place> {
        self.places(event).find(|place| place.epoch == epoch)
    }

    /// Where it stands, in each epoch in which it was seen.
    pub(super) fn places(&self, event: Name) -> impl Iterator<Item = Place> {
        let more = self.more_places.get(&event).into_iter().flatten();
        self.places[event.index()].into_iter().chain(more.copied())
    }

    /// When it was seen first.
    pub(super) fn seen(&self, event: Name) -> Option<usize> {
        self.seen[event.index()]
    }

    pub(super) fn seen_events(&self) -> usize {
        self.seen.iter().flatten().count()
    }

    /// The full reads of a topic that came to the end.
    pub(super) fn full_reads(&self, topic: Name) -> impl DoubleEndedIterator<Item = &FullRead<'h>> {
        self.reads.iter().filter(move |read| read.topic == topic && read.latest.is_some())
    }
}

struct Gathering<'h, 'a> {
    history: &'h History,
    facts: &'a Facts,
    findings: &'a mut Findings,
    sightings: Sightings<'h>,
    read_of: HashMap<Name, usize>,
}

impl<'h> Gathering<'h, '_> {
    fn read(&mut self, at: usize, operation: &'h Operation<Name>) {
        match operation {
            &Operation::ReadBegins { reader: name, node, topic, epoch, ref earliest } => {
                let (met, last) = (vec![false; self.history.names.len()], BTreeMap::new());
                let read =
                    FullRead { name, node, topic, epoch, earliest, begins: at, latest: None, met, last };
                if self.read_of.insert(name, self.sightings.reads.len()).is_some() {
                    let name = self.history.text(name);
                    self.findings.malformed(at, || format!("two full reads are called {name}"));
                }
                self.sightings.reads.push(read);
            }
            Operation::Read { reader, item } => match self.read_of.get(reader) {
                Some(&index) => self.meets(at, index, item),
                None => self.unknown_reader(at, *reader),
            },
            Operation::ReadEnds { reader, latest } => match self.read_of.get(reader) {
                Some(&index) => self.sightings.reads[index].latest = Some(latest),
                None => self.unknown_reader(at, *reader),
            },
            _ => {}
        }
    }

    fn unknown_reader(&mut self, at: usize, reader: Name) {
        let reader = self.history.text(reader);
        self.findings.malformed(at, || format!("the full read {reader} has not begun"));
    }

    /// A full read meets an event: once, and after those before it in its partition.
    fn meets(&mut self, at: usize, index: usize, item: &Item<Name>) {
        let read = &mut self.sightings.reads[index];
        let (topic, name, history) = (read.topic, read.name, self.history);
        let Some(place) = item.place else {
            let name = history.text(name);
            return self
                .findings
                .malformed(at, || format!("the full read {name} met an event without a place"));
        };
        let met_before = std::mem::replace(&mut read.met[item.id.index()], true);
        let last = read.last.get(&place.partition).copied();
        if last.is_none_or(|(offset, _)| offset < place.offset) {
            read.last.insert(place.partition, (place.offset, at));
        }
        let is_same = self.sightings.place_in(item.id, place.epoch) == Some(place);
        if met_before && is_same && !self.findings.is_implicated(item.id) {
            let about = About { events: vec![item.id], at: vec![at], chain: None };
            return self.findings.add(Kind::Redelivered, about, || {
                format!("full read {} met event {} twice", history.text(name), history.text(item.id))
            });
        }
        if let Some((offset, before)) = last.filter(|(offset, _)| place.offset < *offset) {
            let about = About { at: vec![before, at], ..About::default() };
            self.findings.add(Kind::Disordered, about, || {
                let (name, id) = (history.text(name), history.text(item.id));
                format!("full read {name} met event {id} at {place} after offset {offset} of its partition")
            });
        }
        self.sees(at, topic, item);
    }

    fn sees(&mut self, at: usize, topic: Name, item: &Item<Name>) {
        let id = item.id;
        if item.place.is_some_and(|place| self.diverges(at, topic, place, item)) {
            return;
        }
        if !self.facts.event(id).was_sent() || at < self.facts.event(id).sent {
            return self.phantom(at, id);
        }
        let seen = &mut self.sightings.seen[id.index()];
        *seen = Some(seen.map_or(at, |before| before.min(at)));
        if self.facts.is_refused(id) {
            self.aborted(at, id);
        }
        if self.is_altered(topic, item) {
            self.altered(at, item);
        }
        if let Some(place) = item.place.filter(|_| self.facts.source(id).topic == topic) {
            self.stands(at, topic, place, item);
        }
    }

    /// Whether somebody saw another event, or another value, at this place.
    fn diverges(&mut self, at: usize, topic: Name, place: Place, item: &Item<Name>) -> bool {
        let Some(holder) = self.sightings.holder(topic, place) else { return false };
        let is_same =
            holder.event == item.id && holder.crc.zip(item.crc).is_none_or(|(first, now)| first == now);
        if is_same {
            return false;
        }
        let about = About { events: vec![holder.event, item.id], at: vec![holder.at, at], chain: None };
        self.findings.add(Kind::Diverged, about, || {
            let (topic, first) = (self.history.text(topic), self.history.text(holder.event));
            let now = if holder.event == item.id { "another value" } else { self.history.text(item.id) };
            format!("{place} of {topic} holds event {first} for one reader and {now} for another")
        });
        self.findings.implicate(holder.event);
        self.findings.implicate(item.id);
        true
    }

    fn phantom(&mut self, at: usize, id: Name) {
        if self.findings.is_implicated(id) {
            return;
        }
        self.findings.implicate(id);
        let about = About { events: vec![id], at: vec![at], chain: None };
        let was_sent = self.facts.event(id).was_sent();
        self.findings.add(Kind::Phantom, about, || {
            let what = if was_sent { "before it was sent" } else { "and never published" };
            format!("event {} was read {what}", self.history.text(id))
        });
    }

    fn aborted(&mut self, at: usize, id: Name) {
        if self.findings.is_implicated(id) {
            return;
        }
        self.findings.implicate(id);
        let codes = self.facts.attempts(id).filter_map(|attempt| match attempt.outcome {
            Outcome::Fail { code, .. } => Some(self.history.text(code)),
            _ => None,
        });
        let code = codes.last().unwrap_or_default();
        let about = About { events: vec![id], at: vec![at], chain: None };
        self.findings.add(Kind::AbortedRead, about, || {
            let id = self.history.text(id);
            format!("event {id} was read, and its publish said it is certainly not stored ({code})")
        });
    }

    fn is_altered(&self, topic: Name, item: &Item<Name>) -> bool {
        let source = self.facts.source(item.id);
        let mut attempts = self.facts.attempts(item.id);
        let has_value = item.crc.is_none_or(|crc| attempts.any(|attempt| attempt.crc == crc));
        source.key != item.key || source.topic != topic || !has_value
    }

    fn altered(&mut self, at: usize, item: &Item<Name>) {
        let source = self.facts.source(item.id);
        let what = if source.key != item.key {
            format!("key {}, not {}", self.history.text(item.key), self.history.text(source.key))
        } else if self.facts.attempts(item.id).all(|attempt| Some(attempt.crc) != item.crc) {
            "another value".to_owned()
        } else {
            format!("another topic than {}", self.history.text(source.topic))
        };
        let about = About { events: vec![item.id], at: vec![at], chain: None };
        let what = || {
            format!("event {} was read with {what} than it was published with", self.history.text(item.id))
        };
        self.findings.add(Kind::Altered, about, what);
    }

    /// The event stands here, and nowhere else in this epoch.
    fn stands(&mut self, at: usize, topic: Name, place: Place, item: &Item<Name>) {
        let id = item.id;
        // A value that was not published is named as that; it is no measure for other reads.
        let crc = item.crc.filter(|crc| self.facts.attempts(id).any(|attempt| attempt.crc == *crc));
        self.sightings.holders.entry((topic, place)).or_insert(Holder { event: id, crc, at });
        match self.sightings.place_in(id, place.epoch) {
            None => self.remember(id, place),
            Some(first) if first == place => {}
            Some(_) if self.findings.is_implicated(id) => {}
            Some(first) => {
                self.findings.implicate(id);
                let before = self.sightings.holder(topic, first).map(|holder| holder.at);
                let about =
                    About { events: vec![id], at: before.into_iter().chain([at]).collect(), chain: None };
                self.findings.add(Kind::Duplicate, about, || {
                    let (id, topic) = (self.history.text(id), self.history.text(topic));
                    format!("event {id} stands at {first} and at {place} of {topic}")
                });
            }
        }
    }

    fn remember(&mut self, id: Name, place: Place) {
        match &mut self.sightings.places[id.index()] {
            first @ None => *first = Some(place),
            Some(_) => self.sightings.more_places.entry(id).or_default().push(place),
        }
    }
}

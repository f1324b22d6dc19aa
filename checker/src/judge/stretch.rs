//! A part of a chain that must be without holes: from where it began, or was told to begin again, over its reconnects.
//!
//! ```text
//!  subscribe ─ … ─ resume ─ … ─ resume ─ … ─ unrecoverable ─ … ─ resume ─ … ─ (close)
//!  ├ session 1 ─┤├ session 2 ─┤├ session 3 ─┤
//!  ├────────────── stretch ─────────────────┤├──────────── stretch ──────────────┤
//! ```

use super::bookmarks::Bookmarks;
use super::chains::Judge;
use super::findings::Findings;
use crate::anomaly::Kind;
use crate::names::Name;
use crate::operation::{Place, Start};
use std::collections::BTreeMap;

/// One of them.
pub(super) struct Stretch<'h> {
    pub(super) number: u32,
    pub(super) is_open: bool,
    /// When the present session began.
    pub(super) session_at: usize,
    start: &'h Start,
    begins: usize,
    session: u32,
    /// What each partition of each topic gave.
    given: BTreeMap<(Name, u64, u32), Vec<Given>>,
    /// The last epoch of each topic, and when it was met last.
    epochs: BTreeMap<Name, (u64, usize)>,
    /// The epoch each topic was met in first.
    first_epochs: BTreeMap<Name, u64>,
    bookmarks: Bookmarks,
}

/// An event that was given.
#[derive(Clone, Copy)]
struct Given {
    offset: u64,
    session: u32,
    at: usize,
}

/// How an event stands to those before.
pub(super) struct Met {
    /// The furthest offset of its partition so far, and when it was given.
    pub(super) last: Option<(u64, usize)>,
    /// The epoch before, when it is another, and when it was met last.
    pub(super) epoch_before: Option<(u64, usize)>,
}

/// An event that should have been given.
struct Missing {
    partition: (Name, u64, u32),
    offset: u64,
    event: Name,
    kind: Kind,
    before: Option<Given>,
    after: Option<Given>,
}

impl<'h> Stretch<'h> {
    pub(super) fn new(start: &'h Start, at: usize, number: u32) -> Stretch<'h> {
        Stretch {
            number,
            is_open: true,
            session_at: at,
            start,
            begins: at,
            session: 0,
            given: BTreeMap::new(),
            epochs: BTreeMap::new(),
            first_epochs: BTreeMap::new(),
            bookmarks: Bookmarks::default(),
        }
    }

    pub(super) fn resumes(&mut self, at: usize) {
        self.session += 1;
        self.session_at = at;
        self.is_open = true;
    }

    /// Was told that it has everything below these offsets.
    pub(super) fn told(&mut self, epoch: u64, next: &[u64], at: usize) {
        self.bookmarks.add(epoch, next, at);
    }

    /// The epoch of a topic that it is in.
    pub(super) fn epoch(&self, topic: Name) -> Option<u64> {
        self.epochs.get(&topic).map(|(epoch, _)| *epoch)
    }

    pub(super) fn meets(&mut self, topic: Name, place: Place, at: usize) -> Met {
        self.first_epochs.entry(topic).or_insert(place.epoch);
        let epoch_before =
            self.epochs.insert(topic, (place.epoch, at)).filter(|(epoch, _)| *epoch != place.epoch);
        let given = self.given.entry((topic, place.epoch, place.partition)).or_default();
        let last = given.last().map(|last| (last.offset, last.at));
        let now = Given { offset: place.offset, session: self.session, at };
        // Kept by offset: what came too late is put where it belongs.
        let behind = given.partition_point(|given| given.offset < place.offset);
        given.insert(behind, now);
        Met { last, epoch_before }
    }

    /// Names what it should have been given and was not.
    pub(super) fn nothing_missing(self, judge: &Judge<'_, '_>, marks: &[u32], findings: &mut Findings) {
        let mut missing = Vec::new();
        for source in judge.facts.wanted(judge.chain.channel, judge.chain.topic) {
            let topic = judge.facts.sources[source].topic;
            for &(place, event) in &judge.places[source] {
                if findings.is_implicated(event) {
                    continue;
                }
                if marks[event.index()] != self.number {
                    missing.extend(self.missing(judge, topic, place, event));
                } else if let Some(told) = self.told_before(topic, place) {
                    self.early(judge, (topic, place, event), told, findings);
                }
            }
        }
        missing.sort_unstable_by_key(|missing| (missing.partition, missing.offset));
        for run in missing.chunk_by(Missing::is_with) {
            run[0].report(run.len(), judge, findings);
        }
    }

    fn missing(&self, judge: &Judge<'_, '_>, topic: Name, place: Place, event: Name) -> Option<Missing> {
        let partition = (topic, place.epoch, place.partition);
        let given = self.given.get(&partition).map_or(&[][..], Vec::as_slice);
        let behind = given.partition_point(|given| given.offset < place.offset);
        let before = behind.checked_sub(1).map(|index| given[index]);
        let after = given.get(behind).copied();
        let is_meant = before.is_some() || self.begins_before(judge, topic, place, event);
        let kind = match (before, after) {
            (Some(before), Some(after)) if before.session != after.session => Kind::LostOnResume,
            (_, Some(_)) => Kind::Gap,
            (_, None) if self.bookmarks.passed(place).is_some() => Kind::EarlyBookmark,
            (_, None) if self.is_open && self.goes_on_in(judge, topic, place.epoch) => Kind::Unseen,
            (_, None) => return None,
        };
        is_meant.then_some(Missing { partition, offset: place.offset, event, kind, before, after })
    }

    /// Where it was told that it has what it was given only later.
    fn told_before(&self, topic: Name, place: Place) -> Option<usize> {
        let told = self.bookmarks.passed(place)?;
        let given = self.given.get(&(topic, place.epoch, place.partition))?;
        let index = given.binary_search_by_key(&place.offset, |given| given.offset).ok()?;
        (told < given[index].at).then_some(told)
    }

    fn early(
        &self,
        judge: &Judge<'_, '_>,
        (topic, place, event): (Name, Place, Name),
        told: usize,
        findings: &mut Findings,
    ) {
        findings.add(Kind::EarlyBookmark, judge.about([event], [told]), || {
            let (topic, id) = (judge.history.text(topic), judge.history.text(event));
            format!(
                "{} was told that it has what it was given later: event {id} at {place} of {topic}",
                judge.called()
            )
        });
    }

    /// Whether it began before an event that stands before all it was given.
    fn begins_before(&self, judge: &Judge<'_, '_>, topic: Name, place: Place, event: Name) -> bool {
        let is_newer = judge.facts.event(event).sent > self.begins;
        match self.start {
            Start::Earliest => !is_trimmed(judge, topic, place),
            Start::Next(next) if self.first_epochs.get(&topic).is_none_or(|first| *first == place.epoch) => {
                next.get(place.partition as usize).is_none_or(|&next| place.offset >= next)
            }
            Start::Next(_) | Start::Latest | Start::Resume => is_newer,
        }
    }

    /// Whether the end of this epoch is where it must come to: the last it was in, and the one the topic has now.
    fn goes_on_in(&self, judge: &Judge<'_, '_>, topic: Name, epoch: u64) -> bool {
        let now = judge.sightings.full_reads(topic).last().map(|read| read.epoch);
        match now {
            Some(now) => epoch == now,
            None => self.epochs.get(&topic).is_none_or(|(last, _)| *last == epoch),
        }
    }
}

/// Whether retention passed a place before some full read: it may have been gone when a chain began.
fn is_trimmed(judge: &Judge<'_, '_>, topic: Name, place: Place) -> bool {
    judge.sightings.full_reads(topic).any(|read| {
        let earliest = read.earliest.get(place.partition as usize);
        read.epoch == place.epoch && earliest.is_some_and(|&earliest| place.offset < earliest)
    })
}

impl Missing {
    /// Whether nothing was given between two of one partition.
    fn is_with(&self, next: &Missing) -> bool {
        let offset = |given: Option<Given>| given.map(|given| given.offset);
        self.partition == next.partition && offset(self.before) == offset(next.before)
    }

    fn report(&self, count: usize, judge: &Judge<'_, '_>, findings: &mut Findings) {
        let mut about = judge.about([self.event], []);
        about.at.extend(self.before.iter().chain(&self.after).map(|given| given.at));
        findings.add(self.kind, about, || {
            let (topic, epoch, partition) = self.partition;
            let place = Place { epoch, partition, offset: self.offset };
            let (topic, id) = (judge.history.text(topic), judge.history.text(self.event));
            let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let was = match self.kind {
                Kind::Unseen => "never came to",
                Kind::EarlyBookmark => "was told that it has, and never was given,",
                _ => "was not given",
            };
            let between = match (self.before, self.after) {
                (Some(before), Some(after)) => format!("between {} and {}", before.offset, after.offset),
                (None, Some(after)) => format!("before {}", after.offset),
                (Some(before), None) => format!("after {}", before.offset),
                (None, None) => "and nothing else of its partition".to_owned(),
            };
            format!("{} {was} event {id} at {place} of {topic}{more}, {between}", judge.called())
        });
    }
}

//! Each subscriber over all its reconnects: only its channel, everything once, in order, nothing left out.

use super::calm::Calm;
use super::facts::Facts;
use super::findings::{About, Findings};
use super::sightings::Sightings;
use super::stretch::{Met, Stretch};
use crate::anomaly::Kind;
use crate::channel::Channel;
use crate::history::History;
use crate::names::Name;
use crate::operation::{Item, Mode, Operation, Place, Start};
use std::collections::BTreeMap;

pub(super) fn check(
    history: &History,
    facts: &Facts,
    sightings: &Sightings<'_>,
    calm: &Calm,
    findings: &mut Findings,
) {
    let places = stored(facts, sightings);
    let calm = Calm::is_known(history).then_some(calm);
    let mut marks = vec![0; history.names.len()];
    let mut stretches = 0;
    for (name, steps) in by_chain(history) {
        let Some(chain) = Chain::of(history, name, &steps, findings) else { continue };
        let judge = Judge { history, facts, sightings, calm, places: &places, chain };
        judge.walk(&steps, &mut marks, &mut stretches, findings);
    }
}

/// What stands in each source, by place.
fn stored(facts: &Facts, sightings: &Sightings<'_>) -> Vec<Vec<(Place, Name)>> {
    let of_source = |events: &[Name]| {
        let places =
            events.iter().flat_map(|&event| sightings.places(event).map(move |place| (place, event)));
        let mut places: Vec<(Place, Name)> = places.collect();
        places.sort_unstable();
        places
    };
    facts.sources.iter().map(|source| of_source(&source.events)).collect()
}

/// The operations of each chain.
fn by_chain(history: &History) -> BTreeMap<Name, Vec<usize>> {
    let mut chains: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
    for (at, step) in history.steps.iter().enumerate() {
        if let Operation::Subscribe { chain, .. }
        | Operation::Deliver { chain, .. }
        | Operation::Progress { chain, .. }
        | Operation::Unrecoverable { chain, .. }
        | Operation::Close { chain } = &step.operation
        {
            chains.entry(*chain).or_default().push(at);
        }
    }
    chains
}

/// What a chain asked for.
pub(super) struct Chain<'h> {
    pub(super) name: Name,
    pub(super) topic: Option<Name>,
    pub(super) channel: Channel<'h>,
    mode: Mode,
}

impl<'h> Chain<'h> {
    /// As its first operation says; says so when that, or a later one, does not fit.
    fn of(history: &'h History, name: Name, steps: &[usize], findings: &mut Findings) -> Option<Chain<'h>> {
        let first = steps.first().map(|&at| (at, &history.steps[at].operation));
        let (at, Operation::Subscribe { topic, channel, mode, from, .. }) = first? else {
            let name = history.text(name);
            findings.malformed(steps[0], || format!("chain {name} has not begun"));
            return None;
        };
        let begins = |at: &usize| match &history.steps[*at].operation {
            Operation::Subscribe { from, .. } => *from != Start::Resume,
            Operation::Unrecoverable { from, .. } => *from == Start::Resume,
            _ => false,
        };
        let name_text = history.text(name);
        if *from == Start::Resume {
            findings.malformed(at, || format!("chain {name_text} begins by resuming"));
            return None;
        }
        if let Some(&again) = steps[1..].iter().find(|at| begins(at)) {
            findings.malformed(again, || format!("chain {name_text} begins anew: that is another chain"));
            return None;
        }
        let channel = Channel::of(history.text(*channel));
        let chain = Chain { name, topic: *topic, channel, mode: *mode };
        let names_offsets = |at: &usize| match &history.steps[*at].operation {
            Operation::Progress { .. } => true,
            Operation::Subscribe { from, .. } | Operation::Unrecoverable { from, .. } => {
                matches!(from, Start::Next(_))
            }
            _ => false,
        };
        if let Some(&at) = steps.iter().find(|at| names_offsets(at)).filter(|_| chain.topic.is_none()) {
            findings.malformed(at, || format!("chain {name_text} knows offsets, and names no topic"));
            return None;
        }
        Some(chain)
    }
}

/// One chain with what it is judged by.
pub(super) struct Judge<'a, 'h> {
    pub(super) history: &'h History,
    pub(super) facts: &'a Facts,
    pub(super) sightings: &'a Sightings<'h>,
    calm: Option<&'a Calm>,
    pub(super) places: &'a [Vec<(Place, Name)>],
    pub(super) chain: Chain<'h>,
}

impl<'h> Judge<'_, 'h> {
    /// Goes through its operations; `marks` holds, for each event, the number of the last stretch that met it.
    fn walk(&self, steps: &[usize], marks: &mut [u32], stretches: &mut u32, findings: &mut Findings) {
        let mut begin = |start: &'h Start, at: usize| {
            *stretches += 1;
            Stretch::new(start, at, *stretches)
        };
        let mut stretch = None;
        for &at in steps {
            match &self.history.steps[at].operation {
                Operation::Subscribe { from: Start::Resume, .. } => {
                    if let Some(stretch) = &mut stretch {
                        Stretch::resumes(stretch, at);
                    }
                }
                Operation::Subscribe { from, .. } => stretch = Some(begin(from, at)),
                Operation::Unrecoverable { from, .. } => {
                    if let Some(mut told) = stretch.replace(begin(from, at)) {
                        told.is_open = false;
                        self.ends(told, marks, findings);
                    }
                }
                Operation::Progress { epoch, next, .. } => {
                    if let Some(stretch) = &mut stretch {
                        stretch.told(*epoch, next, at);
                    }
                }
                Operation::Close { .. } => stretch.iter_mut().for_each(|stretch| stretch.is_open = false),
                Operation::Deliver { item, .. } => {
                    if let Some(stretch) = &mut stretch {
                        self.delivered(at, item, stretch, marks, findings);
                    }
                }
                _ => {}
            }
        }
        if let Some(last) = stretch {
            self.ends(last, marks, findings);
        }
    }

    fn ends(&self, stretch: Stretch<'_>, marks: &[u32], findings: &mut Findings) {
        if self.chain.mode == Mode::Reliable {
            stretch.nothing_missing(self, marks, findings);
        }
    }

    fn delivered(
        &self,
        at: usize,
        item: &Item<Name>,
        stretch: &mut Stretch<'_>,
        marks: &mut [u32],
        findings: &mut Findings,
    ) {
        let event = item.id;
        if !self.facts.event(event).was_sent() || findings.is_implicated(event) {
            return;
        }
        if !self.wants(event) {
            return self.strayed(at, event, findings);
        }
        if std::mem::replace(&mut marks[event.index()], stretch.number) == stretch.number {
            return findings.add(Kind::Redelivered, self.about([event], [stretch.session_at, at]), || {
                format!("{} was given event {} twice", self.called(), self.history.text(event))
            });
        }
        if self.chain.mode == Mode::Live {
            return;
        }
        self.in_time(at, event, stretch, findings);
        let place = item.place.or_else(|| self.stands(event, stretch));
        if let Some(place) = place {
            self.goes_on(at, event, place, stretch, findings);
        }
    }

    /// Where an event stands whose place was not told: in the epoch the stretch is in, if it does there.
    fn stands(&self, event: Name, stretch: &Stretch<'_>) -> Option<Place> {
        let epoch = stretch.epoch(self.facts.source(event).topic);
        let there = epoch.and_then(|epoch| self.sightings.place_in(event, epoch));
        there.or_else(|| self.sightings.places(event).last())
    }

    fn wants(&self, event: Name) -> bool {
        let source = self.facts.source(event);
        let is_topic = self.chain.topic.is_none_or(|topic| topic == source.topic);
        is_topic && self.chain.channel.takes(self.history.text(source.key))
    }

    fn strayed(&self, at: usize, event: Name, findings: &mut Findings) {
        findings.add(Kind::Strayed, self.about([event], [at]), || {
            let source = self.facts.source(event);
            let (id, key) = (self.history.text(event), self.history.text(source.key));
            format!("{} was given event {id} of {key} in {}", self.called(), self.history.text(source.topic))
        });
    }

    /// In the epoch of the last event, and behind those of its partition.
    fn goes_on(
        &self,
        at: usize,
        event: Name,
        place: Place,
        stretch: &mut Stretch<'_>,
        findings: &mut Findings,
    ) {
        let topic = self.facts.source(event).topic;
        let Met { last, epoch_before } = stretch.meets(topic, place, at);
        let id = self.history.text(event);
        if let Some((epoch, before)) = epoch_before {
            findings.add(Kind::EpochSkipped, self.about([], [before, at]), || {
                let now = place.epoch;
                format!("{} went from epoch {epoch} to {now} with event {id} and was not told", self.called())
            });
        }
        if let Some((offset, before)) = last.filter(|(offset, _)| place.offset < *offset) {
            findings.add(Kind::Disordered, self.about([event], [before, at]), || {
                format!("{} was given event {id} at {place} after offset {offset}", self.called())
            });
        }
    }

    fn in_time(&self, at: usize, event: Name, stretch: &Stretch<'_>, findings: &mut Findings) {
        let Some((calm, acked)) = self.calm.zip(self.facts.event(event).acked) else { return };
        let at_us = |at: usize| self.history.steps[at].at_us;
        let possible = at_us(acked).max(at_us(stretch.session_at));
        let since = possible.max(calm.last_trouble_us(at_us(at)).unwrap_or(0));
        let late_us = at_us(at).saturating_sub(since);
        if late_us > calm.heal_us_max {
            findings.add(Kind::Late, self.about([event], [at]), || {
                let id = self.history.text(event);
                format!(
                    "{} was given event {id} {} ms after nothing stood in its way",
                    self.called(),
                    late_us / 1000
                )
            });
        }
    }

    pub(super) fn about<const E: usize, const A: usize>(&self, events: [Name; E], at: [usize; A]) -> About {
        About { events: events.to_vec(), chain: Some(self.chain.name), at: at.to_vec() }
    }

    /// How sentences call the chain.
    pub(super) fn called(&self) -> String {
        let channel = match self.chain.channel {
            Channel::One(key) => key.to_owned(),
            Channel::Beginning(beginning) => format!("{beginning}*"),
        };
        format!("chain {} on {channel}", self.history.text(self.chain.name))
    }
}

//! The order of a key: its events stand in one partition, each behind those that were acknowledged before it was sent.

use super::facts::{Facts, Source};
use super::findings::{About, Findings};
use super::sightings::Sightings;
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use crate::operation::Place;
use std::collections::BTreeMap;

pub(super) fn check(history: &History, facts: &Facts, sightings: &Sightings<'_>, findings: &mut Findings) {
    for source in &facts.sources {
        let standing = standing(source, sightings, findings);
        let mut epochs: BTreeMap<u64, Vec<(Name, Place)>> = BTreeMap::new();
        for (event, place) in standing {
            epochs.entry(place.epoch).or_default().push((event, place));
        }
        for (_, mut standing) in epochs {
            one_partition(history, source, &mut standing, findings);
            after_acked(history, facts, &standing, findings);
            batches(history, facts, &standing, findings);
        }
    }
}

/// The events of a source that stand somewhere, in the order in which they were sent.
fn standing(source: &Source, sightings: &Sightings<'_>, findings: &Findings) -> Vec<(Name, Place)> {
    let sound = source.events.iter().filter(|event| !findings.is_implicated(**event));
    sound.flat_map(|&event| sightings.places(event).map(move |place| (event, place))).collect()
}

/// Names the first event in another partition, and leaves those of other partitions out.
fn one_partition(
    history: &History,
    source: &Source,
    standing: &mut Vec<(Name, Place)>,
    findings: &mut Findings,
) {
    let Some(&(first, at)) = standing.first() else { return };
    if let Some(&(other, there)) = standing.iter().find(|(_, place)| place.partition != at.partition) {
        let about = About { events: vec![first, other], ..About::default() };
        findings.add(Kind::KeySplit, about, || {
            let (key, first, other) = (history.text(source.key), history.text(first), history.text(other));
            format!("events of key {key} stand in two partitions: {first} at {at}, {other} at {there}")
        });
        standing.retain(|(_, place)| place.partition == at.partition);
    }
}

fn after_acked(history: &History, facts: &Facts, standing: &[(Name, Place)], findings: &mut Findings) {
    let acked = standing.iter().filter_map(|&(event, place)| Some((facts.event(event).acked?, event, place)));
    let mut acked: Vec<(usize, Name, Place)> = acked.collect();
    acked.sort_unstable_by_key(|(at, ..)| *at);
    let mut acked = acked.into_iter().peekable();
    let mut furthest: Option<(Name, Place)> = None;
    for &(event, place) in standing {
        let sent = facts.event(event).sent;
        while let Some((_, before, there)) = acked.next_if(|(at, ..)| *at < sent) {
            if furthest.is_none_or(|(_, furthest)| furthest.offset < there.offset) {
                furthest = Some((before, there));
            }
        }
        if let Some((before, there)) = furthest.filter(|(_, there)| there.offset > place.offset) {
            let about = About { events: vec![before, event], ..About::default() };
            findings.add(Kind::Misordered, about, || {
                let (before, event) = (history.text(before), history.text(event));
                format!("event {before} was acknowledged before {event} was sent, and stands behind it: {there}, {place}")
            });
        }
    }
}

/// Events of a batch that were sent once stand in its order. One that was sent again may stand where an earlier attempt
/// put it.
fn batches(history: &History, facts: &Facts, standing: &[(Name, Place)], findings: &mut Findings) {
    let mut last: BTreeMap<(Name, u32), (Name, Place)> = BTreeMap::new();
    for &(event, place) in standing.iter().filter(|(event, _)| facts.event(*event).attempts == 1) {
        let batch = facts.attempts(event).find_map(|attempt| Some((attempt.process, attempt.batch?)));
        let Some(batch) = batch else { continue };
        if let Some((before, there)) = last.insert(batch, (event, place))
            && there.offset > place.offset
        {
            let about = About { events: vec![before, event], ..About::default() };
            findings.add(Kind::BatchMisordered, about, || {
                let (before, event) = (history.text(before), history.text(event));
                format!(
                    "event {before} is before {event} in their batch, and stands behind it: {there}, {place}"
                )
            });
        }
    }
}

//! What was promised is there: whatever was acknowledged or read is in every full read that begins later.

use super::facts::Facts;
use super::findings::{About, Findings};
use super::sightings::{FullRead, Sightings};
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use crate::operation::{Operation, Place};
use std::collections::BTreeMap;

pub(super) fn check(history: &History, facts: &Facts, sightings: &Sightings<'_>, findings: &mut Findings) {
    let recreated = recreated(history);
    let mut acked_at: BTreeMap<Name, Vec<Place>> = BTreeMap::new();
    for ack in facts.acks.iter().filter(|ack| sightings.seen(ack.event).is_none()) {
        acked_at.entry(ack.event).or_default().push(ack.place);
    }
    for source in &facts.sources {
        for &event in
            source.events.iter().filter(|event| !findings.is_implicated(**event)).collect::<Vec<_>>()
        {
            let acked = facts.event(event).acked;
            let Some(promised) = acked.into_iter().chain(sightings.seen(event)).min() else { continue };
            let acked_at = acked_at.get(&event).into_iter().flatten();
            let places: Vec<Place> = sightings.places(event).chain(acked_at.copied()).collect();
            let mut reads = sightings.full_reads(source.topic);
            let lacks = |read: &&FullRead<'_>| {
                read.begins > promised
                    && !read.met(event)
                    && !places.iter().any(|place| is_trimmed(read, *place))
                    && !recreated
                        .iter()
                        .any(|&(topic, at)| topic == source.topic && promised < at && at < read.begins)
            };
            if let Some(read) = reads.find(lacks) {
                report(history, findings, read, event, (promised, acked));
            }
        }
    }
    finals(history, facts, sightings, findings);
}

/// Retention passed this place before the read began.
fn is_trimmed(read: &FullRead<'_>, place: Place) -> bool {
    read.earliest.get(place.partition as usize).is_some_and(|&earliest| place.offset < earliest)
}

fn recreated(history: &History) -> Vec<(Name, usize)> {
    let steps = history.steps.iter().enumerate();
    steps
        .filter_map(|(at, step)| match step.operation {
            Operation::Recreated { topic } => Some((topic, at)),
            _ => None,
        })
        .collect()
}

fn report(
    history: &History,
    findings: &mut Findings,
    read: &FullRead<'_>,
    event: Name,
    (promised, acked): (usize, Option<usize>),
) {
    let about = About { events: vec![event], at: vec![promised, read.begins], chain: None };
    let kind = if acked.is_some() { Kind::LostAck } else { Kind::Vanished };
    findings.add(kind, about, || {
        let was = if acked.is_some() { "acknowledged" } else { "read" };
        let (id, reader, node) = (history.text(event), history.text(read.name), history.text(read.node));
        let topic = history.text(read.topic);
        format!("event {id} was {was}, and the later full read {reader} of {topic} on {node} did not meet it")
    });
}

/// Every topic with acks was read after the last of them.
fn finals(history: &History, facts: &Facts, sightings: &Sightings<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<Name, usize> = BTreeMap::new();
    for ack in &facts.acks {
        last.insert(facts.source(ack.event).topic, ack.at);
    }
    for (topic, acked) in last {
        if !sightings.full_reads(topic).any(|read| read.begins > acked) {
            let about = About { at: vec![acked], ..About::default() };
            findings.add(Kind::NoFinalRead, about, || {
                format!("topic {} was not read from beginning to end after its last ack", history.text(topic))
            });
        }
    }
}

//! What acks say of places: an event's own, or a later one in its partition that is an alias of it.

use super::facts::{Ack, Facts};
use super::findings::{About, Findings};
use super::sightings::Sightings;
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;

pub(super) fn check(history: &History, facts: &Facts, sightings: &Sightings<'_>, findings: &mut Findings) {
    for ack in &facts.acks {
        if findings.is_implicated(ack.event) {
            continue;
        }
        let (topic, id) = (facts.source(ack.event).topic, history.text(ack.event));
        let place = ack.place;
        if let Some(holder) = sightings.holder(topic, place).filter(|holder| holder.event != ack.event) {
            if findings.is_implicated(holder.event) {
                continue;
            }
            let about =
                About { events: vec![ack.event, holder.event], at: vec![ack.at, holder.at], chain: None };
            findings.add(Kind::Diverged, about, || {
                let (topic, holder) = (history.text(topic), history.text(holder.event));
                format!("event {id} was acknowledged at {place} of {topic}, where {holder} was read")
            });
        } else if let Some(why) = elsewhere(sightings, topic, ack) {
            let about = About { events: vec![ack.event], at: vec![ack.at], chain: None };
            findings.add(Kind::AckElsewhere, about, || {
                format!("event {id} was acknowledged at {place} of {}, but {why}", history.text(topic))
            });
        }
    }
}

/// Why this place cannot be an alias of the event's, if it cannot.
fn elsewhere(sightings: &Sightings<'_>, topic: Name, ack: &Ack) -> Option<String> {
    let stands = sightings.place_in(ack.event, ack.place.epoch)?;
    if stands.partition != ack.place.partition || stands.offset > ack.place.offset {
        return Some(format!("it stands at {stands}, which that is no alias of"));
    }
    let mut reads = sightings.full_reads(topic);
    let short = reads.find(|read| {
        read.epoch == ack.place.epoch && read.begins > ack.at && {
            let ends = read.latest.and_then(|latest| latest.get(ack.place.partition as usize));
            ends.is_none_or(|&end| end <= ack.place.offset)
        }
    })?;
    let end = short.latest.and_then(|latest| latest.get(ack.place.partition as usize));
    Some(format!("the partition ended before it later, at {}", end.copied().unwrap_or(0)))
}

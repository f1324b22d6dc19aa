//! Appending: what repeats an event is found in the mirror, the rest goes upstream.
//!
//! ```text
//! parts ─▶ repeats within the commit ─▶ look-up in the mirror, which says how far it looked ─▶ append ─▶ answers
//! ```
//! A writer on another node may append the same event at the same moment: then both are stored, and readers hide the
//! second ([`crate::hidden`]); its position is an alias of the first.

use super::log::Inner;
use super::seam::Checked;
use super::topic::Topic;
use crate::hidden;
use crate::identity::{Comparison, compare};
use crate::log::{Appended, Bounds, Commit, Committed, Part, PartCommitted};
use crate::record::{NewRecord, Record};
use crate::topic::{Epoch, TopicName};
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::Instant;

/// Part and record of a commit.
type At = (usize, usize);

/// Where the records of a part go, and how many there are.
struct Place {
    topic: TopicName,
    partition: u32,
    epoch: Epoch,
    records: usize,
}

/// What becomes of one record.
#[derive(Clone)]
enum Fate {
    /// It goes upstream.
    Sent,
    /// It is stored already, or another under its identity.
    Known(Appended),
    /// An earlier record of the commit is the same event, or another under its identity.
    Repeats { first: At, comparison: Comparison },
}

impl Inner {
    /// See [`crate::log::Log::commit`]; every record is answered by itself.
    pub async fn append(&self, commit: Commit) -> Result<Committed> {
        if commit.guard.is_some() {
            let message = "guards belong to the embedded log; over Kafka a transaction fences";
            return Err(Error::invalid("guard_unsupported", "guard", message));
        }
        let mut parts = commit.parts;
        let places = self.places(&parts)?;
        // An id that was made a moment ago repeats nothing.
        let fates = match parts.iter().flat_map(|part| &part.records).any(is_looked_for) {
            // In memory of its own, that calls which do not need it are small.
            true => self.fates(&mut parts).boxed().await?,
            false => Vec::new(),
        };
        for (part, fates) in parts.iter_mut().zip(&fates) {
            let mut fates = fates.iter();
            part.records.retain(|_| matches!(fates.next(), Some(Fate::Sent)));
        }
        let sent = match parts.iter().all(|part| part.records.is_empty()) {
            true => parts.iter().map(|_| Vec::new()).collect(),
            false => self.upstream.append(parts).await?,
        };
        self.acknowledge(&places, &sent);
        let records = match fates.is_empty() {
            true => all_answered(sent, &places),
            false => answers(fates, sent, &places),
        };
        let answered = |(records, place): (_, Place)| PartCommitted { epoch: place.epoch, records };
        Ok(Committed { parts: records.into_iter().zip(places).map(answered).collect() })
    }

    /// Where the records of each part go.
    fn places(&self, parts: &[Part]) -> Result<Vec<Place>> {
        let (mut places, mut last) = (Vec::with_capacity(parts.len()), None);
        for part in parts {
            let topic = self.topic_again(&part.topic, &mut last)?;
            let state = topic.state();
            let partitions = state.spec.partitions;
            if part.partition >= partitions {
                let message = format!("'{}' has {partitions} partitions", part.topic);
                return Err(Error::invalid("unknown_partition", "partition", message));
            }
            let (topic, partition, records) = (part.topic.clone(), part.partition, part.records.len());
            places.push(Place { topic, partition, epoch: state.epoch, records });
        }
        Ok(places)
    }

    /// A topic; the `last` one is often asked for again.
    fn topic_again<'a>(&self, name: &TopicName, last: &'a mut Option<Arc<Topic>>) -> Result<&'a Topic> {
        match last.take().filter(|last| last.name == *name) {
            Some(same) => Ok(last.insert(same)),
            None => Ok(last.insert(self.topic(name)?)),
        }
    }

    /// What becomes of each record; those that go upstream get written how far was looked for them.
    async fn fates(&self, parts: &mut [Part]) -> Result<Vec<Vec<Fate>>> {
        let mut fates: Vec<Vec<Fate>> = parts.iter().map(|p| vec![Fate::Sent; p.records.len()]).collect();
        let mut asked: BTreeMap<TopicName, Vec<At>> = BTreeMap::new();
        let mut by_hash: HashMap<u64, Vec<At>> = HashMap::new();
        for (p, part) in parts.iter().enumerate() {
            for (r, record) in part.records.iter().enumerate() {
                let Some(identity) = record.identity.filter(|_| is_looked_for(record)) else { continue };
                let earlier = by_hash.entry(identity.hash).or_default();
                match earlier.iter().find_map(|&first| repeats(parts, first, part, record)) {
                    Some(repeats) => fates[p][r] = repeats,
                    None => {
                        earlier.push((p, r));
                        asked.entry(part.topic.clone()).or_default().push((p, r));
                    }
                }
            }
        }
        for (topic, places) in asked {
            let event = |&(p, r): &At| (parts[p].partition, parts[p].records[r].clone());
            let checked = self.check(&topic, places.iter().map(event).collect()).await?;
            for ((p, r), Checked { found, seen }) in places.into_iter().zip(checked) {
                let record = &mut parts[p].records[r];
                record.headers = hidden::with_seen(&record.headers, seen);
                if let Some(found) = found {
                    fates[p][r] = Fate::Known(found);
                }
            }
        }
        Ok(fates)
    }

    /// Looks events up in the mirror, once it is near the end.
    async fn check(&self, topic: &TopicName, events: Vec<(u32, NewRecord)>) -> Result<Vec<Checked>> {
        let topic = self.topic(topic)?;
        let _waiter = topic.waiter();
        self.want(&topic);
        let deadline = Instant::now() + self.settings.visible_max;
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (epoch, high) = {
                let state = topic.state();
                (state.epoch, state.high.clone())
            };
            let held = self.held(&topic.name, epoch).filter(|_| topic.is_hot());
            let is_near = |held: &Bounds| {
                let of = |ends: &[u64], partition| ends.get(partition as usize).copied().unwrap_or(0);
                let near = |&(partition, _): &(u32, _)| {
                    of(&held.latest, partition).saturating_add(self.settings.behind_max)
                        >= of(&high, partition)
                };
                events.iter().all(near)
            };
            if let Some(held) = held.as_ref().filter(|held| is_near(held)) {
                match self.store.check(&topic.name, events.clone()).await {
                    // Begun anew a moment ago.
                    Err(error) if error.kind() == ErrorKind::NotFound && Instant::now() < deadline => {}
                    checked => {
                        return Ok(looked(checked?, &events, &topic.bounds().earliest, &held.earliest));
                    }
                }
            }
            let bounds = held.unwrap_or_else(|| topic.bounds());
            if tokio::time::timeout_at(deadline, self.grown(&topic, &bounds, changed)).await.is_err() {
                let message = "the mirror of the topic is too far behind to look for repeated events; nothing was stored";
                return Err(Error::new(ErrorKind::Overloaded, "mirror_behind", message)
                    .with_limit(self.settings.behind_max));
            }
        }
    }

    fn acknowledge(&self, places: &[Place], sent: &[Vec<Appended>]) {
        let mut last = None;
        for (place, records) in places.iter().zip(sent) {
            let stored = records.iter().filter_map(|appended| match appended {
                Appended::Stored(offset) => Some(offset + 1),
                _ => None,
            });
            if let (Some(end), Ok(topic)) = (stored.max(), self.topic_again(&place.topic, &mut last)) {
                topic.acknowledged(place.epoch, place.partition, end);
            }
        }
    }
}

/// What the mirror knows, with how far it looked: one that begins after the partition does, and holds less than the window
/// that readers look through, has not looked at what lies before it.
fn looked(
    mut checked: Vec<Checked>,
    events: &[(u32, NewRecord)],
    earliest: &[u64],
    begins: &[u64],
) -> Vec<Checked> {
    for (checked, (partition, _)) in checked.iter_mut().zip(events) {
        let of = |offsets: &[u64]| offsets.get(*partition as usize).copied().unwrap_or(u64::MAX);
        let is_all = of(begins) <= of(earliest) || of(begins).saturating_add(hidden::WINDOW) <= checked.seen;
        if !is_all {
            checked.seen = 0;
        }
    }
    checked
}

/// Whether `record` repeats the earlier one at `first`.
fn repeats(parts: &[Part], first: At, part: &Part, record: &NewRecord) -> Option<Fate> {
    if parts[first.0].topic != part.topic {
        return None;
    }
    let NewRecord { key, value, headers, .. } = parts[first.0].records[first.1].clone();
    let (partition, offset, append_time_ms, timestamp_ms) = (0, 0, 0, 0);
    let stored = Record { partition, offset, append_time_ms, timestamp_ms, key, value, headers };
    match compare(&stored, record) {
        Comparison::OtherIdentity => None,
        comparison => Some(Fate::Repeats { first, comparison }),
    }
}

/// Whether a record may repeat another.
fn is_looked_for(record: &NewRecord) -> bool {
    record.identity.is_some_and(|identity| identity.check)
}

/// What upstream answered, where every record was sent.
fn all_answered(mut sent: Vec<Vec<Appended>>, places: &[Place]) -> Vec<Vec<Appended>> {
    sent.resize_with(places.len(), Vec::new);
    for (records, place) in sent.iter_mut().zip(places) {
        records.resize_with(place.records, unanswered);
    }
    sent
}

/// One answer for each record, in order.
fn answers(fates: Vec<Vec<Fate>>, sent: Vec<Vec<Appended>>, places: &[Place]) -> Vec<Vec<Appended>> {
    let mut answered: Vec<Vec<Appended>> = Vec::with_capacity(fates.len());
    for (fates, sent) in fates.iter().zip(sent) {
        let mut sent = sent.into_iter();
        let answer = |fate: &Fate| match fate {
            Fate::Sent => sent.next().unwrap_or_else(unanswered),
            Fate::Known(known) => known.clone(),
            // Told below, once the first is.
            Fate::Repeats { .. } => unanswered(),
        };
        answered.push(fates.iter().map(answer).collect());
    }
    for (p, fates) in fates.into_iter().enumerate() {
        for (r, fate) in fates.into_iter().enumerate() {
            if let Fate::Repeats { first, comparison } = fate {
                answered[p][r] = after(&answered[first.0][first.1], places[first.0].partition, comparison);
            }
        }
    }
    answered
}

/// What the second of two is told, given what became of the first.
fn after(first: &Appended, partition: u32, comparison: Comparison) -> Appended {
    let (partition, offset) = match *first {
        Appended::Stored(offset) => (partition, offset),
        Appended::Duplicate { partition, offset } => (partition, offset),
        Appended::Conflict { .. } | Appended::Failed(_) => return first.clone(),
    };
    match comparison {
        Comparison::OtherBody => Appended::Conflict { partition, offset },
        Comparison::Same | Comparison::OtherIdentity => Appended::Duplicate { partition, offset },
    }
}

/// Upstream answered fewer records than it was given.
fn unanswered() -> Appended {
    let message = "the log did not answer for this record; retry with the same id";
    Appended::Failed(Error::new(ErrorKind::Unknown, "outcome_unknown", message))
}

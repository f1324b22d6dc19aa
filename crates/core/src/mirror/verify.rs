//! Compares the mirror with upstream by sampling: the last record of each partition that both must have, and one before.
//!
//! A difference means that upstream lost or replaced records that were read here (an unclean election): every position
//! from before is then void. A record upstream does not have any more because retention or compaction took it says
//! nothing, nor does one that a new leader does not show yet.

use super::log::Inner;
use super::seam::Described;
use super::topic::Topic;
use crate::filter::{Filter, source_of};
use crate::log::{Bounds, Read, Span};
use crate::record::Record;
use crate::topic::Epoch;
use crate::{ErrorKind, Result};
use std::sync::atomic::Ordering::Relaxed;

/// Offsets before the end in which a record is looked for.
const REACH: u64 = 256;

/// What is held of a topic, compared with what upstream says now.
pub(super) struct Look {
    pub described: Described,
    pub epoch: Epoch,
    /// What is held in this epoch.
    pub held: Option<Bounds>,
    pub verdict: Verdict,
}

/// What the samples say.
pub(super) enum Verdict {
    /// Nothing against it.
    Same,
    /// They are of the same records, which got other channels then: only the copy is out of date.
    MappedOtherwise,
    Lost(Loss),
}

/// What lost records.
pub(super) struct Loss {
    pub id: u128,
    pub partitions: u32,
    pub epoch: Epoch,
}

/// What a single record says.
enum Sample {
    Same,
    MappedOtherwise,
    Differs,
    /// It is not there to be compared, and that has other reasons.
    Silent,
}

/// Describes a topic and compares what is held of it.
///
/// # Errors
/// What upstream fails with.
pub(super) async fn look(inner: &Inner, topic: &Topic) -> Result<Look> {
    // First what is held: it may grow meanwhile.
    let held = inner.store.bounds(&topic.name).ok();
    let (described, epoch) = inner.renew(topic).await?;
    let held = held.filter(|held| held.epoch == epoch);
    let verdict = match &held {
        Some(held) => compare(inner, topic, held, &described).await?,
        None => Verdict::Same,
    };
    Ok(Look { described, epoch, held, verdict })
}

async fn compare(inner: &Inner, topic: &Topic, held: &Bounds, described: &Described) -> Result<Verdict> {
    let loss = Loss { id: described.id, partitions: described.spec.partitions, epoch: held.epoch };
    let mut verdict = Verdict::Same;
    for (partition, (&start, &end)) in (0..).zip(held.earliest.iter().zip(&held.latest)) {
        if described.high.get(partition as usize).is_some_and(|&high| end > high) {
            note_loss(inner, topic, partition, end);
            return Ok(Verdict::Lost(loss));
        }
        let before = start + inner.entropy.next_u64() % (end - start).max(1);
        for until in [end, before.max(start + 1).min(end)] {
            let span = Span { partition, from: until.saturating_sub(REACH).max(start), until };
            let Some(own) = last_of(inner, topic, held.epoch, span).await else { continue };
            match sample(inner, topic, loss.id, &own).await? {
                Sample::Same => drop(inner.counters.verified.fetch_add(1, Relaxed)),
                Sample::Silent => {}
                Sample::MappedOtherwise => verdict = Verdict::MappedOtherwise,
                Sample::Differs => {
                    note_loss(inner, topic, partition, own.offset);
                    return Ok(Verdict::Lost(loss));
                }
            }
        }
    }
    Ok(verdict)
}

fn note_loss(inner: &Inner, topic: &Topic, partition: u32, offset: u64) {
    inner.counters.differed.fetch_add(1, Relaxed);
    tracing::error!(topic = %topic.name, partition, offset, "the record is not upstream as it was read: the log was truncated");
}

/// The last record of a span that the store holds; it may have given it up a moment ago.
async fn last_of(inner: &Inner, topic: &Topic, epoch: Epoch, span: Span) -> Option<Record> {
    let read = Read {
        topic: topic.name.clone(),
        epoch,
        spans: vec![span],
        filter: Filter::All,
        records_max: 1,
        bytes_max: 1,
        reverse: true,
    };
    inner.store.read(read).await.ok()?.records.into_iter().next()
}

async fn sample(inner: &Inner, topic: &Topic, id: u128, own: &Record) -> Result<Sample> {
    let span = Span { partition: own.partition, from: own.offset, until: own.offset + 1 };
    match inner.upstream.fetch(&topic.name, span, 1).await {
        // Another topic has the name, which is no loss of this one.
        Ok(run) if !run.records.is_empty() && run.id != id => Ok(Sample::Silent),
        Ok(run) => match run.records.first() {
            Some(there) => Ok(compare_records(inner, topic, own, there)),
            // A hole: compaction took it.
            None if run.next > own.offset => Ok(Sample::Silent),
            None => missing(inner, topic, own).await,
        },
        Err(error) if error.kind() == ErrorKind::Gone => missing(inner, topic, own).await,
        Err(error) => Err(error),
    }
}

/// Below the start retention took it; past the end it was truncated; in between it is not shown yet.
async fn missing(inner: &Inner, topic: &Topic, own: &Record) -> Result<Sample> {
    let described = inner.upstream.describe(&topic.name).await?;
    let is_past = described.high.get(own.partition as usize).is_some_and(|&high| own.offset >= high);
    Ok(if is_past { Sample::Differs } else { Sample::Silent })
}

fn compare_records(inner: &Inner, topic: &Topic, own: &Record, there: &Record) -> Sample {
    if (own.offset, &own.value) != (there.offset, &there.value) {
        return Sample::Differs;
    }
    if (&own.key, &own.headers) == (&there.key, &there.headers) {
        return Sample::Same;
    }
    let has_source = |record: &Record| source_of(&record.headers, record.key.as_deref()).is_some();
    let is_mapped = inner.settings.foreign.iter().any(|foreign| foreign.topic == topic.name);
    // Or it was mapped, and no namespace says so any more.
    match is_mapped || has_source(own) && !has_source(there) {
        true => Sample::MappedOtherwise,
        false => Sample::Differs,
    }
}

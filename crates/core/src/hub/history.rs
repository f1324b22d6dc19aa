//! Pages of history, and single events by position.

use super::entry::Entry;
use super::reader::Interest;
use super::request::{HISTORY_LIMIT_MAX, History, HistoryGap, HistoryPage, Since};
use super::scan::Scan;
use super::shared::Shared;
use super::start;
use crate::filter::Filter;
use crate::log::{Bounds, Read, Span};
use crate::position::{Cursor, Next, Position, Resume};
use crate::topic::TopicName;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

/// A page ends once it passes this many bytes, whatever its limit.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Times a page from the start of the log is tried again when retention moves that start.
const TRIES_MAX: usize = 4;

/// Reads a page.
pub(super) async fn read(shared: &Shared, interest: &Interest, request: &History) -> Result<HistoryPage> {
    let mut tries = 1;
    loop {
        // Everything that was acknowledged until now is in the bounds then.
        shared.log.seek(&interest.topic, i64::MAX).await?;
        let bounds = shared.log.bounds(&interest.topic)?;
        match read_in(shared, interest, request, bounds).await {
            Err(error) if error.kind() == ErrorKind::Gone && tries < TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

async fn read_in(
    shared: &Shared,
    interest: &Interest,
    request: &History,
    bounds: Bounds,
) -> Result<HistoryPage> {
    let since = since(shared, interest, &request.since, &bounds).await?;
    let (earliest, latest) = ends(interest, &bounds);
    let (from, until) = match request.reverse {
        true => (&earliest.next, &since),
        false => (&since, &latest.next),
    };
    let partitions = bounds.latest.len();
    let mut scan = Scan::new(shared, interest, bounds.epoch, from, until, partitions, request.reverse);
    let limit = request.limit.clamp(1, HISTORY_LIMIT_MAX);
    let (mut entries, mut gaps, mut bytes) = (Vec::new(), Vec::new(), 0);
    while entries.len() < limit && bytes < PAGE_BYTES_MAX && !scan.is_done() {
        let (records, damaged) = scan.page(limit - entries.len(), PAGE_BYTES_MAX - bytes).await?;
        gaps.extend(damaged.into_iter().map(|gap| HistoryGap::new(bounds.epoch, gap, entries.len())));
        for record in records {
            let entry = shared.entry(&interest.topic, bounds.epoch, record);
            bytes += entry.size();
            entries.push(entry);
        }
    }
    let next = (!scan.is_done()).then(|| Resume(vec![scan.cursor()]));
    let (earliest, latest) = (Resume(vec![earliest]), Resume(vec![latest]));
    Ok(HistoryPage { entries, gaps, next, earliest, latest })
}

async fn since(shared: &Shared, interest: &Interest, since: &Since, bounds: &Bounds) -> Result<Next> {
    match since {
        Since::Earliest => Ok(interest.at(bounds.earliest.clone())),
        Since::Latest => Ok(interest.at(bounds.latest.clone())),
        Since::Time(time_ms) => {
            // What was appended since the bounds were taken belongs to a later page.
            let mut vector = shared.log.seek(&interest.topic, *time_ms).await?;
            vector.iter_mut().zip(&bounds.latest).for_each(|(own, &latest)| *own = latest.min(*own));
            Ok(interest.at(vector))
        }
        Since::At(Resume(cursors)) => match cursors.as_slice() {
            [cursor] => match start::arrive(shared, interest, cursor).await? {
                (_, next, None) => Ok(next),
                (_, _, Some(reason)) => Err(unrecoverable(reason)),
            },
            _ => Err(Error::invalid(
                "cursor_mismatch",
                "position",
                "the position is of several topics; history is of one channel or pattern",
            )),
        },
    }
}

/// The oldest place that can be had and the end of the log.
pub(super) fn ends(interest: &Interest, bounds: &Bounds) -> (Cursor, Cursor) {
    let at = |vector: &[u64]| Cursor { epoch: bounds.epoch, next: interest.at(vector.to_vec()) };
    (at(&bounds.earliest), at(&bounds.latest))
}

fn unrecoverable(reason: &'static str) -> Error {
    let message = match reason {
        "epoch" => "the topic was recreated or repartitioned since: positions from before are void",
        "future" => "the position lies past the end of the log",
        _ => "retention has passed this position",
    };
    Error::new(ErrorKind::Gone, "position_unrecoverable", message).with_field("position")
}

/// The event at a position.
pub(super) async fn event(shared: &Shared, position: Position) -> Result<Arc<Entry>> {
    let (topic, bounds) = topic_of(shared, position)?;
    let Position { partition, offset, epoch } = position;
    let (Some(&earliest), Some(&latest)) =
        (bounds.earliest.get(partition as usize), bounds.latest.get(partition as usize))
    else {
        return Err(not_found());
    };
    if offset < earliest {
        return Err(unrecoverable("retention"));
    }
    let after = offset.checked_add(1).ok_or_else(not_found)?;
    let read = |from| Read {
        topic: topic.clone(),
        epoch,
        spans: vec![Span { partition, from, until: after }],
        filter: Filter::All,
        records_max: 1,
        bytes_max: 1,
        reverse: false,
    };
    if offset >= latest {
        // Acknowledged a moment ago, maybe by another node: a log that still learns of its end is waited for.
        match shared.log.read(read(after)).await {
            Err(error) if error.code() == "position_from_future" => return Err(not_found()),
            waited => drop(waited?),
        }
    }
    let record = shared.log.read(read(offset)).await?.records.pop().ok_or_else(not_found)?;
    Ok(shared.entry(&topic, epoch, record))
}

fn topic_of(shared: &Shared, position: Position) -> Result<(TopicName, Bounds)> {
    durable(shared).find(|(_, b)| b.epoch == position.epoch).ok_or_else(|| unrecoverable("epoch"))
}

/// The durable topics, one for each namespace.
fn durable(shared: &Shared) -> impl Iterator<Item = (TopicName, Bounds)> {
    let durable = shared.namespaces.iter().filter(|n| n.is_durable());
    durable.filter_map(|n| Some((n.topic.clone(), shared.log.bounds(&n.topic).ok()?)))
}

/// The ends of the topic a position is of, or of all when it is none's.
pub(super) fn ends_near(shared: &Shared, position: Position) -> (Resume, Resume) {
    let mut topics: Vec<Bounds> = durable(shared).map(|(_, bounds)| bounds).collect();
    if topics.iter().any(|bounds| bounds.epoch == position.epoch) {
        topics.retain(|bounds| bounds.epoch == position.epoch);
    }
    topics.sort_by_key(|bounds| bounds.epoch);
    topics.dedup_by_key(|bounds| bounds.epoch);
    let cursor = |epoch, offsets| Cursor { epoch, next: Next::All(offsets) };
    let ends = topics.into_iter().map(|b| (cursor(b.epoch, b.earliest), cursor(b.epoch, b.latest)));
    let (earliest, latest) = ends.unzip();
    (Resume(earliest), Resume(latest))
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "event_not_found", "there is no event at this position")
        .with_field("position")
}

//! Where a subscription or a page of history begins.

use super::reader::{Interest, Place};
use super::request::{RECENT_MAX, Start};
use super::scan::Scan;
use super::shared::Shared;
use super::vector::{offset_in, out_of_bounds};
use crate::filter::Filter;
use crate::log::{Bounds, Read, Span};
use crate::position::{Cursor, Next, Resume};
use crate::{Error, ErrorKind, Result};
use std::cmp::Reverse;

/// Times a reading that begins at the start of the log is tried again when retention moves that start.
const TRIES_MAX: usize = 4;

/// The places of all topics of a subscription.
pub(super) async fn begin(shared: &Shared, interests: &[Interest], start: &Start) -> Result<Vec<Place>> {
    match start {
        Start::Resume(resume) => resume_at(shared, interests, resume).await,
        Start::Recent(count) => recent(shared, interests, (*count).min(RECENT_MAX)).await,
        Start::Time(time_ms) => {
            let mut places = Vec::new();
            for interest in interests {
                let epoch = shared.log.bounds(&interest.topic)?.epoch;
                let vector = shared.log.seek(&interest.topic, *time_ms).await?;
                places.push(Place { epoch, next: interest.at(vector), lost: None });
            }
            Ok(places)
        }
        Start::Latest => each(shared, interests, |bounds| bounds.latest),
        Start::Earliest => each(shared, interests, |bounds| bounds.earliest),
    }
}

fn each(shared: &Shared, interests: &[Interest], at: fn(Bounds) -> Vec<u64>) -> Result<Vec<Place>> {
    let place = |interest: &Interest| {
        let bounds = shared.log.bounds(&interest.topic)?;
        Ok(Place { epoch: bounds.epoch, next: interest.at(at(bounds)), lost: None })
    };
    interests.iter().map(place).collect()
}

async fn resume_at(shared: &Shared, interests: &[Interest], resume: &Resume) -> Result<Vec<Place>> {
    if resume.0.len() != interests.len() {
        return Err(mismatch("the position is of other channels: resume with the channels it was given for"));
    }
    let mut places = Vec::with_capacity(interests.len());
    for (interest, cursor) in interests.iter().zip(&resume.0) {
        let (bounds, next, lost) = arrive(shared, interest, cursor).await?;
        places.push(match lost {
            // Until it is told, its token says where it stood: whoever resumes by it must be told, too.
            Some("epoch") => Place { epoch: cursor.epoch, next: cursor.next.clone(), lost },
            _ => Place { epoch: bounds.epoch, next, lost },
        });
    }
    Ok(places)
}

/// The next offsets of a client's cursor, and why it cannot be resumed if so. A log that still learns of its end is waited
/// for: the client may have read further on another node.
///
/// # Errors
/// As [`check`]; `not_yet_visible` when it was waited for in vain.
pub(super) async fn arrive(
    shared: &Shared,
    interest: &Interest,
    cursor: &Cursor,
) -> Result<(Bounds, Next, Option<&'static str>)> {
    let bounds = shared.log.bounds(&interest.topic)?;
    let (next, lost) = check(interest, cursor, &bounds)?;
    // The node it comes from may have read further, or know of a later epoch.
    if !matches!(lost, Some("future" | "epoch")) {
        return Ok((bounds, next, lost));
    }
    let nothing_at = |(partition, _): (u32, &u64)| {
        let from = offset_in(&next, partition);
        (from != u64::MAX).then_some(Span { partition, from, until: from })
    };
    let spans = (0..).zip(&bounds.latest).filter_map(nothing_at).collect();
    let (topic, epoch, filter) = (interest.topic.clone(), cursor.epoch, Filter::All);
    let read = Read { topic, epoch, spans, filter, records_max: 1, bytes_max: 1, reverse: false };
    if let Err(error) = shared.log.read(read).await
        && error.kind() == ErrorKind::Unavailable
    {
        return Err(error);
    }
    let bounds = shared.log.bounds(&interest.topic)?;
    let (next, lost) = check(interest, cursor, &bounds)?;
    Ok((bounds, next, lost))
}

/// The next offsets of a client's cursor, and why it cannot be resumed if so.
///
/// # Errors
/// `cursor_mismatch` when it is of another kind of subscription.
pub(super) fn check(
    interest: &Interest,
    cursor: &Cursor,
    bounds: &Bounds,
) -> Result<(Next, Option<&'static str>)> {
    let own = interest.at(bounds.latest.clone());
    if matches!((&own, &cursor.next), (Next::All(_), Next::One { .. })) {
        return Err(mismatch(
            "this is the position of one event or one channel; a pattern or several channels resume from the \
             position their own stream gave, or begin at a time",
        ));
    }
    if cursor.epoch != bounds.epoch {
        return Ok((own, Some("epoch")));
    }
    let next = match (&own, &cursor.next) {
        (Next::One { partition: own, .. }, Next::One { partition, .. }) if own != partition => {
            return Err(mismatch(
                "the position is of another channel: resume with the channel it was given for",
            ));
        }
        (_, Next::All(offsets)) if offsets.len() != bounds.latest.len() => {
            return Err(mismatch("the position has another number of partitions: begin at a time instead"));
        }
        (_, Next::All(offsets)) => interest.at(offsets.clone()),
        (_, one) => one.clone(),
    };
    let lost = out_of_bounds(&next, bounds);
    Ok((next, lost))
}

fn mismatch(message: &'static str) -> Error {
    Error::invalid("cursor_mismatch", "position", message)
}

/// The places from which exactly the last `count` events of all topics together follow.
async fn recent(shared: &Shared, interests: &[Interest], count: usize) -> Result<Vec<Place>> {
    let mut newest: Vec<(i64, usize)> = Vec::new();
    let mut places = Vec::new();
    for (topic, interest) in interests.iter().enumerate() {
        let (place, times) = last(shared, interest, count).await?;
        newest.extend(times.into_iter().map(|time| (time, topic)));
        places.push(place);
    }
    if newest.len() <= count {
        return Ok(places);
    }
    newest.sort_by_key(|&(time, topic)| (Reverse(time), topic));
    newest.truncate(count);
    for (topic, interest) in interests.iter().enumerate() {
        let share = newest.iter().filter(|(_, of)| *of == topic).count();
        places[topic] = last(shared, interest, share).await?.0;
    }
    Ok(places)
}

/// The place from which the last `count` events of one topic follow, and their append times, newest first.
async fn last(shared: &Shared, interest: &Interest, count: usize) -> Result<(Place, Vec<i64>)> {
    let mut tries = 1;
    loop {
        let bounds = shared.log.bounds(&interest.topic)?;
        match last_in(shared, interest, bounds, count).await {
            Err(error) if error.kind() == ErrorKind::Gone && tries < TRIES_MAX => tries += 1,
            result => return result,
        }
    }
}

async fn last_in(
    shared: &Shared,
    interest: &Interest,
    bounds: Bounds,
    count: usize,
) -> Result<(Place, Vec<i64>)> {
    let Bounds { epoch, earliest, latest } = bounds;
    let partitions = latest.len();
    let (from, until) = (interest.at(earliest), interest.at(latest));
    let mut scan = Scan::new(shared, interest, epoch, &from, &until, partitions, true);
    let mut times = Vec::new();
    while times.len() < count && !scan.is_done() {
        // What is damaged on the way is told when the subscription reads the same stretch forwards.
        let (records, _) = scan.page(count - times.len(), shared.settings.page_bytes_max).await?;
        times.extend(records.iter().map(|record| record.append_time_ms));
    }
    Ok((Place { epoch, next: scan.cursor().next, lost: None }, times))
}

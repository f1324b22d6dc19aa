//! Where a copy of a partition goes on: behind the last record of the target that came from the source.
//!
//! Records of one append may be stored one by one, as in Kafka. A run that is killed, or whose append fails in part, could
//! leave a later record without an earlier one only within its last append: so the last records are compared with the
//! source, as many as two appends hold.

use super::Pair;
use super::marker;
use super::partition::CHUNK_RECORDS;
use super::sides::Held;
use super::visible::Visible;
use dualstream_core::log::Span;
use dualstream_core::record::Record;
use dualstream_core::topic::Cleanup;
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::BTreeSet;

/// Records that are looked at before the end.
const BACK: u64 = 2 * CHUNK_RECORDS as u64;

/// The offset of the source that is copied next.
pub(super) async fn find(pair: &Pair<'_>, partition: u32, held: &Held) -> Result<u64> {
    let (start, end) = (held.earliest[partition as usize], held.latest[partition as usize]);
    let source_start = pair.from.earliest[partition as usize];
    if end == 0 {
        return Ok(source_start);
    }
    let last = match pair.force {
        true => last_among_others(pair, partition, start, end).await?,
        false => Some(last_of_own(pair, partition, held).await?),
    };
    let Some(last) = last else { return Ok(source_start) };
    if last >= pair.from.latest[partition as usize] {
        return Err(ahead(pair, partition, last));
    }
    Ok((last + 1).max(source_start))
}

/// The greatest offset that was copied into a partition that others write too.
async fn last_among_others(pair: &Pair<'_>, partition: u32, start: u64, end: u64) -> Result<Option<u64>> {
    let (mut last, mut from) = (None, start);
    while from < end {
        let run = pair.target.fetch(pair.topic, Span { partition, from, until: end }).await?;
        if run.next <= from {
            break;
        }
        last = run
            .records
            .iter()
            .filter_map(|record| marker::source_offset(record, pair.from.epoch))
            .fold(last, |a, b| a.max(Some(b)));
        from = run.next;
    }
    Ok(last)
}

/// The last offset that was copied into a partition where nothing else may be.
async fn last_of_own(pair: &Pair<'_>, partition: u32, held: &Held) -> Result<u64> {
    let (start, end) = (held.earliest[partition as usize], held.latest[partition as usize]);
    let first =
        pair.target.fetch(pair.topic, Span { partition, from: start, until: end.min(start + 1) }).await?;
    let tail = tail(pair, partition, start, end).await?;
    if tail.is_empty() {
        return Err(lost(pair, partition, end));
    }
    let mut copied = BTreeSet::new();
    for record in first.records.iter().chain(&tail) {
        let offset = marker::source_offset(record, pair.from.epoch);
        copied.insert(offset.ok_or_else(|| taken(pair, record))?);
    }
    let last = tail.last().and_then(|record| marker::source_offset(record, pair.from.epoch));
    let last = last.ok_or_else(|| lost(pair, partition, end))?;
    let oldest = marker::source_offset(&tail[0], pair.from.epoch).unwrap_or(last);
    if held.spec.cleanup == Cleanup::Delete && pair.from.latest[partition as usize] > last {
        check_whole(pair, partition, &copied, oldest, last).await?;
    }
    Ok(last)
}

/// The last records of a partition of the target: holes before its end are passed.
async fn tail(pair: &Pair<'_>, partition: u32, start: u64, end: u64) -> Result<Vec<Record>> {
    let mut back = BACK;
    loop {
        let mut from = end.saturating_sub(back).max(start);
        let at_start = from == start;
        let mut records = Vec::new();
        while from < end {
            let run = pair.target.fetch(pair.topic, Span { partition, from, until: end }).await?;
            if run.next <= from {
                break;
            }
            from = run.next;
            records.extend(run.records);
        }
        if !records.is_empty() || at_start {
            return Ok(records);
        }
        back = back.saturating_mul(4);
    }
}

/// Nothing that the source has between two copied records is missing in the target.
async fn check_whole(
    pair: &Pair<'_>,
    partition: u32,
    copied: &BTreeSet<u64>,
    oldest: u64,
    last: u64,
) -> Result<()> {
    let from = oldest.max(pair.from.earliest[partition as usize]);
    let mut visible = Visible::from(pair, partition, from, last + 1).await?;
    while let Some(records) = visible.page().await? {
        if let Some(missing) = records.iter().find(|record| !copied.contains(&record.offset)) {
            let (topic, offset) = (pair.topic, missing.offset);
            let message = format!(
                "topic '{topic}', partition {partition}: the target lacks the record of offset {offset} of the source, though \
                 a later one is there"
            );
            return Err(Error::new(ErrorKind::Conflict, "copy_gap", message).with_field("to").with_mend(
                "delete the topic in the target and copy again: nothing can be put between records",
            ));
        }
    }
    Ok(())
}

fn taken(pair: &Pair<'_>, record: &Record) -> Error {
    let (topic, partition, offset) = (pair.topic, record.partition, record.offset);
    let message = format!(
        "topic '{topic}', partition {partition} of the target holds at offset {offset} a record that was not copied from this \
         source"
    );
    let mend = "copy to a target without that topic, or behind what is there with --force";
    Error::new(ErrorKind::Conflict, "copy_target_taken", message).with_field("to").with_mend(mend)
}

fn lost(pair: &Pair<'_>, partition: u32, end: u64) -> Error {
    let topic = pair.topic;
    let message = format!(
        "topic '{topic}', partition {partition} of the target ends at offset {end}, and no record of it is left that says \
         how far it was copied"
    );
    let mend = "its retention took them: delete the topic in the target, raise the retention, and copy again";
    Error::new(ErrorKind::Conflict, "copy_place_lost", message).with_field("to").with_mend(mend)
}

fn ahead(pair: &Pair<'_>, partition: u32, last: u64) -> Error {
    let (topic, end) = (pair.topic, pair.from.latest[partition as usize]);
    let message = format!(
        "topic '{topic}', partition {partition}: the target holds offset {last} of the source, which ends at {end}: the source \
         lost records since"
    );
    Error::new(ErrorKind::Conflict, "copy_source_changed", message)
        .with_field("from")
        .with_limit(end)
        .with_mend(
            "the copy is the better one; to follow the source, delete the topic in the target and copy again",
        )
}

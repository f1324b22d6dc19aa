//! Compares the mirror with upstream by sampling: the last record of each partition that both must have, and one before.
//!
//! A difference means that upstream lost or replaced records that were read here (an unclean election): every position
//! from before is then void. A record upstream does not have any more because retention took it says nothing.

use super::log::Inner;
use super::topic::Topic;
use crate::filter::Filter;
use crate::log::{Read, Span};
use crate::record::Record;
use crate::{ErrorKind, Result};
use std::sync::atomic::Ordering::Relaxed;

/// Offsets before the end in which a record is looked for.
const REACH: u64 = 256;

/// Whether what is sampled is upstream as it is here.
///
/// # Errors
/// What upstream fails with.
pub(super) async fn is_same(inner: &Inner, topic: &Topic) -> Result<bool> {
    let epoch = topic.epoch();
    let Some(held) = inner.held(&topic.name, epoch) else { return Ok(true) };
    for (partition, (&start, &end)) in (0..).zip(held.earliest.iter().zip(&held.latest)) {
        let before = start + inner.entropy.next_u64() % (end - start).max(1);
        for until in [end, before.max(start + 1).min(end)] {
            let from = until.saturating_sub(REACH).max(start);
            let read = Read {
                topic: topic.name.clone(),
                epoch,
                spans: vec![Span { partition, from, until }],
                filter: Filter::All,
                records_max: 1,
                bytes_max: 1,
                reverse: true,
            };
            // The store may have given it up a moment ago.
            let Ok(page) = inner.store.read(read).await else { continue };
            let Some(own) = page.records.first() else { continue };
            if !is_upstream(inner, topic, own).await? {
                inner.counters.differed.fetch_add(1, Relaxed);
                tracing::error!(topic = %topic.name, partition, offset = own.offset, "the record is not upstream as it was read: the log was truncated");
                return Ok(false);
            }
            inner.counters.verified.fetch_add(1, Relaxed);
        }
    }
    Ok(true)
}

async fn is_upstream(inner: &Inner, topic: &Topic, own: &Record) -> Result<bool> {
    let span = Span { partition: own.partition, from: own.offset, until: own.offset + 1 };
    match inner.upstream.fetch(&topic.name, span, 1).await {
        Ok(run) => Ok(run.records.first().is_some_and(|there| is_same_record(own, there))
            || is_compacted(topic) && run.records.is_empty()),
        // Below the start retention took it; past the end it was truncated.
        Err(error) if error.kind() == ErrorKind::Gone => {
            let described = inner.upstream.describe(&topic.name).await?;
            let start = described.earliest.get(own.partition as usize).copied().unwrap_or(0);
            Ok(own.offset < start)
        }
        Err(error) => Err(error),
    }
}

fn is_compacted(topic: &Topic) -> bool {
    topic.state().spec.cleanup == crate::topic::Cleanup::Compact
}

fn is_same_record(a: &Record, b: &Record) -> bool {
    (a.offset, &a.key, &a.value, &a.headers) == (b.offset, &b.key, &b.value, &b.headers)
}

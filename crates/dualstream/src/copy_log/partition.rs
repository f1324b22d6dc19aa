//! Copies one partition. One append at a time: the next records are sent when the ones before them are stored.

use super::sides::Held;
use super::visible::Visible;
use super::{Pair, interleaved, marker, place};
use bytes::Bytes;
use dualstream_core::log::{Appended, Part};
use dualstream_core::record::Record;
use dualstream_core::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::time::sleep;

/// Records of one append; few in tests, which interrupt each of them.
pub(super) const CHUNK_RECORDS: usize = if cfg!(test) { 50 } else { 1_000 };
/// A record of more is sent alone.
const LARGE_BYTES: usize = 256 << 10;
/// How often is tried again without getting further.
const TRIES_MAX: u32 = 10;
/// How long is waited before that: the longest.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Copies what is missing, from the offset `next` of the source on; gives how many records that were. `advance` hears of the offsets that are done.
pub(super) async fn copy(
    pair: &Pair<'_>,
    partition: u32,
    mut next: u64,
    held: &Held,
    advance: impl Fn(u64),
) -> Result<u64> {
    let until = pair.from.latest[partition as usize];
    let begun_at = held.latest[partition as usize];
    let mut copier = Copier { pair, partition, end: begun_at };
    advance(next - pair.from.earliest[partition as usize]);
    let advanced = |to: u64, from: &mut u64| advance(to - std::mem::replace(from, to));
    let mut tries = 0;
    loop {
        let before = next;
        let error = match copier.copy(&mut next, until, &advanced).await {
            Ok(()) => return Ok(copier.end - begun_at),
            Err(error) => error,
        };
        tries = if next > before { 1 } else { tries + 1 };
        if !may_pass(&error) || tries > TRIES_MAX {
            return Err(error);
        }
        let wait = Duration::from_secs(1 << tries.min(8)).min(WAIT_MAX);
        tracing::warn!("copying waits {wait:?} and looks again at what is stored: {error}");
        sleep(wait.max(pair.target.settles_after())).await;
        let held = pair.target.describe(pair.topic).await?;
        let found = place::find(pair, partition, &held).await?;
        copier.end = held.latest[partition as usize];
        advanced(found.max(next), &mut next);
    }
}

/// Whether it is worth trying again.
fn may_pass(error: &Error) -> bool {
    use ErrorKind::{Overloaded, Unavailable, Unknown};
    matches!(error.kind(), Overloaded | Unavailable | Unknown)
}

/// Whether a record is sent alone: one that the target may find too large must not let later ones pass.
fn is_large(record: &Record) -> bool {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter().map(|header| header.name.len() + length(&header.value));
    length(&record.key) + length(&record.value) + headers.sum::<usize>() > LARGE_BYTES
}

struct Copier<'a> {
    pair: &'a Pair<'a>,
    partition: u32,
    /// Where the target ends.
    end: u64,
}

impl Copier<'_> {
    /// Copies from `next`, which it moves with what is stored.
    async fn copy(&mut self, next: &mut u64, until: u64, advanced: &impl Fn(u64, &mut u64)) -> Result<()> {
        let mut visible = Visible::from(self.pair, self.partition, *next, until).await?;
        while let Some(records) = visible.page().await? {
            let together = records.chunk_by(|a, b| !is_large(a) && !is_large(b));
            for chunk in together.flat_map(|records| records.chunks(CHUNK_RECORDS)) {
                self.append(chunk).await?;
                let after = chunk.last().map_or(*next, |record| record.offset + 1);
                advanced(after, next);
            }
            advanced(visible.at, next);
        }
        advanced(until.max(*next), next);
        Ok(())
    }

    /// Stores all of some records, or fails.
    async fn append(&mut self, records: &[Record]) -> Result<()> {
        let Pair { topic, target, .. } = *self.pair;
        let marked = records.iter().map(|record| marker::marked(record, self.pair.from.epoch)).collect();
        let part = Part { topic: topic.clone(), partition: self.partition, records: marked };
        let outcomes = target.append(part).await?;
        for (record, outcome) in records.iter().zip(outcomes) {
            match outcome {
                Appended::Stored(offset) if offset == self.end || self.pair.force => self.end = offset + 1,
                Appended::Stored(_) | Appended::Duplicate { .. } | Appended::Conflict { .. } => {
                    return Err(interleaved(topic, Some(self.partition)));
                }
                Appended::Failed(error) => return Err(self.told(record.offset, error)),
            }
        }
        Ok(())
    }

    fn told(&self, offset: u64, error: Error) -> Error {
        let (topic, partition) = (self.pair.topic, self.partition);
        let message =
            format!("topic '{topic}', partition {partition}, offset {offset} of the source: {error}");
        let told = Error::new(error.kind(), error.code(), message).with_source(error.clone());
        match error.mend() {
            Some(mend) => told.with_mend(mend),
            None => told,
        }
    }
}

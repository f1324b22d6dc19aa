//! A topic that is followed, and how what the tail brings of it gets into its mirror.
//!
//! What repeats an event is left out here where the store cannot know that: of before the mirror's beginning, or of before
//! it was followed. It does not read the tail.

use super::job::Failure;
use super::log::Inner;
use super::ranges::hidden_in;
use super::seam::{LOOKS_BACK, Run};
use super::topic::Topic;
use crate::Result;
use crate::hidden::{self, LeftOut};
use crate::log::Span;
use crate::record::Record;
use crate::topic::Epoch;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// A topic that is followed: which one it is, and the epoch in which it is.
pub(super) struct Followed {
    pub topic: Arc<Topic>,
    pub id: u128,
    pub epoch: Epoch,
    /// What lies before was stored before it was followed: records left out there are not known any more.
    pub known_from: Vec<u64>,
    /// Left out because upstream has their first copies before that.
    pub left_out: LeftOut,
    pub next_look: Instant,
}

impl Followed {
    fn known_from(&self, partition: u32) -> u64 {
        self.known_from.get(partition as usize).copied().unwrap_or(0)
    }

    /// Whether a record may repeat an event that is not known here: of before the mirror's beginning, or left out of it
    /// before it was followed.
    pub fn is_early(&self, record: &Record) -> bool {
        let known_from = self.known_from(record.partition);
        hidden::looked_for_in(record).is_some_and(|range| range.start < known_from)
    }
}

/// Appends to the mirror of a topic, or forgets it: its files may be gone, and it is only a copy.
pub(super) async fn store(inner: &Inner, followed: &mut Followed, mut runs: Vec<Run>) -> Result<()> {
    let name = &followed.topic.name;
    let records: usize = runs.iter().map(|run| run.records.len()).sum();
    let mut left_out = 0;
    for run in &mut runs {
        run.records.retain(|record| {
            let is_hidden = followed.left_out.hides(record);
            if is_hidden {
                left_out += 1;
                followed.left_out.add(record.clone());
            }
            !is_hidden
        });
    }
    match inner.store.append(name, runs, followed.known_from.clone()).await {
        Ok(hidden) => {
            inner.counters.records.fetch_add(records as u64, Relaxed);
            inner.counters.hidden.fetch_add(hidden + left_out, Relaxed);
            Ok(())
        }
        Err(error) if error.code() == LOOKS_BACK => {
            // From now on everything that is held is looked for upstream, too.
            if let Some(held) = inner.held(name, followed.epoch) {
                followed.known_from = held.latest;
            }
            Err(error)
        }
        Err(error) => {
            if let Err(error) = inner.store.forget(name).await {
                tracing::debug!(topic = %name, code = error.code(), "the mirror cannot be forgotten: {error}");
            }
            Err(error)
        }
    }
}

/// Leaves out what repeats an event that is not known here; the store sees to the rest.
pub(super) async fn store_early(
    inner: &Inner,
    followed: &mut Followed,
    mut runs: Vec<Run>,
) -> Result<(), Failure> {
    leave_out(inner, followed, &mut runs).await.map_err(Failure::Upstream)?;
    let mut stored = store(inner, followed, runs.clone()).await;
    if stored.as_ref().is_err_and(|error| error.code() == LOOKS_BACK) {
        // The store has given more up than was looked for.
        leave_out(inner, followed, &mut runs).await.map_err(Failure::Upstream)?;
        stored = store(inner, followed, runs).await;
    }
    stored.map_err(Failure::Store)
}

/// Takes out of the runs what repeats an event of before [`Followed::known_from`].
async fn leave_out(inner: &Inner, followed: &mut Followed, runs: &mut [Run]) -> Result<()> {
    for run in runs {
        let early: Vec<_> = run.records.iter().filter(|record| followed.is_early(record)).cloned().collect();
        if early.is_empty() {
            continue;
        }
        let span =
            Span { partition: run.partition, from: followed.known_from(run.partition), until: run.next };
        let hidden = hidden_in(&*inner.upstream, (&run.topic, followed.id), &early, span).await?;
        inner.counters.hidden.fetch_add(hidden.len() as u64, Relaxed);
        let is_hidden = |record: &Record| hidden.contains(&record.offset);
        early.into_iter().filter(is_hidden).for_each(|record| followed.left_out.add(record));
        run.records.retain(|record| !is_hidden(record));
    }
    Ok(())
}

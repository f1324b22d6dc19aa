//! Ends that hold whatever was acknowledged, on any node, before somebody asked.
//!
//! ```text
//! asked ─▶ a look-up that begins from now on, one for all who wait ─ answered ─▶ the mirror gets there ─▶ bounds
//!                                                                └ not in time ─▶ bounds of the mirror, had it been level
//! ```
//! What stands upstream and the mirror does not get to in time is read through ranges: a page then takes longer, and
//! misses nothing. While upstream is away a page holds what the mirror does, and at least what this node was told is
//! stored; a mirror that never had all of it shows nothing, which would be taken for all there is.

use super::log::Inner;
use super::reading::not_yet_visible;
use super::seam::{Epochs, Upstream};
use super::topic::Topic;
use crate::bus::Health;
use crate::log::Bounds;
use crate::topic::{Epoch, TopicName};
use crate::{ErrorKind, Result};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Later than any record: what is sought there is the end.
const NEVER_MS: i64 = i64::MAX;

/// How often a topic is looked at that is another one each time.
const TRIES_MAX: usize = 3;

type Ends = Result<(Epoch, Vec<u64>)>;

/// The look-ups of one topic: one at a time, and one that begins after it.
#[derive(Default)]
pub(super) struct Lookups(Mutex<Option<Lookup>>);

#[derive(Clone)]
struct Lookup {
    /// Whoever comes later is not answered by it.
    has_begun: Arc<AtomicBool>,
    ends: Shared<BoxFuture<'static, Ends>>,
}

impl Lookups {
    /// One that begins from now on; `look` makes it if none is waiting to begin.
    fn join(&self, look: impl FnOnce() -> BoxFuture<'static, Ends>) -> Shared<BoxFuture<'static, Ends>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = last.as_ref().filter(|last| !last.has_begun.load(Ordering::Acquire)) {
            return waiting.ends.clone();
        }
        let before = last.take().map(|last| last.ends).filter(|ends| ends.peek().is_none());
        let (has_begun, look) = (Arc::new(AtomicBool::new(false)), look());
        let begins = has_begun.clone();
        let ends = async move {
            if let Some(before) = before {
                drop(before.await);
            }
            begins.store(true, Ordering::Release);
            look.await
        };
        let ends = ends.boxed().shared();
        *last = Some(Lookup { has_begun, ends: ends.clone() });
        ends
    }
}

impl Inner {
    /// Where a topic ends now: see [`crate::log::Log::seek`].
    pub async fn bounds_now(&self, name: &TopicName) -> Result<Bounds> {
        let topic = self.topic(name)?;
        self.want(&topic);
        let deadline = Instant::now() + self.settings.fresh_max;
        let answer = match self.is_away() {
            true => None,
            false => tokio::time::timeout_at(deadline, topic.lookups.join(|| self.look(&topic))).await.ok(),
        };
        let (epoch, ends) = match answer {
            Some(Ok(answered)) => answered,
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => return Err(error),
            Some(Err(_)) | None => return self.bounds_unasked(&topic),
        };
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let bounds = self.bounds_of(&topic);
            let is_there = bounds.latest.iter().zip(&ends).all(|(latest, end)| latest >= end);
            if bounds.epoch != epoch || is_there {
                return Ok(bounds);
            }
            let grown = self.grown(&topic, &bounds, changed);
            if !topic.is_hot() || tokio::time::timeout_at(deadline, grown).await.is_err() {
                // Read through ranges.
                topic.tell(epoch, &ends);
            }
        }
    }

    /// What can be said while upstream does not answer.
    fn bounds_unasked(&self, topic: &Topic) -> Result<Bounds> {
        let bounds = self.bounds_of(topic);
        let is_held = topic.is_hot() && self.held(&topic.name, bounds.epoch).is_some();
        if is_held && topic.is_enough(&bounds) { Ok(bounds) } else { Err(not_yet_visible()) }
    }

    fn look(&self, topic: &Arc<Topic>) -> BoxFuture<'static, Ends> {
        let (upstream, epochs, topic) = (self.upstream.clone(), self.epochs.clone(), topic.clone());
        async move { sought(&*upstream, &*epochs, &topic, NEVER_MS).await }.boxed()
    }

    fn is_away(&self) -> bool {
        matches!(self.health(), Health::Down { .. })
    }
}

/// Offsets upstream, and the epoch they are of. A topic that is another one now, or has other partitions, than is known is
/// described first.
pub(super) async fn sought(
    upstream: &dyn Upstream,
    epochs: &dyn Epochs,
    topic: &Topic,
    time_ms: i64,
) -> Ends {
    for _ in 0..TRIES_MAX {
        let (epoch, id, partitions) = {
            let state = topic.state();
            (state.epoch, state.id, state.latest.len())
        };
        let found = upstream.seek(&topic.name, time_ms).await?;
        if found.id == id && found.offsets.len() == partitions {
            return Ok((epoch, found.offsets));
        }
        let described = upstream.describe(&topic.name).await?;
        let epoch = epochs.epoch(&topic.name, described.id, described.spec.partitions)?;
        topic.update(epoch, described);
    }
    // Brokers disagree on what it is.
    Err(not_yet_visible())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use tokio::sync::Semaphore;

    /// Who comes while one is under way waits for the next, all for the same one.
    #[tokio::test]
    async fn a_lookup_answers_those_who_came_before_it_began() {
        let (lookups, made, gate) =
            (Lookups::default(), Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let look = || -> BoxFuture<'static, Ends> {
            let (made, gate) = (made.clone(), gate.clone());
            async move {
                let number = made.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                Ok((Epoch(number), Vec::new()))
            }
            .boxed()
        };
        let first: Vec<_> = (0..10).map(|_| lookups.join(look)).collect();
        assert!(first[3].clone().now_or_never().is_none());
        let second: Vec<_> = (0..10).map(|_| lookups.join(look)).collect();
        assert!(second[3].clone().now_or_never().is_none());
        assert_eq!(made.load(Ordering::SeqCst), 1, "one at a time");
        gate.add_permits(2);
        for (number, all) in [first, second].into_iter().enumerate() {
            for one in all {
                assert_eq!(one.await.unwrap().0, Epoch(number as u64));
            }
        }
        gate.add_permits(1);
        assert_eq!(lookups.join(look).await.unwrap().0, Epoch(2));
    }
}

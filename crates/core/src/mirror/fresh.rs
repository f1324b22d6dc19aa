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
use super::seam::{Described, Epochs, MirrorStore, Upstream};
use super::topic::Topic;
use crate::bus::Health;
use crate::log::Bounds;
use crate::topic::{Epoch, TopicName};
use crate::{ErrorKind, Result};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::sync::Arc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Later than any record: what is sought there is the end.
const NEVER_MS: i64 = i64::MAX;

/// How often a topic is looked at that is another one each time.
const TRIES_MAX: usize = 3;

pub(super) type Ends = Result<(Epoch, Vec<u64>)>;

/// The look-ups of one topic: one at a time, and one that begins after it.
pub(super) struct Lookups {
    /// From the beginning of one to that of the next at least, whatever clients send.
    pause: Duration,
    last: Mutex<Option<Lookup>>,
}

#[derive(Clone)]
struct Lookup {
    /// Whoever comes later is not answered by it.
    begun: Arc<OnceLock<Instant>>,
    ends: Shared<BoxFuture<'static, Ends>>,
}

impl Lookups {
    pub(super) fn new(pause: Duration) -> Lookups {
        Lookups { pause, last: Mutex::default() }
    }

    /// One that begins from now on; `look` makes it if none is waiting to begin.
    pub(super) fn join(
        &self,
        look: impl FnOnce() -> BoxFuture<'static, Ends>,
    ) -> Shared<BoxFuture<'static, Ends>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = last.as_ref().filter(|last| last.begun.get().is_none()) {
            return waiting.ends.clone();
        }
        let (before, pause, begun, look) = (last.take(), self.pause, Arc::<OnceLock<_>>::default(), look());
        let begins = begun.clone();
        let ends = async move {
            if let Some(Lookup { ends, begun }) = before {
                drop(ends.await);
                if let Some(at) = begun.get() {
                    tokio::time::sleep_until(*at + pause).await;
                }
            }
            begins.get_or_init(Instant::now);
            look.await
        };
        let ends = ends.boxed().shared();
        *last = Some(Lookup { begun, ends: ends.clone() });
        ends
    }

    /// Gives up what nobody may be waiting for any more: a look-up keeps its topic.
    pub(super) fn clear(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
        let (upstream, epochs, store) = (self.upstream.clone(), self.epochs.clone(), self.store.clone());
        let topic = topic.clone();
        async move { sought(&*upstream, &*epochs, &*store, &topic, NEVER_MS).await }.boxed()
    }

    /// Where a topic ends that was asked about from now on, also what open transactions hold back there.
    pub fn renewal(&self, topic: &Arc<Topic>) -> Shared<BoxFuture<'static, Ends>> {
        topic.renewals.join(|| {
            let (upstream, epochs, store) = (self.upstream.clone(), self.epochs.clone(), self.store.clone());
            let topic = topic.clone();
            async move {
                let (described, epoch) = renewed(&*upstream, &*epochs, &*store, &topic).await?;
                Ok((epoch, described.high))
            }
            .boxed()
        })
    }

    fn is_away(&self) -> bool {
        matches!(self.health(), Health::Down { .. })
    }
}

/// Asks upstream what a known topic is now. One that is not there any more stays known: it may come back.
pub(super) async fn renewed(
    upstream: &dyn Upstream,
    epochs: &dyn Epochs,
    store: &dyn MirrorStore,
    topic: &Topic,
) -> Result<(Described, Epoch)> {
    let described = upstream.describe(&topic.name).await;
    if matches!(&described, Err(error) if error.kind() == ErrorKind::NotFound) && topic.set_gone() {
        tracing::warn!(topic = %topic.name, "the topic is gone");
        store.forget(&topic.name).await?;
    }
    let described = described?;
    let epoch = epochs.epoch(&topic.name, described.id, described.spec.partitions)?;
    topic.update(epoch, described.clone());
    Ok((described, epoch))
}

/// Offsets upstream, and the epoch they are of. A topic that is another one now, or has other partitions, than is known is
/// described first.
pub(super) async fn sought(
    upstream: &dyn Upstream,
    epochs: &dyn Epochs,
    store: &dyn MirrorStore,
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
        renewed(upstream, epochs, store, topic).await?;
    }
    // Brokers disagree on what it is.
    Err(not_yet_visible())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::Semaphore;

    /// Who comes while one is under way waits for the next, all for the same one.
    #[tokio::test]
    async fn a_lookup_answers_those_who_came_before_it_began() {
        let (lookups, made, gate) =
            (Lookups::new(Duration::ZERO), Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
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

//! The log as publishers and readers see it: appends go upstream, reads come from the mirror where it holds them.

use super::counters::Counters;
use super::follower;
use super::foreign::Mapped;
use super::fresh;
use super::ranges::Ranges;
use super::reading::not_yet_visible;
use super::seam::{Described, Epochs, MirrorStore, Upstream};
use super::settings::Settings;
use super::topic::Topic;
use crate::bus::Health;
use crate::clock::{Clock, Entropy};
use crate::log::{Bounds, Commit, Committed, Log, Page, Read};
use crate::topic::{Epoch, TopicName};
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A log upstream with its mirror on this node. Cheap to clone. It follows nothing while its [`Runner`] does not run.
#[derive(Clone)]
pub struct MirroredLog {
    pub(super) inner: Arc<Inner>,
}

/// Keeps the mirror up to date.
pub struct Runner {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub settings: Settings,
    pub upstream: Arc<dyn Upstream>,
    pub store: Arc<dyn MirrorStore>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub epochs: Arc<dyn Epochs>,
    pub counters: Arc<Counters>,
    pub ranges: Ranges,
    /// Something is to be followed that is not.
    pub wanted: Notify,
    topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    health: Mutex<Health>,
    copy_health: Mutex<Health>,
}

impl MirroredLog {
    /// A log over `upstream` that is read from `store`.
    pub fn new(
        settings: Settings,
        upstream: Arc<dyn Upstream>,
        store: Arc<dyn MirrorStore>,
        epochs: Arc<dyn Epochs>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> (MirroredLog, Runner) {
        let counters = Arc::new(Counters::default());
        let upstream: Arc<dyn Upstream> =
            Arc::new(Mapped::new(upstream, &settings.foreign, counters.clone()));
        let ranges = Ranges::new(upstream.clone(), counters.clone(), settings.range_bytes_max);
        let topics = RwLock::default();
        let (health, copy_health) = (Mutex::new(Health::Up), Mutex::new(Health::Up));
        let wanted = Notify::new();
        let inner = Inner {
            settings,
            upstream,
            store,
            clock,
            entropy,
            epochs,
            counters,
            ranges,
            wanted,
            topics,
            health,
            copy_health,
        };
        let inner = Arc::new(inner);
        (MirroredLog { inner: inner.clone() }, Runner { inner })
    }

    /// Makes a topic known: from now on its bounds are told and kept fresh.
    ///
    /// # Errors
    /// `unknown_topic`, `log_unavailable`.
    pub async fn open(&self, topic: &TopicName) -> Result<Bounds> {
        self.inner.refresh(topic).await.map(|topic| topic.bounds())
    }

    /// Resolves once the mirror holds something of a topic: it is begun if it is not.
    ///
    /// # Errors
    /// `unknown_topic`; `not_yet_visible` when it could not be begun in time.
    pub async fn held(&self, topic: &TopicName) -> Result<()> {
        let inner = &*self.inner;
        let topic = inner.topic(topic)?;
        inner.want(&topic);
        let deadline = Instant::now() + inner.settings.visible_max;
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if topic.is_hot() && inner.held(&topic.name, topic.epoch()).is_some() {
                return Ok(());
            }
            tokio::time::timeout_at(deadline, changed).await.map_err(|_| not_yet_visible())?;
        }
    }

    /// Forgets a topic that is deleted, with what is held of it.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn close(&self, topic: &TopicName) -> Result<()> {
        self.inner.forget(topic).await
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Whether upstream answers.
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// Whether the copy on this node can be kept. While it cannot, what it does not hold is read upstream.
    pub fn copy_health(&self) -> Health {
        self.inner.copy_health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Runner {
    /// Follows what is wanted until `shutdown` resolves.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = shutdown => {}
            () = follower::run(&self.inner) => {}
        }
    }
}

impl Inner {
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn known(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A topic that is known and upstream.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>> {
        self.known(name).filter(|topic| !topic.is_gone()).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "unknown_topic", format!("there is no topic '{name}'"))
                .with_field("topic")
        })
    }

    /// Asks upstream what a topic is now; from then on it is known.
    pub async fn refresh(&self, name: &TopicName) -> Result<Arc<Topic>> {
        if let Some(known) = self.known(name) {
            self.renew(&known).await?;
            return Ok(known);
        }
        let described = self.upstream.describe(name).await?;
        let epoch = self.epochs.epoch(name, described.id, described.spec.partitions)?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Topic::new(name.clone(), epoch, described)));
        Ok(topic.clone())
    }

    /// See [`fresh::renewed`].
    pub async fn renew(&self, topic: &Topic) -> Result<(Described, Epoch)> {
        fresh::renewed(&*self.upstream, &*self.epochs, &*self.store, topic).await
    }

    async fn forget(&self, name: &TopicName) -> Result<()> {
        let gone = self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(gone) = gone else { return Ok(()) };
        gone.set_gone();
        self.store.forget(name).await
    }

    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether upstream answered; says so once for each change.
    pub fn note(&self, error: Option<&Error>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            _ if !health.note(error, &*self.clock) => {}
            None => tracing::info!("the log upstream answers again"),
            Some(error) => tracing::warn!(code = error.code(), "the log upstream does not answer: {error}"),
        }
    }

    /// Notes whether the store of a topic failed, or that all are well; the former is said by whoever leaves it alone.
    pub fn note_copy(&self, failed: Option<(&TopicName, &Error)>) {
        let error = failed.map(|(name, error)| {
            let message = format!("the copy of '{name}' on this node: {}", error.message());
            Error::new(error.kind(), error.code(), message)
        });
        let mut health = self.copy_health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.note(error.as_ref(), &*self.clock) && error.is_none() {
            tracing::info!("the mirror on this node is kept again");
        }
    }

    pub fn want(&self, topic: &Topic) {
        if topic.want() {
            self.wanted.notify_one();
        }
    }

    /// What the mirror holds of a topic in its present epoch.
    pub fn held(&self, topic: &TopicName, epoch: Epoch) -> Option<Bounds> {
        self.store.bounds(topic).ok().filter(|held| held.epoch == epoch)
    }

    pub fn bounds_of(&self, topic: &Topic) -> Bounds {
        let held = topic.is_hot().then(|| self.held(&topic.name, topic.epoch())).flatten();
        topic.bounds_with(held.as_ref())
    }
}

impl Log for MirroredLog {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        self.inner.append(commit).boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        async move { self.inner.read_page(&read).await }.boxed()
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        Ok(self.inner.bounds_of(&*self.inner.topic(topic)?))
    }

    fn partitions(&self, topic: &TopicName) -> Result<u32> {
        Ok(self.inner.topic(topic)?.state().latest.len() as u32)
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        async move {
            while let Ok(topic) = self.inner.topic(topic) {
                let _waiter = topic.waiter();
                self.inner.want(&topic);
                let changed = topic.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if !self.inner.topic(&topic.name).is_ok_and(|known| Arc::ptr_eq(&known, &topic)) {
                    // Forgotten a moment ago: nobody tells of this one any more.
                    continue;
                }
                let bounds = self.inner.bounds_of(&topic);
                let is_past = bounds.latest.iter().zip(ends).any(|(latest, end)| latest > end);
                if bounds.epoch != epoch || bounds.latest.len() != ends.len() || is_past {
                    return;
                }
                self.inner.grown(&topic, &bounds, changed).await;
            }
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        async move {
            let inner = &*self.inner;
            if time_ms == i64::MAX {
                return Ok(inner.bounds_now(topic).await?.latest);
            }
            let known = inner.topic(topic)?;
            inner.want(&known);
            // The mirror knows too: partitions lie side by side in it, so later ones may begin too early.
            let (upstream, epochs, store) = (&*inner.upstream, &*inner.epochs, &*inner.store);
            let sought = fresh::sought(upstream, epochs, store, &known, time_ms).await;
            let bounds = inner.bounds_of(&known);
            let mut found = match sought {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let Some(held) = inner.held(topic, bounds.epoch) else { return Err(error) };
                    let found = inner.store.seek(topic, time_ms).await?;
                    // Where it begins with records of that time, there may be more of it before.
                    let is_known =
                        |((found, begin), earliest): ((&u64, &u64), &u64)| found > begin || begin <= earliest;
                    let mut all = found.iter().zip(&held.earliest).zip(&bounds.earliest);
                    if !all.all(is_known) {
                        return Err(error);
                    }
                    found
                }
                // Of an epoch that is over these may be: who goes on with them is told.
                found => found?.1,
            };
            for (offset, (earliest, latest)) in
                found.iter_mut().zip(bounds.earliest.iter().zip(&bounds.latest))
            {
                *offset = (*offset).min(*latest).max(*earliest);
            }
            Ok(found)
        }
        .boxed()
    }
}

impl std::fmt::Debug for MirroredLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirroredLog").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

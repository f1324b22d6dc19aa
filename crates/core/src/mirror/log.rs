//! The log as publishers and readers see it: appends go upstream, reads come from the mirror where it holds them.

use super::counters::Counters;
use super::follower;
use super::foreign::Mapped;
use super::merge::{self, Piece};
use super::ranges::{CHUNK_OFFSETS, Ranges, first_of};
use super::seam::{Epochs, MirrorStore, Run, Upstream};
use super::settings::Settings;
use super::topic::Topic;
use crate::bus::Health;
use crate::clock::{Clock, Entropy};
use crate::filter::Filter;
use crate::log::{Bounds, Commit, Committed, Log, Page, Read, Span};
use crate::topic::{Epoch, TopicName};
use crate::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
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
        let (topics, health) = (RwLock::default(), Mutex::new(Health::Up));
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
        self.inner.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "unknown_topic", format!("there is no topic '{name}'"))
                .with_field("topic")
        })
    }

    /// Asks upstream what a topic is now.
    pub async fn refresh(&self, name: &TopicName) -> Result<Arc<Topic>> {
        let described = self.upstream.describe(name).await;
        if matches!(&described, Err(error) if error.kind() == ErrorKind::NotFound) {
            self.forget(name).await?;
        }
        let described = described?;
        let epoch = self.epochs.epoch(name, described.id, described.spec.partitions)?;
        if let Ok(known) = self.topic(name) {
            known.update(epoch, described);
            return Ok(known);
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Topic::new(name.clone(), epoch, described)));
        Ok(topic.clone())
    }

    async fn forget(&self, name: &TopicName) -> Result<()> {
        let gone = self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(gone) = gone else { return Ok(()) };
        gone.changed.notify_waiters();
        self.store.forget(name).await
    }

    /// Notes whether upstream answered; says so once for each change.
    pub fn note(&self, error: Option<&Error>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, &*health) {
            (None, Health::Down { .. }) => {
                tracing::info!("the log upstream answers again");
                *health = Health::Up;
            }
            (Some(error), Health::Up) => {
                tracing::warn!(code = error.code(), "the log upstream does not answer: {error}");
                let since_ms = self.clock.now_ms();
                *health = Health::Down { since_ms, reason: error.message().to_owned() };
            }
            _ => {}
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

    fn bounds_of(&self, topic: &Topic) -> Bounds {
        let mut bounds = topic.bounds();
        if topic.is_hot()
            && let Some(held) = self.held(&topic.name, bounds.epoch)
        {
            bounds.latest.iter_mut().zip(&held.latest).for_each(|(own, &held)| *own = held.max(*own));
        }
        bounds
    }

    async fn read_page(&self, read: &Read) -> Result<Page> {
        let topic = self.topic(&read.topic)?;
        self.want(&topic);
        let bounds = self.visible(&topic, read).await?;
        check_spans(read, &bounds)?;
        let held = self.held(&read.topic, bounds.epoch);
        let places: Vec<Place> =
            read.spans.iter().map(|span| Place::of(span, read.reverse, &bounds, held.as_ref())).collect();
        let in_store = places.iter().any(|place| matches!(place, Place::Store(_)));
        let in_ranges = places.iter().any(|place| matches!(place, Place::Range(_)));
        // Newest first the store comes first, because it holds the newest.
        let page = match in_store && (read.reverse || !in_ranges) {
            true => self.read_store(read, &places).await?,
            false => self.read_ranges(read, &bounds, &places).await?,
        };
        match (&page.records[..], &read.spans[..]) {
            ([], [span])
                if read.records_max == 1
                    && span.until.checked_sub(span.from) == Some(1)
                    && read.filter == Filter::All =>
            {
                self.alias(read, *span, page).await
            }
            _ => Ok(page),
        }
    }

    /// The bounds, once no span begins past them; waits a while for what is on its way.
    async fn visible(&self, topic: &Topic, read: &Read) -> Result<Bounds> {
        let deadline = Instant::now() + self.settings.visible_max;
        let is_there = |bounds: &Bounds| {
            let from = |span: &Span| if read.reverse { 0 } else { span.from };
            read.spans
                .iter()
                .all(|s| bounds.latest.get(s.partition as usize).is_none_or(|end| from(s) <= *end))
        };
        let mut has_asked = false;
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let bounds = self.bounds_of(topic);
            if bounds.epoch != read.epoch {
                return Err(epoch_changed());
            }
            if is_there(&bounds) {
                return Ok(bounds);
            }
            if !has_asked {
                has_asked = true;
                self.refresh(&topic.name).await?;
                continue;
            }
            let high = topic.state().high.clone();
            let exists = |s: &Span| high.get(s.partition as usize).is_some_and(|end| s.from <= *end);
            if !read.spans.iter().all(exists) {
                let message = "the position lies past the end of the log";
                return Err(Error::invalid("position_from_future", "position", message));
            }
            if tokio::time::timeout_at(deadline, self.grown(topic, &bounds, changed)).await.is_err() {
                self.counters.not_yet_visible.fetch_add(1, Relaxed);
                return Err(not_yet_visible());
            }
        }
    }

    /// Resolves when the topic or what is held of it may have changed.
    pub async fn grown(&self, topic: &Topic, bounds: &Bounds, changed: impl Future<Output = ()>) {
        let held = self.held(&topic.name, bounds.epoch).filter(|_| topic.is_hot());
        let Some(held) = held else { return changed.await };
        tokio::select! {
            biased;
            () = changed => {}
            () = self.store.wait(&topic.name, held.epoch, &held.latest) => {}
        }
    }

    async fn read_store(&self, read: &Read, places: &[Place]) -> Result<Page> {
        let asked: Vec<(usize, Span)> = places
            .iter()
            .enumerate()
            .filter_map(|(i, place)| if let Place::Store(part) = place { Some((i, *part)) } else { None })
            .collect();
        let inner = Read { spans: asked.iter().map(|(_, span)| *span).collect(), ..read.clone() };
        let page = self.store.read(inner).await?;
        let mut next: Vec<u64> =
            read.spans.iter().zip(places).map(|(span, place)| place.stays(span, read.reverse)).collect();
        asked.iter().zip(&page.next).for_each(|((i, _), &at)| next[*i] = at);
        Ok(Page { next, ..page })
    }

    async fn read_ranges(&self, read: &Read, bounds: &Bounds, places: &[Place]) -> Result<Page> {
        let pieces = read.spans.iter().zip(places).map(|(span, place)| async move {
            let Place::Range(part) = place else { return Ok(Piece::none(place.stays(span, read.reverse))) };
            self.piece(read, bounds, *part).await
        });
        Ok(merge::page(read, &try_join_all(pieces).await?))
    }

    /// The chunk a span begins in; in reverse what is in the offsets of the chunk it ends in.
    async fn piece(&self, read: &Read, bounds: &Bounds, part: Span) -> Result<Piece> {
        let end = bounds.latest.get(part.partition as usize).copied().unwrap_or(0);
        let chunk = |at: u64| self.ranges.chunk(&read.topic, bounds.epoch, part.partition, at, end);
        if !read.reverse {
            let run = chunk(part.from).await?;
            if run.next <= part.from {
                return Err(not_yet_visible());
            }
            let reached = run.next.clamp(part.from, part.until);
            return Ok(Piece {
                begin: part.from,
                end: reached,
                is_whole: reached == part.until,
                run: Some(run),
            });
        }
        let last = part.until - 1;
        let begin = part.from.max(last - last % CHUNK_OFFSETS);
        let mut run = Run::clone(&*chunk(begin).await?);
        while run.next < part.until {
            let more = chunk(run.next).await?;
            if more.next <= run.next {
                break;
            }
            run.records.extend(more.records.iter().filter(|record| record.offset >= run.next).cloned());
            run.next = more.next;
        }
        Ok(Piece { begin: part.until, end: begin, is_whole: begin == part.from, run: Some(Arc::new(run)) })
    }

    /// A single record that is not there may be hidden: then its position stands for the first of its kind.
    async fn alias(&self, read: &Read, span: Span, page: Page) -> Result<Page> {
        let record = first_of(&*self.upstream, &read.topic, span.partition, span.from).await?;
        Ok(Page { records: record.into_iter().collect(), ..page })
    }
}

/// Where what comes next of a span is read.
enum Place {
    /// In the mirror: this part of it.
    Store(Span),
    /// Upstream: this part of it.
    Range(Span),
    /// Nothing of it is there (yet).
    Nowhere,
}

impl Place {
    /// Where a span goes on of which nothing is read now.
    fn stays(&self, span: &Span, reverse: bool) -> u64 {
        match (self, reverse) {
            (Place::Nowhere, true) | (_, false) => span.from,
            (_, true) => span.until,
        }
    }

    fn of(span: &Span, reverse: bool, bounds: &Bounds, held: Option<&Bounds>) -> Place {
        let p = span.partition as usize;
        let at = |vector: &[u64]| vector.get(p).copied().unwrap_or(0);
        let until = span.until.min(at(&bounds.latest));
        if span.from >= until {
            return Place::Nowhere;
        }
        let (start, end) = held.map_or((until, until), |held| (at(&held.earliest), at(&held.latest)));
        let part = |from: u64, until: u64| Span { partition: span.partition, from, until };
        match reverse {
            false if span.from < start => Place::Range(part(span.from, until.min(start))),
            false if span.from < end => Place::Store(part(span.from, until.min(end))),
            true if until > end => Place::Range(part(span.from.max(end), until)),
            true if until > start => Place::Store(part(span.from.max(start), until)),
            _ => Place::Range(part(span.from, until)),
        }
    }
}

fn check_spans(read: &Read, bounds: &Bounds) -> Result<()> {
    for span in &read.spans {
        let Some(&earliest) = bounds.earliest.get(span.partition as usize) else {
            return Err(Error::invalid("unknown_partition", "partition", "the topic has no such partition"));
        };
        if span.from < earliest {
            let message = "retention has passed this position";
            return Err(Error::new(ErrorKind::Gone, "position_unrecoverable", message).with_field("position"));
        }
    }
    Ok(())
}

fn epoch_changed() -> Error {
    let message = "the topic was recreated, repartitioned or truncated since: positions from before are void";
    Error::new(ErrorKind::Gone, "epoch_changed", message)
}

fn not_yet_visible() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "not_yet_visible",
        "the record is stored, but cannot be read yet: an open transaction may hold it back, or the mirror is behind",
    )
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

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        async move {
            while let Ok(topic) = self.inner.topic(topic) {
                let _waiter = topic.waiter();
                self.inner.want(&topic);
                let changed = topic.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
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
            let known = inner.topic(topic)?;
            inner.want(&known);
            let bounds = inner.bounds_of(&known);
            // The mirror knows too: partitions lie side by side in it, so later ones may begin too early.
            let mut found = match inner.upstream.seek(topic, time_ms).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    inner.store.seek(topic, time_ms).await.map_err(|_| error)?
                }
                found => found?,
            };
            for (offset, (earliest, latest)) in
                found.iter_mut().zip(bounds.earliest.iter().zip(&bounds.latest))
            {
                *offset = (*offset).clamp(*earliest, *latest);
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

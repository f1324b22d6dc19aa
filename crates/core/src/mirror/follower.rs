//! Keeps the mirror up to date: one task, one tail for all topics that are wanted.
//!
//! ```text
//! loop   wanted and not followed ─▶ describe, go on where the store stands or begin anew ─▶ assign
//!        runs of the tail ─▶ leave out what is hidden by records before the mirror ─▶ store
//!        tick ─▶ describe all; unwanted for a while ─▶ let go; a new epoch ─▶ begin anew
//!        losses ─▶ told to everybody ─▶ begin anew
//! ```
//! Whatever goes wrong (upstream away, a place passed by retention, a store that lost its files) it describes the topics
//! again and goes on from where the store stands, or anew: the mirror is a copy, so beginning anew loses nothing.

use super::log::Inner;
use super::losses::Losses;
use super::ranges::hidden_in;
use super::seam::{Place, Run, Tail};
use super::topic::{Topic, distance};
use crate::log::{Bounds, Span};
use crate::topic::{Epoch, TopicName, TopicSpec};
use crate::{Error, ErrorKind, Result, hidden};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// Pause after an error.
const RETRY: Duration = Duration::from_millis(200);

/// Follows for ever.
pub(super) async fn run(inner: &Inner) {
    let mut losses = Losses::new(inner);
    loop {
        let error = match Follower::begin(inner, &mut losses) {
            Ok(mut follower) => follower.follow().await,
            Err(error) => error,
        };
        if error.kind() == ErrorKind::Gone {
            // A place that is not there may be past the end of a log that was cut short.
            losses.look_now();
        }
        inner.counters.errors.fetch_add(1, Relaxed);
        inner.note(Some(&error).filter(|error| error.kind() == ErrorKind::Unavailable));
        tracing::debug!(code = error.code(), "the mirror begins again: {error}");
        tokio::time::sleep(RETRY).await;
    }
}

struct Follower<'a, 'l> {
    inner: &'a Inner,
    losses: &'l mut Losses<'a>,
    tail: Box<dyn Tail>,
    followed: BTreeMap<TopicName, Followed>,
    next_tick: Instant,
}

/// A topic that is followed, and the epoch in which it is.
struct Followed {
    topic: Arc<Topic>,
    epoch: Epoch,
}

impl<'a, 'l> Follower<'a, 'l> {
    fn begin(inner: &'a Inner, losses: &'l mut Losses<'a>) -> Result<Follower<'a, 'l>> {
        let tail = inner.upstream.tail()?;
        Ok(Follower { inner, losses, tail, followed: BTreeMap::new(), next_tick: Instant::now() })
    }

    /// The error that ends it.
    async fn follow(&mut self) -> Error {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    async fn turn(&mut self) -> Result<()> {
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + self.inner.settings.refresh;
            self.refresh().await?;
        }
        self.losses.look().await?;
        self.choose().await?;
        let inner = self.inner;
        tokio::select! {
            biased;
            () = inner.wanted.notified() => Ok(()),
            lossy = self.losses.next() => self.begin_anew(&lossy).await,
            runs = self.tail.next(), if !self.followed.is_empty() => self.take(runs?).await,
            () = tokio::time::sleep_until(self.next_tick) => Ok(()),
        }
    }

    /// Nothing that was known or held of a topic counts any more.
    async fn begin_anew(&mut self, topic: &Topic) -> Result<()> {
        self.followed.remove(&topic.name);
        let described = self.inner.upstream.describe(&topic.name).await?;
        let epoch = self.inner.epochs.epoch(&topic.name, described.id, described.spec.partitions)?;
        self.inner.store.forget(&topic.name).await?;
        topic.begin_anew(epoch, described);
        Ok(())
    }

    /// Asks what the topics are now.
    async fn refresh(&mut self) -> Result<()> {
        let (mut lag, mut held_back) = (0, 0);
        for topic in self.inner.topics() {
            match self.inner.refresh(&topic.name).await {
                Ok(_) => self.inner.note(None),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::warn!(topic = %topic.name, "the topic is gone");
                    self.followed.remove(&topic.name);
                    continue;
                }
                Err(error) => return Err(error),
            }
            // A reader may have learnt of it first.
            if self.followed.get(&topic.name).is_some_and(|followed| followed.epoch != topic.epoch()) {
                tracing::warn!(topic = %topic.name, "the topic was recreated, repartitioned or truncated: positions from before are void");
                self.followed.remove(&topic.name);
            }
            let state = topic.state().clone();
            held_back += state.held_back;
            if let Some(held) = self.inner.held(&topic.name, state.epoch).filter(|_| topic.is_hot()) {
                lag += distance(&held.latest, &state.high);
            }
        }
        self.inner.counters.lag.store(lag, Relaxed);
        self.inner.counters.held_back.store(held_back, Relaxed);
        Ok(())
    }

    /// Follows exactly what is wanted.
    async fn choose(&mut self) -> Result<()> {
        let idle = self.inner.settings.idle;
        let topics = self.inner.topics();
        // The tail would fail at the place of what is lost, for all topics.
        let is_wanted =
            |topic: &&Arc<Topic>| topic.is_wanted(idle) && !self.losses.is_being_told(&topic.name);
        let wanted: BTreeMap<TopicName, Arc<Topic>> =
            topics.iter().filter(is_wanted).map(|t| (t.name.clone(), t.clone())).collect();
        for topic in topics.iter().filter(|topic| topic.is_hot() && !wanted.contains_key(&topic.name)) {
            topic.set_hot(false);
        }
        if wanted.keys().eq(self.followed.keys()) {
            return Ok(());
        }
        self.followed.clear();
        let (mut followed, mut places) = (BTreeMap::new(), Vec::new());
        for (name, topic) in wanted {
            let (epoch, more) = places_of(self.inner, &topic).await?;
            places.extend(more);
            followed.insert(name, Followed { topic, epoch });
        }
        self.tail.assign(places).await?;
        for Followed { topic, .. } in followed.values() {
            topic.set_hot(true);
        }
        self.inner.counters.hot.store(followed.len() as u64, Relaxed);
        self.followed = followed;
        Ok(())
    }

    /// Stores what the tail brought.
    async fn take(&mut self, runs: Vec<Run>) -> Result<()> {
        let mut by_topic: BTreeMap<TopicName, Vec<Run>> = BTreeMap::new();
        for run in runs {
            by_topic.entry(run.topic.clone()).or_default().push(run);
        }
        for (name, mut runs) in by_topic {
            let Some(Followed { topic, .. }) = self.followed.get(&name) else { continue };
            hide(self.inner, topic, &mut runs).await?;
            let records: usize = runs.iter().map(|run| run.records.len()).sum();
            let hidden = match self.inner.store.append(&name, runs).await {
                Ok(hidden) => hidden,
                Err(error) => {
                    // Its files may be gone: it is only a copy.
                    tracing::warn!(topic = %name, code = error.code(), "the mirror of a topic begins anew: {error}");
                    self.inner.store.forget(&name).await?;
                    self.followed.remove(&name);
                    continue;
                }
            };
            self.inner.counters.records.fetch_add(records as u64, Relaxed);
            self.inner.counters.hidden.fetch_add(hidden, Relaxed);
        }
        Ok(())
    }
}

/// The epoch of a topic, and where each partition is followed from: where the store stands, if that is near enough.
async fn places_of(inner: &Inner, topic: &Topic) -> Result<(Epoch, Vec<Place>)> {
    inner.refresh(&topic.name).await?;
    let state = topic.state().clone();
    let backfill = inner.settings.backfill_records;
    let begin: Vec<u64> = state
        .earliest
        .iter()
        .zip(&state.high)
        .map(|(&earliest, &end)| earliest.max(end.saturating_sub(backfill)))
        .collect();
    let goes_on = |held: &Bounds| {
        let near = |((&held, &begin), &high): ((&u64, &u64), &u64)| held >= begin && held <= high;
        held.latest.len() == begin.len() && held.latest.iter().zip(&begin).zip(&state.high).all(near)
    };
    let from = match inner.held(&topic.name, state.epoch).filter(goes_on) {
        Some(held) => held.latest,
        None => {
            let spec = TopicSpec {
                retention_ms: None,
                retention_bytes: inner.settings.topic_bytes_max,
                cleanup: crate::topic::Cleanup::Delete,
                ..state.spec.clone()
            };
            inner.counters.begun.fetch_add(1, Relaxed);
            inner.store.begin(spec, state.epoch, begin.clone()).await?;
            begin
        }
    };
    let place = |(partition, from)| Place { topic: topic.name.clone(), partition, from };
    Ok((state.epoch, (0..).zip(from).map(place).collect()))
}

/// Leaves out what repeats an event of before the mirror's beginning; the store sees to the rest.
async fn hide(inner: &Inner, topic: &Topic, runs: &mut [Run]) -> Result<()> {
    let Some(held) = inner.held(&topic.name, topic.epoch()) else { return Ok(()) };
    for run in runs {
        let start = held.earliest.get(run.partition as usize).copied().unwrap_or(0);
        let is_before = |record: &&crate::record::Record| {
            hidden::looked_for_in(record).is_some_and(|range| range.start < start)
        };
        let early: Vec<_> = run.records.iter().filter(is_before).cloned().collect();
        if early.is_empty() {
            continue;
        }
        let span = Span { partition: run.partition, from: start, until: run.next };
        let hidden = hidden_in(&*inner.upstream, &run.topic, &early, span).await?;
        inner.counters.hidden.fetch_add(hidden.len() as u64, Relaxed);
        run.records.retain(|record| !hidden.contains(&record.offset));
    }
    Ok(())
}

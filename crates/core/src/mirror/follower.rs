//! Keeps the mirror up to date: one task, one tail for all topics that are wanted.
//!
//! ```text
//! turn   jobs that are done ─▶ taken over
//!        wanted and not followed ─▶ job: describe, compare what is held, go on there or begin anew ─▶ assign
//!        tick ─▶ jobs: describe all; unwanted for a while ─▶ let go; a new epoch ─▶ begin anew
//!        now and then ─▶ job: compare what is held; a loss ─▶ job: told to everybody ─▶ begin anew
//!        runs of the tail ─▶ store; what may repeat a record before the mirror ─▶ job: ask upstream, leave out, store
//! ```
//! Whatever asks upstream about one topic is a job beside the tail, one at a time for each topic: what goes wrong with a
//! topic is its own matter, and it is tried again while the others flow. When the tail fails all topics begin again from
//! where the store stands, or anew: the mirror is a copy. But what is held in an epoch is the proof of a loss upstream,
//! so it is compared before anything is begun anew in the same epoch.

use super::followed::{Followed, store, store_early};
use super::job::{Begun, Done, Failure, begin, look};
use super::log::Inner;
use super::losses;
use super::seam::{LOOKS_BACK, Place, Run, Tail};
use super::setbacks::Setbacks;
use super::topic::{Topic, distance};
use super::verify::Verdict;
use crate::hidden::{self, LeftOut};
use crate::topic::TopicName;
use crate::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// Pause after an error.
const RETRY: Duration = Duration::from_millis(200);
/// Most topics that are described for a tick at the same time.
const REFRESHES_MAX: usize = 32;

/// Follows for ever.
pub(super) async fn run(inner: &Inner) {
    let mut follower = Follower::new(inner);
    loop {
        if let Err(error) = follower.turn().await {
            follower.lose_tail(&error);
        }
    }
}

struct Follower<'a> {
    inner: &'a Inner,
    tail: Option<Box<dyn Tail>>,
    /// When a tail is opened again.
    tail_at: Instant,
    followed: BTreeMap<TopicName, Followed>,
    /// Begun, and not assigned yet.
    ready: BTreeMap<TopicName, Followed>,
    /// Other topics are assigned than followed.
    is_stale: bool,
    jobs: FuturesUnordered<BoxFuture<'a, (Arc<Topic>, Done)>>,
    /// Topics with a job.
    busy: BTreeSet<TopicName>,
    /// Not begun again before.
    pauses: BTreeMap<TopicName, Instant>,
    setbacks: Setbacks,
    /// Runs for which upstream has to be asked, of topics that are not followed meanwhile.
    early: BTreeMap<TopicName, (Followed, Vec<Run>)>,
    /// Still to be described for the last tick.
    due: VecDeque<Arc<Topic>>,
    refreshing: usize,
    /// Topics for which upstream did not answer when it was last asked.
    unanswered: BTreeSet<TopicName>,
    /// Topics whose tail brings another topic than upstream describes.
    mistaken: BTreeSet<TopicName>,
    next_tick: Instant,
}

impl<'a> Follower<'a> {
    fn new(inner: &'a Inner) -> Follower<'a> {
        let now = Instant::now();
        Follower {
            inner,
            tail: None,
            tail_at: now,
            followed: BTreeMap::new(),
            ready: BTreeMap::new(),
            is_stale: false,
            jobs: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            pauses: BTreeMap::new(),
            setbacks: Setbacks::default(),
            early: BTreeMap::new(),
            due: VecDeque::new(),
            refreshing: 0,
            unanswered: BTreeSet::new(),
            mistaken: BTreeSet::new(),
            next_tick: now,
        }
    }

    /// Fails when the tail did.
    async fn turn(&mut self) -> Result<()> {
        // Before the tail, which may have more at any time.
        while let Some(Some((topic, done))) = self.jobs.next().now_or_never() {
            self.finish(topic, done);
        }
        if Instant::now() >= self.next_tick {
            self.tick();
        }
        if self.tail.is_none() && Instant::now() >= self.tail_at {
            self.tail = Some(self.inner.upstream.tail()?);
        }
        self.choose();
        self.begin_jobs();
        self.assign().await?;
        let (inner, wake) = (self.inner, self.wake());
        tokio::select! {
            biased;
            runs = next_of(&mut self.tail), if !self.followed.is_empty() => self.take(runs?).await,
            Some((topic, done)) = self.jobs.next(), if !self.jobs.is_empty() => {
                self.finish(topic, done);
                Ok(())
            }
            () = inner.wanted.notified() => Ok(()),
            () = tokio::time::sleep_until(wake) => Ok(()),
        }
    }

    fn lose_tail(&mut self, error: &Error) {
        self.tail = None;
        self.tail_at = Instant::now() + RETRY;
        self.followed.clear();
        self.ready.clear();
        self.inner.counters.errors.fetch_add(1, Relaxed);
        self.inner.note(Some(error).filter(|error| error.kind() == ErrorKind::Unavailable));
        tracing::debug!(
            code = error.code(),
            "upstream is followed again from where the mirror stands: {error}"
        );
    }

    /// When there is something to do that nobody tells of.
    fn wake(&self) -> Instant {
        let idle = self.followed.values().filter(|followed| !self.busy.contains(&followed.topic.name));
        let looks = idle.map(|followed| followed.next_look);
        let tail = self.tail.is_none().then_some(self.tail_at);
        looks.chain(self.pauses.values().copied()).chain(tail).fold(self.next_tick, Instant::min)
    }

    /// Begins to ask what the topics are now.
    fn tick(&mut self) {
        self.next_tick = Instant::now() + self.inner.settings.refresh;
        if self.setbacks.are_over(Instant::now()) {
            self.inner.note_copy(None);
        }
        let topics = self.inner.topics();
        let (mut lag, mut held_back) = (0, 0);
        for topic in &topics {
            let state = topic.state().clone();
            held_back += state.held_back;
            if let Some(held) = self.inner.held(&topic.name, state.epoch).filter(|_| topic.is_hot()) {
                let behind = distance(&held.latest, &state.high);
                lag += behind;
                if behind == 0 {
                    topic.set_level(true);
                }
            }
        }
        self.inner.counters.lag.store(lag, Relaxed);
        self.inner.counters.held_back.store(held_back, Relaxed);
        self.unanswered.retain(|name| topics.iter().any(|topic| topic.name == *name));
        self.mistaken.retain(|name| topics.iter().any(|topic| topic.name == *name));
        // Those that wait since the last tick come first.
        if self.due.is_empty() {
            self.due = topics.into();
        }
    }

    /// Lets go what nobody wants, and begins what is wanted.
    fn choose(&mut self) {
        let now = Instant::now();
        self.pauses.retain(|_, until| *until > now);
        let begun = self.followed.values().chain(self.ready.values());
        let gone: Vec<TopicName> =
            begun.filter(|begun| begun.topic.is_gone()).map(|begun| begun.topic.name.clone()).collect();
        gone.iter().for_each(|name| self.let_go(name));
        for topic in self.inner.topics() {
            let name = &topic.name;
            if topic.is_gone() || !topic.is_wanted(self.inner.settings.idle) {
                if topic.is_hot() {
                    topic.set_hot(false);
                }
                self.let_go(name);
            } else if self.tail.is_some()
                && !self.is_begun(name)
                && !self.busy.contains(name)
                && !self.pauses.contains_key(name)
            {
                let (inner, own) = (self.inner, topic.clone());
                self.begin_job(topic, async move { Done::Begun(begin(inner, &own).await) });
            }
        }
    }

    /// The other jobs there are.
    fn begin_jobs(&mut self) {
        let (inner, now) = (self.inner, Instant::now());
        let idle: Vec<TopicName> =
            self.early.keys().filter(|name| !self.busy.contains(*name)).cloned().collect();
        for name in idle {
            let Some((mut followed, runs)) = self.early.remove(&name) else { continue };
            self.begin_job(followed.topic.clone(), async move {
                let stored = store_early(inner, &mut followed, runs).await;
                Done::Stored(followed, stored)
            });
        }
        let is_due = |f: &&Followed| f.next_look <= now && !self.busy.contains(&f.topic.name);
        let looks: Vec<Arc<Topic>> = self.followed.values().filter(is_due).map(|f| f.topic.clone()).collect();
        for topic in looks {
            let own = topic.clone();
            self.begin_job(topic, async move { Done::Looked(look(inner, &own).await) });
        }
        while self.refreshing < REFRESHES_MAX
            && let Some(topic) = self.due.pop_front()
        {
            // A job that is on its way asks, too.
            if !self.busy.contains(&topic.name) {
                self.refreshing += 1;
                let own = topic.clone();
                self.begin_job(topic, async move { Done::Refreshed(inner.renew(&own).await.map(drop)) });
            }
        }
    }

    fn begin_job(&mut self, topic: Arc<Topic>, job: impl Future<Output = Done> + Send + 'a) {
        self.busy.insert(topic.name.clone());
        self.jobs.push(job.map(move |done| (topic, done)).boxed());
    }

    fn finish(&mut self, topic: Arc<Topic>, done: Done) {
        let (name, now) = (topic.name.clone(), Instant::now());
        self.busy.remove(&name);
        match done {
            Done::Refreshed(refreshed) => {
                self.refreshing -= 1;
                self.heard(&name, refreshed.err());
            }
            Done::Begun(Ok(Begun::In { id, epoch, known_from })) => {
                self.heard(&name, None);
                let (next_look, left_out) = (now + self.inner.settings.verify, LeftOut::default());
                let followed = Followed { topic: topic.clone(), id, epoch, known_from, left_out, next_look };
                self.ready.insert(name.clone(), followed);
            }
            Done::Begun(Ok(Begun::Lost(loss))) | Done::Looked(Ok(Verdict::Lost(loss))) => {
                // The tail would fail at the place of what is lost, for all topics.
                self.let_go(&name);
                topic.set_hot(false);
                let (inner, own) = (self.inner, topic.clone());
                self.begin_job(topic.clone(), async move {
                    losses::tell(inner, &own, &loss).await;
                    Done::Told
                });
            }
            Done::Looked(Ok(verdict)) => {
                self.heard(&name, None);
                let early = self.early.get_mut(&name).map(|(followed, _)| followed);
                match self.followed.get_mut(&name).or(early) {
                    Some(followed) if matches!(verdict, Verdict::Same) => {
                        followed.next_look = now + self.inner.settings.verify;
                    }
                    _ => self.let_go(&name),
                }
            }
            Done::Looked(Err(Failure::Upstream(error))) => {
                if let Some(followed) = self.followed.get_mut(&name) {
                    followed.next_look = now + RETRY;
                }
                self.heard(&name, Some(error));
            }
            Done::Stored(followed, Ok(())) => drop(self.ready.insert(name.clone(), followed)),
            Done::Begun(Err(Failure::Upstream(error))) | Done::Stored(_, Err(Failure::Upstream(error))) => {
                self.pauses.insert(name.clone(), now + RETRY);
                self.heard(&name, Some(error));
            }
            Done::Begun(Err(Failure::Store(error)))
            | Done::Looked(Err(Failure::Store(error)))
            | Done::Stored(_, Err(Failure::Store(error))) => self.set_back(&topic, &error),
            Done::Told => {}
        }
        self.let_go_of_before(&topic);
    }

    /// The store failed. Nobody waits for what does not come from it meanwhile.
    fn set_back(&mut self, topic: &Topic, error: &Error) {
        self.inner.note_copy(Some((&topic.name, error)));
        self.let_go(&topic.name);
        topic.set_hot(false);
        let until = self.setbacks.note(&topic.name, error, Instant::now());
        self.pauses.insert(topic.name.clone(), until);
    }

    /// Another topic has the name. It is begun once that is described, which not every broker knows at once.
    fn mistake(&mut self, topic: &Topic) {
        self.inner.counters.errors.fetch_add(1, Relaxed);
        self.let_go(&topic.name);
        topic.set_hot(false);
        self.pauses.insert(topic.name.clone(), Instant::now() + RETRY);
        if self.mistaken.insert(topic.name.clone()) {
            tracing::warn!(topic = %topic.name, "records come of another topic of that name than the one that is described");
        }
    }

    /// What stands in another epoch than the topic is in now has ended, as a reader may have learnt first; and a store that
    /// does not have it any more has to be begun anew.
    fn let_go_of_before(&mut self, topic: &Topic) {
        let begun = self.followed.get(&topic.name).or_else(|| self.ready.get(&topic.name));
        let Some(epoch) = begun.map(|begun| begun.epoch) else { return };
        let is_over = topic.is_gone() || epoch != topic.epoch();
        if is_over {
            tracing::warn!(topic = %topic.name, "the topic was deleted, recreated, repartitioned or truncated: positions from before are void");
        }
        if is_over || self.inner.held(&topic.name, epoch).is_none() {
            self.let_go(&topic.name);
        }
    }

    /// Notes what upstream answered. It is away when it answers for no topic.
    fn heard(&mut self, name: &TopicName, error: Option<Error>) {
        match error {
            Some(error) if error.kind() == ErrorKind::Unavailable => {
                self.inner.counters.errors.fetch_add(1, Relaxed);
                tracing::debug!(topic = %name, code = error.code(), "upstream is asked for the topic again: {error}");
                self.unanswered.insert(name.clone());
                if self.inner.topics().iter().all(|topic| self.unanswered.contains(&topic.name)) {
                    self.inner.note(Some(&error));
                }
            }
            Some(error) if error.kind() != ErrorKind::NotFound => {
                self.inner.counters.errors.fetch_add(1, Relaxed);
                tracing::warn!(topic = %name, code = error.code(), "upstream does not let a topic be followed: {error}");
            }
            _ => {
                self.unanswered.remove(name);
                self.inner.note(None);
            }
        }
    }

    fn is_begun(&self, name: &TopicName) -> bool {
        self.followed.contains_key(name) || self.ready.contains_key(name) || self.early.contains_key(name)
    }

    fn let_go(&mut self, name: &TopicName) {
        self.is_stale |= self.followed.remove(name).is_some();
        self.ready.remove(name);
        self.early.remove(name);
    }

    /// Follows what is begun, from where the store stands.
    async fn assign(&mut self) -> Result<()> {
        let Some(tail) = self.tail.as_mut().filter(|_| self.is_stale || !self.ready.is_empty()) else {
            return Ok(());
        };
        self.is_stale = false;
        self.followed.append(&mut self.ready);
        let mut places = Vec::new();
        let inner = self.inner;
        self.followed.retain(|name, followed| {
            let Some(held) = inner.held(name, followed.epoch) else { return false };
            let place = |(partition, from)| Place { topic: name.clone(), partition, from };
            places.extend((0..).zip(held.latest).map(place));
            true
        });
        tail.assign(places).await?;
        for Followed { topic, .. } in self.followed.values() {
            topic.set_hot(true);
        }
        inner.counters.hot.store(self.followed.len() as u64, Relaxed);
        Ok(())
    }

    /// Stores what the tail brought.
    async fn take(&mut self, runs: Vec<Run>) -> Result<()> {
        let mut by_topic: BTreeMap<TopicName, Vec<Run>> = BTreeMap::new();
        for run in runs {
            by_topic.entry(run.topic.clone()).or_default().push(run);
        }
        for (name, runs) in by_topic {
            let Some(followed) = self.followed.get_mut(&name) else { continue };
            if runs.iter().any(|run| run.id != followed.id) {
                let topic = followed.topic.clone();
                self.mistake(&topic);
                continue;
            }
            self.mistaken.remove(&name);
            let mut records = runs.iter().flat_map(|run| &run.records);
            let looks_back = records.clone().any(|record| hidden::looked_for_in(record).is_some());
            let early = if looks_back && records.any(|record| followed.is_early(record)) {
                Some(runs)
            } else {
                // They may be needed once more.
                let kept = looks_back.then(|| runs.clone());
                match store(self.inner, followed, runs).await {
                    Ok(()) => None,
                    Err(error) if error.code() == LOOKS_BACK => kept,
                    Err(error) => {
                        let topic = followed.topic.clone();
                        self.set_back(&topic, &error);
                        None
                    }
                }
            };
            if let Some(runs) = early {
                self.is_stale = true;
                self.early.extend(self.followed.remove(&name).map(|followed| (name, (followed, runs))));
            }
        }
        Ok(())
    }
}

async fn next_of(tail: &mut Option<Box<dyn Tail>>) -> Result<Vec<Run>> {
    match tail {
        Some(tail) => tail.next().await,
        None => std::future::pending().await,
    }
}

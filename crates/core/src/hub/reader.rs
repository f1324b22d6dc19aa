//! One topic of one subscription: a cursor, and how it moves.
//!
//! ```text
//!            ┌──────────────── life ended, or overrun ────────────────┐
//!            ▼                                                        │
//! Join ── take (h, V(h)) ──▶ CatchUp ── read the log up to V(h) ──▶ Follow ── entries of the ring after h
//!            ▲                  │ Gone: what is lost is said once, then on from the end (or the start)
//!            └──────────────────┘
//! ```
//! Exactness rests on two rules. Catch-up reads exactly up to V(h) and the ring goes on exactly after it; and nothing
//! is delivered whose offset lies below the own cursor, which moves with every entry.

use super::Settings;
use super::entry::Entry;
use super::feed::RETRY;
use super::pages::Part;
use super::request::OnUnrecoverable;
use super::ring::{Ring, Take};
use super::seen::Seen;
use super::shared::Shared;
use super::vector::{advance_one, is_ahead, offset_in, out_of_bounds, shaped, spans_to};
use super::wake::Key;
use crate::filter::Filter;
use crate::log::{Bounds, Gap, Read};
use crate::partitioner::partition_of;
use crate::position::{Cursor, Next, Position};
use crate::sync::{Mutex, MutexGuard};
use crate::topic::{Epoch, TopicName};
use crate::{ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most records of one catch-up page.
const PAGE_RECORDS_MAX: usize = 512;

/// What a subscription wants of one topic.
#[derive(Clone, Debug)]
pub(super) struct Interest {
    pub topic: TopicName,
    pub filter: Filter,
    /// The source id when a single channel is wanted: then one partition matters.
    pub single: Option<String>,
}

/// Where a reader stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub epoch: Epoch,
    pub next: Next,
    /// Why what was asked for cannot be had, if so; not told yet.
    pub lost: Option<&'static str>,
}

/// The cursor of a subscription in one topic.
pub(super) struct Reader {
    shared: Arc<Shared>,
    ring: Arc<Ring>,
    id: u64,
    keys: Vec<Key>,
    interest: Interest,
    place: Place,
    stage: Stage,
    /// Index and cursor that a token was made of, further on than the place: the next step begins there. Whoever holds
    /// a token is never told that something before it is lost.
    told: Mutex<Option<(u64, Next)>>,
    policy: OnUnrecoverable,
    pause: Option<Instant>,
    closed: bool,
    /// The last step took all there was: until the waker is woken there is no more.
    is_level: bool,
    /// Positions the bus announced before the ring got there (live subscriptions).
    seen: BTreeMap<u32, Seen>,
}

enum Stage {
    Join,
    CatchUp { life: u64, head: u64, until: Vec<u64> },
    Follow { life: u64, index: u64 },
}

/// What a reader yields; tokens are of its topic alone.
pub(super) enum Out {
    Entry { entry: Arc<Entry>, token: Arc<str> },
    Unrecoverable { reason: &'static str, token: Arc<str> },
}

impl Out {
    /// About how many bytes it took of what was asked for.
    pub(super) fn size(&self) -> usize {
        match self {
            Out::Entry { entry, .. } => entry.size(),
            Out::Unrecoverable { .. } => 0,
        }
    }
}

/// What to do next.
pub(super) enum Step {
    /// Hand these over.
    Out(Vec<Out>),
    /// Read this and give the page to [`Reader::finish`].
    Read(Read),
    /// Come back then.
    Pause(Instant),
    /// Nothing until the waker is woken.
    Level,
}

impl Interest {
    /// The cursor at `vector` in the shape this interest needs.
    pub(super) fn at(&self, vector: Vec<u64>) -> Next {
        match &self.single {
            None => Next::All(vector),
            Some(source_id) => {
                let partition = partition_of(source_id.as_bytes(), vector.len() as u32);
                shaped(&Next::One { partition, offset: 0 }, vector)
            }
        }
    }

    fn keys(&self) -> Vec<Key> {
        match &self.filter {
            Filter::All => vec![Key::Prefix(Box::default())],
            Filter::Sources { exact, prefixes } => {
                let exact = exact.iter().map(|e| Key::Exact(e.as_bytes().into()));
                exact.chain(prefixes.iter().map(|p| Key::Prefix(p.as_bytes().into()))).collect()
            }
        }
    }
}

impl Reader {
    /// Registers in the topic's ring; reading begins with the first [`Reader::step`].
    pub(super) fn new(
        shared: &Arc<Shared>,
        id: u64,
        waker: &Arc<Notify>,
        interest: Interest,
        place: Place,
        policy: OnUnrecoverable,
    ) -> Reader {
        let (ring, keys) = (shared.ring(&interest.topic), interest.keys());
        ring.join(id, &keys, waker);
        let (shared, seen, stage, told) = (shared.clone(), BTreeMap::new(), Stage::Join, Mutex::default());
        let (pause, closed, is_level) = (None, false, false);
        Reader { shared, ring, id, keys, interest, place, stage, told, policy, pause, closed, is_level, seen }
    }

    /// Ended by [`OnUnrecoverable::Close`].
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    pub(super) fn topic(&self) -> &TopicName {
        &self.interest.topic
    }

    /// Oldest and newest cursor there is now.
    pub(super) fn ends(&self) -> (Cursor, Cursor) {
        let epoch = self.place.epoch;
        match self.shared.log.bounds(self.topic()) {
            Ok(Bounds { epoch, earliest, latest }) => {
                let at = |vector| Cursor { epoch, next: self.interest.at(vector) };
                (at(earliest), at(latest))
            }
            Err(_) => {
                let own = Cursor { epoch, next: self.place.next.clone() };
                (own.clone(), own)
            }
        }
    }

    /// Token of where it stands, moved up to the end of the ring when it wants nothing before it.
    pub(super) fn token(&self) -> Arc<str> {
        let Stage::Follow { life, index } = self.stage else { return self.own_token() };
        let mut told = self.told();
        let (index, mut next) = told.take().unwrap_or_else(|| (index, self.place.next.clone()));
        let level = self.ring.level(&self.keys, life, index, &mut next);
        *told = Some((level.as_ref().map_or(index, |level| level.index), next.clone()));
        drop(told);
        if let Some(token) = level.and_then(|level| level.token) {
            return token;
        }
        Cursor { epoch: self.place.epoch, next }.token()
    }

    fn told(&self) -> MutexGuard<'_, Option<(u64, Next)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on_as_told(&mut self) {
        let told = self.told().take();
        if let (Some((index, next)), Stage::Follow { life, .. }) = (told, &self.stage) {
            self.stage = Stage::Follow { life: *life, index };
            self.place.next = next;
        }
    }

    /// Whether the last [`Reader::step`] took all there was.
    pub(super) fn is_level(&self) -> bool {
        self.is_level
    }

    /// Moves as far as it can without waiting.
    pub(super) fn step(&mut self, bytes_max: usize) -> Step {
        self.is_level = false;
        if let Some(at) = self.pause.take_if(|at| *at > Instant::now()) {
            self.pause = Some(at);
            return Step::Pause(at);
        }
        self.pause = None;
        self.go_on_as_told();
        loop {
            if let Some(reason) = self.place.lost {
                return self.give_up(reason);
            }
            let done = match &self.stage {
                Stage::Join => self.join(),
                Stage::CatchUp { .. } => self.catch_up(bytes_max),
                Stage::Follow { life, index } => self.follow(*life, *index, bytes_max),
            };
            if let Some(step) = done {
                return step;
            }
        }
    }

    /// Takes (h, V(h)).
    fn join(&mut self) -> Option<Step> {
        let Some(head) = self.ring.head() else { return Some(Step::Level) };
        if head.epoch != self.place.epoch {
            // The ring may know of a new epoch before this cursor does, or be about to learn of it.
            self.place.lost = self.out_of_bounds();
            return self.place.lost.is_none().then_some(Step::Level);
        }
        self.stage = Stage::CatchUp { life: head.life, head: head.index, until: head.vector };
        None
    }

    fn catch_up(&mut self, bytes_max: usize) -> Option<Step> {
        let Stage::CatchUp { life, head, until } = &self.stage else { return None };
        let spans = spans_to(&self.place.next, until);
        if spans.is_empty() {
            self.stage = Stage::Follow { life: *life, index: *head };
            return None;
        }
        let Settings { page_bytes_max, .. } = self.shared.settings;
        Some(Step::Read(Read {
            topic: self.topic().clone(),
            epoch: self.place.epoch,
            spans,
            filter: self.interest.filter.clone(),
            records_max: PAGE_RECORDS_MAX,
            bytes_max: bytes_max.clamp(1, page_bytes_max.max(1)),
            reverse: false,
        }))
    }

    fn follow(&mut self, life: u64, index: u64, bytes_max: usize) -> Option<Step> {
        let before = self.place.next.clone();
        match self.ring.take(&self.keys, life, index, &mut self.place.next, bytes_max.max(1)) {
            Take::Behind => {
                self.shared.counters.ring_overruns.fetch_add(1, Relaxed);
                self.stage = Stage::Join;
                None
            }
            Take::Picks { picks, index, is_level } => {
                self.stage = Stage::Follow { life, index };
                self.is_level = is_level;
                match picks.is_empty() {
                    true => Some(Step::Level),
                    false => Some(Step::Out(self.picked(before, picks))),
                }
            }
        }
    }

    /// The shared token of an entry is V there; a cursor that began past V in some partition has its own.
    fn picked(&self, mut own: Next, picks: Vec<super::ring::Pick>) -> Vec<Out> {
        let ahead = picks.first().is_some_and(|first| is_ahead(&own, &first.vector()));
        let out = |pick: super::ring::Pick| {
            let Position { partition, offset, epoch } = pick.entry.position;
            let token = match &self.place.next {
                Next::One { .. } => pick.entry.token_one(),
                Next::All(_) if !ahead => pick.token(),
                Next::All(_) => {
                    advance_one(&mut own, partition, offset + 1);
                    Cursor { epoch, next: own.clone() }.token()
                }
            };
            Out::Entry { entry: pick.entry, token }
        };
        picks.into_iter().map(out).collect()
    }

    /// Takes the part of a page of a [`Step::Read`].
    pub(super) fn finish(&mut self, read: &Read, part: Result<Part>) -> Vec<Out> {
        self.shared.counters.catch_up_reads.fetch_add(1, Relaxed);
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                let gone = matches!(error.kind(), ErrorKind::Gone | ErrorKind::Invalid | ErrorKind::NotFound);
                self.place.lost = if gone { self.out_of_bounds() } else { None };
                if self.place.lost.is_none() {
                    self.pause = Some(Instant::now() + RETRY);
                }
                self.stage = Stage::Join;
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(part.entries.len());
        let mut gaps = part.gaps.iter().peekable();
        for (at, entry) in part.entries.into_iter().enumerate() {
            while let Some(gap) = gaps.next_if(|g| g.after <= at) {
                self.damage(gap, &mut out);
            }
            if self.closed {
                return out;
            }
            let Position { partition, offset, .. } = entry.position;
            advance_one(&mut self.place.next, partition, offset + 1);
            let token = match &self.place.next {
                Next::One { .. } => entry.token_one(),
                Next::All(_) => self.own_token(),
            };
            out.push(Out::Entry { entry, token });
        }
        gaps.for_each(|gap| self.damage(gap, &mut out));
        for (span, next) in read.spans.iter().zip(part.next) {
            advance_one(&mut self.place.next, span.partition, next);
        }
        out
    }

    fn damage(&mut self, gap: &Gap, out: &mut Vec<Out>) {
        if offset_in(&self.place.next, gap.partition) == u64::MAX || self.closed {
            return;
        }
        advance_one(&mut self.place.next, gap.partition, gap.until);
        self.closed = self.policy == OnUnrecoverable::Close;
        out.push(Out::Unrecoverable { reason: "damage", token: self.own_token() });
    }

    /// Says once what is lost and goes on as the policy wants.
    fn give_up(&mut self, reason: &'static str) -> Step {
        let Ok(bounds) = self.shared.log.bounds(self.topic()) else {
            let at = Instant::now() + RETRY;
            self.pause = Some(at);
            return Step::Pause(at);
        };
        self.place.next = match self.policy {
            OnUnrecoverable::Latest | OnUnrecoverable::Close => self.interest.at(bounds.latest),
            OnUnrecoverable::Earliest if reason == "retention" && bounds.epoch == self.place.epoch => {
                let mut next = self.place.next.clone();
                super::vector::advance(&mut next, &bounds.earliest);
                next
            }
            OnUnrecoverable::Earliest => self.interest.at(bounds.earliest),
        };
        self.place.epoch = bounds.epoch;
        self.place.lost = None;
        self.stage = Stage::Join;
        self.seen.clear();
        self.closed = self.policy == OnUnrecoverable::Close;
        Step::Out(vec![Out::Unrecoverable { reason, token: self.own_token() }])
    }

    fn own_token(&self) -> Arc<str> {
        Cursor { epoch: self.place.epoch, next: self.place.next.clone() }.token()
    }

    fn out_of_bounds(&self) -> Option<&'static str> {
        let bounds = self.shared.log.bounds(self.topic()).ok()?;
        match bounds.epoch == self.place.epoch {
            true => out_of_bounds(&self.place.next, &bounds),
            false => Some("epoch"),
        }
    }

    /// Live: whether an announcement of the bus is news. One that lies far ahead is not taken: the ring brings it.
    pub(super) fn announced(&mut self, position: Position) -> bool {
        let floor = offset_in(&self.place.next, position.partition);
        let known = position.epoch == self.place.epoch && floor != u64::MAX && self.place.lost.is_none();
        known && self.seen.entry(position.partition).or_default().pass(floor, position.offset)
    }

    /// Live: whether the bus announced it already.
    pub(super) fn was_announced(&self, position: Position) -> bool {
        self.seen.get(&position.partition).is_some_and(|seen| seen.has(position.offset))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ring.leave(self.id, &self.keys);
        self.ring.usage.leave();
    }
}

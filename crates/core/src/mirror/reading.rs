//! One read: what the mirror holds comes from it, the rest through ranges.
//!
//! ```text
//! offsets of a partition   earliest ...... begin ............ end ...... latest
//!                             └── older ──┘└──── stored ─────┘└─ newer ─┘
//! ```
//! A page takes one of the three, for all spans at once: forwards the oldest there is, newest first the newest. So the
//! records of a partition come in order, and those of several as near to their times as can be.

use super::log::Inner;
use super::merge::{self, Piece};
use super::ranges::{CHUNK_OFFSETS, first_of};
use super::topic::Topic;
use crate::filter::Filter;
use crate::log::{Bounds, Page, Read, Span};
use crate::topic::{Epoch, TopicName};
use crate::{Error, ErrorKind, Result};
use futures::future::try_join_all;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// Bytes that a piece read newest first holds; what is before them comes with the next page.
const PIECE_BYTES_MAX: usize = 8 << 20;

impl Inner {
    /// See [`crate::log::Log::read`].
    pub async fn read_page(&self, read: &Read) -> Result<Page> {
        let topic = self.topic(&read.topic)?;
        self.want(&topic);
        let bounds = self.visible(&topic, read).await?;
        check_spans(read, &bounds)?;
        let held = self.held(&read.topic, bounds.epoch);
        let places = |held: Option<&Bounds>| -> Vec<Place> {
            read.spans.iter().map(|span| Place::of(span, read.reverse, &bounds, held)).collect()
        };
        let page = match self.read_first(read, &bounds, &places(held.as_ref())).await {
            // The mirror is a copy: what it has lost, or gave up a moment ago, is upstream.
            Ok(None) => self.read_first(read, &bounds, &places(None)).await?.unwrap_or_default(),
            Err(error) if error.code() == "epoch_changed" => {
                // Who is told so asks what the epoch is now.
                self.renewal(&topic).await?;
                return Err(error);
            }
            page => page?.unwrap_or_default(),
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

    /// A page of the places that come first; `None` when the mirror does not have what it said.
    async fn read_first(&self, read: &Read, bounds: &Bounds, places: &[Place]) -> Result<Option<Page>> {
        let order = match read.reverse {
            false => [Class::Older, Class::Stored, Class::Newer],
            true => [Class::Newer, Class::Stored, Class::Older],
        };
        let first = order.into_iter().find(|class| places.iter().any(|place| place.class == *class));
        match first {
            Some(Class::Stored) => self.read_store(read, places).await,
            Some(class) => self.read_ranges(read, bounds, places, class).await.map(Some),
            None => {
                let next = read.spans.iter().zip(places).map(|(span, place)| place.stays(span, read.reverse));
                Ok(Some(Page { next: next.collect(), ..Page::default() }))
            }
        }
    }

    /// The bounds, once no span begins past them; waits a while for what is on its way.
    async fn visible(&self, topic: &Arc<Topic>, read: &Read) -> Result<Bounds> {
        let deadline = Instant::now() + self.settings.visible_max;
        let is_there = |bounds: &Bounds| {
            let from = |span: &Span| if read.reverse { 0 } else { span.from };
            let mut spans = read.spans.iter();
            spans.all(|s| bounds.latest.get(s.partition as usize).is_none_or(|end| from(s) <= *end))
        };
        let mut has_asked = false;
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let bounds = self.bounds_of(topic);
            if bounds.epoch == read.epoch && is_there(&bounds) {
                return Ok(bounds);
            }
            // Another node may know of a later epoch, or have read further.
            if !has_asked {
                let answer = tokio::time::timeout_at(deadline, self.renewal(topic)).await;
                answer.unwrap_or_else(|_| Err(not_yet_visible()))?;
                has_asked = true;
                continue;
            }
            if bounds.epoch != read.epoch {
                return Err(epoch_changed());
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

    async fn read_store(&self, read: &Read, places: &[Place]) -> Result<Option<Page>> {
        let stored = |(i, place): (usize, &Place)| (place.class == Class::Stored).then_some((i, place.part));
        let asked: Vec<(usize, Span)> = places.iter().enumerate().filter_map(stored).collect();
        let inner = Read { spans: asked.iter().map(|(_, span)| *span).collect(), ..read.clone() };
        let page = match self.store.read(inner).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(topic = %read.topic, code = error.code(), "not from the mirror: {error}");
                return Ok(None);
            }
        };
        if !page.gaps.is_empty() {
            tracing::warn!(topic = %read.topic, "the mirror is damaged, and begins anew");
            self.store.forget(&read.topic).await?;
            return Ok(None);
        }
        let stays = |(span, place): (_, &Place)| place.stays(span, read.reverse);
        let mut next: Vec<u64> = read.spans.iter().zip(places).map(stays).collect();
        asked.iter().zip(&page.next).for_each(|((i, _), &at)| next[*i] = at);
        Ok(Some(Page { next, ..page }))
    }

    async fn read_ranges(
        &self,
        read: &Read,
        bounds: &Bounds,
        places: &[Place],
        class: Class,
    ) -> Result<Page> {
        let pieces = read.spans.iter().zip(places).map(|(span, place)| async move {
            match place.class == class {
                true => self.piece(read, bounds, place.part).await,
                false => Ok(Some(Piece::none(place.stays(span, read.reverse)))),
            }
        });
        let pieces = try_join_all(pieces).await?;
        let is_asked = |place: &Place| place.class == class;
        let mut asked = pieces.iter().zip(places).filter(|(_, place)| is_asked(place));
        if asked.all(|(piece, _)| piece.is_none()) {
            return Err(not_yet_visible());
        }
        let stays = |(piece, (span, place)): (Option<Piece>, (&Span, &Place))| {
            piece.unwrap_or_else(|| Piece::none(place.stays(span, read.reverse)))
        };
        let pieces: Vec<Piece> = pieces.into_iter().zip(read.spans.iter().zip(places)).map(stays).collect();
        Ok(merge::page(read, &pieces))
    }

    /// The chunk a span begins in; newest first, what is in the offsets of the chunk it ends in. `None` when nothing of it
    /// can be seen yet.
    async fn piece(&self, read: &Read, bounds: &Bounds, part: Span) -> Result<Option<Piece>> {
        let of = |offsets: &[u64]| offsets.get(part.partition as usize).copied().unwrap_or(0);
        let ends = (of(&bounds.earliest), of(&bounds.latest));
        let id = self.identity(&read.topic, bounds.epoch)?;
        let chunk = |at: u64| self.ranges.chunk((&read.topic, id), bounds.epoch, part.partition, at, ends);
        if !read.reverse {
            let run = chunk(part.from).await?;
            if run.next <= part.from {
                return Ok(None);
            }
            let end = run.next.min(part.until);
            return Ok(Some(Piece { begin: part.from, end, is_whole: end == part.until, runs: vec![run] }));
        }
        let last = part.until - 1;
        let mut end = part.from.max(last - last % CHUNK_OFFSETS);
        let (mut at, mut runs, mut bytes) = (end, Vec::new(), 0);
        while at < part.until {
            let run = chunk(at).await?;
            if run.next <= at {
                return Ok(None);
            }
            bytes += run.weight();
            runs.push((at, run.clone()));
            at = run.next;
            while bytes > PIECE_BYTES_MAX && runs.len() > 1 {
                bytes -= runs.remove(0).1.weight();
                end = runs[0].0;
            }
        }
        let runs: Vec<Arc<_>> = runs.into_iter().map(|(_, run)| run).collect();
        Ok(Some(Piece { begin: part.until, end, is_whole: end == part.from, runs }))
    }

    /// Which topic has the name in an epoch.
    fn identity(&self, topic: &TopicName, epoch: Epoch) -> Result<u128> {
        let topic = self.topic(topic)?;
        let state = topic.state();
        if state.epoch == epoch { Ok(state.id) } else { Err(epoch_changed()) }
    }

    /// A single record that is not there may be hidden: then its position stands for the first of its kind.
    async fn alias(&self, read: &Read, span: Span, page: Page) -> Result<Page> {
        let id = self.identity(&read.topic, read.epoch)?;
        let record = first_of(&*self.upstream, (&read.topic, id), span.partition, span.from).await?;
        Ok(Page { records: record.into_iter().collect(), ..page })
    }
}

/// What of a span is read next, and where.
struct Place {
    class: Class,
    part: Span,
}

/// Where records are, as the mirror sees them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Upstream, before what it holds.
    Older,
    /// In it.
    Stored,
    /// Upstream, behind what it holds.
    Newer,
    /// Not there (yet).
    Nowhere,
}

impl Place {
    fn of(span: &Span, reverse: bool, bounds: &Bounds, held: Option<&Bounds>) -> Place {
        let p = span.partition as usize;
        let at = |vector: &[u64]| vector.get(p).copied().unwrap_or(0);
        let until = span.until.min(at(&bounds.latest));
        let (begin, end) = held.map_or((until, until), |held| (at(&held.earliest), at(&held.latest)));
        let (class, from, until) = match reverse {
            _ if span.from >= until => (Class::Nowhere, span.from, span.from),
            false if span.from < begin => (Class::Older, span.from, until.min(begin)),
            false if span.from < end => (Class::Stored, span.from, until.min(end)),
            false => (Class::Newer, span.from, until),
            true if until > end => (Class::Newer, span.from.max(end), until),
            true if until > begin => (Class::Stored, span.from.max(begin), until),
            true => (Class::Older, span.from, until),
        };
        Place { class, part: Span { partition: span.partition, from, until } }
    }

    /// Where a span goes on of which nothing is read now.
    fn stays(&self, span: &Span, reverse: bool) -> u64 {
        match reverse && self.class != Class::Nowhere {
            true => span.until,
            false => span.from,
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

pub(super) fn epoch_changed() -> Error {
    let message = "the topic was recreated, repartitioned or truncated since: positions from before are void";
    Error::new(ErrorKind::Gone, "epoch_changed", message)
}

pub(super) fn not_yet_visible() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "not_yet_visible",
        "the record is stored, but cannot be read yet: an open transaction may hold it back, or the mirror is behind",
    )
}

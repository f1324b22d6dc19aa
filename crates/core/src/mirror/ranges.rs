//! What the mirror does not hold: read from upstream in aligned chunks, once for all who want them, and kept a while.
//!
//! ```text
//! offsets   0 ........ 1024 ........ 2048          a chunk begins at a multiple of CHUNK_OFFSETS,
//!           [ chunk  ][ ch ][ rest  ][             or where the bytes of the one before it ended
//! ```
//! A chunk is what is committed there, without what is hidden ([`crate::hidden`]); it never changes while its topic keeps
//! its epoch, so it may be kept. Whether its offsets are still above the start of the partition is for the reader to know.

use super::counters::Counters;
use super::reading::epoch_changed;
use super::seam::{Run, Upstream};
use crate::log::Span;
use crate::record::Record;
use crate::topic::{Epoch, TopicName};
use crate::{Result, hidden, identity};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Offsets of one chunk, and its alignment.
pub(super) const CHUNK_OFFSETS: u64 = 1024;
/// A chunk ends once it passes this many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks that were read, and those being read.
pub(super) struct Ranges {
    upstream: Arc<dyn Upstream>,
    counters: Arc<Counters>,
    bytes_max: usize,
    kept: Mutex<Kept>,
}

/// A topic by its name and its identity.
pub(super) type Which<'a> = (&'a TopicName, u128);

/// Topic, epoch, partition, first offset.
type Key = (TopicName, Epoch, u32, u64);
type Chunking = BoxFuture<'static, Result<Arc<Run>>>;

#[derive(Default)]
struct Kept {
    chunks: BTreeMap<Key, Chunk>,
    /// What somebody reads now; those whose readers all went away are dropped with them.
    reading: BTreeMap<Key, WeakShared<Chunking>>,
    bytes: usize,
    uses: u64,
}

struct Chunk {
    run: Arc<Run>,
    bytes: usize,
    /// When it was used last, in uses.
    used: u64,
}

impl Ranges {
    pub fn new(upstream: Arc<dyn Upstream>, counters: Arc<Counters>, bytes_max: usize) -> Ranges {
        Ranges { upstream, counters, bytes_max, kept: Mutex::default() }
    }

    /// The chunk that holds offset `at` of a partition that goes from `start` to `end`. Its `next` is past `at`, and at most `end`.
    ///
    /// # Errors
    /// As [`Upstream::fetch`]; `Gone` (`epoch_changed`) when another topic has the name.
    pub async fn chunk(
        &self,
        (topic, id): Which<'_>,
        epoch: Epoch,
        partition: u32,
        at: u64,
        (mut start, end): (u64, u64),
    ) -> Result<Arc<Run>> {
        loop {
            let (key, reading) = {
                let mut kept = self.kept();
                let from = match kept.find(topic, epoch, partition, at, start) {
                    Ok(run) => {
                        self.counters.range_hits.fetch_add(1, Relaxed);
                        return Ok(run);
                    }
                    Err(from) => from,
                };
                let key = (topic.clone(), epoch, partition, from);
                let until = (from / CHUNK_OFFSETS + 1).saturating_mul(CHUNK_OFFSETS).min(end);
                let known = kept.reading.get(&key).and_then(WeakShared::upgrade);
                let reading: Shared<Chunking> = known.unwrap_or_else(|| {
                    self.counters.range_reads.fetch_add(1, Relaxed);
                    let (upstream, topic) = (self.upstream.clone(), topic.clone());
                    let span = Span { partition, from, until };
                    async move { read(&*upstream, (&topic, id), span).await.map(Arc::new) }.boxed().shared()
                });
                kept.reading.retain(|_, reading| reading.upgrade().is_some());
                kept.reading.extend(reading.downgrade().map(|weak| (key.clone(), weak)));
                (key, reading)
            };
            let read = reading.await;
            let mut kept = self.kept();
            let is_first = kept.reading.remove(&key).is_some();
            let run = match read {
                // Retention passed where the chunk begins: the rest of it is there.
                Err(error) if error.code() == "position_unrecoverable" && key.3 < at => {
                    start = at;
                    continue;
                }
                run => run?,
            };
            if is_first && run.next > key.3 {
                kept.keep(key.clone(), run.clone(), self.bytes_max);
            }
            drop(kept);
            // Nothing there although something was said to be: it may come, but not from here.
            let is_stuck = run.next <= key.3;
            if run.next > at || is_stuck {
                return Ok(run);
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The chunk that holds `at`, or where the one that would is to begin.
    fn find(
        &mut self,
        topic: &TopicName,
        epoch: Epoch,
        partition: u32,
        at: u64,
        start: u64,
    ) -> Result<Arc<Run>, u64> {
        let begin = start.max(at - at % CHUNK_OFFSETS).min(at);
        let key = |offset| (topic.clone(), epoch, partition, offset);
        self.uses += 1;
        let uses = self.uses;
        let Some((_, chunk)) = self.chunks.range_mut(key(begin)..=key(at)).next_back() else {
            return Err(begin);
        };
        if chunk.run.next <= at {
            // Straight there, not through all that lies between.
            return Err(at);
        }
        chunk.used = uses;
        Ok(chunk.run.clone())
    }

    fn keep(&mut self, key: Key, run: Arc<Run>, bytes_max: usize) {
        let bytes = size_of::<Chunk>() + run.weight();
        let used = self.uses;
        if let Some(before) = self.chunks.insert(key, Chunk { run, bytes, used }) {
            self.bytes -= before.bytes;
        }
        self.bytes += bytes;
        while self.bytes > bytes_max && self.chunks.len() > 1 {
            let oldest = self.chunks.iter().min_by_key(|(_, chunk)| chunk.used).map(|(key, _)| key.clone());
            let Some(chunk) = oldest.and_then(|key| self.chunks.remove(&key)) else { return };
            self.bytes -= chunk.bytes;
        }
    }
}

/// Reads a chunk and leaves out what is hidden.
async fn read(upstream: &dyn Upstream, topic: Which<'_>, span: Span) -> Result<Run> {
    let mut run = fetch(upstream, topic, span).await?;
    let hidden = hidden_in(upstream, topic, &run.records, span).await?;
    run.records.retain(|record| !hidden.contains(&record.offset));
    Ok(run)
}

/// What is fetched of a topic, and of no other that has its name.
async fn fetch(upstream: &dyn Upstream, (topic, id): Which<'_>, span: Span) -> Result<Run> {
    let run = upstream.fetch(topic, span, CHUNK_BYTES).await?;
    let says_nothing = run.records.is_empty() && run.next <= span.from;
    if run.id == id || says_nothing { Ok(run) } else { Err(epoch_changed()) }
}

/// Offsets of the records that are hidden by others before them, which are looked for upstream where they are not among
/// `records`.
///
/// # Errors
/// As [`Upstream::fetch`].
pub(super) async fn hidden_in(
    upstream: &dyn Upstream,
    topic: Which<'_>,
    records: &[Record],
    span: Span,
) -> Result<Vec<u64>> {
    let ranges: Vec<(usize, Range<u64>)> = records
        .iter()
        .enumerate()
        .filter_map(|(i, record)| Some((i, hidden::looked_for_in(record)?)))
        .collect();
    let Some(lowest) = ranges.iter().map(|(_, range)| range.start).min() else { return Ok(Vec::new()) };
    let wanted: HashSet<u64> = ranges.iter().filter_map(|(i, _)| identity::of_record(&records[*i])).collect();
    let is_wanted = |record: &Record| identity::of_record(record).is_some_and(|hash| wanted.contains(&hash));
    let before = match lowest < span.from {
        true => {
            fetch_those(upstream, topic, Span { from: lowest, until: span.from, ..span }, is_wanted).await?
        }
        false => Vec::new(),
    };
    let mut places: HashMap<u64, Vec<&Record>> = HashMap::new();
    for record in before.iter().chain(records) {
        if let Some(hash) = identity::of_record(record).filter(|hash| wanted.contains(hash)) {
            places.entry(hash).or_default().push(record);
        }
    }
    let is_hidden = |(i, range): &(usize, Range<u64>)| {
        let record = &records[*i];
        let same = identity::of_record(record).and_then(|hash| places.get(&hash));
        let stands =
            |earlier: &&&Record| range.contains(&earlier.offset) && identity::is_same_event(earlier, record);
        same.is_some_and(|same| same.iter().find(stands).is_some()).then_some(record.offset)
    };
    Ok(ranges.iter().filter_map(is_hidden).collect())
}

/// The record that a hidden one repeats: what its position is an alias of.
///
/// # Errors
/// As [`Upstream::fetch`].
pub(super) async fn first_of(
    upstream: &dyn Upstream,
    topic: Which<'_>,
    partition: u32,
    offset: u64,
) -> Result<Option<Record>> {
    let span = Span { partition, from: offset, until: offset + 1 };
    let mut own = fetch_those(upstream, topic, span, |_| true).await?;
    let Some(record) = own.pop() else { return Ok(None) };
    let Some(range) = hidden::looked_for_in(&record) else { return Ok(Some(record)) };
    let span = Span { partition, from: range.start, until: range.end };
    let is_same = |earlier: &Record| identity::is_same_event(earlier, &record);
    let before = fetch_those(upstream, topic, span, is_same).await?;
    Ok(Some(before.into_iter().next().unwrap_or(record)))
}

/// Records of a span that are wanted, as they stand upstream. What retention took from its front is left out.
async fn fetch_those(
    upstream: &dyn Upstream,
    topic: Which<'_>,
    mut span: Span,
    is_wanted: impl Fn(&Record) -> bool,
) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while span.from < span.until {
        match fetch(upstream, topic, span).await {
            Ok(run) if run.next > span.from => {
                span.from = run.next;
                records.extend(run.records.into_iter().filter(&is_wanted));
            }
            Ok(_) => break,
            Err(error) if error.code() == "position_unrecoverable" => {
                let start = upstream.describe(topic.0).await?.earliest;
                let start = start.get(span.partition as usize).copied().unwrap_or(u64::MAX);
                if start <= span.from {
                    return Err(error);
                }
                span.from = start;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

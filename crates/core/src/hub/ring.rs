//! The recent entries of one topic, all partitions merged in log order, shared by all its subscribers on this node.
//!
//! ```text
//! chunks   [first 40, start V | step step step …] [first 296, start V' | step …]   head 310, V(310)
//! step     partition, offset, and the entry if somebody wanted it when it came
//! ```
//! Index *i* is a place in the topic's one order; the vector V(i) (start of the chunk, steps up to i applied) is the
//! cursor after it. A *life* of the ring is a run without a break; it ends when the epoch changes or the log was in
//! doubt, and then every subscription goes back to the log.
//!
//! It holds nothing anybody needs to be correct: it is a cache of the log's tail, bounded in bytes.

use super::account::Meter;
use super::counters::Counters;
use super::entry::Entry;
use super::pages::Pages;
use super::usage::Usage;
use super::vector::{advance, is_ahead, offset_in};
use super::wake::{Key, WakeMap, Wakers};
use crate::filter::source_of;
use crate::log::Page;
use crate::position::{Cursor, Next, Position};
use crate::record::{Headers, Record};
use crate::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::topic::{Epoch, TopicName};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

/// Most steps of a chunk: finding V(i) walks at most so many.
const CHUNK_STEPS_MAX: usize = 256;
/// What a step costs beside its entry.
const STEP_BYTES: usize = size_of::<Step>();
/// What a place among the indices of a slot costs: a queue may be twice as large as what is in it.
const INDEX_BYTES: usize = 2 * size_of::<u64>();

/// The ring of one topic.
pub(super) struct Ring {
    pub(super) topic: TopicName,
    pub(super) usage: Usage,
    /// What was read of the log for those who are behind the ring.
    pub(super) pages: Pages,
    meter: Arc<Meter>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    life: u64,
    /// `None` while the topic cannot be read.
    epoch: Option<Epoch>,
    /// Index the next step gets. Grows through all lives.
    head: u64,
    /// V(head).
    vector: Vec<u64>,
    /// Token of V(head), for heartbeats.
    token: OnceLock<Arc<str>>,
    chunks: VecDeque<Arc<Chunk>>,
    wake: WakeMap,
    members: BTreeMap<u64, Arc<Notify>>,
}

/// Some steps in a row.
pub(super) struct Chunk {
    first: u64,
    start: Box<[u64]>,
    steps: Box<[Step]>,
    /// What it costs beside its entries.
    bytes: usize,
}

struct Step {
    partition: u32,
    offset: u64,
    entry: Option<Arc<Entry>>,
}

/// The end of a ring at one moment.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub life: u64,
    pub epoch: Epoch,
    pub index: u64,
    pub vector: Vec<u64>,
}

/// An entry taken from a ring.
pub(super) struct Pick {
    pub entry: Arc<Entry>,
    /// Where V is to be had, for a cursor over all partitions. Every subscriber counts its references on the same
    /// memory as all others, so none is taken that is not needed.
    place: Option<(Arc<Chunk>, usize)>,
}

/// What a follower gets.
pub(super) enum Take {
    /// Entries it wants have left the ring, or the life ended: it must read the log.
    Behind,
    /// The entries it wants, maybe none; it goes on at `index`, and its cursor was moved. `is_level`: these are all
    /// there are.
    Picks { picks: Vec<Pick>, index: u64, is_level: bool },
}

/// Where a follower stands that wants nothing more now.
pub(super) struct Level {
    pub index: u64,
    pub token: Option<Arc<str>>,
}

impl Pick {
    /// V at this entry; empty for a cursor of one partition.
    pub(super) fn vector(&self) -> Vec<u64> {
        self.place.as_ref().map(|(chunk, step)| chunk.vector_at(*step)).unwrap_or_default()
    }

    /// Token of V at this entry, made once for all subscribers.
    pub(super) fn token(&self) -> Arc<str> {
        self.entry.token_all(|| self.vector())
    }
}

impl Chunk {
    /// V after step `at`.
    fn vector_at(&self, at: usize) -> Vec<u64> {
        let mut vector = self.start.to_vec();
        for step in &self.steps[..=at] {
            vector[step.partition as usize] = step.offset + 1;
        }
        vector
    }
}

impl Ring {
    /// A ring that nobody fills yet.
    pub(super) fn new(topic: TopicName, counters: Arc<Counters>, bytes_max: usize) -> Ring {
        let meter = Arc::new(Meter::new(counters, bytes_max));
        let (usage, pages, state) = Default::default();
        Ring { topic, usage, pages, meter, state }
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.meter.bytes()
    }

    /// Resolves when all rings together are over their bound for what was made of its entries.
    pub(super) async fn over(&self) {
        self.meter.over().await;
    }

    /// Begins a new life at `vector`, or ends the last one if there is nothing to read. Wakes everybody.
    pub(super) fn restart(&self, at: Option<(Epoch, Vec<u64>)>) {
        let mut state = self.write();
        let old = std::mem::take(&mut state.chunks);
        for chunk in &old {
            state.forget(chunk);
            self.release(chunk);
        }
        state.life += 1;
        (state.epoch, state.vector) = at.map_or((None, Vec::new()), |(epoch, v)| (Some(epoch), v));
        state.token = OnceLock::new();
        let members: Vec<_> = state.members.values().cloned().collect();
        drop(state);
        members.iter().for_each(|m| m.notify_one());
    }

    /// Adds what was read after V(head). `channel` names the channel of a record.
    pub(super) fn push(&self, page: Page, channel: impl Fn(&Record) -> Arc<str>) {
        let mut wake = Vec::new();
        let mut records = page.records.into_iter().peekable();
        let mut state = self.write();
        let Some(epoch) = state.epoch else { return };
        while records.peek().is_some() {
            let records = records.by_ref().take(CHUNK_STEPS_MAX);
            let chunk = state.chunk(epoch, records, &channel, &self.meter, &mut wake);
            self.meter.add(chunk.bytes);
            state.chunks.push_back(Arc::new(chunk));
        }
        state.vector = page.next;
        state.token = OnceLock::new();
        drop(state);
        for wakers in wake {
            wakers.values().for_each(|w| w.notify_one());
        }
    }

    /// Drops its oldest chunk; false if it holds none.
    pub(super) fn evict(&self) -> bool {
        let mut state = self.write();
        let Some(chunk) = state.chunks.pop_front() else { return false };
        state.forget(&chunk);
        drop(state);
        self.release(&chunk);
        true
    }

    /// Registers a subscription; what is pushed from now on is kept for it.
    pub(super) fn join(&self, id: u64, keys: &[Key], waker: &Arc<Notify>) {
        let mut state = self.write();
        keys.iter().for_each(|key| state.wake.join(key, id, waker));
        state.members.insert(id, waker.clone());
    }

    /// Undoes [`Ring::join`].
    pub(super) fn leave(&self, id: u64, keys: &[Key]) {
        let mut state = self.write();
        keys.iter().for_each(|key| state.wake.leave(key, id));
        state.members.remove(&id);
    }

    /// Its end, `None` while the topic cannot be read.
    pub(super) fn head(&self) -> Option<Head> {
        let state = self.read();
        let (life, index, vector) = (state.life, state.head, state.vector.clone());
        state.epoch.map(|epoch| Head { life, epoch, index, vector })
    }

    /// The entries from `index` on that `keys` want and that lie at or after `next`, up to about `bytes_max` of them
    /// and at least one. Moves `next` behind them, and behind everything in the ring when nothing else is wanted.
    pub(super) fn take(
        &self,
        keys: &[Key],
        life: u64,
        index: u64,
        next: &mut Next,
        bytes_max: usize,
    ) -> Take {
        let state = self.read();
        let Some(slots) = state.slots(keys, life, index) else { return Take::Behind };
        let (mut wanted, wants_vector) = (Merge::new(slots, index), matches!(next, Next::All(_)));
        let (mut picks, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let Some(at) = wanted.next() else {
                advance(next, &state.vector);
                return Take::Picks { picks, index: state.head, is_level: true };
            };
            let Some((chunk, step)) = state.find(at) else { return Take::Behind };
            let Some(entry) = &chunk.steps[step].entry else { continue };
            if entry.position.offset >= offset_in(next, entry.position.partition) {
                bytes += entry.size();
                let place = wants_vector.then(|| (chunk.clone(), step));
                picks.push(Pick { entry: entry.clone(), place });
            }
        }
        let last = wanted.last.unwrap_or(index);
        if let Some((chunk, step)) = state.find(last) {
            advance(next, &chunk.vector_at(step));
        }
        Take::Picks { picks, index: last + 1, is_level: false }
    }

    /// Moves the cursor of a follower that wants nothing more now to V(head). The head, and the token of V there, which
    /// is shared, if that is where the cursor is.
    pub(super) fn level(&self, keys: &[Key], life: u64, index: u64, next: &mut Next) -> Option<Level> {
        let state = self.read();
        let slots = state.slots(keys, life, index)?;
        if Merge::new(slots, index).next().is_some() {
            return None;
        }
        let ahead = is_ahead(next, &state.vector);
        advance(next, &state.vector);
        let token = match next {
            Next::All(_) if !ahead => state.token(),
            _ => None,
        };
        Some(Level { index: state.head, token })
    }

    fn release(&self, chunk: &Chunk) {
        self.meter.sub(chunk.bytes);
        chunk.steps.iter().filter_map(|step| step.entry.as_ref()).for_each(|entry| entry.close());
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn chunk(
        &mut self,
        epoch: Epoch,
        records: impl Iterator<Item = Record>,
        channel: &impl Fn(&Record) -> Arc<str>,
        meter: &Arc<Meter>,
        wake: &mut Vec<Wakers>,
    ) -> Chunk {
        let (first, start) = (self.head, self.vector.clone().into_boxed_slice());
        let (mut steps, mut bytes, mut source) =
            (Vec::new(), size_of::<Chunk>() + 8 * start.len(), Vec::new());
        let mut headers = (Headers::default(), Headers::default());
        for record in records {
            let Record { partition, offset, .. } = record;
            let mut entry = None;
            if write_source(&record, &mut source) && self.wake.wants(&source) {
                bytes += INDEX_BYTES * self.wake.add(&source, self.head, first, wake);
                let position = Position { epoch, partition, offset };
                if !headers.0.is_same_list(&record.headers) {
                    headers = (record.headers.clone(), record.headers.detached());
                    bytes += headers.1.weight();
                }
                // A slice would keep the whole block it was read in, of which nobody may want anything else.
                let (channel, record) = (channel(&record), record.detached(headers.1.clone()));
                entry = Some(Arc::new(Entry::in_ring(position, channel, record, meter)));
            }
            bytes += STEP_BYTES;
            self.vector[partition as usize] = offset + 1;
            self.head += 1;
            steps.push(Step { partition, offset, entry });
        }
        Chunk { first, start, steps: steps.into(), bytes }
    }

    fn forget(&mut self, chunk: &Chunk) {
        let mut source = Vec::new();
        for (index, step) in (chunk.first..).zip(&chunk.steps) {
            if let Some(entry) = &step.entry
                && write_source(entry.record(), &mut source)
            {
                self.wake.evict(&source, index);
            }
        }
    }

    /// The indices each key wants; `None` when some from `index` on are gone.
    fn slots(&self, keys: &[Key], life: u64, index: u64) -> Option<Vec<&VecDeque<u64>>> {
        if self.life != life || self.epoch.is_none() {
            return None;
        }
        let slot = |key| self.wake.get(key).filter(|s| s.evicted_before <= index).map(|s| &s.indices);
        keys.iter().map(slot).collect()
    }

    fn find(&self, index: u64) -> Option<(&Arc<Chunk>, usize)> {
        let after = self.chunks.partition_point(|c| c.first <= index);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        let step = (index - chunk.first) as usize;
        (step < chunk.steps.len()).then_some((chunk, step))
    }

    fn token(&self) -> Option<Arc<str>> {
        let epoch = self.epoch?;
        let make = || Cursor { epoch, next: Next::All(self.vector.clone()) }.token();
        Some(self.token.get_or_init(make).clone())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let chunks = std::mem::take(&mut self.write().chunks);
        chunks.iter().for_each(|chunk| self.release(chunk));
    }
}

/// The indices of several slots in order, each once.
struct Merge<'a> {
    slots: Vec<(&'a VecDeque<u64>, usize)>,
    last: Option<u64>,
}

impl<'a> Merge<'a> {
    fn new(slots: Vec<&'a VecDeque<u64>>, from: u64) -> Merge<'a> {
        let begin = |slot: &'a VecDeque<u64>| (slot, slot.partition_point(|&i| i < from));
        Merge { slots: slots.into_iter().map(begin).collect(), last: None }
    }

    fn next(&mut self) -> Option<u64> {
        let least = self.slots.iter().filter_map(|(slot, at)| slot.get(*at)).min().copied()?;
        for (slot, at) in &mut self.slots {
            *at += usize::from(slot.get(*at) == Some(&least));
        }
        self.last = Some(least);
        Some(least)
    }
}

/// Writes `source_type:source_id` of a record; false for one that is no event.
fn write_source(record: &Record, into: &mut Vec<u8>) -> bool {
    into.clear();
    let Some((source_type, source_id)) = source_of(&record.headers, record.key.as_deref()) else {
        return false;
    };
    into.extend_from_slice(source_type);
    into.push(b':');
    into.extend_from_slice(source_id);
    true
}

#[cfg(test)]
mod tests;

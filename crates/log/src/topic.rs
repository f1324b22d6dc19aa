//! A topic as its readers see it: what is durable, and where.

use crate::segment::{Segment, Topic};
use crate::sidecar_cache::SidecarCache;
use crate::storage::Storage;
use dualstream_core::log::Bounds;
use dualstream_core::topic::{Epoch, TopicInfo, TopicName, TopicSpec};
use std::sync::{Arc, RwLock};
use tokio::sync::Notify;

/// Directory of all topic stores.
pub(crate) const DIR: &str = "topics";

/// Directory of one topic store.
pub(crate) fn dir(id: u32) -> String {
    format!("{DIR}/{id}")
}

/// The reader's side of a topic. The writer publishes to it; readers take snapshots.
pub(crate) struct TopicView {
    pub id: u32,
    pub name: TopicName,
    pub dir: String,
    storage: Arc<dyn Storage>,
    cache: Arc<SidecarCache>,
    state: RwLock<State>,
    /// Changes whenever the state did.
    /// (A `watch` would wake in random order, and a simulation must replay.)
    changed: Notify,
}

/// What readers may see.
#[derive(Clone)]
pub(crate) struct State {
    pub epoch: Epoch,
    pub spec: TopicSpec,
    /// Oldest first, the last one is active. Never empty.
    pub segments: Arc<Vec<Arc<Segment>>>,
    /// First readable offset per partition.
    pub start: Vec<u64>,
    /// The watermark: next offset per partition.
    pub ends: Vec<u64>,
    /// Bytes of the active segment that may be read.
    pub end_byte: u64,
    /// Below these offsets compaction may have left holes.
    pub holes_below: Vec<u64>,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// A state to read from.
pub(crate) struct Snapshot {
    view: Arc<TopicView>,
    /// Topic number, as in its batches.
    pub id: u32,
    state: State,
}

impl std::ops::Deref for Snapshot {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl Snapshot {
    /// What loading a sidecar needs to know.
    pub fn topic(&self) -> Topic<'_> {
        self.view.topic()
    }

    /// Bytes of segment `s` (index in [`State::segments`]) that may be read.
    pub fn end_of(&self, s: usize) -> u64 {
        if s + 1 == self.segments.len() { self.end_byte } else { u64::MAX }
    }
}

impl TopicView {
    pub fn new(
        id: u32,
        name: TopicName,
        state: State,
        storage: Arc<dyn Storage>,
        cache: Arc<SidecarCache>,
    ) -> TopicView {
        TopicView {
            id,
            name,
            dir: dir(id),
            storage,
            cache,
            state: RwLock::new(state),
            changed: Notify::new(),
        }
    }

    /// A state to read from.
    pub fn snapshot(self: &Arc<Self>) -> Snapshot {
        Snapshot { view: self.clone(), id: self.id, state: self.state() }
    }

    /// What loading a sidecar needs to know.
    pub fn topic(&self) -> Topic<'_> {
        Topic { storage: &*self.storage, dir: &self.dir, id: self.id, cache: &self.cache }
    }

    /// First readable offset of a partition.
    pub fn start_of(&self, partition: u32) -> u64 {
        let state = self.state.read().expect("no holder of this lock panics");
        state.start.get(partition as usize).copied().unwrap_or(0)
    }

    /// What readers see now.
    pub fn state(&self) -> State {
        self.state.read().expect("no holder of this lock panics").clone()
    }

    /// Epoch, start and end.
    pub fn bounds(&self) -> Bounds {
        let state = self.state.read().expect("no holder of this lock panics");
        Bounds { epoch: state.epoch, earliest: state.start.clone(), latest: state.ends.clone() }
    }

    /// What the topic is now.
    pub fn info(&self) -> TopicInfo {
        let state = self.state.read().expect("no holder of this lock panics");
        let segments = Some(state.segments.len() as u64);
        TopicInfo { spec: state.spec.clone(), epoch: state.epoch, bytes: Some(state.bytes), segments }
    }

    /// Changes what readers see and wakes those who wait.
    pub fn publish(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().expect("no holder of this lock panics"));
        self.changed.notify_waiters();
    }

    /// Changes what readers see of several topics in one step: whoever has seen one of the changes finds all of them. The
    /// topics are locked together; a reader holds no more than one of them, and only to copy its state.
    pub fn publish_all<F: FnOnce(&mut State)>(changes: Vec<(&TopicView, F)>) {
        let (views, changes): (Vec<&TopicView>, Vec<F>) = changes.into_iter().unzip();
        let locked = views.iter().map(|view| view.state.write().expect("no holder of this lock panics"));
        let mut states: Vec<_> = locked.collect();
        states.iter_mut().zip(changes).for_each(|(state, change)| change(state));
        drop(states);
        views.iter().for_each(|view| view.changed.notify_waiters());
    }

    /// Hides the segments before number `first_kept`; the active one stays.
    pub fn hide_before(&self, first_kept: u64) {
        self.publish(|state| {
            let count = state.segments.partition_point(|s| s.number < first_kept);
            let (old, kept) = state.segments.split_at(count.min(state.segments.len() - 1));
            let freed: u64 = old.iter().map(|s| s.file.len().unwrap_or(0)).sum();
            state.start.iter_mut().zip(&kept[0].start).for_each(|(start, &first)| *start = first.max(*start));
            state.bytes = state.bytes.saturating_sub(freed);
            state.segments = Arc::new(kept.to_vec());
        });
    }

    /// Resolves when an end is past `ends` or the epoch is another.
    pub async fn wait(&self, epoch: Epoch, ends: &[u64]) {
        loop {
            // Made before the look at the state: a change after it is not missed.
            let changed = self.changed.notified();
            {
                let state = self.state.read().expect("no holder of this lock panics");
                let past = state.ends.iter().zip(ends).any(|(now, then)| now > then);
                if state.epoch != epoch || past || state.ends.len() != ends.len() {
                    return;
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn view(id: u32) -> TopicView {
        let name = TopicName::new(&format!("topic-{id}")).unwrap();
        let state = State {
            epoch: Epoch(1),
            spec: TopicSpec::events(name.clone()),
            segments: Arc::default(),
            start: Vec::new(),
            ends: Vec::new(),
            end_byte: 0,
            holes_below: Vec::new(),
            bytes: 0,
        };
        TopicView::new(id, name, state, Arc::new(MemoryStorage::new()), Arc::new(SidecarCache::new(0, 0)))
    }

    #[test]
    fn nobody_sees_one_change_without_the_others() {
        let views = [view(1), view(2), view(3)];
        let all = &views;
        let change = |view| {
            let change = move |state: &mut State| {
                assert!(
                    all.iter().all(|view| view.state.try_read().is_err()),
                    "a topic can be read meanwhile"
                );
                state.bytes = 7;
            };
            (view, change)
        };
        TopicView::publish_all(views.iter().map(change).collect());
        assert!(views.iter().all(|view| view.state().bytes == 7));
    }
}

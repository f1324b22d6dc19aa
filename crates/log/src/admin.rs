//! Administration of topics by the writer: every change is a new catalog, durable before anybody sees it.

use crate::catalog::{Catalog, Entry};
use crate::checkpoint::StoreMark;
use crate::engine::Engine;
use crate::segment::{segment_path, sidecar_path};
use crate::store::Store;
use crate::topic::{State, TopicView, dir};
use crate::window::Window;
use dualstream_core::topic::{Epoch, TopicAlteration, TopicInfo, TopicName, TopicSpec};
use dualstream_core::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Most partitions of a topic.
const PARTITIONS_MAX: u32 = 10_000;

impl Engine {
    /// Creates a topic.
    ///
    /// # Errors
    /// `topic_exists`, `invalid_partitions`, errors of the storage.
    pub fn create(&mut self, spec: TopicSpec) -> Result<TopicInfo> {
        self.check_usable()?;
        if self.ids.contains_key(&spec.name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "topic_exists",
                format!("topic '{}' exists", spec.name),
            )
            .with_field("topic"));
        }
        check_partitions(spec.partitions)?;
        let (epoch, start) = (Epoch(self.entropy.next_u64()), vec![0; spec.partitions as usize]);
        let name = spec.name.clone();
        self.install(spec, epoch, start)?;
        self.describe(&name)
    }

    /// Begins a topic of a mirror anew: empty, at these offsets, whatever was held of it.
    ///
    /// # Errors
    /// `invalid_partitions`, errors of the storage: then everything is as it was.
    pub fn begin(&mut self, spec: TopicSpec, epoch: Epoch, start: Vec<u64>) -> Result<()> {
        self.check_usable()?;
        check_partitions(spec.partitions)?;
        if start.len() != spec.partitions as usize {
            return Err(invalid_partitions("a topic begins at one offset for each partition"));
        }
        self.install(spec, epoch, start)
    }

    /// Makes a topic that begins at these offsets, in the place of the one with its name, if there is one.
    fn install(&mut self, spec: TopicSpec, epoch: Epoch, start: Vec<u64>) -> Result<()> {
        let id = self.catalog.next_topic_id;
        let active = Store::create_files(&*self.storage, id, start.clone(), self.cache.seed)
            .map_err(|error| self.not_created(id, error))?;
        let entry = Entry { spec, epoch, trimmed: start.clone() };
        let name = entry.spec.name.clone();
        let before = self.ids.get(&name).copied();
        let mut catalog = self.catalog.clone();
        catalog.next_topic_id += 1;
        before.map(|before| catalog.topics.remove(&before));
        catalog.topics.insert(id, entry.clone());
        if let Err(error) = self.replace_catalog(catalog) {
            self.forget_files(id);
            return Err(error);
        }
        let none = vec![0; start.len()];
        let mark = StoreMark {
            topic_id: id,
            segment: 0,
            byte: active.header_bytes,
            next: start.clone(),
            holes_below: none.clone(),
            start: start.clone(),
        };
        let state = State {
            epoch,
            spec: entry.spec.clone(),
            segments: Arc::new(vec![active.clone()]),
            ends: start.clone(),
            start,
            end_byte: active.header_bytes,
            holes_below: none,
            bytes: active.header_bytes,
        };
        let view = TopicView::new(id, name, state, self.storage.clone(), self.cache.clone());
        let window = Window::new(&[], active.clone());
        self.add(Store::new(id, &entry, Arc::new(view), self.storage.clone(), window, active, mark));
        before.into_iter().for_each(|before| self.retire(before));
        Ok(())
    }

    /// The files of a new topic could not be made. When a sync failed they may be lost although they are seen, and another
    /// try would stand on them: as final as any failed sync.
    fn not_created(&mut self, id: u32, error: std::io::Error) -> Error {
        self.forget_files(id);
        match crate::error::is_sync_failed(&error) {
            true => self.fail(error),
            false => crate::error::storage("create the topic", error),
        }
    }

    /// Has removed what was made of a topic that did not come to be, and gives its number to no other.
    fn forget_files(&mut self, id: u32) {
        self.catalog.next_topic_id = id + 1;
        self.removals.push(dir(id));
    }

    /// Takes a store into service.
    pub fn add(&mut self, store: Store) {
        self.ids.insert(store.spec.name.clone(), store.id);
        self.shared.add(store.view.clone());
        self.stores.insert(store.id, store);
    }

    /// Changes what is named.
    ///
    /// # Errors
    /// `unknown_topic`, `invalid_partitions`, errors of the storage.
    pub fn alter(&mut self, name: &TopicName, change: &TopicAlteration) -> Result<TopicInfo> {
        self.check_usable()?;
        let id = self.id_of(name)?;
        let mut catalog = self.catalog.clone();
        let entry = catalog.topics.get_mut(&id).ok_or_else(|| crate::error::unknown_topic(name))?;
        if let Some(retention) = change.retention_ms {
            entry.spec.retention_ms = retention;
        }
        if let Some(retention) = change.retention_bytes {
            entry.spec.retention_bytes = retention;
        }
        let more = change.partitions.filter(|&p| p != entry.spec.partitions);
        if let Some(partitions) = more {
            check_partitions(partitions)?;
            if partitions < entry.spec.partitions {
                return Err(invalid_partitions("the number of partitions cannot be lowered"));
            }
            entry.spec.partitions = partitions;
            entry.trimmed.resize(partitions as usize, 0);
            entry.epoch = Epoch(self.entropy.next_u64());
        }
        let entry = entry.clone();
        self.replace_catalog(catalog)?;
        let sequence = self.sequence() + 1;
        let store = self.stores.get_mut(&id).expect("every topic of the catalog has a store");
        store.spec = entry.spec.clone();
        if let Some(partitions) = more {
            let grown = store.add_partitions(partitions, sequence);
            grown.map_err(|e| self.fail(e))?;
        }
        let store = &self.stores[&id];
        store.view.publish(|state| {
            state.spec = entry.spec.clone();
            state.epoch = entry.epoch;
            state.ends.clone_from(&store.next);
            state.start.resize(store.next.len(), 0);
            state.holes_below.resize(store.next.len(), 0);
        });
        self.describe(name)
    }

    /// Deletes a topic and its files.
    ///
    /// # Errors
    /// `unknown_topic`, errors of the storage.
    pub fn delete(&mut self, name: &TopicName) -> Result<()> {
        self.check_usable()?;
        let id = self.id_of(name)?;
        let mut catalog = self.catalog.clone();
        catalog.topics.remove(&id);
        self.replace_catalog(catalog)?;
        self.hide(name, id);
        Ok(())
    }

    /// Takes a topic that no catalog names any more out of service.
    pub fn hide(&mut self, name: &TopicName, id: u32) {
        self.ids.remove(name);
        self.shared.remove(name);
        self.retire(id);
    }

    /// Tells the readers of a store that it is gone, and has its files removed.
    fn retire(&mut self, id: u32) {
        let Some(store) = self.stores.remove(&id) else { return };
        let gone = Epoch(self.entropy.next_u64());
        let state = store.view.state();
        store.view.publish(|state| state.epoch = gone);
        for segment in state.segments.iter() {
            self.removals.push(sidecar_path(&dir(id), segment.number));
            self.removals.push(segment_path(&dir(id), segment.number));
        }
        self.removals.push(dir(id));
    }

    /// Moves the start of each partition up.
    ///
    /// # Errors
    /// `unknown_topic`, `invalid_trim`, errors of the storage.
    pub fn trim(&mut self, name: &TopicName, below: &[u64]) -> Result<()> {
        self.check_usable()?;
        let id = self.id_of(name)?;
        let next = &self.stores[&id].next;
        if below.len() != next.len() || below.iter().zip(next).any(|(below, end)| below > end) {
            return Err(Error::invalid(
                "invalid_trim",
                "below",
                "one offset for each partition, none past its end",
            ));
        }
        if self.unsynced {
            // A start that is durable while its records are not would swallow what comes in their place.
            self.sync().map_err(|e| self.fail(e))?;
        }
        let mut catalog = self.catalog.clone();
        let entry = catalog.topics.get_mut(&id).ok_or_else(|| crate::error::unknown_topic(name))?;
        entry.trimmed.iter_mut().zip(below).for_each(|(trimmed, &below)| *trimmed = below.max(*trimmed));
        let trimmed = entry.trimmed.clone();
        self.replace_catalog(catalog)?;
        self.stores[&id].view.publish(|state| {
            state.start.iter_mut().zip(&trimmed).for_each(|(start, &trimmed)| *start = trimmed.max(*start));
        });
        self.retain();
        Ok(())
    }

    /// Makes a catalog the current one, durably. When a sync fails nobody knows which of the two the next start finds:
    /// nothing may be acknowledged on either.
    fn replace_catalog(&mut self, catalog: Catalog) -> Result<()> {
        match catalog.try_store(&*self.storage) {
            Ok(()) => self.catalog = catalog,
            Err(error) if crate::error::is_sync_failed(&error) => return Err(self.fail(error)),
            Err(error) => return Err(crate::error::storage("write the catalog", error)),
        }
        Ok(())
    }

    fn describe(&self, name: &TopicName) -> Result<TopicInfo> {
        Ok(self.shared.topic(name)?.info())
    }

    pub fn id_of(&self, name: &TopicName) -> Result<u32> {
        self.ids.get(name).copied().ok_or_else(|| crate::error::unknown_topic(name))
    }

    fn check_usable(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

fn check_partitions(partitions: u32) -> Result<()> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    Err(invalid_partitions("a topic has 1 to 10000 partitions"))
}

fn invalid_partitions(message: &'static str) -> Error {
    Error::invalid("invalid_partitions", "partitions", message).with_limit(u64::from(PARTITIONS_MAX))
}

//! Opening a mirror, and what becomes of one whose files are damaged, gone, or cannot be synced: it is begun anew.

use crate::catalog::{Catalog, Entry, Kind};
use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::journal;
use crate::recovery::mark_of;
use crate::segment::segment_path;
use crate::settings::Settings;
use crate::storage::{Storage, open_if_there};
use crate::store::Store;
use crate::topic;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, Result};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Opens the directory of a mirror: cuts the stores to the checkpoint, and leaves out what is not whole.
pub(crate) fn recover(
    settings: Settings,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Engine> {
    let failed = |e| crate::error::storage("open the mirror", e);
    let (catalog, checkpoint) = load(&*storage, &*entropy)?;
    storage.create_dir(topic::DIR).map_err(failed)?;
    storage.sync_dir("").map_err(failed)?;
    let mut engine = Engine::new(settings, storage, clock, entropy, catalog, None);
    engine.open_copies(&checkpoint)?;
    engine.take_leftovers().map_err(failed)?;
    engine.first_checkpoint().map_err(failed)?;
    Ok(engine)
}

/// Catalog and checkpoint, or those of an empty mirror when they are missing or damaged.
fn load(storage: &dyn Storage, entropy: &dyn Entropy) -> Result<(Catalog, Checkpoint)> {
    let what = match Catalog::load(storage, Kind::Mirror) {
        Ok(Some(catalog)) => match Checkpoint::load(storage) {
            Ok(Some(checkpoint)) => return Ok((catalog, checkpoint)),
            // Power failed before the first one.
            Ok(None) if catalog.topics.is_empty() => return Ok((catalog, Checkpoint::default())),
            Err(error) if error.code() == "storage_error" => return Err(error),
            Ok(None) | Err(_) => Some("the file 'checkpoint' is missing or damaged"),
        },
        Ok(None) => None,
        Err(error) if ["catalog_damaged", "data_dir_newer_format"].contains(&error.code()) => {
            Some("the file 'catalog' is damaged, or of a newer format")
        }
        Err(error) => return Err(error),
    };
    let list = |dir| storage.list(dir).map_err(|e| crate::error::storage("open the mirror", e));
    if !list(journal::DIR)?.is_empty() {
        return Err(Kind::Log.refuse());
    }
    if let Some(what) = what {
        tracing::warn!("{what}: the mirror is begun anew");
    }
    let mut catalog = Catalog::new(Kind::Mirror, entropy.next_u64());
    // Stores of before are taken for those of topics that were forgotten, and removed.
    let numbers = list(topic::DIR)?.into_iter().filter_map(|name| name.parse::<u32>().ok());
    catalog.next_topic_id = numbers.max().map_or(1, |highest| highest.saturating_add(1));
    catalog.store(storage)?;
    Ok((catalog, Checkpoint::default()))
}

impl Engine {
    /// Opens the stores of a mirror; a topic whose store is not whole is forgotten.
    fn open_copies(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let mut forgotten = Vec::new();
        for (id, entry) in self.catalog.topics.clone() {
            match self.open_copy(id, &entry, checkpoint) {
                Ok(store) => self.add(store),
                Err(error) => {
                    tracing::warn!(topic = %entry.spec.name, %error, "the copy is not whole: begun anew");
                    forgotten.push(id);
                }
            }
        }
        if forgotten.is_empty() {
            return Ok(());
        }
        forgotten.iter().for_each(|id| drop(self.catalog.topics.remove(id)));
        self.catalog.store(&*self.storage)
    }

    fn open_copy(&self, id: u32, entry: &Entry, checkpoint: &Checkpoint) -> io::Result<Store> {
        let damaged = || self.shared.counters.damaged.load(Relaxed);
        let before = damaged();
        let mark = mark_of(&*self.storage, checkpoint, id, entry)?;
        let store = self.open_store(id, entry, mark)?;
        let segments = store.view.state().segments;
        let is_row = segments.windows(2).all(|pair| pair[0].number + 1 == pair[1].number);
        match is_row && damaged() == before {
            true => Ok(store),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "a segment is damaged or missing")),
        }
    }

    /// Forgets a topic of a mirror; it need not be there.
    ///
    /// # Errors
    /// Errors of the storage.
    pub fn forget(&mut self, name: &TopicName) -> Result<()> {
        match self.delete(name) {
            Err(error) if error.code() == "unknown_topic" => {
                match Catalog::load(&*self.storage, Kind::Mirror) {
                    Ok(stored) if stored.as_ref().is_none_or(|stored| *stored == self.catalog) => Ok(()),
                    // It was emptied on a disk that could not be written then.
                    Ok(_) | Err(_) => self.catalog.store(&*self.storage),
                }
            }
            done => done,
        }
    }

    /// After an error of the storage: whether it is one of a mirror that was deleted.
    pub fn doubt_files<T>(&mut self, done: &Result<T>) {
        if done.as_ref().is_err_and(|error| error.code() == "storage_error") {
            self.look_for_files();
        }
    }

    /// Notices that the files of a mirror were deleted. What is open can still be read and written, but nothing of it will
    /// be there after a start, nor can a sidecar be.
    pub fn look_for_files(&mut self) {
        if !self.is_mirror() {
            return;
        }
        let active = |store: &Store| segment_path(&store.view.dir, store.mark().segment);
        let mut paths = std::iter::once("catalog".to_owned()).chain(self.stores.values().map(active));
        let is_gone = |path: &String| matches!(open_if_there(&*self.storage, path), Ok(None));
        if let Some(path) = paths.find(is_gone) {
            self.empty(io::Error::new(io::ErrorKind::NotFound, format!("{path} was deleted")));
        }
    }

    /// Forgets everything: the error every caller is answered who asked for something of it.
    pub fn empty(&mut self, error: io::Error) -> Error {
        tracing::warn!(%error, "the mirror cannot be kept on its disk: it is begun anew");
        for (id, entry) in std::mem::take(&mut self.catalog.topics) {
            self.hide(&entry.spec.name, id);
        }
        // If it cannot be stored, the next start finds the old one, and leaves out what is not there.
        let stored =
            self.storage.create_dir(topic::DIR).and_then(|()| self.catalog.try_store(&*self.storage));
        if let Err(error) = stored {
            tracing::warn!(%error, "the catalog of the empty mirror could not be written");
        }
        crate::error::storage("keep the mirror on its disk; it is begun anew", error)
    }
}

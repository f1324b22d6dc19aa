//! A data directory as bytes, to be put back as often as a test wants to damage it; and what a reader sees of a log.

use crate::rig::{Rig, topic};
use dualstream_core::filter::Filter;
use dualstream_core::log::{Gap, Log, Read, Span};
use dualstream_core::record::Record;
use dualstream_log::storage::Mode;
use dualstream_log::{MemoryStorage, Storage};
use std::collections::BTreeMap;

/// Every file of a disk by its path.
#[derive(Clone, Default)]
pub struct Image(pub BTreeMap<String, Vec<u8>>);

impl Image {
    pub fn of(storage: &dyn Storage) -> Image {
        let mut image = Image::default();
        image.walk(storage, "");
        image
    }

    fn walk(&mut self, storage: &dyn Storage, dir: &str) {
        for name in storage.list(dir).unwrap() {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            match storage.open(&path, Mode::Read) {
                Ok(file) => {
                    let mut bytes = vec![0; file.len().unwrap() as usize];
                    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
                    self.0.insert(path, bytes);
                }
                Err(_) => self.walk(storage, &path),
            }
        }
    }

    /// A disk with these files, all of them durable.
    pub fn disk(&self) -> MemoryStorage {
        let storage = MemoryStorage::new();
        for (path, bytes) in &self.0 {
            if let Some((dir, _)) = path.rsplit_once('/') {
                storage.create_dir(dir).unwrap();
            }
            storage.open(path, Mode::Write).unwrap().write_at(bytes, 0).unwrap();
        }
        storage.crash_keep_all();
        storage
    }

    /// A disk with these files, one of them damaged.
    pub fn damaged(&self, path: &str, damage: impl FnOnce(&mut Vec<u8>)) -> MemoryStorage {
        let storage = self.disk();
        storage.corrupt(path, damage).unwrap();
        storage
    }

    /// Paths that end so.
    pub fn ending(&self, end: &str) -> Vec<String> {
        self.0.keys().filter(|path| path.ends_with(end)).cloned().collect()
    }
}

/// Topic, partition, offset.
pub type Place = (String, u32, u64);

/// Everything that can be read.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub records: BTreeMap<Place, Record>,
    pub gaps: Vec<(String, Gap)>,
    pub ends: BTreeMap<String, Vec<u64>>,
    pub epochs: BTreeMap<String, u64>,
}

impl Seen {
    pub async fn of(rig: &Rig, topics: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for &name in topics {
            let bounds = rig.log.bounds(&topic(name)).unwrap();
            seen.ends.insert(name.into(), bounds.latest.clone());
            seen.epochs.insert(name.into(), bounds.epoch.0);
            let mut read = Read {
                topic: topic(name),
                epoch: bounds.epoch,
                spans: Span::all(&bounds.earliest, &bounds.latest),
                filter: Filter::All,
                records_max: 7,
                bytes_max: 1 << 20,
                reverse: false,
            };
            while !read.is_over() {
                let page = rig.log.read(read.clone()).await.unwrap();
                let before = read.spans.clone();
                read.go_on(&page);
                assert_ne!(before, read.spans, "a page that does not move reads forever");
                seen.gaps.extend(page.gaps.iter().map(|&gap| (name.to_string(), gap)));
                for record in page.records {
                    let place = (name.to_string(), record.partition, record.offset);
                    assert!(seen.records.insert(place, record).is_none(), "a record is served twice");
                }
            }
        }
        seen
    }

    /// Whether a record that is not served was reported to its reader: as a gap, or by an end before it.
    pub fn tells_of(&self, place: &Place) -> bool {
        let (topic, partition, offset) = place;
        let is_in = |(t, g): &(String, Gap)| {
            t == topic && g.partition == *partition && (g.from..g.until).contains(offset)
        };
        self.gaps.iter().any(is_in) || self.ends[topic][*partition as usize] <= *offset
    }
}

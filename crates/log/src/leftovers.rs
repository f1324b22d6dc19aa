//! What a crash left in a data directory that nobody names: replacements that were being written, stores of topics that
//! were deleted, or never quite created. Found when the directory is opened, removed with the first checkpoint.
//!
//! Only names that the log itself gives are looked at. A store with records and a number that this catalog never gave
//! away is another catalog's (of before a backup was put back): it is reported and set aside.

use crate::catalog::Catalog;
use crate::journal::read_all;
use crate::reader::next_batch;
use crate::storage::{Mode, Storage};
use crate::topic;
use std::collections::BTreeSet;
use std::io;

/// More partitions than any topic has.
const PARTITIONS_MAX: usize = 10_000;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Files and directories to remove.
    pub removable: Vec<String>,
    /// Numbers of stores that are another catalog's.
    pub foreign: Vec<u32>,
    /// Numbers under which something stands that is not removed.
    pub left: Vec<u32>,
}

/// Looks for leftovers.
pub(crate) fn find(storage: &dyn Storage, catalog: &Catalog) -> io::Result<Leftovers> {
    let mut found = Leftovers::default();
    let replaced = |name: &String| ["catalog.new", "checkpoint.new"].contains(&name.as_str());
    found.removable.extend(storage.list("")?.into_iter().filter(replaced));
    for name in storage.list(topic::DIR)? {
        let Some(id) = number(&name) else { continue };
        let dir = topic::dir(id);
        let Ok(files) = storage.list(&dir) else {
            tracing::warn!(dir, "this is no directory of a store: left");
            found.left.push(id);
            continue;
        };
        if catalog.topics.contains_key(&id) {
            let unfinished = files.iter().filter(|file| is_own(file) && file.ends_with(".new"));
            found.removable.extend(unfinished.map(|file| format!("{dir}/{file}")));
        } else if !files.iter().all(|file| is_own(file)) {
            tracing::warn!(
                dir,
                "no catalog names this store, but it holds files that are not the log's: left"
            );
            found.left.push(id);
        } else if id < catalog.next_topic_id || is_empty(storage, &dir, id, &files)? {
            found.removable.push(dir);
        } else {
            found.foreign.push(id);
            found.left.push(id);
        }
    }
    Ok(found)
}

/// Where a foreign store is put: under a name that nothing has yet.
pub(crate) fn free_name(storage: &dyn Storage, id: u32) -> io::Result<String> {
    let taken: BTreeSet<String> = storage.list(topic::DIR)?.into_iter().collect();
    let free = std::iter::once(format!("{id}.foreign"))
        .chain((2_u64..).map(|number| format!("{id}.foreign-{number}")))
        .find(|name| !taken.contains(name));
    let name = free.expect("there are more numbers than names");
    Ok(format!("{}/{name}", topic::DIR))
}

/// The number that a directory's name stands for, if it is as the log writes it.
fn number(name: &str) -> Option<u32> {
    name.parse().ok().filter(|id: &u32| id.to_string() == name)
}

/// Whether a file of a store has a name that the log gives.
pub(crate) fn is_own(name: &str) -> bool {
    let Some((number, kind)) = name.split_once('.') else { return false };
    let is_number = number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit());
    is_number && ["segment", "index", "segment.new", "index.new"].contains(&kind)
}

/// Whether no file of a store holds a record.
fn is_empty(storage: &dyn Storage, dir: &str, id: u32, files: &[String]) -> io::Result<bool> {
    for file in files.iter().filter(|file| file.contains(".segment")) {
        let bytes = read_all(&*storage.open(&format!("{dir}/{file}"), Mode::Read)?)?;
        if next_batch(&bytes, &mut 0, id, PARTITIONS_MAX).is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

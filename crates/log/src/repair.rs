//! Mending what can be mended in a data directory that no server has open. Nothing is thrown away but caches:
//! damaged records stay where they are and are reported.

use crate::batch::HEADER_BYTES;
use crate::catalog::{Catalog, Kind};
use crate::checkpoint::{Checkpoint, StoreMark};
use crate::index::sidecar;
use crate::journal::{self, FILES, read_all};
use crate::reader::next_batch;
use crate::recovery::segment_numbers;
use crate::replace::load;
use crate::segment::{Header, segment_path, sidecar_path};
use crate::storage::{Mode, Storage};
use crate::topic::dir;
use dualstream_core::topic::{Cleanup, TopicSpec};
use dualstream_core::{Error, ErrorKind, Result};
use std::io;

/// Mends a data directory: removes damaged sidecars (they are rebuilt from their segments) and rebuilds a damaged or
/// missing checkpoint from stores and journal. Returns what was done, one line each.
///
/// # Errors
/// `catalog_damaged`, `catalog_missing`: the names of topics are nowhere else, restore a backup; `storage_error`.
pub fn repair(storage: &dyn Storage) -> Result<Vec<String>> {
    let failed = |e: io::Error| crate::error::storage("repair the data directory", e);
    let catalog = Catalog::load(storage, Kind::Log)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            "catalog_missing",
            "there is no log here: the file 'catalog' is missing",
        )
    })?;
    let mut done = Vec::new();
    for &id in catalog.topics.keys() {
        for number in segment_numbers(storage, &dir(id)).map_err(failed)? {
            let path = sidecar_path(&dir(id), number);
            if load(storage, &path).map_err(failed)?.is_some_and(|bytes| !sidecar::is_sound(&bytes)) {
                storage.remove(&path).map_err(failed)?;
                done.push(format!("removed the damaged sidecar {path}; it is rebuilt when it is needed"));
            }
        }
    }
    if !matches!(Checkpoint::load(storage), Ok(Some(_))) {
        let checkpoint = rebuild_checkpoint(storage, &catalog).map_err(failed)?;
        checkpoint.store(storage).map_err(failed)?;
        done.push(format!(
            "rebuilt the checkpoint; the journal is replayed from round {}",
            checkpoint.sequence + 1
        ));
    }
    Ok(done)
}

/// A checkpoint that speaks of every whole batch in the stores, and replays all the journal still has: batches that
/// are in their store already are passed over.
fn rebuild_checkpoint(storage: &dyn Storage, catalog: &Catalog) -> io::Result<Checkpoint> {
    let mut first = u64::MAX;
    let mut newest = 0;
    for file in 0..FILES {
        for frame in journal::scan(storage, file, catalog.log_id)?.frames {
            first = first.min(frame.head.sequence);
            newest = newest.max(frame.head.sequence);
        }
    }
    // Whether commits were synced before their ack is not known any more. If they were not, positions may have been given
    // out that other records get now; the next start begins new epochs, which costs clients a fresh start and no more.
    let mut checkpoint = Checkpoint { fsync_always: false, ..Checkpoint::default() };
    checkpoint.sequence = if first == u64::MAX { newest } else { first - 1 };
    for (&id, entry) in &catalog.topics {
        let (mark, sequence, append_time_ms) = mark_of(storage, id, &entry.spec)?;
        if first == u64::MAX {
            checkpoint.sequence = checkpoint.sequence.max(sequence);
        }
        checkpoint.append_time_ms = checkpoint.append_time_ms.max(append_time_ms);
        checkpoint.stores.push(mark);
    }
    Ok(checkpoint)
}

/// Where a store ends, by its last segment; highest sequence and append time in it.
fn mark_of(storage: &dyn Storage, id: u32, spec: &TopicSpec) -> io::Result<(StoreMark, u64, i64)> {
    let (dir, partitions) = (dir(id), spec.partitions as usize);
    let segment = segment_numbers(storage, &dir)?.last().copied().unwrap_or(0);
    let file = storage.open(&segment_path(&dir, segment), Mode::Write)?;
    let bytes = read_all(&*file)?;
    let begun_with = || vec![0; Header::partitions_before(&bytes, id, partitions)];
    let mut next = Header::read(&*file)?.map_or_else(begun_with, |header| header.start);
    let mut at = Header::bytes(next.len()) as usize;
    next.resize(partitions, 0);
    // How far a table was compacted is not known any more either: a hole before its last segment is no damage. In event
    // topics there are none.
    let holes_below = match spec.cleanup {
        Cleanup::Compact => next.clone(),
        Cleanup::Delete => vec![0; partitions],
    };
    let (mut end, mut sequence, mut append_time_ms) = (at, 0, i64::MIN);
    while at + HEADER_BYTES <= bytes.len() {
        let Some(head) = next_batch(&bytes, &mut at, id, partitions) else { break };
        next[head.partition as usize] = head.next_offset;
        sequence = sequence.max(head.sequence);
        append_time_ms = append_time_ms.max(head.append_time_ms);
        at += head.bytes;
        end = at;
    }
    file.sync()?;
    let start = vec![0; partitions];
    let mark = StoreMark { topic_id: id, segment, byte: end as u64, next, holes_below, start };
    Ok((mark, sequence, append_time_ms))
}

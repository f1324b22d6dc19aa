//! Compaction of table topics: of every key only the latest record stays (Apache Kafka's log compaction).
//!
//! ```text
//! read all segments        key ─▶ its latest offset
//! each sealed segment      N.segment ─▶ N.segment.new (synced) ─▶ rename over N.segment
//! ```
//! Offsets keep their records; holes appear between them. Before the first rename a checkpoint says below which
//! offsets holes are expected, so a hole is never taken for damage, nor damage above it for a hole. A segment with damage
//! stays as it is: what is rewritten without the damaged bytes could never be told from a hole. A tombstone stays for a
//! day, so that whoever reads the table learns of it, and as long as an older record of its key may stand before it.
//! Only what a checkpoint covers is looked at: no record goes for the sake of one that a power loss may take.

use crate::batch::{Builder, Head, Records, Stamp};
use crate::error::sync_failed;
use crate::reader::next_batch;
use crate::segment::{Header, Segment, segment_path, sidecar_path};
use crate::storage::{Mode, Storage, remove_if_there};
use crate::store::raise;
use crate::topic::TopicView;
use bytes::Bytes;
use dualstream_core::topic::TimestampKind;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// A tombstone older than this may go.
const TOMBSTONE_MS: i64 = 24 * 3600 * 1000;
/// Most keys one compaction looks at: bounds its memory to about 200 MiB. Further keys keep their older records.
const KEYS_MAX: usize = 4 << 20;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// Offset of the latest record of each key; a key by 128 bits of hash.
type Latest = HashMap<(u32, u64, u64), u64>;

/// Compacts the segments before number `through`; tells of each that was put in place of an old one.
pub(crate) fn compact(
    storage: &dyn Storage,
    view: &TopicView,
    through: u64,
    now_ms: i64,
    mut replaced: impl FnMut(Arc<Segment>),
) -> io::Result<Compacted> {
    let state = view.state();
    let covered = || state.segments.iter().filter(|s| s.number < through);
    let mut latest = Latest::new();
    for segment in covered() {
        if let Err(error) = note_latest(&mut latest, view.id, segment) {
            let path = segment_path(&view.dir, segment.number);
            tracing::error!(path, %error, "the segment cannot be read: older records of its keys stay");
        }
    }
    let own_time = state.spec.timestamp == TimestampKind::Create;
    let mut done = Compacted::default();
    let mut is_whole_so_far = true;
    for segment in covered() {
        let keep =
            |partition: u32, key: Option<&[u8]>, offset: u64, is_tombstone: bool, append_time_ms: i64| {
                let Some(last) = key.and_then(|key| latest.get(&slot(partition, key))) else { return true };
                let may_go = is_whole_so_far && append_time_ms < now_ms - TOMBSTONE_MS;
                *last == offset && !(is_tombstone && may_go)
            };
        let Ok(Some(rewritten)) = rewrite(view.id, segment, own_time, keep) else {
            let path = segment_path(&view.dir, segment.number);
            tracing::error!(path, "the segment is damaged: it is not compacted");
            is_whole_so_far = false;
            continue;
        };
        done.bytes_before += segment.file.len()?;
        done.bytes_after += rewritten.bytes.len() as u64;
        if rewritten.dropped > 0 {
            replaced(replace(storage, view, segment, &rewritten.bytes)?);
        }
    }
    Ok(done)
}

/// What a segment becomes.
struct Rewritten {
    bytes: Vec<u8>,
    /// Records that are not in it any more.
    dropped: u64,
}

fn slot(partition: u32, key: &[u8]) -> (u32, u64, u64) {
    (
        partition,
        dualstream_core::identity::hash(b"a", key, b""),
        dualstream_core::identity::hash(b"b", b"", key),
    )
}

/// Calls `visit` with every whole batch of a segment; whether there is nothing else in it.
fn each_batch(id: u32, segment: &Segment, mut visit: impl FnMut(&Head, &Bytes)) -> io::Result<bool> {
    let bytes = Bytes::from(crate::journal::read_all(&*segment.file)?);
    let mut at = segment.header_bytes as usize;
    let (mut until, mut whole) = (at, true);
    while let Some(head) = next_batch(&bytes, &mut at, id, segment.start.len()) {
        whole &= at == until;
        visit(&head, &bytes.slice(at..at + head.bytes));
        at += head.bytes;
        until = at;
    }
    Ok(whole && until >= bytes.len())
}

fn note_latest(latest: &mut Latest, id: u32, segment: &Segment) -> io::Result<()> {
    each_batch(id, segment, |head, batch| {
        let Some(mut records) = Records::open(*head, batch) else { return };
        while let Some(raw) = records.next_raw() {
            let Some(key) = raw.key else { continue };
            let slot = slot(head.partition, records.slice(key));
            if latest.len() < KEYS_MAX || latest.contains_key(&slot) {
                latest.insert(slot, raw.offset);
            }
        }
    })
    .map(drop)
}

/// The bytes of a segment with only the records to keep; `None` when it is damaged.
fn rewrite(
    id: u32,
    segment: &Segment,
    own_time: bool,
    keep: impl Fn(u32, Option<&[u8]>, u64, bool, i64) -> bool,
) -> io::Result<Option<Rewritten>> {
    let header = Header { topic_id: id, number: segment.number, sequence: 0, start: segment.start.clone() };
    let mut out = header.encode();
    let mut builder = Builder::default();
    let mut readable = true;
    let mut dropped = 0;
    let whole = each_batch(id, segment, |head, batch| {
        let Some(mut records) = Records::open(*head, batch) else {
            readable = false;
            return;
        };
        while let Some(raw) = records.next_raw() {
            let key = raw.key.map(|range| records.slice(range));
            if keep(head.partition, key, raw.offset, raw.value.is_none(), head.append_time_ms) {
                builder.push_at(head.base_offset, &records.record(&raw), own_time);
            }
        }
        dropped += u64::from(head.count - builder.count());
        match builder.count() {
            0 => {}
            count if count == head.count => {
                builder.clear();
                out.extend_from_slice(batch);
            }
            _ => {
                let stamp = Stamp {
                    topic_id: id,
                    partition: head.partition,
                    base_offset: head.base_offset,
                    sequence: head.sequence,
                    append_time_ms: head.append_time_ms,
                };
                builder.finish(&mut out, stamp, Some(head.next_offset), head.compression());
            }
        }
    })?;
    Ok((whole && readable).then_some(Rewritten { bytes: out, dropped }))
}

/// Puts a rewritten segment in the place of the old one, on the disk and for readers; those who are reading keep the
/// old one open. From now on readers expect holes below its end.
fn replace(
    storage: &dyn Storage,
    view: &TopicView,
    old: &Arc<Segment>,
    bytes: &[u8],
) -> io::Result<Arc<Segment>> {
    let path = segment_path(&view.dir, old.number);
    let fresh = format!("{path}.new");
    let file = storage.open(&fresh, Mode::Write)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    file.sync().map_err(sync_failed)?;
    remove_if_there(storage, &sidecar_path(&view.dir, old.number))?;
    storage.rename(&fresh, &path)?;
    storage.sync_dir(&view.dir).map_err(sync_failed)?;
    let header = Header { topic_id: view.id, number: old.number, sequence: 0, start: old.start.clone() };
    let fresh = Arc::new(Segment::sealed(header, file));
    let before = old.file.len()?;
    view.publish(|state| {
        let mut segments = state.segments.to_vec();
        if let Some(place) = segments.iter().position(|s| s.number == old.number) {
            segments[place] = fresh.clone();
            state.bytes = state.bytes.saturating_sub(before) + bytes.len() as u64;
            let end = segments.get(place + 1).map_or(&state.ends, |next| &next.start);
            raise(&mut state.holes_below, end);
        }
        state.segments = Arc::new(segments);
    });
    Ok(fresh)
}

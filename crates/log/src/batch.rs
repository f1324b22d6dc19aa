//! A batch: records of one partition, appended in one commit. The same bytes stand in journal, segment and mirror.
//!
//! All integers are little-endian; varints are LEB128.
//! ```text
//!  0 u32 length      bytes after this field
//!  4 u32 crc32c      of everything after this field
//!  8 u8  version     1
//!  9 u8  flags       bits 0–1 compression (0 none, 1 zstd), bit 2 offset deltas, bit 3 timestamp deltas
//! 10 u16 reserved    0
//! 12 u32 topic id
//! 16 u32 partition
//! 20 u32 count       records
//! 24 u64 base offset
//! 32 u64 next offset (holes from compaction and Kafka markers lie between the records and it)
//! 40 u64 commit sequence
//! 48 i64 append time, ms since 1970
//! 56 i64 record timestamp base, ms
//! 64 i64 record timestamp max, ms
//! 72 payload:        [u32 uncompressed length, if compressed]
//!                    header sets: count, then each: count, then each: name length, name, value length + 1 (0 = null), value
//!                    records: [offset delta] [timestamp delta, zigzag] header set, key length + 1, key, value length + 1, value
//! ```

use crate::varint;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use dualstream_core::event::codec;
use dualstream_core::filter::source_of;
use dualstream_core::identity;
use dualstream_core::record::{Header, Headers, NewRecord, Record};

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 72;
const VERSION: u8 = 1;
const COMPRESSION: u8 = 0b11;
const OFFSET_DELTAS: u8 = 0b100;
const TIMESTAMP_DELTAS: u8 = 0b1000;
/// Most header sets a reader accepts in one batch.
const HEADER_SETS_MAX: u64 = 1 << 20;
/// A payload is never larger than this, uncompressed.
const BATCH_BYTES_MAX: usize = 128 << 20;
/// Smaller payloads are not worth compressing.
const COMPRESSION_BYTES_MIN: usize = 1 << 10;
const HEADER_SETS_SEARCHED: usize = 32;

/// How the payload of a batch is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// Zstandard, level 1 (RFC 8878). Batches it does not shrink by a tenth are stored as they are.
    Zstd,
}

/// CRC-32C (Castagnoli).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// What is known of a batch only when it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub topic_id: u32,
    pub partition: u32,
    pub base_offset: u64,
    pub sequence: u64,
    pub append_time_ms: i64,
}

/// Collects the records of one batch.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    sets: Vec<Headers>,
    /// Bytes of their names and values.
    sets_bytes: usize,
    records: Vec<u8>,
    count: u32,
    /// Identity hash of each record; 0 for one that is no event.
    hashes: Vec<u64>,
    timestamps: Timestamps,
    /// Offset after the last record of a batch with holes; 0 while offsets are dense.
    next_offset: u64,
}

#[derive(Debug, Default)]
struct Timestamps {
    base: Option<i64>,
    max: i64,
}

impl Builder {
    /// Number of records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records and of what they share.
    pub fn bytes(&self) -> usize {
        self.records.len() + self.sets_bytes
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the identity hashes of the records, so that nobody has to parse them again. Before [`Builder::finish`].
    pub fn take_hashes(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.hashes)
    }

    /// Adds a record at the next offset. `timestamp_ms` only on topics whose records carry their own time.
    pub fn push(&mut self, record: &NewRecord, timestamp_ms: Option<i64>) {
        self.hashes.push(record.identity.map_or_else(|| hash_of(record), |identity| identity.hash));
        self.push_parts(None, timestamp_ms, &record.headers, record.key.as_deref(), record.value.as_deref());
    }

    /// Adds a record that keeps its place: `delta` from the batch's base offset.
    pub fn push_at(&mut self, base_offset: u64, record: &Record, own_time: bool) {
        let delta = record.offset - base_offset;
        self.next_offset = record.offset + 1;
        let time = own_time.then_some(record.timestamp_ms);
        self.push_parts(Some(delta), time, &record.headers, record.key.as_deref(), record.value.as_deref());
    }

    fn push_parts(
        &mut self,
        delta: Option<u64>,
        timestamp_ms: Option<i64>,
        headers: &Headers,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        if let Some(delta) = delta {
            varint::put(&mut self.records, delta);
        }
        if let Some(time) = timestamp_ms {
            let base = *self.timestamps.base.get_or_insert(time);
            self.timestamps.max = if self.count == 0 { time } else { self.timestamps.max.max(time) };
            varint::put_signed(&mut self.records, time.wrapping_sub(base));
        }
        let set = self.set_of(headers);
        varint::put(&mut self.records, set);
        put_nullable(&mut self.records, key);
        put_nullable(&mut self.records, value);
        self.count += 1;
    }

    fn set_of(&mut self, headers: &Headers) -> u64 {
        // Only the latest sets are searched: a batch of a thousand different ones must not cost a million compares. Where
        // most records bring a set of their own, only the last.
        let is_varied = self.sets.len() > HEADER_SETS_SEARCHED && self.sets.len() * 2 > self.count as usize;
        let oldest = self.sets.len().saturating_sub(if is_varied { 1 } else { HEADER_SETS_SEARCHED });
        let recent = &self.sets[oldest..];
        let same = recent.iter().rposition(|s| s.is_same_list(headers));
        let known = same.or_else(|| recent.iter().rposition(|s| s == headers));
        let set = known.map_or(self.sets.len(), |i| oldest + i);
        if known.is_none() {
            self.sets_bytes += bytes_of(headers);
            self.sets.push(headers.clone());
        }
        set as u64
    }

    /// Appends the batch to `out` and forgets it; capacity is kept for the next one.
    pub fn finish(
        &mut self,
        out: &mut Vec<u8>,
        stamp: Stamp,
        next_offset: Option<u64>,
        compression: Compression,
    ) -> Head {
        let start = out.len();
        let sparse = self.next_offset > 0;
        let next = next_offset.unwrap_or(match sparse {
            true => self.next_offset,
            false => stamp.base_offset + u64::from(self.count),
        });
        let base_time = self.timestamps.base.unwrap_or(stamp.append_time_ms);
        let max_time =
            if self.timestamps.base.is_some() { self.timestamps.max } else { stamp.append_time_ms };
        let mut flags = 0;
        if sparse {
            flags |= OFFSET_DELTAS;
        }
        if self.timestamps.base.is_some() {
            flags |= TIMESTAMP_DELTAS;
        }
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.put_payload(out, &mut flags, compression);
        let head = &mut out[start..];
        head[8] = VERSION;
        head[9] = flags;
        head[12..16].copy_from_slice(&stamp.topic_id.to_le_bytes());
        head[16..20].copy_from_slice(&stamp.partition.to_le_bytes());
        head[20..24].copy_from_slice(&self.count.to_le_bytes());
        head[24..32].copy_from_slice(&stamp.base_offset.to_le_bytes());
        head[32..40].copy_from_slice(&next.to_le_bytes());
        head[40..48].copy_from_slice(&stamp.sequence.to_le_bytes());
        head[48..56].copy_from_slice(&stamp.append_time_ms.to_le_bytes());
        head[56..64].copy_from_slice(&base_time.to_le_bytes());
        head[64..72].copy_from_slice(&max_time.to_le_bytes());
        let length = (head.len() - 4) as u32;
        head[..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c(&head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        let head = Head {
            bytes: head.len(),
            flags,
            topic_id: stamp.topic_id,
            partition: stamp.partition,
            count: self.count,
            base_offset: stamp.base_offset,
            next_offset: next,
            sequence: stamp.sequence,
            append_time_ms: stamp.append_time_ms,
            timestamp_base_ms: base_time,
            crc,
        };
        self.clear();
        head
    }

    fn put_payload(&self, out: &mut Vec<u8>, flags: &mut u8, compression: Compression) {
        if compression == Compression::Zstd {
            let mut plain = Vec::with_capacity(self.records.len() + 256);
            self.put_sets(&mut plain);
            plain.extend_from_slice(&self.records);
            if plain.len() >= COMPRESSION_BYTES_MIN
                && let Ok(packed) = zstd::bulk::compress(&plain, 1)
                && packed.len() + plain.len() / 10 < plain.len()
            {
                *flags |= Compression::Zstd as u8;
                out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
                out.extend_from_slice(&packed);
                return;
            }
        }
        self.put_sets(out);
        out.extend_from_slice(&self.records);
    }

    fn put_sets(&self, out: &mut Vec<u8>) {
        varint::put(out, self.sets.len() as u64);
        for set in &self.sets {
            varint::put(out, set.as_slice().len() as u64);
            for header in set.iter() {
                varint::put(out, header.name.len() as u64);
                out.extend_from_slice(&header.name);
                put_nullable(out, header.value.as_deref());
            }
        }
    }

    /// Forgets the records, keeps the capacity.
    pub fn clear(&mut self) {
        self.sets.clear();
        self.sets_bytes = 0;
        self.records.clear();
        self.hashes.clear();
        self.count = 0;
        self.timestamps = Timestamps::default();
        self.next_offset = 0;
    }
}

/// Bytes of the names and values of headers.
pub(crate) fn bytes_of(headers: &Headers) -> usize {
    headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len)).sum()
}

/// Identity hash of a record whose writer gave none: as a recovery finds it.
fn hash_of(record: &NewRecord) -> u64 {
    let source = source_of(&record.headers, record.key.as_deref());
    let id = record.value.as_deref().and_then(codec::id_of);
    source
        .zip(id)
        .map_or(0, |((source_type, source_id), id)| identity::hash(source_type, source_id, id.as_bytes()))
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            varint::put(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

/// The fixed part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the whole batch.
    pub bytes: usize,
    pub flags: u8,
    pub topic_id: u32,
    pub partition: u32,
    pub count: u32,
    pub base_offset: u64,
    pub next_offset: u64,
    pub sequence: u64,
    pub append_time_ms: i64,
    pub timestamp_base_ms: i64,
    crc: u32,
}

impl Head {
    /// How its payload is stored.
    pub fn compression(&self) -> Compression {
        match self.flags & COMPRESSION {
            0 => Compression::None,
            _ => Compression::Zstd,
        }
    }

    /// Reads the fixed part at the front of `bytes`; `None` if it cannot be one. Says nothing about the payload.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let length = u32_at(0) as usize;
        let parsed = Head {
            bytes: length.checked_add(4)?,
            crc: u32_at(4),
            flags: head[9],
            topic_id: u32_at(12),
            partition: u32_at(16),
            count: u32_at(20),
            base_offset: u64_at(24),
            next_offset: u64_at(32),
            sequence: u64_at(40),
            append_time_ms: u64_at(48) as i64,
            timestamp_base_ms: u64_at(56) as i64,
        };
        let sound = parsed.bytes >= HEADER_BYTES
            && head[8] == VERSION
            && parsed.flags & COMPRESSION <= Compression::Zstd as u8
            && parsed.flags & !(COMPRESSION | OFFSET_DELTAS | TIMESTAMP_DELTAS) == 0
            && parsed.next_offset >= parsed.base_offset
            && u64::from(parsed.count) <= parsed.next_offset - parsed.base_offset;
        sound.then_some(parsed)
    }

    /// Reads the batch at the front of `bytes` and checks its CRC; `None` if it is damaged or cut.
    pub fn check(bytes: &[u8]) -> Option<Head> {
        let head = Head::parse(bytes)?;
        let whole = bytes.get(..head.bytes)?;
        (crc32c(&whole[8..]) == head.crc).then_some(head)
    }
}

/// The records of a checked batch, one after the other.
pub(crate) struct Records {
    head: Head,
    payload: Bytes,
    at: usize,
    sets: Vec<Headers>,
    seen: u32,
}

/// A record inside a batch, before anything is copied or shared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    pub offset: u64,
    pub timestamp_ms: i64,
    pub set: usize,
    pub key: Option<(usize, usize)>,
    pub value: Option<(usize, usize)>,
}

impl Records {
    /// Opens a checked batch; `None` if its payload makes no sense.
    pub fn open(head: Head, batch: &Bytes) -> Option<Records> {
        let mut payload = batch.slice(HEADER_BYTES..head.bytes);
        if head.compression() == Compression::Zstd {
            let length = u32::from_le_bytes(*payload.first_chunk::<4>()?) as usize;
            if length > BATCH_BYTES_MAX {
                return None;
            }
            payload = zstd::bulk::decompress(&payload[4..], length).ok()?.into();
        }
        let mut at = 0;
        let sets = take_sets(&payload, &mut at)?;
        Some(Records { head, payload, at, sets, seen: 0 })
    }

    /// The header sets of the batch.
    pub fn sets(&self) -> &[Headers] {
        &self.sets
    }

    /// Bytes of a range of a [`Raw`].
    pub fn slice(&self, range: (usize, usize)) -> &[u8] {
        &self.payload[range.0..range.1]
    }

    /// The next record; `None` at the end (or where the bytes make no sense, which the CRC rules out).
    pub fn next_raw(&mut self) -> Option<Raw> {
        if self.seen >= self.head.count {
            return None;
        }
        let bytes = &self.payload[..];
        let at = &mut self.at;
        let offset = match self.head.flags & OFFSET_DELTAS {
            0 => self.head.base_offset + u64::from(self.seen),
            _ => self.head.base_offset.checked_add(varint::take(bytes, at)?)?,
        };
        let timestamp_ms = match self.head.flags & TIMESTAMP_DELTAS {
            0 => self.head.append_time_ms,
            _ => self.head.timestamp_base_ms.wrapping_add(varint::take_signed(bytes, at)?),
        };
        let set = usize::try_from(varint::take(bytes, at)?).ok().filter(|&s| s < self.sets.len())?;
        let key = take_nullable(bytes, at)?;
        let value = take_nullable(bytes, at)?;
        self.seen += 1;
        Some(Raw { offset, timestamp_ms, set, key, value })
    }

    /// The record a [`Raw`] stands for; its bytes are shared slices of the batch.
    pub fn record(&self, raw: &Raw) -> Record {
        let share = |range: Option<(usize, usize)>| range.map(|(from, to)| self.payload.slice(from..to));
        Record {
            partition: self.head.partition,
            offset: raw.offset,
            append_time_ms: self.head.append_time_ms,
            timestamp_ms: raw.timestamp_ms,
            key: share(raw.key),
            value: share(raw.value),
            headers: self.sets[raw.set].clone(),
        }
    }
}

fn take_sets(bytes: &Bytes, at: &mut usize) -> Option<Vec<Headers>> {
    let count = varint::take(bytes, at).filter(|&n| n <= HEADER_SETS_MAX && n <= bytes.len() as u64)?;
    let mut sets = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let headers = varint::take(bytes, at).filter(|&n| n <= bytes.len() as u64)?;
        let mut set = Vec::with_capacity(headers.min(16) as usize);
        for _ in 0..headers {
            let name = take_range(bytes, at, 0)?;
            let value = take_nullable(bytes, at)?;
            set.push(Header {
                name: bytes.slice(name.0..name.1),
                value: value.map(|(from, to)| bytes.slice(from..to)),
            });
        }
        sets.push(Headers::new(set));
    }
    Some(sets)
}

/// A length (plus `bias`) and that many bytes, as a range.
fn take_range(bytes: &[u8], at: &mut usize, bias: u64) -> Option<(usize, usize)> {
    let length = usize::try_from(varint::take(bytes, at)?.checked_sub(bias)?).ok()?;
    let from = *at;
    let to = from.checked_add(length).filter(|&to| to <= bytes.len())?;
    *at = to;
    Some((from, to))
}

/// `Some(None)` is null.
fn take_nullable(bytes: &[u8], at: &mut usize) -> Option<Option<(usize, usize)>> {
    if *bytes.get(*at)? == 0 {
        *at += 1;
        return Some(None);
    }
    take_range(bytes, at, 1).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { topic_id: 7, partition: 11, base_offset: 1_000, sequence: 42, append_time_ms: 5_000 }
    }

    fn records() -> Vec<NewRecord> {
        let headers = Headers::new(vec![
            Header { name: "source_type".into(), value: Some("repo".into()) },
            Header { name: "null".into(), value: None },
        ]);
        (0..100u32)
            .map(|i| NewRecord {
                key: (i % 7 != 0).then(|| format!("key-{i}").into()),
                value: (i % 5 != 0).then(|| "v".repeat(i as usize).into()),
                headers: if i % 3 == 0 { Headers::default() } else { headers.clone() },
                ..NewRecord::default()
            })
            .collect()
    }

    fn encode(compression: Compression, own_time: bool) -> Bytes {
        let mut builder = Builder::default();
        for (i, record) in (0i64..).zip(&records()) {
            builder.push(record, own_time.then_some(9_000 - i * 3));
        }
        let mut out = Vec::new();
        builder.finish(&mut out, stamp(), None, compression);
        out.into()
    }

    #[test]
    fn round_trip() {
        for compression in [Compression::None, Compression::Zstd] {
            for own_time in [false, true] {
                let batch = encode(compression, own_time);
                let head = Head::check(&batch).unwrap();
                assert_eq!((head.bytes, head.count, head.next_offset), (batch.len(), 100, 1_100));
                let mut read = Records::open(head, &batch).unwrap();
                for (i, new) in (0i64..).zip(&records()) {
                    let raw = read.next_raw().unwrap();
                    let record = read.record(&raw);
                    assert_eq!(record.offset, 1_000 + i as u64);
                    assert_eq!(
                        (&record.key, &record.value, &record.headers),
                        (&new.key, &new.value, &new.headers)
                    );
                    assert_eq!(record.timestamp_ms, if own_time { 9_000 - i * 3 } else { 5_000 });
                }
                assert!(read.next_raw().is_none());
            }
        }
    }

    #[test]
    fn sparse_batches_keep_their_offsets() {
        let dense = encode(Compression::None, false);
        let mut read = Records::open(Head::check(&dense).unwrap(), &dense).unwrap();
        let mut builder = Builder::default();
        while let Some(raw) = read.next_raw() {
            if raw.offset % 10 == 3 {
                builder.push_at(1_000, &read.record(&raw), false);
            }
        }
        let mut out = Vec::new();
        builder.finish(&mut out, stamp(), Some(1_100), Compression::None);
        let sparse = Bytes::from(out);
        let head = Head::check(&sparse).unwrap();
        let mut read = Records::open(head, &sparse).unwrap();
        let offsets: Vec<u64> = std::iter::from_fn(|| read.next_raw()).map(|r| r.offset).collect();
        assert_eq!(offsets, (0..10).map(|i| 1_003 + 10 * i).collect::<Vec<_>>());
        assert_eq!(head.next_offset, 1_100);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let batch = encode(Compression::None, true);
        for bit in 0..batch.len() * 8 {
            let mut damaged = batch.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::check(&damaged).is_none(), "bit {bit}");
        }
    }
}

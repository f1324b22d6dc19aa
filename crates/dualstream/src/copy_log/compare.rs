//! Compares both sides of a partition, record by record, in one pass and bounded memory.

use super::sides::Held;
use super::visible::Visible;
use super::{Pair, marker};
use dualstream_core::Result;
use dualstream_core::log::Span;
use dualstream_core::record::Record;
use std::collections::VecDeque;
use std::fmt;
use xxhash_rust::xxh3::Xxh3Default;

/// How exact it can be.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The timestamps have to be the same.
    pub keeps_timestamps: bool,
    /// Records that one side alone has are no difference: compaction took them on the other.
    pub is_compacted: bool,
}

/// Both sides of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The partition.
    pub partition: u32,
    /// What the source holds.
    pub source: Sum,
    /// What of it the target holds.
    pub target: Sum,
    /// Records of the target that are somebody else's.
    pub others: u64,
    /// How many records differ, are missing, or are there once too often.
    pub differences: u64,
    /// The first of those.
    pub first: Option<Difference>,
}

impl Compared {
    /// Whether both hold the same.
    pub fn is_equal(&self) -> bool {
        self.differences == 0
    }
}

/// A number of records and the XXH3 (128 bits) of their source offsets, keys, values and headers in order, and of their
/// timestamps where the target keeps those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub records: u64,
    /// Their checksum.
    pub checksum: u128,
}

/// Where both sides are not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Offset in the source.
    pub offset: u64,
    /// What is not the same there.
    pub what: What,
}

/// What is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The target does not have it.
    Missing,
    /// The source does not have it, or the target has it twice or out of order.
    Extra,
    /// Its key.
    Key,
    /// Its value.
    Value,
    /// Its headers.
    Headers,
    /// Its timestamp.
    Timestamp,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Missing => "missing in the target",
            What::Extra => "repeated or out of order in the target, or not in the source",
            What::Key => "another key",
            What::Value => "another value",
            What::Headers => "other headers",
            What::Timestamp => "another timestamp",
        })
    }
}

/// Reads both sides to their ends. `advance` hears of the offsets of the source that are done.
pub(super) async fn compare(
    pair: &Pair<'_>,
    partition: u32,
    held: &Held,
    rule: Rule,
    advance: impl Fn(u64),
) -> Result<Compared> {
    let (start, end) = (pair.from.earliest[partition as usize], pair.from.latest[partition as usize]);
    let mut source =
        Originals { visible: Visible::from(pair, partition, start, end).await?, page: VecDeque::new() };
    let mut target = Copies::new(pair, partition, held);
    let mut sums = (Digest::default(), Digest::default());
    let mut found = Differences::default();
    let (mut original, mut copy) = (source.next().await?, target.next().await?);
    let mut at = start;
    loop {
        let takes = match (&original, &copy) {
            (None, None) => break,
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(a), Some((offset, _))) => (a.offset <= *offset, *offset <= a.offset),
        };
        match (&original, &copy) {
            (Some(a), Some((_, b))) if takes == (true, true) => {
                if let Some(what) = difference(a, b, rule) {
                    found.note(a.offset, what);
                }
            }
            (Some(a), _) if takes.0 && !rule.is_compacted => found.note(a.offset, What::Missing),
            (_, Some((offset, _))) if takes.1 && !rule.is_compacted => found.note(*offset, What::Extra),
            _ => {}
        }
        if let Some(record) = original.take_if(|_| takes.0) {
            sums.0.add(record.offset, &record, rule);
            advance(record.offset + 1 - std::mem::replace(&mut at, record.offset + 1));
            original = source.next().await?;
        }
        if let Some((offset, record)) = copy.take_if(|_| takes.1) {
            sums.1.add(offset, &record, rule);
            copy = target.next().await?;
        }
    }
    advance(end - at);
    let (source, others) = (sums.0.sum(), target.others);
    Ok(Compared {
        partition,
        source,
        target: sums.1.sum(),
        others,
        differences: found.count,
        first: found.first,
    })
}

/// What is not the same of a record and its copy.
fn difference(original: &Record, copy: &Record, rule: Rule) -> Option<What> {
    if original.key != copy.key {
        return Some(What::Key);
    }
    if original.value != copy.value {
        return Some(What::Value);
    }
    if !marker::own(&original.headers).eq(marker::own(&copy.headers)) {
        return Some(What::Headers);
    }
    (rule.keeps_timestamps && original.timestamp_ms != copy.timestamp_ms).then_some(What::Timestamp)
}

#[derive(Default)]
struct Differences {
    count: u64,
    first: Option<Difference>,
}

impl Differences {
    fn note(&mut self, offset: u64, what: What) {
        self.count += 1;
        self.first.get_or_insert(Difference { offset, what });
    }
}

/// The records of the source, one by one.
struct Originals<'a> {
    visible: Visible<'a>,
    page: VecDeque<Record>,
}

impl Originals<'_> {
    async fn next(&mut self) -> Result<Option<Record>> {
        while self.page.is_empty() {
            match self.visible.page().await? {
                Some(records) => self.page = records.into(),
                None => return Ok(None),
            }
        }
        Ok(self.page.pop_front())
    }
}

/// The records of the target that came from the source and that it still has, one by one, with their offsets there.
struct Copies<'a> {
    pair: &'a Pair<'a>,
    span: Span,
    page: VecDeque<Record>,
    others: u64,
}

impl<'a> Copies<'a> {
    fn new(pair: &'a Pair<'a>, partition: u32, held: &Held) -> Copies<'a> {
        let (from, until) = (held.earliest[partition as usize], held.latest[partition as usize]);
        Copies { pair, span: Span { partition, from, until }, page: VecDeque::new(), others: 0 }
    }

    async fn next(&mut self) -> Result<Option<(u64, Record)>> {
        let partition = self.span.partition as usize;
        let (start, end) = (self.pair.from.earliest[partition], self.pair.from.latest[partition]);
        loop {
            let Some(record) = self.page.pop_front() else {
                if !self.fetch().await? {
                    return Ok(None);
                }
                continue;
            };
            match marker::source_offset(&record, self.pair.from.epoch) {
                Some(offset) if (start..end).contains(&offset) => return Ok(Some((offset, record))),
                // The retention of the source took it since, or it came to the source after the beginning.
                Some(_) => {}
                None => self.others += 1,
            }
        }
    }

    /// The next page; false at the end.
    async fn fetch(&mut self) -> Result<bool> {
        if self.span.from >= self.span.until {
            return Ok(false);
        }
        let run = self.pair.target.fetch(self.pair.topic, self.span).await?;
        if run.next <= self.span.from {
            return Ok(false);
        }
        self.span.from = run.next;
        self.page = run.records.into();
        Ok(true)
    }
}

#[derive(Default)]
struct Digest {
    state: Xxh3Default,
    records: u64,
}

impl Digest {
    fn add(&mut self, offset: u64, record: &Record, rule: Rule) {
        self.records += 1;
        self.state.update(&offset.to_le_bytes());
        self.bytes(record.key.as_deref());
        self.bytes(record.value.as_deref());
        for header in marker::own(&record.headers) {
            self.bytes(Some(&header.name));
            self.bytes(header.value.as_deref());
        }
        if rule.keeps_timestamps {
            self.state.update(&record.timestamp_ms.to_le_bytes());
        }
    }

    /// Bytes with their length, so that no two lists of them are one text; null is none of them.
    fn bytes(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.state.update(&length.to_le_bytes());
        self.state.update(bytes.unwrap_or_default());
    }

    fn sum(&self) -> Sum {
        Sum { records: self.records, checksum: self.state.digest128() }
    }
}

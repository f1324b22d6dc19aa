//! A record: what a log holds.

use crate::identity::Identity;
use bytes::Bytes;
use std::sync::Arc;

/// Names and values that travel with a record. Shared: the records of a batch that have equal headers hold one list.
#[derive(Clone, Debug, Default)]
pub struct Headers(Option<Arc<[Header]>>);

/// One header; names may repeat, values may be null (as in Apache Kafka).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: Bytes,
    /// Its value; `None` is null.
    pub value: Option<Bytes>,
}

impl Headers {
    /// A list of headers in their order.
    pub fn new(headers: Vec<Header>) -> Headers {
        Headers(if headers.is_empty() { None } else { Some(headers.into()) })
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.as_slice().iter()
    }

    /// All of them as a slice.
    pub fn as_slice(&self) -> &[Header] {
        self.0.as_deref().unwrap_or(&[])
    }

    /// Value of the last header of that name (Kafka's `lastHeader`), if it is there and not null.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.as_slice().iter().rev().find(|h| h.name == name.as_bytes()).and_then(|h| h.value.as_ref())
    }

    /// Bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let one = |h: &Header| size_of::<Header>() + h.name.len() + h.value.as_ref().map_or(0, Bytes::len);
        self.iter().map(one).sum()
    }

    /// The same list in memory of its own.
    pub fn detached(&self) -> Headers {
        let own = |h: &Header| Header {
            name: Bytes::copy_from_slice(&h.name),
            value: h.value.as_deref().map(Bytes::copy_from_slice),
        };
        Headers::new(self.iter().map(own).collect())
    }

    /// True when both are one list in memory: the cheap test before comparing.
    pub fn is_same_list(&self, other: &Headers) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Headers) -> bool {
        self.is_same_list(other) || self.as_slice() == other.as_slice()
    }
}

impl Eq for Headers {}

/// A record to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Decides partition and compaction; an event's is its `source_id`.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values beside it.
    pub headers: Headers,
    /// Event time in ms since 1970, kept on `timestamp = create` topics only; elsewhere the append time is stamped.
    pub timestamp_ms: Option<i64>,
    /// Set for events: what makes two records the same event.
    pub identity: Option<Identity>,
}

impl NewRecord {
    /// Bytes it counts for in every byte-bounded queue: all it holds, as if it shared its headers with no other.
    pub fn weight(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        size_of::<NewRecord>() + length(&self.key) + length(&self.value) + self.headers.weight()
    }
}

/// A record that was read. Its byte strings may be slices of a block that holds many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Partition it is in.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: u64,
    /// Append time in ms since 1970: what `since`, retention and dedup use.
    pub append_time_ms: i64,
    /// Record timestamp in ms since 1970: the append time, or the event time on `timestamp = create` topics.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its payload; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values beside it.
    pub headers: Headers,
}

impl Record {
    /// Bytes it takes in memory, as if it shared its headers with no other.
    pub(crate) fn weight(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        size_of::<Record>() + length(&self.key) + length(&self.value) + self.headers.weight()
    }

    /// The same record in memory of its own, with `headers` instead of its equal ones: it no longer keeps the block
    /// that it was read in.
    #[must_use]
    pub fn detached(self, headers: Headers) -> Record {
        let own = |bytes: Option<Bytes>| bytes.map(|bytes| Bytes::copy_from_slice(&bytes));
        Record { key: own(self.key), value: own(self.value), headers, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_weight() {
        let header = |length: usize| Header {
            name: Bytes::from(vec![b'n'; length]),
            value: Some(Bytes::from(vec![b'v'; length])),
        };
        let plain = NewRecord { key: Some("k".into()), ..NewRecord::default() };
        let headers = Headers::new(vec![header(10_000), Header { value: None, ..header(7) }]);
        let heavy = NewRecord { headers, ..plain.clone() };
        assert!(heavy.weight() >= plain.weight() + 20_007);
        assert!(plain.weight() > size_of::<NewRecord>());
    }
}

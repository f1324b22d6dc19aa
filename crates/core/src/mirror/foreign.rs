//! Records of other programs: what channel each belongs to.
//!
//! Programs that know nothing of dualstream write no `source_type` header, and keys of any bytes. For a topic of a
//! namespace with [`channel_from`](crate::namespace::Namespace::channel_from) every such record gets, on its way into the
//! mirror, the source `namespace:ID`, where ID is its key or a header. So index, hub and history know sources only.
//!
//! ID keeps what is legal in a `source_id`; every other byte, and `%`, is written as `%XX`. What is longer than 180 bytes
//! then ends with `~` and the XXH3 of the whole. Two keys are never one channel, but for that hash. A record without a key
//! (or header), or with an empty one, has no channel: it is counted, and readers of whole topics still get it.

use super::counters::Counters;
use super::seam::{Described, Place, Run, Sought, Tail, Upstream};
use crate::Result;
use crate::channel::{SOURCE_ID_BYTES_MAX, is_name_char};
use crate::filter::{SOURCE_TYPE_HEADER, source_of};
use crate::log::{Appended, Part, Span};
use crate::namespace::{ChannelFrom, Namespace};
use crate::record::{Header, Headers, Record};
use crate::topic::TopicName;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use xxhash_rust::xxh3::xxh3_64;

/// A topic whose records other programs write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The topic.
    pub topic: TopicName,
    /// The namespace its channels are of.
    pub namespace: String,
    /// What its channels are called by.
    pub from: ChannelFrom,
}

impl Foreign {
    /// The topic of a namespace, if others write it.
    pub fn of(namespace: &Namespace) -> Option<Foreign> {
        let from = namespace.channel_from.clone().filter(|_| namespace.is_durable())?;
        Some(Foreign { topic: namespace.topic.clone(), namespace: namespace.name.clone(), from })
    }
}

/// An upstream whose foreign records have sources.
pub(super) struct Mapped {
    upstream: Arc<dyn Upstream>,
    mappings: Arc<Mappings>,
}

struct Mappings {
    by_topic: BTreeMap<TopicName, Mapping>,
    counters: Arc<Counters>,
}

/// What the records of one topic are mapped by.
struct Mapping {
    /// The header that is added.
    source_type: Header,
    from: ChannelFrom,
}

impl Mapped {
    pub fn new(upstream: Arc<dyn Upstream>, foreign: &[Foreign], counters: Arc<Counters>) -> Mapped {
        let mapping = |foreign: &Foreign| {
            let name = Bytes::from_static(SOURCE_TYPE_HEADER.as_bytes());
            let value = Some(Bytes::copy_from_slice(foreign.namespace.as_bytes()));
            let mapping = Mapping { source_type: Header { name, value }, from: foreign.from.clone() };
            (foreign.topic.clone(), mapping)
        };
        let by_topic = foreign.iter().map(mapping).collect();
        Mapped { upstream, mappings: Arc::new(Mappings { by_topic, counters }) }
    }
}

impl Mappings {
    fn apply(&self, run: &mut Run) {
        let Some(mapping) = self.by_topic.get(&run.topic) else { return };
        let mut last: Option<(Headers, Headers)> = None;
        for record in &mut run.records {
            if source_of(&record.headers, record.key.as_deref()).is_some() {
                continue;
            }
            match mapping.id_of(record) {
                Some(id) => {
                    record.key = Some(id);
                    let known = last.as_ref().filter(|(own, _)| own.is_same_list(&record.headers));
                    let headers = known.map(|(_, mapped)| mapped.clone()).unwrap_or_else(|| {
                        let all = record.headers.iter().filter(|h| h.name != mapping.source_type.name);
                        Headers::new(all.cloned().chain([mapping.source_type.clone()]).collect())
                    });
                    last = Some((record.headers.clone(), headers.clone()));
                    record.headers = headers;
                }
                None => drop(self.counters.unmapped.fetch_add(1, Relaxed)),
            }
        }
    }
}

impl Mapping {
    fn id_of(&self, record: &Record) -> Option<Bytes> {
        let id = match &self.from {
            ChannelFrom::Key => record.key.as_ref(),
            ChannelFrom::Header(name) => record.headers.get(name),
        };
        id.filter(|id| !id.is_empty()).map(legal)
    }
}

/// A legal `source_id` for any bytes.
fn legal(id: &Bytes) -> Bytes {
    let as_is = |text: &str| text.len() <= SOURCE_ID_BYTES_MAX && text.chars().all(is_plain);
    if std::str::from_utf8(id).is_ok_and(as_is) {
        return id.clone();
    }
    let mut text = String::with_capacity(id.len() * 2);
    for chunk in id.utf8_chunks() {
        for c in chunk.valid().chars() {
            match is_plain(c) {
                true => text.push(c),
                false => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escaped(&mut text, byte)),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_escaped(&mut text, byte));
    }
    if text.len() > SOURCE_ID_BYTES_MAX {
        let hash = format!("~{:016x}", xxh3_64(id));
        text.truncate(text.floor_char_boundary(SOURCE_ID_BYTES_MAX - hash.len()));
        text.push_str(&hash);
    }
    Bytes::from(text)
}

fn is_plain(c: char) -> bool {
    c != '%' && is_name_char(c)
}

fn push_escaped(text: &mut String, byte: u8) {
    // Writing to memory does not fail.
    let _ = write!(text, "%{byte:02X}");
}

impl Upstream for Mapped {
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>> {
        self.upstream.append(parts)
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Described>> {
        self.upstream.describe(topic)
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>> {
        async move {
            let mut run = self.upstream.fetch(topic, span, bytes_max).await?;
            self.mappings.apply(&mut run);
            Ok(run)
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Sought>> {
        self.upstream.seek(topic, time_ms)
    }

    fn tail(&self) -> Result<Box<dyn Tail>> {
        Ok(Box::new(MappedTail { tail: self.upstream.tail()?, mappings: self.mappings.clone() }))
    }
}

struct MappedTail {
    tail: Box<dyn Tail>,
    mappings: Arc<Mappings>,
}

impl Tail for MappedTail {
    fn assign(&mut self, places: Vec<Place>) -> BoxFuture<'_, Result<()>> {
        self.tail.assign(places)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Run>>> {
        async move {
            let mut runs = self.tail.next().await?;
            runs.iter_mut().for_each(|run| self.mappings.apply(run));
            Ok(runs)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_is_a_legal_source_id() {
        for (key, id) in [
            (&b"order-17"[..], "order-17"),
            (b"a b", "a%20b"),
            (b"100%", "100%25"),
            (b"*?[]\\", "%2A%3F%5B%5D%5C"),
            ("stra\u{df}e".as_bytes(), "stra\u{df}e"),
            (b"\xff\x00x", "%FF%00x"),
            (b"a:b/c", "a:b/c"),
            ("\u{202e}x".as_bytes(), "%E2%80%AEx"),
        ] {
            assert_eq!(legal(&Bytes::copy_from_slice(key)), id, "{key:?}");
        }
        let (one, two) = (vec![b'x'; 5_000], [vec![b'x'; 4_999], vec![b'y']].concat());
        let (one, two) = (legal(&one.into()), legal(&two.into()));
        assert_eq!((one.len(), two.len()), (SOURCE_ID_BYTES_MAX, SOURCE_ID_BYTES_MAX));
        assert_ne!(one, two);
    }
}

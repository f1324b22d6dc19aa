//! What makes two records the same event: `(source_type, source_id, id)`.

use crate::event::codec;
use crate::filter::source_of;
use crate::record::{NewRecord, Record};
use xxhash_rust::xxh3::Xxh3Default;

/// The identity of an event to append, as a log checks and indexes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// [`hash`] of the identity.
    pub hash: u64,
    /// Whether to look for it in the window before appending. False for an id made a moment ago by the publisher,
    /// which cannot stand in the log yet.
    pub check: bool,
    /// Whether the caller gave `time` (else it was filled in and says nothing about the body).
    pub time_given: bool,
}

/// How a stored record compares with an event to append that has the same identity hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same event.
    Same,
    /// The same identity, another body.
    OtherBody,
    /// Another event: the hashes collide.
    OtherIdentity,
}

/// 64-bit hash (XXH3) of an event's identity. Stable: it is stored in the log's sidecars.
pub fn hash(source_type: &[u8], source_id: &[u8], id: &[u8]) -> u64 {
    let mut state = Xxh3Default::new();
    for part in [source_type, source_id, id] {
        state.update(&(part.len() as u32).to_le_bytes());
        state.update(part);
    }
    state.digest()
}

/// Identity hash of a stored record; `None` for one that is no event.
pub fn of_record(record: &Record) -> Option<u64> {
    let (source_type, source_id) = source_of(&record.headers, record.key.as_deref())?;
    let id = codec::id_of(record.value.as_deref()?)?;
    Some(hash(source_type, source_id, id.as_bytes()))
}

/// Compares a stored record with an event to append.
pub fn compare(stored: &Record, new: &NewRecord) -> Comparison {
    let sources =
        (source_of(&stored.headers, stored.key.as_deref()), source_of(&new.headers, new.key.as_deref()));
    let (Some(a), Some(b)) = (stored.value.as_deref(), new.value.as_deref()) else {
        return Comparison::OtherIdentity;
    };
    let (Some(a), Some(b)) = (codec::parse(a), codec::parse(b)) else {
        return Comparison::OtherIdentity;
    };
    if sources.0 != sources.1 || a.id != b.id {
        return Comparison::OtherIdentity;
    }
    let time_given = new.identity.is_some_and(|i| i.time_given);
    match a.has_same_body(&b) && (!time_given || a.time == b.time) {
        true => Comparison::Same,
        false => Comparison::OtherBody,
    }
}

/// Whether two stored records are of the same event, whatever their bodies.
pub fn is_same_event(a: &Record, b: &Record) -> bool {
    let source = |record| -> Option<_> {
        let record: &Record = record;
        source_of(&record.headers, record.key.as_deref())
    };
    let id = |record: &Record| record.value.as_deref().and_then(codec::id_of).map(|id| id.into_owned());
    source(a).is_some() && source(a) == source(b) && id(a).is_some() && id(a) == id(b)
}

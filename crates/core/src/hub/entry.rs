//! A record on its way to subscribers: decoded and encoded once, shared by all of them.

use super::frames::{Frames, Slot};
use super::live::Live;
use crate::announcement::Announcement;
use crate::event::codec::{self, Wire};
use crate::position::{Cursor, Next, Position};
use crate::record::Record;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A stored record of a channel. Everything expensive about it is made on first use and kept.
#[derive(Debug)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// Its channel.
    pub channel: Arc<str>,
    /// When it was appended, ms since 1970.
    pub append_time_ms: i64,
    /// What clients get: id, type, JSON.
    pub wire: LazyWire,
    frames: Frames,
    /// What live subscribers get for it.
    live: OnceLock<Arc<Live>>,
    /// The cursor after it in a ring: the ring's vector there.
    token_all: OnceLock<Arc<str>>,
    /// The cursor after it in its partition.
    token_one: OnceLock<Arc<str>>,
}

impl Entry {
    /// The entry of a record of `channel`.
    pub fn new(position: Position, channel: Arc<str>, record: Record) -> Entry {
        Entry {
            position,
            channel,
            append_time_ms: record.append_time_ms,
            wire: LazyWire { position, record, made: OnceLock::new() },
            frames: Frames::default(),
            live: OnceLock::new(),
            token_all: OnceLock::new(),
            token_one: OnceLock::new(),
        }
    }

    /// The record itself.
    pub fn record(&self) -> &Record {
        &self.wire.record
    }

    /// The encoded form `slot`, made by the first caller and shared by all later ones. `encode` must depend on the
    /// entry alone.
    pub fn frame(&self, slot: Slot, encode: impl FnOnce(&Entry) -> Bytes) -> Bytes {
        self.frames.get(slot, || encode(self))
    }

    /// What a live subscriber gets for it, without making the whole [`wire`](Entry::wire).
    pub fn live(&self) -> Arc<Live> {
        let make = || Arc::new(Live::new(self.channel.clone(), announce(&self.wire)));
        self.live.get_or_init(make).clone()
    }

    /// Bytes it counts for: the record, its JSON and one frame, whether they are made yet or not.
    pub(crate) fn weight(&self) -> usize {
        let record = &self.wire.record;
        let value = record.value.as_ref().map_or(0, Bytes::len);
        let key = record.key.as_ref().map_or(0, Bytes::len);
        size_of::<Entry>() + 3 * (value + key) + self.channel.len() + 320
    }

    /// About how many bytes it is on the wire.
    pub(crate) fn size(&self) -> usize {
        let record = &self.wire.record;
        record.value.as_ref().map_or(0, Bytes::len) + record.key.as_ref().map_or(0, Bytes::len) + 160
    }

    /// Token of the cursor after it for a subscription of its channel alone.
    pub(crate) fn token_one(&self) -> Arc<str> {
        self.token_one.get_or_init(|| self.position.after().token()).clone()
    }

    /// Token of the cursor after it in the ring that holds it; `vector` is asked once.
    pub(crate) fn token_all(&self, vector: impl FnOnce() -> Vec<u64>) -> Arc<str> {
        let make = || Cursor { epoch: self.position.epoch, next: Next::All(vector()) }.token();
        self.token_all.get_or_init(make).clone()
    }
}

fn announce(wire: &LazyWire) -> Bytes {
    let source_id = String::from_utf8_lossy(wire.record.key.as_deref().unwrap_or_default());
    let position = wire.position.to_string().into();
    match wire.record.value.as_deref().and_then(codec::parse) {
        Some(event) => {
            Announcement { id: event.id, event_type: event.event_type, source_id, position }.encode()
        }
        None => {
            let (id, event_type) = (Cow::from(&wire.id), Cow::from(&wire.event_type));
            Announcement { id, event_type, source_id, position }.encode()
        }
    }
}

/// The [`Wire`] of an entry, made when it is first looked at.
pub struct LazyWire {
    position: Position,
    record: Record,
    made: OnceLock<Wire>,
}

impl Deref for LazyWire {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        self.made.get_or_init(|| codec::wire(&self.record, &self.position))
    }
}

impl LazyWire {
    /// Whether somebody looked at it already.
    pub fn is_made(&self) -> bool {
        self.made.get().is_some()
    }
}

impl fmt::Debug for LazyWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyWire").field("record", &self.record).finish_non_exhaustive()
    }
}

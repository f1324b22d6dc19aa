//! A record on its way to subscribers: decoded and encoded once, shared by all of them.

use super::account::{Account, Meter, PIECE_BYTES};
use super::frames::{Frames, Slot};
use super::live::Live;
use crate::announcement::Announcement;
use crate::event::codec::{self, Wire};
use crate::position::{Cursor, Next, Position};
use crate::record::Record;
use crate::sync::OnceLock;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

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
        Entry::counted(position, channel, record, Account::default())
    }

    /// The entry of a record whose bytes are its own, held by a ring. What it weighs counts there, and what is made of
    /// it too, until it is [closed](Entry::close).
    pub(super) fn in_ring(
        position: Position,
        channel: Arc<str>,
        record: Record,
        meter: &Arc<Meter>,
    ) -> Entry {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len() + 2 * PIECE_BYTES);
        let record_bytes = length(&record.value) + length(&record.key);
        let account = Account::open(meter);
        account.add(size_of::<Entry>() + PIECE_BYTES + record_bytes + channel.len() + PIECE_BYTES);
        Entry::counted(position, channel, record, account)
    }

    /// The ring holds it no longer.
    pub(super) fn close(&self) {
        self.wire.account.close();
        self.live.get().inspect(|live| live.close());
    }

    fn counted(position: Position, channel: Arc<str>, record: Record, account: Account) -> Entry {
        Entry {
            position,
            channel,
            append_time_ms: record.append_time_ms,
            wire: LazyWire { position, record, made: OnceLock::new(), account },
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
    pub fn frame(&self, slot: Slot, encode: impl FnOnce(&Entry) -> Bytes) -> &Bytes {
        self.frames.get(slot, &self.wire.account, || encode(self))
    }

    /// What a live subscriber gets for it, without making the whole [`wire`](Entry::wire).
    pub fn live(&self) -> Arc<Live> {
        let account = &self.wire.account;
        let make = || Arc::new(Live::of_entry(self.channel.clone(), announce(&self.wire), account.beside()));
        let live = self.live.get_or_init(make).clone();
        // Whoever closed the entry meanwhile may not have seen it.
        if account.is_closed() {
            live.close();
        }
        live
    }

    /// About how many bytes it is on the wire.
    pub(crate) fn size(&self) -> usize {
        let record = &self.wire.record;
        record.value.as_ref().map_or(0, Bytes::len) + record.key.as_ref().map_or(0, Bytes::len) + 160
    }

    /// Token of the cursor after it for a subscription of its channel alone.
    pub(crate) fn token_one(&self) -> Arc<str> {
        self.token_one.get_or_init(|| self.counted_token(&self.position.after())).clone()
    }

    /// Token of the cursor after it in the ring that holds it; `vector` is asked once.
    pub(crate) fn token_all(&self, vector: impl FnOnce() -> Vec<u64>) -> Arc<str> {
        let make = || self.counted_token(&Cursor { epoch: self.position.epoch, next: Next::All(vector()) });
        self.token_all.get_or_init(make).clone()
    }

    fn counted_token(&self, cursor: &Cursor) -> Arc<str> {
        let token = cursor.token();
        self.wire.account.add(token.len() + PIECE_BYTES);
        token
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
    account: Account,
}

impl Deref for LazyWire {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        self.made.get_or_init(|| {
            let wire = codec::wire(&self.record, &self.position);
            self.account.add(wire.json.len() + wire.id.len() + wire.event_type.len() + 3 * PIECE_BYTES);
            wire
        })
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

//! A live item: a message of the bus, or the announcement of a stored event. Encoded once, shared by all its
//! subscribers.

use super::account::{Account, PIECE_BYTES};
use super::frames::{Frames, Slot};
use bytes::Bytes;
use std::sync::Arc;

/// What live subscribers of a channel get.
#[derive(Debug)]
pub struct Live {
    /// Its channel.
    pub channel: Arc<str>,
    /// The payload, as it came: whatever a publisher of the bus sent, or `{"id","type","source_id","position"}`.
    pub payload: Bytes,
    frames: Frames,
    account: Account,
}

impl Live {
    /// A live item that is not encoded yet.
    pub fn new(channel: Arc<str>, payload: Bytes) -> Live {
        Live { channel, payload, frames: Frames::default(), account: Account::default() }
    }

    /// That of an entry of a ring.
    pub(super) fn of_entry(channel: Arc<str>, payload: Bytes, account: Account) -> Live {
        account.add(size_of::<Live>() + payload.len() + 2 * PIECE_BYTES);
        Live { channel, payload, frames: Frames::default(), account }
    }

    /// The ring holds its entry no longer.
    pub(super) fn close(&self) {
        self.account.close();
    }

    /// The encoded form `slot`, made by the first caller and shared by all later ones. `encode` must depend on the item
    /// alone.
    pub fn frame(&self, slot: Slot, encode: impl FnOnce(&Live) -> Bytes) -> &Bytes {
        self.frames.get(slot, &self.account, || encode(self))
    }
}

//! The encoded forms of something that goes to many subscribers: each made by the first who needs it, and kept.

use super::account::{Account, PIECE_BYTES};
use crate::sync::OnceLock;
use bytes::Bytes;

/// The encoded forms that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Server-Sent Events.
    Sse,
    /// Client protocol in JSON, to a subscriber of its channel.
    Json,
    /// Client protocol in JSON, to a subscriber of a pattern.
    JsonPattern,
    /// Client protocol in Protobuf, to a subscriber of its channel.
    Protobuf,
    /// Client protocol in Protobuf, to a subscriber of a pattern.
    ProtobufPattern,
}

impl Slot {
    const COUNT: usize = 5;
}

/// One place for each [`Slot`]. Most of what is read has none made, and so takes no room for them.
#[derive(Debug, Default)]
pub(super) struct Frames(OnceLock<Box<[OnceLock<Bytes>; Slot::COUNT]>>);

impl Frames {
    /// The encoded form `slot`, made by the first caller and shared by all later ones.
    /// What is made counts on `account`.
    pub(super) fn get(&self, slot: Slot, account: &Account, encode: impl FnOnce() -> Bytes) -> &Bytes {
        let places = || {
            account.add(size_of::<[OnceLock<Bytes>; Slot::COUNT]>() + PIECE_BYTES);
            Box::default()
        };
        let make = || {
            let frame = encode();
            account.add(frame.len() + PIECE_BYTES);
            frame
        };
        self.0.get_or_init(places)[slot as usize].get_or_init(make)
    }
}

//! The seam of the instant half. Everything here is a hint: it may be lost, late, doubled or out of order.

use crate::channel::{Channel, Target};
use crate::clock::Clock;
use crate::{Error, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// A publish/subscribe bus with Redis Pub/Sub's semantics: at most once, nothing is kept.
pub trait Bus: Send + Sync {
    /// Hands messages over, in order, without waiting for anybody: never blocks, never slows the caller. What cannot
    /// be taken is dropped and counted. Returns how many were taken.
    fn publish(&self, messages: Vec<Message>) -> usize;

    /// Subscribes to one channel or pattern. When the future resolves, messages published from then on arrive
    /// (unless lost). The stream ends when the bus is closed; dropping it unsubscribes.
    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>>;

    /// Whether the bus can be reached now.
    fn health(&self) -> Health;

    /// Whether it can be asked for patterns. Where it cannot, it refuses them with [`no_patterns`].
    fn has_patterns(&self) -> bool {
        true
    }
}

/// What a bus that has no patterns says to who wants one.
pub fn no_patterns(target: &Target) -> Error {
    let message = format!(
        "the bus has no patterns, and nothing but the bus brings {target}: name its channels, or let its namespace \
         keep what is published (`stream`, `live_feed`)"
    );
    Error::invalid("bus_without_patterns", "channel", message)
}

/// What travels on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub channel: Channel,
    /// An announcement, or on bus-only channels the payload itself.
    pub payload: Bytes,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// So many messages were dropped because this subscriber was slow, or the connection was lost: anything may be
    /// missing before the next message. 0 when nobody knows how many.
    Lost(u64),
}

/// Whether a part works now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Up,
    /// It does not, since `since_ms`, because of `reason`.
    Down {
        /// Since when, ms since 1970.
        since_ms: i64,
        /// Why, one sentence.
        reason: String,
    },
}

impl Health {
    /// Takes in whether it worked; true when that changes it. What was wrong first is what is told until it works again.
    pub fn note(&mut self, error: Option<&Error>, clock: &dyn Clock) -> bool {
        *self = match (error, &*self) {
            (None, Health::Down { .. }) => Health::Up,
            (Some(error), Health::Up) => {
                Health::Down { since_ms: clock.now_ms(), reason: error.message().to_owned() }
            }
            _ => return false,
        };
        true
    }
}

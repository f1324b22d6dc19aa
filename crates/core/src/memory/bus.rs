//! The bus inside one process.
//!
//! Guarantees what [`Bus`] does: nothing blocks, nothing is kept. It is the [`FanOut`] that every bus has on a node, and
//! nothing behind it: it reaches no other process.

use crate::Result;
use crate::bus::{Bus, Delivery, Health, Message};
use crate::channel::Target;
use crate::fan_out::{FanOut, QUEUE_BYTES_MAX};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// An in-process [`Bus`]. Cheap to clone: clones are the same bus.
#[derive(Clone)]
pub struct MemoryBus {
    fan_out: FanOut,
}

impl Default for MemoryBus {
    fn default() -> MemoryBus {
        MemoryBus::new(QUEUE_BYTES_MAX)
    }
}

impl MemoryBus {
    /// A bus whose subscribers may each lag by `queue_bytes_max` bytes.
    pub fn new(queue_bytes_max: usize) -> MemoryBus {
        MemoryBus { fan_out: FanOut::new(queue_bytes_max) }
    }

    /// Ends all subscriptions; later messages are dropped and later subscriptions refused.
    pub fn close(&self) {
        self.fan_out.close();
    }

    /// How many channels and patterns have a subscriber.
    pub fn subscriptions(&self) -> usize {
        self.fan_out.targets()
    }
}

impl Bus for MemoryBus {
    fn publish(&self, messages: Vec<Message>) -> usize {
        self.fan_out.deliver(&messages)
    }

    fn subscribe(&self, target: Target) -> BoxFuture<'_, Result<BoxStream<'static, Delivery>>> {
        let subscription = self.fan_out.join(target);
        async move { Ok(Box::pin(subscription?) as BoxStream<'static, Delivery>) }.boxed()
    }

    fn health(&self) -> Health {
        Health::Up
    }
}

//! One subscription.

use super::request::Item;
use std::sync::Arc;

/// A subscription. Dropping it leaves.
pub struct Subscription {}

impl Subscription {
    /// Waits until there is at least one item, returns up to `bytes_max` worth. Cancel-safe. Empty = ended.
    pub async fn next(&mut self, bytes_max: usize) -> Vec<Item> {
        let _ = bytes_max;
        Vec::new()
    }

    /// Resume token of where the subscription is now.
    pub fn resume(&self) -> Arc<str> {
        "".into()
    }
}

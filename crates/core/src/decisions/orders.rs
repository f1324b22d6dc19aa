//! Orders that were read, until they are carried out.

use super::Disconnect;
use super::counters::Counters;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most orders that wait: pages of the topic that come at once have fewer, and whoever carries them out asks nobody.
const WAITING_MAX: usize = 16_384;

/// A queue of orders. Reading the log never waits for it.
pub(super) struct Orders {
    waiting: Mutex<VecDeque<Disconnect>>,
    grown: Notify,
    counters: Arc<Counters>,
}

impl Orders {
    pub fn new(counters: Arc<Counters>) -> Orders {
        Orders { waiting: Mutex::default(), grown: Notify::new(), counters }
    }

    /// Adds orders; what there is no room for takes the place of the oldest.
    pub fn push(&self, orders: impl IntoIterator<Item = Disconnect>) {
        let mut waiting = self.lock();
        let before = waiting.len();
        for order in orders {
            if waiting.len() >= WAITING_MAX {
                waiting.pop_front();
                if self.counters.orders_lost.fetch_add(1, Relaxed) == 0 {
                    tracing::warn!(
                        waiting = WAITING_MAX,
                        "orders come faster than they are carried out, the oldest are given up: clients that are to go \
                         may stay"
                    );
                }
            }
            waiting.push_back(order);
        }
        if waiting.len() > before {
            self.grown.notify_one();
        }
    }

    /// The oldest, when there is one. Cancel-safe.
    pub async fn next(&self) -> Disconnect {
        loop {
            if let Some(order) = self.lock().pop_front() {
                return order;
            }
            // A word that came before this is kept for it.
            self.grown.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Disconnect>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn orders_come_in_order_and_the_newest_are_kept() {
        let (counters, order) = (Arc::new(Counters::default()), |n| Disconnect::new(n, 3503, "").unwrap());
        let orders = Orders::new(counters.clone());
        assert_eq!(orders.next().now_or_never(), None);
        orders.push((0..3).map(order));
        orders.push((3..WAITING_MAX as u128 + 2).map(order));
        assert_eq!(counters.orders_lost.load(Relaxed), 2);
        for expected in 2..WAITING_MAX as u128 + 2 {
            assert_eq!(orders.next().now_or_never(), Some(order(expected)));
        }
        assert_eq!(orders.next().now_or_never(), None);
    }
}

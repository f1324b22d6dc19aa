//! How many use a shared thing, and when it has been unused for long enough.

use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

/// A count of users with one observer.
#[derive(Debug, Default)]
pub(super) struct Usage {
    users: AtomicUsize,
    changed: Notify,
}

impl Usage {
    /// One user more.
    pub(super) fn join(&self) {
        self.users.fetch_add(1, SeqCst);
        self.changed.notify_one();
    }

    /// One user less.
    pub(super) fn leave(&self) {
        self.users.fetch_sub(1, SeqCst);
        self.changed.notify_one();
    }

    /// Whether there is a user now.
    pub(super) fn is_used(&self) -> bool {
        self.users.load(SeqCst) > 0
    }

    /// Resolves when there was no user for the whole of `linger`.
    pub(super) async fn idle(&self, linger: Duration) {
        loop {
            while self.is_used() {
                self.changed.notified().await;
            }
            let used = async {
                while !self.is_used() {
                    self.changed.notified().await;
                }
            };
            if tokio::time::timeout(linger, used).await.is_err() {
                return;
            }
        }
    }
}

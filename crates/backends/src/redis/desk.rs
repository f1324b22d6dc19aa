//! Where subscribers of this node say what one subscribing connection is to bring.

use super::wants::{Changes, Wants};
use dualstream_core::Result;
use dualstream_core::channel::Target;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// The wants of one connection, shared by those who have them, by the task that asks Redis and by the one that reads.
#[derive(Default)]
pub(super) struct Desk {
    wants: Mutex<Wants>,
    changed: Notify,
}

impl Desk {
    /// A user of a target more; told once Redis confirmed it, or refused; nothing once it is closed.
    pub fn join(&self, target: &Target) -> oneshot::Receiver<Result<()>> {
        let answer = self.wants().join(target);
        self.changed.notify_one();
        answer
    }

    /// A user less.
    pub fn leave(&self, target: &Target) {
        if self.wants().leave(target) {
            self.changed.notify_one();
        }
    }

    /// Asks again for what was astray, and for what it was given.
    pub fn retry(&self) {
        self.wants().retry();
        self.changed.notify_one();
    }

    /// Nothing is brought any more: who waits, or comes, is told so.
    pub fn close(&self) {
        self.wants().close();
    }

    /// Waits until Redis must be asked for something.
    pub async fn changes(&self) -> Changes {
        loop {
            let changed = self.changed.notified();
            let changes = self.wants().changes();
            if !changes.subscribe.is_empty() || !changes.unsubscribe.is_empty() {
                return changes;
            }
            changed.await;
        }
    }

    pub fn wants(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

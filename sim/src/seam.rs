//! The log as publisher and hub see it: the real one, behind delays, with a count of calls.
//!
//! The delays let crashes, other commits and retention come between a call and its answer. The count ends runs that
//! go round in circles without time passing.

use crate::dice::Dice;
use crate::history::{Broken, History};
use dualstream_core::Result;
use dualstream_core::log::{Bounds, Commit, Committed, Log, Page, Read};
use dualstream_core::topic::{Epoch, TopicName};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// More calls than any run that makes progress needs.
const CALLS_MAX: u64 = 2_000_000;

/// A log with delays.
pub struct Seam {
    inner: Arc<dyn Log>,
    history: History,
    dice: Dice,
    delay_ms_max: u64,
    calls: AtomicU64,
}

impl Seam {
    /// `inner`, whose callers wait up to `delay_ms_max` before and after.
    pub fn new(inner: Arc<dyn Log>, history: History, dice: Dice, delay_ms_max: u64) -> Seam {
        Seam { inner, history, dice, delay_ms_max, calls: AtomicU64::new(0) }
    }

    async fn delay(&self) {
        if self.calls.fetch_add(1, Relaxed) == CALLS_MAX {
            let what = format!("the log was called {CALLS_MAX} times");
            self.history.broken(Broken::new("progress", what, Vec::new()));
        }
        if self.calls.load(Relaxed) > CALLS_MAX {
            std::future::pending::<()>().await;
        }
        if self.delay_ms_max > 0 && self.dice.once_in(2) {
            tokio::time::sleep(Duration::from_millis(self.dice.below(self.delay_ms_max + 1))).await;
        }
    }
}

impl Log for Seam {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed>> {
        async move {
            // Only after: a delay before would let a later publish of the same source overtake.
            let committed = self.inner.commit(commit).await;
            self.delay().await;
            committed
        }
        .boxed()
    }

    fn read(&self, read: Read) -> BoxFuture<'_, Result<Page>> {
        async move {
            self.delay().await;
            let page = self.inner.read(read).await;
            self.delay().await;
            page
        }
        .boxed()
    }

    fn bounds(&self, topic: &TopicName) -> Result<Bounds> {
        self.inner.bounds(topic)
    }

    fn wait<'a>(&'a self, topic: &'a TopicName, epoch: Epoch, ends: &'a [u64]) -> BoxFuture<'a, ()> {
        async move {
            self.inner.wait(topic, epoch, ends).await;
            self.delay().await;
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Vec<u64>>> {
        async move {
            // The end is what `bounds` says, at once.
            if time_ms < i64::MAX {
                self.delay().await;
            }
            self.inner.seek(topic, time_ms).await
        }
        .boxed()
    }
}

//! Topics that lost records upstream which were read here: looked for by sampling, and told to everybody once.
//!
//! The telling goes on beside the following: it is a record of a log that may be followed here too, so to wait for it
//! would be to wait for oneself.

use super::log::Inner;
use super::topic::Topic;
use super::verify;
use crate::topic::TopicName;
use crate::{Error, Result};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// Those of one mirror.
pub(super) struct Losses<'a> {
    inner: &'a Inner,
    next_look: Instant,
    /// Topics whose loss is being told.
    telling: BTreeSet<TopicName>,
    tellings: FuturesUnordered<Telling<'a>>,
}

type Telling<'a> = BoxFuture<'a, (Arc<Topic>, Result<()>)>;

impl<'a> Losses<'a> {
    pub fn new(inner: &'a Inner) -> Losses<'a> {
        let next_look = Instant::now() + inner.settings.verify;
        Losses { inner, next_look, telling: BTreeSet::new(), tellings: FuturesUnordered::new() }
    }

    /// There is a reason not to wait for the next time.
    pub fn look_now(&mut self) {
        self.next_look = Instant::now();
    }

    /// If it is time, compares some records of every topic that is followed with upstream.
    pub async fn look(&mut self) -> Result<()> {
        if Instant::now() < self.next_look {
            return Ok(());
        }
        self.next_look = Instant::now() + self.inner.settings.verify;
        for topic in self.inner.topics() {
            if topic.is_hot() && !self.is_being_told(&topic.name) {
                self.look_at(topic).await?;
            }
        }
        Ok(())
    }

    async fn look_at(&mut self, topic: Arc<Topic>) -> Result<()> {
        let before = topic.epoch();
        if verify::is_same(self.inner, &topic).await? {
            return Ok(());
        }
        self.inner.refresh(&topic.name).await?;
        let (id, partitions, epoch) = {
            let state = topic.state();
            (state.id, state.spec.partitions, state.epoch)
        };
        if epoch != before {
            // It is another topic by now, or somebody told already.
            return Ok(());
        }
        self.telling.insert(topic.name.clone());
        let inner = self.inner;
        let telling = async move {
            let told = inner.epochs.truncated(&topic.name, id, partitions, epoch).await;
            (topic, told)
        };
        self.tellings.push(telling.boxed());
        Ok(())
    }

    /// Whether a topic lost records, and not everybody knows yet.
    pub fn is_being_told(&self, topic: &TopicName) -> bool {
        self.telling.contains(topic)
    }

    /// A topic whose loss was told. Waits while there is none. Cancel-safe.
    pub async fn next(&mut self) -> Arc<Topic> {
        loop {
            let Some((topic, told)) = self.tellings.next().await else {
                std::future::pending::<()>().await;
                continue;
            };
            self.telling.remove(&topic.name);
            match told {
                Ok(()) => return topic,
                Err(error) => self.note(&topic, &error),
            }
        }
    }

    fn note(&self, topic: &Topic, error: &Error) {
        self.inner.counters.errors.fetch_add(1, Relaxed);
        tracing::warn!(topic = %topic.name, code = error.code(), "a loss is not told yet: {error}");
    }
}

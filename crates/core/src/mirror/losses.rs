//! A topic lost records upstream which were read here: everybody has to know.
//!
//! The telling goes on beside the following: it is a record of a log that may be followed here too, so to wait for it
//! would be to wait for oneself. It does not end before it is told: nothing else would find the loss again.

use super::log::Inner;
use super::topic::Topic;
use super::verify::Loss;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Pause before the next try.
const RETRY: Duration = Duration::from_secs(1);

/// Tells a loss until it is told, and takes over what the topic is then.
pub(super) async fn tell(inner: &Inner, topic: &Topic, loss: &Loss) {
    while let Err(error) = inner.epochs.truncated(&topic.name, loss.id, loss.partitions, loss.epoch).await {
        inner.counters.errors.fetch_add(1, Relaxed);
        tracing::warn!(topic = %topic.name, code = error.code(), "a loss is not told yet: {error}");
        tokio::time::sleep(RETRY).await;
    }
    if let Err(error) = inner.renew(topic).await {
        // The next tick asks again.
        tracing::debug!(topic = %topic.name, code = error.code(), "not described yet: {error}");
    }
}

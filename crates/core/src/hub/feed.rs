//! The tail of one topic, read once for all subscribers of the node: log → ring.
//!
//! It begins at the log's end when the first subscriber joins, reads everything from there, waits when it is level,
//! and stops a while after the last subscriber left. Whenever the log is in doubt (epoch changed, damage in the tail)
//! it ends the ring's life, and the subscriptions read the log themselves.

use super::ring::{Head, Ring};
use super::shared::Shared;
use crate::ErrorKind;
use crate::filter::Filter;
use crate::log::{Page, Read, Span};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of one page of the tail.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Most records of one page of the tail.
const PAGE_RECORDS_MAX: usize = 1024;
/// Pause after an error.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// Fills a ring until nobody wants it any more.
pub(super) async fn run(shared: Arc<Shared>, ring: Arc<Ring>) {
    let retired = async {
        loop {
            ring.usage.idle(shared.settings.linger).await;
            if shared.retire_ring(&ring) {
                return;
            }
        }
    };
    let bounded = async {
        loop {
            ring.over().await;
            shared.keep_budget();
        }
    };
    tokio::select! {
        biased;
        () = retired => {}
        () = bounded => {}
        () = pump(&shared, &ring) => {}
    }
}

async fn pump(shared: &Shared, ring: &Ring) {
    loop {
        match ring.head() {
            Some(head) => read_on(shared, ring, head).await,
            None if open(shared, ring) => {}
            None => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Begins a life of the ring at the end of the log.
pub(super) fn open(shared: &Shared, ring: &Ring) -> bool {
    let bounds = shared.log.bounds(&ring.topic).ok();
    let opened = bounds.is_some();
    ring.restart(bounds.map(|b| (b.epoch, b.latest)));
    opened
}

async fn read_on(shared: &Shared, ring: &Ring, head: Head) {
    let read = Read {
        topic: ring.topic.clone(),
        epoch: head.epoch,
        spans: Span::all(&head.vector, &vec![u64::MAX; head.vector.len()]),
        filter: Filter::All,
        records_max: PAGE_RECORDS_MAX,
        bytes_max: PAGE_BYTES_MAX,
        reverse: false,
    };
    match shared.log.read(read).await {
        Ok(Page { next, gaps, .. }) if !gaps.is_empty() => ring.restart(Some((head.epoch, next))),
        Ok(page) if page.records.is_empty() && page.next == head.vector => {
            shared.log.wait(&ring.topic, head.epoch, &head.vector).await;
        }
        Ok(page) => {
            ring.push(page, |record| shared.channel_of(&ring.topic, record));
            shared.keep_budget();
            yield_now().await;
        }
        Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Invalid | ErrorKind::NotFound) => {
            ring.restart(None);
            // What is read next may fail the same way.
            tokio::time::sleep(RETRY).await;
        }
        Err(error) => {
            tracing::warn!(topic = %ring.topic, code = error.code(), "the tail of a topic cannot be read: {error}");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Lets others run: a log that always answers at once must not keep the thread.
pub(super) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

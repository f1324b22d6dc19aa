//! The subscriptions of one connection, pulled as one stream.
//!
//! Each is pulled by a future that owns it and gives it back with what came. Nobody pulls while the socket has no room,
//! so a slow client is a set of cursors that are behind.

use super::opening::Form;
use crate::metrics::Open;
use crate::protocol::reply;
use dualstream_core::channel::Target;
use dualstream_core::hub::{Item, Subscription};
use futures::FutureExt;
use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture, abortable};
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A subscription as its client sees it.
pub struct Follower {
    /// The subscription.
    pub subscription: Subscription,
    /// What it follows.
    pub target: Target,
    /// The name the client gave.
    pub channel: String,
    /// How it is shown.
    pub form: Form,
    /// What each of its pushes begins with.
    pub head: Vec<u8>,
    /// Token of the place the client was told last, and when.
    pub told: (Arc<str>, Instant),
    quiet: Quiet,
    _open: Open,
}

/// A follower, and what came for it.
pub struct Pulled {
    /// The follower.
    pub follower: Follower,
    /// Its items: empty when it has ended, `None` when nothing came for a while.
    pub items: Option<Vec<Item>>,
}

/// Since when nothing came. Its timer is set anew when it fires, not with everything that comes.
struct Quiet {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

/// All of a connection.
pub struct Subscriptions {
    /// By channel; `None` while the subscription is being opened.
    known: BTreeMap<String, Option<AbortHandle>>,
    pulls: FuturesUnordered<Abortable<BoxFuture<'static, Pulled>>>,
    quiet_after: Duration,
    bytes_max: usize,
}

impl Follower {
    /// A follower that was just told to stand at `token`.
    pub fn new(
        subscription: Subscription,
        target: Target,
        channel: String,
        form: Form,
        token: Arc<str>,
        open: Open,
    ) -> Follower {
        let (head, now) = (reply::push_head(&channel), Instant::now());
        let quiet = Quiet { since: now, timer: Box::pin(tokio::time::sleep_until(now)) };
        Follower { subscription, target, channel, form, head, told: (token, now), quiet, _open: open }
    }

    /// What comes; `None` when nothing came for `quiet_after`.
    async fn pull(&mut self, quiet_after: Duration, bytes_max: usize) -> Option<Vec<Item>> {
        let Quiet { since, timer } = &mut self.quiet;
        *since = Instant::now();
        loop {
            tokio::select! {
                biased;
                items = self.subscription.next(bytes_max) => return Some(items),
                () = timer.as_mut() => {}
            }
            let due = *since + quiet_after;
            if due <= Instant::now() {
                return None;
            }
            timer.as_mut().reset(due);
        }
    }
}

impl Subscriptions {
    /// None yet. A subscription is given back after `quiet_after` at the latest, and with about `bytes_max` at most.
    pub fn new(quiet_after: Duration, bytes_max: usize) -> Subscriptions {
        Subscriptions { known: BTreeMap::new(), pulls: FuturesUnordered::new(), quiet_after, bytes_max }
    }

    /// Number of channels and patterns.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Number of patterns.
    pub fn patterns(&self) -> usize {
        self.known.keys().filter(|channel| channel.contains('*')).count()
    }

    /// Whether a channel is subscribed, or is being so.
    pub fn has(&self, channel: &str) -> bool {
        self.known.contains_key(channel)
    }

    /// Keeps a place for a channel that is being subscribed.
    pub fn reserve(&mut self, channel: &str) {
        self.known.insert(channel.to_owned(), None);
    }

    /// Pulls a follower, from now on or again.
    pub fn follow(&mut self, mut follower: Follower) {
        let (channel, quiet_after, bytes_max) = (follower.channel.clone(), self.quiet_after, self.bytes_max);
        let pull = async move {
            let items = follower.pull(quiet_after, bytes_max).await;
            Pulled { follower, items }
        };
        let (pull, handle) = abortable(pull.boxed());
        self.known.insert(channel, Some(handle));
        self.pulls.push(pull);
    }

    /// Gives up a channel; false if it is not known. Nothing comes for it any more.
    pub fn remove(&mut self, channel: &str) -> bool {
        let removed = self.known.remove(channel);
        if let Some(Some(handle)) = &removed {
            handle.abort();
        }
        removed.is_some()
    }

    /// The next follower for which something came; `None` if there is none. Cancel-safe. Whoever takes it follows it
    /// again, or removes it.
    pub async fn next(&mut self) -> Option<Pulled> {
        while let Some(pulled) = self.pulls.next().await {
            if let Ok(pulled) = pulled {
                return Some(pulled);
            }
        }
        None
    }
}

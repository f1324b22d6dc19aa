//! All subscribers of a run.

use super::publisher::Channels;
use super::subscriber::{self, Buffer, Seen, Subscriber};
use super::tally::Tally;
use crate::client::Server;
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use std::cell::Cell;
use std::rc::Rc;
use tokio::task::JoinSet;

/// Connections that are opened at a time: a server's queue of them is not long.
const OPENING_MAX: usize = 64;

/// Subscribers that follow their channels until the fleet is dropped.
pub struct Fleet {
    /// Channel of each, and what it saw.
    seen: Vec<(u64, Rc<Cell<Seen>>)>,
    following: JoinSet<()>,
}

impl Fleet {
    /// Opens `count` subscribers, dealt over the channels in turn.
    ///
    /// # Errors
    /// The first that could not be opened.
    pub async fn open(
        server: &Server,
        channels: &Channels,
        count: u64,
        from_earliest: bool,
    ) -> anyhow::Result<Vec<Subscriber>> {
        let buffer: Rc<Buffer> = subscriber::buffer();
        let open = |number: u64| {
            let (channel, buffer) = (channels.name(channels.of(number)), buffer.clone());
            async move {
                let opened = Subscriber::open(server, &channel, from_earliest, &buffer).await;
                opened.with_context(|| format!("subscriber {} of {count}", number + 1))
            }
        };
        stream::iter(0..count).map(open).buffered(OPENING_MAX).try_collect().await
    }

    /// Lets them follow, until each has `events_max`.
    pub fn follow(
        subscribers: Vec<Subscriber>,
        channels: &Channels,
        tally: &Rc<Tally>,
        events_max: u64,
    ) -> Fleet {
        let mut following = JoinSet::new();
        let mut seen = Vec::with_capacity(subscribers.len());
        for (number, mut subscriber) in (0..).zip(subscribers) {
            seen.push((channels.of(number), subscriber.seen.clone()));
            let tally = tally.clone();
            following.spawn_local(async move {
                if let Err(error) = subscriber.follow(&tally, events_max).await {
                    tally.lose(format!("{error:#}"));
                }
            });
        }
        Fleet { seen, following }
    }

    /// Of what was stored in each channel, how many deliveries are missing, and how many subscribers saw something
    /// else or something twice.
    pub fn compare(&self, stored: &[Seen]) -> (u64, u64) {
        let (mut missing, mut wrong) = (0, 0);
        for (channel, seen) in &self.seen {
            let (seen, stored) = (seen.get(), stored[*channel as usize]);
            missing += stored.count.saturating_sub(seen.count);
            wrong +=
                u64::from(seen.count > stored.count || seen.count == stored.count && seen.sum != stored.sum);
        }
        (missing, wrong)
    }

    /// Resolves when all have what they follow for.
    pub async fn done(&mut self) {
        while self.following.join_next().await.is_some() {}
    }
}

//! All subscribers of a run.

use super::publisher::Channels;
use super::subscriber::{self, Buffer, Place, Seen, Subscriber};
use super::tally::Tally;
use crate::client::Server;
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use std::cell::{Cell, RefCell};
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
    /// Opens `count` subscribers, dealt over the channels in turn. Each follows as soon as it is open, so that it
    /// answers pings while the others are opened, until it has `events_max`.
    ///
    /// # Errors
    /// The first that could not be opened.
    pub async fn open(
        server: &Server,
        channels: &Channels,
        count: u64,
        place: Place,
        tally: &Rc<Tally>,
        events_max: u64,
    ) -> anyhow::Result<Fleet> {
        let buffer: Rc<Buffer> = subscriber::buffer();
        let following = RefCell::new(JoinSet::new());
        let open = |number: u64| {
            let (channel, buffer, tally) = (channels.of(number), buffer.clone(), tally.clone());
            let following = &following;
            async move {
                let opened = Subscriber::open(server, &channels.name(channel), place, &buffer).await;
                let mut subscriber =
                    opened.with_context(|| format!("subscriber {} of {count}", number + 1))?;
                let seen = subscriber.seen.clone();
                following.borrow_mut().spawn_local(async move {
                    if let Err(error) = subscriber.follow(&tally, events_max).await {
                        tally.lose(format!("{error:#}"));
                    }
                });
                anyhow::Ok((channel, seen))
            }
        };
        let seen = stream::iter(0..count).map(open).buffered(OPENING_MAX).try_collect().await?;
        Ok(Fleet { seen, following: following.into_inner() })
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

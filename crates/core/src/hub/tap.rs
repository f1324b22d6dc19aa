//! One channel or pattern of the bus, subscribed while somebody on this node wants it.
//!
//! ```text
//! first subscriber joins ─▶ Bus::subscribe ─▶ messages ─▶ inbox of each subscriber
//!        ▲                        │ ended, failed: again after a pause
//!        └── linger after the last one left ◀──┘
//! ```
//! The bus is not trusted: on a durable channel only announcements of the topic's epoch pass.

use super::inbox::{Inbox, Incoming, Origin};
use super::live::Live;
use super::shared::Shared;
use super::usage::Usage;
use crate::announcement::Announcement;
use crate::bus::{Delivery, Message};
use crate::channel::Target;
use crate::namespace::Namespace;
use crate::position::Position;
use crate::sync::{Mutex, MutexGuard};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A shared subscription of the bus.
pub(super) struct Tap {
    pub(super) target: Target,
    pub(super) usage: Usage,
    namespace: Arc<Namespace>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: bool,
    /// By subscription: its inbox, and which of its targets this is.
    inboxes: BTreeMap<u64, (Arc<Inbox>, usize)>,
}

impl Tap {
    pub(super) fn new(target: Target, namespace: Arc<Namespace>) -> Tap {
        Tap { target, namespace, usage: Usage::default(), state: Mutex::default() }
    }

    pub(super) fn join(&self, id: u64, inbox: &Arc<Inbox>, place: usize) {
        self.state().inboxes.insert(id, (inbox.clone(), place));
    }

    pub(super) fn leave(&self, id: u64) {
        self.state().inboxes.remove(&id);
    }

    /// Whether the bus delivers to it now.
    pub(super) fn is_ready(&self) -> bool {
        self.state().ready
    }

    /// Serves it until nobody wants it any more.
    pub(super) async fn run(self: Arc<Tap>, shared: Arc<Shared>) {
        let retired = async {
            loop {
                self.usage.idle(shared.settings.linger).await;
                if shared.retire_tap(&self) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = retired => {}
            () = self.pump(&shared) => {}
        }
    }

    async fn pump(&self, shared: &Shared) {
        let mut pause = RETRY_MIN;
        loop {
            match shared.bus.subscribe(self.target.clone()).await {
                Ok(mut deliveries) => {
                    pause = RETRY_MIN;
                    self.set_ready(true);
                    while let Some(delivery) = deliveries.next().await {
                        self.deliver(shared, delivery);
                    }
                    self.set_ready(false);
                }
                Err(error) => {
                    tracing::debug!(target = %self.target, %error, "the bus refused a subscription")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn set_ready(&self, ready: bool) {
        let mut state = self.state();
        state.ready = ready;
        let inboxes: Vec<_> = state.inboxes.values().cloned().collect();
        drop(state);
        inboxes.iter().for_each(|(inbox, _)| inbox.wake());
    }

    fn deliver(&self, shared: &Shared, delivery: Delivery) {
        let counters = &shared.counters;
        match delivery {
            Delivery::Lost(count) => {
                counters.bus_lost.fetch_add(count, Relaxed);
            }
            Delivery::Message(message) => {
                counters.bus_messages.fetch_add(1, Relaxed);
                match self.read(shared, message) {
                    Some(item) => self.hand_out(shared, &Arc::new(item)),
                    None => {
                        counters.bus_rejected.fetch_add(1, Relaxed);
                    }
                }
            }
        }
    }

    fn hand_out(&self, shared: &Shared, item: &Arc<Incoming>) {
        let dropped =
            self.state().inboxes.values().filter(|(inbox, place)| !inbox.push(*place, item)).count();
        shared.counters.slow_dropped.fetch_add(dropped as u64, Relaxed);
        shared.keep_inboxes();
    }

    /// On a durable channel, what it announces and exactly its four fields; else the payload as it came.
    fn read(&self, shared: &Shared, message: Message) -> Option<Incoming> {
        if !self.target.matches(message.channel.as_str()) {
            return None;
        }
        let channel: Arc<str> = message.channel.as_str().into();
        if !self.namespace.is_durable() {
            return Some(self.incoming(Live::new(channel, message.payload), Origin::Message));
        }
        let announcement = Announcement::parse(&message.payload)?;
        let position: Position = announcement.position.parse().ok()?;
        let origin = self.origin(shared, position)?;
        let live = Live::new(channel, announcement.encode());
        Some(self.incoming(live, origin))
    }

    fn incoming(&self, live: Live, origin: Origin) -> Incoming {
        let key = self.namespace.conflate_key().map(|key| key.of(&live.channel, &live.payload));
        Incoming { live: Arc::new(live), origin, key }
    }

    fn origin(&self, shared: &Shared, position: Position) -> Option<Origin> {
        let topic = self.namespace.topic.clone();
        let bounds = shared.log.bounds(&topic).ok()?;
        let latest =
            bounds.latest.get(position.partition as usize).filter(|_| bounds.epoch == position.epoch)?;
        Some(match position.offset < *latest {
            true => Origin::Announced(topic, position),
            false => Origin::Ahead(topic),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

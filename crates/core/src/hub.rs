//! The hub: serves every subscriber of a node from the log, and what is not in the log from the bus.
//!
//! ```text
//! Log ── feed ──▶ ring (one per topic) ─┐ level: follow the ring
//!  └──────────── pages ─────────────────┤ behind: read the log    ──▶ Subscription::next ──▶ session
//! Bus ── tap (one per target) ─▶ inbox ─┘ live and bus-only items
//! ```
//! *Reliable* subscriptions see a contiguous run of their channels in log order from where they asked, no gap, no
//! duplicate, or an explicit [`Item::Unrecoverable`]. They own no queue. *Live* ones get announcements from the bus or
//! the ring, whichever comes first, each position once. Nothing here trusts the bus.
//!
//! It checks no permissions, knows no wire protocol, and spawns nothing: the [`Runner`] does all background work.

mod account;
mod allowance;
mod backlog;
mod counters;
mod entry;
mod feed;
mod frames;
mod history;
mod inbox;
mod live;
mod pages;
mod reader;
mod recent;
mod request;
mod ring;
mod scan;
mod seen;
mod shared;
mod start;
mod subscription;
mod tap;
mod usage;
mod vector;
mod wake;

pub use allowance::Allowance;
pub use counters::Counters;
pub use entry::{Entry, LazyWire};
pub use frames::Slot;
pub use live::Live;
pub use request::{
    HISTORY_LIMIT_MAX, History, HistoryGap, HistoryPage, Item, Mode, OnUnrecoverable, RECENT_MAX, Since,
    Start, Subscribe,
};
pub use subscription::Subscription;

use crate::bus::{self, Bus};
use crate::channel::Target;
use crate::log::Log;
use crate::namespace::Namespace;
use crate::namespace::Namespaces;
use crate::position::{Position, Resume};
use crate::topic::TopicName;
use crate::{Error, ErrorKind, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reader::Interest;
use shared::{Job, Shared};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Limits of a hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most bytes in all rings of the node.
    pub ring_bytes_max: usize,
    /// Most bytes of one page that a subscription reads when it is behind.
    pub page_bytes_max: usize,
    /// How long a ring or bus subscription outlives its last subscriber.
    pub linger: Duration,
    /// Most channels and patterns of one subscription.
    pub targets_max: usize,
    /// Most bytes of live and bus-only items that wait for one client, over all its subscriptions; one item always fits.
    pub inbox_bytes_max: usize,
    /// Most bytes of live and bus-only items that wait for all subscribers together; past it the largest queue is
    /// dropped first, and its subscriber told.
    pub inboxes_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            ring_bytes_max: 64 << 20,
            page_bytes_max: 256 << 10,
            linger: Duration::from_secs(5),
            targets_max: 128,
            inbox_bytes_max: 1 << 20,
            inboxes_bytes_max: 512 << 20,
        }
    }
}

/// Handle to the hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

/// Does the background work of a hub: feeds of topics and subscriptions of the bus. When it ends or is dropped, all
/// subscriptions end.
pub struct Runner {
    shared: Arc<Shared>,
    jobs: UnboundedReceiver<Job>,
}

impl Runner {
    /// Works until `shutdown` resolves.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut running = FuturesUnordered::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(job) = self.jobs.recv() => running.push(job),
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Hub {
    /// A hub over `log` and `bus`. Nothing moves until the runner runs.
    pub fn new(
        settings: Settings,
        log: Arc<dyn Log>,
        bus: Arc<dyn Bus>,
        namespaces: Namespaces,
    ) -> (Hub, Runner) {
        let (sender, jobs) = unbounded_channel();
        let shared = Arc::new(Shared::new(settings, log, bus, namespaces, sender));
        (Hub { shared: shared.clone() }, Runner { shared, jobs })
    }

    /// Makes a subscription. What is published after this resolves is delivered.
    ///
    /// # Errors
    /// `too_many_channels`, `unknown_channel`, `invalid_channel`, `cursor_mismatch` (the token is of another kind of
    /// subscription), `unknown_topic`; `Closed` after shutdown. A start that cannot be had is no error but the first
    /// item.
    pub async fn subscribe(&self, request: Subscribe) -> Result<Subscription> {
        self.subscribe_within(&self.allowance(), request).await
    }

    /// How much may wait for one client: for all the subscriptions it makes with
    /// [`subscribe_within`](Hub::subscribe_within).
    pub fn allowance(&self) -> Arc<Allowance> {
        Allowance::new(self.shared.settings.inbox_bytes_max)
    }

    /// Makes one of several subscriptions of one client, as [`subscribe`](Hub::subscribe) does.
    ///
    /// # Errors
    /// As there.
    pub async fn subscribe_within(
        &self,
        allowance: &Arc<Allowance>,
        request: Subscribe,
    ) -> Result<Subscription> {
        let Subscribe { targets, mode, start, on_unrecoverable } = request;
        let plan = Plan::new(&self.shared, &targets, mode)?;
        let mut subscription = Subscription::new(&self.shared, plan.targets, mode, allowance.clone())?;
        for (place, namespace) in &plan.taps {
            subscription.add_tap(*place, namespace);
        }
        let places = start::begin(&self.shared, &plan.interests, &start).await?;
        for (interest, place) in plan.interests.into_iter().zip(places) {
            subscription.add_reader(interest, place, on_unrecoverable);
        }
        subscription.bus_ready(&plan.bus_alone).await;
        Ok(subscription)
    }

    /// Reads a page of history of a durable channel or pattern.
    ///
    /// # Errors
    /// `Gone` (`position_unrecoverable`) when `since` cannot be had: see [`Hub::ends`]; `cursor_mismatch`;
    /// `not_stored` for a bus-only channel.
    pub async fn history(&self, request: History) -> Result<HistoryPage> {
        let interest = self.interest(&request.target)?;
        history::read(&self.shared, &interest, &request).await
    }

    /// The oldest place of a durable channel or pattern that can be had, and the end.
    ///
    /// # Errors
    /// As [`Hub::history`].
    pub fn ends(&self, target: &Target) -> Result<(Resume, Resume)> {
        let interest = self.interest(target)?;
        let bounds = self.shared.log.bounds(&interest.topic)?;
        let (earliest, latest) = history::ends(&interest, &bounds);
        Ok((Resume(vec![earliest]), Resume(vec![latest])))
    }

    /// What can be had instead of an event that is gone: the oldest place and the end of the topic its position is of, or
    /// of all durable topics when it is none's.
    pub fn ends_near(&self, position: Position) -> (Resume, Resume) {
        history::ends_near(&self.shared, position)
    }

    /// The event at a position.
    ///
    /// # Errors
    /// `NotFound` (`event_not_found`), `Gone` (`position_unrecoverable`).
    pub async fn event(&self, position: Position) -> Result<Arc<Entry>> {
        history::event(&self.shared, position).await
    }

    /// The first channels that subscriptions on this node name, in order, with how many do: those that begin with
    /// `prefix`, after `after`.
    pub fn named(&self, prefix: &str, after: Option<&str>, max: usize) -> Vec<(String, u64)> {
        self.shared.named(prefix, after, max)
    }

    /// All namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.shared.namespaces
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn interest(&self, target: &Target) -> Result<Interest> {
        let namespace = self.shared.namespaces.of(target.as_str())?;
        if !namespace.is_durable() {
            return Err(Error::invalid("not_stored", "channel", "nothing of a bus-only channel is stored"));
        }
        interest_in(namespace, target)
    }
}

fn interest_in(namespace: &Namespace, target: &Target) -> Result<Interest> {
    let single = match target {
        // Other programs spread a key over partitions as they like.
        Target::Channel(channel) if namespace.channel_from.is_none() => {
            Some(namespace.source_of(channel)?.1.to_owned())
        }
        Target::Channel(channel) => namespace.source_of(channel).map(|_| None)?,
        Target::Pattern(_) => None,
    };
    Ok(Interest { topic: namespace.topic.clone(), filter: namespace.filter(target), single })
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "closed", "the hub was shut down")
}

/// Which of a subscription's targets are read from which topic, and which from the bus.
struct Plan {
    targets: Vec<Target>,
    /// One per topic, by topic name.
    interests: Vec<Interest>,
    /// Targets heard on the bus.
    taps: Vec<(usize, Arc<Namespace>)>,
    /// Those that have nothing but the bus.
    bus_alone: Vec<Target>,
}

impl Plan {
    fn new(shared: &Shared, targets: &[Target], mode: Mode) -> Result<Plan> {
        let mut known = BTreeSet::new();
        let targets: Vec<Target> = targets.iter().filter(|t| known.insert(*t)).cloned().collect();
        let max = shared.settings.targets_max;
        if targets.is_empty() || targets.len() > max {
            let message = format!("a subscription names 1 to {max} channels");
            return Err(Error::invalid("too_many_channels", "channel", message).with_limit(max as u64));
        }
        let (mut by_topic, mut taps, mut bus_alone) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (place, target) in targets.iter().enumerate() {
            let namespace = shared.namespaces.of(target.as_str())?;
            let live = mode == Mode::Live && namespace.is_announced();
            let read = namespace.is_durable() && (!live || namespace.live_feed);
            if read {
                add_interest(&mut by_topic, interest_in(namespace, target)?);
            } else {
                bus_alone.push(target.clone());
            }
            // A pattern it cannot be asked for comes from the ring.
            let is_heard = shared.bus.has_patterns() || matches!(target, Target::Channel(_));
            if !read && !is_heard {
                return Err(bus::no_patterns(target));
            }
            if is_heard && (live || !namespace.is_durable()) {
                taps.push((place, namespace.clone()));
            }
        }
        Ok(Plan { targets, interests: by_topic.into_values().collect(), taps, bus_alone })
    }
}

fn add_interest(by_topic: &mut BTreeMap<TopicName, Interest>, more: Interest) {
    match by_topic.remove(&more.topic) {
        None => by_topic.insert(more.topic.clone(), more),
        Some(Interest { topic, filter, .. }) => {
            let filter = filter.union(more.filter);
            by_topic.insert(topic.clone(), Interest { topic, filter, single: None })
        }
    };
}

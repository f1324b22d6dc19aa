//! What all tasks of a run share.

use crate::bus::SimBus;
use crate::checker::{Checker, TOPICS};
use crate::clock::SimClock;
use crate::dice::Dice;
use crate::history::{Broken, History};
use crate::node::Node;
use crate::plan::Plan;
use crate::upstream::SharedLog;
use dualstream_core::log::{Bounds, Log};
use dualstream_core::namespace::{Namespace, Namespaces, SlowClient, Stream};
use dualstream_core::topic::TopicName;
use dualstream_log::MemoryStorage;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// One run's world.
pub struct World {
    /// What the seed stands for.
    pub plan: Plan,
    /// What happened.
    pub history: History,
    /// The disk of each node; it outlives every life of it.
    pub disks: Vec<MemoryStorage>,
    /// Where the log stands when it stands elsewhere.
    pub upstream: Option<SharedLog>,
    /// The bus; it outlives every node.
    pub bus: SimBus,
    /// The machine's clock.
    pub clock: Arc<SimClock>,
    /// The nodes that are up, by disk.
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    node_changed: Notify,
    draining: AtomicBool,
    checker: Mutex<Checker>,
}

impl World {
    /// A world without a node.
    pub fn new(plan: Plan, history: History, bus: SimBus, checker: Checker) -> World {
        let (clock, count) = (Arc::new(SimClock::start()), plan.cluster.as_ref().map_or(1, |c| c.nodes));
        let upstream = plan.cluster.is_some().then(|| SharedLog::new(clock.clone(), count));
        World {
            plan,
            history,
            disks: (0..count).map(|_| MemoryStorage::new()).collect(),
            upstream,
            bus,
            clock,
            nodes: Mutex::new(vec![None; count]),
            node_changed: Notify::new(),
            draining: AtomicBool::new(false),
            checker: Mutex::new(checker),
        }
    }

    /// The checker, for one step.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the checker judge; true when it found nothing.
    pub fn check(&self, judge: impl FnOnce(&mut Checker) -> Result<(), Broken>) -> bool {
        let verdict = judge(&mut self.checker());
        self.history.expect(verdict)
    }

    /// The nodes that are up.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.slots().iter().flatten().cloned().collect()
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Option<Arc<Node>>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node on a disk came up, or went down.
    pub fn set_node(&self, disk: usize, node: Option<Arc<Node>>) {
        self.slots()[disk] = node;
        self.node_changed.notify_waiters();
    }

    /// Bounds of both topics of the log itself, whatever a node knows of it.
    pub fn bounds(&self) -> Option<[Bounds; 2]> {
        match &self.upstream {
            Some(log) => Some([log.bounds(&topic(0))?, log.bounds(&topic(1))?]),
            None => bounds(&*self.nodes().first()?.log),
        }
    }

    /// One of the disks; where there is one, the dice are not thrown.
    pub fn any_disk(&self, dice: &Dice) -> usize {
        if self.disks.len() == 1 { 0 } else { dice.below(self.disks.len() as u64) as usize }
    }

    /// Takes note of how far retention has come, unless the log is never trimmed.
    pub fn note_starts(&self, log: &dyn Log) {
        if let Some(bounds) = bounds(log).filter(|_| self.upstream.is_none()) {
            let mut topics = (0..).zip(&bounds);
            self.check(|checker| topics.try_for_each(|(topic, bounds)| checker.trimmed(topic, bounds)));
        }
    }

    /// One of the nodes, as soon as one is up.
    pub async fn up(&self, dice: &Dice) -> Arc<Node> {
        loop {
            let changed = self.node_changed.notified();
            let mut up = self.nodes();
            match up.len() {
                0 => changed.await,
                1 => return up.remove(0),
                _ => return dice.pick(&up).clone(),
            }
        }
    }

    /// Resolves when this node is no longer up.
    pub async fn gone(&self, node: &Node) {
        loop {
            let changed = self.node_changed.notified();
            if self.nodes().iter().all(|up| up.number != node.number) {
                return;
            }
            changed.await;
        }
    }

    /// Whether subscribers shall end once nothing comes any more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Everything is published.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }
}

/// The topics by name, as [`TOPICS`].
pub fn topic(index: usize) -> TopicName {
    TopicName::new(TOPICS[index]).expect("the names are legal")
}

/// Bounds of both topics.
pub fn bounds(log: &dyn Log) -> Option<[Bounds; 2]> {
    Some([log.bounds(&topic(0)).ok()?, log.bounds(&topic(1)).ok()?])
}

/// The two durable namespaces of every run.
pub fn namespaces() -> Namespaces {
    let namespace = |index: usize| Namespace {
        name: TOPICS[index].into(),
        stream: Stream::Dual,
        topic: topic(index),
        slow_client: SlowClient::Disconnect,
        live_feed: true,
        channel_from: None,
    };
    Namespaces::new(vec![namespace(0), namespace(1)], None)
}

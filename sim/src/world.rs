//! What all tasks of a run share.

use crate::bus::SimBus;
use crate::checker::{Checker, TOPICS};
use crate::clock::SimClock;
use crate::history::{Broken, History};
use crate::node::Node;
use crate::plan::Plan;
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
    /// The disk; it outlives every node.
    pub storage: MemoryStorage,
    /// The bus; it outlives every node.
    pub bus: SimBus,
    /// The machine's clock.
    pub clock: Arc<SimClock>,
    node: Mutex<Option<Arc<Node>>>,
    node_changed: Notify,
    draining: AtomicBool,
    checker: Mutex<Checker>,
}

impl World {
    /// A world without a node.
    pub fn new(plan: Plan, history: History, bus: SimBus, checker: Checker) -> World {
        World {
            plan,
            history,
            storage: MemoryStorage::new(),
            bus,
            clock: Arc::new(SimClock::start()),
            node: Mutex::new(None),
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

    /// The node that is up.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A node came up, or went down.
    pub fn set_node(&self, node: Option<Arc<Node>>) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
        self.node_changed.notify_waiters();
    }

    /// Takes note of how far retention has come.
    pub fn note_starts(&self, log: &dyn Log) {
        if let Some(bounds) = bounds(log) {
            let mut topics = (0..).zip(&bounds);
            self.check(|checker| topics.try_for_each(|(topic, bounds)| checker.trimmed(topic, bounds)));
        }
    }

    /// The node, as soon as one is up.
    pub async fn up(&self) -> Arc<Node> {
        loop {
            let changed = self.node_changed.notified();
            match self.node() {
                Some(node) => return node,
                None => changed.await,
            }
        }
    }

    /// Resolves when this node is no longer up.
    pub async fn gone(&self, node: &Node) {
        loop {
            let changed = self.node_changed.notified();
            if self.node().is_none_or(|up| up.number != node.number) {
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

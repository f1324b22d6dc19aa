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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

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
    /// The node that is up.
    pub node: watch::Sender<Option<Arc<Node>>>,
    /// Whether subscribers shall end once nothing comes any more.
    pub draining: watch::Sender<bool>,
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
            node: watch::Sender::new(None),
            draining: watch::Sender::new(false),
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

    /// The node, as soon as one is up.
    pub async fn up(&self) -> Arc<Node> {
        let mut node = self.node.subscribe();
        let up = node.wait_for(Option::is_some).await;
        up.ok().and_then(|node| node.clone()).expect("the world holds the sender, and waited for a node")
    }

    /// Resolves when this node is no longer up.
    pub async fn gone(&self, node: &Node) {
        let mut now = self.node.subscribe();
        let other = |up: &Option<Arc<Node>>| up.as_ref().is_none_or(|up| up.number != node.number);
        let _ended_with_the_world = now.wait_for(other).await;
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
    };
    Namespaces::new(vec![namespace(0), namespace(1)], None)
}

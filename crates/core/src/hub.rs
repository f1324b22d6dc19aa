//! The hub: serves every subscriber of a node from the log.

mod counters;
mod entry;
mod request;
mod subscription;

pub use counters::Counters;
pub use entry::{Entry, LazyWire, Slot};
pub use request::{
    HISTORY_LIMIT_MAX, History, HistoryPage, Item, Mode, OnUnrecoverable, RECENT_MAX, Since, Start, Subscribe,
};
pub use subscription::Subscription;

use crate::bus::Bus;
use crate::log::Log;
use crate::namespace::Namespaces;
use crate::position::Position;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

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
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            ring_bytes_max: 64 << 20,
            page_bytes_max: 256 << 10,
            linger: Duration::from_secs(5),
            targets_max: 128,
        }
    }
}

/// Handle to the hub. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    namespaces: Namespaces,
    counters: Arc<Counters>,
}

/// Owns the feeds and bus subscriptions of a hub.
pub struct Runner {}

impl Runner {
    /// Works until `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
    }
}

impl Hub {
    /// A hub over `log` and `bus`.
    pub fn new(
        settings: Settings,
        log: Arc<dyn Log>,
        bus: Arc<dyn Bus>,
        namespaces: Namespaces,
    ) -> (Hub, Runner) {
        let _ = (settings, log, bus);
        (Hub { namespaces, counters: Arc::default() }, Runner {})
    }

    /// Makes a subscription.
    pub async fn subscribe(&self, request: Subscribe) -> Result<Subscription> {
        let _ = request;
        Err(Error::new(ErrorKind::Closed, "closed", "the hub was shut down"))
    }

    /// Reads a page of history.
    pub async fn history(&self, request: History) -> Result<HistoryPage> {
        let _ = request;
        Err(Error::new(ErrorKind::Closed, "closed", "the hub was shut down"))
    }

    /// The event at a position.
    pub async fn event(&self, position: Position) -> Result<Arc<Entry>> {
        let _ = position;
        Err(Error::new(ErrorKind::Closed, "closed", "the hub was shut down"))
    }

    /// All namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

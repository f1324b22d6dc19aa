//! This node in the registry.

use super::table::Table;
use super::{
    Connection, Counters, Instance, InstanceId, Instances, Listed, Owner, Page, PageEnd, Registry, Runner,
    Settings,
};
use crate::Result;
use crate::bus::Health;
use crate::clock::{Clock, Entropy};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};
use std::fmt;
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

/// A node as a member of the registry: what sessions tell of their connections, and what anybody asks. Telling never
/// waits: it changes a table in memory, bounded in bytes, and the [`Runner`] says the changes to the registry in
/// batches, and everything again where the registry lost it. Cheap to clone.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
}

/// What a node tells of itself that never changes.
#[derive(Clone, Debug)]
pub struct About {
    /// This run of this node; [`InstanceId::fresh`].
    pub id: InstanceId,
    /// Version of the program.
    pub version: Arc<str>,
    /// Where it listens, as `host:port`.
    pub address: Arc<str>,
}

pub(super) struct Shared {
    pub settings: Settings,
    pub registry: Arc<dyn Registry>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Counters,
    pub changed: Notify,
    about: About,
    started_ms: i64,
    incarnation: AtomicU64,
    table: Mutex<Table>,
    health: Mutex<Health>,
}

impl Membership {
    /// A member that is not in the registry yet, and what keeps it there while it runs.
    pub fn new(
        settings: Settings,
        registry: Arc<dyn Registry>,
        about: About,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> (Membership, Runner) {
        let started_ms = clock.now_ms();
        let health = Health::Down { since_ms: started_ms, reason: "it was not reached yet".into() };
        let shared = Arc::new(Shared {
            settings,
            registry,
            clock,
            entropy,
            counters: Counters::default(),
            changed: Notify::new(),
            about,
            started_ms,
            incarnation: AtomicU64::new(0),
            table: Mutex::default(),
            health: Mutex::new(health),
        });
        (Membership { shared: shared.clone() }, Runner::new(shared))
    }

    /// A client connected, or something of it changed.
    pub fn put(&self, connection: Connection) {
        if self.shared.table().put(connection, self.shared.settings.table_bytes_max) {
            self.shared.changed.notify_one();
        } else {
            self.shared.counters.left_out.fetch_add(1, Relaxed);
        }
    }

    /// A client is gone. One that was never put is no error.
    pub fn remove(&self, client: &str) {
        self.shared.table().remove(client);
        self.shared.changed.notify_one();
    }

    /// This node.
    pub fn id(&self) -> &InstanceId {
        &self.shared.about.id
    }

    /// Of the whole registry, see [`Registry::instances`].
    ///
    /// # Errors
    /// The backend's.
    pub async fn instances(&self) -> Result<Vec<Listed>> {
        let Instances { listed, unread } = self.shared.registry.instances().await?;
        self.shared.counters.unread.fetch_add(unread, Relaxed);
        Ok(listed)
    }

    /// Of the whole registry, see [`Registry::connections`].
    ///
    /// # Errors
    /// `page_invalid`; the backend's.
    pub async fn connections(
        &self,
        instance: InstanceId,
        after: Option<PageEnd>,
        limit: usize,
    ) -> Result<Page> {
        self.shared.registry.connections(instance, after, limit).await
    }

    /// Whether the registry holds this node now.
    pub fn health(&self) -> Health {
        self.shared.health().clone()
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

impl Shared {
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The incarnation that is, or was last.
    pub fn owner(&self) -> Owner {
        Owner { id: self.about.id.clone(), incarnation: self.incarnation.load(Relaxed) }
    }

    pub fn begin_incarnation(&self) {
        self.incarnation.fetch_add(1, Relaxed);
        self.counters.incarnations.fetch_add(1, Relaxed);
    }

    /// What to tell of this node now.
    pub fn instance(&self) -> Instance {
        Instance {
            owner: self.owner(),
            version: self.about.version.clone(),
            address: self.about.address.clone(),
            started_ms: self.started_ms,
            connections: self.table().len() as u64,
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("owner", &self.shared.owner()).finish_non_exhaustive()
    }
}

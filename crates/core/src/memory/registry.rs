//! The registry of nodes that live in one process: simulations and tests.
//!
//! Guarantees what [`Registry`] does, with leases by the clock it is given. It reaches no other process.

use crate::Result;
use crate::clock::Clock;
use crate::registry::{
    Beat, Connection, INSTANCES_MAX, Instance, InstanceId, Instances, LEASE, Listed, Owner,
    PAGE_CONNECTIONS_MAX, Page, PageEnd, Registry, Removal, fenced,
};
use crate::sync::{Mutex, MutexGuard};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// An in-process [`Registry`].
#[derive(Debug)]
pub struct MemoryRegistry {
    clock: Arc<dyn Clock>,
    standing: Mutex<BTreeMap<InstanceId, Standing>>,
}

/// An instance with its connections, each until when it stands.
#[derive(Debug)]
struct Standing {
    instance: Instance,
    until_ms: i64,
    connections: BTreeMap<Arc<str>, (Arc<Connection>, i64)>,
}

impl MemoryRegistry {
    /// A registry that is empty.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryRegistry {
        MemoryRegistry { clock, standing: Mutex::default() }
    }

    /// Forgets everything, as a server does that was emptied.
    pub fn clear(&self) {
        self.standing().clear();
    }

    /// What stands now.
    fn standing(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Standing>> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        standing.retain(|_, standing| standing.until_ms > now_ms);
        standing
    }

    fn until_ms(&self) -> i64 {
        self.clock.now_ms() + LEASE.as_millis() as i64
    }

    fn beat(&self, instance: Instance, beat: Beat) -> Result<usize> {
        let mut all = self.standing();
        let until_ms = self.until_ms();
        let owner = &instance.owner;
        let present = all.get(&owner.id).map(|standing| standing.instance.owner.incarnation);
        let connections = match beat {
            Beat::Begin if present.is_some_and(|present| present >= owner.incarnation) => {
                return Err(fenced());
            }
            Beat::Begin => BTreeMap::new(),
            Beat::Renew => std::mem::take(&mut owned(&mut all, owner)?.connections),
        };
        let count = connections.len();
        all.insert(owner.id.clone(), Standing { instance, until_ms, connections });
        Ok(count)
    }

    fn put_now(&self, owner: &Owner, connections: Vec<Arc<Connection>>) -> Result<()> {
        let until_ms = self.until_ms();
        let mut all = self.standing();
        let standing = owned(&mut all, owner)?;
        let entries = connections.into_iter().map(|one| (one.client.clone(), (one, until_ms)));
        standing.connections.extend(entries);
        Ok(())
    }

    fn remove_now(&self, owner: &Owner, removal: Removal) -> Result<()> {
        let mut all = self.standing();
        let standing = owned(&mut all, owner)?;
        match removal {
            Removal::Instance => drop(all.remove(&owner.id)),
            Removal::Connections(clients) => {
                clients.iter().for_each(|client| drop(standing.connections.remove(client)));
            }
        }
        Ok(())
    }

    fn listed(&self) -> Vec<Listed> {
        let now_ms = self.clock.now_ms();
        let left = |until_ms: i64| Duration::from_millis(u64::try_from(until_ms - now_ms).unwrap_or(0));
        let all = self.standing();
        let listed = all.values().map(|s| Listed { instance: s.instance.clone(), left: left(s.until_ms) });
        listed.take(INSTANCES_MAX).collect()
    }

    fn page(&self, instance: &InstanceId, after: Option<PageEnd>, limit: usize) -> Page {
        let now_ms = self.clock.now_ms();
        let all = self.standing();
        let Some(standing) = all.get(instance) else { return Page::default() };
        let from = after.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&*end.0));
        let mut rest = standing.connections.range::<str, _>((from, Bound::Unbounded)).peekable();
        let page: Vec<_> = rest.by_ref().take(limit.clamp(1, PAGE_CONNECTIONS_MAX)).collect();
        let next = rest.peek().and(page.last()).map(|(client, _)| PageEnd((&***client).into()));
        let alive = page.into_iter().filter(|(_, (_, until_ms))| *until_ms > now_ms);
        Page { connections: alive.map(|(_, (connection, _))| (**connection).clone()).collect(), next }
    }
}

/// The instance, where this owner is the one that stands there.
fn owned<'a>(all: &'a mut BTreeMap<InstanceId, Standing>, owner: &Owner) -> Result<&'a mut Standing> {
    all.get_mut(&owner.id).filter(|standing| standing.instance.owner == *owner).ok_or_else(fenced)
}

impl Registry for MemoryRegistry {
    fn heartbeat(&self, instance: Instance, beat: Beat) -> BoxFuture<'_, Result<usize>> {
        async move { self.beat(instance, beat) }.boxed()
    }

    fn put(&self, owner: Owner, connections: Vec<Arc<Connection>>) -> BoxFuture<'_, Result<()>> {
        async move { self.put_now(&owner, connections) }.boxed()
    }

    fn remove(&self, owner: Owner, removal: Removal) -> BoxFuture<'_, Result<()>> {
        async move { self.remove_now(&owner, removal) }.boxed()
    }

    fn instances(&self) -> BoxFuture<'_, Result<Instances>> {
        ready(Ok(Instances { listed: self.listed(), unread: 0 })).boxed()
    }

    fn connections(
        &self,
        instance: InstanceId,
        after: Option<PageEnd>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page>> {
        ready(Ok(self.page(&instance, after, limit))).boxed()
    }
}

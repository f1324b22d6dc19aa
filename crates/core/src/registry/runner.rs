//! Keeps a node in the registry.
//!
//! ```text
//!           ┌────────────── any error, or what stands there is not what was said ─────────────┐
//!           ▼                                                                                 │
//!  ─▶ next incarnation: begin, put all ──▶ say changes ◀──▶ each half minute: renew, put all ─┘
//! ```
//! There is one way back from everything (the lease ended, the registry was emptied, lost its last writes, or did not
//! answer): the next incarnation.

use super::membership::Shared;
use super::{Beat, Removal};
use crate::bus::Health;
use crate::clock::spread;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// Keeps a [`Membership`](super::Membership) in the registry while it runs.
pub struct Runner {
    shared: Arc<Shared>,
    retry: Duration,
}

impl Runner {
    pub(super) fn new(shared: Arc<Shared>) -> Runner {
        let retry = shared.settings.retry;
        Runner { shared, retry }
    }

    /// Runs until `shutdown` resolves, then takes this node with all its connections out of the registry. That is tried
    /// once: where it fails, the lease ends by itself.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = shutdown => {}
            () = self.stay() => {}
        }
        let left = self.shared.registry.remove(self.shared.owner(), Removal::Instance).await;
        if let Err(error) = left {
            tracing::debug!(
                code = error.code(),
                "this node stays in the registry until its lease ends: {error}"
            );
        }
    }

    async fn stay(&mut self) {
        loop {
            let Err(error) = self.incarnation().await;
            self.lost(&error);
            let pause = spread(self.retry, 0.5, &*self.shared.entropy);
            self.retry = (self.retry * 2).min(self.shared.settings.retry_max);
            tokio::time::sleep(pause).await;
        }
    }

    /// One incarnation, from its beginning to the error that ends it.
    async fn incarnation(&mut self) -> Result<std::convert::Infallible> {
        let shared = self.shared.clone();
        shared.begin_incarnation();
        shared.registry.heartbeat(shared.instance(), Beat::Begin).await?;
        shared.table().begin();
        self.say().await?;
        self.reached();
        loop {
            let due = Instant::now() + spread(shared.settings.heartbeat, 0.1, &*shared.entropy);
            self.say_until(due).await?;
            self.renew().await?;
        }
    }

    /// Says changes until it is time for a heartbeat.
    async fn say_until(&self, due: Instant) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => return Ok(()),
                () = self.shared.changed.notified() => {}
            }
            if self.shared.table().has_pending() {
                tokio::time::sleep(self.shared.settings.gather).await;
                self.say().await?;
            }
        }
    }

    /// The heartbeat: the lease of the instance, then that of each connection.
    async fn renew(&self) -> Result<()> {
        let said = self.shared.table().standing();
        let stands = self.shared.registry.heartbeat(self.shared.instance(), Beat::Renew).await?;
        if stands != said {
            let message = format!("{stands} connections stand in the registry where {said} were put");
            return Err(Error::new(ErrorKind::Conflict, "registry_differs", message));
        }
        self.shared.counters.heartbeats.fetch_add(1, Relaxed);
        self.shared.table().renew();
        self.say().await
    }

    /// Says all that is to be said.
    async fn say(&self) -> Result<()> {
        let Shared { settings, registry, .. } = &*self.shared;
        let take = || self.shared.table().take(settings.batch_max, settings.batch_bytes_max);
        while let Some(batch) = take() {
            if !batch.put.is_empty() {
                registry.put(self.shared.owner(), batch.put).await?;
            }
            if !batch.remove.is_empty() {
                registry.remove(self.shared.owner(), Removal::Connections(batch.remove)).await?;
            }
        }
        Ok(())
    }

    fn reached(&mut self) {
        self.retry = self.shared.settings.retry;
        let before = std::mem::replace(&mut *self.shared.health(), Health::Up);
        if before != Health::Up {
            let incarnation = self.shared.owner().incarnation;
            tracing::info!(incarnation, "this node stands in the registry");
        }
    }

    fn lost(&mut self, error: &Error) {
        self.shared.table().lose();
        self.shared.counters.errors.fetch_add(1, Relaxed);
        let mut health = self.shared.health();
        let since_ms = match &*health {
            Health::Up => self.shared.clock.now_ms(),
            Health::Down { since_ms, .. } => *since_ms,
        };
        if *health == Health::Up {
            let code = error.code();
            tracing::warn!(
                code,
                "this node does not stand in the registry any more, and begins again: {error}"
            );
        }
        *health = Health::Down { since_ms, reason: error.message().to_owned() };
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

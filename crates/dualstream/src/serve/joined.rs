//! This node among those that share a Redis: who is connected to it stands in the registry, and the prefix is its log's.
//! Without Redis it is alone. What differs between them ends in `joined/redis.rs`.

use super::backend::World;
use crate::settings::Settings;
use dualstream_core::bus::Health;
use dualstream_core::log_id::LogId;
use dualstream_core::registry::{About, Membership};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[cfg(feature = "redis")]
mod redis;

/// What keeps this node among the others.
#[derive(Default)]
pub(super) struct Joined {
    pub membership: Option<Membership>,
    /// Whether the prefix is this node's log's.
    pub prefix: Option<Arc<dyn Fn() -> Health + Send + Sync>>,
    /// What runs behind it, ended in order by dropping the sender.
    running: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Joined {
    /// Joins the nodes that share the Redis of the settings. Whether that can be reached is no condition.
    ///
    /// # Errors
    /// `log_conflict`: Redis says that the prefix is another log's. What the settings name and cannot be read.
    pub async fn join(
        settings: &Settings,
        own: &About,
        log: Option<LogId>,
        world: &World,
    ) -> anyhow::Result<Joined> {
        #[cfg(feature = "redis")]
        if let Some(log) = log.filter(|_| settings.bus.redis.is_set()) {
            return redis::join(&settings.bus, own.clone(), log, world).await;
        }
        #[cfg(not(feature = "redis"))]
        let _ = (settings, own, log, world);
        Ok(Joined::default())
    }

    /// Takes the node out of the registry, and gives up its claim.
    pub async fn leave(self) {
        let (stops, tasks): (Vec<_>, Vec<_>) = self.running.into_iter().unzip();
        drop(stops);
        for task in tasks {
            // A panic was logged on its way out; the leases end by themselves.
            let _ = task.await;
        }
    }
}

//! The bus that is served: in this process, or Redis. What differs between them ends in `redis.rs`.

use super::backend::World;
use crate::settings::Settings;
use dualstream_core::bus::Bus;
use dualstream_core::memory::bus::MemoryBus;
use dualstream_gateway::BusStats;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a server needs of its bus.
pub(super) struct LiveBus {
    pub bus: Arc<dyn Bus>,
    pub stats: Option<Arc<dyn BusStats>>,
    /// What runs behind it, ended in order by dropping the sender.
    pub running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl LiveBus {
    /// Starts the bus that the settings name; whether it can be reached is no condition.
    ///
    /// # Errors
    /// What the settings name and cannot be read.
    pub fn open(settings: &Settings, world: &World) -> anyhow::Result<LiveBus> {
        #[cfg(feature = "redis")]
        if settings.bus.redis.is_set() {
            return super::redis::open(settings, world);
        }
        let _ = (settings, world);
        Ok(LiveBus { bus: Arc::new(MemoryBus::default()), stats: None, running: None })
    }

    /// Publishes what waits, and ends.
    pub async fn close(self) {
        if let Some((stop, task)) = self.running {
            drop(stop);
            // A panic was logged on its way out; the bus is only a hint.
            let _ = task.await;
        }
    }
}

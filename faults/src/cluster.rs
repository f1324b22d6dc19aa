//! The cluster all tests of a program share, one after the other: three brokers, each behind a fault proxy.

use anyhow::Result;
use dualstream_services::kafka::Setup;
use dualstream_services::{Kafka, Proxy};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

/// The cluster, while one test has it for itself. It is whole when it is given out.
pub struct Cluster {
    kafka: OwnedMutexGuard<Kafka>,
    /// The last test that has it or waits for it ends it: nothing is dropped when a program of tests ends.
    _shared: Arc<Shared>,
}

struct Shared {
    kafka: Arc<tokio::sync::Mutex<Kafka>>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Waits for its turn.
    ///
    /// # Errors
    /// When the cluster does not start, or cannot be mended after the test before.
    pub async fn get() -> Result<Cluster> {
        let shared = tokio::task::spawn_blocking(shared).await??;
        let mut kafka = shared.kafka.clone().lock_owned().await;
        for broker in &kafka.brokers {
            if let Some(proxy) = &broker.proxy {
                proxy.heal();
            }
            if broker.process.id().is_some() {
                broker.process.resume()?;
            }
        }
        kafka.restart_ended()?;
        Ok(Cluster { kafka, _shared: shared })
    }

    /// The proxies, one for each broker.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.brokers.iter().filter_map(|broker| broker.proxy.as_ref())
    }
}

fn shared() -> Result<Arc<Shared>> {
    static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = shared.upgrade() {
        return Ok(shared);
    }
    let dir = tempfile::tempdir()?;
    let kafka = Setup::new(3).proxied();
    // Brokers forget producers as soon as the test that asks for it says so.
    let kafka =
        kafka.setting("producer.id.expiration.check.interval.ms", "500").start(&dir.path().join("kafka"))?;
    let started = Arc::new(Shared { kafka: Arc::new(tokio::sync::Mutex::new(kafka)), _dir: dir });
    *shared = Arc::downgrade(&started);
    Ok(started)
}

impl Deref for Cluster {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Kafka {
        &mut self.kafka
    }
}

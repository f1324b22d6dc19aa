//! The embedded log: everything is on this node.

use super::backend::{Backend, Store, World};
use super::parts::LogCounters;
use super::{log_settings, topics};
use crate::settings::Settings;
use anyhow::Context;
use dualstream_core::log_id::LogId;
use dualstream_log::{EmbeddedLog, FileStorage};
use std::sync::Arc;

/// Opens the data directory and creates what topics are missing.
pub(super) async fn open(
    settings: &Settings,
    world: &World,
    storage: FileStorage,
) -> anyhow::Result<Backend> {
    let in_dir = || format!("cannot open the log in {} (--data-dir)", settings.data_dir.display());
    let (log, writer) = dualstream_log::open(
        log_settings(settings),
        Arc::new(storage),
        world.clock.clone(),
        world.entropy.clone(),
    )
    .with_context(in_dir)?;
    let closing = log.clone();
    let store = Store::start(writer, move || closing.close())?;
    let stats = Arc::new(LogCounters(log.clone(), EmbeddedLog::counters));
    let log = Arc::new(log);
    if let Err(error) = topics::create(settings, &*log).await {
        // Closed in order, whatever could not be created: the next start goes on with what was.
        store.close().await;
        return Err(error);
    }
    let id = Some(LogId::Embedded(log.id()));
    Ok(Backend { log: log.clone(), topics: log.clone(), sources: log, stats, upstream: None, store, id })
}

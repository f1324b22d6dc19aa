//! The log that is served: embedded, or Kafka with its mirror here. What differs between them ends in this directory.

use super::disk;
use crate::settings::Settings;
use anyhow::Context;
use dualstream_core::Error;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::decisions::Decisions;
use dualstream_core::log::Log;
use dualstream_core::log_id::LogId;
use dualstream_core::mirror::MirroredLog;
use dualstream_core::sources::Sources;
use dualstream_core::topics::Topics;
use dualstream_gateway::LogStats;
use dualstream_log::{FileStorage, Storage, Writer};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// What a server needs of its log.
pub(super) struct Backend {
    pub log: Arc<dyn Log>,
    pub topics: Arc<dyn Topics>,
    pub sources: Arc<dyn Sources>,
    pub stats: Arc<dyn LogStats>,
    /// The log upstream, when it is not on this node.
    pub upstream: Option<Upstream>,
    pub store: Store,
    /// Which log it is, where anybody asks.
    pub id: Option<LogId>,
}

/// A log that several nodes share.
pub(super) struct Upstream {
    /// It, with the mirror here.
    pub log: MirroredLog,
    /// What the nodes decide in it.
    pub decisions: Decisions,
}

/// The files on this node, with the thread that writes them.
pub(super) struct Store {
    /// What ended the writer, if something did.
    pub failed: watch::Receiver<Option<Error>>,
    writer: std::thread::JoinHandle<()>,
    close: Box<dyn FnOnce() + Send>,
    /// Tasks that feed the files: they end before those are closed.
    feeding: Vec<tokio::task::JoinHandle<()>>,
}

/// Clock and randomness of the deployment.
#[derive(Clone)]
pub(super) struct World {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// Directory of the files on this node: an embedded log and a mirror are never in one.
pub(super) fn dir(settings: &Settings) -> PathBuf {
    match settings.log.kafka.are_set() {
        true => settings.data_dir.join("mirror"),
        false => settings.data_dir.clone(),
    }
}

impl Backend {
    /// Opens the log that the settings name.
    ///
    /// # Errors
    /// What cannot be opened or reached, with the setting that names it.
    pub async fn open(settings: &Settings, world: &World, storage: FileStorage) -> anyhow::Result<Backend> {
        disk::tell(&settings.data_dir, storage.free_bytes());
        #[cfg(feature = "kafka")]
        if settings.log.kafka.are_set() {
            return super::kafka::open(settings, world, storage).await;
        }
        super::embedded::open(settings, world, storage).await
    }
}

impl Store {
    /// Runs the writer on a thread of its own; `close` asks it to end in order.
    pub fn start(writer: Writer, close: impl FnOnce() + Send + 'static) -> anyhow::Result<Store> {
        let (failed, seen) = watch::channel(None);
        let run = move || {
            if let Err(error) = writer.run() {
                failed.send_replace(Some(error));
            }
        };
        let thread = std::thread::Builder::new().name("log-writer".into()).spawn(run);
        let writer = thread.context("cannot start a thread for the log")?;
        Ok(Store { failed: seen, writer, close: Box::new(close), feeding: Vec::new() })
    }

    /// A task that feeds the files from now on.
    pub fn feed(&mut self, task: tokio::task::JoinHandle<()>) {
        self.feeding.push(task);
    }

    /// Resolves when something that feeds the files ended: before it is told to, only by a panic.
    pub async fn starved(&mut self) {
        if self.feeding.is_empty() {
            return std::future::pending().await;
        }
        let (_, ended, _) = futures::future::select_all(&mut self.feeding).await;
        drop(self.feeding.remove(ended));
    }

    /// Ends what feeds the files, then closes them in order; false when the writer panicked.
    pub async fn close(self) -> bool {
        for task in self.feeding {
            task.abort();
            // Aborted on purpose; a panic was logged on its way out.
            let _ = task.await;
        }
        (self.close)();
        let writer = self.writer;
        matches!(tokio::task::spawn_blocking(move || writer.join()).await, Ok(Ok(())))
    }
}

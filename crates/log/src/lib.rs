//! The embedded durable log: the default backend of dualstream, and the format of a mirror.
//!
//! ```text
//!  commits ──▶ journal ──fdatasync──▶ ack           one per data directory: decides
//!                 │ copy, no sync
//!                 ▼
//!          topic stores ──▶ readers                 one per topic: segments + sidecar indexes: serve
//!                 ▲ sync
//!              checkpoint ──▶ journal files are free again
//! ```
//!
//! *The journal decides, topic stores serve* (the split of Apache BookKeeper): a commit is one journal frame and one
//! `fdatasync`, however many topics and partitions it touches; its batches are then copied into the stores, from
//! which everybody reads. So nobody reads what is not durable, and a commit is there whole or not at all.
//!
//! What it does not do: it is no Kafka broker (Kafka clients cannot connect to it), it does not replicate, and one
//! process owns a data directory.
#![forbid(unsafe_code)]

mod admin;
mod backup;
mod batch;
mod batches;
mod block_cache;
mod catalog;
mod checkpoint;
mod compaction;
mod counters;
mod embedded;
mod engine;
mod error;
mod guards;
mod index;
mod job;
mod journal;
mod leftovers;
mod mirror;
mod queue;
mod reader;
mod recovery;
mod repair;
mod replace;
mod segment;
mod settings;
mod shared;
mod sidecar_cache;
pub mod storage;
mod store;
mod topic;
mod transaction;
mod upkeep;
mod varint;
mod verify;
mod window;
mod writer;

pub use backup::{Backup, Progress, backup};
pub use batch::Compression;
pub use counters::Counters;
pub use embedded::EmbeddedLog;
pub use mirror::Mirror;
pub use repair::repair;
pub use settings::{Fsync, Settings};
pub use storage::{FileStorage, MemoryStorage, Storage};
pub use verify::{Finding, Report, verify};
pub use writer::Writer;

use dualstream_core::Result;
use dualstream_core::clock::{Clock, Entropy};
use embedded::Reads;
use engine::Engine;
use std::sync::Arc;

/// Opens a data directory: recovers what a crash left, and hands out the log and the writer that must be driven.
///
/// # Errors
/// `data_dir_other_kind`, `data_dir_newer_format`, `catalog_damaged`, `catalog_missing`, `checkpoint_damaged`,
/// `storage_error`, `storage_full`.
pub fn open(
    settings: Settings,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(EmbeddedLog, Writer)> {
    Ok(serve(recovery::recover(settings, storage, clock, entropy)?))
}

/// Opens a mirror: the copy of a log that stands elsewhere, in a directory of its own, which may be deleted at any time.
/// What a crash or damage took from it is left out, and begun anew by whoever fills it.
///
/// # Errors
/// `data_dir_other_kind` when the directory holds a log; `storage_error`, `storage_full`.
pub fn open_mirror(
    settings: Settings,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Mirror, Writer)> {
    let (log, writer) = serve(mirror::recover(settings, storage, clock, entropy)?);
    Ok((Mirror::new(log), writer))
}

fn serve(engine: Engine) -> (EmbeddedLog, Writer) {
    let reads = if engine.storage.blocks() { Reads::Blocking } else { Reads::Caller };
    let log = EmbeddedLog::new(engine.shared.clone(), engine.settings.wait_max, reads);
    (log, Writer::new(engine))
}

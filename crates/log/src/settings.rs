//! Settings of the embedded log.

use crate::batch::Compression;
use std::time::Duration;

/// When a commit is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// After its bytes are synced: what is acknowledged survives a power loss.
    #[default]
    Always,
    /// At once; bytes are synced each period. A power loss may take that much of what was acknowledged, and an unclean
    /// start gives every topic a new epoch.
    Every(Duration),
}

/// Settings of the embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When a commit is answered.
    pub fsync: Fsync,
    /// A segment is sealed when it would grow past this.
    pub segment_bytes: u64,
    /// Size of each of the four journal files.
    pub journal_file_bytes: u64,
    /// An event's identity is remembered this long…
    pub dedup_window_ms: u64,
    /// …and no further back than this many events per partition.
    pub dedup_ids_max: u64,
    /// A checkpoint is taken after this many bytes…
    pub checkpoint_bytes: u64,
    /// …or this much time.
    pub checkpoint_interval: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// A commit that could not be begun within this time is refused as overloaded.
    pub wait_max: Duration,
    /// Commits waiting for their turn hold at most this many bytes together.
    pub queue_bytes_max: usize,
    /// Commits are refused while less than this is free on the disk.
    pub free_bytes_min: u64,
    /// Loaded sidecars hold at most this many bytes of memory.
    pub sidecar_cache_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            fsync: Fsync::Always,
            segment_bytes: 64 << 20,
            journal_file_bytes: 64 << 20,
            dedup_window_ms: 24 * 3600 * 1000,
            dedup_ids_max: 1_000_000,
            checkpoint_bytes: 64 << 20,
            checkpoint_interval: Duration::from_secs(10),
            compression: Compression::None,
            wait_max: Duration::from_secs(5),
            queue_bytes_max: 128 << 20,
            free_bytes_min: 64 << 20,
            sidecar_cache_bytes_max: 64 << 20,
        }
    }
}

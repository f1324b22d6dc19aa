//! What the gateway is told of the parts behind it: whether they work, and what they count.

use dualstream_core::Error;
use dualstream_core::bus::{Bus, Health};
use dualstream_core::clock::Clock;
use dualstream_core::mirror::MirroredLog;
use dualstream_gateway::{LogReading, LogStats, Status};
use dualstream_log::Counters;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::watch;

/// Whether log and bus work.
pub(super) struct Parts {
    failed: watch::Receiver<Option<Error>>,
    /// When the failure of the log was first asked for.
    failed_since_ms: OnceLock<i64>,
    upstream: Option<MirroredLog>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
}

impl Parts {
    pub(super) fn new(
        failed: watch::Receiver<Option<Error>>,
        upstream: Option<MirroredLog>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
    ) -> Parts {
        Parts { failed, failed_since_ms: OnceLock::new(), upstream, bus, clock }
    }
}

impl Status for Parts {
    fn log(&self) -> Health {
        let reason = match &*self.failed.borrow() {
            Some(error) => error.message().to_owned(),
            // It ended without a word: it panicked.
            None if self.failed.has_changed().is_err() => "the writer of the log ended".to_owned(),
            None => return self.upstream.as_ref().map_or(Health::Up, MirroredLog::health),
        };
        Health::Down { since_ms: *self.failed_since_ms.get_or_init(|| self.clock.now_ms()), reason }
    }

    fn bus(&self) -> Health {
        self.bus.health()
    }
}

/// The counters of the files on this node.
pub(super) struct LogCounters<L>(pub(super) L, pub(super) fn(&L) -> &Counters);

impl<L: Send + Sync> LogStats for LogCounters<L> {
    fn read(&self) -> LogReading {
        let counters = (self.1)(&self.0);
        let buckets = counters.records_per_round.iter().zip(0..);
        LogReading {
            fsyncs: counters.fsyncs.load(Relaxed),
            records: counters.records.load(Relaxed),
            bytes: counters.journal_bytes.load(Relaxed),
            store_bytes: counters.store_bytes.load(Relaxed),
            records_per_fsync: buckets.map(|(count, i)| (1 << i, count.load(Relaxed))).collect(),
            fsync_latency: Some(counters.fsync_latency.snapshot()),
        }
    }
}

//! What the gateway is told of the parts behind it: whether they work, and what they count.

use super::backend::Upstream;
use super::joined::Joined;
use dualstream_core::Error;
use dualstream_core::bus::{Bus, Health};
use dualstream_core::clock::Clock;
use dualstream_core::registry::Membership;
use dualstream_gateway::{LogReading, LogStats, Part, Status};
use dualstream_log::Counters;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::watch;

/// Whether the parts work.
///
/// | part | what it is | where |
/// |---|---|---|
/// | `log` | what makes events durable: the files here, or the brokers | |
/// | `mirror` | the copy of it on this node | over Kafka |
/// | `decisions` | what the nodes decide | over Kafka |
/// | `bus` | what carries announcements | |
/// | `registry` | who is connected to which node | with Redis |
/// | `prefix` | that the names in Redis are this log's | with Redis |
pub(super) struct Parts {
    files: Files,
    upstream: Option<Upstream>,
    bus: Arc<dyn Bus>,
    membership: Option<Membership>,
    prefix: Option<Arc<dyn Fn() -> Health + Send + Sync>>,
}

/// The files on this node.
struct Files {
    failed: watch::Receiver<Option<Error>>,
    /// When their failure was first asked for.
    failed_since_ms: OnceLock<i64>,
    clock: Arc<dyn Clock>,
}

impl Parts {
    pub(super) fn new(
        failed: watch::Receiver<Option<Error>>,
        upstream: Option<Upstream>,
        bus: Arc<dyn Bus>,
        joined: &Joined,
        clock: Arc<dyn Clock>,
    ) -> Parts {
        let files = Files { failed, failed_since_ms: OnceLock::new(), clock };
        let (membership, prefix) = (joined.membership.clone(), joined.prefix.clone());
        Parts { files, upstream, bus, membership, prefix }
    }
}

impl Status for Parts {
    fn parts(&self) -> Vec<Part> {
        let needed = |name, health| Part { name, health, is_needed: true };
        let helpful = |name, health| Part { name, health, is_needed: false };
        let mut parts = match &self.upstream {
            None => vec![needed("log", self.files.health())],
            Some(Upstream { log, decisions }) => vec![
                needed("log", log.health()),
                match self.files.health() {
                    Health::Up => helpful("mirror", log.copy_health()),
                    down => needed("mirror", down),
                },
                helpful("decisions", decisions.health()),
            ],
        };
        parts.push(helpful("bus", self.bus.health()));
        parts.extend(self.membership.as_ref().map(|member| helpful("registry", member.health())));
        parts.extend(self.prefix.as_ref().map(|health| helpful("prefix", health())));
        parts
    }
}

impl Files {
    fn health(&self) -> Health {
        let reason = match &*self.failed.borrow() {
            Some(error) => error.message().to_owned(),
            // It ended without a word: it panicked.
            None if self.failed.has_changed().is_err() => "the writer of the log ended".to_owned(),
            None => return Health::Up,
        };
        Health::Down { since_ms: *self.failed_since_ms.get_or_init(|| self.clock.now_ms()), reason }
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

//! What this node counts of what the nodes decide.

use super::{Metrics, Page, named};
use dualstream_core::decisions::Decisions;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

impl Metrics {
    /// With the counters of decisions.
    pub fn with_decisions(self, decisions: Decisions) -> Metrics {
        self.add(OfDecisions(decisions));
        self
    }
}

struct OfDecisions(Decisions);

named!(OfDecisions);

impl Collector for OfDecisions {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, counters) = (Page(encoder), self.0.counters());
        for (name, help, counter) in [
            ("decisions_decided", "Records that decided", &counters.decided),
            ("decisions_refused", "Records that came too late, or were never right", &counters.refused),
            ("decisions_snapshots", "Snapshots read", &counters.snapshots),
            ("decisions_differed", "Snapshots that said something else than was known", &counters.differed),
            ("decisions_unknown", "Records of a type or version not known here", &counters.unknown),
            ("decisions_foreign", "Records that are none of ours", &counters.foreign),
            ("decisions_gaps", "Stretches that are damaged or went unread", &counters.gaps),
            ("decisions_restarts", "Times that all was read anew", &counters.restarts),
            ("decisions_orders_lost", "Orders given up for later ones", &counters.orders_lost),
            ("decisions_errors", "Errors of the log, each followed by another try", &counters.errors),
        ] {
            page.counter(name, help, counter.load(Relaxed))?;
        }
        Ok(())
    }
}

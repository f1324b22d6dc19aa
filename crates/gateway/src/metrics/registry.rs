//! What this node counts of its place in the registry.

use super::{Metrics, Page};
use dualstream_core::registry::Membership;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

impl Metrics {
    /// With the counters of a membership.
    pub fn with_membership(self, membership: Membership) -> Metrics {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(OfMembership(membership)));
        drop(registry);
        self
    }
}

struct OfMembership(Membership);

impl fmt::Debug for OfMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfMembership")
    }
}

impl Collector for OfMembership {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, counters) = (Page(encoder), self.0.counters());
        for (name, help, counter) in [
            ("registry_incarnations", "Times this node registered", &counters.incarnations),
            ("registry_heartbeats", "Heartbeats that renewed its lease", &counters.heartbeats),
            ("registry_errors", "Times it lost its place, or did not get it", &counters.errors),
            ("registry_left_out", "Connections not told of because too many are", &counters.left_out),
            (
                "registry_unread",
                "Nodes missing in lists because nothing of them could be read",
                &counters.unread,
            ),
        ] {
            page.counter(name, help, counter.load(Relaxed))?;
        }
        Ok(())
    }
}

//! What this node counts of its place in the registry.

use super::{Metrics, Page, named};
use dualstream_core::registry::Membership;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

impl Metrics {
    /// With the counters of a membership.
    pub fn with_membership(self, membership: Membership) -> Metrics {
        self.add(OfMembership(membership));
        self
    }
}

struct OfMembership(Membership);

named!(OfMembership);

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

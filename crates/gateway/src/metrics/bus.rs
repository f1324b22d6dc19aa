//! What the bus counts when it stands elsewhere.

use super::{Metrics, Page, named};
use dualstream_core::histogram::Snapshot;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::Arc;

/// What a bus counts, in the form of this page. Implemented where the bus is wired to the gateway.
pub trait BusStats: Send + Sync {
    /// The counters now.
    fn read(&self) -> BusReading;
}

/// Counters of a bus since its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusReading {
    /// Messages that the server of the bus took.
    pub published: u64,
    /// Messages that were not sent.
    pub dropped: u64,
    /// Messages that were sent and not taken, or nobody knows.
    pub failed: u64,
    /// Bytes that wait to be published now.
    pub waiting_bytes: u64,
    /// Whether nothing is published now.
    pub is_away: bool,
    /// Messages that came for somebody here.
    pub received: u64,
    /// Messages that came and were for nobody here.
    pub rejected: u64,
    /// Messages that came and were dropped because this node read too slowly.
    pub slow_dropped: u64,
    /// Channels and patterns that are brought now.
    pub confirmed: u64,
    /// Subscriptions that were interrupted.
    pub interrupted: u64,
    /// Channels and patterns that Redis did not let this server subscribe.
    pub refused: u64,
    /// Connections made again to publish.
    pub publisher_reconnects: u64,
    /// Connections made again to subscribe.
    pub subscriber_reconnects: u64,
    /// Those of them that brought nothing any more though nobody had closed them.
    pub silences: u64,
    /// From publishing a probe until it came back.
    pub probe_latency: Snapshot,
}

impl Metrics {
    /// With the counters of a bus.
    pub fn with_bus(self, bus: Arc<dyn BusStats>) -> Metrics {
        self.add(OfBus(bus));
        self
    }
}

struct OfBus(Arc<dyn BusStats>);

named!(OfBus);

impl Collector for OfBus {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, reading) = (Page(encoder), self.0.read());
        for (name, help, count) in [
            ("bus_published", "Messages that Redis took", reading.published),
            ("bus_dropped", "Messages not sent: too many waited, or Redis was away", reading.dropped),
            ("bus_failed", "Messages sent and not taken, or nobody knows", reading.failed),
            ("bus_received", "Messages from Redis for somebody here", reading.received),
            ("bus_unwanted", "Messages from Redis for nobody here", reading.rejected),
            (
                "bus_slow_dropped",
                "Messages from Redis dropped because this node was slow",
                reading.slow_dropped,
            ),
            (
                "bus_interrupted",
                "Subscriptions interrupted by the loss of a connection to Redis",
                reading.interrupted,
            ),
            ("bus_refused", "Subscriptions that Redis did not allow", reading.refused),
            (
                "bus_publisher_reconnects",
                "Connections made again to publish on Redis",
                reading.publisher_reconnects,
            ),
            (
                "bus_subscriber_reconnects",
                "Connections made again to subscribe on Redis",
                reading.subscriber_reconnects,
            ),
            (
                "bus_silences",
                "Connections to Redis given up because a probe did not come back",
                reading.silences,
            ),
        ] {
            page.counter(name, help, count)?;
        }
        for (name, help, value) in [
            ("bus_queued_bytes", "Bytes that wait to be published on Redis", reading.waiting_bytes),
            ("bus_confirmed", "Channels and patterns that Redis brings", reading.confirmed),
            (
                "bus_breaker_open",
                "1 while nothing is published because Redis is away",
                u64::from(reading.is_away),
            ),
        ] {
            page.gauge(name, help, i64::try_from(value).unwrap_or(i64::MAX))?;
        }
        let help = "From publishing a probe on Redis until it came back";
        page.latency("bus_probe_latency", help, &reading.probe_latency)
    }
}

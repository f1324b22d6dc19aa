//! `GET /metrics`: what the parts count, in the Prometheus text format.
//!
//! Core and log count in plain atomics and know nothing of Prometheus; they are read when they are asked for.

mod bus;
mod decisions;
mod process;
mod registry;

pub use bus::{BusReading, BusStats};
pub use process::cpu_seconds;

use crate::app::App;
use crate::protocol::{Carrier, Disconnect, Refusal};
use crate::readiness::{Readiness, Seen};
use crate::stream;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dualstream_core::bus::Health;
use dualstream_core::histogram::Snapshot;
use dualstream_core::hub::Hub;
use dualstream_core::mirror::MirroredLog;
use dualstream_core::publisher::DualPublisher;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What becomes of requests with commands.
const EMULATION: [&str; 5] = ["taken", "forwarded", "refused", "received", "dropped"];

/// What a log counts, in the form of this page. Implemented where the log is wired to the gateway.
pub trait LogStats: Send + Sync {
    /// The counters now.
    fn read(&self) -> LogReading;
}

/// Counters of a log since its start.
#[derive(Clone, Debug, Default)]
pub struct LogReading {
    /// Times the journal was synced.
    pub fsyncs: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes written to the journal.
    pub bytes: u64,
    /// Bytes of all topic stores now.
    pub store_bytes: u64,
    /// Records made durable per sync: `(upper bound, how many syncs)`, ascending.
    pub records_per_fsync: Vec<(u64, u64)>,
    /// Time of a sync.
    pub fsync_latency: Option<Snapshot>,
}

/// The gateway's own counters, and the registry of everybody's. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    own: Arc<Own>,
}

#[derive(Debug, Default)]
struct Own {
    connections: AtomicI64,
    streams: AtomicI64,
    /// By place in [`Carrier::ALL`].
    clients: [AtomicI64; Carrier::ALL.len()],
    client_subscriptions: AtomicI64,
    /// By place in [`Disconnect::ALL`]; last those with another code, which somebody ordered.
    disconnects: [AtomicU64; Disconnect::ALL.len() + 1],
    /// By place in [`Refusal::ALL`].
    refusals: [AtomicU64; Refusal::ALL.len()],
    /// Attempts that failed, and that succeeded.
    recoveries: [AtomicU64; 2],
    /// By place in [`EMULATION`].
    emulation: [AtomicU64; EMULATION.len()],
    /// Answers by the hundreds of their status: 1xx to 5xx.
    answers: [AtomicU64; 5],
}

/// Counts one down when it is dropped.
pub(crate) struct Open {
    own: Arc<Own>,
    gauge: fn(&Own) -> &AtomicI64,
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.gauge)(&self.own).fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// Metrics of a server, those of its log included if it has counters, and of the mirror of one that stands elsewhere.
    pub fn new(log: Option<Arc<dyn LogStats>>, mirror: Option<MirroredLog>) -> Metrics {
        let own = Arc::<Own>::default();
        let mut registry = Registry::with_prefix("dualstream");
        registry.register_collector(Box::new(own.clone()));
        registry.register_collector(Box::new(process::OfProcess));
        if let Some(log) = log {
            registry.register_collector(Box::new(OfLog(log)));
        }
        if let Some(mirror) = mirror {
            registry.register_collector(Box::new(OfMirror(mirror)));
        }
        Metrics { registry: Arc::new(Mutex::new(registry)), own }
    }

    /// Adds the counters of a publisher and a hub, and the state of the parts.
    pub(crate) fn observe(&self, publisher: &DualPublisher, hub: &Hub, readiness: &Arc<Readiness>) {
        self.add(OfPublisher(publisher.clone()));
        self.add(OfHub(hub.clone()));
        self.add(OfParts(readiness.clone()));
    }

    fn add(&self, collector: impl Collector) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(collector));
    }

    pub(crate) fn connection_opened(&self) -> Open {
        self.open(|own| &own.connections)
    }

    pub(crate) fn stream_opened(&self) -> Open {
        self.open(|own| &own.streams)
    }

    pub(crate) fn client_opened(&self, carrier: Carrier) -> Open {
        self.open(match carrier {
            Carrier::WebSocket => |own| &own.clients[Carrier::WebSocket as usize],
            Carrier::Sse => |own| &own.clients[Carrier::Sse as usize],
            Carrier::HttpStream => |own| &own.clients[Carrier::HttpStream as usize],
        })
    }

    pub(crate) fn subscription_opened(&self) -> Open {
        self.open(|own| &own.client_subscriptions)
    }

    /// The server ended a connection with this close code.
    pub(crate) fn client_disconnected(&self, code: u16) {
        let known = Disconnect::ALL.iter().position(|disconnect| disconnect.code() == code);
        self.own.disconnects[known.unwrap_or(Disconnect::ALL.len())].fetch_add(1, Relaxed);
    }

    pub(crate) fn client_refused(&self, refusal: Refusal) {
        self.own.refusals[refusal as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn client_recovered(&self, recovered: bool) {
        self.own.recoveries[usize::from(recovered)].fetch_add(1, Relaxed);
    }

    /// A request with commands was answered: of a session here or elsewhere, which took them or did not.
    pub(crate) fn emulation_answered(&self, is_own: bool, is_taken: bool) {
        let outcome = match (is_own, is_taken) {
            (true, true) => 0,
            (false, true) => 1,
            (_, false) => 2,
        };
        self.own.emulation[outcome].fetch_add(1, Relaxed);
    }

    /// Commands came from another node, and a session took them or did not.
    pub(crate) fn emulation_received(&self, is_taken: bool) {
        self.own.emulation[if is_taken { 3 } else { 4 }].fetch_add(1, Relaxed);
    }

    fn open(&self, gauge: fn(&Own) -> &AtomicI64) -> Open {
        gauge(&self.own).fetch_add(1, Relaxed);
        Open { own: self.own.clone(), gauge }
    }

    pub(crate) fn request_answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.own.answers[class].fetch_add(1, Relaxed);
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(16 << 10);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

pub(crate) async fn text(State(app): State<Arc<App>>) -> Response {
    match app.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Collector for Own {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.gauge("connections", "TCP connections open", self.connections.load(Relaxed))?;
        page.gauge("event_streams", "Server-Sent Events streams open", self.streams.load(Relaxed))?;
        let help = "HTTP requests answered, by class of status";
        page.family("http_requests", help, "status", &["1xx", "2xx", "3xx", "4xx", "5xx"], &self.answers)?;
        self.encode_clients(page)
    }
}

impl Own {
    /// What concerns the client protocol, under the names its operators know.
    fn encode_clients(&self, mut page: Page<'_>) -> fmt::Result {
        let help = "Connections of the client protocol open, by transport";
        let mut metric =
            page.0.encode_descriptor("client_connections_inflight", help, None, MetricType::Gauge)?;
        for (carrier, clients) in Carrier::ALL.iter().zip(&self.clients) {
            let clients = ConstGauge::new(clients.load(Relaxed));
            clients.encode(metric.encode_family(&[("transport", carrier.name())])?)?;
        }
        let subscriptions = self.client_subscriptions.load(Relaxed);
        let help = "Subscriptions of the client protocol open";
        page.gauge("client_subscriptions_inflight", help, subscriptions)?;
        let codes = Disconnect::ALL.iter().map(|disconnect| disconnect.code().to_string());
        let codes: Vec<String> = codes.chain(["other".to_owned()]).collect();
        let help = "Connections of the client protocol that the server ended, by close code";
        page.family("client_num_server_disconnects", help, "code", &codes, &self.disconnects)?;
        let codes = Refusal::ALL.map(|refusal| refusal.code().to_string());
        let help = "Commands of the client protocol that were refused, by error code";
        page.family("client_num_reply_errors", help, "code", &codes, &self.refusals)?;
        let help = "Attempts of the client protocol to recover, by their success";
        page.family("client_recover", help, "recovered", &["no", "yes"], &self.recoveries)?;
        let help = "Requests with commands of clients without a WebSocket, by what became of them";
        page.family("client_emulation_requests", help, "outcome", &EMULATION, &self.emulation)
    }
}

struct OfPublisher(DualPublisher);
struct OfHub(Hub);
struct OfLog(Arc<dyn LogStats>);
struct OfMirror(MirroredLog);
struct OfParts(Arc<Readiness>);

macro_rules! named {
    ($($collector:ident)*) => {$(
        impl fmt::Debug for $collector {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($collector))
            }
        }
    )*};
}
use named;
named!(OfPublisher OfHub OfLog OfMirror OfParts);

impl Collector for OfParts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, parts) = (Page(encoder), self.0.look(stream::now_ms()));
        let up = |seen: &Seen| f64::from(u8::from(seen.part.health == Health::Up));
        page.of_parts("part_up", "Whether a part of the server works", &parts, up)?;
        let since = |seen: &Seen| seen.since_ms as f64 / 1e3;
        let help = "Since when it does, or does not: seconds since 1970";
        page.of_parts("part_since_seconds", help, &parts, since)
    }
}

impl Collector for OfPublisher {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, counters) = (Page(encoder), self.0.counters());
        for (name, help, counter) in [
            ("events_received", "Events given to the publisher", &counters.events_in),
            ("events_acked", "Events stored durably", &counters.acked),
            ("events_duplicate", "Events that stood in the log already", &counters.duplicates),
            ("events_failed", "Events refused, or of unknown outcome", &counters.failed),
            ("events_announced", "Messages the bus took", &counters.announced),
            ("announcements_lost", "Messages the bus did not take", &counters.announcements_lost),
        ] {
            page.counter(name, help, counter.load(Relaxed))?;
        }
        let waiting = counters.waiting_bytes.load(Relaxed) as i64;
        page.gauge("publish_queued_bytes", "Bytes of events that wait for the log", waiting)?;
        let help = "From a publish to its durable ack";
        page.latency("publish_ack_latency", help, &counters.ack_latency.snapshot())
    }
}

impl Collector for OfHub {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, counters) = (Page(encoder), self.0.counters());
        for (name, help, counter) in [
            ("events_delivered", "Items handed to subscriptions", &counters.delivered),
            ("ring_overruns", "Times a subscription was overrun by its ring", &counters.ring_overruns),
            ("catch_up_reads", "Pages read for subscriptions that were behind", &counters.catch_up_reads),
            ("bus_messages", "Messages that came from the bus", &counters.bus_messages),
            ("bus_messages_lost", "Messages the bus says it lost", &counters.bus_lost),
            (
                "bus_messages_rejected",
                "Messages from the bus that were no announcement",
                &counters.bus_rejected,
            ),
            ("slow_dropped", "Live items dropped because a subscriber was slow", &counters.slow_dropped),
            ("live_conflated", "Live items that gave way to a later one of their key", &counters.conflated),
            ("unrecoverable", "Times a position asked for could not be had", &counters.unrecoverable),
        ] {
            page.counter(name, help, counter.load(Relaxed))?;
        }
        for (name, help, gauge) in [
            ("subscriptions", "Subscriptions open", &counters.subscriptions),
            ("feeds", "Topics with a ring", &counters.feeds),
            ("bus_subscriptions", "Channels and patterns subscribed on the bus", &counters.bus_subscriptions),
        ] {
            page.gauge(name, help, gauge.load(Relaxed))?;
        }
        page.gauge("ring_bytes", "Bytes in all rings", counters.ring_bytes.load(Relaxed) as i64)?;
        let queued = counters.inbox_bytes.load(Relaxed) as i64;
        page.gauge("live_queued_bytes", "Bytes of live items that wait for slow subscribers", queued)?;
        let help = "From the append of an event to its delivery";
        page.latency("delivery_latency", help, &counters.delivery_latency.snapshot())
    }
}

impl Collector for OfLog {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, reading) = (Page(encoder), self.0.read());
        page.counter("log_fsyncs", "Times the journal was synced", reading.fsyncs)?;
        page.counter("log_records", "Records made durable", reading.records)?;
        page.counter("log_written_bytes", "Bytes written to the journal", reading.bytes)?;
        let store_bytes = i64::try_from(reading.store_bytes).unwrap_or(i64::MAX);
        page.gauge("log_store_bytes", "Bytes of all topic stores", store_bytes)?;
        let bounded = reading.records_per_fsync.iter().map(|&(bound, n)| (bound as f64, n));
        let buckets: Vec<(f64, u64)> = bounded.chain([(f64::INFINITY, 0)]).collect();
        let help = "Records made durable by one sync";
        page.histogram("log_records_per_fsync", help, None, reading.records as f64, &buckets)?;
        match reading.fsync_latency {
            Some(latency) => page.latency("log_fsync_latency", "Time of a sync of the journal", &latency),
            None => Ok(()),
        }
    }
}

impl Collector for OfMirror {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, counters) = (Page(encoder), self.0.counters());
        for (name, help, counter) in [
            ("mirror_records", "Records copied from Kafka", &counters.records),
            ("mirror_hidden", "Records that repeat an event, hidden from readers", &counters.hidden),
            ("mirror_unmapped", "Records of other programs that have no channel", &counters.unmapped),
            ("mirror_begun", "Times the copy of a topic was begun anew", &counters.begun),
            (
                "mirror_range_reads",
                "Chunks read from Kafka because the copy does not hold them",
                &counters.range_reads,
            ),
            ("mirror_range_hits", "Chunks that were still in memory", &counters.range_hits),
            ("mirror_errors", "Errors of Kafka, each followed by another try", &counters.errors),
            ("mirror_verified", "Records compared with Kafka", &counters.verified),
            (
                "mirror_differed",
                "Records that were not in Kafka any more as they were read",
                &counters.differed,
            ),
            ("mirror_not_yet_visible", "Reads that gave up waiting for a record", &counters.not_yet_visible),
        ] {
            page.counter(name, help, counter.load(Relaxed))?;
        }
        for (name, help, gauge) in [
            ("mirror_topics", "Topics that are copied now", &counters.hot),
            ("mirror_lag_records", "Records between the copy and the end in Kafka", &counters.lag),
            (
                "mirror_held_back_records",
                "Records held back by open transactions in Kafka",
                &counters.held_back,
            ),
        ] {
            page.gauge(name, help, i64::try_from(gauge.load(Relaxed)).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}

/// A page of metrics while it is written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    /// A counter of seconds.
    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    /// A counter for each value of one label.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[impl AsRef<str>],
        counts: &[AtomicU64],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values.iter().zip(counts) {
            let count = ConstCounter::new(count.load(Relaxed));
            count.encode(metric.encode_family(&[(label, value.as_ref())])?)?;
        }
        Ok(())
    }

    /// A gauge for each part.
    fn of_parts(
        &mut self,
        name: &str,
        help: &str,
        parts: &[Seen],
        value: impl Fn(&Seen) -> f64,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for seen in parts {
            ConstGauge::new(value(seen)).encode(metric.encode_family(&[("part", seen.part.name)])?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// One bucket per power of two, from 16 microseconds to about a minute.
    fn latency(&mut self, name: &str, help: &str, latency: &Snapshot) -> fmt::Result {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        let mut count = 0;
        for step in latency.buckets.chunks(4) {
            let bound = step.last().map_or(0, |(bound, _)| *bound);
            count += step.iter().map(|(_, n)| n).sum::<u64>();
            if (16..1 << 26).contains(&bound) {
                buckets.push((bound as f64 / 1e6, std::mem::take(&mut count)));
            }
        }
        buckets.push((f64::INFINITY, count));
        self.histogram(name, help, Some(&Unit::Seconds), latency.sum_us as f64 / 1e6, &buckets)
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        sum: f64,
        buckets: &[(f64, u64)],
    ) -> fmt::Result {
        let count = buckets.iter().map(|(_, n)| n).sum();
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }
}

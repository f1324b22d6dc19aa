//! The table of all settings: the names, what each may be, and where its value goes. Files, environment, flags, the
//! JSON Schema and the reference page all come from it.

use super::value::{Range, Slot};
use super::{Namespace, Settings};

/// One setting, or one per namespace where its path has a `*`.
pub struct Field {
    /// Its full name: `log.topic`, `namespaces.*.stream`.
    pub path: &'static str,
    /// What a number may be.
    pub range: Range,
    place: Place,
}

enum Place {
    Once(for<'a> fn(&'a mut Settings) -> &'a mut dyn Slot),
    PerNamespace(for<'a> fn(&'a mut Namespace) -> &'a mut dyn Slot),
}

/// Where the namespaces are.
pub const NAMESPACES: &str = "namespaces";
/// Where properties of the Kafka client are: names of its own, not in this table.
pub const KAFKA: &str = "kafka";

const US_PER_MS: u64 = 1_000;
const US_PER_S: u64 = 1_000_000;
const US_PER_H: u64 = 3_600 * US_PER_S;
const US_PER_YEAR: u64 = 365 * 24 * US_PER_H;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// All settings, in the order of `default.toml`.
pub static FIELDS: &[Field] = &[
    any("listen", |s| &mut s.listen),
    any("data_dir", |s| &mut s.data_dir),
    any("default_namespace", |s| &mut s.default_namespace),
    number("shutdown_max", US_PER_MS, US_PER_H, |s| &mut s.shutdown_max),
    any("log.kafka", |s| &mut s.log.kafka),
    any("log.create_topics", |s| &mut s.log.create_topics),
    number("log.mirror_bytes_max", 16 * MIB, 1024 * TIB, |s| &mut s.log.mirror_bytes_max),
    number("log.mirror_backfill", 0, 1_000_000_000_000, |s| &mut s.log.mirror_backfill),
    number("log.mirror_idle", US_PER_S, US_PER_YEAR, |s| &mut s.log.mirror_idle),
    any("log.topic", |s| &mut s.log.topic),
    number("log.partitions", 1, 10_000, |s| &mut s.log.partitions),
    number("log.fsync", 1, 60 * US_PER_S, |s| &mut s.log.fsync),
    number("log.retention", US_PER_S, 100 * US_PER_YEAR, |s| &mut s.log.retention),
    number("log.retention_bytes", MIB, 1024 * TIB, |s| &mut s.log.retention_bytes),
    number("log.segment_bytes", MIB, 4 * GIB - MIB, |s| &mut s.log.segment_bytes),
    number("log.journal_file_bytes", MIB, 4 * GIB - MIB, |s| &mut s.log.journal_file_bytes),
    number("log.dedup_window", US_PER_S, US_PER_YEAR, |s| &mut s.log.dedup_window),
    number("log.dedup_ids_max", 1, 1_000_000_000, |s| &mut s.log.dedup_ids_max),
    number("log.checkpoint_bytes", MIB, 64 * GIB, |s| &mut s.log.checkpoint_bytes),
    number("log.checkpoint_interval", 10 * US_PER_MS, US_PER_H, |s| &mut s.log.checkpoint_interval),
    any("log.compression", |s| &mut s.log.compression),
    number("log.queue_bytes_max", MIB, 64 * GIB, |s| &mut s.log.queue_bytes_max),
    number("log.free_bytes_min", 1, TIB, |s| &mut s.log.free_bytes_min),
    number("log.sidecar_cache_bytes_max", MIB, 64 * GIB, |s| &mut s.log.sidecar_cache_bytes_max),
    any("bus.redis", |s| &mut s.bus.redis),
    any("bus.password_file", |s| &mut s.bus.password_file),
    any("bus.sentinel_password_file", |s| &mut s.bus.sentinel_password_file),
    any("bus.ca_file", |s| &mut s.bus.ca_file),
    any("bus.prefix", |s| &mut s.bus.prefix),
    number("bus.connections", 1, 64, |s| &mut s.bus.connections),
    any("bus.sharded", |s| &mut s.bus.sharded),
    number("bus.queue_bytes_max", 64 * KIB, 64 * GIB, |s| &mut s.bus.queue_bytes_max),
    number("bus.subscriber_bytes_max", 64 * KIB, 64 * GIB, |s| &mut s.bus.subscriber_bytes_max),
    number("bus.deadline", US_PER_MS, 60 * US_PER_S, |s| &mut s.bus.deadline),
    number("bus.probe_interval", 100 * US_PER_MS, US_PER_H, |s| &mut s.bus.probe_interval),
    each("namespaces.*.stream", |n| &mut n.stream),
    each("namespaces.*.topic", |n| &mut n.topic),
    each("namespaces.*.slow_client", |n| &mut n.slow_client),
    each("namespaces.*.conflate_key", |n| &mut n.conflate_key),
    each("namespaces.*.live_feed", |n| &mut n.live_feed),
    each("namespaces.*.channel_from", |n| &mut n.channel_from),
    any("http.allowed_hosts", |s| &mut s.http.allowed_hosts),
    any("http.allowed_origins", |s| &mut s.http.allowed_origins),
    number("http.body_bytes_max", KIB, 64 * MIB, |s| &mut s.http.body_bytes_max),
    number("http.bodies_bytes_max", MIB, 64 * GIB, |s| &mut s.http.bodies_bytes_max),
    number("http.header_bytes_max", 8 * KIB, MIB, |s| &mut s.http.header_bytes_max),
    number("http.uri_bytes_max", KIB, 64 * KIB, |s| &mut s.http.uri_bytes_max),
    number("http.connections_max", 1, 1_000_000, |s| &mut s.http.connections_max),
    number("http.connects_per_second", 1, 1_000_000, |s| &mut s.http.connects_per_second),
    number("http.header_max", 100 * US_PER_MS, US_PER_H, |s| &mut s.http.header_max),
    number("http.body_grace", 100 * US_PER_MS, US_PER_H, |s| &mut s.http.body_grace),
    number("http.body_rate_min", 1, GIB, |s| &mut s.http.body_rate_min),
    number("http.write_stall_max", 100 * US_PER_MS, US_PER_H, |s| &mut s.http.write_stall_max),
    number("http.peer_silence_max", US_PER_S, US_PER_H, |s| &mut s.http.peer_silence_max),
    number("http.heartbeat", 100 * US_PER_MS, US_PER_H, |s| &mut s.http.heartbeat),
    number("http.retry", US_PER_MS, US_PER_H, |s| &mut s.http.retry),
    number("http.write_bytes_max", KIB, 64 * MIB, |s| &mut s.http.write_bytes_max),
    number("limits.publish_waiting_bytes_max", MIB, 64 * GIB, |s| &mut s.limits.publish_waiting_bytes_max),
    number("limits.publish_wait_max", US_PER_MS, US_PER_H, |s| &mut s.limits.publish_wait_max),
    number("limits.publish_outcome_max", US_PER_MS, US_PER_H, |s| &mut s.limits.publish_outcome_max),
    number("limits.ring_bytes_max", MIB, 64 * GIB, |s| &mut s.limits.ring_bytes_max),
    number("limits.page_bytes_max", KIB, 64 * MIB, |s| &mut s.limits.page_bytes_max),
    number("limits.linger", US_PER_MS, US_PER_H, |s| &mut s.limits.linger),
    number("limits.targets_max", 1, 100_000, |s| &mut s.limits.targets_max),
    number("limits.live_queue_bytes_max", KIB, GIB, |s| &mut s.limits.live_queue_bytes_max),
    number("limits.live_queues_bytes_max", MIB, 64 * GIB, |s| &mut s.limits.live_queues_bytes_max),
    number("limits.message_bytes_max", KIB, 16 * MIB, |s| &mut s.limits.message_bytes_max),
    number("limits.message_max", 10 * US_PER_MS, US_PER_H, |s| &mut s.limits.message_max),
    number("limits.unauthenticated_max", 10 * US_PER_MS, US_PER_H, |s| &mut s.limits.unauthenticated_max),
    number("limits.ping_interval", US_PER_S, US_PER_H, |s| &mut s.limits.ping_interval),
    number("limits.pong_max", 10 * US_PER_MS, US_PER_H, |s| &mut s.limits.pong_max),
    number("limits.close_max", 10 * US_PER_MS, 60 * US_PER_S, |s| &mut s.limits.close_max),
    number("limits.commands_per_second", 1, 1_000_000, |s| &mut s.limits.commands_per_second),
    number("limits.commands_burst", 1, 1_000_000, |s| &mut s.limits.commands_burst),
    number("limits.errors_per_minute", 1, 1_000_000, |s| &mut s.limits.errors_per_minute),
    number("limits.emulated_max", 1, 1_000_000, |s| &mut s.limits.emulated_max),
    number("limits.channels_max", 1, 100_000, |s| &mut s.limits.channels_max),
    number("limits.patterns_max", 1, 100_000, |s| &mut s.limits.patterns_max),
    number("limits.recovery_publications_max", 1, 100_000, |s| &mut s.limits.recovery_publications_max),
    number("limits.recovery_bytes_max", KIB, 64 * MIB, |s| &mut s.limits.recovery_bytes_max),
    number("limits.history_publications_max", 1, 1_000, |s| &mut s.limits.history_publications_max),
    number("limits.answer_max", 10 * US_PER_MS, 60 * US_PER_S, |s| &mut s.limits.answer_max),
];

/// Settings that are part of dualstream but not of this build, and why they are refused.
pub static ABSENT: &[(&str, &str)] = &[
    ("auth", "this build has no authentication: it listens on loopback addresses only"),
    ("namespaces.*.last_value", "this build keeps no last values"),
    ("namespaces.*.presence", "this build has no presence"),
];

const fn any(path: &'static str, place: for<'a> fn(&'a mut Settings) -> &'a mut dyn Slot) -> Field {
    Field { path, range: Range::ANY, place: Place::Once(place) }
}

const fn number(
    path: &'static str,
    least: u64,
    most: u64,
    place: for<'a> fn(&'a mut Settings) -> &'a mut dyn Slot,
) -> Field {
    Field { path, range: Range { least, most }, place: Place::Once(place) }
}

const fn each(path: &'static str, place: for<'a> fn(&'a mut Namespace) -> &'a mut dyn Slot) -> Field {
    Field { path, range: Range::ANY, place: Place::PerNamespace(place) }
}

impl Field {
    /// Its place in `settings`; `name` is the namespace, for a setting there is one of per namespace, which is made
    /// when it is not there yet.
    pub fn slot<'a>(&self, settings: &'a mut Settings, name: Option<&str>) -> &'a mut dyn Slot {
        match self.place {
            Place::Once(place) => place(settings),
            Place::PerNamespace(place) => {
                place(settings.namespaces.entry(name.unwrap_or_default().to_owned()).or_default())
            }
        }
    }

    /// The environment variable of a setting there is only one of: `DUALSTREAM_LOG_TOPIC`.
    pub fn variable(&self) -> String {
        variable(self.path)
    }

    /// Its last name: `topic`.
    pub fn key(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// Its section, `""` for none: `log`, `namespaces.*`.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

/// The environment variable for a path.
pub fn variable(path: &str) -> String {
    format!("DUALSTREAM_{}", path.replace('.', "_").to_uppercase())
}

/// The setting a path means, and the namespace it is of.
pub fn find(path: &str) -> Option<(&'static Field, Option<&str>)> {
    let (general, name) = generalize(path);
    FIELDS.iter().find(|field| field.path == general).map(|field| (field, name))
}

/// Why a path that is not in the table is refused by name.
pub fn absent(path: &str) -> Option<&'static str> {
    let (general, _) = generalize(path);
    let matches =
        |name: &str| general == name || general.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    ABSENT.iter().find(|(name, _)| matches(name)).map(|(_, why)| *why)
}

/// `namespaces.chat.stream` is `namespaces.*.stream` of `chat`.
fn generalize(path: &str) -> (String, Option<&str>) {
    let mut parts = path.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(NAMESPACES), Some(name), Some(key)) => (format!("{NAMESPACES}.*.{key}"), Some(name)),
        _ => (path.to_owned(), None),
    }
}

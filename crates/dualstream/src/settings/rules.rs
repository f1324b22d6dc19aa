//! What no single setting can know: addresses that need authentication, and settings that exclude each other.

use super::problem::{Origin, Problem};
use super::{Bus, Namespace, Settings, SlowClient};
use dualstream_core::channel::check_source_type;
use dualstream_core::namespace::Stream;
use std::collections::BTreeMap;

/// On its channels nodes prove their bus and pass on what clients say: nobody else may listen there.
const OF_NODES: &str = "dualstream";

/// Checks the name of a namespace.
pub fn namespace_name(name: &str) -> Result<(), String> {
    if name == OF_NODES {
        return Err(format!(
            "the namespace `{OF_NODES}` is not free: nodes speak to each other on its channels"
        ));
    }
    check_source_type(name)
        .map_err(|_| format!("the namespace `{}` is not 1 to 64 of [a-z0-9_-]", name.escape_debug()))
}

/// Checks settings whose single values are all legal.
pub fn check(settings: &Settings, origins: &BTreeMap<String, Origin>) -> Vec<Problem> {
    let rules = Rules { settings, origins };
    let mut problems = Vec::new();
    problems.extend(rules.loopback());
    problems.extend(rules.default_namespace());
    problems.extend(rules.retention());
    problems.extend(rules.pings());
    problems.extend(rules.kafka());
    problems.extend(rules.redis());
    for (name, namespace) in &settings.namespaces {
        problems.extend(rules.namespace(name, namespace));
    }
    problems
}

struct Rules<'a> {
    settings: &'a Settings,
    origins: &'a BTreeMap<String, Origin>,
}

impl Rules<'_> {
    fn loopback(&self) -> Option<Problem> {
        let listen = self.settings.listen;
        (!listen.ip().is_loopback()).then(|| {
            self.problem(
                "listen",
                format!(
                    "`listen` is {listen}, which other machines can reach, and no authentication is configured: \
                     use a loopback address like 127.0.0.1:{}",
                    listen.port()
                ),
            )
        })
    }

    fn default_namespace(&self) -> Option<Problem> {
        let name = self.settings.default_namespace.as_deref()?;
        (!self.settings.namespaces.contains_key(name)).then(|| {
            self.problem(
                "default_namespace",
                format!("`default_namespace` names \"{name}\", but there is no `[namespaces.{name}]`"),
            )
        })
    }

    fn retention(&self) -> Option<Problem> {
        let (segment, retention) = (self.settings.log.segment_bytes, self.settings.log.retention_bytes?);
        let message = |_| {
            format!(
                "`log.retention_bytes` ({retention}) is less than `log.segment_bytes` ({segment}): \
                 only whole segments are removed"
            )
        };
        (retention < segment).then_some(()).map(message).map(|text| self.problem("log.retention_bytes", text))
    }

    fn kafka(&self) -> Option<Problem> {
        let brokers = &self.settings.log.kafka;
        if brokers.are_set() {
            let (path, text) = refused(&brokers.0, &self.settings.kafka)?;
            return Some(self.problem(&path, text));
        }
        let name = self.settings.kafka.keys().next()?;
        let path = format!("kafka.{name}");
        let text = format!("`{path}` has no effect: `log.kafka` names no brokers");
        Some(self.problem(&path, text))
    }

    fn redis(&self) -> Option<Problem> {
        let bus = &self.settings.bus;
        if bus.redis.is_set() {
            let (path, text) = refused_redis(bus)?;
            return Some(self.problem(path, text));
        }
        // A file may say every default.
        if *bus == Bus::default() {
            return None;
        }
        let path = self.origins.keys().find(|path| path.starts_with("bus.") && *path != "bus.redis")?;
        let text = format!("`{path}` has no effect: `bus.redis` names no Redis");
        Some(self.problem(path, text))
    }

    fn pings(&self) -> Option<Problem> {
        let (pong, interval) = (self.settings.limits.pong_max, self.settings.limits.ping_interval);
        (pong >= interval).then(|| {
            let text = format!(
                "`limits.pong_max` ({pong}) is not less than `limits.ping_interval` ({interval}): \
                 a ping is answered before the next one"
            );
            self.problem("limits.pong_max", text)
        })
    }

    fn namespace(&self, name: &str, namespace: &Namespace) -> Option<Problem> {
        let path = |key: &str| format!("namespaces.{name}.{key}");
        let conflict = |key: &str, stream: &str, why: &str| {
            let text = format!(
                "`{}` and `{} = \"{stream}\"` contradict each other: {why}",
                path(key),
                path("stream")
            );
            self.problem(&path(key), text)
        };
        match namespace.stream {
            Stream::Bus if namespace.topic.is_some() => {
                Some(conflict("topic", "bus", "nothing of a bus-only namespace is stored"))
            }
            Stream::Bus if name == "events" => Some(self.problem(
                &path("stream"),
                "`namespaces.events.stream` wants \"dual\" or \"log\": events are stored".into(),
            )),
            _ if !namespace.conflate_key.as_str().is_empty()
                && namespace.slow_client != SlowClient::Conflate =>
            {
                let why = "nothing is conflated by it unless `slow_client = \"conflate\"`";
                let text = format!("`{}` has no effect: {why}", path("conflate_key"));
                Some(self.problem(&path("conflate_key"), text))
            }
            _ if namespace.channel_from.is_some() && !self.settings.log.kafka.are_set() => {
                let text = format!(
                    "`{}` has no effect: only over Kafka do other programs write",
                    path("channel_from")
                );
                Some(self.problem(&path("channel_from"), text))
            }
            Stream::Log if !namespace.live_feed => Some(conflict(
                "live_feed",
                "log",
                "without bus and without feed no live subscriber gets anything",
            )),
            _ => None,
        }
    }

    fn problem(&self, path: &str, message: String) -> Problem {
        Problem::new(self.origins.get(path).cloned().unwrap_or(Origin::Default), message)
    }
}

/// The setting of the bus that its backend refuses, and why.
#[cfg(feature = "redis")]
fn refused_redis(bus: &Bus) -> Option<(&'static str, String)> {
    use dualstream_backends::redis::{Address, Settings};
    let refused = |path, error| Some((path, format!("`{path}`: {error}")));
    let address = match Address::parse(&bus.redis.0) {
        Ok(address) => address,
        Err(error) => return refused("bus.redis", error),
    };
    if let Err(error) = Settings::check_prefix(&bus.prefix.0) {
        return refused("bus.prefix", error);
    }
    if let (true, Err(error)) = (bus.sharded, Settings::check_sharded(&address)) {
        return refused("bus.sharded", error);
    }
    let idle = [
        ("bus.ca_file", &bus.ca_file, address.is_tls(), "`bus.redis` is not reached over TLS (rediss://)"),
        (
            "bus.sentinel_password_file",
            &bus.sentinel_password_file,
            address.is_sentinel(),
            "`bus.redis` names no Sentinels (redis+sentinel://)",
        ),
    ];
    let (path, _, _, why) =
        idle.into_iter().find(|(_, file, is_of_use, _)| file.0.is_some() && !is_of_use)?;
    Some((path, format!("`{path}` has no effect: {why}")))
}

#[cfg(not(feature = "redis"))]
fn refused_redis(_: &Bus) -> Option<(&'static str, String)> {
    let text = "`bus.redis` is not available: this build has no Redis backend (feature `redis`)";
    Some(("bus.redis", text.into()))
}

/// The setting that Kafka's client refuses, and why.
#[cfg(feature = "kafka")]
fn refused(brokers: &str, properties: &BTreeMap<String, String>) -> Option<(String, String)> {
    let error = dualstream_backends::kafka::Settings::new(brokers, properties.clone()).err()?;
    let path = match error.field() {
        Some("kafka") | None => "log.kafka".to_owned(),
        Some(field) => field.to_owned(),
    };
    let text = if path == "log.kafka" { format!("`log.kafka`: {error}") } else { error.to_string() };
    Some((path, text))
}

#[cfg(not(feature = "kafka"))]
fn refused(_: &str, _: &BTreeMap<String, String>) -> Option<(String, String)> {
    let text = "`log.kafka` is not available: this build has no Kafka backend (feature `kafka`)";
    Some(("log.kafka".into(), text.into()))
}

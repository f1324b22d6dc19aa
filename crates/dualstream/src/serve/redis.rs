//! Redis as the bus.
//!
//! It is never waited for: a server starts without it, serves without it, and ends without it.

use super::backend::World;
use super::bus::LiveBus;
use crate::settings::{Bus, OptionalFile, Period, Settings, Size};
use anyhow::Context;
use dualstream_backends::redis::{self, Address, Counters, RedisBus};
use dualstream_gateway::{BusReading, BusStats};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::oneshot;

/// Starts the bus over the Redis that the settings name.
pub(super) fn open(settings: &Settings, world: &World) -> anyhow::Result<LiveBus> {
    let (clock, entropy) = (world.clock.clone(), world.entropy.clone());
    let (bus, runner) = RedisBus::new(bus_settings(&settings.bus)?, clock, entropy)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(runner.run(async {
        // The sender going away is the same as its word.
        let _ = stopped.await;
    }));
    let stats = Some(Arc::new(Stats(bus.clone())) as Arc<dyn BusStats>);
    Ok(LiveBus { bus: Arc::new(bus), stats, running: Some((stop, task)) })
}

/// Where Redis is and how to get in, with what stands in files.
pub(super) fn address(bus: &Bus) -> anyhow::Result<Address> {
    let mut address = Address::parse(&bus.redis.0)?;
    if let Some(password) = secret("bus.password_file", &bus.password_file)? {
        address = address.with_password(&password);
    }
    if let Some(password) = secret("bus.sentinel_password_file", &bus.sentinel_password_file)? {
        address = address.with_sentinel_password(&password);
    }
    if let Some(roots) = read("bus.ca_file", &bus.ca_file)? {
        address = address.with_root_certificates(roots.into_bytes());
    }
    Ok(address)
}

fn bus_settings(bus: &Bus) -> anyhow::Result<redis::Settings> {
    Ok(redis::Settings {
        prefix: bus.prefix.0.clone(),
        connections: bus.connections as usize,
        sharded: bus.sharded,
        queue_bytes_max: Size::as_len(bus.queue_bytes_max),
        subscriber_bytes_max: Size::as_len(bus.subscriber_bytes_max),
        deadline: Period::as_duration(bus.deadline),
        probe_interval: Period::as_duration(bus.probe_interval),
        ..redis::Settings::new(address(bus)?)
    })
}

/// The first line of a file.
fn secret(setting: &str, file: &OptionalFile) -> anyhow::Result<Option<String>> {
    let text = read(setting, file)?;
    Ok(text.map(|text| text.lines().next().unwrap_or_default().to_owned()))
}

fn read(setting: &str, file: &OptionalFile) -> anyhow::Result<Option<String>> {
    let Some(path) = &file.0 else { return Ok(None) };
    let text = std::fs::read_to_string(path);
    Ok(Some(text.with_context(|| format!("cannot read {} ({setting})", path.display()))?))
}

struct Stats(RedisBus);

impl BusStats for Stats {
    fn read(&self) -> BusReading {
        let counters: &Counters = self.0.counters();
        BusReading {
            published: counters.published.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            waiting_bytes: counters.waiting_bytes.load(Relaxed) as u64,
            is_away: counters.away.load(Relaxed) > 0,
            received: counters.received.load(Relaxed),
            rejected: counters.rejected.load(Relaxed),
            slow_dropped: self.0.slow_dropped(),
            confirmed: self.0.confirmed() as u64,
            interrupted: counters.interrupted.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            publisher_reconnects: counters.publisher_reconnects.load(Relaxed),
            subscriber_reconnects: counters.subscriber_reconnects.load(Relaxed),
            silences: counters.silences.load(Relaxed),
            probe_latency: counters.probe_latency.snapshot(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_bus() {
        let bus = Bus { redis: crate::settings::RedisUrl("redis://a".into()), ..Bus::default() };
        let defaults = redis::Settings::new(Address::parse("redis://a").unwrap());
        assert_eq!(format!("{:?}", bus_settings(&bus).unwrap()), format!("{defaults:?}"));
    }

    #[test]
    fn a_password_in_a_file_is_the_first_line_and_a_missing_file_names_the_setting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "se cret\n").unwrap();
        let file = OptionalFile(Some(path));
        assert_eq!(secret("bus.password_file", &file).unwrap().as_deref(), Some("se cret"));
        let missing = OptionalFile(Some(dir.path().join("none")));
        let error = secret("bus.password_file", &missing).unwrap_err().to_string();
        assert!(error.contains("(bus.password_file)"), "{error}");
    }
}

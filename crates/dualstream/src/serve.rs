//! The server: opens the log, wires bus, publisher, hub and gateway to it, and takes everything down in order.
//!
//! ```text
//! Backend: log (its writer on a thread) ─▶ DualPublisher ◀── Gateway ──▶ Hub (its runner a task) ◀─ log, bus
//! ```
//! Shutdown is the one list in [`Server::run`]: accept no more and drain connections, stop the hub, flush the
//! bus, leave the registry, close the log.

mod backend;
mod bus;
mod disk;
mod embedded;
mod joined;
#[cfg(feature = "kafka")]
mod kafka;
mod parts;
#[cfg(feature = "redis")]
mod redis;
mod topics;

use crate::settings::{Fsync, Period, Settings};
use crate::system::{SystemClock, SystemEntropy};
use anyhow::Context;
use backend::{Backend, Store, World};
use bus::LiveBus;
use dualstream_core::Error;
use dualstream_core::channels::Channels;
use dualstream_core::clock::{Clock, Entropy};
use dualstream_core::hub::{self, Hub};
use dualstream_core::publisher::{self, DualPublisher};
use dualstream_core::registry::{About, InstanceId};
use dualstream_core::topic_admin::TopicAdmin;
use dualstream_gateway::{Gateway, Metrics, Nodes, Operations, SessionSettings};
use dualstream_log::FileStorage;
use joined::Joined;
use parts::Parts;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long reads go on after the log failed to sync, before the server ends.
const READ_ONLY_DRAIN: Duration = Duration::from_secs(30);

/// The log could not be synced: nothing more was stored, and the next start recovers from the disk.
#[derive(Debug, thiserror::Error)]
#[error("the log could not be synced; start again to recover from the disk")]
pub struct SyncFailed(#[source] Error);

/// A server that is open and not yet serving.
pub struct Server {
    settings: Settings,
    listener: TcpListener,
    gateway: Gateway,
    store: Store,
    live: LiveBus,
    joined: Joined,
    hub: JoinHandle<()>,
    stop_hub: oneshot::Sender<()>,
}

impl Server {
    /// Opens everything and binds the address.
    ///
    /// # Errors
    /// What cannot be opened, with the setting that names it.
    pub async fn open(settings: Settings) -> anyhow::Result<Server> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
        let world = World { clock: clock.clone(), entropy: entropy.clone() };
        let storage = FileStorage::open(&backend::dir(&settings))?;
        // Before the log is open: a log that is given up at once was not closed in order, and without sync before the ack
        // it begins new epochs at the next start.
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("cannot listen on {} (--listen)", settings.listen))?;
        let backend = Backend::open(&settings, &world, storage).await?;
        let Backend { log, topics, sources, stats, upstream, store, id } = backend;
        let mirror = upstream.as_ref().map(|upstream| upstream.log.clone());
        let own = About {
            id: InstanceId::fresh(&*entropy),
            version: env!("CARGO_PKG_VERSION").into(),
            address: listener.local_addr()?.to_string().into(),
        };
        let decisions = upstream.as_ref().map(|upstream| upstream.decisions.clone());
        let opened = match Joined::join(&settings, &own, id, &world).await {
            Ok(joined) => LiveBus::open(&settings, &world).map(|live| (joined, live)),
            Err(error) => Err(error),
        };
        let (joined, live) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let bus = live.bus.clone();
        // Redis is what nodes share; a bus in this process reaches none.
        let control = joined.membership.is_some().then(|| bus.clone());
        let nodes =
            Nodes { own, membership: joined.membership.clone(), decisions: decisions.clone(), control };
        let publisher = DualPublisher::new(
            publisher_settings(&settings),
            log.clone(),
            bus.clone(),
            settings.namespaces(),
            clock.clone(),
            entropy,
        );
        let (hub, runner) =
            Hub::new(hub_settings(&settings), log.clone(), bus.clone(), settings.namespaces());
        let (stop_hub, stopped) = oneshot::channel::<()>();
        let runner = tokio::spawn(runner.run(async {
            // The sender going away is the same as its word.
            let _ = stopped.await;
        }));
        let parts = Parts::new(store.failed.clone(), upstream, bus, &joined, clock);
        let metrics = Metrics::new(Some(stats), mirror);
        let metrics = live.stats.clone().into_iter().fold(metrics, Metrics::with_bus);
        let metrics = joined.membership.clone().into_iter().fold(metrics, Metrics::with_membership);
        let metrics = decisions.into_iter().fold(metrics, Metrics::with_decisions);
        let operations = Operations {
            topics: TopicAdmin::new(topics, log, settings.namespaces()),
            channels: Channels::new(sources, hub.clone()),
            nodes,
        };
        let gateway =
            Gateway::new(gateway_settings(&settings), publisher, hub, operations, Arc::new(parts), metrics);
        Ok(Server { settings, listener, gateway, store, live, joined, hub: runner, stop_hub })
    }

    /// The address that is served.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` resolves, then stops in order. When the log fails to sync, reads go on for half a
    /// minute first.
    ///
    /// # Errors
    /// [`SyncFailed`], and whatever went wrong while stopping.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Server { settings, listener, gateway, mut store, live, joined, mut hub, stop_hub } = self;
        let (mut failed, mut seen) = (store.failed.clone(), store.failed.clone());
        let read_only = async move {
            // The writer ends by itself only when it failed, or without a word when it panicked.
            let _ = seen.wait_for(Option::is_some).await;
            tokio::time::sleep(READ_ONLY_DRAIN).await;
        };
        let began = OnceLock::new();
        let until = async {
            tokio::select! {
                biased;
                () = shutdown => tracing::info!("stopping: no new connections, open ones are drained"),
                () = read_only => tracing::error!("stopping: the log takes nothing any more"),
                () = store.starved() => tracing::error!("stopping: the mirror ended, nothing new can be read"),
                _ = &mut hub => tracing::error!("stopping: the hub ended, no subscription can be served"),
            }
            let _ = began.set(Instant::now());
        };
        gateway.run(listener, until).await;
        // Before it is told to end, the hub ends only by a panic.
        let hub_panicked = hub.is_finished();
        drop(stop_hub);
        let stop = async {
            if !hub_panicked {
                // A panic on its way out was logged; there is nothing left to do for it.
                let _ = hub.await;
            }
            live.close().await;
            joined.leave().await;
            store.close().await
        };
        let deadline =
            began.get().copied().unwrap_or_else(Instant::now) + settings.shutdown_max.as_duration();
        let joined = tokio::time::timeout_at(deadline, stop).await;
        if let Some(error) = failed.borrow_and_update().clone() {
            return Err(SyncFailed(error).into());
        }
        match joined {
            Ok(true) if hub_panicked => anyhow::bail!("the hub panicked"),
            Ok(true) => {
                tracing::info!("stopped");
                Ok(())
            }
            Ok(false) => anyhow::bail!("the writer of the log panicked"),
            Err(_) => anyhow::bail!("the log was not closed within {} (shutdown_max)", settings.shutdown_max),
        }
    }
}

fn log_settings(settings: &Settings) -> dualstream_log::Settings {
    let log = &settings.log;
    dualstream_log::Settings {
        fsync: match log.fsync {
            Fsync::Always => dualstream_log::Fsync::Always,
            Fsync::Every(period) => dualstream_log::Fsync::Every(period.as_duration()),
        },
        segment_bytes: log.segment_bytes.as_bytes(),
        journal_file_bytes: log.journal_file_bytes.as_bytes(),
        dedup_window_ms: log.dedup_window.as_millis(),
        dedup_ids_max: log.dedup_ids_max,
        checkpoint_bytes: log.checkpoint_bytes.as_bytes(),
        checkpoint_interval: log.checkpoint_interval.as_duration(),
        compression: log.compression,
        wait_max: settings.limits.publish_wait_max.as_duration(),
        queue_bytes_max: log.queue_bytes_max.as_len(),
        free_bytes_min: log.free_bytes_min.as_bytes(),
        sidecar_cache_bytes_max: log.sidecar_cache_bytes_max.as_len(),
    }
}

fn publisher_settings(settings: &Settings) -> publisher::Settings {
    publisher::Settings {
        waiting_bytes_max: settings.limits.publish_waiting_bytes_max.as_len(),
        wait_max: settings.limits.publish_wait_max.as_duration(),
        outcome_max: settings.limits.publish_outcome_max.as_duration(),
    }
}

fn hub_settings(settings: &Settings) -> hub::Settings {
    let limits = &settings.limits;
    hub::Settings {
        ring_bytes_max: limits.ring_bytes_max.as_len(),
        page_bytes_max: limits.page_bytes_max.as_len(),
        linger: limits.linger.as_duration(),
        targets_max: limits.targets_max as usize,
        inbox_bytes_max: limits.live_queue_bytes_max.as_len(),
        inboxes_bytes_max: limits.live_queues_bytes_max.as_len(),
    }
}

fn gateway_settings(settings: &Settings) -> dualstream_gateway::Settings {
    let http = &settings.http;
    dualstream_gateway::Settings {
        body_bytes_max: http.body_bytes_max.as_len(),
        bodies_bytes_max: http.bodies_bytes_max.as_len(),
        header_bytes_max: http.header_bytes_max.as_len(),
        uri_bytes_max: http.uri_bytes_max.as_len(),
        connections_max: http.connections_max as usize,
        connects_per_second: u32::try_from(http.connects_per_second).unwrap_or(u32::MAX),
        header_deadline: http.header_max.as_duration(),
        body_grace: http.body_grace.as_duration(),
        body_rate_min: http.body_rate_min.as_bytes(),
        write_stall_max: http.write_stall_max.as_duration(),
        peer_silence_max: http.peer_silence_max.as_duration(),
        heartbeat: http.heartbeat.as_duration(),
        retry: http.retry.as_duration(),
        write_bytes_max: http.write_bytes_max.as_len(),
        // Connections get a third of the time: they are cut at twice their drain, and the log comes after them.
        drain: settings.shutdown_max.as_duration() / 3,
        allowed_hosts: own_hosts(settings),
        allowed_origins: http.allowed_origins.clone(),
        session: session_settings(settings),
    }
}

/// What requests may call the server by, beside loopback names and addresses: where it listens, and what is set.
fn own_hosts(settings: &Settings) -> Vec<String> {
    let listen = settings.listen.ip();
    let own = (!listen.is_loopback()).then(|| listen.to_string());
    own.into_iter().chain(settings.http.allowed_hosts.0.iter().cloned()).collect()
}

fn session_settings(settings: &Settings) -> SessionSettings {
    let limits = &settings.limits;
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let retention = settings.log.retention.map(Period::as_duration);
    SessionSettings {
        ping_interval: limits.ping_interval.as_duration(),
        pong_wait: limits.pong_max.as_duration(),
        stale_after: limits.unauthenticated_max.as_duration(),
        message_bytes_max: limits.message_bytes_max.as_len(),
        message_deadline: limits.message_max.as_duration(),
        // Each holds a connection, and needs another to say something.
        emulated_max: limits.emulated_max.min((settings.http.connections_max * 3 / 4).max(1)) as usize,
        channels_max: limits.channels_max as usize,
        patterns_max: limits.patterns_max as usize,
        commands_per_second: count(limits.commands_per_second),
        commands_burst: count(limits.commands_burst),
        errors_per_minute: count(limits.errors_per_minute),
        recovery_publications_max: limits.recovery_publications_max as usize,
        recovery_bytes_max: limits.recovery_bytes_max.as_len(),
        history_publications_max: limits.history_publications_max as usize,
        answer_max: limits.answer_max.as_duration(),
        close_wait: limits.close_max.as_duration(),
        // What is kept for ever gives no place of a quiet channel a reason to age.
        place_age_max: retention.map_or(Duration::MAX, |retention| retention / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_parts() {
        let settings = Settings::default();
        let shown = |part: &dyn std::fmt::Debug| format!("{part:#?}");
        let gateway = dualstream_gateway::Settings { drain: Duration::from_secs(10), ..Default::default() };
        assert_eq!(shown(&gateway_settings(&settings)), shown(&gateway));
        assert_eq!(shown(&hub_settings(&settings)), shown(&hub::Settings::default()));
        assert_eq!(shown(&publisher_settings(&settings)), shown(&publisher::Settings::default()));
    }

    #[test]
    fn limits_with_one_default_are_not_mixed_up() {
        let text = "[log]\nretention = \"2d\"\n[limits]\nunauthenticated_max = \"1s\"\nclose_max = \"2s\"\n\
                    recovery_publications_max = 3\nhistory_publications_max = 4\n";
        let session = session_settings(&Settings::parse("t.toml", text).unwrap());
        assert_eq!((session.stale_after.as_secs(), session.close_wait.as_secs()), (1, 2));
        assert_eq!((session.recovery_publications_max, session.history_publications_max), (3, 4));
        assert_eq!(session.place_age_max, Duration::from_secs(86_400));
    }
}

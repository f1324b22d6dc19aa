//! A gateway in this process, and everything under it.

use crate::tiny_log::{FIRST_MS, TinyLog};
use dualstream_core::bus::{Bus, Health};
use dualstream_core::channels::Channels;
use dualstream_core::conflation::ConflateKey;
use dualstream_core::histogram::Histogram;
use dualstream_core::hub::{self, Hub};
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::namespace::{Namespace, Namespaces, SlowClient, Stream};
use dualstream_core::publisher::{self, DualPublisher};
use dualstream_core::registry::{About, InstanceId};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::topic::TopicName;
use dualstream_core::topic_admin::TopicAdmin;
use dualstream_gateway::{Gateway, LogReading, LogStats, Metrics, Nodes, Operations, Part, Settings, Status};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running server; it stops when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub log: Arc<TinyLog>,
    pub bus: MemoryBus,
    pub parts: Arc<Parts>,
    pub publisher: DualPublisher,
    pub id: InstanceId,
    stop: watch::Sender<bool>,
    pub task: JoinHandle<()>,
}

/// What the parts behind the gateway say of themselves.
pub struct Parts {
    pub log: Mutex<Health>,
    pub bus: Mutex<Health>,
    /// Asking for what the log counts panics: a bug in a handler.
    pub panics: AtomicBool,
}

impl Status for Parts {
    fn parts(&self) -> Vec<Part> {
        let part = |name, health: &Mutex<Health>, is_needed| Part {
            name,
            health: health.lock().unwrap().clone(),
            is_needed,
        };
        vec![part("log", &self.log, true), part("bus", &self.bus, false)]
    }
}

impl LogStats for Parts {
    fn read(&self) -> LogReading {
        assert!(!self.panics.load(Ordering::Relaxed), "a secret of the inside");
        LogReading {
            fsyncs: 7,
            records: 21,
            records_per_fsync: vec![(1, 3), (8, 4)],
            fsync_latency: Some(Histogram::default().snapshot()),
            ..LogReading::default()
        }
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::with(Settings { drain: std::time::Duration::from_millis(200), ..Settings::default() }).await
    }

    pub async fn with(settings: Settings) -> Server {
        Server::over(Arc::new(TinyLog::new()), settings, hub::Settings::default(), "127.0.0.1:0").await
    }

    /// A server over a log that may hold something already: what is started again.
    pub async fn over(log: Arc<TinyLog>, settings: Settings, hub: hub::Settings, listen: &str) -> Server {
        Server::among(alone(), log, settings, hub, listen).await
    }

    /// One of several nodes over one log.
    pub async fn among(
        nodes: Nodes,
        log: Arc<TinyLog>,
        mut settings: Settings,
        hub: hub::Settings,
        listen: &str,
    ) -> Server {
        // What requests of tests call it.
        settings.allowed_hosts.push("x".into());
        let bus = MemoryBus::default();
        let namespaces = Namespaces::new(
            vec![namespace("chat", Stream::Dual), namespace("ai", Stream::Bus), board()],
            None,
        );
        let seams: (Arc<TinyLog>, Arc<dyn Bus>) = (log.clone(), Arc::new(bus.clone()));
        let publisher = DualPublisher::new(
            publisher::Settings::default(),
            seams.0.clone(),
            seams.1.clone(),
            namespaces.clone(),
            Arc::new(ManualClock::new(FIRST_MS)),
            Arc::new(SeededEntropy::new(1)),
        );
        let (hub, runner) = Hub::new(hub, seams.0, seams.1, namespaces.clone());
        let (id, decisions) = (nodes.own.id.clone(), nodes.decisions.clone());
        let operations = Operations {
            topics: TopicAdmin::new(log.clone(), log.clone(), namespaces),
            channels: Channels::new(log.clone(), hub.clone()),
            nodes,
        };
        let parts = Arc::new(Parts {
            log: Mutex::new(Health::Up),
            bus: Mutex::new(Health::Up),
            panics: AtomicBool::default(),
        });
        let metrics = Metrics::new(Some(parts.clone()), None);
        let metrics = decisions.into_iter().fold(metrics, Metrics::with_decisions);
        let gateway = Gateway::new(settings, publisher.clone(), hub, operations, parts.clone(), metrics);
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, mut stopped) = watch::channel(false);
        // The hub outlives the gateway, as it does wherever parts are stopped in order.
        tokio::spawn(runner.run(std::future::pending()));
        let task = tokio::spawn(gateway.run(listener, async move { drop(stopped.changed().await) }));
        Server { address, log, bus, parts, publisher, id, stop, task }
    }

    /// Begins the shutdown.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// There is no other node.
fn alone() -> Nodes {
    Nodes { own: about(1), membership: None, decisions: None, control: None }
}

/// The node of that number.
pub fn about(number: u64) -> About {
    let id = InstanceId::new(&format!("node-{number}")).unwrap();
    About { id, version: "1.2.3".into(), address: format!("127.0.0.1:{}", 8000 + number).into() }
}

fn board() -> Namespace {
    let key = ConflateKey::new("/widgetId").unwrap();
    Namespace { slow_client: SlowClient::Conflate(key), ..namespace("board", Stream::Bus) }
}

fn namespace(name: &str, stream: Stream) -> Namespace {
    Namespace {
        name: name.into(),
        stream,
        topic: TopicName::new(name).unwrap(),
        slow_client: SlowClient::Disconnect,
        live_feed: true,
        channel_from: None,
    }
}

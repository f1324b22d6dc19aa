//! The registry in Redis: what it promises, and that it heals from whatever becomes of Redis.

use crate::redis_server::{DEADLINE, Server};
use dualstream_backends::redis::{Address, Commands, LogClaim, RedisRegistry};
use dualstream_core::ErrorKind;
use dualstream_core::bus::Health;
use dualstream_core::clock::Entropy;
use dualstream_core::log_id::LogId;
use dualstream_core::registry::{
    About, Beat, Connection, Instance, InstanceId, Instances, LEASE, Membership, Owner, Registry, Removal,
    Settings,
};
use dualstream_core::testing::{self, ManualClock, RegistryBackend, SeededEntropy};
use dualstream_services::Redis;
use dualstream_services::redis::Sentinel;
use futures::FutureExt;
use futures::future::ready;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What takes longer does not happen.
const HAPPENS_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn suite() {
    let server = Arc::new(Server::start());
    testing::registry(async || backend(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suite_in_a_cluster() {
    let server = Arc::new(Server::start_cluster());
    testing::registry(async || backend(&server)).await;
}

fn backend(server: &Arc<Server>) -> RegistryBackend {
    let commands = server.commands();
    let (server, prefix) = (server.clone(), commands.prefix().to_owned());
    let pass = move |time: Duration| {
        server.age(&prefix, time);
        ready(()).boxed_local()
    };
    RegistryBackend {
        registry: Arc::new(RedisRegistry::new(commands)),
        pass: Box::new(pass),
        keep: Box::new(()),
    }
}

/// A node that runs, with heartbeats as fast as they come.
struct Node {
    membership: Membership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    fn start(commands: Arc<Commands>, seed: u64) -> Node {
        let (clock, entropy) = (Arc::new(ManualClock::new(1)), Arc::new(SeededEntropy::new(seed)));
        let settings = Settings {
            heartbeat: Duration::from_millis(100),
            retry: Duration::from_millis(20),
            ..Settings::default()
        };
        let id = InstanceId::fresh(&*entropy as &dyn Entropy);
        let about = About { id, version: "1.0.0".into(), address: "127.0.0.1:8000".into() };
        let registry = Arc::new(RedisRegistry::new(commands));
        let (membership, runner) = Membership::new(settings, registry, about, clock, entropy);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(runner.run(async {
            let _ = stopped.await;
        }));
        Node { membership, stop, task }
    }

    fn put(&self, numbers: impl IntoIterator<Item = usize>) {
        numbers.into_iter().for_each(|n| self.membership.put(connection(n)));
    }

    /// All clients the registry shows of this node, or nothing while it cannot be asked.
    async fn clients(&self) -> BTreeSet<String> {
        let (mut all, mut after) = (BTreeSet::new(), None);
        loop {
            let id = self.membership.id().clone();
            let Ok(page) = self.membership.connections(id, after, 1_000).await else { return all };
            all.extend(page.connections.iter().map(|one| one.client.to_string()));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    async fn until_clients(&self, numbers: impl IntoIterator<Item = usize>) {
        let wanted: BTreeSet<_> = numbers.into_iter().map(|n| connection(n).client.to_string()).collect();
        until("the registry shows the node's clients", async || self.clients().await == wanted).await;
    }

    fn incarnations(&self) -> u64 {
        self.membership.counters().incarnations.load(Relaxed)
    }
}

/// Asks again and again; each time waits for an answer of Redis, or for a deadline.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + HAPPENS_MAX;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within {HAPPENS_MAX:?}");
        tokio::task::yield_now().await;
    }
}

fn connection(n: usize) -> Connection {
    Connection {
        client: format!("client-{n:05}").into(),
        user: "u".into(),
        transport: "websocket".into(),
        protocol: "json".into(),
        name: "js".into(),
        version: "5".into(),
        connected_ms: 1,
        remote: None,
    }
}

fn instance(incarnation: u64) -> Instance {
    let owner = Owner { id: InstanceId::new("one").unwrap(), incarnation };
    Instance { owner, version: "1".into(), address: "a:1".into(), started_ms: 1, connections: 0 }
}

/// As `docs/reference/registry.md` says: others read it too.
#[tokio::test(flavor = "multi_thread")]
async fn it_stands_in_redis_as_the_reference_says() {
    let mut server = Server::start();
    let registry = RedisRegistry::new(server.commands_under("p:"));
    let owner = instance(1).owner;
    registry.heartbeat(instance(1), Beat::Begin).await.unwrap();
    registry.put(owner.clone(), vec![Arc::new(connection(7))]).await.unwrap();
    assert_eq!(server.keys("p:"), ["p:ws:instance:one", "p:ws:instances"]);
    let redis = server.redis();
    let field =
        |name| redis.command(&["HGET", "p:ws:instance:one", name]).unwrap().text().unwrap().to_owned();
    assert_eq!(field("incarnation"), "1");
    assert_eq!(field("instance"), r#"{"version":"1","address":"a:1","started_ms":1,"connections":0}"#);
    let value = field("ws:conn:client-00007");
    let (expires, rest) = value.strip_prefix("{\"expires_ms\":").unwrap().split_once(',').unwrap();
    let now = redis.command(&["TIME"]).unwrap().array().unwrap()[0].text().unwrap().parse::<i64>().unwrap();
    let left_s = expires.parse::<i64>().unwrap() / 1000 - now;
    assert!((60..=120).contains(&left_s), "{left_s}");
    let wanted =
        r#""user":"u","transport":"websocket","protocol":"json","name":"js","version":"5","connected_ms":1}"#;
    assert_eq!(rest, wanted);
    for key in ["p:ws:instance:one", "p:ws:instances"] {
        let left = redis.command(&["PTTL", key]).unwrap().integer().unwrap();
        assert!((60_000..=120_000).contains(&left), "{key}: {left}");
    }
    registry.remove(owner, Removal::Instance).await.unwrap();
    assert_eq!(server.keys("p:"), [""; 0]);
}

/// Whatever stands there that is none of ours is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_there_is_passed_over() {
    let mut server = Server::start();
    let registry = RedisRegistry::new(server.commands_under("p:"));
    registry.heartbeat(instance(1), Beat::Begin).await.unwrap();
    registry.put(instance(1).owner, vec![Arc::new(connection(1))]).await.unwrap();
    let redis = server.redis();
    for words in [
        &[
            "HSET",
            "p:ws:instance:one",
            "ws:conn:x",
            "hello",
            "other",
            "{}",
            "ws:conn:y",
            "{\"expires_ms\":1}",
        ][..],
        &["HSET", "p:ws:instance:two", "incarnation", "1", "instance", "hello"],
        &["HSET", "p:ws:instance:four", "incarnation", "newest", "instance", "{}"],
        &["SET", "p:ws:instance:five", "hello"],
        &["ZADD", "p:ws:instances", "1e15", "two", "1e15", "three", "1e15", "four", "1e15", "five"],
        &["ZADD", "p:ws:instances", "1e15", "no id!", "1", "dead"],
    ] {
        redis.command(words).unwrap();
    }
    let connects = || redis.command(&["INFO", "stats"]).unwrap().text().unwrap().to_owned();
    let connects = || {
        let stats = connects();
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    let before = connects();
    for _ in 0..3 {
        let Instances { listed, unread } = registry.instances().await.unwrap();
        assert_eq!((listed.len(), unread), (1, 1));
    }
    // Each command of the test is one too.
    assert_eq!(connects(), before + 1, "the connection is kept");
    let index = redis.command(&["ZCARD", "p:ws:instances"]).unwrap();
    assert_eq!(index.integer().unwrap(), 6, "whose lease ended is not kept in the index");
    let id = instance(1).owner.id;
    assert_eq!(registry.connections(id.clone(), None, 10).await.unwrap().connections, [connection(1)]);
    let no_end = Some(dualstream_core::registry::PageEnd("x".into()));
    assert_eq!(registry.connections(id, no_end, 10).await.unwrap_err().code(), "page_invalid");
}

/// A Cluster of which one master is gone still shows whom the others know.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_one_of_its_masters_shows_the_rest() {
    let mut server = Server::start_cluster();
    let registry = RedisRegistry::new(server.commands());
    let names: Vec<String> = (0..24).map(|n| format!("node-{n:02}")).collect();
    for name in &names {
        let owner = Owner { id: InstanceId::new(name).unwrap(), incarnation: 1 };
        registry.heartbeat(Instance { owner, ..instance(1) }, Beat::Begin).await.unwrap();
    }
    assert_eq!(registry.instances().await.unwrap().listed.len(), names.len());
    let index = server.holder("ws:instances");
    server.kill((index + 1) % 3);
    let mut shown = Instances::default();
    until("the rest is shown", async || {
        shown = registry.instances().await.unwrap_or_default();
        assert!(shown.listed.len() < names.len(), "one master is gone");
        !shown.listed.is_empty()
    })
    .await;
    assert!(shown.unread > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_heals_by_the_next_heartbeat() {
    let mut server = Server::start();
    let commands = server.commands();
    let nodes = [Node::start(commands.clone(), 1), Node::start(commands, 2)];
    nodes[0].put(0..3_000);
    nodes[1].put(3_000..3_010);
    nodes[0].until_clients(0..3_000).await;
    server.redis().command(&["FLUSHALL"]).unwrap();
    nodes[0].put([3_000]);
    nodes[0].until_clients(0..3_001).await;
    nodes[1].until_clients(3_000..3_010).await;
    assert_eq!(nodes[0].membership.instances().await.unwrap().len(), 2);
    assert!(nodes[0].incarnations() > 1);
}

/// Killed, it forgets everything; meanwhile nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_killed_is_filled_again() {
    let mut server = Server::start();
    let node = Node::start(server.commands(), 1);
    node.put(0..1_000);
    node.until_clients(0..1_000).await;
    server.redis().process.kill().unwrap();
    until("it is noticed", async || node.membership.health() != Health::Up).await;
    let before = Instant::now();
    node.put(1_000..2_000);
    (0..500).for_each(|n| node.membership.remove(&connection(n).client));
    assert!(before.elapsed() < DEADLINE, "telling waits for nothing");
    server.redis().restart().unwrap();
    node.until_clients(500..2_000).await;
    assert_eq!(node.membership.health(), Health::Up);
}

/// Sentinels that take connections and say nothing: another one is asked.
#[tokio::test(flavor = "multi_thread")]
async fn silent_sentinels_are_passed_over() {
    let mut server = Server::start_sentinel();
    let silent = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two] = silent.each_ref().map(|listener| listener.local_addr().unwrap());
    let url =
        format!("redis+sentinel://{one},{two},{}/{}", server.sentinel().addresses()[0], Sentinel::MASTER);
    let registry = RedisRegistry::new(Arc::new(Commands::new(Address::parse(&url).unwrap(), "", DEADLINE)));
    registry.heartbeat(instance(1), Beat::Begin).await.unwrap();
    assert_eq!(registry.instances().await.unwrap().listed.len(), 1);
}

/// Nobody can say who the master is; the one that was still answers.
#[tokio::test(flavor = "multi_thread")]
async fn without_sentinels_it_goes_on_where_it_was() {
    const AGE_MAX: Duration = Duration::from_millis(50);
    let mut server = Server::start_sentinel();
    let commands = Commands::new(server.address.clone(), "", DEADLINE).with_age_max(AGE_MAX);
    let registry = RedisRegistry::new(Arc::new(commands));
    registry.heartbeat(instance(1), Beat::Begin).await.unwrap();
    server.sentinel().sentinels[0].process.kill().unwrap();
    let since = Instant::now();
    while since.elapsed() < 5 * AGE_MAX {
        registry.heartbeat(instance(1), Beat::Renew).await.unwrap();
    }
}

/// The old one was left alone, with its connections open: it answers as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_is_filled_again() {
    let mut server = Server::start_sentinel();
    let commands = Commands::new(server.address.clone(), "", DEADLINE).with_age_max(DEADLINE);
    let node = Node::start(Arc::new(commands), 1);
    node.put(0..100);
    node.until_clients(0..100).await;
    let stands_at = |server: &Redis| {
        let keys = server.command(&["KEYS", "ws:instance:*"]).unwrap();
        keys.array().unwrap().len() == 1
    };
    let second = server.sentinel().detach().unwrap();
    // It was a replica: only what comes from now on says that the node tells it.
    server.sentinel().servers[second].command(&["FLUSHALL"]).unwrap();
    until("it stands at the new master", async || stands_at(&server.sentinel().servers[second])).await;
    node.until_clients(0..100).await;
}

/// A Redis that hangs: calls end in time, and what they still bring about late counts no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_hanging_redis_does_late_changes_nothing() {
    let mut server = Server::start();
    let commands = server.commands();
    let registry = RedisRegistry::new(commands.clone());
    let put = |incarnation, n| registry.put(instance(incarnation).owner, vec![Arc::new(connection(n))]);
    registry.heartbeat(instance(1), Beat::Begin).await.unwrap();
    put(1, 0).await.unwrap();
    server.redis().process.pause().unwrap();
    let error = put(1, 1).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "redis_unavailable"));
    assert!(registry.instances().await.is_err());
    server.redis().process.resume().unwrap();
    // The failure to connect may be told once more.
    until("it begins anew", async || registry.heartbeat(instance(2), Beat::Begin).await.is_ok()).await;
    put(2, 2).await.unwrap();
    // What was sent to it while it hung has been done when nothing of it waits any more.
    until("only the new connection is left", async || {
        let list = server.redis().command(&["CLIENT", "LIST"]).unwrap();
        list.text().unwrap().lines().filter(|line| !line.contains("cmd=client")).count() <= 1
    })
    .await;
    let page = registry.connections(instance(2).owner.id, None, 10).await.unwrap();
    assert_eq!(page.connections, [connection(2)]);
    assert_eq!(put(1, 3).await.unwrap_err().kind(), ErrorKind::Fenced);
}

/// SIGSTOP for longer than a lease, SIGCONT: it registers again and does not rise from the dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_paused_past_its_lease_registers_again() {
    let server = Server::start();
    let commands = server.commands();
    let prefix = commands.prefix().to_owned();
    let node = Node::start(commands.clone(), 1);
    node.put(0..100);
    node.until_clients(0..100).await;
    let before = node.incarnations();
    server.age(&prefix, LEASE);
    until("it began anew", async || node.incarnations() > before).await;
    node.until_clients(0..100).await;
    let listed = node.membership.instances().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].instance.owner.incarnation > before);
}

/// One that dies leaves nothing once its lease has ended, one that stops leaves nothing at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_stops_is_gone_at_once_and_who_dies_with_the_lease() {
    let server = Server::start();
    let commands = server.commands();
    let prefix = commands.prefix().to_owned();
    let (first, second) = (Node::start(commands.clone(), 1), Node::start(commands.clone(), 2));
    first.put(0..100);
    second.put(100..200);
    first.until_clients(0..100).await;
    second.until_clients(100..200).await;
    first.stop.send(()).unwrap();
    first.task.await.unwrap();
    let watcher = RedisRegistry::new(commands);
    let ids = |instances: Instances| -> Vec<_> {
        instances.listed.into_iter().map(|listed| listed.instance.owner.id).collect()
    };
    assert_eq!(ids(watcher.instances().await.unwrap()), [second.membership.id().clone()]);
    second.task.abort();
    let _ = second.task.await;
    assert_eq!(watcher.instances().await.unwrap().listed.len(), 1, "nobody knows yet that it died");
    server.age(&prefix, LEASE);
    assert_eq!(watcher.instances().await.unwrap().listed, []);
    assert_eq!(server.keys(&prefix), [""; 0], "nothing of it is left");
}

/// Redis was never there when the node started.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_before_redis_registers_when_it_comes() {
    let mut server = Server::start();
    server.redis().process.kill().unwrap();
    let node = Node::start(server.commands(), 1);
    node.put(0..10);
    let error = Mutex::new(None);
    until("it is told why", async || {
        let Health::Down { reason, .. } = node.membership.health() else { return false };
        *error.lock().unwrap() = Some(reason.clone());
        reason.contains("refused")
    })
    .await;
    server.redis().restart().unwrap();
    node.until_clients(0..10).await;
}

/// `docs/guide/redis.md` names them.
#[tokio::test(flavor = "multi_thread")]
async fn users_need_the_rights_of_the_guide_for_the_registry() {
    let server = Server::start();
    server.allow("dualstream", &["~ws:*"]);
    rights_suffice(&server).await;
}

/// A Cluster asks for more.
#[tokio::test(flavor = "multi_thread")]
async fn users_need_more_rights_in_a_cluster() {
    let server = Server::start_cluster();
    server.allow("dualstream", &["~ws:*"]);
    let address = server.address_as("dualstream");
    let denied = RedisRegistry::new(Arc::new(Commands::new(address, "", DEADLINE)));
    assert!(denied.instances().await.is_err());
    server.allow("dualstream", &["~ws:*", "+cluster|slots"]);
    rights_suffice(&server).await;
}

async fn rights_suffice(server: &Server) {
    let commands = Arc::new(Commands::new(server.address_as("dualstream"), "", DEADLINE));
    let node = Node::start(commands.clone(), 1);
    node.put(0..10);
    node.until_clients(0..10).await;
    node.membership.remove(&connection(0).client);
    node.until_clients(1..10).await;
    assert_eq!(node.membership.instances().await.unwrap().len(), 1);
    let (clock, entropy) = (Arc::new(ManualClock::new(1)), Arc::new(SeededEntropy::new(1)));
    let claim = LogClaim::new(commands, LogId::Embedded(1), clock, entropy);
    claim.take().await.unwrap();
    claim.keep(async {}).await;
    node.stop.send(()).unwrap();
    node.task.await.unwrap();
    assert_eq!(server.keys(""), [""; 0]);
}

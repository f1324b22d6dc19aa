//! Nodes and their clients: lists of all of them, and an end to each, whichever node has it.

use crate::peer::Peer;
use crate::server::{Server, about};
use crate::tiny_log::TinyLog;
use crate::wire::{Answer, Wire, get};
use dualstream_core::bus::Bus;
use dualstream_core::decisions::{self, Decisions};
use dualstream_core::memory::bus::MemoryBus;
use dualstream_core::memory::registry::MemoryRegistry;
use dualstream_core::registry::{
    Beat, Connection, Instance, InstanceId, Instances, Membership, Owner, PAGE_CONNECTIONS_MAX, Page,
    PageEnd, Registry, Removal, page_invalid,
};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::{Error, ErrorKind, Result, hub, registry};
use dualstream_gateway::{Nodes, Settings};
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A client as it connects; its id.
async fn client(server: &Server) -> (Peer, String) {
    let mut peer = Peer::open(server.address, "/connection/websocket", "").await;
    let reply = peer.ask(json!({"connect": {"name": "test", "version": "0.7"}})).await;
    let id = reply["connect"]["client"].as_str().unwrap().to_owned();
    assert_eq!(reply["connect"]["node"], server.id.as_str());
    (peer, id)
}

async fn event_stream(server: &Server) -> Wire {
    let mut wire = Wire::connect(server.address).await;
    wire.send(get("/v1/stream?channel=events:*")).await;
    assert_eq!(wire.head().await.unwrap().0, 200);
    assert!(wire.chunk().await.is_some(), "it has begun");
    wire
}

pub async fn ask(server: &Server, target: &str) -> Answer {
    Wire::connect(server.address).await.ask(get(target)).await
}

pub async fn delete(server: &Server, target: &str) -> Answer {
    let request = format!("DELETE {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    Wire::connect(server.address).await.ask(request).await
}

/// All connections that a server lists, over pages of `limit`.
pub async fn listed(server: &Server, limit: usize, more: &str) -> Vec<Value> {
    listed_by(&[server], limit, more).await
}

/// The same, where each page is asked of the next server, as behind a balancer.
async fn listed_by(servers: &[&Server], limit: usize, more: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    for server in servers.iter().cycle().take(1_000) {
        let target = format!("/v1/connections?limit={limit}{after}{more}");
        let page = ask(server, &target).await.json();
        let connections = page["connections"].as_array().unwrap_or_else(|| panic!("{target}: {page}"));
        assert!(connections.len() <= limit, "{page}");
        all.extend(connections.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
    panic!("pages never end");
}

pub fn ids(connections: &[Value]) -> BTreeSet<&str> {
    let ids: BTreeSet<&str> = connections.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), connections.len(), "each once");
    ids
}

#[tokio::test]
async fn a_node_alone_lists_its_own_and_says_so() {
    let server = Server::start().await;
    let empty = json!({"scope": "node", "connections": [], "next": null});
    assert_eq!(ask(&server, "/v1/connections").await.json(), empty);
    let mut clients = BTreeMap::new();
    for _ in 0..12 {
        let (peer, id) = client(&server).await;
        clients.insert(id, peer);
    }
    let _stream = event_stream(&server).await;
    let instances = ask(&server, "/v1/instances").await.json();
    let only = &instances["instances"][0];
    assert_eq!((&instances["scope"], &only["id"]), (&json!("node"), &json!("node-1")));
    assert_eq!((&only["version"], &only["address"]), (&json!("1.2.3"), &json!("127.0.0.1:8001")));
    assert_eq!(
        (&only["connections"], &only["own"], &only["incarnation"]),
        (&json!(13), &json!(true), &Value::Null)
    );
    for limit in [1, 5, 13, 1_000] {
        let all = listed(&server, limit, "").await;
        assert_eq!(all.len(), 13, "{limit}");
        let websockets: Vec<Value> = all.into_iter().filter(|one| one["transport"] == "websocket").collect();
        assert_eq!(ids(&websockets), clients.keys().map(String::as_str).collect());
        let one = &websockets[0];
        assert_eq!(
            (&one["name"], &one["version"], &one["user"]),
            (&json!("test"), &json!("0.7"), &json!(""))
        );
        assert!(one["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{one}");
        assert_eq!(one["instance"], "node-1");
    }
    assert_eq!(listed(&server, 100, "&user=somebody").await.len(), 0);
    assert_eq!(listed(&server, 100, "&instance=node-1").await.len(), 13);
    assert_eq!(listed(&server, 100, "&instance=node-2").await.len(), 0);
    let (id, mut peer) = clients.pop_first().unwrap();
    peer.send(0x88, 1000u16.to_be_bytes()).await;
    assert_eq!(peer.end().await.0, 1000);
    assert!(!ids(&listed(&server, 100, "").await).contains(id.as_str()), "it left before it was answered");
}

#[tokio::test]
async fn what_is_no_page_of_connections_is_refused() {
    let server = Server::start().await;
    for (target, code) in [
        ("/v1/connections?after=node-1:x", "page_invalid"),
        ("/v1/connections?after=", "page_invalid"),
        ("/v1/connections?instance=a%20b", "instance_invalid"),
        ("/v1/connections?limit=0", "invalid_parameter"),
        ("/v1/connections?name=x", "unknown_parameter"),
        ("/v1/instances?limit=1", "unknown_parameter"),
    ] {
        let answer = ask(&server, target).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{target}");
        answer.assert_problem(target);
    }
}

#[tokio::test]
async fn a_client_of_this_node_is_gone_at_once() {
    let server = Server::start().await;
    for (query, code, reason) in [
        ("", 3503, "force disconnect"),
        ("?reconnect=false", 3503, "force disconnect"),
        ("?reconnect=true", 3011, "force reconnect"),
        ("?reconnect=true&reason=elsewhere", 3011, "elsewhere"),
        ("?code=4501&reason=%22bye%22", 4501, "\"bye\""),
        ("?code=3000", 3000, ""),
    ] {
        let (mut peer, id) = client(&server).await;
        let answer = delete(&server, &format!("/v1/connections/{id}{query}")).await;
        let expected = json!({"id": id, "instance": "node-1", "disconnected": true});
        assert_eq!((answer.status, answer.json()), (200, expected), "{query}");
        assert_eq!(peer.end().await, (code, reason.to_owned()), "{query}");
        assert_eq!(delete(&server, &format!("/v1/connections/{id}")).await.status, 404);
    }
    let metrics = ask(&server, "/metrics").await.body;
    for line in ["{code=\"3503\"} 2", "{code=\"3011\"} 2", "{code=\"other\"} 2"] {
        let line = format!("dualstream_client_num_server_disconnects_total{line}");
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn an_event_stream_is_ended_too() {
    let server = Server::start().await;
    let mut stream = event_stream(&server).await;
    let id = listed(&server, 100, "").await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(delete(&server, &format!("/v1/connections/{id}")).await.status, 200);
    let last = String::from_utf8(stream.chunk().await.unwrap()).unwrap();
    assert!(last.contains(": disconnected: force disconnect\n"), "{last}");
    assert!(stream.chunk().await.is_none());
}

#[tokio::test]
async fn what_cannot_be_said_to_a_client_is_refused() {
    let server = Server::start().await;
    let (mut peer, id) = client(&server).await;
    let longer = format!("?reason={}", "x".repeat(124));
    for (query, field) in [
        ("?code=2999", "code"),
        ("?code=5000", "code"),
        ("?code=x", "code"),
        ("?reason=a%0Ab", "reason"),
        (&longer, "reason"),
        ("?reconnect=perhaps", "reconnect"),
        ("?code=4000&reconnect=true", "reconnect"),
    ] {
        let answer = delete(&server, &format!("/v1/connections/{id}{query}")).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{query}");
        answer.assert_problem(query);
    }
    for nobody in ["0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867", "nobody", "", "%ff"] {
        let answer = delete(&server, &format!("/v1/connections/{nobody}")).await;
        assert!(matches!(answer.status, 400 | 404), "{nobody}: {}", answer.status);
    }
    peer.subscribe("events:*").await;
}

/// Nodes over one log, one registry, one bus, and what they decide.
pub struct Cluster {
    log: Arc<TinyLog>,
    registry: Arc<MemoryRegistry>,
    /// By which commands for other nodes go.
    pub bus: MemoryBus,
}

impl Cluster {
    pub fn new() -> Cluster {
        Cluster::over(Arc::new(MemoryRegistry::new(Arc::new(ManualClock::new(7)))))
    }

    fn over(registry: Arc<MemoryRegistry>) -> Cluster {
        Cluster { log: Arc::new(TinyLog::new()), registry, bus: MemoryBus::default() }
    }

    pub async fn node(&self, number: u64) -> Server {
        let membership = member(Arc::new(Numbered(self.registry.clone())), number);
        self.with(number, Some(membership)).await
    }

    /// A node that cannot reach the registry.
    pub async fn away(&self, number: u64) -> Server {
        self.with(number, Some(member(Arc::new(Away), number))).await
    }

    /// Waits until each of all nodes knows of the others, and hears what they send.
    pub async fn until_all_know(&self, servers: &[&Server]) {
        while self.bus.subscriptions() < servers.len() {
            tokio::task::yield_now().await;
        }
        for server in servers {
            while ask(server, "/v1/instances").await.json()["instances"].as_array().unwrap().len()
                < servers.len()
            {}
        }
    }

    pub async fn with(&self, number: u64, membership: Option<Membership>) -> Server {
        let clock = Arc::new(ManualClock::new(7));
        let entropy = Arc::new(SeededEntropy::new(number));
        let (log, topics) = (self.log.clone(), self.log.clone());
        let opened = Decisions::open(decisions::Settings::default(), log, topics, clock, entropy).await;
        let (decisions, runner) = opened.unwrap();
        tokio::spawn(runner.run(pending()));
        let bus: Arc<dyn Bus> = Arc::new(self.bus.clone());
        let control = membership.is_some().then_some(bus);
        let nodes = Nodes { own: about(number), membership, decisions: Some(decisions), control };
        let settings = Settings::default();
        Server::among(nodes, self.log.clone(), settings, hub::Settings::default(), "127.0.0.1:0").await
    }
}

/// A registry whose pages end at numbers, as those in Redis do.
struct Numbered(Arc<MemoryRegistry>);

impl Registry for Numbered {
    fn heartbeat(&self, instance: Instance, beat: Beat) -> BoxFuture<'_, Result<usize>> {
        self.0.heartbeat(instance, beat)
    }
    fn put(&self, owner: Owner, connections: Vec<Arc<Connection>>) -> BoxFuture<'_, Result<()>> {
        self.0.put(owner, connections)
    }
    fn remove(&self, owner: Owner, removal: Removal) -> BoxFuture<'_, Result<()>> {
        self.0.remove(owner, removal)
    }
    fn instances(&self) -> BoxFuture<'_, Result<Instances>> {
        self.0.instances()
    }
    fn connections(
        &self,
        instance: InstanceId,
        after: Option<PageEnd>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page>> {
        async move {
            let from = after.map_or(Ok(0), |end| end.0.parse::<usize>().map_err(|_| page_invalid()))?;
            let all = self.0.connections(instance, None, PAGE_CONNECTIONS_MAX).await?.connections;
            let next = (from + limit < all.len()).then(|| PageEnd((from + limit).to_string().into()));
            Ok(Page { connections: all.into_iter().skip(from).take(limit).collect(), next })
        }
        .boxed()
    }
}

fn member(registry: Arc<dyn Registry>, number: u64) -> Membership {
    let clock = Arc::new(ManualClock::new(7));
    let entropy = Arc::new(SeededEntropy::new(number));
    let settings = registry::Settings::default();
    let (membership, runner) = Membership::new(settings, registry, about(number), clock, entropy);
    tokio::spawn(runner.run(pending()));
    membership
}

/// Waits until a server lists so many connections: what a node tells of its clients reaches the others a little later.
async fn until_listed(server: &Server, count: usize) -> Vec<Value> {
    loop {
        let all = listed(server, 100, "").await;
        if all.len() == count {
            return all;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_node_lists_the_clients_of_all() {
    let cluster = Cluster::new();
    let mut servers = Vec::new();
    let mut clients = BTreeMap::new();
    for number in 1..=3 {
        let server = cluster.node(number).await;
        for _ in 0..12 {
            let (peer, id) = client(&server).await;
            clients.insert(id, (number, peer));
        }
        servers.push(server);
    }
    for server in &servers {
        until_listed(server, 36).await;
        for limit in [1, 5, 12, 13, 100] {
            let all = listed(server, limit, "").await;
            assert_eq!(ids(&all), clients.keys().map(String::as_str).collect(), "{limit}");
            for one in &all {
                let (number, _) = &clients[one["id"].as_str().unwrap()];
                assert_eq!(one["instance"], format!("node-{number}"));
            }
        }
        assert_eq!(listed(server, 5, "&instance=node-2").await.len(), 12);
        assert_eq!(listed(server, 5, "&user=").await.len(), 36);
        assert_eq!(listed(server, 5, "&user=somebody").await.len(), 0);
        let page = ask(server, "/v1/connections?limit=1").await.json();
        assert_eq!(page["scope"], "cluster");
        let instances = ask(server, "/v1/instances").await.json();
        let all = instances["instances"].as_array().unwrap();
        let names: Vec<&str> = all.iter().map(|instance| instance["id"].as_str().unwrap()).collect();
        assert_eq!((&instances["scope"], names), (&json!("cluster"), vec!["node-1", "node-2", "node-3"]));
        assert_eq!((&all[0]["incarnation"], &all[0]["lease_s"]), (&json!(1), &json!(120)));
        assert_eq!(all.iter().filter(|instance| instance["own"] == true).count(), 1);
    }
}

/// Where a page ended at one node, the next begins at any other: behind a balancer each may be another one's.
#[tokio::test]
async fn pages_go_on_at_any_node() {
    let cluster = Cluster::new();
    let servers = [cluster.node(1).await, cluster.node(2).await, cluster.node(3).await];
    let mut clients = BTreeMap::new();
    for server in servers.iter().cycle().take(36) {
        let (peer, id) = client(server).await;
        clients.insert(id, peer);
    }
    for server in &servers {
        until_listed(server, 36).await;
    }
    let [a, b, c] = &servers;
    for order in [[a, b, c], [c, b, a], [b, b, c], [a, a, c]] {
        for limit in [1, 5, 12, 13, 100] {
            for more in ["", "&user="] {
                let all = listed_by(&order, limit, more).await;
                let seen: BTreeSet<&str> = all.iter().map(|one| one["id"].as_str().unwrap()).collect();
                assert_eq!(seen, clients.keys().map(String::as_str).collect(), "{limit}{more}");
            }
        }
    }
}

/// A page of one user's connections is looked for in large pages of all, however few are asked for.
#[tokio::test]
async fn few_of_one_user_are_found_among_many() {
    let clock = Arc::new(ManualClock::new(7));
    let registry = Arc::new(MemoryRegistry::new(clock));
    let cluster = Cluster::over(registry.clone());
    let server = cluster.node(1).await;
    let owner = Owner { id: InstanceId::new("node-2").unwrap(), incarnation: 1 };
    let about = Instance {
        owner: owner.clone(),
        version: "1".into(),
        address: "a".into(),
        started_ms: 1,
        connections: 900,
    };
    registry.heartbeat(about, Beat::Begin).await.unwrap();
    let connection = |n: usize| Connection {
        client: format!("client-{n:03}").into(),
        user: if n % 300 == 299 { "rare" } else { "" }.into(),
        transport: "websocket".into(),
        protocol: "json".into(),
        name: "js".into(),
        version: "1".into(),
        connected_ms: 1,
        remote: None,
    };
    registry.put(owner, (0..900).map(|n| Arc::new(connection(n))).collect()).await.unwrap();
    let page = ask(&server, "/v1/connections?limit=3&user=rare").await.json();
    assert_eq!((page["connections"].as_array().unwrap().len(), &page["next"]), (3, &Value::Null), "{page}");
    // More of them than fit: none is left out.
    assert_eq!(listed(&server, 7, "&user=").await.len(), 897);
}

#[tokio::test]
async fn a_client_of_another_node_is_disconnected_by_a_decision() {
    let cluster = Cluster::new();
    let (first, second) = (cluster.node(1).await, cluster.node(2).await);
    let (mut peer, id) = client(&second).await;
    let (mut other, _) = client(&second).await;
    let target = format!("/v1/connections/{id}?code=4600&reason=bye");
    let answer = delete(&first, &target).await;
    let expected = json!({"id": id, "disconnected": false, "decision": 0});
    assert_eq!((answer.status, answer.json()), (202, expected));
    assert_eq!(peer.end().await, (4600, "bye".to_owned()));
    // To order it again does nothing, and nobody has to know whether there is such a client.
    assert_eq!(delete(&first, &target).await.json()["decision"], 1);
    let metrics = ask(&first, "/metrics").await.body;
    for line in ["decided_total 2", "refused_total 0", "orders_lost_total 0"] {
        let line = format!("dualstream_decisions_{line}");
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    other.subscribe("events:*").await;
}

#[tokio::test]
async fn without_the_registry_no_other_node_is_asked() {
    let cluster = Cluster::new();
    let (first, second) = (cluster.with(1, None).await, cluster.with(2, None).await);
    let (mut peer, id) = client(&second).await;
    let answer = delete(&first, &format!("/v1/connections/{id}")).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "registry_needed"));
    assert!(answer.json()["mend"].as_str().unwrap().contains("bus.redis"));
    assert_eq!(delete(&second, &format!("/v1/connections/{id}")).await.status, 200);
    assert_eq!(peer.end().await.0, 3503);
    assert_eq!(ask(&first, "/v1/connections").await.json()["scope"], "node");
}

/// A registry that cannot be reached.
struct Away;

impl Away {
    fn answer<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T>> {
        async { Err(Error::new(ErrorKind::Unavailable, "redis_unavailable", "planted")) }.boxed()
    }
}

impl Registry for Away {
    fn heartbeat(&self, _: Instance, _: Beat) -> BoxFuture<'_, Result<usize>> {
        self.answer()
    }
    fn put(&self, _: Owner, _: Vec<Arc<Connection>>) -> BoxFuture<'_, Result<()>> {
        self.answer()
    }
    fn remove(&self, _: Owner, _: Removal) -> BoxFuture<'_, Result<()>> {
        self.answer()
    }
    fn instances(&self) -> BoxFuture<'_, Result<Instances>> {
        self.answer()
    }
    fn connections(&self, _: InstanceId, _: Option<PageEnd>, _: usize) -> BoxFuture<'_, Result<Page>> {
        self.answer()
    }
}

/// Clients do not notice that the registry is away, those of the node itself can be listed, and all can be ended.
#[tokio::test]
async fn a_registry_that_is_away_holds_nobody_up() {
    let cluster = Cluster::new();
    let (server, other) = (cluster.away(1).await, cluster.away(2).await);
    let (mut far, far_id) = client(&other).await;
    assert_eq!(delete(&server, &format!("/v1/connections/{far_id}")).await.status, 202);
    assert_eq!(far.end().await.0, 3503);
    let (mut peer, id) = client(&server).await;
    for target in ["/v1/instances", "/v1/connections"] {
        let answer = ask(&server, target).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "redis_unavailable"), "{target}");
    }
    let nobody = "/v1/connections/0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867";
    assert_eq!(delete(&server, nobody).await.status, 202, "a decision needs no registry");
    assert_eq!(ids(&listed(&server, 100, "&instance=node-1").await), BTreeSet::from([id.as_str()]));
    peer.subscribe("events:*").await;
    assert_eq!(delete(&server, &format!("/v1/connections/{id}")).await.status, 200);
    assert_eq!(peer.end().await.0, 3503);
}

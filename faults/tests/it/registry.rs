//! Fault 32 of the matrix: what is left of nodes in the registry that died, and of one that was away for longer than its
//! lease.

use dualstream_checker::Start;
use dualstream_faults::http::Connection;
use dualstream_faults::{Fleet, stage};
use dualstream_services::balancer::Kind;
use dualstream_services::redis::Setup;
use serde_json::Value;

/// 32: a node hangs until its lease has ended: it is gone with its connections, for everybody. It wakes, registers anew
/// and tells of the connections it has; nothing it was rises again. A node is killed: what it was ends with its lease,
/// whatever starts in its place.
#[tokio::test(flavor = "multi_thread")]
async fn f32_what_is_gone_is_gone_and_comes_back_anew() {
    let mut fleet = Fleet::set("f32", Kind::Nginx, &[], Some((Setup::new(), 1))).await.unwrap();
    let events = fleet.topics.events.clone();
    for node in 0..3 {
        let place = fleet.nodes[node].place();
        let name = format!("reader-{}", place.0);
        fleet
            .audience
            .read(&name, &events, "events:made:*", "made:*", Start::Latest, vec![place])
            .await
            .unwrap();
    }
    let load = fleet.load();
    load.more(100).await.unwrap();
    let first =
        until(&fleet, "three nodes with one client each", |nodes, clients| nodes.len() == 3 && clients == 3)
            .await;
    let b = named(&first, &fleet, 1);
    assert_eq!(b["incarnation"], 1, "{first:?}");

    let fault = fleet.recorder.fault("node b hangs until its lease has ended");
    fleet.nodes[1].pause().unwrap();
    end_lease(&fleet, &b);
    until(&fleet, "two nodes", |nodes, clients| nodes.len() == 2 && clients == 2).await;
    fleet.nodes[1].resume().unwrap();
    // Whoever comes now is told of at once, which is refused to the one that b was.
    let place = fleet.nodes[1].place();
    fleet
        .audience
        .read("new", &events, "events:made:*", "made:*", Start::Earliest, vec![place])
        .await
        .unwrap();
    let back =
        until(&fleet, "three nodes and all clients", |nodes, clients| nodes.len() == 3 && clients == 4).await;
    let again = named(&back, &fleet, 1);
    assert_eq!((&again["id"], again["incarnation"].as_u64()), (&b["id"], Some(2)), "{back:?}");
    fault.ends();

    let c = named(&back, &fleet, 2);
    fleet.kill(2).unwrap();
    fleet.restart(2).await.unwrap();
    let both =
        until(&fleet, "the dead one beside the new one", |nodes, clients| nodes.len() == 4 && clients == 5)
            .await;
    let dead = both.iter().find(|node| node["id"] == c["id"]).unwrap();
    let lease = |node: &Value| node["lease_s"].as_u64().unwrap();
    assert!(lease(dead) <= lease(&named(&both, &fleet, 2)), "nobody renews the dead one: {both:?}");
    end_lease(&fleet, &c);
    let left = until(&fleet, "the new one alone", |nodes, clients| nodes.len() == 3 && clients == 4).await;
    assert_ne!(named(&left, &fleet, 2)["id"], c["id"]);
    fleet.judge(load).await.unwrap();
}

/// What the passing of two minutes does.
fn end_lease(fleet: &Fleet, node: &Value) {
    let redis = fleet.redis.as_ref().unwrap();
    let master = &redis.servers[redis.master().unwrap().unwrap()];
    let key = format!("ws:instance:{}", node["id"].as_str().unwrap());
    assert_eq!(master.command(&["PEXPIRE", &key, "1"]).unwrap().integer().unwrap(), 1, "{key}");
    master.command(&["ZADD", "ws:instances", "XX", "1", node["id"].as_str().unwrap()]).unwrap();
}

/// Asks node `a` until nodes and the number of clients are as wanted: the nodes.
async fn until(fleet: &Fleet, what: &str, is_wanted: impl Fn(&[Value], usize) -> bool) -> Vec<Value> {
    let mut last = None;
    let asked = stage::until(&fleet.nodes[0], what, async || {
        let (nodes, clients) = (list(fleet, "instances").await, list(fleet, "connections").await);
        let is_so = is_wanted(&nodes, clients.len());
        last = Some((nodes.clone(), clients));
        is_so.then_some(nodes)
    })
    .await;
    asked.unwrap_or_else(|error| panic!("{error:#}: {last:?}"))
}

async fn list(fleet: &Fleet, name: &str) -> Vec<Value> {
    let mut connection = Connection::open(fleet.nodes[0].address).await.unwrap();
    let response = connection.get(&format!("/v1/{name}")).await.unwrap();
    let page: Value = serde_json::from_slice(response.body()).unwrap();
    assert!(response.status() == 200 && page["scope"] == "cluster", "{page}");
    page[name].as_array().unwrap().clone()
}

/// The entry of one of the nodes; of two runs of it the one with more of its lease left.
fn named(nodes: &[Value], fleet: &Fleet, node: usize) -> Value {
    let address = fleet.nodes[node].address.to_string();
    let of_it = nodes.iter().filter(|entry| entry["address"] == address.as_str());
    of_it.max_by_key(|entry| entry["lease_s"].as_u64()).unwrap().clone()
}

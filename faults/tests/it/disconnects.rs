//! Clients are disconnected through another node than their own, also while that one hangs: an order is a record, so it
//! is carried out by whoever has the client, whenever that reads it.

use dualstream_checker::Start;
use dualstream_faults::http::Connection;
use dualstream_faults::{Fleet, stage};
use dualstream_services::balancer::Kind;
use dualstream_services::redis::Setup;
use serde_json::Value;
use std::collections::BTreeSet;

/// Readers of each of the nodes b and c.
const EACH: usize = 6;

/// Every reader is told to go, comes back by itself, and misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_to_go_by_another_node_misses_nothing() {
    let mut fleet = Fleet::set("goes", Kind::Nginx, &[], Some((Setup::new(), 1))).await.unwrap();
    let events = fleet.topics.events.clone();
    let load = fleet.load();
    for reader in 0..2 * EACH {
        let (name, place) = (format!("reader-{reader}"), fleet.nodes[1 + reader % 2].place());
        fleet
            .audience
            .read(&name, &events, "events:made:*", "made:*", Start::Earliest, vec![place])
            .await
            .unwrap();
    }
    load.more(100).await.unwrap();
    let first = others(&fleet, &BTreeSet::new()).await;
    order(&fleet, &first).await;
    let second = others(&fleet, &first).await;
    load.more(100).await.unwrap();

    let fault = fleet.recorder.fault("node b hangs while its clients are told to go");
    fleet.nodes[1].pause().unwrap();
    order(&fleet, &second).await;
    fleet.nodes[1].resume().unwrap();
    others(&fleet, &second).await;
    fault.ends();
    load.more(100).await.unwrap();
    fleet.judge(load).await.unwrap();
}

/// Has node a order that clients of the others go.
async fn order(fleet: &Fleet, ids: &BTreeSet<String>) {
    let mut connection = Connection::open(fleet.nodes[0].address).await.unwrap();
    let mut last = None;
    for id in ids {
        let response = connection.delete(&format!("/v1/connections/{id}")).await.unwrap();
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            (response.status().as_u16(), &answer["disconnected"]),
            (202, &Value::Bool(false)),
            "{answer}"
        );
        let decision = answer["decision"].as_u64();
        assert!(decision > last, "{answer} after {last:?}");
        last = decision;
    }
}

/// The clients of all readers as node a lists them, once none of them is one of `gone`.
async fn others(fleet: &Fleet, gone: &BTreeSet<String>) -> BTreeSet<String> {
    let mut last = None;
    let asked = stage::until(&fleet.nodes[0], "the clients of all readers", async || {
        let mut connection = Connection::open(fleet.nodes[0].address).await.unwrap();
        let response = connection.get("/v1/connections").await.unwrap();
        let page: Value = serde_json::from_slice(response.body()).unwrap();
        let ids = page["connections"].as_array().into_iter().flatten();
        let ids: BTreeSet<String> = ids.map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        last = Some(page);
        (ids.len() == 2 * EACH && ids.is_disjoint(gone)).then_some(ids)
    })
    .await;
    asked.unwrap_or_else(|error| panic!("{error:#}: {last:?}"))
}

//! A page of history holds whatever was acknowledged before it was asked for, by any node: also when nobody waits in
//! between, and the copy on the node that is asked has not heard of it.

use dualstream_faults::Stage;
use dualstream_faults::http::Connection;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Who publishes and asks at the same time, each with keys of its own in all partitions.
const CLIENTS: usize = 8;
const ROUNDS: usize = 40;
const KEYS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_another_node_holds_what_was_acknowledged_before() {
    let stage = Stage::set("fresh", &[]).await.unwrap();
    let (a, b) = (stage.a.address, stage.b.address);
    let clients = (0..CLIENTS).map(|client| {
        let (publishes, asks) = if client % 2 == 0 { (a, b) } else { (b, a) };
        tokio::spawn(publish_and_ask(client, publishes, asks))
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        client.await.unwrap();
    }
}

/// Each event is looked for at once on the other node.
async fn publish_and_ask(client: usize, publishes: SocketAddr, asks: SocketAddr) {
    let mut writer = Connection::open(publishes).await.unwrap();
    let mut reader = Connection::open(asks).await.unwrap();
    for round in 0..ROUNDS {
        let (id, source) = (format!("{client}-{round}"), format!("{client}-{}", round % KEYS));
        let event =
            json!({"id": id, "type": "t", "source_type": "fresh", "source_id": source, "data": round});
        let response = writer.post("/v1/events", event.to_string().into()).await.unwrap();
        assert_eq!(response.status(), 201, "{:?}", response.body());
        let page = reader.get(&format!("/v1/events?channel=events:fresh:{source}")).await.unwrap();
        let page: Value = serde_json::from_slice(page.body()).unwrap();
        let ids: Vec<&str> =
            page["events"].as_array().into_iter().flatten().filter_map(|e| e["id"].as_str()).collect();
        let all: Vec<String> =
            (0..=round).filter(|r| r % KEYS == round % KEYS).map(|r| format!("{client}-{r}")).collect();
        assert_eq!(ids, all, "client {client}, round {round}: {page}");
    }
}

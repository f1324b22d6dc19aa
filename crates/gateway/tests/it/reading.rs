//! History: pages, ends, and positions that cannot be had.

use crate::server::Server;
use crate::tiny_log::FIRST_MS;
use crate::wire::{JSON, Wire, event, get, post};
use dualstream_core::position::{Position, Resume};
use dualstream_core::time::format_rfc3339;
use dualstream_core::topic::{Epoch, TopicName};
use serde_json::Value;

async fn publish(wire: &mut Wire, count: u64) {
    for i in 0..count {
        let event = event(&format!("key-{}", i % 7), &i.to_string());
        assert_eq!(wire.ask(post("/v1/events", JSON, event)).await.status, 201);
    }
}

fn data(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

/// All pages from `since` on.
async fn pages(wire: &mut Wire, target: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let mut since = String::new();
    loop {
        let page = wire.ask(get(&format!("{target}{since}"))).await.json();
        found.extend(data(&page));
        match page["next"].as_str() {
            Some(next) => since = format!("&since={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn pages_of_channels_and_patterns_forwards_and_backwards() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    publish(&mut wire, 50).await;
    let all: Vec<u64> = (0..50).collect();
    let of_key: Vec<u64> = (0..50).filter(|i| i % 7 == 3).collect();
    assert_eq!(pages(&mut wire, "/v1/events?channel=events:repo:*&limit=7").await, all);
    assert_eq!(pages(&mut wire, "/v1/channels/events:*/events?limit=50").await, all);
    assert_eq!(pages(&mut wire, "/v1/channels/events:repo:key-3/events?limit=2").await, of_key);
    let mut backwards = pages(&mut wire, "/v1/events?channel=events:*&limit=7&reverse=true").await;
    backwards.reverse();
    assert_eq!(backwards, all);
    let late = format_rfc3339(FIRST_MS + 48);
    let page = wire.ask(get(&format!("/v1/events?channel=events:*&since={late}"))).await.json();
    assert_eq!(data(&page), [48, 49]);
    assert_eq!(page["events"][0]["appended"], late, "the time an event shows is the one `since` compares");
    let page = wire.ask(get("/v1/events?channel=events:*&since=latest")).await.json();
    assert!(data(&page).is_empty() && page["next"].is_null() && page["latest"].is_string());
}

#[tokio::test]
async fn a_page_tells_what_is_damaged() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    publish(&mut wire, 20).await;
    let whole = wire.ask(get("/v1/events?channel=events:*")).await.json();
    assert_eq!(whole.get("gaps"), None, "absent when there are none");
    let position = |at: usize| whole["events"][at]["position"].clone();
    server.log.damage(&TopicName::new("events").unwrap(), 12);
    for (query, events, after) in [
        ("", (0..20).filter(|i| *i != 12).collect::<Vec<u64>>(), 12),
        ("&reverse=true", (0..20).filter(|i| *i != 12).rev().collect(), 7),
    ] {
        let page = wire.ask(get(&format!("/v1/events?channel=events:*{query}"))).await.json();
        assert_eq!(data(&page), events);
        let gap = &page["gaps"][0];
        assert_eq!((&gap["from"], &gap["after"], &gap["records"]), (&position(12), &after.into(), &1.into()));
        let Position { partition, offset, .. } = position(12).as_str().unwrap().parse().unwrap();
        assert_eq!((&gap["partition"], &gap["offset"]), (&partition.into(), &offset.into()));
        assert!(
            gap["to"].is_string() && gap["to"] != gap["from"] && page["gaps"].as_array().unwrap().len() == 1
        );
    }
}

#[tokio::test]
async fn a_position_that_is_gone_comes_with_what_is_left() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    publish(&mut wire, 20).await;
    let page = wire.ask(get("/v1/events?channel=events:*&limit=5")).await.json();
    let (next, position) = (page["next"].as_str().unwrap(), page["events"][0]["position"].as_str().unwrap());
    server.log.trim(&TopicName::new("events").unwrap());
    let answer = wire.ask(get(&format!("/v1/events?channel=events:*&since={next}"))).await;
    assert_eq!((answer.status, answer.code().as_str()), (410, "position_unrecoverable"), "{}", answer.body);
    for end in ["earliest", "latest"] {
        let since = answer.json()[end].as_str().unwrap().to_owned();
        assert_eq!(wire.ask(get(&format!("/v1/events?channel=events:*&since={since}"))).await.status, 200);
    }
    let answer = wire.ask(get(&format!("/v1/events/{position}"))).await;
    assert_eq!((answer.status, answer.code().as_str()), (410, "position_unrecoverable"), "{}", answer.body);
    assert_eq!(answer.json()["field"], "position");
    // A position of no topic there is: one of every topic there is.
    let foreign = Position { epoch: Epoch(77), partition: 0, offset: 0 };
    let of_nothing = wire.ask(get(&format!("/v1/events/{foreign}"))).await;
    assert_eq!((of_nothing.status, of_nothing.code().as_str()), (410, "position_unrecoverable"));
    for end in ["earliest", "latest"] {
        let since = answer.json()[end].as_str().unwrap().to_owned();
        assert_eq!(wire.ask(get(&format!("/v1/events?channel=events:*&since={since}"))).await.status, 200);
        let since = of_nothing.json()[end].as_str().unwrap().to_owned();
        assert_eq!(since.parse::<Resume>().unwrap().0.len(), 2, "events and chat");
    }
}

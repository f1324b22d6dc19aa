//! Server-Sent Events: order, resumption, what is lost, and that no field can be injected.

use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};
use bytes::Bytes;
use dualstream_core::bus::{Bus, Message};
use dualstream_core::channel::Channel;
use dualstream_core::topic::TopicName;
use dualstream_gateway::Settings;
use serde_json::Value;
use std::time::Duration;

/// A stream being read.
struct Reader {
    wire: Wire,
    text: String,
    last_id: String,
}

#[derive(Debug, Default)]
struct Block {
    name: String,
    data: String,
    comment: String,
}

impl Reader {
    async fn open(server: &Server, target: &str, last_id: Option<&str>) -> Reader {
        let mut wire = Wire::connect(server.address).await;
        let id = last_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{id}\r\n")).await;
        let (status, headers) = wire.head().await.unwrap();
        assert_eq!(status, 200, "{target}");
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            assert!(headers.contains(&(name.into(), value.into())), "{name}");
        }
        let mut reader = Reader { wire, text: String::new(), last_id: String::new() };
        let opening = reader.block().await.unwrap();
        assert_eq!(opening.comment, "ok");
        reader
    }

    /// The next block; `None` when the stream ended.
    async fn block(&mut self) -> Option<Block> {
        while !self.text.contains("\n\n") {
            self.text += std::str::from_utf8(&self.wire.chunk().await?).unwrap();
        }
        let (raw, rest) = self.text.split_once("\n\n").unwrap();
        let mut block = Block::default();
        for line in raw.lines() {
            let (name, value) = line.split_once(':').unwrap();
            let value = value.strip_prefix(' ').unwrap();
            match name {
                "id" => self.last_id = value.into(),
                "event" => block.name = value.into(),
                "data" => block.data += value,
                "" => block.comment = value.into(),
                "retry" => assert!(value.parse::<u64>().is_ok()),
                other => panic!("field {other:?}"),
            }
        }
        self.text = rest.to_owned();
        Some(block)
    }

    /// The next block that is an event.
    async fn event(&mut self) -> Block {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if !block.data.is_empty() {
                return block;
            }
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut found = Vec::new();
        for _ in 0..count {
            let event: Value = serde_json::from_str(&self.event().await.data).unwrap();
            found.push(event["data"].as_u64().unwrap());
        }
        found
    }
}

async fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    let mut wire = Wire::connect(server.address).await;
    for i in numbers {
        let event = event(&format!("key-{}", i % 17), &i.to_string());
        assert_eq!(wire.ask(post("/v1/events", JSON, event)).await.status, 201);
    }
}

#[tokio::test]
async fn a_pattern_is_followed_and_resumed_without_gap_or_duplicate() {
    let server = Server::start().await;
    publish(&server, 0..40).await;
    let mut reader = Reader::open(&server, "/v1/stream?channel=events:repo:*&since=earliest", None).await;
    let mut found = reader.numbers(23).await;
    let resume = reader.last_id.clone();
    drop(reader);
    publish(&server, 40..60).await;
    let target = "/v1/stream?channel=events:repo:*&since=earliest";
    let mut reader = Reader::open(&server, target, Some(&resume)).await;
    found.extend(reader.numbers(37).await);
    assert_eq!(found, (0..60).collect::<Vec<_>>(), "Last-Event-ID beats since");
    publish(&server, 60..80).await;
    assert_eq!(reader.numbers(20).await, (60..80).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_single_event_is_a_place_to_resume() {
    let server = Server::start().await;
    publish(&server, 0..30).await;
    let mut resume = None;
    for wanted in 0..30 {
        let target = "/v1/stream?channel=events:*&channel=chat:*&since=earliest";
        let mut reader = Reader::open(&server, target, resume.as_deref()).await;
        assert_eq!(reader.numbers(1).await, [wanted]);
        resume = Some(reader.last_id);
    }
}

#[tokio::test]
async fn a_stream_begins_where_it_is_asked_to() {
    let server = Server::start().await;
    publish(&server, 0..40).await;
    let mut recent = Reader::open(&server, "/v1/stream?channel=events:*&recent=5", None).await;
    assert_eq!(recent.numbers(5).await, [35, 36, 37, 38, 39]);
    let mut latest = Reader::open(&server, "/v1/channels/events:repo:key-6/stream", None).await;
    publish(&server, 40..44).await;
    assert_eq!(latest.numbers(1).await, [40]);
    assert_eq!(recent.numbers(4).await, [40, 41, 42, 43]);
}

#[tokio::test]
async fn events_are_named_by_their_type_or_not_at_all() {
    let server = Server::start().await;
    publish(&server, 0..1).await;
    let mut typed = Reader::open(&server, "/v1/stream?channel=events:*&recent=1", None).await;
    assert_eq!(typed.event().await.name, "t");
    let mut plain = Reader::open(&server, "/v1/stream?channel=events:*&recent=1&event=message", None).await;
    assert_eq!(plain.event().await.name, "");
}

#[tokio::test]
async fn a_large_event_and_many_small_ones_arrive_whole() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let large = format!("\"{}\"", "x".repeat(900 * 1024 - 300));
    assert_eq!(wire.ask(post("/v1/events", JSON, event("big", &large))).await.status, 201);
    let lines: String = (0..3_000).map(|i| event(&format!("k{}", i % 31), &i.to_string()) + "\n").collect();
    let kind = "Content-Type: application/x-ndjson\r\n";
    assert_eq!(wire.ask(post("/v1/events", kind, lines)).await.json()["stored"], 3_000);
    let mut reader = Reader::open(&server, "/v1/stream?channel=events:*&since=earliest", None).await;
    assert!(reader.event().await.data.contains(&large));
    let numbers = reader.numbers(3_000).await;
    for key in 0..31 {
        let own: Vec<u64> = numbers.iter().copied().filter(|i| i % 31 == key).collect();
        assert!(own.is_sorted() && own.len() >= 96, "{key}");
    }
}

#[tokio::test]
async fn live_streams_carry_announcements_and_bus_only_channels_payloads() {
    let server = Server::start().await;
    let mut live = Reader::open(&server, "/v1/stream?channel=events:*&mode=live", None).await;
    publish(&server, 0..1).await;
    let block = live.event().await;
    let announcement: Value = serde_json::from_str(&block.data).unwrap();
    assert_eq!((block.name.as_str(), &announcement["source_id"]), ("t", &Value::from("key-0")));
    assert!(announcement["data"].is_null() && announcement["position"].is_string());
    let mut tokens = Reader::open(&server, "/v1/channels/ai:stream:1/stream", None).await;
    let mut wire = Wire::connect(server.address).await;
    let answer =
        wire.ask(post("/v1/channels/ai:stream:1/messages", JSON, "{\"token\": \"a\\nid: 9\"}")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(tokens.event().await.data, r#"{"token":"a\nid: 9"}"#);
    let foreign = "{\n\"a\":1}\r\n\r\nid: forged\revent: forged";
    let channel = Channel::new("ai:stream:1").unwrap();
    server.bus.publish(vec![Message { channel, payload: Bytes::from(foreign) }]);
    let block = tokens.event().await;
    assert_eq!((block.data.as_str(), block.name.as_str()), ("{\"a\":1}id: forgedevent: forged", ""));
    assert!(!tokens.last_id.contains("forged"));
}

#[tokio::test]
async fn what_retention_passed_is_said_and_the_stream_goes_on_as_asked() {
    let server = Server::start().await;
    publish(&server, 0..20).await;
    let mut reader = Reader::open(&server, "/v1/stream?channel=events:*&since=earliest", None).await;
    reader.numbers(5).await;
    let old = reader.last_id.clone();
    server.log.trim(&TopicName::new("events").unwrap());
    publish(&server, 20..22).await;
    for (policy, wanted) in [("latest", vec![]), ("earliest", vec![20, 21])] {
        let target = format!("/v1/stream?channel=events:*&on_unrecoverable={policy}");
        let mut reader = Reader::open(&server, &target, Some(&old)).await;
        let block = reader.event().await;
        let lost: Value = serde_json::from_str(&block.data).unwrap();
        assert_eq!((block.name.as_str(), &lost["reason"]), ("unrecoverable", &Value::from("retention")));
        assert!(lost["earliest"].is_string() && lost["latest"].is_string() && reader.last_id != old);
        assert_eq!(reader.numbers(wanted.len()).await, wanted, "{policy}");
    }
    let target = "/v1/stream?channel=events:*&on_unrecoverable=close";
    let mut reader = Reader::open(&server, target, Some(&old)).await;
    assert_eq!(reader.event().await.name, "unrecoverable");
    while reader.block().await.is_some() {}
}

#[tokio::test]
async fn last_event_ids_that_are_none_are_refused() {
    let server = Server::start().await;
    let long = "A".repeat(20 << 10);
    for id in ["garbage", "%0d%0a", "a b", &long, "x\r\nLast-Event-ID: y"] {
        let mut wire = Wire::connect(server.address).await;
        let request =
            format!("GET /v1/stream?channel=events:* HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id}\r\n\r\n");
        let answer = wire.ask(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_position"), "{id:.20}");
        assert_eq!(wire.ask(get("/health/live")).await.status, 200);
    }
    Reader::open(&server, "/v1/stream?channel=events:*", Some("")).await;
}

#[tokio::test]
async fn heartbeats_carry_the_place_of_a_quiet_stream() {
    let settings = Settings { heartbeat: Duration::from_millis(20), ..Settings::default() };
    let server = Server::with(settings).await;
    let mut reader = Reader::open(&server, "/v1/channels/events:repo:quiet/stream", None).await;
    publish(&server, 0..40).await;
    reader.last_id.clear();
    let block = reader.block().await.unwrap();
    assert_eq!((block.comment.as_str(), block.data.as_str()), ("heartbeat", ""));
    assert!(!reader.last_id.is_empty());
}

#[tokio::test]
async fn shutdown_ends_streams_with_a_place_to_come_back_to() {
    let server = Server::start().await;
    publish(&server, 0..3).await;
    let mut reader = Reader::open(&server, "/v1/stream?channel=events:*&since=earliest", None).await;
    assert_eq!(reader.numbers(3).await, [0, 1, 2]);
    let place = reader.last_id.clone();
    server.stop();
    let block = reader.block().await.unwrap();
    assert_eq!((block.comment.as_str(), reader.last_id == place), ("the server is stopping", true));
    assert!(reader.block().await.is_none());
}

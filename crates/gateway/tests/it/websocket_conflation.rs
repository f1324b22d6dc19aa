//! Slow sockets of namespaces that conflate: nobody is closed, and a slow one ends with the latest of each key.

use crate::peer::Peer;
use crate::server::Server;
use crate::tiny_log::TinyLog;
use crate::wire::{Wire, get};
use bytes::Bytes;
use dualstream_core::bus::{Bus, Message};
use dualstream_core::channel::Channel;
use dualstream_core::hub;
use dualstream_gateway::Settings;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const WIDGETS: u64 = 8;
const QUEUE_BYTES_MAX: usize = 256 << 10;

async fn server() -> Server {
    let hub = hub::Settings { inbox_bytes_max: QUEUE_BYTES_MAX, ..hub::Settings::default() };
    let settings =
        Settings { drain: Duration::from_millis(50), write_stall_max: Duration::MAX, ..Settings::default() };
    Server::over(Arc::new(TinyLog::new()), settings, hub, "127.0.0.1:0").await
}

/// A version of a widget, large enough to fill the buffers of a socket soon.
fn update(version: u64) -> Message {
    let filler = "x".repeat(8 << 10);
    let widget = version % WIDGETS;
    let payload = format!(r#"{{"widgetId":"w{widget}","dataVersion":{version},"filler":"{filler}"}}"#);
    let channel = Channel::new(&format!("board:{}", version % 2)).unwrap();
    Message { channel, payload: Bytes::from(payload) }
}

async fn metric(wire: &mut Wire, name: &str) -> u64 {
    let metrics = wire.ask(get("/metrics")).await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

/// Widget and version of a publication.
fn seen(publication: &Value) -> (String, u64) {
    let data = &publication["pub"]["data"];
    (data["widgetId"].as_str().unwrap().to_owned(), data["dataVersion"].as_u64().unwrap())
}

/// Publishes until a slow client had its items conflated, and `more` after that; a healthy client sees each of them.
async fn overrun(server: &Server, healthy: &mut Peer, more: u64) -> u64 {
    let mut wire = Wire::connect(server.address).await;
    let (mut version, mut end) = (0, u64::MAX);
    while version < end {
        server.bus.publish(vec![update(version)]);
        assert_eq!(seen(&healthy.publication().await).1, version, "a healthy client sees all");
        version += 1;
        if version % 50 == 0 {
            assert!(metric(&mut wire, "dualstream_live_queued_bytes").await <= QUEUE_BYTES_MAX as u64);
            let has_conflated = metric(&mut wire, "dualstream_live_conflated_total").await > 0;
            if has_conflated && end == u64::MAX {
                end = version + more;
            }
        }
    }
    assert_eq!(metric(&mut wire, "dualstream_slow_dropped_total").await, 0);
    version
}

#[tokio::test]
async fn a_slow_client_ends_with_the_latest_of_each_key() {
    let server = server().await;
    let (mut slow, mut healthy) = (Peer::connect(server.address).await, Peer::connect(server.address).await);
    slow.subscribe("board:0").await;
    slow.subscribe("board:1").await;
    healthy.subscribe("board:*").await;
    let count = overrun(&server, &mut healthy, 500).await;
    let (mut latest, mut last, mut got) = (BTreeMap::new(), BTreeMap::<String, u64>::new(), 0);
    while latest.values().filter(|version| **version >= count - WIDGETS).count() < WIDGETS as usize {
        let publication = slow.publication().await;
        let (widget, version) = seen(&publication);
        let before = last.insert(publication["channel"].to_string(), version);
        assert!(before.is_none_or(|before| before < version), "order of a channel: {before:?} {version}");
        latest.insert(widget, version);
        got += 1;
    }
    assert!(got < count, "{got} of {count}");
    server.bus.publish(vec![update(count)]);
    assert_eq!(seen(&slow.publication().await).1, count, "and goes on, with nothing between");
}

#[tokio::test]
async fn a_slow_event_stream_ends_with_the_latest_of_each_key() {
    let server = server().await;
    let mut slow = Wire::connect(server.address).await;
    slow.send(get("/v1/stream?channel=board:*&event=message")).await;
    assert_eq!(slow.head().await.unwrap().0, 200);
    let opening = slow.chunk().await.unwrap();
    assert!(opening.starts_with(b"retry:"));
    let mut healthy = Peer::connect(server.address).await;
    healthy.subscribe("board:*").await;
    let count = overrun(&server, &mut healthy, 500).await;
    let (mut latest, mut text) = (BTreeMap::new(), String::new());
    while latest.values().filter(|version| **version >= count - WIDGETS).count() < WIDGETS as usize {
        text.push_str(std::str::from_utf8(&slow.chunk().await.expect("the stream goes on")).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            if let Some(data) = block.strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).unwrap();
                latest.insert(data["widgetId"].to_string(), data["dataVersion"].as_u64().unwrap());
            }
            text = rest.to_owned();
        }
    }
}

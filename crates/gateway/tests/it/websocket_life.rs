//! The life of a connection: pings, slowness, shutdown, and commands that race with deliveries.

use crate::peer::{Frame, Peer};
use crate::server::Server;
use crate::tiny_log::TinyLog;
use crate::wire::{JSON, Wire, event, get, post};
use bytes::Bytes;
use dualstream_core::bus::{Bus, Message};
use dualstream_core::channel::Channel;
use dualstream_core::hub;
use dualstream_gateway::{SessionSettings, Settings};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "/connection/websocket";
const SHORT: Duration = Duration::from_millis(50);

async fn server(session: SessionSettings) -> Server {
    Server::with(Settings { session, drain: SHORT, ..Settings::default() }).await
}

fn quick_pings() -> SessionSettings {
    SessionSettings {
        ping_interval: SHORT,
        pong_wait: Duration::from_millis(20),
        ..SessionSettings::default()
    }
}

#[tokio::test]
async fn who_does_not_connect_is_stale() {
    let server = server(SessionSettings { stale_after: SHORT, ..SessionSettings::default() }).await;
    let mut peer = Peer::open(server.address, PATH, "").await;
    assert_eq!(peer.end().await, (3502, "stale".into()));
}

#[tokio::test]
async fn who_answers_no_ping_is_given_up() {
    let server = server(quick_pings()).await;
    let mut peer = Peer::connect(server.address).await;
    assert_eq!(peer.line().await, json!({}));
    assert_eq!(peer.end().await, (3012, "no pong".into()));
    let mut peer = Peer::open(server.address, "/connection/websocket?cf_ws_frame_ping_pong=true", "").await;
    peer.say(r#"{"id":1,"connect":{}}"#).await;
    peer.line().await;
    assert!(matches!(peer.frame().await, Frame::Ping));
    assert_eq!(peer.end().await, (3012, "no pong".into()));
}

#[tokio::test]
async fn who_answers_pings_stays() {
    let ping_interval = Duration::from_millis(500);
    let server = server(SessionSettings { ping_interval, ..SessionSettings::default() }).await;
    let mut peer = Peer::connect(server.address).await;
    for _ in 0..3 {
        assert_eq!(peer.line().await, json!({}));
        peer.say("{}").await;
    }
    peer.say("{}").await;
    assert_eq!(peer.end().await, (3501, "bad request".into()), "a pong nobody asked for");
    let mut peer = Peer::open(server.address, "/connection/websocket?cf_ws_frame_ping_pong=true", "").await;
    peer.say(r#"{"id":1,"connect":{}}"#).await;
    peer.line().await;
    for _ in 0..3 {
        assert!(matches!(peer.frame().await, Frame::Ping));
        peer.send(0x8a, "").await;
    }
}

#[tokio::test]
async fn a_flood_of_pings_is_too_many_requests() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    let flood = crate::peer::masked(0x89, b"x").repeat(1_000);
    peer.wire.send(flood).await;
    loop {
        match peer.wire.frame().await.unwrap() {
            (0x8a, _) => {}
            (0x88, payload) => {
                assert_eq!(payload[..2], 3013u16.to_be_bytes());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_slow_live_client_is_closed_alone() {
    let server = Server::start().await;
    let (mut slow, mut fast) = (Peer::connect(server.address).await, Peer::connect(server.address).await);
    slow.subscribe("ai:*").await;
    fast.subscribe("ai:*").await;
    let payload = Bytes::from(format!("\"{}\"", "x".repeat(100 << 10)));
    for n in 0..400 {
        let channel = Channel::new(&format!("ai:{n}")).unwrap();
        server.bus.publish(vec![Message { channel, payload: payload.clone() }]);
        assert_eq!(fast.publication().await["pub"]["channel"], format!("ai:{n}"));
    }
    assert_eq!(slow.end().await, (3008, "slow".into()));
    let channel = Channel::new("ai:last").unwrap();
    server.bus.publish(vec![Message { channel, payload: Bytes::from_static(b"1") }]);
    assert_eq!(fast.publication().await["pub"]["data"], 1);
}

#[tokio::test]
async fn past_the_budget_of_the_node_the_slowest_live_client_is_closed() {
    let hub = hub::Settings { inboxes_bytes_max: 300 << 10, ..hub::Settings::default() };
    let settings = Settings { drain: SHORT, ..Settings::default() };
    let server = Server::over(Arc::new(TinyLog::new()), settings, hub, "127.0.0.1:0").await;
    let (mut slow, mut fast) = (Peer::connect(server.address).await, Peer::connect(server.address).await);
    slow.subscribe("ai:*").await;
    fast.subscribe("ai:*").await;
    let payload = Bytes::from(format!("\"{}\"", "x".repeat(100 << 10)));
    let mut wire = Wire::connect(server.address).await;
    loop {
        let channel = Channel::new("ai:x").unwrap();
        server.bus.publish(vec![Message { channel, payload: payload.clone() }]);
        fast.publication().await;
        let metrics = wire.ask(get("/metrics")).await.body;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse::<usize>().unwrap()
        };
        // Its own queue may hold 1 MiB: it is the budget of all that is passed first.
        assert!(value("dualstream_live_queued_bytes ") <= 300 << 10);
        if value("dualstream_slow_dropped_total ") > 0 {
            break;
        }
    }
    assert_eq!(slow.end().await, (3008, "slow".into()));
    let channel = Channel::new("ai:last").unwrap();
    server.bus.publish(vec![Message { channel, payload: Bytes::from_static(b"1") }]);
    assert_eq!(fast.publication().await["pub"]["data"], 1);
}

#[tokio::test]
async fn a_slow_reader_of_events_misses_nothing() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    peer.subscribe("events:*").await;
    let big = "x".repeat(50 << 10);
    let mut wire = Wire::connect(server.address).await;
    let lines: String = (0..400).map(|n| event("a", &format!("[{n},\"{big}\"]")) + "\n").collect();
    let stored = wire.ask(post("/v1/events", "Content-Type: application/x-ndjson\r\n", lines)).await.json();
    assert_eq!(stored["stored"], 400);
    for n in 0..400 {
        assert_eq!(peer.publication().await["pub"]["data"]["data"][0], n);
    }
}

#[tokio::test]
async fn nothing_comes_after_the_reply_to_unsubscribe_and_nothing_before_that_to_subscribe() {
    let server = server(SessionSettings { commands_per_second: 100_000, ..SessionSettings::default() }).await;
    let publisher = tokio::spawn({
        let address = server.address;
        async move {
            let mut wire = Wire::connect(address).await;
            for n in 0..u64::MAX {
                wire.ask(post("/v1/events", JSON, event("a", &n.to_string()))).await;
            }
        }
    });
    let mut peer = Peer::connect(server.address).await;
    let (mut subscribed, mut delivered) = (false, 0);
    for round in 0..200 {
        let (name, kind) = match round % 2 {
            0 => ("subscribe", true),
            _ => ("unsubscribe", false),
        };
        let id = peer.command(json!({name: {"channel": "events:repo:a"}})).await;
        let mut wanted = None::<u64>;
        loop {
            let line = peer.line().await;
            match line["push"]["pub"]["offset"].as_u64() {
                Some(offset) => {
                    assert!(subscribed, "{line}");
                    assert!(wanted.is_none_or(|wanted| wanted == offset), "{wanted:?} {offset}");
                    wanted = Some(offset + 1);
                    delivered += 1;
                }
                None if line["id"] == id => break,
                None => panic!("{line}"),
            }
        }
        subscribed = kind;
        if subscribed && round % 20 == 0 {
            assert!(peer.publication().await["pub"]["offset"].is_u64());
        }
    }
    assert!(delivered > 0 || !subscribed);
    let burst: Vec<String> = (0..100)
        .map(|n| match n % 2 {
            0 => format!(r#"{{"id":{},"subscribe":{{"channel":"events:repo:a"}}}}"#, 1_000 + n),
            _ => format!(r#"{{"id":{},"unsubscribe":{{"channel":"events:repo:a"}}}}"#, 1_000 + n),
        })
        .collect();
    peer.say(burst.join("\n")).await;
    let mut next = 1_000;
    while next < 1_100 {
        let line = peer.line().await;
        if line["id"].is_u64() {
            assert_eq!(line["id"], next, "replies come in order");
            assert!(line["error"].is_null(), "{line}");
            next += 1;
        }
    }
    publisher.abort();
}

#[tokio::test]
async fn many_subscribes_of_one_frame_are_answered_in_order() {
    let server = server(SessionSettings { commands_burst: 1_000, ..SessionSettings::default() }).await;
    let mut peer = Peer::connect(server.address).await;
    let line = |id: usize, channel: &str| format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#);
    let mut lines: Vec<String> = (0..128).map(|n| line(n + 100, &format!("chat:{n}"))).collect();
    lines.insert(5, line(99, "chat:4"));
    lines.push(line(300, "chat:last"));
    lines.push(r#"{"id":301,"unsubscribe":{"channel":"chat:127"}}"#.into());
    lines.push(line(302, "chat:last"));
    peer.say(lines.join("\n")).await;
    let mut refused = Vec::new();
    let mut last = 0;
    for _ in 0..lines.len() {
        let line = peer.line().await;
        match line["error"]["code"].as_u64() {
            Some(code) => refused.push((line["id"].as_u64().unwrap(), code)),
            None => {
                assert!(line["id"].as_u64().unwrap() > last, "{line} after {last}");
                last = line["id"].as_u64().unwrap();
            }
        }
    }
    assert_eq!((refused, last), (vec![(99, 105), (300, 106)], 302));
}

#[tokio::test]
async fn shutdown_closes_every_client_so_that_it_comes_back() {
    let mut server = server(SessionSettings::default()).await;
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = Peer::connect(server.address).await;
        peer.subscribe("events:*").await;
        peers.push(peer);
    }
    server.stop();
    for peer in &mut peers {
        assert_eq!(peer.end().await, (3001, "shutdown".into()));
        assert!(peer.wire.is_closed().await);
    }
    (&mut server.task).await.unwrap();
}

#[tokio::test]
async fn connections_past_the_limit_are_refused_also_by_websockets() {
    let server = Server::with(Settings { connections_max: 2, ..Settings::default() }).await;
    let mut first = Peer::connect(server.address).await;
    let mut second = Wire::connect(server.address).await;
    assert_eq!(second.ask(get("/health/live")).await.status, 200);
    let mut third = Wire::connect(server.address).await;
    assert_eq!(third.ask(get("/health/live")).await.status, 503, "a WebSocket holds its place");
    first.send(0x88, 1000u16.to_be_bytes()).await;
    assert_eq!(first.end().await.0, 1000);
    assert!(first.wire.is_closed().await);
    while Wire::connect(server.address).await.ask(get("/health/live")).await.status != 200 {}
}

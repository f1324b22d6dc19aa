//! Requests that do not say clearly where they end, over a raw socket: each is refused in the form of every other refusal,
//! after the answers to what came before it, and nothing behind it is ever taken for a request.

use crate::peer::{HANDSHAKE, Peer, masked};
use crate::server::Server;
use crate::wire::{Answer, JSON, Wire, event, get, post};
use dualstream_gateway::Settings;
use serde_json::json;
use std::time::Duration;

/// A request, and what it is answered.
type Row = (&'static str, String, u16, &'static str);

const LIVE: &str = "GET /health/live HTTP/1.1\r\n";

fn lines() -> Vec<Row> {
    vec![
        ("no version", "GET /\r\nHost: x\r\n\r\n".into(), 400, "invalid_request_line"),
        ("two spaces", format!("{} Host: x\r\n\r\n", LIVE.replace(' ', "  ")), 400, "invalid_request_line"),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".into(), 400, "invalid_header_line"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505, "unsupported_http_version"),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n".into(), 505, "unsupported_http_version"),
        ("authority as target", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".into(), 400, "invalid_target"),
        ("fragment in the target", "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400, "invalid_target"),
        ("target too long", get(&format!("/{}", "a".repeat(9 << 10))), 414, "uri_too_long"),
        ("bare LF", get("/health/live").replace("\r\n", "\n"), 400, "invalid_line_end"),
        ("bare LF after a header", format!("{LIVE}Host: x\nX: 1\r\n\r\n"), 400, "invalid_line_end"),
        ("bare CR in a header", format!("{LIVE}Host: x\r\nX: 1\rY: 1\r\n\r\n"), 400, "invalid_line_end"),
        ("obsolete fold", format!("{LIVE}Host: x\r\nX: 1\r\n 2\r\n\r\n"), 400, "invalid_header_line"),
        ("space before the colon", format!("{LIVE}Host : x\r\n\r\n"), 400, "invalid_header_line"),
        ("space in a name", format!("{LIVE}Host: x\r\nX Y: 1\r\n\r\n"), 400, "invalid_header_line"),
        ("no colon", format!("{LIVE}Host: x\r\nX\r\n\r\n"), 400, "invalid_header_line"),
        ("NUL in a value", format!("{LIVE}Host: x\r\nX: a\0b\r\n\r\n"), 400, "invalid_header_line"),
        ("DEL in a value", format!("{LIVE}Host: x\r\nX: a\u{7f}b\r\n\r\n"), 400, "invalid_header_line"),
        ("control in a name", format!("{LIVE}Host: x\r\nX\u{1}: a\r\n\r\n"), 400, "invalid_header_line"),
        ("101 headers", format!("{LIVE}Host: x\r\n{}\r\n", "X: 1\r\n".repeat(100)), 431, "too_many_headers"),
        (
            "40 KiB of headers",
            format!("{LIVE}Host: x\r\nX: {}\r\n\r\n", "a".repeat(40 << 10)),
            431,
            "headers_too_large",
        ),
        (
            "headers without end",
            format!("{LIVE}Host: x\r\nX: {}", "a".repeat(40 << 10)),
            431,
            "headers_too_large",
        ),
        ("no Host", format!("{LIVE}\r\n"), 400, "invalid_host"),
        ("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".into(), 400, "invalid_host"),
        ("empty Host", format!("{LIVE}Host:\r\n\r\n"), 400, "invalid_host"),
        ("two Hosts", format!("{LIVE}Host: a\r\nHost: b\r\n\r\n"), 400, "invalid_host"),
        ("equal Hosts", format!("{LIVE}Host: a\r\nHost: a\r\n\r\n"), 400, "invalid_host"),
        ("list of Hosts", format!("{LIVE}Host: a, b\r\n\r\n"), 400, "invalid_host"),
    ]
}

/// Each ends with what would be a request if somebody else's reading of the length were right.
fn lengths() -> Vec<Row> {
    let with = |headers: &str| {
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: x\r\n{JSON}{headers}\r\n\r\n0\r\n\r\n{}",
            get("/health/live")
        )
    };
    let mut rows = Vec::new();
    for headers in [
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 0x5",
        "Content-Length: 1, 2",
        "Content-Length: 5, 5",
        "Content-Length: 5 ,",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 5\r\nContent-Length: 5",
    ] {
        rows.push((headers, with(headers), 400, "invalid_content_length"));
    }
    for headers in [
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        rows.push((headers, with(headers), 400, "invalid_transfer_encoding"));
    }
    let old = with("Transfer-Encoding: chunked").replacen("HTTP/1.1", "HTTP/1.0", 1);
    rows.push(("chunked in HTTP/1.0", old, 400, "invalid_transfer_encoding"));
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
    ] {
        rows.push((headers, with(headers), 400, "ambiguous_length"));
    }
    rows
}

async fn assert_refused(wire: &mut Wire, (name, _, status, code): &Row) -> Answer {
    let answer = wire.answer().await.unwrap_or_else(|| panic!("{name}: closed without an answer"));
    assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{name}: {}", answer.body);
    assert_eq!(answer.header("connection"), Some("close"), "{name}");
    answer.assert_problem(name);
    assert!(wire.answer().await.is_none(), "{name}: what followed was answered");
    answer
}

#[tokio::test]
async fn each_is_refused_and_the_server_goes_on() {
    let server = Server::start().await;
    for row in lines().into_iter().chain(lengths()) {
        let mut wire = Wire::connect(server.address).await;
        wire.send(&row.1).await;
        assert_refused(&mut wire, &row).await;
        assert_eq!(Wire::connect(server.address).await.ask(get("/health/live")).await.status, 200);
    }
}

#[tokio::test]
async fn what_came_before_is_answered_first() {
    let server = Server::start().await;
    for row in lines().into_iter().chain(lengths()) {
        let mut wire = Wire::connect(server.address).await;
        let before = [post("/v1/events", JSON, event("a", "1")), get("/health/live").into()].concat();
        wire.send([&before[..], &before[..], row.1.as_bytes()].concat()).await;
        for status in [201, 200, 201, 200] {
            assert_eq!(wire.answer().await.unwrap().status, status, "{}", row.0);
        }
        assert_refused(&mut wire, &row).await;
    }
}

#[tokio::test]
async fn a_byte_at_a_time_makes_no_difference() {
    let server = Server::start().await;
    for row in lines().into_iter().chain(lengths()).filter(|row| row.1.len() < 1_000) {
        let mut wire = Wire::connect(server.address).await;
        for byte in get("/health/live").bytes().chain(row.1.bytes()) {
            wire.send([byte]).await;
        }
        assert_eq!(wire.answer().await.unwrap().status, 200, "{}", row.0);
        assert_refused(&mut wire, &row).await;
    }
    let mut wire = Wire::connect(server.address).await;
    let chunked = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{:x};a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
        event("a", "1").len(),
        event("a", "1")
    );
    for byte in chunked.repeat(2).into_bytes() {
        wire.send([byte]).await;
    }
    for _ in 0..2 {
        assert_eq!(wire.answer().await.unwrap().status, 201);
    }
    assert_eq!(wire.ask(get("/health/live")).await.status, 200);
}

#[tokio::test]
async fn refusals_name_header_and_limit() {
    let server = Server::start().await;
    let row = |code: &str| lines().into_iter().chain(lengths()).find(|row| row.3 == code).unwrap();
    for (code, field, limit) in [
        ("invalid_content_length", Some("content-length"), None),
        ("invalid_transfer_encoding", Some("transfer-encoding"), None),
        ("ambiguous_length", Some("content-length"), None),
        ("invalid_host", Some("host"), None),
        ("uri_too_long", None, Some(8 << 10)),
        ("too_many_headers", None, Some(100)),
        ("headers_too_large", None, Some(32 << 10)),
    ] {
        let (mut wire, row) = (Wire::connect(server.address).await, row(code));
        wire.send(&row.1).await;
        let json = assert_refused(&mut wire, &row).await.json();
        assert_eq!((json["field"].as_str(), json["limit"].as_u64()), (field, limit), "{code}");
    }
    let metrics = Wire::connect(server.address).await.ask(get("/metrics")).await.body;
    let counted = "dualstream_http_requests_total{status=\"4xx\"} 7\n";
    assert!(metrics.contains(counted), "refusals are counted as every answer: {metrics}");
}

/// A body that has begun has a reader: it is told, and the connection ends.
#[tokio::test]
async fn malformed_chunks_fail_the_request_they_belong_to() {
    let server = Server::start().await;
    let event = event("a", "1");
    for chunks in [
        "xyz\r\n".to_owned(),
        format!("{:x}\n{event}\r\n0\r\n\r\n", event.len()),
        format!("{:x}\r\n{event}\n0\r\n\r\n", event.len()),
        format!("{:x}\r\n{event}XX0\r\n\r\n", event.len()),
        format!("{:x}\r\n{event}\r\n0\r\n x\r\n\r\n", event.len()),
        format!("{:x} \r\n{event}\r\n0\r\n\r\n", event.len()),
        format!("+{:x}\r\n{event}\r\n0\r\n\r\n", event.len()),
        format!("{:x}\r\n{event}\r\n0\r\n\n", event.len()),
        format!("{:x}\r\n{event}\r\n1;{}\r\n", event.len(), "x".repeat(5_000)),
        format!("fffffffffffffffffff\r\n{event}\r\n0\r\n\r\n"),
    ] {
        for kind in [JSON, "Content-Type: application/x-ndjson\r\n"] {
            let mut wire = Wire::connect(server.address).await;
            let head =
                format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{kind}Transfer-Encoding: chunked\r\n\r\n");
            wire.send(get("/health/live") + &head + &chunks + &get("/health/live")).await;
            assert_eq!(wire.answer().await.unwrap().status, 200);
            let row = ("chunks", String::new(), 400, "body_incomplete");
            assert_refused(&mut wire, &row).await;
        }
        let mut wire = Wire::connect(server.address).await;
        let head = "GET /health/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(head.to_owned() + &chunks + &get("/health/live")).await;
        assert_eq!(wire.answer().await.unwrap().status, 200, "nobody reads this body");
        assert!(wire.answer().await.is_none(), "what followed was answered: {chunks:?}");
    }
    let events = dualstream_core::topic::TopicName::new("events").unwrap();
    assert_eq!(server.log.count(&events), 0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_told_so() {
    let server = Server::start().await;
    for (kind, rest) in [
        (JSON, "Content-Length: 100\r\n\r\n{"),
        (JSON, "Transfer-Encoding: chunked\r\n\r\n5\r\n{"),
        ("Content-Type: application/x-ndjson\r\n", "Content-Length: 100\r\n\r\n{"),
    ] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{kind}{rest}")).await;
        wire.end().await;
        assert_refused(&mut wire, &("early end", String::new(), 400, "body_incomplete")).await;
    }
}

#[tokio::test]
async fn heads_have_a_deadline() {
    let deadline = Duration::from_millis(50);
    let server = Server::with(Settings { header_deadline: deadline, ..Settings::default() }).await;
    let row = ("slow", String::new(), 408, "headers_too_slow");
    for beginning in ["G", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n", "\r"] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(beginning).await;
        assert_refused(&mut wire, &row).await;
        let mut wire = Wire::connect(server.address).await;
        wire.send(get("/health/live") + beginning).await;
        assert_eq!(wire.answer().await.unwrap().status, 200);
        assert_refused(&mut wire, &row).await;
    }
    for request in [Vec::new(), get("/health/live").into(), post("/v1/events", JSON, event("a", "1"))] {
        let mut wire = Wire::connect(server.address).await;
        if !request.is_empty() {
            wire.ask(&request).await;
        }
        assert!(wire.answer().await.is_none(), "a connection that asks nothing is closed without a word");
    }
}

/// The deadline is that of a head, not of an answer.
#[tokio::test]
async fn a_long_answer_is_not_cut_off() {
    let deadline = Duration::from_millis(50);
    let heartbeat = Duration::from_millis(20);
    let server = Server::with(Settings { header_deadline: deadline, heartbeat, ..Settings::default() }).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(get("/v1/stream?channel=events:*")).await;
    assert_eq!(wire.head().await.unwrap().0, 200);
    for _ in 0..8 {
        assert!(wire.chunk().await.is_some());
    }
}

#[tokio::test]
async fn a_request_for_an_upgrade_is_the_last() {
    let server = Server::start().await;
    let upgrade = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}\r\n");
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade("/health/live") + &get("/health/live")).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(wire.answer().await.is_none(), "what followed was taken for a request");

    let mut wire = Wire::connect(server.address).await;
    wire.send(get("/health/live") + &upgrade("/connection/websocket").replace("Version: 13", "Version: 1"))
        .await;
    wire.send(get("/health/live")).await;
    assert_eq!(wire.answer().await.unwrap().status, 200);
    assert_eq!(wire.answer().await.unwrap().status, 426);
    assert!(wire.answer().await.is_none(), "what followed was taken for a request");

    let mut wire = Wire::connect(server.address).await;
    let posted =
        post("/v1/events", &format!("{JSON}Connection: Upgrade\r\nUpgrade: h2c\r\n"), event("a", "1"));
    wire.send([posted, get("/health/live").into()].concat()).await;
    assert_eq!(wire.answer().await.unwrap().status, 201, "its body is read");
    assert!(wire.answer().await.is_none(), "what followed was taken for a request");
}

/// A client may send its first frame before it has read the answer: it is a frame, never a request.
#[tokio::test]
async fn what_follows_an_upgrade_is_its() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let connect = masked(0x81, json!({"id": 1, "connect": {}}).to_string().as_bytes());
    let upgrade = format!("GET /connection/websocket HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}\r\n");
    wire.send([get("/health/live").as_bytes(), upgrade.as_bytes(), &connect].concat()).await;
    assert_eq!(wire.answer().await.unwrap().status, 200);
    assert_eq!(wire.head().await.unwrap().0, 101);
    let (first, payload) = wire.frame().await.unwrap();
    assert_eq!(first, 0x81);
    assert!(String::from_utf8(payload).unwrap().contains("\"connect\""));
    let mut peer = Peer::connect(server.address).await;
    peer.subscribe("events:repo:a").await;
}

/// A refused peer that goes on writing gets its answer all the same.
#[tokio::test]
async fn a_refusal_is_not_lost_to_a_reset() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(format!("{LIVE}Host : x\r\n\r\n")).await;
    for _ in 0..16 {
        assert!(wire.try_send(vec![b' '; 64 << 10]).await, "a peer that still writes is not reset");
    }
    assert_eq!(wire.answer().await.unwrap().status, 400);
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_connection_past_the_limit_is_guarded_too() {
    let server = Server::with(Settings { connections_max: 1, ..Settings::default() }).await;
    let mut first = Wire::connect(server.address).await;
    assert_eq!(first.ask(get("/health/live")).await.status, 200);
    let mut wire = Wire::connect(server.address).await;
    wire.send(format!("{LIVE}Host : x\r\n\r\n")).await;
    assert_refused(&mut wire, &("past the limit", String::new(), 400, "invalid_header_line")).await;
}

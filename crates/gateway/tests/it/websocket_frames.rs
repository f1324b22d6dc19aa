//! WebSocket handshakes and frames as no client sends them: each gets its status or close code, and the server goes on.

use crate::peer::{HANDSHAKE, Peer, masked};
use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};
use dualstream_gateway::{SessionSettings, Settings};
use std::time::Duration;

const PATH: &str = "/connection/websocket";
const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

#[tokio::test]
async fn handshakes_that_are_none_get_a_status() {
    let server = Server::start().await;
    let without = |name: &str| {
        let kept = HANDSHAKE.lines().filter(|line| !line.starts_with(name));
        kept.fold(String::new(), |all, line| all + line + "\r\n")
    };
    for (headers, status, code) in [
        (without("Upgrade"), 426, "upgrade_required"),
        (without("Connection"), 426, "upgrade_required"),
        (without("Sec-WebSocket-Version"), 426, "upgrade_required"),
        (HANDSHAKE.replace("Version: 13", "Version: 8"), 426, "upgrade_required"),
        (HANDSHAKE.replace("websocket", "h2c"), 426, "upgrade_required"),
        (without("Sec-WebSocket-Key"), 400, "invalid_handshake"),
        (HANDSHAKE.replace("dGhl", "dGh"), 400, "invalid_handshake"),
        (HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, "invalid_handshake"),
        (format!("{HANDSHAKE}Content-Length: 2\r\n"), 400, "invalid_handshake"),
        (format!("{HANDSHAKE}Transfer-Encoding: chunked\r\n"), 400, "invalid_handshake"),
        (format!("{HANDSHAKE}Origin: https://evil.example\r\n"), 403, "origin_denied"),
        (format!("{HANDSHAKE}Origin: null\r\n"), 403, "origin_denied"),
        (format!("{HANDSHAKE}Origin: http://x.evil.example\r\n"), 403, "origin_denied"),
    ] {
        let mut wire = Wire::connect(server.address).await;
        let answer = wire.ask(format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers}");
        let version = answer.header("sec-websocket-version");
        assert_eq!((version, answer.header("upgrade")).0.is_some(), status == 426, "{headers}");
    }
    let mut wire = Wire::connect(server.address).await;
    let answer = wire.ask(format!("GET {PATH} HTTP/1.0\r\nHost: x\r\n{HANDSHAKE}\r\n")).await;
    assert_eq!(answer.status, 426);
    let mut wire = Wire::connect(server.address).await;
    let huge = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nX: {}\r\n{HANDSHAKE}\r\n", "x".repeat(40 << 10));
    assert_eq!(wire.ask(huge).await.status, 431);
}

#[tokio::test]
async fn pages_of_the_own_and_of_allowed_origins_connect() {
    let settings = Settings { allowed_origins: vec!["https://app.example".into()], ..Settings::default() };
    let server = Server::with(settings).await;
    for origin in ["Origin: http://x\r\n", "Origin: https://app.example\r\n", ""] {
        let mut peer = Peer::open(server.address, PATH, origin).await;
        peer.say(CONNECT).await;
        assert_eq!(peer.line().await["id"], 1, "{origin}");
    }
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_closed_with_their_code() {
    let server = Server::start().await;
    let big = "x".repeat((64 << 10) + 1);
    let text = |payload: &[u8]| masked(0x81, payload);
    for (what, bytes, code) in [
        ("reserved bit", masked(0xc1, b"x"), 1002),
        ("reserved opcode", masked(0x83, b"x"), 1002),
        ("fragmented ping", masked(0x09, b"x"), 1002),
        ("long ping", masked(0x89, &[b'x'; 126]), 1002),
        ("lonely continuation", masked(0x80, b"x"), 1002),
        ("message inside a message", [masked(0x01, b"x"), text(b"y")].concat(), 1002),
        ("no mask", vec![0x81, 1, b'x'], 1002),
        ("length of 2^63", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("half a close code", masked(0x88, &[3]), 1002),
        ("close code 1005", masked(0x88, &1005u16.to_be_bytes()), 1002),
        ("close reason", masked(0x88, &[0x03, 0xe8, 0xff]), 1007),
        ("no UTF-8", text(b"\xff"), 1007),
        ("no UTF-8 over two frames", [masked(0x01, b"\xc3"), masked(0x80, b"\xc3")].concat(), 1007),
        ("too long, on the header", vec![0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1], 1009),
        ("too long, all of it", text(big.as_bytes()), 1009),
        ("too many frames", [masked(0x01, b""), masked(0x00, b"").repeat(1_024)].concat(), 1009),
        ("bytes", masked(0x82, CONNECT.as_bytes()), 3506),
        ("the end", masked(0x88, &1001u16.to_be_bytes()), 1001),
        ("the end without a code", masked(0x88, b""), 1000),
    ] {
        let mut peer = Peer::open(server.address, PATH, "").await;
        peer.wire.send(bytes).await;
        assert_eq!(peer.end().await.0, code, "{what}");
    }
    let mut wire = Wire::connect(server.address).await;
    let metrics = wire.ask(get("/metrics")).await.body;
    assert!(metrics.contains("dualstream_client_num_server_disconnects_total{code=\"3506\"} 1"), "{metrics}");
}

#[tokio::test]
async fn every_reserved_bit_opcode_and_close_code_is_refused() {
    let server = Server::start().await;
    let bits = [0x40_u8, 0x20, 0x10, 0x70].map(|bit| masked(0x81 | bit, b"x"));
    let opcodes = (0x3..=0x7).chain(0xb..=0xf).map(|opcode| masked(0x80 | opcode, b"x"));
    let codes = [0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535];
    let closes = codes.map(|code| masked(0x88, &code.to_be_bytes()));
    for frame in bits.into_iter().chain(opcodes).chain(closes) {
        let mut peer = Peer::open(server.address, PATH, "").await;
        peer.wire.send(&frame).await;
        assert_eq!(peer.end().await.0, 1002, "{frame:x?}");
    }
    for code in [1000_u16, 1003, 1007, 1014, 3000, 4999] {
        let mut peer = Peer::open(server.address, PATH, "").await;
        peer.wire.send(masked(0x88, &code.to_be_bytes())).await;
        assert_eq!(peer.end().await.0, code, "a code that a client may give is given back");
    }
}

#[tokio::test]
async fn compression_is_not_agreed_to() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    wire.send(format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}{offer}\r\n")).await;
    let (status, headers) = wire.head().await.unwrap();
    assert_eq!(status, 101);
    assert!(headers.iter().all(|(name, _)| name != "sec-websocket-extensions"), "{headers:?}");
    // Who compresses all the same sets a bit that was not agreed to.
    wire.send(masked(0xc1, b"x")).await;
    let (first, payload) = wire.frame().await.unwrap();
    assert_eq!((first, &payload[..2]), (0x88, &1002_u16.to_be_bytes()[..]));
}

#[tokio::test]
async fn a_pong_nobody_asked_for_is_let_pass() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    for payload in [&b""[..], b"unasked"] {
        peer.send(0x8a, payload).await;
    }
    peer.subscribe("chat:room").await;
}

#[tokio::test]
async fn a_frame_of_one_byte_at_a_time_is_cut_off() {
    let session =
        SessionSettings { message_deadline: Duration::from_millis(200), ..SessionSettings::default() };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    // Half of the header, half of the payload, a fragment without its end: each goes on, and never ends.
    let text = masked(0x81, &[b'x'; 60_000]);
    let fragments = [masked(0x01, b"{"), masked(0x00, b"").repeat(60_000)].concat();
    for (bytes, size) in [(&text, 1), (&fragments, 6)] {
        let mut peer = Peer::open(server.address, PATH, "").await;
        let mut sent = 0;
        // One piece for each answer of another connection, so that the server has looked at each.
        let mut other = Wire::connect(server.address).await;
        for piece in bytes.chunks(size) {
            if !peer.wire.try_send(piece).await || other.ask(get("/metrics")).await.body.contains(GONE) {
                break;
            }
            sent += piece.len();
        }
        assert!(sent < bytes.len(), "all of it was taken");
        assert_eq!(peer.end().await.0, 1009);
    }
}

/// Of the page of metrics: no WebSocket is open.
const GONE: &str = "dualstream_client_connections_inflight{transport=\"websocket\"} 0";

#[tokio::test]
async fn a_client_that_takes_no_events_is_cut_off() {
    let settings = Settings { write_stall_max: Duration::from_millis(100), ..Settings::default() };
    let server = Server::with(settings).await;
    let mut stalled = Peer::connect(server.address).await;
    stalled.subscribe("events:*").await;
    let mut wire = Wire::connect(server.address).await;
    let big = "x".repeat(200 << 10);
    while !wire.ask(get("/metrics")).await.body.contains(GONE) {
        wire.ask(post("/v1/events", JSON, event("a", &format!("\"{big}\"")))).await;
    }
    let metrics = wire.ask(get("/metrics")).await.body;
    assert!(metrics.contains("dualstream_client_subscriptions_inflight 0"), "{metrics}");
    assert!(metrics.contains("dualstream_subscriptions 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_command_in_many_pieces_is_one_command() {
    let server = Server::start().await;
    let mut peer = Peer::open(server.address, PATH, "").await;
    let (first, rest) = CONNECT.split_at(5);
    let mut bytes = masked(0x01, first.as_bytes());
    for byte in rest.bytes() {
        bytes.extend(masked(0x00, &[byte]));
        bytes.extend(masked(0x89, b"beat"));
    }
    bytes.extend(masked(0x80, b"\n"));
    peer.wire.send(bytes).await;
    for _ in rest.bytes() {
        assert_eq!(peer.wire.frame().await.unwrap(), (0x8a, b"beat".to_vec()));
    }
    assert_eq!(peer.line().await["id"], 1);
}

#[tokio::test]
async fn a_message_that_does_not_end_is_cut_off() {
    let session =
        SessionSettings { message_deadline: Duration::from_millis(50), ..SessionSettings::default() };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    for beginning in [&masked(0x81, b"{}")[..3], &masked(0x01, b"{")] {
        let mut peer = Peer::open(server.address, PATH, "").await;
        peer.wire.send(beginning).await;
        assert_eq!(peer.end().await.0, 1009);
    }
}

#[tokio::test]
async fn protobuf_is_told_that_it_is_not_served() {
    let server = Server::start().await;
    for (target, headers) in [
        ("/connection/websocket?format=protobuf", ""),
        ("/connection/websocket?cf_protocol=protobuf", ""),
        (PATH, "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n"),
    ] {
        let mut peer = Peer::open(server.address, target, headers).await;
        assert_eq!(peer.end().await, (3506, "inappropriate protocol".into()));
    }
}

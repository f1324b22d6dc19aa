//! WebSocket handshakes and frames as no client sends them: each gets its status or close code, and the server goes on.

use crate::peer::{HANDSHAKE, Peer, masked};
use crate::server::Server;
use crate::wire::{Wire, get};
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

//! Deadlines, limits and the end of connections.

use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};
use dualstream_core::bus::Health;
use dualstream_core::time::parse_rfc3339;
use dualstream_gateway::Settings;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn slow_bodies_are_cut_off() {
    let server = Server::with(Settings { body_grace: SHORT, ..Settings::default() }).await;
    for (kind, code) in [(JSON, "body_too_slow"), ("Content-Type: application/x-ndjson\r\n", "body_too_slow")]
    {
        let mut wire = Wire::connect(server.address).await;
        wire.send(format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: 100\r\n\r\n[")).await;
        let answer = wire.answer().await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (408, code), "{}", answer.body);
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_cut_off() {
    let server = Server::with(Settings { write_stall_max: SHORT, ..Settings::default() }).await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(get("/openapi.json").repeat(2_000)).await;
    let mut other = Wire::connect(server.address).await;
    while !other.ask(get("/metrics")).await.body.contains("dualstream_connections 1\n") {}
    let mut answers = 0;
    while wire.answer().await.is_some() {
        answers += 1;
    }
    assert!(answers < 2_000, "{answers}");
}

#[tokio::test]
async fn a_panic_is_one_request_s_failure() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    server.parts.panics.store(true, Ordering::Relaxed);
    let answer = wire.ask(get("/metrics")).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    assert!(wire.is_closed().await);
    let mut wire = Wire::connect(server.address).await;
    assert_eq!(wire.ask(get("/health/live")).await.status, 200);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask() {
    let settings = Settings { allowed_origins: vec!["https://app.example".into()], ..Settings::default() };
    let server = Server::with(settings).await;
    let mut wire = Wire::connect(server.address).await;
    let origin = "Origin: https://app.example\r\n";
    let answer = wire.ask(format!("OPTIONS /v1/events HTTP/1.1\r\nHost: x\r\n{origin}\r\n")).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-methods")),
        (204, Some("GET, POST, PATCH, DELETE"))
    );
    let answer = wire.ask(post("/v1/events", &format!("{JSON}{origin}"), event("a", "1"))).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (201, Some("https://app.example"))
    );
    let answer =
        wire.ask("OPTIONS /v1/events HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
}

/// Fault 35. A crowd that comes at once is accepted at the pace that is set: nobody is refused, and all are served.
#[tokio::test]
async fn a_crowd_waits_to_be_accepted_at_the_pace_that_is_set() {
    const CROWD: usize = 5;
    // So slow that not even a busy machine keeps up with it.
    let server = Server::with(Settings { connects_per_second: 1, ..Settings::default() }).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut wire = Wire::connect(server.address).await;
        wire.send(get("/health/live")).await;
        crowd.push(wire);
    }
    let first = crowd[0].answer().await.unwrap();
    assert_eq!(first.status, 200);
    let metrics = crowd[0].ask(get("/metrics")).await.body;
    let open = metrics.lines().find_map(|line| line.strip_prefix("dualstream_connections ")).unwrap();
    assert!(open.parse::<usize>().unwrap() < CROWD, "{open} are accepted at once");
    for wire in &mut crowd[1..] {
        assert_eq!(wire.answer().await.unwrap().status, 200);
    }
}

/// Fault 35. A client that finds no room in the queue of those that wait to be accepted tries again a second later, or more.
#[tokio::test]
async fn a_crowd_that_comes_at_once_finds_room() {
    let server = Server::start().await;
    let mut first = Wire::connect(server.address).await;
    assert_eq!(first.ask(get("/health/live")).await.status, 200);
    // Nothing is accepted in between: server and test share one thread, and this does not give it away.
    let connect = |number: usize| {
        std::net::TcpStream::connect_timeout(&server.address, Duration::from_secs(5))
            .unwrap_or_else(|error| panic!("{number} wait, and there is no room: {error}"))
    };
    let _crowd: Vec<_> = (0..300).map(connect).collect();
    assert_eq!(first.ask(get("/health/live")).await.status, 200);
}

#[tokio::test]
async fn connections_past_the_limit_are_told_so() {
    let server = Server::with(Settings { connections_max: 1, ..Settings::default() }).await;
    let mut first = Wire::connect(server.address).await;
    assert_eq!(first.ask(get("/health/live")).await.status, 200);
    let mut second = Wire::connect(server.address).await;
    let answer = second.ask(get("/health/live")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_connections"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(second.is_closed().await);
    assert_eq!(first.ask(get("/health/live")).await.status, 200);
}

#[tokio::test]
async fn bodies_past_the_budget_are_refused_and_may_be_sent_again() {
    let server = Server::with(Settings { bodies_bytes_max: 8 << 10, ..Settings::default() }).await;
    let mut wire = Wire::connect(server.address).await;
    let answer = wire.ask(post("/v1/events", JSON, " ".repeat(9 << 10))).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!((answer.json()["retryable"].as_bool(), answer.header("retry-after")), (Some(true), Some("1")));
}

#[tokio::test]
async fn readiness_tells_the_truth_about_each_part() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let down = || Health::Down { since_ms: 1_700_000_000_123, reason: "no route".into() };
    assert_eq!(wire.ask(get("/health/live")).await.status, 200);
    let before = SystemTime::now() - Duration::from_millis(1);
    let answer = wire.ask(get("/health/ready")).await.json();
    let time = parse_rfc3339(answer["time"].as_str().unwrap()).unwrap();
    let time = UNIX_EPOCH + Duration::from_millis(time.try_into().unwrap());
    assert!(before < time && time <= SystemTime::now(), "{answer}");
    let up = json!({"status": "up", "since": answer["log"]["since"]});
    assert_eq!(answer, json!({"status": "ready", "time": answer["time"], "log": up, "bus": up}));
    let metrics = wire.ask(get("/metrics")).await.body;
    for line in ["dualstream_part_up{part=\"log\"} 1.0", "dualstream_part_up{part=\"bus\"} 1.0"] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    *server.parts.bus.lock().unwrap() = down();
    let answer = wire.ask(get("/health/ready")).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("degraded")));
    assert_eq!(answer.json()["bus"]["since"], "2023-11-14T22:13:20.123Z");
    assert_eq!((&answer.json()["bus"]["reason"], &answer.json()["log"]), (&json!("no route"), &up));
    let metrics = wire.ask(get("/metrics")).await.body;
    for line in ["up{part=\"bus\"} 0.0", "since_seconds{part=\"bus\"} 1700000000.123", "up{part=\"log\"} 1.0"]
    {
        let line = format!("dualstream_part_{line}");
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    *server.parts.log.lock().unwrap() = down();
    let answer = wire.ask(get("/health/ready")).await;
    assert_eq!((answer.status, answer.json()["log"]["reason"].as_str()), (503, Some("no route")));
    *server.parts.log.lock().unwrap() = Health::Up;
    let answer = wire.ask(get("/health/ready")).await.json();
    assert_eq!(answer["status"], "degraded");
    assert!(answer["log"]["since"].as_str() >= up["since"].as_str(), "{answer}");
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_accepts_no_more() {
    let drain = Duration::from_secs(60);
    let mut server = Server::with(Settings { drain, ..Settings::default() }).await;
    let mut idle = Wire::connect(server.address).await;
    assert_eq!(idle.ask(get("/health/live")).await.status, 200);
    server.stop();
    assert!(idle.is_closed().await, "at once, not at the end of the drain time");
    (&mut server.task).await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn shutdown_lets_a_request_finish() {
    let server = Server::start().await;
    let request = post("/v1/events", &format!("{JSON}Expect: 100-continue\r\n"), event("a", "1"));
    let (first, rest) = request.split_at(request.len() - 5);
    let mut wire = Wire::connect(server.address).await;
    wire.send(first).await;
    assert_eq!(wire.head().await.unwrap().0, 100, "the handler has begun");
    server.stop();
    wire.send(rest).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
    assert!(wire.is_closed().await);
}

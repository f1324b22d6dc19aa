//! The client protocol without a WebSocket: on one node, and over several.

use crate::nodes::{Cluster, ask, delete, ids, listed};
use crate::server::Server;
use crate::stream_client::{StreamClient, Way};
use crate::wire::{Answer, JSON, Wire, event, get, post};
use dualstream_core::bus::{Bus, Message};
use dualstream_core::channel::Channel;
use dualstream_gateway::{SessionSettings, Settings};
use serde_json::{Value, json};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(50);

async fn server(session: SessionSettings) -> Server {
    Server::with(Settings { session, drain: SHORT, ..Settings::default() }).await
}

async fn metric(server: &Server, line: &str) -> bool {
    ask(server, "/metrics").await.body.lines().any(|own| own == format!("dualstream_client_{line}"))
}

async fn store(server: &Server, key: &str, data: &str) {
    let answer = Wire::connect(server.address).await.ask(post("/v1/events", JSON, event(key, data))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

async fn emulation(server: &Server, body: &Value) -> Answer {
    Wire::connect(server.address).await.ask(post("/emulation", JSON, body.to_string())).await
}

#[tokio::test]
async fn it_can_do_what_a_websocket_can() {
    let server = Server::start().await;
    for way in Way::BOTH {
        let mut client = StreamClient::connect(&server, way).await;
        let reply = client.ask(json!({"subscribe": {"channel": "events:repo:a"}})).await;
        let subscribed = reply["subscribe"].clone();
        assert_eq!((client.node.as_str(), &subscribed["recoverable"]), ("node-1", &json!(true)));
        for n in 0..12 {
            store(&server, "a", &n.to_string()).await;
            assert_eq!(client.publication().await["pub"]["data"]["data"], n);
        }
        let published = client.ask(json!({"publish": {"channel": "chat:x", "data": {"a": 1}}})).await;
        assert_eq!(published["publish"], json!({}));
        let chat = client.ask(json!({"subscribe": {"channel": "chat:*"}})).await;
        assert!(chat["subscribe"]["recoverable"] == true, "{chat}");
        client.command(json!({"publish": {"channel": "chat:y", "data": [2]}})).await;
        let mut seen = [client.line().await, client.line().await];
        seen.sort_by_key(|line| line["id"].is_u64());
        assert_eq!(seen[0]["push"]["pub"]["data"], json!([2]), "{seen:?}");
        let history =
            client.ask(json!({"history": {"channel": "events:repo:a", "limit": 1, "reverse": true}})).await;
        assert_eq!(history["history"]["publications"][0]["data"]["data"], 11);
        let refused = client.ask(json!({"presence": {"channel": "chat:x"}})).await;
        assert_eq!(refused["error"]["code"], 108);

        // Another one goes on where this one was after three.
        let asked = json!({"channel": "events:repo:a", "recover": true, "epoch": subscribed["epoch"],
            "offset": history["history"]["offset"].as_u64().unwrap() - 9});
        let mut again = StreamClient::connect(&server, way).await;
        let reply = again.ask(json!({"subscribe": asked})).await["subscribe"].clone();
        assert_eq!(reply["recovered"], true, "{reply}");
        assert_eq!(reply["publications"].as_array().unwrap().len(), 9, "{reply}");

        assert_eq!(
            client.ask(json!({"unsubscribe": {"channel": "events:repo:a"}})).await["unsubscribe"],
            json!({})
        );
        store(&server, "a", "12").await;
        assert_eq!(again.publication().await["pub"]["data"]["data"], 12);
        let pong = client.ask(json!({"publish": {"channel": "ai:z", "data": 1}})).await;
        assert_eq!(pong["publish"], json!({}), "nothing of what it left came before it");

        assert!(metric(&server, &format!("connections_inflight{{transport=\"{}\"}} 2", way.name())).await);
        let all = listed(&server, 100, "").await;
        assert_eq!(ids(&all), [client.client.as_str(), again.client.as_str()].into());
        for one in all {
            assert_eq!((&one["transport"], &one["protocol"]), (&json!(way.name()), &json!("json")));
            assert!(one["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{one}");
        }
        // It is gone with its stream, and so is its session.
        let (session, node) = (client.session.clone(), client.node.clone());
        drop((client, again));
        while !listed(&server, 100, "").await.is_empty() {}
        let answer = emulation(&server, &json!({"session": session, "node": node, "data": "{}"})).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_session"));
        answer.assert_problem("gone");
        assert!(metric(&server, &format!("connections_inflight{{transport=\"{}\"}} 0", way.name())).await);
    }
}

#[tokio::test]
async fn what_is_no_request_of_a_client_is_refused() {
    let limit = 2 << 10;
    let server = server(SessionSettings { message_bytes_max: limit, ..SessionSettings::default() }).await;
    let client = StreamClient::connect(&server, Way::HttpStream).await;
    let own = |data: &str| json!({"session": client.session, "node": client.node, "data": data}).to_string();
    let say = |body: String| post("/emulation", JSON, body);
    let nobody = "0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867";
    let many = "{}\n".repeat(257);
    // What a page of any site can make a browser ask for.
    let and_publish = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"publish\":{\"channel\":\"ai:z\",\"data\":1}}";
    let stream = |headers: &str, body: &str| post("/connection/http_stream", headers, body);
    let octets = "Content-Type: application/octet-stream\r\n";
    for (name, request, status, code) in [
        ("protobuf", stream(octets, "x"), 415, "unsupported_media_type"),
        ("no type", stream("", "{}"), 415, "unsupported_media_type"),
        ("a form", stream("Content-Type: text/plain\r\n", "{}"), 415, "unsupported_media_type"),
        (
            "gzip",
            stream(&format!("{JSON}Content-Encoding: gzip\r\n"), "{}"),
            415,
            "unsupported_content_encoding",
        ),
        ("a body too large", stream(JSON, &"x".repeat(limit + 1)), 413, "payload_too_large"),
        ("too many first commands", stream(JSON, &many), 413, "too_many_commands"),
        ("GET of a stream", get("/connection/http_stream").into(), 405, "method_not_allowed"),
        ("no command", get("/connection/sse").into(), 400, "missing_parameter"),
        ("two of them", get("/connection/sse?cf_connect=1&cf_connect=2").into(), 400, "repeated_parameter"),
        ("a command too large", Way::Sse.request(&"x".repeat(limit + 1), ""), 413, "payload_too_large"),
        ("more behind it", Way::Sse.request(and_publish, ""), 400, "too_many_commands"),
        ("a foreign page", Way::Sse.request("{}", "Origin: https://evil.example\r\n"), 403, "origin_denied"),
        ("another", Way::HttpStream.request("{}", "Origin: https://evil.example\r\n"), 403, "origin_denied"),
        ("no type of commands", post("/emulation", "", own("{}")), 415, "unsupported_media_type"),
        ("protobuf commands", post("/emulation", octets, "x"), 415, "unsupported_media_type"),
        ("GET of commands", get("/emulation").into(), 405, "method_not_allowed"),
        ("no JSON", say("{\"session\":".into()), 400, "invalid_json"),
        ("no object", say("[]".into()), 400, "invalid_json"),
        ("nothing", say(String::new()), 400, "invalid_json"),
        ("no session", say(json!({"node": "node-1", "data": "{}"}).to_string()), 400, "missing_field"),
        ("no node", say(json!({"session": nobody, "data": "{}"}).to_string()), 400, "missing_field"),
        ("no data", say(json!({"session": nobody, "node": "node-1"}).to_string()), 400, "missing_field"),
        (
            "data that is no text",
            say(json!({"session": nobody, "node": "node-1", "data": {}}).to_string()),
            400,
            "invalid_field",
        ),
        ("nobody", say(own("{}").replace(&client.session, nobody)), 404, "unknown_session"),
        ("no id", say(own("{}").replace(&client.session, "x")), 404, "unknown_session"),
        ("an unknown node", say(own("{}").replace("node-1", "node-2")), 404, "unknown_session"),
        ("no node's name", say(own("{}").replace("node-1", "a b")), 404, "unknown_session"),
        ("commands too large", say(own(&"x".repeat(limit + 1))), 413, "payload_too_large"),
        ("a request too large", say(own(&"x".repeat(3 * limit))), 413, "payload_too_large"),
        ("too many commands", say(own(&many)), 413, "too_many_commands"),
    ] {
        let answer = Wire::connect(server.address).await.ask(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.body);
        answer.assert_problem(name);
    }
    assert_eq!(client.say(&"{}\n".repeat(256)).await.status, 204, "as many as may be");
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_by_a_push() {
    let server = server(SessionSettings { stale_after: SHORT, ..SessionSettings::default() }).await;
    let connect = r#"{"id":1,"connect":{}}"#;
    for way in Way::BOTH {
        for (name, first, code) in [
            ("no command", "x", 3501),
            ("nothing", "", 3501),
            ("not connect", r#"{"id":1,"subscribe":{"channel":"events:*"}}"#, 3501),
            ("two connects", &format!("{connect}\n{connect}"), 3501),
            ("a pong nobody asked for", &format!("{connect}\n{{}}"), 3501),
            ("a connect that is none, and no other", r#"{"id":1,"connect":7}"#, 3502),
        ] {
            if matches!(way, Way::Sse) && first.contains('\n') {
                // It is refused before there is a session.
                continue;
            }
            let mut client = StreamClient::open(&server, way, first).await;
            assert_eq!(client.end().await.0, code, "{way:?} {name}");
            assert!(client.wire.is_closed().await);
        }
        for (name, then, code) in [
            ("a second connect", connect, 3501),
            ("an empty frame", "", 3501),
            ("a line that is empty", "\n\n", 3501),
            ("no command", "x", 3501),
            ("no UTF-8 where it counts", "{\"id\":2,\"subscribe\":{\"channel\":\"\"}}", 3501),
        ] {
            let mut client = StreamClient::connect(&server, way).await;
            assert_eq!(client.say(then).await.status, 204, "{name}");
            assert_eq!(client.end().await.0, code, "{way:?} {name}");
        }
    }
    assert!(metric(&server, "num_server_disconnects_total{code=\"3501\"} 18").await);
}

#[tokio::test]
async fn pings_orders_and_the_end_of_the_server_are_as_on_a_websocket() {
    let quick = SessionSettings {
        ping_interval: SHORT,
        pong_wait: Duration::from_millis(20),
        ..SessionSettings::default()
    };
    let server_of_pings = server(quick).await;
    let mut server = server(SessionSettings::default()).await;
    for way in Way::BOTH {
        let mut client = StreamClient::connect(&server_of_pings, way).await;
        assert_eq!(client.any_line().await, Some(json!({})));
        assert_eq!(client.end().await, (3012, "no pong".into()));

        let mut client = StreamClient::connect(&server, way).await;
        let target = format!("/v1/connections/{}?code=4600&reason=%22bye%22", client.client);
        assert_eq!(delete(&server, &target).await.status, 200);
        assert_eq!(client.end().await, (4600, "\"bye\"".into()));
    }
    let mut clients = Vec::new();
    for way in Way::BOTH.into_iter().cycle().take(12) {
        clients.push(StreamClient::connect(&server, way).await);
    }
    server.stop();
    for client in &mut clients {
        assert_eq!(client.end().await, (3001, "shutdown".into()));
        assert!(client.wire.is_closed().await);
    }
    (&mut server.task).await.unwrap();
}

#[tokio::test]
async fn who_answers_pings_stays() {
    let ping_interval = Duration::from_millis(500);
    let server = server(SessionSettings { ping_interval, ..SessionSettings::default() }).await;
    let mut client = StreamClient::connect(&server, Way::HttpStream).await;
    for _ in 0..3 {
        assert_eq!(client.any_line().await, Some(json!({})));
        assert_eq!(client.say("{}").await.status, 204);
    }
    client.ask(json!({"subscribe": {"channel": "events:*"}})).await;
}

#[tokio::test]
async fn pages_of_an_allowed_origin_may_use_it() {
    let page = "https://app.example";
    let settings = Settings { allowed_origins: vec![page.into()], drain: SHORT, ..Settings::default() };
    let server = Server::with(settings).await;
    let origin = format!("Origin: {page}\r\n");
    let allowed = ("access-control-allow-origin".to_owned(), page.to_owned());
    for way in Way::BOTH {
        let mut wire = Wire::connect(server.address).await;
        wire.send(way.request(r#"{"id":1,"connect":{}}"#, &origin)).await;
        let (status, headers) = wire.head().await.unwrap();
        assert!(status == 200 && headers.contains(&allowed), "{headers:?}");
    }
    for path in ["/connection/sse", "/connection/http_stream", "/emulation"] {
        let mut wire = Wire::connect(server.address).await;
        let answer = wire.ask(format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n{origin}\r\n")).await;
        assert_eq!((answer.status, answer.header(&allowed.0)), (204, Some(page)), "{path}");
        assert_eq!(answer.header("access-control-max-age"), Some("300"));
        assert!(answer.header("access-control-allow-headers").unwrap().contains("content-type"));
    }
    let body = json!({"session": "x", "node": "node-1", "data": ""}).to_string();
    let answer =
        Wire::connect(server.address).await.ask(post("/emulation", &format!("{JSON}{origin}"), body)).await;
    assert_eq!(
        (answer.status, answer.header(&allowed.0)),
        (404, Some(page)),
        "a page reads that it is to connect again"
    );
}

#[tokio::test]
async fn as_many_as_may_be_and_as_much_as_one_reads() {
    let session =
        SessionSettings { emulated_max: 2, message_bytes_max: 4 << 10, ..SessionSettings::default() };
    let server = server(session).await;
    let first = StreamClient::connect(&server, Way::Sse).await;
    let mut second = StreamClient::connect(&server, Way::HttpStream).await;
    for way in Way::BOTH {
        let answer = Wire::connect(server.address).await.ask(way.request("{}", "")).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_sessions"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let message = "x".repeat(3 << 10);
    let publish = json!({"id": 9, "publish": {"channel": "chat:x", "data": message}}).to_string();
    // While the log answers nothing the session reads no more, and so does who waits for it.
    let held = server.log.hold();
    let mut taken = 0;
    let busy = loop {
        let answer = second.say(&publish).await;
        match answer.status {
            204 => taken += 1,
            _ => break answer,
        }
    };
    assert_eq!((busy.status, busy.code().as_str()), (429, "session_busy"));
    // One that is carried out, and one that waits to be read.
    assert!((1..=2).contains(&taken), "{taken}");
    drop(held);
    for _ in 0..taken {
        assert_eq!(second.line().await["publish"], json!({}));
    }
    assert_eq!(second.ask(json!({"publish": {"channel": "chat:x", "data": 1}})).await["publish"], json!({}));
    drop((first, second));
    while Wire::connect(server.address).await.ask(Way::Sse.request("x", "")).await.status != 200 {}
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() {
    let server = Server::start().await;
    let mut slow = StreamClient::connect(&server, Way::HttpStream).await;
    slow.ask(json!({"subscribe": {"channel": "events:*"}})).await;
    let big = "x".repeat(50 << 10);
    let mut wire = Wire::connect(server.address).await;
    let lines: String = (0..400).map(|n| event("a", &format!("[{n},\"{big}\"]")) + "\n").collect();
    let kind = "Content-Type: application/x-ndjson\r\n";
    assert_eq!(wire.ask(post("/v1/events", kind, lines)).await.json()["stored"], 400);
    for n in 0..400 {
        assert_eq!(slow.publication().await["pub"]["data"]["data"][0], n);
    }
}

#[tokio::test]
async fn a_slow_live_client_is_told_and_ended_alone() {
    let server = Server::start().await;
    let mut slow = StreamClient::connect(&server, Way::HttpStream).await;
    let mut fast = StreamClient::connect(&server, Way::Sse).await;
    slow.ask(json!({"subscribe": {"channel": "ai:*"}})).await;
    fast.ask(json!({"subscribe": {"channel": "ai:*"}})).await;
    let payload = bytes::Bytes::from(format!("\"{}\"", "x".repeat(100 << 10)));
    for n in 0..400 {
        let channel = Channel::new(&format!("ai:{n}")).unwrap();
        server.bus.publish(vec![Message { channel, payload: payload.clone() }]);
        assert_eq!(fast.publication().await["pub"]["channel"], format!("ai:{n}"));
    }
    assert_eq!(slow.end().await, (3008, "slow".into()));
}

/// Commands reach the session through any node; of another run of a node, or of none, there is nothing to reach.
#[tokio::test]
async fn commands_go_through_any_node() {
    let cluster = Cluster::new();
    let servers = [cluster.node(1).await, cluster.node(2).await, cluster.node(3).await];
    cluster.until_all_know(&servers.iter().collect::<Vec<_>>()).await;
    for way in Way::BOTH {
        for (at, owner) in servers.iter().enumerate() {
            let mut client = StreamClient::connect(owner, way).await;
            for door in servers.iter().cycle().skip(at).take(3) {
                client.door = door.address;
                let channel = format!("events:repo:{}", door.id);
                let reply = client.ask(json!({"subscribe": {"channel": channel}})).await;
                assert!(reply["subscribe"].is_object(), "{reply}");
                store(door, door.id.as_str(), "7").await;
                assert_eq!(client.publication().await["channel"], channel);
                let reply = client.ask(json!({"unsubscribe": {"channel": channel}})).await;
                assert_eq!(reply["unsubscribe"], json!({}));
            }
        }
    }
    let client = StreamClient::connect(&servers[0], Way::Sse).await;
    let mut body = json!({"session": client.session, "node": "node-9", "data": "{}"});
    let answer = emulation(&servers[1], &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_session"));
    // Whether a node has such a session only that node knows: what reaches none is dropped there.
    body["node"] = "node-1".into();
    body["session"] = "0b7f6f0e-6a6b-4f0e-9f3d-1c2b3a495867".into();
    assert_eq!(emulation(&servers[1], &body).await.status, 204);
    while !metric(&servers[0], "emulation_requests_total{outcome=\"dropped\"} 1").await {}
    assert!(metric(&servers[1], "emulation_requests_total{outcome=\"refused\"} 1").await);
}

/// What anybody may put on the bus harms no session.
#[tokio::test]
async fn what_is_no_command_on_the_bus_is_dropped() {
    let cluster = Cluster::new();
    let server = cluster.node(1).await;
    let mut client = StreamClient::connect(&server, Way::HttpStream).await;
    let session = client.session.clone();
    let long = format!("{session}\n{}", "x".repeat((64 << 10) + 1));
    let many = format!("{session}\n{}", "{}\n".repeat(257));
    let payloads: [&[u8]; 7] =
        [b"", b"\n", b"x\n{}", b"\xff\n{}", session.as_bytes(), long.as_bytes(), many.as_bytes()];
    for payload in payloads {
        let channel = Channel::new("dualstream:node:node-1").unwrap();
        cluster.bus.publish(vec![Message { channel, payload: bytes::Bytes::copy_from_slice(payload) }]);
    }
    let outcomes = async |outcome: &str| {
        let name = format!("dualstream_client_emulation_requests_total{{outcome=\"{outcome}\"}} ");
        let page = ask(&server, "/metrics").await.body;
        page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<usize>().unwrap()
    };
    while outcomes("dropped").await + outcomes("received").await < payloads.len() {}
    assert_eq!(outcomes("received").await, 0);
    assert!(client.ask(json!({"subscribe": {"channel": "events:*"}})).await["subscribe"].is_object());
    // Nor may a client listen there.
    for channel in ["dualstream:node:node-1", "dualstream:*"] {
        let refused = client.ask(json!({"subscribe": {"channel": channel}})).await;
        assert_eq!(refused["error"]["code"], 102, "{refused}");
    }
}

#[tokio::test]
async fn without_a_shared_bus_only_the_owner_takes_commands_and_says_so() {
    let cluster = Cluster::new();
    let (first, second) = (cluster.with(1, None).await, cluster.with(2, None).await);
    let mut client = StreamClient::connect(&first, Way::HttpStream).await;
    assert!(client.ask(json!({"subscribe": {"channel": "events:*"}})).await["subscribe"].is_object());
    client.door = second.address;
    let answer = client.say(r#"{"id":7,"unsubscribe":{"channel":"events:*"}}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "bus_needed"));
    assert!(answer.json()["mend"].as_str().unwrap().contains("--redis"), "{}", answer.body);
    client.door = first.address;
    assert!(client.ask(json!({"unsubscribe": {"channel": "events:*"}})).await["unsubscribe"].is_object());
}

/// A client is told to connect again at once where its commands can reach nobody.
#[tokio::test]
async fn a_bus_or_a_registry_that_is_away_is_told() {
    let cluster = Cluster::new();
    let (first, second) = (cluster.node(1).await, cluster.node(2).await);
    cluster.until_all_know(&[&first, &second]).await;
    let mut client = StreamClient::connect(&first, Way::HttpStream).await;
    client.door = second.address;
    assert!(client.ask(json!({"subscribe": {"channel": "events:*"}})).await["subscribe"].is_object());
    cluster.bus.close();
    let answer = client.say("{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "forwarding_unavailable"));
    client.door = first.address;
    assert!(client.ask(json!({"unsubscribe": {"channel": "events:*"}})).await["unsubscribe"].is_object());

    let cluster = Cluster::new();
    let other = cluster.away(3).await;
    client.door = other.address;
    let answer = client.say("{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "redis_unavailable"));
    client.door = first.address;
    assert!(client.ask(json!({"subscribe": {"channel": "events:*"}})).await["subscribe"].is_object());
}

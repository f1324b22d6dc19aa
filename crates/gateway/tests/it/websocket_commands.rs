//! Commands of the client protocol: each gets the reply, or the end, that the protocol wants.

use crate::peer::Peer;
use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};
use dualstream_gateway::{SessionSettings, Settings};
use serde_json::{Value, json};

const PATH: &str = "/connection/websocket";
const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

#[tokio::test]
async fn connecting() {
    let server = Server::start().await;
    let mut peer = Peer::open(server.address, PATH, "Sec-WebSocket-Protocol: centrifuge-json\r\n").await;
    peer.say(
        r#"{"id":7,"connect":{"token":"t","data":{"a":1},"name":"js","version":"5","headers":{},"subs":{}}}"#,
    )
    .await;
    let reply = peer.line().await;
    let connected = reply["connect"].as_object().unwrap();
    let names: Vec<&str> = connected.keys().map(String::as_str).collect();
    assert_eq!(names, ["client", "node", "ping", "pong", "session", "version"]);
    assert_eq!((&reply["id"], &connected["ping"], &connected["pong"]), (&json!(7), &json!(25), &json!(true)));
    assert_ne!(connected["client"], connected["session"]);
    let mut peer =
        Peer::open(server.address, "/connection/websocket?cf_ws_frame_ping_pong=true&own=1", "").await;
    peer.say(CONNECT).await;
    let reply = peer.line().await;
    assert!(reply["connect"]["ping"].is_null() && reply["connect"]["pong"].is_null(), "{reply}");
}

#[tokio::test]
async fn what_is_out_of_order_or_malformed_ends_the_connection() {
    let server = Server::start().await;
    let with = |line: &str| format!("{CONNECT}\n{line}");
    let deep = format!(r#"{{"id":2,"rpc":{{"data":{}1{}}}}}"#, "[".repeat(90), "]".repeat(90));
    for (text, code) in [
        (String::new(), 3501),
        ("\n".into(), 3501),
        ("null".into(), 3501),
        ("{}".into(), 3501),
        ("garbage".into(), 3501),
        (r#"{"id":1,"subscribe":{"channel":"events:a:b"}}"#.into(), 3501),
        (r#"{"id":1,"rpc":{}}"#.into(), 3501),
        (r#"{"send":{}}"#.into(), 3501),
        (r#"{"id":"1","connect":{}}"#.into(), 3501),
        (r#"{"connect":{}}"#.into(), 3501),
        (with(CONNECT), 3501),
        (with("\n{}"), 3501),
        (with("{}"), 3501),
        (with("x"), 3501),
        (with(&deep), 3501),
        (with(r#"{"subscribe":{"channel":"events:a:b"}}"#), 3501),
        (with(r#"{"id":2,"subscribe":{"channel":""}}"#), 3501),
        (with(r#"{"id":2,"subscribe":{}}"#), 3501),
        (with(r#"{"id":2,"publish":{"data":1}}"#), 3501),
        (with(r#"{"id":-2,"publish":{"data":1}}"#), 3501),
        (with(r#"{"id":2,"id":2,"rpc":{}}"#), 3501),
        (format!("{}\n{}", r#"{"id":1,"connect":5}"#, r#"{"id":2,"connect":{}}"#), 3501),
    ] {
        let mut peer = Peer::open(server.address, PATH, "").await;
        peer.say(&text).await;
        assert_eq!(peer.end().await, (code, "bad request".into()), "{text:.80}");
    }
}

#[tokio::test]
async fn each_command_gets_its_reply() {
    let session = SessionSettings { errors_per_minute: 1_000, ..SessionSettings::default() };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    let mut peer = Peer::connect(server.address).await;
    let long = "x".repeat(256);
    let subscribe = |channel: &str| json!({"subscribe": {"channel": channel}});
    for (command, code, message) in [
        (json!({"dance": {}}), 104, "method not found"),
        (json!({}), 104, "method not found"),
        (json!({"rpc": {"method": "x"}}), 108, "not available"),
        (json!({"ping": {}}), 108, "not available"),
        (json!({"presence": {"channel": "events:a:b"}}), 108, "not available"),
        (json!({"presence_stats": {"channel": "events:a:b"}}), 108, "not available"),
        (json!({"refresh": {"token": "t"}}), 108, "not available"),
        (json!({"sub_refresh": {"channel": "events:a:b"}}), 108, "not available"),
        (subscribe("nope:x"), 102, "unknown channel"),
        (subscribe("bare"), 102, "unknown channel"),
        (subscribe(&format!("events:{long}")), 107, "bad request"),
        (subscribe("events:a b"), 107, "bad request"),
        (subscribe("events:a"), 107, "bad request"),
        (subscribe("*"), 107, "bad request"),
        (subscribe("events:**"), 107, "bad request"),
        (subscribe("events:*:x"), 107, "bad request"),
        (subscribe("events:>"), 107, "bad request"),
        (subscribe(&format!("events:{}", "*".repeat(50))), 107, "bad request"),
        (json!({"subscribe": {"channel": "events:a:b", "type": 1}}), 108, "not available"),
        (json!({"subscribe": {"channel": "events:a:b", "tf": {"op": "and"}}}), 108, "not available"),
        (json!({"subscribe": {"channel": "events:a:b", "data": {"mode": "dead"}}}), 107, "bad request"),
        (json!({"subscribe": {"channel": "events:a:b", "recover": true, "offset": -1}}), 107, "bad request"),
        (json!({"subscribe": {"channel": 5}}), 107, "bad request"),
        (json!({"publish": {"channel": "events:a:b"}}), 107, "bad request"),
        (json!({"publish": {"channel": "events:a:*", "data": 1}}), 107, "bad request"),
        (json!({"publish": {"channel": "nope:x", "data": 1}}), 102, "unknown channel"),
        (json!({"history": {"channel": "events:a:*", "limit": 1}}), 108, "not available"),
        (json!({"history": {"channel": "ai:x", "limit": 1}}), 108, "not available"),
        (
            json!({"history": {"channel": "events:a:b", "limit": 1, "since": {"epoch": "_"}}}),
            112,
            "unrecoverable position",
        ),
    ] {
        let reply = peer.ask(command.clone()).await;
        let error = json!({"code": code, "message": message});
        assert_eq!(reply["error"], error, "{command} {reply}");
    }
    let past =
        r#"{"id":900,"subscribe":{"channel":"events:a:b","recover":true,"offset":18446744073709551616}}"#;
    peer.say(past).await;
    assert_eq!(peer.line().await["error"]["code"], 107);
    peer.say(r#"{"send":{"data":1}}"#).await;
    assert_eq!(peer.ask(json!({"unsubscribe": {"channel": "events:a:b"}})).await["unsubscribe"], json!({}));
    assert!(peer.subscribe("events:a:b").await["epoch"].is_string());
    let again = peer.ask(json!({"subscribe": {"channel": "events:a:b"}})).await;
    assert_eq!(again["error"]["code"], 105);
    assert_eq!(peer.ask(json!({"unsubscribe": {"channel": "events:a:b"}})).await["unsubscribe"], json!({}));
    assert!(peer.subscribe("events:a:b").await["positioned"].as_bool().unwrap());
    let mut wire = Wire::connect(server.address).await;
    let metrics = wire.ask(get("/metrics")).await.body;
    for line in [
        "dualstream_client_connections_inflight{transport=\"websocket\"} 1",
        "dualstream_client_subscriptions_inflight 1",
        "dualstream_client_num_reply_errors_total{code=\"105\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn events_arrive_as_publications() {
    let server = Server::start().await;
    let mut peer = Peer::open(server.address, PATH, "").await;
    let lines = [
        CONNECT,
        r#"{"id":2,"subscribe":{"channel":"events:repo:a"}}"#,
        r#"{"id":3,"subscribe":{"channel":"events:*"}}"#,
        r#"{"id":4,"subscribe":{"channel":"chat:room"}}"#,
    ];
    peer.say(lines.join("\n")).await;
    for id in 1..=4 {
        assert_eq!(peer.line().await["id"], id, "replies come in the order of the commands");
    }
    let mut wire = Wire::connect(server.address).await;
    let stored = wire.ask(post("/v1/events", JSON, event("a", "{\"n\":1}"))).await.json();
    let mut found = [peer.publication().await, peer.publication().await];
    found.sort_by_key(|push| push["channel"].as_str().map(str::len));
    let [pattern, channel] = found;
    let tags = json!({"id": stored["id"], "type": "t", "position": stored["position"]});
    for push in [&pattern, &channel] {
        assert_eq!(push["pub"]["tags"], tags);
        assert_eq!(push["pub"]["data"]["data"], json!({"n": 1}));
        assert_eq!(push["pub"]["data"]["position"], stored["position"]);
    }
    assert_eq!(channel["pub"]["offset"].as_u64(), stored["offset"].as_u64().map(|o| o + 1));
    assert!(channel["pub"]["epoch"].is_null() && channel["pub"]["channel"].is_null());
    assert_eq!(pattern["channel"], "events:*");
    assert_eq!(pattern["pub"]["channel"], "events:repo:a");
    assert!(pattern["pub"]["epoch"].is_string() && pattern["pub"]["offset"].is_u64());
    let reply = peer.ask(json!({"publish": {"channel": "chat:room", "data": {"text": "hi\nthere"}}})).await;
    assert_eq!(reply["publish"], json!({}));
    let push = peer.publication().await;
    assert_eq!(
        (&push["channel"], &push["pub"]["data"]),
        (&json!("chat:room"), &json!({"text": "hi\nthere"}))
    );
    assert_eq!(push["pub"]["tags"]["type"], "message");
}

#[tokio::test]
async fn live_items_and_bus_only_channels_have_no_positions() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    let live = json!({"subscribe": {"channel": "events:repo:*", "data": {"mode": "live"}}});
    assert_eq!(peer.ask(live).await["subscribe"], json!({}));
    assert_eq!(peer.subscribe("ai:stream:1").await, json!({}));
    let recovering = peer.recover("ai:*", 3, "e").await;
    assert_eq!(recovering, json!({"was_recovering": true}));
    let mut wire = Wire::connect(server.address).await;
    let stored = wire.ask(post("/v1/events", JSON, event("a", "1"))).await.json();
    let push = peer.publication().await;
    assert_eq!(push["pub"]["channel"], "events:repo:a");
    assert_eq!(
        push["pub"]["data"],
        json!({"id": stored["id"], "type": "t", "source_id": "a", "position": stored["position"]})
    );
    assert!(push["pub"]["offset"].is_null());
    peer.ask(json!({"publish": {"channel": "ai:stream:1", "data": {"token": "x"}}})).await;
    let mut found = [peer.publication().await, peer.publication().await];
    found.sort_by_key(|push| push["channel"].as_str().map(str::len));
    let data = json!({"token": "x"});
    assert_eq!(found[0], json!({"channel": "ai:*", "pub": {"data": data, "channel": "ai:stream:1"}}));
    assert_eq!(found[1], json!({"channel": "ai:stream:1", "pub": {"data": data}}));
}

#[tokio::test]
async fn history_has_pages_both_ways() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    for n in 0..10 {
        peer.ask(json!({"publish": {"channel": "chat:room", "data": n}})).await;
    }
    let history = async |peer: &mut Peer, mut wanted: Value| {
        wanted["channel"] = "chat:room".into();
        let reply = peer.ask(json!({"history": wanted})).await;
        let page = reply["history"].clone();
        assert!(page.is_object(), "{reply}");
        let publications = page["publications"].as_array().unwrap().clone();
        let numbers: Vec<u64> = publications.iter().map(|p| p["data"].as_u64().unwrap()).collect();
        (numbers, page)
    };
    let (none, top) = history(&mut peer, json!({})).await;
    assert_eq!((none.len(), &top["offset"]), (0, &json!(10)));
    let epoch = top["epoch"].clone();
    let at = |offset: u64| json!({"offset": offset, "epoch": epoch});
    for (wanted, numbers) in [
        (json!({"limit": -1}), (0..10).collect::<Vec<u64>>()),
        (json!({"limit": 3}), vec![0, 1, 2]),
        (json!({"limit": 3, "reverse": true}), vec![9, 8, 7]),
        (json!({"limit": 3, "since": at(4)}), vec![4, 5, 6]),
        (json!({"limit": 3, "since": at(0)}), vec![0, 1, 2]),
        (json!({"limit": 3, "since": {"offset": 8}}), vec![8, 9]),
        (json!({"limit": 3, "since": at(10)}), vec![]),
        (json!({"limit": 3, "since": at(4), "reverse": true}), vec![2, 1, 0]),
        (json!({"limit": 3, "since": at(1), "reverse": true}), vec![]),
    ] {
        let (found, page) = history(&mut peer, wanted.clone()).await;
        assert_eq!(found, numbers, "{wanted}");
        assert_eq!((&page["offset"], &page["epoch"]), (&json!(10), &epoch));
    }
    for since in [json!({"offset": 11, "epoch": epoch}), json!({"offset": 1, "epoch": "0000000000000001"})] {
        let wanted = json!({"history": {"channel": "chat:room", "limit": 3, "since": since}});
        assert_eq!(peer.ask(wanted).await["error"]["code"], 112, "{since}");
    }
}

#[tokio::test]
async fn an_id_may_be_used_again_and_patterns_may_overlap() {
    let server = Server::start().await;
    let mut peer = Peer::connect(server.address).await;
    for channel in ["events:*", "events:repo:*", "events:repo:a"] {
        peer.say(format!(r#"{{"id":7,"subscribe":{{"channel":"{channel}"}}}}"#)).await;
        let reply = peer.line().await;
        assert!(reply["id"] == 7 && reply["subscribe"].is_object(), "{reply}");
    }
    let mut wire = Wire::connect(server.address).await;
    wire.ask(post("/v1/events", JSON, event("a", "1"))).await;
    let mut channels = Vec::new();
    for _ in 0..3 {
        channels.push(peer.publication().await["channel"].clone());
    }
    channels.sort_by_key(|channel| channel.to_string());
    assert_eq!(channels, ["events:*", "events:repo:*", "events:repo:a"]);
}

#[tokio::test]
async fn oversize_and_odd_commands_get_their_answer() {
    let session = SessionSettings { errors_per_minute: 1_000, ..SessionSettings::default() };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    let mut peer = Peer::connect(server.address).await;
    let long = "x".repeat(60_000);
    let keys: String = (0..5_000).map(|n| format!(r#""k{n}":1,"#)).collect();
    for (line, code) in [
        (format!(r#"{{"id":50,"subscribe":{{"channel":"events:repo:{long}"}}}}"#), 107),
        (format!(r#"{{"id":50,"unsubscribe":{{"channel":7}},"x":"{long}"}}"#), 107),
        (r#"{"id":50,"subscribe":{"channel":"chat:x","flag":1.5}}"#.into(), 107),
        (r#"{"id":50,"subscribe":{"channel":"chat:x","recover":"yes"}}"#.into(), 107),
        (r#"{"id":50,"subscribe":{"channel":"chat:x","recover":true,"epoch":5}}"#.into(), 107),
        (r#"{"id":50,"subscribe":["chat:x"]}"#.into(), 107),
        (r#"{"id":50,"subscribe":"chat:x"}"#.into(), 107),
        (r#"{"id":50,"history":{"channel":"chat:x","limit":2147483648}}"#.into(), 107),
        (r#"{"id":50,"history":{"channel":"chat:x","since":[]}}"#.into(), 107),
        (r#"{"id":50,"publish":{"channel":"chat:x","data":1,"type":1}}"#.into(), 108),
        (format!(r#"{{"id":50,"rpc":{{{keys}"end":1}}}}"#), 108),
    ] {
        peer.say(&line).await;
        let reply = peer.line().await;
        assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(50), &json!(code)), "{line:.90}");
    }
    assert_eq!(
        peer.ask(json!({"subscribe": {"channel": "chat:x", "more": null}})).await["error"],
        Value::Null
    );
}

#[tokio::test]
async fn a_connection_has_its_limits() {
    let session = SessionSettings {
        channels_max: 5,
        patterns_max: 2,
        commands_burst: 40,
        commands_per_second: 1,
        errors_per_minute: 6,
        ..SessionSettings::default()
    };
    let server = Server::with(Settings { session, ..Settings::default() }).await;
    let mut peer = Peer::connect(server.address).await;
    let subscribe = |channel: &str| json!({"subscribe": {"channel": channel}});
    for channel in ["events:a:*", "events:b:*", "chat:1", "chat:2"] {
        peer.subscribe(channel).await;
    }
    assert_eq!(peer.ask(subscribe("events:c:*")).await["error"]["code"], 106);
    peer.subscribe("chat:3").await;
    assert_eq!(peer.ask(subscribe("chat:4")).await["error"]["code"], 106);
    peer.ask(json!({"unsubscribe": {"channel": "chat:1"}})).await;
    peer.subscribe("chat:4").await;
    for _ in 0..4 {
        assert_eq!(peer.ask(json!({"rpc": {}})).await["error"]["code"], 108);
    }
    peer.command(json!({"rpc": {}})).await;
    assert_eq!(peer.end().await, (3509, "too many errors".into()));
    let mut peer = Peer::connect(server.address).await;
    // In one message, so that no second passes between them, which would allow one more.
    let commands = (1..=41).map(|id| json!({"id": id, "unsubscribe": {"channel": "x"}}).to_string());
    peer.say(commands.collect::<Vec<_>>().join("\n")).await;
    for id in 1..=40 {
        assert_eq!(peer.line().await, json!({"id": id, "unsubscribe": {}}));
    }
    let refused = peer.line().await;
    assert_eq!(refused["id"], 41);
    assert_eq!(refused["error"], json!({"code": 111, "message": "too many requests", "temporary": true}));
    peer.say([r#"{"id":99,"unsubscribe":{"channel":"x"}}"#; 60].join("\n")).await;
    assert_eq!(peer.end().await, (3013, "too many requests".into()));
}

//! What is wrong with a request, over a raw socket: each row gets its answer, and the server goes on.

use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};

/// A request, and what it is answered.
type Row = (&'static str, Vec<u8>, u16, &'static str);

fn events(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("/v1/events", JSON, body)
}

fn raw(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn bodies() -> Vec<Row> {
    let good = event("o/r", "1");
    let nested = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    let keys: Vec<String> = (0..10_001).map(|i| format!("\"{i}\":0")).collect();
    let too_many = format!("[{}]", vec!["1"; 1_001].join(","));
    vec![
        ("not JSON", events("{"), 400, "invalid_json"),
        ("empty", events(""), 400, "invalid_json"),
        ("garbage after", events(format!("{good} x")), 400, "invalid_json"),
        ("BOM", events(format!("\u{feff}{good}")), 400, "invalid_json"),
        ("NaN", events(event("o/r", "NaN")), 400, "invalid_json"),
        ("duplicate keys", events(event("o/r", r#"{"a":1,"a":2}"#)), 400, "invalid_json"),
        ("not UTF-8", events(b"{\"type\":\"\xff\"}"), 400, "invalid_json"),
        ("lone surrogate", events(event("o/r", r#""\ud800""#)), 400, "invalid_json"),
        ("too deep", events(event("o/r", &nested)), 400, "too_deep"),
        ("too many keys", events(event("o/r", &format!("{{{}}}", keys.join(",")))), 400, "too_large"),
        ("1 MB number", events(event("o/r", &"1".repeat(900_000))), 400, "too_large"),
        ("unknown field", events(r#"{"kind":"t"}"#), 400, "unknown_field"),
        ("missing field", events("{}"), 400, "missing_field"),
        ("number for a string", events(r#"{"type":1}"#), 400, "invalid_field"),
        ("bad source_type", events(good.replace("repo", "Repo")), 400, "invalid_source_type"),
        ("empty source_id", events(event("", "1")), 400, "invalid_source_id"),
        ("star in source_id", events(event("a*", "1")), 400, "invalid_source_id"),
        ("bidi in source_id", events(event("a\u{202e}b", "1")), 400, "invalid_source_id"),
        ("NUL in source_id", events(event("a\\u0000b", "1")), 400, "invalid_source_id"),
        ("181 bytes of source_id", events(event(&"a".repeat(181), "1")), 400, "invalid_source_id"),
        ("line end in type", events(good.replace("\"t\"", "\"a\\nb\"")), 400, "invalid_type"),
        ("empty type", events(good.replace("\"t\"", "\"\"")), 400, "invalid_type"),
        (
            "256 bytes of type",
            events(good.replace("\"t\"", &format!("\"{}\"", "a".repeat(256)))),
            400,
            "invalid_type",
        ),
        ("empty id", events(good.replace("\"data\"", "\"id\":\"\",\"data\"")), 400, "invalid_id"),
        (
            "129 bytes of id",
            events(good.replace("\"data\"", &format!("\"id\":\"{}\",\"data\"", "a".repeat(129)))),
            400,
            "invalid_id",
        ),
        ("id that is a number", events(good.replace("\"data\"", "\"id\":1,\"data\"")), 400, "invalid_field"),
        (
            "time without a zone",
            events(good.replace("\"data\"", "\"time\":\"2026-01-01T00:00:00\",\"data\"")),
            400,
            "invalid_time",
        ),
        (
            "equal keys, one escaped",
            events(good.replace("\"data\"", "\"\\u0064ata\":1,\"data\"")),
            400,
            "invalid_json",
        ),
        ("time", events(good.replace("\"data\"", "\"time\":\"today\",\"data\"")), 400, "invalid_time"),
        ("too many events", events(too_many), 400, "too_many_events"),
        (
            "event over 900 KiB",
            events(event("o/r", &format!("\"{}\"", "a".repeat(930_000)))),
            413,
            "event_too_large",
        ),
        ("body over 1 MiB", events(vec![b' '; (1 << 20) + 1]), 413, "payload_too_large"),
        ("no content type", post("/v1/events", "", &good), 415, "unsupported_media_type"),
        (
            "form",
            post("/v1/events", "Content-Type: application/x-www-form-urlencoded\r\n", "a=1"),
            415,
            "unsupported_media_type",
        ),
        (
            "charset",
            post("/v1/events", "Content-Type: application/json; charset=latin1\r\n", &good),
            415,
            "unsupported_media_type",
        ),
        (
            "gzip",
            post("/v1/events", &format!("{JSON}Content-Encoding: gzip\r\n"), &good),
            415,
            "unsupported_content_encoding",
        ),
        ("unknown parameter", post("/v1/events?result=stream", JSON, &good), 400, "unknown_parameter"),
        (
            "CloudEvent without id",
            post(
                "/v1/events",
                "Content-Type: application/cloudevents+json\r\n",
                r#"{"specversion":"1.0","type":"t","source":"/a/b"}"#,
            ),
            400,
            "missing_field",
        ),
        (
            "65 extensions",
            post(
                "/v1/events",
                "Content-Type: application/cloudevents+json\r\n",
                format!(
                    r#"{{{}"specversion":"1.0","id":"1","type":"t","source":"/a/b"}}"#,
                    (0..65).map(|i| format!("\"x{i}\":1,")).collect::<String>()
                ),
            ),
            400,
            "too_many_extensions",
        ),
        (
            "CloudEvent with an attribute twice",
            post("/v1/events", &format!("{JSON}ce-specversion: 1.0\r\nce-id: 1\r\nce-id: 2\r\n"), "1"),
            400,
            "invalid_header",
        ),
        (
            "CloudEvent 0.3",
            post(
                "/v1/events",
                "Content-Type: application/cloudevents+json\r\n",
                r#"{"specversion":"0.3","id":"1","type":"t","source":"/a/b"}"#,
            ),
            400,
            "unsupported_specversion",
        ),
        (
            "CloudEvent of a foreign source",
            post(
                "/v1/events",
                "Content-Type: application/cloudevents+json\r\n",
                r#"{"specversion":"1.0","id":"1","type":"t","source":"urn:x"}"#,
            ),
            422,
            "unmapped_source",
        ),
    ]
}

fn targets() -> Vec<Row> {
    let message = |channel: &str| post(&format!("/v1/channels/{channel}/messages"), JSON, "1");
    vec![
        ("wrong method", raw("DELETE /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"), 405, "method_not_allowed"),
        ("unknown path", raw(&get("/v2/events")), 404, "unknown_path"),
        ("double slash", raw(&get("//v1/events")), 404, "unknown_path"),
        ("dots", raw(&get("/%2e%2e/etc/passwd")), 404, "unknown_path"),
        ("NUL in the path", raw(&get("/v1/events%00")), 404, "unknown_path"),
        ("parameters in the path", raw(&get("/health/live;x")), 404, "unknown_path"),
        ("8 KiB of path", raw(&get(&format!("/{}", "a".repeat(8 << 10)))), 414, "uri_too_long"),
        ("100 KiB of path", raw(&get(&format!("/{}", "a".repeat(100 << 10)))), 414, "uri_too_long"),
        ("bad position", raw(&get("/v1/events/nonsense")), 400, "invalid_position"),
        ("position not UTF-8", raw(&get("/v1/events/%ff")), 400, "invalid_path"),
        ("no channel", raw(&get("/v1/events")), 400, "missing_parameter"),
        ("empty channel", message(""), 400, "invalid_channel"),
        ("NUL in a channel", message("events:a:%00"), 400, "invalid_channel"),
        ("CRLF in a channel", message("events:a:%0d%0a"), 400, "invalid_channel"),
        ("bidi in a channel", message("events:a:%E2%80%AE"), 400, "invalid_channel"),
        ("space around a channel", message("%20events:a:b"), 400, "invalid_channel"),
        ("pattern in a publish", message("events:a:*"), 400, "invalid_channel"),
        ("internal channel", message("$internal:x"), 400, "invalid_channel"),
        ("256 bytes of channel", message(&"a".repeat(256)), 400, "invalid_channel"),
        ("channel not UTF-8", message("events:a:%ff"), 400, "invalid_path"),
        ("bad since", raw(&get("/v1/events?channel=events:*&since=x")), 400, "invalid_position"),
        ("bad time", raw(&get("/v1/events?channel=events:*&since=12:00")), 400, "invalid_time"),
        ("limit 0", raw(&get("/v1/events?channel=events:*&limit=0")), 400, "invalid_parameter"),
        ("limit twice", raw(&get("/v1/events?channel=events:*&limit=1&limit=2")), 400, "repeated_parameter"),
        ("two stars", raw(&get("/v1/stream?channel=events:*:*")), 400, "invalid_pattern"),
        ("recent 301", raw(&get("/v1/stream?channel=events:*&recent=301")), 400, "invalid_parameter"),
        ("unknown mode", raw(&get("/v1/stream?channel=events:*&mode=x")), 400, "invalid_parameter"),
        ("stream of nothing", raw(&get("/v1/stream")), 400, "missing_parameter"),
    ]
}

fn origins() -> Vec<Row> {
    let evil = "evil.example:8000";
    vec![
        (
            "foreign origin",
            post("/v1/events", &format!("{JSON}Origin: https://evil.example\r\n"), event("a", "1")),
            403,
            "origin_denied",
        ),
        (
            "a name of somebody else",
            raw(&get("/v1/topics").replace("Host: x", &format!("Host: {evil}"))),
            403,
            "host_denied",
        ),
        (
            "a page whose name resolves to this machine",
            raw(&get("/v1/events?channel=events:*")
                .replace("Host: x", &format!("Host: {evil}\r\nOrigin: http://{evil}"))),
            403,
            "host_denied",
        ),
        (
            "a name of somebody else in the target",
            raw(&get(&format!("http://{evil}/health/live"))),
            403,
            "host_denied",
        ),
    ]
}

#[tokio::test]
async fn each_bad_request_gets_its_code_and_the_server_goes_on() {
    let server = Server::start().await;
    let mut kept = Wire::connect(server.address).await;
    for (name, request, status, code) in bodies().into_iter().chain(targets()).chain(origins()) {
        let mut wire = Wire::connect(server.address).await;
        wire.send(&request).await;
        let answer = wire.answer().await.unwrap_or_else(|| panic!("{name}: closed without an answer"));
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.body);
        answer.assert_problem(name);
        match answer.header("connection") {
            Some("close") => assert!(wire.answer().await.is_none(), "{name}: answered after the end"),
            _ => {
                assert_eq!(wire.ask(get("/health/live")).await.status, 200, "{name}: on the same connection")
            }
        }
        assert_eq!(kept.ask(get("/health/live")).await.status, 200, "after {name}");
    }
    let events = dualstream_core::topic::TopicName::new("events").unwrap();
    assert_eq!(server.log.count(&events), 0, "nothing of all this was stored");
}

#[tokio::test]
async fn problems_name_field_limit_and_index() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let answer = wire.ask(events(event(&"a".repeat(181), "1"))).await.json();
    assert_eq!((answer["field"].as_str(), answer["limit"].as_u64()), (Some("source_id"), Some(180)));
    let body = format!("[{},{}]", event("a", "1"), event("b*", "1"));
    assert_eq!(wire.ask(events(body)).await.json()["index"], 1);
    assert_eq!(wire.ask(events("[1,\n {]")).await.json()["index"], 1);
    let answer = wire.ask("PUT /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let mut methods: Vec<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
    methods.sort_unstable();
    assert_eq!(methods, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = Server::start().await;
    for (head, body) in [
        ("Content-Length: 5000000000", String::new()),
        ("Content-Length: 5000000000\r\nExpect: 100-continue", String::new()),
        ("Transfer-Encoding: chunked", format!("{:x}\r\n{}", 2 << 20, " ".repeat(2 << 20))),
    ] {
        let mut wire = Wire::connect(server.address).await;
        wire.send(format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{JSON}{head}\r\n\r\n{body}")).await;
        let answer = wire.answer().await.expect("the answer is not lost to a reset");
        assert_eq!((answer.status, answer.code().as_str()), (413, "payload_too_large"), "{head}");
        assert_eq!(answer.header("connection"), Some("close"), "{head}");
        for _ in 0..16 {
            assert!(
                wire.try_send(vec![b' '; 64 << 10]).await,
                "a peer that still writes is not reset: {head}"
            );
        }
        assert!(wire.is_closed().await);
    }
}

//! Every form in which events come in.

use crate::server::Server;
use crate::wire::{JSON, Wire, event, get, post};
use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind};
use serde_json::{Value, json};

const LINES: &str = "Content-Type: application/x-ndjson\r\n";

fn events(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("/v1/events", JSON, body)
}

fn with_id(id: &str, data: &str) -> String {
    event("o/r", data).replace("\"data\"", &format!("\"id\":\"{id}\",\"data\""))
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

#[tokio::test]
async fn one_event() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let answer = wire.ask(events(event("octo/cat", r#"{"a": [1, "x y"]}"#))).await;
    let receipt = answer.json();
    assert_eq!(
        (answer.status, receipt["topic"].as_str(), receipt["offset"].as_u64()),
        (201, Some("events"), Some(0))
    );
    assert_eq!(receipt["channel"], "events:repo:octo/cat");
    assert!(receipt["duplicate"].is_null() && receipt["partition"].as_u64().unwrap() < 12);
    let found = wire.ask(get(answer.header("location").unwrap())).await;
    assert!(found.body.contains(r#""data":{"a":[1,"x y"]}"#), "{}", found.body);
    let found = found.json();
    for name in ["id", "position"] {
        assert_eq!(found[name], receipt[name]);
    }
    assert_eq!(found["source_id"], "octo/cat");
}

#[tokio::test]
async fn the_same_id_again() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let first = wire.ask(events(with_id("a", "1"))).await.json();
    let again = wire.ask(events(with_id("a", "1"))).await;
    assert_eq!((again.status, &again.json()["position"]), (201, &first["position"]));
    assert_eq!(again.json()["duplicate"], true);
    let other = wire.ask(events(with_id("a", "2"))).await;
    assert_eq!(
        (other.status, other.code().as_str(), other.json()["id"].as_str()),
        (409, "id_conflict", Some("a"))
    );
    let both = wire.ask(events(format!("[{},{}]", with_id("a", "2"), with_id("b", "2")))).await;
    let outcomes = both.json();
    assert_eq!(
        (both.status, &outcomes[0]["status"], &outcomes[1]["status"]),
        (207, &json!(409), &json!(201))
    );
    assert_eq!((&outcomes[0]["code"], &outcomes[0]["id"]), (&json!("id_conflict"), &json!("a")));
}

#[tokio::test]
async fn events_of_one_byte_and_of_900_kib() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    for size in [1, 900 * 1024 - 300] {
        let data = "7".repeat(if size == 1 { 1 } else { 0 })
            + &format!("\"{}\"", "x".repeat(size - 1)).repeat(usize::from(size > 1));
        let answer = wire.ask(events(event("o/r", &data))).await;
        assert_eq!(answer.status, 201, "{size}: {}", answer.body);
        let found = wire.ask(get(answer.header("location").unwrap())).await;
        assert!(found.body.contains(&format!("\"data\":{data},")), "{size}");
    }
}

#[tokio::test]
async fn an_array_is_stored_whole_and_in_order() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let all: Vec<String> = (0..1_000).map(|i| event(&format!("key-{}", i % 97), &i.to_string())).collect();
    let answer = wire.ask(events(format!("[{}]", all.join(",")))).await;
    assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (201, 1_000));
    assert_eq!(server.log.count(&topic("events")), 1_000);
    for key in 0..97 {
        let page = wire.ask(get(&format!("/v1/channels/events:repo:key-{key}/events"))).await.json();
        let data: Vec<u64> =
            page["events"].as_array().unwrap().iter().map(|e| e["data"].as_u64().unwrap()).collect();
        assert!(data.is_sorted() && data.len() >= 10 && data[0] == key, "{data:?}");
    }
    assert_eq!(wire.ask(events("[]")).await.body, "[]");
    let bad = format!("[{},{}]", event("a", "1"), event("b c", "1"));
    assert_eq!(wire.ask(events(bad)).await.json()["index"], 1);
    let large = format!("[{},{}]", event("a", "1"), event("b", &format!("\"{}\"", "x".repeat(925_000))));
    let answer = wire.ask(events(large)).await;
    assert_eq!((answer.status, &answer.json()["index"]), (413, &json!(1)));
    assert_eq!(server.log.count(&topic("events")), 1_000, "nothing of a bad array is stored");
}

#[tokio::test]
async fn lines_are_stored_whatever_their_number() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let mut body = String::new();
    for i in 0..5_000 {
        body += &event(&format!("key-{}", i % 97), &i.to_string());
        body += if i % 3 == 0 { "\r\n" } else { "\n" };
    }
    body += "\nnot an event\n{}\n";
    body += &event("last", "0");
    let answer = wire.ask(post("/v1/events", LINES, &body)).await;
    let summary = answer.json();
    assert_eq!((answer.status, &summary["stored"], &summary["failed"]), (207, &json!(5_001), &json!(2)));
    let failures: Vec<(u64, &str)> = summary["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["line"].as_u64().unwrap(), f["code"].as_str().unwrap()))
        .collect();
    assert_eq!(failures, [(5_002, "invalid_json"), (5_003, "missing_field")]);
    let page = wire.ask(get("/v1/channels/events:repo:key-96/events?limit=1000")).await.json();
    let data: Vec<u64> =
        page["events"].as_array().unwrap().iter().map(|e| e["data"].as_u64().unwrap()).collect();
    assert!(data.is_sorted() && data.len() == 51, "{data:?}");
    let again =
        wire.ask(post("/v1/events", LINES, with_id("a", "1") + "\n" + &with_id("a", "1"))).await.json();
    assert_eq!((&again["stored"], &again["duplicates"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_line_that_is_too_long_fails_alone() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let body = format!("{}\n\"{}\"\n{}\n", event("a", "1"), "x".repeat(2 << 20), event("a", "2"));
    let summary = wire.ask(post("/v1/events", LINES, body)).await.json();
    assert_eq!((&summary["stored"], &summary["failed"]), (&json!(2), &json!(1)), "{summary}");
    let failure = &summary["failures"][0];
    assert_eq!((&failure["line"], &failure["code"]), (&json!(2), &json!("line_too_large")));
}

/// The outcome of a line comes before the next line is written: nothing waits for a batch to fill.
#[tokio::test]
async fn results_are_streamed_to_clients_that_read_while_they_write() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    wire.send(format!(
        "POST /v1/events?results=stream HTTP/1.1\r\nHost: x\r\n{LINES}Transfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.head().await.unwrap().0, 200);
    for line in 1..=3_u64 {
        let text = if line == 2 { "nonsense\n".into() } else { event("o/r", &line.to_string()) + "\n" };
        wire.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
        let outcome: Value = serde_json::from_slice(&wire.chunk().await.unwrap()).unwrap();
        assert_eq!(outcome["line"], line);
        assert_eq!(outcome["status"], if line == 2 { 400 } else { 201 }, "{outcome}");
    }
    wire.send("0\r\n\r\n").await;
    let summary: Value = serde_json::from_slice(&wire.chunk().await.unwrap()).unwrap();
    assert_eq!((&summary["stored"], &summary["failed"]), (&json!(2), &json!(1)));
    assert!(wire.chunk().await.is_none());
}

#[tokio::test]
async fn a_log_that_is_away() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    for (kind, code, status, retryable) in [
        (ErrorKind::Unavailable, "log_unavailable", 503, true),
        (ErrorKind::Overloaded, "overloaded", 503, true),
        (ErrorKind::Full, "storage_full", 507, true),
        (ErrorKind::Unknown, "outcome_unknown", 504, true),
    ] {
        server.log.fail_with(Some(Error::new(kind, code, "for a test")));
        let answer = wire.ask(events(event("o/r", "1"))).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(answer.json()["retryable"], retryable);
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        assert!(status != 504 || answer.json()["id"].is_string(), "{}", answer.body);
    }
    let answer = wire.ask(events(format!("[{},{}]", event("a", "1"), event("b", "1")))).await;
    let outcomes = answer.json();
    assert_eq!((answer.status, &outcomes[1]["status"]), (207, &json!(504)));
    assert!(outcomes[1]["id"].is_string(), "an id made here is needed for a retry: {outcomes}");
    server.log.fail_with(Some(Error::new(ErrorKind::Unavailable, "log_unavailable", "for a test")));
    let answer = wire.ask(events(format!("[{},{}]", event("a", "1"), event("b", "1")))).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "log_unavailable"));
    let body: String = (0..3_000).map(|i| event("k", &i.to_string()) + "\n").collect();
    let before = server.log.refused();
    let summary = wire.ask(post("/v1/events", LINES, body)).await.json();
    assert_eq!(
        (&summary["stored"], &summary["failed"]),
        (&json!(0), &json!(3_000)),
        "every line is accounted for"
    );
    let failures = summary["failures"].as_array().unwrap();
    assert!(failures.len() == 1_000 && failures.iter().all(|f| f["code"] == "log_unavailable"));
    assert_eq!(server.log.refused() - before, 1, "a log that takes nothing is not asked for each batch");
    // Nothing is stored of one topic: the lines behind may be of others.
    let of_one = Error::new(ErrorKind::Unavailable, "log_unavailable", "for a test").with_field("topic");
    server.log.fail_with(Some(of_one));
    let before = server.log.refused();
    let body: String = (0..3_000).map(|i| event("k", &i.to_string()) + "\n").collect();
    assert_eq!(wire.ask(post("/v1/events", LINES, body)).await.json()["failed"], 3_000);
    assert!(server.log.refused() - before > 1, "each batch is tried");
    server.log.fail_with(None);
    assert_eq!(Wire::connect(server.address).await.ask(events(event("o/r", "1"))).await.status, 201);
}

#[tokio::test]
async fn cloudevents_come_back_as_they_were() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let original = json!({
        "specversion": "1.0", "id": "ce-1", "type": "t", "source": "/repo/o/r", "time": "2026-11-21T08:00:00Z",
        "subject": "s", "myext": "x", "number": 7, "datacontenttype": "image/png", "data_base64": "AAEC",
    });
    let answer = wire
        .ask(post("/v1/events", "Content-Type: application/cloudevents+json\r\n", original.to_string()))
        .await;
    assert_eq!(
        (answer.status, answer.json()["channel"].as_str()),
        (201, Some("events:repo:o/r")),
        "{}",
        answer.body
    );
    let location = answer.header("location").unwrap().to_owned();
    let ask = format!(
        "GET {location} HTTP/1.1\r\nHost: x\r\nAccept: text/html, application/cloudevents+json;q=0.9\r\n\r\n"
    );
    let back = wire.ask(ask).await;
    assert_eq!(back.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(back.json(), original);
    assert_eq!(wire.ask(get(&location)).await.json()["data"], json!({"base64": "AAEC"}));
}

#[tokio::test]
async fn cloudevents_in_batches_and_in_headers() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    let one = |id: u32| json!({"specversion": "1.0", "id": id.to_string(), "type": "t", "source": "/repo/o", "data": id});
    let batch = json!([one(1), one(2)]).to_string();
    let answer =
        wire.ask(post("/v1/events", "Content-Type: application/cloudevents-batch+json\r\n", batch)).await;
    assert_eq!((answer.status, answer.json().as_array().unwrap().len()), (201, 2), "{}", answer.body);
    let attributes =
        "ce-specversion: 1.0\r\nce-id: h\r\nce-type: t\r\nce-source: /repo/gr%C3%BCn\r\nce-myext: a%20b\r\n";
    for (kind, body, data) in [
        (
            "Content-Type: application/json\r\n",
            "[1, 2]",
            json!({"datacontenttype": "application/json", "data": [1, 2]}),
        ),
        (
            "Content-Type: text/plain\r\n",
            "hi",
            json!({"datacontenttype": "text/plain", "data_base64": "aGk="}),
        ),
        ("", "", json!({})),
    ] {
        let headers = format!("{attributes}{kind}").replace("ce-id: h", &format!("ce-id: h{}", body.len()));
        let answer = wire.ask(post("/v1/events", &headers, body)).await;
        assert_eq!(
            (answer.status, answer.json()["channel"].as_str()),
            (201, Some("events:repo:grün")),
            "{}",
            answer.body
        );
        let location = answer.header("location").unwrap();
        let ask =
            format!("GET {location} HTTP/1.1\r\nHost: x\r\nAccept: application/cloudevents+json\r\n\r\n");
        let back = wire.ask(ask).await.json();
        assert_eq!(back["myext"], "a b");
        for name in ["datacontenttype", "data", "data_base64"] {
            assert_eq!(back[name], data[name], "{name}");
        }
    }
}

#[tokio::test]
async fn messages_on_channels() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    for (channel, status) in
        [("chat:room/1", 201), ("chat:room%2F1", 201), ("events:repo:o/r", 201), ("ai:stream:1", 202)]
    {
        let answer = wire.ask(post(&format!("/v1/channels/{channel}/messages"), JSON, "{\"a\": 1}")).await;
        assert_eq!(answer.status, status, "{channel}: {}", answer.body);
        if status == 201 {
            assert_eq!(answer.json()["channel"].as_str(), Some(channel.replace("%2F", "/").as_str()));
            let found = wire.ask(get(answer.header("location").unwrap())).await.json();
            assert_eq!((&found["type"], &found["data"]), (&json!("message"), &json!({"a": 1})));
        }
    }
    let answer = wire.ask(post("/v1/channels/nowhere:x/messages", JSON, "1")).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_channel"));
}

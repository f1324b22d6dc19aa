//! Topics over HTTP: what they are, and what may be done to them.

use crate::server::Server;
use crate::wire::{Answer, JSON, Wire, event, post};
use dualstream_core::time::format_rfc3339;
use serde_json::{Value, json};

struct Topics {
    _server: Server,
    wire: Wire,
}

impl Topics {
    async fn start() -> Topics {
        let server = Server::start().await;
        let wire = Wire::connect(server.address).await;
        Topics { _server: server, wire }
    }

    async fn ask(&mut self, method: &str, target: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {length}\r\n\r\n");
        self.wire.ask(head + body).await
    }

    async fn get(&mut self, target: &str) -> Value {
        let answer = self.ask("GET", target, "").await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        answer.json()
    }

    /// Stores events of seven keys.
    async fn publish(&mut self, count: u64) -> Vec<Value> {
        let mut receipts = Vec::new();
        for n in 0..count {
            let event = event(&format!("key-{}", n % 7), &n.to_string());
            let answer = self.wire.ask(post("/v1/events", JSON, event)).await;
            assert_eq!(answer.status, 201);
            receipts.push(answer.json());
        }
        receipts
    }

    #[track_caller]
    fn refused(answer: &Answer, status: u16, code: &str) -> Value {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        answer.json()
    }
}

#[tokio::test]
async fn a_topic_from_its_creation_to_its_end() {
    let mut topics = Topics::start().await;
    let answer = topics.ask("POST", "/v1/topics", r#"{"name":"orders"}"#).await;
    assert_eq!((answer.status, answer.header("location")), (201, Some("/v1/topics/orders")));
    let made = answer.json();
    let offsets: Vec<Value> =
        (0..12).map(|partition| json!({"partition": partition, "earliest": 0, "latest": 0})).collect();
    let expected = json!({
        "name": "orders", "internal": false, "partitions": 12, "records": 0, "bytes": 0, "segments": null,
        "retention_ms": 604_800_000, "retention_bytes": null, "cleanup_policy": "delete",
        "timestamp_type": "LogAppendTime", "epoch": made["epoch"], "namespaces": [],
        "earliest": made["earliest"], "latest": made["latest"], "offsets": offsets,
    });
    assert_eq!(made, expected);
    assert_eq!(topics.get("/v1/topics/orders").await, expected);
    let again = topics.ask("POST", "/v1/topics", r#"{"name":"orders"}"#).await;
    assert_eq!(Topics::refused(&again, 409, "topic_exists")["field"], "name");

    let altered = topics.ask("PATCH", "/v1/topics/orders", r#"{"retention_ms":null,"partitions":24}"#).await;
    let altered = altered.json();
    assert_eq!((&altered["retention_ms"], &altered["partitions"]), (&Value::Null, &json!(24)));
    assert_eq!(altered["offsets"].as_array().unwrap().len(), 24);
    assert_eq!(altered["cleanup_policy"], "delete");
    assert!(altered["warning"].is_null(), "no settings speak of it");

    let answer = topics.ask("DELETE", "/v1/topics/orders", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let gone = topics.ask("GET", "/v1/topics/orders", "").await;
    Topics::refused(&gone, 404, "unknown_topic");
}

#[tokio::test]
async fn the_list_is_short_and_leaves_out_what_is_internal() {
    let mut topics = Topics::start().await;
    topics.publish(20).await;
    topics.ask("POST", "/v1/topics", r#"{"name":"table","cleanup_policy":"compact","partitions":3}"#).await;
    topics._server.log.trim(&dualstream_core::topic::TopicName::new("__guards").unwrap());
    let listed = topics.get("/v1/topics").await;
    let names = |list: &Value| -> Vec<String> {
        list["topics"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&listed), ["events", "table"]);
    assert_eq!(listed["topics"][0]["records"], 20);
    assert_eq!(listed["topics"][0]["namespaces"], json!(["events"]));
    assert!(listed["topics"][0]["offsets"].is_null(), "that is what one topic says");
    let table = &listed["topics"][1];
    assert_eq!((&table["partitions"], &table["retention_ms"]), (&json!(3), &Value::Null));
    let all = topics.get("/v1/topics?internal=true").await;
    assert_eq!(names(&all), ["__guards", "events", "table"]);
    assert_eq!(all["topics"][0]["internal"], true);
}

#[tokio::test]
async fn what_costs_records_or_order_is_refused_with_a_way_around_it() {
    let mut topics = Topics::start().await;
    topics.publish(20).await;
    let raise = r#"{"partitions":24}"#;
    let refused = topics.ask("PATCH", "/v1/topics/events", raise).await;
    let problem = Topics::refused(&refused, 409, "keyed_topic");
    assert!(problem["message"].as_str().unwrap().contains("keys") && problem["field"] == "partitions");
    assert!(problem["mend"].as_str().unwrap().contains("force") && problem["retryable"] == false);
    assert_eq!(topics.get("/v1/topics/events").await["partitions"], 12);
    assert_eq!(topics.ask("PATCH", "/v1/topics/events?force=true", raise).await.json()["partitions"], 24);

    let refused = topics.ask("DELETE", "/v1/topics/events", "").await;
    let problem = Topics::refused(&refused, 409, "topic_in_use");
    assert!(problem["message"].as_str().unwrap().contains("'events'") && problem["mend"].is_string());
    assert_eq!(topics.ask("DELETE", "/v1/topics/events?force=true", "").await.status, 204);

    let internal = topics.ask("POST", "/v1/topics", r#"{"name":"__mine"}"#).await;
    assert_eq!(Topics::refused(&internal, 403, "internal_topic")["field"], "name");
}

#[tokio::test]
async fn a_retention_that_the_settings_take_back_comes_with_a_warning() {
    let mut topics = Topics::start().await;
    topics.publish(1).await;
    let altered = topics.ask("PATCH", "/v1/topics/events", r#"{"retention_bytes":1000}"#).await.json();
    assert_eq!((&altered["retention_bytes"], &altered["retention_ms"]), (&json!(1000), &json!(604_800_000)));
    assert!(altered["warning"].as_str().unwrap().contains("log.retention"));
    // Kafka keeps what it was given, and does not tell sizes.
    topics._server.log.hide_size(&dualstream_core::topic::TopicName::new("events").unwrap());
    let altered = topics.ask("PATCH", "/v1/topics/events", r#"{"retention_bytes":2000}"#).await.json();
    assert_eq!((&altered["retention_bytes"], &altered["bytes"]), (&json!(2000), &json!(null)));
    assert!(altered["warning"].is_null());
}

#[tokio::test]
async fn trimming_says_what_went_and_keeps_what_stands_there() {
    let mut topics = Topics::start().await;
    let receipts = topics.publish(40).await;
    let late = format_rfc3339(crate::tiny_log::FIRST_MS + 10);
    let trim = |before: &str| json!({ "before": before }).to_string();
    let answer = topics.ask("POST", "/v1/topics/events/trim", &trim(&late)).await.json();
    assert_eq!((&answer["trimmed"], &answer["records"]), (&json!(10), &json!(30)));
    let page = topics.get("/v1/events?channel=events:*").await;
    assert_eq!(page["events"][0]["data"], 10);
    // The ends of a topic are places of its channels too.
    let since = answer["earliest"].as_str().unwrap().to_owned();
    let page = topics.get(&format!("/v1/events?channel=events:*&since={since}")).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 30);

    let position = receipts[30]["position"].as_str().unwrap().to_owned();
    let answer = topics.ask("POST", "/v1/topics/events/trim", &trim(&position)).await.json();
    assert_eq!(answer["trimmed"], (10..30).filter(|n| n % 7 == 30 % 7).count());
    assert_eq!(topics.get(&format!("/v1/events/{position}")).await["data"], 30);
    let answer = topics.ask("POST", "/v1/topics/events/trim", &trim("latest")).await.json();
    assert_eq!(answer["records"], 0);

    topics.ask("POST", "/v1/topics", r#"{"name":"other"}"#).await;
    let foreign = topics.ask("POST", "/v1/topics/other/trim", &trim(&position)).await;
    assert_eq!(Topics::refused(&foreign, 410, "epoch_changed")["field"], "before");
}

#[tokio::test]
async fn each_bad_request_is_told_apart() {
    let mut topics = Topics::start().await;
    for (method, target, body, status, code) in [
        ("GET", "/v1/topics/none", "", 404, "unknown_topic"),
        ("GET", "/v1/topics/a%20b", "", 400, "invalid_topic"),
        ("GET", "/v1/topics/%ff", "", 400, "invalid_path"),
        ("GET", "/v1/topics?internal=yes", "", 400, "invalid_parameter"),
        ("GET", "/v1/topics?limit=3", "", 400, "unknown_parameter"),
        ("PUT", "/v1/topics/none", "{}", 405, "method_not_allowed"),
        ("POST", "/v1/topics", "", 400, "invalid_json"),
        ("POST", "/v1/topics", "[]", 400, "invalid_json"),
        ("POST", "/v1/topics", "{}", 400, "missing_field"),
        ("POST", "/v1/topics?force=true", r#"{"name":"a"}"#, 400, "unknown_parameter"),
        ("POST", "/v1/topics", r#"{"name":"a","replicas":3}"#, 400, "unknown_field"),
        (
            "POST",
            "/v1/topics",
            r#"{"name":"events","cleanup_policy":"compact"}"#,
            400,
            "invalid_cleanup_policy",
        ),
        ("PATCH", "/v1/topics/none", r#"{"retention_ms":1}"#, 404, "unknown_topic"),
        ("PATCH", "/v1/topics/none", r#"{"name":"b"}"#, 400, "unknown_field"),
        ("PATCH", "/v1/topics/none?force", "{}", 400, "invalid_parameter"),
        ("DELETE", "/v1/topics/none", "", 404, "unknown_topic"),
        ("DELETE", "/v1/topics/__guards?force=true", "", 403, "internal_topic"),
        ("POST", "/v1/topics/none/trim", r#"{"before":"latest"}"#, 404, "unknown_topic"),
        ("POST", "/v1/topics/none/trim", "{}", 400, "missing_field"),
        ("POST", "/v1/topics/none/trim", r#"{"before":"x"}"#, 400, "invalid_position"),
    ] {
        let answer = topics.ask(method, target, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {target} {body}");
    }
    let form = post("/v1/topics", "Content-Type: text/plain\r\n", r#"{"name":"a"}"#);
    assert_eq!(topics.wire.ask(form).await.status, 415);
    assert!(topics.get("/v1/topics").await["topics"].as_array().unwrap().is_empty(), "nothing was made");
}

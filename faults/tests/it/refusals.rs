//! What is wrong with the way to Kafka or its settings is said at the start, or with the event, in words that name the
//! setting.

use dualstream_faults::http::Connection;
use dualstream_faults::stage::until_page;
use dualstream_faults::{Cluster, Node, Stage};
use dualstream_services::kafka::OldKafka;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_brokers_names_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = dualstream_services::ports::free(1).unwrap()[0].to_string();
    let (code, said) = Node::refused(dir.path(), &["--kafka", &nobody]).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("log.kafka") && said.contains(&nobody) && said.contains("refused"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_topic_names_the_setting() {
    let cluster = Cluster::get().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kafka = cluster.bootstrap();
    // The topic of decisions is there.
    Node::start(dir.path(), "first", &["--kafka".into(), kafka.clone()]).unwrap();
    let args = ["--kafka", &kafka, "--set", "log.create_topics=false", "--set", "log.topic=nobody-made-it"];
    let (code, said) = Node::refused(dir.path(), &args).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("log.create_topics") && said.contains("nobody-made-it"), "{said}");
    let topics = cluster.tool("org.apache.kafka.tools.TopicCommand", &["--list"]).unwrap();
    assert!(!topics.contains("nobody-made-it"), "{topics}");
}

/// The topic takes less than an event may have: the event is refused for good, and the next is stored. It is sent alone:
/// brokers take or refuse a batch of the producer as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_names_the_setting() {
    let stage = Stage::set("large", &[]).await.unwrap();
    let topic = ["--entity-type", "topics", "--entity-name", &stage.topics.events];
    let alter = ["--alter", "--add-config", "max.message.bytes=4096"];
    stage.cluster.tool("kafka.admin.ConfigCommand", &[&topic[..], &alter].concat()).unwrap();
    let byte = |i: u32| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26);
    let noise: String = (0..20_000).map(byte).collect();
    let mut connection = Connection::open(stage.a.address).await.unwrap();
    for (id, data, status) in [("small-1", "", 201), ("large", noise.as_str(), 413), ("small-2", "", 201)] {
        let body = json!({"id": id, "type": "t", "source_type": "large", "source_id": "one", "data": data});
        let response = connection.post("/v1/events", body.to_string().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(response.status(), status, "{answer}");
        if status == 413 {
            assert_eq!((&answer["code"], &answer["retryable"]), (&json!("record_too_large"), &json!(false)));
            assert!(answer["message"].as_str().unwrap().contains("max.message.bytes"), "{answer}");
        }
    }
}

/// Before 0.11 no broker knows a record that comes twice: nobody may think that events are safe there.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_brokers_that_are_too_old_says_which_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = OldKafka::start(&dir.path().join("kafka"), "0.10.2.2").unwrap();
    let old = kafka.address.to_string();
    // Once its topics are there it is still too old.
    for _ in 0..2 {
        let (code, said) = Node::refused(dir.path(), &["--kafka", &old]).unwrap();
        assert_eq!(code, Some(1), "{said}");
        let error = said.lines().find(|line| line.starts_with("error")).unwrap();
        assert!(error.contains("log.kafka") && error.contains(&old), "{said}");
        assert!(error.contains("too old") && error.contains("0.11 or newer"), "{said}");
    }
}

/// The oldest brokers there may be: everything works but what is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_brokers_that_serve_cannot_alter_topics() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = OldKafka::start(&dir.path().join("kafka"), "0.11.0.3").unwrap();
    let old = kafka.address.to_string();
    let node = Node::start(dir.path(), "a", &["--kafka".into(), old]).unwrap();
    let mut connection = Connection::open(node.address).await.unwrap();
    for number in 0..100 {
        let body = json!({"id": format!("{number}"), "type": "t", "source_type": "old", "source_id": format!("{}", number % 50), "data": {}});
        let response = connection.post("/v1/events", body.to_string().into()).await.unwrap();
        assert_eq!(response.status(), 201, "{:?}", response.body());
    }
    until_page(&node, "/v1/events?channel=events:*&limit=200", 100).await.unwrap();
    let alter = json!({"retention_ms": 3_600_000});
    let response = connection.patch("/v1/topics/events", alter.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!((response.status().as_u16(), &answer["code"]), (503, &json!("kafka_too_old")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("2.3 or newer"), "{answer}");
}

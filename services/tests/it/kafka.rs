//! Kafka with its own tools: one broker and three, one of them killed and started again.

use dualstream_services::{Kafka, kafka};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[test]
fn one_broker_takes_topics_and_keeps_them_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Kafka::start(&dir.path().join("kafka"), 1, false).unwrap();
    cluster.tool(TOPICS, &["--create", "--topic", "events", "--partitions", "12"]).unwrap();
    let address = cluster.brokers[0].address;
    cluster.brokers[0].process.kill().unwrap();
    assert!(kafka::brokers_known(address).is_err());
    cluster.restart(0).unwrap();
    let described = cluster.tool(TOPICS, &["--describe", "--topic", "events"]).unwrap();
    assert!(described.contains("PartitionCount: 12"), "{described}");
    let error = cluster.tool(TOPICS, &["--create", "--topic", "events"]).unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");
}

#[test]
fn three_brokers_serve_while_one_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Kafka::start(&dir.path().join("kafka"), 3, false).unwrap();
    cluster.brokers[0].process.kill().unwrap();
    cluster.tool(TOPICS, &["--create", "--topic", "events", "--replication-factor", "2"]).unwrap();
    cluster.restart(0).unwrap();
    let described = cluster.tool(TOPICS, &["--describe", "--topic", "events"]).unwrap();
    assert!(described.contains("ReplicationFactor: 2"), "{described}");
}

//! The producer over librdkafka's mock cluster, which fails as it is told.

use super::*;
use bytes::Bytes;
use dualstream_core::topic::TopicName;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeMap;

fn producer(properties: &[(&str, &str)]) -> Producer {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.insert("test.mock.num.brokers".into(), "3".into());
    all.extend(properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    let producer = Producer::new(Settings::new("127.0.0.1:1", all).unwrap()).unwrap();
    with_cluster(&producer, |cluster| cluster.create_topic("t", 12, 3).unwrap());
    producer
}

fn with_cluster<R>(producer: &Producer, run: impl FnOnce(MockCluster<'_, Deliveries>) -> R) -> R {
    loop {
        // There is none while another one takes its place.
        if let Some(native) = &*producer.shared.native() {
            return run(native.client().mock_cluster().expect("the client is one of a mock"));
        }
        std::thread::yield_now();
    }
}

fn part(partition: u32, values: std::ops::Range<usize>) -> Part {
    let record = |value: usize| NewRecord {
        key: Some(Bytes::from(format!("key-{partition}"))),
        value: Some(Bytes::from(format!("value-{value}"))),
        ..NewRecord::default()
    };
    Part { topic: TopicName::new("t").unwrap(), partition, records: values.map(record).collect() }
}

fn failed(appended: &Appended) -> (ErrorKind, &'static str) {
    match appended {
        Appended::Failed(error) => (error.kind(), error.code()),
        other => panic!("{other:?} is no failure"),
    }
}

/// What heals by itself does so in half a minute.
async fn within<T>(what: &str, heals: impl Future<Output = T>) -> T {
    let healed = tokio::time::timeout(Duration::from_secs(30), heals).await;
    healed.unwrap_or_else(|_| panic!("not within 30 s: {what}"))
}

/// A record is stored, at last.
async fn heals(producer: &Producer, part: Part) {
    within("a record is stored", async {
        loop {
            if let Ok(answers) = producer.append(vec![part.clone()])
                && matches!(answers.await[0][0], Appended::Stored(_))
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Nothing is taken any more, at last.
async fn refuses(producer: &Producer, part: Part) -> Error {
    within("nothing is taken", async {
        loop {
            match producer.append(vec![part.clone()]) {
                Ok(answers) => assert_ne!(failed(&answers.await[0][0]).0, ErrorKind::TooLarge),
                Err(error) => break error,
            }
        }
    })
    .await
}

const PRODUCE: RDKafkaApiKey = RDKafkaApiKey::Produce;

#[tokio::test]
async fn every_record_is_answered_in_its_place() {
    let producer = producer(&[]);
    let parts: Vec<Part> = (0..12).map(|partition| part(partition, 0..partition as usize + 1)).collect();
    let first = producer.append(parts.clone()).unwrap();
    let second = producer.append(parts).unwrap();
    for (round, outcomes) in [first.await, second.await].into_iter().enumerate() {
        assert_eq!(outcomes.len(), 12);
        for (partition, of_part) in outcomes.iter().enumerate() {
            let base = round * (partition + 1);
            let wanted: Vec<_> =
                (0..=partition).map(|index| Appended::Stored((base + index) as u64)).collect();
            assert_eq!(of_part, &wanted, "round {round}, partition {partition}");
        }
    }
    assert!(producer.append(Vec::new()).unwrap().await.is_empty());
}

#[tokio::test]
async fn a_full_backlog_is_told_at_once() {
    let producer = producer(&[("queue.buffering.max.messages", "10"), ("linger.ms", "100")]);
    let first = producer.append(vec![part(0, 0..10)]).unwrap();
    let error = producer.append(vec![part(1, 0..1)]).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, "overloaded"));
    assert!(matches!(first.await[0][9], Appended::Stored(9)));
    // What was answered has left it.
    assert!(matches!(producer.append(vec![part(1, 0..10)]).unwrap().await[0][9], Appended::Stored(9)));
}

#[tokio::test]
async fn what_nobody_stores_leaves_room_for_the_rest() {
    let producer = producer(&[("queue.buffering.max.messages", "100")]);
    heals(&producer, part(3, 0..1)).await;
    with_cluster(&producer, |cluster| {
        cluster.create_topic("stuck", 12, 3).unwrap();
        (0..12).for_each(|partition| cluster.partition_leader("stuck", partition, None).unwrap());
    });
    let stuck = |values| Part { topic: TopicName::new("stuck").unwrap(), ..part(7, values) };
    let mut waiting = vec![producer.append(vec![stuck(0..1)]).unwrap()];
    let topic = producer.health().topics_of(&[stuck(0..0)]).remove(0);
    within("nothing of it was stored for a while", async {
        while topic.flows_off(FLOWS_OFF) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = loop {
        match producer.append(vec![stuck(0..1)]) {
            Ok(answers) => waiting.push(answers),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.code(), waiting.len()), (ErrorKind::Overloaded, "overloaded", 75));
    for round in 1..50 {
        assert_eq!(
            producer.append(vec![part(3, round..round + 1)]).unwrap().await,
            [[Appended::Stored(round as u64)]]
        );
    }
}

#[tokio::test]
async fn what_a_broker_refuses_is_definite() {
    let producer = producer(&[]);
    let all = [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ErrorKind::TooLarge, "record_too_large"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ErrorKind::Denied, "kafka_denied"),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, ErrorKind::Invalid, "invalid_record"),
    ];
    for (code, kind, word) in all {
        with_cluster(&producer, |cluster| cluster.request_errors(PRODUCE, &[code]));
        let outcomes = producer.append(vec![part(3, 0..2)]).unwrap().await;
        for outcome in &outcomes[0] {
            assert_eq!(failed(outcome), (kind, word), "{code:?}");
        }
        // What was refused for its topic is tried again when the broker was asked.
        heals(&producer, part(3, 0..1)).await;
    }
    let outcomes = producer.append(vec![part(77, 0..1), part(5, 0..1)]).unwrap().await;
    assert_eq!(failed(&outcomes[0][0]), (ErrorKind::NotFound, "unknown_topic"));
    assert!(matches!(outcomes[1][0], Appended::Stored(_)));
}

#[tokio::test]
async fn a_retry_keeps_the_order() {
    let producer = producer(&[("linger.ms", "0")]);
    let away = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    let few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    with_cluster(&producer, |cluster| cluster.request_errors(PRODUCE, &[few, away, few]));
    let calls: Vec<_> = (0..50).map(|call| producer.append(vec![part(2, call..call + 1)]).unwrap()).collect();
    for (call, answers) in calls.into_iter().enumerate() {
        assert_eq!(answers.await, [[Appended::Stored(call as u64)]]);
    }
}

#[tokio::test]
async fn a_fatal_error_ends_the_client_and_not_the_producer() {
    let producer = producer(&[("topic.metadata.propagation.max.ms", "100")]);
    assert_eq!(producer.append(vec![part(1, 0..1)]).unwrap().await, [[Appended::Stored(0)]]);
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    with_cluster(&producer, |cluster| cluster.request_errors(PRODUCE, &[fatal]));
    let outcomes = producer.append(vec![part(1, 1..3)]).unwrap().await;
    for outcome in &outcomes[0] {
        assert_eq!(failed(outcome), (ErrorKind::Unknown, "outcome_unknown"));
    }
    // Another mock cluster comes with the other client.
    within("another client stores", async {
        loop {
            let answers = match producer.append(vec![part(1, 3..4)]) {
                Ok(answers) => answers,
                Err(error) => {
                    // The other client is not there yet.
                    assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, "overloaded"));
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let outcomes = answers.await;
            match &outcomes[0][0] {
                Appended::Stored(_) => break,
                Appended::Failed(error) if error.code() == "unknown_topic" => {
                    // It may have been made in the round before, and be asked about now.
                    with_cluster(&producer, |cluster| drop(cluster.create_topic("t", 12, 3)));
                }
                other => assert_eq!(failed(other).0, ErrorKind::Unavailable, "{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn while_no_broker_answers_calls_fail_at_once_and_then_heal() {
    let producer = producer(&[("delivery.timeout.ms", "1000")]);
    // Connecting may take as long as that.
    heals(&producer, part(0, 0..1)).await;
    with_cluster(&producer, |cluster| (1..=3).for_each(|id| cluster.broker_down(id).unwrap()));
    let outcomes = producer.append(vec![part(0, 1..2)]).unwrap().await;
    assert!(matches!(failed(&outcomes[0][0]).0, ErrorKind::Unavailable | ErrorKind::Unknown), "{outcomes:?}");
    let error = refuses(&producer, part(0, 2..3)).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
    with_cluster(&producer, |cluster| (1..=3).for_each(|id| cluster.broker_up(id).unwrap()));
    heals(&producer, part(0, 3..4)).await;
}

#[tokio::test]
async fn while_nothing_is_stored_calls_fail_at_once_but_one() {
    let producer = producer(&[("delivery.timeout.ms", "1000")]);
    // Connecting may take as long as that.
    heals(&producer, part(0, 0..1)).await;
    // Brokers answer whatever they are asked, but nobody keeps a record with them.
    let few = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    with_cluster(&producer, |cluster| cluster.request_errors(PRODUCE, &[few; 1_000]));
    let error = refuses(&producer, part(0, 1..2)).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
    assert!(error.message().contains("stores nothing"), "{error}");
    let topic = producer.health().topics_of(&[part(0, 0..0)]).remove(0);
    producer.health().explain(topic.name(), "1 of 3 brokers that keep 't' answer");
    let error = producer.append(vec![part(7, 1..2)]).unwrap_err();
    assert!(error.message().ends_with("1 of 3 brokers that keep 't' answer"), "{error}");
    with_cluster(&producer, |cluster| cluster.clear_request_errors(PRODUCE));
    // Then one at a time is tried, until it is stored.
    topic.try_now();
    let full = producer.shared.backlog.reserve(500_000, 0, || true).unwrap();
    let error = producer.append(vec![part(0, 3..4)]).unwrap_err();
    assert_eq!(error.code(), "overloaded", "which is not the one that is tried");
    drop(full);
    let answers = producer.append(vec![part(0, 3..4)]).unwrap();
    assert!(matches!(answers.await[0][0], Appended::Stored(_)));
    assert!(matches!(producer.append(vec![part(7, 0..1)]).unwrap().await[0][0], Appended::Stored(_)));
}

#[tokio::test]
async fn what_waits_is_answered_when_the_producer_ends() {
    let producer = producer(&[("linger.ms", "5000")]);
    let answers = producer.append(vec![part(0, 0..3)]).unwrap();
    drop(producer);
    for outcome in &answers.await[0] {
        assert_eq!(failed(outcome), (ErrorKind::Unavailable, "log_unavailable"));
    }
}

#[tokio::test]
async fn names_of_headers_are_text() {
    let producer = producer(&[]);
    let mut bad = part(0, 0..2);
    let name = Bytes::from_static(&[0xff, 0xfe]);
    let header = dualstream_core::record::Header { name, value: None };
    bad.records[0].headers = dualstream_core::record::Headers::new(vec![header]);
    let outcomes = producer.append(vec![bad]).unwrap().await;
    assert_eq!(failed(&outcomes[0][0]), (ErrorKind::Invalid, "invalid_record"));
    assert_eq!(outcomes[0][1], Appended::Stored(0));
}

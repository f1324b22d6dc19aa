//! The calls beside the safe API of librdkafka, against a real cluster.

use crate::cluster::{name, shared, topics};
use crate::publish::{part, stored};
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_kafka_ffi::{Stamp, alter_topic, consume, describe_groups, describe_topics};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::Duration;

/// Longest wait for an answer: a bound of failures, not a measure.
const ANSWER_MAX: Duration = Duration::from_secs(30);

pub(crate) fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "ffi").set("enable.auto.commit", "false");
    config.create().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_answered_each_by_itself() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("described"))).await.unwrap().spec.name;
    let consumer = consumer(&cluster.bootstrap());
    let asked = [topic.as_str(), "missing-topic"];
    let all = describe_topics(consumer.client(), &asked, ANSWER_MAX).unwrap();
    let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0], Err(RDKafkaErrorCode::UnknownTopicOrPartition));
    let described = found[0].as_ref().unwrap();
    assert_eq!((described.name.as_str(), described.partitions.len()), (topic.as_str(), 12));
    assert_ne!(described.id, 0);
    for (number, partition) in (0..).zip(&described.partitions) {
        let leader = partition.leader.expect("it has a leader");
        let mut replicas = partition.replicas.clone();
        replicas.sort_unstable();
        assert_eq!((partition.partition, replicas), (number, vec![1, 2, 3]));
        assert!(partition.in_sync.contains(&leader), "{partition:?}");
    }
    // A name with a zero byte names nothing, and a setting that is none is refused.
    assert!(describe_topics(consumer.client(), &["a\0b"], ANSWER_MAX).is_err());
    let refused = alter_topic(consumer.client(), topic.as_str(), &[("no.setting", "1")], ANSWER_MAX);
    assert_eq!(refused.unwrap_err(), RDKafkaErrorCode::InvalidConfig);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_batch_are_whole() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("batched"))).await.unwrap().spec.name;
    stored(&upstream, part(&topic, 6, 0..500)).await;
    let consumer = consumer(&cluster.bootstrap());
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic.as_str(), 6, Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    let mut seen = 0;
    while seen < 500 {
        // Waits until there are so many: 500 are 10 times 50.
        let batch = consume(&consumer, ANSWER_MAX, 50).unwrap();
        assert!(!batch.is_empty(), "nothing came");
        for message in batch.iter() {
            assert_eq!((message.error(), message.topic(), message.partition()), (None, topic.as_str(), 6));
            assert_eq!((message.offset(), message.key()), (seen, Some(&b"6"[..])));
            assert_eq!(message.value(), Some(seen.to_string().as_bytes()));
            assert!(message.leader_epoch().is_some(), "a broker of today tells it");
            assert!(matches!(message.timestamp(), Some(Stamp::Append(time_ms)) if time_ms > 0));
            let headers: Vec<_> = message.headers().collect();
            assert_eq!(headers, [(&b"source_type"[..], Some(&b"widget"[..]))]);
            seen += 1;
        }
    }
}

/// Groups of both protocols, and one that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn groups_are_described_with_their_kind_and_members() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("grouped"))).await.unwrap().spec.name;
    let member = |protocol: &str| -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", format!("described-{protocol}"));
        config.set("group.protocol", protocol).set("client.id", format!("member-{protocol}"));
        let member: BaseConsumer = config.create().unwrap();
        member.subscribe(&[topic.as_str()]).unwrap();
        member
    };
    let asker = consumer(&cluster.bootstrap());
    for (protocol, kind) in [("consumer", "Consumer"), ("classic", "Classic")] {
        let (member, group) = (member(protocol), format!("described-{protocol}"));
        let described = loop {
            drop(member.poll(Duration::from_millis(100)));
            let all = describe_groups(asker.client(), &[&group], ANSWER_MAX).unwrap();
            match all.into_iter().next().unwrap() {
                Ok(group)
                    if group.state == "Stable" && group.members.iter().any(|m| !m.partitions.is_empty()) =>
                {
                    break group;
                }
                _ => {}
            }
        };
        assert_eq!((described.name.as_str(), described.kind.as_str()), (group.as_str(), kind));
        assert_eq!(described.members.len(), 1);
        let own = &described.members[0];
        assert_eq!(own.client, format!("member-{protocol}"));
        assert!(own.host.contains("127.0.0.1"), "{}", own.host);
        let mut partitions = own.partitions.clone();
        partitions.sort();
        assert_eq!(partitions, (0..12).map(|at| (topic.as_str().to_owned(), at)).collect::<Vec<_>>());
    }
    let missing = describe_groups(asker.client(), &["nobody"], ANSWER_MAX).unwrap();
    let is_missing = |group: &Result<_, _>| match group {
        Ok(dualstream_kafka_ffi::GroupDescription { state, members, .. }) => {
            state == "Dead" && members.is_empty()
        }
        Err(code) => *code == RDKafkaErrorCode::GroupIdNotFound,
    };
    assert!(missing.len() == 1 && is_missing(&missing[0]), "{missing:?}");
    assert!(describe_groups(asker.client(), &["a\0b"], ANSWER_MAX).is_err());
}

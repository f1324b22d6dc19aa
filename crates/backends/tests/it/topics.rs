//! Topics of a real cluster: what is asked for is there, what is altered is altered alone, and every refusal has its word.

use crate::cluster::{self, name, shared, topics};
use crate::publish::{part, stored};
use dualstream_core::ErrorKind;
use dualstream_core::mirror::Upstream;
use dualstream_core::topic::{Cleanup, TimestampKind, TopicAlteration, TopicName, TopicSpec};
use dualstream_core::topics::Topics;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_as_it_was_created() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topics = topics(&upstream);
    let specs = [
        TopicSpec::events(name("events")),
        TopicSpec {
            partitions: 3,
            timestamp: TimestampKind::Create,
            retention_ms: None,
            // Each partition is bounded: a number that can be divided comes back.
            retention_bytes: Some(3 << 30),
            ..TopicSpec::events(name("stream"))
        },
        TopicSpec::table(name("table"), 1),
    ];
    for spec in &specs {
        let made = topics.create(spec.clone()).await.unwrap();
        assert_eq!(&made.spec, spec);
        assert_eq!(topics.describe(spec.name.clone()).await.unwrap(), made);
        assert_eq!(made.bytes, None, "Kafka does not tell, which is not nothing");
        let described = upstream.describe(&spec.name).await.unwrap();
        assert_eq!(&described.spec, spec);
        let none = vec![0; spec.partitions as usize];
        assert_eq!((&described.earliest, &described.latest, &described.high), (&none, &none, &none));
        assert_ne!(described.id, 0);
    }
    let listed = topics.list().await.unwrap();
    assert!(listed.iter().map(|topic| &topic.spec.name).is_sorted());
    for spec in &specs {
        assert!(listed.iter().any(|topic| topic.spec == *spec), "{}", spec.name);
    }
    // What is beside the specification keeps events safe.
    let said = cluster
        .kafka
        .lock()
        .unwrap()
        .tool("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", specs[0].name.as_str()]);
    let said = said.unwrap();
    for wanted in ["ReplicationFactor: 3", "min.insync.replicas=2", "unclean.leader.election.enable=false"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_once_and_made_again_is_another() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topics = topics(&upstream);
    let spec = TopicSpec::events(name("again"));
    let first = topics.create(spec.clone()).await.unwrap();
    let error = topics.create(TopicSpec { partitions: 3, ..spec.clone() }).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "topic_exists"));
    assert_eq!(topics.describe(spec.name.clone()).await.unwrap(), first);
    assert_eq!(stored(&upstream, part(&spec.name, 4, 0..3)).await, [0, 1, 2]);
    topics.delete(spec.name.clone()).await.unwrap();
    let second = topics.create(spec.clone()).await.unwrap();
    assert_ne!(second.epoch, first.epoch);
    assert_eq!(upstream.describe(&spec.name).await.unwrap().latest, [0; 12]);
    // The producer of before goes on in the new one.
    assert_eq!(stored(&upstream, part(&spec.name, 4, 0..3)).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alter_touches_only_what_is_named() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topics = topics(&upstream);
    let before = topics.create(TopicSpec::events(name("altered"))).await.unwrap();
    let topic = before.spec.name.clone();
    // A setting that dualstream knows nothing of, set by whoever runs the cluster.
    cluster.set(&topic, "segment.ms=777777");

    let change = TopicAlteration { retention_ms: Some(None), ..TopicAlteration::default() };
    let after = topics.alter(topic.clone(), change).await.unwrap();
    assert_eq!(after.spec, TopicSpec { retention_ms: None, ..before.spec.clone() });
    let change = TopicAlteration { retention_bytes: Some(Some(12 << 30)), ..TopicAlteration::default() };
    let after = topics.alter(topic.clone(), change).await.unwrap();
    let wanted = TopicSpec { retention_ms: None, retention_bytes: Some(12 << 30), ..before.spec.clone() };
    assert_eq!((&after.spec, after.epoch), (&wanted, before.epoch));
    let more = TopicAlteration { partitions: Some(24), ..TopicAlteration::default() };
    let after = topics.alter(topic.clone(), more).await.unwrap();
    assert_eq!(after.spec.partitions, 24);
    assert_ne!(after.epoch, before.epoch);
    let fewer = TopicAlteration { partitions: Some(12), ..TopicAlteration::default() };
    let error = topics.alter(topic.clone(), fewer).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "invalid_partitions"));

    let show = ["--describe", "--entity-type", "topics", "--entity-name", topic.as_str()];
    let said = cluster.kafka.lock().unwrap().tool("kafka.admin.ConfigCommand", &show).unwrap();
    for wanted in ["segment.ms=777777", "min.insync.replicas=2", "max.message.bytes=1048588"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trim_moves_the_starts_that_are_named() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topics = topics(&upstream);
    let topic = topics.create(TopicSpec::events(name("trimmed"))).await.unwrap().spec.name;
    for partition in 0..12 {
        stored(&upstream, part(&topic, partition, 0..10)).await;
    }
    let below: Vec<u64> = (0..12).map(|partition| partition % 11).collect();
    topics.trim(topic.clone(), below.clone()).await.unwrap();
    let described = upstream.describe(&topic).await.unwrap();
    assert_eq!((described.earliest, described.latest), (below.clone(), vec![10; 12]));
    // Gone already.
    topics.trim(topic.clone(), vec![0; 12]).await.unwrap();
    assert_eq!(upstream.describe(&topic).await.unwrap().earliest, below);
    for wrong in [vec![11; 12], vec![0; 11]] {
        let error = topics.trim(topic.clone(), wrong).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "invalid_trim"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_topics_are_not_found() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topics = topics(&upstream);
    let missing = name("missing");
    let errors = [
        topics.describe(missing.clone()).await.err(),
        topics.alter(missing.clone(), TopicAlteration::default()).await.err(),
        topics.delete(missing.clone()).await.err(),
        topics.trim(missing.clone(), vec![0; 12]).await.err(),
        upstream.describe(&missing).await.err(),
        upstream.seek(&missing, 0).await.err(),
    ];
    for error in errors {
        let error = error.expect("there is no such topic");
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "unknown_topic"));
    }
    for partitions in [0, 10_001] {
        let spec = TopicSpec { partitions, ..TopicSpec::events(missing.clone()) };
        assert_eq!(topics.create(spec).await.unwrap_err().code(), "invalid_partitions");
    }
}

/// A cluster of one broker gets what it can have.
#[tokio::test(flavor = "multi_thread")]
async fn one_broker_has_one_replica() {
    let cluster = cluster::Cluster::start(1);
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("small"))).await.unwrap().spec.name;
    assert_eq!(stored(&upstream, part(&topic, 11, 0..2)).await, [0, 1]);
    // A place in time, by partition; the end where nothing is that late.
    let ends = upstream.describe(&topic).await.unwrap().latest;
    assert_eq!(upstream.seek(&topic, 0).await.unwrap().offsets, [0; 12]);
    assert_eq!(upstream.seek(&topic, i64::MAX).await.unwrap().offsets, ends);
    let table = TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::table(name("table"), 12) };
    let table = topics(&upstream).create(table).await.unwrap().spec.name;
    keyless_is_refused(&upstream, &table).await;
}

async fn keyless_is_refused(upstream: &dualstream_backends::kafka::KafkaUpstream, table: &TopicName) {
    let mut keyless = part(table, 0, 0..1);
    keyless.records[0].key = None;
    let outcomes = upstream.append(vec![keyless]).await.unwrap();
    let error = crate::publish::failed(&outcomes[0][0]);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "invalid_record"));
}

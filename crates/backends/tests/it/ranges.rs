//! Spans of a real cluster that lie where nothing can be read yet.

use crate::cluster::{Cluster, name, shared, topics};
use crate::ffi::consumer;
use crate::foreign::Transactions;
use crate::publish::{part, stored};
use dualstream_core::log::Span;
use dualstream_core::mirror::Upstream;
use dualstream_core::testing::Foreign;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind};
use dualstream_kafka_ffi::{At, Isolation, list_offsets};
use futures::future::join_all;
use rdkafka::consumer::Consumer;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_span_behind_an_open_transaction_holds_no_reader() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("held"))).await.unwrap().spec.name;
    assert_eq!(stored(&upstream, part(&topic, 5, 0..3)).await, [0, 1, 2]);
    assert_eq!(stored(&upstream, part(&topic, 6, 0..3)).await, [0, 1, 2]);
    let foreign = Transactions::new(&cluster.bootstrap(), topic.as_str());
    foreign.hold(&topic, 6).await;
    assert_eq!(stored(&upstream, part(&topic, 6, 3..5)).await, [4, 5]);
    // More of them than there are readers, and others that wait behind them.
    let behind = [4, 5, 6, 4, 5, 6].map(|from| (6, from, 0, from));
    let others = [(5, 0, 3, 3), (6, 0, 3, 3), (6, 3, 0, 3)];
    let spans = behind.iter().chain(&others).map(async |&(partition, from, count, next)| {
        let span = Span { partition, from, until: u64::MAX };
        let run = upstream.fetch(&topic, span, 1 << 20).await.unwrap();
        assert_eq!((run.records.len(), run.next), (count, next), "{partition} from {from}");
    });
    join_all(spans).await;
    foreign.release(&topic, 6).await;
    let span = Span { partition: 6, from: 4, until: u64::MAX };
    let run = upstream.fetch(&topic, span, 1 << 20).await.unwrap();
    assert_eq!(run.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [4, 5]);
}

/// How long is waited for a broker that does not answer.
const NO_ANSWER: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_leaders_is_told_as_such() {
    let cluster = Cluster::start(3);
    let upstream = cluster.upstream(&[]);
    let topic = name("led");
    // Each partition at one broker, a third of them at the last.
    let create = ["--create", "--topic", topic.as_str(), "--replica-assignment", "1,2,3,1,2,3,1,2,3,1,2,3"];
    cluster.kafka.lock().unwrap().tool("org.apache.kafka.tools.TopicCommand", &create).unwrap();
    upstream.describe(&topic).await.unwrap();
    cluster.kafka.lock().unwrap().brokers[2].process.kill().unwrap();
    // Until the cluster has noticed, they have leaders that do not answer: never are these told as empty.
    let is_told =
        |error: &Error| error.message().ends_with(&format!("of 12 partitions of '{topic}' have no leader"));
    let consumer = consumer(&cluster.bootstrap());
    let asked = (topic.as_str(), &[2, 5, 8, 11][..]);
    let at = At::Time(0);
    if let Ok(answers) = list_offsets(consumer.client(), asked, at, Isolation::Committed, NO_ANSWER) {
        assert!(answers.iter().all(|(_, answer)| answer.is_err()), "nobody answered: {answers:?}");
    }
    loop {
        let error = upstream.describe(&topic).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
        if is_told(&error) {
            break;
        }
    }
    cluster.kafka.lock().unwrap().restart(2).unwrap();
    while upstream.describe(&topic).await.is_err() {}
}

//! Appending to a real cluster, whole and broken.

use crate::cluster::{self, Cluster, name, shared, topics};
use bytes::Bytes;
use dualstream_backends::kafka::KafkaUpstream;
use dualstream_core::log::{Appended, Part};
use dualstream_core::mirror::Upstream;
use dualstream_core::record::{Header, Headers, NewRecord};
use dualstream_core::topic::{TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind};
use dualstream_services::kafka::Setup;
use dualstream_services::proxy::Flow;
use std::ops::Range;

/// Records of one partition with these numbers.
pub(crate) fn part(topic: &TopicName, partition: u32, numbers: Range<usize>) -> Part {
    let header = Header { name: "source_type".into(), value: Some("widget".into()) };
    let headers = Headers::new(vec![header]);
    let record = |number: usize| NewRecord {
        key: Some(Bytes::from(format!("{partition}"))),
        value: Some(Bytes::from(format!("{number}"))),
        headers: headers.clone(),
        ..NewRecord::default()
    };
    Part { topic: topic.clone(), partition, records: numbers.map(record).collect() }
}

/// Where the records of a part were stored.
pub(crate) async fn stored(upstream: &KafkaUpstream, part: Part) -> Vec<u64> {
    let offset = |appended: &Appended| match appended {
        Appended::Stored(offset) => *offset,
        other => panic!("{other:?}"),
    };
    upstream.append(vec![part]).await.unwrap()[0].iter().map(offset).collect()
}

pub(crate) fn failed(appended: &Appended) -> &Error {
    match appended {
        Appended::Failed(error) => error,
        other => panic!("{other:?} is no failure"),
    }
}

/// What heals by itself does so in half a minute.
async fn within<T>(what: &str, heals: impl Future<Output = T>) -> T {
    let healed = tokio::time::timeout(std::time::Duration::from_secs(30), heals).await;
    healed.unwrap_or_else(|_| panic!("not within 30 s: {what}"))
}

/// A record is stored, at last.
async fn heals(upstream: &KafkaUpstream, part: Part) {
    within("a record is stored", async {
        while !matches!(
            upstream.append(vec![part.clone()]).await.as_deref(),
            Ok([outcomes]) if matches!(outcomes[0], Appended::Stored(_))
        ) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_partition_stand_in_the_order_of_the_calls() {
    const CALLS: usize = 300;
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("order"))).await.unwrap().spec.name;
    let calls: Vec<_> = (0..CALLS)
        .map(|call| {
            upstream.append((0..12).map(|partition| part(&topic, partition, call..call + 1)).collect())
        })
        .collect();
    // Asked for backwards: the order is that of the calls, not of who waits.
    for (call, outcomes) in calls.into_iter().enumerate().rev() {
        for outcome in outcomes.await.unwrap() {
            assert_eq!(outcome, [Appended::Stored(call as u64)]);
        }
    }
    let described = upstream.describe(&topic).await.unwrap();
    assert_eq!((described.latest, described.high), (vec![CALLS as u64; 12], vec![CALLS as u64; 12]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_fails_alone() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("large"))).await.unwrap().spec.name;
    let mut large = part(&topic, 3, 0..3);
    large.records[1].value = Some(vec![b'x'; 2 << 20].into());
    // The largest event there may be, and one over what a topic takes.
    large.records[2].value = Some(vec![b'x'; 900 * 1024].into());
    let outcomes = upstream.append(vec![large]).await.unwrap();
    assert_eq!((&outcomes[0][0], &outcomes[0][2]), (&Appended::Stored(0), &Appended::Stored(1)));
    let error = failed(&outcomes[0][1]);
    assert_eq!((error.kind(), error.code()), (ErrorKind::TooLarge, "record_too_large"));
    assert!(error.message().contains("max.message.bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_little_refuses_only_what_is_larger() {
    let cluster = shared();
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("little"))).await.unwrap().spec.name;
    cluster.set(&topic, "max.message.bytes=10000");
    // Whoever appends has described the topic, which changes nothing for those who append to others.
    upstream.describe(&topic).await.unwrap();
    let other = topics(&upstream).create(TopicSpec::events(name("large"))).await.unwrap().spec.name;
    assert_eq!(stored(&upstream, part(&other, 7, 0..1)).await, [0]);
    // It is found out with the first record whether a topic is written to; none is taken before batches are small.
    let error = upstream.append(vec![part(&topic, 5, 0..1)]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, "overloaded"));
    within("small batches", async {
        while upstream.append(vec![part(&topic, 5, 0..1)]).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut offset = 0;
    for _ in 0..5 {
        let mut mixed = part(&topic, 3, 0..200);
        mixed.records.iter_mut().for_each(|record| record.value = Some(vec![b'x'; 1_000].into()));
        mixed.records[100].value = Some(vec![b'x'; 20_000].into());
        let outcomes = upstream.append(vec![mixed]).await.unwrap();
        for (number, outcome) in outcomes[0].iter().enumerate() {
            if number == 100 {
                assert_eq!(failed(outcome).code(), "record_too_large");
            } else {
                assert_eq!(*outcome, Appended::Stored(offset), "record {number}");
                offset += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_told_and_found_once_it_is_made() {
    let cluster = shared();
    let upstream = cluster.upstream(&[("topic.metadata.propagation.max.ms", "200")]);
    let spec = TopicSpec::events(name("late"));
    let outcomes = upstream.append(vec![part(&spec.name, 5, 0..2)]).await.unwrap();
    for outcome in &outcomes[0] {
        let error = failed(outcome);
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "unknown_topic"));
    }
    topics(&upstream).create(spec.clone()).await.unwrap();
    within("the topic is found", async {
        loop {
            match &upstream.append(vec![part(&spec.name, 5, 0..1)]).await.unwrap()[0][0] {
                Appended::Stored(_) => break,
                other => assert_eq!(failed(other).kind(), ErrorKind::NotFound),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_is_names_the_setting() {
    let nobody = dualstream_services::ports::free(1).unwrap()[0].to_string();
    let upstream = cluster::upstream(&nobody, &[("delivery.timeout.ms", "1000")]);
    let topic = name("nowhere");
    let outcomes = upstream.append(vec![part(&topic, 0, 0..1)]).await.unwrap();
    let error = failed(&outcomes[0][0]).clone();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
    assert!(error.message().contains("setting `kafka`"), "{error}");
    let error = upstream.describe(&topic).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
    assert!(error.message().contains("setting `kafka`") && error.message().contains("refused"), "{error}");
}

/// Topics that lost too many brokers, or all they had: nothing of them may be acknowledged, and it is said why; others do
/// not notice. When the brokers come back all goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_replicas_are_told_and_heal() {
    let cluster = Cluster::start(3);
    let upstream = cluster.upstream(&[("delivery.timeout.ms", "3000")]);
    let topic = topics(&upstream).create(TopicSpec::events(name("few"))).await.unwrap().spec.name;
    for partition in 0..12 {
        assert_eq!(stored(&upstream, part(&topic, partition, 0..1)).await, [0]);
    }
    let (alone, whole) = (name("alone"), name("whole"));
    cluster.create_at(&alone, &[3]).await;
    cluster.create_at(&whole, &[1, 2]).await;
    // As it would be with two brokers gone, without the quorum of controllers going too.
    cluster.set(&topic, "min.insync.replicas=3");
    cluster.kafka.lock().unwrap().brokers[2].process.kill().unwrap();
    let explained = within("the reason", async {
        loop {
            let outcomes =
                upstream.append((0..12).map(|partition| part(&topic, partition, 1..2)).collect()).await;
            let Ok(outcomes) = outcomes else { continue };
            let said = |outcome: &Appended| match outcome {
                Appended::Failed(error) => Some(error.message().to_owned()),
                _ => None,
            };
            let messages: Vec<String> = outcomes.iter().flatten().filter_map(said).collect();
            if let Some(explained) =
                messages.into_iter().find(|message| message.contains("min.insync.replicas"))
            {
                break explained;
            }
        }
    })
    .await;
    assert!(explained.contains(topic.as_str()), "{explained}");
    for (lost, why) in [(&topic, "min.insync.replicas"), (&alone, "have no leader")] {
        let error = within("it fails at once", async {
            loop {
                match upstream.append(vec![part(lost, 7, 1..2)]).await {
                    Err(error) => break error,
                    Ok(outcomes) => assert!(!matches!(outcomes[0][0], Appended::Stored(_)), "{outcomes:?}"),
                }
            }
        });
        let error = error.await;
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
        assert!(error.message().contains(lost.as_str()) && error.message().contains(why), "{error}");
    }
    for round in 0..5 {
        for partition in 0..12 {
            assert_eq!(stored(&upstream, part(&whole, partition, 0..1)).await, [2 * round]);
        }
        // Of a call with both kinds each has what is its own.
        let parts = (0..12).flat_map(|p| [part(&alone, p, 1..2), part(&whole, p, 1..2)]);
        let outcomes = upstream.append(parts.collect()).await.unwrap();
        for pair in outcomes.chunks(2) {
            assert!(matches!(pair[0][0], Appended::Failed(_)), "{outcomes:?}");
            assert_eq!(pair[1], [Appended::Stored(2 * round + 1)]);
        }
    }
    cluster.kafka.lock().unwrap().restart(2).unwrap();
    for partition in 0..12 {
        heals(&upstream, part(&topic, partition, 2..3)).await;
        heals(&upstream, part(&alone, partition, 2..3)).await;
    }
}

/// A broker is killed under load: every record that was acknowledged is there once, in the order of the calls.
#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_broker_loses_doubles_and_turns_nothing() {
    const CALLS: usize = 2_000;
    let cluster = Cluster::start(3);
    let upstream = cluster.upstream(&[]);
    let topic = topics(&upstream).create(TopicSpec::events(name("killed"))).await.unwrap().spec.name;
    let mut answers = Vec::new();
    for call in 0..CALLS {
        let parts = (0..12).map(|partition| part(&topic, partition, call..call + 1)).collect();
        answers.push(upstream.append(parts));
        if call == CALLS / 2 {
            cluster.kafka.lock().unwrap().brokers[0].process.kill().unwrap();
        }
    }
    let mut offsets = vec![Vec::new(); 12];
    for outcomes in answers {
        for (partition, outcome) in outcomes.await.unwrap().into_iter().enumerate() {
            match outcome.as_slice() {
                [Appended::Stored(offset)] => offsets[partition].push(*offset),
                other => panic!("partition {partition}: {other:?}"),
            }
        }
    }
    let all: Vec<u64> = (0..CALLS as u64).collect();
    for (partition, offsets) in offsets.iter().enumerate() {
        assert_eq!(offsets, &all, "partition {partition}");
    }
    assert_eq!(upstream.describe(&topic).await.unwrap().latest, [CALLS as u64; 12]);
    cluster.kafka.lock().unwrap().restart(0).unwrap();
}

/// Everything arrives and nothing is answered: nobody knows what is stored, which is told; then all goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_unknown_and_heal() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = Setup::new(1).proxied().start(dir.path()).unwrap();
    let upstream = cluster::upstream(&kafka.bootstrap(), &[("delivery.timeout.ms", "2000")]);
    let topic = topics(&upstream).create(TopicSpec::events(name("unanswered"))).await.unwrap().spec.name;
    assert_eq!(stored(&upstream, part(&topic, 9, 0..1)).await, [0]);
    let proxy = kafka.brokers[0].proxy.as_ref().unwrap();
    proxy.responses(Flow::Held);
    let outcomes = upstream.append(vec![part(&topic, 9, 1..2)]).await.unwrap();
    let error = failed(&outcomes[0][0]);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unknown, "outcome_unknown"));
    // Nobody answers at all: what was not sent is not stored, and soon nothing is taken any more.
    let error = within("nothing is taken", async {
        loop {
            match upstream.append(vec![part(&topic, 3, 0..1)]).await {
                Ok(outcomes) => assert_ne!(failed(&outcomes[0][0]).kind(), ErrorKind::Internal),
                Err(error) => break error,
            }
        }
    })
    .await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
    proxy.heal();
    heals(&upstream, part(&topic, 9, 2..3)).await;
    let described = upstream.describe(&topic).await.unwrap();
    assert!((2..=3).contains(&described.latest[9]), "stored once or not at all: {described:?}");
}

/// Most brokers hang: whoever publishes is told at once, once it is known, and with what is true.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_hang_are_counted_and_waited_for_by_one_at_a_time() {
    let cluster = Cluster::start(3);
    let upstream = cluster.upstream(&[("delivery.timeout.ms", "4000")]);
    let topic = topics(&upstream).create(TopicSpec::events(name("hung"))).await.unwrap().spec.name;
    upstream.describe(&topic).await.unwrap();
    stored(&upstream, part(&topic, 3, 0..1)).await;
    let pause = |broker: usize| cluster.kafka.lock().unwrap().brokers[broker].process.pause().unwrap();
    let resume = |broker: usize| cluster.kafka.lock().unwrap().brokers[broker].process.resume().unwrap();
    [0, 1].into_iter().for_each(pause);
    // The one broker that is left may itself be slow to answer, and is asked again after a while.
    within("nothing is taken, and 1 of 3 brokers answers", async {
        loop {
            match upstream.append(vec![part(&topic, 3, 1..2)]).await {
                Ok(outcomes) => assert!(!matches!(outcomes[0][0], Appended::Stored(_)), "{outcomes:?}"),
                Err(error) => {
                    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "log_unavailable"));
                    if error.message().contains("1 of the 3 brokers that keep 'hung") {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await;
    [0, 1].into_iter().for_each(resume);
    heals(&upstream, part(&topic, 3, 2..3)).await;
    stored(&upstream, part(&topic, 7, 0..3)).await;
}

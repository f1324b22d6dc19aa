//! Appending: order, atomicity, identities, guards, waiting.

use super::sample::{KEYS, PARTITIONS, bounds, create, fill, nth, part, parts, places};
use super::{Backend, Check, checks, commit_all, event_record, read_all};
use crate::ErrorKind;
use crate::log::{Appended, Commit, GUARDS_TOPIC, Guard, Part};
use crate::partitioner::partition_of;
use crate::record::{Header, Headers, NewRecord};
use crate::topic::{TopicAlteration, TopicName, TopicSpec};
use crate::transaction::COMMIT_BYTES_MAX;
use bytes::Bytes;
use futures::FutureExt;
use std::collections::BTreeMap;

/// The checks, in reading order.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    offsets_follow_each_other,
    bounds_hold_what_was_acknowledged_once_the_end_is_sought,
    records_come_back_as_they_went,
    order_of_a_key_is_the_order_of_commits,
    a_commit_over_topics_is_whole_or_nothing,
    a_partition_may_occur_twice,
    concurrent_commits_each_get_their_own_offsets,
    the_same_event_is_stored_once,
    the_same_event_is_known_after_its_key_moved,
    another_body_under_the_same_id_conflicts,
    identities_are_checked_within_one_commit,
    unchecked_identities_are_not_looked_for,
    an_empty_commit_is_nothing,
    an_oversized_commit_is_refused,
    guards_fence,
    wait_resolves_when_something_is_appended,
    wait_resolves_when_the_topic_goes,
];

/// Bounds hold what was acknowledged before the end was sought, each time and for all who ask at once.
async fn bounds_hold_what_was_acknowledged_once_the_end_is_sought(b: Backend) {
    let topic = create(&b, "a").await;
    for n in 0..100 {
        let sent = parts(&topic, vec![nth(n)]);
        let partition = sent[0].partition as usize;
        let committed = commit_all(&*b.log, sent).await;
        let Appended::Stored(offset) = committed.parts[0].records[0] else { panic!("{committed:?}") };
        let asked = futures::future::join_all((0..5).map(|_| b.log.seek(&topic, i64::MAX))).await;
        for ends in asked {
            assert!(ends.expect("the ends")[partition] > offset, "event {n}");
            assert!(bounds(&*b.log, &topic).latest[partition] > offset, "event {n}");
        }
    }
    let unknown = b.log.seek(&TopicName::new("nowhere").expect("a name"), i64::MAX).await;
    assert_eq!(unknown.expect_err("there is none").code(), "unknown_topic");
}

/// The offsets of a partition are 0, 1, 2 …, the answer names them, and the bounds move along.
async fn offsets_follow_each_other(b: Backend) {
    let topic = create(&b, "a").await;
    let empty = bounds(&*b.log, &topic);
    assert_eq!((empty.earliest, empty.latest), (vec![0; 12], vec![0; 12]));
    let mut expected = vec![0u64; PARTITIONS as usize];
    for round in 0..20 {
        let parts = parts(&topic, (round * 50..round * 50 + 50).map(nth).collect());
        let sent = parts.clone();
        let committed = commit_all(&*b.log, parts).await;
        for (part, answer) in sent.iter().zip(&committed.parts) {
            for appended in &answer.records {
                let next = &mut expected[part.partition as usize];
                assert_eq!(*appended, Appended::Stored(*next));
                *next += 1;
            }
        }
        assert_eq!(bounds(&*b.log, &topic).latest, expected);
        assert!(committed.parts.iter().all(|p| p.epoch == empty.epoch));
    }
}

/// Keys, values, null values, header lists with repeats and nulls, empty and large payloads.
async fn records_come_back_as_they_went(b: Backend) {
    let topic = create(&b, "a").await;
    let header = |name: &str, value: Option<&str>| Header {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
    };
    let lists = [
        Headers::default(),
        Headers::new(vec![
            header("a", Some("1")),
            header("a", None),
            header("", Some("")),
            header("ü", Some("ß")),
        ]),
    ];
    let bytes = [
        None,
        Some(Bytes::new()),
        Some(Bytes::from_static(b"\x00\xff")),
        Some(Bytes::from(vec![7; 900 << 10])),
    ];
    let mut sent = Vec::new();
    for key in &bytes[..3] {
        for value in &bytes {
            for headers in &lists {
                let (key, value, headers) = (key.clone(), value.clone(), headers.clone());
                sent.push(NewRecord { key, value, headers, ..NewRecord::default() });
            }
        }
    }
    commit_all(&*b.log, vec![Part { topic: topic.clone(), partition: 3, records: sent.clone() }]).await;
    let records = read_all(&*b.log, &topic).await;
    assert_eq!(records.len(), sent.len());
    for (record, sent) in records.iter().zip(&sent) {
        assert_eq!((&record.key, &record.value, &record.headers), (&sent.key, &sent.value, &sent.headers));
        assert_eq!(record.timestamp_ms, record.append_time_ms, "an event topic stamps the append time");
    }
}

/// Events of a source are read in the order they were committed; append times never go back in a partition.
async fn order_of_a_key_is_the_order_of_commits(b: Backend) {
    let topic = create(&b, "a").await;
    fill(&*b.log, &topic, 0, 2 * KEYS).await;
    let records = read_all(&*b.log, &topic).await;
    let mut by_key: BTreeMap<(Bytes, Bytes), Vec<Bytes>> = BTreeMap::new();
    let mut model = by_key.clone();
    for record in &records {
        let source_type = record.headers.get("source_type").expect("an event has one").clone();
        let key = record.key.clone().expect("an event has a key");
        by_key
            .entry((source_type, key))
            .or_default()
            .push(record.value.clone().expect("an event has a value"));
    }
    for new in (0..2 * KEYS).map(nth) {
        let source_type = new.headers.get("source_type").expect("an event has one").clone();
        let values = model.entry((source_type, new.key.expect("an event has a key"))).or_default();
        values.push(new.value.expect("an event has a value"));
    }
    assert!(by_key == model, "every source has its events in order");
    let mut times = [i64::MIN; 12];
    for record in &records {
        let time = &mut times[record.partition as usize];
        assert!(*time <= record.append_time_ms, "append time goes back");
        *time = record.append_time_ms;
    }
}

/// A commit with one part that cannot be stores nothing of the others.
async fn a_commit_over_topics_is_whole_or_nothing(b: Backend) {
    let (one, two) = (create(&b, "a").await, create(&b, "b").await);
    let good = [part(&one, nth(1)), part(&two, nth(2))];
    let committed = commit_all(&*b.log, good.to_vec()).await;
    assert_ne!(committed.parts[0].epoch, committed.parts[1].epoch, "topics have epochs of their own");
    let bad = [
        Part { topic: b.topic("missing"), ..part(&one, nth(3)) },
        Part { partition: PARTITIONS, ..part(&one, nth(3)) },
    ];
    for bad in bad {
        let parts = vec![part(&one, nth(4)), bad, part(&two, nth(5))];
        let error = b.log.commit(Commit { parts, guard: None }).await.expect_err("one part cannot be");
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid), "{error:?}");
    }
    assert_eq!((read_all(&*b.log, &one).await.len(), read_all(&*b.log, &two).await.len()), (1, 1));
}

/// Parts for the same partition are appended one after the other.
async fn a_partition_may_occur_twice(b: Backend) {
    let topic = create(&b, "a").await;
    let at = |partition, n| Part { topic: topic.clone(), partition, records: vec![nth(n), nth(n + 1)] };
    let committed = commit_all(&*b.log, vec![at(4, 0), at(5, 10), at(4, 20)]).await;
    let answers: Vec<_> = committed.parts.into_iter().map(|p| p.records).collect();
    let stored = |a, b| vec![Appended::Stored(a), Appended::Stored(b)];
    assert_eq!(answers, [stored(0, 1), stored(0, 1), stored(2, 3)]);
}

/// Many commits at once: every offset is given once, and what was answered is what is read.
async fn concurrent_commits_each_get_their_own_offsets(b: Backend) {
    let topic = create(&b, "a").await;
    let commits = (0..200).map(|n| {
        let (log, parts) = (b.log.clone(), parts(&topic, (n * 5..n * 5 + 5).map(nth).collect()));
        async move { (parts.clone(), commit_all(&*log, parts).await) }
    });
    let mut answered = BTreeMap::new();
    for (parts, committed) in futures::future::join_all(commits).await {
        for (part, answer) in parts.into_iter().zip(committed.parts) {
            for (record, appended) in part.records.into_iter().zip(answer.records) {
                let Appended::Stored(offset) = appended else { panic!("new events are stored") };
                assert!(answered.insert((part.partition, offset), record.value).is_none(), "given twice");
            }
        }
    }
    let read: BTreeMap<_, _> =
        read_all(&*b.log, &topic).await.into_iter().map(|r| ((r.partition, r.offset), r.value)).collect();
    assert!(read == answered);
}

/// The same event again, in another commit, is answered with its first offset.
async fn the_same_event_is_stored_once(b: Backend) {
    let topic = create(&b, "a").await;
    fill(&*b.log, &topic, 0, KEYS).await;
    let records = read_all(&*b.log, &topic).await;
    let stored: BTreeMap<_, _> = records.iter().map(|r| (r.value.clone(), r)).collect();
    for n in (0..KEYS).step_by(7).chain([3, 10]) {
        let committed = commit_all(&*b.log, vec![part(&topic, nth(n))]).await;
        let first = stored[&nth(n).value];
        let duplicate = Appended::Duplicate { partition: first.partition, offset: first.offset };
        assert_eq!(committed.parts[0].records, [duplicate]);
    }
    assert_eq!(read_all(&*b.log, &topic).await.len(), KEYS);
}

/// More partitions move keys: the same event again is looked for in all of them, and the answer says where it stands.
async fn the_same_event_is_known_after_its_key_moved(b: Backend) {
    let topic = create(&b, "a").await;
    fill(&*b.log, &topic, 0, KEYS).await;
    let records = read_all(&*b.log, &topic).await;
    let stored: BTreeMap<_, _> = records.iter().map(|r| (r.value.clone(), r)).collect();
    let more = PARTITIONS + 5;
    let change = TopicAlteration { partitions: Some(more), ..TopicAlteration::default() };
    b.topics.alter(topic.clone(), change).await.expect("altered");
    let mut moved = 0;
    for n in (0..KEYS).step_by(7) {
        let record = nth(n);
        let partition = partition_of(record.key.as_deref().unwrap_or_default(), more);
        let first = stored[&record.value];
        moved += usize::from(partition != first.partition);
        let part = Part { topic: topic.clone(), partition, records: vec![record] };
        let committed = commit_all(&*b.log, vec![part]).await;
        let duplicate = Appended::Duplicate { partition: first.partition, offset: first.offset };
        assert_eq!(committed.parts[0].records, [duplicate]);
    }
    assert!(moved > 0, "no key moved");
    assert_eq!(read_all(&*b.log, &topic).await.len(), KEYS);
}

/// The same id with another body is a conflict; the same id of another source is another event.
async fn another_body_under_the_same_id_conflicts(b: Backend) {
    let (topic, other) = (create(&b, "a").await, create(&b, "b").await);
    let event = |source, body| event_record("repo", source, "id", body);
    let first = commit_all(&*b.log, vec![part(&topic, event("x", "1"))]).await.parts[0].records[0].clone();
    let Appended::Stored(offset) = first else { panic!("stored") };
    let parts = vec![
        part(&topic, event("x", "2")),
        part(&topic, event("y", "1")),
        part(&topic, event_record("user", "x", "id", "1")),
        part(&other, event("x", "2")),
    ];
    let answers: Vec<_> =
        commit_all(&*b.log, parts).await.parts.into_iter().map(|p| p.records[0].clone()).collect();
    let partition = part(&topic, event("x", "1")).partition;
    assert_eq!(answers[0], Appended::Conflict { partition, offset });
    assert!(answers[1..].iter().all(|a| matches!(a, Appended::Stored(_))), "{answers:?}");
    assert_eq!(read_all(&*b.log, &topic).await.len(), 3);
}

/// Twice in one commit, in one part or two, is once in the log.
async fn identities_are_checked_within_one_commit(b: Backend) {
    let topic = create(&b, "a").await;
    let event = |body| event_record("repo", "x", "id", body);
    let mut twice = part(&topic, event("1"));
    twice.records.extend([event("1"), event("2")]);
    let parts = vec![twice, part(&topic, event("1")), part(&topic, event("3"))];
    let answers: Vec<_> =
        commit_all(&*b.log, parts).await.parts.into_iter().flat_map(|p| p.records).collect();
    let (partition, offset) = (part(&topic, event("1")).partition, 0);
    let (same, other) = (Appended::Duplicate { partition, offset }, Appended::Conflict { partition, offset });
    assert_eq!(answers, [Appended::Stored(0), same.clone(), other.clone(), same, other]);
}

/// An id made a moment ago is stored without looking.
async fn unchecked_identities_are_not_looked_for(b: Backend) {
    let topic = create(&b, "a").await;
    let mut made = event_record("repo", "x", "id", "1");
    made.identity = made.identity.map(|identity| crate::identity::Identity { check: false, ..identity });
    for offset in 0..2 {
        let answer = commit_all(&*b.log, vec![part(&topic, made.clone())]).await;
        assert_eq!(answer.parts[0].records, [Appended::Stored(offset)]);
    }
}

/// No parts, or parts without records, change nothing.
async fn an_empty_commit_is_nothing(b: Backend) {
    let topic = create(&b, "a").await;
    assert!(commit_all(&*b.log, vec![]).await.parts.is_empty());
    let empty = Part { topic: topic.clone(), partition: 0, records: vec![] };
    let committed = commit_all(&*b.log, vec![empty, part(&topic, nth(0))]).await;
    assert!(committed.parts[0].records.is_empty() && committed.parts[1].records == [Appended::Stored(0)]);
}

/// More than a commit may hold is `TooLarge`, and nothing is stored.
async fn an_oversized_commit_is_refused(b: Backend) {
    let topic = create(&b, "a").await;
    let value = Some(Bytes::from(vec![1; 1 << 20]));
    let record = |n: usize| NewRecord {
        key: Some(n.to_string().into()),
        value: value.clone(),
        ..NewRecord::default()
    };
    let parts = (0..COMMIT_BYTES_MAX / (1 << 20) + 1).map(|n| part(&topic, record(n))).collect();
    let error = b.log.commit(Commit { parts, guard: None }).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(read_all(&*b.log, &topic).await.is_empty());
}

/// Whoever holds an older epoch of a name commits nothing.
async fn guards_fence(b: Backend) {
    let topic = create(&b, "a").await;
    let guards = TopicName::new(GUARDS_TOPIC).expect("a legal name");
    if let Err(error) = b.topics.create(TopicSpec::table(guards.clone(), 1)).await {
        assert_eq!(error.code(), "topic_exists");
    }
    let name = format!("{}-task", b.prefix);
    let guard = |epoch| Some(Guard { name: name.as_str().into(), epoch });
    let raise = |epoch: u64| Part {
        topic: guards.clone(),
        partition: 0,
        records: vec![NewRecord {
            key: Some(name.clone().into()),
            value: Some(Bytes::copy_from_slice(&epoch.to_be_bytes())),
            ..NewRecord::default()
        }],
    };
    let commit = |parts, guard| b.log.commit(Commit { parts, guard });
    commit(vec![raise(1)], guard(0)).await.expect("nobody raised it yet");
    commit(vec![part(&topic, nth(0))], guard(1)).await.expect("the holder commits");
    commit(vec![raise(2), part(&topic, nth(1))], guard(1)).await.expect("the holder raises it");
    for stale in [0, 1, 3] {
        for parts in [vec![part(&topic, nth(2))], vec![raise(9)]] {
            let error = commit(parts, guard(stale)).await.expect_err("another epoch");
            assert_eq!(error.kind(), ErrorKind::Fenced);
        }
    }
    commit(vec![part(&topic, nth(3))], guard(2)).await.expect("the new holder commits");
    assert_eq!(read_all(&*b.log, &topic).await.len(), 3);
}

/// `wait` is pending while level and resolves when any partition grows, also if it grew before the call.
async fn wait_resolves_when_something_is_appended(b: Backend) {
    let (topic, other) = (create(&b, "a").await, create(&b, "b").await);
    for n in 0..30 {
        let at = bounds(&*b.log, &topic);
        let mut wait = b.log.wait(&topic, at.epoch, &at.latest);
        assert!((&mut wait).now_or_never().is_none(), "nothing was appended yet");
        fill(&*b.log, &other, n, n + 1).await;
        assert!((&mut wait).now_or_never().is_none(), "another topic");
        fill(&*b.log, &topic, n, n + 1).await;
        wait.await;
        b.log.wait(&topic, at.epoch, &at.latest).await;
    }
    assert_eq!(places(&read_all(&*b.log, &topic).await).len(), 30);
}

/// Nobody waits for a topic that is gone or has another epoch.
async fn wait_resolves_when_the_topic_goes(b: Backend) {
    let topic = create(&b, "a").await;
    let at = bounds(&*b.log, &topic);
    let mut wait = b.log.wait(&topic, at.epoch, &at.latest);
    assert!((&mut wait).now_or_never().is_none());
    b.topics.delete(topic.clone()).await.expect("it is deleted");
    wait.await;
    create(&b, "a").await;
    b.log.wait(&topic, at.epoch, &at.latest).await;
}

//! Administering topics.

use super::sample::{bounds, create, fill};
use super::{Backend, Check, checks, read_all};
use crate::ErrorKind;
use crate::filter::Filter;
use crate::log::{Read, Span};
use crate::topic::{Cleanup, TimestampKind, TopicAlteration, TopicSpec};

/// The checks, in reading order.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    a_topic_is_as_it_was_created,
    names_are_taken_once,
    alter_changes_what_is_named,
    more_partitions_are_another_epoch,
    a_topic_made_again_is_another,
    unknown_topics_are_not_found,
];

/// What was asked for is described and listed; it begins empty.
async fn a_topic_is_as_it_was_created(b: Backend) {
    let specs = [
        TopicSpec::events(b.topic("a")),
        TopicSpec {
            partitions: 3,
            timestamp: TimestampKind::Create,
            retention_ms: None,
            retention_bytes: Some(1 << 30),
            ..TopicSpec::events(b.topic("b"))
        },
        TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::table(b.topic("c"), 1) },
    ];
    for spec in &specs {
        let made = b.topics.create(spec.clone()).await.expect("created");
        assert_eq!(&made.spec, spec);
        let told = b.topics.describe(spec.name.clone()).await.expect("described");
        assert_eq!((&told.spec, told.epoch), (spec, made.epoch));
        let empty = bounds(&*b.log, &spec.name);
        assert_eq!((empty.epoch, empty.partitions()), (made.epoch, spec.partitions));
        assert!(empty.latest.iter().all(|&end| end == 0));
    }
    let listed = b.topics.list().await.expect("listed");
    let names: Vec<_> = listed.iter().map(|t| t.spec.name.clone()).collect();
    assert!(names.is_sorted(), "by name");
    assert!(specs.iter().all(|s| names.contains(&s.name)));
}

/// The second of a name is a conflict and changes nothing.
async fn names_are_taken_once(b: Backend) {
    let topic = create(&b, "a").await;
    let before = b.topics.describe(topic.clone()).await.expect("described");
    let again = b.topics.create(TopicSpec { partitions: 3, ..TopicSpec::events(topic.clone()) }).await;
    let error = again.expect_err("the name is taken");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "topic_exists"));
    assert_eq!(b.topics.describe(topic).await.expect("described"), before);
}

/// Retention can be changed alone; records, offsets and epoch stay.
async fn alter_changes_what_is_named(b: Backend) {
    let topic = create(&b, "a").await;
    fill(&*b.log, &topic, 0, 100).await;
    let before = b.topics.describe(topic.clone()).await.expect("described");
    let change = TopicAlteration { retention_ms: Some(None), ..TopicAlteration::default() };
    let after = b.topics.alter(topic.clone(), change).await.expect("altered");
    assert_eq!(after.spec, TopicSpec { retention_ms: None, ..before.spec.clone() });
    let change = TopicAlteration { retention_bytes: Some(Some(1 << 40)), ..TopicAlteration::default() };
    let after = b.topics.alter(topic.clone(), change).await.expect("altered");
    let wanted = TopicSpec { retention_ms: None, retention_bytes: Some(1 << 40), ..before.spec };
    assert_eq!((after.spec, after.epoch), (wanted, before.epoch));
    assert_eq!(read_all(&*b.log, &topic).await.len(), 100);
}

/// Raising the number of partitions keeps the records and makes every old position stale.
async fn more_partitions_are_another_epoch(b: Backend) {
    let topic = create(&b, "a").await;
    fill(&*b.log, &topic, 0, 200).await;
    let before = bounds(&*b.log, &topic);
    let change = TopicAlteration { partitions: Some(24), ..TopicAlteration::default() };
    b.topics.alter(topic.clone(), change).await.expect("altered");
    let after = bounds(&*b.log, &topic);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!((after.partitions(), &after.latest[..12]), (24, &before.latest[..]));
    assert_eq!(read_all(&*b.log, &topic).await.len(), 200);
}

/// Deleting takes the records, and the next topic of that name has another epoch and begins at 0.
async fn a_topic_made_again_is_another(b: Backend) {
    let topic = create(&b, "a").await;
    fill(&*b.log, &topic, 0, 100).await;
    let before = bounds(&*b.log, &topic);
    b.topics.delete(topic.clone()).await.expect("deleted");
    assert_eq!(b.log.bounds(&topic).expect_err("gone").code(), "unknown_topic");
    create(&b, "a").await;
    let after = bounds(&*b.log, &topic);
    assert_ne!(after.epoch, before.epoch);
    assert!(after.latest.iter().all(|&end| end == 0));
    let stale = Read {
        topic: topic.clone(),
        epoch: before.epoch,
        spans: Span::all(&[0; 12], &before.latest),
        filter: Filter::All,
        records_max: 10,
        bytes_max: 1000,
        reverse: false,
    };
    assert_eq!(b.log.read(stale).await.expect_err("stale").code(), "epoch_changed");
    // The same events again are new: identities went with the topic.
    fill(&*b.log, &topic, 0, 100).await;
    assert_eq!(read_all(&*b.log, &topic).await.len(), 100);
}

/// Every call that names a topic says so when there is none.
async fn unknown_topics_are_not_found(b: Backend) {
    let missing = b.topic("missing");
    let errors = [
        b.topics.describe(missing.clone()).await.err(),
        b.topics.alter(missing.clone(), TopicAlteration::default()).await.err(),
        b.topics.delete(missing.clone()).await.err(),
        b.topics.trim(missing.clone(), vec![0; 12]).await.err(),
    ];
    for error in errors {
        let error = error.expect("there is no such topic");
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "unknown_topic"));
    }
}

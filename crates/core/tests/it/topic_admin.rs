//! The rules of administering topics.

use crate::world::{World, namespaces, topic};
use dualstream_core::position::{Cursor, Next, Position, Resume};
use dualstream_core::topic::{Cleanup, Epoch, TopicAlteration, TopicSpec};
use dualstream_core::topic_admin::{Before, TOPICS_MAX, TopicAdmin};
use dualstream_core::{Error, ErrorKind};
use std::sync::Arc;

fn admin(world: &World) -> TopicAdmin {
    let log = Arc::new(world.log.clone());
    TopicAdmin::new(log.clone(), log, namespaces())
}

fn partitions(count: u32) -> TopicAlteration {
    TopicAlteration { partitions: Some(count), ..TopicAlteration::default() }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, code: &str) -> Error {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.code()), (kind, code));
    error
}

#[tokio::test]
async fn keys_of_a_topic_with_records_move_only_when_forced() {
    let world = World::new();
    let admin = admin(&world);
    let plain = admin.alter(topic("events"), partitions(24), false).await.unwrap();
    assert_eq!(plain.info.spec.partitions, 24, "nothing is stored, so nothing moves");
    world.publish(0, 30).await;
    let before = admin.describe(topic("events")).await.unwrap();
    let error = refused(
        admin.alter(topic("events"), partitions(48), false).await,
        ErrorKind::Conflict,
        "keyed_topic",
    );
    assert!(error.mend().is_some() && error.field() == Some("partitions"));
    // A retention beside the partitions is not changed either; alone it is.
    let retention = TopicAlteration { retention_bytes: Some(Some(7)), ..TopicAlteration::default() };
    let both = TopicAlteration { partitions: Some(48), ..retention.clone() };
    refused(admin.alter(topic("events"), both, false).await, ErrorKind::Conflict, "keyed_topic");
    assert_eq!(admin.describe(topic("events")).await.unwrap().info, before.info);
    admin.alter(topic("events"), retention, false).await.unwrap();
    admin.alter(topic("events"), partitions(24), false).await.unwrap();
    let forced = admin.alter(topic("events"), partitions(48), true).await.unwrap();
    assert_eq!((forced.info.spec.partitions, forced.bounds.partitions()), (48, 48));
    assert_ne!(forced.bounds.epoch, before.bounds.epoch);
    assert_eq!(forced.info.spec.retention_bytes, Some(7));
}

#[tokio::test]
async fn a_topic_that_only_had_records_is_keyed_too() {
    let world = World::new();
    let admin = admin(&world);
    world.publish(0, 30).await;
    let (emptied, gone) = admin.trim(topic("events"), Before::Latest).await.unwrap();
    assert!(emptied.records() == 0 && gone == 20, "{gone}");
    refused(admin.alter(topic("events"), partitions(24), false).await, ErrorKind::Conflict, "keyed_topic");
}

#[tokio::test]
async fn what_a_namespace_stores_into_is_deleted_only_when_forced() {
    let world = World::new();
    let admin = admin(&world);
    assert_eq!(admin.describe(topic("chat")).await.unwrap().namespaces, ["chat"]);
    let error = refused(admin.delete(topic("chat"), false).await, ErrorKind::Conflict, "topic_in_use");
    assert!(error.message().contains("'chat'") && error.mend().is_some());
    admin.describe(topic("chat")).await.unwrap();
    admin.delete(topic("chat"), true).await.unwrap();
    refused(admin.describe(topic("chat")).await, ErrorKind::NotFound, "unknown_topic");
    refused(admin.delete(topic("chat"), false).await, ErrorKind::NotFound, "unknown_topic");
    let table = TopicSpec::table(topic("chat"), 12);
    refused(admin.create(table).await, ErrorKind::Invalid, "invalid_cleanup_policy");
    admin.create(TopicSpec::events(topic("chat"))).await.unwrap();
    // A bus-only namespace stores nothing, so its name is free.
    admin.create(TopicSpec::table(topic("ai"), 12)).await.unwrap();
    assert!(admin.describe(topic("ai")).await.unwrap().namespaces.is_empty());
    admin.delete(topic("ai"), false).await.unwrap();
}

#[tokio::test]
async fn internal_topics_are_the_logs_own() {
    let world = World::new();
    let admin = admin(&world);
    let own = topic("__guards");
    world.log.create_now(TopicSpec::table(own.clone(), 1)).unwrap();
    for result in [
        admin.create(TopicSpec::events(topic("__mine"))).await.map(drop),
        admin.alter(own.clone(), partitions(2), true).await.map(drop),
        admin.delete(own.clone(), true).await,
        admin.trim(own.clone(), Before::Latest).await.map(drop),
    ] {
        refused(result, ErrorKind::Denied, "internal_topic");
    }
    let names: Vec<_> =
        admin.list().await.unwrap().into_iter().map(|t| t.info.spec.name.to_string()).collect();
    assert!(names.is_sorted() && names[0] == "__guards" && names.contains(&"events".to_owned()), "{names:?}");
}

#[tokio::test]
async fn trimming_takes_places_of_every_kind() {
    let world = World::new();
    let admin = admin(&world);
    for n in 0..60 {
        world.log.set_time(1_000 + n as i64);
        world.publish(n, 1).await;
    }
    let all = world.log.all(&topic("events"));
    let epoch = world.epoch("events");
    let kept = |from: usize| all[from..].to_vec();
    let trim = async |before| admin.trim(topic("events"), before).await;

    let (status, gone) = trim(Before::Time(all[10].append_time_ms)).await.unwrap();
    assert_eq!((world.log.all(&topic("events")), gone, status.records()), (kept(10), 10, 30));
    // One event stands for its partition alone, and stays.
    let one = &all[25];
    let at = Position { epoch, partition: one.partition, offset: one.offset };
    let (_, gone) = trim(Before::Position(at)).await.unwrap();
    let of_partition = |r: &&dualstream_core::record::Record| r.partition == one.partition;
    assert_eq!(gone as usize, all[10..25].iter().filter(of_partition).count());
    assert!(world.log.all(&topic("events")).contains(one));
    // A place passed already changes nothing.
    assert_eq!(trim(Before::Time(0)).await.unwrap().1, 0);
    let (start, end) = trim(Before::Time(0)).await.unwrap().0.ends();
    assert_eq!(trim(Before::Resume(start)).await.unwrap().1, 0);
    let other = Cursor { epoch: Epoch(99), next: Next::All(vec![0; 12]) };
    let both = Resume(vec![other.clone(), end.0[0].clone()]);
    assert_eq!(trim(Before::Resume(both)).await.unwrap().0.records(), 0);
    for stale in [
        Before::Resume(Resume(vec![other])),
        Before::Resume(Resume(vec![Cursor { epoch, next: Next::All(vec![0; 3]) }])),
        Before::Position(Position { epoch: Epoch(99), ..at }),
        Before::Position(Position { partition: 12, ..at }),
    ] {
        let error = refused(trim(stale).await, ErrorKind::Gone, "epoch_changed");
        assert_eq!(error.field(), Some("before"));
    }
    admin.create(TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::events(topic("table")) }).await.unwrap();
    refused(admin.trim(topic("table"), Before::Latest).await, ErrorKind::Invalid, "invalid_trim");
}

#[tokio::test]
async fn topics_are_bounded_in_number() {
    let world = World::new();
    let admin = admin(&world);
    for n in 4..TOPICS_MAX {
        world
            .log
            .create_now(TopicSpec { partitions: 1, ..TopicSpec::events(topic(&format!("t{n}"))) })
            .unwrap();
    }
    let error =
        refused(admin.create(TopicSpec::events(topic("more"))).await, ErrorKind::Conflict, "too_many_topics");
    assert_eq!(error.limit(), Some(TOPICS_MAX as u64));
}

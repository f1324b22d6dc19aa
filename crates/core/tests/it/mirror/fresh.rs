//! Histories hold what was acknowledged before they were asked for, on every node, and who read further elsewhere goes on
//! there.

use super::following::{Faulty, node_with};
use super::*;

/// A hub over the log of a node.
fn hub(node: &Node) -> Hub {
    let namespace =
        Namespace { topic: name("events"), ..crate::world::namespace("repo", Stream::Dual, true) };
    let namespaces = Namespaces::new(vec![namespace], None);
    let bus = Arc::new(MemoryBus::default());
    let (hub, runner) = Hub::new(hub::Settings::default(), Arc::new(node.log.clone()), bus, namespaces);
    tokio::spawn(runner.run(std::future::pending()));
    hub
}

/// The ids of the last events of a source, newest first.
async fn last_ids(hub: &Hub, key: &str) -> Result<Vec<String>> {
    let target = Target::parse(&format!("repo:{key}")).unwrap();
    let page = hub.history(History { target, since: Since::Latest, limit: 10, reverse: true }).await?;
    Ok(page.entries.iter().map(|entry| entry.wire.id.to_string()).collect())
}

async fn append(node: &Node, key: &str, id: &str) {
    commit_all(&node.log, vec![part(&name("events"), event_record("repo", key, id, "x"))]).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_holds_what_any_node_was_told_is_stored() {
    for backfill in [65_536, 0] {
        let cluster = Cluster::with_topics().await;
        cluster.fill(&name("events"), 0, 2_000);
        let (a, b) = (cluster.node(settings(backfill)).await, cluster.node(settings(backfill)).await);
        let (hub_a, hub_b) = (hub(&a), hub(&b));
        for i in 0..200 {
            let (key, id) = (format!("fresh-{}", i % 20), format!("fresh-{i}"));
            append(&a, &key, &id).await;
            for (of, hub) in [("another", &hub_b), ("the same", &hub_a)] {
                assert_eq!(last_ids(hub, &key).await.unwrap()[0], id, "{of} node, backfill {backfill}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_upstream_is_away_a_page_is_what_is_held_or_none() {
    let cluster = Cluster::with_topics().await;
    let upstream = Faulty::of(&cluster);
    let node = async || {
        let (store, upstream) = (ModelLog::new(&[]), Arc::new(upstream.clone()));
        node_with(&cluster, settings(65_536), &store, upstream, cluster.epochs.clone()).await
    };
    let (held, cold) = (node().await, node().await);
    append(&held, "k", "first").await;
    held.level(&name("events")).await;
    // Level when it was last described.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (hub_held, hub_cold) = (hub(&held), hub(&cold));
    // It hangs, and later is known to be away.
    for is_away in [false, true] {
        upstream.stick((!is_away).then(|| name("events")));
        cluster.upstream.set_away(is_away);
        let begun = tokio::time::Instant::now();
        assert_eq!(last_ids(&hub_held, "k").await.unwrap(), ["first"]);
        let error = last_ids(&hub_cold, "k").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "not_yet_visible"));
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not wait for long");
    }
    cluster.upstream.set_away(false);
    upstream.stick(None);
    loop {
        match last_ids(&hub_cold, "k").await {
            Ok(ids) => break assert_eq!(ids, ["first"]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The topic of a node that has not noticed yet that it was made again, or has more partitions: a page is of what is there.
#[tokio::test(start_paused = true)]
async fn ends_are_those_of_the_topic_that_is_there() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    cluster.fill(&topic, 0, 2_000);
    let node = cluster.node(settings(65_536)).await;
    node.level(&topic).await;
    let before = node.log.bounds(&topic).unwrap();
    cluster.upstream.delete(topic.clone()).await.unwrap();
    let spec = TopicSpec { partitions: 24, ..TopicSpec::events(topic.clone()) };
    cluster.upstream.create(spec).await.unwrap();
    assert_eq!(node.log.seek(&topic, i64::MAX).await.unwrap(), [0; 24]);
    let after = node.log.bounds(&topic).unwrap();
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.latest, [0; 24]);
}

/// Several come at once from a node that had read further, and upstream takes its time to say where it ends: none of them
/// is told that there is nothing.
#[tokio::test(start_paused = true)]
async fn all_who_read_further_elsewhere_wait_for_the_same_answer() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let upstream = Faulty::of(&cluster);
    let store = ModelLog::new(&[]);
    let node =
        node_with(&cluster, settings(100), &store, Arc::new(upstream.clone()), cluster.epochs.clone()).await;
    let epoch = node.log.bounds(&topic).unwrap().epoch;
    let read = |from| {
        let spans = vec![Span { partition: 3, from, until: from }];
        let filter = Filter::All;
        node.log.read(Read {
            topic: topic.clone(),
            epoch,
            spans,
            filter,
            records_max: 1,
            bytes_max: 1,
            reverse: false,
        })
    };
    for i in 0..10 {
        cluster.upstream.put(&topic, 3, event_record("repo", "k", &format!("{i}"), "x"));
    }
    upstream.stick(Some(topic.clone()));
    let come =
        futures::future::join_all([5, 7, 9, 10, 11].into_iter().enumerate().map(async |(nth, from)| {
            tokio::time::sleep(Duration::from_millis(30 * nth as u64)).await;
            read(from).await.map_err(|error| error.code())
        }));
    let (answers, ()) = futures::join!(come, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        upstream.stick(None);
    });
    let (beyond, rest) = answers.split_last().unwrap();
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    assert_eq!(beyond.as_ref().unwrap_err(), &"position_from_future");
}

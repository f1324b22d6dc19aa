//! Listing channels: what is stored and what is subscribed to, in pages.

use crate::world::{World, namespaces, topic};
use dualstream_core::channels::{Channels, LIMIT_MAX, List, Listed};
use dualstream_core::hub::Start;
use std::collections::BTreeSet;
use std::sync::Arc;

fn channels(world: &World) -> Channels {
    Channels::new(Arc::new(world.log.clone()), world.hub.clone())
}

/// Everything with a prefix, in pages of `limit`.
async fn all(channels: &Channels, prefix: &str, limit: usize) -> Vec<Listed> {
    let mut list = List { prefix: prefix.into(), after: None, limit };
    let mut found: Vec<Listed> = Vec::new();
    loop {
        let page = channels.list(&list).await.unwrap();
        assert!(page.channels.len() <= limit);
        assert!(list.after.is_none() || page.channels.iter().all(|c| Some(&c.channel) > list.after.as_ref()));
        found.extend(page.channels);
        match page.next {
            Some(next) => list.after = Some(next),
            None => return found,
        }
    }
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|listed| listed.channel.as_str()).collect()
}

/// The channels of what a world holds.
fn stored(world: &World) -> BTreeSet<String> {
    let of_topic = |name: &str| {
        let (records, name) = (world.log.all(&topic(name)), topic(name));
        let channel = move |r: &dualstream_core::record::Record| {
            let (source_type, id) = dualstream_core::filter::source_of(&r.headers, r.key.as_deref()).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            namespaces().channel_in(&name, &text(source_type), &text(id))
        };
        records.iter().map(channel).collect::<Vec<_>>()
    };
    ["events", "chat"].into_iter().flat_map(of_topic).collect()
}

#[tokio::test(start_paused = true)]
async fn every_stored_channel_comes_once_in_order() {
    let world = World::new();
    let channels = channels(&world);
    assert!(all(&channels, "", 10).await.is_empty());
    world.publish(0, 900).await;
    let expected = stored(&world);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert!(expected.len() > 300 && expected[0].starts_with("chat:"));
    for limit in [17, 100, expected.len() - 1, expected.len(), LIMIT_MAX] {
        let listed = all(&channels, "", limit).await;
        assert_eq!(names(&listed), expected, "pages of {limit}");
        assert!(listed.iter().all(|listed| listed.subscribers == 0));
    }
    for prefix in
        ["c", "chat", "chat:", "chat:k1", "e", "events:", "events:repo", "events:repo:k9", "x", "events:z"]
    {
        let wanted: Vec<&str> = expected.iter().copied().filter(|c| c.starts_with(prefix)).collect();
        assert_eq!(names(&all(&channels, prefix, 13).await), wanted, "{prefix}");
    }
}

#[tokio::test(start_paused = true)]
async fn subscribers_are_counted_by_name_wherever_they_are() {
    let world = World::new();
    let channels = channels(&world);
    world.publish(0, 300).await;
    let mut held = vec![
        world.subscribe(&["events:repo:k7", "chat:k7", "events:repo:k7"], Start::Latest).await,
        world.subscribe(&["events:repo:k7"], Start::Earliest).await,
        world.live(&["events:repo:k7", "events:repo:nothing-yet"]).await,
        world.live(&["ai:stream:1"]).await,
        world.live(&["events:*"]).await,
    ];
    let count = async |channel: &str| {
        let found = all(&channels, channel, 5).await;
        found.into_iter().find(|listed| listed.channel == channel).map(|listed| listed.subscribers)
    };
    assert_eq!(count("events:repo:k7").await, Some(3));
    assert_eq!(count("chat:k7").await, Some(1));
    assert_eq!(count("events:repo:nothing-yet").await, Some(1));
    assert_eq!(count("ai:stream:1").await, Some(1));
    let everything = all(&channels, "", 3).await;
    assert!(names(&everything).is_sorted());
    let expected = stored(&world).len() + 2;
    assert_eq!(everything.len(), expected, "each once, and no pattern");
    assert_eq!(everything.iter().map(|listed| listed.subscribers).sum::<u64>(), 6);
    held.truncate(1);
    assert_eq!(count("events:repo:k7").await, Some(1));
    assert_eq!(count("ai:stream:1").await, None);
    held.clear();
    assert_eq!(names(&all(&channels, "", 100).await).len(), expected - 2);
}

#[tokio::test]
async fn a_topic_that_is_gone_has_no_channels() {
    let world = World::new();
    let channels = channels(&world);
    world.publish(0, 30).await;
    let events = names(&all(&channels, "events:", 100).await).len();
    let log: &dyn dualstream_core::topics::Topics = &world.log;
    log.delete(topic("chat")).await.unwrap();
    assert_eq!(all(&channels, "", 7).await.len(), events);
}

#[tokio::test]
async fn pages_are_bounded() {
    let world = World::new();
    for limit in [0, LIMIT_MAX + 1] {
        let list = List { prefix: String::new(), after: None, limit };
        let error = channels(&world).list(&list).await.unwrap_err();
        assert_eq!((error.code(), error.limit()), ("invalid_limit", Some(LIMIT_MAX as u64)));
    }
}

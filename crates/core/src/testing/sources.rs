//! Listing the sources of a topic.

use super::sample::{commit_all, create, event_record, fill, nth, part};
use super::{Backend, Check, checks};
use crate::ErrorKind;
use crate::filter::source_of;
use crate::sources::SourceRange;
use crate::topic::TopicName;
use std::collections::BTreeSet;

/// The checks, in reading order.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    sources_come_in_order_whatever_the_page,
    a_prefix_is_bytes_and_nothing_more,
    topics_do_not_share_sources,
];

const EVENTS: usize = 900;

/// Pages of every size give all sources once, in order.
async fn sources_come_in_order_whatever_the_page(b: Backend) {
    let topic = create(&b, "a").await;
    assert_eq!(pages(&b, &topic, "", 10).await, Vec::<String>::new(), "nothing is stored yet");
    fill(&*b.log, &topic, 0, EVENTS).await;
    let expected: Vec<String> = stored().into_iter().collect();
    for max in [3, 100, expected.len(), expected.len() + 1] {
        assert_eq!(pages(&b, &topic, "", max).await, expected, "pages of {max}");
    }
    let of_type: Vec<String> = expected.iter().filter(|s| s.starts_with("repo:")).cloned().collect();
    assert!(of_type.len() > 80);
    assert_eq!(pages(&b, &topic, "repo:", 33).await, of_type);
    assert_eq!(pages(&b, &topic, "nothing", 33).await, Vec::<String>::new());
}

/// A prefix may end anywhere, also inside a letter; what comes after a name need not be one that is there.
async fn a_prefix_is_bytes_and_nothing_more(b: Backend) {
    let topic = create(&b, "a").await;
    for (n, id) in ["gr\u{fc}n", "gr\u{fb}n", "gr", "gr:x", "g"].into_iter().enumerate() {
        commit_all(&*b.log, vec![part(&topic, event_record("color", id, &n.to_string(), ""))]).await;
    }
    let list = async |prefix: &[u8], after: Option<&[u8]>| {
        let range = SourceRange { prefix: prefix.into(), after: after.map(Into::into), max: 10 };
        let found = b.sources.sources(&topic, range).await.expect("listed");
        found.into_iter().map(|s| String::from_utf8(s).expect("names are text")).collect::<Vec<_>>()
    };
    assert_eq!(list(b"color:gr\xc3", None).await, ["color:gr\u{fb}n", "color:gr\u{fc}n"]);
    assert_eq!(
        list(b"color:gr", Some(b"color:gr/")).await,
        ["color:gr:x", "color:gr\u{fb}n", "color:gr\u{fc}n"]
    );
    assert_eq!(list(b"color:gr", Some(b"a")).await.len(), 4, "what comes before all changes nothing");
    assert_eq!(list(b"color:gr", Some(b"d")).await.len(), 0);
}

/// One topic's sources are not another's, and a topic that is not there has none to tell.
async fn topics_do_not_share_sources(b: Backend) {
    let (full, empty) = (create(&b, "a").await, create(&b, "b").await);
    fill(&*b.log, &full, 0, 100).await;
    assert_eq!(pages(&b, &empty, "", 10).await, Vec::<String>::new());
    b.topics.delete(full.clone()).await.expect("deleted");
    let range = SourceRange { prefix: Vec::new(), after: None, max: 1 };
    let error = b.sources.sources(&full, range).await.expect_err("gone");
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "unknown_topic"));
}

fn stored() -> BTreeSet<String> {
    let name = |n| {
        let record = nth(n);
        let (source_type, id) = source_of(&record.headers, record.key.as_deref()).expect("an event");
        format!("{}:{}", String::from_utf8_lossy(source_type), String::from_utf8_lossy(id))
    };
    (0..EVENTS).map(name).collect()
}

/// All sources with a prefix, asked for in pages of `max`.
async fn pages(b: &Backend, topic: &TopicName, prefix: &str, max: usize) -> Vec<String> {
    let mut range = SourceRange { prefix: prefix.into(), after: None, max };
    let mut all = Vec::new();
    loop {
        let page = b.sources.sources(topic, range.clone()).await.expect("listed");
        assert!(page.len() <= max);
        let is_last = page.len() < max;
        range.after = page.last().cloned();
        all.extend(page.into_iter().map(|s| String::from_utf8(s).expect("names are text")));
        if is_last {
            return all;
        }
    }
}

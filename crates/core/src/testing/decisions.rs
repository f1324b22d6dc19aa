//! Deciding by records of one topic, over any log.

use super::{Backend, Check, ManualClock, SeededEntropy, checks};
use crate::ErrorKind;
use crate::decisions::{Decision, Decisions, Disconnect, Outcome, Runner, Settings, State};
use crate::log::{Commit, Part};
use crate::record::NewRecord;
use crate::topic::{TopicName, TopicSpec};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{join, join_all};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The checks, in reading order.
pub const CHECKS: &[Check<Backend>] = checks![Backend:
    one_of_those_who_propose_the_same_decides,
    what_is_decided_is_there_for_who_comes_later,
    an_order_comes_to_every_node_that_is_there,
    a_new_node_begins_at_the_last_snapshot,
    what_no_node_needs_is_trimmed,
    records_of_others_are_passed_over,
    a_topic_made_again_begins_anew,
    a_topic_that_forgets_is_altered,
    a_topic_of_another_shape_is_refused,
];

/// Snapshots come so often.
const EVERY: u64 = 20;

/// A node that decides.
struct Node {
    decisions: Decisions,
}

fn settings(b: &Backend) -> Settings {
    // Pages so small that a snapshot is several of them away.
    Settings {
        topic: b.topic("decisions"),
        snapshot_every: EVERY,
        page_records_max: 7,
        ..Settings::default()
    }
}

/// A node that read what is decided, and what keeps it up to date.
async fn node(b: &Backend, seed: u64) -> (Node, Runner) {
    let (clock, entropy) =
        (Arc::new(ManualClock::new(1_700_000_000_000)), Arc::new(SeededEntropy::new(seed)));
    let opened = Decisions::open(settings(b), b.log.clone(), b.topics.clone(), clock, entropy).await;
    let (decisions, runner) = opened.expect("opened");
    (Node { decisions }, runner)
}

/// Does something on one node while it runs.
async fn on_one(b: &Backend, act: impl AsyncFnOnce(&Node)) {
    let (first, runner) = node(b, 1).await;
    tokio::select! {
        biased;
        () = act(&first) => {}
        () = runner.run(pending()) => unreachable!("it runs for ever"),
    }
}

/// Does something on two nodes while they run.
async fn on_two(b: &Backend, act: impl AsyncFnOnce(&Node, &Node)) {
    let ((first, one), (second, other)) = (node(b, 1).await, node(b, 2).await);
    tokio::select! {
        biased;
        () = act(&first, &second) => {}
        _ = join(one.run(pending()), other.run(pending())) => unreachable!("they run for ever"),
    }
}

impl Node {
    /// Decides the next generation of topic `events` with an identity.
    async fn raise(&self, topic_id: u128) -> Outcome {
        let topic = events();
        let from = self.decisions.state().generation(&topic, topic_id);
        self.propose(topic_id, from).await
    }

    async fn propose(&self, topic_id: u128, from: u64) -> Outcome {
        let decision = Decision::Generation { topic: events(), topic_id, from };
        self.decisions.propose(decision).await.expect("an answer")
    }

    /// The state, once it was read as far as `next`.
    async fn at(&self, next: u64) -> Arc<State> {
        let mut state = self.decisions.state();
        while state.next() < next {
            state = self.decisions.changed(&state).await;
        }
        state
    }

    fn generation(&self, topic_id: u128) -> u64 {
        self.decisions.state().generation(&events(), topic_id)
    }
}

fn events() -> TopicName {
    TopicName::new("events").expect("a legal name")
}

/// Two nodes that find the same at once both see one new generation.
async fn one_of_those_who_propose_the_same_decides(b: Backend) {
    on_two(&b, async |first, second| {
        for topic_id in 0..12 {
            let outcomes = join(first.propose(topic_id, 0), second.propose(topic_id, 0)).await;
            let outcomes = [outcomes.0, outcomes.1];
            let decided =
                outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Decided { .. })).count();
            assert_eq!(decided, 1, "{outcomes:?}");
            assert!(outcomes.contains(&Outcome::AlreadyDecided), "{outcomes:?}");
            assert_eq!((first.generation(topic_id), second.generation(topic_id)), (1, 1));
        }
        assert!(matches!(first.propose(0, 5).await, Outcome::Refused(_)));
        assert_eq!(first.generation(0), 1);
    })
    .await;
}

/// Whoever is answered can rely on it, here and on a node that starts now.
async fn what_is_decided_is_there_for_who_comes_later(b: Backend) {
    on_one(&b, async |first| {
        let decided = join_all((0..50).map(|topic_id| first.raise(topic_id))).await;
        assert!(decided.iter().all(|outcome| matches!(outcome, Outcome::Decided { .. })), "{decided:?}");
        let (second, _) = node(&b, 2).await;
        assert!((0..50).all(|topic_id| second.generation(topic_id) == 1));
        let next = second.decisions.state().next();
        assert_eq!(first.at(next).await.generations().count(), 50);
    })
    .await;
}

/// Each gets it once, also the one that proposed it, before that hears what became of it. Who comes later does not.
async fn an_order_comes_to_every_node_that_is_there(b: Backend) {
    on_two(&b, async |first, second| {
        for connection in 0..12 {
            let order = Disconnect::new(connection, 3503, "force disconnect").expect("a legal order");
            let proposed = first.decisions.propose(Decision::Disconnect(order.clone())).await;
            assert!(matches!(proposed, Ok(Outcome::Decided { .. })), "{proposed:?}");
            assert_eq!(first.decisions.ordered().now_or_never(), Some(order.clone()));
            assert_eq!(second.decisions.ordered().await, order);
        }
        let (third, _) = node(&b, 3).await;
        for other in [first, second, &third] {
            assert_eq!(other.decisions.ordered().now_or_never(), None);
        }
    })
    .await;
}

/// It knows what all know, and has read little.
async fn a_new_node_begins_at_the_last_snapshot(b: Backend) {
    on_one(&b, async |first| {
        let mut raised = 0;
        while first.decisions.counters().snapshots.load(Relaxed) < 3 || raised < 5 * EVERY {
            first.raise(u128::from(raised % 7)).await;
            raised += 1;
            assert!(raised < 100 * EVERY, "there is never a snapshot");
        }
        let (second, _) = node(&b, 2).await;
        let known = second.decisions.state();
        assert_eq!(*first.at(known.next()).await, *known);
        assert!(known.snapshot().is_some() && known.is_whole());
        let read = second.decisions.counters().decided.load(Relaxed);
        assert!(read <= 2 * EVERY, "it read {read} of {raised}");
    })
    .await;
}

/// Records before the snapshot before the last go, and nobody misses them.
async fn what_no_node_needs_is_trimmed(b: Backend) {
    on_one(&b, async |first| {
        let earliest = || b.log.bounds(&settings(&b).topic).expect("it is there").earliest[0];
        let mut raised = 0;
        while earliest() == 0 {
            first.raise(raised % 7).await;
            raised += 1;
            assert!(raised < 2_000, "nothing is ever trimmed");
        }
        let (second, _) = node(&b, 2).await;
        assert!(second.decisions.state().is_whole());
        let of = |node: &Node| (0..7).map(|topic_id| node.generation(topic_id)).sum::<u64>();
        assert_eq!((of(first), of(&second)), (raised as u64, raised as u64));
    })
    .await;
}

/// Whatever else stands in the topic decides nothing and stops nobody.
async fn records_of_others_are_passed_over(b: Backend) {
    on_one(&b, async |first| {
        first.raise(7).await;
        let newer = br#"{"version":1,"type":"holiday","id":"0123456789abcdef0123456789abcdef"}"#;
        for value in [None, Some(&b""[..]), Some(b"hello"), Some(&[0xff; 100]), Some(newer)] {
            let value = value.map(Bytes::copy_from_slice);
            let record = NewRecord { key: Some("key".into()), value, ..NewRecord::default() };
            let part = Part { topic: settings(&b).topic, partition: 0, records: vec![record] };
            b.log.commit(Commit { parts: vec![part], guard: None }).await.expect("stored");
        }
        assert!(matches!(first.raise(7).await, Outcome::Decided { .. }));
        let counters = first.decisions.counters();
        assert_eq!((counters.foreign.load(Relaxed), counters.unknown.load(Relaxed)), (4, 1));
        let (second, _) = node(&b, 2).await;
        assert_eq!((second.generation(7), second.decisions.state()), (2, first.decisions.state()));
    })
    .await;
}

/// What was decided in the topic of before counts no more, on every node.
async fn a_topic_made_again_begins_anew(b: Backend) {
    on_two(&b, async |first, second| {
        for topic_id in 0..12 {
            first.raise(topic_id).await;
        }
        let known = second.at(12).await;
        assert_eq!(known.generations().count(), 12);
        b.topics.delete(settings(&b).topic).await.expect("deleted");
        for node in [first, second] {
            let mut state = node.decisions.state();
            while state.generations().count() == 12 {
                state = node.decisions.changed(&state).await;
            }
        }
        assert!(matches!(second.propose(3, 0).await, Outcome::Decided { .. }));
        let next = second.decisions.state().next();
        assert_eq!(first.at(next).await.generations().count(), 1);
        assert_eq!(first.decisions.counters().restarts.load(Relaxed), 1);
    })
    .await;
}

/// Decisions are kept for ever, whoever made the topic.
async fn a_topic_that_forgets_is_altered(b: Backend) {
    let topic = settings(&b).topic;
    let spec = TopicSpec { partitions: 1, ..TopicSpec::events(topic.clone()) };
    b.topics.create(spec).await.expect("created");
    on_one(&b, async |first| {
        first.raise(7).await;
        let spec = b.topics.describe(topic).await.expect("described").spec;
        assert_eq!((spec.retention_ms, spec.retention_bytes), (None, None));
    })
    .await;
}

/// Several partitions have no one order.
async fn a_topic_of_another_shape_is_refused(b: Backend) {
    b.topics.create(TopicSpec::events(settings(&b).topic)).await.expect("created");
    let (clock, entropy) = (Arc::new(ManualClock::new(0)), Arc::new(SeededEntropy::new(1)));
    let opened = Decisions::open(settings(&b), b.log.clone(), b.topics.clone(), clock, entropy).await;
    let error = opened.expect_err("it has twelve partitions");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "decisions_topic_unfit"));
}

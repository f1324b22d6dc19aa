//! Epochs by decisions: mirrors on several nodes over one log upstream, which loses records.

use crate::model_log::ModelLog;
use dualstream_core::decisions::{self, DECISIONS_TOPIC, Decision, Decisions, Generations, Outcome};
use dualstream_core::log::Log;
use dualstream_core::memory::upstream::MemoryUpstream;
use dualstream_core::mirror::{self, MirroredLog, MirroredTopics, Upstream, epoch_of};
use dualstream_core::partitioner::partition_of;
use dualstream_core::testing::{self, Backend, ManualClock, SeededEntropy, event_record};
use dualstream_core::topic::{Epoch, TopicName, TopicSpec};
use dualstream_core::topics::Topics;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::JoinHandle;

const PARTITIONS: u32 = 12;

struct Cluster {
    clock: Arc<ManualClock>,
    upstream: MemoryUpstream,
}

struct Node {
    log: MirroredLog,
    decisions: Decisions,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn name(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

impl Cluster {
    async fn new() -> Cluster {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let upstream = MemoryUpstream::new(clock.clone());
        for topic in ["chat", "events"] {
            upstream.create(TopicSpec::events(name(topic))).await.unwrap();
        }
        Cluster { clock, upstream }
    }

    /// A mirror of which only the topic of decisions can be opened yet.
    fn mirror(&self, seed: u64, own: &TopicName) -> (MirroredLog, Arc<Generations>, JoinHandle<()>) {
        let generations = Arc::new(Generations::new(own.clone()));
        let (log, runner) = MirroredLog::new(
            mirror::Settings::default(),
            Arc::new(self.upstream.clone()),
            Arc::new(ModelLog::new(&[])),
            generations.clone(),
            self.clock.clone(),
            Arc::new(SeededEntropy::new(seed)),
        );
        (log, generations, tokio::spawn(runner.run(std::future::pending())))
    }

    async fn node(&self, seed: u64) -> Node {
        let (log, generations, following) = self.mirror(seed, &name(DECISIONS_TOPIC));
        let topics = Arc::new(MirroredTopics::new(Arc::new(self.upstream.clone()), log.clone()));
        let early = log.open(&name("events")).await.unwrap_err();
        assert_eq!(early.code(), "decisions_unread", "its epoch is not known yet");
        let (decisions, runner) = Decisions::open(
            decisions::Settings::default(),
            Arc::new(log.clone()),
            topics,
            self.clock.clone(),
            Arc::new(SeededEntropy::new(seed)),
        )
        .await
        .unwrap();
        generations.learn(decisions.clone());
        let tasks = vec![following, tokio::spawn(runner.run(std::future::pending()))];
        for topic in ["chat", "events"] {
            log.open(&name(topic)).await.unwrap();
        }
        Node { log, decisions, tasks }
    }

    fn fill(&self, topic: &str, from: usize, until: usize) {
        for i in from..until {
            self.clock.advance(1);
            let record = event_record("repo", &format!("key-{}", i * 31 % 1_000), &format!("id-{i}"), "x");
            let partition = partition_of(record.key.as_deref().unwrap(), PARTITIONS);
            self.upstream.put(&name(topic), partition, record);
        }
    }

    async fn id(&self, topic: &str) -> u128 {
        Upstream::describe(&self.upstream, &name(topic)).await.unwrap().id
    }

    /// An unclean election: the last records of every partition go.
    async fn lose(&self, topic: &str, records: u64) {
        let there = Upstream::describe(&self.upstream, &name(topic)).await.unwrap();
        for (partition, end) in (0..).zip(there.high) {
            self.upstream.truncate(&name(topic), partition, end - records);
        }
    }
}

impl Node {
    fn epoch(&self, topic: &str) -> Epoch {
        self.log.bounds(&name(topic)).unwrap().epoch
    }

    /// Waits for another epoch than this.
    async fn next_epoch(&self, topic: &str, before: Epoch) -> Epoch {
        let ends = [u64::MAX; 12];
        let topic_name = name(topic);
        let changed = self.log.wait(&topic_name, before, &ends);
        tokio::time::timeout(Duration::from_secs(600), changed).await.expect("it is noticed");
        self.epoch(topic)
    }

    /// Waits until its mirror follows a topic.
    async fn follows(&self, topic: &str) {
        tokio::time::timeout(Duration::from_secs(60), self.log.held(&name(topic))).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn all_nodes_find_a_loss_and_one_generation_begins() {
    let cluster = Cluster::new().await;
    cluster.fill("events", 0, 3_000);
    cluster.fill("chat", 0, 1_000);
    let nodes = [cluster.node(1).await, cluster.node(2).await];
    let (id, chat) = (cluster.id("events").await, nodes[0].epoch("chat"));
    for generation in 0..3 {
        let before = epoch_of(id, PARTITIONS, generation);
        for node in &nodes {
            assert_eq!(node.epoch("events"), before);
            node.follows("events").await;
        }
        cluster.lose("events", 5).await;
        for node in &nodes {
            assert_eq!(node.next_epoch("events", before).await, epoch_of(id, PARTITIONS, generation + 1));
        }
        let late = cluster.node(7 + generation).await;
        assert_eq!(late.epoch("events"), epoch_of(id, PARTITIONS, generation + 1));
    }
    for node in &nodes {
        assert_eq!(node.decisions.state().generation(&name("events"), id), 3);
        assert_eq!(node.decisions.counters().decided.load(Relaxed), 3);
        assert_eq!(node.epoch("chat"), chat, "it lost nothing");
    }
}

/// Its own next epoch is every node's own matter: what counts is that nobody acts on what is decided no more.
#[tokio::test(start_paused = true)]
async fn what_the_topic_of_decisions_lost_is_not_decided() {
    let cluster = Cluster::new().await;
    let nodes = [cluster.node(1).await, cluster.node(2).await];
    let raise = |topic_id| Decision::Generation { topic: name("events"), topic_id, from: 0 };
    for topic_id in 100..120 {
        nodes[0].decisions.propose(raise(topic_id)).await.unwrap();
    }
    let own = name(DECISIONS_TOPIC);
    let end = nodes[0].decisions.state().next();
    for node in &nodes {
        node.follows(DECISIONS_TOPIC).await;
        node.log.wait(&own, node.epoch(DECISIONS_TOPIC), &[end - 1]).await;
    }
    cluster.upstream.truncate(&own, 0, end - 5);
    for node in &nodes {
        let mut state = node.decisions.state();
        while state.generations().count() > 15 {
            let changed = node.decisions.changed(&state);
            state = tokio::time::timeout(Duration::from_secs(600), changed).await.expect("it is noticed");
        }
        assert_eq!((state.generations().count(), state.next()), (15, end - 5));
    }
    let outcome = nodes[1].decisions.propose(raise(119)).await.unwrap();
    assert_eq!(outcome, Outcome::Decided { offset: end - 5 });
}

#[tokio::test(start_paused = true)]
async fn a_mirror_conforms() {
    testing::decisions(async || {
        let cluster = Cluster::new().await;
        let (prefix, own) = ("check".to_owned(), name("check-decisions"));
        let (log, _, following) = cluster.mirror(3, &own);
        let topics = Arc::new(MirroredTopics::new(Arc::new(cluster.upstream.clone()), log.clone()));
        let other = Arc::new(ModelLog::new(&[]));
        let keep = Box::new(Aborted(following));
        Backend {
            log: Arc::new(log),
            topics,
            sources: other.clone(),
            transactions: other,
            prefix,
            damage: None,
            keep,
        }
    })
    .await;
}

/// Ends with the check.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

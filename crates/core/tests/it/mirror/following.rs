//! What goes wrong with a topic that is followed, or was: losses, topics that do not answer, topics that go and come back.

use super::*;
use std::sync::Mutex;
use tokio::sync::Notify;

/// A log upstream of which some topics do not answer, or not with everything.
#[derive(Clone)]
pub(super) struct Faulty {
    upstream: MemoryUpstream,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    stuck: Mutex<Option<TopicName>>,
    freed: Notify,
    fetched: Mutex<Fetched>,
}

/// What a fetch of one record answers.
#[derive(Clone, Copy, Default)]
enum Fetched {
    #[default]
    All,
    /// A leader that is one behind: nothing, and no way on.
    Nothing,
    /// Nothing is there.
    Hole,
}

impl Faulty {
    pub(super) fn of(cluster: &Cluster) -> Faulty {
        Faulty { upstream: cluster.upstream.clone(), faults: Arc::default() }
    }

    /// One topic does not answer any more; `None` frees it.
    pub(super) fn stick(&self, topic: Option<TopicName>) {
        *self.faults.stuck.lock().unwrap() = topic;
        self.faults.freed.notify_waiters();
    }

    async fn answers(&self, topic: &TopicName) {
        loop {
            let freed = self.faults.freed.notified();
            if self.faults.stuck.lock().unwrap().as_ref() != Some(topic) {
                return;
            }
            freed.await;
        }
    }
}

impl Upstream for Faulty {
    fn append(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<Vec<Vec<Appended>>>> {
        self.upstream.append(parts)
    }

    fn describe<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<Described>> {
        async move {
            self.answers(topic).await;
            Upstream::describe(&self.upstream, topic).await
        }
        .boxed()
    }

    fn fetch<'a>(&'a self, topic: &'a TopicName, span: Span, bytes_max: usize) -> BoxFuture<'a, Result<Run>> {
        async move {
            self.answers(topic).await;
            let mut run = self.upstream.fetch(topic, span, bytes_max).await?;
            let next = match *self.faults.fetched.lock().unwrap() {
                Fetched::All => return Ok(run),
                Fetched::Nothing => span.from,
                Fetched::Hole => span.until,
            };
            run.records.clear();
            Ok(Run { next, ..run })
        }
        .boxed()
    }

    fn seek<'a>(&'a self, topic: &'a TopicName, time_ms: i64) -> BoxFuture<'a, Result<Sought>> {
        async move {
            self.answers(topic).await;
            self.upstream.seek(topic, time_ms).await
        }
        .boxed()
    }

    fn tail(&self) -> Result<Box<dyn Tail>> {
        self.upstream.tail()
    }
}

/// Tells a loss only when it is asked for the third time.
#[derive(Default)]
struct SlowToTell {
    generations: Generations,
    asked: AtomicU64,
}

impl Epochs for SlowToTell {
    fn epoch(&self, topic: &TopicName, id: u128, partitions: u32) -> Result<Epoch> {
        self.generations.epoch(topic, id, partitions)
    }

    fn truncated<'a>(
        &'a self,
        topic: &'a TopicName,
        id: u128,
        partitions: u32,
        of: Epoch,
    ) -> BoxFuture<'a, Result<()>> {
        match self.asked.fetch_add(1, Relaxed) {
            0 | 1 => {
                async { Err(Error::new(ErrorKind::Unavailable, "log_unavailable", "nobody answers")) }.boxed()
            }
            _ => self.generations.truncated(topic, id, partitions, of),
        }
    }
}

/// A node that finds this store.
pub(super) async fn node_with(
    cluster: &Cluster,
    settings: Settings,
    store: &ModelLog,
    upstream: Arc<dyn Upstream>,
    epochs: Arc<dyn Epochs>,
) -> Node {
    let (log, runner) = MirroredLog::new(
        settings,
        upstream,
        Arc::new(store.clone()),
        epochs,
        cluster.clock.clone(),
        Arc::new(SeededEntropy::new(3)),
    );
    for topic in cluster.upstream.list().await.unwrap() {
        log.open(&topic.spec.name).await.unwrap();
    }
    let task = tokio::spawn(runner.run(std::future::pending()));
    Node { upstream: cluster.upstream.clone(), log, store: store.clone(), task }
}

async fn restarted(cluster: &Cluster, node: &Node, settings: Settings) -> Node {
    node.task.abort();
    node_with(cluster, settings, &node.store, Arc::new(cluster.upstream.clone()), cluster.epochs.clone())
        .await
}

async fn cut(cluster: &Cluster, topic: &TopicName, records: u64) {
    let there = Upstream::describe(&cluster.upstream, topic).await.unwrap();
    for (partition, end) in (0..).zip(there.high) {
        cluster.upstream.truncate(topic, partition, end - records);
    }
}

/// Follows to the end; in virtual time this is far more than it may take.
async fn level(node: &Node, topic: &TopicName) {
    tokio::time::timeout(Duration::from_secs(300), node.level(topic)).await.expect("it is followed");
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_found_by_the_node_that_was_away_meanwhile() {
    // Cut short; and written again beyond what is held.
    for again in [0, 3_000] {
        let cluster = Cluster::with_topics().await;
        let topic = name("events");
        cluster.fill(&topic, 0, 3_000);
        let node = cluster.node(settings(1_000)).await;
        level(&node, &topic).await;
        let before = node.log.bounds(&topic).unwrap();
        cut(&cluster, &topic, 5).await;
        cluster.fill(&topic, 9_000, 9_000 + again);
        let node = restarted(&cluster, &node, settings(1_000)).await;
        let told = node.log.wait(&topic, before.epoch, &[u64::MAX; 12]);
        tokio::time::timeout(Duration::from_secs(30), told).await.expect("it is told before it goes on");
        assert_ne!(node.log.bounds(&topic).unwrap().epoch, before.epoch, "{again}");
        assert_eq!(cluster.epochs.0.load(Relaxed), 1, "told once");
        level(&node, &topic).await;
        assert_eq!(sorted(ids(&read_all(&node.log, &topic).await)), upstream_places(&cluster, &topic).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_until_it_is_known() {
    let cluster = Cluster::with_topics().await;
    let (topic, other) = (name("events"), name("chat"));
    cluster.fill(&topic, 0, 3_000);
    let epochs = Arc::new(SlowToTell::default());
    let upstream = Arc::new(cluster.upstream.clone());
    let node = node_with(&cluster, settings(1_000), &ModelLog::new(&[]), upstream, epochs.clone()).await;
    level(&node, &topic).await;
    let before = node.log.bounds(&topic).unwrap();
    cut(&cluster, &topic, 5).await;
    let told = node.log.wait(&topic, before.epoch, &[u64::MAX; 12]);
    tokio::time::timeout(Duration::from_secs(600), told).await.expect("it is told");
    assert_eq!((epochs.asked.load(Relaxed), epochs.generations.0.load(Relaxed)), (3, 1));
    level(&node, &topic).await;
    level(&node, &other).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_answer_stops_no_other() {
    let cluster = Cluster::with_topics().await;
    let (topic, stuck) = (name("events"), name("chat"));
    cluster.fill(&topic, 0, 500);
    cluster.fill(&stuck, 0, 500);
    let upstream = Faulty::of(&cluster);
    let store = ModelLog::new(&[]);
    let node =
        node_with(&cluster, settings(100), &store, Arc::new(upstream.clone()), cluster.epochs.clone()).await;
    upstream.stick(Some(stuck.clone()));
    // It is wanted as well, and cannot be begun.
    let bounds = node.log.bounds(&stuck).unwrap();
    let waits = node.log.wait(&stuck, bounds.epoch, &bounds.latest);
    tokio::pin!(waits);
    assert!(futures::poll!(waits.as_mut()).is_pending());
    for until in [1_000, 1_500] {
        level(&node, &topic).await;
        cluster.fill(&topic, until - 500, until);
        tokio::time::sleep(Settings::default().verify).await;
        level(&node, &topic).await;
    }
    assert_eq!(node.log.health(), Health::Up);
    upstream.stick(None);
    level(&node, &stuck).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_deleted_and_is_back_begins_a_new_life() {
    let cluster = Cluster::with_topics().await;
    let topic = name("events");
    let node = cluster.node(settings(100)).await;
    let namespace = Namespace { topic: topic.clone(), ..crate::world::namespace("repo", Stream::Dual, true) };
    let (log, bus) = (Arc::new(node.log.clone()), Arc::new(MemoryBus::default()));
    let (hub, runner) = Hub::new(hub::Settings::default(), log, bus, Namespaces::new(vec![namespace], None));
    tokio::spawn(runner.run(std::future::pending()));
    cluster.fill(&topic, 0, 100);
    level(&node, &topic).await;
    let subscribe = Subscribe {
        targets: vec![Target::parse("repo:key-1").unwrap()],
        mode: Mode::Reliable,
        start: Start::Latest,
        on_unrecoverable: OnUnrecoverable::Latest,
    };
    let mut subscription = hub.subscribe(subscribe).await.unwrap();
    let put = |id: &str| {
        let record = event_record("repo", "key-1", id, "x");
        cluster.upstream.put(&topic, partition_of(b"key-1", PARTITIONS), record);
    };
    put("before");
    let mut told = Vec::new();
    let mut next = async || {
        let items = tokio::time::timeout(Duration::from_secs(300), subscription.next(1 << 20)).await;
        told.push(format!("{:?}", items.expect("something comes")));
        told.concat()
    };
    while !next().await.contains("before") {}
    cluster.upstream.delete(topic.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.log.bounds(&topic).unwrap_err().code(), "unknown_topic");
    cluster.upstream.create(TopicSpec::events(topic.clone())).await.unwrap();
    while !next().await.contains("Unrecoverable") {}
    put("after");
    while !next().await.contains("after") {}
    level(&node, &topic).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_shown_is_not_lost() {
    for fetched in [Fetched::Nothing, Fetched::Hole] {
        let cluster = Cluster::with_topics().await;
        let topic = name("events");
        cluster.fill(&topic, 0, 500);
        let upstream = Faulty::of(&cluster);
        let store = ModelLog::new(&[]);
        let faulty = Arc::new(upstream.clone());
        let node = node_with(&cluster, settings(100), &store, faulty, cluster.epochs.clone()).await;
        level(&node, &topic).await;
        *upstream.faults.fetched.lock().unwrap() = fetched;
        tokio::time::sleep(Settings::default().verify * 3).await;
        assert_eq!(cluster.epochs.0.load(Relaxed), 0);
        assert_eq!(node.log.counters().differed.load(Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn other_channels_are_no_loss() {
    let cluster = Cluster::new();
    let topic = name("orders");
    cluster.upstream.create(TopicSpec::events(topic.clone())).await.unwrap();
    for i in 0..PARTITIONS * 5 {
        let (key, value) = (Some(Bytes::from(format!("k{i}"))), Some(Bytes::from_static(b"{}")));
        cluster.upstream.put(&topic, i % PARTITIONS, NewRecord { key, value, ..NewRecord::default() });
    }
    let foreign = |namespace: &str| Settings {
        foreign: vec![Foreign {
            topic: topic.clone(),
            namespace: namespace.to_owned(),
            from: ChannelFrom::Key,
        }],
        ..settings(100)
    };
    let node = cluster.node(foreign("one")).await;
    level(&node, &topic).await;
    for now in [foreign("two"), settings(100)] {
        let node = restarted(&cluster, &node, now).await;
        read_all(&node.log, &topic).await;
        level(&node, &topic).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.epochs.0.load(Relaxed), 0, "the records are the same");
        assert_eq!(node.log.counters().begun.load(Relaxed), 1, "the mirror begins anew");
        node.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_all_topics_makes_none_known() {
    let cluster = Cluster::with_topics().await;
    let node = cluster.node(settings(100)).await;
    let late = name("orders");
    cluster.upstream.create(TopicSpec::events(late.clone())).await.unwrap();
    let topics = MirroredTopics::new(Arc::new(cluster.upstream.clone()), node.log.clone());
    let listed = topics.list().await.unwrap();
    let names: Vec<&str> = listed.iter().map(|info| info.spec.name.as_str()).collect();
    assert_eq!(names, ["chat", "events", "orders"]);
    assert_eq!(listed[1].epoch, node.log.bounds(&name("events")).unwrap().epoch);
    assert_eq!(node.log.bounds(&late).unwrap_err().code(), "unknown_topic", "it was only listed");
    let described = topics.describe(late.clone()).await.unwrap();
    assert_eq!(node.log.bounds(&late).unwrap().epoch, described.epoch);
}

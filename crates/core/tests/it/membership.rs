//! A node in the registry: what sessions tell gets there, and everything heals by the next incarnation.

use dualstream_core::bus::Health;
use dualstream_core::memory::registry::MemoryRegistry;
use dualstream_core::registry::{
    About, Beat, Connection, HEARTBEAT, Instance, InstanceId, Instances, LEASE, Membership, Owner, Page,
    PageEnd, Registry, Removal, Settings,
};
use dualstream_core::testing::{ManualClock, SeededEntropy};
use dualstream_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Longer than any heartbeat with all it says.
const A_WHILE: Duration = Duration::from_secs(40);

/// A registry that can be away, and forget connections; counts what is written.
struct Faulty {
    inner: MemoryRegistry,
    is_away: AtomicBool,
    hangs: AtomicBool,
    writes: AtomicUsize,
    beats: Mutex<Vec<Instant>>,
}

impl Faulty {
    async fn reach(&self) -> Result<()> {
        if self.hangs.load(Relaxed) {
            // A backend's deadline.
            sleep(Duration::from_secs(1)).await;
        }
        match self.is_away.load(Relaxed) || self.hangs.load(Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "redis_unavailable", "it is away")),
            false => Ok(()),
        }
    }
}

impl Registry for Faulty {
    fn heartbeat(&self, instance: Instance, beat: Beat) -> BoxFuture<'_, Result<usize>> {
        async move {
            self.beats.lock().unwrap().push(Instant::now());
            self.reach().await?;
            self.inner.heartbeat(instance, beat).await
        }
        .boxed()
    }

    fn put(&self, owner: Owner, connections: Vec<Arc<Connection>>) -> BoxFuture<'_, Result<()>> {
        async move {
            self.reach().await?;
            self.writes.fetch_add(connections.len(), Relaxed);
            self.inner.put(owner, connections).await
        }
        .boxed()
    }

    fn remove(&self, owner: Owner, removal: Removal) -> BoxFuture<'_, Result<()>> {
        async move {
            self.reach().await?;
            self.writes.fetch_add(1, Relaxed);
            self.inner.remove(owner, removal).await
        }
        .boxed()
    }

    fn instances(&self) -> BoxFuture<'_, Result<Instances>> {
        self.inner.instances()
    }

    fn connections(
        &self,
        instance: InstanceId,
        after: Option<PageEnd>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Page>> {
        self.inner.connections(instance, after, limit)
    }
}

/// A registry, its clock, and nodes that run.
struct World {
    clock: Arc<ManualClock>,
    registry: Arc<Faulty>,
}

struct Node {
    membership: Membership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let registry = Arc::new(Faulty {
            inner: MemoryRegistry::new(clock.clone()),
            is_away: false.into(),
            hangs: false.into(),
            writes: 0.into(),
            beats: Mutex::default(),
        });
        World { clock, registry }
    }

    async fn node(&self, seed: u64) -> Node {
        self.node_with(seed, Settings::default()).await
    }

    async fn node_with(&self, seed: u64, settings: Settings) -> Node {
        let entropy = Arc::new(SeededEntropy::new(seed));
        let about = About {
            id: InstanceId::fresh(&*entropy),
            version: "1.0.0".into(),
            address: "127.0.0.1:8000".into(),
        };
        let (membership, runner) =
            Membership::new(settings, self.registry.clone(), about, self.clock.clone(), entropy);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(runner.run(async {
            let _ = stopped.await;
        }));
        self.pass(Duration::from_secs(1)).await;
        Node { membership, stop, task }
    }

    /// Both clocks go on together, in steps small enough for every lease.
    async fn pass(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let step = (until - Instant::now()).min(Duration::from_secs(1));
            sleep(step).await;
            self.clock.advance(step.as_millis() as i64);
        }
    }

    async fn clients(&self, node: &Node) -> BTreeSet<String> {
        let (mut all, mut after) = (BTreeSet::new(), None);
        loop {
            let id = node.membership.id().clone();
            let page = node.membership.connections(id, after, 100).await.unwrap();
            all.extend(page.connections.iter().map(|one| one.client.to_string()));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    async fn incarnations(&self) -> Vec<u64> {
        let listed = self.registry.inner.instances().await.unwrap().listed;
        listed.iter().map(|listed| listed.instance.owner.incarnation).collect()
    }
}

fn connection(n: usize) -> Connection {
    Connection {
        client: format!("{n:05}").into(),
        user: "u".into(),
        transport: "websocket".into(),
        protocol: "json".into(),
        name: "js".into(),
        version: "5".into(),
        connected_ms: 1,
        remote: None,
    }
}

fn clients(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(|n| format!("{n:05}")).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_told_gets_there_and_is_kept() {
    let world = World::new();
    let node = world.node(1).await;
    (0..2_000).for_each(|n| node.membership.put(connection(n)));
    (0..2_000).step_by(2).for_each(|n| node.membership.remove(&connection(n).client));
    world.pass(Duration::from_secs(1)).await;
    let odd = clients((1..2_000).step_by(2));
    assert_eq!(world.clients(&node).await, odd);
    assert_eq!(world.registry.writes.load(Relaxed), 1_000, "who came and went at once was never told of");
    world.pass(3 * LEASE).await;
    assert_eq!((world.clients(&node).await, world.incarnations().await), (odd, vec![1]));
    let instances = node.membership.instances().await.unwrap();
    assert_eq!((instances[0].instance.connections, node.membership.health()), (1_000, Health::Up));
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_again_before_its_going_was_told_stays() {
    let world = World::new();
    let node = world.node(1).await;
    node.membership.put(connection(1));
    world.pass(Duration::from_secs(1)).await;
    node.membership.remove(&connection(1).client);
    node.membership.put(Connection { user: "v".into(), ..connection(1) });
    world.pass(A_WHILE).await;
    let id = node.membership.id().clone();
    let page = node.membership.connections(id, None, 10).await.unwrap();
    assert_eq!((page.connections.len(), &*page.connections[0].user), (1, "v"));
    node.membership.remove(&connection(1).client);
    world.pass(A_WHILE).await;
    assert_eq!((world.clients(&node).await, world.incarnations().await), (clients([]), vec![1]));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_no_step() {
    let world = World::new();
    let _node = world.node(1).await;
    world.pass(20 * HEARTBEAT).await;
    let beats = world.registry.beats.lock().unwrap().clone();
    let gaps: Vec<_> = beats.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.iter().all(|gap| *gap > HEARTBEAT * 8 / 10 && *gap < HEARTBEAT * 12 / 10), "{gaps:?}");
    let spread = *gaps.iter().max().unwrap() - *gaps.iter().min().unwrap();
    assert!(spread > HEARTBEAT / 20, "{spread:?}");
}

#[tokio::test(start_paused = true)]
async fn an_emptied_registry_heals_by_the_next_heartbeat() {
    let world = World::new();
    let (node, other) = (world.node(1).await, world.node(2).await);
    (0..600).for_each(|n| node.membership.put(connection(n)));
    world.pass(Duration::from_secs(1)).await;
    world.registry.inner.clear();
    world.pass(A_WHILE).await;
    assert_eq!((world.clients(&node).await, world.incarnations().await), (clients(0..600), vec![2, 2]));
    assert_eq!(other.membership.health(), Health::Up);
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_lost_or_kept_too_long_heals_by_the_next_heartbeat() {
    let world = World::new();
    let node = world.node(1).await;
    (0..600).for_each(|n| node.membership.put(connection(n)));
    world.pass(Duration::from_secs(1)).await;
    let owner = Owner { id: node.membership.id().clone(), incarnation: 1 };
    // A replica took over that had not got the last writes: a removal is undone.
    world.registry.inner.put(owner, vec![Arc::new(connection(999))]).await.unwrap();
    world.pass(A_WHILE).await;
    assert_eq!((world.clients(&node).await, world.incarnations().await), (clients(0..600), vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_or_hangs_holds_nobody_up_and_heals() {
    for fault in
        [|registry: &Faulty| &registry.is_away, |registry: &Faulty| &registry.hangs] as [fn(&_) -> &_; 2]
    {
        let world = World::new();
        let node = world.node(1).await;
        (0..300).for_each(|n| node.membership.put(connection(n)));
        world.pass(Duration::from_secs(1)).await;
        fault(&world.registry).store(true, Relaxed);
        (300..600).for_each(|n| node.membership.put(connection(n)));
        (0..100).for_each(|n| node.membership.remove(&connection(n).client));
        world.pass(LEASE).await;
        let Health::Down { reason, .. } = node.membership.health() else { panic!("it is away") };
        assert_eq!(reason, "it is away");
        let tries = world.registry.beats.lock().unwrap().len();
        assert!(tries < 60, "{tries} tries in two minutes");
        fault(&world.registry).store(false, Relaxed);
        world.pass(A_WHILE).await;
        assert_eq!(world.clients(&node).await, clients(100..600));
        assert_eq!((world.incarnations().await.len(), node.membership.health()), (1, Health::Up));
        assert!(world.incarnations().await[0] > 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_paused_past_its_lease_comes_back_as_a_new_incarnation() {
    let world = World::new();
    let (node, other) = (world.node(1).await, world.node(2).await);
    (0..30).for_each(|n| node.membership.put(connection(n)));
    world.pass(Duration::from_secs(1)).await;
    world.clock.advance(LEASE.as_millis() as i64 + 1);
    assert_eq!(other.membership.instances().await.unwrap(), []);
    node.membership.put(connection(30));
    world.pass(A_WHILE).await;
    assert_eq!((world.clients(&node).await, world.incarnations().await), (clients(0..31), vec![2, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_leaves_at_once_and_one_that_dies_with_its_lease() {
    let world = World::new();
    let (first, second) = (world.node(1).await, world.node(2).await);
    first.membership.put(connection(1));
    second.membership.put(connection(2));
    world.pass(Duration::from_secs(1)).await;
    first.stop.send(()).unwrap();
    first.task.await.unwrap();
    let listed = second.membership.instances().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].instance.owner.id, *second.membership.id());
    second.task.abort();
    world.pass(LEASE).await;
    assert_eq!(second.membership.instances().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_full_table_leaves_out_who_comes_last() {
    let world = World::new();
    let weight = connection(0).weight();
    let node = world.node_with(1, Settings { table_bytes_max: 10 * weight, ..Settings::default() }).await;
    (0..15).for_each(|n| node.membership.put(connection(n)));
    node.membership.put(Connection { name: "x".repeat(1 << 20).into(), ..connection(0) });
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.clients(&node).await, clients(0..10));
    assert_eq!(node.membership.counters().left_out.load(Relaxed), 6);
    node.membership.remove(&connection(3).client);
    node.membership.put(connection(20));
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.clients(&node).await.len(), 10);
}

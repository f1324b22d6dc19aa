//! A node over a log that stands elsewhere: mirror, decisions, publisher and hub; and the machine that keeps it running.
//!
//! Of its disk nothing has to survive. It may lose power, fill, fail and be damaged: the node goes on or comes up again,
//! and nobody misses anything.

use crate::dice::Dice;
use crate::history::Broken;
use crate::node::{Node, Order, damage_files, has_crashed, is_explained, lose_power, shown, until_dead};
use crate::plan::Cluster;
use crate::seam::Seam;
use crate::world::{World, namespaces, topic};
use dualstream_core::decisions::{self, DECISIONS_TOPIC, Decisions, Generations};
use dualstream_core::hub::Hub;
use dualstream_core::log::Log;
use dualstream_core::mirror::{MirroredLog, MirroredTopics};
use dualstream_core::publisher::DualPublisher;
use dualstream_core::topic::TopicName;
use dualstream_core::topics::Topics;
use dualstream_core::{ErrorKind, Result};
use dualstream_log::{Mirror, Writer};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

/// Numbers of nodes are told apart by their disks.
const DISKS_MAX: u64 = 8;

/// A node that is up, with its tasks.
struct Running {
    node: Arc<Node>,
    mirror: Mirror,
    writer: JoinHandle<Result<()>>,
    tasks: Tasks,
}

/// Tasks that end with the value.
#[derive(Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    async fn end(&mut self) {
        for task in self.0.drain(..) {
            task.abort();
            let _aborted = task.await;
        }
    }
}

/// Keeps the node on a disk running until told to finish, or until a promise is broken.
pub async fn run(world: Arc<World>, dice: Dice, disk: usize, mut orders: mpsc::Receiver<Order>) {
    let mut life = 0;
    loop {
        life += 1;
        let Some(running) = start(&world, &dice, disk, life * DISKS_MAX + disk as u64).await else { return };
        world.set_node(disk, Some(running.node.clone()));
        world.history.note(format!("node {} up", running.node.number));
        let Some(order) = until_down(&world, &running, &mut orders).await else { return };
        let is_last = matches!(order, Order::Finish(_));
        stop(&world, &dice, disk, running, &order).await;
        if is_last {
            return;
        }
        tokio::time::sleep(Duration::from_millis(dice.between(1, 300))).await;
    }
}

/// Waits for an order, or for the power to fail, which is one too. `None` when the world has ended.
async fn until_down(world: &World, running: &Running, orders: &mut mpsc::Receiver<Order>) -> Option<Order> {
    tokio::select! {
        biased;
        () = until_dead(&running.node) => {
            world.history.note(format!("node {} crashed", running.node.number));
            Some(Order::Kill)
        }
        order = orders.recv() => order,
    }
}

/// Starts until it works; `None` when it cannot be explained that it does not.
async fn start(world: &Arc<World>, dice: &Dice, disk: usize, number: u64) -> Option<Running> {
    let cluster = world.plan.cluster.clone()?;
    loop {
        let error = match attempt(world, dice, &cluster, disk, number).await {
            Ok(running) => return Some(running),
            Err(error) => error,
        };
        world.history.note(format!("node {number} does not start: {}", shown(&error)));
        let storage = &world.disks[disk];
        let excused = [ErrorKind::Full, ErrorKind::Unavailable, ErrorKind::Unknown, ErrorKind::Overloaded];
        if !has_crashed(storage) && !is_explained(&error) && !excused.contains(&error.kind()) {
            let what = format!("node {number} does not start: {}", shown(&error));
            world.history.broken(Broken::new("opens again", what, Vec::new()));
            return None;
        }
        storage.set_capacity(None);
        lose_power(storage, dice);
        tokio::time::sleep(Duration::from_millis(dice.between(1, 500))).await;
    }
}

async fn attempt(
    world: &Arc<World>,
    dice: &Dice,
    cluster: &Cluster,
    disk: usize,
    number: u64,
) -> Result<Running> {
    let storage = world.disks[disk].clone();
    let (mirror, writer) = dualstream_log::open_mirror(
        world.plan.log.clone(),
        Arc::new(storage),
        world.clock.clone(),
        dice.fork().entropy(),
    )?;
    let writer = spawn_local(Writer::drive(writer));
    let mut tasks = Tasks::default();
    match admit(world, dice, cluster, (disk, number), &mirror, &mut tasks).await {
        Ok(node) => Ok(Running { node: Arc::new(node), mirror, writer, tasks }),
        Err(error) => {
            tasks.end().await;
            writer.abort();
            let _aborted = writer.await;
            Err(error)
        }
    }
}

/// Builds everything over a mirror, as a server does.
async fn admit(
    world: &Arc<World>,
    dice: &Dice,
    cluster: &Cluster,
    (disk, number): (usize, u64),
    mirror: &Mirror,
    tasks: &mut Tasks,
) -> Result<Node> {
    let shared = world.upstream.as_ref().expect("a cluster has one");
    let line = Arc::new(shared.line(world, disk, dice.fork(), world.plan.delay_ms_max));
    let generations = Arc::new(Generations::new(TopicName::new(DECISIONS_TOPIC)?));
    let (clock, entropy) = (world.clock.clone(), dice.fork().entropy());
    let (log, runner) = MirroredLog::new(
        cluster.mirror.clone(),
        line,
        Arc::new(mirror.clone()),
        generations.clone(),
        clock.clone(),
        entropy.clone(),
    );
    tasks.0.push(spawn_local(runner.run(pending())));
    let topics: Arc<dyn Topics> = Arc::new(MirroredTopics::new(shared.topics(), log.clone()));
    let (known, runner) = Decisions::open(
        decisions::Settings::default(),
        Arc::new(log.clone()),
        topics.clone(),
        clock.clone(),
        entropy.clone(),
    )
    .await?;
    tasks.0.push(spawn_local(runner.run(pending())));
    generations.learn(known);
    for index in 0..2 {
        log.open(&topic(index)).await?;
    }
    let log: Arc<dyn Log> = Arc::new(log);
    let seam: Arc<dyn Log> =
        Arc::new(Seam::new(log.clone(), world.history.clone(), dice.fork(), world.plan.delay_ms_max));
    let bus = Arc::new(world.bus.clone());
    let (hub, runner) = Hub::new(world.plan.hub.clone(), seam.clone(), bus.clone(), namespaces());
    tasks.0.push(spawn_local(runner.run(pending())));
    let settings = world.plan.publisher.clone();
    let publisher = DualPublisher::new(settings, seam, bus, namespaces(), clock, entropy);
    Ok(Node { number, log, topics, publisher, hub, storage: world.disks[disk].clone() })
}

/// Stops a node as told, and does to its disk what goes with it.
async fn stop(world: &World, dice: &Dice, disk: usize, running: Running, order: &Order) {
    let Running { node, mirror, writer, mut tasks } = running;
    world.history.note(format!("node {} goes down", node.number));
    world.set_node(disk, None);
    tasks.end().await;
    match order {
        Order::Restart | Order::Finish(_) => mirror.close(),
        Order::Kill | Order::Damage => writer.abort(),
    }
    let _ended_or_aborted = writer.await;
    lose_power(&world.disks[disk], dice);
    if matches!(order, Order::Damage) {
        damage_files(world, &world.disks[disk], dice);
    }
}

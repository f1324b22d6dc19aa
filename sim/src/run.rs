//! One seed, from its plan to its verdict.

use crate::bus::SimBus;
use crate::checker::{Checker, Place};
use crate::cluster;
use crate::dice::Dice;
use crate::gremlin;
use crate::history::{Broken, History};
use crate::listener::Listener;
use crate::node::{self, Node, Order};
use crate::panics;
use crate::plan::Plan;
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::visitor::Visitor;
use crate::world::World;
use dualstream_core::announcement::Announcement;
use dualstream_core::bus::Message;
use dualstream_core::position::Position;
use dualstream_log::Fsync;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// Virtual time after which a run is stuck.
const RUN_MAX: Duration = Duration::from_secs(4 * 3600);

/// Where the log of a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Over {
    /// On the disk of the one node.
    #[default]
    OwnLog,
    /// Elsewhere, mirrored by several nodes.
    SharedLog,
}

/// Until a node has noticed that all is well again.
const SETTLE: Duration = Duration::from_secs(60);

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first promise that was broken, with the lines of the history that show it.
    pub broken: Option<(Broken, String)>,
    /// Hash of the history.
    pub hash: u64,
    /// The whole history.
    pub history: String,
    /// Events that were published.
    pub events: usize,
}

/// Runs a seed. Nothing but the seed decides what happens.
///
/// # Panics
/// When the runtime cannot be built.
pub fn run(seed: u64, over: Over) -> Report {
    let _watched = panics::watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output needs nothing that could be missing");
    let local = LocalSet::new();
    let report = local.block_on(&runtime, simulate(seed, over));
    // Tasks hold the world, and the world handles of tasks: dropped in order, inside the runtime.
    let _inside = runtime.enter();
    drop(local);
    report
}

async fn simulate(seed: u64, over: Over) -> Report {
    let dice = Dice::new(seed);
    let plan = Plan { visitors: visitors(seed), ..Plan::draw(&dice.fork()) };
    let plan = match over {
        Over::OwnLog => plan,
        Over::SharedLog => plan.over_a_shared_log(&dice.fork()),
    };
    let history = History::begin();
    history.note(format!("seed {seed} {plan:?}"));
    let bus = SimBus::new(history.clone(), dice.fork());
    let checker = Checker::new(plan.log.fsync == Fsync::Always, over == Over::SharedLog);
    let world = Arc::new(World::new(plan, history.clone(), bus, checker));
    if let (Over::SharedLog, Some(bounds)) = (over, world.bounds()) {
        (0..).zip(bounds).for_each(|(topic, bounds)| world.checker().opened(topic, bounds.epoch));
    }
    world.bus.set_witness(witness(&world, dice.fork()));
    let outcome = tokio::select! {
        biased;
        () = history.until_broken() => Ok(()),
        outcome = tokio::time::timeout(RUN_MAX, stages(&world, &dice)) => outcome,
    };
    if outcome.is_err() {
        history.broken(Broken::new("progress", "the run is stuck", Vec::new()));
    }
    if let Some(message) = panics::last() {
        // A panic breaks everything after it: it is what to look at.
        let broken = Broken::new("no panic", message, Vec::new());
        return report(seed, &world, Some(broken));
    }
    let broken = history.first_broken();
    report(seed, &world, broken)
}

/// One seed in ten has visitors: what they do changes what the bus loses, so all others stay as they were.
fn visitors(seed: u64) -> u64 {
    if seed.is_multiple_of(10) { 3 } else { 0 }
}

fn report(seed: u64, world: &World, broken: Option<Broken>) -> Report {
    world.bus.clear_witness();
    let history = &world.history;
    Report {
        seed,
        broken: broken.map(|broken| (broken.clone(), history.excerpt(&broken.about))),
        hash: history.hash(),
        history: history.text(),
        events: world.checker().facts().len(),
    }
}

/// Everything in order: workload with faults, healing, draining, last look.
async fn stages(world: &Arc<World>, dice: &Dice) {
    let (mut orders, mut machines) = (Vec::new(), Vec::new());
    for disk in 0..world.disks.len() {
        let (order, received) = mpsc::channel(16);
        let (world, dice) = (world.clone(), dice.fork());
        machines.push(match world.upstream.is_some() {
            true => spawn_local(cluster::run(world, dice, disk, received)),
            false => spawn_local(node::run(world, dice, received)),
        });
        orders.push(order);
    }
    let mut subscribers: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..world.plan.subscribers {
        let (dice, world) = (dice.fork(), world.clone());
        subscribers.push(match number % 4 {
            3 => spawn_local(Listener::new(world, dice, number).run()),
            _ => spawn_local(Subscriber::new(world, dice, number).run()),
        });
    }
    let publishers: Vec<JoinHandle<()>> = (0..world.plan.publishers)
        .map(|number| spawn_local(Publisher::new(world.clone(), dice.fork(), number).run()))
        .collect();
    let length_ms = world.plan.rounds * 30;
    let gremlin = spawn_local(gremlin::run(world.clone(), dice.fork(), orders.clone(), length_ms));
    subscribers.extend(
        (0..world.plan.visitors)
            .map(|number| spawn_local(Visitor::new(world.clone(), dice.fork(), number).run())),
    );
    join(gremlin).await;
    gremlin::heal(world);
    for publisher in publishers {
        join(publisher).await;
    }
    world.history.note("everything is published");
    // Whoever follows the shared log pauses after setbacks.
    if world.upstream.is_some() {
        tokio::time::sleep(SETTLE).await;
    }
    world.drain();
    for subscriber in subscribers {
        join(subscriber).await;
    }
    world.history.note("everything is delivered");
    // Whoever follows the log has read its last record long ago; a later failure may begin a new epoch.
    judge(world);
    nothing_is_left(world).await;
    for (orders, machine) in orders.into_iter().zip(machines) {
        let (done, finished) = oneshot::channel();
        if orders.send(Order::Finish(done)).await.is_ok() {
            let _dropped_is_done = finished.await;
        }
        drop(orders);
        join(machine).await;
    }
}

/// When the last subscriber has gone, what they shared goes too, and nothing is left of what was counted.
async fn nothing_is_left(world: &World) {
    tokio::time::sleep(world.plan.hub.linger * 2 + Duration::from_secs(1)).await;
    for node in world.nodes() {
        nothing_is_left_on(world, &node);
    }
}

fn nothing_is_left_on(world: &World, node: &Node) {
    let counters = node.hub.counters();
    let left = [
        ("subscriptions", counters.subscriptions.load(Relaxed)),
        ("rings", counters.feeds.load(Relaxed)),
        ("bus subscriptions", counters.bus_subscriptions.load(Relaxed)),
        ("bytes in rings", counters.ring_bytes.load(Relaxed) as i64),
        ("bytes in queues", counters.inbox_bytes.load(Relaxed) as i64),
    ];
    for (what, count) in left.into_iter().filter(|(_, count)| *count != 0 && !node.is_dead()) {
        let what = format!("{count} {what} are left when everybody has gone");
        world.history.broken(Broken::new("counters return to zero", what, Vec::new()));
    }
}

/// A task that panicked is found by the panic itself.
async fn join(task: JoinHandle<()>) {
    let _panicked = task.await;
}

fn judge(world: &World) {
    if world.history.first_broken().is_some() {
        return;
    }
    let _all_kept = world.check(|checker| checker.check_chains())
        && world.check(|checker| checker.check_sources())
        && world.check(|checker| checker.check_heard())
        && (world.upstream.is_none() || world.check(|checker| checker.check_stands()));
}

/// Looks at everything the bus is handed, and at times has the power fail right after.
fn witness(world: &Arc<World>, dice: Dice) -> impl Fn(&[Message]) + Send + Sync + 'static {
    let world: Weak<World> = Arc::downgrade(world);
    let crashes = std::sync::atomic::AtomicU64::new(0);
    move |messages| {
        let Some(world) = world.upgrade() else { return };
        let now = world.bounds();
        for message in messages {
            let Some(announced) = Announcement::parse(&message.payload) else { continue };
            let Ok(position) = announced.position.parse::<Position>() else { continue };
            let Some(now) = &now else { continue };
            world.check(|checker| {
                let Some(topic) =
                    checker.topic_of(position.epoch).filter(|&t| now[t].epoch == position.epoch)
                else {
                    let what = format!("{} was announced in an epoch that is none", announced.id);
                    return Err(Broken::new("ack before announcement", what, Vec::new()));
                };
                let Position { epoch, partition, offset } = position;
                checker.announced(
                    Place { topic, epoch, partition, offset },
                    &announced.id,
                    &now[topic].latest,
                )
            });
        }
        let so_far = crashes.load(std::sync::atomic::Ordering::Relaxed);
        if so_far < world.plan.faults.crashes_after_announcement && dice.once_in(40) {
            crashes.store(so_far + 1, std::sync::atomic::Ordering::Relaxed);
            world.history.note("gremlin crashes after an announcement");
            let storage = &world.disks[world.any_disk(&dice)];
            storage.crash_at_step(storage.steps() + 1);
        }
    }
}

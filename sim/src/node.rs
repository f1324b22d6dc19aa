//! A node: log, publisher and hub over a disk; and the machine that keeps one running.
//!
//! ```text
//!  open ──▶ read everything, check ──▶ up ──▶ crash | failed sync | kill | restart ──▶ down ──▶ open …
//!    ▲ crash while opening │
//!    └─────────────────────┘
//! ```

mod boot;
mod damage;
mod follow;

pub(crate) use damage::damage_files;

use crate::dice::Dice;
use crate::history::Broken;
use crate::world::World;
use dualstream_core::hub::Hub;
use dualstream_core::log::Log;
use dualstream_core::publisher::DualPublisher;
use dualstream_core::topics::Topics;
use dualstream_core::{Error, Result};
use dualstream_log::storage::Crashed;
use dualstream_log::{EmbeddedLog, MemoryStorage, Storage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What runs between two starts.
pub struct Node {
    /// Counts starts.
    pub number: u64,
    /// The log as it knows it.
    pub log: Arc<dyn Log>,
    /// Its administration.
    pub topics: Arc<dyn Topics>,
    /// Its publisher.
    pub publisher: DualPublisher,
    /// Its hub.
    pub hub: Hub,
    /// Its disk.
    pub storage: MemoryStorage,
}

impl Node {
    /// Whether the disk under it has crashed: whatever it still does happens to nobody.
    pub fn is_dead(&self) -> bool {
        has_crashed(&self.storage)
    }
}

/// What the machine is told to do.
pub enum Order {
    /// Kill the process.
    Kill,
    /// Stop and start it in order.
    Restart,
    /// Kill the process and damage stored bytes.
    Damage,
    /// Stop in order, read everything back once more, and be done.
    Finish(oneshot::Sender<()>),
}

/// The tasks of a node that is up.
struct Running {
    node: Arc<Node>,
    log: EmbeddedLog,
    writer: JoinHandle<Result<()>>,
    runner: JoinHandle<()>,
    shutdown: oneshot::Sender<()>,
    followers: Vec<JoinHandle<()>>,
}

/// Why a node went down.
enum Down {
    /// Its log ended by itself.
    Failed(Error),
    Told(Order),
}

/// Keeps a node running until told to finish, or until a promise is broken.
pub async fn run(world: Arc<World>, dice: Dice, mut orders: mpsc::Receiver<Order>) {
    let (mut number, mut clean) = (0, true);
    loop {
        number += 1;
        let Some(running) = boot::start(&world, &dice, number, clean).await else { return };
        world.set_node(0, Some(running.node.clone()));
        world.history.note(format!("node {number} up"));
        let mut running = running;
        let down = tokio::select! {
            biased;
            ended = &mut running.writer => Down::Failed(ended_by_itself(ended)),
            () = until_dead(&running.node) => Down::Failed(power_failed()),
            order = orders.recv() => match order {
                Some(order) => Down::Told(order),
                None => return,
            },
        };
        match down {
            Down::Failed(error) => {
                if !failed(&world, &dice, running, &error).await {
                    return;
                }
                clean = false;
            }
            Down::Told(order) => match stop(&world, &dice, running, order).await {
                Some(ended) => clean = ended,
                None => return finish(&world, &dice, number).await,
            },
        }
        tokio::time::sleep(Duration::from_millis(dice.between(1, 300))).await;
    }
}

/// Resolves soon after the disk crashed: the log may go on refusing commits without noticing that it is dead.
pub(crate) async fn until_dead(node: &Node) {
    while !node.is_dead() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn power_failed() -> Error {
    Error::new(dualstream_core::ErrorKind::Internal, "power_failed", "the simulated machine lost its power")
}

fn ended_by_itself(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Error {
    let why = match ended {
        Ok(Err(error)) => return error,
        Ok(Ok(())) => "the log's writer ended unasked",
        Err(_) => "the log's writer panicked",
    };
    Error::new(dualstream_core::ErrorKind::Internal, "writer_ended", why)
}

/// The log ended by itself: in a crash at once, after a failed sync with readers served for a while. False when
/// nothing was done to it that explains this.
async fn failed(world: &World, dice: &Dice, running: Running, error: &Error) -> bool {
    let crashed = running.node.is_dead();
    world.history.note(format!(
        "node {} {}: {}",
        running.node.number,
        if crashed { "crashed" } else { "failed" },
        shown(error)
    ));
    if !crashed {
        if !is_explained(error) {
            let what = format!("the log failed by itself: {}", shown(error));
            world.history.broken(Broken::new("no failure without a fault", what, Vec::new()));
            return false;
        }
        tokio::time::sleep(Duration::from_millis(dice.below(2000))).await;
    }
    take_down(world, running).await;
    lose_power(&world.disks[0], dice);
    true
}

/// Stops a node as told. Whether it ended in order; `None` when it is not to be started again.
async fn stop(world: &World, dice: &Dice, mut running: Running, order: Order) -> Option<bool> {
    let number = running.node.number;
    match order {
        Order::Kill => {
            world.history.note(format!("node {number} killed"));
            take_down(world, running).await;
            match dice.once_in(2) {
                true => world.disks[0].crash_keep_all(),
                false => lose_power(&world.disks[0], dice),
            }
            Some(false)
        }
        Order::Damage => {
            world.history.note(format!("node {number} killed, its disk to be damaged"));
            take_down(world, running).await;
            match dice.once_in(3) {
                true => world.disks[0].crash_lose_all(),
                false => world.disks[0].crash_keep_all(),
            }
            damage::inflict(world, dice);
            Some(false)
        }
        Order::Restart => {
            let clean = close(world, &mut running).await;
            take_down(world, running).await;
            match clean && dice.once_in(2) {
                // Closed in order is closed for good.
                true => world.disks[0].crash_lose_all(),
                false if clean => world.disks[0].crash_keep_all(),
                false => lose_power(&world.disks[0], dice),
            }
            Some(clean)
        }
        Order::Finish(done) => {
            let clean = close(world, &mut running).await;
            take_down(world, running).await;
            world.disks[0].crash_lose_all();
            drop(done);
            if clean { None } else { Some(false) }
        }
    }
}

/// Reads everything back after the last stop.
async fn finish(world: &Arc<World>, dice: &Dice, number: u64) {
    if let Some(running) = boot::start(world, dice, number + 1, true).await {
        take_down(world, running).await;
    }
}

/// Closes the log in order; whether that worked.
async fn close(world: &World, running: &mut Running) -> bool {
    world.history.note(format!("node {} closes", running.node.number));
    running.log.close();
    match (&mut running.writer).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) if running.node.is_dead() || is_explained(&error) => false,
        Ok(Err(error)) => {
            let what = format!("the log could not be closed: {}", shown(&error));
            world.history.broken(Broken::new("no failure without a fault", what, Vec::new()));
            false
        }
        Err(_) => false,
    }
}

/// Ends every task of a node.
async fn take_down(world: &World, running: Running) {
    world.set_node(0, None);
    let Running { node, log: _, writer, runner, shutdown, followers } = running;
    drop(shutdown);
    // Nothing of what retention removed a moment ago may come back.
    world.note_starts(&*node.log);
    for task in followers.into_iter().chain([runner]) {
        task.abort();
        let _aborted = task.await;
    }
    if !writer.is_finished() {
        writer.abort();
        let _aborted = writer.await;
    }
    world.history.note(format!("node {} down", node.number));
}

pub(crate) fn lose_power(storage: &MemoryStorage, dice: &Dice) {
    match dice.below(6) {
        0 => storage.crash_lose_all(),
        1 => storage.crash_keep_all(),
        _ => storage.crash(&*dice.entropy()),
    }
}

/// Whether a disk has crashed and was not started again.
pub(crate) fn has_crashed(storage: &MemoryStorage) -> bool {
    storage.list("").is_err_and(|error| Crashed::is(&error))
}

/// Whether an error comes from a fault that was injected.
pub(crate) fn is_explained(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if ["injected", "simulated disk"].iter().any(|word| text.contains(word)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes.
pub fn shown(error: &Error) -> String {
    let mut text = format!("{}: {error}", error.code());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(" ({error})"));
        cause = error.source();
    }
    text
}

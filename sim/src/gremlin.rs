//! What makes things go wrong, at the times the dice say.

use crate::bus::Weather;
use crate::dice::Dice;
use crate::node::Order;
use crate::plan::Faults;
use crate::world::{World, topic};
use dualstream_log::storage::{Fault, Op};
use dualstream_log::{MemoryStorage, Storage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A thing that goes wrong.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Crash,
    Kill,
    Restart,
    FailSync,
    FailWrite,
    FillDisk,
    Damage,
    Trim,
    JumpClock,
    Weather,
    Line,
}

/// Does everything the plan says, spread over about so many milliseconds.
pub async fn run(world: Arc<World>, dice: Dice, orders: Vec<mpsc::Sender<Order>>, length_ms: u64) {
    let mut schedule: Vec<(u64, Mischief)> =
        list(&world.plan.faults).into_iter().map(|mischief| (dice.below(length_ms), mischief)).collect();
    schedule.sort_by_key(|(at, _)| *at);
    let mut now = 0;
    for (at, mischief) in schedule {
        tokio::time::sleep(Duration::from_millis(at - now)).await;
        now = at;
        act(&world, &dice, &orders, mischief).await;
    }
}

fn list(faults: &Faults) -> Vec<Mischief> {
    let all = [
        (Mischief::Crash, faults.crashes - faults.crashes_after_announcement),
        (Mischief::Kill, faults.kills),
        (Mischief::Restart, faults.restarts),
        (Mischief::FailSync, faults.failing_syncs),
        (Mischief::FailWrite, faults.failing_writes),
        (Mischief::FillDisk, faults.full_disks),
        (Mischief::Damage, faults.damages),
        (Mischief::Trim, faults.trims),
        (Mischief::JumpClock, faults.clock_jumps),
        (Mischief::Weather, faults.weathers),
        (Mischief::Line, faults.lines),
    ];
    all.iter().flat_map(|&(mischief, times)| std::iter::repeat_n(mischief, times as usize)).collect()
}

async fn act(world: &World, dice: &Dice, orders: &[mpsc::Sender<Order>], mischief: Mischief) {
    let victim = world.any_disk(dice);
    let (storage, orders) = (&world.disks[victim], &orders[victim]);
    world.history.note(format!("gremlin {mischief:?}"));
    match mischief {
        Mischief::Crash => storage.crash_at_step(storage.steps() + dice.size(1, 100)),
        Mischief::Kill => tell(orders, Order::Kill).await,
        Mischief::Restart => tell(orders, Order::Restart).await,
        Mischief::Damage => tell(orders, Order::Damage).await,
        Mischief::FailSync => {
            let op = *dice.pick(&[Op::Sync, Op::Sync, Op::Sync, Op::SyncDir]);
            storage.fail_next(op, dice.size(1, 8), Fault::Eio);
        }
        Mischief::FailWrite => {
            let short = Fault::ShortWrite(dice.below(400) as usize);
            let fault = *dice.pick(&[Fault::Eio, Fault::Enospc, short]);
            storage.fail_next(Op::Write, dice.size(1, 16), fault);
        }
        Mischief::FillDisk => fill_disk(world, storage, dice).await,
        Mischief::Trim => trim(world, dice).await,
        Mischief::JumpClock => {
            let far = dice.size(1, 3_600_000) as i64;
            world.clock.jump(if dice.once_in(2) { far } else { -far });
        }
        Mischief::Weather => world.bus.change_weather(),
        Mischief::Line => {
            if let Some(log) = &world.upstream {
                let (node, mood) = log.change_mood(dice);
                world.history.note(format!("the line of node {node} is {mood:?}"));
            }
        }
    }
}

async fn tell(orders: &mpsc::Sender<Order>, order: Order) {
    let _machine_has_ended = orders.send(order).await;
}

/// Little space is left for a while.
async fn fill_disk(world: &World, storage: &MemoryStorage, dice: &Dice) {
    let Ok((free, total)) = storage.free_bytes() else { return };
    storage.set_capacity(Some(total - free + dice.size(1, 64 << 10)));
    tokio::time::sleep(Duration::from_millis(dice.size(10, 1000))).await;
    storage.set_capacity(None);
    world.history.note("gremlin frees the disk");
}

async fn trim(world: &World, dice: &Dice) {
    let Some(node) = world.nodes().pop() else { return };
    let index = dice.below(2) as usize;
    let Ok(bounds) = node.log.bounds(&topic(index)) else { return };
    let below: Vec<u64> = bounds.latest.iter().map(|&end| dice.below(end + 1)).collect();
    world.history.note(format!("gremlin trims {} below {below:?}", topic(index)));
    tokio::select! {
        biased;
        done = node.topics.trim(topic(index), below) => {
            world.history.note(format!("gremlin trimmed: {:?}", done.map_err(|e| e.code())));
        }
        () = world.gone(&node) => {}
    }
}

/// All is well from now on.
pub fn heal(world: &World) {
    world.disks.iter().for_each(|storage| storage.set_capacity(None));
    if let Some(log) = &world.upstream {
        log.heal();
    }
    world.bus.set_weather(Weather::Fair);
}

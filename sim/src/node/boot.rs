//! Starting a node: open the log, read all of it, compare, then let everybody in.

use super::{Node, Running, follow, has_crashed, is_explained, lose_power, shown};
use crate::checker::{FullRead, PARTITIONS};
use crate::dice::Dice;
use crate::history::Broken;
use crate::seam::Seam;
use crate::world::{World, namespaces, topic};
use dualstream_core::filter::Filter;
use dualstream_core::hub::Hub;
use dualstream_core::log::{Bounds, Gap, Log, Read, Span};
use dualstream_core::publisher::DualPublisher;
use dualstream_core::record::Record;
use dualstream_core::topic::TopicSpec;
use dualstream_core::topics::Topics;
use dualstream_core::{Error, ErrorKind, Result};
use dualstream_log::{EmbeddedLog, Writer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

/// Starts until it works; `None` when it cannot be explained that it does not, or a promise was broken.
pub(super) async fn start(world: &Arc<World>, dice: &Dice, number: u64, mut clean: bool) -> Option<Running> {
    if number > 1 && dice.once_in(5) && world.plan.faults.crashes > 0 && !world.is_draining() {
        world.disks[0].crash_at_step(world.disks[0].steps() + dice.between(1, 40));
    }
    loop {
        let attempt = attempt(world, dice).await;
        let error = match attempt {
            Ok((log, writer, reads)) => {
                if !world.check(|checker| checker.reopened(&reads, clean)) {
                    return None;
                }
                return Some(admit(world, dice, number, log, writer, &reads));
            }
            Err(error) => error,
        };
        world.history.note(format!("node {number} does not start: {}", shown(&error)));
        if !has_crashed(&world.disks[0]) && !is_explained(&error) && error.kind() != ErrorKind::Full {
            let what = format!("the log does not open: {}", shown(&error));
            world.history.broken(Broken::new("opens again", what, Vec::new()));
            return None;
        }
        clean = false;
        world.disks[0].set_capacity(None);
        lose_power(&world.disks[0], dice);
        tokio::time::sleep(Duration::from_millis(dice.between(1, 50))).await;
    }
}

type Opened = (EmbeddedLog, JoinHandle<Result<()>>, Vec<FullRead>);

async fn attempt(world: &World, dice: &Dice) -> Result<Opened> {
    let (log, writer) = dualstream_log::open(
        world.plan.log.clone(),
        Arc::new(world.disks[0].clone()),
        world.clock.clone(),
        dice.fork().entropy(),
    )?;
    let writer = spawn_local(Writer::drive(writer));
    match prepare(world, dice, &log).await {
        Ok(reads) => Ok((log, writer, reads)),
        Err(error) => {
            writer.abort();
            let _aborted = writer.await;
            Err(error)
        }
    }
}

async fn prepare(world: &World, dice: &Dice, log: &EmbeddedLog) -> Result<Vec<FullRead>> {
    let known = log.list().await?;
    let mut reads = Vec::new();
    for index in 0..2 {
        let name = topic(index);
        if !known.iter().any(|info| info.spec.name == name) {
            let (retention_ms, retention_bytes) = world.plan.retention;
            let spec = TopicSpec {
                partitions: PARTITIONS,
                retention_ms,
                retention_bytes,
                ..TopicSpec::events(name)
            };
            log.create(spec).await?;
        }
        reads.push(read_all(log, index, dice).await?);
    }
    Ok(reads)
}

/// Reads a topic from its start to its end, and back.
async fn read_all(log: &EmbeddedLog, index: usize, dice: &Dice) -> Result<FullRead> {
    loop {
        let bounds = log.bounds(&topic(index))?;
        let Some((records, gaps)) = read_stretch(log, index, &bounds, dice, false).await? else { continue };
        let Some(backwards) = read_stretch(log, index, &bounds, dice, true).await? else { continue };
        return Ok(FullRead { topic: index, bounds, records, gaps, backwards });
    }
}

/// Reads what is between the bounds of a topic in one direction; `None` when retention came in between.
async fn read_stretch(
    log: &EmbeddedLog,
    index: usize,
    bounds: &Bounds,
    dice: &Dice,
    reverse: bool,
) -> Result<Option<(Vec<Record>, Vec<Gap>)>> {
    let (mut records, mut gaps) = (Vec::new(), Vec::new());
    let mut read = Read {
        topic: topic(index),
        epoch: bounds.epoch,
        spans: Span::all(&bounds.earliest, &bounds.latest),
        filter: Filter::All,
        records_max: 1,
        bytes_max: 1,
        reverse,
    };
    while !read.is_over() {
        read.records_max = dice.between(1, 500) as usize;
        read.bytes_max = dice.size(1, 1 << 20) as usize;
        let page = match log.read(read.clone()).await {
            Err(error) if error.kind() == ErrorKind::Gone => return Ok(None),
            page => page?,
        };
        let before = read.spans.clone();
        read.go_on(&page);
        if before == read.spans {
            let what = "a read stays where it is although it did not reach the end";
            return Err(Error::new(ErrorKind::Internal, "read_stuck", what));
        }
        records.extend(page.records);
        gaps.extend(page.gaps);
    }
    Ok(Some((records, gaps)))
}

/// Lets publishers and subscribers in.
fn admit(
    world: &Arc<World>,
    dice: &Dice,
    number: u64,
    log: EmbeddedLog,
    writer: JoinHandle<Result<()>>,
    reads: &[FullRead],
) -> Running {
    let seam = Seam::new(Arc::new(log.clone()), world.history.clone(), dice.fork(), world.plan.delay_ms_max);
    let seam: Arc<dyn Log> = Arc::new(seam);
    let bus = Arc::new(world.bus.clone());
    let (hub, runner) = Hub::new(world.plan.hub.clone(), seam.clone(), bus.clone(), namespaces());
    let publisher = DualPublisher::new(
        world.plan.publisher.clone(),
        seam,
        bus,
        namespaces(),
        world.clock.clone(),
        dice.fork().entropy(),
    );
    let (shutdown, stopped) = oneshot::channel::<()>();
    let runner = spawn_local(runner.run(async move {
        let _dropped_or_told = stopped.await;
    }));
    let followers = reads
        .iter()
        .map(|read| spawn_local(follow::run(world.clone(), log.clone(), read.topic, read.bounds.clone())))
        .collect();
    let (own, storage) = (Arc::new(log.clone()), world.disks[0].clone());
    let node = Arc::new(Node { number, log: own.clone(), topics: own, publisher, hub, storage });
    Running { node, log, writer, runner, shutdown, followers }
}

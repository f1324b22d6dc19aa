//! Reads the log as it grows, past publisher and hub: the order against which everybody else is judged.

use super::{has_crashed, is_explained, shown};
use crate::history::Broken;
use crate::world::{World, topic};
use dualstream_core::ErrorKind;
use dualstream_core::filter::Filter;
use dualstream_core::log::{Bounds, Log, Page, Read, Span};
use dualstream_log::EmbeddedLog;
use std::sync::Arc;

/// Follows one topic from the end that `bounds` says, until the disk crashes or a promise is broken.
pub(super) async fn run(world: Arc<World>, log: EmbeddedLog, index: usize, bounds: Bounds) {
    let name = topic(index);
    let mut next = bounds.latest;
    loop {
        log.wait(&name, bounds.epoch, &next).await;
        let Ok(now) = log.bounds(&name) else { return };
        if now.epoch != bounds.epoch {
            return;
        }
        let until_ms = may_forget_until(&world);
        if !world.check(|checker| checker.check_retention(index, &now.earliest, until_ms)) {
            return;
        }
        if !world.check(|checker| checker.trimmed(index, &now)) {
            return;
        }
        next.iter_mut().zip(&now.earliest).for_each(|(next, &start)| *next = start.max(*next));
        let read = Read {
            topic: name.clone(),
            epoch: now.epoch,
            spans: Span::all(&next, &vec![u64::MAX; next.len()]),
            filter: Filter::All,
            records_max: 1000,
            bytes_max: 1 << 20,
            reverse: false,
        };
        match log.read(read).await {
            Ok(page) => {
                if !world.check(|checker| take(checker, index, &now, &page)) {
                    return;
                }
                next = page.next;
            }
            Err(error) if error.kind() == ErrorKind::Gone => {}
            Err(error) if has_crashed(&world.disks[0]) || is_explained(&error) => return,
            Err(error) => {
                let what = format!("the tail of {name} cannot be read: {}", shown(&error));
                return world.history.broken(Broken::new("no failure without a fault", what, Vec::new()));
            }
        }
    }
}

/// What was appended up to this time may go.
fn may_forget_until(world: &World) -> i64 {
    match world.plan.retention {
        _ if world.plan.faults.trims > 0 => i64::MAX,
        (_, Some(_)) => i64::MAX,
        (Some(ms), None) => world.clock.latest_ms().saturating_sub_unsigned(ms),
        (None, None) => i64::MIN,
    }
}

fn take(
    checker: &mut crate::checker::Checker,
    index: usize,
    now: &Bounds,
    page: &Page,
) -> Result<(), Broken> {
    if let Some(gap) = page.gaps.first() {
        let what = format!("what was just written is damaged: {gap:?}");
        return Err(Broken::new(
            "nothing durable is lost",
            what,
            vec![format!("[{}]@{}", gap.partition, gap.from)],
        ));
    }
    page.records.iter().try_for_each(|record| checker.follows(index, now.epoch, record))
}

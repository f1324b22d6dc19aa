//! Does one journal with a second copy in topic stores pay, against a synced file per topic and against bare files?
//! And how should the journal be written: alignment, kind of sync, reservation step, checkpoint interval.
//!
//! A round is what one sync makes durable. Nothing of dualstream's own code runs here: only its pattern of writes.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;

use self::{
    copying::{Checkpointed, Copied, CopiedBehind, Interval, SyncedStores, UnsyncedStores},
    frame::Frame,
    fresh::{Fresh, Made},
    recycled::{Layout, Recycled, Sync},
    stores::{STEP_BYTES, Stores},
};
use crate::{
    Settings,
    report::{Report, Table},
    rounds::{Variant, interleave, table},
    samples::Samples,
    warm::warm_memory,
};

mod copying;
pub(crate) mod frame;
pub(crate) mod fresh;
pub(crate) mod recycled;
mod stores;

pub(crate) const MIB: u64 = 1024 * 1024;
const KIB: usize = 1024;

const JOURNAL_FILES: usize = 4;
const TOPICS: [usize; 3] = [1, 5, 20];
const BUFFER_BYTES: usize = 64 * KIB;

/// The rounds measured. Blocks of `SMALL` are long enough that copies held back for 20 topics are written within.
const SINGLE: Round = Round { name: "1 KiB", payload_bytes: KIB, block_rounds: 50 };
const SMALL: Round = Round { name: "25 KiB (100 x 256 B)", payload_bytes: 100 * 256, block_rounds: 200 };
const LARGE: Round = Round { name: "1 MiB", payload_bytes: MIB as usize, block_rounds: 8 };

/// Payload of a round, and rounds in a block.
struct Round {
    name: &'static str,
    payload_bytes: usize,
    block_rounds: usize,
}

type Variants = Vec<(String, Box<dyn Variant>)>;

pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let dir = tempfile::tempdir_in(&settings.dir)?;
    let dir = dir.path();
    for ring in ["ring", "ring-direct", "ring-cold"] {
        Recycled::create(&dir.join(ring), JOURNAL_FILES)?;
    }
    warm_memory(dir)?;
    let time = settings.time_per_table;
    Ok(Report(vec![
        designs(dir, &SMALL, time)?,
        designs(dir, &LARGE, time)?,
        layouts(dir, &SINGLE, time)?,
        layouts(dir, &SMALL, time)?,
        layouts(dir, &LARGE, time)?,
        checkpoints(dir, &SMALL, time)?,
        checkpoints(dir, &LARGE, time)?,
        reservations(dir, time)?,
    ]))
}

/// The journal as designed.
fn journal(dir: &Path) -> Result<Recycled> {
    Recycled::open(&dir.join("ring"), JOURNAL_FILES, Sync::Data, Layout::WholePages)
}

fn stores(dir: &Path, name: &str, count: usize) -> Result<Stores> {
    Stores::create(&dir.join(format!("{name}-{count}")), count, STEP_BYTES)
}

fn designs(dir: &Path, round: &Round, time: Duration) -> Result<Table> {
    let bare_recycled = Recycled::open(&dir.join("ring"), 1, Sync::Data, Layout::Packed)?;
    let fresh = |name: &str, made| Fresh::create(dir.join(name), made);
    let mut variants: Variants = vec![
        ("bare file, fresh, preallocated".into(), Box::new(fresh("allocated", Made::Allocated)?)),
        ("bare file, fresh, appending".into(), Box::new(fresh("empty", Made::Empty)?)),
        ("bare file, fresh, filled".into(), Box::new(fresh("filled", Made::Filled)?)),
        ("bare file, recycled".into(), Box::new(bare_recycled)),
        ("journal, no second copy".into(), Box::new(journal(dir)?)),
    ];
    for topics in TOPICS {
        let plural = if topics == 1 { "topic" } else { "topics" };
        let mut add = |name: &str, variant| variants.push((format!("{name}, {topics} {plural}"), variant));
        add(
            "journal + copy",
            Box::new(Copied { journal: journal(dir)?, stores: stores(dir, "copied", topics)? }),
        );
        let buffered = stores(dir, "buffered", topics)?.buffered(BUFFER_BYTES);
        add("journal + buffered copy", Box::new(Copied { journal: journal(dir)?, stores: buffered }));
        let behind = stores(dir, "behind", topics)?;
        add("journal + copy on a second thread", Box::new(CopiedBehind::start(journal(dir)?, behind)));
        add("synced file per topic", Box::new(SyncedStores(stores(dir, "synced", topics)?)));
    }
    let title = format!("Designs, rounds of {}; ratio to the fresh preallocated file", round.name);
    measure(title, variants, round, time)
}

fn layouts(dir: &Path, round: &Round, time: Duration) -> Result<Table> {
    let open = |ring: &str, sync, layout| Recycled::open(&dir.join(ring), JOURNAL_FILES, sync, layout);
    let variants: Variants = vec![
        ("packed, fdatasync".into(), Box::new(open("ring", Sync::Data, Layout::Packed)?)),
        ("whole pages, fdatasync".into(), Box::new(open("ring", Sync::Data, Layout::WholePages)?)),
        ("packed, O_DSYNC".into(), Box::new(open("ring", Sync::Dsync, Layout::Packed)?)),
        ("whole pages, O_DSYNC".into(), Box::new(open("ring", Sync::Dsync, Layout::WholePages)?)),
        (
            "whole pages, O_DSYNC, O_DIRECT".into(),
            Box::new(open("ring-direct", Sync::Direct, Layout::WholePages)?),
        ),
        ("packed, fdatasync, cold".into(), Box::new(open("ring-cold", Sync::Data, Layout::Packed)?.cold())),
        (
            "whole pages, fdatasync, cold".into(),
            Box::new(open("ring-cold", Sync::Data, Layout::WholePages)?.cold()),
        ),
    ];
    let title = format!(
        "Journal frames of {}, recycled files (cold: not in the page cache); ratio to the first",
        round.name
    );
    measure(title, variants, round, time)
}

fn checkpoints(dir: &Path, round: &Round, time: Duration) -> Result<Table> {
    const TOPICS: usize = 5;
    let copied = |name: &str| -> Result<_> {
        Ok(Copied { journal: journal(dir)?, stores: stores(dir, &format!("checkpoint-{name}"), TOPICS)? })
    };
    let mut variants: Variants = vec![
        ("journal, no second copy".into(), Box::new(journal(dir)?)),
        ("journal + copy, no checkpoint".into(), Box::new(copied("none")?)),
    ];
    let mut durations = vec![Arc::default(), Arc::default()];
    for (checkpoint_mib, hint_kib) in [(1, None), (8, None), (64, None), (64, Some(1024)), (64, Some(256))] {
        let duration = Arc::new(Mutex::new(Samples::default()));
        durations.push(Arc::clone(&duration));
        let mut name = format!("journal + copy, checkpoint every {checkpoint_mib} MiB");
        if let Some(kib) = hint_kib {
            name += &format!(", write-back begun every {kib} KiB");
        }
        let interval = Interval {
            checkpoint_bytes: checkpoint_mib * MIB,
            hint_bytes: hint_kib.map_or(u64::MAX, |kib| kib * KIB as u64),
        };
        let copied = copied(&format!("{checkpoint_mib}-{}", hint_kib.unwrap_or(0)))?;
        variants.push((name, Box::new(Checkpointed::start(copied, interval, duration))));
    }
    // Long enough for a checkpoint of 64 MiB in each block, at full speed: the worst case.
    let block_rounds = (130 * MIB as usize) / round.payload_bytes;
    let frame = Arc::new(Frame::with_payload(round.payload_bytes));
    let measured = interleave(variants, &frame, block_rounds, time)?;
    let mut table = table(
        format!(
            "Checkpoints beside rounds of {}, {TOPICS} topics, at full speed; ratio to the first",
            round.name
        ),
        &measured,
    );
    table.header.push("checkpoint ms, median");
    for (row, duration) in table.rows.iter_mut().zip(durations) {
        let duration = duration.lock().expect("no holder of the durations panics").median_us() / 1e3;
        row.push(if duration.is_nan() { "-".into() } else { format!("{duration:.1}") });
    }
    Ok(table)
}

fn reservations(dir: &Path, time: Duration) -> Result<Table> {
    const TOPICS: usize = 5;
    let round = Round { block_rounds: 2000, ..SMALL };
    let variants = [0, 1, 8, 64]
        .into_iter()
        .map(|step_mib| {
            let stores = Stores::create(&dir.join(format!("step-{step_mib}")), TOPICS, step_mib * MIB)?;
            let name = if step_mib == 0 { "none".into() } else { format!("{step_mib} MiB") };
            Ok((name, Box::new(UnsyncedStores(stores)) as Box<dyn Variant>))
        })
        .collect::<Result<_>>()?;
    let title = format!(
        "Copies alone, {TOPICS} topics, rounds of {}, by reservation step; ratio to the first",
        round.name
    );
    measure(title, variants, &round, time)
}

fn measure(title: String, variants: Variants, round: &Round, time: Duration) -> Result<Table> {
    let frame = Arc::new(Frame::with_payload(round.payload_bytes));
    Ok(table(title, &interleave(variants, &frame, round.block_rounds, time)?))
}

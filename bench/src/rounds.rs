//! Runs variants side by side: a short block of rounds of each in turn, in another order
//! each time, as a variant finds the caches as its predecessor left them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{cpu_time::cpu_time, journal::frame::Frame, report::Table, samples::Samples};

/// One way to make a round of commits durable.
pub(crate) trait Variant {
    /// Before a block of `rounds` that will write up to `bytes`; not measured.
    fn prepare(&mut self, _rounds: usize, _bytes: u64) -> Result<()> {
        Ok(())
    }

    /// One round, measured: the time until its callers could be answered.
    fn round(&mut self, frame: &Arc<Frame>) -> Result<()>;

    /// Work a block left to other threads; its CPU time counts, its duration does not.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Leaves nothing dirty that would disturb the next variant; not measured.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Measured {
    pub name: String,
    pub round: Samples,
    cpu: Duration,
    elapsed: Duration,
}

impl Measured {
    /// A mean, as what happens in few rounds only (reserving space) belongs in it.
    pub fn cpu_us_per_round(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.round.len() as f64
    }

    pub fn mean_us(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e6 / self.round.len() as f64
    }
}

/// Measures `variants` in blocks of `block_rounds` for about `time`, and at least one block each beside the first,
/// which only warms up.
pub(crate) fn interleave(
    mut variants: Vec<(String, Box<dyn Variant>)>,
    frame: &Arc<Frame>,
    block_rounds: usize,
    time: Duration,
) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = variants
        .iter()
        .map(|(name, _)| Measured {
            name: name.clone(),
            round: Samples::default(),
            cpu: Duration::ZERO,
            elapsed: Duration::ZERO,
        })
        .collect();
    let count = variants.len();
    let mut warm_since = None;
    for cycle in 0.. {
        for index in shuffled(count, cycle) {
            let (name, variant) = &mut variants[index];
            let result = (warm_since.is_some()).then_some(&mut measured[index]);
            block(variant.as_mut(), frame, block_rounds, result).with_context(|| name.clone())?;
        }
        if warm_since.get_or_insert_with(Instant::now).elapsed() > time && cycle > 0 {
            break;
        }
    }
    Ok(measured)
}

/// The same order in every run, a different one in every cycle.
fn shuffled(count: usize, cycle: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|index| {
        let key = (cycle * count + index + 1) as u64;
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ key << 40).wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    });
    order
}

fn block(
    variant: &mut dyn Variant,
    frame: &Arc<Frame>,
    rounds: usize,
    mut result: Option<&mut Measured>,
) -> Result<()> {
    variant.prepare(rounds, (rounds * frame.whole_pages().len()) as u64)?;
    let cpu_before = cpu_time();
    for _ in 0..rounds {
        let start = Instant::now();
        variant.round(frame)?;
        let elapsed = start.elapsed();
        if let Some(result) = &mut result {
            result.round.push(elapsed);
            result.elapsed += elapsed;
        }
    }
    variant.finish()?;
    if let Some(result) = result {
        result.cpu += cpu_time() - cpu_before;
    }
    variant.settle()
}

/// Ratios are of medians, to the first row.
pub(crate) fn table(title: String, measured: &[Measured]) -> Table {
    let reference = measured.first().map_or(f64::NAN, |first| first.round.median_us());
    let row = |one: &Measured| {
        let median = one.round.median_us();
        vec![
            one.name.clone(),
            format!("{median:.1}"),
            format!("{:.1}", one.round.p99_us()),
            format!("{:.0}", one.round.max_us()),
            format!("{:.1}", one.mean_us()),
            format!("{:.1}", one.cpu_us_per_round()),
            format!("{:.2}", median / reference),
            one.round.len().to_string(),
        ]
    };
    Table {
        title,
        header: vec!["variant", "median µs", "p99 µs", "max µs", "mean µs", "own CPU µs", "ratio", "rounds"],
        rows: measured.iter().map(row).collect(),
    }
}

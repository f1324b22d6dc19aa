//! Ways to send records, measured in turns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{cpu_time::cpu_time, report::Table, samples::Samples};

/// One way, and how fast it was.
pub(crate) struct Row<'a> {
    name: &'static str,
    batch: usize,
    callers: usize,
    /// Sends for a while; how many were acknowledged.
    pass: Box<dyn Fn() -> Result<u64> + 'a>,
    /// Time per million records.
    passes: Samples,
    records: u64,
    cpu: Duration,
}

impl<'a> Row<'a> {
    pub fn new(
        name: &'static str,
        batch: usize,
        callers: usize,
        pass: impl Fn() -> Result<u64> + 'a,
    ) -> Row<'a> {
        let (passes, pass) = (Samples::default(), Box::new(pass));
        Row { name, batch, callers, pass, passes, records: 0, cpu: Duration::ZERO }
    }

    fn measure(&mut self, counts: bool) -> Result<()> {
        let (cpu, start) = (cpu_time(), Instant::now());
        let records = (self.pass)().context(self.name)?;
        if counts {
            self.passes.push(start.elapsed().mul_f64(1e6 / records as f64));
            self.cpu += cpu_time() - cpu;
            self.records += records;
        }
        Ok(())
    }

    fn per_second(&self) -> f64 {
        1e12 / self.passes.median_us()
    }

    fn cells(&self, alone: f64) -> Vec<String> {
        vec![
            self.name.into(),
            self.batch.to_string(),
            self.callers.to_string(),
            format!("{:.0}", self.per_second()),
            format!("{:.2}", self.per_second() / alone),
            format!("{:.0}", self.records as f64 / self.cpu.as_secs_f64()),
            self.passes.len().to_string(),
        ]
    }
}

/// Runs all in turns for so long. Each is compared with the first of as many records a call.
pub(crate) fn table(title: String, mut rows: Vec<Row<'_>>, time: Duration) -> Result<Table> {
    let begun = Instant::now();
    for cycle in 0.. {
        rows.iter_mut().try_for_each(|row| row.measure(cycle > 0))?;
        if cycle > 0 && begun.elapsed() > time {
            break;
        }
    }
    let alone =
        |row: &Row<'_>| rows.iter().find(|first| first.batch == row.batch).map_or(1.0, Row::per_second);
    Ok(Table {
        title,
        header: vec![
            "producer",
            "records a call",
            "calls under way",
            "records/s, median",
            "of alone",
            "records/own CPU second",
            "passes",
        ],
        rows: rows.iter().map(|row| row.cells(alone(row))).collect(),
    })
}

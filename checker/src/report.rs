//! What the judge says.

use crate::anomaly::{Anomaly, Kind};
use std::collections::BTreeMap;
use std::fmt;

/// The judgement of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often each promise is broken.
    pub counts: BTreeMap<Kind, usize>,
    /// The first of each kind, by kind.
    pub anomalies: Vec<Anomaly>,
    /// What the history holds, for a test to see that it did what it meant to.
    pub totals: Totals,
}

/// What a history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Operations.
    pub operations: usize,
    /// Different events published.
    pub events: usize,
    /// Of these, acknowledged at least once.
    pub acknowledged: usize,
    /// Publishes that certainly failed.
    pub failed: usize,
    /// Publishes whose outcome is not known.
    pub unknown: usize,
    /// Different events that full reads or subscribers met.
    pub stored: usize,
    /// Full reads from beginning to end.
    pub full_reads: usize,
    /// Events met by full reads.
    pub read: usize,
    /// Chains of sessions.
    pub chains: usize,
    /// Sessions after the first of each chain.
    pub resumed: usize,
    /// Times a chain was told that it cannot go on.
    pub unrecoverable: usize,
    /// Events given to subscribers.
    pub delivered: usize,
}

impl Report {
    /// Whether no promise is broken.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// The kinds of what is broken.
    pub fn kinds(&self) -> Vec<Kind> {
        self.counts.keys().copied().collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.totals)?;
        if self.is_clean() {
            return write!(f, "every promise was kept");
        }
        for (kind, count) in &self.counts {
            writeln!(f, "{count} × {kind} ({})", kind.promise())?;
        }
        for anomaly in &self.anomalies {
            write!(f, "\n{anomaly}\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { operations, events, acknowledged, failed, unknown, stored, .. } = self;
        let Totals { full_reads, read, chains, resumed, unrecoverable, delivered, .. } = self;
        writeln!(
            f,
            "{operations} operations: {events} events, {acknowledged} acknowledged, {stored} stored; {failed} \
             publishes failed, {unknown} unknown;"
        )?;
        write!(
            f,
            "{full_reads} full reads of {read} events; {chains} chains, {resumed} resumed, {unrecoverable} \
             unrecoverable, {delivered} delivered"
        )
    }
}

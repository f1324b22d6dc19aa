//! When something was broken on purpose, and when that had been over for long enough.

use crate::history::History;
use crate::operation::Operation;
use std::collections::BTreeMap;

/// The times of trouble.
pub(super) struct Calm {
    /// From, to: sorted, apart.
    troubles: Vec<(u64, u64)>,
    pub(super) heal_us_max: u64,
}

impl Calm {
    /// Starting or ending a node is trouble for a moment.
    pub(super) fn of(history: &History, heal_ms_max: u64) -> Calm {
        Calm::but(history, heal_ms_max, |_| false)
    }

    /// As if nothing had been done to the bus.
    pub(super) fn beside_the_bus(history: &History, heal_ms_max: u64) -> Calm {
        Calm::but(history, heal_ms_max, |of_bus| of_bus)
    }

    fn but(history: &History, heal_ms_max: u64, is_left_out: impl Fn(bool) -> bool) -> Calm {
        let mut open = BTreeMap::new();
        let mut spans = Vec::new();
        for step in &history.steps {
            match step.operation {
                Operation::FaultBegins { fault, of_bus } if !is_left_out(of_bus) => {
                    open.entry(fault).or_insert(step.at_us);
                }
                Operation::FaultEnds { fault } => {
                    spans.extend(open.remove(&fault).map(|begins| (begins, step.at_us)));
                }
                Operation::NodeUp { .. } | Operation::NodeDown { .. } => spans.push((step.at_us, step.at_us)),
                _ => {}
            }
        }
        spans.extend(open.into_values().map(|begins| (begins, u64::MAX)));
        spans.sort_unstable();
        let mut troubles: Vec<(u64, u64)> = Vec::new();
        for (begins, ends) in spans {
            match troubles.last_mut() {
                Some(last) if begins <= last.1 => last.1 = last.1.max(ends),
                _ => troubles.push((begins, ends)),
            }
        }
        Calm { troubles, heal_us_max: heal_ms_max.saturating_mul(1000) }
    }

    /// Whether the history says anything about faults: without, nothing is judged by the time it took.
    pub(super) fn is_known(history: &History) -> bool {
        let is_mark = |operation: &Operation<_>| {
            matches!(operation, Operation::FaultBegins { .. } | Operation::NodeDown { .. })
        };
        history.steps.iter().any(|step| is_mark(&step.operation))
    }

    /// When there was trouble last, up to a time.
    pub(super) fn last_trouble_us(&self, at_us: u64) -> Option<u64> {
        let after = self.troubles.partition_point(|(begins, _)| *begins <= at_us);
        let (_, ends) = self.troubles[..after].last()?;
        Some(at_us.min(*ends))
    }
}

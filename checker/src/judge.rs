//! The judge: a history in, a report out. Pure.
//!
//! ```text
//! facts      what was published, with which outcomes
//! sightings  what full reads and subscribers saw, where                    I2 I3 I4
//! acks       what acks say of places, against that                         I3
//! survival   what was promised, against later full reads                   I1 I3
//! order      places, against the order of publishing                       I5
//! chains     each subscriber, against everything that is known to stand    I6 I12
//! recovery, codes, metrics                                                 I7 and I12, I13, I11 and I14
//! ```
//! Whatever breaks one promise is named once: an event whose place or value is in doubt is left out of what follows.

mod acks;
mod bookmarks;
mod calm;
mod chains;
mod codes;
mod facts;
mod findings;
mod metrics;
mod order;
mod recovery;
mod sightings;
mod stretch;
mod survival;

use crate::history::History;
use crate::operation::Operation;
use crate::report::{Report, Totals};
use calm::Calm;
use facts::Facts;
use findings::Findings;
use sightings::Sightings;
use std::collections::BTreeSet;

/// What a history is judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// After a fault everything must work again within this time.
    pub heal_ms_max: u64,
    /// The documented codes of errors, with those that the test itself gives to lost answers; none: any will do.
    pub codes: Option<BTreeSet<String>>,
    /// How many anomalies of each kind are shown; all are counted.
    pub shown_max: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { heal_ms_max: 30_000, codes: None, shown_max: 10 }
    }
}

/// Judges a history.
pub fn judge(history: &History, rules: &Rules) -> Report {
    let mut findings = Findings::new(rules.shown_max);
    let facts = Facts::gather(history, &mut findings);
    let sightings = Sightings::gather(history, &facts, &mut findings);
    let calm = Calm::of(history, rules.heal_ms_max);
    acks::check(history, &facts, &sightings, &mut findings);
    survival::check(history, &facts, &sightings, &mut findings);
    order::check(history, &facts, &sightings, &mut findings);
    chains::check(history, &facts, &sightings, &calm, &mut findings);
    recovery::check(history, &facts, &calm, &Calm::beside_the_bus(history, rules.heal_ms_max), &mut findings);
    codes::check(history, &facts, rules, &mut findings);
    metrics::check(history, &mut findings);
    let totals = totals(history, &facts, &sightings);
    let (counts, anomalies) = findings.shown(history);
    Report { counts, anomalies, totals }
}

fn totals(history: &History, facts: &Facts, sightings: &Sightings<'_>) -> Totals {
    let mut totals = Totals {
        operations: history.len(),
        events: facts.events.iter().filter(|event| event.was_sent()).count(),
        acknowledged: facts.events.iter().filter(|event| event.acked.is_some()).count(),
        stored: sightings.seen_events(),
        full_reads: sightings.reads.iter().filter(|read| read.latest.is_some()).count(),
        ..Totals::default()
    };
    for step in &history.steps {
        match &step.operation {
            Operation::Fail { .. } => totals.failed += 1,
            Operation::Info { .. } => totals.unknown += 1,
            Operation::Read { .. } => totals.read += 1,
            Operation::Deliver { .. } => totals.delivered += 1,
            Operation::Unrecoverable { .. } => totals.unrecoverable += 1,
            Operation::Subscribe { from: crate::Start::Resume, .. } => totals.resumed += 1,
            Operation::Subscribe { .. } => totals.chains += 1,
            _ => {}
        }
    }
    totals
}

//! Anomalies as they are found, and their excerpts.

use crate::anomaly::{Anomaly, Kind};
use crate::history::History;
use crate::names::Name;
use crate::operation::Operation;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Lines of an excerpt.
const LINES_MAX: usize = 16;

/// What was found so far.
pub(super) struct Findings {
    shown_max: usize,
    counts: BTreeMap<Kind, usize>,
    found: Vec<(Kind, String, About)>,
    implicated: HashSet<Name>,
}

/// What an anomaly is seen from.
#[derive(Default)]
pub(super) struct About {
    /// Publishes and reads of these.
    pub(super) events: Vec<Name>,
    /// Deliveries of them to this chain; to any when none.
    pub(super) chain: Option<Name>,
    /// These operations in any case.
    pub(super) at: Vec<usize>,
}

impl Findings {
    pub(super) fn new(shown_max: usize) -> Findings {
        Findings { shown_max, counts: BTreeMap::new(), found: Vec::new(), implicated: HashSet::new() }
    }

    /// Adds one; its sentence is made only if it is shown.
    pub(super) fn add(&mut self, kind: Kind, about: About, what: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= self.shown_max {
            self.found.push((kind, what(), about));
        }
    }

    /// One of the test's own faults, seen from one operation.
    pub(super) fn malformed(&mut self, at: usize, what: impl FnOnce() -> String) {
        self.add(Kind::Malformed, About { at: vec![at], ..About::default() }, what);
    }

    /// This event is named already: what follows from that is not named again.
    pub(super) fn implicate(&mut self, event: Name) {
        self.implicated.insert(event);
    }

    pub(super) fn is_implicated(&self, event: Name) -> bool {
        self.implicated.contains(&event)
    }

    /// The counts, and the anomalies by kind with their excerpts.
    pub(super) fn shown(mut self, history: &History) -> (BTreeMap<Kind, usize>, Vec<Anomaly>) {
        self.found.sort_by_key(|(kind, ..)| *kind);
        let excerpts = excerpts(history, &self.found);
        let excerpt =
            |lines: BTreeSet<usize>| lines.into_iter().map(|at| (at + 1, history.line(at))).collect();
        let anomalies = self.found.into_iter().zip(excerpts);
        let anomalies = anomalies.map(|((kind, what, _), at)| Anomaly { kind, what, excerpt: excerpt(at) });
        (self.counts, anomalies.collect())
    }
}

/// For each anomaly, which operations it is seen from: one pass over the history for all of them.
fn excerpts(history: &History, found: &[(Kind, String, About)]) -> Vec<BTreeSet<usize>> {
    let mut lines: Vec<BTreeSet<usize>> =
        found.iter().map(|(_, _, about)| about.at.iter().copied().take(LINES_MAX).collect()).collect();
    let mut wanted: HashMap<Name, Vec<usize>> = HashMap::new();
    for (index, (_, _, about)) in found.iter().enumerate() {
        about.events.iter().for_each(|event| wanted.entry(*event).or_default().push(index));
    }
    if wanted.is_empty() {
        return lines;
    }
    for (at, step) in history.steps.iter().enumerate() {
        let (event, chain) = match &step.operation {
            Operation::Invoke { id, .. }
            | Operation::Ok { id, .. }
            | Operation::Fail { id, .. }
            | Operation::Info { id, .. } => (id, None),
            Operation::Read { item, .. } => (&item.id, None),
            Operation::Deliver { item, chain } => (&item.id, Some(*chain)),
            _ => continue,
        };
        for &index in wanted.get(event).into_iter().flatten() {
            let is_other = chain.is_some() && found[index].2.chain.is_some_and(|own| Some(own) != chain);
            if lines[index].len() < LINES_MAX && !is_other {
                lines[index].insert(at);
            }
        }
    }
    lines
}

//! What nodes say of themselves: gauges return to zero, counters grow and add up.

use super::findings::{About, Findings};
use crate::anomaly::Kind;
use crate::history::History;
use crate::names::Name;
use crate::operation::Operation;
use std::collections::BTreeMap;

pub(super) fn check(history: &History, findings: &mut Findings) {
    let mut metrics = Metrics { history, findings, gauges: BTreeMap::new(), counters: BTreeMap::new() };
    for (at, step) in history.steps.iter().enumerate() {
        metrics.take(at, &step.operation);
    }
    metrics.leaks();
    metrics.balances();
}

struct Metrics<'a> {
    history: &'a History,
    findings: &'a mut Findings,
    /// By node and name: the last value, and when.
    gauges: BTreeMap<(Name, Name), (i64, usize)>,
    /// By name and node.
    counters: BTreeMap<(Name, Name), Counter>,
}

#[derive(Default)]
struct Counter {
    /// Counted in earlier lives of its node.
    before: u64,
    /// Counted in this one.
    now: u64,
    at: usize,
}

impl Metrics<'_> {
    fn take(&mut self, at: usize, operation: &Operation<Name>) {
        match *operation {
            Operation::NodeUp { node } | Operation::NodeDown { node } => {
                self.gauges.retain(|(of, _), _| *of != node);
                for (_, counter) in self.counters.iter_mut().filter(|((_, of), _)| *of == node) {
                    counter.before += std::mem::take(&mut counter.now);
                }
            }
            Operation::Gauge { node, gauge, value } => {
                self.gauges.insert((node, gauge), (value, at));
            }
            Operation::Counter { node, counter, value } => self.count(at, node, counter, value),
            _ => {}
        }
    }

    fn count(&mut self, at: usize, node: Name, name: Name, value: u64) {
        let counter = self.counters.entry((name, node)).or_default();
        let (was, before) = (counter.now, counter.at);
        (counter.now, counter.at) = (value, at);
        if value < was {
            let about = About { at: vec![before, at], ..About::default() };
            self.findings.add(Kind::CounterFell, about, || {
                let (name, node) = (self.history.text(name), self.history.text(node));
                format!("counter {name} of {node} went back from {was} to {value}")
            });
        }
    }

    fn leaks(&mut self) {
        for (&(node, gauge), &(value, at)) in self.gauges.iter().filter(|(_, (value, _))| *value != 0) {
            let about = About { at: vec![at], ..About::default() };
            self.findings.add(Kind::Leak, about, || {
                let (node, gauge) = (self.history.text(node), self.history.text(gauge));
                format!("gauge {gauge} of {node} is {value} when all is over")
            });
        }
    }

    fn balances(&mut self) {
        for (at, step) in self.history.steps.iter().enumerate() {
            let Operation::Balance { left, right } = &step.operation else { continue };
            let sides = self.sum(left).and_then(|left| Ok((left, self.sum(right)?)));
            match sides {
                Err(unknown) => {
                    let name = self.history.text(unknown);
                    self.findings.malformed(at, || format!("counter {name} has no sample"));
                }
                Ok(((left, _), (right, _))) if left == right => {}
                Ok(((sum_left, mut seen), (sum_right, more))) => {
                    seen.extend(more);
                    seen.push(at);
                    self.findings.add(Kind::Unbalanced, About { at: seen, ..About::default() }, || {
                        let side = |names: &[Name]| {
                            names.iter().map(|name| self.history.text(*name)).collect::<Vec<_>>().join(" + ")
                        };
                        format!("{} is {sum_left}, and {} is {sum_right}", side(left), side(right))
                    });
                }
            }
        }
    }

    /// The sum of these counters over all nodes and where it was read, or the name that was never read.
    fn sum(&self, names: &[Name]) -> Result<(u64, Vec<usize>), Name> {
        let (mut sum, mut seen) = (0, Vec::new());
        for &name in names {
            let before = seen.len();
            for (_, counter) in self.counters.iter().filter(|((of, _), _)| *of == name) {
                sum += counter.before + counter.now;
                seen.push(counter.at);
            }
            if seen.len() == before {
                return Err(name);
            }
        }
        Ok((sum, seen))
    }
}

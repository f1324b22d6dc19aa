//! What happened, in the order in which it was recorded. An operation before another had ended when that began, or at
//! least was recorded before: whoever records an invocation does so before it acts, and an outcome after it knows.

use crate::names::{Name, Names};
use crate::operation::Operation;

/// So many operations fit: 8 GB of memory.
pub(crate) const OPERATIONS_MAX: usize = 100_000_000;

/// Operations in the order of time.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub(crate) names: Names,
    pub(crate) steps: Vec<Step>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Microseconds since the history began.
    pub(crate) at_us: u64,
    pub(crate) operation: Operation<Name>,
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History::default()
    }

    /// Adds an operation `at_us` microseconds after the history began; never before one that was added earlier.
    ///
    /// # Panics
    /// When the history is full, or time went back.
    pub fn push(&mut self, at_us: u64, operation: Operation<&str>) {
        assert!(self.steps.len() < OPERATIONS_MAX, "a history has at most {OPERATIONS_MAX} operations");
        let last_us = self.steps.last().map_or(0, |step| step.at_us);
        assert!(last_us <= at_us, "time goes back from {last_us} µs to {at_us} µs");
        let operation = operation.map(&mut |text| self.names.of(text));
        self.steps.push(Step { at_us, operation });
    }

    /// How many operations it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The operations with their texts, and when each was.
    pub fn operations(&self) -> impl Iterator<Item = (u64, Operation<&str>)> {
        self.steps.iter().map(|step| (step.at_us, self.spelled(step)))
    }

    pub(crate) fn spelled(&self, step: &Step) -> Operation<&str> {
        step.operation.clone().map(&mut |name| self.names.text(name))
    }

    pub(crate) fn text(&self, name: Name) -> &str {
        self.names.text(name)
    }
}

//! Guards: the right to commit under a name. Their epochs are records of the compacted topic `__guards`; this is the
//! writer's memory of them.

use dualstream_core::log::{Commit, GUARDS_TOPIC, Guard};
use dualstream_core::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// Current epoch of each guard.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    stored: BTreeMap<Vec<u8>, u64>,
    /// Raised in the round that is being built: they count for the commits after them, and vanish with the round.
    staged: BTreeMap<Vec<u8>, u64>,
}

impl Guards {
    /// Whether a commit under this guard may go on.
    ///
    /// # Errors
    /// `fenced`, naming the current epoch as its limit.
    pub fn check(&self, guard: &Guard) -> Result<()> {
        let name = guard.name.as_bytes();
        let current = self.staged.get(name).or_else(|| self.stored.get(name)).copied().unwrap_or(0);
        if current == guard.epoch {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Fenced,
            "fenced",
            format!(
                "'{}' is at epoch {current}, this commit holds {}: a newer owner took over",
                guard.name, guard.epoch
            ),
        )
        .with_limit(current))
    }

    /// Checks the records a commit appends to the guards' topic.
    ///
    /// # Errors
    /// `invalid_guard`.
    pub fn check_records(commit: &Commit) -> Result<()> {
        let records =
            commit.parts.iter().filter(|p| p.topic.as_str() == GUARDS_TOPIC).flat_map(|p| &p.records);
        for record in records {
            let named =
                commit.guard.as_ref().is_some_and(|g| record.key.as_deref() == Some(g.name.as_bytes()));
            if !named || epoch(record.value.as_deref()).is_none() {
                return Err(Error::invalid(
                    "invalid_guard",
                    "guard",
                    "a guard is raised by a commit that holds it: key its name, value its new epoch as 8 bytes",
                ));
            }
        }
        Ok(())
    }

    /// Takes over the guards a commit raises, until the round is decided.
    pub fn stage(&mut self, commit: &Commit) {
        let records =
            commit.parts.iter().filter(|p| p.topic.as_str() == GUARDS_TOPIC).flat_map(|p| &p.records);
        for record in records {
            if let (Some(key), Some(epoch)) = (&record.key, epoch(record.value.as_deref())) {
                self.staged.insert(key.to_vec(), epoch);
            }
        }
    }

    /// The round was decided: what it raised stands, or never was.
    pub fn settle(&mut self, stored: bool) {
        let staged = std::mem::take(&mut self.staged);
        if stored {
            self.stored.extend(staged);
        }
    }

    /// Takes over a stored record of the guards' topic.
    pub fn restore(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        match (key, epoch(value)) {
            (Some(key), Some(epoch)) => drop(self.stored.insert(key.to_vec(), epoch)),
            (Some(key), None) => drop(self.stored.remove(key)),
            (None, _) => {}
        }
    }
}

fn epoch(value: Option<&[u8]>) -> Option<u64> {
    value?.try_into().ok().map(u64::from_be_bytes)
}

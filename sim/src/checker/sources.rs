//! The order of one source's events: what was acknowledged before another was sent stands before it.

use super::{Checker, Verdict};
use crate::history::Broken;
use std::collections::BTreeMap;

impl Checker {
    /// Checks every source.
    pub fn check_sources(&self) -> Verdict {
        let mut by_source: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (n, fact) in self.facts.iter().enumerate() {
            let current = fact.place.filter(|p| self.topics[p.topic].epoch == Some(p.epoch));
            if current.is_some() && !fact.lost && !fact.again {
                by_source.entry(fact.source.0).or_default().push(n as u64);
            }
        }
        by_source.values_mut().try_for_each(|events| self.check_source(events))
    }

    fn check_source(&self, events: &mut [u64]) -> Verdict {
        let fact = |n: u64| &self.facts[n as usize];
        events.sort_by_key(|&n| fact(n).place.map(|p| p.offset));
        // The event sent last among those that stand before.
        let mut latest: Option<u64> = None;
        for &n in events.iter() {
            if let Some(before) = latest
                && let (Some(sent), Some(acked)) = (fact(before).first_sent, fact(n).acked)
                && acked < sent
            {
                let what = format!(
                    "#{n} was acknowledged before #{before} of its source was sent, but stands after it"
                );
                return Err(Broken::new(
                    "order of a source",
                    what,
                    vec![format!("#{n}"), format!("#{before}")],
                ));
            }
            if latest.is_none_or(|l| fact(l).first_sent < fact(n).first_sent) {
                latest = Some(n);
            }
        }
        Ok(())
    }
}

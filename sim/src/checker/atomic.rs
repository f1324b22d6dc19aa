//! Publishes of several events: one commit, so after a crash all of it is there or nothing.

use super::{Checker, Verdict};
use crate::history::Broken;

/// One publish.
pub(super) struct Call {
    /// The events that had never been sent before, when all were such; else nothing can be said.
    fresh: Vec<u64>,
    over: bool,
}

impl Checker {
    /// A publish begins.
    pub fn sent(&mut self, events: &[u64], now: u64) {
        let mut distinct = events.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let fresh = distinct.len() == events.len()
            && events
                .iter()
                .map(|&n| &self.facts[n as usize])
                .all(|f| f.first_sent.is_none() && f.rival_of.is_none());
        // Sent once more, an event says nothing about its first publish any more.
        for call in events.iter().filter_map(|n| self.first_call.get(n)) {
            self.calls[*call].over = true;
        }
        events.iter().for_each(|&n| self.sent_one(n, now));
        if fresh {
            let call = self.calls.len();
            self.first_call.extend(events.iter().map(|&n| (n, call)));
        }
        self.calls.push(Call { fresh: if fresh { distinct } else { Vec::new() }, over: false });
    }

    /// Checks every publish that is not settled, when the log was just read whole.
    pub(super) fn check_atomic(&mut self) -> Verdict {
        for index in 0..self.calls.len() {
            if !self.calls[index].over && !self.calls[index].fresh.is_empty() {
                self.check_call(&self.calls[index].fresh)?;
            }
            // Where acks are synced, a later start changes nothing about it any more.
            self.calls[index].over |= self.fsync_always;
        }
        Ok(())
    }

    fn check_call(&self, events: &[u64]) -> Verdict {
        let is_there = |n: u64| {
            let fact = &self.facts[n as usize];
            self.order(fact.source.topic()).is_some_and(|order| order.place_of(n).is_some())
        };
        let excused = |n: u64| {
            let place = self.facts[n as usize].place;
            self.damaged.contains(&n)
                || self.facts[n as usize].passed
                || place.is_some_and(|place| self.is_trimmed(&place))
        };
        let there: Vec<u64> = events.iter().copied().filter(|&n| is_there(n)).collect();
        let missing: Vec<u64> = events.iter().copied().filter(|&n| !is_there(n) && !excused(n)).collect();
        if there.is_empty() || missing.is_empty() || events.iter().any(|&n| excused(n)) {
            return Ok(());
        }
        let what = format!("of one publish, {there:?} are stored and {missing:?} are not");
        let about = [there[0], missing[0]].map(|n| format!("#{n}")).to_vec();
        Err(Broken::new("a commit is whole", what, about))
    }
}

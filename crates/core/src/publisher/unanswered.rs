//! Events whose caller was not told yet. One who gives up never is: its events count as failed, for their outcome is not
//! known, and the counters add up.

use super::Counters;
use std::sync::atomic::Ordering::Relaxed;

/// Events of one call.
#[derive(Debug)]
pub(super) struct Unanswered<'a> {
    counters: &'a Counters,
    events: u64,
}

impl<'a> Unanswered<'a> {
    /// Counts them as received.
    pub(super) fn received(counters: &'a Counters, events: usize) -> Unanswered<'a> {
        let events = events as u64;
        counters.events_in.fetch_add(events, Relaxed);
        Unanswered { counters, events }
    }

    /// Each was counted by its own outcome.
    pub(super) fn answered(mut self) {
        self.events = 0;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.counters.failed.fetch_add(self.events, Relaxed);
    }
}

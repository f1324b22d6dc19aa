//! Announcements that live subscribers heard: each of an event that stands where it says.

use super::{Checker, Place, Verdict};
use crate::history::Broken;

impl Checker {
    /// Somebody heard an announcement.
    pub fn heard(&mut self, place: Place, id: &str, channel: &str) {
        self.heard.insert(place, (id.to_owned(), channel.to_owned()));
    }

    /// Judges every announcement that was heard, when the orders are complete.
    pub fn check_heard(&self) -> Verdict {
        for (place, (id, channel)) in &self.heard {
            let log = &self.topics[place.topic];
            let order = log.orders.get(&place.epoch).filter(|_| log.epoch == Some(place.epoch));
            let Some(order) = order else { continue };
            let stored = order.index(place.partition, place.offset).map(|at| order.records()[at]);
            let Some(stored) = stored else {
                let excused = self.is_trimmed(place) || order.gone.contains(&(place.partition, place.offset));
                if excused {
                    continue;
                }
                let what = format!("{id} was heard at {place}, where nothing stands");
                return Err(Broken::new("live", what, vec![place.to_string()]));
            };
            let fact = &self.facts[stored.n as usize];
            if fact.id.as_ref().is_some_and(|known| known != id) || *channel != fact.source.channel() {
                let what = format!("{id} of {channel} was heard at {place}, where #{} stands", stored.n);
                return Err(Broken::new("live", what, vec![place.to_string(), format!("#{}", stored.n)]));
            }
        }
        Ok(())
    }
}

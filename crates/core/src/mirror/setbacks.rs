//! How long the follower leaves a topic alone whose store failed.
//!
//! A mirror that fails is begun anew, which makes room; what filled the disk may fill it again at once. So each failure
//! soon after another doubles the pause. Readers go through ranges meanwhile.

use crate::Error;
use crate::topic::TopicName;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// A store that held out so much longer than its last pause is well again.
const WELL: Duration = Duration::from_secs(60);

/// Topics whose stores failed lately.
#[derive(Debug, Default)]
pub(super) struct Setbacks(BTreeMap<TopicName, Setback>);

#[derive(Debug)]
struct Setback {
    pause: Duration,
    until: Instant,
}

impl Setbacks {
    /// Notes a failure, and tells the first of several; gives until when the topic is left alone.
    pub fn note(&mut self, name: &TopicName, error: &Error, now: Instant) -> Instant {
        self.are_over(now);
        let before = self.0.get(name).map(|setback| setback.pause);
        let pause = before.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        match before {
            None => {
                tracing::warn!(topic = %name, code = error.code(), "the mirror of a topic failed on this node and begins anew, again and again if it has to: {error}");
            }
            Some(_) => {
                tracing::debug!(topic = %name, code = error.code(), ?pause, "the mirror failed on this node and begins anew: {error}");
            }
        }
        let until = now + pause;
        self.0.insert(name.clone(), Setback { pause, until });
        until
    }

    /// Whether all stores are well again.
    pub fn are_over(&mut self, now: Instant) -> bool {
        self.0.retain(|_, setback| now < setback.until + WELL);
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn each_failure_soon_after_another_doubles_the_pause() {
        let (mut setbacks, name) = (Setbacks::default(), TopicName::new("t").unwrap());
        let error = Error::new(ErrorKind::Full, "storage_full", "no room");
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let until = setbacks.note(&name, &error, now);
            pauses.push(until - now);
            now = until + WELL / 2;
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (PAUSE_MIN, PAUSE_MIN * 2, PAUSE_MAX));
        let other = TopicName::new("other").unwrap();
        assert_eq!(setbacks.note(&other, &error, now) - now, PAUSE_MIN, "each topic by itself");
        assert!(!setbacks.are_over(now));
        now += PAUSE_MAX + WELL;
        assert!(setbacks.are_over(now));
        assert_eq!(setbacks.note(&name, &error, now) - now, PAUSE_MIN, "it was well for a while");
    }
}

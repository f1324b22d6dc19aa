//! What Redis refused to let this server subscribe: it is not asked for again soon, however often it is wanted.
//!
//! A refusal holds for some minutes, and no longer than the connection: whoever changes the rights of a user may have to
//! wait so long. There are at most [`TARGETS_MAX`]; what is refused beyond is asked for whenever it is wanted.

use dualstream_core::Error;
use dualstream_core::channel::Target;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a refusal holds.
const HOLDS: Duration = Duration::from_secs(180);
/// Most refusals that are remembered.
const TARGETS_MAX: usize = 4096;

/// What one connection was refused.
#[derive(Default)]
pub(super) struct Refusals {
    targets: BTreeMap<Target, (Instant, Error)>,
    count: u64,
}

impl Refusals {
    /// Redis refused it; how many refusals there were on this connection.
    pub fn add(&mut self, target: &Target, error: &Error, now: Instant) -> u64 {
        if self.targets.len() >= TARGETS_MAX {
            self.targets.retain(|_, (at, _)| now.duration_since(*at) < HOLDS);
        }
        if self.targets.len() < TARGETS_MAX {
            self.targets.insert(target.clone(), (now, error.clone()));
        }
        self.count += 1;
        self.count
    }

    /// Why it would be refused now.
    pub fn find(&mut self, target: &Target, now: Instant) -> Option<Error> {
        let (at, error) = self.targets.get(target)?;
        if now.duration_since(*at) < HOLDS {
            return Some(error.clone());
        }
        self.targets.remove(target);
        None
    }

    /// Another connection may be another server, and another user.
    pub fn forget(&mut self) {
        *self = Refusals::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::ErrorKind;

    #[test]
    fn they_hold_for_some_minutes_and_are_bounded() {
        let mut refusals = Refusals::default();
        let error = Error::new(ErrorKind::Denied, "redis_denied", "no");
        let target = |n: usize| Target::parse(&format!("a:{n}")).unwrap();
        let begin = Instant::now();
        for n in 0..=TARGETS_MAX {
            assert_eq!(refusals.add(&target(n), &error, begin), n as u64 + 1);
        }
        assert_eq!(refusals.find(&target(1), begin + HOLDS / 2), Some(error.clone()));
        assert_eq!(refusals.find(&target(TARGETS_MAX), begin), None, "there is no place for it");
        assert_eq!(refusals.find(&target(1), begin + HOLDS), None);
        refusals.add(&target(TARGETS_MAX), &error, begin + HOLDS);
        assert_eq!(refusals.find(&target(TARGETS_MAX), begin + HOLDS), Some(error.clone()));
        refusals.forget();
        assert_eq!(refusals.find(&target(TARGETS_MAX), begin + HOLDS), None);
        assert_eq!(refusals.add(&target(0), &error, begin), 1);
    }
}

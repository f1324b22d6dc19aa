//! When to try again: exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), until
//! nothing has succeeded for too long.

use dualstream::core::clock::Entropy;
use dualstream::system::SystemEntropy;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_MAX: Duration = Duration::from_millis(100);
const LAST_MAX: Duration = Duration::from_secs(5);

/// Counts failures since the last success.
pub struct Backoff {
    entropy: SystemEntropy,
    patience: Duration,
    failing_since: Option<Instant>,
    tries: u32,
}

impl Backoff {
    /// Gives up when nothing has succeeded for `patience`.
    pub fn new(patience: Duration) -> Backoff {
        Backoff { entropy: SystemEntropy::default(), patience, failing_since: None, tries: 0 }
    }

    /// Something succeeded.
    pub fn succeeded(&mut self) {
        self.failing_since = None;
        self.tries = 0;
    }

    /// Something failed: waits, at least `least`, and says whether to try again.
    pub async fn failed(&mut self, least: Option<Duration>) -> bool {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let wait = self.next_wait().max(least.unwrap_or_default());
        if since.elapsed() + wait > self.patience {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }

    /// Anything from nothing to the doubling bound.
    fn next_wait(&mut self) -> Duration {
        let bound = FIRST_MAX.saturating_mul(1 << self.tries.min(16)).min(LAST_MAX);
        self.tries += 1;
        bound.mul_f64(self.entropy.next_u64() as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_the_bound() {
        let mut backoff = Backoff::new(Duration::MAX);
        for tries in 0..40 {
            let bound = Duration::from_millis(100 << tries.min(16)).min(LAST_MAX);
            assert!(backoff.next_wait() <= bound, "{tries}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_success_renews_it() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        assert!(backoff.failed(Some(Duration::from_secs(9))).await);
        backoff.succeeded();
        assert!(backoff.failed(Some(Duration::from_secs(9))).await);
        assert!(!backoff.failed(Some(Duration::from_secs(2))).await);
    }
}

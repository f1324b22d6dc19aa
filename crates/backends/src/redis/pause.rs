//! How long to wait before the next try, so that nodes do not come back all at once.

use dualstream_core::clock::Entropy;
use std::sync::Arc;
use std::time::Duration;

/// What lasts as long was no flicker.
const STEADY: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles from a tenth of a second to five, each time somewhere between half of it and all.
pub(super) struct Pause {
    entropy: Arc<dyn Entropy>,
    next: Duration,
}

impl Pause {
    pub fn new(entropy: Arc<dyn Entropy>) -> Pause {
        Pause { entropy, next: FIRST }
    }

    /// Waits before a connection that was of use is made again: not at all, unless it lasted no time. One that always
    /// flickers is made again ever more slowly.
    pub async fn after(&mut self, lasted: Duration) {
        if lasted >= STEADY {
            self.next = FIRST;
        } else {
            tokio::time::sleep(self.next()).await;
        }
    }

    pub fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let share = (self.entropy.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        whole.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualstream_core::testing::SeededEntropy;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_five_seconds_and_differ() {
        let mut pause = Pause::new(Arc::new(SeededEntropy::new(7)));
        let pauses: Vec<Duration> = (0..12).map(|_| pause.next()).collect();
        for (pause, whole) in
            pauses.iter().zip([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000])
        {
            let whole = Duration::from_millis(whole);
            assert!((whole / 2..=whole).contains(pause), "{pause:?} of {whole:?}");
        }
        assert_ne!(pauses[8], pauses[9]);
        let begun = tokio::time::Instant::now();
        pause.after(STEADY).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pause.after(STEADY / 2).await;
        assert!((FIRST / 2..=2 * FIRST).contains(&begun.elapsed()));
    }
}

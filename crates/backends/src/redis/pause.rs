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

    /// Whether something that worked for so long may be tried again at once. What only flickers is tried again ever more
    /// slowly, as what does not work at all.
    pub fn is_spared(&mut self, lasted: Duration) -> bool {
        let is_steady = lasted >= STEADY;
        if is_steady {
            self.next = FIRST;
        }
        is_steady
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

    #[test]
    fn pauses_grow_to_five_seconds_and_differ() {
        let mut pause = Pause::new(Arc::new(SeededEntropy::new(7)));
        let pauses: Vec<Duration> = (0..12).map(|_| pause.next()).collect();
        for (pause, whole) in
            pauses.iter().zip([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000])
        {
            let whole = Duration::from_millis(whole);
            assert!((whole / 2..=whole).contains(pause), "{pause:?} of {whole:?}");
        }
        assert_ne!(pauses[8], pauses[9]);
        assert!(!pause.is_spared(STEADY / 2) && pause.next() > FIRST);
        assert!(pause.is_spared(STEADY) && pause.next() <= FIRST);
    }
}

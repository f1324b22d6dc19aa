//! The machine's clock and its randomness, behind the seams of the core.

use dualstream_core::clock::{Clock, Entropy};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Unpredictable bits: SipHash of a counter under a key the operating system gave this process. Not for secrets.
#[derive(Debug, Default)]
pub struct SystemEntropy {
    key: RandomState,
    counter: AtomicU64,
}

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        self.key.hash_one(self.counter.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_do_not_repeat_within_or_across_sources() {
        let (a, b) = (SystemEntropy::default(), SystemEntropy::default());
        let mut seen: Vec<u64> = (0..1000).flat_map(|_| [a.next_u64(), b.next_u64()]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2000);
    }

    #[test]
    fn the_clock_knows_the_century() {
        assert!(SystemClock.now_ms() > 1_700_000_000_000);
    }
}

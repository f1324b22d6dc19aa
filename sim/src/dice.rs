//! Choices that follow from a seed.
//!
//! Each task throws dice of its own, forked from the run's in a fixed order, so that what one task does more or less of
//! changes nothing for the others: a failing seed stays comparable while the code under it changes.

use dualstream_core::clock::Entropy;
use dualstream_core::testing::SeededEntropy;
use std::sync::Arc;

/// Dice that fall the same way for the same seed. Clones throw the same dice.
#[derive(Clone, Debug)]
pub struct Dice(Arc<SeededEntropy>);

impl Dice {
    /// The dice of `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(Arc::new(SeededEntropy::new(seed)))
    }

    /// Dice of their own.
    pub fn fork(&self) -> Dice {
        Dice::new(self.0.next_u64())
    }

    /// The dice as the seam of randomness.
    pub fn entropy(&self) -> Arc<dyn Entropy> {
        self.0.clone()
    }

    /// Evenly one of `0..n`; 0 when `n` is 0.
    pub fn below(&self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.next_u64() % n }
    }

    /// Evenly one of `low..=high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True once in `n`.
    pub fn once_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `0..n`, the low ones far more often: a tenth of them gets about half.
    pub fn skewed(&self, n: u64) -> u64 {
        let unit = self.below(1 << 20) as f64 / (1u64 << 20) as f64;
        (unit.powi(3) * n as f64) as u64
    }

    /// Evenly one of `choices`, which is not empty.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A size between `low` and `high`, each power of two as likely as the next.
    pub fn size(&self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high / low.max(1)).max(1).ilog2());
        let top = (low << self.below(doublings + 1)).min(high);
        self.between(low, (top * 2).min(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same() {
        let throw = |seed| {
            let dice = Dice::new(seed);
            let fork = dice.fork();
            (0..100).map(|_| (dice.between(3, 9), fork.skewed(1000), fork.size(1, 4096))).collect::<Vec<_>>()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
        assert!(throw(7).iter().all(|t| (3..=9).contains(&t.0) && t.1 < 1000 && (1..=4096).contains(&t.2)));
    }

    #[test]
    fn the_low_keys_are_hot() {
        let dice = Dice::new(1);
        let low = (0..10_000).filter(|_| dice.skewed(1000) < 100).count();
        assert!((4000..5500).contains(&low), "{low}");
    }
}

//! Which offsets of a partition were announced already: a bitmap of recent ones.

const WORDS: usize = 16;
/// Offsets it remembers.
pub(super) const WINDOW: u64 = 64 * WORDS as u64;

/// A window of offsets from `base` on.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    base: u64,
    /// Bit *i* of the ring of words: offset ≡ i modulo the window.
    bits: [u64; WORDS],
}

impl Seen {
    /// Whether `offset` may pass now: it does so once. What lies before `floor` has passed, what lies past the window
    /// may not yet (it comes another way).
    pub(super) fn pass(&mut self, floor: u64, offset: u64) -> bool {
        self.advance(floor);
        if offset < self.base || offset - self.base >= WINDOW || self.has(offset) {
            return false;
        }
        let (word, bit) = place(offset);
        self.bits[word] |= bit;
        true
    }

    /// Whether `offset` passed and is still remembered.
    pub(super) fn has(&self, offset: u64) -> bool {
        let (word, bit) = place(offset);
        offset >= self.base && offset - self.base < WINDOW && self.bits[word] & bit != 0
    }

    fn advance(&mut self, floor: u64) {
        if floor >= self.base.saturating_add(WINDOW) {
            self.bits = [0; WORDS];
        } else {
            for offset in self.base..floor {
                let (word, bit) = place(offset);
                self.bits[word] &= !bit;
            }
        }
        self.base = self.base.max(floor);
    }
}

fn place(offset: u64) -> (usize, u64) {
    ((offset / 64) as usize % WORDS, 1 << (offset % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_set() {
        let (mut seen, mut model, mut floor, mut random) = (Seen::default(), BTreeSet::new(), 0u64, 1u64);
        for _ in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            floor += u64::from(random >> 60 == 0) * ((random >> 20) % 300);
            let offset = (floor + (random >> 33) % 1500).saturating_sub(200);
            let fits = offset >= floor && offset < floor + WINDOW;
            assert_eq!(seen.pass(floor, offset), fits && model.insert(offset), "{offset} from {floor}");
        }
    }
}

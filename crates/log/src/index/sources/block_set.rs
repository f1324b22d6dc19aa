//! A set of blocks: one bit each.

/// Blocks, to be listed in order however they were added.
#[derive(Default)]
pub(super) struct BlockSet {
    words: Vec<u64>,
}

impl BlockSet {
    pub(super) fn insert(&mut self, block: u32) {
        let word = (block / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (block % 64);
    }

    /// All of them, ascending.
    pub(super) fn list(&self) -> Vec<u32> {
        let mut blocks = Vec::with_capacity(self.words.iter().map(|w| w.count_ones() as usize).sum());
        for (i, &word) in self.words.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                blocks.push(i as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        blocks
    }
}

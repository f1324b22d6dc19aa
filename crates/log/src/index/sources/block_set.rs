//! A set of blocks: one bit each.

use dualstream_core::filter::Filter;

/// Blocks, to be listed in order however they were added.
#[derive(Default)]
pub(super) struct BlockSet {
    words: Vec<u64>,
}

impl BlockSet {
    /// The blocks a filter wants, ascending. `exact` and `prefix` add those of one source and of all that begin so.
    pub(super) fn wanted(
        filter: &Filter,
        exact: impl Fn(&[u8], &mut BlockSet),
        prefix: impl Fn(&[u8], &mut BlockSet),
    ) -> Vec<u32> {
        let mut set = BlockSet::default();
        match filter {
            Filter::All => prefix(b"", &mut set),
            Filter::Sources { exact: sources, prefixes } => {
                sources.iter().for_each(|source| exact(source.as_bytes(), &mut set));
                prefixes.iter().for_each(|begin| prefix(begin.as_bytes(), &mut set));
            }
        }
        set.list()
    }

    pub(super) fn insert(&mut self, block: u32) {
        let word = (block / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (block % 64);
    }

    /// All of them, ascending.
    fn list(&self) -> Vec<u32> {
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

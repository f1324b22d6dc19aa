//! The sources of a segment that grows.

use super::block_set::BlockSet;
use super::sealed;
use dualstream_core::filter::Filter;
use dualstream_core::sources::SourceRange;
use hashbrown::HashTable;
use std::collections::BTreeSet;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Collects the sources of the records of a segment, block by block.
///
/// One table of whole names `type:id`, which stand one behind the other in one buffer. Noting a known source touches its
/// entry and its name, and nothing else when its newest block is this one: the writer does it for every record. The
/// lists of all sources are chained backwards through one vector.
pub(crate) struct SourcesBuilder {
    sources: Names,
    /// Blocks with any source of a type: most patterns want a whole type.
    types: Names,
    chains: Chains,
    /// The type that was noted last, with its colon, and in which block: records come in runs of one type.
    last_type: Option<(Vec<u8>, u32)>,
    /// The name being noted.
    name: Vec<u8>,
}

/// Names, each with the list of its blocks.
struct Names {
    /// Whoever does not know it cannot choose names whose hashes collide.
    seed: u64,
    table: HashTable<Named>,
    bytes: Vec<u8>,
}

struct Named {
    hash: u64,
    /// Where its name stands in `bytes`.
    begin: usize,
    length: u32,
    blocks: List,
}

/// A list of blocks: the newest one, and its place in [`Chains`].
struct List {
    newest: u32,
    place: u32,
}

/// Lists of blocks, newest first: a block, and the place of the one before it.
#[derive(Default)]
struct Chains(Vec<(u32, u32)>);

/// The place before the first one of a list.
const NONE: u32 = u32::MAX;

impl SourcesBuilder {
    /// An empty one. The seed decides nothing that shows.
    pub fn new(seed: u64) -> SourcesBuilder {
        SourcesBuilder {
            sources: Names::new(seed),
            types: Names::new(seed),
            chains: Chains::default(),
            last_type: None,
            name: Vec::new(),
        }
    }

    /// Notes a record of `source_type:source_id` in `block`, which is the last block so far.
    pub fn add(&mut self, source_type: &[u8], source_id: &[u8], block: u32) {
        debug_assert!(block < super::BLOCKS_MAX, "a segment is sealed long before");
        self.name.clear();
        self.name.extend_from_slice(source_type);
        self.name.push(b':');
        let is_type_noted =
            self.last_type.as_ref().is_some_and(|(name, of)| *of == block && *name == self.name);
        if !is_type_noted {
            self.types.note(&self.name, block, &mut self.chains);
            self.last_type = Some((self.name.clone(), block));
        }
        self.name.extend_from_slice(source_id);
        self.sources.note(&self.name, block, &mut self.chains);
    }

    /// Numbers of the blocks that hold wanted records with a source, ascending.
    pub fn blocks(&self, filter: &Filter) -> Vec<u32> {
        BlockSet::wanted(
            filter,
            |source, set| self.add_exact(source, set),
            |begin, set| self.add_prefix(begin, set),
        )
    }

    fn add_exact(&self, source: &[u8], set: &mut BlockSet) {
        self.sources.find(source).into_iter().for_each(|named| self.add_list(named, set));
    }

    /// Types that begin with the prefix are wanted whole; only where it goes on into the ids of a type are these looked at.
    fn add_prefix(&self, prefix: &[u8], set: &mut BlockSet) {
        self.types.that_begin_with(prefix).for_each(|(_, named)| self.add_list(named, set));
        if self.has_ids_under(prefix) {
            self.sources.that_begin_with(prefix).for_each(|(_, named)| self.add_list(named, set));
        }
    }

    fn has_ids_under(&self, prefix: &[u8]) -> bool {
        let ends = (1..prefix.len()).filter(|&end| prefix[end - 1] == b':');
        ends.into_iter().any(|end| self.types.find(&prefix[..end]).is_some())
    }

    fn add_list(&self, named: &Named, set: &mut BlockSet) {
        self.chains.iter(&named.blocks).for_each(|block| set.insert(block));
    }

    /// Adds the first whole names of the sources within `range` to `names`, which never holds more than `range.max`.
    ///
    /// It looks at every source, and copies the names of few.
    pub fn add_names(&self, range: &SourceRange, names: &mut BTreeSet<Vec<u8>>) {
        for (name, _) in self.sources.that_begin_with(&range.prefix) {
            super::add_name(range, name, names);
        }
    }

    /// For the sidecar: the section of [`SealedSources`](super::SealedSources).
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = sealed::Encoder::default();
        let mut sorted: Vec<_> = self.sources.that_begin_with(b"").collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let mut blocks = Vec::new();
        for (name, named) in sorted {
            blocks.clear();
            blocks.extend(self.chains.iter(&named.blocks));
            blocks.reverse();
            encoder.push(name, &blocks);
        }
        encoder.finish()
    }
}

impl Names {
    fn new(seed: u64) -> Names {
        Names { seed, table: HashTable::new(), bytes: Vec::new() }
    }

    /// Adds a block to the list of a name, which may be new.
    fn note(&mut self, name: &[u8], block: u32, chains: &mut Chains) {
        let hash = xxh3_64_with_seed(name, self.seed);
        let bytes = &self.bytes;
        match self.table.find_mut(hash, |named| named.hash == hash && bytes[named.range()] == *name) {
            Some(named) if named.blocks.newest == block => {}
            Some(named) => named.blocks = chains.push(named.blocks.place, block),
            None => {
                let (begin, length) = (self.bytes.len(), name.len() as u32);
                self.bytes.extend_from_slice(name);
                let named = Named { hash, begin, length, blocks: chains.push(NONE, block) };
                self.table.insert_unique(hash, named, |named| named.hash);
            }
        }
    }

    fn find(&self, name: &[u8]) -> Option<&Named> {
        let hash = xxh3_64_with_seed(name, self.seed);
        self.table.find(hash, |named| named.hash == hash && self.bytes[named.range()] == *name)
    }

    /// In no order.
    fn that_begin_with(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], &Named)> {
        let named = self.table.iter().map(|named| (&self.bytes[named.range()], named));
        named.filter(move |(name, _)| name.starts_with(prefix))
    }
}

impl Named {
    fn range(&self) -> Range<usize> {
        self.begin..self.begin + self.length as usize
    }
}

impl Chains {
    /// The list that ended at `place`, with one block more.
    fn push(&mut self, place: u32, block: u32) -> List {
        self.0.push((block, place));
        List { newest: block, place: (self.0.len() - 1) as u32 }
    }

    /// Newest first.
    fn iter(&self, list: &List) -> impl Iterator<Item = u32> {
        let first = self.0.get(list.place as usize);
        std::iter::successors(first, |(_, before)| self.0.get(*before as usize)).map(|(block, _)| *block)
    }
}

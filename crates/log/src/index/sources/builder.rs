//! The sources of a segment that grows.

use super::block_set::BlockSet;
use super::sealed;
use dualstream_core::filter::Filter;
use dualstream_core::sources::SourceRange;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use xxhash_rust::xxh3::xxh3_64;

/// Collects the sources of the records of a segment, block by block.
///
/// Two maps, type → id → list: looking up a source that is known builds no string and allocates nothing. The lists of
/// all sources are chained backwards through one vector, so a source that occurs once costs 12 bytes beside its name.
#[derive(Default)]
pub(crate) struct SourcesBuilder {
    types: Map<usize>,
    lists: Vec<Type>,
    chains: Chains,
    /// Place in `lists` of the type that was added last: records come in runs of one type.
    last_type: usize,
}

struct Type {
    name: Box<[u8]>,
    /// Blocks with any source of this type: most patterns want a whole type.
    blocks: Last,
    ids: Map<Last>,
}

type Map<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<Xxh3>>;

/// Place in `Chains` of the newest block of a list; `NONE` when it is empty.
type Last = u32;
const NONE: Last = u32::MAX;

/// Lists of blocks, newest first: a block, and the place of the one before it.
#[derive(Default)]
struct Chains(Vec<(u32, Last)>);

impl SourcesBuilder {
    /// Notes a record of `source_type:source_id` in `block`, which is the last block so far.
    pub fn add(&mut self, source_type: &[u8], source_id: &[u8], block: u32) {
        debug_assert!(block < super::BLOCKS_MAX, "a segment is sealed long before");
        let place = self.type_place(source_type);
        let of_type = &mut self.lists[place];
        self.chains.push(&mut of_type.blocks, block);
        match of_type.ids.get_mut(source_id) {
            Some(last) => self.chains.push(last, block),
            None => {
                let mut last = NONE;
                self.chains.push(&mut last, block);
                of_type.ids.insert(source_id.into(), last);
            }
        }
    }

    fn type_place(&mut self, source_type: &[u8]) -> usize {
        match self.lists.get(self.last_type) {
            Some(last) if *last.name == *source_type => return self.last_type,
            _ => {}
        }
        self.last_type = match self.types.get(source_type) {
            Some(&place) => place,
            None => {
                self.lists.push(Type { name: source_type.into(), blocks: NONE, ids: Map::default() });
                self.types.insert(source_type.into(), self.lists.len() - 1);
                self.lists.len() - 1
            }
        };
        self.last_type
    }

    /// Numbers of the blocks that hold wanted records with a source, ascending.
    pub fn blocks(&self, filter: &Filter) -> Vec<u32> {
        let mut set = BlockSet::default();
        match filter {
            Filter::All => self.add_prefix(b"", &mut set),
            Filter::Sources { exact, prefixes } => {
                exact.iter().for_each(|source| self.add_exact(source.as_bytes(), &mut set));
                prefixes.iter().for_each(|prefix| self.add_prefix(prefix.as_bytes(), &mut set));
            }
        }
        set.list()
    }

    /// Any `:` may be the one between type and id: only names of events have none in the type.
    fn add_exact(&self, source: &[u8], set: &mut BlockSet) {
        for colon in (0..source.len()).filter(|&i| source[i] == b':') {
            let found =
                self.types.get(&source[..colon]).and_then(|&t| self.lists[t].ids.get(&source[colon + 1..]));
            if let Some(&last) = found {
                self.chains.iter(last).for_each(|block| set.insert(block));
            }
        }
    }

    fn add_prefix(&self, prefix: &[u8], set: &mut BlockSet) {
        for of_type in &self.lists {
            match rest_of_prefix(&of_type.name, prefix) {
                None => {}
                Some(b"") => self.chains.iter(of_type.blocks).for_each(|block| set.insert(block)),
                Some(rest) => {
                    let ids = of_type.ids.iter().filter(|(id, _)| id.starts_with(rest));
                    ids.for_each(|(_, &last)| self.chains.iter(last).for_each(|block| set.insert(block)));
                }
            }
        }
    }

    /// Adds the first whole names of the sources within `range` to `names`, which never holds more than `range.max`.
    ///
    /// It looks at every source of the types that are wanted, and builds the names of few.
    pub fn add_names(&self, range: &SourceRange, names: &mut BTreeSet<Vec<u8>>) {
        let mut name = Vec::new();
        for of_type in &self.lists {
            let Some(rest) = rest_of_prefix(&of_type.name, &range.prefix) else { continue };
            for id in of_type.ids.keys().filter(|id| id.starts_with(rest)) {
                name.clear();
                name.extend_from_slice(&of_type.name);
                name.push(b':');
                name.extend_from_slice(id);
                super::add_name(range, &name, names);
            }
        }
    }

    /// For the sidecar: the section of [`SealedSources`](super::SealedSources).
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = sealed::Encoder::default();
        let mut blocks = Vec::new();
        for (name, lists) in self.sorted() {
            blocks.clear();
            lists.iter().for_each(|&last| blocks.extend(self.chains.iter(last)));
            blocks.sort_unstable();
            blocks.dedup();
            encoder.push(&name, &blocks);
        }
        encoder.finish()
    }

    /// The lists of each whole name: more than one where types and ids differ but `type:id` does not.
    fn sorted(&self) -> BTreeMap<Vec<u8>, Vec<Last>> {
        let mut sorted: BTreeMap<Vec<u8>, Vec<Last>> = BTreeMap::new();
        for of_type in &self.lists {
            for (id, &last) in &of_type.ids {
                sorted.entry([&of_type.name, &b":"[..], id].concat()).or_default().push(last);
            }
        }
        sorted
    }
}

/// What ids of a type must begin with to have `prefix` before `type:id`; `None` if none can.
fn rest_of_prefix<'a>(source_type: &[u8], prefix: &'a [u8]) -> Option<&'a [u8]> {
    match prefix.strip_prefix(source_type) {
        Some(rest) => rest.strip_prefix(b":").or(rest.is_empty().then_some(rest)),
        None => source_type.starts_with(prefix).then_some(b""),
    }
}

impl Chains {
    fn push(&mut self, last: &mut Last, block: u32) {
        if self.0.get(*last as usize).is_none_or(|newest| newest.0 != block) {
            self.0.push((block, *last));
            *last = (self.0.len() - 1) as Last;
        }
    }

    fn iter(&self, last: Last) -> impl Iterator<Item = u32> {
        std::iter::successors(self.0.get(last as usize), |(_, before)| self.0.get(*before as usize))
            .map(|e| e.0)
    }
}

/// Hashes one byte string with XXH3. No map that uses it is iterated where its order would show.
#[derive(Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    /// The length that the standard library puts before a slice: one slice is all there is.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

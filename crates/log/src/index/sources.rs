//! Which blocks of a segment hold records of a source `type:id`.
//!
//! [`SourcesBuilder`] while the segment grows, [`SealedSources`] in its sidecar; both answer alike. What they name are
//! blocks to look at, not records. Records without a source are not in it: a reader who wants all of them asks nothing.

mod block_set;
mod builder;
mod sealed;

use dualstream_core::sources::SourceRange;
use std::cmp::Ordering;
use std::collections::BTreeSet;

pub(crate) use builder::SourcesBuilder;
pub(crate) use sealed::SealedSources;

/// Blocks a segment may have: a bound for what a damaged index can ask for. A segment of 32 GiB has as many.
const BLOCKS_MAX: u32 = 1 << 20;

/// Adds a name to the first ones of `range`; false if as many as wanted come before it. Most names of a large index do:
/// they cost one comparison.
fn add_name(range: &SourceRange, name: &[u8], names: &mut BTreeSet<Vec<u8>>) -> bool {
    let is_full = names.len() >= range.max;
    if is_full {
        match names.last().map(|last| name.cmp(last)) {
            Some(Ordering::Less) => {}
            place => return place == Some(Ordering::Equal),
        }
    }
    if range.holds(name) && !names.contains(name) {
        names.insert(name.to_vec());
        if is_full {
            names.pop_last();
        }
    }
    true
}

#[cfg(test)]
mod tests;

//! Which blocks of a segment hold records of a source `type:id`.
//!
//! [`SourcesBuilder`] while the segment grows, [`SealedSources`] in its sidecar; both answer alike. What they name are
//! blocks to look at, not records. Records without a source are not in it: a reader who wants all of them asks nothing.

mod block_set;
mod builder;
mod sealed;

pub(crate) use builder::SourcesBuilder;
pub(crate) use sealed::SealedSources;

/// Blocks a segment may have: a bound for what a damaged index can ask for. A segment of 32 GiB has as many.
const BLOCKS_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests;

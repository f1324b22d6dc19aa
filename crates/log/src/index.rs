//! The indexes of a segment, and the sidecar file they are kept in.
//!
//! ```text
//! segment   │ block 0 │ block 1 │ block 2 │ …      about 32 KiB each, from batch to batch
//! blocks      byte, first record, next offset of every partition, append time         of each block
//! sources     `type:id` ─▶ the blocks that hold records of it
//! identities  hash      ─▶ ordinal of the record in the segment ─▶ its block
//! ```
//!
//! Pure data: no clock and no files, but for reading one. Everything here can be built again from the segment, so a
//! sidecar that is damaged in any way is only [`Damaged`], never guessed at.

pub(crate) mod blocks;
pub(crate) mod identities;
pub(crate) mod sidecar;
pub(crate) mod sources;

use std::{fmt, io};

/// Bytes that are not what an index writes: it is to be built again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the index of a segment is damaged")
    }
}

impl std::error::Error for Damaged {}

impl From<Damaged> for io::Error {
    fn from(damaged: Damaged) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, damaged)
    }
}

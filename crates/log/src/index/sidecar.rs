//! The file beside a sealed segment that holds its indexes, each in a section of its own that is read when wanted.
//!
//! ```text
//!  0 u64 magic "DSINDEX1"      8 u32 crc32c of the header from 12 on     12 u32 sections
//! 16 u64 segment number       24 u64 bytes of the segment it covers     32 u32 source mapping   36 u32 topic number
//! 40 sections × { u32 kind, u32 crc32c, u64 offset, u64 length }        then the sections
//! ```
//! All bytes are covered by a CRC. A sidecar of another topic, segment, length or mapping is as good as none (the
//! first ones name no topic, 0): whoever opens it compares [`Stamp`]s.

use super::Damaged;
use crate::batch::crc32c;
use crate::storage::File;
use std::io;
use std::ops::Range;

const MAGIC: u64 = u64::from_le_bytes(*b"DSINDEX1");
const FIXED_BYTES: usize = 40;
const ENTRY_BYTES: usize = 24;
/// More sections than any version has: a bound for what is read of a damaged header.
const SECTIONS_MAX: usize = 16;

/// What a sidecar is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Number of its topic.
    pub topic: u32,
    /// Number of its segment.
    pub segment: u64,
    /// Bytes of the segment that were indexed.
    pub covered_bytes: u64,
    /// How records were mapped to sources.
    pub mapping: u32,
}

/// What a section holds. The numbers are stored; one that is not known is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// [`Blocks`](super::blocks::Blocks).
    Blocks = 1,
    /// [`SealedSources`](super::sources::SealedSources).
    Sources = 2,
    /// Entries of [`identities`](super::identities).
    Identities = 3,
    /// The blocks in which something may be lost. Not in older ones.
    Gaps = 4,
}

/// The header of a sidecar: what it is of, and where its sections are.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    stamp: Stamp,
    sections: Vec<Section>,
}

#[derive(Clone, Copy, Debug)]
struct Section {
    kind: u32,
    crc: u32,
    offset: u64,
    length: u64,
}

/// A whole sidecar file.
pub(crate) fn encode(stamp: Stamp, sections: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let header_bytes = FIXED_BYTES + ENTRY_BYTES * sections.len();
    let mut out = Vec::with_capacity(header_bytes + sections.iter().map(|s| s.1.len()).sum::<usize>());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    for field in [stamp.segment, stamp.covered_bytes] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&stamp.mapping.to_le_bytes());
    out.extend_from_slice(&stamp.topic.to_le_bytes());
    let mut offset = header_bytes as u64;
    for (kind, bytes) in sections {
        out.extend_from_slice(&(*kind as u32).to_le_bytes());
        out.extend_from_slice(&crc32c(bytes).to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        offset += bytes.len() as u64;
    }
    let crc = crc32c(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    sections.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
    out
}

impl Sidecar {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// `InvalidData` ([`Damaged`]) if it is damaged or points outside the file; else what reading failed with.
    pub fn open(file: &dyn File) -> io::Result<Sidecar> {
        let mut head = vec![0; FIXED_BYTES + ENTRY_BYTES * SECTIONS_MAX];
        let filled = file.read_at(&mut head, 0)?;
        head.truncate(filled);
        Ok(Sidecar::parse(&head, file.len()?).ok_or(Damaged)?)
    }

    fn parse(head: &[u8], file_bytes: u64) -> Option<Sidecar> {
        let u32_at = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| head.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let count = u32_at(12)? as usize;
        if u64_at(0)? != MAGIC || count > SECTIONS_MAX {
            return None;
        }
        let end = FIXED_BYTES + ENTRY_BYTES * count;
        if u32_at(8)? != crc32c(head.get(12..end)?) {
            return None;
        }
        let mut sections = Vec::with_capacity(count);
        for at in (FIXED_BYTES..end).step_by(ENTRY_BYTES) {
            let (offset, length) = (u64_at(at + 8)?, u64_at(at + 16)?);
            if offset.checked_add(length)? > file_bytes {
                return None;
            }
            sections.push(Section { kind: u32_at(at)?, crc: u32_at(at + 4)?, offset, length });
        }
        let stamp = Stamp {
            topic: u32_at(36)?,
            segment: u64_at(16)?,
            covered_bytes: u64_at(24)?,
            mapping: u32_at(32)?,
        };
        Some(Sidecar { stamp, sections })
    }

    /// What it is of.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether there is a section of that kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.section(kind).is_ok()
    }

    /// Where a section lies in the file.
    ///
    /// # Errors
    /// If there is none of that kind.
    pub fn range(&self, kind: Kind) -> Result<Range<u64>, Damaged> {
        let section = self.section(kind)?;
        Ok(section.offset..section.offset + section.length)
    }

    /// Reads and checks a section.
    ///
    /// # Errors
    /// `InvalidData` ([`Damaged`]) if it is missing, cut or damaged; else what reading failed with.
    pub fn read(&self, file: &dyn File, kind: Kind) -> io::Result<Vec<u8>> {
        let section = self.section(kind)?;
        // Its length was checked against the file's.
        let mut bytes = vec![0; section.length as usize];
        let filled = file.read_at(&mut bytes, section.offset)?;
        match filled == bytes.len() && crc32c(&bytes) == section.crc {
            true => Ok(bytes),
            false => Err(Damaged.into()),
        }
    }

    fn section(&self, kind: Kind) -> Result<Section, Damaged> {
        self.sections.iter().find(|s| s.kind == kind as u32).copied().ok_or(Damaged)
    }
}

/// Whether every byte of a sidecar file checks out.
pub(crate) fn is_sound(file: &[u8]) -> bool {
    let whole = |section: &Section| {
        let range = section.offset as usize..(section.offset + section.length) as usize;
        file.get(range).is_some_and(|bytes| crc32c(bytes) == section.crc)
    };
    Sidecar::parse(file, file.len() as u64).is_some_and(|sidecar| sidecar.sections.iter().all(whole))
}

#[cfg(test)]
mod tests;

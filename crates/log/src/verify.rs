//! Checking a data directory that no server has open: every byte of every file is read, nothing is changed.

use crate::batch::HEADER_BYTES;
use crate::catalog::{Catalog, Kind};
use crate::checkpoint::Checkpoint;
use crate::index::sidecar;
use crate::journal::{self, FILES, read_all};
use crate::reader::next_batch;
use crate::recovery::segment_numbers;
use crate::replace::load;
use crate::segment::{Header, segment_path, sidecar_path};
use crate::storage::{Mode, Storage};
use crate::topic::dir;
use dualstream_core::Result;
use std::io;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Topics in the catalog.
    pub topics: u64,
    /// Segment files read.
    pub segments: u64,
    /// Batches that check out.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Rounds in the journal that no checkpoint covers: replayed at the next start.
    pub rounds_to_replay: u64,
    /// What is wrong, in the order it was met.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the data directory.
    pub path: String,
    /// Whether records are lost with it; else it heals by itself or by `log repair`.
    pub loses_records: bool,
    /// What is wrong and what to do, one sentence.
    pub message: String,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, path: &str, loses_records: bool, message: impl Into<String>) {
        self.findings.push(Finding { path: path.into(), loses_records, message: message.into() });
    }
}

/// Checks a data directory, of a log or of a mirror. `progress` is told of every file before it is read.
///
/// # Errors
/// What keeps it from being read at all: `catalog_damaged`, `data_dir_newer_format`, `storage_error`.
pub fn verify(storage: &dyn Storage, mut progress: impl FnMut(&str)) -> Result<Report> {
    let failed = |e: io::Error| crate::error::storage("read the data directory", e);
    let mut report = Report::default();
    let Some(catalog) = Catalog::load_any(storage)? else {
        report.find("catalog", false, "there is no log here: the file 'catalog' is missing");
        return Ok(report);
    };
    progress("checkpoint");
    let checkpoint = match Checkpoint::load(storage) {
        Ok(checkpoint) => checkpoint.unwrap_or_default(),
        Err(_) => {
            report.find("checkpoint", false, mend(catalog.kind));
            Checkpoint::default()
        }
    };
    if catalog.kind == Kind::Log {
        verify_journal(storage, &catalog, &checkpoint, &mut report, &mut progress).map_err(failed)?;
    }
    for (&id, entry) in &catalog.topics {
        report.topics += 1;
        let mark = checkpoint.stores.iter().find(|s| s.topic_id == id);
        let active = mark.map_or((0, u64::MAX), |m| (m.segment, m.byte));
        verify_store(storage, id, entry.spec.partitions as usize, active, &mut report, &mut progress)
            .map_err(failed)?;
    }
    if catalog.kind == Kind::Mirror {
        // What is damaged is begun anew, or told to its readers: it stands elsewhere.
        report.findings.iter_mut().for_each(|finding| finding.loses_records = false);
    }
    Ok(report)
}

/// What becomes of a damaged checkpoint.
fn mend(kind: Kind) -> &'static str {
    match kind {
        Kind::Log => "damaged; 'dualstream log repair' rebuilds it from the stores",
        Kind::Mirror => "damaged; the next start begins the mirror anew",
    }
}

fn verify_journal(
    storage: &dyn Storage,
    catalog: &Catalog,
    checkpoint: &Checkpoint,
    report: &mut Report,
    progress: &mut impl FnMut(&str),
) -> io::Result<()> {
    let mut frames = Vec::new();
    for file in 0..FILES {
        progress(&journal::path(file));
        let scan = journal::scan(storage, file, catalog.log_id)?;
        report.bytes += scan.bytes.len() as u64;
        frames.extend(scan.frames.into_iter().map(|frame| (frame, file)));
    }
    let durable = frames.iter().map(|(f, _)| f.head.durable).max().unwrap_or(0);
    frames
        .retain(|(f, _)| f.head.generation >= checkpoint.generation && f.head.sequence > checkpoint.sequence);
    for (frame, file) in frames {
        report.rounds_to_replay += 1;
        if !frame.whole && frame.head.sequence <= durable {
            let message = format!(
                "frame {} is damaged; the next start looks for it in the stores",
                frame.head.sequence
            );
            report.find(&journal::path(file), true, message);
        }
    }
    Ok(())
}

fn verify_store(
    storage: &dyn Storage,
    id: u32,
    partitions: usize,
    (active, active_bytes): (u64, u64),
    report: &mut Report,
    progress: &mut impl FnMut(&str),
) -> io::Result<()> {
    let dir = dir(id);
    for number in segment_numbers(storage, &dir)? {
        let path = segment_path(&dir, number);
        progress(&path);
        let file = storage.open(&path, Mode::Read)?;
        let mut bytes = read_all(&*file)?;
        if number == active {
            // Behind the checkpoint's place the journal decides, not the store.
            bytes.truncate(usize::try_from(active_bytes).unwrap_or(usize::MAX));
        }
        report.segments += 1;
        report.bytes += bytes.len() as u64;
        let header = Header::read(&*file)?.filter(|h| h.number == number && h.topic_id == id);
        if header.is_none() {
            report.find(&path, false, "the header is damaged; its records are still served");
        }
        let begun_with =
            header.map_or_else(|| Header::partitions_before(&bytes, id, partitions), |h| h.start.len());
        let first = Header::bytes(begun_with) as usize;
        verify_batches(&bytes, first, id, partitions, &path, report);
        verify_sidecar(storage, &sidecar_path(&dir, number), report)?;
    }
    Ok(())
}

fn verify_batches(bytes: &[u8], first: usize, id: u32, partitions: usize, path: &str, report: &mut Report) {
    let (mut at, mut end) = (first, first);
    while let Some(head) = next_batch(bytes, &mut at, id, partitions) {
        if at > end {
            report.find(
                path,
                true,
                format!("bytes {end} to {at} are damaged; everything around them is served"),
            );
        }
        report.batches += 1;
        report.records += u64::from(head.count);
        at += head.bytes;
        end = at;
    }
    if end + HEADER_BYTES <= bytes.len() {
        report.find(path, true, format!("bytes {end} to {} are damaged", bytes.len()));
    }
}

fn verify_sidecar(storage: &dyn Storage, path: &str, report: &mut Report) -> io::Result<()> {
    if let Some(bytes) = load(storage, path)?
        && !sidecar::is_sound(&bytes)
    {
        report.find(path, false, "damaged; it is rebuilt from its segment when it is needed");
    }
    Ok(())
}

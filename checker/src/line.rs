//! Histories as files: one operation a line, `{"at_us":1200,"op":{"invoke":{"process":"p1","id":"e1",…}}}`.

use crate::history::{History, OPERATIONS_MAX, Step};
use crate::operation::Operation;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// The longest line that is read.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// One line.
#[derive(Serialize, Deserialize)]
struct Line<N> {
    at_us: u64,
    op: Operation<N>,
}

/// Text that is borrowed from its line where it contains no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl History {
    /// Writes it to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        for step in &self.steps {
            serde_json::to_writer(&mut file, &Line { at_us: step.at_us, op: self.spelled(step) })?;
            file.write_all(b"\n")?;
        }
        Ok(file.flush()?)
    }

    /// Reads one from a file; fails at the first line that is none, with its number.
    pub fn read(path: &Path) -> Result<History> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut history = History::new();
        let mut line = Vec::new();
        while next(&mut file, &mut line)? {
            let number = history.len() + 1;
            history.append(&line).with_context(|| format!("{}, line {number}", path.display()))?;
        }
        Ok(history)
    }

    /// The line of an operation, as [`write`](History::write) writes it.
    pub(crate) fn line(&self, index: usize) -> String {
        let step = &self.steps[index];
        serde_json::to_string(&Line { at_us: step.at_us, op: self.spelled(step) })
            .expect("an operation has only text keys")
    }

    fn append(&mut self, line: &[u8]) -> Result<()> {
        let line: Line<Text<'_>> = serde_json::from_slice(line)?;
        ensure!(self.len() < OPERATIONS_MAX, "a history has at most {OPERATIONS_MAX} operations");
        let last_us = self.steps.last().map_or(0, |step| step.at_us);
        ensure!(last_us <= line.at_us, "time goes back from {last_us} µs to {} µs", line.at_us);
        let operation = line.op.map(&mut |text| self.names.of(&text.0));
        self.steps.push(Step { at_us: line.at_us, operation });
        Ok(())
    }
}

/// Reads the next line, which may lack its end where a writer was killed; false at the end of the file.
fn next(file: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let read = std::io::Read::take(&mut *file, LINE_BYTES_MAX).read_until(b'\n', line)?;
    ensure!((read as u64) < LINE_BYTES_MAX, "a line is longer than {LINE_BYTES_MAX} bytes");
    Ok(read > 0)
}

//! Results as Markdown tables: on the terminal, and in `RESULTS.md` with a section per benchmark.

use std::{fmt, fs, io, io::Write, path::PathBuf};

use anyhow::{Context, Result};

use crate::machine::Machine;

/// What one benchmark found.
pub(crate) struct Report(pub Vec<Table>);

pub(crate) struct Table {
    pub title: String,
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

/// `RESULTS.md`: machine at the top, then `## name` for each benchmark, sorted by name.
pub(crate) struct Results(PathBuf);

pub(crate) fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

impl Results {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Results(path.into())
    }

    /// Replaces the section of benchmark `name`; other sections stay.
    pub fn put(&self, machine: &Machine, name: &str, report: &Report) -> Result<()> {
        let old = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("cannot read the results"),
        };
        fs::write(&self.0, with_section(&old, &machine.to_string(), name, &report.to_string()))
            .context("cannot write the results")
    }
}

fn with_section(old: &str, machine: &str, name: &str, body: &str) -> String {
    let mut sections: Vec<(&str, &str)> = old
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .filter(|(other, _)| *other != name)
        .collect();
    sections.push((name, body));
    sections.sort_by_key(|(name, _)| *name);
    let mut new = format!(
        "# Results\n\n`cargo xtask bench NAME --write` writes a section here.\n\nMachine: {machine}\n"
    );
    for (name, body) in sections {
        new += &format!("\n## {name}\n\n{}\n", body.trim());
    }
    new
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|table| writeln!(f, "{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> = (self.header.iter().enumerate())
            .map(|(column, title)| {
                cells(column).map(|cell| cell.chars().count()).fold(title.chars().count(), usize::max)
            })
            .collect();
        writeln!(f, "{}\n", self.title)?;
        write_row(f, &widths, self.header.iter().copied())?;
        let rules: Vec<String> = (widths.iter().enumerate())
            .map(|(column, width)| if column == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" })
            .collect();
        write_row(f, &widths, rules.iter().map(String::as_str))?;
        self.rows.iter().try_for_each(|row| write_row(f, &widths, row.iter().map(String::as_str)))
    }
}

/// The first column names the row and stands left, numbers stand right.
fn write_row<'a>(
    f: &mut fmt::Formatter<'_>,
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    for (column, (cell, width)) in cells.zip(widths).enumerate() {
        match column {
            0 => write!(f, "| {cell:<width$} |")?,
            _ => write!(f, " {cell:>width$} |")?,
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_others_stay() {
        let first = with_section("", "m1", "journal", "old");
        let second = with_section(&first, "m2", "compression", "ratio");
        let third = with_section(&second, "m3", "journal", "new");
        assert!(third.ends_with("Machine: m3\n\n## compression\n\nratio\n\n## journal\n\nnew\n"), "{third}");
    }
}

//! A planted bug: which text of which file becomes which, and the seed that finds it.
//!
//! ```toml
//! title = "the ack is sent before the sync"
//! seed = 17
//! file = "crates/log/src/engine.rs"
//! find = '''
//!     self.sync()?;
//!     self.answer();
//! '''
//! replace = '''
//!     self.answer();
//!     self.sync()?;
//! '''
//! # further edits, if it takes more than one
//! [[edit]]
//! file = "…"
//! find = "…"
//! replace = "…"
//! ```

use super::toml::{self, Table};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// The program that has to catch a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hunter {
    /// The simulator, of one node with its own log.
    Sim,
    /// The simulator, of several nodes over one log.
    SharedLog,
    /// Shuttle, which tries the orders of threads.
    Races,
}

impl Hunter {
    /// All of them.
    pub const ALL: [Hunter; 3] = [Hunter::Sim, Hunter::SharedLog, Hunter::Races];

    /// The folder of its mutants.
    fn folder(self) -> &'static str {
        match self {
            Hunter::Sim => "sim/mutants/",
            Hunter::SharedLog => "sim/shared-log-mutants/",
            Hunter::Races => "races/mutants/",
        }
    }

    /// Where its mutant of that name is kept.
    pub fn path(self, name: &str) -> String {
        format!("{}{name}.toml", self.folder())
    }
}

/// The name of the mutant in the file at `path`, and who has to catch it, if it is one.
pub fn name(path: &str) -> Option<(Hunter, &str)> {
    Hunter::ALL.into_iter().find_map(|hunter| {
        let name = path.strip_prefix(hunter.folder())?.strip_suffix(".toml")?;
        Some((hunter, name))
    })
}

/// A bug to plant.
#[derive(Debug)]
pub struct Mutant {
    /// Its file, without folder and ending.
    pub name: String,
    /// Who has to catch it.
    pub hunter: Hunter,
    /// What is wrong, in a sentence.
    pub title: String,
    /// The seed that finds it; none until one is searched for.
    pub seed: Option<u64>,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    /// Reads the text of a mutant's file.
    pub fn parse(hunter: Hunter, name: &str, text: &str) -> Result<Mutant> {
        let toml::Document { top, mut edits } = toml::parse(text)?;
        top.expect_only(&["title", "seed", "file", "find", "replace"])?;
        let (title, seed) = (top.string("title")?, top.integer("seed")?);
        edits.iter().try_for_each(|edit| edit.expect_only(&["file", "find", "replace"]))?;
        edits.insert(0, top);
        let edits = edits.iter().map(Edit::read).collect::<Result<_>>()?;
        Ok(Mutant { name: name.to_owned(), hunter, title, seed, edits })
    }

    /// The new texts of the edited files, given how they read now. Fails unless each `find` occurs exactly once.
    pub fn apply(&self, read: impl Fn(&str) -> Option<String>) -> Result<BTreeMap<String, String>> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for Edit { file, find, replace } in &self.edits {
            let text = texts.get(file).cloned().or_else(|| read(file));
            let text = text.with_context(|| format!("there is no {file}"))?;
            let count = text.matches(find.as_str()).count();
            let start = find.trim().lines().next().unwrap_or_default();
            ensure!(count == 1, "`{start}…` occurs {count} times in {file}, and must once");
            texts.insert(file.clone(), text.replacen(find.as_str(), replace, 1));
        }
        Ok(texts)
    }
}

impl Edit {
    fn read(table: &Table) -> Result<Edit> {
        let edit = Edit {
            file: table.string("file")?,
            find: table.string("find")?,
            replace: table.string("replace")?,
        };
        ensure!(!edit.find.is_empty(), "`find` is empty");
        ensure!(edit.find != edit.replace, "`find` and `replace` are the same");
        Ok(edit)
    }
}

/// The text of a mutant's file with another seed, and all else as it was.
pub fn with_seed(text: &str, seed: u64) -> String {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let key = |line: &String, key: &str| line.split('=').next().is_some_and(|start| start.trim() == key);
    let line = format!("seed = {seed}");
    match (lines.iter().position(|line| key(line, "seed")), lines.iter().position(|line| key(line, "title")))
    {
        (Some(at), _) => lines[at] = line,
        (None, Some(title)) => lines.insert(title + 1, line),
        (None, None) => lines.insert(0, line),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests;

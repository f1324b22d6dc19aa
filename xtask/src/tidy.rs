//! `cargo xtask tidy`: what no compiler checks and every reader notices.
//!
//! ```text
//! git ls-files ──> Tree (paths and texts) ──> one check per file of tidy/ ──> findings, each with its mend
//! cargo metadata ────────────────────────────^ (crates only)
//! ```
//! A check is a function of data, so each is seen to fail in its own tests. It does not judge formatting (rustfmt) or
//! code (clippy).

mod adrs;
mod codes;
mod crates;
mod links;
mod metrics;
mod names;
mod planted;
mod proofs;
mod roots;
mod sizes;
mod spaces;
mod tree;
mod waits;
mod words;

use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::fmt;
use tree::Tree;

/// Runs all checks and fails if there is any finding.
pub fn run(workspace: &Workspace) -> Result<()> {
    let tree = Tree::read(workspace)?;
    let metadata = workspace.metadata()?;
    let findings = [
        crates::check(&tree, &crates::members(&metadata)?),
        roots::check(&tree, &roots::of(&metadata, workspace.root())?),
        sizes::check(&tree),
        names::check(&tree),
        words::check(&tree),
        waits::check(&tree),
        spaces::check(&tree),
        links::check(&tree),
        adrs::check(&tree),
        planted::check(&tree),
        proofs::check(&tree),
        codes::check(&tree),
        metrics::check(&tree),
    ]
    .concat();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} files, nothing to mend", tree.paths().len()),
        count => bail!("{count} things to mend"),
    }
    Ok(())
}

/// Something to mend, where, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

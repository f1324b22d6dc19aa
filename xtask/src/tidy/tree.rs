//! The files that are checked: paths of all, texts of those written by hand.

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Folders of recorded data, which is kept byte for byte as it was found.
const DATA_FOLDERS: [&str; 5] = ["fixtures", "golden", "corpus", "testdata", "vendor"];

const TEXT_ENDINGS: [&str; 18] = [
    ".rs",
    ".toml",
    ".md",
    ".sh",
    ".js",
    ".css",
    ".html",
    ".sql",
    ".proto",
    ".yml",
    ".yaml",
    ".ci/run",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    ".gitignore",
    ".service",
    "Containerfile",
    "grafana/dualstream.json",
];

/// Paths relative to the workspace, with `/`.
pub struct Tree {
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
}

impl Tree {
    /// All files that are or could be committed.
    pub fn read(workspace: &Workspace) -> Result<Tree> {
        let paths: BTreeSet<String> = workspace.files()?.into_iter().collect();
        let mut texts = BTreeMap::new();
        for path in paths.iter().filter(|path| is_text(path)) {
            let bytes =
                std::fs::read(workspace.root().join(path)).with_context(|| format!("cannot read {path}"))?;
            let text = String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))?;
            texts.insert(path.clone(), text);
        }
        Ok(Tree { paths, texts })
    }

    /// A tree of these paths and texts.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let paths = files.iter().map(|(path, _)| String::from(*path)).collect();
        let hand_written = files.iter().filter(|(path, _)| is_text(path));
        Tree {
            paths,
            texts: hand_written.map(|(path, text)| (String::from(*path), String::from(*text))).collect(),
        }
    }

    /// Every file.
    pub fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    /// Whether there is such a file, or a folder with files in it.
    pub fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Every text written by hand, with its path.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Every Rust file, with its path.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }
}

/// Whether a Rust file holds nothing but tests.
pub fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn is_text(path: &str) -> bool {
    let data = path.split('/').any(|folder| DATA_FOLDERS.contains(&folder));
    !data && TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_data_is_known_but_not_read() {
        let tree = Tree::of(&[("docs/a.md", "text "), ("crates/log/fixtures/b.md", "data ")]);
        assert_eq!(tree.texts().collect::<Vec<_>>(), [("docs/a.md", "text ")]);
        assert!(tree.has("crates/log/fixtures/b.md"));
    }

    #[test]
    fn a_folder_is_there_when_a_file_is_in_it() {
        let tree = Tree::of(&[("docs/adr/0001-log.md", "")]);
        assert!(tree.has("docs") && tree.has("docs/adr") && tree.has(""));
        assert!(!tree.has("docs/ad") && !tree.has("doc"));
    }
}

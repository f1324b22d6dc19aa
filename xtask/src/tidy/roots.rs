//! How files begin: every Rust file with `//!`, saying what it is for; every crate root also with
//! `#![forbid(unsafe_code)]`, where a reader looks for it.

use super::Finding;
use super::tree::Tree;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

const FORBID: &str = "#![forbid(unsafe_code)]";
/// The one crate that may say `unsafe`, which has lines instead, and how many of them, comments aside.
const UNSAFE: &str = "crates/kafka-ffi/src/";
const UNSAFE_LINES_MAX: usize = 500;

/// The files in which libraries and programs of the workspace begin, relative to it.
pub fn of(metadata: &Value, root: &Path) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let mut roots = Vec::new();
    for target in targets.filter(|target| is_shipped(target)) {
        let path = target["src_path"].as_str().context("a target has a source path")?;
        let path = Path::new(path).strip_prefix(root).context("a member lies in the workspace")?;
        roots.push(path.to_string_lossy().into_owned());
    }
    Ok(roots)
}

fn is_shipped(target: &Value) -> bool {
    let kinds = target["kind"].as_array().into_iter().flatten().filter_map(Value::as_str);
    kinds.into_iter().any(|kind| matches!(kind, "lib" | "bin" | "proc-macro"))
}

/// Checks the first lines of all Rust files, and the attribute of `roots`.
pub fn check(tree: &Tree, roots: &[String]) -> Vec<Finding> {
    let silent = tree.rust().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| {
        Finding::new(path, 1, "the file does not begin with `//!`: say in a sentence what it is for")
    });
    let strict = roots.iter().filter(|root| !root.starts_with(UNSAFE));
    let lax = strict.filter(|root| !tree.text(root).is_some_and(forbids)).map(|root| {
        Finding::new(root, 1, format!("a crate root lacks `{FORBID}`: add it below the `//!` lines"))
    });
    silent.chain(lax).chain(unsafe_lines(tree)).collect()
}

fn unsafe_lines(tree: &Tree) -> Option<Finding> {
    let files = tree.rust().filter(|(path, _)| path.starts_with(UNSAFE));
    let lines = files.flat_map(|(_, text)| text.lines()).map(str::trim);
    let count = lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    (count > UNSAFE_LINES_MAX).then(|| {
        let message =
            format!("{count} lines may be unsafe, {UNSAFE_LINES_MAX} at most: move what is safe elsewhere");
        Finding::new(UNSAFE, 1, message)
    })
}

fn forbids(text: &str) -> bool {
    text.lines().any(|line| line.trim() == FORBID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_say_what_it_is_for() {
        let tree = Tree::of(&[("a/src/x.rs", "//! X.\n"), ("a/src/y.rs", "use x;\n")]);
        let found = check(&tree, &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("a/src/y.rs:1: "));
    }

    #[test]
    fn a_crate_root_must_forbid_unsafe_code() {
        let tree =
            Tree::of(&[("a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n"), ("b/src/lib.rs", "//! B.\n")]);
        let found = check(&tree, &["a/src/lib.rs".into(), "b/src/lib.rs".into()]);
        assert_eq!(found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["b/src/lib.rs"]);
    }

    #[test]
    fn the_unsafe_crate_is_small() {
        let comments = "//! F.\n".to_owned() + &"// Why.\n\n".repeat(UNSAFE_LINES_MAX);
        let root = "crates/kafka-ffi/src/lib.rs";
        let full = comments + &"x();\n".repeat(UNSAFE_LINES_MAX);
        assert!(check(&Tree::of(&[(root, &full)]), &[root.into()]).is_empty());
        let more = full + "y();\n";
        assert_eq!(check(&Tree::of(&[(root, &more)]), &[root.into()]).len(), 1);
    }

    #[test]
    fn roots_are_libraries_and_programs_not_tests() {
        let metadata = serde_json::json!({ "packages": [{ "targets": [
            { "kind": ["lib"], "src_path": "/w/a/src/lib.rs" },
            { "kind": ["test"], "src_path": "/w/a/tests/it.rs" },
            { "kind": ["bin"], "src_path": "/w/a/src/bin/b.rs" },
        ] }] });
        assert_eq!(of(&metadata, Path::new("/w")).unwrap(), ["a/src/lib.rs", "a/src/bin/b.rs"]);
    }
}

//! Proofs: where a page names a test or a type as a link to its file, as in [`name`](tests/it/x.rs), the file has it.
//!
//! A promise is worth what its test is worth, and tests are renamed more often than pages are read.

use super::Finding;
use super::links::resolve;
use super::tree::Tree;

/// Checks all pages.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (index, line) in text.lines().enumerate() {
            let missing = proofs(line).filter_map(|(name, target)| {
                let file = resolve(path, target);
                (!tree.text(&file)?.contains(name)).then(|| format!("there is no `{name}` in {file}"))
            });
            findings.extend(missing.map(|message| Finding::new(path, index + 1, message)));
        }
    }
    findings
}

/// Names and files of the links whose text is one name of Rust.
fn proofs(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices("[`").filter_map(|(at, mark)| {
        let (name, rest) = line[at + mark.len()..].split_once("`](")?;
        let target = rest.split(')').next()?;
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (is_name && target.ends_with(".rs")).then_some((name, target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<String> {
        let tree = Tree::of(&[("docs/a.md", line), ("crates/log/tests/it/x.rs", "fn power_loss() {}")]);
        check(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_test_that_is_there_is_fine() {
        assert_eq!(
            found("[`power_loss`](../crates/log/tests/it/x.rs), [`x.rs`](../crates/log/tests/it/x.rs)"),
            [""; 0]
        );
    }

    #[test]
    fn a_test_that_was_renamed_is_found() {
        assert_eq!(
            found("x [`power_cut`](../crates/log/tests/it/x.rs)"),
            ["docs/a.md:1: there is no `power_cut` in crates/log/tests/it/x.rs"]
        );
    }
}

//! Spaces nobody sees and every diff shows: at the ends of lines, and a missing last line break.

use super::Finding;
use super::tree::Tree;

/// Checks every text written by hand.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        let trailing = text.split('\n').enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
        findings.extend(trailing.map(|(index, _)| {
            Finding::new(path, index + 1, "white space at the end of the line: remove it")
        }));
        if !text.is_empty() && !text.ends_with('\n') {
            let last = text.lines().count();
            findings.push(Finding::new(path, last, "the file does not end in a line break: add it"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_space_and_missing_last_break_are_found() {
        let tree =
            Tree::of(&[("a.md", "one \ntwo\t\nthree\r\nfour\n"), ("b.md", "one\ntwo"), ("c.md", "one\n")]);
        let found: Vec<_> = check(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect();
        assert_eq!(found, [("a.md".into(), 1), ("a.md".into(), 2), ("a.md".into(), 3), ("b.md".into(), 2)]);
    }
}

//! No file beyond what a reader can hold. The longest file is what betrays a crate that is hard to read.

use super::Finding;
use super::tree::{Tree, is_test_file};

const LINES_MAX: usize = 900;

/// Checks the length of Rust files that are not tests.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let code = tree.rust().filter(|(path, _)| !is_test_file(path));
    let long = code.map(|(path, text)| (path, text.lines().count())).filter(|(_, lines)| *lines > LINES_MAX);
    long.map(|(path, lines)| {
        Finding::new(path, lines, format!("{lines} lines, over {LINES_MAX}: split it by noun"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_code_is_found_and_long_tests_are_not() {
        let (fits, long) = ("//\n".repeat(LINES_MAX), "//\n".repeat(LINES_MAX + 1));
        let tree = Tree::of(&[("a/src/x.rs", &fits), ("a/src/y.rs", &long), ("a/src/y/tests.rs", &long)]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "a/src/y.rs:901: 901 lines, over 900: split it by noun");
    }
}

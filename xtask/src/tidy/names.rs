//! Names that say nothing: a file is called after the noun it holds, so that the list of files is a table of contents.

use super::Finding;
use super::tree::Tree;

const DRAWERS: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "types", "manager", "managers", "misc"];

/// Checks the names of Rust files and of the folders they are in.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let drawers = tree.rust().filter_map(|(path, _)| Some((path, drawer(path)?)));
    drawers
        .map(|(path, name)| {
            Finding::new(path, 1, format!("`{name}` is a drawer: call the file after the noun it holds"))
        })
        .collect()
}

fn drawer(path: &str) -> Option<&str> {
    path.trim_end_matches(".rs").split('/').find(|name| DRAWERS.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_found_as_files_and_as_folders() {
        let files = ["a/src/util.rs", "a/tests/common/mod.rs", "a/src/utility_bill.rs", "a/src/topic.rs"];
        let tree = Tree::of(&files.map(|path| (path, "")));
        let found: Vec<_> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["a/src/util.rs", "a/tests/common/mod.rs"]);
    }
}

//! Planted bugs that no longer fit: each edit of `sim/mutants/*.toml`, `sim/shared-log-mutants/*.toml` and `races/mutants/*.toml` must still find its place in the code, or
//! `cargo xtask mutants` would fail long after the change that moved it.

use super::Finding;
use super::tree::Tree;
use crate::mutants::{self, Hunter, Mutant};

/// Checks every mutant against the files it edits.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mutants = tree.texts().filter_map(|(path, text)| Some((path, mutants::name(path)?, text)));
    mutants.filter_map(|(path, name, text)| Some(Finding::new(path, 1, fault(tree, name, text)?))).collect()
}

fn fault(tree: &Tree, (hunter, name): (Hunter, &str), text: &str) -> Option<String> {
    let mutant = match Mutant::parse(hunter, name, text) {
        Ok(mutant) => mutant,
        Err(error) => return Some(format!("{error:#}")),
    };
    let error = mutant.apply(|file| tree.text(file).map(String::from)).err()?;
    Some(format!("{error:#}: bring `find` up to date with the code"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTANT: &str =
        "title = \"t\"\nseed = 1\nfile = \"a/src/x.rs\"\nfind = \"a < b\"\nreplace = \"a <= b\"\n";

    fn found(code: &str, mutant: &str) -> Vec<Finding> {
        check(&Tree::of(&[("a/src/x.rs", code), ("sim/mutants/off-by-one.toml", mutant)]))
    }

    #[test]
    fn a_mutant_that_fits_is_fine() {
        assert_eq!(found("if a < b {}", MUTANT), []);
    }

    #[test]
    fn a_mutant_that_fits_nowhere_or_twice_or_cannot_be_read_is_found() {
        assert!(found("if a > b {}", MUTANT)[0].message.contains("bring `find` up to date"));
        assert!(found("a < b, a < b", MUTANT)[0].message.contains("2 times"));
        assert!(found("a < b", "title = 1\n")[0].message.contains("title"));
    }
}

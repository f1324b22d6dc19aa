//! Decision records: `docs/adr/NNNN-title.md`, numbered from 0001 without gaps, each listed in the folder's README.

use super::Finding;
use super::tree::Tree;

const FOLDER: &str = "docs/adr/";
const LIST: &str = "docs/adr/README.md";

/// Checks the numbers and the list, if there is one.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let names: Vec<&str> = tree.paths().iter().filter_map(|path| record(path)).collect();
    let mut findings = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let expected = format!("{:04}-", index + 1);
        if !name.starts_with(&expected) {
            let message = format!("records are numbered without gaps: this one should begin with {expected}");
            findings.push(Finding::new(&format!("{FOLDER}{name}"), 1, message));
            break;
        }
    }
    if let Some(list) = tree.text(LIST) {
        let unlisted = names.iter().filter(|name| !list.contains(*name));
        findings.extend(unlisted.map(|name| Finding::new(LIST, 1, format!("{name} is not listed: add it"))));
    }
    findings
}

fn record(path: &str) -> Option<&str> {
    let name = path.strip_prefix(FOLDER)?;
    (name.ends_with(".md") && path != LIST).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(names: &[&str], list: &str) -> Vec<String> {
        let paths: Vec<String> = names.iter().map(|name| format!("{FOLDER}{name}")).collect();
        let mut files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
        files.push((LIST, list));
        check(&Tree::of(&files)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn numbered_and_listed_records_are_fine() {
        assert_eq!(messages(&["0001-a.md", "0002-b.md"], "0001-a.md 0002-b.md"), Vec::<String>::new());
    }

    #[test]
    fn gaps_and_twins_are_found() {
        let list = "0001-a.md 0001-b.md 0003-c.md";
        assert!(messages(&["0001-a.md", "0003-c.md"], list)[0].starts_with("docs/adr/0003-c.md:1: "));
        assert!(messages(&["0001-a.md", "0001-b.md"], list)[0].starts_with("docs/adr/0001-b.md:1: "));
    }

    #[test]
    fn an_unlisted_record_is_found() {
        assert_eq!(
            messages(&["0001-a.md"], "none"),
            ["docs/adr/README.md:1: 0001-a.md is not listed: add it"]
        );
    }
}

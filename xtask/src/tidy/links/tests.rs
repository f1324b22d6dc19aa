//! Links that lead somewhere, and each way in which one may not.

use super::*;

fn messages(page: &str) -> Vec<String> {
    let guide = "# Guide\n\n## Run it: now!\n\n## Twice\n\n## Twice\n";
    let tree =
        Tree::of(&[("README.md", page), ("docs/guide.md", guide), ("crates/core/src/lib.rs", "//! Core.\n")]);
    check(&tree).iter().map(Finding::to_string).collect()
}

#[test]
fn files_folders_headings_and_other_sites_are_fine() {
    let page = "# Here\n[a](docs/guide.md) [b](docs) [c](crates/core/) [d](#here) [e](docs/guide.md#run-it-now)\n\
                [f](https://example.org/x) [g](docs/guide.md#twice-1) `[h](nowhere)`\n\n```\n[i](nowhere)\n```\n";
    assert_eq!(messages(page), Vec::<String>::new());
}

#[test]
fn a_link_to_no_file_is_found_at_its_line() {
    assert_eq!(
        messages("one\n[a](docs/gone.md \"title\")\n"),
        ["README.md:2: the link `docs/gone.md` is broken: there is no docs/gone.md"]
    );
}

#[test]
fn a_link_to_no_heading_is_found() {
    assert!(messages("[a](docs/guide.md#gone)\n")[0].contains("docs/guide.md has no heading for #gone"));
    assert!(messages("[a](#gone)\n")[0].contains("README.md has no heading for #gone"));
}

#[test]
fn a_definition_and_a_way_out_of_the_project_are_checked() {
    assert_eq!(messages("[a]: docs/gone.md\n").len(), 1);
    assert_eq!(messages("[a](../outside.md)\n").len(), 1);
}

#[test]
fn links_start_from_their_page() {
    assert_eq!(resolve("docs/adr/0001-log.md", "../guide.md"), "docs/guide.md");
    assert_eq!(resolve("README.md", "./docs//guide.md"), "docs/guide.md");
}

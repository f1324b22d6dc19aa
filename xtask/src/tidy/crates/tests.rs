//! Tables that agree with the members, and each way in which one may not.

use super::*;

const PAGE_TEXT: &str = "\
# Architecture

## Crates

| crate | purpose | may import |
|---|---|---|
| `dualstream-core` | nouns | `tokio` |
| `dualstream-log` | the log | `dualstream-core`, `rustix` |

## After

| `not-a-crate` | of another table | `x` |
";

fn of(name: &str, imports: &[&str]) -> Member {
    Member { name: name.into(), imports: imports.iter().map(|import| String::from(*import)).collect() }
}

fn messages(members: &[Member]) -> Vec<String> {
    check(&Tree::of(&[(PAGE, PAGE_TEXT)]), members).iter().map(Finding::to_string).collect()
}

#[test]
fn a_table_that_agrees_has_no_findings() {
    let members = [of("dualstream-core", &["tokio"]), of("dualstream-log", &["dualstream-core", "rustix"])];
    assert_eq!(messages(&members), Vec::<String>::new());
}

#[test]
fn an_import_the_row_does_not_allow_is_found_at_the_row() {
    let members =
        [of("dualstream-core", &["tokio", "hyper"]), of("dualstream-log", &["dualstream-core", "rustix"])];
    let found = messages(&members);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("ARCHITECTURE.md:7: `dualstream-core` imports `hyper`"), "{found:?}");
}

#[test]
fn an_allowance_nobody_uses_is_found() {
    let members = [of("dualstream-core", &[]), of("dualstream-log", &["dualstream-core", "rustix"])];
    let found = messages(&members);
    assert!(found[0].contains("`dualstream-core` does not import `tokio`"), "{found:?}");
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
    let found = messages(&[of("dualstream-core", &["tokio"]), of("dualstream-cdc", &[])]);
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("`dualstream-cdc` has no row"), "{found:?}");
    assert!(found[1].contains("ARCHITECTURE.md:8: `dualstream-log` is no crate here"), "{found:?}");
}

#[test]
fn leaves_never_import_each_other() {
    let members = [
        of("dualstream-core", &["dualstream-log"]),
        of("dualstream-log", &["dualstream-core", "dualstream-gateway"]),
        of("dualstream-gateway", &["dualstream-core"]),
        of("dualstream", &["dualstream-log", "dualstream-gateway"]),
    ];
    let broken = members.iter().flat_map(|member| star(member, &members)).count();
    assert_eq!(broken, 2);
}

#[test]
fn a_missing_table_is_one_finding() {
    let found = check(&Tree::of(&[(PAGE, "# Architecture\n")]), &[of("dualstream-core", &[])]);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("## Crates"));
}

#[test]
fn only_ordinary_dependencies_count() {
    let metadata = serde_json::json!({ "packages": [{ "name": "a", "dependencies": [
        { "name": "tokio", "kind": null }, { "name": "proptest", "kind": "dev" }, { "name": "cc", "kind": "build" },
    ] }] });
    let members = members(&metadata).unwrap();
    assert_eq!(members[0].imports.iter().collect::<Vec<_>>(), ["tokio"]);
}

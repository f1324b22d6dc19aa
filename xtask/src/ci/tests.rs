//! Verdicts, the closing table, and which suites and examples are chosen.

use super::*;

fn row(index: usize, verdict: Verdict, took: Duration) -> Row {
    Row { name: SUITES[index].name, took, verdict }
}

#[test]
fn a_green_suite_over_its_budget_fails_with_the_minutes_it_took() {
    assert_eq!(Verdict::of(true, minutes(1), 1), Verdict::Passed);
    assert_eq!(Verdict::of(true, minutes(1) + Duration::from_secs(1), 1), Verdict::OverBudget);
    assert_eq!(Verdict::of(false, minutes(5), 1), Verdict::Failed);

    let rows = [row(0, Verdict::OverBudget, Duration::from_secs(150))];
    let error = conclude(&chosen(&[]), &rows, minutes(3)).unwrap_err().to_string();
    assert!(error.starts_with("format took 2.5 minutes of 1"), "{error}");
}

#[test]
fn the_table_shows_what_was_not_run() {
    let rows = [row(0, Verdict::Passed, Duration::from_secs(6)), row(1, Verdict::Failed, minutes(2))];
    let table = table(&chosen(&[]), &rows);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[1], "format     green            0.1       1");
    assert_eq!(lines[2], "clippy     FAILED           2.0       8");
    assert_eq!(lines[3], "tidy       not run            -       1");
    assert_eq!(lines.len(), SUITES.len() + 1);
}

#[test]
fn named_suites_run_in_the_order_of_the_list() {
    let names: Vec<_> = chosen(&["tidy".into(), "format".into()]).iter().map(|suite| suite.name).collect();
    assert_eq!(names, ["format", "tidy"]);
}

#[test]
fn examples_are_files_and_folders_with_a_main() {
    assert_eq!(example("crates/dualstream/examples/hello.rs"), Some("hello"));
    assert_eq!(example("crates/dualstream/examples/shop/main.rs"), Some("shop"));
    assert_eq!(example("crates/dualstream/examples/shop/basket.rs"), None);
    assert_eq!(example("crates/dualstream/examples/README.md"), None);
}

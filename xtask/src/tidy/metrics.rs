//! Metrics: what the dashboard, the alert rules and the guide for operators name is on `docs/reference/metrics.md`, in
//! the form in which Prometheus keeps it; every metric there is answers a question of that guide, and is drawn on the
//! board; and what an alert links to is a heading of it.
//!
//! To ask Prometheus for a metric that does not exist is no error: it is an empty panel, or an alert that never fires.
//! That the page itself is true is a test of the gateway.

use super::Finding;
use super::links::anchors;
use super::tree::Tree;
use std::collections::BTreeSet;

const PAGE: &str = "docs/reference/metrics.md";
const GUIDE: &str = "docs/guide/operations.md";
const DEPLOY: &str = "deploy/";
const BOARD: &str = "deploy/grafana/dualstream.json";

/// Checks the guide and all files for deployment, if there are page and guide.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let (Some(page), Some(guide)) = (tree.text(PAGE), tree.text(GUIDE)) else { return Vec::new() };
    let headings = anchors(guide);
    let mut findings =
        missing(page, guide, |series| format!("{GUIDE} does not say what to do with {series}"));
    if let Some(board) = tree.text(BOARD) {
        findings.extend(missing(page, board, |series| format!("{BOARD} has no panel for {series}")));
    }
    let series: BTreeSet<String> = rows(page).flat_map(|(_, row)| row).collect();
    for (path, text) in tree.texts().filter(|(path, _)| *path == GUIDE || path.starts_with(DEPLOY)) {
        for (index, line) in text.lines().enumerate() {
            let unknown = names(line).filter(|name| !is_known(&series, name));
            let unknown = unknown.map(|name| {
                format!(
                    "{PAGE} has no `{name}` (counters end in _total, histograms in _bucket, _sum, _count)"
                )
            });
            let dangling = linked(line).filter(|anchor| !headings.iter().any(|heading| heading == anchor));
            let dangling = dangling.map(|anchor| format!("{GUIDE} has no heading for #{anchor}"));
            findings.extend(unknown.chain(dangling).map(|message| Finding::new(path, index + 1, message)));
        }
    }
    findings
}

/// The metrics of the page that a text does not name.
fn missing(page: &str, text: &str, told: impl Fn(String) -> String) -> Vec<Finding> {
    let named: BTreeSet<&str> = text.lines().flat_map(names).collect();
    let missing = rows(page).filter(|(_, row)| !row.iter().any(|series| named.contains(series.as_str())));
    missing.map(|(line, row)| Finding::new(PAGE, line, told(format!("`{}`", row.join("`, `"))))).collect()
}

/// The rows of the page's tables, with their lines: the names of the series each stands for.
fn rows(page: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    page.lines().enumerate().filter_map(|(index, line)| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let endings: &[&str] = match rest.split(" |").next()? {
            "counter" => &["_total"],
            "histogram" => &["", "_bucket", "_sum", "_count"],
            _ => &[""],
        };
        Some((index + 1, endings.iter().map(|ending| format!("{name}{ending}")).collect()))
    })
}

/// The metrics a line names; of several at once (`dualstream_bus_*`) what they begin with, and the star.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices("dualstream_").filter(move |(at, _)| !line[..*at].ends_with(goes_on)).map(
        move |(at, _)| {
            let rest = &line[at..];
            let end = rest.find(|c| !goes_on(c)).unwrap_or(rest.len());
            &rest[..end + usize::from(rest[end..].starts_with('*'))]
        },
    )
}

fn is_known(series: &BTreeSet<String>, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(start) => series.iter().any(|known| known.starts_with(start)),
        None => series.contains(name),
    }
}

/// The headings of the guide that a line links to by the guide's whole path.
fn linked(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(GUIDE).filter_map(|(at, path)| {
        let rest = line[at + path.len()..].strip_prefix('#')?;
        rest.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| name | type | what |\n|---|---|---|\n| `dualstream_feeds` | gauge | x |\n\
                         | `dualstream_bus_messages` | counter | x |\n| `dualstream_ack_seconds` | histogram | x |\n";

    const TOLD: &str = "# Operations\n\n## The bus is away\n\n`dualstream_feeds`, `dualstream_bus_messages_total`, \
                        `dualstream_ack_seconds`\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        let files = [(PAGE, TABLE), (GUIDE, TOLD), (path, text)];
        check(&Tree::of(&files)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn what_is_on_the_page_is_fine() {
        let rule = "expr: rate(dualstream_bus_messages_total[5m]) > dualstream_feeds{job=\"dualstream\"}\n\
                    expr: rate(dualstream_ack_seconds_sum[5m]) / rate(dualstream_ack_seconds_count[5m])\n\
                    # all of dualstream_bus_*, my_dualstream_thing, dualstream-data\n";
        assert_eq!(found("deploy/rules.yaml", rule), [""; 0]);
    }

    #[test]
    fn what_prometheus_does_not_have_is_found_with_its_line() {
        let found_in = |line: &str| found("deploy/rules.yaml", &format!("\n{line}\n"));
        for name in
            ["dualstream_gone", "dualstream_bus_messages", "dualstream_feeds_total", "dualstream_no_*"]
        {
            let found = found_in(&format!("expr: rate({name}) > 0"));
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].starts_with("deploy/rules.yaml:2: ") && found[0].contains(&format!("`{name}`")));
        }
    }

    #[test]
    fn the_guide_is_checked_and_other_pages_are_not() {
        let guide = format!("{TOLD}`dualstream_gone`\n");
        let tree = Tree::of(&[(PAGE, TABLE), (GUIDE, &guide), ("docs/a.md", "dualstream_gone\n")]);
        let found: Vec<String> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, [GUIDE]);
    }

    #[test]
    fn a_metric_that_answers_no_question_is_found() {
        let guide = TOLD.replace("`dualstream_bus_messages_total`", "`dualstream_bus_*`");
        let found = check(&Tree::of(&[(PAGE, TABLE), (GUIDE, &guide)]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].line), (PAGE, 4));
        assert!(found[0].message.contains("`dualstream_bus_messages_total`"), "{}", found[0].message);
    }

    #[test]
    fn a_metric_that_is_not_drawn_is_found() {
        let board = "dualstream_feeds dualstream_ack_seconds_bucket\n";
        let found = check(&Tree::of(&[(PAGE, TABLE), (GUIDE, TOLD), (BOARD, board)]));
        let found: Vec<String> = found.iter().map(Finding::to_string).collect();
        let wanted = format!("{PAGE}:4: {BOARD} has no panel for `dualstream_bus_messages_total`");
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn an_alert_links_to_a_heading() {
        let link =
            |anchor: &str| format!("runbook_url: https://example.com/docs/guide/operations.md#{anchor}\n");
        assert_eq!(found("deploy/rules.yaml", &link("the-bus-is-away")), [""; 0]);
        let found = found("deploy/rules.yaml", &link("the-bus-is-well"));
        assert_eq!(
            found,
            ["deploy/rules.yaml:1: docs/guide/operations.md has no heading for #the-bus-is-well"]
        );
    }
}

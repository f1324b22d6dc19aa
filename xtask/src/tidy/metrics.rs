//! Metrics: what the dashboard, the alert rules and the guide for operators name is on `docs/reference/metrics.md`, in
//! the form in which Prometheus keeps it; and what an alert links to is a heading of that guide.
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

/// Checks the guide and all files for deployment, if there is a page.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else { return Vec::new() };
    let series = series(page);
    let headings = tree.text(GUIDE).map(anchors).unwrap_or_default();
    let mut findings = Vec::new();
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

/// The names of all series that the page's tables stand for.
fn series(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name, rest.split(" |").next()?))
    });
    let of_row = |(name, kind): (&str, &str)| {
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["", "_bucket", "_sum", "_count"],
            _ => &[""],
        };
        endings.iter().map(|ending| format!("{name}{ending}")).collect::<Vec<_>>()
    };
    rows.flat_map(of_row).collect()
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

    fn found(path: &str, text: &str) -> Vec<String> {
        let guide = "# Operations\n\n## The bus is away\n";
        let files = [(PAGE, TABLE), (GUIDE, guide), (path, text)];
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
        let tree =
            Tree::of(&[(PAGE, TABLE), (GUIDE, "`dualstream_gone`\n"), ("docs/a.md", "dualstream_gone\n")]);
        let found: Vec<String> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, [GUIDE]);
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

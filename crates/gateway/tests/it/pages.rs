//! The reference pages of HTTP and metrics against the server.

use crate::server::Server;
use crate::wire::{Wire, get};
use dualstream_gateway::routes::ROUTES;
use std::collections::BTreeSet;

const HTTP: &str = include_str!("../../../../docs/reference/http.md");
const METRICS: &str = include_str!("../../../../docs/reference/metrics.md");

#[test]
fn the_page_of_http_has_a_heading_for_every_route() {
    let routes: BTreeSet<String> = ROUTES.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let headings = HTTP.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    assert_eq!(headings.map(String::from).collect::<BTreeSet<_>>(), routes);
}

#[tokio::test]
async fn the_page_of_metrics_is_what_the_server_counts() {
    let server = Server::start().await;
    let text = Wire::connect(server.address).await.ask(get("/metrics")).await.body;
    let counted: BTreeSet<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    // What is counted with Kafka or Redis alone is not there.
    let sections = METRICS.split("\n## ").filter(|section| !section.contains("\nOnly with "));
    let lines = sections.flat_map(str::lines);
    let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: BTreeSet<(&str, &str)> =
        rows.filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0))).collect();
    assert_eq!(listed, counted);
}

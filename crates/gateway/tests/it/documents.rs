//! The OpenAPI document and the metrics.

use crate::server::Server;
use crate::wire::{Wire, get};
use dualstream_gateway::openapi::DOCUMENT;
use dualstream_gateway::routes::ROUTES;
use std::collections::BTreeSet;

#[test]
fn the_document_and_the_routes_are_the_same_list() {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let routes: BTreeSet<String> = ROUTES.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            methods.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            documented.insert(format!("{} {path}", method.to_uppercase()));
            assert!(
                operation["summary"].is_string() && operation["responses"].is_object(),
                "{method} {path}"
            );
        }
    }
    assert_eq!(documented, routes);
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a serde_json::Value, references: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(members) => {
            references.extend(members.get("$ref").and_then(|reference| reference.as_str()));
            members.values().for_each(|member| collect(member, references));
        }
        serde_json::Value::Array(elements) => elements.iter().for_each(|e| collect(e, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_server_hands_out_document_and_metrics() {
    let server = Server::start().await;
    let mut wire = Wire::connect(server.address).await;
    assert_eq!(wire.ask(get("/openapi.json")).await.body, DOCUMENT);
    let metrics = wire.ask(get("/metrics")).await.body;
    for line in [
        "dualstream_connections 1",
        "dualstream_http_requests_total{status=\"2xx\"} 1",
        "dualstream_events_received_total 0",
        "dualstream_events_acked_total 0",
        "dualstream_announcements_lost_total 0",
        "dualstream_subscriptions 0",
        "dualstream_ring_overruns_total 0",
        "dualstream_catch_up_reads_total 0",
        "dualstream_publish_queued_bytes 0",
        "dualstream_publish_ack_latency_seconds_count 0",
        "dualstream_delivery_latency_seconds_bucket{le=\"+Inf\"} 0",
        "dualstream_log_fsyncs_total 7",
        "dualstream_log_records_per_fsync_bucket{le=\"8.0\"} 7",
        "dualstream_log_records_per_fsync_sum 21.0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

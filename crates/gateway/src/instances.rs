//! `GET /v1/instances`: which nodes there are.

use crate::Problem;
use crate::app::App;
use crate::query::Query;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use dualstream_core::event::codec::push_string;
use dualstream_core::registry::{About, Listed};
use dualstream_core::time::format_rfc3339;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::fmt::Write;
use std::sync::Arc;

pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    Query::new(request.uri(), &[])?;
    let nodes = &app.operations.nodes;
    let mut body = begin(nodes.membership.is_some(), "instances");
    match &nodes.membership {
        Some(membership) => {
            for (index, listed) in membership.instances().await?.iter().enumerate() {
                body.push_str(if index == 0 { "" } else { "," });
                push_listed(&mut body, listed, &nodes.own);
            }
        }
        None => {
            push_about(&mut body, &nodes.own, app.started_ms, app.clients.count() as u64);
            body.push_str(",\"own\":true}");
        }
    }
    body.push_str("]}");
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The beginning of a list, which says whose it is: of all nodes, or of the one that answers.
pub(crate) fn begin(is_of_all: bool, name: &str) -> String {
    format!("{{\"scope\":\"{}\",\"{name}\":[", if is_of_all { "cluster" } else { "node" })
}

fn push_listed(out: &mut String, Listed { instance, left }: &Listed, own: &About) {
    let about = About {
        id: instance.owner.id.clone(),
        version: instance.version.clone(),
        address: instance.address.clone(),
    };
    push_about(out, &about, instance.started_ms, instance.connections);
    let (incarnation, lease_s, is_own) = (instance.owner.incarnation, left.as_secs(), about.id == own.id);
    let _ = write!(out, ",\"incarnation\":{incarnation},\"lease_s\":{lease_s},\"own\":{is_own}}}");
}

/// An instance, still open for more members.
fn push_about(out: &mut String, about: &About, started_ms: i64, connections: u64) {
    let _ = write!(out, "{{\"id\":\"{}\",\"version\":", about.id);
    push_string(out, &about.version);
    out.push_str(",\"address\":");
    push_string(out, &about.address);
    let started = format_rfc3339(started_ms);
    let _ = write!(out, ",\"started\":\"{started}\",\"connections\":{connections}");
}

//! `/health/live` and `/health/ready`.

use crate::app::App;
use crate::readiness::{Ready, Seen};
use crate::stream::now_ms;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dualstream_core::bus::Health;
use dualstream_core::event::codec::push_string;
use dualstream_core::time::format_rfc3339;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::fmt::Write;
use std::sync::Arc;

/// The process answers: it is alive.
pub(crate) async fn live() -> Response {
    json(StatusCode::OK, r#"{"status":"live"}"#.to_owned())
}

/// Ready to store and serve events: 503 without a part that is needed. Without another everything works, only later or
/// with less to see: `degraded`, and still 200.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let parts = app.readiness.look(now_ms());
    let is_draining = *app.draining.borrow();
    let (code, status) = match Ready::of(&parts) {
        _ if is_draining => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        Ready::No => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Ready::Degraded => (StatusCode::OK, "degraded"),
        Ready::Yes => (StatusCode::OK, "ready"),
    };
    let time = format_rfc3339(now_ms());
    let mut body = format!("{{\"status\":\"{status}\",\"time\":\"{time}\"");
    parts.iter().for_each(|seen| push_part(&mut body, seen));
    body.push('}');
    json(code, body)
}

fn push_part(out: &mut String, Seen { part, since_ms }: &Seen) {
    let status = if part.health == Health::Up { "up" } else { "down" };
    let since = format_rfc3339(*since_ms);
    let _ = write!(out, ",\"{}\":{{\"status\":\"{status}\",\"since\":\"{since}\"", part.name);
    if let Health::Down { reason, .. } = &part.health {
        out.push_str(",\"reason\":");
        push_string(out, reason);
    }
    out.push('}');
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

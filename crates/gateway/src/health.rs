//! `/health/live` and `/health/ready`.

use crate::app::App;
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

/// Ready to store and serve events: 503 without the log. Without the bus everything works, only later: `degraded`.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (log, bus) = (app.status.log(), app.status.bus());
    let is_draining = *app.draining.borrow();
    let (code, status) = match (&log, &bus) {
        _ if is_draining => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (Health::Down { .. }, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (Health::Up, Health::Down { .. }) => (StatusCode::OK, "degraded"),
        (Health::Up, Health::Up) => (StatusCode::OK, "ready"),
    };
    let time = format_rfc3339(now_ms());
    let mut body = format!("{{\"status\":\"{status}\",\"time\":\"{time}\"");
    push_part(&mut body, "log", &log);
    push_part(&mut body, "bus", &bus);
    body.push('}');
    json(code, body)
}

fn push_part(out: &mut String, name: &str, health: &Health) {
    match health {
        Health::Up => {
            let _ = write!(out, ",\"{name}\":{{\"status\":\"up\"}}");
        }
        Health::Down { since_ms, reason } => {
            let since = format_rfc3339(*since_ms);
            let _ = write!(out, ",\"{name}\":{{\"status\":\"down\",\"since\":\"{since}\",\"reason\":");
            push_string(out, reason);
            out.push('}');
        }
    }
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

//! Every method and path, as data: the router is built from this table, and a test holds it against the OpenAPI
//! document.

use crate::app::App;
use crate::{
    Problem, channels, connections, emulation, events, health, history, instances, messages, metrics,
    openapi, page, stream, topics, websocket,
};
use axum::Router;
use axum::routing::{MethodRouter, delete, get, patch, post};
use http::StatusCode;
use percent_encoding::percent_decode_str;
use std::sync::Arc;

/// One method of one path.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, as in OpenAPI. `{channel}` may hold slashes.
    pub path: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// What the paths begin with on which clients of the client protocol connect.
pub(crate) const OF_CLIENTS: &str = "/connection/";

/// The table.
pub const ROUTES: [Route; 27] = [
    Route { method: "POST", path: "/v1/events", handler: || post(events::publish) },
    Route { method: "GET", path: "/v1/events", handler: || get(history::of_query) },
    Route { method: "GET", path: "/v1/events/{position}", handler: || get(history::one) },
    Route { method: "POST", path: "/v1/channels/{channel}/messages", handler: || post(messages::send) },
    Route { method: "GET", path: "/v1/channels/{channel}/events", handler: || get(history::of_channel) },
    Route { method: "GET", path: "/v1/channels/{channel}/stream", handler: || get(stream::of_channel) },
    Route { method: "GET", path: "/v1/stream", handler: || get(stream::of_query) },
    Route { method: "GET", path: "/v1/channels", handler: || get(channels::list) },
    Route { method: "GET", path: "/v1/topics", handler: || get(topics::list) },
    Route { method: "POST", path: "/v1/topics", handler: || post(topics::create) },
    Route { method: "GET", path: "/v1/topics/{topic}", handler: || get(topics::describe) },
    Route { method: "PATCH", path: "/v1/topics/{topic}", handler: || patch(topics::alter) },
    Route { method: "DELETE", path: "/v1/topics/{topic}", handler: || delete(topics::delete) },
    Route { method: "POST", path: "/v1/topics/{topic}/trim", handler: || post(topics::trim) },
    Route { method: "GET", path: "/v1/instances", handler: || get(instances::list) },
    Route { method: "GET", path: "/v1/connections", handler: || get(connections::list) },
    Route { method: "DELETE", path: "/v1/connections/{id}", handler: || delete(connections::disconnect) },
    Route { method: "GET", path: "/connection/websocket", handler: || get(websocket::open) },
    Route { method: "GET", path: "/connection/sse", handler: || get(emulation::sse) },
    Route { method: "POST", path: "/connection/http_stream", handler: || post(emulation::http_stream) },
    Route { method: "POST", path: "/emulation", handler: || post(emulation::command) },
    Route { method: "GET", path: "/health/live", handler: || get(health::live) },
    Route { method: "GET", path: "/health/ready", handler: || get(health::ready) },
    Route { method: "GET", path: "/metrics", handler: || get(metrics::text) },
    Route { method: "GET", path: "/openapi.json", handler: || get(openapi::document) },
    Route { method: "GET", path: "/", handler: || get(page::html) },
    Route { method: "GET", path: "/page/{file}", handler: || get(page::file) },
];

pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router
        .method_not_allowed_fallback(async || {
            let message = "this path does not take that method";
            Problem::http(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .fallback(async || {
            Problem::http(
                StatusCode::NOT_FOUND,
                "unknown_path",
                "there is nothing at this path (/openapi.json)",
            )
        })
        .with_state(app.clone())
}

/// The parameter of a path: its fourth piece, percent-decoded.
///
/// # Errors
/// 400 `invalid_path` when it is not UTF-8.
pub(crate) fn parameter(path: &str) -> Result<String, Problem> {
    let raw = path.split('/').nth(3).unwrap_or_default();
    let decoded = percent_decode_str(raw).decode_utf8();
    decoded.map(String::from).map_err(|_| {
        Problem::http(StatusCode::BAD_REQUEST, "invalid_path", "the path is not percent-encoded UTF-8")
    })
}

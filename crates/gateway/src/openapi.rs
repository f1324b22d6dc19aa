//! `/openapi.json`: the document, written by hand, held against the routes by a test.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// The OpenAPI 3.1 document of this server.
pub const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

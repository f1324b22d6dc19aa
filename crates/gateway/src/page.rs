//! `/`: a page that says what runs here, with a live tail. Compiled in; nothing is read from a disk.
//!
//! Payloads are foreign text: they reach the page as text nodes only, and the policy forbids every script but the
//! page's own file.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn html() -> Response {
    answer("text/html; charset=utf-8", include_str!("assets/page.html"))
}

pub(crate) async fn script() -> Response {
    answer("text/javascript; charset=utf-8", include_str!("assets/page.js"))
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
    (headers, text).into_response()
}
